"""Behavior: what a model makes of low ratings, of one item, of repeats, of order and of halves of a history.

Ranking metrics count held-out positives. They do not show whether a low rating matters, or whether two halves of a history
have similar vectors. `measure_behavior` measures that on held-out users, for each horizon.

Dimension letters: B users, M interactions, H held-out interactions, N items, D dimensions, C categories, P probes, K ranks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tastevec.data.histories import ARRAY_DTYPES, NO_TIMESTAMP, Histories
from tastevec.data.topk import rank_items, top_k
from tastevec.data.value_scale import TOUCHED
from tastevec.evaluation.geometry import split_half_accuracy
from tastevec.evaluation.metrics import divide, mean_of_valid, unit_rows
from tastevec.evaluation.results import MEASURES, Behavior, BehaviorRow
from tastevec.evaluation.scorers import EncodedScorer
from tastevec.evaluation.slices import encode_in_chunks
from tastevec.evaluation.statistics import as_columns, bootstrap_users, mean_intervals

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from tastevec.data.value_scale import ValueScale
    from tastevec.evaluation.dataset import EvalDataset
    from tastevec.evaluation.results import Unit
    from tastevec.evaluation.scorers import Runs
    from tastevec.schema import Horizon


_OF_RATINGS: Final = (
    *("dislike_auc", "disliked@20", "positives@20", "kept@12", "low_category@20", "high_category@20"),
)
_USERS: Final = 1000  # measured at most: bounds the cost, with a standard error of an AUC below 0.01
_FEW_USERS: Final = 200  # measured where users hardly differ
_LISTS: Final = 20  # depth of the lists
_KEPT, _SAME = 12, 10
_PARTS: Final = 5  # a fifth of each history is held out
_PROBE_ITEMS: Final = 5  # rated in a category
_CATEGORIES: Final = 20  # probed at most
_ONE_ITEMS: Final = 100  # probed at most
_CLUSTERS: Final = 20
_FEWEST: Final = 3 * _CLUSTERS  # users, of which clusters say anything
_CELLS: Final = 1 << 22  # of scores in memory at once: 16 MB


def measure_behavior(
    systems: Sequence[Runs],
    dataset: EvalDataset,
    categories: Any = None,  # noqa: ANN401  pyarrow ships no types
    *,
    horizons: Sequence[Horizon] = ("overall", "next"),
    seed: int = 42,
) -> Behavior:
    """Return the behavior of each trained model on at most 1,000 held-out users, drawn by the seed.

    Systems that are not `EncodedScorer` are ignored. A measure that the data do not allow is skipped, with the reason.

    Args:
        systems: The systems.
        dataset: The training users, whose ratings choose the probed items, and the held-out users.
        categories: The column of lists of categories of the N items (an Arrow column); None without any.
        horizons: The horizons.
        seed: Random seed of the sampled users, the held-out fifth, the halves and the clusters.
    """
    if not systems:
        return Behavior()
    probes = _Probes.of(dataset, categories, seed)
    if not len(probes.users):
        return Behavior((), probes.skipped)
    draws = bootstrap_users(len(probes.users), seed)
    rows: list[BehaviorRow] = []
    for system in systems:
        scorers = [scorer for scorer in system.scorers if isinstance(scorer, EncodedScorer)]
        for horizon in horizons if scorers else ():
            runs = [dict(probes.measure(scorer.at_horizon(horizon))) for scorer in scorers]
            rows += _rows(system.name, horizon, runs, draws)
    found = {row.measure for row in rows}
    skipped = {name: reason for name, reason in probes.skipped.items() if name not in found}
    return Behavior(tuple(rows), skipped)


@dataclass(frozen=True, eq=False)
class _Measured:
    """One measure in one run.

    Attributes:
        values: (n,) of all B users, NaN for those without one; of n probes; or one over all of ``count`` users.
        unit: What they are of.
        reference: What to compare their mean with.
        count: Number of users of a single value.
    """

    values: NDArray[np.float64]
    unit: Unit = "users"
    reference: float = float("nan")
    count: int = 0


def _rows(
    system: str, horizon: Horizon, runs: Sequence[Mapping[str, _Measured]], draws: NDArray[np.uint8]
) -> Iterator[BehaviorRow]:
    """Yield the rows of one system, without measures that have no value; the CI is of values of all users."""
    nan, users = float("nan"), draws.shape[1]
    means = {name: np.mean([run[name].values for run in runs], axis=0) for name in runs[0]}
    of_users = [name for name in means if runs[0][name].unit == "users" and not runs[0][name].count]
    columns = as_columns([means[name] for name in of_users], users)
    intervals = dict(zip(of_users, mean_intervals(columns, draws), strict=True))
    for name, values in means.items():
        valid = values[np.isfinite(values)]
        if not len(valid):
            continue
        _, low, high, _ = intervals.get(name, (nan, nan, nan, 0))
        reference = float(np.mean([run[name].reference for run in runs]))
        names = (system, horizon, name, float(valid.mean()), low, high)
        yield BehaviorRow(*names, runs[0][name].count or len(valid), runs[0][name].unit, reference)


def reverse_ratings(histories: Histories, scale: ValueScale) -> Histories:
    """Return the histories with each rating r of an explicit scale as low + high - r: what was best is worst."""
    ratings = (np.float32(scale.low + scale.high) - histories.ratings).astype(np.float32)
    return replace(histories, ratings=ratings, normalized_ratings=scale.normalize(ratings, histories.offsets))


def random_ranks(histories: Histories, seed: int) -> NDArray[np.int64]:
    """(M,) the place of each interaction in a random order of its user's: 0 to length - 1, each once.

    Places below a fifth of the length are a random fifth, even and odd places are two random halves.
    """
    order = np.lexsort((np.random.default_rng(seed).random(len(histories.items)), histories.owners))
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order)) - np.repeat(histories.offsets[:-1], histories.lengths)
    return ranks


def shuffle_items(histories: Histories, ranks: NDArray[np.int64]) -> Histories:
    """Return the items of each user, with their ratings, in the order of their ranks (M,); timestamps stay in place."""
    order = np.lexsort((ranks, histories.owners))
    flat: dict[str, Any] = {
        name: getattr(histories, name)[order] for name in ("items", "ratings", "normalized_ratings")
    }
    return replace(histories, **flat)


def give_twice(histories: Histories, scale: ValueScale) -> Histories:
    """Return the histories with each row in two rows, as a source that delivers a history twice."""
    rows = np.repeat(np.arange(len(histories.items)), 2)
    flat: dict[str, Any] = {
        name: getattr(histories, name)[rows]
        for name in ("items", "ratings", "normalized_ratings", "timestamps")
    }
    return replace(histories, offsets=2 * histories.offsets, repeats=scale, **flat)


def user_auc(
    owners: NDArray[np.int64], scores: NDArray[np.floating], positive: NDArray[np.bool_], n_users: int
) -> NDArray[np.float64]:
    """(B,) the share of a user's pairs of a positive and another interaction with the positive first; ties count half.

    Args:
        owners: (M,) user index of each interaction.
        scores: (M,) scores.
        positive: (M,) which are positive.
        n_users: B.

    Returns:
        NaN for a user without such a pair.

    Examples:
        >>> user_auc(np.array([0, 0, 0, 1]), np.array([3.0, 1.0, 2.0, 1.0]), np.array([True, False, True, True]), 2)
        array([ 1., nan])
    """
    order = np.lexsort((scores, owners))
    owner, score, is_positive = owners[order], scores[order], positive[order]
    new = np.ones(len(order), np.bool_)
    new[1:] = (owner[1:] != owner[:-1]) | (score[1:] != score[:-1])
    tie = np.cumsum(new) - 1  # equal scores of a user have one number
    tied = np.bincount(tie, weights=~is_positive)  # others in it
    others = np.bincount(owner, weights=~is_positive, minlength=n_users)  # (B,)
    below = (np.cumsum(tied) - tied)[tie] - (np.cumsum(others) - others)[owner]
    wins = np.bincount(owner, weights=np.where(is_positive, below + tied[tie] / 2, 0), minlength=n_users)
    return divide(wins, others * np.bincount(owner, weights=is_positive, minlength=n_users))


def length_eta_squared(vectors: NDArray[np.floating], lengths: NDArray[np.int64], seed: int) -> float:
    """Return the share of the variance of log ``lengths`` (B,) that 20 clusters of the unit vectors (B, D) explain.

    NaN where all lengths are equal, or where there are fewer than 20 different vectors.

    Source: k-means (Lloyd 1982); eta squared, the correlation ratio (Fisher 1925).
    """
    from sklearn.cluster import KMeans  # noqa: PLC0415  1 s to import, and an extra

    units = unit_rows(vectors)
    if not np.ptp(lengths) or len(np.unique(units, axis=0)) < _CLUSTERS:
        return float("nan")
    logs = np.log(lengths) - np.log(lengths).mean()
    labels = KMeans(_CLUSTERS, n_init=3, random_state=seed).fit_predict(units)
    sums = np.bincount(labels, weights=logs, minlength=_CLUSTERS)
    return float(np.sum(sums**2 / np.bincount(labels, minlength=_CLUSTERS)) / np.sum(logs**2))


def frequent_categories(column: Any, raters: NDArray[np.int64]) -> NDArray[np.bool_]:  # noqa: ANN401  pyarrow ships no types
    """(C, N) which items have each of the at most 20 most frequent categories, the most frequent first.

    A category counts where at least 25 of its items have raters, so that it can fill a list without its probed items, and at
    most half of all items with raters have it.
    """
    lists = column.combine_chunks()
    codes = lists.flatten().dictionary_encode()
    names, values = codes.dictionary, codes.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    owners = np.repeat(np.arange(len(lists)), lists.value_lengths().fill_null(0).to_numpy())
    rated = (values >= 0) & (raters[owners] > 0)
    sizes = np.bincount(values[rated], minlength=len(names))
    usable = (sizes >= _LISTS + _PROBE_ITEMS) & (sizes <= np.count_nonzero(raters) / 2)
    chosen = np.argsort(-np.where(usable, sizes, 0), kind="stable")[: min(_CATEGORIES, int(usable.sum()))]
    row = np.full(len(names) + 1, -1)  # the last is of a null
    row[chosen] = np.arange(len(chosen))
    member = np.zeros((len(chosen), len(raters)), np.bool_)
    kept = row[values] >= 0
    member[row[values[kept]], owners[kept]] = True
    return member


@dataclass(frozen=True, eq=False)
class _Probes:
    """What all systems are measured on.

    Attributes:
        dataset: The training and the held-out users.
        seed: Random seed of what is drawn.
        users: B of the held-out users, each item once, M interactions.
        ranks: (M,) the random rank of each interaction, see `random_ranks`.
        inputs: The users without the random fifth that is held out.
        owners: (H,) user index of each held-out interaction.
        items: (H,) its item.
        positive: (H,) whether it is positive.
        disliked: (H,) whether it is below the middle of the scale.
        member: (C, N) which items have each probed category.
        skipped: Why a measure may have no value.
    """

    dataset: EvalDataset
    seed: int
    users: Histories
    ranks: NDArray[np.int64]
    inputs: Histories
    owners: NDArray[np.int64]
    items: NDArray[np.int32]
    positive: NDArray[np.bool_]
    disliked: NDArray[np.bool_]
    member: NDArray[np.bool_]
    skipped: Mapping[str, str]

    @classmethod
    def of(cls, dataset: EvalDataset, categories: Any, seed: int) -> _Probes:  # noqa: ANN401  pyarrow ships no types
        """Return the probes of a dataset; the seed draws users and what is held out."""
        enough = np.flatnonzero(dataset.held_out_users.once().lengths > 1)
        drawn = np.random.default_rng(seed).permutation(enough)[:_USERS]
        users = dataset.held_out_users.take(np.sort(drawn)).once()
        ranks = random_ranks(users, seed)
        held = ranks < (users.lengths // _PARTS)[users.owners]
        scale, values = dataset.scale, users.ratings[held]
        raters = dataset.items.raters
        member = np.zeros((0, len(raters)), np.bool_)
        if categories is not None:
            member = frequent_categories(categories, raters)
        return cls(
            dataset=dataset,
            seed=seed,
            users=users,
            ranks=ranks,
            inputs=users.keep_alone(~held),
            owners=users.owners[held],
            items=users.items[held],
            positive=scale.positive(values),
            disliked=scale.share(values) < TOUCHED,
            member=member,
            skipped=_reasons(dataset, len(users), len(member)),
        )

    @property
    def explicit(self) -> bool:
        """Whether there are ratings, which alone can be low or reversed."""
        return self.dataset.scale.kind == "explicit"

    def measure(self, scorer: EncodedScorer) -> Iterator[tuple[str, _Measured]]:
        """Yield every measure of a model at its horizon."""
        model = _Model.of(scorer)
        vectors = model.encode(self.inputs)
        if self.explicit:
            yield from self._dislikes(model, vectors)
            yield from self._low_categories(model)
        yield from self._one_item(model)
        yield "same@10", _Measured(self._distances(model, vectors))
        if scorer.horizon == "overall":
            yield from self._repeats_and_order(model)
        yield "random_half_accuracy", _Measured(self._halves(model), reference=0.5)
        if len(self.users) >= _FEWEST:
            share = length_eta_squared(vectors, self.inputs.lengths, self.seed)
            chance = (_CLUSTERS - 1) / (len(vectors) - 1)
            yield "length_eta_squared", _Measured(np.array([share]), reference=chance, count=len(vectors))

    def _dislikes(self, model: _Model, vectors: NDArray[np.float32]) -> Iterator[tuple[str, _Measured]]:
        """Yield what follows from low ratings of held-out items, and from reversed ratings."""
        users, raters = len(self.users), self.dataset.items.raters
        scores = np.einsum("hd,hd->h", vectors[self.owners], model.items[self.items])
        valued = self.positive | self.disliked
        by_model, by_mean = (
            user_auc(self.owners[valued], found[valued], self.positive[valued], users)
            for found in (scores, _mean_ratings(self.dataset)[self.items])
        )
        yield "dislike_auc", _Measured(by_model, reference=_mean(by_mean))
        ranked = model.best(vectors, self.inputs, _LISTS)
        popular = model.best_by(np.ones((users, 1)), raters[:, None], self.inputs, _LISTS)
        for name, which in (("disliked@20", self.disliked), ("positives@20", self.positive)):
            counts = [self._found(lists, which) for lists in (ranked, popular)]
            yield name, _Measured(counts[0], reference=_mean(counts[1]))
        reversed_inputs = reverse_ratings(self.inputs, self.dataset.scale)
        again = model.best(model.encode(reversed_inputs), self.inputs, _KEPT)
        yield "kept@12", _Measured(_shared(ranked[:, :_KEPT], again))

    def _found(self, ranked: NDArray[np.int64], which: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(B,) how many of these held-out items are in each user's list (B, K)."""
        hit = (ranked[self.owners] == self.items[:, None]).any(axis=1) & which
        counts = np.bincount(self.owners[hit], minlength=len(self.users))
        return counts.astype(np.float64)

    def _low_categories(self, model: _Model) -> Iterator[tuple[str, _Measured]]:
        """Yield the share of a category among the first 20 when its five most rated items are rated lowest, and highest."""
        if not len(self.member):
            return
        raters, scale = self.dataset.items.raters, self.dataset.scale
        usable = np.where(self.member & model.has_vector, raters, -1).astype(np.float32)
        items = top_k(usable, _PROBE_ITEMS)  # (C, 5)
        without = self._category_share(model.without_ratings(len(items)), items, model)
        for name, value in (("low_category@20", scale.low), ("high_category@20", scale.high)):
            vectors = model.encode(self._rated(items, value))
            shares = self._category_share(vectors, items, model)
            yield name, _Measured(shares, "categories", _mean(without))

    def _category_share(
        self, vectors: NDArray[np.float32], items: NDArray[np.int64], model: _Model
    ) -> NDArray[np.float64]:
        """(C,) the share of each category among the first 20 of the vector (C, D) of its probe; NaN for a zero vector."""
        ranked = model.best(vectors, self._rated(items, self.dataset.scale.low), _LISTS)
        return np.where(vectors.any(axis=1), _share_of(self.member, ranked), np.nan)

    def _one_item(self, model: _Model) -> Iterator[tuple[str, _Measured]]:
        """Yield what the lists of one item at the highest value have in common with it."""
        raters = self.dataset.items.raters
        rated = (raters > 0) & model.has_vector
        if np.count_nonzero(rated) <= _LISTS:
            return
        ones = top_k(np.where(rated, raters, -1).astype(np.float32)[None], _ONE_ITEMS)[0]  # (P,)
        ones = ones[rated[ones]]
        known = self._rated(ones[:, None], self.dataset.scale.top)
        ranked = model.best(model.encode(known), known, _LISTS)
        if len(self.member):
            common = np.zeros((len(ones), len(raters)), np.bool_)  # (P, N)
            for has in self.member:
                common[has[ones]] |= has
            shares = np.where(common.any(axis=1), _share_of(common, ranked), np.nan)
            catalog = np.where(common.any(axis=1), common[:, rated].mean(axis=1), np.nan)
            yield "one_item_category@20", _Measured(shares, "items", _mean(catalog))
        # Of the more popular half: the vectors of rare items are of few ratings.
        frequent = rated & (raters >= np.median(raters[rated]))
        directions = unit_rows(model.directions)
        similar = model.best_by(directions[ones], directions, known, _LISTS, frequent)
        without = model.without_ratings(len(ones))
        reference = _mean(_shared(similar, model.best(without, known, _LISTS))) if without.any() else np.nan
        yield "one_item_similar@20", _Measured(_shared(similar, ranked), "items", reference)
        yield "one_item_itself@20", _Measured((ranked == ones[:, None]).any(axis=1) * 1.0, "items")

    def _distances(self, model: _Model, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """(B,) how many of the first 10 by inner product are among those by cosine and by distance; of 200 users."""
        few = np.arange(min(_FEW_USERS, len(vectors)))
        own, known, items = vectors[few], self.inputs.take(few), model.items
        squares = np.sum(items.astype(np.float64) ** 2, axis=1, keepdims=True)
        lists = [
            model.best(own, known, _SAME),
            model.best_by(unit_rows(own), unit_rows(items), known, _SAME),
            # 2 u v - v v orders items as the distance to u does.
            model.best_by(
                np.pad(2 * own, ((0, 0), (0, 1)), constant_values=-1),
                np.hstack([items, squares]),
                known,
                _SAME,
            ),
        ]
        same = np.full(len(vectors), np.nan)
        same[few] = (_shared(lists[0], lists[1]) + _shared(lists[0], lists[2])) / 2
        return same

    def _repeats_and_order(self, model: _Model) -> Iterator[tuple[str, _Measured]]:
        """Yield the largest difference of the vectors of 200 users when repeats or another order change nothing else."""
        few = self.inputs.take(np.arange(min(_FEW_USERS, len(self.inputs))))
        changed = {"order_difference": shuffle_items(few, random_ranks(few, self.seed + 1))}
        if not _adds_up(self.dataset.scale):
            changed["repeat_difference"] = give_twice(few, self.dataset.scale)
        vectors = model.encode(few)
        for name, histories in changed.items():
            differences = np.abs(model.encode(histories) - vectors).max(axis=1)
            yield name, _Measured(np.array([differences.max()], np.float64), count=len(few))

    def _halves(self, model: _Model) -> NDArray[np.float64]:
        """(B,) split-half accuracy of two random halves of each history."""
        even = self.ranks % 2 == 0
        first, second = (model.encode(self.users.keep_alone(mask)) for mask in (even, ~even))
        return split_half_accuracy(first, second)

    def _rated(self, items: NDArray[np.integer], value: float) -> Histories:
        """Return histories of these items (P, K), each at this value."""
        probes, count = items.shape
        offsets = np.arange(probes + 1, dtype=np.int64) * count
        ratings = np.full(items.size, value, np.float32)
        return Histories(
            user_ids=np.arange(probes),
            offsets=offsets,
            items=items.ravel().astype(np.int32),
            ratings=ratings,
            normalized_ratings=self.dataset.scale.normalize(ratings, offsets),
            timestamps=np.full(items.size, NO_TIMESTAMP, np.int64),
            relative=self.explicit,
        )


@dataclass(frozen=True, eq=False)
class _Model:
    """A model at one horizon: its encoder, the items that it scores, and those that are compared with each other."""

    scorer: EncodedScorer
    items: NDArray[np.float32]
    directions: NDArray[np.float32]
    has_vector: NDArray[np.bool_]

    @classmethod
    def of(cls, scorer: EncodedScorer) -> _Model:
        items = scorer.item_vectors if scorer.scored_items is None else scorer.scored_items
        return cls(scorer, items, scorer.item_vectors, np.asarray(items.any(axis=1)))

    def encode(self, histories: Histories) -> NDArray[np.float32]:
        """(B, D) user vectors."""
        return encode_in_chunks(self.scorer, histories)

    def without_ratings(self, count: int) -> NDArray[np.float32]:
        """(count, D) the vector of a user without a history, repeated."""
        flat: dict[str, Any] = {name: np.zeros(0, kind) for name, kind in ARRAY_DTYPES.items()}
        empty = Histories(user_ids=np.zeros(1, np.int64), offsets=np.zeros(2, np.int64), **flat)
        return np.repeat(self.encode(empty), count, axis=0)

    def best(self, vectors: NDArray[np.float32], known: Histories, k: int) -> NDArray[np.int64]:
        """(B, K) the first items by inner product, without the known ones, as `recommend` returns them."""
        return self.best_by(vectors, self.items, known, k)

    def best_by(
        self,
        left: NDArray[Any],
        right: NDArray[Any],
        known: Histories,
        k: int,
        only: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.int64]:
        """(B, K) the first items by the products of rows of ``left`` (B, D) and ``right`` (N, D), chunk by chunk."""
        left, right = left.astype(np.float32), right.astype(np.float32).T
        rows = max(1, _CELLS // right.shape[1])
        only = self.has_vector if only is None else only
        parts = [
            rank_items(left[start : start + rows] @ right, part, k, only, overwrite_scores=True)
            for start, part in zip(range(0, len(known), rows), known.chunks(rows), strict=True)
        ]
        return np.concatenate(parts)


def _reasons(dataset: EvalDataset, users: int, categories: int) -> dict[str, str]:
    """Return why a measure may have no value."""
    kind = dataset.scale.kind
    if not users:
        return dict.fromkeys(MEASURES, "no user has two items")
    few = f"at most {_LISTS} items have raters"
    reasons = {"dislike_auc": "no user has a held-out positive and a held-out dislike"}
    reasons |= dict.fromkeys(("one_item_category@20", "one_item_similar@20", "one_item_itself@20"), few)
    reasons |= {"length_eta_squared": f"fewer than {_FEWEST} users, or equal histories"}
    if not categories:
        by_category = ("low_category@20", "high_category@20", "one_item_category@20")
        reasons |= dict.fromkeys(
            by_category,
            f"no category has {_LISTS + _PROBE_ITEMS} or more items with raters, and at most half of all",
        )
    if kind != "explicit":
        reasons |= dict.fromkeys(_OF_RATINGS, f"{kind} feedback has no low ratings")
    if _adds_up(dataset.scale):
        reasons["repeat_difference"] = "the values of a repeated item add up"
    return reasons


def _adds_up(scale: ValueScale) -> bool:
    """Return whether an item in two rows has another value than in one."""
    return scale.kind != "explicit" and scale.top > scale.positive_from


def _mean_ratings(dataset: EvalDataset) -> NDArray[np.float64]:
    """(N,) the mean rating of each item by the training users, with one more rating that is the mean of all."""
    train = dataset.train
    rated = np.isfinite(train.ratings)
    items, ratings = train.items[rated], train.ratings[rated].astype(np.float64)
    everything = ratings.mean() if len(ratings) else 0.0
    sums = np.bincount(items, weights=ratings, minlength=dataset.n_items) + everything
    return np.asarray(sums / (np.bincount(items, minlength=dataset.n_items) + 1))


def _share_of(member: NDArray[np.bool_], ranked: NDArray[np.int64]) -> NDArray[np.float64]:
    """(P,) the share of each list (P, K) that is in its row of ``member`` (P, N)."""
    found = np.take_along_axis(member, ranked, axis=1).astype(np.float64)
    return mean_of_valid(found, ranked >= 0, axis=1)


def _shared(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
    """(B,) how many of K items of one list are in the other (B, K); a shorter list counts as one of K, an empty one is NaN."""
    valid = one >= 0
    equal = (one[:, :, None] == other[:, None, :]).any(axis=2)
    return np.asarray(one.shape[1] * mean_of_valid(equal.astype(np.float64), valid, axis=1))


def _mean(values: NDArray[np.float64]) -> float:
    """Return the mean without NaN; NaN without a value."""
    return float(mean_of_valid(values, np.isfinite(values), axis=0))
