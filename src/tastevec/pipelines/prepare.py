"""The prepare and describe stages: from a source to a prepared dataset and a report about it."""

from __future__ import annotations

import dataclasses
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Unpack

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field, SkipValidation
from safetensors.numpy import save_file

from tastevec.data.expressions import connect
from tastevec.data.files import atomic_folder, check_replaceable
from tastevec.data.intake.callers import for_caller, report_for_caller
from tastevec.data.intake.report import IntakeReport, ReportLine, TableReport
from tastevec.data.intake.settings import IntakeSettings, ItemSettings
from tastevec.data.intake.source import Source, read_source
from tastevec.data.intake.stated import (
    STATED,
    ReadingChoices,
    SourceChoices,
    check_names,
    intake_settings,
    item_settings,
)
from tastevec.data.prepared import Prepared, manifest_content, write_manifest
from tastevec.data.preprocess import PreprocessSettings, find_split_timestamp, preprocess
from tastevec.data.spark import Engine  # noqa: TC001  pydantic reads it
from tastevec.data.spark.session import SparkEngine, is_address, spark_engine
from tastevec.data.spark.tables import SparkIntake
from tastevec.errors import DataError, SettingsError
from tastevec.items.cold_start import save_item_features
from tastevec.items.content import ContentFeatures, genre_matrix, reduce_features
from tastevec.items.genome import Genome, genome_svd_vectors, read_genome
from tastevec.items.text import text_notes, with_embeddings
from tastevec.schema import (
    CONTENT,
    DESCRIPTION_FILE,
    GENOME_SVD,
    GENRES,
    HISTORIES_FOLDER,
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


def training_tags(tags: pa.Table, folder: Path) -> pa.Table:
    """Return the tags of the training users of ``folder``, and tags without a user, from other releases."""
    users = pq.read_table(folder / USERS_FILE, columns=[USER_ID, "split"])
    train = users.filter(pc.equal(users["split"], SPLITS.index("train")))[USER_ID].combine_chunks()
    owner = tags[USER_ID].cast(train.type)
    return tags.filter(pc.or_(pc.is_null(owner), pc.is_in(owner, train)))


def tags_before(
    tags: pa.Table, split_timestamp: int, genome: Genome | None
) -> tuple[pa.Table, dict[str, int]]:
    """Return the tags before ``split_timestamp``, and counts of what was dropped and of what has no timestamp.

    Tags without a timestamp are kept; so are the genome and the metadata, which have none.
    """
    kept = tags.filter(pc.fill_null(pc.less(tags[TIMESTAMP], split_timestamp), True))  # noqa: FBT003 - Arrow has no keyword
    return kept, {
        "tags_dropped": len(tags) - len(kept),
        "tags_without_timestamp": kept[TIMESTAMP].null_count,
        "genome_items": 0 if genome is None else len(genome.item_ids),
    }


def write_item_vectors(
    folder: Path,
    tags: pa.Table,
    genome: Genome | None,
    *,
    seed: int,
    metadata: pa.Table | None = None,
    text_model: str | None = None,
) -> dict[str, Any]:
    """Write the item vectors and the source of each one; return their counts for the manifest.

    Args:
        folder: Has users, histories and ``items.parquet``, which receives the column ``vector_source``.
        tags: The tags to use.
        genome: The tag genome, if there is one. Of one that lacks relevances, ``tags`` has the known ones, too.
        seed: The random seed of the content vectors; genome-svd has its own.
        metadata: Items with columns of texts, numbers and vectors, as `read_items` returns them.
        text_model: The sentence encoder of the texts; see `find_encoder`.

    Raises:
        DataError: No item of the genome is in the catalog.
        SettingsError: The sentence encoder cannot be loaded.
    """
    items = pq.read_table(folder / ITEMS_FILE)
    described, label = with_embeddings(_with_metadata(items, metadata), text_model)
    training = _training_items(folder, len(items)) if described.num_columns > items.num_columns else None
    complete = genome if genome is not None and genome.is_complete else None
    features = ContentFeatures.fit(described, tags, complete, training=training, text_model=label)
    raw = features.read(described, tags, complete)
    content = reduce_features(features.normalize(raw), seed=seed)
    vectors = {CONTENT: content}
    origins = np.where(content.any(axis=1), CONTENT, "none").astype("<U8")
    made: dict[str, Any] = {CONTENT: {"items": int(content.any(axis=1).sum()), "tags": len(tags)}}
    if label:
        made[CONTENT]["text_model"] = label
    if genome is not None:
        rows = genome.rows_of(items[ITEM_ID])
        vectors[GENOME_SVD] = _genome_svd(items, genome, rows)
        origins[rows >= 0] = "genome"
        made[GENOME_SVD] = {
            "items": int((rows >= 0).sum()),
            "tags": len(genome.tags),
            "items_skipped": {str(item): list(lacking) for item, lacking in genome.incomplete_items.items()},
            "rows_skipped": dict(genome.skipped_rows),
        }
    made["bert_cosine_reads"] = CONTENT if genome is None else GENOME_SVD
    pq.write_table(items.append_column(VECTOR_SOURCE, pa.array(origins)), folder / ITEMS_FILE)
    save_file(vectors, folder / VECTORS_FILE)
    save_item_features(folder, features, raw)
    return made


def _with_metadata(items: pa.Table, metadata: pa.Table | None) -> pa.Table:
    """Return the items with the columns of the metadata that they lack."""
    names = (
        [] if metadata is None else [name for name in metadata.column_names if name not in items.column_names]
    )
    if metadata is None or not names:
        return items
    known = metadata[ITEM_ID].cast(pa.string()).combine_chunks()
    rows = pc.index_in(items[ITEM_ID].cast(pa.string()), known)
    for name in names:
        items = items.append_column(name, metadata[name].combine_chunks().take(rows))
    return items


def _training_items(folder: Path, count: int) -> NDArray[np.bool_]:
    """Return whether training users interacted with each item, (N,)."""
    splits = pq.read_table(folder / USERS_FILE, columns=["split"])["split"].to_numpy()
    offsets, items = (np.load(folder / HISTORIES_FOLDER / f"{name}.npy") for name in ("offsets", "items"))
    owners_train = np.repeat(splits == SPLITS.index("train"), np.diff(offsets))
    return np.bincount(items[owners_train], minlength=count) > 0


def _genome_svd(items: pa.Table, genome: Genome, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the research note's item vectors, (N, 64), fitted on the items with a genome; zeros for the others."""
    known = np.flatnonzero(rows >= 0)
    if not len(known):
        raise DataError(
            f"--genome: none of its {len(genome.item_ids)} items is in the catalog (which starts with "
            f"{items[ITEM_ID][:3].to_pylist()}). Expected MovieLens ids. Remove --genome"
        )
    made = genome_svd_vectors(
        genome.relevance[rows[known]], genre_matrix(items[GENRES].take(pa.array(known)))
    )
    vectors = np.zeros((len(items), made.shape[1]), np.float32)
    vectors[known] = made
    return vectors


_RESOLVED = ("split_strategy", "order", "minimum_interactions")  # set by the preset, for the manifest
_ELSEWHERE = (
    "master",
    "scratch",
    "intake",
    "described",
)  # the result does not depend on them, or `source` has it
_LATER_SHARE = 0.1  # of ratings at or after the split timestamp
_OWN_ITEM_IDS = "ml-100k"  # its item ids differ from those of all later releases


@dataclass(frozen=True)
class PrepareSettings:
    """Settings of the prepare stage.

    Attributes:
        preset: "taste" keeps all interactions, oldest first, and splits users by hash, 70 / 15 / 15. "bert-cosine" is the
            research note's: only items with a genome, in the order of their ids, users shuffled 70 / 30.
        split_strategy: None is that of the preset, and "bert-cosine" accepts no other. "hash" splits users by a hash of the
            id. "liang" is the published split of Liang et al. 2018, without users with fewer than 5 positives. "temporal"
            splits by hash too, and ends the histories of train and validation users at the timestamp before which nine
            tenths of all ratings are, so that nothing is learned from later ones.
        held_out_users: Of "liang": validation users, and as many test users; the published number is for ml-20m.
        genome: The folder of a tag genome, joined by item id; it replaces that of the release.
        intake: How interactions are read; `prepare` takes its settings by name.
        described: How item metadata and tags are read; as above.
        engine: Reads and sorts the interactions: "duckdb" in this process, or "spark". The dataset is the same, except
            for the name of the engine and the timings.
        master: Spark's master, such as ``local[2]`` or ``spark://host:7077``; None is that of Spark's own configuration, or
            this machine.
        scratch: Spark: the address of a folder that its workers and this process can reach; None is next to ``out``.
        memory: DuckDB's memory limit; larger data spill to disk.
        seed: The random seed of the split and of the content vectors; genome-svd has its own, 42.
    """

    preset: Preset = "taste"
    split_strategy: SplitStrategy | None = None
    held_out_users: Annotated[int, Field(ge=1)] = 10_000
    genome: Path | None = None
    intake: SkipValidation[IntakeSettings] = field(default_factory=IntakeSettings)
    described: SkipValidation[ItemSettings] = field(default_factory=ItemSettings)
    engine: Engine = "duckdb"
    master: str | None = None
    scratch: str | None = None
    memory: str = "2GB"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42

    def __post_init__(self) -> None:
        if self.engine == "duckdb" and (self.master or self.scratch):
            raise SettingsError(
                f"--engine duckdb: --master is {self.master} and --scratch is {self.scratch}. Expected both with Spark only. "
                "Add --engine spark, or remove them"
            )
        if self.preset == "bert-cosine" and self.split_strategy is not None:
            raise SettingsError(
                f"--split-strategy {self.split_strategy}: --preset bert-cosine has its own split. Expected one of the two. "
                "Remove --split-strategy or --preset"
            )

    def preprocessing(
        self, items_with_genome: frozenset[Any] | None, split_timestamp: int | None = None
    ) -> PreprocessSettings:
        """Return the settings of `preprocess`, for the items with a genome (None without a genome)."""
        if self.preset == "bert-cosine":
            return PreprocessSettings(
                split_strategy="bert-cosine", seed=self.seed, order="item", keep_items=items_with_genome
            )
        return PreprocessSettings(
            split_strategy=self.split_strategy or "hash",
            seed=self.seed,
            held_out_users=self.held_out_users,
            split_timestamp=split_timestamp,
        )


def write_prepared(
    source_path: Any,  # noqa: ANN401  a path, or a table of any library
    out: Path,
    *,
    settings: PrepareSettings | None = None,
    progress: Callable[[str], None] | None = None,
    show: Callable[[IntakeReport], None] | None = None,
) -> Prepared:
    """Read a source with these settings and write the prepared dataset ``out``, as `prepare` does.

    Item vectors do not depend on ratings and tags of validation and test users. If interrupted, an earlier dataset remains.
    """
    settings = settings or PrepareSettings()
    clock = _Clock(progress or (lambda _stage: None))
    described = settings.described
    stated = (source_path, settings.genome, *described.tags, *described.items, *described.relevance)
    inputs = tuple(path for path in stated if isinstance(path, str | Path))
    check_replaceable(out, marker_file=MANIFEST_FILE, inputs=inputs)
    with atomic_folder(out, marker_file=MANIFEST_FILE) as folder:
        connection = connect(settings.memory, spill=folder.parent)
        try:
            with _engine(settings, connection, folder.parent) as engine:
                with clock.stage("read"):
                    source = _read(source_path, settings, connection, engine)
                    _check_item_ids(source, settings)
                    metadata = connection.to_pyarrow(source.items)
                    report = _with_text_notes(source.report, metadata, described)
                if show is not None:
                    show(report_for_caller(report))
                with clock.stage("genome"):
                    genome = _find_genome(source, settings, connection)
                with clock.stage("preprocess"):
                    timestamp = None
                    if settings.split_strategy == "temporal":
                        timestamp = find_split_timestamp(source, engine, later_share=_LATER_SHARE)
                    preprocessing = settings.preprocessing(_items_with_genome(source, genome), timestamp)
                    counts, scale = preprocess(source, folder, preprocessing, engine)
            with clock.stage("vectors"):
                tags = training_tags(connection.to_pyarrow(source.tags), folder)
                connection.disconnect()  # frees its memory for the vectors
                temporal = {}
                if timestamp is not None:
                    tags, temporal["temporal_split"] = tags_before(tags, timestamp, genome)
                text = {"metadata": metadata, "text_model": described.text_model}
                made = write_item_vectors(folder, tags, genome, seed=settings.seed, **text)
        finally:
            connection.disconnect()
        content = manifest_content(
            source=source,
            scale=scale,
            counts=counts,
            settings=_resolved(settings, preprocessing),
            timings=clock.seconds,
            vectors=made | temporal,
        )
        write_manifest(folder, content)
    return Prepared.open(out)


def _with_text_notes(report: IntakeReport, metadata: pa.Table, settings: ItemSettings) -> IntakeReport:
    """Return the report with how texts of items will be read."""
    notes = text_notes(metadata, settings.text_model)
    lines = tuple(ReportLine("text", "text", note) for note in notes)
    return replace(report, tables=(*report.tables, TableReport("texts", "", lines))) if notes else report


@dataclass
class _Clock:
    progress: Callable[[str], None]
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: Literal["read", "genome", "preprocess", "vectors"]) -> Iterator[None]:
        self.progress(name)
        began = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - began


@contextmanager
def _engine(settings: PrepareSettings, connection: Backend, folder: Path) -> Iterator[Backend | SparkEngine]:
    """Yield the engine that reads and sorts the interactions: the connection itself, or Spark with a folder in ``folder``."""
    if settings.engine == "duckdb":
        yield connection
        return
    with spark_engine(folder, master=settings.master, scratch=settings.scratch) as engine:
        yield engine


def _read(
    source: Any,  # noqa: ANN401  as `write_prepared`
    settings: PrepareSettings,
    connection: Backend,
    engine: Backend | SparkEngine,
) -> Source:
    on_spark = SparkIntake(engine) if isinstance(engine, SparkEngine) else None
    if on_spark is None and is_address(source):
        raise SettingsError(
            f"{source}: an address, which only Spark reads. Expected a local path. Add --engine spark, or download it"
        )
    return read_source(
        source, connection=connection, settings=settings.intake, items=settings.described, engine=on_spark
    )


class SplitChoices(ReadingChoices, total=False):
    """How interactions are read, split and stored, as keywords; see `PrepareSettings`."""

    split_strategy: SplitStrategy | None
    held_out_users: int
    genome: Path | str | None
    engine: Engine
    master: str | None
    scratch: str | None
    memory: str


class PrepareChoices(SplitChoices, SourceChoices, total=False):
    """All keywords of `prepare`."""

    preset: Preset
    seed: int


def _check_item_ids(source: Source, settings: PrepareSettings) -> None:
    if _OWN_ITEM_IDS in {source.format, source.name} and (settings.genome or settings.described.tags):
        raise SettingsError(
            f"{source.name}: its item ids differ from those of later releases, so --genome and --tags would join the wrong "
            "items. Expected another release. Remove --genome and --tags"
        )


def _find_genome(source: Source, settings: PrepareSettings, connection: Backend) -> Genome | None:
    if settings.genome is None and source.relevance is not None:
        return Genome.of(source.relevance)
    folder = settings.genome or source.genome_folder
    if folder is None:
        return None
    return read_genome(folder, connection, skip_bad_rows=settings.intake.bad_rows is not None)


def _items_with_genome(source: Source, genome: Genome | None) -> frozenset[Any] | None:
    """Return the ids of the items with a genome, in the type of the source."""
    if genome is None:
        return None
    kind = source.interactions.schema().to_pyarrow().field(ITEM_ID).type
    return frozenset(genome.ids_of(kind))


def _resolved(settings: PrepareSettings, preprocessing: PreprocessSettings) -> dict[str, Any]:
    """Return the settings for the manifest, with those of the preset and without those that the split strategy ignores."""
    resolved = asdict(settings) | {name: getattr(preprocessing, name) for name in _RESOLVED}
    for name in _ELSEWHERE:
        del resolved[name]
    if preprocessing.split_strategy != "liang":
        del resolved["held_out_users"]
    if preprocessing.split_timestamp is not None:
        resolved |= {"split_timestamp": preprocessing.split_timestamp, "later_share": _LATER_SHARE}
    return {name: _plain(value) for name, value in resolved.items()}


def _plain(value: Any) -> Any:  # noqa: ANN401 - any setting
    """Return the last name of a path, also in tuples: manifests are shared, local folders are private."""
    if isinstance(value, Path):
        return value.name
    return [_plain(part) for part in value] if isinstance(value, tuple) else value


@for_caller()
def prepare(
    source: Any,  # noqa: ANN401  a path, or a table of any library
    out: Path | str,
    *,
    progress: Callable[[str], None] | None = None,
    show: Callable[[IntakeReport], None] | None = None,
    **changes: Unpack[PrepareChoices],
) -> Prepared:
    """Read a release or your own interactions and write the prepared dataset ``out``.

    Args:
        source: A release (folder or zip), a file or a folder of Parquet files, or a table: pandas, Polars, Arrow, a dict of
            columns, a list of rows, a sparse matrix. With ``engine="spark"`` a path or an address that Spark's workers can
            reach, such as ``s3a://bucket/ml-32m``.
        out: The folder of the dataset; an earlier dataset is replaced.
        progress: Called with the name of each stage when it starts: read, genome, preprocess, vectors.
        show: Called with the report of what was understood, before the work begins.
        **changes: Settings that differ from the defaults: those of `PrepareSettings`, `IntakeSettings` and `ItemSettings`, such
            as ``items="items.csv"``, ``feedback="implicit"``, ``rating_range="1:10"``, ``columns={"rating": "points"}``.

    Raises:
        SettingsError: A setting is unknown or out of range, or Spark fails.
        DataError: The source is not recognized, or a row is invalid.
        FormatError: ``out`` is something else.
        MissingExtraError: Spark is not installed.
    """
    from pydantic import TypeAdapter, ValidationError

    from tastevec.data.files import validation_message

    own = {name.name for name in dataclasses.fields(PrepareSettings)} - {"intake", "described"}
    check_names(changes, {*own, *STATED})
    stated = {name: value for name, value in changes.items() if name in STATED}
    try:
        settings = TypeAdapter(PrepareSettings).validate_python(
            {name: value for name, value in changes.items() if name in own}
        )
    except ValidationError as error:
        raise SettingsError(f"{validation_message(error)}. See: tastevec prepare --help") from error
    settings = dataclasses.replace(settings, intake=intake_settings(stated), described=item_settings(stated))
    return write_prepared(source, Path(out), settings=settings, progress=progress, show=show)


def describe(data: Path | str, out: Path | str) -> dict[str, Any]:
    """Write an HTML report about a prepared dataset and its numbers as JSON into ``out``; return the numbers.

    Raises:
        FormatError: ``data`` is not a prepared dataset, or ``out`` is something else.
        MissingExtraError: matplotlib is not installed.
    """
    from tastevec.data.describe import describe as write_description

    check_replaceable(Path(out), marker_file=DESCRIPTION_FILE, inputs=(data,))
    return write_description(Prepared.open(Path(data)), Path(out))
