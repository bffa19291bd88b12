"""Lists of other systems: what is read of them, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import csv, parquet

from fakes import Fixed
from tastevec.data.value_scale import ValueScale
from tastevec.errors import DataError, FormatError
from tastevec.evaluation.evaluate import DEPTH, evaluate
from tastevec.evaluation.lists import ListCounts, read_lists
from tastevec.evaluation.rankings import lists_writer, write_task_items
from tastevec.evaluation.scorers import Runs
from tastevec.evaluation.tables import report_text
from users import plain_dataset, users

ITEMS = 30
STARS = ValueScale.explicit(1, 5)
IDS = np.arange(ITEMS) * 10  # item IDs are not indices
CURVE = "history_length"


def dataset_of(seed=0, n_users=6, *, texts=False):
    """Return an evaluation dataset of random users, with IDs 100, 101, ... or texts."""
    rng = np.random.default_rng(seed)
    each = [
        [(item, int(rng.integers(1, 6))) for item in rng.permutation(ITEMS)[: rng.integers(8, 25)]]
        for _ in range(n_users)
    ]
    ids = [f"user {index}" for index in range(n_users)] if texts else [*range(100, 100 + n_users)]
    train = users([(0, 5), (3, 4)], [(1, 5)], ids=["x", "y"] if texts else [1, 2])
    return plain_dataset(train, users(*each, ids=ids), ITEMS, STARS)


def evaluated(dataset, file, *, item_ids=IDS, runs=1, **how):
    """Return the report of random scores, whose lists are in the file."""
    scorers = [Fixed(np.random.default_rng(run).integers(0, 9, ITEMS), "noise") for run in range(runs)]
    with lists_writer(file, item_ids) as on_lists:
        return evaluate([Runs("noise", scorers)], dataset, on_lists=on_lists, **how)


@settings(max_examples=15)
@given(
    st.integers(0, 10_000),
    st.integers(1, 9),
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from(["parquet", "csv", "table"]),
)
def test_lists_read_back_have_the_same_metrics(tmp_path_factory, seed, n_users, runs, texts, form):
    dataset, file = dataset_of(seed, n_users, texts=texts), tmp_path_factory.mktemp("lists") / "lists"
    ids = np.array([f"item {index}" for index in range(ITEMS)], object) if texts else IDS
    report = evaluated(dataset, file, item_ids=ids, runs=runs)
    table = parquet.read_table(file)
    if form == "csv":
        csv.write_csv(table, file)
    lists = read_lists("copy", table if form == "table" else file, dataset.tasks()[0], ids, DEPTH)
    again = evaluate([lists], dataset)
    for one, other in zip(report.results, again.results, strict=True):
        assert set(one.values) - set(other.values) == {name for name in one.values if "shuffled" in name}
        for metric, values in other.values.items():
            np.testing.assert_array_equal(values, one.values[metric])
            np.testing.assert_array_equal(other.runs[metric], one.runs[metric])
        for metric, values in one.system_metrics.items():
            np.testing.assert_array_equal(values, other.system_metrics[metric])
        slices = [part for part in one.slices if part.by != CURVE]
        for part, its in zip(slices, other.slices, strict=True):
            assert (part.by, part.label, part.metric) == (its.by, its.label, its.metric)
            np.testing.assert_array_equal(part.values, its.values)


@pytest.fixture(scope="module")
def task():
    """Two users: 100 has items 0 to 4 and holds out 50, 101 has items 0 to 3 and holds out 40."""
    held_out = users([(item, 5) for item in range(6)], [(item, 5) for item in range(5)], ids=[100, 101])
    return plain_dataset(users([(0, 5)], ids=[1]), held_out, ITEMS, STARS).task("next-item")


def rows(*each, **more):
    """Return a table of (user, item, rank)."""
    names = ("user_id", "item_id", "rank")
    return pa.table(dict(zip(names, map(list, zip(*each, strict=True)), strict=True)) | more)


def read(source, task, depth=10, name="mine"):
    return read_lists(name, source, [task], IDS, depth)


def test_lists_are_item_indices_by_rank(task):
    runs = read(rows((101, 40, 2), (101, 290, 1), (100, 50, 1), (100, 60, 11)), task)
    [scorer] = runs.scorers
    assert scorer.ranked["next-item"].tolist() == [[5, *[-1] * 9], [29, 4, *[-1] * 8]]
    assert runs.settings["lists"] == {
        "next-item": {"without_list": 0, "other_users": 0, "unknown_items": 0, "longest": 2}
    }


def test_unknown_users_and_items_are_counted_and_keep_their_rank(task):
    runs = read(rows((100, 7, 1), (100, 50, 2), (5, 50, 1), (5, 60, 2), (6, 60, 1)), task)
    assert runs.scorers[0].ranked["next-item"][0, :2].tolist() == [-1, 5]
    counts = ListCounts(**runs.settings["lists"]["next-item"])
    assert counts == ListCounts(without_list=1, other_users=2, unknown_items=1, longest=2)
    assert str(counts).endswith(
        "1 users without a list (all metrics 0), 2 other users (ignored), 1 rows with unknown items (misses)"
    )


def test_item_that_is_no_candidate_is_unknown(task):
    candidates = np.arange(ITEMS) != 29
    runs = read(rows((100, 290, 1), (100, 50, 2)), replace(task, candidates=candidates))
    assert runs.scorers[0].ranked["next-item"][0, :2].tolist() == [-1, 5]


def test_user_without_list_counts_as_zero():
    dataset = dataset_of(n_users=4)
    task = dataset.task("random-20pct")
    user = task.inputs.user_ids[1]
    lists = read(
        rows(
            *(
                (user, IDS[item], rank + 1)
                for rank, item in enumerate(task.targets[task.offsets[1] : task.offsets[2]])
            )
        ),
        task,
    )
    report = evaluate([lists], dataset, tasks=["random-20pct"])
    assert report.results[0].values["ndcg@10"].tolist() == [0, 1, 0, 0]
    assert "mine: lists of at most" in report_text(report)
    assert "3 users without a list (all metrics 0)" in report_text(report)


def test_rows_of_the_named_system_are_read(task):
    table = rows((100, 50, 1), (100, 60, 1), system=["mine", "other"])
    assert read(table, task).scorers[0].ranked["next-item"][0, 0] == 5
    assert read(table.slice(1), task).scorers[0].ranked["next-item"][0, 0] == 6
    with pytest.raises(DataError, match=r"^lists of third: no system third\. Expected one of mine, other"):
        read(table, task, name="third")


@pytest.mark.parametrize(
    ("table", "found"),
    [
        (rows((100, 50, 1), (100, 60, 1)), "next-item: user 100 has two items at rank 1"),
        (rows((100, 50, 1), (100, 50, 2)), "next-item: user 100 has an item at two ranks"),
        (rows((100, 50, 1), (101, 20, 2)), "next-item: user 101 has an input item in the list"),
        (rows((5, 50, 1)), r"no user of task next-item\. Expected the IDs of inputs\.parquet"),
        (rows((100, 7, 1)), "no item of task next-item"),
        (rows((100, 50, 0)), "column rank: 0. Expected ranks from 1"),
        (rows((100, None, 1), (100, 50, 2)), "column item_id: a row without a value"),
        (
            rows((100, 50, 1), task=["last-20pct"]),
            "no list of next-item. Expected one of these in column task",
        ),
        (
            pa.table({"user_id": [100], "item_id": [50]}),
            "the columns user_id, item_id. Expected user_id, item_id, rank",
        ),
    ],
)
def test_lists_that_contradict_the_task_are_refused(task, table, found):
    with pytest.raises(DataError, match=found):
        read(table, task)


def test_lists_without_task_need_one_task(task):
    with pytest.raises(DataError, match="no column task, for 2 tasks"):
        read_lists("mine", rows((100, 50, 1)), [task, task], IDS, 10)


def test_file_that_is_no_table_is_refused(task, tmp_path):
    with pytest.raises(FormatError, match=r"^lists of mine: cannot be read .*of ranks that are integers$"):
        read(rows((100, 50, 1.5)), task)
    with pytest.raises(FormatError, match=r"^lists of mine: cannot be read"):
        read(5, task)
    with pytest.raises(FormatError, match=r"none\.csv: cannot be read"):
        read(tmp_path / "none.csv", task)


def test_task_items_are_what_a_system_may_read(tmp_path):
    dataset = dataset_of()
    tasks, _ = dataset.tasks()
    write_task_items(tmp_path, tasks, IDS)
    inputs, held_out = (parquet.read_table(tmp_path / f"{name}.parquet") for name in ("inputs", "held_out"))
    assert inputs.column_names == ["task", "user_id", "item_id", "rating", "timestamp"]
    assert held_out.column_names == ["task", "user_id", "item_id"]
    assert inputs["timestamp"].null_count == len(inputs)
    for task in tasks:
        of_task = pa.compute.equal(inputs["task"], task.name)
        assert inputs.filter(of_task)["item_id"].to_pylist() == IDS[task.inputs.items].tolist()
        assert (
            inputs.filter(of_task)["user_id"].to_pylist() == task.inputs.user_ids[task.inputs.owners].tolist()
        )
        own = held_out.filter(pa.compute.equal(held_out["task"], task.name))
        assert own["item_id"].to_pylist() == IDS[task.targets].tolist()


def test_rankings_mark_hits(tmp_path):
    dataset, file = dataset_of(), tmp_path / "rankings.parquet"
    report = evaluated(dataset, file, runs=2, tasks=["random-20pct"])
    table = parquet.read_table(file)
    assert table.column_names == ["system", "task", "user_id", "run", "rank", "item_id", "hit"]
    assert table["run"].unique().to_pylist() == [0, 1]
    assert pa.compute.sum(table["hit"]).as_py() == 2 * report.results[0].task.held_out_items.sum()
