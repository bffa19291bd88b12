"""The model folder on disk: its parts, format version and checksums.

Dimensions: N items, D dimensions, H hidden size, I intermediate size, L history, T tags, F features.
"""

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

from tastevec.data.arrays import (
    ID_TYPES,
    array_shapes,
    check_shapes,
    read_columns,
)
from tastevec.data.files import (
    ManifestSpec,
    NounWords,
    StrictModel,
    atomic_folder,
    damaged,
    is_regular_file,
    manifest_text,
    path_inside,
    read_manifest,
    sha256_of,
    validate_json,
)
from tastevec.data.inputs import InputConfig
from tastevec.data.value_scale import restored_scale
from tastevec.errors import FormatError
from tastevec.extras import require
from tastevec.items.cold_start import ColdStartModel
from tastevec.items.item_map import ItemMap
from tastevec.items.tag_directions import TagDirections
from tastevec.model.direction import DIRECTION_MODEL, DirectionEncoder
from tastevec.nouns import ItemNoun
from tastevec.schema import (
    BUNDLE_FILE,
    BUNDLE_FORMAT,
    CALIBRATION_FILE,
    COLD_START_FILE,
    CONFIG_FILE,
    ENCODER_FILE,
    GENRES,
    ITEM_ID,
    ITEM_NOUN,
    ITEMS_FILE,
    MAP_FILE,
    PERCENTILE,
    PROBABILITY,
    SCORE,
    TAGS_FILE,
    TITLE,
    TRAIN_AGAIN,
    WEIGHTS_FILE,
    YEAR,
    FeedbackKind,
)
from tastevec.serving.calibration import SHAPES, Calibration
from tastevec.serving.encoder import NOTE_MODEL, OnnxEncoder
from tastevec.serving.model_card import model_card

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.data.topk import BestItems
    from tastevec.schema import Horizon
    from tastevec.serving.encoder import Encoder

Runtime = Literal["auto", "onnx", "torch"]

_REQUIRED: Final = (CONFIG_FILE, WEIGHTS_FILE, ITEMS_FILE, COLD_START_FILE)
_ITEM_COLUMNS: Final = {
    ITEM_ID: ID_TYPES,
    TITLE: (pa.string(),),
    YEAR: (pa.int32(),),
    GENRES: (pa.list_(pa.string()),),
    "train_users": (pa.int64(),),
}
# Arrays of the other parts.
_PART_SHAPES: Final[dict[str, dict[str, tuple[str | int, ...]]]] = {
    COLD_START_FILE: {"slopes": ("F", "D"), "mean": ("D",)},
    TAGS_FILE: {"directions": ("T", "D"), "reliability": ("T",)},
    MAP_FILE: {"positions": ("N", 2)},
    CALIBRATION_FILE: SHAPES,
}
# Sizes of arrays, whose shapes are compared before one is read: none can be larger than its file.
_Size = Annotated[int, Field(ge=1, lt=2**31)]
MAX_CONFIG: Final = 16_000_000  # bytes; a million added items have 13 million
_MAX_GRAPH: Final = 2**31  # of protobuf


class _Scale(StrictModel):
    model_config = ConfigDict(extra="forbid")

    kind: FeedbackKind
    low: FiniteFloat
    high: FiniteFloat
    positive_from: FiniteFloat
    top: FiniteFloat
    n_bins: Annotated[int, Field(ge=2, lt=2**31)]


class _Reading(StrictModel):
    model_config = ConfigDict(extra="forbid")

    scale: _Scale
    max_history: _Size
    order: Literal["time", "item"]
    truncate: Literal["newest", "oldest"]
    pad: Literal["longest", "full"]
    max_history_overall: Annotated[int, Field(ge=0, lt=2**31)]


class _Data(StrictModel):
    item_noun: NounWords = ITEM_NOUN


class _Manifest(StrictModel):
    space: str
    reading: _Reading
    checksums: dict[str, str]
    data: _Data
    settings: dict[str, Any]
    validation: dict[str, FiniteFloat]


class _Config(StrictModel):
    model_type: str
    n_items: _Size
    dim: _Size
    max_history: _Size
    added_items: list[Annotated[int, Field(ge=0)]]


class _DirectionConfig(_Config):
    rating_bins: _Size


class _NoteConfig(_Config):
    hidden_size: _Size
    intermediate_size: _Size
    layers: Annotated[int, Field(ge=1, le=128)]
    max_history: Annotated[int, Field(ge=1, le=2**14)]  # no array has this size


class _TasteConfig(_NoteConfig):
    max_history: _Size
    rating_bins: _Size
    weights: dict[str, dict[str, FiniteFloat]]
    solution: dict[str, list[Annotated[int, Field(ge=0, lt=2**31)]]]


_KIND: Final = ManifestSpec(
    model=_Manifest,
    format=BUNDLE_FORMAT,
    files_key="checksums",
    expected="a model folder",
    command="tastevec train PREPARED",
    repair=TRAIN_AGAIN,
)


# `tastevec.model.note` and the modules of its package that it imports, `tastevec.model.encoder` among them.
MODULES: Final = ("closed_form", "config", "encoder", "geometry", "list_solver", "note")
# All files of a model folder, but for the training curves.
MODEL_FILES: Final = (
    *(BUNDLE_FILE, "README.md", *_REQUIRED, ENCODER_FILE, TAGS_FILE, MAP_FILE, CALIBRATION_FILE),
    *(f"{name}.py" for name in MODULES),
)

# Where transformers finds the classes by model type; the same keys that its own save_pretrained writes.
_AUTO_MAPS: Final = {
    "tastevec": {"AutoConfig": "config.TasteConfig", "AutoModel": "encoder.TasteEncoder"},
    NOTE_MODEL: {"AutoConfig": "config.NoteConfig", "AutoModel": "note.NoteEncoder"},
}


@dataclass(frozen=True, eq=False, repr=False)
class Bundle:
    """A trained model in memory.

    Attributes:
        model: The encoder with its item embedding matrix.
        reading: The encoder's input layout.
        items: Row i is item i: item_id, title, year, genres, vector_source, train_users.
        facts: Data, settings, training log and validation metrics, as plain values.
        cold_start: Predicts the embeddings of new items.
        tags: Tag directions; None if the data have no tags, genome or genres.
        item_map: 2-D positions of the items; None for too few items.
        calibration: From scores to probabilities; None where the data say too little of what is not positive.
    """

    model: Encoder
    reading: InputConfig
    items: pa.Table
    facts: dict[str, Any]
    cold_start: ColdStartModel
    tags: TagDirections | None = None
    item_map: ItemMap | None = None
    calibration: Calibration | None = None

    def __repr__(self) -> str:
        return f"Bundle({self.noun.counted(len(self.items))}, {type(self.model).__name__}, space {self.space[:8]})"

    @property
    def item_ids(self) -> NDArray[Any]:
        """Return the item IDs (N,), ascending."""
        ids: NDArray[Any] = self.items[ITEM_ID].to_numpy()
        return ids

    @property
    def space(self) -> str:
        """Return the ID of the embedding space.

        Each training has its own space; vectors of different spaces are not comparable. Added items change no vector, so
        a bundle with more items keeps the space.
        """
        return str(self.facts["space"])

    @property
    def noun(self) -> ItemNoun:
        """What the catalog calls its items."""
        return ItemNoun.of(self.facts.get("data", {}))

    @property
    def fingerprint(self) -> str:
        """Return a digest of all that an embedding depends on except the history: weights, items and runtime."""
        facts = {
            "reading": asdict(self.reading),
            "checksums": self.facts.get("checksums"),
            "space": self.space,
            "runtime": type(self.model).__name__,
        }
        digest = hashlib.sha256(json.dumps(facts).encode())
        digest.update(repr(self.item_ids.tolist()).encode())
        digest.update(self.model.table.tobytes())
        return digest.hexdigest()

    def measures(self, known: Histories, best: BestItems, horizon: Horizon) -> dict[str, NDArray[np.float32]]:
        """Return the score, the percentile and, with a calibration, the probability (B, K) of items; see `MEANINGS`.

        Any number where an item is -1.

        Args:
            known: The histories of the users.
            best: The items.
            horizon: That of the scores.
        """
        found = {SCORE: best.scores, PERCENTILE: best.percentiles}
        if self.calibration is None:
            return found
        items, scores, _ = best
        shares = self.calibration.user_shares(known, self.reading.scale.positive_from)
        of_pairs, listed = np.broadcast_to(shares[:, None], items.shape), items >= 0
        found[PROBABILITY] = self.calibration.probabilities(
            np.where(listed, scores, 0.0), np.where(listed, items, 0), of_pairs, horizon
        )
        return found

    def save(self, out: Path, *, curves: Path | None = None, name: str = "this folder") -> Path:
        """Write the bundle to the folder ``out``, complete or not at all.

        Args:
            out: Output folder; an earlier bundle there is replaced.
            curves: Folder with the TensorBoard curves of the training, copied to ``tensorboard`` if it exists.
            name: The name under which the examples of the model card load the model.
        """
        parts: dict[str, ColdStartModel | TagDirections | ItemMap | Calibration | None] = {
            COLD_START_FILE: self.cold_start,
            TAGS_FILE: self.tags,
            MAP_FILE: self.item_map,
            CALIBRATION_FILE: self.calibration,
        }
        with atomic_folder(out, marker_file=BUNDLE_FILE) as folder:
            self.model.save_pretrained(folder)
            if not isinstance(self.model, DirectionEncoder):  # which is NumPy alone
                if not isinstance(self.model, OnnxEncoder):
                    export(self.model, folder / ENCODER_FILE)
                write_code(folder)
            pq.write_table(self.items, folder / ITEMS_FILE)
            for file, part in parts.items():
                if part is not None:
                    part.save(folder / file)
            space = self.space if self.model.added_items else sha256_of(folder / WEIGHTS_FILE)[:16]
            card = model_card({**self.facts, "space": space}, self.reading, self.item_ids, name)
            (folder / "README.md").write_text(card, encoding="utf-8")
            checksums = {file.name: sha256_of(file) for file in sorted(folder.iterdir())}
            if curves is not None and curves.is_dir():
                shutil.copytree(curves, folder / "tensorboard")
            manifest = {"format": BUNDLE_FORMAT, **self.facts, "space": space}
            manifest |= {"reading": asdict(self.reading), "checksums": checksums}
            (folder / BUNDLE_FILE).write_text(manifest_text(manifest), encoding="utf-8")
        return out

    @classmethod
    def load(cls, folder: Path, runtime: Runtime = "auto") -> Bundle:
        """Read a model folder.

        Args:
            folder: The model folder.
            runtime: ``onnx``, or ``torch`` (on a GPU if torch finds one), but for preset direction, which needs neither; ``auto`` is onnx where onnxruntime is installed
                and the folder has a graph.

        Raises:
            FormatError: The folder is missing, damaged, or of another format version; or it has no graph and ``runtime``
                is onnx.
        """
        manifest = _read_manifest(folder)
        config = _check_parts(folder, manifest)
        items = read_columns(
            folder / ITEMS_FILE,
            _ITEM_COLUMNS,
            TRAIN_AGAIN,
            not_null=(ITEM_ID, TITLE, "train_users"),
            ascending=ITEM_ID,  # items are found by binary search
            rows=config.n_items,
        )
        scale = restored_scale(manifest["reading"].pop("scale"), folder / BUNDLE_FILE, TRAIN_AGAIN)
        files = manifest["checksums"]
        return cls(
            _load_encoder(folder, runtime, has_graph=ENCODER_FILE in files),
            InputConfig(scale=scale, **manifest["reading"]),
            items,
            manifest,
            ColdStartModel.load(folder / COLD_START_FILE),
            TagDirections.load(folder / TAGS_FILE) if TAGS_FILE in files else None,
            ItemMap.load(folder / MAP_FILE) if MAP_FILE in files else None,
            Calibration.load(folder / CALIBRATION_FILE) if CALIBRATION_FILE in files else None,
        )


def write_code(folder: Path) -> None:
    """Write the encoder's modules into ``folder``, and their class names into its ``config.json``."""
    package = resources.files("tastevec.model")
    for name in MODULES:
        (folder / f"{name}.py").write_bytes((package / f"{name}.py").read_bytes())
    path = folder / CONFIG_FILE
    config = json.loads(path.read_text(encoding="utf-8"))
    text = json.dumps({**config, "auto_map": _AUTO_MAPS[config["model_type"]]}, indent=2, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")


def export(model: Any, path: Path) -> None:  # noqa: ANN401  a TasteEncoder, which needs torch
    """Write the transformer as an ONNX graph.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
    """
    require("onnxscript")
    from tastevec.model.export import export_onnx  # noqa: PLC0415  torch

    export_onnx(model, path)


def _read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a folder whose files match their checksums.

    Raises:
        FormatError: The manifest is missing, damaged or of another format version, or a file differs from its checksum.
    """
    path = folder / BUNDLE_FILE
    manifest = read_manifest(path, _KIND)
    checksums = manifest["checksums"]
    for name in (*_REQUIRED, *(name for name in _PART_SHAPES if (folder / name).exists())):
        if name not in checksums:
            raise FormatError(f"{path}: no checksum of {name}. {TRAIN_AGAIN}")
    for name, expected in checksums.items():
        file = path_inside(folder, name)
        most = {CONFIG_FILE: MAX_CONFIG, ENCODER_FILE: _MAX_GRAPH}.get(name)
        if is_regular_file(file) and not is_regular_file(file, most):
            raise damaged(file, f"{file.stat().st_size:,} bytes", f"at most {most:,}", TRAIN_AGAIN)
        if not is_regular_file(file) or sha256_of(file) != expected:
            raise FormatError(f"{file}: missing, or checksum mismatch. {TRAIN_AGAIN}")
    return manifest


def _check_parts(folder: Path, manifest: dict[str, Any]) -> _Config:
    """Return the sizes of the network; refuse parts that do not fit them, before one is read or a network is built.

    Raises:
        FormatError: A size differs, or is out of range.
    """
    path = folder / CONFIG_FILE
    try:
        found = from_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise FormatError(f"{path} cannot be read ({error}). {TRAIN_AGAIN}") from error
    kind = found.get("model_type") if isinstance(found, dict) else None
    shapes_of: dict[Any, type[_Config]] = {NOTE_MODEL: _NoteConfig, DIRECTION_MODEL: _DirectionConfig}
    shape = shapes_of.get(kind, _TasteConfig)
    config = shape(**validate_json(path, found, shape, TRAIN_AGAIN))
    reading = manifest["reading"]
    levels = reading["scale"]["n_bins"]
    bins = getattr(config, "rating_bins", levels)
    if (bins, config.max_history) != (levels, reading["max_history"]):
        found = f"{bins} rating bins and histories of {config.max_history}"
        expected = f"{levels} and {reading['max_history']}, as in {BUNDLE_FILE}"
        raise damaged(path, found, expected, TRAIN_AGAIN)
    if max(config.added_items, default=0) >= config.n_items:
        raise damaged(
            path, f"the added item {max(config.added_items)}", f"less than {config.n_items}", TRAIN_AGAIN
        )
    sizes = {"N": config.n_items, "D": config.dim, "L": config.max_history}
    if isinstance(config, _NoteConfig):
        sizes |= {"H": config.hidden_size, "I": config.intermediate_size}
    for name, shapes in {WEIGHTS_FILE: _weight_shapes(config), **_PART_SHAPES}.items():
        if name in manifest["checksums"]:
            path = folder / name
            check_shapes(path, array_shapes(path, TRAIN_AGAIN), shapes, TRAIN_AGAIN, sizes=sizes)
    return config


def _weight_shapes(config: _Config) -> dict[str, tuple[str | int, ...]]:
    """Return the shapes that the weights must have."""
    if isinstance(config, _DirectionConfig):
        items = dict.fromkeys(("items.weight", "from_items", "from_grades"), ("N", "D"))
        return {**items, "grades": (3, config.rating_bins + 1), "from_means": (3 * config.dim + 2, "D")}
    assert isinstance(config, _NoteConfig), "one of the three"
    shapes: dict[str, tuple[str | int, ...]] = {
        "items.weight": ("N", "D"),
        "input_projection.weight": ("H", "D"),
        "user_basis": ("D", config.dim - 1),
        "item_basis": ("D", config.dim - 1),
        f"blocks.layer.{config.layers - 1}.output.dense.weight": ("H", "I"),
    }
    if isinstance(config, _TasteConfig):
        shapes |= {"item_inputs.weight": ("N", "H"), "positions.weight": ("L", "H")}
        shapes |= {f"solution.{name}": tuple(shape) for name, shape in config.solution.items()}
    return shapes


def _load_encoder(folder: Path, runtime: Runtime, *, has_graph: bool) -> Encoder:
    """Return the encoder of a checked folder; that of preset direction is NumPy alone in any runtime."""
    kind = from_json((folder / CONFIG_FILE).read_bytes())["model_type"]
    if kind == DIRECTION_MODEL:
        return DirectionEncoder.load(folder)
    if runtime == "onnx" and not has_graph:
        raise FormatError(f"{folder}: no {ENCODER_FILE}. Load it with runtime='torch', or train again.")
    if runtime == "onnx" or (runtime == "auto" and has_graph and find_spec("onnxruntime")):
        return OnnxEncoder.load(folder)
    # Imported here: torch takes seconds, which neither a wrong folder nor serving with ONNX should cost.
    import torch  # noqa: PLC0415  as the comment says
    from safetensors.torch import load_file  # noqa: PLC0415  as the comment says

    from tastevec.model.config import NoteConfig, TasteConfig  # noqa: PLC0415  as the comment says
    from tastevec.model.encoder import TasteEncoder  # noqa: PLC0415  as the comment says
    from tastevec.model.note import NoteEncoder  # noqa: PLC0415  as the comment says

    try:  # as from_pretrained does, but without its progress bar
        is_note = kind == NOTE_MODEL
        network: Any = NoteEncoder if is_note else TasteEncoder
        config = (NoteConfig if is_note else TasteConfig).from_pretrained(folder)
        with torch.device(
            "meta"
        ):  # no memory: the arrays of the file become the weights, and none may be missing
            model = network(config).eval()
        model.load_state_dict(load_file(folder / WEIGHTS_FILE), assign=True)
        if not is_note:
            model.closed_form  # noqa: B018  refuses arrays that do not fit each other
    except Exception as error:  # transformers and torch raise many types for what does not fit
        raise FormatError(f"{folder}: the network cannot be built ({error}). {TRAIN_AGAIN}") from error
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    encoder: Encoder = model
    return encoder
