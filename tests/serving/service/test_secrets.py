"""The bearer token and the database's password are in nothing that the service or ``doctor`` says."""

import json
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from databases import emptied_database, run
from tastevec.cli.app import app
from tastevec.errors import SettingsError
from tastevec.serving.service.settings import read_settings
from tastevec.serving.user_store import StoreError, UserStore

pytest.importorskip("psycopg", reason="the extra pg is not installed")

TOKEN, PASSWORD = "t0ken-of-the-test", "passw0rd-of-the-test"
RATED = {"ratings": [{"item_id": 1, "rating": 5.0}, {"item_id": 3, "rating": 4.0}]}
THROW_OUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'secretive'"


def holds_no_secret(text):
    assert TOKEN not in text
    assert PASSWORD not in text


@pytest.fixture(name="closed")
def _closed():
    """The address of a database at a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"postgresql://postgres:{PASSWORD}@127.0.0.1:{port}/people"


@pytest.fixture(name="url")
def _url(server):
    """The address of a database that is there, which asks for no password and is told one."""
    told = urlsplit(emptied_database(server, "secretive"))
    return urlunsplit(told._replace(netloc=f"postgres:{PASSWORD}@{told.netloc.rpartition('@')[2]}"))


def everything_asked(client):
    """What a client is told: welcome, refused and failed."""
    for headers in ({}, {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": f"Bearer {TOKEN}"}):
        for path in ("/healthz", "/readyz", "/openapi.json", "/metrics", "/v1/model", "/v1/nothing"):
            yield client.get(path, headers=headers)
        yield client.post("/v1/encode", json={"users": [RATED]}, headers=headers)
        yield client.post("/v1/encode", content=b"{", headers=headers)
        yield client.put("/v1/users/ann", json=RATED, headers=headers)
        yield client.post("/v1/users/search", json={"users": [RATED]}, headers=headers)
        yield client.delete("/v1/users/ann", headers=headers)
        yield client.post("/v1/reload", headers=headers)


def check(client, caplog):
    """Ask everything, and look into the answers and the logs of everybody, down to the last detail."""
    with caplog.at_level(logging.DEBUG), capture_logs() as lines:
        answers = list(everything_asked(client))
    assert {200, 401} < {answer.status_code for answer in answers}
    for answer in answers:
        holds_no_secret(answer.text + str(answer.headers))
    assert lines
    holds_no_secret(str(lines) + caplog.text)
    return answers


def test_while_the_database_answers_no_secret_is_told(asking, url, caplog):
    answers = check(asking(token=TOKEN, database_url=url), caplog)
    assert 503 not in {answer.status_code for answer in answers}


def test_while_the_database_is_away_no_secret_is_told(asking, closed, caplog):
    answers = check(asking(token=TOKEN, database_url=closed), caplog)
    assert 503 in {answer.status_code for answer in answers}


def test_when_the_database_goes_away_no_secret_is_told(asking, server, url, caplog):
    """The pool of connections, which is somebody else's, has a log of its own."""
    client = asking(token=TOKEN, database_url=url)
    assert client.put("/v1/users/ann", json=RATED, headers={"Authorization": f"Bearer {TOKEN}"}).is_success
    run(server.get_uri(), "ALTER DATABASE secretive ALLOW_CONNECTIONS false")
    run(server.get_uri(), THROW_OUT)
    answers = check(client, caplog)
    assert 503 in {answer.status_code for answer in answers}
    assert "psycopg.pool" in {record.name for record in caplog.records}


def test_what_fails_in_python_tells_no_password_either(closed):
    with pytest.raises(StoreError) as failed:
        UserStore(closed)
    holds_no_secret(str(failed.value))
    assert failed.value.__suppress_context__
    with pytest.raises(SettingsError) as failed:
        UserStore(f"postgresql://postgres:{PASSWORD}@[half/people")
    holds_no_secret(str(failed.value))
    assert failed.value.__suppress_context__


@pytest.fixture(name="environment")
def _environment(monkeypatch, closed):
    """The secrets, told as they are told to the service."""
    monkeypatch.setenv("TASTEVEC_TOKEN", TOKEN)
    monkeypatch.setenv("TASTEVEC_DATABASE_URL", closed)


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("name", ["RATE", "TIMEOUT_S"])
def test_a_wrong_setting_tells_no_secret_beside_it(monkeypatch, name):
    monkeypatch.setenv(f"TASTEVEC_{name}", "wrong")
    with pytest.raises(SettingsError) as failed:
        read_settings()
    holds_no_secret(str(failed.value))


@pytest.mark.usefixtures("environment")
def test_settings_that_are_shown_or_saved_tell_no_secret():
    settings = read_settings()
    assert settings.token.get_secret_value() == TOKEN
    holds_no_secret(repr(settings) + settings.model_dump_json())


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_doctor_tells_no_secret(flags):
    result = CliRunner().invoke(app, ["doctor", *flags])
    assert result.exit_code == 0
    holds_no_secret(result.output)


@pytest.mark.slow
def test_the_process_tells_no_secret_from_its_start_to_its_end(tmp_path, closed):
    (tmp_path / "seed").write_text("0")
    process = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("slow_service.py"), tmp_path / "seed", "0"],
        env=os.environ | {"TASTEVEC_TOKEN": TOKEN, "TASTEVEC_DATABASE_URL": closed},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    port = int(process.stdout.readline().rpartition(":")[2])
    for token in (TOKEN, "another"):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            body = json.dumps({"users": [RATED]})
            head = (
                f"POST /v1/users/search HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            client.sendall((head + body).encode())
            holds_no_secret(b"".join(iter(lambda: client.recv(65_536), b"")).decode())
    process.terminate()
    said = "".join(process.communicate(timeout=60))
    assert "status=401" in said
    holds_no_secret(said)
