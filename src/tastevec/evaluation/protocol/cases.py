"""Cases: which of a person's films are hidden, and what is known while they are guessed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tastevec.data.inputs import liked_from
from tastevec.errors import SettingsError
from tastevec.evaluation.protocol.division import LiangSplit, TimeSplit
from tastevec.evaluation.protocol.draws import fold_in, liang_fold_in
from tastevec.evaluation.protocol.future import after_cut, before, last_fifth, next_liked, shown_cut
from tastevec.evaluation.protocol.task import Task, ask

if TYPE_CHECKING:
    from tastevec.data.histories import Histories
    from tastevec.schema import Protocol

__all__ = ["cases"]


def cases(
    histories: Histories,
    *,
    protocol: Protocol,
    rating_range: tuple[float, float],
    seed: int = 42,
    division: LiangSplit | TimeSplit | None = None,
) -> tuple[Task, ...]:
    """The questions of a protocol, with what is hidden taken out of what is known.

    One person's history, oldest first; ``*`` marks liked films, C has only been tagged::

        film      A    B    C    D    E    F    G    H    I
        rating    5*   2    -    4*   5*   3    4*   4*   1

        best-rated           hidden A E    known B C D F G H I      the top rating; ties all count
        fold-in              hidden D      known A B C E F G H I    20 % of the liked films, drawn; at least 5 liked
        future, next-liked   hidden H      known A B C D E F G      the last liked film; known is all before it
        future, last-20%     hidden H      known A B C D E F G      the last 20 % of the liked films, at least one;
                                                                    known is all before the first of them
        future, after-cut    hidden G H    known A B C D E F        where the people were divided by time, here
                                                                    between F and G: the liked films after the cut

    With 10 liked films, ``last-20%`` would hide 2. What follows the first hidden film in ``future`` is never known
    (here I). Order is the histories' own: films of the same second stand as they stood in the source, and the
    task's note says how many people that touches.

    Where the people were divided by time, only ``after-cut`` looks past the cut: all other questions, of every
    protocol, are asked of histories that end at it. Else a film of later days, which nobody could have learned,
    would be hidden among those that everybody could.

    Args:
        histories: The people to ask, each history oldest first.
        protocol: ``best-rated``, ``fold-in`` or ``future``; the latter asks two questions, or three.
        rating_range: The lowest and highest possible rating; a film is liked from three quarters of the way.
        seed: What ``fold-in`` hides depends on this, on the person's id and on the film, and not on other people;
            but in the split of Liang et al. the published draw decides, and all people must be asked together.
        division: How the people were divided, where the questions depend on it.

    Returns:
        One task, or two or three for ``future``. People with nothing to hide or nothing left to know are counted,
        not asked.

    Raises:
        DataError: Somebody has a film twice.
        SettingsError: ``protocol`` is none of the three.
    """
    threshold = liked_from(rating_range)
    if isinstance(division, TimeSplit):
        earlier = histories.keep(before(histories, division.cut))
        tasks = cases(earlier, protocol=protocol, rating_range=rating_range, seed=seed)
        ends = f" Histories end at the cut, {shown_cut(division.cut)}."
        tasks = tuple(replace(task, note=task.note + ends) for task in tasks)
        if protocol == "future":
            tasks += (after_cut(histories, histories.ratings >= threshold, division),)
        return tasks
    liked = histories.ratings >= threshold  # NaN, only tagged, is not liked
    if protocol == "best-rated":
        return (_best_rated(histories),)
    if protocol == "fold-in":
        if division is not None:
            return (liang_fold_in(histories, liked, division.candidates),)
        return (fold_in(histories, liked, seed),)
    if protocol == "future":
        return next_liked(histories, liked), last_fifth(histories, liked)
    raise SettingsError(f"protocol is {protocol!r}; expected best-rated, fold-in or future")


def _best_rated(histories: Histories) -> Task:
    """The films of the top rating are hidden, all of them; known is the rest, whose scale they do not touch.

    One person's history, oldest first; E was only tagged::

        film      A    B    C    D    E
        rating    5    2    5    4    -

        hidden    A C
        known     B D E                     on his scale B is -1 and D +1: with the 5s, D would be near 0
    """
    owners = histories.owners
    top = np.full(len(histories), -np.inf, np.float32)
    np.fmax.at(top, owners, histories.ratings)  # fmax passes over NaN
    hidden = histories.ratings == top[owners]
    note = "The films of a person's top rating are hidden, all of them where several share it."
    return ask(histories, hidden, ~hidden, name="best-rated", note=note)
