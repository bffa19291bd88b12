"""What is said of films, tag by tag, from the features that a prepared folder keeps of them.

Dimensions: N films, V words of a vocabulary, T tags.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from tastevec.items.features import ContentFeatures

__all__ = ["TagBlock", "same_word", "tag_blocks"]

_FEWEST = 10  # films with a word: of fewer, nobody can say whether it can be read off a vector
# A word that people say of the same films says something of the films; one that each says of films of his own (owned, on my
# shelf, seen on holiday) says something of them. People agree on the former far more often than if every saying had met a
# film by chance, as often as other words are said of it. With the tags of ml-10m on ml-1m's films: "dystopia" 29 times as
# often, "quirky" 8, "owned" 1.2, "seen at the cinema" .9, "tumey's dvds" 0.
_ABOVE_CHANCE: Final = 2.0
_TWICE = 1.5  # a count is known up to rounding
_FEWEST_AGREED = 2  # films: a single one could be one person's second account


# Honours, lists and notes to oneself say that a film is well known or at hand, not what it is like; people agree on the first two.
_NO_DESCRIPTION: Final = re.compile(
    r"\b(oscars?|awards?|golden (globe|palm)|palme d'or|bafta|razzie|[ab]fi ?\d*|imdb|registry|best picture|criterion|top \d+"
    r"|\d+ (stars|greatest)|(my|own) dvds?|to own|owned|(want to|must) see|seen (more|at|in)|vhs|netflix)\b"
)


@dataclass(frozen=True, eq=False)
class TagBlock:
    """T tags that are said of the same films.

    Attributes:
        names: T.
        relevance: (N, T) how much each applies: 1 or 0, or the genome's relevance less the tag's mean.
        known: (N,) the films of which anything is said; of the others nobody knows whether a tag applies.
    """

    names: tuple[str, ...]
    relevance: csr_matrix
    known: NDArray[np.bool_]


def same_word(tag: str) -> str:
    """What two spellings of a tag have in common; empty where a tag has neither a letter nor a digit.

    Examples:
        >>> same_word("Sci-Fi") == same_word("scifi"), same_word("Film-Noir")
        (True, 'filmnoir')
    """
    return "".join(letter for letter in tag.casefold() if letter.isalnum())


def tag_blocks(features: ContentFeatures, rows: csr_matrix) -> tuple[TagBlock, ...]:
    """The genres, and the genome or else what people said; words of fewer than ten films are left out.

    Of what people said, only words are kept on which they agree, and none that is a bare number, an honour ("oscar winner"),
    a list ("afi 100") or a note to oneself ("my dvds").

    Args:
        features: How films are read.
        rows: (N, F) as ``features`` reads them.
    """
    said, genome = len(features.words["tags"]), len(features.genome_tags)
    genres = rows[:, said + genome :][:, : len(features.words["genres"])]
    names, times = _together(features.words["genres"], genres)
    blocks = [_block(names, times, np.ones(len(names), np.bool_))]
    if genome:
        relevance = rows[:, said : said + genome].tocsr()
        blocks.append(TagBlock(features.genome_tags, relevance, relevance.getnnz(axis=1) > 0))
    else:
        names, times = _together(features.words["tags"], _times(features, rows[:, :said].tocsr()))
        blocks.append(_block(names, times, _agreed(times)))
    return tuple(block for block in blocks if block.names)


def _block(names: tuple[str, ...], times: csr_matrix, kept: NDArray[np.bool_]) -> TagBlock:
    """Of what was said (N, T), what is kept and said of enough films; a film is known if anything was said of it."""
    applied = times.astype(np.bool_).astype(np.float64)
    chosen = np.flatnonzero((applied.getnnz(axis=0) >= _FEWEST) & kept).tolist()
    return TagBlock(tuple(names[tag] for tag in chosen), applied[:, chosen], applied.getnnz(axis=1) > 0)


def _times(features: ContentFeatures, said: csr_matrix) -> csr_matrix:
    """(N, V) how often each word was said of each film, if the one said least was said once."""
    from scipy import sparse  # noqa: PLC0415 - an extra

    # A film's row has a fixed length, which hides all but how the logarithms compare.
    logs = sparse.csr_matrix(said @ sparse.diags(1.0 / features.rarities["tags"]))
    logs.eliminate_zeros()
    filled = np.flatnonzero(np.diff(logs.indptr))
    if len(filled):
        least = np.minimum.reduceat(logs.data, logs.indptr[filled])
        logs.data = np.expm1(np.log(2.0) * logs.data / np.repeat(least, np.diff(logs.indptr)[filled]))
    return logs


def _together(words: Sequence[str], said: csr_matrix) -> tuple[tuple[str, ...], csr_matrix]:
    """T words and how often each was said (N, T), all spellings of one under the commonest; no word is a bare number or an honour."""
    from scipy import sparse  # noqa: PLC0415 - an extra

    films = said.getnnz(axis=0)
    keys = [same_word(word) for word in words]
    names: dict[str, str] = {}
    for place in sorted(range(len(words)), key=lambda place: (-films[place], words[place])):
        described = not keys[place].isnumeric() and not _NO_DESCRIPTION.search(words[place].casefold())
        if keys[place] and described:
            names.setdefault(keys[place], words[place])
    order = {key: place for place, key in enumerate(sorted(names, key=names.__getitem__))}
    pairs = [(place, order[key]) for place, key in enumerate(keys) if key in order]
    spelled, meant = np.array(pairs, np.int64).reshape(-1, 2).T
    shape = (len(words), len(order))
    same = sparse.csr_matrix((np.ones(len(pairs)), (spelled, meant)), shape=shape)
    return tuple(names[key] for key in order), sparse.csr_matrix(said @ same)


def _agreed(times: csr_matrix) -> NDArray[np.bool_]:
    """(T,) on which words people agree, of how often each was said of each film (N, T); all, if nothing was said twice."""
    twice = times > _TWICE
    if not twice.nnz:
        return np.ones(times.shape[1], np.bool_)
    said, squares = (np.asarray(of.sum(axis=0)).ravel() for of in (times, times.multiply(times)))  # (T,)
    busy = np.asarray(times.sum(axis=1)).ravel()  # (N,) sayings of each film
    # Of all other words: how often anything was said, and the sum of its squares over films.
    others, spread = busy.sum() - said, busy @ busy - 2 * (times.T @ busy) + squares
    above = (squares - said) * others**2 >= _ABOVE_CHANCE * said * (said - 1) * spread
    return np.asarray(above & (twice.getnnz(axis=0) >= _FEWEST_AGREED))
