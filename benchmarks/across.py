"""Many data sets: preset taste with nothing set, beside every baseline, tuned; and what each of its parts adds.

Nothing is tuned on these data sets but by the tool itself, on their validation users.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from experiment import RELEASES, TINY, experiment, interval
from measure import ROOT

from tastevec.data.prepared import Prepared
from tastevec.evaluation.dataset import EvalDataset
from tastevec.model.closed_form import TRANSFORMER
from tastevec.serving.recommender import load
from tastevec.training.teacher_search import Question

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from measure import Run
    from numpy.typing import NDArray

    from tastevec.evaluation.tasks import Task
    from tastevec.model.closed_form import ClosedForm
    from tastevec.schema import TaskId
    from tastevec.serving.bundle import Bundle

BEYOND: Final = ROOT.parent / "shared" / "data" / "beyond"
# The file of interactions, that of the items, and what the catalog calls them.
DATA_SETS: Final[dict[str, tuple[str, str | None, str | None]]] = {
    "movietweetings": ("movietweetings", None, None),
    "amazon-grocery": ("amazon-grocery/interactions.csv", "amazon-grocery/items.csv", "product:products"),
    "steam": ("steam/plays.csv", "steam/items.csv", "game:games"),
    "anime": ("anime/ratings.csv", "anime/items.csv", "anime:anime"),
    "amazon-video-games": ("amazon-video-games/interactions.csv", None, "product:products"),
    "amazon-beauty": ("amazon-beauty/interactions.csv", "amazon-beauty/items.csv", "product:products"),
    "retailrocket": ("retailrocket/events.csv", None, "product:products"),
    "anime history": ("anime/history.csv", "anime/items.csv", "anime:anime"),
    "yelp": ("yelp/interactions.csv", "yelp/items.csv", "place:places"),
}
METRICS: Final[dict[TaskId, str]] = {
    "random-20pct": "ndcg@100",
    "next-item": "ndcg@10",
    "last-20pct": "ndcg@100",
}
SEEDS: Final = (42,)
# Whose model is taken apart: stars, no ratings, most items rare.
APART: Final = ("ml-1m-5k", "amazon-grocery", "movietweetings", "made-up")
_UNORDERED: Final = ("anime",)  # the publisher gives no order in time
_OWN_SPACE: Final = "(taste)"  # in the name of a baseline: means of our own item vectors
_USERS: Final = 256  # encoded at once


def measured(run: Run) -> dict[str, Any]:
    """Return the rows of every data set that is there; a small run takes made-up clicks.

    What `make table` has of the releases is not measured again.
    """
    rows: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    counts: list[dict[str, Any]] = []
    for name, source in _sources(run).items():
        part = replace(run, work=run.work / name, steps=[])
        data, evaluation = _evaluated(part, name, source)
        model = part.work / "taste" / str(SEEDS[0])
        facts = json.loads((model / "bundle.json").read_text(encoding="utf-8"))
        transformer = facts["closed_form"]["weights"]["next"].get(TRANSFORMER, 0.0)
        rows += [{"data": name, "transformer": transformer, **row} for row in _rows(evaluation)]
        if transformer or name in APART:
            found = part.call("parts", taken_apart, data=data, model=model, only=name not in APART)
            parts += [{"data": name, **row} for row in found["rows"]]
        counts.append({"data": name, **Prepared.open(data).manifest["counts"], "steps": part.steps})
    return {"data_sets": counts, "rows": rows, "parts": parts, "ratio": _mean_ratios(rows)}


def _sources(run: Run) -> dict[str, tuple[Any, ...]]:
    """Return what `prepare` reads of each data set that is there."""
    if not run.full:
        return {"made-up": (made_up(run.work / "clicks.csv", run.seed),)}
    found: dict[str, tuple[Any, ...]] = {name: RELEASES[name] for name in ("ml-1m-5k", "ml-100k")}
    for name, (interactions, items, noun) in DATA_SETS.items():
        flags = ("--items", BEYOND / items) if items else ()
        flags += ("--item-noun", noun) if noun else ()
        flags += ("--order", "none") if name in _UNORDERED else ()
        found[name.replace(" ", "-")] = (BEYOND / interactions, *flags)
    return {name: source for name, source in found.items() if Path(source[0]).exists()}


def _evaluated(run: Run, name: str, source: tuple[Any, ...]) -> tuple[Path, dict[str, Any]]:
    """Return the prepared data set, and the evaluation of preset taste on it beside the tuned baselines."""
    data = run.work / "prepared"
    run.tastevec("prepare", "prepare", *source, "--out", data)
    if run.full and name in RELEASES:
        saved = run.work / "both" if (run.work / "both").exists() else run.work / "results"
        return data, json.loads((saved / "results.json").read_text(encoding="utf-8"))
    settings = () if run.full else tuple(word for change in TINY for word in ("--set", change))
    tasks = tuple(word for task in METRICS for word in ("--task", task))
    # With large catalogs Mult-VAE takes three quarters of the time, and is far from the best.
    flags: tuple[str | Path, ...] = (*tasks, "--seeds", "1", "--without", "Mult-VAE")
    tuned = run.work / "tuned"  # a step of its own: another model of the same data needs no new search
    tune = (*flags, "--tune", "--split", "validation", "--out", tuned) if run.full else ()
    flags += ("--tuned", tuned) if run.full else ()
    found = experiment(run, data, {"taste": settings}, {"taste": SEEDS}, *flags, tune=tune)
    return data, found["evaluation"]


def _rows(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return for each task every system's mean, the best baseline, and the difference of the model from it."""
    found = []
    runs = {system["system"]: system["runs"] for system in evaluation["systems"]}
    for task in evaluation["tasks"]:
        metric = METRICS.get(task["task"])
        systems = {
            row["system"]: {name: row[name] for name in ("mean", "ci_low", "ci_high")}
            | {"runs": runs[row["system"]]}
            for row in evaluation["rows"]
            if (row["task"], row["metric"]) == (task["task"], metric)
            and not row["system"].endswith(_OWN_SPACE)
        }
        if "taste" not in systems:
            continue
        others = [name for name in systems if name not in {"taste", "bert-cosine", "direction"}]
        best = max(others, key=lambda name: float(systems[name]["mean"]))
        found.append(
            {
                "task": task["task"],
                "metric": metric,
                "users": task["n_users"],
                "systems": systems,
                "best": best,
                "ratio": round(systems["taste"]["mean"] / systems[best]["mean"], 3),
                "difference": _difference(evaluation, "taste", best, task["task"], metric),
            }
        )
    return found


def _difference(
    evaluation: Mapping[str, Any], first: str, second: str, task: str, metric: str
) -> dict[str, float] | None:
    """Return the mean and the interval of the first system minus the second, on the same users."""
    for pair in evaluation["paired_differences"]:
        if (pair["task"], pair["metric"]) != (task, metric) or {pair["a"], pair["b"]} != {first, second}:
            continue
        sign = 1 if pair["a"] == first else -1
        low, high = sorted((sign * pair["ci_low"], sign * pair["ci_high"]))
        return {"mean": sign * pair["difference"], "ci_low": low, "ci_high": high}
    return None


def _mean_ratios(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return by task the geometric mean of the ratios to the best baseline, the lowest, and how many there are."""
    by_task: dict[str, list[float]] = {}
    for row in rows:
        by_task.setdefault(row["task"], []).append(row["ratio"])
    return [
        {
            "task": task,
            "mean": round(float(np.exp(np.mean(np.log(some)))), 3),
            "lowest": min(some),
            "count": len(some),
        }
        for task, some in by_task.items()
    ]


def taken_apart(data: str, model: str, *, only: bool) -> dict[str, Any]:
    """Return what 64 numbers rank without each part of the sum, and from each part alone; called in a process of its own.

    The item vectors stay those of the whole sum.

    Args:
        data: The prepared data set.
        model: A model of it.
        only: Whether only the transformer is taken away.
    """
    prepared, bundle = Prepared.open(Path(data)), load(model, runtime="torch").bundle
    rows = []
    for task in EvalDataset.of(prepared).tasks(list(METRICS), 42)[0]:
        parts = _Parts.of(bundle, task, len(prepared.item_ids))
        weights = parts.closed_form.weights[task.horizon]
        whole = parts.gains(weights)
        for part in weights:
            if len(weights) == 1 or (only and part != TRANSFORMER):
                continue
            without = parts.gains({name: weight for name, weight in weights.items() if name != part})
            row = {"task": task.name, "part": part, "weight": weights[part], "all": interval(whole, 42)}
            row |= {"without": interval(without, 42), "difference": interval(whole - without, 42)}
            rows.append(row | ({} if only else {"alone": interval(parts.gains({part: 1.0}), 42)}))
    return {"rows": rows}


@dataclass(frozen=True, eq=False)
class _Parts:
    """The closed form of a model, and what it reads of the users of a task."""

    closed_form: ClosedForm
    question: Question
    arrays: list[dict[str, NDArray[Any]]]
    states: list[NDArray[np.float32]]

    @classmethod
    def of(cls, bundle: Bundle, task: Task, n_items: int) -> _Parts:
        """Read the users of a task."""
        question = Question(task, int(METRICS[task.name].partition("@")[2]), n_items)
        arrays = [bundle.reading.arrays(some) for some in task.inputs.chunks(_USERS)]
        states = [bundle.model.states("next", **some) for some in arrays]
        return cls(bundle.model.closed_form, question, arrays, states)

    def gains(self, weights: Mapping[str, float]) -> NDArray[np.float64]:
        """Return the NDCG of each user, (B,), with these weights of the parts."""
        horizon = self.question.task.horizon
        changed = replace(self.closed_form, weights={**self.closed_form.weights, horizon: weights})
        users = [
            changed.encode(horizon, some, states if TRANSFORMER in weights else None)
            for some, states in zip(self.arrays, self.states, strict=True)
        ]
        return self.question.gains(np.concatenate(users) @ changed.vectors.T)


def made_up(target: Path, seed: int) -> str:
    """Write clicks of users who each prefer one third of the items."""
    draw = random.Random(seed)  # noqa: S311  no secret
    rows = [(user, 3 * draw.randrange(20) + user % 3) for user in range(200) for _ in range(12)]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(
        "".join(["user_id,item_id\n", *(f"{user},{item}\n" for user, item in rows)]), encoding="utf-8"
    )
    return str(target.resolve())
