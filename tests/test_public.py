"""The names that ``import tastevec`` offers, and how little it costs."""

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


def test_all_is_sorted_and_every_name_of_it_is_there():
    assert tastevec.__all__ == sorted(tastevec.__all__)
    for name in tastevec.__all__:
        assert getattr(tastevec, name).__doc__


def test_dir_shows_the_public_names_and_nothing_else():
    assert dir(tastevec) == tastevec.__all__


def test_every_name_of_all_stands_in_the_rooms_or_among_the_errors():
    errors = {name for name in tastevec.__all__ if name.endswith("Error")}
    assert set(tastevec._ROOMS) | errors == set(tastevec.__all__)


def test_the_public_names_lie_where_the_package_says():
    for name, room in tastevec._ROOMS.items():
        assert getattr(tastevec, name).__module__ == room


def test_importing_the_package_is_cheap_and_quiet():
    loaded = _in_a_fresh_python("import sys, tastevec; print(*sorted(sys.modules))").split()
    assert not set(HEAVY) & set(loaded)


def test_importing_sets_no_environment_and_filters_no_warning():
    script = (
        "import os, warnings; before = dict(os.environ), list(warnings.filters); "
        "import tastevec; print((dict(os.environ), list(warnings.filters)) == before)"
    )
    assert _in_a_fresh_python(script) == "True"


def test_the_commands_start_without_the_optional_libraries():
    blocked = ", ".join(f"{name}=None" for name in HEAVY if name not in ("numpy", "typer"))
    script = (
        f"import sys; sys.modules.update(dict({blocked})); from typer.testing import CliRunner; "
        "from tastevec.cli.app import app; print(CliRunner().invoke(app, ['evaluate', 'm', '--data', 'p', '--out', 'r']).stderr)"
    )
    assert _in_a_fresh_python(script) == "Error: pyarrow is not installed; run: pip install 'tastevec[prep]'"


def test_a_name_that_is_not_there_is_an_ordinary_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'juggle'"):
        tastevec.juggle  # noqa: B018  asking is the test


@pytest.mark.parametrize(
    ("missing", "raised"), [("pyarrow.parquet", MissingExtraError), ("moon", ModuleNotFoundError)]
)
def test_a_name_that_needs_a_missing_library_says_the_line_that_installs_it(missing, raised, monkeypatch):
    def absent(_room):
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.delitem(vars(tastevec), "train", raising=False)
    monkeypatch.setattr(tastevec, "import_module", absent)
    with pytest.raises(raised):
        tastevec.train  # noqa: B018  asking is the test


def test_a_setting_of_the_preparation_that_does_not_exist_names_those_that_do():
    with pytest.raises(tastevec.SettingsError, match="'genom' is unknown; known settings: preset, split"):
        tastevec.prepare("source", "out", genom="folder")
