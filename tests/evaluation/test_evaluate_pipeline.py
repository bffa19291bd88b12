"""The evaluate pipeline on a tiny model."""

import json
import shutil

import pytest
from pyarrow import parquet

import worlds
from tastevec.data.files import manifest_text
from tastevec.errors import DataError, FormatError, SettingsError
from tastevec.evaluation import tuning
from tastevec.evaluation.report import Report
from tastevec.pipelines.evaluate import evaluate
from tastevec.pipelines.prepare import PrepareSettings
from tastevec.pipelines.prepare import write_prepared as prepare
from tastevec.serving.recommender import load


def test_evaluate_adds_baselines_in_the_space_of_the_model(bundle_folder, prepared_folder, tmp_path):
    report = evaluate(
        [bundle_folder], prepared_folder, tmp_path / "results", tasks=["next-item", "last-20pct"]
    )
    systems = {facts.system: facts for facts in report.systems}
    assert {"popularity", "EASE (positives)", "model"} <= systems.keys()
    assert systems["model"].space is not None
    assert any(facts.is_baseline and facts.space == systems["model"].space for facts in report.systems)
    assert {row.n_users for row in report.rows} <= {1, 2, 3}  # the three users whom no user has seen
    assert (tmp_path / "results" / "results.json").exists()
    measured = {
        (row.system, row.horizon): row.mean for row in report.behavior.rows if row.measure == "same@10"
    }
    assert measured == {("model", "next"): pytest.approx(10, abs=1)}  # of these tasks


def test_evaluate_without_baselines_has_trivial_ones(bundle_folder, prepared_folder):
    report = evaluate(
        [bundle_folder], prepared_folder, tasks=["next-item", "last-20pct"], with_baselines=False
    )
    assert [facts.system for facts in report.systems if not facts.is_baseline] == ["model"]


@pytest.mark.parametrize("change", ["another division", "another rating"])
def test_model_of_other_data_is_refused(bundle_folder, tmp_path, change):
    release = worlds.write_csv_release(tmp_path / "release", genome=True)
    if change == "another rating":
        ratings = release / "ratings.csv"
        ratings.write_text(ratings.read_text().replace("12,20,4,", "12,20,5,").replace("1,1,4,", "1,1,3,"))
    seed = 2 if change == "another division" else 1
    other = prepare(release, tmp_path / "data", settings=PrepareSettings(seed=seed)).folder
    with pytest.raises(
        DataError, match=r"model model was not trained on .*: held-out users may be in its training data"
    ):
        evaluate([bundle_folder], other)


def test_one_model_is_a_path_and_report_prints_what_was_compared(bundle_folder, prepared_folder):
    chosen = {"tasks": ["top-rated"], "with_baselines": False}
    for folder in (str(bundle_folder), bundle_folder):
        report = evaluate(folder, prepared_folder, **chosen)
        assert repr(report).startswith("Report(model against ")
        assert repr(report).endswith("; top-rated of 3 test users of release)")


def test_models_with_equal_names_are_refused(bundle_folder, prepared_folder, tmp_path):
    shutil.copytree(bundle_folder, tmp_path / "model")
    with pytest.raises(SettingsError, match="model folders: model, model\\. Expected unique names"):
        evaluate([bundle_folder, tmp_path / "model"], prepared_folder)


def _twice(bundle_folder, folder):
    """Return a folder of the model as if trained from two seeds, each with its own space."""
    for seed in (1, 2):
        shutil.copytree(bundle_folder, folder / str(seed))
        manifest = json.loads((folder / str(seed) / "bundle.json").read_text())
        manifest["settings"]["seed"], manifest["space"] = seed, f"space {seed}"
        (folder / str(seed) / "bundle.json").write_text(manifest_text(manifest))
    return folder


def test_model_of_two_seeds_has_baselines_of_two_seeds(bundle_folder, prepared_folder, tmp_path):
    taste = _twice(bundle_folder, tmp_path / "taste")
    report = evaluate([taste], prepared_folder, tasks=["top-rated"], with_baselines=False)
    systems = {facts.system: facts for facts in report.systems}
    baselines = ["global mean vector (taste)", "mean of positives (taste)", "rating-weighted mean (taste)"]
    assert {systems[name].runs for name in [*baselines, "taste"]} == {2}
    assert {systems[name].space for name in [*baselines, "taste"]} == {"space 1 + space 2"}
    assert "cosine_distance" in {skill.metric for skill in report.skills}


def test_baseline_is_not_fitted_without_it(bundle_folder, prepared_folder):
    names = ("Mult-VAE", "iALS (graded)", "iALS (positives)")
    report = evaluate([bundle_folder], prepared_folder, tasks=["top-rated"], without=names)
    systems = {facts.system for facts in report.systems}
    assert "EASE (graded)" in systems
    assert not any(system.startswith(("Mult-VAE", "iALS")) for system in systems)


def test_lists_of_an_evaluation_are_a_system_of_the_next(bundle_folder, prepared_folder, tmp_path):
    how = {"with_baselines": False, "tasks": ["next-item", "last-20pct"]}
    evaluate([bundle_folder], prepared_folder, tmp_path / "first", **how)
    again = evaluate((), prepared_folder, lists={"model": tmp_path / "first" / "rankings.parquet"}, **how)
    first = Report.read(tmp_path / "first")
    means = {(row.task, row.metric): row.mean for row in first.rows if row.system == "model"}
    own = [row for row in again.rows if row.system == "model"]
    assert {row.metric for row in own} >= {
        "hr@10",
        "recall@20",
        "uncapped_recall@20",
        "ndcg@100",
        "novelty@10",
    }
    assert all(means[row.task, row.metric] == row.mean for row in own)
    assert {pair.task for pair in again.paired_differences if "model" in (pair.a, pair.b)} == {*how["tasks"]}
    assert not again.behavior.rows


def test_recommendations_for_the_inputs_have_the_metrics_of_the_model(
    bundle_folder, prepared_folder, tmp_path
):
    how = {"with_baselines": False, "tasks": ["top-rated"]}
    evaluate([bundle_folder], prepared_folder, tmp_path / "first", **how)
    lists = load(bundle_folder).recommend(parquet.read_table(tmp_path / "first" / "inputs.parquet"), k=100)
    report = evaluate([bundle_folder], prepared_folder, lists={"deployed": lists}, **how)
    own, other = (
        {row.metric: row.mean for row in report.rows if row.system == name} for name in ("model", "deployed")
    )
    assert all(own[metric] == mean for metric, mean in other.items())


def test_lists_with_the_name_of_a_model_are_refused(bundle_folder, prepared_folder):
    with pytest.raises(SettingsError, match=r"lists: model, which is a model, too\. Expected another name"):
        evaluate([bundle_folder], prepared_folder, lists={"model": "lists.csv"})


def test_rankings_are_optional(bundle_folder, prepared_folder, tmp_path):
    out = tmp_path / "results"
    evaluate([bundle_folder], prepared_folder, out, tasks=["top-rated"], with_baselines=False, rankings=False)
    files = {"results.json", "report.html", "per_user.parquet", "inputs.parquet", "held_out.parquet"}
    assert {file.name for file in out.iterdir()} == files


def test_task_that_cannot_run_is_skipped_in_all_results(bundle_folder, prepared_folder, tmp_path):
    names = ["global-temporal", "next-item"]
    report = evaluate([bundle_folder], prepared_folder, tmp_path / "r", tasks=names, with_baselines=False)
    assert [task.name for task in report.tasks] == ["next-item"]
    [skipped] = json.loads((tmp_path / "r" / "results.json").read_text())["skipped_tasks"]
    assert skipped["task"] == "global-temporal"
    assert "skipped, the split has no timestamp" in (tmp_path / "r" / "report.html").read_text()


def test_unknown_baseline_is_refused(bundle_folder, prepared_folder):
    with pytest.raises(SettingsError, match=r"without: 'EASY'\. Expected one of item-kNN, "):
        evaluate([bundle_folder], prepared_folder, without=["EASY"])


def test_seeded_baselines_run_for_each_seed(bundle_folder, prepared_folder):
    report = evaluate([bundle_folder], prepared_folder, tasks=["random-20pct"], seeds=2)
    runs = {facts.system: facts.runs for facts in report.systems}
    assert {runs["Mult-VAE"], runs["iALS (positives)"]} == {2}
    assert runs["EASE (positives)"] == runs["item-kNN"] == 1
    assert not any("last 20 items" in name for name in runs)


def test_tuned_settings_are_reused(bundle_folder, prepared_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "TRIALS", 2)
    found_text = []
    how = {"tasks": ["next-item", "last-20pct"], "seeds": 1}
    tuned = evaluate(
        [bundle_folder],
        prepared_folder,
        tmp_path / "tuned",
        tune=True,
        progress=lambda *step: found_text.append(step),
        **how,
    )
    assert {note for _, _, note in found_text} >= {"Tuning EASE (positives)", "Tuning Mult-VAE"}
    monkeypatch.setattr(tuning, "tune", None)  # nothing is tuned again
    again = evaluate([bundle_folder], prepared_folder, tuned=tmp_path / "tuned", **how)
    settings = {facts.system: dict(facts.settings) for facts in again.systems}
    assert settings == {facts.system: dict(facts.settings) for facts in tuned.systems}
    assert settings["EASE (positives), last 20 items"]["next"]["tuning"]["trials"] == 2
    assert [row.mean for row in again.rows] == pytest.approx([row.mean for row in tuned.rows], nan_ok=True)


def test_results_name_their_data(bundle_folder, prepared_folder, tmp_path):
    evaluate([bundle_folder], prepared_folder, tmp_path / "r", tasks=["random-20pct"], with_baselines=False)
    found_text = json.loads((tmp_path / "r" / "results.json").read_text())["data"]
    assert found_text["split"] == "test"
    assert len(found_text["fingerprint"]) == 16
    assert found_text["name"]


def test_tune_and_tuned_together_are_refused(bundle_folder, prepared_folder, tmp_path):
    with pytest.raises(SettingsError, match="Expected at most one of them"):
        evaluate([bundle_folder], prepared_folder, tune=True, tuned=tmp_path)
    with pytest.raises(SettingsError, match="Expected at least 1"):
        evaluate([bundle_folder], prepared_folder, seeds=0)


def test_evaluate_refuses_folder_with_other_content_first(bundle_folder, prepared_folder, tmp_path):
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(FormatError, match="was not written by this command"):
        evaluate([bundle_folder], prepared_folder, tmp_path)
