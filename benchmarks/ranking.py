"""Speed of top-k ranking: users per second and recall of tastevec, NumPy, faiss and usearch on generated vectors.

Every system finds, for each user, the 100 items of the highest inner product without the input items. An index that knows no
histories searches as deep as 100 items and all input items together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tastevec.data.histories import Histories
from tastevec.data.topk import best_items
from tastevec.pipelines.batch import similar_among
from tastevec.serving.neighbors import Neighbors

if TYPE_CHECKING:
    from measure import Run

Rank = Callable[[NDArray[np.float32], Histories], NDArray[np.int64]]
Search = Callable[[NDArray[np.float32], int], NDArray[np.int64]]
Plan = tuple[int, int, dict[str, tuple[int, ...]], tuple[int, ...]]

K, NEAREST, DIM = 100, 10, 64
GROUP = 4096  # users that are read and ranked at once
TOGETHER = 512  # of them, users with histories of similar length: searched to one depth
CHECKED = 2_000  # users whose lists are compared with the exact ones
CELLS = 1 << 24  # scores that NumPy holds at once
# Users and items; the users that each system ranks, slow ones fewer; the users whose most similar users are found.
FULL: Plan = (
    *(200_000, 87_000),
    {"tastevec": (50_000, 200_000), "faiss exact": (50_000, 200_000), "NumPy argpartition": (8_000,)}
    | {"usearch HNSW 128": (8_000,), "usearch HNSW 1024": (4_000,)},
    (50_000, 100_000, 200_000),
)
SMALL: Plan = (
    *(8_000, 20_000),
    {"tastevec": (8_000,), "faiss exact": (8_000,), "NumPy argpartition": (2_000,)}
    | {"usearch HNSW 128": (2_000,), "usearch HNSW 1024": (1_000,)},
    (4_000, 8_000),
)


def measured(run: Run) -> dict[str, Any]:
    """Return one row for each system and number of users; tastevec, whose lists are the exact ones, is first."""
    users, items, systems, alike = FULL if run.full else SMALL
    world = run.work / "world"
    run.call("world", write_world, folder=world, users=users, items=items)
    rankings = [
        run.call(f"{system} {count}", ranked, folder=world, system=system, users=count)
        for system, counts in systems.items()
        for count in counts
    ]
    found = [run.call(f"similar {count}", similar, folder=world, users=count) for count in alike]
    size = {"people": users, "films": items, "dim": DIM, "k": K, "nearest": NEAREST}
    return {**size, "rankings": rankings, "similar": found}


def ranked(folder: str, system: str, users: int) -> dict[str, Any]:
    """Rank for the first users of the generated world; called in a process of its own."""
    world = Path(folder)
    items = np.load(world / "items.npy")
    began = time.perf_counter()
    rank = SYSTEMS[system](items)
    built = time.perf_counter() - began
    searched, lists = 0.0, []
    for vectors, histories in _groups(world, users):
        began = time.perf_counter()
        found = rank(vectors, histories)
        searched += time.perf_counter() - began
        if sum(map(len, lists)) < CHECKED:
            lists.append(found)
    first, exact = np.concatenate(lists)[:CHECKED], world / "exact.npy"
    if system == "tastevec" and not exact.exists():
        np.save(exact, first)
    pairs = zip(first.tolist(), np.load(exact).tolist(), strict=False)  # a system may rank for fewer users
    return {
        "system": system,
        "people": users,
        "build_seconds": round(built, 2),
        "search_seconds": round(searched, 2),
        "people_per_second": round(users / searched, 1),
        "recall": round(float(np.mean([len({*one} & {*two}) / len(two) for one, two in pairs])), 4),
    }


def similar(folder: str, users: int) -> dict[str, Any]:
    """Find the most similar users of every user among themselves; called in a process of its own."""
    vectors = np.concatenate([of_group for of_group, _ in _groups(Path(folder), users)])
    began = time.perf_counter()
    known = Neighbors(np.arange(users), vectors)
    built = time.perf_counter()
    rows = sum(len(batch) for batch in similar_among(known, "user_id", k=NEAREST))
    searched = time.perf_counter() - built
    return {
        "people": users,
        "rows": rows,
        "build_seconds": round(built - began, 2),
        "people_per_second": round(users / searched, 1),
    }


# ---- systems ----


def _tastevec(items: NDArray[np.float32]) -> Rank:
    return lambda vectors, histories: best_items(vectors, items, histories, K).indices


def _argpartition(items: NDArray[np.float32]) -> Rank:
    """Return plain NumPy: all scores of a block of users, ``argpartition``, and a sort of what it finds."""

    def rank(vectors: NDArray[np.float32], histories: Histories) -> NDArray[np.int64]:
        found, done = [], 0
        for part in histories.chunks(max(1, CELLS // len(items))):
            scores = vectors[done : done + len(part)] @ items.T
            done += len(part)
            scores[part.owners, part.items] = -np.inf
            best = np.argpartition(scores, len(items) - K, axis=1)[:, -K:]
            order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1)
            found.append(np.take_along_axis(best, order, 1))
        return np.concatenate(found)

    return rank


def _faiss(items: NDArray[np.float32]) -> Rank:
    import faiss  # noqa: PLC0415  each system runs in a process of its own

    # faiss would use no matrix products for so few users at once, and be six times as slow.
    faiss.cvar.distance_compute_blas_threshold = 20
    index = faiss.IndexFlatIP(items.shape[1])
    index.add(items)
    return _to_depth(lambda vectors, depth: index.search(vectors, depth)[1], len(items))


def _usearch_graph(items: NDArray[np.float32], *, expansion: int) -> Rank:
    """Return the HNSW graph of usearch with its defaults; a search holds ``expansion`` candidates."""
    from usearch.index import Index  # noqa: PLC0415  as above

    index = Index(ndim=items.shape[1], metric="ip", dtype="f32", expansion_search=expansion)
    index.add(np.arange(len(items)), items)

    def find(vectors: NDArray[np.float32], depth: int) -> NDArray[np.int64]:
        index.expansion_search = max(expansion, depth)
        return _matched(index.search(vectors, depth), depth)

    return _to_depth(find, len(items))


SYSTEMS: dict[str, Callable[[NDArray[np.float32]], Rank]] = {
    "tastevec": _tastevec,
    "faiss exact": _faiss,
    "NumPy argpartition": _argpartition,
    "usearch HNSW 128": partial(_usearch_graph, expansion=128),
    "usearch HNSW 1024": partial(_usearch_graph, expansion=1024),
}


def _matched(matches: Any, depth: int) -> NDArray[np.int64]:  # noqa: ANN401  usearch's own
    """Return the indices that usearch found, -1 where it found fewer."""
    keys = np.asarray(matches.keys).astype(np.int64).reshape(-1, depth)
    counts = np.atleast_1d(np.asarray(matches.counts))
    return np.where(np.arange(depth) < counts[:, None], keys, -1)


def _to_depth(search: Search, items: int) -> Rank:
    """Return the best items without the input items, by a search that does not exclude any."""

    def rank(vectors: NDArray[np.float32], histories: Histories) -> NDArray[np.int64]:
        indices = np.full((len(histories), K), -1, np.int64)
        order = np.argsort(histories.lengths, kind="stable")
        for start in range(0, len(order), TOGETHER):
            users = order[start : start + TOGETHER]
            inputs = histories.take(users)
            found = search(vectors[users], min(items, K + int(inputs.lengths.max())))
            excluded = np.zeros((len(users), items), np.bool_)
            excluded[inputs.owners, inputs.items] = True
            unusable = (found < 0) | np.take_along_axis(excluded, np.maximum(found, 0), 1)
            first = np.argsort(unusable, axis=1, kind="stable")[:, :K]
            best = np.take_along_axis(np.where(unusable, -1, found), first, 1)
            indices[users, : first.shape[1]] = best
        return indices

    return rank


# ---- generated vectors ----


def write_world(folder: str, users: int, items: int) -> dict[str, Any]:
    """Write item vectors, and users with input items towards which their vectors point.

    The variance along the directions falls as one over the root of their number, which gives about the effective rank of
    trained vectors; popular items are longer. Histories have log-normal lengths, 20 to 5,000, with the mean of ml-32m.
    """
    world = Path(folder)
    world.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(users)
    scale = np.arange(1, DIM + 1) ** -0.25
    vectors = rng.standard_normal((items, DIM)) * scale
    vectors *= np.exp(rng.normal(0, 0.3, (items, 1))) / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.save(world / "items.npy", vectors.astype(np.float32))
    most = min(5_000, items // 2)
    lengths = np.clip(rng.lognormal(np.log(75), 1.2, users), min(20, most), most).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    np.save(world / "offsets.npy", offsets)
    coprime = np.array([step for step in range(1, items) if np.gcd(step, items) == 1])
    with (world / "inputs.i32").open("wb") as inputs, (world / "vectors.f32").open("wb") as users_file:
        for start in range(0, users, GROUP):
            edges = offsets[start : start + GROUP + 1] - offsets[start]
            count, length = len(edges) - 1, np.diff(edges)
            position = np.arange(edges[-1]) - np.repeat(edges[:-1], length)
            steps, first = rng.choice(coprime, count), rng.integers(0, items, count)
            chosen = ((np.repeat(first, length) + np.repeat(steps, length) * position) % items).astype(
                np.int32
            )
            towards = np.add.reduceat(vectors[chosen], edges[:-1])
            towards /= np.linalg.norm(towards, axis=1, keepdims=True)
            chosen.tofile(inputs)
            (towards + 0.1 * rng.standard_normal((count, DIM)) * scale).astype(np.float32).tofile(users_file)
    return {"users": users, "items": items}


def _groups(world: Path, users: int) -> Iterator[tuple[NDArray[np.float32], Histories]]:
    """Yield vectors and histories of the first users, a group at a time."""
    offsets = np.load(world / "offsets.npy")[: users + 1]
    for start in range(0, len(offsets) - 1, GROUP):
        edges = offsets[start : start + GROUP + 1]
        count, rows = len(edges) - 1, int(edges[-1] - edges[0])
        inputs = np.fromfile(world / "inputs.i32", np.int32, rows, offset=4 * int(edges[0]))
        vectors = np.fromfile(world / "vectors.f32", np.float32, count * DIM, offset=4 * DIM * start)
        unrated = np.broadcast_to(np.float32(0), rows)
        ids, times = np.arange(start, start + count), np.broadcast_to(np.int64(0), rows)
        yield vectors.reshape(count, DIM), Histories(ids, edges - edges[0], inputs, unrated, unrated, times)
