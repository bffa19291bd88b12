"""The catalog of the service: titles, search and the example profile.

Dimensions: N films of the catalogue.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from tastevec.schema import GENRES, ITEM_ID, TITLE, YEAR

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["Catalog", "TitleSearch", "example_user", "words_of"]

# Letters that are no letter with a mark, and what people type for them.
_PLAIN = str.maketrans(
    {
        "ø": "o",
        "ł": "l",
        "đ": "d",
        "ð": "d",
        "þ": "th",
        "æ": "ae",
        "œ": "oe",
        "\N{LATIN SMALL LETTER DOTLESS I}": "i",
    }
)
_UNHEARD = str.maketrans({"'": "", "`": "", "\u00b4": "", "\u2019": "", "&": " and "})
# Of the languages that have theirs behind the title in MovieLens.
_ARTICLES = frozenset(
    "a an das der die ein eine el i il l la las le les lo los o os the un una une".split()  # noqa: SIM905  a list is a page
)
_WORD = re.compile(r"\w+")
_BRACKET = re.compile(r"[()]")
_AKA = re.compile(r"\ba\.?k\.?a\b\.?", re.IGNORECASE)
_LONGEST_ARTICLE = 8  # letters, with what may stand around it
_LAST = "\U0010ffff"  # behind every letter


def words_of(text: str) -> list[str]:
    """The words of a title or of a query, without case, marks and punctuation.

    Examples:
        >>> words_of("Amélie (Fabuleux destin d'Amélie Poulain, Le)")
        ['amelie', 'fabuleux', 'destin', 'damelie', 'poulain', 'le']
    """
    folded = text.casefold()
    if not folded.isascii():  # most titles are, and have no mark
        marked = unicodedata.normalize("NFKD", folded).translate(_PLAIN)
        folded = "".join(letter for letter in marked if not unicodedata.combining(letter))
    return _WORD.findall(folded.translate(_UNHEARD))


class TitleSearch:
    """Every film in which each word of a query begins a word of the title, best first.

    Best is the title itself, then titles that begin so, then those with all the words whole; the more watched come
    first among equals. An article counts neither before a title nor behind it, so that "Matrix, The" is "The Matrix".
    """

    def __init__(self, titles: Sequence[str], watched: NDArray[np.integer]) -> None:
        """Index N titles.

        Args:
            titles: As the catalogue spells them, other names and the year in brackets.
            watched: (N,) how many people know each film.
        """
        self._watched = np.asarray(watched, np.int64)
        self._words = _Texts(
            (word, item) for item, title in enumerate(titles) for word in set(words_of(title))
        )
        self._names = _Texts((name, item) for item, title in enumerate(titles) for name in set(_names(title)))

    def find(self, query: str, limit: int) -> NDArray[np.int64]:
        """At most ``limit`` films, as places in the catalogue; for a query without a word, the most watched."""
        words = words_of(query)
        # (N,) 0 no match, 1 words begun, 2 words, 3 the title begun, 4 the title
        fit = np.ones(len(self._watched), np.int8)
        if words:
            name = next(_names(query), " ".join(words))
            fit = np.minimum.reduce([self._word(word) for word in words])
            for level, end in ((3, name + _LAST), (4, name + "\0")):
                named = self._names.items(name, end)
                fit[named] = np.where(fit[named] > 0, level, 0)
        found = np.flatnonzero(fit)
        order = np.lexsort((found, -self._watched[found], -fit[found]))
        return np.asarray(found[order[:limit]])

    def _word(self, word: str) -> NDArray[np.int8]:
        """(N,) 2 where this is a word of the title, 1 where it begins one."""
        fit = np.zeros(len(self._watched), np.int8)
        for level, end in ((1, word + _LAST), (2, word + "\0")):
            fit[self._words.items(word, end)] = level
        return fit


class _Texts:
    """Texts in order, so that all that begin alike stand side by side, each with its films."""

    def __init__(self, pairs: Iterable[tuple[str, int]]) -> None:
        items: dict[str, list[int]] = {}
        for text, item in pairs:
            items.setdefault(text, []).append(item)
        self._texts = sorted(items)
        self._items = np.array([item for text in self._texts for item in items[text]], np.int64)
        self._starts = np.cumsum([0, *(len(items[text]) for text in self._texts)])

    def items(self, start: str, end: str) -> NDArray[np.int64]:
        """The films of all texts from ``start`` on and before ``end``."""
        first, last = (self._starts[bisect_left(self._texts, text)] for text in (start, end))
        return self._items[first:last]


def _names(title: str) -> Iterator[str]:
    """The names of a film: before the brackets and in each of them, without articles."""
    for part in _BRACKET.split(_AKA.sub(" ", title)):
        before, _, behind = part.rpartition(",")
        article = len(behind) <= _LONGEST_ARTICLE and before and words_of(behind)
        words = words_of(before if article and len(article) == 1 and article[0] in _ARTICLES else part)
        if len(words) > 1 and words[0] in _ARTICLES:
            words = words[1:]
        if words:
            yield " ".join(words)


class Catalog:
    """N films, each at its place, 0 to N - 1.

    Attributes:
        ids: The films' own ids.
        titles: As the data spell them.
        years: None where unknown.
        genres: Maybe none.
        watched: (N,) int64, people of the training who rated each film.
    """

    def __init__(self, items: pa.Table) -> None:
        """Read the items of a bundle."""
        self.ids: list[int | str] = items[ITEM_ID].to_pylist()
        self.titles: list[str] = [title or "" for title in items[TITLE].to_pylist()]
        self.years: list[int | None] = items[YEAR].to_pylist()
        self.genres: list[list[str]] = [genres or [] for genres in items[GENRES].to_pylist()]
        self.watched = np.asarray(items["train_users"].to_numpy(), np.int64)
        # Ids of another type than the catalogue's are compared as text, as in a table.
        self._places = {str(item): place for place, item in enumerate(self.ids)}
        self._search = TitleSearch(self.titles, self.watched)

    def __len__(self) -> int:
        """N."""
        return len(self.ids)

    def place(self, item_id: int | str) -> int | None:
        """Where a film stands; None if it is unknown."""
        return self._places.get(str(item_id))

    def named(self, place: int) -> dict[str, Any]:
        """A film's id and title."""
        return {"item_id": self.ids[place], "title": self.titles[place]}

    def item(self, place: int) -> dict[str, Any]:
        """A film as all answers tell it."""
        return {**self.named(place), "year": self.years[place], "genres": self.genres[place]}

    def items(self, item_ids: Sequence[int | str]) -> list[dict[str, Any]]:
        """Those of these films that are known."""
        places = [self.place(item_id) for item_id in item_ids]
        return [self.item(place) for place in places if place is not None]

    def search(self, query: str, limit: int) -> list[dict[str, Any]]:
        """Films by title, best first."""
        return [self.item(place) for place in self._search.find(query, limit).tolist()]


_WELL_KNOWN = 200  # films that the example is chosen from
_LOVED, _NOT = 7, 4  # films of either genre
_GENRE = 4  # films that make a genre
_TINY = 1e-12  # below every length, so that nothing is divided by 0
# Where the ratings lie between the lowest and the highest.
_HIGH, _LOW = (1.0, 0.9, 0.8, 1.0, 0.9, 0.7, 0.8), (0.2, 0.3, 0.1, 0.3)


def example_user(
    genres: Sequence[Sequence[str]],
    watched: NDArray[np.int64],
    vectors: NDArray[np.float32],
    scale: tuple[float, float, float],
) -> tuple[str, list[tuple[int, float]]]:
    """What the person is called, and the films as places in the catalogue with ratings; the same at each call.

    Args:
        genres: Of each film.
        watched: (N,) how many people know each film.
        vectors: (N, D) the films'.
        scale: The lowest rating, the highest, and the step between two.
    """
    known = np.lexsort([np.arange(len(watched)), -watched])[:_WELL_KNOWN].tolist()
    items = _by_genre(known, genres)
    if len(items) < 2:  # noqa: PLR2004  two are needed for a contrast
        return "Somebody who has seen what everybody has", _rated(known[:_LOVED], _HIGH, scale)
    loved, other = _contrast(items, vectors - vectors[known].mean(axis=0))
    both = set(items[loved]) & set(items[other])
    ours, theirs = ([item for item in items[name] if item not in both] for name in (loved, other))
    high, low = _rated(ours[:_LOVED], _HIGH, scale), _rated(theirs[:_NOT], _LOW, scale)
    for place, item in enumerate(low):  # one after every second of the others: nobody watches by genre
        high.insert(min(2 + 3 * place, len(high)), item)
    return f"Somebody who loves {loved} and has little patience for {other}", high


def _by_genre(known: Sequence[int], genres: Sequence[Sequence[str]]) -> dict[str, list[int]]:
    """The well-known films of each genre that has enough of them, the most watched first."""
    items: dict[str, list[int]] = {}
    for item in known:
        for genre in genres[item]:
            items.setdefault(genre, []).append(item)
    return {genre: items[genre] for genre in sorted(items) if len(items[genre]) >= _GENRE}


def _contrast(items: dict[str, list[int]], vectors: NDArray[np.float32]) -> tuple[str, str]:
    """The two genres whose films, but those of both, lie the farthest apart; the one with more films first."""

    def alike(pair: tuple[str, str]) -> float:
        one, two = (set(items[name]) for name in pair)
        if min(len(one - two), len(two - one)) < _GENRE:
            return 1.0
        ours, theirs = (vectors[sorted(own)].mean(axis=0) for own in (one - two, two - one))
        return float(ours @ theirs / max(np.linalg.norm(ours) * np.linalg.norm(theirs), _TINY))

    one, two = min(combinations(items, 2), key=alike)
    return (one, two) if len(items[one]) >= len(items[two]) else (two, one)


def _rated(
    places: Sequence[int], shares: Sequence[float], scale: tuple[float, float, float]
) -> list[tuple[int, float]]:
    low, high, step = scale
    ratings = [low + step * round(share * (high - low) / step) for share in shares]
    return list(zip(places, ratings, strict=False))
