"""Rules of the code base that a program can check."""

import ast
import re
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from importlib.metadata import requires
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "src").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
OURS = [*MODULES, *TESTS, *sorted((ROOT / "scripts").rglob("*.py"))]
LONGEST_MODULE, LONGEST_FUNCTION = 620, 50
VAGUE = {"utils", "util", "helpers", "helper", "base", "common", "manager", "core", "misc"}
# Written in two parts, so that this file does not name them either.
MACHINE_PATHS = [f"/{name}/" for name in ("work", "tmp", "root", "home")]
REGISTRIES = ["pypi" + ".org", "python" + "hosted", "hugging" + "face.co"]
BIN = Path(sys.executable).parent


def _name(path):
    return path.relative_to(ROOT).as_posix()


def _tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def _functions(path):
    return [
        node for node in ast.walk(_tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def test_a_module_is_one_concept_of_readable_length_and_opens_with_a_sentence():
    wrong = []
    for path in MODULES:
        first = (ast.get_docstring(_tree(path)) or "").split("\n\n")[0]
        if len(path.read_text(encoding="utf-8").splitlines()) > LONGEST_MODULE or not first.endswith("."):
            wrong.append(_name(path))
        if path.stem in VAGUE:
            wrong.append(f"{_name(path)}: a vague name")
    assert wrong == []


def test_no_function_is_longer_than_50_lines():
    """Signature and docstring do not count: a command's flags and a documented argument are no complexity."""
    long = []
    for path in MODULES:
        for function in _functions(path):
            body = function.body[1:] if ast.get_docstring(function) else function.body
            length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            if length > LONGEST_FUNCTION:
                long.append(f"{_name(path)}: {function.name} has {length} lines")
    assert long == []


def test_no_file_names_a_machine_or_a_registry():
    named = []
    for path in OURS:
        text = path.read_text(encoding="utf-8")
        machine = [f for f in MACHINE_PATHS if f'"{f}' in text or f" {f}" in text]
        named += [
            f"{_name(path)}: {word}" for word in [*machine, *(host for host in REGISTRIES if host in text)]
        ]
    assert named == []


def test_nothing_is_printed_unfinished_or_pickled():
    wrong = []
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        calls = {
            node.func.id
            for node in ast.walk(_tree(path))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        if "print" in calls or re.search(
            r"\b(TODO|FIXME|XXX)\b|^\s*(import|from) pickle", text, re.MULTILINE
        ):
            wrong.append(_name(path))
    assert wrong == []


def _imports(path):
    """The modules of the package that this one imports: at the top, for types alone, and inside functions."""
    package = list(path.relative_to(ROOT / "src").parent.parts)
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_no_module_imports_itself_through_others():
    names = {
        ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__"): path
        for path in MODULES
    }
    graph = {name: {other for other in _imports(path) if other in names} for name, path in names.items()}
    for name, others in graph.items():
        others -= {name, *(package for package in others if any(o.startswith(f"{package}.") for o in others))}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_test_modules_have_names_of_their_own():
    names = [path.stem for path in TESTS if path.name.startswith("test_")]
    assert len(names) == len(set(names))


def test_every_noqa_names_its_rule_and_gives_a_reason():
    bare = [
        f"{_name(path)}:{number}"
        for path in OURS
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if (found := re.search(r"#\s*noqa(.*)$", line))
        and not re.match(r": [A-Z]+\d+(, [A-Z]+\d+)*\s+-*\s*\w", found[1])
    ]
    assert [line for line in bare if not line.startswith("tests/test_house.py")] == []


def test_each_ignored_type_has_a_reason():
    bare = [
        f"{_name(path)}:{number}"
        for path in OURS
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"#\s*type: ignore\[[a-z-]+\]\s*$", line)
    ]
    assert bare == []


def test_saved_results_contain_no_absolute_path():
    saved = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "results").glob("*.json"))
    assert re.findall(r'"(?:/|[A-Z]:\\\\)[^"]*"', saved) == []


def test_constraints_pin_each_dependency():
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    declared = {
        re.split(r"[\[<>=; ]", line)[0].lower().replace("_", "-")
        for line in requires("tastevec")
        if not line.startswith(("wandb", "mlflow"))  # by choice, and not part of [all]
    }
    assert declared - pinned - {"tastevec"} == set()


def test_constraints_name_no_registry():
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert line.startswith("#") or re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.]+", line)


def test_ci_runs_make_test_only():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    makes = [line for line in script.read_text().splitlines() if "make" in line and not line.startswith("#")]
    assert makes == ["exec make test"]


def test_the_makefile_has_a_target_for_each_activity():
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"demo", "test", "check", "format", "clean"} <= set(targets)


def test_each_lint_exception_has_a_reason():
    text = (ROOT / "pyproject.toml").read_text()
    rules = [line for line in text.splitlines() if re.match(r'\s+"[A-Z]+\d*",', line)]
    assert rules
    assert [line for line in rules if "#" not in line] == []
    assert tomllib.loads(text)["tool"]["ruff"]["lint"]["select"] == ["ALL"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "gate",
    [
        ["ruff", "format", "--check", "src", "tests", "scripts", "benchmarks"],
        ["ruff", "check", "src", "tests", "scripts", "benchmarks"],
        ["lint-imports"],
        ["mypy"],
    ],
    ids=" ".join,
)
def test_static_checks_pass(gate):
    done = subprocess.run(
        [BIN / gate[0], *gate[1:]], cwd=ROOT, capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, done.stdout + done.stderr
