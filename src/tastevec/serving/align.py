"""Alignment of two embedding spaces by an orthogonal rotation.

Dimensions: B users, N items of both catalogs, D dimensions.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ConfigDict
from safetensors.numpy import save_file

from tastevec.data.arrays import check_shapes, read_arrays
from tastevec.data.files import (
    ManifestSpec,
    StrictModel,
    atomic_folder,
    manifest_text,
    read_manifest,
    result_file,
    sha256_of,
)
from tastevec.errors import DataError, FormatError, SourceError
from tastevec.schema import (
    ALIGNED_COSINE,
    ALIGNED_FROM,
    ALIGNMENT_FILE,
    ALIGNMENT_FORMAT,
    ROTATION_FILE,
    VECTOR,
)
from tastevec.serving.recommender import Recommender, load

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FIT_SHARE: Final = 0.8  # of the items; the rest measures the fit on items that it did not see
_MIN_ITEMS: Final = 2  # per dimension: any rotation fits fewer


class _FitShape(StrictModel):
    model_config = ConfigDict(extra="forbid")

    residual: float
    cosine: float


class _Manifest(StrictModel):
    new: str
    old: str
    items: int
    in_sample: _FitShape
    held_out: _FitShape
    unaligned: _FitShape
    shuffled: _FitShape
    checksums: dict[str, str]


_FITS: Final = ("in_sample", "held_out", "unaligned", "shuffled")
_KIND: Final = ManifestSpec(
    model=_Manifest,
    format=ALIGNMENT_FORMAT,
    files_key="checksums",
    expected="an alignment",
    command="tastevec align NEW OLD",
    repair="Run tastevec align again.",
)


@dataclass(frozen=True)
class Fit:
    """The fit of item vectors to their vectors in another space.

    Attributes:
        residual: Norm of all differences over the norm of all vectors; 0 is equal, 1.41 is unrelated.
        cosine: Mean cosine of an item's two vectors, in [-1, 1].
    """

    residual: float
    cosine: float

    @classmethod
    def of(cls, vectors: NDArray[np.float64], targets: NDArray[np.float64]) -> Fit:
        """Return the fit of vectors (N, D) to targets (N, D)."""
        norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(targets, axis=1)
        cosines = (vectors * targets).sum(1) / norms
        residual = np.linalg.norm(vectors - targets) / np.linalg.norm(targets)
        return cls(float(residual), float(cosines.mean()))


@dataclass(frozen=True, eq=False, repr=False)
class Alignment:
    """An orthogonal rotation (or reflection) of a new model's space to an old one's, which leaves the fold of `Geometry`.

    Scores and cosines within the new space do not change. Across spaces it is an approximation, as good as ``held_out``.

    Attributes:
        rotation: (D, D) float32, orthogonal; a row vector of the new space times it is a vector of the old space.
        new: ID of the new space.
        old: ID of the old space.
        items: Number of items with a trained vector in both spaces.
        in_sample: Fit on all of them with the final rotation, which was fitted on them: optimistic.
        held_out: Fit on a fifth of them, with a rotation fitted on the others.
        unaligned: Fit on that fifth, without a rotation.
        shuffled: As ``held_out``, with items paired at random: the level of chance.
    """

    rotation: NDArray[np.float32]
    new: str
    old: str
    items: int
    in_sample: Fit
    held_out: Fit
    unaligned: Fit
    shuffled: Fit

    def __repr__(self) -> str:
        fitted = f"{self.items:,} items, held-out mean cosine {self.held_out.cosine:.3f}"
        return f"Alignment(space {self.new[:8]} to {self.old[:8]}, {fitted})"

    @classmethod
    def fit(
        cls,
        vectors: NDArray[np.floating[Any]],
        targets: NDArray[np.floating[Any]],
        *,
        new: str = "new",
        old: str = "old",
        seed: int = 42,
    ) -> Alignment:
        """Return the rotation of ``vectors`` (N, D) that is nearest to ``targets`` (N, D), row by row.

        Args:
            vectors: Nonzero vectors in the new space.
            targets: Vectors of the same items in the old space.
            new: ID of the new space.
            old: ID of the old space.
            seed: Random seed of the held-out items.

        Raises:
            DataError: The dimensions differ, or there are fewer than two items per dimension.

        Source: Schönemann 1966, A generalized solution of the orthogonal Procrustes problem, without centering.

        Examples:
            >>> items = np.random.default_rng(1).normal(size=(20, 2))
            >>> found = Alignment.fit(items, items[:, ::-1])  # the old space has the two dimensions the other way round
            >>> found.rotation.round(3) + 0
            array([[0., 1.],
                   [1., 0.]], dtype=float32)
            >>> round(found.held_out.cosine, 3)
            1.0
        """
        dim, old_dim, items = vectors.shape[1], targets.shape[1], len(vectors)
        if dim != old_dim:
            raise DataError(
                f"the new model: {dim} dimensions. Expected {old_dim}, as in the old model. Train it with --set dim={old_dim}."
            )
        if items < _MIN_ITEMS * dim:
            raise DataError(
                f"the models: {items} rated items in common. Expected at least {_MIN_ITEMS * dim} for {dim} dimensions, because any "
                "rotation fits fewer."
            )
        new_vectors, old_vectors = np.asarray(vectors, np.float64), np.asarray(targets, np.float64)
        order = np.random.default_rng(seed).permutation(items)
        fitted, held = np.split(order, [int(_FIT_SHARE * items)])
        shuffled = old_vectors[np.roll(order, 1)][np.argsort(order)]  # every item gets another item's vector
        rotation = _rotation(new_vectors, old_vectors)
        to_old = _rotation(new_vectors[fitted], old_vectors[fitted])
        to_shuffled = _rotation(new_vectors[fitted], shuffled[fitted])
        return cls(
            rotation.astype(np.float32),
            new,
            old,
            items,
            in_sample=Fit.of(new_vectors @ rotation, old_vectors),
            held_out=Fit.of(new_vectors[held] @ to_old, old_vectors[held]),
            unaligned=Fit.of(new_vectors[held], old_vectors[held]),
            shuffled=Fit.of(new_vectors[held] @ to_shuffled, shuffled[held]),
        )

    def apply(self, vectors: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Return vectors (B, D) or (D,) of the new space as float32 vectors of the old space.

        Raises:
            DataError: They have another dimension.
        """
        if vectors.shape[-1] != len(self.rotation):
            raise DataError(
                f"vectors: {vectors.shape[-1]} dimensions. Expected {len(self.rotation)}, as in space {self.new}."
            )
        return np.asarray(vectors, np.float32) @ self.rotation

    @property
    def facts(self) -> dict[str, Any]:
        """Everything but the rotation, as plain values."""
        fits = {name: asdict(getattr(self, name)) for name in _FITS}
        return {"new": self.new, "old": self.old, "items": self.items, **fits}

    def save(self, out: Path | str) -> Path:
        """Write the alignment to the folder ``out``, complete or not at all; an earlier one there is replaced.

        Raises:
            FormatError: The folder holds something else.
        """
        with atomic_folder(Path(out), marker_file=ALIGNMENT_FILE) as folder:
            save_file({"rotation": self.rotation}, folder / ROTATION_FILE)
            checksums = {ROTATION_FILE: sha256_of(folder / ROTATION_FILE)}
            manifest = {"format": ALIGNMENT_FORMAT, **self.facts, "checksums": checksums}
            (folder / ALIGNMENT_FILE).write_text(manifest_text(manifest), encoding="utf-8")
        return Path(out)

    @classmethod
    def load(cls, folder: Path | str) -> Alignment:
        """Read an alignment that `save` wrote.

        Raises:
            FormatError: It is missing, damaged, or of another format version.
        """
        manifest, path = read_manifest(Path(folder) / ALIGNMENT_FILE, _KIND), Path(folder) / ROTATION_FILE
        if not path.is_file() or sha256_of(path) != manifest["checksums"].get(ROTATION_FILE):
            raise FormatError(f"{path}: missing, or checksum mismatch. {_KIND.repair}")
        arrays, _ = read_arrays(path, _KIND.repair)
        check_shapes(path, arrays, {"rotation": ("D", "D")}, _KIND.repair)
        fits = {name: Fit(**manifest[name]) for name in _FITS}
        return cls(arrays["rotation"], manifest["new"], manifest["old"], manifest["items"], **fits)


def align(new: Recommender | Path | str, old: Recommender | Path | str, *, seed: int = 42) -> Alignment:
    """Return the rotation of a retrained model's space to an old one's, fitted on the items that are rated in both.

    Unrated and added items are rotated, too, but not used for the fit: their vectors are predicted from their content.

    Args:
        new: The model whose vectors shall be aligned; or its folder, or ``org/name`` on the Hugging Face Hub.
        old: The model of the target space.
        seed: Random seed of the held-out items.

    Raises:
        DataError: The models share a space, have different dimensions, or too few items in common.
        FormatError: A folder is not a model.
        HubError: The Hub cannot be reached.
    """
    source = new if isinstance(new, Recommender) else load(new)
    target = old if isinstance(old, Recommender) else load(old)
    if source.bundle.space == target.bundle.space:
        raise DataError(
            f"the models: both have space {source.bundle.space}, so their vectors are comparable. Expected two trainings."
        )
    (ids, vectors), (old_ids, targets) = _rated_items(source), _rated_items(target)
    _, rows, old_rows = np.intersect1d(ids, old_ids, return_indices=True)
    spaces = {"new": source.bundle.space, "old": target.bundle.space}
    return Alignment.fit(vectors[rows], targets[old_rows], **spaces, seed=seed)


def _rated_items(model: Recommender) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
    """Return the IDs, as text, and the vectors of the items that training users rated."""
    rated = model.bundle.items["train_users"].to_numpy() > 0
    rated &= model.item_directions.any(axis=1)
    return model.bundle.item_ids[rated].astype(str), model.item_directions[rated]


def _rotation(vectors: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the orthogonal matrix (D, D) that brings ``vectors`` (N, D) nearest to ``targets`` (N, D)."""
    products = vectors.T @ targets
    fold = ~(vectors.any(axis=0) | targets.any(axis=0))  # a coordinate that only items use; it stays as it is
    products[fold, fold] = 1.0
    left, _, right = np.linalg.svd(products)
    rotation: NDArray[np.float64] = left @ right
    return rotation


def rotate_users(alignment: Alignment, users: Path | str, out: Path | str) -> int:
    """Write user vectors of the new model to ``out`` as vectors of the old space; return their number.

    The file has the old space, the new space as ``aligned_from``, and the held-out mean cosine as ``aligned_cosine``; readers
    warn about it.

    Raises:
        SourceError: The file cannot be read.
        DataError: It is not a table of vectors of the new space.
        FormatError: ``out`` is something else.
    """
    try:
        source = pq.ParquetFile(users)
    except (OSError, pa.ArrowInvalid) as error:
        raise SourceError(
            f"{users}: cannot be read ({error}). Expected a Parquet file from tastevec encode."
        ) from error
    with source:
        schema = _aligned_schema(alignment, source.schema_arrow, users)
        column = schema.get_field_index(VECTOR)
        with (
            result_file(Path(out), inputs=(users,)) as temporary,
            pq.ParquetWriter(temporary, schema) as writer,
        ):
            for batch in source.iter_batches():
                flat = batch[VECTOR].flatten().to_numpy(zero_copy_only=False)
                aligned = alignment.apply(flat.reshape(len(batch), -1))
                vectors = pa.FixedSizeListArray.from_arrays(pa.array(aligned.ravel()), aligned.shape[1])
                writer.write_batch(batch.set_column(column, VECTOR, vectors).cast(schema))
        return int(source.metadata.num_rows)


def _aligned_schema(alignment: Alignment, schema: pa.Schema, users: Path | str) -> pa.Schema:
    metadata = {name.decode(): value.decode() for name, value in (schema.metadata or {}).items()}
    found = metadata.get("space", "unknown")
    if VECTOR not in schema.names or ALIGNED_FROM in metadata or found != alignment.new:
        raise DataError(
            f"{users}: vectors have space {found}. Expected {alignment.new}, the new space of this alignment. Encode these users "
            "with that model."
        )
    metadata |= {"space": alignment.old, ALIGNED_FROM: alignment.new}
    return schema.with_metadata(metadata | {ALIGNED_COSINE: f"{alignment.held_out.cosine:.4f}"})
