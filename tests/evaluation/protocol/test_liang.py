"""The published split and draw of Liang et al. 2018, against the procedure as pandas says it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from people import films_of, people
from tastevec.evaluation.dataset import Cohort
from tastevec.evaluation.tasks import LiangSplit, cases
from tastevec.pipelines.prepare import PrepareSettings
from tastevec.pipelines.prepare import write_prepared as prepare

if TYPE_CHECKING:
    from tastevec.data.prepared import Prepared

REAL = Path(__file__).parents[4] / "shared" / "data" / "ml-1m-5k"
SEED, LEAST = 98765, 5


def published(ratings: pd.DataFrame, heldout: int) -> dict[str, object]:
    """The people of each split, the films of the vocabulary, and what is known and hidden of each person."""
    likes = ratings[ratings["rating"] > 3.5].sort_values(["user", "film"])  # the order of ml-20m's rows
    likes = likes.groupby("user").filter(lambda rows: len(rows) >= LEAST)
    users = np.sort(likes["user"].unique())
    np.random.seed(SEED)  # noqa: NPY002 - as published
    users = users[np.random.permutation(len(users))]  # noqa: NPY002 - as published
    groups = {
        "train": users[: -2 * heldout],
        "validation": users[-2 * heldout : -heldout],
        "test": users[-heldout:],
    }
    vocabulary = set(likes[likes["user"].isin(groups["train"])]["film"])
    told: dict[str, object] = {"vocabulary": vocabulary}
    for name, members in groups.items():
        told[name] = set(members.tolist())
        if name != "train":
            chosen = likes[likes["user"].isin(members) & likes["film"].isin(vocabulary)]
            told[f"{name} known"], told[f"{name} hidden"] = _drawn(chosen)
    return told


def _drawn(likes: pd.DataFrame) -> tuple[dict[int, set[int]], dict[int, set[int]]]:
    known, hidden = {}, {}
    np.random.seed(SEED)  # noqa: NPY002 - as published
    for user, rows in likes.groupby("user"):
        films = rows["film"].to_numpy()
        if len(films) >= LEAST:
            drawn = np.random.choice(len(films), size=int(0.2 * len(films)), replace=False)  # noqa: NPY002 - as published
            hidden[user] = set(films[drawn].tolist())
            known[user] = set(np.delete(films, drawn).tolist())
    return known, hidden


def generated(seed: int, users: int = 240, films: int = 600) -> pd.DataFrame:
    """Half-star ratings of people with between 1 and 40 films, some of which hardly anybody liked."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in rng.permutation(np.arange(1, 3 * users, 3)):
        seen = rng.choice(films, size=rng.integers(1, 40), replace=False, p=_popularity(films))
        stars = rng.integers(1, 11, len(seen)) / 2
        rows += [
            (int(user), int(film) * 7 + 1, star, int(rng.integers(0, 10_000)))
            for film, star in zip(seen, stars, strict=True)
        ]
    return pd.DataFrame(rows, columns=["user", "film", "rating", "time"])


def _popularity(films: int) -> np.ndarray:
    weights = 1.0 / np.arange(1, films + 1)
    return weights / weights.sum()


def written(ratings: pd.DataFrame, place: Path) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    with (place / "ratings.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [["userId", "movieId", "rating", "timestamp"], *ratings.itertuples(index=False)]
        )
    films = [
        ["movieId", "title", "genres"],
        *([film, f"F{film}", "Drama"] for film in ratings["film"].unique()),
    ]
    with (place / "movies.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(films)
    return place


def assert_as_published(prepared: Prepared, ratings: pd.DataFrame, heldout: int) -> None:
    told = published(ratings, heldout)
    for split in ("train", "validation", "test"):
        assert set(prepared.user_ids[prepared.users_in(split)].tolist()) == told[split]
    ids = prepared.item_ids
    for split in ("validation", "test"):
        [task] = Cohort.of(prepared, split).tasks("fold-in")
        assert set(ids[task.candidates].tolist()) == told["vocabulary"]
        users = task.known.user_ids.tolist()
        hidden = {
            user: set(ids[task.targets[task.offsets[person] : task.offsets[person + 1]]].tolist())
            for person, user in enumerate(users)
        }
        assert hidden == told[f"{split} hidden"]
        known = {user: set(ids[films_of(task.known, person)].tolist()) for person, user in enumerate(users)}
        assert known == told[f"{split} known"]


@pytest.mark.parametrize("seed", [0, 1])
def test_people_and_hidden_films_are_the_published_ones_on_generated_data(tmp_path, seed):
    ratings = generated(seed)
    prepared = prepare(
        written(ratings, tmp_path / "source"),
        tmp_path / "out",
        settings=PrepareSettings(split="liang", heldout=40),
    )
    assert_as_published(prepared, ratings, heldout=40)
    [task] = Cohort.of(prepared).tasks("fold-in")
    assert task.left_out > 0  # somebody liked 5 films and fewer of them are in the vocabulary
    assert len(task.known.items) < len(prepared.histories.items)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real ml-1m-5k is not on this machine")
def test_people_and_hidden_films_are_the_published_ones_on_ml_1m_5k(tmp_path):
    text = (REAL / "ratings.dat").read_text(encoding="ascii").replace("::", " ")
    table = np.fromstring(text, dtype=np.int64, sep=" ").reshape(-1, 4)
    ratings = pd.DataFrame(table, columns=["user", "film", "rating", "time"])
    prepared = prepare(REAL, tmp_path / "out", settings=PrepareSettings(split="liang", heldout=500))
    assert_as_published(prepared, ratings, heldout=500)


LIKED = [
    [(film, 5, time) for time, film in enumerate(films)] for films in ((4, 2, 0, 1, 3), (3, 1, 5, 6, 7, 2))
]


def asked(histories, candidates):
    division = LiangSplit(np.isin(np.arange(10), candidates))
    return cases(histories, protocol="fold-in", rating_range=(1, 5), division=division)[0]


def test_lower_ratings_and_films_that_no_training_person_liked_are_neither_known_nor_hidden():
    history = [*LIKED[0], (8, 2, 9), (9, 5, 9)]
    task = asked(people(history), candidates=range(9))
    assert sorted([*task.targets.tolist(), *films_of(task.known, 0)]) == [0, 1, 2, 3, 4]
    assert task.candidates[8]
    assert not task.candidates[9]


def test_who_liked_fewer_than_five_of_the_films_is_left_out_and_draws_nothing():
    few = [(0, 5, 0), (1, 5, 1), (2, 5, 2), (3, 5, 3), (9, 5, 4)]
    alone, beside = asked(people(LIKED[1], ids=[2]), range(9)), asked(people(few, LIKED[1]), range(9))
    assert (beside.left_out, beside.known.user_ids.tolist()) == (1, [2])
    assert beside.targets.tolist() == alone.targets.tolist()


def test_the_draw_is_by_ascending_ids_whatever_the_order_of_people_and_films():
    task = asked(people(*LIKED), range(9))
    again = asked(people(LIKED[1][::-1], LIKED[0][::-1], ids=[2, 1]), range(9))
    assert task.targets[:1].tolist() == again.targets[1:].tolist()
    assert task.targets[1:].tolist() == again.targets[:1].tolist()


def test_alone_of_all_tasks_it_depends_on_who_is_asked_before():
    """The generator goes on from person to person; for some pair of people that changes what is hidden."""
    histories = [[(film, 5, film) for film in range(9)] for _ in range(6)]
    together = asked(people(*histories), range(9)).targets.tolist()
    alone = [
        asked(people(history, ids=[user]), range(9)).targets[0] for user, history in enumerate(histories, 1)
    ]
    assert len(set(alone)) == 1
    assert len(set(together)) > 1


def test_the_note_says_what_the_numbers_compare_with():
    note = asked(people(*LIKED), range(9)).note
    assert "Liang et al. 2018 (seed 98765)" in note
    assert "the 9 films that a training user liked are ranked" in note
    assert "ml-20m with 10,000 users held out" in note
