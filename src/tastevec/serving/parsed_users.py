"""Users from rows of interactions: times filled, repeats merged, unknown items counted.

Dimensions: B users, M interactions, K different items.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, get_args

import numpy as np

from tastevec.data.histories import NO_TIMESTAMP, Histories
from tastevec.data.intake.feedback import repeats_of
from tastevec.data.intake.report import percent
from tastevec.data.intake.settings import IntakeSettings
from tastevec.errors import DataError, SettingsError, TastevecWarning, UnknownItemError
from tastevec.schema import Unknown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tastevec.data.value_scale import ValueScale
    from tastevec.schema import Repeats

_FEW_KNOWN, _MANY = 0.05, 20  # under this share of so many interactions, the IDs are of another kind
_LENGTH: Final = 60  # characters of a value in a message


def short(value: object) -> str:
    """Return a value, of Python, NumPy or Arrow, for a message."""
    if isinstance(value, np.generic):
        value = value.item()
    elif hasattr(value, "as_py"):
        value = value.as_py()
    return repr(value)[:_LENGTH].encode("utf-8", "replace").decode()


@dataclass(frozen=True, eq=False)
class ParsedUsers:
    """B users.

    Attributes:
        histories: Their interactions with known items, oldest first, each item once unless the model keeps repeats.
        n_interactions: (B,) the interactions given.
        n_known: (B,) those with an item of the catalog.
        unknown: The different item IDs of each user that are not in the catalog, as given.
        notes: What else a caller should know.
    """

    histories: Histories
    n_interactions: NDArray[np.int64]
    n_known: NDArray[np.int64]
    unknown: Sequence[list[Any]]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return B."""
        return len(self.histories)

    def block(self, users: slice) -> ParsedUsers:
        """Return some of the users."""
        histories = self.histories.take(np.arange(len(self))[users])
        return ParsedUsers(histories, self.n_interactions[users], self.n_known[users], self.unknown[users])


@dataclass(frozen=True, eq=False)
class ModelReading:
    """How a model reads interactions.

    Attributes:
        indices: The index of each item of the catalog, by its ID as text.
        scale: The value scale.
        repeats: Which value of a user and item counts.
        events: The weight of each event, in addition to the known ones; None drops it.
        unrated: Values that mean "touched, not rated".
    """

    indices: Mapping[str, int]
    scale: ValueScale
    repeats: Repeats = "latest"
    events: Mapping[str, float | None] = field(default_factory=dict)
    unrated: tuple[str, ...] = ()

    @property
    def kept_repeats(self) -> ValueScale | None:
        """Return the scale of `Histories.repeats`: None unless the model keeps repeats."""
        return self.scale if self.repeats == "keep" else None

    @classmethod
    def of(cls, facts: Mapping[str, Any], scale: ValueScale, indices: Mapping[str, int]) -> ModelReading:
        """Return how a model reads interactions, from the facts of its bundle."""
        feedback = facts.get("data", {}).get("feedback") or {}
        repeats = feedback.get("repeats") or repeats_of(scale.kind, IntakeSettings())
        return cls(indices, scale, repeats, feedback.get("events") or {}, tuple(feedback.get("unrated", ())))


@dataclass(frozen=True, eq=False)
class InteractionRows:
    """M interactions of B users, in the order given.

    Attributes:
        owners: (M,) the index of the user.
        codes: (M,) the item, as an index of ``keys``.
        keys: K different items, by their IDs as given.
        indices: (K,) their indices in the catalog; -1 where unknown.
        values: (M,) NaN where an item was touched without a value.
        times: (M,) Unix seconds, `NO_TIMESTAMP` where unknown.
    """

    owners: NDArray[np.int64]
    codes: NDArray[np.int64]
    keys: Sequence[Any]
    indices: NDArray[np.int64]
    values: NDArray[np.float64]
    times: NDArray[np.int64]

    def take(self, rows: NDArray[Any]) -> InteractionRows:
        """Return these rows, by index or mask."""
        flat = {name: getattr(self, name)[rows] for name in ("owners", "codes", "values", "times")}
        return replace(self, **flat)


def parsed_users(
    rows: InteractionRows, user_ids: NDArray[Any], model: ModelReading, notes: tuple[str, ...]
) -> ParsedUsers:
    """Return the users of rows: in time order, repeats merged, normalized over all items, without unknown ones."""
    users, dropped = len(user_ids), np.isinf(rows.values)
    rows = rows.take(~dropped) if dropped.any() else rows
    known = rows.indices[rows.codes] >= 0
    counts = np.bincount(rows.owners, minlength=users)
    n_known = np.bincount(rows.owners[known], minlength=users)
    unknown = _unknown(rows, ~known, users)
    rows = replace(rows, times=_fill_times(rows.owners, rows.times))
    rows = _once(rows.take(np.lexsort((rows.times, rows.owners))), model.repeats)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows.owners, minlength=users))]).astype(np.int64)
    values = rows.values.astype(np.float32)
    histories = Histories(
        user_ids=user_ids,
        offsets=offsets,
        items=rows.indices[rows.codes].astype(np.int32),
        ratings=values,
        normalized_ratings=model.scale.normalize(values, offsets),
        timestamps=rows.times,
        relative=model.scale.kind == "explicit",
        repeats=model.kept_repeats,
    )
    return ParsedUsers(histories.keep(histories.items >= 0), counts, n_known, unknown, notes)


def _unknown(rows: InteractionRows, unknown: NDArray[np.bool_], users: int) -> list[list[Any]]:
    """Return the different unknown items of each user, as given."""
    found: list[list[Any]] = [[] for _ in range(users)]
    if unknown.any():
        pairs = np.unique(np.stack([rows.owners[unknown], rows.codes[unknown]]), axis=1)
        for owner, code in pairs.T.tolist():
            found[owner].append(rows.keys[code])
    return found


def _once(rows: InteractionRows, repeats: Repeats) -> InteractionRows:
    """Return each item of a user once, where it is latest, with the value that counts; rows are in time order.

    With "keep" all rows stay. Rows that are equal in user, item, value and time were delivered twice and count once.
    """
    pairs = rows.owners * max(len(rows.keys), 1) + rows.codes
    order = np.argsort(pairs, kind="stable")
    same = np.flatnonzero(pairs[order[1:]] == pairs[order[:-1]])
    if not len(same):
        return rows
    keep, values = np.ones(len(pairs), bool), rows.values.copy()
    keep[order[same]] = keep[order[same + 1]] = False
    again = np.flatnonzero(~keep)
    staying, merged = _merged(rows.take(again), pairs[again], repeats)
    keep[again[staying]] = True
    values[again[staying]] = merged
    return replace(rows, values=values).take(keep)


def _merged(
    rows: InteractionRows, pairs: NDArray[np.int64], repeats: Repeats
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the index of the latest row of each pair, with "keep" of all its rows, and the value that counts."""
    # Each row without a time is one of its own.
    times = np.where(rows.times == NO_TIMESTAMP, -2 - np.arange(len(pairs)), rows.times)
    bits = np.nan_to_num(rows.values, nan=np.inf).view(np.int64)
    order = np.lexsort((bits, times, pairs))
    twice = np.ones(len(order) - 1, bool)
    for key in (pairs, times, bits):
        twice &= key[order[1:]] == key[order[:-1]]
    chosen = np.sort(np.append(order[:-1][~twice], order[-1]))  # the last of equal rows, in time order
    if repeats == "keep":
        return chosen, rows.values[chosen]
    pairs, values = pairs[chosen], rows.values[chosen]
    order = np.argsort(pairs, kind="stable")
    first = np.flatnonzero(np.diff(pairs[order], prepend=-1))
    last = np.append(first[1:], len(order)) - 1
    if repeats == "sum":
        sums = np.add.reduceat(np.nan_to_num(values[order]), first)
        counted = np.add.reduceat((~np.isnan(values[order])).astype(np.int64), first)
        found = np.where(counted > 0, sums, np.nan)
    elif repeats == "strongest":
        found = values[np.lexsort((np.nan_to_num(np.abs(values), nan=-1), pairs))[last]]
    else:
        found = values[order[last]]
    return chosen[order[last]], found


def _fill_times(owners: NDArray[np.int64], times: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the times, where one without takes that of the user's row before it, the first ones that of the row after.

    A user without any time stays without.

    Examples:
        >>> _fill_times(np.array([0, 0, 1, 0, 1]), np.array([-1, 7, -1, -1, -1]))
        array([ 7,  7, -1,  7, -1])
    """
    known = times != NO_TIMESTAMP
    if known.all() or not known.any():
        return times
    order = np.argsort(owners, kind="stable")
    owner, own, known = owners[order], times[order], known[order]
    rows = np.arange(len(order))
    before = np.maximum.accumulate(np.where(known, rows, -1))
    after = np.minimum.accumulate(np.where(known, rows, len(rows))[::-1])[::-1]
    has_before = (before >= 0) & (owner[before] == owner)
    after = np.minimum(after, len(rows) - 1)
    has_after = known[after] & (owner[after] == owner)
    filled = np.where(has_before, own[before], np.where(has_after, own[after], NO_TIMESTAMP))
    found = np.empty_like(times)
    found[order] = filled
    return found


def report_unknown(
    users: ParsedUsers,
    unknown: Unknown,
    catalog: str,
    *,
    stacklevel: int,
    where: str = "interactions",
) -> None:
    """Warn of unknown items, or refuse them as `refuse_unknown` does, and say the notes of the reading.

    Args:
        users: What was read.
        unknown: What to do with interactions with items that are not in the catalog, which are ignored.
        catalog: The size of the catalog, with its noun.
        stacklevel: Of the warnings.
        where: The name of the argument, for messages.

    Warns:
        TastevecWarning: There are some, and ``unknown`` is "warn"; or there are notes.
    """
    if unknown not in get_args(Unknown):
        raise SettingsError(f"unknown: {unknown!r}. Expected {', '.join(get_args(Unknown))}.")
    for note in users.notes:
        warnings.warn(f"{where}: {note}", TastevecWarning, stacklevel=stacklevel)
    refuse_unknown(users, unknown, catalog, where)
    total, known = int(users.n_interactions.sum()), int(users.n_known.sum())
    if total > known and unknown == "warn":
        count = f"{total - known:,} of {total:,} interactions are" if total > 1 else "the only interaction is"
        example = short(next(one for own in users.unknown for one in own))
        warnings.warn(
            f"{where}: {count} with an item that is not in the catalog ({catalog}), such as {example}, and ignored",
            TastevecWarning,
            stacklevel=stacklevel,
        )


def refuse_unknown(users: ParsedUsers, unknown: Unknown, catalog: str, where: str) -> None:
    """Refuse unknown items; see `report_unknown`.

    Raises:
        UnknownItemError: There are some, and ``unknown`` is "raise".
        DataError: Hardly an item is known, and ``unknown`` is not "ignore".
    """
    total, known = int(users.n_interactions.sum()), int(users.n_known.sum())
    if total == known or unknown == "ignore":
        return
    example = short(next(one for own in users.unknown for one in own))
    if unknown == "raise":
        raise UnknownItemError(
            f"{where}: item {example} is not in the catalog ({catalog}). Remove it, add it with with_items, or pass "
            "unknown='ignore'."
        )
    check_known(
        known, total, where, f"The ids here are such as {example}. Correct them, or pass unknown='ignore'."
    )


def check_known(known: int, total: int, where: str, advice: str) -> None:
    """Refuse interactions of which hardly any is with an item of the model: the IDs are of another kind.

    Raises:
        DataError: Under 5 % of 20 or more are.
    """
    if total >= _MANY and known < _FEW_KNOWN * total:
        share = (
            f"{percent(known / total)} of the {total:,} interactions are"
            if known
            else f"none of the {total:,} interactions is"
        )
        raise DataError(f"{where}: {share} with an item of the model. Expected its item ids. {advice}")
