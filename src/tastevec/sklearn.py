"""The scikit-learn transformer: histories of users in, one user vector per row out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from tastevec.errors import DataError, SettingsError
from tastevec.pipelines.fit import fit
from tastevec.schema import DEFAULT_DISLIKE_WEIGHT, ITEM_ID, RATING, TIMESTAMP, USER_ID
from tastevec.serving.interactions import ABSENT, split_interactions
from tastevec.serving.recommender import Recommender, load

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from tastevec.schema import Horizon, Unknown


class UserEmbedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]  # untyped
    """Transforms histories to user vectors (n_users, D), one row per history.

    ``X`` is a sequence of histories (a list, an array, a column of lists), each the interactions of one user, oldest first: item IDs, (item_id, value) or (item_id,
    value, time). Rows are users, so that ``X`` and ``y`` are split by user: in a pipeline the model trains on the training users
    alone, and its vectors of held-out users have no leakage.

    Args:
        model: A trained model or its folder, which is used as it is; None trains one in `fit`.
        horizon: ``overall``: long-term preferences (order-free). ``next``: what the user is likely to want next (order-aware).
        dislike_weight: How far ratings below the middle of the scale push away.
        unknown: Items that are not in the catalog: ignored with a warning ("warn") or without ("ignore"), or refused ("raise").
        settings: Keywords of `tastevec.fit`, such as ``{"epochs": 3, "seed": 1}``.

    Attributes:
        model_: The `Recommender`.

    Raises:
        SettingsError: In `fit`: there are settings and a model; or as `tastevec.fit`.
        DataError: ``X`` is a table, or an interaction is invalid.
        TrainingError: In `fit`: there are too few users.

    Examples:
        >>> histories = [[(user + step) % 12 for step in range(4)] for user in range(40)]
        >>> embedder = UserEmbedder(settings={"epochs": 0, "tune": False})
        >>> embedder.fit(histories[:30]).transform(histories[30:]).shape
        (10, 64)
    """

    def __init__(
        self,
        model: Recommender | Path | str | None = None,
        *,
        horizon: Horizon = "overall",
        dislike_weight: float = DEFAULT_DISLIKE_WEIGHT,
        unknown: Unknown = "warn",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.horizon = horizon
        self.dislike_weight = dislike_weight
        self.unknown = unknown
        self.settings = settings

    def fit(self, X: Iterable[Any], y: object = None) -> Self:  # noqa: ARG002, N803  scikit-learn names them
        """Train a model on the histories of ``X``, or load ``model``; ``y`` is not read."""
        if self.model is None:
            settings: dict[str, Any] = dict(self.settings or {})
            self.model_ = fit(_columns(_histories(X)), progress=False, **settings)
        elif self.settings:
            raise SettingsError("settings: given with a model. Expected one of the two. Leave out settings.")
        else:
            self.model_ = self.model if isinstance(self.model, Recommender) else load(self.model)
        self._n_features_out = self.model_.item_vectors.shape[1]
        return self

    def transform(self, X: Iterable[Any]) -> NDArray[np.float32]:  # noqa: N803  as above
        """Return the vectors (n_users, D) of the histories of ``X``, each of unit length."""
        check_is_fitted(self)
        users = dict(enumerate(_histories(X)))
        how: dict[str, Any] = {"horizon": self.horizon, "dislike_weight": self.dislike_weight}
        return self.model_.encode(users, unknown=self.unknown, **how).matrix

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401  scikit-learn's, which has no types
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.transformer_tags.preserves_dtype = []  # float32, whatever the histories are
        return tags


def _histories(X: Iterable[Any]) -> list[Any]:  # noqa: N803  as above
    """Return the histories of ``X``; a table has a row per interaction, not per user."""
    if isinstance(X, Mapping) or hasattr(X, "columns"):
        raise DataError(
            f"X: {type(X).__name__}. Expected a list with the history of each user. Group a table by user first, and pass the "
            "values of a dict."
        )
    rows = X.to_list() if hasattr(X, "to_list") else X  # a column of pandas or Polars
    return [history.tolist() if hasattr(history, "tolist") else history for history in rows]


def _columns(histories: list[Any]) -> dict[str, list[Any]]:
    """Return the columns of a table of all interactions; value and time if any interaction has one."""
    columns: dict[str, list[Any]] = {USER_ID: [], ITEM_ID: [], RATING: [], TIMESTAMP: []}
    for user, history in enumerate(histories):
        items, values, times = split_interactions(history, f"X[{user}]")
        for name, cells in zip(columns, ([user] * len(items), items, values, times), strict=True):
            columns[name] += [None if cell is ABSENT else cell for cell in cells]
    return {name: cells for name, cells in columns.items() if any(cell is not None for cell in cells)}
