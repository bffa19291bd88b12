"""Bundles: a trained model on disk with all that its use needs, whole and checked."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tastevec.data.atomic import new_folder
from tastevec.data.reading import RatingScale, Reading
from tastevec.errors import FormatError
from tastevec.items.placing import FilmPlacing
from tastevec.schema import BUNDLE_FILE, BUNDLE_FORMAT, ITEM_ID, ITEMS_FILE, PLACING_FILE

from .card import model_card

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tastevec.model.encoder import TasteEncoder

__all__ = ["Bundle"]

_WEIGHTS = "model.safetensors"


@dataclass(frozen=True, eq=False)
class Bundle:
    """A trained model in memory.

    Attributes:
        model: The encoder with its film table.
        reading: How it reads histories.
        items: Row i is film i: item_id, title, year, genres, vector_source, train_users.
        facts: What is known of its making: data, settings, training log, metrics; plain values.
        placing: Where a film belongs that comes later; None in a bundle from before this was kept.
    """

    model: TasteEncoder
    reading: Reading
    items: pa.Table
    facts: dict[str, Any]
    placing: FilmPlacing | None = None

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

    def save(self, out: Path, *, curves: Path | None = None) -> Path:
        """Write the bundle to the folder ``out``, whole or not at all.

        Args:
            out: An earlier bundle there is replaced.
            curves: A folder with the training's TensorBoard curves, kept as ``tensorboard``; it need not exist.
        """
        with new_folder(out, owned_by=BUNDLE_FILE) as folder:
            self.model.save_pretrained(folder)
            pq.write_table(self.items, folder / ITEMS_FILE)
            if self.placing is not None:
                self.placing.save(folder / PLACING_FILE)
            (folder / "README.md").write_text(model_card(self.facts), encoding="utf-8")
            checksums = {file.name: _sha256(file) for file in sorted(folder.iterdir())}
            if curves is not None and curves.is_dir():
                shutil.copytree(curves, folder / "tensorboard")
            manifest = {
                "format": BUNDLE_FORMAT,
                **self.facts,
                "space": self.space if self.model.config.added_items else checksums[_WEIGHTS][:16],
                "reading": asdict(self.reading),
                "checksums": checksums,
            }
            (folder / BUNDLE_FILE).write_text(
                json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
            )
        return out

    @classmethod
    def load(cls, folder: Path) -> Bundle:
        """Read a bundle.

        Raises:
            FormatError: The folder is missing, damaged, or of another format version.
        """
        manifest = _read_manifest(folder)
        for name, expected in manifest["checksums"].items():
            path = folder / name
            if not path.is_file() or _sha256(path) != expected:
                raise FormatError(
                    f"{path} is missing or not as it was written; copy the bundle again, or train again"
                )
        import torch  # noqa: PLC0415  as below
        from safetensors.torch import load_model  # noqa: PLC0415  torch takes seconds; a wrong folder should not

        from tastevec.model.config import TasteConfig  # noqa: PLC0415  as above
        from tastevec.model.encoder import TasteEncoder  # noqa: PLC0415  as above

        scale = RatingScale(**manifest["reading"].pop("scale"))
        reading = Reading(scale=scale, **manifest["reading"])
        # As from_pretrained does, without its bar on the caller's terminal.
        model = TasteEncoder(TasteConfig.from_pretrained(folder)).eval()
        load_model(model, folder / _WEIGHTS)
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        placing = FilmPlacing.load(folder / PLACING_FILE) if PLACING_FILE in manifest["checksums"] else None
        return cls(model, reading, pq.read_table(folder / ITEMS_FILE), manifest, placing)


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / BUNDLE_FILE
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FormatError(
            f"{folder} holds no {BUNDLE_FILE}; expected a trained model: run tastevec train PREPARED --out {folder}"
        ) from None
    except (OSError, ValueError) as error:
        raise FormatError(
            f"{path} cannot be read ({error}); copy the bundle again, or train again"
        ) from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != BUNDLE_FORMAT:
        raise FormatError(
            f"{folder} is of format {found}; this version of tastevec reads format {BUNDLE_FORMAT}: train again"
        )
    return dict(manifest)


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
