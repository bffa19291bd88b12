"""How every picture of ours is drawn: one look, the same bytes from the same numbers, and no global state."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tastevec.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["GRID", "INK", "MUTED", "SIZE", "Picture", "drawn", "styled"]

INK: Final = "#1f2933"
MUTED: Final = "#6b7785"
GRID: Final = "#e6eaee"
SIZE: Final = (7.2, 3.4)  # inches


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        name: A short name, for the page's anchors.
        title: What it is about.
        caption: What it shows, in a sentence with its key number.
        svg: The drawing.
    """

    name: str
    title: str
    caption: str
    svg: bytes

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """What a notebook shows: the picture with its caption; a program finds the drawing and the caption apart."""
        from tastevec.data.page import as_figure  # noqa: PLC0415 - only a notebook asks

        return {
            "text/html": as_figure(self),
            "image/svg+xml": self.svg.decode("utf-8"),
            "text/plain": self.caption,
        }


def drawn(name: str, title: str, draw: Callable[[Figure], str]) -> Picture:
    """A picture: ``draw`` fills an empty figure and answers with the caption.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415 - an extra that only pictures need
        from matplotlib import figure as figures  # noqa: PLC0415 - as above
    except ImportError as error:
        raise MissingExtraError("matplotlib", "describe") from error
    # A fixed salt and no date: the same numbers give the same bytes. Pyplot would keep the figure in global state.
    with mpl.rc_context({"svg.hashsalt": name, "font.size": 10, "text.color": INK, "axes.labelcolor": MUTED}):
        figure = figures.Figure(figsize=SIZE, layout="constrained")
        caption = draw(figure)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return Picture(name=name, title=title, caption=caption, svg=file.getvalue())


def styled(axes: Axes) -> Axes:
    """The same axes with a baseline and a faint grid, and nothing else around the data."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
    axes.tick_params(which="both", colors=MUTED, length=0, pad=6)
    axes.grid(axis="y", color=GRID)
    axes.set_axisbelow(True)
    return axes
