"""The people of a request, as a model reads people.

Dimensions: B people, M films that they rated and the catalogue holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tastevec.data.histories import NO_TIME, Histories, normalise_ratings
from tastevec.serving.service.errors import Problem
from tastevec.serving.service.sentences import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tastevec.data.inputs import RatingScale
    from tastevec.serving.service.catalogue import Catalogue
    from tastevec.serving.service.schemas import Person

__all__ = ["Told", "told_by"]

_Row = tuple[int, float, int]  # the film's place, the rating, the time


@dataclass(frozen=True, eq=False)
class Told:
    """What a request tells of B people.

    Attributes:
        histories: Of the films that the catalogue holds, oldest first.
        unknown: The ids that it does not hold, of each person.
    """

    histories: Histories
    unknown: list[list[int | str]]


def told_by(people: Sequence[Person], catalogue: Catalogue, scale: RatingScale) -> Told:
    """Turn people into histories; nobody is repaired.

    Raises:
        Problem: A rating is off the scale, a film stands twice, or a person's times are not of all films.
    """
    rows: list[_Row] = []
    offsets, unknown = [0], []
    for number, person in enumerate(people):
        own, strangers = _read(person, f"people[{number}].ratings", catalogue, scale)
        rows += own
        offsets.append(len(rows))
        unknown.append(strangers)
    items, ratings, times = zip(*rows, strict=True) if rows else ((), (), ())
    given, bounds = np.array(ratings, np.float32), np.array(offsets, np.int64)
    histories = Histories(
        user_ids=np.arange(len(people)),
        offsets=bounds,
        items=np.array(items, np.int32),
        ratings=given,
        normalised=normalise_ratings(given, bounds),
        times=np.array(times, np.int64),
    )
    return Told(histories, unknown)


def _read(
    person: Person, where: str, catalogue: Catalogue, scale: RatingScale
) -> tuple[list[_Row], list[int | str]]:
    """One person's rows in the order of time, and the ids that are unknown."""
    rows: list[_Row] = []
    unknown: list[int | str] = []
    first: dict[str, int] = {}
    timed = sum(rated.timestamp is not None for rated in person.ratings)
    if timed not in (0, len(person.ratings)):
        raise Problem(
            422,
            "wrong_data",
            f"{where} have a timestamp for {timed} of {len(person.ratings)} films; expected one for all or for none",
            where,
        )
    for number, rated in enumerate(person.ratings):
        if not scale.low <= rated.rating <= scale.high:
            place = f"{where}[{number}].rating"
            message = f"{place} is {rated.rating:g}; expected {scale.low:g} to {scale.high:g}, the model's own scale"
            raise Problem(422, "wrong_data", message, place)
        if (before := first.setdefault(str(rated.item_id), number)) != number:
            place = f"{where}[{number}].item_id"
            message = (
                f"{place} is {shown(rated.item_id)}, which is rated at {where}[{before}] already; expected each film "
                "once, at its last rating"
            )
            raise Problem(422, "wrong_data", message, place)
        film = catalogue.place(rated.item_id)
        if film is None:
            unknown.append(rated.item_id)
        else:
            rows.append((film, rated.rating, NO_TIME if rated.timestamp is None else rated.timestamp))
    return sorted(rows, key=lambda row: row[2]), unknown
