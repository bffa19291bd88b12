"""A folder of bundles that differ by their seed alone is one system of several runs."""

import json
import shutil

import pytest

from tastevec.data.files import manifest_text
from tastevec.data.prepared import Prepared
from tastevec.errors import DataError, FormatError
from tastevec.pipelines.evaluate import model_runs


@pytest.fixture
def prepared(prepared_folder):
    return Prepared.open(prepared_folder)


@pytest.fixture
def taste(bundle_folder, tmp_path):
    """Two bundles, as if trained apart from the seeds 42 and 43."""
    folder = tmp_path / "taste"
    for seed in (42, 43):
        shutil.copytree(bundle_folder, folder / str(seed))
        _change(folder / str(seed), seed=seed, space=f"space {seed}")
    (folder / "notes.txt").write_text("a file is no bundle")
    (folder / ".hidden").mkdir()
    return folder


def _change(bundle, *, space=None, fingerprint=None, **settings):
    manifest = json.loads((bundle / "bundle.json").read_text())
    manifest["settings"] |= settings
    manifest["space"] = space or manifest["space"]
    manifest["data"]["fingerprint"] = fingerprint or manifest["data"]["fingerprint"]
    (bundle / "bundle.json").write_text(manifest_text(manifest))


def test_a_bundle_is_a_system_of_one_run(bundle_folder, prepared):
    runs = model_runs(bundle_folder, prepared)
    assert (runs.name, len(runs.scorers)) == ("model", 1)
    assert runs.settings["seeds"] == [42]
    assert runs.settings["dim"] == 8


def test_a_folder_of_bundles_is_a_system_of_a_run_each(taste, prepared):
    runs = model_runs(taste, prepared)
    assert runs.name == "taste"
    assert [scorer.space for scorer in runs.scorers] == ["space 42", "space 43"]
    assert runs.settings["seeds"] == [42, 43]
    assert "seed" not in runs.settings
    assert json.loads(json.dumps(runs.settings)) == runs.settings


def test_where_it_was_trained_makes_no_other_system(taste, prepared):
    _change(taste / "43", device="auto", report_to="tensorboard")
    assert len(model_runs(taste, prepared).scorers) == 2


def test_bundles_of_other_settings_are_refused(taste, prepared):
    _change(taste / "43", layers=7, epochs=9)
    with pytest.raises(DataError, match=r"models 42 and 43 differ in epochs, layers. Expected runs"):
        model_runs(taste, prepared)


def test_a_seed_that_is_there_twice_is_refused(taste, prepared):
    _change(taste / "43", seed=42)
    with pytest.raises(DataError, match=r"models with seeds 42, 42. Expected a different seed for each"):
        model_runs(taste, prepared)


def test_one_bundle_of_other_data_is_refused(taste, prepared):
    _change(taste / "43", fingerprint="elsewhere")
    with pytest.raises(DataError, match="model taste/43 was not trained on"):
        model_runs(taste, prepared)


def test_what_is_no_bundle_among_bundles_is_refused(taste, prepared):
    (taste / "44.training").mkdir()
    with pytest.raises(FormatError, match=r"44\.training is not a model folder"):
        model_runs(taste, prepared)


def test_a_folder_of_nothing_is_refused_as_no_model(tmp_path, prepared):
    (tmp_path / "inside").mkdir()
    for folder, found in ((tmp_path, r"no bundle\.json"), (tmp_path / "missing", "no such folder")):
        with pytest.raises(FormatError, match=rf"{found}\. Expected a model folder"):
            model_runs(folder, prepared)
