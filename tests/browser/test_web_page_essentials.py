"""The essential behavior of the page in a real browser, part of the complete test suite."""

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
)
expect = playwright.expect

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_page_first_visit_rates_adjusts_reloads_and_passes_axe(visit, ready):
    """One visit instead of several tests: starting pages takes most of the time."""
    page = visit()
    page.click("#start-own")
    expect(page.locator("#tag-list > li")).to_have_count(0)
    _rate(page, "silent trombone", 5)
    ready(page)
    expect(page.locator("#headline")).to_contain_text("than average")
    expect(page.locator("#recommendations li")).to_have_count(12)
    expect(page.locator("#strip-print")).to_contain_text("1 rating")
    before = _titles(page)

    slider = page.locator("[data-tag-slider]").first
    slider.focus()
    for _ in range(6):
        page.keyboard.press("ArrowLeft")
    expect(page.locator("#recommend-note")).to_contain_text("Adjusted:")
    page.wait_for_timeout(400)  # requests start a moment after the last change
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    adjusted = _titles(page)
    assert adjusted != before

    page.reload()
    ready(page)
    expect(page.locator("#rated-list li")).to_have_count(1)
    expect(page.locator("#recommend-note")).to_contain_text("Adjusted:")
    assert _titles(page) == adjusted

    page.wait_for_timeout(600)  # half transparent texts have no contrast
    violations = axe.Axe().run(page).response["violations"]
    assert [rule["id"] for rule in violations if rule["impact"] in {"serious", "critical"}] == []
    assert page.activity.external == []
    assert "/v1/recommend" in page.activity.paths


def _rate(page, query, stars):
    page.fill("#search", query)
    page.locator("#search-options [role=option][data-item-id]").first.click()
    row = page.locator("#dialog .marks")
    size = row.bounding_box()
    row.click(position={"x": size["width"] * (stars / 5 - 0.01), "y": size["height"] / 2})
    expect(page.locator("#dialog")).to_be_hidden()


def _titles(page):
    return page.locator("#recommendations .titled .title").all_inner_texts()
