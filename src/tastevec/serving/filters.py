"""Item filters: which items may be recommended to which users, and how different these are.

Dimensions: B users, N items of the catalog, D dimensions, K recommendations, M listed items, U users of a list.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tastevec.data.intake.callers import argument, for_caller, in_python
from tastevec.data.intake.stated import check_names
from tastevec.data.intake.values import read_ids
from tastevec.data.topk import BestItems, best_items, diverse_candidates, most_diverse
from tastevec.errors import DataError, SettingsError, SourceError, UnknownItemError
from tastevec.nouns import ITEM, ItemNoun
from tastevec.schema import GENRES, ITEM_ID, USER_ID
from tastevec.serving.parsed_users import short
from tastevec.serving.tables import TableChoices
from tastevec.serving.values import InvalidInteractionError, no_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.schema import Unknown
    from tastevec.serving.bundle import Bundle

    Mask = NDArray[np.bool_]

_RANGE: Final = re.compile(r"\s*(?P<low>[^:\s]+)?\s*:\s*(?P<high>[^:\s]+)?\s*")
_SIMILAR_TO: Final = 2_000  # values that a message looks for a similar one in


class FilterChoices(TypedDict, total=False):
    """Which items may be recommended; several conditions all apply.

    Attributes:
        exclude: Items that are never recommended: a list of item IDs, a dict of lists by user ID, or a table or the path of a
            file of item_id and optional user_id.
        only: The only items that may be recommended, in the same forms. By user, users without an entry have none.
        where: Values by column of the catalog (`bundle.items`). Of a list of categories such as ``genres``, the item has the
            category; a number is equal, or in a range such as "1990:1999", "1990:" or ":1999"; a text is equal. Of a list, one
            value suffices. Where the categories come from several columns, these are columns as well.
        filter_seen: Whether items of the history are not recommended; true by default.
        diversity: From 0, the default, to 1: how unlike the items are, see `most_diverse`. Scores stay as they are, so that they
            no longer descend.
    """

    exclude: Any
    only: Any
    where: Mapping[str, Any]
    filter_seen: bool
    diversity: float


class RecommendChoices(TableChoices, FilterChoices, total=False):
    """How a table is read, and which items may be recommended."""


def split_choices(choices: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the choices of a filter, and those of a table.

    Raises:
        SettingsError: One is neither; the message names the nearest.
    """
    check_names(choices, RecommendChoices.__annotations__)
    names = FilterChoices.__annotations__
    of_filter = {name: value for name, value in choices.items() if name in names}
    return of_filter, {name: value for name, value in choices.items() if name not in names}


@dataclass(frozen=True, eq=False)
class UserItems:
    """Items of U users.

    Attributes:
        users: (U,) user IDs as text.
        offsets: (U + 1,) user u has the rows ``offsets[u]:offsets[u + 1]``.
        items: (M,) item indices.
    """

    users: pa.Array
    offsets: NDArray[np.int64]
    items: NDArray[np.int64]

    @classmethod
    def of(cls, users: pa.Array, items: NDArray[np.int64]) -> UserItems:
        """Return the items (M,) of the users (M,) of the same rows; without an item that is -1."""
        coded = users.dictionary_encode()
        owners = coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        counts = np.bincount(owners[items >= 0], minlength=len(coded.dictionary))
        order = np.argsort(owners, kind="stable")
        own = items[order]
        return cls(coded.dictionary, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), own[own >= 0])

    def rows(self, user_ids: NDArray[Any]) -> NDArray[np.int64]:
        """Return the indices (B,) of some users among these; -1 for those without an entry."""
        found = pc.index_in(pa.array(user_ids).cast(pa.string()), self.users).fill_null(-1)
        return np.asarray(found.to_numpy(zero_copy_only=False), np.int64)

    def mask(self, user_ids: NDArray[Any], n_items: int) -> Mask:
        """Return which items (B, N) some users have here."""
        rows = self.rows(user_ids)
        known = np.flatnonzero(rows >= 0)
        starts = self.offsets[rows[known]]
        lengths = self.offsets[rows[known] + 1] - starts
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        found = np.zeros((len(rows), n_items), bool)
        found[np.repeat(known, lengths), self.items[within + np.repeat(starts, lengths)]] = True
        return found


@dataclass(frozen=True, eq=False)
class ItemFilter:
    """Which items may be recommended, resolved to a catalog; see `FilterChoices`.

    Attributes:
        items: (N,) the items that any user may have.
        only: By user, the only items.
        exclude: By user, excluded items.
        filter_seen: Whether items of the history are excluded.
        diversity: From 0 to 1.
        noun: What the catalog calls its items.
        stated: The conditions that were stated, such as ``where``, as a caller names them.
        facts: What was stated, as texts for the metadata of a file.
        unknown: Listed items that are not in the catalog, as given.
        notes: What a caller should know.
    """

    items: Mask
    only: UserItems | None = None
    exclude: UserItems | None = None
    filter_seen: bool = True
    diversity: float = 0.0
    noun: ItemNoun = ITEM
    stated: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[Any, ...] = ()
    notes: tuple[str, ...] = ()

    def allowed(self, user_ids: NDArray[Any]) -> Mask:
        """Return the items that may be recommended to some users: (N,), or (B, N) where users differ."""
        found = self.items
        if self.only is not None:
            found = found & self.only.mask(user_ids, len(self.items))
        if self.exclude is not None:
            found = found & ~self.exclude.mask(user_ids, len(self.items))
        return found

    def best(
        self,
        known: Histories,
        vectors: NDArray[np.float32],
        item_vectors: NDArray[np.float32],
        directions: Callable[[], NDArray[np.float32]],
        k: int,
    ) -> BestItems:
        """Return the best items (B, K), as `best_items` does.

        ``directions`` (N, D), which compare items with each other, are computed for ``diversity`` alone.
        """
        if not self.filter_seen:
            known = known.keep(np.zeros(len(known.items), bool))
        wide = diverse_candidates(k) if self.diversity else k
        found = best_items(vectors, item_vectors, known, wide, self.allowed)
        return most_diverse(found, directions(), k, self.diversity) if self.diversity else found

    @property
    def by_user(self) -> bool:
        """Whether users may have different items."""
        return self.only is not None or self.exclude is not None

    @cached_property
    def digest(self) -> str:
        """A digest of all that a recommendation depends on here."""
        found = hashlib.blake2b(f"{self.filter_seen} {self.diversity!r}".encode(), digest_size=16)
        found.update(np.packbits(self.items).data)
        for own in (self.only, self.exclude):
            found.update(repr(None if own is None else own.users.to_pylist()).encode())
            for rows in () if own is None else (own.offsets, own.items):
                found.update(np.ascontiguousarray(rows).data)
        return found.hexdigest()

    def check_one_user(self) -> None:
        """Refuse lists by user for interactions that have no user ID.

        Raises:
            SettingsError: A list is by user.
        """
        if self.by_user:
            name = argument("only" if self.only is not None else "exclude")
            raise SettingsError(
                f"{name}: by user, but the interactions are those of one user without an ID. Expected a list of item IDs."
            )

    def notes_for(self, users: int, full: int, k: int) -> tuple[str, ...]:
        """Return what a caller should know of recommendations to users, ``full`` of whom have ``k`` items."""
        if not self.stated or full == users:
            return self.notes
        some = "" if users == 1 else f"{_share(users - full, users, 'users', 'has', 'have')} "
        left = f"{some}fewer than {self.noun.counted(k)}, as no more are left"
        return (*self.notes, f"{' and '.join(self.stated)}: {left}")

    def not_met(self, user_ids: NDArray[Any]) -> Iterator[str]:
        """Yield what to say where lists by user name others than these users (B,)."""
        present = pa.array(user_ids).cast(pa.string())
        for name, own in (("only", self.only), ("exclude", self.exclude)):
            if own is not None and len(missing := own.users.filter(pc.invert(pc.is_in(own.users, present)))):
                count = _share(len(missing), len(own.users), "users")
                example = short(missing[0])
                yield f"{argument(name)}: {count} not among those of the interactions, such as {example}, and ignored"


def item_filter(
    bundle: Bundle,
    indices: Mapping[str, int],
    with_vector: Mask,
    choices: Mapping[str, Any],
    unknown: Unknown,
) -> ItemFilter:
    """Return the filter of a model.

    Args:
        bundle: The model.
        indices: The index of each item, by its ID as text.
        with_vector: (N,) the items that can be recommended at all.
        choices: See `FilterChoices`.
        unknown: What happens to listed items that are not in the catalog; see `Recommender`.

    Raises:
        SettingsError: A column does not exist, or a value cannot be one of its column; or another choice is invalid.
        DataError: No item has a value, or none meets all conditions; or an ID is invalid.
        UnknownItemError: A listed item is not in the catalog, and ``unknown`` is "raise".
    """
    given = {name: value for name, value in choices.items() if value is not None}
    filter_seen, diversity = given.get("filter_seen", True), given.get("diversity", 0.0)
    facts = {} if _is_flag(filter_seen) else {"filter_seen": "false"}
    facts |= {"diversity": f"{diversity:g}"} if _is_share(diversity) else {}
    items, by_user, catalog = with_vector, dict[str, UserItems](), bundle.noun.counted(len(with_vector))
    unknown_items, notes = list[Any](), list[str]()
    if conditions := given.get("where"):
        items = items & _where(bundle, conditions)
        facts["where"] = json.dumps(conditions, default=str)
    for name in [name for name in ("only", "exclude") if name in given]:
        listed = _listed(argument(name), given[name])
        rows = listed.rows(indices)
        facts[name] = f"{int((rows >= 0).sum()):,} items{'' if listed.users is None else ' by user'}"
        if missing := listed.missing(rows, unknown, catalog):
            notes += missing if unknown == "warn" else ()
            unknown_items += listed.different(rows < 0)
        if listed.users is not None:
            by_user[name] = UserItems.of(listed.users, rows)
            continue
        own = np.zeros(len(items), bool)
        own[rows[rows >= 0]] = True
        items = items & (own if name == "only" else ~own)
    stated = tuple(argument(name) for name in ("where", "only", "exclude") if name in given)
    if stated and not (items.any() and ("only" not in by_user or len(by_user["only"].items))):
        raise DataError(
            f"{' and '.join(stated)}: 0 of {catalog} are left. Expected at least one. Drop a condition."
        )
    return ItemFilter(
        items,
        **by_user,
        filter_seen=filter_seen,
        diversity=float(diversity),
        noun=bundle.noun,
        stated=stated,
        facts=facts,
        unknown=tuple(unknown_items),
        notes=tuple(notes),
    )


def _share(count: int, total: int, noun: str, one: str = "is", many: str = "are") -> str:
    return f"{count:,} of {total:,} {noun} {one if count == 1 else many}"


def _is_flag(value: Any) -> bool:  # noqa: ANN401  any value
    """Return a flag; refuse anything else."""
    if not isinstance(value, bool):
        raise SettingsError(f"{argument('filter_seen')}: {short(value)}. Expected True or False.")
    return value


def _is_share(value: Any) -> bool:  # noqa: ANN401  any value
    """Return whether a number from 0 to 1 is above 0; refuse anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value <= 1:
        raise SettingsError(
            f"{argument('diversity')}: {short(value)}. Expected a number from 0 to 1. Omit it for 0."
        )
    return bool(value > 0)


# ---- lists of items ----


@dataclass(frozen=True, eq=False)
class _Listed:
    """Item IDs (M,) as given and as text, and the user of each, if they are by user."""

    name: str
    values: Sequence[Any] | pa.Array
    ids: pa.StringArray
    users: pa.StringArray | None = None

    def rows(self, indices: Mapping[str, int]) -> NDArray[np.int64]:
        """Return the index (M,) of each item; -1 where it is unknown."""
        coded = self.ids.dictionary_encode()
        known = np.array([indices.get(one, -1) for one in coded.dictionary.to_pylist()], np.int64)
        return known[coded.indices.to_numpy(zero_copy_only=False)] if len(known) else known

    def different(self, mask: Mask) -> list[Any]:
        """Return the different items where the mask (M,) is true, as given."""
        firsts = {id_: row for row, id_ in reversed(list(enumerate(self.ids.to_pylist()))) if mask[row]}
        found = (self.values[row] for row in sorted(firsts.values()))
        return [one.as_py() if isinstance(one, pa.Scalar) else one for one in found]

    def missing(self, rows: NDArray[np.int64], unknown: Unknown, catalog: str) -> list[str]:
        """Return what to say of unknown items, if there are any.

        Raises:
            UnknownItemError: There are some, and ``unknown`` is "raise".
        """
        missing = np.flatnonzero(rows < 0)
        if not len(missing):
            return []
        example = short(self.values[missing[0]])
        if unknown == "raise":
            ignore = in_python("--unknown ignore") if argument("unknown") == "unknown" else "--unknown ignore"
            raise UnknownItemError(
                f"{self.name}: item {example} is not in the catalog ({catalog}). Remove it, or ignore it: {ignore}."
            )
        count = _share(len(missing), len(rows), "items")
        return [f"{self.name}: {count} not in the catalog ({catalog}), such as {example}, and ignored"]


def _listed(name: str, given: Any) -> _Listed:  # noqa: ANN401  any value
    """Return the items of a list, of a dict of lists by user ID, or of a table or a file."""
    if isinstance(given, Mapping) and ITEM_ID not in given:
        lists = {user: _as_list(f"{name}[{short(user)}]", own) for user, own in given.items()}
        owners = [user for user, own in lists.items() for _ in own]
        values = [one for own in lists.values() for one in own]
        ids = _ids(values, lambda row: f"{name}[{short(owners[row])}]", "item ID")
        return _Listed(name, values, ids, _ids(owners, lambda _: name, "user ID"))
    if isinstance(given, Mapping | Path) or hasattr(given, "columns"):
        return _table(name, given)
    values = _as_list(name, given)
    return _Listed(name, values, _ids(values, lambda row: f"{name}[{row}]", "item ID"))


def _as_list(name: str, given: Any) -> list[Any]:  # noqa: ANN401  any value
    if isinstance(given, str | bytes) or not hasattr(given, "__iter__"):
        raise DataError(f"{name}: {short(given)}. Expected a list of item IDs. Pass [{short(given)}].")
    listed: list[Any] = given.tolist() if isinstance(given, np.ndarray) else list(given)
    return [one.as_py() if isinstance(one, pa.Scalar) else one for one in listed]


def _table(name: str, given: Any) -> _Listed:  # noqa: ANN401  any table
    """Return the items of a table in memory or of a file."""
    # Imported here: serving reads no files, and runs without DuckDB.
    from tastevec.data.intake.metadata import (  # noqa: PLC0415  as above
        TableContext,
        find_column,
        read_table,
        require_column,
    )

    with tempfile.TemporaryDirectory(prefix="tastevec-") as scratch, for_caller():
        connection = None
        if isinstance(given, Path):
            from tastevec.data.expressions import connect  # noqa: PLC0415  as above

            connection = connect()
        try:
            table = read_table(given, TableContext(connection, Path(scratch)), name)
        except SourceError as error:
            if "not a header" not in str(error):
                raise
            # The flags that the message names are those of the histories.
            where = str(error).partition(": ")[0]
            raise SourceError(
                f"{where}: no header. Expected item_id and optional user_id in line 1. Add it."
            ) from error
        finally:
            if connection is not None:
                connection.disconnect()

    def ids_of(column: str) -> pa.StringArray:
        return _ids(
            table.columns[column], lambda row: f"{table.file}, {table.where(row)}, column {column}", "ID"
        )

    item, user = require_column(table, ITEM_ID), find_column(table, USER_ID)
    users = None if user is None else ids_of(user)
    return _Listed(table.file, table.columns[item], ids_of(item), users)


def _ids(values: Sequence[Any] | pa.Array, place: Callable[[int], str], what: str) -> pa.StringArray:
    """Return IDs as text.

    Raises:
        DataError: One is none.
    """
    found, errors = read_ids(values)
    if errors.null_count < len(errors):
        row = pc.index(pc.is_valid(errors), True).as_py()
        value = values[row].as_py() if isinstance(values, pa.Array) else values[row]
        raise InvalidInteractionError(place(row), no_id(value, errors[row].as_py(), what))
    return found


# ---- conditions on columns ----


def _where(bundle: Bundle, conditions: Any) -> Mask:  # noqa: ANN401  any value
    """Return the items (N,) that meet every condition."""
    name = argument("where")
    if not isinstance(conditions, Mapping):
        raise SettingsError(
            f'{name}: {short(conditions)}. Expected values by column, such as {{"genres": "Comedy"}}.'
        )
    found = np.ones(len(bundle.items), bool)
    for column, wanted in conditions.items():
        values, prefix = _column(bundle.items, column, name)
        one_of = list(wanted) if isinstance(wanted, _LISTS) else [wanted]
        if not one_of:
            raise SettingsError(f"{name}: no value of {column}. Expected at least one.")
        masks = [_having(values, f"{prefix}{one}" if prefix else one, f"{name}: {column}") for one in one_of]
        missing = [one for one, mask in zip(one_of, masks, strict=True) if not mask.any()]
        # A number may be between those that items have; a text without an item is a mistake.
        if len(missing) == len(masks) or (missing and not _has_numbers(values)):
            raise DataError(
                f"{name}: 0 of {bundle.noun.counted(len(found))} have {column} {short(missing[0])}. Expected a value in the "
                f"catalog{_similar(values, missing[0], prefix)}."
            )
        any_of = np.logical_or.reduce(masks)
        found &= any_of
    return found


def _column(items: pa.Table, column: str, name: str) -> tuple[pa.Array, str]:
    """Return a column of the catalog; or the categories, and what the words from this column begin with."""
    words = items[GENRES].combine_chunks()
    if column in items.column_names:
        return items[column].combine_chunks(), ""
    prefixes = pc.unique(pc.list_flatten(words)).to_pylist()
    columns = sorted({word.partition(":")[0] for word in prefixes if word and ":" in word})
    if column in columns:
        return words, f"{column}:"
    known = [*items.column_names, *columns[:_SHOWN]]
    near = difflib.get_close_matches(str(column), [*items.column_names, *columns], 1)
    expected = near[0] if near else f"one of {', '.join(known)}"
    raise SettingsError(f"{name}: {short(column)} is no column of the catalog. Expected {expected}.")


_SHOWN: Final = 20  # columns in a message
_LISTS: Final = (list, tuple, set, frozenset, range, np.ndarray)


def _has_numbers(values: pa.Array) -> bool:
    return bool(pa.types.is_integer(values.type) or pa.types.is_floating(values.type))


def _having(values: pa.Array, wanted: Any, where: str) -> Mask:  # noqa: ANN401  any value
    """Return the items (N,) that have a value."""
    kind = values.type
    if pa.types.is_list(kind):
        found = np.zeros(len(values), bool)
        has = pc.equal(pc.list_flatten(values), str(wanted)).fill_null(False)  # noqa: FBT003  Arrow's
        found[pc.list_parent_indices(values).filter(has).to_numpy(zero_copy_only=False)] = True
        return found
    if _has_numbers(values):
        low, high = _limits(wanted, where)
        mask = pc.and_(pc.greater_equal(values, low), pc.less_equal(values, high))
    else:
        mask = pc.equal(values, str(wanted))
    return np.asarray(mask.fill_null(False).to_numpy(zero_copy_only=False), bool)  # noqa: FBT003  Arrow's


def _limits(wanted: Any, where: str) -> tuple[float, float]:  # noqa: ANN401  any value
    """Return the smallest and the largest number that a condition on numbers accepts.

    Examples:
        >>> _limits(1990, "year"), _limits("1990:1999", "year"), _limits(":1999", "year")
        ((1990.0, 1990.0), (1990.0, 1999.0), (-inf, 1999.0))
    """
    text = (
        wanted
        if isinstance(wanted, str)
        else repr(wanted.item() if isinstance(wanted, np.generic) else wanted)
    )
    in_range = _RANGE.fullmatch(text)
    parts = (in_range["low"], in_range["high"]) if in_range else (text, text)
    try:
        low, high = (
            open_end if part is None else float(part)
            for part, open_end in zip(parts, (-np.inf, np.inf), strict=True)
        )
    except ValueError:
        low, high = 1.0, 0.0
    if not low <= high or parts == (None, None):
        raise SettingsError(
            f"{where} {short(wanted)}. Expected a number, or a range such as 1990:1999, 1990: or :1999."
        )
    return low, high


def _similar(values: pa.Array, wanted: Any, prefix: str) -> str:  # noqa: ANN401  any value
    """Return the most similar value of a column, or its range, for a message."""
    if _has_numbers(values):
        ends = pc.min_max(values).as_py()
        return f", from {ends['min']} to {ends['max']}"
    flat = pc.list_flatten(values) if pa.types.is_list(values.type) else values
    known = [str(one) for one in pc.unique(flat).to_pylist()[:_SIMILAR_TO] if one is not None]
    own = [one.removeprefix(prefix) for one in known if one.startswith(prefix)]
    near = difflib.get_close_matches(str(wanted), own, 1) or own[:1]
    return f", such as {near[0]!r}" if near else ""
