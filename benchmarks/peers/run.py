"""SASRec of RecTools as a baseline on our splits: ``python benchmarks/peers/run.py PREPARED --out DIR`` writes what ``evaluate`` writes.

RecTools needs an environment of its own, which is made the first time. Tables go to its process (``sasrec.py``) and scores come
back. Which interactions it reads and predicts is selected on validation users; the selected variant is trained from every seed.

Dimensions: B users, M interactions, N items.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np

from tastevec.data.files import check_replaceable
from tastevec.data.prepared import Prepared
from tastevec.errors import TastevecError, TrainingError
from tastevec.evaluation.baselines import Popularity
from tastevec.evaluation.dataset import EvalDataset
from tastevec.evaluation.evaluate import evaluate
from tastevec.evaluation.html_report import write_report
from tastevec.evaluation.scorers import Runs, measure
from tastevec.evaluation.tables import report_text
from tastevec.schema import RESULTS_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.evaluation.report import Report
    from tastevec.evaluation.tasks import Task

HERE = Path(__file__).resolve().parent
SEED = 42
# All interactions are read and predicted; the positives alone are; or all are read and the positives are predicted.
Variant = Literal["all", "likes", "likes among all"]
# One head, 200 items, two blocks and dropout 0.2 are the paper's for ml-1m (Kang & McAuley 2018, section IV), 64 factors those of
# RecTools' own example on it. Its published results on ml-1m have 256 factors and up to 200 epochs: hours a training here.
# The small batches are ours: four times the steps of 128 in as many epochs.
NETWORK: Final[Mapping[str, Any]] = {
    "n_blocks": 2,
    "n_heads": 1,
    "n_factors": 64,
    "dropout_rate": 0.2,
    "session_max_len": 200,
    "loss": "softmax",
    "lr": 0.001,
    "batch_size": 32,
}
EVERY, PATIENCE, DEPTH = 2, 3, 100  # epochs between validations; validations without a better one; items


class Process:
    """A process that responds to each line of JSON with a line of JSON; the first response is ``welcome``.

    Raises:
        TrainingError: The process ends without a response.
    """

    def __init__(self, command: Sequence[str], **first: Any) -> None:  # noqa: ANN401  any JSON
        self._command = command
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.welcome = self.request(**first)

    def request(self, **body: Any) -> dict[str, Any]:  # noqa: ANN401  any JSON
        """Return the response to one request."""
        assert self._process.stdin and self._process.stdout  # noqa: PT018  both are pipes
        response = ""
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(body) + "\n")
            self._process.stdin.flush()
            response = self._process.stdout.readline()
        if not response:
            self.close()
            status = self._process.returncode
            raise TrainingError(
                f"{self._command[-1]}: no response, status {status}. Expected JSON. Its error is above."
            )
        found: dict[str, Any] = json.loads(response)
        return found

    def close(self) -> None:
        """End the process, which ends when its input does."""
        with suppress(BrokenPipeError), self._process:
            pass


@dataclass(frozen=True)
class Training:
    """How SASRec is trained.

    Attributes:
        positive: The rating from which an item is positive.
        epochs: At most; the best on validation users counts.
        validation: The task of the validation users.
        command: The process that holds the model.
        work: A folder for tables.
    """

    positive: float
    epochs: int
    validation: Task
    command: Sequence[str]
    work: Path


class Sasrec:
    """SASRec of RecTools as a scorer: trained once, then scoring held-out users from their histories.

    Users without a known item get the popularity of positives. Items without training rank last.

    Args:
        variant: Which interactions are read and which predicted.
        training: How it is trained.
        seed: Of weights, dropout and batch order.
    """

    name = "SASRec"

    def __init__(self, variant: Variant, training: Training, seed: int) -> None:
        self._variant, self._training, self._seed = variant, training, seed
        self._folder = mkdtemp(dir=training.work)
        self._process: Process | None = None
        self._popular = np.zeros(0, np.float32)
        self.best = -inf  # NDCG@100 on validation users
        self.record: dict[str, Any] = {}
        self.versions: dict[str, str] = {}

    @property
    def process(self) -> Process:
        """The process, once ``fit`` started it."""
        assert self._process is not None
        return self._process

    def fit(self, train: Histories, n_items: int) -> None:
        """Train until validation no longer improves, and restore the best epoch; a trained model stays as it is."""
        if self._process:
            return
        start, positive = perf_counter(), train.ratings >= self._training.positive
        self._popular = np.bincount(train.items[positive], minlength=n_items).astype(np.float32)
        predicted = positive if self._variant == "likes among all" else np.ones_like(positive)
        table = self._save("train", train, predicted)
        self._process = Process(
            self._training.command,
            interactions=table,
            n_items=n_items,
            settings=dict(NETWORK),
            seed=self._seed,
        )
        self.versions = self._process.welcome
        curve = self._train(n_items)
        self.record = {
            "seed": self._seed,
            "epochs": max(curve, key=lambda epochs: curve[epochs]),
            "validation_ndcg@100": self.best,
            "curve": curve,
            "fit_seconds": round(perf_counter() - start, 1),
        }

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """Return inner products of each user's last state with the items, (B, N)."""
        out, weights = f"{self._folder}/scores.npy", np.ones(len(histories.items), np.bool_)
        table = self._save("histories", histories, weights)
        self.process.request(do="score", histories=table, users=len(histories), out=out)
        scores: NDArray[np.float32] = np.load(out)
        lowest = np.fmin.reduce(scores, axis=1, keepdims=True)  # (B, 1), NaN for users without a known item
        scores = np.where(np.isnan(scores), lowest - 1, scores)
        return np.where(np.isnan(lowest), self._popular, scores)

    def close(self) -> None:
        """End the process."""
        if self._process:
            self._process.close()

    def _train(self, n_items: int) -> dict[int, float]:
        """Return NDCG@100 on validation users after so many epochs; restore the best weights."""
        curve: dict[int, float] = {}
        stale = 0
        while (done := max(curve, default=0)) < self._training.epochs and stale < PATIENCE:
            epochs = min(EVERY, self._training.epochs - done)
            self.process.request(do="train", epochs=epochs)
            value = float(measure(self, self._training.validation, n_items, (DEPTH,))[f"ndcg@{DEPTH}"].mean())
            curve[done + epochs] = value
            stale += 1
            if value > self.best:
                self.best, stale = value, 0
                self.process.request(do="keep")
        self.process.request(do="restore")
        return curve

    def _save(self, name: str, histories: Histories, predicted: NDArray[np.bool_]) -> str:
        """Write what is read as a table; users are named by their index, and ``predicted`` (M,) interactions weigh 1."""
        positives = self._variant == "likes"
        read = histories.ratings >= self._training.positive if positives else np.isfinite(histories.ratings)
        path = f"{self._folder}/{name}.npz"
        np.savez(
            path,
            user_id=histories.owners[read],
            item_id=histories.items[read].astype(np.int64),
            weight=predicted[read].astype(np.float32),
            datetime=np.flatnonzero(read),  # the order of the histories, where timestamps tie
        )
        return path


def evaluated(
    prepared: Prepared,
    command: Sequence[str],
    *,
    variants: Sequence[Variant] = get_args(Variant),
    seeds: int = 3,
    epochs: int = 40,
) -> Report:
    """Return the evaluation of SASRec on test users, with popularity.

    Args:
        prepared: The prepared dataset.
        command: The process that holds a model; see ``sasrec.py``.
        variants: The variants, of which the best on validation users is evaluated.
        seeds: Trainings of the selected variant.
        epochs: Of a training, at most.
    """
    dataset, positive = EvalDataset.of(prepared, "validation"), prepared.scale.positive_from
    validation = dataset.task("last-20pct", SEED)
    with ExitStack() as stack:
        work = Path(stack.enter_context(TemporaryDirectory()))
        training = Training(positive, epochs, validation, command, work)

        def trained(variant: Variant, seed: int) -> Sasrec:
            print(f"SASRec, {variant}, seed {seed} ...", flush=True)
            model = Sasrec(variant, training, seed)
            stack.enter_context(closing(model))
            model.fit(dataset.train, dataset.n_items)
            _require_histories(model, validation.inputs)
            return model

        runs = _selected(trained, variants, seeds, epochs)
        baseline = Popularity(positive_from=positive)
        report = evaluate([runs], EvalDataset.of(prepared, "test"), baselines=[baseline], seed=SEED)
    # The models are fitted before the evaluation, which cannot measure it.
    seconds = sum(run["fit_seconds"] for run in runs.settings["runs"])
    systems = [
        replace(one, fit_seconds=seconds) if one.system == runs.name else one for one in report.systems
    ]
    source = prepared.manifest["source"]["name"]
    data = {"name": source, "fingerprint": prepared.fingerprint, "split": "test"}
    return replace(report, systems=tuple(systems), data=data)


def _selected(
    trained: Callable[[Variant, int], Sasrec], variants: Sequence[Variant], seeds: int, epochs: int
) -> Runs:
    """Return the best of these variants on validation users, trained from every seed."""
    tried = {variant: trained(variant, SEED) for variant in variants}
    best = max(tried, key=lambda variant: tried[variant].best)
    models = [tried[best], *(trained(best, seed) for seed in range(SEED + 1, SEED + seeds))]
    settings = {
        "network": dict(NETWORK),
        "reading": best,
        "most_epochs": epochs,
        "tried": {variant: model.record for variant, model in tried.items()},
        "runs": [model.record for model in models],
        "versions": tried[best].versions,
    }
    return Runs(Sasrec.name, models, settings)


def _require_histories(model: Sasrec, histories: Histories) -> None:
    """Check that held-out users are scored from their own histories and from nothing else.

    Raises:
        TrainingError: All histories get the same scores, or the position of a user in the table matters.
    """
    users = histories.take(np.arange(min(len(histories), 20)))
    scores, reverse = model.score(users), np.arange(len(users))[::-1]
    same = np.allclose(scores, scores[reverse])
    if same or not np.allclose(scores[reverse], model.score(users.take(reverse)), atol=1e-4):
        raise TrainingError(
            "SASRec: scores do not depend on the history alone. Check benchmarks/peers/requirements.txt."
        )


def _environment(folder: Path = HERE / ".venv") -> Path:
    """Return the Python of RecTools' environment, installed once."""
    python, done = folder / "bin" / "python", folder / "installed"
    requirements = (HERE / "requirements.txt").read_text()
    if not done.exists() or done.read_text() != requirements:
        print(f"Installing RecTools into {folder}: 1.4 GB, a minute or more.", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", HERE / "requirements.txt"], check=True)
        done.write_text(requirements)  # last: an interrupted installation is repeated
    return python


def main() -> None:
    """Evaluate SASRec and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("prepared", type=Path, help="a prepared dataset")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of the selected variant (default: 3)")
    parser.add_argument(
        "--variant", choices=get_args(Variant), help="train this one alone (default: the best of all)"
    )
    parser.add_argument("--epochs", type=int, default=40, help="of a training, at most (default: 40)")
    options = parser.parse_args()
    try:
        check_replaceable(options.out, marker_file=RESULTS_FILE)  # now, not after the trainings
        command = [str(_environment()), str(HERE / "sasrec.py")]
        prepared = Prepared.open(options.prepared)
        variants = (options.variant,) if options.variant else get_args(Variant)
        report = evaluated(prepared, command, variants=variants, seeds=options.seeds, epochs=options.epochs)
        write_report(report, options.out)
    except TastevecError as error:
        sys.exit(str(error))
    print(report_text(report))


if __name__ == "__main__":
    main()
