"""The films as the service names them: by id, by title, as JSON.

Dimensions: N films of the catalogue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tastevec.schema import GENRES, ITEM_ID, TITLE, YEAR
from tastevec.serving.service.titles import TitleSearch

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

__all__ = ["Catalogue"]


class Catalogue:
    """N films, each at its place, 0 to N - 1.

    Attributes:
        ids: The films' own ids.
        titles: As the data spell them.
        years: None where unknown.
        genres: Maybe none.
        watched: (N,) int64, people of the training who rated each film.
    """

    def __init__(self, items: pa.Table) -> None:
        """Read the items of a bundle."""
        self.ids: list[int | str] = items[ITEM_ID].to_pylist()
        self.titles: list[str] = [title or "" for title in items[TITLE].to_pylist()]
        self.years: list[int | None] = items[YEAR].to_pylist()
        self.genres: list[list[str]] = [genres or [] for genres in items[GENRES].to_pylist()]
        self.watched = np.asarray(items["train_users"].to_numpy(), np.int64)
        # Ids of another type than the catalogue's are compared as text, as in a table.
        self._places = {str(item): place for place, item in enumerate(self.ids)}
        self._search = TitleSearch(self.titles, self.watched)

    def __len__(self) -> int:
        """N."""
        return len(self.ids)

    def place(self, item_id: int | str) -> int | None:
        """Where a film stands; None if it is unknown."""
        return self._places.get(str(item_id))

    def named(self, place: int) -> dict[str, Any]:
        """A film's id and title."""
        return {"item_id": self.ids[place], "title": self.titles[place]}

    def film(self, place: int) -> dict[str, Any]:
        """A film as all answers tell it."""
        return {**self.named(place), "year": self.years[place], "genres": self.genres[place]}

    def films(self, item_ids: Sequence[int | str]) -> list[dict[str, Any]]:
        """Those of these films that are known."""
        places = [self.place(item_id) for item_id in item_ids]
        return [self.film(place) for place in places if place is not None]

    def search(self, query: str, limit: int) -> list[dict[str, Any]]:
        """Films by title, best first."""
        return [self.film(place) for place in self._search.find(query, limit).tolist()]
