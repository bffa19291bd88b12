"""Slices: metrics by history length, item popularity, item age and shuffled sessions.

Dimension letters: B users, N items, T hidden films, G labels of a slicing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from tastevec.data.histories import NO_TIMESTAMP
from tastevec.evaluation.dataset import NO_YEAR
from tastevec.evaluation.geometry import (
    between_user_cosine,
    effective_rank,
    hubness,
    split_half_accuracy,
    split_half_cosine,
    top_direction,
)
from tastevec.evaluation.metrics import (
    cosine_distance,
    mean_direction,
    mean_of_targets,
    unit_rows,
    without_direction,
)
from tastevec.evaluation.results import CENTRED_DISTANCE, DISTANCE, Slice
from tastevec.evaluation.scorers import answers, only_known

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.evaluation.dataset import Items
    from tastevec.evaluation.scorers import Answers, Scorer, VectorScorer
    from tastevec.evaluation.tasks import Task

__all__ = [
    "CURVE_DEPTH",
    "FOUND_AT",
    "KNOWN_FILMS",
    "SESSION_GAP",
    "Slicing",
    "distances",
    "encoded",
    "halves",
    "quality_curve",
    "session_note",
    "sessions",
    "shape",
    "shuffled",
    "slicings",
]

FOUND_AT: Final = 20  # places among which a hidden film counts as found
_NOWHERE: Final = -1
_DECILES: Final = 10
_COLD: Final = (1, 5, 20)  # raters from which each label but the first begins
_AGES: Final = (2, 5, 10, 20, 40)  # years from which each label but the first begins


@dataclass(frozen=True, eq=False)
class Slicing:
    """The hidden films of a task, sorted under labels.

    Attributes:
        by: What the labels are of.
        labels: G of them, in their order.
        codes: (T,) the label of each hidden film; -1 has none.
    """

    by: str
    labels: Sequence[str]
    codes: NDArray[np.int64]

    def found(self, task: Task, places: NDArray[np.int64]) -> Iterator[Slice]:
        """One slice a label that somebody has: the share of a person's hidden films of that label in his first 20.

        Args:
            task: The question.
            places: (T,) the place of each hidden film in its person's ranking, from 0.
        """
        groups = len(self.labels)
        owners = np.repeat(np.arange(len(task)), task.hidden)
        cells = (owners * groups + self.codes)[self.codes != _NOWHERE]
        hit = (places < FOUND_AT)[self.codes != _NOWHERE]
        hidden = np.bincount(cells, minlength=len(task) * groups).reshape(-1, groups)  # (B, G)
        found = np.bincount(cells, weights=hit, minlength=len(task) * groups).reshape(-1, groups)
        shares = np.full(found.shape, np.nan)
        np.divide(found, hidden, out=shares, where=hidden > 0)
        for group, label in enumerate(self.labels):
            if hidden[:, group].any():
                yield Slice(self.by, label, f"found@{FOUND_AT}", shares[:, group].copy())


def slicings(task: Task, items: Items) -> tuple[Slicing, ...]:
    """The hidden films by the film's popularity, by how cold it is, and by its age when it was rated.

    ``popularity decile``: of the films that a training person rated, by how many did, "1" the least popular tenth and
    "10" the most; films of as many raters stand in the order of the catalogue. A film without raters is in none.
    ``cold films``: by the training people who rated it. ``years since release``: the year of the rating minus that of
    the film, a film rated before its year counting as new; films of unknown year or time are left out.
    """
    return (
        Slicing(
            "popularity decile",
            [str(decile + 1) for decile in range(_DECILES)],
            _deciles(items.raters)[task.targets],
        ),
        Slicing(
            "cold films",
            ("0 raters", "1-4", "5-19", "20 or more"),
            np.searchsorted(_COLD, items.raters[task.targets], side="right"),
        ),
        Slicing(
            "years since release",
            ("0-1", "2-4", "5-9", "10-19", "20-39", "40 or more"),
            _ages(task.timestamps, items.years[task.targets]),
        ),
    )


def _deciles(raters: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) 0 to 9, as many films in each as can be; -1 for a film without raters."""
    order = np.argsort(raters, kind="stable")
    rated = order[raters[order] > 0]
    deciles = np.full(len(raters), _NOWHERE)
    deciles[rated] = np.arange(len(rated)) * _DECILES // max(1, len(rated))
    return deciles


def _ages(timestamps: NDArray[np.int64], years: NDArray[np.int64]) -> NDArray[np.int64]:
    """(T,) the label of each hidden film's age in years at the time of the rating."""
    rated = timestamps.astype("datetime64[s]").astype("datetime64[Y]").astype(np.int64) + 1970
    labels = np.searchsorted(_AGES, rated - years, side="right")
    return np.where((timestamps == NO_TIMESTAMP) | (years == NO_YEAR), _NOWHERE, labels)


KNOWN_FILMS: Final = (1, 2, 3, 5, 10, 20, 50, 100, 200)
CURVE_DEPTH: Final = 100  # of its deepest metric
_CURVE_USERS = 2000  # asked again at each length: a standard error of about 0.01 at a bounded cost
_OF_ONE = {"hr@10": 10, "ndcg@10": 10}
_OF_SEVERAL = {"recall@20": 20, f"ndcg@{CURVE_DEPTH}": CURVE_DEPTH}


def quality_curve(scorer: Scorer, whole: Answers, item_count: int, seed: int) -> Iterator[Slice]:
    """The same people asked for the same hidden films, knowing only the newest 1, 2, 3, ... of their known films.

    At most 2,000 people are asked, drawn by the seed, so that a large test costs no more; NaN for the others. Who has
    fewer known films than the length answers as he did with all of them: everybody stands at every length, so that
    the curve is of one and the same group. All films of a person are left out of his rankings at every length, told or
    not: otherwise a short history would fail by finding what its person has seen already.

    Args:
        scorer: Asked for the task's horizon already.
        whole: Its answers when everything known was told, 100 deep.
        item_count: N.
        seed: Draws the people.
    """
    task = whole.task
    metrics = _OF_ONE if task.name == "next-liked" else _OF_SEVERAL
    depths = sorted(set(metrics.values()))
    told_all = whole.accuracy(depths)
    drawn = np.zeros(len(task), np.bool_)
    drawn[np.random.default_rng(seed).permutation(len(task))[:_CURVE_USERS]] = True
    for length in KNOWN_FILMS:
        again = drawn & (task.known.lengths > length)
        short = _shortened(task, again, length)
        told = answers(scorer, short, item_count, max(depths)).accuracy(depths) if len(short) else {}
        for metric in metrics:
            values = np.where(drawn, told_all[metric], np.nan)
            values[again] = told.get(metric, np.nan)
            yield Slice("known films", str(length), metric, values)


def _shortened(task: Task, asked: NDArray[np.bool_], length: int) -> Task:
    """The question to those of its people where ``asked`` (B,) is true, who tell only their newest films."""
    known = task.known.take(np.flatnonzero(asked))
    from_end = np.repeat(known.offsets[1:], known.lengths) - np.arange(known.offsets[-1])
    rows = np.repeat(asked, task.hidden)
    return replace(
        task,
        known=only_known(known, from_end <= length),
        own=known,
        offsets=np.concatenate([[0], np.cumsum(task.hidden[asked])]),
        targets=task.targets[rows],
        timestamps=task.timestamps[rows],
    )


SESSION_GAP: Final = 1800  # seconds; a longer pause ends a session


def sessions(histories: Histories) -> NDArray[np.int64]:
    """(M,) the session of each interaction, counted from 0 over all people.

    A session ends with the person, or where the next film follows more than 30 minutes later. An unknown time ends
    none, so that a history without times is one session.

    Examples:
        >>> from tastevec.data.histories import Histories
        >>> items, one = np.arange(4, dtype=np.int32), np.ones(4, np.float32)
        >>> timestamps = np.array([0, 1800, 3601, 3601])
        >>> sessions(Histories(np.array([7, 8]), np.array([0, 3, 4]), items, one, one, timestamps))
        array([0, 0, 1, 2])
    """
    timestamps, owners = histories.timestamps, histories.owners
    known = (timestamps[1:] != NO_TIMESTAMP) & (timestamps[:-1] != NO_TIMESTAMP)
    ends = (owners[1:] != owners[:-1]) | (known & (np.diff(timestamps) > SESSION_GAP))
    return np.concatenate([np.zeros(min(1, len(timestamps)), np.int64), np.cumsum(ends)])


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
        normalized_ratings=histories.normalized_ratings[order],
    )


def session_note(histories: Histories) -> str:
    """What to know when reading the numbers of a shuffled history."""
    if not np.any(histories.timestamps != NO_TIMESTAMP):
        return "No times are known: shuffled, a whole history is one session, in a random order."
    sizes = np.bincount(sessions(histories))
    share = sizes[sizes > 1].sum() / sizes.sum()
    return (
        f"Shuffled, the known films of each session stand in a random order; {share:.0%} of them share a session, which a "
        f"pause of {SESSION_GAP // 60} minutes ends."
    )


_VECTOR_USERS = 1024  # taken at once
_COMPARED = 10_000  # people among whom hubs are sought: their number squared is compared
_NEIGHBOURS = 10
_HALVES = 2


def distances(
    scorer: VectorScorer, vectors: NDArray[np.float32], task: Task
) -> dict[str, NDArray[np.float64]]:
    """(B,) cosine distances, the mean over each person's hidden films that have a vector."""
    direction = mean_direction(scorer.item_vectors)
    parts = []
    for part, start in zip(task.chunks(_VECTOR_USERS), range(0, len(task), _VECTOR_USERS), strict=True):
        targets = scorer.item_vectors[part.targets]  # (T, D)
        users = np.repeat(vectors[start : start + len(part)], part.hidden, axis=0)  # (T, D)
        centred = (without_direction(users, direction), without_direction(targets, direction))
        there = targets.any(axis=1)
        parts.append(
            [
                mean_of_targets(np.where(there, cosine_distance(*pair), np.nan), part.offsets)
                for pair in ((users, targets), centred)
            ]
        )
    plain, apart = np.concatenate(parts, axis=1)
    return {DISTANCE: plain, CENTRED_DISTANCE: apart}


def halves(scorer: VectorScorer, known: Histories) -> dict[str, NDArray[np.float64]]:
    """(B,) cosines between the vectors of a person's odd and even films, and of his odd and another's even films.

    And the share of others whose even films are farther from his odd ones than his own are. Each half is encoded as if it
    were all that is known. NaN for a person of one film, who has no halves.
    """
    both = np.flatnonzero(known.lengths >= _HALVES)
    users = known.take(both)
    odd = (np.arange(users.offsets[-1]) - users.offsets[:-1][users.owners]) % 2 == 0
    first, second = (encoded(scorer, only_known(users, mask)) for mask in (odd, ~odd))
    found = {
        "split_half_cosine": split_half_cosine(first, second),
        "between_user_cosine": between_user_cosine(first, second),
        "split_half_accuracy": split_half_accuracy(first, second),
    }
    of_all = {name: np.full(len(known), np.nan) for name in found}
    for name, values in found.items():
        of_all[name][both] = values
    return of_all


def shape(vectors: NDArray[np.float32], seed: int) -> dict[str, float]:
    """What only all vectors (B, D) together have, each at length 1, so that everybody counts alike.

    Hubs are sought among 10,000 people at most, drawn by the seed.
    """
    units = unit_rows(vectors)
    drawn = np.sort(np.random.default_rng(seed).permutation(len(units))[:_COMPARED])
    return {
        "effective_rank": effective_rank(units),
        "top_direction": top_direction(units),
        f"hubness@{_NEIGHBOURS}": hubness(units[drawn], _NEIGHBOURS),
    }


def encoded(scorer: VectorScorer, histories: Histories) -> NDArray[np.float32]:
    """(B, D) one vector a person, the people taken in chunks."""
    parts = [scorer.vectors(part) for part in histories.chunks(_VECTOR_USERS)]
    return np.concatenate([np.zeros((0, scorer.item_vectors.shape[1]), np.float32), *parts])
