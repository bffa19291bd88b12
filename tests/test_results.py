"""What README says was measured is what the saved results say."""

import json
from pathlib import Path

import pytest
from rendering import PAGES, rendered

SAVED = sorted((Path(__file__).parents[1] / "results").glob("*.json"))


@pytest.mark.parametrize("saved", SAVED, ids=lambda path: path.stem)
def test_what_the_pages_show_is_what_was_saved(saved):
    pages = "".join(page.read_text() for page in PAGES)
    assert rendered(json.loads(saved.read_text())) in pages


def test_there_are_saved_numbers():
    assert SAVED
