"""Catalog of the service: titles, title search and the example profile.

Dimensions: N items of the catalog.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from tastevec.data.intake.values import BadValueError, read_id
from tastevec.schema import GENRES, ITEM_ID, TITLE, YEAR

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from tastevec.data.value_scale import ValueScale

# Letters that do not decompose into a base letter and a mark, and how they are typed without them.
_PLAIN = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "\u0131": "i"}
)
_IGNORED = str.maketrans({"'": "", "`": "", "\u00b4": "", "\u2019": "", "&": " and "})
# Articles that MovieLens moves behind the title.
_ARTICLES = frozenset(
    "a an das der die ein eine el i il l la las le les lo los o os the un una une".split()  # noqa: SIM905  one line instead of 23
)
_WORD = re.compile(r"\w+")
_BRACKET = re.compile(r"[()]")
_AKA = re.compile(r"\ba\.?k\.?a\b\.?", re.IGNORECASE)
_MAX_ARTICLE = 8  # characters, with punctuation and spaces
_LAST = "\U0010ffff"  # sorts after every letter


def title_words(text: str) -> list[str]:
    """Return the words of a title or query, without case, accents and punctuation.

    Examples:
        >>> title_words("Amélie (Fabuleux destin d'Amélie Poulain, Le)")
        ['amelie', 'fabuleux', 'destin', 'damelie', 'poulain', 'le']
    """
    folded = text.casefold()
    if not folded.isascii():  # most titles are ASCII, which needs no decomposition
        decomposed = unicodedata.normalize("NFKD", folded).translate(_PLAIN)
        folded = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return _WORD.findall(folded.translate(_IGNORED))


class TitleSearch:
    """Items whose titles contain, for each query word, a word with that prefix; best match first.

    The exact title comes first, then titles with that beginning, then titles with all words complete; among equals
    the more popular. Articles before or behind the title are ignored: "Matrix, The" equals "The Matrix".
    """

    def __init__(self, titles: Sequence[str], popularity: NDArray[np.integer]) -> None:
        """Index N titles as in the dataset, with the number of users (N,) who rated each item."""
        self._popularity = np.asarray(popularity, np.int64)
        self._words = _PrefixIndex(
            (word, item) for item, title in enumerate(titles) for word in set(title_words(title))
        )
        self._names = _PrefixIndex(
            (name, item) for item, title in enumerate(titles) for name in set(_names(title))
        )

    def find(self, query: str, limit: int) -> NDArray[np.int64]:
        """Return at most ``limit`` item indices; the most popular for a query without a word."""
        words = title_words(query)
        # (N,) 0 no match, 1 word prefixes, 2 words, 3 title prefix, 4 title
        match = np.ones(len(self._popularity), np.int8)
        if words:
            name = next(_names(query), " ".join(words))
            match = np.minimum.reduce([self._words.match(word, len(match)) for word in words])
            named = self._names.match(name, len(match))
            match = np.where((match > 0) & (named > 0), 2 + named, match)
        found = np.flatnonzero(match)
        order = np.lexsort((found, -self._popularity[found], -match[found]))
        return np.asarray(found[order[:limit]])


class _PrefixIndex:
    """Sorted texts, so that all texts of a prefix are adjacent, each with its items."""

    def __init__(self, pairs: Iterable[tuple[str, int]]) -> None:
        items: dict[str, list[int]] = {}
        for text, item in pairs:
            items.setdefault(text, []).append(item)
        self._texts = sorted(items)
        self._items = np.array([item for text in self._texts for item in items[text]], np.int64)
        self._starts = np.cumsum([0, *(len(items[text]) for text in self._texts)])

    def match(self, text: str, n_items: int) -> NDArray[np.int8]:
        """Return (N,) 2 for items with this text, 1 for items with a text of this prefix, else 0."""
        match = np.zeros(n_items, np.int8)
        for level, end in ((1, text + _LAST), (2, text + "\0")):
            first, last = (self._starts[bisect_left(self._texts, bound)] for bound in (text, end))
            match[self._items[first:last]] = level
        return match


def _names(title: str) -> Iterator[str]:
    """Yield the names in a title, before the brackets and in each of them, without articles."""
    for part in _BRACKET.split(_AKA.sub(" ", title)):
        before, _, behind = part.rpartition(",")
        article = len(behind) <= _MAX_ARTICLE and before and title_words(behind)
        words = title_words(before if article and len(article) == 1 and article[0] in _ARTICLES else part)
        if len(words) > 1 and words[0] in _ARTICLES:
            words = words[1:]
        if words:
            yield " ".join(words)


class Catalog:
    """N items with indices 0 to N - 1, as columns."""

    def __init__(self, items: pa.Table) -> None:
        """Read the item table of a model."""
        self.ids: list[int | str] = items[ITEM_ID].to_pylist()
        self.titles: list[str] = [title or "" for title in items[TITLE].to_pylist()]
        self.years: list[int | None] = items[YEAR].to_pylist()
        self.genres: list[list[str]] = [genres or [] for genres in items[GENRES].to_pylist()]
        self.n_train_users = np.asarray(items["train_users"].to_numpy(), np.int64)  # (N,)
        # IDs of another type than the catalog's are compared as strings, as in interaction tables.
        self.indices = {str(item_id): index for index, item_id in enumerate(self.ids)}
        self._search = TitleSearch(self.titles, self.n_train_users)

    def __len__(self) -> int:
        return len(self.ids)

    def index(self, item_id: float | str) -> int | None:
        """Return the index of an item; None if it is unknown or no ID."""
        try:
            return self.indices.get(read_id(item_id) or "")
        except BadValueError:
            return None

    def id_and_title(self, index: int) -> dict[str, Any]:
        """Return the ID and the title of an item, for a response."""
        return {"item_id": self.ids[index], "title": self.titles[index]}

    def item(self, index: int) -> dict[str, Any]:
        """Return an item for a response."""
        return {**self.id_and_title(index), "year": self.years[index], "genres": self.genres[index]}

    def search(self, query: str, limit: int) -> list[dict[str, Any]]:
        """Return items by title, best match first."""
        return [self.item(index) for index in self._search.find(query, limit).tolist()]


_POPULAR = 200  # items that the example profile is drawn from
_MIN_GENRE = 4  # items that a genre needs
_TINY = 1e-12  # avoids a division by zero
# Ratings as shares of the rating range.
_HIGH, _LOW = (1.0, 0.9, 0.8, 1.0, 0.9, 0.7, 0.8), (0.2, 0.3, 0.1, 0.3)


def example_user(
    genres: Sequence[Sequence[str]],
    popularity: NDArray[np.int64],
    vectors: NDArray[np.float32],
    scale: ValueScale,
) -> tuple[str, list[tuple[int, float]]]:
    """Return the name of the example profile and its item indices with ratings; deterministic.

    ``popularity`` (N,) is the number of users who rated each item, ``vectors`` are the item vectors (N, D), ``scale`` is
    the value scale; only a rating scale has dislikes.
    """
    popular = np.lexsort([np.arange(len(popularity)), -popularity])[:_POPULAR].tolist()
    items = _by_genre(popular, genres)
    if len(items) < 2 or scale.kind != "explicit":  # noqa: PLR2004  two are needed for a contrast
        return "likes popular titles", _rated(popular, _HIGH, scale)
    first, second = _contrast(items, vectors - vectors[popular].mean(axis=0))
    both = set(items[first]) & set(items[second])
    high, low = (
        _rated([item for item in items[name] if item not in both], shares, scale)
        for name, shares in ((first, _HIGH), (second, _LOW))
    )
    for number, item in enumerate(low):  # interleaved: real histories are not sorted by genre
        high.insert(min(2 + 3 * number, len(high)), item)
    return f"likes {first}, dislikes {second}", high


def _by_genre(popular: Sequence[int], genres: Sequence[Sequence[str]]) -> dict[str, list[int]]:
    """Return the popular items of each genre with enough of them, the most popular first."""
    items: dict[str, list[int]] = {}
    for item in popular:
        for genre in genres[item]:
            items.setdefault(genre, []).append(item)
    return {genre: items[genre] for genre in sorted(items) if len(items[genre]) >= _MIN_GENRE}


def _contrast(items: dict[str, list[int]], vectors: NDArray[np.float32]) -> tuple[str, str]:
    """Return the two least similar genres, without their common items; the larger first."""

    def similarity(pair: tuple[str, str]) -> float:
        one, two = (set(items[name]) for name in pair)
        if min(len(one - two), len(two - one)) < _MIN_GENRE:
            return 1.0
        first, second = (vectors[sorted(own)].mean(axis=0) for own in (one - two, two - one))
        return float(first @ second / max(np.linalg.norm(first) * np.linalg.norm(second), _TINY))

    one, two = min(combinations(items, 2), key=similarity)
    return (one, two) if len(items[one]) >= len(items[two]) else (two, one)


def _rated(items: Sequence[int], shares: Sequence[float], scale: ValueScale) -> list[tuple[int, float]]:
    """Return as many of the first items as there are shares, with ratings."""
    if scale.kind != "explicit":
        return [(item, scale.positive_from) for item, _ in zip(items, shares, strict=False)]
    ratings = [
        scale.low + scale.step * round(share * (scale.high - scale.low) / scale.step) for share in shares
    ]
    return list(zip(items, ratings, strict=False))
