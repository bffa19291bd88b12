"""Distributed data-parallel training under ``torchrun``: rank and world size of this process.

A module of its own because the command line asks for the rank, and must start without torch.
"""

from __future__ import annotations

import os


def world_size() -> int:
    """Return how many processes train the model; 1 without ``torchrun``."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return the rank of this process, from 0; only rank 0 writes files and messages."""
    return int(os.environ.get("RANK", "0")) if world_size() > 1 else 0
