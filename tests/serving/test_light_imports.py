"""Data preparation and evaluation import neither the network nor its libraries."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers")


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("tastevec", (*HEAVY, "ibis", "duckdb", "pyarrow", "sklearn", "matplotlib", "numpy")),
        ("tastevec.pipelines.train", HEAVY),
        ("tastevec.pipelines.prepare, tastevec.items.als, tastevec.items.cold_start", HEAVY),
        ("tastevec.data.prepared, tastevec.data.streaming, tastevec.data.inputs", HEAVY),
        ("tastevec.evaluation.evaluate, tastevec.evaluation.scorers, tastevec.evaluation.baselines", HEAVY),
        ("tastevec.serving.bundle, tastevec.serving.recommender", (*HEAVY, "huggingface_hub")),
        ("tastevec.serving.hub, tastevec.serving.align", (*HEAVY, "huggingface_hub", "duckdb")),
        ("tastevec.training.settings", HEAVY),
        ("tastevec.pipelines.batch", (*HEAVY, "duckdb", "ibis")),  # as a Spark worker imports it
    ],
)
def test_import_loads_no_heavy_module(modules, heavy):
    code = f"import sys, {modules}; print(*sorted({heavy!r} & sys.modules.keys()))".replace(
        repr(heavy), repr(set(heavy))
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
    assert result.stderr == ""
