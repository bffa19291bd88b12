"""Tags of items: whose they are, what they weigh, and when relevances are a genome."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastevec.data.expressions import connect
from tastevec.data.intake.metadata import NamedTable, TableContext, check_met
from tastevec.data.intake.report import Findings
from tastevec.data.intake.settings import ItemSettings
from tastevec.data.intake.tags import RelevanceTable, TagTable, read_relevances, read_tags
from tastevec.errors import BadRowError, DataError, SettingsError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTEXT = TableContext(None, Path("unused"))
DROPPING = TableContext(None, Path("unused"), bad_rows=0.9)


def tags(table: dict[str, object], context: TableContext = CONTEXT, **settings: object) -> TagTable:
    return read_tags(ItemSettings(tags=(pa.table(table),), **settings), (), context)


def relevances(*tables: dict[str, object], context: TableContext = CONTEXT) -> RelevanceTable:
    found = read_relevances(ItemSettings(relevance=tuple(pa.table(table) for table in tables)), context)
    assert found is not None
    return found


def notes(of: TagTable | RelevanceTable) -> str:
    return "\n".join(map(str, of.reports))


def test_tags_with_users_and_without_times_are_the_users_own():
    found = tags({"user_id": [1.0, 2.0], "item_id": ["a", "b"], "tag": [" Dark ", "slow"]})

    assert found.table.to_pylist() == [
        {"user_id": "1", "item_id": "a", "tag": "dark", "weight": 1.0, "timestamp": None},
        {"user_id": "2", "item_id": "b", "tag": "slow", "weight": 1.0, "timestamp": None},
    ]
    assert "the users' own; those of training users are read" in notes(found)


def test_tags_without_users_are_of_others_and_the_report_says_so():
    found = tags({"movieId": [5], "tag": ["dark"], "weight": [3]})

    assert found.table.to_pylist() == [
        {"user_id": None, "item_id": "5", "tag": "dark", "weight": 3.0, "timestamp": None}
    ]
    assert "of others; held-out users may have given them, weight from the table" in notes(found)


def test_tags_of_another_release_are_of_others_unless_stated():
    rows = {"userId": [1], "movieId": [5], "tag": ["dark"], "timestamp": [1700000000]}
    sources = (pa.table(rows),)

    others = read_tags(ItemSettings(tags=sources), (), CONTEXT, renumbered_users=True)
    stated = read_tags(ItemSettings(tags=sources, tags_by="users"), (), CONTEXT, renumbered_users=True)

    assert others.table["user_id"].to_pylist() == [None]
    assert stated.table["user_id"].to_pylist() == ["1"]
    assert stated.table["timestamp"].to_pylist() == [1700000000]


def test_tags_of_the_source_come_first_and_are_the_users_own():
    source = NamedTable.of(pa.table({"userId": [1], "movieId": [5], "tag": ["dark"]}), "tags.csv")
    mine = pa.table({"userId": [1], "movieId": [6], "tag": ["slow"]})

    found = read_tags(ItemSettings(tags=(mine,)), (source,), CONTEXT, renumbered_users=True)

    assert found.table["user_id"].to_pylist() == ["1", None]


def test_tags_by_users_without_a_column_of_users_are_refused():
    with pytest.raises(SettingsError, match="--tags-by users: tags has no user_id among item_id, tag"):
        tags({"item_id": ["a"], "tag": ["x"]}, tags_by="users")


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"item_id": ["a"], "note": ["x"]}, "no tag among item_id, note"),
        ({"thing": ["a"], "tag": ["x"]}, "no item_id among thing, tag"),
        (
            {"item_id": ["a"], "tag": ["x"], "weight": [1], "rank": [1]},
            "weight and rank could both be the weight",
        ),
    ],
)
def test_tags_without_a_column_or_with_two_are_refused(table, expected):
    with pytest.raises(DataError, match=expected):
        tags(table)


def test_invalid_weights_are_refused_or_counted_and_blank_tags_are_counted():
    table = {"item_id": ["a", "b", "c"], "tag": ["x", "y", " "], "weight": ["1", "-1", "2"]}

    with pytest.raises(BadRowError, match=r"row 2, column weight: '-1' \(1 of 3 rows are invalid\)"):
        tags(table)
    found = tags(table, DROPPING)
    assert found.table["tag"].to_pylist() == ["x"]
    assert "blank" in notes(found)
    assert "invalid number" in notes(found)


def test_ranks_weigh_one_to_one_fifth_and_an_absent_tag_is_unknown():
    names = [f"t{rank}" for rank in range(1, 6)]
    ranked = {"movieId": [1] * 5 + [2], "tag": [*names, "other"], "rank": [1, 2, 3, 4, 5, 1]}

    found = relevances(ranked)
    merged = tags({"item_id": ["1"], "tag": ["t1"]}).with_relevances(found)

    assert found.table["relevance"].to_pylist() == pytest.approx([1, 0.8, 0.6, 0.4, 0.2, 1])
    assert not found.is_dense
    assert merged.table["weight"].to_pylist() == pytest.approx([1, 1, 0.8, 0.6, 0.4, 0.2, 1])
    assert "rank 1 of 5 counts 1, the last 0.2" in notes(found)
    assert "an absent tag is unknown" in notes(found)


def test_relevances_of_every_tag_for_every_item_are_a_genome_with_any_ids():
    table = {"item_id": ["x", "x", "y", "y"], "tag": ["a", "b", "b", "a"], "relevance": [0.1, 0, 0.3, 1]}

    found = relevances(table)

    assert found.is_dense
    assert found.table["item_id"].to_pylist() == ["x", "x", "y", "y"]
    assert not relevances({name: values[:3] for name, values in table.items()}).is_dense


def test_relevances_of_several_tables_are_one_and_the_first_row_counts():
    one = {"item_id": ["x", "x"], "tag": ["a", "b"], "relevance": [0.1, 0.2]}
    two = {"item_id": ["x", "y", "y"], "tag": ["a", "a", "b"], "relevance": [0.9, 0.3, 0.4]}

    found = relevances(one, two)

    assert found.table["relevance"].to_pylist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert found.is_dense


def test_relevances_of_zero_are_no_tags():
    sparse = relevances({"item_id": ["x", "y", "y"], "tag": ["a", "a", "b"], "relevance": [0.0, 0.3, 0.4]})

    assert tags({"item_id": ["x"], "tag": ["z"]}).with_relevances(sparse).table["tag"].to_pylist() == [
        "z",
        "a",
        "b",
    ]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"relevance": [1.5]}, "row 1, column relevance: 1.5"),
        ({"rank": [0]}, "row 1, column rank: 0 .*Expected 1 or more"),
        ({"weight": [3]}, "above 1. Expected 0 to 1. Read counts with --tags"),
        ({}, "no relevance or rank among item_id, tag"),
    ],
)
def test_relevances_out_of_range_are_refused(values, expected):
    with pytest.raises(DataError, match=expected):
        relevances({"item_id": ["x"], "tag": ["a"], **values})


def test_no_relevances_are_none():
    assert read_relevances(ItemSettings(), CONTEXT) is None


@pytest.fixture
def files(tmp_path) -> Iterator[TableContext]:
    connection = connect()
    yield TableContext(connection, tmp_path)
    connection.disconnect()


def test_hetrec_weights_have_the_texts_of_their_tags(tmp_path, files):
    (tmp_path / "movie_tags.dat").write_text("movieID\ttagID\ttagWeight\n1\t7\t2\n1\t13\t1\n")
    (tmp_path / "tags.dat").write_bytes("id\tvalue\n7\tearth\n13\tcaf\u00e9\n".encode("latin-1"))

    found = read_tags(ItemSettings(tags=(tmp_path / "movie_tags.dat",)), (), files)

    assert [(row["tag"], row["weight"]) for row in found.table.to_pylist()] == [
        ("earth", 2.0),
        ("caf\u00e9", 1.0),
    ]


def test_hetrec_weights_without_texts_or_with_an_unknown_tag_are_refused(tmp_path, files):
    weights = tmp_path / "movie_tags.dat"
    weights.write_text("movieID\ttagID\ttagWeight\n1\t7\t2\n")

    with pytest.raises(SourceError, match=r"tags\.dat: not found"):
        read_tags(ItemSettings(tags=(weights,)), (), files)
    (tmp_path / "tags.dat").write_text("id\tvalue\n8\tearth\n")
    with pytest.raises(BadRowError, match="line 2, column tagID: '7' is no number of a tag"):
        read_tags(ItemSettings(tags=(weights,)), (), files)


def test_ids_that_meet_nothing_stop_with_both_kinds_and_few_warn():
    known = pa.array([str(item) for item in range(100)])
    settings = {"code": "unmatched-items", "what": "of items have metadata"}
    few = pa.array([str(item) for item in range(90, 140)])
    findings = Findings()

    with pytest.raises(DataError, match=r"0\.0 % of items have metadata: item ids 'B00' here, '0' there"):
        check_met(pa.array(["B00", "B01"]), known, findings, **settings)
    assert check_met(few, known, findings, **settings) == 10
    assert check_met(known, known, findings, **settings) == 100
    assert [(one.code, one.message) for one in findings.warnings] == [
        ("unmatched-items", "20.0 % of items have metadata")
    ]


def test_ids_that_meet_nothing_go_on_where_accepted():
    findings = Findings(accept=frozenset({"unmatched-tags"}))

    check_met(
        pa.array(["x"]), pa.array(["y"]), findings, code="unmatched-tags", what="of tags are of an item"
    )

    assert [one.code for one in findings.warnings] == ["unmatched-tags"]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=20))
def test_relevances_are_dense_only_where_every_item_has_every_tag(pairs):
    items, words = zip(*pairs, strict=True)

    found = relevances(
        {"item_id": list(items), "tag": [str(word) for word in words], "relevance": [0.5] * len(pairs)}
    )

    assert found.is_dense == (len(set(pairs)) == len(set(items)) * len(set(words)))
    assert len(found.table) == len(set(pairs))
