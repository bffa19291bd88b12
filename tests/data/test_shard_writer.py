import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tastevec.data.shards import input_digest, open_shards
from tastevec.errors import FormatError
from users import users

SCHEMA = pa.schema({"user_id": pa.int64(), "vector": pa.list_(pa.float32(), 2)}, metadata={"space": "here"})


def batch(*ids):
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.repeat(np.float32(ids), 2)), 2)
    return pa.RecordBatch.from_arrays([pa.array(ids, pa.int64()), vectors], schema=SCHEMA.remove_metadata())


class Maker:
    """Compute the rows of one shard, and count the calls."""

    def __init__(self, *ids):
        self.ids, self.calls = ids, 0

    def __call__(self):
        self.calls += 1
        return [batch(one) for one in self.ids]


def failing():
    yield batch(1)
    raise KeyboardInterrupt


def interrupted(out, *made, error=KeyboardInterrupt):
    """Interrupt a run after these shards, each with its digest and its maker."""
    with pytest.raises(error), open_shards(out, SCHEMA) as parts:
        _stopped(parts, made, error)


def _stopped(parts, made, error):
    for digest, make in made:
        parts.add(digest, make)
    raise error


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_join_writes_the_file_and_removes_the_shards(tmp_path):
    with open_shards(tmp_path / "v.parquet", SCHEMA) as parts:
        assert parts.add("a", Maker(1, 2))
        assert parts.add("b", Maker(3))
        assert not parts.out.exists()
        assert parts.join() == 3
    written = pq.read_table(tmp_path / "v.parquet")
    assert written.schema.types == SCHEMA.types
    assert written.schema.metadata == SCHEMA.metadata
    assert written["user_id"].to_pylist() == [1, 2, 3]
    assert names(tmp_path) == ["v.parquet"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_shards_after_interruption_are_reused(tmp_path, error):
    out, first, second = tmp_path / "v.parquet", Maker(1), Maker(2)
    interrupted(out, ("a", first), error=error)
    assert names(tmp_path) == ["v.parquet.unfinished"]
    with open_shards(out, SCHEMA) as parts:
        assert not parts.add("a", first)
        assert parts.add("b", second)
        parts.join()
    assert (first.calls, second.calls) == (1, 1)
    straight = tmp_path / "straight.parquet"
    with open_shards(straight, SCHEMA) as parts:
        parts.add("a", Maker(1))
        parts.add("b", Maker(2))
        parts.join()
    assert out.read_bytes() == straight.read_bytes()
    assert names(tmp_path) == ["straight.parquet", "v.parquet"]


def test_shard_of_other_input_is_computed_again(tmp_path):
    out = tmp_path / "v.parquet"
    interrupted(out, ("a", Maker(1)), ("b", Maker(2)), ("more", Maker(3)))
    with open_shards(out, SCHEMA) as parts:
        assert parts.add("other", Maker(7))
        assert not parts.add("b", Maker(2))
        assert parts.join() == 2
    assert pq.read_table(out)["user_id"].to_pylist() == [7, 2]
    assert names(tmp_path) == ["v.parquet"]


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"no parquet at all"])
def test_damaged_shard_is_computed_again(tmp_path, damage):
    out = tmp_path / "v.parquet"
    interrupted(out, ("a", Maker(1)))
    (tmp_path / "v.parquet.unfinished" / "shard-000000.parquet").write_bytes(damage)
    with open_shards(out, SCHEMA) as parts:
        assert parts.add("a", Maker(1))
        assert parts.join() == 1


def test_failed_shard_leaves_nothing_and_the_old_file_remains(tmp_path):
    out = tmp_path / "v.parquet"
    pq.write_table(pa.table({"user_id": [1]}, metadata={"space": "here"}), out)
    before = out.read_bytes()
    with pytest.raises(KeyboardInterrupt), open_shards(out, SCHEMA) as parts:
        parts.add("a", failing)
    assert names(tmp_path) == ["v.parquet"]
    assert out.read_bytes() == before


def test_foreign_files_in_the_shard_folder_remain(tmp_path):
    (tmp_path / "v.parquet.unfinished").mkdir()
    (tmp_path / "v.parquet.unfinished" / "notes.txt").touch()
    with open_shards(tmp_path / "v.parquet", SCHEMA) as parts:
        parts.add("a", Maker(1))
        parts.join()
    assert names(tmp_path / "v.parquet.unfinished") == ["notes.txt"]


def test_join_removes_partial_files_of_killed_runs(tmp_path):
    with open_shards(tmp_path / "v.parquet", SCHEMA) as parts:
        (parts.folder / ".shard-000000.parquet.0123.part").touch()
        parts.add("a", Maker(1))
        parts.join()
    assert names(tmp_path) == ["v.parquet"]


def test_join_without_shards_writes_empty_file(tmp_path):
    with open_shards(tmp_path / "v.parquet", SCHEMA) as parts:
        assert parts.join() == 0
    assert pq.read_table(tmp_path / "v.parquet").num_rows == 0


def test_open_shards_on_a_folder_is_refused(tmp_path):
    (tmp_path / "v").mkdir()
    with (
        pytest.raises(FormatError, match=r"a folder\. Expected a new file name"),
        open_shards(tmp_path / "v", SCHEMA),
    ):
        pytest.fail("it began")
    assert names(tmp_path) == ["v"]


def test_open_shards_in_unwritable_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(FormatError, match="file is a file"),
        open_shards(tmp_path / "file" / "v.parquet", SCHEMA),
    ):
        pytest.fail("it began")


def test_open_shards_twice_is_refused_until_the_first_ends(tmp_path):
    out = tmp_path / "v.parquet"
    with open_shards(out, SCHEMA) as parts:
        parts.add("a", Maker(1))
        with pytest.raises(FormatError, match="another process writes there"), open_shards(out, SCHEMA):
            pytest.fail("it began")
        parts.join()
    with open_shards(out, SCHEMA) as parts:
        assert parts.join() == 0
    assert names(tmp_path) == ["v.parquet"]


def test_input_digest_is_equal_only_for_equal_inputs():
    group = users([(0, 5, 100), (1, 3, 200)], [(2, 4, 100)])
    same = users([(0, 5, 100), (1, 3, 200)], [(2, 4, 100)])
    assert input_digest(group, "model") == input_digest(same, "model")
    others = [
        users([(0, 5, 100), (1, 3, 200)], [(2, 4, 101)]),  # a timestamp
        users([(0, 5, 100), (1, 3, 200)], [(3, 4, 100)]),  # an item
        users([(0, 5, 100), (1, 2, 200)], [(2, 4, 100)]),  # a rating
        users([(0, 5, 100)], [(1, 3, 200), (2, 4, 100)]),  # the user
        users([(0, 5, 100), (1, 3, 200)], [(2, 4, 100)], ids=[1, 3]),
        users([(0, 5, 100), (1, 3, 200)], [(2, 4, 100)], ids=["1", "2"]),
    ]
    digests = [
        input_digest(group, "model"),
        input_digest(group, "other"),
        *(input_digest(o, "model") for o in others),
    ]
    assert len(set(digests)) == len(digests)
