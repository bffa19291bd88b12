"""Curve: how good a system is from a person's first rating on.

Dimension letters: B users.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from tastevec.evaluation.judging.answers import answers, only_known
from tastevec.evaluation.report.results import Slice

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tastevec.evaluation.judging.answers import Answers
    from tastevec.evaluation.protocol import Task
    from tastevec.evaluation.scorers import Scorer

__all__ = ["CURVE_DEPTH", "KNOWN_FILMS", "quality_curve"]

KNOWN_FILMS: Final = (1, 2, 3, 5, 10, 20, 50, 100, 200)
CURVE_DEPTH: Final = 100  # of its deepest metric
_PEOPLE = 2000  # asked again at each length: a standard error of about 0.01 at a bounded cost
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
    drawn[np.random.default_rng(seed).permutation(len(task))[:_PEOPLE]] = True
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
        times=task.times[rows],
    )
