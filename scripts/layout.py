"""The code map: every package of src/tastevec with its modules and the first line of their docstrings.

``python scripts/layout.py`` writes docs/layout.md; a test compares the page with the tree.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "layout.md"
SOURCE = ROOT / "src" / "tastevec"
# In the order of the import contracts in pyproject.toml: a package imports only from those after it.
ROOMS = ("cli", "pipelines", "serving", "training", "model", "evaluation", "items", "data")

_HEAD = """# Code map

The packages of `src/tastevec`. Each imports only from those after it in this list; import contracts test it (`make check`). `model` imports no other package, because its code is copied into model folders. `data`,
`items` and `evaluation` do not import torch.

Other folders: `tests` (one folder per package), `benchmarks` (writes `results`), `scripts` (the demo and the generated pages), `deploy` (the service in a container), `docs/decisions` (decisions and the measurements behind
them). How to add a release, an item vector, a loss or a baseline: `CONTRIBUTING.md`.

`python scripts/layout.py` generates this page from the first line of each module.
"""


def page() -> str:
    """Return the page in Markdown."""
    parts = [_HEAD, f"## tastevec\n\n{_description(SOURCE)}\n\n{_modules(SOURCE)}\n"]
    for room in ROOMS:
        folder = SOURCE / room
        parts.append(f"## {room}\n\n{_description(folder)}\n\n{_modules(folder)}\n")
        parts += [
            f"### {room}/{inner.name}\n\n{_description(inner)}\n\n{_modules(inner)}\n"
            for inner in sorted(path.parent for path in folder.glob("*/__init__.py"))
        ]
    return "\n".join(parts)


def _modules(folder: Path) -> str:
    modules = sorted(path for path in folder.glob("*.py") if not path.stem.startswith("__"))
    return "\n".join(f"- `{path.stem}`: {_first_line(path)}" for path in modules)


def _description(folder: Path) -> str:
    return _first_line(folder / "__init__.py")


def _first_line(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.split("\n", maxsplit=1)[0].replace("``", "`")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
