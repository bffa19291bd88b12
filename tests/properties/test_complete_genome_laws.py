from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from tastevec.items.genome import Genome
from tastevec.items.genome_prediction import CompleteGenome, Factors, complete

TAGS = ("space", "love", "quiet", "classic")
WORDS = (*TAGS, "boring", "see again")


@st.composite
def worlds(draw):
    """A catalogue of 12 to 20 films, some of them bare, at least 10 measured, with tags and perhaps factors."""
    count = draw(st.integers(12, 20))
    ids = draw(st.lists(st.integers(1, 10**6), min_size=count, max_size=count, unique=True))
    genres = st.lists(st.sampled_from(["Drama", "War", "Comedy"]), max_size=2, unique=True)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    items = pa.table(
        {
            "item_id": pa.array(ids, pa.int64()),
            "title": pa.array(draw(st.lists(st.sampled_from(["", "War of Stars", "Stars"]), min_size=count, max_size=count))),
            "year": pa.array(draw(st.lists(st.none() | st.integers(1920, 2020), min_size=count, max_size=count)), pa.int32()),
            "genres": pa.array(draw(st.lists(genres, min_size=count, max_size=count)), pa.list_(pa.string())),
        }
    )  # fmt: skip
    rows = draw(
        st.lists(st.tuples(st.sampled_from(ids), st.sampled_from(WORDS), st.floats(0.1, 40)), max_size=60)
    )
    tags = pa.table(
        {
            "item_id": pa.array([row[0] for row in rows], pa.int64()),
            "tag": pa.array([row[1] for row in rows], pa.string()),
            "weight": pa.array([row[2] for row in rows], pa.float64()),
        }
    )
    known = np.sort(rng.permutation(ids)[: draw(st.integers(10, count))])
    relevance = rng.uniform(size=(len(known), len(TAGS))).astype(np.float32)
    counts = rng.integers(0, 30, count) * (rng.uniform(size=count) < 0.7)
    factors = Factors(rng.normal(size=(count, 3)).astype(np.float32) * (counts > 0)[:, None], counts)
    return Genome(known, TAGS, relevance), items, tags, draw(st.sampled_from([None, factors]))


def made(world) -> CompleteGenome:
    genome, items, tags, factors = world
    return complete(genome, items, tags, factors=factors)


@settings(max_examples=40)
@given(worlds())
def test_relevance_and_confidence_are_shares_and_what_was_measured_stays_bit_for_bit(world):
    genome, items, _, _ = world
    whole = made(world)
    assert whole.relevance.shape == (len(items), len(TAGS))
    assert whole.relevance.dtype == np.float32
    for shares in (whole.relevance, whole.confidence):
        assert ((shares >= 0) & (shares <= 1)).all()
    rows = genome.rows_of(items["item_id"])
    assert (whole.measured == (rows >= 0)).all()
    assert whole.relevance[whole.measured].tobytes() == genome.relevance[rows[rows >= 0]].tobytes()


@settings(max_examples=40)
@given(worlds())
def test_a_film_of_which_nothing_is_known_has_the_mean_genome_and_nobody_less_confidence(world):
    genome, items, tags, factors = world
    bare = pa.table({"item_id": [0], "title": [""], "year": pa.array([None], pa.int32()), "genres": [[]]})
    items = pa.concat_tables([items, bare.cast(items.schema)])
    if factors is not None:
        factors = Factors(
            np.vstack([factors.vectors, np.zeros((1, 3), np.float32)]), np.append(factors.counts, 0)
        )
    whole = made((genome, items, tags, factors))
    assert whole.sources[-1] == "none"
    assert whole.confidence[-1] == whole.confidence.min() == 0
    np.testing.assert_allclose(whole.relevance[-1], genome.relevance.mean(axis=0), rtol=1e-5)


@settings(max_examples=40)
@given(worlds(), st.randoms(use_true_random=False))
def test_the_order_of_films_of_tags_and_of_the_genome_changes_no_bit(world, random):
    genome, items, tags, factors = world
    indices, rows, known = (
        np.array(random.sample(range(count), count), np.int64)
        for count in (len(items), len(tags), len(genome.item_ids))
    )
    turned = made(
        (
            Genome(genome.item_ids[known], TAGS, genome.relevance[known]),
            items.take(pa.array(indices)),
            tags.take(pa.array(rows)),
            factors and factors.take(indices),
        )
    )
    straight = made(world)
    assert turned.relevance.tobytes() == straight.relevance[indices].tobytes()
    assert turned.confidence.tobytes() == straight.confidence[indices].tobytes()
    assert turned.sources.tolist() == straight.sources[indices].tolist()
    places = np.arange(len(items))
    assert turned.standard_errors(places).tobytes() == straight.standard_errors(places)[indices].tobytes()


@settings(max_examples=15)
@given(worlds())
def test_the_same_world_gives_the_same_bytes(world):
    assert made(world).relevance.tobytes() == made(world).relevance.tobytes()
