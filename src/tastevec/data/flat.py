"""The flat arrays of histories, written a batch at a time as ``Histories.open`` maps them."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import BinaryIO

    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["write_flat"]


def write_flat(
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
