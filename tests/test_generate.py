"""The generated release: exact files, exact sizes, the proportions of a real one, and tastes that can be found."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import tracemalloc
from pathlib import Path

import generate
import generated_people
import ibis
import numpy as np
import polars as pl
import pytest
from generate import MARK, Sizes
from generated_choices import choose, rate
from generated_films import make_films
from generated_people import apportion, draw_times, history_lengths, make_people
from generated_tags import genome_rows, make_tags
from generated_world import make_world
from hypothesis import given, settings
from hypothesis import strategies as st

from tastevec.data.readers import ReadSettings, read_source
from tastevec.errors import FormatError, SettingsError
from tastevec.pipelines.prepare import prepare

REAL = Path(__file__).parents[2] / "shared" / "data" / "ml-latest-small"
SMALL = Sizes(ratings=100_000, users=600, films=9_000, genome_films=50, genome_tags=40, tags=3_000)
TINY = Sizes(ratings=3_000, users=60, films=300, genome_films=30, genome_tags=20, tags=200)
FILES = ("genome-scores.csv", "genome-tags.csv", "links.csv", "movies.csv", "ratings.csv", "tags.csv")


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """As much as ml-latest-small has, and a small genome."""
    folder = tmp_path_factory.mktemp("generated") / "release"
    generate.generate(folder, SMALL)
    return folder


@pytest.fixture(scope="module")
def ratings(release):
    return pl.read_csv(release / "ratings.csv")


@pytest.fixture(scope="module")
def real():
    if not REAL.is_dir():
        pytest.skip("ml-latest-small is not there")
    return pl.read_csv(REAL / "ratings.csv")


def counts(table, column):
    return np.sort(table[column].value_counts()["count"].to_numpy())[::-1]


def same_files(left, right):
    return all((left / name).read_bytes() == (right / name).read_bytes() for name in FILES)


# ---- files ----


def test_the_same_numbers_give_the_same_bytes_and_another_seed_gives_others(tmp_path):
    for name, seed in (("one", 7), ("same", 7), ("other", 8)):
        generate.generate(tmp_path / name, Sizes(**{**vars(TINY), "seed": seed}))
    assert same_files(tmp_path / "one", tmp_path / "same")
    assert not any(
        (tmp_path / "one" / n).read_bytes() == (tmp_path / "other" / n).read_bytes() for n in FILES[2:]
    )


def test_a_group_is_the_same_whatever_was_made_before_it():
    films = make_films(2_000, np.random.default_rng(1))
    lengths = history_lengths(300, 9_000, 2_000, np.random.default_rng(2))
    world = make_world(films, lengths, np.random.default_rng(3))
    tags = make_tags(films, 20, np.random.default_rng(4))
    asked = (lengths[200:], np.ones(100, np.int64))
    first = generate._group(200, asked, world, tags, np.random.default_rng(5))
    generate._group(0, (lengths[:200], np.ones(200, np.int64)), world, tags, np.random.default_rng(6))
    again = generate._group(200, asked, world, tags, np.random.default_rng(5))
    assert all(left.equals(right) for left, right in zip(first, again, strict=True))


def test_sizes_come_out_exactly(release, ratings):
    rows = {name: pl.read_csv(release / name).height for name in FILES}
    assert rows["ratings.csv"] == SMALL.ratings
    assert rows["tags.csv"] == SMALL.tags
    assert rows["movies.csv"] == rows["links.csv"] == SMALL.films
    assert rows["genome-tags.csv"] == SMALL.genome_tags
    assert rows["genome-scores.csv"] == SMALL.genome_films * SMALL.genome_tags
    assert ratings["userId"].unique().sort().to_list() == list(range(1, SMALL.users + 1))
    assert json.loads((release / MARK).read_text()) == {"format": 1, **vars(SMALL)}


@pytest.mark.parametrize("name", FILES)
def test_texts_are_quoted_and_lines_end_as_in_a_release(release, name):
    """What Python's writer, told to quote as little as it may, makes of the fields is the file itself."""
    text = (release / name).read_bytes().decode()
    again = io.StringIO()
    csv.writer(again, lineterminator="\r\n").writerows(csv.reader(io.StringIO(text, newline="")))
    assert again.getvalue() == text


@pytest.mark.parametrize("name", ["links.csv", "movies.csv", "ratings.csv", "tags.csv"])
def test_the_real_files_have_the_same_header_and_pass_the_same_test(release, real, name):
    del real
    test_texts_are_quoted_and_lines_end_as_in_a_release(REAL, name)
    first = [(folder / name).read_bytes().split(b"\n")[0] for folder in (REAL, release)]
    assert first[0] == first[1]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("ratings.csv", r"\d+,\d+,(0\.5|[1-4]\.[05]|5\.0),(7|8|9|1\d)\d{8}"),
        ("links.csv", r"\d+,\d{7},\d*"),
        ("genome-scores.csv", r"\d+,\d+,(0\.\d{3,}|1\.0|0\.\d{2})"),
        ("movies.csv", r"\d+,.*,(\(no genres listed\)|[A-Z][A-Za-z-]+(\|[A-Z][A-Za-z-]+){0,4})"),
    ],
)
def test_every_line_looks_as_in_a_release(release, name, line):
    lines = (release / name).read_text().splitlines()[1:]
    assert [text for text in lines if not re.fullmatch(line, text)] == []


def test_titles_have_years_commas_quotes_and_letters_beyond_ascii(release):
    titles = pl.read_csv(release / "movies.csv")["title"]
    assert 0.99 < titles.str.contains(r" \((19|20)\d\d\)$").mean() < 1
    assert 0.15 < titles.str.contains(", (The|A|La|Les) \\(").mean() < 0.25
    assert titles.str.contains('"').any()
    assert not titles.str.contains(r"^[ -~]*$").all()


def test_rows_are_sorted_by_user_and_film_and_nobody_rates_a_film_twice(release, ratings):
    pairs = (ratings["userId"] * 1_000_000 + ratings["movieId"]).to_numpy()
    assert np.all(np.diff(pairs) > 0)
    tags = pl.read_csv(release / "tags.csv")
    assert tags.is_unique().all()
    assert tags.equals(
        tags.with_columns(low=pl.col("tag").str.to_lowercase()).sort("userId", "movieId", "low").drop("low")
    )
    films = pl.read_csv(release / "movies.csv")["movieId"]
    assert films.is_sorted()
    assert films.is_unique().all()
    assert ratings["movieId"].is_in(films.implode()).all()


def test_the_readers_keep_every_row(release):
    source = read_source(release, connection=ibis.duckdb.connect(), settings=ReadSettings())
    assert source.format == "movielens-csv"
    assert {account.rows_kept for account in source.accounts} == {SMALL.ratings, SMALL.films, SMALL.tags}
    assert all(account.rows_kept == account.rows_read for account in source.accounts)
    assert (
        source.interactions.count().to_pyarrow().as_py() > SMALL.ratings
    )  # some films were tagged and not rated


def test_the_first_stage_takes_it(tmp_path):
    generate.generate(tmp_path / "release", TINY)
    prepared = prepare(tmp_path / "release", tmp_path / "prepared")
    assert len(prepared.user_ids) == TINY.users


# ---- sizes ----


@settings(max_examples=40)
@given(users=st.integers(1, 30), films=st.integers(1, 60), part=st.floats(0, 1), seed=st.integers(0, 99))
def test_any_sizes_end_and_come_out_exactly(users, films, part, seed):
    total = users + round(part * (users * films - users))
    rng = np.random.default_rng(seed)
    lengths = history_lengths(users, total, films, rng)
    assert lengths.sum() == total
    assert lengths.min() >= min(20, total // users, films)
    assert lengths.max() <= films
    people, world = _world(films, lengths, rng)
    chosen = choose(people, world, rng)
    keys = np.repeat(np.arange(users), lengths) * films + chosen
    assert len(np.unique(keys)) == len(keys) == total
    assert 0 <= chosen.min() <= chosen.max() < films
    halves = rate(people, keys // films, chosen, world, rng)
    assert np.isin(halves, np.arange(1, 11)).all()


def _world(films, lengths, rng):
    world = make_world(make_films(films, rng), lengths, rng)
    return make_people(lengths, world.directions, rng), world


@pytest.mark.parametrize(
    ("users", "films", "ratings", "tags"),
    [(1, 3, 3, 36), (1, 3, 1, 0), (3, 3, 9, 1), (1, 1, 1, 12), (5, 2_000, 7_000, 50)],
)
def test_the_smallest_and_the_densest_are_written(tmp_path, users, films, ratings, tags):
    sizes = Sizes(ratings=ratings, users=users, films=films, genome_films=0, genome_tags=12, tags=tags)
    generate.generate(tmp_path / "out", sizes)
    assert pl.read_csv(tmp_path / "out" / "ratings.csv").height == ratings
    assert pl.read_csv(tmp_path / "out" / "tags.csv").height == tags
    assert not (tmp_path / "out" / "genome-scores.csv").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ratings": 18_001}, "ratings is 18,001; expected 60 to 18,000 for 60 users, 300 films"),
        ({"ratings": 59}, "ratings is 59; expected 60"),
        ({"genome_films": 301}, "genome_films is 301; expected 0 to 300"),
        ({"users": 0}, "users is 0; expected 1 or more"),
        ({"tags": 36_001}, "tags is 36,001; expected 0 to 36,000"),
        ({"genome_tags": 11}, "change --genome-tags and run again"),
    ],
)
def test_impossible_sizes_are_refused_with_a_sentence(tmp_path, change, said):
    with pytest.raises(SettingsError, match=re.escape(said)):
        generate.generate(tmp_path / "out", Sizes(**{**vars(TINY), **change}))
    assert list(tmp_path.iterdir()) == []


@given(
    weights=st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=20),
    least=st.integers(0, 5),
    room=st.integers(0, 50),
    part=st.floats(0, 1),
)
def test_what_is_apportioned_sums_up_within_its_bounds(weights, least, room, part):
    caps = least + np.arange(len(weights)) % (room + 1)
    total = round(least * len(caps) + part * (caps - least).sum())
    parts = apportion(total, np.array(weights), caps, least)
    assert parts.sum() == total
    assert np.all((parts >= least) & (parts <= caps))


# ---- proportions ----


def test_histories_are_as_long_as_real_ones(ratings, real):
    ours, theirs = counts(ratings, "userId"), counts(real, "userId")
    assert ours.min() == theirs.min() == 20
    for share in (0.1, 0.25, 0.5, 0.75, 0.9):
        assert np.quantile(ours, share) == pytest.approx(np.quantile(theirs, share), rel=0.25), share


def test_films_are_as_unequally_popular_as_real_ones(ratings, real):
    ours, theirs = counts(ratings, "movieId"), counts(real, "movieId")
    assert ours[0] / SMALL.users == pytest.approx(theirs[0] / 610, abs=0.1)
    for films in (10, 100, 500, 1_000, 2_000, 5_000):
        assert ours[:films].sum() / ours.sum() == pytest.approx(theirs[:films].sum() / theirs.sum(), abs=0.03)
    assert (ours < 10).mean() == pytest.approx((theirs < 10).mean(), abs=0.05)


def test_stars_are_given_as_often_as_real_ones(ratings, real):
    ours, theirs = (table["rating"].value_counts(normalize=True).sort("rating") for table in (ratings, real))
    assert ours["rating"].equals(theirs["rating"])
    assert np.abs(ours["proportion"].to_numpy() - theirs["proportion"].to_numpy()).max() < 0.03
    whole = [
        table.group_by("userId").agg((pl.col("rating") % 1 == 0).all())["rating"].mean()
        for table in (ratings, real)
    ]
    assert whole[0] == pytest.approx(whole[1], abs=0.1)


def test_people_rate_in_sessions_of_near_equal_times(ratings, real):
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
    spans = [(table["timestamp"].max() - table["timestamp"].min()) / 31_557_600 for table in (ratings, real)]
    assert spans[0] > 20
    assert spans[1] > 20


def test_films_come_with_the_years(release, ratings):
    """Nobody rates a film before it is there, but for those who rate nearly all."""
    films = pl.read_csv(release / "movies.csv").with_columns(
        year=pl.col("title").str.extract(r"\((\d{4})\)$").cast(int)
    )
    rated = ratings.join(films, on="movieId").with_columns(when=1970 + pl.col("timestamp") / 31_557_600)
    usual = rated.filter(pl.len().over("userId") < 1_000)
    assert (usual["when"] < usual["year"]).mean() < 0.002


@given(st.lists(st.integers(1, 40), min_size=1, max_size=20), st.integers(0, 99))
def test_times_ascend_within_a_person_and_lie_within_the_years(lengths, seed):
    lengths = np.array(lengths)
    starts, times = draw_times(lengths, np.random.default_rng(seed))
    for start, own in zip(starts, np.split(times, np.cumsum(lengths)[:-1]), strict=True):
        assert own[0] == int(start)
        assert np.all(np.diff(own) >= 0)
        assert generated_people.FIRST_SECOND <= own[0] <= own[-1] <= generated_people.LAST_SECOND


# ---- tastes ----


def test_films_like_those_that_somebody_rated_are_better_guesses_than_popular_ones(ratings):
    """A fifth is hidden; films that are rated by the same people (cosine, damped) find more of it than popularity."""
    ratings = ratings.filter(pl.len().over("movieId") >= 10)
    films, items = np.unique(ratings["movieId"].to_numpy(), return_inverse=True)
    users = ratings["userId"].to_numpy() - 1
    hidden = np.random.default_rng(0).random(len(items)) < 0.2
    seen, truth = np.zeros((2, SMALL.users, len(films)), np.float32)
    seen[users[~hidden], items[~hidden]] = 1
    truth[users[hidden], items[hidden]] = 1
    popularity = seen.sum(axis=0)
    likeness = seen.T @ seen / np.outer(np.sqrt(popularity) + 5, np.sqrt(popularity) + 5)
    np.fill_diagonal(likeness, 0)
    found = []
    for score in (np.tile(popularity, (SMALL.users, 1)), seen @ likeness):
        top = np.argpartition(np.where(seen > 0, np.inf, -score), 20, axis=1)[:, :20]
        found.append(np.take_along_axis(truth, top, axis=1).mean())
    assert found[1] > 1.1 * found[0]


def test_choices_ratings_genres_and_genome_follow_the_planted_vectors():
    rng = np.random.default_rng(0)
    films = make_films(3_000, rng)
    lengths = history_lengths(400, 40_000, 3_000, rng)
    world = make_world(films, lengths, rng)
    people = make_people(lengths, world.directions, rng)
    chosen, persons = choose(people, world, rng), np.repeat(np.arange(400), lengths)
    match = np.einsum("nd,nd->n", people.vectors[persons], films.vectors[chosen])
    other = np.einsum("nd,nd->n", people.vectors[rng.permutation(persons)], films.vectors[chosen])
    assert match.mean() > other.mean() + 0.2  # a match spreads by a quarter
    halves = rate(people, persons, chosen, world, rng)
    residual = halves - np.bincount(persons, halves)[persons] / lengths[persons]
    assert np.corrcoef(residual, match)[0, 1] > 0.2
    tags = make_tags(films, 60, rng)
    rows = next(genome_rows(films, tags, 1_000, rng))
    genome = rows["relevance"].to_numpy().reshape(1_000, 60)
    scored = np.isin(films.ids, rows["movieId"].unique())
    assert _explained(films.vectors, films.genres.astype(float)) > 0.1
    assert _explained(films.vectors[scored], genome) > 0.7
    said = np.zeros((3_000, 60))
    np.put_along_axis(said, tags.top, 1, axis=1)
    assert _explained(films.vectors, said) > 0.4


def _explained(vectors, said):
    """How much of the vectors a linear regression finds in what is said of the films."""
    known = np.column_stack([np.ones(len(said)), said])
    guess = known @ np.linalg.lstsq(known, vectors, rcond=None)[0]
    return 1 - ((vectors - guess) ** 2).sum() / ((vectors - vectors.mean(axis=0)) ** 2).sum()


# ---- bad weather ----


def test_a_folder_that_is_not_ours_stays_as_it_is_and_ours_is_replaced(tmp_path):
    theirs = tmp_path / "ml-32m"
    theirs.mkdir()
    (theirs / "ratings.csv").write_text("real")
    with pytest.raises(FormatError, match="was not written by this command"):
        generate.generate(theirs, TINY)
    assert [file.read_text() for file in theirs.iterdir()] == ["real"]
    for seed in (1, 2):
        generate.generate(tmp_path / "ours", Sizes(**{**vars(TINY), "seed": seed}))
    assert json.loads((tmp_path / "ours" / MARK).read_text())["seed"] == 2


def test_nothing_is_left_of_a_release_that_could_not_be_finished(tmp_path, monkeypatch, capsys):
    def full(file, table, *, header):
        if "timestamp" in table.columns:
            raise OSError(28, "No space left on device")
        table.write_csv(file, include_header=header)

    monkeypatch.setattr(generate, "_append", full)
    monkeypatch.setattr(sys, "argv", ["generate.py", str(tmp_path / "out"), *_flags(TINY)])
    with pytest.raises(
        SystemExit, match=r"out could not be written \(\[Errno 28\] No space left on device\)"
    ):
        generate.main()
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "")


def _flags(sizes):
    return [f"--{name.replace('_', '-')}={value}" for name, value in vars(sizes).items()]


def test_the_command_writes_what_its_flags_say_and_shows_how_far_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["generate.py", str(tmp_path / "out"), *_flags(TINY), "--progress"])
    generate.main()
    generate.generate(tmp_path / "same", TINY)
    assert same_files(tmp_path / "out", tmp_path / "same")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "100%" in shown.err


def test_memory_does_not_grow_with_people(tmp_path, monkeypatch):
    """Four times as many, in four times as many groups, take a quarter more at most: groups differ by what their longest histories are."""
    monkeypatch.setattr(generate, "GROUP", 200)
    peaks = []
    for users in (400, 400, 1_600):  # the first also imports
        sizes = Sizes(
            users=users, ratings=100 * users, films=2_000, genome_films=0, genome_tags=20, tags=users
        )
        tracemalloc.start()
        generate.generate(tmp_path / "out", sizes)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.25 * peaks[1]
