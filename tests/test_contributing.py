"""The diffs of CONTRIBUTING.md are short, apply to the package, and work."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DIFFS = dict(
    re.findall(
        r"^<!-- (\w+) -->\n```diff\n(.*?)^```$",
        (ROOT / "CONTRIBUTING.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
)
# The check of each diff, on the tiny world of all tests.
CHECKS = {
    "release": """
from tastevec.data.releases import find_release
assert find_release("ml-40m").address.endswith("/ml-40m.zip")
""",
    "vector": """
import worlds
from tastevec.data.value_scale import ValueScale
from tastevec.items.content import genre_matrix
from tastevec.pipelines.prepare import prepare
from tastevec.training.settings import resolve_settings
from tastevec.training.fit import _taste_space
prepared = prepare(worlds.write_csv_release(here / "release"), here / "prepared", seed=1)
settings = resolve_settings("taste", item_vectors="genres", dim=20)
space = _taste_space(prepared, prepared.histories.take(prepared.users_in("train")), settings)
assert (space.initial.vectors == genre_matrix(prepared.items["genres"])).all()
""",
    "loss": """
import worlds
from encoders import TINY_NOTE
from tastevec.pipelines.prepare import prepare
from tastevec.training.settings import resolve_settings
from tastevec.training.fit import train
prepared = prepare(worlds.write_csv_release(here / "release"), here / "prepared", seed=1)
changes = {**TINY_NOTE, "item_vectors": "content", "loss": "distance"}
trained = train(prepared, here / "run", resolve_settings("bert-cosine", **changes))
assert trained.settings.loss == "distance"
""",
    "baseline": """
import numpy as np
from users import world
from tastevec.evaluation.registry import trivial_baselines
[spec] = [spec for spec in trivial_baselines(world(), scale=ValueScale.explicit(1.0, 5.0)) if spec.name == "mean rating"]
scorer = spec.make({}, 0)
scorer.fit(world(), 20)
own = world().ratings[world().items == 3]
assert np.allclose(scorer.score(world())[:, 3], own.sum() / (1 + len(own)))
""",
}


def test_each_diff_has_a_check():
    assert list(DIFFS) == list(CHECKS)


@pytest.mark.parametrize("name", CHECKS)
def test_diff_has_at_most_40_lines(name):
    assert len(DIFFS[name].splitlines()) <= 40


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in {"vector", "loss"})) for name in CHECKS]
)
def test_diff_applies_and_works(tmp_path, name):
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    alone = os.environ | {"GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
    applied = subprocess.run(
        ["git", "apply", "-"],
        cwd=tmp_path,
        input=DIFFS[name],
        env=alone,
        capture_output=True,
        text=True,
        check=False,
    )
    assert applied.returncode == 0, applied.stderr
    code = f"""
from pathlib import Path
import tastevec
here = Path.cwd()
assert here in Path(tastevec.__file__).parents
{CHECKS[name]}
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=alone | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "src"), str(ROOT / "tests")])},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
