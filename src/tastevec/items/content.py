"""Content vectors: item features from tags, genres, year, title words, genome, texts, numbers and vectors, reduced by SVD.

Dimensions: N items, V words of a vocabulary, T genome tags, G items with a genome row, D dimensions of a vector, R of its
reduction, F features, E entries.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field
from safetensors.numpy import save_file

from tastevec.data.arrays import HEADER, check_shapes, read_arrays, read_header
from tastevec.data.files import StrictModel
from tastevec.errors import DataError
from tastevec.items.linalg import reduce_rank
from tastevec.items.numeric import (
    N_BELLS,
    Reduction,
    bells,
    number_columns,
    numbers_of,
    quantiles_of,
    row_norms,
    unit_rows,
    vector_columns,
    vectors_of,
)
from tastevec.schema import (
    GENRES,
    ITEM_ID,
    NUMBER_COLUMN,
    TAG,
    TEXT_COLUMN,
    TITLE,
    VECTOR_COLUMN,
    WEIGHT,
    YEAR,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
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
_NORMS: Final = {
    "tags": 1.0,
    "genome": 1.0,
    "genres": 0.7,
    "year": 0.7,
    "title": 0.3,
    "text": 0.5,
    NUMBER_COLUMN: 0.3,
    TEXT_COLUMN: 0.3,
    VECTOR_COLUMN: 0.3,
}
# Items that must have a word before it counts: a word of a single item makes no two items similar.
_MIN_ITEMS: Final = {"tags": 2, "genres": 1, "title": 2, "text": 2}
_MAX_SHARE: Final = 0.1  # of the items that may have a word of a text; "the" and "his" say nothing
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
        numbers: (N,) float64 of each number, NaN where unknown.
        reduced: (N, R) float32 of each vector and text embedding, in its reduction; zeros where unknown.
    """

    counts: Mapping[str, csr_matrix]
    years: NDArray[np.int32]
    genome_items: NDArray[np.int64]
    relevance: NDArray[np.floating[Any]]
    numbers: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    reduced: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

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
    """Definition of the features: vocabularies, inverse item frequencies, genome means, quantiles and reductions.

    A row of features consists of blocks: tags (log of their weight x inverse item frequency), genome (relevance less each
    tag's mean), genres, title words and words of texts (inverse item frequency), the year (Gaussians ten years apart), each
    number (Gaussians at the quantiles), and each vector and text embedding (reduced to 64 dimensions). Each block of an item
    has a fixed norm, so that an item with many tags has no longer vector than one with few.

    Attributes:
        words: The V words of each vocabulary (``tags``, ``genres``, ``title``; ``text`` if texts are read as words), sorted.
        rarities: (V,) float64 of each vocabulary: the logarithm of the inverse share of items with the word.
        genome_tags: The T tags of the genome; empty without one.
        genome_means: (T,) float64, the mean relevance of each.
        quantiles: (9,) float64 of each number, by its column in the items.
        reductions: Of each vector and text embedding, by its column in the items.
        text_model: The sentence encoder of the text embeddings, as `TextEncoder.label`; empty without one.
        norms: Of blocks whose norm is not the usual one: the blocks of a catalog have a norm of at least 1 together, because
            the penalty of the regression would leave little of less. What the others lack, the title words have.
    """

    words: Mapping[str, tuple[str, ...]]
    rarities: Mapping[str, NDArray[np.float64]]
    genome_tags: tuple[str, ...]
    genome_means: NDArray[np.float64]
    quantiles: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    reductions: Mapping[str, Reduction] = field(default_factory=dict)
    text_model: str = ""
    norms: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def fit(
        cls,
        items: pa.Table,
        tags: pa.Table,
        genome: Genome | None = None,
        *,
        training: NDArray[np.bool_] | None = None,
        text_model: str = "",
    ) -> ContentFeatures:
        """Return the features that these items define, for these and for new items.

        Args:
            items: N items with ``item_id``, ``title``, ``year``, ``genres``, and perhaps columns of numbers, vectors and texts
                (which are text embeddings if they are lists of numbers), as `tastevec.data.intake.items.read_items` names them.
            tags: ``item_id``, ``tag``, ``weight``; items that are not in ``items`` are ignored. Without the tags of
                validation and test users.
            genome: Genome of some of the items.
            training: (N,) whether training users interacted with an item; quantiles and reductions are those of these items.
                None takes all items.
            text_model: The sentence encoder of the text embeddings.
        """
        every, rows = _entries(items, tags), _genome_rows(items, genome)
        count = _described(items, every, rows)
        words, rarities = {}, {}
        for name, entries in every.items():
            words[name], rarities[name] = _vocabulary(entries, len(items), count, name)
        fitted = items if training is None else items.filter(pa.array(training))
        quantiles = {name: quantiles_of(numbers_of(fitted, name)) for name in number_columns(items)}
        reductions = {name: Reduction.fit(vectors_of(fitted, name)) for name in vector_columns(items)}
        text_model = text_model if any(name.startswith(TEXT_COLUMN) for name in reductions) else ""
        known = rows[rows >= 0]
        tag_names: tuple[str, ...] = ()
        means = np.zeros(0)
        if genome is not None and len(known):
            tag_names, means = genome.tags, genome.relevance[known].mean(axis=0, dtype=np.float64)
        blocks = [
            name for name, vocabulary in words.items() if len(vocabulary) > (name == "title")
        ]  # "item 1", "item 2"
        blocks += ["genome"] * bool(tag_names) + [YEAR] * bool(pc.any(pc.greater(items[YEAR], 0)).as_py())
        norms = _norms_of([*blocks, *quantiles, *reductions])
        return cls(words, rarities, tag_names, means, quantiles, reductions, text_model, norms)

    @property
    def prefixed(self) -> bool:
        """Whether categories of several columns are named ``column:word``; new items are then named like that, too."""
        return bool(self.words["genres"]) and all(":" in word for word in self.words["genres"])

    def read(self, items: pa.Table, tags: pa.Table, genome: Genome | None = None) -> RawFeatures:
        """Return the raw features of items, as in `fit`; words outside the vocabularies are ignored.

        Raises:
            DataError: The genome lacks tags that these features have.
        """
        entries = _entries(items, tags) | ({} if "text" not in self.words else {"text": _text_entries(items)})
        counts = {
            name: _counts(entries[name], pa.array(words, pa.string()), len(items))
            for name, words in self.words.items()
        }
        years = pc.fill_null(items[YEAR], 0).to_numpy().astype(np.int32)
        rows = _genome_rows(items, genome)
        known = np.flatnonzero(rows >= 0)
        relevance = np.zeros((0, len(self.genome_tags)), np.float32)
        if genome is not None and len(known):
            relevance = np.take(genome.relevance[rows[known]], self._genome_columns(genome), axis=1)
        numbers = {name: numbers_of(items, name) for name in self.quantiles}
        reduced = {
            name: reduction(vectors_of(items, name, len(reduction.mean)))
            for name, reduction in self.reductions.items()
        }
        return RawFeatures(counts, years, known, relevance, numbers, reduced)

    def rows(self, items: pa.Table, tags: pa.Table, genome: Genome | None = None) -> csr_matrix:
        """Return the normalized features of items, (N, F), as in `read` and `normalize`."""
        return self.normalize(self.read(items, tags, genome))

    def normalize(self, raw: RawFeatures) -> csr_matrix:
        """Return the rows of features, (N, F); zeros for an item without any. No row depends on another."""
        from scipy import sparse  # noqa: PLC0415 - an extra

        blocks = self.blocks(raw)
        for name, block in blocks.items():
            block.data *= self.norms.get(name, _norm_of(name))  # in place: that of a full genome is 200 MB
        rows: csr_matrix = sparse.hstack(list(blocks.values()), "csr")
        return rows

    def blocks(self, raw: RawFeatures) -> dict[str, csr_matrix]:
        """Return the blocks of columns by name, each row of norm 1, or 0 without any feature of that kind."""
        from scipy import sparse  # noqa: PLC0415 - an extra

        words = {name: self._tf_idf(name, counts) for name, counts in raw.counts.items()}
        return {
            "tags": words.pop("tags"),
            "genome": self._genome_block(raw),
            "genres": words.pop("genres"),
            "year": _year_block(raw.years),
            **words,
            **{name: bells(values, self.quantiles[name]) for name, values in raw.numbers.items()},
            **{
                name: unit_rows(sparse.csr_matrix(rows.astype(np.float64)))
                for name, rows in raw.reduced.items()
            },
        }

    @property
    def width(self) -> int:
        """F, the number of columns."""
        reduced = sum(int(reduction.axes.shape[1]) for reduction in self.reductions.values())
        known = sum(map(len, self.words.values())) + len(self.genome_tags) + len(_DECADES)
        return known + N_BELLS * len(self.quantiles) + reduced

    def _tf_idf(self, name: str, counts: csr_matrix) -> csr_matrix:
        """Return tf-idf rows of norm 1, (N, V)."""
        from scipy import sparse  # noqa: PLC0415 - an extra

        logs = counts.copy()
        logs.data = np.log1p(np.maximum(logs.data, 0.0))
        logs.eliminate_zeros()
        return unit_rows(sparse.csr_matrix(logs @ sparse.diags(self.rarities[name])))

    def _genome_block(self, raw: RawFeatures) -> csr_matrix:
        """Return centered relevances, (N, T), so that a row of zeros is the average item, not one without any tag."""
        from scipy import sparse  # noqa: PLC0415 - an extra

        block = raw.of_all_items(raw.relevance - self.genome_means)
        block.eliminate_zeros()
        norms = row_norms(sparse.csr_matrix((block.data**2, block.indices, block.indptr), block.shape))
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
    # Where the ID is shown in place of a missing title, it is no word.
    is_id = pc.equal(items[TITLE], items[ITEM_ID].cast(pa.string()))
    words = {
        "tags": _tag_entries(items[ITEM_ID], tags),
        "genres": _genre_entries(items[GENRES]),
        "title": word_entries(pc.if_else(is_id, "", items[TITLE])),
    }
    return words | ({"text": _text_entries(items)} if _texts(items) else {})


def _described(items: pa.Table, entries: Mapping[str, _Entries], genome_rows: NDArray[np.int64]) -> int:
    """Return how many items have any metadata: an item that only a held-out user touched must not change the others."""
    known = (genome_rows >= 0) | (pc.fill_null(items[YEAR], 0).to_numpy() > 0)
    for some in entries.values():
        known[some.items] = True
    for name in number_columns(items):
        known |= np.isfinite(numbers_of(items, name))
    for name in vector_columns(items):
        known |= vectors_of(items, name).any(axis=1)
    return int(known.sum())


def _texts(items: pa.Table) -> list[str]:
    """Return the columns of texts that are no embeddings."""
    return [
        name
        for name in items.column_names
        if name.startswith(TEXT_COLUMN) and name not in vector_columns(items)
    ]


def _text_entries(items: pa.Table) -> _Entries:
    """Return the words of all texts of each item."""
    columns = [pc.fill_null(items[name], "") for name in _texts(items)]
    empty = pa.chunked_array([pa.array([""] * len(items))])
    return word_entries(pc.binary_join_element_wise(*columns, " ") if columns else empty)


def _norms_of(blocks: list[str]) -> dict[str, float]:
    """Return the norms of the blocks of a catalog that differ from the usual ones."""
    squares = {name: _norm_of(name) ** 2 for name in blocks}
    total = sum(squares.values())
    if not squares or total >= 1:
        return {}
    if "title" in squares:
        return {"title": math.sqrt(squares["title"] + 1 - total)}
    return {name: math.sqrt(square / total) for name, square in squares.items()}


def _norm_of(block: str) -> float:
    """Return the norm of a block by its name, or by the kind of its column."""
    return _NORMS[block] if block in _NORMS else _NORMS[f"{block.partition(':')[0]}:"]


def _tag_entries(item_ids: pa.ChunkedArray, tags: pa.Table) -> _Entries:
    ids = tags[ITEM_ID]
    if ids.type != item_ids.type:  # IDs are compared as texts
        ids, item_ids = ids.cast(pa.string()), item_ids.cast(pa.string())
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
    entries: _Entries, n_items: int, count: int, name: str
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Return the words of enough items, of a text not of too many, sorted so that row order has no effect; their rarities (V,)."""
    words = pc.unique(entries.words).sort()
    counts = _counts(entries, words, n_items)
    items = np.bincount(counts.indices[counts.data > 0], minlength=len(words))
    common = items >= _MIN_ITEMS[name]
    if name == "text":
        common &= items <= max(_MAX_SHARE * count, _MIN_ITEMS[name])
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
    return unit_rows(sparse.csr_matrix(near * (near > _NEGLIGIBLE)))


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
_QUANTILES, _VECTOR_MEAN, _VECTOR_AXES = "quantiles.", "vector_mean.", "vector_axes."


class _Header(StrictModel):
    tags: list[str]
    genres: list[str]
    title: list[str]
    genome: list[str]
    text: list[str] | None = None
    numbers: list[str] = Field(default_factory=list)
    vectors: list[str] = Field(default_factory=list)
    text_model: str = ""
    norms: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(default_factory=dict)


def save_features(path: Path, features: ContentFeatures, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write the definition of the features, and more arrays, to ``path``."""
    every: dict[str, NDArray[Any]] = {
        f"{_RARITIES}{name}": values for name, values in features.rarities.items()
    }
    every |= {f"{_QUANTILES}{name}": values for name, values in features.quantiles.items()}
    for name, reduction in features.reductions.items():
        every |= {f"{_VECTOR_MEAN}{name}": reduction.mean, f"{_VECTOR_AXES}{name}": reduction.axes}
    every |= {_MEANS: features.genome_means, **arrays}
    more = {
        "numbers": list(features.quantiles),
        "vectors": list(features.reductions),
        "text_model": features.text_model,
        "norms": dict(features.norms),
    }
    header = {
        **features.words,
        _GENOME: features.genome_tags,
        **{name: value for name, value in more.items() if value},
    }
    contiguous = {name: np.ascontiguousarray(values) for name, values in every.items()}
    save_file(contiguous, path, {HEADER: json.dumps(header, ensure_ascii=False)})


def load_features(
    path: Path, again: str, shapes: Callable[[ContentFeatures], Mapping[str, tuple[str | int, ...]]]
) -> tuple[ContentFeatures, dict[str, NDArray[Any]]]:
    """Read the definition of the features, and the other arrays of the file.

    Args:
        path: The file.
        again: Advice for a damaged file.
        shapes: Returns the shapes of the other arrays, as for `check_shapes`; ``F`` is the features' width, ``T`` the
            genome's tags.

    Raises:
        FormatError: It is missing or damaged, or its arrays contradict each other or its words.
    """
    arrays, metadata = read_arrays(path, again)
    header = _Header(**read_header(path, metadata, _Header, again))
    words = {name: getattr(header, name) for name in _MIN_ITEMS}
    words = {name: tuple(vocabulary) for name, vocabulary in words.items() if vocabulary is not None}
    own: dict[str, tuple[str | int, ...]] = {
        f"{_RARITIES}{name}": (len(found),) for name, found in words.items()
    }
    own |= {
        _MEANS: (len(header.genome),),
        **{f"{_QUANTILES}{name}": (N_BELLS + 1,) for name in header.numbers},
    }
    for name in header.vectors:
        own |= {f"{_VECTOR_MEAN}{name}": (f"D {name}",), f"{_VECTOR_AXES}{name}": (f"D {name}", f"R {name}")}
    check_shapes(path, arrays, own, again)
    features = ContentFeatures(
        words,
        {name: arrays[f"{_RARITIES}{name}"] for name in words},
        tuple(header.genome),
        arrays[_MEANS],
        {name: arrays[f"{_QUANTILES}{name}"] for name in header.numbers},
        {
            name: Reduction(arrays[f"{_VECTOR_MEAN}{name}"], arrays[f"{_VECTOR_AXES}{name}"])
            for name in header.vectors
        },
        header.text_model,
        header.norms,
    )
    sizes = {"F": features.width, "T": len(header.genome)}
    check_shapes(path, arrays, shapes(features), again, sizes=sizes)
    return features, {name: arrays[name] for name in arrays.keys() - own.keys()}
