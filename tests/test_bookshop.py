"""The whole journey of a bookshop: no command, file, page or response speaks of another kind of item."""

import base64
import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

import bookshop
import tastevec
from tastevec.cli.app import EXAMPLES, app
from tastevec.serving.service.app import create_app
from tastevec.serving.service.settings import ServiceSettings
from tastevec.serving.service.worker import from_folder

pytestmark = pytest.mark.slow

WEB = Path(tastevec.__file__).parent / "serving" / "web"


def run(*arguments, code=0):
    """Return what a command prints, after a look at its words."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    assert bookshop.other_nouns(result.output) == []
    return result.output


@pytest.fixture(scope="module", name="shop")
def _shop(tmp_path_factory):
    """The folder of the bookshop, with a prepared dataset and a tiny model."""
    folder = bookshop.write_bookshop(tmp_path_factory.mktemp("journey") / "shop")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        how = ("--items", "items.csv", "--item-noun", bookshop.NOUN, "--rating-range", "1:10")
        assert "72 of 72 books have metadata" in run("prepare", "ratings.csv", *how, "--out", "prepared")
        run(
            "train",
            "prepared",
            "--out",
            "model",
            *(word for pair in bookshop.TINY for word in ("--set", pair)),
        )
    return folder


@pytest.fixture(autouse=True)
def _there(shop, monkeypatch):
    monkeypatch.chdir(shop)


@pytest.fixture(scope="module", name="client")
def _client(shop):
    app = create_app(from_folder(shop / "model"), ServiceSettings())
    with TestClient(app) as client:
        while not app.state.pool.ready:
            assert app.state.pool.failure is None
        yield client


def test_noun_stands_in_manifest_bundle_card_and_service(shop, client):
    noun = {"one": "book", "many": "books"}
    assert json.loads((shop / "prepared/manifest.json").read_text())["source"]["item_noun"] == noun
    assert json.loads((shop / "model/bundle.json").read_text())["data"]["item_noun"] == noun
    assert "(72 books)" in (shop / "model/README.md").read_text()
    assert client.get("/v1/model").json()["item_noun"] == noun


def test_commands_and_their_files_speak_of_books(shop):
    run("describe", "prepared", "--out", "pictures")
    assert "of the books." in (shop / "pictures/index.html").read_text()
    run("evaluate", "model", "--data", "prepared", "--out", "results", "--no-baselines")
    assert "<dt>books</dt><dd>72</dd>" in (shop / "results/report.html").read_text()
    run("encode", "model", "ratings.csv", "--out", "users.parquet")
    run("recommend", "model", "ratings.csv", "--out", "next.parquet")
    run("explain", "model", "ratings.csv")
    run("similar", "model", "--item", "B001")
    assert "(72 books)" in run("similar", "model", "--item", "B999", code=1)
    (shop / "new.csv").write_text("item_id,title,genres\nB900,The Garden of Poetry,Poetry\n")
    assert "73 books, 1 of them new" in run("add-items", "model", "new.csv", "--out", "grown")
    texts = [path for path in shop.rglob("*") if path.suffix in {".json", ".html", ".md", ".py"}]
    assert len(texts) > 10
    assert {path.name: found for path in texts if (found := bookshop.other_nouns(path.read_text()))} == {}


def test_help_speaks_of_items():
    for name in EXAMPLES.keys() - {"fetch"}:
        run(name, "--help")


def test_service_and_page_speak_of_books(client):
    assert "(72 books)" in client.post("/v1/similar-items", json={"item_ids": ["B999"]}).text
    requests = [
        *(("GET", f"/{path.name}", None) for path in WEB.iterdir()),
        *(("GET", path, None) for path in ("/", "/openapi.json", "/v1/model", "/v1/map", "/v1/example")),
        ("GET", "/v1/items?query=garden", None),
        ("POST", "/v1/recommend", {"users": [{"interactions": [{"item_id": "B001", "value": 11}]}]}),
        (
            "POST",
            "/v1/recommend",
            {"users": [{"interactions": [{"item_id": "B001", "value": 9}]}], "contributions": 2},
        ),
        ("POST", "/v1/explain", {"users": []}),
        ("POST", "/v1/steer", {"tags": 1}),
    ]
    for method, path, body in requests:
        assert bookshop.other_nouns(client.request(method, path, json=body).text) == [], path


def test_words_of_other_catalogs_are_found():
    image = base64.b64encode(b"<text>of films</text>").decode()
    assert (
        len(
            bookshop.other_nouns(f"most watched <img src='data:image/svg+xml;base64,{image}'> 5 Stars, start")
        )
        == 3
    )
