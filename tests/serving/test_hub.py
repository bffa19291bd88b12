"""Push to and load from a hub over real HTTP, and the errors when the hub fails."""

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import tastevec as tv
import worlds
from hubs import TOKEN, hub_at, point_at
from tastevec.cli.app import app
from tastevec.errors import FormatError, HubError, MissingExtraError
from tastevec.extras import EXTRAS
from tastevec.serving import hub as module
from tastevec.serving.recommender import load

# Warnings of the client about its own upload of large files.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=.*:DeprecationWarning")

NAME = "films/taste"
UNREACHABLE = "http://127.0.0.1:1"  # no server listens here
RATINGS = [(1, 5.0), (7, 2.0), (3, 4.5)]


@pytest.fixture(name="hub")
def _hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with hub_at(tmp_path / "cache") as server:
        yield server


@pytest.fixture(name="trusted")
def _trusted(hub, monkeypatch):
    assert hub.address  # the fixture removes any token
    monkeypatch.setenv("HF_TOKEN", TOKEN)


@pytest.fixture(name="pushed")
def _pushed(hub, bundle_folder, monkeypatch):
    """Return the hub with the pushed model, without a token."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    load(bundle_folder).push_to_hub(NAME)
    monkeypatch.delenv("HF_TOKEN")
    return hub


def forget(hub, tmp_path):
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    hub.requests.clear()


@pytest.mark.usefixtures("trusted")
def test_pushed_and_loaded_model_returns_equal_vectors(hub, bundle_folder):
    model = load(bundle_folder)
    address = model.push_to_hub(NAME)
    assert address.startswith(f"{hub.address}/{NAME}")
    back = tv.load(NAME)
    assert back.bundle.space == model.bundle.space
    assert back.encode(RATINGS).tolist() == model.encode(RATINGS).tolist()
    assert back.recommend(RATINGS, k=5).equals(model.recommend(RATINGS, k=5))
    kept = hub.repositories[NAME]
    files = kept.commits[kept.refs["main"]]
    assert set(files) == {".gitattributes", *(file.name for file in bundle_folder.iterdir())}
    assert "encoder.onnx" in kept.by_lfs  # large files use LFS
    assert f'tv.load("{NAME}")' in files["README.md"].decode()


@pytest.mark.usefixtures("trusted")
def test_second_push_is_a_second_commit_and_revisions_load_separately(hub, bundle_folder):
    model = load(bundle_folder)
    model.push_to_hub(NAME)
    first = hub.repositories[NAME].refs["main"]
    hub.repositories[NAME].refs["v1"] = first
    grown = model.with_items(
        pq.read_table(bundle_folder / "items.parquet")
        .slice(0, 1)
        .select(["item_id", "title", "year", "genres"])
        .set_column(0, "item_id", [[1_000]])
    )
    grown.push_to_hub(NAME)
    assert len(tv.load(NAME).bundle.items) == worlds.ITEMS + 1
    assert len(tv.load(NAME, revision="v1").bundle.items) == worlds.ITEMS
    assert len(tv.load(NAME, revision=first).bundle.items) == worlds.ITEMS


@pytest.mark.usefixtures("trusted")
def test_load_of_a_private_repository_needs_the_token(hub, bundle_folder, tmp_path, monkeypatch):
    load(bundle_folder).push_to_hub(NAME, private=True)
    assert hub.repositories[NAME].private
    assert tv.load(NAME).bundle.space
    forget(hub, tmp_path)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError, match=r"Expected a token that may read films/taste. Set HF_TOKEN"):
        tv.load(NAME)


def test_load_prefers_a_folder_of_that_name_without_a_request(pushed, bundle_folder, tmp_path):
    forget(pushed, tmp_path)
    shutil.copytree(bundle_folder, tmp_path / "films" / "taste")
    assert tv.load(NAME).bundle.space
    assert tv.load(Path("films") / "taste").bundle.space
    (tmp_path / "films" / "taste" / "bundle.json").unlink()
    with pytest.raises(FormatError, match=r"no bundle\.json"):
        tv.load(NAME)
    assert pushed.requests == []


PATHS = [
    *(
        "model",
        "model.bak",
        "a/b/c",
        "/a",
        "/abs/path",
        "a/",
        "org/name/",
        "./a",
        "./org/name",
        "../a",
        "../x/y",
    ),
    *("~/a", "~user/x", "a\\b/c", "films/ta ste", "x" * 5_000, f"org/{'x' * 5_000}", ""),
]


@pytest.mark.parametrize("name", PATHS)
def test_load_of_a_path_makes_no_request(hub, name, caplog):
    with pytest.raises(FormatError, match="Expected a model folder"):
        tv.load(name)
    assert hub.requests == []
    assert caplog.text == ""


def test_load_of_a_misspelled_name_in_a_folder_makes_no_request(hub, tmp_path):
    (tmp_path / "runs").mkdir()
    for name in ("runs/model", Path("runs/model"), Path("./runs/model")):
        with pytest.raises(
            FormatError, match=r"^runs/model: no such folder in runs\. Expected a model folder"
        ):
            tv.load(name)
    assert hub.requests == []


@pytest.mark.usefixtures("pushed")
def test_load_from_the_hub_is_one_line_on_standard_error(caplog):
    tv.load(NAME)
    assert caplog.messages == ["films/taste: no such folder. Loading it from the Hugging Face Hub."]


def test_load_downloads_the_files_of_a_model_alone(pushed):
    kept = pushed.repositories[NAME]
    others = {"pytorch_model.bin": b"x", "weights.pkl": b"x", "modeling.py": b"x", "sub/config.json": b"{}"}
    kept.commit(kept.commits[kept.refs["main"]] | others)
    pushed.requests.clear()
    assert tv.load(NAME).bundle.space
    fetched = {
        path.partition("/resolve/")[2].partition("/")[2]
        for method, path in pushed.requests
        if method == "GET"
    }
    assert "bundle.json" in fetched
    assert fetched & {*others, ".gitattributes"} == set()


def test_load_of_a_larger_model_than_allowed_downloads_nothing(pushed):
    pushed.sizes["model.safetensors"] = 20 * 2**30
    with pytest.raises(
        FormatError,
        match=r"bytes on the Hub\. Expected at most 21,474,836,480\. Run: hf download films/taste",
    ):
        tv.load(NAME)
    assert not any("/resolve/" in path for _, path in pushed.requests)
    pushed.sizes["model.safetensors"] = 0
    pushed.sizes["other.bin"] = 2**60  # not downloaded
    assert tv.load(NAME).bundle.space


def test_load_of_an_invalid_name_is_refused(hub):
    with pytest.raises(FormatError, match="films/ta--ste: no such folder, and no valid name"):
        tv.load("films/ta--ste")
    assert hub.requests == []


@pytest.mark.usefixtures("hub", "trusted")
def test_load_of_an_unknown_model_names_folder_and_hub():
    with pytest.raises(FormatError, match="films/taste: no such folder, and no such model on the Hub"):
        tv.load(NAME)


@pytest.mark.usefixtures("hub")
def test_load_without_a_token_does_not_reveal_whether_the_model_exists():
    with pytest.raises(HubError, match=r"Set HF_TOKEN or run hf auth login, or correct the name"):
        tv.load(NAME)


@pytest.mark.usefixtures("pushed")
def test_load_of_an_unknown_revision_names_it():
    with pytest.raises(FormatError, match="films/taste: no revision v9 on the Hub"):
        tv.load(NAME, revision="v9")


@pytest.mark.usefixtures("hub")
def test_push_without_write_access_names_the_token_variable(bundle_folder):
    with pytest.raises(HubError, match=r"a token that may write to films/taste. Set HF_TOKEN"):
        load(bundle_folder).push_to_hub(NAME)


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    ("status", "expected"), [(403, "status 403"), (500, "status 500"), (418, "status 418")]
)
def test_push_that_the_hub_refuses_names_the_status(hub, bundle_folder, status, expected):
    hub.status = status
    with pytest.raises(HubError, match=expected):
        load(bundle_folder).push_to_hub(NAME)


def test_load_while_the_hub_is_down_is_refused(hub):
    hub.status = 500
    with pytest.raises(HubError, match=r"no such folder, and the Hub returned status 500\. Expected to load"):
        tv.load(NAME)


@pytest.mark.usefixtures("trusted")
def test_load_and_push_with_a_refused_connection_are_refused(hub, bundle_folder, monkeypatch):
    point_at(monkeypatch, UNREACHABLE)
    with pytest.raises(HubError, match=r"films/taste: no such folder, and cannot reach"):
        tv.load(NAME)
    with pytest.raises(HubError, match=r"films/taste: cannot reach the Hugging Face Hub to push to it"):
        load(bundle_folder).push_to_hub(NAME)
    assert hub.requests == []


def test_load_of_a_cached_model_needs_no_hub(pushed, monkeypatch):
    space = tv.load(NAME).bundle.space
    point_at(monkeypatch, UNREACHABLE)
    pushed.requests.clear()
    assert tv.load(NAME).bundle.space == space
    assert pushed.requests == []


@pytest.mark.parametrize("name", ["model.safetensors", "encoder.onnx", "items.parquet", "encoder.py"])
def test_load_of_a_corrupted_download_fails_its_checksum(pushed, name, tmp_path):
    pushed.harm = lambda path, content: content[:-1] + bytes([content[-1] ^ 1]) if path == name else content
    with pytest.raises(
        FormatError, match=rf"films/taste, downloaded from .*{name}: missing, or checksum mismatch"
    ):
        tv.load(NAME)
    with pytest.raises(FormatError, match=r"remove .*models--films--taste"):
        tv.load(NAME)
    pushed.harm = lambda _path, content: content
    shutil.rmtree(tmp_path / "cache" / "models--films--taste")  # as the message advises
    assert tv.load(NAME).bundle.space


@pytest.mark.slow  # the library retries for ten seconds
def test_load_of_a_truncated_download_leaves_no_model(pushed):
    pushed.cut = 7
    with pytest.raises(HubError, match="the connection broke"):
        tv.load(NAME)
    pushed.cut = 0
    assert tv.load(NAME).bundle.space


def test_load_of_a_repository_without_a_model_is_refused(pushed):
    pushed.repositories[NAME].commit({"config.json": b"{}", "model.safetensors": b"x"})
    pushed.requests.clear()
    with pytest.raises(FormatError, match=r"no tastevec model on the Hub \(no bundle\.json\)"):
        tv.load(NAME)
    assert not any("/resolve/" in path for _, path in pushed.requests)


@pytest.mark.parametrize("status", [None, 401, 403, 404, 500])
@pytest.mark.parametrize("token", [TOKEN, "hf_wrong", "hf_with\x01control", "hf_ümlaut"])
def test_errors_and_logs_do_not_contain_the_token(hub, bundle_folder, caplog, capfd, status, token):
    os.environ["HF_TOKEN"] = token  # the hub fixture restores the variable
    hub.status = status
    messages = []
    with caplog.at_level(logging.DEBUG):
        for ask in (lambda: load(bundle_folder).push_to_hub(NAME), lambda: tv.load("films/other")):
            try:
                ask()
            except tv.TastevecError as error:
                messages.append(f"{error!r} {error.__cause__!r} {error.__suppress_context__}")
    assert all(messages)
    assert token not in "".join([*messages, caplog.text, *capfd.readouterr()])
    assert all(one.endswith("None True") for one in messages)


def test_load_of_a_missing_folder_without_huggingface_hub_names_the_extra(
    monkeypatch, tmp_path, bundle_folder
):
    monkeypatch.chdir(tmp_path)

    def missing(_name):
        raise MissingExtraError("huggingface-hub", "hub")

    monkeypatch.setattr(module, "require", missing)
    with pytest.raises(FormatError, match=r"films/taste: no such folder.*pip install 'tastevec\[hub\]'"):
        tv.load(NAME)
    with pytest.raises(MissingExtraError):
        load(bundle_folder).push_to_hub(NAME)
    assert "huggingface_hub" in EXTRAS["hub"]


@pytest.mark.usefixtures("trusted")
def test_push_command_pushes_and_prints_the_next_command(hub, bundle_folder):
    done = CliRunner().invoke(app, ["push", str(bundle_folder), NAME, "--private"])
    assert done.exit_code == 0, done.output
    assert f"to {hub.address}/{NAME}" in done.stdout
    assert f"tastevec recommend {NAME}" in done.stdout
    assert hub.repositories[NAME].private


@pytest.mark.usefixtures("hub")
def test_push_command_without_a_token_fails_with_one_line(bundle_folder):
    done = CliRunner().invoke(app, ["push", str(bundle_folder), NAME, "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["error"]["kind"] == "HubError"


@pytest.mark.slow
def test_commands_accept_a_model_on_the_hub(pushed, tmp_path):
    rows = [f"{row.user},{row.item},{row.stars}\n" for row in worlds.ratings()]
    (tmp_path / "histories.csv").write_text("".join(["user_id,item_id,rating\n", *rows]))
    environment = {
        **os.environ,
        "HF_ENDPOINT": pushed.address,
        "HF_HOME": str(tmp_path / "elsewhere"),
        "HF_HUB_DISABLE_XET": "1",
    }
    command = ["recommend", NAME, "histories.csv", "--k", "3", "--out", "films.parquet", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "tastevec", *command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["users"] == worlds.USERS
