"""A tiny dataset with a known result: 12 users, 20 items, two tastes, in every supported format.

Users 1 to 6 like items 1 to 10 (Action and Sci-Fi) and dislike 11 to 20 (Romance and Drama); users 7 to 12 the
reverse. Every user rates 16 items at different times; users 1 and 7 also tag an item that they rated, and one that they
did not rate.
"""

from __future__ import annotations

import csv
import zipfile
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

USERS, ITEMS = 12, 20
GENRES_100K = [
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
]


class Rating(NamedTuple):
    """One rating: stars from 1 to 5, time in Unix seconds."""

    user: int
    item: int
    stars: int
    time: int


class Item(NamedTuple):
    """An item; the title contains its year."""

    item: int
    title: str
    year: int
    genres: tuple[str, ...]


class Tag(NamedTuple):
    """A tag of one user for one item."""

    user: int
    item: int
    tag: str
    time: int


def loves(user: int, item: int) -> bool:
    """Return whether the user likes the item."""
    return (user <= USERS // 2) == (item <= ITEMS // 2)


def ratings() -> list[Rating]:
    """Return 192 ratings, user by user, oldest first; every fifth item of a user is not rated."""
    rows = []
    for user in range(1, USERS + 1):
        seen = [item for item in range(1, ITEMS + 1) if (user + item) % 5]
        seen.sort(key=lambda item: (item * 7 + user * 3) % 23)  # a different order for each user
        for step, item in enumerate(seen):
            stars = (5 - item % 2) if loves(user, item) else (1 + item % 2)
            rows.append(Rating(user, item, stars, 978_300_000 + user * 1_000_000 + step * 90_000))
    return rows


def items() -> list[Item]:
    """Return 20 items; the 10th has no genre, the 20th a title with a comma, quotes and an accent."""
    made = []
    for item in range(1, ITEMS + 1):
        year = 1979 + item
        name = f"{'Rocket' if item <= ITEMS // 2 else 'Letter'} {item}"
        genres: tuple[str, ...] = ("Action", "Sci-Fi") if item <= ITEMS // 2 else ("Drama", "Romance")
        if item == ITEMS // 2:
            genres = ()
        if item == ITEMS:
            name = 'Café, "The" Letter'
        made.append(Item(item, f"{name} ({year})", year, genres))
    return made


def tags() -> list[Tag]:
    """Return six tags; (1, 4), tagged twice, and (7, 13) are items that the user did not rate."""
    return [
        Tag(1, 1, "Space", 979_500_001),
        Tag(1, 4, "robots", 979_500_003),
        Tag(1, 4, "space", 979_500_002),
        Tag(7, 11, "tears", 985_500_001),
        Tag(7, 13, "love, lost", 985_500_002),
        Tag(2, 1, "space", 980_500_001),
    ]


def write_100k(folder: Path) -> Path:
    """``u.data``, ``u.item`` and ``u.genre`` as in ml-100k, ISO-8859-1."""
    folder.mkdir(parents=True, exist_ok=True)
    _lines(folder / "u.data", ("\t".join(map(str, row)) for row in ratings()))
    _lines(folder / "u.genre", (f"{name}|{number}" for number, name in enumerate(GENRES_100K)))
    rows = []
    for item in items():
        flags = [name in item.genres or (name == "unknown" and not item.genres) for name in GENRES_100K]
        shown = "|".join(str(int(flag)) for flag in flags)
        rows.append(f"{item.item}|{item.title}|01-Jan-{item.year}||http://us.imdb.com/M/title|{shown}")
    _lines(folder / "u.item", rows, encoding="iso-8859-1")
    return folder


def write_1m(folder: Path) -> Path:
    """``ratings.dat``, ``movies.dat`` (ISO-8859-1) and ``users.dat`` as in ml-1m."""
    folder.mkdir(parents=True, exist_ok=True)
    _lines(folder / "ratings.dat", ("::".join(map(str, row)) for row in ratings()))
    _lines(folder / "movies.dat", _items_with("::"), encoding="iso-8859-1")
    _lines(folder / "users.dat", (f"{user}::F::25::1::00000" for user in range(1, USERS + 1)))
    return folder


def write_10m(folder: Path) -> Path:
    """``ratings.dat``, ``movies.dat`` (UTF-8) and ``tags.dat`` as in ml-10m."""
    folder.mkdir(parents=True, exist_ok=True)
    _lines(folder / "ratings.dat", ("::".join(map(str, row)) for row in ratings()))
    _lines(folder / "movies.dat", _items_with("::"))
    _lines(folder / "tags.dat", ("::".join(map(str, row)) for row in tags()))
    return folder


def write_csv_release(folder: Path, *, genome: bool = False, genome_tags: int = 12) -> Path:
    """Write ``ratings.csv``, ``movies.csv``, ``tags.csv`` and ``links.csv`` as in ml-25m, optionally with a genome."""
    folder.mkdir(parents=True, exist_ok=True)
    _csv(folder / "ratings.csv", "userId,movieId,rating,timestamp", ratings())
    _csv(folder / "tags.csv", "userId,movieId,tag,timestamp", tags())
    listed = [(item.item, item.title, "|".join(item.genres) or "(no genres listed)") for item in items()]
    _csv(folder / "movies.csv", "movieId,title,genres", listed)
    _csv(
        folder / "links.csv",
        "movieId,imdbId,tmdbId",
        [(item.item, f"{item.item:07}", "") for item in items()],
    )
    if genome:
        write_genome(folder, tags=genome_tags)
    return folder


def write_genome(folder: Path, *, tags: int = 12) -> Path:
    """Write ``genome-scores.csv`` and ``genome-tags.csv``: items of one taste share the odd tags, the others the even."""
    folder.mkdir(parents=True, exist_ok=True)
    _csv(folder / "genome-tags.csv", "tagId,tag", [(tag, f"tag {tag}") for tag in range(1, tags + 1)])
    scores = []
    for item in range(1, ITEMS + 1):
        for tag in range(1, tags + 1):
            fits = (item <= ITEMS // 2) == (tag % 2 == 1)
            scores.append((item, tag, round((0.8 if fits else 0.1) + (item * 31 + tag * 17) % 19 / 100, 2)))
    _csv(folder / "genome-scores.csv", "movieId,tagId,relevance", scores)
    return folder


def write_recbole(folder: Path, name: str = "tiny") -> Path:
    """``NAME.inter`` and ``NAME.item`` as RecBole's atomic files."""
    folder.mkdir(parents=True, exist_ok=True)
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    _lines(folder / f"{name}.inter", [header, *("\t".join(map(str, row)) for row in ratings())])
    header = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq"
    rows = [f"{f.item}\t{f.title[:-7]}\t{f.year}\t{' '.join(f.genres)}" for f in items()]
    _lines(folder / f"{name}.item", [header, *rows])
    return folder


def write_own_csv(folder: Path) -> Path:
    """Write ``interactions.csv`` with text ids, without timestamps, and ``items.csv``; return the path of the former."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [(f"person-{row.user}", f"film-{row.item}", row.stars) for row in ratings()]
    _csv(folder / "interactions.csv", "user,item,rating", rows)
    listed = [(f"film-{f.item}", f.title, f.year, "|".join(f.genres)) for f in items()]
    _csv(folder / "items.csv", "item,title,year,genres", listed)
    return folder / "interactions.csv"


def zip_folder(folder: Path, target: Path) -> Path:
    """The folder as a zip whose members lie under one top folder, as GroupLens packs them."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"{folder.name}/{file.name}")
    return target


def _items_with(separator: str) -> list[str]:
    return [
        f"{f.item}{separator}{f.title}{separator}{'|'.join(f.genres) or '(no genres listed)'}"
        for f in items()
    ]


def _lines(path: Path, rows: Iterable[str], encoding: str = "utf-8") -> None:
    path.write_bytes("".join(f"{row}\n" for row in rows).encode(encoding))


def _csv(path: Path, header: str, rows: Iterable[tuple[object, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as handle:
        handle.write(header + "\n")
        csv.writer(handle, lineterminator="\n").writerows(rows)
