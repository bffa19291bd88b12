"""The table renderer, and the pages against the saved results."""

import json
from pathlib import Path

import pytest
from pages import PAGES, REGIONS, ROOT, render
from tables import grouped, markdown_table, pivoted

RESULTS = ROOT / "results"


def test_a_table_is_a_mapping_of_titles_to_format_strings():
    columns = {"hidden size": "{hidden_size}", "users/s": "{users_per_second:,.0f}", "memory": "{mb[peak]:,}"}
    rows = [{"hidden_size": 64, "users_per_second": 1234.5, "mb": {"peak": 2_000}}, {"hidden_size": 128}]
    assert markdown_table(columns, rows).splitlines() == [
        "| hidden size | users/s | memory |",
        "|---|---|---|",
        "| 64 | 1,234 | 2,000 |",
        "| 128 | - | - |",
    ]


@pytest.mark.parametrize(
    ("template", "value", "text"),
    [
        ("{x:±.2f}", {"mean": 0.5, "ci_low": 0.4, "ci_high": 0.6}, "0.50 ±0.10"),
        ("{x:±.2f}", {"mean": 0.5, "ci_low": 0.4, "ci_high": 0.6, "significant": True}, "0.50 ±0.10*"),
        ("{x:±.2f}", {"mean": 0.5, "deviation": 0.25}, "0.50 ±0.25"),
        ("{x:±.2f}", {"mean": None, "ci_low": None, "ci_high": None}, "-"),
        ("{x:[+.1f]}", {"difference": 0.5, "ci_low": -0.1, "ci_high": 1.1}, "+0.5 [-0.1, +1.1]"),
        ("{x:[.1f]}", {"ratio": 2, "ratio_low": 1, "ratio_high": 3, "mean": 9}, "2.0 [1.0, 3.0]"),
        ("{x:~,.0f}", [3, 1, 2], "2 (1 to 3)"),
        ("{x:~,.0f}", [2, 2], "2"),
        ("{x:~.1f}", {"median": 2, "lowest": 1, "highest": 3}, "2.0 (1.0 to 3.0)"),
    ],
)
def test_a_cell_shows_intervals_and_ranges(template, value, text):
    assert markdown_table({"": template}, [{"x": value}]).endswith(f"| {text} |")


def test_rows_are_grouped_by_keys_and_pivoted_by_columns():
    rows = [{"a": 1, "b": 2}, {"a": 1, "b": 3}, {"a": 4, "b": 5}]
    assert grouped(rows, "a") == [{"a": 1, "b": [2, 3], "runs": 2}, {"a": 4, "b": [5], "runs": 1}]
    assert pivoted(rows, ("a",), "b{b}")[0] == {"a": 1, "b2": rows[0], "b3": rows[1]}


def test_every_page_shows_what_is_saved():
    pages = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for name, (file, *_) in REGIONS.items():
        text = render(name, json.loads((RESULTS / f"{file}.json").read_text(encoding="utf-8")))
        assert f"<!-- {name} -->\n{text}\n<!-- /{name} -->" in pages, f"{name}: run make render"


def test_every_result_has_its_commit():
    missing = [
        path.name for path in RESULTS.rglob("*.json") if "commit" not in json.loads(Path(path).read_text())
    ]
    assert missing == []
