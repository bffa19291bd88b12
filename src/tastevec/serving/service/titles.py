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
    from collections.abc import Iterator, Sequence

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
        "&": " and ",
    }
)
_ARTICLES = frozenset(
    [
        "a",
        "an",
        "das",
        "der",
        "die",
        "ein",
        "eine",
        "el",
        "il",
        "i",
        "l",
        "la",
        "las",
        "le",
        "les",
        "lo",
        "los",
        "o",
        "os",
        "the",
        "un",
        "una",
        "une",
    ]
)
_LAST = "\U0010ffff"  # behind every letter


def words_of(text: str) -> list[str]:
    """The words of a title or of a query, without case, marks and punctuation.

    Examples:
        >>> words_of("Amélie (Fabuleux destin d'Amélie Poulain, Le)")
        ['amelie', 'fabuleux', 'destin', 'damelie', 'poulain', 'le']
    """
    folded = unicodedata.normalize("NFKD", text.casefold()).translate(_PLAIN)
    bare = "".join(letter for letter in folded if not unicodedata.combining(letter))
    return re.findall(r"\w+", re.sub("['`\u00b4\u2019]", "", bare))


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
        words = [(word, film) for film, title in enumerate(titles) for word in set(words_of(title))]
        names = [(name, film) for film, title in enumerate(titles) for name in set(_names(title))]
        self._words, self._with_word = _sorted(words)
        self._names, self._with_name = _sorted(names)

    def find(self, query: str, limit: int) -> NDArray[np.int64]:
        """At most ``limit`` films, as places in the catalogue; for a query without a word, the most watched."""
        words = words_of(query)
        fit = np.ones(
            len(self._watched), np.int8
        )  # (N,) 0 no match, 1 begun words, 2 words, 3 begun title, 4 title
        if words:
            name = next(_names(query), " ".join(words))
            fit = np.minimum.reduce([self._word(word) for word in words])
            begun = (fit > 0) & self._named(name, name + _LAST)
            fit[begun] = 3
            fit[begun & self._named(name, name + "\0")] = 4
        found = np.flatnonzero(fit)
        order = np.lexsort((found, -self._watched[found], -fit[found]))
        return np.asarray(found[order[:limit]])

    def _word(self, word: str) -> NDArray[np.int8]:
        """(N,) 2 where this is a word of the title, 1 where it begins one."""
        fit = np.zeros(len(self._watched), np.int8)
        for level, end in ((1, word + _LAST), (2, word + "\0")):
            fit[self._with_word[bisect_left(self._words, word) : bisect_left(self._words, end)]] = level
        return fit

    def _named(self, start: str, end: str) -> NDArray[np.bool_]:
        """(N,) whether a name of the film lies between these."""
        fit = np.zeros(len(self._watched), np.bool_)
        fit[self._with_name[bisect_left(self._names, start) : bisect_left(self._names, end)]] = True
        return fit


def _sorted(pairs: list[tuple[str, int]]) -> tuple[list[str], NDArray[np.int64]]:
    """The texts in order, so that all that begin alike stand side by side; and the film of each."""
    pairs.sort()
    return [text for text, _ in pairs], np.array([film for _, film in pairs], np.int64)


def _names(title: str) -> Iterator[str]:
    """The names of a film: before the brackets and in each of them, without articles."""
    for part in re.split(r"[()]", re.sub(r"\ba\.?k\.?a\b\.?", " ", title, flags=re.IGNORECASE)):
        before, _, behind = part.rpartition(",")
        article = before and _ARTICLES.issuperset(last := words_of(behind)) and len(last) == 1
        words = words_of(before if article else part)
        if len(words) > 1 and words[0] in _ARTICLES:
            words = words[1:]
        if words:
            yield " ".join(words)
