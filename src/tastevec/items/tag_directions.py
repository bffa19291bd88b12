"""Tag directions: tags as directions in the embedding space, with their reliability.

Dimensions: B vectors, N films, D numbers a vector, T tags.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from safetensors.numpy import save_file

from tastevec.data.arrays import HEADER, check_shapes, read_arrays, read_header
from tastevec.errors import SettingsError
from tastevec.items.cold_start import TRUST
from tastevec.schema import TRAIN_AGAIN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray
    from scipy.sparse import csc_matrix, csr_matrix

    from tastevec.items.content import ContentFeatures
    from tastevec.schema import Horizon

__all__ = ["Spread", "TagBlock", "TagDirections", "TagRegression", "best_penalty", "same_word", "tag_blocks"]

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

    items = said.getnnz(axis=0)
    keys = [same_word(word) for word in words]
    names: dict[str, str] = {}
    for place in sorted(range(len(words)), key=lambda place: (-items[place], words[place])):
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


_PENALTIES: Final = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # times the vectors' mean squared scatter
_CELLS = 1 << 22  # relevances held at once: 32 MB
_SILENT = 1e-12  # of a squared length: rounding leaves what is constant a little more than 0


@dataclass(frozen=True, eq=False)
class TagRegression:
    """One block's films, turned into the axes of their scatter, where every penalty is a division.

    Films are weighed by how many people stand behind them, and centred at their mean. What a film left out would have been
    given follows from what it was given in closed form, so that each film is a fold of its own, and no order of the films
    changes anything but rounding.

    Source: Hastie, Tibshirani and Friedman 2009, section 7.10, on linear smoothers.
    """

    names: tuple[str, ...]
    relevance: csc_matrix  # (F, T)
    roots: NDArray[np.float64]  # (F,) of the weights, whose mean is 1
    axes: NDArray[np.float64]  # (D, D)
    scatter: NDArray[np.float64]  # (D,) of the weighed films along each axis
    places: NDArray[np.float64]  # (F, D) the weighed films on the axes

    @classmethod
    def of(
        cls, block: TagBlock, vectors: NDArray[np.float32], users: NDArray[np.int64]
    ) -> TagRegression | None:
        """Films with a vector, of which something is said and behind which people stand; None of fewer than ten."""
        items = np.flatnonzero(block.known & (users > 0) & vectors.any(axis=1))
        if len(items) < _FEWEST:
            return None
        weights = users[items] / (users[items] + TRUST)
        roots = np.sqrt(weights / weights.mean())
        learned = vectors[items].astype(np.float64)
        weighed = roots[:, None] * (learned - np.average(learned, axis=0, weights=weights))
        with _one_thread():
            scatter, axes = np.linalg.eigh(weighed.T @ weighed)
            places = weighed @ axes
        relevance = block.relevance[items].tocsc()
        return cls(block.names, relevance, roots, axes, np.maximum(scatter, 0.0), places)

    def directions(self, penalty: float) -> NDArray[np.float64]:
        """(T, D) the slopes: along them the relevance of each tag grows by 1."""
        with _one_thread():
            parts = [self._slopes(wanted, penalty).T @ self.axes.T for wanted in self._wanted()]
        return np.concatenate(parts)

    def confidence(self, penalty: float) -> NDArray[np.float64]:
        """(T,) in [0, 1], the correlation of relevance with what films left out were given; 0 where it is negative."""
        parts = []
        mean = self.roots / np.linalg.norm(self.roots)  # weighed, a constant lies along this
        with _one_thread():
            for wanted in self._wanted():
                given = wanted - self._off(wanted, penalty)
                given -= mean[:, None] * (mean @ given)
                lengths = (given**2).sum(axis=0) * (wanted**2).sum(axis=0)
                products = (given * wanted).sum(axis=0)
                silent = np.zeros(len(lengths))
                parts.append(np.divide(products, np.sqrt(lengths), out=silent, where=lengths > _SILENT))
        return np.asarray(np.clip(np.concatenate(parts), 0.0, 1.0))

    def errors(self, penalty: float) -> NDArray[np.float64]:
        """(T,) the squared error of films left out, as a share of the tag's own variance; 1 where it has none."""
        parts = []
        with _one_thread():
            for wanted in self._wanted():
                whole = (wanted**2).sum(axis=0)
                off = (self._off(wanted, penalty) ** 2).sum(axis=0)
                parts.append(np.divide(off, whole, out=np.ones(len(whole)), where=whole > _SILENT))
        return np.concatenate(parts)

    def _wanted(self) -> Iterator[NDArray[np.float64]]:
        """(F, C) relevances, weighed and centred, of a group of tags after another."""
        width = max(1, _CELLS // len(self.roots))
        for start in range(0, len(self.names), width):
            dense = self.relevance[:, start : start + width].toarray().astype(np.float64)
            yield self.roots[:, None] * (dense - np.average(dense, axis=0, weights=self.roots**2))

    def _slopes(self, wanted: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
        """(D, C) on the axes."""
        return np.asarray((self.places.T @ wanted) / self._ridged(penalty)[:, None])

    def _off(self, wanted: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
        """(F, C) how far off each film would be if it were left out."""
        constant = self.roots**2 / (self.roots**2).sum()
        own = self.places**2 @ (1.0 / self._ridged(penalty)) + constant  # (F,) of its own value, in its fit
        return np.asarray((wanted - self.places @ self._slopes(wanted, penalty)) / (1 - own)[:, None])

    def _ridged(self, penalty: float) -> NDArray[np.float64]:
        # The least of all numbers where every film has the same vector.
        return np.asarray(self.scatter + max(penalty * self.scatter.mean(), _SILENT))


def best_penalty(fits: Sequence[TagRegression]) -> float:
    """The penalty whose predictions of films left out are nearest, in the mean over all tags."""

    def error(penalty: float) -> float:
        return float(sum(fit.errors(penalty).sum() for fit in fits))

    return min(_PENALTIES, key=error)


def _one_thread() -> AbstractContextManager[object]:
    """As everywhere: several BLAS threads add in another order, which makes other bytes."""
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - comes with scikit-learn, an extra

    limits: AbstractContextManager[object] = threadpool_limits(1, "blas")
    return limits


# Of ml-1m's tags on shuffled films none is read with a confidence above .07, and from .1 on 95 in 100 tags tell the hidden
# likes of validation people from those of others.
_LEAST_SURE: Final = 0.1
# Directions nearer than this say the same: "sci-fi" beside "scifi" .77, "future" .87, "space" .81; beside "action" .5.
_ALIKE: Final = 0.75
_SINGULAR = 1e-4  # of the largest: tags that cannot be moved apart
_SUGGESTED = 3


@dataclass(frozen=True, eq=False)
class Spread:
    """What the readings of many vectors are: their mean (T,) and standard deviation (T,), float32."""

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TagDirections:
    """T tags as directions among the film vectors.

    A vector is read along a direction and compared with other vectors of its kind: films with films, people with people
    of the same horizon. Readings are standard deviations from their average.

    Attributes:
        names: T, each another word.
        directions: (T, D) float32, along which the relevance of each tag grows by 1.
        confidence: (T,) float32 in [0, 1], how well the relevance of films left out can be read off their vectors: its
            correlation with what is read.
        spreads: What is compared with, by kind: ``items`` and, once measured, ``next`` and ``overall``.
    """

    names: tuple[str, ...]
    directions: NDArray[np.float32]
    confidence: NDArray[np.float32]
    spreads: Mapping[str, Spread]

    @classmethod
    def fit(
        cls, blocks: Sequence[TagBlock], vectors: NDArray[np.float32], users: NDArray[np.int64]
    ) -> TagDirections:
        """A ridge regression of relevances on film vectors, with one penalty for all tags, chosen on films left out.

        Tags with a confidence under 0.1 are left out, and of the spellings of one word all but the surest.

        Args:
            blocks: The tags and the films of which they are said, N films each.
            vectors: (N, D); a row of zeros is a film without one, and teaches nothing.
            users: (N,) training people behind each; n count n / (n + 10), and films of nobody teach nothing.
        """
        placed = (users > 0) & vectors.any(axis=1)
        fits = [fit for block in blocks if (fit := TagRegression.of(block, vectors, users)) is not None]
        penalty = best_penalty(fits)
        names = [name for fit in fits for name in fit.names]
        dim = vectors.shape[1]
        directions = np.concatenate([np.zeros((0, dim)), *(fit.directions(penalty) for fit in fits)])
        confidence = np.concatenate([np.zeros(0), *(fit.confidence(penalty) for fit in fits)])
        kept = _surest(names, confidence)
        made = cls(
            tuple(names[tag] for tag in kept),
            directions[kept].astype(np.float32),
            confidence[kept].astype(np.float32),
            {},
        )
        # A film counts as often as it was seen: else most films would be little known, and every known one far from them.
        return made.against("items", vectors[placed], weights=users[placed])

    def against(
        self,
        kind: Horizon | Literal["items"],
        vectors: NDArray[np.float32],
        *,
        weights: NDArray[np.integer] | None = None,
    ) -> TagDirections:
        """The same directions, on which vectors of this kind are compared with these (B, D), each counted so often (B,)."""
        raw = vectors.astype(np.float64) @ self.directions.T.astype(np.float64)  # (B, T)
        shares = np.ones(len(raw)) if weights is None else weights.astype(np.float64)
        shares /= max(shares.sum(), 1.0)
        mean = shares @ raw
        deviation = np.sqrt(shares @ (raw - mean) ** 2)
        spread = Spread(mean.astype(np.float32), deviation.astype(np.float32))
        return replace(self, spreads={**self.spreads, kind: spread})

    def read(self, vectors: NDArray[np.float32], kind: Horizon | Literal["items"]) -> NDArray[np.float64]:
        """(B, T) how far each vector (B, D) is from the average along each tag, in standard deviations."""
        return self.change(vectors, kind) - self._spread(kind).mean * self._scale(kind)

    def change(self, moves: NDArray[np.floating], kind: Horizon | Literal["items"]) -> NDArray[np.float64]:
        """(..., T) how much the readings change where vectors move by this (..., D), in standard deviations."""
        return np.asarray(moves.astype(np.float64) @ self.directions.T * self._scale(kind))

    def distinct(self, order: Iterable[int], count: int) -> list[int]:
        """The first ``count`` of these tags, of tags that say the same, or its opposite, only the first."""
        units = _unit(self.directions.astype(np.float64))
        chosen: list[int] = []
        for tag in order:
            if len(chosen) == count:
                break
            if not np.any(np.abs(units[chosen] @ units[tag]) > _ALIKE):
                chosen.append(tag)
        return chosen

    def steer(
        self,
        vector: NDArray[np.float32],
        wanted: Mapping[str, float],
        *,
        hold: float = 1.0,
        kind: Horizon = "overall",
    ) -> NDArray[np.float32]:
        """(D,) the vector of a person, moved so that its reading of each wanted tag changes by its dose.

        Of all moves that do this it is the one with the smallest sum of its own squared length and, as far as ``hold``
        says, the mean squared change of all other readings, each weighed by its confidence. Tags that say the same as a
        wanted one are free to follow it. Where wanted tags say the same, they get what is nearest to all doses.

        Args:
            vector: (D,).
            wanted: Standard deviations by tag, in any spelling; 0 holds a tag exactly.
            hold: In [0, 1].
            kind: The horizon of the vector.

        Raises:
            SettingsError: There is no such tag, or a number is out of range.
        """
        if not 0 <= hold <= 1:
            raise SettingsError(f"hold is {hold}; expected 0 (move along the tag) to 1 (hold all other tags)")
        tags = self._places(wanted)
        if not len(tags):
            return np.array(vector, np.float32)
        along = self.directions.astype(np.float64) * self._scale(kind)[:, None]  # (T, D), a reading each
        free = (np.abs(_unit(along) @ _unit(along[tags]).T) > _ALIKE).any(axis=1)
        held = np.where(free, 0.0, self.confidence)[:, None] * along
        scatter = held.T @ held  # (D, D)
        dim, size = len(scatter), np.trace(scatter)
        # The scatter as large as the identity, so that ``hold`` means the same whatever the vectors' scale.
        cost = np.eye(dim) + (hold * dim / size * scatter if size > 0 else 0.0)
        ways = np.linalg.solve(cost, along[tags].T)  # (D, wanted)
        doses = np.array(list(wanted.values()), np.float64)
        shares = np.linalg.pinv(along[tags] @ ways, rcond=_SINGULAR, hermitian=True) @ doses
        return np.asarray(vector + ways @ shares, np.float32)

    def save(self, path: Path) -> None:
        """Write them to ``path``."""
        arrays = {"directions": self.directions, "confidence": self.confidence}
        for kind, spread in self.spreads.items():
            arrays |= {f"mean.{kind}": spread.mean, f"deviation.{kind}": spread.deviation}
        contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        save_file(contiguous, path, {HEADER: json.dumps(self.names, ensure_ascii=False)})

    @classmethod
    def load(cls, path: Path) -> TagDirections:
        """What ``save`` wrote.

        Raises:
            FormatError: It is missing or damaged.
        """
        arrays, told = read_arrays(path, TRAIN_AGAIN)
        names = read_header(path, told, list[str], TRAIN_AGAIN)
        kinds = [name.removeprefix("mean.") for name in arrays if name.startswith("mean.")]
        shapes: dict[str, tuple[str | int, ...]] = {"directions": ("T", "D"), "confidence": ("T",)}
        shapes |= {f"{what}.{kind}": ("T",) for kind in kinds for what in ("mean", "deviation")}
        check_shapes(path, arrays, shapes, TRAIN_AGAIN, sizes={"T": len(names)})
        spreads = {kind: Spread(arrays[f"mean.{kind}"], arrays[f"deviation.{kind}"]) for kind in kinds}
        return cls(tuple(names), arrays["directions"], arrays["confidence"], spreads)

    def _places(self, wanted: Mapping[str, float]) -> NDArray[np.int64]:
        """(wanted,) which tags are meant."""
        known = {same_word(name): tag for tag, name in enumerate(self.names)}
        for tag, dose in wanted.items():
            if not np.isfinite(dose):
                raise SettingsError(
                    f"the dose of {tag!r} is {dose}; expected a number of standard deviations"
                )
            if same_word(tag) not in known:
                raise SettingsError(f"there is no tag {tag!r}; {self._suggestion(tag)}")
        return np.array([known[same_word(tag)] for tag in wanted], np.int64)

    def _suggestion(self, tag: str) -> str:
        near = get_close_matches(tag.casefold(), [name.casefold() for name in self.names], _SUGGESTED)
        if near:
            spelled = {name.casefold(): name for name in self.names}
            return f"did you mean {' or '.join(repr(spelled[name]) for name in near)}?"
        surest = [self.names[place] for place in np.argsort(-self.confidence, kind="stable")[:_SUGGESTED]]
        return f"the model knows {len(self.names)} tags, among them {', '.join(surest) or 'none'}"

    def _scale(self, kind: str) -> NDArray[np.float64]:
        """(T,) standard deviations a unit; 0 where all are alike, so that nothing differs from the average."""
        deviation = self._spread(kind).deviation.astype(np.float64)
        return np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0)

    def _spread(self, kind: str) -> Spread:
        if kind not in self.spreads:
            raise SettingsError(f"{kind!r} cannot be read in tags; expected one of {', '.join(self.spreads)}")
        return self.spreads[kind]


def _surest(names: Sequence[str], confidence: NDArray[np.float64]) -> list[int]:
    """Places of the tags that are sure enough, in order; of the spellings of a word the surest."""
    best: dict[str, int] = {}
    for tag in np.argsort(-confidence, kind="stable").tolist():
        if confidence[tag] >= _LEAST_SURE:
            best.setdefault(same_word(names[tag]), tag)
    return sorted(best.values())


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1.0))
