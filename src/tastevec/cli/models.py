"""Commands about models: train, evaluate, compare, align, push and add-items."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

import typer

from tastevec.cli.console import (
    AsJson,
    ItemNounFlag,
    Memory,
    ModelFolder,
    OutFile,
    OutFolder,
    PreparedFolder,
    Progress,
    WhichPreset,
    is_watched,
    model_path,
    one_of,
    progress_bar,
    reporting,
    typed_command,
)
from tastevec.cli.flags import INTAKE_FLAGS, ITEM_FLAGS, takes_flags
from tastevec.data.files import check_replaceable
from tastevec.schema import ALIGNMENT_FILE, COMPONENTS, REPORT_FILE, RESULTS_FILE, TaskId
from tastevec.training.distributed import rank
from tastevec.training.settings import PRESETS, TrainSettings, resolve_settings

_TASKS: tuple[TaskId, ...] = get_args(TaskId)


def settings_help() -> str:
    """Return every training setting with its default and description, for the end of ``train --help``.

    Of the second preset with a network, only those that the first has not, or with another default.
    """
    listed: set[str] = set()
    parts = []
    for preset, settings in PRESETS.items():
        lines = [
            f"  {name}={field.default}\n      {' '.join((field.description or '').split()).replace('``', '')}"
            for name, field in settings.model_fields.items()
            if name != "preset"
        ]
        known = listed if issubclass(settings, TrainSettings) else set()
        parts += [f"Settings for --set, preset {preset}:", *(line for line in lines if line not in known)]
        listed |= {*lines}
    return "\b\n" + "\n".join(parts)


def _setting(text: str) -> tuple[str, str]:
    """Return name and value of ``NAME=VALUE``; `TrainSettings` converts the value."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise typer.BadParameter(f"{text!r}. Expected NAME=VALUE, such as epochs=3", param_hint="--set")
    if name == "preset":
        raise typer.BadParameter(f"the preset has its own flag: --preset {value}", param_hint="--set")
    return name, value


def train(
    prepared: PreparedFolder,
    *,
    out: OutFolder,
    preset: WhichPreset = "taste",
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change a setting (list below); repeatable."),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            parser=model_path,
            help="Model of the same preset and shape to begin with: its transformer, and its item vectors by item ID.",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Resume an interrupted run of the same settings, or with more epochs."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model on a prepared dataset.

    Training users are for training, validation users select the epoch; test users are not read. For several processes:
    torchrun --nproc-per-node 2 -m tastevec train PREPARED --out MODEL.
    """
    settings: dict[str, Any] = dict(_setting(text) for text in changes or ())
    with _rank_0_prints(), reporting(as_json=as_json, interrupted=lambda: _resume(out)) as output:
        resolved = resolve_settings(preset, **settings)  # a wrong setting fails before torch is imported
        epochs = getattr(resolved, "epochs", 0)
        from tastevec.pipelines.train import train

        with progress_bar("Loading data") as progress:
            model = train(
                prepared,
                out,
                preset=preset,
                init=init,
                resume=resume,
                progress=_epochs(progress, epochs),
                stage=lambda text: progress(0, 1, f"Training: {text}"),
                **settings,
            )
        seconds, facts = output.seconds, model.bundle.facts
        measured = ", ".join(
            f"{name.removeprefix('eval_')} {value:.3f}" for name, value in facts["validation"].items()
        )
        text = (
            f"Wrote {out}/ ({seconds:,.0f} s). {_best_epoch(facts)}On validation users: {measured}.\n{_sums(facts)}"
            f"Next: tastevec evaluate {out} --data {prepared} --out results"
        )
        shown = {name: facts[name] for name in _SHOWN}
        if "init" in facts:
            shown |= {"init": (taken := facts["init"])}
            items = model.bundle.noun.counted(taken["items"])
            text = f"Began with {init} (space {taken['space']}): its transformer, and its vectors of {items}, {taken['new_items']:,} more are new.\n{text}"
        output.set({"out": out, "seconds": seconds, **shown}, text)


def _best_epoch(facts: dict[str, Any]) -> str:
    """Return the sentence on the best epoch, and on an early end; empty without epochs."""
    name, settings = "eval_validation_score", facts["settings"]
    scores = [entry[name] for entry in facts["log"] if name in entry]
    if not scores:
        return ""
    early = f" (ended early: at most {settings['epochs']}, patience {settings['patience']})"
    best = scores.index(max(scores)) + 1
    return f"Best epoch: {best} of {len(scores)}{early if len(scores) < settings['epochs'] else ''}. "


_SHOWN: Final = ("space", "data", "settings", "closed_form", "validation")


def _sums(facts: dict[str, Any]) -> str:
    """Return a line for each horizon on the weights of components, and why the transformer or dislikes may have none."""
    chosen = facts["closed_form"]
    weights = chosen.get("weights", {})
    lines = []
    for horizon in weights:
        parts = [f"{weight:g} {COMPONENTS.get(name, name)}" for name, weight in weights[horizon].items()]
        lines.append(f"{horizon}: {' + '.join(parts)}")
    if lines and facts["data"]["order"] == "none":
        lines[-1] = "next: the same as overall, because the data have no order in time"
    elif lines and "transformer" not in weights["next"]:
        trained = facts["settings"]["epochs"]
        why = "it does not help the validation users" if trained else "it was not trained"
        lines[-1] += f" (no transformer: {why})"
    if chosen.get("low_ratings") and not chosen["dislikes"]:
        share = f"{100 * chosen['low_ratings']:.0f} %"
        lines.append(
            f"{share} of the ratings are below the middle of the scale, over 40 %: dislike_weight changes nothing"
        )
    if users := chosen.get("content_users"):
        lines.append(f"item vectors: half from content at {users:g} training users, more of it with fewer")
    return "".join(f"{line}\n" for line in lines)


@takes_flags(INTAKE_FLAGS, ITEM_FLAGS)
def fit(
    interactions: Annotated[
        str, typer.Argument(metavar="INTERACTIONS", help="A source, as `tastevec prepare` takes it.")
    ],
    *,
    out: OutFolder,
    stated: dict[str, Any],
    prepared: Annotated[
        Path | None,
        typer.Option(
            "--prepared", metavar="DIR", help="Keep the prepared dataset there, for `tastevec evaluate`."
        ),
    ] = None,
    item_noun: ItemNounFlag = None,
    preset: WhichPreset = "taste",
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change a setting of `tastevec train`; repeatable."),
    ] = None,
    memory: Memory = "2GB",
    as_json: AsJson = False,
) -> None:
    """Prepare interactions and train a model in one.

    Same as `tastevec prepare` and `tastevec train`, which also resume, run on Spark or on several processes.
    """
    settings: dict[str, Any] = dict(_setting(text) for text in changes or ())
    with reporting(as_json=as_json) as output:
        resolve_settings(preset, **settings)  # a wrong setting fails before the reading
        from tastevec.pipelines.fit import fit

        with progress_bar("Reading") as progress:
            model = fit(
                interactions,
                out=out,
                prepared=prepared,
                preset=preset,
                progress=progress,
                show=output.show,
                memory=memory,
                item_noun=item_noun,
                **stated,
                **settings,
            )
        facts = model.bundle.facts
        after = (
            f"Next: tastevec evaluate {out} --data {prepared} --out results"
            if prepared
            else f"Next: tastevec recommend {out} HISTORIES --out recs.parquet"
        )
        shown = {name: facts[name] for name in _SHOWN}
        output.set(
            {"out": out, "seconds": output.seconds, **shown},
            f"Wrote {out}/ ({output.seconds:,.0f} s).\n{_sums(facts)}{after}",
        )


def _resume(out: Path) -> str:
    checkpoints, command = out.with_name(f"{out.name}.training"), typed_command()
    if not checkpoints.exists():
        return f"no partial output remains. Run: {command}"
    flag = "" if "--resume" in command else " --resume"
    return f"no partial output remains; the checkpoint is in {checkpoints}. Resume: {command}{flag}"


@contextmanager
def _rank_0_prints() -> Iterator[None]:
    """Silence all processes of torchrun but that of rank 0: each would print the same, errors too."""
    with ExitStack() as silence:
        if rank():
            null = silence.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
            silence.enter_context(redirect_stdout(null))
            silence.enter_context(redirect_stderr(null))
        yield


def _epochs(progress: Progress, epochs: int) -> Callable[[int, int, dict[str, float]], None]:
    """Return a callback that shows epoch, loss and validation score: as a bar, or unwatched as a line per epoch."""
    printed = last_step = 0

    def step(done: int, total: int, newest: dict[str, float]) -> None:
        nonlocal printed, last_step
        # The measures of an epoch arrive with the next step, those of the last with a second call for its last step.
        finished = (done if done == last_step else done - 1) * epochs // total
        names = {"loss": "loss", "eval_validation_score": "validation"}
        measured = ", ".join(f"{names[name]} {value:.3f}" for name, value in newest.items())
        progress(
            done, total, f"epoch {min(finished + 1, epochs)}/{epochs}{': ' if measured else ''}{measured}"
        )
        if finished > printed and not is_watched():
            printed = finished
            typer.echo(f"epoch {finished}/{epochs}: {measured}", err=True)
        last_step = done

    return step


def _named_file(text: str) -> tuple[str, Path]:
    """Return name and file of ``NAME=FILE``."""
    name, equals, file = text.partition("=")
    if not (name and equals and file):
        raise typer.BadParameter(f"{text!r}. Expected NAME=FILE.", param_hint="--lists")
    return name, Path(file)


def evaluate(
    models: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[MODEL...]",
            help="Model folders, or folders of models that differ in the random seed alone.",
            show_default=False,
        ),
    ] = None,
    *,
    data: Annotated[
        list[Path],
        typer.Option(
            metavar="PREPARED",
            help="The prepared dataset on which they were trained. Repeatable, for models of several: users held out of all are evaluated.",
        ),
    ],
    out: OutFolder,
    lists: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="Lists of another system for the inputs of the tasks, as Parquet or CSV: user_id, item_id, rank, task; repeatable.",
        ),
    ] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            parser=one_of("task", _TASKS),
            metavar="|".join(_TASKS),
            help="Task to evaluate; repeatable. Default: all of the dataset.",
        ),
    ] = None,
    with_baselines: Annotated[
        bool,
        typer.Option(
            "--baselines/--no-baselines",
            help="Fit strong baselines: item-kNN, EASE, lagged item regression, iALS and Mult-VAE (a minute or two a run).",
        ),
    ] = True,
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Strong baseline not to fit, such as Mult-VAE; repeatable."),
    ] = None,
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
    rankings: Annotated[
        bool,
        typer.Option(
            "--rankings/--no-rankings",
            help="Write the lists of all systems, the first 100 items of each user.",
        ),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Evaluate models on held-out users against baselines.

    Also lists of any other system for the same users. Without models, the baselines and the lists alone.
    """
    if tune and tuned:
        raise typer.BadParameter("--tune is set. Expected --tune or --tuned, not both.", param_hint="--tuned")
    given = dict(_named_file(text) for text in lists or ())
    if len(given) < len(lists or ()):
        raise typer.BadParameter("a name twice. Expected a name for each file.", param_hint="--lists")
    with reporting(as_json=as_json) as output:
        from tastevec.evaluation.tables import report_text
        from tastevec.pipelines.evaluate import evaluate

        with progress_bar("Loading data") as progress:
            report = evaluate(
                models or (),
                data,
                out,
                lists=given,
                tasks=[task for task in _TASKS if task in tasks] if tasks else None,
                with_baselines=with_baselines,
                without=without or (),
                split=split,
                seeds=seeds,
                tune=tune,
                tuned=tuned,
                rankings=rankings,
                progress=progress,
            )
        files = f"Report: {out / REPORT_FILE}. All metrics: {out / RESULTS_FILE}."
        output.set({"out": out, **report.to_dict()}, f"{report_text(report)}\n\n{files}")


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
    with reporting(as_json=as_json) as output:
        from tastevec.evaluation.compare import compare
        from tastevec.evaluation.tables import report_text

        with progress_bar("Comparing"):
            report = compare(folders, out)
        facts = {"folders": folders, "out": out, **report.to_dict()}
        written = f"\n\nReport: {out / REPORT_FILE}." if out else ""
        output.set(facts, f"{report_text(report)}{written}")


def align(
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Model whose embeddings are rotated.")],
    old: Annotated[Path, typer.Argument(metavar="OLD", help="Model whose space is the target.")],
    *,
    out: OutFolder,
    vectors: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Parquet file from tastevec encode NEW; the same users in the space of OLD go to DIR/vectors.parquet.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Map a retrained model's embeddings to an older space.

    The map is an orthogonal rotation, fitted on the items that users of both trainings rated and measured on a held-out fifth
    of them. Aligned vectors are close to the old ones, not equal.
    """
    with reporting(as_json=as_json) as output:
        from tastevec.serving.align import align as fit
        from tastevec.serving.align import rotate_users

        check_replaceable(out, marker_file=ALIGNMENT_FILE, inputs=(new, old, vectors))
        with progress_bar("Aligning"):
            alignment = fit(new, old)
            alignment.save(out)
            users = None if vectors is None else rotate_users(alignment, vectors, out / "vectors.parquet")
        facts = {"out": out, **alignment.facts} | ({} if users is None else {"users": users})
        output.set(facts, _alignment(facts))


def _alignment(facts: dict[str, Any]) -> str:
    """Return the message with the quality of fit, and what no rotation and a random one give."""
    names = {
        "in_sample": "all items, in sample",
        "held_out": "held-out fifth",
        "unaligned": "held-out fifth, not rotated",
        "shuffled": "held-out fifth, items paired at random",
    }
    rows = "\n".join(
        f"{label:38}  {facts[name]['residual']:17.4f}  {facts[name]['cosine']:+11.4f}"
        for name, label in names.items()
    )
    users = f" Aligned {facts['users']:,} user vectors." if "users" in facts else ""
    return (
        f"Wrote {facts['out']}/: rotation from space {facts['new']} to {facts['old']}, fitted on {facts['items']:,} items; "
        f"held-out mean cosine {facts['held_out']['cosine']:.3f}.{users} Similarities across models are approximate.\n"
        f"{'':38}  relative residual  mean cosine\n{rows}"
    )


def push(
    model: ModelFolder,
    repository: Annotated[
        str, typer.Argument(metavar="REPOSITORY", help="org/name; created if it does not exist.")
    ],
    *,
    private: Annotated[bool, typer.Option("--private", help="Create a private repository.")] = False,
    as_json: AsJson = False,
) -> None:
    """Upload a model to the Hugging Face Hub.

    Every command loads it from there as org/name. The write token is read from HF_TOKEN, or from where hf auth login stores
    it. Read the model card, README.md, first: it gives the terms of the training data.
    """
    with reporting(as_json=as_json) as output:
        from tastevec.serving.recommender import load

        with progress_bar("Uploading"):
            opened = load(model)
            address = opened.push_to_hub(repository, private=private or None)
        facts = {"repository": repository, "address": address, "space": opened.bundle.space}
        text = f"Uploaded {model}/ to {address}.\nNext: tastevec recommend {repository} HISTORIES --out recs.parquet"
        output.set(facts, text)


def encode_items(model: ModelFolder, *, out: OutFile, as_json: AsJson = False) -> None:
    """Write the item vectors of a model to a file.

    It is for vector databases. The columns are item_id (ascending), title and vector (a fixed-size list of float32, of unit
    length). A vector of tastevec encode is the query: inner product, cosine and Euclidean distance rank items alike. To compare
    items with items, remove the last coordinate, which is what an item lacks in length (not for bert-cosine and direction, whose
    items have one length). Items without a vector are not in the file.
    """
    with reporting(as_json=as_json) as output:
        from tastevec.serving.recommender import load

        check_replaceable(out, inputs=(model,))
        with progress_bar("Writing item vectors"):
            recommender = load(model)
            items = recommender.encode_items()
            items.save(out)
        noun, dim = recommender.bundle.noun, items.matrix.shape[1]
        missing = len(recommender.item_vectors) - len(items)
        facts = {"out": out, "space": items.space, "dim": dim, "rows": len(items), "without_vector": missing}
        facts["seconds"] = output.seconds
        text = f"Wrote {len(items):,} item vectors to {out} ({dim} dimensions, space {items.space})."
        output.set(facts, f"{text} Without a vector: {noun.counted(missing)}." if missing else text)


def add_items(
    model: ModelFolder,
    items: Annotated[
        Path,
        typer.Argument(
            metavar="ITEMS",
            help="CSV or Parquet file of item_id, title and optional year and genres (separated by |).",
        ),
    ],
    *,
    out: OutFolder,
    tags: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Tags of these items; repeatable.")
    ] = None,
    genome: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Tag genome that the model was trained with, joined by item_id."),
    ] = None,
    text_model: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Sentence encoder that the model was trained with."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add new items to a model without retraining.

    Each gets a vector computed from its metadata, tags and genome row. Vectors of known items do not change.
    """
    with reporting(as_json=as_json) as output:
        from tastevec.pipelines.train import add_items

        with progress_bar("Adding items"):
            bundle = add_items(
                model, items, out, tags=tags or (), genome=genome, text_model=text_model
            ).bundle
        added = bundle.facts["added"]
        facts = {"out": out, "space": bundle.space, "items": len(bundle.items), "added": added}
        facts["seconds"] = output.seconds
        used = ", ".join(f"{name} {count:,}" for name, count in added["known_by"].items())
        output.set(
            facts,
            f"Wrote {out}/: {bundle.noun.counted(len(bundle.items))}, {added['items']:,} of them new ({used}). "
            "The space is unchanged; stored vectors stay valid.",
        )
