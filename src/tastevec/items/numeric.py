"""Numeric metadata of items: numbers as proximities to quantiles, vectors and text embeddings reduced to 64 dimensions.

Dimensions: N items, D dimensions of a vector, R of its reduction, F features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tastevec.errors import DataError
from tastevec.items.linalg import principal_axes
from tastevec.schema import NUMBER_COLUMN, TEXT_COLUMN, VECTOR_COLUMN

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

N_BELLS: Final = 8  # of a number, at the quantiles of the training items
_BELL_WIDTH = 0.7  # of the distance of two bells, as of the decades
_NEGLIGIBLE = 0.01  # a bell three widths away counts as nothing
_RANK = 64  # of a reduction


@dataclass(frozen=True, eq=False)
class Reduction:
    """The reduction of vectors of length 1: their mean (D,) and the axes (D, R) of their largest variance."""

    mean: NDArray[np.float32]
    axes: NDArray[np.float32]

    @classmethod
    def fit(cls, vectors: NDArray[np.float32]) -> Reduction:
        """Return the reduction of vectors (N, D); rows of zeros are unknown."""
        known = _unit(vectors[vectors.any(axis=1)])
        mean = known.mean(axis=0) if len(known) else np.zeros(vectors.shape[1], np.float32)
        return cls(mean, principal_axes(known - mean, _RANK))

    def __call__(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return vectors (N, D) as (N, R); zeros where a row is zeros."""
        reduced = (_unit(vectors) - self.mean) @ self.axes
        return np.where(vectors.any(axis=1, keepdims=True), reduced, np.float32(0))


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1), np.float32)


def vector_columns(items: pa.Table) -> list[str]:
    """Return the columns of vectors and text embeddings."""
    named = [name for name in items.column_names if name.startswith((TEXT_COLUMN, VECTOR_COLUMN))]
    return [name for name in named if pa.types.is_fixed_size_list(items.schema.field(name).type)]


def vectors_of(items: pa.Table, name: str, size: int | None = None) -> NDArray[np.float32]:
    """Return the vectors of a column, (N, D); zeros where there is none.

    Raises:
        DataError: They have another size than ``size``.
    """
    if name not in vector_columns(items):
        return np.zeros((len(items), size or 0), np.float32)
    lists = items[name].combine_chunks()
    found = lists.type.list_size
    if size not in {None, found}:
        raise DataError(
            f"{name}: vectors of {found} numbers. Expected {size}, as in the training. Remove the column"
        )
    flat = pc.fill_null(lists.flatten(), 0.0).to_numpy(zero_copy_only=False)
    vectors = np.zeros((len(items), found), np.float32)
    vectors[pc.is_valid(lists).to_numpy(zero_copy_only=False)] = flat.reshape(
        -1, found
    )  # flatten leaves out nulls
    return vectors


def number_columns(items: pa.Table) -> list[str]:
    """Return the columns of numbers."""
    return [name for name in items.column_names if name.startswith(NUMBER_COLUMN)]


def numbers_of(items: pa.Table, name: str) -> NDArray[np.float64]:
    """Return the numbers of a column, (N,); NaN where there is none."""
    if name not in items.column_names:
        return np.full(len(items), np.nan)
    return np.asarray(pc.fill_null(items[name].cast(pa.float64()), np.nan).to_numpy(), np.float64)


def quantiles_of(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the quantiles of the known values, (9,) from the lowest to the highest."""
    known = values[np.isfinite(values)]
    return np.quantile(known, np.linspace(0, 1, N_BELLS + 1)) if len(known) else np.zeros(N_BELLS + 1)


def bells(values: NDArray[np.float64], quantiles: NDArray[np.float64]) -> csr_matrix:
    """Return the proximity of each number's share of lower numbers to eight shares, (N, 8); zeros for an unknown one."""
    from scipy import sparse  # noqa: PLC0415 - an extra

    knots, firsts = np.unique(quantiles, return_index=True)
    lasts = np.append(firsts[1:], len(quantiles)) - 1
    share = np.interp(values, knots, (firsts + lasts) / 2)  # (N,), in distances of two bells
    near = np.exp(-0.5 * ((share[:, None] - 0.5 - np.arange(N_BELLS)) / _BELL_WIDTH) ** 2)
    return unit_rows(sparse.csr_matrix(np.nan_to_num(near * (near > _NEGLIGIBLE))))


def unit_rows(block: csr_matrix) -> csr_matrix:
    """Return the rows with norm 1; a row of zeros stays one."""
    from scipy import sparse  # noqa: PLC0415 - an extra

    return sparse.csr_matrix(sparse.diags(1.0 / row_norms(block.multiply(block))) @ block)


def row_norms(squares: csr_matrix) -> NDArray[np.float64]:
    """Return the norm of each row, (N,), from its squared values (N, F); 1 for a row of zeros."""
    norms = np.sqrt(np.asarray(squares.sum(axis=1)).ravel())
    return np.asarray(np.where(norms > 0, norms, 1.0))
