"""Users of files: interactions of any file as a stream of histories, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from tastevec.data.intake.callers import for_caller
from tastevec.data.intake.report import Findings
from tastevec.errors import UnknownItemError
from tastevec.schema import USER_ID
from tastevec.serving.parsed_users import check_known

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

    from tastevec.data.intake.engine import Engine
    from tastevec.data.intake.interactions import Interactions
    from tastevec.data.intake.settings import IntakeSettings
    from tastevec.data.intake.validation import RowReport
    from tastevec.data.streaming import HistoryStream
    from tastevec.schema import Unknown
    from tastevec.serving.parsed_users import ModelReading


@dataclass(frozen=True, eq=False)
class UserFile:
    """The users of a file.

    Attributes:
        stream: Their histories in batches, by ascending user ID.
        row_report: The rows read and skipped.
        id_type: The type of the user IDs.
        path: The file, or "-".
        warnings: What may be wrong.
        unknown: What to do with interactions with unknown items.
    """

    stream: HistoryStream
    row_report: RowReport
    id_type: pa.DataType
    path: Path | Literal["-"]
    warnings: tuple[str, ...] = ()
    unknown: Unknown = "warn"

    def check_unknown(self) -> None:
        """Refuse unknown items at the end of the stream, as `report_unknown` does.

        Raises:
            UnknownItemError: There are some, and ``unknown`` is "raise".
            DataError: Hardly an item is known, and ``unknown`` is not "ignore".
        """
        total, missing = self.stream.interactions, self.stream.unknown
        where = "standard input" if self.path == "-" else str(self.path)
        if missing and self.unknown == "raise":
            raise UnknownItemError(
                f"{where}: {missing:,} of {total:,} interactions are with unknown items. Expected items of the model. Add them with "
                "tastevec add-items, or ignore them with --unknown ignore."
            )
        if self.unknown != "ignore":
            check_known(total - missing, total, where, "Check its item ids, or go on with --unknown ignore.")


def open_file(
    path: Path | Literal["-"],
    item_ids: NDArray[Any],
    model: ModelReading,
    settings: IntakeSettings,
    *,
    memory: str = "2GB",
) -> UserFile:
    """Open the users of a file, a release or a folder of Parquet files, or of a file on standard input (``-``).

    Args:
        path: What has users and items, and, unless feedback is implicit, values; optional times.
        item_ids: (N,) the catalog.
        model: How the model reads interactions.
        settings: How the file is read; kind, scale and repeats are those of the model.
        memory: DuckDB memory limit while the file is sorted; larger data spills to disk.

    Raises:
        SourceError: The file is not a table of interactions.
        BadRowError: A row is invalid and may not be dropped.
        DataError: Values or times make no sense for the model.
        SettingsError: ``memory`` is invalid or too small, or the disk is full.
    """
    # Imported here: serving reads no files, and runs without DuckDB.
    from tastevec.data.expressions import connect  # noqa: PLC0415  as above
    from tastevec.data.intake.engine import DuckEngine  # noqa: PLC0415  as above
    from tastevec.data.streaming import iter_histories  # noqa: PLC0415  as above

    read, warnings = read_users(path, DuckEngine(connect(memory)), model, settings)
    id_type = read.table.schema().to_pyarrow().field(USER_ID).type
    histories = iter_histories(read.table, item_ids, model.scale, model.kept_repeats)
    return UserFile(histories, read.row_report, id_type, path, warnings)


def read_users(
    source: Path | str, engine: Engine, model: ModelReading, settings: IntakeSettings
) -> tuple[Interactions, tuple[str, ...]]:
    """Return the interactions of users as a model reads them, on any engine, and warnings; see `open_file`."""
    from tastevec.data.intake.source import read_histories  # noqa: PLC0415  as above

    findings = Findings(settings.accept, settings.strict)
    settings = replace(settings, repeats=model.repeats, unrated=(*model.unrated, *settings.unrated))
    with for_caller():
        read = read_histories(
            source,
            engine=engine,
            model=model.scale,
            settings=settings,
            events=model.events,
            findings=findings,
        )
    return read, tuple(warning.message for warning in findings.warnings)
