"""Alignment recovers rotations, is orthogonal, and depends on the seed only where stated."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastevec.errors import DataError
from tastevec.serving.align import Alignment

SEEDS = st.integers(0, 2**32 - 1)
WIDTHS = st.integers(1, 12)


def items(seed, width, count=None):
    return np.random.default_rng(seed).normal(size=(count or 4 * width, width)).astype(np.float32)


def rotation(seed, width):
    """Return a random orthogonal matrix; half of them are reflections."""
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))[0]


@given(SEEDS, WIDTHS)
def test_fit_recovers_a_rotation(seed, width):
    new, rotated_by = items(seed, width), rotation(seed + 1, width)
    found = Alignment.fit(new, new @ rotated_by)
    np.testing.assert_allclose(found.rotation, rotated_by, atol=1e-5)
    np.testing.assert_allclose(found.apply(new), new @ rotated_by, atol=1e-4)
    for fit in (found.in_sample, found.held_out):
        assert fit.residual < 1e-5
        assert fit.cosine > 1 - 1e-5


@given(SEEDS, SEEDS, WIDTHS)
def test_fit_is_orthogonal_and_keeps_cosines(seed, other, width):
    new, old = items(seed, width), items(other, width)
    found = Alignment.fit(new, old)
    np.testing.assert_allclose(found.rotation @ found.rotation.T, np.eye(width), atol=1e-5)
    users = items(seed + 2, width, 7)
    np.testing.assert_allclose(
        found.apply(users) @ found.apply(new).T, users @ new.T, rtol=1e-3, atol=1e-3 * width
    )


@given(SEEDS, WIDTHS)
def test_fit_is_the_best_rotation(seed, width):
    new, old = items(seed, width), items(seed + 1, width)
    found = Alignment.fit(new, old)
    other = new @ rotation(seed + 2, width)
    assert found.in_sample.residual <= np.linalg.norm(other - old) / np.linalg.norm(old) + 1e-6


@given(SEEDS, st.floats(0.01, 0.3))
def test_fit_residual_equals_noise_and_held_out_is_worse(seed, noise):
    new = items(seed, 8, 200)
    random = np.random.default_rng(seed + 1)
    old = new @ rotation(seed + 2, 8) + noise * random.normal(size=new.shape)
    found = Alignment.fit(new, old)
    assert 0.8 * noise < found.in_sample.residual < 1.2 * noise
    assert found.held_out.residual < 2 * noise
    assert found.unaligned.residual > 2 * found.held_out.residual
    assert found.shuffled.residual > 2 * found.held_out.residual


def test_fit_of_unrelated_spaces_equals_shuffled():
    found = Alignment.fit(items(1, 8, 2_000), items(2, 8, 2_000))
    assert found.held_out.residual == pytest.approx(2**0.5, abs=0.1)
    assert found.held_out.cosine == pytest.approx(0, abs=0.1)
    assert found.shuffled.residual == pytest.approx(2**0.5, abs=0.1)


def test_fit_with_the_same_seed_is_equal():
    one, two, other = (Alignment.fit(items(1, 4), items(2, 4), seed=seed).facts for seed in (1, 1, 2))
    assert one == two
    assert one["in_sample"] == other["in_sample"]
    assert one["held_out"] != other["held_out"]


def test_fit_with_other_dimensions_or_too_few_items_is_refused():
    with pytest.raises(DataError, match=r"8 dimensions. Expected 4, as in the old model"):
        Alignment.fit(items(1, 8, 40), items(1, 4, 40))
    with pytest.raises(DataError, match=r"15 rated items in common. Expected at least 16 for 8 dimensions"):
        Alignment.fit(items(1, 8, 15), items(2, 8, 15))
    Alignment.fit(items(1, 8, 16), items(2, 8, 16))
    with pytest.raises(DataError, match=r"vectors: 3 dimensions. Expected 8"):
        Alignment.fit(items(1, 8), items(2, 8)).apply(items(1, 3))
