"""One system that finds the best films for generated people, in a process of its own.

``python benchmarks/rankers.py WORLD --system NAME --people N --out FILE`` asks it for the first so many people of the world and
writes what came of it. All answer the same question: the 100 films of the highest product with a person's vector that are
not his own. Systems that can only search to a depth are asked for 100 films and as many as he knows, people of like lengths
together, and his own are dropped from what they find. ``--system similar`` is another question: everybody's 10 nearest people.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tastevec.data.histories import Histories
from tastevec.pipelines.batch import similar_among
from tastevec.serving.neighbours import Neighbours
from tastevec.serving.recommender import best_films

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Asked = Callable[[NDArray[np.float32], Histories], NDArray[np.int64]]
    Found = tuple[NDArray[np.int64], NDArray[np.bool_]]

__all__ = [
    "CHECKED",
    "NEAREST",
    "SIMILAR",
    "SYSTEMS",
    "K",
    "ask",
    "ask_similar",
    "groups",
    "write_world",
]

K = 100
SIMILAR, NEAREST = "similar", 10
DIM = 64
GROUP = 4096  # people read and asked at once
TOGETHER = 512  # of them, people of like lengths who are searched to one depth
CHECKED = 2_000  # people whose lists are compared with the exact ones
_CELLS = 1 << 24  # scores that NumPy holds at once


def ours(items: NDArray[np.float32]) -> Asked:
    """What ``tastevec recommend`` does."""
    return lambda vectors, known: best_films(vectors, items, known, K)[0]


def argpartition(items: NDArray[np.float32]) -> Asked:
    """NumPy as one writes it: all scores of a block of people, ``argpartition``, and a sort of what it finds."""

    def asked(vectors: NDArray[np.float32], known: Histories) -> NDArray[np.int64]:
        found, done = [], 0
        for part in known.chunks(max(1, _CELLS // len(items))):
            scores = vectors[done : done + len(part)] @ items.T
            done += len(part)
            scores[part.owners, part.items] = -np.inf
            best = np.argpartition(scores, len(items) - K, axis=1)[:, -K:]
            order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1)
            found.append(np.take_along_axis(best, order, 1))
        return np.concatenate(found)

    return asked


def faiss_exact(items: NDArray[np.float32]) -> Asked:
    """The flat index of faiss."""
    import faiss  # noqa: PLC0415  each system in a process of its own

    # For so few people at once it would not use products of matrices, and be six times as slow.
    faiss.cvar.distance_compute_blas_threshold = 20
    index = faiss.IndexFlatIP(items.shape[1])
    index.add(items)

    def search(vectors: NDArray[np.float32], depth: int) -> Found:
        found = index.search(vectors, depth)[1]
        return found, found >= 0

    return to_depth(search, len(items))


def usearch_exact(items: NDArray[np.float32]) -> Asked:
    """The brute force of usearch."""
    from usearch.index import search as search_all  # noqa: PLC0415  as above

    def search(vectors: NDArray[np.float32], depth: int) -> Found:
        return _matched(search_all(items, vectors, depth, "ip", exact=True), depth)

    return to_depth(search, len(items))


def usearch_graph(expansion: int) -> Callable[[NDArray[np.float32]], Asked]:
    """The graph (HNSW) of usearch, otherwise as it comes; ``expansion`` candidates are held in a search."""

    def made(items: NDArray[np.float32]) -> Asked:
        from usearch.index import Index  # noqa: PLC0415  as above

        index = Index(ndim=items.shape[1], metric="ip", dtype="f32", expansion_search=expansion)
        index.add(np.arange(len(items)), items)

        def search(vectors: NDArray[np.float32], depth: int) -> Found:
            index.expansion_search = max(expansion, depth)
            return _matched(index.search(vectors, depth), depth)

        return to_depth(search, len(items))

    return made


SYSTEMS: dict[str, Callable[[NDArray[np.float32]], Asked]] = {
    "tastevec": ours,
    "faiss exact": faiss_exact,
    "NumPy argpartition": argpartition,
    "usearch exact": usearch_exact,
    "usearch HNSW 128": usearch_graph(128),
    "usearch HNSW 1024": usearch_graph(1024),
}


def _matched(matches: Any, depth: int) -> Found:  # noqa: ANN401  usearch's own
    keys = np.asarray(matches.keys).astype(np.int64).reshape(-1, depth)
    counts = np.atleast_1d(np.asarray(matches.counts))
    return keys, np.arange(depth) < counts[:, None]


def to_depth(search: Callable[[NDArray[np.float32], int], Found], films: int) -> Asked:
    """The best films but a person's own, by a search that knows nothing of them."""

    def asked(vectors: NDArray[np.float32], known: Histories) -> NDArray[np.int64]:
        places = np.full((len(known), K), -1, np.int64)
        order = np.argsort(known.lengths, kind="stable")
        for start in range(0, len(order), TOGETHER):
            people = order[start : start + TOGETHER]
            theirs = known.take(people)
            found, there = search(vectors[people], min(films, K + int(theirs.lengths.max())))
            mine = np.zeros((len(people), films), np.bool_)
            mine[theirs.owners, theirs.items] = True
            found = np.where(there, found, 0)
            own = np.take_along_axis(mine, found, 1)
            first = np.argsort(own | ~there, axis=1, kind="stable")[:, :K]
            may = np.take_along_axis(~own & there, first, 1)
            places[people, : first.shape[1]] = np.where(may, np.take_along_axis(found, first, 1), -1)
        return places

    return asked


def write_world(folder: Path, people: int, films: int) -> None:
    """Film vectors, and people with what they know, whose vectors lie towards their films.

    The variance along the directions falls as one over the root of their number, which gives vectors of nearly the effective
    rank of trained ones; films differ in length as popular ones do from others. Histories have log-normal lengths, 20 films
    to 5,000, with the mean of ml-32m.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(people)
    spread = np.arange(1, DIM + 1) ** -0.25
    items = rng.standard_normal((films, DIM)) * spread
    items *= np.exp(rng.normal(0, 0.3, (films, 1))) / np.linalg.norm(items, axis=1, keepdims=True)
    np.save(folder / "items.npy", items.astype(np.float32))
    most = min(5_000, films // 2)
    lengths = np.clip(rng.lognormal(np.log(75), 1.2, people), min(20, most), most).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    np.save(folder / "offsets.npy", offsets)
    coprime = np.array([step for step in range(1, films) if np.gcd(step, films) == 1])
    with (folder / "known.i32").open("wb") as known, (folder / "vectors.f32").open("wb") as vectors:
        for start in range(0, people, GROUP):
            edges = offsets[start : start + GROUP + 1] - offsets[start]
            count, of = len(edges) - 1, np.diff(edges)
            place = np.arange(edges[-1]) - np.repeat(edges[:-1], of)
            steps, begins = rng.choice(coprime, count), rng.integers(0, films, count)
            own = ((np.repeat(begins, of) + np.repeat(steps, of) * place) % films).astype(np.int32)
            towards = np.add.reduceat(items[own], edges[:-1])
            towards /= np.linalg.norm(towards, axis=1, keepdims=True)
            own.tofile(known)
            (towards + 0.1 * rng.standard_normal((count, DIM)) * spread).astype(np.float32).tofile(vectors)


def groups(world: Path, people: int) -> Iterator[tuple[NDArray[np.float32], Histories]]:
    """The vectors and the histories of the first so many people, a group at a time."""
    offsets = np.load(world / "offsets.npy")[: people + 1]
    for start in range(0, len(offsets) - 1, GROUP):
        edges = offsets[start : start + GROUP + 1]
        count, rows = len(edges) - 1, int(edges[-1] - edges[0])
        known = np.fromfile(world / "known.i32", np.int32, rows, offset=4 * int(edges[0]))
        vectors = np.fromfile(world / "vectors.f32", np.float32, count * DIM, offset=4 * DIM * start)
        nothing = np.broadcast_to(np.float32(0), rows)  # how they were rated is not asked
        ids, times = np.arange(start, start + count), np.broadcast_to(np.int64(0), rows)
        told = Histories(ids, edges - edges[0], known, nothing, nothing, times)
        yield vectors.reshape(count, DIM), told


def ask(world: Path, system: str, people: int) -> dict[str, Any]:
    """What the system takes for so many people, and how much of the exact lists it finds.

    The lists of the first people are kept beside the world by ``tastevec``, which is asked first; the others are compared
    with them.
    """
    items = np.load(world / "items.npy")
    began = time.perf_counter()
    asked = SYSTEMS[system](items)
    built = time.perf_counter() - began
    searched, lists = 0.0, []
    for vectors, known in groups(world, people):
        began = time.perf_counter()
        found = asked(vectors, known)
        searched += time.perf_counter() - began
        if sum(map(len, lists)) < CHECKED:
            lists.append(found)
    first = np.concatenate(lists)[:CHECKED]
    exact = world / "exact.npy"
    if system == "tastevec" and not exact.exists():
        np.save(exact, first)
    return {
        "system": system,
        "people": people,
        "build_seconds": round(built, 2),
        "search_seconds": round(searched, 2),
        "people_per_second": round(people / searched, 1),
        "recall": round(_shared(first, np.load(exact)), 4),
    }


def ask_similar(world: Path, people: int) -> dict[str, Any]:
    """What ``tastevec similar --people`` takes for the first so many people among themselves, but for the file."""
    vectors = np.concatenate([of_group for of_group, _ in groups(world, people)])
    began = time.perf_counter()
    known = Neighbours(np.arange(people), vectors)
    built = time.perf_counter()
    rows = sum(len(batch) for batch in similar_among(known, "user_id", k=NEAREST))
    searched = time.perf_counter() - built
    return {
        "people": people,
        "rows": rows,
        "build_seconds": round(built - began, 2),
        "people_per_second": round(people / searched, 1),
    }


def _shared(found: NDArray[np.int64], exact: NDArray[np.int64]) -> float:
    """The share of the exact lists that was found."""
    pairs = zip(found.tolist(), exact.tolist(), strict=False)  # a system may be asked for fewer people
    return float(np.mean([len(set(one) & set(other)) / len(other) for one, other in pairs]))


def main() -> None:
    """Ask one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("world", type=Path, help="a folder that this module wrote")
    parser.add_argument(
        "--system", choices=[*SYSTEMS, SIMILAR], help="which one; without it the world is written"
    )
    parser.add_argument("--people", type=int, required=True, help="how many of them")
    parser.add_argument("--films", type=int, help="of a world that is written")
    parser.add_argument("--out", type=Path, help="where to write what came of it")
    asked = parser.parse_args()
    if asked.system is None:
        write_world(asked.world, asked.people, asked.films)
        return
    busy = round(os.getloadavg()[0], 1)
    similar = asked.system == SIMILAR
    seen = ask_similar(asked.world, asked.people) if similar else ask(asked.world, asked.system, asked.people)
    asked.out.write_text(json.dumps(seen | {"busy": busy}))


if __name__ == "__main__":
    main()
