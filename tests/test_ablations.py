"""The ablations: what is changed in which recipe, how variants are compared, and how the page shows it."""

from __future__ import annotations

import json

import ablations
import numpy as np
import pytest
from ablation_rendering import rendered_ablations
from ablations import BUDGET, CORRECTIONS, QUICK, TAKEN_AWAY, TOGETHER, VARIANTS, Variant

from encoders import TINY, TINY_SEED
from reports import asked, facts, measured, report_of
from tastevec.evaluation.scorers import Runs
from tastevec.model.backbone import backbone_shape
from tastevec.pipelines.train import train
from tastevec.training.settings import resolve_settings


@pytest.fixture(autouse=True)
def _no_checkpoint(monkeypatch):
    """Its place, which the package that brings it knows."""
    monkeypatch.setattr(ablations, "checkpoint", lambda: "minilm")


class Films:
    """A model that is nothing but its film vectors."""

    def __init__(self, *rows):
        self.item_vectors = np.array(rows, np.float32)


@pytest.mark.parametrize("budget", [BUDGET, QUICK])
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_each_variant_can_be_trained_and_differs_from_its_recipe_in_its_changes_alone(variant, budget):
    [base] = [other for other in VARIANTS if other.name == variant.beside]
    mine, its = (resolve_settings(one.preset, **one.settings(budget)).model_dump() for one in (variant, base))
    assert variant.preset == base.preset
    assert {name for name, value in mine.items() if value != its[name]} == set(variant.changes)
    assert {name: mine[name] for name in budget} == budget


def test_blocks_that_are_not_pretrained_have_the_shape_of_those_that_are(checkpoint):
    fresh = resolve_settings("seed", **CORRECTIONS["blocks not pretrained"])
    shape = backbone_shape(checkpoint, fresh.layers)
    assert (shape["hidden_size"], shape["heads"]) == (fresh.hidden_size, fresh.heads)
    assert shape["intermediate_size"] == 4 * fresh.hidden_size  # which is that of fresh blocks


def test_every_correction_is_made_alone_and_all_of_them_together():
    alone = [variant.changes for variant in VARIANTS if variant.beside == "note"]
    assert alone == [{}, *CORRECTIONS.values(), TOGETHER]
    together = resolve_settings("seed", **TOGETHER)
    assert all(getattr(together, name) == value for name, value in TOGETHER.items())
    assert [variant.changes for variant in VARIANTS if variant.beside == "taste"] == [
        {},
        *TAKEN_AWAY.values(),
    ]


def test_the_names_are_folders_and_different():
    names = [variant.name for variant in VARIANTS]
    assert len(set(names)) == len(names)
    assert not any("/" in name for name in names)


NOTE, MASKED, OTHER = (
    Variant("note", "seed", "note"),
    Variant("masked", "seed", "note", {"attention": "masked"}),
    Variant("other films", "seed", "note", {"item_vectors": "collaborative"}),
)
MODELS = {
    "note": Runs("note", [Films([2, 0], [0, 1], [0, 0])]),
    "masked": Runs("masked", [Films([1, 0], [0, 3], [0, 0])]),
    "other films": Runs("other films", [Films([0, 1], [1, 0], [0, 0])]),
}
TASKS = ("best-rated", "fold-in", "next-liked", "last-20%")


def _report():
    """Everybody gets 0.25 more from the masked model; the third gives the same to all but one."""
    results = []
    for name in TASKS:
        task = asked(name, users=8)
        for system, gains in {
            "note": np.full(8, 0.25),
            "masked": np.full(8, 0.5),
            "other films": np.array([0.5, *[0.25] * 7]),
        }.items():
            results.append(
                measured(
                    system,
                    task,
                    ndcg_at_10=gains,
                    ndcg_at_100=gains,
                    cosine_distance_centred=1 - gains,
                    wholes={"effective_rank": np.array([2.345])},
                )
            )
    return report_of([facts(name) for name in MODELS], results)


def test_a_variant_is_compared_with_what_it_was_made_from_on_the_same_people():
    found = ablations.differences(_report(), MODELS, (NOTE, MASKED))
    assert [(row["system"], row["task"], row["metric"]) for row in found] == [
        ("masked", *column) for column in ablations.COLUMNS
    ]
    gained = [row for row in found if row["metric"] != "cosine_distance_centred"]
    assert all(row["difference"] == row["low"] == row["high"] == 0.25 and row["star"] for row in gained)


def test_a_difference_whose_interval_holds_0_has_no_star():
    found = ablations.differences(_report(), MODELS, (NOTE, OTHER))
    assert found
    assert not any(row["star"] for row in found)


def test_distances_are_compared_only_among_the_same_film_vectors_whatever_their_lengths():
    assert ablations.same_films(MODELS["note"], MODELS["masked"])
    assert not ablations.same_films(MODELS["note"], MODELS["other films"])
    compared = ablations.differences(_report(), MODELS, (NOTE, MASKED, OTHER))
    with_distance = {row["system"] for row in compared if row["metric"] == "cosine_distance_centred"}
    assert with_distance == {"masked"}


def test_the_page_shows_stars_brackets_and_an_effective_rank_without_an_interval():
    variants = (NOTE, MASKED, OTHER)
    report = _report()
    text = rendered_ablations(
        {
            "budget": BUDGET,
            "checkpoint": "minilm",
            "ablations": [
                {"name": one.name, "beside": one.beside, "changes": one.changes} for one in variants
            ],
            "tasks": [{"task": task.name, "users": len(task)} for task in report.tasks],
            "seeds": [42, 43],
            "floors": ["popularity"],
            "rows": ablations.rows(report),
            "differences": ablations.differences(report, MODELS, variants),
        }
    )
    assert "2 epochs, 64 films of a history read in order; each row is the mean of 2 trainings" in text
    lines = {line.split(" | ")[0].lstrip("| "): line for line in text.splitlines() if line.startswith("|")}
    assert lines["popularity"].count(" - ") == 6
    assert "0.250 ±0.000 |" in lines["**note**"]
    assert "`attention=masked` | 0.500 ±0.000* | 0.500 ±0.000* |" in lines["masked"]
    assert "(0.719 ±" in lines["other films"]
    assert "| 2.35 |" in lines["other films"]


def test_a_table_holds_the_floors_in_its_own_film_vectors():
    results = {
        "budget": BUDGET,
        "checkpoint": "minilm",
        "ablations": [{"name": name, "beside": name, "changes": {}} for name in ("note", "taste")],
        "tasks": [],
        "seeds": [42],
        "floors": ["popularity", "constant (note)", "constant (taste)"],
        "rows": [],
        "differences": [],
    }
    _, first, second = rendered_ablations(results).split("\n\n")
    assert "popularity" in first
    assert "constant (note)" in first
    assert "constant (taste)" not in first
    assert "popularity" in second
    assert "constant (taste)" in second
    assert "constant (note)" not in second


@pytest.mark.slow
def test_trained_models_are_asked_beside_the_floors(prepared_folder, tmp_path, monkeypatch):
    variants = (NOTE, Variant("taste", "taste", "taste"), MASKED)
    monkeypatch.setattr(ablations, "VARIANTS", variants)
    for variant in variants:
        small = TINY_SEED if variant.preset == "seed" else {**TINY, "epochs": 1}
        out = tmp_path / variant.name / "42"
        out.parent.mkdir()
        train(prepared_folder, out, preset=variant.preset, **{**small, **variant.changes})
    judged = json.loads(json.dumps(ablations.judged(prepared_folder, tmp_path)))
    assert json.loads(json.dumps(ablations.judged(prepared_folder, tmp_path, 2))) == judged
    assert judged["seeds"] == [42]
    assert {row["system"] for row in judged["rows"]} == {
        *(variant.name for variant in variants),
        *judged["floors"],
    }
    assert {row["system"] for row in judged["differences"]} == {"masked"}
    assert {"popularity", "constant (note)", "constant (taste)"} <= set(judged["floors"])
    ranks = [row["mean"] for row in judged["rows"] if row["metric"] == "effective_rank"]
    assert len(ranks) >= 3
