"""Spark and DuckDB write the same prepared dataset, byte for byte."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engines import prepared_by_both, preprocessed_by
from tastevec.data.intake.settings import ItemSettings
from tastevec.data.spark import session

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("spark"),
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
    ),
]
DATA = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture
def real():
    """The folder of real data."""
    if not DATA.is_dir():
        pytest.skip("the real data are not here")
    return DATA


def test_real_release_with_other_tags_and_genome_is_prepared_as_on_duckdb(real, tmp_path):
    by_duckdb, by_spark = prepared_by_both(
        real / "ml-latest-small",
        tmp_path,
        genome=real / "genome-partial",
        described=ItemSettings(tags=(real / "ml-10m-tags" / "tags.csv",)),
    )
    assert by_spark == by_duckdb
    assert by_spark["counts"]["tag_only"] > 0


def test_800_000_real_ratings_split_by_time_are_prepared_as_on_duckdb(real, tmp_path, monkeypatch):
    monkeypatch.setitem(session.SESSION_CONF, "spark.sql.adaptive.enabled", "true")  # Spark's default
    by_duckdb, by_spark = prepared_by_both(real / "ml-1m-5k", tmp_path, split_strategy="temporal")
    assert by_spark == by_duckdb
    assert by_spark["settings"]["split_timestamp"] > 0


BIG = 2**53  # float64 cannot represent the next integer
IDS = [
    st.integers(1, 9),
    st.integers(BIG, BIG + 5),
    st.sampled_from(["007", "7", "Zoë", "a b", 'the "one"', "x,y", "é", "-1"]),
]
TIMES = st.none() | st.sampled_from([978_300_760, 978_300_761, 978_307_199, 978_307_200, 4_000_000_000])
STARS = st.integers(1, 10).map(lambda halves: halves / 2) | st.floats(0.5, 5.0, width=32)


@st.composite
def rated(draw):
    """Draw rows of a user, an item, a rating and perhaps a timestamp, each pair once, in any order."""
    users, items = draw(st.sampled_from(IDS)), draw(st.sampled_from(IDS))
    pairs = draw(st.lists(st.tuples(users, items), min_size=12, max_size=60, unique=True))
    return [(user, item, draw(STARS), draw(TIMES)) for user, item in pairs]


def quoted(value):
    """Return the value as a field of a CSV."""
    text = "" if value is None else str(value)
    return '"' + text.replace('"', '""') + '"' if set(text) & set('",') else text


def table(rows):
    """Return the rows as a CSV."""
    lines = [",".join(quoted(value) for value in row) for row in rows]
    return "\n".join(["user_id,item_id,rating,timestamp", *lines]) + "\n"


def release(folder, rows, tagged):
    """Write the rows as a MovieLens release with tags; IDs become numbers."""
    folder.mkdir()
    numbers = {
        name: number for number, name in enumerate(sorted({str(part) for row in rows for part in row[:2]}))
    }
    lines = [
        f"{numbers[str(user)]},{numbers[str(item)]},{stars},{time or 978_300_760}"
        for user, item, stars, time in rows
    ]
    (folder / "ratings.csv").write_text("\r\n".join(["userId,movieId,rating,timestamp", *lines, ""]))
    (folder / "movies.csv").write_text(
        'movieId,title,genres\n0,"A, the (1990)",Drama|War\n1,B,(no genres listed)\n'
    )
    tag_lines = [f"{user},{item},a tag,{time}" for user, item, time in tagged]
    (folder / "tags.csv").write_text("\n".join(["userId,movieId,tag,timestamp", *tag_lines, ""]))


TAGGED = st.lists(
    st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(978_300_760, 978_300_763)),
    min_size=1,
    max_size=8,
)
SOURCES = ["table", "release"]
FEW = {"max_examples": 4, "suppress_health_check": [HealthCheck.function_scoped_fixture], "derandomize": True}


@settings(**FEW)
@given(
    rated(),
    TAGGED,
    st.sampled_from(SOURCES),
    st.sampled_from(["hash", "temporal"]),
    st.sampled_from(["time", "item"]),
)
def test_generated_table_or_release_is_preprocessed_as_on_duckdb(
    tmp_path_factory, rows, tagged, source_type, split, order
):
    root = tmp_path_factory.mktemp("any")
    if source_type == "table":
        split = "hash"  # it may have no timestamps
        (root / "own.csv").write_text(table(rows), encoding="utf-8")
    else:
        release(root / "release", rows, tagged)
    source = root / ("own.csv" if source_type == "table" else "release")
    how = {
        "missing_times": "order",
        "preprocessing": {"split_strategy": split, "order": order, "minimum_interactions": 1},
    }
    assert preprocessed_by("spark", source, root, **how) == preprocessed_by("duckdb", source, root, **how)
