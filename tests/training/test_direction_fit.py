"""The fit of preset direction, to made-up users of a known direction."""

import numpy as np
import pytest
from scipy import sparse

from tastevec.data.inputs import InputConfig
from tastevec.data.value_scale import ValueScale
from tastevec.model.direction import unit
from tastevec.training.direction import distances, fit_direction, solve_sparse, top_rated
from users import users, valued

SCALE = ValueScale.explicit(1, 5)
READING = InputConfig(SCALE, 100)
GROUPS, EACH = 4, 8


def _vectors():
    """Return items of four groups: each group has one direction, and all share another."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.eye(GROUPS + 1)[:GROUPS], EACH, axis=0)
    shared = np.eye(GROUPS + 1)[GROUPS]
    return (group + 2 * shared + 0.05 * rng.normal(size=group.shape)).astype(np.float32)


def _crowd(seed, count=60):
    """Return users who rate items of one group with 4 and 5 and items of others with 1 or 2."""
    rng = np.random.default_rng(seed)
    each = []
    for user in range(count):
        items = rng.permutation(GROUPS * EACH)[:16]
        own = items // EACH == user % GROUPS
        ratings = np.where(own, rng.integers(4, 6, 16), rng.integers(1, 3, 16))
        ratings[rng.integers(16)] = 2
        each.append(list(zip(items.tolist(), ratings.tolist(), strict=True)))
    return users(*each)


@pytest.fixture(scope="module", name="fitted")
def _fitted():
    return fit_direction(_crowd(1), _crowd(2), _vectors(), reading=READING)


def test_fit_finds_the_direction_that_made_up_users_have(fitted):
    task = top_rated(_crowd(3), SCALE)
    vectors = unit(_vectors())
    wanted = np.stack([vectors[group * EACH : (group + 1) * EACH].mean(axis=0) for group in range(GROUPS)])
    found = unit(fitted.model.encode("overall", **READING.arrays(task.inputs)))
    nearest = (found @ unit(wanted).T).argmax(axis=1)
    held_out = task.targets[task.offsets[:-1]] // EACH
    assert (nearest == held_out).mean() > 0.9
    assert distances(fitted.model, task, READING)[0] < 0.05


def test_ridges_are_those_of_the_least_distance_of_validation_users(fitted):
    raw, centred = distances(fitted.model, top_rated(_crowd(2), SCALE), READING)
    assert (raw, centred) == pytest.approx(fitted.distances)
    assert 0 < raw < centred


def test_fit_of_equal_data_has_equal_bytes(fitted):
    again = fit_direction(_crowd(1), _crowd(2), _vectors(), reading=READING)
    for name, array in fitted.model._weights.items():
        np.testing.assert_array_equal(again.model._weights[name], array, err_msg=name)


def test_item_without_a_vector_is_read_and_never_a_target():
    vectors = _vectors()
    vectors[::4] = 0
    fitted = fit_direction(_crowd(1), _crowd(2), vectors, reading=READING)
    assert np.isfinite(fitted.distances).all()
    assert not fitted.model.item_vectors[::4].any()
    assert fitted.model._weights["from_items"][::4].any()


def test_sparse_ridge_is_the_dense_one():
    rng = np.random.default_rng(5)
    columns = sparse.random(40, 30, density=0.3, random_state=rng, format="csr")
    targets, dense = rng.normal(size=(40, 3)), columns.toarray()
    expected = np.linalg.solve(dense.T @ dense + 2 * np.eye(30), dense.T @ targets)
    found = solve_sparse(columns, targets, 2.0, np.zeros((30, 3)))
    np.testing.assert_allclose(found, expected, atol=2e-3 * abs(expected).max())


@pytest.mark.parametrize(
    ("scale", "rows", "message"),
    [
        (ValueScale.strength("implicit", positive_from=1, top=1), [(0, 1), (1, 1)], "implicit feedback"),
        (SCALE, [(0, 4)], "no user has a value above others"),
    ],
)
def test_users_without_a_top_rated_item_are_refused(scale, rows, message):
    with pytest.raises(ValueError, match=message):
        top_rated(valued(scale, rows), scale)
