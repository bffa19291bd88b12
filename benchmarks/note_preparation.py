"""The research note's preparation in pandas, as its text describes it: our reimplementation, for nobody has published its cells.

``python benchmarks/note_preparation.py RELEASE OUT`` reads the tables whole, makes the note's film vectors, sets everybody's ratings
between -1 and 1 in a loop over people, joins each rating with its film's vector, drops ratings without one and people with a single
rating, divides people 70 / 30, and saves both parts; and says in ``OUT/parts.json`` what each step took.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.decomposition import TruncatedSVD
from sklearn.model_selection import train_test_split

__all__ = ["prepare_as_noted", "scaled"]

_SILENT = 1e-5
_NUMBERS = [f"v{number}" for number in range(64)]


def prepare_as_noted(release: Path, out: Path) -> dict[str, float]:
    """Write what the note's training reads into ``out``, and say how many seconds each part took."""
    out.mkdir(parents=True, exist_ok=True)
    seconds, begun = {}, time.perf_counter()

    def told(part: str) -> None:
        nonlocal begun
        seconds[part], begun = round(time.perf_counter() - begun, 2), time.perf_counter()

    ratings = pd.read_csv(release / "ratings.csv")
    told("read")
    vectors = _film_vectors(release)
    told("film vectors")
    ratings["normalised"] = scaled(ratings)
    told("normalise")
    joined = ratings.merge(vectors, how="left", left_on="movieId", right_index=True).dropna()
    counts = joined.groupby("userId")["movieId"].transform("count")
    joined = joined[counts > 1]
    told("join")
    train, validation = train_test_split(np.sort(joined["userId"].unique()), test_size=0.3, random_state=42)
    for name, people in (("train", train), ("validation", validation)):
        joined[joined["userId"].isin(people)].to_parquet(out / f"{name}.parquet")
    told("save")
    return seconds


def _film_vectors(release: Path) -> pd.DataFrame:
    """Section 5 of the note: SVD of the genome to 80, 20 genres beside it, SVD of both to 64."""
    scores = pd.read_csv(release / "genome-scores.csv")
    relevance = scores.pivot_table(index="movieId", columns="tagId", values="relevance")
    films = pd.read_csv(release / "movies.csv").set_index("movieId").loc[relevance.index]
    genres = films["genres"].str.get_dummies("|")
    tags = TruncatedSVD(80, n_iter=7, random_state=42).fit_transform(relevance)
    both = np.hstack([tags, genres.to_numpy(np.float64)])
    made = TruncatedSVD(min(64, both.shape[1]), n_iter=7, random_state=42).fit_transform(both)
    return pd.DataFrame(made, index=relevance.index, columns=_NUMBERS[: made.shape[1]])


def scaled(ratings: pd.DataFrame) -> np.ndarray:
    """Section 3: everybody's ratings less their mean, each side divided by its own largest; in a loop over people."""
    made = np.zeros(len(ratings))
    for rows in ratings.groupby("userId").indices.values():
        off = ratings["rating"].iloc[rows] - ratings["rating"].iloc[rows].mean()
        highest, lowest = off.max(), -off.min()
        above = off / highest if highest >= _SILENT else off * 0
        below = off / lowest if lowest >= _SILENT else off * 0
        made[rows] = np.where(off > 0, above, below)
    return made


def main() -> None:
    """Prepare what is asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("release", type=Path, help="a folder with ratings.csv, movies.csv and the genome")
    parser.add_argument("out", type=Path, help="where the result shall be")
    asked = parser.parse_args()
    parts = prepare_as_noted(asked.release, asked.out)
    (asked.out / "parts.json").write_text(json.dumps(parts))


if __name__ == "__main__":
    main()
