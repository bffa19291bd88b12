"""Every benchmark runs on tiny generated data, and its results fill its tables."""

import json
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import bench
import experiment
import faults
import numpy as np
import pytest
import ranking
import run as sasrec
import service
import service_faults
from generate import Sizes
from measure import Run
from pages import render
from typer.testing import CliRunner

import training
from tastevec.cli.app import app
from tastevec.data.prepared import Prepared

pytestmark = pytest.mark.slow  # trains and starts processes

TINY = (
    *("epochs=1", "hidden_size=16", "heads=2", "layers=1", "max_history=20", "report_to=none"),
    *("tune=false", "item_vector_steps=50"),
)


class InProcess(Run):
    """A run whose steps stay in this process, which has imported everything."""

    def step(self, name, *command):
        words = [str(word) for word in command]
        assert words[1:3] == ["-m", "tastevec"]
        result = CliRunner().invoke(app, words[3:])
        assert result.exit_code == 0, result.output
        record = {"stage": name, "seconds": 1.0, "peak_memory_mb": 100, "busy": 0.1}
        self.steps.append(record)
        return record

    def call(self, name, function, /, **arguments):
        returned = function(**json.loads(json.dumps(arguments, default=str)))
        self.steps.append({"stage": name, "seconds": 1.0, "peak_memory_mb": 100, "busy": 0.1})
        return {"peak_memory_mb": 100, "busy": 0.1, **json.loads(json.dumps(returned))}


@pytest.fixture(scope="module", name="world")
def _world(tmp_path_factory):
    """A run with a generated dataset and a model trained on it."""
    run = InProcess(tmp_path_factory.mktemp("world"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "TINY", TINY)
        data, model = experiment.small_world(run)
    return replace(run, prepared=data, model=model)


# What makes a small run tiny: the constants of a module.
CONSTANTS = {
    "roofs": {"SMALL": (1, 32, 100, 1)},
    "preparation": {"SMALL": ((Sizes(900, 30, 2_100, 20, 20, 50),), 1, "300MB")},
    "catalog": {"SMALL": ((300,), 2, 1)},
    "ranking": {"SMALL": (40, 700, dict.fromkeys(ranking.SYSTEMS, (40,)), (40,))},
    "evaluation": {"SMALL": (40, 60, 80), "ITEMS": 300, "TRAIN_USERS": 40},
    "encoding": {
        "SMALL": (1, (120,)),
        "TINY": TINY,
        "SYSTEMS": {
            "onnx": ("torch", "next", 20),
            "torch": ("torch", "next", 20),
        },  # the suite exports no graphs
    },
    "training": {"SMALL": ({"bert-cosine": 1, "taste": 1, "packed": 1}, 1, (120,), (4_000, 60, 2_100))},
    "direction": {"SMALL": Sizes(3_000, 60, 120, 60, 80, 300)},
    "downstream": {"EPOCHS": {False: 1}},
    "explanations": {"SMALL": 5, "STEERED": 2, "REACH_TAGS": 1},
    "alignment": {"SMALL": TINY},
    "cold_items": {"TINY": TINY},
    "value_scale": {"SOURCES": {"retailrocket": ""}, "TINY": TINY},
}
FACTS = {"machine": {"cpu": "CPU", "cores": 2}, "versions": {"tastevec": "0"}, "commit": "0" * 40}


@pytest.mark.parametrize(
    "name", [name for name in bench.BENCHMARKS if name not in {"faults", "service", "service_faults"}]
)
def test_a_small_run_fills_its_tables(name, request, tmp_path, monkeypatch, checkpoint):
    module = import_module(name)
    for constant, value in CONSTANTS.get(name, {}).items():
        monkeypatch.setattr(module, constant, value)
    monkeypatch.setattr(training, "backbone", lambda: checkpoint)
    with_model = name in {"explanations", "cold_items", "new_items", "downstream"}
    run = request.getfixturevalue("world") if with_model else InProcess(tmp_path)
    results = FACTS | json.loads(json.dumps(module.measured(run)))
    assert render(bench.BENCHMARKS[name], results).count("\n|") > 2


def test_a_small_run_is_resumed_where_it_stopped(tmp_path, capsys):
    first = bench.run_small(tmp_path, ("roofs",))
    assert "roofs ..." in capsys.readouterr().out
    assert bench.run_small(tmp_path, ("roofs",)) == first
    assert capsys.readouterr().out == ""
    assert first["stages"][0]["peak_memory_mb"] > 0


def test_an_experiment_evaluates_every_variant_of_every_seed(world):
    variants = {
        name: ("--set", f"dim={dim}", *(w for one in TINY for w in ("--set", one)))
        for name, dim in (("a", 8), ("b", 16))
    }
    found = experiment.experiment(
        replace(world, steps=[]), world.prepared, variants, dict.fromkeys(variants, (1, 2)), "--no-baselines"
    )
    assert {row["system"] for row in found["evaluation"]["rows"]} >= {"a", "b"}
    assert [found["settings"][name]["dim"] for name in variants] == [8, 16]
    assert len(found["validation"]["a"]) == 2


def test_a_flipped_bit_is_reported_with_the_name_of_the_file(world, tmp_path):
    (tmp_path / "data").symlink_to(world.prepared)
    (tmp_path / "model").symlink_to(world.model)
    found = faults.flipped(tmp_path, tmp_path / "copy", 1, np.random.default_rng(1))
    assert len(found) > 10
    assert {fault["came"] for fault in found} == {"sentence"}


@pytest.fixture(name="small_run")
def _small_run(prepared_folder, bundle_folder, tmp_path, monkeypatch):
    """A run with the tiny world and its model, which has a graph: the service starts without torch."""
    monkeypatch.setattr(service, "HISTORY", 3)
    monkeypatch.setattr(service, "BEFORE_S", 0.01)
    return InProcess(tmp_path, prepared=prepared_folder, model=bundle_folder)


def test_a_service_is_measured_alone_and_next_to_greedy_clients(small_run, monkeypatch):
    monkeypatch.setattr(service, "SMALL", (0.1, 50))
    found = FACTS | service.measured(small_run)
    assert {row["errors"] for row in found["rates"]} == {0}
    assert all(row["requests"] > 0 for row in found["fairness"])
    assert render("service", found).count("\n|") > 20


def test_an_attack_on_a_service_is_measured_and_altered_requests_are_sent(small_run, monkeypatch):
    def attackers(running, sent):
        return [service_faults._stall(running.port, b"G", b"E", sent)]

    monkeypatch.setattr(
        service_faults, "_attacks", lambda *_: {"stall": service_faults.Attack(attackers, 0.3, 0.1)}
    )
    monkeypatch.setattr(service_faults, "CHECKS", {"altered": service_faults._nonsense})
    monkeypatch.setattr(service_faults, "SILENT_S", 0.5)
    found = service_faults.measured(small_run)
    assert found["attacks"][0]["requests"] > 0
    assert found["attacks"][0]["sent"]["opened"] > 0
    assert found["checks"][0]["runs"] == sum(found["checks"][0]["outcomes"].values())
    assert render("service-faults", FACTS | {"seed": 1} | found).count("\n|") > 2


def test_sasrec_is_selected_on_validation_users_and_evaluated_on_test_users(prepared_folder):
    command = [sys.executable, str(Path(__file__).with_name("sasrec_double.py"))]
    report = sasrec.evaluated(Prepared.open(prepared_folder), command, seeds=2, epochs=3)
    facts = {system.system: system for system in report.systems}
    settings = facts["SASRec"].settings
    tried = {variant: record["validation_ndcg@100"] for variant, record in settings["tried"].items()}
    assert tried[settings["reading"]] == max(tried.values())
    assert [record["seed"] for record in settings["runs"]] == [42, 43]
    assert facts["popularity"].is_baseline
