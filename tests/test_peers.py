"""SASRec's seam: the tables that go to its process, what is made of its scores, and the results that come of it."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from types import SimpleNamespace

import environment
import numpy as np
import pytest
import run
from process import Process
from scorer import Recipe, Sasrec

import worlds
from contracts.scorer import ScorerContract
from people import TAGGED, people, world
from tastevec.data.prepared import Prepared
from tastevec.errors import SettingsError, TrainingError
from tastevec.evaluation.tasks import cases

COMMAND = [sys.executable, str(Path(__file__).with_name("standin.py"))]
TRAIN = people([(0, 5, 10), (1, 2, 10), (2, 4, 10)], [(2, 5), (3, TAGGED), (1, 4)])


@pytest.fixture
def sasrec(tmp_path):
    """Makes a scorer whose process is the stand-in; all of them end with the test."""
    validation = cases(world().take(np.array([5, 11])), protocol="future", rating_range=(1, 5))[1]
    with ExitStack() as stack:

        def make(reading="all", *, epochs=4) -> Sasrec:
            model = Sasrec(
                Recipe(reading, liked_from=4, epochs=epochs),
                validation=validation,
                seed=42,
                command=COMMAND,
                work=tmp_path,
            )
            return stack.enter_context(closing(model))

        yield make


def sent(model: Sasrec, name: str) -> list[tuple[int, int, float]]:
    """The rows (user, item, weight) of the last table of this name, in the order that it says."""
    with np.load(f"{model._folder}/{name}.npz") as table:
        rows = zip(table["user_id"], table["item_id"], table["weight"], strict=True)
        return [row for _, row in sorted(zip(table["datetime"], rows, strict=True))]


class TestSasrec(ScorerContract):
    """The contract, where the model is the stand-in."""

    @pytest.fixture
    def make(self, sasrec):
        return sasrec


@pytest.mark.parametrize(
    ("reading", "rows"),
    [
        ("all", [(0, 0, 1), (0, 1, 1), (0, 2, 1), (1, 2, 1), (1, 1, 1)]),
        ("likes", [(0, 0, 1), (0, 2, 1), (1, 2, 1), (1, 1, 1)]),
        ("likes among all", [(0, 0, 1), (0, 1, 0), (0, 2, 1), (1, 2, 1), (1, 1, 1)]),
    ],
)
def test_what_is_read_goes_to_the_process_in_order_and_what_is_foretold_weighs_1(sasrec, reading, rows):
    model = sasrec(reading)
    model.fit(TRAIN, worlds.FILMS)
    assert sent(model, "train") == rows


def test_people_are_called_by_their_place_so_that_no_id_can_matter(sasrec):
    model = sasrec("likes")
    model.fit(TRAIN, worlds.FILMS)
    model.score(people([(1, 5)], [(2, 1)], [(0, 2), (2, 4)], ids=["ann", "bob", "cid"]))
    assert sent(model, "asked") == [(0, 1, 1), (2, 2, 1)]


def test_films_without_training_stand_last_and_who_liked_nothing_gets_the_most_liked(sasrec):
    model = sasrec("likes")
    model.fit(TRAIN, worlds.FILMS)
    known, nobody = model.score(people([(0, 5)], [(2, 1)]))
    assert known.tolist() == [101, 101, 2, *[1] * 17]  # the lowest of its scores, 2, less 1
    assert nobody.tolist() == [1, 1, 2, *[0] * 17]


def test_training_ends_when_validation_gains_no_more_and_the_best_epochs_stay(sasrec):
    short, long = sasrec(epochs=4), sasrec(epochs=40)
    train, asked = world().take(np.array([0, 1, 2, 6, 7, 8])), world().take(np.array([5, 11]))
    for model in (short, long):
        model.fit(train, worlds.FILMS)
    assert list(long.record["curve"]) == [2, 4, 6, 8]  # three looks without a better one
    assert long.record["epochs"] == 2
    assert long.record["validation_ndcg@100"] == long.best == long.record["curve"][2]
    np.testing.assert_array_equal(long.score(asked), short.score(asked))


def test_the_last_epochs_are_fewer_where_the_number_is_odd(sasrec):
    model = sasrec(epochs=3)
    model.fit(world(), worlds.FILMS)
    assert list(model.record["curve"]) == [2, 3]


def test_what_is_trained_is_not_trained_again(sasrec):
    model = sasrec()
    model.fit(world(), worlds.FILMS)
    record = model.record
    model.fit(TRAIN, worlds.FILMS)
    assert model.record is record


def test_a_process_that_ends_is_said_so():
    with pytest.raises(TrainingError, match="status 3 and no answer"):
        Process([sys.executable, "-c", "raise SystemExit(3)"], seed=1)


def test_a_process_that_ends_later_is_said_so_too():
    process = Process([sys.executable, "-c", "input(); print('{}', flush=True)"], seed=1)
    process._process.wait()
    with pytest.raises(TrainingError, match="status 0 and no answer"):
        process.ask(do="score")


def test_the_reading_is_chosen_by_validation_people_and_everything_is_in_the_results(
    prepared_folder, tmp_path, capsys
):
    report = run.judged(Prepared.open(prepared_folder), COMMAND, seeds=2, epochs=3)
    report.write(tmp_path / "out")
    assert capsys.readouterr().out.count("seed 42 ...") == 3  # each reading once
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    facts = {system["system"]: system for system in results["systems"]}
    assert facts["popularity"]["floor"]
    settings = facts["SASRec"]["settings"]
    tried = {reading: record["validation_ndcg@100"] for reading, record in settings["tried"].items()}
    assert tried[settings["reading"]] == max(tried.values())
    assert [record["seed"] for record in settings["runs"]] == [42, 43]
    assert settings["versions"] == {"stand-in": "1.0"}
    assert facts["SASRec"]["fit_seconds"] == sum(record["fit_seconds"] for record in settings["runs"])
    assert facts["SASRec"]["runs"] == 2
    assert (tmp_path / "out" / "per_user.parquet").exists()


def test_no_seeds_and_no_epochs_are_refused(prepared_folder):
    with pytest.raises(SettingsError, match="seeds is 3 and epochs 0"):
        run.judged(Prepared.open(prepared_folder), COMMAND, epochs=0)


def test_a_model_that_does_not_read_the_history_is_refused(sasrec, monkeypatch):
    model = sasrec()
    model.fit(world(), worlds.FILMS)
    monkeypatch.setattr(model, "score", lambda asked: np.zeros((len(asked), worlds.FILMS)))
    with pytest.raises(TrainingError, match="histories"):
        run.refuse_memory(model, world())


def test_a_model_that_knows_a_person_by_his_place_is_refused(sasrec, monkeypatch):
    model = sasrec()
    model.fit(world(), worlds.FILMS)
    score = model.score
    monkeypatch.setattr(model, "score", lambda asked: score(asked) + np.arange(len(asked))[:, None])
    with pytest.raises(TrainingError, match="histories"):
        run.refuse_memory(model, world())


def test_the_environment_is_made_once_and_again_when_the_requirements_change(tmp_path, monkeypatch, capsys):
    ran = []

    def fake(command, *, check):
        ran.append([str(word) for word in command])
        (tmp_path / "env").mkdir(exist_ok=True)
        return SimpleNamespace(returncode=0, check=check)

    monkeypatch.setattr(subprocess, "run", fake)
    python = environment.ready(tmp_path / "env")
    assert python == tmp_path / "env" / "bin" / "python"
    assert [command[1:3] for command in ran] == [["-m", "venv"], ["-m", "pip"]]
    environment.ready(tmp_path / "env")
    assert len(ran) == 2
    (tmp_path / "env" / "installed").write_text("RecTools of long ago")
    environment.ready(tmp_path / "env")
    assert len(ran) == 4
    assert "Installing RecTools" in capsys.readouterr().out


def test_an_environment_that_cannot_be_installed_is_said_so_and_begun_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=1))
    with pytest.raises(SystemExit, match="could not be installed"):
        environment.ready(tmp_path / "env")
    assert not (tmp_path / "env" / "installed").exists()
