"""The page in a real browser: what a visitor does, and what she sees of it."""

import json

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FIVE = ("silent trombone", "crimson orbit", "borrowed cellar", "northern waltz", "last ledger")


def quiet(page):
    """Wait until what was done has been asked, which the page does a moment after the last change, and answered."""
    page.wait_for_timeout(400)
    expect(page.locator("[aria-busy=true]")).to_have_count(0)


def films_of(page):
    """The titles that are recommended, best first."""
    return page.locator("#recommendations .titled .title").all_inner_texts()


def rate(page, query, stars):
    """Search, take the first film found, and give it so many of five stars with the mouse."""
    page.fill("#search", query)
    page.locator("#search-options [role=option][data-item-id]").first.click()
    row = page.locator("#dialog .stars")
    size = row.bounding_box()
    # A locator waits until the dialog stands still: it grows while the film's words come.
    row.click(position={"x": size["width"] * (stars / 5 - 0.01), "y": size["height"] / 2})
    expect(page.locator("#dialog")).to_be_hidden()


def steer(page, keys, tag=0):
    """Press keys on a tag's slider, and wait for the list that comes of it."""
    page.locator("[data-tag-slider]").nth(tag).focus()
    for key in keys:
        page.keyboard.press(key)
    expect(page.locator("#recommend-note")).to_contain_text("Steered.")
    quiet(page)


def test_the_first_sight_is_full(visit):
    """The example is loaded, said in words, recommended for, compared, and standing on the map."""
    page = visit()
    expect(page.locator("#profile-name")).to_contain_text("An example person: Somebody who loves")
    expect(page.locator("#headline")).to_contain_text("Leans towards")
    expect(page.locator("#rated-list li")).to_have_count(11)
    expect(page.locator("#tag-list > li")).not_to_have_count(0)
    expect(page.locator("#recommendations li")).to_have_count(12)
    expect(page.locator("#users-list > li")).to_have_count(4)
    expect(page.locator("#map-nearest li")).to_have_count(8)
    colors = page.locator("#map-canvas").evaluate(
        "canvas => new Set(new Uint32Array(canvas.getContext('2d')"
        ".getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size"
    )
    assert colors > 20, "the map is blank"


def test_the_strip_draws_each_number_by_its_sign_and_size(visit, served):
    page = visit()
    ratings = [(item["item_id"], item["rating"]) for item in served.example["ratings"]]
    vector = served.model.encode(ratings, horizon="next").tolist()
    bars = page.locator("#strip-track i")
    expect(bars).to_have_count(len(vector))
    assert bars.evaluate_all("bars => bars.map((bar) => bar.className)") == [
        "cold" if number < 0 else "warm" for number in vector
    ]
    heights = bars.evaluate_all("bars => bars.map((bar) => Number(bar.style.getPropertyValue('--height')))")
    by_size = sorted(range(len(vector)), key=lambda place: abs(vector[place]))
    assert [heights[place] for place in by_size] == sorted(heights)
    assert heights[by_size[-1]] == 1


def test_five_films_rated_are_read_in_words(visit):
    page = visit()
    page.click("#start-own")
    expect(page.locator("#tag-list > li")).to_have_count(0)
    expect(page.locator("#search")).to_be_focused()
    for query, stars in zip(FIVE, (5, 4.5, 1, 3, 2), strict=True):
        rate(page, query, stars)
    expect(page.locator("#tag-list > li")).not_to_have_count(0)
    expect(page.locator("#rated-list li")).to_have_count(5)
    expect(page.locator("#headline")).to_contain_text("You lean")
    given = page.locator("#rated-list .stars").evaluate_all("all => all.map((each) => each.ariaValueNow)")
    assert given == ["2", "3", "1", "4.5", "5"]
    page.locator("#tag-list .tag-name").first.click()
    expect(page.locator("#tag-list .contributions").first.locator(".effect").first).to_be_visible()


@pytest.mark.parametrize("horizon", ["Next film", "My taste overall"])
def test_a_tag_dragged_moves_the_list_and_says_what_moved(visit, horizon):
    page = visit()
    page.get_by_text(horizon, exact=True).click()
    quiet(page)
    before = films_of(page)
    slider = page.locator("[data-tag-slider]").first
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 2, middle, steps=4)
    page.mouse.up()
    expect(page.locator("#recommend-note")).to_contain_text("Steered.")
    quiet(page)
    after = films_of(page)
    moved = sum(old != new for old, new in zip(before, after, strict=True))
    assert moved > 0
    expect(page.locator("#recommend-note")).to_contain_text(f"{moved} of 12 films are new or moved")
    expect(page.locator("#recommendations .move:not([data-move=none])")).to_have_count(moved)
    page.click("#reset-adjustments")
    expect(page.locator("#recommend-note")).to_contain_text("nearest to your taste first")
    quiet(page)
    assert films_of(page) == before


def test_a_reload_keeps_ratings_steering_and_horizon(visit, ready):
    page = visit()
    rate(page, FIVE[1], 1)
    page.get_by_text("My taste overall").click()
    steer(page, ["ArrowLeft"] * 4)
    kept = films_of(page)
    doses = page.locator("[data-tag-slider]").evaluate_all("all => all.map((each) => each.value)")
    page.reload()
    ready(page)
    expect(page.locator("#rated-list li")).to_have_count(12)
    expect(page.locator("#example-text")).to_contain_text("with your changes")
    expect(page.get_by_role("radio", name="My taste overall")).to_be_checked()
    assert page.locator("[data-tag-slider]").evaluate_all("all => all.map((each) => each.value)") == doses
    assert films_of(page) == kept


def test_everything_can_be_done_with_the_keyboard_alone(visit):
    page = visit()
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the film search")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.type("crimson")
    expect(page.locator("#search-options [role=option]").first).to_be_visible()
    page.keyboard.press("ArrowDown")
    chosen = page.locator("#search-options [aria-selected=true] .title").inner_text()
    page.keyboard.press("Enter")
    expect(page.locator("#dialog [role=slider]")).to_be_focused()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    expect(page.locator("#dialog")).to_be_hidden()
    expect(page.locator("#search")).to_be_focused()
    newest = page.locator("#rated-list li").first
    expect(newest.locator(".title")).to_have_text(chosen)
    expect(newest.locator(".stars")).to_have_attribute("aria-valuenow", "4.5")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowLeft")
    expect(newest.locator(".stars")).to_have_attribute("aria-valuenow", "4")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#rated-list li")).to_have_count(11)


def test_the_map_is_read_and_chosen_from_with_the_keyboard(visit):
    page = visit()
    page.focus("#map-canvas")
    page.click("[data-zoom=you]")
    expect(page.locator("#map-canvas")).to_have_attribute("data-zoom", "4.00")
    page.focus("#map-canvas")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#map-tip")).to_be_visible()
    named = page.locator("#map-tip .title").inner_text()
    page.keyboard.press("Enter")
    expect(page.locator("#dialog-title .title")).to_have_text(named)
    page.keyboard.press("Escape")
    expect(page.locator("#map-canvas")).to_be_focused()


def test_the_other_horizon_gives_another_list(visit):
    page = visit()
    before = films_of(page)
    page.get_by_text("My taste overall").click()
    expect(page.locator("#strip-print")).to_contain_text("taste overall")
    quiet(page)
    assert films_of(page) != before
    page.get_by_text("Next film", exact=True).click()
    expect(page.locator("#strip-print")).to_contain_text("next film")
    quiet(page)
    assert films_of(page) == before


def test_what_is_saved_as_json_brings_the_taste_back(visit, served, tmp_path):
    page = visit(accept_downloads=True)
    rate(page, FIVE[2], 4)
    quiet(page)
    expect(page.locator("#strip-print")).to_contain_text("12 films")
    with page.expect_download() as saved:
        page.click("#export-button")
    saved.value.save_as(tmp_path / "person.json")
    told = json.loads((tmp_path / "person.json").read_text(encoding="utf-8"))
    assert told["space"] == served.space
    assert told["ratings"][-1]["rating"] == 4
    assert len(told["ratings"]) == 12
    assert told["vector"] == pytest.approx(
        served.model.encode([(item["item_id"], item["rating"]) for item in told["ratings"]]).tolist(),
        abs=1e-4,
    )
    assert [tag["tag"] for tag in told["tags"]] == page.locator("#tag-list .tag-name").all_inner_texts()

    other = visit()
    other.set_input_files("#import-file", tmp_path / "person.json")
    expect(other.locator("#rated-list li")).to_have_count(12)
    expect(other.locator("#profile-name")).to_have_text("Your taste in films")
    shown = "all => all.map((each) => each.textContent)"
    items = "#rated-list .title"
    assert other.locator(items).evaluate_all(shown) == page.locator(items).evaluate_all(shown)


def test_a_file_that_is_no_taste_is_refused_with_a_sentence(visit, tmp_path):
    page = visit()
    (tmp_path / "other.json").write_text("{not json")
    page.set_input_files("#import-file", tmp_path / "other.json")
    expect(page.get_by_role("alert")).to_contain_text("other.json is not JSON")
    expect(page.locator("#rated-list li")).to_have_count(11)


def test_a_link_restores_the_ratings_and_leaves_strangers_out(visit, ready):
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    rate(page, FIVE[3], 4.5)
    page.click("#copy-link")
    expect(page.locator("#messages")).to_contain_text("A link with 12 ratings is copied")
    link = page.evaluate("navigator.clipboard.readText()")
    other = visit(path=link.partition("/#")[2].join(("/#", ",999999*4,nobody*3,1*77")))
    expect(other.locator("#rated-list li")).to_have_count(12)
    expect(other.locator("#messages")).to_contain_text("2 of the link's films are not in this catalogue")
    expect(other.locator("#rated-list .stars").first).to_have_attribute("aria-valuenow", "4.5")
    expect(other.locator("#rated-list .title").first).to_have_text("The Northern Waltz")
    assert "#" not in other.url
    other.reload()
    ready(other)
    expect(other.locator("#rated-list li")).to_have_count(12)


def test_a_title_that_looks_like_markup_is_shown_as_it_is(visit):
    page = visit()
    page.fill("#search", "brazen cafe")
    title = "<b>Bold</b> & \"Brazen\" 'Café'"
    expect(page.locator("#search-options .title").first).to_have_text(title)
    rate(page, "brazen cafe", 5)
    expect(page.locator("#rated-list .title").first).to_have_text(title)
    assert page.locator("#rated-list b").count() == 0


def test_a_service_that_is_gone_is_told_and_asked_again(visit, run):
    running = run()
    page = visit(at=running)
    before = films_of(page)
    running.stop()
    page.locator("#rated-list .close").first.click()
    expect(page.get_by_role("alert")).to_contain_text("The service cannot be reached")
    expect(page.get_by_role("alert")).to_have_count(1)
    assert films_of(page) == before
    running.start()
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.locator("#strip-print")).to_contain_text("10 films")
    # The browser's own lines about connections that it could not make.
    page.heard.told[:] = [line for line in page.heard.told if not line.startswith("Failed to load resource")]


def test_a_model_without_map_and_people_has_a_page_without_them(visit, run, bare):
    page = visit(at=run(bare), wait=False)
    expect(page.locator("#recommendations li")).to_have_count(12)
    expect(page.locator("#map-note")).to_contain_text("saved without a map")
    expect(page.locator("#users")).to_be_hidden()
    expect(page.get_by_role("link", name="Users")).to_be_hidden()


@pytest.mark.parametrize(
    ("users", "code", "said"),
    [
        (None, "store_unavailable", "cannot be reached just now"),
        (1, "no_users", "Nobody is kept here yet."),
    ],
)
def test_people_who_cannot_be_found_are_no_fault_of_the_page(visit, users, code, said):
    """Their database is away, or they were all deleted: said in their place, and in no message."""
    page = visit()

    def told(route):
        answer = route.fetch()
        route.fulfill(response=answer, json=answer.json() | {"users": users})

    page.route("**/v1/model", told)
    error = {"error": {"code": code, "message": "not now", "where": None}}
    page.route(
        "**/v1/similar-users", lambda route: route.fulfill(status=503 if users is None else 404, json=error)
    )
    page.reload()
    expect(page.locator("#users-empty")).to_contain_text(said)
    expect(page.locator("#users-list > li")).to_have_count(0)
    expect(page.locator("#recommendations li")).to_have_count(12)
    quiet(page)
    expect(page.locator(".message")).to_have_count(0)
    page.heard.told[:] = [line for line in page.heard.told if not line.startswith("Failed to load resource")]


def test_nothing_is_asked_of_another_machine_or_of_a_path_that_is_not_there(visit):
    page = visit()
    rate(page, FIVE[0], 2)
    steer(page, ["ArrowRight"] * 2)
    assert page.heard.outside == []
    assert "/v1/recommend" in page.heard.asked
    answered = page.evaluate(
        "performance.getEntriesByType('resource').map((each) => [new URL(each.name).host, each.responseStatus])"
    )
    assert {host for host, _ in answered} == {page.url.split("/")[2]}
    # 0 is a question that the page dropped, since a newer one took its place.
    assert {status for _, status in answered} - {0} == {200}
