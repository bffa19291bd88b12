"""The page of where things are: every room of src/tastevec with its modules, in the words of their own docstrings.

``python scripts/layout.py`` writes docs/layout.md again; a test compares the page with the tree.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "layout.md"
SOURCE = ROOT / "src" / "tastevec"
# As the import contracts in pyproject.toml order them: a room sees only those behind it.
ROOMS = ("cli", "pipelines", "serving", "training", "model", "evaluation", "items", "data")

_HEAD = """# Where things are

`src/tastevec` is a row of rooms. Each sees only the rooms after it in this list; import contracts hold that, and `make check` tests them. `model` stands alone, so that it can travel with its weights; `data`,
`items` and `evaluation` know no torch.

Beside it: `tests` has a folder a room; `benchmarks` measures, into `results`, which the pages show; `scripts` makes the demo and the pages that are made; `deploy` starts the service elsewhere; `docs/decisions` says
why, with what was measured. How to add a release, an item vector, a loss or a baseline: `CONTRIBUTING.md`.

(Made by `python scripts/layout.py` from the first line of each module.)
"""


def page() -> str:
    """The whole page, in Markdown."""
    parts = [_HEAD, f"## tastevec\n\n{_said(SOURCE)}\n\n{_modules(SOURCE)}\n"]
    for room in ROOMS:
        folder = SOURCE / room
        parts.append(f"## {room}\n\n{_said(folder)}\n\n{_modules(folder)}\n")
        parts += [
            f"### {room}/{inner.name}\n\n{_said(inner)}\n\n{_modules(inner)}\n"
            for inner in sorted(path.parent for path in folder.glob("*/__init__.py"))
        ]
    return "\n".join(parts)


def _modules(folder: Path) -> str:
    modules = sorted(path for path in folder.glob("*.py") if not path.stem.startswith("__"))
    return "\n".join(f"- `{path.stem}`: {_first_line(path)}" for path in modules)


def _said(folder: Path) -> str:
    return _first_line(folder / "__init__.py")


def _first_line(path: Path) -> str:
    told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return told.split("\n", maxsplit=1)[0].replace("``", "`")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
