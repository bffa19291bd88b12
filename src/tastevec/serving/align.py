"""Alignment of two embedding spaces by an orthogonal rotation.

Dimensions: B people, N films that both know, D numbers a vector.
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
    atomic_file,
    atomic_folder,
    manifest_text,
    read_manifest,
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

__all__ = ["Alignment", "Fit", "align", "rotate_users"]

_FITTED: Final = 0.8  # of the films; the others say how well it does on films that had no part in it
_TIMES: Final = 2  # films to each number of a vector, at least: of fewer a rotation fits whatever they are


class _Fitted(StrictModel):
    model_config = ConfigDict(extra="forbid")

    residual: float
    cosine: float


class _Told(StrictModel):
    new: str
    old: str
    items: int
    in_sample: _Fitted
    held_out: _Fitted
    unaligned: _Fitted
    shuffled: _Fitted
    checksums: dict[str, str]


_FITS: Final = ("in_sample", "held_out", "unaligned", "shuffled")
_KIND: Final = ManifestSpec(
    model=_Told,
    format=ALIGNMENT_FORMAT,
    files_key="checksums",
    expected="an alignment",
    command="tastevec align NEW OLD",
    repair="Run tastevec align again.",
)


@dataclass(frozen=True)
class Fit:
    """How near the turned vectors of films come to their vectors in the other space.

    Attributes:
        residual: Length of all differences together over that of all vectors; 0 is the same, 1.41 is what strangers have.
        cosine: Mean cosine of a film's two vectors, in [-1, 1].
    """

    residual: float
    cosine: float

    @classmethod
    def of(cls, turned: NDArray[np.float64], wanted: NDArray[np.float64]) -> Fit:
        """Of (N, D) and (N, D)."""
        alike = (turned * wanted).sum(1) / (np.linalg.norm(turned, axis=1) * np.linalg.norm(wanted, axis=1))
        return cls(float(np.linalg.norm(turned - wanted) / np.linalg.norm(wanted)), float(alike.mean()))


@dataclass(frozen=True, eq=False)
class Alignment:
    """A rotation (or reflection) of a new model's space onto an old one's.

    It changes no product and no cosine within the new space, since it neither moves the origin nor stretches; across the two
    spaces it is an approximation, as good as ``held_out`` says.

    Attributes:
        rotation: (D, D) float32, orthogonal; a row vector of the new space times it is one of the old.
        new: The new space.
        old: The old space.
        items: How many both know, with a vector of their own in each.
        in_sample: On all of them, by the rotation as it is kept, which was fitted on them: it flatters.
        held_out: On a fifth of them, by a rotation fitted on the others.
        unaligned: On that fifth, without any rotation.
        shuffled: As ``held_out``, with each film given another film's old vector: what a rotation makes of nothing.
    """

    rotation: NDArray[np.float32]
    new: str
    old: str
    items: int
    in_sample: Fit
    held_out: Fit
    unaligned: Fit
    shuffled: Fit

    @classmethod
    def fit(
        cls,
        vectors: NDArray[np.floating[Any]],
        wanted: NDArray[np.floating[Any]],
        *,
        new: str = "new",
        old: str = "old",
        seed: int = 42,
    ) -> Alignment:
        """The best rotation of ``vectors`` (N, D) onto ``wanted`` (N, D), film by film.

        Args:
            vectors: In the new space, none of zeros.
            wanted: In the old space.
            new: Its name.
            old: Its name.
            seed: Of which films are held out.

        Raises:
            DataError: The spaces have different widths, or there are fewer than two films to each number of a vector.

        Source: Schönemann 1966, A generalized solution of the orthogonal Procrustes problem, without centring.

        Examples:
            >>> items = np.random.default_rng(1).normal(size=(20, 2))
            >>> found = Alignment.fit(items, items[:, ::-1])  # the old space has the two numbers the other way round
            >>> found.rotation.round(3) + 0
            array([[0., 1.],
                   [1., 0.]], dtype=float32)
            >>> round(found.held_out.cosine, 3)
            1.0
        """
        width, wide = vectors.shape[1], wanted.shape[1]
        if width != wide:
            raise DataError(
                f"the new model's vectors have {width} numbers and the old one's {wide}; expected the same: no rotation leads from one "
                f"to the other; train the new model with --set dim={wide}"
            )
        items = len(vectors)
        if items < _TIMES * width:
            raise DataError(
                f"both models know {items} films that people rated; expected {_TIMES * width} or more for vectors of {width} numbers: "
                "a rotation fits whatever fewer films are"
            )
        told, asked = np.asarray(vectors, np.float64), np.asarray(wanted, np.float64)
        random = np.random.default_rng(seed)
        order = random.permutation(items)
        fitted, held = np.split(order, [int(_FITTED * items)])
        strange = asked[np.roll(order, 1)][np.argsort(order)]  # another film's, whichever the film
        rotation = _rotation(told, asked)
        return cls(
            rotation.astype(np.float32),
            new,
            old,
            items,
            in_sample=Fit.of(told @ rotation, asked),
            held_out=Fit.of(told[held] @ _rotation(told[fitted], asked[fitted]), asked[held]),
            unaligned=Fit.of(told[held], asked[held]),
            shuffled=Fit.of(told[held] @ _rotation(told[fitted], strange[fitted]), strange[held]),
        )

    def apply(self, vectors: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """(B, D) float32 in the old space, of ``vectors`` (B, D) of the new one; of one (D,), (D,).

        Raises:
            DataError: They have another width.
        """
        if vectors.shape[-1] != len(self.rotation):
            raise DataError(
                f"the vectors have {vectors.shape[-1]} numbers; expected {len(self.rotation)}, as those of the space {self.new} have"
            )
        return np.asarray(vectors, np.float32) @ self.rotation

    @property
    def facts(self) -> dict[str, Any]:
        """All but the rotation, as plain values."""
        fits = {name: asdict(getattr(self, name)) for name in _FITS}
        return {"new": self.new, "old": self.old, "items": self.items, **fits}

    def save(self, out: Path | str) -> Path:
        """Write it to the folder ``out``, whole or not at all; an earlier one there is replaced.

        Raises:
            FormatError: Something else is there.
        """
        with atomic_folder(Path(out), marker_file=ALIGNMENT_FILE) as folder:
            save_file({"rotation": self.rotation}, folder / ROTATION_FILE)
            told = {
                "format": ALIGNMENT_FORMAT,
                **self.facts,
                "checksums": {ROTATION_FILE: sha256_of(folder / ROTATION_FILE)},
            }
            (folder / ALIGNMENT_FILE).write_text(manifest_text(told), encoding="utf-8")
        return Path(out)

    @classmethod
    def load(cls, folder: Path | str) -> Alignment:
        """Read what `save` wrote.

        Raises:
            FormatError: It is missing, damaged, or of another format version.
        """
        told, path = read_manifest(Path(folder) / ALIGNMENT_FILE, _KIND), Path(folder) / ROTATION_FILE
        if not path.is_file() or sha256_of(path) != told["checksums"].get(ROTATION_FILE):
            raise FormatError(f"{path} is missing or not as it was written. {_KIND.repair}")
        arrays, _ = read_arrays(path, _KIND.repair)
        check_shapes(path, arrays, {"rotation": ("D", "D")}, _KIND.repair)
        fits = {name: Fit(**told[name]) for name in _FITS}
        return cls(arrays["rotation"], told["new"], told["old"], told["items"], **fits)


def align(new: Recommender | Path | str, old: Recommender | Path | str, *, seed: int = 42) -> Alignment:
    """The rotation of a retrained model's space onto that of an old one, fitted on the films that people rated in both.

    Films that nobody rated, or that came after a training, stand where their content says, which is no evidence of how the
    spaces lie; they are turned like all others, and have no say.

    Args:
        new: The model whose vectors shall be turned; or its folder, or ``org/name`` of the Hugging Face hub.
        old: The model in whose space they are wanted.
        seed: Of which films are held out to measure the fit.

    Raises:
        DataError: The models share a space, have vectors of different widths, or too few films in common.
        FormatError: A folder is no bundle.
        HubError: The hub is asked and cannot answer.
    """
    ours = new if isinstance(new, Recommender) else load(new)
    theirs = old if isinstance(old, Recommender) else load(old)
    if ours.bundle.space == theirs.bundle.space:
        raise DataError(
            f"both models have the space {ours.bundle.space}, and their vectors may be compared as they are; expected two trainings"
        )
    (ids, vectors), (known, wanted) = _rated(ours), _rated(theirs)
    _, rows, places = np.intersect1d(ids, known, return_indices=True)
    return Alignment.fit(
        vectors[rows],
        wanted[places],
        new=ours.bundle.space,
        old=theirs.bundle.space,
        seed=seed,
    )


def _rated(model: Recommender) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
    """The ids, as texts, and vectors of the films that training people rated."""
    rated = model.bundle.items["train_users"].to_numpy() > 0
    rated &= model.item_vectors.any(axis=1)
    return model.bundle.item_ids[rated].astype(str), model.item_vectors[rated]


def _rotation(vectors: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """(D, D) the orthogonal matrix that brings ``vectors`` (N, D) nearest to ``wanted`` (N, D)."""
    left, _, right = np.linalg.svd(vectors.T @ wanted)
    rotation: NDArray[np.float64] = left @ right
    return rotation


def rotate_users(alignment: Alignment, users: Path | str, out: Path | str) -> int:
    """Write the vectors that ``encode`` wrote with the new model to ``out`` as vectors of the old space; how many.

    The file says that they are of the old space, from which one they were turned (``aligned_from``), and how well films that
    had no part in it fit (``aligned_cosine``): whoever reads it with the old model is warned of that.

    Raises:
        SourceError: The file cannot be read.
        DataError: It is no table of vectors of the new space.
    """
    try:
        source = pq.ParquetFile(users)
    except (OSError, pa.ArrowInvalid) as error:
        raise SourceError(
            f"{users} cannot be read ({error}); expected a Parquet file that tastevec encode wrote"
        ) from error
    with source:
        schema = source.schema_arrow
        told = schema.metadata or {}
        found = told.get(b"space", b"nothing").decode()
        if VECTOR not in schema.names or ALIGNED_FROM.encode() in told or found != alignment.new:
            raise DataError(
                f"{users} is of the space {found}; expected vectors of the space {alignment.new}, which this alignment turns: encode "
                "these people with that model"
            )
        said = {name.decode(): value.decode() for name, value in told.items()}  # Arrow's are bytes
        said |= {"space": alignment.old, ALIGNED_FROM: alignment.new}
        said |= {ALIGNED_COSINE: f"{alignment.held_out.cosine:.4f}"}
        schema = schema.with_metadata(said)
        with atomic_file(Path(out)) as temporary, pq.ParquetWriter(temporary, schema) as writer:
            for batch in source.iter_batches():
                flat = batch[VECTOR].flatten().to_numpy(zero_copy_only=False)
                turned = alignment.apply(flat.reshape(len(batch), -1))
                vectors = pa.FixedSizeListArray.from_arrays(pa.array(turned.ravel()), turned.shape[1])
                place = schema.get_field_index(VECTOR)
                writer.write_batch(batch.set_column(place, VECTOR, vectors).cast(schema))
        return int(source.metadata.num_rows)
