"""Future: liked films hidden because they came late, and what came before them known.

Dimension letters: B users, M interactions, N items.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from tastevec.data.histories import NO_TIME
from tastevec.evaluation.protocol.task import ask, rows_of_each

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.evaluation.protocol.division import TimeSplit
    from tastevec.evaluation.protocol.task import Task

__all__ = ["after_cut", "before", "last_fifth", "next_liked", "shown_cut"]

_HIDDEN = 0.2


def next_liked(histories: Histories, liked: NDArray[np.bool_]) -> Task:
    """The last liked film is hidden; known is all before it.

    One person's history, oldest first, ``*`` marks liked films::

        film      A    B    C    D    E    F    G    H    I
        rating    5*   2    -    4*   5*   3    4*   4*   1

        hidden    H
        known     A B C D E F G                                 I came after H: never known
    """
    return _last_liked("next-liked", histories, liked, np.ones(len(histories), np.int64))


def last_fifth(histories: Histories, liked: NDArray[np.bool_]) -> Task:
    """The last 20 % of the liked films are hidden, at least one; known is all before the first of them.

    One person's history, oldest first, ``*`` marks liked films; of 10 liked films 2 are hidden::

        film      A    B    C    D    E    F    G    H    I    J    K    L
        rating    5*   4*   5*   4*   5*   4*   4*   3    5*   4*   2    5*

        hidden    J L
        known     A B C D E F G H I                             K came after J: never known
    """
    likes = rows_of_each(histories, liked)
    return _last_liked("last-20%", histories, liked, np.maximum(1, (_HIDDEN * likes).astype(np.int64)))


def after_cut(histories: Histories, liked: NDArray[np.bool_], split: TimeSplit) -> Task:
    """What is liked at or after one moment, the same for everybody, is hidden; known is all before it.

    One person's history, ``*`` marks liked films; the cut is at 50, and nobody taught anything later::

        time      10   20   30   40   50   60   70
        film      A    B    C    D    E    F    G
        rating    5*   2    4*   3    4*   1    5*

        hidden    E G                                           G came out at 65: no training person had rated it,
        known     A B C D                                       it stays hidden, and only its content could find it

    Films of unknown time are neither known nor hidden.
    """
    known, hidden = before(histories, split.cut), liked & (histories.times >= split.cut)
    some = rows_of_each(histories, known) > 0
    none_later = some & (rows_of_each(histories, hidden) == 0)
    asked = histories.items[hidden & (some & ~none_later)[histories.owners]]
    note = (
        f"The cut is {shown_cut(split.cut)}. {int((~split.rated[asked]).sum()):,} of the {len(asked):,} hidden films had been rated by "
        f"no training user before it: only their content can find them. {int((~some).sum()):,} users had nothing before it and "
        f"{int(none_later.sum()):,} liked nothing after it: left out. {_tie_note(histories, hidden, known)}"
    )
    return ask(histories, hidden, known, name="after-cut", note=note)


def before(histories: Histories, cut: int) -> NDArray[np.bool_]:
    """(M,) what certainly happened before ``cut``."""
    earlier: NDArray[np.bool_] = (histories.times < cut) & (histories.times != NO_TIME)
    return earlier


def shown_cut(cut: int) -> str:
    """The moment as people read it.

    Examples:
        >>> shown_cut(978_136_307)
        '2000-12-30 00:31:47 UTC'
    """
    return f"{datetime.fromtimestamp(cut, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _last_liked(name: str, histories: Histories, liked: NDArray[np.bool_], wanted: NDArray[np.int64]) -> Task:
    """Hide the last ``wanted`` (B,) liked films of each person; known is what stands before the first of them."""
    owners = histories.owners
    through = np.cumsum(liked)  # liked films up to and with each row, over all people
    of_person = np.concatenate([[0], through])[histories.offsets[1:]]  # the same at each person's end
    hidden = liked & (of_person[owners] - through < wanted[owners])
    known = _before_the_first(histories, hidden)
    return ask(histories, hidden, known, name=name, note=_tie_note(histories, hidden, known))


def _before_the_first(histories: Histories, hidden: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(M,) the rows of each person that stand before his first hidden film."""
    begun = np.concatenate([[0], np.cumsum(hidden)])
    none_yet: NDArray[np.bool_] = begun[1:] == begun[histories.offsets[:-1]][histories.owners]
    return none_yet


def _tie_note(histories: Histories, hidden: NDArray[np.bool_], known: NDArray[np.bool_]) -> str:
    """How far the order of films is no more than the order of the source."""
    owners = histories.owners
    first, last = np.full(len(histories), -1), np.full(len(histories), -1)
    rows = np.flatnonzero(hidden)[::-1]
    first[owners[rows]] = rows  # where several rows are of one person, the one assigned last stays
    rows = np.flatnonzero(known)
    last[owners[rows]] = rows
    both = (first >= 0) & (last >= 0)
    times = histories.times[first[both]]
    tied = (times == histories.times[last[both]]) & (times != NO_TIME)
    share = float(tied.mean()) if len(tied) else 0.0
    return f"{share:.0%} of the people saw the first hidden film in the same second as the film before it: such films keep the order of the source."
