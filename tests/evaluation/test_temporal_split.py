"""The global temporal split and its tasks."""

from __future__ import annotations

import csv

import numpy as np
import pytest

import worlds
from contracts.leaks import assert_nothing_after_first_target, assert_nothing_from_split_timestamp, targets_of
from tastevec.data.histories import NO_TIMESTAMP
from tastevec.data.prepared import Prepared
from tastevec.data.value_scale import ValueScale
from tastevec.errors import DataError, SettingsError
from tastevec.evaluation.dataset import EvalDataset
from tastevec.evaluation.tasks import TemporalSplit, build_task
from tastevec.pipelines.prepare import PrepareSettings, prepare
from users import TAGGED, items_of, users

A, B, C, D, E, F, G = range(7)
TIMELINE = [(A, 5, 10), (B, 2, 20), (C, 4, 30), (D, 3, 40), (E, 4, 50), (F, 1, 60), (G, 5, 70)]
STARS = ValueScale.explicit(1, 5)
START, STEP = 978_300_000, 90_000
SPLIT = TemporalSplit(50, np.array([True] * 6 + [False]))


def task_of(*each, name="global-temporal"):
    return build_task(name, users(*each), scale=STARS, split=SPLIT)


def test_global_temporal_holds_out_later_positives():
    task = task_of(TIMELINE)
    assert (task.name, task.horizon) == ("global-temporal", "next")
    assert (targets_of(task), items_of(task.inputs, 0)) == ([E, G], [A, B, C, D])
    assert task.timestamps.tolist() == [50, 70]


def test_other_tasks_end_at_split_timestamp():
    next_item, last_20pct, top = (
        task_of(TIMELINE, name=name) for name in ("next-item", "last-20pct", "top-rated")
    )
    assert [targets_of(task) for task in (next_item, last_20pct)] == [[C], [C]]
    assert items_of(next_item.inputs, 0) == [A, B]
    assert (targets_of(top), items_of(top.inputs, 0)) == ([A], [B, C, D])
    for task in (next_item, last_20pct, top):
        assert task.note.endswith("Histories end at the split timestamp, 1970-01-01 00:00:50 UTC.")


def test_global_temporal_note_counts_new_items_and_excluded_users():
    newcomer, gone = [(A, 5, 55), (B, 5, 60)], [(A, 5, 10), (B, 1, 90)]
    task = task_of(TIMELINE, newcomer, gone)
    assert (task.excluded_users, task.inputs.user_ids.tolist()) == (2, [1])
    assert "1 of the 2 held-out items have no training rating" in task.note
    assert "Excluded: 1 users without earlier interactions, 1 without later positives." in task.note
    assert "For 0% of the users the first held-out item" in task.note


def test_global_temporal_ignores_unknown_timestamps():
    task = task_of([(B, 5, NO_TIMESTAMP), *TIMELINE[2:]])
    assert (targets_of(task), items_of(task.inputs, 0)) == ([E, G], [C, D])


@pytest.fixture(name="release", scope="module")
def _release(tmp_path_factory):
    """The tiny world with equal time steps for all users; the split timestamp is near the 15th item."""
    folder = worlds.write_csv_release(tmp_path_factory.mktemp("release"), genome=True)
    with (folder / "ratings.csv").open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["userId", "movieId", "rating", "timestamp"])
        rows = worlds.ratings()
        each = len(rows) // worlds.USERS
        lines.writerows(
            [row.user, row.item, row.stars, START + (place % each) * STEP + row.user * 100]
            for place, row in enumerate(rows)
        )
    return folder


@pytest.fixture(name="by_time", scope="module")
def _by_time(release, tmp_path_factory):
    return prepare(
        release,
        tmp_path_factory.mktemp("time") / "out",
        split_strategy="temporal",
        seed=1,
    )


def test_split_timestamp_precedes_a_tenth_of_the_ratings(by_time, release):
    cut = by_time.manifest["settings"]["split_timestamp"]
    timestamps = np.loadtxt(release / "ratings.csv", delimiter=",", skiprows=1, usecols=3)
    assert np.mean(timestamps < cut) == pytest.approx(0.9, abs=1 / len(timestamps))
    assert by_time.manifest["settings"]["split_strategy"] == "temporal"
    assert by_time.manifest["settings"]["later_share"] == 0.1
    for split in ("train", "validation"):
        histories = by_time.histories.take(by_time.users_in(split))
        assert len(histories)
        assert_nothing_from_split_timestamp(histories, cut)
    test = by_time.histories.take(by_time.users_in("test"))
    assert set(test.lengths.tolist()) == {16}
    assert (test.timestamps >= cut).any()


def test_temporal_split_assigns_users_as_hash_split(by_time, release, tmp_path):
    by_hash = prepare(release, tmp_path / "out", seed=1)
    assert by_time.user_ids.tolist() == by_hash.user_ids.tolist()
    assert by_time.splits.tolist() == by_hash.splits.tolist()
    assert by_time.fingerprint != by_hash.fingerprint


def test_training_ratings_are_normalized_before_split_timestamp(by_time):
    from tastevec.data.value_scale import normalize_ratings  # noqa: PLC0415 - beside its one use

    histories = by_time.histories
    np.testing.assert_array_equal(
        histories.normalized_ratings, normalize_ratings(histories.ratings, histories.offsets)
    )


def test_counts_of_rows_and_users_are_complete(by_time):
    counts = by_time.manifest["counts"]
    later = counts["interactions"]["dropped"]["at or after the split timestamp"]
    assert later > 0
    assert counts["interactions"]["read"] == 194 == counts["interactions"]["kept"] + later
    assert counts["ratings"] == 192
    assert counts["users"]["dropped"] == {
        "user with fewer than 2 interactions": 0,
        "user without interactions before the split timestamp": 0,
    }


def test_tags_after_split_timestamp_are_dropped(release, tmp_path):
    hetrec = tmp_path / "hetrec"
    hetrec.mkdir()
    (hetrec / "movie_tags.dat").write_text("1\t7\t3\n")
    (hetrec / "tags.dat").write_text("7\tearth\n")
    made = prepare(
        release, tmp_path / "out", split_strategy="temporal", seed=1, tags=hetrec / "movie_tags.dat"
    ).manifest["vectors"]
    assert made["temporal_split"] == {
        "tags_dropped": 2,  # of user 7, both in 2001; user 2 is a test user, 1 a validation user
        "tags_without_timestamp": 1,
        "genome_items": 20,
    }
    assert made["content"]["tags"] == 1


def test_later_ratings_change_no_training_data(release, by_time, tmp_path):
    other = tmp_path / "release"
    worlds.write_csv_release(other, genome=True)
    cut = by_time.manifest["settings"]["split_timestamp"]
    text = (release / "ratings.csv").read_text().splitlines()
    rows = [row.split(",") for row in text[1:]]
    changed = [[u, f, "1" if int(t) >= cut and s != "1" else s, t] for u, f, s, t in rows]
    assert changed != rows
    (other / "ratings.csv").write_text("\n".join([text[0], *(",".join(row) for row in changed)]) + "\n")
    after = prepare(other, tmp_path / "out", split_strategy="temporal", seed=1)
    assert by_time.vectors["content"].tobytes() == after.vectors["content"].tobytes()
    for name in ("items", "ratings", "normalized_ratings", "timestamps"):
        train_histories = [
            getattr(side.histories.take(side.users_in("train")), name) for side in (by_time, after)
        ]
        assert train_histories[0].tobytes() == train_histories[1].tobytes()


def test_only_test_users_have_global_temporal(by_time):
    dataset = EvalDataset.of(Prepared.open(by_time.folder))
    assert dataset.task_ids[-1] == "global-temporal"
    task = dataset.task("global-temporal")
    assert_nothing_after_first_target(task, dataset.held_out_users)
    assert_nothing_from_split_timestamp(task.inputs, by_time.manifest["settings"]["split_timestamp"])
    np.testing.assert_array_equal(dataset.split.rated, dataset.items.raters > 0)
    validation = EvalDataset.of(by_time, "validation")
    assert "global-temporal" not in validation.task_ids


def test_users_without_earlier_interactions_are_dropped_or_excluded(tmp_path):
    """100 users with ten items each at ten times; further users have interactions at the end only."""
    table = tmp_path / "ratings.csv"
    rows = [(user, item, 4 + item % 2, START + item) for user in range(100) for item in range(10)]
    late = range(100, 104)
    rows += [(user, item, 5, START + 9) for user in late for item in range(2)]
    table.write_text(
        "\n".join(["user,item,rating,timestamp", *(",".join(map(str, row)) for row in rows)]) + "\n"
    )
    prepared = prepare(table, tmp_path / "out", split_strategy="temporal", seed=3)
    split_of = dict(zip(prepared.user_ids.tolist(), prepared.splits.tolist(), strict=True))
    kept = [user for user in late if user in split_of]
    assert 0 < len(kept) < len(late)
    assert {split_of[user] for user in kept} == {2}
    dropped = prepared.manifest["counts"]["users"]["dropped"]
    assert dropped["user without interactions before the split timestamp"] == len(late) - len(kept)
    task = EvalDataset.of(prepared).task("global-temporal")
    assert f"{len(kept)} users without earlier interactions" in task.note


def test_temporal_split_without_timestamps_is_refused(tmp_path):
    table = worlds.write_own_csv(tmp_path / "own")
    with pytest.raises(
        DataError,
        match=r"^interactions: no rating has a timestamp\. Expected timestamps for a temporal split\. ",
    ):
        prepare(table, tmp_path / "out", split_strategy="temporal")


def test_users_without_timestamps_are_dropped_and_counted(tmp_path):
    table = tmp_path / "some.csv"
    rows = [(user, item, 4, START + item if user else "") for user in range(30) for item in range(11)]
    table.write_text(
        "\n".join(["user,item,rating,timestamp", *(",".join(map(str, row)) for row in rows)]) + "\n"
    )
    prepared = prepare(table, tmp_path / "out", split_strategy="temporal", seed=1)
    assert prepared.manifest["counts"]["interactions"]["dropped"]["without a timestamp"] == 11
    assert (prepared.histories.timestamps > 0).all()


def test_temporal_split_of_one_second_is_refused(tmp_path):
    table = tmp_path / "flat.csv"
    rows = [f"{user},{item},4,{START}" for user in (1, 3) for item in range(4)]  # both teach
    table.write_text("\n".join(["user,item,rating,timestamp", *rows]) + "\n")
    with pytest.raises(
        DataError, match=r"has 2 interactions before the split timestamp\. Expected users with at least 2"
    ):
        prepare(table, tmp_path / "out", split_strategy="temporal", seed=1)


@pytest.mark.parametrize("split", ["hash", "liang", "temporal"])
def test_the_seed_preset_keeps_its_own_split(split):
    with pytest.raises(
        SettingsError, match=f"^--split-strategy {split}: --preset bert-cosine has its own split"
    ):
        PrepareSettings(preset="bert-cosine", split_strategy=split)


def test_global_temporal_input_may_be_tags_only():
    task = task_of([(A, TAGGED, 10), (E, 5, 60)])
    assert (targets_of(task), items_of(task.inputs, 0)) == ([E], [A])
