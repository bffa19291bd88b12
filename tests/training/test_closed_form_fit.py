"""Closed-form embeddings: constants chosen on validation users, and vectors that rank what the teacher ranks."""

from dataclasses import replace

import numpy as np
import pytest

from tastevec.data.inputs import InputConfig
from tastevec.data.topk import rank_items
from tastevec.data.value_scale import ValueScale
from tastevec.errors import TastevecWarning
from tastevec.evaluation.tasks import build_task
from tastevec.model.closed_form import standardized
from tastevec.model.geometry import Geometry
from tastevec.training.closed_form import _parts, fit_closed_form
from tastevec.training.teacher import TeacherSettings, fit_factors, known_of
from tastevec.training.teacher_search import (
    Question,
    _Pool,
    choose_content,
    choose_teacher,
    weigh_transformer,
)
from users import users

N = 40
STARS = ValueScale.explicit(1, 5)
READING = InputConfig(STARS, 200, max_history_overall=2000)


def _crowd(count, seed):
    """Return users who go through one half of the items, each step to one of the next two."""
    rng = np.random.default_rng(seed)
    each = []
    for user in range(count):
        steps = np.cumsum(rng.integers(1, 3, 10)) + rng.integers(0, 20)
        each.append([(int(2 * (step % 20) + user % 2), 5 if rng.random() < 0.8 else 2) for step in steps])
    return users(*[list({item: (item, stars) for item, stars in one}.values()) for one in each])


TRAIN, VALIDATION, TEST = _crowd(150, 0), _crowd(60, 1), _crowd(40, 2)


def _encode(model, histories, horizon):
    return model.encode(horizon, READING.arrays(histories))


@pytest.fixture(scope="module", name="chosen")
def _chosen():
    steps = []
    settings = choose_teacher(
        TRAIN, VALIDATION, N, scale=STARS, order="timestamp", dim=8, progress=steps.append
    )
    return settings, steps


@pytest.fixture(scope="module", name="model")
def _model(chosen):
    return fit_closed_form(TRAIN, N, chosen[0], reading=READING, order="timestamp", dim=8, steps=1000)


def test_choice_names_its_steps_and_can_be_saved(chosen):
    settings, steps = chosen
    assert steps == ["item regression", "lagged item regression", "iALS", "weights"]
    assert settings.as_json()["weights"]["next"]["lagged"] == 1
    assert "lagged" not in settings.weights["overall"]


def test_choice_is_reproducible(chosen):
    again = choose_teacher(TRAIN, VALIDATION, N, scale=STARS, order="timestamp", dim=8)
    assert again == chosen[0]


def test_data_without_order_have_no_lagged_regression():
    settings = choose_teacher(TRAIN, VALIDATION, N, scale=STARS, order="none", dim=8)
    assert settings.weights["next"] == settings.weights["overall"]
    model = fit_closed_form(TRAIN, N, settings, reading=READING, order="none", dim=8, steps=20)
    assert "lagged" not in model.components


def test_choice_without_a_task_warns_and_stays_at_the_defaults():
    few = VALIDATION.last(1)
    with pytest.warns(TastevecWarning, match="none has enough positives for a task"):
        settings = choose_teacher(TRAIN, few, N, scale=STARS, order="none", dim=8)
    assert settings.whole == TeacherSettings().whole


def test_shrinkage_serves_short_histories_and_costs_complete_ones_next_to_nothing():
    # Everybody has most of ten popular items; the latest items are of one's own half of the catalog.
    rng = np.random.default_rng(5)
    crowd = [
        [(int(item), 5) for item in rng.permutation(10)[:8]]
        + [(int(10 + 2 * item + user % 2), 5) for item in rng.permutation(15)[:8]]
        for user in range(300)
    ]
    train, validation = users(*crowd[:200]), users(*crowd[200:])
    settings = choose_teacher(train, validation, N, scale=STARS, order="none", dim=8)
    most, fading = settings.shrinkage
    assert most > 0.5
    task = build_task("random-20pct", validation, scale=STARS, seed=3)
    gains = {}
    for shrinkage in ((0.0, 1.0), (most, fading)):
        chosen = replace(settings, shrinkage=shrinkage)
        model = fit_closed_form(train, N, chosen, reading=READING, order="none", dim=8, steps=0)
        for length in (2, 100):
            inputs = task.inputs.last(length)
            question = Question(replace(task, inputs=inputs, seen=task.inputs), 10, N)
            scores = model.scores("overall", *model.known(READING.arrays(inputs)))
            gains[shrinkage, length] = question.gains(scores).mean()
    assert gains[(most, fading), 2] > 1.05 * gains[(0.0, 1.0), 2]
    assert gains[(most, fading), 100] > 0.98 * gains[(0.0, 1.0), 100]


def test_content_of_rare_items_is_taken_where_it_costs_nothing(model):
    same: dict = {"reading": READING, "order": "timestamp"}
    assert choose_content({0.0: model, 3.0: model, 30.0: model}, VALIDATION, **same) == 30
    worse = replace(model, table=model.table * (np.arange(8) == 2).astype(np.float32))
    assert choose_content({0.0: model, 3.0: model, 30.0: worse}, VALIDATION, **same) == 3
    assert choose_content({0.0: model, 30.0: worse}, VALIDATION.last(1), **same) == 10  # nobody has a task


def test_pool_of_a_small_catalog_has_the_gains_of_all_scores():
    question = Question(build_task("random-20pct", VALIDATION, scale=STARS, seed=3), 10, N)
    components = {
        str(dim): fit_factors(TRAIN, N, TeacherSettings().als(STARS, dim, seed=1)) for dim in (3, 6)
    }
    known = known_of(question.task.inputs, STARS)
    pool = _Pool.of(components, question, STARS)
    for weights in ({"3": 1.0, "6": 0.0}, {"3": 0.5, "6": 2.0}):
        scores = sum(weight * standardized(components[name].score(known)) for name, weight in weights.items())
        np.testing.assert_allclose(pool.gains(weights), question.gains(scores), atol=1e-6)


def test_vectors_rank_what_the_teacher_ranks(model):
    for horizon in ("overall", "next"):
        found = _encode(model, TEST, horizon) @ model.vectors.T
        scores = model.scores(horizon, *model.known(READING.arrays(TEST)))
        ours, theirs = (rank_items(some, TEST, 5) for some in (found, scores))
        shared = np.mean([len({*a} & {*b}) for a, b in zip(ours.tolist(), theirs.tolist(), strict=True)])
        assert shared > 3.5


def test_next_follows_the_order(model):
    both = users([(0, 5), (2, 5), (4, 5)], [(4, 5), (2, 5), (0, 5)])
    forwards, backwards = _encode(model, both, "next") @ model.vectors.T
    assert forwards[[6, 8]].mean() > backwards[[6, 8]].mean()
    np.testing.assert_allclose(*_encode(model, both, "overall"), atol=1e-5)


def test_parts_of_histories_have_any_length_and_their_own_items():
    parts = _parts(TRAIN, np.random.default_rng(0))
    possible = [frozenset(one.items.tolist()) for one in TRAIN.chunks(1)]
    found = [frozenset(one.items.tolist()) for one in parts.take(np.arange(200)).chunks(1)]
    assert all(any(part <= whole for whole in possible) for part in found)
    shares = parts.lengths.mean() / TRAIN.lengths.mean()
    assert 0.5 < shares < 0.6
    assert parts.lengths.min() <= 1 < TRAIN.lengths.min() <= parts.lengths.max()


def test_geometry_takes_nothing_away(model):
    found = np.concatenate([_encode(model, TEST, horizon) for horizon in ("overall", "next")])
    geometry = Geometry.fit(model.vectors, found)
    before = found @ model.vectors.T / np.linalg.norm(found, axis=1, keepdims=True)
    after = geometry.of_users(found)[0] @ geometry.of_items(model.vectors).T
    np.testing.assert_allclose(after, before / np.linalg.norm(model.vectors, axis=1).max(), atol=1e-5)


def test_given_item_vectors_stay():
    vectors = np.random.default_rng(0).normal(size=(N, 8)).astype(np.float32)
    model = fit_closed_form(
        TRAIN, N, TeacherSettings(), reading=READING, order="timestamp", dim=8, vectors=vectors
    )
    np.testing.assert_array_equal(model.vectors, vectors)
    assert np.isfinite(_encode(model, TEST, "next")).all()


def test_weight_of_transformer_is_zero_unless_it_helps(model):
    rng = np.random.default_rng(0)

    def useless(histories):
        return rng.normal(size=(len(histories), 8)).astype(np.float32)

    def helpful(histories):
        """Return states that point to the items two and four after the last one."""
        last = histories.items[histories.offsets[1:] - 1]
        after = [[(item + step) % N for step in (2, 4)] for item in last.tolist()]
        return np.stack([model.vectors[each].sum(axis=0) for each in after]).astype(np.float32)

    unordered = replace(model, weights={**model.weights, "next": model.weights["overall"]})

    def weight(states):
        return weigh_transformer(unordered, states, VALIDATION, reading=READING, order="timestamp")

    assert weight(useless) == 0
    assert weight(helpful) > 0
