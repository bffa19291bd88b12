"""How near a rotation brings a retrained model's space to the old one: two trainings that share about half of their people.

``python benchmarks/alignment.py`` prepares ml-1m-5k twice, divided by two seeds, trains each for one epoch (the film vectors, which make
the space, are solved before the first), aligns them, and encodes the people whom neither has learned from. It writes
``results/alignment.json``; finished stages stay in ``--work``. ``--render`` only puts the saved numbers into the page again.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from alignment_rendering import rendered_alignment
from provenance import ROOT, provenance, save
from rendering import put
from table import SOURCES, run

import tastevec as tv
from tastevec.data.prepared import Prepared

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

NAME, RELEASE = "alignment", "ml-1m-5k"
SEEDS = {"old": 42, "new": 43}
NEAREST = 10


def measured(work: Path) -> dict[str, Any]:
    """Prepare, train and align; then ask who is nearest to whom, in the old space and in the one that was turned into it."""
    stages = []
    for name, seed in SEEDS.items():
        data, model = str(work / f"data-{name}"), str(work / name)
        stages.append(
            run(work, f"prepare {name}", "prepare", *SOURCES[RELEASE], "--seed", str(seed), "--out", data)
        )
        changes = ("--set", f"seed={seed}", "--set", "epochs=1", "--set", "report_to=none")
        stages.append(run(work, f"train {name}", "train", data, "--out", model, *changes))
    found = tv.align(work / "new", work / "old")
    people = unseen({name: Prepared.open(work / f"data-{name}") for name in SEEDS})
    vectors = {name: encoded(work / name, people) for name in SEEDS}
    return {
        "data": RELEASE,
        **provenance(),
        "stages": stages,
        "alignment": found.facts,
        "people": {
            "unseen by both": len(people),
            "cosine": cosine(found.apply(vectors["new"]), vectors["old"]),
            "cosine, not turned": cosine(vectors["new"], vectors["old"]),
            "nearest": NEAREST,
            "shared": shared(found.apply(vectors["new"]), vectors["old"], vectors["old"]),
            "shared, not turned": shared(vectors["new"], vectors["old"], vectors["old"]),
            "shared, each in its own space": shared(vectors["new"], vectors["new"], vectors["old"]),
        },
    }


def unseen(prepared: Mapping[str, Prepared]) -> Any:  # noqa: ANN401  Histories, which only the judge imports
    """The histories of the people from whom neither model has learned."""
    taught = {user for data in prepared.values() for user in data.user_ids[data.users_in("train")].tolist()}
    old = prepared["old"]
    rows = [row for row, user in enumerate(old.user_ids.tolist()) if user not in taught]
    return old.histories.take(np.array(rows))


def encoded(model: Path, people: Any) -> NDArray[np.float32]:  # noqa: ANN401  as above
    """(B, D) each person's taste as a whole."""
    return tv.load(model).vectors(people, "overall")


def cosine(vectors: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """The mean cosine of a person's two vectors."""
    return round(float((_unit(vectors) * _unit(wanted)).sum(axis=1).mean()), 4)


def shared(asked: NDArray[np.float32], among: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """Of the people nearest to a person in the old space, the share that is found when he is asked with ``asked`` among ``among``."""
    found, wanted = _nearest(asked, among), _nearest(truth, truth)
    return round(float(np.mean([len({*a} & {*b}) for a, b in zip(found, wanted, strict=True)])) / NEAREST, 4)


def _nearest(asked: NDArray[np.float32], among: NDArray[np.float32]) -> list[list[int]]:
    """Of each person the nearest others, himself left out."""
    scores = _unit(asked) @ _unit(among).T
    np.fill_diagonal(scores, -np.inf)
    return [list(row) for row in np.argsort(-scores, axis=1)[:, :NEAREST].tolist()]


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def main() -> None:
    """Measure, or only render."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / NAME, help="where finished stages stay")
    parser.add_argument("--render", action="store_true", help="only put the saved numbers into the page")
    asked = parser.parse_args()
    saved = ROOT / "results" / f"{NAME}.json"
    if not asked.render:
        if not Path(SOURCES[RELEASE][0]).exists():
            sys.exit(f"{SOURCES[RELEASE][0]} is not there; it is the release that is measured")
        save(saved, measured(asked.work))
    results = json.loads(saved.read_text())
    put(NAME, rendered_alignment(results))
    print(rendered_alignment(results))


if __name__ == "__main__":
    main()
