"""Folders that many tests read and none changes: the tiny world prepared, and a model trained on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import worlds
from tastevec.items.prepare import PrepareSettings, prepare

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def prepared_folder(tmp_path_factory) -> Path:
    """The tiny world with a genome, prepared: 7 people train, 1 and 5 validate, 2, 4 and 10 are unseen."""
    place = tmp_path_factory.mktemp("prepared")
    release = worlds.write_csv_release(place / "release", genome=True)
    return prepare(release, place / "data", settings=PrepareSettings(seed=1)).folder


@pytest.fixture(scope="session")
def bundle_folder(prepared_folder, tmp_path_factory) -> Path:
    """A model of the ``taste`` preset, as small as can be, trained on the tiny world for one epoch."""
    from encoders import TINY  # noqa: PLC0415  torch, for those tests only that need it
    from tastevec.stages import train  # noqa: PLC0415

    out = tmp_path_factory.mktemp("bundle") / "model"
    train(prepared_folder, out, epochs=1, **TINY)
    return out
