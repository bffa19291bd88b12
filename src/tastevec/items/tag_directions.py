"""Tag directions: tags as directions in the embedding space, with their reliability.

Dimensions: B vectors, N items, F fitted items, D dimensions, T tags, C tags of a group.
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
from tastevec.items.cold_start import SHRINKAGE_USERS
from tastevec.items.linalg import one_blas_thread
from tastevec.schema import TRAIN_AGAIN, Horizon

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from scipy.sparse import csc_matrix, csr_matrix

    from tastevec.items.content import ContentFeatures, RawFeatures

Reference = Horizon | Literal["items"]  # the vectors that a vector is compared with

_FEWEST = 10  # items with a tag: with fewer, its reliability cannot be measured
# A tag that different users give to the same items describes the items; one that each user gives to other items (owned, on
# my shelf, seen on holiday) describes the user. Users agree on the former far more often than if every application had been
# given to a random item, as often as other tags are given to it. With the tags of ml-10m on ml-1m's items: "dystopia" 29
# times as often, "quirky" 8, "owned" 1.2, "seen at the cinema" .9, "tumey's dvds" 0.
_ABOVE_CHANCE: Final = 2.0
_FEWEST_AGREED = 2  # items: a single one could be a second account of one user


# Awards, lists and personal notes describe popularity or ownership, not content; users agree on the first two.
_NO_DESCRIPTION: Final = re.compile(
    r"\b(oscars?|awards?|golden (globe|palm)|palme d'or|bafta|razzie|[ab]fi ?\d*|imdb|registry|best picture|criterion|top \d+"
    r"|\d+ (stars|greatest)|(my|own) dvds?|to own|owned|(want to|must) see|seen (more|at|in)|vhs|netflix)\b"
)


@dataclass(frozen=True, eq=False)
class TagBlock:
    """T tags that are known of the same items.

    Attributes:
        names: T.
        relevance: (N, T) how much each applies: 1 or 0, or the genome's relevance in [0, 1].
        known: (N,) whether any tag of the block is known of the item; of other items no tag is known to apply or not.
    """

    names: tuple[str, ...]
    relevance: csr_matrix
    known: NDArray[np.bool_]


def tag_key(tag: str) -> str:
    """Return what two spellings of a tag have in common; empty for a tag without a letter or digit.

    Examples:
        >>> tag_key("Sci-Fi") == tag_key("scifi"), tag_key("Film-Noir")
        (True, 'filmnoir')
    """
    return "".join(letter for letter in tag.casefold() if letter.isalnum())


def tag_blocks(features: ContentFeatures, raw: RawFeatures) -> tuple[TagBlock, ...]:
    """Return the genres, and the genome or else the users' tags; tags of fewer than ten items are dropped.

    Of the users' tags, only those remain on which users agree, and none that is a bare number, an award ("oscar winner"),
    a list ("afi 100") or a personal note ("my dvds").

    Args:
        features: Definition of the features.
        raw: Features of N items.
    """
    names, counts = _merge_spellings(features.words["genres"], raw.counts["genres"])
    blocks = [_block(names, counts, np.ones(len(names), np.bool_))]
    if features.genome_tags:
        known = np.zeros(len(raw.years), np.bool_)
        known[raw.genome_items] = True
        blocks.append(TagBlock(features.genome_tags, raw.of_all_items(raw.relevance), known))
    else:
        names, counts = _merge_spellings(features.words["tags"], raw.counts["tags"])
        blocks.append(_block(names, counts, _agreed(counts)))
    return tuple(block for block in blocks if block.names)


def _block(names: tuple[str, ...], counts: csr_matrix, allowed: NDArray[np.bool_]) -> TagBlock:
    """Return the allowed tags of enough items as 1 or 0; an item is known if it has any tag, of counts (N, T)."""
    applied = counts.astype(np.bool_).astype(np.float64)
    chosen = np.flatnonzero((applied.getnnz(axis=0) >= _FEWEST) & allowed).tolist()
    return TagBlock(tuple(names[tag] for tag in chosen), applied[:, chosen], applied.getnnz(axis=1) > 0)


def _merge_spellings(words: Sequence[str], counts: csr_matrix) -> tuple[tuple[str, ...], csr_matrix]:
    """Return T tags and their counts (N, T), all spellings of a tag under the most common; no bare number and no award."""
    from scipy import sparse  # noqa: PLC0415 - an extra

    items = counts.getnnz(axis=0)
    keys = [tag_key(word) for word in words]
    names: dict[str, str] = {}
    for index in sorted(range(len(words)), key=lambda index: (-items[index], words[index])):
        describes = not keys[index].isnumeric() and not _NO_DESCRIPTION.search(words[index].casefold())
        if keys[index] and describes:
            names.setdefault(keys[index], words[index])
    order = {key: tag for tag, key in enumerate(sorted(names, key=names.__getitem__))}
    pairs = [(index, order[key]) for index, key in enumerate(keys) if key in order]
    spellings, merged = np.array(pairs, np.int64).reshape(-1, 2).T
    shape = (len(words), len(order))
    same = sparse.csr_matrix((np.ones(len(pairs)), (spellings, merged)), shape=shape)
    return tuple(names[key] for key in order), sparse.csr_matrix(counts @ same)


def _agreed(counts: csr_matrix) -> NDArray[np.bool_]:
    """Return on which tags users agree, (T,), from how often each was given to each item (N, T); all, if none was twice."""
    repeated = counts >= 2  # noqa: PLR2004  users
    if not repeated.nnz:
        return np.ones(counts.shape[1], np.bool_)
    total, squares = (np.asarray(of.sum(axis=0)).ravel() for of in (counts, counts.multiply(counts)))  # (T,)
    by_item = np.asarray(counts.sum(axis=1)).ravel()  # (N,)
    # Of all other tags: their count, and the sum of its squares over items.
    others, spread = by_item.sum() - total, by_item @ by_item - 2 * (counts.T @ by_item) + squares
    above = (squares - total) * others**2 >= _ABOVE_CHANCE * total * (total - 1) * spread
    return np.asarray(above & (repeated.getnnz(axis=0) >= _FEWEST_AGREED))


_PENALTIES: Final = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # times the vectors' mean squared scatter
_CELLS = 1 << 22  # relevances in memory at once: 32 MB
_ZERO = 1e-12  # of a squared length: rounding leaves a little more than 0 of a constant


@dataclass(frozen=True, eq=False)
class TagRegression:
    """Ridge regression of one block's relevances on item vectors, in the eigenbasis of their scatter matrix.

    In that basis every penalty is a division, which is why this is not `tastevec.items.linalg.ridge_regression`. Items are
    weighted by their users, and centered at their mean. The leave-one-out prediction of an item has a closed form, so each
    item is a fold of its own, and the order of the items changes nothing but rounding.

    Source: Hastie, Tibshirani and Friedman 2009, section 7.10, on linear smoothers.
    """

    names: tuple[str, ...]
    relevance: csc_matrix  # (F, T)
    roots: NDArray[np.float64]  # (F,) of the weights, whose mean is 1
    axes: NDArray[np.float64]  # (D, D)
    scatter: NDArray[np.float64]  # (D,) of the weighted items along each axis
    coordinates: NDArray[np.float64]  # (F, D) of the weighted items on the axes

    @classmethod
    def fit(
        cls, block: TagBlock, vectors: NDArray[np.float32], users: NDArray[np.int64]
    ) -> TagRegression | None:
        """Fit items with a vector, known tags and training users; None for fewer than ten."""
        items = np.flatnonzero(block.known & (users > 0) & vectors.any(axis=1))
        if len(items) < _FEWEST:
            return None
        weights = users[items] / (users[items] + SHRINKAGE_USERS)
        roots = np.sqrt(weights / weights.mean())
        learned = vectors[items].astype(np.float64)
        weighted = roots[:, None] * (learned - np.average(learned, axis=0, weights=weights))
        with one_blas_thread():
            scatter, axes = np.linalg.eigh(weighted.T @ weighted)
            coordinates = weighted @ axes
        relevance = block.relevance[items].tocsc()
        return cls(block.names, relevance, roots, axes, np.maximum(scatter, 0.0), coordinates)

    def directions(self, penalty: float) -> NDArray[np.float64]:
        """Return the slopes, (T, D): along them the relevance of each tag grows by 1."""
        with one_blas_thread():
            parts = [self._slopes(targets, penalty).T @ self.axes.T for targets in self._targets()]
        return np.concatenate(parts)

    def reliability(self, penalty: float) -> NDArray[np.float64]:
        """Return the correlation of relevance with its leave-one-out prediction, (T,) in [0, 1]; 0 where it is negative."""
        parts = []
        mean = self.roots / np.linalg.norm(self.roots)  # the direction of a weighted constant
        with one_blas_thread():
            for targets in self._targets():
                predicted = targets - self._residuals(targets, penalty)
                predicted -= mean[:, None] * (mean @ predicted)
                lengths = (predicted**2).sum(axis=0) * (targets**2).sum(axis=0)
                products = (predicted * targets).sum(axis=0)
                zeros = np.zeros(len(lengths))
                parts.append(np.divide(products, np.sqrt(lengths), out=zeros, where=lengths > _ZERO))
        return np.asarray(np.clip(np.concatenate(parts), 0.0, 1.0))

    def errors(self, penalty: float) -> NDArray[np.float64]:
        """Return the squared leave-one-out error as a share of each tag's own variance, (T,); 1 where it has none."""
        parts = []
        with one_blas_thread():
            for targets in self._targets():
                total = (targets**2).sum(axis=0)
                squares = (self._residuals(targets, penalty) ** 2).sum(axis=0)
                parts.append(np.divide(squares, total, out=np.ones(len(total)), where=total > _ZERO))
        return np.concatenate(parts)

    def _targets(self) -> Iterator[NDArray[np.float64]]:
        """Yield weighted and centered relevances of one group of tags after another, (F, C)."""
        width = max(1, _CELLS // len(self.roots))
        for start in range(0, len(self.names), width):
            dense = self.relevance[:, start : start + width].toarray().astype(np.float64)
            yield self.roots[:, None] * (dense - np.average(dense, axis=0, weights=self.roots**2))

    def _slopes(self, targets: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
        """Return the slopes on the axes, (D, C)."""
        return np.asarray((self.coordinates.T @ targets) / self._penalized(penalty)[:, None])

    def _residuals(self, targets: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
        """Return the leave-one-out residual of each item, (F, C)."""
        constant = self.roots**2 / (self.roots**2).sum()
        leverage = self.coordinates**2 @ (1.0 / self._penalized(penalty)) + constant  # (F,)
        return np.asarray(
            (targets - self.coordinates @ self._slopes(targets, penalty)) / (1 - leverage)[:, None]
        )

    def _penalized(self, penalty: float) -> NDArray[np.float64]:
        """Return the scatter plus the penalty, (D,), over 0 even where every item has the same vector."""
        return np.asarray(self.scatter + max(penalty * self.scatter.mean(), _ZERO))


def select_penalty(fits: Sequence[TagRegression]) -> float:
    """Return the penalty with the smallest leave-one-out error in the mean over all tags."""

    def error(penalty: float) -> float:
        return float(sum(fit.errors(penalty).sum() for fit in fits))

    return min(_PENALTIES, key=error)


# Of ml-1m's tags on shuffled items none has a reliability above .07, and from .1 on 95 in 100 tags separate the held-out
# positives of validation users from those of others.
_LEAST_RELIABLE: Final = 0.1
# Directions with a larger cosine are redundant: "sci-fi" with "scifi" .77, "future" .87, "space" .81; with "action" .5.
_REDUNDANT: Final = 0.75
_SINGULAR = 1e-4  # of the largest: tags that cannot be moved apart
_SUGGESTED = 3


@dataclass(frozen=True, eq=False)
class ReferenceStatistics:
    """Mean (T,) and standard deviation (T,), float32, of the reference vectors along each tag."""

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TagDirections:
    """T tags as directions in the embedding space.

    A vector is projected on a direction and compared with reference vectors: items with items, users with training users
    of the same horizon. The strength of a tag is the z-score of that projection.

    Attributes:
        names: T, without two spellings of one tag.
        directions: (T, D) float32, along which the relevance of each tag grows by 1.
        reliability: (T,) float32 in [0, 1], the held-out correlation of predicted and observed tag relevance.
        references: Statistics of the reference vectors: ``items`` and, once measured, ``next`` and ``overall``.
    """

    names: tuple[str, ...]
    directions: NDArray[np.float32]
    reliability: NDArray[np.float32]
    references: Mapping[str, ReferenceStatistics]

    @classmethod
    def fit(
        cls, blocks: Sequence[TagBlock], vectors: NDArray[np.float32], users: NDArray[np.int64]
    ) -> TagDirections:
        """Fit a ridge regression of relevances on item vectors, with one penalty for all tags, selected by leave-one-out.

        Tags with a reliability under 0.1 are dropped, and of the spellings of one tag all but the most reliable.

        Args:
            blocks: Tags with their relevance to N items each.
            vectors: (N, D); rows of zeros are not fitted.
            users: (N,) training users of each item; n users give weight n / (n + 10).
        """
        valid = (users > 0) & vectors.any(axis=1)
        fits = [fit for block in blocks if (fit := TagRegression.fit(block, vectors, users)) is not None]
        penalty = select_penalty(fits)
        names = [name for fit in fits for name in fit.names]
        dim = vectors.shape[1]
        directions = np.concatenate([np.zeros((0, dim)), *(fit.directions(penalty) for fit in fits)])
        directions *= vectors.any(axis=0)  # exactly zero where all items are, not within rounding
        reliability = np.concatenate([np.zeros(0), *(fit.reliability(penalty) for fit in fits)])
        chosen = _most_reliable(names, reliability)
        fitted_tags = cls(
            tuple(names[tag] for tag in chosen),
            directions[chosen].astype(np.float32),
            reliability[chosen].astype(np.float32),
            {},
        )
        # An item counts as often as it was rated: else most items would be unpopular, and every popular one an outlier.
        return fitted_tags.with_reference("items", vectors[valid], weights=users[valid])

    def with_reference(
        self,
        reference: Reference,
        vectors: NDArray[np.float32],
        *,
        weights: NDArray[np.integer] | None = None,
    ) -> TagDirections:
        """Return the same directions with the statistics of reference vectors (B, D), each with its weight (B,)."""
        raw = vectors.astype(np.float64) @ self.directions.T.astype(np.float64)  # (B, T)
        shares = np.ones(len(raw)) if weights is None else weights.astype(np.float64)
        shares /= max(shares.sum(), 1.0)
        mean = shares @ raw
        deviation = np.sqrt(shares @ (raw - mean) ** 2)
        statistics = ReferenceStatistics(mean.astype(np.float32), deviation.astype(np.float32))
        return replace(self, references={**self.references, reference: statistics})

    def strengths(self, vectors: NDArray[np.float32], reference: Reference) -> NDArray[np.float64]:
        """Return the strength of each tag in each vector (B, D), (B, T): z-scores against the reference vectors."""
        means = self._reference(reference).mean * self._scale(reference)
        return self.strength_changes(vectors, reference) - means

    def strength_changes(self, moves: NDArray[np.floating], reference: Reference) -> NDArray[np.float64]:
        """Return how much the strengths change when vectors move by ``moves`` (..., D), (..., T)."""
        return np.asarray(moves.astype(np.float64) @ self.directions.T * self._scale(reference))

    def distinct(self, order: Iterable[int], count: int) -> list[int]:
        """Return the first ``count`` of these tags; of tags with the same direction or its opposite, only the first."""
        units = _unit(self.directions.astype(np.float64))
        chosen: list[int] = []
        for tag in order:
            if len(chosen) == count:
                break
            if not np.any(np.abs(units[chosen] @ units[tag]) > _REDUNDANT):
                chosen.append(tag)
        return chosen

    def steer(
        self,
        vector: NDArray[np.float32],
        amounts: Mapping[str, float],
        *,
        hold: float = 1.0,
        horizon: Horizon = "overall",
    ) -> NDArray[np.float32]:
        """Return a user's vector, (D,), moved so that the strength of each given tag changes by its amount.

        Of all moves that do this it is the one with the smallest sum of its own squared length and, weighted by ``hold``,
        the mean squared change of all other strengths, each weighted by its reliability. Tags with the same direction as
        a given one are free to follow it. Where given tags have the same direction, the result is nearest to all amounts.

        Args:
            vector: (D,).
            amounts: Standard deviations by tag, in any spelling; 0 holds a tag exactly.
            hold: In [0, 1], how strongly other tags stay constant.
            horizon: That of the vector.

        Raises:
            SettingsError: A tag is unknown, or a number is out of range.
        """
        if not 0 <= hold <= 1:
            raise SettingsError(
                f"hold: {hold}. Expected a number from 0 (move along the tag) to 1 (hold all other tags)"
            )
        tags = self._indices(amounts)
        if not len(tags):
            return np.array(vector, np.float32)
        along = self.directions.astype(np.float64) * self._scale(horizon)[:, None]  # (T, D), a strength each
        free = (np.abs(_unit(along) @ _unit(along[tags]).T) > _REDUNDANT).any(axis=1)
        held = np.where(free, 0.0, self.reliability)[:, None] * along
        scatter = held.T @ held  # (D, D)
        dim, size = len(scatter), np.trace(scatter)
        # The scatter as large as the identity, so that ``hold`` means the same whatever the vectors' scale.
        cost = np.eye(dim) + (hold * dim / size * scatter if size > 0 else 0.0)
        moves = np.linalg.solve(cost, along[tags].T)  # (D, given tags)
        targets = np.array(list(amounts.values()), np.float64)
        shares = np.linalg.pinv(along[tags] @ moves, rcond=_SINGULAR, hermitian=True) @ targets
        return np.asarray(vector + moves @ shares, np.float32)

    def save(self, path: Path) -> None:
        """Write the directions to ``path``."""
        arrays = {"directions": self.directions, "reliability": self.reliability}
        for reference, statistics in self.references.items():
            arrays |= {f"mean.{reference}": statistics.mean, f"deviation.{reference}": statistics.deviation}
        contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        save_file(contiguous, path, {HEADER: json.dumps(self.names, ensure_ascii=False)})

    @classmethod
    def load(cls, path: Path) -> TagDirections:
        """Read what ``save`` wrote.

        Raises:
            FormatError: It is missing or damaged.
        """
        arrays, metadata = read_arrays(path, TRAIN_AGAIN)
        names = read_header(path, metadata, list[str], TRAIN_AGAIN)
        references = [name.removeprefix("mean.") for name in arrays if name.startswith("mean.")]
        shapes: dict[str, tuple[str | int, ...]] = {"directions": ("T", "D"), "reliability": ("T",)}
        shapes |= {
            f"{part}.{reference}": ("T",) for reference in references for part in ("mean", "deviation")
        }
        check_shapes(path, arrays, shapes, TRAIN_AGAIN, sizes={"T": len(names)})
        statistics = {
            reference: ReferenceStatistics(arrays[f"mean.{reference}"], arrays[f"deviation.{reference}"])
            for reference in references
        }
        return cls(tuple(names), arrays["directions"], arrays["reliability"], statistics)

    def _indices(self, amounts: Mapping[str, float]) -> NDArray[np.int64]:
        """Return the index of each given tag."""
        known = {tag_key(name): tag for tag, name in enumerate(self.names)}
        for tag, amount in amounts.items():
            if not np.isfinite(amount):
                raise SettingsError(f"tag {tag!r}: {amount}. Expected a number of standard deviations")
            if tag_key(tag) not in known:
                raise SettingsError(f"tag {tag!r} is unknown. {self._suggestion(tag)}")
        return np.array([known[tag_key(tag)] for tag in amounts], np.int64)

    def _suggestion(self, tag: str) -> str:
        near = get_close_matches(tag.casefold(), [name.casefold() for name in self.names], _SUGGESTED)
        if near:
            spelled = {name.casefold(): name for name in self.names}
            return f"Did you mean {' or '.join(repr(spelled[name]) for name in near)}?"
        if not self.names:
            return "The model has no tags"
        best = [self.names[tag] for tag in np.argsort(-self.reliability, kind="stable")[:_SUGGESTED]]
        return f"Expected one of the {len(self.names)} tags of the model, such as {', '.join(best)}"

    def _scale(self, reference: str) -> NDArray[np.float64]:
        """Return standard deviations per unit, (T,); 0 where all reference vectors are alike, so that no strength differs from 0."""
        deviation = self._reference(reference).deviation.astype(np.float64)
        return np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0)

    def _reference(self, reference: str) -> ReferenceStatistics:
        if reference not in self.references:
            raise SettingsError(
                f"reference {reference!r} has no tag statistics. Expected one of {', '.join(self.references)}"
            )
        return self.references[reference]


def _most_reliable(names: Sequence[str], reliability: NDArray[np.float64]) -> list[int]:
    """Return the indices of the reliable tags, ascending; of the spellings of a tag the most reliable."""
    best: dict[str, int] = {}
    for tag in np.argsort(-reliability, kind="stable").tolist():
        if reliability[tag] >= _LEAST_RELIABLE:
            best.setdefault(tag_key(names[tag]), tag)
    return sorted(best.values())


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1.0))
