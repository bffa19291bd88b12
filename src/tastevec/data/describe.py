"""A prepared folder described: its numbers as JSON, its pictures on one page that needs no network."""

from __future__ import annotations

import base64
import html
import json
from typing import TYPE_CHECKING, Any, Final

from tastevec.data.atomic import new_folder
from tastevec.data.pictures import Picture, draw
from tastevec.data.summary import summarise

if TYPE_CHECKING:
    from pathlib import Path

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
    facts = "".join(f"<div><dt>{label}</dt><dd>{value}</dd></div>" for label, value in _facts(totals))
    title = html.escape(f"{name}, described")
    return _PAGE.format(title=title, facts=facts, figures="\n".join(map(_figure, pictures)))


def _facts(totals: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("people", f"{totals['users']:,}"),
        ("films", f"{totals['items']:,}"),
        ("ratings", f"{totals['ratings']:,}"),
        ("only tagged", f"{totals['tag_only']:,}"),
        ("of all pairs", f"{totals['density']:.2%}"),
    ]


def _figure(picture: Picture) -> str:
    """One picture as an image of its own, so that the ids inside two drawings cannot meet."""
    data = base64.b64encode(picture.svg).decode("ascii")
    caption = html.escape(picture.caption)
    return (
        f'<figure id="{picture.name}"><h2>{html.escape(picture.title)}</h2>'
        f'<img alt="{caption}" src="data:image/svg+xml;base64,{data}"><figcaption>{caption}</figcaption></figure>'
    )


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
  body {{ margin: 0 auto; max-width: 46rem; padding: 2rem 1.25rem 4rem; background: #fbfcfd; color: #1f2933;
         font: 17px/1.55 system-ui, sans-serif }}
  h1 {{ font-size: 1.7rem; font-weight: 600; margin: 0 0 1.2rem }}
  h2 {{ font-size: 1.05rem; font-weight: 600; margin: 0 0 .6rem }}
  dl {{ display: flex; flex-wrap: wrap; gap: .5rem 2.2rem; margin: 0 0 2rem }}
  dt {{ color: #6b7785; font-size: .85rem }}
  dd {{ margin: 0; font-size: 1.35rem; font-variant-numeric: tabular-nums }}
  figure {{ margin: 0 0 1.6rem; padding: 1.2rem 1.3rem; background: #fff; border: 1px solid #e6eaee; border-radius: 8px }}
  img {{ display: block; width: 100%; height: auto }}
  figcaption {{ margin-top: .7rem; color: #47525e; font-size: .95rem }}
</style>
<h1>{title}</h1>
<dl>{facts}</dl>
{figures}
</html>
"""
