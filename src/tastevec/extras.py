"""The optional libraries: the extra of each, the error for a missing one, and names on the Hugging Face Hub."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tastevec.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Mapping

# By extra: the import name of each library, and its distribution name.
EXTRAS: Final[Mapping[str, Mapping[str, str]]] = {
    "prep": {
        "duckdb": "duckdb",
        "ibis": "ibis-framework",
        "pyarrow": "pyarrow",
        "scipy": "scipy",
        "sklearn": "scikit-learn",
    },
    "describe": {"matplotlib": "matplotlib"},
    "train": {
        "accelerate": "accelerate",
        "implicit": "implicit",
        "onnx": "onnx",
        "onnxscript": "onnxscript",
        "tensorboard": "tensorboard",
        "threadpoolctl": "threadpoolctl",
        "torch": "torch",
        "transformers": "transformers",
    },
    "hub": {"huggingface_hub": "huggingface-hub"},
    "map": {"openTSNE": "openTSNE"},
    "otel": {
        "opentelemetry": "opentelemetry-exporter-otlp-proto-http",
        "opentelemetry_sdk": "opentelemetry-sdk",  # the namespace above is of several distributions
    },
    "pg": {"pgvector": "pgvector", "psycopg": "psycopg[binary]", "psycopg_pool": "psycopg-pool"},
    "serve": {
        "faiss": "faiss-cpu",
        "fastapi": "fastapi",
        "httptools": "httptools",
        "limits": "limits",
        "onnxruntime": "onnxruntime",
        "prometheus_client": "prometheus-client",
        "pyarrow": "pyarrow",
        "uvicorn": "uvicorn",
    },
    "text": {"torch": "torch", "transformers": "transformers"},
    "tune": {"optuna": "optuna"},
    "mlflow": {"mlflow": "mlflow"},
    "wandb": {"wandb": "wandb"},
}


def missing_extra(error: ImportError) -> MissingExtraError | None:
    """Return the error for a failed import; None if the module is not an optional library.

    Examples:
        >>> str(missing_extra(ModuleNotFoundError(name="sklearn.utils")))
        "scikit-learn is not installed. Expected the extra prep. Run: pip install 'tastevec[prep]'"
    """
    module = (error.name or "").partition(".")[0]
    for extra, libraries in EXTRAS.items():
        if module in libraries:
            return MissingExtraError(libraries[module], extra)
    return None


def is_installed(module: str) -> bool:
    """Return whether a module can be imported, without importing it."""
    return find_spec(module) is not None


def require(module: str) -> None:
    """Raise an error now if an optional library is missing.

    Raises:
        MissingExtraError: ``module``, one of `EXTRAS`, is not installed.
    """
    if find_spec(module) is None and (error := missing_extra(ModuleNotFoundError(name=module))):
        raise error


_HUB_NAME: Final = re.compile(r"[a-z0-9][\w.-]{0,95}/[a-z0-9][\w.-]{0,95}", re.ASCII | re.IGNORECASE)


def is_hub_name(name: str) -> bool:
    """Return whether a model that is no local folder is looked up on the Hub: ``org/name``, without a local folder ``org``.

    A misspelled path is not sent to the network.

    Examples:
        >>> [is_hub_name(name) for name in ("org/name", "./org/name", "org/name/", "~user/x", "model.bak", "a/b/c")]
        [True, False, False, False, False, False]
    """
    return _HUB_NAME.fullmatch(name) is not None and not Path(name).parent.exists()
