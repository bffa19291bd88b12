"""What README says was measured is what the saved results say."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("table", ROOT / "benchmarks" / "table.py")
table = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(table)
SAVED = sorted((ROOT / "results").glob("*.json"))


@pytest.mark.parametrize("saved", SAVED, ids=lambda path: path.stem)
def test_what_the_pages_show_is_what_was_saved(saved):
    pages = "".join(page.read_text() for page in table.PAGES)
    assert table.rendered(json.loads(saved.read_text())) in pages


def test_there_are_saved_numbers():
    assert SAVED
