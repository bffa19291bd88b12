"""Vectors in words: which tags there are, how sure each is, how a vector is read and moved along them."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from tastevec.errors import SettingsError
from tastevec.items.content import ContentFeatures
from tastevec.items.genome import Genome
from tastevec.items.tag_directions import (
    TagBlock,
    TagDirections,
    TagRegression,
    select_penalty,
    tag_blocks,
    tag_key,
)

DIM, ITEMS = 6, 60
TAGS = ("space", "tears", "fog")
SEEDS = st.integers(0, 2**32 - 1)


def draw(seed=0, items=ITEMS):
    """Films whose first three numbers say how much the three tags apply, and the people behind each."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(items, DIM)).astype(np.float32)
    return vectors, rng.integers(1, 50, items), rng


def block(relevance, names=TAGS, known=None):
    known = np.ones(len(relevance), bool) if known is None else known
    return TagBlock(tuple(names), sparse.csr_matrix(np.asarray(relevance, float)), known)


def fitted(seed=0, noise=0.3):
    """Three tags of such films, and 40 people around an average that is not 0."""
    vectors, users, rng = draw(seed)
    relevance = vectors[:, :3] + noise * rng.normal(size=(ITEMS, 3))
    crowd = (rng.normal(size=(40, DIM)) * 2 + 1).astype(np.float32)
    return (
        TagDirections.fit([block(relevance)], vectors, users).with_reference("overall", crowd),
        vectors,
        crowd,
    )


def made(seed, tags=5):
    """Directions of any kind, so that they may lie near each other."""
    rng = np.random.default_rng(seed)
    directions = TagDirections(
        tuple(f"tag {letter}" for letter in "abcdefgh"[:tags]),
        rng.normal(size=(tags, DIM)).astype(np.float32),
        rng.uniform(0.1, 1, tags).astype(np.float32),
        {},
    )
    return directions.with_reference("overall", rng.normal(size=(30, DIM)).astype(np.float32)), rng


def test_a_tag_is_found_where_it_lies_and_is_the_surer_the_plainer_it_is():
    plain, _, _ = fitted(noise=0.1)
    vague, _, _ = fitted(noise=1.5)
    np.testing.assert_allclose(plain.directions[:, :3], np.eye(3), atol=0.1)
    assert plain.reliability.min() > 0.95
    assert all(vague.reliability < plain.reliability)


def test_a_tag_that_no_vector_tells_is_left_out():
    vectors, users, rng = draw(items=400)
    relevance = np.column_stack([vectors[:, 0], rng.normal(size=400), np.ones(400)])
    directions = TagDirections.fit([block(relevance)], vectors, users)
    assert directions.names == ("space",)


def test_confidence_is_that_of_films_left_out_one_by_one():
    vectors, users, rng = draw(items=25)
    relevance = vectors[:, :3] + rng.normal(size=(25, 3))
    fit = TagRegression.fit(block(relevance), vectors, users)
    penalty = select_penalty([fit])
    weights, own = users / (users + 10), np.empty((25, 3))
    ridge = penalty * (fit.scatter.mean()) * weights.mean()  # on the weights as they are
    for item in range(25):
        rest = np.arange(25) != item
        center, mean = (np.average(of[rest], axis=0, weights=weights[rest]) for of in (vectors, relevance))
        apart, wanted = vectors[rest] - center, weights[rest, None] * (relevance[rest] - mean)
        slopes = np.linalg.solve(
            apart.T @ (weights[rest, None] * apart) + ridge * np.eye(DIM), apart.T @ wanted
        )
        own[item] = mean + (vectors[item] - center) @ slopes
    for tag in range(3):
        both = np.cov(own[:, tag], relevance[:, tag], aweights=weights)
        expected = both[0, 1] / np.sqrt(both[0, 0] * both[1, 1])
        assert fit.reliability(penalty)[tag] == pytest.approx(max(expected, 0), abs=1e-6)


def test_films_of_which_nothing_is_said_or_known_teach_nothing():
    vectors, users, rng = draw()
    relevance, known = vectors[:, :3] + 0.1 * rng.normal(size=(ITEMS, 3)), np.ones(ITEMS, bool)
    known[3], users[5], vectors[7] = False, 0, 0
    spoilt = relevance.copy()
    spoilt[[3, 5, 7]] = 1e6
    one, other = (
        TagDirections.fit([block(told, known=known)], vectors, users) for told in (relevance, spoilt)
    )
    np.testing.assert_array_equal(one.directions, other.directions)


def test_without_films_or_tags_there_is_nothing_to_tell():
    vectors, users, _ = draw()
    for blocks in ([], [block(vectors[:9, :3])]):
        count = len(blocks) and 9
        directions = TagDirections.fit(blocks, vectors[:count], users[:count])
        assert directions.names == ()
        assert directions.strengths(vectors, "items").shape == (ITEMS, 0)
        with pytest.raises(SettingsError, match="The model has no tags"):
            directions.steer(vectors[0], {"space": 1})


def test_of_two_spellings_the_surer_stays():
    vectors, users, rng = draw()
    vague = vectors[:, :1] + rng.normal(size=(ITEMS, 1))
    blocks = [block(vague, ["Sci-Fi"]), block(vectors[:, :1], ["scifi"])]
    assert TagDirections.fit(blocks, vectors, users).names == ("scifi",)


@given(SEEDS)
@settings(max_examples=20)
def test_the_order_of_the_films_changes_nothing(seed):
    vectors, users, rng = draw(seed)
    relevance = vectors[:, :3] + 0.5 * rng.normal(size=(ITEMS, 3))
    order = rng.permutation(ITEMS)
    one = TagDirections.fit([block(relevance)], vectors, users)
    other = TagDirections.fit([block(relevance[order])], vectors[order], users[order])
    assert one.names == other.names
    np.testing.assert_allclose(one.directions, other.directions, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(one.reliability, other.reliability, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        one.references["items"].mean, other.references["items"].mean, rtol=1e-4, atol=1e-5
    )


def test_a_long_catalogue_in_groups_of_tags_is_the_same(monkeypatch):
    whole, _, _ = fitted()
    monkeypatch.setattr("tastevec.items.tag_directions._CELLS", ITEMS)
    parts, _, _ = fitted()
    np.testing.assert_allclose(whole.directions, parts.directions, rtol=1e-6)


def test_readings_are_standard_deviations_from_the_average():
    directions, _, crowd = fitted()
    readings = directions.strengths(crowd, "overall")
    np.testing.assert_allclose(readings.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(readings.std(axis=0), 1, rtol=1e-5)


def test_a_film_is_compared_with_films_as_often_as_they_were_seen():
    vectors, users, _ = draw()
    directions = TagDirections.fit([block(vectors[:, :3])], vectors, users)
    seen = np.repeat(vectors, users, axis=0)
    readings = directions.strengths(seen, "items")
    np.testing.assert_allclose(readings.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(readings.std(axis=0), 1, rtol=1e-4)


def test_where_all_are_alike_nobody_differs_and_nobody_can_be_moved():
    directions, _, crowd = fitted()
    alike = directions.with_reference("overall", crowd[:1])
    assert not alike.strengths(crowd, "overall").any()
    np.testing.assert_array_equal(alike.steer(crowd[0], {"space": 1}), crowd[0])
    assert not directions.with_reference("overall", crowd[:0]).strengths(crowd, "overall").any()


def test_tags_that_say_the_same_or_its_opposite_are_told_once():
    directions = TagDirections(
        ("sci-fi", "space", "down to earth", "tears"),
        np.array([[1, 0], [1, 0.2], [-1, 0.1], [0, 1]], np.float32),
        np.ones(4, np.float32),
        {},
    )
    assert directions.distinct([1, 0, 2, 3], 3) == [1, 3]
    assert directions.distinct([3, 2, 1, 0], 1) == [3]
    assert directions.distinct([], 3) == []


@given(SEEDS, st.lists(st.floats(-3, 3), min_size=3, max_size=3), st.floats(0, 1))
@settings(max_examples=50)
def test_steering_changes_each_wanted_reading_by_its_dose(seed, doses, hold):
    directions, rng = made(seed)
    vector = rng.normal(size=DIM).astype(np.float32)
    wanted = dict(zip(directions.names, doses, strict=False))
    moved = directions.steer(vector, wanted, hold=hold)
    assert moved.dtype == np.float32
    change = directions.strengths(np.stack([vector, moved]), "overall")
    apart = np.linalg.svd(directions.directions[:3], compute_uv=False)
    if apart[-1] > 0.3 * apart[0]:  # else the three cannot be moved apart
        np.testing.assert_allclose((change[1] - change[0])[:3], doses, atol=1e-3)


@given(SEEDS, st.floats(-3, 3), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=50)
def test_the_more_is_held_the_less_other_readings_change(seed, dose, one, other):
    directions, rng = made(seed)
    vector = rng.normal(size=DIM).astype(np.float32)
    units = directions.directions / np.linalg.norm(directions.directions, axis=1, keepdims=True)
    held = np.abs(units @ units[0]) <= 0.75

    def rest(hold):
        moved = directions.steer(vector, {"tag a": dose}, hold=hold)
        change = directions.strength_changes(moved - vector, "overall") * directions.reliability
        return (change[held] ** 2).sum()

    less, more = sorted((one, other))
    assert rest(more) <= rest(less) * (1 + 1e-3) + 1e-6


def test_held_by_nothing_a_vector_moves_along_the_tag():
    directions, vectors, _ = fitted()
    move = directions.steer(vectors[0], {"tears": 2.0}, hold=0) - vectors[0]
    direction = directions.directions[directions.names.index("tears")]
    cosine = move @ direction / np.linalg.norm(move) / np.linalg.norm(direction)
    assert cosine == pytest.approx(1, abs=1e-4)


def test_a_tag_that_says_the_same_follows_and_no_tag_can_be_torn_from_itself():
    twins = TagDirections(
        ("one", "two"), np.eye(1, DIM, dtype=np.float32).repeat(2, 0), np.ones(2, np.float32), {}
    ).with_reference("overall", np.random.default_rng(0).normal(size=(30, DIM)).astype(np.float32))
    vector = np.zeros(DIM, np.float32)
    follows = twins.strength_changes(twins.steer(vector, {"one": 1.0}), "overall")
    np.testing.assert_allclose(follows, [1, 1], rtol=1e-5)
    torn = twins.strength_changes(twins.steer(vector, {"one": 1.0, "two": -1.0}), "overall")
    np.testing.assert_allclose(torn, [0, 0], atol=1e-4)


def test_nothing_wanted_moves_nothing():
    directions, vectors, _ = fitted()
    np.testing.assert_array_equal(directions.steer(vectors[0], {}), vectors[0])
    np.testing.assert_allclose(directions.steer(vectors[0], {"fog": 0.0}), vectors[0])


@pytest.mark.parametrize(
    ("wanted", "hold", "said"),
    [
        ({"spacee": 1.0}, 1.0, r"tag 'spacee' is unknown. Did you mean 'space'\?"),
        ({"zzz": 1.0}, 1.0, "tag 'zzz' is unknown. Expected one of the 3 tags of the model, such as "),
        ({"fog": float("nan")}, 1.0, "tag 'fog': nan. Expected a number of standard deviations"),
        ({"fog": 1.0}, 1.5, r"hold: 1.5. Expected a number from 0 \(move along the tag\) to 1"),
        ({"fog": 1.0}, float("nan"), "hold: nan"),
    ],
)
def test_what_cannot_be_steered_is_refused(wanted, hold, said):
    directions, vectors, _ = fitted()
    with pytest.raises(SettingsError, match=said):
        directions.steer(vectors[0], wanted, hold=hold)


def test_any_spelling_of_a_tag_is_understood():
    directions, vectors, _ = fitted()
    one, other = (directions.steer(vectors[0], {name: 1.0}) for name in ("space", "SPACE!"))
    np.testing.assert_array_equal(one, other)


def test_people_can_be_read_once_people_were_measured():
    directions, vectors, _ = fitted()
    with pytest.raises(SettingsError, match=r"'next' has no tag statistics. Expected one of items, overall"):
        directions.strengths(vectors, "next")


@given(st.lists(st.text(min_size=1, max_size=8), max_size=5), SEEDS)
@settings(max_examples=25)
def test_saved_directions_are_the_same_whatever_the_words(tmp_path_factory, names, seed):
    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("tags")
    directions = TagDirections(
        tuple(names),
        rng.normal(size=(len(names), DIM)).astype(np.float32),
        rng.uniform(size=len(names)).astype(np.float32),
        {},
    )
    for kind in ("items", "next", "overall"):
        directions = directions.with_reference(kind, rng.normal(size=(5, DIM)).astype(np.float32))
    directions.save(folder / "one")
    again = TagDirections.load(folder / "one")
    again.save(folder / "two")
    assert (folder / "one").read_bytes() == (folder / "two").read_bytes()
    assert again.names == directions.names
    asked = rng.normal(size=(3, DIM)).astype(np.float32)
    for kind in ("items", "next", "overall"):
        np.testing.assert_array_equal(again.strengths(asked, kind), directions.strengths(asked, kind))


# What is said of films. Each of 40 films has a genre; "space" is said by many of the same films, "mine" by many of different
# ones, "shelf" by one person of most.
COUNT = 40


def catalog():
    years, genres = [1990] * COUNT, [["Sci-Fi"] if item % 2 else ["Drama", "War"] for item in range(COUNT)]
    return pa.table(
        {
            "item_id": pa.array(range(COUNT), pa.int64()),
            "title": pa.array([""] * COUNT),
            "year": pa.array(years, pa.int32()),
            "genres": pa.array(genres, pa.list_(pa.string())),
        }
    )


def said(**words):
    """Each word of each film, so and so often."""
    rows = [(item, word, times) for word, items in words.items() for item, times in items.items()]
    items, names, times = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table(
        {
            "item_id": pa.array(items, pa.int64()),
            "tag": pa.array(names, pa.string()),
            "weight": pa.array(times, pa.float64()),
        }
    )


def told(tags, genome=None):
    features = ContentFeatures.fit(catalog(), tags, genome)
    return {
        name: (block, block.relevance[:, place].toarray().ravel())
        for block in tag_blocks(features, features.read(catalog(), tags, genome))
        for place, name in enumerate(block.names)
    }


EVERYWHERE = dict.fromkeys(range(COUNT), 1)


def test_a_word_counts_where_people_say_it_of_the_same_films():
    agreed = {item: 4 if item < 8 else 1 for item in range(12)}
    scattered = {item: 2 if item in {20, 30} else 1 for item in range(COUNT)}
    found = told(said(space=agreed, mine=scattered, shelf=EVERYWHERE, once={0: 3, 1: 3}))
    assert sorted(found) == ["Drama", "Sci-Fi", "War", "space"]
    block, relevance = found["space"]
    assert np.flatnonzero(relevance).tolist() == list(range(12))
    assert set(relevance.tolist()) == {0.0, 1.0}
    assert block.known.all()


def test_where_nothing_is_said_twice_every_word_counts():
    assert "shelf" in told(said(shelf=EVERYWHERE))


def test_all_spellings_are_one_word_under_the_commonest_and_numbers_are_none():
    one = dict.fromkeys(range(8), 3)
    tags = {"post-war": one, "Post War": dict.fromkeys(range(8, 11), 3), "1990": one, "?!": one}
    found = told(said(**tags))
    assert sorted(found) == ["Drama", "Sci-Fi", "War", "post-war"]
    assert np.flatnonzero(found["post-war"][1]).tolist() == list(range(11))
    assert tag_key("Post War") == tag_key("post-war")


def test_films_of_which_nobody_said_a_word_are_unknown_to_tags_and_known_to_genres():
    found = told(said(space=dict.fromkeys(range(12), 3)))
    assert found["space"][0].known.tolist() == [item < 12 for item in range(COUNT)]
    assert found["Drama"][0].known.all()


def test_a_genome_stands_for_what_people_said():
    relevance = np.random.default_rng(0).uniform(size=(20, 2)).astype(np.float32)
    genome = Genome(np.arange(20), ("dark", "light"), relevance)
    found = told(said(space=dict.fromkeys(range(12), 3)), genome)
    assert sorted(found) == ["Drama", "Sci-Fi", "War", "dark", "light"]
    block, dark = found["dark"]
    assert block.known.tolist() == [item < 20 for item in range(COUNT)]
    np.testing.assert_array_equal(dark[:20], relevance[:, 0])
    assert not dark[20:].any()


def test_where_nobody_said_anything_there_are_genres():
    assert sorted(told(said())) == ["Drama", "Sci-Fi", "War"]


@given(SEEDS)
@settings(max_examples=20)
def test_the_order_in_which_films_and_words_are_told_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    tags = said(
        **{
            word: {int(item): int(rng.integers(1, 5)) for item in rng.permutation(COUNT)[:15]}
            for word in "abcd"
        }
    )
    features = ContentFeatures.fit(catalog(), tags)
    order = rng.permutation(COUNT)
    items = catalog().take(pa.array(order))
    shuffled = tags.take(pa.array(rng.permutation(len(tags))))
    blocks = tag_blocks(features, features.read(catalog(), tags))
    others = tag_blocks(features, features.read(items, shuffled))
    for one, other in zip(blocks, others, strict=True):
        assert one.names == other.names
        assert (one.relevance[order] != other.relevance).nnz == 0
        np.testing.assert_array_equal(one.known[order], other.known)
