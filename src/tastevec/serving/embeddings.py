"""Embeddings of users: IDs, vectors, counts, horizon and space in one value.

Dimensions: B users, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tastevec.data.files import result_file
from tastevec.data.intake.values import BadValueError, read_id
from tastevec.errors import DataError, SettingsError
from tastevec.schema import DEFAULT_DISLIKE_WEIGHT, DISLIKE_WEIGHT, NORM, USER_ID, VECTOR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import DTypeLike, NDArray

    from tastevec.schema import Horizon


@dataclass(frozen=True, eq=False, repr=False)
class Embeddings:
    """Embeddings of B users, in the order in which the users first appear in the interactions.

    NumPy reads it as its matrix; Arrow, Polars, pandas and DuckDB read it as the table of `to_arrow`.

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

    def __len__(self) -> int:
        """Return B."""
        return len(self.ids)

    def __iter__(self) -> Iterator[tuple[Any, NDArray[np.float32]]]:
        """Yield the ID and the vector (D,) of each user."""
        yield from zip(self.ids.tolist(), self.matrix, strict=True)

    def __repr__(self) -> str:
        noun = "user" if len(self) == 1 else "users"
        unknown = int((self.n_known == 0).sum())
        without = f", {unknown:,} without a known item" if unknown else ""
        size = f"{len(self):,} {noun} x {self.matrix.shape[1]}"
        return f"Embeddings({size}, {self.horizon}, space {self.space[:8]}{without})"

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:  # noqa: FBT001  NumPy's
        """Return the matrix (B, D)."""
        return np.array(self.matrix, dtype, copy=copy)

    def __getitem__(self, column: Literal["user_id", "vector", "norm"]) -> pa.ChunkedArray:
        """Return a column of `to_arrow`."""
        return self.to_arrow()[column]

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return the table of `to_arrow` through Arrow's interface."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def to_arrow(self) -> pa.Table:
        """Return ``user_id, vector, norm`` (vectors as fixed-size lists of float32), with space, horizon and weight of dislikes as metadata."""
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(self.matrix.ravel()), self.matrix.shape[1])
        ids = pa.array(self.ids, pa.string() if self.ids.dtype == object else pa.int64())
        metadata = {"space": self.space, "horizon": self.horizon, DISLIKE_WEIGHT: f"{self.dislike_weight:g}"}
        columns = {USER_ID: ids, VECTOR: vectors, NORM: pa.array(self.norms)}
        return pa.table(columns).replace_schema_metadata(metadata)

    def save(self, path: Path | str) -> Path:
        """Write the table of `to_arrow` as a Parquet file, as ``tastevec encode`` does; return its path.

        Raises:
            FormatError: The file is another one than a Parquet file.
        """
        path = Path(path)
        with result_file(path) as temporary:
            pq.write_table(self.to_arrow(), temporary)
        return path

    def with_matrix(self, matrix: NDArray[Any]) -> Embeddings:
        """Return the same users, with the same norms, and other vectors (B, D)."""
        return replace(self, matrix=np.ascontiguousarray(matrix, np.float32))

    def of(self, user_id: object) -> NDArray[np.float32]:
        """Return the vector (D,) of a user; IDs of different types are compared as text.

        Raises:
            DataError: The user is not among them.
        """
        try:
            wanted = read_id(user_id)
        except BadValueError:
            wanted = None
        [found] = np.nonzero(self.ids.astype(str) == wanted)
        if not len(found):
            raise DataError(
                f"user_id: {user_id!r} is not among the {len(self):,} users. Expected one of .ids, such as "
                f"{next(iter(self.ids.tolist()), None)!r}."
            )
        vector: NDArray[np.float32] = self.matrix[found[0]]
        return vector


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
