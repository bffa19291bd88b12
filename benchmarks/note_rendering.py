"""The story of the notebook as the Markdown that the documentation shows: its text, its code, and the pictures of one execution."""

from __future__ import annotations

import json
from typing import Any

from provenance import ROOT

__all__ = ["NOTEBOOK", "PICTURES", "rendered_note"]

NOTEBOOK = ROOT / "docs" / "notebook" / "the-note.ipynb"
PICTURES = ROOT / "docs" / "pictures"
# Code that imports or draws is left to the notebook.
_UNTOLD = {"drawing", "setup"}


def rendered_note(results: dict[str, Any]) -> str:
    """The notebook's own text and code, each picture with its saved caption; of its tables those that are saved."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    parts: list[str] = []
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif _UNTOLD.isdisjoint(cell["metadata"].get("tags", ())):
            parts.append(f"```python\n{source}\n```")
        if caption := results["captions"].get(cell["id"]):
            parts.append(f"![{caption}](../pictures/note-{cell['id']}.svg)\n\n*{caption}*")
        if table := results["tables"].get(cell["id"]):
            parts.append(table)
    parts.insert(1, _executed(results))
    return "\n\n".join(parts)


def _executed(results: dict[str, Any]) -> str:
    told = results["notebook"]
    return (
        f"*Pictures and tables below come from one execution: {told['DATA']}, {told['EPOCHS']} epochs, {told['MAX_HISTORY']} films of a history read in "
        f"order, tastevec {results['versions']['tastevec']}, commit {results['commit'][:12]}; they are saved in results/notebook.json. The code that draws, "
        "and tables of people's ratings, are left to the notebook: [the-note.ipynb](the-note.ipynb).*"
    )
