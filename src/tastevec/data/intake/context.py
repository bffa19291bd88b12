"""The context of one table of interactions: what is read, where it runs, what is stated, and what was found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import ibis

    from tastevec.data.intake.engine import Engine
    from tastevec.data.intake.report import Findings
    from tastevec.data.intake.settings import IntakeSettings
    from tastevec.data.intake.tables import OpenTable
    from tastevec.data.value_scale import ValueScale
    from tastevec.schema import FeedbackKind


@dataclass(frozen=True)
class Context:
    """What every step of the intake reads.

    Attributes:
        opened: The table.
        raw: All its rows, as `Opened.raw`.
        engine: Where expressions run.
        settings: What the caller states.
        findings: Receives warnings; raises stops.
        rating_range: The range of ratings of a known release; None where it is inferred.
        model: The scale of a trained model whose users these are; None where a model is to learn from them.
        events: Weights of events that the model knows; stated ones come before them.
    """

    opened: OpenTable
    raw: ibis.Table
    engine: Engine
    settings: IntakeSettings
    findings: Findings
    rating_range: tuple[float, float] | None = None
    model: ValueScale | None = None
    events: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """The table in messages."""
        return self.opened.file

    def row(self, table: ibis.Table) -> dict[str, Any]:
        """Return the only row of an aggregation."""
        [found] = self.engine.fetch(table).to_pylist()
        return dict(found)


@dataclass(frozen=True)
class Columns:
    """The columns of a table of interactions.

    Attributes:
        names: All of them.
        roles: The index of each role's column.
        kind: The kind of feedback.
        value_role: The role of the column with the value; None where every row has the same.
        ignored: Why a column that has a role is not read, by name.
    """

    names: tuple[str, ...]
    roles: dict[str, int]
    kind: FeedbackKind
    value_role: str | None
    ignored: dict[str, str] = field(default_factory=dict)

    def name(self, role: str) -> str:
        """Return the name of a role's column."""
        return self.names[self.roles[role]]

    @property
    def value_name(self) -> str | None:
        """The name of the column with the value."""
        return None if self.value_role is None else self.name(self.value_role)
