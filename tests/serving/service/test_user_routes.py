"""Routes for users return the same results as the model."""

import numpy as np
import pytest

import worlds
from tastevec.errors import DataError
from tastevec.serving.recommender import Recommender

ROCKETS = [(1, 5.0), (3, 4.0), (12, 1.0), (5, 5.0)]
LETTERS = [(11, 5.0), (13, 4.0), (2, 1.0)]
ITEM_KEYS = {"item_id", "title", "year", "genres"}


def user(rated, timestamps=None):
    ratings = [{"item_id": item, "value": rating} for item, rating in rated]
    for row, time in zip(ratings, timestamps or (), strict=False):
        row["timestamp"] = time
    return {"interactions": ratings}


def post(client, path, **body):
    response = client.post(f"/v1/{path}", json=body)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("horizon", ["next", "overall"])
def test_encode_equals_the_model(client, tiny, horizon):
    content = post(client, "encode", users=[user(ROCKETS), user(LETTERS)], horizon=horizon)
    assert content["space"] == "space-0"
    assert content["horizon"] == horizon
    for rated, found in zip((ROCKETS, LETTERS), content["users"], strict=True):
        np.testing.assert_allclose(found["vector"], tiny.model.encode(rated, horizon=horizon), atol=1e-5)
        assert found["unknown"] == []


@pytest.mark.parametrize("path", ["recommend", "steer"])
def test_none_of_20_000_interactions_is_recommended_and_missing_items_are_counted(client, path):
    body = {"tags": {"space": 1.0}} if path == "steer" else {}
    rated = [(1 + row % 18, 1.0 + row % 5) for row in range(20_000)]
    times = [f"2024-01-01T00:00:{row % 60:02d}.{row:06d}Z" for row in range(20_000)]
    content = post(client, path, users=[user(rated, times), user(ROCKETS)], k=5, **body)
    assert (content["horizon"], content["dislike_weight"]) == ("overall", 0.4)
    [long, short] = content["users"]
    assert {item["item_id"] for item in long["items"]} == {19, 20}
    assert (long["n_known"], long["n_missing"], short["n_missing"]) == (20_000, 3, 0)
    refused = client.post("/v1/encode", json={"users": [user([*rated, (1, 5.0)])]})
    assert refused.status_code == 422
    assert "20001 entries. Expected 20000 or fewer" in refused.json()["error"]["message"]


def test_unknown_policy_decides_about_histories_of_other_items(client):
    others = {"users": [user([(1000 + item, 5.0) for item in range(25)])]}
    refused = client.post("/v1/encode", json=others).json()["error"]
    assert refused["code"] == "invalid_data"
    assert "none of the 25 interactions is with an item of the model" in refused["message"]
    assert post(client, "encode", **others, unknown="ignore")["users"][0]["n_known"] == 0
    some = {"users": [user([*ROCKETS, (1000, 5.0)])]}
    assert post(client, "explain", **some)["horizon"] == "overall"
    assert (
        client.post("/v1/encode", json=some | {"unknown": "raise"}).json()["error"]["code"] == "unknown_item"
    )


@pytest.mark.parametrize("horizon", ["next", "overall"])
def test_vectors_have_unit_length_and_the_norms_of_python(client, tiny, horizon):
    columns = {"user_id": [1] * 4 + [2] * 3}
    columns |= dict(zip(("item_id", "rating"), map(list, zip(*ROCKETS, *LETTERS, strict=True)), strict=True))
    expected = tiny.model.encode(columns, horizon=horizon)
    both = [user(ROCKETS), user(LETTERS)]
    found = post(client, "encode", users=both, horizon=horizon)["users"]
    np.testing.assert_allclose([one["norm"] for one in found], expected.norms, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm([one["vector"] for one in found], axis=1), 1, rtol=1e-6)
    steered = post(client, "steer", users=both, tags={"space": 2.0}, horizon=horizon)["users"]
    alike = tiny.model.steer(expected, {"space": 2.0}, horizon=horizon)
    np.testing.assert_allclose([one["norm"] for one in steered], alike.norms, rtol=1e-4)
    given = [one["vector"] for one in found]
    of_vectors = post(client, "steer", vectors=given, tags={"space": 2.0}, horizon=horizon)["users"]
    np.testing.assert_allclose([one["norm"] for one in of_vectors], alike.norms / expected.norms, rtol=1e-4)
    scores = [item["score"] for one in steered for item in one["items"]]
    assert np.abs(scores).max() <= 1 + 1e-6


def test_item_vector_in_place_of_a_user_vector_is_refused(client, tiny):
    body = {"vectors": [tiny.model.item_vectors[0].tolist()], "tags": {"space": 1.0}}
    response = client.post("/v1/steer", json=body)
    assert response.status_code == 422
    assert "a last coordinate is that of an item. Expected 0" in response.json()["error"]["message"]
    with pytest.raises(DataError, match="call similar_items for an item"):
        tiny.model.recommend(tiny.model.item_vectors[0])


def test_encode_ignores_unknown_items_and_lists_them(client):
    unknown = [(99, 5.0), ("1; DROP TABLE items", 3.0), (-1, 2.0), (2**62, 1.0), (" A1 ", 1.0)]
    with_unknown = post(client, "encode", users=[user([*unknown, *ROCKETS])])["users"][0]
    without = post(client, "encode", users=[user(ROCKETS)])["users"][0]
    assert with_unknown["vector"] == without["vector"]
    assert with_unknown["unknown"] == [item for item, _ in unknown]
    assert (with_unknown["n_known"], without["n_known"]) == (4, 4)


def test_encode_accepts_ids_of_another_type(client):
    expected = post(client, "encode", users=[user(ROCKETS)])
    for spelled in (str, float, " {}.0 ".format):
        assert expected == post(
            client, "encode", users=[user([(spelled(item), one) for item, one in ROCKETS])]
        )


def test_repeated_item_counts_with_its_latest_value(client):
    [found] = post(client, "encode", users=[user([(1, 1.0), (3, 4.0), (1, 5.0)])])["users"]
    [expected] = post(client, "encode", users=[user([(3, 4.0), (1, 5.0)])])["users"]
    assert found["vector"] == expected["vector"]
    assert (found["n_known"], expected["n_known"]) == (3, 2)


def test_user_without_values_has_positive_interactions(client):
    items = [{"item_id": 1}, {"item_id": 3, "value": None}]
    [found] = post(client, "encode", users=[{"interactions": items}])["users"]
    [expected] = post(client, "encode", users=[user([(1, 4.0), (3, 4.0)])])["users"]
    assert found == expected


def test_interaction_without_a_time_keeps_its_place(client):
    rated = user(ROCKETS, [1_600_000_000, 1_600_000_010, 1_600_000_020])
    assert "timestamp" not in rated["interactions"][3]
    newest = user(ROCKETS, [1_600_000_000, 1_600_000_010, 1_600_000_020, 1_600_000_020])
    found, expected = (post(client, "encode", users=[one], horizon="next") for one in (rated, newest))
    assert found == expected
    iso = user(ROCKETS, ["2020-09-13T12:26:40Z", "2020-09-13 12:26:50", "2020-09-13T14:27:00+02:00"])
    assert post(client, "encode", users=[iso], horizon="next") == expected


def test_encode_with_timestamps_sorts_by_time(client):
    timestamps = [1_600_000_040, 1_600_000_010, 1_600_000_030, 1_600_000_020]
    in_order = [ROCKETS[index] for index in np.argsort(timestamps)]
    shuffled = post(client, "encode", users=[user(ROCKETS, timestamps)], horizon="next")
    assert shuffled == post(client, "encode", users=[user(in_order, sorted(timestamps))], horizon="next")
    assert shuffled != post(client, "encode", users=[user(ROCKETS)], horizon="next")


def test_recommend_without_known_items_works(client):
    content = post(client, "recommend", users=[user([]), user([(99, 3.0)])], k=3)
    assert content["users"][0]["items"] == content["users"][1]["items"]
    assert len(content["users"][0]["items"]) == 3


def test_recommend_equals_the_model(client, tiny):
    content = post(client, "recommend", users=[user(ROCKETS), user(LETTERS)], k=4)
    for rated, found in zip((ROCKETS, LETTERS), content["users"], strict=True):
        expected = tiny.model.recommend(rated, k=4).to_pylist()
        assert [item["item_id"] for item in found["items"]] == [row["item_id"] for row in expected]
        assert [item["rank"] for item in found["items"]] == [1, 2, 3, 4]
        np.testing.assert_allclose(
            [item["score"] for item in found["items"]], [row["score"] for row in expected], rtol=1e-4
        )
        assert [item["percentile"] for item in found["items"]] == [row["percentile"] for row in expected]
        keys = ITEM_KEYS | {"rank", "score", "percentile", "contributions"}
        assert all(set(item) == keys for item in found["items"])
        assert not {item["item_id"] for item in found["items"]} & {item for item, _ in rated}


def test_recommend_with_a_large_k_returns_all_unrated_items(client):
    content = post(client, "recommend", users=[user(ROCKETS)], k=500)
    assert len(content["users"][0]["items"]) == worlds.ITEMS - len(ROCKETS)


def test_recommend_contributions_are_leave_one_out_effects(client, tiny):
    [found] = post(client, "recommend", users=[user(ROCKETS)], k=3, contributions=2)["users"]
    model = tiny.model
    for recommended in found["items"]:
        row = model.item_vectors[recommended["item_id"] - 1]
        score = {
            item: float(row @ model.encode([pair for pair in ROCKETS if pair[0] != item]))
            for item, _ in ROCKETS
        }
        lost = {item: recommended["score"] - without for item, without in score.items()}
        expected = sorted((item for item in lost if lost[item] > 0), key=lambda item: -lost[item])[:2]
        assert [one["item_id"] for one in recommended["contributions"]] == expected
        for one in recommended["contributions"]:
            assert one["effect"] == pytest.approx(lost[one["item_id"]], abs=1e-4)


def test_recommend_contributions_without_ratings_are_empty(client):
    [found] = post(client, "recommend", users=[user([])], k=3, contributions=2)["users"]
    assert [item["contributions"] for item in found["items"]] == [[], [], []]


def test_steer_equals_the_model(client, tiny):
    plain = tiny.model.encode(ROCKETS, horizon="overall")
    [found] = post(client, "steer", users=[user(ROCKETS)], tags={"space": 2.0, "tears": -1.0}, hold=0.5, k=3)[
        "users"
    ]
    steered = tiny.model.steer(plain, {"space": 2.0, "tears": -1.0}, hold=0.5)
    np.testing.assert_allclose(found["vector"], steered, atol=1e-4)
    best = np.argsort(-(tiny.model.item_vectors @ steered))
    unrated = [item + 1 for item in best.tolist() if item + 1 not in dict(ROCKETS)]
    assert [item["item_id"] for item in found["items"]] == unrated[:3]
    assert [item["rank"] for item in found["items"]] == [1, 2, 3]


def test_steer_of_a_vector_equals_that_of_its_user(client):
    [plain] = post(client, "encode", users=[user(ROCKETS)], horizon="overall")["users"]
    [found] = post(client, "steer", users=[user(ROCKETS)], tags={"Space": 2.0})["users"]
    [same] = post(client, "steer", vectors=[plain["vector"]], tags={"space": 2.0})["users"]
    np.testing.assert_allclose(same["vector"], found["vector"], atol=1e-4)


@pytest.mark.parametrize("horizon", ["next", "overall"])
def test_recommend_with_tags_equals_steer(client, horizon):
    body = {"users": [user(ROCKETS)], "tags": {"space": 2.0}, "k": 3, "horizon": horizon}
    [steered] = post(client, "steer", **body)["users"]
    [recommended] = post(client, "recommend", **body)["users"]
    assert [item["item_id"] for item in recommended["items"]] == [
        item["item_id"] for item in steered["items"]
    ]


@pytest.mark.parametrize("horizon", ["next", "overall"])
def test_explain_equals_the_model_and_has_a_map_position(client, tiny, horizon):
    rated = [*ROCKETS, (99, 1.0)]
    [found] = post(client, "explain", users=[user(rated)], tags=2, contributions=2, horizon=horizon)["users"]
    expected = tiny.model.explain(ROCKETS, tags=2, contributions=2, horizon=horizon)
    assert [tag["tag"] for tag in found["tags"]] == [reading.tag for reading in expected]
    for tag, reading in zip(found["tags"], expected, strict=True):
        assert tag["strength"] == pytest.approx(reading.strength, abs=1e-4)
        assert tag["reliability"] == pytest.approx(reading.reliability)
        assert [one["item_id"] for one in tag["contributions"]] == [item for item, _ in reading.contributions]
        assert [one["effect"] for one in tag["contributions"]] == pytest.approx(
            [effect for _, effect in reading.contributions], abs=1e-4
        )
    assert len(found["map_position"]) == 2
    assert all(0 <= axis <= 1 for axis in found["map_position"])
    assert found["unknown"] == [99]


@pytest.mark.parametrize(("path", "body"), [("explain", {"tags": 1}), ("recommend", {"contributions": 2})])
def test_contributions_encode_the_user_once_and_once_without_each_item(client, monkeypatch, path, body):
    encoded, vectors = [], Recommender.user_vectors

    def counted(self, histories, *how):
        encoded.append(len(histories))
        return vectors(self, histories, *how)

    monkeypatch.setattr(Recommender, "user_vectors", counted)
    post(client, path, users=[user(ROCKETS)], **body)
    assert encoded == [1, len(ROCKETS)]


def test_explain_items_have_the_order_of_the_request(client, tiny):
    content = post(client, "explain", item_ids=[5, "3"], tags=2)
    assert set(content) == {"items"}
    assert [item["item_id"] for item in content["items"]] == [5, 3]
    expected = [reading.tag for reading in tiny.model.explain_item(5, tags=2)]
    assert [tag["tag"] for tag in content["items"][0]["tags"]] == expected


def test_model_without_tags_returns_no_tags(start_client, make, bundle_of):
    client = start_client(lambda: make(model=Recommender(bundle_of(tagged=False))))
    one = [user(ROCKETS)]
    for path, body in (
        ("explain", {"users": one}),
        ("explain", {"item_ids": [1]}),
        ("steer", {"users": one, "tags": {"space": 1}}),
        ("recommend", {"users": one, "tags": {"space": 1}}),
    ):
        response = client.post(f"/v1/{path}", json=body)
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "no_tags"
    assert client.get("/v1/model").json()["tags"] == []
    assert client.post("/v1/recommend", json={"users": one}).status_code == 200


def test_similar_users_have_ranks_and_nearest_items(client, start_client, make):
    [found] = post(client, "similar-users", users=[user(ROCKETS)], k=2)["users"]
    assert [one["user_id"] for one in found["users"]] == [7, 9]
    assert [one["rank"] for one in found["users"]] == [1, 2]
    assert found["users"][0]["similarity"] == 1.0
    nearest = [item["item_id"] for item in found["users"][0]["nearest_items"]]
    items, users = make().model.item_vectors, make().model.item_directions
    assert nearest == [index + 1 for index in np.argsort(-(items @ users[0]))[:6]]
    [one, other] = post(client, "similar-users", users=[user(ROCKETS), user([])], k=1)["users"]
    assert one["users"] == other["users"] == found["users"][:1]
    alone = start_client(lambda: make(users=None)).post("/v1/similar-users", json={"users": [user(ROCKETS)]})
    assert alone.status_code == 404
    assert alone.json()["error"]["code"] == "no_users"


def test_requests_do_not_affect_each_other(client):
    first = post(client, "recommend", users=[user(ROCKETS)], k=5)
    post(client, "recommend", users=[user(LETTERS)], k=5)
    assert post(client, "recommend", users=[user(ROCKETS)], k=5) == first


def test_parse_users_equals_the_python_interface(tiny):
    from tastevec.serving.service.schemas import User  # noqa: PLC0415  used only here

    content = tiny.parse([User.model_validate(user(ROCKETS))]).histories
    alone = tiny.model._parse(ROCKETS, "raise").histories
    for name in ("user_ids", "offsets", "items", "ratings", "normalized_ratings", "timestamps"):
        np.testing.assert_array_equal(getattr(content, name), getattr(alone, name))


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_weight_of_dislikes_is_that_of_the_model(client, tiny, weight):
    rated = [(1, 1), (3, 2), (12, 5)]
    how = {"horizon": "next", "dislike_weight": weight}
    body = {"users": [user(rated)], **how}
    found = post(client, "encode", **body)
    expected = tiny.model.encode(rated, **how)
    np.testing.assert_allclose(found["users"][0]["vector"], expected, atol=1e-5)
    assert found["dislike_weight"] == weight
    assert np.allclose(expected, tiny.model.encode(rated, horizon="next"), atol=1e-4) == (weight == 0.4)
    [own] = post(client, "recommend", **body, k=3, contributions=1)["users"]
    recommended = tiny.model.recommend(rated, **how, k=3)
    assert [item["item_id"] for item in own["items"]] == recommended["item_id"].to_pylist()
    [tags] = post(client, "explain", **body, contributions=1)["users"]
    explained = tiny.model.explain(rated, **how)
    strengths = [tag.strength for tag in explained]
    np.testing.assert_allclose([tag["strength"] for tag in tags["tags"]], strengths, atol=1e-4)
    [steered] = post(client, "steer", **body, tags={"space": 1.0})["users"]
    alike = tiny.model.steer(expected, {"space": 1.0}, horizon="next")
    np.testing.assert_allclose(steered["vector"], alike, atol=1e-5)
