"""More films than anybody has: prepared, or refused in one sentence."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import duckdb
from fault_kills import fault
from fault_tasks import sentence

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["many_films"]

FILMS = 10_000_000
_PEOPLE, _POPULAR = 2_000, 100  # everybody rates the popular ones, and each of the others is rated once
_ROWS = f"""
SELECT 1 + i % {_PEOPLE} AS user_id, i AS item_id, 1 + (i * 7919) % 5 AS rating, 1000000000 + i AS timestamp FROM range({_POPULAR}, {FILMS}) told(i)
UNION ALL SELECT u, f, 1 + (u * f) % 5, 999999999 - f FROM range(1, {_PEOPLE} + 1) people(u), range({_POPULAR}) films(f)
"""  # noqa: S608  of our own numbers


def many_films(folder: Path) -> dict[str, Any]:
    """Prepare a table of ten million films, most of them rated once, and count what came out."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    table, out = folder / "ratings.parquet", folder / "data"
    duckdb.sql(f"COPY ({_ROWS}) TO '{table}' (FORMAT parquet)")
    command = [
        sys.executable,
        "-m",
        "tastevec",
        "prepare",
        str(table),
        "--rating-range",
        "1:5",
        "--out",
        str(out),
    ]
    with (folder / "said.txt").open("w+") as said:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        said.seek(0)
        words = said.read()
    where, peak = f"prepare, {FILMS:,} films", f"{usage.ru_maxrss / 1024:,.0f} MB at most"
    if status:
        refused = sentence(words)
        return fault("too much", where, "sentence" if refused else "wrong", refused or words[-500:])
    counts = json.loads((out / "manifest.json").read_text())["counts"]
    shutil.rmtree(out)
    return fault("too much", where, "same" if counts["items"] == FILMS else "wrong", peak)
