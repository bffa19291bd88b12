"""The user split and draw of Liang et al. 2018, against the published procedure in pandas."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from tastevec.data.value_scale import ValueScale
from tastevec.evaluation.dataset import EvalDataset
from tastevec.evaluation.tasks import LiangSplit, build_task
from tastevec.pipelines.prepare import PrepareSettings
from tastevec.pipelines.prepare import write_prepared as prepare
from users import items_of, users

if TYPE_CHECKING:
    from tastevec.data.prepared import Prepared

REAL = Path(__file__).parents[3] / "shared" / "data" / "ml-1m-5k"
SEED, LEAST = 98765, 5


def published(ratings: pd.DataFrame, held_out_users: int) -> dict[str, object]:
    """Return the users of each split, the candidates, and the input and held-out items of each user."""
    positives = ratings[ratings["rating"] > 3.5].sort_values(["user", "item"])  # the order of ml-20m's rows
    positives = positives.groupby("user").filter(lambda rows: len(rows) >= LEAST)
    users = np.sort(positives["user"].unique())
    np.random.seed(SEED)  # noqa: NPY002 - as published
    users = users[np.random.permutation(len(users))]  # noqa: NPY002 - as published
    groups = {
        "train": users[: -2 * held_out_users],
        "validation": users[-2 * held_out_users : -held_out_users],
        "test": users[-held_out_users:],
    }
    vocabulary = set(positives[positives["user"].isin(groups["train"])]["item"])
    found_text: dict[str, object] = {"vocabulary": vocabulary}
    for name, members in groups.items():
        found_text[name] = set(members.tolist())
        if name != "train":
            chosen = positives[positives["user"].isin(members) & positives["item"].isin(vocabulary)]
            found_text[f"{name} known"], found_text[f"{name} hidden"] = _drawn(chosen)
    return found_text


def _drawn(positives: pd.DataFrame) -> tuple[dict[int, set[int]], dict[int, set[int]]]:
    known, hidden = {}, {}
    np.random.seed(SEED)  # noqa: NPY002 - as published
    for user, rows in positives.groupby("user"):
        items = rows["item"].to_numpy()
        if len(items) >= LEAST:
            drawn = np.random.choice(len(items), size=int(0.2 * len(items)), replace=False)  # noqa: NPY002 - as published
            hidden[user] = set(items[drawn].tolist())
            known[user] = set(np.delete(items, drawn).tolist())
    return known, hidden


def generated(seed: int, users: int = 240, items: int = 600) -> pd.DataFrame:
    """Return half-star ratings of users with 1 to 40 items, some of them with few positives."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in rng.permutation(np.arange(1, 3 * users, 3)):
        seen = rng.choice(items, size=rng.integers(1, 40), replace=False, p=_popularity(items))
        stars = rng.integers(1, 11, len(seen)) / 2
        rows += [
            (int(user), int(item) * 7 + 1, star, int(rng.integers(1_000_000_000, 1_000_010_000)))
            for item, star in zip(seen, stars, strict=True)
        ]
    return pd.DataFrame(rows, columns=["user", "item", "rating", "time"])


def _popularity(items: int) -> np.ndarray:
    weights = 1.0 / np.arange(1, items + 1)
    return weights / weights.sum()


def written(ratings: pd.DataFrame, place: Path) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    with (place / "ratings.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [["userId", "movieId", "rating", "timestamp"], *ratings.itertuples(index=False)]
        )
    items = [
        ["movieId", "title", "genres"],
        *([item, f"F{item}", "Drama"] for item in ratings["item"].unique()),
    ]
    with (place / "movies.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(items)
    return place


def assert_as_published(prepared: Prepared, ratings: pd.DataFrame, held_out_users: int) -> None:
    found_text = published(ratings, held_out_users)
    for split in ("train", "validation", "test"):
        assert set(prepared.user_ids[prepared.users_in(split)].tolist()) == found_text[split]
    ids = prepared.item_ids
    for split in ("validation", "test"):
        task = EvalDataset.of(prepared, split).task("random-20pct")
        assert set(ids[task.candidates].tolist()) == found_text["vocabulary"]
        users = task.inputs.user_ids.tolist()
        hidden = {
            user: set(ids[task.targets[task.offsets[owner] : task.offsets[owner + 1]]].tolist())
            for owner, user in enumerate(users)
        }
        assert hidden == found_text[f"{split} hidden"]
        known = {user: set(ids[items_of(task.inputs, owner)].tolist()) for owner, user in enumerate(users)}
        assert known == found_text[f"{split} known"]


@pytest.mark.parametrize("seed", [0, 1])
def test_liang_split_equals_published_procedure_on_generated_data(tmp_path, seed):
    ratings = generated(seed)
    prepared = prepare(
        written(ratings, tmp_path / "source"),
        tmp_path / "out",
        settings=PrepareSettings(split_strategy="liang", held_out_users=40),
    )
    assert_as_published(prepared, ratings, held_out_users=40)
    task = EvalDataset.of(prepared).task("random-20pct")
    assert task.excluded_users > 0  # somebody liked 5 items and fewer of them are in the vocabulary
    assert len(task.inputs.items) < len(prepared.histories.items)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real ml-1m-5k is not on this machine")
def test_liang_split_equals_published_procedure_on_ml_1m_5k(tmp_path):
    text = (REAL / "ratings.dat").read_text(encoding="ascii").replace("::", " ")
    table = np.fromstring(text, dtype=np.int64, sep=" ").reshape(-1, 4)
    ratings = pd.DataFrame(table, columns=["user", "item", "rating", "time"])
    prepared = prepare(
        REAL, tmp_path / "out", settings=PrepareSettings(split_strategy="liang", held_out_users=500)
    )
    assert_as_published(prepared, ratings, held_out_users=500)


POSITIVES = [
    [(item, 5, time) for time, item in enumerate(items)] for items in ((4, 2, 0, 1, 3), (3, 1, 5, 6, 7, 2))
]


def task_record(histories, candidates):
    division = LiangSplit(np.isin(np.arange(10), candidates))
    return build_task("random-20pct", histories, scale=ValueScale.explicit(1, 5), split=division)


def test_liang_split_uses_candidate_positives_only():
    history = [*POSITIVES[0], (8, 2, 9), (9, 5, 9)]
    task = task_record(users(history), candidates=range(9))
    assert sorted([*task.targets.tolist(), *items_of(task.inputs, 0)]) == [0, 1, 2, 3, 4]
    assert task.candidates[8]
    assert not task.candidates[9]


def test_liang_split_excludes_users_below_five_positives():
    few = [(0, 5, 0), (1, 5, 1), (2, 5, 2), (3, 5, 3), (9, 5, 4)]
    alone, after = (
        task_record(users(POSITIVES[1], ids=[2]), range(9)),
        task_record(users(few, POSITIVES[1]), range(9)),
    )
    assert (after.excluded_users, after.inputs.user_ids.tolist()) == (1, [2])
    assert after.targets.tolist() == alone.targets.tolist()


def test_liang_split_draws_by_ascending_ids():
    task = task_record(users(*POSITIVES), range(9))
    again = task_record(users(POSITIVES[1][::-1], POSITIVES[0][::-1], ids=[2, 1]), range(9))
    assert task.targets[:1].tolist() == again.targets[1:].tolist()
    assert task.targets[1:].tolist() == again.targets[:1].tolist()


def test_liang_split_depends_on_previous_users():
    """One generator serves all users, so that held-out items depend on the users before."""
    histories = [[(item, 5, item) for item in range(9)] for _ in range(6)]
    together = task_record(users(*histories), range(9)).targets.tolist()
    alone = [
        task_record(users(history, ids=[user]), range(9)).targets[0]
        for user, history in enumerate(histories, 1)
    ]
    assert len(set(alone)) == 1
    assert len(set(together)) > 1


def test_liang_note_names_comparable_results():
    note = task_record(users(*POSITIVES), range(9)).note
    assert "Liang et al. 2018 (seed 98765)" in note
    assert "the 9 items with a positive rating of a training user are ranked" in note
    assert "ml-20m with 10,000 held-out users" in note
