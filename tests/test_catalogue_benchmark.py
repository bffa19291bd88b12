"""The benchmark of the catalogue's size: what a step over so many films takes, and how the page shows it."""

import json

import catalogue_step
import numpy as np
import pytest
import torch
from catalogue_rendering import rendered_catalogue

from tastevec.data.inputs import RatingScale, Reading
from tastevec.model import losses
from tastevec.training.batches import liked_batch


@pytest.mark.parametrize("what", ["loss", "plain", "step"])
def test_each_measurement_says_its_seconds_and_its_memory(what):
    found = catalogue_step.asked(what, films=300, people=2, repeats=1)
    assert found[f"{what}_seconds"] > 0
    assert found[f"{what}_peak_mb"] > 0
    if what != "step":
        assert found["answers"] > 50
        assert found[f"{what}_largest"] >= found["answers"] * 300
    json.dumps(found)


def test_the_softmax_beside_ours_is_the_same_one():
    reading = Reading(scale=RatingScale.of((1.0, 5.0)), max_history=200)
    people = catalogue_step._people(2, 300, np.random.default_rng(1))
    arrays = liked_batch(people, reading, catalogue_step.SETTINGS, np.random.default_rng(2))
    batch, found = {name: torch.from_numpy(array) for name, array in arrays.items()}, []
    for plain in (False, True):
        torch.manual_seed(3)
        once, answers = catalogue_step._loss(batch, 300, plain=plain)
        once()
        found.append(answers.grad)
    assert found[0].any()
    torch.testing.assert_close(*found)


def test_no_tensor_of_the_softmax_is_larger_than_the_block_however_many_films_and_answers(monkeypatch):
    monkeypatch.setattr(losses, "_BLOCK", 1 << 14)
    for films in (500, 5_000):
        found = catalogue_step.asked("loss", films=films, people=3, repeats=1)
        assert found["answers"] * films > 1 << 16
        assert found["loss_largest"] <= max(1 << 14, found["answers"] * 200)  # films are read before each


def row(films, *, plain=True):
    told = {"films": films, "loss_seconds": 0.05, "loss_peak_mb": 400, "loss_grown_mb": 190}
    told |= {"loss_largest": 16_000_000, "step_seconds": films / 10_000, "step_peak_mb": 900}
    return told | ({"plain_seconds": 0.1, "plain_peak_mb": 900, "plain_grown_mb": 1_400} if plain else {})


def test_the_page_says_what_is_held_and_how_a_step_grows():
    results = {
        "machine": {"cpu": "Some CPU", "cores": 2},
        "people": 8,
        "answers": 800,
        "block": 1 << 24,
        "catalogue": [row(1_000), row(1_000_000, plain=False)],
    }
    text = rendered_catalogue(results)
    assert "holds 16 million scores at once" in text
    assert "1,000 times as many, a whole step takes 1,000 times as long" in text
    lines = text.splitlines()
    assert "| 1,000 | 0.050 | 0.100 | 190 | 1,400 | 16.0 | 0.100 | 900 |" in lines
    assert "| 1,000,000 | 0.050 | - | 190 | - | 16.0 | 100.000 | 900 |" in lines
