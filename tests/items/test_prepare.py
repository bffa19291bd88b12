"""The prepare stage, from a source to a prepared dataset (tastevec.pipelines.prepare)."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tastevec.errors import DataError, FormatError, SettingsError
from tastevec.pipelines.prepare import prepare
from worlds import (
    ITEMS,
    USERS,
    write_1m,
    write_10m,
    write_100k,
    write_csv_release,
    write_genome,
    write_own_csv,
    write_recbole,
)

if TYPE_CHECKING:
    from tastevec.data.prepared import Prepared

SHARED = Path(__file__).parents[3] / "shared" / "data"
SEED = 1  # splits the 12 users into train, validation and test


def sources(prepared: Prepared) -> list[str]:
    return prepared.items["vector_source"].to_pylist()


def partial_genome(folder: Path, items: set[int]) -> Path:
    write_genome(folder)
    scores = folder / "genome-scores.csv"
    header, *rows = scores.read_text().splitlines()
    rows = [row for row in rows if int(row.partition(",")[0]) in items]
    scores.write_text("\n".join([header, *rows]) + "\n")
    return folder


@pytest.mark.parametrize("write", [write_100k, write_1m, write_10m, write_csv_release, write_recbole])
def test_prepare_writes_histories_and_content_vectors_of_every_release(tmp_path, write):
    stages = []
    prepared = prepare(write(tmp_path / "source"), tmp_path / "out", progress=stages.append)
    assert stages == ["read", "genome", "preprocess", "vectors"]
    assert list(prepared.manifest["timings"]) == stages
    assert len(prepared.histories) == USERS
    assert prepared.item_ids.tolist() == list(range(1, ITEMS + 1))
    assert sources(prepared) == ["content"] * ITEMS
    assert {name: vectors.shape for name, vectors in prepared.vectors.items()} == {"content": (ITEMS, 64)}


def test_prepare_accepts_own_table_with_or_without_metadata(tmp_path):
    table = write_own_csv(tmp_path / "source")
    described = prepare(table, tmp_path / "described", items=table.parent / "items.csv")
    assert set(sources(described)) == {"content"}
    bare = prepare(table, tmp_path / "bare")
    assert set(sources(bare)) == {"none"}
    assert not bare.vectors["content"].any()


def test_prepare_with_genome_writes_genome_svd_vectors(tmp_path):
    release = write_csv_release(tmp_path / "source", genome=True)
    prepared = prepare(release, tmp_path / "out")
    assert sources(prepared) == ["genome"] * ITEMS
    assert prepared.vectors["genome-svd"].any(axis=1).all()
    counts = prepared.manifest["vectors"]
    assert counts["genome-svd"] == {
        "items": ITEMS,
        "tags": 12,
        "items_skipped": {},
        "rows_skipped": {},
    }
    assert counts["bert_cosine_reads"] == "genome-svd"


def test_prepare_bert_cosine_keeps_items_with_genome_in_id_order(tmp_path):
    release = write_csv_release(tmp_path / "source")
    genome = partial_genome(tmp_path / "genome", {1, 2, 3, 14, 15, 16, 17, 18})
    prepared = prepare(release, tmp_path / "out", preset="bert-cosine", genome=genome, seed=42)
    histories = prepared.histories
    assert set(prepared.item_ids[histories.items]) == {1, 2, 3, 14, 15, 16, 17, 18}
    assert all(
        (np.diff(histories.items[histories.owners == user]) > 0).all() for user in range(len(histories))
    )
    assert sources(prepared)[:4] == ["genome", "genome", "genome", "content"]
    assert prepared.vectors["genome-svd"].any(axis=1).sum() == 8
    resolved = prepared.manifest["settings"]
    assert (resolved["preset"], resolved["split_strategy"], resolved["order"]) == (
        "bert-cosine",
        "bert-cosine",
        "item",
    )
    assert prepared.manifest["counts"]["interactions"]["dropped"]["item without a vector"] > 0
    assert len(prepared.users_in("test")) == 0


def test_prepare_bert_cosine_without_genome_uses_content(tmp_path):
    release = write_csv_release(tmp_path / "source")
    prepared = prepare(release, tmp_path / "out", preset="bert-cosine")
    assert prepared.manifest["vectors"]["bert_cosine_reads"] == "content"
    assert "genome-svd" not in prepared.vectors


def test_prepare_refuses_or_skips_item_with_incomplete_genome(tmp_path):
    release = write_csv_release(tmp_path / "source", genome=True)
    scores = release / "genome-scores.csv"
    scores.write_text("".join(scores.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(DataError, match="movieId 20 lacks 1 of 12"):
        prepare(release, tmp_path / "out")
    prepared = prepare(release, tmp_path / "out", bad_rows="drop")
    assert prepared.manifest["vectors"]["genome-svd"]["items_skipped"] == {"20": [12]}
    assert sources(prepared) == ["genome"] * 19 + ["content"]


def test_prepare_refuses_genome_of_other_items_and_leaves_no_files(tmp_path):
    table = write_own_csv(tmp_path / "source")
    genome = write_genome(tmp_path / "genome")
    with pytest.raises(DataError, match="none of its 20 items is in the catalog"):
        prepare(table, tmp_path / "out", genome=genome.parent / "genome")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["genome", "source"]


@pytest.mark.parametrize("option", ["genome", "tags"])
def test_prepare_refuses_genome_and_tags_of_other_releases_for_ml_100k(tmp_path, option):
    release, other = write_100k(tmp_path / "source"), write_csv_release(tmp_path / "other", genome=True)
    joined = {"genome": other} if option == "genome" else {"tags": (other / "tags.csv",)}
    with pytest.raises(SettingsError, match="its item ids differ"):
        prepare(release, tmp_path / "out", **joined)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_held_out_user_changes_no_item_vector_and_no_other_history(tmp_path, split):
    release = write_csv_release(tmp_path / "source", genome=True)
    before = prepare(release, tmp_path / "before", seed=SEED)
    index = int(before.users_in(split)[0])
    user = str(before.user_ids[index])
    _rewrite(release / "ratings.csv", lambda row: [*row[:2], "0.5", "1000000000"] if row[0] == user else row)
    with (release / "tags.csv").open("a", encoding="utf-8") as handle:
        handle.write(f"{user},1,tears,1000000000\n{user},11,space,1000000000\n{user},12,space,1000000000\n")
    after = prepare(release, tmp_path / "after", seed=SEED)
    vectors = [(tmp_path / side / "item_vectors.safetensors").read_bytes() for side in ("before", "after")]
    assert vectors[0] == vectors[1]
    assert before.items.equals(after.items)
    others = np.delete(np.arange(len(before.user_ids)), index)
    for name in ("items", "ratings", "normalized_ratings", "timestamps", "offsets"):
        values = [getattr(side.histories.take(others), name).tobytes() for side in (before, after)]
        assert values[0] == values[1]
    assert (after.histories.take(np.array([index])).ratings <= 0.5).any()


def test_tags_of_training_users_and_other_releases_change_item_vectors(tmp_path):
    release = write_csv_release(tmp_path / "source")
    before = prepare(release, tmp_path / "before", seed=SEED)
    user = before.user_ids[before.users_in("train")[0]]
    other = tmp_path / "tags.csv"
    other.write_text("userId,movieId,tag,timestamp\n1,5,whales,1000000000\n2,15,whales,1000000000\n")
    joined = prepare(release, tmp_path / "joined", seed=SEED, tags=(other,))
    with (release / "tags.csv").open("a", encoding="utf-8") as handle:
        handle.write(f"{user},5,whales,1000000000\n{user},15,whales,1000000000\n")
    tagged = prepare(release, tmp_path / "tagged", seed=SEED)
    for after in (joined, tagged):
        assert not np.array_equal(before.vectors["content"], after.vectors["content"])


def test_prepare_writes_same_bytes_from_same_source(tmp_path):
    release = write_csv_release(tmp_path / "source", genome=True)
    first, second = (prepare(release, tmp_path / name) for name in ("one", "two"))
    assert first.manifest["files"] == second.manifest["files"]
    by_hash = prepare(release, tmp_path / "three", split_strategy="hash")
    assert by_hash.fingerprint == first.fingerprint
    assert first.manifest["settings"]["split_strategy"] == "hash"
    assert not {"held_out_users", "split_timestamp"} & set(first.manifest["settings"])


@pytest.mark.parametrize("stage", ["read", "preprocess", "vectors"])
def test_interrupted_prepare_keeps_earlier_dataset(tmp_path, stage):
    release, out = write_csv_release(tmp_path / "source"), tmp_path / "out"
    prepare(release, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    def interrupt(name: str) -> None:
        if name == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(release, out, preset="bert-cosine", progress=interrupt)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out", "source"]


def test_prepare_refuses_foreign_output_folder_and_rating_outside_scale(tmp_path):
    release = write_csv_release(tmp_path / "source")
    with pytest.raises(FormatError, match="the same as the input"):
        prepare(release, release)
    _rewrite(release / "ratings.csv", lambda row: [*row[:2], "9", row[3]] if row[0] == "4" else row)
    with pytest.raises(DataError, match=r"above the scale 0\.5:5"):
        prepare(release, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_manifest_contains_no_local_path(tmp_path):
    release = write_csv_release(tmp_path / "source")
    genome = write_genome(tmp_path / "genome")
    prepare(release, tmp_path / "out", tags=release / "tags.csv", genome=genome)
    assert str(tmp_path) not in (tmp_path / "out" / "manifest.json").read_text()


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not here")
def test_prepare_joins_real_genome_to_ml_latest_small(tmp_path):
    prepared = prepare(SHARED / "ml-latest-small", tmp_path / "out", genome=SHARED / "genome-partial")
    origins = sources(prepared)
    assert len(origins) == 9742
    assert origins.count("genome") == prepared.manifest["vectors"]["genome-svd"]["items"] == 189
    assert origins.count("none") == (~prepared.vectors["content"].any(axis=1)).sum()
    assert len(prepared.histories) == 610
    unit = prepared.vectors["genome-svd"][np.array(origins) == "genome"]
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    assert (unit @ unit.mean(axis=0)).min() > 0.5  # uncentered SVD: one shared direction


def _rewrite(path: Path, change) -> None:
    with path.open(encoding="utf-8", newline="") as handle:
        header, *rows = list(csv.reader(handle))
    with path.open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle, lineterminator="\n").writerows([header, *(change(row) for row in rows)])
