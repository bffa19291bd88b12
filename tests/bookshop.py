"""A made-up bookshop: 60 readers rate 72 books from 1 to 10, each by an author, in one of six categories.

And the words that its commands, files and pages must not have.
"""

from __future__ import annotations

import base64
import csv
import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

CATEGORIES = ("History", "Poetry", "Cooking", "Crime", "Travel", "Science")
AUTHORS = ("Ada Brook", "Ben Ferris", "Cleo Hart", "Dan Ito")
THINGS = (
    "Garden",
    "River",
    "Kitchen",
    "Lantern",
    "Harbor",
    "Winter",
    "Orchard",
    "Compass",
    "Bridge",
    "Letter",
    "Island",
    "Clock",
)
READERS, BOOKS = 60, len(CATEGORIES) * len(THINGS)
NOUN = "book:books"
OTHER_NOUNS = re.compile(r"\b(?:films?|movies?|watch\w*|stars?|cinema\w*)\b", re.IGNORECASE)
TINY = ("epochs=1", "batch_size=16", "hidden_size=8", "dim=8", "layers=1", "heads=1", "report_to=none")


def other_nouns(text):
    """Return each of those words with its surroundings; embedded images count with their text."""
    for image in re.findall(r"data:image/svg\+xml;base64,([\w+/=]+)", text):
        text = text.replace(image, base64.b64decode(image).decode())
    return [text[max(0, found.start() - 40) : found.end() + 40] for found in OTHER_NOUNS.finditer(text)]


def write_bookshop(folder: Path) -> Path:
    """Write ``ratings.csv`` and ``items.csv``; each reader prefers two categories and dislikes the one between."""
    rng = np.random.default_rng(5)
    folder.mkdir()
    books = [(f"B{book:03d}", f"The {THINGS[book // 6]} of {CATEGORIES[book % 6]}") for book in range(BOOKS)]
    rows = []
    for reader in range(READERS):
        for step, book in enumerate(rng.choice(BOOKS, 24, replace=False).tolist()):
            distance = (book - reader) % len(CATEGORIES)
            rating = {0: 9, 1: 2, 2: 9}.get(distance, 6) + int(rng.integers(-1, 2))
            rows.append((f"r{reader}", books[book][0], rating, 1_600_000_000 + reader * 86_400 + step * 90))
    _write(folder / "ratings.csv", "user_id,item_id,rating,timestamp", rows)
    items = [(*book, CATEGORIES[at % 6], AUTHORS[at % 4]) for at, book in enumerate(books)]
    _write(folder / "items.csv", "item_id,title,category,author", items)
    return folder


def _write(path: Path, header: str, rows: list[tuple[object, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as handle:
        handle.write(header + "\n")
        csv.writer(handle, lineterminator="\n").writerows(rows)
