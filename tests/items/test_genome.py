"""The tag genome: reading, invalid rows, and the research note's vectors (tastevec.items.genome)."""

from __future__ import annotations

from pathlib import Path

import ibis
import numpy as np
import pyarrow as pa
import pytest
from sklearn.decomposition import TruncatedSVD

from tastevec.data.intake.tags import RelevanceTable
from tastevec.errors import BadRowError, DataError, SourceError
from tastevec.items.content import GENRE_NAMES, NO_GENRES, genre_matrix
from tastevec.items.genome import Genome, genome_svd_vectors, read_genome
from tastevec.items.linalg import reduce_rank
from worlds import ITEMS, write_genome

PARTIAL = Path(__file__).parents[3] / "shared" / "data" / "genome-partial"


@pytest.fixture
def connection():
    backend = ibis.duckdb.connect()
    yield backend
    backend.disconnect()


def damaged(folder: Path, line: int, row: str | None) -> Path:
    """Return a genome whose scores file has ``row`` as this line (from 1); None removes the line."""
    write_genome(folder, tags=3)
    scores = folder / "genome-scores.csv"
    lines = scores.read_text().splitlines()
    lines[line - 1 : line] = [] if row is None else [row]
    scores.write_text("\n".join(lines) + "\n")
    return folder


def test_read_genome_puts_each_relevance_at_its_item_and_tag(tmp_path, connection):
    write_genome(tmp_path, tags=12)
    genome = read_genome(tmp_path, connection)
    assert genome.relevance.shape == (ITEMS, 12)
    assert genome.item_ids.tolist() == list(range(1, ITEMS + 1))
    assert genome.tags[:2] == ("tag 1", "tag 2")
    for row in (tmp_path / "genome-scores.csv").read_text().splitlines()[1:]:
        item, tag, relevance = row.split(",")
        assert genome.relevance[int(item) - 1, int(tag) - 1] == np.float32(relevance)
    assert not genome.incomplete_items
    assert not genome.skipped_rows


def test_read_genome_ignores_row_order_line_ends_and_byte_order_mark(tmp_path, connection):
    write_genome(tmp_path / "plain", tags=5)
    plain = read_genome(tmp_path / "plain", connection)
    write_genome(tmp_path / "reversed", tags=5)
    for name in ("genome-scores.csv", "genome-tags.csv"):
        header, *rows = (tmp_path / "plain" / name).read_text().splitlines()
        text = "\r\n".join([header, *reversed(rows)]) + "\r\n"
        (tmp_path / "reversed" / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    other = read_genome(tmp_path / "reversed", connection)
    assert other.item_ids.tolist() == plain.item_ids.tolist()
    assert other.tags == plain.tags
    assert other.relevance.tobytes() == plain.relevance.tobytes()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("one,2,0.5", r"genome-scores.csv, line 3: movieId is not an integer"),
        ("1,two,0.5", r"genome-scores.csv, line 3: tagId is not in genome-tags.csv"),
        ("1,4,0.5", r"genome-scores.csv, line 3: tagId is not in genome-tags.csv"),
        ("1,2,much", r"genome-scores.csv, line 3: relevance is not a number from 0 to 1"),
        ("1,2,1.01", r"genome-scores.csv, line 3: relevance is not a number from 0 to 1"),
        ("1,2,nan", r"genome-scores.csv, line 3: relevance is not a number from 0 to 1"),
    ],
)
def test_read_genome_refuses_invalid_row_or_skips_it_with_its_item(tmp_path, connection, row, message):
    folder = damaged(tmp_path, 3, row)
    with pytest.raises(BadRowError, match=message):
        read_genome(folder, connection)
    genome = read_genome(folder, connection, skip_bad_rows=True)
    assert genome.incomplete_items == {1: (2,)}
    assert genome.skipped_rows == {message.partition(": ")[2]: 1}
    assert genome.item_ids.tolist() == list(range(2, ITEMS + 1))


def test_read_genome_refuses_or_skips_item_without_a_tag(tmp_path, connection):
    folder = damaged(tmp_path, 3, None)
    with pytest.raises(DataError, match=r"1 of 20 items lack tags; movieId 1 lacks 1 of 3 \(tagId 2\)"):
        read_genome(folder, connection)
    genome = read_genome(folder, connection, skip_bad_rows=True)
    assert genome.incomplete_items == {1: (2,)}
    assert genome.relevance.shape == (ITEMS - 1, 3)


def test_read_genome_refuses_or_skips_item_with_repeated_tag(tmp_path, connection):
    folder = damaged(tmp_path, 3, "1,1,0.5")
    with pytest.raises(BadRowError, match="movieId 1 and tagId 1 are in 2 rows"):
        read_genome(folder, connection)
    genome = read_genome(folder, connection, skip_bad_rows=True)
    assert genome.incomplete_items == {1: (1, 2)}
    assert genome.skipped_rows == {"item and tag are in more than one row": 2}


@pytest.mark.parametrize("row", ["1,2", "1,2,0.5,0.5"])
def test_read_genome_refuses_row_with_other_columns(tmp_path, connection, row):
    with pytest.raises(BadRowError, match="Line: 3"):
        read_genome(damaged(tmp_path, 3, row), connection)


def test_read_genome_reports_malformed_row_before_invalid_number(tmp_path, connection):
    write_genome(tmp_path, tags=1)
    rows = "".join(f"{item},1,0.5\n" for item in range(200_000))
    (tmp_path / "genome-scores.csv").write_text(f"movieId,tagId,relevance\n1,1,2\n{rows}1,2\n")
    with pytest.raises(BadRowError, match=r"a genome file is no valid CSV \(.*Line: 200003\)"):
        read_genome(tmp_path, connection)


def test_read_genome_counts_lines_over_all_batches(tmp_path, connection, monkeypatch):
    monkeypatch.setattr("tastevec.items.genome._BATCH_ROWS", 1)
    write_genome(tmp_path, tags=1)
    rows = "".join(f"{item},1,0.5\n" for item in range(5_000))
    (tmp_path / "genome-scores.csv").write_text(f"movieId,tagId,relevance\n{rows}7,1,2\n8,1,0.5\n")
    with pytest.raises(BadRowError, match=r"genome-scores.csv, line 5002: relevance is not a number"):
        read_genome(tmp_path, connection)
    genome = read_genome(tmp_path, connection, skip_bad_rows=True)
    assert genome.skipped_rows == {
        "relevance is not a number from 0 to 1": 1,
        "item and tag are in more than one row": 2,
    }
    assert len(genome.item_ids) == 4_999


def test_read_genome_names_wrong_header_and_missing_file(tmp_path, connection):
    with pytest.raises(BadRowError, match=r"genome-scores.csv, line 1: the header is 'item,tag,score'"):
        read_genome(damaged(tmp_path, 1, "item,tag,score"), connection)
    (tmp_path / "genome-tags.csv").unlink()
    with pytest.raises(SourceError, match=r"genome-tags.csv: no such file.* --genome"):
        read_genome(tmp_path, connection)


@pytest.mark.parametrize("rows", ["", "1,a\n1,b\n", "x,a\n", "1,\n"])
def test_read_genome_refuses_ambiguous_tags(tmp_path, connection, rows):
    write_genome(tmp_path, tags=2)
    (tmp_path / "genome-tags.csv").write_text("tagId,tag\n" + rows)
    with pytest.raises(BadRowError, match=r"genome-tags.csv: tagId is missing or repeated"):
        read_genome(tmp_path, connection)


def test_rows_of_finds_items_by_integer_and_text_ids(tmp_path, connection):
    genome = read_genome(write_genome(tmp_path), connection)
    assert genome.rows_of(pa.chunked_array([[3, 99, 1]])).tolist() == [2, -1, 0]
    assert genome.rows_of(pa.array(["3", "item-3"])).tolist() == [2, -1]


@pytest.mark.skipif(not PARTIAL.is_dir(), reason="the shared data are not here")
def test_read_genome_of_real_release_has_1128_tags(connection):
    genome = read_genome(PARTIAL, connection)
    assert genome.relevance.shape == (208, 1128)
    assert genome.tags[0] == "007"
    assert genome.relevance[0, :2].tolist() == [np.float32(0.029), np.float32(0.02375)]
    assert not genome.incomplete_items


def random_genome(items: int, tags: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    genres = (rng.random((items, len(GENRE_NAMES))) < 0.2).astype(np.float32)
    return rng.random((items, tags), dtype=np.float32), genres


def test_genome_svd_vectors_equal_two_svds_of_scikit_learn():
    relevance, genres = random_genome(150, 120)
    tags = TruncatedSVD(80, n_iter=7, random_state=42).fit_transform(relevance.astype(np.float64))
    both = np.hstack([tags, genres])
    expected = TruncatedSVD(64, n_iter=7, random_state=42).fit_transform(both)
    made = genome_svd_vectors(relevance, genres)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, expected, atol=1e-6)


def test_genome_svd_vectors_of_few_items_have_zero_columns_and_equal_inner_products():
    relevance, genres = random_genome(10, 12)
    made = genome_svd_vectors(relevance, genres)
    assert made.shape == (10, 64)
    assert not made[:, 10:].any()
    both = np.hstack([relevance, genres])
    np.testing.assert_allclose(made @ made.T, both @ both.T, atol=1e-4)


def test_reduce_rank_of_identical_rows_has_one_column():
    made = reduce_rank(np.ones((5, 4)), 3, n_iter=7, seed=42)
    np.testing.assert_allclose(made[:, 0], 2.0)
    np.testing.assert_allclose(made[:, 1:], 0.0, atol=1e-7)


def test_reduce_rank_of_one_column_keeps_it_and_of_none_is_zero():
    assert reduce_rank(np.array([[1.0], [3.0]]), 2, n_iter=7, seed=42).tolist() == [[1, 0], [3, 0]]
    assert reduce_rank(np.zeros((2, 0)), 2, n_iter=7, seed=42).tolist() == [[0, 0], [0, 0]]


def test_genre_matrix_merges_spellings_of_all_releases():
    lists = pa.array(
        [
            ["Children's", " IMAX"],
            ["Children"],
            ["unknown"],
            [],
            None,
            ["Anime"],
            [NO_GENRES],
        ]
    )
    matrix = genre_matrix(lists)
    names = [[GENRE_NAMES[column] for column in np.flatnonzero(row)] for row in matrix]
    assert names == [
        ["Children", "IMAX"],
        ["Children"],
        [NO_GENRES],
        [NO_GENRES],
        [NO_GENRES],
        [NO_GENRES],
        [NO_GENRES],
    ]


def relevance_table(rows, *, dense: bool) -> RelevanceTable:
    items, tags, values = zip(*rows, strict=True)
    return RelevanceTable(pa.table({"item_id": items, "tag": tags, "relevance": values}), dense)


def test_genome_of_dense_relevances_has_any_ids_in_ascending_order():
    genome = Genome.of(
        relevance_table([("y", "b", 0.2), ("y", "a", 0.1), ("x", "a", 0.3), ("x", "b", 0.4)], dense=True)
    )

    assert genome.is_complete
    assert genome.item_ids.tolist() == ["x", "y"]
    assert genome.tags == ("a", "b")
    np.testing.assert_allclose(genome.relevance, [[0.3, 0.4], [0.1, 0.2]], rtol=1e-6)
    assert genome.rows_of(pa.array(["y", "z"])).tolist() == [1, -1]


def test_genome_of_sparse_relevances_compares_items_by_the_tags_that_both_have():
    genome = Genome.of(
        relevance_table([("10", "a", 1.0), ("9", "a", 0.8), ("9", "b", 1.0), ("2", "b", 0.5)], dense=False)
    )

    vectors = genome_svd_vectors(genome.relevance, np.zeros((3, 20), np.float32))

    assert not genome.is_complete
    assert genome.item_ids.tolist() == [2, 9, 10]
    assert genome.rows_of(pa.array(["9", "10"])).tolist() == [1, 2]
    np.testing.assert_allclose(
        vectors @ vectors.T, [[0.25, 0.5, 0], [0.5, 1.64, 0.8], [0, 0.8, 1]], atol=1e-5
    )


def test_read_genome_with_text_ids_finds_items_by_them(tmp_path, connection):
    write_genome(tmp_path, tags=2)
    scores = "movieId,tagId,relevance\ntt02,1,0.5\ntt02,2,0.25\ntt01,2,1\ntt01,1,0\n"
    (tmp_path / "genome-scores.csv").write_text(scores)

    genome = read_genome(tmp_path, connection)

    assert genome.item_ids.tolist() == ["tt01", "tt02"]
    np.testing.assert_allclose(genome.relevance, [[0, 1], [0.5, 0.25]])
    assert genome.rows_of(pa.array(["tt02", "7"])).tolist() == [1, -1]
    assert genome.ids_of(pa.string()) == ["tt01", "tt02"]
    assert genome.ids_of(pa.int64()) == []


def test_read_genome_with_text_ids_names_or_skips_incomplete_items(tmp_path, connection):
    write_genome(tmp_path, tags=2)
    (tmp_path / "genome-scores.csv").write_text("movieId,tagId,relevance\ntt02,1,0.5\ntt01,2,1\ntt01,1,0\n")

    with pytest.raises(DataError, match="movieId tt02 lacks 1 of 2"):
        read_genome(tmp_path, connection)
    skipped = read_genome(tmp_path, connection, skip_bad_rows=True)
    assert skipped.item_ids.tolist() == ["tt01"]
    assert skipped.incomplete_items == {"tt02": (2,)}
