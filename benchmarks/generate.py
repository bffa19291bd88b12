"""A generated release of any size in the files of MovieLens: nothing in it is real, but its proportions are.

``python benchmarks/generate.py OUT`` writes as much as ml-32m has, with a genome as large as the largest; ``--ratings 100000
--users 600 --films 9700 --genome-films 0 --tags 3700`` as much as ml-latest-small. OUT gets ``ratings.csv``, ``movies.csv``, ``tags.csv``,
``links.csv``, ``genome-scores.csv`` and ``genome-tags.csv`` as a release has them, and ``generated.json``, which says what was asked. The
same numbers give the same bytes. People are made and written in groups of 2,000, so that memory grows with films (about
1.3 kB each) and little with people, but not with ratings: as much as ml-32m has takes under 0.5 GB and four minutes of one core.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl
from generated_choices import choose, rate
from generated_films import film_tables, make_films
from generated_people import GROUP, history_lengths, make_people
from generated_tags import SLOTS, draw_tags, genome_rows, make_tags, tag_counts
from generated_world import make_world
from rich.console import Console
from rich.progress import Progress

from tastevec.data.files import new_folder
from tastevec.errors import SettingsError, TastevecError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from generated_films import Films
    from generated_tags import Tags
    from generated_world import World

__all__ = ["MARK", "Sizes", "generate"]

MARK: Final = "generated.json"  # in every generated folder, so that no real release is overwritten or taken for one of these
_VERSION: Final = 1


@dataclass(frozen=True)
class Sizes:
    """How much there shall be; all numbers come out exactly.

    Attributes:
        ratings: From one a person to all films for everybody.
        users: Who rate.
        films: In the list of films, rated or not.
        genome_films: Films with a genome; 0 for no genome at all.
        genome_tags: Tags of the genome, and words that people choose from.
        tags: Given by people, not more than 12 for each rating.
        seed: Of every draw.
    """

    ratings: int = 32_000_000
    users: int = 200_000
    films: int = 87_000
    genome_films: int = 16_000
    genome_tags: int = 1_128
    tags: int = 2_000_000
    seed: int = 42

    def check(self) -> None:
        """Nothing, if there can be such a release.

        Raises:
            SettingsError: There cannot.
        """
        bounds = {
            "users": (1, None),
            "films": (1, None),
            "ratings": (self.users, self.users * self.films),
            "genome_films": (0, self.films),
            "genome_tags": (SLOTS, None),
            "tags": (0, self.ratings * SLOTS),
            "seed": (0, None),
        }
        for name, (least, most) in bounds.items():
            value = getattr(self, name)
            if value < least or (most is not None and value > most):
                expected = f"{least:,} or more" if most is None else f"{least:,} to {most:,}"
                raise SettingsError(
                    f"{name} is {value:,}; expected {expected} for {self.users:,} users, {self.films:,} films and {self.ratings:,} ratings; change --{name.replace('_', '-')} and run again"
                )


def generate(out: Path, sizes: Sizes, step: Callable[[int], None] = lambda _: None) -> None:
    """Write a release of these sizes.

    Args:
        out: A new or empty folder, or one that this wrote.
        sizes: How much of what.
        step: Told how many ratings were written, time and again.

    Raises:
        SettingsError: There can be no such release.
        FormatError: ``out`` holds something else.
    """
    sizes.check()
    with new_folder(out, owned_by=MARK) as folder:
        films = make_films(sizes.films, _rng(sizes, 0))
        tags = make_tags(films, sizes.genome_tags, _rng(sizes, 1))
        movies, links = film_tables(films, _rng(sizes, 2))
        _write(folder / "movies.csv", iter([movies]))
        _write(folder / "links.csv", iter([links]))
        if sizes.genome_films:
            ids = np.arange(1, sizes.genome_tags + 1)
            _write(folder / "genome-tags.csv", iter([pl.DataFrame({"tagId": ids, "tag": tags.names})]))
            rows = genome_rows(films, tags, sizes.genome_films, _rng(sizes, 3))
            _write(folder / "genome-scores.csv", rows)
        _write_people(folder, sizes, films, tags, step)
        text = json.dumps({"format": _VERSION, **dataclasses.asdict(sizes)}, indent=2)
        (folder / MARK).write_text(text + "\n", encoding="utf-8")


def _write_people(folder: Path, sizes: Sizes, films: Films, tags: Tags, step: Callable[[int], None]) -> None:
    """Ratings and tags, group by group."""
    lengths = history_lengths(sizes.users, sizes.ratings, sizes.films, _rng(sizes, 4))
    counts = tag_counts(lengths, sizes.tags, _rng(sizes, 5))
    world = make_world(films, lengths, _rng(sizes, 6))
    with (folder / "ratings.csv").open("wb") as ratings_file, (folder / "tags.csv").open("wb") as tags_file:
        for first in range(0, sizes.users, GROUP):
            part = slice(first, first + GROUP)
            rng = _rng(sizes, 7, first // GROUP)
            ratings, said = _group(first, (lengths[part], counts[part]), world, tags, rng)
            _append(ratings_file, ratings, header=not first)
            _append(tags_file, said, header=not first)
            step(len(ratings))


def _group(
    first: int, asked: tuple[np.ndarray, np.ndarray], world: World, tags: Tags, rng: np.random.Generator
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What one group of people, whose first has ``first`` people before him, rated and said."""
    lengths, counts = asked
    people, films = make_people(lengths, world.directions, rng), len(world.films)
    keys = np.repeat(np.arange(len(people)), lengths) * films + choose(people, world, rng)
    order = np.argsort(keys)
    keys, times = keys[order], people.times[order]
    persons, chosen = keys // films, keys % films
    ratings = pl.DataFrame(
        {
            "userId": first + 1 + persons,
            "movieId": world.films.ids[chosen],
            "rating": rate(people, persons, chosen, world, rng) / 2,
            "timestamp": times,
        }
    )
    givers, tagged, texts, seconds = draw_tags(counts, keys, times, tags, rng)
    said = pl.DataFrame(
        {
            "userId": first + 1 + givers,
            "movieId": world.films.ids[tagged],
            "tag": tags.texts.gather(texts),
            "timestamp": seconds,
        }
    )
    return ratings, said


def _write(path: Path, tables: Iterator[pl.DataFrame]) -> None:
    with path.open("wb") as file:
        for number, table in enumerate(tables):
            _append(file, table, header=not number)


def _append(file: BinaryIO, table: pl.DataFrame, *, header: bool) -> None:
    """Lines that end as those of the releases do; texts are quoted where they must be."""
    table.write_csv(file, include_header=header, line_terminator="\r\n")


def _rng(sizes: Sizes, *stream: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(sizes.seed, spawn_key=stream))


def main() -> None:
    """Write what is asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder")
    for field in dataclasses.fields(Sizes):
        flag = f"--{field.name.replace('_', '-')}"
        parser.add_argument(flag, type=int, default=field.default, help=f"default {field.default:,}")
    parser.add_argument("--progress", action="store_true", help="show how far it is")
    asked = vars(parser.parse_args())
    out, progress = asked.pop("out"), asked.pop("progress")
    sizes = Sizes(**asked)
    with Progress(console=Console(stderr=True), disable=not progress) as bar:
        task = bar.add_task("ratings", total=sizes.ratings)
        try:
            generate(out, sizes, lambda ratings: bar.advance(task, ratings))
        except TastevecError as error:
            sys.exit(str(error))
        except OSError as error:
            sys.exit(
                f"{out} could not be written ({error}); nothing is left of it; make room or name another folder and run again"
            )


if __name__ == "__main__":
    main()
