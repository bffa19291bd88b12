"""Properties of histories in which items repeat: what is known is no target, and a set has each item once."""

from __future__ import annotations

from dataclasses import replace
from math import isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.leaks import assert_no_target_is_input, targets_of
from encoders import SCALE, TASTE, TINY, encoder, reading
from tastevec.data.value_scale import ValueScale
from tastevec.evaluation.slices import shuffle_sessions
from tastevec.evaluation.tasks import TASK_TITLES, LiangSplit, TemporalSplit, build_task
from tastevec.serving.explain import leave_one_out
from tastevec.training.batches import positive_batch, top_rated_batch
from tastevec.training.settings import TasteSettings
from users import TAGGED, rows_of, valued

ITEMS = 12
STARS = ValueScale.explicit(1, 5)
PLAYS = ValueScale("weighted", 0, 9, positive_from=2, top=9, n_bins=SCALE.n_bins)
SCALES = pytest.mark.parametrize("scale", [STARS, PLAYS], ids=["explicit", "weighted"])
EVERY = np.ones(ITEMS, np.bool_)
MODEL = encoder(**TASTE)
ROW = st.tuples(st.integers(0, ITEMS - 1), st.sampled_from([1.0, 2.0, 4.0, 5.0, TAGGED]), st.integers(1, 90))
USERS = st.lists(
    st.lists(ROW, max_size=25).map(lambda rows: sorted(rows, key=lambda row: row[2])), min_size=1, max_size=4
)
FEW = settings(max_examples=25, deadline=None)


def kept(scale, each):
    """Return histories that keep repeats, oldest first."""
    return replace(valued(scale, *each), repeats=scale)


def by_hand(scale, rows):
    """Return the value and the latest row of each item, in the order of the latest rows."""
    found = {}
    for item, value, time in rows:
        before = found.pop(item, (TAGGED,))[0]
        added = np.nansum([before, value]) if not isnan(before) or not isnan(value) else TAGGED
        found[item] = (value if scale.kind == "explicit" else float(added), time)
    return [(item, -1.0 if isnan(value) else value, time) for item, (value, time) in found.items()]


@SCALES
@given(each=USERS)
@FEW
def test_once_has_each_item_at_its_latest_row_with_its_value(scale, each):
    once = kept(scale, each).once()

    assert [rows_of(once, user) for user in range(len(each))] == [by_hand(scale, rows) for rows in each]
    np.testing.assert_array_equal(
        once.normalized_ratings, scale.normalize(once.ratings, once.offsets), strict=True
    )
    assert once.once() is once


@SCALES
@given(each=USERS, cut=st.integers(1, 90))
@FEW
def test_no_task_holds_out_a_known_item(scale, each, cut):
    histories = kept(scale, each)
    for split in (None, LiangSplit(EVERY), TemporalSplit(cut, EVERY)):
        for name in TASK_TITLES:
            if name == "global-temporal" and not isinstance(split, TemporalSplit):
                continue
            task = build_task(name, histories, scale=scale, split=split)
            assert_no_target_is_input(task)
            if task.horizon == "next":
                assert_no_target_is_input(replace(task, inputs=shuffle_sessions(task.inputs, 7)))
            for owner, user in enumerate(task.inputs.user_ids.tolist()):
                targets, everything = targets_of(task, owner), rows_of(histories, user - 1)
                inputs = rows_of(task.inputs, owner)
                assert len(set(targets)) == len(targets)
                assert ("Repeats are input" in task.note) == (task.horizon == "next")
                if task.horizon == "overall":  # each item once
                    assert len({item for item, _, _ in inputs}) == len(inputs)
                elif split is None:  # the history up to the first target, with all its repeats
                    assert inputs == everything[: len(inputs)]
                    assert everything[len(inputs)][0] == targets[0]


@SCALES
@given(each=USERS, seed=st.integers(0, 9), rate=st.sampled_from([0.0, 1.0]), most=st.integers(2, 9))
@FEW
def test_no_training_target_is_known(scale, each, seed, rate, most):
    chosen = TasteSettings(**{**TINY, "max_history": most, "history_split_rate": rate, "target_fraction": 1})
    config = replace(reading(max_history=most), scale=scale)

    batch = positive_batch(kept(scale, each), config, chosen, np.random.default_rng(seed))

    width = batch["items"].shape[1] + 1
    for flat, item in zip(batch["target_positions"].tolist(), batch["target_items"].tolist(), strict=True):
        row, position = divmod(flat, width)
        read = batch["items"][row, :position].tolist()
        assert item not in read
    if (
        most >= max(map(len, each)) and not rate
    ):  # runs are whole histories: every first row of a positive is a target
        ahead = [
            {item for item, value, _ in by_hand(scale, rows) if value >= scale.positive_from} for rows in each
        ]
        found = set(
            zip((batch["target_positions"] // width).tolist(), batch["target_items"].tolist(), strict=True)
        )
        assert found == {(user, item) for user, items in enumerate(ahead) for item in items}


@given(each=USERS)
@FEW
def test_top_rated_target_of_the_research_note_is_in_no_row_of_the_input(each):
    batch = top_rated_batch(kept(STARS, each), replace(reading(), order="item"))

    for user, item in zip(batch["target_users"].tolist(), batch["target_items"].tolist(), strict=True):
        known = batch["items"][user, : batch["lengths"][user]].tolist()
        assert item not in known
        assert len(set(known)) == len(known)


@SCALES
@pytest.mark.parametrize("longest", [0, 50])
@given(each=USERS)
@settings(max_examples=10, deadline=None)
def test_overall_reads_the_history_with_each_item_once(scale, longest, each):
    config = replace(reading(max_history=30), scale=scale, max_history_overall=longest)
    histories = kept(scale, each)

    arrays, once = config.arrays(histories), config.arrays(histories.once())

    np.testing.assert_array_equal(MODEL.encode("overall", **arrays), MODEL.encode("overall", **once))
    assert arrays["lengths"].tolist() == [min(30, len(rows)) for rows in each]


@given(rows=USERS.map(lambda each: each[0]), data=st.data())
@FEW
def test_history_without_an_item_has_none_of_its_rows(rows, data):
    history = kept(PLAYS, [rows])
    places = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=5) if rows else st.just([]))

    found = leave_one_out(history, np.array(places, np.int64))

    for user, place in enumerate(places):
        assert rows_of(found, user) == [row for row in rows_of(history, 0) if row[0] != rows[place][0]]
