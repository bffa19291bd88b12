"""The model card, and loading the network of a bundle without tastevec."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard
from transformers.dynamic_module_utils import get_relative_import_files

from encoders import KINDS, SCALE, TINY_NOTE, embeddings, encoder, reading
from tastevec.data.files import manifest_text, sha256_of
from tastevec.data.releases import TERMS
from tastevec.errors import FormatError
from tastevec.model import note as network
from tastevec.pipelines.train import train
from tastevec.serving import bundle as module
from tastevec.serving.bundle import MODULES, Bundle
from tastevec.serving.recommender import load
from users import of_every_length

EXPORT = module.export  # before the fixture of all tests replaces it
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
SECTIONS = (
    "Usage",
    "Validation metrics",
    "Intended use",
    "Limits and uses to avoid",
    "Terms",
    "Settings",
)
# Put before a program: hides tastevec, wherever it is installed.
WITHOUT_TASTEVEC = """
import sys

class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "tastevec":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Nowhere())
"""
RUN_MODEL = """
import numpy as np
from transformers import AutoModel

for folder in sys.argv[1:]:
    model = AutoModel.from_pretrained(folder, trust_remote_code=True)
    arrays = dict(np.load(folder + "/inputs.npz"))
    np.savez(folder + "/answered.npz", **{name: model.encode(name, **arrays) for name in ("next", "overall")})
"""


def alone(code, place, *arguments):
    """Return what a program prints without tastevec, started in ``place``."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HOME": str(place / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-I", "-c", WITHOUT_TASTEVEC + code, *map(str, arguments)],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def blocks(folder):
    return BLOCK.findall((folder / "README.md").read_text(encoding="utf-8"))


@pytest.fixture(name="copied")
def _copied(bundle_folder, tmp_path) -> Path:
    """Return a copy of the bundle whose name is not a valid module name."""
    return Path(shutil.copytree(bundle_folder, tmp_path / "a copy.1"))


@pytest.fixture(scope="session", name="note_folder")
def _note_folder(prepared_folder, tmp_path_factory) -> Path:
    """Return a bundle of the preset bert-cosine."""
    out = tmp_path_factory.mktemp("note") / "note"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "export", EXPORT)
        train(prepared_folder, out, preset="bert-cosine", **TINY_NOTE)
    return out


def resealed(folder, **written):
    """Write these files into the bundle, with matching checksums."""
    manifest = json.loads((folder / "bundle.json").read_text())
    for name, text in written.items():
        path = folder / f"{name}.py"
        path.write_text(text)
        manifest["checksums"][path.name] = sha256_of(path)
    (folder / "bundle.json").write_text(manifest_text(manifest))
    return folder


def test_bundle_contains_exactly_the_modules_that_the_network_imports():
    needed = {Path(file).stem for file in get_relative_import_files(network.__file__)}
    assert {"note", *needed} == set(MODULES)


@pytest.mark.slow
def test_transformers_without_tastevec_returns_bit_equal_vectors(tmp_path):
    """Check both presets and histories of each length, including empty and truncated ones."""
    shapes = [kind for mark in [KINDS] for kind in mark.args[1]]
    expected = {}
    for place, (shape, layout) in enumerate(shapes):
        folder = tmp_path / f"{place} kind"
        folder.mkdir()
        model = encoder(**shape)
        model.save_pretrained(folder)
        module.write_code(folder)
        np.savez(folder / "inputs.npz", **reading(**layout).arrays(of_every_length()))
        expected[folder] = embeddings(model, of_every_length(), reading(**layout))
    alone(RUN_MODEL, tmp_path, *expected)
    for folder, answer in expected.items():
        found = np.load(folder / "answered.npz")
        for horizon, vectors in answer.items():
            np.testing.assert_array_equal(found[horizon], vectors)
    assert SCALE.n_bins == reading().scale.n_bins


@pytest.mark.slow
@pytest.mark.parametrize("made", ["copied", "note_folder", "direction_folder"])
def test_program_of_the_card_without_tastevec_returns_equal_vectors(made, tmp_path, request):
    """Run the unchanged program of the card in a copied folder."""
    folder = request.getfixturevalue(made)
    ours, reading, *encoding = blocks(folder)
    shutil.copytree(folder, tmp_path / "elsewhere" / "this folder")
    print_vectors = "\nimport json; print(json.dumps([one.tolist() for one in (following, overall, scores)]))"
    names = {}
    exec(ours.replace('"this folder"', f"{str(folder)!r}, runtime='torch'"), names)  # noqa: S102  a program of the card
    programs = "".join(f"{one}\n{print_vectors}\n" for one in encoding or [""])
    printed = alone(reading + programs, tmp_path / "elsewhere").splitlines()
    for line in printed[-max(len(encoding), 1) :]:
        following, overall, scores = json.loads(line)
        expected = names["model"].encode(names["ratings"], horizon="next")
        np.testing.assert_allclose(following, expected, atol=1e-5)
        np.testing.assert_allclose(overall, names["vector"], atol=1e-5)
        np.testing.assert_allclose(scores, names["model"].item_vectors @ names["vector"], atol=1e-5)
    assert len(names["items"]) == 10


@pytest.mark.parametrize("runtime", ["onnx", "torch"])
def test_load_with_matching_checksums_runs_no_code_of_the_bundle(copied, runtime, tmp_path):
    evil = f"open({str(tmp_path / 'run')!r}, 'w').close()\n"
    names = dict.fromkeys((*MODULES, "bundle", "tastevec", "__init__"), evil)
    load(resealed(copied, **names), runtime=runtime).encode([(1, 5.0)])
    assert not (tmp_path / "run").exists()


def test_load_of_changed_code_is_refused(copied):
    (copied / "encoder.py").write_text("import os\n")
    with pytest.raises(FormatError, match=r"encoder\.py: missing, or checksum mismatch"):
        load(copied)


def test_bundle_without_code_loads_and_has_code_after_save(copied, tmp_path):
    manifest = json.loads((copied / "bundle.json").read_text())
    for name in MODULES:
        (copied / f"{name}.py").unlink()
        del manifest["checksums"][f"{name}.py"]
    (copied / "bundle.json").write_text(manifest_text(manifest))
    Bundle.load(copied).save(tmp_path / "again")
    assert {f"{name}.py" for name in MODULES} < {file.name for file in (tmp_path / "again").iterdir()}


def test_card_has_a_header_and_every_section(bundle_folder):
    card = ModelCard.load(bundle_folder / "README.md")
    assert card.data.to_dict()["library_name"] == "tastevec"
    assert card.data.license == "unknown"  # the license of a user's own table is not known
    assert {"recommender-systems", "custom_code"} <= set(card.data.tags)
    assert card.data.datasets is None
    assert re.findall(r"^## (.*)$", card.text, re.MULTILINE) == list(SECTIONS)
    assert Bundle.load(bundle_folder).space in card.text


def test_card_of_a_movielens_model_has_license_and_citation(bundle_folder):
    bundle = Bundle.load(bundle_folder)
    facts = {**bundle.facts, "data": {**bundle.facts["data"], "name": "ml-25m"}}
    text = module.model_card(facts, bundle.reading, bundle.item_ids, "org/name")
    card = ModelCard(text)
    assert (card.data.license, card.data.license_name) == ("other", "movielens-terms")
    assert card.data.datasets == ["ml-25m"]
    assert TERMS in card.text
    assert "10.1145/2827872" in card.text
    assert "10.1145/2362394.2362395" in card.text  # its genome can be part of the training data
    assert 'tv.load("org/name")' in card.text
    assert 'snapshot_download("org/name")' in card.text
