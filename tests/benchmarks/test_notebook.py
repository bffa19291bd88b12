"""The notebook: saved without outputs, executed on a generated release, and shown by a page of the documentation."""

import json
import os
import re
import subprocess
import sys

import pytest
from pages import NOTEBOOK, ROOT, render
from research_note import PICTURES

import worlds

SCRIPT = ROOT / "benchmarks" / "research_note.py"
SMALL = {"NOTE_EPOCHS": "1", "NOTE_MAX_HISTORY": "12"}
USERS, ITEMS = 40, 80  # enough films for a map
CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
CODE = [cell for cell in CELLS if cell["cell_type"] == "code"]
# A graph takes seconds to write, and the notebook's models answer without: as in conftest, of which the kernel knows nothing.
NO_GRAPHS = "from tastevec.serving import bundle\nbundle.export = lambda _model, _path: None\n"


def _executed(data, work, **environment):
    """The script's end, with the notebook executed on these data."""
    variables = {**os.environ, **SMALL, "NOTE_DATA": str(data), "NOTE_WORK": str(work), **environment}
    return subprocess.run(
        [sys.executable, SCRIPT], env=variables, capture_output=True, text=True, check=False, timeout=570
    )


def _source(cell):
    return "".join(cell["source"])


def test_the_notebook_is_saved_without_outputs():
    """Otherwise: clear all outputs before you save it."""
    assert [(cell["outputs"], cell["execution_count"]) for cell in CODE] == [([], None)] * len(CODE)


def test_all_parameters_are_in_one_cell():
    assert [cell["id"] for cell in CODE if "NOTE_" in _source(cell)] == ["parameters"]


def test_it_imports_public_names_only():
    imported = re.findall(
        r"^(?:from|import) (\S+)(?: import (.+))?$", "\n".join(map(_source, CODE)), re.MULTILINE
    )
    ours = {module: names for module, names in imported if module.startswith("tastevec.")}
    for module, names in ours.items():
        for name in (name.split(" as ")[0] for name in names.split(", ")):
            assert not name.startswith("_"), module
            assert hasattr(__import__(module, fromlist=[name]), name), f"{module}.{name}"


def test_a_cell_is_short():
    assert [cell["id"] for cell in CODE if len(_source(cell).splitlines()) > 40] == []


def _one_tag_each():
    """Everybody comments on one film that he has not rated."""
    return [worlds.Tag(user, 5 - user % 5, "space", 979_500_001) for user in range(1, USERS + 1)]


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory):
    """Where the notebook was executed, on a generated release with tags and a genome."""
    place = tmp_path_factory.mktemp("notebook")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worlds, "USERS", USERS)
        patch.setattr(worlds, "ITEMS", ITEMS)
        patch.setattr(worlds, "tags", _one_tag_each)
        release = worlds.write_csv_release(place / "release", genome=True)
    startup = place / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "no_graphs.py").write_text(NO_GRAPHS)
    done = _executed(release, place / "work", IPYTHONDIR=str(place / "ipython"))
    assert done.returncode == 0, done.stdout + done.stderr
    return place / "work"


@pytest.mark.slow
def test_it_runs_to_the_last_cell_and_writes_a_page(folder):
    page = (folder / "the-note.html").read_text(encoding="utf-8")
    drawn = [cell["id"] for cell in CODE if "draw_chart(" in _source(cell)]
    assert page.count("<figure") == len(drawn) + 3  # and three that tastevec draws by itself
    assert "Traceback" not in page


@pytest.mark.slow
def test_the_page_needs_no_network(folder):
    page = (folder / "the-note.html").read_text(encoding="utf-8")
    assert re.findall(r"""(?:src|href)=["'](?:https?:)?//[^"']*""", page) == []


@pytest.mark.slow
def test_a_failing_cell_is_reported_and_writes_no_page(tmp_path):
    done = _executed("ml-900k", tmp_path)
    assert done.returncode == 1
    assert "fetched = tv.fetch(DATA, WORK)" in done.stderr
    assert "ml-900k" in done.stderr.split("SettingsError")[-1]
    assert "no page was written" in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_page_shows_every_picture_and_each_is_small():
    saved = json.loads((ROOT / "results" / "notebook.json").read_text(encoding="utf-8"))
    shown = re.findall(r"\]\(\.\./pictures/(note-[a-z-]+\.svg)\)", render("notebook", saved))
    assert sorted(shown) == sorted(file.name for file in PICTURES.glob("note-*.svg"))
    assert [name for name in shown if (PICTURES / name).stat().st_size > 100_000] == []
