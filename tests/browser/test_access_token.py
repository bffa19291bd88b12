"""The page of a service with an access token: entered once per tab, and sent only to the service."""

import json
import re

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
)
expect = playwright.expect

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TOKEN = "s3cret-Ωμέγα"  # noqa: S105  a test token
DEVICES = {"light": {}, "dark": {"color_scheme": "dark"}, "phone": {"width": 390, "height": 844}}


@pytest.fixture(scope="module", name="guarded")
def _guarded(opened):
    """A service with a token."""
    return opened(token=TOKEN)


@pytest.fixture(name="locked")
def _locked(visit, guarded):
    """Open the page without a token."""

    def come(*, at=guarded, **device):
        page = visit(at=at, wait=False, **device)
        expect(page.locator("#login")).to_be_visible()
        return page

    return come


def expect_401(page):
    """Ignore the browser's console errors about responses 401, which these tests cause."""
    page.activity.errors[:] = [line for line in page.activity.errors if "401" not in line]


def enter(page, token):
    """Type the token and press Enter."""
    page.keyboard.type(token)
    page.keyboard.press("Enter")


def test_token_field_after_an_invalid_token_shows_an_error(locked, ready):
    page = locked()
    field = page.get_by_label("Enter the access token")
    expect(field).to_be_focused()
    expect(page.locator("#search, #strip, #map, #users, nav").locator("visible=true")).to_have_count(0)
    expect(page.get_by_role("alert")).to_have_text([""])
    page.keyboard.press("Enter")  # an empty token is not sent
    expect(field).to_be_focused()
    enter(page, "another")
    expect(page.get_by_role("alert")).to_have_text("Invalid token. Try again.")
    expect(field).to_be_focused()
    enter(page, TOKEN)  # replaces the selected text
    ready(page)
    expect(page.locator("#login")).to_be_hidden()
    expect(page.locator("#headline")).to_be_focused()
    expect(page.locator("#recommendations li")).to_have_count(12)
    page.reload()
    ready(page)
    expect(page.locator("#login")).to_be_hidden()
    expect_401(page)


def test_token_is_stored_in_the_tab_and_sent_only_to_the_service(locked, ready, guarded, tmp_path):
    page = locked(accept_downloads=True, permissions=["clipboard-read", "clipboard-write"])
    requests = []
    page.on("request", lambda request: requests.append((request.url, request.headers.get("authorization"))))
    enter(page, TOKEN)
    ready(page)
    page.click("#copy-link")
    expect(page.locator("#messages")).to_contain_text("Copied a link")
    with page.expect_download() as saved:
        page.click("#export-button")
    saved.value.save_as(tmp_path / "user.json")
    assert json.loads((tmp_path / "user.json").read_text(encoding="utf-8"))["format"] == "tastevec.user"
    texts = [
        (tmp_path / "user.json").read_text(encoding="utf-8"),
        page.evaluate("JSON.stringify({...localStorage})"),
        page.evaluate("document.cookie"),
        page.evaluate("navigator.clipboard.readText()"),
        page.content(),
        page.url,
        *(url for url, _ in requests),
    ]
    assert not any("s3cret" in text for text in texts)
    assert page.locator("#login-token").input_value() == ""
    assert page.evaluate("Object.keys(sessionStorage)") == ["tastevec.token"]
    authorized = {bool(header) for url, header in requests if "/v1/" in url}
    assert authorized == {True}
    assert all(url.startswith(guarded.address) for url, header in requests if header)
    expect_401(page)


def test_token_in_another_tab_is_requested_again(locked, guarded):
    page = locked()
    enter(page, TOKEN)
    expect(page.locator("#login")).to_be_hidden()
    other = page.context.new_page()
    other.goto(guarded.address)
    expect(other.locator("#login")).to_be_visible()
    expect_401(page)


def test_token_after_a_change_is_requested_and_ratings_stay(locked, opened, ready):
    running = opened(token="first")
    page = locked(at=running)
    enter(page, "first")
    ready(page)
    running.stop()
    running.start(token="second")
    page.locator("#rated-list .close").first.click()
    expect(page.locator("#login")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_text("Invalid token. Try again.")
    enter(page, "second")
    expect(page.locator("#login")).to_be_hidden()
    expect(page.locator("#strip-print")).to_contain_text("10 ratings")
    expect_401(page)


def test_token_before_a_link_restores_its_ratings(locked, ready):
    page = locked(path="/#r=1*5,7*1")
    enter(page, TOKEN)
    ready(page)
    expect(page.locator("#rated-list li")).to_have_count(2)
    expect_401(page)


@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)
def test_token_field_has_no_serious_axe_violation(locked, device):
    page = locked(**device)
    enter(page, "another")
    expect(page.get_by_role("alert")).to_have_text(re.compile("Invalid token"))
    violations = axe.Axe().run(page).response["violations"]
    assert [rule["id"] for rule in violations if rule["impact"] in {"serious", "critical"}] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    expect_401(page)
