"""The title search finds items as users type their titles."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastevec.serving.service.catalog import TitleSearch, title_words

TITLES = [
    "Matrix, The (1999)",
    "Matrix Reloaded, The (2003)",
    "Amelie (Fabuleux destin d'Amélie Poulain, Le) (2001)",
    "Schindler's List (1993)",
    "Seven (a.k.a. Se7en) (1995)",
    "Smørrebrød (2000)",
    "Fast & Furious (2009)",
    "Animatrix, The (2003)",
    "Avventura, L' (a.k.a. Adventure, The) (1960)",
    "King Kong (1933)",
    "King Kong (2005)",
    "The (2010)",
    "Crouching Tiger, Hidden Dragon (Wo hu cang long) (2000)",
]
POPULARITY = np.array([50, 90, 30, 40, 60, 5, 10, 20, 8, 70, 80, 1, 35])
SEARCH = TitleSearch(TITLES, POPULARITY)


def found(query, limit=20):
    return [TITLES[index] for index in SEARCH.find(query, limit)]


@pytest.mark.parametrize("query", ["The Matrix", "Matrix, The", "matrix", "MATRIX", "the matrix", "mátrïx"])
def test_exact_title_comes_before_popular_titles_with_its_prefix(query):
    assert found(query) == ["Matrix, The (1999)", "Matrix Reloaded, The (2003)"]


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("matrix 2003", "Matrix Reloaded, The (2003)"),
        ("The Matrix (1999)", "Matrix, The (1999)"),
        ("amelie", "Amelie (Fabuleux destin d'Amélie Poulain, Le) (2001)"),
        ("Amélie Poulain", "Amelie (Fabuleux destin d'Amélie Poulain, Le) (2001)"),
        ("le fabuleux destin", "Amelie (Fabuleux destin d'Amélie Poulain, Le) (2001)"),
        ("schindlers", "Schindler's List (1993)"),
        ("schindler\N{RIGHT SINGLE QUOTATION MARK}s li", "Schindler's List (1993)"),
        ("se7en", "Seven (a.k.a. Se7en) (1995)"),
        ("smorrebrod", "Smørrebrød (2000)"),
        ("smørre", "Smørrebrød (2000)"),
        ("fast and furious", "Fast & Furious (2009)"),
        ("fast & furious", "Fast & Furious (2009)"),
        ("the adventure", "Avventura, L' (a.k.a. Adventure, The) (1960)"),
        ("the", "The (2010)"),
        ("hidden dragon", "Crouching Tiger, Hidden Dragon (Wo hu cang long) (2000)"),
        ("tiger, hidden", "Crouching Tiger, Hidden Dragon (Wo hu cang long) (2000)"),
    ],
)
def test_title_is_found_with_other_spellings(query, first):
    assert found(query)[0] == first


def test_query_words_match_prefixes_in_any_order():
    assert found("kon kin") == ["King Kong (2005)", "King Kong (1933)"]
    assert found("kong king") == ["King Kong (2005)", "King Kong (1933)"]
    assert found("kong kang") == []


def test_popular_items_come_first_among_equals():
    assert found("king kong") == ["King Kong (2005)", "King Kong (1933)"]
    assert found("a")[0] == "Amelie (Fabuleux destin d'Amélie Poulain, Le) (2001)"


@pytest.mark.parametrize("query", ["", " ", "?!", "'"])
def test_query_without_a_word_finds_the_most_popular(query):
    assert found(query, 2) == ["Matrix Reloaded, The (2003)", "King Kong (2005)"]


@given(st.text(max_size=30), st.integers(1, 5))
def test_any_query_returns_unique_items(query, limit):
    indices = SEARCH.find(query, limit).tolist()
    assert len(indices) == len(set(indices)) <= limit


@given(st.sampled_from(range(len(TITLES))), st.data())
def test_item_is_found_by_prefixes_of_its_words(item, data):
    words = data.draw(st.lists(st.sampled_from(title_words(TITLES[item])), min_size=1, max_size=3))
    query = " ".join(word[: data.draw(st.integers(1, len(word)))] for word in words)
    assert item in SEARCH.find(query, len(TITLES))


@given(st.text(max_size=20))
def test_words_ignore_case(text):
    assert title_words(text.upper().casefold()) == title_words(text.casefold().upper().casefold())


def test_search_of_60000_titles_takes_milliseconds():
    random = np.random.default_rng(1)
    syllables = ["ka", "mo", "ri", "te", "lu", "san", "dor", "vin"]
    titles = [
        f"{''.join(random.choice(syllables, 3))} {''.join(random.choice(syllables, 2))} (19{n % 90 + 10})"
        for n in range(60_000)
    ]
    search = TitleSearch(titles, random.integers(0, 1000, 60_000))
    for query in ("k", "ka mo", "1950", titles[7]):
        taken = []
        for _ in range(5):
            began = time.perf_counter()
            search.find(query, 20)
            taken.append(time.perf_counter() - began)
        assert min(taken) < 0.05  # 1 to 3 ms on a quiet machine
