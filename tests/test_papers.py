"""The papers beside the code: how to cite it, how safe it is, and what it stands on."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
SECURITY = (ROOT / "SECURITY.md").read_text()


def test_the_citation_has_what_its_format_asks_for_and_agrees_with_the_package():
    assert {"cff-version", "message", "title", "authors"} <= set(CITATION)
    assert CITATION["cff-version"] == "1.2.0"
    assert CITATION["type"] == "software"
    assert str(CITATION["version"]) == PROJECT["version"]
    assert CITATION["license"] == PROJECT["license"]
    assert CITATION["keywords"] == PROJECT["keywords"]
    for work in (CITATION, *CITATION["references"]):
        for author in work["authors"]:
            assert set(author) in ({"name"}, {"family-names", "given-names"})


def test_the_citation_names_the_paper_that_fetch_names():
    from tastevec.data import releases  # noqa: PLC0415  with its test alone

    [paper] = CITATION["references"]
    assert paper["title"] in releases.CITATION
    assert paper["doi"] in releases.CITATION


def test_every_direct_dependency_has_its_reason():
    rows = re.findall(r"^\| ([a-zA-Z0-9, -]+) \| [^|]+ \| [^|]+ \|$", SECURITY, re.MULTILINE)
    told = {name for row in rows for name in row.split(", ")} - {"package"}
    extras = [
        line for name, lines in PROJECT["optional-dependencies"].items() if name != "dev" for line in lines
    ]
    asked = {re.split(r"[\[<>=]", line)[0] for line in [*PROJECT["dependencies"], *extras]} - {"tastevec"}
    assert asked <= told


def test_the_limits_that_are_promised_are_those_of_the_service():
    from tastevec.serving.service.settings import ServiceSettings  # noqa: PLC0415  an extra

    promised = ServiceSettings(_env_file=None)
    assert f"A body has {promised.body_bytes:,} bytes at most" in SECURITY
    assert (
        f"and {promised.body_timeout_s:g} seconds to come, an answer {promised.timeout_s:g} seconds"
        in SECURITY
    )
    assert f"{promised.waiting} questions wait at once" in SECURITY


def test_every_test_that_the_papers_name_is_there():
    for paper in ("SECURITY.md", "CONTRIBUTING.md"):
        for name in re.findall(r"`(tests/[\w/]+(?:\.py)?)`", (ROOT / paper).read_text()):
            assert (ROOT / name).exists(), name
