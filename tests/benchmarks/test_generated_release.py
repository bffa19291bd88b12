"""The generated release: exact sizes, the marginals of a real release, and preferences that can be learned."""

import csv
import io
import json
import re
import tracemalloc
from pathlib import Path

import generate
import ibis
import numpy as np
import polars as pl
import pytest
from generate import MARK, Sizes
from generated_items import FIRST_SECOND, LAST_SECOND, apportion, genome_rows, make_items, make_tags
from generated_users import choose, draw_times, history_lengths, make_users, make_world, rate
from hypothesis import given, settings
from hypothesis import strategies as st

from tastevec.data.intake.source import read_source
from tastevec.errors import SettingsError

REAL = Path(__file__).parents[3] / "shared" / "data" / "ml-latest-small"
SMALL = Sizes(ratings=100_000, users=600, items=9_000, genome_items=50, genome_tags=40, tags=3_000)
TINY = Sizes(ratings=3_000, users=60, items=300, genome_items=30, genome_tags=20, tags=200)
FILES = ("genome-scores.csv", "genome-tags.csv", "links.csv", "movies.csv", "ratings.csv", "tags.csv")


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A release of the size of ml-latest-small, with a small genome."""
    folder = tmp_path_factory.mktemp("generated") / "release"
    generate.generate(folder, SMALL)
    return folder


@pytest.fixture(scope="module")
def ratings(release):
    return pl.read_csv(release / "ratings.csv")


@pytest.fixture(scope="module")
def real():
    if not REAL.is_dir():
        pytest.skip("ml-latest-small does not exist")
    return pl.read_csv(REAL / "ratings.csv")


def counts(table, column):
    return np.sort(table[column].value_counts()["count"].to_numpy())[::-1]


# ---- files and sizes ----


def test_the_same_sizes_give_the_same_bytes_and_another_seed_gives_others(tmp_path):
    for name, seed in (("one", 7), ("same", 7), ("other", 8)):
        generate.generate(tmp_path / name, Sizes(**{**vars(TINY), "seed": seed}))
    one, same, other = (
        [(tmp_path / name / file).read_bytes() for file in FILES] for name in ("one", "same", "other")
    )
    assert one == same
    assert not any(left == right for left, right in zip(one[2:], other[2:], strict=True))


def test_sizes_are_exact(release, ratings):
    rows = {name: pl.read_csv(release / name).height for name in FILES}
    assert rows["ratings.csv"] == SMALL.ratings
    assert rows["tags.csv"] == SMALL.tags
    assert rows["movies.csv"] == rows["links.csv"] == SMALL.items
    assert rows["genome-scores.csv"] == SMALL.genome_items * SMALL.genome_tags
    assert ratings["userId"].unique().sort().to_list() == list(range(1, SMALL.users + 1))
    assert json.loads((release / MARK).read_text()) == {"format": 1, **vars(SMALL)}


@pytest.mark.parametrize("name", FILES)
def test_texts_are_quoted_and_lines_end_as_in_a_release(release, name):
    text = (release / name).read_bytes().decode()
    again = io.StringIO()
    csv.writer(again, lineterminator="\r\n").writerows(csv.reader(io.StringIO(text, newline="")))
    assert again.getvalue() == text


def test_titles_have_years_commas_quotes_and_letters_beyond_ascii(release):
    titles = pl.read_csv(release / "movies.csv")["title"]
    assert 0.99 < titles.str.contains(r" \((19|20)\d\d\)$").mean() < 1
    assert 0.15 < titles.str.contains(", (The|A|La|Les) \\(").mean() < 0.25
    assert titles.str.contains('"').any()
    assert not titles.str.contains(r"^[ -~]*$").all()


def test_the_readers_keep_every_row(release):
    connection = ibis.duckdb.connect()
    source = read_source(release, connection=connection)
    assert source.format == "movielens-csv"
    [row_report] = source.row_reports
    assert row_report.rows_kept == row_report.rows_read == SMALL.ratings
    tables = [connection.to_pyarrow(table) for table in (source.items, source.tags)]
    assert [len(table) for table in tables] == [SMALL.items, SMALL.tags]


@settings(max_examples=40)
@given(users=st.integers(1, 30), items=st.integers(1, 60), part=st.floats(0, 1), seed=st.integers(0, 99))
def test_any_sizes_end_and_are_exact(users, items, part, seed):
    total = users + round(part * (users * items - users))
    rng = np.random.default_rng(seed)
    lengths = history_lengths(users, total, items, rng)
    assert lengths.sum() == total
    assert lengths.max() <= items
    world = make_world(make_items(items, rng), lengths, rng)
    group = make_users(lengths, world.directions, rng)
    chosen = choose(group, world, rng)
    keys = np.repeat(np.arange(users), lengths) * items + chosen
    assert len(np.unique(keys)) == len(keys) == total
    assert np.isin(rate(group, keys // items, chosen, world, rng), np.arange(1, 11)).all()


@pytest.mark.parametrize(
    "change", [{"ratings": 18_001}, {"genome_items": 301}, {"users": 0}, {"tags": 36_001}]
)
def test_impossible_sizes_are_refused(tmp_path, change):
    [(name, value)] = change.items()
    with pytest.raises(SettingsError, match=re.escape(f"{name} is {value:,}. Expected")):
        generate.generate(tmp_path / "out", Sizes(**{**vars(TINY), **change}))
    assert list(tmp_path.iterdir()) == []


@given(
    weights=st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=20),
    least=st.integers(0, 5),
    room=st.integers(0, 50),
    part=st.floats(0, 1),
)
def test_apportioned_numbers_sum_up_within_their_bounds(weights, least, room, part):
    caps = least + np.arange(len(weights)) % (room + 1)
    total = round(least * len(caps) + part * (caps - least).sum())
    parts = apportion(total, np.array(weights), caps, least)
    assert parts.sum() == total
    assert np.all((parts >= least) & (parts <= caps))


def test_memory_does_not_grow_with_users(tmp_path, monkeypatch):
    monkeypatch.setattr(generate, "GROUP", 200)
    peaks = []
    for users in (400, 400, 1_600):  # the first also imports
        sizes = Sizes(100 * users, users, 2_000, genome_items=0, genome_tags=20, tags=users)
        tracemalloc.start()
        generate.generate(tmp_path / "out", sizes)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.25 * peaks[1]


# ---- marginals ----


def test_histories_are_as_long_as_real_ones(ratings, real):
    ours, theirs = counts(ratings, "userId"), counts(real, "userId")
    assert ours.min() == theirs.min() == 20
    for share in (0.1, 0.25, 0.5, 0.75, 0.9):
        assert np.quantile(ours, share) == pytest.approx(np.quantile(theirs, share), rel=0.25), share


def test_items_are_as_unequally_popular_as_real_ones(ratings, real):
    ours, theirs = counts(ratings, "movieId"), counts(real, "movieId")
    assert ours[0] / SMALL.users == pytest.approx(theirs[0] / 610, abs=0.1)
    for items in (10, 100, 500, 1_000, 2_000, 5_000):
        assert ours[:items].sum() / ours.sum() == pytest.approx(theirs[:items].sum() / theirs.sum(), abs=0.03)
    assert (ours < 10).mean() == pytest.approx((theirs < 10).mean(), abs=0.05)


def test_ratings_have_the_real_frequencies(ratings, real):
    ours, theirs = (table["rating"].value_counts(normalize=True).sort("rating") for table in (ratings, real))
    assert ours["rating"].equals(theirs["rating"])
    assert np.abs(ours["proportion"].to_numpy() - theirs["proportion"].to_numpy()).max() < 0.03


def test_users_rate_in_sessions(ratings, real):
    ours, theirs = (
        table.sort("userId", "timestamp")
        .select(pl.col("timestamp").diff().over("userId"))
        .to_series()
        .drop_nulls()
        for table in (ratings, real)
    )
    assert (ours == 0).mean() == pytest.approx((theirs == 0).mean(), abs=0.05)
    assert (ours > 3_600).mean() == pytest.approx((theirs > 3_600).mean(), abs=0.03)
    assert ours.median() == pytest.approx(theirs.median(), abs=5)


def test_items_are_rated_after_their_year(release, ratings):
    year = pl.col("title").str.extract(r"\((\d{4})\)$").cast(int)
    items = pl.read_csv(release / "movies.csv").with_columns(year=year)
    rated = ratings.join(items, on="movieId").with_columns(when=1970 + pl.col("timestamp") / 31_557_600)
    usual = rated.filter(pl.len().over("userId") < 1_000)  # others rate nearly everything
    assert (usual["when"] < usual["year"]).mean() < 0.002


@given(st.lists(st.integers(1, 40), min_size=1, max_size=20), st.integers(0, 99))
def test_timestamps_ascend_within_a_user(lengths, seed):
    lengths = np.array(lengths)
    starts, times = draw_times(lengths, np.random.default_rng(seed))
    for start, own in zip(starts, np.split(times, np.cumsum(lengths)[:-1]), strict=True):
        assert own[0] == int(start)
        assert np.all(np.diff(own) >= 0)
        assert FIRST_SECOND <= own[0] <= own[-1] <= LAST_SECOND


# ---- preferences ----


def test_item_knn_recommends_better_than_popularity(ratings):
    ratings = ratings.filter(pl.len().over("movieId") >= 10)
    catalog, items = np.unique(ratings["movieId"].to_numpy(), return_inverse=True)
    users = ratings["userId"].to_numpy() - 1
    held_out = np.random.default_rng(0).random(len(items)) < 0.2
    inputs, targets = np.zeros((2, SMALL.users, len(catalog)), np.float32)
    inputs[users[~held_out], items[~held_out]] = 1
    targets[users[held_out], items[held_out]] = 1
    popularity = inputs.sum(axis=0)
    similarity = inputs.T @ inputs / np.outer(np.sqrt(popularity) + 5, np.sqrt(popularity) + 5)
    np.fill_diagonal(similarity, 0)
    hits = []
    for score in (np.tile(popularity, (SMALL.users, 1)), inputs @ similarity):
        top = np.argpartition(np.where(inputs > 0, np.inf, -score), 20, axis=1)[:, :20]
        hits.append(np.take_along_axis(targets, top, axis=1).mean())
    assert hits[1] > 1.1 * hits[0]


def test_choices_ratings_genres_and_genome_follow_the_vectors():
    rng = np.random.default_rng(0)
    items = make_items(3_000, rng)
    lengths = history_lengths(400, 40_000, 3_000, rng)
    world = make_world(items, lengths, rng)
    group = make_users(lengths, world.directions, rng)
    chosen, owners = choose(group, world, rng), np.repeat(np.arange(400), lengths)
    match = np.einsum("nd,nd->n", group.vectors[owners], items.vectors[chosen])
    other = np.einsum("nd,nd->n", group.vectors[rng.permutation(owners)], items.vectors[chosen])
    assert match.mean() > other.mean() + 0.2  # the standard deviation of a match is a quarter
    halves = rate(group, owners, chosen, world, rng)
    residual = halves - np.bincount(owners, halves)[owners] / lengths[owners]
    assert np.corrcoef(residual, match)[0, 1] > 0.2
    rows = next(genome_rows(items, make_tags(items, 60, rng), 1_000, rng))
    scored = np.isin(items.ids, rows["movieId"].unique())
    assert _explained(items.vectors, items.genres.astype(float)) > 0.1
    assert _explained(items.vectors[scored], rows["relevance"].to_numpy().reshape(1_000, 60)) > 0.7


def _explained(vectors, features):
    """R squared of a linear regression of the vectors on the features."""
    known = np.column_stack([np.ones(len(features)), features])
    predicted = known @ np.linalg.lstsq(known, vectors, rcond=None)[0]
    return 1 - ((vectors - predicted) ** 2).sum() / ((vectors - vectors.mean(axis=0)) ** 2).sum()
