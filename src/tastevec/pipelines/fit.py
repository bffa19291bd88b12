"""The fit stage: from tables of interactions and items to a model in one call; and the inspection of a source."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from tastevec.data.expressions import connect
from tastevec.data.intake.callers import for_caller, report_for_caller
from tastevec.data.intake.source import read_source
from tastevec.data.intake.stated import STATED, SourceChoices, check_names, intake_settings, item_settings
from tastevec.pipelines.prepare import PrepareSettings, SplitChoices, prepare
from tastevec.pipelines.progress import progress_bar, training_text
from tastevec.serving.recommender import load
from tastevec.training.settings import PRESETS, TrainChoices

if TYPE_CHECKING:
    from collections.abc import Callable

    from tastevec.data.intake.report import IntakeReport
    from tastevec.pipelines.progress import Progress
    from tastevec.schema import Preset
    from tastevec.serving.recommender import Recommender

_STAGES = ("read", "genome", "preprocess", "vectors")
_PREPARE_ONLY = {field.name for field in dataclasses.fields(PrepareSettings)} - {
    "preset",
    "intake",
    "described",
}


@for_caller()
def inspect(source: Any, **stated: Unpack[SourceChoices]) -> IntakeReport:  # noqa: ANN401  any table
    """Return what would be understood of a source, without writing anything.

    Args:
        source: A path, or a table of any library; see `prepare`.
        **stated: Settings of reading, as `prepare` takes them.

    Raises:
        SettingsError: A setting is unknown or out of range.
        DataError: The source cannot be read; ``code`` names a stop that ``accept`` turns into a warning.
    """
    check_names(stated, STATED)
    connection = connect()
    try:
        found = read_source(
            source, connection=connection, settings=intake_settings(stated), items=item_settings(stated)
        )
    finally:
        connection.disconnect()
    return report_for_caller(found.report)


class FitChoices(SplitChoices, TrainChoices, total=False):
    """All keywords of `fit` for `prepare` and `train`."""


@for_caller()
def fit(
    interactions: Any,  # noqa: ANN401  a path, or a table of any library
    items: Any = None,  # noqa: ANN401  as above
    *,
    out: Path | str | None = None,
    prepared: Path | str | None = None,
    preset: Preset = "taste",
    progress: bool | Progress = True,
    show: Callable[[IntakeReport], None] | None = None,
    **settings: Unpack[FitChoices],
) -> Recommender:
    """Return a model of interactions: `prepare` and `train` in one.

    Args:
        interactions: A table of user, item and any of rating, weight, event, timestamp, or a path; see `prepare`.
        items: Item metadata: a table or a path, or several in a list.
        out: The model folder; None keeps the model in memory (`Recommender.save` later).
        prepared: The folder of the prepared dataset, for `evaluate`; None does not keep it.
        preset: ``taste``, ``bert-cosine`` (the research note's model), or ``direction`` (the direction of what users rate highest).
        progress: Print the report to standard error, and show a progress bar in a notebook or a terminal; or a function of
            steps done, their total, and what is done; or False.
        show: Called with the report of what was understood, instead of printing it.
        **settings: Settings of reading and preparing, as `prepare` takes them, and of training, as `train` takes them.

    Raises:
        SettingsError: A setting is unknown or out of range.
        DataError: The interactions cannot be read, or make no sense.
        TrainingError: There are too few users.

    Examples:
        >>> rows = [(user, (user + step) % 12) for user in range(40) for step in range(4)]
        >>> model = fit(rows, columns=["user_id", "item_id"], epochs=1, tune=False, progress=False)
        >>> model.encode([3, 4, 5]).shape
        (64,)
    """
    training = set(PRESETS[preset].model_fields) - {"preset"} if preset in PRESETS else set()
    check_names(settings, {*STATED, *_PREPARE_ONLY, *training})
    reading: dict[str, Any] = {
        name: value for name, value in settings.items() if name in STATED or name in _PREPARE_ONLY
    }
    changes: dict[str, Any] = {name: value for name, value in settings.items() if name in training}
    with (
        tempfile.TemporaryDirectory(prefix="tastevec-fit-") as scratch,
        progress_bar(progress) as step,
    ):
        folder = Path(prepared) if prepared is not None else Path(scratch) / "prepared"
        model = Path(out) if out is not None else Path(scratch) / "model"
        prepare(
            interactions,
            folder,
            show=show or (_print if progress is True else None),
            progress=lambda stage: step(_STAGES.index(stage), len(_STAGES), f"Preparing: {stage}"),
            preset=preset,
            items=items,
            **reading,
        )
        from tastevec.pipelines.train import train  # torch

        train(
            folder,
            model,
            preset=preset,
            progress=lambda done, total, latest: step(done, total, training_text(latest)),
            stage=lambda text: step(0, 1, f"Training: {text}"),
            **changes,
        )
        return load(model)


def _print(report: IntakeReport) -> None:
    """Print the report to standard error, where it does not mix with a result."""
    sys.stderr.write(f"{report}\n")
