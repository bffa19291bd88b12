"""Types of public calls: a type checker takes the right calls, and refuses those with the wrong value or keyword."""

import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from tastevec.data.intake.stated import STATED, ReadingChoices, SourceChoices
from tastevec.pipelines.fit import FitChoices
from tastevec.pipelines.prepare import PrepareChoices, PrepareSettings
from tastevec.training.settings import PRESETS, TrainChoices

# The end of a line is the code of its error. The table is as one of Polars, whose types take seconds to read.
CALLS = """
import pandas as pd
import pyarrow as pa
from pathlib import Path
from typing import assert_type

import numpy as np
from numpy.typing import NDArray

import tastevec as tv

class Table:

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...

model = tv.load("model")
Vector = NDArray[np.float32]
assert_type(model.encode([50, (127, 4)], horizon="next"), Vector)
assert_type(model.encode({"anna": [50]}), tv.Embeddings)
assert_type(model.encode(Table(), columns={"user_id": "reader"}), tv.Embeddings)
model.encode(pd.DataFrame())
model.encode(pa.table({}), bad_rows="drop")
model.encode(42)  # call-overload
model.encode("anna")  # call-overload
model.encode([50], horizon="later")  # call-overload
model.encode(Table(), column={"user_id": "reader"})  # call-overload
model.recommend([50], k=3, where={"genres": "Comedy"})
model.recommend([50], n=3)  # call-arg
model.recommend([50], k="3")  # arg-type
assert_type(tv.train("prepared", Path("model"), epochs=3, learning_rate=1e-3), tv.Recommender)
tv.train("prepared", "model", preset="direction", progress=False)
tv.train("prepared", "model", init=Path("earlier"), resume=True)
tv.train("prepared", "model", init=3)  # arg-type
tv.train("prepared", "model", epoch=3)  # call-arg
tv.train("prepared", "model", epochs="3")  # arg-type
tv.train("prepared", "model", preset="best")  # arg-type
assert_type(tv.fit(Table(), items="items.csv", rating_range=(1, 5), tune=False, seed=1), tv.Recommender)
tv.fit(pd.DataFrame(), rating_rnge="1:5")  # call-arg
tv.fit(pd.DataFrame(), feedback="stars")  # arg-type
tv.prepare("ratings.csv", "prepared", items=["items.csv"], split_strategy="temporal", seed=3)
tv.prepare("ratings.csv", "prepared", epochs=3)  # call-arg
tv.inspect("ratings.csv", columns={"rating": "points"})
tv.inspect("ratings.csv", memory="1GB")  # call-arg
tv.evaluate("model", "prepared", tasks=["next-item"])
tv.evaluate(["model", Path("other")], Path("prepared"), "results", progress=print)
tv.evaluate("model", "prepared", tasks=["next"])  # list-item
tv.evaluate(42, "prepared")  # arg-type
"""
# The libraries are not what is checked, and take most of the time.
CONFIG = """
[mypy]
strict = true
ignore_missing_imports = true
follow_imports = silent
[mypy-torch.*,transformers.*,pydantic.*,rich.*,structlog.*,matplotlib.*,optuna.*,sklearn.*,ibis.*]
follow_imports = skip
"""


@pytest.mark.slow
def test_type_checker_refuses_wrong_calls_alone(tmp_path):
    (tmp_path / "calls.py").write_text(CALLS)
    (tmp_path / "mypy.ini").write_text(CONFIG)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", tmp_path / "cache", "calls.py"],
        cwd=tmp_path,
        env={"MYPYPATH": str(Path(__file__).parent.parent / "src")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    found = {
        int(line.split(":")[1]): line.rpartition("[")[2].rstrip("]")
        for line in done.stdout.splitlines()
        if ": error: " in line
    }
    expected = {
        number: line.partition("  # ")[2]
        for number, line in enumerate(CALLS.splitlines(), 1)
        if "  # " in line
    }
    assert found == expected, done.stdout + done.stderr


def test_keywords_are_those_of_the_settings():
    assert set(SourceChoices.__annotations__) == set(STATED)
    own = {name for name in PrepareSettings.__dataclass_fields__ if name not in {"intake", "described"}}
    assert set(PrepareChoices.__annotations__) == own | set(STATED)
    fields = {name for settings in PRESETS.values() for name in settings.model_fields} - {"preset"}
    assert set(TrainChoices.__annotations__) == fields
    alone = {"items", "preset"}  # parameters of `fit` itself
    assert set(FitChoices.__annotations__) == (own | set(STATED) | fields) - alone
    assert set(ReadingChoices.__annotations__) == set(STATED) - {"items"}


@pytest.mark.parametrize("preset", PRESETS)
def test_types_of_training_keywords_contain_those_of_the_settings(preset):
    hints = get_type_hints(TrainChoices)
    for name in PRESETS[preset].model_fields:
        if name != "preset":
            own = get_type_hints(PRESETS[preset])[name]
            assert set(get_args(own) or [own]) <= set(get_args(hints[name]) or [hints[name]]), name
