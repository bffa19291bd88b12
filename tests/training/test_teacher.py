"""The components of the closed form: grades, and fits to training users."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import worlds
from tastevec.data.value_scale import ValueScale
from tastevec.items.als import AlsSettings, fold_in
from tastevec.items.regression import Lags
from tastevec.training.teacher import (
    MOST_LOW,
    STRONGEST,
    GradedRegression,
    GradedSettings,
    TeacherSettings,
    fit_factors,
    fit_popularity,
    known_of,
    low_share,
    push_of,
    shorter,
)
from users import TAGGED, users, world

STARS = ValueScale.explicit(1, 5)
PLAYS = ValueScale.strength("weighted", positive_from=1, top=100)


def test_grades_of_stars_rise_from_the_least():
    settings = GradedSettings(least=0.5, others=0.4)
    known = users([(0, 5), (1, 4), (2, 3), (3, 1), (4, TAGGED)])
    shares = STARS.share(known.ratings)
    np.testing.assert_allclose(settings.inputs(shares, STARS), [1, 1, 0.7, 0.5, 0.7])
    np.testing.assert_allclose(settings.targets(shares, STARS), [1, 1, 0.2, 0, 0.2])


def test_grades_of_counts_follow_the_logarithm():
    settings = GradedSettings(least=0.5, others=0.4)
    known = users([(0, 1), (1, 10), (2, 100), (3, 0)])
    shares = PLAYS.share(known.ratings)
    np.testing.assert_allclose(settings.inputs(shares, PLAYS), [0.5, 0.75, 1, 0.5])
    np.testing.assert_allclose(settings.targets(shares, PLAYS), [0.6, 0.8, 1, 0.6])


def test_implicit_feedback_has_one_grade():
    clicks = ValueScale.strength("implicit", positive_from=1, top=1)
    shares = clicks.share(np.ones(2, np.float32))
    for settings in (GradedSettings(), GradedSettings(least=0.0, others=1.0)):
        assert settings.inputs(shares, clicks).tolist() == settings.targets(shares, clicks).tolist() == [1, 1]


@pytest.mark.parametrize("lags", [None, Lags()])
def test_strongest_weights_of_few_items_are_all_weights(lags):
    fitted = GradedRegression.fit(world(), worlds.ITEMS, GradedSettings(discount=0.3, lags=lags), STARS)
    assert worlds.ITEMS < STRONGEST
    found = fitted.sparse().score(known_of(world(), STARS))
    np.testing.assert_allclose(found, fitted.plain(world()) * fitted.popularity**-0.3, atol=1e-5)


def test_shorter_regression_fades_faster():
    short = shorter(GradedSettings(ridge=7.0, lags=Lags(decay=0.4)))
    assert (short.ridge, short.lags) == (7.0, Lags(decay=1.0, lead=0.3))


def test_popularity_fades_with_the_history():
    component = fit_popularity(users([(0, 5), (1, 5)], [(0, 5), (2, 1)]), 3, STARS)
    known = users([(1, 5)], [(item % 3, 5) for item in range(40)])
    short, long = component.score(known_of(known, STARS))
    assert short[0] > short[1] > short[2]
    np.testing.assert_allclose(long, short * np.sqrt(1.2 / 9), rtol=1e-5)


def test_factors_score_as_ials_folds_in():
    settings = AlsSettings(STARS, dim=4)
    component = fit_factors(world(), worlds.ITEMS, settings)
    expected = fold_in(component.factors, world(), settings) @ component.factors.T
    np.testing.assert_allclose(component.score(known_of(world(), STARS)), expected, rtol=1e-4, atol=1e-5)


def test_settings_without_order_read_none():
    assert TeacherSettings.of("none").weights["next"] == TeacherSettings.of("none").weights["overall"]
    assert "lagged" in TeacherSettings.of("timestamp").weights["next"]


@given(ratings=st.lists(st.sampled_from([1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, TAGGED]), min_size=1))
def test_push_is_of_low_ratings_where_they_are_rare(ratings):
    train = users([(item, rating) for item, rating in enumerate(ratings)])
    rated = [rating for rating in ratings if rating == rating]  # noqa: PLR0124  NaN is none
    share = sum(rating < 3 for rating in rated) / max(len(rated), 1)
    assert low_share(train, STARS) == pytest.approx(share)
    push = push_of(STARS, low_share(train, STARS))
    found = push[known_of(train, STARS).rating_bins]
    expected = [max(3 - rating, 0) / 2 if rating == rating and share <= MOST_LOW else 0 for rating in ratings]  # noqa: PLR0124  as above
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("kind", ["implicit", "weighted", "events"])
def test_push_of_anything_but_ratings_is_zero(kind):
    scale = ValueScale.strength(kind, positive_from=1, top=10)
    disliked = users([(0, -1), (1, 1)])
    assert low_share(disliked, scale) == 0
    assert not push_of(scale, 0.0).any()
