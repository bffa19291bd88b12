"""From a source to one prepared folder: histories, films and the vectors of both kinds, whole or not at all."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from safetensors.numpy import save_file

from tastevec.data.arrangement import ArrangeSettings, arrange
from tastevec.data.atomic import new_folder
from tastevec.data.prepared import Prepared, write_manifest
from tastevec.data.readers import ReadSettings, Source, read_source
from tastevec.data.tables import connect
from tastevec.errors import DataError, SettingsError
from tastevec.items.content import content_vectors
from tastevec.items.genome import Genome, note_vectors, read_genome
from tastevec.items.genres import genre_matrix
from tastevec.schema import (
    CONTENT,
    GENRES,
    ITEM_ID,
    ITEMS_FILE,
    MANIFEST_FILE,
    NOTE,
    SPLITS,
    USER_ID,
    USERS_FILE,
    VECTOR_SOURCE,
    VECTORS_FILE,
    Preset,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

__all__ = ["PrepareSettings", "prepare"]

_RESOLVED = ("split", "order", "minimum_interactions")  # what the preset decided, for the manifest
_OTHER_NUMBERS = "ml-100k"  # its films are numbered by themselves; all later releases share their numbers


@dataclass(frozen=True)
class PrepareSettings:
    """How a source is prepared.

    Attributes:
        preset: "taste" keeps everything, oldest first, and divides people by hash, 70 / 15 / 15; "seed" is the
            research note's: films in the order of their ids, only those with a genome, people shuffled 70 / 30.
        genome: A folder with a genome, borrowed by film id; instead of the release's own, if it has one.
        tags: Files of tags from elsewhere.
        items: A table of film metadata.
        skip_bad_rows: Count bad rows and set them aside instead of refusing the file.
        rating_range: The lowest and the highest rating; None is the release's own.
        memory: What the table engine may hold; the rest goes to disk.
        seed: Of the split and of the content vectors; the note's vectors have their own, 42.
    """

    preset: Preset = "taste"
    genome: Path | None = None
    tags: tuple[Path, ...] = ()
    items: Path | None = None
    skip_bad_rows: bool = False
    rating_range: tuple[float, float] | None = None
    memory: str = "2GB"
    seed: int = 42

    @property
    def reading(self) -> ReadSettings:
        """What the readers are told."""
        return ReadSettings(
            tags=self.tags,
            items=self.items,
            skip_bad_rows=self.skip_bad_rows,
            rating_range=self.rating_range,
        )

    def arranging(self, with_vector: frozenset[Any] | None) -> ArrangeSettings:
        """How histories are laid out, given the films that have a genome (None where there is none at all)."""
        if self.preset == "seed":
            return ArrangeSettings(split="note", seed=self.seed, order="item", keep_items=with_vector)
        return ArrangeSettings(seed=self.seed)


def prepare(
    source_path: Path,
    out: Path,
    *,
    settings: PrepareSettings | None = None,
    progress: Callable[[str], None] | None = None,
) -> Prepared:
    """Read a release or a table of one's own and write the prepared folder ``out``.

    No rating and no tag of a validation or test person enters a film vector. Interrupted at any moment, the old
    folder stays or there is none.

    Args:
        source_path: A release's folder or zip, or a CSV or Parquet of interactions.
        out: Where the folder shall be; an earlier one of ours is replaced.
        settings: Defaults to ``PrepareSettings()``.
        progress: Told the name of each stage as it begins.

    Raises:
        DataError: The source cannot be understood, or a row is bad.
        FormatError: ``out`` holds something else.
        SettingsError: A setting is out of its range, or asks for film ids that the source does not share.
    """
    settings = settings or PrepareSettings()
    clock = _Clock(progress or (lambda _stage: None))
    with new_folder(out, owned_by=MANIFEST_FILE) as folder:
        connection = connect(settings.memory, spill=folder.parent)
        try:
            with clock.stage("read"):
                source = read_source(source_path, connection=connection, settings=settings.reading)
                _refuse_other_numbers(source, settings)
            with clock.stage("genome"):
                genome = _find_genome(source, settings, connection)
            with clock.stage("arrange"):
                arranging = settings.arranging(_with_genome(source, genome))
                counts = arrange(source, folder, arranging, connection)
            with clock.stage("vectors"):
                made = _write_vectors(folder, _visible_tags(source, folder, connection), genome, settings)
        finally:
            connection.disconnect()
        resolved = asdict(settings) | {name: getattr(arranging, name) for name in _RESOLVED}
        write_manifest(
            folder,
            source=source,
            counts=counts,
            settings=_plain(resolved),
            timings=clock.seconds,
            vectors=made,
        )
    return Prepared.open(out)


@dataclass
class _Clock:
    progress: Callable[[str], None]
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: Literal["read", "genome", "arrange", "vectors"]) -> Iterator[None]:
        self.progress(name)
        began = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - began


def _refuse_other_numbers(source: Source, settings: PrepareSettings) -> None:
    if _OTHER_NUMBERS in {source.format, source.name} and (settings.genome or settings.tags):
        raise SettingsError(
            f"{source.name} numbers its films otherwise than every later release, so that a genome or tags from "
            "elsewhere would meet the wrong films; leave out --genome and --tags"
        )


def _find_genome(source: Source, settings: PrepareSettings, connection: Any) -> Genome | None:  # noqa: ANN401 - untyped
    folder = settings.genome or source.genome_folder
    if folder is None:
        return None
    return read_genome(folder, connection, skip_bad_rows=settings.skip_bad_rows)


def _with_genome(source: Source, genome: Genome | None) -> frozenset[Any] | None:
    """The films with a genome, by ids of the source's own type."""
    if genome is None:
        return None
    kind = source.interactions.schema().to_pyarrow().field(ITEM_ID).type
    return frozenset(pa.array(genome.item_ids).cast(kind).to_pylist())


def _visible_tags(source: Source, folder: Path, connection: Any) -> pa.Table:  # noqa: ANN401 - untyped
    """The tags of training people, and those from elsewhere, which are nobody's."""
    tags = connection.to_pyarrow(source.tags)
    users = pq.read_table(folder / USERS_FILE, columns=[USER_ID, "split"])
    train = users.filter(pc.equal(users["split"], SPLITS.index("train")))[USER_ID].combine_chunks()
    owner = tags[USER_ID].cast(train.type)
    return tags.filter(pc.or_(pc.is_null(owner), pc.is_in(owner, train)))


def _write_vectors(
    folder: Path, tags: pa.Table, genome: Genome | None, settings: PrepareSettings
) -> dict[str, Any]:
    """Write the vectors and, beside each film, where its vector came from; what was made, for the manifest."""
    items = pq.read_table(folder / ITEMS_FILE)
    content = content_vectors(items, tags, genome, seed=settings.seed)
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
            "borrowed": settings.genome is not None,
            "films_set_aside": {str(film): list(lacking) for film, lacking in genome.missing.items()},
            "rows_set_aside": dict(genome.bad_rows),
        }
    made["seed_preset_reads"] = CONTENT if genome is None else NOTE
    pq.write_table(items.append_column(VECTOR_SOURCE, pa.array(origins)), folder / ITEMS_FILE)
    save_file(vectors, folder / VECTORS_FILE)
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


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """The same with each path as its last name: the manifest travels, the machine's folders do not."""

    def shown(value: Any) -> Any:  # noqa: ANN401 - whatever a setting holds
        if isinstance(value, Path):
            return value.name
        return [shown(part) for part in value] if isinstance(value, tuple) else value

    return {name: shown(value) for name, value in settings.items()}
