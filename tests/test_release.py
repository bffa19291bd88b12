"""The release: built, inspected, and installed into a new environment."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tastevec.extras import EXTRAS

ROOT = Path(__file__).parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
# Each command that needs an extra, with arguments that reach the stage, and the extras that it may name.
NEEDS = {
    "prepare": (["ratings.csv", "--out", "prepared"], {"prep"}),
    "describe": (["prepared", "--out", "pictures"], {"prep", "describe"}),
    "train": (["prepared", "--out", "model"], {"train", "prep"}),
    "evaluate": (["model", "--data", "prepared", "--out", "results"], {"prep", "train"}),
    "encode": (["model", "ratings.csv", "--out", "v.parquet"], {"prep", "serve", "train"}),
    "encode-items": (["model", "--out", "i.parquet"], {"prep", "serve", "train"}),
    "recommend": (["model", "ratings.csv", "--out", "r.parquet"], {"prep", "serve", "train"}),
    "similar": (["model", "--item", "1"], {"prep", "serve", "train"}),
    "explain": (["model", "ratings.csv"], {"prep", "serve", "train"}),
    "serve": (["model"], {"serve"}),
    "add-items": (["model", "items.csv", "--out", "model2"], {"prep", "serve", "train"}),
}

pytestmark = pytest.mark.slow


def run(*command, **how):
    """Run a command without the source tree of the tests."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    words = [str(word) for word in command]
    return subprocess.run(
        words, env=environment, capture_output=True, text=True, check=False, timeout=500, **how
    )


def environment_with(folder, *packages):
    """Return the programs folder of a new environment with some packages; skip the test if pip cannot install them."""
    assert run(sys.executable, "-m", "venv", folder).returncode == 0
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    python = programs / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    installed = run(*pip, "--constraint", CONSTRAINTS, *packages)
    if installed.returncode:
        pytest.skip(f"pip cannot install {packages[0]}: {(installed.stderr.splitlines() or ['?'])[-1]}")
    return programs


@pytest.fixture(scope="module", name="built")
def _built(tmp_path_factory):
    """The wheel and the source archive."""
    folder = tmp_path_factory.mktemp("built")
    programs = environment_with(folder / "tools", "hatchling")
    done = run(programs / "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", folder / "out", cwd=ROOT)
    assert done.returncode == 0, done.stderr
    [wheel], [archive] = (folder / "out").glob("*.whl"), (folder / "out").glob("*.tar.gz")
    return wheel, archive


@pytest.fixture(scope="module", name="programs")
def _programs(built, tmp_path_factory):
    """The programs folder of an environment with the wheel and its core dependencies."""
    return environment_with(tmp_path_factory.mktemp("clean") / "venv", built[0])


def test_wheel_contains_the_package_only(built):
    with zipfile.ZipFile(built[0]) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    package = ROOT / "src" / "tastevec"
    expected = {
        path.relative_to(package.parent).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == expected
    assert {"tastevec/py.typed", "tastevec/serving/web/index.html"} <= held


def test_source_archive_contains_tests_and_documents_and_no_data(built):
    with tarfile.open(built[1]) as archive:
        members = archive.getmembers()
    held = {member.name.partition("/")[2] for member in members}
    assert all(member.isfile() for member in members)
    assert {
        *("pyproject.toml", "constraints.txt", "Makefile", "LICENSE", "CHANGELOG.md", "CITATION.cff"),
        *(
            "CONTRIBUTING.md",
            "SECURITY.md",
            "tests/test_release.py",
            "docs/service.md",
            "src/tastevec/py.typed",
        ),
    } <= held
    assert {name.partition("/")[0] for name in held if "/" in name} <= {
        *(".ci", ".github", "benchmarks", "deploy", "docs", "results", "scripts", "src", "tests")
    }
    data = (".parquet", ".dat", ".csv", ".zip", ".inter", ".npy", ".safetensors", ".onnx")
    generated = ("tests/fixtures/", "tests/fuzz/corpus/")  # generated data
    assert [name for name in held if name.endswith(data) and not name.startswith(generated)] == []


def test_core_is_importable_and_doctor_lists_missing_extras(programs, tmp_path):
    done = run(
        programs / "python", "-W", "error", "-c", "import tastevec; print(tastevec.__file__)", cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert str(ROOT) not in done.stdout
    helped = run(programs / "tastevec", "--help", cwd=tmp_path)
    assert helped.returncode == 0
    assert all(f"  {command} " in helped.stdout for command in NEEDS)
    doctor = run(programs / "tastevec", "doctor", "--json", cwd=tmp_path)
    assert doctor.returncode == 0, doctor.stderr
    found = json.loads(doctor.stdout)["extras"]
    assert {name: one["install"] for name, one in found.items()} == {
        name: f"pip install 'tastevec[{name}]'" for name in EXTRAS
    }


@pytest.mark.parametrize("command", NEEDS)
def test_command_without_its_extra_prints_install_command(programs, tmp_path, command):
    arguments, extras = NEEDS[command]
    (tmp_path / "ratings.csv").write_text("user_id,item_id,rating\n1,1,5\n")
    done = run(programs / "tastevec", command, *arguments, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("\n") == 1
    assert any(done.stderr.endswith(f"Run: pip install 'tastevec[{extra}]'\n") for extra in extras), (
        done.stderr
    )
    assert [path.name for path in tmp_path.iterdir()] == ["ratings.csv"]
