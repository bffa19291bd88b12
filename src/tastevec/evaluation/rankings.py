"""The files of an evaluation that other systems need: input and held-out items of its tasks, and ranked lists."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tastevec.data.histories import NO_TIMESTAMP
from tastevec.evaluation.metrics import hits_at
from tastevec.schema import HELD_OUT_FILE, INPUTS_FILE, ITEM_ID, RANK, RATING, TIMESTAMP, USER_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tastevec.evaluation.scorers import RankedLists
    from tastevec.evaluation.tasks import Task

TASK: Final = "task"
SYSTEM: Final = "system"
RUN: Final = "run"
_USERS: Final = 5000  # written at once


def write_task_items(folder: Path, tasks: Sequence[Task], item_ids: NDArray[Any]) -> None:
    """Write ``inputs.parquet``, the input items of each user and task, oldest first, and ``held_out.parquet``."""
    import pyarrow as pa  # noqa: PLC0415  an extra

    items = pa.array(item_ids)
    with _table_writer(folder / INPUTS_FILE) as inputs, _table_writer(folder / HELD_OUT_FILE) as held_out:
        for part in (part for task in tasks for part in task.chunks(_USERS)):
            rows, targets = part.inputs, np.repeat(np.arange(len(part)), part.held_out_items)
            held_out(_key(part, targets) | {ITEM_ID: items.take(pa.array(part.targets))})
            inputs(
                _key(part, rows.owners)
                | {
                    ITEM_ID: items.take(pa.array(rows.items)),
                    RATING: pa.array(rows.ratings, from_pandas=True),
                    TIMESTAMP: pa.array(rows.timestamps, mask=rows.timestamps == NO_TIMESTAMP),
                }
            )


@contextmanager
def lists_writer(file: Path, item_ids: NDArray[Any]) -> Iterator[Callable[[str, int, RankedLists], None]]:
    """Yield a function that writes the lists of a system and a run: ranks from 1, and whether the item is held out."""
    import pyarrow as pa  # noqa: PLC0415  an extra

    items = pa.array(item_ids)
    with _table_writer(file) as write:

        def add(system: str, run: int, lists: RankedLists) -> None:
            task, depth = lists.task, lists.ranked.shape[1]
            for start in range(0, len(task), _USERS):
                ranked, offsets = (
                    lists.ranked[start : start + _USERS],
                    task.offsets[start : start + _USERS + 1],
                )
                hit = hits_at(lists.ranks[offsets[0] : offsets[-1]], offsets - offsets[0], depth)
                owners, ranks = np.nonzero(ranked >= 0)
                columns = {
                    SYSTEM: _repeated(system, len(owners)),
                    **_key(task, owners + start),
                    RUN: np.full(len(owners), run, np.int32),
                    RANK: (ranks + 1).astype(np.int32),
                    ITEM_ID: items.take(pa.array(ranked[owners, ranks])),
                    "hit": hit[owners, ranks],
                }
                write(columns)

        yield add


def _key(task: Task, users: NDArray[np.int64]) -> dict[str, Any]:
    """Return the columns task and user_id of these user indices."""
    import pyarrow as pa  # noqa: PLC0415  an extra

    return {
        TASK: _repeated(task.name, len(users)),
        USER_ID: pa.array(task.inputs.user_ids).take(pa.array(users)),
    }


def _repeated(text: str, rows: int) -> Any:  # noqa: ANN401  pyarrow ships no types
    import pyarrow as pa  # noqa: PLC0415  an extra

    return pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), [text])


@contextmanager
def _table_writer(file: Path) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Yield a function that writes columns as the next rows of a Parquet file."""
    import pyarrow as pa  # noqa: PLC0415  an extra
    from pyarrow import parquet  # noqa: PLC0415  an extra

    writer: Any = None

    def write(columns: Mapping[str, Any]) -> None:
        nonlocal writer
        table = pa.table(dict(columns))
        writer = writer or parquet.ParquetWriter(file, table.schema, compression="zstd")
        writer.write_table(table)

    try:
        yield write
    finally:
        if writer is not None:
            writer.close()
