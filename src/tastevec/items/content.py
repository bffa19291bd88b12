"""Film vectors from what is said about films: their tags, genres, year, title words and genome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tastevec.items.genres import genre_entries
from tastevec.items.reduction import reduce_rank
from tastevec.schema import GENRES, ITEM_ID, TAG, TITLE, WEIGHT, YEAR

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from tastevec.items.genome import Genome

__all__ = ["content_vectors"]

# The length of each kind of feature in a film's row. Chosen on ml-1m with the tags of ml-10m, by how much of the
# collaborative factors of films left out a ridge explains (30 %; 24 % without tags): halving or doubling any one
# moves it by less than one point.
_LENGTHS: Final = {"tags": 1.0, "genome": 1.0, "genres": 0.7, "year": 0.7, "title": 0.3}
_ITERATIONS = 7
_DECADES: Final = np.arange(1890, 2050, 10)
_YEAR_WIDTH = 7.0  # years; neighbouring decades overlap, so that 1989 lies near 1990
_FAR = 0.01  # a decade three widths away counts as nothing
_SHARED = 2  # films that must have a tag or a title word: what a single film has makes no two films alike


def content_vectors(
    items: pa.Table, tags: pa.Table, genome: Genome | None = None, *, dim: int = 64, seed: int = 42
) -> NDArray[np.float32]:
    """What is known of each film in ``dim`` numbers; a row of zeros where nothing is, or nothing sets it apart.

    Five blocks stand side by side: tags (log of their weight x inverse film frequency), genome (relevance less each
    tag's mean), genres and title words (inverse film frequency), and the year (bells ten years apart). Each block of
    a film has a fixed length, so that a film with many tags is no longer than one with few. TruncatedSVD reduces
    them, and the mean of the films that have any content is taken away, for else all vectors share one direction.
    They are not scaled: earlier columns matter more, and a film of which little is known is short.

    Args:
        items: N films with ``item_id``, ``title``, ``year``, ``genres``.
        tags: What was said of films, ``item_id``, ``tag``, ``weight``; films not in ``items`` are passed over. Leave
            out the tags of people who must stay unseen.
        genome: Where there is one, for the films that it holds.
        dim: Numbers a film.
        seed: Seed of the SVD.

    Returns:
        (N, dim) float32.
    """
    from scipy import sparse  # noqa: PLC0415 - an extra

    count = len(items)
    blocks = {
        "tags": _weigh(_tag_entries(items[ITEM_ID], tags), count, shared=_SHARED),
        "genome": _genome_block(items[ITEM_ID], genome),
        "genres": _weigh(_genre_entries(items[GENRES]), count, shared=1),
        "year": _year_block(items[YEAR]),
        "title": _weigh(_word_entries(items[TITLE]), count, shared=_SHARED),
    }
    wide = sparse.hstack([_LENGTHS[name] * block for name, block in blocks.items()], format="csr")  # (N, F)
    known = np.flatnonzero(np.diff(wide.indptr))
    vectors = np.zeros((count, dim), np.float32)
    if len(known):
        reduced = reduce_rank(wide[known], dim, n_iter=_ITERATIONS, seed=seed)
        vectors[known] = reduced - reduced.mean(axis=0)
    return vectors


@dataclass(frozen=True, eq=False)
class _Entries:
    """What was said: film positions (E,), tokens (E,), weights (E,)."""

    films: NDArray[np.int64]
    tokens: pa.Array
    weights: NDArray[np.float64]


def _tag_entries(item_ids: pa.ChunkedArray, tags: pa.Table) -> _Entries:
    ids = tags[ITEM_ID].cast(item_ids.type)
    films = pc.fill_null(pc.index_in(ids, item_ids.combine_chunks()), -1).to_numpy()
    kept = (films >= 0) & (pc.fill_null(tags[TAG], "").to_numpy() != "")
    return _Entries(
        films[kept].astype(np.int64), tags[TAG].filter(pa.array(kept)), tags[WEIGHT].to_numpy()[kept]
    )


def _genre_entries(genres: pa.ChunkedArray) -> _Entries:
    films, names = genre_entries(genres)
    return _Entries(films, names, np.ones(len(films)))


def _word_entries(titles: pa.ChunkedArray) -> _Entries:
    """The words of each title, lower-cased, without the year in brackets that MovieLens puts behind it."""
    bare = pc.replace_substring_regex(pc.fill_null(titles, ""), r"\(\d{4}\)\s*$", "")
    words = pc.utf8_split_whitespace(pc.replace_substring_regex(pc.utf8_lower(bare), r"[^\pL\pN]+", " "))
    words = words.combine_chunks()
    films = pc.list_parent_indices(words).to_numpy().astype(np.int64)
    flat = pc.list_flatten(words)
    kept = pc.not_equal(flat, "").to_numpy(zero_copy_only=False)  # Arrow splits "" into one empty word
    return _Entries(films[kept], flat.filter(pa.array(kept)), np.ones(int(kept.sum())))


def _weigh(entries: _Entries, count: int, *, shared: int) -> csr_matrix:
    """(N, V) tf-idf rows of length 1 over the tokens that at least ``shared`` films have."""
    from scipy import sparse  # noqa: PLC0415 - an extra

    vocabulary = pc.unique(entries.tokens).sort()  # sorted, so that the order of rows changes nothing
    columns = pc.index_in(entries.tokens, vocabulary).to_numpy()
    shape = (count, len(vocabulary))
    counted = sparse.csr_matrix(
        (entries.weights, (entries.films, columns)), shape=shape
    )  # sums repeated entries
    counted.data = np.log1p(np.maximum(counted.data, 0.0))
    counted.eliminate_zeros()
    films = np.bincount(counted.indices, minlength=len(vocabulary))
    counted = counted[:, films >= shared] @ sparse.diags(np.log((1 + count) / films[films >= shared]))
    return _unit_rows(counted)


def _genome_block(item_ids: pa.ChunkedArray, genome: Genome | None) -> csr_matrix:
    """(N, T) centred, so that an absent row of zeros is the average film and not one to which no tag applies."""
    from scipy import sparse  # noqa: PLC0415 - an extra

    rows = np.full(len(item_ids), -1) if genome is None else genome.rows_of(item_ids)
    known = np.flatnonzero(rows >= 0)
    if genome is None or not len(known):
        return sparse.csr_matrix((len(item_ids), 0))
    relevance = genome.relevance[rows[known]].astype(np.float64)
    place = sparse.csr_matrix(
        (np.ones(len(known)), (known, np.arange(len(known)))), shape=(len(item_ids), len(known))
    )
    return _unit_rows(place @ sparse.csr_matrix(relevance - relevance.mean(axis=0)))


def _year_block(years: pa.ChunkedArray) -> csr_matrix:
    """(N, decades) how near each decade is; a film without a year has none."""
    from scipy import sparse  # noqa: PLC0415 - an extra

    known = pc.is_valid(years).to_numpy()
    near = np.exp(-0.5 * ((pc.fill_null(years, 0).to_numpy()[:, None] - _DECADES) / _YEAR_WIDTH) ** 2)
    return _unit_rows(sparse.csr_matrix(near * known[:, None] * (near > _FAR)))


def _unit_rows(block: csr_matrix) -> csr_matrix:
    """The same rows with length 1; a row of zeros stays one."""
    from scipy import sparse  # noqa: PLC0415 - an extra

    lengths = np.sqrt(np.asarray(block.multiply(block).sum(axis=1)).ravel())
    return sparse.csr_matrix(sparse.diags(1.0 / np.where(lengths > 0, lengths, 1.0)) @ block)
