"""Every command's help ends in an example that can be typed, and a shell can complete what is typed."""

import shlex

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from tastevec.cli.app import EXAMPLES, app

COMMANDS = get_command(app).commands


def completed(*words):
    """What a shell is told when the last of the words is to be completed."""
    environment = {
        "_TASTEVEC_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["tastevec", *words]),
        "COMP_CWORD": str(len(words)),
    }
    return CliRunner().invoke(app, [], prog_name="tastevec", env=environment).stdout.split()


def test_every_command_has_an_example():
    assert list(EXAMPLES) == list(COMMANDS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_help_shows_the_example_whole_on_one_line(name):
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "40", "TERMINAL_WIDTH": "40"}).stdout
    assert f"Example: {EXAMPLES[name]}" in [line.strip() for line in shown.splitlines()]


@pytest.mark.parametrize(("name", "example"), EXAMPLES.items())
def test_an_example_is_what_its_command_takes(name, example):
    program, command, *arguments = shlex.split(example)
    assert (program, command) == ("tastevec", name)
    assert COMMANDS[name].make_context(name, arguments).params


def test_a_flag_that_is_not_there_would_be_seen():
    with pytest.raises(Exception, match="No such option"):
        COMMANDS["fetch"].make_context("fetch", ["ml-100k", "--into", "data"])


def test_a_shell_completes_commands_flags_and_choices():
    assert completed("rec") == ["recommend"]
    assert completed("e") == ["evaluate", "encode", "explain"]
    assert completed("prepare", "x", "--mem") == ["--memory"]
    assert completed("encode", "model", "h.csv", "--horizon", "o") == ["overall"]


def test_help_says_how_completion_is_installed():
    assert "--install-completion" in CliRunner().invoke(app, ["--help"]).stdout
