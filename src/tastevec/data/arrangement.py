"""From the interactions of a source to the files of a prepared folder, in bounded memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tastevec.data import tables
from tastevec.data.counts import Counts, Tally
from tastevec.data.flat import write_flat
from tastevec.data.reading import liked_from
from tastevec.data.spark.engine import SparkEngine
from tastevec.data.splits import liang_shuffle, note_shuffle, split_expression
from tastevec.data.spool import plain_errors, portions, spooled
from tastevec.errors import DataError, SettingsError
from tastevec.schema import (
    GENRES,
    HISTORIES_FOLDER,
    ITEM_ID,
    ITEMS_FILE,
    SPLITS,
    TITLE,
    USER_ID,
    USERS_FILE,
    YEAR,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ibis.backends.duckdb import Backend

    from tastevec.data.readers import Source

__all__ = ["ArrangeSettings", "arrange"]

_LEAST_LIKES = 5  # of Liang et al. 2018, section 4.1
_LIANG_PARTS = 3  # training people are not fewer than those of validation or of test
_TEST = SPLITS.index("test")


@dataclass(frozen=True)
class ArrangeSettings:
    """How a source becomes histories.

    Attributes:
        split: "hash" divides by a hash of the user id; "note" is the research note's shuffle, 70 / 30, no test; "liang"
            is that of Liang et al. 2018, of people who liked 5 films or more; "time" divides people as "hash" does
            and ends the histories of training and validation people at ``cut``.
        fractions: Expected shares of train, validation and test; "note" and "liang" have their own.
        seed: Of the splits "hash", "time" and "note".
        order: "time" is oldest first; "item" is by film id, the research note's order.
        minimum_interactions: People with fewer are dropped.
        keep_items: The films whose interactions are kept, by their own ids; None keeps all. The research note keeps
            those with a genome.
        heldout: Of "liang": people of validation, and as many of test.
        cut: Of "time": Unix seconds; ``cut.find_cut`` finds it. What has no time is then kept of nobody.

    Raises:
        SettingsError: A number is under 1, the fractions are no shares of a whole, or there is a cut without "time"
            or the other way round.
    """

    split: Literal["hash", "note", "liang", "time"] = "hash"
    fractions: tuple[float, float, float] = (0.70, 0.15, 0.15)
    seed: int = 42
    order: Literal["time", "item"] = "time"
    minimum_interactions: int = 2
    keep_items: frozenset[Any] | None = None
    heldout: int = 10_000
    cut: int | None = None

    def __post_init__(self) -> None:
        if min(self.fractions) < 0 or not math.isclose(sum(self.fractions), 1, abs_tol=1e-9):
            raise SettingsError(
                f"fractions are {self.fractions}; expected three shares that sum to 1, such as 0.7, 0.15, 0.15"
            )
        if self.minimum_interactions < 1:
            raise SettingsError(
                f"minimum_interactions is {self.minimum_interactions}; expected 1 or more, the note's is 2"
            )
        if self.heldout < 1:
            raise SettingsError(
                f"heldout is {self.heldout}; expected 1 or more, the published split's is 10000"
            )
        if (self.split == "time") != (self.cut is not None):
            raise SettingsError(
                f"split is {self.split} and cut is {self.cut}; expected a cut for a split by time, and only there"
            )

    @property
    def too_few(self) -> str:
        """Why a person is dropped, as the account calls it."""
        if self.split == "liang":
            return f"user with fewer than {_LEAST_LIKES} liked films"
        return f"user with fewer than {self.minimum_interactions} interactions"


def arrange(
    source: Source, folder: Path, settings: ArrangeSettings, connection: Backend | SparkEngine
) -> Counts:
    """Write histories, users and items of ``source`` into ``folder``.

    The ratings are sorted by the engine (on disk where they do not fit) and copied, a batch at a time, into flat
    arrays; only the people and the films are ever held whole.

    Args:
        source: What the readers give: one row a person and film.
        folder: An existing folder; it receives ``histories/``, ``users.parquet`` and ``items.parquet`` (every film
            by ascending id, still without ``vector_source``).
        settings: How.
        connection: The result of ``tables.connect``, or Spark, as the interactions are a table of the one or the other.

    Raises:
        DataError: Nobody is left.
        SettingsError: A setting is out of its range, or memory or disk do not suffice.
    """
    with plain_errors("preparing the histories"):
        catalogue = connection.to_pyarrow(tables.all_items(source.interactions, source.items))
        _refuse_twins(catalogue[ITEM_ID], source.name)
        _write_items(catalogue, folder)
        known = tables.known_items(source.interactions, _numbered(catalogue, settings))
        read = None if settings.cut is None else connection.to_pyarrow(tables.totals(known))
        if settings.cut is not None:
            known = tables.until(known, settings.cut, spared=_by_hash(known, settings) == _TEST)
        everybody = _everybody(known, settings, connection, liked_from(source.rating_range))
        chosen = _chosen(everybody, settings, source.name)
        _write_users(chosen, folder)
        write_flat(
            _in_order(known, chosen, settings, connection, folder),
            tables.histories(known, ibis.memtable(chosen), order=settings.order).schema().to_pyarrow(),
            chosen["kept"].to_numpy(),
            folder / HISTORIES_FOLDER,
        )
    return _count(catalogue, everybody if read is None else read, (everybody, chosen), settings)


def _in_order(
    known: ibis.Table,
    chosen: pa.Table,
    settings: ArrangeSettings,
    connection: Backend | SparkEngine,
    folder: Path,
) -> Iterator[pa.RecordBatch]:
    """The rows of the chosen people in their order, by way of a file for each portion of them or, from Spark, of many."""
    if isinstance(connection, SparkEngine):
        yield from connection.spooled(tables.histories(known, ibis.memtable(chosen), order=settings.order))
        return
    for some in portions(chosen, "kept"):
        # Told to the engine, so that it passes over what lies elsewhere in the source.
        near = known.filter(known[USER_ID].between(some[USER_ID][0].as_py(), some[USER_ID][-1].as_py()))
        rows = tables.histories(near, ibis.memtable(some), order=settings.order)
        yield from spooled(rows, connection=connection, folder=folder)


def _refuse_twins(ids: pa.ChunkedArray, name: str) -> None:
    """A film listed twice would double every interaction with it."""
    if len(pc.unique(ids)) < len(ids):
        twin = next(row["values"] for row in pc.value_counts(ids).to_pylist() if row["counts"] > 1)
        raise DataError(f"the metadata of {name} list item_id {twin!r} more than once; keep one row a film")


def _numbered(catalogue: pa.Table, settings: ArrangeSettings) -> ibis.Table:
    """Each film's index and whether it is kept."""
    ids = catalogue[ITEM_ID]
    if settings.keep_items is None:
        kept = np.ones(len(ids), dtype=bool)
    else:
        kept = pc.is_in(ids, pa.array(sorted(settings.keep_items), type=ids.type))
    return ibis.memtable(pa.table({ITEM_ID: ids, "item": np.arange(len(ids), dtype=np.int32), "kept": kept}))


def _by_hash(table: ibis.Table, settings: ArrangeSettings) -> ibis.Value:
    """The split of each row's person."""
    return split_expression(table[USER_ID], seed=settings.seed, fractions=settings.fractions)


def _everybody(
    known: ibis.Table, settings: ArrangeSettings, connection: Backend | SparkEngine, liked: float
) -> pa.Table:
    """One row a person, by ascending id, with his split where a hash decides it and his likes where they do."""
    table = tables.people(known, liked_from=liked if settings.split == "liang" else None)
    if settings.split in {"hash", "time"}:
        table = table.mutate(split=_by_hash(table, settings))
    return connection.to_pyarrow(table.order_by(USER_ID))


def _chosen(everybody: pa.Table, settings: ArrangeSettings, name: str) -> pa.Table:
    """The people with enough interactions, each with his split."""
    if settings.split == "liang":
        return _by_likes(everybody, settings, name)
    minimum = settings.minimum_interactions
    chosen = everybody.filter(pc.greater_equal(everybody["kept"], minimum))
    if len(chosen) == 0:
        which = "" if settings.keep_items is None else " with films of the genome"
        which += "" if settings.cut is None else " before the cut in time"
        raise DataError(
            f"none of the {len(everybody)} users of {name} has {minimum} interactions{which}; "
            f"give people with at least {minimum}{which}"
        )
    if settings.split == "note":
        codes = note_shuffle(chosen[USER_ID].to_numpy(), settings.seed)
        chosen = chosen.append_column("split", pa.array(codes))
    return chosen


def _by_likes(everybody: pa.Table, settings: ArrangeSettings, name: str) -> pa.Table:
    """The people who liked enough films, divided as Liang et al. published it."""
    chosen = everybody.filter(pc.greater_equal(everybody["likes"], _LEAST_LIKES))
    most = len(chosen) // _LIANG_PARTS
    if settings.heldout > most:
        raise SettingsError(
            f"heldout is {settings.heldout} and {len(chosen)} users of {name} liked {_LEAST_LIKES} films or more; expected "
            f"{_LIANG_PARTS * settings.heldout} or more, to hold out {settings.heldout} twice and teach no fewer: "
            + (f"give --heldout {most} or less" if most else "prepare with --split hash")
        )
    return chosen.append_column("split", pa.array(liang_shuffle(len(chosen), settings.heldout)))


def _write_items(catalogue: pa.Table, folder: Path) -> None:
    # What engines differ in would show in the bytes: chunks, and the name of what a list holds.
    genres = catalogue[GENRES].cast(pa.list_(pa.string()))
    written = pa.table({name: catalogue[name] for name in (ITEM_ID, TITLE, YEAR)} | {GENRES: genres})
    pq.write_table(written.combine_chunks(), folder / ITEMS_FILE)


def _write_users(chosen: pa.Table, folder: Path) -> None:
    written = pa.table(
        {
            USER_ID: chosen[USER_ID],
            "split": chosen["split"].cast(pa.uint8()),
            "interactions": chosen["kept"],
            "first_day": chosen["first_day"],
            "last_day": chosen["last_day"],
        }
    )
    pq.write_table(written.combine_chunks(), folder / USERS_FILE)


def _count(
    catalogue: pa.Table, read: pa.Table, people: tuple[pa.Table, pa.Table], settings: ArrangeSettings
) -> Counts:
    """The account of what was read, of everybody that is left by the cut, and of the people chosen out of them."""
    everybody, chosen = people
    interactions, ratings, untimed = (_total(read[name]) for name in ("interactions", "ratings", "untimed"))
    seen, with_vector, kept = (
        _total(everybody["interactions"]),
        _total(everybody["kept"]),
        _total(chosen["kept"]),
    )
    users = len(everybody)
    rows_dropped = {"film without a vector": seen - with_vector, settings.too_few: with_vector - kept}
    users_dropped = {settings.too_few: users - len(chosen)}
    if settings.cut is not None:
        users = _total(read["users"])
        rows_dropped |= {"without a time": untimed, "at or after the cut": interactions - untimed - seen}
        users_dropped |= {"user with nothing before the cut": users - len(everybody)}
    first, last = pc.min(chosen["first_day"]).as_py(), pc.max(chosen["last_day"]).as_py()
    codes = np.bincount(chosen["split"].to_numpy(), minlength=len(SPLITS))
    return Counts(
        interactions=Tally(interactions, kept, rows_dropped),
        users=Tally(users, len(chosen), users_dropped),
        ratings=ratings,
        tag_only=interactions - ratings,
        untimed=untimed,
        items=len(catalogue),
        items_without_metadata=len(catalogue) - _total(catalogue["described"]),
        splits={name: int(count) for name, count in zip(SPLITS, codes, strict=True)},
        days=None if first is None else (first, last),
    )


def _total(column: pa.ChunkedArray) -> int:
    return int(pc.sum(column).as_py() or 0)
