"""Metadata tables: a table of items, tags or relevances as Arrow columns by name, and the IDs in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from tastevec.data.intake import spelling
from tastevec.data.intake.columns import names_role, plain_name, two_columns
from tastevec.data.intake.delimited import readable
from tastevec.data.intake.memory import MemoryTable, to_columns
from tastevec.data.intake.report import percent
from tastevec.data.intake.settings import MISSING, FileFormat
from tastevec.data.intake.spelling import TimeError
from tastevec.data.intake.tables import open_table
from tastevec.data.intake.times import read_times
from tastevec.data.intake.validation import DAMAGE, FAULTS, SHOWN
from tastevec.data.intake.values import read_ids, read_numbers
from tastevec.errors import BadRowError, DataError, SourceError
from tastevec.schema import ITEM_ID

if TYPE_CHECKING:
    from collections.abc import Callable

    from tastevec.data.intake.report import Findings


@dataclass(frozen=True, eq=False)
class TableContext:
    """How the tables of one source are read.

    Attributes:
        connection: Ibis on DuckDB.
        scratch: A folder for temporary files.
        file_format: How a text file is read.
        bad_rows: Largest share of broken rows that are dropped and counted; None refuses the first one.
        missing: Texts that are no ID, in lower case.
    """

    connection: Any
    scratch: Path
    file_format: FileFormat = field(default_factory=FileFormat)
    bad_rows: float | None = None
    missing: tuple[str, ...] = MISSING

    def tab_separated(
        self, path: Path, columns: tuple[str, ...], encoding: str | None = None
    ) -> TableContext:
        """Return the context of a tab-separated file with these columns, which may lack its header."""
        with path.open("rb") as file:
            header = file.readline().startswith(f"{columns[0]}\t".encode())
        text = FileFormat("\t", () if header else columns, header=header, quote=False, encoding=encoding)
        return replace(self, file_format=text)


@dataclass(frozen=True, eq=False)
class NamedTable:
    """A table: the name of its file, and its M rows as columns by name.

    Attributes:
        file: In messages.
        columns: (M,) values by name; texts where the file is a text file. A second column of a name is not there.
        declared: Types of columns in a RecBole header, such as ``token_seq``.
        unreadable: Why a column is not in ``columns``.
        broken: Broken rows that are not in the columns, by reason.
        where: Names a row, in messages.
    """

    file: str
    columns: Mapping[str, pa.Array]
    declared: Mapping[str, str | None] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    broken: Mapping[str, int] = field(default_factory=dict)
    where: Callable[[int], str] = field(default=lambda row: f"row {row + 1}", repr=False)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    @classmethod
    def of(cls, table: pa.Table, file: str, **more: Any) -> NamedTable:  # noqa: ANN401  other attributes
        """Return an Arrow table under this name."""
        columns: dict[str, pa.Array] = {}
        for name, values in zip(table.column_names, table.columns, strict=True):
            columns.setdefault(name, _one_chunk(values))
        return cls(file, columns, **more)


def _one_chunk(values: pa.ChunkedArray) -> pa.Array:
    whole = values.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):  # of older versions of Arrow
        whole = pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], whole.type)
    return whole.dictionary_decode() if pa.types.is_dictionary(whole.type) else whole


def read_table(source: Any, context: TableContext, name: str) -> NamedTable:  # noqa: ANN401  any table or path
    """Return a file or a table in memory; ``name`` is that of a table in memory in messages.

    Raises:
        SourceError: It cannot be read.
        BadRowError: A row is broken, and broken rows are not dropped.
    """
    if isinstance(source, NamedTable):
        return source
    if isinstance(source, list | tuple) and not all(isinstance(row, Mapping) for row in source):
        raise SourceError(
            f"{name}: rows without names. Expected a table with named columns, or a list of dicts."
        )
    if not isinstance(source, str | Path):
        columns = to_columns(MemoryTable(source, name))
        unreadable = {columns.names[index]: why for index, why in columns.unreadable.items()}
        renamed = columns.table.rename_columns(list(columns.names))
        kept = [index for index, column in enumerate(columns.names) if column not in unreadable]
        return NamedTable.of(renamed.select(kept), name, unreadable=unreadable)
    opened = open_table(
        source,
        connection=context.connection,
        scratch=context.scratch,
        file_format=context.file_format,
        bad_rows=context.bad_rows,
        expected=(ITEM_ID,),
    )
    with readable(opened.file, opened.names):
        table = context.connection.con.execute(f"{opened.query} ORDER BY position").to_arrow_table()
    positions = table["position"].to_numpy()
    return NamedTable.of(
        table.drop_columns(["position"]).rename_columns(list(opened.names)),
        opened.file,
        declared=dict(zip(opened.names, opened.declared, strict=False)),
        broken=opened.broken.reasons,
        where=lambda row: f"{opened.file_unit} {opened.line_of(positions[row])}",
    )


def strip(values: pa.Array) -> pa.Array:
    """Return values as texts without white space and byte order marks at both ends; null where empty.

    Examples:
        >>> strip(pa.array([" Drama ", "", None])).to_pylist()
        ['Drama', None, None]
    """
    texts = values if pa.types.is_string(values.type) else values.cast(pa.string())
    bare = pc.utf8_trim_whitespace(pc.utf8_trim(texts, "\ufeff"))
    return pc.if_else(pc.equal(bare, ""), None, bare)


def to_numbers(values: pa.Array) -> pa.Array:
    """Return finite numbers (float64), null where a value is none."""
    numbers, errors = read_numbers(values)
    return pa.array(numbers, mask=~pc.is_null(errors).to_numpy(zero_copy_only=False))


def find_column(table: NamedTable, role: str, names: frozenset[str] = frozenset()) -> str | None:
    """Return the column of a role, None without one; ``names`` are plain names of a role that is no interaction's.

    Raises:
        DataError: Several columns have the role.
    """
    found = [
        name for name in table.columns if (plain_name(name) in names if names else names_role(name, role))
    ]
    exact = [name for name in found if plain_name(name) == plain_name(role)]
    if len(exact or found) > 1:
        every = list(table.columns)
        raise two_columns(table.file, every, [every.index(name) for name in exact or found], role)
    return next(iter(exact or found), None)


def require_column(table: NamedTable, role: str, names: frozenset[str] = frozenset()) -> str:
    """Return the column of a role.

    Raises:
        DataError: No column or several columns have the role.
    """
    found = find_column(table, role, names)
    if found is None:
        columns = ", ".join(table.columns)
        raise DataError(f"{table.file}: no {role} among {columns}. Expected this name. Rename a column")
    return found


def read_ids_of(table: NamedTable, column: str, context: TableContext) -> tuple[pa.Array, dict[str, int]]:
    """Return the IDs of a column as texts (M,), null in rows without one, and these rows by reason.

    Raises:
        BadRowError: A row has no valid ID, and invalid rows are not dropped, or the column is damaged.
    """
    values = table.columns[column]
    ids, errors = read_ids(values, context.missing)
    counts = {found["values"]: found["counts"] for found in pc.value_counts(errors.drop_null()).to_pylist()}
    damage = [reason for reason in counts if reason in DAMAGE]
    for reason in damage or (counts if context.bad_rows is None else ()):
        row = pc.index(errors, reason).as_py()
        where = f"{table.file}, {table.where(row)}, column {column}: {str(values[row].as_py())[:SHOWN]!r}"
        if damage:
            raise BadRowError(f"{where} {DAMAGE[reason]}; export the column as text")
        rows = f"{counts[reason]:,} row{'s' * (counts[reason] != 1)}"
        says = FAULTS.get(reason, "is no id")
        raise BadRowError(f"{where} {says} ({rows}): --bad-rows drop, or --missing ''")
    return ids, {"without an id" if why == spelling.NO_ID else why: n for why, n in counts.items()}


def read_seconds(table: NamedTable, column: str) -> pa.Array:
    """Return the times of a column in Unix seconds (int64), null where a row has none; they may be in 1970.

    Raises:
        DataError: The column mixes units, or its dates can be read in two ways.
    """
    try:
        seconds, errors = read_times(table.columns[column], accept={spelling.READ_AS_1970})
    except TimeError as error:
        raise DataError(
            f"{table.file}, column {column}: {error}. Expected times of one kind. Export the column again"
        ) from error
    return pa.array(seconds, mask=~pc.is_null(errors).to_numpy(zero_copy_only=False))


def check_met(listed: pa.Array, known: pa.Array, findings: Findings, *, code: str, what: str) -> int:
    """Return how many of the listed IDs are known; warn under a half of them, stop under a twentieth.

    Args:
        listed: IDs as texts.
        known: IDs as texts.
        findings: Receives the warning.
        code: Of the finding.
        what: The sentence after the share, such as ``of items have metadata``.

    Raises:
        DataError: Too few are known, and the code is not accepted.
    """
    met = int(pc.sum(pc.is_in(listed, known)).as_py() or 0)
    share = met / len(listed) if len(listed) else 1.0
    if share < _FEW_MET:
        ours, theirs = (repr(pc.min(ids).as_py()) if len(ids) else "none" for ids in (listed, known))
        findings.stop(code, f"{percent(share)} {what}: item ids {ours} here, {theirs} there")
    elif share < _MANY_MET:
        findings.warn(code, f"{percent(share)} {what}")
    return met


_FEW_MET = 0.05
_MANY_MET = 0.5
