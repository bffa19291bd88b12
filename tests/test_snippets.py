"""Every command and every line of Python in README, the tutorial and the other pages, executed.

The data are replaced: a local server has tiny releases of 60 users and 200 items under the names of the real releases, and
``ratings.csv``, ``items.csv`` and ``histories.csv`` have the same users. Training is one epoch of one narrow layer unless a
page sets more; the service listens on a free port. Commands run in this process, so that torch is imported once. A block that
is not executed gives the reason on the page, in front of it. A text under ``<!-- printed -->`` is what the last command above it prints.
"""

import re
import shlex
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import pytest
from typer.testing import CliRunner

import worlds
from databases import emptied_database, postgres
from hubs import TOKEN, hub_at
from servers import Page, serving, zip_of
from tastevec.cli.app import app
from tastevec.data import releases
from tastevec.serving import bundle
from tastevec.training.settings import PRESETS, TasteSettings

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parent.parent / "docs"
HOW_TO = sorted((DOCS / "how-to").glob("*.md"))
SERVED = ("new-user", "filters", "service")  # pages that need a running service
# Pages of results and generated pages show printed output; the research note has its own test.
PAGES = [
    page
    for page in sorted(DOCS.glob("*.md"))
    if page.stem not in ("demo", "experiments", "layout", "measured", "tutorial.ru", "vocabulary")
]
TUTORIAL = DOCS / "tutorial.md"
README = DOCS.parent / "README.md"
BLOCK = re.compile(
    r"(?:<!-- not executed: (?P<why>.+?) -->\s*)?^```(?P<kind>bash|python)\n(?P<code>.*?)^```",
    re.DOTALL | re.MULTILINE,
)
PRINTED = re.compile(r"\s*<!-- printed -->\s*^```text\n(.*?)^```", re.DOTALL | re.MULTILINE)
EXPORT = bundle.export
HERE = "127.0.0.1:8000"
HEREDOC = re.compile(r"<<'(\w+)'$")
USERS, ITEMS = 60, 200  # the items of the tutorial are among the first 200 of ml-100k


class SmallSettings(TasteSettings):
    """Training settings of seconds."""

    epochs: int = 1
    tune: bool = False
    item_vector_steps: int = 100
    hidden_size: int = 16
    layers: int = 1
    report_to: Literal["tensorboard", "wandb", "mlflow", "none"] = "none"


def _blocks(page):
    return list(BLOCK.finditer(page.read_text(encoding="utf-8")))


def _commands(code):
    """Yield the commands of a block, a here-document with its command."""
    lines = iter(code.splitlines())
    for line in lines:
        command = line
        if document := HEREDOC.search(line):
            command = "\n".join([line, *takewhile(document[1].__ne__, lines), document[1]])
        while command.count("'") % 2:  # a quoted text of several lines
            command += f"\n{next(lines)}"
        if command.strip():
            yield command


def _run_commands(code):
    """Run the commands of a block; return what the last command of tastevec prints."""
    printed = ""
    for command in _commands(code):
        if command.startswith("tastevec "):
            done = CliRunner().invoke(app, shlex.split(command, comments=True)[1:])
            assert done.exit_code == 0, (command, done.stderr)
            printed = done.output
        else:
            shell = subprocess.run(
                ["bash", "-euc", command], capture_output=True, text=True, check=False, timeout=60
            )
            assert shell.returncode == 0, (command, shell.stdout, shell.stderr)
    return printed


def _run(page, here=HERE):
    """Execute every block of a page in this folder; the Python blocks of a page are one program."""
    names, text = {"__name__": page.stem}, page.read_text(encoding="utf-8")
    for block in _blocks(page):
        code = block["code"].replace(HERE, here)
        if block["why"]:
            continue
        if block["kind"] == "bash":
            printed = _run_commands(code)
            if shown := PRINTED.match(text, block.end()):
                assert printed.strip() == shown[1].strip()
        else:
            exec(compile(code, str(page), "exec"), names)  # noqa: S102  the page shows it as a program


@pytest.fixture(scope="module", name="finished")
def _finished(tmp_path_factory):
    """A folder after the tutorial, the start of the other pages."""
    folder = tmp_path_factory.mktemp("tutorial")
    with pytest.MonkeyPatch.context() as patch, serving() as server:
        patch.setattr(worlds, "USERS", USERS)
        patch.setattr(worlds, "ITEMS", ITEMS)
        patch.setitem(PRESETS, "taste", SmallSettings)
        without_digests = {name: replace(release, md5=None) for name, release in releases.RELEASES.items()}
        patch.setattr(releases, "RELEASES", MappingProxyType(without_digests))
        patch.setattr(releases, "_FOLDER", server.at(""))
        made = tmp_path_factory.mktemp("made")
        server.pages["ml-100k.zip"] = _zipped(worlds.write_100k(made / "ml-100k"))
        server.pages["ml-25m.zip"] = _zipped(worlds.write_csv_release(made / "ml-25m", genome=True))
        server.pages["ml-32m.zip"] = _zipped(worlds.write_csv_release(made / "ml-32m"))
        patch.chdir(folder)
        with pytest.MonkeyPatch.context() as graphs:
            graphs.setattr(bundle, "export", EXPORT)  # the service runs the graph of this model
            _run(TUTORIAL)
        yield folder


def _zipped(folder):
    return Page(zip_of({f"{folder.name}/{file.name}": file.read_bytes() for file in folder.iterdir()}))


@pytest.fixture(name="folder")
def _folder(finished, tmp_path, monkeypatch):
    """A copy of the folder after the tutorial, with a CSV file of other ratings."""
    folder = shutil.copytree(finished, tmp_path / "folder")
    worlds.write_own_csv(folder)
    (folder / "interactions.csv").rename(folder / "ratings.csv")
    rows = [f"{row.user},{row.item},{row.stars},{row.time}\n" for row in worlds.ratings()]
    (folder / "histories.csv").write_text("".join(["user_id,item_id,rating,timestamp\n", *rows]))
    monkeypatch.chdir(folder)
    return folder


@contextmanager
def _service(folder):
    """Run the service of the tutorial's model; yield its address."""
    command = [sys.executable, "-m", "tastevec", "serve", "model", "--port", "0"]
    messages = folder / "log"
    with messages.open("w") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            while "model_loaded" not in messages.read_text():
                assert process.poll() is None, messages.read_text()
                time.sleep(0.1)
            yield re.search(r"127\.0\.0\.1:\d+", messages.read_text())[0]
        finally:
            process.terminate()


def test_tutorial_writes_recommendations_vectors_and_reports(finished):
    assert {"recs.parquet", "vectors.parquet"} <= {file.name for file in finished.iterdir()}
    assert (finished / "results" / "report.html").exists()
    assert (finished / "pictures" / "index.html").exists()


@pytest.mark.parametrize(
    "page",
    [page for page in (*HOW_TO, *PAGES) if page.stem not in (*SERVED, "pgvector", "share", "tutorial")],
    ids=lambda page: page.stem,
)
@pytest.mark.usefixtures("folder")
def test_page_is_executable(page):
    _run(page)


def test_readme_is_executable(folder):
    shutil.copytree(folder / "model", folder / "demo" / "model")
    shutil.copy(folder / "histories.csv", folder / "demo" / "test_users.csv")
    _run(README)


@pytest.mark.parametrize(
    "page", [page for page in (*HOW_TO, *PAGES) if page.stem in SERVED], ids=lambda page: page.stem
)
def test_page_with_service_is_executable(page, folder):
    if shutil.which("curl") is None:
        pytest.skip("curl, which the page uses, is not installed")
    with _service(folder) as here:
        _run(page, here)


@pytest.mark.filterwarnings("ignore:Use 'content=.*:DeprecationWarning")  # of the library's own upload
def test_page_about_sharing_is_executable(folder, tmp_path, monkeypatch):
    with hub_at(tmp_path / "cache") as hub:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        _run(DOCS / "how-to" / "share.md")
    assert {"org/taste", "org/taste-copy"} == set(hub.repositories)
    assert (folder / "recs.parquet").exists()


@pytest.mark.usefixtures("folder")
def test_page_about_pgvector_is_executable(monkeypatch):
    pytest.importorskip("psycopg", reason="the extra pg is not installed")
    with postgres() as server:
        monkeypatch.setenv("TASTEVEC_DATABASE_URL", emptied_database(server, "pages"))
        _run(DOCS / "how-to" / "pgvector.md")


def test_russian_tutorial_has_the_same_code():
    assert [block.groups() for block in _blocks(DOCS / "tutorial.ru.md")] == [
        block.groups() for block in _blocks(TUTORIAL)
    ]


def test_pages_have_no_other_code_blocks():
    for page in (*PAGES, *HOW_TO):
        text = page.read_text(encoding="utf-8")
        assert (
            len(_blocks(page)) + text.count("```text\n")
            == len(re.findall(r"^```\w*$", text, re.MULTILINE)) / 2
        ), page
