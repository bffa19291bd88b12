"""Several prepared datasets: the users held out of all, and the items of all."""

from __future__ import annotations

import numpy as np
import pytest

import worlds
from encoders import TINY
from tastevec.data.prepared import Prepared
from tastevec.errors import DataError
from tastevec.evaluation.dataset import EvalDataset
from tastevec.evaluation.scorers import EncodedScorer, Predictions
from tastevec.evaluation.shared import item_index, on_items_of, shared_dataset
from tastevec.evaluation.tables import report_text
from tastevec.pipelines.evaluate import evaluate
from tastevec.pipelines.prepare import prepare
from tastevec.pipelines.train import train

SEED = 1  # of `prepared_folder`
OTHERS = [  # all pairs that the tiny world lacks
    worlds.Rating(user, item, 1 + (user * item) % 5, 1_000_000_000 + item)
    for user in range(1, worlds.USERS + 1)
    for item in range(1, worlds.ITEMS + 1)
    if (user + item) % 5 == 0
]


def other_data(place, *, seed=SEED, rows=None, name=int, **how):
    """Return the tiny world, or these ratings, prepared under other IDs."""
    rows = worlds.ratings() if rows is None else rows
    place.mkdir(parents=True, exist_ok=True)
    lines = [f"{name(row.user)},{name(row.item)},{row.stars},{row.time}\n" for row in rows]
    (place / "ratings.csv").write_text("".join(["user_id,item_id,rating,timestamp\n", *lines]))
    return prepare(place / "ratings.csv", place / "data", **{"seed": seed, "rating_range": "0.5:5", **how})


@pytest.fixture(scope="module")
def prepared(prepared_folder):
    return Prepared.open(prepared_folder)


@pytest.fixture(scope="module")
def newer(tmp_path_factory):
    """The tiny world without item 3 and user 4, who is a test user of the first dataset."""
    place = tmp_path_factory.mktemp("newer")
    return other_data(place, rows=[row for row in worlds.ratings() if row.item != 3 and row.user != 4])


def test_users_and_items_are_those_of_all_datasets(prepared, newer):
    own = EvalDataset.of(prepared).held_out_users.user_ids.tolist()
    theirs = EvalDataset.of(newer).held_out_users.user_ids.tolist()
    shared = shared_dataset(prepared, [newer], "test")
    remaining = shared.held_out_users
    assert 4 in own
    assert remaining.user_ids.tolist() == [user for user in own if user in theirs]
    assert not set(remaining.user_ids.tolist()) & set(newer.user_ids[newer.users_in("train")].tolist())
    three = prepared.item_ids.tolist().index(3)
    assert three not in remaining.items
    assert np.flatnonzero(~shared.candidates).tolist() == [three]
    for task in shared.tasks()[0]:
        assert np.flatnonzero(~task.candidates).tolist() == [three]
        found = f"Held out of 2 datasets: {len(remaining)} of {len(own)} users. Input, held out and ranked are the 19 of 20 items"
        assert found in task.note
        assert "100% in data" in task.note


def test_item_index_compares_ids_as_text(prepared, newer):
    index = item_index(prepared, newer)
    assert [int(newer.item_ids[one]) if one >= 0 else None for one in index] == [
        item if item != 3 else None for item in prepared.item_ids
    ]


def test_model_of_other_items_has_equal_scores(prepared, newer):
    rng = np.random.default_rng(0)
    items = rng.standard_normal((len(newer.items), 4)).astype(np.float32)

    def encode(histories, _horizon):
        weighted = histories.normalized_ratings[:, None] * items[histories.items]
        return np.add.reduceat(weighted, histories.offsets[:-1])

    def predict(histories, _horizon):
        ratings = histories.normalized_ratings
        return Predictions(ratings * items[histories.items, 0], ratings > 0, histories.owners)

    scorer = EncodedScorer("mine", "space", items, encode, probabilities=predict)
    users = newer.histories.take(newer.users_in("test"))
    theirs = users.renumbered(item_index(newer, prepared))
    index = item_index(prepared, newer)
    mapped = on_items_of(prepared, newer, scorer)
    scores = mapped.score(theirs)
    for one, other in zip(mapped.probabilities(theirs, "next"), predict(users, "next"), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(scores[:, index >= 0], scorer.score(users)[:, index[index >= 0]])
    assert (scores[:, index < 0] == np.finfo(np.float32).min).all()


def test_models_of_two_datasets_are_compared_on_shared_users(bundle_folder, prepared, newer, tmp_path):
    train(newer.folder, tmp_path / "new", epochs=1, **TINY)
    how = {"tasks": ["next-item"], "with_baselines": False}
    datasets = [prepared.folder, newer.folder]
    report = evaluate([bundle_folder, tmp_path / "new"], datasets, tmp_path / "both", **how)
    [task] = report.tasks
    assert 4 not in task.inputs.user_ids
    assert {"model", "new"} <= {pair.a for pair in report.paired_differences} | {
        pair.b for pair in report.paired_differences
    }
    assert "Held out of 2 datasets" in report_text(report)
    assert [one["fingerprint"] for one in report.data["others"]] == [newer.fingerprint]
    with pytest.raises(DataError, match=r"model new was not trained on .*Add it as a second --data"):
        evaluate([tmp_path / "new"], prepared.folder, **how)


@pytest.mark.parametrize(
    ("how", "found"),
    [
        ({"seed": 3}, "no user of the split test is in all of them"),
        (
            {"name": lambda number: number + 100},
            "no user of the split test is in all of them|no item is in all",
        ),
        ({"rating_range": "1:5"}, "feedback: explicit 0.5:5 in .*, explicit 1:5 in"),
        ({"rows": OTHERS}, "none of the interactions of their 3 common users is in both"),
    ],
    ids=["other split", "other IDs", "other scale", "other interactions"],
)
def test_datasets_that_share_nothing_are_refused(prepared, tmp_path, how, found):
    other = other_data(tmp_path, **how)
    with pytest.raises(DataError, match=found):
        shared_dataset(prepared, [other], "test")
