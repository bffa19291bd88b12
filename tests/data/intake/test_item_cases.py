"""Items and tags of interactions: what is read of them, and what meets nothing."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

import crowds
import tastevec
from crowds import ITEMS, crowd, read, real, stars
from tastevec.errors import DataError
from tastevec.schema import SPLITS, USERS_FILE, VECTORS_FILE

IDS = list(range(1, ITEMS + 1))


def items_of(source):
    """Return the item metadata by ID."""
    return {row["item_id"]: row for row in source.items.to_pyarrow().to_pylist()}


def metadata(**columns):
    return {"item_id": IDS, **columns}


@pytest.mark.parametrize(
    ("two", "one"),
    [
        ("Action, Sci-Fi", "Drama"),
        ("['Action', 'Sci-Fi']", "['Drama']"),
        ("Action | Sci-Fi", "Drama"),
        (["Action", "Sci-Fi"], ["Drama"]),
    ],
)
def test_categories_are_two_in_every_spelling(tmp_path, two, one):
    """Case 71."""
    table = metadata(genres=[two if item % 2 else one for item in IDS])
    path = tmp_path / "items"
    if isinstance(two, str):
        crowds.write(path, table)
    else:
        pq.write_table(pa.table(table), path)

    found = items_of(read(crowd(), items=path))

    assert found[1]["genres"] == ["Action", "Sci-Fi"]


def test_items_without_a_title_and_with_odd_years_are_accepted():
    """Case 72."""
    years = {1: "unknown", 2: "1995-12-15"}
    found = read(crowd(), items=metadata(year=[years.get(item, "2001") for item in IDS]))

    assert [items_of(found)[item]["year"] for item in (1, 2, 3)] == [None, 1995, 2001]
    assert items_of(found)[1]["title"] == ""
    assert "1 unreadable and left empty" in crowds.lines(found)["year"]


def test_numbers_that_users_made_are_ignored_and_can_be_named():
    """Case 73."""
    table = metadata(members=[item * 100 for item in IDS], avg_rating=[item / 8 for item in IDS])

    report = str(read(crowd(), items=table).report)

    assert "made of interactions: --item-column number=members" in report
    assert "made of interactions: --item-column number=avg_rating" in report
    named = read(crowd(), items=table, item_column="number=members")
    assert crowds.lines(named)["members"] == "number 100 to 4000"


def test_items_of_two_tables_are_joined(tmp_path):
    """Case 74: without sentence embeddings, whose tests are those of text."""
    titles = metadata(
        title=[f"Film {item}" for item in IDS],
        genres=["Drama|Horror" if item % 2 else "Drama" for item in IDS],
    )
    plots = {
        "movieId": IDS[::-1],
        "plot": [f"A person number {item} meets another on the road" for item in IDS[::-1]],
    }

    found = read(crowd(), items=[titles, crowds.write(tmp_path / "plots.csv", plots)])

    assert items_of(found)[3]["title"] == "Film 3"
    assert items_of(found)[3]["text:plot"] == "A person number 3 meets another on the road"


def test_metadata_that_meets_few_items_is_refused_with_both_kinds_of_ids():
    """Case 75."""
    table = {"item_id": [1, *(f"B00{item:07d}" for item in range(39))], "title": ["Film"] * 40}

    with pytest.raises(DataError) as caught:
        read(crowd(), items=table)

    assert caught.value.code == "unmatched-items"
    assert "2.5 % of items have metadata: item ids '" in str(caught.value)
    assert "' here, '" in str(caught.value)
    assert "unmatched-items" in crowds.codes(read(crowd(), items=table, accept="unmatched-items"))


def test_metadata_of_a_part_of_the_items_is_warned_of():
    """Case 75: a part."""
    found = read(crowd(), items={"item_id": IDS[:10], "title": ["Film"] * 10})

    assert crowds.codes(found) == ["unmatched-items"]
    assert "25.0 % of items have metadata" in str(found.report)


def test_own_tags_of_a_test_user_change_no_item_vector(tmp_path):
    """Case 76."""
    table, tags = crowd(rating=stars), {"user_id": [1], "item_id": [30], "tag": ["odd"]}
    data = tastevec.prepare(table, tmp_path / "without")
    users = pq.read_table(data.folder / USERS_FILE, columns=["user_id", "split"]).to_pylist()
    [tester, *_] = [user["user_id"] for user in users if user["split"] == SPLITS.index("test")]

    again = tastevec.prepare(table, tmp_path / "with", tags=tags | {"user_id": [tester]})

    before, after = (load_file(one.folder / VECTORS_FILE) for one in (data, again))
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_tags_without_times_are_the_users_own_and_touch_their_items():
    """Case 76: a tagged item without a rating."""
    table = crowd(rating=stars)
    untouched = next(item for item in IDS if item not in table["item_id"][:16])

    found = read(table, tags={"user_id": [1.0], "item_id": [str(untouched)], "tag": ["Dark"]})

    assert crowds.value(found, 1, untouched) == {"rating": None, "timestamp": None}


def test_tags_that_meet_no_item_are_refused_with_both_kinds_of_ids():
    """Case 77."""
    with pytest.raises(DataError) as caught:
        read(crowd(), tags={"item_id": ["B001", "B002"], "tag": ["dark", "slow"]})

    assert caught.value.code == "unmatched-tags"
    assert "0.0 % of tagged items are in the catalog: item ids 'B001' here, '1' there" in str(caught.value)


def test_ranked_tags_weigh_from_one_to_a_fifth_and_an_absent_one_is_unknown():
    """Case 78."""
    ranks = [(item, f"tag{(item + rank) % 9}", rank) for item in IDS for rank in range(1, 6)]
    table = dict(zip(("item_id", "tag", "rank"), map(list, zip(*ranks, strict=True)), strict=True))

    found = read(crowd(), relevance=table)

    assert found.relevance is not None
    assert not found.relevance.is_dense
    weights = found.relevance.table.to_pandas().groupby("item_id")["relevance"].apply(list)
    assert np.allclose(weights["7"], [1, 0.8, 0.6, 0.4, 0.2])


def test_relevances_of_every_tag_are_a_genome_of_any_ids():
    """Case 78: a whole genome."""
    table = crowd()
    table["item_id"] = [f"b{item}" for item in table["item_id"]]
    genome = [(f"b{item}", tag, item / 40) for item in IDS for tag in ("dark", "slow")]

    found = read(
        table,
        relevance=dict(
            zip(("item_id", "tag", "relevance"), map(list, zip(*genome, strict=True)), strict=True)
        ),
    )

    assert found.relevance is not None
    assert found.relevance.is_dense


@pytest.mark.slow
def test_real_top_tags_and_plots_join_a_release():
    """Cases 74 and 78: the real files, with ml-latest-small."""
    release = crowds.BEYOND.parent / "ml-latest-small"
    plots, top = real("ml-plots", "plots.csv"), real("ml-genome-top5", "genome-top-tags.csv")
    if not release.exists():
        pytest.skip("no ml-latest-small in ../shared/data")

    report = str(tastevec.inspect(release, items=plots, relevance=top, text_model="none"))

    assert "text " in report
    assert "rank 1 of 5 counts 1, the last 0.2" in report
