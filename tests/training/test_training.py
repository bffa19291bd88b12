"""Training on the tiny world: results, refusals, resuming and reproducibility."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import BertModel, TrainerCallback

import worlds
from encoders import TINY, TINY_NOTE, reading
from tastevec.data.prepared import Prepared
from tastevec.errors import FormatError, SettingsError, TrainingError
from tastevec.evaluation.metrics import cosine_distance
from tastevec.pipelines.prepare import PrepareSettings
from tastevec.pipelines.prepare import write_prepared as prepare
from tastevec.pipelines.train import train
from tastevec.training import trainer
from tastevec.training.batches import top_rated_batch
from tastevec.training.fit import _with_vectors
from tastevec.training.fit import train as fit
from tastevec.training.settings import NoteSettings, resolve_settings
from users import users

FOREIGN = "was not written by this command"
BASES = ("user_basis", "item_basis")  # of the geometry


@pytest.fixture(name="data")
def _data(prepared_folder) -> Prepared:
    return Prepared.open(prepared_folder)


def learn(data, folder, preset="taste", **changes):
    """Train a small model, without writing a model folder."""
    small = TINY_NOTE if preset == "bert-cosine" else {**TINY, "epochs": 1}
    options = {name: changes.pop(name) for name in ("resume", "callbacks") if name in changes}
    return fit(data, folder, resolve_settings(preset, **{**small, **changes}), **options)


def same(one, other):
    weights = other.fitted.model.state_dict()
    return all(torch.equal(weight, weights[name]) for name, weight in one.fitted.model.state_dict().items())


def scores(trained):
    """Return the validation score of each epoch."""
    return [
        entry["eval_validation_score"] for entry in trained.fitted.log if "eval_validation_score" in entry
    ]


class Stop(TrainerCallback):
    """Interrupts a run after a step, as Ctrl-C does."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, _args, state, _control, **_):
        if state.global_step == self.step:
            raise KeyboardInterrupt


class Explode(TrainerCallback):
    """Sets a weight to NaN, as a high learning rate does."""

    def on_step_end(self, _args, _state, _control, model, **_):
        with torch.no_grad():
            model.head.bias.fill_(torch.nan)


class Record(TrainerCallback):
    """Records the weights before the first step and after each one."""

    def __init__(self):
        self.states, self.modes = [], []

    def on_train_begin(self, _args, _state, _control, model, **_):
        self._record(model)

    def on_step_end(self, _args, _state, _control, model, **_):
        self._record(model)
        self.modes.append(model.training)

    def _record(self, model):
        self.states.append({name: weight.clone() for name, weight in model.state_dict().items()})


def test_same_seed_gives_same_weights_and_another_seed_others(data, tmp_path):
    first = learn(data, tmp_path / "a")
    assert same(first, learn(data, tmp_path / "b"))
    assert not same(first, learn(data, tmp_path / "c", seed=7))


def test_resume_interrupted_run_gives_same_weights_and_log(data, tmp_path):
    uninterrupted = learn(data, tmp_path / "uninterrupted", epochs=3)
    with pytest.raises(KeyboardInterrupt):
        learn(data, tmp_path / "run", epochs=3, callbacks=[Stop(5)])  # in the third epoch, of two steps each
    resumed = learn(data, tmp_path / "run", epochs=3, resume=True)
    assert same(uninterrupted, resumed)
    assert resumed.fitted.log == uninterrupted.fitted.log
    assert sum("loss" in entry for entry in uninterrupted.fitted.log) == 3  # at least one entry an epoch


def test_resume_before_first_checkpoint_starts_again(data, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        learn(data, tmp_path / "run", callbacks=[Stop(1)])
    assert same(learn(data, tmp_path / "run", resume=True), learn(data, tmp_path / "uninterrupted"))


def test_resume_after_last_epoch_from_another_folder_finds_best_epoch(data, tmp_path, monkeypatch):
    falling = iter([3.0, 2.0, 1.0])  # the best epoch is not the last
    monkeypatch.setattr(trainer, "validate", lambda *_: {"eval_validation_score": next(falling)})
    monkeypatch.chdir(tmp_path)
    finished = learn(data, Path("run"), epochs=3)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert same(finished, learn(data, Path("../run"), epochs=3, resume=True))


@pytest.mark.parametrize("damage", ["without its last file", "with half of it"])
def test_resume_skips_incomplete_checkpoint(data, tmp_path, damage):
    finished = learn(data, tmp_path / "run", epochs=2)
    last = max((tmp_path / "run").glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]))
    state = last / "trainer_state.json"
    if damage == "with half of it":
        state.write_text(state.read_text()[:100])
    else:
        state.unlink()
        (last / "optimizer.pt").write_bytes(b"half")
    assert same(finished, learn(data, tmp_path / "run", epochs=2, resume=True))


@pytest.mark.parametrize("changes", [{"learning_rate": 0.5}, {"seed": 7, "target_fraction": 0.1}])
def test_resume_with_other_settings_is_refused(data, tmp_path, changes):
    learn(data, tmp_path / "run")
    with pytest.raises(TrainingError, match=f"other values of {', '.join(sorted(changes))}"):
        learn(data, tmp_path / "run", resume=True, **changes)


def test_resume_on_other_data_is_refused(data, tmp_path):
    learn(data, tmp_path / "run")
    identity = json.loads((tmp_path / "run" / "settings.json").read_text())
    (tmp_path / "run" / "settings.json").write_text(json.dumps({**identity, "data": "other"}))
    with pytest.raises(TrainingError, match="other values of data"):
        learn(data, tmp_path / "run", resume=True)


def test_resume_without_run_is_refused(data, tmp_path):
    with pytest.raises(TrainingError, match=r"no run to resume. Run the same command without --resume"):
        learn(data, tmp_path / "run", resume=True)


def test_folder_of_something_else_is_refused_and_unchanged(data, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    with pytest.raises(FormatError, match=FOREIGN):
        learn(data, tmp_path / "run")
    assert (tmp_path / "run" / "thesis.txt").read_text() == "mine"


def test_output_folder_of_something_else_is_refused_before_training(prepared_folder, tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.txt").touch()
    monkeypatch.setattr(trainer, "train_encoder", lambda *_, **__: pytest.fail("training started"))
    with pytest.raises(FormatError, match=FOREIGN):
        train(prepared_folder, tmp_path / "model", **TINY)


def test_finished_training_leaves_model_alone_and_interrupted_one_its_checkpoints(prepared_folder, tmp_path):
    def stop(done, _total, _metrics):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(prepared_folder, tmp_path / "model", epochs=2, progress=stop, **TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["model.training"]
    train(prepared_folder, tmp_path / "model", epochs=2, resume=True, **TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_progress_is_called_each_step_with_latest_metrics(prepared_folder, tmp_path):
    steps = []
    train(prepared_folder, tmp_path / "model", epochs=2, progress=lambda *step: steps.append(step), **TINY)
    assert [done for done, _, _ in steps] == [1, 2, 3, 4, 4]  # again with the metrics of the last epoch
    assert {total for _, total, _ in steps} == {4}
    assert "eval_validation_score" in steps[-1][2]


def test_each_run_has_its_own_curves(data, tmp_path):
    for name in ("first", "second"):  # in one process, which must not write to the first folder again
        learn(data, tmp_path / name, report_to="tensorboard")
        events = EventAccumulator(str(tmp_path / name / "tensorboard")).Reload()
        assert "eval/validation_score" in events.Tags()["scalars"]
        assert len(events.Scalars("eval/validation_score")) == 1


def test_result_is_best_epoch_and_checkpoints_are_best_and_last(data, tmp_path):
    trained = learn(data, tmp_path / "run", epochs=4, learning_rate=0.3)
    assert len(scores(trained)) == 4
    assert len(list((tmp_path / "run").glob("checkpoint-*"))) <= 2
    best = tmp_path / "run" / f"checkpoint-{2 * (int(np.argmax(scores(trained))) + 1)}"
    weights = type(trained.fitted.model).from_pretrained(best).state_dict()
    assert not any(weights.pop(name).any() for name in BASES)  # the geometry is fitted after the last epoch
    assert all(
        torch.equal(trained.fitted.model.state_dict()[name], weight) for name, weight in weights.items()
    )


def test_epochs_differ_in_draws_and_in_order_of_users(data, tmp_path, monkeypatch):
    batches = []
    collate = trainer.Collator.__call__

    def recorded(self, pairs):
        batches.append(tuple(pairs))
        return collate(self, pairs)

    monkeypatch.setattr(trainer.Collator, "__call__", recorded)
    learn(data, tmp_path / "run", epochs=3)
    assert [{epoch for epoch, _ in batch} for batch in batches] == [{0}, {0}, {1}, {1}, {2}, {2}]
    epochs = (batches[:2], batches[2:4], batches[4:])
    orders = [[user for batch in epoch for _, user in batch] for epoch in epochs]
    assert all(sorted(order) == list(range(7)) for order in orders)
    assert any(one != other for one, other in pairwise(orders))


def test_model_is_in_training_mode_after_validation(data, tmp_path):
    record = Record()
    learn(data, tmp_path / "run", epochs=2, callbacks=[record])
    assert record.modes == [True] * 4


@pytest.mark.parametrize("preset", ["taste", "bert-cosine"])
def test_training_changes_all_weights_but_item_vectors(data, tmp_path, preset):
    record = Record()
    learn(data, tmp_path / "run", preset, epochs=2, callbacks=[record])
    first, last = record.states[0], record.states[-1]
    constant = {name for name, weight in first.items() if torch.equal(weight, last[name])}
    assert constant == {"items.weight", *BASES}


def test_item_vectors_and_closed_form_do_not_depend_on_the_transformer(data, tmp_path):
    one, other = (
        learn(data, tmp_path / name, epochs=epochs).fitted.model for name, epochs in (("a", 0), ("b", 2))
    )
    np.testing.assert_array_equal(one.table, other.table)
    arrays = reading(max_history_overall=100).arrays(data.histories.take(data.users_in("test")))
    np.testing.assert_array_equal(one.encode("overall", **arrays), other.encode("overall", **arrays))


def test_without_epochs_the_transformer_has_no_weight(data, tmp_path):
    trained = learn(data, tmp_path / "run", epochs=0)
    assert not trained.fitted.log
    assert not trained.fitted.model.closed_form.reads_states("next")
    assert trained.fitted.validation["eval_random-20pct_ndcg@100"] > 0


def test_content_item_vectors_stay(data, tmp_path):
    trained = learn(data, tmp_path / "run", item_vectors="content", dim=64)
    np.testing.assert_array_equal(trained.fitted.model.table, data.vectors["content"])


@pytest.mark.parametrize(("patience", "epochs"), [(0, 5), (1, 2), (3, 4)])
def test_training_ends_early_without_a_better_score(data, tmp_path, monkeypatch, patience, epochs):
    monkeypatch.setattr(trainer, "validate", lambda *_, **__: {"eval_validation_score": 0.0})
    trained = learn(data, tmp_path / "run", epochs=5, patience=patience)
    assert len(scores(trained)) == epochs


def test_bert_cosine_validation_score_is_mean_cosine_distance_to_top_rated_item(data, tmp_path):
    trained = learn(data, tmp_path / "run", "bert-cosine")
    assert (trained.input_config.pad, trained.input_config.max_history) == ("full", 12)
    assert trained.fitted.origins.tolist() == ["genome-svd"] * 20
    (metrics,) = [entry for entry in trained.fitted.log if "eval_cosine_distance" in entry]
    batch = top_rated_batch(data.histories.take(data.users_in("validation")), trained.input_config)
    owners, targets = batch.pop("target_users"), batch.pop("target_items")
    embeddings = trained.fitted.model.encode("next", **batch)[owners]
    distance = cosine_distance(embeddings, data.vectors["genome-svd"][targets]).mean()
    assert metrics["eval_cosine_distance"] == pytest.approx(distance, abs=1e-5)
    assert metrics["eval_validation_score"] == -metrics["eval_cosine_distance"]


def test_bert_cosine_optimizer_is_adamw_of_research_note(tmp_path):
    arguments = trainer._arguments(NoteSettings(), tmp_path)
    assert arguments.learning_rate == 1e-4
    assert arguments.weight_decay == 0.01
    assert arguments.lr_scheduler_type == "cosine"
    assert arguments.get_warmup_steps(100) == 0
    assert arguments.num_train_epochs == 4
    assert arguments.per_device_train_batch_size == 4
    assert arguments.seed == 42
    assert arguments.eval_strategy == arguments.save_strategy == "epoch"
    assert arguments.load_best_model_at_end


@pytest.mark.parametrize(
    ("features", "width", "expected"),
    [
        ({"avx512_bf16": True}, 128, True),
        ({"amx_bf16": True}, 256, True),
        ({"avx512_bf16": True}, 64, False),
        ({"avx512_bf16": False, "avx2": True}, 256, False),
        ({}, 256, False),
    ],
)
def test_precision_auto_is_bfloat16_on_fast_processor_and_wide_model(monkeypatch, features, width, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features, raising=False)
    processor = torch.device("cpu")
    auto = resolve_settings(precision="auto", hidden_size=width)
    assert trainer._uses_bfloat16(auto, processor) is expected
    assert not trainer._uses_bfloat16(auto, torch.device("cuda"))
    assert trainer._uses_bfloat16(auto.model_copy(update={"precision": "bfloat16"}), processor)
    assert not trainer._uses_bfloat16(auto.model_copy(update={"precision": "float32"}), processor)


def test_bfloat16_leaves_loss_weights_and_inference_in_float32(data, tmp_path, monkeypatch):
    dtypes = set()
    next_softmax_loss = trainer.next_softmax_loss

    def recorded(predictions, *others):
        dtypes.add(predictions.dtype)
        return next_softmax_loss(predictions, *others)

    monkeypatch.setattr(trainer, "next_softmax_loss", recorded)
    plain = {"dropout": 0.0, "input_dropout": 0.0}
    full, half = (
        learn(data, tmp_path / precision, precision=precision, **plain)
        for precision in ("float32", "bfloat16")
    )
    assert dtypes == {torch.float32}
    weights = half.fitted.model.state_dict().values()
    assert {weight.dtype for weight in weights if weight.is_floating_point()} == {torch.float32}
    assert not same(full, half)
    for name, weight in half.fitted.model.state_dict().items():
        if name in BASES:
            continue  # with so few users, no direction is clearly the least used
        torch.testing.assert_close(
            weight, full.fitted.model.state_dict()[name], rtol=0.05, atol=0.01, msg=name
        )
    arrays = half.input_config.arrays(data.histories.take(data.users_in("test")))
    loaded = type(half.fitted.model)(half.fitted.model.config)
    loaded.load_state_dict(half.fitted.model.state_dict())
    np.testing.assert_array_equal(loaded.encode("next", **arrays), half.fitted.model.encode("next", **arrays))


@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        ("taste", {"item_vectors": "content", "dim": 64}),
        ("taste", {"target_fraction": 1.0, "history_split_rate": 1.0}),
        ("taste", {"time_gaps": False}),
        ("taste", {"max_history_overall": 0}),
        ("taste", {"sequence_packing": False}),
        ("taste", {"gradient_accumulation_steps": 3}),
        ("bert-cosine", {"item_vectors": "content"}),
        ("bert-cosine", {"max_history": 5}),
    ],
)
def test_variant_of_preset_trains_to_finite_weights_and_scores(data, tmp_path, preset, changes):
    trained = learn(data, tmp_path / "run", preset, **changes)
    assert all(weight.isfinite().all() for weight in trained.fitted.model.parameters())
    assert np.isfinite(scores(trained)).all()
    assert scores(trained)


def test_batch_without_positives_leaves_weights_finite(data, tmp_path):
    ratings = data.histories.ratings.copy()
    ratings[data.histories.owners == data.users_in("train")[0]] = 1.0
    changed = replace(data, histories=replace(data.histories, ratings=ratings))
    trained = learn(changed, tmp_path / "run", batch_size=1)
    assert all(weight.isfinite().all() for weight in trained.fitted.model.parameters())


def test_weights_that_are_not_finite_are_refused(data, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "validate", lambda *_: {"eval_validation_score": 0.0})
    with pytest.raises(TrainingError, match=r"NaN or Infinity.* Train with a lower --set learning_rate"):
        learn(data, tmp_path / "run", callbacks=[Explode()])


def test_too_few_users_are_refused(data, tmp_path):
    few = replace(data, splits=np.zeros_like(data.splits))
    with pytest.raises(
        TrainingError, match=r"12 training users and 0 validation users. Expected at least 2 of each"
    ):
        learn(few, tmp_path / "run")


def test_item_vectors_of_another_dimension_are_refused_with_the_one_that_fits(data, tmp_path):
    with pytest.raises(SettingsError, match=r"dim: 8, but the content vectors of .* have 64 .*Set dim=64"):
        learn(data, tmp_path / "run", item_vectors="content")


def test_weight_of_transformer_without_order_is_refused(data, tmp_path):
    unordered = replace(data, manifest=data.manifest | {"order": "none"})
    with pytest.raises(SettingsError, match=r"transformer_weight: 2, but the histories of .* have no order"):
        learn(unordered, tmp_path / "run")


def test_cuda_without_gpu_is_refused(data, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match=r"device: cuda, but PyTorch finds no GPU.* Set device=auto"):
        learn(data, tmp_path / "run", device="cuda")


def test_backbone_out_of_reach_is_a_settings_error(data, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SettingsError, match="backbone bert-base-cased: not found as a local folder"):
        learn(data, tmp_path / "run", "bert-cosine", backbone="bert-base-cased")


@pytest.mark.parametrize(
    "name", ["checkpoint", "./org/bert", "/nowhere/bert", "org/bert/", "~user/bert", "runs/bert"]
)
def test_backbone_that_is_a_misspelled_path_is_not_looked_up(data, tmp_path, monkeypatch, name, caplog):
    def connects(*_args, **_more):
        raise AssertionError

    monkeypatch.setattr("tastevec.training.fit.backbone_shape", connects)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(SettingsError, match=f"backbone {name}: no such folder"):
        learn(data, tmp_path / "run", "bert-cosine", backbone=name)
    with pytest.raises(AssertionError):
        learn(data, tmp_path / "run", "bert-cosine", backbone="org/bert")
    assert caplog.messages == ["backbone org/bert: no such folder. Loading it from the Hugging Face Hub."]


def test_bert_cosine_starts_from_first_layers_of_backbone(data, tmp_path, checkpoint):
    trained = learn(data, tmp_path / "run", "bert-cosine", backbone=checkpoint, layers=2, learning_rate=1e-12)
    bert = BertModel.from_pretrained(checkpoint)
    assert trained.fitted.model.config.hidden_size == bert.config.hidden_size
    for layer, pretrained in zip(trained.fitted.model.blocks.layer, bert.encoder.layer[:2], strict=True):
        expected = pretrained.state_dict()
        for name, weight in layer.state_dict().items():  # at that rate the weights hardly change
            torch.testing.assert_close(weight, expected[name], rtol=0, atol=1e-6)
    with pytest.raises(SettingsError, match=r"bert with 6 layers. Expected BERT with at least 7"):
        learn(data, tmp_path / "deep", "bert-cosine", backbone=checkpoint, layers=7)


def test_bert_cosine_without_genome_reads_content_vectors(data, tmp_path):
    bare = replace(data, vectors={"content": data.vectors["content"]})
    assert set(learn(bare, tmp_path / "run", "bert-cosine").fitted.origins) == {"content"}


def test_counts_are_training_users_of_each_item(data, tmp_path):
    trained = learn(data, tmp_path / "run")
    train_users = data.histories.take(data.users_in("train"))
    assert trained.counts.tolist() == np.bincount(train_users.items, minlength=20).tolist()
    assert set(trained.fitted.origins) == {"both"}


def test_new_run_removes_earlier_one_in_its_folder(data, tmp_path):
    learn(data, tmp_path / "run", epochs=2)
    shutil.copytree(tmp_path / "run", tmp_path / "run" / "checkpoint-999")
    assert same(learn(data, tmp_path / "run"), learn(data, tmp_path / "other"))
    assert not (tmp_path / "run" / "checkpoint-999").exists()


def test_taste_on_histories_in_order_of_item_ids_is_refused(tmp_path):
    release = worlds.write_csv_release(tmp_path / "release", genome=True)
    by_item = prepare(release, tmp_path / "data", settings=PrepareSettings(preset="bert-cosine"))
    with pytest.raises(SettingsError, match=r"in the order of item ids. Expected time order .* Run tastevec"):
        learn(by_item, tmp_path / "run")


def test_with_vectors_drops_items_without_vector_then_users_of_one_item():
    histories = users([(0, 5), (1, 4), (2, 3)], [(0, 5), (1, 4)])
    kept = _with_vectors(histories, np.array([[1.0], [0.0], [1.0]], np.float32))
    assert (kept.user_ids.tolist(), kept.items.tolist()) == (histories.user_ids[:1].tolist(), [0, 2])
