"""The prepared dataset on disk: manifest, items, item vectors, histories and counts."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, FiniteFloat

from tastevec.data.arrays import ID_TYPES, check_shapes, read_arrays, read_columns
from tastevec.data.files import (
    ManifestSpec,
    StrictModel,
    manifest_text,
    path_inside,
    read_manifest,
    sha256_of,
)
from tastevec.data.histories import ARRAY_DTYPES, Histories
from tastevec.errors import FormatError
from tastevec.schema import (
    FEATURES_FILE,
    GENRES,
    HISTORIES_FOLDER,
    ITEM_ID,
    ITEM_NOUN,
    ITEMS_FILE,
    MANIFEST_FILE,
    MOVIELENS_NOUN,
    PREPARE_AGAIN,
    PREPARED_FORMAT,
    SPLITS,
    TITLE,
    USER_ID,
    USERS_FILE,
    VECTORS_FILE,
    YEAR,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from tastevec.data.readers import Source
    from tastevec.schema import Split

__all__ = ["DatasetCounts", "Prepared", "RowCounts", "manifest_content", "write_manifest"]


@dataclass(frozen=True)
class RowCounts:
    """How many came in, how many stayed, and why the others did not; the sum always holds."""

    read: int
    kept: int
    dropped: dict[str, int]

    def __post_init__(self) -> None:
        assert self.read == self.kept + sum(self.dropped.values()), f"rows are lost: {self}"


@dataclass(frozen=True)
class DatasetCounts:
    """The account of an arrangement.

    Attributes:
        interactions: One person and one film; read is all that the readers kept.
        users: People.
        ratings: Interactions read that carry a rating.
        tag_only: Interactions read that carry none.
        without_timestamp: Interactions read without a timestamp.
        items: Films in the catalogue.
        items_without_metadata: Films that only interactions name; they have no title.
        splits: People kept in each split.
        days: First and last day (since 1970) of what is kept; None where no time is known.
    """

    interactions: RowCounts
    users: RowCounts
    ratings: int
    tag_only: int
    without_timestamp: int
    items: int
    items_without_metadata: int
    splits: dict[str, int]
    days: tuple[int, int] | None


_NEEDED = (ITEMS_FILE, USERS_FILE, *(f"{HISTORIES_FOLDER}/{name}.npy" for name in ("offsets", *ARRAY_DTYPES)))
_ITEMS = {
    ITEM_ID: ID_TYPES,
    TITLE: (pa.string(),),
    YEAR: (pa.int32(),),
    GENRES: (pa.list_(pa.string()),),
}
_USERS = {USER_ID: ID_TYPES, "split": (pa.uint8(),)}
_CONTENT = ("source", "counts", "settings", "vectors", "timings")  # of a manifest, beside formats and files


class _Source(StrictModel):
    name: str
    rating_range: Annotated[list[FiniteFloat], Field(min_length=2, max_length=2)]


class _Settings(StrictModel):
    order: Literal["time", "item"] | None = None
    split: Literal["hash", "liang", "time", "bert-cosine"] | None = None
    cut: int | None = None


class _File(StrictModel):
    bytes: int
    sha256: str


class _Manifest(StrictModel):
    source: _Source
    counts: dict[str, Any]
    settings: _Settings
    vectors: dict[str, Any]
    timings: dict[str, Any]
    files: dict[str, _File]


_KIND = ManifestSpec(
    shape=_Manifest,
    format=PREPARED_FORMAT,
    files="files",
    expected="a prepared folder: run tastevec prepare SOURCE",
    again=PREPARE_AGAIN,
    anew=PREPARE_AGAIN,
)


@dataclass(frozen=True, eq=False)
class Prepared:
    """What ``tastevec prepare`` leaves: B people kept, N films, M interactions.

    Attributes:
        folder: Where it lies.
        manifest: ``manifest.json``: where everything came from, and an account of every row.
        items: Row i is the film of index i: item_id, title, year, genres, vector_source; ascending by item_id.
        user_ids: (B,) the caller's own ids, ascending, int64 or str objects.
        splits: (B,) uint8 codes into ``schema.SPLITS``.
        histories: Of all B people, memory-mapped.
        vectors: Film vectors by the name of their table, each (N, D) float32; a film without one is a row of zeros.
    """

    folder: Path
    manifest: dict[str, Any]
    items: pa.Table
    user_ids: NDArray[Any]
    splits: NDArray[np.uint8]
    histories: Histories
    vectors: dict[str, NDArray[np.float32]]

    @classmethod
    def open(cls, folder: Path) -> Prepared:
        """Check every file against the manifest, then map the histories into memory.

        Raises:
            FormatError: The folder is missing, of another format version, half-written or altered.
        """
        manifest = read_manifest(folder / MANIFEST_FILE, _KIND)
        _check_files(folder, manifest["files"])
        items = read_columns(
            folder / ITEMS_FILE, _ITEMS, PREPARE_AGAIN, full=(ITEM_ID, TITLE), ascending=ITEM_ID
        )
        users = read_columns(folder / USERS_FILE, _USERS, PREPARE_AGAIN, full=_USERS, ascending=USER_ID)
        user_ids, splits = users[USER_ID].to_numpy(), users["split"].to_numpy()
        if (splits >= len(SPLITS)).any():
            raise FormatError(
                f"{folder / USERS_FILE} holds a split {splits.max()}; expected 0 to {len(SPLITS) - 1}; {PREPARE_AGAIN}"
            )
        return cls(
            folder=folder,
            manifest=manifest,
            items=items,
            user_ids=user_ids,
            splits=splits,
            histories=Histories.open(
                folder / HISTORIES_FOLDER,
                user_ids,
                items=len(items),
                scale=tuple(manifest["source"]["rating_range"]),
            ),
            vectors=_vectors(folder, len(items)) if VECTORS_FILE in manifest["files"] else {},
        )

    def users_in(self, split: Split) -> NDArray[np.int64]:
        """Positions, ascending, of the people of this split."""
        return np.flatnonzero(self.splits == SPLITS.index(split))

    @property
    def item_ids(self) -> NDArray[Any]:
        """(N,) the films' own ids, ascending, int64 or str objects."""
        ids: NDArray[Any] = self.items[ITEM_ID].to_numpy()
        return ids

    @property
    def fingerprint(self) -> str:
        """A name that two prepared folders share only if every byte of their data is the same.

        The features are left out: they are what the film vectors were made from, and folders without them are the same data.
        """
        files = {
            name: manifest_text
            for name, manifest_text in self.manifest["files"].items()
            if name != FEATURES_FILE
        }
        return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:16]

    def setting(self, name: Literal["order", "split", "cut"]) -> Any:  # noqa: ANN401  each has its own type
        """How the folder was prepared.

        Raises:
            FormatError: Its manifest does not say.
        """
        found = self.manifest["settings"].get(name)
        if found is None:
            raise FormatError(f"{self.folder / MANIFEST_FILE} does not say its {name}; {PREPARE_AGAIN}")
        return found

    @property
    def rating_range(self) -> tuple[float, float]:
        """The lowest and the highest rating that the source's scale allows."""
        low, high = self.manifest["source"]["rating_range"]
        return float(low), float(high)


def _item_noun(source: Source) -> dict[str, str]:
    # A release that RecBole converted has the format recbole and the name of the release.
    movielens = any(text.startswith(("ml-", "movielens")) for text in (source.format, source.name))
    return MOVIELENS_NOUN if movielens else ITEM_NOUN


def manifest_content(
    *,
    source: Source,
    counts: DatasetCounts,
    settings: Mapping[str, Any],
    timings: Mapping[str, float],
    vectors: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the content of ``manifest.json``, without formats and files.

    Args:
        source: The source, with the row report of each file.
        counts: The result of `preprocess`.
        settings: The resolved settings, as JSON values.
        timings: Seconds of each stage.
        vectors: How the item vectors were computed, as JSON values.
    """
    return {
        "source": {
            "name": source.name,
            "format": source.format,
            "item_noun": _item_noun(source),
            "rating_range": list(source.rating_range),
            "files": [dataclasses.asdict(row_report) for row_report in source.row_reports],
        },
        "counts": dataclasses.asdict(counts),
        "settings": dict(settings),
        "vectors": dict(vectors),
        "timings": {stage: round(seconds, 3) for stage, seconds in timings.items()},
    }


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Write ``manifest.json``, the last file of a prepared dataset, with the checksums of all other files.

    Args:
        folder: The dataset; all other files are final.
        content: The result of `manifest_content`, or an earlier manifest; other keys are ignored.
    """
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != MANIFEST_FILE)
    manifest = {
        "format": PREPARED_FORMAT,
        "tastevec": version("tastevec"),
        **{name: content[name] for name in _CONTENT},
        "files": {
            file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size, "sha256": sha256_of(file)}
            for file in files
        },
    }
    (folder / MANIFEST_FILE).write_text(manifest_text(manifest, allow_nan=False), encoding="utf-8")


def _vectors(folder: Path, items: int) -> dict[str, NDArray[np.float32]]:
    path = folder / VECTORS_FILE
    vectors, _ = read_arrays(path, PREPARE_AGAIN)
    for name in vectors:  # each with a dimension of its own
        check_shapes(path, vectors, {name: ("N", "D")}, PREPARE_AGAIN, sizes={"N": items})
    return vectors


def _check_files(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    for name in (*_NEEDED, *(name for name in (VECTORS_FILE, FEATURES_FILE) if (folder / name).exists())):
        if name not in files:
            raise FormatError(
                f"{folder / MANIFEST_FILE} does not name {name}, of which nobody knows then whether it is whole; {PREPARE_AGAIN}"
            )
    for name, expected in files.items():
        path = path_inside(folder, name)
        if not path.is_file():
            raise FormatError(f"{folder} lacks {name}, which its manifest names; {PREPARE_AGAIN}")
        if path.stat().st_size != expected["bytes"] or sha256_of(path) != expected["sha256"]:
            raise FormatError(f"{path} is not as it was written (its checksum differs); {PREPARE_AGAIN}")
