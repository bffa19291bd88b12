"""Protocols: which of a person's films are hidden, and what is known while they are guessed.

Dimension letters: B users, M interactions, T hidden films.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tastevec.data.histories import NO_TIME, normalise_ratings
from tastevec.errors import SettingsError
from tastevec.schema import LIKED_FROM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.schema import Horizon, Protocol

__all__ = ["Task", "cases", "liked_from"]

_LEAST_LIKED = 5  # fold-in asks only people who liked this many films (Liang et al. 2018, section 4.1)
_PROTOCOL_OF: Final[dict[str, Protocol]] = {
    "best-rated": "best-rated",
    "fold-in": "fold-in",
    "next-liked": "future",
    "last-20%": "future",
}
_HIDDEN = 0.2  # the share of liked films that fold-in and last-20% hide


@dataclass(frozen=True, eq=False)
class Task:
    """One question asked of B people: given what is known, which films are hidden?

    Attributes:
        name: ``best-rated``, ``fold-in``, ``next-liked`` or ``last-20%``.
        protocol: The protocol that asks it.
        known: What each person did that may be looked at; its ``normalised`` column is of these ratings alone.
        offsets: (B + 1,) int64; person b's hidden films are ``targets[offsets[b]:offsets[b + 1]]``.
        targets: (T,) int32 indices into the catalogue; nobody has none.
        times: (T,) int64 when each hidden film was rated, Unix seconds; ``NO_TIME`` where that is unknown.
        left_out: People who did not have enough for this question.
        note: What to know when reading the numbers.
        candidates: (N,) the films that may be recommended; None is the whole catalogue.
    """

    name: str
    protocol: Protocol
    known: Histories
    offsets: NDArray[np.int64]
    targets: NDArray[np.int32]
    times: NDArray[np.int64]
    left_out: int
    note: str
    candidates: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        """The number of people asked."""
        return len(self.known)

    @property
    def horizon(self) -> Horizon:
        """Which of a model's two vectors the question asks for."""
        return "next" if self.protocol == "future" else "overall"

    @property
    def hidden(self) -> NDArray[np.int64]:
        """(B,) hidden films of each person, at least 1."""
        return np.diff(self.offsets)

    def chunks(self, users: int) -> Iterator[Task]:
        """The same question to consecutive groups of at most ``users`` people."""
        for known, start in zip(self.known.chunks(users), range(0, len(self), users), strict=True):
            offsets = self.offsets[start : start + len(known) + 1]
            part = slice(offsets[0], offsets[-1])
            yield replace(
                self,
                known=known,
                offsets=offsets - offsets[0],
                targets=self.targets[part],
                times=self.times[part],
            )


def liked_from(rating_range: tuple[float, float]) -> float:
    """The rating from which a film is liked: 4 stars on every MovieLens scale.

    Examples:
        >>> liked_from((1, 5)), liked_from((0.5, 5))  # there is no rating between 3.875 and 4
        (4.0, 3.875)
    """
    low, high = rating_range
    return low + LIKED_FROM * (high - low)


def cases(
    histories: Histories, *, protocol: Protocol, rating_range: tuple[float, float], seed: int = 42
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

    With 10 liked films, ``last-20%`` would hide 2. What follows the first hidden film in ``future`` is never known
    (here I). Order is the histories' own: films of the same second stand as they stood in the source, and the
    task's note says how many people that touches.

    Args:
        histories: The people to ask, each history oldest first.
        protocol: ``best-rated``, ``fold-in`` or ``future``; the latter asks two questions.
        rating_range: The lowest and highest possible rating; a film is liked from three quarters of the way.
        seed: What ``fold-in`` hides depends on this, on the person's id and on the film, and not on other people.

    Returns:
        One task, or two for ``future``. People with nothing to hide or nothing left to know are counted, not asked.

    Raises:
        SettingsError: ``protocol`` is none of the three.
    """
    liked = histories.ratings >= liked_from(rating_range)  # NaN, only tagged, is not liked
    if protocol == "best-rated":
        return (_best_rated(histories),)
    if protocol == "fold-in":
        return (_fold_in(histories, liked, seed),)
    if protocol == "future":
        likes = _counts(histories, liked)
        fifth = np.maximum(1, (_HIDDEN * likes).astype(np.int64))
        last = _future("next-liked", histories, liked, np.ones_like(likes))
        return last, _future("last-20%", histories, liked, fifth)
    raise SettingsError(f"protocol is {protocol!r}; expected best-rated, fold-in or future")


def _best_rated(histories: Histories) -> Task:
    owners = histories.owners
    top = np.full(len(histories), -np.inf, np.float32)
    np.fmax.at(top, owners, histories.ratings)  # fmax passes over NaN
    hidden = histories.ratings == top[owners]
    note = "The films of a person's top rating are hidden, all of them where several share it."
    return _task(histories, hidden, ~hidden, name="best-rated", note=note)


def _fold_in(histories: Histories, liked: NDArray[np.bool_], seed: int) -> Task:
    likes = _counts(histories, liked)
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
    return _task(histories, hidden, ~hidden, name="fold-in", note=note)


def _future(name: str, histories: Histories, liked: NDArray[np.bool_], wanted: NDArray[np.int64]) -> Task:
    """Hide the last ``wanted`` (B,) liked films of each person; known is what stands before the first of them."""
    owners = histories.owners
    through = np.cumsum(liked)  # liked films up to and with each row, over all people
    of_person = np.concatenate([[0], through])[histories.offsets[1:]]  # the same at each person's end
    hidden = liked & (of_person[owners] - through < wanted[owners])
    begun = np.concatenate([[0], np.cumsum(hidden)])
    known = begun[1:] == begun[histories.offsets[:-1]][owners]  # no film of this person is hidden yet
    tied = _share_tied(histories, hidden, known)
    note = f"{tied:.0%} of the people saw the first hidden film in the same second as the film before it: such films keep the order of the source."
    return _task(histories, hidden, known, name=name, note=note)


def _share_tied(histories: Histories, hidden: NDArray[np.bool_], known: NDArray[np.bool_]) -> float:
    """Of the people with known films, the share whose first hidden film has the time of their last known one."""
    first = np.flatnonzero(hidden[1:] & known[:-1] & (np.diff(histories.owners) == 0)) + 1
    times = histories.times[first]
    return float(np.mean((times == histories.times[first - 1]) & (times != NO_TIME))) if len(first) else 0.0


def _task(
    histories: Histories, hidden: NDArray[np.bool_], known: NDArray[np.bool_], *, name: str, note: str
) -> Task:
    """Ask the people who have something hidden (M,) and something known (M,)."""
    enough = (_counts(histories, hidden) > 0) & (_counts(histories, known) > 0)
    asked = histories.take(np.flatnonzero(enough))
    rows = enough[histories.owners]
    left = asked.keep(known[rows])
    # What is hidden must not speak through the person's mean, minimum or maximum.
    left = replace(left, normalised=normalise_ratings(left.ratings, left.offsets))
    sizes = _counts(asked, hidden[rows])
    return Task(
        name=name,
        protocol=_PROTOCOL_OF[name],
        known=left,
        offsets=np.concatenate([[0], np.cumsum(sizes)]),
        targets=asked.items[hidden[rows]],
        times=asked.times[hidden[rows]],
        left_out=int(len(enough) - enough.sum()),
        note=note,
    )


def _counts(histories: Histories, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(B,) true rows of each person."""
    through: NDArray[np.int64] = np.concatenate([[0], np.cumsum(mask)])
    return np.diff(through[histories.offsets])


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
