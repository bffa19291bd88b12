"""The command line: what every command promises, and the commands that need no torch."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

import pytest
import typer
from typer.testing import CliRunner

import tastevec.errors
import worlds
from servers import Page, serving, zip_of
from tastevec.cli import app as application
from tastevec.cli import console as progress
from tastevec.cli.app import app
from tastevec.cli.console import answering
from tastevec.data import releases
from tastevec.errors import MissingExtraError, TastevecError
from tastevec.extras import EXTRAS, missing_extra, need
from tastevec.schema import Protocol

PIPELINE = {"describe": "prepare"}  # where a stage has not the name of its module
COMMANDS = {
    "fetch": ["NAME", "--to", "--source"],
    "prepare": [
        *("SOURCE", "--out", "--genome", "--tags", "--items", "--preset", "--seed"),
        *("--split", "--heldout"),
        *("--skip-bad-rows", "--rating-range", "--memory"),
    ],
    "describe": ["PREPARED", "--out"],
    "train": ["PREPARED", "--out", "--preset", "--set", "--resume"],
    "evaluate": [
        *("MODEL", "--data", "--out", "--protocol", "--baselines", "--no-baselines", "--split"),
        *("--seeds", "--tune", "--tuned"),
    ],
    "compare": ["DIR", "--out"],
    "align": ["NEW", "OLD", "--vectors", "--out"],
    "encode": ["MODEL", "HISTORIES", "--out", "--horizon", "--skip-bad-rows"],
    "recommend": ["MODEL", "HISTORIES", "--k", "--out", "--horizon", "--skip-bad-rows"],
    "similar": ["MODEL", "--item", "--users", "--user-vectors", "--out", "--k", "--horizon"],
    "explain": ["MODEL", "HISTORIES", "--tags", "--contributions", "--horizon", "--skip-bad-rows"],
    "serve": ["MODEL", "--host", "--port", "--user-vectors"],
    "add-items": ["MODEL", "ITEMS", "--out", "--tags", "--genome"],
    "push": ["MODEL", "REPOSITORY", "--private"],
    "doctor": [],
}
# Each command with arguments that get as far as the work itself.
CALLS = {
    "prepare": ["prepare", "source", "--out", "prepared"],
    "describe": ["describe", "prepared", "--out", "pictures"],
    "train": ["train", "prepared", "--out", "model"],
    "evaluate": ["evaluate", "model", "--data", "prepared", "--out", "results"],
}


def run(*arguments, **how):
    """The command, run inside this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], **how)


def only_object(result):
    """The one JSON object on standard output."""
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def everything_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """Every test works in a folder of its own."""
    monkeypatch.chdir(tmp_path)


def _failing(monkeypatch, stage, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(f"tastevec.pipelines.{PIPELINE.get(stage, stage)}.{stage}", fail)


def test_the_commands_are_those_of_the_design():
    names = [command.callback.__name__.replace("_", "-") for command in app.registered_commands]
    assert names == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_documented_flag_and_json(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    for flag in [*COMMANDS[command], "--json"]:
        assert flag in result.stdout


def test_the_list_of_commands_is_not_cut_short():
    result = run("--help")
    listed = result.stdout.split("Commands:")[1]
    assert "..." not in listed
    for command in COMMANDS:
        assert f"  {command} " in listed


def test_help_of_train_lists_every_setting():
    from tastevec.training.settings import TrainSettings  # noqa: PLC0415  its home is another room

    shown = run("train", "--help").stdout
    for name in TrainSettings.model_fields:
        assert name == "preset" or f"{name}=" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["prepare", "source"], "--out"),
        (["prepare", "source", "--out", "p", "--rating-range", "5"], "LOW:HIGH"),
        (["prepare", "source", "--out", "p", "--preset", "best"], "taste"),
        (["prepare", "source", "--out", "p", "--split", "luck"], "liang"),
        (["prepare", "source", "--out", "p", "--split", "liang", "--heldout", "0"], "--heldout"),
        (["train", "prepared", "--out", "m", "--set", "epochs"], "key=value"),
        (["train", "prepared", "--out", "m", "--set", "preset=bert-cosine"], "--preset bert-cosine"),
        (["evaluate", "--data", "prepared", "--out", "r"], "MODEL"),
        (["evaluate", "m", "--data", "prepared", "--out", "r", "--protocol", "luck"], "random-20pct"),
        (["compare"], "DIR"),
        (["evaluate", "m", "--data", "p", "--out", "r", "--tune", "--tuned", "e"], "not both"),
        (["evaluate", "m", "--data", "p", "--out", "r", "--seeds", "0"], "--seeds"),
        (["recommend", "m", "h.csv", "--out", "r.parquet", "--k", "0"], "--k"),
        (["encode", "m", "h.csv", "--out", "v.parquet", "--horizon", "later"], "overall"),
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
def test_wrong_usage_exits_2_and_says_what_was_expected(arguments, said, tmp_path):
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""
    assert everything_in(tmp_path) == []


ERRORS = [getattr(tastevec.errors, name) for name in tastevec.errors.__all__]


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("as_json", [False, True])
def test_every_error_of_ours_is_one_sentence_and_exit_1(kind, as_json, monkeypatch):
    error = kind("faiss", "serve") if kind is MissingExtraError else kind("found this;\nexpected that")
    _failing(monkeypatch, "describe", error)
    result = run(*CALLS["describe"], *["--json"] * as_json)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.output
    if as_json:
        told = json.loads(result.stdout)["error"]
        assert told["kind"] == kind.__name__
        assert told["message"] in result.stderr
    else:
        assert result.stdout == ""


def test_a_missing_library_is_the_line_that_installs_it(monkeypatch):
    _failing(monkeypatch, "evaluate", ModuleNotFoundError("No module named 'sklearn'", name="sklearn.utils"))
    result = run(*CALLS["evaluate"])
    assert result.exit_code == 1
    assert result.stderr == "Error: scikit-learn is not installed; run: pip install 'tastevec[prep]'\n"


def test_another_failed_import_is_our_bug_and_stays_loud(monkeypatch):
    _failing(monkeypatch, "evaluate", ModuleNotFoundError("No module named 'moon'", name="moon"))
    result = run(*CALLS["evaluate"])
    assert isinstance(result.exception, ModuleNotFoundError)


def test_the_file_systems_refusal_names_the_place(monkeypatch):
    _failing(monkeypatch, "describe", PermissionError(13, "Permission denied", "/kept/shut"))
    result = run(*CALLS["describe"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: /kept/shut: Permission denied;")


@pytest.mark.parametrize("command", CALLS)
def test_an_interruption_says_how_to_go_on(command, monkeypatch):
    _failing(monkeypatch, command, KeyboardInterrupt())
    result = run(*CALLS[command])
    assert result.exit_code == 130
    assert result.stderr.startswith("Error: interrupted, and nothing half-written was left;")
    assert ("--resume" in result.stderr) == (command == "train")


def test_an_interruption_inside_a_query_is_one_too(monkeypatch):
    """DuckDB says it in its own way."""
    error = RuntimeError("Query interrupted")
    error.__cause__ = KeyboardInterrupt()
    _failing(monkeypatch, "prepare", error)
    result = run(*CALLS["prepare"], "--json")
    assert result.exit_code == 130
    assert json.loads(result.stdout)["error"]["kind"] == "KeyboardInterrupt"


def test_another_runtime_error_is_our_bug_and_stays_loud(monkeypatch):
    _failing(monkeypatch, "prepare", RuntimeError("broken"))
    assert isinstance(run(*CALLS["prepare"]).exception, RuntimeError)


def test_what_libraries_print_stays_off_standard_output(capsys):
    with answering(as_json=True) as answer:
        print("chatter")  # noqa: T201  as a library might
        answer.give({"items": 3}, "three films")
    told = capsys.readouterr()
    assert json.loads(told.out) == {"items": 3}
    assert told.err == "chatter\n"


def test_a_failed_command_prints_no_result(capsys):
    with pytest.raises(typer.Exit):
        _answering_too_soon()
    assert capsys.readouterr().out == ""


def _answering_too_soon():
    with answering(as_json=False) as answer:
        answer.give({}, "all well")
        raise TastevecError("not well")


def test_fetch_brings_a_release_and_says_its_terms(tmp_path, monkeypatch):
    files = {f"ml-1m/{path.name}": path.read_bytes() for path in worlds.write_1m(tmp_path / "made").iterdir()}
    with serving() as server:
        server.pages["ml-1m.zip"] = Page(zip_of(files))
        monkeypatch.setattr(releases, "_FOLDER", server.at(""))
        bare = releases.RELEASES["ml-1m"].__class__(
            "ml-1m", 0, 0, 0, 0, None, members=("ratings.dat", "movies.dat")
        )
        monkeypatch.setattr(releases, "RELEASES", MappingProxyType({"ml-1m": bare}))
        told = only_object(run("fetch", "ml-1m", "--json"))
        again = run("fetch", "ml-1m")
    assert told["folder"] == "ml-1m"
    assert told["used_source"] == "grouplens"
    assert told["already_there"] is False
    assert (tmp_path / "ml-1m" / "ratings.dat").exists()
    assert again.stdout.startswith("ml-1m was there already: ml-1m")
    assert "research use" in again.stdout


def test_fetching_an_unknown_release_names_the_known(tmp_path):
    result = run("fetch", "ml-33m")
    assert result.exit_code == 1
    assert "did you mean ml-32m?" in result.stderr
    assert everything_in(tmp_path) == []


def test_prepare_and_describe_account_for_every_row(tmp_path):
    source = worlds.write_csv_release(tmp_path / "tiny")
    told = only_object(run("prepare", source, "--out", "prepared", "--json"))
    assert told["out"] == "prepared"
    assert told["counts"]["users"]["kept"] == 12
    described = only_object(run("describe", "prepared", "--out", "pictures", "--json"))
    assert (tmp_path / described["page"]).exists()
    assert described["totals"]["ratings"] == 192
    spoken = run("prepare", source, "--out", "prepared")
    assert "People: 12 of 12 (10 train, 1 validation, 1 test)." in spoken.stdout
    assert "Interactions: 194 of 194; films: 20." in spoken.stdout
    assert "12 people" in run("describe", "prepared", "--out", "pictures").stdout


def test_prepare_passes_every_flag_on(tmp_path):
    table = worlds.write_own_csv(tmp_path / "own")
    genome = worlds.write_genome(tmp_path / "genome")
    tags = tmp_path / "tags.csv"
    tags.write_text("userId,movieId,tag,timestamp\n1,1,space,1\n")
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
    told = only_object(run("prepare", table, "--out", "own-prepared", *with_all, "--json"))
    assert told["source"]["rating_range"] == [1, 5]
    assert told["settings"]["memory"] == "1GB"
    assert told["settings"]["seed"] == 7
    assert told["settings"]["items"] == "items.csv"
    source = worlds.write_1m(tmp_path / "tiny")
    borrowed = ["--genome", genome, "--tags", tags, "--preset", "bert-cosine"]
    told = only_object(run("prepare", source, "--out", "prepared", *borrowed, "--json"))
    assert told["vectors"]["genome-svd"]["borrowed"] is True
    assert told["vectors"]["content"]["tags"] == 1
    assert told["counts"]["splits"]["test"] == 0


def test_prepare_divides_people_as_it_is_told(tmp_path):
    source = worlds.write_csv_release(tmp_path / "tiny")
    by_time = run("prepare", source, "--out", "by-time", "--split", "time", "--seed", "1")
    assert "Cut: 2001-05-19 19:03:20 UTC; 20 later" in by_time.stdout
    assert " later interactions of training and validation people are left out, and 0 tags." in by_time.stdout
    told = only_object(
        run("prepare", source, "--out", "published", "--split", "liang", "--heldout", "2", "--json")
    )
    assert told["counts"]["splits"] == {"train": 8, "validation": 2, "test": 2}
    assert (told["settings"]["split"], told["settings"]["heldout"]) == ("liang", 2)
    refused = run("prepare", source, "--out", "too-few", "--split", "liang")
    assert refused.exit_code == 1
    assert "12 users of tiny liked 5 films or more" in refused.stderr
    assert "give --heldout 4 or less" in refused.stderr
    refused = run("prepare", source, "--out", "own", "--split", "hash", "--preset", "bert-cosine")
    assert "preset bert-cosine divides people by the research note's own shuffle" in refused.stderr


def test_a_bad_row_is_refused_and_leaves_nothing_or_set_aside_and_told(tmp_path):
    table = worlds.write_own_csv(tmp_path / "own")
    with table.open("a") as file:
        file.write("person-1,film-99,eleven\n")
    before = everything_in(tmp_path)
    refused = run("prepare", table, "--out", "prepared")
    assert refused.exit_code == 1
    assert "interactions.csv line 194" in refused.stderr
    assert everything_in(tmp_path) == before
    skipped = run("prepare", table, "--out", "prepared", "--skip-bad-rows")
    assert skipped.exit_code == 0
    assert "Set aside in interactions.csv: 1 " in skipped.stdout


def test_a_failed_preparation_leaves_the_old_result(tmp_path):
    source = worlds.write_csv_release(tmp_path / "tiny")
    assert run("prepare", source, "--out", "prepared").exit_code == 0
    before = everything_in(tmp_path)
    (source / "movies.csv").unlink()
    assert run("prepare", source, "--out", "prepared").exit_code == 1
    assert everything_in(tmp_path / "prepared") == [
        path.removeprefix("prepared/") for path in before if path.startswith("prepared/")
    ]


def test_doctor_reports_versions_and_what_is_missing(monkeypatch):
    told = only_object(run("doctor", "--json"))
    assert set(told["extras"]) == set(EXTRAS)
    assert told["extras"]["prep"]["libraries"]["pyarrow"]
    assert told["cores"] >= 1
    assert told["memory_bytes"] > 2**20
    found = sys.modules["tastevec.cli.app"]
    monkeypatch.setattr(found, "_version", lambda name: None if name in ("torch", "matplotlib") else "1.0")
    monkeypatch.delattr(found.os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(found.os, "sysconf", lambda _name: (_ for _ in ()).throw(ValueError))
    spoken = run("doctor").stdout
    assert "[train] missing something; run: pip install 'tastevec[train]'" in spoken
    assert "[prep] whole" in spoken
    assert "torch -" in spoken
    assert "unknown of memory" in spoken


def test_the_extras_are_those_that_the_package_declares():
    from importlib.metadata import requires  # noqa: PLC0415  only here

    lines = [line.replace('"', "'") for line in requires("tastevec")]
    for extra, libraries in EXTRAS.items():
        declared = " ".join(line.lower() for line in lines if line.endswith(f"extra == '{extra}'"))
        for distribution in libraries.values():
            assert distribution.lower() in declared


def test_a_library_that_is_here_is_not_missed():
    need("pyarrow")
    assert missing_extra(ImportError("no name at all")) is None
    with pytest.raises(MissingExtraError, match=r"tastevec\[wandb\]"):
        _need_where_nothing_is()


def _need_where_nothing_is():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tastevec.extras.find_spec", lambda _name: None)
        need("wandb")


def test_a_bar_is_drawn_only_where_somebody_looks(monkeypatch, capsys):
    with progress.bar("Counting") as report:
        report(1, 2)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "watched", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress.bar("Counting", in_bytes=True) as report:
        report(1, 2, "Counting on")
    told = capsys.readouterr()
    assert "Counting on" in told.err
    assert told.out == ""


def test_training_tells_each_epoch_where_nobody_watches(capsys, monkeypatch):
    from tastevec.cli.models import _epochs  # noqa: PLC0415  a part of its module

    moved = []
    step = _epochs(lambda *told: moved.append(told), 2)
    step(1, 4, {})
    step(2, 4, {"loss": 2.5})
    step(3, 4, {"loss": 2.5, "eval_validation_score": 0.125})
    assert capsys.readouterr().err == "epoch 1 of 2 done, loss 2.5000, validation 0.1250\n"
    assert moved[0] == (1, 4, "Epoch 1 of 2")
    assert moved[2] == (3, 4, "Epoch 2 of 2, loss 2.5000, validation 0.1250")
    monkeypatch.setattr("tastevec.cli.models.watched", lambda: True)
    _epochs(lambda *_: None, 2)(3, 4, {})
    assert capsys.readouterr().err == ""


def test_evaluation_passes_every_flag_on_and_shows_how_far_it_is(monkeypatch):
    passed, moved = {}, []

    def evaluate(models, data, out, **how):
        passed.update(how, models=models, data=data, out=out)
        how["progress"](3, 12, "Tuning EASE")
        raise TastevecError("enough")

    @contextmanager
    def bar(note):
        yield lambda *told: moved.append((note, *told))

    monkeypatch.setattr("tastevec.pipelines.evaluate.evaluate", evaluate)
    monkeypatch.setattr("tastevec.cli.models.bar", bar)
    flags = ["--protocol", "future", "--no-baselines", "--split", "validation", "--seeds", 5]
    assert run(*CALLS["evaluate"], *flags, "--tune").exit_code == 1
    del passed["progress"]
    assert passed == {
        "models": [Path("model")],
        "data": Path("prepared"),
        "out": Path("results"),
        "tasks": ["next-item", "last-20pct"],
        "with_baselines": False,
        "split": "validation",
        "seeds": 5,
        "tune": True,
        "tuned": None,
    }
    assert moved == [("Reading", 3, 12, "Tuning EASE")]
    run(*CALLS["evaluate"], "--tuned", "earlier")
    assert (passed["tune"], passed["tuned"]) == (False, Path("earlier"))


def test_the_protocols_offered_are_those_of_the_schema():
    shown = run("evaluate", "--help").stdout
    for protocol in Protocol.__args__:
        assert protocol in shown


def test_the_process_sets_what_torch_needs_and_takes_a_kill_as_an_interruption(monkeypatch):
    environment, handlers = {"TRANSFORMERS_VERBOSITY": "info"}, {}
    monkeypatch.setattr(application.os, "environ", environment)
    monkeypatch.setattr(application.signal, "signal", handlers.__setitem__)
    monkeypatch.setattr(application, "app", lambda: None)
    application.main()
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    assert environment["TRANSFORMERS_VERBOSITY"] == "info"
    assert handlers == {signal.SIGTERM: signal.default_int_handler}


@pytest.mark.slow
def test_on_a_terminal_the_bar_goes_to_standard_error_and_the_object_to_standard_output():
    import pty  # noqa: PLC0415  not on Windows

    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "tastevec", "doctor", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    with ThreadPoolExecutor(1) as reader:  # of a terminal that nobody reads, a slow process waits for room
        shown = reader.submit(_read_all, ours)
        out, _ = process.communicate(timeout=120)
    os.close(ours)
    assert process.returncode == 0
    assert json.loads(out)["python"]
    assert b"Looking around" in shown.result()


def _read_all(terminal):
    """What was written there until its last writer was gone, which Linux tells as an error."""
    read = b""
    with suppress(OSError):
        while part := os.read(terminal, 1 << 12):
            read += part
    return read
