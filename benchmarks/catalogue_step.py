"""One softmax over a catalogue, or one whole step of training, a few times: seconds, and how much memory it took.

``python benchmarks/catalogue_step.py --what step --films 100000 --people 8 --repeats 7 --out FILE`` is a process of its own in
``benchmarks/catalogue.py``, so that its peak memory is that of this measurement and of nothing before it.

Dimensions: B people, L films of a history, N films of the catalogue, M answers, D numbers a vector.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from watched_training import peak_mb

from tastevec.data.histories import Histories
from tastevec.data.inputs import GAP_LEVELS, RatingScale, Reading
from tastevec.model import losses
from tastevec.model.config import TasteConfig
from tastevec.model.encoder import TasteEncoder
from tastevec.model.losses import next_softmax_loss
from tastevec.training.batches import liked_batch
from tastevec.training.settings import resolve_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

__all__ = ["Largest", "asked"]

SETTINGS = resolve_settings()
SCALE = RatingScale.of((1.0, 5.0))
SEED = 7


class Largest(TorchDispatchMode):
    """Notes how many numbers the largest tensor has that is made while it is on; what looks at another one's is none."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(
        self,
        operation: Callable[..., Any],
        kinds: object,
        told: tuple[Any, ...] = (),
        named: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401  whatever an operation makes
        """Do it, and look at what it made."""
        del kinds
        made = operation(*told, **(named or {}))
        given = {_room(each) for each in told if isinstance(each, torch.Tensor)}
        for each in made if isinstance(made, tuple | list) else (made,):
            if isinstance(each, torch.Tensor) and _room(each) not in given:
                self.numbers = max(self.numbers, each.numel())
        return made


def _room(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def asked(what: str, films: int, people: int, repeats: int) -> dict[str, Any]:
    """Seconds of the median repetition, and by how much it made the peak of memory grow.

    Args:
        what: ``loss`` for ours with its gradient, ``plain`` for the same with all scores at once, ``step`` for everything.
        films: N.
        people: B.
        repeats: After one that does not count.
    """
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    histories = _people(people, films, rng)
    reading = Reading(scale=SCALE, max_history=SETTINGS.max_history)
    batch = {
        name: torch.from_numpy(array)
        for name, array in liked_batch(histories, reading, SETTINGS, rng).items()
    }
    once = _step(batch, films) if what == "step" else _loss(batch, films, plain=what == "plain")[0]
    before, seconds = peak_mb(), []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        once()
        seconds.append(time.perf_counter() - start)
    peak = peak_mb()
    found = {f"{what}_seconds": round(statistics.median(seconds[1:]), 4), f"{what}_peak_mb": peak}
    if what == "step":
        return found
    with Largest() as largest:
        once()
    return found | {
        f"{what}_grown_mb": peak - before,
        f"{what}_largest": largest.numbers,
        "answers": len(batch["next_items"]),
        "dim": SETTINGS.dim,
        "block": losses._BLOCK,  # noqa: SLF001  what is to be shown
    }


def _people(people: int, films: int, rng: np.random.Generator) -> Histories:
    """People who each know as many films as are read of one at most, any of them."""
    length = SETTINGS.max_history
    items = np.concatenate([rng.choice(films, length, replace=False) for _ in range(people)])
    return Histories(
        user_ids=np.arange(people),
        offsets=length * np.arange(people + 1),
        items=items.astype(np.int32),
        ratings=rng.integers(1, 6, len(items)).astype(np.float32),
        normalised=np.zeros(len(items), np.float32),
        times=np.tile(600 * np.arange(length), people),
    )


def _read(batch: dict[str, Tensor], films: int) -> Tensor:
    """(M, L) the films before each answer, N where there are no more."""
    width = batch["items"].shape[1]
    people, places = batch["moments"] // (width + 1), batch["moments"] % (width + 1)
    return torch.where(torch.arange(width) < places[:, None], batch["items"][people], films)


def _loss(batch: dict[str, Tensor], films: int, *, plain: bool) -> tuple[Callable[[], None], Tensor]:
    """The softmax of one batch's answers over a random film table, with its gradient; and the answers."""
    table = torch.randn(films, SETTINGS.dim).mul_(
        SETTINGS.dim**-0.5
    )  # in place: a copy would raise the peak beforehand
    targets, read = batch["next_items"], _read(batch, films)
    answers = torch.randn(len(targets), SETTINGS.dim, requires_grad=True)

    def ours() -> None:
        next_softmax_loss(answers, table, targets, read).backward()

    def at_once() -> None:
        seen = torch.zeros(len(answers), films + 1, dtype=torch.bool).scatter(1, read, value=True)[:, :-1]
        scores = (answers @ table.T).masked_fill(seen, torch.finfo(torch.float32).min)  # (M, N)
        functional.cross_entropy(scores, targets).backward()

    return at_once if plain else ours, answers


def _step(batch: dict[str, Tensor], films: int) -> Callable[[], None]:
    """Forward, loss, backward and optimiser of the taste preset."""
    config = TasteConfig(
        item_count=films,
        dim=SETTINGS.dim,
        hidden_size=SETTINGS.hidden_size,
        layers=SETTINGS.layers,
        heads=SETTINGS.heads,
        intermediate_size=4 * SETTINGS.hidden_size,
        max_history=SETTINGS.max_history,
        dropout=SETTINGS.dropout,
        rating_levels=SCALE.levels,
        item_input=SETTINGS.item_input,
        gap_levels=GAP_LEVELS,
    )
    model = TasteEncoder(config).train()
    model.items.weight.requires_grad_(False)  # noqa: FBT003  torch names it no further
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad])
    inputs = {name: batch[name] for name in ("items", "strengths", "levels", "lengths", "gaps")}
    read = _read(batch, films)

    def step() -> None:
        optimizer.zero_grad()
        moments = model(**inputs, linear=False)["moments"].flatten(0, 1)[batch["moments"]]
        next_softmax_loss(moments, model.items.weight, batch["next_items"], read).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def main() -> None:
    """Measure what is asked and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--what", choices=("loss", "plain", "step"), required=True)
    parser.add_argument("--films", type=int, required=True)
    parser.add_argument("--people", type=int, required=True)
    parser.add_argument("--repeats", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the file")
    told = parser.parse_args()
    told.out.write_text(json.dumps(asked(told.what, told.films, told.people, told.repeats)))


if __name__ == "__main__":
    main()
