"""Where the interactions lie that Spark shall read, and what lies beside them that this process can read itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from tastevec.data.readers.formats import GENOME_FILES, Place, find_place
from tastevec.data.spark.failures import plain_spark_errors
from tastevec.data.spark.storage import address_of, is_address
from tastevec.errors import SourceError

if TYPE_CHECKING:
    from tastevec.data.spark.engine import SparkEngine
    from tastevec.data.spark.storage import Entry

__all__ = ["PARQUET", "Found", "find_source"]

PARQUET: Final = (".parquet", ".pq")
_TABLES: Final = (".csv", ".tsv", ".txt")
_INTERACTIONS: Final = ("u.data", "ratings.dat", "ratings.csv")
_BESIDE: Final = ("u.item", "u.genre", "movies.dat", "movies.csv", "tags.dat", "tags.csv", *GENOME_FILES)


@dataclass(frozen=True)
class Found:
    """A source that was recognised.

    Attributes:
        address: Of the interactions, for Spark.
        place: The release as this process sees it: what lies beside the interactions is here, they themselves may not be.
        is_parquet: Whether they are a Parquet file or a folder of such.
    """

    address: str
    place: Place
    is_parquet: bool


def find_source(source: Path | str, engine: SparkEngine) -> Found:
    """What is at ``source``, a path of this machine that the workers see too, or an address.

    Of a release at an address everything but its interactions is copied here: films, tags, genome.

    Raises:
        SourceError: Nothing is there, or nothing that we know.
    """
    if is_address(source):
        return _at_address(str(source).rstrip("/"), engine)
    path = Path(source)
    if path.is_dir() and _holds_parts(path.name, [entry.name for entry in path.iterdir()]):
        return Found(address_of(path), Place(path, path.stem, "table"), is_parquet=True)
    place = find_place(path, engine.local)
    return Found(address_of(place.interactions), place, is_parquet=place.interactions.suffix in PARQUET)


def _at_address(address: str, engine: SparkEngine) -> Found:
    name = PurePosixPath(address.partition("://")[2]).name
    with plain_spark_errors("looking at the source", source=address):
        is_folder = engine.storage.is_folder(address)
        entries = engine.storage.entries(address) if is_folder else []
    names = [entry.name for entry in entries]
    suffix = PurePosixPath(name).suffix
    if _holds_parts(name, names) if is_folder else suffix in PARQUET + _TABLES:
        place = Place(Path(name), PurePosixPath(name).stem, "table")
        return Found(address, place, is_parquet=is_folder or suffix in PARQUET)
    if not is_folder:
        raise SourceError(
            f"{address} is no table that Spark can be given; expected a release's folder, a name ending in "
            f"{', '.join(_TABLES + PARQUET)}, or a folder of Parquet files; unpack a zip first"
        )
    place = find_place(_copied(entries, name, engine), engine.local)
    return Found(f"{address}/{place.interactions.name}", place, is_parquet=False)


def _holds_parts(name: str, names: list[str]) -> bool:
    return name.endswith(PARQUET) or any(name.endswith(PARQUET) for name in names)


def _copied(entries: list[Entry], name: str, engine: SparkEngine) -> Path:
    """A folder of this machine with what lies beside the interactions, and an empty file in their place."""
    folder = engine.local / "release" / name
    folder.mkdir(parents=True)
    with plain_spark_errors("fetching what lies beside the interactions"):
        for entry in entries:
            if entry.name in _BESIDE or entry.name.endswith(".item"):
                engine.storage.fetch(entry.address, folder / entry.name)
            elif entry.name in _INTERACTIONS or entry.name.endswith(".inter"):
                (folder / entry.name).touch()
    return folder
