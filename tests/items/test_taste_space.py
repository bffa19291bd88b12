"""The embedding space, its item regression and the ridge fold-in (tastevec.items.taste_space)."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_info, threadpool_limits

from encoders import SCALE, reading
from tastevec.data.value_scale import ValueScale
from tastevec.errors import MissingExtraError, SettingsError
from tastevec.items import taste_space
from tastevec.items.cold_start import InitialVectors
from tastevec.items.taste_space import (
    ItemRegression,
    TasteSpace,
    TasteSpaceSettings,
    interaction_matrix,
)
from tastevec.model.encoder import RidgeFoldIn
from users import TAGGED, users, world
from worlds import ITEMS

GRADES = ("input_grades", "target_grades", "confidence_grades", "preference_grades")
# A different weight for each half star of 1 to 5.
STEEP = dict.fromkeys(GRADES, (0.0, 1.0, 4.0, 9.0, 16.0))
REGRESSION = TasteSpaceSettings(scale=ValueScale.explicit(1, 5), ridge=3.0)


@pytest.mark.parametrize("grade", GRADES)
@pytest.mark.parametrize("rating_range", [(1, 5), (0.5, 5), (0, 100), (-1, 1)])
def test_grades_interpolate_between_five_ratings(grade, rating_range):
    settings = TasteSpaceSettings(scale=ValueScale.explicit(*rating_range), **STEEP)
    ratings = np.linspace(*rating_range, 9).astype(np.float32)
    grades = settings.grades(ratings, grade)
    assert grades.dtype == np.float32
    np.testing.assert_allclose(grades, [0, 0.5, 1, 2.5, 4, 6.5, 9, 12.5, 16], atol=1e-5)


@pytest.mark.parametrize("rating_range", [(1, 5), (0.5, 5), (0, 100)])
def test_grades_of_tag_only_equal_mid_scale(rating_range):
    settings = TasteSpaceSettings(scale=ValueScale.explicit(*rating_range), **STEEP)
    assert settings.grades(np.array([TAGGED], np.float32), "preference_grades").tolist() == [4]


def test_grades_in_blocks_equal_one_block(monkeypatch):
    ratings = np.array([1, 2.5, TAGGED, 4, 5, 3, 1.5], np.float32)
    expected = TasteSpaceSettings(scale=ValueScale.explicit(1, 5)).grades(ratings, "confidence_grades")
    monkeypatch.setattr(taste_space, "_BLOCK", 3)
    np.testing.assert_array_equal(
        TasteSpaceSettings(scale=ValueScale.explicit(1, 5)).grades(ratings, "confidence_grades"), expected
    )


def test_grades_of_no_ratings_are_empty():
    assert TasteSpaceSettings().grades(np.zeros(0, np.float32), "input_grades").shape == (0,)


@pytest.mark.parametrize("grade", GRADES)
def test_default_grades_never_decrease_with_rating(grade):
    assert (np.diff(getattr(TasteSpaceSettings(), grade)) >= 0).all()


def test_ridge_by_count_grows_from_50_interactions():
    settings = TasteSpaceSettings(shrinkage_power=0.5)
    np.testing.assert_allclose(
        settings.ridge_by_count(np.array([49, 199, 0]), 6.0), [6, 12, 6 / 50**0.5], rtol=1e-6
    )
    even = TasteSpaceSettings(shrinkage_power=0.0)
    assert even.ridge_by_count(np.array([0, 5, 999]), 6.0).tolist() == [6, 6, 6]


@pytest.mark.parametrize("rating_range", [(1, 5), (0.5, 5), (0, 100)])
def test_by_rating_level_has_weights_of_each_level_and_of_tag_only(rating_range):
    scale = ValueScale.explicit(*rating_range)
    settings = TasteSpaceSettings(scale=scale)
    table = settings.by_rating_level()
    ratings = np.array([*np.linspace(*rating_range, scale.n_bins), TAGGED], np.float32)
    assert table.shape == (scale.n_bins + 1, 3)
    assert table.dtype == np.float32
    inputs, confidence, preference = (
        settings.grades(ratings, grade)
        for grade in ("input_grades", "confidence_grades", "preference_grades")
    )
    weights = table[scale.bin_values(ratings)]
    targets = (1 + confidence) * preference
    np.testing.assert_allclose(weights, np.stack([inputs, confidence, targets], 1), rtol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"dim": 0},
        {"iterations": 0},
        {"ridge": 0},
        {"shrinkage": 0},
        {"fold_in_shrinkage": -1},
        {"prior_mean_items": 0},
        {"ridge": float("nan")},
    ],
)
def test_taste_space_settings_out_of_range_are_refused(wrong):
    with pytest.raises(SettingsError, match=r"is out of range. Expected dim and iterations from 1"):
        TasteSpaceSettings(**wrong)


def dense_grades(histories, grade, items=ITEMS):
    """Return grades as a dense matrix, (B, N)."""
    matrix = np.zeros((len(histories), items))
    matrix[histories.owners, histories.items] = REGRESSION.grades(histories.ratings, grade)
    return matrix


def ridges(histories, items=ITEMS):
    """Return the ridge of each item from the settings, (N,): at mean popularity, plus a tenth, to the power."""
    inputs = (dense_grades(histories, "input_grades", items) ** 2).sum(axis=0)
    return REGRESSION.ridge * (inputs / inputs.mean() + 0.1) ** REGRESSION.ridge_power


def test_item_regression_equals_ridge_on_other_items():
    histories = world()
    regression = ItemRegression.fit(histories, ITEMS, REGRESSION)
    inputs, positive, ridge = (
        dense_grades(histories, "input_grades"),
        dense_grades(histories, "target_grades"),
        ridges(histories),
    )
    assert regression.items.tolist() == list(range(ITEMS))
    for item in range(ITEMS):
        others = np.delete(np.arange(ITEMS), item)
        rows = np.concatenate([inputs[:, others], np.diag(np.sqrt(ridge[others]))])
        targets = np.concatenate([positive[:, item], np.zeros(len(others))])
        weights = np.linalg.lstsq(rows, targets, rcond=None)[0]
        np.testing.assert_allclose(regression.weights[others, item], weights, rtol=1e-3, atol=1e-5)
    assert not np.diag(regression.weights).any()


def test_item_regression_predicts_rockets_from_rockets():
    regression = ItemRegression.fit(world(), ITEMS, REGRESSION)
    predicted = regression.weights[[0, 1]].sum(axis=0)
    assert predicted[2:10].min() > predicted[10:].max()


def test_item_regression_uses_low_ratings_as_inputs_but_not_targets():
    rows = [[(0, 5), (1, 5), (2, 1)]] * 9 + [[(3, 5)]] * 9
    regression = ItemRegression.fit(users(*rows), 4, REGRESSION)
    assert regression.weights[0, 1] > 0.1
    assert regression.weights[2, 1] > 0.01
    assert not regression.weights[:, 2].any()


def test_item_regression_of_item_without_users_is_zero():
    histories = users([(0, 5), (3, 4)], [(3, 5), (0, TAGGED)], [(5, 2)])
    regression = ItemRegression.fit(histories, 7, REGRESSION)
    assert regression.items.tolist() == [0, 3, 5]
    assert regression.weights.shape == (3, 3)
    vectors = np.random.default_rng(1).normal(size=(7, 2)).astype(np.float32)
    unrated = [1, 2, 4, 6]
    for projected in (regression.project(vectors), regression.project_transposed(vectors)):
        assert projected.shape == (7, 2)
        assert projected.dtype == np.float32
        assert not projected[unrated].any()
        assert projected[[0, 3]].all()


def test_project_and_its_transpose_equal_dense_predictions():
    regression = ItemRegression.fit(world(), ITEMS, REGRESSION)
    rng = np.random.default_rng(1)
    items, inputs = rng.normal(size=(ITEMS, 4)).astype(np.float32), rng.random((5, ITEMS)).astype(np.float32)
    user_vectors = rng.normal(size=(5, 4)).astype(np.float32)
    expected = inputs @ regression.weights  # of 5 users, for each item
    np.testing.assert_allclose(inputs @ regression.project(items), expected @ items, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        regression.project_transposed(inputs.T @ user_vectors),
        expected.T @ user_vectors,
        rtol=1e-4,
        atol=1e-5,
    )


def test_item_regression_fits_most_popular_items_alone(monkeypatch):
    histories = users([(0, 5), (4, 4), (2, 5)], [(4, 5), (2, 4), (1, 1)], [(2, 5), (4, 3)])
    monkeypatch.setattr(taste_space, "_MAX_ITEMS", 2)
    regression = ItemRegression.fit(histories, 5, REGRESSION)
    assert regression.items.tolist() == [2, 4]
    alone = ItemRegression.fit(histories.keep(np.isin(histories.items, [2, 4])), 5, REGRESSION)
    np.testing.assert_array_equal(regression.weights, alone.weights)


def test_item_regression_in_blocks_equals_one_block(monkeypatch):
    expected = ItemRegression.fit(world(), ITEMS, REGRESSION)
    monkeypatch.setattr(taste_space, "_BLOCK_ITEMS", 7)
    np.testing.assert_array_equal(ItemRegression.fit(world(), ITEMS, REGRESSION).weights, expected.weights)


def test_item_regression_refuses_ridge_below_rounding():
    identical = users(*([(item, 5) for item in range(4)] for _ in range(50)))
    settings = TasteSpaceSettings(scale=ValueScale.explicit(1, 5), ridge=1e-12)
    with pytest.raises(SettingsError, match=r"is singular at item 2. Expected a ridge above"):
        ItemRegression.fit(identical, 4, settings)


def test_item_regression_breaks_popularity_ties_by_index(monkeypatch):
    monkeypatch.setattr(taste_space, "_MAX_ITEMS", 2)
    assert ItemRegression.fit(users([(3, 5), (1, 5), (2, 5)]), 5, REGRESSION).items.tolist() == [1, 2]


def test_item_regression_without_interactions_is_empty():
    regression = ItemRegression.fit(users([], []), 3, REGRESSION)
    assert len(regression.items) == 0
    assert not regression.project(np.ones((3, 2), np.float32)).any()


def test_interaction_matrix_has_one_value_per_interaction():
    matrix = interaction_matrix(users([(2, 5), (0, 1)], [], [(1, 3)]), np.array([5, 1, 3], np.float32), 4)
    assert matrix.toarray().tolist() == [[1, 0, 5, 0], [0, 0, 0, 0], [0, 3, 0, 0]]


def test_interaction_matrix_without_scipy_names_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tastevec\[train\]'"):
        interaction_matrix(world(), np.zeros(len(world().items), np.float32), ITEMS)


SETTINGS = TasteSpaceSettings(
    scale=ValueScale.explicit(1, 5), dim=6, ridge=3.0, shrinkage=1.0, fold_in_shrinkage=1.0, iterations=4
)
# 20 items, of which the first half are rockets and the others letters; then a rocket and a letter without ratings, and an
# item without features.
CONTENT = np.zeros((23, 2), np.float32)
CONTENT[[*range(10), 20], 0] = 1
CONTENT[[*range(10, 20), 21], 1] = 1
SPACE = TasteSpace.fit(world(), CONTENT, SETTINGS)


def several():
    """Return histories of several lengths, with every kind of rating."""
    return users(
        [(0, 5), (1, 4), (2, 3), (3, 1), (4, TAGGED)],
        [],
        [(19, 4.5)],
        [(item, 1 + item % 5) for item in range(20)],
        [(20, 5), (22, 2.5)],
    )


def scores(space, *history):
    """Return the score of each item for a user with this history, (N,)."""
    return (space.fold_in(users(list(history))) @ space.initial.vectors.T)[0]


def test_fold_in_of_two_rockets_scores_other_rockets_highest():
    expected = scores(SPACE, (0, 5), (1, 5))
    assert expected[2:10].min() > expected[10:20].max()


def test_taste_space_with_defaults_separates_two_tastes_in_tiny_world():
    space = TasteSpace.fit(world(), CONTENT, TasteSpaceSettings(scale=ValueScale.explicit(1, 5)))
    assert space.initial.vectors.shape == space.item_prior.shape == (23, 64)
    expected = scores(space, (0, 5), (1, 5))
    assert expected[2:10].mean() > expected[10:20].mean()


def test_fold_in_of_encoder_equals_fold_in_of_space():
    histories, table = several(), torch.from_numpy(SPACE.initial.vectors)
    module = RidgeFoldIn(23, 6, SCALE.n_bins)
    module.initialize(
        table,
        **{name: torch.from_numpy(array) for name, array in SPACE.fold_in_parameters().items()},
    )
    arrays = {
        name: torch.from_numpy(array) for name, array in reading(max_history=30).arrays(histories).items()
    }
    items = arrays["items"]
    vectors = module(table[items], items, arrays["rating_bins"], arrays["lengths"])
    np.testing.assert_allclose(vectors.numpy(), SPACE.fold_in(histories), rtol=1e-4, atol=1e-4)


def test_fold_in_equals_dense_ridge_regression():
    histories, vectors = several(), SPACE.initial.vectors.astype(np.float64)
    of_items = ItemRegression.fit(world(), 23, SETTINGS)
    folded = SPACE.fold_in(histories)
    for user, own in enumerate(histories.chunks(1)):
        inputs, weights, target = np.zeros(23), np.ones(23), np.zeros(23)
        confidence = SETTINGS.grades(own.ratings, "confidence_grades")
        inputs[own.items] = SETTINGS.grades(own.ratings, "input_grades")
        weights[own.items] += confidence
        target[own.items] = (1 + confidence) * SETTINGS.grades(own.ratings, "preference_grades")
        expected = np.zeros(23)
        expected[of_items.items] = inputs[of_items.items] @ of_items.weights
        ridge = SETTINGS.fold_in_shrinkage * ((len(own.items) + 1) / 50) ** SETTINGS.shrinkage_power
        system = vectors.T @ (weights[:, None] * vectors) + ridge * np.eye(6)
        vector = np.linalg.solve(system, vectors.T @ (SETTINGS.prior_weight * expected + target))
        vector += (16 / (16 + len(own.items))) ** 2 * SPACE.prior_mean
        np.testing.assert_allclose(folded[user], vector, rtol=1e-3, atol=1e-4)


def test_fold_in_of_empty_history_is_prior_mean():
    np.testing.assert_array_equal(SPACE.fold_in(users([]))[0], SPACE.prior_mean)
    without = replace(SPACE, prior_mean=np.zeros(6, np.float32))
    np.testing.assert_allclose(SPACE.prior_mean, without.fold_in(world()).mean(axis=0), rtol=1e-5, atol=1e-6)
    assert SPACE.prior_mean.any()


def test_fold_in_does_not_depend_on_other_histories():
    histories = several()
    together = SPACE.fold_in(histories)
    for user, own in enumerate(histories.chunks(1)):
        np.testing.assert_allclose(SPACE.fold_in(own)[0], together[user], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("item", [0, 15, 20])
def test_fold_in_score_of_item_grows_with_its_rating(item):
    others = [(other, 4) for other in (2, 3, 12)]
    expected = [scores(SPACE, *others, (item, rating))[item] for rating in (1, 2, 3, 4, 5)]
    assert expected[0] < expected[2] < expected[4]
    assert sorted(expected) == expected


def test_items_without_ratings_have_vectors_of_their_content():
    vectors = SPACE.initial.vectors
    rockets, letters = vectors[:10].mean(axis=0), vectors[10:20].mean(axis=0)
    for item, own, other in ((20, rockets, letters), (21, letters, rockets)):
        assert np.linalg.norm(vectors[item] - own) < np.linalg.norm(vectors[item] - other)
    assert not vectors[22].any()
    assert SPACE.initial.origins.tolist() == ["both"] * 20 + ["content"] * 2 + ["none"]
    assert not SPACE.item_prior[20:].any()
    expected = scores(SPACE, (0, 5), (1, 5))
    assert expected[20] > expected[21]


def test_taste_space_of_sparse_content_equals_dense():
    sparse = TasteSpace.fit(world(), csr_matrix(CONTENT), SETTINGS)
    np.testing.assert_allclose(sparse.initial.vectors, SPACE.initial.vectors, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(sparse.prior_mean, SPACE.prior_mean, rtol=1e-3, atol=1e-4)


def test_items_beyond_regression_have_factors_but_no_item_prior(monkeypatch):
    monkeypatch.setattr(taste_space, "_MAX_ITEMS", 15)
    space = TasteSpace.fit(world(), CONTENT, SETTINGS)
    assert np.flatnonzero(~space.item_prior[:20].any(axis=1)).tolist() == [8, 12, 13, 17, 18]
    assert space.initial.vectors[:20].any(axis=1).all()
    expected = scores(space, (0, 5), (1, 5))
    assert expected[8] > expected[[12, 13, 17, 18]].max()


def loss_of(histories, items, settings):
    """Return the loss of the alternation over all pairs, at the best user vectors for ``items``."""
    count = len(items)
    of_items = ItemRegression.fit(histories, count, settings)
    inputs, confidence, preference = np.zeros((3, len(histories), count))
    at = (histories.owners, histories.items)
    inputs[at] = settings.grades(histories.ratings, "input_grades")
    confidence[at] = settings.grades(histories.ratings, "confidence_grades")
    preference[at] = settings.grades(histories.ratings, "preference_grades")
    expected = np.zeros_like(inputs)
    expected[:, of_items.items] = inputs[:, of_items.items] @ of_items.weights
    targets = preference + expected / (1 + confidence)
    ridges = settings.ridge_by_count(histories.lengths, settings.shrinkage)
    user_vectors = np.array(
        [
            np.linalg.solve(
                items.T @ ((1 + c)[:, None] * items) + ridge * np.eye(items.shape[1]), items.T @ ((1 + c) * w)
            )
            for c, w, ridge in zip(confidence, targets, ridges, strict=True)
        ]
    )
    counts = np.bincount(histories.items, minlength=count)
    loss = ((1 + confidence) * (targets - user_vectors @ items.T) ** 2).sum() + (
        ridges[:, None] * user_vectors**2
    ).sum()
    return loss + (settings.ridge_by_count(counts, settings.shrinkage)[:, None] * items**2).sum()


def test_alternations_decrease_the_loss():
    def after(iterations):
        settings = replace(SETTINGS, iterations=iterations, dim=3)
        of_items = ItemRegression.fit(world(), 20, settings)
        return loss_of(
            world(), taste_space._factors(of_items, world(), 20, settings).astype(np.float64), settings
        )

    losses = [after(iterations) for iterations in (1, 2, 4, 8)]
    assert losses[0] > losses[1] > losses[2] > losses[3]
    assert losses[3] < 0.9 * losses[0]


def crowd():
    """Return so many users and items that BLAS would use several threads."""
    rng = np.random.default_rng(3)
    return users(*([(item, rng.integers(1, 6)) for item in rng.permutation(400)[:60]] for _ in range(150)))


def bytes_of(space):
    return [array.tobytes() for array in (space.initial.vectors, space.item_prior, space.prior_mean)]


def test_taste_space_has_same_bytes_with_any_threads():
    content = np.random.default_rng(4).normal(size=(400, 5)).astype(np.float32)
    settings = TasteSpaceSettings(scale=ValueScale.explicit(1, 5), dim=24, iterations=2)
    results = []
    for threads in (1, 1, 2, 4):
        with threadpool_limits(threads, "blas"):
            results.append(bytes_of(TasteSpace.fit(crowd(), content, settings)))
    assert results[0] == results[1] == results[2] == results[3]
    other = TasteSpace.fit(crowd(), content, replace(settings, seed=7))
    assert bytes_of(other) != results[0]


@pytest.mark.parametrize("how", ["fit", "from_vectors"])
def test_taste_space_uses_one_blas_thread_and_restores_threads(monkeypatch, how):
    threads, solve = set(), taste_space.solve_ridge

    def counted(*arguments):
        threads.update(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
        return solve(*arguments)

    monkeypatch.setattr(taste_space, "solve_ridge", counted)
    with threadpool_limits(2, "blas"):
        if how == "fit":
            TasteSpace.fit(world(), CONTENT, SETTINGS)
        else:
            TasteSpace.from_vectors(SPACE.initial, world(), SETTINGS)
        assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {2}
    assert threads == {1}


def test_space_from_vectors_has_no_item_prior():
    initial = InitialVectors(np.eye(4, dtype=np.float32), np.full(4, "genome-svd"))
    space = TasteSpace.from_vectors(initial, users([(0, 5), (1, 5)], [(0, 5)]), SETTINGS)
    assert space.initial is initial
    assert not space.item_prior.any()
    assert space.prior_mean[0] > space.prior_mean[1] > space.prior_mean[2] == space.prior_mean[3] == 0
    expected = scores(space, (2, 5), (3, 1))
    assert expected[2] > expected[3] > 0


def test_taste_space_does_not_change_its_arguments():
    histories, content = world(), CONTENT.copy()
    TasteSpace.fit(histories, content, SETTINGS)
    np.testing.assert_array_equal(content, CONTENT)
    np.testing.assert_array_equal(histories.ratings, world().ratings)


def test_taste_space_without_threadpoolctl_names_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tastevec\[train\]'"):
        TasteSpace.fit(world(), CONTENT, SETTINGS)
