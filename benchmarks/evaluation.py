"""Measure the evaluation itself: seconds and peak memory against the number of people, at 30,000 films and k = 100.

``python benchmarks/evaluation.py`` generates people, asks them *fold-in* with a cheap scorer (64 numbers a film), each
number of people in a process of its own and on one thread, and writes ``results/bench-evaluation.json``. ``busy`` is how
many other processes wanted a core when it began (the load average of the last minute): where that is near the number of
cores or above, the seconds are an upper bound, and the processor's own seconds (``cpu_seconds``) say more. ``--quick`` asks
fewer people, and saves only into ``--out``.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from provenance import ROOT, provenance, save
from rendering import put, rendered

from tastevec.data.histories import Histories, normalise_ratings
from tastevec.evaluation.baselines import MeanLiked
from tastevec.evaluation.dataset import Cohort, Films
from tastevec.evaluation.evaluate import evaluate

USERS = (12_500, 25_000, 50_000, 100_000)
QUICK_USERS = (1_000, 2_000, 4_000)
FILMS, DIM, TEACHERS = 30_000, 64, 2_000
STARS = (1.0, 5.0)
# What is told of the time: a part, and the functions of tastevec that it is spent in.
PARTS = {
    "questions": ["tasks"],
    "scores": ["score"],
    "rankings": ["rank_unseen"],
    "places of hidden films": ["places_of"],
    "accuracy and lists": ["accuracy", "_lists", "_catalogue"],
    "vectors": ["encoded", "distances", "halves", "shape"],
    "intervals and report": ["of (report)"],
}


def crowd(people: int, first_id: int, rng: np.random.Generator, films: int = FILMS) -> Histories:
    """People with 20 to 108 different films each, in steps of their own through a catalogue of 109 films or more."""
    lengths = rng.integers(20, 109, people)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    steps = rng.choice([step for step in range(1, films) if np.gcd(step, films) == 1], people)
    begins = rng.integers(0, films, people)
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    items = (np.repeat(begins, lengths) + np.repeat(steps, lengths) * place) % films
    ratings = rng.integers(1, 6, len(items)).astype(np.float32)
    return Histories(
        user_ids=np.arange(first_id, first_id + people),
        offsets=offsets,
        items=items.astype(np.int32),
        ratings=ratings,
        normalised=normalise_ratings(ratings, offsets),
        times=1_000_000_000 + 600 * place,
    )


def judge(people: int) -> dict[str, Any]:
    """Evaluate one scorer on so many people: the seconds, and what they went to."""
    rng = np.random.default_rng(people)
    train, unseen = crowd(TEACHERS, 0, rng), crowd(people, TEACHERS, rng)
    vectors = rng.standard_normal((FILMS, DIM)).astype(np.float32)
    raters = np.bincount(train.items, minlength=FILMS)
    cohort = Cohort(train, unseen, Films(raters, TEACHERS, vectors, np.full(FILMS, 1990)), STARS)
    scorer = MeanLiked(vectors, space="generated", liked_from=4.0)
    profile, start, worked = cProfile.Profile(), time.perf_counter(), time.process_time()
    profile.enable()
    evaluate([scorer], cohort, protocols=["fold-in"])
    profile.disable()
    return {
        "users": people,
        "films": FILMS,
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(time.process_time() - worked, 1),
        "parts": spent(profile),
    }


def spent(profile: cProfile.Profile) -> dict[str, float]:
    """Seconds of each part; scores and rankings are those of the quality curve too."""
    seconds: dict[str, float] = {}
    for (file, _, function), (_, _, _, cumulative, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]  # missing in the stubs
        module = file.rsplit("/", 1)[-1].removesuffix(".py")
        if "tastevec" in file:
            for name in (function, f"{function} ({module})"):
                seconds[name] = seconds.get(name, 0.0) + cumulative
    return {
        part: round(sum(seconds.get(function, 0.0) for function in functions), 1)
        for part, functions in PARTS.items()
    }


def alone(people: int) -> dict[str, Any]:
    """The same in a process of its own, with its peak memory."""
    print(f"{people:,} people ...", flush=True)
    busy = round(os.getloadavg()[0], 1)
    command = [sys.executable, __file__, "--users", str(people)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"})
    told = process.stdout.read() if process.stdout else b""
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{people:,} people failed")
    return {**json.loads(told), "peak_memory_mb": round(usage.ru_maxrss / 1024), "busy": busy}


def line(rows: list[dict[str, Any]], column: str) -> dict[str, float]:
    """How the column grows with the people: what 10,000 more of them cost, what nobody costs, and the fit (R squared)."""
    users, values = (np.array([row[name] for row in rows], np.float64) for name in ("users", column))
    slope, start = np.polyfit(users, values, 1)
    unexplained = np.var(values - (start + slope * users)) / np.var(values)
    return {
        "per_10_000_users": round(10_000 * slope, 2),
        "start": round(start, 1),
        "r_squared": round(1 - unexplained, 4),
    }


def main() -> None:
    """Measure every number of people, or be the process that measures one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--users", type=int, help="measure this number of people only, here, and print what came of it"
    )
    parser.add_argument("--quick", action="store_true", help="fewer people")
    parser.add_argument("--out", type=Path, help="where a quick run saves its numbers; nowhere without it")
    asked = parser.parse_args()
    if asked.users:
        print(json.dumps(judge(asked.users)))
        return
    rows = [alone(people) for people in (QUICK_USERS if asked.quick else USERS)]
    growth = {column: line(rows, column) for column in ("seconds", "cpu_seconds", "peak_memory_mb")}
    results = {**provenance(), "rows": rows, "growth": growth}
    if asked.quick:
        if asked.out:
            save(asked.out, results)
        print(rendered(results))
        return
    save(ROOT / "results" / "bench-evaluation.json", results)
    put("bench-evaluation", rendered(results))


if __name__ == "__main__":
    main()
