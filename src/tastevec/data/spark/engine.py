"""Expressions run by Spark: every result but the smallest passes through Parquet, on disk, in its order."""

from __future__ import annotations

import shutil
import time
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
from ibis.expr.operations import InMemoryTable

from tastevec.data.spark.failures import plain_spark_errors
from tastevec.data.spark.session import spark_session
from tastevec.data.spark.storage import Entry, Storage, address_of, reader
from tastevec.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pyspark.sql import DataFrame, SparkSession

__all__ = ["SparkEngine", "spark_engine"]

_ROWS = 131_072  # a batch of five columns is about 4 MB
_TRIES, _PAUSE_S = 20, 0.5


@contextmanager
def spark_engine(
    place: Path, *, master: str | None = None, scratch: str | None = None
) -> Iterator[SparkEngine]:
    """Spark, with a folder for what passes between it and this process; the folder is gone afterwards.

    Args:
        place: An existing folder of this machine, in which a temporary one is made.
        master: As for ``spark_session``.
        scratch: The address of a folder that all workers and this process reach, where ``place`` is not one.

    Raises:
        MissingExtraError: PySpark is not installed.
        SettingsError: Spark does not start.
    """
    name = f".tastevec-spark-{uuid.uuid4().hex}"
    local = (place / name).resolve()
    local.mkdir()
    try:
        with spark_session(master, local) as session:
            shared = address_of(local) if scratch is None else f"{scratch.rstrip('/')}/{name}"
            engine = SparkEngine(session, local, shared)
            try:
                yield engine
            finally:
                if scratch is not None:
                    with suppress(Exception):  # whatever went wrong before is being told already
                        engine.storage.remove(shared)
    finally:
        _remove(local)


@dataclass(frozen=True)
class SparkEngine:
    """What an arrangement asks of an engine, answered by Spark.

    Attributes:
        session: Where the views are.
        local: A folder of this process alone.
        shared: The address of a folder of the workers and of this process.
    """

    session: SparkSession
    local: Path
    shared: str
    _lent: set[str] = field(default_factory=set, repr=False)

    @property
    def storage(self) -> Storage:
        """The file systems that Spark reaches."""
        return Storage(self.session)

    def fresh(self, what: str) -> str:
        """An address in the shared folder that nobody has."""
        return f"{self.shared}/{what}-{uuid.uuid4().hex}"

    def table(self, frame: DataFrame, schema: dict[str, str]) -> ibis.Table:
        """The frame as a table for expressions that this engine will run."""
        name = f"rows_{uuid.uuid4().hex}"
        frame.createOrReplaceTempView(name)
        return ibis.table(schema, name=name)

    def to_pyarrow(self, table: ibis.Table) -> pa.Table:
        """All rows, in their order, in the types of the expression.

        Raises:
            SettingsError: Spark fails.
        """
        schema = table.schema().to_pyarrow()
        return pa.Table.from_batches(list(self.spooled(table)), schema).combine_chunks()

    def spooled(self, table: ibis.Table) -> Iterator[pa.RecordBatch]:
        """The rows of ``table`` in its order, a batch at a time; Spark writes them in order, in parts.

        Raises:
            SettingsError: Spark fails.
        """
        schema, address, found = table.schema().to_pyarrow(), self.fresh("rows"), 0
        with plain_spark_errors("arranging the interactions"):
            written = self.write(self._frame(table), address)
            parts = [part for part in self.storage.entries(address) if part.name.startswith("part-")]
        for part in sorted(parts, key=_number):
            for batch in self._read(part, schema):
                found += batch.num_rows
                yield batch
        self.refuse_loss(written, found)
        with plain_spark_errors("taking away what was read"):
            self.storage.remove(address)

    def write(self, frame: DataFrame, address: str) -> int:
        """Write the frame as Parquet; how many rows the workers say they wrote."""
        from pyspark.sql import Observation  # noqa: PLC0415  an extra
        from pyspark.sql.functions import expr  # noqa: PLC0415  as above

        seen = Observation()
        frame.observe(seen, expr("count(*) AS rows")).write.parquet(address)
        return int(seen.get["rows"])

    def refuse_loss(self, written: int, found: int) -> None:
        """Nothing, if every row that the workers wrote is found.

        Raises:
            SettingsError: Some are not: each worker has a disk of its own at that address.
        """
        if written != found:
            raise SettingsError(
                f"Spark's workers wrote {written} rows into {self.shared} and {found} of them are there; expected a folder that "
                "all of them and this machine share: name one with --scratch"
            )

    def lend(self, rows: pa.Table, name: str | None = None) -> DataFrame:
        """The rows as a frame: written as Parquet where the workers can read them."""
        name = name or f"lent_{uuid.uuid4().hex}"
        file, address = self.local / f"{name}.parquet", f"{self.shared}/{name}.parquet"
        pq.write_table(rows, file)
        with plain_spark_errors("handing rows to it"):
            if address != address_of(file):
                self.storage.send(file, address)
                file.unlink()
            return reader(self.session).parquet(address)

    def _read(self, part: Entry, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        with (
            plain_spark_errors("fetching what it arranged"),
            self.storage.local(part, self.local) as file,
            pq.ParquetFile(file, pre_buffer=False) as rows,  # a pre-buffer would hold whole columns
        ):
            for batch in rows.iter_batches(batch_size=_ROWS):
                yield batch.cast(schema)

    def _frame(self, table: ibis.Table) -> DataFrame:
        for told in table.op().find(InMemoryTable):
            if told.name not in self._lent:
                frame = self.lend(told.data.to_pyarrow(told.schema), told.name)
                frame.createOrReplaceTempView(told.name)
                self._lent.add(told.name)
        return self.session.sql(_sql(table))


def _number(part: Entry) -> tuple[int, str]:
    """The place of a part among the others: after 99999 their names have a digit more."""
    return int(part.name.split("-")[1]), part.name


def _sql(table: ibis.Table) -> Any:  # noqa: ANN401  text
    ibis.pyspark  # noqa: B018  loads the options that its compiler asks for
    return str(ibis.to_sql(table, dialect="pyspark"))


def _remove(folder: Path) -> None:
    """Take the folder away; workers that outlive a killed Spark may write into it for some seconds more."""
    for _ in range(_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(_PAUSE_S)
