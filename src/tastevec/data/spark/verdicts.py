"""The verdict on each row, as SQL that Spark runs: its values, its first fault, and its texts where it has one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tastevec.data.readers.text import STRAY
from tastevec.schema import TIMESTAMP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import DataFrame

    from tastevec.data.readers.columns import Column
    from tastevec.data.spark.rows import FoundRows

__all__ = ["NOTHING", "STRAYS", "WHOLE_ROW", "with_verdict"]

_SHOWN = 200  # characters of a text that a message may show
WHOLE_ROW: Final = -1  # the column of a fault that is of no one column
NOTHING: Final = "nothing"  # the fault of a header or a blank line: there is no row
# Each with the SQL that finds it in a field, and in a row: what UTF-8 cannot read becomes U+FFFD in the fields.
STRAYS: Final = {
    "NUL byte": ("contains({t}, '\\u0000')", "contains(text, '\\u0000')"),
    "stray carriage return": ("contains({t}, '\\r')", "contains(text, '\\r')"),
    "undecodable byte": (
        f"undecodable AND contains({{t}}, '\ufffd') OR contains({{t}}, '{STRAY}')",
        f"undecodable OR contains(text, '{STRAY}')",
    ),
}


def with_verdict(rows: FoundRows, columns: Sequence[Column]) -> DataFrame:
    """Each row's values, its first fault as ``column:reason``, and its texts where it has one."""
    place, numbers = ("file", "block", "row"), range(len(columns))
    texts = [f"get(fields, {column.place}) AS t{number}" for number, column in enumerate(columns)]
    values = [
        f"{column.kind.value.replace('{t}', f't{number}')} AS v{number}"
        for number, column in enumerate(columns)
    ]
    strays = "coalesce(encode(text, 'UTF-8') <> CAST(text AS BINARY), false) AS undecodable"
    frame = rows.frame.selectExpr(*place, "text", "array_size(fields) AS width", *texts, strays)
    frame = frame.selectExpr("*", *values)
    frame = frame.selectExpr("*", f"CASE {_faults(rows, columns)} END AS fault")
    named = {column.role: f"v{number}" for number, column in enumerate(columns)}
    named.setdefault(TIMESTAMP, "CAST(NULL AS BIGINT)")
    shown = ", ".join(f"left({name}, {_SHOWN})" for name in ("text", *(f"t{number}" for number in numbers)))
    return frame.selectExpr(
        *(*place, "fault"),
        *(f"{value} AS {role}" for role, value in named.items()),
        f"CASE WHEN fault <> '{NOTHING}' THEN array({shown}) END AS shown",
    )


def _faults(rows: FoundRows, columns: Sequence[Column]) -> str:
    """The branches of a CASE, as ``readers.rows`` has them: the row's shape, then stray bytes, then each column's own."""
    width, numbers = len(rows.names), range(len(columns))
    branches = [
        f"WHEN text IS NULL THEN '{NOTHING}'",
        _branch("width IS NULL", WHOLE_ROW, "broken quotes"),
        _branch(f"width < {width}", WHOLE_ROW, "too few columns"),
        _branch(f"width > {width}", WHOLE_ROW, "too many columns"),
    ]
    strays = []
    for reason, (in_field, in_row) in STRAYS.items():
        strays += [_branch(in_field.replace("{t}", f"t{number}"), number, reason) for number in numbers]
        strays.append(_branch(in_row, WHOLE_ROW, reason))
    anywhere = " OR ".join(in_row for _, in_row in STRAYS.values())
    branches.append(f"WHEN {anywhere} THEN CASE {' '.join(strays)} END")
    for number, column in enumerate(columns):
        for reason, condition in column.kind.faults:
            asked = condition.replace("{t}", f"t{number}").replace("{v}", f"v{number}")
            branches.append(_branch(asked, number, reason))
    return " ".join(branches)


def _branch(condition: str, number: int, reason: str) -> str:
    return f"WHEN {condition} THEN '{number}:{reason}'"
