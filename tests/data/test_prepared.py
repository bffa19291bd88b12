import json
import os
import re
import shutil
import signal
import subprocess
import sys
from hashlib import md5
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from sources import Row, prepare, source, world
from tastevec.data import expressions as tables
from tastevec.data.files import manifest_text
from tastevec.data.histories import NO_TIMESTAMP
from tastevec.data.intake.source import read_source
from tastevec.data.prepared import Prepared, RowCounts, manifest_content, write_manifest
from tastevec.data.preprocess import PreprocessSettings, preprocess
from tastevec.data.value_scale import HALF_STARS, ValueScale, normalize_ratings
from tastevec.errors import DataError, FormatError, SettingsError


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    return prepare(world(), tmp_path_factory.mktemp("once") / "prepared").folder


@pytest.fixture
def folder(once, tmp_path):
    """The tiny world prepared, to be damaged at will."""
    return Path(shutil.copytree(once, tmp_path / "prepared"))


def test_preprocess_keeps_all_interactions_oldest_first(tmp_path):
    prepared = prepare(world(), tmp_path / "prepared")
    assert prepared.user_ids.tolist() == list(range(1, 13))
    assert prepared.item_ids.tolist() == list(range(1, 21))
    assert prepared.histories.lengths.tolist() == [17, 16, 16, 16, 16, 16] * 2
    for user in range(12):
        assert np.all(np.diff(prepared.histories.take(np.array([user])).timestamps) > 0)
    assert prepared.items["title"][19].as_py() == 'Café, "The" Letter (1999)'
    assert prepared.items["genres"][9].as_py() == []
    assert prepared.scale == HALF_STARS


def test_arrays_have_the_types_of_histories(folder):
    histories = Prepared.open(folder).histories
    kinds = {
        name: getattr(histories, name).dtype.name
        for name in ("items", "ratings", "normalized_ratings", "timestamps")
    }
    assert kinds == {
        "items": "int32",
        "ratings": "float32",
        "normalized_ratings": "float32",
        "timestamps": "int64",
    }
    assert histories.offsets.dtype == np.int64


def test_prepared_histories_are_mapped_read_only(folder):
    items = Prepared.open(folder).histories.items
    assert isinstance(items, np.memmap)
    assert not items.flags.writeable


def test_normalization_in_sql_and_numpy_agree(folder):
    histories = Prepared.open(folder).histories
    assert np.array_equal(
        histories.normalized_ratings, normalize_ratings(histories.ratings, histories.offsets)
    )


def test_prepared_dataset_prints_its_sizes(folder):
    shown = repr(Prepared.open(folder))
    assert re.fullmatch(
        r"Prepared\(.*/prepared: 12 users \(\d+ train, \d validation, \d test\), \d+ interactions, 20 \w+, explicit\)",
        shown,
    ), shown


def test_every_user_is_in_one_split(folder):
    prepared = Prepared.open(folder)
    parts = [prepared.users_in(split) for split in ("train", "validation", "test")]
    assert sorted(np.concatenate(parts).tolist()) == list(range(12))
    assert prepared.manifest["counts"]["splits"] == {
        name: len(part) for name, part in zip(("train", "validation", "test"), parts, strict=True)
    }


def test_research_note_split_has_no_test_users(tmp_path):
    prepared = prepare(
        world(), tmp_path / "prepared", PreprocessSettings(split_strategy="bert-cosine", order="item")
    )
    assert [len(prepared.users_in(split)) for split in ("train", "validation", "test")] == [8, 4, 0]
    assert np.all(np.diff(prepared.histories.take(np.array([0])).items) > 0)


def test_text_ids_are_unchanged(tmp_path):
    rows = [Row(user, item, 4, 1) for user in ("Zoë", "ann", "10", "9") for item in ("tt2", "tt10", "é")]
    prepared = prepare(source(rows), tmp_path / "prepared")
    assert prepared.user_ids.tolist() == ["10", "9", "Zoë", "ann"]
    assert prepared.item_ids.tolist() == ["tt10", "tt2", "é"]
    assert prepared.histories.take(np.array([3])).items.tolist() == [1, 0, 2]


def test_counts_add_up_for_every_row(tmp_path):
    """Person 1 keeps two of three; 2 keeps one and goes; 3 keeps none and goes; 4 only ever had one."""
    rows = [
        *(Row(1, 10, 4, 86_400), Row(1, 11, None), Row(1, 99, 3)),
        *(Row(2, 10, 4), Row(2, 98, 2)),
        *(Row(3, 98, 4), Row(3, 99, 2)),
        Row(4, 10, 1),
    ]
    raw = source(rows, [(10, "A", 1990, []), (12, "never rated", None, [])])
    prepared = prepare(raw, tmp_path / "prepared", PreprocessSettings(keep_items=frozenset({10, 11, 12})))
    counts = prepared.manifest["counts"]
    assert counts["interactions"] == {
        "read": 8,
        "kept": 2,
        "dropped": {"item without a vector": 4, "user with fewer than 2 interactions": 2},
    }
    assert counts["users"] == {"read": 4, "kept": 1, "dropped": {"user with fewer than 2 interactions": 3}}
    assert (counts["ratings"], counts["tag_only"], counts["without_timestamp"]) == (7, 1, 7)
    assert (counts["items"], counts["items_without_metadata"]) == (5, 3)
    assert counts["days"] == [1, 1]
    assert prepared.histories.items.tolist() == [1, 0]


def test_row_counts_that_do_not_add_up_are_refused():
    with pytest.raises(AssertionError, match="rows are missing"):
        RowCounts(3, 1, {"reason": 1})


def test_users_parquet_has_one_row_per_user(folder):
    user = pq.read_table(folder / "users.parquet").slice(0, 1).to_pylist()[0]
    assert user == {"user_id": 1, "split": 0, "interactions": 17, "first_day": 11334, "last_day": 11350}


def test_liang_split_drops_users_with_fewer_than_five_positives(tmp_path):
    rows = [Row(user, item, 4.0) for user in range(1, 8) for item in range(3 if user == 4 else 5)]
    prepared = prepare(
        source(rows), tmp_path / "prepared", PreprocessSettings(split_strategy="liang", held_out_users=2)
    )
    counts = prepared.manifest["counts"]
    assert counts["users"]["dropped"] == {"user with fewer than 5 positives": 1}
    assert counts["interactions"]["dropped"]["user with fewer than 5 positives"] == 3
    assert counts["splits"] == {"train": 2, "validation": 2, "test": 2}


@pytest.mark.parametrize(
    ("users", "way_out"), [(5, "Use --held-out-users 1 or less"), (2, "Use --split-strategy hash")]
)
def test_liang_split_with_too_few_users_is_refused(tmp_path, users, way_out):
    rows = [Row(user, item, 4.0) for user in range(users) for item in range(5)]
    message = rf"^held_out_users: 2, but {users} users of world have 5 positives or more\. Expected 6 or more, .*\. {way_out}$"
    with pytest.raises(SettingsError, match=message):
        prepare(
            source(rows), tmp_path / "prepared", PreprocessSettings(split_strategy="liang", held_out_users=2)
        )


def test_source_without_users_with_two_interactions_is_refused(tmp_path):
    with pytest.raises(DataError, match="world: none of the 1 users has 2 interactions"):
        prepare(source([Row(1, 1)]), tmp_path / "prepared")


def test_genome_without_known_items_is_refused(tmp_path):
    chosen = PreprocessSettings(keep_items=frozenset({99}))
    with pytest.raises(
        DataError, match="world: none of the 12 users has 2 interactions with items of the genome"
    ):
        prepare(world(), tmp_path / "prepared", chosen)


def test_empty_source_is_refused(tmp_path):
    with pytest.raises(DataError, match="world: none of the 0 users"):
        prepare(source([]), tmp_path / "prepared")


def test_repeated_item_metadata_is_refused(tmp_path):
    with pytest.raises(DataError, match="item_id 7 has several rows of metadata"):
        prepare(
            source([Row(1, 7), Row(1, 8)], [(7, "A", None, []), (7, "B", None, [])]), tmp_path / "prepared"
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"minimum_interactions": 0}, "minimum_interactions: 0. Expected 1 or more"),
        ({"fractions": (0.5, 0.1, 0.1)}, "Expected three shares that sum to 1"),
        ({"fractions": (1.5, -0.5, 0.0)}, "Expected three shares that sum to 1"),
        ({"held_out_users": 0}, "held_out_users: 0. Expected 1 or more"),
        ({"split_strategy": "temporal"}, "split_timestamp: None with split_strategy temporal"),
        ({"split_timestamp": 5}, "split_timestamp: 5 with split_strategy hash"),
    ],
)
def test_preprocess_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        PreprocessSettings(**settings)


def test_open_reads_item_vectors_if_present(folder):
    assert Prepared.open(folder).vectors == {}
    save_file({"content": np.eye(20, 4, dtype=np.float32)}, folder / "item_vectors.safetensors")
    counts, scale = preprocess(world(), folder, PreprocessSettings(), tables.connect("500MB"))
    write_manifest(
        folder,
        manifest_content(
            source=world(),
            scale=scale,
            counts=counts,
            settings={},
            timings={},
            vectors={"content": {"dim": 4}},
        ),
    )
    prepared = Prepared.open(folder)
    assert np.array_equal(prepared.vectors["content"], np.eye(20, 4))
    assert prepared.manifest["vectors"] == {"content": {"dim": 4}}


def test_fingerprint_changes_with_data_only(tmp_path):
    one, same = prepare(world(), tmp_path / "one"), prepare(world(), tmp_path / "same")
    other = prepare(world(), tmp_path / "other", PreprocessSettings(seed=43))
    assert one.fingerprint == same.fingerprint != other.fingerprint


def test_manifest_has_checksums_of_all_files(folder):
    files = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert set(Prepared.open(folder).manifest["files"]) == files - {"manifest.json"}


FILES = [
    "items.parquet",
    "users.parquet",
    *(
        f"histories/{name}.npy"
        for name in ("offsets", "items", "ratings", "normalized_ratings", "timestamps")
    ),
]


@pytest.mark.parametrize("name", FILES)
def test_open_with_missing_file_is_refused(folder, name):
    (folder / name).unlink()
    with pytest.raises(FormatError, match=f"{name} is missing.*Run tastevec prepare again"):
        Prepared.open(folder)


@pytest.mark.parametrize("name", FILES)
def test_open_with_changed_byte_is_refused(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(
        FormatError, match=f"{Path(name).name}: checksum mismatch.*Run tastevec prepare again"
    ):
        Prepared.open(folder)


def test_open_with_truncated_file_is_refused(folder):
    content = (folder / "histories/items.npy").read_bytes()
    (folder / "histories/items.npy").write_bytes(content[:-4])
    with pytest.raises(FormatError, match="checksum mismatch"):
        Prepared.open(folder)


def test_open_with_valid_checksum_of_wrong_file_is_refused(folder):
    (folder / "items.parquet").write_text("no table")
    counts, scale = preprocess(world(), folder / "histories", PreprocessSettings(), tables.connect("500MB"))
    write_manifest(
        folder,
        manifest_content(source=world(), scale=scale, counts=counts, settings={}, timings={}, vectors={}),
    )
    with pytest.raises(FormatError, match="cannot be read"):
        Prepared.open(folder)


def test_open_of_other_folder_is_refused(tmp_path):
    with pytest.raises(FormatError, match=r"no manifest.json.*Run: tastevec prepare SOURCE"):
        Prepared.open(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 99}', "\x00"])
def test_open_with_damaged_or_other_version_manifest_is_refused(folder, content):
    (folder / "manifest.json").write_text(content)
    with pytest.raises(FormatError, match=r"Run:? tastevec prepare"):
        Prepared.open(folder)


KILLED = """
import json, os, pathlib, signal, sys
import ibis.backends.duckdb
from sources import prepare, world
from tastevec.data import files, prepared, preprocess

out = pathlib.Path(sys.argv[1])

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def dying_batches(*_, **__):
    yield from ()
    die()

MOMENTS = {
    "before anything": (preprocess.tables, "build_catalog", die),
    "before the users": (preprocess, "_write_users", die),
    "in the histories": (preprocess, "materialize", dying_batches),
    "in the sort": (ibis.backends.duckdb.Backend, "to_parquet", die),
    "before the manifest": (prepared.json, "dumps", die),
    "before the files are forced to disk": (files, "_sync", die),
    "before the swap": (files, "_swap", die),
    "while the old folder stands aside": (pathlib.Path, "rename", None),
}
real = pathlib.Path.rename
def rename_then_die(self, target):
    real(self, target)
    die()

for moment, (owner, name, replacement) in MOMENTS.items():
    child = os.fork()
    if not child:
        setattr(owner, name, replacement or rename_then_die)
        with files.atomic_folder(out, marker_file="manifest.json") as folder:
            prepare(world(), folder)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(json.dumps([moment, os.WTERMSIG(status), out.exists()]), flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("old", [True, False], ids=["over an old result", "for the first time"])
def test_killed_prepare_leaves_complete_dataset_or_none(tmp_path, old):
    out = tmp_path / "prepared"
    if old:
        prepare(world(), out)
    before = (out / "manifest.json").read_bytes() if old else None
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    ran = subprocess.run(
        [sys.executable, "-c", KILLED, out], env=environment, capture_output=True, text=True, check=True
    )
    moments = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(moments) == 8
    for moment, ended_by, there in moments[:-1]:
        assert ended_by == signal.SIGKILL, moment
        assert there == old, moment
    assert moments[-1][1] == signal.SIGKILL
    if out.exists():
        assert Prepared.open(out).user_ids.tolist() == list(range(1, 13))
        assert before is None or before == (out / "manifest.json").read_bytes()
    assert any(tmp_path.glob(".prepared.*.part"))  # what the killed left behind does no harm to the next
    prepare(world(), tmp_path / "next")
    assert len(Prepared.open(tmp_path / "next").user_ids) == 12


@pytest.mark.slow
def test_real_release_is_prepared_in_file_order(tmp_path):
    release = Path(__file__).parents[3] / "shared/data/ml-1m-5k"
    if not release.exists():
        pytest.skip("the real release is not next to this checkout")
    connection = tables.connect("500MB", spill=tmp_path, threads=1)
    raw = read_source(release, connection=connection)
    prepared = prepare(raw, tmp_path / "prepared", connection=connection)
    assert prepared.manifest["counts"]["interactions"]["kept"] == 827_331
    assert prepared.manifest["source"]["files"][0]["rows_kept"] == 827_331
    histories = prepared.histories
    assert np.array_equal(
        histories.normalized_ratings, normalize_ratings(histories.ratings, histories.offsets)
    )
    rows = np.loadtxt(release / "ratings.dat", dtype=np.int64, delimiter=":", usecols=(0, 2, 4, 6))
    rows = rows[np.lexsort((rows[:, 3], rows[:, 0]))]  # stable, and the file is sorted within each user
    assert np.array_equal(prepared.user_ids[histories.owners], rows[:, 0])
    assert np.array_equal(prepared.item_ids[histories.items], rows[:, 1])
    assert np.array_equal(histories.ratings, rows[:, 2])
    assert np.array_equal(histories.timestamps, rows[:, 3])


def weighted(rows, order="timestamp"):
    """Return a source of play counts, positive from 2."""
    return source(rows, scale=ValueScale.strength("weighted", positive_from=2, top=9, low=-1), order=order)


def test_weighted_values_are_normalized_up_to_the_top_of_training_users(tmp_path):
    rows = [
        Row(user, item, float(10 * item if user % 2 else item - 2), user + item)
        for user in range(40)
        for item in range(5)
    ]
    prepared = prepare(weighted(rows), tmp_path / "prepared")
    histories, scale = prepared.histories, prepared.scale
    train = histories.take(prepared.users_in("train")).ratings
    assert scale.top == np.quantile(train[train >= 2], 0.999, method="higher") == 40
    assert (scale.kind, scale.positive_from, prepared.order) == ("weighted", 2, "timestamp")
    np.testing.assert_array_equal(
        histories.normalized_ratings, scale.normalize(histories.ratings, histories.offsets)
    )
    assert not histories.relative
    assert {-1.0, 0.0, 0.5, 1.0} <= set(histories.normalized_ratings.tolist())
    feedback = prepared.manifest["feedback"]
    assert (feedback["range"], feedback["top"], feedback["repeats"]) == ([-1, 9], 40, "latest")


@given(st.permutations(range(12)))
@settings(max_examples=10)
def test_without_order_histories_do_not_depend_on_the_order_of_rows(tmp_path_factory, order):
    rows = [Row(user, item, 1.0, 100 + item) for user in ("ann", "bob", "7") for item in range(4)]
    once = prepare(weighted(rows, "none"), tmp_path_factory.mktemp("one"))
    again = prepare(weighted([rows[row] for row in order], "none"), tmp_path_factory.mktemp("two"))
    assert once.fingerprint == again.fingerprint
    assert (once.order, set(once.histories.timestamps.tolist())) == ("none", {NO_TIMESTAMP})
    digests = [md5(f"ann:{item}".encode()).hexdigest() for item in range(4)]  # noqa: S324  no secret
    ann = once.histories.take(np.flatnonzero(once.user_ids == "ann"))
    assert ann.items.tolist() == np.argsort(digests).tolist()


def test_order_of_the_file_leaves_timestamps_unknown(tmp_path):
    rows = [Row(1, item, 3.0, 100 - item) for item in range(4)]
    found = prepare(source(rows, order="file"), tmp_path / "prepared").histories
    assert (found.items.tolist(), set(found.timestamps.tolist())) == ([0, 1, 2, 3], {NO_TIMESTAMP})


@pytest.mark.parametrize(
    ("change", "message"),
    [({"kind": "stars"}, "kind"), ({"positive_from": 0.1}, "positive_from"), ({"range": [1]}, "range")],
)
def test_open_with_wrong_feedback_is_refused(folder, change, message):
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    del manifest["manifest_checksum"]
    manifest["feedback"] |= change
    (folder / "manifest.json").write_text(manifest_text(manifest), encoding="utf-8")
    with pytest.raises(FormatError, match=message):
        Prepared.open(folder)
