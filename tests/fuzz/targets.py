"""Fuzz targets: each file that tastevec reads from outside, and how it is read."""

from __future__ import annotations

import json
import os
import shutil
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import pyarrow.parquet as pq

import samples
import worlds
from tastevec.data import download
from tastevec.data import expressions as tables
from tastevec.data import http as transfer
from tastevec.data.intake.engine import DuckEngine
from tastevec.data.intake.report import Findings
from tastevec.data.intake.source import read_histories, read_source
from tastevec.data.intake.stated import intake_settings, item_settings
from tastevec.data.prepared import Prepared
from tastevec.data.value_scale import ValueScale
from tastevec.errors import TastevecError
from tastevec.evaluation.compare import compare
from tastevec.evaluation.dataset import EvalDataset
from tastevec.evaluation.lists import read_lists
from tastevec.evaluation.tables import report_text
from tastevec.items.cold_start import load_item_features
from tastevec.items.genome import read_genome
from tastevec.schema import BUNDLE_FILE, MANIFEST_FILE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HISTORIES = [
    f"histories/{name}.npy" for name in ("offsets", "items", "ratings", "normalized_ratings", "timestamps")
]
PREPARED = [
    "items.parquet",
    "users.parquet",
    "item_vectors.safetensors",
    "item_features.safetensors",
    *HISTORIES,
]
BUNDLE = [
    *("items.parquet", "config.json", "model.safetensors", "encoder.onnx"),
    *("item_cold_start.safetensors", "tags.safetensors", "map.safetensors"),
]


OPENED = ExitStack()  # running service clients


@dataclass(frozen=True)
class Target:
    """A file from an untrusted source.

    Attributes:
        sample: The folder of its example.
        file: Its path in that folder.
        read: Reads the example; returns a value that depends on the content.
        manifest: The manifest to write again with matching checksums, as an attacker would; None to leave it.
        manifest_text: Whether a checksum covers the file, so that each change must be detected.
        needs: The library that it needs.
    """

    sample: str
    file: str
    read: Callable[[Path], Any]
    manifest: str | None = None
    manifest_text: bool = False
    needs: str | None = None

    @property
    def name(self) -> str:
        """The name of the target, and of its folder in the corpus."""
        return f"{self.sample}-{self.file.replace('/', '-')}{'-resealed' if self.manifest else ''}"

    def valid(self, root: Path) -> bytes:
        """Return the unaltered file."""
        return (root / self.sample / self.file).read_bytes()

    def outcome(self, root: Path, altered: bytes) -> tuple[str, Any]:
        """Read the example with the altered file; return ``refused`` and the message, or ``read`` and the value.

        Errors other than TastevecError pass through.
        """
        folder = root / self.sample
        path, valid = folder / self.file, self.valid(root)
        original = (folder / self.manifest).read_bytes() if self.manifest else b""
        try:
            path.write_bytes(altered)
            if self.manifest:
                samples.reseal(folder, self.manifest, original)
            return "read", self.read(folder)
        except TastevecError as error:
            return "refused", str(error)
        finally:
            path.write_bytes(valid)
            if self.manifest:
                (folder / self.manifest).write_bytes(original)


def _source(folder: Path, **settings: Any) -> Any:
    connection = tables.connect("500MB", threads=1)
    try:
        read = read_source(
            folder, connection=connection, settings=intake_settings(settings), items=item_settings(settings)
        )
        return [len(connection.to_pyarrow(table)) for table in (read.interactions, read.items, read.tags)]
    finally:
        connection.disconnect()


def _lenient(folder: Path, *, tags: tuple[str, ...] = (), items: str | None = None, name: str = "") -> Any:
    """Read a source as with --bad-rows drop."""
    files = {"tags": [folder / file for file in tags], "items": folder / items if items else None}
    return _source(folder / name if name else folder, bad_rows="drop:50%", **files)


def _borrowed(folder: Path) -> Any:
    """Read a source with the tags of another release."""
    return _source(folder.parent / "ml-1m", tags=folder / "movie_tags.dat")


def _histories(folder: Path, *, name: str) -> Any:
    """Read the users of a file for a model."""
    connection = tables.connect("500MB", threads=1)
    try:
        read = read_histories(
            folder / name,
            engine=DuckEngine(connection),
            model=ValueScale.explicit(1, 5),
            settings=intake_settings({}),
            events={},
            findings=Findings(),
        )
        return len(connection.to_pyarrow(read.table))
    finally:
        connection.disconnect()


def _described(folder: Path, **files: str) -> Any:
    """Read a release with other files of items or relevances, which may meet none of its items."""
    named = {role: folder / name for role, name in files.items()}
    return _source(folder.parent / "ml-1m", accept=["unmatched-items", "unmatched-tags"], **named)


def _genome(folder: Path, *, skip: bool) -> Any:
    connection = tables.connect("500MB", threads=1)
    try:
        return len(read_genome(folder, connection, skip_bad_rows=skip).item_ids)
    finally:
        connection.disconnect()


def _prepared(folder: Path) -> Any:
    """Open a prepared dataset and read all that training reads first."""
    prepared = Prepared.open(folder)
    users = prepared.histories.take(prepared.users_in("train"))
    prepared.scale.bin_shares()
    load_item_features(folder)
    titles = prepared.items["title"].take(users.items)
    return prepared.fingerprint, len(titles), sorted(prepared.vectors), prepared.setting("order")


def _bundle(folder: Path, *, runtime: Any = "onnx") -> Any:
    """Load a model and call each method once."""
    from tastevec.serving.recommender import load  # noqa: PLC0415  the other targets do not need it

    model = load(folder, runtime=runtime)
    user = [tuple(row) for row in samples.USER]
    recommended = [model.recommend(user, k=2, horizon=horizon).to_pydict() for horizon in ("next", "overall")]
    if model.bundle.tags is not None:
        model.explain(user)
    if model.bundle.item_map is not None:
        model.bundle.item_map.locate(np.ones((1, 8), np.float32), model.item_vectors)
    return (
        recommended,
        model.similar_items(model.bundle.item_ids[0], k=2).to_pydict(),
        model.bundle.facts["space"],
    )


def _new_items(folder: Path, *, tagged: bool) -> Any:
    """Add new items to a model, with or without tags from a table in memory."""
    from tastevec.serving.recommender import load  # noqa: PLC0415  as above

    try:
        tags = pq.read_table(folder / "tags.parquet") if tagged else ()
    except Exception:  # noqa: BLE001  not a Parquet file
        return None
    return len(
        load(folder.parent / "bundle", runtime="onnx")
        .with_items(folder / "items.parquet", tags=tags)
        .bundle.items
    )


def _users(folder: Path) -> Any:
    """Read user vectors from a file, and load them into a mock database."""
    from tastevec.serving.neighbors import read_user_vectors  # noqa: PLC0415  as above
    from tastevec.serving.user_store import load_parquet  # noqa: PLC0415  as above

    load_parquet(mock.Mock(), folder / "vectors.parquet")
    return len(read_user_vectors(folder / "vectors.parquet", samples.SPACE, horizon="overall"))


def _table(folder: Path) -> Any:
    """Convert a table in memory to histories."""
    from tastevec.serving.interactions import parse  # noqa: PLC0415  as above
    from tastevec.serving.parsed_users import ModelReading  # noqa: PLC0415  as above

    try:
        table = pq.read_table(folder / "ratings.parquet")
    except Exception:  # noqa: BLE001  not a Parquet file
        return None
    indices = {str(item): index for index, item in enumerate(range(1, worlds.ITEMS + 1))}
    return len(parse(table, ModelReading(indices, ValueScale.explicit(1, 5))))


def _user(folder: Path) -> Any:
    """Convert a list of ratings of one user to a history."""
    from tastevec.serving.interactions import parse  # noqa: PLC0415  as above
    from tastevec.serving.parsed_users import ModelReading  # noqa: PLC0415  as above

    indices = {str(item): index for index, item in enumerate(range(1, worlds.ITEMS + 1))}
    return len(parse(_content(folder / "user.json"), ModelReading(indices, ValueScale.explicit(1, 5))))


def _content(path: Path) -> Any:
    """Return the parsed JSON, or the text if it is not JSON."""
    data = path.read_bytes()
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return data.decode("latin-1")


def _train_settings(folder: Path) -> Any:
    from tastevec.training.settings import resolve_settings  # noqa: PLC0415  as above

    settings = _content(folder / "train.json")
    settings = settings if isinstance(settings, dict) else {str(settings): settings}
    return resolve_settings(
        "taste", **{name: value for name, value in settings.items() if name != "preset"}
    ).epochs


def _prepare_settings(folder: Path) -> Any:
    """Validate settings only: the source does not exist."""
    from tastevec.pipelines.prepare import prepare  # noqa: PLC0415  as above

    settings = _content(folder / "prepare.json")
    settings = settings if isinstance(settings, dict) else {str(settings): settings}
    settings = {
        name: value for name, value in settings.items() if name not in {"source", "out", "progress", "engine"}
    }
    return prepare(folder / "nothing", folder.parent / "never", **settings)


def _service_settings(folder: Path) -> Any:
    from tastevec.serving.service.settings import read_settings  # noqa: PLC0415  as above

    settings = _content(folder / "service.json")
    settings = settings if isinstance(settings, dict) else {"TASTEVEC_RATE": settings}
    variables = {
        name.replace("\0", "").replace("=", "") or "A": str(value).replace("\0", "")
        for name, value in settings.items()
    }
    with mock.patch.dict(
        os.environ, {name: value.encode("utf-8", "replace").decode() for name, value in variables.items()}
    ):
        return read_settings().timeout_s


@cache
def _client(bundle: Path) -> Any:
    """Return a client of a service that runs until `OPENED` is closed."""
    from fastapi.testclient import TestClient  # noqa: PLC0415  as above

    from tastevec.serving.recommender import load  # noqa: PLC0415  as above
    from tastevec.serving.service.app import create_app  # noqa: PLC0415  as above
    from tastevec.serving.service.responses import AppState  # noqa: PLC0415  as above
    from tastevec.serving.service.settings import ServiceSettings  # noqa: PLC0415  as above

    served = AppState(load(bundle, runtime="onnx"), users=samples.users())
    client = OPENED.enter_context(TestClient(create_app(lambda: served, ServiceSettings())))
    while not client.app.state.pool.ready:  # type: ignore[attr-defined]  set by create_app
        time.sleep(0.001)
    return client


def _response(folder: Path, *, route: str) -> Any:
    """Send a request body; return the status code, which is never 5xx."""
    body, headers = (folder / f"{route}.json").read_bytes(), {"Content-Type": "application/json"}
    response = _client(folder.parent / "bundle").post(f"/v1/{route}", content=body, headers=headers)
    assert response.status_code < 500, response.text
    return response.status_code


def _results(folder: Path) -> Any:
    """Compare results with a copy, and read their tuned settings."""
    from tastevec.evaluation.registry import strong_baselines  # noqa: PLC0415  as above
    from tastevec.evaluation.tuning import read_tuned_settings  # noqa: PLC0415  as above

    with suppress(TastevecError):
        read_tuned_settings(
            folder,
            strong_baselines(scale=ValueScale.explicit(1, 5)),
            horizons=["overall"],
            fingerprint="f00d",
        )
    return report_text(compare([folder, folder.parent / "other"]))


def _lists(folder: Path, *, name: str) -> Any:
    """Return the lists of another system, and what was counted."""
    prepared = Prepared.open(folder.parent / "prepared")
    tasks, _ = EvalDataset.of(prepared).tasks(["last-20pct", "next-item"])
    runs = read_lists("mine", folder / name, tasks, prepared.item_ids, 10)
    return runs.settings, [run.ranked["last-20pct"].tolist() for run in runs.scorers]


def _unfinished(folder: Path) -> Any:
    from tastevec.training.checkpoints import last_checkpoint  # noqa: PLC0415  as above

    copied = shutil.copytree(folder, folder.parent / "copy", dirs_exist_ok=True)
    try:
        return last_checkpoint({"data": "a", "epochs": 3}, copied) is None
    finally:
        shutil.rmtree(copied)


def _fetched(folder: Path) -> Any:
    """Return whether the folder counts as fetched, and the origin of the partial download."""
    release = download.find_release("ml-1m")
    found = download._find_fetched(release, folder / "ml-1m", "auto")
    return found is not None, transfer._origin_of(folder / "ml-1m.zip.part", "http://a.example/a.zip")


SOURCES = [
    *(Target("ml-100k", file, _source) for file in ("u.data", "u.item", "u.genre")),
    *(Target("ml-1m", file, _source) for file in ("ratings.dat", "movies.dat")),
    *(Target("ml-10m", file, _lenient) for file in ("ratings.dat", "tags.dat")),
    *(Target("csv", file, _source) for file in ("ratings.csv", "movies.csv")),
    Target("csv", "tags.csv", _lenient),
    Target("csv", "genome-scores.csv", partial(_genome, skip=False)),
    Target("csv", "genome-tags.csv", partial(_genome, skip=True)),
    *(Target("recbole", file, _source) for file in ("tiny.inter", "tiny.item")),
    *(
        Target("own", file, partial(_lenient, items="items.csv", name="interactions.csv"))
        for file in ("interactions.csv", "items.csv")
    ),
    *(Target("hetrec", file, _borrowed) for file in ("movie_tags.dat", "tags.dat")),
    Target("zip", "ml-1m.zip", lambda folder: _source(folder / "ml-1m.zip")),
    *(
        Target("tables", name, partial(_histories, name=name))
        for name in ("ratings.parquet", "ratings.jsonl", "ratings.arrow", "dates.csv", "ratings.csv.gz")
    ),
    Target("tables", "items.parquet", partial(_described, items="items.parquet")),
    Target("tables", "items.csv", partial(_described, items="items.csv")),
    Target("tables", "relevance.csv", partial(_described, relevance="relevance.csv")),
    Target("fetched", "ml-1m/SOURCE.json", _fetched),
    Target("fetched", "ml-1m.zip.part.json", _fetched),
]
FOLDERS = [
    Target("prepared", MANIFEST_FILE, _prepared, manifest_text=True),
    *(Target("prepared", file, _prepared, manifest_text=True) for file in PREPARED),
    *(Target("prepared", file, _prepared, manifest=MANIFEST_FILE) for file in PREPARED),
    Target("results", "results.json", _results),
    Target("results", "per_user.parquet", _results),
    *(Target("lists", file, partial(_lists, name=file)) for file in ("lists.parquet", "lists.csv")),
]
NETWORKS = [
    Target("bundle", BUNDLE_FILE, _bundle, manifest_text=True, needs="torch"),
    *(Target("bundle", file, _bundle, manifest_text=True, needs="torch") for file in BUNDLE),
    *(Target("bundle", file, _bundle, manifest=BUNDLE_FILE, needs="torch") for file in BUNDLE),
    *(
        Target("unfinished", file, _unfinished, needs="torch")
        for file in ("settings.json", "checkpoint-4/trainer_state.json")
    ),
    Target("new-items", "items.parquet", partial(_new_items, tagged=False), needs="torch"),
    Target("new-items", "tags.parquet", partial(_new_items, tagged=True), needs="torch"),
]
INPUTS = [
    Target("tables", "vectors.parquet", _users),
    Target("memory", "ratings.parquet", _table),
    Target("inputs", "user.json", _user),
    Target("inputs", "train.json", _train_settings),
    Target("inputs", "prepare.json", _prepare_settings),
    Target("inputs", "service.json", _service_settings),
]
ROUTES = ("encode", "recommend", "similar-users", "explain", "steer", "similar-items")
REQUESTS = [
    Target("inputs", f"{route}.json", partial(_response, route=route), needs="torch") for route in ROUTES
]
TARGETS = {target.name: target for target in [*SOURCES, *FOLDERS, *NETWORKS, *INPUTS, *REQUESTS]}
