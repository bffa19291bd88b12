"""Comparison of finished evaluations on the same users."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from tastevec.data.files import check_replaceable
from tastevec.errors import DataError, SettingsError
from tastevec.evaluation.html_report import write_report
from tastevec.evaluation.report import Report
from tastevec.evaluation.results import Behavior, TaskRecord, results_by_task
from tastevec.evaluation.statistics import Row, SliceRow, bootstrap_users, paired_differences, skill_scores
from tastevec.extras import require
from tastevec.schema import RESULTS_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tastevec.evaluation.calibration import CalibrationCurve
    from tastevec.evaluation.results import SystemFacts, TaskResult
    from tastevec.evaluation.statistics import PairedDifference, Skill

_AnyRow = TypeVar("_AnyRow", Row, SliceRow)


@dataclass(frozen=True, eq=False)
class _System:
    """One system of the comparison: its facts, and by task the folder and the result."""

    facts: SystemFacts
    results: dict[str, tuple[str, TaskResult]]

    def same_as(self, other: _System) -> bool:
        """Return whether both have one name and equal per-user values on all shared tasks, at least one."""
        shared = self.results.keys() & other.results.keys()
        return (
            self.facts.system == other.facts.system
            and bool(shared)
            and all(_equal_values(self.results[task][1], other.results[task][1]) for task in shared)
        )


def compare(folders: Sequence[Path | str], out: Path | str | None = None) -> Report:
    """Return one report of several finished evaluations on the same users.

    Skill scores and paired differences are computed from the per-user values, over the systems of all folders. Systems
    with one name and equal values are one row; with other values, each name gets its folder.

    Args:
        folders: At least two folders of ``tastevec evaluate`` or ``tastevec compare``.
        out: Folder of the common report; None writes nothing.

    Raises:
        SettingsError: Fewer than two folders.
        FormatError: A folder has no evaluation, a damaged one, or one of another format version; or ``out`` has other
            content.
        DataError: The evaluations are of different data, splits or tasks.
        MissingExtraError: matplotlib is not installed, and ``out`` is given.
    """
    if len(folders) < 2:  # noqa: PLR2004  a comparison has two sides
        raise SettingsError(f"compare: {len(folders)} evaluation. Expected at least 2. Add a folder.")
    if out is not None:  # now, not after the work
        require("matplotlib")
        check_replaceable(Path(out), marker_file=RESULTS_FILE, inputs=folders)
    reports = {label: Report.read(Path(folder)) for label, folder in _labels(folders).items()}
    _refuse_other_data(reports)
    _refuse_other_tasks(reports)
    merged = _merged(reports)
    if out is not None:
        write_report(merged, Path(out))
    return merged


def _labels(folders: Sequence[Path | str]) -> dict[str, Path | str]:
    """Return each folder by its name, or by its path where several share a name."""
    names = [Path(folder).resolve().name for folder in folders]
    return {
        name if names.count(name) == 1 else str(folder): folder
        for name, folder in zip(names, folders, strict=True)
    }


def _refuse_other_data(reports: Mapping[str, Report]) -> None:
    """Raise DataError for another prepared dataset or split, which has other users."""
    found = {}
    for label, report in reports.items():
        if report.data is None:
            raise DataError(
                f"{label}: no data fingerprint. Expected an evaluation of a prepared dataset. Run: tastevec evaluate"
            )
        found[label] = report.data
    (first, one), *others = found.items()
    for label, other in others:
        for key in ("fingerprint", "split"):
            left, right = one.get(key), other.get(key)
            if left != right:
                raise DataError(
                    f"data {key}: {left} in {first}, {right} in {label}. Expected the same users. Evaluate both on one prepared "
                    "dataset and one split, or models of two datasets with: tastevec evaluate … --data ONE --data OTHER"
                )


def _refuse_other_tasks(reports: Mapping[str, Report]) -> None:
    """Raise DataError unless a task ID means the same held-out items everywhere, and one task is shared."""
    seen: dict[str, tuple[str, str]] = {}
    for label, report in reports.items():
        tasks = {task.name: TaskRecord.of(task).fingerprint for task in report.tasks}
        if seen and not seen.keys() & tasks.keys():
            raise DataError(
                f"{label}: tasks {', '.join(tasks)}; the evaluations before it: {', '.join(seen)}. Expected a common task. "
                "Evaluate with the same --task"
            )
        for task, fingerprint in tasks.items():
            before, known = seen.setdefault(task, (label, fingerprint))
            if fingerprint != known:
                raise DataError(
                    f"task {task}: {before} and {label} differ in users or held-out items. Expected the same. Evaluate both with "
                    "the same seed and version of tastevec"
                )


def _merged(reports: Mapping[str, Report]) -> Report:
    """Return the rows as measured, with skill scores and paired differences over all systems."""
    named = _named(_systems(reports))
    results = tuple(
        replace(result, system=name)
        for name, system in named.items()
        for _, result in system.results.values()
    )
    systems = tuple(replace(system.facts, system=name) for name, system in named.items())
    first = next(iter(reports.values()))
    skills, pairs = _differences(systems, results, first.seed)
    return Report(
        systems=systems,
        results=results,
        rows=_rows_of(named, {label: report.rows for label, report in reports.items()}),
        system_metrics=_rows_of(named, {label: report.system_metrics for label, report in reports.items()}),
        slices=_rows_of(named, {label: report.slices for label, report in reports.items()}),
        skills=skills,
        paired_differences=pairs,
        at=tuple(sorted({k for report in reports.values() for k in report.at})),
        seed=first.seed,
        data=first.data,
        skipped={task: reason for report in reports.values() for task, reason in report.skipped.items()},
        behavior=_behavior(named, {label: report.behavior for label, report in reports.items()}),
        calibration=_calibration(named, {label: report.calibration for label, report in reports.items()}),
    )


def _systems(reports: Mapping[str, Report]) -> list[_System]:
    """Return the systems of all reports, equal ones once with the tasks of all folders."""
    found: list[_System] = []
    for label, report in reports.items():
        for facts in report.systems:
            results = {result.task.name: result for result in report.results if result.system == facts.system}
            system = _System(facts, {task: (label, result) for task, result in results.items()})
            twin = next((index for index, other in enumerate(found) if other.same_as(system)), None)
            if twin is None:
                found.append(system)
            else:  # a later folder may add tasks
                found[twin] = _System(found[twin].facts, system.results | found[twin].results)
    return found


def _named(systems: Sequence[_System]) -> dict[str, _System]:
    """Return each system by its name, with its folder's name where several share one."""
    names = [system.facts.system for system in systems]
    folders = [next(iter(system.results.values()))[0] for system in systems]  # of the first result of each
    unique = [
        name if names.count(name) == 1 else f"{name} ({folder})"
        for name, folder in zip(names, folders, strict=True)
    ]
    if len(set(unique)) < len(unique):
        raise SettingsError(f"systems: {', '.join(unique)}. Expected unique names. Rename a folder.")
    return dict(zip(unique, systems, strict=True))


def _rows_of(named: Mapping[str, _System], rows: Mapping[str, Sequence[_AnyRow]]) -> tuple[_AnyRow, ...]:
    """Return the rows of each system and task from the folder of its result, under the system's new name."""
    return tuple(
        replace(row, system=name)
        for name, system in named.items()
        for task, (label, _) in system.results.items()
        for row in rows[label]
        if row.system == system.facts.system and row.task == task
    )


def _behavior(named: Mapping[str, _System], behaviors: Mapping[str, Behavior]) -> Behavior:
    """Return the behavior of each system from the folder of its first result, under the system's new name."""
    rows = []
    for name, system in named.items():
        label, _ = next(iter(system.results.values()))
        own = (row for row in behaviors[label].rows if row.system == system.facts.system)
        rows += [replace(row, system=name) for row in own]
    found = {row.measure for row in rows}
    reasons = {name: why for behavior in behaviors.values() for name, why in behavior.skipped.items()}
    return Behavior(tuple(rows), {name: why for name, why in reasons.items() if name not in found})


def _calibration(
    named: Mapping[str, _System], measured: Mapping[str, Sequence[CalibrationCurve]]
) -> tuple[CalibrationCurve, ...]:
    """Return the calibration of each system from the folder of its first result, under the system's new name."""
    return tuple(
        replace(row, system=name)
        for name, system in named.items()
        for row in measured[next(iter(system.results.values()))[0]]
        if row.system == system.facts.system
    )


def _differences(
    systems: Sequence[SystemFacts], results: Sequence[TaskResult], seed: int
) -> tuple[tuple[Skill, ...], tuple[PairedDifference, ...]]:
    skills: list[Skill] = []
    pairs: list[PairedDifference] = []
    for of_task in results_by_task(results):
        users, *others = (TaskRecord.of(result.task).user_ids for result in of_task)
        if not all(np.array_equal(users, other) for other in others):
            raise DataError(
                f"task {of_task[0].task.name}: the per-user values have other users or another order. Expected the same in every "
                "folder. Run: tastevec evaluate"
            )
        draws = bootstrap_users(len(users), seed)
        skills += skill_scores(systems, of_task, draws)
        pairs += paired_differences(of_task, draws)
    return tuple(skills), tuple(pairs)


def _equal_values(one: TaskResult, other: TaskResult) -> bool:
    """Return whether the metrics that both have, at least one, are equal: one evaluation may have other depths."""
    shared = one.values.keys() & other.values.keys()
    return bool(shared) and all(
        np.array_equal(one.values[metric], other.values[metric], equal_nan=True) for metric in shared
    )
