"""The item regression (tastevec.items.taste_space)."""

import sys

import numpy as np
import pytest

from tastevec.errors import MissingExtraError, SettingsError
from tastevec.items import taste_space as regression
from tastevec.items.taste_space import ItemRegression, TasteSpaceSettings, interaction_matrix
from users import TAGGED, users, world
from worlds import ITEMS

SETTINGS = TasteSpaceSettings(rating_range=(1, 5), ridge=3.0)


def grades(histories, what, items=ITEMS):
    """(B, N) dense."""
    table = np.zeros((len(histories), items))
    table[histories.owners, histories.items] = SETTINGS.grades(histories.ratings, what)
    return table


def ridges(histories, items=ITEMS):
    """(N,) as the settings say: the ridge at mean popularity, a tenth of that for a film of none, to the power."""
    seen = (grades(histories, "input_grades", items) ** 2).sum(axis=0)
    return SETTINGS.ridge * (seen / seen.mean() + 0.1) ** SETTINGS.ridge_power


def test_each_film_is_the_ridge_regression_of_its_liking_on_the_other_films():
    histories = world()
    found = ItemRegression.fit(histories, ITEMS, SETTINGS)
    seen, positive, ridge = (
        grades(histories, "input_grades"),
        grades(histories, "target_grades"),
        ridges(histories),
    )
    assert found.items.tolist() == list(range(ITEMS))
    for item in range(ITEMS):
        others = np.delete(np.arange(ITEMS), item)  # a film does not speak for itself
        rows = np.concatenate([seen[:, others], np.diag(np.sqrt(ridge[others]))])
        wanted = np.concatenate([positive[:, item], np.zeros(len(others))])
        weights = np.linalg.lstsq(rows, wanted, rcond=None)[0]
        np.testing.assert_allclose(found.weights[others, item], weights, rtol=1e-3, atol=1e-5)
    assert not np.diag(found.weights).any()


def test_who_has_seen_rockets_wants_rockets():
    found = ItemRegression.fit(world(), ITEMS, SETTINGS)
    wanted = found.weights[[0, 1]].sum(axis=0)
    assert wanted[2:10].min() > wanted[10:].max()


def test_a_film_that_was_not_liked_says_that_it_was_seen_and_is_not_wanted():
    rows = [[(0, 5), (1, 5), (2, 1)]] * 9 + [[(3, 5)]] * 9
    found = ItemRegression.fit(users(*rows), 4, SETTINGS)
    assert found.weights[0, 1] > 0.1
    assert found.weights[2, 1] > 0.01
    assert not found.weights[:, 2].any()


def test_a_film_that_nobody_has_seen_says_nothing_and_is_not_expected():
    histories = users([(0, 5), (3, 4)], [(3, 5), (0, TAGGED)], [(5, 2)])
    found = ItemRegression.fit(histories, 7, SETTINGS)
    assert found.items.tolist() == [0, 3, 5]
    assert found.weights.shape == (3, 3)
    vectors = np.random.default_rng(1).normal(size=(7, 2)).astype(np.float32)
    unseen = [1, 2, 4, 6]
    for made in (found.project(vectors), found.project_transposed(vectors)):
        assert made.shape == (7, 2)
        assert made.dtype == np.float32
        assert not made[unseen].any()
        assert made[[0, 3]].all()


def test_into_and_out_of_the_vectors_are_the_two_sides_of_what_is_expected():
    found = ItemRegression.fit(world(), ITEMS, SETTINGS)
    rng = np.random.default_rng(1)
    items, seen = rng.normal(size=(ITEMS, 4)).astype(np.float32), rng.random((5, ITEMS)).astype(np.float32)
    persons = rng.normal(size=(5, 4)).astype(np.float32)
    expected = seen @ found.weights  # of each of 5 people, for each film
    np.testing.assert_allclose(seen @ found.project(items), expected @ items, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        found.project_transposed(seen.T @ persons), expected.T @ persons, rtol=1e-4, atol=1e-5
    )


def test_only_the_most_seen_films_are_fitted_as_if_there_were_no_others(monkeypatch):
    histories = users([(0, 5), (4, 4), (2, 5)], [(4, 5), (2, 4), (1, 1)], [(2, 5), (4, 3)])
    monkeypatch.setattr(regression, "_MAX_ITEMS", 2)
    found = ItemRegression.fit(histories, 5, SETTINGS)
    assert found.items.tolist() == [2, 4]
    alone = ItemRegression.fit(histories.keep(np.isin(histories.items, [2, 4])), 5, SETTINGS)
    np.testing.assert_array_equal(found.weights, alone.weights)


def test_products_made_a_few_films_at_a_time_are_the_same(monkeypatch):
    whole = ItemRegression.fit(world(), ITEMS, SETTINGS)
    monkeypatch.setattr(regression, "_BLOCK_ITEMS", 7)
    np.testing.assert_array_equal(ItemRegression.fit(world(), ITEMS, SETTINGS).weights, whole.weights)


def test_a_ridge_that_is_lost_in_rounding_is_refused():
    alike = users(*([(item, 5) for item in range(4)] for _ in range(50)))
    settings = TasteSpaceSettings(rating_range=(1, 5), ridge=1e-12)
    with pytest.raises(SettingsError, match=r"is singular at item 2. Expected a ridge above"):
        ItemRegression.fit(alike, 4, settings)


def test_of_films_seen_equally_often_the_first_are_fitted(monkeypatch):
    monkeypatch.setattr(regression, "_MAX_ITEMS", 2)
    assert ItemRegression.fit(users([(3, 5), (1, 5), (2, 5)]), 5, SETTINGS).items.tolist() == [1, 2]


def test_where_nobody_has_seen_anything_nothing_is_expected():
    found = ItemRegression.fit(users([], []), 3, SETTINGS)
    assert len(found.items) == 0
    assert not found.project(np.ones((3, 2), np.float32)).any()


def test_a_matrix_has_one_value_for_each_interaction():
    matrix = interaction_matrix(users([(2, 5), (0, 1)], [], [(1, 3)]), np.array([5, 1, 3], np.float32), 4)
    assert matrix.toarray().tolist() == [[1, 0, 5, 0], [0, 0, 0, 0], [0, 3, 0, 0]]


def test_without_scipy_the_line_that_installs_it_is_given(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tastevec\[train\]'"):
        interaction_matrix(world(), np.zeros(len(world().items), np.float32), ITEMS)
