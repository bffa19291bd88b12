"""A failure of Spark is one error message, and no partial output remains."""

import gzip
import os
import re
import subprocess
import sys
from pathlib import Path

import ibis
import pytest

import worlds
from tastevec.data.intake.settings import IntakeSettings
from tastevec.data.spark.session import spark_engine
from tastevec.data.spark.tables import SparkIntake
from tastevec.errors import SettingsError, SourceError
from tastevec.pipelines.prepare import PrepareSettings
from tastevec.pipelines.prepare import write_prepared as prepare

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("spark"),
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
    ),
]
SPARK = PrepareSettings(engine="spark")


def test_master_other_than_the_running_one_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"--master: local\[1\], but Spark already runs on local\[2\]"):
        prepare("source", tmp_path / "out", settings=PrepareSettings(engine="spark", master="local[1]"))


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("file:///nowhere/ratings.parquet", "does not exist"),
        ("nosuch://bucket/ratings.parquet", "No FileSystem for scheme"),
    ],
)
def test_unreachable_address_is_a_source_error_with_the_reason_of_spark(address, found, tmp_path):
    with pytest.raises(SourceError, match=f"{address}: not readable by Spark .*{found}"):
        prepare(address, tmp_path / "out", settings=SPARK)


def test_sources_of_duckdb_alone_are_refused_in_words(tmp_path):
    rows = "user_id,item_id\n1,2\n1,3\n"
    packed = worlds.zip_folder(worlds.write_1m(tmp_path / "release"), tmp_path / "a.zip")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(rows.encode()))
    (tmp_path / "c.jsonl").write_text('{"user_id": 1, "item_id": 2}\n')
    (tmp_path / "d.csv").write_text(rows, encoding="utf-16")
    table = tmp_path / "e.csv"
    table.write_text(rows)
    refused = [
        (packed, {}, "a.zip: is a zip"),
        (f"file://{packed}", {}, "a.zip: is a zip"),
        (tmp_path / "b.csv.gz", {}, "b.csv.gz: is a gzip file"),
        (tmp_path / "c.jsonl", {}, "c.jsonl: has JSON lines"),
        (tmp_path / "d.csv", {}, "d.csv: is in UTF-16"),
        ("-", {}, "interactions: are in memory or on standard input"),
        ([(1, 2, 5.0)], {}, "interactions: are in memory or on standard input"),
        (table, {"time_format": "%Y"}, "--time-format %Y: is read by DuckDB"),
    ]
    with spark_engine(tmp_path) as engine:
        for number, (source, settings, words) in enumerate(refused):
            scratch = tmp_path / f"scratch {number}"
            scratch.mkdir()
            with pytest.raises(SettingsError, match=re.escape(words) + ".*Use --engine duckdb"):
                SparkIntake(engine).open(source, IntakeSettings(**settings), scratch)


@pytest.mark.parametrize("text", [b"", b"user_id,rating\n1,2\n"], ids=["nothing", "no item"])
def test_table_without_rows_or_columns_is_refused_as_on_duckdb(text, tmp_path):
    (tmp_path / "own.csv").write_bytes(text)
    messages = []
    for settings in (SPARK, PrepareSettings()):
        with pytest.raises(SourceError) as caught:
            prepare(tmp_path / "own.csv", tmp_path / "out", settings=settings)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_truncated_parquet_is_a_source_error(tmp_path):
    complete = tmp_path / "complete.parquet"
    ibis.duckdb.connect().read_csv(worlds.write_own_csv(tmp_path)).to_parquet(complete)
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(complete.read_bytes()[:-100])
    with pytest.raises(SourceError, match=r"cut\.parquet: not readable by Spark"):
        prepare(cut, tmp_path / "out", settings=SPARK)


def test_unwritable_scratch_folder_is_a_settings_error_and_keeps_the_old_result(tmp_path):
    source = worlds.write_own_csv(tmp_path)
    before = prepare(source, tmp_path / "out").fingerprint
    there = sorted(tmp_path.iterdir())
    how = PrepareSettings(engine="spark", scratch=f"file://{source}")
    with pytest.raises(SettingsError, match=r"Spark: failed while \w.* \(.*\)\. Expected") as caught:
        prepare(source, tmp_path / "out", settings=how)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == there
    assert prepare(source, tmp_path / "out").fingerprint == before


KILLING = """
import os, signal, subprocess, sys, threading, time
from pathlib import Path
from tastevec.errors import SettingsError
from tastevec.pipelines.prepare import PrepareSettings
from tastevec.pipelines.prepare import write_prepared as prepare

def children(pid):
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
    return [int(child) for child in found] + [deeper for child in found for deeper in children(child)]

def kill_when_writing(name):
    def wait():
        while not any(Path().glob(".tastevec-spark-*/lines-*/_temporary/*")):
            time.sleep(0.02)
        mine = [pid for pid in children(os.getpid()) if name in Path(f"/proc/{pid}/cmdline").read_text()]
        os.kill(mine[0], signal.SIGKILL)
        print("killed", name, flush=True)
    threading.Thread(target=wait, daemon=True).start()

how = PrepareSettings(engine="spark", master="local-cluster[2,1,1024]")
kill_when_writing("CoarseGrainedExecutorBackend")
print(prepare(sys.argv[1], Path("out"), settings=how).fingerprint, flush=True)
kill_when_writing("SparkSubmit")
try:
    prepare(sys.argv[1], Path("out"), settings=how)
except SettingsError as error:
    print(error)
"""


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc to find Spark's workers")
def test_killed_worker_changes_nothing_and_killed_spark_keeps_the_old_result(tmp_path):
    source = worlds.write_csv_release(tmp_path / "release")
    here = tmp_path / "here"
    here.mkdir()
    environment = os.environ | {"SPARK_WORKER_DIR": str(tmp_path / "workers"), "SPARK_LOCAL_IP": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-c", KILLING, str(source)],
        cwd=here, env=environment, capture_output=True, text=True, check=False, timeout=500,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    expected = prepare(source, tmp_path / "expected").fingerprint
    assert lines[:3] == ["killed CoarseGrainedExecutorBackend", expected, "killed SparkSubmit"], done.stderr
    assert lines[3].startswith("Spark: failed while reading the interactions (")
    assert len(lines) == 4
    # Workers that outlive a killed Spark write for a moment more, and may make a folder again that was gone.
    assert {path.name.partition("-")[0] for path in here.iterdir()} <= {"out", ".tastevec"}
    assert [path.name for path in here.iterdir() if path.name == "out"] == ["out"]
    assert prepare(source, tmp_path / "expected").fingerprint == expected
