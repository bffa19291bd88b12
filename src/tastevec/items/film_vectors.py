"""The film vectors of a prepared folder, and beside each film where its vector came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from safetensors.numpy import save_file

from tastevec.errors import DataError
from tastevec.items.cold_start import save_rows
from tastevec.items.content import ContentFeatures, genre_matrix, reduce_features
from tastevec.items.genome import note_vectors
from tastevec.schema import (
    CONTENT,
    GENRES,
    ITEM_ID,
    ITEMS_FILE,
    NOTE,
    SPLITS,
    TIMESTAMP,
    USER_ID,
    USERS_FILE,
    VECTOR_SOURCE,
    VECTORS_FILE,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tastevec.items.genome import Genome

__all__ = ["cut_tags", "visible_tags", "write_film_vectors"]


def visible_tags(tags: pa.Table, folder: Path) -> pa.Table:
    """The tags of the training people of ``folder``, and those from elsewhere, which are nobody's."""
    users = pq.read_table(folder / USERS_FILE, columns=[USER_ID, "split"])
    train = users.filter(pc.equal(users["split"], SPLITS.index("train")))[USER_ID].combine_chunks()
    owner = tags[USER_ID].cast(train.type)
    return tags.filter(pc.or_(pc.is_null(owner), pc.is_in(owner, train)))


def cut_tags(tags: pa.Table, cut: int, genome: Genome | None) -> tuple[pa.Table, dict[str, Any]]:
    """The tags without those given at or after ``cut``, and an account of what could be cut and what could not.

    A tag without a time stays, and so do the genome and what the metadata say, which nobody has dated.
    """
    kept = tags.filter(pc.fill_null(pc.less(tags[TIMESTAMP], cut), True))  # noqa: FBT003 - Arrow names it no further
    account = {
        "tags_left_out": len(tags) - len(kept),
        "not_cut": {
            "tags without a time": kept[TIMESTAMP].null_count,
            "films of the genome": 0 if genome is None else len(genome.item_ids),
        },
    }
    return kept, account


def write_film_vectors(
    folder: Path, tags: pa.Table, genome: Genome | None, *, seed: int, borrowed: bool
) -> dict[str, Any]:
    """Write the vectors and, beside each film, where its vector came from; what was made, for the manifest.

    Args:
        folder: Holds ``items.parquet``, which receives the column ``vector_source``.
        tags: What may be looked at.
        genome: Where there is one.
        seed: Of the content vectors; the note's have their own.
        borrowed: Whether the genome is another release's.

    Raises:
        DataError: No film of the genome is in the catalogue.
    """
    items = pq.read_table(folder / ITEMS_FILE)
    features = ContentFeatures.fit(items, tags, genome)
    wide = features.rows(items, tags, genome)
    content = reduce_features(wide, seed=seed)
    vectors = {CONTENT: content}
    origins = np.where(content.any(axis=1), CONTENT, "none").astype("<U8")
    made: dict[str, Any] = {CONTENT: {"films": int(content.any(axis=1).sum()), "tags": len(tags)}}
    if genome is not None:
        rows = genome.rows_of(items[ITEM_ID])
        vectors[NOTE] = _note(items, genome, rows)
        origins[rows >= 0] = "genome"
        made[NOTE] = {
            "films": int((rows >= 0).sum()),
            "tags": len(genome.tags),
            "borrowed": borrowed,
            "films_set_aside": {str(film): list(lacking) for film, lacking in genome.missing.items()},
            "rows_set_aside": dict(genome.bad_rows),
        }
    made["seed_preset_reads"] = CONTENT if genome is None else NOTE
    pq.write_table(items.append_column(VECTOR_SOURCE, pa.array(origins)), folder / ITEMS_FILE)
    save_file(vectors, folder / VECTORS_FILE)
    save_rows(folder, features, wide)
    return made


def _note(items: pa.Table, genome: Genome, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """(N, 64) the note's vectors, fitted on the films that have a genome; zeros for the others."""
    known = np.flatnonzero(rows >= 0)
    if not len(known):
        raise DataError(
            f"none of the {len(genome.item_ids)} films of the genome is in the catalogue (its ids begin with "
            f"{items[ITEM_ID][:3].to_pylist()}); expected MovieLens' film ids; leave out --genome"
        )
    made = note_vectors(genome.relevance[rows[known]], genre_matrix(items[GENRES].take(pa.array(known))))
    vectors = np.zeros((len(items), made.shape[1]), np.float32)
    vectors[known] = made
    return vectors
