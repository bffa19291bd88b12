"""A genome for every film of a catalogue: measured where there is one, else predicted, and never one shown as the other.

Dimensions: N films, F of them with a genome, T tags, L levels of relevance, B films asked about.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tastevec.errors import DataError
from tastevec.items.genome_evidence import FilmEvidence
from tastevec.items.genome_regression import GenomeRegression, level_of
from tastevec.schema import ITEM_ID

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tastevec.items.genome import Genome
    from tastevec.items.genome_evidence import Factors

__all__ = ["CompleteGenome", "GenomeSource", "complete"]

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

    def standard_errors(self, films: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """(B, T) how far off the relevance of these films may be, by their positions (B,); 0 where measured.

        As far as films left out were off where the prediction was as high: that differs far more by the level (.04
        below .05, .2 from .5 to .7) than by how much is known of a film.
        """
        sources = self.sources[films, None]
        guessed = self.errors[level_of(self.relevance[films])]
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
    catalogue = items.take(pa.array(order))
    rows = genome.rows_of(catalogue[ITEM_ID])
    measured = np.flatnonzero(rows >= 0)
    if len(measured) < _FEWEST:
        raise DataError(
            f"{len(measured)} of the {len(items)} films of the catalogue have a genome; expected {_FEWEST} or more to "
            "learn from: name another genome with --genome"
        )
    known = FilmEvidence.of(catalogue, tags, genome.tags, factors and factors.take(order))
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
