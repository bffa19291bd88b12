"""Training as a whole, on the tiny world: what it leaves, refuses and repeats."""

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
from encoders import TINY, TINY_SEED
from tastevec.data.prepared import Prepared
from tastevec.errors import FormatError, SettingsError, TrainingError
from tastevec.evaluation.metrics import cosine_distance
from tastevec.items.cold_start import load_feature_rows
from tastevec.items.taste_space import TasteSpace, TasteSpaceSettings
from tastevec.model.encoder import RidgeFoldIn
from tastevec.pipelines.prepare import PrepareSettings
from tastevec.pipelines.prepare import write_prepared as prepare
from tastevec.pipelines.train import train
from tastevec.training import trainer as loop
from tastevec.training.batches import top_rated_batch
from tastevec.training.fit import _placed
from tastevec.training.fit import train as train_on
from tastevec.training.settings import resolve_settings
from users import users


@pytest.fixture(name="data")
def _data(prepared_folder) -> Prepared:
    return Prepared.open(prepared_folder)


def learn(data, folder, preset="taste", **changes):
    """The trained model, without a bundle."""
    small = TINY_SEED if preset == "bert-cosine" else {**TINY, "epochs": 1}
    how = {name: changes.pop(name) for name in ("resume", "callbacks") if name in changes}
    return train_on(data, folder, resolve_settings(preset, **{**small, **changes}), **how)


def same(one, other):
    weights = other.model.state_dict()
    return all(torch.equal(weight, weights[name]) for name, weight in one.model.state_dict().items())


class Stop(TrainerCallback):
    """Interrupts a run as Ctrl-C would, behind so many steps."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, _args, state, _control, **_):
        if state.global_step == self.step:
            raise KeyboardInterrupt


class Explode(TrainerCallback):
    """Does what too high a rate does."""

    def on_step_end(self, _args, _state, _control, model, **_):
        with torch.no_grad():
            model.head.bias.fill_(torch.nan)


class Look(TrainerCallback):
    """Remembers the model before the first step and behind each one."""

    def __init__(self):
        self.states, self.modes = [], []

    def on_train_begin(self, _args, _state, _control, model, **_):
        self._keep(model)

    def on_step_end(self, _args, _state, _control, model, **_):
        self._keep(model)
        self.modes.append(model.training)

    def _keep(self, model):
        self.states.append({name: weight.clone() for name, weight in model.state_dict().items()})


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(data, tmp_path):
    first = learn(data, tmp_path / "a")
    assert same(first, learn(data, tmp_path / "b"))
    assert not same(first, learn(data, tmp_path / "c", seed=7))


def test_an_interrupted_run_goes_on_to_the_same_weights(data, tmp_path):
    straight = learn(data, tmp_path / "straight", epochs=3)
    with pytest.raises(KeyboardInterrupt):
        learn(data, tmp_path / "run", epochs=3, callbacks=[Stop(5)])  # in the third of epochs of two steps
    resumed = learn(data, tmp_path / "run", epochs=3, resume=True)
    assert same(straight, resumed)
    assert resumed.log == straight.log
    assert sum("loss" in entry for entry in straight.log) == 3  # a line an epoch at least


def measures(trained):
    return [entry["eval_validation_score"] for entry in trained.log if "eval_validation_score" in entry]


def test_a_run_stopped_before_its_first_epoch_begins_again(data, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        learn(data, tmp_path / "run", callbacks=[Stop(1)])
    assert same(learn(data, tmp_path / "run", resume=True), learn(data, tmp_path / "straight"))


def test_a_run_stopped_behind_its_last_epoch_is_finished_by_resuming_from_anywhere(
    data, tmp_path, monkeypatch
):
    falling = iter([3.0, 2.0, 1.0])  # so that a best epoch must be found again, which is not the last
    monkeypatch.setattr(loop, "validate", lambda *_: {"eval_validation_score": next(falling)})
    monkeypatch.chdir(tmp_path)
    straight = learn(data, Path("run"), epochs=3)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    resumed = learn(data, Path("../run"), epochs=3, resume=True)
    assert same(straight, resumed)


def best(trained):
    return int(np.argmax(measures(trained)))


@pytest.mark.parametrize("harm", ["without its last file", "with half of it"])
def test_a_half_written_checkpoint_is_passed_over(data, tmp_path, harm):
    straight = learn(data, tmp_path / "run", epochs=2)
    newest = max((tmp_path / "run").glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]))
    state = newest / "trainer_state.json"
    if harm == "with half of it":
        state.write_text(state.read_text()[:100])
    else:
        state.unlink()
        (newest / "optimizer.pt").write_bytes(b"half")
    assert same(straight, learn(data, tmp_path / "run", epochs=2, resume=True))


@pytest.mark.parametrize("changes", [{"learning_rate": 0.5}, {"seed": 7, "target_fraction": 0.1}])
def test_a_run_is_not_resumed_with_other_settings(data, tmp_path, changes):
    learn(data, tmp_path / "run")
    with pytest.raises(
        TrainingError, match=f"differs in {', '.join(sorted(changes))}; resume it with its own"
    ):
        learn(data, tmp_path / "run", resume=True, **changes)


def test_a_run_is_not_resumed_on_other_data(data, tmp_path):
    learn(data, tmp_path / "run")
    begun = json.loads((tmp_path / "run" / "settings.json").read_text())
    (tmp_path / "run" / "settings.json").write_text(json.dumps({**begun, "data": "other"}))
    with pytest.raises(TrainingError, match="differs in data"):
        learn(data, tmp_path / "run", resume=True)


def test_where_nothing_was_begun_there_is_nothing_to_resume(data, tmp_path):
    with pytest.raises(TrainingError, match="holds no unfinished run; run the same command without --resume"):
        learn(data, tmp_path / "run", resume=True)


def test_a_folder_that_is_no_run_of_ours_is_left_alone(data, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    with pytest.raises(FormatError, match="was not written by this command"):
        learn(data, tmp_path / "run")
    assert (tmp_path / "run" / "thesis.txt").read_text() == "mine"


def test_a_place_that_is_taken_is_refused_before_the_training(prepared_folder, tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.txt").touch()
    monkeypatch.setattr(loop, "run", lambda *_, **__: pytest.fail("it began to train"))
    with pytest.raises(FormatError, match="was not written by this command"):
        train(prepared_folder, tmp_path / "model", **TINY)


def test_a_finished_training_leaves_the_model_alone_and_an_interrupted_one_leaves_no_model(
    prepared_folder, tmp_path
):
    def stop(done, _total, _measures):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(prepared_folder, tmp_path / "model", epochs=2, progress=stop, **TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["model.training"]
    train(prepared_folder, tmp_path / "model", epochs=2, resume=True, **TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_progress_is_told_step_by_step_with_the_newest_measures(prepared_folder, tmp_path):
    told = []
    train(prepared_folder, tmp_path / "model", epochs=2, progress=lambda *step: told.append(step), **TINY)
    assert [done for done, _, _ in told] == [1, 2, 3, 4]
    assert {total for _, total, _ in told} == {4}
    assert "eval_validation_score" in told[-1][2]


def test_the_curves_of_each_run_are_its_own(data, tmp_path):
    for name in ("first", "second"):  # in one process, which must not remember where the first one wrote
        learn(data, tmp_path / name, report_to="tensorboard")
        events = EventAccumulator(str(tmp_path / name / "tensorboard")).Reload()
        assert "eval/validation_score" in events.Tags()["scalars"]
        assert len(events.Scalars("eval/validation_score")) == 1


def test_there_is_an_evaluation_and_a_checkpoint_each_epoch_and_the_best_is_kept(data, tmp_path):
    trained = learn(data, tmp_path / "run", epochs=4, learning_rate=0.3)
    told = measures(trained)
    assert len(told) == 4
    assert len(list((tmp_path / "run").glob("checkpoint-*"))) <= 2  # the best and the last
    kept = tmp_path / "run" / f"checkpoint-{2 * (best(trained) + 1)}"
    again = type(trained.model).from_pretrained(kept)
    assert all(
        torch.equal(weight, again.state_dict()[name]) for name, weight in trained.model.state_dict().items()
    )


def test_the_epochs_differ_in_what_is_asked_and_in_the_order_of_the_people(data, tmp_path, monkeypatch):
    seen = []
    ours = loop.Collator.__call__

    def watched(self, users):
        seen.append(tuple(users))
        return ours(self, users)

    monkeypatch.setattr(loop.Collator, "__call__", watched)
    learn(data, tmp_path / "run", epochs=3)
    assert [{epoch for epoch, _ in batch} for batch in seen] == [{0}, {0}, {1}, {1}, {2}, {2}]
    orders = [[user for batch in pair for _, user in batch] for pair in (seen[:2], seen[2:4], seen[4:])]
    assert all(sorted(order) == list(range(7)) for order in orders)
    assert any(one != other for one, other in pairwise(orders))


def test_training_goes_on_in_training_mode_behind_a_validation(data, tmp_path):
    look = Look()
    learn(data, tmp_path / "run", epochs=2, callbacks=[look])
    assert look.modes == [True] * 4


@pytest.mark.parametrize("preset", ["taste", "bert-cosine"])
def test_what_was_solved_stays_as_it_is_and_everything_else_learns(data, tmp_path, preset):
    look = Look()
    learn(data, tmp_path / "run", preset, epochs=2, callbacks=[look])
    first, last = look.states[0], look.states[-1]
    stayed = {name for name, weight in first.items() if torch.equal(weight, last[name])}
    solved = (
        {"item_prior", "gram", "prior_mean", "rating_weights", "constants"} if preset == "taste" else set()
    )
    assert stayed == {"items.weight", *(f"fold_in.{name}" for name in solved)}


@pytest.mark.parametrize(
    "changes", [{}, {"preset": "bert-cosine", "readout": "moments", "attention": "causal"}]
)
def test_training_asks_what_comes_next_and_never_the_linear_answer(data, tmp_path, monkeypatch, changes):
    monkeypatch.setattr(loop, "validate", lambda *_: {"eval_validation_score": 0.0})
    monkeypatch.setattr(RidgeFoldIn, "forward", lambda *_, **__: pytest.fail("it was asked"))
    learn(data, tmp_path / "run", **changes)


def test_the_overall_answer_is_the_linear_one_before_the_first_step_and_after_the_last(data, tmp_path):
    trained = learn(data, tmp_path / "run", epochs=2)
    taught = data.histories.take(data.users_in("train"))
    settings = TasteSpaceSettings(rating_range=data.rating_range, dim=8)
    _, rows = load_feature_rows(data.folder)
    space = TasteSpace.fit(taught, rows, settings)
    np.testing.assert_array_equal(trained.model.item_vectors, space.initial.vectors)
    unseen = data.histories.take(data.users_in("test"))
    answers = trained.model.encode("overall", **trained.reading.arrays(unseen))
    np.testing.assert_allclose(answers, space.fold_in(unseen), rtol=1e-4, atol=1e-4)


def test_vectors_of_content_have_a_linear_answer_without_a_regression(data, tmp_path):
    trained = learn(data, tmp_path / "run", item_vectors="content", dim=64)
    np.testing.assert_array_equal(trained.model.item_vectors, data.vectors["content"])
    assert not trained.model.fold_in.item_prior.any()
    assert trained.model.fold_in.prior_mean.any()


def test_the_notes_recipe_runs_as_it_was_and_says_its_own_metric(data, tmp_path):
    trained = learn(data, tmp_path / "run", "bert-cosine")
    assert trained.reading.pad == "full"
    assert trained.reading.max_history == 12
    assert trained.origins.tolist() == ["genome-svd"] * 20
    (measured,) = [entry for entry in trained.log if "eval_cosine_distance" in entry]
    judges = data.histories.take(data.users_in("validation"))
    batch = top_rated_batch(judges, trained.reading, trained.settings)
    users, items = batch.pop("target_users"), batch.pop("target_items")
    answers = trained.model.encode("next", **batch)[users]
    distance = cosine_distance(answers, data.vectors["genome-svd"][items]).mean()
    assert measured["eval_cosine_distance"] == pytest.approx(distance, abs=1e-5)
    assert measured["eval_validation_score"] == -measured["eval_cosine_distance"]


def test_the_notes_optimizer_is_adamw_with_its_rate_decay_and_cosine(data, tmp_path):
    arguments = loop._arguments(
        loop.TrainingRun(data.histories, data.histories, None, resolve_settings("bert-cosine"), "data"),
        tmp_path,
    )
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
    ("told", "width", "expected"),
    [
        ({"avx512_bf16": True}, 128, True),
        ({"amx_bf16": True}, 256, True),
        ({"avx512_bf16": True}, 64, False),
        ({"avx512_bf16": False, "avx2": True}, 256, False),
        ({}, 256, False),
    ],
)
def test_by_itself_bfloat16_is_taken_where_the_processor_has_it_and_the_blocks_are_wide(
    monkeypatch, told, width, expected
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    processor = torch.device("cpu")
    auto = resolve_settings(precision="auto", hidden_size=width)
    assert loop._in_bfloat16(auto, processor) is expected
    assert not loop._in_bfloat16(auto, torch.device("cuda"))
    assert loop._in_bfloat16(auto.model_copy(update={"precision": "bfloat16"}), processor)
    assert not loop._in_bfloat16(auto.model_copy(update={"precision": "float32"}), processor)


def test_in_bfloat16_the_blocks_learn_and_everything_that_is_kept_or_measured_stays_float32(
    data, tmp_path, monkeypatch
):
    seen = set()
    ours = loop.next_softmax_loss

    def watched(answers, *told):
        seen.add(answers.dtype)
        return ours(answers, *told)

    monkeypatch.setattr(loop, "next_softmax_loss", watched)
    plain = {"dropout": 0.0, "input_dropout": 0.0}
    whole, half = (
        learn(data, tmp_path / precision, precision=precision, **plain)
        for precision in ("float32", "bfloat16")
    )
    assert seen == {torch.float32}
    assert {weight.dtype for weight in half.model.state_dict().values()} == {torch.float32}
    assert not same(whole, half)
    for name, weight in half.model.state_dict().items():
        torch.testing.assert_close(weight, whole.model.state_dict()[name], rtol=0.05, atol=0.01, msg=name)
    people_ = data.histories.take(data.users_in("test"))
    answers = half.model.encode("next", **half.reading.arrays(people_))
    again = type(half.model)(
        half.model.config
    )  # as if it were loaded: nothing but weights is left of the training
    again.load_state_dict(half.model.state_dict())
    np.testing.assert_array_equal(again.encode("next", **half.reading.arrays(people_)), answers)


CORRECTIONS = {
    "order": {"order": "time"},
    "truncate": {"truncate": "newest"},
    "attention": {"attention": "masked"},
    "readout": {"readout": "moments"},
    "readout-causal": {"readout": "moments", "attention": "causal"},
    "positions": {"positions": "from_end"},
    "ties-all": {"ties": "all"},
    "ties-latest": {"ties": "latest"},
    "statistics": {"statistics": "known"},
    "loss": {"loss": "softmax"},
    "learned": {"loss": "softmax", "item_input": "learned"},
    "time_gaps": {"time_gaps": True, "order": "time"},
    "linear": {"readout": "moments", "blend_overall": 1.5},
    "rating_input": {"rating_input": "embed"},
    "vectors": {"item_vectors": "content"},
    "start": {"item_vectors": "collaborative"},
    "set": {"readout": "moments", "max_history_overall": 50},
}


@pytest.mark.parametrize("name", CORRECTIONS)
def test_each_correction_of_the_note_can_be_made_alone(data, tmp_path, name):
    changed = learn(data, tmp_path / "run", "bert-cosine", **CORRECTIONS[name])
    assert all(weight.isfinite().all() for weight in changed.model.parameters())
    assert np.isfinite(measures(changed)).all()
    assert measures(changed)
    settings = changed.settings.model_dump()
    note = resolve_settings("bert-cosine", **TINY_SEED).model_dump()
    assert {key for key, value in settings.items() if value != note[key]} == set(CORRECTIONS[name])


@pytest.mark.parametrize(
    "changes",
    [
        {"positions": "none"},
        {"item_vectors": "content", "dim": 64},
        {"target_fraction": 1.0, "history_split_rate": 1.0},
        {"item_input": "table", "time_gaps": False},
        {"max_history_overall": 0},
        {"sequence_packing": False},
        {"gradient_accumulation_steps": 3},
        {"blend_overall": 0.0, "blend_recent": 0.0, "blend_short": 0.0},
    ],
)
def test_our_recipe_has_its_own_variations(data, tmp_path, changes):
    assert all(
        weight.isfinite().all() for weight in learn(data, tmp_path / "run", **changes).model.parameters()
    )


def test_one_person_a_batch_may_like_nothing_without_breaking_the_model(data, tmp_path):
    silent = data.histories.ratings.copy()
    silent[data.histories.owners == data.users_in("train")[0]] = 1.0
    changed = replace(data, histories=replace(data.histories, ratings=silent))
    trained = learn(changed, tmp_path / "run", batch_size=1)
    assert all(weight.isfinite().all() for weight in trained.model.parameters())


def test_a_model_whose_numbers_explode_is_refused(data, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "validate", lambda *_: {"eval_validation_score": 0.0})
    with pytest.raises(TrainingError, match="no longer finite; train again with a lower --set learning_rate"):
        learn(data, tmp_path / "run", callbacks=[Explode()])


def test_too_few_people_are_refused(data, tmp_path):
    few = replace(data, splits=np.zeros_like(data.splits))
    with pytest.raises(TrainingError, match="12 training and 0 validation users; expected 2 or more of each"):
        learn(few, tmp_path / "run")


def test_film_vectors_of_another_length_are_refused_with_the_length_that_fits(data, tmp_path):
    with pytest.raises(
        SettingsError, match=r"dim is 8, and the content vectors of .* have 64 numbers; set dim=64"
    ):
        learn(data, tmp_path / "run", item_vectors="content")


def test_a_graphics_card_that_is_not_there_is_refused(data, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match="device is cuda and torch sees none; set device=auto"):
        learn(data, tmp_path / "run", device="cuda")


def test_a_backbone_that_cannot_be_reached_is_a_setting_that_does_not_fit(data, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SettingsError, match="backbone bert-base-cased is neither a local folder"):
        learn(data, tmp_path / "run", "bert-cosine", backbone="bert-base-cased")


def test_the_notes_recipe_begins_with_the_first_layers_of_a_real_checkpoint(data, tmp_path, checkpoint):
    trained = learn(data, tmp_path / "run", "bert-cosine", backbone=checkpoint, layers=2, learning_rate=1e-12)
    bert = BertModel.from_pretrained(checkpoint)
    assert trained.model.config.hidden_size == bert.config.hidden_size
    for ours, theirs in zip(trained.model.blocks.layer, bert.encoder.layer[:2], strict=True):
        wanted = theirs.state_dict()
        for name, weight in ours.state_dict().items():  # as good as not moved at that rate
            torch.testing.assert_close(weight, wanted[name], rtol=0, atol=1e-6)
    with pytest.raises(SettingsError, match="is a bert of 6 layers; expected a BERT of 7 or more"):
        learn(data, tmp_path / "deep", "bert-cosine", backbone=checkpoint, layers=7)


def test_without_a_genome_the_note_reads_content_and_says_so(data, tmp_path):
    bare = replace(data, vectors={"content": data.vectors["content"]})
    assert set(learn(bare, tmp_path / "run", "bert-cosine").origins) == {"content"}


def test_the_film_table_remembers_who_stands_behind_it(data, tmp_path):
    trained = learn(data, tmp_path / "run")
    taught = data.histories.take(data.users_in("train"))
    assert trained.counts.tolist() == np.bincount(taught.items, minlength=20).tolist()
    assert set(trained.origins) == {"both"}


def test_an_earlier_run_in_the_same_place_is_thrown_away(data, tmp_path):
    learn(data, tmp_path / "run", epochs=2)
    shutil.copytree(tmp_path / "run", tmp_path / "run" / "checkpoint-999")
    assert same(learn(data, tmp_path / "run"), learn(data, tmp_path / "other"))
    assert not (tmp_path / "run" / "checkpoint-999").exists()


def test_our_recipe_is_not_trained_on_histories_that_are_in_no_order_of_time(tmp_path):
    release = worlds.write_csv_release(tmp_path / "release", genome=True)
    settings = PrepareSettings(preset="bert-cosine")
    by_item = prepare(release, tmp_path / "data", settings=settings)
    with pytest.raises(
        SettingsError, match="in the order of their films' ids, and order is time; run tastevec"
    ):
        learn(by_item, tmp_path / "run")


def test_the_note_drops_films_without_a_vector_and_then_people_of_one_film():
    histories = users([(0, 5), (1, 4), (2, 3)], [(0, 5), (1, 4)])
    placed = _placed(histories, np.array([[1.0], [0.0], [1.0]], np.float32))
    assert (placed.user_ids.tolist(), placed.items.tolist()) == (histories.user_ids[:1].tolist(), [0, 2])
