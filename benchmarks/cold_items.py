"""Cold items: how well items are recommended that no training user interacted with, and what the other items lose.

A random tenth of the items that training users interacted with is removed from training and validation; test users keep theirs,
and their positives among the removed items are held out. Baselines: the items most similar by content, random, and the model
trained with all items. And the model trained without them, with each kind of content taken away, and from each kind alone.

Dimensions: B users, N items, D numbers a vector.
"""

from __future__ import annotations

import shutil
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from experiment import TINY, interval, ratio, small_world, train
from pyarrow import parquet
from scipy import sparse

from tastevec.data.files import atomic_folder
from tastevec.data.histories import NO_TIMESTAMP, Histories
from tastevec.data.prepared import Prepared, write_manifest
from tastevec.errors import SettingsError
from tastevec.evaluation.baselines import MeanPositive
from tastevec.evaluation.dataset import EvalDataset
from tastevec.evaluation.metrics import unit_rows
from tastevec.evaluation.scorers import EncodedScorer, measure
from tastevec.evaluation.tasks import Task, build_task, hold_out
from tastevec.items.cold_start import NORM_SCALE, content_regression, load_item_features
from tastevec.pipelines.evaluate import model_runs
from tastevec.schema import (
    FEATURES_FILE,
    HISTORIES_FOLDER,
    ITEMS_FILE,
    MANIFEST_FILE,
    SPLITS,
    USER_ID,
    USERS_FILE,
    VECTORS_FILE,
    Horizon,
    TaskId,
)
from tastevec.serving.recommender import load

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from measure import Run
    from numpy.typing import NDArray

    from tastevec.data.value_scale import ValueScale
    from tastevec.evaluation.scorers import Scorer
    from tastevec.model.closed_form import ClosedForm

SHARE = 0.1
WITHOUT, WITH_ALL = "taste, trained without them", "taste, trained with all items"
METRICS: Final = ("recall@20", "recall@50", "ndcg@100")
SELECTED_BY: Final = "ndcg@100"
WARM: Final[dict[TaskId, tuple[str, ...]]] = {
    "random-20pct": ("ndcg@100", "recall@20"),
    "next-item": ("ndcg@10", "recall@20"),
    "last-20pct": ("ndcg@100", "recall@20"),
}
_TASKS: Final[dict[Horizon, TaskId]] = {"overall": "random-20pct", "next": "last-20pct"}
_DAY: Final = 86_400
_REASON: Final = "film held back"
_MAY_DIFFER: Final = {"seed", "seeds", "device", "report_to"}


def measured(run: Run) -> dict[str, Any]:
    """Remove items, train without them, and evaluate both models."""
    data, model = small_world(run)
    prepared = Prepared.open(data)
    cold = draw_items(prepared, SHARE, run.seed)
    cut = without_items(prepared, cold, run.work / f"without-items-{run.seed}")
    changes = (f"seed={run.seed}", *(() if run.full else TINY))
    without = train(
        run, cut.folder, f"without-{run.seed}", *(word for one in changes for word in ("--set", one))
    )
    runs = {WITHOUT: model_runs(without, cut), WITH_ALL: model_runs(model, prepared)}
    settings = [
        {name: value for name, value in one.settings.items() if name not in _MAY_DIFFER}
        for one in runs.values()
    ]
    if settings[0] != settings[1]:
        raise SettingsError(f"The settings of {model} differ. Expected those of the model without the items.")
    models = {name: one.scorers[0] for name, one in runs.items()}
    datasets = {
        "test": EvalDataset.of(prepared, "test"),
        "validation": EvalDataset.of(prepared, "validation"),
        "train": EvalDataset.of(cut, "test"),
    }
    dropped = cut.manifest["counts"]["interactions"]["dropped"]
    counts = {"films": int(cold.sum()), "catalog": len(cold), "held_back": dropped[_REASON]}
    return {
        "data": prepared.manifest["source"]["name"],
        "draw": {"seed": run.seed, "share": SHARE, **counts, "fingerprint": prepared.fingerprint},
        "settings": dict(runs[WITHOUT].settings),
        **_cold(models, datasets, cold, run.seed),
        "warm": _warm(models, datasets["test"], cold, run.seed),
        "kinds": _kinds(
            without, cut, _tasks(datasets["test"].held_out_users, cold, prepared.scale), run.seed
        ),
    }


# ---- the dataset without the items ----


def draw_items(prepared: Prepared, share: float, seed: int) -> NDArray[np.bool_]:
    """Return a mask (N,) of a random share of the items that training users interacted with."""
    items = np.unique(prepared.histories.take(prepared.users_in("train")).items)
    drawn = np.zeros(prepared.items.num_rows, np.bool_)
    drawn[np.random.default_rng(seed).permutation(items)[: int(share * len(items))]] = True
    return drawn


def without_items(prepared: Prepared, items: NDArray[np.bool_], out: Path) -> Prepared:
    """Write the dataset without these items (N,) in the histories of training and validation users.

    Test users, items and content vectors stay. Users with too few interactions left are dropped, as by ``prepare``. The same
    items give the same bytes and the same fingerprint.
    """
    histories, settings = prepared.histories, prepared.manifest["settings"]
    removed = (prepared.splits != SPLITS.index("test"))[histories.owners] & items[histories.items]
    left = histories.keep_alone(~removed)
    stays = np.flatnonzero(left.lengths >= settings["minimum_interactions"])
    left, splits = left.take(stays), prepared.splits[stays]
    with atomic_folder(out, marker_file=MANIFEST_FILE) as folder:
        left.save(folder / HISTORIES_FOLDER)
        parquet.write_table(_users(left, splits), folder / USERS_FILE)
        for name in (ITEMS_FILE, VECTORS_FILE, FEATURES_FILE):
            if name in prepared.manifest["files"]:
                shutil.copyfile(prepared.folder / name, folder / name)
        counts = _counts(prepared, left, splits, int(removed.sum()))
        write_manifest(folder, prepared.manifest | {"counts": counts})
    return Prepared.open(out)


def _users(left: Histories, splits: NDArray[np.uint8]) -> pa.Table:
    """Return the users as a prepared dataset lists them."""
    days = pa.array(left.timestamps // _DAY, mask=left.timestamps == NO_TIMESTAMP)
    spans = pa.table({"owner": left.owners, "day": days}).group_by("owner", use_threads=False)
    spans = spans.aggregate([("day", "min"), ("day", "max")]).sort_by("owner")
    return pa.table(
        {
            USER_ID: left.user_ids,
            "split": pa.array(splits, pa.uint8()),
            "interactions": left.lengths,
            "first_day": spans["day_min"],
            "last_day": spans["day_max"],
        }
    )


def _counts(prepared: Prepared, left: Histories, splits: NDArray[np.uint8], removed: int) -> dict[str, Any]:
    """Return the row report of the dataset, with what is removed and the users that are dropped by that."""
    counts: dict[str, Any] = deepcopy(prepared.manifest["counts"])
    interactions, users = counts["interactions"], counts["users"]
    too_few = f"user left with too few, {_REASON}"
    of_dropped = interactions["kept"] - removed - len(left.items)
    interactions |= {"kept": len(left.items)}
    interactions["dropped"] |= {_REASON: removed, too_few: of_dropped}
    users["dropped"] |= {too_few: users["kept"] - len(left)}
    users |= {"kept": len(left)}
    counts["splits"] = {name: int((splits == code).sum()) for code, name in enumerate(SPLITS)}
    return counts


# ---- the evaluation ----


class _Random:
    """Baseline: every item has a random score for every user."""

    name = "random"

    def __init__(self, n_items: int, seed: int) -> None:
        self._item_count, self._rng = n_items, np.random.default_rng(seed)

    def fit(self, train: Histories, n_items: int) -> None:
        """Learn nothing."""

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """Return the next random numbers, (B, N)."""
        return self._rng.random((len(histories), self._item_count), np.float32)


def _cold(
    models: dict[str, Scorer], datasets: dict[str, EvalDataset], cold: NDArray[np.bool_], seed: int
) -> dict[str, Any]:
    """Return the metrics of every system on the cold items, and their ratio to the best content baseline."""
    test, baselines = datasets["test"], _content_baselines(datasets["train"])
    selection = _tasks(datasets["validation"].held_out_users, cold, test.scale)
    users, best, rows = {}, {}, []
    for name, task in _tasks(test.held_out_users, cold, test.scale).items():
        best[name] = _better(baselines, selection[name], test.n_items)
        users[name] = {"n_users": len(task), "held_out_items": int(task.held_out_items.sum())}
        entries: list[tuple[str, Scorer, Horizon | None]] = [
            (system, model, horizon) for system, model in models.items() for horizon in _TASKS
        ]
        entries += [(one.name, one, None) for one in (*baselines, _Random(test.n_items, seed))]
        found = {
            (system, horizon): _values(scorer, task, test.n_items, horizon or "overall")
            for system, scorer, horizon in entries
        }
        rows += [
            {"candidates": name, "system": system, "horizon": horizon, "metric": metric}
            | interval(values[metric], seed)
            | ratio(values[metric], found[best[name], None][metric], seed)
            for (system, horizon), values in found.items()
            for metric in METRICS
        ]
    return {"asked": users, "baseline": best, "chosen_by": SELECTED_BY, "cold": rows}


def _tasks(users: Histories, cold: NDArray[np.bool_], scale: ValueScale) -> dict[str, Task]:
    """Return the task among all items and among the cold items alone; positives among the cold items are held out.

    Cold items that a user rated and that are not positive stay among the candidates.
    """
    drawn, positive = cold[users.items], scale.positive(users.ratings)
    note = "Positives among the items removed from the training are held out."
    task = hold_out(users, drawn & positive, ~drawn, name="random-20pct", note=note)
    return {"all items": task, "cold items": replace(task, candidates=cold)}


def _content_baselines(dataset: EvalDataset) -> list[MeanPositive]:
    """Return the items most similar by content to the mean of the positives: as they are, and centered."""
    units = unit_rows(dataset.items.vectors).astype(np.float32)  # (N, D)
    there = units.any(axis=1, keepdims=True)
    centered = np.where(there, units - units.sum(axis=0) / max(1, there.sum()), 0)
    spaces = {"content": units, "content, centered": centered}
    positive = dataset.scale.positive_from
    baselines = [
        MeanPositive(vectors, space=name, positive_from=positive) for name, vectors in spaces.items()
    ]
    for baseline in baselines:
        baseline.fit(dataset.train, len(units))
    return baselines


def _values(scorer: Scorer, task: Task, n_items: int, horizon: Horizon) -> dict[str, NDArray[np.float64]]:
    """Return each metric of every user, (B,)."""
    return measure(scorer, replace(task, name=_TASKS[horizon]), n_items, (10, 20, 50, 100))


def _better(baselines: Sequence[Scorer], task: Task, n_items: int) -> str:
    """Return the name of the baseline with the higher NDCG@100 on validation users."""
    means = {one.name: _values(one, task, n_items, "overall")[SELECTED_BY].mean() for one in baselines}
    return max(means, key=lambda name: means[name])


def _warm(
    models: dict[str, Scorer], test: EvalDataset, cold: NDArray[np.bool_], seed: int
) -> list[dict[str, Any]]:
    """Return the metrics of both models on the other items, as if the cold items did not exist."""
    users = test.held_out_users.keep_alone(~cold[test.held_out_users.items])
    tasks = [replace(build_task(name, users, scale=test.scale, seed=seed), candidates=~cold) for name in WARM]
    rows = []
    for task in filter(len, tasks):
        found = {name: _values(model, task, test.n_items, task.horizon) for name, model in models.items()}
        for metric in WARM[task.name]:
            without, with_all = found[WITHOUT][metric], found[WITH_ALL][metric]
            means = {"without": float(without.mean()), "with_all": float(with_all.mean())}
            row = {"task": task.name, "metric": metric, "n_users": len(task)}
            rows.append(row | means | ratio(without, with_all, seed))
    return rows


def _kinds(model: Path, cut: Prepared, tasks: dict[str, Task], seed: int) -> list[dict[str, Any]]:
    """Return how `overall` ranks cold items whose vectors are predicted without each kind of content, and from each alone."""
    bundle = load(model, runtime="torch").bundle
    closed_form, n_items = bundle.model.closed_form, len(cut.item_ids)
    counts = np.bincount(cut.histories.take(cut.users_in("train")).once().items, minlength=n_items)
    features, raw = load_item_features(cut.folder)
    blocks = features.blocks(raw)
    columns = np.cumsum([0, *(block.shape[1] for block in blocks.values())])
    rows = features.normalize(raw).tocsc()
    there = {
        name: rows[:, start:end]
        for name, start, end in zip(blocks, columns[:-1], columns[1:], strict=True)
        if rows[:, start:end].nnz
    }
    sets = {"all": [*there]}
    sets |= {f"without {name}": [other for other in there if other != name] for name in there}
    sets |= {f"{name} alone": [name] for name in there}
    found: dict[tuple[str, str], NDArray[np.float64]] = {}
    for content, names in sets.items():
        if not names:
            continue
        some = sparse.hstack([there[name] for name in names], "csr")
        slopes, mean = content_regression(some, closed_form.table, counts)
        predicted = NORM_SCALE * (some @ slopes.astype(np.float64) + mean)
        table = np.where(counts[:, None] > 0, closed_form.table, predicted).astype(np.float32)
        changed = replace(closed_form, table=table)

        def encode(
            histories: Histories, horizon: Horizon, model: ClosedForm = changed
        ) -> NDArray[np.float32]:
            return model.encode(horizon, bundle.reading.arrays(histories))

        scorer = EncodedScorer(content, "", table, encode, "overall")
        for candidates, task in tasks.items():
            found[candidates, content] = _values(scorer, task, n_items, "overall")[SELECTED_BY]
    return [
        {"candidates": candidates, "content": content, "metric": SELECTED_BY}
        | interval(values, seed)
        | {"difference": interval(values - found[candidates, "all"], seed)}
        for (candidates, content), values in found.items()
    ]
