"""Direction: mean cosine distance to the top-rated items, the research note's question, beside one vector for all and the mean of positives.

The ridges are chosen on the validation users of each data set, and measured on its test users.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from across import BEYOND
from experiment import RELEASES, generated, interval
from generate import Sizes

from tastevec.data.inputs import InputConfig
from tastevec.data.prepared import Prepared
from tastevec.evaluation.baselines import GlobalMeanVector, MeanPositive
from tastevec.evaluation.dataset import EvalDataset
from tastevec.evaluation.scorers import EncodedScorer
from tastevec.evaluation.slices import DISTANCES, distance_metrics
from tastevec.training.direction import fit_direction

if TYPE_CHECKING:
    from measure import Run

TOP_TAGS = BEYOND / "ml-genome-top5" / "genome-top-tags.csv"
SMALL = Sizes(ratings=12_000, users=200, items=300, genome_items=150, genome_tags=80, tags=1_000)
_LONGEST = 2_000  # interactions of a history that are read


def measured(run: Run) -> dict[str, Any]:
    """Return a row for each kind of item vectors and system; a small run takes generated users."""
    sources = {"generated": ((run.work / "release",), ("content", "genome-svd"))}
    if run.full:
        release, *tags = RELEASES["ml-1m-5k"]
        sources = {
            "tags": ((release, *tags), ("content",)),
            "top tags of the genome": ((release, "--relevance", TOP_TAGS), ("genome-svd",)),
        }
    else:
        run.call("generate", generated, out=run.work / "release", sizes=vars(SMALL))
    rows: list[dict[str, Any]] = []
    for name, (source, kinds) in sources.items():
        data = run.work / name.replace(" ", "-")
        run.tastevec(f"prepare {name}", "prepare", *source, "--out", data)
        for vectors in kinds:
            rows += run.call(f"fit {vectors}", fitted, data=data, vectors=vectors, seed=run.seed)["rows"]
    return {"rows": rows}


def fitted(data: str, vectors: str, seed: int) -> dict[str, Any]:
    """Return the rows of one kind of item vectors; called in a process of its own."""
    prepared = Prepared.open(Path(data))
    dataset, scale = EvalDataset.of(prepared, "test"), prepared.scale
    validation = prepared.histories.take(prepared.users_in("validation"))
    reading, items = InputConfig(scale, _LONGEST), prepared.vectors[vectors]
    start = perf_counter()
    found = fit_direction(dataset.train, validation, items, reading=reading)
    seconds = round(perf_counter() - start, 1)
    task = dataset.task("top-rated", seed)
    units = found.model.item_vectors
    scorers: list[Any] = [
        kind(units, space=vectors, positive_from=scale.positive_from)
        for kind in (GlobalMeanVector, MeanPositive)
    ]
    scorers.append(
        EncodedScorer(
            "direction", vectors, units, lambda users, of: found.model.encode(of, **reading.arrays(users))
        )
    )
    rows = []
    for scorer in scorers:
        scorer.fit(dataset.train, len(items))
        metrics = distance_metrics(scorer, scorer.vectors(task.inputs), task)
        row = {
            "data": prepared.manifest["source"]["name"],
            "vectors": vectors,
            "system": getattr(scorer, "kind", scorer.name),
            "users": len(task),
        }
        rows.append(row | {key: interval(metrics[key], seed) for key in DISTANCES})
    ridges = dict(zip(("means", "items"), found.ridges, strict=True))
    return {"rows": [row | {"ridges": ridges, "seconds": seconds} for row in rows]}
