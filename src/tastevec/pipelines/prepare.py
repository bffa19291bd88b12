"""The prepare and describe stages: from a source to a prepared dataset and a report about it."""

from __future__ import annotations

import dataclasses
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field
from safetensors.numpy import save_file

from tastevec.data.expressions import connect
from tastevec.data.files import atomic_folder
from tastevec.data.prepared import Prepared, manifest_content, write_manifest
from tastevec.data.preprocess import PreprocessSettings, find_split_timestamp, preprocess
from tastevec.data.readers import ReadSettings, Source, read_source
from tastevec.data.spark import Engine  # noqa: TC001  pydantic reads it
from tastevec.data.spark.reading import read_source as read_on_spark
from tastevec.data.spark.session import SparkEngine, is_address, spark_engine
from tastevec.errors import DataError, SettingsError
from tastevec.items.cold_start import save_item_features
from tastevec.items.content import ContentFeatures, genre_matrix, reduce_features
from tastevec.items.genome import Genome, genome_svd_vectors, read_genome
from tastevec.schema import (
    CONTENT,
    GENOME_SVD,
    GENRES,
    ITEM_ID,
    ITEMS_FILE,
    MANIFEST_FILE,
    SPLITS,
    TIMESTAMP,
    USER_ID,
    USERS_FILE,
    VECTOR_SOURCE,
    VECTORS_FILE,
    Preset,
    SplitStrategy,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ibis.backends.duckdb import Backend
    from numpy.typing import NDArray

    from tastevec.items.genome import Genome
    from tastevec.schema import Preset

__all__ = [
    "PrepareSettings",
    "describe",
    "prepare",
    "tags_before",
    "training_tags",
    "write_item_vectors",
    "write_prepared",
]


def training_tags(tags: pa.Table, folder: Path) -> pa.Table:
    """The tags of the training people of ``folder``, and those from elsewhere, which are nobody's."""
    users = pq.read_table(folder / USERS_FILE, columns=[USER_ID, "split"])
    train = users.filter(pc.equal(users["split"], SPLITS.index("train")))[USER_ID].combine_chunks()
    owner = tags[USER_ID].cast(train.type)
    return tags.filter(pc.or_(pc.is_null(owner), pc.is_in(owner, train)))


def tags_before(tags: pa.Table, cut: int, genome: Genome | None) -> tuple[pa.Table, dict[str, Any]]:
    """The tags without those given at or after ``cut``, and an account of what could be cut and what could not.

    A tag without a time stays, and so do the genome and what the metadata say, which nobody has dated.
    """
    kept = tags.filter(pc.fill_null(pc.less(tags[TIMESTAMP], cut), True))  # noqa: FBT003 - Arrow names it no further
    row_report = {
        "tags_left_out": len(tags) - len(kept),
        "not_cut": {
            "tags without a time": kept[TIMESTAMP].null_count,
            "films of the genome": 0 if genome is None else len(genome.item_ids),
        },
    }
    return kept, row_report


def write_item_vectors(
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
    raw = features.read(items, tags, genome)
    content = reduce_features(features.normalize(raw), seed=seed)
    vectors = {CONTENT: content}
    origins = np.where(content.any(axis=1), CONTENT, "none").astype("<U8")
    made: dict[str, Any] = {CONTENT: {"items": int(content.any(axis=1).sum()), "tags": len(tags)}}
    if genome is not None:
        rows = genome.rows_of(items[ITEM_ID])
        vectors[GENOME_SVD] = _genome_svd(items, genome, rows)
        origins[rows >= 0] = "genome"
        made[GENOME_SVD] = {
            "items": int((rows >= 0).sum()),
            "tags": len(genome.tags),
            "borrowed": borrowed,
            "films_set_aside": {str(item): list(lacking) for item, lacking in genome.missing.items()},
            "rows_set_aside": dict(genome.bad_rows),
        }
    made["bert_cosine_reads"] = CONTENT if genome is None else GENOME_SVD
    pq.write_table(items.append_column(VECTOR_SOURCE, pa.array(origins)), folder / ITEMS_FILE)
    save_file(vectors, folder / VECTORS_FILE)
    save_item_features(folder, features, raw)
    return made


def _genome_svd(items: pa.Table, genome: Genome, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """(N, 64) the note's vectors, fitted on the films that have a genome; zeros for the others."""
    known = np.flatnonzero(rows >= 0)
    if not len(known):
        raise DataError(
            f"none of the {len(genome.item_ids)} films of the genome is in the catalogue (its ids begin with "
            f"{items[ITEM_ID][:3].to_pylist()}); expected MovieLens' film ids; leave out --genome"
        )
    made = genome_svd_vectors(
        genome.relevance[rows[known]], genre_matrix(items[GENRES].take(pa.array(known)))
    )
    vectors = np.zeros((len(items), made.shape[1]), np.float32)
    vectors[known] = made
    return vectors


_RESOLVED = ("split", "order", "minimum_interactions")  # what the preset decided, for the manifest
_WHERE = ("master", "scratch")  # of an engine, and nothing that the result depends on
_LATER = 0.1  # the share of ratings at or after the cut of a split by time
_OTHER_NUMBERS = "ml-100k"  # its films are numbered by themselves; all later releases share their numbers


@dataclass(frozen=True)
class PrepareSettings:
    """How a source is prepared.

    Attributes:
        preset: "taste" keeps everything, oldest first, and divides people by hash, 70 / 15 / 15; "bert-cosine" is the
            research note's: films in the order of their ids, only those with a genome, people shuffled 70 / 30.
        split: How people are divided; None is the preset's own, and "bert-cosine" takes no other. "hash" is by a hash of
            the id; "liang" is the published split of Liang et al. 2018, people who liked fewer than 5 films dropped;
            "time" divides by hash too, and ends what training and validation people did at the moment before which
            nine tenths of all ratings lie, so that nothing is learned from later.
        held_out_users: Of "liang": people of validation, and as many of test; the published number is for ml-20m.
        genome: A folder with a genome, borrowed by film id; instead of the release's own, if it has one.
        tags: Files of tags from elsewhere.
        items: A table of film metadata.
        skip_bad_rows: Count bad rows and set them aside instead of refusing the file.
        rating_range: The lowest and the highest rating; None is the release's own.
        engine: What reads and sorts the interactions: "duckdb" in this process, or "spark". The folder comes out the
            same, but for the name of the engine and the timings.
        master: Of Spark: where it runs, such as ``local[2]`` or ``spark://host:7077``; None is what Spark's own
            settings say, and this machine if they say nothing.
        scratch: Of Spark: the address of a folder that its workers and this process reach; None is beside ``out``.
        memory: What DuckDB may hold; the rest goes to disk.
        seed: Of the split and of the content vectors; the note's vectors have their own, 42.
    """

    preset: Preset = "taste"
    split: SplitStrategy | None = None
    held_out_users: Annotated[int, Field(ge=1)] = 10_000
    genome: Path | None = None
    tags: tuple[Path, ...] = ()
    items: Path | None = None
    skip_bad_rows: bool = False
    rating_range: tuple[float, float] | None = None
    engine: Engine = "duckdb"
    master: str | None = None
    scratch: str | None = None
    memory: str = "2GB"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42

    def __post_init__(self) -> None:
        if self.engine == "duckdb" and (self.master or self.scratch):
            raise SettingsError(
                f"engine is duckdb, master is {self.master} and scratch is {self.scratch}; both are Spark's: add --engine spark, "
                "or leave them out"
            )
        if self.preset == "bert-cosine" and self.split is not None:
            raise SettingsError(
                f"split is {self.split}, and preset bert-cosine divides people by the research note's own shuffle; leave out "
                "--split, or --preset bert-cosine"
            )

    @property
    def reading(self) -> ReadSettings:
        """What the readers are told."""
        return ReadSettings(
            tags=self.tags,
            items=self.items,
            skip_bad_rows=self.skip_bad_rows,
            rating_range=self.rating_range,
        )

    def arranging(
        self, items_with_vector: frozenset[Any] | None, cut: int | None = None
    ) -> PreprocessSettings:
        """How histories are laid out, given the films that have a genome (None where there is none at all)."""
        if self.preset == "bert-cosine":
            return PreprocessSettings(
                split="bert-cosine", seed=self.seed, order="item", keep_items=items_with_vector
            )
        return PreprocessSettings(
            split=self.split or "hash", seed=self.seed, held_out_users=self.held_out_users, cut=cut
        )


def write_prepared(
    source_path: Path | str,
    out: Path,
    *,
    settings: PrepareSettings | None = None,
    progress: Callable[[str], None] | None = None,
) -> Prepared:
    """Read a release or a table of one's own and write the prepared folder ``out``.

    No rating and no tag of a validation or test person enters a film vector. Interrupted at any moment, the old
    folder stays or there is none.

    Args:
        source_path: A release's folder or zip, or a CSV or Parquet of interactions; for Spark also a folder of Parquet
            files, or an address that its workers reach.
        out: Where the folder shall be; an earlier one of ours is replaced.
        settings: Defaults to ``PrepareSettings()``.
        progress: Told the name of each stage as it begins.

    Raises:
        DataError: The source cannot be understood, a row is bad, or there are no times to split by.
        FormatError: ``out`` holds something else.
        SettingsError: A setting is out of its range or asks for film ids that the source does not share, or Spark fails.
        MissingExtraError: Spark is asked for and not installed.
    """
    settings = settings or PrepareSettings()
    clock = _Clock(progress or (lambda _stage: None))
    with atomic_folder(out, marker_file=MANIFEST_FILE) as folder:
        connection = connect(settings.memory, spill=folder.parent)
        try:
            with _engine(settings, connection, folder.parent) as engine:
                with clock.stage("read"):
                    source = _read(source_path, settings, connection, engine)
                    _refuse_other_numbers(source, settings)
                with clock.stage("genome"):
                    genome = _find_genome(source, settings, connection)
                with clock.stage("arrange"):
                    cut = (
                        find_split_timestamp(source, engine, later=_LATER)
                        if settings.split == "time"
                        else None
                    )
                    arranging = settings.arranging(_with_genome(source, genome), cut)
                    counts = preprocess(source, folder, arranging, engine)
            with clock.stage("vectors"):
                tags = training_tags(connection.to_pyarrow(source.tags), folder)
                connection.disconnect()  # nothing more is asked of it, and the vectors want its memory
                row_report = {}
                if cut is not None:
                    tags, row_report["cut"] = tags_before(tags, cut, genome)
                borrowed = settings.genome is not None
                made = write_item_vectors(folder, tags, genome, seed=settings.seed, borrowed=borrowed)
        finally:
            connection.disconnect()
        write_manifest(
            folder,
            manifest_content(
                source=source,
                counts=counts,
                settings=_resolved(settings, arranging),
                timings=clock.seconds,
                vectors=made | row_report,
            ),
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


@contextmanager
def _engine(settings: PrepareSettings, connection: Backend, place: Path) -> Iterator[Backend | SparkEngine]:
    """What reads and sorts the interactions: the connection itself, or Spark with a folder in ``place``."""
    if settings.engine == "duckdb":
        yield connection
        return
    with spark_engine(place, master=settings.master, scratch=settings.scratch) as engine:
        yield engine


def _read(
    source: Path | str, settings: PrepareSettings, connection: Backend, engine: Backend | SparkEngine
) -> Source:
    if isinstance(engine, SparkEngine):
        return read_on_spark(source, engine=engine, connection=connection, settings=settings.reading)
    if is_address(source):
        raise SettingsError(
            f"{source} is an address, which only Spark reads; add --engine spark, or fetch it here first"
        )
    return read_source(Path(source), connection=connection, settings=settings.reading)


def _refuse_other_numbers(source: Source, settings: PrepareSettings) -> None:
    if _OTHER_NUMBERS in {source.format, source.name} and (settings.genome or settings.tags):
        raise SettingsError(
            f"{source.name} numbers its films otherwise than every later release, so that a genome or tags from "
            "elsewhere would meet the wrong films; leave out --genome and --tags"
        )


def _find_genome(source: Source, settings: PrepareSettings, connection: Backend) -> Genome | None:
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


def _resolved(settings: PrepareSettings, arranging: PreprocessSettings) -> dict[str, Any]:
    """The settings for the manifest, with what the preset decided and without what the split does not ask for."""
    told = asdict(settings) | {name: getattr(arranging, name) for name in _RESOLVED}
    for name in _WHERE:
        del told[name]
    if arranging.split != "liang":
        del told["held_out_users"]
    if arranging.cut is not None:
        told |= {"cut": arranging.cut, "time_share": _LATER}
    return _plain(told)


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """The same with each path as its last name: the manifest travels, the machine's folders do not."""

    def shown(value: Any) -> Any:  # noqa: ANN401 - whatever a setting holds
        if isinstance(value, Path):
            return value.name
        return [shown(part) for part in value] if isinstance(value, tuple) else value

    return {name: shown(value) for name, value in settings.items()}


def prepare(
    source: Path | str,
    out: Path | str,
    *,
    progress: Callable[[str], None] | None = None,
    **changes: Any,  # noqa: ANN401  each has its own type
) -> Prepared:
    """Read a release or a table of one's own and write the prepared folder ``out``.

    Args:
        source: A release's folder or zip, or a CSV or Parquet of interactions; with ``engine="spark"`` also a folder of
            Parquet files, or an address that Spark's workers reach, such as ``s3a://bucket/ml-32m``.
        out: Where the folder shall be; an earlier one of ours is replaced.
        progress: Told the name of each stage as it begins: read, genome, arrange, vectors.
        **changes: Settings that differ from the defaults; see `PrepareSettings`.

    Raises:
        SettingsError: A setting is unknown or does not fit, or Spark fails.
        DataError: The source cannot be understood, or a row is bad.
        FormatError: ``out`` holds something else.
        MissingExtraError: Spark is asked for and not installed.
    """
    from pydantic import TypeAdapter, ValidationError

    from tastevec.data.files import validation_message

    known = [field.name for field in dataclasses.fields(PrepareSettings)]
    if unknown := sorted(changes.keys() - set(known)):
        raise SettingsError(f"setting {unknown[0]!r} is unknown; known settings: {', '.join(known)}")
    try:
        settings = TypeAdapter(PrepareSettings).validate_python(changes)
    except ValidationError as error:
        raise SettingsError(f"{validation_message(error)}. See: tastevec prepare --help") from error
    return write_prepared(source, Path(out), settings=settings, progress=progress)


def describe(data: Path | str, out: Path | str) -> dict[str, Any]:
    """Write one page of pictures about a prepared folder, and the numbers behind them, into ``out``; the numbers.

    Raises:
        FormatError: ``data`` is no prepared folder, or ``out`` holds something else.
        MissingExtraError: matplotlib is not installed.
    """
    from tastevec.data.describe import describe as draw

    return draw(Prepared.open(Path(data)), Path(out))
