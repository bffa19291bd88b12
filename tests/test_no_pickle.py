"""No module of the package reads or writes a format that can run code, such as pickle."""

import ast
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "src").rglob("*.py"))
FORBIDDEN = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
CALLS = {
    *("eval", "exec", "torch.save", "torch.jit.load", "torch.hub.load"),
    *("yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load"),
    *("pandas.read_pickle", "pickle.load", "pickle.loads"),
}
# Required keywords: without them the call unpickles, or may do so in a later version.
REQUIRED = {
    "torch.load": ("weights_only", True),
    "numpy.save": ("allow_pickle", False),
    "numpy.savez": ("allow_pickle", False),
}
# Keywords with the only allowed value, in every call.
ALLOWED = {"allow_pickle": False, "weights_only": True, "trust_remote_code": False}


def _imported(tree):
    """Return the imported modules with their lines, and the full name of each local name."""
    modules, names = [], {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                modules.append((node.lineno, alias.name))
                names[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules.append((node.lineno, str(node.module)))
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return modules, names


def _called(node, names):
    """Return the full name of the callee, such as ``numpy.load``; empty if it is not a plain name."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([names.get(node.id, node.id), *reversed(parts)]) if isinstance(node, ast.Name) else ""


def _faults_of(call, names):
    called = _called(call.func, names)
    keywords = {keyword.arg: getattr(keyword.value, "value", ...) for keyword in call.keywords}
    loaded = [argument.value for argument in call.args[:1] if isinstance(argument, ast.Constant)]
    if called in CALLS or called.endswith((".to_pickle", ".read_pickle")):
        yield f"{called} can run code"
    if called in {"importlib.import_module", "__import__"} and loaded and loaded[0] in FORBIDDEN:
        yield f"{loaded[0]} is imported"
    if called in REQUIRED and keywords.get(REQUIRED[called][0], ...) is not REQUIRED[called][1]:
        yield f"{called} lacks {REQUIRED[called][0]}={REQUIRED[called][1]}"
    for name, harmless in ALLOWED.items():
        if called not in REQUIRED and keywords.get(name, harmless) is not harmless:
            yield f"{called} has {name} other than {harmless}"


def faults(text):
    """Return each forbidden use in a module, with its line."""
    tree = ast.parse(text)
    modules, names = _imported(tree)
    found = [f"{line}: {name} is imported" for line, name in modules if name.partition(".")[0] in FORBIDDEN]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            found += [f"{node.lineno}: {fault}" for fault in _faults_of(node, names)]
    return found


def test_no_module_uses_a_format_that_can_run_code():
    found = [
        f"{path.relative_to(ROOT).as_posix()}:{fault}"
        for path in MODULES
        for fault in faults(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("import pickle", "1: pickle is imported"),
        ("import os, joblib.memory as m", "1: joblib.memory is imported"),
        ("def f():\n    from cloudpickle import dumps", "2: cloudpickle is imported"),
        ("import importlib\nimportlib.import_module('dill')", "2: dill is imported"),
        ("__import__('shelve')", "1: shelve is imported"),
        ("import torch\ntorch.load(f)", "2: torch.load lacks weights_only=True"),
        ("import torch as t\nt.load(f, weights_only=False)", "2: torch.load lacks weights_only=True"),
        ("from torch import load as l\nl(f)", "2: torch.load lacks weights_only=True"),
        ("import torch\ntorch.save(x, f)", "2: torch.save can run code"),
        (
            "import numpy as np\nnp.load(f, allow_pickle=True)",
            "2: numpy.load has allow_pickle other than False",
        ),
        ("import numpy as np\nnp.load(f, allow_pickle=x)", "2: numpy.load has allow_pickle other than False"),
        ("import numpy as np\nnp.save(f, x)", "2: numpy.save lacks allow_pickle=False"),
        ("import yaml\nyaml.load(f, Loader=yaml.Loader)", "2: yaml.load can run code"),
        ("frame.to_pickle('x')", "1: frame.to_pickle can run code"),
        ("A.from_pretrained(x, trust_remote_code=True)", "1: A.from_pretrained has trust_remote_code"),
        ("eval(x)", "1: eval can run code"),
    ],
)
def test_faults_finds_each_forbidden_use(text, fault):
    [found] = faults(text)
    assert found.startswith(fault)


def test_faults_accepts_harmless_calls():
    text = """
        import json, numpy as np, torch, yaml
        np.load(f), np.load(f, mmap_mode="r"), np.load(f, allow_pickle=False), np.save(f, x, allow_pickle=False)
        torch.load(f, weights_only=True), yaml.safe_load(f), json.load(f), model.eval()
    """
    assert faults(textwrap.dedent(text)) == []
