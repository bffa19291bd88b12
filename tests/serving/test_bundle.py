import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from encoders import TINY_NOTE
from tastevec.errors import FormatError
from tastevec.pipelines.train import train
from tastevec.serving import bundle as module
from tastevec.serving.bundle import MODULES, Bundle
from users import world

FILES = {
    "README.md",
    "bundle.json",
    "config.json",
    *(f"{name}.py" for name in MODULES),
    "encoder.onnx",
    "items.parquet",
    "item_cold_start.safetensors",
    "model.safetensors",
    "tags.safetensors",
}


@pytest.fixture(name="folder")
def _folder(bundle_folder, tmp_path) -> Path:
    """Return a copy that tests can alter."""
    return Path(shutil.copytree(bundle_folder, tmp_path / "model"))


def test_bundle_names_its_checkpoint_without_the_folder(prepared_folder, tmp_path, checkpoint):
    spec = {**TINY_NOTE, "preset": "bert-cosine", "backbone": checkpoint, "layers": 1}
    train(prepared_folder, tmp_path / "model", **spec)
    text = (tmp_path / "model" / "bundle.json").read_text(encoding="utf-8")
    assert json.loads(text)["settings"]["backbone"] == Path(checkpoint).name
    assert str(Path(checkpoint).parent) not in text


def test_bundle_contains_all_files(bundle_folder):
    assert {path.name for path in bundle_folder.iterdir()} == FILES
    manifest = json.loads((bundle_folder / "bundle.json").read_text())
    assert set(manifest["checksums"]) == FILES - {"bundle.json"}
    assert manifest["settings"]["preset"] == "taste"
    assert manifest["data"]["train_users"] == 7
    assert manifest["data"]["items"] == 20
    assert set(manifest["validation"]) == {
        *(
            "eval_random-20pct_ndcg@100",
            "eval_next-item_ndcg@100",
            "eval_last-20pct_ndcg@100",
            "eval_validation_score",
        )
    }


def test_bundle_contains_no_path_of_the_machine(bundle_folder):
    source = str(Path(module.__file__).parents[1]).encode()
    for file in bundle_folder.iterdir():
        content = file.read_bytes()
        assert source not in content, file.name
        assert str(bundle_folder).encode() not in content, file.name
        assert b"stack_trace" not in content, file.name


def test_bundle_saved_again_has_equal_bytes(bundle_folder, tmp_path):
    first = Bundle.load(bundle_folder)
    second = Bundle.load(first.save(tmp_path / "again"))
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (
        bundle_folder / "model.safetensors"
    ).read_bytes()
    assert second.space == first.space
    assert second.reading == first.reading
    assert second.items.equals(first.items)
    assert second.facts["settings"] == first.facts["settings"]
    arrays = first.reading.arrays(world())
    for horizon in ("next", "overall"):
        np.testing.assert_array_equal(
            second.model.encode(horizon, **arrays), first.model.encode(horizon, **arrays)
        )


def test_loaded_bundle_is_ready_for_inference(bundle_folder):
    model = Bundle.load(bundle_folder, "torch").model
    assert not model.training
    assert all(weight.isfinite().all() for weight in model.parameters())


def test_bundle_items_have_titles_and_vector_sources(bundle_folder):
    items = Bundle.load(bundle_folder).items
    assert items.column_names == ["item_id", "title", "year", "genres", "vector_source", "train_users"]
    assert items["item_id"].to_pylist() == list(range(1, 21))
    assert set(items["vector_source"].to_pylist()) == {"both"}


def test_two_trainings_have_different_spaces(bundle_folder, tmp_path):
    other = Bundle.load(bundle_folder, "torch")
    with torch.no_grad():
        other.model.items.weight[0, 0] += 1
    assert Bundle.load(other.save(tmp_path / "other")).space != Bundle.load(bundle_folder).space


@pytest.mark.parametrize("name", sorted(FILES - {"bundle.json"}))
def test_bundle_with_a_missing_file_is_refused(folder, name):
    (folder / name).unlink()
    with pytest.raises(FormatError, match=rf"{name}: missing, or checksum mismatch"):
        Bundle.load(folder)


@pytest.mark.parametrize("name", sorted(FILES - {"bundle.json"}))
def test_bundle_with_a_changed_byte_is_refused(folder, name):
    harmed = bytearray((folder / name).read_bytes())
    harmed[len(harmed) // 2] ^= 1
    (folder / name).write_bytes(harmed)
    with pytest.raises(FormatError, match="checksum mismatch"):
        Bundle.load(folder)


@pytest.mark.parametrize("version", [1, 2, 4, "3", None])
def test_bundle_of_another_format_version_is_refused(folder, version):
    manifest = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**manifest, "format": version}))
    with pytest.raises(FormatError, match=rf"format {version}\. Expected format 3"):
        Bundle.load(folder)


@pytest.mark.parametrize("text", ["", "{", "[1]", '"text"'])
def test_bundle_with_an_invalid_manifest_is_refused(folder, text):
    (folder / "bundle.json").write_text(text)
    with pytest.raises(FormatError):
        Bundle.load(folder)


def test_load_of_another_folder_names_the_train_command(tmp_path):
    with pytest.raises(FormatError, match=r"Expected a model folder\. Run: tastevec train PREPARED --out"):
        Bundle.load(tmp_path)
    with pytest.raises(FormatError, match="Expected a model folder"):
        Bundle.load(tmp_path / "nowhere")


def test_failed_save_leaves_the_old_bundle(folder, monkeypatch):
    bundle, before = Bundle.load(folder), (folder / "bundle.json").read_bytes()

    def fails(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "model_card", fails)
    with pytest.raises(KeyboardInterrupt):
        bundle.save(folder)
    assert (folder / "bundle.json").read_bytes() == before
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_save_over_another_folder_is_refused(bundle_folder, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FormatError, match="was not written by this command"):
        Bundle.load(bundle_folder).save(tmp_path)


def test_model_card_contains_validation_metrics_and_settings(bundle_folder):
    card = (bundle_folder / "README.md").read_text()
    manifest = json.loads((bundle_folder / "bundle.json").read_text())
    assert "on 7 users of" in card
    for name, value in manifest["validation"].items():
        assert f"| {name} | {value:.4f} |" in card
    for name, value in manifest["settings"].items():
        assert f"- `{name}`: {value}" in card
    assert "tastevec evaluate" in card
