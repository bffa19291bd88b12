"""The Spark session: started or joined, configured to compute as DuckDB does, with its storage and errors."""

from __future__ import annotations

import os
import re
import shutil
import time
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
from ibis.expr.operations import InMemoryTable

from tastevec.errors import MissingExtraError, SettingsError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pyspark.sql import DataFrame, DataFrameReader, SparkSession

__all__ = [
    "Entry",
    "SparkEngine",
    "Storage",
    "address_of",
    "first_line",
    "is_address",
    "plain_spark_errors",
    "reader",
    "spark_engine",
    "spark_session",
]


def is_address(place: str | Path) -> bool:
    """Whether this is an address such as ``s3a://bucket/ratings.parquet`` rather than a path of this machine."""
    return isinstance(place, str) and "://" in place


def address_of(path: Path) -> str:
    """The address of a path of this machine. Not its URI: Hadoop takes an address as it stands, percent signs too."""
    return f"file:{path.resolve()}"


def reader(session: SparkSession) -> DataFrameReader:
    """A reader that takes addresses as they stand, and sees no pattern in ``[1]``."""
    return session.read.option("__globPaths__", "false")


@dataclass(frozen=True)
class Entry:
    """One entry of a folder."""

    name: str
    address: str
    is_folder: bool


@dataclass(frozen=True)
class Storage:
    """Hadoop's file systems, asked through the session's own JVM, so that credentials are Spark's alone."""

    session: SparkSession

    def entries(self, address: str) -> list[Entry]:
        """What lies in this folder, by name; the file itself where it is one.

        Raises:
            py4j.protocol.Py4JJavaError: Nothing is there, or it cannot be reached.
        """
        found = self._system(address).listStatus(self._path(address))
        entries = [
            Entry(status.getPath().getName(), status.getPath().toString(), bool(status.isDirectory()))
            for status in found
        ]
        return sorted(entries, key=lambda entry: entry.name)

    def is_folder(self, address: str) -> bool:
        """Whether there is a folder at this address."""
        return bool(self._system(address).getFileStatus(self._path(address)).isDirectory())

    def fetch(self, address: str, file: Path) -> Path:
        """A copy of what lies there as ``file`` on this machine."""
        # Raw: no checksum file beside the copy.
        self._system(address).copyToLocalFile(False, self._path(address), self._path(address_of(file)), True)  # noqa: FBT003  Java names no arguments
        return file

    def send(self, file: Path, address: str) -> None:
        """A copy of ``file`` at this address."""
        self._system(address).copyFromLocalFile(self._path(address_of(file)), self._path(address))

    def remove(self, address: str) -> None:
        """Take away the folder, if it is there."""
        self._system(address).delete(self._path(address), True)  # noqa: FBT003  as above

    @contextmanager
    def local(self, entry: Entry, scratch: Path) -> Iterator[Path]:
        """The file where this process can read it: itself, or a copy that is gone afterwards."""
        scheme, _, path = entry.address.partition(":")
        if scheme == "file":
            yield Path(path)
            return
        copy = scratch / f"{uuid.uuid4().hex}-{entry.name}"
        try:
            yield self.fetch(entry.address, copy)
        finally:
            with suppress(FileNotFoundError):
                copy.unlink()

    def _path(self, address: str) -> Any:  # noqa: ANN401  a Java object
        return self._jvm.org.apache.hadoop.fs.Path(address)

    def _system(self, address: str) -> Any:  # noqa: ANN401  as above
        return self._path(address).getFileSystem(self.session._jsc.hadoopConfiguration())  # noqa: SLF001  PySpark has no public name for it

    @property
    def _jvm(self) -> Any:  # noqa: ANN401  as above
        return self.session._jvm  # noqa: SLF001  as above


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


# Of a session of our own, so that a caller's stays as it is.
SESSION_CONF: Final[Mapping[str, str]] = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",  # a number that does not fit is an error, not another number
    "spark.sql.caseSensitive": "true",
    "spark.sql.files.ignoreCorruptFiles": "false",  # a truncated file is an error, not fewer ratings
    "spark.sql.files.ignoreMissingFiles": "false",
    "spark.sql.codegen.hugeMethodLimit": "8000",  # Java compiles no larger method, and interprets it row by row
}
_TOLD: Final = ("PYSPARK_SUBMIT_ARGS", "SPARK_CONF_DIR", "SPARK_HOME")  # where others say what Spark shall be
_QUIET: Final = """\
rootLogger.level = error
logger.shell.name = org.apache.spark.api.python.PythonGatewayServer
logger.shell.level = error
rootLogger.appenderRef.stderr.ref = stderr
appender.stderr.type = Console
appender.stderr.name = stderr
appender.stderr.target = SYSTEM_ERR
appender.stderr.layout.type = PatternLayout
appender.stderr.layout.pattern = %d{HH:mm:ss} %p %c{1}: %m%n
"""


@contextmanager
def spark_session(master: str | None, scratch: Path) -> Iterator[SparkSession]:
    """A session of our own: of the Spark that runs already, or of one that is started now and stopped in the end.

    Args:
        master: Where Spark runs, such as ``local[2]`` or ``spark://host:7077``; None is what its own settings say
            (``spark-submit``, ``PYSPARK_SUBMIT_ARGS``, ``spark-defaults.conf``), and this machine if they say nothing.
        scratch: An existing folder for what a Spark inside this machine spills; the caller removes it.

    Raises:
        MissingExtraError: PySpark is not installed.
        SettingsError: There is no Java, Spark does not start, or it runs elsewhere already.
    """
    try:
        from pyspark import SparkContext  # noqa: PLC0415  an extra, and half a second
        from pyspark.sql import SparkSession  # noqa: PLC0415  as above
    except ImportError as error:
        raise MissingExtraError("pyspark", "spark") from error
    running = SparkContext._active_spark_context  # noqa: SLF001  PySpark has no public name for it
    if running is None:
        _refuse_no_java()
        builder = SparkSession.builder
        for name, value in launch_conf(master, scratch).items():
            builder = builder.config(name, value)
    else:
        if master not in {None, running.master}:
            raise SettingsError(
                f"master is {master} and Spark runs on {running.master} already; leave the master out, or stop that session"
            )
        builder = SparkSession.builder
    with plain_spark_errors("starting"):
        shared = builder.getOrCreate()
        session = shared.newSession()
        for name, value in SESSION_CONF.items():
            session.conf.set(name, value)
    try:
        yield session
    finally:
        if running is None:
            with suppress(Exception):  # the JVM may be dead, and what went wrong is being told already
                shared.stop()


def _refuse_no_java() -> None:
    home = os.environ.get("JAVA_HOME")
    if shutil.which("java", path=str(Path(home) / "bin") if home else None) is None:
        raise SettingsError(
            f"Spark needs Java and there is none ({f'JAVA_HOME is {home}' if home else 'no java on the PATH'}); expected "
            "Java 17 or later: install it, such as openjdk-17-jre-headless, or prepare with --engine duckdb"
        )


def launch_conf(master: str | None, scratch: Path) -> dict[str, str]:
    """How Spark is started: as others told it; and where nobody did, inside this machine and quietly."""
    settings = {
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.warehouse.dir": address_of(scratch / "warehouse"),
    }
    if master is not None:
        settings["spark.master"] = master
    if (master or "local").startswith("local") and not any(name in os.environ for name in _TOLD):
        log = scratch / "log4j2.properties"
        log.write_text(_QUIET, encoding="ascii")
        settings |= {
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={log.as_uri()} -XX:-UsePerfData",
            "spark.local.dir": str(scratch),
            "spark.sql.shuffle.partitions": str(4 * (os.cpu_count() or 1)),  # 200 are for a cluster
            "spark.ui.enabled": "false",
        }
    return settings


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

    def upload(self, rows: pa.Table, name: str | None = None) -> DataFrame:
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
                frame = self.upload(told.data.to_pyarrow(told.schema), told.name)
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
