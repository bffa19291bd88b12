"""An altered file is read or refused with a message; a change under a checksum is always refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mutations import mutated
from samples import write_bundle, write_samples
from targets import OPENED, TARGETS

EXAMPLES = 1  # of each file, in the suite; `make fuzz` draws them by coverage
CORPUS = Path(__file__).parent / "corpus"
SAVED = sorted(path for path in CORPUS.rglob("*") if path.is_file())


@pytest.fixture(scope="module", name="root")
def _root(tmp_path_factory):
    from tastevec.model.export import export_onnx  # noqa: PLC0415  torch
    from tastevec.serving import bundle  # noqa: PLC0415  as above

    root = write_samples(tmp_path_factory.mktemp("samples"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle, "export", export_onnx)
        write_bundle(root / "bundle", root / "prepared")
    with OPENED:
        yield with_copies(root)


def with_copies(root):
    """Copy the examples that several targets share."""
    for source, copy in (("results", "other"), ("tables", "new-items"), ("tables", "memory")):
        shutil.copytree(root / source, root / copy)
    return root


def check_target(target, root, altered):
    """Read the altered file; assert a message, or the original value under a checksum."""
    outcome, value = target.outcome(root, altered)
    if outcome == "refused":
        assert len(value.split()) > 5  # a sentence
    elif target.manifest_text and altered != target.valid(root):
        assert value == target.read(root / target.sample), "an altered file was read with another result"


@pytest.mark.parametrize("name", TARGETS)
def test_valid_file_is_read(name, root):
    outcome, value = TARGETS[name].outcome(root, TARGETS[name].valid(root))
    assert outcome == "read" or name == "inputs-prepare.json", value


@pytest.mark.parametrize("name", TARGETS)
def test_altered_file_is_read_or_refused_with_a_message(name, root):
    target = TARGETS[name]
    valid = target.valid(root)

    @given(st.integers(0, 2**32 - 1))
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def altered(seed):
        check_target(target, root, mutated(target.file, valid, Random(seed)))  # noqa: S311  drawn by hypothesis

    altered()


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.relative_to(CORPUS).as_posix())
def test_corpus_file_is_read_or_refused_with_a_message(path, root):
    check_target(TARGETS[path.parent.name], root, path.read_bytes())
