"""Item metadata: tables joined by item ID, in which each column is read as what its values are."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tastevec.data.intake.columns import names_role, plain_name
from tastevec.data.intake.metadata import NamedTable, read_ids_of, read_table, strip, to_numbers
from tastevec.data.intake.report import ReportLine, TableReport
from tastevec.data.intake.settings import MISSING
from tastevec.errors import DataError, SettingsError
from tastevec.schema import GENRES, ITEM_ID, NUMBER_COLUMN, TEXT_COLUMN, TITLE, VECTOR_COLUMN, YEAR

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tastevec.data.intake.metadata import TableContext
    from tastevec.data.intake.settings import ItemSettings

KINDS: Final = (ITEM_ID, TITLE, YEAR, "category", "text", "number", "vector")
IGNORED: Final = "ignored"

_NOUNS = "item movie film book product article anime game app track song artist business recipe news video"
_TITLE_NAMES = frozenset(noun + end for noun in ("", *_NOUNS.split()) for end in ("title", "name"))
_YEAR_NAME = re.compile(
    r"year\Z|\Ayearof|\A(release|released|releasedate|published|publisheddate|publicationdate|date)\Z"
)
_ONE = {"category": "categories", "genre": "genres", "keyword": "keywords", "label": "labels"}
_LISTS = frozenset(("genres", "categories", "keywords", "labels", "topics", "subjects"))  # several in a cell
_CATEGORIES = _LISTS | frozenset((*_ONE, "class", "type", "brand", "attributes"))
_CODE_NAME = re.compile(r"(id|code|type|class|category|genre)\Z")
# Words in the name of a number that users made, held-out ones among them.
_OF_USERS = frozenset(
    [
        "rating",
        "ratings",
        "score",
        "scores",
        "star",
        "stars",
        "vote",
        "votes",
        "votecount",
        "member",
        "members",
        "popularity",
        "popular",
        "rank",
        "ranked",
        "ranking",
        "favorite",
        "favorites",
        "review",
        "reviews",
        "like",
        "likes",
        "dislikes",
        "view",
        "views",
        "viewed",
        "play",
        "plays",
        "players",
        "owners",
        "listeners",
        "listens",
        "download",
        "downloads",
        "installs",
        "subscribers",
        "followers",
        "completed",
        "dropped",
        "watching",
        "scored",
        "users",
        "sales",
        "salesrank",
        "engagement",
    ]
)
_SEPARATORS = ("|", ";", ",")
_LONG_TEXT = 5  # words of a text, on average
_NO_CATEGORY = pa.array(["unknown", "(no genres listed)", *MISSING])
_SHARED = 2.0  # items that share a category, on average
_FEW = 8  # different numbers, under which they are categories: there are eight quantiles
_NUMBERS_SHARE = 0.95  # of the values of a column of numbers
_YEARS_SHARE = 0.5
_IN_TITLE = r"(?s)^.*\((?P<year>[0-9]{4})(?:\s*[^\w\s)][^)]*)?\)"  # the last (1995), (2006-2007) or (2009- )
_IN_TEXT = r"(?:^|[^0-9])(?P<year>1[0-9]{3}|20[0-9]{2})(?:[^0-9]|$)"


@dataclass(frozen=True, eq=False)
class ItemTable:
    """Item metadata.

    Attributes:
        table: ``item_id`` (text), ``title`` ("" where unknown), ``year`` int32 or NULL, ``genres`` (a list of all categories),
            and one column for each text (``text:NAME``), number (``number:NAME``, float64) and vector (``vector:NAME``, lists
            of float32 of one length); one row per item.
        reports: One per table: what each column is understood as, or why it is ignored.
        differing: Rows that list an item of their table again, with other values: the first row counts.
    """

    table: pa.Table
    reports: tuple[TableReport, ...] = ()
    differing: int = 0

    def of_catalog(self, item_ids: pa.Array) -> pa.Table:
        """Return the items with a title or with interactions: one without both could be recommended by its ID alone.

        Where no item has a title, all are returned.
        """
        titled = pc.not_equal(self.table[TITLE], "")
        if not pc.any(titled).as_py():
            return self.table
        return self.table.filter(pc.or_(titled, pc.is_in(self.table[ITEM_ID], item_ids)))


def read_items(
    settings: ItemSettings,
    layout_items: Sequence[NamedTable],
    context: TableContext,
    *,
    prefixed: bool | None = None,
) -> ItemTable:
    """Return the item metadata of the settings' tables, joined with those that come with the interactions.

    Of two columns of one name the first counts: those of ``settings.items`` in their order, then ``layout_items``.

    Args:
        settings: Tables of items, and how they are read.
        layout_items: Tables that come with the interactions.
        context: How tables are read.
        prefixed: Whether categories are named ``column:word``; None decides by the number of their columns.

    Raises:
        SourceError: A table cannot be read.
        DataError: A table has no column of item IDs, or several.
        BadRowError: A row has no valid item ID, and invalid rows are not dropped.
        SettingsError: A column of the settings does not exist.
    """
    tables = [read_table(source, context, "items") for source in settings.items] + [*layout_items]
    _check_stated(settings, tables)
    parts = [_Part.of(table, settings, context) for table in tables]
    ids = pc.unique(pa.concat_arrays([pa.array([], pa.string()), *(part.ids for part in parts)]))
    reader, reports = _ColumnReader(settings), []
    for part in parts:
        rows = pc.index_in(ids, part.ids)
        lines = [ReportLine(part.id_column, ITEM_ID, f"{len(part.ids):,} items")]
        lines += [reader.read(part.table, name, values.take(rows)) for name, values in part.columns.items()]
        lines += [ReportLine(name, IGNORED, why) for name, why in part.table.unreadable.items()]
        summary = f"{len(part.table):,} rows"
        reports.append(TableReport(part.table.file, summary, (*lines, *part.counts)))
    differing = sum(part.differing for part in parts)
    return ItemTable(reader.table(ids, prefixed=prefixed), tuple(reports), differing)


def _check_stated(settings: ItemSettings, tables: Sequence[NamedTable]) -> None:
    """Check that every stated kind and column exists."""
    names = {name for table in tables for name in table.columns}
    if unknown := settings.columns.keys() - {*KINDS, IGNORED}:
        kinds = ", ".join((*KINDS, IGNORED))
        raise SettingsError(f"--item-column {min(unknown)}: no such kind. Expected one of {kinds}.")
    stated = [name for several in settings.columns.values() for name in several] + [*settings.separators]
    if missing := [name for name in stated if name not in names]:
        shown = ", ".join(sorted(names)) or "no table of items"
        raise SettingsError(
            f"--item-column {missing[0]}: no such column. Expected one of {shown}. Correct the name."
        )


@dataclass(frozen=True, eq=False)
class _Part:
    """One table: the IDs of its items, each once, and its other columns in the same order."""

    table: NamedTable
    id_column: str
    ids: pa.Array
    columns: Mapping[str, pa.Array]
    repeated: int
    differing: int
    skipped: Mapping[str, int]

    @classmethod
    def of(cls, table: NamedTable, settings: ItemSettings, context: TableContext) -> _Part:
        id_column = _id_column(table, settings)
        found, skipped = read_ids_of(table, id_column, context)
        valid, ids = pc.is_valid(found), found.drop_null()
        columns = {name: values.filter(valid) for name, values in table.columns.items() if name != id_column}
        codes = ids.dictionary_encode().indices.to_numpy(zero_copy_only=False)
        _, firsts, which = np.unique(codes, return_index=True, return_inverse=True)
        again = np.flatnonzero(firsts[which] != np.arange(len(ids)))
        differing = _differing(columns, again, firsts[which][again])
        kept = pa.array(np.sort(firsts))
        columns = {name: values.take(kept) for name, values in columns.items()}
        return cls(table, id_column, ids.take(kept), columns, len(again), differing, skipped)

    @property
    def counts(self) -> list[ReportLine]:
        """What is reported of the rows that do not count."""
        skipped = {**self.table.broken, **self.skipped}
        lines = [ReportLine(reason, "skipped", f"{count:,} rows") for reason, count in skipped.items()]
        if self.repeated:
            text = f"{self.repeated:,} rows, the first of an item counts; {self.differing:,} differ from it"
            lines.append(ReportLine("listed twice", "skipped", text))
        return lines


def _id_column(table: NamedTable, settings: ItemSettings) -> str:
    """Return the column of the item IDs."""
    stated = [name for name in settings.columns.get(ITEM_ID, ()) if name in table.columns]
    if stated:
        return stated[0]
    named = [name for name in table.columns if names_role(name, ITEM_ID) or plain_name(name) == "id"]
    for best in (ITEM_ID, "id"):
        if best in table.columns and (best != "id" or len(named) > 1):
            return best
    ending = [name for name in named if plain_name(name).endswith("id")]
    found = ending if len(ending) == 1 else named
    if len(found) == 1:
        return found[0]
    columns = ", ".join(table.columns)
    if not found:
        raise DataError(
            f"{table.file}: no item_id among {columns}. Expected a column of item IDs. Name it: --item-column item_id={next(iter(table.columns), 'COLUMN')}"
        )
    raise DataError(
        f"{table.file}: {' and '.join(found)} could both be the item. Expected one. Name it: --item-column item_id={found[0]}"
    )


def _differing(columns: Mapping[str, pa.Array], again: NDArray[np.int64], firsts: NDArray[np.int64]) -> int:
    """Return how many of the rows ``again`` differ from the first row of their item."""
    differs = np.zeros(len(again), bool)
    for values in columns.values() if len(again) else ():
        encoded = values if pa.types.is_nested(values.type) else values.dictionary_encode().indices
        one, two = encoded.take(pa.array(again)), encoded.take(pa.array(firsts))
        if pa.types.is_nested(values.type):
            differs |= not one.equals(two)
        else:
            same = pc.equal(pc.fill_null(one, -1), pc.fill_null(two, -1))
            differs |= ~same.to_numpy(zero_copy_only=False)
    return int(differs.sum())


@dataclass(eq=False)
class _ColumnReader:
    """Reads one column after another, and collects what they hold."""

    settings: ItemSettings
    read_names: dict[str, str] = field(default_factory=dict)  # plain names of columns, and their tables
    title: pa.Array | None = None
    year: pa.Array | None = None
    categories: dict[str, pa.Array] = field(default_factory=dict)  # lists of words
    others: dict[str, pa.Array] = field(default_factory=dict)  # by the name in the table

    def read(self, table: NamedTable, name: str, values: pa.Array) -> ReportLine:
        """Read a column of a table, whose values (N,) are in the order of the items."""
        plain, file = plain_name(name), table.file
        if plain in self.read_names:
            return ReportLine(name, IGNORED, f"already in {self.read_names[plain]}")
        self.read_names[plain] = file
        stated = next((kind for kind, names in self.settings.columns.items() if name in names), None)
        if stated == IGNORED:
            return ReportLine(name, IGNORED, "as stated")
        declared = table.declared.get(name)
        stated = stated or ("vector" if declared == "float_seq" else None)
        column = _Column(name, values, space_separated=declared == "token_seq")
        if stated == TITLE or (stated is None and self.title is None and plain in _TITLE_NAMES):
            self.title = strip(column.values)
            return ReportLine(name, TITLE, "")
        if stated == YEAR or (stated is None and self.year is None and _YEAR_NAME.search(plain)):
            years, unreadable = column.years()
            if stated or unreadable <= _YEARS_SHARE * column.present:
                self.year = years
                return ReportLine(name, YEAR, _unreadable(unreadable))
        kind, note, values, unreadable = column.understood(stated, self.settings.separators)
        if kind == "category":
            self.categories[name] = values
        elif kind != IGNORED:
            prefix = {"text": TEXT_COLUMN, "number": NUMBER_COLUMN, "vector": VECTOR_COLUMN}[kind]
            self.others[prefix + name] = values
        return ReportLine(name, kind, ", ".join(filter(None, (note, _unreadable(unreadable)))))

    def table(self, ids: pa.Array, *, prefixed: bool | None) -> pa.Table:
        """Return the items."""
        prefixed = len(self.categories) > 1 if prefixed is None else prefixed
        empty = pa.nulls(len(ids))
        title = pc.fill_null((self.title if self.title is not None else empty).cast(pa.string()), "")
        named = pc.struct_field(pc.extract_regex(title, _IN_TITLE), "year").cast(pa.int32())
        year = named if self.year is None else pc.coalesce(self.year, named)
        columns = {
            ITEM_ID: ids,
            TITLE: title,
            YEAR: year,
            GENRES: _joined(self.categories, len(ids), prefixed=prefixed),
        }
        return pa.table({**columns, **self.others})


def _joined(categories: Mapping[str, pa.Array], count: int, *, prefixed: bool) -> pa.Array:
    """Return the words of all columns in one list per item, as they are or as ``column:word``."""
    items, words = [np.zeros(0, np.int64)], [pa.array([], pa.string())]
    for name, lists in categories.items():
        items.append(_owners(lists))
        flat = pc.list_flatten(lists)
        words.append(pc.binary_join_element_wise(name, flat, ":") if prefixed else flat)
    owners = np.concatenate(items)
    order = pa.array(np.argsort(owners, kind="stable"))
    return _lists(owners, pa.concat_arrays(words).take(order), count)


def _lists(owners: NDArray[np.int64], values: pa.Array, count: int) -> pa.Array:
    """Return a list of values for each of ``count`` items; the owners of the values ascend."""
    offsets = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=count))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def _owners(lists: pa.Array) -> NDArray[np.int64]:
    """Return the item of each value in the lists."""
    owners: NDArray[np.int64] = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False).astype(np.int64)
    return owners


_Found = tuple[str, str, "pa.Array | None", int]  # kind, note, values, unreadable


@dataclass(frozen=True, eq=False)
class _Column:
    """A column of N items: its name and its values, null where an item has none."""

    name: str
    values: pa.Array
    space_separated: bool = False

    @property
    def present(self) -> int:
        """The number of values."""
        return len(self.values) - int(self.values.null_count)

    def years(self) -> tuple[pa.Array, int]:
        """Return the years (int32), and how many values have none."""
        if pa.types.is_temporal(self.values.type):
            return pc.year(self.values).cast(pa.int32()), 0
        texts = strip(self.values)
        found = pc.struct_field(pc.extract_regex(texts, _IN_TEXT), "year").cast(pa.int32())
        return found, int(found.null_count - texts.null_count)

    def understood(self, stated: str | None, separators: Mapping[str, str | None]) -> _Found:
        """Return the kind of the column, a note, its values and how many of them cannot be read."""
        kind = self.values.type
        if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_temporal(kind):
            return self._typed(stated)
        if not self.present:
            return IGNORED, "empty", None, 0
        texts = strip(self.values)
        if stated == "text":
            return _as_text(texts)
        if stated in {None, "number"} and not pa.types.is_boolean(kind):
            found = self._number(texts, stated)
            if found is not None:
                return found
        if stated == "vector":
            return self._vector(_parsed_vectors(texts))
        return self._words(texts, stated, separators)

    def _number(self, texts: pa.Array, stated: str | None) -> _Found | None:
        """Return the column as numbers; None if it has none, or only a few codes."""
        numbers = to_numbers(texts)
        unreadable = int(numbers.null_count - texts.null_count)
        present = len(texts) - texts.null_count
        if stated is None:
            if present - unreadable < _NUMBERS_SHARE * present or _CODE_NAME.search(plain_name(self.name)):
                return None
            if _of_users(self.name):
                return IGNORED, f"made of interactions: --item-column number={self.name}", None, 0
            if len(pc.unique(numbers)) < _FEW:
                return None
        low, high = pc.min_max(numbers).as_py().values()
        if low is None:
            return IGNORED, "no number", None, 0
        return "number", f"{low:g} to {high:g}", numbers, unreadable

    def _words(self, texts: pa.Array, stated: str | None, separators: Mapping[str, str | None]) -> _Found:
        """Return the column as categories or text."""
        if stated is None and self.space_separated and _is_text(texts):
            return _as_text(texts)
        lists, between = _split(texts, self.name, separators, space=self.space_separated)
        flat = pc.list_flatten(lists)
        different = len(pc.unique(flat))
        known = stated == "category" or plain_name(self.name) in _CATEGORIES
        if different and (known or (different > 1 and len(flat) >= _SHARED * different)):
            mean = len(flat) / int(pc.sum(pc.greater(pc.list_value_length(lists), 0)).as_py())
            several = f" between {between}, {mean:.1f} an item" if between else ", one an item"
            return "category", f"{different:,}{several}", lists, 0
        if _is_text(texts):
            return _as_text(texts)
        reason = "the same in every item" if different == 1 else "different in nearly every item"
        return IGNORED, f"{reason}: --item-column category={self.name}", None, 0

    def _typed(self, stated: str | None) -> _Found:
        """Return a column of lists; others of such types are ignored."""
        kind, values = self.values.type, self.values
        is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        if not is_list:
            return IGNORED, f"{kind}, which is no kind of metadata", None, 0
        if pa.types.is_floating(kind.value_type) or stated == "vector":
            return self._vector(values)
        kept = _relisted(values.cast(pa.list_(pa.string())))
        different = len(pc.unique(pc.list_flatten(kept)))
        return "category", f"{different:,} in lists", kept, 0

    def _vector(self, lists: pa.Array) -> _Found:
        """Return lists of numbers, all of one length and finite, as vectors."""
        lengths = pc.list_value_length(lists)
        lengths = pc.if_else(pc.equal(lengths, 0), None, lengths)
        sizes = pc.value_counts(lengths.drop_null()).to_pylist()
        if len(sizes) != 1:
            found = ", ".join(str(size["values"]) for size in sizes[:3]) or "no"
            return IGNORED, f"{found} numbers an item, not the same in each", None, 0
        size = sizes[0]["values"]
        there = pc.is_valid(lengths).to_numpy(zero_copy_only=False)
        flat = pc.list_flatten(lists.filter(pa.array(there))).cast(pa.float32())
        rows = flat.to_numpy(zero_copy_only=False).reshape(-1, size)  # null is NaN
        finite = np.isfinite(rows).all(axis=1)
        dense = np.zeros((len(lists), size), np.float32)
        dense[np.flatnonzero(there)[finite]] = rows[finite]
        empty = np.ones(len(lists), bool)
        empty[np.flatnonzero(there)[finite]] = False
        vectors = pa.FixedSizeListArray.from_arrays(dense.ravel(), size, mask=pa.array(empty))
        return "vector", f"{size} numbers", vectors, int((~finite).sum())


def _of_users(name: str) -> bool:
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)
    return plain_name(name) in _OF_USERS or any(word.lower() in _OF_USERS for word in words)


def _unreadable(count: int) -> str:
    return f"{count:,} unreadable and left empty" if count else ""


def _words_of(texts: pa.Array) -> float:
    """Return the number of words of a text, on average."""
    return pc.mean(pc.count_substring_regex(texts.drop_null(), r"\S+")).as_py() or 0.0


def _is_text(texts: pa.Array) -> bool:
    """Return whether the texts have five words or more on average, and are mostly different."""
    present = texts.drop_null()
    return 2 * len(pc.unique(present)) > len(present) and _words_of(texts) >= _LONG_TEXT


def _as_text(texts: pa.Array) -> _Found:
    return "text", f"{len(texts) - texts.null_count:,} texts of {_words_of(texts):.0f} words", texts, 0


_QUOTED = r"""['"]\s*,\s*['"]"""
_UNIT = "\x1f"  # between the parts of a list that was written as text


def _split(
    texts: pa.Array, name: str, separators: Mapping[str, str | None], *, space: bool
) -> tuple[pa.Array, str | None]:
    """Return the parts of each text, and what separates them; None where a cell has one value."""
    if name in separators:
        stated = separators[name]
        return (_parts(texts, stated), stated) if stated else (_parts(texts, _UNIT), None)
    distinct = pc.unique(texts).drop_null()
    written = pc.match_substring_regex(distinct, r"(?s)^\[.*\]$")
    if len(distinct) and pc.all(written).as_py():
        return _parts(_unquoted(texts), _UNIT), "brackets"
    if space:
        return _parts(texts, " "), "spaces"
    listed = plain_name(name) in _LISTS
    for separator in _SEPARATORS:
        if not pc.any(pc.match_substring(distinct, separator)).as_py():
            continue
        parts = len(pc.unique(pc.list_flatten(_parts(distinct, separator))))
        if listed or 2 * parts <= len(distinct):
            return _parts(texts, separator), separator
    return _parts(texts, _UNIT), None


def _unquoted(texts: pa.Array) -> pa.Array:
    """Return lists such as ``['Action', 'Sci-Fi']``, of Python or JSON, as parts with a separator of their own."""
    inner = pc.replace_substring_regex(texts, r"(?s)^\[\s*(.*?)\s*\]$", r"\1")
    quoted = pc.match_substring_regex(inner, r"(?s)^['\"].*['\"]$")
    bare = pc.replace_substring_regex(inner, r"(?s)^['\"](.*)['\"]$", r"\1")
    units = pc.replace_substring_regex(bare, _QUOTED, _UNIT)
    return pc.if_else(quoted, units, pc.replace_substring(inner, ",", _UNIT))


def _parts(texts: pa.Array, separator: str) -> pa.Array:
    """Return the parts of each text without white space at their ends; none for a null or an empty part."""
    return _relisted(pc.split_pattern(pc.fill_null(texts, ""), separator))


def _relisted(lists: pa.Array) -> pa.Array:
    """Return lists of the texts that mean something, without white space at their ends."""
    words = strip(pc.list_flatten(lists))
    words = pc.if_else(pc.is_in(pc.utf8_lower(words), _NO_CATEGORY), None, words)
    owners = _owners(lists)[pc.is_valid(words).to_numpy(zero_copy_only=False)]
    return _lists(owners, words.drop_null(), len(lists))


def _parsed_vectors(texts: pa.Array) -> pa.Array:
    """Return the numbers of texts such as ``[0.1, 0.2]`` or ``0.1 0.2`` as lists."""
    bare = pc.utf8_trim(pc.fill_null(texts, ""), "[]() ")
    lists = pc.split_pattern_regex(bare, r"[\s,;]+")
    flat = pc.list_flatten(lists)
    named = pc.not_equal(flat, "")
    owners = _owners(lists)[named.to_numpy(zero_copy_only=False)]
    return _lists(owners, to_numbers(flat.filter(named)), len(texts))
