"""What must hold of protocols and rankings whatever people did."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from people import TAGGED, films_of, people
from tastevec.data.histories import normalise_ratings
from tastevec.evaluation.metrics import hit_rate, hits, mrr, ndcg, rank_unseen, recall, top_k
from tastevec.evaluation.protocol import cases

FILMS = 30
STARS = (1, 5)
PROTOCOLS = ("best-rated", "fold-in", "future")


@st.composite
def crowds(draw):
    """Up to 6 people with 0 to 20 different films each, some only tagged, in the order of their times."""
    each = []
    for _ in range(draw(st.integers(1, 6))):
        films = draw(st.lists(st.integers(0, FILMS - 1), max_size=20, unique=True))
        ratings = draw(
            st.lists(st.sampled_from([1, 2, 3, 4, 5, TAGGED]), min_size=len(films), max_size=len(films))
        )
        times = sorted(draw(st.lists(st.integers(0, 9), min_size=len(films), max_size=len(films))))
        each.append(list(zip(films, ratings, times, strict=True)))
    return people(*each)


def tasks_of(histories):
    return [
        task for protocol in PROTOCOLS for task in cases(histories, protocol=protocol, rating_range=STARS)
    ]


def hidden_of(task, person):
    return task.targets[task.offsets[person] : task.offsets[person + 1]].tolist()


@given(crowds())
def test_nothing_hidden_is_known_and_nothing_is_invented(histories):
    for task in tasks_of(histories):
        assert len(task) + task.left_out == len(histories)
        for person, user_id in enumerate(task.known.user_ids):
            known, hidden = films_of(task.known, person), hidden_of(task, person)
            everything = films_of(histories, histories.user_ids.tolist().index(user_id))
            assert known
            assert hidden
            assert not set(known) & set(hidden)
            assert known == [film for film in everything if film in set(known)]  # the order is kept
            assert set(hidden) <= set(everything)


@given(crowds())
def test_the_future_is_never_known(histories):
    for task in cases(histories, protocol="future", rating_range=STARS):
        for person, user_id in enumerate(task.known.user_ids):
            everything = films_of(histories, histories.user_ids.tolist().index(user_id))
            known, first = films_of(task.known, person), hidden_of(task, person)[0]
            assert known == everything[: everything.index(first)]


@given(crowds())
def test_statistics_are_those_of_the_known_films_alone(histories):
    for task in tasks_of(histories):
        expected = normalise_ratings(task.known.ratings, task.known.offsets)
        np.testing.assert_array_equal(task.known.normalised, expected)


@given(crowds(), st.randoms())
def test_the_order_of_the_people_changes_nothing(histories, random):
    order = list(range(len(histories)))
    random.shuffle(order)
    for task, other in zip(tasks_of(histories), tasks_of(histories.take(np.array(order))), strict=True):
        questions = [
            {
                user_id: (films_of(asked.known, person), hidden_of(asked, person))
                for person, user_id in enumerate(asked.known.user_ids.tolist())
            }
            for asked in (task, other)
        ]
        assert questions[0] == questions[1]


@given(crowds())
def test_what_is_hidden_changes_nothing_that_is_known(histories):
    """Whatever the top films were rated, as long as they are the top, the known part has the same bytes."""
    [task] = cases(histories, protocol="best-rated", rating_range=STARS)
    kept = histories.take(np.flatnonzero(np.isin(histories.user_ids, task.known.user_ids)))
    hidden = np.isin(
        kept.owners * FILMS + kept.items, np.repeat(np.arange(len(task)), task.hidden) * FILMS + task.targets
    )
    raised = people(
        *[
            [
                (int(kept.items[row]), 9.0 if hidden[row] else float(kept.ratings[row]), int(kept.times[row]))
                for row in range(kept.offsets[person], kept.offsets[person + 1])
            ]
            for person in range(len(kept))
        ],
        ids=kept.user_ids.tolist() or None,
    )
    [other] = cases(raised, protocol="best-rated", rating_range=(1, 9))
    np.testing.assert_array_equal(task.targets, other.targets)
    np.testing.assert_array_equal(task.known.normalised, other.known.normalised)


scores_with_ties = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(1, FILMS)),
    elements=st.sampled_from([-2.0, -1.0, -0.0, 0.0, 0.5, 1.0, 3.0]),
)


@given(scores_with_ties, st.integers(1, 40))
def test_top_k_is_the_head_of_a_stable_sort(scores, k):
    np.testing.assert_array_equal(top_k(scores, k), np.argsort(-scores, axis=1, kind="stable")[:, :k])


@given(crowds(), st.integers(1, FILMS), st.integers(0, 10_000))
def test_a_ranking_holds_each_unseen_film_once(histories, k, seed):
    scores = np.random.default_rng(seed).integers(0, 4, (len(histories), FILMS)).astype(np.float32)
    for person, ranked in enumerate(rank_unseen(scores, histories, k)):
        own = films_of(histories, person)
        there = ranked[ranked >= 0].tolist()
        assert len(set(there)) == len(there) == min(k, FILMS - len(own))
        assert not set(there) & set(own)


@given(st.integers(0, 10_000), st.integers(1, FILMS))
def test_metrics_stay_between_nothing_and_all_and_grow_with_depth(seed, k):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, FILMS, 4)
    targets = np.concatenate([rng.permutation(FILMS)[:size] for size in sizes]).astype(np.int32)
    ranked = top_k(rng.random((4, FILMS)).astype(np.float32), FILMS)
    hit = hits(ranked, np.concatenate([[0], np.cumsum(sizes)]), targets, FILMS)
    np.testing.assert_array_equal(hit.sum(axis=1), sizes)
    for values in (hit_rate(hit, k), recall(hit, sizes, k), ndcg(hit, sizes, k), mrr(hit, k)):
        assert ((values >= 0) & (values <= 1 + 1e-12)).all()
    assert (hit_rate(hit, k) >= hit_rate(hit, max(1, k - 1))).all()
    np.testing.assert_allclose(recall(hit, sizes, FILMS), 1)
