"""A model of the tiny dataset, and its service."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient

import worlds
from encoders import TASTE, encoder, reading
from tastevec.items.item_map import ItemMap
from tastevec.items.tag_directions import TagDirections
from tastevec.model.geometry import Geometry
from tastevec.serving.bundle import Bundle
from tastevec.serving.explain import with_user_reference
from tastevec.serving.recommender import Recommender
from tastevec.serving.service.app import create_app
from tastevec.serving.service.responses import AppState
from tastevec.serving.service.settings import ServiceSettings
from users import world


@dataclass(frozen=True)
class Neighbors:
    """Users to find; the first is always the nearest."""

    ids: Any
    vectors: Any

    def __len__(self):
        return len(self.ids)

    def nearest(self, vectors, k):
        indices = np.tile(np.arange(min(k, len(self))), (len(vectors), 1))
        return indices, 1.0000001 - indices / 10


def make_bundle(*, seed=0, mapped=True, tagged=True):
    """Return a small model of the preset taste; items with smaller IDs are more popular."""
    items = worlds.items()
    table = pa.table(
        {
            "item_id": [item.item for item in items],
            "title": [item.title for item in items],
            "year": pa.array([item.year for item in items], pa.int32()),
            "genres": [list(item.genres) for item in items],
            "vector_source": ["both"] * len(items),
            "train_users": [100 - item.item for item in items],
        }
    )
    facts = {"space": f"space-{seed}", "data": {"name": "tiny"}, "tastevec": "0.1.0"}
    facts |= {"closed_form": {"dislikes": True}}
    item_map = ItemMap(
        np.array([np.linspace(0, 1, worlds.ITEMS), np.linspace(1, 0, worlds.ITEMS)], np.float32).T
    )
    network = encoder(**TASTE)
    network.fold(Geometry.fit(network.table, network.table))
    bundle = Bundle(
        network, reading(max_history_overall=100), table, facts, None, item_map=item_map if mapped else None
    )
    if not tagged:
        return bundle
    random = np.random.default_rng(7)
    directions = TagDirections(
        ("space", "tears", "robots"),
        np.pad(random.normal(size=(3, 7)), ((0, 0), (0, 1))).astype(np.float32),
        np.array([0.9, 0.8, 0.7], np.float32),
        {},
    ).with_reference("items", network.geometry.directions(network.item_vectors))
    return replace(bundle, tags=with_user_reference(directions, Recommender(bundle).vectors, world()))


def make_state(model=None, **changes):
    """Return the state of most tests."""
    model = model or Recommender(make_bundle())
    neighbors = Neighbors(np.array([7, 9, 12]), model.item_directions[:3])
    return AppState(model, **({"name": "tiny", "users": neighbors} | changes))


def until_ready(client):
    """Wait for the model."""
    pool = client.app.state.pool
    while not pool.ready:
        if pool.failure:
            raise pool.failure
        time.sleep(0.01)


@pytest.fixture(scope="session", name="tiny")
def _tiny():
    return make_state()


@pytest.fixture(scope="session", name="make")
def _make():
    """`make_state`, for tests that change it."""
    return make_state


@pytest.fixture(scope="session", name="bundle_of")
def _bundle_of():
    """`make_bundle`, for tests that change it."""
    return make_bundle


@pytest.fixture(name="start_client")
def _start_client(tiny):
    """Start clients of services with settings, after the model is loaded."""
    clients = []

    def start(source=lambda: tiny, *, wait=True, raises=True, web=None, **settings):
        options = {} if web is None else {"web": web}
        app = create_app(source, ServiceSettings(**settings), **options)
        client = TestClient(app, raise_server_exceptions=raises)
        clients.append(client.__enter__())
        if wait:
            until_ready(client)
        return client

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture(scope="session", name="client")
def _client(tiny):
    """A client of a service with default settings."""
    with TestClient(create_app(lambda: tiny, ServiceSettings())) as client:
        until_ready(client)
        yield client
