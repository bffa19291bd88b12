"""Reports of made-up values, without systems or users."""

from __future__ import annotations

import numpy as np

from tastevec.evaluation.report import Report
from tastevec.evaluation.results import (
    Behavior,
    BehaviorRow,
    Slice,
    SystemFacts,
    TaskRecord,
    TaskResult,
)

DATA = {"name": "tiny", "fingerprint": "f00d", "split": "test"}
KNOWN = ("1", "2", "3", "5", "10", "20", "50", "100", "200")
COLD = ("0 raters", "1-4", "5-19", "20 or more")
AGES = ("0-1", "2-4", "5-9", "10-19", "20-39", "40 or more")
AT = (10, 20, 50, 100)


def task_record(name="random-20pct", users=4, *, fingerprint=None, ids=None):
    """Return a task record of so many users, each with 5 input items and 2 held-out items."""
    return TaskRecord(
        name=name,
        note="A note with <angles>.",
        excluded_users=1,
        fingerprint=fingerprint or f"{name}-{users}",
        user_ids=np.arange(1, users + 1) if ids is None else np.array(ids),
        input_items=np.full(users, 5),
        held_out_items=np.full(users, 2),
    )


def facts(system, *, is_baseline=False, space=None, runs=1):
    """Return the facts of a system."""
    return SystemFacts(system, is_baseline, space, runs, {"seed": 42}, 0.5, 0.25)


def measured(system, task, *, system_metrics=None, slices=(), **values):
    """Return the result of one run; metric_at_10=[...] is the metric@10 of each user."""
    values = {name.replace("_at_", "@"): np.array(column, float) for name, column in values.items()}
    runs = {metric: np.array([np.nanmean(column)]) for metric, column in values.items()}
    return TaskResult(system, task, values, runs, system_metrics or {}, tuple(slices))


def behavior_of(*systems):
    """Return a behavior of two measures at both horizons, and of one that was skipped."""
    nan = float("nan")
    rows = []
    for system in systems:
        for horizon, auc in (("overall", 0.75), ("next", 0.7)):
            rows.append(BehaviorRow(system, horizon, "dislike_auc", auc, 0.6, 0.9, 40, "users", 0.78))
            share = 0.05 if horizon == "overall" else 0.09
            rows.append(
                BehaviorRow(system, horizon, "low_category@20", 0.2, nan, nan, 9, "categories", share)
            )
        rows.append(BehaviorRow(system, "overall", "order_difference", 2e-7, nan, nan, 40, "users", nan))
    return Behavior(tuple(rows), {"kept@12": "nothing was <kept>"})


def report_of(systems, results, *, data=DATA, at=(10, 100), seed=42):
    """Return the report of these systems and results."""
    return Report.of(systems, results, at=at, seed=seed, data=data)


def lively(
    *, baselines, models, users=300, tasks=("top-rated", "random-20pct", "next-item", "last-20pct"), seed=0
):
    """Return a realistic report of systems in ascending quality, models last."""
    rng = np.random.default_rng(seed)
    names = [*baselines, *models]
    every = [facts(name, is_baseline=name in baselines, runs=1 if name in baselines else 3) for name in names]
    results = []
    for name in tasks:
        task, n_users = task_record(name, users), rng.gamma(2.0, 0.5, users)
        for place, system in enumerate(names):
            results.append(_lively(system, task, n_users, 0.04 + 0.3 * (place + 1) / len(names), rng))
    return report_of(every, results, at=AT)


def _lively(system, task, users, level, rng):
    def scores(share, runs=3):
        return np.clip(level * share * users + rng.normal(0, 0.05, (runs, len(users))), 0, 1)

    ranked = {
        f"{kind}@{k}": scores(0.3 + 0.15 * np.log10(k))
        for kind in ("hr", "recall", "ndcg", "mrr")
        for k in AT
    }
    if task.horizon == "next":
        ranked |= {f"{metric}_shuffled": 0.8 * values for metric, values in ranked.items()}
    ranked["cosine_distance"] = 1 - scores(1.0)
    ranked["split_half_cosine"] = scores(2.0)
    ranked["novelty@10"] = 8 + scores(3.0)
    system_metrics = {
        "effective_rank": rng.normal(20 + 10 * level, 1, 3),
        "coverage@10": np.clip(rng.normal(level, 0.08, 3), 0.01, 1),
        "gini@10": rng.uniform(0.8, 0.99, 3),
    }
    slices = []
    metrics = ("hr@10", "ndcg@10") if task.name == "next-item" else ("recall@20", "ndcg@100")
    for place, label in enumerate(KNOWN):
        slices += [
            Slice("history_length", label, metric, scores((place + 2) / 10).mean(0)) for metric in metrics
        ]
    for by, labels in (
        ("item_popularity_decile", [str(n + 1) for n in range(10)]),
        ("cold_items", COLD),
        ("item_age_years", AGES),
    ):
        for place, label in enumerate(labels):
            found = scores(2 * (place + 0.5) / len(labels)).mean(0)
            found[rng.random(len(found)) < 0.4] = np.nan
            slices.append(Slice(by, label, "found@20", found))
    return TaskResult(
        system,
        task,
        {metric: values.mean(axis=0) for metric, values in ranked.items()},
        {metric: values.mean(axis=1) for metric, values in ranked.items()},
        system_metrics,
        tuple(slices),
    )
