"""Bundles that earlier versions wrote, kept as they were written: they load, and answer as they did."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tastevec.errors import FormatError
from tastevec.serving.bundle import Bundle
from tastevec.serving.recommender import load

FOLDER = Path(__file__).parent.parent / "fixtures" / "bundles"
ANSWERS = sorted(FOLDER.glob("*.json"))
READ = [path.with_suffix("") for path in ANSWERS]
GRAPHS = [folder for folder in READ if (folder / "encoder.onnx").exists()]
REFUSED = FOLDER / "format-1-question"
OPTIONAL = ("encoder.onnx", "item_placing.safetensors", "tags.safetensors", "encoder.py")


def name_of(path):
    return path.stem


def answers_as_it_did(model, folder):
    told = json.loads(folder.with_suffix(".json").read_text())
    people = {name: [tuple(row) for row in rows] for name, rows in told["histories"].items()}
    for horizon, vectors in told["vectors"].items():
        for name, expected in vectors.items():
            found = model.encode(people[name], horizon=horizon)
            np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)
    for name, films in told["films"].items():
        assert model.recommend(people[name], k=5)["item_id"].to_pylist() == films


def test_every_age_is_there_and_said_to_be():
    told = (FOLDER / "README.md").read_text()
    folders = {path.name for path in FOLDER.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == {*(folder.name for folder in READ), REFUSED.name}
    assert all(f"`{name}`" in told for name in folders)
    assert len(READ) == 7


@pytest.mark.parametrize("folder", READ, ids=name_of)
def test_a_bundle_of_this_age_answers_as_it_did_when_it_was_written(folder):
    answers_as_it_did(load(folder, runtime="torch"), folder)


@pytest.mark.parametrize("folder", GRAPHS, ids=name_of)
def test_its_graph_answers_as_it_did(folder):
    answers_as_it_did(load(folder, runtime="onnx"), folder)


@pytest.mark.parametrize("folder", READ, ids=name_of)
def test_it_is_saved_in_todays_form_with_the_space_that_it_had(folder, tmp_path):
    before = load(folder, runtime="torch")
    again = load(before.save(tmp_path / folder.name), runtime="torch")
    assert again.bundle.space == before.bundle.space
    assert (tmp_path / folder.name / "encoder.py").exists()
    shutil.copy(folder.with_suffix(".json"), tmp_path)
    answers_as_it_did(again, tmp_path / folder.name)


def test_a_learned_linear_answer_is_known_as_one_and_stays_known(tmp_path):
    bundle = Bundle.load(FOLDER / "format-1-placing")
    assert bundle.facts["earlier_form"] == "learned linear answer"
    assert Bundle.load(bundle.save(tmp_path / "again")).facts["earlier_form"] == "learned linear answer"
    assert "earlier_form" not in Bundle.load(FOLDER / "format-1-solved").facts


def test_films_are_added_to_an_old_bundle_as_it_would_have_added_them(tmp_path):
    """What is said of people who rated none of them stays as it was."""
    (tmp_path / "new.csv").write_text("item_id,title,year,genres\n1000,A new one,1999,Drama\n")
    folder = FOLDER / "format-1-placing"
    grown = load(folder).with_items(tmp_path / "new.csv")
    told = json.loads(folder.with_suffix(".json").read_text())
    for horizon, vectors in told["vectors"].items():
        for name, expected in vectors.items():
            found = grown.encode([tuple(row) for row in told["histories"][name]], horizon=horizon)
            np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)
    kept = load(grown.save(tmp_path / "grown"))
    assert kept.bundle.space == load(folder).bundle.space
    assert len(kept.bundle.items) == 21


def test_the_first_network_of_all_is_refused_with_what_to_do():
    with pytest.raises(
        FormatError, match=r"an earlier version, which this one no longer has .*or train again"
    ):
        load(REFUSED)


@pytest.mark.parametrize("part", OPTIONAL)
def test_a_bundle_without_an_optional_part_answers_all_the_same(part, tmp_path):
    folder = FOLDER / "format-1-code"
    place = Path(shutil.copytree(folder, tmp_path / folder.name))
    shutil.copy(folder.with_suffix(".json"), tmp_path)
    told = json.loads((place / "bundle.json").read_text())
    (place / part).unlink()
    del told["checksums"][part]
    (place / "bundle.json").write_text(json.dumps(told))
    answers_as_it_did(load(place), place)


def test_what_an_old_bundle_lacks_is_named_when_it_is_asked_for(tmp_path):
    old = load(FOLDER / "format-1-learned")
    with pytest.raises(FormatError, match="knows no tags"):
        old.explain([(1, 5.0)])
    (tmp_path / "new.csv").write_text("item_id,title\n1000,A new one\n")
    with pytest.raises(FormatError, match="cannot take new films"):
        old.with_items(tmp_path / "new.csv")
    if find_spec("onnxruntime"):
        with pytest.raises(FormatError, match=r"holds no encoder\.onnx"):
            load(FOLDER / "format-1-solved", runtime="onnx")
