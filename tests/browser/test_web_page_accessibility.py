"""Accessibility and layout of the page: axe, widths, reduced motion, themes, screenshots."""

import os
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
)
expect = playwright.expect

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PHONE = {"width": 390, "height": 844, "has_touch": True}
WIDTHS = (1920, 1280, 768, 360, 320)
SERIOUS = {"serious", "critical"}
# Counts all animations from the start.
COUNT_ANIMATIONS = """
window.animations = 0;
for (const kind of ["transitionrun", "animationstart"]) addEventListener(kind, () => { window.animations += 1; }, true);
const animate = Element.prototype.animate;
Element.prototype.animate = function (...given) { window.animations += 1; return animate.apply(this, given); };
"""


def initial(_page):
    """Change nothing."""


def adjusted(page):
    page.locator("[data-tag-slider]").first.focus()
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    expect(page.locator("#recommend-note")).to_contain_text("Adjusted:")
    page.locator("#tag-list .tag-name").first.click()


def dialog_open(page):
    page.locator("#recommendations .add").first.click()
    expect(page.locator("#dialog .dialog-tags .warm, #dialog .dialog-tags .cold").first).to_be_visible()
    expect(page.locator("#dialog .dialog-similar li")).to_have_count(3)


def search_open(page):
    page.fill("#search", "silent")
    expect(page.locator("#search-options [role=option]").first).to_be_visible()


def without_ratings(page):
    page.click("#start-own")
    expect(page.locator("#starters li").first).to_be_visible()
    expect(page.locator("#recommendations li")).to_have_count(0)


def still(page):
    """Wait until all animations have ended and nothing is half transparent."""
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    # wait_for_function evaluates strings, which the content security policy forbids.
    while page.evaluate("document.getAnimations().some((each) => each.playState === 'running')"):
        page.wait_for_timeout(50)


@pytest.mark.parametrize("state", [initial, adjusted, dialog_open, search_open, without_ratings])
@pytest.mark.parametrize("device", [{}, {"color_scheme": "dark"}, PHONE], ids=["light", "dark", "phone"])
def test_page_state_has_no_serious_axe_violation(visit, device, state):
    page = visit(**device)
    state(page)
    still(page)
    violations = axe.Axe().run(page).response["violations"]
    assert {
        rule["id"]: [node["html"] for node in rule["nodes"]]
        for rule in violations
        if rule["impact"] in SERIOUS
    } == {}


@pytest.mark.parametrize("state", [initial, adjusted, dialog_open])
def test_page_at_any_width_has_no_horizontal_scroll(visit, state):
    page = visit()
    state(page)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        still(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_page_with_reduced_motion_has_no_animation(visit, ready):
    """Without it there are animations, so that the test can fail."""
    counts = {}
    for preference in ("reduce", "no-preference"):
        page = visit(reduced_motion=preference)
        page.add_init_script(COUNT_ANIMATIONS)
        page.reload()
        ready(page)
        adjusted(page)
        still(page)
        page.click("[data-zoom=you]")
        zoom = page.locator("#map-canvas").get_attribute("data-zoom")
        counts[preference] = page.evaluate("window.animations")
        if preference == "reduce":
            assert float(zoom) >= 4, "the map is animated"
    assert counts["reduce"] == 0
    assert counts["no-preference"] > 0


def test_page_theme_after_reload_is_the_chosen_one(visit, ready):
    page = visit(color_scheme="light")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.click("#theme-toggle")
    dark = page.evaluate(background)
    assert dark != light
    page.reload()
    ready(page)
    assert page.evaluate(background) == dark
    expect(page.locator("#theme-toggle")).to_have_text("Light theme")


@pytest.mark.parametrize(
    ("name", "device"),
    [("desktop-light", {}), ("desktop-dark", {"color_scheme": "dark"}), ("phone", PHONE)],
    ids=["desktop-light", "desktop-dark", "phone"],
)
def test_page_screenshots_are_written(visit, tmp_path, name, device):
    """They go to the folder TASTEVEC_SCREENSHOTS, if set."""
    folder = Path(os.environ.get("TASTEVEC_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    page = visit(**device)
    still(page)
    page.screenshot(path=folder / f"{name}.png", full_page=True)
    assert (folder / f"{name}.png").stat().st_size > 50_000
