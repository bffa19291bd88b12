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


def is_address(path: str | Path) -> bool:
    """Return whether this is an address such as ``s3a://bucket/ratings.parquet`` rather than a local path."""
    return isinstance(path, str) and "://" in path


def address_of(path: Path) -> str:
    """Return the address of a local path. It is no URI: Hadoop reads percent signs literally."""
    return f"file:{path.resolve()}"


def reader(session: SparkSession) -> DataFrameReader:
    """Return a reader that reads addresses literally, without glob patterns such as ``[1]``."""
    return session.read.option("__globPaths__", "false")


@dataclass(frozen=True)
class Entry:
    """One entry of a folder."""

    name: str
    address: str


@dataclass(frozen=True)
class Storage:
    """Hadoop's file systems, through the session's own JVM, so that only Spark needs credentials."""

    session: SparkSession

    def entries(self, address: str) -> list[Entry]:
        """Return the entries of a folder by name; of a file, the file itself.

        Raises:
            py4j.protocol.Py4JJavaError: The address does not exist or cannot be reached.
        """
        paths = [status.getPath() for status in self._system(address).listStatus(self._path(address))]
        return sorted(
            (Entry(path.getName(), path.toString()) for path in paths), key=lambda entry: entry.name
        )

    def is_folder(self, address: str) -> bool:
        """Return whether this is the address of a folder."""
        return bool(self._system(address).getFileStatus(self._path(address)).isDirectory())

    def fetch(self, address: str, file: Path) -> Path:
        """Copy the file at this address to the local ``file``."""
        # Raw: no checksum file next to the copy.
        self._system(address).copyToLocalFile(False, self._path(address), self._path(address_of(file)), True)  # noqa: FBT003  Java names no arguments
        return file

    def head(self, address: str, size: int) -> bytes:
        """Return the first bytes of the file at this address."""
        stream = self._system(address).open(self._path(address))
        try:
            return bytes(stream.readNBytes(size))
        finally:
            stream.close()

    def send(self, file: Path, address: str) -> None:
        """Copy the local ``file`` to this address."""
        self._system(address).copyFromLocalFile(self._path(address_of(file)), self._path(address))

    def remove(self, address: str) -> None:
        """Remove the folder, if it exists."""
        self._system(address).delete(self._path(address), True)  # noqa: FBT003  as above

    @contextmanager
    def local(self, entry: Entry, scratch: Path) -> Iterator[Path]:
        """Yield a local path of the file: its own, or a copy that is removed afterwards."""
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
        jvm: Any = self.session._jvm  # noqa: SLF001  PySpark has no public name for it
        return jvm.org.apache.hadoop.fs.Path(address)

    def _system(self, address: str) -> Any:  # noqa: ANN401  as above
        return self._path(address).getFileSystem(self.session._jsc.hadoopConfiguration())  # noqa: SLF001  as above


_LONGEST = 300
# Errors of the source in Spark 3.5 and 4, and in Parquet.
_SOURCE_ERRORS: Final = re.compile(
    "PATH_NOT_FOUND|PARQUET_TYPE_ILLEGAL|UNABLE_TO_INFER_SCHEMA|CANNOT_READ_FILE_FOOTER|FAILED_READ_FILE|is not a Parquet file"
    "|Could not read footer|Encountered error while reading file|does not exist|No FileSystem for scheme"
)


@contextmanager
def spark_errors(doing: str, *, source: str | None = None) -> Iterator[None]:
    """Raise an error of this package for every failure of Spark while ``doing`` something, such as reading a ``source``.

    Raises:
        SettingsError: A job failed, the JVM ended, or disk or memory do not suffice.
        SourceError: Spark cannot read the source.
    """
    from py4j.protocol import Py4JError  # noqa: PLC0415  comes with the extra
    from pyspark.errors import PySparkException  # noqa: PLC0415  as above

    try:
        yield
    except (Py4JError, PySparkException, ConnectionError) as error:
        found = first_line(error)
        if source is not None and _SOURCE_ERRORS.search(f"{found} {error}"):
            raise SourceError(
                f"{source}: not readable by Spark ({found}). Expected a table that every worker can read. Check the address, the file "
                "and Spark's permissions."
            ) from error
        raise SettingsError(
            f"Spark: failed while {doing} ({found}). Expected enough memory, disk and workers. Read Spark's log, then run again."
        ) from error


def first_line(error: BaseException) -> str:
    """Return the first line of the message of the innermost cause."""
    message = str(error)
    deepest = getattr(error, "java_exception", None) or getattr(error, "_origin", None)
    try:
        while deepest is not None and (cause := deepest.getCause()) is not None:
            deepest = cause
        if deepest is not None:
            message = str(deepest.toString())
    except Exception:  # noqa: BLE001, S110  the JVM may have ended: Python's message remains
        pass
    line = next((line.strip() for line in message.splitlines() if line.strip()), type(error).__name__)
    return line.rstrip(".")[:_LONGEST]


# Set in a new session, so that a caller's session does not change.
SESSION_CONF: Final[Mapping[str, str]] = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",  # a number that does not fit is an error, not another number
    "spark.sql.caseSensitive": "true",
    "spark.sql.files.ignoreCorruptFiles": "false",  # a truncated file is an error, not fewer ratings
    "spark.sql.files.ignoreMissingFiles": "false",
    "spark.sql.codegen.hugeMethodLimit": "8000",  # Java compiles no larger method, and interprets it row by row
}
# Where a user configures Spark.
_CONFIGURED_BY: Final = ("PYSPARK_SUBMIT_ARGS", "SPARK_CONF_DIR", "SPARK_HOME")
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
    """Yield a new session of the running Spark, or of one that is started and stopped here and spills into ``scratch``.

    The master is such as ``local[2]`` or ``spark://host:7077``; by default it is what Spark's own settings name
    (``spark-submit``, ``PYSPARK_SUBMIT_ARGS``, ``spark-defaults.conf``), else this machine.

    Raises:
        MissingExtraError: PySpark is not installed.
        SettingsError: Java is missing, Spark does not start, or it already runs with another master.
    """
    try:
        from pyspark import SparkContext  # noqa: PLC0415  an extra, and half a second
        from pyspark.sql import SparkSession  # noqa: PLC0415  as above
    except ImportError as error:
        raise MissingExtraError("pyspark", "spark") from error
    running = SparkContext._active_spark_context  # noqa: SLF001  PySpark has no public name for it
    builder = SparkSession.builder
    if running is None:
        _require_java()
        for name, value in launch_conf(master, scratch).items():
            builder = builder.config(name, value)
    elif master not in {None, running.master}:
        raise SettingsError(
            f"--master: {master}, but Spark already runs on {running.master}. Expected the same master. Omit --master, or stop that session."
        )
    with spark_errors("starting"):
        shared = builder.getOrCreate()
        session = shared.newSession()
        for name, value in SESSION_CONF.items():
            session.conf.set(name, value)
    try:
        yield session
    finally:
        if running is None:
            with suppress(Exception):  # the JVM may have ended, and its error is being raised
                shared.stop()


def _require_java() -> None:
    home = os.environ.get("JAVA_HOME")
    if shutil.which("java", path=str(Path(home) / "bin") if home else None) is None:
        raise SettingsError(
            f"Spark: no Java found ({f'JAVA_HOME is {home}' if home else 'no java on the PATH'}). Expected Java 17 or newer. "
            "Install it (Debian: apt-get install openjdk-17-jre-headless), or use --engine duckdb."
        )


def launch_conf(master: str | None, scratch: Path) -> dict[str, str]:
    """Return the settings of a new Spark; without a master and without other settings, it is local and quiet."""
    settings = {
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.warehouse.dir": address_of(scratch / "warehouse"),
    }
    if master is not None:
        settings["spark.master"] = master
    if (master or "local").startswith("local") and not any(name in os.environ for name in _CONFIGURED_BY):
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
    folder: Path, *, master: str | None = None, scratch: str | None = None
) -> Iterator[SparkEngine]:
    """Yield Spark with a temporary folder in ``folder`` for data exchange with this process.

    ``scratch`` is the address of a folder that all workers and this process can reach, if ``folder`` is not one.

    Raises:
        MissingExtraError: PySpark is not installed.
        SettingsError: Spark does not start.
    """
    name = f".tastevec-spark-{uuid.uuid4().hex}"
    local = (folder / name).resolve()
    local.mkdir()
    try:
        with spark_session(master, local) as session:
            shared = address_of(local) if scratch is None else f"{scratch.rstrip('/')}/{name}"
            engine = SparkEngine(session, local, shared)
            try:
                yield engine
            finally:
                if scratch is not None:
                    with suppress(Exception):  # an earlier error is being raised
                        engine.storage.remove(shared)
    finally:
        _remove(local)


@dataclass(frozen=True)
class SparkEngine:
    """Runs the expressions of a preparation on Spark.

    Attributes:
        session: The session with the views.
        local: A folder of this process.
        shared: The address of a folder that the workers and this process share.
    """

    session: SparkSession
    local: Path
    shared: str
    _uploaded: set[str] = field(default_factory=set, repr=False)

    @property
    def storage(self) -> Storage:
        """The file systems that Spark can reach."""
        return Storage(self.session)

    def fresh(self, prefix: str) -> str:
        """Return a new address in the shared folder."""
        return f"{self.shared}/{prefix}-{uuid.uuid4().hex}"

    def table(self, frame: DataFrame, schema: ibis.Schema | Mapping[str, Any]) -> ibis.Table:
        """Return the frame as a table for expressions of this engine."""
        name = f"rows_{uuid.uuid4().hex}"
        frame.createOrReplaceTempView(name)
        return ibis.table(schema, name=name)

    def to_pyarrow(self, table: ibis.Table) -> pa.Table:
        """Return all rows in their order, in the types of the expression."""
        schema = table.schema().to_pyarrow()
        return pa.Table.from_batches(list(self.materialize(table)), schema).combine_chunks()

    def materialize(self, table: ibis.Table) -> Iterator[pa.RecordBatch]:
        """Yield the rows of ``table`` in its order, in batches; Spark writes them in order, in parts."""
        schema, address, found = table.schema().to_pyarrow(), self.fresh("rows"), 0
        with spark_errors("preprocessing the interactions"):
            written = self.write(self.frame(table), address)
            parts = [part for part in self.storage.entries(address) if part.name.startswith("part-")]
        # By number: after 99999 the names have one digit more.
        for part in sorted(parts, key=lambda part: (int(part.name.split("-")[1]), part.name)):
            for batch in self._read(part, schema):
                found += batch.num_rows
                yield batch
        self.refuse_loss(written, found)
        with spark_errors("removing temporary files"):
            self.storage.remove(address)

    def write(self, frame: DataFrame, address: str) -> int:
        """Write the frame as Parquet and return the number of rows that the workers wrote."""
        from pyspark.sql import Observation  # noqa: PLC0415  an extra
        from pyspark.sql.functions import expr  # noqa: PLC0415  as above

        seen = Observation()
        frame.observe(seen, expr("count(*) AS rows")).write.parquet(address)
        return int(seen.get["rows"])

    def refuse_loss(self, written: int, found: int) -> None:
        """Check that this process finds every row that the workers wrote.

        Raises:
            SettingsError: Rows are missing, since each worker has its own disk at that address.
        """
        if written != found:
            raise SettingsError(
                f"{self.shared}: {found} of the {written} rows that Spark's workers wrote. Expected a folder that all workers and this "
                "machine share. Name one with --scratch."
            )

    def upload(self, rows: pa.Table, name: str | None = None) -> DataFrame:
        """Write the rows as Parquet where the workers can read them, and return them as a frame."""
        name = name or f"uploaded_{uuid.uuid4().hex}"
        file, address = self.local / f"{name}.parquet", f"{self.shared}/{name}.parquet"
        pq.write_table(rows, file)
        with spark_errors("uploading rows"):
            if address != address_of(file):
                self.storage.send(file, address)
                file.unlink()
            return reader(self.session).parquet(address)

    def _read(self, part: Entry, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        with (
            spark_errors("reading the results"),
            self.storage.local(part, self.local) as file,
            pq.ParquetFile(file, pre_buffer=False) as rows,  # a pre-buffer would hold complete columns
        ):
            for batch in rows.iter_batches(batch_size=_ROWS):
                yield batch.cast(schema)

    def frame(self, table: ibis.Table) -> DataFrame:
        """Return the table as a frame."""
        for memtable in table.op().find(InMemoryTable):
            if memtable.name not in self._uploaded:
                frame = self.upload(memtable.data.to_pyarrow(memtable.schema), memtable.name)
                frame.createOrReplaceTempView(memtable.name)
                self._uploaded.add(memtable.name)
        ibis.pyspark  # noqa: B018  loads the options of its compiler
        return self.session.sql(str(ibis.to_sql(table, dialect="pyspark")))


def _remove(folder: Path) -> None:
    """Remove the folder; workers that outlive a killed Spark may write into it for some seconds more."""
    for _ in range(_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(_PAUSE_S)
