"""Item regressions: sums over moments, weights of users, and what they predict."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tastevec.errors import SettingsError
from tastevec.items import regression
from tastevec.items.regression import ItemProducts, Lags
from users import users

N = 6
LAGS = Lags(decay=0.7, newest=4, lead=0.6, ahead=3)
CHAINS = [
    [(item % N, 5) for item in range(start, start + 4)] for start in range(N)
]  # each item follows the one before


def _ones(histories):
    return np.ones(len(histories.items), np.float32)


def _fit(known, *, ridge=3.0, lags=None):
    return ItemProducts.of(known, _ones(known), _ones(known), N, lags=lags).solve(ridge)


def _moments(histories, inputs, wanted, lags):
    """Return the sums of x x' and x y', one moment after the other."""
    lengths = histories.lengths
    gram, targets = np.zeros((N, N)), np.zeros((N, N))
    for start, length in zip(histories.offsets, lengths, strict=False):
        weight = (max(length, 1) / lengths.mean()) ** -0.5
        for now in range(length):
            x, y = np.zeros(N), np.zeros(N)
            for lag in range(min(lags.newest, now + 1)):
                at = start + now - lag
                x[histories.items[at]] += inputs[at] * (1 + lag) ** -lags.decay
            for lead in range(min(lags.ahead, length - now - 1)):
                at = start + now + 1 + lead
                y[histories.items[at]] += wanted[at] * lags.lead**lead
            gram += weight * np.outer(x, x)
            targets += weight * np.outer(x, y)
    return gram, targets


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, N - 1), st.integers(1, 5)), max_size=9), min_size=1, max_size=4
    ).filter(any)
)
def test_lagged_scores_equal_those_of_sums_over_moments(histories):
    known = users(*histories)
    inputs = known.ratings / 5
    wanted = (known.ratings >= 4).astype(np.float32)
    found = ItemProducts.of(known, inputs, wanted, N, lags=LAGS).solve(0.5)
    gram, targets = _moments(known, inputs, wanted, LAGS)
    diagonal = gram.diagonal()[found.items]
    ridge = 0.5 * diagonal.mean() * (diagonal / diagonal.mean() + 0.1) ** 0.75
    fitted = np.ix_(found.items, found.items)
    weights = np.linalg.solve(gram[fitted] + np.diag(ridge), targets[fitted])
    unit = users([(int(found.items[0]), 5)])
    np.testing.assert_allclose(found.score(unit, _ones(unit))[0, found.items], weights[0], atol=1e-4)


def test_lagged_regression_predicts_what_follows():
    known = users(*CHAINS)
    found = _fit(known, ridge=0.1, lags=LAGS)
    both = users([(0, 5), (1, 5)], [(1, 5), (2, 5)])
    assert found.score(both, _ones(both)).argmax(axis=1).tolist() == [2, 3]


def test_regression_of_sets_ignores_order():
    known = users(*CHAINS)
    found = _fit(known)
    one, other = users([(0, 5), (2, 5), (3, 5)]), users([(3, 5), (0, 5), (2, 5)])
    np.testing.assert_array_equal(found.score(one, _ones(one)), found.score(other, _ones(other)))


def test_old_items_are_not_read():
    known = users(*CHAINS)
    found = _fit(known, lags=LAGS)
    long, short = users([(5, 5), (0, 5), (1, 5), (2, 5), (3, 5)]), users([(0, 5), (1, 5), (2, 5), (3, 5)])
    np.testing.assert_array_equal(found.score(long, _ones(long)), found.score(short, _ones(short)))


def test_items_beyond_the_limit_score_zero(monkeypatch):
    monkeypatch.setattr(regression, "MAX_ITEMS", 2)
    known = users([(0, 5), (1, 5), (0, 4)], [(0, 5), (1, 5), (4, 5)])
    found = _fit(known, lags=LAGS)
    assert found.items.tolist() == [0, 1]
    assert not found.score(known, _ones(known))[:, 2:].any()


def test_empty_histories_score_zero():
    empty = users([], [])
    for lags in (None, LAGS):
        found = _fit(empty, lags=lags)
        assert found.score(empty, _ones(empty)).shape == (2, N)


def test_ridge_of_zero_is_refused():
    with pytest.raises(SettingsError, match=r"ridge: 0\. Expected a number over 0"):
        _fit(users(*CHAINS), ridge=0)
