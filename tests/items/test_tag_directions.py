"""Tag directions: selection of tags, reliability, strengths and steering (tastevec.items.tag_directions)."""

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
    """Return vectors whose first three dimensions are the relevance of three tags, the users of each item, and a generator."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(items, DIM)).astype(np.float32)
    return vectors, rng.integers(1, 50, items), rng


def block(relevance, names=TAGS, known=None):
    known = np.ones(len(relevance), bool) if known is None else known
    return TagBlock(tuple(names), sparse.csr_matrix(np.asarray(relevance, float)), known)


def fitted(seed=0, noise=0.3):
    """Return directions of three tags of such items, the vectors, and 40 user vectors with a mean other than 0."""
    vectors, users, rng = draw(seed)
    relevance = vectors[:, :3] + noise * rng.normal(size=(ITEMS, 3))
    user_vectors = (rng.normal(size=(40, DIM)) * 2 + 1).astype(np.float32)
    return (
        TagDirections.fit([block(relevance)], vectors, users).with_reference("overall", user_vectors),
        vectors,
        user_vectors,
    )


def random_directions(seed, tags=5):
    """Return random directions, which may be similar to each other."""
    rng = np.random.default_rng(seed)
    directions = TagDirections(
        tuple(f"tag {letter}" for letter in "abcdefgh"[:tags]),
        rng.normal(size=(tags, DIM)).astype(np.float32),
        rng.uniform(0.1, 1, tags).astype(np.float32),
        {},
    )
    return directions.with_reference("overall", rng.normal(size=(30, DIM)).astype(np.float32)), rng


def test_tag_directions_fit_relevance_and_noise_lowers_reliability():
    precise, _, _ = fitted(noise=0.1)
    noisy, _, _ = fitted(noise=1.5)
    np.testing.assert_allclose(precise.directions[:, :3], np.eye(3), atol=0.1)
    assert precise.reliability.min() > 0.95
    assert all(noisy.reliability < precise.reliability)


def test_tag_directions_drop_tags_without_reliability():
    vectors, users, rng = draw(items=400)
    relevance = np.column_stack([vectors[:, 0], rng.normal(size=400), np.ones(400)])
    directions = TagDirections.fit([block(relevance)], vectors, users)
    assert directions.names == ("space",)


def test_reliability_equals_leave_one_out_correlation():
    vectors, users, rng = draw(items=25)
    relevance = vectors[:, :3] + rng.normal(size=(25, 3))
    fit = TagRegression.fit(block(relevance), vectors, users)
    penalty = select_penalty([fit])
    weights, predicted = users / (users + 10), np.empty((25, 3))
    ridge = penalty * (fit.scatter.mean()) * weights.mean()  # for weights that do not have a mean of 1
    for item in range(25):
        rest = np.arange(25) != item
        center, mean = (np.average(of[rest], axis=0, weights=weights[rest]) for of in (vectors, relevance))
        centered, targets = vectors[rest] - center, weights[rest, None] * (relevance[rest] - mean)
        slopes = np.linalg.solve(
            centered.T @ (weights[rest, None] * centered) + ridge * np.eye(DIM), centered.T @ targets
        )
        predicted[item] = mean + (vectors[item] - center) @ slopes
    for tag in range(3):
        covariance = np.cov(predicted[:, tag], relevance[:, tag], aweights=weights)
        expected = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
        assert fit.reliability(penalty)[tag] == pytest.approx(max(expected, 0), abs=1e-6)


def test_tag_directions_ignore_items_without_tags_users_or_vector():
    vectors, users, rng = draw()
    relevance, known = vectors[:, :3] + 0.1 * rng.normal(size=(ITEMS, 3)), np.ones(ITEMS, bool)
    known[3], users[5], vectors[7] = False, 0, 0
    changed = relevance.copy()
    changed[[3, 5, 7]] = 1e6
    one, other = (
        TagDirections.fit([block(values, known=known)], vectors, users) for values in (relevance, changed)
    )
    np.testing.assert_array_equal(one.directions, other.directions)


def test_tag_directions_without_items_or_tags_are_empty():
    vectors, users, _ = draw()
    for blocks in ([], [block(vectors[:9, :3])]):
        count = len(blocks) and 9
        directions = TagDirections.fit(blocks, vectors[:count], users[:count])
        assert directions.names == ()
        assert directions.strengths(vectors, "items").shape == (ITEMS, 0)
        with pytest.raises(SettingsError, match="The model has no tags"):
            directions.steer(vectors[0], {"space": 1})


def test_tag_directions_keep_most_reliable_spelling():
    vectors, users, rng = draw()
    noisy = vectors[:, :1] + rng.normal(size=(ITEMS, 1))
    blocks = [block(noisy, ["Sci-Fi"]), block(vectors[:, :1], ["scifi"])]
    assert TagDirections.fit(blocks, vectors, users).names == ("scifi",)


@given(SEEDS)
@settings(max_examples=20)
def test_tag_directions_do_not_depend_on_item_order(seed):
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


def test_tag_directions_in_groups_of_tags_equal_one_group(monkeypatch):
    expected, _, _ = fitted()
    monkeypatch.setattr("tastevec.items.tag_directions._CELLS", ITEMS)
    parts, _, _ = fitted()
    np.testing.assert_allclose(expected.directions, parts.directions, rtol=1e-6)


def test_strengths_of_reference_users_are_z_scores():
    directions, _, user_vectors = fitted()
    strengths = directions.strengths(user_vectors, "overall")
    np.testing.assert_allclose(strengths.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(strengths.std(axis=0), 1, rtol=1e-5)


def test_item_strengths_weigh_items_by_their_users():
    vectors, users, _ = draw()
    directions = TagDirections.fit([block(vectors[:, :3])], vectors, users)
    rated = np.repeat(vectors, users, axis=0)
    strengths = directions.strengths(rated, "items")
    np.testing.assert_allclose(strengths.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(strengths.std(axis=0), 1, rtol=1e-4)


def test_strengths_are_zero_and_steering_has_no_effect_without_deviation():
    directions, _, user_vectors = fitted()
    constant = directions.with_reference("overall", user_vectors[:1])
    assert not constant.strengths(user_vectors, "overall").any()
    np.testing.assert_array_equal(constant.steer(user_vectors[0], {"space": 1}), user_vectors[0])
    assert not directions.with_reference("overall", user_vectors[:0]).strengths(user_vectors, "overall").any()


def test_distinct_keeps_first_of_redundant_tags():
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
def test_steer_changes_each_strength_by_its_amount(seed, amounts, hold):
    directions, rng = random_directions(seed)
    vector = rng.normal(size=DIM).astype(np.float32)
    given_tags = dict(zip(directions.names, amounts, strict=False))
    moved = directions.steer(vector, given_tags, hold=hold)
    assert moved.dtype == np.float32
    change = directions.strengths(np.stack([vector, moved]), "overall")
    singular = np.linalg.svd(directions.directions[:3], compute_uv=False)
    if singular[-1] > 0.3 * singular[0]:  # else the three cannot be moved apart
        np.testing.assert_allclose((change[1] - change[0])[:3], amounts, atol=1e-3)


@given(SEEDS, st.floats(-3, 3), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=50)
def test_steer_with_higher_hold_changes_other_strengths_less(seed, amount, one, other):
    directions, rng = random_directions(seed)
    vector = rng.normal(size=DIM).astype(np.float32)
    units = directions.directions / np.linalg.norm(directions.directions, axis=1, keepdims=True)
    held = np.abs(units @ units[0]) <= 0.75

    def rest(hold):
        moved = directions.steer(vector, {"tag a": amount}, hold=hold)
        change = directions.strength_changes(moved - vector, "overall") * directions.reliability
        return (change[held] ** 2).sum()

    less, more = sorted((one, other))
    assert rest(more) <= rest(less) * (1 + 1e-3) + 1e-6


def test_steer_without_hold_moves_along_the_tag():
    directions, vectors, _ = fitted()
    move = directions.steer(vectors[0], {"tears": 2.0}, hold=0) - vectors[0]
    direction = directions.directions[directions.names.index("tears")]
    cosine = move @ direction / np.linalg.norm(move) / np.linalg.norm(direction)
    assert cosine == pytest.approx(1, abs=1e-4)


def test_steer_moves_identical_tags_together():
    twins = TagDirections(
        ("one", "two"), np.eye(1, DIM, dtype=np.float32).repeat(2, 0), np.ones(2, np.float32), {}
    ).with_reference("overall", np.random.default_rng(0).normal(size=(30, DIM)).astype(np.float32))
    vector = np.zeros(DIM, np.float32)
    follows = twins.strength_changes(twins.steer(vector, {"one": 1.0}), "overall")
    np.testing.assert_allclose(follows, [1, 1], rtol=1e-5)
    opposed = twins.strength_changes(twins.steer(vector, {"one": 1.0, "two": -1.0}), "overall")
    np.testing.assert_allclose(opposed, [0, 0], atol=1e-4)


def test_steer_by_nothing_or_zero_keeps_vector():
    directions, vectors, _ = fitted()
    np.testing.assert_array_equal(directions.steer(vectors[0], {}), vectors[0])
    np.testing.assert_allclose(directions.steer(vectors[0], {"fog": 0.0}), vectors[0])


@pytest.mark.parametrize(
    ("amounts", "hold", "message"),
    [
        ({"spacee": 1.0}, 1.0, r"tag 'spacee' is unknown. Did you mean 'space'\?"),
        ({"zzz": 1.0}, 1.0, "tag 'zzz' is unknown. Expected one of the 3 tags of the model, such as "),
        ({"fog": float("nan")}, 1.0, "tag 'fog': nan. Expected a number of standard deviations"),
        ({"fog": 1.0}, 1.5, r"hold: 1.5. Expected a number from 0 \(move along the tag\) to 1"),
        ({"fog": 1.0}, float("nan"), "hold: nan"),
    ],
)
def test_steer_refuses_unknown_tag_or_invalid_number(amounts, hold, message):
    directions, vectors, _ = fitted()
    with pytest.raises(SettingsError, match=message):
        directions.steer(vectors[0], amounts, hold=hold)


def test_steer_accepts_any_spelling():
    directions, vectors, _ = fitted()
    one, other = (directions.steer(vectors[0], {name: 1.0}) for name in ("space", "SPACE!"))
    np.testing.assert_array_equal(one, other)


def test_strengths_refuse_reference_without_statistics():
    directions, vectors, _ = fitted()
    with pytest.raises(SettingsError, match=r"'next' has no tag statistics. Expected one of items, overall"):
        directions.strengths(vectors, "next")


@given(st.lists(st.text(min_size=1, max_size=8), max_size=5), SEEDS)
@settings(max_examples=25)
def test_tag_directions_survive_saving_with_any_names(tmp_path_factory, names, seed):
    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("tags")
    directions = TagDirections(
        tuple(names),
        rng.normal(size=(len(names), DIM)).astype(np.float32),
        rng.uniform(size=len(names)).astype(np.float32),
        {},
    )
    for reference in ("items", "next", "overall"):
        directions = directions.with_reference(reference, rng.normal(size=(5, DIM)).astype(np.float32))
    directions.save(folder / "one")
    again = TagDirections.load(folder / "one")
    again.save(folder / "two")
    assert (folder / "one").read_bytes() == (folder / "two").read_bytes()
    assert again.names == directions.names
    vectors = rng.normal(size=(3, DIM)).astype(np.float32)
    for reference in ("items", "next", "overall"):
        np.testing.assert_array_equal(
            again.strengths(vectors, reference), directions.strengths(vectors, reference)
        )


# Tags of 40 items, each with a genre. Many users give "space" to the same items and "mine" to different ones; one user gives
# "private" to most.
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


def tag_table(**words):
    """Return each tag of each item, so many times."""
    rows = [(item, word, times) for word, items in words.items() for item, times in items.items()]
    items, names, times = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table(
        {
            "item_id": pa.array(items, pa.int64()),
            "tag": pa.array(names, pa.string()),
            "weight": pa.array(times, pa.float64()),
        }
    )


def blocks_by_tag(tags, genome=None):
    """Return the block and the relevances of each tag."""
    features = ContentFeatures.fit(catalog(), tags, genome)
    return {
        name: (block, block.relevance[:, column].toarray().ravel())
        for block in tag_blocks(features, features.read(catalog(), tags, genome))
        for column, name in enumerate(block.names)
    }


EVERYWHERE = dict.fromkeys(range(COUNT), 1)


def test_tag_blocks_keep_tags_on_which_users_agree():
    agreed = {item: 4 if item < 8 else 1 for item in range(12)}
    scattered = {item: 2 if item in {20, 30} else 1 for item in range(COUNT)}
    blocks = blocks_by_tag(tag_table(space=agreed, mine=scattered, private=EVERYWHERE, once={0: 3, 1: 3}))
    assert sorted(blocks) == ["Drama", "Sci-Fi", "War", "space"]
    block, relevance = blocks["space"]
    assert np.flatnonzero(relevance).tolist() == list(range(12))
    assert set(relevance.tolist()) == {0.0, 1.0}
    assert block.known.all()


def test_tag_blocks_without_repeated_tags_keep_all():
    assert "private" in blocks_by_tag(tag_table(private=EVERYWHERE))


def test_tag_blocks_use_counts_of_the_source():
    """Each item has one tag, so that a norm of its row would hide how often it was given."""
    space, private = dict.fromkeys(range(10), 6), dict.fromkeys(range(10, COUNT), 1)
    assert sorted(blocks_by_tag(tag_table(space=space, private=private))) == [
        "Drama",
        "Sci-Fi",
        "War",
        "space",
    ]


def test_tag_blocks_merge_spellings_and_drop_numbers():
    one = dict.fromkeys(range(8), 3)
    tags = {"post-war": one, "Post War": dict.fromkeys(range(8, 11), 3), "1990": one, "?!": one}
    blocks = blocks_by_tag(tag_table(**tags))
    assert sorted(blocks) == ["Drama", "Sci-Fi", "War", "post-war"]
    assert np.flatnonzero(blocks["post-war"][1]).tolist() == list(range(11))
    assert tag_key("Post War") == tag_key("post-war")


def test_tag_blocks_know_tagged_items_for_tags_and_all_items_for_genres():
    blocks = blocks_by_tag(tag_table(space=dict.fromkeys(range(12), 3)))
    assert blocks["space"][0].known.tolist() == [item < 12 for item in range(COUNT)]
    assert blocks["Drama"][0].known.all()


def test_tag_blocks_hold_genome_relevances_instead_of_user_tags():
    relevance = np.random.default_rng(0).uniform(size=(20, 2)).astype(np.float32)
    genome = Genome(np.arange(20), ("dark", "light"), relevance)
    blocks = blocks_by_tag(tag_table(space=dict.fromkeys(range(12), 3)), genome)
    assert sorted(blocks) == ["Drama", "Sci-Fi", "War", "dark", "light"]
    block, dark = blocks["dark"]
    assert block.known.tolist() == [item < 20 for item in range(COUNT)]
    np.testing.assert_array_equal(dark[:20], relevance[:, 0])
    assert not dark[20:].any()


def test_tag_blocks_without_tags_are_genres():
    assert sorted(blocks_by_tag(tag_table())) == ["Drama", "Sci-Fi", "War"]


@given(SEEDS)
@settings(max_examples=20)
def test_tag_blocks_do_not_depend_on_order_of_items_and_tags(seed):
    rng = np.random.default_rng(seed)
    tags = tag_table(
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
