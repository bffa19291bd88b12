"""Encoding with ONNX Runtime, without torch, for one user or batches.

Dimensions: B users, L history, N items of the catalog, D dimensions, H hidden size, R rating bins.
"""

from __future__ import annotations

import copy
import ctypes
import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import numpy as np

from tastevec.data.arrays import read_arrays
from tastevec.data.files import damaged
from tastevec.errors import FormatError, SettingsError
from tastevec.model.closed_form import ClosedForm
from tastevec.model.geometry import Geometry
from tastevec.schema import DEFAULT_DISLIKE_WEIGHT, ENCODER_FILE, TRAIN_AGAIN, WEIGHTS_FILE
from tastevec.serving.graph import check_graph

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.data.inputs import InputConfig
    from tastevec.schema import Horizon

_CONFIG: Final = "config.json"
NOTE_MODEL: Final = "tastevec-bert-cosine"  # the model type of the research note's model
_INPUTS: Final = frozenset(
    {"vectors", "normalized_ratings", "rating_bins", "lengths", "time_gap_bins", "item_inputs"}
)  # of a graph
_OF_OTHERS: Final = "Check the origin of the folder, or run tastevec train again."
_MAX_TOKENS: Final = 1024  # items per pass of the transformer: the results of more leave the cache of a core
_SOLUTION: Final = "solution."  # of an array of the closed form in the weights


class Encoder(Protocol):
    """The interface of an encoder, with torch or without."""

    @property
    def table(self) -> NDArray[np.float32]:
        """(N, D) the item embedding matrix."""

    @property
    def item_vectors(self) -> NDArray[np.float32]:
        """(N, D) the item vectors, whose inner product with a user vector is the score."""

    @property
    def geometry(self) -> Geometry:
        """From embeddings to the vectors that are handed out."""

    @property
    def added_items(self) -> list[int]:
        """Indices of the items that were added after training."""

    def encode(
        self, horizon: str, *, dislike_weight: float = DEFAULT_DISLIKE_WEIGHT, **arrays: NDArray[Any]
    ) -> NDArray[np.float32]:
        """Return the user embeddings (B, D) for a horizon, from the arrays of `InputConfig.arrays`."""

    def with_items(self, table: NDArray[np.float32], added: list[int]) -> Encoder:
        """Return the encoder with a larger item embedding matrix (N, D), whose rows ``added`` came after training."""

    def save_pretrained(self, folder: Path, /) -> None:
        """Write the weights and the configuration to ``folder``."""


class OnnxEncoder:
    """The transformer as an ONNX graph, with embedding lookup and closed form in NumPy.

    Args:
        config: The content of ``config.json``; see `TasteConfig`.
        weights: The arrays of ``model.safetensors``.
        graph: The bytes of ``encoder.onnx``.
        cores: CPU cores to use; None is all.

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
        self.config, self._weights, self._graph = dict(config), dict(weights), _Graph(graph)
        self.cores = cores or os.cpu_count() or 1
        self._inputs = {one.name for one in self._graph.session(self.cores).get_inputs()}
        self._closed_form = self._solved()

    def _solved(self) -> ClosedForm | None:
        """Return the closed form; None for the research note's model.

        Raises:
            ValueError: Its arrays do not fit each other.
        """
        if self.config["model_type"] == NOTE_MODEL:
            return None
        arrays = {
            name.removeprefix(_SOLUTION): array
            for name, array in self._weights.items()
            if name.startswith(_SOLUTION)
        }
        weights, levels = self.config["weights"], self.config["rating_bins"] + 1
        return ClosedForm.of(arrays, weights, self.table, self.added_items, levels)

    @classmethod
    def load(cls, folder: Path) -> OnnxEncoder:
        """Load the encoder of a checked model folder.

        Raises:
            FormatError: The graph cannot be read, has unknown inputs, or has something that `check_graph` refuses.
        """
        config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        weights, _ = read_arrays(folder / WEIGHTS_FILE, TRAIN_AGAIN)
        path = folder / ENCODER_FILE
        graph = path.read_bytes()
        try:
            check_graph(graph)
        except ValueError as error:
            expected = "the operators and weights that tastevec exports, in one file"
            raise damaged(path, f"the graph has {error}", expected, _OF_OTHERS) from error
        try:
            encoder = cls(config, weights, graph)
        except ImportError:
            raise
        except ValueError as error:
            expected = "the arrays of one closed form"
            raise damaged(folder / WEIGHTS_FILE, str(error), expected, TRAIN_AGAIN) from error
        except Exception as error:  # the errors of onnxruntime have no other base class
            raise FormatError(f"{path} cannot be read ({error}). {TRAIN_AGAIN}") from error
        if unknown := encoder._inputs - _INPUTS:
            raise FormatError(
                f"{path}: inputs {', '.join(sorted(unknown))}. Expected {', '.join(sorted(_INPUTS))} or fewer. {TRAIN_AGAIN}"
            )
        return encoder

    def single_threaded(self) -> OnnxEncoder:
        """Return the encoder on one core, for callers that run one per core.

        An encoder that shares its own threads among them is slower.
        """
        alone = copy.copy(self)
        alone.cores = 1
        return alone

    @property
    def parts(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]], bytes]:
        """The configuration, the weights and the graph."""
        return self.config, self._weights, self._graph.content

    def save_pretrained(self, folder: Path) -> None:
        """Write the weights, the configuration and the graph to ``folder``."""
        from safetensors.numpy import save_file  # noqa: PLC0415  as above

        save_file(self._weights, folder / WEIGHTS_FILE, metadata={"format": "pt"})
        (folder / _CONFIG).write_text(json.dumps(self.config, indent=2) + "\n", encoding="utf-8")
        (folder / ENCODER_FILE).write_bytes(self._graph.content)

    @property
    def table(self) -> NDArray[np.float32]:
        """(N, D) the item embedding matrix."""
        return np.asarray(self._weights["items.weight"], np.float32)

    @property
    def item_vectors(self) -> NDArray[np.float32]:
        """(N, D) the item vectors, whose inner product with a user vector is the score."""
        if self.config["model_type"] != NOTE_MODEL:
            return self.geometry.of_items(self.table)
        lengths = np.linalg.norm(self.table, axis=1, keepdims=True)
        return np.asarray(self.table / np.where(lengths > 0, lengths, 1.0))

    @property
    def geometry(self) -> Geometry:
        """From embeddings to the vectors that are handed out."""
        return Geometry(self._weights["user_basis"], self._weights["item_basis"])

    @property
    def added_items(self) -> list[int]:
        """Indices of the items that were added after training."""
        return list(self.config["added_items"])

    def encode(
        self, horizon: str, *, dislike_weight: float = DEFAULT_DISLIKE_WEIGHT, **arrays: NDArray[Any]
    ) -> NDArray[np.float32]:
        """Return the user embeddings (B, D) for ``next`` or ``overall``, from the arrays of `InputConfig.arrays`."""
        if self._closed_form is None:
            return self._last_output(arrays)
        states = self._last_output(arrays) if self._closed_form.reads_states(horizon) else None
        return self._closed_form.encode(horizon, arrays, states, dislike_weight)

    def with_items(self, table: NDArray[np.float32], added: list[int]) -> OnnxEncoder:
        """Return the encoder with a larger item embedding matrix (N, D), whose rows ``added`` came after training.

        User vectors do not change. An added item has no learned input vector, only its embedding.
        """
        grown = copy.copy(self)
        before, after = _mask_without(len(self.table), self.added_items), _mask_without(len(table), added)
        grown._weights = self._weights | {"items.weight": np.ascontiguousarray(table, np.float32)}  # noqa: SLF001  its own
        if (rows := self._weights.get("item_inputs.weight")) is not None:
            spread = np.zeros((len(table), rows.shape[1]), rows.dtype)
            spread[after] = rows[before]
            grown._weights["item_inputs.weight"] = spread  # noqa: SLF001  its own
        grown.config = self.config | {"n_items": len(table), "added_items": list(added)}
        grown._closed_form = grown._solved()  # noqa: SLF001  its own
        return grown

    def _last_output(self, arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Return the output of the transformer at the last position (B, D), in blocks of users."""
        count, length = arrays["items"].shape
        users = max(1, _MAX_TOKENS // length)
        parts = [
            self._blocks({name: array[start : start + users] for name, array in arrays.items()})
            for start in range(0, max(count, 1), users)
        ]
        return np.concatenate(parts)

    def _blocks(self, arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Return the output of the transformer at the last position (B, D), for all users at once."""
        items = arrays["items"]
        present = np.arange(items.shape[1]) < arrays["lengths"][:, None]  # (B, L)
        inputs = {name: arrays[name] for name in self._inputs & arrays.keys()}
        inputs["vectors"] = self.table.take(items, 0) * present[..., None]
        if "item_inputs" in self._inputs:
            inputs["item_inputs"] = self._weights["item_inputs.weight"].take(items, 0)
        [output] = self._graph.session(self.cores).run(None, inputs)
        return np.asarray(output, np.float32)


class _Graph:
    """A graph and its sessions, by number of cores; copies of an encoder share them.

    Each process makes its own: a session is nothing to pickle, and its threads do not survive a fork.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._sessions: dict[tuple[int, int], Any] = {}

    def __reduce__(self) -> tuple[type[_Graph], tuple[bytes]]:
        return _Graph, (self.content,)

    def session(self, cores: int) -> Any:  # noqa: ANN401  onnxruntime's, which has no types
        """Return a session of the graph on this number of cores."""
        key = os.getpid(), cores
        if key not in self._sessions:
            self._sessions[key] = self._open(cores)
        return self._sessions[key]

    def _open(self, cores: int) -> Any:  # noqa: ANN401  as above
        import onnxruntime  # noqa: PLC0415  an extra

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cores
        options.log_severity_level = 3  # errors only: the warnings are about our graph
        # Else bytes that are both a graph and a file of its own format would be read as the latter, which is not checked.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        # Spinning threads cost more than they gain: a run takes a millisecond.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return onnxruntime.InferenceSession(self.content, options, ["CPUExecutionProvider"])


def _mask_without(count: int, rows: list[int]) -> NDArray[np.bool_]:
    """Return a mask (count,) that is false in these rows."""
    mask = np.ones(count, bool)
    mask[rows] = False
    return mask


_BATCH_ITEMS: Final = 8_192  # of a batch, with padding: a few MB of vectors
_BATCH_ITEMS_GPU: Final = 1 << 18  # a small batch would leave a GPU idle


def check_dislike_weight(weight: float) -> float:
    """Return the weight of dislikes; refuse one that is not from 0 to 1.

    Raises:
        SettingsError: It is not a number, or out of range.
    """
    given: object = weight  # which a caller may get wrong
    if not isinstance(given, int | float | np.number) or not 0 <= weight <= 1:
        raise SettingsError(
            f"dislike_weight: {weight!r}. Expected a number from 0 to 1. Omit it for {DEFAULT_DISLIKE_WEIGHT:g}."
        )
    return float(weight)


class UserVectors(NamedTuple):
    """Vectors (B, D) of users, of unit length, and the lengths (B,) of their embeddings, which do not matter to a ranking."""

    vectors: NDArray[np.float32]
    norms: NDArray[np.float32]

    def block(self, rows: slice) -> UserVectors:
        """Return those of some users."""
        return UserVectors(self.vectors[rows], self.norms[rows])

    def moved(self, move: NDArray[np.float32]) -> UserVectors:
        """Return the vectors plus a move (D,), at unit length again; the norms change as the lengths did."""
        moved = self.vectors + move
        lengths = np.linalg.norm(moved, axis=1)
        units = moved / np.where(lengths > 0, lengths, 1.0)[:, None]
        return UserVectors(units.astype(np.float32), (self.norms * lengths).astype(np.float32))


def encode_histories(
    model: Encoder,
    reading: InputConfig,
    histories: Histories,
    horizon: Horizon,
    dislike_weight: float = DEFAULT_DISLIKE_WEIGHT,
) -> UserVectors:
    """Return the vectors of users; no vector depends on the other users.

    Without torch, batches run in parallel, one per core.
    """
    longest = max(reading.max_history, reading.max_history_overall)
    least = reading.max_history if reading.pad == "full" else 1
    widths = np.clip(histories.lengths, least, longest)
    batches = batches_by_length(widths, _BATCH_ITEMS_GPU if on_gpu(model) else _BATCH_ITEMS)
    vectors = np.zeros((len(histories), model.table.shape[1]), np.float32)
    norms, geometry = np.zeros(len(histories), np.float32), model.geometry

    def encode_batch(users: NDArray[np.int64], encoder: Encoder = model) -> None:
        arrays = reading.arrays(histories.take(users))
        embeddings = encoder.encode(horizon, dislike_weight=dislike_weight, **arrays)
        vectors[users], norms[users] = geometry.of_users(embeddings)

    if len(batches) > 1 and isinstance(model, OnnxEncoder):
        with _one_thread_each(), ThreadPoolExecutor(model.cores) as cores:
            list(cores.map(partial(encode_batch, encoder=model.single_threaded()), batches))
    else:
        for users in batches:
            encode_batch(users)
    return UserVectors(vectors, norms)


def batches_by_length(widths: NDArray[np.int64], most: int) -> list[NDArray[np.int64]]:
    """Return the indices of all users in batches of ascending width.

    Args:
        widths: (B,) int from 1, the width of each user's row.
        most: The most cells of a batch, rows times its largest width; a wider single row is a batch of its own.

    Examples:
        >>> [batch.tolist() for batch in batches_by_length(np.array([5, 1, 2, 9, 2]), 6)]
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
    """Return whether this encoder runs on a GPU."""
    return getattr(getattr(model, "device", None), "type", "cpu") != "cpu"


def gpu_available() -> bool:
    """Return whether the NVIDIA driver lists a GPU; importing torch to find none takes seconds."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int()
    there = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
    return bool(there and count.value)


def _one_thread_each() -> AbstractContextManager[Any]:
    """Return a context in which NumPy uses one thread, because the batches occupy all cores."""
    try:
        from threadpoolctl import threadpool_limits  # noqa: PLC0415  comes with some of the extras
    except ImportError:
        return nullcontext()
    limits: AbstractContextManager[Any] = threadpool_limits(1, "blas")
    return limits
