"""A Spark per test module: two threads, files read in many pieces, and sorted rows in several parts."""

from __future__ import annotations

import gc
import os
import shutil

import pytest


@pytest.fixture(scope="module")
def spark(tmp_path_factory):
    """Return the session of a running Spark, which every preparation of the module uses."""
    pytest.importorskip("pyspark", reason="pyspark is not installed: pip install 'tastevec[spark]'")
    home = os.environ.get("JAVA_HOME")
    if shutil.which("java", path=home and f"{home}/bin") is None:
        pytest.skip("Spark needs Java, which is missing (Debian: apt-get install openjdk-17-jre-headless)")
    from pyspark.sql import SparkSession  # noqa: PLC0415  only where it is installed

    from tastevec.data.spark.session import launch_conf  # noqa: PLC0415  as above

    settings = launch_conf("local[2]", tmp_path_factory.mktemp("spark"))
    # Short tests need fast compilation rather than fast code.
    settings["spark.driver.extraJavaOptions"] += " -XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
    settings |= {
        "spark.sql.files.maxPartitionBytes": "1000000",
        "spark.sql.files.openCostInBytes": "0",
        "spark.sql.shuffle.partitions": "3",
        "spark.sql.adaptive.enabled": "false",  # it would merge the parts of small tables
    }
    builder = SparkSession.builder
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    yield session
    session.stop()
    gc.collect()  # PySpark leaves sockets open, which would fail later tests
