"""Spark started, or found running, so that it reckons as DuckDB does and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tastevec.data.spark.failures import plain_spark_errors
from tastevec.data.spark.storage import address_of
from tastevec.errors import MissingExtraError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pyspark.sql import SparkSession

__all__ = ["spark_session"]

# Of a session of our own, so that a caller's stays as it is.
_RECKONING: Final[Mapping[str, str]] = {
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
        for name, value in _starting(master, scratch).items():
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
        for name, value in _RECKONING.items():
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


def _starting(master: str | None, scratch: Path) -> dict[str, str]:
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
