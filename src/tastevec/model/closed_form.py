"""The closed form: scores of item regressions, factors and popularity, and the user vectors that rank what they rank.

Dimensions: B users, M interactions, N items of the training, P items with weights, K weights of an item, F factors, R rating
bins, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

import numpy as np

from .list_solver import ListSolver, TopLists

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

TRANSFORMER: Final = "transformer"  # the component whose scores the encoder brings
LENGTHS: Final = {"overall": 150, "next": 100}  # items of a list
_FEW: Final = 5.0  # interactions at which popularity has lost about a third of its weight
_TIE: Final = np.float32(1e-3)  # of the mean user's scores, which order what nothing else does
_CELLS: Final = 1 << 20  # scores computed at once: 8 MB in double precision
_ALIKE: Final = 1e-9
DISLIKE_WEIGHT: Final = 0.4  # by default, as `tastevec.schema` has it: this module travels without it
# How a disliked item pushes away, chosen on validation users. At the default weight the lowest rating says no more that its
# item was chosen, and pushes with 0.4 of these shares of the largest amount. More confidence of iALS changes nothing.
_CHOSEN: Final = 1 / DISLIKE_WEIGHT
_AWAY: Final = 0.75
_AWAY_LAGGED: Final = 0.5  # of the latest items, which tell what follows rather than what is liked


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of B users: their interactions, oldest first, one user after the other.

    Attributes:
        lengths: (B,) interactions of each user.
        items: (M,) item indices in [0, N - 1].
        rating_bins: (M,) rating bins in [0, R]; R without a value.
    """

    lengths: NDArray[np.int64]
    items: NDArray[np.int64]
    rating_bins: NDArray[np.int64]

    @classmethod
    def of(
        cls, items: NDArray[np.int64], rating_bins: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> Known:
        """Return what padded rows (B, L) hold; items under 0 are not in it."""
        present = (np.arange(items.shape[1]) < lengths[:, None]) & (items >= 0)
        return cls(present.sum(axis=1), items[present], rating_bins[present])

    @property
    def owners(self) -> NDArray[np.int64]:
        """(M,) the user of each interaction."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    @property
    def lags(self) -> NDArray[np.int64]:
        """(M,) interactions of its user that follow each interaction."""
        return np.repeat(np.cumsum(self.lengths), self.lengths) - 1 - np.arange(len(self.items))

    def chunks(self, users: int) -> Iterator[tuple[slice, Known]]:
        """Yield some users at a time, with their positions."""
        offsets = np.concatenate([[0], np.cumsum(self.lengths)])
        for start in range(0, len(self.lengths), users):
            some = slice(start, min(start + users, len(self.lengths)))
            own = slice(offsets[some.start], offsets[some.stop])
            yield some, Known(self.lengths[some], self.items[own], self.rating_bins[own])


class Component(Protocol):
    """A model that scores the catalog, and is stored as arrays: a dataclass of them."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def score(
        self, known: Known, push: NDArray[np.float32] | float = 0.0, away: float = 0.0
    ) -> NDArray[np.float32]:
        """Return the scores (B, N).

        Args:
            known: The interactions.
            push: (R + 1,) how much the ratings of each bin push away, from 0 to 1.
            away: How far, as a share of the largest amount.
        """

    def fits(self, n_items: int, levels: int) -> bool:
        """Return whether the arrays are of so many items, and of ``levels`` rating bins."""


@dataclass(frozen=True, eq=False)
class SparseRegression:
    """An item regression of which each item keeps the weights that say most.

    Attributes:
        rows: (N,) int32, the row of each item in [0, P - 1]; -1 for an item that says nothing.
        targets: (P, K) int32 the items that each of them says most about.
        weights: (P, K) float32.
        inputs: (R + 1,) float32, how much an interaction counts, by rating bin.
        fading: (W,) float32, how much each of the newest interactions counts, newest first; empty: all alike.
    """

    rows: NDArray[np.int32]
    targets: NDArray[np.int32]
    weights: NDArray[np.float32]
    inputs: NDArray[np.float32]
    fading: NDArray[np.float32]

    def score(
        self, known: Known, push: NDArray[np.float32] | float = 0.0, away: float = 0.0
    ) -> NDArray[np.float32]:
        """Return the scores (B, N); see `Component`."""
        n, inputs = len(self.rows), _pushed(self.inputs, push, away)
        row, amount, owners = self.rows[known.items], inputs[known.rating_bins], known.owners
        read = row >= 0
        if len(self.fading):
            read &= known.lags < len(self.fading)
            amount = amount * self.fading[np.minimum(known.lags, len(self.fading) - 1)]
        row, amount, owners = row[read], amount[read], owners[read]
        cells = owners[:, None] * n + self.targets[row]  # (M, K)
        sums = np.bincount(
            cells.ravel(), (self.weights[row] * amount[:, None]).ravel(), minlength=len(known.lengths) * n
        )
        return sums.reshape(len(known.lengths), n).astype(np.float32)

    def fits(self, n_items: int, levels: int) -> bool:
        """Return whether the arrays are of so many items, and of ``levels`` rating bins."""
        return (
            (self.rows.shape, self.inputs.shape, self.fading.ndim) == ((n_items,), (levels,), 1)
            and self.targets.ndim == 2  # noqa: PLR2004  P x K
            and self.targets.shape == self.weights.shape
            and {self.rows.dtype.kind, self.targets.dtype.kind} == {"i"}
            and self.rows.max(initial=-1) < len(self.targets)
            and 0 <= self.targets.min(initial=0) <= self.targets.max(initial=0) < n_items
        )


@dataclass(frozen=True, eq=False)
class Factors:
    """Item factors of iALS, onto which a user is folded in (Hu, Koren & Volinsky 2008, equation 4).

    Attributes:
        factors: (N, F) float32.
        confidence: (R + 1,) float32, over that in an item without interaction, by rating bin.
        pull: (R + 1,) float32, weight of the factors on the right-hand side, by rating bin.
        ridge: (1,) float32.
    """

    factors: NDArray[np.float32]
    confidence: NDArray[np.float32]
    pull: NDArray[np.float32]
    ridge: NDArray[np.float32]

    @cached_property
    def _exact(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The factors in double precision, so that no score depends on the other users, and what all systems share."""
        factors = self.factors.astype(np.float64)
        return factors, factors.T @ factors + self.ridge[0] * np.eye(factors.shape[1])

    def score(
        self, known: Known, push: NDArray[np.float32] | float = 0.0, away: float = 0.0
    ) -> NDArray[np.float32]:
        """Return the scores (B, N); see `Component`."""
        pull, (factors, base) = _pushed(self.pull, push, away), self._exact
        found = np.zeros((len(known.lengths), len(base)))
        ends = np.cumsum(known.lengths)
        for user, (end, length) in enumerate(zip(ends.tolist(), known.lengths.tolist(), strict=True)):
            own = slice(end - length, end)
            bins, vectors = known.rating_bins[own], factors[known.items[own]]
            system = base + (vectors * self.confidence[bins, None]).T @ vectors
            found[user] = np.linalg.solve(system, pull[bins] @ vectors)
        return (found @ factors.T).astype(np.float32)

    def fits(self, n_items: int, levels: int) -> bool:
        """Return whether the arrays are of so many items, and of ``levels`` rating bins."""
        shapes = self.factors.shape[:1], self.confidence.shape, self.pull.shape, self.ridge.shape
        return shapes == ((n_items,), (levels,), (levels,), (1,)) and self.ridge[0] > 0


@dataclass(frozen=True, eq=False)
class FadingPopularity:
    """The logarithm of popularity, which weighs less the longer a history is.

    Attributes:
        logs: (N,) float32, standardized.
    """

    logs: NDArray[np.float32]

    def score(
        self,
        known: Known,
        push: NDArray[np.float32] | float = 0.0,  # noqa: ARG002  of the protocol
        away: float = 0.0,  # noqa: ARG002  as above
    ) -> NDArray[np.float32]:
        """Return the scores (B, N)."""
        weights = 1 / np.sqrt(1 + known.lengths / _FEW)
        return (weights[:, None] * self.logs).astype(np.float32)

    def fits(self, n_items: int, levels: int) -> bool:  # noqa: ARG002  of the protocol
        """Return whether the array is of so many items."""
        return self.logs.shape == (n_items,)


def reads_order(component: Component) -> bool:
    """Return whether a component reads the interactions in their order, and repeats of an item."""
    return isinstance(component, SparseRegression) and len(component.fading) > 0


def standardized(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return scores (B, N) of mean 0 and standard deviation 1 in each row; zeros where all are alike."""
    centered = scores - scores.mean(axis=1, keepdims=True)
    deviations = centered.std(axis=1, keepdims=True)
    return np.asarray(centered / np.where(deviations > _ALIKE, deviations, 1), np.float32)


def _pushed(
    amounts: NDArray[np.float32], push: NDArray[np.float32] | float, away: float
) -> NDArray[np.float32]:
    """Return what is left of the amounts that ratings count, (R + 1,) by rating bin; see `Component.score`."""
    return np.asarray(amounts - push * (_CHOSEN * amounts + away * amounts.max(initial=0)), np.float32)


_KINDS: Final = (SparseRegression, Factors, FadingPopularity)


@dataclass(frozen=True, eq=False)
class ClosedForm:
    """The weighted sum of standardized scores, and the item vectors against which a user is solved.

    Attributes:
        components: By name.
        weights: By horizon, the weight of each component's standardized scores; and in *next* that of the transformer, to which
            the standardized sum of all others is added.
        mean: (N,) float32, the mean *overall* scores of training users, which a short history is shrunk to.
        shrinkage: (2,) float32, the weight of the mean at no interaction, and the interactions after which it has faded to a
            1/e of that.
        ridge: (1,) float32, of the squared length of a user vector in the list loss.
        push: (R + 1,) float32, how far below the middle the ratings of a bin are, in (0, 1] there, else 0; of 0 throughout
            the weight of dislikes changes nothing.
        table: (N + A, D) float32 item vectors, of the items of the training and of A items that were added later.
        added: (A,) rows of the latter. They change no user vector; in a history, the nearest item of the training stands
            for each.
    """

    components: Mapping[str, Component]
    weights: Mapping[str, Mapping[str, float]]
    mean: NDArray[np.float32]
    shrinkage: NDArray[np.float32]
    ridge: NDArray[np.float32]
    push: NDArray[np.float32]
    table: NDArray[np.float32]
    added: Sequence[int] = ()

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """(N, D) the vectors of the items of the training."""
        return self.table[self._rows >= 0] if len(self.added) else self.table

    @cached_property
    def _rows(self) -> NDArray[np.int64]:
        """(N + A,) the index of each item among those of the training; -1 for an added one."""
        trained = np.ones(len(self.table), bool)
        trained[list(self.added)] = False
        return np.where(trained, np.cumsum(trained) - 1, -1)

    @cached_property
    def _solver(self) -> ListSolver:
        return ListSolver.of(self.vectors.astype(np.float64), float(self.ridge[0]))

    def reads_states(self, horizon: str) -> bool:
        """Return whether the transformer has a weight."""
        return TRANSFORMER in self.weights[horizon]

    def known(self, arrays: Mapping[str, NDArray[Any]]) -> tuple[Known, Known]:
        """Return the histories in their order, and each item once, of the arrays of `InputConfig.arrays`."""
        names = ("items", "rating_bins", "lengths")
        known = self._known(*(arrays[name] for name in names))
        if "overall_items" not in arrays:
            return known, known
        return known, self._known(*(arrays[f"overall_{name}"] for name in names))

    def _known(
        self, items: NDArray[np.int64], rating_bins: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> Known:
        rows = self._rows[items]
        if len(self.added):
            present = np.arange(items.shape[1]) < lengths[:, None]
            later = present & (rows < 0)
            rows[later] = self._nearest(items[later])
        return Known.of(rows, rating_bins, lengths)

    def _nearest(self, added: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the item of the training that is nearest to each added one by cosine; -1 for one without a vector."""
        names, place = np.unique(added, return_inverse=True)
        own, lengths = self.table[names], np.linalg.norm(self.vectors, axis=1)
        nearest = (own @ (self.vectors / np.where(lengths > 0, lengths, 1.0)[:, None]).T).argmax(axis=1)
        return np.where(own.any(axis=1), nearest, -1)[place]

    def scores(
        self,
        horizon: str,
        known: Known,
        once: Known,
        states: NDArray[np.float32] | None = None,
        dislike_weight: float = DISLIKE_WEIGHT,
    ) -> NDArray[np.float32]:
        """Return the scores (B, N), standardized for each user.

        Args:
            horizon: ``overall`` or ``next``.
            known: The interactions in their order, which the lagged regressions read.
            once: The interactions that all others read: each item once.
            states: (B, D) states of the transformer; None where it has no weight.
            dislike_weight: From 0 to 1, how much ratings below the middle push away.
        """
        push = np.float32(dislike_weight) * self.push
        total: NDArray[np.float32] = np.zeros((len(known.lengths), len(self.mean)), np.float32)
        weights = dict(self.weights[horizon])
        of_states = np.float32(weights.pop(TRANSFORMER, 0.0))
        for name, weight in weights.items():
            component = self.components[name]
            read, away = (known, _AWAY_LAGGED) if reads_order(component) else (once, _AWAY)
            total += np.float32(weight) * standardized(component.score(read, push, away))
        total = standardized(total)
        if states is not None:
            exact = states.astype(np.float64) @ self._solver.vectors.T  # for which no other user matters
            total += of_states * standardized(exact.astype(np.float32))
        shares = np.full(len(total), _TIE, np.float32)
        if horizon == "overall":
            most, fading = self.shrinkage.astype(np.float64)
            shares += (most * np.exp(-once.lengths / fading)).astype(np.float32)
        return standardized(total + shares[:, None] * self.mean)

    def encode(
        self,
        horizon: str,
        arrays: Mapping[str, NDArray[Any]],
        states: NDArray[np.float32] | None = None,
        dislike_weight: float = DISLIKE_WEIGHT,
    ) -> NDArray[np.float32]:
        """Return the user embeddings (B, D), whose inner products with the item vectors rank what the scores rank.

        Args:
            horizon: ``overall`` or ``next``.
            arrays: Of `InputConfig.arrays`.
            states: (B, D) states of the transformer; None where it has no weight.
            dislike_weight: From 0 to 1, how much ratings below the middle push away.
        """
        known, once = self.known(arrays)
        found = np.zeros((len(known.lengths), self.vectors.shape[1]), np.float32)
        users = max(1, _CELLS // max(len(self.mean), 1))
        for (some, read), (_, own) in zip(known.chunks(users), once.chunks(users), strict=True):
            of_some = None if states is None else states[some]
            scores = self.scores(horizon, read, own, of_some, dislike_weight)
            found[some] = self._solver.solve(TopLists.of(scores, own.owners, own.items, LENGTHS[horizon]))
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what `of` reads but the item vectors, each under the name of its component and its own."""
        named = {
            f"{name}_{part.name}": getattr(one, part.name)
            for name, one in self.components.items()
            for part in fields(one)
        }
        return {
            **named,
            "mean": self.mean,
            "shrinkage": self.shrinkage,
            "ridge": self.ridge,
            "push": self.push,
        }

    @classmethod
    def of(
        cls,
        arrays: Mapping[str, NDArray[Any]],
        weights: Mapping[str, Mapping[str, float]],
        table: NDArray[np.float32],
        added: Sequence[int],
        levels: int,
    ) -> ClosedForm:
        """Return the closed form of these arrays, as `arrays` names them, for ``levels`` rating bins, R + 1.

        Raises:
            ValueError: They are not those of a closed form of these item vectors.
        """
        parts: dict[str, dict[str, NDArray[Any]]] = {}
        for name, array in arrays.items():
            component, _, part = name.rpartition("_")
            parts.setdefault(component, {})[part] = array
        own, n_items = parts.pop("", {}), len(table) - len(added)
        components = {name: _component(name, one, n_items, levels) for name, one in parts.items()}
        named = {name for each in weights.values() for name in each} - {TRANSFORMER}
        shapes = {name: array.shape for name, array in own.items()}
        expected = {"mean": (n_items,), "shrinkage": (2,), "ridge": (1,), "push": (levels,)}
        if shapes != expected or {*weights} != {*LENGTHS} or not named <= components.keys():
            raise ValueError(f"components {sorted(components)}, weights {sorted(named)}, {shapes}")
        if not own["shrinkage"][1] > 0:
            raise ValueError(f"components {sorted(components)}, shrinkage {own['shrinkage'].tolist()}")
        return cls(components, weights, table=table, added=added, **own)


def _component(name: str, arrays: Mapping[str, NDArray[Any]], n_items: int, levels: int) -> Component:
    """Return the component of these arrays.

    Raises:
        ValueError: There is none, or the arrays do not fit each other.
    """
    for kind in _KINDS:
        if {part.name for part in fields(kind)} == arrays.keys():
            found: Component = kind(**arrays)
            if found.fits(n_items, levels):
                return found
    raise ValueError(f"component {name} of {', '.join(sorted(arrays))}")
