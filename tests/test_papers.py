"""CITATION.cff and SECURITY.md agree with the package."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
SECURITY = (ROOT / "SECURITY.md").read_text()


def test_citation_is_valid_and_agrees_with_the_package():
    assert {"cff-version", "message", "title", "authors"} <= set(CITATION)
    assert CITATION["cff-version"] == "1.2.0"
    assert CITATION["type"] == "software"
    assert str(CITATION["version"]) == PROJECT["version"]
    assert CITATION["license"] == PROJECT["license"]
    assert CITATION["keywords"] == PROJECT["keywords"]
    for work in (CITATION, *CITATION["references"]):
        for author in work["authors"]:
            assert set(author) in ({"name"}, {"family-names", "given-names"})


def test_citation_names_the_paper_that_fetch_prints():
    from tastevec.data import releases  # noqa: PLC0415  needed here alone

    [paper] = CITATION["references"]
    assert paper["title"] in releases.CITATION
    assert paper["doi"] in releases.CITATION


def test_each_direct_dependency_is_in_the_table():
    rows = re.findall(
        r"^\| ([a-zA-Z0-9, -]+) \| [^|]+ \| [^|]+ \|$", SECURITY.partition("## Dependencies")[2], re.MULTILINE
    )
    listed = {name for row in rows for name in row.split(", ")} - {"package"}
    extras = [
        line for name, lines in PROJECT["optional-dependencies"].items() if name != "dev" for line in lines
    ]
    declared = {re.split(r"[\[<>=]", line)[0] for line in [*PROJECT["dependencies"], *extras]} - {"tastevec"}
    assert declared <= listed


def test_documented_limits_are_those_of_the_service():
    from tastevec.serving.service import operations, pool, schemas  # noqa: PLC0415  an extra
    from tastevec.serving.service.settings import ServiceSettings  # noqa: PLC0415  as above

    limits = ServiceSettings(_env_file=None)
    for promise in (
        f"connections ({limits.connections};",
        f"the head of a request (64 KiB, {limits.head_timeout_s:g} seconds)",
        f"a body ({limits.body_bytes:,}\nbytes, {limits.body_timeout_s:g} seconds)",
        f"all bodies together ({limits.in_flight_bytes >> 20} MiB)",
        f"the history ({schemas.MAX_ITEMS:,} interactions) and users ({schemas.MAX_USERS}) of a request",
        f"requests that wait ({limits.waiting}; {pool.LARGE_WAITING} large ones)",
        f"the time to the response ({limits.timeout_s:g} seconds)",
        f"in which a client must take it ({limits.write_timeout_s:g} seconds)",
        f"above {operations.SMALL_MS:g} milliseconds",
    ):
        assert promise in SECURITY


def test_each_named_test_exists():
    for paper in ("SECURITY.md", "CONTRIBUTING.md"):
        for name in re.findall(r"`(tests/[\w/]+(?:\.py)?)`", (ROOT / paper).read_text()):
            assert (ROOT / name).exists(), name
