"""Catalog size: seconds and memory of the softmax over all items, and of a complete training step, up to a million items.

Dimensions: B users, L history, N items, M target positions, D numbers a vector.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from measure import Run, peak_mb
from torch import Tensor
from torch.nn import functional

from tastevec.data.histories import Histories
from tastevec.data.inputs import N_TIME_GAP_BINS, InputConfig
from tastevec.data.value_scale import ValueScale
from tastevec.model.config import TasteConfig
from tastevec.model.encoder import TasteEncoder
from tastevec.model.losses import next_softmax_loss
from tastevec.training.batches import positive_batch
from tastevec.training.settings import TasteSettings

if TYPE_CHECKING:
    from collections.abc import Callable

FULL, SMALL = ((1_000, 10_000, 100_000, 1_000_000), 8, 7), ((1_000, 10_000, 100_000), 4, 3)
MOST_AT_ONCE = 100_000  # items of which all scores are held at once, for comparison
SETTINGS = TasteSettings()
SCALE = ValueScale.explicit(1.0, 5.0)
SEED = 7


def measured(run: Run) -> dict[str, Any]:
    """Return one row for each catalog size."""
    sizes, users, repeats = FULL if run.full else SMALL
    rows = []
    for items in sizes:
        row: dict[str, Any] = {"films": items}
        for what in ("loss", "plain", "step"):
            if what != "plain" or items <= MOST_AT_ONCE:
                row |= run.call(
                    f"{what} {items}", timed, what=what, items=items, users=users, repeats=repeats
                )
        rows.append(row)
    once = {name: rows[0][name] for name in ("answers", "dim")}
    unused = {*once, "peak_memory_mb", "busy"}
    return {
        "people": users,
        **once,
        "catalog": [{k: v for k, v in row.items() if k not in unused} for row in rows],
    }


def timed(what: str, items: int, users: int, repeats: int) -> dict[str, Any]:
    """Return the median seconds and the growth of the peak memory; called in a process of its own.

    Args:
        what: ``loss`` for our softmax and its gradient, ``plain`` for the same with all scores at once, ``step`` for a complete step.
        items: N.
        users: B.
        repeats: Timed repetitions, after one that does not count.
    """
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    reading = InputConfig(scale=SCALE, max_history=SETTINGS.max_history)
    arrays = positive_batch(_histories(users, items, rng), reading, SETTINGS, rng)
    batch = {name: torch.from_numpy(array) for name, array in arrays.items()}
    once = _step(batch, items) if what == "step" else _loss(batch, items, plain=what == "plain")
    before, seconds = peak_mb(), []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        once()
        seconds.append(time.perf_counter() - start)
    peak = peak_mb()
    found = {f"{what}_seconds": round(statistics.median(seconds[1:]), 4), f"{what}_peak_mb": peak}
    if what == "step":
        return found
    answers = {"answers": len(batch["target_items"]), "dim": SETTINGS.dim}
    return found | {f"{what}_grown_mb": peak - before, **answers}


def _histories(users: int, items: int, rng: np.random.Generator) -> Histories:
    """Return users with histories of the maximum length."""
    length = SETTINGS.max_history
    chosen = np.concatenate([rng.choice(items, length, replace=False) for _ in range(users)])
    return Histories(
        user_ids=np.arange(users),
        offsets=length * np.arange(users + 1),
        items=chosen.astype(np.int32),
        ratings=rng.integers(1, 6, len(chosen)).astype(np.float32),
        normalized_ratings=np.zeros(len(chosen), np.float32),
        timestamps=np.tile(600 * np.arange(length), users),
    )


def _read(batch: dict[str, Tensor], items: int) -> Tensor:
    """Return the items before each target, (M, L); N where there are no more."""
    width = batch["items"].shape[1]
    users, positions = batch["target_positions"] // (width + 1), batch["target_positions"] % (width + 1)
    return torch.where(torch.arange(width) < positions[:, None], batch["items"][users], items)


def _loss(batch: dict[str, Tensor], items: int, *, plain: bool) -> Callable[[], None]:
    """Return the softmax of one batch over a random item matrix, with its gradient."""
    # In place: a copy would raise the peak beforehand.
    table = torch.randn(items, SETTINGS.dim).mul_(SETTINGS.dim**-0.5)
    targets, read = batch["target_items"], _read(batch, items)
    states = torch.randn(len(targets), SETTINGS.dim, requires_grad=True)

    def ours() -> None:
        next_softmax_loss(states, table, targets, read).backward()

    def at_once() -> None:
        seen = torch.zeros(len(states), items + 1, dtype=torch.bool).scatter(1, read, value=True)[:, :-1]
        scores = (states @ table.T).masked_fill(seen, torch.finfo(torch.float32).min)  # (M, N)
        functional.cross_entropy(scores, targets).backward()

    return at_once if plain else ours


def _step(batch: dict[str, Tensor], items: int) -> Callable[[], None]:
    """Return forward, loss, backward and optimizer of the preset taste."""
    config = TasteConfig(
        n_items=items,
        dim=SETTINGS.dim,
        hidden_size=SETTINGS.hidden_size,
        layers=SETTINGS.layers,
        heads=SETTINGS.heads,
        intermediate_size=4 * SETTINGS.hidden_size,
        max_history=SETTINGS.max_history,
        dropout=SETTINGS.dropout,
        rating_bins=SCALE.n_bins,
        time_gap_bins=N_TIME_GAP_BINS,
    )
    model = TasteEncoder(config).train()
    model.items.weight.requires_grad_(False)  # noqa: FBT003  torch has no name for it
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad])
    inputs = {name: batch[name] for name in ("items", "rating_bins", "lengths", "time_gap_bins")}
    read = _read(batch, items)

    def step() -> None:
        optimizer.zero_grad()
        states = model(**inputs)["per_position"].flatten(0, 1)[batch["target_positions"]]
        next_softmax_loss(states, model.items.weight, batch["target_items"], read).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step
