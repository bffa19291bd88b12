"""Rows judged by Spark one by one, refused or set aside, with every one of them accounted for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tastevec.data.readers.text import STRAY, show
from tastevec.data.readers.validate import RowAccount
from tastevec.data.spark.findings import Findings
from tastevec.data.spark.storage import reader
from tastevec.data.spark.verdicts import NOTHING, STRAYS, WHOLE_ROW, with_verdict
from tastevec.errors import BadRowError, SourceError
from tastevec.schema import ITEM_ID, POSITION, RATING, TIMESTAMP, USER_ID

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import DataFrame, Row

    from tastevec.data.readers.columns import Column
    from tastevec.data.spark.engine import SparkEngine
    from tastevec.data.spark.rows import FoundRows

__all__ = ["JudgedRows", "judge"]

_EXAMPLES = 5
_REPEATED: Final = "duplicate"


@dataclass(frozen=True)
class JudgedRows:
    """What is left of the rows.

    Attributes:
        frame: user_id, item_id (bigint or text), rating, timestamp, and position: the row's place in the source.
        whole: By role, whether every id is a whole number in its own writing.
        account: Where every row went.
    """

    frame: DataFrame
    whole: dict[str, bool]
    account: RowAccount


def judge(
    engine: SparkEngine, rows: FoundRows, columns: Sequence[Column], *, skip_bad_rows: bool
) -> JudgedRows:
    """Judge every row, once: what is found is written to the shared folder, and all that follows reads it there.

    Args:
        engine: What runs it.
        rows: The rows as text.
        columns: What is taken out of them; user, item and rating are among them.
        skip_bad_rows: Whether bad rows are set aside instead of refused.

    Raises:
        BadRowError: A row is bad and bad rows are not skipped.
        SourceError: There is no good row.
    """
    address = engine.fresh("judged")
    verdict = with_verdict(rows, columns)
    written = engine.write(verdict, address)
    judged = reader(engine.session).schema(verdict.schema).parquet(address)
    found = Findings.of(judged)
    engine.refuse_loss(written, sum(group.rows for group in found.groups))
    placed = judged.join(engine.lend(found.shifts()).hint("broadcast"), ["file", "block"]).selectExpr(
        "*", f"row + shift AS {POSITION}"
    )
    good = placed.where("fault IS NULL").select(USER_ID, ITEM_ID, RATING, TIMESTAMP, POSITION)
    repeated = _repeated(engine, good)
    counts = found.reasons | ({_REPEATED: repeated.count} if repeated.count else {})
    told = (
        [_describe(rows, columns, found, row) for row in _examples(placed, good, repeated)] if counts else []
    )
    account = RowAccount(
        rows.file,
        found.rows,
        found.rows - sum(counts.values()),
        dict(sorted(counts.items())),
        tuple(told),
        rows.encoding,
    )
    _refuse(account, skip_bad_rows=skip_bad_rows)
    return JudgedRows(repeated.without(good), found.whole, account)


def _examples(placed: DataFrame, good: DataFrame, repeated: _Repeated) -> list[Row]:
    """The first bad rows, in the order of the source."""
    faulty = placed.where(f"fault <> '{NOTHING}'").orderBy(POSITION).limit(_EXAMPLES).collect()
    return sorted([*faulty, *repeated.examples(good)], key=lambda row: row[POSITION])[:_EXAMPLES]


@dataclass(frozen=True)
class _Repeated:
    """Pairs of a person and a film that occur more than once, with the place at which they came first."""

    pairs: DataFrame | None
    count: int

    def examples(self, good: DataFrame) -> list[Row]:
        if self.pairs is None:
            return []
        found = (
            good.join(self.pairs, [USER_ID, ITEM_ID])
            .where(f"{POSITION} > earlier")
            .orderBy(POSITION)
            .limit(_EXAMPLES)
        )
        shown = f"array(CAST(earlier AS STRING), CAST({USER_ID} AS STRING), CAST({ITEM_ID} AS STRING))"
        return found.selectExpr(
            POSITION, f"'{WHOLE_ROW}:{_REPEATED}' AS fault", f"{shown} AS shown"
        ).collect()

    def without(self, good: DataFrame) -> DataFrame:
        """The good rows that come first."""
        if self.pairs is None:
            return good
        joined = good.join(self.pairs, [USER_ID, ITEM_ID], "left").where(
            f"earlier IS NULL OR {POSITION} = earlier"
        )
        return joined.drop("earlier")


def _repeated(engine: SparkEngine, good: DataFrame) -> _Repeated:
    from pyspark.sql.functions import expr  # noqa: PLC0415  an extra

    pairs = good.groupBy(USER_ID, ITEM_ID).agg(expr("count(*) AS rows"), expr(f"min({POSITION}) AS earlier"))
    address = engine.fresh("repeated")
    pairs.where("rows > 1").write.parquet(address)
    pairs = reader(engine.session).parquet(address)
    (count,) = pairs.selectExpr("coalesce(sum(rows - 1), 0) AS count").collect()[0]
    return _Repeated(pairs.drop("rows") if count else None, count)


def _describe(rows: FoundRows, columns: Sequence[Column], found: Findings, row: Row) -> str:
    """One bad row as what was found, where, and what was expected; in the words of ``readers.rows``."""
    number, _, reason = row.fault.partition(":")
    unit = "row" if rows.encoding == "parquet" else "line"
    name, line = found.file_of(row[POSITION])
    where = f"{name} {unit} {line}"
    if reason == _REPEATED:
        earlier, *values = row.shown
        first_name, first = found.file_of(int(earlier))
        place = f"{unit} {first}" if first_name == name else f"{first_name} {unit} {first}"
        return f"{where}: {', '.join(values)} was there on {place}; expected it once"
    if int(number) == WHOLE_ROW:
        return f"{where}: {_as_it_stood(row.shown[0])} has {reason}; expected {len(rows.names)}: {', '.join(rows.names)}"
    column = columns[int(number)]
    what = f"is no text ({reason})" if reason in STRAYS else f"is {reason}"
    return f"{where}, column {column.name}: {_as_it_stood(row.shown[int(number) + 1])} {what}; expected {column.kind.expected}"


def _refuse(account: RowAccount, *, skip_bad_rows: bool) -> None:
    bad = sum(account.set_aside.values())
    if bad and not skip_bad_rows:
        others = f" ({bad} bad rows in all)" if bad > 1 else ""
        raise BadRowError(
            f"{account.examples[0]}{others}; correct the file or run again with --skip-bad-rows"
        )
    if not account.rows_kept:
        raise SourceError(
            f"{account.file} has {account.rows_read} rows and none of them is good; expected interactions; "
            f"{'; '.join(account.examples[:1]) or 'export it again, then rerun'}"
        )


def _as_it_stood(text: str | None) -> str:
    """As the other engine shows it, whose readers mark a stray carriage return as they mark every byte that no text holds."""
    return show(text and text.replace("\r", f"{STRAY}0d"))
