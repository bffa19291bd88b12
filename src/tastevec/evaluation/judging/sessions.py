"""Sessions: the films that a person rated in one sitting, and the same histories with each sitting in a random order.

The order inside a sitting is partly the order in which a site showed its films. What a system owes to that order is
seen by taking it away.

Dimension letters: M interactions.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from tastevec.data.histories import NO_TIME

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tastevec.data.histories import Histories

__all__ = ["SESSION_GAP", "session_note", "sessions", "shuffled"]

SESSION_GAP: Final = 1800  # seconds; a longer pause ends a session


def sessions(histories: Histories) -> NDArray[np.int64]:
    """(M,) the session of each interaction, counted from 0 over all people.

    A session ends with the person, or where the next film follows more than 30 minutes later. An unknown time ends
    none, so that a history without times is one session.

    Examples:
        >>> from tastevec.data.histories import Histories
        >>> films, one = np.arange(4, dtype=np.int32), np.ones(4, np.float32)
        >>> times = np.array([0, 1800, 3601, 3601])
        >>> sessions(Histories(np.array([7, 8]), np.array([0, 3, 4]), films, one, one, times))
        array([0, 0, 1, 2])
    """
    times, owners = histories.times, histories.owners
    known = (times[1:] != NO_TIME) & (times[:-1] != NO_TIME)
    ends = (owners[1:] != owners[:-1]) | (known & (np.diff(times) > SESSION_GAP))
    return np.concatenate([np.zeros(min(1, len(times)), np.int64), np.cumsum(ends)])


def shuffled(histories: Histories, seed: int) -> Histories:
    """The same histories with the films of each session in a random order; the times stay where they were.

    Films trade places with their ratings, so that the times still ascend and everybody keeps as many films a session.

    Args:
        histories: Each oldest first.
        seed: The same seed gives the same order.
    """
    draws = np.random.default_rng(seed).random(len(histories.items), np.float32)
    # A whole number plus a float32 below 1 is exact in float64, so that no film leaves its session.
    order = np.argsort(sessions(histories) + draws.astype(np.float64))
    return replace(
        histories,
        items=histories.items[order],
        ratings=histories.ratings[order],
        normalised=histories.normalised[order],
    )


def session_note(histories: Histories) -> str:
    """What to know when reading the numbers of a shuffled history."""
    if not np.any(histories.times != NO_TIME):
        return "No times are known: shuffled, a whole history is one session, in a random order."
    sizes = np.bincount(sessions(histories))
    share = sizes[sizes > 1].sum() / sizes.sum()
    return (
        f"Shuffled, the known films of each session stand in a random order; {share:.0%} of them share a session, which a "
        f"pause of {SESSION_GAP // 60} minutes ends."
    )
