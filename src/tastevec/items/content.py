"""Content vectors: item features from tags, genres, year, title words and genome, reduced by SVD."""

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
from tastevec.schema import GENRES, ITEM_ID, PREPARE_AGAIN, TAG, TITLE, WEIGHT, YEAR

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from tastevec.items.genome import Genome

__all__ = [
    "GENRE_NAMES",
    "NO_GENRES",
    "ContentFeatures",
    "content_vectors",
    "genre_entries",
    "genre_matrix",
    "load_features",
    "reduce_features",
    "save_features",
]

NO_GENRES: Final = "(no genres listed)"
# The 20 columns of the research note, in the order of MovieLens' own readme.
GENRE_NAMES: Final = (
    "Action",
    "Adventure",
    "Animation",
    "Children",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "IMAX",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
    NO_GENRES,
)
# ml-100k and ml-1m say "Children's", ml-100k "unknown"; one's own tables may leave the name empty.
_OTHER_SPELLINGS = {"Children's": "Children", "unknown": NO_GENRES, "": NO_GENRES}


def genre_entries(genres: pa.ChunkedArray) -> tuple[NDArray[np.int64], pa.Array]:
    """Each genre of each film: the film's position (E,) and the genre's name (E,), in one spelling.

    A film without a genre has no entry, whether its list is empty, null, or names ``(no genres listed)``.
    """
    lists = genres.combine_chunks() if isinstance(genres, pa.ChunkedArray) else genres
    items = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False).astype(np.int64)
    names = pc.utf8_trim_whitespace(pc.list_flatten(lists).cast(pa.string()))
    for other, name in _OTHER_SPELLINGS.items():
        names = pc.if_else(pc.equal(names, other), name, names)
    known = pc.fill_null(pc.not_equal(names, NO_GENRES), fill_value=False).to_numpy(zero_copy_only=False)
    return items[known], names.filter(pa.array(known))


def genre_matrix(genres: pa.ChunkedArray) -> NDArray[np.float32]:
    """Genres as the note's 20 columns, 1 where a film has the genre.

    Genres that MovieLens does not know have no column here; a film left without any has ``(no genres listed)``.

    Args:
        genres: (N,) lists of genre names.

    Returns:
        (N, 20) float32 of 0 and 1, columns as in ``GENRE_NAMES``.

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


# The length of each kind of feature in a film's row. Chosen on ml-1m with the tags of ml-10m, by how much of the
# collaborative factors of films left out a ridge explains (30 %; 24 % without tags): halving or doubling any one
# moves it by less than one point.
_LENGTHS: Final = {"tags": 1.0, "genome": 1.0, "genres": 0.7, "year": 0.7, "title": 0.3}
# Films that must have a word before it counts: what a single film has makes no two films alike.
_SHARED: Final = {"tags": 2, "genres": 1, "title": 2}
_DECADES: Final = np.arange(1890, 2050, 10)
_YEAR_WIDTH = 7.0  # years; neighbouring decades overlap, so that 1989 lies near 1990
_FAR = 0.01  # a decade three widths away counts as nothing


@dataclass(frozen=True, eq=False)
class ContentFeatures:
    """How films are read: which words count and how much, and what the genome's average film is.

    Five blocks of columns stand side by side: tags (log of their weight x inverse film frequency), genome (relevance
    less each tag's mean), genres and title words (inverse film frequency), and the year (bells ten years apart). Each
    block of a film has a fixed length, so that a film with many tags is no longer than one with few.

    Attributes:
        words: The V words of each vocabulary (``tags``, ``genres``, ``title``), sorted.
        rarities: (V,) float64 of each vocabulary: the logarithm of the inverse share of films that have the word.
        genome_tags: The T tags of the genome; none where no film had one.
        genome_means: (T,) float64, the mean relevance of each.
    """

    words: Mapping[str, tuple[str, ...]]
    rarities: Mapping[str, NDArray[np.float64]]
    genome_tags: tuple[str, ...]
    genome_means: NDArray[np.float64]

    @classmethod
    def fit(cls, items: pa.Table, tags: pa.Table, genome: Genome | None = None) -> ContentFeatures:
        """What can be read from these films, and films that come later are read by.

        Args:
            items: N films with ``item_id``, ``title``, ``year``, ``genres``.
            tags: What was said of films, ``item_id``, ``tag``, ``weight``; films not in ``items`` are passed over.
            genome: Where there is one, for the films that it holds.
        """
        words, rarities = {}, {}
        for name, said in _entries(items, tags).items():
            words[name], rarities[name] = _weighed(said, len(items), shared=_SHARED[name])
        rows = _genome_rows(items, genome)
        known = rows[rows >= 0]
        if genome is None or not len(known):
            return cls(words, rarities, (), np.zeros(0))
        means = genome.relevance[known].mean(axis=0, dtype=np.float64)
        return cls(words, rarities, genome.tags, means)

    def rows(self, items: pa.Table, tags: pa.Table, genome: Genome | None = None) -> csr_matrix:
        """(N, F) the features of these films; a row of zeros where nothing is known. No row depends on another.

        Raises:
            DataError: The genome lacks tags that these features have.
        """
        from scipy import sparse  # noqa: PLC0415 - an extra

        blocks = self.blocks(items, tags, genome)
        for name, block in blocks.items():
            block.data *= _LENGTHS[name]  # in place: a whole genome's is 200 MB
        wide: csr_matrix = sparse.hstack(list(blocks.values()), "csr")
        return wide

    def blocks(self, items: pa.Table, tags: pa.Table, genome: Genome | None = None) -> dict[str, csr_matrix]:
        """The blocks of columns by name, each row of length 1, or 0 where nothing of that kind is known.

        Raises:
            DataError: The genome lacks tags that these features have.
        """
        said = _entries(items, tags)
        return {
            "tags": self._read("tags", said["tags"], len(items)),
            "genome": self._genome_block(items, genome),
            "genres": self._read("genres", said["genres"], len(items)),
            "year": _year_block(items[YEAR]),
            "title": self._read("title", said["title"], len(items)),
        }

    @property
    def width(self) -> int:
        """F, the number of columns."""
        return sum(map(len, self.words.values())) + len(self.genome_tags) + len(_DECADES)

    def _read(self, name: str, said: _Entries, count: int) -> csr_matrix:
        """(N, V) tf-idf rows of length 1."""
        from scipy import sparse  # noqa: PLC0415 - an extra

        counted = _counted(said, pa.array(self.words[name], pa.string()), count)
        return _unit_rows(sparse.csr_matrix(counted @ sparse.diags(self.rarities[name])))

    def _genome_block(self, items: pa.Table, genome: Genome | None) -> csr_matrix:
        """(N, T) centred, so that an absent row of zeros is the average film and not one to which no tag applies."""
        from scipy import sparse  # noqa: PLC0415 - an extra

        rows = _genome_rows(items, genome)
        known = np.flatnonzero(rows >= 0)
        shape = (len(items), len(self.genome_tags))
        if genome is None or not len(known):
            return sparse.csr_matrix(shape)
        relevance = np.take(genome.relevance[rows[known]], self._genome_columns(genome), axis=1)
        centred = (relevance - self.genome_means).ravel()
        columns = np.tile(np.arange(shape[1], dtype=np.int32), len(known))
        ends = np.cumsum(np.concatenate([[0], (rows >= 0) * shape[1]]))
        block = sparse.csr_matrix((centred, columns, ends), shape)
        block.eliminate_zeros()
        lengths = _lengths(sparse.csr_matrix((block.data**2, block.indices, block.indptr), shape))
        block.data *= np.repeat(1.0 / lengths, np.diff(block.indptr))
        return block

    def _genome_columns(self, genome: Genome) -> list[int]:
        """(T,) where this genome has our tags."""
        places = {tag: place for place, tag in enumerate(genome.tags)}
        missing = [tag for tag in self.genome_tags if tag not in places]
        if missing or not self.genome_tags:
            found = f"lacks {len(missing)} of {len(self.genome_tags)} tags" if missing else "is the first one"
            raise DataError(
                f"the genome {found} that films are read by; expected the genome that was there when the data were "
                "prepared: leave it out, or prepare and train with this one"
            )
        return [places[tag] for tag in self.genome_tags]


@dataclass(frozen=True, eq=False)
class _Entries:
    """What was said: film positions (E,), words (E,), weights (E,)."""

    items: NDArray[np.int64]
    words: pa.Array
    weights: NDArray[np.float64]


def _entries(items: pa.Table, tags: pa.Table) -> dict[str, _Entries]:
    return {
        "tags": _tag_entries(items[ITEM_ID], tags),
        "genres": _genre_entries(items[GENRES]),
        "title": _word_entries(items[TITLE]),
    }


def _tag_entries(item_ids: pa.ChunkedArray, tags: pa.Table) -> _Entries:
    ids = tags[ITEM_ID].cast(item_ids.type)
    items = pc.fill_null(pc.index_in(ids, item_ids.combine_chunks()), -1).to_numpy()
    said = pc.fill_null(pc.not_equal(tags[TAG], ""), fill_value=False).to_numpy()
    kept = (items >= 0) & said
    return _Entries(
        items[kept].astype(np.int64), tags[TAG].filter(pa.array(kept)), tags[WEIGHT].to_numpy()[kept]
    )


def _genre_entries(genres: pa.ChunkedArray) -> _Entries:
    items, names = genre_entries(genres)
    return _Entries(items, names, np.ones(len(items)))


def _word_entries(titles: pa.ChunkedArray) -> _Entries:
    """The words of each title, lower-cased, without the year in brackets that MovieLens puts behind it."""
    bare = pc.replace_substring_regex(pc.fill_null(titles, ""), r"\(\d{4}\)\s*$", "")
    words = pc.utf8_split_whitespace(pc.replace_substring_regex(pc.utf8_lower(bare), r"[^\pL\pN]+", " "))
    words = words.combine_chunks()
    items = pc.list_parent_indices(words).to_numpy().astype(np.int64)
    flat = pc.list_flatten(words)
    kept = pc.not_equal(flat, "").to_numpy(zero_copy_only=False)  # Arrow splits "" into one empty word
    return _Entries(items[kept], flat.filter(pa.array(kept)), np.ones(int(kept.sum())))


def _weighed(said: _Entries, count: int, *, shared: int) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """The words that at least ``shared`` films have, sorted so that the order of rows changes nothing, and how rare each is."""
    vocabulary = pc.unique(said.words).sort()
    counted = _counted(said, vocabulary, count)
    items = np.bincount(counted.indices, minlength=len(vocabulary))
    kept = items >= shared
    return tuple(vocabulary.filter(pa.array(kept)).to_pylist()), np.log((1 + count) / items[kept])


def _counted(said: _Entries, vocabulary: pa.Array, count: int) -> csr_matrix:
    """(N, V) the logarithm of how often each word was said; words outside the vocabulary are passed over."""
    from scipy import sparse  # noqa: PLC0415 - an extra

    columns: NDArray[Any] = pc.fill_null(pc.index_in(said.words, vocabulary), -1).to_numpy()
    known = columns >= 0
    entries = (said.weights[known], (said.items[known], columns[known]))
    counted = sparse.csr_matrix(entries, shape=(count, len(vocabulary)))  # sums repeated entries
    counted.data = np.log1p(np.maximum(counted.data, 0.0))
    counted.eliminate_zeros()
    return counted


def _genome_rows(items: pa.Table, genome: Genome | None) -> NDArray[np.int64]:
    return np.full(len(items), -1) if genome is None else genome.rows_of(items[ITEM_ID])


def _year_block(years: pa.ChunkedArray) -> csr_matrix:
    """(N, decades) how near each decade is; a film without a year has none."""
    from scipy import sparse  # noqa: PLC0415 - an extra

    known = pc.is_valid(years).to_numpy()
    near = np.exp(-0.5 * ((pc.fill_null(years, 0).to_numpy()[:, None] - _DECADES) / _YEAR_WIDTH) ** 2)
    return _unit_rows(sparse.csr_matrix(near * known[:, None] * (near > _FAR)))


def _unit_rows(block: csr_matrix) -> csr_matrix:
    """The same rows with length 1; a row of zeros stays one."""
    from scipy import sparse  # noqa: PLC0415 - an extra

    return sparse.csr_matrix(sparse.diags(1.0 / _lengths(block.multiply(block))) @ block)


def _lengths(squares: csr_matrix) -> NDArray[np.float64]:
    """(N,) the length of each row, of its numbers squared (N, F); 1 for a row of zeros."""
    lengths = np.sqrt(np.asarray(squares.sum(axis=1)).ravel())
    return np.asarray(np.where(lengths > 0, lengths, 1.0))


_ITERATIONS = 7


def content_vectors(
    items: pa.Table, tags: pa.Table, genome: Genome | None = None, *, dim: int = 64, seed: int = 42
) -> NDArray[np.float32]:
    """What is known of each film in ``dim`` numbers; a row of zeros where nothing is, or nothing sets it apart.

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
    rows = ContentFeatures.fit(items, tags, genome).rows(items, tags, genome)
    return reduce_features(rows, dim=dim, seed=seed)


def reduce_features(rows: csr_matrix, *, dim: int = 64, seed: int = 42) -> NDArray[np.float32]:
    """(N, dim) what `ContentFeatures` says of each film, made short.

    TruncatedSVD reduces the rows, and the mean of the films that have any content is taken away, for else all vectors
    share one direction. They are not scaled: earlier columns matter more, and a film of which little is known is short.

    Args:
        rows: (N, F) features.
        dim: Numbers a film.
        seed: Seed of the SVD.
    """
    known = np.flatnonzero(np.diff(rows.indptr))
    vectors = np.zeros((rows.shape[0], dim), np.float32)
    if len(known):
        told = rows if len(known) == len(vectors) else rows[known]  # not copied without need
        reduced = reduce_rank(told, dim, n_iter=_ITERATIONS, seed=seed)
        vectors[known] = reduced - reduced.mean(axis=0)
    return vectors


_GENOME = "genome"
_RARITIES, _MEANS = "rarities.", "genome_means"


class _Words(StrictModel):
    tags: list[str]
    genres: list[str]
    title: list[str]
    genome: list[str]


def save_features(path: Path, features: ContentFeatures, **beside: NDArray[Any]) -> None:
    """Write the features and the arrays ``beside`` them to ``path``."""
    arrays = {f"{_RARITIES}{name}": values for name, values in features.rarities.items()}
    arrays |= {_MEANS: features.genome_means, **beside}
    words = {**features.words, _GENOME: features.genome_tags}
    contiguous = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
    save_file(contiguous, path, {HEADER: json.dumps(words, ensure_ascii=False)})


def load_features(
    path: Path, again: str = PREPARE_AGAIN, **beside: tuple[str | int, ...]
) -> tuple[ContentFeatures, dict[str, NDArray[Any]]]:
    """The features of a file, and the arrays that were saved beside them.

    Args:
        path: The file.
        again: What to do where it is damaged.
        **beside: The shapes of arrays that must be beside them, as `check_shapes` takes them; ``F`` is the features' width.

    Raises:
        FormatError: It is missing or damaged, or its arrays contradict each other or its words.
    """
    arrays, told = read_arrays(path, again)
    words = read_header(path, told, _Words, again)
    genome_tags = words.pop(_GENOME)
    shapes: dict[str, tuple[str | int, ...]] = {
        f"{_RARITIES}{name}": (len(vocabulary),) for name, vocabulary in words.items()
    }
    features = ContentFeatures(
        {name: tuple(vocabulary) for name, vocabulary in words.items()},
        {name: arrays.get(f"{_RARITIES}{name}", np.zeros(0)) for name in words},
        tuple(genome_tags),
        arrays.get(_MEANS, np.zeros(0)),
    )
    shapes[_MEANS] = (len(genome_tags),)
    own = set(shapes)
    check_shapes(path, arrays, shapes | beside, again, sizes={"F": features.width})
    return features, {name: arrays[name] for name in arrays.keys() - own}
