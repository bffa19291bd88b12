"""The story of the notebook as the Markdown that the documentation shows: its text, its code, and the pictures of one execution."""

from __future__ import annotations

import json
from typing import Any

from provenance import ROOT

__all__ = ["NOTEBOOK", "PICTURES", "rendered_note"]

NOTEBOOK = ROOT / "docs" / "notebook" / "the-note.ipynb"
PICTURES = ROOT / "docs" / "pictures"
# Code that says how something is drawn or set up is left to the notebook.
_UNTOLD = {"drawing", "parameters", "setup"}


def rendered_note(results: dict[str, Any]) -> str:
    """The notebook's own text and code, each picture with its saved caption; tables of the execution are left out."""
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
    parts.insert(1, _executed(results))
    return "\n\n".join(parts)


def _executed(results: dict[str, Any]) -> str:
    told, machine = results["notebook"], results["machine"]
    return (
        f"*The pictures below are those of one execution: {told['DATA']}, {told['EPOCHS']} epochs, {told['MAX_HISTORY']} films of a history read in order, "
        f"{told['seconds']} s on {machine['cores']} cores, tastevec {results['versions']['tastevec']}, commit {results['commit'][:12]}. "
        "The notebook itself is [the-note.ipynb](the-note.ipynb), where the code of the pictures is, too.*"
    )
