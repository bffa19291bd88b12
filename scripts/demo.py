"""The demo: from MovieLens ratings to user embeddings, a results table and recommendations, command by command."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from tastevec.data.prepared import Prepared

DEMO = Path("demo")
DATA, PREPARED, MODEL = DEMO / "data" / "ml-100k", DEMO / "prepared", DEMO / "model"
HISTORIES, RECOMMENDATIONS = DEMO / "test_users.csv", DEMO / "recommendations.parquet"
NEXT, OVERALL = DEMO / "vectors_next.parquet", DEMO / "vectors_overall.parquet"
SHOWN = 10


def main() -> None:
    """Run every stage and print the results of one user."""
    os.chdir(Path(__file__).parent.parent)
    began = time.perf_counter()
    tastevec("fetch", "ml-100k", "--to", DATA.parent)
    tastevec("prepare", DATA, "--out", PREPARED)
    tastevec("describe", PREPARED, "--out", DEMO / "pictures")
    tastevec("train", PREPARED, "--out", MODEL)
    tastevec("evaluate", MODEL, "--data", PREPARED, "--seeds", 1, "--out", DEMO / "results")
    write_histories()
    tastevec("encode", MODEL, HISTORIES, "--horizon", "next", "--out", NEXT)
    tastevec("encode", MODEL, HISTORIES, "--out", OVERALL)
    tastevec("recommend", MODEL, HISTORIES, "--k", SHOWN, "--out", RECOMMENDATIONS)
    print_one_user()
    print_files()
    print(f"\nTotal: {time.perf_counter() - began:.0f} s.")


def tastevec(*arguments: object) -> None:
    """Print a command and run it."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ tastevec {' '.join(words)}", flush=True)
    if code := subprocess.run([sys.executable, "-m", "tastevec", *words], check=False).returncode:
        sys.exit(code)


def write_histories() -> None:
    """Write the histories of the test users, who are not in the training data, as a CSV file."""
    prepared = Prepared.open(PREPARED)
    users = prepared.histories.take(prepared.users_in("test"))
    with HISTORIES.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["user_id", "item_id", "rating", "timestamp"])
        columns = (
            users.user_ids[users.owners],
            prepared.item_ids[users.items],
            users.ratings,
            users.timestamps,
        )
        table.writerows(zip(*(column.tolist() for column in columns), strict=True))
    print(
        f"\nWrote the histories of {len(users)} test users, who are not in the training data, to {HISTORIES}."
    )


def print_one_user() -> None:
    """Print the latest five-star films of the first test user, and the recommendations, by title."""
    prepared = Prepared.open(PREPARED)
    titles = prepared.items["title"].to_pylist()
    user = prepared.histories.take(prepared.users_in("test")[:1])
    top_rated = user.items[user.ratings == prepared.scale.high][-SHOWN:]
    print(f"\nLatest five-star ratings of test user {user.user_ids[0]}:")
    print("".join(f"  {titles[item]}\n" for item in top_rated), end="")
    table = pq.read_table(RECOMMENDATIONS)
    table = table.filter(pc.equal(table["user_id"], user.user_ids[0]))
    indices = pc.index_in(table["item_id"], prepared.items["item_id"]).to_pylist()
    print("Recommendations:")
    print("".join(f"  {rank:2d}. {titles[index]}\n" for rank, index in enumerate(indices, 1)), end="")


def print_files() -> None:
    """Print the path of each result."""
    made = {
        PREPARED: "prepared dataset",
        DEMO / "pictures" / "index.html": "report about the data",
        MODEL: "model, with a model card in README.md",
        DEMO / "results" / "report.html": "evaluation report",
        DEMO / "results" / "results.json": "all metrics",
        NEXT: "user embeddings, horizon next",
        OVERALL: "user embeddings, horizon overall",
        RECOMMENDATIONS: "recommendations",
    }
    print()
    print("".join(f"{path!s:32} {what}\n" for path, what in made.items()), end="")
    print("\nNext: make serve, then open http://127.0.0.1:8000.")


if __name__ == "__main__":
    main()
