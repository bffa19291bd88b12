"""Report: what an evaluation measured, as tables and as files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tastevec.data.files import new_folder
from tastevec.errors import FormatError
from tastevec.evaluation.report.differences import Paired, Skill, paired, skills
from tastevec.evaluation.report.intervals import RESAMPLES, draw_people
from tastevec.evaluation.report.results import Asked, SystemFacts, by_task
from tastevec.evaluation.report.rows import Row, SliceRow, mean_rows, slice_rows, whole_rows
from tastevec.evaluation.report.stored import (
    as_json,
    per_user_table,
    plain,
    read_measured,
    read_results,
    restored,
)
from tastevec.evaluation.report.tables import LEGEND, as_text, tables
from tastevec.schema import PER_USER_FILE, REPORT_FILE, RESULTS_FILE, RESULTS_FORMAT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tastevec.evaluation.protocol import Task
    from tastevec.evaluation.report.results import Measured
    from tastevec.evaluation.report.tables import Style

__all__ = ["Report"]


@dataclass(frozen=True, eq=False)
class Report:
    """Everything an evaluation measured.

    Attributes:
        systems: One a system, floors first.
        measured: Per-user values, one a system and task.
        rows: Means with intervals.
        wholes: What only a system as a whole has, without intervals.
        slices: Means of the parts of tasks.
        skills: Each system that is no floor beside the best floor.
        paired: Every two systems of a task beside each other.
        at: The depths of the ranking metrics.
        seed: What the draws came from.
        data: Name, fingerprint and split of what was evaluated on; None of data that has none.
    """

    systems: tuple[SystemFacts, ...]
    measured: tuple[Measured, ...]
    rows: tuple[Row, ...]
    wholes: tuple[Row, ...]
    slices: tuple[SliceRow, ...]
    skills: tuple[Skill, ...]
    paired: tuple[Paired, ...]
    at: tuple[int, ...]
    seed: int
    data: Mapping[str, Any] | None = None

    @classmethod
    def of(
        cls,
        systems: Sequence[SystemFacts],
        measured: Sequence[Measured],
        *,
        at: Sequence[int],
        seed: int,
        data: Mapping[str, Any] | None = None,
    ) -> Report:
        """Means, intervals, skill and paired differences out of per-user values."""
        rows: list[Row] = []
        wholes: list[Row] = []
        slices: list[SliceRow] = []
        beside: list[Skill] = []
        pairs: list[Paired] = []
        for asked in by_task(measured):
            draws = draw_people(len(asked[0].task), seed)
            for result in asked:
                rows += mean_rows(result, draws)
                wholes += whole_rows(result)
                slices += slice_rows(result, draws)
            beside += skills(systems, asked, draws)
            pairs += paired(asked, draws)
        return cls(
            systems=tuple(systems),
            measured=tuple(measured),
            rows=tuple(rows),
            wholes=tuple(wholes),
            slices=tuple(slices),
            skills=tuple(beside),
            paired=tuple(pairs),
            at=tuple(at),
            seed=seed,
            data=data,
        )

    @classmethod
    def read(cls, folder: Path) -> Report:
        """The report of a finished evaluation; of people and slices it holds what the files keep.

        Raises:
            FormatError: The folder holds none, or one that is damaged or of another format version.
        """
        results = read_results(folder)
        try:
            rows = restored(Row, results["rows"])
            return cls(
                systems=restored(SystemFacts, results["systems"]),
                measured=read_measured(folder, results, rows),
                rows=rows,
                wholes=restored(Row, results["wholes"]),
                slices=restored(SliceRow, results["slices"]),
                skills=restored(Skill, results["skill"]),
                paired=restored(Paired, results["paired"]),
                at=tuple(results["settings"]["at"]),
                seed=results["settings"]["seed"],
                data=results["data"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise FormatError(
                f"{folder / RESULTS_FILE} is damaged ({error}); expected what tastevec evaluate wrote; evaluate again"
            ) from error

    @property
    def tasks(self) -> tuple[Task | Asked, ...]:
        """The tasks, in the order asked."""
        return tuple(asked[0].task for asked in by_task(self.measured))

    def to_json(self) -> dict[str, Any]:
        """Everything but the per-user values, as plain values; what could not be measured is null."""
        tasks = [
            {
                "task": task.name,
                "protocol": task.protocol,
                "users": len(task),
                "left_out": task.left_out,
                "hidden_films": int(task.hidden_films.sum()),
                "fingerprint": task.fingerprint,
                "note": task.note,
            }
            for task in map(Asked.of, self.tasks)
        ]
        settings = {"at": self.at, "seed": self.seed, "resamples": RESAMPLES, "interval": 0.95}
        results = {
            "format_version": RESULTS_FORMAT,
            "data": self.data,
            "settings": settings,
            "tasks": tasks,
            "systems": self.systems,
            "rows": self.rows,
            "wholes": self.wholes,
            "slices": self.slices,
            "skill": self.skills,
            "paired": self.paired,
        }
        return dict(plain(results))

    def table(self, style: Style = "text") -> str:
        """One table a task, the best system first, each mean with its 95 % interval; then the vectors and the lists."""
        return "\n\n".join([*(as_text(table, style) for table in tables(self)), LEGEND])

    def write(self, folder: Path) -> None:
        """Write ``results.json``, ``per_user.parquet`` and ``report.html`` into ``folder``, all of them or none.

        Raises:
            FormatError: ``folder`` exists and holds something else.
            MissingExtraError: matplotlib is not installed.
        """
        from pyarrow import parquet  # noqa: PLC0415 - an extra

        from tastevec.evaluation.report.page import report_page  # noqa: PLC0415 - it draws, which most callers do not need

        page = report_page(self)
        with new_folder(folder, owned_by=RESULTS_FILE) as temporary:
            parquet.write_table(per_user_table(self.measured), temporary / PER_USER_FILE)
            (temporary / RESULTS_FILE).write_text(as_json(self.to_json()), encoding="utf-8")
            (temporary / REPORT_FILE).write_text(page, encoding="utf-8")
