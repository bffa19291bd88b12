"""What the service says of people is what the model says of them."""

import numpy as np
import pytest

import worlds
from tastevec.serving.recommender import Recommender, history_of_one

ROCKETS = [(1, 5.0), (3, 4.0), (12, 1.0), (5, 5.0)]
LETTERS = [(11, 5.0), (13, 4.0), (2, 1.0)]
FILM = {"item_id", "title", "year", "genres"}


def user(rated, timestamps=None):
    ratings = [{"item_id": item, "rating": rating} for item, rating in rated]
    for row, time in zip(ratings, timestamps or (), strict=False):
        row["timestamp"] = time
    return {"ratings": ratings}


def ask(client, path, **body):
    answer = client.post(f"/v1/{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("horizon", ["next", "overall"])
def test_a_vector_is_the_one_that_the_model_gives(client, tiny, horizon):
    told = ask(client, "encode", users=[user(ROCKETS), user(LETTERS)], horizon=horizon)
    assert told["space"] == "space-0"
    assert told["horizon"] == horizon
    for rated, found in zip((ROCKETS, LETTERS), told["users"], strict=True):
        np.testing.assert_allclose(found["vector"], tiny.model.encode(rated, horizon=horizon), atol=1e-5)
        assert found["unknown"] == []


def test_films_that_are_unknown_are_told_and_change_nothing(client):
    strange = [(99, 5.0), ("1; DROP TABLE films", 3.0), (-1, 2.0), (2**62, 1.0), ("", 1.0)]
    with_them = ask(client, "encode", users=[user([*strange, *ROCKETS])])["users"][0]
    without = ask(client, "encode", users=[user(ROCKETS)])["users"][0]
    assert with_them["vector"] == without["vector"]
    assert with_them["unknown"] == [item for item, _ in strange]


def test_an_id_of_another_type_is_compared_as_text(client):
    as_text = ask(client, "encode", users=[user([(str(item), rating) for item, rating in ROCKETS])])
    assert as_text == ask(client, "encode", users=[user(ROCKETS)])


def test_the_order_is_that_of_the_times_where_there_are_times(client):
    timestamps = [40, 10, 30, 20]
    in_order = [ROCKETS[place] for place in np.argsort(timestamps)]
    shuffled = ask(client, "encode", users=[user(ROCKETS, timestamps)])
    assert shuffled == ask(client, "encode", users=[user(in_order, sorted(timestamps))])
    assert shuffled != ask(client, "encode", users=[user(ROCKETS)])


def test_nobody_in_particular_has_a_vector_too(client):
    told = ask(client, "recommend", users=[user([]), user([(99, 3.0)])], k=3)
    assert told["users"][0]["items"] == told["users"][1]["items"]
    assert len(told["users"][0]["items"]) == 3


def test_recommendations_are_those_of_the_model(client, tiny):
    told = ask(client, "recommend", users=[user(ROCKETS), user(LETTERS)], k=4)
    for rated, found in zip((ROCKETS, LETTERS), told["users"], strict=True):
        expected = tiny.model.recommend(rated, k=4).to_pylist()
        assert [item["item_id"] for item in found["items"]] == [row["item_id"] for row in expected]
        assert [item["rank"] for item in found["items"]] == [1, 2, 3, 4]
        np.testing.assert_allclose(
            [item["score"] for item in found["items"]], [row["score"] for row in expected], rtol=1e-4
        )
        assert all(set(item) == FILM | {"rank", "score", "contributions"} for item in found["items"])
        assert not {item["item_id"] for item in found["items"]} & {item for item, _ in rated}


def test_of_a_small_catalogue_everything_else_is_recommended(client):
    told = ask(client, "recommend", users=[user(ROCKETS)], k=500)
    assert len(told["users"][0]["items"]) == worlds.ITEMS - len(ROCKETS)


def test_why_names_own_films_and_what_the_score_would_lose_without_each(client, tiny):
    [found] = ask(client, "recommend", users=[user(ROCKETS)], k=3, contributions=2)["users"]
    model = tiny.model
    for index in found["items"]:
        row = model.item_vectors[index["item_id"] - 1]
        score = {
            item: float(row @ model.encode([pair for pair in ROCKETS if pair[0] != item]))
            for item, _ in ROCKETS
        }
        lost = {item: index["score"] - without for item, without in score.items()}
        expected = sorted((item for item in lost if lost[item] > 0), key=lambda item: -lost[item])[:2]
        assert [cause["item_id"] for cause in index["contributions"]] == expected
        for cause in index["contributions"]:
            assert cause["effect"] == pytest.approx(lost[cause["item_id"]], abs=1e-4)


def test_why_of_nobody_in_particular_names_nothing(client):
    [found] = ask(client, "recommend", users=[user([])], k=3, contributions=2)["users"]
    assert [item["contributions"] for item in found["items"]] == [[], [], []]


def test_steering_moves_the_vector_and_the_films(client, tiny):
    plain = tiny.model.encode(ROCKETS, horizon="overall")
    [found] = ask(client, "steer", users=[user(ROCKETS)], tags={"space": 2.0, "tears": -1.0}, hold=0.5, k=3)[
        "users"
    ]
    moved = tiny.model.steer(plain, {"space": 2.0, "tears": -1.0}, hold=0.5)
    np.testing.assert_allclose(found["vector"], moved, atol=1e-4)
    best = np.argsort(-(tiny.model.item_vectors @ moved))
    unseen = [item + 1 for item in best.tolist() if item + 1 not in dict(ROCKETS)]
    assert [item["item_id"] for item in found["items"]] == unseen[:3]
    assert [item["rank"] for item in found["items"]] == [1, 2, 3]


def test_a_vector_is_steered_as_its_person_is(client):
    [plain] = ask(client, "encode", users=[user(ROCKETS)], horizon="overall")["users"]
    [found] = ask(client, "steer", users=[user(ROCKETS)], tags={"Space": 2.0})["users"]
    [same] = ask(client, "steer", vectors=[plain["vector"]], tags={"space": 2.0})["users"]
    np.testing.assert_allclose(same["vector"], found["vector"], atol=1e-4)


@pytest.mark.parametrize("horizon", ["next", "overall"])
def test_recommendations_follow_the_tags_that_are_given_with_them(client, horizon):
    asked = {"users": [user(ROCKETS)], "tags": {"space": 2.0}, "k": 3, "horizon": horizon}
    [steered] = ask(client, "steer", **asked)["users"]
    [recommended] = ask(client, "recommend", **asked)["users"]
    assert [item["item_id"] for item in recommended["items"]] == [
        item["item_id"] for item in steered["items"]
    ]


@pytest.mark.parametrize("horizon", ["next", "overall"])
def test_a_person_in_tags_has_own_films_behind_each_and_a_place_on_the_map(client, tiny, horizon):
    told = [*ROCKETS, (99, 1.0)]
    [found] = ask(client, "explain", users=[user(told)], tags=2, contributions=2, horizon=horizon)["users"]
    expected = tiny.model.explain(ROCKETS, tags=2, items=2, horizon=horizon)
    assert [tag["tag"] for tag in found["tags"]] == [reading.tag for reading in expected]
    for tag, reading in zip(found["tags"], expected, strict=True):
        assert tag["strength"] == pytest.approx(reading.strength, abs=1e-4)
        assert tag["reliability"] == pytest.approx(reading.reliability)
        assert [index["item_id"] for index in tag["contributions"]] == [
            item for item, _ in reading.contributions
        ]
        assert [index["effect"] for index in tag["contributions"]] == pytest.approx(
            [effect for _, effect in reading.contributions], abs=1e-4
        )
    assert len(found["map_position"]) == 2
    assert all(0 <= axis <= 1 for axis in found["map_position"])
    assert found["unknown"] == [99]


def test_films_in_tags_keep_the_order_of_the_request(client, tiny):
    told = ask(client, "explain", item_ids=[5, "3"], tags=2)
    assert set(told) == {"items"}
    assert [item["item_id"] for item in told["items"]] == [5, 3]
    expected = [reading.tag for reading in tiny.model.explain_item(5, tags=2)]
    assert [tag["tag"] for tag in told["items"][0]["tags"]] == expected


def test_a_model_without_tags_says_so(asking, make, bundle_of):
    client = asking(lambda: make(model=Recommender(bundle_of(tagged=False))))
    one = [user(ROCKETS)]
    for path, body in (
        ("explain", {"users": one}),
        ("explain", {"item_ids": [1]}),
        ("steer", {"users": one, "tags": {"space": 1}}),
        ("recommend", {"users": one, "tags": {"space": 1}}),
    ):
        answer = client.post(f"/v1/{path}", json=body)
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "no_tags"
    assert client.get("/v1/model").json()["tags"] == []
    assert client.post("/v1/recommend", json={"users": one}).status_code == 200


def test_people_are_found_with_films_that_they_love(client, asking, make):
    [found] = ask(client, "similar-users", users=[user(ROCKETS)], k=2)["users"]
    assert [one["user_id"] for one in found["users"]] == [7, 9]
    assert [one["rank"] for one in found["users"]] == [1, 2]
    assert found["users"][0]["similarity"] == 1.0
    favourites = [item["item_id"] for item in found["users"][0]["nearest_items"]]
    table = make().model.item_vectors
    assert favourites == [place + 1 for place in np.argsort(-(table @ table[0]))[:6]]
    [one, other] = ask(client, "similar-users", users=[user(ROCKETS), user([])], k=1)["users"]
    assert one["users"] == other["users"] == found["users"][:1]
    alone = asking(lambda: make(users=None)).post("/v1/similar-users", json={"users": [user(ROCKETS)]})
    assert alone.status_code == 404
    assert alone.json()["error"]["code"] == "no_users"


def test_nothing_of_anybody_is_kept(client):
    first = ask(client, "recommend", users=[user(ROCKETS)], k=5)
    ask(client, "recommend", users=[user(LETTERS)], k=5)
    assert ask(client, "recommend", users=[user(ROCKETS)], k=5) == first


def test_a_history_reads_as_the_python_interface_reads_it(tiny):
    from tastevec.serving.service.responses import parse_users  # noqa: PLC0415  beside what it is compared with
    from tastevec.serving.service.schemas import User  # noqa: PLC0415  as above

    scale = tiny.model.bundle.reading.scale
    told = parse_users([User.model_validate(user(ROCKETS))], tiny.catalog, scale).histories
    alone = history_of_one(ROCKETS, tiny.model.bundle.item_ids, scale)
    for name in ("user_ids", "offsets", "items", "ratings", "normalized_ratings", "timestamps"):
        np.testing.assert_array_equal(getattr(told, name), getattr(alone, name))
