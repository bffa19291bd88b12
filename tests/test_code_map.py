"""The code map agrees with the modules and the import contracts."""

import tomllib
from pathlib import Path

import layout

ROOT = Path(__file__).parents[1]


def test_page_is_up_to_date():
    assert layout.PAGE.read_text() == layout.page(), "run: python scripts/layout.py"


def test_packages_are_in_the_order_of_the_import_contracts():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [layers] = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    ordered = [name.removeprefix("tastevec.") for layer in layers for name in layer.split(" | ")]
    rooms = {path.parent.name for path in layout.SOURCE.glob("*/__init__.py")}
    assert [name for name in ordered if name in rooms] == list(layout.ROOMS)


def test_first_lines_of_modules_are_sentences_and_unique():
    descriptions = [line.partition("`: ")[2] for line in layout.page().splitlines() if line.startswith("- `")]
    assert all(line.endswith(".") for line in descriptions)
    assert len(set(descriptions)) == len(descriptions)
