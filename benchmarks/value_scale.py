"""Value scale: how much the values of weighted and event feedback should count beyond being positive.

The model and iALS are fitted to the training users with each share of a value, and measured on
the validation users, whose tasks are the same for all shares.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from experiment import SHARED, TINY, interval

from tastevec.data.prepared import Prepared
from tastevec.data.value_scale import ValueScale
from tastevec.evaluation.baselines import ALS, Popularity
from tastevec.evaluation.dataset import EvalDataset
from tastevec.evaluation.scorers import EncodedScorer, measure
from tastevec.items.als import AlsSettings
from tastevec.training.fit import train
from tastevec.training.settings import resolve_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from measure import Run
    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.evaluation.scorers import Scorer
    from tastevec.schema import Horizon, TaskId

SOURCES: Final = {"steam": "steam/plays.csv", "retailrocket": "retailrocket/events.csv"}
TASKS: Final[dict[TaskId, str]] = {"random-20pct": "ndcg@100", "top-rated": "ndcg@10"}
LOGARITHM, FLAT, HALF = (
    "logarithm",
    "flat",
    "half",
)  # from 0.75 to 1 by the logarithm; 1; from 0.5 to 1 by the logarithm
SEEDS: Final = (0, 1, 2)
NETWORK = ("epochs=2", "hidden_size=32", "heads=2", "layers=1", "max_history=50", "report_to=none")
_FACTORS: Final = {"positive": 5.0, "neutral": 2.0, "regularization": 20.0}  # iALS (graded)


@dataclass(frozen=True)
class FromHalf(ValueScale):
    """A scale on which the weakest positive has one half, as an item that was only touched, and the strongest has 1."""

    def share(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the shares (M,): those of the values that are not positive are unchanged."""
        positive = (0.5 + 0.5 * self.position(values)).astype(np.float32)
        return np.where(self.positive(values), positive, super().share(values))


def scales(scale: ValueScale) -> dict[str, ValueScale]:
    """Return the scales that are compared: they agree on what is positive."""
    return {
        LOGARITHM: scale,
        FLAT: replace(scale, top=scale.positive_from),
        HALF: FromHalf(**vars(scale)),
    }


def measured(run: Run) -> dict[str, Any]:
    """Return the mean of each metric by data set, system and share, and its difference from the logarithm's."""
    rows: list[dict[str, Any]] = []
    for name, path in SOURCES.items():
        source = SHARED / "beyond" / path if run.full else generated(run.work / f"{name}.csv", name)
        found: dict[tuple[str, str, str], list[float]] = {}
        for seed in SEEDS if run.full else SEEDS[:1]:
            data = run.work / f"{name}-{seed}"
            run.tastevec(f"prepare {name} {seed}", "prepare", source, "--out", data, "--seed", str(seed))
            arguments = {"data": data, "seed": seed, "network": NETWORK if run.full else TINY}
            for row in run.call(f"fit {name} {seed}", fitted, **arguments)["rows"]:
                found.setdefault((row["system"], row["task"], row["share"]), []).extend(row["values"])
        rows += _rows(name, {key: np.array(values) for key, values in found.items()}, run.seed)
    return {"rows": rows, "metrics": dict(TASKS), "seeds": len(SEEDS) if run.full else 1}


def _rows(
    name: str, found: Mapping[tuple[str, str, str], NDArray[np.float64]], seed: int
) -> list[dict[str, Any]]:
    """Return one row a system, task and share: (B,) users of all seeds, each with the same task for every share."""
    return [
        {
            "data": name,
            "system": system,
            "task": task,
            "share": share,
            "users": len(values),
            **interval(values, seed),
            "difference": interval(values - found[system, task, LOGARITHM], seed),
        }
        for (system, task, share), values in found.items()
    ]


def fitted(data: str, seed: int, network: list[str]) -> dict[str, Any]:
    """Return the values of the validation users by system, task and share; called in a process of its own."""
    prepared = Prepared.open(Path(data))
    dataset = EvalDataset.of(prepared, "validation")
    tasks, _ = dataset.tasks(list(TASKS), seed)
    rows = []
    for share, scale in scales(prepared.scale).items():
        found = scorers(replace(prepared, scale=scale), dataset.train, seed, network)
        for scorer in found:
            for task in tasks:
                metric = TASKS[task.name]
                values = measure(scorer, task, dataset.n_items, (int(metric.partition("@")[2]),))[metric]
                rows.append(
                    {"system": scorer.name, "task": task.name, "share": share, "values": values.tolist()}
                )
    return {"rows": rows}


def scorers(prepared: Prepared, users: Histories, seed: int, network: list[str]) -> list[Scorer]:
    """Return popularity, iALS and the model, fitted to the training users on the scale of ``prepared``."""
    scale, n_items = prepared.scale, len(prepared.item_ids)
    found: list[Scorer] = [
        Popularity(positive_from=scale.positive_from),
        ALS(AlsSettings(scale, seed=seed, **_FACTORS), positives_only=False),
    ]
    for scorer in found:
        scorer.fit(users, n_items)
    changes = dict(one.split("=") for one in (*network, f"seed={seed}"))
    trained = train(prepared, prepared.folder / "training", resolve_settings("taste", **changes))

    def encode(known: Histories, horizon: Horizon) -> NDArray[np.float32]:
        parts = (trained.input_config.arrays(some) for some in known.chunks(256))
        embeddings = np.concatenate([trained.fitted.model.encode(horizon, **arrays) for arrays in parts])
        return trained.fitted.model.geometry.of_users(embeddings)[0]

    return [
        *found,
        EncodedScorer("network", "s", trained.fitted.model.item_vectors, encode),
    ]


def generated(out: Path, name: str) -> Path:
    """Write a small table of weights or events of two tastes."""
    rng = np.random.default_rng(len(name))
    lines = ["user_id,item_id," + ("hours" if name == "steam" else "event")]
    for user in range(80):
        for item in rng.permutation(20)[:8] + 20 * (user % 2):
            value = round(float(rng.lognormal(1)), 1) + 0.1
            lines.append(f"{user},{item},{value if name == 'steam' else ('view', 'purchase')[value > 4]}")  # noqa: PLR2004  any
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return out
