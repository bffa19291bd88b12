"""Sources: a release, a file or tables in memory, as validated interactions, items and tags, with one report."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import ibis
import pyarrow as pa
import pyarrow.compute as pc

from tastevec.data.intake.context import Context
from tastevec.data.intake.delimited import readable
from tastevec.data.intake.engine import DuckEngine
from tastevec.data.intake.interactions import Interactions, read_interactions
from tastevec.data.intake.items import ItemTable, read_items
from tastevec.data.intake.metadata import TableContext, check_met, read_table
from tastevec.data.intake.report import Findings, IntakeReport, ReportLine, TableReport
from tastevec.data.intake.settings import IntakeSettings, ItemSettings
from tastevec.data.intake.tags import RelevanceTable, TagTable, read_relevances, read_tags
from tastevec.data.intake.values import whole
from tastevec.data.streaming import storage_errors
from tastevec.nouns import ItemNoun
from tastevec.schema import ITEM_ID, ITEM_NOUN, POSITION, RATING, TIMESTAMP, USER_ID

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ibis.backends.duckdb import Backend

    from tastevec.data.intake.engine import Engine
    from tastevec.data.intake.layouts import SourceFiles
    from tastevec.data.intake.validation import RowReport
    from tastevec.data.value_scale import ValueScale
    from tastevec.schema import Order

_MOVIELENS: Final = ("ml-100k", "ml-1m", "ml-10m", "movielens-csv")  # each numbers its users again


@dataclass(frozen=True, eq=False)
class Source:
    """A source, read and validated, as tables of the connection it was read through.

    Attributes:
        name: The name of the folder, zip, file or argument, without its ending.
        format: That of its layout, such as ``ml-1m``, or ``table``.
        scale: What the values mean; its ``top`` is provisional.
        feedback: More about the values, as JSON values.
        order: What orders the interactions of a user.
        item_noun: What the catalog calls its items, ``one`` and ``many``.
        interactions: ``user_id, item_id`` (int64 or string), ``rating`` float64 (the value; NULL where an item was touched
            without one), ``timestamp`` int64 Unix seconds (NULL if unknown), ``position`` int64, which orders equal times;
            one row per user and item.
        items: ``item_id``, ``title``, ``year``, ``genres`` and content columns; see `ItemTable`.
        tags: ``user_id`` (NULL in tags of others), ``item_id``, ``tag``, ``weight``, ``timestamp``.
        relevance: Relevances of tags; None without such a table. If it is not dense, they are in ``tags``, too.
        genome_folder: The folder of ``genome-scores.csv``, if the release has one; for a zip, a temporary folder that is
            removed with this value.
        row_reports: Of the interactions.
        report: What was understood.
    """

    name: str
    format: str
    scale: ValueScale
    feedback: Mapping[str, Any]
    order: Order
    item_noun: Mapping[str, str]
    interactions: ibis.Table
    items: ibis.Table
    tags: ibis.Table
    relevance: RelevanceTable | None = None
    genome_folder: Path | None = None
    row_reports: tuple[RowReport, ...] = ()
    report: IntakeReport = field(default_factory=IntakeReport)


def read_source(
    source: Any,  # noqa: ANN401  a path, or a table of any library
    *,
    connection: Backend,
    settings: IntakeSettings | None = None,
    items: ItemSettings | None = None,
    engine: Engine | None = None,
) -> Source:
    """Return a source as tables of ``connection``.

    Args:
        source: A release (folder or zip), a file, a folder of Parquet files, or a table in memory.
        connection: Ibis on DuckDB; the tables exist as long as it does.
        settings: How interactions are read.
        items: How item metadata and tags are read.
        engine: Where expressions run; DuckDB by default.

    Raises:
        SourceError: The source does not exist, its format is unknown, or a column is missing.
        BadRowError: A row is invalid and may not be dropped.
        DataError: The values make no sense, or a table meets nothing; ``code`` names a stop that may be accepted.
    """
    settings, items = settings or IntakeSettings(), items or ItemSettings()
    engine = engine or DuckEngine(connection)
    findings = Findings(settings.accept, settings.strict)
    with _scratch_folder() as scratch, storage_errors("reading the source"):
        opened = engine.open(source, settings, scratch)
        files = opened.files
        if files is not None and not items.items:
            files.check_items()
        limits = None if files is None else files.layout.rating_range
        with readable(opened.table.file, opened.table.names):
            read = read_interactions(Context(opened.table, opened.raw, engine, settings, findings, limits))
        described = _Described.read(
            files,
            items,
            TableContext(connection, scratch, bad_rows=settings.bad_rows, missing=settings.missing),
        )
        genome = _genome_folder(files, scratch)
        noun = items.item_noun or ItemNoun(**((files and files.layout.item_noun) or ITEM_NOUN))
        tables, reports = _joined(read, described, engine, findings, noun)
    found = Source(
        name=opened.table.file.partition(".")[0] if files is None else files.name,
        format="table" if files is None else files.layout.format,
        scale=read.feedback.scale,
        feedback=read.feedback.to_dict(),
        order=read.order,
        item_noun=noun.to_json(),
        relevance=described.relevance,
        genome_folder=genome,
        row_reports=(read.row_report,),
        report=IntakeReport((read.lines, *reports), tuple(findings.warnings)),
        **tables,
    )
    if genome is not None and files is not None and genome != files.genome_folder:
        weakref.finalize(found, shutil.rmtree, genome, ignore_errors=True)
    return found


def read_histories(
    source: Any,  # noqa: ANN401  as `read_source`
    *,
    engine: Engine,
    model: ValueScale,
    settings: IntakeSettings,
    events: Mapping[str, float | None],
    findings: Findings,
) -> Interactions:
    """Return the interactions of users whom a model is to answer: read in its scale, and without item metadata and tags.

    Args:
        source: As `read_source`.
        engine: Where expressions run.
        model: The scale of the model.
        settings: How interactions are read.
        events: The weights of events that the model knows.
        findings: Receives the warnings.

    Raises:
        TastevecError: As `read_source`.
    """
    with _scratch_folder() as scratch, storage_errors("reading the interactions"):
        opened = engine.open(source, settings, scratch)
        with readable(opened.table.file, opened.table.names):
            context = Context(
                opened.table, opened.raw, engine, settings, findings, model=model, events=events
            )
            return read_interactions(context)


@contextmanager
def _scratch_folder() -> Iterator[Path]:
    """Yield a folder for copies and unpacked files, and remove it afterwards."""
    with tempfile.TemporaryDirectory(prefix="tastevec-") as folder:
        yield Path(folder)


@dataclass(frozen=True, eq=False)
class _Described:
    """What is known of the items."""

    items: ItemTable
    tags: TagTable
    relevance: RelevanceTable | None

    @classmethod
    def read(cls, files: SourceFiles | None, settings: ItemSettings, context: TableContext) -> _Described:
        own_items = (
            [] if files is None or files.items is None else [read_table(files.items, context, "items")]
        )
        own_tags = [] if files is None or files.tags is None else [read_table(files.tags, context, "tags")]
        renumbered = files is not None and files.layout.format in _MOVIELENS
        items = read_items(settings, own_items, context)
        tags = read_tags(settings, own_tags, context, renumbered_users=renumbered)
        relevance = read_relevances(settings, context)
        if relevance is not None and not relevance.is_dense:
            tags = tags.with_relevances(relevance)
        return cls(items, tags, relevance)


def _joined(
    read: Interactions, described: _Described, engine: Engine, findings: Findings, noun: ItemNoun
) -> tuple[dict[str, ibis.Table], tuple[TableReport, ...]]:
    """Return interactions, items and tags with IDs of one type each, after counting what meets, and what the report says."""
    table, tags, listed = read.table, described.tags.table, read.items
    assert listed is not None
    items = described.items.of_catalog(listed)
    if described.items.differing:
        message = (
            f"{described.items.differing:,} rows list an item again with other values: the first row counts"
        )
        findings.warn("repeated-items", message)
    met = _met(listed, items, findings, noun) if len(items) else ""
    if met and (skipped := len(described.items.table) - len(items)):
        met += f"; {skipped:,} without a title or an interaction are skipped"
    if len(tags):
        of_items = pc.unique(tags[ITEM_ID].combine_chunks())
        catalog = pa.concat_arrays([listed, items[ITEM_ID].combine_chunks()])
        tagged = f"of tagged {noun.many} are in the catalog"
        check_met(of_items, catalog, findings, code="unmatched-tags", what=tagged)
    own = tags.filter(pc.is_valid(tags[USER_ID]))
    types = {
        USER_ID: _id_type(table, USER_ID, own[USER_ID]),
        ITEM_ID: _id_type(table, ITEM_ID, items[ITEM_ID], own[ITEM_ID]),
    }
    table = table.mutate(**{name: table[name].cast(kind) for name, kind in types.items()})
    tables = {
        "interactions": _with_tag_only(table, _cast(own, types), engine) if len(own) else table,
        "items": ibis.memtable(_cast(items, {ITEM_ID: types[ITEM_ID]})),
        "tags": ibis.memtable(_cast(tags, types)),
    }
    dense = described.relevance if described.relevance and described.relevance.is_dense else None
    matched = TableReport("items", "", (ReportLine("", "matched", met),))
    reports = described.items.reports + (matched,) * bool(met and described.items.reports)
    return tables, (*reports, *described.tags.reports, *(dense.reports if dense else ()))


def _met(listed: pa.StringArray, items: pa.Table, findings: Findings, noun: ItemNoun) -> str:
    """Return how many items with interactions have metadata, and the other way round; stop or warn if few have."""
    known = items[ITEM_ID].combine_chunks()
    what = f"of {noun.many} have metadata"
    described = check_met(listed, known, findings, code="unmatched-items", what=what)
    unused = len(known) - int(pc.sum(pc.is_in(known, listed)).as_py() or 0)
    return f"{described:,} of {noun.counted(len(listed))} have metadata; {unused:,} have no interaction"


def _id_type(table: ibis.Table, role: str, *others: pa.ChunkedArray) -> str:
    """Return ``int64`` if every ID is a whole number, else ``string``."""
    are_whole = (whole(ids.combine_chunks()).null_count == ids.null_count for ids in others)
    return "int64" if table[role].type().is_integer() and all(are_whole) else "string"


def _cast(table: pa.Table, types: Mapping[str, str]) -> pa.Table:
    """Return the table with IDs of these types; an ID of tags that is no whole number becomes NULL."""
    for name, kind in types.items():
        ids = whole(table[name].combine_chunks()) if kind == "int64" else table[name]
        table = table.set_column(table.column_names.index(name), name, ids)
    return table


def _with_tag_only(rated: ibis.Table, own: pa.Table, engine: Engine) -> ibis.Table:
    """Return the interactions, then the pairs that were only tagged: the time of the first tag, in the order of the file."""
    numbered = own.append_column("line", pa.array(range(len(own)), pa.int64()))
    tags = ibis.memtable(numbered.select([USER_ID, ITEM_ID, TIMESTAMP, "line"]))
    pairs = tags.group_by([USER_ID, ITEM_ID]).agg(
        **{TIMESTAMP: tags[TIMESTAMP].min(), "line": tags.line.min()}
    )
    both = rated.semi_join(pairs, [USER_ID, ITEM_ID]).select(
        USER_ID, ITEM_ID
    )  # tags are few, interactions many
    only = pairs.anti_join(engine.store(both, "matching the tags"), [USER_ID, ITEM_ID])
    columns = {
        USER_ID: only[USER_ID],
        ITEM_ID: only[ITEM_ID],
        RATING: ibis.null("float64"),
        TIMESTAMP: only[TIMESTAMP],
    }
    after = ibis.literal(1 << 62, type="int64")  # behind all interactions
    stored = engine.store(only.select(**columns, **{POSITION: only.line + after}), "adding tagged items")
    return ibis.union(rated.select(*columns, POSITION), stored)


def _genome_folder(files: SourceFiles | None, scratch: Path) -> Path | None:
    """Return the folder of the genome; of a zip, outside the scratch folder, which is about to be removed."""
    if files is None or files.genome_folder is None:
        return None
    folder = files.genome_folder
    if not folder.is_relative_to(scratch):
        return folder
    return Path(
        shutil.copytree(folder, Path(tempfile.mkdtemp(prefix="tastevec-genome-")) / "genome")
    ).absolute()
