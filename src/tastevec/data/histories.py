"""Histories of users as flat arrays: offsets, item indices, ratings and timestamps."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from tokenize import TokenError
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tastevec.data.files import damaged
from tastevec.data.value_scale import ValueScale, normalize_ratings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    import pyarrow as pa
    from numpy.typing import NDArray

NO_TIMESTAMP = -1
ARRAY_DTYPES: Final[dict[str, type[np.generic]]] = {
    "items": np.int32,
    "ratings": np.float32,
    "normalized_ratings": np.float32,
    "timestamps": np.int64,
}
_BLOCK = 1 << 20


@dataclass(frozen=True, eq=False)
class Histories:
    """Histories of B users, oldest first, M interactions in all.

    Attributes:
        user_ids: (B,) user ids, int64 or str objects.
        offsets: (B + 1,) int64; user b has the rows ``offsets[b]:offsets[b + 1]`` of the flat arrays.
        items: (M,) int32 item indices.
        ratings: (M,) float32, NaN in tag-only interactions.
        normalized_ratings: (M,) float32 in [-1, 1], by `ValueScale.normalize` over all interactions of the user.
        timestamps: (M,) int64 Unix seconds, ``NO_TIMESTAMP`` if unknown.
        relative: Whether a normalized rating depends on the user's other ratings, as that of explicit feedback does.
        repeats: Where an item may be in several rows of a user, the scale of their values; None where each is in one.

    Raises:
        FormatError: The array lengths differ.
    """

    user_ids: NDArray[Any]
    offsets: NDArray[np.int64]
    items: NDArray[np.int32]
    ratings: NDArray[np.float32]
    normalized_ratings: NDArray[np.float32]
    timestamps: NDArray[np.int64]
    relative: bool = True
    repeats: ValueScale | None = None

    def __post_init__(self) -> None:
        if len(self.offsets) != len(self.user_ids) + 1 or self.offsets[0] != 0:
            found = f"{len(self.offsets)} offsets for {len(self.user_ids)} users"
            raise damaged("histories", found, "one more offset than users, from 0")
        for name in ARRAY_DTYPES:
            if (length := len(getattr(self, name))) != self.offsets[-1]:
                raise damaged("histories", f"{length} {name}", f"{self.offsets[-1]}, the last offset")

    def __len__(self) -> int:
        """Return the number of users."""
        return len(self.user_ids)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(B,) number of interactions of each user."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> NDArray[np.int64]:
        """(M,) user index, 0 to B - 1, of each interaction."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def take(self, users: NDArray[np.integer[Any]]) -> Histories:
        """Return the histories of these user indices, in this order, copied from any memory map."""
        starts = self.offsets[users]
        lengths = self.offsets[np.asarray(users) + 1] - starts
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        rows = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        return self._gather(self.user_ids[users], rows, offsets)

    def keep(self, mask: NDArray[np.bool_]) -> Histories:
        """Return all users with only the interactions where ``mask`` (M,) is true; a history may become empty."""
        counts = np.concatenate([[0], np.cumsum(mask)])
        return self._gather(self.user_ids, np.flatnonzero(mask), counts[self.offsets])

    def last(self, count: int) -> Histories:
        """Return the newest ``count`` interactions of each user."""
        from_end = np.repeat(self.offsets[1:], self.lengths) - np.arange(self.offsets[-1])
        return self.keep(from_end <= count)

    def once(self) -> Histories:
        """Return each item of a user once, at its latest row, with its value over all its rows.

        This is what `overall` reads, and whatever else takes a history for a set. Values are added up; of ratings the latest
        counts. Where no item repeats these are the same histories.
        """
        if self.repeats is None:
            return self
        _, latest, values = self._rows_of_items(self.repeats)
        order = np.argsort(latest)
        rows, ratings = latest[order], values[order]
        found = self._gather(self.user_ids, rows, np.searchsorted(rows, self.offsets))
        normalized = self.repeats.normalize(ratings, found.offsets)
        return replace(found, ratings=ratings, normalized_ratings=normalized, repeats=None)

    def sample(self, count: int, seed: int) -> Histories:
        """Return at most ``count`` users, drawn at random, in their order."""
        if len(self) <= count:
            return self
        return self.take(np.sort(np.random.default_rng(seed).choice(len(self), count, replace=False)))

    def renumbered(self, index: NDArray[np.integer[Any]]) -> Histories:
        """Return all users with item i as ``index[i]``, (N,); without the items whose index is negative."""
        found = self.keep(index[self.items] >= 0)
        return replace(found, items=index[found.items].astype(np.int32))

    def values_at_first(self) -> NDArray[np.float32]:
        """Return (M,) the value of each item over all its rows, at its first one; NaN in the others: there it is known."""
        if self.repeats is None:
            return self.ratings
        first, _, values = self._rows_of_items(self.repeats)
        found = np.full(len(self.items), np.nan, np.float32)
        found[first] = values
        return found

    def _rows_of_items(
        self, scale: ValueScale
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Return the first and the latest row of each item of each user, and its value; NaN without any."""
        order = np.lexsort((self.items, self.owners))  # stable: the rows of an item stay oldest first
        changes = [np.diff(keys[order], prepend=-1) != 0 for keys in (self.owners, self.items)]
        first = np.flatnonzero(changes[0] | changes[1])
        latest = np.append(first[1:], len(order))[: len(first)] - 1
        values = self.ratings[order]
        if scale.kind != "explicit" and len(first):
            sums = np.add.reduceat(np.nan_to_num(values, nan=0.0).astype(np.float64), first)
            valued = np.logical_or.reduceat(~np.isnan(values), first)
            return order[first], order[latest], np.where(valued, sums, np.nan).astype(np.float32)
        return order[first], order[latest], values[latest]

    def keep_alone(self, mask: NDArray[np.bool_]) -> Histories:
        """Return what `keep` does, with ratings normalized as if the other rows did not exist."""
        return self.keep(mask).normalized()

    def normalized(self) -> Histories:
        """Return the histories with ratings normalized by these rows alone."""
        if not self.relative:
            return self
        return replace(self, normalized_ratings=normalize_ratings(self.ratings, self.offsets))

    def chunks(self, users: int) -> Iterator[Histories]:
        """Yield consecutive histories of at most ``users`` users."""
        for start in range(0, len(self), users):
            yield self.take(np.arange(start, min(start + users, len(self))))

    @staticmethod
    def concatenate(groups: Sequence[Histories]) -> Histories:
        """Return the users of all groups, of which there is one at least."""
        if len(groups) == 1:
            return groups[0]
        flat: dict[str, Any] = {
            name: np.concatenate([getattr(group, name) for group in groups])
            for name in ("user_ids", *ARRAY_DTYPES)
        }
        lengths = np.concatenate([group.lengths for group in groups])
        return replace(groups[0], offsets=np.concatenate([[0], np.cumsum(lengths)]), **flat)

    def save(self, folder: Path) -> None:
        """Write the flat arrays into ``folder``, without user ids."""
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
        limits: tuple[float, float] | None = None,
        relative: bool = True,
        repeats: ValueScale | None = None,
    ) -> Histories:
        """Map the flat arrays of ``folder`` into memory, read-only.

        Args:
            folder: The folder of the arrays.
            user_ids: (B,) user ids.
            items: N, to check the item indices; None skips the check.
            limits: The lowest and the highest rating, to check the ratings; None skips the check.
            relative: See the attribute.
            repeats: See the attribute.

        Raises:
            FormatError: An array is missing or damaged, or an item index or a rating is out of range.
        """
        offsets = np.array(_open_array(folder / "offsets.npy", np.int64))
        if (np.diff(offsets) < 0).any():
            raise damaged(folder / "offsets.npy", "descending offsets", "ascending ones")
        flat = {name: _open_array(folder / f"{name}.npy", kind) for name, kind in ARRAY_DTYPES.items()}
        if items is not None:
            _check_range(folder / "items.npy", flat["items"], 0, items - 1)
        if limits is not None:
            _check_range(folder / "ratings.npy", flat["ratings"], *limits)
            _check_range(folder / "normalized_ratings.npy", flat["normalized_ratings"], -1, 1)
        return cls(user_ids=user_ids, offsets=offsets, relative=relative, repeats=repeats, **flat)

    def _gather(
        self, user_ids: NDArray[Any], rows: NDArray[np.int64], offsets: NDArray[np.int64]
    ) -> Histories:
        flat: dict[str, Any] = {name: np.asarray(getattr(self, name)[rows]) for name in ARRAY_DTYPES}
        return replace(self, user_ids=user_ids, offsets=offsets.astype(np.int64), **flat)


def most_frequent(histories: Histories, n_items: int, count: int) -> NDArray[np.int32]:
    """Return for each of N items its place among the ``count`` most frequent ones, in their order; -1 for all others."""
    rows = np.bincount(histories.items, minlength=n_items)
    kept = np.sort(np.argsort(-rows, kind="stable")[:count])
    index = np.full(n_items, -1, np.int32)
    index[kept] = np.arange(len(kept))
    return index


def _open_array(path: Path, kind: type[np.generic]) -> np.memmap[Any, Any]:
    """Return a memory-mapped array."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    # SyntaxError and TokenError: NumPy reads a header as Python.
    except (OSError, ValueError, EOFError, SyntaxError, TokenError) as error:
        raise damaged(path, f"cannot be read ({error})", "an array") from error
    if array.ndim != 1 or array.dtype != kind:
        found = f"{array.dtype} of shape {array.shape}"
        raise damaged(path, found, f"{np.dtype(kind)} of one dimension")
    return array


def _check_range(path: Path, array: np.memmap[Any, Any], low: float, high: float) -> None:
    """Check all values, read and not mapped: the pages of a map would stay in memory. NaN, in tag-only interactions, is valid."""
    with path.open("rb") as file:
        file.seek(array.offset)
        while len(values := np.fromfile(file, array.dtype, _BLOCK)):
            least, most = np.fmin.reduce(values), np.fmax.reduce(values)
            if least < low or most > high:
                raise damaged(path, f"values from {least} to {most}", f"{low} to {high}")


def write_arrays(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, lengths: NDArray[np.int64], folder: Path
) -> None:
    """Write one ``.npy`` file per column, and ``offsets.npy``.

    Plain writes, not a writable memory map: its dirty pages would count as memory of this process.

    Args:
        batches: All rows, user by user; NULL becomes NaN.
        schema: Their columns; each file has the type of its column.
        lengths: (B,) rows of each user; they sum to the rows of all batches.
        folder: Created if missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    np.save(folder / "offsets.npy", offsets, allow_pickle=False)
    written, handles = 0, {}
    with ExitStack() as files:
        for field in schema:
            handles[field.name] = files.enter_context((folder / f"{field.name}.npy").open("wb"))
            _write_header(handles[field.name], field.type.to_pandas_dtype(), int(offsets[-1]))
        for batch in batches:
            written += batch.num_rows
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                handles[name].write(column.to_numpy(zero_copy_only=False).data)
    assert written == offsets[-1], f"{written} rows instead of {offsets[-1]}"


def _write_header(handle: BinaryIO, dtype: type[np.generic], rows: int) -> None:
    """Write the header that ``np.save`` writes for a vector of this many rows."""
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
    header = {"descr": descr, "fortran_order": False, "shape": (rows,)}
    np.lib.format.write_array_header_1_0(handle, header)
