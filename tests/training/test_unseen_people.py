"""Who is unseen has taught nothing: change what he did, prepare and train again, and compare the bytes."""

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

UNSEEN, TAUGHT, JUDGE = "2", "3", "5"  # with the split's seed 1
RECIPES = {
    "taste": {**TINY, "epochs": 2},
    "taste-from-content": {**TINY, "epochs": 2, "dim": 64, "item_vectors": "content"},
    "bert-cosine": {**TINY_NOTE, "preset": "bert-cosine"},
    "bert-cosine-from-content": {**TINY_NOTE, "preset": "bert-cosine", "item_vectors": "content"},
}


def rewritten(file, change):
    """The table with each row changed; None leaves it out."""
    with file.open(newline="", encoding="utf-8") as lines:
        header, *rows = csv.reader(lines)
    with file.open("w", newline="", encoding="utf-8") as lines:
        csv.writer(lines, lineterminator="\n").writerows([header, *filter(None, map(change, rows))])


def turned(user):
    """Everything he rated, turned round, a day later, and one film fewer."""

    def change(row):
        if row[0] != user:
            return row
        return [row[0], row[1], 6 - int(row[2]), int(row[3]) + 86_400] if row[1] != "7" else None

    return lambda release: rewritten(release / "ratings.csv", change)


def renamed(user):
    """Everything he tagged, in other words and of other films."""

    def change(row):
        return [row[0], int(row[1]) % worlds.ITEMS + 1, "unheard of", row[3]] if row[0] == user else row

    return lambda release: rewritten(release / "tags.csv", change)


def silent(release):
    """One more unseen person's tag, of a film that he never rated."""
    with (release / "tags.csv").open("a", encoding="utf-8") as lines:
        lines.write("4,20,whisper,980500009\n")


@pytest.fixture(name="trained")
def _trained(tmp_path):
    """The bytes of the model that comes of a changed world."""

    def bytes_of(spec, change=None) -> bytes:
        rank: Path = tmp_path / str(len(list(tmp_path.iterdir())))
        release = worlds.write_csv_release(rank / "release", genome=spec == "bert-cosine")
        if change:
            change(release)
        data = prepare(release, rank / "data", settings=PrepareSettings(seed=1)).folder
        train(data, rank / "model", **RECIPES[spec])
        return (rank / "model" / "model.safetensors").read_bytes()

    return bytes_of


@pytest.mark.parametrize("spec", RECIPES)
def test_what_an_unseen_person_did_changes_no_byte_of_the_model(trained, spec):
    told = trained(spec)
    for change in (turned(UNSEEN), renamed(UNSEEN), silent):
        assert trained(spec, change) == told


@pytest.mark.parametrize("spec", RECIPES)
def test_what_a_training_person_did_changes_the_model(trained, spec):
    """Without this, the test above could not fail."""
    assert trained(spec, turned(TAUGHT)) != trained(spec)


@pytest.mark.parametrize("spec", ["taste", "taste-from-content", "bert-cosine-from-content"])
def test_the_words_of_a_training_person_change_the_model(trained, spec):
    assert trained(spec, renamed("7")) != trained(spec)


def test_a_judge_chooses_the_epoch_and_teaches_nothing(trained):
    """With one epoch there is nothing to choose."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, "taste", {**TINY, "epochs": 1})
        told = trained("taste")
        for change in (turned(JUDGE), renamed("1")):
            assert trained("taste", change) == told
