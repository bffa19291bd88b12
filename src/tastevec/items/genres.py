"""Genres under one spelling: the releases disagree on three of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["GENRE_NAMES", "NO_GENRES", "genre_entries", "genre_matrix"]

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
    films = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False).astype(np.int64)
    names = pc.utf8_trim_whitespace(pc.list_flatten(lists).cast(pa.string()))
    for other, name in _OTHER_SPELLINGS.items():
        names = pc.if_else(pc.equal(names, other), name, names)
    known = pc.fill_null(pc.not_equal(names, NO_GENRES), fill_value=False).to_numpy(zero_copy_only=False)
    return films[known], names.filter(pa.array(known))


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
    films, names = genre_entries(genres)
    columns: NDArray[Any] = pc.fill_null(pc.index_in(names, pa.array(GENRE_NAMES)), -1).to_numpy()
    matrix = np.zeros((len(genres), len(GENRE_NAMES)), np.float32)
    matrix[films[columns >= 0], columns[columns >= 0]] = 1.0
    matrix[~matrix.any(axis=1), GENRE_NAMES.index(NO_GENRES)] = 1.0
    return matrix
