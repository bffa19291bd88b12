"""Comparison of finished evaluations."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

import tastevec
from reports import DATA, behavior_of, facts, lively, measured, report_of, task_record
from tastevec.cli.app import app
from tastevec.errors import DataError, FormatError, MissingExtraError, SettingsError
from tastevec.evaluation.compare import compare
from tastevec.evaluation.html_report import write_report
from tastevec.evaluation.report import Report
from tastevec.evaluation.tables import report_text
from tastevec.schema import REPORT_FILE, RESULTS_FILE


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a report without plots, which take a second, into a folder of this name."""
    monkeypatch.setattr("tastevec.evaluation.html_report.report_page", lambda _report: "a page")

    def written(name, report):
        write_report(report, tmp_path / name)
        return tmp_path / name

    return written


def simple(values, *, task="random-20pct", baselines=(), data=DATA, **how):
    """Return a report of systems on one task, each with the ndcg@100 of four users."""
    question = task_record(task, **how)
    results = [measured(name, question, ndcg_at_100=column) for name, column in values.items()]
    return report_of([facts(name, is_baseline=name in baselines) for name in values], results, data=data)


BASELINE = {"popularity": [0.1, 0.1, 0.2, 0.2]}


def test_compare_merges_systems_of_two_folders(write):
    one = write("one", simple(BASELINE | {"taste": [0.3, 0.3, 0.4, 0.4]}, baselines=BASELINE))
    two = write("two", simple(BASELINE | {"bert-cosine": [0.2, 0.2, 0.3, 0.3]}, baselines=BASELINE))
    report = compare([one, two])
    assert [system.system for system in report.systems] == ["popularity", "taste", "bert-cosine"]
    assert [system.is_baseline for system in report.systems] == [True, False, False]
    differences = {(pair.a, pair.b): pair for pair in report.paired_differences}
    assert differences["taste", "bert-cosine"].difference == pytest.approx(0.1)
    assert differences["taste", "bert-cosine"].significant
    lines = report_text(report).split("\n\n")[1].splitlines()
    assert [line.split("  ")[0] for line in lines[2:]] == ["taste", "bert-cosine", "popularity"]
    assert lines[3].endswith("-0.100* [-0.100, -0.100]")


def test_compare_searches_all_folders_for_best_baseline(write):
    one = write("one", simple(BASELINE | {"taste": [0.3] * 4}, baselines=BASELINE))
    two = write("two", simple({"EASE": [0.4] * 4}, baselines=["EASE"]))
    [skill] = compare([one, two]).skills
    assert (skill.baseline, skill.significant) == ("EASE", False)


def test_compare_keeps_measured_values(write):
    one = lively(baselines=["popularity"], models=["taste"], users=20, seed=1)
    two = lively(baselines=["popularity"], models=["bert-cosine"], users=20, seed=1)
    merged = compare([write("one", one), write("two", two)])
    for kind in ("rows", "system_metrics", "slices"):
        before, after = ([*getattr(one, kind), *getattr(two, kind)]), getattr(merged, kind)
        kept = {(row.system.split(" (")[0], row.task, row.metric, row.mean) for row in after}
        assert kept == {(row.system, row.task, row.metric, row.mean) for row in before}


def test_compare_keeps_behavior_under_new_names(write):
    one = replace(simple({"taste": [0.3] * 4}), behavior=behavior_of("taste"))
    two = replace(simple({"taste": [0.4] * 4}), behavior=behavior_of("taste"))
    before, after = one.behavior, compare([write("one", one), write("two", two)]).behavior
    assert [row.system for row in after.rows] == ["taste (one)"] * 5 + ["taste (two)"] * 5
    assert [row.mean for row in after.rows] == 2 * [row.mean for row in before.rows]
    assert after.skipped == before.skipped


def test_compare_merges_equal_systems_only(write):
    one = write("one", simple(BASELINE | {"taste": [0.3] * 4}))
    two = write("two", simple(BASELINE | {"taste": [0.4] * 4}))
    names = [system.system for system in compare([one, two]).systems]
    assert names == ["popularity", "taste (one)", "taste (two)"]
    assert {row.system for row in compare([one, two]).rows} == set(names)


def test_compare_merges_a_system_that_one_evaluation_measured_at_more_depths(write):
    question = task_record("random-20pct")
    values = {"ndcg_at_100": BASELINE["popularity"]}
    reports = [
        report_of(
            [facts("popularity", is_baseline=True)], [measured("popularity", question, **some)], data=DATA
        )
        for some in (values, values | {"ndcg_at_10": [0.0, 0.1, 0.1, 0.2]})
    ]
    folders = [write(f"part {number}", report) for number, report in enumerate(reports)]
    assert [system.system for system in compare(folders).systems] == ["popularity"]


def test_compare_names_equal_folders_by_path(write, tmp_path, monkeypatch):
    write("a/results", simple({"taste": [0.3] * 4}))
    write("b/results", simple({"taste": [0.4] * 4}))
    monkeypatch.chdir(tmp_path)
    report = compare(["a/results", "b/results"])
    assert [system.system for system in report.systems] == ["taste (a/results)", "taste (b/results)"]


def test_compare_with_conflicting_names_is_refused(write):
    one = write("one", simple({"taste": [0.3] * 4, "taste (two)": [0.2] * 4}))
    two = write("two", simple({"taste": [0.4] * 4}))
    with pytest.raises(
        SettingsError, match=r"taste \(one\), taste \(two\), taste \(two\)\. Expected unique names"
    ):
        compare([one, two])


def test_compare_keeps_tasks_of_one_folder(write):
    both = lively(baselines=["popularity"], models=["taste"], users=20, tasks=("random-20pct", "last-20pct"))
    taken = {
        name: tuple(row for row in getattr(both, name) if getattr(row, "task", "") == "random-20pct")
        for name in ("rows", "system_metrics", "slices", "skills", "paired_differences")
    }
    first = tuple(result for result in both.results if result.task.name == "random-20pct")
    one, two = write("one", replace(both, results=first, **taken)), write("two", both)
    for folders in ([one, two], [two, one]):
        report = compare(folders)
        assert [system.system for system in report.systems] == ["popularity", "taste"]
        assert [task.name for task in report.tasks] == ["random-20pct", "last-20pct"]
        assert sorted(map(str, report.rows)) == sorted(map(str, both.rows))
        assert sorted(map(str, report.paired_differences)) == sorted(map(str, both.paired_differences))


def test_comparison_can_be_compared_again(write, tmp_path):
    one, two = write("one", simple({"a": [0.1] * 4})), write("two", simple({"b": [0.2] * 4}))
    report = compare([one, two], tmp_path / "both")
    assert report_text(Report.read(tmp_path / "both")) == report_text(report)
    assert (tmp_path / "both" / REPORT_FILE).exists()
    three = write("three", simple({"c": [0.3] * 4}))
    again = compare([tmp_path / "both", three])
    assert [system.system for system in again.systems] == ["a", "b", "c"]


def test_compare_of_one_folder_is_refused(write):
    with pytest.raises(SettingsError, match=r"1 evaluation\. Expected at least 2"):
        compare([write("one", simple(BASELINE))])


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"data": {**DATA, "fingerprint": "beef"}}, "fingerprint: f00d in one, beef in two"),
        ({"data": {**DATA, "split": "validation"}}, "data split: test in one, validation in two"),
        ({"data": None}, "two: no data fingerprint"),
        ({"fingerprint": "others"}, "task random-20pct: one and two differ in users or held-out items"),
        ({"task": "next-item"}, "two: tasks next-item; the evaluations before it: random-20pct"),
        ({"ids": [4, 3, 2, 1]}, "task random-20pct: the per-user values have other users"),
    ],
)
def test_compare_of_other_data_or_tasks_is_refused(write, other, said):
    one, two = write("one", simple({"a": [0.1] * 4})), write("two", simple({"b": [0.2] * 4}, **other))
    with pytest.raises(DataError, match=said) as caught:
        compare([one, two])
    assert "\n" not in str(caught.value)
    assert "valuate" in str(caught.value)


def test_compare_of_folder_without_results_is_refused(write, tmp_path):
    with pytest.raises(FormatError, match=r"no results\.json"):
        compare([write("one", simple(BASELINE)), tmp_path / "two"])


def test_compare_without_matplotlib_fails_first(tmp_path, monkeypatch):
    monkeypatch.setattr("tastevec.extras.find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"tastevec\[describe\]"):
        compare([tmp_path / "one", tmp_path / "two"], tmp_path / "out")


def test_compare_command_prints_table_and_writes_report(write, tmp_path):
    one, two = write("one", simple({"a": [0.1] * 4})), write("two", simple({"b": [0.2] * 4}))
    shown = CliRunner().invoke(app, ["compare", str(one), str(two), "--out", str(tmp_path / "both")])
    assert shown.exit_code == 0, shown.stderr
    assert "ΔNDCG@100 vs. b" in shown.stdout
    assert f"Report: {tmp_path / 'both' / REPORT_FILE}" in shown.stdout
    found_text = json.loads(CliRunner().invoke(app, ["compare", str(one), str(two), "--json"]).stdout)
    assert found_text["folders"] == [str(one), str(two)]
    assert found_text["out"] is None
    saved = json.loads((tmp_path / "both" / RESULTS_FILE).read_text(encoding="utf-8"))
    assert {key: found_text[key] for key in saved} == saved


def test_compare_command_fails_with_one_line(write, tmp_path):
    one = write("one", simple({"a": [0.1] * 4}))
    refused = CliRunner().invoke(app, ["compare", str(one), str(tmp_path / "two")])
    assert refused.exit_code == 1
    assert refused.stderr.startswith("Error: ")
    assert refused.stderr.count("\n") == 1


def test_compare_is_public():
    assert tastevec.compare is compare
