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
import pyarrow.compute as pc
from pydantic import Field, FiniteFloat

from tastevec.data.arrays import (
    ID_TYPES,
    check_shapes,
    read_arrays,
    read_columns,
)
from tastevec.data.files import (
    ManifestSpec,
    NounWords,
    StrictModel,
    damaged,
    is_regular_file,
    manifest_text,
    path_inside,
    read_manifest,
    sha256_of,
)
from tastevec.data.histories import ARRAY_DTYPES, Histories
from tastevec.data.intake.callers import report_for_caller
from tastevec.data.intake.report import IntakeReport
from tastevec.data.value_scale import ValueScale, restored_scale
from tastevec.nouns import ItemNoun
from tastevec.schema import (
    FEATURES_FILE,
    GENRES,
    HISTORIES_FOLDER,
    ITEM_ID,
    ITEM_NOUN,
    ITEMS_FILE,
    MANIFEST_FILE,
    PREPARE_AGAIN,
    PREPARED_FORMAT,
    SPLITS,
    TITLE,
    USER_ID,
    USERS_FILE,
    VECTORS_FILE,
    YEAR,
    FeedbackKind,
    Order,
    Repeats,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from tastevec.data.intake.source import Source
    from tastevec.schema import Split


@dataclass(frozen=True)
class RowCounts:
    """Counts of what was read, kept and dropped by reason; read is the sum of the others."""

    read: int
    kept: int
    dropped: dict[str, int]

    def __post_init__(self) -> None:
        assert self.read == self.kept + sum(self.dropped.values()), f"rows are missing: {self}"


@dataclass(frozen=True)
class DatasetCounts:
    """Counts of a prepared dataset.

    Attributes:
        interactions: One user and one item each, unless repeats are kept; read is all that the readers kept.
        ratings: Interactions read with a rating; ``tag_only`` ones have none.
        without_timestamp: Interactions read without a timestamp.
        items: Items of the catalog.
        items_without_metadata: Items that occur in interactions only; they have no title.
        splits: Users kept in each split.
        days: First and last day (since 1970) of the kept interactions; None without timestamps.
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


_ARRAYS = (f"{HISTORIES_FOLDER}/{name}.npy" for name in ("offsets", *ARRAY_DTYPES))
_REQUIRED = (ITEMS_FILE, USERS_FILE, *_ARRAYS)
_ITEMS = {ITEM_ID: ID_TYPES, TITLE: (pa.string(),), YEAR: (pa.int32(),), GENRES: (pa.list_(pa.string()),)}
_USERS = {USER_ID: ID_TYPES, "split": (pa.uint8(),)}
# All keys but formats and files.
_CONTENT = ("source", "feedback", "order", "report", "counts", "settings", "vectors", "timings")


class _Source(StrictModel):
    name: str
    item_noun: NounWords = ITEM_NOUN


class _Feedback(StrictModel):
    kind: FeedbackKind
    range: Annotated[list[FiniteFloat], Field(min_length=2, max_length=2)]
    positive_from: FiniteFloat
    top: FiniteFloat
    n_bins: int
    repeats: Repeats | None = None


class _Settings(StrictModel):
    order: Literal["time", "item"] | None = None
    split_strategy: Literal["hash", "liang", "temporal", "bert-cosine"] | None = None
    split_timestamp: int | None = None


class _File(StrictModel):
    bytes: int
    sha256: str


class _Manifest(StrictModel):
    source: _Source
    feedback: _Feedback
    order: Order
    counts: dict[str, Any]
    settings: _Settings
    vectors: dict[str, Any]
    timings: dict[str, Any]
    files: dict[str, _File]


_SPEC = ManifestSpec(
    model=_Manifest,
    format=PREPARED_FORMAT,
    files_key="files",
    expected="a prepared dataset",
    command="tastevec prepare SOURCE",
    repair=PREPARE_AGAIN,
)


@dataclass(frozen=True, eq=False, repr=False)
class Prepared:
    """A prepared dataset: B users kept, N items, M interactions.

    Attributes:
        folder: Its folder.
        manifest: ``manifest.json``: sources, settings and counts.
        items: Row i is the item of index i: item_id, title, year, genres, vector_source; ascending by item_id.
        user_ids: (B,) user ids, ascending, int64 or str objects.
        splits: (B,) uint8 codes into ``schema.SPLITS``.
        histories: Of all B users, memory-mapped.
        vectors: Item vectors by name, each (N, D) float32; an item without a vector is a row of zeros.
        scale: The value scale: the kind of feedback, its range, and what is positive.
    """

    folder: Path
    manifest: dict[str, Any]
    items: pa.Table
    user_ids: NDArray[Any]
    splits: NDArray[np.uint8]
    histories: Histories
    vectors: dict[str, NDArray[np.float32]]
    scale: ValueScale

    def __repr__(self) -> str:
        users = ", ".join(f"{len(self.users_in(split)):,} {split}" for split in SPLITS)
        sizes = f"{len(self.histories.items):,} interactions, {self.noun.counted(len(self.items))}"
        return f"Prepared({self.folder}: {len(self.user_ids):,} users ({users}), {sizes}, {self.scale.kind})"

    @classmethod
    def open(cls, folder: Path) -> Prepared:
        """Open the dataset: check every file against the manifest and map the histories into memory.

        Raises:
            FormatError: The folder is missing, incomplete, changed or of another format version.
        """
        manifest = read_manifest(folder / MANIFEST_FILE, _SPEC)
        _check_files(folder, manifest["files"])
        items = read_columns(
            folder / ITEMS_FILE, _ITEMS, PREPARE_AGAIN, not_null=(ITEM_ID, TITLE), ascending=ITEM_ID
        )
        users = read_columns(folder / USERS_FILE, _USERS, PREPARE_AGAIN, not_null=_USERS, ascending=USER_ID)
        user_ids, splits = users[USER_ID].to_numpy(), users["split"].to_numpy()
        if (splits >= len(SPLITS)).any():
            where = f"{folder / USERS_FILE}, column split"
            raise damaged(where, str(splits.max()), f"0 to {len(SPLITS) - 1}")
        scale = _scale(folder / MANIFEST_FILE, manifest["feedback"])
        histories = Histories.open(
            folder / HISTORIES_FOLDER,
            user_ids,
            items=len(items),
            limits=scale.limits,
            relative=scale.kind == "explicit",
            repeats=scale if manifest["feedback"].get("repeats") == "keep" else None,
        )
        vectors = _vectors(folder, len(items)) if VECTORS_FILE in manifest["files"] else {}
        return cls(folder, manifest, items, user_ids, splits, histories, vectors, scale)

    def users_in(self, split: Split) -> NDArray[np.int64]:
        """Return the indices of the users of this split, ascending."""
        return np.flatnonzero(self.splits == SPLITS.index(split))

    @property
    def item_ids(self) -> NDArray[Any]:
        """(N,) item ids, ascending, int64 or str objects."""
        ids: NDArray[Any] = self.items[ITEM_ID].to_numpy()
        return ids

    @property
    def fingerprint(self) -> str:
        """An id that is equal for two prepared datasets only if all bytes of their data are equal.

        Item features do not count: item vectors are computed from them, and datasets without them have the same data.
        """
        files = {name: file for name, file in self.manifest["files"].items() if name != FEATURES_FILE}
        return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:16]

    def setting(self, name: Literal["order", "split_strategy", "split_timestamp"]) -> Any:  # noqa: ANN401  each has its own type
        """Return a setting of `prepare`.

        Raises:
            FormatError: The manifest does not contain it.
        """
        found = self.manifest["settings"].get(name)
        if found is None:
            raise damaged(self.folder / MANIFEST_FILE, f"no setting {name}", "one")
        return found

    @property
    def noun(self) -> ItemNoun:
        """What the catalog calls its items."""
        return ItemNoun.of(self.manifest["source"])

    @property
    def report(self) -> IntakeReport:
        """What was understood of the source."""
        return report_for_caller(IntakeReport.from_dict(self.manifest["report"]))

    @property
    def order(self) -> Order:
        """What orders the interactions of a user: timestamps, the file, or none."""
        order: Order = self.manifest["order"]
        return order


def with_shown_titles(items: pa.Table) -> pa.Table:
    """Return the items with their ID in place of a missing title."""
    titles, ids = items[TITLE], items[ITEM_ID].cast(pa.string())
    return items.set_column(
        items.column_names.index(TITLE), TITLE, pc.if_else(pc.equal(titles, ""), ids, titles)
    )


def manifest_content(
    *,
    source: Source,
    scale: ValueScale,
    counts: DatasetCounts,
    settings: Mapping[str, Any],
    timings: Mapping[str, float],
    vectors: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the content of ``manifest.json``, without formats and files.

    Args:
        source: The source, with the row report of each file.
        scale: The value scale, and
        counts: the counts, the results of `preprocess`.
        settings: The resolved settings, as JSON values.
        timings: Seconds of each stage.
        vectors: How the item vectors were computed, as JSON values.
    """
    return {
        "source": {
            "name": source.name,
            "format": source.format,
            "item_noun": dict(source.item_noun),
            "files": [dataclasses.asdict(row_report) for row_report in source.row_reports],
        },
        "feedback": {
            **source.feedback,
            "kind": scale.kind,
            "range": [scale.low, scale.high],
            "positive_from": scale.positive_from,
            "top": scale.top,
            "n_bins": scale.n_bins,
        },
        "order": source.order,
        "report": source.report.to_dict(),
        "counts": dataclasses.asdict(counts),
        "settings": dict(settings),
        "vectors": dict(vectors),
        "timings": {stage: round(seconds, 3) for stage, seconds in timings.items()},
    }


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Write ``manifest.json``, the last file of a prepared dataset, with the checksums of all other files.

    ``content`` is the result of `manifest_content`, or an earlier manifest.
    """
    files = {
        file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size, "sha256": sha256_of(file)}
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != MANIFEST_FILE
    }
    manifest = {"format": PREPARED_FORMAT, "tastevec": version("tastevec")}
    manifest |= {name: content[name] for name in _CONTENT} | {"files": files}
    (folder / MANIFEST_FILE).write_text(manifest_text(manifest, allow_nan=False), encoding="utf-8")


def _scale(path: Path, feedback: Mapping[str, Any]) -> ValueScale:
    low, high = feedback["range"]
    names = ("kind", "positive_from", "top", "n_bins")
    return restored_scale(
        {"low": low, "high": high} | {name: feedback[name] for name in names}, path, PREPARE_AGAIN
    )


def _vectors(folder: Path, items: int) -> dict[str, NDArray[np.float32]]:
    path = folder / VECTORS_FILE
    vectors, _ = read_arrays(path, PREPARE_AGAIN)
    for name in vectors:  # each with a dimension of its own
        check_shapes(path, vectors, {name: ("N", "D")}, PREPARE_AGAIN, sizes={"N": items})
    return vectors


def _check_files(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    for name in (*_REQUIRED, *(name for name in (VECTORS_FILE, FEATURES_FILE) if (folder / name).exists())):
        if name not in files:
            raise damaged(folder / MANIFEST_FILE, f"no checksum of {name}", "one")
    for name, expected in files.items():
        path = path_inside(folder, name)
        if not is_regular_file(path):
            raise damaged(folder, f"{name} is missing", "all files of its manifest")
        if path.stat().st_size != expected["bytes"] or sha256_of(path) != expected["sha256"]:
            raise damaged(path, "checksum mismatch", "the file as written")
