"""Lists of any other system: read from a file for the users of an evaluation, checked and counted.

Dimension letters: B users, N items, K ranks, R rows of a batch.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tastevec.errors import DataError, FormatError
from tastevec.evaluation.rankings import RUN, SYSTEM, TASK
from tastevec.evaluation.scorers import GivenLists, Runs
from tastevec.schema import INPUTS_FILE, ITEM_ID, RANK, USER_ID

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from tastevec.evaluation.tasks import Task

_BATCHES: Final = {"batch_size": 1 << 17, "batch_readahead": 1}  # of rows in memory at once
_CELLS: Final = 1 << 22  # of users times items in memory at once: 4 MB
_EMPTY: Final = -2  # a rank without a row
_NO_ITEM: Final = -1  # a rank with an item that no system ranks
_REQUIRED: Final = (USER_ID, ITEM_ID, RANK)
_TEXTS: Final = (USER_ID, ITEM_ID, TASK, SYSTEM, RUN)  # compared as text, so that 7 and "7" are one
_MAGIC: Final = b"PAR1"  # the first bytes of a Parquet file


@dataclass(frozen=True)
class ListCounts:
    """What the lists of a system have of a task.

    Attributes:
        without_list: Users of the task without a list, whose metrics are 0.
        other_users: Users that the task does not have, which are ignored.
        unknown_items: Rows with an item that the evaluation does not rank: a rank without a hit.
        longest: Number of items of the longest list, up to the depth of the evaluation.
    """

    without_list: int
    other_users: int
    unknown_items: int
    longest: int

    def __str__(self) -> str:
        """Return what to know when reading the metrics.

        Examples:
            >>> str(ListCounts(without_list=2, other_users=0, unknown_items=0, longest=10))
            'lists of at most 10 items (deeper ranks are misses), 2 users without a list (all metrics 0)'
        """
        found = [f"lists of at most {self.longest} items (deeper ranks are misses)"]
        if self.without_list:
            found.append(f"{self.without_list:,} users without a list (all metrics 0)")
        if self.other_users:
            found.append(f"{self.other_users:,} other users (ignored)")
        if self.unknown_items:
            found.append(f"{self.unknown_items:,} rows with unknown items (misses)")
        return ", ".join(found)


def read_lists(
    name: str,
    source: Any,  # noqa: ANN401  a path, or any table
    tasks: Sequence[Task],
    item_ids: NDArray[Any],
    depth: int,
) -> Runs:
    """Return the lists of a system for the users of these tasks; its settings have the counts of each task.

    The columns are user_id, item_id and rank (from 1); task, where there are several tasks; system, in a file of several
    systems, of which ``name`` is read; and run, whose metrics are averaged. Others are ignored. Memory: 4 K bytes for each
    user, task and run.

    Args:
        name: The name of the system.
        source: A Parquet or CSV file, or a table in memory.
        tasks: The tasks; lists of other tasks are ignored.
        item_ids: (N,) the ID of each item index.
        depth: Ranks that are read.

    Raises:
        FormatError: The file cannot be read.
        DataError: A column is missing, no task, user or item is known, two rows contradict each other, or a list has an
            input item of its user.
    """
    import pyarrow as pa  # noqa: PLC0415  an extra

    from tastevec.data.arrays import READ_ERRORS  # noqa: PLC0415  it imports pyarrow

    where = str(source) if isinstance(source, str | Path) else f"lists of {name}"
    items = pa.array(item_ids).cast(pa.string())
    reading = {task.name: _TaskLists.of(task, where, min(depth, len(items))) for task in tasks}
    try:
        opened = _opened(source)
        _check_columns(opened.schema.names, where, tasks)
        for task, run, rows in _groups(opened, where, name, tasks):
            if task in reading:
                reading[task].add(run, rows[USER_ID], _index_in(rows[ITEM_ID], items), rows[RANK].to_numpy())
    except (*READ_ERRORS, TypeError) as error:
        expected = "a Parquet or CSV file of IDs, and of ranks that are integers"
        raise FormatError(f"{where}: cannot be read ({error}). Expected {expected}") from error
    counts = {task: asdict(own.finished(len(items))) for task, own in reading.items() if own.ranked}
    if not counts:
        raise DataError(f"{where}: no list of {' or '.join(reading)}. Expected one of these in column {TASK}")
    runs = sorted({run for own in reading.values() for run in own.ranked}, key=lambda run: (len(run), run))
    scorers = [
        GivenLists(name, {task: own.ranked[run] for task, own in reading.items() if run in own.ranked})
        for run in runs
    ]
    return Runs(name, scorers, {"source": where, "lists": counts})


def _opened(source: Any) -> Any:  # noqa: ANN401  a path, or any table
    """Return the Arrow dataset of a Parquet or CSV file or of a table."""
    import pyarrow as pa  # noqa: PLC0415  an extra
    from pyarrow import csv, dataset  # noqa: PLC0415  an extra

    if not isinstance(source, str | Path):
        return dataset.dataset(pa.table(source))
    as_text = csv.ConvertOptions(column_types=dict.fromkeys(_TEXTS, pa.string()))
    with Path(source).open("rb") as file:
        is_parquet = file.read(len(_MAGIC)) == _MAGIC
    kind = "parquet" if is_parquet else dataset.CsvFileFormat(convert_options=as_text)
    return dataset.dataset(source, format=kind)


def _check_columns(names: Sequence[str], where: str, tasks: Sequence[Task]) -> None:
    if any(names.count(name) != 1 for name in _REQUIRED):
        raise DataError(
            f"{where}: the columns {', '.join(names)}. Expected {', '.join(_REQUIRED)}, as tastevec recommend writes them"
        )
    if TASK not in names and len(tasks) > 1:
        raise DataError(
            f"{where}: no column {TASK}, for {len(tasks)} tasks. Expected a list for the input of each task. Add the column, "
            "or evaluate one task"
        )


def _groups(opened: Any, where: str, name: str, tasks: Sequence[Task]) -> Iterator[tuple[Any, str, Any]]:  # noqa: ANN401  pyarrow ships no types
    """Yield a task, a run and a table of their next rows, with IDs as text."""
    import pyarrow as pa  # noqa: PLC0415  an extra
    import pyarrow.compute as pc  # noqa: PLC0415  an extra

    columns = [column for column in opened.schema.names if column in {*_TEXTS, RANK}]
    system = _system(opened, where, name) if SYSTEM in columns else None
    for batch in opened.to_batches(columns=columns, **_BATCHES):
        found = {column: batch[column].cast(pa.string()) for column in columns if column != RANK}
        found |= {RANK: batch[RANK].cast(pa.int64())}
        found = {TASK: pa.repeat(tasks[0].name, len(batch)), RUN: pa.repeat("0", len(batch))} | found
        rows = pa.table(found)
        if system is not None:
            rows = rows.filter(pc.equal(rows[SYSTEM], system))
        if nulls := [column for column in (*_REQUIRED, TASK, RUN) if rows[column].null_count]:
            raise DataError(f"{where}, column {nulls[0]}: a row without a value. Expected one in each row")
        if len(rows) and pc.min(rows[RANK]).as_py() < 1:
            raise DataError(f"{where}, column {RANK}: {pc.min(rows[RANK])}. Expected ranks from 1")
        for pair in rows.group_by([TASK, RUN]).aggregate([]).to_pylist():
            same = pc.and_(pc.equal(rows[TASK], pair[TASK]), pc.equal(rows[RUN], pair[RUN]))
            yield pair[TASK], pair[RUN], rows.filter(same)


def _system(opened: Any, where: str, name: str) -> str:  # noqa: ANN401  pyarrow ships no types
    """Return the system whose rows are read: that of this name, or the only one."""
    found: set[str] = set()
    for batch in opened.to_batches(columns=[SYSTEM], **_BATCHES):
        found |= {*map(str, batch[SYSTEM].unique().to_pylist())}
    if name in found or not found:
        return name
    if len(found) > 1:
        raise DataError(
            f"{where}: no system {name}. Expected one of {', '.join(sorted(found))}, or a file of one system"
        )
    return found.pop()


def _index_in(ids: Any, known: Any) -> NDArray[np.int64]:  # noqa: ANN401  pyarrow ships no types
    """Return the index (R,) of each ID among the known ones; -1 for others."""
    import pyarrow.compute as pc  # noqa: PLC0415  an extra

    return np.asarray(pc.index_in(ids, value_set=known).fill_null(-1), np.int64)


@dataclass(eq=False)
class _TaskLists:
    """The lists of one task while they are read.

    Attributes:
        users: IDs of the users of the task, as text.
        ranked: By run, (B, K) item indices; -2 without a row.
        other_users: IDs that the task does not have.
        unknown_items: Number of rows.
    """

    task: Task
    where: str
    depth: int
    users: Any
    ranked: dict[str, NDArray[np.int32]] = field(default_factory=dict)
    other_users: set[str] = field(default_factory=set)
    unknown_items: int = 0

    @classmethod
    def of(cls, task: Task, where: str, depth: int) -> _TaskLists:
        import pyarrow as pa  # noqa: PLC0415  an extra

        return cls(task, where, depth, pa.array(task.inputs.user_ids).cast(pa.string()))

    def add(self, run: str, users: Any, items: NDArray[np.int64], ranks: NDArray[np.int64]) -> None:  # noqa: ANN401  pyarrow ships no types
        """Add rows of a run: user IDs, item indices (R,), -1 for unknown ones, and ranks (R,) from 1."""
        index = _index_in(users, self.users)
        self.other_users.update(users.filter(index < 0).unique().to_pylist())
        if self.task.candidates is not None:
            items = np.where(self.task.candidates[items], items, _NO_ITEM)
        self.unknown_items += int(np.sum((index >= 0) & (items == _NO_ITEM)))
        rows = (index >= 0) & (ranks <= self.depth)
        cells = index[rows] * self.depth + ranks[rows] - 1
        if run not in self.ranked:
            self.ranked[run] = np.full((len(self.task), self.depth), _EMPTY, np.int32)
        lists = self.ranked[run].reshape(-1)
        ordered = np.sort(cells)
        twice = np.concatenate([cells[lists[cells] != _EMPTY], ordered[1:][np.diff(ordered) == 0]])
        if len(twice):
            user, rank = divmod(int(twice[0]), self.depth)
            self._refuse(user, f"two items at rank {rank + 1}", "one item at each rank")
        lists[cells] = items[rows]

    def finished(self, n_items: int) -> ListCounts:
        """Check the lists, make ranks without a row those without an item, and return what the lists have of the task."""
        runs = list(self.ranked.values())
        lacking = np.any([(lists == _EMPTY).all(axis=1) for lists in runs], axis=0)
        known = any((lists >= 0).any() for lists in runs)
        if lacking.all() or not known:
            what = "user" if lacking.all() else "item"
            raise DataError(
                f"{self.where}: no {what} of task {self.task.name}. Expected the IDs of {INPUTS_FILE}"
            )
        longest = max(int((lists != _EMPTY).sum(axis=1).max()) for lists in runs)
        for lists in runs:
            lists[lists == _EMPTY] = _NO_ITEM
            self._check(lists, n_items)
        return ListCounts(int(lacking.sum()), len(self.other_users), self.unknown_items, longest)

    def _check(self, ranked: NDArray[np.int32], n_items: int) -> None:
        """Refuse an item at two ranks of a list, and an input item."""
        users = max(1, _CELLS // n_items)
        for start, own in zip(range(0, len(ranked), users), self.task.inputs.chunks(users), strict=True):
            part = ranked[start : start + users]
            ordered = np.sort(part, axis=1)
            twice = np.flatnonzero(((np.diff(ordered, axis=1) == 0) & (ordered[:, 1:] >= 0)).any(axis=1))
            if len(twice):
                self._refuse(start + int(twice[0]), "an item at two ranks", "each item once")
            is_input = np.zeros((len(part), n_items + 1), np.bool_)  # the last column is for -1
            is_input[own.owners, own.items] = True
            found = np.flatnonzero(np.take_along_axis(is_input, part % (n_items + 1), axis=1).any(axis=1))
            if len(found):
                expected = f"lists without the items of {INPUTS_FILE}, which no system ranks"
                self._refuse(start + int(found[0]), "an input item in the list", expected)

    def _refuse(self, user: int, found: str, expected: str) -> None:
        name = self.task.inputs.user_ids[user]
        raise DataError(f"{self.where}, task {self.task.name}: user {name} has {found}. Expected {expected}")
