"""SASRec of RecTools on our split: ``python benchmarks/peers/run.py PREPARED --out DIR`` writes what ``tastevec evaluate`` writes.

The environment is made the first time. Which films are read and foretold is chosen by the validation people, one training of
the first seed each; the chosen one is trained from the other seeds too, and then the test people are asked, once.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from environment import HERE, ready
from scorer import NETWORK, READINGS, Recipe, Sasrec

from tastevec.data.files import refuse_foreign
from tastevec.data.inputs import liked_from
from tastevec.data.prepared import Prepared
from tastevec.errors import SettingsError, TastevecError, TrainingError
from tastevec.evaluation.baselines import Popularity
from tastevec.evaluation.dataset import Cohort
from tastevec.evaluation.evaluate import evaluate
from tastevec.evaluation.scorers import Runs
from tastevec.schema import RESULTS_FILE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scorer import Reading

    from tastevec.data.histories import Histories
    from tastevec.evaluation.report import Report
    from tastevec.evaluation.tasks import Task

__all__ = ["EPOCHS", "judged", "refuse_memory"]

SEED = 42
EPOCHS = 40


@dataclass(frozen=True, eq=False)
class _Maker:
    """Makes trained models whose processes and tables last as long as ``stack``."""

    teach: Cohort
    validation: Task
    command: Sequence[str]
    epochs: int
    work: Path
    stack: ExitStack

    def trained(self, reading: Reading, seed: int) -> Sasrec:
        """One training."""
        print(f"SASRec, {reading}, seed {seed} ...", flush=True)
        recipe = Recipe(reading, liked_from(self.teach.rating_range), self.epochs)
        model = Sasrec(recipe, validation=self.validation, seed=seed, command=self.command, work=self.work)
        self.stack.enter_context(closing(model))
        model.fit(self.teach.train, self.teach.item_count)
        refuse_memory(model, self.validation.known)
        print(
            f"  {model.best:.4f} is the validation people's NDCG@100 after {model.record['epochs']} epochs",
            flush=True,
        )
        return model


def judged(prepared: Prepared, command: Sequence[str], *, seeds: int = 3, epochs: int = EPOCHS) -> Report:
    """The test people's answers of SASRec, beside popularity.

    Args:
        prepared: Its training people teach, its validation people choose, its test people are asked.
        command: The process that holds a model; see ``sasrec.py``.
        seeds: Trainings of what was chosen.
        epochs: Of a training, at most.

    Raises:
        SettingsError: There are no seeds or no epochs.
    """
    if min(seeds, epochs) < 1:
        raise SettingsError(
            f"seeds is {seeds} and epochs {epochs}; expected 1 or more of each; leave them out"
        )
    teach = Cohort.of(prepared, "validation")
    validation = next(task for task in teach.tasks("future", SEED) if task.name == "last-20%")
    floor = Popularity(liked_from=liked_from(prepared.rating_range))
    with ExitStack() as stack:
        work = Path(stack.enter_context(TemporaryDirectory()))
        runs = _chosen(_Maker(teach, validation, command, epochs, work, stack), seeds)
        report = evaluate([runs], Cohort.of(prepared, "test"), floors=[floor], seed=SEED)
    # They were fitted before they were judged.
    seconds = sum(run["fit_seconds"] for run in runs.settings["runs"])
    systems = [
        replace(facts, fit_seconds=seconds) if facts.system == runs.name else facts
        for facts in report.systems
    ]
    source = prepared.manifest["source"]["name"]
    data = {"name": source, "fingerprint": prepared.fingerprint, "split": "test"}
    return replace(report, systems=tuple(systems), data=data)


def _chosen(maker: _Maker, seeds: int) -> Runs:
    """The reading that the validation people like best, trained from every seed."""
    tried = {reading: maker.trained(reading, SEED) for reading in READINGS}
    best = max(READINGS, key=lambda reading: tried[reading].best)
    models = [tried[best], *(maker.trained(best, seed) for seed in range(SEED + 1, SEED + seeds))]
    settings = {
        "network": dict(NETWORK),
        "reading": best,
        "most_epochs": maker.epochs,
        "tried": {reading: model.record for reading, model in tried.items()},
        "runs": [model.record for model in models],
        "versions": tried[best].versions,
    }
    return Runs(Sasrec.name, models, settings)


def refuse_memory(model: Sasrec, unseen: Histories) -> None:
    """Make sure that people never seen are answered from their own histories, and from nothing else.

    Raises:
        TrainingError: All histories get the same answer, or a person's place in the table matters.
    """
    people = unseen.take(np.arange(min(len(unseen), 20)))
    scores, turned = model.score(people), np.arange(len(people))[::-1]
    same = np.allclose(scores, scores[turned])
    if same or not np.allclose(scores[turned], model.score(people.take(turned)), atol=1e-4):
        raise TrainingError(
            f"{model.name} answers people whom it has not seen from something else than their histories; expected otherwise; "
            "check the versions in benchmarks/peers/requirements.txt"
        )


def main() -> None:
    """Read the command line, evaluate and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("prepared", type=Path, help="a folder that tastevec prepare wrote")
    parser.add_argument("--out", type=Path, required=True, help="where the results go")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of what was chosen (default: 3)")
    parser.add_argument(
        "--epochs", type=int, default=EPOCHS, help=f"of a training, at most (default: {EPOCHS})"
    )
    asked = parser.parse_args()
    try:
        refuse_foreign(asked.out, owned_by=RESULTS_FILE)  # now, not after the trainings
        prepared = Prepared.open(asked.prepared)
        command = [str(ready()), str(HERE / "sasrec.py")]
        report = judged(prepared, command, seeds=asked.seeds, epochs=asked.epochs)
        report.write(asked.out)
    except TastevecError as error:
        sys.exit(str(error))
    print(report.table())


if __name__ == "__main__":
    main()
