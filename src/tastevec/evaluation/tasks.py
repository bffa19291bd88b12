"""Evaluation tasks: which items are held out, and what the input is.

Dimension letters: B users, M interactions, N items, T held-out items.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tastevec.data.histories import NO_TIMESTAMP
from tastevec.data.preprocess import LIANG_SEED
from tastevec.errors import DataError, SettingsError
from tastevec.schema import renamed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.data.value_scale import ValueScale
    from tastevec.schema import Horizon, Order, TaskId

TASK_TITLES: Final[dict[TaskId, str]] = {
    "top-rated": "Top-rated items",
    "random-20pct": "Random 20 % of positives",
    "next-item": "Next item (leave-last-out)",
    "last-20pct": "Last 20 % of positives (per-user temporal)",
    "global-temporal": "Positives after the split timestamp",
}
_ORDER_FREE: Final = ("top-rated", "random-20pct")


def task_horizon(task: TaskId) -> Horizon:
    """Return the horizon that a task evaluates: ``next`` where the input ends before the first held-out item."""
    return "overall" if task in _ORDER_FREE else "next"


def reason_to_skip(task: TaskId, scale: ValueScale, order: Order) -> str | None:
    """Return why no data of this feedback and order have the task; None if they may have it."""
    if order == "none" and task_horizon(task) == "next":
        return "there is no order in time"
    if scale.kind == "implicit" and task == "top-rated":
        return "implicit feedback has no value above others"
    return None


NO_USER: Final[dict[TaskId, str]] = {
    "top-rated": "no user has a value above others",
    "random-20pct": "no user has 5 positives",
    "next-item": "no user has an item before a positive",
    "last-20pct": "no user has an item before a positive",
    "global-temporal": "no user has an item before the split timestamp and a positive after it",
}


@dataclass(frozen=True, eq=False)
class Task:
    """One task for B users: input histories and held-out items.

    Attributes:
        inputs: The visible part of each history; its ``normalized_ratings`` column is computed from these ratings alone.
        offsets: (B + 1,) int64; the held-out items of user b are ``targets[offsets[b]:offsets[b + 1]]``.
        targets: (T,) int32 item indices, at least one for each user.
        timestamps: (T,) int64 Unix seconds of each held-out interaction; ``NO_TIMESTAMP`` where unknown.
        excluded_users: Number of users without enough interactions for this task.
        note: What to know when reading the metrics.
        candidates: (N,) items that may be recommended; None means the full catalog.
        seen: The histories whose items are excluded from the rankings, where these are more than ``inputs``;
            None means ``inputs``.

    Raises:
        DataError: A held-out item is also an input item, or is held out twice.
    """

    name: TaskId
    inputs: Histories
    offsets: NDArray[np.int64]
    targets: NDArray[np.int32]
    timestamps: NDArray[np.int64]
    excluded_users: int
    note: str
    candidates: NDArray[np.bool_] | None = None
    seen: Histories | None = None

    def __post_init__(self) -> None:
        if not len(self.targets):
            return
        items = np.int64(max(self.targets.max(), self.inputs.items.max(initial=0))) + 1
        users = np.repeat(np.arange(len(self)), self.held_out_items)
        # (T,) sorted, since held-out items are far fewer than input items
        held_out = np.sort(users * items + self.targets)
        inputs = self.inputs.owners * items + self.inputs.items  # (M,)
        index = np.minimum(np.searchsorted(held_out, inputs), len(held_out) - 1)
        leaks, twice = inputs[held_out[index] == inputs], held_out[1:][np.diff(held_out) == 0]
        for pairs, found in ((leaks, "both an input item and held out"), (twice, "held out twice")):
            if len(pairs):
                user, item = divmod(int(pairs[0]), int(items))
                raise DataError(
                    f"task {self.name}: item {item} of user {self.inputs.user_ids[user]} is {found}. "
                    "Expected each item of a user once. Run: tastevec prepare"
                )

    def __len__(self) -> int:
        """Return B."""
        return len(self.inputs)

    @property
    def horizon(self) -> Horizon:
        """The horizon of the user embedding."""
        return task_horizon(self.name)

    @property
    def held_out_items(self) -> NDArray[np.int64]:
        """(B,) number of held-out items of each user, at least 1."""
        return np.diff(self.offsets)

    def chunks(self, users: int) -> Iterator[Task]:
        """Yield the same task for consecutive groups of at most ``users`` users."""
        every = self.inputs if self.seen is None else self.seen
        starts = range(0, len(self), users)
        for inputs, seen, start in zip(self.inputs.chunks(users), every.chunks(users), starts, strict=True):
            offsets = self.offsets[start : start + len(inputs) + 1]
            rows = slice(offsets[0], offsets[-1])
            yield replace(
                self,
                inputs=inputs,
                offsets=offsets - offsets[0],
                targets=self.targets[rows],
                timestamps=self.timestamps[rows],
                seen=seen,
            )


@dataclass(frozen=True, eq=False)
class LiangSplit:
    """The published Mult-VAE user split: ``random-20pct`` holds out the items that Liang et al. held out.

    Attributes:
        candidates: (N,) items with a positive rating of a training user; no others are input, held out or recommended.
    """

    candidates: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class TemporalSplit:
    """The global temporal split: nothing at or after the split timestamp is training data.

    Attributes:
        split_timestamp: Unix seconds.
        rated: (N,) items that a training user rated before it.
    """

    split_timestamp: int
    rated: NDArray[np.bool_]


def build_task(
    name: TaskId,
    histories: Histories,
    *,
    scale: ValueScale,
    seed: int = 42,
    split: LiangSplit | TemporalSplit | None = None,
) -> Task:
    """Return a task: what is held out of the histories, and the input that remains.

    One user's history, oldest first; ``*`` marks positives, C is a tag-only interaction::

        item      A    B    C    D    E    F    G    H    I
        rating    5*   2    -    4*   5*   3    4*   4*   1

        top-rated          held out A E    input B C D F G H I      the top rating, all ties
        random-20pct       held out D      input A B C E F G H I    20 % of the positives at random; 5 or more positives
        next-item          held out H      input A B C D E F G      the last positive; input is everything before it
        last-20pct         held out H      input A B C D E F G      the last 20 % of the positives, at least one; input is
                                                                    everything before the first of them
        global-temporal    held out G H    input A B C D E F        split timestamp between F and G: positives from it on

    With 10 positives, ``last-20pct`` holds out 2. What follows the first held-out item is never input (here I), except in
    ``top-rated`` and ``random-20pct``. Order is that of the histories: interactions with equal timestamps keep the order
    of the source, and the task's note gives the share of users that this affects.

    Where items repeat, an item is known from its first row on: only there it may be held out, and it is positive by its value
    over all its rows. ``top-rated`` and ``random-20pct`` have each item once, as their horizon reads it.

    With a temporal split, only ``global-temporal`` uses interactions from the split timestamp on. All other tasks end the
    histories there: otherwise items of later days, which no system could learn, would be among the held-out items.

    Args:
        name: The task ID.
        histories: The users to evaluate, each history oldest first.
        scale: The value scale, which decides what is positive.
        seed: What ``random-20pct`` holds out depends on the seed, the user ID and the item, not on other users.
            With the split of Liang et al. the published draw decides instead, and all users must be given together.
        split: The split strategy, where tasks depend on it.

    Returns:
        The task. Users without a held-out item or without input items are counted and excluded.

    Raises:
        DataError: A user has an item twice, and the histories are not of repeats.
        SettingsError: The task is unknown, or ``global-temporal`` without a temporal split.
    """
    if name not in TASK_TITLES:
        raise SettingsError(
            renamed("task", name) or f"task: {name!r}. Expected one of {', '.join(TASK_TITLES)}."
        )
    if name == "global-temporal":
        if not isinstance(split, TemporalSplit):
            raise SettingsError(
                "task global-temporal: the data have no split timestamp. Expected test users of a temporal split. "
                "Run: tastevec prepare … --split-strategy temporal"
            )
        return _global_temporal(histories, scale.positive(histories.values_at_first()), split)
    if isinstance(split, TemporalSplit):
        earlier = histories.keep(_before(histories, split.split_timestamp))
        task = build_task(name, earlier, scale=scale, seed=seed)
        ends = f" Histories end at the split timestamp, {_format_timestamp(split.split_timestamp)}."
        return replace(task, note=task.note + ends)
    if task_horizon(name) == "overall":
        histories = histories.once()
    positive = scale.positive(histories.values_at_first())
    if name == "top-rated":
        return _top_rated(histories, positive | (scale.kind == "explicit"))
    if name != "random-20pct":
        return (_next_item if name == "next-item" else _last_20pct)(histories, positive)
    if split is None:
        return _random_20pct(histories, positive, seed)
    return _liang_random_20pct(histories, positive, split.candidates)


def hold_out(
    histories: Histories,
    held_out: NDArray[np.bool_],
    inputs: NDArray[np.bool_],
    *,
    name: TaskId,
    note: str,
    candidates: NDArray[np.bool_] | None = None,
) -> Task:
    """Return the task of the users who have both held-out rows (M,) and input rows (M,)."""
    enough = (_count_per_user(histories, held_out) > 0) & (_count_per_user(histories, inputs) > 0)
    users = histories.take(np.flatnonzero(enough))
    rows = enough[histories.owners]
    # Held-out ratings must not leak through the user's mean, minimum or maximum.
    visible = users.keep_alone(inputs[rows])
    sizes = _count_per_user(users, held_out[rows])
    if histories.repeats is not None:
        note += " Repeats are input; an item is held out at its first interaction alone."
    return Task(
        name=name,
        inputs=visible,
        offsets=np.concatenate([[0], np.cumsum(sizes)]),
        targets=users.items[held_out[rows]],
        timestamps=users.timestamps[held_out[rows]],
        excluded_users=int(len(enough) - enough.sum()),
        note=f"{TASK_TITLES[name]}. {note}",
        candidates=candidates,
    )


def _count_per_user(histories: Histories, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(B,) true rows of each user."""
    return np.diff(np.concatenate([[0], np.cumsum(mask)])[histories.offsets])


def _top_rated(histories: Histories, allowed: NDArray[np.bool_]) -> Task:
    """Hold out all items of the top rating, where ``allowed`` (M,); the rest is the input, normalized without them.

    A rating is allowed whatever it is; of other feedback a value that is not positive is never held out.

    One user's history, oldest first; E is a tag-only interaction::

        item      A    B    C    D    E
        rating    5    2    5    4    -

        held out  A C
        input     B D E                     normalized, B is -1 and D +1: with the 5s, D would be near 0
    """
    owners = histories.owners
    top = np.full(len(histories), -np.inf, np.float32)
    np.fmax.at(top, owners, histories.ratings)  # fmax ignores NaN
    held_out = (histories.ratings == top[owners]) & allowed
    note = "All items of a user's top rating are held out."
    return hold_out(histories, held_out, ~held_out, name="top-rated", note=note)


_MIN_POSITIVES = 5  # random-20pct needs this many positives of a user (Liang et al. 2018, section 4.1)
_SHARE = 0.2


def _random_20pct(histories: Histories, positive: NDArray[np.bool_], seed: int) -> Task:
    """Hold out a random 20 % of the positives; each draw depends on the seed, the user ID and the item alone.

    One user's history, oldest first, ``*`` marks positives; of 5 positives 1 is held out, of 9 too, of 10 two::

        item      A    B    C    D    E    F    G    H    I
        rating    5*   2    -    4*   5*   3    4*   4*   1
        draw      .7             .1   .4        .9   .5         D has the lowest

        held out  D
        input     A B C E F G H I                               later items too: the task is order-free
    """
    positives = _count_per_user(histories, positive)
    sizes = np.where(positives >= _MIN_POSITIVES, (_SHARE * positives).astype(np.int64), 0)
    rows = np.flatnonzero(positive)
    owners = histories.owners[rows]
    users = _mix(_hash_ids(histories.user_ids) ^ np.uint64(seed))
    draws = _mix(users[owners] ^ _mix(histories.items[rows].astype(np.uint64)))
    order = np.lexsort((draws, owners))
    rank = np.arange(len(rows)) - (np.cumsum(positives) - positives)[owners]  # 0, 1, ... within each user
    held_out = np.zeros(len(positive), np.bool_)
    held_out[rows[order[rank < sizes[owners]]]] = True
    note = f"Users with {_MIN_POSITIVES} or more positives; order-free."
    return hold_out(histories, held_out, ~held_out, name="random-20pct", note=note)


def _liang_random_20pct(
    histories: Histories, positive: NDArray[np.bool_], candidates: NDArray[np.bool_]
) -> Task:
    """Hold out 20 % of the positives as Liang et al. published it; only the other positives are input.

    Users are processed in the order of their IDs, and the items of each in the order of theirs (as ml-20m lists them).
    All draw from one generator: in this task alone, what is held out of a user depends on the users before. Only items
    with a positive rating of a training user exist (``candidates``); here C is not one of them::

        item      A    B    C    D    E    F    G    H
        rating    5*   2    4*   4*   5*   3    4*   4*         5 positives that exist: 1 is held out
        index     0              1    2         3    4
        drawn                         x

        held out  E
        input     A D G H                                       B and F are not positive: they may be recommended,
                                                                as in the published code

    Users with fewer than 5 such positives have nothing held out and are excluded.

    Source: Liang, Krishnan, Hoffman & Jebara 2018, section 4.1, and its notebook, which holds out the same items.
    """
    usable = positive & candidates[histories.items]
    positives = _count_per_user(histories, usable)
    rows = np.flatnonzero(usable)
    rows = rows[np.lexsort((histories.items[rows], histories.owners[rows]))]
    starts = np.cumsum(positives) - positives
    random = np.random.RandomState(LIANG_SEED)  # the generator of the published draws
    held_out = np.zeros(len(positive), np.bool_)
    for user in np.argsort(histories.user_ids, kind="stable"):
        if positives[user] >= _MIN_POSITIVES:
            drawn = random.choice(positives[user], size=int(_SHARE * positives[user]), replace=False)
            held_out[rows[starts[user] + drawn]] = True
    note = (
        f"The split and the draw of Liang et al. 2018 (seed {LIANG_SEED}): the input is the other positives, and the "
        f"{int(candidates.sum()):,} items with a positive rating of a training user are ranked. On ml-20m with 10,000 "
        "held-out users this is the setting of the published results of Mult-VAE, EASE and RecVAE; on other data it is not "
        "comparable with published results."
    )
    return hold_out(
        histories, held_out, usable & ~held_out, name="random-20pct", note=note, candidates=candidates
    )


def _hash_ids(user_ids: NDArray[Any]) -> NDArray[np.uint64]:
    """(B,) a hash of each ID, read as text, so that 7 and "7" are one user and other users do not matter."""
    text = np.ascontiguousarray(user_ids.astype(str))
    codes = text.view(np.uint32).reshape(len(text), text.dtype.itemsize // 4)
    state = np.zeros(len(text), np.uint64)
    for column in codes.T.astype(np.uint64):  # one pass a character, not a user
        state = np.where(column > 0, _mix(state ^ column), state)
    return state


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit numbers, one to one (Steele, Lea & Flood 2014, SplitMix64)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _next_item(histories: Histories, positive: NDArray[np.bool_]) -> Task:
    """Hold out the last positive; everything before it is the input.

    One user's history, oldest first, ``*`` marks positives::

        item      A    B    C    D    E    F    G    H    I
        rating    5*   2    -    4*   5*   3    4*   4*   1

        held out  H
        input     A B C D E F G                                 I came after H: never input
    """
    return _last_positives("next-item", histories, positive, np.ones(len(histories), np.int64))


def _last_20pct(histories: Histories, positive: NDArray[np.bool_]) -> Task:
    """Hold out the last 20 % of the positives, at least one; everything before the first of them is the input.

    One user's history, oldest first, ``*`` marks positives; of 10 positives 2 are held out::

        item      A    B    C    D    E    F    G    H    I    J    K    L
        rating    5*   4*   5*   4*   5*   4*   4*   3    5*   4*   2    5*

        held out  J L
        input     A B C D E F G H I                             K came after J: never input
    """
    positives = _count_per_user(histories, positive)
    sizes = np.maximum(1, (_SHARE * positives).astype(np.int64))
    return _last_positives("last-20pct", histories, positive, sizes)


def _last_positives(
    name: TaskId, histories: Histories, positive: NDArray[np.bool_], sizes: NDArray[np.int64]
) -> Task:
    """Hold out the last ``sizes`` (B,) positives of each user; everything before the first of them is the input."""
    owners = histories.owners
    through = np.cumsum(positive)  # positives up to and with each row, over all users
    of_user = np.concatenate([[0], through])[histories.offsets[1:]]  # the same at the end of each user
    held_out = positive & (of_user[owners] - through < sizes[owners])
    inputs = _before_first(histories, held_out)
    return hold_out(histories, held_out, inputs, name=name, note=_tie_note(histories, held_out, inputs))


def _before_first(histories: Histories, held_out: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(M,) rows before the first held-out row of their user."""
    begun = np.concatenate([[0], np.cumsum(held_out)])
    none_yet: NDArray[np.bool_] = begun[1:] == begun[histories.offsets[:-1]][histories.owners]
    return none_yet


def _global_temporal(histories: Histories, positive: NDArray[np.bool_], split: TemporalSplit) -> Task:
    """Hold out the positives from the split timestamp on, one timestamp for all users; the input is everything before.

    One user's history, ``*`` marks positives; the split timestamp is 50, and training data end there::

        time      10   20   30   40   50   60   70
        item      A    B    C    D    E    F    G
        rating    5*   2    4*   3    4*   1    5*

        held out  E G                                           G came out at 65: no training user rated it;
        input     A B C D                                       it stays held out, and only its content can rank it

    Interactions without a timestamp are neither input nor held out.
    """
    inputs = _before(histories, split.split_timestamp)
    held_out = positive & (histories.timestamps >= split.split_timestamp)
    some = _count_per_user(histories, inputs) > 0
    none_later = some & (_count_per_user(histories, held_out) == 0)
    targets = histories.items[held_out & (some & ~none_later)[histories.owners]]
    note = (
        f"Split timestamp: {_format_timestamp(split.split_timestamp)}. {int((~split.rated[targets]).sum()):,} of the "
        f"{len(targets):,} held-out items have no training rating: only their content can rank them. Excluded: "
        f"{int((~some).sum()):,} users without earlier interactions, {int(none_later.sum()):,} without later positives. "
        f"{_tie_note(histories, held_out, inputs)}"
    )
    return hold_out(histories, held_out, inputs, name="global-temporal", note=note)


def _before(histories: Histories, timestamp: int) -> NDArray[np.bool_]:
    """(M,) rows with a known timestamp before this one."""
    earlier: NDArray[np.bool_] = (histories.timestamps < timestamp) & (histories.timestamps != NO_TIMESTAMP)
    return earlier


def _format_timestamp(timestamp: int) -> str:
    """Return a timestamp as readable text.

    Examples:
        >>> _format_timestamp(978_136_307)
        '2000-12-30 00:31:47 UTC'
    """
    return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _tie_note(histories: Histories, held_out: NDArray[np.bool_], inputs: NDArray[np.bool_]) -> str:
    """Return the share of users for whom the order of the source separates input and held-out items."""
    owners = histories.owners
    first, last = np.full(len(histories), -1), np.full(len(histories), -1)
    rows = np.flatnonzero(held_out)[::-1]
    first[owners[rows]] = rows  # of several rows of one user, the last assignment remains
    rows = np.flatnonzero(inputs)
    last[owners[rows]] = rows
    both = (first >= 0) & (last >= 0)
    timestamps = histories.timestamps[first[both]]
    tied = (timestamps == histories.timestamps[last[both]]) & (timestamps != NO_TIMESTAMP)
    share = float(tied.mean()) if len(tied) else 0.0
    return f"For {share:.0%} of the users the first held-out item and the item before it have equal timestamps: these keep the order of the source."
