"""Evaluation tasks: which items are held out, and what the input is.

Dimension letters: B users, M interactions, N items, T hidden films.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tastevec.data.histories import NO_TIMESTAMP, normalize_ratings
from tastevec.data.inputs import positive_from
from tastevec.data.preprocess import LIANG_SEED
from tastevec.errors import DataError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.schema import Horizon, Protocol

__all__ = [
    "LiangSplit",
    "Task",
    "TimeSplit",
    "after_split",
    "ask",
    "before",
    "cases",
    "fold_in",
    "format_timestamp",
    "last_20pct",
    "liang_fold_in",
    "next_item",
    "rows_of_each",
]

_PROTOCOL_OF: Final[dict[str, Protocol]] = {
    "best-rated": "best-rated",
    "fold-in": "fold-in",
    "next-liked": "future",
    "last-20%": "future",
    "after-cut": "future",
}


@dataclass(frozen=True, eq=False)
class Task:
    """One question asked of B people: given what is known, which films are hidden?

    Attributes:
        name: ``best-rated``, ``fold-in``, ``next-liked``, ``last-20%`` or ``after-cut``.
        protocol: The protocol that asks it.
        known: What each person did that may be looked at; its ``normalized_ratings`` column is of these ratings alone.
        offsets: (B + 1,) int64; person b's hidden films are ``targets[offsets[b]:offsets[b + 1]]``.
        targets: (T,) int32 indices into the catalogue; nobody has none.
        timestamps: (T,) int64 when each hidden film was rated, Unix seconds; ``NO_TIMESTAMP`` where that is unknown.
        left_out: People who did not have enough for this question.
        note: What to know when reading the numbers.
        candidates: (N,) the films that may be recommended; None is the whole catalogue.
        own: The B people with every film that is left out of their rankings, where that is more than what is told
            of them; None is ``known``.

    Raises:
        DataError: A hidden film is known.
    """

    name: str
    protocol: Protocol
    known: Histories
    offsets: NDArray[np.int64]
    targets: NDArray[np.int32]
    timestamps: NDArray[np.int64]
    left_out: int
    note: str
    candidates: NDArray[np.bool_] | None = None
    own: Histories | None = None

    def __post_init__(self) -> None:
        if not len(self.targets):
            return
        items = np.int64(max(self.targets.max(), self.known.items.max(initial=0))) + 1
        users = np.repeat(np.arange(len(self)), self.hidden)
        hidden = np.sort(
            users * items + self.targets
        )  # (T,) far fewer than what is known, so that these are sorted
        known = self.known.owners * items + self.known.items  # (M,)
        place = np.minimum(np.searchsorted(hidden, known), len(hidden) - 1)
        leaks = np.flatnonzero(hidden[place] == known)
        if len(leaks):
            user, item = divmod(int(known[leaks[0]]), int(items))
            raise DataError(
                f"film {item} of user {self.known.user_ids[user]} is both hidden and known in the task {self.name}; expected "
                "each film of a person once, on one side; prepare the data again"
            )

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
        every = self.known if self.own is None else self.own
        starts = range(0, len(self), users)
        for known, own, start in zip(self.known.chunks(users), every.chunks(users), starts, strict=True):
            offsets = self.offsets[start : start + len(known) + 1]
            part = slice(offsets[0], offsets[-1])
            yield replace(
                self,
                known=known,
                offsets=offsets - offsets[0],
                targets=self.targets[part],
                timestamps=self.timestamps[part],
                own=own,
            )


def ask(
    histories: Histories,
    hidden: NDArray[np.bool_],
    known: NDArray[np.bool_],
    *,
    name: str,
    note: str,
    candidates: NDArray[np.bool_] | None = None,
) -> Task:
    """The task ``name`` for the people who have something hidden (M,) and something known (M,)."""
    enough = (rows_of_each(histories, hidden) > 0) & (rows_of_each(histories, known) > 0)
    asked = histories.take(np.flatnonzero(enough))
    rows = enough[histories.owners]
    left = asked.keep(known[rows])
    # What is hidden must not speak through the person's mean, minimum or maximum.
    left = replace(left, normalized_ratings=normalize_ratings(left.ratings, left.offsets))
    sizes = rows_of_each(asked, hidden[rows])
    return Task(
        name=name,
        protocol=_PROTOCOL_OF[name],
        known=left,
        offsets=np.concatenate([[0], np.cumsum(sizes)]),
        targets=asked.items[hidden[rows]],
        timestamps=asked.timestamps[hidden[rows]],
        left_out=int(len(enough) - enough.sum()),
        note=note,
        candidates=candidates,
    )


def rows_of_each(histories: Histories, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(B,) true rows of each person."""
    through: NDArray[np.int64] = np.concatenate([[0], np.cumsum(mask)])
    return np.diff(through[histories.offsets])


_LEAST_LIKED = 5  # fold-in asks only people who liked this many films (Liang et al. 2018, section 4.1)
_HIDDEN = 0.2


def fold_in(histories: Histories, positive: NDArray[np.bool_], seed: int) -> Task:
    """A fifth of the liked films is hidden, each draw from the seed, the person's id and the film alone.

    One person's history, oldest first, ``*`` marks liked films; of 5 liked films 1 is hidden, of 9 too, of 10 two::

        film      A    B    C    D    E    F    G    H    I
        rating    5*   2    -    4*   5*   3    4*   4*   1
        draw      .7             .1   .4        .9   .5         D has the lowest

        hidden    D
        known     A B C E F G H I                               later films too: order carries nothing
    """
    positives = rows_of_each(histories, positive)
    wanted = np.where(positives >= _LEAST_LIKED, (_HIDDEN * positives).astype(np.int64), 0)
    rows = np.flatnonzero(positive)
    owners = histories.owners[rows]
    users = _mix(_hashed(histories.user_ids) ^ np.uint64(seed))
    draws = _mix(users[owners] ^ _mix(histories.items[rows].astype(np.uint64)))
    order = np.lexsort((draws, owners))
    place = np.arange(len(rows)) - (np.cumsum(positives) - positives)[owners]  # 0, 1, ... within each person
    hidden = np.zeros(len(positive), np.bool_)
    hidden[rows[order[place < wanted[owners]]]] = True
    note = f"A random 20 % of the liked films is hidden, of people who liked {_LEAST_LIKED} or more; order carries nothing."
    return ask(histories, hidden, ~hidden, name="fold-in", note=note)


def liang_fold_in(histories: Histories, positive: NDArray[np.bool_], candidates: NDArray[np.bool_]) -> Task:
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
    usable = positive & candidates[histories.items]
    positives = rows_of_each(histories, usable)
    rows = np.flatnonzero(usable)
    rows = rows[np.lexsort((histories.items[rows], histories.owners[rows]))]
    starts = np.cumsum(positives) - positives
    random = np.random.RandomState(LIANG_SEED)  # the published draws come from this generator
    hidden = np.zeros(len(positive), np.bool_)
    for user in np.argsort(histories.user_ids, kind="stable"):
        if positives[user] >= _LEAST_LIKED:
            drawn = random.choice(positives[user], size=int(_HIDDEN * positives[user]), replace=False)
            hidden[rows[starts[user] + drawn]] = True
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


@dataclass(frozen=True, eq=False)
class LiangSplit:
    """The published split: ``fold-in`` hides what Liang et al. hid.

    Attributes:
        candidates: (N,) the films that a training person liked; no others are hidden, known or recommended.
    """

    candidates: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class TimeSplit:
    """A split by time: nothing was learned from what happened at or after the cut.

    Attributes:
        cut: Unix seconds.
        rated: (N,) the films that a training person had rated before it.
    """

    cut: int
    rated: NDArray[np.bool_]


def next_item(histories: Histories, positive: NDArray[np.bool_]) -> Task:
    """The last liked film is hidden; known is all before it.

    One person's history, oldest first, ``*`` marks liked films::

        film      A    B    C    D    E    F    G    H    I
        rating    5*   2    -    4*   5*   3    4*   4*   1

        hidden    H
        known     A B C D E F G                                 I came after H: never known
    """
    return _last_positive("next-liked", histories, positive, np.ones(len(histories), np.int64))


def last_20pct(histories: Histories, positive: NDArray[np.bool_]) -> Task:
    """The last 20 % of the liked films are hidden, at least one; known is all before the first of them.

    One person's history, oldest first, ``*`` marks liked films; of 10 liked films 2 are hidden::

        film      A    B    C    D    E    F    G    H    I    J    K    L
        rating    5*   4*   5*   4*   5*   4*   4*   3    5*   4*   2    5*

        hidden    J L
        known     A B C D E F G H I                             K came after J: never known
    """
    positives = rows_of_each(histories, positive)
    return _last_positive(
        "last-20%", histories, positive, np.maximum(1, (_HIDDEN * positives).astype(np.int64))
    )


def after_split(histories: Histories, positive: NDArray[np.bool_], split: TimeSplit) -> Task:
    """What is liked at or after one moment, the same for everybody, is hidden; known is all before it.

    One person's history, ``*`` marks liked films; the cut is at 50, and nobody taught anything later::

        time      10   20   30   40   50   60   70
        film      A    B    C    D    E    F    G
        rating    5*   2    4*   3    4*   1    5*

        hidden    E G                                           G came out at 65: no training person had rated it,
        known     A B C D                                       it stays hidden, and only its content could find it

    Films of unknown time are neither known nor hidden.
    """
    known, hidden = before(histories, split.cut), positive & (histories.timestamps >= split.cut)
    some = rows_of_each(histories, known) > 0
    none_later = some & (rows_of_each(histories, hidden) == 0)
    asked = histories.items[hidden & (some & ~none_later)[histories.owners]]
    note = (
        f"The cut is {format_timestamp(split.cut)}. {int((~split.rated[asked]).sum()):,} of the {len(asked):,} hidden films had been rated by "
        f"no training user before it: only their content can find them. {int((~some).sum()):,} users had nothing before it and "
        f"{int(none_later.sum()):,} liked nothing after it: left out. {_tie_note(histories, hidden, known)}"
    )
    return ask(histories, hidden, known, name="after-cut", note=note)


def before(histories: Histories, cut: int) -> NDArray[np.bool_]:
    """(M,) what certainly happened before ``cut``."""
    earlier: NDArray[np.bool_] = (histories.timestamps < cut) & (histories.timestamps != NO_TIMESTAMP)
    return earlier


def format_timestamp(cut: int) -> str:
    """The moment as people read it.

    Examples:
        >>> format_timestamp(978_136_307)
        '2000-12-30 00:31:47 UTC'
    """
    return f"{datetime.fromtimestamp(cut, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _last_positive(
    name: str, histories: Histories, positive: NDArray[np.bool_], wanted: NDArray[np.int64]
) -> Task:
    """Hide the last ``wanted`` (B,) liked films of each person; known is what stands before the first of them."""
    owners = histories.owners
    through = np.cumsum(positive)  # liked films up to and with each row, over all people
    of_person = np.concatenate([[0], through])[histories.offsets[1:]]  # the same at each person's end
    hidden = positive & (of_person[owners] - through < wanted[owners])
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
    timestamps = histories.timestamps[first[both]]
    tied = (timestamps == histories.timestamps[last[both]]) & (timestamps != NO_TIMESTAMP)
    share = float(tied.mean()) if len(tied) else 0.0
    return f"{share:.0%} of the people saw the first hidden film in the same second as the film before it: such films keep the order of the source."


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
    threshold = positive_from(rating_range)
    if isinstance(division, TimeSplit):
        earlier = histories.keep(before(histories, division.cut))
        tasks = cases(earlier, protocol=protocol, rating_range=rating_range, seed=seed)
        ends = f" Histories end at the cut, {format_timestamp(division.cut)}."
        tasks = tuple(replace(task, note=task.note + ends) for task in tasks)
        if protocol == "future":
            tasks += (after_split(histories, histories.ratings >= threshold, division),)
        return tasks
    positive = histories.ratings >= threshold  # NaN, only tagged, is not liked
    if protocol == "best-rated":
        return (_best_rated(histories),)
    if protocol == "fold-in":
        if division is not None:
            return (liang_fold_in(histories, positive, division.candidates),)
        return (fold_in(histories, positive, seed),)
    if protocol == "future":
        return next_item(histories, positive), last_20pct(histories, positive)
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
