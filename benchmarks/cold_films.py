"""How well films are found that the training never met, and what the others lose by it.

``python benchmarks/cold_films.py PREPARED`` draws a tenth of the films that training people met, takes them out of all that
training and validation people did, trains the taste preset on what is left, and asks the test people for the drawn films that
they liked. Beside the model stand the nearest films by content, chance, and the model trained with all films (``--model``; trained
here without it). The drawn films left out, both models are asked what they are asked elsewhere. Written to
``results/cold-films.json``; finished trainings stay in ``--work``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bars import show_bars
from cold_folder import draw_films, without_films
from cold_questions import (
    CHOSEN_BY,
    FOUND,
    WARM,
    Random,
    answered,
    better,
    content_floors,
    interval,
    questions,
    ratio,
    warm_tasks,
)
from provenance import ROOT, provenance, save, stage
from rendering import put, rendered

from tastevec.data.prepared import Prepared
from tastevec.errors import DataError, SettingsError
from tastevec.evaluation.dataset import Cohort
from tastevec.pipelines.evaluate import model_runs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tastevec.evaluation.scorers import Scorer
    from tastevec.schema import Horizon

SAVED = ROOT / "results" / "cold-films.json"
SHARE = 0.1
WITHOUT, WITH_ALL = "taste, trained without them", "taste, trained with all films"
HORIZONS: tuple[Horizon, ...] = ("overall", "next")
_OF_ITS_OWN = ("seed", "device", "report_to")  # settings in which the two models may differ


def found(
    models: dict[str, Scorer], cohorts: dict[str, Cohort], cold: NDArray[np.bool_], seed: int
) -> dict[str, Any]:
    """What every system finds of the drawn films, and the floor of each question, which validation people chose."""
    test, floors = cohorts["test"], content_floors(cohorts["taught"])
    without_horizon: list[Scorer] = [*floors, Random(test.item_count, seed)]
    chosen, rows, users = {}, [], {}
    to_choose = questions(cohorts["validation"].unseen, cold, test.rating_range)
    for name, task in questions(test.unseen, cold, test.rating_range).items():
        if not len(task) or not len(to_choose[name]):
            raise DataError(
                "nobody liked a drawn film and knows another; expected test and validation people who did; draw another "
                "--seed or prepare more people"
            )
        chosen[name] = better(floors, to_choose[name], test.item_count)
        users[name] = {"users": len(task), "hidden_films": int(task.hidden.sum())}
        values: dict[tuple[str, Horizon | None], dict[str, NDArray[np.float64]]] = {
            (system, horizon): answered(model, task, test.item_count, horizon)
            for system, model in models.items()
            for horizon in HORIZONS
        }
        values |= {
            (floor.name, None): answered(floor, task, test.item_count, "overall") for floor in without_horizon
        }
        rows += [
            {
                "question": name,
                "system": system,
                "horizon": horizon,
                "metric": metric,
                **interval(got[metric], seed),
                **ratio(got[metric], values[chosen[name], None][metric], seed),
            }
            for (system, horizon), got in values.items()
            for metric in FOUND
        ]
    return {"asked": users, "floor": chosen, "chosen_by": CHOSEN_BY, "cold": rows}


def lost(models: dict[str, Scorer], test: Cohort, cold: NDArray[np.bool_], seed: int) -> list[dict[str, Any]]:
    """What the model trained without the drawn films has left of the other's quality, where these do not exist."""
    rows = []
    for task in warm_tasks(test, cold, seed):
        got = {name: answered(model, task, test.item_count, task.horizon) for name, model in models.items()}
        for metric in WARM[task.name]:
            left, whole = got[WITHOUT][metric], got[WITH_ALL][metric]
            rows.append(
                {
                    "task": task.name,
                    "metric": metric,
                    "users": len(task),
                    "without": float(left.mean()),
                    "with_all": float(whole.mean()),
                    **ratio(left, whole, seed),
                }
            )
    return rows


def trained(data: Path, out: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """One training of the taste preset, as a user runs it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    changes = [part for change in (f"seed={asked.seed}", *asked.set) for part in ("--set", change)]
    command = [sys.executable, "-m", "tastevec", "train", str(data), "--out", str(out), *changes]
    return stage(f"train {out.name}", command, out.parent / "stages")


def measured(asked: argparse.Namespace) -> dict[str, Any]:
    """Draw, train and ask."""
    prepared = Prepared.open(asked.prepared)
    if (division := prepared.manifest["settings"]["split"]) != "hash":
        raise DataError(
            f"{asked.prepared} divides its people by {division}; expected hash, whose questions are asked here: prepare it "
            "without --split"
        )
    work = asked.work / f"draw-{asked.seed}"
    cold = draw_films(prepared, asked.share, asked.seed)
    cut = without_films(prepared, cold, work / "prepared")
    stages = [trained(cut.folder, work / "without", asked)]
    whole = asked.model or work / "with-all"
    if asked.model is None:
        stages.append(trained(asked.prepared, whole, asked))
    runs = {WITHOUT: model_runs(work / "without", cut), WITH_ALL: model_runs(whole, prepared)}
    refuse_other_recipes(*(dict(run.settings) for run in runs.values()))
    models = {name: run.scorers[0] for name, run in runs.items()}
    cohorts = {
        "test": Cohort.of(prepared, "test"),
        "validation": Cohort.of(prepared, "validation"),
        "taught": Cohort.of(cut, "test"),
    }
    return {
        "data": prepared.manifest["source"]["name"],
        **provenance(),
        "stages": stages,
        "draw": {
            "seed": asked.seed,
            "share": asked.share,
            "films": int(cold.sum()),
            "catalogue": len(cold),
            "held_back": cut.manifest["counts"]["interactions"]["dropped"]["film held back"],
            "fingerprint": prepared.fingerprint,
        },
        "settings": dict(runs[WITHOUT].settings),
        **found(models, cohorts, cold, asked.seed),
        "warm": lost(models, cohorts["test"], cold, asked.seed),
    }


def refuse_other_recipes(one: dict[str, Any], other: dict[str, Any]) -> None:
    """A loss speaks of the films only where nothing else differs."""
    changed = [
        name for name in sorted({*one, *other} - {*_OF_ITS_OWN, "seeds"}) if one.get(name) != other.get(name)
    ]
    if changed:
        raise SettingsError(
            f"the model trained with all films differs in {', '.join(changed)}; expected the same recipe: leave out --model, "
            "or train it with the same --set"
        )


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prepared", type=Path, help="a prepared folder")
    parser.add_argument(
        "--model", type=Path, help="a bundle of the same recipe, trained on it with all films"
    )
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "cold", help="where trainings stay")
    parser.add_argument("--share", type=float, default=SHARE, help="of the films, to be taken out")
    parser.add_argument("--seed", type=int, default=42, help="of the draw, the trainings and what is asked")
    parser.add_argument("--set", action="append", default=[], help="NAME=VALUE for the trainings")
    parser.add_argument("--out", type=Path, default=SAVED, help="another file than this is not shown")
    asked = parser.parse_args()
    results = measured(asked)
    save(asked.out, results)
    if asked.out == SAVED:
        put("cold-films", rendered(results))
        show_bars()
    print(rendered(results))


if __name__ == "__main__":
    main()
