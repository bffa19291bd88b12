"""A generated world that is worth looking at, served by a real server, and a browser that may ask nobody else."""

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


def pytest_collection_modifyitems(items):
    """A browser wants a machine of its own: beside the rest of the suite pages are slower than any patience."""
    if not os.environ.get("TASTEVEC_BROWSER"):
        aside = pytest.mark.skip(reason="a real browser, which make browser drives")
        for item in items:
            if item.path.parent == Path(__file__).parent:
                item.add_marker(aside)


GENRES = ("Comedy", "Crime", "Drama", "Horror", "Romance", "Sci-Fi")
# Two words a genre that its films have and the others lack.
WORDS = (
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
# A title must be shown as it is, whatever it holds.
HOSTILE = "<b>Bold</b> & \"Brazen\" 'Café'"
SMALL = {"dim": 32, "hidden_size": 16, "max_history": 24, "batch_size": 16, "epochs": 1}
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
LAUNCH = (
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
)


def genre_of(item):
    """The genre of a film, by its number from 0."""
    return item % len(GENRES)


def title_of(item):
    """A name such as Silent Trombone, The (1971): the article stands behind, as in the releases."""
    if item == ITEMS - 1:
        return f"{HOSTILE} (2001)"
    number = item // len(GENRES)
    name = f"{FIRST[number % len(FIRST)]} {THINGS[genre_of(item)][number // len(FIRST)]}"
    return f"{name}, The ({1960 + item // 3})"


def write_release(folder):
    """120 films of six genres, and 80 people who love two of them and cannot stand a third."""
    rng = np.random.default_rng(11)
    folder.mkdir()
    _csv(
        folder / "movies.csv",
        "movieId,title,genres",
        [(item + 1, title_of(item), GENRES[genre_of(item)]) for item in range(ITEMS)],
    )
    rows = []
    for user in range(USERS):
        tastes = rng.permutation(len(GENRES))
        positives = dict(zip(tastes.tolist(), (4.5, 4.0, 3.0, 3.0, 2.5, 1.0), strict=True))
        wanted = np.array([positives[genre_of(item)] for item in range(ITEMS)]) * np.linspace(1.5, 0.5, ITEMS)
        for step, item in enumerate(rng.choice(ITEMS, 40, replace=False, p=wanted / wanted.sum()).tolist()):
            stars = min(5.0, max(0.5, positives[genre_of(item)] + rng.integers(-1, 2) / 2))
            rows.append((user + 1, item + 1, stars, 1_000_000_000 + user * 1_000_000 + step * 7_000))
    _csv(folder / "ratings.csv", "userId,movieId,rating,timestamp", rows)
    words = list(itertools.chain(*WORDS))
    _csv(folder / "genome-tags.csv", "tagId,tag", list(enumerate(words, 1)))
    scores = [
        (
            item + 1,
            tag + 1,
            round(
                float(np.clip((0.75 if tag // 2 == genre_of(item) else 0.15) + rng.normal(0, 0.1), 0, 1)), 3
            ),
        )
        for item in range(ITEMS)
        for tag in range(len(words))
    ]
    _csv(folder / "genome-scores.csv", "movieId,tagId,relevance", scores)
    return folder


def _csv(path, header, rows):
    with path.open("w", encoding="utf-8", newline="") as handle:
        handle.write(header + "\n")
        csv.writer(handle, lineterminator="\n").writerows(rows)


class Running:
    """A service on a port of its own, in a thread, that can go away and come back."""

    def __init__(self, served):
        self._served, self._server, self._thread, self.port = served, None, None, 0

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self, **settings):
        """Open the same port as before, guarded so, and wait for the model."""
        import uvicorn  # noqa: PLC0415  an extra

        from tastevec.serving.service.app import create_app  # noqa: PLC0415  as above
        from tastevec.serving.service.settings import ServiceSettings  # noqa: PLC0415  as above

        app = create_app(lambda: self._served, ServiceSettings(**settings))
        self._server = uvicorn.Server(
            uvicorn.Config(
                app, host="127.0.0.1", port=self.port, ws="none", log_config=None, timeout_graceful_shutdown=2
            )
        )
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not (self._server.started and app.state.lifecycle.ready):
            assert self._thread.is_alive(), "the server did not start"
            time.sleep(0.02)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        return self

    def stop(self):
        """Go away, as a server does that is stopped."""
        self._server.should_exit = True
        self._thread.join()


@dataclasses.dataclass
class Heard:
    """What a page did besides what was asked of it.

    Attributes:
        told: Lines on the console of the kinds error and warning, and errors that nobody caught.
        outside: Requests to other machines; each was refused.
        asked: Paths that were asked of the service.
    """

    told: list[str] = dataclasses.field(default_factory=list)
    outside: list[str] = dataclasses.field(default_factory=list)
    asked: list[str] = dataclasses.field(default_factory=list)


@pytest.fixture(scope="session", name="served")
def _served(tmp_path_factory):
    """The world's model with its tags, its map and its people."""
    import tastevec as stages  # noqa: PLC0415  as above
    from encoders import TINY  # noqa: PLC0415  torch, for those tests only that need it
    from tastevec.pipelines.batch import open_users, write_vectors  # noqa: PLC0415  as above
    from tastevec.serving.service.app import from_folder  # noqa: PLC0415  as above

    place = tmp_path_factory.mktemp("browser")
    release = write_release(place / "release")
    prepared = stages.prepare(release, place / "prepared")
    model = stages.train(prepared.folder, place / "cinema", **{**TINY, **SMALL})
    write_vectors(
        model, open_users(release / "ratings.csv", model), place / "people.parquet", horizon="overall"
    )
    return from_folder(place / "cinema", place / "people.parquet")()


@pytest.fixture(scope="session", name="bare")
def _bare(served):
    """The same model, saved without a map and served without people."""
    model = copy.copy(served.model)
    model.bundle = dataclasses.replace(model.bundle, item_map=None)
    return dataclasses.replace(served, model=model, users=None)


@pytest.fixture(scope="session", name="service")
def _service(served):
    """The service that most tests look at."""
    running = Running(served).start()
    yield running
    running.stop()


@pytest.fixture(scope="module", name="opened")
def _opened(served):
    """Services of the model with settings of their own, for a module."""
    begun = []

    def start(**settings):
        begun.append(Running(served).start(**settings))
        return begun[-1]

    yield start
    for running in begun:
        running.stop()


@pytest.fixture(name="run")
def _run(served):
    """Services of one test, which it may stop: of the model, or of another one."""
    begun = []

    def start(other=served):
        begun.append(Running(other).start())
        return begun[-1]

    yield start
    for running in begun:
        running.stop()


@pytest.fixture(scope="module", name="browser")
def _browser():
    """Chromium; it goes with the module, since it holds this thread's event loop for as long as it runs."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next((path for name in CHROMIUMS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser is installed: none of {', '.join(CHROMIUMS)} is on the path")
    playwright.expect.set_options(timeout=30_000)  # how long it takes says how busy the machine is
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=LAUNCH)
        yield browser
        browser.close()


@pytest.fixture(name="visit")
def _visit(browser, service):
    """Open the page as a visitor of this device; whatever it does on the side fails the test in the end."""
    contexts, heard = [], []

    def open_page(*, at=service, path="/", wait=True, width=1280, height=900, **device):
        context = browser.new_context(viewport={"width": width, "height": height}, **device)
        contexts.append(context)
        context.set_default_timeout(60_000)
        page = context.new_page()
        heard.append(_listen(page, context, urlsplit(at.address).netloc))
        page.heard = heard[-1]
        page.goto(at.address + path)
        if wait:
            settled(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    for each in heard:
        assert each.outside == []
        assert each.told == []


def _listen(page, context, host):
    heard = Heard()

    def pass_on(route):
        address = urlsplit(route.request.url)
        if address.netloc == host:
            heard.asked.append(address.path)
            route.continue_()
        else:
            heard.outside.append(route.request.url)
            route.abort()

    context.route("**/*", pass_on)
    page.on("console", lambda line: line.type in ("error", "warning") and heard.told.append(line.text))
    page.on("pageerror", lambda error: heard.told.append(str(error)))
    return heard


def settled(page):
    """Wait until everything is shown that the page asked for."""
    page.wait_for_selector("#recommendations li")
    page.wait_for_selector("#tag-list li")
    page.wait_for_selector("#map-body:not([hidden])")
    page.locator("[aria-busy=true]").first.wait_for(state="detached")


@pytest.fixture(scope="session", name="ready")
def _ready():
    """`settled`, for tests that load the page again."""
    return settled
