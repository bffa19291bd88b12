"""The page of a bookshop in a real browser: its words, its scale from 1 to 10, and books that are added without a rating."""

import pytest

import bookshop

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PHONE = {"width": 390, "height": 844, "has_touch": True}
# All texts of the page: what is shown, what a screen reader reads, and what a tooltip shows.
TEXTS = """document.body.innerText + [...document.querySelectorAll("*")].flatMap((node) =>
  ["aria-label", "aria-valuetext", "title", "placeholder"].map((name) => node.getAttribute(name) ?? "")).join("\\n")"""


@pytest.fixture(scope="module", name="shop_of")
def _shop_of(tmp_path_factory):
    """The state of a model of the bookshop, by kind of feedback."""
    import tastevec as tv  # noqa: PLC0415  an extra
    from tastevec.serving.service.worker import from_folder  # noqa: PLC0415  an extra

    folder = bookshop.write_bookshop(tmp_path_factory.mktemp("page") / "shop")

    def state(**feedback):
        model = folder / "-".join(feedback)
        tv.fit(
            folder / "ratings.csv",
            folder / "items.csv",
            item_noun=bookshop.NOUN,
            out=model,
            progress=False,
            **feedback,
            **dict(pair.split("=") for pair in bookshop.TINY),
        )
        return from_folder(model)()

    return state


def choose(page, query):
    """Open the first result of a search."""
    page.fill("#search", query)
    page.locator("#search-options [role=option][data-item-id]").first.click()


@pytest.mark.parametrize("device", [{"width": 1440}, PHONE], ids=["desktop", "phone"])
def test_bookshop_page_rates_in_the_steps_of_its_scale(visit, run, shop_of, device):
    page = visit(at=run(shop_of(rating_range="1:10")), wait=False, **device)
    expect(page.locator("#recommendations li")).to_have_count(12)
    choose(page, "garden")
    cells = page.locator("#dialog .marks > .row i")
    assert cells.all_inner_texts() == [str(rating) for rating in range(1, 11)]
    cells.nth(7).click()
    expect(page.locator("#dialog")).to_be_hidden()
    newest = page.locator("#rated-list .rating").first
    expect(newest).to_have_attribute("aria-valuetext", "8 of 10")
    newest.focus()
    page.keyboard.press("ArrowRight")
    expect(newest).to_have_attribute("aria-valuetext", "9 of 10")
    expect(newest.locator(".value")).to_have_text("9")
    assert page.locator(".rating svg").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    assert bookshop.other_nouns(page.evaluate(TEXTS)) == []


def test_bookshop_page_of_readings_without_ratings_adds_and_removes(visit, run, shop_of):
    page = visit(at=run(shop_of(feedback="implicit")), wait=False)
    expect(page.locator("#recommendations li")).to_have_count(12)
    page.click("#start-own")
    expect(page.locator("#rated-empty")).to_contain_text("No books yet.")
    choose(page, "garden")
    assert page.locator("#dialog [role=slider]").count() == 0
    page.locator("#dialog").get_by_role("button", name="Add").click()
    expect(page.locator("#rated-list li")).to_have_count(1)
    expect(page.locator("#rate-title")).to_have_text("Your books 1")
    expect(page.locator("#strip-print")).to_contain_text("1 book")
    choose(page, "garden")
    page.locator("#dialog").get_by_role("button", name="Remove").click()
    expect(page.locator("#rated-list li")).to_have_count(0)
    assert bookshop.other_nouns(page.evaluate(TEXTS)) == []
