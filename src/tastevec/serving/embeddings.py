"""Embeddings of users or items: IDs, vectors and what makes them comparable in one value.

Dimensions: B users, N items, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tastevec.data.files import result_file
from tastevec.data.intake.values import BadValueError, read_id
from tastevec.errors import DataError, SettingsError
from tastevec.schema import (
    DEFAULT_DISLIKE_WEIGHT,
    DISLIKE_WEIGHT,
    ITEM_ID,
    METRIC,
    NORM,
    RANKS_ALIKE,
    TITLE,
    USER_ID,
    VECTOR,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import DTypeLike, NDArray

    from tastevec.schema import Horizon
    from tastevec.serving.bundle import Bundle


class _Vectors:
    """A row of a matrix per ID; a subclass has ``ids``, ``matrix`` and ``to_arrow``."""

    ids: NDArray[Any]
    matrix: NDArray[np.float32]
    _NOUN: ClassVar[str]

    def __len__(self) -> int:
        """Return the number of vectors."""
        return len(self.ids)

    def __iter__(self) -> Iterator[tuple[Any, NDArray[np.float32]]]:
        """Yield each ID with its vector (D,)."""
        yield from zip(self.ids.tolist(), self.matrix, strict=True)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:  # noqa: FBT001  NumPy's
        """Return the matrix."""
        return np.array(self.matrix, dtype, copy=copy)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return the table of `to_arrow` through Arrow's interface."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def to_arrow(self) -> pa.Table:
        """Return the table that `save` writes."""
        raise NotImplementedError

    def save(self, path: Path | str) -> Path:
        """Write the table of `to_arrow` as a Parquet file, as the command does; return its path.

        Raises:
            FormatError: The file is another one than a Parquet file.
        """
        path = Path(path)
        with result_file(path) as temporary:
            pq.write_table(self.to_arrow(), temporary)
        return path

    def of(self, wanted: object) -> NDArray[np.float32]:
        """Return the vector (D,) of an ID; IDs of different types are compared as text.

        Raises:
            DataError: The ID is not among them.
        """
        try:
            name = read_id(wanted)
        except BadValueError:
            name = None
        [found] = np.nonzero(self.ids.astype(str) == name)
        if not len(found):
            raise DataError(
                f"{self._NOUN}_id: {wanted!r} is not among the {len(self):,} {self._NOUN}s. Expected one of .ids, such as "
                f"{next(iter(self.ids.tolist()), None)!r}."
            )
        vector: NDArray[np.float32] = self.matrix[found[0]]
        return vector


@dataclass(frozen=True, eq=False, repr=False)
class Embeddings(_Vectors):
    """Embeddings of B users, in the order in which the users first appear in the interactions.

    NumPy reads it as its matrix; Arrow, Polars, pandas and DuckDB read it as the table of `to_arrow`. As all vectors have unit
    length, inner product, cosine and Euclidean distance rank the items of `ItemEmbeddings` alike.

    Attributes:
        ids: (B,) user IDs, int64 or str objects.
        matrix: (B, D) float32, contiguous, each vector of unit length; zeros for a user without a direction.
        norms: (B,) float32, the length that each vector had before: no ranking depends on it. It grows with the history, as far
            as the interactions agree.
        n_interactions: (B,) int64, the interactions of each user.
        n_known: (B,) int64, those with an item of the model; 0: the vector is that of a user without a history.
        horizon: The horizon of the vectors.
        space: The embedding space of the model; vectors of different spaces or horizons are not comparable.
        dislike_weight: How far ratings below the middle of the scale pushed away.

    Examples:
        >>> one = np.ones(1, np.int64)
        >>> anna, vectors = np.array(["anna"], object), np.array([[0.6, 0.8]], np.float32)
        >>> users = Embeddings(anna, vectors, np.array([5], np.float32), one, one, "overall", "0eb5c8fa7b2d")
        >>> users
        Embeddings(1 user x 2, overall, space 0eb5c8fa)
        >>> users.of("anna")
        array([0.6, 0.8], dtype=float32)
    """

    ids: NDArray[Any]
    matrix: NDArray[np.float32]
    norms: NDArray[np.float32]
    n_interactions: NDArray[np.int64]
    n_known: NDArray[np.int64]
    horizon: Horizon
    space: str
    dislike_weight: float = DEFAULT_DISLIKE_WEIGHT
    _NOUN: ClassVar[str] = "user"

    def __repr__(self) -> str:
        noun = "user" if len(self) == 1 else "users"
        unknown = int((self.n_known == 0).sum())
        without = f", {unknown:,} without a known item" if unknown else ""
        size = f"{len(self):,} {noun} x {self.matrix.shape[1]}"
        return f"Embeddings({size}, {self.horizon}, space {self.space[:8]}{without})"

    def __getitem__(self, column: Literal["user_id", "vector", "norm"]) -> pa.ChunkedArray:
        """Return a column of `to_arrow`."""
        return self.to_arrow()[column]

    def to_arrow(self) -> pa.Table:
        """Return ``user_id, vector, norm`` (vectors as fixed-size lists of float32).

        The metadata are space, horizon, weight of dislikes and the metrics that rank items alike.
        """
        ids = pa.array(self.ids, pa.string() if self.ids.dtype == object else pa.int64())
        metadata = {"space": self.space, "horizon": self.horizon, DISLIKE_WEIGHT: f"{self.dislike_weight:g}"}
        metadata |= {METRIC: RANKS_ALIKE}
        columns = {USER_ID: ids, VECTOR: _lists(self.matrix), NORM: pa.array(self.norms)}
        return pa.table(columns).replace_schema_metadata(metadata)

    def with_matrix(self, matrix: NDArray[Any]) -> Embeddings:
        """Return the same users, with the same norms, and other vectors (B, D)."""
        return replace(self, matrix=np.ascontiguousarray(matrix, np.float32))


@dataclass(frozen=True, eq=False, repr=False)
class ItemEmbeddings(_Vectors):
    """Embeddings of the N items of a model that have a vector, by ascending item ID as in the catalog.

    NumPy reads it as its matrix; Arrow, Polars, pandas and DuckDB read it as the table of `to_arrow`. A user vector is the query
    that ranks items: inner product, cosine and Euclidean distance rank them alike. An item's own vector is no query for similar
    items: its last coordinate is what the item lacks in length, so that items of a similar length would be similar by it alone.
    Compare `directions` instead.

    Attributes:
        ids: (N,) item IDs, int64 or str objects.
        titles: (N,) titles.
        matrix: (N, D) float32, contiguous, each vector of unit length.
        directions: (N, D) float32 of unit length, to compare items with items by any metric: the vectors without the last
            coordinate, which is 0. Of presets bert-cosine and direction, whose items have one length, they are the vectors.
        space: The embedding space of the model; vectors of different spaces are not comparable.
    """

    ids: NDArray[Any]
    titles: pa.ChunkedArray
    matrix: NDArray[np.float32]
    directions: NDArray[np.float32]
    space: str
    _NOUN: ClassVar[str] = "item"

    @classmethod
    def of_model(cls, bundle: Bundle) -> Self:
        """Return the items of a model that have a vector."""
        geometry, vectors = bundle.model.geometry, bundle.model.item_vectors
        known = np.flatnonzero(vectors.any(axis=1))
        matrix = np.ascontiguousarray(vectors[known])
        directions = geometry.directions(matrix)
        lengths = np.linalg.norm(directions, axis=1, keepdims=True)
        directions = np.ascontiguousarray(directions / np.where(lengths > 0, lengths, 1.0), np.float32)
        return cls(bundle.item_ids[known], bundle.items[TITLE].take(known), matrix, directions, bundle.space)

    def __repr__(self) -> str:
        noun = "item" if len(self) == 1 else "items"
        return f"ItemEmbeddings({len(self):,} {noun} x {self.matrix.shape[1]}, space {self.space[:8]})"

    def to_arrow(self) -> pa.Table:
        """Return ``item_id, title, vector`` (vectors as fixed-size lists of float32).

        The metadata are space, order, the metrics that rank alike, and how items are compared with each other.
        """
        ids = pa.array(self.ids, pa.string() if self.ids.dtype == object else pa.int64())
        folded = self.matrix[:, -1].any() and not self.directions[:, -1].any()
        compared = "without the last coordinate, which is what an item lacks in length, by cosine"
        metadata = {"space": self.space, "order": ITEM_ID, METRIC: RANKS_ALIKE}
        metadata |= {"items_with_items": compared if folded else "by any of these"}
        table = pa.table({ITEM_ID: ids, TITLE: self.titles, VECTOR: _lists(self.matrix)})
        return table.replace_schema_metadata(metadata)


def _lists(matrix: NDArray[np.float32]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1])


def check_vectors(where: str, space: str, horizon: str | None, expected: str, wanted: Horizon | None) -> None:
    """Check that vectors are of the space of the model and of a horizon; None is any.

    Raises:
        DataError: They are of another space.
        SettingsError: They are of another horizon.
    """
    if space != expected:
        raise DataError(
            f"{where}: vectors have space {space}. Expected {expected}, the space of the model. Encode these users with this model."
        )
    if None not in (horizon, wanted) and horizon != wanted:
        raise SettingsError(
            f"{where}: vectors have horizon {horizon}, the call has horizon {wanted}. Expected one horizon. Encode these users "
            f"with horizon {wanted}, or call with horizon {horizon}."
        )


def given_vectors(
    users: Embeddings | NDArray[np.float32], bundle: Bundle, horizon: Horizon
) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[np.float32]]:
    """Return the IDs (B,), vectors (B, D) and norms (B,) of embeddings, or of the vector (D,) of one user.

    Raises:
        DataError: They are of another space, or have another shape, or are those of items.
        SettingsError: They are of another horizon.
    """
    if isinstance(users, Embeddings):
        check_vectors("users", users.space, users.horizon, bundle.space, horizon)
        ids, vectors, norms = users.ids, users.matrix, users.norms
    else:
        ids, vectors = np.zeros(1, np.int64), np.asarray(users, np.float32)[None]
        norms = np.ones(1, np.float32)
    if vectors.shape[1:] != (dim := bundle.model.table.shape[1],):
        raise DataError(
            f"vector: shape {vectors.shape[1:]}. Expected ({dim},), one vector of this model. Pass several as Embeddings."
        )
    if not bundle.model.geometry.are_users(vectors):
        raise DataError(
            "vector: the last coordinate is that of an item. Expected 0, as in each user vector. Encode a user, or call "
            "similar_items for an item."
        )
    return ids, vectors, norms
