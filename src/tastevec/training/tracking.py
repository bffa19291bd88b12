"""Experiment tracking: where the training curves go, as callbacks of the Trainer."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch.utils.tensorboard import SummaryWriter
from transformers import TrainerCallback
from transformers.integrations.integration_utils import TensorBoardCallback

from tastevec.training.distributed import rank

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from transformers import TrainerState

    from tastevec.training.settings import NoteSettings, TasteSettings


@contextmanager
def tracking(settings: TasteSettings | NoteSettings, folder: Path) -> Iterator[list[TrainerCallback]]:
    """Yield the callbacks that write the curves of a run, in rank 0; those of W&B are the Trainer's own.

    Args:
        settings: ``report_to``, and what MLflow stores as parameters.
        folder: Of the run. TensorBoard's curves are in ``tensorboard``; MLflow's run has its name.
    """
    if settings.report_to == "tensorboard" and not rank():
        yield [TensorBoardCallback(SummaryWriter(folder / "tensorboard"))]
    elif settings.report_to == "mlflow" and not rank():
        import mlflow  # noqa: PLC0415  an extra

        # Its environment says where, such as MLFLOW_TRACKING_URI; by default a local store in the working directory.
        with mlflow.start_run(run_name=folder.name.removesuffix(".training"), nested=True):
            mlflow.log_params(settings.model_dump())
            yield [_MlflowCallback(mlflow)]
    else:
        yield []


class _MlflowCallback(TrainerCallback):
    """Writes each entry of the log to the active run of MLflow, which ends it, as failed after an error."""

    def __init__(self, mlflow: Any) -> None:  # noqa: ANN401  the module
        self.mlflow = mlflow

    def on_log(
        self,
        args: object,  # noqa: ARG002  the Trainer names it
        state: TrainerState,
        *_: object,
        logs: dict[str, float] | None = None,
        **__: object,
    ) -> None:
        """Write the metrics; in their names MLflow has no ``@``."""
        if state.is_world_process_zero:
            metrics = {name.replace("@", "_at_"): float(value) for name, value in (logs or {}).items()}
            self.mlflow.log_metrics(metrics, step=state.global_step)
