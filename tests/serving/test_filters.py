"""Filters of recommendations: the same items by every door, and k of them wherever there are so many."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import tastevec as tv
import worlds
from tastevec.cli.app import app
from tastevec.data.topk import BestItems, best_items, most_diverse
from tastevec.errors import DataError, SettingsError, TastevecWarning, UnknownItemError
from tastevec.pipelines import batch
from tastevec.serving.encoder import UserVectors
from tastevec.serving.recommender import Recommender
from tastevec.serving.service.error_messages import Problem
from tastevec.serving.service.operations import OPERATIONS
from tastevec.serving.service.responses import AppState
from tastevec.serving.user_files import UserFile
from users import users

ROCKETS = [(1, 5), (3, 4), (12, 1), (5, 5)]
LETTERS = [(11, 5), (13, 4), (2, 1)]
BOTH = {"ann": ROCKETS, "bob": LETTERS}
ALL = list(range(1, worlds.ITEMS + 1))
DRAMAS = [item.item for item in worlds.items() if "Drama" in item.genres]


@pytest.fixture(scope="module", name="model")
def _model(bundle_folder):
    return tv.load(bundle_folder)


@pytest.fixture(scope="module", name="state")
def _state(model):
    return AppState(model).prepared()


@pytest.fixture(name="here")
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [(name, item, stars) for name, own in BOTH.items() for item, stars in own]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "rating"])
    frame.to_csv("histories.csv", index=False)
    return tmp_path


def items_of(table, user=None):
    """Return the items of a table of recommendations, of one of its users."""
    rows = table.to_pylist()
    return [row["item_id"] for row in rows if user is None or row["user_id"] == user]


def quietly(model, interactions=ROCKETS, **choices):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TastevecWarning)
        return model.recommend(interactions, **choices)


def command(model_folder, *flags):
    """Run the command on the histories of both users; return its result and the items of each."""
    words = ["recommend", str(model_folder), "histories.csv", "--out", "recs.parquet", *map(str, flags)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.stderr
    table = pq.read_table("recs.parquet")
    return result, [items_of(table, user) for user in BOTH]


def request(state, operation="recommend", **body):
    """Return the response to a request with both users."""
    if "vectors" not in body:
        body["users"] = [
            {"interactions": [{"item_id": item, "value": stars} for item, stars in own]}
            for own in BOTH.values()
        ]
    work = OPERATIONS[operation].open(state, json.dumps(body).encode())
    vectors = None
    if work.to_encode:
        vectors = state.model.user_vectors(work.users.histories, work.horizon, work.dislike_weight)
    return json.loads(work.head(state) + work.entries(state, vectors, lambda: None) + b"]}")


FILTERS = [
    {"where": {"genres": "Drama"}},
    {"where": {"genres": ["Drama", "Action"], "year": "1985:1995"}},
    {"where": {"year": ":1990"}, "filter_seen": False},
    {"where": {"year": [1984, 1900, "1996:"]}},
    {"where": {"title": ["Rocket 4 (1983)", "Rocket 6 (1985)"]}},
    {"exclude": [4, 6, 15, 17]},
    {"only": ["4", 6.0, 15, 17, 1], "exclude": [6]},
    {"diversity": 0.7},
    {"where": {"train_users": "4:"}, "diversity": 0.3, "exclude": [15]},
]


@pytest.mark.parametrize("choices", FILTERS, ids=str)
def test_filter_gives_the_same_items_by_every_door(choices, model, state, bundle_folder, here):
    expected = [items_of(quietly(model, own, k=4, **choices)) for own in BOTH.values()]
    assert all(expected)
    table = quietly(model, pl.read_csv(here / "histories.csv"), k=4, **choices)
    assert [items_of(table, user) for user in BOTH] == expected
    embeddings = model.encode(BOTH)
    vectors = [
        items_of(quietly(model, vector, seen=BOTH[user], k=4, **choices)) for user, vector in embeddings
    ]
    assert vectors == expected
    flags = ["--k", 4]
    for column, values in choices.get("where", {}).items():
        for value in values if isinstance(values, list) else [values]:
            flags += ["--where", f"{column}={value}"]
    for name in {"only", "exclude"} & choices.keys():
        pl.DataFrame({"item_id": [str(item) for item in choices[name]]}).write_csv(f"{name}.csv")
        flags += [f"--{name}", f"{name}.csv"]
    flags += ["--no-filter-seen"] if "filter_seen" in choices else []
    flags += ["--diversity", choices["diversity"]] if "diversity" in choices else []
    assert command(bundle_folder, *flags)[1] == expected
    found = request(state, k=4, **choices)["users"]
    assert [[item["item_id"] for item in one["items"]] for one in found] == expected


@given(
    kept=st.sets(st.sampled_from(ALL), min_size=1),
    excluded=st.sets(st.sampled_from(ALL)),
    seen=st.booleans(),
    k=st.integers(1, 25),
)
def test_filtered_ranking_is_the_full_ranking_without_the_others(model, kept, excluded, seen, k):
    full = model.recommend(ROCKETS, k=worlds.ITEMS, filter_seen=seen)
    left = [item for item in items_of(full) if item in kept - excluded]
    choices = {"only": sorted(kept), "exclude": sorted(excluded), "filter_seen": seen}
    if not kept - excluded:
        with pytest.raises(DataError, match=r"only and exclude: 0 of 20 .* are left. Expected at least one"):
            model.recommend(ROCKETS, k=k, **choices)
        return
    found = quietly(model, k=k, **choices)
    assert items_of(found) == left[:k]
    scores = dict(zip(items_of(full), full["score"].to_pylist(), strict=True))
    assert found["score"].to_pylist() == [scores[item] for item in left[:k]]
    assert found["rank"].to_pylist() == list(range(1, len(left[:k]) + 1))


@pytest.mark.parametrize("form", ["dict", "table", "file"])
@pytest.mark.parametrize("name", ["only", "exclude"])
def test_lists_by_user_hold_for_their_user_alone(name, form, model, bundle_folder, here):
    lists = {"bob": [4, 6, 8, 9, 10], "ann": [15, 17, 4]}
    rows = [(user, item) for user, own in lists.items() for item in own]
    table = pd.DataFrame(rows, columns=["user_id", "item_id"]).sample(frac=1, random_state=3)
    table.to_parquet("lists.parquet")
    forms = {"dict": lists, "table": table, "file": here / "lists.parquet"}
    found = quietly(model, BOTH, **{name: forms[form]}, k=5)
    for user, own in lists.items():
        assert items_of(found, user) == items_of(quietly(model, BOTH[user], **{name: own}, k=5))
    by_command = command(bundle_folder, f"--{name}", "lists.parquet", "--k", 5)[1]
    assert by_command == [items_of(found, user) for user in BOTH]
    of_embeddings = quietly(model, model.encode(BOTH), **{name: lists}, filter_seen=False, k=3)
    assert items_of(of_embeddings, "ann") == items_of(
        quietly(model, ROCKETS, **{name: lists["ann"]}, filter_seen=False, k=3)
    )


def test_users_without_an_entry_have_nothing_by_only_and_everything_by_exclude(model):
    with pytest.warns(
        TastevecWarning, match="only: 1 of 2 users has fewer than 2 films, as no more are left"
    ):
        assert items_of(model.recommend(BOTH, only={"ann": [4, 6]}, k=2), "bob") == []
    kept = model.recommend(BOTH, exclude={"ann": [4, 6]}, k=3)
    assert items_of(kept, "bob") == items_of(model.recommend(LETTERS, k=3))


def test_users_of_lists_who_are_not_there_are_counted(model, bundle_folder, here):
    found = "exclude: 1 of 2 users is not among those of the interactions, such as 'cid', and ignored"
    with pytest.warns(TastevecWarning, match=found):
        model.recommend(BOTH, exclude={"ann": [4], "cid": [4]})
    (here / "lists.csv").write_text("user_id,item_id\nann,4\ncid,4\n")
    assert f"Warning: --{found}" in command(bundle_folder, "--exclude", "lists.csv")[0].stderr


def test_mean_of_users_and_steered_vectors_can_be_filtered(model, state):
    mean = model.encode(BOTH).matrix.mean(axis=0)
    found = model.recommend(mean, where={"genres": "Drama"}, exclude=[15], k=3)
    full = items_of(model.recommend(mean, k=worlds.ITEMS))
    assert items_of(found) == [item for item in full if item in DRAMAS and item != 15][:3]
    tag = model.tags.names[0]
    steered = model.steer(mean / np.linalg.norm(mean), {tag: 0.5})
    body = {"vectors": [(mean / np.linalg.norm(mean)).tolist()], "tags": {tag: 0.5}, "k": 3}
    [user] = request(state, "steer", **body, where={"genres": "Drama"})["users"]
    expected = items_of(model.recommend(steered, where={"genres": "Drama"}, k=3))
    assert [item["item_id"] for item in user["items"]] == expected


@pytest.mark.usefixtures("here")
def test_fewer_than_k_items_are_warned_of_and_k_are_filled_elsewhere(model, bundle_folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(model.recommend(BOTH, where={"genres": "Drama"}, k=6)) == 12
    with pytest.warns(
        TastevecWarning, match="where: 2 of 2 users have fewer than 10 films, as no more are left"
    ):
        assert len(model.recommend(BOTH, where={"genres": "Drama"})) == 17
    with pytest.warns(TastevecWarning, match="where: fewer than 10 films, as no more are left"):
        model.recommend(ROCKETS, where={"genres": "Drama"})
    result, found = command(bundle_folder, "--where", "genres=Drama", "--json")
    assert "Warning: --where: 2 of 2 users have fewer than 10 films" in result.stderr
    facts = json.loads(result.stdout)
    assert facts["rows"] == sum(map(len, found)) == 17
    assert facts["notes"] == ["--where: 2 of 2 users have fewer than 10 films, as no more are left"]


def test_unknown_items_of_lists_follow_the_policy(model, state):
    with pytest.warns(
        TastevecWarning, match="exclude: 2 of 3 items are not in the catalog .20 films., such as 'x'"
    ):
        expected = model.recommend(ROCKETS, exclude=["x", 4, 900])
    assert items_of(model.recommend(ROCKETS, exclude=["x", 4], unknown="ignore")) == items_of(expected)
    with pytest.raises(UnknownItemError, match=r"item 'x' is not in the catalog .* unknown=\"ignore\""):
        model.recommend(ROCKETS, exclude=["x", 4], unknown="raise")
    found = request(state, exclude=["x", 4, 900, "x"])
    assert found["unknown"] == ["x", 900]
    assert [one["unknown"] for one in found["users"]] == [[], []]


def test_blocks_of_a_large_request_have_its_filters(state):
    one = {"interactions": [{"item_id": item, "value": stars} for item, stars in ROCKETS]}
    body = {"users": [one] * 40, "where": {"genres": "Drama"}, "diversity": 0.5, "k": 3}
    work = OPERATIONS["recommend"].open(state, json.dumps(body).encode())
    plain = OPERATIONS["recommend"].open(state, json.dumps(body | {"diversity": 0}).encode())
    assert work.cost > plain.cost
    found = []
    for block in work.blocks(state):
        vectors = state.model.vectors(block.users.histories, "overall")
        entries = block.entries(state, UserVectors(vectors, np.ones(len(vectors))), lambda: None)
        found += json.loads(b"[" + entries + b"]")
    expected = items_of(quietly(state.model, where={"genres": "Drama"}, diversity=0.5, k=3))
    assert [[item["item_id"] for item in user["items"]] for user in found] == [expected] * 40


REFUSED = [
    (
        {"where": {"genre": "Drama"}},
        SettingsError,
        "where: 'genre' is no column of the catalog. Expected genres.",
    ),
    (
        {"where": {"genres": "drama"}},
        DataError,
        "where: 0 of 20 films have genres 'drama'. .* such as 'Drama'.",
    ),
    ({"where": {"genres": ["Drama", "Opera"]}}, DataError, "films have genres 'Opera'"),
    ({"where": {"year": 1800}}, DataError, "films have year 1800. .*, from 1980 to 1999."),
    (
        {"where": {"year": "1999:1990"}},
        SettingsError,
        "where: year '1999:1990'. Expected a number, or a range",
    ),
    ({"where": {"year": "new"}}, SettingsError, "where: year 'new'. Expected a number"),
    ({"where": {"year": ":"}}, SettingsError, "where: year ':'. Expected a number"),
    ({"where": {"year": 1981, "genres": "Drama"}}, DataError, "where: 0 of 20 films are left."),
    ({"only": [1, None]}, DataError, r"only\[1\]: None is no id. Expected item IDs"),
    ({"only": "12"}, DataError, r"only: '12'. Expected a list of item IDs. Pass \['12'\]."),
    ({"only": [], "unknown": "ignore"}, DataError, "only: 0 of 20 films are left."),
    ({"only": {"ann": [1]}}, SettingsError, "only: by user, but the interactions are those of one user"),
    ({"exclude": {"item": [1]}, "diversity": 1.5}, SettingsError, "diversity: 1.5. Expected a number from 0"),
    ({"filter_seen": "no"}, SettingsError, "filter_seen: 'no'. Expected True or False."),
    ({"where": "Drama"}, SettingsError, "where: 'Drama'. Expected values by column"),
    ({"where": {"year": []}}, SettingsError, "where: no value of year. Expected at least one."),
    ({"exclud": [1]}, SettingsError, "exclud: unknown setting. Expected exclude"),
]


@pytest.mark.parametrize(("choices", "error", "message"), REFUSED, ids=str)
def test_filter_that_cannot_be_meant_is_refused(choices, error, message, model):
    with pytest.raises(error, match=message):
        model.recommend(ROCKETS, **choices)


@pytest.mark.parametrize(
    ("body", "code", "where"),
    [
        ({"where": {"genre": "Drama"}}, "invalid_setting", "where"),
        ({"where": {"genres": "Opera"}}, "invalid_data", "where"),
        ({"where": {"year": [True]}}, "invalid_request", "where.year"),
        ({"where": {"year": []}}, "invalid_request", "where.year"),
        ({"only": []}, "invalid_request", "only"),
        ({"only": ["x"]}, "invalid_data", "only"),
        ({"exclude": [None]}, "invalid_request", "exclude[0]"),
        ({"exclude": {"ann": [1]}}, "invalid_request", "exclude"),
        ({"diversity": 2}, "invalid_request", "diversity"),
        ({"filter_seen": 1}, "invalid_request", "filter_seen"),
    ],
    ids=str,
)
def test_request_with_invalid_filter_names_its_place(body, code, where, state):
    with pytest.raises(Problem) as refused:
        request(state, **body)
    assert (refused.value.status, refused.value.code, refused.value.where) == (422, code, where)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--where", "genre=Drama"], "--where: 'genre' is no column of the catalog. Expected genres."),
        (["--where", "genres"], "'genres'. Expected COLUMN=VALUE"),
        (["--only", "bad.csv"], "bad.csv, line 3, column item_id: 'NA' is no id."),
        (["--only", "bare.csv"], "bare.csv: no header. Expected item_id and optional user_id in line 1."),
        (["--only", "missing.csv"], "missing.csv: not found."),
        (["--exclude", "title.csv"], "title.csv: no item_id among title"),
        (["--diversity", "-1"], "-1. Expected a number from 0 to 1."),
    ],
    ids=str,
)
def test_command_refuses_a_filter_in_the_words_of_its_flags(flags, message, bundle_folder, here):
    (here / "bad.csv").write_text("item_id\n4\nNA\n")
    (here / "bare.csv").write_text("4\n6\n")
    (here / "title.csv").write_text("title,year\nRocket 1,1980\n")
    words = ["recommend", str(bundle_folder), "histories.csv", "--out", "recs.parquet"]
    result = CliRunner().invoke(app, [*words, *flags])
    assert result.exit_code in (1, 2)
    assert message in " ".join(result.stderr.split())
    assert not (here / "recs.parquet").exists()


def test_interrupted_run_resumes_with_the_same_filter_alone(model, here, monkeypatch):
    def write(choices):
        opened = model.open_file(here / "histories.csv")
        chosen = model.item_filter("ignore", **choices)
        return batch.write_recommendations(model, opened, here / "recs.parquet", k=2, chosen=chosen)

    def stop(choices):
        with monkeypatch.context() as patch:
            patch.setattr(UserFile, "check_unknown", interrupt)
            with pytest.raises(KeyboardInterrupt):
                write(choices)

    before = {"where": {"genres": ["Drama", "Action"]}}
    stop(before)
    assert write(before | {"exclude": {"ann": [4]}}).resumed == 0
    stop(before)
    assert write(before).resumed == len(BOTH)
    facts = pq.read_schema(here / "recs.parquet").metadata
    assert facts[b"where"] == b'{"genres": ["Drama", "Action"]}'


def test_digest_of_a_filter_is_that_of_its_items(model):
    choices = [{"only": [4, 6]}, {"only": [4]}, {"exclude": [4]}, {"filter_seen": False}, {"diversity": 0.4}]
    choices += [
        {name: lists} for name in ("only", "exclude") for lists in ({"a": [4]}, {"b": [4]}, {"a": [6]})
    ]
    digests = [model.item_filter(**one).digest for one in ({}, *choices)]
    assert len(set(digests)) == len(digests)
    assert model.item_filter(only=[6, 4]).digest == digests[1]
    assert model.item_filter(where={"genres": "Drama"}).digest == model.item_filter(only=DRAMAS).digest


def interrupt(_users):
    raise KeyboardInterrupt


# ---- diversity ----


def naive_mmr(indices, scores, directions, k, diversity):
    """Return maximal marginal relevance of one user, by its definition."""
    units = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    span = scores[0] - scores[-1]
    left, chosen = list(range(len(indices))), []
    while left and len(chosen) < k:
        values = [
            (1 - diversity) * (scores[one] - scores[-1]) / span
            - diversity * max((units[indices[one]] @ units[indices[other]] for other in chosen), default=0.0)
            for one in left
        ]
        chosen.append(left.pop(int(np.argmax(values))))
    return indices[chosen]


@given(seed=st.integers(0, 10**6), k=st.integers(1, 12), diversity=st.sampled_from([0.1, 0.5, 0.9]))
def test_most_diverse_equals_maximal_marginal_relevance(seed, k, diversity):
    rng = np.random.default_rng(seed)
    vectors, items = (rng.normal(size=(n, 5)).astype(np.float32) for n in (3, 30))
    known = users([(0, 5)], [(1, 5), (2, 5)], [])
    best = best_items(vectors, items, known, 10)
    indices, scores, percentiles = best
    found = most_diverse(best, items, k, diversity)
    for user in range(3):
        np.testing.assert_array_equal(
            found.indices[user], naive_mmr(indices[user], scores[user], items, k, diversity)
        )
        by_item = dict(zip(indices[user], zip(scores[user], percentiles[user], strict=True), strict=True))
        of_found = zip(found.scores[user], found.percentiles[user], strict=True)
        assert list(of_found) == [by_item[item] for item in found.indices[user]]
    alone = most_diverse(BestItems(*(one[[1]] for one in best)), items, k, diversity)
    np.testing.assert_array_equal(alone.indices[0], found.indices[1])


def test_most_diverse_of_few_or_no_candidates_fills_with_nothing():
    indices = np.array([[2, 0, -1], [-1, -1, -1]])
    scores = np.array([[0.5, 0.5, -np.inf], [-np.inf] * 3], np.float32)
    best = BestItems(indices, scores, np.where(indices < 0, 0, np.float32(50)))
    found = most_diverse(best, np.eye(3, dtype=np.float32), 3, 1.0)
    assert found.indices.tolist() == [[2, 0, -1], [-1, -1, -1]]
    assert found.scores.tolist() == scores.tolist()
    assert found.percentiles.tolist() == best.percentiles.tolist()


def test_diversity_of_zero_changes_nothing_and_more_lowers_the_similarity(model):
    assert model.recommend(BOTH, diversity=0).equals(model.recommend(BOTH))

    def similarity(diversity):
        items = items_of(model.recommend(ROCKETS, k=5, diversity=diversity, filter_seen=False))
        directions = model.item_directions[[model.item_index(item) for item in items]]
        units = directions / np.linalg.norm(directions, axis=1, keepdims=True)
        return (units @ units.T).mean()

    assert similarity(1) < similarity(0.6) <= similarity(0)


def test_categories_of_several_columns_are_columns_of_a_filter(model):
    words = [[f"kind:{'a' if item % 2 else 'b'}", "author:Ann"] for item in ALL]
    items = model.bundle.items
    items = items.set_column(items.column_names.index("genres"), "genres", pa.array(words))
    split = Recommender(replace(model.bundle, items=items))
    assert set(items_of(quietly(split, where={"kind": "a", "author": "Ann"}))) <= set(ALL[::2])
    with pytest.raises(SettingsError, match=r"where: 'autor' is no column of the catalog. Expected author."):
        split.recommend(ROCKETS, where={"autor": "Ann"})
    with pytest.raises(
        DataError, match=r"films have kind 'c'. Expected a value in the catalog, such as 'a'."
    ):
        split.recommend(ROCKETS, where={"kind": "c"})
