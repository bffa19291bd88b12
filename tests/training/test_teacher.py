"""The teacher: grades, components and the weighted sum of their standardized scores."""

import numpy as np
import pytest

import worlds
from tastevec.data.value_scale import ValueScale
from tastevec.items.regression import Lags
from tastevec.training.teacher import (
    STRONGEST,
    FadingPopularity,
    GradedRegression,
    GradedSettings,
    Teacher,
    TeacherSettings,
    standardized,
)
from users import TAGGED, users, world

STARS = ValueScale.explicit(1, 5)
PLAYS = ValueScale.strength("weighted", positive_from=1, top=100)
BOTH = TeacherSettings(
    weights={
        "overall": {"whole": 1.0, "factors": 0.5, "popularity": 0.2},
        "next": {"lagged": 1.0, "whole": 0.5},
    }
)


def test_grades_of_stars_rise_from_the_least():
    settings = GradedSettings(least=0.5, others=0.4)
    known = users([(0, 5), (1, 4), (2, 3), (3, 1), (4, TAGGED)])
    np.testing.assert_allclose(settings.inputs(known, STARS), [1, 1, 0.7, 0.5, 0.7])
    np.testing.assert_allclose(settings.targets(known, STARS), [1, 1, 0.2, 0, 0.2])


def test_grades_of_counts_follow_the_logarithm():
    settings = GradedSettings(least=0.5, others=0.4)
    known = users([(0, 1), (1, 10), (2, 100), (3, 0)])
    np.testing.assert_allclose(settings.inputs(known, PLAYS), [0.5, 0.75, 1, 0.5])
    np.testing.assert_allclose(settings.targets(known, PLAYS), [0.6, 0.8, 1, 0.6])


def test_implicit_feedback_has_one_grade():
    clicks = ValueScale.strength("implicit", positive_from=1, top=1)
    known = users([(0, 1), (1, 1)])
    for settings in (GradedSettings(), GradedSettings(least=0.0, others=1.0)):
        assert settings.inputs(known, clicks).tolist() == settings.targets(known, clicks).tolist() == [1, 1]


@pytest.mark.parametrize("lags", [None, Lags()])
def test_strongest_weights_of_few_items_are_all_weights(lags):
    fitted = GradedRegression.fit(world(), worlds.ITEMS, GradedSettings(discount=0.3, lags=lags), STARS)
    assert worlds.ITEMS < STRONGEST
    np.testing.assert_allclose(fitted.sparse().score(world()), fitted.score(world()), atol=1e-5)


def test_popularity_fades_with_the_history():
    component = FadingPopularity.fit(users([(0, 5), (1, 5)], [(0, 5), (2, 1)]), 3, STARS)
    short, long = component.score(users([(1, 5)], [(item % 3, 5) for item in range(40)]))
    assert short[0] > short[1] > short[2]
    np.testing.assert_allclose(long, short * np.sqrt(1.2 / 9), rtol=1e-5)


def test_standardized_rows_have_mean_zero_and_deviation_one():
    found = standardized(np.array([[1, 2, 3], [5, 5, 5]], np.float32))
    np.testing.assert_allclose(found, [[-np.sqrt(1.5), 0, np.sqrt(1.5)], [0, 0, 0]], rtol=1e-6)


@pytest.fixture(scope="module", name="teacher")
def _teacher():
    return Teacher.fit(world(), worlds.ITEMS, BOTH, STARS, dim=4)


def test_components_without_weight_are_not_kept(teacher):
    assert teacher.components.keys() == {"whole", "factors", "popularity", "lagged"}
    alone = Teacher.fit(world(), worlds.ITEMS, TeacherSettings(), STARS, dim=4)
    assert alone.components.keys() == {"whole", "lagged"}


def test_scores_prefer_items_of_the_same_taste(teacher):
    histories = users([(0, 5), (2, 5), (3, 4)], [(11, 5), (12, 5), (13, 4)])
    for horizon in ("overall", "next"):
        halves = teacher.score(histories, horizon).reshape(2, 2, worlds.ITEMS // 2).mean(axis=2)
        assert halves[0, 0] > halves[0, 1]
        assert halves[1, 1] > halves[1, 0]


def test_empty_history_has_the_mean_scores(teacher):
    known = teacher.with_mean(world())
    empty, long = known.score(users([], [(item, 5) for item in range(12)]), "overall")
    of_mean = standardized(known.mean[None])[0]
    assert np.corrcoef(empty, of_mean)[0, 1] > np.corrcoef(long, of_mean)[0, 1]


def test_scores_of_a_user_do_not_depend_on_others(teacher):
    for horizon in ("overall", "next"):
        together = teacher.score(world(), horizon)
        alone = np.concatenate([teacher.score(one, horizon) for one in world().chunks(1)])
        np.testing.assert_allclose(together, alone, atol=1e-5)
