"""The model folder on disk: its parts, format version and checksums."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from importlib import resources
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ConfigDict, Field, FiniteFloat
from pydantic_core import from_json
from safetensors import safe_open
from safetensors.numpy import load_file

from tastevec.data.arrays import IDS, array_shapes, fitted, read_columns
from tastevec.data.files import (
    ManifestKind,
    Shape,
    inside,
    new_folder,
    read_manifest,
    read_shape,
    sealed,
    sha256_of,
)
from tastevec.data.inputs import RatingScale, Reading
from tastevec.errors import FormatError
from tastevec.extras import need
from tastevec.items.cold_start import ColdStartModel
from tastevec.items.item_map import ItemMap
from tastevec.items.tag_directions import TagDirections
from tastevec.schema import (
    BUNDLE_FILE,
    BUNDLE_FORMAT,
    COLD_START_FILE,
    CONFIG_FILE,
    ENCODER_FILE,
    GENRES,
    ITEM_ID,
    ITEMS_FILE,
    MAP_FILE,
    TAGS_FILE,
    TITLE,
    TRAIN_AGAIN,
    WEIGHTS_FILE,
    YEAR,
)
from tastevec.serving.encoder import OnnxEncoder
from tastevec.serving.model_card import model_card

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tastevec.serving.encoder import Encoder

__all__ = [
    "LEARNED",
    "MODULES",
    "Bundle",
    "Runtime",
    "bundle_items",
    "bundle_manifest",
    "form_of",
    "read_weights",
    "refuse_misfits",
    "write_code",
]

LEARNED: Final = "learned linear answer"  # until decision 9
_SIGN: Final = "fold_in.log_sharpness"  # a weight that those bundles alone have


def form_of(folder: Path) -> str | None:
    """What the weights were when they were written, where that is not what they are today."""
    with safe_open(folder / WEIGHTS_FILE, "numpy") as file:
        return LEARNED if _SIGN in file.keys() else None  # noqa: SIM118  it is no mapping


def read_weights(folder: Path, names: Collection[str], added: Sequence[int]) -> dict[str, NDArray[Any]]:
    """The weights of a bundle as today's network has them.

    Args:
        folder: The bundle, whose files are known to be whole.
        names: Of all weights that the network has, as its configuration makes it.
        added: Rows of the film table that came after the training.

    Raises:
        FormatError: They are of a network that this version no longer has.
    """
    weights = load_file(folder / WEIGHTS_FILE)
    if _SIGN in weights and not any(name.startswith("correction.") for name in weights):
        weights = _solved(weights, added)
    if differing := sorted({*names} ^ weights.keys()):
        raise FormatError(
            f"{folder} holds a network of an earlier version, which this one no longer has (it differs in {', '.join(differing[:3])}); "
            "use it with the version that bundle.json names, or train again"
        )
    return weights


def _solved(weights: dict[str, NDArray[Any]], added: Sequence[int]) -> dict[str, NDArray[Any]]:
    """The learned linear answer in the terms of the solved one, number for number the same.

    It was ``sharpness * (V'V + sum a v v' + ridge I)^-1 sum b v``, with a confidence a and a pull b by rating level, of which
    today's is the general case: what films say of others is not trusted, the ridge does not grow with films, and there is no
    mean person. See `tastevec.model.encoder`.
    """
    old = {name: weights[name].astype(np.float64) for name in weights if name.startswith("fold_in.")}
    table = weights["items.weight"].astype(np.float64)
    trained = np.delete(table, list(added), axis=0)
    confidence, pull = np.exp(old["fold_in.log_confidence"]), np.exp(old[_SIGN]) * old["fold_in.pull"]
    solved = {
        "fold_in.item_prior": np.zeros_like(table),
        "fold_in.gram": trained.T @ trained,
        "fold_in.prior_mean": np.zeros(table.shape[1]),
        "fold_in.rating_weights": np.stack([np.zeros_like(pull), confidence, pull], axis=1),
        # Trust, the ridge, its power of the number of films, and films of the mean person, who is nobody.
        "fold_in.constants": np.array([0.0, np.exp(old["fold_in.log_ridge"]), 0.0, 1.0]),
    }
    kept = {name: array for name, array in weights.items() if name not in old}
    return kept | {name: array.astype(np.float32) for name, array in solved.items()}


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
    COLD_START_FILE: {"slopes": ("F", "D"), "mean": ("D",)},
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
    max_history_overall: Annotated[int, Field(ge=0, lt=2**31)] = 0


class _Manifest(Shape):
    space: str
    reading: _Reading
    checksums: dict[str, str]
    data: dict[str, Any] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)
    validation: dict[str, FiniteFloat] = Field(default_factory=dict)


class _Config(Shape):
    n_items: _Some
    dim: _Some
    hidden_size: _Some
    intermediate_size: _Some
    layers: _Some
    max_history: _Some
    rating_bins: _Some
    readout: str
    added_items: list[Annotated[int, Field(ge=0)]] = Field(default_factory=list)


class _Served(_Config):
    """What is read beside a graph, too."""

    added_items: list[Annotated[int, Field(ge=0)]]
    similarity: Literal["dot", "cosine"]
    recent: _Some
    blend_overall: FiniteFloat
    blend_recent: FiniteFloat
    blend_short: FiniteFloat


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


def bundle_items(folder: Path) -> pa.Table:
    """The films of a bundle, ascending by their ids, by which they are found.

    Raises:
        FormatError: The table is damaged.
    """
    return read_columns(
        folder / ITEMS_FILE, _FILMS, TRAIN_AGAIN, full=(ITEM_ID, TITLE, "train_users"), ascending=ITEM_ID
    )


def refuse_misfits(folder: Path, manifest: dict[str, Any], *, items: int) -> None:
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
    if (config.n_items, config.rating_bins) != (items, levels) or max(config.added_items, default=0) >= items:
        raise FormatError(
            f"{path} speaks of {config.n_items} films and {config.rating_bins} levels of rating, and {BUNDLE_FILE} of "
            f"{items} and {levels}; {TRAIN_AGAIN}"
        )
    sizes = {
        "N": items,
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
        shapes |= {"fold_in.item_prior": ("N", "D"), "fold_in.gram": ("D", "D"), "fold_in.prior_mean": ("D",)}
        shapes |= {"fold_in.rating_weights": (levels + 1, 3), "fold_in.constants": (4,)}
    fitted(weights, found, shapes, TRAIN_AGAIN, sizes=sizes)
    for name, of_it in _BESIDE.items():
        if name in manifest["checksums"]:
            fitted(folder / name, array_shapes(folder / name, TRAIN_AGAIN), of_it, TRAIN_AGAIN, sizes=sizes)


# `tastevec.model.encoder` and all that it imports of its own room.
MODULES: Final = ("config", "encoder")

# Where transformers finds the classes, as its own save_pretrained writes it.
_AUTO_MAP: Final = {"AutoConfig": "config.TasteConfig", "AutoModel": "encoder.TasteEncoder"}


def write_code(folder: Path) -> None:
    """Write the network's modules into ``folder``, and into its configuration where the classes are."""
    room = resources.files("tastevec.model")
    for name in MODULES:
        (folder / f"{name}.py").write_bytes((room / f"{name}.py").read_bytes())
    path = folder / CONFIG_FILE
    config = json.loads(path.read_text(encoding="utf-8"))
    text = json.dumps({**config, "auto_map": _AUTO_MAP}, indent=2, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")


Runtime = Literal["auto", "onnx", "torch"]


@dataclass(frozen=True, eq=False)
class Bundle:
    """A trained model in memory.

    Attributes:
        model: The encoder with its film table.
        reading: How it reads histories.
        items: Row i is film i: item_id, title, year, genres, vector_source, train_users.
        facts: What is known of its making: data, settings, training log, metrics; plain values.
        cold_start: Where a film belongs that comes later; None in a bundle from before this was kept, as are the next two.
        tags: What vectors say in words; None where nothing was said of the films.
        item_map: Where each film lies on a map; None where they are too few for one.
    """

    model: Encoder
    reading: Reading
    items: pa.Table
    facts: dict[str, Any]
    cold_start: ColdStartModel | None = None
    tags: TagDirections | None = None
    item_map: ItemMap | None = None

    @property
    def item_ids(self) -> NDArray[Any]:
        """(N,) the films' own ids."""
        ids: NDArray[Any] = self.items[ITEM_ID].to_numpy()
        return ids

    @property
    def space(self) -> str:
        """The name of the vector space: two trainings never share one, and their vectors are not to be compared.

        Films that come later move nothing, so that a bundle with more films keeps the space of the one that it came from.
        """
        return str(self.facts["space"])

    @property
    def fingerprint(self) -> str:
        """A name for all that an answer depends on besides the person's history: weights, films, and what computes."""
        told = {
            "reading": asdict(self.reading),
            "checksums": self.facts.get("checksums"),
            "space": self.space,
        }
        found = hashlib.sha256(json.dumps({**told, "runtime": type(self.model).__name__}).encode())
        found.update(repr(self.item_ids.tolist()).encode())
        found.update(self.model.table.tobytes())
        return found.hexdigest()

    def save(self, out: Path, *, curves: Path | None = None, known_as: str = "this folder") -> Path:
        """Write the bundle to the folder ``out``, whole or not at all.

        Args:
            out: An earlier bundle there is replaced.
            curves: A folder with the training's TensorBoard curves, kept as ``tensorboard``; it need not exist.
            known_as: As which its card loads it.
        """
        with new_folder(out, owned_by=BUNDLE_FILE) as folder:
            self.model.save_pretrained(folder)
            if not isinstance(self.model, OnnxEncoder):
                export(self.model, folder / ENCODER_FILE)
            write_code(folder)
            pq.write_table(self.items, folder / ITEMS_FILE)
            for name, part in (
                (COLD_START_FILE, self.cold_start),
                (TAGS_FILE, self.tags),
                (MAP_FILE, self.item_map),
            ):
                if part is not None:
                    part.save(folder / name)
            # An earlier form of weights is another file, and the same space.
            kept = bool(self.model.added_items) or "earlier_form" in self.facts
            space = self.space if kept else sha256_of(folder / WEIGHTS_FILE)[:16]
            card = model_card(self, space, known_as)
            (folder / "README.md").write_text(card, encoding="utf-8")
            checksums = {file.name: sha256_of(file) for file in sorted(folder.iterdir())}
            if curves is not None and curves.is_dir():
                shutil.copytree(curves, folder / "tensorboard")
            manifest = {
                "format": BUNDLE_FORMAT,
                **self.facts,
                "space": space,
                "reading": asdict(self.reading),
                "checksums": checksums,
            }
            (folder / BUNDLE_FILE).write_text(sealed(manifest), encoding="utf-8")
        return out

    @classmethod
    def load(cls, folder: Path, runtime: Runtime = "auto") -> Bundle:
        """Read a bundle.

        Args:
            folder: Where it is.
            runtime: What computes: ``onnx``, or ``torch``, on a GPU where it sees one; ``auto`` is onnx where onnxruntime
                is installed and the bundle has a graph for it.

        Raises:
            FormatError: The folder is missing, damaged, or of another format version; or it has no graph and ``runtime``
                is onnx.
        """
        manifest = bundle_manifest(folder)
        for name, expected in manifest["checksums"].items():
            path = inside(folder, name)
            if not path.is_file() or sha256_of(path) != expected:
                raise FormatError(
                    f"{path} is missing or not as it was written; copy the bundle again, or train again"
                )
        items = bundle_items(folder)
        refuse_misfits(folder, manifest, items=len(items))
        scale = RatingScale(**manifest["reading"].pop("scale"))
        reading = Reading(scale=scale, **manifest["reading"])
        model = _encoder(folder, runtime, has_graph=ENCODER_FILE in manifest["checksums"])
        if (form := form_of(folder)) is not None:
            manifest["earlier_form"] = form
        there = manifest["checksums"]
        cold_start = ColdStartModel.load(folder / COLD_START_FILE) if COLD_START_FILE in there else None
        tags = TagDirections.load(folder / TAGS_FILE) if TAGS_FILE in there else None
        item_map = ItemMap.load(folder / MAP_FILE) if MAP_FILE in there else None
        return cls(model, reading, items, manifest, cold_start, tags, item_map)


def export(model: Any, path: Path) -> None:  # noqa: ANN401  a TasteEncoder, which only torch knows
    """Write the blocks of a network in torch as a graph that needs none.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
    """
    need("onnxscript")
    from tastevec.model.export import export_onnx  # noqa: PLC0415  torch

    export_onnx(model, path)


def _encoder(folder: Path, runtime: Runtime, *, has_graph: bool) -> Encoder:
    if runtime == "onnx" and not has_graph:
        raise FormatError(
            f"{folder} holds no {ENCODER_FILE}, which this version's train leaves; load it with torch, or train again"
        )
    if runtime == "onnx" or (runtime == "auto" and has_graph and find_spec("onnxruntime")):
        return OnnxEncoder.load(folder)
    import torch  # noqa: PLC0415  it takes seconds; a wrong folder, and who serves without it, should not

    from tastevec.model.config import TasteConfig  # noqa: PLC0415  as above
    from tastevec.model.encoder import TasteEncoder  # noqa: PLC0415  as above

    try:  # as from_pretrained does, without its bar on the caller's terminal
        model = TasteEncoder(TasteConfig.from_pretrained(folder)).eval()
        weights = read_weights(folder, model.state_dict().keys(), model.added_items)
        model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    except FormatError:
        raise
    except Exception as error:  # transformers and torch give what does not fit many names
        raise FormatError(f"{folder} holds no network that can be built ({error}); {TRAIN_AGAIN}") from error
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    encoder: Encoder = model
    return encoder
