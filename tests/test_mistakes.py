"""The first mistakes with one's own data: what the page about them shows is what is printed."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tastevec.cli.app import app

PAGE = Path(__file__).parent.parent / "docs" / "how-to" / "own-data.md"
ROW = re.compile(r"^\| (?P<found>[^|]+) \| `(?P<printed>[^|]+)` \| (?P<next>[^|]+) \|$", re.MULTILINE)
USERS = ("anna", "boris", "carla", "dora", "emil")
PAIRS = [(user, 10 + (3 * at + step) % 8) for at, user in enumerate(USERS) for step in range(6)]


def table(header, cells, separator=","):
    """Return a file of 30 rows: each user and item with the cells that ``cells(row number, user, item)`` returns."""
    rows = [separator.join(map(str, cells(at, *pair))) for at, pair in enumerate(PAIRS)]
    return "\n".join([header, *rows] if header else rows) + "\n"


RATED = "user_id,item_id,rating"
GOOD = table(RATED, lambda at, user, item: (user, item, (1, 3, 5)[at % 3]))
SHOP = {"items.csv": "item_id,title\n" + "".join(f"B00{item},Thing {item}\n" for item in range(10, 18))}
# What is in ratings.csv, its content, the flags, and other files.
MISTAKES = [
    (
        "scale stated wrong",
        table(RATED, lambda at, user, item: (user, item, 1 + at % 5)),
        "--rating-range 0:100",
        {},
    ),
    ("one rating in every row", table(RATED, lambda _, user, item: (user, item, 1)), "", {}),
    (
        "0 means not rated",
        table(RATED, lambda at, user, item: (user, item, at % 10 + 1 if at % 5 > 2 else 0)),
        "",
        {},
    ),
    (
        "counts called rating",
        table(RATED, lambda at, user, item: (user, item, (1, 1, 1, 120, 69319)[at % 5])),
        "",
        {},
    ),
    (
        "column names that no list has",
        table("reader,book_id,points", lambda at, user, item: (user, item, 1 + at % 10)),
        "",
        {},
    ),
    (
        "a comma between numbers and their decimals",
        table(RATED, lambda _, user, item: (user, item, "4,5")),
        "",
        {},
    ),
    ("item IDs with decimals", table(RATED, lambda _, user, item: (user, f"{item}.5", 5)), "", {}),
    (
        "item IDs that a spreadsheet rounded",
        table(RATED, lambda _, user, item: (user, f"9.7804{item}E+12", 5)),
        "",
        {},
    ),
    (
        "users called nan",
        table(RATED, lambda at, user, item: ("nan" if at in (3, 9) else user, item, 1 + at % 5)),
        "",
        {},
    ),
    ("no header", table("", lambda at, user, item: (user, item, 1 + at % 5, 1_365_811_200 + at)), "", {}),
    (
        "a row with too few fields",
        table(RATED, lambda at, user, item: (user, item, 5)[: 2 if at == 7 else 3]),
        "",
        {},
    ),
    (
        "an unknown event",
        table("user_id,item_id,event", lambda at, user, item: (user, item, ("view", "buy", "zoom")[at % 3])),
        "",
        {},
    ),
    (
        "two columns for the time",
        table(
            "user_id,item_id,created_at,updated_at",
            lambda _, user, item: (user, item, "2024-03-02", "2024-03-05"),
        ),
        "",
        {},
    ),
    (
        "day and month look alike",
        table(
            "user_id,item_id,date", lambda at, user, item: (user, item, f"0{1 + at % 9}/0{1 + at % 7}/2024")
        ),
        "",
        {},
    ),
    ("each user once", "user_id,item_id\n" + "".join(f"u{at},{at % 7}\n" for at in range(20)), "", {}),
    ("a file of items that is not there", GOOD, "--items items.csv", {}),
    ("item IDs of another kind in the items", GOOD, "--items items.csv", SHOP),
]


def printed(folder, content, flags, others):
    """Return the last line that ``inspect`` prints, without its first word."""
    for name, text in {"ratings.csv": content, **others}.items():
        (folder / name).write_text(text)
    result = CliRunner().invoke(app, ["inspect", "ratings.csv", *flags.split()])
    return re.sub(r"^(Error: |warning  )", "", result.output.strip().splitlines()[-1])


@pytest.mark.parametrize(
    ("found", "content", "flags", "others"), MISTAKES, ids=[name for name, *_ in MISTAKES]
)
def test_mistake_is_printed_as_the_page_shows_it(found, content, flags, others, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = {row["found"]: row["printed"] for row in ROW.finditer(PAGE.read_text(encoding="utf-8"))}
    assert shown[found] == printed(tmp_path, content, flags, others)


def test_page_shows_no_other_mistakes():
    shown = [row["found"] for row in ROW.finditer(PAGE.read_text(encoding="utf-8"))]
    assert shown == [name for name, *_ in MISTAKES]
