"""The documentation site: every page is in it, every link leads somewhere, and it needs no network."""

import re
import shutil
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import tastevec

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
# Made by scripts/reference.py whenever the site is, and no part of the repository.
MADE = {"reference/commands.md", "reference/http.md"}
ZENSICAL = Path(sys.executable).parent / "zensical"
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)[^)]*\)")
# What a browser fetches without being asked, and the attribute that says from where.
FETCHED = {"script": "src", "link": "href", "img": "src", "source": "src", "iframe": "src", "object": "data"}


def _navigation(entries):
    for entry in entries:
        for place in entry.values():
            yield from _navigation(place) if isinstance(place, list) else [place]


def _without_code(text):
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def _pages():
    return [page for page in sorted(DOCS.rglob("*.md")) if page.relative_to(DOCS).as_posix() not in MADE]


def _name(path):
    return path.relative_to(ROOT).as_posix()


def test_every_page_is_in_the_navigation_once_and_nothing_else_is():
    told = list(_navigation(tomllib.loads((ROOT / "zensical.toml").read_text("utf-8"))["project"]["nav"]))
    assert sorted(told) == sorted(MADE | {page.relative_to(DOCS).as_posix() for page in _pages()})


@pytest.mark.parametrize("page", [ROOT / "README.md", *_pages()], ids=_name)
def test_a_relative_link_leads_to_a_file(page):
    targets = [urlsplit(target) for target in LINK.findall(_without_code(page.read_text(encoding="utf-8")))]
    paths = [unquote(target.path) for target in targets if not target.scheme and target.path]
    lost = [path for path in paths if not (page.parent / path).exists()]
    assert [
        path for path in lost if (page.parent / path).resolve() not in {DOCS / made for made in MADE}
    ] == []


@pytest.mark.parametrize("page", _pages(), ids=_name)
def test_a_list_stands_behind_an_empty_line(page):
    """The site's Markdown takes it for a part of the paragraph otherwise, which GitHub's does not."""
    lines = _without_code(page.read_text(encoding="utf-8")).splitlines()
    item = re.compile(r"\s*([-*]|\d+\.) ")
    torn = [
        line
        for before, line in pairwise(lines)
        if item.match(line) and before.strip() and not item.match(before) and not before.startswith(" ")
    ]
    assert torn == []


class _Fetched(HTMLParser):
    """What a page has fetched from elsewhere."""

    def __init__(self):
        super().__init__()
        self.elsewhere = []

    def handle_starttag(self, tag, attrs):
        address = dict(attrs).get(FETCHED.get(tag)) or ""
        if urlsplit(address).netloc:
            self.elsewhere.append(address)


@pytest.fixture(name="project")
def _project(tmp_path):
    """The pages and what they are made from, in a folder of their own."""
    if not ZENSICAL.exists():
        pytest.skip("zensical, which builds the site, is not installed")
    shutil.copytree(DOCS, tmp_path / "docs")
    shutil.copy(ROOT / "zensical.toml", tmp_path)
    (tmp_path / "src").symlink_to(ROOT / "src")
    made = [sys.executable, ROOT / "scripts" / "reference.py", "--out", tmp_path / "docs" / "reference"]
    subprocess.run(made, check=True, timeout=300)
    return tmp_path


def _built(project):
    return subprocess.run(
        [ZENSICAL, "build", "--strict", "--clean"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_fetches_nothing(project):
    done = _built(project)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = sorted((project / "site").rglob("*.html"))
    assert len(pages) == len(_pages()) + len(MADE) + 1  # and one for what is not found
    for page in pages:
        reader = _Fetched()
        reader.feed(page.read_text(encoding="utf-8"))
        assert reader.elsewhere == [], page
    for style in (project / "site").rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", style.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", tastevec.__all__)
def test_every_public_name_is_in_the_reference(name):
    """The site fails where one of them is not there; this fails where one is forgotten."""
    assert f"::: tastevec.{name}\n" in (DOCS / "reference" / "python.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_link_that_leads_nowhere_is_an_error(project):
    (project / "docs" / "index.md").write_text("# Home\n\n[Nowhere](nowhere.md)\n")
    done = _built(project)
    assert done.returncode != 0
    assert "page does not exist" in done.stderr
