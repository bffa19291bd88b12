"""The HTML report and its plots."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure

from reports import behavior_of, facts, lively, measured, report_of, task_record
from tastevec.data.html import style_axes
from tastevec.evaluation.html_report import report_page
from tastevec.evaluation.plots import SeriesStyle, draw, label_ends, label_points, series_styles, short
from tastevec.evaluation.tables import report_text

EVERY = ["headline", "quality-curve", "popularity", "age", "cold-items", "coverage"]


@pytest.fixture(scope="module")
def report():
    found = lively(
        baselines=["popularity", "EASE & <friends>", "iALS"], models=["ours", "the note's"], users=60
    )
    return replace(found, behavior=behavior_of("ours", "the note's"))


@pytest.fixture(scope="module")
def pictures(report):
    return draw(report)


@pytest.fixture(scope="module")
def page(report, pictures):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tastevec.evaluation.html_report.draw", lambda _report: pictures)  # drawn once
        return report_page(report)


class Opened(HTMLParser):
    """The tags of a page, which must close in reverse order."""

    alone = frozenset({"meta", "img"})

    def __init__(self, page):
        super().__init__()
        self.open, self.seen, self.sources = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href", "data", "action")]
        if tag not in self.alone:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page_is_self_contained(page):
    assert "http" not in page
    assert "@import" not in page
    assert "url(" not in page
    found = Opened(page)
    assert found.open == []
    assert {source.split(",")[0] for source in found.sources} == {"data:image/svg+xml;base64"}
    assert not {"script", "link", "iframe"} & set(found.seen)


def test_every_plot_has_caption_with_number_of_users(page, pictures):
    assert [picture.name for picture in pictures] == EVERY
    assert page.count("<figure") == page.count("<figcaption>") == len(EVERY)
    for picture in pictures:
        assert picture.svg.startswith(b"<?xml")
        assert re.search(r"Users( in each point)?: .*\d", picture.caption)
        assert "bootstrap over users" in picture.caption or picture.name == "coverage"


def test_html_tables_equal_text_tables(page, report):
    assert page.count("<table>") == 7
    assert page.count('<tr class="model">') == 6 * 2
    plain = re.sub(r"<[^>]+>", " ", page)
    for word in report_text(report).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split():
        if set(word) != {"-"} and not word.endswith(":"):
            assert word.replace("'", "&#x27;") in plain


def test_names_and_notes_are_escaped(page):
    assert "EASE &amp; &lt;friends&gt;" in page
    assert "A note with &lt;angles&gt;." in page
    assert "<friends>" not in page
    assert "<kept>" not in page


def test_page_title_names_models_and_data(page, report, pictures, monkeypatch):
    assert "<title>ours, the note&#x27;s on tiny</title>" in page
    monkeypatch.setattr("tastevec.evaluation.html_report.draw", lambda _report: pictures)
    bare = report_page(replace(report, data=None))
    assert "<title>ours, the note&#x27;s</title>" in bare
    assert "<dt>split</dt>" not in bare


def test_plots_without_data_are_omitted():
    report = report_of(
        [facts("floor", is_baseline=True)], [measured("floor", task_record(), ndcg_at_100=[0, 0, 1, 1])]
    )
    assert [picture.name for picture in draw(report)] == ["headline"]
    assert "<title>Baselines on tiny</title>" in report_page(report)


def test_system_without_task_has_no_dot():
    system_metrics = {"coverage@10": np.array([0.5])}
    results = [
        measured(
            "ours", task_record("random-20pct"), ndcg_at_100=[0, 0, 1, 1], system_metrics=system_metrics
        ),
        measured("ours", task_record("next-item"), ndcg_at_10=[0, 0, 0, 1]),
        measured("last only", task_record("next-item"), ndcg_at_10=[0, 0, 1, 1]),
    ]
    report = report_of([facts("last only", is_baseline=True), facts("ours")], results)
    headlines, coverage = draw(report)
    assert "random-20pct 4, next-item 4" in headlines.caption
    assert "next-item" not in coverage.caption


def test_report_of_zero_metrics_is_drawn():
    system_metrics = {"coverage@10": np.array([0.0])}
    report = report_of(
        [facts("ours")], [measured("ours", task_record(), ndcg_at_100=[0] * 4, system_metrics=system_metrics)]
    )
    assert [picture.name for picture in draw(report)] == ["headline", "coverage"]


def test_three_panels_are_drawn():
    report = lively(
        baselines=["popularity"], models=["ours"], users=20, tasks=("random-20pct", "next-item", "last-20pct")
    )
    assert [picture.name for picture in draw(report)] == EVERY


def test_models_have_unique_colors_and_baselines_one_gray():
    names = [f"model {place}" for place in range(8)]
    report = report_of(
        [facts("a", is_baseline=True), facts("b", is_baseline=True), *map(facts, names)],
        [measured("a", task_record(), ndcg_at_10=[1] * 4)],
    )
    found = series_styles(report)
    assert found["a"] == found["b"]
    assert len({(found[name].color, found[name].dash) for name in names}) == 8
    assert found["a"].text_color != found["a"].color  # a name needs more contrast than a line
    assert found["model 0"].text_color == found["model 0"].color


def drawn_axes():
    figure = Figure(figsize=(6, 4))
    axes = style_axes(figure.subplots())
    axes.set(xlim=(0, 1), ylim=(0, 1))
    return figure, axes


def boxes(figure, axes):
    """Return the bounding boxes of all names, in pixels."""
    figure.draw_without_rendering()
    return [text.get_window_extent() for text in axes.texts]


def test_label_ends_never_overlap():
    figure, axes = drawn_axes()
    ends = {f"line {place}": (1.0, 0.5 + place / 1000) for place in range(8)}
    label_ends(axes, ends, dict.fromkeys(ends, SeriesStyle("#000000", "-", model=True)))
    found = sorted(boxes(figure, axes), key=lambda box: box.y0)
    assert len(found) == 8
    assert all(upper.y0 >= lower.y1 - 1 for lower, upper in zip(found, found[1:], strict=False))  # noqa: RUF007  each beside the next


def test_label_points_never_overlap():
    figure, axes = drawn_axes()
    rng = np.random.default_rng(0)
    points = {f"system {place}": tuple(rng.uniform(0.3, 0.6, 2)) for place in range(30)}
    label_points(axes, points, dict.fromkeys(points, SeriesStyle("#000000", "-", model=False)))
    found = boxes(figure, axes)
    assert 5 < len(found) < 30
    assert not any(one.overlaps(other) for place, one in enumerate(found) for other in found[:place])


def test_label_points_prefers_first_names():
    _, axes = drawn_axes()
    points = dict.fromkeys([f"system {place}" for place in range(9)], (0.5, 0.5))
    label_points(axes, points, dict.fromkeys(points, SeriesStyle("#000000", "-", model=False)))
    names = [text.get_text() for text in axes.texts]
    assert names == [f"system {place}" for place in range(len(names))]
    assert 1 <= len(names) < 9


def test_short_cuts_long_names():
    assert short("taste") == "taste"
    assert len(short("x" * 100)) == 28
    assert short("x" * 28) == "x" * 28
