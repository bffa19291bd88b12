"""What is served at one moment: a model with its films, its map and the people who can be found, replaced as a whole.

Dimensions: B people, N films of the catalogue, D numbers a vector, K films or people wanted.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from pydantic_core import to_json

from tastevec.schema import Horizon
from tastevec.serving.service.catalogue import Catalogue
from tastevec.serving.service.example import example_person

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tastevec.items.film_map import FilmMap
    from tastevec.serving.neighbours import Neighbours
    from tastevec.serving.recommender import Recommender

__all__ = ["Served"]

_FAVOURITES = 6  # films that are told of a person who was found


@dataclass(frozen=True, eq=False)
class Served:
    """A model and all that is made of it once, when it is loaded.

    Attributes:
        model: The recommender.
        name: What the model is called.
        people: Whom it can find, by their vectors of the horizon ``overall``.
    """

    model: Recommender
    name: str = "model"
    people: Neighbours | None = None

    def prepared(self) -> Served:
        """The same, with everything made that requests would otherwise wait for."""
        for made in ("catalogue", "without_vector", "facts", "example", "map_body"):
            getattr(self, made)
        return self

    @property
    def space(self) -> str:
        """The name of the vector space."""
        return self.model.bundle.space

    @property
    def film_map(self) -> FilmMap | None:
        """Where the films lie on a plane."""
        return self.model.bundle.film_map

    def favourites(self, vectors: NDArray[np.float32]) -> list[list[dict[str, Any]]]:
        """The films nearest to each vector (B, D) of a person, whether seen or not."""
        scores = vectors @ self.model.item_vectors.T  # (B, N)
        scores[:, self.without_vector] = -np.inf
        best = np.argsort(-scores, axis=1, kind="stable")[:, :_FAVOURITES]
        return [[self.catalogue.film(place) for place in places] for places in best.tolist()]

    @cached_property
    def catalogue(self) -> Catalogue:
        """The films."""
        return Catalogue(self.model.bundle.items)

    @cached_property
    def without_vector(self) -> NDArray[np.bool_]:
        """(N,) films that the model cannot recommend."""
        return np.asarray(~self.model.item_vectors.any(axis=1))

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What ``/v1/model`` says."""
        bundle, scale = self.model.bundle, self.model.bundle.reading.scale
        return {
            "name": self.name,
            "space": self.space,
            "films": len(self.catalogue),
            "dim": int(self.model.item_vectors.shape[1]),
            "data": str(bundle.facts.get("data", {}).get("name", "unknown")),
            "version": str(bundle.facts.get("tastevec", "unknown")),
            "horizons": list(get_args(Horizon)),
            "rating_range": [scale.low, scale.high],
            "rating_step": self._step,
            "tags": self._tags,
            "map": self.film_map is not None,
        }

    @cached_property
    def example(self) -> dict[str, Any]:
        """What ``/v1/example`` says."""
        scale = self.model.bundle.reading.scale
        catalogue = self.catalogue
        name, rated = example_person(
            catalogue.genres,
            catalogue.watched,
            self.model.item_vectors,
            (scale.low, scale.high, self._step),
        )
        ratings = [
            {**catalogue.named(place), "year": catalogue.years[place], "rating": rating}
            for place, rating in rated
        ]
        return {"name": name, "ratings": ratings}

    @cached_property
    def map_body(self) -> tuple[bytes, bytes, str] | None:
        """What ``/v1/map`` says as JSON, plain and compressed, and its tag; None without a map."""
        if self.film_map is None:
            return None
        catalogue, places = self.catalogue, self.film_map.places
        mapped = np.flatnonzero(np.isfinite(places).all(axis=1))
        x, y = np.round(places[mapped].astype(np.float64), 5).T.tolist()
        columns = {
            "item_ids": [catalogue.ids[film] for film in mapped],
            "titles": [catalogue.titles[film] for film in mapped],
            "years": [catalogue.years[film] for film in mapped],
            "genres": [next(iter(catalogue.genres[film]), None) for film in mapped],
            "x": x,
            "y": y,
            "watched": catalogue.watched[mapped].tolist(),
        }
        body = to_json(columns)
        return body, gzip.compress(body, 6, mtime=0), f'"{hashlib.sha256(body).hexdigest()[:32]}"'

    @property
    def _tags(self) -> list[dict[str, Any]]:
        """What can be steered by, the surest first."""
        tags = self.model.bundle.tags
        if tags is None:
            return []
        order = np.argsort(-tags.confidence, kind="stable").tolist()
        return [
            {"tag": tags.names[tag], "confidence": round(float(tags.confidence[tag]), 3)} for tag in order
        ]

    @property
    def _step(self) -> float:
        """Between two ratings that the model tells apart."""
        scale = self.model.bundle.reading.scale
        return (scale.high - scale.low) / (scale.levels - 1)
