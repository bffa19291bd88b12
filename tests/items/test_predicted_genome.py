from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tastevec.data.expressions import connect
from tastevec.data.readers import ReadSettings, read_source
from tastevec.errors import DataError
from tastevec.items.genome import Genome, read_genome
from tastevec.items.genome_prediction import Factors, complete, row_correlations

DATA = Path(__file__).parents[3] / "shared" / "data"
TAGS = ("Space", "love", "quiet")
ITEMS = 40  # 1 to 20 fly to space, 21 to 40 are of love
MEASURED = [item for item in range(1, ITEMS + 1) if item % 4]


def catalog(*, bare: int = 0) -> pa.Table:
    """The films, and behind them so many of which nothing is known."""
    genres = [["Sci-Fi"] if item <= ITEMS // 2 else ["Romance"] for item in range(1, ITEMS + 1)]
    return pa.table(
        {
            "item_id": pa.array(range(1, ITEMS + bare + 1), pa.int64()),
            "title": pa.array([""] * (ITEMS + bare)),
            "year": pa.array([None] * (ITEMS + bare), pa.int32()),
            "genres": pa.array(genres + [[]] * bare, pa.list_(pa.string())),
        }
    )


def measured(items=tuple(MEASURED)) -> Genome:
    """Space films are .8 of space and .1 of love, films of love the other way; all are a little quiet."""
    space = np.array([0.8 if item <= ITEMS // 2 else 0.1 for item in items])
    noise = np.random.default_rng(0).normal(scale=0.02, size=(len(items), 3))
    relevance = np.stack([space, 0.9 - space, np.full(len(items), 0.2)], axis=1) + noise
    return Genome(np.array(items), TAGS, relevance.astype(np.float32))


def said(*rows: tuple[int, str, float]) -> pa.Table:
    return pa.table(
        {
            "item_id": pa.array([item for item, _, _ in rows], pa.int64()),
            "tag": pa.array([tag for _, tag, _ in rows], pa.string()),
            "weight": pa.array([weight for _, _, weight in rows], pa.float64()),
        }
    )


def test_a_film_without_a_genome_is_given_what_films_of_its_kind_have():
    whole = complete(measured(), catalog(), said())
    assert whole.tags == TAGS
    assert whole.item_ids.to_pylist() == list(range(1, ITEMS + 1))
    np.testing.assert_allclose(whole.relevance[3], [0.8, 0.1, 0.2], atol=0.05)
    np.testing.assert_allclose(whole.relevance[39], [0.1, 0.8, 0.2], atol=0.05)
    assert (whole.sources[[3, 39]] == "predicted").all()
    assert (whole.confidence[[3, 39]] > 0.9).all()


def test_what_was_measured_stays_as_it_was_and_is_called_so():
    whole = complete(measured(), catalog(), said())
    assert (np.flatnonzero(whole.measured) + 1).tolist() == MEASURED
    np.testing.assert_array_equal(whole.relevance[whole.measured], measured().relevance)
    assert (whole.confidence[whole.measured] == 1).all()
    assert (whole.sources[whole.measured] == "genome").all()
    assert (whole.standard_errors(np.flatnonzero(whole.measured)) == 0).all()


def test_a_film_of_which_nothing_is_known_is_given_the_mean_and_no_confidence():
    whole = complete(measured(), catalog(bare=2), said())
    np.testing.assert_allclose(whole.relevance[-1], measured().relevance.mean(axis=0), rtol=1e-6)
    assert whole.sources[-2:].tolist() == ["none", "none"]
    assert (whole.confidence[-2:] == 0).all()
    np.testing.assert_allclose(whole.standard_errors(np.array([ITEMS]))[0], measured().relevance.std(axis=0))


def test_a_standard_error_is_that_of_left_out_films_at_the_same_level():
    whole = complete(measured(), catalog(), said())
    space, love, quiet = whole.standard_errors(np.array([3]))[0]
    assert 0.01 < love < 0.05
    assert 0.01 < quiet < 0.05
    assert 0.01 < space < 0.1  # shrunk towards the other kind, so a little further off


def test_a_tag_of_the_genome_that_people_applied_by_its_name_counts_for_that_tag():
    items = np.arange(1, ITEMS + 1)
    quiet = items % 3 == 0  # and nothing but what people say tells which
    relevance = np.stack([np.full(ITEMS, 0.3), np.full(ITEMS, 0.3), np.where(quiet, 0.9, 0.1)], axis=1)
    rows = np.array(MEASURED) - 1
    genome = Genome(items[rows], TAGS, relevance[rows].astype(np.float32))
    whole = complete(genome, catalog(), said(*((int(item), "quiet", 2.0) for item in items[quiet])))
    assert whole.relevance[11, 2] > 0.7  # film 12
    assert whole.relevance[7, 2] < 0.3  # film 8
    assert whole.confidence[11] >= whole.confidence[7]


def test_the_genomes_own_spelling_may_have_capitals():
    loud = [(item, "space", 5.0) for item in MEASURED if item <= ITEMS // 2]
    alone = complete(measured(), catalog(bare=1), said(*loud))
    named = complete(measured(), catalog(bare=1), said(*loud, (ITEMS + 1, "space", 5.0)))
    assert named.relevance[-1, 0] > alone.relevance[-1, 0]
    assert named.sources[-1] == "predicted"


def test_training_people_tell_kinds_apart_where_nothing_else_does():
    indices = np.arange(ITEMS)
    sides = np.where(indices < ITEMS // 2, 1.0, -1.0)
    factors = Factors(np.stack([sides, np.ones(ITEMS)], 1).astype(np.float32), np.full(ITEMS, 50))
    items = catalog().set_column(3, "genres", pa.array([[]] * ITEMS, pa.list_(pa.string())))
    assert (complete(measured(), items, said()).sources[[3, 39]] == "none").all()
    whole = complete(measured(), items, said(), factors=factors)
    np.testing.assert_allclose(whole.relevance[[3, 39], 0], [0.8, 0.1], atol=0.05)


def test_factors_that_nobody_stands_behind_say_nothing():
    factors = Factors(np.zeros((ITEMS, 2), np.float32), np.zeros(ITEMS, np.int64))
    with_none = complete(measured(), catalog(), said(), factors=factors)
    without = complete(measured(), catalog(), said())
    np.testing.assert_allclose(with_none.relevance, without.relevance, atol=1e-6)


def test_films_of_the_genome_and_tags_that_are_not_in_the_catalogue_are_passed_over():
    beyond = measured((*MEASURED, 900))
    whole = complete(beyond, catalog(), said((901, "space", 1.0)))
    np.testing.assert_array_equal(
        whole.relevance[whole.measured], beyond.relevance[beyond.rows_of(whole.item_ids)][whole.measured]
    )


def test_too_few_measured_films_are_refused():
    with pytest.raises(DataError, match="9 of the 40 films of the catalogue have a genome"):
        complete(measured(tuple(MEASURED[:9])), catalog(), said())


def test_films_may_have_names_for_ids():
    items = catalog()
    named = items.set_column(0, "item_id", items["item_id"].cast(pa.string()))
    assert complete(measured(), named, said()).measured.sum() == len(MEASURED)


@pytest.mark.slow
def test_real_genomes_left_out_are_predicted_better_than_the_mean_genome():
    if not (DATA / "genome-partial").exists():
        pytest.skip("the real data are not beside the project")
    connection = connect("1GB")
    tag_file = DATA / "ml-10m-tags" / "tags.csv"
    source = read_source(
        DATA / "ml-latest-small", connection=connection, settings=ReadSettings(tags=(tag_file,))
    )
    items, tags = connection.to_pyarrow(source.items), connection.to_pyarrow(source.tags)
    genome = read_genome(DATA / "genome-partial", connection)
    connection.disconnect()
    rows = genome.rows_of(items["item_id"])
    hidden = np.flatnonzero(rows >= 0)[::5]
    kept = np.setdiff1d(np.arange(len(genome.item_ids)), rows[hidden])
    part = Genome(genome.item_ids[kept], genome.tags, genome.relevance[kept])
    whole = complete(part, items, tags)
    truth, mean = genome.relevance[rows[hidden]], part.relevance.mean(axis=0)
    assert (whole.sources[hidden] == "predicted").all()
    given = row_correlations(whole.relevance[hidden], truth).mean()
    assert given > row_correlations(np.tile(mean, (len(hidden), 1)), truth).mean() + 0.05
    found = row_correlations(whole.relevance[hidden] - mean, truth - mean).mean()
    assert abs(found - whole.confidence[hidden].mean()) < 0.1
