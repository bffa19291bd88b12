"""One user through every door: CSV, Parquet, a table, a list, a dict, an HTTP request, and the model card's two programs.

Each door gives the same vectors, ignores and counts the same interactions, and refuses the same histories.
"""

import csv
import json
import re
import warnings
from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tastevec as tv
from encoders import with_dislikes
from tastevec.errors import DataError, TastevecWarning
from tastevec.serving.recommender import Recommender
from tastevec.serving.service.error_messages import Problem
from tastevec.serving.service.operations import OPERATIONS
from tastevec.serving.service.responses import AppState

START = 1_600_000_000
HOW = [
    {"horizon": horizon, "dislike_weight": weight}
    for horizon, weight in product(("overall", "next"), (0.4, 1.0))
]
IGNORED = re.compile(r"(\d+) of \d+ interactions are with|(the only) interaction is with")


@pytest.fixture(scope="module", name="folder")
def _folder(bundle_folder, tmp_path_factory):
    """A model in which ratings, their order, times and dislikes matter."""
    out = tmp_path_factory.mktemp("doors") / "model"
    return with_dislikes(tv.load(bundle_folder)).save(out)


@pytest.fixture(scope="module", name="state")
def _state(folder):
    return AppState(tv.load(folder)).prepared()


@pytest.fixture(scope="module", name="programs")
def _programs(folder):
    """The function of each program of the model card, by the library that it runs."""
    card = (folder / "README.md").read_text(encoding="utf-8").replace('"this folder"', repr(str(folder)))
    _, reading, *encoding = re.findall(r"^```python\n(.*?)^```", card, re.DOTALL | re.MULTILINE)
    found = {}
    for name, code in zip(("transformers", "onnxruntime"), encoding, strict=True):
        names = {}
        exec(f"{reading}\n{code}", names)  # noqa: S102  a program of the card
        found[name] = names["encode"]
    return found


@pytest.fixture(scope="module", name="keeping")
def _keeping(state):
    """The same model, as if it had been trained on repeats that stay."""
    model = state.model
    facts = model.bundle.facts
    data = {**facts["data"], "feedback": {**facts["data"]["feedback"], "repeats": "keep"}}
    return AppState(Recommender(replace(model.bundle, facts={**facts, "data": data}))).prepared()


# ---- the doors: each returns how many interactions it ignored, and a vector for each of HOW ----


def said(encode):
    """Return how many interactions a call says that it ignores, and its vectors."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        vectors = [encode(**how) for how in HOW]
    numbers = [found for one in caught if (found := IGNORED.search(str(one.message)))]
    assert len(numbers) in {0, len(HOW)}
    return int(numbers[0][1] or 1) if numbers else 0, vectors


def written(histories, folder):
    """Write users by ID to a CSV and a Parquet file; rows are item, value and perhaps a time."""
    rows = [(user, *(*row, None)[:3]) for user, own in histories.items() for row in own]
    names = ["user_id", "item_id", "rating", "timestamp"]
    if not any(row[3] for row in rows):
        rows, names = [row[:3] for row in rows], names[:3]
    with (folder / "users.csv").open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    texts = [[None if one is None else str(one) for one in own] for own in zip(*rows, strict=True)]
    pq.write_table(pa.table(texts, names), folder / "users.parquet")
    return {name: folder / f"users.{name}" for name in ("csv", "parquet")}


def through_file(path, state, user="ann"):
    users = state.model.open_file(path, missing_times="order")
    [histories] = list(users.stream)
    users.check_unknown()
    row = histories.user_ids.tolist().index(user)
    return users.stream.unknown, [state.model.vectors(histories, *how.values())[row] for how in HOW]


def through_request(rows, state):
    body = []
    for item, value, *time in rows:
        timed = {"timestamp": time[0]} if time and time[0] is not None else {}
        body.append({"item_id": item, "value": value} | timed)
    found = []
    for how in HOW:
        request = json.dumps({"users": [{"interactions": body}], **how}).encode()
        work = OPERATIONS["encode"].open(state, request)
        encoded = state.model.user_vectors(work.users.histories, work.horizon, work.dislike_weight)
        response = json.loads(work.head(state) + work.entries(state, encoded, lambda: None) + b"]}")
        assert {name: response[name] for name in how} == how
        found.append(response["users"][0])
    return len(rows) - found[0]["n_known"], [user["vector"] for user in found]


def doors(state, rows):
    """Return a function per door of one user in memory; rows are item, value and perhaps a time, which may be None."""
    names = ("item_id", "rating", "timestamp")[: max(map(len, rows), default=2)]
    columns = {"user_id": ["ann"] * len(rows)}
    columns |= {name: [(*row, None)[part] for row in rows] for part, name in enumerate(names)}
    found = {
        "list": partial(said, partial(state.model.encode, rows)),
        "dict": partial(said, lambda **how: state.model.encode({"ann": rows}, **how).of("ann")),
        "table": partial(said, lambda **how: state.model.encode(columns, **how).of("ann")),
        "request": partial(through_request, rows, state),
    }
    return found if rows else {name: found[name] for name in ("list", "dict", "request")}


def with_files(state, rows, folder):
    """Return these doors, and those of two files."""
    files = written({"ann": rows}, folder)
    return doors(state, rows) | {name: partial(through_file, path, state) for name, path in files.items()}


def agree(found, ignored=None):
    """Check that all doors give what the list gives, and ignore so many interactions; files count a repeated item once."""
    expected, vectors = found["list"]
    assert ignored is None or expected == ignored
    for door, (count, own) in found.items():
        assert count == expected or (ignored is None and door in {"csv", "parquet"}), door
        np.testing.assert_allclose(own, vectors, atol=1e-5, err_msg=door)


LONG = [(1 + item % 20, 1 + item % 5, START - 60 * item) for item in range(3000)]
CASES = {
    "ordinary": ([(1, 5), (3, 4), (12, 1)], 0),
    "times": ([(1, 5, START + 90), (3, 4, START), (12, 1, START + 86_400), (7, 2, START + 91)], 0),
    "newest without a time": ([*((item, 4, START + 1000 * item) for item in range(1, 13)), (13, 5, None)], 0),
    "first without a time": ([(5, 1, None), (3, 2, None), (4, 4, START), (9, 5, START - 60)], 0),
    "empty": ([], 0),
    "without a value": ([(1, None), (3, 4), (4, None)], 0),
    "unknown": ([("nowhere", 5, START), (3, 1, START + 50), (999, 4, START + 60)], 2),
    "all unknown": ([(999, 4), ("nowhere", 2)], 2),
    "one unknown": ([(999, 4)], 1),
    "repeat": ([(5, 1), (3, 4), (5, 5)], 0),
    "partly timed repeats": ([(3, 2, None), (4, 4, START), (3, 5, None), (4, 1, START + 9000)], 0),
    "spellings": ([(5.0, 4), ("3", 2), ("7.0", 5), (" 12 ", 1), (5, 2)], 0),
    "leading zeros": ([("0012", 5), (1, 4), ("012", 2)], 2),
    "long": (LONG, 0),
}


@pytest.fixture(scope="module", name="files")
def _files(state, tmp_path_factory):
    """The vectors of all cases in one file, by the format of the file and the case."""
    filled = {case: rows for case, (rows, _) in CASES.items() if rows}
    found = {}
    for name, path in written(filled, tmp_path_factory.mktemp("files")).items():
        users = state.model.open_file(path, missing_times="order")
        [histories] = list(users.stream)
        assert users.stream.unknown == sum(ignored for _, ignored in CASES.values())
        vectors = [state.model.vectors(histories, *how.values()) for how in HOW]
        found[name] = dict(zip(histories.user_ids.tolist(), zip(*vectors, strict=True), strict=True))
    return found


@pytest.mark.parametrize("case", CASES)
def test_history_is_read_alike_at_every_door(case, state, programs, files):
    rows, ignored = CASES[case]
    found = {name: door() for name, door in doors(state, rows).items()}
    found |= {name: said(partial(program, rows)) for name, program in programs.items()}
    if rows:
        found |= {name: (ignored, by_case[case]) for name, by_case in files.items()}
    agree(found, ignored)


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
def test_any_history_is_read_alike_at_every_door(state, programs, tmp_path, rows):
    found = {name: door() for name, door in with_files(state, rows, tmp_path).items()}
    agree(found | {name: said(partial(program, rows)) for name, program in programs.items()})


@pytest.mark.parametrize(
    "rows",
    [
        [*((1000 + item, 4) for item in range(39)), (1, 5)],
        [(1, 5), (3, 7)],
        [(1, 5), (3, 0)],
    ],
    ids=["hardly a known item", "above the scale", "below the scale"],
)
def test_history_is_refused_at_every_door(rows, state, programs, tmp_path):
    for door in with_files(state, rows, tmp_path).values():
        with pytest.raises((DataError, Problem)):
            door()
    for program in programs.values():
        with pytest.raises(ValueError, match=r"interactions are with|off the scale"):
            program(rows, "overall")


@pytest.mark.parametrize(
    "rows", [[(1.5, 5)], [("nan", 5)], [(1, 5, "yesterday")]], ids=["id", "no id", "time"]
)
def test_invalid_interaction_is_refused_at_every_door(rows, state, tmp_path):
    for door in with_files(state, rows, tmp_path).values():
        with pytest.raises((DataError, Problem)):
            door()


def test_unknown_raise_and_ignore_are_choices_of_every_door(state, tmp_path):
    rows = [*((1000 + item, 4) for item in range(39)), (1, 5)]
    path, model = written({"ann": rows}, tmp_path)["csv"], state.model
    body = {"users": [{"interactions": [{"item_id": item, "value": value} for item, value in rows]}]}
    ignoring = json.dumps(body | {"unknown": "ignore"}).encode()
    expected = model.encode(rows[-1:])
    for histories in (rows, {"ann": rows}):
        found = np.asarray(model.encode(histories, unknown="ignore")).reshape(-1)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        with pytest.raises(DataError, match="item 1000 is not in the catalog"):
            model.encode(histories, unknown="raise")
    assert OPERATIONS["encode"].open(state, ignoring).users.n_known.tolist() == [1]
    with pytest.raises(Problem, match="item 1000 is not in the catalog"):
        OPERATIONS["encode"].open(state, json.dumps(body | {"unknown": "raise"}).encode())
    users = replace(model.open_file(path), unknown="ignore")
    [histories] = list(users.stream)
    users.check_unknown()
    np.testing.assert_allclose(model.vectors(histories, "overall")[0], expected, atol=1e-5)


def test_interactions_without_values_are_positive_at_every_door(state, tmp_path):
    rows = [1, 3, 12]
    with pytest.warns(TastevecWarning, match="each interaction counts as 3.875, positive"):
        expected = state.model.encode(rows)
    (tmp_path / "users.csv").write_text("user_id,item_id\n" + "".join(f"ann,{item}\n" for item in rows))
    file = state.model.open_file(tmp_path / "users.csv")
    assert "each interaction counts as 3.875, positive" in file.warnings[0]
    request = {"users": [{"interactions": [{"item_id": item} for item in rows]}]}
    work = OPERATIONS["encode"].open(state, json.dumps(request).encode())
    for histories in (next(file.stream), work.users.histories):
        np.testing.assert_allclose(state.model.vectors(histories, "overall")[0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("rows", "read"),
    [
        ([(5, 1, START), (3, 4, START + 50), (5, 4, START + 90), (5, 1, START), (5, 2, START)], 4),
        ([(3, 4, START), (5, 2, None), (3, 4, START + 9000), (5, 2, None), (5, 2, START)], 4),
    ],
    ids=["one row delivered twice", "partly timed"],
)
def test_kept_repeats_are_read_alike_at_every_door(state, keeping, tmp_path, rows, read):
    agree({name: door() for name, door in with_files(keeping, rows, tmp_path).items()})
    users = next(keeping.model.open_file(tmp_path / "users.csv").stream)
    assert users.lengths.tolist() == [read]
    overall = [one.model.encode(rows, horizon="overall") for one in (keeping, state)]
    np.testing.assert_allclose(*overall, atol=1e-5)  # of ratings the latest counts for both


# ---- horizons ----


def test_horizon_is_overall_by_default_at_every_door(state):
    model, rows = state.model, CASES["ordinary"][0]
    overall = model.encode(rows, horizon="overall")
    np.testing.assert_array_equal(model.encode(rows), overall)
    assert model.encode({"ann": rows}).horizon == "overall"
    assert model.recommend(rows).equals(model.recommend(rows, horizon="overall"))
    for horizon, found in (
        ("overall", model.recommend(rows)),
        ("next", model.recommend(rows, horizon="next")),
    ):
        assert found.schema.metadata[b"horizon"] == horizon.encode()
        assert b"0 to 100" in found.schema.metadata[b"percentile"]
    body = {"users": [{"interactions": [{"item_id": item, "value": value} for item, value in rows]}]}
    for name in ("encode", "recommend", "explain", "similar-users"):
        assert OPERATIONS[name].open(state, json.dumps(body).encode()).horizon == "overall"


def test_vectors_of_another_horizon_are_refused_by_every_call(state, tmp_path):
    model = state.model
    users = model.encode({"ann": [(1, 5), (3, 4)], "bob": [(2, 5)]}, horizon="next")
    file = users.save(tmp_path / "users.parquet")
    calls = {
        "recommend": lambda: model.recommend(users),
        "explain": lambda: model.explain(users),
        "steer": lambda: model.steer(users, {model.tags.names[0]: 1.0}),
        "similar_users": lambda: model.similar_users([(1, 5)], users),
        "similar_users, queries": lambda: model.similar_users(users, model.encode({"ann": [(1, 5)]})),
        "similar_users, file": lambda: model.similar_users([(1, 5)], file),
    }
    for name, call in calls.items():
        with pytest.raises(
            tv.SettingsError, match=r"horizon next.*horizon overall|horizon overall.*horizon next"
        ):
            pytest.fail(f"{name} compares two horizons: {call()}")
