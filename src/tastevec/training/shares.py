"""Shares of a batch: what each process computes of it, and each piece of what is computed one after another.

Dimensions: B runs, L films of the longest, M moments that are asked, P hidden films in all.
"""

from __future__ import annotations

import torch

__all__ = ["asked_of", "share_of"]

Batch = dict[str, torch.Tensor]

_IN_ORDER = ("items", "strengths", "levels", "gaps")


def share_of(batch: Batch, place: int, count: int, *, trim: bool) -> Batch:
    """The ``place``-th of ``count`` shares, which together ask everything once; dealt by length, so that they cost alike.

    Args:
        batch: What `Batches` makes.
        place: From 0 to ``count`` - 1.
        count: More shares than runs leave some with one run of which nothing is asked, so that no process waits in vain.
        trim: Whether padding that no run of the share needs is left out; not where the encoder sees its padding.
    """
    lengths, width = batch["lengths"], batch["items"].shape[1]
    runs = torch.argsort(lengths, descending=True, stable=True)[place::count]
    dealt = torch.full((len(lengths),), -1).scatter(
        0, runs, torch.arange(len(runs))
    )  # (B,) each run's new row
    if not len(runs):
        runs = torch.zeros(1, dtype=torch.long)
    own = max(int(lengths[runs].max()), 1) if trim else width
    made = {name: batch[name][runs, :own] for name in _IN_ORDER} | {"lengths": lengths[runs]}
    if "moments" in batch:
        rows, places = dealt[batch["moments"] // (width + 1)], batch["moments"] % (width + 1)
        asked = {"moments": rows * (own + 1) + places, "next_items": batch["next_items"]}
    else:
        rows = dealt[batch["hidden_people"]]
        asked = {"hidden_people": rows, "hidden_items": batch["hidden_items"]}
    return made | {name: values[rows >= 0] for name, values in asked.items()}


def asked_of(batch: Batch, loss: str) -> int:
    """Over how many the loss is a mean: answers, or people where each of them weighs the same."""
    if "next_items" in batch:
        return len(batch["next_items"])
    people = batch["hidden_people"]
    return len(people if loss == "cosine" else people.unique())
