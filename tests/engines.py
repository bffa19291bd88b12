"""Read, preprocess and prepare one source with DuckDB and with Spark, for tests that compare the results."""

from __future__ import annotations

import dataclasses
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from tastevec.data.expressions import connect
from tastevec.data.intake.settings import IntakeSettings
from tastevec.data.intake.source import read_source
from tastevec.data.preprocess import PreprocessSettings, find_split_timestamp, preprocess
from tastevec.data.spark.session import spark_engine
from tastevec.data.spark.tables import SparkIntake
from tastevec.errors import TastevecError
from tastevec.pipelines.prepare import PrepareSettings
from tastevec.pipelines.prepare import write_prepared as prepare

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tastevec.data.intake.source import Source


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file of the folder, by path."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()
    }


@contextmanager
def read_by(engine: str, path: Path | str, folder: Path, **settings: Any) -> Iterator[tuple[Source, Any]]:
    """Yield the source and the engine with its interactions; Spark exchanges data in ``folder``."""
    how = IntakeSettings(**settings)
    with closing_connection() as connection:
        if engine == "duckdb":
            yield read_source(path, connection=connection, settings=how), connection
        else:
            with spark_engine(folder) as spark:
                yield read_source(path, connection=connection, settings=how, engine=SparkIntake(spark)), spark


@contextmanager
def closing_connection() -> Iterator[Any]:
    """Yield a DuckDB that is closed afterwards."""
    connection = connect("500MB")
    with closing(connection.con):
        yield connection


def preprocessed_by(engine: str, path: Path | str, parent: Path, **settings: Any) -> dict[str, Any]:
    """Return the files, the counts and the report of a preprocessed source, or the error that refuses it.

    Args:
        engine: "duckdb" or "spark".
        path: The source.
        parent: An existing folder.
        settings: Of `IntakeSettings`, and ``preprocessing``; a temporal split finds its own timestamp.
    """
    preprocessing = settings.pop("preprocessing", {})
    folder = parent / engine
    folder.mkdir()
    try:
        with read_by(engine, path, parent, **settings) as (source, connection):
            if preprocessing.get("split_strategy") == "temporal":
                preprocessing = preprocessing | {
                    "split_timestamp": find_split_timestamp(source, connection, later_share=0.1)
                }
            counts, scale = preprocess(source, folder, PreprocessSettings(**preprocessing), connection)
    except TastevecError as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {
        "split_timestamp": preprocessing.get("split_timestamp"),
        "counts": dataclasses.asdict(counts),
        "scale": scale,
        "feedback": source.feedback,
        "order": source.order,
        "report": str(source.report).splitlines(),
        "row_reports": source.row_reports,
        "files": bytes_of(folder),
    }


def prepared_by_both(source: Path | str, parent: Path, **settings: Any) -> list[dict[str, Any]]:
    """Return the manifests of both engines without timings and engine; they contain the checksum of every file."""
    manifests = []
    for engine in ("duckdb", "spark"):
        made = prepare(source, parent / engine, settings=PrepareSettings(engine=engine, **settings)).manifest
        assert made["settings"].pop("engine") == engine
        del made["timings"]
        manifests.append(made)
    return manifests
