"""A model of real ratings: ONNX equals the network, and steering follows the tag."""

from pathlib import Path

import explanations
import numpy as np
import pytest

import tastevec as stages
from tastevec.data.prepared import Prepared
from tastevec.model.export import export_onnx
from tastevec.serving import bundle
from tastevec.serving.bundle import Bundle

RELEASE = Path(__file__).parents[3] / "shared" / "data" / "ml-1m-5k"
USERS = 300  # of the release; more would train for minutes
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not RELEASE.is_dir(), reason="the real ml-1m-5k is not on this machine"),
]
HORIZONS = pytest.mark.parametrize("horizon", ["next", "overall"])


@pytest.fixture(scope="module", name="trained")
def _trained(tmp_path_factory):
    """Return a prepared dataset and a model of the default size, trained on it for one epoch."""
    place = tmp_path_factory.mktemp("real")
    prepared = stages.prepare(_beginning(place / "ml-1m"), place / "prepared").folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle, "export", export_onnx)
        stages.train(
            prepared,
            place / "model",
            epochs=1,
            device="cpu",
            report_to="none",
            tune=False,
            item_vector_steps=100,
        )
    return prepared, place / "model"


def _beginning(folder):
    """Write the release with its first users and the items that they rated."""
    folder.mkdir()
    users, rows, items = {}, [], set()
    with (RELEASE / "ratings.dat").open(encoding="ascii") as ratings:
        for row in ratings:
            user, item, _ = row.split("::", 2)
            if len(users) == USERS and user not in users:
                break
            users[user] = None
            items.add(item)
            rows.append(row)
    (folder / "ratings.dat").write_text("".join(rows), encoding="ascii")
    listed = (RELEASE / "movies.dat").read_text(encoding="iso-8859-1").splitlines(keepends=True)
    lines = [row for row in listed if row.split("::", 1)[0] in items]
    (folder / "movies.dat").write_text("".join(lines), encoding="iso-8859-1")
    return folder


@HORIZONS
def test_onnx_encoder_of_real_histories_equals_the_network(trained, horizon):
    """Check the newest 1 to 300 items, each length of another test user, and complete histories."""
    prepared, model = trained
    served, network = Bundle.load(model, "onnx"), Bundle.load(model, "torch")
    opened = Prepared.open(prepared)
    users = opened.histories.take(opened.users_in("test"))
    longest = users.lengths
    cases = [users] + [
        users.take(owners[length % len(owners) :][:1]).last(length)
        for length in range(1, 301)
        if len(owners := np.flatnonzero(longest >= length))
    ]
    assert len(cases) > 200
    for histories in cases:
        arrays = served.reading.arrays(histories)
        found, expected = served.model.encode(horizon, **arrays), network.model.encode(horizon, **arrays)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_steer_of_a_real_model_moves_the_tag_and_little_else(trained):
    """Steer 60 tags by -2 to 2 SD: the metric of the benchmark, with few users and short training."""
    prepared, model = trained
    world = explanations.World.read(model, prepared, 100)
    found = explanations.steered(world, 1.0, 0)
    doses = [dose["mean"] for dose in found["doses"]]
    assert doses == sorted(doses)
    assert found["rising"] >= 0.95
    assert found["others_change"]["mean"] < found["own_change"]["mean"] / 3
