"""Bundles: a trained model on disk with all that its use needs, whole and checked."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from tastevec.data.files import inside, new_folder, sealed, sha256_of
from tastevec.data.inputs import RatingScale, Reading
from tastevec.errors import FormatError
from tastevec.extras import need
from tastevec.items.cold_start import FilmPlacing
from tastevec.items.film_map import FilmMap
from tastevec.items.tag_directions import TagDirections
from tastevec.schema import (
    BUNDLE_FILE,
    BUNDLE_FORMAT,
    ENCODER_FILE,
    ITEM_ID,
    ITEMS_FILE,
    MAP_FILE,
    PLACING_FILE,
    TAGS_FILE,
    TRAIN_AGAIN,
    WEIGHTS_FILE,
)
from tastevec.serving.card import model_card
from tastevec.serving.code_inside import put_code
from tastevec.serving.encoder import OnnxEncoder
from tastevec.serving.formats import form_of, read_weights
from tastevec.serving.parts import bundle_films, bundle_manifest, refuse_misfits

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tastevec.serving.encoder import Encoder

__all__ = ["Bundle", "Runtime"]

Runtime = Literal["auto", "onnx", "torch"]


@dataclass(frozen=True, eq=False)
class Bundle:
    """A trained model in memory.

    Attributes:
        model: The encoder with its film table.
        reading: How it reads histories.
        items: Row i is film i: item_id, title, year, genres, vector_source, train_users.
        facts: What is known of its making: data, settings, training log, metrics; plain values.
        placing: Where a film belongs that comes later; None in a bundle from before this was kept, as are the next two.
        tags: What vectors say in words; None where nothing was said of the films.
        film_map: Where each film lies on a map; None where they are too few for one.
    """

    model: Encoder
    reading: Reading
    items: pa.Table
    facts: dict[str, Any]
    placing: FilmPlacing | None = None
    tags: TagDirections | None = None
    film_map: FilmMap | None = None

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
            put_code(folder)
            pq.write_table(self.items, folder / ITEMS_FILE)
            for name, part in (
                (PLACING_FILE, self.placing),
                (TAGS_FILE, self.tags),
                (MAP_FILE, self.film_map),
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
        items = bundle_films(folder)
        refuse_misfits(folder, manifest, films=len(items))
        scale = RatingScale(**manifest["reading"].pop("scale"))
        reading = Reading(scale=scale, **manifest["reading"])
        model = _encoder(folder, runtime, has_graph=ENCODER_FILE in manifest["checksums"])
        if (form := form_of(folder)) is not None:
            manifest["earlier_form"] = form
        there = manifest["checksums"]
        placing = FilmPlacing.load(folder / PLACING_FILE) if PLACING_FILE in there else None
        tags = TagDirections.load(folder / TAGS_FILE) if TAGS_FILE in there else None
        film_map = FilmMap.load(folder / MAP_FILE) if MAP_FILE in there else None
        return cls(model, reading, items, manifest, placing, tags, film_map)


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
