"""One HTML page without network access, and the charts in it."""

from __future__ import annotations

import base64
import html
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tastevec.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def html_page(title: str, *, facts: Sequence[tuple[str, str]], body: str, width: int = 46) -> str:
    """Return a page with a heading, (label, value) facts in large type, and the HTML ``body``, at most ``width`` rem wide."""
    shown = "".join(
        f"<div><dt>{html.escape(label)}</dt><dd>{html.escape(value)}</dd></div>" for label, value in facts
    )
    return _PAGE.format(title=html.escape(title), facts=shown, body=body, width=width)


def figure_html(chart: Chart) -> str:
    """Return a chart as an image of its own, so that the ids in two SVG files cannot collide."""
    data = base64.b64encode(chart.svg).decode("ascii")
    caption = html.escape(chart.caption)
    return (
        f'<figure id="{chart.name}"><h2>{html.escape(chart.title)}</h2>'
        f'<img alt="{caption}" src="data:image/svg+xml;base64,{data}"><figcaption>{caption}</figcaption></figure>'
    )


# Charts are dark on white, so their cards stay white in the dark theme.
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
  :root {{ color-scheme: light dark; --paper: #fbfcfd; --ink: #1f2933; --muted: #5f6b78; --line: #e6eaee; --first: #eaf3f8 }}
  @media (prefers-color-scheme: dark) {{
    :root {{ --paper: #14191f; --ink: #e4e9ee; --muted: #9aa7b4; --line: #2c353f; --first: #1b2f3b }}
  }}
  body {{ margin: 0 auto; max-width: {width}rem; padding: 2rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
         font: 17px/1.55 system-ui, sans-serif }}
  h1 {{ font-size: 1.7rem; font-weight: 600; margin: 0 0 1.2rem }}
  h2 {{ font-size: 1.05rem; font-weight: 600; margin: 0 0 .6rem }}
  dl {{ display: flex; flex-wrap: wrap; gap: .5rem 2.2rem; margin: 0 0 2rem }}
  dt {{ color: var(--muted); font-size: .85rem }}
  dd {{ margin: 0; font-size: 1.35rem; font-variant-numeric: tabular-nums }}
  figure {{ margin: 0 0 1.6rem; padding: 1.2rem 1.3rem; background: #fff; color: #1f2933; border: 1px solid var(--line);
           border-radius: 8px }}
  img {{ display: block; width: 100%; height: auto }}
  figcaption {{ margin-top: .7rem; color: #47525e; font-size: .95rem }}
  section {{ margin: 0 0 2rem }}
  section p {{ margin: 0 0 .6rem; color: var(--muted); font-size: .95rem }}
  .wide {{ overflow-x: auto }}
  table {{ border-collapse: collapse; font-size: .84rem; line-height: 1.35; font-variant-numeric: tabular-nums; width: 100% }}
  th, td {{ padding: .32rem .6rem .32rem 0; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap;
           font-weight: normal }}
  thead th {{ color: var(--muted); white-space: normal; vertical-align: bottom }}
  td.text {{ min-width: 17rem; text-align: left; white-space: normal }}
  th:first-child {{ text-align: left; padding-left: .4rem }}
  tr.model {{ background: var(--first) }}
  tr.model th, tr.model td {{ font-weight: 600 }}
  td small {{ color: var(--muted); font-weight: normal }}
</style>
<h1>{title}</h1>
<dl>{facts}</dl>
{body}
</html>
"""


INK: Final = "#1f2933"
MUTED: Final = "#6b7785"
GRID: Final = "#e6eaee"
SIZE: Final = (7.2, 3.4)  # inches


@dataclass(frozen=True)
class Chart:
    """An SVG image with its title, a caption with the key number, and ``name``, the anchor on the page."""

    name: str
    title: str
    caption: str
    svg: bytes

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Return the chart with its caption, for notebooks."""
        return {
            "text/html": figure_html(self),
            "image/svg+xml": self.svg.decode("utf-8"),
            "text/plain": self.caption,
        }


def draw_chart(name: str, title: str, draw: Callable[[Figure], str]) -> Chart:
    """Return a chart; ``draw`` fills an empty figure and returns the caption.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415 - an extra that only charts need
        from matplotlib import figure as figures  # noqa: PLC0415 - as above
    except ImportError as error:
        raise MissingExtraError("matplotlib", "describe") from error
    # A fixed salt and no date: equal numbers give equal bytes. Pyplot would store the figure in global state.
    with mpl.rc_context({"svg.hashsalt": name, "font.size": 10, "text.color": INK, "axes.labelcolor": MUTED}):
        figure = figures.Figure(figsize=SIZE, layout="constrained")
        caption = draw(figure)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return Chart(name=name, title=title, caption=caption, svg=file.getvalue())


def style_axes(axes: Axes) -> Axes:
    """Return the axes with a baseline and a light grid only."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
    axes.tick_params(which="both", colors=MUTED, length=0, pad=6)
    axes.grid(axis="y", color=GRID)
    axes.set_axisbelow(True)
    return axes
