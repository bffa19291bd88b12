"""What a rating says to the linear answer (tastevec.items.taste_space)."""

import numpy as np
import pytest

from tastevec.data.inputs import RatingScale
from tastevec.errors import SettingsError
from tastevec.items import taste_space as linear
from tastevec.items.taste_space import TasteSpaceSettings
from users import TAGGED

KINDS = ("input_grades", "target_grades", "confidence_grades", "preference_grades")
# Each half star of 1 to 5 says something else.
STEEP = dict.fromkeys(KINDS, (0.0, 1.0, 4.0, 9.0, 16.0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rating_range", [(1, 5), (0.5, 5), (0, 100), (-1, 1)])
def test_five_ratings_are_given_and_those_between_them_lie_on_straight_lines(kind, rating_range):
    settings = TasteSpaceSettings(rating_range=rating_range, **STEEP)
    ratings = np.linspace(*rating_range, 9).astype(np.float32)
    found = settings.grades(ratings, kind)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [0, 0.5, 1, 2.5, 4, 6.5, 9, 12.5, 16], atol=1e-5)


@pytest.mark.parametrize("rating_range", [(1, 5), (0.5, 5), (0, 100)])
def test_a_film_that_was_only_tagged_is_one_rated_in_the_middle(rating_range):
    settings = TasteSpaceSettings(rating_range=rating_range, **STEEP)
    assert settings.grades(np.array([TAGGED], np.float32), "preference_grades").tolist() == [4]


def test_many_ratings_say_the_same_as_few(monkeypatch):
    ratings = np.array([1, 2.5, TAGGED, 4, 5, 3, 1.5], np.float32)
    whole = TasteSpaceSettings(rating_range=(1, 5)).grades(ratings, "confidence_grades")
    monkeypatch.setattr(linear, "_BLOCK", 3)
    np.testing.assert_array_equal(
        TasteSpaceSettings(rating_range=(1, 5)).grades(ratings, "confidence_grades"), whole
    )


def test_no_ratings_say_nothing():
    assert TasteSpaceSettings().grades(np.zeros(0, np.float32), "input_grades").shape == (0,)


@pytest.mark.parametrize("kind", KINDS)
def test_by_default_a_better_rating_never_says_less(kind):
    assert (np.diff(getattr(TasteSpaceSettings(), kind)) >= 0).all()


def test_a_shrinkage_holds_at_50_films_and_grows_with_them():
    settings = TasteSpaceSettings(shrinkage_power=0.5)
    np.testing.assert_allclose(
        settings.ridge_by_count(np.array([49, 199, 0]), 6.0), [6, 12, 6 / 50**0.5], rtol=1e-6
    )
    even = TasteSpaceSettings(shrinkage_power=0.0)
    assert even.ridge_by_count(np.array([0, 5, 999]), 6.0).tolist() == [6, 6, 6]


@pytest.mark.parametrize("rating_range", [(1, 5), (0.5, 5), (0, 100)])
def test_a_level_says_what_its_rating_says_and_the_one_above_what_a_tag_says(rating_range):
    settings, scale = TasteSpaceSettings(rating_range=rating_range), RatingScale.of(rating_range)
    table = settings.by_rating_level(scale.n_bins)
    ratings = np.array([*np.linspace(*rating_range, scale.n_bins), TAGGED], np.float32)
    assert table.shape == (scale.n_bins + 1, 3)
    assert table.dtype == np.float32
    seen, confidence, liking = (
        settings.grades(ratings, kind) for kind in ("input_grades", "confidence_grades", "preference_grades")
    )
    told = table[scale.bin_ratings(ratings)]
    np.testing.assert_allclose(told, np.stack([seen, confidence, (1 + confidence) * liking], 1), rtol=1e-5)


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
        {"rating_range": (5, 5)},
        {"rating_range": (5, 1)},
    ],
)
def test_a_setting_out_of_its_range_is_refused(wrong):
    with pytest.raises(
        SettingsError, match=r"is out of range. Expected a rating range, dim and iterations from 1"
    ):
        TasteSpaceSettings(**wrong)
