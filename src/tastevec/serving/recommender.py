"""The recommender: a trained model, asked.

Dimensions: B people, N films of the catalogue, D numbers a vector, K films recommended.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pyarrow as pa

from tastevec.errors import FormatError, SettingsError
from tastevec.evaluation.scorers import EncodedScorer
from tastevec.schema import ITEM_ID, RANK, SCORE, TITLE, USER_ID, VECTOR, Horizon
from tastevec.serving.arrivals import read_arrivals, with_arrivals
from tastevec.serving.best_films import best_films
from tastevec.serving.bulk import vectors_of
from tastevec.serving.explanation import TagReading, explain_films, explain_people
from tastevec.serving.hub import open_bundle, push
from tastevec.serving.neighbours import Neighbours, read_people
from tastevec.serving.told import histories_in_table, history_of_one, place_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.items.tag_directions import TagDirections
    from tastevec.serving.bundle import Bundle, Runtime

__all__ = ["Recommender", "load"]

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
    def _films(self) -> Neighbours:
        return Neighbours(self.bundle.item_ids, self.item_vectors)

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
        return pa.Table.from_batches(list(self.encoded(self._many(ratings), horizon)))

    def recommend(self, ratings: object, *, k: int = 10, horizon: Horizon = "next") -> pa.Table:
        """The best films that each person does not know: item_id, title, rank from 1, score; user_id first in a table.

        Raises:
            SettingsError: ``k`` is below 1.
            DataError: A rating is wrong.
            UnknownItemError: One person's film is not in the catalogue; in a table such rows are left out.
        """
        one = isinstance(ratings, list | tuple)
        people = iter([self._one(ratings)]) if one else self._many(ratings)
        table = pa.Table.from_batches(list(self.recommended(people, k=k, horizon=horizon)))
        places = np.searchsorted(self.bundle.item_ids, table[ITEM_ID].to_numpy())
        table = table.add_column(2, TITLE, self.bundle.items[TITLE].take(places))
        return table.drop_columns([USER_ID]) if one else table

    def similar_items(self, item_id: object, *, k: int = 10) -> pa.Table:
        """The films nearest to one: item_id, title, rank from 1, score (the cosine); itself and films without a vector are none.

        Raises:
            SettingsError: ``k`` is below 1.
            UnknownItemError: The film is not in the catalogue.
        """
        place = self.place(item_id)
        places, scores = self._films.nearest(self.item_vectors[[place]], _at_least_one(k) + 1)
        near = (places[0] != place) & self.item_vectors[places[0]].any(axis=1)
        near &= bool(self.item_vectors[place].any())
        found, alike = places[0][near][:k], scores[0][near][:k]
        films = self.bundle.items.select([ITEM_ID, TITLE]).take(pa.array(found))
        ranks = pa.array(np.arange(1, len(found) + 1, dtype=np.int32))
        return films.append_column(RANK, ranks).append_column(SCORE, pa.array(alike))

    def similar_users(
        self,
        ratings: object,
        people: Path | str | pa.Table | Neighbours,
        *,
        k: int = 10,
        horizon: Horizon = "overall",
    ) -> pa.Table:
        """The people nearest to one person, who need not be stored: user_id, rank from 1, score (the cosine).

        Args:
            ratings: One person's; see the class.
            people: Whose vectors ``encode`` wrote with this model, as a Parquet file or a table.
            k: How many.
            horizon: That of the people's vectors.

        Raises:
            SettingsError: ``k`` is below 1.
            DataError: A rating is wrong, or the people's vectors are of another space.
            UnknownItemError: A film is not in the catalogue.
        """
        known = people if isinstance(people, Neighbours) else read_people(people, self.bundle.space)
        [places], [scores] = known.nearest(self.vectors(self._one(ratings), horizon), _at_least_one(k))
        ranks = pa.array(np.arange(1, len(places) + 1, dtype=np.int32))
        return pa.table({USER_ID: pa.array(known.ids[places]), RANK: ranks, SCORE: pa.array(scores)})

    def explain(
        self, ratings: object, *, tags: int = 10, films: int = 3, horizon: Horizon = "overall"
    ) -> list[TagReading]:
        """One person in tags, those that say most first, each with the films of his that caused it.

        Raises:
            FormatError: The bundle has no tags.
            DataError: A rating is wrong.
            UnknownItemError: A film is not in the catalogue.
        """
        [told] = explain_people(self, self.tags, self._one(ratings), horizon, tags=tags, films=films)
        return told

    def explain_item(self, item_id: object, *, tags: int = 10) -> list[TagReading]:
        """A film in tags.

        Raises:
            FormatError: The bundle has no tags.
            UnknownItemError: The film is not in the catalogue.
        """
        [told] = explain_films(self, self.tags, [self.place(item_id)], tags=tags)
        return told

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
        return self.tags.steer(vector, tags, hold=hold, kind=horizon)

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

    def place(self, item_id: object) -> int:
        """The position of a film in the catalogue, by its id, of whatever type.

        Raises:
            UnknownItemError: It is not there.
        """
        return place_of(item_id, self.bundle.item_ids)

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
        arrivals = read_arrivals(items, tags, None if genome is None else Path(genome))
        return Recommender(with_arrivals(self.bundle, arrivals))

    def vectors(self, histories: Histories, horizon: Horizon) -> NDArray[np.float32]:
        """(B, D) the vectors of these people.

        Raises:
            SettingsError: There is no such horizon.
        """
        if horizon not in get_args(Horizon):
            raise SettingsError(f"horizon is {horizon!r}; expected one of {', '.join(get_args(Horizon))}")
        return vectors_of(self.bundle.model, self.bundle.reading, histories, horizon)

    def encoded(self, people: Iterable[Histories], horizon: Horizon) -> Iterator[pa.RecordBatch]:
        """``user_id, vector`` of any number of people, a group at a time."""
        dim = self.item_vectors.shape[1]
        for histories in people:
            flat = pa.array(self.vectors(histories, horizon).ravel())
            columns = [pa.array(histories.user_ids), pa.FixedSizeListArray.from_arrays(flat, dim)]
            yield pa.RecordBatch.from_arrays(columns, names=[USER_ID, VECTOR])

    def recommended(
        self, people: Iterable[Histories], *, k: int, horizon: Horizon
    ) -> Iterator[pa.RecordBatch]:
        """``user_id, item_id, rank, score`` of any number of people, a group at a time.

        Raises:
            SettingsError: ``k`` is below 1.
        """
        _at_least_one(k)
        for group in people:
            for histories in group.chunks(_ANSWERED):
                yield self._best(histories, k, horizon)

    def scorer(self, name: str) -> EncodedScorer:
        """This model as the evaluation sees it."""
        return EncodedScorer(name, self.bundle.space, self.item_vectors, self.vectors)

    def _best(self, histories: Histories, k: int, horizon: Horizon) -> pa.RecordBatch:
        vectors = self.vectors(histories, horizon)
        best, scores = best_films(vectors, self.item_vectors, histories, k, self._with_vector)  # (B, K)
        there = best >= 0
        people, places = np.nonzero(there)
        columns = {
            USER_ID: pa.array(histories.user_ids[people]),
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
