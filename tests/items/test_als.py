"""Implicit ALS and its fold-in (tastevec.items.als)."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from tastevec.data.value_scale import ValueScale
from tastevec.errors import MissingExtraError, SettingsError
from tastevec.items.als import AlsSettings, als_factors, fold_in
from users import users, world
from worlds import ITEMS, USERS

SETTINGS = AlsSettings(scale=ValueScale.explicit(1, 5), dim=4, regularization=0.5)


def test_fold_in_of_two_rockets_ranks_other_rockets_first():
    factors = als_factors(world(), ITEMS, SETTINGS)
    scores = (fold_in(factors, users([(0, 5), (1, 5)]), SETTINGS) @ factors.T)[0]
    assert scores[2:10].min() > scores[10:].max()


def test_als_factors_with_defaults_separate_two_tastes_in_tiny_world():
    factors = als_factors(world(), ITEMS)
    assert factors.shape == (ITEMS, 64)
    scores = (fold_in(factors, users([(0, 5), (1, 5)])) @ factors.T)[0]
    assert scores[2:10].mean() > scores[10:].mean()


def test_als_factors_depend_on_seed_alone():
    first = als_factors(world(), ITEMS, SETTINGS)
    assert als_factors(world(), ITEMS, SETTINGS).tobytes() == first.tobytes()
    other = AlsSettings(scale=ValueScale.explicit(1, 5), dim=4, regularization=0.5, seed=1)
    assert als_factors(world(), ITEMS, other).tobytes() != first.tobytes()


def test_als_factors_of_item_without_users_are_zero():
    factors = als_factors(world(), ITEMS + 1, SETTINGS)
    assert factors.dtype == np.float32
    assert factors.any(axis=1).tolist() == [True] * ITEMS + [False]


def test_fold_in_equals_solution_of_implicit():
    from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415 - slow to import
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - as above

    histories = world()
    factors = als_factors(histories, ITEMS, SETTINGS)
    positive = histories.keep(histories.ratings >= 4)  # the tiny world has no rating of 3
    confidence = np.full(len(positive.items), SETTINGS.positive, np.float32)
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(factors=4, regularization=0.5)
        model.item_factors = factors
        matrix = sparse.csr_matrix((confidence, positive.items, positive.offsets), shape=(USERS, ITEMS))
        expected = model.recalculate_user(np.arange(USERS), matrix)
    np.testing.assert_allclose(fold_in(factors, histories, SETTINGS), expected, rtol=1e-3, atol=1e-4)


def test_fold_in_of_empty_history_is_zero_and_changes_no_other_user():
    histories = world()
    factors = als_factors(histories, ITEMS, SETTINGS)
    emptied = histories.keep(histories.owners != 3)
    vectors = fold_in(factors, emptied, SETTINGS)
    assert not vectors[3].any()
    others = np.delete(np.arange(USERS), 3)
    np.testing.assert_allclose(vectors[others], fold_in(factors, histories, SETTINGS)[others], atol=1e-6)


def test_als_factors_weigh_tag_only_as_mid_scale_and_ignore_low_ratings():
    histories = world()
    low = histories.ratings < 3
    middle, tagged = (
        als_factors(replace(histories, ratings=np.where(low, value, histories.ratings)), ITEMS, SETTINGS)
        for value in (3, np.nan)
    )
    assert middle.tobytes() == tagged.tobytes()
    without = als_factors(histories.keep(~low), ITEMS, SETTINGS)
    assert als_factors(histories, ITEMS, SETTINGS).tobytes() == without.tobytes()
    assert middle.tobytes() != without.tobytes()


def test_confidence_scales_with_rating_range():
    ratings = np.array([4, 3.5, 3, 2, np.nan], np.float32)
    assert AlsSettings().confidence(ratings).tolist() == [5, 2, 2, 0, 2]
    assert AlsSettings(scale=ValueScale.explicit(1, 5)).confidence(ratings).tolist() == [5, 2, 2, 0, 2]
    assert AlsSettings(scale=ValueScale.explicit(1, 10)).confidence(2 * ratings).tolist() == [5, 2, 2, 0, 2]


@pytest.mark.parametrize(
    "wrong", [{"dim": 0}, {"regularization": 0}, {"positive": 1}, {"neutral": 0.5}, {"iterations": 0}]
)
def test_als_settings_out_of_range_are_refused(wrong):
    with pytest.raises(SettingsError, match="out of range"):
        AlsSettings(**wrong)


def test_als_factors_without_implicit_name_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "implicit.cpu.als", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tastevec\[train\]'"):
        als_factors(world(), ITEMS)
