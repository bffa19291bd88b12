"""Execute the notebook that walks the note's path, on real data, and leave it as a page.

``python benchmarks/the_note.py`` leaves ``the-note.html`` beside all that was trained, in runs/notebook. ``--publish`` also puts
the pictures, and a page with the story, into the documentation. The environment changes what is executed, as the notebook's
first cell says. A cell that fails ends it: the cell and its error are told, and no page is left.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter
from note_rendering import NOTEBOOK, PICTURES
from provenance import ROOT, provenance, save
from rendering import put, rendered

from tastevec.data.html import whole_page

if TYPE_CHECKING:
    from pathlib import Path

SAVED = ROOT / "results" / "notebook.json"
PAGE = "the-note.html"
DRAWING = "image/svg+xml"
STYLE = """<style>
  pre { white-space: pre-wrap; margin: 0 0 1rem; font-size: .85rem; line-height: 1.45 }
  .input_area { padding: .8rem 1rem .1rem; margin: 0 0 1rem; background: var(--first); border-radius: 8px }
  .rendered_html table { margin: 0 0 1.2rem; width: auto }
  th, td { border-width: 0 0 1px }
</style>"""


def parameters(notebook: Any) -> dict[str, Any]:  # noqa: ANN401  nbformat has no types
    """What the first cell sets, in this environment."""
    [cell] = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    found: dict[str, Any] = {}
    exec(cell.source, found)  # noqa: S102  the cell that the notebook begins with
    return {name: value for name, value in found.items() if name.isupper()}


def executed(notebook: Any) -> Any:  # noqa: ANN401  as above
    """The notebook with its outputs.

    Raises:
        CellExecutionError: A cell failed.
    """
    where = {"metadata": {"path": str(NOTEBOOK.parent)}}
    return NotebookClient(deepcopy(notebook), timeout=None, kernel_name="python3", resources=where).execute()


def page_of(notebook: Any, facts: list[tuple[str, str]]) -> str:  # noqa: ANN401  as above
    """One page that needs no network: story, code, tables and pictures, without what libraries say while they work."""
    quiet = deepcopy(notebook)
    for cell in quiet.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    plain = HTMLExporter(
        template_name="basic",
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    body, _ = plain.from_notebook_node(quiet)
    body = body.replace('href="../', f'href="{NOTEBOOK.parents[1].as_uri()}/')  # the page lies elsewhere
    return whole_page("The note, executed", facts=facts, body=f"{STYLE}\n{body}", width=62)


def pictures(notebook: Any) -> dict[str, tuple[str, str]]:  # noqa: ANN401  as above
    """Each picture's drawing and caption, by the id of its cell."""
    return {
        cell.id: (output.data[DRAWING], output.data["text/plain"])
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if DRAWING in output.get("data", {})
    }


def tables(notebook: Any) -> dict[str, str]:  # noqa: ANN401  as above
    """The tables that are marked, by the id of their cell; none of them holds anybody's ratings."""
    return {
        cell.id: output.data["text/plain"]
        for cell in notebook.cells
        if "table" in cell.metadata.get("tags", ())
        for output in cell.outputs
        if "data" in output
    }


def publish(notebook: Any, facts: dict[str, Any]) -> None:  # noqa: ANN401  as above
    """Put the pictures and the page into the documentation, and what they were made with beside the results."""
    shown = pictures(notebook)
    for old in PICTURES.glob("note-*.svg"):
        old.unlink()
    for name, (drawing, _) in shown.items():
        (PICTURES / f"note-{name}.svg").write_text(drawing, encoding="utf-8")
    results = {
        "notebook": facts,
        **provenance(),
        "captions": {name: told for name, (_, told) in shown.items()},
        "tables": tables(notebook),
    }
    save(SAVED, results)
    put("notebook", rendered(results))


def main() -> None:
    """Execute, then show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--publish", action="store_true", help="put pictures and page into docs")
    parser.add_argument(
        "--render", action="store_true", help="only put the saved captions into the page again"
    )
    asked = parser.parse_args()
    if asked.render:
        put("notebook", rendered(json.loads(SAVED.read_text(encoding="utf-8"))))
        return
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    told = parameters(notebook)
    work: Path = (NOTEBOOK.parent / told.pop("WORK")).resolve()
    print(f"Executing {NOTEBOOK.relative_to(ROOT)}: some minutes.", flush=True)
    began = time.perf_counter()
    try:
        notebook = executed(notebook)
    except CellExecutionError as error:
        sys.exit(f"{error}\nThe notebook stopped at the cell above; no page was written.")
    facts = {**told, "seconds": round(time.perf_counter() - began)}
    page = work / PAGE
    page.write_text(
        page_of(notebook, [(name, str(value)) for name, value in facts.items()]), encoding="utf-8"
    )
    if asked.publish:
        publish(notebook, facts)
    print(f"{facts['seconds']} s. Next: open {page}")


if __name__ == "__main__":
    main()
