"""Preprocessing of interactions: order, user splits, split timestamp, and writing of histories in bounded memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tastevec.data import expressions as tables
from tastevec.data.histories import Histories, write_arrays
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
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ibis.backends.duckdb import Backend
    from numpy.typing import NDArray

    from tastevec.data.intake.source import Source
    from tastevec.data.value_scale import ValueScale


def find_split_timestamp(source: Source, connection: Backend | SparkEngine, *, later_share: float) -> int:
    """Return the timestamp with ``later_share``, in (0, 1), of the ratings of ``source`` at or after it, in Unix seconds.

    Raises:
        DataError: No rating has a timestamp.
    """
    days = connection.to_pyarrow(tables.ratings_per_span(_timed(source), tables.SECONDS_A_DAY))
    rank = (int(days["ratings"].to_numpy().sum()) - 1) * (1 - later_share)  # between two ratings, from 0
    if rank < 0:
        raise DataError(
            f"{source.name}: no rating has a timestamp. Expected timestamps for a temporal split. Add a column timestamp, "
            "or run: tastevec prepare … --split-strategy hash"
        )
    low, high = (_timestamp_at(r, source, connection, days) for r in (math.floor(rank), math.ceil(rank)))
    return math.ceil(low + (high - low) * (rank - math.floor(rank)))


def _timed(source: Source) -> ibis.Table:
    """Return the interactions, with timestamps only where these order them."""
    timed = source.order == "timestamp"
    return source.interactions if timed else tables.without_time(source.interactions)


def _timestamp_at(rank: int, source: Source, connection: Backend | SparkEngine, days: pa.Table) -> int:
    """Return the timestamp of the rating of this rank by time: first its day, then its second, so that no engine sorts all."""
    day, earlier = _span_at(rank, days)
    seconds = connection.to_pyarrow(tables.ratings_per_span(_timed(source), 1, since=day))
    return _span_at(rank - earlier, seconds)[0]


def _span_at(rank: int, spans: pa.Table) -> tuple[int, int]:
    """Return the start of the span that contains the rating of this rank, and the number of ratings before the span."""
    cumulative = np.cumsum(spans["ratings"].to_numpy())
    found = int(np.searchsorted(cumulative, rank, side="right"))
    return spans["start"][found].as_py(), int(cumulative[found - 1]) if found else 0


LIANG_SEED: Final = 98765  # of the published split, and of its held-out items
_HEX_DIGITS = 8
_NOTE_VALIDATION_SHARE = 0.3


def hash_split(user_id: ibis.Value, *, seed: int, fractions: tuple[float, float, float]) -> ibis.Value:
    """Return each user's split as its code in ``schema.SPLITS``, from the user id (integer or string) and the seed only.

    The MD5 of ``"{seed}:{user_id}"``, in hexadecimal, is compared as text with two thresholds, so that every engine
    and every order of rows agree (Ibis' own ``hash`` differs between engines), and a new user changes no other user's split.

    ``fractions`` are the expected shares of train, validation and test users; they sum to 1.
    """
    train, validation, _ = fractions
    digest = (ibis.literal(f"{seed}:") + user_id.cast("string")).hexdigest("md5")
    in_train, in_validation = digest < _threshold(train), digest < _threshold(train + validation)
    return ibis.cases((in_train, 0), (in_validation, 1), else_=2).cast("int16")


def research_note_split(user_ids: NDArray[Any], seed: int) -> NDArray[np.uint8]:
    """Return the research note's split: 70 % train (0), 30 % validation (1), no test users.

    Draws exactly what ``sklearn.model_selection.train_test_split(user_ids, test_size=0.3, random_state=seed)`` draws.
    In the note, ``user_ids`` (B,) are ascending and the seed is 42. The (B,) codes are in the order of ``user_ids``.

    Source: the research note, section 6; scikit-learn, ``ShuffleSplit._iter_indices``.

    Examples:
        >>> research_note_split(np.arange(10), 42)
        array([0, 1, 0, 0, 0, 1, 0, 0, 1, 0], dtype=uint8)
    """
    generator = np.random.RandomState(seed)  # the one that scikit-learn uses
    shuffled = generator.permutation(len(user_ids))
    codes = np.zeros(len(user_ids), dtype=np.uint8)
    codes[shuffled[: int(np.ceil(_NOTE_VALIDATION_SHARE * len(user_ids)))]] = 1
    return codes


def liang_split(n_users: int, held_out_users: int) -> NDArray[np.uint8]:
    """Return the split of Liang et al.: of the shuffled users, the last are test, those before them validation.

    Draws exactly what the paper's published notebook draws. On ml-20m with 10,000 ``held_out_users`` the users of
    each split are those of the published results.

    Args:
        n_users: B, users with 5 positives or more, by ascending id.
        held_out_users: Validation users, and as many test users; 1 to B / 2.

    Returns:
        (B,) codes, in the order of the ids.

    Source: Liang, Krishnan, Hoffman & Jebara 2018, "Variational Autoencoders for Collaborative Filtering",
    section 4.1, and its notebook.

    Examples:
        >>> np.bincount(liang_split(136_677, 10_000)).tolist()  # ml-20m
        [116677, 10000, 10000]
    """
    shuffled = np.random.RandomState(LIANG_SEED).permutation(n_users)  # the generator of the notebook
    codes = np.zeros(n_users, dtype=np.uint8)
    codes[shuffled[-held_out_users:]] = 2
    codes[shuffled[-2 * held_out_users : -held_out_users]] = 1
    return codes


def _threshold(share: float) -> str:
    """Return the text below which this share of all digests sorts; "g" sorts after every hexadecimal digit."""
    value = round(share * 16**_HEX_DIGITS)
    return f"{value:0{_HEX_DIGITS}x}" if value < 16**_HEX_DIGITS else "g"


_MIN_POSITIVES = 5  # of Liang et al. 2018, section 4.1
_LIANG_SPLITS = 3  # train users are at least as many as validation or test users
_TRAIN, _TEST = SPLITS.index("train"), SPLITS.index("test")


@dataclass(frozen=True)
class PreprocessSettings:
    """Settings of `preprocess`.

    Attributes:
        split_strategy: "hash" splits by a hash of the user id; "bert-cosine" is the research note's shuffle, 70 / 30 without
            test users; "liang" is the split of Liang et al. 2018, of users with 5 positives or more; "temporal" splits users
            as "hash" does and ends the histories of train and validation users at ``split_timestamp``.
        fractions: Expected shares of train, validation and test users; "bert-cosine" and "liang" have their own.
        seed: The random seed of "hash", "temporal" and "bert-cosine".
        order: "time" is oldest first; "item" is by item id, the research note's order.
        minimum_interactions: Users with fewer are dropped.
        keep_items: Items whose interactions are kept, by their own ids; None keeps all. The research note keeps
            items with a genome.
        held_out_users: Of "liang": validation users, and as many test users.
        split_timestamp: Of "temporal": Unix seconds, from `find_split_timestamp`. Interactions without a timestamp are
            then dropped for all users.

    Raises:
        SettingsError: A number is below 1, the fractions do not sum to 1, or there is a split timestamp without "temporal"
            or the other way round.
    """

    split_strategy: Literal["hash", "bert-cosine", "liang", "temporal"] = "hash"
    fractions: tuple[float, float, float] = (0.70, 0.15, 0.15)
    seed: int = 42
    order: Literal["time", "item"] = "time"
    minimum_interactions: int = 2
    keep_items: frozenset[Any] | None = None
    held_out_users: int = 10_000
    split_timestamp: int | None = None

    def __post_init__(self) -> None:
        if min(self.fractions) < 0 or not math.isclose(sum(self.fractions), 1, abs_tol=1e-9):
            raise SettingsError(
                f"fractions: {self.fractions}. Expected three shares that sum to 1, such as 0.7, 0.15, 0.15"
            )
        for name in ("minimum_interactions", "held_out_users"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name}: {getattr(self, name)}. Expected 1 or more")
        if (self.split_strategy == "temporal") != (self.split_timestamp is not None):
            raise SettingsError(
                f"split_timestamp: {self.split_timestamp} with split_strategy {self.split_strategy}. Expected a timestamp "
                "for temporal, and only there"
            )

    @property
    def too_few(self) -> str:
        """The reason for dropping a user with too few interactions."""
        if self.split_strategy == "liang":
            return f"user with fewer than {_MIN_POSITIVES} positives"
        return f"user with fewer than {self.minimum_interactions} interactions"


def preprocess(
    source: Source, folder: Path, settings: PreprocessSettings, connection: Backend | SparkEngine
) -> tuple[DatasetCounts, ValueScale]:
    """Write histories, users and items of ``source`` into ``folder``; return their counts and the value scale.

    The engine sorts the ratings (on disk if they do not fit in memory); they are copied, one batch at a time, into flat
    arrays. Only users and items are in memory at once.

    Args:
        source: The source, with one row per user and item unless repeats are kept.
        folder: An existing folder; it receives ``histories/``, ``users.parquet`` and ``items.parquet`` (every item
            by ascending id, without ``vector_source``).
        settings: See `PreprocessSettings`.
        connection: The engine of the interactions: the result of ``tables.connect``, or Spark.

    Returns:
        The counts; and the scale of the source, its ``top`` taken from the training users unless the feedback is explicit.

    Raises:
        DataError: No user remains.
        SettingsError: A setting is out of range, or memory or disk are too small.
    """
    with storage_errors("preparing the histories"):
        catalog = connection.to_pyarrow(tables.build_catalog(source.interactions, source.items))
        _check_unique(catalog[ITEM_ID], source.name)
        _write_items(catalog, folder)
        rows = tables.join_catalog(_timed(source), _indexed(catalog, settings))
        read = None
        if settings.split_timestamp is not None:
            read = connection.to_pyarrow(tables.totals(rows))
            is_test = hash_split(rows[USER_ID], seed=settings.seed, fractions=settings.fractions) == _TEST
            rows = tables.before_split(rows, settings.split_timestamp, test=is_test)
        users = _users(rows, settings, connection, source.scale)
        kept = _keep_users(users, settings, source.name)
        _write_users(kept, folder)
        order = "hash" if settings.order == "time" and source.order == "none" else settings.order
        ordered = partial(tables.histories, order=order, normalize=source.scale.kind == "explicit")
        histories = folder / HISTORIES_FOLDER
        write_arrays(
            _in_order(rows, kept, ordered, connection, folder),
            ordered(rows, ibis.memtable(kept)).schema().to_pyarrow(),
            kept["kept"].to_numpy(),
            histories,
        )
        keeps = source.feedback.get("repeats") == "keep"
        scale = _write_normalized(histories, kept, source.scale, keeps_repeats=keeps)
    return _count(catalog, users if read is None else read, (users, kept), settings), scale


def _in_order(
    rows: ibis.Table,
    kept: pa.Table,
    ordered: Callable[[ibis.Table, ibis.Table], ibis.Table],
    connection: Backend | SparkEngine,
    folder: Path,
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the kept users in order, through one file per range of users or, with Spark, through many files."""
    if isinstance(connection, SparkEngine):
        yield from connection.materialize(ordered(rows, ibis.memtable(kept)))
        return
    for some in user_ranges(kept, "kept"):
        # The engine skips row groups of the source that are out of this range.
        near = rows.filter(rows[USER_ID].between(some[USER_ID][0].as_py(), some[USER_ID][-1].as_py()))
        yield from materialize(ordered(near, ibis.memtable(some)), connection=connection, folder=folder)


_BLOCK = 1 << 20  # values normalized at once: 8 MB a step
_TOP = 0.999  # quantile of the positive values of training users that has the highest share


def _write_normalized(
    histories: Path, kept: pa.Table, scale: ValueScale, *, keeps_repeats: bool
) -> ValueScale:
    """Write the normalized ratings unless the engine did, and return the scale with its top value.

    Both come from the written array, in NumPy: engines compute quantiles and logarithms differently.
    """
    if scale.kind == "explicit":
        return scale
    values: NDArray[np.float32] = np.load(histories / "ratings.npy", allow_pickle=False)
    in_train = kept["split"].to_numpy() == _TRAIN
    train = np.repeat(in_train, kept["kept"].to_numpy())
    if keeps_repeats:  # the highest share is that of a sum, which is what overall reads
        np.save(histories / "normalized_ratings.npy", np.zeros_like(values), allow_pickle=False)
        every = Histories.open(histories, np.arange(len(kept)), relative=False, repeats=scale)
        of_items = every.take(np.flatnonzero(in_train)).once().ratings
        positive = of_items[scale.positive(of_items)]
    else:
        positive = values[train & scale.positive(values)]
    top = float(np.quantile(positive, _TOP, method="higher")) if len(positive) else scale.positive_from
    scale = replace(scale, top=max(top, scale.positive_from))
    normalized = np.empty_like(values)
    for start in range(0, len(values), _BLOCK):  # intermediate results are in double precision
        some = values[start : start + _BLOCK]
        normalized[start : start + _BLOCK] = scale.normalize(some, np.array([0, len(some)]))
    np.save(histories / "normalized_ratings.npy", normalized, allow_pickle=False)
    return scale


def _check_unique(ids: pa.ChunkedArray, name: str) -> None:
    """Refuse an item id that is listed twice: it would double every interaction with the item."""
    if len(pc.unique(ids)) < len(ids):
        repeated = next(row["values"] for row in pc.value_counts(ids).to_pylist() if row["counts"] > 1)
        raise DataError(
            f"{name}: item_id {repeated!r} has several rows of metadata. Expected one row per item. Remove the others"
        )


def _indexed(catalog: pa.Table, settings: PreprocessSettings) -> ibis.Table:
    """Return each item's index and whether it is kept."""
    ids, keep = catalog[ITEM_ID], settings.keep_items
    kept = np.ones(len(ids), bool) if keep is None else pc.is_in(ids, pa.array(sorted(keep), type=ids.type))
    return ibis.memtable(pa.table({ITEM_ID: ids, "item": np.arange(len(ids), dtype=np.int32), "kept": kept}))


def _users(
    rows: ibis.Table, settings: PreprocessSettings, connection: Backend | SparkEngine, scale: ValueScale
) -> pa.Table:
    """Return one row per user, by ascending id, with the split or the number of positives if the strategy needs it."""
    positive_from = scale.positive_from if settings.split_strategy == "liang" else None
    table = tables.users(rows, positive_from=positive_from, normalize=scale.kind == "explicit")
    if settings.split_strategy in {"hash", "temporal"}:
        split = hash_split(table[USER_ID], seed=settings.seed, fractions=settings.fractions)
        table = table.mutate(split=split)
    return connection.to_pyarrow(table.order_by(USER_ID))


def _keep_users(users: pa.Table, settings: PreprocessSettings, name: str) -> pa.Table:
    """Return the users with enough interactions, with their splits."""
    if settings.split_strategy == "liang":
        return _keep_liang_users(users, settings, name)
    minimum = settings.minimum_interactions
    kept = users.filter(pc.greater_equal(users["kept"], minimum))
    if len(kept) == 0:
        which = " with items of the genome" * (settings.keep_items is not None)
        which += " before the split timestamp" * (settings.split_timestamp is not None)
        raise DataError(
            f"{name}: none of the {len(users)} users has {minimum} interactions{which}. Expected users with at least "
            f"{minimum}. Add interactions"
        )
    if settings.split_strategy == "bert-cosine":
        codes = research_note_split(kept[USER_ID].to_numpy(), settings.seed)
        kept = kept.append_column("split", pa.array(codes))
    return kept


def _keep_liang_users(users: pa.Table, settings: PreprocessSettings, name: str) -> pa.Table:
    """Return the users with enough positives, split as Liang et al. published it."""
    kept = users.filter(pc.greater_equal(users["positives"], _MIN_POSITIVES))
    most = len(kept) // _LIANG_SPLITS
    if settings.held_out_users > most:
        raise SettingsError(
            f"held_out_users: {settings.held_out_users}, but {len(kept)} users of {name} have {_MIN_POSITIVES} positives or "
            f"more. Expected {_LIANG_SPLITS * settings.held_out_users} or more, so that train users are not fewer. "
            + (f"Use --held-out-users {most} or less" if most else "Use --split-strategy hash")
        )
    return kept.append_column("split", pa.array(liang_split(len(kept), settings.held_out_users)))


def _write_items(catalog: pa.Table, folder: Path) -> None:
    # Engines differ in chunks and in the field name of a list; both would change the bytes.
    columns = {name: catalog[name] for name in (ITEM_ID, TITLE, YEAR)}
    # Without a title, the ID is shown.
    ids, titles = catalog[ITEM_ID].cast(pa.string()), catalog[TITLE]
    columns[TITLE] = pc.if_else(pc.equal(titles, ""), ids, titles)
    columns[GENRES] = catalog[GENRES].cast(pa.list_(pa.string()))
    pq.write_table(pa.table(columns).combine_chunks(), folder / ITEMS_FILE)


def _write_users(users: pa.Table, folder: Path) -> None:
    columns = {
        USER_ID: users[USER_ID],
        "split": users["split"].cast(pa.uint8()),
        "interactions": users["kept"],
    }
    columns |= {name: users[name] for name in ("first_day", "last_day")}
    pq.write_table(pa.table(columns).combine_chunks(), folder / USERS_FILE)


def _count(
    catalog: pa.Table, read: pa.Table, users: tuple[pa.Table, pa.Table], settings: PreprocessSettings
) -> DatasetCounts:
    """Return the counts of all rows read, of all users (before the split timestamp) and of the users kept."""
    everyone, kept = users
    interactions, ratings = _total(read["interactions"]), _total(read["ratings"])
    undated, seen = _total(read["without_timestamp"]), _total(everyone["interactions"])
    with_vector, n_kept = _total(everyone["kept"]), _total(kept["kept"])
    n_users = len(everyone)
    rows_dropped = {"item without a vector": seen - with_vector, settings.too_few: with_vector - n_kept}
    users_dropped = {settings.too_few: n_users - len(kept)}
    if settings.split_timestamp is not None:
        n_users = _total(read["users"])
        rows_dropped["without a timestamp"] = undated
        rows_dropped["at or after the split timestamp"] = interactions - undated - seen
        users_dropped["user without interactions before the split timestamp"] = n_users - len(everyone)
    first, last = pc.min(kept["first_day"]).as_py(), pc.max(kept["last_day"]).as_py()
    codes = np.bincount(kept["split"].to_numpy(), minlength=len(SPLITS))
    return DatasetCounts(
        interactions=RowCounts(interactions, n_kept, rows_dropped),
        users=RowCounts(n_users, len(kept), users_dropped),
        ratings=ratings,
        tag_only=interactions - ratings,
        without_timestamp=undated,
        items=len(catalog),
        items_without_metadata=len(catalog) - _total(catalog["described"]),
        splits={name: int(count) for name, count in zip(SPLITS, codes, strict=True)},
        days=None if first is None else (first, last),
    )


def _total(column: pa.ChunkedArray) -> int:
    return int(pc.sum(column).as_py() or 0)
