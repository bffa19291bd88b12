"""One user through every door: a CSV file, a Parquet file, a table, a list, a dict and an HTTP request."""

import csv
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tastevec as tv
from tastevec.serving.recommender import Recommender
from tastevec.serving.service.operations import OPERATIONS
from tastevec.serving.service.responses import AppState

START = 1_600_000_000


@pytest.fixture(scope="module", name="model")
def _model(bundle_folder):
    return tv.load(bundle_folder)


@pytest.fixture(scope="module", name="state")
def _state(model):
    return AppState(model).prepared()


@pytest.fixture(scope="module", name="keeping")
def _keeping(model):
    """The same model, as if it had been trained on repeats that stay."""
    facts = model.bundle.facts
    data = {**facts["data"], "feedback": {**facts["data"]["feedback"], "repeats": "keep"}}
    return AppState(Recommender(replace(model.bundle, facts={**facts, "data": data}))).prepared()


def through_each_door(state, rows, folder):
    """Return the vector of one user by the name of the door; rows are item, value and time or None."""
    model, names = state.model, ("item_id", "rating", "timestamp")
    columns = {"user_id": ["ann"] * len(rows)} | dict(
        zip(names, map(list, zip(*rows, strict=True)), strict=True)
    )
    if not any(columns["timestamp"]):
        del columns["timestamp"]
    with (folder / "users.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    table = pa.table(
        {name: [None if one is None else str(one) for one in own] for name, own in columns.items()}
    )
    pq.write_table(table, folder / "users.parquet")
    body = [
        {"item_id": item, "value": value} | ({} if time is None else {"timestamp": time})
        for item, value, time in rows
    ]
    request = json.dumps({"users": [{"interactions": body}]}).encode()
    work = OPERATIONS["encode"].open(state, request)
    found = {
        file: model.vectors(next(model.open_file(folder / file).stream), "next")[0]
        for file in ("users.csv", "users.parquet")
    }
    found["table"] = model.encode(columns, horizon="next", unknown="ignore").of("ann")
    found["dict"] = model.encode({"ann": rows}, horizon="next", unknown="ignore").of("ann")
    found["list"] = model.encode(rows, horizon="next", unknown="ignore")
    found["request"] = model.vectors(work.users.histories, "next")[0]
    return found


ROWS = st.lists(
    st.tuples(
        st.integers(1, 22) | st.integers(1, 22).map(float) | st.integers(1, 22).map(" {}.0".format),
        st.integers(1, 5),
        st.none() | st.integers(START, START + 5).map(lambda step: START + 1000 * (step - START)),
    ),
    min_size=1,
    max_size=10,
)


@settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_any_history_has_one_vector_at_every_door(state, tmp_path, rows):
    found = through_each_door(state, rows, tmp_path)
    for door, vector in found.items():
        np.testing.assert_allclose(vector, found["list"], atol=1e-5, err_msg=door)


@pytest.mark.parametrize(
    "rows",
    [
        [(5, 1, None), (5, 5, None)],
        [(5.0, 4, None), ("3", 2, None), ("7.0", 5, None)],
        [*((item, 4, START + 1000 * item) for item in range(1, 13)), (13, 5, None)],
        [(3, 2, None), (4, 4, START), (3, 5, None), (4, 1, START + 9000)],
        [("film of nobody", 5, START), (3, 1, START + 50)],
    ],
    ids=["repeat", "spellings", "newest without a time", "partly timed repeats", "unknown"],
)
def test_history_has_one_vector_at_every_door(state, tmp_path, rows):
    found = through_each_door(state, rows, tmp_path)
    for door, vector in found.items():
        np.testing.assert_allclose(vector, found["list"], atol=1e-5, err_msg=door)


@pytest.mark.parametrize(
    ("rows", "read"),
    [
        ([(5, 1, START), (3, 4, START + 50), (5, 4, START + 90), (5, 1, START), (5, 2, START)], 4),
        ([(3, 4, START), (5, 2, None), (3, 4, START + 9000), (5, 2, None), (5, 2, START)], 4),
    ],
    ids=["one row delivered twice", "partly timed"],
)
def test_kept_repeats_are_read_alike_at_every_door(state, keeping, tmp_path, rows, read):
    found = through_each_door(keeping, rows, tmp_path)
    for door, vector in found.items():
        np.testing.assert_allclose(vector, found["list"], atol=1e-5, err_msg=door)
    users = next(keeping.model.open_file(tmp_path / "users.csv").stream)
    assert users.lengths.tolist() == [read]
    overall = [one.model.encode(rows, horizon="overall") for one in (keeping, state)]
    np.testing.assert_allclose(*overall, atol=1e-5)  # of ratings the latest counts for both
