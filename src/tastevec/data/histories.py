"""Histories of users as flat arrays: offsets, item indices, ratings and timestamps."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from tokenize import TokenError
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tastevec.errors import FormatError
from tastevec.schema import PREPARE_AGAIN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["ARRAY_DTYPES", "NO_TIMESTAMP", "Histories", "normalize_ratings", "write_arrays"]

NO_TIMESTAMP = -1
ARRAY_DTYPES: Final[dict[str, type[np.generic]]] = {
    "items": np.int32,
    "ratings": np.float32,
    "normalized_ratings": np.float32,
    "timestamps": np.int64,
}
_BLOCK = 1 << 20
_SILENT = 1e-5  # the note's threshold: a deviation below it says nothing


@dataclass(frozen=True, eq=False)
class Histories:
    """What B people rated, oldest first, M interactions in all.

    Attributes:
        user_ids: (B,) the caller's own ids, int64 or str objects.
        offsets: (B + 1,) int64; person b owns the rows ``offsets[b]:offsets[b + 1]`` of the flat arrays.
        items: (M,) int32 indices into the catalogue.
        ratings: (M,) float32 as given, NaN where the film was only tagged.
        normalized_ratings: (M,) float32 in [-1, 1], the note's per-person scale over everything the person rated.
        timestamps: (M,) int64 Unix seconds, ``NO_TIMESTAMP`` where unknown.

    Raises:
        FormatError: The arrays contradict each other.
    """

    user_ids: NDArray[Any]
    offsets: NDArray[np.int64]
    items: NDArray[np.int32]
    ratings: NDArray[np.float32]
    normalized_ratings: NDArray[np.float32]
    timestamps: NDArray[np.int64]

    def __post_init__(self) -> None:
        if len(self.offsets) != len(self.user_ids) + 1 or self.offsets[0] != 0:
            raise FormatError(
                f"histories hold {len(self.user_ids)} users and {len(self.offsets)} offsets; expected one more offset than users, from 0"
            )
        for name in ARRAY_DTYPES:
            if len(getattr(self, name)) != self.offsets[-1]:
                raise FormatError(
                    f"histories hold {len(getattr(self, name))} {name}; expected {self.offsets[-1]}, the last offset"
                )

    def __len__(self) -> int:
        """The number of people."""
        return len(self.user_ids)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(B,) interactions of each person."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> NDArray[np.int64]:
        """(M,) the person, 0 to B - 1, that each interaction belongs to."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def take(self, users: NDArray[np.integer[Any]]) -> Histories:
        """The histories of the people at these positions, in this order, copied out of any memory map."""
        rows, offsets = _rows_of(self.offsets, users)
        return self._gather(self.user_ids[users], rows, offsets)

    def keep(self, mask: NDArray[np.bool_]) -> Histories:
        """The same people with only the interactions where ``mask`` (M,) is true; a person may be left with none."""
        counts = np.concatenate([[0], np.cumsum(mask)])
        return self._gather(self.user_ids, np.flatnonzero(mask), counts[self.offsets])

    def last(self, count: int) -> Histories:
        """The newest ``count`` interactions of each person."""
        from_end = np.repeat(self.offsets[1:], self.lengths) - np.arange(self.offsets[-1])
        return self.keep(from_end <= count)

    def chunks(self, users: int) -> Iterator[Histories]:
        """Consecutive groups of at most ``users`` people."""
        for start in range(0, len(self), users):
            yield self.take(np.arange(start, min(start + users, len(self))))

    def save(self, folder: Path) -> None:
        """Write the flat arrays into ``folder``; the user ids are kept by the caller."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "offsets.npy", self.offsets, allow_pickle=False)
        for name in ARRAY_DTYPES:
            np.save(folder / f"{name}.npy", getattr(self, name), allow_pickle=False)

    @classmethod
    def open(
        cls,
        folder: Path,
        user_ids: NDArray[Any],
        *,
        items: int | None = None,
        scale: tuple[float, float] | None = None,
    ) -> Histories:
        """Map the flat arrays of ``folder`` into memory, read-only.

        Args:
            folder: Where they lie.
            user_ids: (B,).
            items: Of the catalogue; None does not look whether the histories name others.
            scale: The lowest and the highest rating; None does not look whether there are others.

        Raises:
            FormatError: An array is missing or damaged, or holds a film or a rating that cannot be.
        """
        offsets = np.array(_mapped(folder / "offsets.npy", np.int64))
        if (np.diff(offsets) < 0).any():
            raise FormatError(
                f"{folder / 'offsets.npy'} goes back; expected offsets that ascend; {PREPARE_AGAIN}"
            )
        flat = {name: _mapped(folder / f"{name}.npy", kind) for name, kind in ARRAY_DTYPES.items()}
        if items is not None:
            _refuse_beyond(folder / "items.npy", flat["items"], 0, items - 1)
        if scale is not None:
            _refuse_beyond(folder / "ratings.npy", flat["ratings"], *scale)
            _refuse_beyond(folder / "normalized_ratings.npy", flat["normalized_ratings"], -1, 1)
        return cls(user_ids=user_ids, offsets=offsets, **flat)

    def _gather(
        self, user_ids: NDArray[Any], rows: NDArray[np.int64], offsets: NDArray[np.int64]
    ) -> Histories:
        flat = {name: np.asarray(getattr(self, name)[rows]) for name in ARRAY_DTYPES}
        return Histories(user_ids=user_ids, offsets=offsets.astype(np.int64), **flat)


def normalize_ratings(ratings: NDArray[np.float32], offsets: NDArray[np.int64]) -> NDArray[np.float32]:
    """Each person's ratings on the note's scale: -1 the opposite direction, 0 nothing, +1 this.

    The person's mean is subtracted; positive deviations are divided by the largest, negative ones by the size of
    the most negative; a deviation whose divisor is under 1e-5 becomes 0. Tag-only interactions (NaN) become 0.

    Args:
        ratings: (M,) as given, NaN where a film was only tagged.
        offsets: (B + 1,) the rows of each person.

    Returns:
        (M,) float32 in [-1, 1].

    Source: the research note, section 3 of its notebook.

    Examples:
        >>> normalize_ratings(np.array([5, 3, 2, 4, 4], np.float32), np.array([0, 3, 5]))
        array([ 1.  , -0.25, -1.  ,  0.  ,  0.  ], dtype=float32)
    """
    lengths = np.diff(offsets)
    owners = np.repeat(np.arange(len(lengths)), lengths)
    rated = np.isfinite(ratings)
    values = np.where(rated, ratings, 0.0).astype(np.float64)
    counts = np.bincount(owners, weights=rated, minlength=len(lengths))
    sums = np.bincount(owners, weights=values, minlength=len(lengths))
    deviations = np.where(rated, values - (sums / np.maximum(counts, 1))[owners], 0.0)
    highest, lowest = np.zeros(len(lengths)), np.zeros(len(lengths))
    np.maximum.at(highest, owners, deviations)
    np.minimum.at(lowest, owners, deviations)
    divisors = np.where(deviations > 0, highest[owners], -lowest[owners])
    scaled = np.divide(deviations, divisors, out=np.zeros_like(deviations), where=divisors >= _SILENT)
    return scaled.astype(np.float32)


def _mapped(path: Path, kind: type[np.generic]) -> np.memmap[Any, Any]:
    """A flat array on disk."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except (
        OSError,
        ValueError,
        EOFError,
        SyntaxError,
        TokenError,
    ) as error:  # NumPy reads a header as Python
        raise FormatError(
            f"the histories in {path.parent} are not whole ({path.name}: {error}); {PREPARE_AGAIN}"
        ) from error
    if array.ndim != 1 or array.dtype != kind:
        raise FormatError(
            f"{path} holds {array.dtype} of the shape {array.shape}; expected {np.dtype(kind)} in one row; {PREPARE_AGAIN}"
        )
    return array


def _refuse_beyond(path: Path, array: np.memmap[Any, Any], low: float, high: float) -> None:
    """Read, not mapped: the pages of a map would stay in memory. NaN is the rating of a film that was only tagged."""
    with path.open("rb") as file:
        file.seek(array.offset)
        while len(values := np.fromfile(file, array.dtype, _BLOCK)):
            least, most = np.fmin.reduce(values), np.fmax.reduce(values)
            if least < low or most > high:
                raise FormatError(
                    f"{path} holds {least} to {most}; expected {low} to {high}; {PREPARE_AGAIN}"
                )


def _rows_of(
    offsets: NDArray[np.int64], users: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The flat rows of these users, one after another, and the offsets of the gathered whole."""
    starts, lengths = offsets[users], offsets[np.asarray(users) + 1] - offsets[users]
    gathered = np.concatenate([[0], np.cumsum(lengths)])
    rows = np.arange(gathered[-1]) + np.repeat(starts - gathered[:-1], lengths)
    return rows, gathered


def write_arrays(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, lengths: NDArray[np.int64], folder: Path
) -> None:
    """Write one ``.npy`` file a column, and ``offsets.npy``.

    Plain writes, not a writable memory map: its dirty pages would count as this process' memory.

    Args:
        batches: All rows, person after person; NULL becomes NaN.
        schema: Their columns; each column's type is its file's.
        lengths: (B,) rows of each person; they sum to the rows of all batches.
        folder: Made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    np.save(folder / "offsets.npy", offsets, allow_pickle=False)
    written = 0
    with ExitStack() as files:
        handles = {
            field.name: files.enter_context((folder / f"{field.name}.npy").open("wb")) for field in schema
        }
        for field in schema:
            _write_header(handles[field.name], field.type.to_pandas_dtype(), int(offsets[-1]))
        for batch in batches:
            written += batch.num_rows
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                handles[name].write(column.to_numpy(zero_copy_only=False).data)
    assert written == offsets[-1], f"{written} rows came, {offsets[-1]} were counted"


def _write_header(handle: BinaryIO, dtype: type[np.generic], rows: int) -> None:
    """The header that ``np.save`` would write for a vector of this many rows."""
    described = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
        "fortran_order": False,
        "shape": (rows,),
    }
    np.lib.format.write_array_header_1_0(handle, described)
