"""Calibration of scores as probabilities."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import tastevec as tv
import worlds
from tastevec.cli.app import app
from tastevec.data.histories import Histories
from tastevec.errors import FormatError
from tastevec.serving.calibration import Calibration
from tastevec.serving.recommender import Recommender
from tastevec.serving.service.operations import OPERATIONS
from tastevec.serving.service.responses import AppState

ITEMS, FROM = 40, 4.0
NEXT = np.linspace(-1, 1, ITEMS)  # what the score says of each item


def crowd(users, seed, *, of_score=1.5):
    """Users whose ratings are positive as the item, the user and the score have it."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(10, 40, users)
    items = np.concatenate([rng.permutation(ITEMS)[:length] for length in lengths])
    of_users = np.repeat(rng.normal(0, 0.7, users), lengths)
    of_items = np.linspace(-1.5, 1.5, ITEMS)[np.random.default_rng(0).permutation(ITEMS)]
    logits = 0.3 + of_users + of_items[items] + of_score * NEXT[items]
    ratings = np.where(rng.random(len(items)) < 1 / (1 + np.exp(-logits)), 5.0, 2.0).astype(np.float32)
    return Histories(
        np.arange(users) + 1000 * seed,
        np.concatenate([[0], np.cumsum(lengths)]),
        items.astype(np.int32),
        ratings,
        np.zeros(len(items), np.float32),
        np.zeros(len(items), np.int64),
    )


def scores(_known, later, horizon):
    """The score says something at horizon next, and nothing at overall."""
    found = NEXT[later.items] if horizon == "next" else np.cos(1e3 * later.items)
    return found.astype(np.float32)


@pytest.fixture(name="calibration", scope="module")
def _calibration():
    return Calibration.fit(crowd(1500, 1), crowd(600, 2), ITEMS, FROM, scores)


@pytest.mark.parametrize("horizon", ["overall", "next"])
def test_probabilities_are_calibrated_on_other_users(calibration, horizon):
    users = crowd(1500, 3)
    found = calibration.probabilities(
        scores(None, users, horizon),
        users.items,
        calibration.user_shares(users, FROM)[users.owners],
        horizon,
    )
    positive = users.ratings >= FROM
    parts = np.array_split(np.argsort(found), 10)
    assert max(abs(found[part].mean() - positive[part].mean()) for part in parts) < 0.05
    assert ((found - positive) ** 2).mean() < 0.9 * positive.mean() * (1 - positive.mean())


def test_probability_rises_with_score_item_and_user(calibration):
    item = np.argsort(calibration.item_shares)[[0, -1]]
    one = np.zeros(2)
    half = np.full(2, 0.5)
    assert np.diff(calibration.probabilities(one, item, half, "next"))[0] > 0
    assert np.diff(calibration.probabilities(one, item[[0, 0]], np.array([0.2, 0.8]), "next"))[0] > 0
    unusual = replace(calibration, next=np.array([2.0, 0.0]))
    assert np.diff(unusual.probabilities(np.array([-1.0, 1.0]), item[[0, 0]], half, "next"))[0] > 0


@pytest.mark.parametrize("rating", [5.0, 1.0])
def test_ratings_of_one_kind_give_no_calibration(rating):
    users = crowd(300, 1)
    users = replace(users, ratings=np.full_like(users.ratings, rating))
    assert Calibration.fit(users, crowd(300, 2), ITEMS, FROM, scores) is None


def test_few_validation_ratings_give_no_calibration():
    assert Calibration.fit(crowd(300, 1), crowd(20, 2), ITEMS, FROM, scores) is None


def test_user_without_ratings_has_share_of_all(calibration):
    nothing = crowd(3, 1).keep(np.zeros(len(crowd(3, 1).items), bool))
    assert calibration.user_shares(nothing, FROM) == pytest.approx(np.full(3, calibration.share[0]))


def test_saved_calibration_is_equal(calibration, tmp_path):
    calibration.save(tmp_path / "calibration.safetensors")
    again = Calibration.load(tmp_path / "calibration.safetensors")
    assert (again.item_shares == calibration.item_shares).all()
    assert (again.weights == calibration.weights).all()
    assert (again.next == calibration.next).all()


def test_share_out_of_range_is_refused(calibration, tmp_path):
    replace(calibration, share=np.array([1.5])).save(tmp_path / "calibration.safetensors")
    with pytest.raises(FormatError, match="Expected shares between 0 and 1"):
        Calibration.load(tmp_path / "calibration.safetensors")


def test_new_item_has_share_of_all(calibration):
    grown = calibration.with_items(np.array([2, -1, 0]))
    expected = [calibration.item_shares[2], calibration.share[0], calibration.item_shares[0]]
    assert grown.item_shares.tolist() == expected


# ---- the same probability by every door ----

RATED = [(1, 5), (3, 4), (12, 1), (5, 5)]


@pytest.fixture(name="model", scope="module")
def _model(bundle_folder, tmp_path_factory):
    """The tiny model, whose data say too little, with a calibration."""
    rng = np.random.default_rng(0)
    shares = rng.uniform(0.1, 0.9, worlds.ITEMS)
    some = Calibration(
        np.array([0.5]), shares, np.array([0.1, 1.0, 0.9]), np.array([2.0, 0.1]), np.array([1.0, 0.2])
    )
    bundle = tv.load(bundle_folder).bundle
    folder = tmp_path_factory.mktemp("calibrated") / "model"
    Recommender(replace(bundle, calibration=some)).save(folder)
    return folder


@pytest.mark.parametrize("horizon", ["overall", "next"])
def test_probability_is_equal_by_every_door(model, horizon, tmp_path):
    recommender = tv.load(model)
    expected = recommender.recommend(RATED, k=5, horizon=horizon)
    found = expected["probability"].to_numpy()
    assert ((found > 0) & (found < 1)).all()
    histories, out = tmp_path / "histories.csv", tmp_path / "recs.parquet"
    frame = pd.DataFrame([("ann", *row) for row in RATED], columns=["user_id", "item_id", "rating"])
    frame.to_csv(histories, index=False)
    words = ["recommend", model, histories, "--k", 5, "--horizon", horizon, "--out", out]
    assert CliRunner().invoke(app, [str(word) for word in words]).exit_code == 0
    table = pq.read_table(out)
    assert table["probability"].to_numpy().tolist() == found.tolist()
    assert table.schema.metadata[b"probability"].startswith(b"of a positive rating")
    one = {"interactions": [{"item_id": item, "value": stars} for item, stars in RATED]}
    body = {"users": [one], "k": 5, "horizon": horizon}
    state = AppState(recommender).prepared()
    work = OPERATIONS["recommend"].open(state, json.dumps(body).encode())
    vectors = recommender.user_vectors(work.users.histories, work.horizon, work.dislike_weight)
    [user] = json.loads(work.head(state) + work.entries(state, vectors, lambda: None) + b"]}")["users"]
    assert [item["probability"] for item in user["items"]] == pytest.approx(found.tolist(), abs=1e-6)
    percentiles = expected["percentile"].to_pylist()
    assert percentiles == sorted(percentiles, reverse=True)
    assert percentiles[0] <= 100 * (1 - 1 / worlds.ITEMS) + 1e-4
    assert table["percentile"].to_pylist() == percentiles == [item["percentile"] for item in user["items"]]
    assert b"0 to 100" in table.schema.metadata[b"percentile"]


def test_vector_has_probability_of_an_average_user(model):
    recommender = tv.load(model)
    vector = recommender.encode(RATED)
    table = recommender.recommend(vector, k=3)
    calibration = recommender.bundle.calibration
    items = np.searchsorted(recommender.bundle.item_ids, table["item_id"].to_numpy())
    expected = calibration.probabilities(table["score"].to_numpy(), items, np.full(3, 0.5), "overall")
    assert table["probability"].to_numpy() == pytest.approx(expected)


def test_model_without_calibration_has_no_probability(bundle_folder):
    assert "probability" not in tv.load(bundle_folder).recommend(RATED, k=3).column_names
