"""A model of the tiny world that is served, and stand-ins for what it needs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient

import worlds
from encoders import TASTE, encoder, reading
from tastevec.errors import SettingsError
from tastevec.items.film_map import FilmMap
from tastevec.serving.bundle import Bundle
from tastevec.serving.explanation import TagReading
from tastevec.serving.recommender import Recommender
from tastevec.serving.service.app import create_app
from tastevec.serving.service.served import Served
from tastevec.serving.service.settings import ServiceSettings


class StandIn(Recommender):
    """A recommender whose words are made up and whose vectors are real."""

    def similar_items(self, item_id, k=10):
        place = self.bundle.item_ids.tolist().index(item_id)
        units = self.item_vectors / np.linalg.norm(self.item_vectors, axis=1, keepdims=True)
        scores = units @ units[place]
        scores[place] = -2
        best = np.argsort(-scores, kind="stable")[: min(k, len(scores) - 1)]
        columns = {
            "item_id": self.bundle.item_ids[best],
            "rank": np.arange(1, len(best) + 1),
            "score": scores[best],
        }
        return pa.table(columns)

    def explain(self, ratings, *, tags=10, films=3, horizon="overall"):
        assert horizon in ("next", "overall")
        causes = tuple((item, float(rating)) for item, rating in ratings[:films])
        return [TagReading(tag, 2.0 - n, 0.5, causes) for n, tag in enumerate(("space", "tears"))][:tags]

    def explain_item(self, item_id, *, tags=10):
        assert item_id in self.bundle.item_ids
        return [TagReading("space", 1.5, 0.5), TagReading("tears", -0.5, 0.25)][:tags]

    def steer(self, vector, tags, *, hold=1.0, horizon="overall"):
        assert 0 <= hold <= 1
        assert horizon in ("next", "overall")
        if unknown := set(tags) - {"space", "tears"}:
            raise SettingsError(f"there is no tag {min(unknown)!r}; expected one of space, tears")
        direction = {"space": self.item_vectors[0], "tears": self.item_vectors[15]}
        return vector + sum((dose * direction[tag] for tag, dose in tags.items()), np.zeros(len(vector)))


@dataclass(frozen=True)
class Crowd:
    """People who can be found: the nearest is always the first."""

    ids: Any
    vectors: Any

    def __len__(self):
        return len(self.ids)

    def nearest(self, vectors, k):
        places = np.tile(np.arange(min(k, len(self))), (len(vectors), 1))
        return places, 1.0000001 - places / 10


def made_bundle(*, seed=0, items=None, mapped=True, **shape):
    """The films of the tiny world, known to more people the smaller their number is."""
    films = worlds.films()
    table = pa.table(
        {
            "item_id": items or [film.film for film in films],
            "title": [film.title for film in films],
            "year": pa.array([film.year for film in films], pa.int32()),
            "genres": [list(film.genres) for film in films],
            "vector_source": ["both"] * len(films),
            "train_users": [100 - film.film for film in films],
        }
    )
    facts = {"space": f"space-{seed}", "data": {"name": "tiny"}, "tastevec": "0.1.0"}
    plane = FilmMap(
        np.array([np.linspace(0, 1, worlds.FILMS), np.linspace(1, 0, worlds.FILMS)], np.float32).T
    )
    network = encoder(**{**TASTE, **shape})
    return Bundle(network, reading(set_history=100), table, facts, film_map=plane if mapped else None)


def served(model=None, **changes):
    """What is served in most tests."""
    model = model or StandIn(made_bundle())
    crowd = Crowd(np.array([7, 9, 12]), model.item_vectors[:3])
    return Served(model, **({"name": "tiny", "people": crowd} | changes))


def until_ready(client):
    """Wait for the model."""
    life = client.app.state.life
    while not life.ready:
        if life.failure:
            raise life.failure
        time.sleep(0.01)


@pytest.fixture(scope="session", name="tiny")
def _tiny():
    return served()


@pytest.fixture(scope="session", name="make")
def _make():
    """`served`, for tests that change it."""
    return served


@pytest.fixture(scope="session", name="bundle_of")
def _bundle_of():
    """`made_bundle`, for tests that change it."""
    return made_bundle


@pytest.fixture(name="asking")
def _asking(tiny):
    """A client of a service with these settings, once its model is loaded."""
    opened = []

    def start(source=lambda: tiny, *, wait=True, raises=True, web=None, **settings):
        given = {} if web is None else {"web": web}
        app = create_app(source, ServiceSettings(**settings), **given)
        client = TestClient(app, raise_server_exceptions=raises)
        opened.append(client.__enter__())
        if wait:
            until_ready(client)
        return client

    yield start
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture(scope="session", name="client")
def _client(tiny):
    """A client of the service as it is by default."""
    with TestClient(create_app(lambda: tiny, ServiceSettings())) as client:
        until_ready(client)
        yield client
