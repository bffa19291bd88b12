"""Films found by their title, as people type titles.

Dimensions: N films of the catalogue.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["TitleSearch", "words_of"]

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
            (word, film) for film, title in enumerate(titles) for word in set(words_of(title))
        )
        self._names = _Texts((name, film) for film, title in enumerate(titles) for name in set(_names(title)))

    def find(self, query: str, limit: int) -> NDArray[np.int64]:
        """At most ``limit`` films, as places in the catalogue; for a query without a word, the most watched."""
        words = words_of(query)
        # (N,) 0 no match, 1 words begun, 2 words, 3 the title begun, 4 the title
        fit = np.ones(len(self._watched), np.int8)
        if words:
            name = next(_names(query), " ".join(words))
            fit = np.minimum.reduce([self._word(word) for word in words])
            for level, end in ((3, name + _LAST), (4, name + "\0")):
                named = self._names.films(name, end)
                fit[named] = np.where(fit[named] > 0, level, 0)
        found = np.flatnonzero(fit)
        order = np.lexsort((found, -self._watched[found], -fit[found]))
        return np.asarray(found[order[:limit]])

    def _word(self, word: str) -> NDArray[np.int8]:
        """(N,) 2 where this is a word of the title, 1 where it begins one."""
        fit = np.zeros(len(self._watched), np.int8)
        for level, end in ((1, word + _LAST), (2, word + "\0")):
            fit[self._words.films(word, end)] = level
        return fit


class _Texts:
    """Texts in order, so that all that begin alike stand side by side, each with its films."""

    def __init__(self, pairs: Iterable[tuple[str, int]]) -> None:
        films: dict[str, list[int]] = {}
        for text, film in pairs:
            films.setdefault(text, []).append(film)
        self._texts = sorted(films)
        self._films = np.array([film for text in self._texts for film in films[text]], np.int64)
        self._starts = np.cumsum([0, *(len(films[text]) for text in self._texts)])

    def films(self, start: str, end: str) -> NDArray[np.int64]:
        """The films of all texts from ``start`` on and before ``end``."""
        first, last = (self._starts[bisect_left(self._texts, text)] for text in (start, end))
        return self._films[first:last]


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
