"""SASRec of RecTools as a process of its own: a line of JSON asks, a line of JSON answers.

It runs in the peers' environment, which holds RecTools and no tastevec. Tables are ``.npz``, since no pyarrow of today lives with
RecTools' numpy: an array a column of RecTools', ``user_id``, ``item_id``, ``weight`` and ``datetime``, which here only says the order.

Dimension letters: B users, N items.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from copy import deepcopy
from importlib.metadata import version
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pytorch_lightning import seed_everything
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from rectools.models.nn.transformers.lightning import TransformerLightningModule
from torch.nn.functional import cross_entropy

if TYPE_CHECKING:
    import torch

LIBRARIES = ("RecTools", "torch", "pytorch-lightning", "numpy", "pandas")


class Softmax(TransformerLightningModule):
    """The softmax loss of RecTools, the same number in a third of the time: what weighs nothing is not scored at all."""

    def on_train_start(self) -> None:
        """Begin to note what is read, and when each step has ended."""
        super().on_train_start()
        self.films, self.places, self.ended = [], [], []

    def on_train_batch_end(self, *_: object) -> None:
        """Look at the clock."""
        self.ended.append(perf_counter())

    def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """The mean surprise over the films that are foretold, 0 in a batch without any."""
        del batch_idx
        self.films.append(int((batch["x"] > 0).sum()))
        self.places.append(batch["x"].numel())
        films = self.torch_model.item_model.get_all_embeddings()  # (N + 1, D), the padding first
        states = self.torch_model.encode_sessions(batch, films)  # (B, L, D)
        told = batch["yw"] > 0
        surprise = cross_entropy(states[told] @ films.T, batch["y"][told], reduction="sum")
        loss = surprise / told.sum().clamp(min=1)
        self.log(self.train_loss_name, loss, on_step=False, on_epoch=True)
        return loss


class Sasrec:
    """One model, trained a few epochs at a time and asked about people whom it has never seen.

    Args:
        interactions: The training people's table.
        item_count: N; films are called 0 to N - 1.
        settings: Keywords of ``SASRecModel``.
        seed: Of the weights, the dropout and the order of the batches.
    """

    def __init__(self, interactions: str, item_count: int, settings: dict[str, Any], seed: int) -> None:
        seed_everything(seed, verbose=False)
        self._dataset = Dataset.construct(_read(interactions))
        self._item_count = item_count
        self._model = SASRecModel(lightning_module_type=Softmax, **settings)
        self._kept: dict[str, Any] = {}

    def train(self, epochs: int) -> dict[str, Any]:
        """Train so many epochs more; the loss, of each step the films and the places read, and on a clock when it ended."""
        self._model.fit_partial(self._dataset, min_epochs=epochs, max_epochs=epochs)
        module = self._model.lightning_model
        loss = float(self._model.fit_trainer.callback_metrics[SASRecModel.train_loss_name])
        return {"loss": loss, "films": module.films, "places": module.places, "ended": module.ended}

    def keep(self) -> dict[str, Any]:
        """Remember the weights as they are."""
        self._kept = deepcopy(self._model.torch_model.state_dict())
        return {}

    def restore(self) -> dict[str, Any]:
        """Go back to the weights that were remembered."""
        self._model.torch_model.load_state_dict(self._kept)
        return {}

    def score(self, histories: str, users: int, out: str) -> dict[str, Any]:
        """Save (B, N) scores; NaN for films without training, and for people of whom nothing is known.

        Whom the model was trained on plays no part: RecTools reads the histories in the table and nothing else.
        """
        films = self._model.data_preparator.get_known_item_ids()
        table = _read(histories)
        table = table[table["item_id"].isin(films)]
        scores = np.full((users, self._item_count), np.nan, np.float32)
        if len(table):
            found = self._model.recommend(
                table["user_id"].unique(),
                Dataset.construct(table),
                k=len(films),
                filter_viewed=False,
                add_rank_col=False,
            )
            scores[found["user_id"], found["item_id"]] = found["score"]
        np.save(out, scores)
        return {}


def _read(table: str) -> pd.DataFrame:
    with np.load(table) as columns:
        return pd.DataFrame(dict(columns))


def main() -> None:
    """Answer until there are no more questions; the first begins a model, the others ask it."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints must not stand among the answers
    warnings.simplefilter("ignore")  # of Lightning, about loggers and worker processes that we do without
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    model = Sasrec(**json.loads(sys.stdin.readline()))
    print(json.dumps({library: version(library) for library in LIBRARIES}), file=answers)
    for line in sys.stdin:
        request = json.loads(line)
        answer = getattr(model, request.pop("do"))(**request)
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
