"""The taste space and the linear answer in it (tastevec.items.taste_space)."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_info, threadpool_limits

from encoders import SCALE, reading
from tastevec.errors import MissingExtraError
from tastevec.items import taste_space as regression
from tastevec.items import taste_space as space
from tastevec.items.cold_start import InitialVectors
from tastevec.items.taste_space import ItemRegression, TasteSpace, TasteSpaceSettings
from tastevec.model.encoder import RidgeFoldIn
from users import TAGGED, users, world

SETTINGS = TasteSpaceSettings(
    rating_range=(1, 5), dim=6, ridge=3.0, shrinkage=1.0, fold_in_shrinkage=1.0, iterations=4
)
# 20 films, of which the first half are rockets and the others letters; then a rocket and a letter that nobody has rated,
# and a film of which nothing is said.
CONTENT = np.zeros((23, 2), np.float32)
CONTENT[[*range(10), 20], 0] = 1
CONTENT[[*range(10, 20), 21], 1] = 1
SPACE = TasteSpace.fit(world(), CONTENT, SETTINGS)


def several():
    """People of several lengths, with every kind of rating."""
    return users(
        [(0, 5), (1, 4), (2, 3), (3, 1), (4, TAGGED)],
        [],
        [(19, 4.5)],
        [(item, 1 + item % 5) for item in range(20)],
        [(20, 5), (22, 2.5)],
    )


def scores(found, *history):
    """(N,) what is expected of each film by somebody with this history."""
    return (found.fold_in(users(list(history))) @ found.initial.vectors.T)[0]


def test_who_likes_two_rockets_is_expected_to_like_the_other_rockets():
    expected = scores(SPACE, (0, 5), (1, 5))
    assert expected[2:10].min() > expected[10:20].max()


def test_the_defaults_tell_the_two_tastes_apart_even_in_a_tiny_world():
    found = TasteSpace.fit(world(), CONTENT, TasteSpaceSettings(rating_range=(1, 5)))
    assert found.initial.vectors.shape == found.item_prior.shape == (23, 64)
    expected = scores(found, (0, 5), (1, 5))
    assert expected[2:10].mean() > expected[10:20].mean()


def test_what_an_encoder_answers_is_what_was_solved():
    histories, table = several(), torch.from_numpy(SPACE.initial.vectors)
    linear = RidgeFoldIn(23, 6, SCALE.n_bins)
    linear.initialize(
        table,
        **{name: torch.from_numpy(array) for name, array in SPACE.fold_in_parameters(SCALE.n_bins).items()},
    )
    told = {
        name: torch.from_numpy(array) for name, array in reading(max_history=30).arrays(histories).items()
    }
    answer = linear(table[told["items"]], told["items"], told["rating_bins"], told["lengths"])
    np.testing.assert_allclose(answer.numpy(), SPACE.fold_in(histories), rtol=1e-4, atol=1e-4)


def test_a_persons_vector_is_the_dense_ridge_regression():
    histories, vectors = several(), SPACE.initial.vectors.astype(np.float64)
    of_items = ItemRegression.fit(world(), 23, SETTINGS)
    found = SPACE.fold_in(histories)
    for user, own in enumerate(histories.chunks(1)):
        seen, weights, target = np.zeros(23), np.ones(23), np.zeros(23)
        confidence = SETTINGS.grades(own.ratings, "confidence_grades")
        seen[own.items] = SETTINGS.grades(own.ratings, "input_grades")
        weights[own.items] += confidence
        target[own.items] = (1 + confidence) * SETTINGS.grades(own.ratings, "preference_grades")
        expected = np.zeros(23)
        expected[of_items.items] = seen[of_items.items] @ of_items.weights
        ridge = SETTINGS.fold_in_shrinkage * ((len(own.items) + 1) / 50) ** SETTINGS.shrinkage_power
        system = vectors.T @ (weights[:, None] * vectors) + ridge * np.eye(6)
        vector = np.linalg.solve(system, vectors.T @ (SETTINGS.prior_weight * expected + target))
        vector += (16 / (16 + len(own.items))) ** 2 * SPACE.prior_mean
        np.testing.assert_allclose(found[user], vector, rtol=1e-3, atol=1e-4)


def test_somebody_without_a_history_gets_the_mean_of_the_training_people():
    np.testing.assert_array_equal(SPACE.fold_in(users([]))[0], SPACE.prior_mean)
    nobody = replace(SPACE, prior_mean=np.zeros(6, np.float32))
    np.testing.assert_allclose(SPACE.prior_mean, nobody.fold_in(world()).mean(axis=0), rtol=1e-5, atol=1e-6)
    assert SPACE.prior_mean.any()


def test_longer_histories_beside_his_add_nothing_to_a_persons():
    histories = several()
    together = SPACE.fold_in(histories)
    for user, own in enumerate(histories.chunks(1)):
        np.testing.assert_allclose(SPACE.fold_in(own)[0], together[user], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("item", [0, 15, 20])
def test_a_low_rating_of_a_film_lowers_what_is_expected_of_it_against_a_high_one(item):
    others = [(other, 4) for other in (2, 3, 12)]
    expected = [scores(SPACE, *others, (item, stars))[item] for stars in (1, 2, 3, 4, 5)]
    assert expected[0] < expected[2] < expected[4]
    assert sorted(expected) == expected


def test_films_that_nobody_has_rated_stand_where_their_content_says():
    vectors = SPACE.initial.vectors
    rockets, letters = vectors[:10].mean(axis=0), vectors[10:20].mean(axis=0)
    for item, near, far in ((20, rockets, letters), (21, letters, rockets)):
        assert np.linalg.norm(vectors[item] - near) < np.linalg.norm(vectors[item] - far)
    assert not vectors[22].any()
    assert SPACE.initial.origins.tolist() == ["both"] * 20 + ["content"] * 2 + ["none"]
    assert not SPACE.item_prior[20:].any()  # they say nothing of other films but by where they stand
    expected = scores(SPACE, (0, 5), (1, 5))
    assert expected[20] > expected[21]


def test_content_may_be_sparse():
    sparse = TasteSpace.fit(world(), csr_matrix(CONTENT), SETTINGS)
    np.testing.assert_allclose(sparse.initial.vectors, SPACE.initial.vectors, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(sparse.prior_mean, SPACE.prior_mean, rtol=1e-3, atol=1e-4)


def test_films_beyond_the_most_seen_have_factors_though_no_regression(monkeypatch):
    monkeypatch.setattr(regression, "_MAX_ITEMS", 15)
    found = TasteSpace.fit(world(), CONTENT, SETTINGS)
    assert np.flatnonzero(~found.item_prior[:20].any(axis=1)).tolist() == [8, 12, 13, 17, 18]
    assert found.initial.vectors[:20].any(axis=1).all()
    expected = scores(found, (0, 5), (1, 5))
    assert expected[8] > expected[[12, 13, 17, 18]].max()


def validation_message(histories, items, settings):
    """What the alternation makes small, written out for every person and film, at the best people for ``items``."""
    count = len(items)
    of_items = ItemRegression.fit(histories, count, settings)
    seen, confidence, liking = np.zeros((3, len(histories), count))
    at = (histories.owners, histories.items)
    seen[at] = settings.grades(histories.ratings, "input_grades")
    confidence[at] = settings.grades(histories.ratings, "confidence_grades")
    liking[at] = settings.grades(histories.ratings, "preference_grades")
    expected = np.zeros_like(seen)
    expected[:, of_items.items] = seen[:, of_items.items] @ of_items.weights
    wanted = liking + expected / (1 + confidence)
    ridges = settings.ridge_by_count(histories.lengths, settings.shrinkage)
    persons = np.array(
        [
            np.linalg.solve(
                items.T @ ((1 + c)[:, None] * items) + ridge * np.eye(items.shape[1]), items.T @ ((1 + c) * w)
            )
            for c, w, ridge in zip(confidence, wanted, ridges, strict=True)
        ]
    )
    counts = np.bincount(histories.items, minlength=count)
    loss = ((1 + confidence) * (wanted - persons @ items.T) ** 2).sum() + (ridges[:, None] * persons**2).sum()
    return loss + (settings.ridge_by_count(counts, settings.shrinkage)[:, None] * items**2).sum()


def test_each_alternation_fits_the_ratings_and_the_expectations_better():
    def after(iterations):
        settings = replace(SETTINGS, iterations=iterations, dim=3)
        of_items = ItemRegression.fit(world(), 20, settings)
        return validation_message(
            world(), space._factors(of_items, world(), 20, settings).astype(np.float64), settings
        )

    found = [after(iterations) for iterations in (1, 2, 4, 8)]
    assert found[0] > found[1] > found[2] > found[3]
    assert found[3] < 0.9 * found[0]


def crowd():
    """So many people and films that BLAS divides the work, where it may."""
    rng = np.random.default_rng(3)
    return users(*([(item, rng.integers(1, 6)) for item in rng.permutation(400)[:60]] for _ in range(150)))


def bytes_of(found):
    return [array.tobytes() for array in (found.initial.vectors, found.item_prior, found.prior_mean)]


def test_the_same_histories_give_the_same_bytes_whatever_the_threads():
    content = np.random.default_rng(4).normal(size=(400, 5)).astype(np.float32)
    settings = TasteSpaceSettings(rating_range=(1, 5), dim=24, iterations=2)
    found = []
    for threads in (1, 1, 2, 4):
        with threadpool_limits(threads, "blas"):
            found.append(bytes_of(TasteSpace.fit(crowd(), content, settings)))
    assert found[0] == found[1] == found[2] == found[3]
    other = TasteSpace.fit(crowd(), content, replace(settings, seed=7))
    assert bytes_of(other) != found[0]


@pytest.mark.parametrize("how", ["fit", "around"])
def test_while_it_is_solved_blas_has_one_thread_and_afterwards_those_of_before(monkeypatch, how):
    seen, ours = set(), space.solve_ridge

    def watched(*told):
        seen.update(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
        return ours(*told)

    monkeypatch.setattr(space, "solve_ridge", watched)
    with threadpool_limits(2, "blas"):
        if how == "fit":
            TasteSpace.fit(world(), CONTENT, SETTINGS)
        else:
            TasteSpace.from_vectors(SPACE.initial, world(), SETTINGS)
        assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {2}
    assert seen == {1}


def test_around_vectors_from_elsewhere_a_film_says_nothing_of_others_but_by_its_place():
    start = InitialVectors(np.eye(4, dtype=np.float32), np.full(4, "genome-svd"))
    found = TasteSpace.from_vectors(start, users([(0, 5), (1, 5)], [(0, 5)]), SETTINGS)
    assert found.initial is start
    assert not found.item_prior.any()
    assert found.prior_mean[0] > found.prior_mean[1] > found.prior_mean[2] == found.prior_mean[3] == 0
    expected = scores(found, (2, 5), (3, 1))
    assert expected[2] > expected[3] > 0


def test_the_arguments_are_left_as_they_were():
    histories, content = world(), CONTENT.copy()
    TasteSpace.fit(histories, content, SETTINGS)
    np.testing.assert_array_equal(content, CONTENT)
    np.testing.assert_array_equal(histories.ratings, world().ratings)


def test_without_threadpoolctl_the_line_that_installs_it_is_given(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tastevec\[train\]'"):
        TasteSpace.fit(world(), CONTENT, SETTINGS)
