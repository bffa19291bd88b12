"""Encoding with ONNX Runtime, without torch, for one user or batches.

Dimensions: B people, L films of a history, S films of a set, N films of the catalogue, D numbers a vector, H hidden width,
R rating levels.
"""

from __future__ import annotations

import copy
import ctypes
import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from tastevec.data.arrays import read_arrays
from tastevec.errors import FormatError
from tastevec.schema import ENCODER_FILE, TRAIN_AGAIN, WEIGHTS_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.data.inputs import InputConfig
    from tastevec.schema import Horizon

__all__ = [
    "NOTE_MODEL",
    "Encoder",
    "OnnxEncoder",
    "batches_by_length",
    "encode_histories",
    "gpu_available",
    "on_gpu",
]

_CONFIG: Final = "config.json"
NOTE_MODEL: Final = "tastevec-bert-cosine"  # the model type of the research note's model
_INPUTS: Final = frozenset(
    {"vectors", "normalized_ratings", "rating_bins", "lengths", "time_gap_bins", "item_inputs"}
)  # of a graph
_TOKENS: Final = 1024  # films that the blocks read at once: what more of them compute leaves a core's cache
_TYPICAL: Final = 50.0  # films at which the ridge is what its constant says, as in the network


class Encoder(Protocol):
    """What a bundle asks of its network, in torch or without."""

    @property
    def table(self) -> NDArray[np.float32]:
        """(N, D) the film table."""

    @property
    def item_vectors(self) -> NDArray[np.float32]:
        """(N, D) the film table; of unit length where similarity is the cosine."""

    @property
    def added_items(self) -> list[int]:
        """Rows of the film table that came after the training."""

    def encode(self, horizon: str, **arrays: NDArray[Any]) -> NDArray[np.float32]:
        """(B, D) the people's vectors for a horizon, from what `InputConfig.arrays` gives."""

    def with_items(self, table: NDArray[np.float32], added: list[int]) -> Encoder:
        """The same encoder on a larger film table (N, D), of which the rows ``added`` came after the training."""

    def save_pretrained(self, folder: Path, /) -> None:
        """Write the weights and the configuration into ``folder``."""


class OnnxEncoder:
    """The blocks as a graph, and beside it the tables that it does without.

    Args:
        config: What ``config.json`` says; see `TasteConfig`.
        weights: What ``model.safetensors`` holds.
        graph: The bytes of ``encoder.onnx``.
        cores: How many may be used; None is all.

    Raises:
        ImportError: onnxruntime is not installed.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        weights: Mapping[str, NDArray[Any]],
        graph: bytes,
        *,
        cores: int | None = None,
    ) -> None:
        self.config, self._weights, self._graph = dict(config), dict(weights), graph
        self.cores = cores or os.cpu_count() or 1
        self._session = _session(graph, self.cores)
        self._sessions = {self.cores: self._session}  # of this graph, which copies share
        self._reads = {told.name for told in self._session.get_inputs()}

    @classmethod
    def load(cls, folder: Path) -> OnnxEncoder:
        """From a bundle's folder, whose files are known to be whole and to belong together.

        Raises:
            FormatError: The graph is none, or asks for what nobody has.
        """
        config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        weights, _ = read_arrays(folder / WEIGHTS_FILE, TRAIN_AGAIN)
        path = folder / ENCODER_FILE
        try:
            made = cls(config, weights, path.read_bytes())
        except ImportError:
            raise
        except Exception as error:  # onnxruntime's errors have many names and no other in common
            raise FormatError(f"{path} cannot be read ({error}). {TRAIN_AGAIN}") from error
        if unknown := made._reads - _INPUTS:
            raise FormatError(
                f"{path}: inputs {', '.join(sorted(unknown))}. Expected {', '.join(sorted(_INPUTS))} or fewer. {TRAIN_AGAIN}"
            )
        return made

    def single_threaded(self) -> OnnxEncoder:
        """The same encoder, each of whose answers is worked out on one core: for those who ask on every core at once.

        One that shares its own threads among them answers more slowly.
        """
        if 1 not in self._sessions:
            self._sessions[1] = _session(self._graph, 1)
        alone = copy.copy(self)
        alone.cores, alone._session = 1, self._sessions[1]  # noqa: SLF001  its own
        return alone

    @property
    def parts(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]], bytes]:
        """What it is made of: the configuration, the weights and the graph."""
        return self.config, self._weights, self._graph

    def save_pretrained(self, folder: Path) -> None:
        """Write the weights, the configuration and the graph into ``folder``."""
        from safetensors.numpy import save_file  # noqa: PLC0415  as above

        save_file(self._weights, folder / WEIGHTS_FILE, metadata={"format": "pt"})
        (folder / _CONFIG).write_text(json.dumps(self.config, indent=2) + "\n", encoding="utf-8")
        (folder / ENCODER_FILE).write_bytes(self._graph)

    @property
    def table(self) -> NDArray[np.float32]:
        """(N, D) the film table."""
        return np.asarray(self._weights["items.weight"], np.float32)

    @property
    def item_vectors(self) -> NDArray[np.float32]:
        """(N, D) the film table; of unit length where similarity is the cosine."""
        if self.config["model_type"] != NOTE_MODEL:
            return self.table
        lengths = np.linalg.norm(self.table, axis=1, keepdims=True)
        return np.asarray(self.table / np.where(lengths > 0, lengths, 1.0))

    @property
    def added_items(self) -> list[int]:
        """Rows of the film table that came after the training."""
        return list(self.config["added_items"])

    def encode(self, horizon: str, **arrays: NDArray[Any]) -> NDArray[np.float32]:
        """(B, D) the people's vectors for a horizon, ``next`` or ``overall``, from what `InputConfig.arrays` gives."""
        items, levels, lengths = arrays["items"], arrays["rating_bins"], arrays["lengths"]
        if self.config["model_type"] == NOTE_MODEL:
            return self._newest(arrays)
        as_set = [arrays.get(f"overall_{name}", arrays[name]) for name in ("items", "rating_bins", "lengths")]
        overall = self._fold_in(*as_set)
        if horizon == "overall":
            return overall
        newest, ratings, there = _last(items, levels, lengths, self.config["n_recent"])
        weight = self.config["blend_recent"] + self.config["blend_short"] / np.maximum(lengths, 1)  # (B,)
        recent = weight[:, None] * self._fold_in(newest, ratings, there, mean=False)
        return np.asarray(self._newest(arrays) + self.config["blend_overall"] * overall + recent, np.float32)

    def with_items(self, table: NDArray[np.float32], added: list[int]) -> OnnxEncoder:
        """The same encoder on a larger film table (N, D), of which the rows ``added`` came after the training.

        Nobody's vector moves. As input a film that was added is its vector, without anything learned of it.
        """
        grown = copy.copy(self)
        before, after = _without(len(self.table), self.added_items), _without(len(table), added)
        grown._weights = self._weights | {"items.weight": np.ascontiguousarray(table, np.float32)}  # noqa: SLF001  its own
        for name in {"item_inputs.weight", "fold_in.item_prior"} & self._weights.keys():
            rows = self._weights[name]
            spread = np.zeros((len(table), rows.shape[1]), rows.dtype)
            spread[after] = rows[before]
            grown._weights[name] = spread  # noqa: SLF001  its own
        grown.config = self.config | {"n_items": len(table), "added_items": list(added)}
        return grown

    def _newest(self, arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """(B, D) what the blocks answer."""
        count, length = arrays["items"].shape
        users = max(1, _TOKENS // length)
        parts = [
            self._blocks({name: array[start : start + users] for name, array in arrays.items()})
            for start in range(0, max(count, 1), users)
        ]
        return np.concatenate(parts)

    def _blocks(self, arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """(B, D) what the blocks answer, all people at once."""
        items = arrays["items"]
        there = np.arange(items.shape[1]) < arrays["lengths"][:, None]  # (B, L)
        told = {name: arrays[name] for name in self._reads & arrays.keys()}
        told["vectors"] = self.table.take(items, 0) * there[..., None]
        if "item_inputs" in self._reads:
            told["item_inputs"] = self._weights["item_inputs.weight"].take(items, 0)
        [newest] = self._session.run(None, told)
        return np.asarray(newest, np.float32)

    def _fold_in(
        self,
        items: NDArray[np.int64],
        levels: NDArray[np.int64],
        lengths: NDArray[np.int64],
        *,
        mean: bool = True,
    ) -> NDArray[np.float32]:
        """(B, D) the linear answer, as `RidgeFoldIn` gives it."""
        of = {
            name: self._weights[f"fold_in.{name}"]
            for name in ("item_prior", "gram", "prior_mean", "rating_weights")
        }
        trust, shrinkage, power, mean_items = self._weights["fold_in.constants"]
        there = np.arange(items.shape[1]) < lengths[:, None]  # (B, L)
        seen, confidence, pull = of["rating_weights"].T[:, levels] * there  # (B, L) each
        vectors, item_prior = (
            self.table.take(items, 0),
            of["item_prior"].take(items, 0),
        )  # (B, L, D), several times as fast as by index
        wanted = trust * (seen[:, None] @ item_prior) + pull[:, None] @ vectors  # (B, 1, D)
        ridge = shrinkage * ((lengths + 1) / _TYPICAL) ** power  # (B,)
        trusted = np.multiply(vectors, confidence[..., None], out=item_prior)
        systems = trusted.transpose(0, 2, 1) @ vectors  # (B, D, D)
        systems += of["gram"]
        np.einsum("bdd->bd", systems)[:] += ridge[:, None]
        own = np.linalg.solve(systems, wanted.transpose(0, 2, 1))[..., 0]
        if mean:
            own = own + ((mean_items / (mean_items + lengths)) ** 2)[:, None] * of["prior_mean"]
        return np.asarray(own, np.float32)


def _session(graph: bytes, cores: int) -> Any:  # noqa: ANN401  onnxruntime's, which has no types
    """The graph on so many cores."""
    import onnxruntime  # noqa: PLC0415  an extra

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores
    options.log_severity_level = 3  # errors: its warnings are about the graph, which is ours
    # Threads that spin while they wait cost more than they bring: an answer takes a millisecond.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(graph, options, ["CPUExecutionProvider"])


def _last(
    items: NDArray[np.int64], levels: NDArray[np.int64], lengths: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The newest ``count`` films of each history: ``items`` and ``rating_bins`` (B, count), and how many there are (B,)."""
    places = np.maximum(lengths - count, 0)[:, None] + np.arange(count)
    places = np.minimum(places, items.shape[1] - 1)
    return (
        np.take_along_axis(items, places, 1),
        np.take_along_axis(levels, places, 1),
        np.minimum(lengths, count),
    )


def _without(count: int, rows: list[int]) -> NDArray[np.bool_]:
    """(count,) true but in these rows."""
    kept = np.ones(count, bool)
    kept[rows] = False
    return kept


_FILMS: Final = 8_192  # of a batch, padding included: a few MB of vectors
_FILMS_ON_GPU: Final = 1 << 18  # which a small batch would leave idle


def encode_histories(
    model: Encoder, reading: InputConfig, histories: Histories, horizon: Horizon
) -> NDArray[np.float32]:
    """(B, D) the vectors of these people, in their order; nobody's depends on who else is asked.

    Without torch, batches are answered side by side, one on each core.

    Args:
        model: A bundle's encoder.
        reading: How it reads histories.
        histories: B people.
        horizon: What is asked.
    """
    longest = max(reading.max_history, reading.max_history_overall)
    least = reading.max_history if reading.pad == "full" else 1
    widths = np.clip(histories.lengths, least, longest)
    batches = batches_by_length(widths, _FILMS_ON_GPU if on_gpu(model) else _FILMS)
    vectors = np.zeros((len(histories), model.table.shape[1]), np.float32)

    def answer(users: NDArray[np.int64], by: Encoder = model) -> None:
        vectors[users] = by.encode(horizon, **reading.arrays(histories.take(users)))

    if len(batches) > 1 and isinstance(model, OnnxEncoder):
        with _one_thread_each(), ThreadPoolExecutor(model.cores) as cores:
            list(cores.map(partial(answer, by=model.single_threaded()), batches))
    else:
        for users in batches:
            answer(users)
    return vectors


def batches_by_length(widths: NDArray[np.int64], most: int) -> list[NDArray[np.int64]]:
    """The positions of all people, in batches of ascending width.

    Args:
        widths: (B,) int from 1, how wide each person's row is by itself.
        most: A batch's rows times its widest are no more than this, but where one person alone is.

    Examples:
        >>> [batch.tolist() for batch in by_length(np.array([5, 1, 2, 9, 2]), 6)]
        [[1, 2, 4], [0], [3]]
    """
    order = np.argsort(widths, kind="stable")
    batches, start = [], 0
    for end, width in enumerate(widths[order].tolist()):
        if end > start and (end + 1 - start) * width > most:
            batches.append(order[start:end])
            start = end
    return [*batches, order[start:]] if len(order) else []


def on_gpu(model: Encoder) -> bool:
    """Whether this encoder computes on a GPU."""
    return getattr(getattr(model, "device", None), "type", "cpu") != "cpu"


def gpu_available() -> bool:
    """Whether a driver of NVIDIA's lists a GPU; asked of the driver, since importing torch to hear no takes seconds."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int()
    there = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
    return bool(there and count.value)


def _one_thread_each() -> AbstractContextManager[Any]:
    """NumPy's own threads stay away: the batches keep every core busy already."""
    try:
        from threadpoolctl import threadpool_limits  # noqa: PLC0415  comes with some of the extras
    except ImportError:
        return nullcontext()
    limits: AbstractContextManager[Any] = threadpool_limits(1, "blas")
    return limits
