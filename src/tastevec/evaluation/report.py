"""The evaluation report: rows, slices and paired differences, computed or read from files.

Dimension letters: B users.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, is_dataclass
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from tastevec.data.files import StrictModel, atomic_folder, validate_json, validation_message
from tastevec.errors import FormatError
from tastevec.evaluation.results import Asked, Measured, SystemFacts, by_task
from tastevec.evaluation.statistics import (
    RESAMPLES,
    Paired,
    Row,
    Skill,
    SliceRow,
    bootstrap_users,
    mean_rows,
    paired,
    skills,
    slice_rows,
    system_rows,
)
from tastevec.evaluation.tables import LEGEND, as_text, tables
from tastevec.schema import PER_USER_FILE, REPORT_FILE, RESULTS_FILE, RESULTS_FORMAT, USER_ID

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tastevec.evaluation.tables import Style
    from tastevec.evaluation.tasks import Task

__all__ = ["Report", "as_json", "per_user_table", "plain", "read_measured", "read_results", "restored"]

_Kind = TypeVar("_Kind")

_SAME = 1e-9  # how far a mean may be from that of the per-user values, in another order of adding
_AGAIN = "expected what tastevec evaluate wrote; evaluate again"
_OPEN = ("mean", "low", "high", "skill", "difference")  # numbers that may be missing, which JSON calls null


class _Settings(StrictModel):
    at: list[int]
    seed: Annotated[int, Field(ge=0)]


class _Task(StrictModel):
    task: str
    protocol: str
    users: int
    left_out: int
    fingerprint: str
    note: str


class _Results(StrictModel):
    data: dict[str, Any] | None
    settings: _Settings
    tasks: list[_Task]
    systems: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    system_metrics: list[dict[str, Any]]
    slices: list[dict[str, Any]]
    skill: list[dict[str, Any]]
    paired: list[dict[str, Any]]


def plain(value: Any) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """A value as JSON knows it, which has no NaN, no tuples and no numbers but its own."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if hasattr(value, "items"):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    return None if isinstance(value, float) and not isfinite(value) else value


def as_json(results: Mapping[str, Any]) -> str:
    """The text of ``results.json``, one record a line, so that two files can be compared by line."""
    blocks = []
    for key, value in results.items():
        if isinstance(value, list):
            lines = ",\n".join(f"  {_dumped(record)}" for record in value)
            blocks.append(f'"{key}": [\n{lines}\n]')
        else:
            blocks.append(f'"{key}": {_dumped(value)}')
    return "{\n" + ",\n".join(blocks) + "\n}\n"


def per_user_table(measured: Sequence[Measured]) -> Any:  # noqa: ANN401 - pyarrow ships no types
    """One row a person, system and task: what was asked of whom, and every metric; null where there is no value."""
    import pyarrow as pa  # noqa: PLC0415 - an extra

    metrics = list(dict.fromkeys(metric for result in measured for metric in result.values))
    tables = []
    for result in measured:
        task, nothing = Asked.of(result.task), np.full(len(result.task), np.nan)
        columns = {
            name: pa.array([text] * len(task)).dictionary_encode()
            for name, text in (
                ("system", result.system),
                ("protocol", task.protocol),
                ("task", task.name),
            )
        }
        columns |= {
            USER_ID: pa.array(task.user_ids),
            "input_items": pa.array(task.input_items),
            "held_out_items": pa.array(task.held_out_items),
        }
        columns |= {
            metric: pa.array(result.values.get(metric, nothing), from_pandas=True) for metric in metrics
        }
        tables.append(pa.table(columns))
    return pa.concat_tables(tables)


def read_results(folder: Path) -> dict[str, Any]:
    """What stands in ``results.json``.

    Raises:
        FormatError: There is none, or it is damaged or of another format version.
    """
    file = folder / RESULTS_FILE
    try:
        results = from_json(file.read_bytes())
        found = results["format_version"]
    except FileNotFoundError as error:
        raise FormatError(
            f"{folder} holds no {RESULTS_FILE}; expected a folder that tastevec evaluate wrote; check the name, or evaluate again"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(file, error) from error
    if found != RESULTS_FORMAT:
        raise FormatError(
            f"{file} is of format version {found}; expected {RESULTS_FORMAT}, which this tastevec writes; evaluate again"
        )
    checked: dict[str, Any] = validate_json(file, results, _Results, _AGAIN)
    return checked


def restored(kind: type[_Kind], records: Sequence[Mapping[str, Any]]) -> tuple[_Kind, ...]:
    """Records of ``results.json`` as the values that they were; null becomes NaN where a number is missing.

    Raises:
        TypeError: A record is not of that kind.
    """
    adapter, made = TypeAdapter(kind), []
    try:
        for record in records:
            told = {
                key: float("nan") if cell is None and key in _OPEN else cell for key, cell in record.items()
            }
            made.append(adapter.validate_python(vars(kind(**told))))  # made first: it takes no key too many
        return tuple(made)
    except ValidationError as error:
        raise TypeError(validation_message(error)) from error


def read_measured(folder: Path, results: Mapping[str, Any], rows: Sequence[Row]) -> tuple[Measured, ...]:
    """The per-user values beside ``results.json``, of each system and task that has rows there.

    Raises:
        FormatError: They are missing or damaged, or are not the values that the rows are the means of.
    """
    import pyarrow as pa  # noqa: PLC0415 - an extra
    import pyarrow.compute as pc  # noqa: PLC0415 - an extra
    from pyarrow import parquet  # noqa: PLC0415 - an extra

    file = folder / PER_USER_FILE
    try:
        table = parquet.read_table(file)
        tasks = {task["task"]: task for task in results["tasks"]}
        measured = []
        for system, name in dict.fromkeys((row.system, row.task) for row in rows):
            mine = pc.and_(pc.equal(table["system"], system), pc.equal(table["task"], name))
            means = {row.metric: row.mean for row in rows if (row.system, row.task) == (system, name)}
            measured.append(_measured(system, tasks[name], table.filter(mine), means))
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise _damaged(file, error) from error
    return tuple(measured)


def _measured(system: str, task: Mapping[str, Any], table: Any, means: Mapping[str, float]) -> Measured:  # noqa: ANN401 - pyarrow ships no types
    """One system on one task, out of its rows of the table."""
    asked = Asked(
        name=task["task"],
        protocol=task["protocol"],
        note=task["note"],
        left_out=task["left_out"],
        fingerprint=task["fingerprint"],
        user_ids=table[USER_ID].to_numpy(),
        input_items=table["input_items"].to_numpy(),
        held_out_items=table["held_out_items"].to_numpy(),
    )
    values = {metric: np.asarray(table[metric].to_numpy(), np.float64) for metric in means}
    for metric, mean in means.items():
        there = values[metric][np.isfinite(values[metric])]
        found = there.mean() if len(there) else float("nan")
        if len(table) != task["users"] or not np.isclose(found, mean, rtol=0, atol=_SAME, equal_nan=True):
            raise ValueError(
                f"{system} has {metric} {found:.6f} over {len(table)} users of {task['task']} there, and {mean:.6f} over "
                f"{task['users']} in {RESULTS_FILE}"
            )
    return Measured(system, asked, values, runs={})


def _damaged(file: Path, error: Exception) -> FormatError:
    return FormatError(
        f"{file} is missing or damaged ({error}); expected what tastevec evaluate wrote; evaluate again"
    )


def _dumped(value: Any) -> str:  # noqa: ANN401 - whatever JSON can hold
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True, eq=False)
class Report:
    """Everything an evaluation measured.

    Attributes:
        systems: One a system, floors first.
        measured: Per-user values, one a system and task.
        rows: Means with intervals.
        system_metrics: What only a system as a whole has, without intervals.
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
    system_metrics: tuple[Row, ...]
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
        system_metrics: list[Row] = []
        slices: list[SliceRow] = []
        beside: list[Skill] = []
        pairs: list[Paired] = []
        for asked in by_task(measured):
            draws = bootstrap_users(len(asked[0].task), seed)
            for result in asked:
                rows += mean_rows(result, draws)
                system_metrics += system_rows(result)
                slices += slice_rows(result, draws)
            beside += skills(systems, asked, draws)
            pairs += paired(asked, draws)
        return cls(
            systems=tuple(systems),
            measured=tuple(measured),
            rows=tuple(rows),
            system_metrics=tuple(system_metrics),
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
                system_metrics=restored(Row, results["system_metrics"]),
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
                "held_out_items": int(task.held_out_items.sum()),
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
            "system_metrics": self.system_metrics,
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

        from tastevec.evaluation.html_report import report_page  # noqa: PLC0415 - it draws, which most callers do not need

        page = report_page(self)
        with atomic_folder(folder, marker_file=RESULTS_FILE) as temporary:
            parquet.write_table(per_user_table(self.measured), temporary / PER_USER_FILE)
            (temporary / RESULTS_FILE).write_text(as_json(self.to_json()), encoding="utf-8")
            (temporary / REPORT_FILE).write_text(page, encoding="utf-8")
