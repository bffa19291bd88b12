"""Downstream: what user embeddings say about users beyond a ranking, what smaller or noisy vectors lose, and how far vectors move.

Probes and rules are fitted on training users and measured on test users. The attributes of users are read here alone.

Dimensions: B users, N items, D dimensions, G genres, K coordinates, S updates.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from experiment import SHARED, interval, small_world
from probes import Probe, Target, bootstrapped, mean_r2, mean_rand, standardized
from scipy.optimize import minimize
from scipy.sparse.linalg import svds
from sklearn.cluster import KMeans
from sklearn.isotonic import IsotonicRegression

from tastevec.data.prepared import Prepared
from tastevec.evaluation.baselines import ALS, positive_matrix
from tastevec.evaluation.metrics import unit_rows
from tastevec.evaluation.mult_vae import MultVAE, VaeSettings
from tastevec.evaluation.tasks import build_task, hold_out
from tastevec.items.als import AlsSettings
from tastevec.items.regression import interaction_matrix
from tastevec.schema import GENRES, SPLITS
from tastevec.serving.recommender import load
from tastevec.training.teacher_search import Question

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch
    from measure import Run
    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.evaluation.tasks import Task

    Encode = Callable[[Histories], NDArray[np.float32]]
    # Vectors (B, D), rows of items (B, ...) and history lengths (B,) to vectors of any length.
    Rule = Callable[[NDArray[Any], NDArray[Any], NDArray[Any]], NDArray[Any]]

ATTRIBUTES = SHARED / "ml-1m-5k" / "users.dat"
SYSTEMS = ("tastevec, overall", "tastevec, next", "iALS (graded)", "truncated SVD", "Mult-VAE")
OURS: Final = SYSTEMS[0]
EPOCHS = {True: 200, False: 3}  # of Mult-VAE, by whether the run is full
DIM, CLUSTERS, DEPTH = 64, 20, 100
FIRST = 20  # interactions from which later activity is predicted
LEAST = 30  # training users of an occupation
STEPS = {True: (0, 1, 5, 20), False: (0, 1, 2, 4)}  # positives by which a vector is updated
REMAINING = 5  # later positives that are ranked
MORE, FROM = 10, 5  # interactions by which a vector moves, and the shortest history that does
NOISE = (0.25, 0.5, 1.0)  # its expected length, where a vector has 1
# How the vectors of a probe are scaled, and the users it is fitted to.
WAYS = (("standardized", "train"), ("unit length", "train"), ("standardized", "validation"))
VIEWS = ("all", "first", "earlier", "half a", "half b")


@dataclass(frozen=True, eq=False)
class World:
    """The users of a prepared dataset, and their attributes.

    Attributes:
        histories: Of B users.
        splits: (B,) of each user.
        genres: (N, G) shares of the genres of each item; of zeros without one.
        attributes: By name, (B,) a class of each user.
    """

    prepared: Prepared
    histories: Histories
    splits: NDArray[np.str_]
    genres: NDArray[np.float64]
    attributes: Mapping[str, NDArray[Any]]

    @classmethod
    def open(cls, data: str, seed: int, *, full: bool) -> World:
        """Read the users of a prepared dataset; the attributes of a small run are made up from histories."""
        prepared = Prepared.open(Path(data))
        histories = prepared.histories.take(np.arange(len(prepared.user_ids))).once()
        named = [names or [] for names in prepared.items[GENRES].to_pylist()]
        every = sorted({name for names in named for name in names})
        genres = np.array([[name in names for name in every] for names in named], float)
        genres /= np.maximum(genres.sum(axis=1, keepdims=True), 1)
        if full:
            attributes = read_attributes(ATTRIBUTES, histories.user_ids)
        else:
            attributes = _made_up(_shares(histories, genres), np.random.default_rng(seed))
        return cls(prepared, histories, np.array(SPLITS)[prepared.splits], genres, attributes)

    def users(self, split: str) -> Histories:
        """Return the histories of the users of a split."""
        return self.histories.take(np.flatnonzero(self.splits == split))

    @property
    def positive(self) -> NDArray[np.bool_]:
        """(M,) which interactions are positive."""
        return np.asarray(self.prepared.scale.positive(self.histories.ratings))

    def view(self, name: str) -> tuple[NDArray[np.int64], Histories]:
        """Return some users and the part of their histories of this name."""
        every, lengths = np.arange(len(self.histories)), self.histories.lengths
        position = np.arange(len(self.histories.items)) - self.histories.offsets[self.histories.owners]
        if name == "all":
            return every, self.histories
        if name == "first":
            users = np.flatnonzero(lengths >= FIRST)
            return users, self.histories.keep_alone(position < FIRST).take(users)
        if name == "earlier":
            users, task = self.later
            return users, task.inputs
        in_a = np.random.default_rng(0).random(len(position)) < 0.5  # noqa: PLR2004  a half
        return every, self.histories.keep_alone(in_a if name == "half a" else ~in_a)

    @property
    def later(self) -> tuple[NDArray[np.int64], Task]:
        """The users with a last 20 % of positives, and that task."""
        task = build_task("last-20pct", self.histories, scale=self.prepared.scale)
        order = np.argsort(self.histories.user_ids)
        ids = self.histories.user_ids[order]
        return order[np.searchsorted(ids, task.inputs.user_ids)], task


def read_attributes(path: Path, user_ids: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return gender, age group and occupation of these users, from ``users.dat`` of MovieLens 1M."""
    rows = [line.split("::") for line in path.read_text(encoding="latin-1").splitlines()]
    by_id = {int(row[0]): row[1:4] for row in rows}
    columns = zip(*(by_id[user] for user in user_ids.tolist()), strict=True)
    return dict(zip(("gender", "age group", "occupation"), map(np.array, columns), strict=True))


def _made_up(shares: NDArray[np.float64], rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Return attributes that depend on the genres of a user."""
    noisy = shares + rng.normal(0, 0.1, shares.shape)
    columns = {
        name: noisy[:, place % noisy.shape[1]]
        for place, name in enumerate(("gender", "age group", "occupation"))
    }
    return {name: (column > np.median(column)).astype(int) for name, column in columns.items()}


def _shares(histories: Histories, genres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (B, G) shares of the genres among the items of each user."""
    ones = np.ones(len(histories.items), np.float32)
    sums = np.asarray(interaction_matrix(histories, ones, len(genres)) @ genres)
    return sums / np.maximum(sums.sum(axis=1, keepdims=True), 1e-9)


def measured(run: Run) -> dict[str, Any]:
    """Return the results of all five questions."""
    data, model = small_world(run)
    common = {"data": data, "full": run.full, "seed": run.seed}
    files = {}
    for name in SYSTEMS:
        files[name] = run.work / "vectors" / f"{name.replace(' ', '-')}.npz"
        run.call(f"encode {name}", encoded, **common, model=model, name=name, out=files[name])
    parts = {
        "probes": run.call("probes", probed, **common, files=files),
        "clusters": run.call("clusters", clustered, **common, files=files),
        "sizes": run.call("sizes", sized, **common, model=model, file=files[OURS]),
        "updates": run.call("updates", updated, **common, model=model),
        "movement": run.call("movement", moved, **common, model=model),
    }
    facts = parts["probes"].pop("facts")
    rows = {name: part["rows"] for name, part in parts.items()}
    return {**facts, "rule": parts["updates"]["rule"], **rows}


# ---- embeddings ----


class _Latent(MultVAE):
    """Mult-VAE whose vectors are the means of the latent distribution."""

    def vectors(self, histories: Histories) -> NDArray[np.float32]:
        """(B, Z) means."""
        found: list[torch.Tensor] = []
        hook = self._network.encode.register_forward_hook(lambda _layer, _inputs, out: found.append(out))
        self.score(histories)
        hook.remove()
        return np.asarray(found[0].chunk(2, dim=1)[0].numpy())


def _encoder(world: World, name: str, model: str, *, full: bool) -> Encode:
    """Return what encodes users, fitted on the training users."""
    if name.startswith("tastevec"):
        recommender, horizon = load(model), name.partition(", ")[2]
        return lambda histories: recommender.vectors(histories, horizon)
    train, scale, n_items = (
        world.users("train"),
        world.prepared.scale,
        len(world.genres),
    )
    if name == "truncated SVD":
        matrix = positive_matrix(train, n_items, scale.positive_from).astype(np.float64)
        _, _, axes = svds(matrix, k=DIM, random_state=0)
        return lambda histories: (positive_matrix(histories, n_items, scale.positive_from) @ axes.T).astype(
            np.float32
        )
    if name == "Mult-VAE":
        scorer: Any = _Latent(VaeSettings(scale, latent=DIM, epochs=EPOCHS[full]))
    else:
        scorer = ALS(AlsSettings(scale=scale, dim=DIM), positives_only=False)
    scorer.fit(train, n_items)
    return scorer.vectors


def encoded(data: str, full: bool, seed: int, model: str, name: str, out: str) -> dict[str, Any]:  # noqa: FBT001  JSON arguments of a process
    """Write the vectors of each view of one system; called in a process of its own."""
    world = World.open(data, seed, full=full)
    encode = _encoder(world, name, model, full=full)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    np.savez(out, **{view: encode(world.view(view)[1]) for view in VIEWS})
    return {"users": len(world.histories)}


# ---- probes ----


def probed(data: str, full: bool, seed: int, files: dict[str, str]) -> dict[str, Any]:  # noqa: FBT001  JSON arguments of a process
    """Return what each embedding says about users; called in a process of its own."""
    world = World.open(data, seed, full=full)
    targets = _targets(world)
    ours = _probes(world, targets, OURS, files, WAYS[0])
    counted = _probes(world, targets, "genre shares", files, WAYS[0])["later genres"]
    rows = []
    for name in ("constant", "history length", "genre shares", "all interactions", *files):
        for way in WAYS if name in files else WAYS[:1]:
            probes = _probes(world, targets, name, files, way)
            row: dict[str, Any] = {"embedding": name, "vectors": way[0], "fitted": way[1]}
            row |= {target: probe.interval(seed, ours[target]) for target, probe in probes.items()}
            row["genres beyond shares"] = probes["later genres"].interval(seed, counted)["minus"]
            rows.append(row | {"of embedding": name in files})
    return {"rows": rows, "facts": _facts(world, targets)}


def _probes(
    world: World, targets: list[tuple[str, Target]], name: str, files: dict[str, str], way: tuple[str, str]
) -> dict[str, Probe]:
    """Return the probe of each target, of one embedding or reference in one way."""
    probes, (scaling, split) = {}, way
    for view, target in targets:
        users, histories = world.view(view)
        fit, test = (world.splits[users] == one for one in (split, "test"))
        found = np.load(files[name])[view] if name in files else _reference(world, name, histories)
        if name != "all interactions":  # whose columns are alike
            found = unit_rows(found) if scaling == "unit length" else standardized(found, fit)
        probes[target.name] = Probe.fit(found, target, fit, test)
    return probes


def _reference(world: World, name: str, histories: Histories) -> NDArray[np.float64]:
    """Return what is known without an embedding, (B, ...)."""
    if name == "constant":
        return np.zeros((len(histories), 1))
    if name == "history length":
        return np.log1p(histories.lengths)[:, None]
    if name == "genre shares":
        return _shares(histories.keep(world.prepared.scale.positive(histories.ratings)), world.genres)
    matrix = interaction_matrix(histories, np.ones(len(histories.items), np.float32), len(world.genres))
    return np.asarray(matrix.toarray(), float)


def _targets(world: World) -> list[tuple[str, Target]]:
    """Return each target, with the view that it is predicted from."""
    found: list[tuple[str, Target]] = []
    for name, column in world.attributes.items():
        classes, counts = np.unique(column[world.splits == "train"], return_counts=True)
        classes = classes[counts >= LEAST] if name == "occupation" else classes
        indicators = (column[:, None] == classes).astype(float)
        found.append(("all", Target(name, indicators, of_classes=True)))
    lengths = world.histories.lengths
    found.append(("all", Target("activity", np.log(lengths)[:, None])))
    users, _ = world.view("first")
    found.append(("first", Target("later activity", np.log1p(lengths[users] - FIRST)[:, None])))
    users, task = world.later
    owners = np.repeat(np.arange(len(task)), task.held_out_items)
    sums = np.stack(
        [np.bincount(owners, column[task.targets], len(task)) for column in world.genres.T], axis=1
    )
    shares = sums / np.maximum(sums.sum(axis=1, keepdims=True), 1e-9)
    varied = shares[world.splits[users] == "test"].std(axis=0) > 0
    found.append(("earlier", Target("later genres", shares[:, varied])))
    return found


def _facts(world: World, targets: list[tuple[str, Target]]) -> dict[str, Any]:
    of_test = {
        target.name: target.values[world.splits == "test"].sum(axis=0).astype(int).tolist()
        for _, target in targets
        if target.of_classes
    }
    return {
        "data": world.prepared.manifest["source"]["name"],
        "dim": DIM,
        "users": {split: int((world.splits == split).sum()) for split in SPLITS},
        "classes": {name: len(counts) for name, counts in of_test.items()},
        "test_users_of_classes": of_test,
        "genres": targets[-1][1].values.shape[1],
        "items": len(world.genres),
        "first": FIRST,
        "more": MORE,
        "groups": CLUSTERS,
    }


# ---- clusters ----


def clustered(data: str, full: bool, seed: int, files: dict[str, str]) -> dict[str, Any]:  # noqa: FBT001  JSON arguments of a process
    """Return how stable clusters of each embedding are, and what they say of genres; called in a process of its own."""
    world = World.open(data, seed, full=full)
    trains, tests = world.splits == "train", world.splits == "test"
    shares = _shares(world.histories.keep(world.positive), world.genres)
    shares = shares[:, shares[tests].std(axis=0) > 0]
    half = np.random.default_rng(seed).permutation(trains.sum()) < trains.sum() // 2
    rows = []
    for name, file in files.items():
        units = {view: unit_rows(vectors) for view, vectors in np.load(file).items()}
        train, test = units["all"][trains], units["all"][tests]
        one, other, every = (_clusters(part, seed) for part in (train[half], train[~half], train))
        halves = [every.predict(units[view][tests]) for view in ("half a", "half b")]
        groups = np.eye(every.n_clusters)[every.labels_]
        means = (groups.T @ shares[trains]) / groups.sum(axis=0)[:, None]
        pairs = {"halves of users": (one.predict(test), other.predict(test)), "halves of history": halves}
        row = {"embedding": name} | {
            key: bootstrapped(lambda weights, pair=pair: mean_rand(*pair, weights), len(test), seed)
            for key, pair in pairs.items()
        }
        predicted = means[every.predict(test)]
        row["genres"] = bootstrapped(
            lambda weights, predicted=predicted: mean_r2(predicted, shares[tests], weights), len(test), seed
        )
        rows.append(row)
    return {"rows": rows}


def _clusters(units: NDArray[np.float64], seed: int) -> KMeans:
    return KMeans(min(CLUSTERS, len(units) // 4), n_init=5, random_state=seed).fit(units)


# ---- sizes and noise ----


def sized(data: str, full: bool, seed: int, model: str, file: str) -> dict[str, Any]:  # noqa: FBT001  JSON arguments of a process
    """Return what each way to store a vector costs, and what it gives away; called in a process of its own."""
    world, recommender = World.open(data, seed, full=full), load(model)
    trains, tests = world.splits == "train", world.splits == "test"
    task = build_task("random-20pct", world.users("test"), scale=world.prepared.scale, seed=seed)
    question = Question(task, DEPTH, len(world.genres))
    of_task = recommender.vectors(task.inputs, "overall")
    views = np.load(file)
    targets = [target for _, target in _targets(world) if target.name in {"gender", "age group"}]
    rows, before, exact = [], None, {}
    for name, (size, treat, items) in _stored(views["all"][trains], recommender.item_vectors, seed).items():
        ranked, every, one, other = (
            treat(of)
            for of in (of_task, views["all"], *(views[half][tests] for half in ("half a", "half b")))
        )
        gains = question.gains((ranked @ items[:, : ranked.shape[1]].T).astype(np.float32))
        before = gains if before is None else before
        again = (unit_rows(one) @ unit_rows(other).T).argmax(axis=1) == np.arange(len(one))
        row = {"stored": name, "bytes": size, "ndcg": interval(gains, seed)}
        row["difference"] = interval(gains - before, seed)
        units = standardized(unit_rows(every), trains)
        probes = {target.name: Probe.fit(units, target, trains, tests) for target in targets}
        exact = exact or probes
        row |= {target: one.interval(seed, exact[target]) for target, one in probes.items()}
        rows.append(row | {"found again": interval(again.astype(float), seed)})
    return {"rows": rows}


def _stored(
    train: NDArray[np.float32], items: NDArray[np.float32], seed: int
) -> dict[str, tuple[int, Callable[[NDArray[Any]], NDArray[Any]], NDArray[Any]]]:
    """Return each way to store a user vector: its bytes, what is stored of vectors, and the item vectors that rank it."""
    dim, rng = items.shape[1], np.random.default_rng(seed)
    ways: dict[str, Any] = {
        "float32": (4 * dim, lambda vectors: vectors, items),
        "int8": (dim, rounded, items),
    }
    for count in (dim // 2, dim // 4):
        axes, turned = shortened(train, items, count)
        ways[f"{count} coordinates, float32"] = (4 * count, lambda vectors, axes=axes: vectors @ axes, turned)
        ways[f"{count} coordinates, int8"] = (
            count,
            lambda vectors, axes=axes: rounded(vectors @ axes),
            turned,
        )
    for length in NOISE:
        scale = np.append(np.full(dim - 1, length / np.sqrt(dim - 1)), 0)  # a user has 0 for the fold
        ways[f"float32, noise of length {length:g}"] = (
            4 * dim,
            lambda vectors, scale=scale: vectors + rng.normal(size=vectors.shape) * scale,
            items,
        )
    return ways


def rounded(vectors: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return vectors as int8 stores them: the largest coordinate of each is 127.

    No scale is stored: the length of a user vector changes no ranking.
    """
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    return np.rint(vectors / np.where(largest > 0, largest, 1.0) * 127).astype(np.float32)


def shortened(
    users: NDArray[np.float32], items: NDArray[np.float32], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the axes (D, K) of users and the items (N, K + 1), the last coordinate of which is the fold.

    With C the mean of u u' and V the items without their fold, the axes are the first principal axes of
    ``C^(1/2) V'V C^(1/2)``: no other K change the scores of these users less. A user has 0 for the fold, which is not stored.
    """
    table = items[:, :-1].astype(np.float64)
    values, basis = np.linalg.eigh(np.cov(users[:, :-1].T.astype(np.float64), bias=True))
    mean = users[:, :-1].mean(axis=0, dtype=np.float64)
    values, basis = np.linalg.eigh((basis * values) @ basis.T + np.outer(mean, mean))
    roots = np.sqrt(np.maximum(values, values[-1] * 1e-6))
    half, inverse = (basis * roots) @ basis.T, (basis / roots) @ basis.T
    first = np.linalg.eigh(half @ (table.T @ table) @ half)[1][:, : -count - 1 : -1]  # (D - 1, K)
    turned = table @ half @ first
    turned /= np.linalg.norm(turned, axis=1).max()
    fold = np.sqrt(np.maximum(1 - (turned**2).sum(axis=1), 0)) * items.any(axis=1)
    return np.vstack([inverse @ first, np.zeros(count)]), np.column_stack([turned, fold])


# ---- updates ----


@dataclass(frozen=True, eq=False)
class Growth:
    """Users whose history grows by positives.

    Attributes:
        lengths: (B,) interactions before the first update.
        added: (B, S) the items that are added, in order.
        vectors: By number of added items, (B, D).
        task: What is ranked: the positives that follow the last update.
    """

    lengths: NDArray[np.int64]
    added: NDArray[np.int32]
    vectors: Mapping[int, NDArray[np.float64]]
    task: Task

    @classmethod
    def of(
        cls, histories: Histories, positive: NDArray[np.bool_], encode: Encode, steps: tuple[int, ...]
    ) -> Growth:
        """Return the users with enough positives in the second half of their history."""
        most = steps[-1]
        position = np.arange(len(histories.items)) - histories.offsets[histories.owners]
        first = position < (histories.lengths // 2)[histories.owners]
        later = positive & ~first
        before = np.concatenate([[0], np.cumsum(later)])
        rank = before[:-1] - before[histories.offsets[histories.owners]]  # of a later positive, from 0
        enough = np.diff(before[histories.offsets]) >= most + REMAINING
        some, rows = histories.take(np.flatnonzero(enough)), enough[histories.owners]
        later, rank, first = later[rows], rank[rows], first[rows]
        grown = {step: first | (later & (rank < step)) for step in steps}
        return cls(
            lengths=some.lengths // 2,
            added=some.items[later & (rank < most)].reshape(-1, most),
            vectors={step: encode(some.keep_alone(mask)).astype(float) for step, mask in grown.items()},
            task=hold_out(some, later & (rank >= most), grown[most], name="last-20pct", note=""),
        )

    def updated(self, rule: Rule, table: NDArray[np.float64], after: int) -> NDArray[np.float64]:
        """Return (B, D) vectors after so many updates by a rule, which knows a row (N, ...) of each item."""
        vectors = self.vectors[0]
        for step in range(after):
            vectors = unit_rows(rule(vectors, table[self.added[:, step]], self.lengths + step))
        return vectors

    def cosine(self, rule: Rule, table: NDArray[np.float64]) -> float:
        """Return the mean cosine to the vectors of the longer histories, over all steps; that of no step is 1."""
        pairs = ((self.updated(rule, table, step), self.vectors[step]) for step in self.vectors)
        return float(np.mean([(found * exact).sum(axis=1).mean() for found, exact in pairs]))


def updated(data: str, full: bool, seed: int, model: str) -> dict[str, Any]:  # noqa: FBT001  JSON arguments of a process
    """Return how near updated vectors are to those of the longer history; called in a process of its own."""
    world, recommender = World.open(data, seed, full=full), load(model)
    encode: Encode = lambda histories: recommender.vectors(histories, "overall")  # noqa: E731  typed
    train, test = (
        Growth.of(some, world.prepared.scale.positive(some.ratings), encode, STEPS[full])
        for some in (world.users("train"), world.users("test"))
    )
    directions = unit_rows(recommender.item_directions)
    rule, formula = _fitted(train, directions)
    rules: dict[str, Rule] = {"not updated": lambda vectors, _rows, _lengths: vectors, "updated": rule}
    question = Question(test.task, DEPTH, len(world.genres))
    rows = []
    for after in STEPS[full][1:]:
        exact = test.vectors[after]
        ways = {"encoded again": exact}
        ways |= {name: test.updated(one, directions, after) for name, one in rules.items()}
        scores = {
            name: (found @ recommender.item_vectors.T).astype(np.float32) for name, found in ways.items()
        }
        gains = {name: question.gains(one) for name, one in scores.items()}
        rows += [
            {
                "after": after,
                "way": name,
                "users": len(test.lengths),
                "cosine": interval((found * exact).sum(axis=1), seed),
                "ndcg": interval(gains[name], seed),
                "difference": interval(gains[name] - gains["encoded again"], seed),
            }
            for name, found in ways.items()
        ]
    return {"rows": rows, "rule": formula}


def _fitted(train: Growth, directions: NDArray[np.float64]) -> tuple[Rule, dict[str, float]]:
    """Return the best rule that adds a share of the item's direction, a power of the history length, and its constants."""

    def rule_of(constants: NDArray[np.float64]) -> Rule:
        return lambda vectors, rows, lengths: (
            vectors + np.exp(constants[0] + constants[1] * np.log(lengths))[:, None] * rows
        )

    found = minimize(
        lambda constants: -train.cosine(rule_of(constants), directions), (0.0, -1.0), method="Nelder-Mead"
    )
    return rule_of(found.x), {"share": float(np.exp(found.x[0])), "power": float(found.x[1])}


# ---- movement ----


def moved(data: str, full: bool, seed: int, model: str) -> dict[str, Any]:  # noqa: FBT001  JSON arguments of a process
    """Return how far vectors move with more interactions, and how well that is predicted; called in a process of its own."""
    world, recommender = World.open(data, seed, full=full), load(model)
    users = np.flatnonzero(world.histories.lengths >= FROM + MORE)
    histories, splits = world.histories.take(users), world.splits[users]
    share = np.random.default_rng(seed).random(len(users))
    read = np.floor(FROM * ((histories.lengths - MORE) / FROM) ** share).astype(np.int64)  # log-uniform
    position = np.arange(len(histories.items)) - histories.offsets[histories.owners]
    early, late = (
        recommender.vectors(histories.keep_alone(position < some[histories.owners]), "overall")
        for some in (read, read + MORE)
    )
    distance = 1 - (early.astype(float) * late).sum(axis=1)
    test = np.flatnonzero(splits == "test")
    edges = np.quantile(read[test], (0.25, 0.5, 0.75))
    groups = [test, *(test[np.searchsorted(edges, read[test]) == group] for group in range(4))]
    rows = []
    for split in ("train", "validation"):
        limits = _limits(read, distance, splits == split)
        for group in groups:
            row: dict[str, Any] = {"fitted": split, "users": len(group)}
            row |= {"from": int(read[group].min()), "to": int(read[group].max())}
            row["moved"] = interval(distance[group], seed)
            for level, limit in limits.items():
                row[f"limit {level}"] = float(np.median(limit[group]))
                row[f"within {level}"] = interval((distance[group] <= limit[group]).astype(float), seed)
            rows.append(row)
    return {"rows": rows}


def _limits(
    read: NDArray[np.int64], distance: NDArray[np.float64], fit: NDArray[np.bool_]
) -> dict[int, NDArray[np.float64]]:
    """Return (B,) the distance that 50 % and 90 % of users stay within, which falls with the interactions read.

    These are quantiles of ten groups of equal size by length, made monotone, with straight lines of logarithms between them.
    """
    users = np.flatnonzero(fit)
    groups = np.array_split(users[np.argsort(read[users], kind="stable")], 10)
    logs, lengths = np.log(np.maximum(distance, 1e-9)), np.log(read)
    middles = [lengths[group].mean() for group in groups]
    found = {}
    for level in (50, 90):
        quantiles = [np.percentile(logs[group], level) for group in groups]
        falling = IsotonicRegression(increasing=False).fit_transform(middles, quantiles)
        found[level] = np.exp(np.interp(lengths, middles, falling))
    return found
