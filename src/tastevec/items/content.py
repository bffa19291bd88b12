"""Content vectors: item features from tags, genres, year, title words and genome, reduced by SVD.

Dimensions: N items, V words of a vocabulary, T genome tags, G items with a genome row, F features, E entries.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from safetensors.numpy import save_file

from tastevec.data.arrays import HEADER, check_shapes, read_arrays, read_header
from tastevec.data.files import StrictModel
from tastevec.errors import DataError
from tastevec.items.linalg import reduce_rank
from tastevec.schema import GENRES, ITEM_ID, TAG, TITLE, WEIGHT, YEAR

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from tastevec.items.genome import Genome

NO_GENRES: Final = "(no genres listed)"
# The 20 columns of the research note, in the order of MovieLens' readme.
GENRE_NAMES: Final = (
    *("Action", "Adventure", "Animation", "Children", "Comedy", "Crime", "Documentary", "Drama", "Fantasy"),
    *("Film-Noir", "Horror", "IMAX", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
    NO_GENRES,
)
# ml-100k and ml-1m write "Children's", ml-100k "unknown"; other tables may have an empty name.
_OTHER_SPELLINGS = {"Children's": "Children", "unknown": NO_GENRES, "": NO_GENRES}


def genre_entries(genres: pa.ChunkedArray) -> tuple[NDArray[np.int64], pa.Array]:
    """Return the item index (E,) and the name (E,) of each genre of each item, in one spelling.

    An item without a genre has no entry, whether its list is empty, null, or ``(no genres listed)``.
    """
    lists = genres.combine_chunks() if isinstance(genres, pa.ChunkedArray) else genres
    items = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False).astype(np.int64)
    names = pc.utf8_trim_whitespace(pc.list_flatten(lists).cast(pa.string()))
    for other, name in _OTHER_SPELLINGS.items():
        names = pc.if_else(pc.equal(names, other), name, names)
    known = pc.fill_null(pc.not_equal(names, NO_GENRES), fill_value=False).to_numpy(zero_copy_only=False)
    return items[known], names.filter(pa.array(known))


def genre_matrix(genres: pa.ChunkedArray) -> NDArray[np.float32]:
    """Return genres as the 20 columns of the research note, (N, 20) float32 of 0 and 1.

    Columns are as in ``GENRE_NAMES``; genres that MovieLens does not have are ignored. An item without any genre has
    ``(no genres listed)``.

    Args:
        genres: (N,) lists of genre names.

    Examples:
        >>> genre_matrix(pa.chunked_array([[["Action", "Children's"], []]])).nonzero()
        (array([0, 0, 1]), array([ 0,  3, 19]))
    """
    items, names = genre_entries(genres)
    columns: NDArray[Any] = pc.fill_null(pc.index_in(names, pa.array(GENRE_NAMES)), -1).to_numpy()
    matrix = np.zeros((len(genres), len(GENRE_NAMES)), np.float32)
    matrix[items[columns >= 0], columns[columns >= 0]] = 1.0
    matrix[~matrix.any(axis=1), GENRE_NAMES.index(NO_GENRES)] = 1.0
    return matrix


# The norm of each block of features in an item's row. Selected on ml-1m with the tags of ml-10m, by the variance of held-out
# items' collaborative factors that a ridge explains (30 %; 24 % without tags): halving or doubling any one moves it by less
# than one point.
_NORMS: Final = {"tags": 1.0, "genome": 1.0, "genres": 0.7, "year": 0.7, "title": 0.3}
# Items that must have a word before it counts: a word of a single item makes no two items similar.
_MIN_ITEMS: Final = {"tags": 2, "genres": 1, "title": 2}
VOCABULARIES: Final = tuple(_MIN_ITEMS)
_DECADES: Final = np.arange(1890, 2050, 10)
_YEAR_WIDTH = 7.0  # years; neighboring decades overlap, so that 1989 is similar to 1990
_NEGLIGIBLE = 0.01  # a decade three widths away counts as nothing


@dataclass(frozen=True, eq=False)
class RawFeatures:
    """Features of N items as the source gives them, before normalization.

    Attributes:
        counts: (N, V) float64 of each vocabulary: the summed weight of each tag, the occurrences of each genre and word.
        years: (N,) int32, 0 where unknown.
        genome_items: (G,) int64 indices of the items with a genome row, ascending.
        relevance: (G, T) genome relevance of these items, in [0, 1].
    """

    counts: Mapping[str, csr_matrix]
    years: NDArray[np.int32]
    genome_items: NDArray[np.int64]
    relevance: NDArray[np.floating[Any]]

    def of_all_items(self, values: NDArray[np.floating[Any]]) -> csr_matrix:
        """Return values of the items with a genome row (G, T) as rows of all items, (N, T)."""
        from scipy import sparse  # noqa: PLC0415 - an extra

        lengths = np.zeros(len(self.years), np.int64)
        lengths[self.genome_items] = values.shape[1]
        columns = np.tile(np.arange(values.shape[1], dtype=np.int32), len(values))
        shape = (len(lengths), values.shape[1])
        return sparse.csr_matrix((values.ravel(), columns, np.concatenate([[0], np.cumsum(lengths)])), shape)


@dataclass(frozen=True, eq=False)
class ContentFeatures:
    """Definition of the features: vocabularies, inverse item frequencies and genome means.

    A row of features has five blocks: tags (log of their weight x inverse item frequency), genome (relevance less each
    tag's mean), genres and title words (inverse item frequency), and the year (Gaussians ten years apart). Each block of an
    item has a fixed norm, so that an item with many tags has no longer vector than one with few.

    Attributes:
        words: The V words of each vocabulary (``tags``, ``genres``, ``title``), sorted.
        rarities: (V,) float64 of each vocabulary: the logarithm of the inverse share of items with the word.
        genome_tags: The T tags of the genome; empty without one.
        genome_means: (T,) float64, the mean relevance of each.
    """

    words: Mapping[str, tuple[str, ...]]
    rarities: Mapping[str, NDArray[np.float64]]
    genome_tags: tuple[str, ...]
    genome_means: NDArray[np.float64]

    @classmethod
    def fit(cls, items: pa.Table, tags: pa.Table, genome: Genome | None = None) -> ContentFeatures:
        """Return the features that these items define, for these and for new items.

        Args:
            items: N items with ``item_id``, ``title``, ``year``, ``genres``.
            tags: ``item_id``, ``tag``, ``weight``; items that are not in ``items`` are ignored. Without the tags of
                validation and test users.
            genome: Genome of some of the items.
        """
        words, rarities = {}, {}
        for name, entries in _entries(items, tags).items():
            words[name], rarities[name] = _vocabulary(entries, len(items), min_items=_MIN_ITEMS[name])
        rows = _genome_rows(items, genome)
        known = rows[rows >= 0]
        if genome is None or not len(known):
            return cls(words, rarities, (), np.zeros(0))
        means = genome.relevance[known].mean(axis=0, dtype=np.float64)
        return cls(words, rarities, genome.tags, means)

    def read(self, items: pa.Table, tags: pa.Table, genome: Genome | None = None) -> RawFeatures:
        """Return the raw features of items, as in `fit`; words outside the vocabularies are ignored.

        Raises:
            DataError: The genome lacks tags that these features have.
        """
        counts = {
            name: _counts(entries, pa.array(self.words[name], pa.string()), len(items))
            for name, entries in _entries(items, tags).items()
        }
        years = pc.fill_null(items[YEAR], 0).to_numpy().astype(np.int32)
        rows = _genome_rows(items, genome)
        known = np.flatnonzero(rows >= 0)
        relevance = np.zeros((0, len(self.genome_tags)), np.float32)
        if genome is not None and len(known):
            relevance = np.take(genome.relevance[rows[known]], self._genome_columns(genome), axis=1)
        return RawFeatures(counts, years, known, relevance)

    def rows(self, items: pa.Table, tags: pa.Table, genome: Genome | None = None) -> csr_matrix:
        """Return the normalized features of items, (N, F), as in `read` and `normalize`."""
        return self.normalize(self.read(items, tags, genome))

    def normalize(self, raw: RawFeatures) -> csr_matrix:
        """Return the rows of features, (N, F); zeros for an item without any. No row depends on another."""
        from scipy import sparse  # noqa: PLC0415 - an extra

        blocks = self.blocks(raw)
        for name, block in blocks.items():
            block.data *= _NORMS[name]  # in place: that of a full genome is 200 MB
        rows: csr_matrix = sparse.hstack(list(blocks.values()), "csr")
        return rows

    def blocks(self, raw: RawFeatures) -> dict[str, csr_matrix]:
        """Return the blocks of columns by name, each row of norm 1, or 0 without any feature of that kind."""
        return {
            "tags": self._tf_idf("tags", raw.counts["tags"]),
            "genome": self._genome_block(raw),
            "genres": self._tf_idf("genres", raw.counts["genres"]),
            "year": _year_block(raw.years),
            "title": self._tf_idf("title", raw.counts["title"]),
        }

    @property
    def width(self) -> int:
        """F, the number of columns."""
        return sum(map(len, self.words.values())) + len(self.genome_tags) + len(_DECADES)

    def _tf_idf(self, name: str, counts: csr_matrix) -> csr_matrix:
        """Return tf-idf rows of norm 1, (N, V)."""
        from scipy import sparse  # noqa: PLC0415 - an extra

        logs = counts.copy()
        logs.data = np.log1p(np.maximum(logs.data, 0.0))
        logs.eliminate_zeros()
        return _unit_rows(sparse.csr_matrix(logs @ sparse.diags(self.rarities[name])))

    def _genome_block(self, raw: RawFeatures) -> csr_matrix:
        """Return centered relevances, (N, T), so that a row of zeros is the average item, not one without any tag."""
        from scipy import sparse  # noqa: PLC0415 - an extra

        block = raw.of_all_items(raw.relevance - self.genome_means)
        block.eliminate_zeros()
        norms = _norms(sparse.csr_matrix((block.data**2, block.indices, block.indptr), block.shape))
        block.data *= np.repeat(1.0 / norms, np.diff(block.indptr))
        return block

    def _genome_columns(self, genome: Genome) -> list[int]:
        """Return the columns of the feature's tags in this genome, (T,)."""
        columns = {tag: column for column, tag in enumerate(genome.tags)}
        missing = [tag for tag in self.genome_tags if tag not in columns]
        if missing or not self.genome_tags:
            found = f"lacks {len(missing)} of {len(self.genome_tags)} tags" if missing else "is the first one"
            raise DataError(
                f"the genome {found} of these features. Expected the genome of the prepared dataset. Run without "
                "--genome, or prepare and train with this genome"
            )
        return [columns[tag] for tag in self.genome_tags]


@dataclass(frozen=True, eq=False)
class _Entries:
    """Words of items: item indices (E,), words (E,), weights (E,)."""

    items: NDArray[np.int64]
    words: pa.Array
    weights: NDArray[np.float64]


def _entries(items: pa.Table, tags: pa.Table) -> dict[str, _Entries]:
    return {
        "tags": _tag_entries(items[ITEM_ID], tags),
        "genres": _genre_entries(items[GENRES]),
        "title": word_entries(items[TITLE]),
    }


def _tag_entries(item_ids: pa.ChunkedArray, tags: pa.Table) -> _Entries:
    ids = tags[ITEM_ID].cast(item_ids.type)
    items = pc.fill_null(pc.index_in(ids, item_ids.combine_chunks()), -1).to_numpy()
    named = pc.fill_null(pc.not_equal(tags[TAG], ""), fill_value=False).to_numpy()
    known = (items >= 0) & named
    return _Entries(
        items[known].astype(np.int64), tags[TAG].filter(pa.array(known)), tags[WEIGHT].to_numpy()[known]
    )


def _genre_entries(genres: pa.ChunkedArray) -> _Entries:
    items, names = genre_entries(genres)
    return _Entries(items, names, np.ones(len(items)))


def word_entries(titles: pa.ChunkedArray) -> _Entries:
    """Return the lower-case words of each title, without the year in brackets that MovieLens appends."""
    bare = pc.replace_substring_regex(pc.fill_null(titles, ""), r"\(\d{4}\)\s*$", "")
    # Not utf8_split_whitespace: Arrow 26 sometimes overlooks white space at the end of the last text of a column.
    words = pc.split_pattern(pc.replace_substring_regex(pc.utf8_lower(bare), r"[^\pL\pN]+", " "), " ")
    words = words.combine_chunks()
    items = pc.list_parent_indices(words).to_numpy().astype(np.int64)
    flat = pc.list_flatten(words)
    known = pc.not_equal(flat, "").to_numpy(zero_copy_only=False)  # Arrow splits "" into one empty word
    return _Entries(items[known], flat.filter(pa.array(known)), np.ones(int(known.sum())))


def _vocabulary(
    entries: _Entries, count: int, *, min_items: int
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Return the words of at least ``min_items`` items, sorted so that row order has no effect, and their rarities (V,)."""
    words = pc.unique(entries.words).sort()
    counts = _counts(entries, words, count)
    items = np.bincount(counts.indices[counts.data > 0], minlength=len(words))
    common = items >= min_items
    return tuple(words.filter(pa.array(common)).to_pylist()), np.log((1 + count) / items[common])


def _counts(entries: _Entries, vocabulary: pa.Array, count: int) -> csr_matrix:
    """Return the summed weight of each word of each item, (N, V); words outside the vocabulary are ignored."""
    from scipy import sparse  # noqa: PLC0415 - an extra

    columns: NDArray[Any] = pc.fill_null(pc.index_in(entries.words, vocabulary), -1).to_numpy()
    known = columns >= 0
    values = (entries.weights[known], (entries.items[known], columns[known]))
    return sparse.csr_matrix(values, shape=(count, len(vocabulary)))  # sums repeated entries


def _genome_rows(items: pa.Table, genome: Genome | None) -> NDArray[np.int64]:
    return np.full(len(items), -1) if genome is None else genome.rows_of(items[ITEM_ID])


def _year_block(years: NDArray[np.int32]) -> csr_matrix:
    """Return the proximity to each decade, (N, decades); zeros for an unknown year."""
    from scipy import sparse  # noqa: PLC0415 - an extra

    near = np.exp(-0.5 * ((years[:, None] - _DECADES) / _YEAR_WIDTH) ** 2)
    return _unit_rows(sparse.csr_matrix(near * (near > _NEGLIGIBLE)))


def _unit_rows(block: csr_matrix) -> csr_matrix:
    """Return the rows with norm 1; a row of zeros stays one."""
    from scipy import sparse  # noqa: PLC0415 - an extra

    return sparse.csr_matrix(sparse.diags(1.0 / _norms(block.multiply(block))) @ block)


def _norms(squares: csr_matrix) -> NDArray[np.float64]:
    """Return the norm of each row, (N,), from its squared values (N, F); 1 for a row of zeros."""
    norms = np.sqrt(np.asarray(squares.sum(axis=1)).ravel())
    return np.asarray(np.where(norms > 0, norms, 1.0))


_ITERATIONS = 7


def reduce_features(rows: csr_matrix, *, dim: int = 64, seed: int = 42) -> NDArray[np.float32]:
    """Return content vectors, (N, dim) float32; zeros for an item without features.

    TruncatedSVD reduces the rows, and the mean of the items with features is subtracted, for else all vectors share one
    direction. They are not scaled: earlier columns matter more, and an item with few features has a short vector.

    Args:
        rows: (N, F) features.
        dim: Dimensions of a vector.
        seed: Seed of the SVD.
    """
    known = np.flatnonzero(np.diff(rows.indptr))
    vectors = np.zeros((rows.shape[0], dim), np.float32)
    if len(known):
        described = rows if len(known) == len(vectors) else rows[known]  # not copied without need
        reduced = reduce_rank(described, dim, n_iter=_ITERATIONS, seed=seed)
        vectors[known] = reduced - reduced.mean(axis=0)
    return vectors


_GENOME = "genome"
_RARITIES, _MEANS = "rarities.", "genome_means"


class _Words(StrictModel):
    tags: list[str]
    genres: list[str]
    title: list[str]
    genome: list[str]


def save_features(path: Path, features: ContentFeatures, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write the definition of the features, and more arrays, to ``path``."""
    every = {f"{_RARITIES}{name}": values for name, values in features.rarities.items()}
    every |= {_MEANS: features.genome_means, **arrays}
    words = {**features.words, _GENOME: features.genome_tags}
    contiguous = {name: np.ascontiguousarray(values) for name, values in every.items()}
    save_file(contiguous, path, {HEADER: json.dumps(words, ensure_ascii=False)})


def load_features(
    path: Path, again: str, shapes: Mapping[str, tuple[str | int, ...]]
) -> tuple[ContentFeatures, dict[str, NDArray[Any]]]:
    """Read the definition of the features, and the other arrays of the file.

    Args:
        path: The file.
        again: Advice for a damaged file.
        shapes: Shapes of the other arrays, as for `check_shapes`; ``F`` is the features' width, ``T`` the genome's tags.

    Raises:
        FormatError: It is missing or damaged, or its arrays contradict each other or its words.
    """
    arrays, metadata = read_arrays(path, again)
    words = read_header(path, metadata, _Words, again)
    genome_tags = words.pop(_GENOME)
    features = ContentFeatures(
        {name: tuple(vocabulary) for name, vocabulary in words.items()},
        {name: arrays.get(f"{_RARITIES}{name}", np.zeros(0)) for name in words},
        tuple(genome_tags),
        arrays.get(_MEANS, np.zeros(0)),
    )
    own = {f"{_RARITIES}{name}": (len(vocabulary),) for name, vocabulary in words.items()}
    own[_MEANS] = (len(genome_tags),)
    sizes = {"F": features.width, "T": len(genome_tags)}
    check_shapes(path, arrays, {**own, **shapes}, again, sizes=sizes)
    return features, {name: arrays[name] for name in arrays.keys() - own.keys()}
