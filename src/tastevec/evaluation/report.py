"""The evaluation report: rows, slices and paired differences, computed or read from files.

Dimension letters: B users.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, is_dataclass
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from tastevec.data.files import StrictModel, validate_json, validation_message
from tastevec.errors import FormatError
from tastevec.evaluation.calibration import CalibrationCurve
from tastevec.evaluation.results import (
    Behavior,
    BehaviorRow,
    SystemFacts,
    TaskRecord,
    TaskResult,
    results_by_task,
)
from tastevec.evaluation.statistics import (
    RESAMPLES,
    PairedDifference,
    Row,
    Skill,
    SliceRow,
    bootstrap_users,
    mean_rows,
    paired_differences,
    skill_scores,
    slice_rows,
    system_rows,
)
from tastevec.schema import PER_USER_FILE, RESULTS_FILE, RESULTS_FORMAT, USER_ID

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tastevec.evaluation.tasks import Task
    from tastevec.schema import TaskId

_Record = TypeVar("_Record")

_TOLERANCE = 1e-9  # of a mean against that of the per-user values, added in another order
_AGAIN = "Run: tastevec evaluate"
_NULLABLE = ("mean", "ci_low", "ci_high", "skill", "difference", "reference")  # null in JSON, NaN here


class _Settings(StrictModel):
    at: list[int]
    seed: Annotated[int, Field(ge=0)]


class _Task(StrictModel):
    task: str
    n_users: int
    excluded_users: int
    fingerprint: str
    note: str


class _Skipped(StrictModel):
    task: str
    reason: str


class _SkippedMeasure(StrictModel):
    measure: str
    reason: str


class _Results(StrictModel):
    data: dict[str, Any] | None
    settings: _Settings
    tasks: list[_Task]
    skipped_tasks: list[_Skipped]
    systems: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    system_metrics: list[dict[str, Any]]
    slices: list[dict[str, Any]]
    skill: list[dict[str, Any]]
    paired_differences: list[dict[str, Any]]
    behavior: list[dict[str, Any]]
    skipped_behavior: list[_SkippedMeasure]
    calibration: list[dict[str, Any]] = Field(default_factory=list)


@dataclass(frozen=True, eq=False, repr=False)
class Report:
    """All results of an evaluation.

    Attributes:
        systems: The systems, baselines first.
        results: Per-user values of each system and task.
        rows: Means with CIs.
        system_metrics: System-level metrics, without CIs.
        skills: Skill scores of each system that is no baseline.
        at: Depths of the ranking metrics.
        data: Name, fingerprint and split of the dataset; None without a prepared dataset.
        skipped: Why each task without users was skipped.
        behavior: What the models make of low ratings, repeats, order and halves of a history.
        calibration: The calibration of the models that have probabilities.
    """

    systems: tuple[SystemFacts, ...]
    results: tuple[TaskResult, ...]
    rows: tuple[Row, ...]
    system_metrics: tuple[Row, ...]
    slices: tuple[SliceRow, ...]
    skills: tuple[Skill, ...]
    paired_differences: tuple[PairedDifference, ...]
    at: tuple[int, ...]
    seed: int
    data: Mapping[str, Any] | None = None
    skipped: Mapping[TaskId, str] = field(default_factory=dict)
    behavior: Behavior = field(default_factory=Behavior)
    calibration: tuple[CalibrationCurve, ...] = ()

    def __repr__(self) -> str:
        models = ", ".join(facts.system for facts in self.systems if not facts.is_baseline)
        baselines = sum(facts.is_baseline for facts in self.systems)
        data = self.data or {}
        tasks = ", ".join(f"{task.name} of {len(task):,}" for task in self.tasks)
        users = f"{data.get('split', '')} users of {data.get('name', 'unknown data')}".strip()
        return f"Report({models or 'no model'} against {baselines} baselines; {tasks} {users})"

    @classmethod
    def of(
        cls,
        systems: Sequence[SystemFacts],
        results: Sequence[TaskResult],
        *,
        at: Sequence[int],
        seed: int,
        data: Mapping[str, Any] | None = None,
        skipped: Mapping[TaskId, str] | None = None,
    ) -> Report:
        """Compute means, CIs, skill scores and paired differences from per-user values."""
        rows: list[Row] = []
        system_metrics: list[Row] = []
        slices: list[SliceRow] = []
        skills: list[Skill] = []
        pairs: list[PairedDifference] = []
        for of_task in results_by_task(results):
            draws = bootstrap_users(len(of_task[0].task), seed)
            for result in of_task:
                rows += mean_rows(result, draws)
                system_metrics += system_rows(result)
                slices += slice_rows(result, draws)
            skills += skill_scores(systems, of_task, draws)
            pairs += paired_differences(of_task, draws)
        return cls(
            systems=tuple(systems),
            results=tuple(results),
            rows=tuple(rows),
            system_metrics=tuple(system_metrics),
            slices=tuple(slices),
            skills=tuple(skills),
            paired_differences=tuple(pairs),
            at=tuple(at),
            seed=seed,
            data=data,
            skipped=skipped or {},
        )

    @classmethod
    def read(cls, folder: Path) -> Report:
        """Read the report of a finished evaluation, with slices as means only.

        Raises:
            FormatError: The folder has no report, a damaged one, or one of another format version.
        """
        saved = read_results(folder)
        try:
            rows = _restored(Row, saved["rows"])
            return cls(
                systems=_restored(SystemFacts, saved["systems"]),
                results=_read_per_user(folder, saved, rows),
                rows=rows,
                system_metrics=_restored(Row, saved["system_metrics"]),
                slices=_restored(SliceRow, saved["slices"]),
                skills=_restored(Skill, saved["skill"]),
                paired_differences=_restored(PairedDifference, saved["paired_differences"]),
                at=tuple(saved["settings"]["at"]),
                seed=saved["settings"]["seed"],
                data=saved["data"],
                skipped={each["task"]: each["reason"] for each in saved["skipped_tasks"]},
                behavior=Behavior(
                    _restored(BehaviorRow, saved["behavior"]),
                    {each["measure"]: each["reason"] for each in saved["skipped_behavior"]},
                ),
                calibration=_restored(CalibrationCurve, saved.get("calibration", [])),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise _damaged(folder / RESULTS_FILE, error) from error

    @property
    def tasks(self) -> tuple[Task | TaskRecord, ...]:
        """The tasks, in their order."""
        return tuple(of_task[0].task for of_task in results_by_task(self.results))

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the per-user values as JSON values; NaN becomes null."""
        tasks = [
            {
                "task": task.name,
                "n_users": len(task),
                "excluded_users": task.excluded_users,
                "held_out_items": int(task.held_out_items.sum()),
                "fingerprint": task.fingerprint,
                "note": task.note,
            }
            for task in map(TaskRecord.of, self.tasks)
        ]
        saved = {
            "format_version": RESULTS_FORMAT,
            "data": self.data,
            "settings": {"at": self.at, "seed": self.seed, "resamples": RESAMPLES, "confidence": 0.95},
            "tasks": tasks,
            "skipped_tasks": [{"task": task, "reason": reason} for task, reason in self.skipped.items()],
            "systems": self.systems,
            "rows": self.rows,
            "system_metrics": self.system_metrics,
            "slices": self.slices,
            "skill": self.skills,
            "paired_differences": self.paired_differences,
            "behavior": self.behavior.rows,
            "skipped_behavior": [
                {"measure": name, "reason": reason} for name, reason in self.behavior.skipped.items()
            ],
            "calibration": self.calibration,
        }
        return dict(_plain(saved))

    def to_json(self) -> str:
        """Return the text of ``results.json``, one record a line, so that two files can be compared by line."""
        blocks = []
        for key, value in self.to_dict().items():
            if isinstance(value, list):
                text = "[\n" + ",\n".join(f"  {_dumped(record)}" for record in value) + "\n]"
            else:
                text = _dumped(value)
            blocks.append(f'"{key}": {text}')
        return "{\n" + ",\n".join(blocks) + "\n}\n"


def _plain(value: Any) -> Any:  # noqa: ANN401  any value that JSON can represent
    """Return a value as JSON has it: without NaN, tuples and NumPy types."""
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if hasattr(value, "items"):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.generic | np.ndarray):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not isfinite(value) else value


def _dumped(value: Any) -> str:  # noqa: ANN401  as above
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def per_user_table(results: Sequence[TaskResult]) -> Any:  # noqa: ANN401  pyarrow ships no types
    """Return a table with one row for each user, system and task: item counts and every metric; null without a value."""
    import pyarrow as pa  # noqa: PLC0415  an extra

    metrics = list(dict.fromkeys(metric for result in results for metric in result.values))
    tables = []
    for result in results:
        task, nothing = TaskRecord.of(result.task), np.full(len(result.task), np.nan)
        columns = {
            "system": pa.array([result.system] * len(task)).dictionary_encode(),
            "task": pa.array([task.name] * len(task)).dictionary_encode(),
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
    """Return the content of ``results.json``.

    Raises:
        FormatError: It is missing, damaged or of another format version.
    """
    file = folder / RESULTS_FILE
    try:
        results = from_json(file.read_bytes())
        version = results["format_version"]
    except FileNotFoundError as error:
        raise FormatError(
            f"{folder}: no {RESULTS_FILE}. Expected a folder of tastevec evaluate. Check the name, or run: tastevec evaluate"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(file, error) from error
    if version != RESULTS_FORMAT:
        raise FormatError(
            f"{file}: format version {version}. Expected {RESULTS_FORMAT}. Run: tastevec evaluate"
        )
    checked: dict[str, Any] = validate_json(file, results, _Results, _AGAIN)
    return checked


def _restored(kind: type[_Record], records: Sequence[Mapping[str, Any]]) -> tuple[_Record, ...]:
    """Return records of ``results.json`` as values; null becomes NaN where a number may be missing.

    Raises:
        TypeError: A record has other fields or types.
    """
    adapter, made = TypeAdapter(kind), []
    try:
        for record in records:
            values = {
                key: float("nan") if cell is None and key in _NULLABLE else cell
                for key, cell in record.items()
            }
            made.append(adapter.validate_python(vars(kind(**values))))  # made first: rejects unknown keys
        return tuple(made)
    except ValidationError as error:
        raise TypeError(validation_message(error)) from error


def _read_per_user(folder: Path, saved: Mapping[str, Any], rows: Sequence[Row]) -> tuple[TaskResult, ...]:
    """Return the per-user values of each system and task with rows.

    Raises:
        FormatError: The file is missing or damaged, or its means differ from the rows.
    """
    import pyarrow as pa  # noqa: PLC0415  an extra
    import pyarrow.compute as pc  # noqa: PLC0415  an extra
    from pyarrow import parquet  # noqa: PLC0415  an extra

    file = folder / PER_USER_FILE
    try:
        table = parquet.read_table(file)
        tasks = {task["task"]: task for task in saved["tasks"]}
        results = []
        for system, name in dict.fromkeys((row.system, row.task) for row in rows):
            own = pc.and_(pc.equal(table["system"], system), pc.equal(table["task"], name))
            means = {row.metric: row.mean for row in rows if (row.system, row.task) == (system, name)}
            results.append(_task_result(system, tasks[name], table.filter(own), means))
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise _damaged(file, error) from error
    return tuple(results)


def _task_result(
    system: str,
    task: Mapping[str, Any],
    table: Any,  # noqa: ANN401  pyarrow ships no types
    means: Mapping[str, float],
) -> TaskResult:
    """Return one system on one task from its rows of the table."""
    record = TaskRecord(
        name=task["task"],
        note=task["note"],
        excluded_users=task["excluded_users"],
        fingerprint=task["fingerprint"],
        user_ids=table[USER_ID].to_numpy(),
        input_items=table["input_items"].to_numpy(),
        held_out_items=table["held_out_items"].to_numpy(),
    )
    values = {metric: np.asarray(table[metric].to_numpy(), np.float64) for metric in means}
    for metric, mean in means.items():
        valid = values[metric][np.isfinite(values[metric])]
        found = valid.mean() if len(valid) else float("nan")
        equal = np.isclose(found, mean, rtol=0, atol=_TOLERANCE, equal_nan=True)
        if len(table) != task["n_users"] or not equal:
            raise ValueError(
                f"{system}, {task['task']}: {metric} {found:.6f} of {len(table)} users, and {mean:.6f} of {task['n_users']} in "
                f"{RESULTS_FILE}"
            )
    return TaskResult(system, record, values, runs={})


def _damaged(file: Path, error: Exception) -> FormatError:
    return FormatError(
        f"{file} is missing or damaged ({error}). Expected a file of tastevec evaluate. {_AGAIN}"
    )
