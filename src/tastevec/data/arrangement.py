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
from tastevec.data.flat import write_flat
from tastevec.data.splits import note_shuffle, split_expression
from tastevec.data.spool import plain_errors, spooled
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
    from pathlib import Path

    from ibis.backends.duckdb import Backend

    from tastevec.data.readers import Source

__all__ = ["ArrangeSettings", "Counts", "Tally", "arrange"]


@dataclass(frozen=True)
class ArrangeSettings:
    """How a source becomes histories.

    Attributes:
        split: "hash" divides by a hash of the user id; "note" is the research note's shuffle, 70 / 30, no test.
        fractions: Expected shares of train, validation and test; "note" has its own.
        seed: Of either split.
        order: "time" is oldest first; "item" is by film id, the research note's order.
        minimum_interactions: People with fewer are dropped.
        keep_items: The films whose interactions are kept, by their own ids; None keeps all. The research note keeps
            those with a genome.

    Raises:
        SettingsError: ``minimum_interactions`` is under 1, or the fractions are no shares of a whole.
    """

    split: Literal["hash", "note"] = "hash"
    fractions: tuple[float, float, float] = (0.70, 0.15, 0.15)
    seed: int = 42
    order: Literal["time", "item"] = "time"
    minimum_interactions: int = 2
    keep_items: frozenset[Any] | None = None

    def __post_init__(self) -> None:
        if min(self.fractions) < 0 or not math.isclose(sum(self.fractions), 1, abs_tol=1e-9):
            raise SettingsError(
                f"fractions are {self.fractions}; expected three shares that sum to 1, such as 0.7, 0.15, 0.15"
            )
        if self.minimum_interactions < 1:
            raise SettingsError(
                f"minimum_interactions is {self.minimum_interactions}; expected 1 or more, the note's is 2"
            )


@dataclass(frozen=True)
class Tally:
    """How many came in, how many stayed, and why the others did not; the sum always holds."""

    read: int
    kept: int
    dropped: dict[str, int]

    def __post_init__(self) -> None:
        assert self.read == self.kept + sum(self.dropped.values()), f"rows are lost: {self}"


@dataclass(frozen=True)
class Counts:
    """The account of an arrangement.

    Attributes:
        interactions: One person and one film; read is all that the readers kept.
        users: People.
        ratings: Interactions read that carry a rating.
        tag_only: Interactions read that carry none.
        untimed: Interactions read without a timestamp.
        items: Films in the catalogue.
        items_without_metadata: Films that only interactions name; they have no title.
        splits: People kept in each split.
        days: First and last day (since 1970) of what is kept; None where no time is known.
    """

    interactions: Tally
    users: Tally
    ratings: int
    tag_only: int
    untimed: int
    items: int
    items_without_metadata: int
    splits: dict[str, int]
    days: tuple[int, int] | None


def arrange(source: Source, folder: Path, settings: ArrangeSettings, connection: Backend) -> Counts:
    """Write histories, users and items of ``source`` into ``folder``.

    The ratings are read by DuckDB, sorted (on disk where they do not fit) and copied, a batch at a time, into flat
    arrays; only the people and the films are ever held whole.

    Args:
        source: What the readers give: one row a person and film.
        folder: An existing folder; it receives ``histories/``, ``users.parquet`` and ``items.parquet`` (every film
            by ascending id, still without ``vector_source``).
        settings: How.
        connection: The result of ``tables.connect``.

    Raises:
        DataError: Nobody is left.
        SettingsError: A setting is out of its range, or memory or disk do not suffice.
    """
    with plain_errors("preparing the histories"):
        catalogue = connection.to_pyarrow(tables.all_items(source.interactions, source.items))
        _refuse_twins(catalogue[ITEM_ID], source.name)
        _write_items(catalogue, folder)
        known = tables.known_items(source.interactions, _numbered(catalogue, settings))
        everybody = _everybody(known, settings, connection)
        chosen = _chosen(everybody, settings, source.name)
        _write_users(chosen, folder)
        rows = tables.histories(known, ibis.memtable(chosen), order=settings.order)
        write_flat(
            spooled(rows, connection=connection, folder=folder),
            rows.schema().to_pyarrow(),
            chosen["kept"].to_numpy(),
            folder / HISTORIES_FOLDER,
        )
    return _count(catalogue, everybody, chosen, settings)


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


def _everybody(known: ibis.Table, settings: ArrangeSettings, connection: Backend) -> pa.Table:
    """One row a person, by ascending id, with his split where a hash decides it."""
    table = tables.people(known)
    if settings.split == "hash":
        chosen = split_expression(table[USER_ID], seed=settings.seed, fractions=settings.fractions)
        table = table.mutate(split=chosen)
    return connection.to_pyarrow(table.order_by(USER_ID))


def _chosen(everybody: pa.Table, settings: ArrangeSettings, name: str) -> pa.Table:
    """The people with enough interactions, each with his split."""
    minimum = settings.minimum_interactions
    chosen = everybody.filter(pc.greater_equal(everybody["kept"], minimum))
    if len(chosen) == 0:
        which = "" if settings.keep_items is None else " with films of the genome"
        raise DataError(
            f"none of the {len(everybody)} users of {name} has {minimum} interactions{which}; "
            f"give people with at least {minimum}{which}"
        )
    if settings.split == "note":
        codes = note_shuffle(chosen[USER_ID].to_numpy(), settings.seed)
        chosen = chosen.append_column("split", pa.array(codes))
    return chosen


def _write_items(catalogue: pa.Table, folder: Path) -> None:
    pq.write_table(catalogue.select([ITEM_ID, TITLE, YEAR, GENRES]), folder / ITEMS_FILE)


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
    pq.write_table(written, folder / USERS_FILE)


def _count(catalogue: pa.Table, everybody: pa.Table, chosen: pa.Table, settings: ArrangeSettings) -> Counts:
    read, ratings, untimed, with_vector = (
        _total(everybody[name]) for name in ("interactions", "ratings", "untimed", "kept")
    )
    kept = _total(chosen["kept"])
    few = f"user with fewer than {settings.minimum_interactions} interactions"
    first, last = pc.min(chosen["first_day"]).as_py(), pc.max(chosen["last_day"]).as_py()
    codes = np.bincount(chosen["split"].to_numpy(), minlength=len(SPLITS))
    return Counts(
        interactions=Tally(
            read, kept, {"film without a vector": read - with_vector, few: with_vector - kept}
        ),
        users=Tally(len(everybody), len(chosen), {few: len(everybody) - len(chosen)}),
        ratings=ratings,
        tag_only=read - ratings,
        untimed=untimed,
        items=len(catalogue),
        items_without_metadata=len(catalogue) - _total(catalogue["described"]),
        splits={name: int(count) for name, count in zip(SPLITS, codes, strict=True)},
        days=None if first is None else (first, last),
    )


def _total(column: pa.ChunkedArray) -> int:
    return int(pc.sum(column).as_py() or 0)
