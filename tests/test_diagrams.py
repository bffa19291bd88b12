"""The drawings of the documentation are those that the project's own script makes."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DRAWINGS = runpy.run_path(str(ROOT / "scripts" / "diagrams.py"))["drawings"]()


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_is_what_the_script_draws(name):
    """If not: python scripts/diagrams.py."""
    assert (ROOT / "docs" / "pictures" / name).read_text(encoding="utf-8") == DRAWINGS[name]


def test_every_drawing_is_shown():
    page = (ROOT / "docs" / "how-it-works.md").read_text(encoding="utf-8")
    assert [name for name in DRAWINGS if f"](pictures/{name})" not in page] == []
