"""Tables in Markdown, as every page shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["markdown_table"]


def markdown_table(lines: Sequence[Sequence[str]]) -> str:
    """The lines as a table, of which the first names the columns."""
    head, *rows = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([head, "|---" * len(lines[0]) + "|", *rows])
