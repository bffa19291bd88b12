"""Errors before any Spark is started."""

import sys

import pytest

import worlds
from tastevec.data.spark.session import first_line
from tastevec.errors import MissingExtraError, SettingsError
from tastevec.pipelines.prepare import PrepareSettings
from tastevec.pipelines.prepare import write_prepared as prepare

SPARK = PrepareSettings(engine="spark")


def test_missing_pyspark_names_the_install_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with pytest.raises(
        MissingExtraError,
        match=r"pyspark is not installed\. Expected the extra spark\. Run: pip install 'tastevec\[spark\]'",
    ):
        prepare(worlds.write_own_csv(tmp_path), tmp_path / "out", settings=SPARK)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("home", [None, "nowhere"])
def test_missing_java_is_a_settings_error(home, tmp_path, monkeypatch):
    pyspark = pytest.importorskip("pyspark")
    monkeypatch.setattr(pyspark.SparkContext, "_active_spark_context", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("JAVA_HOME", home) if home else monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(SettingsError, match=r"Spark: no Java found .*\. Expected Java 17 or newer"):
        prepare(worlds.write_own_csv(tmp_path), tmp_path / "out", settings=SPARK)


@pytest.mark.parametrize("setting", [{"master": "local[2]"}, {"scratch": "s3a://bucket/tmp"}])
def test_spark_setting_without_spark_is_refused(setting):
    with pytest.raises(SettingsError, match="Expected both with Spark only"):
        PrepareSettings(**setting)


def test_address_without_spark_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="s3a://bucket/ml-32m: an address, which only Spark reads"):
        prepare("s3a://bucket/ml-32m", tmp_path / "out")


def test_first_line_of_an_error_without_a_message_is_its_type():
    assert first_line(ConnectionResetError()) == "ConnectionResetError"
    assert first_line(ValueError("one\ntwo")) == "one"
