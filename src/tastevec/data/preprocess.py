"""Preprocessing of interactions: order, user splits, split timestamp, and writing of histories in bounded memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tastevec.data import expressions as tables
from tastevec.data.histories import write_arrays
from tastevec.data.inputs import positive_from
from tastevec.data.prepared import DatasetCounts, RowCounts
from tastevec.data.spark.session import SparkEngine
from tastevec.data.streaming import materialize, storage_errors, user_ranges
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
    from numpy.typing import NDArray

    from tastevec.data.readers import Source

__all__ = [
    "LIANG_SEED",
    "PreprocessSettings",
    "find_split_timestamp",
    "hash_split",
    "liang_split",
    "preprocess",
    "research_note_split",
]


def find_split_timestamp(source: Source, connection: Backend | SparkEngine, *, later: float) -> int:
    """The moment that divides the ratings of ``source`` in time, Unix seconds.

    Args:
        source: What the readers give.
        connection: The result of ``tables.connect``, or Spark, as the interactions are a table of the one or the other.
        later: The share of all ratings that lie at or after it, in (0, 1).

    Raises:
        DataError: No rating has a time.
    """
    days = connection.to_pyarrow(tables.ratings_per_span(source.interactions, tables.SECONDS_A_DAY))
    place = (int(days["ratings"].to_numpy().sum()) - 1) * (1 - later)  # between two ratings, counted from 0
    if place < 0:
        raise DataError(
            f"no rating of {source.name} has a time; expected timestamps to split by: give a column timestamp, or prepare with --split hash"
        )
    low, high = (_time_of(place, source, connection, days) for place in (math.floor(place), math.ceil(place)))
    return math.ceil(low + (high - low) * (place - math.floor(place)))


def _time_of(rank: int, source: Source, connection: Backend | SparkEngine, days: pa.Table) -> int:
    """The time of the rating that ``rank`` are earlier than: first its day, then its second, so that no engine sorts all."""
    day, earlier = _span_of(rank, days)
    seconds = connection.to_pyarrow(tables.ratings_per_span(source.interactions, 1, since=day))
    return _span_of(rank - earlier, seconds)[0]


def _span_of(rank: int, spans: pa.Table) -> tuple[int, int]:
    """The start of the span in which this rating lies, and how many ratings lie before it."""
    upto = np.cumsum(spans["ratings"].to_numpy())
    found = int(np.searchsorted(upto, rank, side="right"))
    return spans["start"][found].as_py(), int(upto[found - 1]) if found else 0


LIANG_SEED: Final = 98765  # of the published split, and of what it hides of each person
_HEX_DIGITS = 8
_NOTE_HELD_OUT = 0.3


def hash_split(user_id: ibis.Value, *, seed: int, fractions: tuple[float, float, float]) -> ibis.Value:
    """Each person's split as its code in ``schema.SPLITS``, from nothing but his id and the seed.

    The MD5 of ``"{seed}:{user_id}"``, in hexadecimal, is compared as text with two thresholds, so that every engine
    and every order of rows agrees (Ibis' own ``hash`` differs from engine to engine), and a person who joins later
    moves nobody.

    Args:
        user_id: A column of integers or strings.
        seed: Another seed, another division.
        fractions: Expected shares of train, validation and test; they sum to 1.
    """
    train, validation, _ = fractions
    digest = (ibis.literal(f"{seed}:") + user_id.cast("string")).hexdigest("md5")
    in_train, in_validation = digest < _threshold(train), digest < _threshold(train + validation)
    return ibis.cases((in_train, 0), (in_validation, 1), else_=2).cast("int16")


def research_note_split(user_ids: NDArray[Any], seed: int) -> NDArray[np.uint8]:
    """The research note's division: 70 % train (0), 30 % validation (1), nobody in test.

    Draws exactly what ``sklearn.model_selection.train_test_split(user_ids, test_size=0.3, random_state=seed)`` draws.

    Args:
        user_ids: (B,) in ascending order, as the note had them.
        seed: The note's is 42.

    Returns:
        (B,) codes, in the order of ``user_ids``.

    Source: the research note, section 6; scikit-learn, ``ShuffleSplit._iter_indices``.

    Examples:
        >>> research_note_split(np.arange(10), 42)
        array([0, 1, 0, 0, 0, 1, 0, 0, 1, 0], dtype=uint8)
    """
    shuffled = np.random.RandomState(seed).permutation(
        len(user_ids)
    )  # scikit-learn draws from this generator
    codes = np.zeros(len(user_ids), dtype=np.uint8)
    codes[shuffled[: int(np.ceil(_NOTE_HELD_OUT * len(user_ids)))]] = 1
    return codes


def liang_split(count: int, held_out_users: int) -> NDArray[np.uint8]:
    """The division of Liang et al.: of people in a shuffled order, the last are test, those before them validation.

    Draws exactly what the paper's published notebook draws, so that on ml-20m with ``held_out_users`` 10,000 the people of
    each split are those of the published numbers.

    Args:
        count: B, the people who liked 5 films or more, in ascending order of their ids.
        held_out_users: People of validation, and as many of test; 1 to B / 2.

    Returns:
        (B,) codes, in the order of the ids.

    Source: Liang, Krishnan, Hoffman & Jebara 2018, "Variational Autoencoders for Collaborative Filtering",
    section 4.1, and its notebook.

    Examples:
        >>> np.bincount(liang_split(136_677, 10_000)).tolist()  # ml-20m
        [116677, 10000, 10000]
    """
    shuffled = np.random.RandomState(LIANG_SEED).permutation(count)  # the notebook draws from this generator
    codes = np.zeros(count, dtype=np.uint8)
    codes[shuffled[-held_out_users:]] = 2
    codes[shuffled[-2 * held_out_users : -held_out_users]] = 1
    return codes


def _threshold(share: float) -> str:
    """The text below which this share of all digests sorts; "g" sorts after every hexadecimal digit."""
    value = round(share * 16**_HEX_DIGITS)
    return f"{value:0{_HEX_DIGITS}x}" if value < 16**_HEX_DIGITS else "g"


_LEAST_LIKES = 5  # of Liang et al. 2018, section 4.1
_LIANG_PARTS = 3  # training people are not fewer than those of validation or of test
_TEST = SPLITS.index("test")


@dataclass(frozen=True)
class PreprocessSettings:
    """How a source becomes histories.

    Attributes:
        split: "hash" divides by a hash of the user id; "bert-cosine" is the research note's shuffle, 70 / 30, no test; "liang"
            is that of Liang et al. 2018, of people who liked 5 films or more; "time" divides people as "hash" does
            and ends the histories of training and validation people at ``cut``.
        fractions: Expected shares of train, validation and test; "bert-cosine" and "liang" have their own.
        seed: Of the splits "hash", "time" and "bert-cosine".
        order: "time" is oldest first; "item" is by film id, the research note's order.
        minimum_interactions: People with fewer are dropped.
        keep_items: The films whose interactions are kept, by their own ids; None keeps all. The research note keeps
            those with a genome.
        held_out_users: Of "liang": people of validation, and as many of test.
        cut: Of "time": Unix seconds; ``cut.find_split_timestamp`` finds it. What has no time is then kept of nobody.

    Raises:
        SettingsError: A number is under 1, the fractions are no shares of a whole, or there is a cut without "time"
            or the other way round.
    """

    split: Literal["hash", "bert-cosine", "liang", "time"] = "hash"
    fractions: tuple[float, float, float] = (0.70, 0.15, 0.15)
    seed: int = 42
    order: Literal["time", "item"] = "time"
    minimum_interactions: int = 2
    keep_items: frozenset[Any] | None = None
    held_out_users: int = 10_000
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
        if self.held_out_users < 1:
            raise SettingsError(
                f"held_out_users is {self.held_out_users}; expected 1 or more, the published split's is 10000"
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


def preprocess(
    source: Source, folder: Path, settings: PreprocessSettings, connection: Backend | SparkEngine
) -> DatasetCounts:
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
    with storage_errors("preparing the histories"):
        catalog = connection.to_pyarrow(tables.build_catalog(source.interactions, source.items))
        _refuse_twins(catalog[ITEM_ID], source.name)
        _write_items(catalog, folder)
        known = tables.join_catalog(source.interactions, _numbered(catalog, settings))
        read = None if settings.cut is None else connection.to_pyarrow(tables.totals(known))
        if settings.cut is not None:
            known = tables.before_split(known, settings.cut, spared=_by_hash(known, settings) == _TEST)
        everybody = _everybody(known, settings, connection, positive_from(source.rating_range))
        chosen = _chosen(everybody, settings, source.name)
        _write_users(chosen, folder)
        write_arrays(
            _in_order(known, chosen, settings, connection, folder),
            tables.histories(known, ibis.memtable(chosen), order=settings.order).schema().to_pyarrow(),
            chosen["kept"].to_numpy(),
            folder / HISTORIES_FOLDER,
        )
    return _count(catalog, everybody if read is None else read, (everybody, chosen), settings)


def _in_order(
    known: ibis.Table,
    chosen: pa.Table,
    settings: PreprocessSettings,
    connection: Backend | SparkEngine,
    folder: Path,
) -> Iterator[pa.RecordBatch]:
    """The rows of the chosen people in their order, by way of a file for each portion of them or, from Spark, of many."""
    if isinstance(connection, SparkEngine):
        yield from connection.materialize(
            tables.histories(known, ibis.memtable(chosen), order=settings.order)
        )
        return
    for some in user_ranges(chosen, "kept"):
        # Told to the engine, so that it passes over what lies elsewhere in the source.
        near = known.filter(known[USER_ID].between(some[USER_ID][0].as_py(), some[USER_ID][-1].as_py()))
        rows = tables.histories(near, ibis.memtable(some), order=settings.order)
        yield from materialize(rows, connection=connection, folder=folder)


def _refuse_twins(ids: pa.ChunkedArray, name: str) -> None:
    """A film listed twice would double every interaction with it."""
    if len(pc.unique(ids)) < len(ids):
        twin = next(row["values"] for row in pc.value_counts(ids).to_pylist() if row["counts"] > 1)
        raise DataError(f"the metadata of {name} list item_id {twin!r} more than once; keep one row a film")


def _numbered(catalog: pa.Table, settings: PreprocessSettings) -> ibis.Table:
    """Each film's index and whether it is kept."""
    ids = catalog[ITEM_ID]
    if settings.keep_items is None:
        kept = np.ones(len(ids), dtype=bool)
    else:
        kept = pc.is_in(ids, pa.array(sorted(settings.keep_items), type=ids.type))
    return ibis.memtable(pa.table({ITEM_ID: ids, "item": np.arange(len(ids), dtype=np.int32), "kept": kept}))


def _by_hash(table: ibis.Table, settings: PreprocessSettings) -> ibis.Value:
    """The split of each row's person."""
    return hash_split(table[USER_ID], seed=settings.seed, fractions=settings.fractions)


def _everybody(
    known: ibis.Table, settings: PreprocessSettings, connection: Backend | SparkEngine, positive: float
) -> pa.Table:
    """One row a person, by ascending id, with his split where a hash decides it and his likes where they do."""
    table = tables.users(known, positive_from=positive if settings.split == "liang" else None)
    if settings.split in {"hash", "time"}:
        table = table.mutate(split=_by_hash(table, settings))
    return connection.to_pyarrow(table.order_by(USER_ID))


def _chosen(everybody: pa.Table, settings: PreprocessSettings, name: str) -> pa.Table:
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
    if settings.split == "bert-cosine":
        codes = research_note_split(chosen[USER_ID].to_numpy(), settings.seed)
        chosen = chosen.append_column("split", pa.array(codes))
    return chosen


def _by_likes(everybody: pa.Table, settings: PreprocessSettings, name: str) -> pa.Table:
    """The people who liked enough films, divided as Liang et al. published it."""
    chosen = everybody.filter(pc.greater_equal(everybody["positives"], _LEAST_LIKES))
    most = len(chosen) // _LIANG_PARTS
    if settings.held_out_users > most:
        raise SettingsError(
            f"held_out_users is {settings.held_out_users} and {len(chosen)} users of {name} liked {_LEAST_LIKES} films or more; expected "
            f"{_LIANG_PARTS * settings.held_out_users} or more, to hold out {settings.held_out_users} twice and teach no fewer: "
            + (f"give --held-out-users {most} or less" if most else "prepare with --split hash")
        )
    return chosen.append_column("split", pa.array(liang_split(len(chosen), settings.held_out_users)))


def _write_items(catalog: pa.Table, folder: Path) -> None:
    # What engines differ in would show in the bytes: chunks, and the name of what a list holds.
    genres = catalog[GENRES].cast(pa.list_(pa.string()))
    written = pa.table({name: catalog[name] for name in (ITEM_ID, TITLE, YEAR)} | {GENRES: genres})
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
    catalog: pa.Table, read: pa.Table, n_users: tuple[pa.Table, pa.Table], settings: PreprocessSettings
) -> DatasetCounts:
    """The account of what was read, of everybody that is left by the cut, and of the people chosen out of them."""
    everybody, chosen = n_users
    interactions, ratings, without_timestamp = (
        _total(read[name]) for name in ("interactions", "ratings", "without_timestamp")
    )
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
        rows_dropped |= {
            "without a time": without_timestamp,
            "at or after the cut": interactions - without_timestamp - seen,
        }
        users_dropped |= {"user with nothing before the cut": users - len(everybody)}
    first, last = pc.min(chosen["first_day"]).as_py(), pc.max(chosen["last_day"]).as_py()
    codes = np.bincount(chosen["split"].to_numpy(), minlength=len(SPLITS))
    return DatasetCounts(
        interactions=RowCounts(interactions, kept, rows_dropped),
        users=RowCounts(users, len(chosen), users_dropped),
        ratings=ratings,
        tag_only=interactions - ratings,
        without_timestamp=without_timestamp,
        items=len(catalog),
        items_without_metadata=len(catalog) - _total(catalog["described"]),
        splits={name: int(count) for name, count in zip(SPLITS, codes, strict=True)},
        days=None if first is None else (first, last),
    )


def _total(column: pa.ChunkedArray) -> int:
    return int(pc.sum(column).as_py() or 0)
