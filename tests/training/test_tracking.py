"""Experiment tracking with MLflow: what reaches it, without the library; and the library, where it is installed."""

import sys
import types
from contextlib import contextmanager

import pytest

import tastevec as tv
from encoders import TINY
from tastevec.errors import MissingExtraError

TRACKED = {**TINY, "report_to": "mlflow"}


class Mlflow(types.ModuleType):
    """The calls of MLflow that a run makes, in a list."""

    def __init__(self):
        super().__init__("mlflow")
        self.calls = []

    @contextmanager
    def start_run(self, **how):
        self.calls.append(("start", how))
        try:
            yield
        except BaseException:
            self.calls.append(("end", "FAILED"))
            raise
        self.calls.append(("end", "FINISHED"))

    def log_params(self, params):
        self.calls.append(("params", params))

    def log_metrics(self, metrics, *, step):
        assert all(isinstance(value, float) and "@" not in name for name, value in metrics.items())
        self.calls.append(("metrics", (step, metrics)))


@pytest.fixture(name="mlflow")
def _mlflow(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", module := Mlflow())
    monkeypatch.setattr("tastevec.pipelines.train.require", lambda _name: None)
    return module


def test_mlflow_gets_settings_and_metrics_of_each_epoch(mlflow, prepared_folder, tmp_path):
    tv.train(prepared_folder, tmp_path / "weekly", epochs=2, **TRACKED)
    assert mlflow.calls[0] == ("start", {"run_name": "weekly", "nested": True})
    assert mlflow.calls[-1] == ("end", "FINISHED")
    [params] = [what for kind, what in mlflow.calls if kind == "params"]
    assert (params["epochs"], params["preset"], params["report_to"]) == (2, "taste", "mlflow")
    metrics = [what for kind, what in mlflow.calls if kind == "metrics"]
    assert [step for step, each in metrics if "eval_validation_score" in each] == [2, 4]
    assert any("eval_next-item_ndcg_at_100" in each for _, each in metrics)
    assert any("loss" in each for _, each in metrics)


def test_mlflow_run_of_an_interrupted_training_has_failed(mlflow, prepared_folder, tmp_path):
    def stop(_done, _total, _latest):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tv.train(prepared_folder, tmp_path / "model", epochs=1, progress=stop, **TRACKED)
    assert mlflow.calls[-1] == ("end", "FAILED")


@pytest.mark.parametrize("tracker", ["wandb", "mlflow"])
def test_missing_tracker_is_refused_before_the_training(tracker, prepared_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("tastevec.extras.find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=rf"{tracker} is not installed.*tastevec\[{tracker}\]"):
        tv.train(prepared_folder, tmp_path / "model", **{**TINY, "report_to": tracker})
    assert list(tmp_path.iterdir()) == []


def test_curves_of_a_real_mlflow_are_in_a_local_store(prepared_folder, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    monkeypatch.chdir(tmp_path)
    tv.train(prepared_folder, tmp_path / "model", epochs=1, **TRACKED)
    [run] = mlflow.search_runs(output_format="list")
    assert (run.info.run_name, run.info.status) == ("model", "FINISHED")
    assert run.data.params["epochs"] == "1"
    assert "eval_validation_score" in run.data.metrics
    assert {path.name for path in tmp_path.iterdir()} <= {"model", "mlflow.db", "mlruns"}
