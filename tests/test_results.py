"""What README says was measured is what the saved results say."""

import json
import re
from pathlib import Path

import bench
import beside_roofs
import pytest
from headline_rendering import rendered_headline
from rendering import PAGES, rendered
from table import HEADLINE

ROOT = Path(__file__).parents[1]
SAVED = sorted((ROOT / "results").glob("*.json"))
SPEED = ROOT / "docs" / "speed.md"


@pytest.mark.parametrize("saved", SAVED, ids=lambda path: path.stem)
def test_what_the_pages_show_is_what_was_saved(saved):
    pages = "".join(page.read_text() for page in PAGES)
    assert rendered(json.loads(saved.read_text())) in pages


def test_the_readme_shows_the_headline_of_the_saved_table():
    saved = json.loads((ROOT / "results" / f"{HEADLINE}.json").read_text())
    assert rendered_headline(saved) in (ROOT / "README.md").read_text()


def test_there_are_saved_numbers():
    assert SAVED


def test_the_page_on_speed_holds_no_measured_number_that_is_not_rendered():
    own = re.sub(r"<!-- (\S+) -->.*?<!-- /\1 -->", "", SPEED.read_text(), flags=re.DOTALL)
    assert re.findall(r"\d[\d.,]*\s*(?:%|s|ms|minutes|MB|GB|GiB|times|people/s|GFLOP)\b", own) == []


def test_what_stands_beside_the_roofs_is_what_was_saved_of_stages_and_roofs():
    saved = ROOT / "results" / "bench-limits.json"
    if saved.exists():
        assert json.loads(saved.read_text()) == beside_roofs.limits(beside_roofs.saved_parts())


def test_every_benchmark_has_its_script_and_its_place_on_a_page():
    pages = "".join(page.read_text() for page in PAGES)
    for part in bench.PARTS:
        assert (ROOT / "benchmarks" / f"{part}.py").exists()
        assert f"<!-- bench-{part} -->" in pages
