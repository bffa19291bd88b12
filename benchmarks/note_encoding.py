"""The research note's way from ratings to people's vectors, written anew from its description.

Its three steps as it takes them: a loop over people that puts each one's ratings on his own scale; a function that collates a batch
row by row (a film's vector looked up and multiplied by the rating, the first 512 films by id, zeros up to 512); and two layers of
``bert-base-cased`` between a linear layer and the classifier. The weights are random: they play no part in how long it takes.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from transformers import BertConfig, BertModel

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["BATCH", "FILMS", "BertForUsers", "collated", "normalised", "note_vectors"]

FILMS, BATCH, DIM = 512, 4, 64
_SILENT = 1e-5


class BertForUsers(nn.Module):
    """Float vectors through the first two layers, the pooler and the classifier of a BERT of the base size."""

    def __init__(self) -> None:
        super().__init__()
        config = BertConfig(num_hidden_layers=2)  # the sizes of bert-base-cased
        config._attn_implementation = "sdpa"  # noqa: SLF001  the fastest that it has, as Hugging Face names it
        bert = BertModel(config)
        self.lift = nn.Linear(DIM, config.hidden_size)
        self.layers, self.pooler = bert.encoder, bert.pooler
        self.classifier = nn.Linear(config.hidden_size, DIM)

    def forward(self, films: torch.Tensor) -> torch.Tensor:
        """(B, 64) of (B, 512, 64); padding is not masked."""
        states = self.layers(self.lift(films)).last_hidden_state
        answer: torch.Tensor = self.classifier(self.pooler(states))
        return answer


def normalised(ratings: pd.DataFrame) -> pd.DataFrame:
    """The ratings of userId, movieId and rating on each person's own scale, person by person."""
    found = []
    for _, rows in ratings.groupby("userId"):
        deviations = rows["rating"] - rows["rating"].mean()
        highest, lowest = deviations.max(), -deviations.min()
        scaled = deviations.copy()
        scaled[deviations > 0] = deviations / highest if highest >= _SILENT else 0.0
        scaled[deviations < 0] = deviations / lowest if lowest >= _SILENT else 0.0
        found.append(rows.assign(rating=scaled))
    import pandas as pd  # noqa: PLC0415  of the note alone

    return pd.concat(found)


def collated(
    people: list[int],
    histories: dict[int, list[tuple[int, float]]],
    places: dict[int, int],
    matrix: NDArray[np.float32],
) -> torch.Tensor:
    """(B, 512, 64) the films of these people, each its row of the matrix times the rating.

    Args:
        people: Of the batch.
        histories: Each person's films and ratings, by the films' ids.
        places: Each film's row of the matrix.
        matrix: (N, 64) the film vectors.
    """
    batch = []
    for person in people:
        films = [matrix[places[film]] * rating for film, rating in histories[person][:FILMS]]
        films += [np.zeros(DIM, np.float32)] * (FILMS - len(films))
        batch.append(np.stack(films))
    return torch.from_numpy(np.stack(batch).astype(np.float32))


def note_vectors(
    ratings: pd.DataFrame, film_ids: NDArray[Any], matrix: NDArray[np.float32]
) -> dict[str, Any]:
    """The vectors of all people of the table, and the seconds of each step.

    Args:
        ratings: userId, movieId and rating as given.
        film_ids: (N,) the films' ids.
        matrix: (N, 64) the film vectors.
    """
    torch.manual_seed(0)
    network = BertForUsers().eval()
    places = {film: place for place, film in enumerate(film_ids.tolist())}
    with torch.inference_mode():
        network(torch.zeros(1, FILMS, DIM))  # nothing is slow for being the first
    seconds = dict.fromkeys(("normalising", "collating", "network"), 0.0)
    began = time.perf_counter()
    scaled = normalised(ratings)
    seconds["normalising"] = time.perf_counter() - began
    began = time.perf_counter()
    histories = {
        person: list(zip(rows["movieId"].tolist(), rows["rating"].tolist(), strict=True))
        for person, rows in scaled.sort_values(["userId", "movieId"]).groupby("userId")
    }
    people, vectors = list(histories), []
    seconds["collating"] += time.perf_counter() - began
    for start in range(0, len(people), BATCH):
        began = time.perf_counter()
        batch = collated(people[start : start + BATCH], histories, places, matrix)
        read = time.perf_counter()
        with torch.inference_mode():
            vectors.append(network(batch).numpy())
        seconds["collating"] += read - began
        seconds["network"] += time.perf_counter() - read
    return {"vectors": np.concatenate(vectors), "seconds": seconds}
