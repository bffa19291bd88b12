"""The recommender: encode, recommend, similar, explain and steer with a trained model.

Dimensions: B people, N films of the catalogue, D numbers a vector, K films recommended.
"""

from __future__ import annotations

import tempfile
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tastevec.data.histories import NO_TIMESTAMP, Histories, normalize_ratings
from tastevec.data.topk import rank_items
from tastevec.errors import DataError, FormatError, SettingsError, UnknownItemError
from tastevec.schema import ITEM_ID, RANK, SCORE, SIMILARITY, TITLE, USER_ID, VECTOR, Horizon
from tastevec.serving.encoder import encode_histories
from tastevec.serving.explain import Attribution, TagExplanation, explain_items, explain_users
from tastevec.serving.hub import open_bundle, push
from tastevec.serving.neighbors import Neighbors, read_user_vectors
from tastevec.serving.new_items import read_new_items, with_new_items

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from tastevec.data.inputs import RatingScale
    from tastevec.data.streaming import HistoryStream
    from tastevec.items.tag_directions import TagDirections
    from tastevec.serving.bundle import Bundle, Runtime

__all__ = [
    "Recommender",
    "best_items",
    "histories_in_file",
    "histories_in_table",
    "history_of_one",
    "index_of",
    "load",
]


def histories_in_file(
    path: Path | str,
    item_ids: NDArray[Any],
    scale: RatingScale,
    *,
    skip_bad_rows: bool = False,
    memory: str = "2GB",
) -> HistoryStream:
    """The people of a CSV or Parquet file, or of CSV on standard input (``-``), a group at a time.

    Raises:
        SourceError: The file is no table of interactions.
        BadRowError: A row is wrong and ``skip_bad_rows`` is off.
    """
    from tastevec.data.expressions import connect  # noqa: PLC0415  as above
    from tastevec.data.readers import ReadSettings, read_interactions  # noqa: PLC0415  who serves reads no files, and has no DuckDB
    from tastevec.data.streaming import iter_histories  # noqa: PLC0415  as above

    settings = ReadSettings(
        skip_bad_rows=skip_bad_rows, rating_range=(scale.low, scale.high), model_scale=True
    )
    source: Path | Literal["-"] = "-" if path == "-" else Path(path)
    table, _ = read_interactions(source, connection=connect(memory), settings=settings)
    return iter_histories(table, item_ids)


def histories_in_table(table: object, item_ids: NDArray[Any], scale: RatingScale) -> HistoryStream:
    """The people of a table in memory: Polars, pandas, Arrow, or anything else that speaks Arrow's interface.

    Raises:
        DataError: It is no table, or a row is wrong.
    """
    if not hasattr(table, "__arrow_c_stream__") and not hasattr(table, "__arrow_c_array__"):
        raise DataError(
            f"ratings are a {type(table).__name__}; expected a table (Polars, pandas, Arrow) or one person's [(item_id, rating), ...]"
        )
    with tempfile.TemporaryDirectory(prefix="tastevec-") as scratch:
        path = Path(scratch) / "ratings.parquet"
        pq.write_table(pa.table(table), path)
        return histories_in_file(path, item_ids, scale)


def history_of_one(
    ratings: Sequence[tuple[Any, float]], item_ids: NDArray[Any], scale: RatingScale
) -> Histories:
    """One person's ratings, oldest first; ids of other types than the catalogue's are compared as text, as in a table.

    Raises:
        UnknownItemError: A film is not in the catalogue.
        DataError: A rating is out of range, or a film stands twice.
    """
    try:
        ids = np.array([item for item, _ in ratings], dtype=object).astype(str).astype(item_ids.dtype)
        values = np.array([rating for _, rating in ratings], np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        kind = "text" if item_ids.dtype == object else "whole numbers"
        raise DataError(
            f"one person's ratings are not [(item_id, rating), ...] ({error}); the model's item ids are {kind}"
        ) from error
    places = np.searchsorted(item_ids, ids)
    unknown = item_ids[np.minimum(places, len(item_ids) - 1)] != ids
    if unknown.any():
        raise UnknownItemError(
            f"item {ids[unknown].tolist()[0]!r} is not in the model's catalogue of {len(item_ids)} films; leave it out"
        )
    wrong = ~((values >= scale.low) & (values <= scale.high))
    if wrong.any():
        raise DataError(
            f"item {ids[wrong].tolist()[0]!r} is rated {values[wrong][0]:g}; expected {scale.low:g} to {scale.high:g}, the model's own scale"
        )
    if len(np.unique(places)) < len(places):
        raise DataError("a film is rated twice; expected each film once, at its last rating")
    offsets = np.array([0, len(places)])
    return Histories(
        user_ids=np.array([0]),
        offsets=offsets,
        items=places.astype(np.int32),
        ratings=values,
        normalized_ratings=normalize_ratings(values, offsets),
        timestamps=np.full(len(places), NO_TIMESTAMP, np.int64),
    )


def index_of(item_id: object, item_ids: NDArray[Any]) -> int:
    """The position of a film in the catalogue, whose ids are in order, by its id, of whatever type.

    Raises:
        UnknownItemError: It is not there.
    """
    try:
        wanted = np.array([str(item_id)]).astype(item_ids.dtype)[0]
    except ValueError:
        wanted = None
    found = 0 if wanted is None else int(np.searchsorted(item_ids, wanted))
    if wanted is None or found == len(item_ids) or item_ids[found] != wanted:
        raise UnknownItemError(
            f"item {item_id!r} is not in the model's catalogue of {len(item_ids)} films; expected one of its ids"
        )
    return found


_CELLS = 1 << 24  # scores of a block, 64 MB: with fewer people at once their product is slower


def best_items(
    vectors: NDArray[np.float32],
    item_vectors: NDArray[np.float32],
    known: Histories,
    k: int,
    candidates: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """(B, K) places of the films that score highest for each person and that he does not know, best first, and the scores.

    There is no index, and nothing is searched to a depth: a person's own films are struck out of the scores themselves, so
    that a long history costs no more than a short one. Equal scores stand in the order of the catalogue. Memory is that of
    16 million scores, or of as many as all film vectors have numbers where these are more; how many people are asked
    changes nothing.

    Args:
        vectors: (B, D) float32, one a person of ``known``.
        item_vectors: (N, D) float32.
        known: Whose films are left out.
        k: Films wanted; fewer where the catalogue is smaller.
        candidates: (N,) the films that may be among the best; None is all.

    Returns:
        Of a person who has fewer films left, the remaining places are -1 and their scores minus infinity.

    Raises:
        DataError: A score is not a finite number.

    Examples:
        >>> from tastevec.data.histories import Histories
        >>> one = np.ones(1, np.float32)
        >>> known = Histories(np.array([7]), np.array([0, 1]), np.array([0], np.int32), one, one, np.array([0]))
        >>> items = np.array([[2, 0], [1, 1], [0, 3], [1, 0]], np.float32)
        >>> best_items(np.array([[1, 0.5]], np.float32), items, known, 2)  # item 0 is his own; 1 and 2 tie
        (array([[1, 2]]), array([[1.5, 1.5]], dtype=float32))
    """
    items, dim = item_vectors.shape
    rows = max(1, min(len(known), max(dim, _CELLS // items)))
    scores = np.empty((rows, items), np.float32)
    places = np.empty((len(known), min(k, items)), np.int64)  # (B, K)
    best = np.empty(places.shape, np.float32)
    for number, part in enumerate(known.chunks(rows)):
        now = slice(number * rows, number * rows + len(part))
        with np.errstate(
            invalid="ignore", over="ignore"
        ):  # the ranking refuses what is no number, and says whose
            block = np.matmul(vectors[now], item_vectors.T, out=scores[: len(part)])  # (rows, N)
        places[now] = rank_items(block, part, k, candidates, overwrite_scores=True)
        best[now] = np.take_along_axis(block, np.maximum(places[now], 0), 1)
    best[places < 0] = -np.inf
    return places, best


_ANSWERED = 1024  # people whose films are told at once


def load(folder: Path | str, *, runtime: Runtime = "auto", revision: str | None = None) -> Recommender:
    """The recommender of a bundle.

    Args:
        folder: A bundle; or ``org/name`` of the Hugging Face hub, where there is no such folder.
        runtime: What computes; see `Bundle.load`.
        revision: Of the hub: a branch, a tag or a commit.

    Raises:
        FormatError: It is missing, damaged, or of another format version.
        HubError: The hub asks for a token, or cannot be reached and the model was not fetched before.
    """
    return Recommender(open_bundle(folder, runtime, revision=revision))


class Recommender:
    """A bundle that answers questions; nobody's answer depends on who else is asked.

    ``ratings`` is a table with user, item, rating and, if known, time (Polars, pandas, Arrow), or one person's
    ``[(item_id, rating), ...]``, oldest first. The horizon ``next`` asks what comes next, ``overall`` for the taste
    as a whole.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.item_vectors = bundle.model.item_vectors  # (N, D)

    @cached_property
    def _items(self) -> Neighbors:
        return Neighbors(self.bundle.item_ids, self.item_vectors)

    @cached_property
    def _with_vector(self) -> NDArray[np.bool_]:
        """(N,) the films that can be recommended."""
        return np.asarray(self.item_vectors.any(axis=1))

    def save(self, folder: Path | str) -> Path:
        """Write the bundle to a folder, in place of an earlier one; a `FormatError` if something else is there."""
        return self.bundle.save(Path(folder))

    def push_to_hub(self, repository: str, *, private: bool | None = None) -> str:
        """Write the bundle to ``org/name`` of the Hugging Face hub, from where `load` takes it; the address of what was written.

        Raises:
            HubError: The hub refuses, asks for a token that may write, or cannot be reached.
            MissingExtraError: huggingface_hub is not installed.
        """
        return push(self.bundle, repository, private=private)

    def encode(self, ratings: object, *, horizon: Horizon = "next") -> NDArray[np.float32] | pa.Table:
        """One person's vector (D,), or a table of user_id and vector.

        Raises:
            DataError: A rating is wrong.
            UnknownItemError: One person's film is not in the catalogue; in a table such rows are left out.
        """
        if isinstance(ratings, list | tuple):
            return self.vectors(self._one(ratings), horizon)[0]
        return pa.Table.from_batches(list(self.encode_batches(self._many(ratings), horizon)))

    def recommend(self, ratings: object, *, k: int = 10, horizon: Horizon = "next") -> pa.Table:
        """The best films that each person does not know: item_id, title, rank from 1, score; user_id first in a table.

        Raises:
            SettingsError: ``k`` is below 1.
            DataError: A rating is wrong.
            UnknownItemError: One person's film is not in the catalogue; in a table such rows are left out.
        """
        one = isinstance(ratings, list | tuple)
        users = iter([self._one(ratings)]) if one else self._many(ratings)
        table = pa.Table.from_batches(list(self.recommend_batches(users, k=k, horizon=horizon)))
        places = np.searchsorted(self.bundle.item_ids, table[ITEM_ID].to_numpy())
        table = table.add_column(2, TITLE, self.bundle.items[TITLE].take(places))
        return table.drop_columns([USER_ID]) if one else table

    def similar_items(self, item_id: object, *, k: int = 10) -> pa.Table:
        """The films nearest to one: item_id, title, rank from 1, similarity (the cosine); itself and films without a vector are none.

        Raises:
            SettingsError: ``k`` is below 1.
            UnknownItemError: The film is not in the catalogue.
        """
        place = self.item_index(item_id)
        places, scores = self._items.nearest(self.item_vectors[[place]], _at_least_one(k) + 1)
        near = (places[0] != place) & self.item_vectors[places[0]].any(axis=1)
        near &= bool(self.item_vectors[place].any())
        found, alike = places[0][near][:k], scores[0][near][:k]
        items = self.bundle.items.select([ITEM_ID, TITLE]).take(pa.array(found))
        ranks = pa.array(np.arange(1, len(found) + 1, dtype=np.int32))
        return items.append_column(RANK, ranks).append_column(SIMILARITY, pa.array(alike))

    def similar_users(
        self,
        ratings: object,
        users: Path | str | pa.Table | Neighbors,
        *,
        k: int = 10,
        horizon: Horizon = "overall",
    ) -> pa.Table:
        """The people nearest to one person, who need not be stored: user_id, rank from 1, similarity (the cosine).

        Args:
            ratings: One person's; see the class.
            users: Whose vectors ``encode`` wrote with this model, as a Parquet file or a table.
            k: How many.
            horizon: That of the people's vectors.

        Raises:
            SettingsError: ``k`` is below 1.
            DataError: A rating is wrong, or the people's vectors are of another space.
            UnknownItemError: A film is not in the catalogue.
        """
        known = users if isinstance(users, Neighbors) else read_user_vectors(users, self.bundle.space)
        [places], [scores] = known.nearest(self.vectors(self._one(ratings), horizon), _at_least_one(k))
        ranks = pa.array(np.arange(1, len(places) + 1, dtype=np.int32))
        return pa.table({USER_ID: pa.array(known.ids[places]), RANK: ranks, SIMILARITY: pa.array(scores)})

    def explain(
        self, ratings: object, *, tags: int = 10, contributions: int = 3, horizon: Horizon = "overall"
    ) -> list[TagExplanation]:
        """Return the tags of one user, the largest strength times reliability first, with the contributions of rated items.

        Raises:
            FormatError: The bundle has no tags.
            DataError: A rating is wrong.
            UnknownItemError: A film is not in the catalogue.
        """
        directions, history = self.tags, self._one(ratings)
        vectors = self.vectors(history, horizon)
        [explanations] = explain_users(
            self.attribution(horizon), directions, history, vectors, tags=tags, contributions=contributions
        )
        return explanations

    def attribution(self, horizon: Horizon) -> Attribution:
        """Return the leave-one-out attribution for a horizon."""
        return Attribution(lambda histories: self.vectors(histories, horizon), self.bundle.item_ids, horizon)

    def explain_item(self, item_id: object, *, tags: int = 10) -> list[TagExplanation]:
        """A film in tags.

        Raises:
            FormatError: The bundle has no tags.
            UnknownItemError: The film is not in the catalogue.
        """
        vectors = self.item_vectors[[self.item_index(item_id)]]
        [explanations] = explain_items(self.tags, vectors, tags=tags)
        return explanations

    def steer(
        self,
        vector: NDArray[np.float32],
        tags: Mapping[str, float],
        *,
        hold: float = 1.0,
        horizon: Horizon = "overall",
    ) -> NDArray[np.float32]:
        """(D,) a person's vector moved along tags, each by its dose in standard deviations; see `TagDirections.steer`.

        Raises:
            FormatError: The bundle has no tags.
            SettingsError: There is no such tag, or a number is out of range.
        """
        return self.tags.steer(vector, tags, hold=hold, horizon=horizon)

    @property
    def tags(self) -> TagDirections:
        """What vectors say in words.

        Raises:
            FormatError: The bundle has none: nothing was said of its films, or it comes from before tags were kept.
        """
        if self.bundle.tags is None:
            raise FormatError(
                "the model knows no tags: nothing was said of its films, or it comes from before tags were kept; prepare "
                "with --tags, --genome or genres and train again"
            )
        return self.bundle.tags

    def item_index(self, item_id: object) -> int:
        """The position of a film in the catalogue, by its id, of whatever type.

        Raises:
            UnknownItemError: It is not there.
        """
        return index_of(item_id, self.bundle.item_ids)

    def with_items(
        self, items: object, *, tags: object = (), genome: Path | str | None = None
    ) -> Recommender:
        """A recommender that knows these films too, placed by what is said of them.

        They can be rated and recommended at once. Known films do not move, and what is said of people who rated none of
        the new films stays as it was, so that vectors of the two may be compared: they share one space. Adding twice is
        adding all at once.

        Args:
            items: A table, or a CSV or Parquet file, of item_id, title and, if known, year and genres.
            tags: A table of item_id, tag and, if known, weight; or files of tags as `prepare` takes them.
            genome: A folder with the tag genome that the model was trained with, borrowed by film id.

        Raises:
            DataError: A film is known already, nothing that the model can read is said of it, or a row is wrong.
            FormatError: The model comes from before new films could be placed.
        """
        new_items = read_new_items(items, tags, None if genome is None else Path(genome))
        return Recommender(with_new_items(self.bundle, new_items))

    def vectors(self, histories: Histories, horizon: Horizon) -> NDArray[np.float32]:
        """(B, D) the vectors of these people.

        Raises:
            SettingsError: There is no such horizon.
        """
        if horizon not in get_args(Horizon):
            raise SettingsError(f"horizon is {horizon!r}; expected one of {', '.join(get_args(Horizon))}")
        return encode_histories(self.bundle.model, self.bundle.reading, histories, horizon)

    def encode_batches(self, users: Iterable[Histories], horizon: Horizon) -> Iterator[pa.RecordBatch]:
        """``user_id, vector`` of any number of people, a group at a time."""
        dim = self.item_vectors.shape[1]
        for histories in users:
            flat = pa.array(self.vectors(histories, horizon).ravel())
            columns = [pa.array(histories.user_ids), pa.FixedSizeListArray.from_arrays(flat, dim)]
            yield pa.RecordBatch.from_arrays(columns, names=[USER_ID, VECTOR])

    def recommend_batches(
        self, users: Iterable[Histories], *, k: int, horizon: Horizon
    ) -> Iterator[pa.RecordBatch]:
        """``user_id, item_id, rank, score`` of any number of people, a group at a time.

        Raises:
            SettingsError: ``k`` is below 1.
        """
        _at_least_one(k)
        for group in users:
            for histories in group.chunks(_ANSWERED):
                yield self._best(histories, k, horizon)

    def _best(self, histories: Histories, k: int, horizon: Horizon) -> pa.RecordBatch:
        vectors = self.vectors(histories, horizon)
        best, scores = best_items(vectors, self.item_vectors, histories, k, self._with_vector)  # (B, K)
        there = best >= 0
        users, places = np.nonzero(there)
        columns = {
            USER_ID: pa.array(histories.user_ids[users]),
            ITEM_ID: pa.array(self.bundle.item_ids[best[there]]),
            RANK: pa.array((places + 1).astype(np.int32)),
            SCORE: pa.array(scores[there]),
        }
        return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))

    def _one(self, ratings: Any) -> Histories:  # noqa: ANN401  whatever the caller told
        return history_of_one(ratings, self.bundle.item_ids, self.bundle.reading.scale)

    def _many(self, ratings: object) -> Iterable[Histories]:
        return histories_in_table(ratings, self.bundle.item_ids, self.bundle.reading.scale)


def _at_least_one(k: int) -> int:
    if k < 1:
        raise SettingsError(f"k is {k}; expected 1 or more")
    return k
