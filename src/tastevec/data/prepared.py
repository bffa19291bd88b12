"""A prepared folder: opened whole and checked, or refused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.numpy import load_file

from tastevec.data.confinement import inside
from tastevec.data.histories import Histories
from tastevec.errors import FormatError
from tastevec.schema import (
    FEATURES_FILE,
    HISTORIES_FOLDER,
    ITEM_ID,
    ITEMS_FILE,
    MANIFEST_FILE,
    PREPARED_FORMAT,
    SPLITS,
    USER_ID,
    USERS_FILE,
    VECTORS_FILE,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from tastevec.data.counts import Counts
    from tastevec.data.readers import Source
    from tastevec.schema import Split

__all__ = ["Prepared", "seal", "write_manifest"]

_AGAIN = "run tastevec prepare again"
_TOLD = ("source", "counts", "settings", "vectors", "timings")  # of a manifest, beside formats and files


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
        manifest = _read_manifest(folder)
        _check_files(folder, manifest["files"])
        try:
            items, users = pq.read_table(folder / ITEMS_FILE), pq.read_table(folder / USERS_FILE)
            vectors = load_file(folder / VECTORS_FILE) if VECTORS_FILE in manifest["files"] else {}
        except (OSError, pa.ArrowInvalid, SafetensorError) as error:
            raise FormatError(f"{folder} cannot be read ({error}); {_AGAIN}") from error
        user_ids = users[USER_ID].to_numpy()
        return cls(
            folder=folder,
            manifest=manifest,
            items=items,
            user_ids=user_ids,
            splits=users["split"].to_numpy(),
            histories=Histories.open(folder / HISTORIES_FOLDER, user_ids),
            vectors=vectors,
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
        files = {name: sealed for name, sealed in self.manifest["files"].items() if name != FEATURES_FILE}
        return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def rating_range(self) -> tuple[float, float]:
        """The lowest and the highest rating that the source's scale allows."""
        low, high = self.manifest["source"]["rating_range"]
        return float(low), float(high)


def write_manifest(
    folder: Path,
    *,
    source: Source,
    counts: Counts,
    settings: Mapping[str, Any],
    timings: Mapping[str, float],
    vectors: Mapping[str, Any],
) -> None:
    """Write ``manifest.json``, the last file of a prepared folder: it lists and seals all the others.

    Args:
        folder: With every other file in its final state.
        source: What was read, with the readers' account of each file.
        counts: What ``arrange`` gave.
        settings: As resolved; anything that JSON holds.
        timings: Seconds of each stage.
        vectors: How the film vectors were made; anything that JSON holds.
    """
    told = {
        "source": {
            "name": source.name,
            "format": source.format,
            "rating_range": list(source.rating_range),
            "files": [dataclasses.asdict(account) for account in source.accounts],
        },
        "counts": dataclasses.asdict(counts),
        "settings": dict(settings),
        "vectors": dict(vectors),
        "timings": {stage: round(seconds, 3) for stage, seconds in timings.items()},
    }
    seal(folder, told)


def seal(folder: Path, told: Mapping[str, Any]) -> None:
    """Write ``manifest.json`` of what is told of a prepared folder, as every manifest tells it, and of its files as they lie.

    Args:
        folder: With every other file in its final state.
        told: source, counts, settings, vectors and timings; what stands beside them is passed over.
    """
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != MANIFEST_FILE)
    manifest = {
        "format": PREPARED_FORMAT,
        "tastevec": version("tastevec"),
        **{name: told[name] for name in _TOLD},
        "files": {
            file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size, "sha256": _sha256(file)}
            for file in files
        },
    }
    text = json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST_FILE
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FormatError(
            f"{folder} holds no {MANIFEST_FILE}; expected a prepared folder: run tastevec prepare SOURCE --out {folder}"
        ) from error
    except (OSError, ValueError) as error:
        raise FormatError(f"{path} cannot be read ({error}); {_AGAIN}") from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != PREPARED_FORMAT:
        raise FormatError(
            f"{folder} is of format {found}; this version of tastevec reads format {PREPARED_FORMAT}: {_AGAIN}"
        )
    return dict(manifest)


def _check_files(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    for name, expected in files.items():
        path = inside(folder, name)
        if not path.is_file():
            raise FormatError(f"{folder} lacks {name}, which its manifest names; {_AGAIN}")
        if path.stat().st_size != expected["bytes"] or _sha256(path) != expected["sha256"]:
            raise FormatError(f"{path} is not as it was written (its checksum differs); {_AGAIN}")


def _sha256(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
