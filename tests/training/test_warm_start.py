"""Warm starts: what is taken from an earlier model, what is refused, and runs that resume with more epochs."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import tastevec as tv
import worlds
from encoders import TINY, TINY_NOTE
from tastevec.cli.app import app
from tastevec.data.prepared import Prepared
from tastevec.errors import SettingsError, TrainingError
from tastevec.training.settings import resolve_settings
from tastevec.training.warm_start import WarmStart


@pytest.fixture(scope="module", name="earlier")
def _earlier(bundle_folder):
    return tv.load(bundle_folder, runtime="torch").bundle


@pytest.fixture(scope="module", name="grown")
def _grown(tmp_path_factory):
    """The tiny world a week later: items 2 to 20, and item 30 in place of 1."""
    folder = tmp_path_factory.mktemp("grown")
    rows = [(row.user, row.item if row.item > 1 else 30, row.stars, row.time) for row in worlds.ratings()]
    columns = dict(
        zip(("user_id", "item_id", "rating", "timestamp"), map(list, zip(*rows, strict=True)), strict=True)
    )
    return tv.prepare(columns, folder / "prepared", seed=1, rating_range=(0.5, 5), positive_from=3.875).folder


def _cosine(one, other):
    return np.mean(
        np.einsum("nd,nd->n", one, other) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    )


def warm_start(earlier, item_ids):
    return WarmStart.of(earlier.model, earlier.facts, np.array(item_ids), earlier.item_ids)


def test_first_vectors_are_the_earlier_ones_and_those_of_new_items_are_turned_to_them(earlier):
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(7, 7)))[0].astype(np.float32)
    found = warm_start(earlier, ["30", "5", "2", "31"])
    table = earlier.model.table[:, :-1]
    factors = 3 * np.stack([table[7], table[4], table[1], table[11]]) @ turn
    many = warm_start(earlier, [*range(1, 21), 30])
    first = many.first_vectors(np.vstack([3 * table, 3 * table[[7]]]) @ turn)
    np.testing.assert_array_equal(first[:20], table)
    np.testing.assert_allclose(first[20], table[7], atol=1e-5)
    np.testing.assert_array_equal(found.first_vectors(factors)[1:3], table[[4, 1]])
    assert found.facts == {"space": earlier.space, "items": 2, "new_items": 2}


def test_transformer_begins_with_the_weights_of_the_earlier_model(earlier, grown, tmp_path, bundle_folder):
    begun = tv.train(
        grown,
        tmp_path / "begun",
        init=bundle_folder,
        **{**TINY, "epochs": 1, "learning_rate": 1e-9, "weight_decay": 0.0},
    )
    weights = tv.load(tmp_path / "begun", runtime="torch").bundle.model.state_dict()
    for name, weight in earlier.model.state_dict().items():
        if name == "item_inputs.weight":  # items 2 to 20
            rows = [int(item_id) - 1 for item_id in begun.bundle.item_ids if item_id != 30]
            here = torch.tensor([item_id != 30 for item_id in begun.bundle.item_ids])
            torch.testing.assert_close(weights[name][here], weight[rows], atol=1e-6, rtol=0)
        elif not name.startswith(("items.", "solution.", "user_basis", "item_basis")):
            torch.testing.assert_close(weights[name], weight, atol=1e-6, rtol=0)
    assert begun.bundle.facts["init"] == {"space": earlier.space, "items": 19, "new_items": 1}
    assert begun.bundle.space != earlier.space


def test_space_turns_less_than_without_warm_start(earlier, grown, tmp_path, bundle_folder):
    spaces = [
        tv.train(grown, tmp_path / name, **{**TINY, "epochs": 0, "item_vector_steps": 20, **how})
        for name, how in (("warm", {"init": bundle_folder}), ("cold", {}))
    ]
    warm, cold = (_cosine(model.bundle.model.table[:-1], earlier.model.table[1:]) for model in spaces)
    assert warm > cold + 0.2


def test_command_goes_on_in_place_and_says_what_is_taken(prepared_folder, bundle_folder, tmp_path):
    tv.load(bundle_folder).save(tmp_path / "model")
    settings = {**TINY, "epochs": 1}
    flags = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    model = str(tmp_path / "model")
    done = CliRunner().invoke(app, ["train", str(prepared_folder), "--out", model, "--init", model, *flags])
    assert done.exit_code == 0, done.stderr
    space = tv.load(bundle_folder).bundle.space
    assert done.stdout.startswith(
        f"Began with {model} (space {space}): its transformer, and its vectors of 20 films, 0 more are new.\nWrote "
    )
    assert json.loads((tmp_path / "model" / "bundle.json").read_text())["init"]["space"] == space


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"hidden_size": 16},
            r"init: a model with hidden_size=8\. Expected hidden_size=16, as in this training",
        ),
        ({"dim": 16, "layers": 2}, r"dim=8, layers=1\. Expected dim=16, layers=2"),
        ({"time_gaps": False}, r"time_gaps=True\. Expected time_gaps=False"),
        ({"item_vectors": "content"}, r"init: the training is of preset taste with item vectors content"),
    ],
)
def test_model_of_another_shape_is_refused_before_the_training(
    prepared_folder, bundle_folder, tmp_path, changes, said
):
    with pytest.raises(SettingsError, match=said):
        tv.train(prepared_folder, tmp_path / "model", init=bundle_folder, **{**TINY, **changes})
    assert list(tmp_path.iterdir()) == []


def test_other_presets_and_other_items_are_refused(
    earlier, prepared_folder, direction_folder, bundle_folder, tmp_path
):
    with pytest.raises(SettingsError, match="init: a model of preset direction"):
        tv.train(prepared_folder, tmp_path / "model", init=direction_folder, **TINY)
    with pytest.raises(SettingsError, match="init: the training is of preset bert-cosine"):
        tv.train(prepared_folder, tmp_path / "model", preset="bert-cosine", init=bundle_folder, **TINY_NOTE)
    with pytest.raises(SettingsError, match="init: none of the 2 items of the dataset is in the model"):
        warm_start(earlier, ["a", "b"])
    with pytest.raises(SettingsError, match=r"rating_bins=\d+\. Expected rating_bins=99"):
        warm_start(earlier, [1]).check(resolve_settings(**TINY), 99)


def test_run_resumes_with_more_epochs_and_not_with_another_start(prepared_folder, bundle_folder, tmp_path):
    def stop(done, _total, _latest):
        if done == 3:
            raise KeyboardInterrupt

    how = {**TINY, "init": bundle_folder}
    with pytest.raises(KeyboardInterrupt):
        tv.train(prepared_folder, tmp_path / "model", epochs=2, progress=stop, **how)
    with pytest.raises(TrainingError, match="the run has other values of init"):
        tv.train(prepared_folder, tmp_path / "model", epochs=2, resume=True, **TINY)
    with pytest.raises(TrainingError, match="the run has other values of epochs"):
        tv.train(prepared_folder, tmp_path / "model", epochs=1, resume=True, **how)
    model = tv.train(prepared_folder, tmp_path / "model", epochs=4, resume=True, **how)
    log = [entry["epoch"] for entry in model.bundle.facts["log"] if "eval_validation_score" in entry]
    assert log == [1, 2, 3, 4]
    assert model.bundle.facts["settings"]["epochs"] == 4
    assert Prepared.open(prepared_folder).fingerprint == model.bundle.facts["data"]["fingerprint"]
