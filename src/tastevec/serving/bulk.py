"""Vectors of many people at once: people of like lengths together, so that little of what is computed is padding.

Dimensions: B people, D numbers a vector.
"""

from __future__ import annotations

import ctypes
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tastevec.serving.encoder import OnnxEncoder

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.data.inputs import Reading
    from tastevec.schema import Horizon
    from tastevec.serving.encoder import Encoder

__all__ = ["by_length", "on_gpu", "sees_gpu", "vectors_of"]

_FILMS: Final = 8_192  # of a batch, padding included: a few MB of vectors
_FILMS_ON_GPU: Final = 1 << 18  # which a small batch would leave idle


def vectors_of(
    model: Encoder, reading: Reading, histories: Histories, horizon: Horizon
) -> NDArray[np.float32]:
    """(B, D) the vectors of these people, in their order; nobody's depends on who else is asked.

    Without torch, batches are answered side by side, one on each core.

    Args:
        model: A bundle's encoder.
        reading: How it reads histories.
        histories: B people.
        horizon: What is asked.
    """
    longest = max(reading.max_history, reading.set_history)
    least = reading.max_history if reading.pad == "full" else 1
    widths = np.clip(histories.lengths, least, longest)
    batches = by_length(widths, _FILMS_ON_GPU if on_gpu(model) else _FILMS)
    vectors = np.zeros((len(histories), model.table.shape[1]), np.float32)

    def answer(people: NDArray[np.int64], by: Encoder = model) -> None:
        vectors[people] = by.answer(horizon, **reading.arrays(histories.take(people)))

    if len(batches) > 1 and isinstance(model, OnnxEncoder):
        with _one_thread_each(), ThreadPoolExecutor(model.cores) as cores:
            list(cores.map(partial(answer, by=model.on_one_core()), batches))
    else:
        for people in batches:
            answer(people)
    return vectors


def by_length(widths: NDArray[np.int64], most: int) -> list[NDArray[np.int64]]:
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


def sees_gpu() -> bool:
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
