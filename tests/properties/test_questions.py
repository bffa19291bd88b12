"""What a training batch asks may not be read by what has to answer it."""

from __future__ import annotations

from math import isnan

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders import SCALE, TASTE, TINY, encoder, reading
from people import TAGGED, people
from tastevec.training.batches import Batches, LengthBuckets, best_rated_batch
from tastevec.training.settings import resolve_settings

MODEL = encoder(**TASTE)
RATINGS = st.sampled_from([1.0, 3.0, 4.0, 5.0, TAGGED])
PERSON = st.lists(
    st.tuples(st.integers(0, 19), RATINGS), min_size=1, max_size=14, unique_by=lambda row: row[0]
)
EACH = st.lists(PERSON, min_size=1, max_size=4)
FEW = settings(max_examples=60, deadline=None)


def liked_of(person):
    return [film for film, rating in person if rating >= 4]


@given(EACH, st.integers(0, 50), st.sampled_from([0.0, 0.5, 0.9]), st.integers(1, 9))
@FEW
def test_a_moment_is_asked_for_a_later_liked_film_and_a_set_for_films_it_does_not_hold(
    each, seed, hide, most
):
    settings_ = resolve_settings(**{**TINY, "max_history": most, "hide": hide, "seed": seed})
    batches = Batches(people(*each), reading(max_history=most, set_history=99), settings_)
    made = {
        name: tensor.numpy() for name, tensor in batches([(0, user) for user in range(len(each))]).items()
    }
    width = made["items"].shape[1] + 1
    for flat, film in zip(made["moments"], made["next_items"], strict=True):
        person, moment = divmod(int(flat), width)
        run = made["items"][person, : made["lengths"][person]].tolist()
        liked = set(liked_of(each[person]))
        # It is the first liked film that is still to come, so that neither it nor anything later has been read.
        assert film == next(other for other in run[moment:] if other in liked)
    for person in range(len(each)):
        told = made["set_items"][person, : made["set_lengths"][person]].tolist()
        wanted = made["hidden_items"][made["hidden_people"] == person].tolist()
        assert not set(told) & set(wanted)
        assert set(wanted) <= set(liked_of(each[person]))
        assert set(told) <= {film for film, _ in each[person]}
        assert set(liked_of(each[person])) <= set(told) | set(wanted)


@given(EACH, st.integers(0, 50))
@FEW
def test_every_moment_that_a_liked_film_follows_is_asked(each, seed):
    batches = Batches(
        people(*each),
        reading(max_history=20, set_history=99),
        resolve_settings(**{**TINY, "max_history": 20, "seed": seed}),
    )
    made = batches([(0, user) for user in range(len(each))])
    moments = sum(
        any(film in liked_of(person) for film, _ in person[start:])
        for person in each
        for start in range(len(person))
    )
    assert len(made["moments"]) == moments


@given(EACH, st.sampled_from(["all", "latest", "lowest-item"]), st.sampled_from(["time", "item"]))
@FEW
def test_the_best_rated_film_is_asked_of_everything_else(each, ties, order):
    settings_ = resolve_settings("seed", backbone="fresh", ties=ties, order=order)
    made = best_rated_batch(people(*each), reading(max_history=99, order=order), settings_)
    for person, films in enumerate(each):
        told = made["items"][person, : made["lengths"][person]].tolist()
        wanted = made["hidden_items"][made["hidden_people"] == person].tolist()
        rated = [(rating, film) for film, rating in films if not isnan(rating)]
        top = {film for rating, film in rated if rating == max(rated)[0]}
        assert set(wanted) <= top
        assert len(wanted) == (len(top) if ties == "all" else min(len(top), 1))
        assert sorted(told + wanted) == sorted(film for film, _ in films)


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
    settings_ = resolve_settings(**{**TINY, "max_history": 12, "hide": 0.0})
    made = Batches(people(*each), reading(set_history=99), settings_)(
        [(0, user) for user in range(len(each))]
    )
    if not len(made["moments"]):
        return
    arguments = {name: made[name] for name in ("items", "strengths", "levels", "lengths")}
    one = data.draw(st.integers(0, len(made["moments"]) - 1))
    person, moment = divmod(int(made["moments"][one]), arguments["items"].shape[1] + 1)
    place = arguments["items"][person].tolist().index(int(made["next_items"][one]))
    assert place >= moment
    other = {name: array.clone() for name, array in arguments.items()}
    other["items"][person, place:] = (other["items"][person, place:] + 1) % 20
    other["levels"][person, place:] = SCALE.levels - other["levels"][person, place:]
    with torch.no_grad():
        before, after = MODEL(**arguments).moments, MODEL(**other).moments
    torch.testing.assert_close(after[person, moment], before[person, moment], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(after[person, place + 1], before[person, place + 1], atol=1e-4)
