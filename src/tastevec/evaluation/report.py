"""Report: what an evaluation measured, as a table and as files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tastevec.data.atomic import new_folder
from tastevec.evaluation.intervals import RESAMPLES
from tastevec.evaluation.results import CENTRED_DISTANCE, DISTANCE, mean_rows, skills
from tastevec.schema import PER_USER_FILE, RESULTS_FILE, RESULTS_FORMAT, USER_ID

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tastevec.evaluation.protocol import Task
    from tastevec.evaluation.results import Measured, Row, Skill, SystemFacts

__all__ = ["Report"]

# The columns of the printed table; the files hold every metric.
_OF_ONE = ("hr@10", "ndcg@10", DISTANCE, CENTRED_DISTANCE)
_OF_SEVERAL = ("recall@20", "recall@50", "ndcg@100", DISTANCE, CENTRED_DISTANCE)


@dataclass(frozen=True, eq=False)
class Report:
    """Everything an evaluation measured.

    Attributes:
        systems: One a system, floors first.
        measured: Per-user values, one a system and task.
        rows: Means with intervals.
        skills: Each system that is no floor beside the best floor.
        at: The depths of the ranking metrics.
        seed: What the draws came from.
    """

    systems: tuple[SystemFacts, ...]
    measured: tuple[Measured, ...]
    rows: tuple[Row, ...]
    skills: tuple[Skill, ...]
    at: tuple[int, ...]
    seed: int

    @classmethod
    def of(
        cls, systems: Sequence[SystemFacts], measured: Sequence[Measured], *, at: Sequence[int], seed: int
    ) -> Report:
        """Means, intervals and skill out of per-user values."""
        rows = [row for result in measured for row in mean_rows(result, seed)]
        beside = skills(systems, measured, seed)
        return cls(tuple(systems), tuple(measured), tuple(rows), tuple(beside), tuple(at), seed)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks, in the order asked."""
        return tuple({result.task.name: result.task for result in self.measured}.values())

    def to_json(self) -> dict[str, Any]:
        """Settings, tasks, systems, rows and skill, as plain values; what could not be measured is null."""
        tasks = [
            {
                "task": task.name,
                "protocol": task.protocol,
                "users": len(task),
                "left_out": task.left_out,
                "hidden_films": len(task.targets),
                "note": task.note,
            }
            for task in self.tasks
        ]
        return {
            "format_version": RESULTS_FORMAT,
            "settings": {"at": list(self.at), "seed": self.seed, "resamples": RESAMPLES, "interval": 0.95},
            "tasks": tasks,
            "systems": [_plain(facts) for facts in self.systems],
            "rows": [_plain(row) for row in self.rows],
            "skill": [_plain(skill) for skill in self.skills],
        }

    def table(self, style: Literal["text", "markdown"] = "text") -> str:
        """One table a task, systems down and the headline metrics across, each mean with its 95 % interval."""
        return "\n\n".join(self._task_table(task, style) for task in self.tasks)

    def write(self, folder: Path) -> None:
        """Write ``results.json`` and ``per_user.parquet`` into ``folder``, both or neither.

        Raises:
            FormatError: ``folder`` exists and holds something else.
        """
        import pyarrow as pa  # noqa: PLC0415 - an extra
        from pyarrow import parquet  # noqa: PLC0415 - an extra

        with new_folder(folder, owned_by=RESULTS_FILE) as temporary:
            metrics = list(dict.fromkeys(metric for result in self.measured for metric in result.values))
            tables = [_per_user(result, metrics) for result in self.measured]
            parquet.write_table(pa.concat_tables(tables), temporary / PER_USER_FILE)
            text = json.dumps(self.to_json(), indent=2, allow_nan=False, ensure_ascii=False)
            (temporary / RESULTS_FILE).write_text(text + "\n", encoding="utf-8")

    def _task_table(self, task: Task, style: Literal["text", "markdown"]) -> str:
        rows = {(row.system, row.metric): row for row in self.rows if row.task == task.name}
        measured = list(dict.fromkeys(metric for _, metric in rows))
        headline = _OF_ONE if task.name == "next-liked" else _OF_SEVERAL
        metrics = [metric for metric in headline if metric in measured] or measured
        lines = [["system", *(metric.replace("_", " ") for metric in metrics)]]
        lines += [
            [facts.system, *(_cell(rows.get((facts.system, metric))) for metric in metrics)]
            for facts in self.systems
        ]
        title = f"{task.name}: {len(task)} users asked, {task.left_out} left out. {task.note}"
        return f"{title}\n\n{_aligned(lines, style)}"


def _cell(row: Row | None) -> str:
    return f"{row.mean:.3f} [{row.low:.3f}, {row.high:.3f}]" if row and row.users else "-"


def _aligned(lines: list[list[str]], style: Literal["text", "markdown"]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    rule = ["-" * width for width in widths]
    if style == "markdown":
        return "\n".join(f"| {' | '.join(line)} |" for line in [padded[0], rule, *padded[1:]])
    return "\n".join("  ".join(line).rstrip() for line in [padded[0], rule, *padded[1:]])


def _plain(value: SystemFacts | Row | Skill) -> dict[str, Any]:
    """The fields as JSON knows them, which has no NaN."""
    pairs = asdict(value).items()
    return {key: None if isinstance(cell, float) and not isfinite(cell) else cell for key, cell in pairs}


def _per_user(measured: Measured, metrics: list[str]) -> Any:  # noqa: ANN401 - pyarrow ships no types
    """One row a person: what was asked of whom, and every metric; null where there is no value."""
    import pyarrow as pa  # noqa: PLC0415 - an extra

    task, users = measured.task, len(measured.task)
    nothing = np.full(users, np.nan)
    columns = {
        "system": pa.array([measured.system] * users).dictionary_encode(),
        "protocol": pa.array([task.protocol] * users).dictionary_encode(),
        "task": pa.array([task.name] * users).dictionary_encode(),
        USER_ID: pa.array(task.known.user_ids),
        "known_films": pa.array(task.known.lengths),
        "hidden_films": pa.array(task.hidden),
    }
    values = {metric: pa.array(measured.values.get(metric, nothing), from_pandas=True) for metric in metrics}
    return pa.table(columns | values)
