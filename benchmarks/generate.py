"""Generated releases: a dataset of any size in the files of MovieLens, with invented content and realistic proportions.

The same sizes give the same bytes. Users are written in groups of 2,000, so that memory grows with items (about 1.3 kB each) and
not with ratings: the size of ml-32m takes less than 0.5 GB and four minutes of one core.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np
import polars as pl
from generated_items import (
    SLOTS,
    Items,
    Tags,
    draw_tags,
    genome_rows,
    item_tables,
    make_items,
    make_tags,
    tag_counts,
)
from generated_users import GROUP, Users, World, choose, history_lengths, make_users, make_world, rate

from tastevec.data.files import atomic_folder
from tastevec.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

MARK: Final = "generated.json"  # in every generated folder, so that no real release is overwritten or taken for one of these
_VERSION: Final = 1


@dataclass(frozen=True)
class Sizes:
    """The sizes of a release; all of them are exact.

    Attributes:
        ratings: From one for each user to every item for every user.
        users: Users with ratings.
        items: Items, rated or not.
        genome_items: Items with a tag genome; 0 for no genome.
        genome_tags: Tags of the genome, and texts that users choose from.
        tags: Given by users, at most 12 for each rating.
        seed: The random seed.
    """

    ratings: int = 32_000_000
    users: int = 200_000
    items: int = 87_000
    genome_items: int = 16_000
    genome_tags: int = 1_128
    tags: int = 2_000_000
    seed: int = 42

    def __post_init__(self) -> None:
        most = 1 << 40
        bounds = {
            "users": (1, most),
            "items": (1, most),
            "ratings": (self.users, self.users * self.items),
            "genome_items": (0, self.items),
            "genome_tags": (SLOTS, most),
            "tags": (0, self.ratings * SLOTS),
        }
        for name, (low, high) in bounds.items():
            if not low <= (value := getattr(self, name)) <= high:
                raise SettingsError(f"{name} is {value:,}. Expected {low:,} to {high:,}.")


def generate(out: Path, sizes: Sizes) -> None:
    """Write a release of these sizes to a new or empty folder, or over an earlier one."""
    with atomic_folder(out, marker_file=MARK, files=("*.csv",)) as folder:
        items = make_items(sizes.items, _rng(sizes, 0))
        tags = make_tags(items, sizes.genome_tags, _rng(sizes, 1))
        item_rows, links = item_tables(items, _rng(sizes, 2))
        _write(folder / "movies.csv", iter([item_rows]))
        _write(folder / "links.csv", iter([links]))
        if sizes.genome_items:
            ids = np.arange(1, sizes.genome_tags + 1)
            _write(folder / "genome-tags.csv", iter([pl.DataFrame({"tagId": ids, "tag": tags.names})]))
            rows = genome_rows(items, tags, sizes.genome_items, _rng(sizes, 3))
            _write(folder / "genome-scores.csv", rows)
        _write_users(folder, sizes, items, tags)
        text = json.dumps({"format": _VERSION, **dataclasses.asdict(sizes)}, indent=2)
        (folder / MARK).write_text(text + "\n", encoding="utf-8")


def _write_users(folder: Path, sizes: Sizes, items: Items, tags: Tags) -> None:
    """Write ratings and tags, one group of users after the other."""
    lengths = history_lengths(sizes.users, sizes.ratings, sizes.items, _rng(sizes, 4))
    counts = tag_counts(lengths, sizes.tags, _rng(sizes, 5))
    world = make_world(items, lengths, _rng(sizes, 6))
    with (folder / "ratings.csv").open("wb") as ratings_file, (folder / "tags.csv").open("wb") as tags_file:
        for first in range(0, sizes.users, GROUP):
            part = slice(first, first + GROUP)
            rng = _rng(sizes, 7, first // GROUP)
            users = make_users(lengths[part], world.directions, rng)
            ratings, given = _group(users, first + 1, counts[part], world, tags, rng)
            _append(ratings_file, ratings, header=not first)
            _append(tags_file, given, header=not first)


def _group(
    users: Users, first_id: int, counts: NDArray[np.int64], world: World, tags: Tags, rng: np.random.Generator
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the ratings and the tags of one group of users."""
    n_items = len(world.items)
    keys = np.repeat(np.arange(len(users)), users.lengths) * n_items + choose(users, world, rng)
    order = np.argsort(keys)
    keys, times = keys[order], users.times[order]
    owners, chosen = keys // n_items, keys % n_items
    halves = rate(users, owners, chosen, world, rng)
    ratings = _table(first_id + owners, world.items.ids[chosen], ("rating", halves / 2), times)
    givers, tagged, texts, seconds = draw_tags(counts, keys, times, tags, rng)
    text = ("tag", tags.texts.gather(texts))
    return ratings, _table(first_id + givers, world.items.ids[tagged], text, seconds)


def _table(
    users: NDArray[np.int64], items: NDArray[np.int64], third: tuple[str, Any], times: NDArray[np.int64]
) -> pl.DataFrame:
    return pl.DataFrame({"userId": users, "movieId": items, third[0]: third[1], "timestamp": times})


def _write(path: Path, tables: Iterator[pl.DataFrame]) -> None:
    with path.open("wb") as file:
        for number, table in enumerate(tables):
            _append(file, table, header=not number)


def _append(file: BinaryIO, table: pl.DataFrame, *, header: bool) -> None:
    """Write lines that end as in the releases, with quotes only where they are needed."""
    table.write_csv(file, include_header=header, line_terminator="\r\n")


def _rng(sizes: Sizes, *stream: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(sizes.seed, spawn_key=stream))
