"""A generated dataset with readable titles, a real server, and a browser that reaches only this server."""

from __future__ import annotations

import copy
import csv
import dataclasses
import itertools
import os
import shutil
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

GENRES = ("Comedy", "Crime", "Drama", "Horror", "Romance", "Sci-Fi")
# Two tags per genre, which only films of the genre have.
TAGS = (
    ("slapstick", "deadpan"),
    ("heist", "undercover"),
    ("family secrets", "slow"),
    ("haunted house", "gore"),
    ("letters", "bittersweet"),
    ("space", "robots"),
)
FIRST = (
    "Silent",
    "Crimson",
    "Borrowed",
    "Northern",
    "Last",
    "Paper",
    "Hollow",
    "Golden",
    "Restless",
    "Second",
)
THINGS = (
    ("Trombone", "Honeymoon"),
    ("Ledger", "Alibi"),
    ("Orchard", "Harbour"),
    ("Cellar", "Lullaby"),
    ("Postcard", "Waltz"),
    ("Orbit", "Machine"),
)
ITEMS, USERS = 120, 80
# A title with markup must appear as text.
HOSTILE = "<b>Bold</b> & \"Brazen\" 'Café'"
SMALL = {"dim": 32, "hidden_size": 16, "max_history": 24, "batch_size": 16, "epochs": 1}
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
LAUNCH = (
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
)


def pytest_collection_modifyitems(items):
    """Skip all tests without a browser, and all but the essential ones without TASTEVEC_BROWSER.

    During the complete suite two processes share the machine, which makes pages slow.
    """
    for item in items:
        if item.path.parent != Path(__file__).parent:
            continue
        if CHROMIUM is None:
            item.add_marker(pytest.mark.skip(reason="no Chromium on the path: apt-get install chromium"))
        elif item.path.stem != "test_web_page_essentials" and not os.environ.get("TASTEVEC_BROWSER"):
            item.add_marker(pytest.mark.skip(reason="make browser runs all tests in a real browser"))


def genre_of(item):
    """Return the genre of the film with this index."""
    return item % len(GENRES)


def title_of(item):
    """Return a title such as Silent Trombone, The (1971), with the article behind as in MovieLens."""
    if item == ITEMS - 1:
        return f"{HOSTILE} (2001)"
    number = item // len(GENRES)
    name = f"{FIRST[number % len(FIRST)]} {THINGS[genre_of(item)][number // len(FIRST)]}"
    return f"{name}, The ({1960 + item // 3})"


def write_release(folder):
    """Write a release of 120 films of six genres, and 80 users who like two genres and dislike a third."""
    rng = np.random.default_rng(11)
    folder.mkdir()
    _csv(
        folder / "movies.csv",
        "movieId,title,genres",
        [(item + 1, title_of(item), GENRES[genre_of(item)]) for item in range(ITEMS)],
    )
    rows = []
    for user in range(USERS):
        order = rng.permutation(len(GENRES))
        genre_ratings = dict(zip(order.tolist(), (4.5, 4.0, 3.0, 3.0, 2.5, 1.0), strict=True))
        weights = np.array([genre_ratings[genre_of(item)] for item in range(ITEMS)]) * np.linspace(
            1.5, 0.5, ITEMS
        )
        for step, item in enumerate(rng.choice(ITEMS, 40, replace=False, p=weights / weights.sum()).tolist()):
            stars = min(5.0, max(0.5, genre_ratings[genre_of(item)] + rng.integers(-1, 2) / 2))
            rows.append((user + 1, item + 1, stars, 1_000_000_000 + user * 1_000_000 + step * 7_000))
    _csv(folder / "ratings.csv", "userId,movieId,rating,timestamp", rows)
    tags = list(itertools.chain(*TAGS))
    _csv(folder / "genome-tags.csv", "tagId,tag", list(enumerate(tags, 1)))
    scores = [
        (
            item + 1,
            tag + 1,
            round(
                float(np.clip((0.75 if tag // 2 == genre_of(item) else 0.15) + rng.normal(0, 0.1), 0, 1)), 3
            ),
        )
        for item in range(ITEMS)
        for tag in range(len(tags))
    ]
    _csv(folder / "genome-scores.csv", "movieId,tagId,relevance", scores)
    return folder


def _csv(path, header, rows):
    with path.open("w", encoding="utf-8", newline="") as handle:
        handle.write(header + "\n")
        csv.writer(handle, lineterminator="\n").writerows(rows)


class Running:
    """A service on its own port, in a thread, that can stop and start again."""

    def __init__(self, state):
        self._state, self._server, self._thread, self.port = state, None, None, 0

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self, **settings):
        """Open the same port as before with these settings, and wait for the model."""
        import uvicorn  # noqa: PLC0415  an extra

        from tastevec.serving.service.app import create_app  # noqa: PLC0415  as above
        from tastevec.serving.service.settings import ServiceSettings  # noqa: PLC0415  as above

        app = create_app(lambda: self._state, ServiceSettings(**settings))
        self._server = uvicorn.Server(
            uvicorn.Config(
                app, host="127.0.0.1", port=self.port, ws="none", log_config=None, timeout_graceful_shutdown=2
            )
        )
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not (self._server.started and app.state.pool.ready):
            assert self._thread.is_alive(), "the server did not start"
            time.sleep(0.02)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        return self

    def stop(self):
        """Stop the server."""
        self._server.should_exit = True
        self._thread.join()


@dataclasses.dataclass
class Activity:
    """Console output and requests of a page.

    Attributes:
        errors: Errors and warnings on the console, and uncaught errors.
        external: Requests to other hosts, all blocked.
        paths: Requested paths of the service.
    """

    errors: list[str] = dataclasses.field(default_factory=list)
    external: list[str] = dataclasses.field(default_factory=list)
    paths: list[str] = dataclasses.field(default_factory=list)


@pytest.fixture(scope="session", name="app_state")
def _app_state(tmp_path_factory):
    """The model with tags, a map and users to find."""
    import tastevec as stages  # noqa: PLC0415  as above
    from encoders import TINY  # noqa: PLC0415  torch, for those tests only that need it
    from tastevec.pipelines.batch import write_vectors  # noqa: PLC0415  as above
    from tastevec.serving.service.worker import from_folder  # noqa: PLC0415  as above

    folder = tmp_path_factory.mktemp("browser")
    release = write_release(folder / "release")
    prepared = stages.prepare(release, folder / "prepared")
    model = stages.train(prepared.folder, folder / "cinema", **{**TINY, **SMALL})
    users = model.open_file(release / "ratings.csv")
    write_vectors(model, users, folder / "users.parquet", horizon="overall")
    return from_folder(folder / "cinema", folder / "users.parquet")()


@pytest.fixture(scope="session", name="bare")
def _bare(app_state):
    """The same model without a map and without users to find."""
    model = copy.copy(app_state.model)
    model.bundle = dataclasses.replace(model.bundle, item_map=None)
    return dataclasses.replace(app_state, model=model, users=None)


@pytest.fixture(scope="session", name="service")
def _service(app_state):
    """The service of most tests."""
    running = Running(app_state).start()
    yield running
    running.stop()


@pytest.fixture(scope="module", name="opened")
def _opened(app_state):
    """Start services with settings; they run until the end of the module."""
    begun = []

    def start(**settings):
        begun.append(Running(app_state).start(**settings))
        return begun[-1]

    yield start
    for running in begun:
        running.stop()


@pytest.fixture(name="run")
def _run(app_state):
    """Start services that the test may stop."""
    begun = []

    def start(other=app_state):
        begun.append(Running(other).start())
        return begun[-1]

    yield start
    for running in begun:
        running.stop()


@pytest.fixture(scope="module", name="browser")
def _browser():
    """Chromium, closed after each module, because it occupies this thread's event loop while it runs."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    playwright.expect.set_options(timeout=30_000)  # a busy machine is slow
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=LAUNCH)
        yield browser
        browser.close()


@pytest.fixture(name="visit")
def _visit(browser, service):
    """Open the page on a device; console errors and external requests fail the test at its end."""
    contexts, activities = [], []

    def open_page(*, at=service, path="/", wait=True, width=1280, height=900, **device):
        context = browser.new_context(viewport={"width": width, "height": height}, **device)
        contexts.append(context)
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.activity = _record(page, context, urlsplit(at.address).netloc)
        activities.append(page.activity)
        page.goto(at.address + path)
        if wait:
            settled(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    for activity in activities:
        assert activity.external == []
        assert activity.errors == []


def _record(page, context, host):
    activity = Activity()

    def handle(route):
        address = urlsplit(route.request.url)
        if address.netloc == host:
            activity.paths.append(address.path)
            route.continue_()
        else:
            activity.external.append(route.request.url)
            route.abort()

    context.route("**/*", handle)
    page.on("console", lambda line: line.type in ("error", "warning") and activity.errors.append(line.text))
    page.on("pageerror", lambda error: activity.errors.append(str(error)))
    return activity


def settled(page):
    """Wait until the page shows all its responses."""
    page.wait_for_selector("#recommendations li")
    page.wait_for_selector("#tag-list li")
    page.wait_for_selector("#map-body:not([hidden])")
    page.locator("[aria-busy=true]").first.wait_for(state="detached")


@pytest.fixture(scope="session", name="ready")
def _ready():
    """`settled`, for tests that reload the page."""
    return settled
