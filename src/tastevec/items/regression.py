"""Item regression: which films people want who have seen a film, in closed form, each rating by its grade.

Dimensions: B people, N films of the catalogue, P films that are fitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tastevec.errors import MissingExtraError, SettingsError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy import sparse

    from tastevec.data.histories import Histories
    from tastevec.items.linear import LinearSettings

__all__ = ["ItemRegression", "matrix_of"]

_MOST_FILMS = (
    10_000  # P x P is then 800 MB in double precision while it is inverted, and twice 400 MB afterwards
)
_BLOCK_FILMS = 512  # rows of a product made at once: 40 MB of sparse numbers at the most
_LEAST_SHARE = 0.1  # of the mean film's ridge, for a film that nobody has seen


@dataclass(frozen=True, eq=False)
class ItemRegression:
    """What is expected of a person from the films that he has seen.

    EASE (Steck 2019) with three changes, each of which helps on ml-1m's validation people: a film counts as input by
    how much it says that it was seen at all and as output by how much it was liked, so that the two sides of the
    regression differ; and the ridge grows with a film's popularity.

    Attributes:
        films: (P,) the films that are fitted, ascending: the 10,000 most seen.
        weights: (P, P) float32, from a film that was seen to a film that may be liked; the diagonal is zero.
    """

    films: NDArray[np.int64]
    weights: NDArray[np.float32]

    @classmethod
    def fit(cls, histories: Histories, item_count: int, settings: LinearSettings) -> ItemRegression:
        """Least squares of how much films were liked on which others were seen.

        With X the grades of what was seen, Y those of what was liked and C the inverse of ``X'X + ridge``, the weights
        are ``C X'Y`` less ``C`` times whatever brings the diagonal to zero (the Lagrange multipliers of Steck 2019,
        equation 8).

        Raises:
            SettingsError: The ridge is lost in the rounding of what stands beside it.
        """
        counts = np.bincount(histories.items, minlength=item_count)
        films = np.sort(np.argsort(-counts, kind="stable")[: min(_MOST_FILMS, np.count_nonzero(counts))])
        gram = _products(histories, films, item_count, settings, "seen", np.float64)
        diagonal = gram.diagonal().astype(np.float32)
        popularity = diagonal / max(float(diagonal.mean()), 1e-9) if len(films) else np.zeros(0)
        gram[np.diag_indices_from(gram)] = diagonal + (
            settings.ridge * (popularity + _LEAST_SHARE) ** settings.ridge_power
        ).astype(np.float32)
        inverse = _inverted(gram)
        del gram  # overwritten, and twice the size of all that follows
        weights = inverse @ _products(histories, films, item_count, settings, "wanted", np.float32)
        inverse *= weights.diagonal() / inverse.diagonal()
        weights -= inverse
        np.fill_diagonal(weights, 0.0)  # else rounding leaves some
        return cls(films, weights)

    def into(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, D) what each film that was seen adds to ``vectors' times what is expected``; zeros where not fitted."""
        made = np.zeros_like(vectors)
        made[self.films] = self.weights @ vectors[self.films]
        return made

    def out_of(self, read: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, D) what is expected of each film by ``read`` (N, D), a sum over people of what they have seen."""
        made = np.zeros_like(read)
        made[self.films] = self.weights.T @ read[self.films]
        return made


def matrix_of(histories: Histories, values: NDArray[np.float32], item_count: int) -> sparse.csr_matrix:
    """(B, N) one value for each interaction.

    Raises:
        MissingExtraError: SciPy is not installed.
    """
    try:
        from scipy import sparse as sparse_  # noqa: PLC0415  an extra
    except ImportError as error:
        raise MissingExtraError("scipy", "train") from error
    entries = (values, histories.items, histories.offsets)
    return sparse_.csr_matrix(entries, shape=(len(histories), item_count))


def _products(
    histories: Histories,
    films: NDArray[np.int64],
    item_count: int,
    settings: LinearSettings,
    what: Literal["seen", "wanted"],
    kind: type[np.floating[Any]],
) -> NDArray[Any]:
    """(P, P) of these films ``X'Y``, with X the grades of what was seen and Y those of ``what``; a few films at a time."""
    seen = matrix_of(histories, settings.graded(histories.ratings, "seen"), item_count)[:, films]
    others = (
        seen
        if what == "seen"
        else matrix_of(histories, settings.graded(histories.ratings, what), item_count)[:, films]
    )
    by_film = seen.T.tocsr()
    made = np.empty((len(films), len(films)), kind)
    for start in range(0, len(films), _BLOCK_FILMS):
        made[start : start + _BLOCK_FILMS] = (by_film[start : start + _BLOCK_FILMS] @ others).toarray()
    return made


def _inverted(gram: NDArray[np.float64]) -> NDArray[np.float32]:
    """(P, P) the inverse of a symmetric positive definite matrix, which is overwritten: in double precision, and in its own room."""
    from scipy.linalg import lapack  # noqa: PLC0415  an extra

    inverse = np.empty(gram.shape, np.float32)
    if len(gram):
        factor, failed = lapack.dpotrf(gram.T, overwrite_a=1)  # as LAPACK lays matrices out
        if failed:
            raise SettingsError(
                f"the regression among {len(gram)} films has no solution at its film {failed}; expected a ridge large enough "
                "for single precision: set a larger one"
            )
        upper, _ = lapack.dpotri(factor, overwrite_c=1)
        for row in range(len(gram)):
            inverse[row, row:] = inverse[row:, row] = upper[row, row:]
    return inverse
