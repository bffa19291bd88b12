"""The recommender: encode, recommend, similar, explain and steer with a trained model.

Dimensions: B users, N items of the catalog, D dimensions, K recommendations.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, get_args, overload

import numpy as np
import pyarrow as pa

from tastevec.data.intake.report import number
from tastevec.data.intake.settings import ItemSettings, several_tables
from tastevec.data.intake.stated import HISTORY_SETTINGS, check_names, intake_settings
from tastevec.data.intake.values import BadValueError, read_id
from tastevec.errors import DataError, FormatError, SettingsError, TastevecWarning, UnknownItemError
from tastevec.schema import (
    DEFAULT_DISLIKE_WEIGHT,
    ITEM_ID,
    MEANINGS,
    NORM,
    RANK,
    SIMILARITY,
    TITLE,
    USER_ID,
    VECTOR,
    Horizon,
    Unknown,
)
from tastevec.serving.embeddings import Embeddings, ItemEmbeddings, check_vectors, given_vectors
from tastevec.serving.encoder import UserVectors, check_dislike_weight, encode_histories
from tastevec.serving.explain import (
    Attribution,
    Cluster,
    TagExplanation,
    explain_clusters,
    explain_items,
    explain_users,
)
from tastevec.serving.filters import ItemFilter, item_filter, split_choices
from tastevec.serving.hub import open_bundle, push
from tastevec.serving.interactions import ManyUsers, OneUser, is_one_user, parse
from tastevec.serving.neighbors import Neighbors, at_least_one, neighbor_pairs, read_user_vectors
from tastevec.serving.new_items import read_new_items, with_new_items
from tastevec.serving.parsed_users import ModelReading, ParsedUsers, report_unknown
from tastevec.serving.user_files import UserFile, open_file

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.data.topk import BestItems
    from tastevec.items.tag_directions import TagDirections
    from tastevec.serving.bundle import Bundle, Runtime
    from tastevec.serving.filters import FilterChoices, RecommendChoices
    from tastevec.serving.tables import TableChoices

    Vector = NDArray[np.float32]

_MAX_USERS = 1024  # of a batch of recommendations


def load(folder: Path | str, *, runtime: Runtime = "auto", revision: str | None = None) -> Recommender:
    """Load a model.

    Args:
        folder: A model folder; or ``org/name`` on the Hugging Face Hub, where there is no such folder and no folder ``org``.
        runtime: ``onnx``, ``torch`` or ``auto``; see `Bundle.load`.
        revision: On the Hub: a branch, a tag or a commit.

    Raises:
        FormatError: The model is missing, damaged, or of another format version.
        HubError: The Hub requires a token, or cannot be reached and the model was not downloaded before.
    """
    return Recommender(open_bundle(folder, runtime, revision=revision))


class Recommender:
    """A model that encodes users, recommends items and explains embeddings; no result depends on the other users.

    ``interactions`` are a list of one user, oldest first: item IDs, (item_id, value) or (item_id, value, time); a dict of many
    users, such as ``{"anna": [50, 127]}``; or a table of user, item, and optional value and timestamp (pandas, Polars, Arrow,
    DuckDB, a dict of columns). Users stand in the order in which they first appear. A repeated item counts as the model was
    trained; without any value, each interaction is positive. ``unknown`` says what happens to interactions with items that are
    not in the catalog: they are ignored with a warning ("warn") or without one ("ignore"), or refused ("raise").

    ``overall``: long-term preferences (order-free). ``next``: what the user is likely to want next (order-aware).

    ``dislike_weight``, from 0 to 1, says how far ratings below the middle of the scale push away; without such ratings it changes
    nothing. Vectors and `Embeddings` keep the weight that they were encoded with.

    All vectors have unit length. The score of an item is the inner product with its vector, which is the cosine, from -1 to 1:
    inner product, cosine and Euclidean distance rank items alike. Scores are comparable within one user, not between users.

    Raises:
        DataError: In each method with ``interactions``: an interaction is invalid, or under 5 % of 20 or more are with an item
            of the catalog (but for "ignore").
        UnknownItemError: An item is not in the catalog: in each method with ``item_id``, or with ``unknown`` "raise".
        SettingsError: In each method with ``k``, ``horizon`` or ``dislike_weight``: ``k`` is below 1, the horizon is unknown,
            `Embeddings` are of another horizon, or the weight is not from 0 to 1.
        FormatError: In each method with tags: the model has none.

    Warns:
        TastevecWarning: Items are unknown; or values are missing, or ignored.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.item_vectors = bundle.model.item_vectors  # (N, D)

    def __repr__(self) -> str:
        items, dim = self.item_vectors.shape
        data, scale = self.bundle.facts.get("data", {}), self.bundle.reading.scale
        values = f" {scale.low:g}:{scale.high:g}" if scale.kind == "explicit" else ""
        known = f"{self.bundle.noun.counted(items)}, {dim} dimensions, {scale.kind}{values}"
        users = f"{data.get('train_users', 0):,} users of {data.get('name', 'unknown data')}"
        positive = f"positive from {number(scale.positive_from)}"
        return f"Recommender({known}, {positive}, {users}, space {self.bundle.space[:8]})"

    @cached_property
    def item_directions(self) -> Vector:
        """(N, D) the items to compare with each other: ``item_vectors`` without the last coordinate, see `Geometry`."""
        return self.bundle.model.geometry.directions(self.item_vectors)

    @cached_property
    def _item_neighbors(self) -> Neighbors:
        return Neighbors(self.bundle.item_ids, self.item_directions)

    @cached_property
    def _with_vector(self) -> NDArray[np.bool_]:
        """(N,) items that can be recommended."""
        return np.asarray(self.item_vectors.any(axis=1))

    @cached_property
    def reading(self) -> ModelReading:
        """How the model reads interactions."""
        return ModelReading.of(self.bundle.facts, self.bundle.reading.scale, self._indices)

    @cached_property
    def _indices(self) -> dict[str, int]:
        return {str(item_id): index for index, item_id in enumerate(self.bundle.item_ids.tolist())}

    def save(self, folder: Path | str) -> Path:
        """Write the model to a folder; an earlier model there is replaced.

        Raises:
            FormatError: The folder holds something else.
        """
        return self.bundle.save(Path(folder))

    def push_to_hub(self, repository: str, *, private: bool | None = None) -> str:
        """Upload the model to ``org/name`` on the Hugging Face Hub, and return its URL.

        Raises:
            HubError: The Hub refuses, requires a token with write access, or cannot be reached.
            MissingExtraError: huggingface_hub is not installed.
        """
        return push(self.bundle, repository, private=private)

    @overload
    def encode(
        self,
        interactions: OneUser,
        *,
        horizon: Horizon = "overall",
        dislike_weight: float = DEFAULT_DISLIKE_WEIGHT,
        unknown: Unknown = "warn",
    ) -> Vector: ...
    @overload
    def encode(
        self,
        interactions: ManyUsers,
        *,
        horizon: Horizon = "overall",
        dislike_weight: float = DEFAULT_DISLIKE_WEIGHT,
        unknown: Unknown = "warn",
        **how: Unpack[TableChoices],
    ) -> Embeddings: ...
    def encode(
        self,
        interactions: OneUser | ManyUsers,
        *,
        horizon: Horizon = "overall",
        dislike_weight: float = DEFAULT_DISLIKE_WEIGHT,
        unknown: Unknown = "warn",
        **how: Unpack[TableChoices],
    ) -> Vector | Embeddings:
        """Return the vector (D,) of one user, or the `Embeddings` of the users of a dict or a table.

        Args:
            interactions: See the class.
            horizon: The horizon.
            dislike_weight: See the class.
            unknown: See the class.
            how: How a table is read, such as ``columns={"user_id": "reader"}``; see `TableChoices`.
        """
        users, found = self._encoded(interactions, horizon, unknown, how=how, dislike_weight=dislike_weight)
        if is_one_user(interactions):
            vector: Vector = found.vectors[0]
            return vector
        counts = (users.n_interactions, users.n_known)
        ids, space = users.histories.user_ids, self.bundle.space
        return Embeddings(ids, *found, *counts, horizon, space, dislike_weight)

    def encode_items(self) -> ItemEmbeddings:
        """Return the `ItemEmbeddings` of the catalog, such as for a vector database; items without a vector are not in it."""
        return ItemEmbeddings.of_model(self.bundle)

    def recommend(
        self,
        interactions: OneUser | ManyUsers | Embeddings | Vector,
        *,
        k: int = 10,
        horizon: Horizon = "overall",
        dislike_weight: float = DEFAULT_DISLIKE_WEIGHT,
        seen: OneUser = (),
        unknown: Unknown = "warn",
        **how: Unpack[RecommendChoices],
    ) -> pa.Table:
        """Return the best items that are not in the history: item_id, title, rank from 1, score, percentile, probability.

        Of several users the first column is user_id. The percentile is the share of the catalog with a lower score for this
        user, 0 to 100. The probability, of a positive rating if the user takes the item next, is absent where nearly all is
        positive, see `Calibration`. Filters are ``exclude``, ``only``, ``where`` and ``filter_seen``,
        see `FilterChoices`; with ``diversity`` above 0 the items are less alike.

        Args:
            interactions: See the class; or `Embeddings`, or the vector (D,) of one user.
            k: Items per user.
            horizon: The horizon.
            dislike_weight: See the class.
            unknown: See the class; also of listed items.
            how: The filters, such as ``where={"genres": "Comedy"}``; and as in `encode`.
            seen: The interactions of a vector's user, whose items are not recommended, or the same for all `Embeddings`.

        Raises:
            DataError: No item has a value of ``where``, or no item meets all filters.
            SettingsError: There is no such column or filter.

        Warns:
            TastevecWarning: A filter leaves fewer than ``k`` items to some users.
        """
        filters, tables = split_choices(how)
        chosen = self.item_filter(unknown=unknown, **filters)
        if one := is_one_user(interactions):
            chosen.check_one_user()
        users, (vectors, _) = self._encoded(interactions, horizon, unknown, seen, tables, dislike_weight)
        best = self._best(users.histories, vectors, at_least_one(k), horizon, chosen)
        table = pa.Table.from_batches([best])
        full = int((table[RANK].to_numpy() == k).sum())
        for note in (*chosen.notes_for(len(users), full, k), *chosen.not_met(users.histories.user_ids)):
            warnings.warn(note, TastevecWarning, stacklevel=2)
        rows = np.searchsorted(self.bundle.item_ids, table[ITEM_ID].to_numpy())
        table = table.add_column(2, TITLE, self.bundle.items[TITLE].take(rows))
        return table.drop_columns([USER_ID]) if one else table

    def item_filter(self, unknown: Unknown = "warn", **choices: Unpack[FilterChoices]) -> ItemFilter:
        """Return a filter for `recommend_batches`; see `FilterChoices`, and `recommend`, which takes the choices themselves."""
        return item_filter(self.bundle, self._indices, self._with_vector, choices, unknown)

    def similar_items(self, item_id: object, *, k: int = 10) -> pa.Table:
        """Return the nearest items: item_id, title, rank from 1, similarity; only items with a vector."""
        index = self.item_index(item_id)
        query = self.item_directions[[index]]
        [indices], [cosines] = self._item_neighbors.nearest(query, at_least_one(k) + 1)
        near = (indices != index) & self._with_vector[indices] & self._with_vector[index]
        indices, cosines = indices[near][:k], cosines[near][:k]
        items = self.bundle.items.select([ITEM_ID, TITLE]).take(pa.array(indices))
        ranks = pa.array(np.arange(1, len(indices) + 1, dtype=np.int32))
        return items.append_column(RANK, ranks).append_column(SIMILARITY, pa.array(cosines))

    def similar_users(
        self,
        interactions: OneUser | ManyUsers | Embeddings | Vector,
        users: Path | str | pa.Table | Embeddings | Neighbors,
        *,
        k: int = 10,
        horizon: Horizon = "overall",
        dislike_weight: float = DEFAULT_DISLIKE_WEIGHT,
        unknown: Unknown = "warn",
    ) -> pa.Table:
        """Return the users nearest to one user: user_id, rank from 1, similarity.

        Of several users the columns are user_id, similar_user_id, rank and similarity.

        Args:
            interactions: Of users who need not be among ``users``; see the class. Or `Embeddings`, or the vector (D,) of one
                user.
            users: `Embeddings` of this model, or a Parquet file or a table of them.
            k: Users to return.
            horizon: The horizon of all vectors.
            dislike_weight: See the class.
            unknown: See the class.

        Raises:
            DataError: The user vectors are of another space.
        """
        space = self.bundle.space
        known = users if isinstance(users, Neighbors) else read_user_vectors(users, space, horizon=horizon)
        check_vectors("users", space, known.horizon, space, horizon)
        queries, (vectors, _) = self._encoded(interactions, horizon, unknown, dislike_weight=dislike_weight)
        nearest = known.nearest(vectors, at_least_one(k))
        ids = queries.histories.user_ids
        pairs = pa.Table.from_batches([neighbor_pairs(USER_ID, ids, known.ids, *nearest)])
        if not is_one_user(interactions):
            return pairs
        return pairs.drop_columns([USER_ID]).rename_columns([USER_ID, RANK, SIMILARITY])

    @overload
    def explain(
        self,
        interactions: OneUser | Vector,
        *,
        tags: int = 10,
        contributions: int = 3,
        horizon: Horizon = "overall",
        dislike_weight: float = DEFAULT_DISLIKE_WEIGHT,
        unknown: Unknown = "warn",
    ) -> list[TagExplanation]: ...
    @overload
    def explain(
        self,
        interactions: ManyUsers | Embeddings,
        *,
        tags: int = 10,
        contributions: int = 3,
        horizon: Horizon = "overall",
        dislike_weight: float = DEFAULT_DISLIKE_WEIGHT,
        unknown: Unknown = "warn",
    ) -> dict[Any, list[TagExplanation]]: ...
    def explain(
        self,
        interactions: OneUser | ManyUsers | Embeddings | Vector,
        *,
        tags: int = 10,
        contributions: int = 3,
        horizon: Horizon = "overall",
        dislike_weight: float = DEFAULT_DISLIKE_WEIGHT,
        unknown: Unknown = "warn",
    ) -> list[TagExplanation] | dict[Any, list[TagExplanation]]:
        """Return the tags of one user, the largest strength times reliability first, with the contributions of rated items.

        Of several users the result has one such list per user ID. A vector, or `Embeddings`, have no contributions.
        """
        directions = self.tags
        users, (vectors, _) = self._encoded(interactions, horizon, unknown, dislike_weight=dislike_weight)
        histories = users.histories
        if isinstance(interactions, Embeddings | np.ndarray):
            contributions = 0
        attribution = self.attribution(horizon, dislike_weight)
        explanations = explain_users(
            attribution, directions, histories, vectors, tags=tags, contributions=contributions
        )
        if is_one_user(interactions):
            return explanations[0]
        return dict(zip(histories.user_ids.tolist(), explanations, strict=True))

    def attribution(self, horizon: Horizon, dislike_weight: float = DEFAULT_DISLIKE_WEIGHT) -> Attribution:
        """Return the leave-one-out attribution for a horizon."""
        return Attribution(
            lambda histories: self.vectors(histories, horizon, dislike_weight), self.bundle.item_ids, horizon
        )

    def explain_item(self, item_id: object, *, tags: int = 10) -> list[TagExplanation]:
        """Return the tags of an item."""
        vectors = self.item_directions[[self.item_index(item_id)]]
        [explanations] = explain_items(self.tags, vectors, tags=tags)
        return explanations

    def name_clusters(self, labels: Iterable[Hashable], users: Embeddings, *, k: int = 3) -> list[Cluster]:
        """Return each cluster, the largest first, with up to ``k`` tags by which it is above the other users, and below.

        Args:
            labels: The cluster of each user, in the order of ``users.ids``, such as the labels of KMeans on ``users.matrix``.
            users: `Embeddings` of this model, of any horizon.
            k: Tags per cluster and side; see `Cluster`.

        Raises:
            DataError: There is not one label per user, a label is missing, or there is one cluster only.
        """
        if not isinstance(users, Embeddings):
            raise DataError(
                f"users: {type(users).__name__}. Expected Embeddings. Pass what encode returns for many users."
            )
        check_vectors("users", users.space, None, self.bundle.space, None)
        return explain_clusters(self.tags, labels, users, tags=at_least_one(k))

    @overload
    def steer(
        self,
        vector: Vector,
        tags: Mapping[str, float],
        *,
        hold: float = 1.0,
        horizon: Horizon = "overall",
    ) -> Vector: ...
    @overload
    def steer(
        self,
        vector: Embeddings,
        tags: Mapping[str, float],
        *,
        hold: float = 1.0,
        horizon: Horizon = "overall",
    ) -> Embeddings: ...
    def steer(
        self,
        vector: Vector | Embeddings,
        tags: Mapping[str, float],
        *,
        hold: float = 1.0,
        horizon: Horizon = "overall",
    ) -> Vector | Embeddings:
        """Return a user vector (D,), or `Embeddings`, steered by tags, each by its amount in standard deviations.

        See `TagDirections.steer`. The result is scaled to unit length again, which changes no ranking, but all strengths
        a little.

        Raises:
            SettingsError: A tag is unknown, or a number is out of range.
        """
        _, users = self._encoded(vector, horizon, "ignore")
        # Steering is linear: one move serves all vectors.
        move = self.tags.steer(np.zeros_like(self.item_vectors[0]), tags, hold=hold, horizon=horizon)
        matrix, norms = users.moved(move)
        return replace(vector, matrix=matrix, norms=norms) if isinstance(vector, Embeddings) else matrix[0]

    @property
    def tags(self) -> TagDirections:
        """The tag directions.

        Raises:
            FormatError: The model has none, because its dataset has no tags, genome or genres.
        """
        if self.bundle.tags is None:
            raise FormatError(
                "the model: no tags. Expected a dataset with tags, a tag genome or genres. Prepare it with --tags or --genome, and train again."
            )
        return self.bundle.tags

    def item_index(self, item_id: object) -> int:
        """Return the index of an item in the catalog, by its ID; IDs of different types are compared as text."""
        try:
            index = self._indices.get(read_id(item_id) or "")
        except BadValueError:
            index = None
        if index is None:
            raise UnknownItemError(
                f"item_id: {item_id!r} is not in the catalog ({self.bundle.noun.counted(len(self._indices))}). Expected one of its IDs, such as {self.bundle.item_ids[0]}."
            )
        return index

    def with_items(
        self,
        items: object,
        *,
        tags: object = (),
        genome: Path | str | None = None,
        text_model: str | None = None,
        bad_rows: float | None = None,
    ) -> Recommender:
        """Return a recommender with new items, which can be rated and recommended at once.

        Their embeddings are predicted from their metadata. Known items do not change, nor does the vector of a user without
        a rating of a new item: both models share one space. Adding twice equals adding all at once.

        Args:
            items: A table or a file of item_id and metadata as in the training, or a list of them, which are joined by ID.
            tags: A table or a file of item_id, tag and optional weight, or a list of them.
            genome: A folder with the tag genome of the training, joined by item ID.
            text_model: The folder of the sentence encoder of the training; without it, texts are not read, with a warning.
            bad_rows: Largest share of broken rows that are dropped; None refuses the first one.

        Raises:
            DataError: An item is known, has no metadata that the model can use, or a row is invalid.
            SettingsError: The sentence encoder is not that of the training.
        """
        settings = ItemSettings(
            items=several_tables(items), tags=several_tables(tags), text_model=text_model, bad_rows=bad_rows
        )
        features = self.bundle.cold_start.features
        new_items = read_new_items(settings, features, None if genome is None else Path(genome))
        for note in new_items.notes:
            warnings.warn(note, TastevecWarning, stacklevel=2)
        return Recommender(with_new_items(self.bundle, new_items))

    def open_file(
        self,
        path: Path | Literal["-"],
        *,
        memory: str = "512MB",
        **stated: Any,  # noqa: ANN401  each has its own type
    ) -> UserFile:
        """Open the users of a file, or of standard input (``-``); see `open_file`.

        ``stated`` are settings such as ``bad_rows="drop"``, as `prepare` has them, but for those that the model decides.
        """
        check_names(stated, HISTORY_SETTINGS)
        return open_file(path, self.bundle.item_ids, self.reading, intake_settings(stated), memory=memory)

    def vectors(
        self, histories: Histories, horizon: Horizon, dislike_weight: float = DEFAULT_DISLIKE_WEIGHT
    ) -> Vector:
        """Return the vectors (B, D) of users."""
        return self.user_vectors(histories, horizon, dislike_weight).vectors

    def user_vectors(
        self, histories: Histories, horizon: Horizon, dislike_weight: float = DEFAULT_DISLIKE_WEIGHT
    ) -> UserVectors:
        """Return the vectors (B, D) and norms (B,) of users."""
        if horizon not in get_args(Horizon):
            raise SettingsError(f"horizon: {horizon!r}. Expected {' or '.join(get_args(Horizon))}.")
        weight = check_dislike_weight(dislike_weight)
        return encode_histories(self.bundle.model, self.bundle.reading, histories, horizon, weight)

    def scores(self, known: Histories, later: Histories, horizon: Horizon) -> NDArray[np.float32]:
        """Return the score (T,) of each item of ``later`` for its user, from the user's known history."""
        users = self.vectors(known, horizon)[later.owners]
        found: NDArray[np.float32] = np.einsum("td,td->t", users, self.item_vectors[later.items])
        return found

    def encode_batches(
        self,
        users: Iterable[Histories],
        horizon: Horizon,
        dislike_weight: float = DEFAULT_DISLIKE_WEIGHT,
    ) -> Iterator[pa.RecordBatch]:
        """Yield ``user_id, vector, norm`` of each batch of users."""
        dim = self.item_vectors.shape[1]
        for histories in users:
            vectors, norms = self.user_vectors(histories, horizon, dislike_weight)
            lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dim)
            columns = [pa.array(histories.user_ids), lists, pa.array(norms)]
            yield pa.RecordBatch.from_arrays(columns, names=[USER_ID, VECTOR, NORM])

    def recommend_batches(
        self,
        users: Iterable[Histories],
        *,
        k: int,
        horizon: Horizon,
        dislike_weight: float = DEFAULT_DISLIKE_WEIGHT,
        chosen: ItemFilter | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Yield ``user_id, item_id, rank`` and `MEANINGS` of each batch of users; ``chosen`` is from `item_filter`."""
        at_least_one(k)
        chosen = chosen or self.item_filter()
        for histories in (part for batch in users for part in batch.chunks(_MAX_USERS)):
            vectors = self.vectors(histories, horizon, dislike_weight)
            yield self._best(histories, vectors, k, horizon, chosen)

    def best_items(self, known: Histories, vectors: Vector, k: int, chosen: ItemFilter) -> BestItems:
        """Return the best items (B, K) of users, from their histories and vectors (B, D)."""
        return chosen.best(known, vectors, self.item_vectors, lambda: self.item_directions, k)

    def _best(
        self, known: Histories, vectors: Vector, k: int, horizon: Horizon, chosen: ItemFilter
    ) -> pa.RecordBatch:
        """Return ``user_id, item_id, rank`` and `MEANINGS` of users, from their histories and vectors (B, D)."""
        best = self.best_items(known, vectors, k, chosen)  # (B, K)
        present = best.indices >= 0
        rows, ranks = np.nonzero(present)
        columns = {
            USER_ID: pa.array(known.user_ids[rows]),
            ITEM_ID: pa.array(self.bundle.item_ids[best.indices[present]]),
            RANK: pa.array((ranks + 1).astype(np.int32)),
        }
        measures = self.bundle.measures(known, best, horizon)
        columns |= {name: pa.array(of[present]) for name, of in measures.items()}
        facts = {"space": self.bundle.space, "horizon": horizon} | {name: MEANINGS[name] for name in measures}
        return pa.record_batch(columns, metadata=facts)

    def _encoded(
        self,
        users: OneUser | ManyUsers | Embeddings | Vector,
        horizon: Horizon,
        unknown: Unknown,
        seen: OneUser = (),
        how: Mapping[str, Any] | None = None,
        dislike_weight: float = DEFAULT_DISLIKE_WEIGHT,
    ) -> tuple[ParsedUsers, UserVectors]:
        """Return users and their vectors; embeddings have the history ``seen``.

        Raises:
            DataError: Embeddings are of another space, or a vector has another shape.
            SettingsError: Embeddings are of another horizon, or the weight is not from 0 to 1.
        """
        check_dislike_weight(dislike_weight)
        if isinstance(users, np.ndarray) and users.dtype.kind != "f":
            users = users.tolist()
        if not isinstance(users, Embeddings | np.ndarray):
            parsed = self._parse(users, unknown, how=how)
            return parsed, self.user_vectors(parsed.histories, horizon, dislike_weight)
        ids, vectors, norms = given_vectors(users, self.bundle, horizon)
        known = self._parse(seen, unknown, "seen")
        history = known.histories.take(np.zeros(len(ids), np.int64))
        return replace(known, histories=replace(history, user_ids=ids)), UserVectors(vectors, norms)

    def _parse(
        self,
        interactions: OneUser | ManyUsers | Vector,
        unknown: Unknown,
        where: str = "interactions",
        how: Mapping[str, Any] | None = None,
    ) -> ParsedUsers:
        parsed = parse(interactions, self.reading, where, how)
        # The caller of a method of this class is five calls up.
        catalog = self.bundle.noun.counted(len(self._indices))
        report_unknown(parsed, unknown, catalog, stacklevel=5, where=where)
        return parsed
