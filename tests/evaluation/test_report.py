"""The report: its files, tables and JSON."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import worlds
from reports import AT, behavior_of, facts, lively, measured, report_of, task_record
from tastevec.data.html import Chart
from tastevec.data.value_scale import ValueScale
from tastevec.errors import FormatError, MissingExtraError
from tastevec.evaluation.baselines import EASE, Popularity
from tastevec.evaluation.evaluate import evaluate
from tastevec.evaluation.html_report import write_report
from tastevec.evaluation.report import Report
from tastevec.evaluation.tables import report_text
from tastevec.schema import PER_USER_FILE, REPORT_FILE, RESULTS_FILE
from users import plain_dataset, users, world

FROM = 4.0
NAN = float("nan")


@pytest.fixture(scope="module")
def report():
    """Two baselines and a model of three runs, on four tasks."""
    found = lively(baselines=["popularity", "EASE"], models=["ours"], users=40)
    return replace(found, behavior=behavior_of("ours"))


@pytest.fixture
def no_pictures(monkeypatch):
    """Write reports without plots, which take seconds."""
    monkeypatch.setattr(
        "tastevec.evaluation.html_report.draw", lambda _report: [Chart("none", "None", "Nothing.", b"")]
    )


@pytest.fixture(scope="module")
def folder(report, tmp_path_factory):
    """The folder of the report."""
    out = tmp_path_factory.mktemp("evaluation") / "out"
    write_report(report, out)
    return out


def test_write_report_writes_three_files(folder):
    assert {path.name for path in folder.iterdir()} == {RESULTS_FILE, PER_USER_FILE, REPORT_FILE}


def test_files_contain_all_results(report, folder):
    assert json.loads((folder / RESULTS_FILE).read_text(encoding="utf-8")) == report.to_dict()
    per_user = pq.read_table(folder / PER_USER_FILE).to_pandas()
    assert len(per_user) == 3 * 4 * 40  # systems, tasks, users
    assert list(per_user)[:5] == ["system", "task", "user_id", "input_items", "held_out_items"]
    means = per_user.groupby(["system", "task"], observed=True).mean(numeric_only=True)
    for row in report.rows:
        assert means.loc[(row.system, row.task), row.metric] == pytest.approx(row.mean)
    overall = per_user[per_user.task == "random-20pct"]
    assert overall["ndcg@10_shuffled"].isna().all()


def test_results_json_has_data_settings_and_counts(report):
    found = report.to_dict()
    assert list(found) == [
        *("format_version", "data", "settings", "tasks", "skipped_tasks", "systems"),
        *("rows", "system_metrics", "slices", "skill", "paired_differences"),
        *("behavior", "skipped_behavior", "calibration"),
    ]
    assert found["format_version"] == 4
    assert found["data"] == {"name": "tiny", "fingerprint": "f00d", "split": "test"}
    assert found["settings"] == {"at": list(AT), "seed": 42, "resamples": 1000, "confidence": 0.95}
    assert [task["task"] for task in found["tasks"]] == [
        "top-rated",
        "random-20pct",
        "next-item",
        "last-20pct",
    ]
    assert (found["tasks"][0]["n_users"], found["tasks"][0]["held_out_items"]) == (40, 80)
    assert [(system["system"], system["is_baseline"], system["runs"]) for system in found["systems"]] == [
        ("popularity", True, 1),
        ("EASE", True, 1),
        ("ours", False, 3),
    ]
    assert {skill["system"] for skill in found["skill"]} == {"ours"}
    assert len(found["paired_differences"]) == 4 * 3  # tasks, pairs


def test_behavior_table_has_a_line_for_each_measure(report):
    *_, table, skipped, _ = report_text(report).split("\n\n")
    _, _, auc, category, order = table.splitlines()
    assert auc.split("  ")[0] == "AUC of positives and dislikes"
    assert "0.750 [0.600, 0.900]  0.700 [0.600, 0.900]  0.780  " in auc
    assert "0.050 / 0.090" in category
    assert "2.0e-07" in order
    assert skipped == "Behavior, kept@12, ratings reversed: skipped, nothing was <kept>."


@pytest.mark.usefixtures("no_pictures")
def test_results_json_has_plain_settings(tmp_path):
    odd = {
        "ridge": np.float32(0.5),
        "trials": (1, np.int64(2)),
        "loss": NAN,
        "levels": np.array([1.5]),
        7: None,
    }
    system = facts("ours")
    system = type(system)(**{**vars(system), "settings": odd})
    report = report_of([system], [measured("ours", task_record(), ndcg_at_10=[NAN, NAN, NAN, 1])], data=None)
    [kept] = report.to_dict()["systems"]
    assert kept["settings"] == {"ridge": 0.5, "trials": [1, 2], "loss": None, "levels": [1.5], "7": None}
    write_report(report, tmp_path / "out")
    assert Report.read(tmp_path / "out").data is None


def test_read_report_equals_written_report(report, folder):
    again = Report.read(folder)
    assert report_text(again) == report_text(report)
    assert again.to_dict() == report.to_dict()
    for one, other in zip(again.results, report.results, strict=True):
        assert one.values.keys() == other.values.keys()
        for metric, values in one.values.items():
            np.testing.assert_array_equal(values, other.values[metric])


def test_rewritten_report_has_equal_bytes(folder, tmp_path):
    write_report(Report.read(folder), tmp_path / "copy")
    with pytest.MonkeyPatch.context() as patch:
        page = (folder / REPORT_FILE).read_text(encoding="utf-8")
        patch.setattr("tastevec.evaluation.html_report.report_page", lambda _report: page)
        write_report(Report.read(tmp_path / "copy"), tmp_path / "copy")
    for name in (RESULTS_FILE, PER_USER_FILE, REPORT_FILE):
        assert (tmp_path / "copy" / name).read_bytes() == (folder / name).read_bytes()


def test_equal_seed_gives_equal_report(report):
    again = Report.of(report.systems, report.results, at=report.at, seed=42, data=report.data)
    assert replace(again, behavior=report.behavior).to_dict() == report.to_dict()
    assert Report.of(report.systems, report.results, at=report.at, seed=43).rows != report.rows


@pytest.mark.usefixtures("no_pictures")
def test_missing_values_are_null_dash_and_nan(tmp_path):
    task = task_record("top-rated", users=2)
    nothing = {"cosine_distance": np.array([NAN, NAN])}
    result = measured("ours", task, ndcg_at_10=[0, 1])
    result = type(result)(
        "ours", task, result.values | nothing, result.runs | {"cosine_distance": np.array([NAN])}
    )
    report = report_of([facts("ours")], [result])
    [row] = [row for row in report.to_dict()["rows"] if row["metric"] == "cosine_distance"]
    assert (row["mean"], row["ci_low"], row["n_users"]) == (None, None, 0)
    assert report_text(report).split("\n\n")[1].splitlines()[2].split()[-2:] == ["-", "best"]
    write_report(report, tmp_path / "out")
    again = Report.read(tmp_path / "out")
    assert report_text(again) == report_text(report)
    assert np.isnan(again.results[0].values["cosine_distance"]).all()


def test_perfect_baseline_has_no_skill():
    task = task_record()
    results = [measured(name, task, ndcg_at_10=[1] * 4) for name in ("floor", "ours")]
    report = report_of([facts("floor", is_baseline=True), facts("ours")], results)
    assert [skill["skill"] for skill in report.to_dict()["skill"]] == [None]


def test_task_table_has_best_system_first(report):
    blocks = report_text(report).split("\n\n")
    titles = [block.split(":")[0] for block in blocks[:-2:2]]
    assert titles == [
        *("top-rated", "random-20pct", "next-item", "last-20pct"),
        *("Embeddings", "Lists (first 10 items)", "Behavior"),
    ]
    assert blocks[2] == "random-20pct: A note with <angles>. 40 users, 1 excluded."
    header, rule, *lines = blocks[3].splitlines()
    assert header.split("  ")[0] == "system"
    assert header.endswith("ΔNDCG@100 vs. ours")
    assert set(rule) == {"-", " "}
    assert [line.split("  ")[0] for line in lines] == ["ours (3 runs)", "EASE", "popularity"]
    assert "*" in lines[0]  # better than EASE for nearly all users
    assert lines[0].endswith("best")
    assert "NDCG@10, sessions shuffled" in blocks[5]
    assert "effective rank" in blocks[9]
    assert "coverage@10" in blocks[11]
    assert blocks[-1].startswith("* after a mean: significantly better than the best baseline")


@pytest.mark.parametrize(("baseline", "significant"), [("popularity", False), ("EASE (positives)", True)])
def test_task_table_without_strong_baseline_has_no_significance(baseline, significant):
    task = task_record()
    results = [
        measured("ours", task, ndcg_at_100=[0.5] * 4),
        measured(baseline, task, ndcg_at_100=[0.25] * 4),
    ]
    report = report_of([facts("ours"), facts(baseline, is_baseline=True)], results)
    assert report.skills[0].significant
    assert ("0.500*" in report_text(report)) == significant


def test_task_table_has_recall_capped_and_uncapped():
    results = [measured("ours", task_record(), recall_at_20=[1] * 4, uncapped_recall_at_20=[0.5] * 4)]
    table = report_text(report_of([facts("ours")], results))
    assert "Recall@20 (capped)" in table
    assert "Recall@20 (uncapped)" in table


def test_difference_from_best_is_negative():
    """The order of the systems does not matter."""
    for order in (["good", "bad"], ["bad", "good"]):
        task, values = task_record(), {"good": [0.5] * 4, "bad": [0.25] * 4}
        results = [measured(name, task, ndcg_at_100=values[name]) for name in order]
        shown = report_text(report_of([facts(name) for name in order], results)).split("\n\n")[1].splitlines()
        assert [line.split("  ")[0] for line in shown[2:]] == ["good", "bad"]
        assert shown[3].endswith("-0.250* [-0.250, -0.250]")


def test_table_notes_systems_without_the_task():
    results = [
        measured("a", task_record("random-20pct"), ndcg_at_100=[1] * 4),
        measured("a", task_record("next-item"), ndcg_at_10=[1] * 4),
        measured("last only", task_record("next-item"), ndcg_at_10=[0] * 4),
    ]
    table = report_text(report_of([facts("a"), facts("last only")], results))
    assert "random-20pct: A note with <angles>. 4 users, 1 excluded. Not evaluated: last only." in table
    assert table.count("last only") == 2  # that note, and its row where it was asked


def test_table_without_headline_metric_shows_measured_metrics():
    report = report_of([facts("ours")], [measured("ours", task_record(), hr_at_3=[1] * 4)], at=(3,))
    assert "HR@3 " in report_text(report)


@pytest.mark.usefixtures("no_pictures")
def test_folder_with_other_content_is_refused(report, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FormatError, match="not written by this command"):
        write_report(report, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_write_report_without_matplotlib_writes_nothing(report, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tastevec\[describe\]'"):
        write_report(report, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_pictures")
def test_string_user_ids_are_preserved(tmp_path):
    report = report_of([facts("a")], [measured("a", task_record(ids=["bób"], users=1), ndcg_at_10=[1])])
    write_report(report, tmp_path / "out")
    assert pq.read_table(tmp_path / "out" / PER_USER_FILE)["user_id"].to_pylist() == ["bób"]
    assert Report.read(tmp_path / "out").tasks[0].user_ids.tolist() == ["bób"]


@pytest.mark.usefixtures("no_pictures")
def test_report_of_real_systems_is_written_and_read(tmp_path):
    train, held_out = np.array([0, 1, 2, 3, 6, 7, 8, 9]), np.array([4, 5, 10, 11])
    dataset = plain_dataset(
        world().take(train), world().take(held_out), worlds.ITEMS, ValueScale.explicit(1, 5)
    )
    report = evaluate(
        [EASE(positive_from=FROM, ridge=1.0)], dataset, baselines=[Popularity(positive_from=FROM)]
    )
    write_report(report, tmp_path / "out")
    assert report_text(Report.read(tmp_path / "out")) == report_text(report)
    per_user = pq.read_table(tmp_path / "out" / PER_USER_FILE).to_pandas()
    assert set(per_user.user_id) == {5, 6, 11, 12}
    assert (per_user.input_items + per_user.held_out_items <= 16).all()


def test_equal_evaluations_have_equal_fingerprints():
    dataset = plain_dataset(users([(1, 5)], ids=[9]), users([(0, 3), (1, 5)]), 2, ValueScale.explicit(1, 5))
    one, other = (
        evaluate([Popularity(positive_from=FROM)], dataset, tasks=["top-rated"]).to_dict() for _ in range(2)
    )
    assert one["tasks"] == other["tasks"]


def edited(folder, tmp_path, edit):
    """Return a copy of the folder with an edited results.json."""
    copy = tmp_path / "copy"
    copy.mkdir()
    results = json.loads((folder / RESULTS_FILE).read_text(encoding="utf-8"))
    edit(results)
    (copy / RESULTS_FILE).write_text(json.dumps(results), encoding="utf-8")
    (copy / PER_USER_FILE).write_bytes((folder / PER_USER_FILE).read_bytes())
    return copy


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda results: results.update(format_version=3), "format version 3. Expected 4"),
        (lambda results: results.pop("format_version"), "is missing or damaged"),
        (lambda results: results.pop("slices"), "slices is missing"),
        (lambda results: results["systems"][0].pop("runs"), "is missing or damaged"),
        (lambda results: results["rows"][0].update(color="red"), "is missing or damaged"),
        (lambda results: results["behavior"][0].update(unit="hours"), "is missing or damaged"),
        (lambda results: results["rows"][0].update(mean=0.999), "per_user.parquet is missing or damaged"),
        (
            lambda results: results["rows"][0].update(metric="luck@7"),
            "per_user.parquet is missing or damaged",
        ),
        (lambda results: results["tasks"][0].update(n_users=41), "per_user.parquet is missing or damaged"),
    ],
)
def test_damaged_report_is_refused(folder, tmp_path, edit, said):
    copy = edited(folder, tmp_path, edit)
    with pytest.raises(FormatError, match=said) as caught:
        Report.read(copy)
    assert "tastevec evaluate" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_or_truncated_files_are_refused(folder, tmp_path):
    with pytest.raises(FormatError, match=r"no results\.json\. Expected a folder of tastevec evaluate"):
        Report.read(tmp_path / "nowhere")
    copy = edited(folder, tmp_path, lambda _: None)
    whole = (copy / PER_USER_FILE).read_bytes()
    (copy / PER_USER_FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FormatError, match=r"per_user\.parquet is missing or damaged"):
        Report.read(copy)
    (copy / PER_USER_FILE).unlink()
    with pytest.raises(FormatError, match=r"per_user\.parquet is missing or damaged"):
        Report.read(copy)
    pq.write_table(pa.table({"system": ["EASE"]}), copy / PER_USER_FILE)
    with pytest.raises(FormatError, match=r"per_user\.parquet is missing or damaged"):
        Report.read(copy)
    (copy / RESULTS_FILE).write_text("{")
    with pytest.raises(FormatError, match=r"results\.json is missing or damaged"):
        Report.read(copy)
