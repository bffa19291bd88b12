"""What goes wrong inside Spark, as one sentence."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from tastevec.errors import SettingsError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["first_line", "plain_spark_errors"]

_LONGEST = 300
# Of the source itself, in the words of Spark 3.5 and 4, and of Parquet.
_OF_THE_SOURCE: Final = re.compile(
    "PATH_NOT_FOUND|PARQUET_TYPE_ILLEGAL|UNABLE_TO_INFER_SCHEMA|CANNOT_READ_FILE_FOOTER|FAILED_READ_FILE|is not a Parquet file"
    "|Could not read footer|Encountered error while reading file|does not exist|No FileSystem for scheme"
)


@contextmanager
def plain_spark_errors(doing: str, *, source: str | None = None) -> Iterator[None]:
    """Turn a failure of Spark, met while ``doing`` something, into one sentence.

    Args:
        doing: What was being done.
        source: The source that was being read, if it was.

    Raises:
        SettingsError: A job failed, the JVM is gone, or disk or memory do not suffice.
        SourceError: The source cannot be read.
    """
    from py4j.protocol import Py4JError  # noqa: PLC0415  comes with the extra
    from pyspark.errors import PySparkException  # noqa: PLC0415  as above

    try:
        yield
    except (Py4JError, PySparkException, ConnectionError) as error:
        found = first_line(error)
        if source is not None and _OF_THE_SOURCE.search(f"{found} {error}"):
            raise SourceError(
                f"{source} cannot be read by Spark ({found}); expected a table that every worker reaches; check the address, the "
                "file and Spark's rights, then rerun"
            ) from error
        raise SettingsError(
            f"Spark failed while {doing} ({found}); look into its log, give it what it lacks (memory, disk, workers), then run again"
        ) from error


def first_line(error: BaseException) -> str:
    """The first line of what was said at the bottom of the chain of causes."""
    said = str(error)
    deepest = getattr(error, "java_exception", None) or getattr(error, "_origin", None)
    try:
        while (cause := _cause(deepest)) is not None:
            deepest = cause
        if deepest is not None:
            said = str(deepest.toString())
    except Exception:  # noqa: BLE001, S110  the JVM may be dead: what Python knows must do
        pass
    line = next((line.strip() for line in said.splitlines() if line.strip()), type(error).__name__)
    return line.rstrip(".")[:_LONGEST]


def _cause(thrown: Any) -> Any:  # noqa: ANN401  Java objects
    return None if thrown is None else thrown.getCause()
