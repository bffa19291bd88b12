"""The demo: from real ratings to taste vectors, a measured table and films for one person, command by command."""

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
UNSEEN, VECTORS, ITEMS = DEMO / "unseen.csv", DEMO / "vectors.parquet", DEMO / "recommendations.parquet"
USERS = DEMO / "people.parquet"
SHOWN = 10


def main() -> None:
    """Run every stage, then show what came of it."""
    os.chdir(Path(__file__).parent.parent)
    began = time.perf_counter()
    tastevec("fetch", "ml-100k", "--to", DATA.parent)
    tastevec("prepare", DATA, "--out", PREPARED)
    tastevec("describe", PREPARED, "--out", DEMO / "pictures")
    tastevec("train", PREPARED, "--out", MODEL)
    tastevec("evaluate", MODEL, "--data", PREPARED, "--seeds", 1, "--out", DEMO / "results")
    write_unseen()
    tastevec("encode", MODEL, UNSEEN, "--out", VECTORS)
    tastevec("encode", MODEL, UNSEEN, "--horizon", "overall", "--out", USERS)
    tastevec("recommend", MODEL, UNSEEN, "--k", SHOWN, "--out", ITEMS)
    show_one_person()
    show_files()
    print(f"\nAll in {time.perf_counter() - began:.0f} s.")


def tastevec(*arguments: object) -> None:
    """Run the command, shown as one would type it."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ tastevec {' '.join(words)}", flush=True)
    if code := subprocess.run([sys.executable, "-m", "tastevec", *words], check=False).returncode:
        sys.exit(code)


def write_unseen() -> None:
    """The histories of the test people, whom the model has never seen, as a table of one's own."""
    prepared = Prepared.open(PREPARED)
    users = prepared.histories.take(prepared.users_in("test"))
    with UNSEEN.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["user_id", "item_id", "rating", "timestamp"])
        columns = (
            users.user_ids[users.owners],
            prepared.item_ids[users.items],
            users.ratings,
            users.timestamps,
        )
        table.writerows(zip(*(column.tolist() for column in columns), strict=True))
    print(f"\nThe histories of {len(users)} people whom the model has never seen are in {UNSEEN}.")


def show_one_person() -> None:
    """The first unseen person's newest five-star films, and the films recommended to him, by title."""
    prepared = Prepared.open(PREPARED)
    titles = prepared.items["title"].to_pylist()
    user = prepared.histories.take(prepared.users_in("test")[:1])
    loved = user.items[user.ratings == prepared.rating_range[1]][-SHOWN:]
    print(f"\nUser {user.user_ids[0]}, whom the model has never seen, gave five stars to")
    print("".join(f"  {titles[item]}\n" for item in loved), end="")
    items = pq.read_table(ITEMS)
    items = items.filter(pc.equal(items["user_id"], user.user_ids[0]))
    places = pc.index_in(items["item_id"], prepared.items["item_id"])
    print("and is recommended")
    print(
        "".join(f"  {rank:2d}. {titles[place]}\n" for rank, place in enumerate(places.to_pylist(), 1)), end=""
    )


def show_files() -> None:
    """Where everything is."""
    made = {
        "the prepared data": PREPARED,
        "pictures of them": DEMO / "pictures" / "index.html",
        "the model, its card in README.md": MODEL,
        "the table and pictures of it": DEMO / "results" / "report.html",
        "every number of the table": DEMO / "results" / "results.json",
        "taste vectors of the unseen": VECTORS,
        "the same, of their taste as a whole": USERS,
        "films for them": ITEMS,
    }
    print()
    print("".join(f"{path!s:32} {what}\n" for what, path in made.items()), end="")
    print("\nNext: make serve, and open http://127.0.0.1:8000: rate films and see your taste in words.")


if __name__ == "__main__":
    main()
