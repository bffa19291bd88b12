import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import tastevec as tv
import worlds
from encoders import TINY, with_dislikes
from tastevec.data import topk
from tastevec.data.prepared import Prepared
from tastevec.errors import DataError, SettingsError, UnknownItemError
from tastevec.evaluation.dataset import EvalDataset
from tastevec.pipelines.evaluate import model_scorer
from tastevec.pipelines.train import train
from tastevec.serving import encoder as bulk
from tastevec.serving import recommender as module
from tastevec.serving.recommender import Recommender, load
from users import TAGGED, users

HORIZONS = pytest.mark.parametrize("horizon", ["next", "overall"])
ROCKETS = [(1, 5), (3, 4), (12, 1), (5, 5)]


@pytest.fixture(scope="module", name="model")
def _model(bundle_folder) -> Recommender:
    return load(bundle_folder)


@pytest.fixture(scope="module", name="worded")
def _worded(tmp_path_factory) -> Recommender:
    """Return a model of the same world with text IDs and without timestamps."""
    place = tmp_path_factory.mktemp("worded")
    source = worlds.write_own_csv(place / "source")
    how = {"items": source.parent / "items.csv", "seed": 1, "rating_range": (1.0, 5.0)}
    tv.prepare(source, place / "data", **how)
    return train(place / "data", place / "model", epochs=1, **TINY)


def columns(users=range(1, 13)):
    """Return the ratings of the tiny world as columns."""
    rows = [row for row in worlds.ratings() if row.user in users]
    names = ("user_id", "item_id", "rating", "timestamp")
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def table(users=range(1, 13)):
    return pa.table(columns(users))


def by_user(embeddings):
    return dict(embeddings)


@HORIZONS
def test_encode_of_a_table_a_single_user_and_a_list_is_equal(model, horizon):
    together = by_user(model.encode(table(), horizon=horizon))
    assert sorted(together) == list(range(1, 13))
    for user in (1, 7, 12):
        alone = by_user(model.encode(table([user]), horizon=horizon))[user]
        np.testing.assert_allclose(together[user], alone, rtol=1e-5, atol=1e-5)
        rows = sorted((row for row in worlds.ratings() if row.user == user), key=lambda row: row.time)
        listed = model.encode([(row.item, row.stars) for row in rows], horizon=horizon)
        untimed = by_user(model.encode(table([user]).drop_columns("timestamp"), horizon=horizon))
        np.testing.assert_allclose(untimed[user], listed, rtol=1e-5, atol=1e-5)


def test_timestamps_change_only_next_vectors(model):
    model = with_dislikes(model)  # in which the transformer has a weight
    # Of the tiny catalog a complete history leaves so few items that any scores may rank them alike.
    timed = table().filter(pa.array(table()["item_id"].to_numpy() % 4 == 1))
    untimed = timed.drop_columns("timestamp")
    for horizon, same in (("next", False), ("overall", True)):
        found, without = (
            np.stack([vector for _, vector in model.encode(source, horizon=horizon)])
            for source in (timed, untimed)
        )
        assert np.allclose(found, without, rtol=1e-5, atol=1e-5) is same


@HORIZONS
def test_encode_returns_float32_rows_of_equal_dimension(model, horizon):
    vectors = model.encode(table(), horizon=horizon)
    arrow = vectors.to_arrow()
    assert arrow.schema == pa.schema(
        [("user_id", pa.int64()), ("vector", pa.list_(pa.float32(), 8)), ("norm", pa.float32())]
    )
    facts = {b"space": model.bundle.space.encode(), b"horizon": horizon.encode(), b"dislike_weight": b"0.4"}
    facts |= {b"metric": b"inner product, cosine and Euclidean distance rank items alike"}
    assert arrow.schema.metadata == facts
    one = model.encode(ROCKETS, horizon=horizon)
    assert one.shape == (8,)
    assert one.dtype == np.float32


def test_horizons_have_different_vectors(model):
    assert not np.allclose(model.encode(ROCKETS), model.encode(ROCKETS, horizon="next"))
    assert np.array_equal(model.encode(ROCKETS), model.encode(ROCKETS, horizon="overall"))


@pytest.mark.parametrize("ask", ["encode", "recommend"])
def test_polars_pandas_and_arrow_tables_have_equal_results(model, ask):
    made = [pa.table(getattr(model, ask)(kind(columns()))) for kind in (pa.table, pl.DataFrame, pd.DataFrame)]
    assert made[0].equals(made[1])
    assert made[0].equals(made[2])


def test_order_of_rows_does_not_change_vectors(model):
    shuffled = table().take(np.random.default_rng(1).permutation(len(table())))
    found, expected = model.encode(shuffled), model.encode(table())
    assert found.ids.tolist() == list(dict.fromkeys(shuffled["user_id"].to_pylist()))
    for user, vector in found:
        np.testing.assert_allclose(vector, expected.of(user), rtol=1e-5, atol=1e-5)


@HORIZONS
def test_encode_in_groups_equals_one_group(model, monkeypatch, horizon):
    vectors, items = model.encode(table(), horizon=horizon), model.recommend(table(), horizon=horizon)
    monkeypatch.setattr(bulk, "_BATCH_ITEMS", 40)
    monkeypatch.setattr(module, "_MAX_USERS", 10)
    monkeypatch.setattr(topk, "_MAX_SCORES", 3 * worlds.ITEMS)
    np.testing.assert_allclose(
        model.encode(table(), horizon=horizon)["vector"].to_pylist(),
        vectors["vector"].to_pylist(),
        rtol=1e-5,
        atol=1e-5,
    )
    grouped = model.recommend(table(), horizon=horizon)
    assert grouped.drop_columns("score").equals(items.drop_columns("score"))


def test_recommend_batches_streams_one_group_at_a_time(model):
    pulled = []
    histories = histories_of_table(model, table())

    def groups():
        for number, part in enumerate(histories.chunks(2)):
            pulled.append(number)
            yield part

    for stream in (
        model.encode_batches(groups(), "next"),
        model.recommend_batches(groups(), k=2, horizon="next"),
    ):
        pulled.clear()
        next(stream)
        assert pulled == [0]
        assert len(list(stream)) == 5


def histories_of_table(model, source):
    return model._parse(source, "raise").histories


def test_recommend_returns_items_outside_the_history_ranked_from_one(model):
    items = model.recommend(table(), k=3)
    assert items.column_names == ["user_id", "item_id", "title", "rank", "score", "percentile"]
    titles = {item.item: item.title for item in worlds.items()}
    for user in range(1, 13):
        mine = [row for row in items.to_pylist() if row["user_id"] == user]
        known = {row.item for row in worlds.ratings() if row.user == user}
        assert [row["rank"] for row in mine] == [1, 2, 3]
        assert not known & {row["item_id"] for row in mine}
        assert [row["title"] for row in mine] == [titles[row["item_id"]] for row in mine]
        scores = [row["score"] for row in mine]
        assert scores == sorted(scores, reverse=True)


@HORIZONS
def test_score_and_percentile_are_those_of_the_inner_products(model, horizon):
    vector = model.encode(ROCKETS, horizon=horizon)
    items = model.recommend(ROCKETS, k=16, horizon=horizon)
    assert items.column_names == ["item_id", "title", "rank", "score", "percentile"]
    scores = model.item_vectors @ vector
    for row in items.to_pylist():
        assert row["score"] == pytest.approx(scores[row["item_id"] - 1], abs=1e-5)
        lower = (scores < scores[row["item_id"] - 1] - 1e-6).sum()
        assert row["percentile"] == pytest.approx(100 * lower / worlds.ITEMS)


def test_recommend_with_k_above_the_catalog_returns_all_other_items(model):
    items = model.recommend(ROCKETS, k=1000)
    assert sorted(items["item_id"].to_pylist()) == [
        item for item in range(1, 21) if item not in {1, 3, 12, 5}
    ]
    assert items["rank"].to_pylist() == list(range(1, 17))


def test_recommend_for_a_complete_history_is_empty(model):
    everything = [(item, 5) for item in range(1, 21)]
    assert len(model.recommend(everything)) == 0
    both = {"user_id": [1] * 20 + [2], "item_id": [*range(1, 21), 1], "rating": [5.0] * 21}
    assert set(model.recommend(pa.table(both), k=2)["user_id"].to_pylist()) == {2}


def test_empty_history_has_a_vector_and_recommendations(model):
    assert np.isfinite(model.encode([])).all()
    assert len(model.recommend([], k=5)) == 5


def test_recommend_for_a_truncated_history_excludes_all_its_items(model):
    # Twenty items exceed the twelve that this model reads in order.
    assert model.bundle.reading.max_history < 19
    items = [(item, 5) for item in range(1, 20)]
    assert model.recommend(items, k=5)["item_id"].to_pylist() == [20]


def test_item_without_a_vector_is_not_recommended(bundle_folder):
    model = load(bundle_folder)
    model.item_vectors = model.item_vectors.copy()
    model.item_vectors[3] = 0
    assert 4 not in model.recommend(ROCKETS, k=100)["item_id"].to_pylist()


def test_text_ids_of_users_and_items_are_returned(worded):
    source = {
        "user": ["person-z", "Ann", "Ann"],
        "item": ["film-1", "film-12", "film-2"],
        "rating": [5, 1, 4],
    }
    items = worded.recommend(pa.table(source), k=2)
    assert items["user_id"].to_pylist() == ["person-z", "person-z", "Ann", "Ann"]
    assert items["item_id"].type == pa.string()
    assert not {"film-12", "film-2"} & set(items["item_id"].to_pylist()[2:])
    assert worded.encode(pa.table(source)).ids.tolist() == ["person-z", "Ann"]
    assert worded.recommend([("film-2", 5)], k=1)["item_id"].to_pylist() != ["film-2"]
    with pytest.raises(UnknownItemError, match="item 'film-999' is not in"):
        worded.encode([("film-999", 5)], unknown="raise")
    with pytest.raises(UnknownItemError, match="item 7 is not in"):
        worded.encode([(7, 5)], unknown="raise")


def test_numeric_ids_as_text_have_equal_results(model):
    np.testing.assert_array_equal(model.encode([("1", 5), ("3", 4)]), model.encode([(1, 5), (3, 4)]))
    written = {"user_id": ["x", "x"], "item_id": ["1", "3"], "rating": [5.0, 4.0]}
    np.testing.assert_allclose(
        model.encode(pa.table(written))["vector"][0].as_py(),
        model.encode([(1, 5), (3, 4)]),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.filterwarnings("ignore::tastevec.TastevecWarning")
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([(1, 6)], r"interactions\[0\]: 100 % of ratings are above the model's scale 0.5:5 \(highest: 6\)"),
        ([(1, 5), (2, 0), (3, 5)], r"interactions\[1\]: 33.3 % of ratings are below .* \(lowest: 0\)"),
        ([(1, float("inf"))], r"interactions\[0\]: inf. Expected a number from 0.5 to 5"),
        ([(1.5, 5)], r"interactions\[0\]: 1.5 is no id. Expected item IDs as whole numbers or texts"),
        ([(None, 5)], r"interactions\[0\]: None is no id"),
        ([(True, 5)], r"interactions\[0\]: True is no id"),
        ([([1], 5)], r"interactions\[0\]: \[1\] is no id"),
        ([(1, "good")], r"interactions\[0\]: 'good'. Expected a number from 0.5 to 5"),
        ([1, (2, True)], r"interactions\[1\]: True. Expected a number from 0.5 to 5"),
        ([(1, 5, 2, 2)], r"interactions\[0\]: 4 parts. Expected an item ID, \(item_id, value\) or"),
        ([(1, 5), ()], r"interactions\[1\]: 0 parts"),
        ([(1, 5, "then")], r"interactions\[0\]: 'then'. Expected Unix seconds or ISO 8601"),
        ([(1, 5, 2015)], r"interactions\[0\]: these times read as 1970. Expected Unix seconds or ISO 8601"),
        ({1: 5.0}, r"interactions\[1\]: float. Expected the list of one user's interactions"),
        ({"nan": [1]}, r"interactions\['nan'\]: 'nan' is no id"),
        ({"anna": [1, (2, 9)]}, r"interactions\['anna'\]\[1\]: 100 % of ratings are above"),
        (None, "interactions: NoneType. Expected a list of one user"),
        ("people.csv", "interactions: str. Expected a list of one user"),
        (5, "interactions: int. Expected a list of one user"),
    ],
)
def test_invalid_interactions_are_refused_with_one_sentence(model, source, message):
    for ask in (model.encode, model.recommend):
        with pytest.raises(DataError, match=message):
            ask(source)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rating": [9.0, 5.0]}, r"interactions, row 1, column rating: 50.0 % of ratings are above"),
        ({"rating": ["5", "x"]}, r"interactions, row 2, column rating: 'x'. Expected a number"),
        ({"item_id": [1.5, 2.0]}, r"interactions, row 1, column item_id: 1.5 is no id"),
        ({"user_id": ["anna", None]}, r"interactions, row 2, column user_id: None is no id"),
        (
            {"timestamp": [1e9, 1e12]},
            r"interactions, row 1, column timestamp: mixes seconds and milliseconds",
        ),
        ({"item_id": None}, r"interactions: no item_id among the columns user_id, rating, timestamp"),
        (
            {"item_id": None, "book": [1, 2], "movie": [1, 2]},
            r"book and movie could both be the item: columns=",
        ),
    ],
)
def test_table_with_an_invalid_row_is_refused_with_its_place(model, changed, message):
    source = {"user_id": ["anna", "anna"], "item_id": [1, 2], "rating": [4.0, 5.0], "timestamp": [1e9, 2e9]}
    source = {name: values for name, values in {**source, **changed}.items() if values is not None}
    for made in (pa.table, pd.DataFrame):
        with pytest.raises(DataError, match=message):
            model.encode(made(source))


def test_tag_only_item_counts_as_history(model):
    histories = users([(0, 5), (2, TAGGED)], [(0, 5)])
    for horizon in ("next", "overall"):
        with_tag, without = model.vectors(histories, horizon)
        assert not np.allclose(with_tag, without, atol=1e-4)
    (items,) = model.recommend_batches([histories.take(np.array([0]))], k=100, horizon="next")
    assert 3 not in items["item_id"].to_pylist()


def test_invalid_arguments_are_refused(model):
    for count in (0, -1):
        with pytest.raises(SettingsError, match=f"k: {count}. Expected 1 or more"):
            model.recommend(ROCKETS, k=count)
    for ask in (model.encode, model.recommend):
        with pytest.raises(SettingsError, match=r"horizon: 'moments'. Expected next or overall"):
            ask(ROCKETS, horizon="moments")


def test_file_and_table_have_equal_results(model, tmp_path):
    written = columns()
    file = tmp_path / "histories.csv"
    lines = [",".join(written), *(",".join(map(str, row)) for row in zip(*written.values(), strict=True))]
    file.write_text("\n".join(lines) + "\n")
    stream = model.open_file(file).stream
    vectors = pa.Table.from_batches(model.encode_batches(stream, "next"))
    assert vectors.equals(model.encode(table(), horizon="next").to_arrow())
    assert (stream.users, stream.unknown) == (12, 0)


def test_evaluation_and_encode_have_equal_vectors(model, prepared_folder):
    dataset = EvalDataset.of(Prepared.open(prepared_folder))
    scorer = model_scorer(model, "ours")
    for horizon in ("next", "overall"):
        vectors = scorer.at_horizon(horizon).vectors(dataset.held_out_users)
        np.testing.assert_array_equal(vectors, model.vectors(dataset.held_out_users, horizon))
    assert scorer.space == model.bundle.space


@HORIZONS
def test_weight_of_dislikes_reaches_every_answer(model, horizon):
    model, rows = with_dislikes(model), [(1, 1), (3, 2), (12, 5), (5, 4)]
    how = {"horizon": horizon, "dislike_weight": 1.0}
    default, strong = model.encode(rows, horizon=horizon), model.encode(rows, **how)
    assert not np.allclose(default, strong, atol=1e-3)
    np.testing.assert_array_equal(default, model.encode(rows, horizon=horizon, dislike_weight=0.4))
    users = model.encode({"anna": rows}, **how)
    np.testing.assert_allclose(users.of("anna"), strong, atol=1e-6)
    assert users.to_arrow().schema.metadata[b"dislike_weight"] == b"1"
    assert model.recommend(rows, **how).equals(model.recommend(strong, horizon=horizon, seen=rows))
    [own] = model.similar_users(rows, users, **how)["similarity"].to_pylist()
    assert own == pytest.approx(1, abs=1e-5)
    found, expected = model.explain(rows, **how), model.explain(strong, horizon=horizon)
    assert [tag.tag for tag in found] == [tag.tag for tag in expected]


@HORIZONS
def test_weight_of_dislikes_changes_nothing_without_low_ratings(model, horizon):
    model, rows = with_dislikes(model), [(1, 5), (3, 3), (12, 4)]
    one, other = (model.encode(rows, horizon=horizon, dislike_weight=weight) for weight in (0, 1))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("weight", [-0.1, 1.01, float("nan"), float("inf"), "0.4", None])
def test_weight_of_dislikes_out_of_range_is_refused(model, weight):
    vector = model.encode(ROCKETS)
    for ask in (
        model.encode,
        model.recommend,
        model.explain,
        lambda rows, **how: model.similar_users(rows, model.encode(table()), **how),
    ):
        for given in (ROCKETS, vector) if ask != model.encode else (ROCKETS,):
            with pytest.raises(SettingsError, match=r"dislike_weight: .*Expected a number from 0 to 1"):
                ask(given, dislike_weight=weight)
