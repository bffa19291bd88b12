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
    """Makes the rows of one part, and counts how often."""

    def __init__(self, *ids):
        self.ids, self.calls = ids, 0

    def __call__(self):
        self.calls += 1
        return [batch(one) for one in self.ids]


def failing():
    yield batch(1)
    raise KeyboardInterrupt


def interrupted(out, *made, error=KeyboardInterrupt):
    """A run that was stopped after these parts: each what it was made of, and its maker."""
    with pytest.raises(error), open_shards(out, SCHEMA) as parts:
        _stopped(parts, made, error)


def _stopped(parts, made, error):
    for digest, make in made:
        parts.add(digest, make)
    raise error


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_parts_together_are_the_file_and_then_they_are_gone(tmp_path):
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
def test_what_is_made_outlives_an_interruption_and_is_not_made_again(tmp_path, error):
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


def test_a_part_that_was_digest_something_else_is_made_again(tmp_path):
    out = tmp_path / "v.parquet"
    interrupted(out, ("a", Maker(1)), ("b", Maker(2)), ("more", Maker(3)))
    with open_shards(out, SCHEMA) as parts:
        assert parts.add("other", Maker(7))
        assert not parts.add("b", Maker(2))
        assert parts.join() == 2
    assert pq.read_table(out)["user_id"].to_pylist() == [7, 2]
    assert names(tmp_path) == ["v.parquet"]


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"no parquet at all"])
def test_a_damaged_part_is_made_again(tmp_path, damage):
    out = tmp_path / "v.parquet"
    interrupted(out, ("a", Maker(1)))
    (tmp_path / "v.parquet.unfinished" / "shard-000000.parquet").write_bytes(damage)
    with open_shards(out, SCHEMA) as parts:
        assert parts.add("a", Maker(1))
        assert parts.join() == 1


def test_a_part_that_fails_half_way_leaves_nothing_and_the_old_file_stays(tmp_path):
    out = tmp_path / "v.parquet"
    out.write_text("old")
    with pytest.raises(KeyboardInterrupt), open_shards(out, SCHEMA) as parts:
        parts.add("a", failing)
    assert names(tmp_path) == ["v.parquet"]
    assert out.read_text() == "old"


def test_what_is_not_ours_stays_in_the_folder(tmp_path):
    (tmp_path / "v.parquet.unfinished").mkdir()
    (tmp_path / "v.parquet.unfinished" / "notes.txt").touch()
    with open_shards(tmp_path / "v.parquet", SCHEMA) as parts:
        parts.add("a", Maker(1))
        parts.join()
    assert names(tmp_path / "v.parquet.unfinished") == ["notes.txt"]


def test_what_a_killed_run_began_is_gone_in_the_end(tmp_path):
    with open_shards(tmp_path / "v.parquet", SCHEMA) as parts:
        (parts.folder / ".shard-000000.parquet.0123.part").touch()
        parts.add("a", Maker(1))
        parts.join()
    assert names(tmp_path) == ["v.parquet"]


def test_no_part_is_a_file_without_rows(tmp_path):
    with open_shards(tmp_path / "v.parquet", SCHEMA) as parts:
        assert parts.join() == 0
    assert pq.read_table(tmp_path / "v.parquet").num_rows == 0


def test_a_folder_in_the_place_of_the_file_is_refused_before_anything_is_made(tmp_path):
    (tmp_path / "v").mkdir()
    with (
        pytest.raises(FormatError, match=r"a folder\. Expected a file name"),
        open_shards(tmp_path / "v", SCHEMA),
    ):
        pytest.fail("it began")
    assert names(tmp_path) == ["v"]


def test_a_place_where_nothing_can_be_written_is_refused_before_anything_is_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), open_shards(tmp_path / "file" / "v.parquet", SCHEMA):
        pytest.fail("it began")


def test_a_fingerprint_is_the_same_only_where_all_is():
    group = users([(0, 5, 100), (1, 3, 200)], [(2, 4, 100)])
    same = users([(0, 5, 100), (1, 3, 200)], [(2, 4, 100)])
    assert input_digest(group, "model") == input_digest(same, "model")
    others = [
        users([(0, 5, 100), (1, 3, 200)], [(2, 4, 101)]),  # a time
        users([(0, 5, 100), (1, 3, 200)], [(3, 4, 100)]),  # a film
        users([(0, 5, 100), (1, 2, 200)], [(2, 4, 100)]),  # a rating
        users([(0, 5, 100)], [(1, 3, 200), (2, 4, 100)]),  # whose it is
        users([(0, 5, 100), (1, 3, 200)], [(2, 4, 100)], ids=[1, 3]),
        users([(0, 5, 100), (1, 3, 200)], [(2, 4, 100)], ids=["1", "2"]),
    ]
    told = [
        input_digest(group, "model"),
        input_digest(group, "other"),
        *(input_digest(o, "model") for o in others),
    ]
    assert len(set(told)) == len(told)
