"""What the parts of a bundle must be, and that they belong together: a manifest, films, weights, and what is said of films."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import pyarrow as pa
from pydantic import ConfigDict, Field, FiniteFloat
from pydantic_core import from_json

from tastevec.data.arrays import IDS, array_shapes, fitted, read_columns
from tastevec.data.files import ManifestKind, Shape, read_manifest, read_shape
from tastevec.errors import FormatError
from tastevec.schema import (
    BUNDLE_FILE,
    BUNDLE_FORMAT,
    CONFIG_FILE,
    ENCODER_FILE,
    GENRES,
    ITEM_ID,
    ITEMS_FILE,
    MAP_FILE,
    PLACING_FILE,
    TAGS_FILE,
    TITLE,
    TRAIN_AGAIN,
    WEIGHTS_FILE,
    YEAR,
)
from tastevec.serving.formats import form_of

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["bundle_films", "bundle_manifest", "refuse_misfits"]

_NEEDED: Final = (CONFIG_FILE, WEIGHTS_FILE, ITEMS_FILE)
_FILMS: Final = {
    ITEM_ID: IDS,
    TITLE: (pa.string(),),
    YEAR: (pa.int32(),),
    GENRES: (pa.list_(pa.string()),),
    "train_users": (pa.int64(),),
}
# Shapes of what stands beside the network: N films, D numbers a vector, T tags, F features.
_BESIDE: Final[dict[str, dict[str, tuple[str | int, ...]]]] = {
    PLACING_FILE: {"slopes": ("F", "D"), "mean": ("D",)},
    TAGS_FILE: {"directions": ("T", "D"), "confidence": ("T",)},
    MAP_FILE: {"places": ("N", 2)},
}
_Some = Annotated[int, Field(ge=1, lt=2**31)]


class _Scale(Shape):
    low: FiniteFloat
    high: FiniteFloat
    levels: Annotated[int, Field(ge=2)]


class _Reading(Shape):
    model_config = ConfigDict(extra="forbid")

    scale: _Scale
    max_history: _Some
    order: Literal["time", "item"] = "time"
    truncate: Literal["newest", "oldest"] = "newest"
    pad: Literal["longest", "full"] = "longest"
    set_history: Annotated[int, Field(ge=0, lt=2**31)] = 0


class _Manifest(Shape):
    space: str
    reading: _Reading
    checksums: dict[str, str]
    data: dict[str, Any] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)
    validation: dict[str, FiniteFloat] = Field(default_factory=dict)


class _Config(Shape):
    item_count: _Some
    dim: _Some
    hidden_size: _Some
    intermediate_size: _Some
    layers: _Some
    max_history: _Some
    rating_levels: _Some
    readout: str
    added_items: list[Annotated[int, Field(ge=0)]] = Field(default_factory=list)


class _Served(_Config):
    """What is read beside a graph, too."""

    added_items: list[Annotated[int, Field(ge=0)]]
    similarity: Literal["dot", "cosine"]
    recent: _Some
    next_overall: FiniteFloat
    next_recent: FiniteFloat
    next_short: FiniteFloat


_KIND: Final = ManifestKind(
    shape=_Manifest,
    format=BUNDLE_FORMAT,
    files="checksums",
    expected="a trained model: run tastevec train PREPARED",
    again=TRAIN_AGAIN,
    anew="train again",
)


def bundle_manifest(folder: Path) -> dict[str, Any]:
    """What the manifest of a bundle says.

    Raises:
        FormatError: There is none, or it is damaged, of another format version, or silent about a file that would be read.
    """
    path = folder / BUNDLE_FILE
    manifest = read_manifest(path, _KIND)
    for name in (*_NEEDED, *(name for name in _BESIDE if (folder / name).exists())):
        if name not in manifest["checksums"]:
            raise FormatError(f"{path} does not name {name}; {TRAIN_AGAIN}")
    return manifest


def bundle_films(folder: Path) -> pa.Table:
    """The films of a bundle, ascending by their ids, by which they are found.

    Raises:
        FormatError: The table is damaged.
    """
    return read_columns(
        folder / ITEMS_FILE, _FILMS, TRAIN_AGAIN, full=(ITEM_ID, TITLE, "train_users"), ascending=ITEM_ID
    )


def refuse_misfits(folder: Path, manifest: dict[str, Any], *, films: int) -> None:
    """Refuse a bundle whose parts are each whole and do not belong together, before a network is built of them.

    Raises:
        FormatError: One does not fit.
    """
    path = folder / CONFIG_FILE
    try:
        told = from_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise FormatError(f"{path} cannot be read ({error}); {TRAIN_AGAIN}") from error
    has_graph = ENCODER_FILE in manifest["checksums"]
    config = (_Served if has_graph else _Config)(
        **read_shape(path, told, _Served if has_graph else _Config, TRAIN_AGAIN)
    )
    levels = manifest["reading"]["scale"]["levels"]
    if (config.item_count, config.rating_levels) != (films, levels) or max(
        config.added_items, default=0
    ) >= films:
        raise FormatError(
            f"{path} speaks of {config.item_count} films and {config.rating_levels} levels of rating, and {BUNDLE_FILE} of "
            f"{films} and {levels}; {TRAIN_AGAIN}"
        )
    sizes = {
        "N": films,
        "D": config.dim,
        "H": config.hidden_size,
        "I": config.intermediate_size,
        "L": config.max_history,
    }
    weights = folder / WEIGHTS_FILE
    found = array_shapes(weights, TRAIN_AGAIN)
    last = f"blocks.layer.{config.layers - 1}"
    shapes: dict[str, tuple[str | int, ...]] = {
        "items.weight": ("N", "D"),
        "lift.weight": ("H", "D"),
        f"{last}.output.dense.weight": ("H", "I"),
    }
    optional = {"inputs.weight": ("N", "H"), "positions.weight": ("L", "H")}
    shapes |= {name: shape for name, shape in optional.items() if name in found}
    if (
        config.readout == "moments" and form_of(folder) is None
    ):  # earlier forms are put into today's names first
        shapes |= {"fold_in.pulls": ("N", "D"), "fold_in.everyone": ("D", "D"), "fold_in.mean": ("D",)}
        shapes |= {"fold_in.levels": (levels + 1, 3), "fold_in.constants": (4,)}
    fitted(weights, found, shapes, TRAIN_AGAIN, sizes=sizes)
    for name, of_it in _BESIDE.items():
        if name in manifest["checksums"]:
            fitted(folder / name, array_shapes(folder / name, TRAIN_AGAIN), of_it, TRAIN_AGAIN, sizes=sizes)
