"""People's vectors turned from a new model's space into an old one's, in a file that says so."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from tastevec.data.files import new_file
from tastevec.errors import DataError, SourceError
from tastevec.schema import ALIGNED_COSINE, ALIGNED_FROM, VECTOR

if TYPE_CHECKING:
    from tastevec.serving.aligning import Alignment

__all__ = ["turn_people"]


def turn_people(alignment: Alignment, people: Path | str, out: Path | str) -> int:
    """Write the vectors that ``encode`` wrote with the new model to ``out`` as vectors of the old space; how many.

    The file says that they are of the old space, from which one they were turned (``aligned_from``), and how well films that
    had no part in it fit (``aligned_cosine``): whoever reads it with the old model is warned of that.

    Raises:
        SourceError: The file cannot be read.
        DataError: It is no table of vectors of the new space.
    """
    try:
        source = pq.ParquetFile(people)
    except (OSError, pa.ArrowInvalid) as error:
        raise SourceError(
            f"{people} cannot be read ({error}); expected a Parquet file that tastevec encode wrote"
        ) from error
    with source:
        schema = source.schema_arrow
        told = schema.metadata or {}
        found = told.get(b"space", b"nothing").decode()
        if VECTOR not in schema.names or ALIGNED_FROM.encode() in told or found != alignment.new:
            raise DataError(
                f"{people} is of the space {found}; expected vectors of the space {alignment.new}, which this alignment turns: encode "
                "these people with that model"
            )
        said = {name.decode(): value.decode() for name, value in told.items()}  # Arrow's are bytes
        said |= {"space": alignment.old, ALIGNED_FROM: alignment.new}
        said |= {ALIGNED_COSINE: f"{alignment.held_out.cosine:.4f}"}
        schema = schema.with_metadata(said)
        with new_file(Path(out)) as temporary, pq.ParquetWriter(temporary, schema) as writer:
            for batch in source.iter_batches():
                flat = batch[VECTOR].flatten().to_numpy(zero_copy_only=False)
                turned = alignment.apply(flat.reshape(len(batch), -1))
                vectors = pa.FixedSizeListArray.from_arrays(pa.array(turned.ravel()), turned.shape[1])
                place = schema.get_field_index(VECTOR)
                writer.write_batch(batch.set_column(place, VECTOR, vectors).cast(schema))
        return int(source.metadata.num_rows)
