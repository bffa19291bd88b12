"""The warm start: a training that begins with the weights of an earlier model, whose items are found by ID.

Dimensions: N items, M items of the earlier model, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from tastevec.errors import SettingsError
from tastevec.model.encoder import TasteEncoder
from tastevec.schema import COLLABORATIVE
from tastevec.training.settings import AnySettings, TasteSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_SHAPE: Final = ("dim", "hidden_size", "layers", "heads", "max_history")
_PER_ITEM: Final = "item_inputs.weight"
_REFITTED: Final = (
    "items.",
    "solution.",
    "user_basis",
    "item_basis",
)  # prefixes of weights that are not taken


@dataclass(frozen=True, eq=False)
class WarmStart:
    """The transformer and the item vectors of an earlier model.

    The closed form is fitted again; its item vectors, too, but from the earlier ones, so that the space turns little.

    Attributes:
        encoder: Of the earlier model.
        space: Its space.
        rows: (N,) the index that each item has there, -1 for a new one.
    """

    encoder: TasteEncoder
    space: str
    rows: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        encoder: Any,  # noqa: ANN401  any encoder
        facts: Mapping[str, Any],
        item_ids: NDArray[Any],
        earlier_ids: NDArray[Any],
    ) -> WarmStart:
        """Return the warm start for the items of a dataset.

        Args:
            encoder: Of the earlier model.
            facts: Of the earlier model.
            item_ids: (N,) of the dataset; IDs of different types are compared as text.
            earlier_ids: (M,) of the earlier model.

        Raises:
            SettingsError: The model is not of preset taste with its own item vectors, or shares no item with the dataset.
        """
        settings = facts["settings"]
        if not isinstance(encoder, TasteEncoder) or settings.get("item_vectors") != COLLABORATIVE:
            raise SettingsError(
                f"init: a model of preset {settings.get('preset')} with item vectors {settings.get('item_vectors')}. Expected preset "
                f"taste with {COLLABORATIVE} ones. Train without init."
            )
        indices = {str(item_id): row for row, item_id in enumerate(earlier_ids.tolist())}
        rows = np.array([indices.get(str(item_id), -1) for item_id in item_ids.tolist()], np.int64)
        if not (rows >= 0).any():
            raise SettingsError(
                f"init: none of the {len(rows):,} items of the dataset is in the model. Expected the same item IDs. Train without init."
            )
        return cls(encoder, str(facts["space"]), rows)

    @property
    def facts(self) -> dict[str, Any]:
        """What was taken, as JSON values."""
        known = int((self.rows >= 0).sum())
        return {"space": self.space, "items": known, "new_items": len(self.rows) - known}

    def check(self, settings: AnySettings, rating_bins: int) -> None:
        """Check that the training has the preset, the kind of item vectors and the shape of the earlier model.

        Raises:
            SettingsError: It has not.
        """
        if not isinstance(settings, TasteSettings) or settings.item_vectors != COLLABORATIVE:
            raise SettingsError(
                f"init: the training is of preset {settings.preset} with item vectors {getattr(settings, 'item_vectors', None)}. "
                f"Expected preset taste with {COLLABORATIVE} ones, as the model has. Train without init."
            )
        config = self.encoder.config
        earlier = {name: getattr(config, name) for name in (*_SHAPE, "rating_bins")}
        earlier["time_gaps"] = bool(config.time_gap_bins)
        own = settings.model_dump(include={*earlier}) | {"rating_bins": rating_bins}
        if other := [name for name in earlier if earlier[name] != own[name]]:
            found, expected = (", ".join(f"{name}={each[name]}" for name in other) for each in (earlier, own))
            raise SettingsError(
                f"init: a model with {found}. Expected {expected}, as in this training. Set what the model has, or train without init."
            )

    def first_vectors(self, factors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the first item vectors (N, D - 1): the earlier ones, and of new items the factors, turned to these."""
        earlier = self.encoder.table[:, :-1]  # the last coordinate is that of the fold
        known = self.rows >= 0
        known[known] = earlier[self.rows[known]].any(axis=1)
        targets, sources = earlier[self.rows[known]].astype(np.float64), factors[known].astype(np.float64)
        left, _, right = np.linalg.svd(sources.T @ targets)
        scale = np.linalg.norm(targets) / max(float(np.linalg.norm(sources)), 1e-9)
        first = np.asarray(scale * factors @ (left @ right), np.float32)
        first[known] = targets
        return first

    @torch.no_grad()
    def load(self, model: TasteEncoder) -> None:
        """Copy the weights of the transformer; the learned input of a new item stays as it is."""
        weights, known = self.encoder.state_dict(), self.rows >= 0
        for name, weight in model.state_dict().items():
            if name == _PER_ITEM:
                weight[torch.from_numpy(known)] = weights[name].cpu()[self.rows[known]]
            elif not name.startswith(_REFITTED):
                weight.copy_(weights[name])
