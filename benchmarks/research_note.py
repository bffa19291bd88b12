"""The notebook: execute it on real data, keep it as one page, and publish its pictures, captions and tables.

``python benchmarks/notebook.py`` writes ``the-note.html`` and everything trained into ``runs/notebook``; ``--publish`` also updates the
documentation. The environment changes the parameters, as the first cell says. A cell that fails stops the run with its error.
"""

from __future__ import annotations

import argparse
import sys
import time
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import nbformat
from measure import ROOT, provenance, save
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter
from pages import NOTEBOOK, show

from tastevec.data.html import html_page

if TYPE_CHECKING:
    from pathlib import Path

PICTURES = ROOT / "docs" / "pictures"
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
    """Return the parameters of the first cell, in this environment."""
    [cell] = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    found: dict[str, Any] = {}
    exec(cell.source, found)  # noqa: S102  the cell that the notebook begins with
    return {name: value for name, value in found.items() if name.isupper()}


def executed(notebook: Any) -> Any:  # noqa: ANN401  as above
    """Return the notebook with its outputs.

    Raises:
        CellExecutionError: A cell failed.
    """
    where = {"metadata": {"path": str(NOTEBOOK.parent)}}
    return NotebookClient(deepcopy(notebook), timeout=None, kernel_name="python3", resources=where).execute()


def page_of(notebook: Any, facts: list[tuple[str, str]]) -> str:  # noqa: ANN401  as above
    """Return one page that needs no network: text, code, tables and pictures, without the log lines of libraries."""
    quiet = deepcopy(notebook)
    for cell in quiet.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    prompts = {"exclude_input_prompt": True, "exclude_output_prompt": True}
    plain = HTMLExporter(template_name="basic", exclude_anchor_links=True, **prompts)
    body, _ = plain.from_notebook_node(quiet)
    body = body.replace(
        'href="../', f'href="{NOTEBOOK.parents[1].as_uri()}/'
    )  # our page is in another folder
    return html_page("The note, executed", facts=facts, body=f"{STYLE}\n{body}", width=62)


def pictures(notebook: Any) -> dict[str, tuple[str, str]]:  # noqa: ANN401  as above
    """Return the drawing and the caption of each picture by the id of its cell."""
    return {
        cell.id: (output.data[DRAWING], output.data["text/plain"])
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if DRAWING in output.get("data", {})
    }


def tables(notebook: Any) -> dict[str, str]:  # noqa: ANN401  as above
    """Return the tables of marked cells by the id of the cell; none contains ratings of a user."""
    return {
        cell.id: output.data["text/plain"]
        for cell in notebook.cells
        if "table" in cell.metadata.get("tags", ())
        for output in cell.outputs
        if "data" in output
    }


def publish(notebook: Any, facts: dict[str, Any]) -> None:  # noqa: ANN401  as above
    """Write the pictures and the page into the documentation, and their facts into the results."""
    shown = pictures(notebook)
    for old in PICTURES.glob("note-*.svg"):
        old.unlink()
    for name, (drawing, _) in shown.items():
        (PICTURES / f"note-{name}.svg").write_text(drawing, encoding="utf-8")
    results = {
        "notebook": facts,
        **provenance(),
        "captions": {name: caption for name, (_, caption) in shown.items()},
        "tables": tables(notebook),
    }
    save(SAVED, results)
    show("notebook")


def main() -> None:
    """Execute the notebook and write its page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--publish", action="store_true", help="update the documentation")
    options = parser.parse_args()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    facts = parameters(notebook)
    work: Path = (NOTEBOOK.parent / facts.pop("WORK")).resolve()
    print(f"Executing {NOTEBOOK.relative_to(ROOT)}: some minutes.", flush=True)
    began = time.perf_counter()
    try:
        notebook = executed(notebook)
    except CellExecutionError as error:
        sys.exit(f"{error}\nThe notebook stopped at the cell above; no page was written.")
    facts = {**facts, "seconds": round(time.perf_counter() - began)}
    page = work / PAGE
    shown = [(name, str(value)) for name, value in facts.items()]
    page.write_text(page_of(notebook, shown), encoding="utf-8")
    if options.publish:
        publish(notebook, facts)
    print(f"{facts['seconds']} s. Next: open {page}")


if __name__ == "__main__":
    main()
