"""Leakage: held-out users change no byte of a model; training users do."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import pytest

import worlds
from encoders import TINY, TINY_NOTE
from tastevec.pipelines.prepare import PrepareSettings
from tastevec.pipelines.prepare import write_prepared as prepare
from tastevec.pipelines.train import train

if TYPE_CHECKING:
    from pathlib import Path

TEST_USER, TRAIN_USER, VALIDATION_USER = "2", "3", "5"  # with the split's seed 1
VARIANTS = {
    "taste": {**TINY, "epochs": 2},
    "taste-from-content": {**TINY, "epochs": 2, "dim": 64, "item_vectors": "content"},
    "direction": {"preset": "direction"},
    "bert-cosine": {**TINY_NOTE, "preset": "bert-cosine"},
    "bert-cosine-from-content": {**TINY_NOTE, "preset": "bert-cosine", "item_vectors": "content"},
}


def rewrite(file, change):
    """Write the table with each row changed; None drops the row."""
    with file.open(newline="", encoding="utf-8") as lines:
        header, *rows = csv.reader(lines)
    with file.open("w", newline="", encoding="utf-8") as lines:
        csv.writer(lines, lineterminator="\n").writerows([header, *filter(None, map(change, rows))])


def other_ratings(user):
    """Return a change of the release: the user's ratings inverted, a day later, without one item."""

    def change(row):
        if row[0] != user:
            return row
        return [row[0], row[1], 6 - int(row[2]), int(row[3]) + 86_400] if row[1] != "7" else None

    return lambda release: rewrite(release / "ratings.csv", change)


def other_tags(user):
    """Return a change of the release: the user's tags replaced, on other items."""

    def change(row):
        return [row[0], int(row[1]) % worlds.ITEMS + 1, "unheard of", row[3]] if row[0] == user else row

    return lambda release: rewrite(release / "tags.csv", change)


def one_more_tag(release):
    """Add the tag of a test user on an item that they did not rate."""
    with (release / "tags.csv").open("a", encoding="utf-8") as lines:
        lines.write("4,20,whisper,980500009\n")


@pytest.fixture(name="trained")
def _trained(tmp_path):
    """Return a function: the bytes of the model of a variant, on a changed release."""

    def weights_of(variant, change=None) -> bytes:
        folder: Path = tmp_path / str(len(list(tmp_path.iterdir())))
        release = worlds.write_csv_release(folder / "release", genome=variant == "bert-cosine")
        if change:
            change(release)
        data = prepare(release, folder / "data", settings=PrepareSettings(seed=1)).folder
        train(data, folder / "model", **VARIANTS[variant])
        return (folder / "model" / "model.safetensors").read_bytes()

    return weights_of


@pytest.mark.parametrize("variant", VARIANTS)
def test_changed_test_user_changes_no_byte_of_model(trained, variant):
    weights = trained(variant)
    for change in (other_ratings(TEST_USER), other_tags(TEST_USER), one_more_tag):
        assert trained(variant, change) == weights


@pytest.mark.parametrize("variant", VARIANTS)
def test_changed_training_user_changes_model(trained, variant):
    """Without this, the test above could not fail."""
    assert trained(variant, other_ratings(TRAIN_USER)) != trained(variant)


@pytest.mark.parametrize("variant", ["taste", "taste-from-content", "bert-cosine-from-content"])
def test_changed_tags_of_training_user_change_model(trained, variant):
    assert trained(variant, other_tags("7")) != trained(variant)


def test_changed_validation_user_changes_no_byte_with_one_epoch(trained):
    """Validation users select the epoch and nothing else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(VARIANTS, "taste", {**TINY, "epochs": 1})
        weights = trained("taste")
        for change in (other_ratings(VALIDATION_USER), other_tags("1")):
            assert trained("taste", change) == weights
