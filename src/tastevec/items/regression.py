"""Item regressions in closed form: what users want, from all their items or from the latest ones.

Dimensions: B users, N items, P fitted items, M interactions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tastevec.errors import MissingExtraError, SettingsError
from tastevec.items.linalg import one_blas_thread

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from tastevec.data.histories import Histories

MAX_ITEMS = 10_000  # P x P is then 400 MB, of which there are two
_LEAST_SHARE = 0.1  # of the mean item's ridge, for an item that hardly anybody has
_NOTHING = 1e-9  # mean sum of squares where nobody has anything


@dataclass(frozen=True)
class Lags:
    """How a history is read in its order: as an input its latest items, as a target the items that follow.

    Attributes:
        decay: An input weighs ``(1 + lag) ** -decay``, where the latest item has lag 0.
        newest: Latest items that are read.
        lead: A target weighs ``lead ** k``, where the next item has k = 0.
        ahead: Following items that are targets.
    """

    decay: float = 0.8
    newest: int = 40
    lead: float = 0.5
    ahead: int = 5

    def weights(self, histories: Histories) -> NDArray[np.float32]:
        """Return the weight of each interaction by its lag, (M,); 0 of those that are not read."""
        lags = np.repeat(histories.offsets[1:], histories.lengths) - 1 - np.arange(histories.offsets[-1])
        return np.where(lags < self.newest, (1.0 + lags) ** -self.decay, 0.0).astype(np.float32)

    @property
    def fading(self) -> NDArray[np.float64]:
        """(W,) the weight of each of the newest interactions, newest first."""
        return np.asarray((1.0 + np.arange(self.newest)) ** -self.decay)


@dataclass(frozen=True, eq=False)
class ItemProducts:
    """The sums that an item regression solves: of ``x x'`` and ``x y'``, of inputs x and targets y.

    Attributes:
        items: (P,) indices of the fitted items, ascending: the 10,000 with the most interactions.
        n_items: N.
        gram: (P, P) float32, of x x'.
        targets: (P, P) float32, of x y'.
        lags: How the order is read; None: a history is a set.
    """

    items: NDArray[np.int64]
    n_items: int
    gram: NDArray[np.float32]
    targets: NDArray[np.float32]
    lags: Lags | None

    @classmethod
    def of(
        cls,
        histories: Histories,
        inputs: NDArray[np.float32],
        wanted: NDArray[np.float32],
        n_items: int,
        *,
        user_power: float = 0.5,
        lags: Lags | None = None,
    ) -> ItemProducts:
        """Sum over the histories of the training users.

        Args:
            histories: B users, oldest interaction first, M interactions.
            inputs: (M,) weight of each interaction as an input, at least 0.
            wanted: (M,) weight of each interaction as a target.
            n_items: N.
            user_power: A user of n interactions weighs ``n ** -user_power``, so that long histories do not decide alone.
            lags: How the order is read; None: a history is a set.

        Raises:
            MissingExtraError: SciPy is not installed.
        """
        counts = np.bincount(histories.items, minlength=n_items)
        items = np.sort(np.argsort(-counts, kind="stable")[: min(MAX_ITEMS, np.count_nonzero(counts))])
        rows = np.full(n_items, -1)
        rows[items] = np.arange(len(items))
        fitted = _Fitted.of(histories, rows[histories.items], inputs, wanted, user_power)
        if lags is None:
            gram, targets = fitted.products(len(items))
        else:
            gram, targets = fitted.lagged_products(len(items), lags)
        return cls(items, n_items, gram, targets, lags)

    def solve(self, ridge: float, power: float = 0.75) -> ItemRegression:
        """Return the regression.

        Args:
            ridge: Ridge at an item of mean popularity, as a multiple of the mean sum of squares of an item, over 0.
            power: Power of popularity with which the ridge grows.

        Raises:
            SettingsError: The ridge is not over 0, or below the rounding error of single precision.
        """
        if not ridge > 0:
            raise SettingsError(f"ridge: {ridge}. Expected a number over 0.")
        with one_blas_thread():
            factor = _cholesky(self.gram, ridge, power)
        return ItemRegression(self.items, self.n_items, factor, self.targets, self.lags)


@dataclass(frozen=True, eq=False)
class ItemRegression:
    """Least squares of what follows in a history, or belongs to it, on what is known of it.

    With G the sums of ``x x'`` and R those of ``x y'``, the weights are ``(G + ridge)^-1 R``. Without order an item
    predicts itself too: its score is meaningless in its own history.

    Attributes:
        items: (P,) indices of the fitted items, ascending.
        n_items: N.
        factor: (P, P) float32, the Cholesky factor of ``G + ridge``.
        targets: (P, P) float32, R.
        lags: How the order is read.

    Source: without order EASE (Steck 2019) with two different sides; with it SLIST's item transitions (Choi et al. 2021,
    "Session-aware Linear Item-Item Models"), where both sides fade.
    """

    items: NDArray[np.int64]
    n_items: int
    factor: NDArray[np.float32]
    targets: NDArray[np.float32]
    lags: Lags | None

    def score(self, histories: Histories, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the scores of all items (B, N), 0 for those that are not fitted.

        Args:
            histories: B users, M interactions.
            inputs: (M,) weight of each interaction as an input.
        """
        from scipy.linalg import cho_solve  # noqa: PLC0415  an extra

        scores = np.zeros((len(histories), self.n_items), np.float32)
        if len(self.items):
            read = input_matrix(histories, inputs, self.n_items, self.lags)
            known = read[:, self.items].toarray()  # (B, P)
            with one_blas_thread():
                weights = cho_solve((self.factor, True), known.T, overwrite_b=True, check_finite=False)
                scores[:, self.items] = weights.T @ self.targets
        return scores

    def strongest(
        self, count: int, factors: NDArray[np.float32]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the items that each input item says most about, and the weights, (P, K) each.

        Args:
            count: K; fewer if fewer items are fitted.
            factors: (N,) of the scores of each item, over 0: applied before the strongest are chosen.
        """
        from scipy.linalg import cho_solve  # noqa: PLC0415  an extra

        kept = min(count, len(self.items))
        strongest = np.zeros((len(self.items), kept), np.int64)
        weights = np.zeros((len(self.items), kept), np.float32)
        if len(self.items):
            with one_blas_thread():
                targets = self.targets * factors[self.items]
                every = cho_solve((self.factor, True), targets, overwrite_b=True, check_finite=False)
            for start in range(0, len(self.items), _BLOCK_ITEMS):
                some = slice(start, start + _BLOCK_ITEMS)
                rows = every[some]
                strongest[some] = np.argpartition(-np.abs(rows), kept - 1, axis=1)[:, :kept]
                weights[some] = np.take_along_axis(rows, strongest[some], 1)
        return self.items[strongest].astype(np.int32), weights


def interaction_matrix(histories: Histories, values: NDArray[np.float32], n_items: int) -> csr_matrix:
    """Return one value per interaction, (B, N).

    Raises:
        MissingExtraError: SciPy is not installed.
    """
    try:
        from scipy import sparse as sparse_  # noqa: PLC0415  an extra
    except ImportError as error:
        raise MissingExtraError("scipy", "train") from error
    entries = (values, histories.items, histories.offsets)
    return sparse_.csr_matrix(entries, shape=(len(histories), n_items))


def input_matrix(
    histories: Histories, inputs: NDArray[np.float32], n_items: int, lags: Lags | None
) -> csr_matrix:
    """Return what is read of each history, (B, N): the weight of each interaction (M,), times that of its lag."""
    if lags is not None:
        faded = inputs * lags.weights(histories)
        histories, inputs = histories.keep(faded > 0), faded[faded > 0]
    return interaction_matrix(histories, inputs, n_items)


@dataclass(frozen=True, eq=False)
class _Fitted:
    """The M interactions with fitted items of B users.

    Attributes:
        offsets: (B + 1,) the interactions of each user.
        rows: (M,) row of the item among the fitted ones.
        inputs: (M,) weight as an input.
        wanted: (M,) weight as a target.
        users: (B,) weight of each user.
    """

    offsets: NDArray[np.int64]
    rows: NDArray[np.int64]
    inputs: NDArray[np.float32]
    wanted: NDArray[np.float32]
    users: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        histories: Histories,
        rows: NDArray[np.int64],
        inputs: NDArray[np.float32],
        wanted: NDArray[np.float32],
        user_power: float,
    ) -> _Fitted:
        kept = rows >= 0
        offsets = np.concatenate([[0], np.cumsum(kept)])[histories.offsets]
        lengths = np.diff(offsets)
        mean = lengths.mean() if len(lengths) else 1.0
        users = (np.maximum(lengths, 1) / max(mean, 1.0)) ** -user_power
        return cls(offsets, rows[kept], inputs[kept], wanted[kept], users.astype(np.float32))

    def products(self, n: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the sums of x x' and x y', (P, P) each, of histories read as sets."""
        from scipy import sparse  # noqa: PLC0415  an extra

        root = np.repeat(np.sqrt(self.users), np.diff(self.offsets))
        x, y = (
            sparse.csr_matrix((values * root, self.rows, self.offsets), shape=(len(self.users), n))
            for values in (self.inputs, self.wanted)
        )
        by_item = x.T.tocsr()
        found = tuple(np.empty((n, n), np.float32) for _ in range(2))
        for start in range(0, n, _BLOCK_ITEMS):
            some = slice(start, start + _BLOCK_ITEMS)
            for products, others in zip(found, (x, y), strict=True):
                products[some] = (by_item[some] @ others).toarray()
        return found[0], found[1]

    def lagged_products(self, n: int, lags: Lags) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the sums of x x' and x y', (P, P) each, over every moment of every history.

        A pair of interactions d steps apart meets at many moments with the weights of both: their sum depends on d and on
        how many moments there are, so that the work is the number of interactions times that of lags.
        """
        gram, targets = (np.zeros((n, n), np.float32) for _ in range(2))
        lengths = np.diff(self.offsets)
        left = (
            np.repeat(self.offsets[1:], lengths) - 1 - np.arange(len(self.rows))
        )  # interactions that follow
        users = np.repeat(self.users, lengths)
        fading = lags.fading
        leading = lags.lead ** np.arange(lags.ahead)
        for apart in range(lags.newest + lags.ahead):
            first = np.flatnonzero(left >= apart)
            second = first + apart
            at = self.rows[first] * n + self.rows[second]
            if apart < lags.newest:  # both are inputs at every moment from the second on
                both = np.concatenate([[0.0], np.cumsum(fading[: lags.newest - apart] * fading[apart:])])
                moments = np.minimum(lags.newest - apart, left[first] - apart + 1)
                value = self.inputs[first] * self.inputs[second] * both[moments] * users[first]
                np.add.at(gram.reshape(-1), at, value.astype(np.float32))
            if not apart:
                own = gram.diagonal().copy()
            else:  # the first is an input and the second still a target
                lag = np.arange(max(0, apart - lags.ahead), min(lags.newest, apart))
                weight = float(fading[lag] @ leading[apart - 1 - lag])
                value = self.inputs[first] * self.wanted[second] * weight * users[first]
                np.add.at(targets.reshape(-1), at, value.astype(np.float32))
        gram += gram.T.copy()
        gram[np.diag_indices(n)] -= own  # a moment's pair of an interaction with itself is one, not two
        return gram, targets


_BLOCK_ITEMS = 512  # rows of a product computed at once: 40 MB of sparse numbers at the most


def _cholesky(gram: NDArray[np.float32], ridge: float, power: float) -> NDArray[np.float32]:
    """Return the lower Cholesky factor of the sums of squares (P, P) with their ridge."""
    try:
        from scipy.linalg import LinAlgError, cho_factor  # noqa: PLC0415  an extra
    except ImportError as error:
        raise MissingExtraError("scipy", "train") from error

    systems = gram.copy()
    if not len(systems):
        return systems
    diagonal = gram.diagonal()
    mean = max(float(diagonal.mean()), _NOTHING)
    systems[np.diag_indices_from(systems)] += ridge * mean * (diagonal / mean + _LEAST_SHARE) ** power
    try:
        return np.asarray(cho_factor(systems, lower=True, overwrite_a=True, check_finite=False)[0])
    except LinAlgError as error:
        raise SettingsError(
            f"ridge: the regression among {len(gram)} items is singular at a ridge of {ridge:g}. "
            "Expected one above the rounding error of single precision. Set a larger ridge."
        ) from error
