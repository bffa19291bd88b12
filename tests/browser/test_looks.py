"""How the page looks and what it asks of those who look at it: contrast, width, stillness, names for everything."""

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
GRAVE = {"serious", "critical"}
# Everything that moves of itself, counted from the first moment.
COUNT_MOVES = """
window.moves = 0;
for (const kind of ["transitionrun", "animationstart"]) addEventListener(kind, () => { window.moves += 1; }, true);
const animate = Element.prototype.animate;
Element.prototype.animate = function (...given) { window.moves += 1; return animate.apply(this, given); };
"""


def as_it_is(_page):
    """Nothing is done."""


def steered(page):
    page.locator("[data-tag-slider]").first.focus()
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    expect(page.locator("#recommend-note")).to_contain_text("Steered.")
    page.locator("#tag-list .tag-name").first.click()


def ticket_open(page):
    page.locator("#recommendations .add").first.click()
    expect(page.locator("#dialog .dialog-tags .warm, #dialog .dialog-tags .cold").first).to_be_visible()
    expect(page.locator("#dialog .dialog-similar li")).to_have_count(3)


def search_open(page):
    page.fill("#search", "silent")
    expect(page.locator("#search-options [role=option]").first).to_be_visible()


def nothing_rated(page):
    page.click("#start-own")
    expect(page.locator("#starters li").first).to_be_visible()
    expect(page.locator("#recommendations li")).to_have_count(0)


def still(page):
    """Wait until nothing moves and nothing is half transparent any more."""
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    # Not wait_for_function, which the page's own policy forbids: it makes code of a string again and again.
    while page.evaluate("document.getAnimations().some((each) => each.playState === 'running')"):
        page.wait_for_timeout(50)


@pytest.mark.parametrize("state", [as_it_is, steered, ticket_open, search_open, nothing_rated])
@pytest.mark.parametrize("device", [{}, {"color_scheme": "dark"}, PHONE], ids=["light", "dark", "phone"])
def test_axe_finds_nothing_grave(visit, device, state):
    page = visit(**device)
    state(page)
    still(page)
    found = axe.Axe().run(page).response["violations"]
    grave = {
        rule["id"]: [node["html"] for node in rule["nodes"]] for rule in found if rule["impact"] in GRAVE
    }
    assert grave == {}


@pytest.mark.parametrize("state", [as_it_is, steered, ticket_open])
def test_nothing_sticks_out_at_the_side(visit, state):
    page = visit()
    state(page)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        still(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_with_less_movement_asked_for_nothing_moves(visit, ready):
    """And something does otherwise, or this would say nothing."""
    moves = {}
    for wish in ("reduce", "no-preference"):
        page = visit(reduced_motion=wish)
        page.add_init_script(COUNT_MOVES)
        page.reload()
        ready(page)
        steered(page)
        still(page)
        page.click("[data-zoom=you]")
        zoom = page.locator("#map-canvas").get_attribute("data-zoom")
        moves[wish] = page.evaluate("window.moves")
        if wish == "reduce":
            assert float(zoom) >= 4, "the map travelled"
    assert moves["reduce"] == 0
    assert moves["no-preference"] > 0


def test_a_chosen_theme_outlives_the_visit(visit, ready):
    page = visit(color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.click("#theme-toggle")
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    ready(page)
    assert page.evaluate(ground) == dark
    expect(page.locator("#theme-toggle")).to_have_text("Light theme")


@pytest.mark.parametrize(
    ("name", "device"),
    [("desktop-light", {}), ("desktop-dark", {"color_scheme": "dark"}), ("phone", PHONE)],
    ids=["desktop-light", "desktop-dark", "phone"],
)
def test_pictures_are_kept_of_the_whole_page(visit, tmp_path, name, device):
    """In the folder that TASTEVEC_SCREENSHOTS names, where it does."""
    folder = Path(os.environ.get("TASTEVEC_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    page = visit(**device)
    still(page)
    page.screenshot(path=folder / f"{name}.png", full_page=True)
    assert (folder / f"{name}.png").stat().st_size > 50_000
