"""Tiny valid examples of every file format that tastevec reads, each in its own folder."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

import worlds
from reports import lively
from tastevec.data.files import manifest_text
from tastevec.data.html import Chart
from tastevec.data.prepared import Prepared
from tastevec.evaluation.dataset import EvalDataset
from tastevec.evaluation.html_report import write_report
from tastevec.pipelines.prepare import PrepareSettings
from tastevec.pipelines.prepare import write_prepared as prepare
from users import world

if TYPE_CHECKING:
    from pathlib import Path

USER = [[1, 5.0], [2, 1.0], [11, 4.0]]
SPACE = "a space"


def write_samples(root: Path) -> Path:
    """Write all examples into ``root``, except the bundle, which needs torch."""
    worlds.write_100k(root / "ml-100k")
    worlds.write_1m(root / "ml-1m")
    worlds.write_10m(root / "ml-10m")
    worlds.write_recbole(root / "recbole")
    release = worlds.write_csv_release(root / "csv", genome=True)
    worlds.write_own_csv(root / "own")
    (root / "zip").mkdir()
    worlds.zip_folder(root / "ml-1m", root / "zip" / "ml-1m.zip")
    _tables(root / "tables")
    _hetrec(root / "hetrec")
    prepare(release, root / "prepared", settings=PrepareSettings(seed=1))
    with mock.patch(
        "tastevec.evaluation.html_report.draw", return_value=[Chart("none", "None", "Nothing.", b"")]
    ):
        write_report(lively(baselines=["popularity"], models=["ours"], users=10), root / "results")
    _lists(root / "lists", Prepared.open(root / "prepared"))
    _unfinished(root / "unfinished")
    _fetched(root / "fetched")
    _inputs(root / "inputs")
    return root


def _lists(folder: Path, prepared: Prepared) -> None:
    """Write the held-out items of a task as the lists of a system, as Parquet and CSV."""
    task = EvalDataset.of(prepared).task("last-20pct")
    ids = task.inputs.user_ids[np.repeat(np.arange(len(task)), task.held_out_items)]
    ranks = np.concatenate([np.arange(1, count + 1) for count in task.held_out_items])
    columns = {"user_id": ids, "item_id": prepared.item_ids[task.targets], "rank": ranks}
    table = pa.table({"task": ["last-20pct"] * len(ids), "run": [0] * len(ids), **columns})
    folder.mkdir()
    pq.write_table(table, folder / "lists.parquet")
    csv.write_csv(table, folder / "lists.csv")


def write_bundle(folder: Path, prepared: Path) -> Path:
    """Write a bundle with all optional parts and an untrained network."""
    from encoders import TASTE, encoder, reading  # noqa: PLC0415  torch
    from tastevec.items.cold_start import ColdStartModel, load_feature_rows  # noqa: PLC0415  as above
    from tastevec.items.item_map import ItemMap  # noqa: PLC0415  as above
    from tastevec.items.tag_directions import TagDirections  # noqa: PLC0415  as above
    from tastevec.serving.bundle import Bundle  # noqa: PLC0415  as above
    from tastevec.serving.explain import with_user_reference  # noqa: PLC0415  as above
    from tastevec.serving.recommender import Recommender  # noqa: PLC0415  as above
    from tastevec.training.settings import resolve_settings  # noqa: PLC0415  as above

    data, network = Prepared.open(prepared), encoder(**TASTE)
    items, counts = data.items.drop_columns(["vector_source"]), np.arange(1, worlds.ITEMS + 1)
    items = items.append_column("vector_source", pa.array(["both"] * worlds.ITEMS))
    read = load_feature_rows(prepared)
    facts = {
        "tastevec": "0.1.0",
        "data": {"name": "tiny", "fingerprint": data.fingerprint, "train_users": 12, "items": worlds.ITEMS},
        "settings": resolve_settings(dim=8).model_dump(),
        "validation": {"eval_validation_score": 0.5},
        "log": [{"loss": 1.5, "step": 1}],
        "space": SPACE,
    }
    coordinates = np.random.default_rng(1).random((worlds.ITEMS, 2)).astype(np.float32)
    bundle = Bundle(
        network,
        reading(max_history_overall=100),
        items.append_column("train_users", pa.array(counts)),
        facts,
        cold_start=ColdStartModel.fit(*read, network.table, counts),
        item_map=ItemMap(coordinates),
    )
    directions = np.random.default_rng(7).normal(size=(3, 8)).astype(np.float32)
    tags = TagDirections(("space", "tears", "robots"), directions, np.array([0.9, 0.8, 0.7], np.float32), {})
    tags = tags.with_reference("items", network.item_vectors)
    tags = with_user_reference(tags, Recommender(bundle).vectors, world())
    return replace(bundle, tags=tags).save(folder)


def reseal(folder: Path, manifest: str, original: bytes) -> None:
    """Write the manifest again with the checksums of the altered files, as an attacker would."""
    from hashlib import sha256  # noqa: PLC0415  used here only

    content = json.loads(original)
    content.pop("manifest_checksum", None)
    for key in ("files", "checksums"):
        for name, before in content.get(key, {}).items():
            data = (folder / name).read_bytes()
            digest = sha256(data).hexdigest()
            content[key][name] = (
                {"bytes": len(data), "sha256": digest} if isinstance(before, dict) else digest
            )
    (folder / manifest).write_text(manifest_text(content), encoding="utf-8")


def _tables(folder: Path) -> None:
    """Write Parquet tables of a user, and vectors as ``encode`` writes them."""
    folder.mkdir()
    users, items, stars, times = zip(*worlds.ratings(), strict=True)
    contents = {
        "user_id": users,
        "item_id": items,
        "rating": [float(star) for star in stars],
        "timestamp": times,
    }
    table = pa.table(contents)
    pq.write_table(table, folder / "ratings.parquet")
    with pa.ipc.new_file(folder / "ratings.arrow", table.schema) as file:
        file.write_table(table)
    lines = "".join(json.dumps(row) + "\n" for row in table.to_pylist())
    (folder / "ratings.jsonl").write_text(lines)
    dates = [f"{datetime.fromtimestamp(time, UTC):%d.%m.%Y %H:%M}" for time in times]
    rows = [
        f'{user};"{item}";{stars:.1f};{date}'.replace(".", ",", 1)
        for user, item, stars, date in zip(users, items, contents["rating"], dates, strict=True)
    ]
    (folder / "dates.csv").write_text("\n".join(["User-ID;ISBN;Book-Rating;rated_at", *rows, ""]))
    (folder / "ratings.csv.gz").write_bytes(gzip.compress((folder / "dates.csv").read_bytes(), mtime=0))
    described = [
        "item_id,title,brand,plot,pages,avg_rating",
        *(
            f'{n},"Book {n}",{"ab"[n % 2]},"A man, a plan, a canal and {n} more words",{100 + n},4.{n}'
            for n in range(1, 21)
        ),
    ]
    (folder / "items.csv").write_text("\n".join([*described, ""]))
    relevances = [f"{n},{tag},0.{n % 9}" for n in range(1, 21) for tag in ("space", "tears")]
    (folder / "relevance.csv").write_text("\n".join(["item_id,tag,relevance", *relevances, ""]))
    indices = worlds.items()
    listed = {
        "item_id": [100 + item.item for item in indices],
        "title": [item.title for item in indices],
        "year": pa.array([item.year for item in indices], pa.int32()),
        "genres": [list(item.genres) for item in indices],
    }
    pq.write_table(pa.table(listed), folder / "items.parquet")
    pq.write_table(
        pa.table({"item_id": [101, 102], "tag": ["space", "tears"], "weight": [1.0, 2.0]}),
        folder / "tags.parquet",
    )
    flat = pa.array(np.linspace(-1, 1, 3 * 8).astype(np.float32))
    vectors = pa.table({"user_id": [1, 2, 3], "vector": pa.FixedSizeListArray.from_arrays(flat, 8)})
    metadata = {"space": SPACE, "horizon": "overall"}
    pq.write_table(vectors.replace_schema_metadata(metadata), folder / "vectors.parquet")


def users() -> Any:
    """Return the stored user vectors of the service."""
    from tastevec.serving.neighbors import Neighbors  # noqa: PLC0415  an extra

    return Neighbors(np.array([7, 9, 12]), np.eye(3, 8, dtype=np.float32))


def _hetrec(folder: Path) -> None:
    folder.mkdir()
    (folder / "tags.dat").write_text("id\tvalue\n1\tspace\n2\ttears\n")
    (folder / "movie_tags.dat").write_text("movieID\ttagID\ttagWeight\n1\t1\t5\n11\t2\t3\n")


def _unfinished(folder: Path) -> None:
    (folder / "checkpoint-4").mkdir(parents=True)
    (folder / "settings.json").write_text(json.dumps({"data": "a", "epochs": 3}))
    (folder / "checkpoint-4" / "trainer_state.json").write_text(json.dumps({"global_step": 4, "epoch": 1.0}))


def _fetched(folder: Path) -> None:
    """Write a fetched release, and the partial files of an interrupted download."""
    release = worlds.write_1m(folder / "ml-1m")
    members = {}
    for file in sorted(release.iterdir()):
        from hashlib import sha256  # noqa: PLC0415  used here only

        members[file.name] = {"bytes": file.stat().st_size, "sha256": sha256(file.read_bytes()).hexdigest()}
    contents = {"format": 1, "name": "ml-1m", "used_source": "url", "address": "http://a.example/a.zip"}
    contents |= {"terms": "none", "citation": "none", "bytes": 10, "checksum": None, "tried": []}
    (release / "SOURCE.json").write_text(json.dumps(contents | {"members": members}))
    (folder / "ml-1m.zip.part").write_bytes(b"PK\x03\x04")
    begun = {"address": "http://a.example/a.zip", "validator": '"1"', "total": 10}
    (folder / "ml-1m.zip.part.json").write_text(json.dumps(begun))


def _inputs(folder: Path) -> None:
    """Write inputs that are no files in use: settings, variables, ratings of one user, request bodies."""
    folder.mkdir()
    contents = {
        "train.json": {"epochs": "3", "learning_rate": "0.001", "time_gaps": "true"},
        "prepare.json": {"seed": 1, "preset": "taste", "memory": "500MB", "rating_range": [1, 5]},
        "service.json": {
            "TASTEVEC_RATE": "600/minute",
            "TASTEVEC_TIMEOUT_S": "10",
            "TASTEVEC_TOKEN": "secret",
        },
        "user.json": USER,
        "recommend.json": {
            "users": [{"interactions": [{"item_id": 1, "value": 4.5}]}],
            "k": 3,
            "tags": {"space": 1},
        },
        "explain.json": {
            "users": [{"interactions": [{"item_id": 1, "value": 4.5, "timestamp": 5}]}],
            "tags": 2,
        },
        "steer.json": {"vectors": [[0.5] * 8], "tags": {"tears": -1.5}, "hold": 0.5},
        "encode.json": {
            "users": [{"interactions": [{"item_id": 1, "value": 4.5}]}, {"interactions": []}],
            "horizon": "next",
        },
        "similar-users.json": {"users": [{"interactions": [{"item_id": 1, "value": 1}]}], "k": 2},
        "similar-items.json": {"item_ids": [1, 2], "k": 3},
    }
    for name, value in contents.items():
        (folder / name).write_text(json.dumps(value))
