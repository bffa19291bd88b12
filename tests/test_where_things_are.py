"""The page of where things are is what the tree and the import contracts say."""

import tomllib
from pathlib import Path

import layout

ROOT = Path(__file__).parents[1]


def test_the_page_is_what_the_modules_say_of_themselves():
    assert layout.PAGE.read_text() == layout.page(), "run: python scripts/layout.py"


def test_every_room_stands_on_it_in_the_order_in_which_rooms_see_each_other():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [layers] = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    ordered = [name.removeprefix("tastevec.") for layer in layers for name in layer.split(" | ")]
    rooms = {path.parent.name for path in layout.SOURCE.glob("*/__init__.py")}
    assert [name for name in ordered if name in rooms] == list(layout.ROOMS)


def test_every_module_says_in_one_line_what_it_is_and_no_two_the_same():
    said = [line.partition("`: ")[2] for line in layout.page().splitlines() if line.startswith("- `")]
    assert all(words.endswith(".") for words in said)
    assert len(set(said)) == len(said)
