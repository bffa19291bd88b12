"""Prediction of tag genome relevances for items without a genome row.

Dimensions: F films learned from, N films, C columns, T tags, R the rank of the features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tastevec.errors import DataError
from tastevec.items.content import content_vectors
from tastevec.schema import ITEM_ID, TAG, WEIGHT

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from tastevec.items.genome import Genome

__all__ = [
    "CompleteGenome",
    "Factors",
    "GenomeRegression",
    "GenomeSource",
    "ItemEvidence",
    "complete",
    "level_of",
    "row_correlations",
]

_PENALTIES: Final = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
_EDGES: Final = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7)  # of the levels of relevance whose errors are told apart
_BATCH_FILMS = 4096  # in double precision at once: 37 MB at 1,128 tags
_SILENT = 1e-9  # rounding leaves a constant row a little more than 0
_STEPS: Final = 5  # groups of equally many films, by their evidence


@dataclass(frozen=True, eq=False)
class GenomeRegression:
    """A ridge regression of all tags on a film's features, moved towards 1 where people applied a tag by its name.

    Attributes:
        center: (C,) the mean features of the films learned from.
        mean: (T,) their mean relevance, which a film at the centre is given.
        slopes: (C, T).
        by_name: (2,) the share of what is missing to 1 that a tag gains once people applied it, and for each
            logarithm of how often.
        left_out: (F, T) what each film learned from would have been given without its own genome.
    """

    center: NDArray[np.float64]
    mean: NDArray[np.float64]
    slopes: NDArray[np.float64]
    by_name: NDArray[np.float64]
    left_out: NDArray[np.float64]

    @classmethod
    def fit(
        cls, features: NDArray[np.float64], applied: csr_matrix, relevance: NDArray[np.float64]
    ) -> GenomeRegression:
        """Learned from films with a genome, with the penalty whose predictions of films left out are nearest.

        Args:
            features: (F, C).
            applied: (F, T) how often people applied each tag by its name.
            relevance: (F, T) in [0, 1].

        Source: the films left out one by one follow from one decomposition (Hastie, Tibshirani and Friedman 2009,
        section 7.10, on linear smoothers).
        """
        center, mean = features.mean(axis=0), relevance.mean(axis=0)
        left, values, right = np.linalg.svd(features - center, full_matrices=False)  # (F, R), (R,), (R, C)
        wanted = left.T @ (relevance - mean)  # (R, T)

        def leave_out(penalty: float) -> NDArray[np.float64]:
            kept = values**2 / (values**2 + penalty)
            own = left**2 @ kept + 1 / len(features)  # (F,) how much of its own value each film's fit is
            off = relevance - mean - left @ (kept[:, None] * wanted)
            return np.asarray(relevance - off / (1 - own)[:, None])

        penalty = min(_PENALTIES, key=lambda tried: float(((leave_out(tried) - relevance) ** 2).sum()))
        slopes = right.T @ ((values / (values**2 + penalty))[:, None] * wanted)
        left_out = np.clip(leave_out(penalty), 0.0, 1.0)
        by_name = _learn_by_name(left_out, applied, relevance)
        return cls(center, mean, slopes, by_name, _move(left_out, applied, by_name))

    def predict(self, features: NDArray[np.float64], applied: csr_matrix) -> NDArray[np.float32]:
        """(N, T) in [0, 1], of films with features (N, C) and tags applied by name (N, T)."""
        given = np.empty((len(features), len(self.mean)), np.float32)
        for start in range(0, len(features), _BATCH_FILMS):
            items = slice(start, start + _BATCH_FILMS)
            from_features = np.clip((features[items] - self.center) @ self.slopes + self.mean, 0.0, 1.0)
            given[items] = _move(from_features, applied[items], self.by_name)
        return given

    def expect(
        self, relevance: NDArray[np.float64], evidence: NDArray[np.float64], asked: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """How well films are predicted of which as much is known as of those asked about.

        Films are left out one by one, and what they are given correlated over tags with their genome, the mean of all
        films taken from both: 0 says no more than the mean, 1 all. The means of groups of like evidence are joined by
        lines; more evidence never counts for less.

        Args:
            relevance: (F, T) as it was learned from.
            evidence: (F,) of the same films.
            asked: (N,) evidence of others.

        Returns:
            (N,) in [0, 1].
        """
        from sklearn.isotonic import IsotonicRegression  # noqa: PLC0415 - 1 s to import, and an extra

        found = row_correlations(self.left_out - self.mean, relevance - self.mean)
        edges = np.quantile(evidence, np.arange(1, _STEPS) / _STEPS)
        group = np.searchsorted(edges, evidence, side="right")  # films of equal evidence stay together
        size = np.bincount(group)
        full = size > 0
        known, mean = (np.bincount(group, value)[full] / size[full] for value in (evidence, found))
        rising = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
        return np.asarray(rising.fit(known, mean, size[full]).predict(asked))

    def errors(self, relevance: NDArray[np.float64]) -> NDArray[np.float64]:
        """The standard error at each level of predicted relevance, of films left out; the mean one where none was."""
        squares, levels = (self.left_out - relevance).ravel() ** 2, level_of(self.left_out).ravel()
        count = np.bincount(levels, minlength=len(_EDGES) + 1)
        total = np.bincount(levels, squares, minlength=len(_EDGES) + 1)
        return np.asarray(np.sqrt((total + squares.mean()) / (count + 1)))


def level_of(relevance: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """The level of each relevance, from 0, as ``GenomeRegression.errors`` counts them."""
    return np.asarray(np.digitize(relevance, _EDGES))


def row_correlations(one: NDArray[np.floating[Any]], other: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """(N,) Pearson's correlation of each row of one with the same row of the other; 0 where a row is constant.

    Examples:
        >>> row_correlations(np.array([[1, 2, 3], [1, 1, 1]]), np.array([[2, 4, 6], [1, 2, 3]]))
        array([1., 0.])
    """
    one, other = (side - side.mean(axis=1, keepdims=True) for side in (one, other))
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    products = (one * other).sum(axis=1)
    return np.asarray(np.divide(products, lengths, out=np.zeros(len(lengths)), where=lengths > _SILENT))


def _learn_by_name(
    given: NDArray[np.float64], applied: csr_matrix, relevance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(2,) least squares over the tags that were applied; zeros where none was."""
    cells = applied.tocoo()
    place = (cells.row, cells.col)
    room = 1 - given[place]
    said = np.stack([room, room * np.log1p(cells.data)], axis=1)
    learned: NDArray[np.float64] = np.linalg.lstsq(said, relevance[place] - given[place], rcond=None)[0]
    return learned


def _move(
    given: NDArray[np.float64], applied: csr_matrix, by_name: NDArray[np.float64]
) -> NDArray[np.float64]:
    moved, cells = given.copy(), applied.tocoo()
    place = (cells.row, cells.col)
    moved[place] += (by_name[0] + by_name[1] * np.log1p(cells.data)) * (1 - given[place])
    return np.clip(moved, 0.0, 1.0)


# Numbers of content a film. Cross-validated on 208 films: the correlation over tags beyond the mean genome is .565 with
# 64, .568 with 128, .574 with 256, and .578 with all words, which a whole genome's 13,000 films would make slow.
_DIM = 256
_SHRINKAGE = 10.0  # people at whom a film's factors count half, as in `initial_vectors`


@dataclass(frozen=True, eq=False)
class Factors:
    """What training people's ratings say of N films.

    Attributes:
        vectors: (N, D) as ``als_factors`` gives them.
        counts: (N,) training people a film, as ``item_counts`` gives them.
    """

    vectors: NDArray[np.float32]
    counts: NDArray[np.int64]

    def take(self, items: NDArray[np.int64]) -> Factors:
        """The factors of these films, by their positions."""
        return Factors(self.vectors[items], self.counts[items])


@dataclass(frozen=True, eq=False)
class ItemEvidence:
    """What is known of N films.

    Attributes:
        features: (N, C) float64, zeros of what is not known: the average of the films of which it is.
        applied: (N, T) how often people applied a tag of the genome by its very name.
        evidence: (N,) the logarithm of how often people applied any tag, and of how many rated the film.
        anything: (N,) whether there is anything at all to go by.
    """

    features: NDArray[np.float64]
    applied: csr_matrix
    evidence: NDArray[np.float64]
    anything: NDArray[np.bool_]

    @classmethod
    def of(
        cls, items: pa.Table, tags: pa.Table, names: tuple[str, ...], factors: Factors | None
    ) -> ItemEvidence:
        """Gathered from the films' metadata, what was said of them, and the genome's T names of tags."""
        told = _told(items, tags)
        content = content_vectors(items, told, dim=_DIM).astype(np.float64)
        counts = np.zeros(len(items), np.int64) if factors is None else factors.counts
        blocks = [content] if factors is None else [content, _directions(factors)]
        applied, weight = _applied(names, items, told)
        return cls(
            features=np.hstack(blocks),
            applied=applied,
            evidence=np.log1p(weight) + np.log1p(counts),
            anything=content.any(axis=1) | (weight > 0) | (counts > 0),
        )


def _told(items: pa.Table, tags: pa.Table) -> pa.Table:
    """What was said of these films and counts for something, in one order, so that sums come out alike."""
    columns = tags.select([ITEM_ID, TAG, WEIGHT])
    columns = columns.set_column(0, ITEM_ID, columns[ITEM_ID].cast(items[ITEM_ID].type))
    ours = pc.is_in(columns[ITEM_ID], items[ITEM_ID].combine_chunks())
    return columns.filter(pc.and_(ours, pc.greater(columns[WEIGHT], 0))).sort_by(
        [(name, "ascending") for name in (ITEM_ID, TAG, WEIGHT)]
    )


def _applied(
    names: tuple[str, ...], items: pa.Table, told: pa.Table
) -> tuple[csr_matrix, NDArray[np.float64]]:
    """(N, T) how often each tag of the genome was applied by its name, and (N,) how often any tag."""
    from scipy import sparse  # noqa: PLC0415 - an extra

    indices = pc.index_in(told[ITEM_ID], items[ITEM_ID].combine_chunks()).to_numpy()
    columns = pc.fill_null(pc.index_in(told[TAG], pc.utf8_lower(pa.array(names, pa.string()))), -1).to_numpy()
    weights = told[WEIGHT].to_numpy()
    named = columns >= 0
    entries = (weights[named], (indices[named], columns[named]))
    applied = sparse.csr_matrix(entries, shape=(len(items), len(names)))  # sums repeated entries
    return applied, np.bincount(indices, weights, minlength=len(items)).astype(np.float64)


def _directions(factors: Factors) -> NDArray[np.float64]:
    """(N, D) factors of length 1 less their mean, shrunk to 0 where few people stand behind them.

    Less their mean, for a film that nobody rated is nothing known and not the opposite of a popular one.
    """
    vectors, counts = factors.vectors.astype(np.float64), factors.counts
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(lengths > 0, lengths, 1.0)
    rated = (counts > 0) & (lengths[:, 0] > 0)
    mean = unit[rated].mean(axis=0) if rated.any() else 0.0
    trust = np.where(rated, np.sqrt(counts / (counts + _SHRINKAGE)), 0.0)
    return np.asarray(trust[:, None] * (unit - mean))


GenomeSource = Literal["none", "predicted", "genome"]
_SOURCES: Final[tuple[GenomeSource, ...]] = get_args(GenomeSource)
_FEWEST = 10  # films with a genome: from fewer nothing is learned


@dataclass(frozen=True, eq=False)
class CompleteGenome:
    """How well T tags fit each of N films, and how far that can be believed.

    Attributes:
        item_ids: (N,) in the order of the catalogue.
        tags: The T tags of the genome.
        relevance: (N, T) float32 in [0, 1].
        sources: (N,) str: "genome" was measured, "predicted" is learned from what is known of the film, "none" is the
            mean of all measured films, given to a film of which nothing is known.
        confidence: (N,) float32: 1 where measured; where predicted, the expected correlation over tags with what a
            measurement would say, the mean of all films taken from both; 0 where nothing is known. It goes by how much
            is known of the film, not by how unlike the measured films it is.
        errors: (L,) standard error of each level of predicted relevance.
        spread: (T,) standard deviation of each tag over the measured films.
    """

    item_ids: pa.Array
    tags: tuple[str, ...]
    relevance: NDArray[np.float32]
    sources: NDArray[np.str_]
    confidence: NDArray[np.float32]
    errors: NDArray[np.float64]
    spread: NDArray[np.float64]

    @property
    def measured(self) -> NDArray[np.bool_]:
        """(N,) whether a film's relevance was measured."""
        return np.asarray(self.sources == "genome")

    def standard_errors(self, items: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """(B, T) how far off the relevance of these films may be, by their positions (B,); 0 where measured.

        As far as films left out were off where the prediction was as high: that differs far more by the level (.04
        below .05, .2 from .5 to .7) than by how much is known of a film.
        """
        sources = self.sources[items, None]
        guessed = self.errors[level_of(self.relevance[items])]
        return np.select([sources == "genome", sources == "none"], [np.zeros(1), self.spread], guessed)


def complete(
    genome: Genome, items: pa.Table, tags: pa.Table, *, factors: Factors | None = None
) -> CompleteGenome:
    """The genome of every film of the catalogue, learned from those that have one.

    The order of the films and of what was said of them changes no bit of the answer.

    Args:
        genome: Of some films of the catalogue; films that are not in it are passed over.
        items: N films with ``item_id``, ``title``, ``year``, ``genres``.
        tags: What was said of films, ``item_id``, ``tag``, ``weight``; films not in ``items`` are passed over. Leave
            out the tags of people who must stay unseen.
        factors: What training people say of the films, in the order of ``items``.

    Raises:
        DataError: Fewer than 10 films of the catalogue have a genome.
    """
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - comes with scikit-learn

    order = pc.sort_indices(items[ITEM_ID]).to_numpy().astype(np.int64)
    catalog = items.take(pa.array(order))
    rows = genome.rows_of(catalog[ITEM_ID])
    measured = np.flatnonzero(rows >= 0)
    if len(measured) < _FEWEST:
        raise DataError(
            f"{len(measured)} of the {len(items)} films of the catalogue have a genome; expected {_FEWEST} or more to "
            "learn from: name another genome with --genome"
        )
    known = ItemEvidence.of(catalog, tags, genome.tags, factors and factors.take(order))
    truth = genome.relevance[rows[measured]].astype(np.float64)  # (F, T)
    with threadpool_limits(1, "blas"):  # sums over another number of threads differ in their last bits
        model = GenomeRegression.fit(known.features[measured], known.applied[measured], truth)
        relevance = model.predict(known.features, known.applied)  # (N, T)
    relevance[~known.anything] = model.mean
    relevance[measured] = genome.relevance[rows[measured]]
    expected = model.expect(truth, known.evidence[measured], known.evidence)
    confidence = np.where(rows >= 0, 1.0, np.where(known.anything, expected, 0.0)).astype(np.float32)
    kind = np.where(rows >= 0, 2, np.where(known.anything, 1, 0))
    back = np.argsort(order)
    return CompleteGenome(
        item_ids=items[ITEM_ID].combine_chunks(),
        tags=genome.tags,
        relevance=relevance[back],
        sources=np.array(_SOURCES)[kind][back],
        confidence=confidence[back],
        errors=model.errors(truth),
        spread=truth.std(axis=0),
    )
