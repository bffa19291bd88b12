"""Tag explanations of a user embedding, with the contributions of rated items, and of clusters of users.

Dimensions: B users, C clusters, L items of one history, N items of the catalog, D dimensions, T tags, K recommendations.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tastevec.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.items.tag_directions import TagDirections
    from tastevec.schema import Horizon
    from tastevec.serving.embeddings import Embeddings

Contribution = tuple[Any, float]  # an item ID, and the effect of its rating

_MAX_ITEMS: Final = 500  # of a history, the newest: each costs an encoding of all the others
_MAX_ROWS: Final = 1 << 16  # items of shortened histories at once: some MB, and a tenth of a second
_REFERENCE_USERS: Final = 2_000  # mean and deviation are then known to 2 % of a standard deviation
_HORIZONS: Final[tuple[Horizon, ...]] = ("next", "overall")
_ERROR_RATE: Final = 0.05  # of a cluster that is drawn at random: the probability that it gets a name
_SMALLEST: Final = (
    0.2  # standard deviations: less is no difference worth a name, however many users there are
)


@dataclass(frozen=True)
class TagExplanation:
    """A tag of a user or an item.

    Attributes:
        tag: The name of the tag.
        strength: z-score against the training users, or against all items; negative below their mean.
        reliability: Held-out correlation of predicted and observed tag relevance, in [0, 1]; a property of the tag.
        contributions: The rated items with the largest effect in the direction of the strength, as item ID and effect: the
            strength minus what it would be without the rating (leave-one-out). Empty for an item.
    """

    tag: str
    strength: float
    reliability: float
    contributions: tuple[Contribution, ...] = ()


@dataclass(frozen=True)
class Cluster:
    """A cluster of users, named by the tags that set it apart from the other users.

    Attributes:
        label: The label of the cluster.
        n_users: Its users.
        up: The tags that are stronger than in the other users. ``strength`` is here the difference of the mean strengths, in
            standard deviations of the training users. Empty where no difference is clear.
        down: The tags that are weaker.
    """

    label: Hashable
    n_users: int
    up: tuple[TagExplanation, ...]
    down: tuple[TagExplanation, ...]

    def __str__(self) -> str:
        up, down = (
            ", ".join(f"{tag.tag} {tag.strength:+.1f}" for tag in tags) for tags in (self.up, self.down)
        )
        return (
            f"cluster {self.label}, {self.n_users:,} users: {up or 'nothing more'}; {down or 'nothing less'}"
        )


@dataclass(frozen=True, eq=False)
class Attribution:
    """Leave-one-out attribution with one model and one horizon.

    Attributes:
        encode: Returns the vectors (B, D) of histories, for the horizon.
        item_ids: (N,) the catalog.
        horizon: The horizon of the vectors.
    """

    encode: Callable[[Histories], NDArray[np.float32]]
    item_ids: NDArray[Any]
    horizon: Horizon

    def changes(
        self, history: Histories, vector: NDArray[np.float32]
    ) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Return the IDs (L,) of the newest items of one history, and what each adds to its vector (L, D)."""
        length = len(history.items)
        _, from_end = np.unique(history.items[::-1], return_index=True)  # the latest row of each item
        positions = np.sort(length - 1 - from_end)[-_MAX_ITEMS:]
        step = max(1, _MAX_ROWS // max(length, 1))
        others = [
            self.encode(leave_one_out(history, positions[start : start + step]))
            for start in range(0, len(positions), step)
        ]
        without = np.concatenate([np.zeros((0, len(vector)), np.float32), *others])
        return self.item_ids[history.items[positions]], vector - without


def with_user_reference(
    directions: TagDirections,
    encode: Callable[[Histories, Horizon], NDArray[np.float32]],
    users: Histories,
) -> TagDirections:
    """Return the directions with these users as the reference of both horizons; of more than 2,000, every n-th."""
    sample = users.take(np.arange(0, len(users), -(-len(users) // _REFERENCE_USERS) or 1))
    for horizon in _HORIZONS:
        directions = directions.with_reference(horizon, encode(sample, horizon))
    return directions


def explain_users(
    attribution: Attribution,
    directions: TagDirections,
    histories: Histories,
    vectors: NDArray[np.float32],
    *,
    tags: int = 10,
    contributions: int = 3,
) -> list[list[TagExplanation]]:
    """Return at most ``tags`` tags per user, the largest strength times reliability first.

    Of tags with the same direction only one is returned. No explanation depends on the other users. The vectors (B, D) are
    those of the histories, which are not encoded a second time.
    """
    horizon, users = attribution.horizon, []
    for user, strengths in enumerate(directions.strengths(vectors, horizon)):
        strongest = _strongest(directions, strengths, tags)
        if contributions and strongest:
            rated, changes = attribution.changes(histories.take(np.array([user])), vectors[user])
            effects = directions.strength_changes(changes, horizon)  # (L, T)
            strongest = {
                tag: replace(one, contributions=_largest(rated, effects[:, tag], contributions, one.strength))
                for tag, one in strongest.items()
            }
        users.append(list(strongest.values()))
    return users


def explain_items(
    directions: TagDirections, vectors: NDArray[np.float32], *, tags: int = 10
) -> list[list[TagExplanation]]:
    """Return at most ``tags`` tags per item vector (B, D); none for a vector of zeros."""
    return [
        list(_strongest(directions, strengths, tags).values()) if vector.any() else []
        for vector, strengths in zip(vectors, directions.strengths(vectors, "items"), strict=True)
    ]


def explain_clusters(
    directions: TagDirections, labels: Iterable[Hashable], users: Embeddings, *, tags: int = 3
) -> list[Cluster]:
    """Return each cluster, the largest first, with at most ``tags`` tags up and as many down.

    The largest difference times reliability is first. A difference names a cluster if it is 0.2 or more, and larger than
    that of 95 % of clusters of this size drawn at random, with all tags tested at once.

    Raises:
        DataError: There is not one label per user, a label is missing or not hashable, or there is one cluster only.
    """
    counted, codes = _clusters(labels, len(users))
    rows = users.matrix.astype(np.float64)
    total, sizes = len(rows), np.array([size for _, size in counted])[:, None]  # (C, 1)
    rows -= rows.mean(axis=0)
    sums = np.zeros((len(counted), rows.shape[1]))
    np.add.at(sums, codes, rows)
    # As the rows are centered, the sum of the other users is that of the cluster with the other sign.
    between = sums / sizes + sums / (total - sizes)  # (C, D)
    differences = directions.strength_changes(between, users.horizon)  # (C, T)
    # Strengths are linear: R'R is the scatter matrix of the vectors, so no strength of a single user is needed.
    scatter = (directions.strength_changes(np.linalg.qr(rows).R, users.horizon) ** 2).sum(axis=0)  # (T,)
    shares = sizes * (total - sizes) / total
    within = np.maximum(scatter - shares * differences**2, 0.0) / max(total - 2, 1)
    quantile = NormalDist().inv_cdf(1 - _ERROR_RATE / 2 / max(len(directions.names), 1))
    least = np.maximum(quantile * np.sqrt(within / shares), _SMALLEST)
    clear = np.where((abs(differences) >= least) & (total > 2), differences, 0.0)  # noqa: PLR2004  no spread within two users
    return [
        Cluster(label, size, *(_strongest_of(directions, sign * clear[row], tags, sign) for sign in (1, -1)))
        for row, (label, size) in enumerate(counted)
    ]


def _strongest_of(
    directions: TagDirections, signed: NDArray[np.float64], count: int, sign: int
) -> tuple[TagExplanation, ...]:
    """Return the tags of the largest positive ones of these strengths (T,), with the sign that they had."""
    found = _strongest(directions, np.maximum(signed, 0.0), count).values()
    return tuple(replace(tag, strength=sign * tag.strength) for tag in found)


def _clusters(
    labels: Iterable[Hashable], n_users: int
) -> tuple[list[tuple[Hashable, int]], NDArray[np.int64]]:
    """Return each label with its users, the largest cluster first, and the index of each user's cluster (B,)."""
    given = (
        labels.tolist() if hasattr(labels, "tolist") else list(labels)
    )  # NumPy, pandas and Arrow: Python values
    if len(given) != n_users:
        raise DataError(
            f"labels: {len(given):,} labels. Expected {n_users:,}, one per user. Pass them in the order of users.ids."
        )
    missing = [row for row, label in enumerate(given) if _is_missing(label)]
    if missing:
        raise DataError(
            f"labels, row {missing[0]}: {given[missing[0]]} ({len(missing):,} of {n_users:,} labels are missing). Expected a "
            "label for each user. Pass the other users alone, or one label for all of these."
        )
    try:
        counted = Counter(given).most_common()
    except TypeError as error:
        raise DataError(
            f"labels: {error}. Expected one hashable label per user, such as a number."
        ) from error
    if len(counted) < 2:  # noqa: PLR2004  as the message says
        raise DataError(
            f"labels: one cluster of all {n_users:,} users. Expected 2 or more: nothing sets all users apart from others. Pass "
            "the labels of more clusters."
        )
    codes = {label: code for code, (label, _) in enumerate(counted)}
    return counted, np.fromiter(map(codes.__getitem__, given), np.int64, n_users)


def _is_missing(label: Any) -> bool:  # noqa: ANN401  any hashable
    """Return whether this is None, or not equal to itself, as NaN, NaT and pandas' NA."""
    equal = label == label  # noqa: PLR0124  the test for NaN
    return label is None or (isinstance(equal, bool | np.bool_) and not equal) or str(label) == "<NA>"


def item_effects(
    attribution: Attribution,
    histories: Histories,
    vectors: NDArray[np.float32],
    recommended: NDArray[np.integer[Any]],
    item_vectors: NDArray[np.float32],
    *,
    contributions: int = 3,
) -> list[list[tuple[Contribution, ...]]]:
    """Return up to ``contributions`` contributions per recommendation, the rated items that raise its score most.

    An effect is the score minus what it would be without the rating (leave-one-out).

    Args:
        attribution: The model and the horizon.
        histories: B users.
        vectors: (B, D) their vectors; they are not encoded a second time.
        recommended: (B, K) item indices; -1 has no contributions.
        item_vectors: (N, D) of the catalog.
        contributions: Contributions per recommendation.
    """
    users = []
    for user, ranked in enumerate(recommended):
        rated, changes = attribution.changes(histories.take(np.array([user])), vectors[user])
        effects = changes @ item_vectors[ranked].T  # (L, K)
        users.append(
            [
                _largest(rated, effects[:, rank], contributions, 1.0) if item >= 0 else ()
                for rank, item in enumerate(ranked)
            ]
        )
    return users


def leave_one_out(history: Histories, positions: NDArray[np.int64]) -> Histories:
    """Return one history per position, each without the item at that position, in all its rows.

    Ratings are normalized again, as if the user had never rated the item.
    """
    others = history.items != history.items[positions][:, None]  # (B, L)
    rows = np.nonzero(others)[1]
    offsets = np.concatenate([[0], np.cumsum(others.sum(axis=1))]).astype(np.int64)
    without = replace(
        history,
        user_ids=np.arange(len(positions)),
        offsets=offsets,
        items=history.items[rows],
        ratings=history.ratings[rows],
        normalized_ratings=history.normalized_ratings[rows],
        timestamps=history.timestamps[rows],
    )
    return without.normalized()


def _strongest(
    directions: TagDirections, strengths: NDArray[np.float64], count: int
) -> dict[int, TagExplanation]:
    """Return the tags with the largest |strength (T,)| times reliability, by index; of equal directions only the first."""
    weights = np.abs(strengths) * directions.reliability
    order = [int(tag) for tag in np.argsort(-weights, kind="stable") if weights[tag] > 0]
    return {
        tag: TagExplanation(directions.names[tag], float(strengths[tag]), float(directions.reliability[tag]))
        for tag in directions.distinct(order, count)
    }


def _largest(
    item_ids: NDArray[Any], effects: NDArray[np.floating[Any]], count: int, sign: float
) -> tuple[Contribution, ...]:
    """Return the items (L,) with the largest effects (L,) of this sign; of equal effects the newest first."""
    signed = effects * np.sign(sign)
    order = len(signed) - 1 - np.argsort(-signed[::-1], kind="stable")[:count]
    ids = item_ids.tolist()
    return tuple((ids[row], float(effects[row])) for row in order.tolist() if signed[row] > 0)
