"""Flags in messages: the same choice as a keyword where Python called."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import crowds
import tastevec
from crowds import changed, crowd
from tastevec.cli.app import app
from tastevec.cli.flags import INTAKE_FLAGS, ITEM_FLAGS
from tastevec.data.intake.callers import in_python
from tastevec.data.intake.report import CODES
from tastevec.data.intake.stated import intake_settings, item_settings
from tastevec.errors import DataError

# One value of each flag, and a second one that its messages offer.
EXAMPLES = {
    "feedback": ["implicit"],
    "rating_range": ["0:10", "-1:1"],
    "positive_from": ["7.5"],
    "unrated": ["0", "NA"],
    "event": ["wow=1", "wow=drop"],
    "repeats": ["latest"],
    "order": ["none"],
    "out_of_range": ["drop"],
    "missing_times": ["order"],
    "bad_times": ["none"],
    "bad_rows": ["drop", "drop:10%"],
    "accept": ["few-positives"],
    "strict": [True],
    "column": ["rating=points", "timestamp=none"],
    "columns": ["user_id,item_id"],
    "delimiter": [],
    "no_header": [True],
    "quote": ["none"],
    "encoding": ["utf-16"],
    "missing": ["''"],
    "time_format": ["%d/%m/%Y", "excel"],
    "items": [],
    "item_column": ["number=members"],
    "separator": ["genres=none"],
    "tags": [],
    "tags_by": ["others"],
    "relevance": [],
    "text_model": [],
}


def test_every_flag_has_an_example():
    assert EXAMPLES.keys() == {*INTAKE_FLAGS, *ITEM_FLAGS}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in EXAMPLES.items() for value in values]
)
def test_every_flag_is_a_keyword_of_the_same_meaning(name, value):
    flag = "--" + name.replace("_", "-")
    read = intake_settings if name in INTAKE_FLAGS else item_settings
    as_flag = True if value is True else "" if value == "''" else [value] if "=" in str(value) else value

    shown = in_python(f"{flag} {value}" if value is not True else flag)

    keywords = eval(f"dict({shown})", {})  # noqa: S307  a text of this test
    assert read(keywords) == read({name: as_flag})


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_flag_without_a_value_is_a_keyword(name):
    shown = in_python(f"a wrong one (--{name.replace('_', '-')})")

    assert "--" not in shown
    assert shown.removeprefix("a wrong one (").partition("=")[0] in {
        name,
        f"{name}s",
        name.removeprefix("no_"),
    }


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("--event wow=1, or wow=drop", 'events={"wow": 1}, or {"wow": "drop"}'),
        ("--missing-times order or drop", 'missing_times="order" or "drop"'),
        ("--time-format %m/%d/%Y or %d/%m/%Y", 'time_format="%m/%d/%Y" or "%d/%m/%Y"'),
        ("--bad-rows drop, or --missing ''", 'bad_rows="drop", or missing=""'),
        ("--column user_id=NAME --column item_id=NAME", 'columns={"user_id": "NAME", "item_id": "NAME"}'),
        (
            "state --rating-range, --positive-from or --feedback implicit",
            'state rating_range=, positive_from= or feedback="implicit"',
        ),
        (
            "(few: --accept few-users, or without --strict)",
            '(few: accept="few-users", or without strict=True)',
        ),
        ("See: tastevec prepare --help", "See: tastevec prepare --help"),
        ("--unrated 99 if", "unrated=99 if"),
    ],
)
def test_messages_with_several_choices_read_well(message, expected):
    assert in_python(message) == expected


def test_errors_and_reports_have_keywords_in_python_and_flags_in_commands(tmp_path):
    table = crowd(points=lambda row: 1 + row % 10)
    path = crowds.write(tmp_path / "rows.csv", table)

    with pytest.raises(DataError) as caught:
        tastevec.inspect(table)
    assert 'columns={"rating": "points"}, or feedback="implicit" (or go on: accept="unused-number")' in str(
        caught.value
    )
    refused = CliRunner().invoke(app, ["inspect", str(path)])
    assert refused.exit_code == 1
    assert "--column rating=points, or --feedback implicit" in " ".join(refused.output.split())

    report = tastevec.inspect(table, columns={"rating": "points"})
    assert "rating_range=" in str(report) == repr(report)
    printed = CliRunner().invoke(app, ["inspect", str(path), "--column", "rating=points"])
    assert "(--rating-range)" in printed.output


def test_codes_of_the_source_are_those_that_can_be_accepted():
    folder = Path(tastevec.__file__).parent
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.py")))
    found = set(re.findall(r"findings[.](?:warn|stop)\(\s*\"([a-z0-9-]+)\"", text))

    assert found | {"times-1970", "unmatched-items", "unmatched-tags"} == set(CODES)
    with pytest.raises(
        tastevec.SettingsError, match=r"accept: 'few-positive'[.] Expected all-positive, .*few-positives"
    ):
        intake_settings({"accept": "few-positive"})


def test_codes_of_stops_are_in_the_json_of_a_command(tmp_path):
    path = crowds.write(tmp_path / "rows.csv", crowd(points=lambda row: 1 + row % 10))

    refused = CliRunner().invoke(app, ["inspect", str(path), "--json"])

    assert json.loads(refused.stdout)["error"]["code"] == "unused-number"


def test_skipping_bad_rows_names_the_flag_that_replaced_it(tmp_path):
    """Case 80."""
    path = crowds.write(tmp_path / "rows.csv", changed(crowd(), "user_id", {1: ""}))

    refused = CliRunner().invoke(
        app, ["prepare", str(path), "--out", str(tmp_path / "out"), "--skip-bad-rows"]
    )

    assert refused.exit_code == 2
    assert "--bad-rows drop" in refused.output
    with pytest.raises(tastevec.SettingsError, match='bad_rows="drop"'):
        tastevec.inspect(path, skip_bad_rows=True)
