"""Closed form: what 64 numbers keep of the teacher's full-rank scores, beside its components alone, each chosen on validation users.

Nothing is set by hand: the constants are chosen on the validation users of each data set, and measured on its test users.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from across import BEYOND, DATA_SETS, made_up
from experiment import RELEASES, interval

from tastevec.data.inputs import InputConfig
from tastevec.data.prepared import Prepared
from tastevec.evaluation.dataset import EvalDataset
from tastevec.model.closed_form import reads_order
from tastevec.training.closed_form import fit_closed_form
from tastevec.training.teacher_search import Question, choose_teacher

if TYPE_CHECKING:
    from collections.abc import Mapping

    from measure import Run
    from numpy.typing import NDArray

    from tastevec.schema import TaskId

DEPTHS: Final[dict[TaskId, int]] = {"random-20pct": 100, "next-item": 10, "last-20pct": 100}
_USERS: Final = 256  # scored at once


def measured(run: Run) -> dict[str, Any]:
    """Return a row for each data set and task; a small run takes made-up clicks."""
    sources: dict[str, tuple[Any, ...]] = {"made-up": (made_up(run.work / "clicks.csv", run.seed),)}
    if run.full:
        sources = {"ml-1m-5k": RELEASES["ml-1m-5k"][:1]}
        sources |= {name: (BEYOND / files[0],) for name, files in DATA_SETS.items()}
    rows: list[dict[str, Any]] = []
    for name, source in sources.items():
        if not Path(source[0]).exists():
            continue
        data = run.work / name.replace(" ", "-")
        run.tastevec(f"prepare {name}", "prepare", *source, "--out", data)
        found = run.call(f"fit {name}", fitted, data=data, dim=64 if run.full else 8, seed=run.seed)
        rows += [{"data": name, **row} for row in found["rows"]]
    return {"rows": rows, "ratio": _mean_ratio(rows)}


def _mean_ratio(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the geometric mean, by task, of the ratio to the best component."""
    tasks = {row["task"]: [one["ratio"] for one in rows if one["task"] == row["task"]] for row in rows}
    return {task: round(float(np.exp(np.mean(np.log(ratios)))), 3) for task, ratios in tasks.items()}


def fitted(data: str, dim: int, seed: int) -> dict[str, Any]:
    """Return the rows of one data set; called in a process of its own."""
    prepared = Prepared.open(Path(data))
    scale, order, n_items = prepared.scale, prepared.order, len(prepared.item_ids)
    reading = InputConfig(scale, 200, max_history_overall=2_000)
    dataset = EvalDataset.of(prepared, "test")
    train = dataset.train
    validation = prepared.histories.take(prepared.users_in("validation"))
    start = perf_counter()
    settings = choose_teacher(train, validation, n_items, scale=scale, order=order, dim=dim, seed=seed)
    chosen = perf_counter()
    model = fit_closed_form(train, n_items, settings, reading=reading, order=order, dim=dim, seed=seed)
    seconds = {"choose": round(chosen - start, 1), "fit": round(perf_counter() - chosen, 1)}
    rows = []
    for task in dataset.tasks(list(DEPTHS), seed)[0]:
        question = Question(task, DEPTHS[task.name], n_items)
        horizon, weights = task.horizon, model.weights[task.horizon]
        arrays = [reading.arrays(some) for some in task.inputs.chunks(_USERS)]
        start = perf_counter()
        users = np.concatenate([model.encode(horizon, some) for some in arrays])
        per_user = (perf_counter() - start) / len(task) * 1e3
        known = [model.known(some) for some in arrays]
        values = {
            "64": question.gains(users @ model.vectors.T),
            "sum": question.gains(np.concatenate([model.scores(horizon, *some) for some in known])),
        }
        for name in weights:
            component = model.components[name]
            place = 0 if reads_order(component) else 1
            values[name] = question.gains(np.concatenate([component.score(some[place]) for some in known]))
        rows.append(
            _row(task.name, values, seed) | {"weights": dict(weights), "ms_per_user": round(per_user, 2)}
        )
    return {"rows": rows, "seconds": seconds, "settings": settings.as_json()}


def _row(task: TaskId, values: Mapping[str, NDArray[np.float64]], seed: int) -> dict[str, Any]:
    """Return the means by system, and the 64 numbers against the best component."""
    best = max((name for name in values if name not in {"64", "sum"}), key=lambda name: values[name].mean())
    return {
        "task": task,
        "metric": f"ndcg@{DEPTHS[task]}",
        "users": len(values["64"]),
        "systems": {name: interval(one, seed) for name, one in values.items()},
        "best": best,
        "ratio": round(float(values["64"].mean() / values[best].mean()), 3),
        "difference": interval(values["64"] - values[best], seed),
    }
