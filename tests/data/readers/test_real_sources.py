import csv
from pathlib import Path

import numpy as np
import pytest

from tastevec.data.readers import ReadSettings, read_source

REAL = Path(__file__).parents[4] / "shared" / "data"
TAGS_10M = REAL / "ml-10m-tags" / "tags.csv"
HETREC = REAL / "hetrec2011-tags" / "movie_tags.dat"

pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="the real releases are missing")


def arrays(table, order):
    relation = table.get_backend().con.sql(table.order_by(order).compile())
    return relation.fetchnumpy()


def test_ml_latest_small_is_read_completely(connection):
    folder = REAL / "ml-latest-small"
    source = read_source(folder, connection=connection, settings=ReadSettings(tags=(TAGS_10M,)))
    counts = {
        row_report.file: (row_report.rows_kept, row_report.skipped) for row_report in source.row_reports
    }
    assert counts == {
        "ratings.csv": (100_836, {}),
        "movies.csv": (9_742, {}),
        "tags.csv": (3_683, {}),
        "ml-10m-tags/tags.csv": (95_573, {"blank": 6}),
    }
    found = arrays(source.interactions, "position")
    expected = np.loadtxt(folder / "ratings.csv", delimiter=",", skiprows=1)
    assert len(found["position"]) == 100_836 + 140  # 140 tag-only interactions
    for column, name in enumerate(("user_id", "item_id", "rating", "timestamp")):
        assert np.array_equal(found[name][:100_836], expected[:, column])
    assert np.ma.getmaskarray(found["rating"])[100_836:].all()


def test_titles_and_tags_of_ml_latest_small_equal_those_of_csv_reader(connection):
    folder = REAL / "ml-latest-small"
    source = read_source(folder, connection=connection, settings=ReadSettings(tags=(TAGS_10M,)))
    with (folder / "movies.csv").open(encoding="utf-8", newline="") as handle:
        titles = {int(row["movieId"]): row["title"] for row in csv.DictReader(handle)}
    items = arrays(source.items, "item_id")
    assert dict(zip(items["item_id"].tolist(), items["title"].tolist(), strict=True)) == titles
    expected = []
    for path in (folder / "tags.csv", TAGS_10M):
        with path.open(encoding="utf-8", newline="") as handle:
            expected += [(int(row["movieId"]), row["tag"].strip().lower()) for row in csv.DictReader(handle)]
    tags = source.tags.get_backend().con.sql(source.tags.select("item_id", "tag").compile()).fetchall()
    assert sorted(tags) == sorted((item, tag) for item, tag in expected if tag)


def test_ml_1m_is_read_completely_in_the_order_of_its_file(connection):
    folder = REAL / "ml-1m-5k"
    source = read_source(folder, connection=connection, settings=ReadSettings(tags=(HETREC,)))
    assert {a.file: (a.rows_read, a.rows_kept, a.encoding) for a in source.row_reports} == {
        "ratings.dat": (827_331, 827_331, "utf-8"),
        "movies.dat": (3_883, 3_883, "iso-8859-1"),
        "hetrec2011-tags/movie_tags.dat": (51_795, 51_795, "utf-8"),
        "hetrec2011-tags/tags.dat": (13_222, 13_222, "iso-8859-1"),
    }
    found = arrays(source.interactions, "position")
    expected = np.loadtxt(folder / "ratings.dat", dtype=np.int64, delimiter=":", usecols=(0, 2, 4, 6))
    for column, name in enumerate(("user_id", "item_id", "rating", "timestamp")):
        assert np.array_equal(found[name], expected[:, column])
    items = arrays(source.items, "item_id")
    assert "Misérables, Les (1995)" in items["title"]
    assert not np.ma.getmaskarray(items["year"]).any()
    weights = arrays(source.tags, "weight")
    assert weights["weight"].sum() == np.loadtxt(HETREC, dtype=np.int64)[:, 2].sum()
