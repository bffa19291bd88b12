from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from tastevec.data.histories import Histories, normalize_ratings
from tastevec.errors import MissingExtraError, SettingsError
from tastevec.items.als import AlsSettings, als_factors, fold_in
from worlds import ITEMS, USERS, ratings

SETTINGS = AlsSettings(rating_range=(1, 5), dim=4, regularization=0.5)


def world() -> Histories:
    """The tiny world: people 1 to 6 love films 1 to 10, the others 11 to 20; film 21 is nobody's."""
    rows = ratings()
    stars = np.array([row.stars for row in rows], np.float32)
    offsets = np.searchsorted([row.user for row in rows], np.arange(1, USERS + 2)).astype(np.int64)
    return Histories(
        user_ids=np.arange(1, USERS + 1),
        offsets=offsets,
        items=np.array([row.item - 1 for row in rows], np.int32),
        ratings=stars,
        normalized_ratings=normalize_ratings(stars, offsets),
        timestamps=np.array([row.time for row in rows]),
    )


def user(*positive: int) -> Histories:
    """One person who gave 5 stars to these films."""
    stars = np.full(len(positive), 5, np.float32)
    return Histories(
        user_ids=np.array(["new"], object),
        offsets=np.array([0, len(positive)]),
        items=np.array(positive, np.int32),
        ratings=stars,
        normalized_ratings=np.zeros(len(positive), np.float32),
        timestamps=np.zeros(len(positive), np.int64),
    )


def test_somebody_who_likes_two_rockets_is_shown_the_other_rockets():
    factors = als_factors(world(), ITEMS, SETTINGS)
    scores = (fold_in(factors, user(0, 1), SETTINGS) @ factors.T)[0]
    assert scores[2:10].min() > scores[10:].max()


def test_the_defaults_tell_the_two_tastes_apart_even_in_a_tiny_world():
    factors = als_factors(world(), ITEMS)
    assert factors.shape == (ITEMS, 64)
    scores = (fold_in(factors, user(0, 1)) @ factors.T)[0]
    assert scores[2:10].mean() > scores[10:].mean()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others():
    first = als_factors(world(), ITEMS, SETTINGS)
    assert als_factors(world(), ITEMS, SETTINGS).tobytes() == first.tobytes()
    other = AlsSettings(rating_range=(1, 5), dim=4, regularization=0.5, seed=1)
    assert als_factors(world(), ITEMS, other).tobytes() != first.tobytes()


def test_a_film_in_nobodys_history_has_zeros():
    factors = als_factors(world(), ITEMS + 1, SETTINGS)
    assert factors.dtype == np.float32
    assert factors.any(axis=1).tolist() == [True] * ITEMS + [False]


def test_fold_in_is_implicits_own_solution():
    from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415 - slow to import
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - as above

    histories = world()
    factors = als_factors(histories, ITEMS, SETTINGS)
    told = histories.keep(histories.ratings >= 4)  # the tiny world knows no 3 stars
    confidence = np.full(len(told.items), SETTINGS.positive, np.float32)
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(factors=4, regularization=0.5)
        model.item_factors = factors
        matrix = sparse.csr_matrix((confidence, told.items, told.offsets), shape=(USERS, ITEMS))
        expected = model.recalculate_user(np.arange(USERS), matrix)
    np.testing.assert_allclose(fold_in(factors, histories, SETTINGS), expected, rtol=1e-3, atol=1e-4)


def test_somebody_without_a_history_has_zeros_and_moves_nobody():
    histories = world()
    factors = als_factors(histories, ITEMS, SETTINGS)
    emptied = histories.keep(histories.owners != 3)
    vectors = fold_in(factors, emptied, SETTINGS)
    assert not vectors[3].any()
    others = np.delete(np.arange(USERS), 3)
    np.testing.assert_allclose(vectors[others], fold_in(factors, histories, SETTINGS)[others], atol=1e-6)


def test_a_film_only_tagged_counts_like_one_rated_in_the_middle_and_a_low_rating_like_none():
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


def test_four_stars_are_a_like_on_every_scale():
    stars = np.array([4, 3.5, 3, 2, np.nan], np.float32)
    assert AlsSettings().confidence(stars).tolist() == [5, 2, 2, 0, 2]
    assert AlsSettings(rating_range=(1, 5)).confidence(stars).tolist() == [5, 2, 2, 0, 2]
    assert AlsSettings(rating_range=(1, 10)).confidence(2 * stars).tolist() == [5, 2, 2, 0, 2]


@pytest.mark.parametrize(
    "wrong", [{"dim": 0}, {"regularization": 0}, {"positive": 1}, {"neutral": 0.5}, {"iterations": 0}]
)
def test_a_setting_out_of_its_range_is_refused(wrong):
    with pytest.raises(SettingsError, match="out of range"):
        AlsSettings(**wrong)


def test_without_implicit_the_line_that_installs_it_is_given(monkeypatch):
    monkeypatch.setitem(sys.modules, "implicit.cpu.als", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tastevec\[train\]'"):
        als_factors(world(), ITEMS)
