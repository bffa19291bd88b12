"""The progress bar of Python calls: one output of a notebook, nothing where neither notebook nor terminal shows it."""

import io
import sys
import types

import nbformat
import pytest
from nbclient import NotebookClient

import tastevec as tv
from encoders import TINY
from tastevec.pipelines.progress import progress_bar, training_text


class Shell:
    """The shell of a notebook, whose displayed outputs are in a list."""

    kernel = None

    def __init__(self, monkeypatch):
        self.outputs = []
        modules = {"IPython": types.ModuleType("IPython"), "IPython.display": types.ModuleType("display")}
        modules["IPython"].get_ipython = lambda: self
        modules["IPython.display"].display = self.display
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)

    def display(self, shown, *, display_id):
        assert display_id
        self.outputs.append([repr(shown)])
        return self

    def update(self, shown):
        assert "<progress value=" in shown._repr_html_()
        self.outputs[-1].append(repr(shown))


@pytest.fixture(name="shell")
def _shell(monkeypatch):
    return Shell(monkeypatch)


def test_notebook_executed_shows_one_bar_that_is_done():
    notebook = nbformat.v4.new_notebook()
    code = """
        from tastevec.pipelines.progress import progress_bar
        import time
        with progress_bar(True) as step:
            from tqdm.auto import tqdm
            for done in range(30):
                step(done, 30, "Training <b>")
                time.sleep(0.01)
    """
    notebook.cells = [nbformat.v4.new_code_cell("if True:" + code)]
    NotebookClient(notebook, timeout=60).execute()
    [output] = notebook.cells[0].outputs
    assert output["output_type"] == "display_data"
    assert output["data"]["text/plain"].startswith("Done, 100 %, ")
    assert output["data"]["text/html"].startswith('<progress value="1" max="1"></progress> Done')


def test_train_and_evaluate_in_notebook_show_one_bar_each(shell, prepared_folder, tmp_path, capsys):
    tv.train(prepared_folder, tmp_path / "model", epochs=1, **TINY)
    tv.evaluate(tmp_path / "model", prepared_folder, tasks=["top-rated"], with_baselines=False)
    assert [shown[-1].partition(",")[0] for shown in shell.outputs] == ["Done", "Done"]
    tv.train(prepared_folder, tmp_path / "model", preset="direction", progress=False)
    assert len(shell.outputs) == 2
    assert "%" not in "".join(capsys.readouterr())


def test_bar_after_an_error_stays_at_its_step(shell):
    with pytest.raises(ZeroDivisionError), progress_bar(progress=True) as step:
        step(1, 1 // 0, "Reading")
    assert "Done" not in "".join(shell.outputs[0])


def test_bar_without_notebook_and_terminal_prints_nothing(capsys):
    with progress_bar(progress=True) as step:
        step(1, 4, "Reading")
    assert capsys.readouterr() == ("", "")


def test_bar_in_terminal_is_on_standard_error(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress_bar(progress=True) as step:
        step(1, 4, "Reading")
    assert "Reading" in terminal.getvalue()


def test_function_of_progress_is_called_as_it_is():
    steps = []
    with progress_bar(lambda *step: steps.append(step)) as step:
        step(1, 4, "Reading")
    assert steps == [(1, 4, "Reading")]


def test_training_text_has_the_latest_loss():
    assert [training_text({}), training_text({"loss": 1.23456})] == ["Training", "Training: loss 1.235"]
