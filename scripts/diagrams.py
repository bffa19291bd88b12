"""The diagrams of docs/how-it-works.md, as SVG without external fonts or scripts; nothing in them is measured.

``python scripts/diagrams.py`` writes them into docs/pictures; a test compares.
"""

from __future__ import annotations

import html
from pathlib import Path

HERE = Path(__file__).parent.parent / "docs" / "pictures"
INK, PALE, USER, ITEM = "#22262e", "#8a919e", "#d9822b", "#3f74c4"
_STYLE = (
    f"text{{font:15px sans-serif;fill:{INK}}} .small{{font-size:12.5px;fill:#565d69}} .strong{{font-weight:600}} "
    f".box{{fill:#f4f5f7;stroke:#c9ced6}} .line{{stroke:{PALE};stroke-width:1.6;fill:none}}"
)
_STARS = 5


def main() -> None:
    """Write every diagram."""
    HERE.mkdir(exist_ok=True)
    for name, drawing in drawings().items():
        (HERE / name).write_text(drawing, encoding="utf-8")


def drawings() -> dict[str, str]:
    """Return the content of each file by name."""
    return {"idea.svg": _idea(), "two-horizons.svg": _two_horizons(), "path.svg": _path()}


def _sheet(width: int, height: int, title: str, *parts: str) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">\n<title>{html.escape(title)}</title>\n'
        f'<style>{_STYLE}</style>\n<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        f'orient="auto"><path d="M0 0 8 4 0 8Z" fill="{PALE}"/></marker></defs>\n'
        f'<rect width="{width}" height="{height}" rx="10" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}">{html.escape(words)}</text>'


def _box(x: float, y: float, width: float, height: float, *lines: str) -> str:
    """Return a box with a bold first line and small ones under it, all centered."""
    top = y + height / 2 - 9 * (len(lines) - 1) + 5
    words = [
        _text(x + width / 2, top + 19 * row, line, "small" if row else "strong", "middle")
        for row, line in enumerate(lines)
    ]
    return "\n".join(
        [f'<rect class="box" x="{x}" y="{y}" width="{width}" height="{height}" rx="8"/>', *words]
    )


def _arrow(*points: tuple[float, float]) -> str:
    path = " ".join(f"{x} {y}" for x, y in points)
    return f'<path class="line" d="M{path}" marker-end="url(#tip)"/>'


def _dot(x: float, y: float, color: str, size: float = 6) -> str:
    return f'<circle cx="{x}" cy="{y}" r="{size}" fill="{color}"/>'


def _rated(x: float, y: float, title: str, stars: int) -> str:
    """Return an item of a history, with its rating as stars."""
    shown = "★" * stars + "☆" * (_STARS - stars)
    return "\n".join(
        [
            f'<rect class="box" x="{x}" y="{y}" width="200" height="34" rx="6"/>',
            _text(x + 10, y + 22, title),
            _text(x + 190, y + 22, shown, "small", "end"),
        ]
    )


def _idea() -> str:
    """A person's films become a point among all films."""
    history = [("Alien", 5), ("Heat", 4), ("Titanic", 2), ("Blade Runner", 5)]
    cards = [_rated(24, 70 + 44 * row, title, stars) for row, (title, stars) in enumerate(history)]
    items = [
        (640, 90),
        (700, 70),
        (760, 110),
        (610, 150),
        (820, 210),
        (850, 90),
        (790, 250),
        (600, 230),
        (660, 250),
        (860, 160),
    ]
    near = [(700, 150, "a nearby item: recommended"), (735, 185, "")]
    return _sheet(
        920,
        310,
        "The encoder maps a user's history to a vector in the item embedding space",
        _text(24, 40, "A user's history", "strong"),
        *cards,
        _text(24, 270, "oldest first; item vectors and ratings", "small"),
        _arrow((230, 152), (278, 152)),
        _box(282, 112, 194, 80, "Encoder", "reads item vectors and ratings", "stores nothing about users"),
        _arrow((480, 152), (550, 152)),
        _text(515, 140, "64 dimensions", "small", "middle"),
        '<rect class="box" x="556" y="20" width="344" height="270" rx="10"/>',
        _text(572, 46, "Item embedding space", "strong"),
        *(_dot(x, y, ITEM, 5) for x, y in items),
        *(f'<path class="line" d="M676 176 {x} {y}" stroke-dasharray="4 4"/>' for x, y, _ in near),
        *(_dot(x, y, ITEM, 7) for x, y, _ in near),
        _dot(676, 176, USER, 9),
        _text(660, 200, "the user", "", "end"),
        _text(714, 146, near[0][2], "small"),
        _text(572, 280, "nearby users are similar; a tag is a direction", "small"),
    )


def _two_horizons() -> str:
    """Return the diagram of the horizons next and overall."""
    return _sheet(
        920,
        300,
        "Two horizons: next, from the ordered history, and overall, from the set of rated items",
        _box(24, 110, 170, 80, "A user's history", "items, ratings, times"),
        _arrow((198, 135), (230, 75), (258, 75)),
        _arrow((198, 165), (230, 225), (258, 225)),
        _box(262, 35, 240, 80, "Causal transformer", "reads items in order,", "with the time gaps"),
        _box(262, 185, 240, 80, "Closed form", "item regressions,", "factors, popularity"),
        _arrow((506, 75), (546, 75)),
        _arrow((506, 225), (546, 225)),
        _arrow((440, 185), (440, 140), (546, 105)),
        _box(550, 35, 140, 80, "scores", "weighted sum"),
        _box(550, 185, 140, 80, "scores", "weighted sum"),
        _arrow((694, 75), (736, 75)),
        _arrow((694, 225), (736, 225)),
        _box(740, 35, 160, 80, "next", "likely next item"),
        _box(740, 185, 160, 80, "overall", "long-term preferences"),
        _text(715, 156, "one vector whose top list is that of the scores", "small", "middle"),
    )


def _path() -> str:
    """Return the diagram of the commands from ratings to recommendations."""
    steps = [
        ("prepare", "rows validated,", "users split"),
        ("train", "70 % of users; 15 % for", "validation (epoch)"),
        ("evaluate", "15 % held-out users,", "against baselines"),
    ]
    uses = ["encode", "recommend", "explain", "similar", "serve"]
    boxes = [_box(24 + 226 * index, 30, 190, 80, *lines) for index, lines in enumerate(steps)]
    arrows = [_arrow((218 + 226 * index, 70), (246 + 226 * index, 70)) for index in range(2)]
    small = [_box(250 + 128 * index, 205, 114, 46, name) for index, name in enumerate(uses)]
    return _sheet(
        920,
        280,
        "The commands, from ratings to recommendations",
        *boxes,
        *arrows,
        _arrow((345, 114), (345, 152)),
        _text(345, 170, "model folder", "strong", "middle"),
        _arrow((345, 178), (345, 189)),
        '<rect class="line" x="240" y="193" width="656" height="70" rx="12" stroke-dasharray="4 4"/>',
        *small,
        _text(24, 225, "any users,", ""),
        _text(24, 245, "new ones too", ""),
        _arrow((130, 228), (236, 228)),
        _text(704, 64, "test users are not", "small"),
        _text(704, 82, "in the training data", "small"),
    )


if __name__ == "__main__":
    main()
