from __future__ import annotations

from pathlib import Path

import ibis
import numpy as np
import pyarrow as pa
import pytest
from sklearn.decomposition import TruncatedSVD

from tastevec.errors import BadRowError, DataError, SourceError
from tastevec.items.content import GENRE_NAMES, NO_GENRES, genre_matrix
from tastevec.items.genome import genome_svd_vectors, read_genome
from tastevec.items.linalg import reduce_rank
from worlds import ITEMS, write_genome

PARTIAL = Path(__file__).parents[3] / "shared" / "data" / "genome-partial"


@pytest.fixture
def connection():
    backend = ibis.duckdb.connect()
    yield backend
    backend.disconnect()


def damaged(folder: Path, line: int, row: str | None) -> Path:
    """A genome whose scores file has ``row`` in place of this line (from 1); None takes the line out."""
    write_genome(folder, tags=3)
    scores = folder / "genome-scores.csv"
    lines = scores.read_text().splitlines()
    lines[line - 1 : line] = [] if row is None else [row]
    scores.write_text("\n".join(lines) + "\n")
    return folder


def test_each_film_has_each_tag_where_the_file_put_it(tmp_path, connection):
    write_genome(tmp_path, tags=12)
    genome = read_genome(tmp_path, connection)
    assert genome.relevance.shape == (ITEMS, 12)
    assert genome.item_ids.tolist() == list(range(1, ITEMS + 1))
    assert genome.tags[:2] == ("tag 1", "tag 2")
    for row in (tmp_path / "genome-scores.csv").read_text().splitlines()[1:]:
        item, tag, relevance = row.split(",")
        assert genome.relevance[int(item) - 1, int(tag) - 1] == np.float32(relevance)
    assert not genome.missing
    assert not genome.bad_rows


def test_the_order_of_rows_the_line_ends_and_a_byte_order_mark_change_nothing(tmp_path, connection):
    write_genome(tmp_path / "plain", tags=5)
    straight = read_genome(tmp_path / "plain", connection)
    write_genome(tmp_path / "turned", tags=5)
    for name in ("genome-scores.csv", "genome-tags.csv"):
        header, *rows = (tmp_path / "plain" / name).read_text().splitlines()
        text = "\r\n".join([header, *reversed(rows)]) + "\r\n"
        (tmp_path / "turned" / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    turned = read_genome(tmp_path / "turned", connection)
    assert turned.item_ids.tolist() == straight.item_ids.tolist()
    assert turned.tags == straight.tags
    assert turned.relevance.tobytes() == straight.relevance.tobytes()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("one,2,0.5", r"genome-scores.csv:3: movieId is not a whole number"),
        ("1,two,0.5", r"genome-scores.csv:3: tagId is not in genome-tags.csv"),
        ("1,4,0.5", r"genome-scores.csv:3: tagId is not in genome-tags.csv"),
        ("1,2,much", r"genome-scores.csv:3: relevance is not a number from 0 to 1"),
        ("1,2,1.01", r"genome-scores.csv:3: relevance is not a number from 0 to 1"),
        ("1,2,nan", r"genome-scores.csv:3: relevance is not a number from 0 to 1"),
    ],
)
def test_a_bad_row_is_refused_with_its_line_or_set_aside_with_its_film(tmp_path, connection, row, message):
    folder = damaged(tmp_path, 3, row)
    with pytest.raises(BadRowError, match=message):
        read_genome(folder, connection)
    genome = read_genome(folder, connection, skip_bad_rows=True)
    assert genome.missing == {1: (2,)}
    assert genome.bad_rows == {message.partition(": ")[2]: 1}
    assert genome.item_ids.tolist() == list(range(2, ITEMS + 1))


def test_a_film_that_lacks_a_tag_is_never_filled_with_zeros(tmp_path, connection):
    folder = damaged(tmp_path, 3, None)
    with pytest.raises(
        DataError, match=r"1 films lack tags, the first of them film 1, which lacks 1 of 3 \(ids 2\)"
    ):
        read_genome(folder, connection)
    genome = read_genome(folder, connection, skip_bad_rows=True)
    assert genome.missing == {1: (2,)}
    assert genome.relevance.shape == (ITEMS - 1, 3)


def test_a_number_given_twice_is_refused_or_set_aside_with_its_film(tmp_path, connection):
    folder = damaged(tmp_path, 3, "1,1,0.5")
    with pytest.raises(BadRowError, match="film 1 and tag 1 are given 2 times"):
        read_genome(folder, connection)
    genome = read_genome(folder, connection, skip_bad_rows=True)
    assert genome.missing == {1: (1, 2)}
    assert genome.bad_rows == {"film and tag are given more than once": 2}


@pytest.mark.parametrize("row", ["1,2", "1,2,0.5,0.5"])
def test_a_row_of_other_columns_is_refused(tmp_path, connection, row):
    with pytest.raises(BadRowError, match="Line: 3"):
        read_genome(damaged(tmp_path, 3, row), connection)


def test_a_row_of_other_columns_far_down_the_file_is_named_before_any_bad_number(tmp_path, connection):
    write_genome(tmp_path, tags=1)
    rows = "".join(f"{item},1,0.5\n" for item in range(200_000))
    (tmp_path / "genome-scores.csv").write_text(f"movieId,tagId,relevance\n1,1,2\n{rows}1,2\n")
    with pytest.raises(BadRowError, match=r"a genome file is not the CSV it should be \(.*Line: 200003\)"):
        read_genome(tmp_path, connection)


def test_the_line_of_a_bad_row_is_counted_over_all_batches(tmp_path, connection, monkeypatch):
    monkeypatch.setattr("tastevec.items.genome._BATCH_ROWS", 1)
    write_genome(tmp_path, tags=1)
    rows = "".join(f"{item},1,0.5\n" for item in range(5_000))
    (tmp_path / "genome-scores.csv").write_text(f"movieId,tagId,relevance\n{rows}7,1,2\n8,1,0.5\n")
    with pytest.raises(BadRowError, match=r"genome-scores.csv:5002: relevance is not a number"):
        read_genome(tmp_path, connection)
    genome = read_genome(tmp_path, connection, skip_bad_rows=True)
    assert genome.bad_rows == {
        "relevance is not a number from 0 to 1": 1,
        "film and tag are given more than once": 2,
    }
    assert len(genome.item_ids) == 4_999


def test_a_wrong_header_and_a_missing_file_are_named(tmp_path, connection):
    with pytest.raises(BadRowError, match=r"genome-scores.csv:1: the header is 'item,tag,score'"):
        read_genome(damaged(tmp_path, 1, "item,tag,score"), connection)
    (tmp_path / "genome-tags.csv").unlink()
    with pytest.raises(SourceError, match=r"genome-tags.csv is not there; .* --genome"):
        read_genome(tmp_path, connection)


@pytest.mark.parametrize("rows", ["", "1,a\n1,b\n", "x,a\n", "1,\n"])
def test_tags_that_cannot_be_told_apart_are_refused(tmp_path, connection, rows):
    write_genome(tmp_path, tags=2)
    (tmp_path / "genome-tags.csv").write_text("tagId,tag\n" + rows)
    with pytest.raises(BadRowError, match=r"genome-tags.csv: expected one row a tag"):
        read_genome(tmp_path, connection)


def test_films_are_found_by_whole_numbers_and_by_text(tmp_path, connection):
    genome = read_genome(write_genome(tmp_path), connection)
    assert genome.rows_of(pa.chunked_array([[3, 99, 1]])).tolist() == [2, -1, 0]
    assert genome.rows_of(pa.array(["3", "film-3"])).tolist() == [2, -1]


@pytest.mark.skipif(not PARTIAL.is_dir(), reason="the shared data are not here")
def test_the_real_genome_keeps_1128_tags_a_film(connection):
    genome = read_genome(PARTIAL, connection)
    assert genome.relevance.shape == (208, 1128)
    assert genome.tags[0] == "007"
    assert genome.relevance[0, :2].tolist() == [np.float32(0.029), np.float32(0.02375)]
    assert not genome.missing


def note_world(items: int, tags: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    genres = (rng.random((items, len(GENRE_NAMES))) < 0.2).astype(np.float32)
    return rng.random((items, tags), dtype=np.float32), genres


def test_note_vectors_are_scikit_learns_two_svds_to_the_letter():
    relevance, genres = note_world(150, 120)
    tags = TruncatedSVD(80, n_iter=7, random_state=42).fit_transform(relevance.astype(np.float64))
    both = np.hstack([tags, genres])
    expected = TruncatedSVD(64, n_iter=7, random_state=42).fit_transform(both)
    made = genome_svd_vectors(relevance, genres)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, expected, atol=1e-6)


def test_note_vectors_of_few_films_are_padded_with_zeros_and_keep_all_angles():
    relevance, genres = note_world(10, 12)
    made = genome_svd_vectors(relevance, genres)
    assert made.shape == (10, 64)
    assert not made[:, 10:].any()
    both = np.hstack([relevance, genres])
    np.testing.assert_allclose(made @ made.T, both @ both.T, atol=1e-4)


def test_films_that_are_all_alike_reduce_to_one_vector():
    made = reduce_rank(np.ones((5, 4)), 3, n_iter=7, seed=42)
    np.testing.assert_allclose(made[:, 0], 2.0)
    np.testing.assert_allclose(made[:, 1:], 0.0, atol=1e-7)


def test_a_single_column_is_its_own_reduction_and_no_column_is_none():
    assert reduce_rank(np.array([[1.0], [3.0]]), 2, n_iter=7, seed=42).tolist() == [[1, 0], [3, 0]]
    assert reduce_rank(np.zeros((2, 0)), 2, n_iter=7, seed=42).tolist() == [[0, 0], [0, 0]]


def test_genres_of_every_release_are_spelled_alike():
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
    named = [[GENRE_NAMES[column] for column in np.flatnonzero(row)] for row in matrix]
    assert named == [
        ["Children", "IMAX"],
        ["Children"],
        [NO_GENRES],
        [NO_GENRES],
        [NO_GENRES],
        [NO_GENRES],
        [NO_GENRES],
    ]
