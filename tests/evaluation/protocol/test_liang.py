"""The published split and draw of Liang et al. 2018, against the procedure as pandas says it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from tastevec.evaluation.dataset import EvalDataset
from tastevec.evaluation.tasks import LiangSplit, build_task
from tastevec.pipelines.prepare import PrepareSettings
from tastevec.pipelines.prepare import write_prepared as prepare
from users import items_of, users

if TYPE_CHECKING:
    from tastevec.data.prepared import Prepared

REAL = Path(__file__).parents[4] / "shared" / "data" / "ml-1m-5k"
SEED, LEAST = 98765, 5


def published(ratings: pd.DataFrame, held_out_users: int) -> dict[str, object]:
    """The people of each split, the films of the vocabulary, and what is known and hidden of each person."""
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
    told: dict[str, object] = {"vocabulary": vocabulary}
    for name, members in groups.items():
        told[name] = set(members.tolist())
        if name != "train":
            chosen = positives[positives["user"].isin(members) & positives["item"].isin(vocabulary)]
            told[f"{name} known"], told[f"{name} hidden"] = _drawn(chosen)
    return told


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
    """Half-star ratings of people with between 1 and 40 films, some of which hardly anybody liked."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in rng.permutation(np.arange(1, 3 * users, 3)):
        seen = rng.choice(items, size=rng.integers(1, 40), replace=False, p=_popularity(items))
        stars = rng.integers(1, 11, len(seen)) / 2
        rows += [
            (int(user), int(item) * 7 + 1, star, int(rng.integers(0, 10_000)))
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
    told = published(ratings, held_out_users)
    for split in ("train", "validation", "test"):
        assert set(prepared.user_ids[prepared.users_in(split)].tolist()) == told[split]
    ids = prepared.item_ids
    for split in ("validation", "test"):
        task = EvalDataset.of(prepared, split).task("random-20pct")
        assert set(ids[task.candidates].tolist()) == told["vocabulary"]
        users = task.inputs.user_ids.tolist()
        hidden = {
            user: set(ids[task.targets[task.offsets[owner] : task.offsets[owner + 1]]].tolist())
            for owner, user in enumerate(users)
        }
        assert hidden == told[f"{split} hidden"]
        known = {user: set(ids[items_of(task.inputs, owner)].tolist()) for owner, user in enumerate(users)}
        assert known == told[f"{split} known"]


@pytest.mark.parametrize("seed", [0, 1])
def test_people_and_hidden_films_are_the_published_ones_on_generated_data(tmp_path, seed):
    ratings = generated(seed)
    prepared = prepare(
        written(ratings, tmp_path / "source"),
        tmp_path / "out",
        settings=PrepareSettings(split_strategy="liang", held_out_users=40),
    )
    assert_as_published(prepared, ratings, held_out_users=40)
    task = EvalDataset.of(prepared).task("random-20pct")
    assert task.excluded_users > 0  # somebody liked 5 films and fewer of them are in the vocabulary
    assert len(task.inputs.items) < len(prepared.histories.items)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real ml-1m-5k is not on this machine")
def test_people_and_hidden_films_are_the_published_ones_on_ml_1m_5k(tmp_path):
    text = (REAL / "ratings.dat").read_text(encoding="ascii").replace("::", " ")
    table = np.fromstring(text, dtype=np.int64, sep=" ").reshape(-1, 4)
    ratings = pd.DataFrame(table, columns=["user", "item", "rating", "time"])
    prepared = prepare(
        REAL, tmp_path / "out", settings=PrepareSettings(split_strategy="liang", held_out_users=500)
    )
    assert_as_published(prepared, ratings, held_out_users=500)


LIKED = [
    [(item, 5, time) for time, item in enumerate(items)] for items in ((4, 2, 0, 1, 3), (3, 1, 5, 6, 7, 2))
]


def asked(histories, candidates):
    division = LiangSplit(np.isin(np.arange(10), candidates))
    return build_task("random-20pct", histories, rating_range=(1, 5), split=division)


def test_lower_ratings_and_films_that_no_training_person_liked_are_neither_known_nor_hidden():
    history = [*LIKED[0], (8, 2, 9), (9, 5, 9)]
    task = asked(users(history), candidates=range(9))
    assert sorted([*task.targets.tolist(), *items_of(task.inputs, 0)]) == [0, 1, 2, 3, 4]
    assert task.candidates[8]
    assert not task.candidates[9]


def test_who_liked_fewer_than_five_of_the_films_is_left_out_and_draws_nothing():
    few = [(0, 5, 0), (1, 5, 1), (2, 5, 2), (3, 5, 3), (9, 5, 4)]
    alone, beside = asked(users(LIKED[1], ids=[2]), range(9)), asked(users(few, LIKED[1]), range(9))
    assert (beside.excluded_users, beside.inputs.user_ids.tolist()) == (1, [2])
    assert beside.targets.tolist() == alone.targets.tolist()


def test_the_draw_is_by_ascending_ids_whatever_the_order_of_people_and_films():
    task = asked(users(*LIKED), range(9))
    again = asked(users(LIKED[1][::-1], LIKED[0][::-1], ids=[2, 1]), range(9))
    assert task.targets[:1].tolist() == again.targets[1:].tolist()
    assert task.targets[1:].tolist() == again.targets[:1].tolist()


def test_alone_of_all_tasks_it_depends_on_who_is_asked_before():
    """The generator goes on from person to person; for some pair of people that changes what is hidden."""
    histories = [[(item, 5, item) for item in range(9)] for _ in range(6)]
    together = asked(users(*histories), range(9)).targets.tolist()
    alone = [
        asked(users(history, ids=[user]), range(9)).targets[0] for user, history in enumerate(histories, 1)
    ]
    assert len(set(alone)) == 1
    assert len(set(together)) > 1


def test_the_note_says_what_the_numbers_compare_with():
    note = asked(users(*LIKED), range(9)).note
    assert "Liang et al. 2018 (seed 98765)" in note
    assert "the 9 items with a positive rating of a training user are ranked" in note
    assert "ml-20m with 10,000 held-out users" in note
