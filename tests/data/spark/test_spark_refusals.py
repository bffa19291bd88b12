"""What is refused before any Spark is started."""

import sys

import pytest

import worlds
from tastevec.data.spark.session import first_line
from tastevec.errors import MissingExtraError, SettingsError
from tastevec.pipelines.prepare import PrepareSettings
from tastevec.pipelines.prepare import write_prepared as prepare

SPARK = PrepareSettings(engine="spark")


def test_without_pyspark_the_line_that_installs_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with pytest.raises(
        MissingExtraError, match=r"pyspark is not installed; run: pip install 'tastevec\[spark\]'"
    ):
        prepare(worlds.write_own_csv(tmp_path), tmp_path / "out", settings=SPARK)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("home", [None, "nowhere"])
def test_without_java_that_is_told_before_anything_starts(home, tmp_path, monkeypatch):
    pyspark = pytest.importorskip("pyspark")
    monkeypatch.setattr(pyspark.SparkContext, "_active_spark_context", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("JAVA_HOME", home) if home else monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(
        SettingsError, match=r"Spark needs Java and there is none .*; expected Java 17 or later"
    ):
        prepare(worlds.write_own_csv(tmp_path), tmp_path / "out", settings=SPARK)


@pytest.mark.parametrize("setting", [{"master": "local[2]"}, {"scratch": "s3a://bucket/tmp"}])
def test_what_is_spark_s_alone_is_refused_without_it(setting):
    with pytest.raises(SettingsError, match="both are Spark's: add --engine spark"):
        PrepareSettings(**setting)


def test_an_address_is_refused_without_spark(tmp_path):
    with pytest.raises(SettingsError, match="s3a://bucket/ml-32m: an address, which only Spark reads"):
        prepare("s3a://bucket/ml-32m", tmp_path / "out")


def test_what_spark_does_not_say_is_named_by_its_kind():
    assert first_line(ConnectionResetError()) == "ConnectionResetError"
    assert first_line(ValueError("one\ntwo")) == "one"
