"""Commands about models: train, evaluate, compare, align, push and add-items."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer

from tastevec.cli.console import (
    AsJson,
    ModelFolder,
    OutFolder,
    PreparedFolder,
    StepProgressCallback,
    WhichPreset,
    answering,
    bar,
    watched,
)
from tastevec.schema import REPORT_FILE, RESULTS_FILE, TaskId
from tastevec.training.distributed import rank
from tastevec.training.settings import TrainSettings, resolve_settings

__all__ = ["add_items", "align", "compare", "evaluate", "push", "settings_help", "train"]

_TASKS: tuple[TaskId, ...] = get_args(TaskId)


def settings_help() -> str:
    """Every training setting with its default and what it does, for the end of ``train --help``."""
    lines = [
        f"  {name}={field.default}\n      {' '.join((field.description or '').split()).replace('``', '')}"
        for name, field in TrainSettings.model_fields.items()
        if name != "preset"
    ]
    return "\b\nSettings for --set, at the values of the taste preset:\n" + "\n".join(lines)


def _setting(text: str) -> tuple[str, str]:
    """``key=value`` as two texts; the settings themselves know the types."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise typer.BadParameter(
            f"{text!r} is no setting; expected key=value, such as epochs=3", param_hint="--set"
        )
    if key == "preset":
        raise typer.BadParameter(
            f"the preset has a flag of its own; expected --preset {value}", param_hint="--set"
        )
    return key, value


def train(
    prepared: PreparedFolder,
    *,
    out: OutFolder,
    preset: WhichPreset = "taste",
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change a setting of the preset (below); may be repeated."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run of the same settings.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model on a prepared folder.

    Its training people teach, its validation people choose the epoch, and nobody else is looked at. Several processes share
    each step as torchrun starts them: torchrun --nproc-per-node 2 -m tastevec train PREPARED --out MODEL.
    """
    settings = dict(_setting(text) for text in changes or ())
    afterwards = "go on with the same command and --resume"
    with _heard_once(), answering(as_json=as_json, afterwards=afterwards) as answer:
        epochs = resolve_settings(preset, **settings).epochs  # a wrong setting shall not wait for torch
        from tastevec.pipelines.train import train

        began = time.perf_counter()
        with bar("Starting to train") as progress:
            model = train(
                prepared, out, preset=preset, resume=resume, progress=_epochs(progress, epochs), **settings
            )
        seconds, facts = time.perf_counter() - began, model.bundle.facts
        measured = ", ".join(
            f"{name.removeprefix('eval_')} {value:.4f}" for name, value in facts["validation"].items()
        )
        text = (
            f"The model is in {out}, trained in {seconds:,.0f} s; its best epoch on validation people: {measured}.\n"
            f"Next: tastevec evaluate {out} --data {prepared} --out results"
        )
        kept = {name: facts[name] for name in ("space", "data", "settings", "validation")}
        answer.give({"out": out, "seconds": round(seconds, 3), **kept}, text)


@contextmanager
def _heard_once() -> Iterator[None]:
    """Silence in every process that torchrun started but the first: what it says, an error too, all would say."""
    with ExitStack() as silence:
        if rank():
            nobody = silence.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
            silence.enter_context(redirect_stdout(nobody))
            silence.enter_context(redirect_stderr(nobody))
        yield


def _epochs(progress: StepProgressCallback, epochs: int) -> Callable[[int, int, dict[str, float]], None]:
    """Steps as a bar that names the epoch, the loss and the validation measure; unwatched, a line an epoch."""
    told = 0

    def step(done: int, total: int, newest: dict[str, float]) -> None:
        nonlocal told
        whole = (done - 1) * epochs // total  # what an epoch measured is known from the next one on
        names = {"loss": "loss", "eval_validation_score": "validation"}
        measured = "".join(f", {names[name]} {value:.4f}" for name, value in newest.items())
        progress(done, total, f"Epoch {whole + 1} of {epochs}{measured}")
        if whole > told and not watched():
            told = whole
            typer.echo(f"epoch {whole} of {epochs} done{measured}", err=True)

    return step


def evaluate(
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL...",
            help="Model folders, or folders of models that differ in the random seed alone.",
        ),
    ],
    *,
    data: Annotated[
        Path, typer.Option(metavar="PREPARED", help="The prepared dataset on which they were trained.")
    ],
    out: OutFolder,
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            metavar="|".join(_TASKS),
            help="Task to evaluate; repeatable. Default: all of the dataset.",
        ),
    ] = None,
    with_baselines: Annotated[
        bool,
        typer.Option(
            "--baselines/--no-baselines",
            help="Fit strong baselines: item-kNN, EASE, iALS and Mult-VAE (a minute or two a run).",
        ),
    ] = True,
    split: Annotated[
        Literal["test", "validation"],
        typer.Option(
            help="Users to evaluate. Validation metrics are optimistic: these users selected the epoch and what is tuned."
        ),
    ] = "test",
    seeds: Annotated[
        int,
        typer.Option(min=1, help="Runs of each baseline that depends on the random seed (iALS, Mult-VAE)."),
    ] = 3,
    tune: Annotated[
        bool,
        typer.Option("--tune", help="Tune each baseline on validation users first, within one budget."),
    ] = False,
    tuned: Annotated[
        Path | None,
        typer.Option(
            metavar="RESULTS", help="Use the tuned settings of an earlier evaluation on these data."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate models on held-out users against baselines."""
    if tune and tuned:
        raise typer.BadParameter("--tune is set. Expected --tune or --tuned, not both.", param_hint="--tuned")
    with answering(as_json=as_json) as answer:
        from tastevec.evaluation.tables import report_text
        from tastevec.pipelines.evaluate import evaluate

        with bar("Reading") as progress:
            report = evaluate(
                models,
                data,
                out,
                tasks=[task for task in _TASKS if task in tasks] if tasks else None,
                with_baselines=with_baselines,
                split=split,
                seeds=seeds,
                tune=tune,
                tuned=tuned,
                progress=progress,
            )
        files = f"Report: {out / REPORT_FILE}. All metrics: {out / RESULTS_FILE}."
        answer.give({"out": out, **report.to_dict()}, f"{report_text(report)}\n\n{files}")


def compare(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR DIR...", help="Output folders of tastevec evaluate on one prepared dataset."
        ),
    ],
    *,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Output folder; an earlier result there is replaced."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare finished evaluations on the same users."""
    with answering(as_json=as_json) as answer:
        from tastevec.evaluation.compare import compare
        from tastevec.evaluation.tables import report_text

        with bar("Comparing"):
            report = compare(folders, out)
        facts = {"folders": folders, "out": out, **report.to_dict()}
        written = f"\n\nReport: {out / REPORT_FILE}." if out else ""
        answer.give(facts, f"{report_text(report)}{written}")


def align(
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The model whose vectors shall be turned.")],
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The model in whose space they are wanted.")],
    *,
    out: OutFolder,
    vectors: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A Parquet that tastevec encode wrote with NEW; DIR/vectors.parquet is the same people in the space of OLD.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Map a retrained model's space onto an old one.

    A rotation, fitted on the films that people rated in both trainings; how well it fits is measured on a fifth of them that
    had no part in it. Turned vectors are near the old ones and not the same.
    """
    with answering(as_json=as_json) as answer:
        from tastevec.serving.align import align as aligned
        from tastevec.serving.align import rotate_users

        with bar("Aligning"):
            found = aligned(new, old)
            found.save(out)
            users = None if vectors is None else rotate_users(found, vectors, out / "vectors.parquet")
        facts = {"out": out, **found.facts} | ({} if users is None else {"users": users})
        answer.give(facts, _fitted(facts))


def _fitted(facts: dict[str, Any]) -> str:
    """How well the spaces fit, beside what chance and doing nothing would give."""
    names = {
        "in_sample": "all films, on which it was fitted",
        "held_out": "a fifth of them, fitted on the others",
        "unaligned": "that fifth, not turned",
        "shuffled": "that fifth, films paired by chance",
    }
    rows = "\n".join(
        f"{label:38}  {facts[name]['residual']:17.4f}  {facts[name]['cosine']:+11.4f}"
        for name, label in names.items()
    )
    written = f"\n{facts['users']:,} people were turned." if "users" in facts else ""
    return (
        f"The rotation from space {facts['new']} to {facts['old']} is in {facts['out']}, by {facts['items']:,} films.{written}\n"
        f"{'':38}  relative residual  mean cosine\n{rows}"
    )


def push(
    model: ModelFolder,
    repository: Annotated[
        str, typer.Argument(metavar="REPOSITORY", help="Where to: org/name; made if it is not there.")
    ],
    *,
    private: Annotated[bool, typer.Option("--private", help="Show a new repository to nobody else.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a model to the Hugging Face hub.

    From there every command takes it as org/name. The token that may write there is read from HF_TOKEN, or from where
    hf auth login keeps it. Read the model's card, README.md, first: it says under which terms the data may be used.
    """
    with answering(as_json=as_json) as answer:
        from tastevec.serving.recommender import load

        with bar("Pushing"):
            opened = load(model)
            address = opened.push_to_hub(repository, private=private or None)
        facts = {"repository": repository, "address": address, "space": opened.bundle.space}
        answer.give(
            facts,
            f"The model is at {address}.\nNext: tastevec recommend {repository} HISTORIES --out films.parquet",
        )


def add_items(
    model: ModelFolder,
    items: Annotated[
        Path,
        typer.Argument(
            metavar="ITEMS",
            help="A CSV or Parquet of item_id, title and, if known, year and genres (between |).",
        ),
    ],
    *,
    out: OutFolder,
    tags: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Tags, of these films or of more; may be repeated."),
    ] = None,
    genome: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The tag genome the model was trained with, borrowed by film id."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Give a model films that came after its training.

    Each gets a vector by what is said of it and can be rated and recommended at once. Known films do not move.
    """
    with answering(as_json=as_json) as answer:
        from tastevec.pipelines.train import add_items

        began = time.perf_counter()
        with bar("Adding films"):
            bundle = add_items(model, items, out, tags=tags or (), genome=genome).bundle
        facts = {
            "out": out,
            "space": bundle.space,
            "items": len(bundle.items),
            "added": bundle.facts["added"],
            "seconds": round(time.perf_counter() - began, 3),
        }
        answer.give(facts, _told(facts))


def _told(facts: dict[str, Any]) -> str:
    """What the model knows now, and by what it placed the films."""
    known_by = ", ".join(f"{name} of {count:,}" for name, count in facts["added"]["known_by"].items())
    return (
        f"The model in {facts['out']} knows {facts['items']:,} films, {facts['added']['items']:,} of them added after its "
        f"training and placed by what it could read of them: {known_by}.\n"
        f"Known films have not moved: its vectors may be compared with those of the model before (space {facts['space']})."
    )
