"""The page in a real browser: rating, adjusting, sharing, errors."""

import json

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FIVE = ("silent trombone", "crimson orbit", "borrowed cellar", "northern waltz", "last ledger")


def quiet(page):
    """Wait for the requests, which start a moment after the last change, and for their responses."""
    page.wait_for_timeout(400)
    expect(page.locator("[aria-busy=true]")).to_have_count(0)


def recommended(page):
    """Return the recommended titles, best first."""
    return page.locator("#recommendations .titled .title").all_inner_texts()


def rate(page, query, stars):
    """Search, choose the first result, and rate it with the mouse."""
    page.fill("#search", query)
    page.locator("#search-options [role=option][data-item-id]").first.click()
    row = page.locator("#dialog .marks")
    size = row.bounding_box()
    # A locator waits until the dialog is stable: it grows when its tags arrive.
    row.click(position={"x": size["width"] * (stars / 5 - 0.01), "y": size["height"] / 2})
    expect(page.locator("#dialog")).to_be_hidden()


def adjust(page, keys, tag=0):
    """Press keys on the slider of a tag, and wait for the recommendations."""
    page.locator("[data-tag-slider]").nth(tag).focus()
    for key in keys:
        page.keyboard.press(key)
    expect(page.locator("#recommend-note")).to_contain_text("Adjusted:")
    quiet(page)


def test_page_first_visit_shows_the_example_profile(visit):
    """All sections are filled: tags, recommendations, similar users and the map."""
    page = visit()
    expect(page.locator("#profile-name")).to_contain_text("Example profile: likes")
    expect(page.locator("#headline")).to_contain_text("than average")
    expect(page.locator("#rated-list li")).to_have_count(11)
    expect(page.locator("#tag-list > li")).not_to_have_count(0)
    expect(page.locator("#recommendations li")).to_have_count(12)
    expect(page.locator("#users-list > li")).to_have_count(4)
    expect(page.locator("#map-nearest li")).to_have_count(8)
    colors = page.locator("#map-canvas").evaluate(
        "canvas => new Set(new Uint32Array(canvas.getContext('2d')"
        ".getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size"
    )
    assert colors > 20, "the map is empty"


def test_strip_bars_show_sign_and_size_of_each_dimension(visit, app_state):
    page = visit()
    ratings = [(item["item_id"], item["value"]) for item in app_state.example["interactions"]]
    vector = app_state.model.encode(ratings).tolist()
    bars = page.locator("#strip-track i")
    expect(bars).to_have_count(len(vector))
    assert bars.evaluate_all("bars => bars.map((bar) => bar.className)") == [
        "cold" if value < 0 else "warm" for value in vector
    ]
    heights = bars.evaluate_all("bars => bars.map((bar) => Number(bar.style.getPropertyValue('--height')))")
    by_size = sorted(range(len(vector)), key=lambda dimension: abs(vector[dimension]))
    assert [heights[dimension] for dimension in by_size] == sorted(heights)
    assert heights[by_size[-1]] == 1


def test_profile_after_five_ratings_has_tags_and_contributions(visit):
    page = visit()
    page.click("#start-own")
    expect(page.locator("#tag-list > li")).to_have_count(0)
    expect(page.locator("#search")).to_be_focused()
    for query, stars in zip(FIVE, (5, 4.5, 1, 3, 2), strict=True):
        rate(page, query, stars)
    expect(page.locator("#tag-list > li")).not_to_have_count(0)
    expect(page.locator("#rated-list li")).to_have_count(5)
    expect(page.locator("#headline")).to_contain_text("than average")
    given = page.locator("#rated-list .rating").evaluate_all("all => all.map((each) => each.ariaValueNow)")
    assert given == ["2", "3", "1", "4.5", "5"]
    page.locator("#tag-list .tag-name").first.click()
    expect(page.locator("#tag-list .contributions").first.locator(".effect").first).to_be_visible()


def test_dislike_weight_changes_the_recommendations_and_is_kept(visit):
    page = visit()
    page.click("#start-own")
    for query, stars in zip(FIVE, (5, 0.5, 0.5, 0.5, 1), strict=True):
        rate(page, query, stars)
    quiet(page)
    slider = page.get_by_label("Avoid what I disliked")
    assert slider.input_value() == "0.4"
    slider.focus()
    found = {}
    for key, value in (("Home", "0"), ("End", "1")):
        with page.expect_request("**/v1/recommend") as sent:
            page.keyboard.press(key)
        assert sent.value.post_data_json["dislike_weight"] == float(value)
        quiet(page)
        found[value] = recommended(page)
    assert found["0"] != found["1"]
    page.reload()
    quiet(page)
    assert page.get_by_label("Avoid what I disliked").input_value() == "1"
    assert recommended(page) == found["1"]


@pytest.mark.parametrize("horizon", ["What's next", "Overall taste"])
def test_tag_slider_dragged_changes_the_recommendations(visit, horizon):
    page = visit()
    page.get_by_text(horizon, exact=True).click()
    quiet(page)
    before = recommended(page)
    slider = page.locator("[data-tag-slider]").first
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 2, middle, steps=4)
    page.mouse.up()
    expect(page.locator("#recommend-note")).to_contain_text("Adjusted:")
    quiet(page)
    after = recommended(page)
    moved = sum(old != new for old, new in zip(before, after, strict=True))
    assert moved > 0
    expect(page.locator("#recommend-note")).to_contain_text(f"{moved} of 12 recommendations changed")
    expect(page.locator("#recommendations .move:not([data-move=none])")).to_have_count(moved)
    page.click("#reset-adjustments")
    expect(page.locator("#recommend-note")).to_contain_text("best match first")
    quiet(page)
    assert recommended(page) == before


def test_page_after_reload_has_the_same_ratings_adjustments_and_horizon(visit, ready):
    page = visit()
    rate(page, FIVE[1], 1)
    page.get_by_text("What's next", exact=True).click()
    adjust(page, ["ArrowLeft"] * 4)
    before = recommended(page)
    amounts = page.locator("[data-tag-slider]").evaluate_all("all => all.map((each) => each.value)")
    page.reload()
    ready(page)
    expect(page.locator("#rated-list li")).to_have_count(12)
    expect(page.locator("#example-text")).to_contain_text("with your changes")
    expect(page.get_by_role("radio", name="What's next")).to_be_checked()
    assert page.locator("[data-tag-slider]").evaluate_all("all => all.map((each) => each.value)") == amounts
    assert recommended(page) == before


def test_page_with_the_keyboard_alone_rates_and_removes(visit):
    page = visit()
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to search")).to_be_focused()
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
    expect(newest.locator(".rating")).to_have_attribute("aria-valuenow", "4.5")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowLeft")
    expect(newest.locator(".rating")).to_have_attribute("aria-valuenow", "4")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#rated-list li")).to_have_count(11)


def test_map_with_the_keyboard_selects_an_item(visit):
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


def test_horizon_change_changes_the_recommendations(visit):
    page = visit()
    before = recommended(page)
    page.get_by_text("What's next", exact=True).click()
    expect(page.locator("#strip-print")).to_contain_text("next")
    quiet(page)
    assert recommended(page) != before
    page.get_by_text("Overall taste", exact=True).click()
    expect(page.locator("#strip-print")).to_contain_text("overall")
    quiet(page)
    assert recommended(page) == before


def test_export_and_import_restore_the_ratings(visit, app_state, tmp_path):
    page = visit(accept_downloads=True)
    rate(page, FIVE[2], 4)
    quiet(page)
    expect(page.locator("#strip-print")).to_contain_text("12 ratings")
    with page.expect_download() as saved:
        page.click("#export-button")
    saved.value.save_as(tmp_path / "user.json")
    exported = json.loads((tmp_path / "user.json").read_text(encoding="utf-8"))
    assert exported["space"] == app_state.space
    assert exported["ratings"][-1]["rating"] == 4
    assert len(exported["ratings"]) == 12
    assert exported["vector"] == pytest.approx(
        app_state.model.encode([(item["item_id"], item["rating"]) for item in exported["ratings"]]).tolist(),
        abs=1e-4,
    )
    assert [tag["tag"] for tag in exported["tags"]] == page.locator("#tag-list .tag-name").all_inner_texts()

    other = visit()
    other.set_input_files("#import-file", tmp_path / "user.json")
    expect(other.locator("#rated-list li")).to_have_count(12)
    expect(other.locator("#profile-name")).to_have_text("Your taste")
    shown = "all => all.map((each) => each.textContent)"
    items = "#rated-list .title"
    assert other.locator(items).evaluate_all(shown) == page.locator(items).evaluate_all(shown)


def test_import_of_invalid_json_shows_an_error(visit, tmp_path):
    page = visit()
    (tmp_path / "other.json").write_text("{not json")
    page.set_input_files("#import-file", tmp_path / "other.json")
    expect(page.get_by_role("alert")).to_contain_text("other.json is not JSON")
    expect(page.locator("#rated-list li")).to_have_count(11)


def test_link_restores_the_ratings_without_unknown_items(visit, ready):
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    rate(page, FIVE[3], 4.5)
    page.click("#copy-link")
    expect(page.locator("#messages")).to_contain_text("Copied a link with 12 ratings")
    link = page.evaluate("navigator.clipboard.readText()")
    other = visit(path=link.partition("/#")[2].join(("/#", ",999999*4,unknown*3,1*77")))
    expect(other.locator("#rated-list li")).to_have_count(12)
    expect(other.locator("#messages")).to_contain_text("Skipped 2 films that this model does not know.")
    expect(other.locator("#rated-list .rating").first).to_have_attribute("aria-valuenow", "4.5")
    expect(other.locator("#rated-list .title").first).to_have_text("The Northern Waltz")
    assert "#" not in other.url
    other.reload()
    ready(other)
    expect(other.locator("#rated-list li")).to_have_count(12)


def test_title_with_markup_is_shown_as_text(visit):
    page = visit()
    page.fill("#search", "brazen cafe")
    title = "<b>Bold</b> & \"Brazen\" 'Café'"
    expect(page.locator("#search-options .title").first).to_have_text(title)
    rate(page, "brazen cafe", 5)
    expect(page.locator("#rated-list .title").first).to_have_text(title)
    assert page.locator("#rated-list b").count() == 0


def test_page_without_its_service_shows_an_error_and_retries(visit, run):
    running = run()
    page = visit(at=running)
    before = recommended(page)
    running.stop()
    page.locator("#rated-list .close").first.click()
    expect(page.get_by_role("alert")).to_contain_text("Cannot reach the service")
    expect(page.get_by_role("alert")).to_have_count(1)
    assert recommended(page) == before
    running.start()
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.locator("#strip-print")).to_contain_text("10 ratings")
    # The browser's console errors about failed connections.
    page.activity.errors[:] = [
        line for line in page.activity.errors if not line.startswith("Failed to load resource")
    ]


def test_page_without_map_and_users_hides_their_sections(visit, run, bare):
    page = visit(at=run(bare), wait=False)
    expect(page.locator("#recommendations li")).to_have_count(12)
    expect(page.locator("#map-note")).to_contain_text("This model has no map.")
    expect(page.locator("#users")).to_be_hidden()
    expect(page.get_by_role("link", name="Similar users")).to_be_hidden()


@pytest.mark.parametrize(
    ("users", "code", "text"),
    [
        (None, "store_unavailable", "The user database is unavailable."),
        (1, "no_users", "No users are stored yet."),
    ],
)
def test_page_without_stored_users_shows_the_reason_in_their_section(visit, users, code, text):
    """The database is unavailable or empty: there is no notification."""
    page = visit()

    def model(route):
        response = route.fetch()
        route.fulfill(response=response, json=response.json() | {"n_users": users})

    page.route("**/v1/model", model)
    error = {"error": {"code": code, "message": "not now", "where": None}}
    page.route(
        "**/v1/similar-users", lambda route: route.fulfill(status=503 if users is None else 404, json=error)
    )
    page.reload()
    expect(page.locator("#users-empty")).to_contain_text(text)
    expect(page.locator("#users-list > li")).to_have_count(0)
    expect(page.locator("#recommendations li")).to_have_count(12)
    quiet(page)
    expect(page.locator(".message")).to_have_count(0)
    page.activity.errors[:] = [
        line for line in page.activity.errors if not line.startswith("Failed to load resource")
    ]


def test_page_requests_only_existing_paths_of_its_service(visit):
    page = visit()
    rate(page, FIVE[0], 2)
    adjust(page, ["ArrowRight"] * 2)
    assert page.activity.external == []
    assert "/v1/recommend" in page.activity.paths
    responses = page.evaluate(
        "performance.getEntriesByType('resource').map((each) => [new URL(each.name).host, each.responseStatus])"
    )
    assert {host for host, _ in responses} == {page.url.split("/")[2]}
    # 0: aborted by a newer request.
    assert {status for _, status in responses} - {0} == {200}
