"""The item noun: what is accepted, and where it stands."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastevec.errors import SettingsError
from tastevec.nouns import ITEM, ItemNoun


@pytest.mark.parametrize(
    ("text", "many"),
    [
        ("book:books", "books"),
        (" board game : board games ", "board games"),
        ("книга:книги", "книги"),
        ("e-book:e-books", "e-books"),
    ],
)
def test_noun_of_letters_spaces_and_hyphens_is_accepted(text, many):
    noun = ItemNoun.parse(text)
    assert noun.counted(2) == f"2 {many}"
    assert noun.title.lower() == many
    assert ItemNoun.of({"item_noun": noun.to_json()}) == noun


@pytest.mark.parametrize(
    "text",
    [
        "book",
        "book:",
        ":books",
        "",
        "a:b:c",
        "<b>:books",
        "b&w:books",
        "book:-books",
        "book:books ltd.",
        "b1:books",
        "x:" + "y" * 41,
        "a\nb:c",
    ],
)
def test_noun_of_other_characters_is_refused(text):
    with pytest.raises(SettingsError, match=r"item_noun: .*Expected ONE:MANY, such as book:books"):
        ItemNoun.parse(text)


@given(st.text(), st.text())
def test_accepted_noun_is_safe_in_html_markdown_and_json(one, many):
    try:
        noun = ItemNoun(one, many)
    except SettingsError:
        return
    assert all(unicodedata.category(letter)[0] in "LM" or letter in " -" for letter in noun.one + noun.many)
    assert max(len(one), len(many)) <= 40
    assert ItemNoun.parse(f"{one}:{many}") == noun


def test_data_without_a_noun_have_items():
    assert ItemNoun.of({}) is ITEM
