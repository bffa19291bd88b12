"""The page of a service that asks for a token: asked for in one field, kept in the tab, and told to the service alone."""

import json
import re

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
)
expect = playwright.expect

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TOKEN = "s3cret-Ωμέγα"  # noqa: S105  of this test alone
DEVICES = {"light": {}, "dark": {"color_scheme": "dark"}, "phone": {"width": 390, "height": 844}}


@pytest.fixture(scope="module", name="guarded")
def _guarded(opened):
    """A service with a token."""
    return opened(token=TOKEN)


@pytest.fixture(name="locked")
def _locked(visit, guarded):
    """Come to the page for the first time."""

    def come(*, at=guarded, **device):
        page = visit(at=at, wait=False, **device)
        expect(page.locator("#login")).to_be_visible()
        return page

    return come


def refusals_forgotten(page):
    """The browser's own lines about answers of 401, each of which the page is to have asked for."""
    page.heard.told[:] = [line for line in page.heard.told if "401" not in line]


def give(page, token):
    """Type the token and press Enter."""
    page.keyboard.type(token)
    page.keyboard.press("Enter")


def test_the_token_is_asked_for_once_a_visit_and_again_where_it_was_wrong(locked, ready):
    page = locked()
    field = page.get_by_label("This service asks for a token")
    expect(field).to_be_focused()
    expect(page.locator("#search, #strip, #map, #users, nav").locator("visible=true")).to_have_count(0)
    expect(page.get_by_role("alert")).to_have_text([""])
    page.keyboard.press("Enter")  # nothing is not sent
    expect(field).to_be_focused()
    give(page, "another")
    expect(page.get_by_role("alert")).to_have_text("That is not the token of this service. Try again.")
    expect(field).to_be_focused()
    give(page, TOKEN)  # what was there is selected, and typed over
    ready(page)
    expect(page.locator("#login")).to_be_hidden()
    expect(page.locator("#headline")).to_be_focused()
    expect(page.locator("#recommendations li")).to_have_count(12)
    page.reload()
    ready(page)
    expect(page.locator("#login")).to_be_hidden()
    refusals_forgotten(page)


def test_the_token_stays_in_the_tab_and_goes_nowhere_but_to_the_service(locked, ready, guarded, tmp_path):
    page = locked(accept_downloads=True, permissions=["clipboard-read", "clipboard-write"])
    told = []
    page.on("request", lambda request: told.append((request.url, request.headers.get("authorization"))))
    give(page, TOKEN)
    ready(page)
    page.click("#copy-link")
    expect(page.locator("#messages")).to_contain_text("is copied")
    with page.expect_download() as saved:
        page.click("#export-button")
    saved.value.save_as(tmp_path / "person.json")
    assert json.loads((tmp_path / "person.json").read_text(encoding="utf-8"))["format"] == "tastevec.user"
    places = [
        (tmp_path / "person.json").read_text(encoding="utf-8"),
        page.evaluate("JSON.stringify({...localStorage})"),
        page.evaluate("document.cookie"),
        page.evaluate("navigator.clipboard.readText()"),
        page.content(),
        page.url,
        *(url for url, _ in told),
    ]
    assert not any("s3cret" in place for place in places)
    assert page.locator("#login-token").input_value() == ""
    assert page.evaluate("Object.keys(sessionStorage)") == ["tastevec.token"]
    asked = {bool(header) for url, header in told if "/v1/" in url}
    assert asked == {True}
    assert all(url.startswith(guarded.address) for url, header in told if header)
    refusals_forgotten(page)


def test_another_tab_is_asked_for_itself(locked, guarded):
    page = locked()
    give(page, TOKEN)
    expect(page.locator("#login")).to_be_hidden()
    other = page.context.new_page()
    other.goto(guarded.address)
    expect(other.locator("#login")).to_be_visible()
    refusals_forgotten(page)


def test_a_token_that_is_changed_meanwhile_is_asked_for_and_nothing_is_lost(locked, opened, ready):
    running = opened(token="first")
    page = locked(at=running)
    give(page, "first")
    ready(page)
    running.stop()
    running.start(token="second")
    page.locator("#rated-list .close").first.click()
    expect(page.locator("#login")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_text("That is not the token of this service. Try again.")
    give(page, "second")
    expect(page.locator("#login")).to_be_hidden()
    expect(page.locator("#strip-print")).to_contain_text("10 films")
    refusals_forgotten(page)


def test_a_link_waits_for_the_token(locked, ready):
    page = locked(path="/#r=1*5,7*1")
    give(page, TOKEN)
    ready(page)
    expect(page.locator("#rated-list li")).to_have_count(2)
    refusals_forgotten(page)


@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)
def test_axe_finds_nothing_grave_at_the_door(locked, device):
    page = locked(**device)
    give(page, "another")
    expect(page.get_by_role("alert")).to_have_text(re.compile("not the token"))
    found = axe.Axe().run(page).response["violations"]
    assert [rule["id"] for rule in found if rule["impact"] in {"serious", "critical"}] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    refusals_forgotten(page)
