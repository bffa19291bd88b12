"""Comparison of finished evaluations on the same users."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from tastevec.data.files import check_replaceable
from tastevec.errors import DataError, SettingsError
from tastevec.evaluation.report import Report
from tastevec.evaluation.results import Asked, by_task
from tastevec.evaluation.statistics import Row, SliceRow, bootstrap_users, paired, skills
from tastevec.extras import require
from tastevec.schema import RESULTS_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tastevec.evaluation.results import Measured, SystemFacts
    from tastevec.evaluation.statistics import Paired, Skill

__all__ = ["compare"]

_Kind = TypeVar("_Kind", Row, SliceRow)


@dataclass(frozen=True, eq=False)
class _System:
    """One system of the comparison: what is known of it, and of each task the folder and what it measured there."""

    facts: SystemFacts
    results: dict[str, tuple[str, Measured]]

    @property
    def folder(self) -> str:
        """Where it was found first."""
        return next(iter(self.results.values()))[0]

    def same_as(self, other: _System) -> bool:
        """Whether both are of one name and got the same from everybody, on one task at least."""
        shared = self.results.keys() & other.results.keys()
        return (
            self.facts.system == other.facts.system
            and bool(shared)
            and all(_same(self.results[task][1], other.results[task][1]) for task in shared)
        )


def compare(folders: Sequence[Path | str], out: Path | str | None = None) -> Report:
    """One report of several finished evaluations: every system beside every other, on the same people.

    Skill and paired differences are counted anew from the per-user values, over the systems of all folders. Systems of
    one name that got the same from everybody are one row; if they did not, each is told by its folder.

    Args:
        folders: At least two that ``tastevec evaluate`` or ``tastevec compare`` wrote, or one of a peer.
        out: Where the report of all is written, in the form of an evaluation; None writes nothing.

    Raises:
        SettingsError: Fewer than two folders.
        FormatError: A folder holds no evaluation, a damaged one, or one of another format version; or ``out`` holds
            something else.
        DataError: The evaluations are of different data, splits or questions.
        MissingExtraError: matplotlib is not installed, and a page is to be drawn.
    """
    if len(folders) < 2:  # noqa: PLR2004 - a comparison has two sides
        raise SettingsError(
            f"{len(folders)} evaluation was named; expected two or more, to stand side by side; name another folder"
        )
    if out is not None:  # now, not after the work
        require("matplotlib")
        check_replaceable(Path(out), marker_file=RESULTS_FILE)
    reports = {label: Report.read(Path(folder)) for label, folder in _labels(folders).items()}
    _refuse_other_data(reports)
    _refuse_other_questions(reports)
    merged = _merged(reports)
    if out is not None:
        merged.write(Path(out))
    return merged


def _labels(folders: Sequence[Path | str]) -> dict[str, Path | str]:
    """Each folder under its own name; under its whole path where several share a name."""
    names = [Path(folder).resolve().name for folder in folders]
    return {
        name if names.count(name) == 1 else str(folder): folder
        for name, folder in zip(names, folders, strict=True)
    }


def _refuse_other_data(reports: Mapping[str, Report]) -> None:
    """People of another preparation or split are other people."""
    (first, one), *others = reports.items()
    for label, report in reports.items():
        if report.data is None:
            raise DataError(
                f"{label} does not say what data it was evaluated on; expected an evaluation of a prepared folder; evaluate again"
            )
    for label, other in others:
        for key in ("fingerprint", "split"):
            mine, its = one.data and one.data.get(key), other.data and other.data.get(key)
            if mine != its:
                raise DataError(
                    f"{first} was evaluated on data whose {key} is {mine}, {label} on {its}; expected the same, so that the same "
                    "people answer; evaluate both on one prepared folder and one split"
                )


def _refuse_other_questions(reports: Mapping[str, Report]) -> None:
    """A task of one name must have hidden the same films of the same people, and one task at least must be shared."""
    asked: dict[str, tuple[str, str]] = {}
    for label, report in reports.items():
        tasks = {task.name: Asked.of(task).fingerprint for task in report.tasks}
        if asked and not asked.keys() & tasks.keys():
            raise DataError(
                f"{label} was asked {', '.join(tasks)}, and the evaluations before it {', '.join(asked)}; expected one task in common; "
                "evaluate with the same --protocol"
            )
        for task, fingerprint in tasks.items():
            before, known = asked.setdefault(task, (label, fingerprint))
            if fingerprint != known:
                raise DataError(
                    f"{task} of {before} and of {label} asks other people or hides other films; expected the same question; evaluate "
                    "both with the same seed and the same version of tastevec"
                )


def _merged(reports: Mapping[str, Report]) -> Report:
    """Rows as they were measured; skill and paired differences over all systems."""
    kept: list[_System] = []
    for label, report in reports.items():
        for facts in report.systems:
            results = {
                result.task.name: result for result in report.measured if result.system == facts.system
            }
            system = _System(facts, {task: (label, result) for task, result in results.items()})
            twin = next((place for place, other in enumerate(kept) if other.same_as(system)), None)
            if twin is None:
                kept.append(system)
            else:  # what only the later folder asked of it counts, too
                kept[twin] = _System(kept[twin].facts, system.results | kept[twin].results)
    named = _named(kept)
    measured = tuple(
        replace(result, system=name)
        for name, system in named.items()
        for _, result in system.results.values()
    )
    systems = tuple(replace(system.facts, system=name) for name, system in named.items())
    first = next(iter(reports.values()))
    beside, pairs = _differences(systems, measured, first.seed)
    return Report(
        systems=systems,
        measured=measured,
        rows=_taken(named, {label: report.rows for label, report in reports.items()}),
        system_metrics=_taken(named, {label: report.system_metrics for label, report in reports.items()}),
        slices=_taken(named, {label: report.slices for label, report in reports.items()}),
        skills=beside,
        paired=pairs,
        at=tuple(sorted({k for report in reports.values() for k in report.at})),
        seed=first.seed,
        data=first.data,
    )


def _named(systems: Sequence[_System]) -> dict[str, _System]:
    """Each system under a name of its own: its own, or with its folder's where several have that name."""
    names = [system.facts.system for system in systems]
    own = [
        name if names.count(name) == 1 else f"{name} ({system.folder})"
        for name, system in zip(names, systems, strict=True)
    ]
    if len(set(own)) < len(own):
        raise SettingsError(
            f"the systems would be called {', '.join(own)}; expected different names; rename a folder"
        )
    return dict(zip(own, systems, strict=True))


def _taken(named: Mapping[str, _System], rows: Mapping[str, Sequence[_Kind]]) -> tuple[_Kind, ...]:
    """The rows of each system and task out of the folder where it was measured, under the system's new name."""
    found: list[_Kind] = []
    for name, system in named.items():
        for task, (label, _) in system.results.items():
            found += [
                replace(row, system=name)
                for row in rows[label]
                if row.system == system.facts.system and row.task == task
            ]
    return tuple(found)


def _differences(
    systems: Sequence[SystemFacts], measured: Sequence[Measured], seed: int
) -> tuple[tuple[Skill, ...], tuple[Paired, ...]]:
    beside: list[Skill] = []
    pairs: list[Paired] = []
    for asked in by_task(measured):
        users = Asked.of(asked[0].task).user_ids
        if any(not np.array_equal(Asked.of(result.task).user_ids, users) for result in asked):
            raise DataError(
                f"the per-user values of {asked[0].task.name} are of people in another order or of other people; expected the "
                "same in every folder; evaluate again"
            )
        draws = bootstrap_users(len(users), seed)
        beside += skills(systems, asked, draws)
        pairs += paired(asked, draws)
    return tuple(beside), tuple(pairs)


def _same(one: Measured, other: Measured) -> bool:
    return one.values.keys() == other.values.keys() and all(
        np.array_equal(one.values[metric], other.values[metric], equal_nan=True) for metric in one.values
    )
