"""Tags and relevances of items: the users' own, those of others, and how relevant a tag is to an item."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tastevec.data.intake.metadata import (
    NamedTable,
    TableContext,
    find_column,
    read_ids_of,
    read_seconds,
    read_table,
    require_column,
    strip,
    to_numbers,
)
from tastevec.data.intake.report import ReportLine, TableReport
from tastevec.errors import BadRowError, DataError, SettingsError, SourceError
from tastevec.schema import ITEM_ID, RANK, RELEVANCE, TAG, TIMESTAMP, USER_ID, WEIGHT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tastevec.data.intake.settings import ItemSettings

_NAMES: Final[Mapping[str, frozenset[str]]] = {
    TAG: frozenset(["tag", "tagname", "tagvalue", "keyword", "term"]),
    WEIGHT: frozenset(["weight", "tagweight", "count"]),
    RELEVANCE: frozenset(["relevance", "score"]),
    RANK: frozenset(("rank",)),
}
_HETREC = "movie_tags.dat"  # with the texts of its tags in tags.dat
# How strong a tag is, by role: the limits of its numbers, and what is expected of them.
_STRENGTHS: Final[Mapping[str, tuple[Callable[..., pa.Array], float, float, str]]] = {
    WEIGHT: (pc.greater, 0.0, 1e18, "a weight above 0"),
    RELEVANCE: (pc.greater_equal, 0.0, 1.0, "0 to 1"),
    RANK: (pc.greater_equal, 1.0, 1e18, "1 or more"),
}
OWN_TAGS: Final = pa.schema(
    [
        (USER_ID, pa.string()),
        (ITEM_ID, pa.string()),
        (TAG, pa.string()),
        (WEIGHT, pa.float64()),
        (TIMESTAMP, pa.int64()),
    ]
)


def _report(table: NamedTable, kept: int, note: str, skipped: Mapping[str, int]) -> TableReport:
    """Return the rows of a table, whose tags they are and how they count, and the other rows by reason."""
    lines = [
        ReportLine("tags", "tags", note),
        *(ReportLine(reason, "skipped", f"{count:,} rows") for reason, count in skipped.items()),
    ]
    return TableReport(table.file, f"{len(table):,} rows, {kept:,} tags", tuple(lines))


@dataclass(frozen=True, eq=False)
class TagTable:
    """Tags.

    Attributes:
        table: ``user_id`` (text; NULL in the tags of others), ``item_id`` (text), ``tag`` (lower case), ``weight`` (over 0; 1
            per application), ``timestamp`` (Unix seconds or NULL), in the order of the tables.
        reports: One per table.
    """

    table: pa.Table
    reports: tuple[TableReport, ...] = ()

    def with_relevances(self, relevances: RelevanceTable) -> TagTable:
        """Return these tags, and relevances as tags of others: an absent one is unknown, never 0."""
        found = relevances.table.filter(pc.greater(relevances.table[RELEVANCE], 0.0))
        rows = _table(found[ITEM_ID], found[TAG], weight=found[RELEVANCE])
        return TagTable(pa.concat_tables([self.table, rows]), (*self.reports, *relevances.reports))


@dataclass(frozen=True, eq=False)
class RelevanceTable:
    """How relevant tags are to items.

    Attributes:
        table: ``item_id`` (text), ``tag`` (as written), ``relevance`` in [0, 1]; one row per item and tag.
        is_dense: Whether every item has every tag; if not, an absent relevance is unknown.
        reports: One per table.
    """

    table: pa.Table
    is_dense: bool
    reports: tuple[TableReport, ...] = ()


def read_tags(
    settings: ItemSettings,
    layout_tags: Sequence[NamedTable],
    context: TableContext,
    *,
    renumbered_users: bool = False,
) -> TagTable:
    """Return the tags that come with the interactions, whose users are known, then those of the settings.

    Args:
        settings: ``tags``, and ``tags_by``: by default a table with a column of users has the users' own tags.
        layout_tags: Tags that come with the interactions.
        context: How tables are read.
        renumbered_users: Whether every release numbers its users again, as MovieLens does: then ``settings.tags`` are those
            of others by default.

    Raises:
        SourceError: A table cannot be read.
        DataError: A table lacks a column.
        BadRowError: A row is invalid, and invalid rows are not dropped.
        SettingsError: Tags are said to be the users', and a table has no column of users.
    """
    by = settings.tags_by or ("others" if renumbered_users else None)
    parts = [_read(table, context, "users") for table in layout_tags]
    parts += [_read(_open(source, context), context, by) for source in settings.tags]
    table = pa.concat_tables([OWN_TAGS.empty_table(), *(rows for rows, _ in parts)])
    return TagTable(table.combine_chunks(), tuple(report for _, report in parts))


def _open(source: Any, context: TableContext) -> NamedTable:  # noqa: ANN401  any table or path
    if isinstance(source, str | Path) and Path(source).name == _HETREC:
        return _hetrec(Path(source), context)
    return read_table(source, context, "tags")


def _hetrec(path: Path, context: TableContext) -> NamedTable:
    """Return the ``movie_tags.dat`` of hetrec (item, number of a tag, weight) with the texts of ``tags.dat``."""
    texts = path.with_name("tags.dat")
    if not texts.is_file():
        raise SourceError(
            f"{texts}: not found. Expected the texts of the tags in {path.name}. Copy the file there."
        )
    weights = read_table(path, context.tab_separated(path, ("movieID", "tagID", "tagWeight")), "tags")
    known = read_table(texts, context.tab_separated(texts, ("id", "value"), "iso-8859-1"), "tags")
    items, numbers, weight = tuple(weights.columns.values())[:3]
    ids, names = tuple(known.columns.values())[:2]
    rows = pc.index_in(strip(numbers), strip(ids))
    if rows.null_count and context.bad_rows is None:
        row = pc.index(pc.is_null(rows), value=True).as_py()
        raise BadRowError(
            f"{path.name}, {weights.where(row)}, column tagID: {numbers[row].as_py()!r} is no number of a tag in tags.dat. Expected one. "
            "Fix the row, or skip it with --bad-rows drop"
        )
    return NamedTable(path.name, {ITEM_ID: items, TAG: names.take(rows), WEIGHT: weight})


def _read(table: NamedTable, context: TableContext, by: str | None) -> tuple[pa.Table, TableReport]:
    """Return the rows of a table, and what was read."""
    rows = _Rows(table, context)
    user = find_column(table, USER_ID)
    if by == "users" and user is None:
        raise SettingsError(
            f"--tags-by users: {table.file} has no user_id among {', '.join(table.columns)}. Expected the users of the tags. "
            "Rename the column, or use --tags-by others"
        )
    user = user if by != "others" else None
    items, tags = rows.ids(rows.item), rows.tags()
    users = rows.ids(user) if user else None
    weights, how = rows.weights() if rows.strength else (None, "")
    time = find_column(table, TIMESTAMP)
    times = read_seconds(table, time) if time else None
    made = _table(items, tags, user_id=users, weight=weights, timestamp=times).filter(rows.valid)
    whose = (
        "the users' own; those of training users are read"
        if user
        else "of others; held-out users may have given them"
    )
    return made, _report(table, len(made), whose + how, rows.skipped)


class _Rows:
    """The rows of a table: the columns of item, tag and strength, and which rows are valid."""

    def __init__(self, table: NamedTable, context: TableContext) -> None:
        self.table, self.context = table, context
        self.item, self.tag = require_column(table, ITEM_ID), require_column(table, TAG, _NAMES[TAG])
        named = {role: find_column(table, role, _NAMES[role]) for role in _STRENGTHS}
        found = {role: name for role, name in named.items() if name is not None}
        if len(found) > 1:
            raise DataError(
                f"{table.file}: {' and '.join(found.values())} could both be the weight of a tag. Expected one. Remove the other column"
            )
        self.role, self.strength = next(iter(found.items()), ("", ""))
        self.valid, self.skipped = pa.array(np.ones(len(table), bool)), dict[str, int]()

    def ids(self, column: str) -> pa.Array:
        """Return the IDs of a column, null where a row has none."""
        ids, skipped = read_ids_of(self.table, column, self.context)
        self._skip(pc.is_valid(ids), skipped)
        return ids

    def tags(self) -> pa.Array:
        """Return the tags in lower case; ml-10m has blank ones, which are no error."""
        tags = pc.utf8_lower(strip(self.table.columns[self.tag]))
        self._skip(pc.is_valid(tags), {"blank": tags.null_count})
        return tags

    def weights(self) -> tuple[pa.Array, str]:
        """Return the weight of each row, and how it was found."""
        values = self.table.columns[self.strength]
        numbers, (is_above, low, high, expected) = to_numbers(values), _STRENGTHS[self.role]
        good = pc.fill_null(pc.and_(is_above(numbers, low), pc.less_equal(numbers, high)), False)  # noqa: FBT003  Arrow has no keyword
        wrong = len(good) - int(pc.sum(good).as_py() or 0)
        if wrong and self.context.bad_rows is None:
            row = pc.index(good, value=False).as_py()
            raise BadRowError(
                f"{self.table.file}, {self.table.where(row)}, column {self.strength}: {values[row].as_py()!r} ({wrong:,} of {len(good):,} rows are invalid). "
                f"Expected {expected}. Fix the row, or skip it with --bad-rows drop"
            )
        self._skip(good, {"invalid number": wrong})
        if self.role != RANK:
            return numbers, f", {self.role} from the table"
        last = pc.max(numbers.filter(good)).as_py() or 1.0
        counts = pc.divide(pc.subtract(last + 1, numbers), last)
        return counts, f", rank 1 of {last:g} counts 1, the last {1 / last:.2g}"

    def _skip(self, good: pa.Array, reasons: Mapping[str, int]) -> None:
        self.valid = pc.and_(self.valid, good)
        for reason, count in reasons.items():
            if count:
                self.skipped[reason] = self.skipped.get(reason, 0) + count


def _table(items: Any, tags: Any, **others: Any) -> pa.Table:  # noqa: ANN401  Arrow arrays, chunked or not
    """Return a table of `OWN_TAGS`; weight 1 where there is none."""
    columns = {ITEM_ID: items, TAG: tags} | {
        name: array for name, array in others.items() if array is not None
    }
    columns.setdefault(WEIGHT, pa.array(np.ones(len(items))))
    empty = {field.name: pa.nulls(len(items), field.type) for field in OWN_TAGS}
    return pa.table({**empty, **columns}).cast(OWN_TAGS)


def read_relevances(settings: ItemSettings, context: TableContext) -> RelevanceTable | None:
    """Return the relevances of the settings, those of several tables together; None without any.

    A row is an item, a tag and either its relevance from 0 to 1, or its rank among the item's tags, 1 the most relevant.
    Of an item and a tag that are listed twice, the first row counts.

    Raises:
        SourceError: A table cannot be read.
        DataError: A table lacks a column.
        BadRowError: A row is invalid, and invalid rows are not dropped.
    """
    if not settings.relevance:
        return None
    parts = [
        _read_relevances(read_table(source, context, RELEVANCE), context) for source in settings.relevance
    ]
    table = pa.concat_tables([rows for rows, _, _ in parts]).combine_chunks()
    items, tags = (table[name].combine_chunks().dictionary_encode() for name in (ITEM_ID, TAG))
    codes = items.indices.to_numpy().astype(np.int64) * len(tags.dictionary) + tags.indices.to_numpy()
    firsts = np.sort(np.unique(codes, return_index=True)[1])
    is_ranked = any(ranked for _, _, ranked in parts)
    is_dense = not is_ranked and len(firsts) == len(items.dictionary) * len(tags.dictionary)
    note = f"{len(items.dictionary):,} items, {len(tags.dictionary):,} tags: " + (
        "every item has every tag, a genome"
        if is_dense
        else "an absent tag is unknown, the others are weighted tags"
    )
    reports = [replace(one, lines=(*one.lines, ReportLine("relevance", "tags", note))) for _, one, _ in parts]
    return RelevanceTable(table.take(pa.array(firsts)), is_dense, tuple(reports))


def _read_relevances(table: NamedTable, context: TableContext) -> tuple[pa.Table, TableReport, bool]:
    """Return the rows of a table, what was read, and whether it has ranks."""
    rows = _Rows(table, context)
    items, tags = rows.ids(rows.item), strip(table.columns[rows.tag])
    rows.tags()
    if not rows.strength:
        raise DataError(
            f"{table.file}: no relevance or rank among {', '.join(table.columns)}. Expected one of them. "
            "Read a table without them with --tags"
        )
    weights, how = rows.weights()
    if float(pc.max(weights.filter(rows.valid)).as_py() or 0) > 1:
        raise DataError(
            f"{table.file}, column {rows.strength}: above 1. Expected 0 to 1. Read counts with --tags"
        )
    made = pa.table({ITEM_ID: items, TAG: tags, RELEVANCE: weights}).filter(rows.valid)
    return made, _report(table, len(made), how.removeprefix(", "), rows.skipped), rows.role == RANK
