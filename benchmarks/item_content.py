"""Item content: the share of left-out items' collaborative factors that each kind of item metadata explains.

Factors are iALS of the training users. A random tenth of the well-known items is left out of a ridge from item features to
factors, several times; the share is 1 less the squared error on the left-out items over that of the mean of the others.

Dimensions: N items, F features, D numbers a vector.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tastevec.data.expressions import connect
from tastevec.data.histories import Histories
from tastevec.data.intake.settings import IntakeSettings, ItemSettings
from tastevec.data.intake.source import read_source
from tastevec.data.preprocess import hash_split
from tastevec.items.als import als_factors
from tastevec.items.cold_start import content_regression
from tastevec.items.content import ContentFeatures, genre_matrix
from tastevec.items.genome import Genome, genome_svd_vectors
from tastevec.items.text import with_embeddings
from tastevec.schema import GENRES, ITEM_ID, TAG, TEXT_COLUMN, TITLE, USER_ID, WEIGHT

if TYPE_CHECKING:
    from numpy.typing import NDArray

DRAWS: Final = (42, 43, 44, 45, 46)
SHARED = Path(os.environ.get("TASTEVEC_SHARED", "../shared")) / "data"
_FRACTIONS: Final = (0.7, 0.15, 0.15)
_NO_TAGS: Final = pa.table(
    {ITEM_ID: pa.array([], pa.string()), TAG: pa.array([], pa.string()), WEIGHT: np.zeros(0)}
)


@dataclass(frozen=True, eq=False)
class World:
    """N items with their metadata and the tags of training users, their factors (N, D), and their training users (N,)."""

    items: pa.Table
    tags: pa.Table
    factors: NDArray[np.float32]
    users: NDArray[np.int64]

    @classmethod
    def read(cls, source: Path, items: ItemSettings, settings: IntakeSettings) -> World:
        """Read a source, and factorize the interactions of its training users."""
        connection = connect()
        found = read_source(source, connection=connection, settings=settings, items=items)
        table = found.interactions
        split = hash_split(table[USER_ID], seed=42, fractions=_FRACTIONS)
        rows = connection.to_pyarrow(
            table.filter(split == 0).select(USER_ID, ITEM_ID, "rating").order_by(USER_ID, ITEM_ID)
        )
        metadata, tags = connection.to_pyarrow(found.items), connection.to_pyarrow(found.tags)
        connection.disconnect()
        train = pc.unique(rows[USER_ID].combine_chunks())
        own = pc.is_null(tags[USER_ID]), pc.is_in(tags[USER_ID].cast(train.type), train)
        ids = metadata[ITEM_ID].combine_chunks()
        others = pc.unique(
            rows[ITEM_ID].combine_chunks().filter(pc.invert(pc.is_in(rows[ITEM_ID].combine_chunks(), ids)))
        )
        metadata = pa.concat_tables([metadata, pa.table({ITEM_ID: others})], promote_options="default")
        metadata = metadata.set_column(1, TITLE, pc.fill_null(metadata[TITLE], ""))
        where = pc.index_in(rows[ITEM_ID], metadata[ITEM_ID].combine_chunks()).to_numpy()
        scale = found.scale
        ratings = np.asarray(rows["rating"].to_numpy(), np.float32)
        stars = np.where(np.isnan(ratings), np.nan, 0.5 + 4.5 * scale.share(ratings)).astype(np.float32)
        if scale.kind != "explicit":
            stars = np.where(scale.positive(ratings), np.float32(5), stars)
        lengths = np.bincount(pc.index_in(rows[USER_ID], train).to_numpy(), minlength=len(train))
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        empty = np.zeros(len(stars))
        histories = Histories(
            np.arange(len(train)),
            offsets,
            where.astype(np.int32),
            stars,
            empty.astype(np.float32),
            empty.astype(np.int64),
        )
        factors = als_factors(histories, len(metadata))
        return cls(metadata, tags.filter(pc.or_(*own)), factors, np.bincount(where, minlength=len(metadata)))

    def explained(self, rows: Any) -> dict[str, float]:
        """Return the mean and the standard deviation over the draws of the share that features (N, F) explain."""
        shares = [self._explained(rows, seed) for seed in DRAWS]
        return {
            "mean": round(float(np.mean(shares)), 4),
            "deviation": round(float(np.std(shares, ddof=1)), 4),
        }

    def _explained(self, rows: Any, seed: int) -> float:
        known = np.flatnonzero(
            (self.users >= min(20, int(np.median(self.users[self.users > 0])) + 1)) & self.factors.any(axis=1)
        )
        hidden = np.random.default_rng(seed).permutation(known)[: len(known) // 10]
        users = self.users.copy()
        users[hidden] = 0
        slopes, mean = content_regression(rows, self.factors, users)
        predicted = rows[hidden] @ slopes.astype(np.float64) + mean
        fitted = np.flatnonzero(users > 0)
        weights = users[fitted] / (users[fitted] + 10.0)
        center = weights @ self.factors[fitted] / weights.sum()
        truth, weight = self.factors[hidden], self.users[hidden] / (self.users[hidden] + 10.0)
        errors = [(weight * ((truth - guess) ** 2).sum(axis=1)).sum() for guess in (predicted, center)]
        return float(1 - errors[0] / errors[1])

    def rows(self, *kinds: str, tags: pa.Table | None = None, items: pa.Table | None = None) -> Any:
        """Return the features of items with these kinds of metadata alone: title, genres, year, and columns by name."""
        items = self.items if items is None else items
        columns = {name: items[name] for name in items.column_names if name in kinds or name == ITEM_ID}
        count = len(items)
        columns.setdefault(TITLE, pa.array([""] * count))
        columns.setdefault("year", pa.nulls(count, pa.int32()))
        columns.setdefault(GENRES, pa.array([[]] * count, pa.list_(pa.string())))
        table = pa.table(columns)
        tags = _NO_TAGS if tags is None else tags
        tags = tags.set_column(
            tags.column_names.index(ITEM_ID), ITEM_ID, tags[ITEM_ID].cast(table.schema.field(ITEM_ID).type)
        )
        features = ContentFeatures.fit(table, tags, training=self.users > 0)
        return features.rows(table, tags)
