"""SASRec of RecTools in a process of its own: a line of JSON is a request, a line of JSON the response.

Its environment has RecTools and no tastevec. Tables are ``.npz``, since current pyarrow versions need another numpy: one array for
each column of RecTools, ``user_id``, ``item_id``, ``weight`` and ``datetime``, which is only the order.

Dimensions: B users, L history, N items, D numbers a vector.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from copy import deepcopy
from importlib.metadata import version
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
    """The softmax loss of RecTools, the same value in a third of the time: positions of weight 0 are not scored."""

    def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Return the mean cross-entropy of the predicted items, 0 in a batch without any."""
        del batch_idx
        items = self.torch_model.item_model.get_all_embeddings()  # (N + 1, D), the padding first
        states = self.torch_model.encode_sessions(batch, items)  # (B, L, D)
        predicted = batch["yw"] > 0
        surprise = cross_entropy(states[predicted] @ items.T, batch["y"][predicted], reduction="sum")
        loss = surprise / predicted.sum().clamp(min=1)
        self.log(self.train_loss_name, loss, on_step=False, on_epoch=True)
        return loss


class Sasrec:
    """One model, trained a few epochs at a time, which scores held-out users.

    Args:
        interactions: The table of training users.
        n_items: N; items are 0 to N - 1.
        settings: Keywords of ``SASRecModel``.
        seed: Of weights, dropout and batch order.
    """

    def __init__(self, interactions: str, n_items: int, settings: dict[str, Any], seed: int) -> None:
        seed_everything(seed, verbose=False)
        self._dataset = Dataset.construct(_read(interactions))
        self._item_count = n_items
        self._model = SASRecModel(lightning_module_type=Softmax, **settings)
        self._kept: dict[str, Any] = {}

    def train(self, epochs: int) -> dict[str, Any]:
        """Train more epochs; return the loss."""
        self._model.fit_partial(self._dataset, min_epochs=epochs, max_epochs=epochs)
        loss = float(self._model.fit_trainer.callback_metrics[SASRecModel.train_loss_name])
        return {"loss": loss}

    def keep(self) -> dict[str, Any]:
        """Copy the weights."""
        self._kept = deepcopy(self._model.torch_model.state_dict())
        return {}

    def restore(self) -> dict[str, Any]:
        """Restore the copied weights."""
        self._model.torch_model.load_state_dict(self._kept)
        return {}

    def score(self, histories: str, users: int, out: str) -> dict[str, Any]:
        """Save scores (B, N); NaN for items without training, and for users without a known item.

        RecTools scores users from the histories in the table and from nothing else.
        """
        items = self._model.data_preparator.get_known_item_ids()
        table = _read(histories)
        table = table[table["item_id"].isin(items)]
        scores = np.full((users, self._item_count), np.nan, np.float32)
        if len(table):
            found = self._model.recommend(
                table["user_id"].unique(),
                Dataset.construct(table),
                k=len(items),
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
    """Respond until the input ends; the first request makes the model."""
    responses = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints must not be among the responses
    warnings.simplefilter("ignore")  # Lightning warns of loggers and workers that we do not use
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    model = Sasrec(**json.loads(sys.stdin.readline()))
    print(json.dumps({library: version(library) for library in LIBRARIES}), file=responses)
    for line in sys.stdin:
        request = json.loads(line)
        response = getattr(model, request.pop("do"))(**request)
        print(json.dumps(response), file=responses)


if __name__ == "__main__":
    main()
