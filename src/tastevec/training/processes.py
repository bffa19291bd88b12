"""Processes that train one model together, as ``torchrun`` starts them: which of them this is, and of how many."""

from __future__ import annotations

import os

__all__ = ["place", "together"]


def together() -> int:
    """How many processes train the model; 1 where nobody started several."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def place() -> int:
    """Which of them this is, from 0; what is written and said once is the first one's."""
    return int(os.environ.get("RANK", "0")) if together() > 1 else 0
