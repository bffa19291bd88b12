"""The public names of tastevec, and the cost of its import."""

import copy
import pickle
import pydoc
import re
import subprocess
import sys

import pytest

import tastevec
from tastevec.errors import MissingExtraError

HEAVY = (
    "torch",
    "transformers",
    "ibis",
    "duckdb",
    "pyarrow",
    "sklearn",
    "implicit",
    "matplotlib",
    "numpy",
    "typer",
)


def _in_a_fresh_python(script):
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == ""
    return done.stdout.strip()


def test_all_is_sorted_and_documented():
    assert tastevec.__all__ == sorted(tastevec.__all__)
    for name in tastevec.__all__:
        assert getattr(tastevec, name).__doc__


def test_help_begins_with_what_one_calls():
    lines = pydoc.plain(pydoc.render_doc(tastevec)).splitlines()
    start = "\n".join(lines[:32])
    functions = [name for name in tastevec.__all__ if name.islower()]
    assert [name for name in functions if name not in start] == []
    assert lines.index("DESCRIPTION") < lines.index("PACKAGE CONTENTS")
    calls = re.findall(r"\b(tv|model)\.(\w+)\(", tastevec.__doc__)
    assert all(hasattr({"tv": tastevec, "model": tastevec.Recommender}[of], name) for of, name in calls)


def test_dir_lists_the_public_names():
    assert dir(tastevec) == tastevec.__all__


def test_each_public_name_has_a_module():
    errors = {name for name in tastevec.__all__ if name.endswith(("Error", "Warning"))}
    assert set(tastevec._MODULES) | errors == set(tastevec.__all__)


def test_public_names_are_loaded_from_their_modules():
    for name, room in tastevec._MODULES.items():
        assert getattr(tastevec, name).__module__ == room


def test_import_loads_no_heavy_library():
    loaded = _in_a_fresh_python("import sys, tastevec; print(*sorted(sys.modules))").split()
    assert not set(HEAVY) & set(loaded)


def test_import_sets_no_environment_and_filters_no_warning():
    script = (
        "import os, warnings; before = dict(os.environ), list(warnings.filters); "
        "import tastevec; print((dict(os.environ), list(warnings.filters)) == before)"
    )
    assert _in_a_fresh_python(script) == "True"


def test_commands_start_without_optional_libraries():
    blocked = ", ".join(f"{name}=None" for name in HEAVY if name not in ("numpy", "typer"))
    script = (
        f"import sys; sys.modules.update(dict({blocked})); from typer.testing import CliRunner; "
        "from tastevec.cli.app import app; print(CliRunner().invoke(app, ['evaluate', 'm', '--data', 'p', '--out', 'r']).stderr)"
    )
    error = _in_a_fresh_python(script)
    assert error.endswith(" is not installed. Expected the extra prep. Run: pip install 'tastevec[prep]'")


@pytest.mark.parametrize("read", [copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])  # noqa: S301  our own bytes
def test_errors_after_pickle_are_the_same(read):
    names = [name for name in tastevec.__all__ if name.endswith("Error") and name != "MissingExtraError"]
    for error in [MissingExtraError("onnx", "train"), *(getattr(tastevec, name)("said") for name in names)]:
        error.code = "few-positives"
        other = read(error)
        assert (type(other), str(other), other.code) == (type(error), str(error), error.code)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'juggle'"):
        tastevec.juggle  # noqa: B018  the access is the test


@pytest.mark.parametrize(
    ("missing", "raised"), [("pyarrow.parquet", MissingExtraError), ("moon", ModuleNotFoundError)]
)
def test_name_with_missing_library_is_an_error_with_install_command(missing, raised, monkeypatch):
    def absent(_room):
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.delitem(vars(tastevec), "train", raising=False)
    monkeypatch.setattr(tastevec, "import_module", absent)
    with pytest.raises(raised):
        tastevec.train  # noqa: B018  the access is the test


def test_prepare_with_unknown_setting_names_the_nearest_known_one():
    with pytest.raises(tastevec.SettingsError, match=r"genom: unknown setting\. Expected genome"):
        tastevec.prepare("source", "out", genom="folder")
