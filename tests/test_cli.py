"""The command line: what every command promises, and the commands that need no torch."""

import json
import os
import shlex
import signal
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

import tastevec.errors
import worlds
from servers import Page, serving, zip_of
from tastevec.cli import app as application
from tastevec.cli import console
from tastevec.cli.app import EXAMPLES, app
from tastevec.cli.console import RENAMED_FLAGS, reporting
from tastevec.data import releases
from tastevec.errors import MissingExtraError, TastevecError
from tastevec.extras import EXTRAS, missing_extra, require
from tastevec.schema import TaskId

PIPELINE = {"describe": "prepare"}  # the module of a stage, where its name differs
PARSERS = get_command(app).commands
READING = ("--bad-rows", "--column", "--delimiter", "--missing", "--time-format")
COMMANDS = {
    "fetch": ["NAME", "--to", "--source"],
    "inspect": ["SOURCE", "--bad-rows", "--items", "--feedback", "--accept"],
    "prepare": [
        *("SOURCE", "--out", "--genome", "--tags", "--items", "--preset", "--seed"),
        *("--split-strategy", "--held-out-users"),
        *("--bad-rows", "--rating-range", "--positive-from", "--column", "--delimiter", "--memory"),
    ],
    "describe": ["PREPARED", "--out"],
    "fit": ["INTERACTIONS", "--out", "--prepared", "--preset", "--set", "--items", "--bad-rows"],
    "train": ["PREPARED", "--out", "--preset", "--set", "--init", "--resume"],
    "evaluate": [
        *("MODEL", "--data", "--out", "--task", "--baselines", "--no-baselines", "--split"),
        *("--seeds", "--tune", "--tuned"),
    ],
    "compare": ["DIR", "--out"],
    "align": ["NEW", "OLD", "--vectors", "--out"],
    "encode": ["MODEL", "HISTORIES", "--out", "--horizon", "--dislike-weight", *READING],
    "encode-items": ["MODEL", "--out"],
    "recommend": ["MODEL", "HISTORIES", "--k", "--out", "--horizon", "--dislike-weight", *READING],
    "similar": [
        "MODEL",
        "--item",
        "--users",
        "--user-vectors",
        "--out",
        "--k",
        "--horizon",
        "--dislike-weight",
        *READING,
    ],
    "explain": ["MODEL", "HISTORIES", "--tags", "--contributions", "--horizon", "--dislike-weight", *READING],
    "serve": ["MODEL", "--host", "--port", "--user-vectors"],
    "add-items": ["MODEL", "ITEMS", "--out", "--tags", "--genome"],
    "push": ["MODEL", "REPOSITORY", "--private"],
    "doctor": [],
}
# Commands with arguments that reach the stage itself.
CALLS = {
    "prepare": ["prepare", "source", "--out", "prepared"],
    "describe": ["describe", "prepared", "--out", "pictures"],
    "train": ["train", "prepared", "--out", "model"],
    "evaluate": ["evaluate", "model", "--data", "prepared", "--out", "results"],
}


def run(*arguments, **how):
    """Run a command in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], **how)


def read_json(result):
    """Return the JSON object on standard output."""
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def list_files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """Every test runs in its own folder."""
    monkeypatch.chdir(tmp_path)


def _failing(monkeypatch, stage, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(f"tastevec.pipelines.{PIPELINE.get(stage, stage)}.{stage}", fail)


def test_app_lists_the_documented_commands():
    assert list(PARSERS) == list(EXAMPLES) == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_names_every_flag(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    for flag in [*COMMANDS[command], "--json"]:
        assert flag in result.stdout


def test_help_of_app_shows_each_description_in_full():
    result = run("--help")
    listed = result.stdout.split("Commands:")[1]
    assert "..." not in listed
    for command in COMMANDS:
        assert f"  {command} " in listed


def test_help_of_train_lists_every_setting():
    from tastevec.training.settings import TrainSettings  # noqa: PLC0415  needed here alone

    shown = run("train", "--help").stdout
    for name in TrainSettings.model_fields:
        assert name == "preset" or f"{name}=" in shown


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["prepare", "source"], "--out"),
        (["prepare", "source", "--out", "p", "--rating-range", "5"], "LOW:HIGH"),
        (["prepare", "source", "--out", "p", "--preset", "best"], "taste"),
        (["prepare", "source", "--out", "p", "--split-strategy", "luck"], "liang"),
        (
            ["prepare", "source", "--out", "p", "--split-strategy", "liang", "--held-out-users", "0"],
            "--held-out-users",
        ),
        (["train", "prepared", "--out", "m", "--set", "epochs"], "NAME=VALUE"),
        (["train", "prepared", "--out", "m", "--set", "preset=bert-cosine"], "--preset bert-cosine"),
        ([*CALLS["evaluate"], "--lists", "mine"], "NAME=FILE"),
        ([*CALLS["evaluate"], "--lists", "mine=a.csv", "--lists", "mine=b.csv"], "a name for each file"),
        (["evaluate", "m", "--data", "prepared", "--out", "r", "--task", "luck"], "random-20pct"),
        (["evaluate", "m", "--data", "prepared", "--out", "r", "--task", "fold-in"], "is now 'random-20pct'"),
        (["compare"], "DIR"),
        (["evaluate", "m", "--data", "p", "--out", "r", "--tune", "--tuned", "e"], "not both"),
        (["evaluate", "m", "--data", "p", "--out", "r", "--seeds", "0"], "--seeds"),
        (["recommend", "m", "h.csv", "--out", "r.parquet", "--k", "0"], "--k"),
        (["encode", "m", "h.csv", "--out", "v.parquet", "--horizon", "later"], "overall"),
        (
            ["encode", "m", "h.csv", "--out", "v.parquet", "--dislike-weight", "1.5"],
            "1.5. Expected a number from 0 to 1",
        ),
        (["explain", "m", "h.csv", "--dislike-weight", "nan"], "nan. Expected a number from 0 to 1"),
        (["similar", "m"], "--item"),
        (["similar", "m", "--item", "1", "--users", "h.csv"], "--user-vectors"),
        (["similar", "m", "--users", "h.csv"], "--user-vectors"),
        (["similar", "m", "--user-vectors", "v.parquet"], "--out"),
        (["similar", "m", "--item", "1", "--out", "n.parquet"], "--item"),
        (["similar", "m", "--users", "h.csv", "--out", "n.parquet"], "--user-vectors"),
        (["similar", "m", "--item", "1", "--k", "0"], "--k"),
        (["explain", "m", "h.csv", "--tags", "0"], "--tags"),
        (["juggle"], "juggle"),
    ],
)
def test_wrong_usage_exits_2_and_names_what_is_expected(arguments, expected, tmp_path):
    result = run(*arguments)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert result.stdout == ""
    assert list_files(tmp_path) == []


ERRORS = [getattr(tastevec.errors, name) for name in tastevec.errors.__all__ if name.endswith("Error")]


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("as_json", [False, True])
def test_each_tastevec_error_is_one_line_and_exit_1(kind, as_json, monkeypatch):
    error = kind("faiss", "serve") if kind is MissingExtraError else kind("found this;\nexpected that")
    _failing(monkeypatch, "describe", error)
    result = run(*CALLS["describe"], *["--json"] * as_json)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.output
    if as_json:
        printed = json.loads(result.stdout)["error"]
        assert printed["kind"] == kind.__name__
        assert printed["message"] in result.stderr
    else:
        assert result.stdout == ""


def test_missing_library_prints_install_command(monkeypatch):
    _failing(monkeypatch, "evaluate", ModuleNotFoundError("No module named 'sklearn'", name="sklearn.utils"))
    result = run(*CALLS["evaluate"])
    assert result.exit_code == 1
    assert (
        result.stderr
        == "Error: scikit-learn is not installed. Expected the extra prep. Run: pip install 'tastevec[prep]'\n"
    )


def test_failed_import_of_unknown_library_is_raised(monkeypatch):
    _failing(monkeypatch, "evaluate", ModuleNotFoundError("No module named 'moon'", name="moon"))
    result = run(*CALLS["evaluate"])
    assert isinstance(result.exception, ModuleNotFoundError)


def test_file_error_names_path_and_command(monkeypatch):
    _failing(monkeypatch, "describe", PermissionError(13, "Permission denied", "/kept/shut"))
    result = run(*CALLS["describe"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: /kept/shut: Permission denied. Expected")
    assert result.stderr.endswith("then run: tastevec describe prepared --out pictures\n")


@pytest.mark.parametrize("command", CALLS)
def test_interruption_prints_the_command_to_run(command, monkeypatch):
    _failing(monkeypatch, command, KeyboardInterrupt())
    result = run(*CALLS[command])
    assert result.exit_code == 130
    typed = shlex.join(["tastevec", *CALLS[command]])
    assert result.stderr == f"Interrupted: no partial output remains. Run: {typed}\n"


@pytest.mark.parametrize("flags", [[], ["--resume"]])
def test_interruption_of_train_with_checkpoint_prints_resume(flags, monkeypatch, tmp_path):
    (tmp_path / "model.training").mkdir()
    _failing(monkeypatch, "train", KeyboardInterrupt())
    result = run(*CALLS["train"], "--set", "epochs=2", *flags)
    assert result.stderr == (
        "Interrupted: no partial output remains; the checkpoint is in model.training. "
        "Resume: tastevec train prepared --out model --set epochs=2 --resume\n"
    )


def test_interruption_inside_a_query_exits_130(monkeypatch):
    """DuckDB raises a RuntimeError for it."""
    error = RuntimeError("Query interrupted")
    error.__cause__ = KeyboardInterrupt()
    _failing(monkeypatch, "prepare", error)
    result = run(*CALLS["prepare"], "--json")
    assert result.exit_code == 130
    assert json.loads(result.stdout)["error"]["kind"] == "KeyboardInterrupt"


def test_other_runtime_error_is_raised(monkeypatch):
    _failing(monkeypatch, "prepare", RuntimeError("broken"))
    assert isinstance(run(*CALLS["prepare"]).exception, RuntimeError)


def test_prints_of_libraries_go_to_standard_error(capsys):
    with reporting(as_json=True) as output:
        print("chatter")  # noqa: T201  as a library might
        output.set({"items": 3}, "three items")
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"items": 3}
    assert printed.err == "chatter\n"


def test_failed_command_prints_no_result(capsys):
    with pytest.raises(typer.Exit):
        _fail_after_output()
    assert capsys.readouterr().out == ""


def _fail_after_output():
    with reporting(as_json=False) as output:
        output.set({}, "done")
        raise TastevecError("not done")


@pytest.mark.parametrize(("command", "flag"), RENAMED_FLAGS)
def test_renamed_flag_is_an_error_that_names_the_new_one(command, flag):
    result = run(command, "x", f"{flag}=y")
    assert result.exit_code == 2
    new = RENAMED_FLAGS[command, flag]
    assert f"this flag is now {new}" in result.stderr
    assert new.split()[0] in COMMANDS[command]
    assert flag not in COMMANDS[command]


def test_fetch_downloads_a_release_and_prints_its_terms(tmp_path, monkeypatch):
    files = {f"ml-1m/{path.name}": path.read_bytes() for path in worlds.write_1m(tmp_path / "made").iterdir()}
    with serving() as server:
        server.pages["ml-1m.zip"] = Page(zip_of(files))
        monkeypatch.setattr(releases, "_FOLDER", server.at(""))
        bare = releases.RELEASES["ml-1m"].__class__(
            "ml-1m", 0, 0, 0, 0, None, members=("ratings.dat", "movies.dat")
        )
        monkeypatch.setattr(releases, "RELEASES", MappingProxyType({"ml-1m": bare}))
        first = read_json(run("fetch", "ml-1m", "--json"))
        again = run("fetch", "ml-1m")
    assert first["folder"] == "ml-1m"
    assert first["used_source"] == "grouplens"
    assert first["already_there"] is False
    assert (tmp_path / "ml-1m" / "ratings.dat").exists()
    assert again.stdout.startswith("Found ml-1m in ml-1m (source: grouplens, ")
    assert again.stdout.endswith("Next: tastevec prepare ml-1m --out prepared\n")
    assert "research use" in again.stdout


def test_fetch_of_unknown_release_suggests_a_known_one(tmp_path):
    result = run("fetch", "ml-33m")
    assert result.exit_code == 1
    assert "Did you mean ml-32m?" in result.stderr
    assert list_files(tmp_path) == []


def test_prepare_and_describe_count_every_row(tmp_path):
    source = worlds.write_csv_release(tmp_path / "tiny")
    facts = read_json(run("prepare", source, "--out", "prepared", "--json"))
    assert facts["out"] == "prepared"
    assert facts["counts"]["users"]["kept"] == 12
    described = read_json(run("describe", "prepared", "--out", "pictures", "--json"))
    assert (tmp_path / described["page"]).exists()
    assert described["totals"]["ratings"] == 192
    assert run("prepare", source, "--out", "prepared").stdout == (
        "Wrote prepared/ from tiny: 12 users (10 train, 1 validation, 1 test), 20 films, 194 interactions.\n"
        "Next: tastevec train prepared --out model\n"
    )
    assert run("describe", "prepared", "--out", "pictures").stdout == (
        "Wrote pictures/index.html (charts) and pictures/description.json (numbers).\n"
    )


def test_prepare_passes_every_flag(tmp_path):
    table = worlds.write_own_csv(tmp_path / "own")
    genome = worlds.write_genome(tmp_path / "genome")
    tags = tmp_path / "tags.csv"
    tags.write_text("userId,movieId,tag,timestamp\n1,1,space,1000000000\n")
    with_all = [
        "--items",
        tmp_path / "own" / "items.csv",
        "--rating-range",
        "1:5",
        "--memory",
        "1GB",
        "--seed",
        7,
    ]
    facts = read_json(run("prepare", table, "--out", "own-prepared", *with_all, "--json"))
    assert facts["feedback"]["range"] == [1, 5]
    assert facts["settings"]["memory"] == "1GB"
    assert facts["settings"]["seed"] == 7
    assert facts["counts"]["items_without_metadata"] == 0
    source = worlds.write_1m(tmp_path / "tiny")
    joined = ["--genome", genome, "--tags", tags, "--preset", "bert-cosine"]
    facts = read_json(run("prepare", source, "--out", "prepared", *joined, "--json"))
    assert facts["vectors"]["content"]["tags"] == 1
    assert facts["counts"]["splits"]["test"] == 0


def test_prepare_applies_the_split_strategy(tmp_path):
    source = worlds.write_csv_release(tmp_path / "tiny")
    by_time = run("prepare", source, "--out", "by-time", "--split-strategy", "temporal", "--seed", "1")
    assert "Split timestamp: 2001-05-19 19:03:20 UTC; 0 later tags ignored." in by_time.stdout
    assert "Dropped interactions, of 194: 20 at or after the split timestamp." in by_time.stdout
    facts = read_json(
        run(
            "prepare",
            source,
            "--out",
            "published",
            "--split-strategy",
            "liang",
            "--held-out-users",
            "2",
            "--json",
        )
    )
    assert facts["counts"]["splits"] == {"train": 8, "validation": 2, "test": 2}
    assert (facts["settings"]["split_strategy"], facts["settings"]["held_out_users"]) == ("liang", 2)
    refused = run("prepare", source, "--out", "too-few", "--split-strategy", "liang")
    assert refused.exit_code == 1
    assert "12 users of tiny have 5 positives or more" in refused.stderr
    assert "Use --held-out-users 4 or less" in refused.stderr
    refused = run("prepare", source, "--out", "own", "--split-strategy", "hash", "--preset", "bert-cosine")
    assert "--preset bert-cosine has its own split" in refused.stderr


def test_prepare_with_invalid_row_stops_or_skips_it(tmp_path):
    table = worlds.write_own_csv(tmp_path / "own")
    with table.open("a") as file:
        file.write("person-1,film-99,eleven\n")
    before = list_files(tmp_path)
    refused = run("prepare", table, "--out", "prepared")
    assert refused.exit_code == 1
    assert "interactions.csv, line 194" in refused.stderr
    assert list_files(tmp_path) == before
    skipped = run("prepare", table, "--out", "prepared", "--bad-rows", "drop")
    assert skipped.exit_code == 0
    assert "Skipped 1 row of interactions.csv: 1 " in skipped.stdout


def test_failed_prepare_keeps_the_old_result(tmp_path):
    source = worlds.write_csv_release(tmp_path / "tiny")
    assert run("prepare", source, "--out", "prepared").exit_code == 0
    before = list_files(tmp_path)
    (source / "movies.csv").unlink()
    assert run("prepare", source, "--out", "prepared").exit_code == 1
    assert list_files(tmp_path / "prepared") == [
        path.removeprefix("prepared/") for path in before if path.startswith("prepared/")
    ]


def test_doctor_reports_versions_and_missing_libraries(monkeypatch):
    facts = read_json(run("doctor", "--json"))
    assert set(facts["extras"]) == set(EXTRAS)
    assert facts["extras"]["prep"]["libraries"]["pyarrow"]
    assert facts["cores"] >= 1
    assert facts["memory_bytes"] > 2**20
    found = sys.modules["tastevec.cli.app"]
    monkeypatch.setattr(found, "_version", lambda name: None if name in ("torch", "matplotlib") else "1.0")
    monkeypatch.delattr(found.os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(found.os, "sysconf", lambda _name: (_ for _ in ()).throw(ValueError))
    printed = run("doctor").stdout
    assert "[train] missing torch: pip install 'tastevec[train]'" in printed
    assert "[prep] complete" in printed
    assert "torch -" in printed
    assert "memory: unknown" in printed


def test_extras_match_the_package_metadata():
    project = Path(__file__).parent.parent / "pyproject.toml"
    extras = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for extra, libraries in EXTRAS.items():
        declared = " ".join(extras[extra]).lower()
        for distribution in libraries.values():
            assert distribution.lower() in declared


def test_need_raises_only_for_a_missing_library():
    require("pyarrow")
    assert missing_extra(ImportError("no name at all")) is None
    with pytest.raises(MissingExtraError, match=r"tastevec\[wandb\]"):
        _need_where_nothing_is()


def _need_where_nothing_is():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tastevec.extras.find_spec", lambda _name: None)
        require("wandb")


def test_progress_bar_is_drawn_only_on_a_terminal(monkeypatch, capsys):
    with console.progress_bar("Counting") as report:
        report(1, 2)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(console, "is_watched", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with console.progress_bar("Counting", in_bytes=True) as report:
        report(1, 2, "Counting on")
    printed = capsys.readouterr()
    assert "Counting on" in printed.err
    assert printed.out == ""


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ([], ""),
        ([0.1, 0.3, 0.2], "Best epoch: 2 of 3. "),
        ([0.3, 0.3], "Best epoch: 1 of 2 (ended early: at most 3, patience 1). "),
    ],
)
def test_train_names_the_best_epoch_and_an_early_end(scores, said):
    from tastevec.cli.models import _best_epoch  # noqa: PLC0415  part of its module

    log = [entry for score in scores for entry in ({"loss": 1.0}, {"eval_validation_score": score})]
    assert _best_epoch({"log": log, "settings": {"epochs": 3, "patience": 1}}) == said


def test_train_unwatched_prints_a_line_per_epoch(capsys, monkeypatch):
    from tastevec.cli.models import _epochs  # noqa: PLC0415  part of its module

    moved = []
    step = _epochs(lambda *arguments: moved.append(arguments), 2)
    step(1, 4, {})
    step(2, 4, {"loss": 2.5})
    step(3, 4, {"loss": 2.5, "eval_validation_score": 0.125})
    assert capsys.readouterr().err == "epoch 1/2: loss 2.500, validation 0.125\n"
    step(4, 4, {"loss": 2.5, "eval_validation_score": 0.125})
    assert capsys.readouterr().err == ""
    step(4, 4, {"loss": 2.25, "eval_validation_score": 0.25})
    assert capsys.readouterr().err == "epoch 2/2: loss 2.250, validation 0.250\n"
    assert moved[0] == (1, 4, "epoch 1/2")
    assert moved[2] == (3, 4, "epoch 2/2: loss 2.500, validation 0.125")
    monkeypatch.setattr("tastevec.cli.models.is_watched", lambda: True)
    _epochs(lambda *_: None, 2)(3, 4, {})
    assert capsys.readouterr().err == ""


def test_evaluate_passes_every_flag_and_progress(monkeypatch):
    passed, moved = {}, []

    def evaluate(models, data, out, **how):
        passed.update(how, models=models, data=data, out=out)
        how["progress"](3, 12, "Tuning EASE")
        raise TastevecError("enough")

    @contextmanager
    def progress_bar(note):
        yield lambda *arguments: moved.append((note, *arguments))

    monkeypatch.setattr("tastevec.pipelines.evaluate.evaluate", evaluate)
    monkeypatch.setattr("tastevec.cli.models.progress_bar", progress_bar)
    flags = [
        "--task",
        "last-20pct",
        "--task",
        "next-item",
        "--no-baselines",
        "--without",
        "Mult-VAE",
        "--split",
        "validation",
        "--seeds",
        5,
        "--lists",
        "mine=lists.csv",
        "--no-rankings",
    ]
    assert run(*CALLS["evaluate"], *flags, "--tune").exit_code == 1
    del passed["progress"]
    assert passed == {
        "models": [Path("model")],
        "data": [Path("prepared")],
        "lists": {"mine": Path("lists.csv")},
        "rankings": False,
        "out": Path("results"),
        "tasks": ["next-item", "last-20pct"],
        "with_baselines": False,
        "without": ["Mult-VAE"],
        "split": "validation",
        "seeds": 5,
        "tune": True,
        "tuned": None,
    }
    assert moved == [("Loading data", 3, 12, "Tuning EASE")]
    run(*CALLS["evaluate"], "--tuned", "earlier")
    assert (passed["tune"], passed["tuned"]) == (False, Path("earlier"))


def test_help_of_evaluate_lists_every_task():
    shown = run("evaluate", "--help").stdout
    for task in TaskId.__args__:
        assert task in shown


def test_main_sets_environment_and_turns_sigterm_into_interruption(monkeypatch):
    environment, handlers = {"TRANSFORMERS_VERBOSITY": "info"}, {}
    monkeypatch.setattr(application.os, "environ", environment)
    monkeypatch.setattr(application.signal, "signal", handlers.__setitem__)
    monkeypatch.setattr(application, "app", lambda: None)
    application.main()
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    assert environment["TRANSFORMERS_VERBOSITY"] == "info"
    assert handlers == {signal.SIGTERM: signal.default_int_handler}


@pytest.mark.slow
def test_progress_on_a_terminal_goes_to_standard_error():
    import pty  # noqa: PLC0415  not on Windows

    reading, writing = pty.openpty()
    command = [sys.executable, "-m", "tastevec", "doctor", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=writing)
    os.close(writing)
    with ThreadPoolExecutor(
        1
    ) as reader:  # without a reader, the process waits when the terminal buffer is full
        shown = reader.submit(_read_all, reading)
        out, _ = process.communicate(timeout=120)
    os.close(reading)
    assert process.returncode == 0
    assert json.loads(out)["python"]
    assert b"Checking the installation" in shown.result()


def _read_all(terminal):
    """Return what was written until the last writer closed, which Linux reports as an error."""
    read = b""
    with suppress(OSError):
        while part := os.read(terminal, 1 << 12):
            read += part
    return read


def completed(*words):
    """Return the completions that a shell gets for the last word."""
    environment = {
        "_TASTEVEC_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["tastevec", *words]),
        "COMP_CWORD": str(len(words)),
    }
    return CliRunner().invoke(app, [], prog_name="tastevec", env=environment).stdout.split()


@pytest.mark.parametrize("name", EXAMPLES)
def test_help_prints_the_example_on_one_line(name):
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "40", "TERMINAL_WIDTH": "40"}).stdout
    assert f"Example: {EXAMPLES[name]}" in [line.strip() for line in shown.splitlines()]


@pytest.mark.parametrize(("name", "example"), EXAMPLES.items())
def test_example_is_accepted_by_its_command(name, example):
    program, command, *arguments = shlex.split(example)
    assert (program, command) == ("tastevec", name)
    assert PARSERS[name].make_context(name, arguments).params


def test_parser_rejects_an_unknown_flag():
    with pytest.raises(Exception, match="No such option"):
        PARSERS["fetch"].make_context("fetch", ["ml-100k", "--into", "data"])


def test_shell_completes_commands_flags_and_choices():
    assert completed("rec") == ["recommend"]
    assert completed("e") == ["evaluate", "encode", "encode-items", "explain"]
    assert completed("prepare", "x", "--mem") == ["--memory"]
    assert completed("encode", "model", "h.csv", "--horizon", "o") == ["overall"]


def test_help_names_the_flag_that_installs_completion():
    assert "--install-completion" in CliRunner().invoke(app, ["--help"]).stdout
