"""What a training batch asks may not be read by what has to answer it."""

from __future__ import annotations

from math import isnan

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders import SCALE, TASTE, TINY, encoder, reading
from tastevec.data.inputs import N_TIME_GAP_BINS
from tastevec.training.batches import Collator, LengthBuckets, top_rated_batch
from tastevec.training.settings import resolve_settings
from users import TAGGED, users

MODEL = encoder(**TASTE)
RATINGS = st.sampled_from([1.0, 3.0, 4.0, 5.0, TAGGED])
PERSON = st.lists(
    st.tuples(st.integers(0, 19), RATINGS), min_size=1, max_size=14, unique_by=lambda row: row[0]
)
EACH = st.lists(PERSON, min_size=1, max_size=4)
FEW = settings(max_examples=60, deadline=None)


def liked_of(user):
    return [item for item, rating in user if rating >= 4]


def read(made, row):
    """The films of one row."""
    return made["items"][row, : made["lengths"][row]].tolist()


@given(
    EACH, st.integers(0, 50), st.sampled_from([0.2, 1.0]), st.sampled_from([0.0, 0.5, 1.0]), st.integers(1, 9)
)
@FEW
def test_a_moment_is_asked_for_the_first_liked_film_that_is_still_to_come(each, seed, asked, cut, most):
    changes = {"max_history": most, "seed": seed, "target_fraction": asked, "history_split_rate": cut}
    batches = Collator(users(*each), reading(max_history=most), resolve_settings(**{**TINY, **changes}))
    made = {
        name: tensor.numpy() for name, tensor in batches([(0, user) for user in range(len(each))]).items()
    }
    width, positive = made["items"].shape[1] + 1, [set(liked_of(owner)) for owner in each]
    owners = owners_of(made, each, most)
    assert len(set(made["moments"].tolist())) == len(made["moments"])
    for flat, item in zip(made["moments"], made["target_items"], strict=True):
        row, moment = divmod(int(flat), width)
        # Neither it nor anything later has been read.
        assert item == next(other for other in read(made, row)[moment:] if other in positive[owners[row]])


def owners_of(made, each, most):
    """Whose each row is: each person's run stands there whole, or as two rows."""
    owners, row = [], 0
    for user, items in enumerate(each):
        length = min(len(items), most)
        run = read(made, row)
        owners.append(user)
        if len(run) < length:
            row += 1
            run += read(made, row)
            owners.append(user)
        row += 1
        names = [item for item, _ in items]
        assert run in [names[start : start + length] for start in range(len(names) - length + 1)]
    assert row == len(made["items"])
    return owners


@given(EACH, st.integers(0, 50))
@FEW
def test_every_moment_that_a_liked_film_follows_is_asked_if_all_are(each, seed):
    changes = {"max_history": 20, "seed": seed, "target_fraction": 1.0, "history_split_rate": 0.0}
    batches = Collator(users(*each), reading(max_history=20), resolve_settings(**{**TINY, **changes}))
    made = batches([(0, user) for user in range(len(each))])
    moments = sum(
        any(item in liked_of(owner) for item, _ in owner[start:])
        for owner in each
        for start in range(len(owner))
    )
    assert len(made["moments"]) == moments


@given(EACH, st.sampled_from(["all", "latest", "lowest-item"]), st.sampled_from(["time", "item"]))
@FEW
def test_the_best_rated_film_is_asked_of_everything_else(each, ties, order):
    settings_ = resolve_settings("bert-cosine", backbone="fresh", ties=ties, order=order)
    made = top_rated_batch(users(*each), reading(max_history=99, order=order), settings_)
    for user, items in enumerate(each):
        told = read(made, user)
        wanted = made["target_items"][made["target_users"] == user].tolist()
        rated = [(rating, item) for item, rating in items if not isnan(rating)]
        top = {item for rating, item in rated if rating == max(rated)[0]}
        assert set(wanted) <= top
        assert len(wanted) == (len(top) if ties == "all" else min(len(top), 1))
        assert sorted(told + wanted) == sorted(item for item, _ in items)


@given(st.lists(st.integers(0, 300), min_size=1, max_size=90), st.integers(1, 9), st.integers(0, 9))
@FEW
def test_every_epoch_is_a_permutation_of_the_people(lengths, batch_size, epoch):
    buckets = LengthBuckets(np.array(lengths), batch_size, seed=1)
    buckets.set_epoch(epoch)
    assert sorted(buckets) == list(range(len(lengths)))


@given(EACH, st.data())
@settings(max_examples=15, deadline=None)
def test_whatever_is_asked_of_a_moment_its_answer_does_not_know_the_film(each, data):
    """The whole way: another film in the place of what is asked, and in all that follows it, changes no answer."""
    settings_ = resolve_settings(**{**TINY, "max_history": 12, "history_split_rate": 0.0})
    made = Collator(users(*each), reading(), settings_)([(0, user) for user in range(len(each))])
    if not len(made["moments"]):
        return
    arguments = {
        name: made[name]
        for name in ("items", "normalized_ratings", "rating_bins", "lengths", "time_gap_bins")
    }
    one = data.draw(st.integers(0, len(made["moments"]) - 1))
    owner, moment = divmod(int(made["moments"][one]), arguments["items"].shape[1] + 1)
    place = arguments["items"][owner].tolist().index(int(made["target_items"][one]))
    assert place >= moment
    other = {name: array.clone() for name, array in arguments.items()}
    other["items"][owner, place:] = (other["items"][owner, place:] + 1) % 20
    other["rating_bins"][owner, place:] = SCALE.n_bins - other["rating_bins"][owner, place:]
    other["time_gap_bins"][owner, place:] = (other["time_gap_bins"][owner, place:] + 1) % N_TIME_GAP_BINS
    with torch.no_grad():
        before, after = MODEL(**arguments).moments, MODEL(**other).moments
    torch.testing.assert_close(after[owner, moment], before[owner, moment], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(after[owner, place + 1], before[owner, place + 1], atol=1e-4)
