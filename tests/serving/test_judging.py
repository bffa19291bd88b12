"""A model is judged only on the data that it was trained on, by a name of its own."""

import shutil

import pytest

import worlds
from tastevec.errors import DataError, SettingsError
from tastevec.items.prepare import PrepareSettings, prepare
from tastevec.stages import evaluate


def test_a_model_stands_beside_the_floors_of_its_own_space(bundle_folder, prepared_folder, tmp_path):
    report = evaluate([bundle_folder], prepared_folder, tmp_path / "results", protocols=["future"])
    systems = {facts.system: facts for facts in report.systems}
    assert {"popularity", "EASE", "model"} <= systems.keys()
    assert systems["model"].space is not None
    assert any(facts.floor and facts.space == systems["model"].space for facts in report.systems)
    assert {row.users for row in report.rows} <= {1, 2, 3}  # the three people whom nobody has seen
    assert (tmp_path / "results" / "results.json").exists()


def test_without_baselines_only_the_floors_stand_there(bundle_folder, prepared_folder):
    report = evaluate([bundle_folder], prepared_folder, protocols=["future"], with_baselines=False)
    assert [facts.system for facts in report.systems if not facts.floor] == ["model"]


@pytest.mark.parametrize("change", ["another division", "another rating"])
def test_data_that_the_model_was_not_trained_on_are_refused(bundle_folder, tmp_path, change):
    release = worlds.write_csv_release(tmp_path / "release", genome=True)
    if change == "another rating":
        ratings = release / "ratings.csv"
        ratings.write_text(ratings.read_text().replace("12,20,4,", "12,20,5,").replace("1,1,4,", "1,1,3,"))
    seed = 2 if change == "another division" else 1
    other = prepare(release, tmp_path / "data", settings=PrepareSettings(seed=seed)).folder
    with pytest.raises(
        DataError, match=r"model model was not trained on .*: evaluate it on its own prepared folder"
    ):
        evaluate([bundle_folder], other)


def test_two_models_of_one_name_are_refused(bundle_folder, prepared_folder, tmp_path):
    shutil.copytree(bundle_folder, tmp_path / "model")
    with pytest.raises(SettingsError, match="folders are called model, model; expected different names"):
        evaluate([bundle_folder, tmp_path / "model"], prepared_folder)
