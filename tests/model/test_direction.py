"""The direction encoder: its formula, and what an embedding does not depend on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastevec.data.inputs import InputConfig
from tastevec.data.value_scale import ValueScale
from tastevec.model.direction import DirectionEncoder, unit
from users import of_every_length, rows_of, users

N, D = 20, 6
SCALE = ValueScale.explicit(1, 5)
READING = InputConfig(SCALE, 100)


def encoder():
    """Return an encoder of random weights, in which item 3 has no vector."""
    rng = np.random.default_rng(7)
    weights = {
        "items.weight": unit(rng.normal(size=(N, D))).astype(np.float32),
        "grades": rng.normal(size=(3, SCALE.n_bins + 1)).astype(np.float32),
        "from_means": rng.normal(size=(3 * D + 2, D)).astype(np.float32),
        "from_items": rng.normal(size=(N, D)).astype(np.float32),
        "from_grades": rng.normal(size=(N, D)).astype(np.float32),
    }
    weights["items.weight"][3] = 0
    return DirectionEncoder({"model_type": "tastevec-direction", "n_items": N, "added_items": []}, weights)


MODEL = encoder()


def _encoded(histories, horizon="overall", model=MODEL, reading=READING):
    return model.encode(horizon, **reading.arrays(histories))


HISTORIES = st.lists(
    st.lists(
        st.tuples(st.integers(0, N - 1), st.sampled_from([1.0, 3.0, 4.0, 5.0, float("nan")])),
        max_size=12,
        unique_by=lambda row: row[0],
    ),
    min_size=1,
    max_size=4,
)


def test_embedding_is_the_formula_of_the_class():
    histories = of_every_length()
    weights = MODEL._weights
    for user, found in enumerate(_encoded(histories)):
        rows = rows_of(histories, user)
        expected, n = np.zeros(D), len(rows)
        sums = np.zeros((3, D))
        for item, rating, _ in rows:
            rating_bin = SCALE.bin_values(np.array([np.nan if rating < 0 else rating], np.float32))[0]
            grades = weights["grades"][:, rating_bin]
            sums += np.outer(grades, weights["items.weight"][item])
            expected += (weights["from_items"][item] + grades[2] * weights["from_grades"][item]) / np.sqrt(n)
        known = np.concatenate([unit(sums).ravel(), [1, np.log1p(n)]])
        np.testing.assert_allclose(found, expected + known @ weights["from_means"], rtol=1e-4, atol=1e-5)


@given(HISTORIES, st.randoms(use_true_random=False))
def test_order_of_a_history_does_not_matter(each, random):
    shuffled = [random.sample(user, len(user)) for user in each]
    np.testing.assert_array_equal(_encoded(users(*each)), _encoded(users(*shuffled)))


@given(HISTORIES)
def test_users_do_not_depend_on_each_other(each):
    together = _encoded(users(*each))
    alone = np.concatenate([_encoded(users(user)) for user in each])
    np.testing.assert_allclose(together, alone, rtol=1e-6, atol=1e-6)


def test_both_horizons_are_the_same_embedding():
    np.testing.assert_array_equal(_encoded(of_every_length(), "next"), _encoded(of_every_length()))


def test_newest_interactions_alone_are_read():
    long, newest = users([(1, 5), (2, 1), (3, 4)]), users([(2, 1), (3, 4)])
    np.testing.assert_array_equal(_encoded(long, reading=InputConfig(SCALE, 2)), _encoded(newest))


def test_added_items_change_no_embedding_and_are_read_by_their_vector():
    [place, new] = 4, np.eye(D, dtype=np.float32)[0]
    grown = MODEL.with_items(np.insert(MODEL.table, place, new, axis=0), [place])
    histories = of_every_length()
    arrays = READING.arrays(histories)
    moved = {**arrays, "items": arrays["items"] + (arrays["items"] >= place)}
    np.testing.assert_array_equal(grown.encode("next", **moved), _encoded(histories))
    assert not any(grown._weights[name][place].any() for name in ("from_items", "from_grades"))
    assert grown.added_items == [place]
    again = grown.with_items(np.vstack([grown.table, new]), [place, N + 1])
    np.testing.assert_array_equal(again.encode("next", **moved), _encoded(histories))
    assert _encoded(users([(place, 5)]), model=grown).any()


def test_item_vectors_have_unit_length_or_none():
    lengths = np.linalg.norm(MODEL.with_items(MODEL.table * 2, []).item_vectors, axis=1)
    np.testing.assert_allclose(lengths, np.arange(N) != 3, atol=1e-6)


def test_saved_encoder_loads_with_equal_embeddings(tmp_path):
    MODEL.save_pretrained(tmp_path)
    loaded = DirectionEncoder.load(tmp_path)
    assert loaded.config == MODEL.config
    np.testing.assert_array_equal(_encoded(of_every_length(), model=loaded), _encoded(of_every_length()))


@pytest.mark.parametrize("length", [0, 1])
def test_short_history_has_a_finite_embedding(length):
    assert np.isfinite(_encoded(users([(3, 5.0)][:length]))).all()
