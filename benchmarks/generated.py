"""A generated world as a user's own two tables: who rated what, and what the films are.

``python benchmarks/generated.py 5000 --out FOLDER`` writes ``ratings.parquet`` and ``films.csv``. People rate 20 to 108 films
each, at random: there is nothing to be learned from them but how much time and memory it takes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

from evaluation import crowd

FILMS = 2_000
GENRES = ("Action", "Comedy", "Drama", "Horror", "Romance", "Sci-Fi", "Western")
FIRST_YEAR, YEARS = 1950, 70


def write_world(folder: Path, people: int, films: int, seed: int) -> None:
    """Write both tables into ``folder``; the same numbers give the same world.

    Args:
        folder: Made where it is not there.
        people: Who rate.
        films: 109 or more, since nobody rates one twice.
        seed: Of every draw.
    """
    folder.mkdir(parents=True, exist_ok=True)
    histories = crowd(people, 0, np.random.default_rng(seed), films)
    ratings = {
        "user_id": histories.user_ids[histories.owners],
        "item_id": histories.items,
        "rating": histories.ratings,
        "timestamp": histories.times,
    }
    parquet.write_table(pa.table(ratings), folder / "ratings.parquet")
    listed = {
        "item_id": list(range(films)),
        "title": [f"Film {film}" for film in range(films)],
        "year": [FIRST_YEAR + film % YEARS for film in range(films)],
        "genres": [GENRES[film % len(GENRES)] for film in range(films)],
    }
    csv.write_csv(pa.table(listed), folder / "films.csv")


def main() -> None:
    """Write what is asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("people", type=int, help="how many")
    parser.add_argument("--films", type=int, default=FILMS, help="how many")
    parser.add_argument("--out", type=Path, required=True, help="the folder")
    asked = parser.parse_args()
    write_world(asked.out, asked.people, asked.films, seed=asked.people)


if __name__ == "__main__":
    main()
