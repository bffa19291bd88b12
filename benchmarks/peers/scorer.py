"""SASRec as a scorer: tables go to a process in the peers' environment, scores come back.

Dimension letters: B users, M interactions, N items.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from tempfile import mkdtemp
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from process import Process

from tastevec.evaluation.scorers import measure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.evaluation.tasks import Task

__all__ = ["NETWORK", "READINGS", "Reading", "Recipe", "Sasrec"]

Reading = Literal["all", "likes", "likes among all"]
# Every rated film is read and foretold; the liked ones alone are; or every one is read and the liked ones are foretold.
READINGS: Final[tuple[Reading, ...]] = ("all", "likes", "likes among all")
# One head, 200 films, two blocks and dropout 0.2 are the paper's for ml-1m (Kang & McAuley 2018, section IV), 64 factors those of
# RecTools' own example on it. What RecTools publishes of ml-1m had 256 factors and up to 200 epochs: hours a training here.
# The small batches are ours: four times the steps of 128 in as many epochs.
NETWORK: Final[Mapping[str, Any]] = {  # keywords of RecTools' SASRecModel
    "n_blocks": 2,
    "n_heads": 1,
    "n_factors": 64,
    "dropout_rate": 0.2,
    "session_max_len": 200,
    "loss": "softmax",
    "lr": 0.001,
    "batch_size": 32,
}
_EVERY = 2  # epochs between two looks at the validation people
_PATIENCE = 3  # looks without a better one, then the training ends
_DEPTH = 100


@dataclass(frozen=True)
class Recipe:
    """How a SASRec is trained.

    Attributes:
        reading: Which films are read, and which foretold.
        liked_from: The rating from which a film is liked.
        epochs: At most; the best ones on the validation people are kept.
    """

    reading: Reading
    liked_from: float
    epochs: int


class Sasrec:
    """SASRec of RecTools, trained once and then asked about people whom it has never seen.

    A person of whom it knows no film is answered with the liked films of the training people, most liked first. Films that
    it has not been trained on stand last.

    Args:
        recipe: How it is trained.
        validation: What the validation people are asked to say when to stop.
        seed: Of the weights, the dropout and the order of the batches.
        command: The process that holds the model.
        work: A folder for the tables that go to and fro.
    """

    name = "SASRec"

    def __init__(
        self, recipe: Recipe, *, validation: Task, seed: int, command: Sequence[str], work: Path
    ) -> None:
        self._recipe, self._seed, self._command = recipe, seed, command
        self._validation = validation
        self._folder = mkdtemp(dir=work)
        self._process: Process | None = None
        self._popular = np.zeros(0, np.float32)
        self.best = -inf  # the validation people's NDCG@100
        self.record: dict[str, Any] = {}  # what the training was, for the results
        self.versions: dict[str, str] = {}  # of what the process runs on

    def fit(self, train: Histories, item_count: int) -> None:
        """Train until the validation people gain no more, and go back to the best; what is trained already stays so."""
        if self._process:
            return
        start = perf_counter()
        liked = train.ratings >= self._recipe.liked_from
        self._popular = np.bincount(train.items[liked], minlength=item_count).astype(np.float32)
        told = liked if self._recipe.reading == "likes among all" else np.ones_like(liked)
        self._process = Process(
            self._command,
            interactions=self._save("train", train, told),
            item_count=item_count,
            settings=dict(NETWORK),
            seed=self._seed,
        )
        self.versions = self._process.welcome
        curve = self._train(item_count)
        self.record = {
            "seed": self._seed,
            "epochs": max(curve, key=curve.get),
            "validation_ndcg@100": self.best,
            "curve": curve,
            "fit_seconds": round(perf_counter() - start, 1),
        }

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) products of each person's last state with the films."""
        out = f"{self._folder}/scores.npy"
        told = np.ones(len(histories.items), np.bool_)
        self._process.ask(
            do="score", histories=self._save("asked", histories, told), users=len(histories), out=out
        )
        scores = np.load(out)
        lowest = np.fmin.reduce(scores, axis=1, keepdims=True)  # (B, 1) NaN for people without an answer
        scores = np.where(np.isnan(scores), lowest - 1, scores)
        return np.where(np.isnan(lowest), self._popular, scores)

    def close(self) -> None:
        """End the process, and with it the model."""
        if self._process:
            self._process.close()

    def _train(self, item_count: int) -> dict[int, float]:
        """The validation people's NDCG@100 after so many epochs; the weights are those of the best."""
        curve: dict[int, float] = {}
        stale = 0
        while (done := max(curve, default=0)) < self._recipe.epochs and stale < _PATIENCE:
            epochs = min(_EVERY, self._recipe.epochs - done)
            self._process.ask(do="train", epochs=epochs)
            value = float(measure(self, self._validation, item_count, (_DEPTH,))[f"ndcg@{_DEPTH}"].mean())
            curve[done + epochs] = value
            stale += 1
            if value > self.best:
                self.best, stale = value, 0
                self._process.ask(do="keep")
        self._process.ask(do="restore")
        return curve

    def _save(self, name: str, histories: Histories, told: NDArray[np.bool_]) -> str:
        """Write what is read of the histories as a table; people are called by their place, and ``told`` (M,) films weigh 1."""
        likes = self._recipe.reading == "likes"
        read = histories.ratings >= self._recipe.liked_from if likes else np.isfinite(histories.ratings)
        path = f"{self._folder}/{name}.npz"
        np.savez(
            path,
            user_id=histories.owners[read],
            item_id=histories.items[read].astype(np.int64),
            weight=told[read].astype(np.float32),
            datetime=np.flatnonzero(read),  # the order of the histories, where times tie
        )
        return path
