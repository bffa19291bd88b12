"""One source prepared by DuckDB and by Spark, and what must then be equal: every byte and every count."""

from __future__ import annotations

import dataclasses
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from tastevec.data.expressions import connect
from tastevec.data.preprocess import PreprocessSettings, find_split_timestamp, preprocess
from tastevec.data.readers import ReadSettings, read_source
from tastevec.data.spark.reading import read_source as read_on_spark
from tastevec.data.spark.session import spark_engine
from tastevec.pipelines.prepare import PrepareSettings
from tastevec.pipelines.prepare import write_prepared as prepare

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tastevec.data.readers import Source


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every file of the folder."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()
    }


@contextmanager
def read_by(engine: str, path: Path | str, root: Path, **settings: Any) -> Iterator[tuple[Source, Any]]:
    """The source, and the engine that has its interactions."""
    how = ReadSettings(**settings)
    with closing_connection() as connection:
        if engine == "duckdb":
            yield read_source(path, connection=connection, settings=how), connection
        else:
            with spark_engine(root) as spark:
                yield read_on_spark(path, engine=spark, connection=connection, settings=how), spark


@contextmanager
def closing_connection() -> Iterator[Any]:
    """A DuckDB that is closed afterwards."""
    connection = connect("500MB")
    with closing(connection.con):
        yield connection


def arranged_by(engine: str, path: Path | str, root: Path, **settings: Any) -> dict[str, Any]:
    """What is read and arranged of a source, by name: files, counts and the account of every row.

    Args:
        engine: "duckdb" or "spark".
        path: The source.
        root: An existing folder.
        settings: Of reading, and ``arranging``; a temporal split finds its own timestamp.
    """
    arranging = settings.pop("arranging", {})
    folder = root / engine
    folder.mkdir()
    with read_by(engine, path, root, **settings) as (source, connection):
        if arranging.get("split_strategy") == "temporal":
            arranging = arranging | {
                "split_timestamp": find_split_timestamp(source, connection, later_share=0.1)
            }
        counts = preprocess(source, folder, PreprocessSettings(**arranging), connection)
        result = {
            "split_timestamp": arranging.get("split_timestamp"),
            "counts": dataclasses.asdict(counts),
            "row_reports": source.row_reports,
        }
    return result | {"files": bytes_of(folder)}


def prepared_by_both(source: Path | str, root: Path, **settings: Any) -> list[dict[str, Any]]:
    """Return the manifests of both engines, with all checksums, without timings and engine name."""
    manifests = []
    for engine in ("duckdb", "spark"):
        made = prepare(source, root / engine, settings=PrepareSettings(engine=engine, **settings)).manifest
        assert made["settings"].pop("engine") == engine
        del made["timings"]
        manifests.append(made)
    return manifests
