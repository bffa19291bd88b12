"""Fold-in: liked films hidden by a draw, ours or the published one.

Dimension letters: B users, M interactions, N items.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tastevec.data.preprocess import LIANG_SEED
from tastevec.evaluation.protocol.task import ask, rows_of_each

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.evaluation.protocol.task import Task

__all__ = ["fold_in", "liang_fold_in"]

_LEAST_LIKED = 5  # fold-in asks only people who liked this many films (Liang et al. 2018, section 4.1)
_HIDDEN = 0.2


def fold_in(histories: Histories, liked: NDArray[np.bool_], seed: int) -> Task:
    """A fifth of the liked films is hidden, each draw from the seed, the person's id and the film alone.

    One person's history, oldest first, ``*`` marks liked films; of 5 liked films 1 is hidden, of 9 too, of 10 two::

        film      A    B    C    D    E    F    G    H    I
        rating    5*   2    -    4*   5*   3    4*   4*   1
        draw      .7             .1   .4        .9   .5         D has the lowest

        hidden    D
        known     A B C E F G H I                               later films too: order carries nothing
    """
    likes = rows_of_each(histories, liked)
    wanted = np.where(likes >= _LEAST_LIKED, (_HIDDEN * likes).astype(np.int64), 0)
    rows = np.flatnonzero(liked)
    owners = histories.owners[rows]
    people = _mix(_hashed(histories.user_ids) ^ np.uint64(seed))
    draws = _mix(people[owners] ^ _mix(histories.items[rows].astype(np.uint64)))
    order = np.lexsort((draws, owners))
    place = np.arange(len(rows)) - (np.cumsum(likes) - likes)[owners]  # 0, 1, ... within each person
    hidden = np.zeros(len(liked), np.bool_)
    hidden[rows[order[place < wanted[owners]]]] = True
    note = f"A random 20 % of the liked films is hidden, of people who liked {_LEAST_LIKED} or more; order carries nothing."
    return ask(histories, hidden, ~hidden, name="fold-in", note=note)


def liang_fold_in(histories: Histories, liked: NDArray[np.bool_], candidates: NDArray[np.bool_]) -> Task:
    """A fifth of the liked films is hidden as Liang et al. published it, and only other liked films are known.

    People are taken in the order of their ids, the films of each in the order of theirs (as ml-20m lists them), and
    all draw from one generator, one after another: alone of all tasks, what is hidden of a person depends on who
    stands before him. Only films that a training person liked exist (``candidates``); here C is none of them::

        film      A    B    C    D    E    F    G    H
        rating    5*   2    4*   4*   5*   3    4*   4*         5 liked films that exist: 1 is hidden
        place     0              1    2         3    4
        drawn                         x

        hidden    E
        known     A D G H                                       B and F were not liked: they may be recommended,
                                                                as in the published code

    Whoever liked fewer than 5 of these films has nothing hidden and is not asked.

    Source: Liang, Krishnan, Hoffman & Jebara 2018, section 4.1, and its notebook, which hides the same films.
    """
    usable = liked & candidates[histories.items]
    likes = rows_of_each(histories, usable)
    rows = np.flatnonzero(usable)
    rows = rows[np.lexsort((histories.items[rows], histories.owners[rows]))]
    starts = np.cumsum(likes) - likes
    random = np.random.RandomState(LIANG_SEED)  # the published draws come from this generator
    hidden = np.zeros(len(liked), np.bool_)
    for person in np.argsort(histories.user_ids, kind="stable"):
        if likes[person] >= _LEAST_LIKED:
            drawn = random.choice(likes[person], size=int(_HIDDEN * likes[person]), replace=False)
            hidden[rows[starts[person] + drawn]] = True
    note = (
        f"The split and the draw of Liang et al. 2018 (seed {LIANG_SEED}): 20 % of the liked films is hidden, the other "
        f"liked films are known, and the {int(candidates.sum()):,} films that a training user liked are ranked. On ml-20m "
        "with 10,000 users held out these are the questions behind the published numbers of Mult-VAE, EASE and RecVAE; on "
        "other data they compare with nothing published."
    )
    return ask(histories, hidden, usable & ~hidden, name="fold-in", note=note, candidates=candidates)


def _hashed(user_ids: NDArray[Any]) -> NDArray[np.uint64]:
    """(B,) a number of each id, read as text, so that 7 and "7" are one person and nobody else matters."""
    text = np.ascontiguousarray(user_ids.astype(str))
    codes = text.view(np.uint32).reshape(len(text), text.dtype.itemsize // 4)
    state = np.zeros(len(text), np.uint64)
    for column in codes.T.astype(np.uint64):  # one pass a character, not a person
        state = np.where(column > 0, _mix(state ^ column), state)
    return state


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit numbers, one to one (Steele, Lea & Flood 2014, SplitMix64)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
