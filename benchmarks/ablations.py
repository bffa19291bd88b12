"""Measure what each correction of the note's recipe changes, alone and together, and what taste loses without its parts.

``python benchmarks/ablations.py`` trains every variant on ml-1m-5k within one short budget, asks all of them the same
questions about the same unseen people, and writes ``results/ablations.json``. ``--seeds 3`` makes each row the mean of
three trainings. Finished stages stay in ``runs/ablations`` and are not run a second time until that folder is removed.
``--render`` only puts the saved numbers into docs/measured.md again; ``--quick`` tries everything out on generated people,
and saves and renders nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from provenance import ROOT, at_once, provenance, save, stage
from rendering import put, rendered
from table import CHECKPOINT, SOURCES, checkpoint, run

from tastevec.evaluation.statistics import direction, draw_people, paired_differences

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from tastevec.data.prepared import Prepared
    from tastevec.evaluation.report import Report
    from tastevec.evaluation.scorers import Runs

SEED = 42
# What two cores can bear for all of them, the same for every row.
BUDGET = {"max_history": 64, "epochs": 2}
QUICK = {"max_history": 8, "epochs": 1}
QUICK_PEOPLE, QUICK_FILMS = 150, 150
DISTANCE = "cosine_distance_centred"
COLUMNS = (
    ("best-rated", "ndcg@10"),
    ("best-rated", DISTANCE),
    ("fold-in", "ndcg@100"),
    ("last-20%", "ndcg@100"),
    ("next-liked", "ndcg@10"),
)
WHOLE = ("fold-in", "effective_rank")

# The note's errors, each put right alone. Not among them: films by id of which the last are read (order and truncate can
# only be put right together), and content vectors, which the note's recipe reads here anyhow: this release has no genome.
CORRECTIONS: dict[str, dict[str, object]] = {
    "blocks not pretrained": {"backbone": "fresh", "hidden_size": 384},  # the shape that they had
    "padding masked": {"attention": "masked"},
    "the newest films by time": {"order": "time", "truncate": "newest"},
    "all best-rated films are targets": {"ties": "all"},
    "target left out of the statistics": {"statistics": "known"},
    "softmax over the catalogue": {"loss": "softmax"},
    "collaborative film vectors": {"item_vectors": "collaborative"},
    "ratings embedded": {"rating_input": "embed"},
    "read behind the films": {"readout": "moments"},
    "positions from the end": {"positions": "from_end"},
}
TOGETHER = {name: value for change in CORRECTIONS.values() for name, value in change.items()}
TAKEN_AWAY: dict[str, dict[str, object]] = {
    "taste without gaps": {"gaps": False},
    "taste without learned film inputs": {"item_input": "table"},
    "taste without positions": {"positions": "none"},
    "taste on content film vectors": {"item_vectors": "content"},
}


@dataclass(frozen=True)
class Variant:
    """A recipe: what is changed in a preset, and beside which recipe it stands; the latter has its own name there."""

    name: str
    preset: str
    beside: str
    changes: dict[str, object] = field(default_factory=dict)

    def settings(self, budget: dict[str, int]) -> dict[str, object]:
        """What the training is told beside its preset and its seed; the note's blocks come out of a package."""
        pretrained = {"backbone": checkpoint()} if self.preset == "seed" else {}
        return {**pretrained, **budget, **self.changes}


VARIANTS = (
    Variant("note", "seed", "note"),
    *(Variant(name, "seed", "note", changes) for name, changes in CORRECTIONS.items()),
    Variant("all of these", "seed", "note", TOGETHER),
    Variant("taste", "taste", "taste"),
    *(Variant(name, "taste", "taste", changes) for name, changes in TAKEN_AWAY.items()),
)


def measured(work: Path, seeds: int, jobs: int, *, quick: bool) -> dict[str, Any]:
    """Prepare, train every variant from every seed, and ask all of them, each as a stage."""
    prepared, models, found = work / "prepared", work / "models", work / f"judged-{seeds}.json"
    budget = QUICK if quick else BUDGET
    stages = prepare_stages(work, prepared, quick=quick)
    trainings = [
        partial(trained, work, variant, seed, budget)
        for seed in range(SEED, SEED + seeds)
        for variant in VARIANTS
    ]
    stages += at_once(jobs, trainings)
    asked = ["--judge", str(prepared), str(models), str(found), "--jobs", str(jobs)]
    stages.append(stage(f"evaluate {seeds} seeds", [sys.executable, __file__, *asked], work / "stages"))
    return {
        "data": "generated" if quick else "ml-1m-5k",
        **provenance(),
        "budget": budget,
        "checkpoint": CHECKPOINT["backbone"],
        "ablations": [asdict(variant) for variant in VARIANTS],
        "stages": stages,
        **json.loads(found.read_text()),
    }


def prepare_stages(work: Path, prepared: Path, *, quick: bool) -> list[dict[str, Any]]:
    """The data, as a user prepares them."""
    if not quick:
        return [run(work, "prepare", "prepare", *SOURCES["ml-1m-5k"], "--out", str(prepared))]
    tables, script = work / "generated", str(ROOT / "benchmarks" / "generated.py")
    told = [str(QUICK_PEOPLE), "--films", str(QUICK_FILMS), "--out", str(tables)]
    own = (str(tables / "ratings.parquet"), "--items", str(tables / "films.csv"), "--rating-range", "1:5")
    return [
        stage("generate", [sys.executable, script, *told], work / "stages"),
        run(work, "prepare", "prepare", *own, "--out", str(prepared)),
    ]


def trained(work: Path, variant: Variant, seed: int, budget: dict[str, int]) -> dict[str, Any]:
    """One training, as a user trains."""
    out = work / "models" / variant.name / str(seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    settings = {**variant.settings(budget), "seed": seed}
    changes = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    told = ("train", str(work / "prepared"), "--out", str(out), "--preset", variant.preset, *changes)
    return run(work, f"train {variant.name} {seed}", *told)


def judged(data: Path, models: Path, jobs: int = 1) -> dict[str, Any]:
    """Every variant and the floors on the unseen people, each variant beside what it was made from."""
    from tastevec.data.prepared import Prepared  # noqa: PLC0415  with torch it is heavy, and each stage's peak would hold it
    from tastevec.evaluation.dataset import Cohort  # noqa: PLC0415  as above
    from tastevec.evaluation.evaluate import evaluate  # noqa: PLC0415  as above
    from tastevec.evaluation.report import Report  # noqa: PLC0415  as above
    from tastevec.pipelines.evaluate import model_runs  # noqa: PLC0415  as above

    prepared = Prepared.open(data)
    cohort = Cohort.of(prepared)
    systems = {variant.name: model_runs(models / variant.name, prepared) for variant in VARIANTS}
    floors = floors_of(prepared, cohort.train, [systems["note"], systems["taste"]])
    parts = [evaluate([], cohort, floors=floors, seed=SEED)]
    ask = partial(answered, data, models)
    if jobs == 1:
        parts += map(ask, systems)
    else:
        with ProcessPoolExecutor(jobs, get_context("spawn")) as workers:
            parts += workers.map(ask, systems)
    facts = [system for part in parts for system in part.systems]
    measured = [result for part in parts for result in part.measured]
    report = Report.of(facts, measured, at=parts[0].at, seed=SEED)
    return {
        "seeds": systems["note"].settings["seeds"],
        "tasks": [{"task": task.name, "users": len(task)} for task in report.tasks],
        "floors": [floor.name for floor in floors],
        "rows": rows(report),
        "differences": differences(report, systems, VARIANTS),
    }


def answered(data: Path, models: Path, name: str) -> Report:
    """One variant asked all questions."""
    from tastevec.data.prepared import Prepared  # noqa: PLC0415  as above
    from tastevec.evaluation.dataset import Cohort  # noqa: PLC0415  as above
    from tastevec.evaluation.evaluate import evaluate  # noqa: PLC0415  as above
    from tastevec.pipelines.evaluate import model_runs  # noqa: PLC0415  as above

    prepared = Prepared.open(data)
    return evaluate([model_runs(models / name, prepared)], Cohort.of(prepared), seed=SEED)


def floors_of(prepared: Prepared, train: Any, models: Iterable[Runs]) -> list[Runs]:  # noqa: ANN401  Histories, which only the judge imports
    """Popularity, and the constant and the means in the film vectors of each of the models."""
    from tastevec.evaluation.registry import floors, line_up, published, vector_floors  # noqa: PLC0415  as in judged

    stars = prepared.rating_range
    simple = floors(train, rating_range=stars)
    found = line_up(simple, published(simple, ("next", "overall")), [SEED])
    for model in models:
        found += vector_floors(model, rating_range=stars)
    return found


def rows(report: Report) -> list[dict[str, Any]]:
    """The shown metrics of every system, each with its 95 % interval over people; the effective rank has none."""
    shown = [row for row in report.rows if (row.task, row.metric) in COLUMNS]
    shown += [row for row in report.wholes if (row.task, row.metric) == WHOLE]
    return [
        {
            "system": row.system,
            "task": row.task,
            "metric": row.metric,
            "mean": number(row.mean),
            "low": number(row.low),
            "high": number(row.high),
            "seed_sd": None if row.seed_sd is None else number(row.seed_sd),
        }
        for row in shown
    ]


def differences(
    report: Report, systems: dict[str, Runs], variants: Sequence[Variant]
) -> list[dict[str, Any]]:
    """Each variant minus what it was made from, on the same people, with the paired 95 % interval.

    Distances are compared only where both have the same film vectors.
    """
    values = {(result.system, result.task.name): result for result in report.measured}
    found = []
    for variant in variants:
        alike = same_films(systems[variant.name], systems[variant.beside])
        for task, metric in COLUMNS:
            if variant.name == variant.beside or (metric == DISTANCE and not alike):
                continue
            left, right = (
                values[name, task].values[metric][:, None] for name in (variant.name, variant.beside)
            )
            [interval] = paired_differences(left, right, draw_people(len(left), report.seed))
            found.append(
                {
                    "system": variant.name,
                    "task": task,
                    "metric": metric,
                    "difference": number(interval.mean),
                    "low": number(interval.low),
                    "high": number(interval.high),
                    "star": direction(interval.low, interval.high) != 0,
                }
            )
    return found


def same_films(one: Runs, other: Runs) -> bool:
    """Whether every film lies in the same direction under both, run by run."""
    tables: list[list[NDArray[Any]]] = [
        [directions(scorer.item_vectors) for scorer in runs.scorers]  # type: ignore[attr-defined]  # all are models
        for runs in (one, other)
    ]
    return all(np.allclose(left, right, atol=1e-5) for left, right in zip(*tables, strict=True))


def directions(vectors: NDArray[Any]) -> NDArray[Any]:
    """The same rows with length 1; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1.0))


def number(value: float) -> float | None:
    """Rounded to six digits behind the point; None where there is no number."""
    return round(float(value), 6) if np.isfinite(value) else None


def main() -> None:
    """Measure, only render, or be the process that asks the models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each variant")
    parser.add_argument("--jobs", type=int, default=1, help="trainings side by side")
    parser.add_argument("--render", action="store_true", help="only put the saved numbers into the page")
    parser.add_argument("--quick", action="store_true", help="try it out; save nothing")
    parser.add_argument("--work", type=Path, help="where finished stages stay")
    parser.add_argument(
        "--judge", nargs=3, type=Path, metavar=("PREPARED", "MODELS", "OUT"), help="only ask the models"
    )
    asked = parser.parse_args()
    saved = ROOT / "results" / "ablations.json"
    for name in ("seeds", "jobs"):
        if getattr(asked, name) < 1:
            parser.error(f"--{name} is {getattr(asked, name)}; expected 1 or more")
    if asked.judge:
        data, models, out = asked.judge
        save(out, judged(data, models, asked.jobs))
    elif asked.quick:
        work = asked.work or ROOT / "runs" / "ablations-quick"
        print(rendered(measured(work, asked.seeds, asked.jobs, quick=True)))
    else:
        if not asked.render:
            work = asked.work or ROOT / "runs" / "ablations"
            save(saved, measured(work, asked.seeds, asked.jobs, quick=False))
        put("ablations", rendered(json.loads(saved.read_text())))


if __name__ == "__main__":
    main()
