"""Whatever is read, altered in whatever way: it is read, or refused in one sentence of ours; and what a checksum covers is refused."""

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

EXAMPLES = 6  # of each file, in the suite
CORPUS = Path(__file__).parent / "corpus"
KEPT = sorted(path for path in CORPUS.rglob("*") if path.is_file())


@pytest.fixture(scope="module", name="place")
def _place(tmp_path_factory):
    from tastevec.model.export import export_onnx  # noqa: PLC0415  torch
    from tastevec.serving import bundle  # noqa: PLC0415  as above

    place = write_samples(tmp_path_factory.mktemp("samples"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle, "export", export_onnx)
        write_bundle(place / "bundle", place / "prepared")
    with OPENED:
        yield with_copies(place)


def with_copies(place):
    """What some readings need beside what they read."""
    for source, copy in (("results", "other"), ("tables", "arrivals"), ("tables", "told")):
        shutil.copytree(place / source, place / copy)
    return place


def look_at(target, place, altered):
    """Read it, and see that what came of it may come of it."""
    came, told = target.outcome(place, altered)
    if came == "refused":
        assert len(told.split()) > 5  # a sentence
    elif target.manifest_text and altered != target.valid(place):
        assert told == target.read(place / target.sample), "altered, read, and answering otherwise"


@pytest.mark.parametrize("name", TARGETS)
def test_a_file_as_it_should_be_is_read(name, place):
    came, told = TARGETS[name].outcome(place, TARGETS[name].valid(place))
    assert came == "read" or name == "words-prepare.json", told


@pytest.mark.parametrize("name", TARGETS)
def test_a_file_that_is_altered_is_read_or_refused_in_a_sentence_of_ours(name, place):
    target = TARGETS[name]
    valid = target.valid(place)

    @given(st.integers(0, 2**32 - 1))
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def altered(seed):
        look_at(target, place, mutated(target.file, valid, Random(seed)))  # noqa: S311  drawn by hypothesis

    altered()


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.relative_to(CORPUS).as_posix())
def test_what_was_found_once_stays_mended(path, place):
    look_at(TARGETS[path.parent.name], place, path.read_bytes())
