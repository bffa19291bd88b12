"""The unit direction of what a user rates highest, in closed form and NumPy alone (preset ``direction``).

Dimensions: B users, L history, M interactions, N items, D dimensions, R rating bins.
"""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from .closed_form import Known
from .geometry import Geometry

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

DIRECTION_MODEL: Final = "tastevec-direction"  # its model type
_OF_ITEMS: Final = ("from_items", "from_grades")


def known_items(arrays: Mapping[str, NDArray[Any]]) -> Known:
    """Return what the arrays of `InputConfig.arrays` hold: each item once, where items repeat.

    Each user's interactions are in the order of the items, so that their own order does not matter.
    """
    part = "overall_" if "overall_items" in arrays else ""
    known = Known.of(*(arrays[f"{part}{name}"] for name in ("items", "rating_bins", "lengths")))
    order = np.lexsort((known.items, known.owners))
    return Known(known.lengths, known.items[order], known.rating_bins[order])


def _sums(known: Known, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum (B, D) of the rows (M, D) of each user; zeros without an interaction."""
    found = np.zeros((len(known.lengths), rows.shape[1]))
    some = known.lengths > 0
    if some.any():
        found[some] = np.add.reduceat(rows, (np.cumsum(known.lengths) - known.lengths)[some])
    return found


class DirectionEncoder:
    """The model of preset ``direction``: a ridge from a history to the direction of the items that its user rates highest.

    With m the unit means of the vectors of a user's positives, of all items, and of all by grade, n their number, and g the
    grade of each, from -1 to 1::

        direction = W [m; 1; log(1 + n)] + sum over items j of (a_j + g_j b_j) / sqrt(n)

    Both horizons are the same embedding. All is computed in double precision, so that no user depends on the others.

    Args:
        config: The content of ``config.json``: model_type, n_items, dim, max_history, rating_bins and added_items.
        weights: The arrays of ``model.safetensors``: ``items.weight`` (N, D), of unit length or zeros; ``grades`` (3, R + 1),
            what an interaction counts in each mean, by rating bin; ``from_means`` (3 D + 2, D), W; ``from_items`` and
            ``from_grades`` (N, D), a and b, zeros for items that were added after training.

    Examples:
        >>> weights = {"items.weight": np.eye(2, dtype=np.float32), "grades": np.ones((3, 2), np.float32)}
        >>> weights |= {"from_means": np.eye(8, 2, dtype=np.float32)}  # the mean of the positives, as it is
        >>> weights |= {name: np.zeros((2, 2), np.float32) for name in ("from_items", "from_grades")}
        >>> arrays = {"items": np.array([[1, 0]]), "rating_bins": np.array([[0, 0]]), "lengths": np.array([1])}
        >>> DirectionEncoder({"added_items": []}, weights).encode("overall", **arrays)
        array([[0., 1.]], dtype=float32)
    """

    def __init__(self, config: Mapping[str, Any], weights: Mapping[str, NDArray[Any]]) -> None:
        self.config, self._weights = dict(config), dict(weights)

    @classmethod
    def load(cls, folder: Path) -> DirectionEncoder:
        """Load the encoder of a checked model folder."""
        from safetensors.numpy import load_file  # noqa: PLC0415  only files need it

        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return cls(config, load_file(folder / "model.safetensors"))

    def save_pretrained(self, folder: Path) -> None:
        """Write the weights and the configuration to ``folder``."""
        from safetensors.numpy import save_file  # noqa: PLC0415  as above

        save_file(self._weights, folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "config.json").write_text(json.dumps(self.config, indent=2) + "\n", encoding="utf-8")

    @property
    def table(self) -> NDArray[np.float32]:
        """(N, D) the item embedding matrix."""
        return np.asarray(self._weights["items.weight"], np.float32)

    @property
    def grades(self) -> NDArray[np.float32]:
        """(3, R + 1) what an interaction counts in each mean, by rating bin."""
        return np.asarray(self._weights["grades"], np.float32)

    @property
    def item_vectors(self) -> NDArray[np.float32]:
        """(N, D) the item vectors, of unit length; zeros for an item without one."""
        return unit(self.table).astype(np.float32)

    @property
    def geometry(self) -> Geometry:
        """User embeddings are scaled to unit length, and items stay as they are."""
        none = np.zeros((self.table.shape[1], self.table.shape[1] - 1), np.float32)
        return Geometry(none, none)

    @property
    def added_items(self) -> list[int]:
        """Indices of the items that were added after training."""
        return list(self.config["added_items"])

    def encode(
        self,
        horizon: str,  # noqa: ARG002  of the protocol
        *,
        dislike_weight: float = 0.0,  # noqa: ARG002  of preset taste
        **arrays: NDArray[Any],
    ) -> NDArray[np.float32]:
        """Return the user embeddings (B, D), the same for both horizons and any weight of dislikes.

        From the arrays of `InputConfig.arrays`.
        """
        given = known_items(arrays)
        grade = self.grades[-1, given.rating_bins].astype(np.float64)  # (M,)
        a, b = (self._weights[name][given.items].astype(np.float64) for name in _OF_ITEMS)
        own = _sums(given, a + grade[:, None] * b)
        known = self.known(given) @ self._weights["from_means"].astype(np.float64)
        found: NDArray[np.float64] = known + own / np.sqrt(np.maximum(given.lengths, 1))[:, None]
        return found.astype(np.float32)

    def known(self, given: Known) -> NDArray[np.float64]:
        """Return what W reads of each user, (B, 3 D + 2)."""
        grades, units = self.grades[:, given.rating_bins], self._units[given.items]
        means = [unit(_sums(given, units * kind[:, None])) for kind in grades.astype(np.float64)]
        counts = np.column_stack([np.ones(len(given.lengths)), np.log1p(given.lengths)])
        return np.hstack([*means, counts])

    @cached_property
    def _units(self) -> NDArray[np.float64]:
        return unit(self.table)

    def replaced(self, **weights: NDArray[np.floating[Any]]) -> DirectionEncoder:
        """Return the encoder with these arrays in place of its own."""
        changed = {name: np.ascontiguousarray(array, np.float32) for name, array in weights.items()}
        return DirectionEncoder(self.config, self._weights | changed)

    def with_items(self, table: NDArray[np.float32], added: list[int]) -> DirectionEncoder:
        """Return the encoder with a larger item embedding matrix (N, D), whose rows ``added`` came after training.

        User vectors do not change. Of an added item only its vector is read.
        """
        before, after = _mask_without(len(self.table), self.added_items), _mask_without(len(table), added)
        spread = {"items.weight": table}
        for name in _OF_ITEMS:
            spread[name] = np.zeros_like(table, np.float32)
            spread[name][after] = self._weights[name][before]
        config = self.config | {"n_items": len(table), "added_items": list(added)}
        return DirectionEncoder(config, self.replaced(**spread)._weights)  # noqa: SLF001  its own


def unit(rows: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the rows (B, D) at unit length, in double precision; zeros stay zeros."""
    exact = rows.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    return np.asarray(exact / np.where(lengths > 0, lengths, 1.0))


def _mask_without(count: int, rows: list[int]) -> NDArray[np.bool_]:
    """Return a mask (count,) that is false in these rows."""
    mask = np.ones(count, bool)
    mask[rows] = False
    return mask
