"""A prepared folder described: its numbers as JSON, its pictures on one page that needs no network."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from tastevec.data.atomic import new_folder
from tastevec.data.page import as_figure, whole_page
from tastevec.data.pictures import draw
from tastevec.data.summary import summarise

if TYPE_CHECKING:
    from pathlib import Path

    from tastevec.data.drawing import Picture
    from tastevec.data.prepared import Prepared

__all__ = ["DESCRIPTION_FILE", "PAGE_FILE", "describe"]

DESCRIPTION_FILE: Final = "description.json"
PAGE_FILE: Final = "index.html"
_FORMAT: Final = 1


def describe(prepared: Prepared, out: Path) -> dict[str, Any]:
    """Write ``out/index.html``, the pictures with their captions, and ``out/description.json``, the numbers.

    Args:
        prepared: A folder that `tastevec prepare` wrote.
        out: A new folder, or one that this wrote before.

    Returns:
        What stands in ``description.json``: the numbers of `summarise`, and each picture's caption.

    Raises:
        FormatError: ``out`` holds something else.
        MissingExtraError: matplotlib is not installed.
    """
    numbers, name = summarise(prepared), str(prepared.manifest["source"]["name"])
    pictures = draw(numbers)
    description = {
        "format": _FORMAT,
        "name": name,
        **numbers,
        "captions": {picture.name: picture.caption for picture in pictures},
    }
    with new_folder(out, owned_by=DESCRIPTION_FILE) as fresh:
        text = json.dumps(description, indent=1, ensure_ascii=False, allow_nan=False)
        (fresh / DESCRIPTION_FILE).write_text(text + "\n", encoding="utf-8")
        (fresh / PAGE_FILE).write_text(_page(name, numbers["totals"], pictures), encoding="utf-8")
    return description


def _page(name: str, totals: dict[str, Any], pictures: list[Picture]) -> str:
    figures = "\n".join(as_figure(picture) for picture in pictures)
    return whole_page(f"{name}, described", facts=_facts(totals), body=figures)


def _facts(totals: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("people", f"{totals['users']:,}"),
        ("films", f"{totals['items']:,}"),
        ("ratings", f"{totals['ratings']:,}"),
        ("only tagged", f"{totals['tag_only']:,}"),
        ("of all pairs", f"{totals['density']:.2%}"),
    ]
