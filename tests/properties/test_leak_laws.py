"""Properties: no task of any split strategy leaks."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.leaks import (
    assert_no_target_is_input,
    assert_normalized_by_inputs,
    assert_nothing_after_first_target,
    assert_nothing_from_split_timestamp,
    assert_targets_are_real,
    targets_of,
)
from sources import Row, prepare, source
from tastevec.data.histories import NO_TIMESTAMP
from tastevec.data.preprocess import PreprocessSettings
from tastevec.data.value_scale import ValueScale, normalize_ratings
from tastevec.errors import DataError, SettingsError
from tastevec.evaluation.tasks import TASK_TITLES, LiangSplit, TemporalSplit, build_task
from users import TAGGED, items_of, rows_of, users

ITEMS = 30
STARS = ValueScale.explicit(1, 5)
# Five and more positives are common, so that random-20pct has users.
RATINGS = st.sampled_from([1, 2, 3, 4, 4, 4, 5, 5, TAGGED])


@st.composite
def crowds(draw):
    """Return up to 6 users with 0 to 20 different items each, some tag-only, oldest first; unknown timestamps come first."""
    each = []
    for _ in range(draw(st.integers(1, 6))):
        items = draw(st.lists(st.integers(0, ITEMS - 1), max_size=20, unique=True))
        ratings = draw(st.lists(RATINGS, min_size=len(items), max_size=len(items)))
        timestamps = draw(st.lists(st.integers(NO_TIMESTAMP, 9), min_size=len(items), max_size=len(items)))
        each.append(list(zip(items, ratings, sorted(timestamps), strict=True)))
    return users(*each)


items = st.lists(st.booleans(), min_size=ITEMS, max_size=ITEMS).map(lambda flags: np.array(flags, np.bool_))
strategies = st.none() | st.builds(TemporalSplit, st.integers(1, 9), items)
divisions = strategies | st.builds(LiangSplit, items)


def tasks_of(histories, division, seed=42):
    return [
        build_task(name, histories, scale=STARS, seed=seed, split=division)
        for name in TASK_TITLES
        if name != "global-temporal" or isinstance(division, TemporalSplit)
    ]


def questions(tasks):
    """Return the input and the held-out items of each user and task."""
    return [
        {
            user: (
                rows_of(task.inputs, owner),
                task.inputs.normalized_ratings[
                    task.inputs.offsets[owner] : task.inputs.offsets[owner + 1]
                ].tolist(),
                targets_of(task, owner),
            )
            for owner, user in enumerate(task.inputs.user_ids.tolist())
        }
        for task in tasks
    ]


@given(crowds(), divisions)
def test_no_task_leaks_targets_or_later_items(histories, division):
    for task in tasks_of(histories, division):
        assert_no_target_is_input(task)
        assert_targets_are_real(task, histories)
        assert_normalized_by_inputs(task)
        if task.horizon == "next":
            assert_nothing_after_first_target(task, histories)


@given(crowds(), st.builds(TemporalSplit, st.integers(1, 9), items))
def test_temporal_split_ends_all_other_tasks(histories, division):
    *others, last = tasks_of(histories, division)
    assert last.name == "global-temporal"
    assert (last.timestamps >= division.split_timestamp).all()
    for task in others:
        assert (task.timestamps < division.split_timestamp).all()
    for task in (*others, last):
        assert_nothing_from_split_timestamp(task.inputs, division.split_timestamp)
        assert (task.inputs.timestamps != NO_TIMESTAMP).all()


@given(crowds(), strategies, st.integers(0, 3))
def test_task_of_user_is_independent_of_others(histories, division, seed):
    together = questions(tasks_of(histories, division, seed))
    for owner in range(len(histories)):
        one = questions(tasks_of(histories.take(np.array([owner])), division, seed))
        for all_users, part in zip(together, one, strict=True):
            user = int(histories.user_ids[owner])
            assert all_users.get(user) == part.get(user)


@given(crowds(), divisions, st.randoms(use_true_random=False))
def test_order_of_users_changes_nothing(histories, division, random):
    """Also in the published split, which draws by ascending ids."""
    order = list(range(len(histories)))
    random.shuffle(order)
    other = tasks_of(histories.take(np.array(order)), division)
    assert questions(tasks_of(histories, division)) == questions(other)


@given(crowds(), items)
def test_liang_split_has_candidate_positives_only(histories, candidates):
    task = build_task("random-20pct", histories, scale=STARS, split=LiangSplit(candidates))
    assert candidates[task.inputs.items].all()
    assert candidates[task.targets].all()
    assert (task.inputs.ratings >= 4).all()
    both = task.inputs.lengths + task.held_out_items
    np.testing.assert_array_equal(task.held_out_items, (0.2 * both).astype(int))
    assert (both >= 5).all()


@given(crowds())
def test_held_out_ratings_change_no_input(histories):
    """The input has equal bytes for any top rating."""
    task = build_task("top-rated", histories, scale=STARS)
    kept = histories.take(np.flatnonzero(np.isin(histories.user_ids, task.inputs.user_ids)))
    hidden = np.isin(
        kept.owners * ITEMS + kept.items,
        np.repeat(np.arange(len(task)), task.held_out_items) * ITEMS + task.targets,
    )
    raised = users(
        *[
            [
                (
                    int(kept.items[row]),
                    9.0 if hidden[row] else float(kept.ratings[row]),
                    int(kept.timestamps[row]),
                )
                for row in range(kept.offsets[user], kept.offsets[user + 1])
            ]
            for user in range(len(kept))
        ],
        ids=kept.user_ids.tolist() or None,
    )
    other = build_task("top-rated", raised, scale=ValueScale.explicit(1, 9))
    np.testing.assert_array_equal(task.targets, other.targets)
    np.testing.assert_array_equal(task.inputs.normalized_ratings, other.inputs.normalized_ratings)


@st.composite
def tables(draw):
    """Return rows of 6 to 14 users with 5 to 8 items each, some without a rating or a timestamp."""
    rows = []
    for user in range(draw(st.integers(6, 14))):
        for item in draw(st.lists(st.integers(1, 12), min_size=5, max_size=8, unique=True)):
            rating = draw(st.sampled_from([2.0, 4.0, 4.5, 5.0, 5.0, None]))
            rows.append(Row(user, item, rating, draw(st.integers(0, 30) | st.none())))
    return rows


@given(tables(), st.sampled_from(["hash", "bert-cosine", "liang", "temporal"]), st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_splits_are_disjoint_and_complete(rows, split, seed):
    chosen = PreprocessSettings(
        split_strategy=split, seed=seed, held_out_users=1, split_timestamp=20 if split == "temporal" else None
    )
    with tempfile.TemporaryDirectory() as root:
        try:
            prepared = prepare(source(rows), Path(root) / "p", chosen)
        except (
            DataError,
            SettingsError,
        ):  # no user has two items before the cut; not three users have five likes
            assert split in {"temporal", "liang"}
            return
        parts = [prepared.users_in(name) for name in ("train", "validation", "test")]
        assert sorted(np.concatenate(parts).tolist()) == list(range(len(prepared.user_ids)))
        counts = prepared.manifest["counts"]
        for what in ("interactions", "users"):
            assert counts[what]["read"] == counts[what]["kept"] + sum(counts[what]["dropped"].values())
        assert counts["interactions"]["read"] == len(rows)
        assert counts["users"]["read"] == len({row.user for row in rows})


@given(tables(), st.integers(0, 9), st.integers(1, 30))
@settings(max_examples=15, deadline=None)
def test_temporal_split_ends_training_and_validation_histories(rows, seed, cut):
    chosen = PreprocessSettings(
        split_strategy="temporal", seed=seed, split_timestamp=cut, minimum_interactions=1
    )
    with tempfile.TemporaryDirectory() as root:
        try:
            prepared = prepare(source(rows), Path(root) / "p", chosen)
        except DataError:
            return
        ids = prepared.item_ids
        expected = {(row.user, row.item) for row in rows if row.timestamp is not None}
        for split in ("train", "validation"):
            assert_nothing_from_split_timestamp(prepared.histories.take(prepared.users_in(split)), cut)
        task_record = set(prepared.user_ids[prepared.users_in("test")].tolist())
        found = {
            (user, int(ids[item]))
            for owner, user in enumerate(prepared.user_ids.tolist())
            for item in items_of(prepared.histories, owner)
        }
        timestamps = {(row.user, row.item): row.timestamp for row in rows}
        assert found == {pair for pair in expected if pair[0] in task_record or timestamps[pair] < cut}
        histories = prepared.histories
        scales = normalize_ratings(histories.ratings, histories.offsets)
        np.testing.assert_allclose(histories.normalized_ratings, scales, atol=1e-6)
