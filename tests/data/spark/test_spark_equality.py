"""Spark and DuckDB prepare the same folder, byte for byte."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engines import arranged_by, prepared_by_both
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


def test_a_real_release_with_tags_and_genome_from_elsewhere_comes_out_the_same(real, tmp_path):
    by_duckdb, by_spark = prepared_by_both(
        real / "ml-latest-small",
        tmp_path,
        genome=real / "genome-partial",
        tags=(real / "ml-10m-tags" / "tags.csv",),
    )
    assert by_spark == by_duckdb
    assert by_spark["counts"]["tag_only"] > 0


def test_800_000_real_ratings_split_in_time_come_out_the_same(real, tmp_path, monkeypatch):
    monkeypatch.setitem(
        session.SESSION_CONF, "spark.sql.adaptive.enabled", "true"
    )  # as it is where nobody says anything
    by_duckdb, by_spark = prepared_by_both(real / "ml-1m-5k", tmp_path, split="time")
    assert by_spark == by_duckdb
    assert by_spark["settings"]["cut"] > 0


BIG = 2**53  # the next whole number is none of 64 bits with a point
IDS = [
    st.integers(1, 9),
    st.integers(BIG, BIG + 5),
    st.sampled_from(["007", "7", "Zoë", "a b", 'the "one"', "x,y", "é", "-1"]),
]
TIMES = st.none() | st.sampled_from([0, 86_399, 86_400, 978_300_760, 978_300_761, 4_000_000_000])
STARS = st.integers(1, 10).map(lambda halves: halves / 2) | st.floats(0.5, 5.0, width=32)


@st.composite
def rated(draw):
    """Rows of a person, a film, a rating and perhaps a time, each pair once, in any order."""
    users, items = draw(st.sampled_from(IDS)), draw(st.sampled_from(IDS))
    pairs = draw(st.lists(st.tuples(users, items), min_size=2, max_size=60, unique=True))
    return [(user, item, draw(STARS), draw(TIMES)) for user, item in pairs]


def quoted(value):
    """The value as a field of a CSV."""
    text = "" if value is None else str(value)
    return '"' + text.replace('"', '""') + '"' if set(text) & set('",') else text


def table(rows):
    """The rows as a CSV of one's own."""
    lines = [",".join(quoted(value) for value in row) for row in rows]
    return "\n".join(["user_id,item_id,rating,timestamp", *lines]) + "\n"


def release(folder, rows, tagged):
    """The rows, whatever their ids and times, as a release of MovieLens with tags; ids become numbers."""
    folder.mkdir()
    numbers = {
        name: number for number, name in enumerate(sorted({str(part) for row in rows for part in row[:2]}))
    }
    lines = [
        f"{numbers[str(user)]},{numbers[str(item)]},{stars},{time or 5}" for user, item, stars, time in rows
    ]
    (folder / "ratings.csv").write_text("\r\n".join(["userId,movieId,rating,timestamp", *lines, ""]))
    (folder / "movies.csv").write_text(
        'movieId,title,genres\n0,"A, the (1990)",Drama|War\n1,B,(no genres listed)\n'
    )
    said = [f"{user},{item},a tag,{time}" for user, item, time in tagged]
    (folder / "tags.csv").write_text("\n".join(["userId,movieId,tag,timestamp", *said, ""]))


TAGGED = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(0, 3)), min_size=1, max_size=8)
SOURCES = ["table", "release"]
FEW = {"max_examples": 4, "suppress_health_check": [HealthCheck.function_scoped_fixture], "derandomize": True}


@settings(**FEW)
@given(
    rated(),
    TAGGED,
    st.sampled_from(SOURCES),
    st.sampled_from(["hash", "time"]),
    st.sampled_from(["time", "item"]),
)
def test_any_table_and_any_release_comes_out_the_same(tmp_path_factory, rows, tagged, kind, split, order):
    place = tmp_path_factory.mktemp("any")
    if kind == "table":
        split = "hash"  # it may have no time at all
        (place / "own.csv").write_text(table(rows), encoding="utf-8")
    else:
        release(place / "release", rows, tagged)
    source = place / ("own.csv" if kind == "table" else "release")
    how = {"arranging": {"split": split, "order": order, "minimum_interactions": 1}}
    assert arranged_by("spark", source, place, **how) == arranged_by("duckdb", source, place, **how)
