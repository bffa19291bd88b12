"""Behavior of made-up encoders, whose answers are known."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from tastevec.data.value_scale import ValueScale
from tastevec.evaluation.behavior import (
    frequent_categories,
    give_twice,
    length_eta_squared,
    measure_behavior,
    random_ranks,
    reverse_ratings,
    shuffle_items,
    user_auc,
)
from tastevec.evaluation.results import MEASURES
from tastevec.evaluation.scorers import EncodedScorer, Runs
from users import items_of, plain_dataset, rows_of, users, valued

SCALE = ValueScale.explicit(1, 5)
GENRES = 3
ITEMS = 40 * GENRES  # item i is of genre i % 3
NAMES = np.array(["comedy", "drama", "war"])[np.arange(ITEMS) % GENRES]
CATEGORIES = pa.chunked_array([pa.array([[name] for name in NAMES])])
# A genre each, and a little of their own, so that no two are equal.
OWN = np.random.default_rng(0).standard_normal((ITEMS, 4))
TABLE = np.hstack([np.eye(GENRES)[np.arange(ITEMS) % GENRES], 0.01 * OWN]).astype(np.float32)
TABLE /= np.linalg.norm(TABLE, axis=1, keepdims=True)


def history(user, length=30):
    """Return 5 for items of the user's genre and 1 for all others, each item once."""
    items = np.random.default_rng(user).permutation(ITEMS)[:length].tolist()
    return [(item, 5 if item % GENRES == user % GENRES else 1, step) for step, item in enumerate(items)]


@pytest.fixture(scope="module")
def dataset():
    return plain_dataset(
        users(*(history(user, 60) for user in range(30)), ids=range(30)),
        users(*(history(user, 20 + user % 20) for user in range(100, 160)), ids=range(100, 160)),
        ITEMS,
        SCALE,
    )


def summed(histories, weights):
    """(B, D) the sum of the item vectors of each user, each times its weight."""
    vectors = np.zeros((len(histories), TABLE.shape[1]))
    np.add.at(vectors, histories.owners, np.asarray(weights, float)[:, None] * TABLE[histories.items])
    return vectors.astype(np.float32)


def by_rating(histories, _horizon):
    histories = histories.once()
    return summed(histories, histories.ratings - 3)


def by_item(histories, _horizon):
    return summed(histories.once(), np.ones(len(histories.once().items)))


def by_place(histories, _horizon):
    return summed(histories, np.arange(len(histories.items)) - histories.offsets[histories.owners])


def behavior(encode, dataset, *, table=TABLE, categories=CATEGORIES, horizons=("overall",)):
    scorer = EncodedScorer("ours", "a space", table, encode)
    found = measure_behavior([Runs.one(scorer)], dataset, categories, horizons=horizons)
    return {row.measure: row for row in found.rows}, found.skipped


@pytest.fixture(scope="module")
def minding(dataset):
    """The behavior of an encoder that minds every rating."""
    rows, skipped = behavior(by_rating, dataset)
    assert not skipped
    assert rows.keys() == MEASURES.keys()
    return rows


def test_encoder_that_minds_ratings_has_best_values(minding):
    means = {name: row.mean for name, row in minding.items()}
    assert means["dislike_auc"] == 1
    assert means["disliked@20"] == 0
    assert 0 < means["positives@20"] < 20
    assert means["kept@12"] == 0  # the user's genre is the worst one then
    assert means["low_category@20"] == 0
    assert means["high_category@20"] == means["one_item_category@20"] == 1
    assert means["one_item_itself@20"] == means["repeat_difference"] == 0
    assert means["order_difference"] == pytest.approx(0, abs=1e-4)  # of a sum
    assert 0.5 < means["random_half_accuracy"] <= 1


def test_references_are_what_the_data_say(minding):
    assert minding["dislike_auc"].reference < 0.7  # of each item, a third of the users rate it 5
    assert minding["one_item_category@20"].reference == pytest.approx(1 / 3)
    assert np.isnan(minding["high_category@20"].reference)  # this encoder knows nothing without a rating
    assert minding["random_half_accuracy"].reference == 0.5
    assert minding["length_eta_squared"].reference == pytest.approx(19 / 59)


def test_intervals_are_of_users_only(minding):
    auc, probe, single = (
        minding[name] for name in ("positives@20", "one_item_similar@20", "order_difference")
    )
    assert auc.ci_low < auc.mean < auc.ci_high
    assert (auc.unit, auc.n_values, single.n_values) == ("users", 60, 60)
    assert (probe.unit, probe.n_values) == ("items", 100)
    assert np.isnan([probe.ci_low, single.ci_low]).all()


def test_encoder_that_ignores_ratings_keeps_all_items(dataset):
    rows, _ = behavior(by_item, dataset)
    assert rows["kept@12"].mean == 12
    assert rows["low_category@20"].mean == rows["high_category@20"].mean == 1


def test_encoder_that_reads_places_depends_on_order_and_repeats(dataset):
    rows, _ = behavior(by_place, dataset)
    assert rows["order_difference"].mean > 1
    assert rows["repeat_difference"].mean > 1


def test_equal_top_10_needs_items_of_one_length(dataset, minding):
    assert minding["same@10"].mean == pytest.approx(10, abs=0.1)
    longer = TABLE * np.linspace(1, 3, ITEMS, dtype=np.float32)[:, None]
    rows, _ = behavior(by_rating, dataset, table=longer)
    assert rows["same@10"].mean < 8


def test_repeats_and_order_are_of_overall_alone(dataset):
    rows, skipped = behavior(by_rating, dataset, horizons=("next",))
    assert MEASURES.keys() - rows.keys() == {"order_difference", "repeat_difference"}
    assert not skipped


def test_runs_of_one_system_are_averaged(dataset):
    scorers = [EncodedScorer("ours", "a space", TABLE, encode) for encode in (by_rating, by_item)]
    found = measure_behavior([Runs("ours", scorers)], dataset, CATEGORIES, horizons=("overall",))
    assert {row.measure: row.mean for row in found.rows}["kept@12"] == 6


def test_data_without_ratings_and_categories_skip_measures():
    plays = ValueScale.strength("weighted", positive_from=1, top=50)
    each = [[(item, 1 + item % 3) for item in range(user, user + 30)] for user in range(9)]
    valued_users = valued(plays, *each)
    data = plain_dataset(valued_users.take(np.arange(6)), valued_users.take(np.arange(6, 9)), ITEMS, plays)
    rows, skipped = behavior(by_item, data, categories=None)
    assert rows.keys() | skipped.keys() == MEASURES.keys()
    assert not rows.keys() & skipped.keys()
    assert skipped["kept@12"] == "weighted feedback has no low ratings"
    assert skipped["one_item_category@20"].startswith("no category has 25 or more items")
    assert skipped["repeat_difference"] == "the values of a repeated item add up"
    assert skipped["length_eta_squared"] == "fewer than 60 users, or equal histories"


def test_users_of_one_item_skip_all_measures(dataset):
    data = plain_dataset(dataset.train, users([(0, 5)], [(1, 1)], ids=[900, 901]), ITEMS, SCALE)
    rows, skipped = behavior(by_rating, data)
    assert not rows
    assert skipped == dict.fromkeys(MEASURES, "no user has two items")


def test_tiny_catalog_has_no_probes_of_items_and_categories():
    each = [[(item, 4) for item in range(6)] for _ in range(4)]
    data = plain_dataset(users(*each), users(*each, ids=range(9, 13)), ITEMS, SCALE)
    rows, skipped = behavior(by_rating, data)
    assert skipped["one_item_itself@20"] == "at most 20 items have raters"
    assert skipped["dislike_auc"] == "no user has a held-out positive and a held-out dislike"
    assert rows.keys() | skipped.keys() == MEASURES.keys()


def test_lists_shorter_than_20_are_measured(dataset):
    """22 items have a vector, so that the lists of a user with more items end early."""
    table = np.where(np.arange(ITEMS)[:, None] < 22, TABLE, 0).astype(np.float32)
    rows, _ = behavior(by_rating, dataset, table=table)
    assert rows["same@10"].mean == pytest.approx(10, abs=0.1)  # of fewer
    assert rows["one_item_category@20"].mean <= 1
    assert rows["one_item_similar@20"].mean <= 20


def test_frequent_categories_are_neither_rare_nor_those_of_most_items():
    lists = [["all", "third" if item % 3 == 0 else "rest"] for item in range(90)] + [
        ["rare"],
        [],
        None,
        ["third", None],
    ]
    member = frequent_categories(pa.chunked_array([pa.array(lists)]), np.ones(94, np.int64))
    assert np.flatnonzero(member[0]).tolist() == [*range(0, 90, 3), 93]
    assert len(member) == 1


def test_length_explained_by_clusters_is_whole_part_or_undefined():
    lengths = np.repeat(np.arange(1, 21), 10)
    rng = np.random.default_rng(0)
    apart = np.eye(20)[lengths - 1] + 0.001 * rng.standard_normal((200, 20))
    assert length_eta_squared(apart, lengths, 0) == pytest.approx(1)
    assert length_eta_squared(rng.standard_normal((200, 20)), lengths, 0) < 0.3
    assert np.isnan(length_eta_squared(apart, np.full(200, 7), 0))
    assert np.isnan(length_eta_squared(np.ones((200, 3)), lengths, 0))


histories = st.lists(
    st.lists(st.tuples(st.integers(0, 99), st.sampled_from([1.0, 2.5, 5.0])), max_size=7), max_size=4
).map(lambda each: users(*each))


@given(histories)
def test_ratings_reversed_twice_are_the_ratings(found):
    changed = reverse_ratings(found, SCALE)
    np.testing.assert_array_equal(changed.ratings, 6 - found.ratings)
    np.testing.assert_array_equal(changed.items, found.items)
    again = reverse_ratings(changed, SCALE)
    np.testing.assert_array_equal(again.ratings, found.ratings)
    np.testing.assert_allclose(again.normalized_ratings, found.normalized_ratings, atol=1e-6)


@given(histories, st.integers(0, 9))
def test_random_halves_share_nothing_and_differ_by_one_at_most(found, seed):
    ranks = random_ranks(found, seed)
    halves = [found.keep(ranks % 2 == half) for half in (0, 1)]
    for user in range(len(found)):
        own = slice(found.offsets[user], found.offsets[user + 1])
        assert sorted(ranks[own]) == list(range(found.lengths[user]))
        assert sorted(items_of(halves[0], user) + items_of(halves[1], user)) == sorted(items_of(found, user))
    assert set(halves[0].lengths - halves[1].lengths) <= {0, 1}


@given(histories, st.integers(0, 9))
def test_shuffled_and_repeated_histories_have_the_same_rows(found, seed):
    shuffled = shuffle_items(found, random_ranks(found, seed))
    twice = give_twice(found, SCALE)
    for user in range(len(found)):
        own = rows_of(found, user)
        assert sorted(rows_of(shuffled, user)) == sorted(own)
        assert sorted(rows_of(twice, user)) == sorted(2 * own)


pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(-2, 2), st.booleans()), max_size=20)


@given(pairs)
def test_user_auc_equals_sklearn(rows):
    owners, scores, positive = (np.array([row[column] for row in rows]) for column in range(3))
    found = user_auc(owners.astype(np.int64), scores.astype(float), positive.astype(bool), 4)
    for user in range(4):
        own = owners == user
        if len(set(positive[own])) < 2:
            assert np.isnan(found[user])
        else:
            assert found[user] == pytest.approx(roc_auc_score(positive[own], scores[own]))
