from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

import worlds
from people import people, plain_cohort, world
from tastevec.errors import FormatError
from tastevec.evaluation.baselines import EASE, Constant, MeanLiked, Popularity
from tastevec.evaluation.trial import evaluate

FROM = 4.0


@pytest.fixture(scope="module")
def report():
    """Two systems and two floors; one hidden film has no vector."""
    space = np.random.default_rng(0).standard_normal((worlds.FILMS, 3)).astype(np.float32)
    train, unseen = np.array([0, 1, 2, 3, 6, 7, 8, 9]), np.array([4, 5, 10, 11])
    cohort = plain_cohort(world().take(train), world().take(unseen), worlds.FILMS, (1.0, 5.0))
    return evaluate(
        [EASE(liked_from=FROM, ridge=1.0), MeanLiked(space, space="s", liked_from=FROM)],
        cohort,
        floors=[Popularity(liked_from=FROM), Constant(space, space="s", liked_from=FROM)],
    )


def test_the_files_hold_what_was_measured(report, tmp_path):
    report.write(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8")) == report.to_json()
    per_user = pq.read_table(tmp_path / "out" / "per_user.parquet").to_pandas()
    assert len(per_user) == 4 * 4 * 4  # systems, tasks, users
    means = per_user.groupby(["system", "task"], observed=True).mean(numeric_only=True)
    for row in report.rows:
        assert means.loc[(row.system, row.task), row.metric] == pytest.approx(row.mean)
    assert per_user.loc[per_user.system == "EASE", "cosine_distance"].isna().all()
    assert set(per_user.user_id) == {5, 6, 11, 12}
    assert (per_user.known_films + per_user.hidden_films <= 16).all()


def test_the_json_says_how_it_was_measured(report):
    found = report.to_json()
    assert found["format_version"] == 1
    assert found["settings"] == {"at": [10, 20, 50, 100], "seed": 42, "resamples": 1000, "interval": 0.95}
    assert [task["task"] for task in found["tasks"]] == ["best-rated", "fold-in", "next-liked", "last-20%"]
    assert [(system["system"], system["floor"]) for system in found["systems"]] == [
        ("popularity", True),
        ("constant (s)", True),
        ("EASE", False),
        ("mean of liked (s)", False),
    ]
    assert {skill["system"] for skill in found["skill"]} == {"EASE", "mean of liked (s)"}
    assert all(system["fit_seconds"] >= 0 for system in found["systems"])


def test_what_could_not_be_measured_is_null_in_the_json_and_a_dash_in_the_table():
    space = np.array([[1, 0], [0, 0]], np.float32)  # the hidden film has no vector
    cohort = plain_cohort(people([(0, 5)], ids=[9]), people([(0, 3), (1, 5)]), 2, (1.0, 5.0))
    report = evaluate([MeanLiked(space, space="s", liked_from=FROM)], cohort, protocols=["best-rated"])
    [row] = [row for row in report.to_json()["rows"] if row["metric"] == "cosine_distance"]
    assert (row["mean"], row["low"], row["users"]) == (None, None, 0)
    assert report.table().splitlines()[-1].split()[-2:] == ["-", "-"]


def test_a_floor_that_is_perfect_leaves_no_room_for_skill():
    cohort = plain_cohort(people([(1, 5)], ids=[9]), people([(0, 3), (1, 5)]), 2, (1.0, 5.0))
    floor, system = Popularity(liked_from=FROM), EASE(liked_from=FROM)
    report = evaluate([system], cohort, floors=[floor], protocols=["best-rated"], at=[1])
    assert {skill["skill"] for skill in report.to_json()["skill"]} == {None}


def test_the_table_shows_each_task_with_its_headline_metrics(report):
    blocks = report.table().split("\n\n")
    assert [block.split(":")[0] for block in blocks[::2]] == [
        "best-rated",
        "fold-in",
        "next-liked",
        "last-20%",
    ]
    assert blocks[2].startswith("fold-in: 4 users asked, 0 left out.")
    header, rule, *lines = blocks[3].splitlines()
    assert header.split("  ")[0] == "system"
    assert "recall@20" in header
    assert "cosine distance centred" in header
    assert set(rule) == {"-", " "}
    assert [line.split("  ")[0] for line in lines] == [
        "popularity",
        "constant (s)",
        "EASE",
        "mean of liked (s)",
    ]
    assert "hr@10" in blocks[5]


def test_the_markdown_table_has_the_same_cells(report):
    plain, marked = report.table().splitlines(), report.table("markdown").splitlines()
    for line, other in zip(plain, marked, strict=True):
        assert line.split() == [word for word in other.split() if word != "|"]
    assert sum(line.startswith("| EASE") for line in marked) == 4


def test_a_table_without_a_headline_metric_shows_what_there_is():
    cohort = plain_cohort(people([(1, 5)], ids=[9]), people([(0, 3), (1, 5)]), 2, (1.0, 5.0))
    report = evaluate([Popularity(liked_from=FROM)], cohort, protocols=["best-rated"], at=[3])
    assert "hr@3" in report.table()


def test_a_folder_of_something_else_is_left_alone(report, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FormatError, match="not written by this command"):
        report.write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_string_ids_come_back_as_they_were(tmp_path):
    cohort = plain_cohort(people([(1, 5)], ids=["ann"]), people([(0, 3), (1, 5)], ids=["bób"]), 3, (1.0, 5.0))
    evaluate([Popularity(liked_from=FROM)], cohort, protocols=["best-rated"]).write(tmp_path / "out")
    assert pq.read_table(tmp_path / "out" / "per_user.parquet")["user_id"].to_pylist() == ["bób"]


def test_the_same_seed_gives_the_same_report(report, tmp_path):
    assert report.rows == type(report).of(report.systems, report.measured, at=report.at, seed=42).rows
    assert report.rows != type(report).of(report.systems, report.measured, at=report.at, seed=43).rows
    report.write(tmp_path / "a")
    report.write(tmp_path / "a")  # a finished evaluation is replaced
    report.write(tmp_path / "b")
    for name in ("results.json", "per_user.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
