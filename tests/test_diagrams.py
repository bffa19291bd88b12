"""The diagrams of the documentation are those of scripts/diagrams.py."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DRAWINGS = runpy.run_path(str(ROOT / "scripts" / "diagrams.py"))["drawings"]()


@pytest.mark.parametrize("name", DRAWINGS)
def test_diagram_is_up_to_date(name):
    """If not: python scripts/diagrams.py."""
    assert (ROOT / "docs" / "pictures" / name).read_text(encoding="utf-8") == DRAWINGS[name]


def test_each_diagram_is_on_the_page():
    page = (ROOT / "docs" / "how-it-works.md").read_text(encoding="utf-8")
    assert [name for name in DRAWINGS if f"](pictures/{name})" not in page] == []
