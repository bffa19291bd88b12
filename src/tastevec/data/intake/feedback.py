"""Feedback: the kind of the values, their scale and the weights of events, decided from counts of the source."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tastevec.data.intake.report import Findings, number, percent
from tastevec.data.value_scale import ValueScale
from tastevec.errors import DataError, SettingsError
from tastevec.schema import EVENT, RATING, WEIGHT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tastevec.data.intake.context import Context
    from tastevec.data.intake.settings import IntakeSettings
    from tastevec.schema import FeedbackKind, Order, Repeats

# Strengths of events; a weight below 0 is negative, None drops the row.
EVENT_WEIGHTS: Final[Mapping[str, float | None]] = {
    **dict.fromkeys(("view", "click", "open", "read", "listen", "play", "watch", "visit", "pv"), 1.0),
    **dict.fromkeys(
        ("cart", "addtocart", "save", "wishlist", "favorite", "fav", "like", "bookmark", "share", "follow"),
        2.0,
    ),
    **dict.fromkeys(("purchase", "buy", "order", "transaction", "checkout", "subscribe"), 3.0),
    **dict.fromkeys(
        (
            "dislike",
            "skip",
            "hide",
            "remove",
            "removefromcart",
            "unlike",
            "unfollow",
            "return",
            "refund",
            "report",
        ),
        -1.0,
    ),
    **dict.fromkeys(("impression", "shown"), None),
}
# In the order of their width: the first that holds every value is the tightest.
SCALES: Final = (
    *((0, 1), (-1, 1), (1, 5), (0.5, 5), (0, 5), (1, 7), (1, 10), (0.5, 10), (0, 10)),
    *((-10, 10), (1, 100), (0, 100)),
)
_REPEATS: Final[Mapping[str, Repeats]] = {
    "explicit": "latest",
    "implicit": "sum",
    "weighted": "sum",
    "events": "strongest",
}
# The kind of a role, the first that is there; and the roles of a stated kind.
_KINDS: Final[Mapping[str, FeedbackKind]] = {RATING: "explicit", EVENT: "events", WEIGHT: "weighted"}
VALUE_ROLES: Final[Mapping[FeedbackKind, tuple[str, ...]]] = {
    "explicit": (RATING,),
    "weighted": (WEIGHT, RATING),
    "events": (EVENT,),
    "implicit": (),
}
_PLACEHOLDERS = (0.0, -1.0, 99.0)  # values that often mean "not rated"
_PLACEHOLDER_SHARE = 0.2
_FEW_POSITIVES = 0.01
_MANY_POSITIVES = 0.99
_OWN_SCALE = 3  # values that make a scale of their own
_COUNT_FROM = 10  # a count goes above


@dataclass(frozen=True)
class ValueFacts:
    """Counts of the values of all valid rows.

    Attributes:
        rows: Rows, with and without a value.
        values: Rows with a value.
        lowest: The lowest value, with those that are no rating; None without values.
        highest: The highest value.
        smallest_above_0: The smallest value above 0; None if there is none.
        counts: Rows by value, of the 200 most frequent values.
        distinct: Number of different values.
    """

    rows: int
    values: int
    lowest: float | None
    highest: float | None
    smallest_above_0: float | None
    counts: Mapping[float, int]
    distinct: int


@dataclass(frozen=True)
class Feedback:
    """What the values of a source mean.

    Attributes:
        scale: The scale; its ``top`` is provisional.
        origin: Where the range of ratings is from: stated, release or inferred; "" of other kinds.
        repeats: Which value of a pair of user and item counts.
        unrated: Values that mean "not rated".
        events: The weight of each event.
        event_rows: The rows of each event.
    """

    scale: ValueScale
    origin: str
    repeats: Repeats
    unrated: tuple[str, ...] = ()
    events: Mapping[str, float | None] | None = None
    event_rows: Mapping[str, int] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values of the manifest."""
        return {
            "kind": self.scale.kind,
            "range": [self.scale.low, self.scale.high],
            "positive_from": self.scale.positive_from,
            "top": self.scale.top,
            "n_bins": self.scale.n_bins,
            "events": None if self.events is None else dict(self.events),
            "unrated": list(self.unrated),
            "repeats": self.repeats,
        }


def plain_event(name: str) -> str:
    """Return the letters and digits of an event, in lower case: add_to_cart and AddToCart are one."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def choose_kind(
    roles: Mapping[str, int], settings: IntakeSettings, where: str
) -> tuple[FeedbackKind, str | None, dict[str, str]]:
    """Return the kind, the role of the column with its value, and the roles that are ignored, each with the reason.

    Raises:
        SettingsError: The stated kind needs a column that is missing.
    """
    kind = settings.feedback
    if kind is None:
        role = next((role for role in _KINDS if role in roles), None)
        kind = "implicit" if role is None else _KINDS[role]
    else:
        wanted = VALUE_ROLES[kind]
        role = next((r for r in wanted if r in roles), None)
        if wanted and role is None:
            raise SettingsError(
                f"{where}: --feedback {kind}, but no column is the {wanted[0]}. Expected one. State it: --column {wanted[0]}=NAME"
            )
    ignored = {
        other: f"{'a ' + role if role else 'implicit feedback'} is there (--feedback {k})"
        for other, k in _KINDS.items()
        if other in roles and other != role
    }
    return kind, role, ignored


def repeats_of(kind: FeedbackKind, settings: IntakeSettings) -> Repeats:
    """Return which value of a pair counts.

    Raises:
        SettingsError: Ratings are to be added up.
    """
    if kind == "explicit" and settings.repeats == "sum":
        raise SettingsError("--repeats sum: ratings cannot be added up. Expected latest, strongest or keep.")
    return settings.repeats or _REPEATS[kind]


def event_weights(counts: Mapping[str, int], context: Context) -> dict[str, float | None]:
    """Return the weight of each event of the source; None drops its rows.

    Args:
        counts: Rows by the event as the source spells it.
        context: The stated weights come before those of the model, these before the known ones.

    Raises:
        DataError: An event has no weight.
        SettingsError: A stated event does not occur.
    """
    stated, where = context.settings.events, context.where
    given = {plain_event(name): weight for name, weight in {**context.events, **stated}.items()}
    known = {**EVENT_WEIGHTS, **given}
    weights = {name: known.get(plain_event(name), _UNKNOWN) for name in counts}
    missing = [name for name, weight in weights.items() if weight is _UNKNOWN]
    if missing:
        listed = ", ".join(f"{name} {count:,}" for name, count in list(counts.items())[:30])
        name = missing[0]
        raise DataError(
            f"{where}: event {name} ({counts[name]:,} rows) has no weight: --event {name}=1, or {name}=drop. All events: {listed}.",
            code="unknown-event",
        )
    if absent := [name for name in stated if plain_event(name) not in {plain_event(n) for n in counts}]:
        raise SettingsError(
            f"{where}: no row has the event {absent[0]} (--event). Expected one of {', '.join(list(counts)[:30])}."
        )
    return {name: weight if weight is None else float(weight) for name, weight in weights.items()}


_UNKNOWN: Final = float("nan")  # compared by identity


def tightest_scale(lowest: float, highest: float) -> tuple[float, float] | None:
    """Return the tightest usual rating scale that holds these values; None if none does.

    Examples:
        >>> tightest_scale(1, 10), tightest_scale(0.55, 1.0), tightest_scale(1, 69319)
        ((1.0, 10.0), (0.0, 1.0), None)
    """
    return next(((float(a), float(b)) for a, b in SCALES if a <= lowest and highest <= b), None)


def is_constant(
    facts: ValueFacts, settings: IntakeSettings, release_range: tuple[float, float] | None
) -> bool:
    """Return whether the rating is the same in every row, and nothing says that it is a rating."""
    stated = (
        settings.rating_range or settings.positive_from or release_range or settings.feedback == "explicit"
    )
    return not stated and facts.distinct == 1 and facts.values == facts.rows


def rating_scale(
    facts: ValueFacts,
    settings: IntakeSettings,
    release_range: tuple[float, float] | None,
    findings: Findings,
    column: str,
) -> tuple[ValueScale, str]:
    """Return the scale of ratings and where it is from: stated, release or inferred.

    Raises:
        DataError: The values are on no scale, or contradict the stated one.
    """
    if facts.lowest is None or facts.highest is None:
        raise DataError(
            f"column {column}: no row has a rating. Expected numbers. State --feedback implicit, or --column rating=NAME"
        )
    origin = "stated" if settings.rating_range else "release" if release_range else "inferred"
    limits = settings.rating_range or release_range
    if limits is None:
        _refuse_placeholder(facts, findings, column)
        limits = _inferred(facts, findings, column)
        low, high = limits
        findings.warn(
            "inferred-scale",
            f"{column}: the scale {low:g}:{high:g} is inferred from {number(facts.lowest)} to {number(facts.highest)} (--rating-range)",
        )
    else:
        refuse_outside(facts, limits, settings, findings)
    return ValueScale.explicit(*limits, settings.positive_from), origin


def _inferred(facts: ValueFacts, findings: Findings, column: str) -> tuple[float, float]:
    assert facts.lowest is not None and facts.highest is not None  # noqa: PT018  one fact
    found = tightest_scale(facts.lowest, facts.highest)
    at_lowest = facts.counts.get(facts.lowest, 0)
    falling = facts.highest > _COUNT_FROM and at_lowest >= facts.values / 2
    if found is None or falling:
        message = (
            f"{column} goes from {number(facts.lowest)} to {number(facts.highest)}, which is no scale: "
            "--feedback weighted if it counts, or --rating-range"
        )
        if found is None:
            raise DataError(f"{message} LOW:HIGH", code="no-scale")
        findings.stop("no-scale", f"{message} {found[0]:g}:{found[1]:g}")
    assert found is not None
    return found


def _refuse_placeholder(facts: ValueFacts, findings: Findings, column: str) -> None:
    """Stop for a value that many rows have and that is off the scale of the others."""
    for value in _PLACEHOLDERS:
        share = facts.counts.get(value, 0) / facts.values
        others = sorted(other for other in facts.counts if other != value)
        if share < _PLACEHOLDER_SHARE or len(others) < _OWN_SCALE:
            continue
        if others[0] < value < others[-1]:
            continue
        own = tightest_scale(others[0], others[-1])
        if own is None or own[0] <= value <= own[1]:
            continue
        low, high = min(value, own[0]), max(value, own[1])
        meaning = "worst" if value < others[0] else "best"
        findings.stop(
            "unrated-value",
            f"{column} is {number(value)} in {percent(share)} of the rows and {number(others[0])} to {number(others[-1])} in the "
            f"others: --unrated {number(value)} if it means not rated, --rating-range {low:g}:{high:g} if it is the {meaning}",
        )


def refuse_outside(
    facts: ValueFacts,
    limits: tuple[float, float],
    settings: IntakeSettings,
    findings: Findings,
    *,
    users_of_model: str | None = None,
) -> None:
    """Stop for ratings outside the scale, or in its lower half alone; that of a model is not the caller's to change.

    ``users_of_model`` is the table of users whose scale is that of a model.
    """
    assert facts.lowest is not None and facts.highest is not None  # noqa: PT018  one fact
    low, high = limits
    if (low <= facts.lowest and facts.highest <= high) or settings.out_of_range == "drop":
        middle = (low + high) / 2
        if facts.highest < middle and facts.distinct > 1 and users_of_model is None:
            findings.stop(
                "empty-upper-half",
                f"no rating lies in the upper half of {low:g}:{high:g} (highest: {number(facts.highest)}); correct --rating-range",
            )
        return
    above = sum(count for value, count in facts.counts.items() if value > high)
    below = sum(count for value, count in facts.counts.items() if value < low)
    side = "above" if above >= below else "below"
    extreme = f"highest: {number(facts.highest)}" if side == "above" else f"lowest: {number(facts.lowest)}"
    share = percent(max(above, below) / facts.values)
    if users_of_model is not None:
        raise DataError(
            f"{users_of_model}: {share} of ratings are {side} the model's scale {low:g}:{high:g} ({extreme}). Expected ratings on this "
            "scale. Convert them.",
            code="outside-range",
        )
    seen = f"{min(low, facts.lowest):g}:{max(high, facts.highest):g}"
    raise DataError(
        f"{share} of ratings are {side} the scale {low:g}:{high:g} ({extreme}): --rating-range {seen}, --unrated VALUE, or "
        "--out-of-range drop",
        code="outside-range",
    )


def strength_scale(
    kind: FeedbackKind, facts: ValueFacts, settings: IntakeSettings, weights: Sequence[float] = ()
) -> ValueScale:
    """Return the provisional scale of implicit, weighted or event feedback.

    Raises:
        DataError: No value is above 0.
    """
    above_0 = (weight for weight in weights if weight > 0)  # of events
    smallest = 1.0 if kind == "implicit" else min(above_0, default=facts.smallest_above_0)
    if smallest is None:
        raise DataError(
            f"no interaction is positive: no {'weight' if kind == 'weighted' else 'event'} is above 0. Expected some. "
            "State --feedback implicit, or --column",
            code="few-positives",
        )
    lowest, highest = facts.lowest or 0.0, facts.highest or 1.0
    limit = settings.positive_from if settings.positive_from is not None else smallest
    return ValueScale.strength(
        kind, positive_from=float(limit), top=float(max(highest, limit)), low=float(min(lowest, 0.0))
    )


def check_positives(scale: ValueScale, positives: int, facts: ValueFacts, findings: Findings) -> None:
    """Stop where nothing, or next to nothing, is positive; warn where nearly every rating is.

    Raises:
        DataError: Nothing is positive.
    """
    limit, highest = number(scale.positive_from), number(facts.highest if facts.highest is not None else 0)
    advice = "state --rating-range, --positive-from or --feedback implicit"
    if scale.kind == "explicit":
        where = f"from where {scale.low:g}:{scale.high:g} is positive (highest: {highest})"
        if not positives:
            raise DataError(f"no rating reaches {limit}, {where}; {advice}", code="few-positives")
        share = positives / facts.values
        if share < _FEW_POSITIVES:
            findings.stop("few-positives", f"{percent(share)} of ratings reach {limit}, {where}; {advice}")
        if share > _MANY_POSITIVES:
            findings.warn(
                "all-positive",
                f"{percent(share)} of ratings reach {limit}: hardly any is not positive (--positive-from)",
            )
    elif not positives:
        raise DataError(
            f"no interaction reaches {limit}, from where it is positive (highest: {highest}); state --positive-from",
            code="few-positives",
        )


@dataclass(frozen=True)
class OrderFacts:
    """Steps from one interaction of a user to the next.

    Attributes:
        steps: Their number.
        ties: Steps inside equal times.
        ascending: Steps (where times decide: inside equal times) in which item IDs ascend.
        descending: In which they descend.
        rising: Steps to a higher value.
        falling: Steps to a lower value.
    """

    steps: int
    ties: int
    ascending: int
    descending: int
    rising: int = 0
    falling: int = 0

    def sorted_share(self, of: int) -> float:
        """Return the share of ``of`` steps that go one way."""
        return max(self.ascending, self.descending) / of if of else 0.0

    def sorting(self) -> str:
        """Return by what the rows of a user are sorted, with the share of steps that show it; "" if they are not."""
        changes = self.rising + self.falling
        by_item = ("ids", self.ascending, self.descending, self.steps)
        by_value = ("values", self.rising, self.falling, changes if changes > _CHANGES * self.steps else 0)
        for what, up, down, steps in (by_item, by_value):
            if steps >= _MIN_STEPS and max(up, down) >= SORTED_FROM * steps:
                way, where = ("ascend" if up >= down else "descend"), " that change them" * (what == "values")
                return f"{what} {way} in {percent(max(up, down) / steps)} of steps{where}"
        return ""


SORTED_FROM: Final = 0.95  # share of steps in one direction from which the file was sorted by item
_MIN_STEPS = 20  # fewer say nothing
_CHANGES = 0.2  # a smaller share of steps between different values says nothing
_MANY_TIES = 0.2


def choose_order(
    facts: OrderFacts, settings: IntakeSettings, findings: Findings, *, timed: bool, resolution: str
) -> tuple[Order, bool]:
    """Return what orders a history, and whether a hash decides inside equal times.

    Raises:
        SettingsError: The stated order needs times.
    """
    way = "ascend" if facts.ascending >= facts.descending else "descend"
    if settings.order == "timestamp" and not timed:
        raise SettingsError(
            "--order timestamp: no row has a time. Expected a time column. State --column timestamp=NAME"
        )
    if settings.order == "none":
        return "none", False
    if timed and settings.order != "file":
        share = facts.sorted_share(facts.ties)
        hashed = facts.ties >= _MIN_STEPS and share >= SORTED_FROM
        if facts.ties > _MANY_TIES * facts.steps:
            inside = f"inside one {resolution}" if resolution != "second" else "at equal times"
            rest = (
                f"where ids {way} in {percent(share)}: their order is drawn by a hash"
                if hashed
                else "where the file's order counts"
            )
            findings.warn("tied-times", f"{percent(facts.ties / facts.steps)} of steps are {inside}, {rest}")
        return "timestamp", hashed
    if settings.order is None and (sorting := facts.sorting()):
        findings.warn(
            "sorted-file",
            f"no times, and {sorting}: the file is sorted, its order says nothing (order none)",
        )
        return "none", False
    return "file", False
