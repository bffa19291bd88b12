"""Everything that reads what others wrote: which file of which example is altered, and how it is read."""

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
from tastevec.data import download as archives
from tastevec.data import expressions as tables
from tastevec.data import http as transfer
from tastevec.data.inputs import RatingScale
from tastevec.data.prepared import Prepared
from tastevec.data.readers import ReadSettings, read_interactions, read_items, read_source
from tastevec.errors import TastevecError
from tastevec.evaluation.compare import compare
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


OPENED = ExitStack()  # services that are asked


@dataclass(frozen=True)
class Target:
    """A file that somebody else may have written.

    Attributes:
        sample: The example that it is of.
        file: Its name there.
        read: Reads the example, and says something of what was read.
        manifest: The manifest that is written again for the altered file, as one does who means harm; none where it is not.
        manifest_text: Whether a checksum covers it, so that whatever is altered must be noticed.
        needs: A library without which it is left out.
    """

    sample: str
    file: str
    read: Callable[[Path], Any]
    manifest: str | None = None
    manifest_text: bool = False
    needs: str | None = None

    @property
    def name(self) -> str:
        """What it is called, as a folder of the corpus is."""
        return f"{self.sample}-{self.file.replace('/', '-')}{'-resealed' if self.manifest else ''}"

    def valid(self, place: Path) -> bytes:
        """The file as it should be."""
        return (place / self.sample / self.file).read_bytes()

    def outcome(self, place: Path, altered: bytes) -> tuple[str, Any]:
        """Read the example with the file altered: ``refused`` and the sentence, or ``read`` and what was.

        Any error that is none of ours passes through.
        """
        folder = place / self.sample
        path, valid = folder / self.file, self.valid(place)
        told = (folder / self.manifest).read_bytes() if self.manifest else b""
        try:
            path.write_bytes(altered)
            if self.manifest:
                samples.reseal(folder, self.manifest, told)
            return "read", self.read(folder)
        except TastevecError as error:
            return "refused", str(error)
        finally:
            path.write_bytes(valid)
            if self.manifest:
                (folder / self.manifest).write_bytes(told)


def _source(folder: Path, **settings: Any) -> Any:
    connection = tables.connect("500MB", threads=1)
    try:
        read = read_source(folder, connection=connection, settings=ReadSettings(**settings))
        return [len(connection.to_pyarrow(table)) for table in (read.interactions, read.items, read.tags)]
    finally:
        connection.disconnect()


def _lenient(folder: Path, *, tags: tuple[str, ...] = (), items: str | None = None, name: str = "") -> Any:
    """As with --skip-bad-rows."""
    files = {"tags": tuple(folder / file for file in tags), "items": folder / items if items else None}
    return _source(folder / name if name else folder, skip_bad_rows=True, **files)


def _borrowed(folder: Path) -> Any:
    """Tags of another release."""
    return _source(folder.parent / "ml-1m", tags=(folder / "movie_tags.dat",))


def _interactions(folder: Path, *, name: str) -> Any:
    connection = tables.connect("500MB", threads=1)
    try:
        table, _ = read_interactions(folder / name, connection=connection, settings=ReadSettings())
        return len(connection.to_pyarrow(table))
    finally:
        connection.disconnect()


def _items(folder: Path) -> Any:
    connection = tables.connect("500MB", threads=1)
    try:
        items, _, _ = read_items(folder / "films.parquet", connection=connection, settings=ReadSettings())
        return len(connection.to_pyarrow(items))
    finally:
        connection.disconnect()


def _genome(folder: Path, *, skip: bool) -> Any:
    connection = tables.connect("500MB", threads=1)
    try:
        return len(read_genome(folder, connection, skip_bad_rows=skip).item_ids)
    finally:
        connection.disconnect()


def _prepared(folder: Path) -> Any:
    """Opened, and everything looked at that a training looks at first."""
    prepared = Prepared.open(folder)
    users = prepared.histories.take(prepared.users_in("train"))
    RatingScale.of(prepared.rating_range)
    load_item_features(folder)
    titles = prepared.items["title"].take(users.items)
    return prepared.fingerprint, len(titles), sorted(prepared.vectors), prepared.setting("order")


def _bundle(folder: Path, *, runtime: Any = "onnx") -> Any:
    """Loaded, and asked everything once."""
    from tastevec.serving.recommender import load  # noqa: PLC0415  who has no torch has the rest

    model = load(folder, runtime=runtime)
    user = [tuple(row) for row in samples.PERSON]
    told = [model.recommend(user, k=2, horizon=horizon).to_pydict() for horizon in ("next", "overall")]
    if model.bundle.tags is not None:
        model.explain(user)
    if model.bundle.item_map is not None:
        model.bundle.item_map.locate(np.ones((1, 8), np.float32), model.item_vectors)
    return told, model.similar_items(model.bundle.item_ids[0], k=2).to_pydict(), model.bundle.facts["space"]


def _arrivals(folder: Path, *, tagged: bool) -> Any:
    """Films that a model does not know, with tags from a table in memory or without."""
    from tastevec.serving.recommender import load  # noqa: PLC0415  as above

    try:
        tags = pq.read_table(folder / "tags.parquet") if tagged else ()
    except Exception:  # noqa: BLE001  what Arrow cannot read is no table
        return None
    return len(
        load(folder.parent / "bundle", runtime="onnx")
        .with_items(folder / "films.parquet", tags=tags)
        .bundle.items
    )


def _users(folder: Path) -> Any:
    """Vectors of people, from a file; and as they are put into the database."""
    from tastevec.serving.neighbors import read_user_vectors  # noqa: PLC0415  as above
    from tastevec.serving.user_store import load_parquet  # noqa: PLC0415  as above

    load_parquet(mock.Mock(), folder / "vectors.parquet")
    return len(read_user_vectors(folder / "vectors.parquet", samples.SPACE, horizon="overall"))


def _told(folder: Path) -> Any:
    """A table in memory."""
    from tastevec.serving.ratings import table_histories  # noqa: PLC0415  as above

    try:
        table = pq.read_table(folder / "ratings.parquet")
    except Exception:  # noqa: BLE001  what Arrow cannot read is no table
        return None
    ids = np.arange(1, worlds.ITEMS + 1)
    return [len(group) for group in table_histories(table, ids, RatingScale(1, 5))]


def _user(folder: Path) -> Any:
    """A list of ratings of one user."""
    from tastevec.serving.ratings import list_history  # noqa: PLC0415  as above

    indices = {str(item): index for index, item in enumerate(range(1, worlds.ITEMS + 1))}
    return len(list_history(_words(folder / "person.json"), indices, RatingScale(1, 5)).items)


def _words(path: Path) -> Any:
    """Whatever a caller may say; what is no JSON is a text."""
    held = path.read_bytes()
    try:
        return json.loads(held)
    except (ValueError, RecursionError):
        return held.decode("latin-1")


def _train_settings(folder: Path) -> Any:
    from tastevec.training.settings import resolve_settings  # noqa: PLC0415  as above

    told = _words(folder / "train.json")
    told = told if isinstance(told, dict) else {str(told): told}
    return resolve_settings(
        "taste", **{name: value for name, value in told.items() if name != "preset"}
    ).epochs


def _prepare_settings(folder: Path) -> Any:
    """Only what is said of it: a source that is not there ends it."""
    from tastevec.pipelines.prepare import prepare  # noqa: PLC0415  as above

    told = _words(folder / "prepare.json")
    told = told if isinstance(told, dict) else {str(told): told}
    told = {
        name: value for name, value in told.items() if name not in {"source", "out", "progress", "engine"}
    }
    return prepare(folder / "nothing", folder.parent / "never", **told)


def _service_settings(folder: Path) -> Any:
    from tastevec.serving.service.settings import read_settings  # noqa: PLC0415  as above

    told = _words(folder / "service.json")
    told = told if isinstance(told, dict) else {"TASTEVEC_RATE": told}
    said = {
        name.replace("\0", "").replace("=", "") or "A": str(value).replace("\0", "")
        for name, value in told.items()
    }
    with mock.patch.dict(
        os.environ, {name: value.encode("utf-8", "replace").decode() for name, value in said.items()}
    ):
        return read_settings().timeout_s


@cache
def _client(bundle: Path) -> Any:
    """A client of the service, which runs until `OPENED` is closed."""
    from fastapi.testclient import TestClient  # noqa: PLC0415  as above

    from tastevec.serving.recommender import load  # noqa: PLC0415  as above
    from tastevec.serving.service.app import create_app  # noqa: PLC0415  as above
    from tastevec.serving.service.responses import AppState  # noqa: PLC0415  as above
    from tastevec.serving.service.settings import ServiceSettings  # noqa: PLC0415  as above

    served = AppState(load(bundle, runtime="onnx"), users=samples.users())
    client = OPENED.enter_context(TestClient(create_app(lambda: served, ServiceSettings())))
    while not client.app.state.lifecycle.ready:  # type: ignore[attr-defined]  our own
        time.sleep(0.001)
    return client


def _asked(folder: Path, *, route: str) -> Any:
    """What the service answers to a body; a fault of its own would be raised here."""
    body, said = (folder / f"{route}.json").read_bytes(), {"Content-Type": "application/json"}
    answer = _client(folder.parent / "bundle").post(f"/v1/{route}", content=body, headers=said)
    assert answer.status_code < 500, answer.text
    return answer.status_code


def _results(folder: Path) -> Any:
    """Compared with itself under another name, and read for what was tuned."""
    from tastevec.evaluation.registry import strong_baselines  # noqa: PLC0415  as above
    from tastevec.evaluation.tuning import read_tuned_settings  # noqa: PLC0415  as above

    with suppress(TastevecError):
        read_tuned_settings(
            folder, strong_baselines(rating_range=(1, 5)), horizons=["overall"], fingerprint="f00d"
        )
    return report_text(compare([folder, folder.parent / "other"]))


def _unfinished(folder: Path) -> Any:
    from tastevec.training.checkpoints import last_checkpoint  # noqa: PLC0415  as above

    whole = shutil.copytree(folder, folder.parent / "copy", dirs_exist_ok=True)
    try:
        return last_checkpoint({"data": "a", "epochs": 3}, whole) is None
    finally:
        shutil.rmtree(whole)


def _fetched(folder: Path) -> Any:
    """Whether it is taken for what was fetched; what is not is fetched again."""
    release = download.find_release("ml-1m")
    found = download._find_fetched(release, folder / "ml-1m", "auto")
    return found is not None, transfer._origin_of(folder / "ml-1m.zip.part", "http://a.example/a.zip")


def _unpacked(folder: Path) -> Any:
    into = folder.parent / "into"
    into.mkdir(exist_ok=True)
    try:
        return sorted(archives.unpack(folder / "ml-1m.zip", into, required=("ratings.dat",), origin="here"))
    finally:
        shutil.rmtree(into)


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
    Target("tables", "ratings.parquet", partial(_interactions, name="ratings.parquet")),
    Target("tables", "films.parquet", _items),
    Target("fetched", "ml-1m/SOURCE.json", _fetched),
    Target("fetched", "ml-1m.zip.part.json", _fetched),
]
FOLDERS = [
    Target("prepared", MANIFEST_FILE, _prepared, manifest_text=True),
    *(Target("prepared", file, _prepared, manifest_text=True) for file in PREPARED),
    *(Target("prepared", file, _prepared, manifest=MANIFEST_FILE) for file in PREPARED),
    Target("results", "results.json", _results),
    Target("results", "per_user.parquet", _results),
]
NETWORKS = [
    Target("bundle", BUNDLE_FILE, _bundle, manifest_text=True, needs="torch"),
    *(Target("bundle", file, _bundle, manifest_text=True, needs="torch") for file in BUNDLE),
    *(Target("bundle", file, _bundle, manifest=BUNDLE_FILE, needs="torch") for file in BUNDLE),
    *(
        Target("unfinished", file, _unfinished, needs="torch")
        for file in ("settings.json", "checkpoint-4/trainer_state.json")
    ),
    Target("arrivals", "films.parquet", partial(_arrivals, tagged=False), needs="torch"),
    Target("arrivals", "tags.parquet", partial(_arrivals, tagged=True), needs="torch"),
]
TOLD = [
    Target("tables", "vectors.parquet", _users),
    Target("told", "ratings.parquet", _told),
    Target("words", "person.json", _user),
    Target("words", "train.json", _train_settings),
    Target("words", "prepare.json", _prepare_settings),
    Target("words", "service.json", _service_settings),
]
ROUTES = ("encode", "recommend", "similar-users", "explain", "steer", "similar-items")
ASKED = [Target("words", f"{route}.json", partial(_asked, route=route), needs="torch") for route in ROUTES]
TARGETS = {target.name: target for target in [*SOURCES, *FOLDERS, *NETWORKS, *TOLD, *ASKED]}
