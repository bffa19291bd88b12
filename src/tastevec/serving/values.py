"""IDs, values and times of interactions in memory, from any Python or Arrow type, with the place of the first bad one.

Dimensions: M interactions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tastevec.data.intake import spelling
from tastevec.data.intake.callers import in_python
from tastevec.data.intake.feedback import EVENT_WEIGHTS, plain_event
from tastevec.data.intake.report import number, percent
from tastevec.data.intake.spelling import TimeError
from tastevec.data.intake.values import BadValueError, read_id, read_numbers, read_times, whole
from tastevec.errors import BadRowError
from tastevec.serving.parsed_users import ModelReading, short

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from tastevec.data.value_scale import ValueScale

    Place = Callable[[int], str]  # the location of a row, for messages

DROPPED: Final = np.inf  # in place of a value: the row does not count
IGNORED: Final = "values are ignored: the model was trained on implicit feedback"

_SECONDS_FROM: Final = 100_000_000  # integers from here on are no dates such as 20240131, and no years
_FINITE: Final = 10**300  # an integer below is a finite number


class InvalidInteractionError(BadRowError):
    """An interaction in memory is invalid.

    Attributes:
        where: Its location, such as ``users[0].interactions[3].value``.
    """

    def __init__(self, where: str, details: str) -> None:
        super().__init__(f"{where}: {details}")
        self.where = where


def one_id(value: object, place: str, what: str = "item ID") -> str:
    """Return an ID as text.

    Raises:
        InvalidInteractionError: It is none.
    """
    try:
        found = read_id(value)
    except BadValueError as error:
        raise InvalidInteractionError(place, no_id(value, error.code, what)) from None
    if found is None:
        raise InvalidInteractionError(place, no_id(value, spelling.NO_ID, what))
    return found


def no_id(value: object, code: str, what: str) -> str:
    """Return why a value is no ID, for a message."""
    if code == spelling.LOST_DIGITS:
        return f"{short(value)} has lost digits. Expected the complete {what}. Pass it as a text."
    details = {spelling.CONTROL: " (a control character)", spelling.TOO_LONG: " (over 1,000 letters)"}.get(
        code, ""
    )
    return f"{short(value)} is no id{details}. Expected {what}s as whole numbers or texts. Correct it."


def user_ids(ids: pa.StringArray) -> NDArray[Any]:
    """Return user IDs (B,) as int64 if all are whole numbers, else as str objects."""
    numbers = whole(ids)
    if numbers.null_count:
        return np.array(ids.to_pylist(), object)
    found: NDArray[np.int64] = numbers.to_numpy(zero_copy_only=False).astype(np.int64)
    return found


def implied_note(scale: ValueScale) -> str:
    """Return what to say where interactions have no values."""
    what = {"explicit": "rating", "weighted": "weight", "events": "event"}[scale.kind]
    return f"no {what} is given: each interaction counts as {number(scale.positive_from)}, positive"


def read_values(
    given: Any,  # noqa: ANN401  a list or an array
    model: ModelReading,
    place: Place,
    *,
    drop_bad: bool = False,
    drop_outside: bool = False,
) -> NDArray[np.float64]:
    """Return values as numbers, NaN where one is empty or means "not rated".

    `DROPPED` are events without a weight, and with ``drop_bad`` texts that are no number, with ``drop_outside`` ratings off
    the scale.

    Raises:
        InvalidInteractionError: A value is no number, or off the scale.
    """
    scale, simple = model.scale, isinstance(given, list) and {*map(type, given)} <= {int, float}
    if scale.kind == "events" and not simple:
        return _event_values(given, model.events, place)
    if simple and all(abs(one) < _FINITE for one in given if isinstance(one, int)):
        values = np.array(given, np.float64)
        errors = np.isinf(values)
    else:
        values, reasons = read_numbers(given)
        errors = _are_bad(reasons)
    if errors.any() and not drop_bad:
        row = int(np.argmax(errors))
        shown = short(given[row])
        raise InvalidInteractionError(place(row), f"{shown}. Expected a number{_range(scale)}. Correct it.")
    for text in model.unrated:
        unrated, _ = read_numbers([text])
        values = np.where(values == unrated[0], np.nan, values)
    outside = _outside(values, scale)
    if outside.any() and not drop_outside:
        _refuse_scale(values, scale, place)
    return np.where(errors | outside, DROPPED, values)


def _range(scale: ValueScale) -> str:
    return f" from {scale.low:g} to {scale.high:g}" if scale.kind == "explicit" else ""


def _are_bad(reasons: pa.StringArray) -> NDArray[np.bool_]:
    """Return which values have a reason other than being empty."""
    bad: NDArray[np.bool_] = (
        pc.not_equal(reasons, spelling.EMPTY).fill_null(False).to_numpy(zero_copy_only=False)  # noqa: FBT003  Arrow's
    )
    return bad


def _outside(values: NDArray[np.float64], scale: ValueScale) -> NDArray[np.bool_]:
    """Return which ratings are off the scale of an explicit model."""
    low, high = scale.limits
    return (values < low) | (values > high)


def _refuse_scale(values: NDArray[np.float64], scale: ValueScale, place: Place) -> None:
    """Refuse ratings off the scale, once for all."""
    above, below = values > scale.high, values < scale.low
    side, wrong, pick = (
        ("above", above, np.nanmax) if above.sum() >= below.sum() else ("below", below, np.nanmin)
    )
    extreme = f"{'highest' if side == 'above' else 'lowest'}: {number(float(pick(values)))}"
    share = percent(float(wrong.sum()) / max(int(np.isfinite(values).sum()), 1))
    raise InvalidInteractionError(
        place(int(np.argmax(wrong))),
        f"{share} of ratings are {side} the model's scale {scale.low:g}:{scale.high:g} ({extreme}). Expected ratings on this "
        "scale. Convert them.",
    )


def _event_values(
    given: Any,  # noqa: ANN401  a list or an array
    events: Mapping[str, float | None],
    place: Place,
) -> NDArray[np.float64]:
    """Return the weight of each event, infinity where it is dropped; a number is a weight already.

    Raises:
        InvalidInteractionError: An event has no weight.
    """
    known = {**EVENT_WEIGHTS, **{plain_event(name): weight for name, weight in events.items()}}
    coded = (
        pa.array([None if one is None else str(one) for one in given]) if isinstance(given, list) else given
    )
    coded = coded.cast(pa.string()).dictionary_encode()
    names = [plain_event(name) for name in coded.dictionary.to_pylist()]
    numbers, _ = read_numbers(coded.dictionary)
    weights = [known.get(name, value) for name, value in zip(names, numbers.tolist(), strict=True)]
    found = np.array([*(np.inf if one is None else one for one in weights), np.nan], np.float64)
    codes = coded.indices.fill_null(len(names)).to_numpy(zero_copy_only=False)
    blank = np.array([*(not name for name in names), True])
    if (bad := np.isnan(found[codes]) & ~blank[codes]).any():
        row = int(np.argmax(bad))
        shown, listed = short(coded.dictionary[int(codes[row])]), ", ".join(events or EVENT_WEIGHTS)
        raise InvalidInteractionError(
            place(row), f"event {shown} has no weight. Expected one of {listed}. Correct it, or leave it out."
        )
    weights_of_rows: NDArray[np.float64] = found[codes]
    return weights_of_rows


def read_moments(
    given: Any,  # noqa: ANN401  a list or an array
    place: Place,
    time_format: str | None = None,
    *,
    bad_times: str = "refuse",
) -> NDArray[np.int64]:
    """Return Unix seconds; an empty time is unknown, and one that cannot be read is with ``bad_times`` "none".

    Raises:
        InvalidInteractionError: A time is none, or the times can be read in two ways.
    """
    simple = isinstance(given, list) and time_format is None and {*map(type, given)} == {int}
    if simple and min(given) >= _SECONDS_FROM and max(given) < spelling.LATEST:
        return np.array(given, np.int64)  # what the rule says, in a tenth of its time
    try:
        times, reasons = read_times(given, time_format)
    except TimeError as error:
        found, _, choice = in_python(str(error)).partition(": ")
        choice = f"State {choice}, or convert" if choice and isinstance(given, pa.Array) else "Convert"
        details = f"{found}. Expected Unix seconds or ISO 8601. {choice} the times."
        raise InvalidInteractionError(place(error.first or 0), details) from None
    if reasons.null_count < len(reasons) and bad_times == "refuse":
        bad = _are_bad(reasons)
        if bad.any():
            row = int(np.argmax(bad))
            shown = short(given[row])
            raise InvalidInteractionError(
                place(row), f"{shown}. Expected Unix seconds or ISO 8601. Correct it."
            )
    return times
