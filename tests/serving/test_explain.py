"""Tag explanations of users and items, compared with encoding again by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import users as user_examples
from tastevec.data.topk import rank_items
from tastevec.errors import SettingsError
from tastevec.items.cold_start import load_item_features
from tastevec.items.tag_directions import TagDirections, tag_blocks
from tastevec.pipelines.evaluate import model_scorer
from tastevec.serving import explain as module
from tastevec.serving.explain import (
    explain_items,
    explain_users,
    item_effects,
    leave_one_out,
    with_user_reference,
)
from tastevec.serving.recommender import Recommender, load
from users import TAGGED, users

HORIZONS = pytest.mark.parametrize("horizon", ["next", "overall"])
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(scope="module", name="model")
def _model(bundle_folder) -> Recommender:
    return load(bundle_folder)


@pytest.fixture(scope="module", name="directions")
def _directions(model, prepared_folder) -> TagDirections:
    """Fit the tag directions of the tiny world: items of one taste share odd tags, the others even tags."""
    counts = model.bundle.items["train_users"].to_numpy()
    fitted = TagDirections.fit(tag_blocks(*load_item_features(prepared_folder)), model.item_vectors, counts)
    return with_user_reference(fitted, model.vectors, user_examples.world())


@pytest.fixture(scope="module", name="scattered")
def _scattered(model) -> TagDirections:
    """Return six random, unrelated tag directions."""
    rng = np.random.default_rng(5)
    dim = model.item_vectors.shape[1]
    names = tuple(f"tag {letter}" for letter in "abcdef")
    directions = TagDirections(
        names, rng.normal(size=(6, dim)).astype(np.float32), np.linspace(0.2, 1, 6).astype(np.float32), {}
    ).with_reference("items", model.item_vectors)
    return with_user_reference(directions, model.vectors, user_examples.world())


def explained(model, directions, histories, horizon="overall", **counts):
    return explain_users(
        model.attribution(horizon), directions, histories, model.vectors(histories, horizon), **counts
    )


def reread(model, directions, ratings, tag, horizon):
    """Return the strength of a tag for these ratings, oldest first, with the public encode."""
    vector = model.vectors(users(ratings), horizon)
    return directions.strengths(vector, horizon)[0, directions.names.index(tag)]


USER = [
    (0, 5.0, 100),
    (2, 4.0, 100),
    (11, 1.0, 5_000),
    (4, TAGGED, 5_001),
    (6, 3.0, 90_000),
    (15, 2.0, 90_002),
]


@HORIZONS
def test_contribution_equals_the_change_of_encoding_without_the_item(model, scattered, horizon):
    [readings] = explained(model, scattered, users(USER), horizon, tags=6, contributions=6)
    ids = model.bundle.item_ids
    assert readings
    for reading in readings:
        complete = reread(model, scattered, USER, reading.tag, horizon)
        assert reading.strength == pytest.approx(complete, abs=1e-4)
        changes = {}
        for place, (item, *_) in enumerate(USER):
            without = reread(model, scattered, USER[:place] + USER[place + 1 :], reading.tag, horizon)
            changes[ids[item]] = complete - without
        along = {item: change for item, change in changes.items() if change * complete > 1e-4}
        found = dict(reading.contributions)
        assert set(along) <= set(found)
        for item, effect in found.items():
            assert effect == pytest.approx(changes[item], abs=1e-3)
            assert effect * complete > 0
        sizes = [abs(effect) for _, effect in reading.contributions]
        assert sizes == sorted(sizes, reverse=True)


@given(st.integers(0, 8), st.data())
@settings(max_examples=30)
def test_shortened_histories_equal_histories_without_the_item(length, data):
    rows = [
        (item, data.draw(st.sampled_from([1.0, 2.5, 5.0, TAGGED])), 10 * place)
        for place, item in enumerate(data.draw(st.permutations(range(20)))[:length])
    ]
    places = np.array(data.draw(st.lists(st.integers(0, length - 1)) if length else st.just([])), np.int64)
    found = leave_one_out(users(rows), places)
    assert len(found) == len(places)
    for user, place in enumerate(places):
        by_hand = users(rows[:place] + rows[place + 1 :])
        one = found.take(np.array([user]))
        for name in ("items", "ratings", "normalized_ratings", "timestamps"):
            np.testing.assert_array_equal(getattr(one, name), getattr(by_hand, name))


@HORIZONS
def test_explanation_of_a_user_does_not_depend_on_the_batch(model, scattered, horizon):
    world = user_examples.world()
    together = explained(model, scattered, world, horizon, tags=4)
    for user in (0, 7):
        [alone] = explained(model, scattered, world.take(np.array([user])), horizon, tags=4)
        assert [reading.tag for reading in alone] == [reading.tag for reading in together[user]]
        for one, other in zip(alone, together[user], strict=True):
            assert one.strength == pytest.approx(other.strength, abs=1e-4)
            assert dict(one.contributions) == pytest.approx(dict(other.contributions), abs=1e-4)


def test_explain_separates_the_two_tastes(model, directions):
    """Users who rate rockets highly get the tags of rockets, the others those of letters."""
    found = explained(model, directions, user_examples.world(), contributions=0)
    first = [{reading.tag: reading.strength for reading in user} for user in found]
    rockets = {"Action", "Sci-Fi", *(f"tag {tag}" for tag in range(1, 13, 2))}
    for user, normalized_ratings in enumerate(first):
        for tag, strength in normalized_ratings.items():
            assert (strength > 0) == ((tag in rockets) == (user < 6))


def test_explain_sorts_tags_by_strength_and_reliability(model, scattered):
    for user in explained(model, scattered, user_examples.world(), tags=6, contributions=0):
        weighed = [abs(reading.strength) * reading.reliability for reading in user]
        assert weighed == sorted(weighed, reverse=True)
        assert all(reading.contributions == () for reading in user)


def test_explain_returns_at_most_the_requested_tags_and_contributions(model, scattered):
    for user in explained(model, scattered, user_examples.world(), tags=2, contributions=1):
        assert len(user) == 2
        assert all(len(reading.contributions) <= 1 for reading in user)


def test_explain_returns_one_of_similar_tags(model, directions):
    for user in explained(model, directions, user_examples.world(), tags=10, contributions=0):
        chosen = [directions.names.index(reading.tag) for reading in user]
        units = directions.directions[chosen]
        units = units / np.linalg.norm(units, axis=1, keepdims=True)
        assert np.abs(np.triu(units @ units.T, 1)).max(initial=0) <= 0.75


def test_explain_of_an_empty_history_has_no_contributions(model, scattered):
    found = explained(model, scattered, users([], [(3, 5.0)]))
    assert all(reading.contributions == () for reading in found[0])
    assert explained(model, scattered, users()) == []


def test_explain_of_a_long_history_removes_only_the_newest_items(model, scattered, monkeypatch):
    every = {cause for reading in _explained(model, scattered) for cause, _ in reading.contributions}
    monkeypatch.setattr(module, "_MAX_ITEMS", 2)
    newest = {cause for reading in _explained(model, scattered) for cause, _ in reading.contributions}
    ids = model.bundle.item_ids
    assert newest == {ids[6], ids[15]} & every


def test_explain_of_a_long_history_in_parts_is_equal(model, scattered, monkeypatch):
    complete = _explained(model, scattered)
    monkeypatch.setattr(module, "_MAX_ROWS", 1)
    for one, other in zip(complete, _explained(model, scattered), strict=True):
        assert dict(one.contributions) == pytest.approx(dict(other.contributions), abs=1e-4)


def _explained(model, directions):
    [readings] = explained(model, directions, users(USER), tags=6, contributions=6)
    return readings


def test_user_reference_of_many_users_takes_every_second_user(model, scattered, monkeypatch):
    monkeypatch.setattr(module, "_REFERENCE_USERS", 6)
    world = user_examples.world()
    some = with_user_reference(scattered, model.vectors, world)
    vectors = model.vectors(world.take(np.arange(0, 12, 2)), "overall")
    np.testing.assert_allclose(some.strengths(vectors, "overall").mean(axis=0), 0, atol=1e-4)
    without_users = with_user_reference(scattered, model.vectors, world.take(np.arange(0)))
    assert not without_users.strengths(vectors, "overall").any()


def test_explain_items_returns_their_tags(model, directions):
    found = explain_items(directions, model.item_vectors[[0, 15]])
    rockets = {"Action", "Sci-Fi", *(f"tag {tag}" for tag in range(1, 13, 2))}
    for rocket, readings in zip((True, False), found, strict=True):
        assert readings
        for reading in readings:
            assert (reading.strength > 0) == ((reading.tag in rockets) == rocket)
            assert reading.contributions == ()
    assert explain_items(directions, model.item_vectors[[]]) == []


@HORIZONS
def test_contribution_to_a_score_equals_its_loss_without_the_item(model, horizon):
    histories = users(USER, [(1, 5.0, 100)])
    best = rank_items(model_scorer(model, "ours").at_horizon(horizon).score(histories), histories, 19)
    found = item_effects(
        model.attribution(horizon),
        histories,
        model.vectors(histories, horizon),
        best,
        model.item_vectors,
        contributions=6,
    )
    ids = model.bundle.item_ids
    table = model.item_vectors
    vector = model.vectors(users(USER), horizon)[0]
    for place, item in enumerate(best[0]):
        if item < 0:
            assert found[0][place] == ()
            continue
        effects = [effect for _, effect in found[0][place]]
        assert effects == sorted(effects, reverse=True)
        for cause, effect in found[0][place]:
            without = [row for row in USER if ids[row[0]] != cause]
            other = model.vectors(users(without), horizon)[0]
            assert effect == pytest.approx(float((vector - other) @ table[item]), abs=1e-3)
            assert effect > 0
    assert (best[0] < 0).any()
    assert found[1][-1] in {(), *((((ids[1], effect),)) for _, effect in found[1][-1])}


def test_explain_with_an_unknown_horizon_is_refused(model):
    with pytest.raises(SettingsError, match="horizon: 'later'"):
        model.explain([(1, 5.0)], horizon="later")


def test_steer_by_more_recommends_more_items_of_the_tag(model, directions):
    """A larger amount toward rockets puts more rockets into the first ten items."""
    vectors = model.vectors(user_examples.world(), "overall")
    shares = []
    for dose in (-3.0, -1.0, 0.0, 1.0, 3.0):
        moved = np.stack([directions.steer(vector, {"tag 1": dose}) for vector in vectors])
        best = np.argsort(-(moved @ model.item_vectors.T), axis=1)[:, :10]
        shares.append((best < 10).mean())
    assert shares == sorted(shares)
    assert shares[-1] > shares[0]


def test_explain_encodes_the_user_once_and_once_without_each_item(model, monkeypatch):
    encoded, vectors = [], Recommender.user_vectors

    def counted(self, histories, *how):
        encoded.append(len(histories))
        return vectors(self, histories, *how)

    monkeypatch.setattr(Recommender, "user_vectors", counted)
    assert model.explain([(1, 5.0), (3, 4.0), (12, 1.0)], tags=1)
    assert encoded == [1, 3]
