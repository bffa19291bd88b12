"""The closed form: components, their sum, and arrays in a file."""

from dataclasses import replace

import numpy as np
import pytest

from encoders import SCALE, closed_form, reading
from tastevec.model.closed_form import DISLIKE_WEIGHT, ClosedForm, Known, standardized
from tastevec.schema import DEFAULT_DISLIKE_WEIGHT
from users import TAGGED, of_every_length, users

N, D = 20, 8
TABLE = np.random.default_rng(1).normal(size=(N, D)).astype(np.float32)
MODEL = closed_form(TABLE)


def _scores(model, horizon, histories):
    return model.scores(horizon, *model.known(reading(max_history_overall=100).arrays(histories)))


def test_standardized_rows_have_mean_zero_and_deviation_one():
    found = standardized(np.array([[1, 2, 3], [5, 5, 5]], np.float32))
    np.testing.assert_allclose(found, [[-np.sqrt(1.5), 0, np.sqrt(1.5)], [0, 0, 0]], rtol=1e-6)


def test_known_counts_what_follows():
    known = Known.of(np.array([[4, 5, 6], [7, 0, 0]]), np.zeros((2, 3), int), np.array([3, 1]))
    assert (known.items.tolist(), known.owners.tolist()) == ([4, 5, 6, 7], [0, 0, 0, 1])
    assert known.lags.tolist() == [2, 1, 0, 0]
    assert [chunk.items.tolist() for _, chunk in known.chunks(1)] == [[4, 5, 6], [7]]


def test_regression_scores_are_sums_of_weights():
    component = MODEL.components["lagged"]
    [found] = component.score(Known(np.array([2]), np.array([3, 8]), np.array([1, 4])))
    expected = np.zeros(N)
    for item, rating_bin, fading in ((3, 1, 0.5), (8, 4, 1.0)):
        weights = fading * component.inputs[rating_bin] * component.weights[item]
        np.add.at(expected, component.targets[item], weights)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_regression_without_weights_of_an_item_ignores_it():
    component = MODEL.components["whole"]
    rows = np.where(np.arange(N) == 3, -1, component.rows).astype(np.int32)
    known = Known(np.array([2]), np.array([3, 8]), np.array([4, 4]))
    alone = Known(np.array([1]), np.array([8]), np.array([4]))
    np.testing.assert_array_equal(replace(component, rows=rows).score(known), component.score(alone))


def test_empty_history_is_the_mean_user():
    for horizon in ("overall", "next"):
        model = replace(MODEL, weights={**MODEL.weights, horizon: {"whole": 1.0}})
        [found] = _scores(model, horizon, users([]))
        np.testing.assert_allclose(found, standardized(MODEL.mean[None])[0], rtol=1e-5, atol=1e-6)


def test_short_history_is_shrunk_to_the_mean_user_and_a_long_one_is_not():
    histories = users([(0, 5)], [(item % N, 5) for item in range(16)])
    model = replace(MODEL, shrinkage=np.array([3.0, 2.0], np.float32))
    plain = replace(MODEL, shrinkage=np.array([0.0, 1.0], np.float32))
    few, many = (
        np.abs(a - b).max()
        for a, b in zip(
            _scores(model, "overall", histories), _scores(plain, "overall", histories), strict=True
        )
    )
    assert few > 0.3
    assert many < 0.01
    np.testing.assert_array_equal(_scores(model, "next", histories), _scores(plain, "next", histories))


@pytest.mark.parametrize("horizon", ["overall", "next"])
def test_users_do_not_depend_on_each_other(horizon):
    histories, config = of_every_length(), reading(max_history_overall=100)
    together = MODEL.encode(horizon, config.arrays(histories))
    alone = [MODEL.encode(horizon, config.arrays(one))[0] for one in histories.chunks(1)]
    np.testing.assert_allclose(together, alone, rtol=1e-6, atol=1e-7)


def test_states_of_the_transformer_move_next_alone():
    arrays = reading().arrays(users([(0, 5), (1, 4)]))
    states = TABLE[4:5]
    assert MODEL.reads_states("next")
    assert not MODEL.reads_states("overall")
    without, with_ = (MODEL.scores("next", *MODEL.known(arrays), some) for some in (None, states))
    assert with_[0, 4] > without[0, 4]


def test_arrays_give_the_same_closed_form():
    arrays = reading().arrays(of_every_length())
    again = ClosedForm.of(MODEL.arrays(), MODEL.weights, TABLE, [], SCALE.n_bins + 1)
    np.testing.assert_array_equal(again.encode("overall", arrays), MODEL.encode("overall", arrays))


WRONG = {
    "another catalog": {"mean": np.zeros(N + 1, np.float32)},
    "no mean": {"mean": None},
    "a mean user that never fades": {"shrinkage": np.zeros(2, np.float32)},
    "dislikes of other levels": {"push": np.zeros(2, np.float32)},
    "an item that does not exist": {"whole_targets": np.full((N, 6), N, np.int32)},
    "an item under 0": {"whole_targets": np.full((N, 6), -1, np.int32)},
    "a row that does not exist": {"lagged_rows": np.full(N, N, np.int32)},
    "items that are no integers": {"whole_rows": np.zeros(N, np.float32)},
    "other levels": {"factors_pull": np.ones(2, np.float32)},
    "no ridge": {"factors_ridge": np.zeros(1, np.float32)},
    "a component of nothing": {"extra_numbers": np.zeros(3, np.float32)},
    "a component without an array": {"popularity_logs": None},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_arrays_that_do_not_fit_are_refused(wrong):
    arrays = {name: array for name, array in {**MODEL.arrays(), **wrong}.items() if array is not None}
    with pytest.raises(ValueError, match="component"):
        ClosedForm.of(arrays, MODEL.weights, TABLE, [], SCALE.n_bins + 1)


def test_added_items_change_no_vector_and_are_read_as_the_nearest_item():
    grown = np.concatenate([TABLE[:3], 2 * TABLE[7:8], np.zeros((1, D), np.float32), TABLE[3:]])
    model = ClosedForm.of(MODEL.arrays(), MODEL.weights, grown, [3, 4], SCALE.n_bins + 1)
    np.testing.assert_array_equal(model.vectors, TABLE)
    expected = MODEL.encode("overall", reading().arrays(users([(2, 5), (3, 1)], [(7, 5), (1, 5)], [(1, 5)])))
    found = model.encode(
        "overall", reading().arrays(users([(2, 5), (5, 1)], [(3, 5), (1, 5)], [(4, 5), (1, 5)]))
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("horizon", ["overall", "next"])
def test_dislikes_push_away_and_likes_do_not(horizon):
    arrays = reading().arrays(users([(3, 1), (8, 2), (5, 5)], [(3, 3), (8, 4), (5, TAGGED)]))
    known = MODEL.known(arrays)
    low, high = (MODEL.scores(horizon, *known, dislike_weight=weight) for weight in (0.0, 1.0))
    assert not np.allclose(low[0], high[0], atol=0.01)
    np.testing.assert_array_equal(low[1], high[1])


def test_inputs_of_low_ratings_fall_with_the_weight_of_dislikes():
    known, amounts = Known(np.array([1]), np.array([3]), np.array([0])), []
    for weight in (0, 0.5, 1):
        scores = MODEL.components["whole"].score(known, np.float32(weight) * MODEL.push, away=4.0)
        amounts.append(float((scores @ MODEL.components["whole"].score(known).T)[0, 0]))
    assert np.sign(np.diff(amounts)).tolist() == [1, 1]  # its input pushes away even at 0


def test_weight_of_dislikes_is_an_exact_no_op_without_any():
    arrays = reading().arrays(of_every_length())
    model = replace(MODEL, push=np.zeros_like(MODEL.push))
    for horizon in ("overall", "next"):
        one, other = (model.encode(horizon, arrays, dislike_weight=weight) for weight in (0.0, 1.0))
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one, MODEL.encode(horizon, arrays, dislike_weight=0.0))


def test_default_weight_of_dislikes_is_that_of_every_door():
    assert DISLIKE_WEIGHT == DEFAULT_DISLIKE_WEIGHT
