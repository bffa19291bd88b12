"""Users of files: interactions of CSV or Parquet as a stream of histories, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tastevec.errors import UnknownItemError
from tastevec.schema import USER_ID
from tastevec.serving.parsed_users import check_known

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

    from tastevec.data.readers import RowReport
    from tastevec.data.streaming import HistoryStream
    from tastevec.data.value_scale import ValueScale
    from tastevec.schema import Unknown


@dataclass(frozen=True, eq=False)
class UserFile:
    """The users of a file.

    Attributes:
        stream: Their histories in batches, by ascending user ID.
        row_report: The rows read and skipped.
        id_type: The type of the user IDs.
        path: The file, or "-".
        unknown: What to do with interactions with unknown items.
    """

    stream: HistoryStream
    row_report: RowReport
    id_type: pa.DataType
    path: Path | Literal["-"]
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
    scale: ValueScale,
    *,
    skip_bad_rows: bool = False,
    memory: str = "2GB",
) -> UserFile:
    """Open the users of a CSV or Parquet file, or of CSV on standard input (``-``).

    Args:
        path: A table with user, item, rating and optional timestamp.
        item_ids: (N,) the catalog.
        scale: The value scale of the model.
        skip_bad_rows: Skip and count invalid rows instead of refusing the file.
        memory: DuckDB memory limit while the file is sorted; larger data spills to disk.

    Raises:
        SourceError: The file is not a table of interactions.
        BadRowError: A row is invalid and ``skip_bad_rows`` is off.
        SettingsError: ``memory`` is invalid or too small, or the disk is full.
    """
    # Imported here: serving reads no files, and runs without DuckDB.
    from tastevec.data.expressions import connect  # noqa: PLC0415  as above
    from tastevec.data.readers import ReadSettings, read_interactions  # noqa: PLC0415  as above
    from tastevec.data.streaming import iter_histories  # noqa: PLC0415  as above

    settings = ReadSettings(skip_bad_rows=skip_bad_rows, rating_range=(scale.low, scale.high))
    table, row_report = read_interactions(path, connection=connect(memory), settings=settings)
    id_type = table.schema().to_pyarrow().field(USER_ID).type
    return UserFile(iter_histories(table, item_ids, scale), row_report, id_type, path)
