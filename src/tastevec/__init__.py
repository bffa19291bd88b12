"""User embeddings for recommendation, from interaction histories.

    import tastevec as tv

    model = tv.fit(interactions)                   # any table of users and items; or tv.load("model")
    users = model.encode(interactions)             # users.ids, users.matrix: a unit vector per user
    model.recommend(interactions, k=10)            # item_id, title, rank, score
    model.recommend([(50, 5), (127, 4)])           # of one user: item_id and value, oldest first
    model.similar_users([50, 127], users)          # and similar_items, explain, steer, encode_items
    model.save("model")

    tv.inspect(interactions)                       # what would be understood, nothing written
    tv.prepare("ratings.csv", "prepared")          # the steps of fit, for evaluation and large data
    tv.train("prepared", "model")
    tv.evaluate("model", "prepared", "results")    # on held-out users, against baselines
    tv.compare(["results", "older"])

Also `fetch` and `describe` for data sets, `align` for the spaces of two models, `UserEmbedder` for
scikit-learn. Every error is a `TastevecError`. The command
``tastevec`` has the same names; documentation of a function: ``help(tv.fit)``.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tastevec.errors import (
    BadRowError,
    DataError,
    DownloadError,
    FormatError,
    HubError,
    MissingExtraError,
    SettingsError,
    SourceError,
    TastevecError,
    TastevecWarning,
    TrainingError,
    UnknownItemError,
)

if TYPE_CHECKING:
    from tastevec.data.download import fetch
    from tastevec.evaluation.compare import compare
    from tastevec.pipelines.evaluate import evaluate
    from tastevec.pipelines.fit import fit, inspect
    from tastevec.pipelines.prepare import describe, prepare
    from tastevec.pipelines.train import train
    from tastevec.serving.align import Alignment, align
    from tastevec.serving.embeddings import Embeddings, ItemEmbeddings
    from tastevec.serving.recommender import Recommender, load
    from tastevec.sklearn import UserEmbedder

__all__ = [
    "Alignment",
    "BadRowError",
    "DataError",
    "DownloadError",
    "Embeddings",
    "FormatError",
    "HubError",
    "ItemEmbeddings",
    "MissingExtraError",
    "Recommender",
    "SettingsError",
    "SourceError",
    "TastevecError",
    "TastevecWarning",
    "TrainingError",
    "UnknownItemError",
    "UserEmbedder",
    "align",
    "compare",
    "describe",
    "evaluate",
    "fetch",
    "fit",
    "inspect",
    "load",
    "prepare",
    "train",
]

# What libraries send without a request: use reports of ONNX Runtime (from a device ID in ~/.cache/Microsoft), of the Hub
# client and of MLflow, and the conversion of a Hub model that transformers starts. They read these once, at their import. A value of the
# user stays.
for _name in (
    "ORT_DISABLE_TELEMETRY",
    "HF_HUB_DISABLE_TELEMETRY",
    "DISABLE_SAFETENSORS_CONVERSION",
    "MLFLOW_DISABLE_TELEMETRY",
):
    os.environ.setdefault(_name, "1")

# Loaded at first use: `import tastevec` stays cheap.
_MODULES = {
    "Alignment": "tastevec.serving.align",
    "Embeddings": "tastevec.serving.embeddings",
    "ItemEmbeddings": "tastevec.serving.embeddings",
    "Recommender": "tastevec.serving.recommender",
    "UserEmbedder": "tastevec.sklearn",
    "align": "tastevec.serving.align",
    "compare": "tastevec.evaluation.compare",
    "describe": "tastevec.pipelines.prepare",
    "evaluate": "tastevec.pipelines.evaluate",
    "fetch": "tastevec.data.download",
    "fit": "tastevec.pipelines.fit",
    "inspect": "tastevec.pipelines.fit",
    "load": "tastevec.serving.recommender",
    "prepare": "tastevec.pipelines.prepare",
    "train": "tastevec.pipelines.train",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401  any public name
    if name not in _MODULES:
        raise AttributeError(f"module 'tastevec' has no attribute {name!r}")
    from tastevec.extras import missing_extra  # noqa: PLC0415  only if something is loaded

    try:
        found = getattr(import_module(_MODULES[name]), name)
    except ImportError as error:
        if missing := missing_extra(error):
            raise missing from error
        raise
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
