"""The rules of IDs, numbers and times have the same results on Spark as in their table of spellings."""

import ibis
import pyarrow as pa
import pytest

from spellings import IDS, NUMBERS, TIMES
from tastevec.data.intake import rules, spelling
from tastevec.data.spark import session
from tastevec.data.spark.session import spark_engine

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("spark"),
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
    ),
]


def test_each_spelling_is_read_on_spark_as_on_duckdb(tmp_path, monkeypatch):
    for name in (
        "spark.sql.codegen.wholeStage",
        "spark.sql.codegen.factoryMode",
    ):  # it takes longer than these rows
        monkeypatch.setitem(session.SESSION_CONF, name, "NO_CODEGEN" if name.endswith("Mode") else "false")
    tables = ((IDS, rules.read_id), (NUMBERS, rules.read_number), (TIMES, _read_time))
    with spark_engine(tmp_path) as engine:
        for spellings, rule in tables:
            texts = pa.array([text for text, _ in spellings])
            table = ibis.memtable(pa.table({"x": texts, "n": range(len(texts))}))
            read = rule(table.x)
            rows = engine.to_pyarrow(table.select(n=table.n, value=read.value, error=read.error)).sort_by("n")
            found = [row["value"] if row["error"] is None else row["error"] for row in rows.to_pylist()]
            assert found == [expected for _, expected in spellings]


def test_times_are_counted_on_spark_as_on_duckdb(tmp_path):
    texts = [
        "1700000000",
        "2019-10-01",
        "03/04/2019",
        "13/04/2019",
        "20230321",
        "1700000000000",
        "x",
        "",
        None,
    ]
    table = ibis.memtable(pa.table({"x": texts, "position": range(len(texts))}))
    counts = rules.count_times(table, table.x, table["position"])
    with spark_engine(tmp_path) as engine:
        on_spark = engine.to_pyarrow(counts).to_pylist()
    assert on_spark == ibis.duckdb.connect().to_pyarrow(counts).to_pylist()


def _read_time(column):
    return rules.read_time(column, spelling.TimeFormat())
