"""The report of the intake: what every column was understood as, what was counted, and warnings with their codes."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tastevec.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable


# Of warnings, and of stops that are a judgment and may be accepted.
CODES: Final = (
    "all-positive",
    "constant-rating",
    "empty-upper-half",
    "few-positives",
    "inferred-scale",
    "no-scale",
    "no-values",
    "old-times",
    "repeated-items",
    "similar-ids",
    "sorted-file",
    "tied-times",
    "times-1970",
    "unmatched-items",
    "unmatched-tags",
    "unrated-value",
    "unused-events",
    "unused-number",
    "unused-time",
    "users-lost",
)


class ReportLine(NamedTuple):
    """One line: a column or a fact, its role, and what was found."""

    name: str
    role: str
    text: str


@dataclass(frozen=True)
class TableReport:
    """The lines of one table.

    Attributes:
        table: The name of the file or of the argument.
        summary: Rows and format.
        lines: One per column, then the facts.
    """

    table: str
    summary: str
    lines: tuple[ReportLine, ...] = ()

    def __str__(self) -> str:
        rows = [f"{self.table}  {self.summary}".rstrip()]
        name = max((len(line.name) for line in self.lines), default=0)
        role = max((len(line.role) for line in self.lines), default=0)
        rows += [f"  {line.name:<{name}}  {line.role:<{role}}  {line.text}".rstrip() for line in self.lines]
        return "\n".join(rows)


@dataclass(frozen=True)
class Finding:
    """A warning, or a stop that the caller accepted.

    Attributes:
        code: Its name, the same everywhere.
        message: One sentence.
    """

    code: str
    message: str


@dataclass(frozen=True, repr=False)
class IntakeReport:
    """What was understood of a source: printed before the work, in the manifest, and as ``prepared.report``.

    Attributes:
        tables: The tables that were read.
        warnings: What may be wrong.
    """

    tables: tuple[TableReport, ...] = ()
    warnings: tuple[Finding, ...] = ()

    def __str__(self) -> str:
        return "\n".join(
            [*map(str, self.tables), *(f"warning  {w.message} [{w.code}]" for w in self.warnings)]
        )

    __repr__ = __str__  # what `tastevec.inspect` shows in a notebook

    def mapped(self, spell: Callable[[str], str]) -> IntakeReport:
        """Return the report with another spelling of every text."""
        tables = (
            replace(table, lines=tuple(line._replace(text=spell(line.text)) for line in table.lines))
            for table in self.tables
        )
        return IntakeReport(tuple(tables), tuple(Finding(w.code, spell(w.message)) for w in self.warnings))

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "tables": [
                {"table": t.table, "summary": t.summary, "lines": [line._asdict() for line in t.lines]}
                for t in self.tables
            ],
            "warnings": [asdict(warning) for warning in self.warnings],
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> IntakeReport:
        """Return the report that `to_dict` wrote."""
        tables = (
            TableReport(t["table"], t["summary"], tuple(ReportLine(**line) for line in t["lines"]))
            for t in content["tables"]
        )
        return cls(tuple(tables), tuple(Finding(**warning) for warning in content["warnings"]))


@dataclass(eq=False)
class Findings:
    """Collects warnings; raises stops, unless the caller accepts their code.

    Attributes:
        accept: Codes of stops that become warnings.
        strict: Whether a warning stops.
        warnings: So far.
    """

    accept: frozenset[str] = frozenset()
    strict: bool = False
    warnings: list[Finding] = field(default_factory=list)

    def warn(self, code: str, message: str) -> None:
        """Add a warning.

        Raises:
            DataError: Warnings stop.
        """
        if self.strict and code not in self.accept:
            raise DataError(f"{message} ({code}: --accept {code}, or without --strict)", code=code)
        self.warnings.append(Finding(code, message))

    def stop(self, code: str, message: str) -> None:
        """Stop for a judgement that may be wrong: the caller may accept it, which leaves a warning.

        Raises:
            DataError: The caller does not accept the code.
        """
        if code not in self.accept:
            raise DataError(f"{message} (or go on: --accept {code})", code=code)
        self.warnings.append(Finding(code, message))


def percent(share: float) -> str:
    """Return a share as a percentage with one decimal.

    Examples:
        >>> percent(0.606), percent(1.0), percent(0.00001)
        ('60.6 %', '100 %', 'under 0.1 %')
    """
    if 0 < share < 0.001:  # noqa: PLR2004  one decimal of a percent
        return "under 0.1 %"
    if share == 1:
        return "100 %"
    return f"{100 * share:.1f} %" if share < 0.9995 else "over 99.9 %"  # noqa: PLR2004  as above


def too_many(bad: int, rows: int, limit: float) -> str:
    """Return that more rows are bad than the limit, and the next limit."""
    enough = min(5 * math.ceil(20 * bad / rows), 100)
    return f"{100 * bad / rows:.1f} % of rows are bad, more than {100 * limit:g} %: --bad-rows drop:{enough}%"


def number(value: float) -> str:
    """Return a number as a reader writes it.

    Examples:
        >>> number(5.0), number(69319), number(0.55), number(-1)
        ('5', '69,319', '0.55', '-1')
    """
    if float(value).is_integer() and abs(value) < 1e15:  # noqa: PLR2004  exact in a double
        return f"{int(value):,}"
    return f"{value:.6g}"
