"""Responses, logs, errors and ``doctor`` never contain the token or the database password."""

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
from tastevec.serving.user_store import UserStore
from tastevec.serving.user_tables import StoreError

pytest.importorskip("psycopg", reason="the extra pg is not installed")

TOKEN, PASSWORD = "t0ken-of-the-test", "passw0rd-of-the-test"
RATED = {"interactions": [{"item_id": 1, "value": 5.0}, {"item_id": 3, "value": 4.0}]}
THROW_OUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'secretive'"


def assert_no_secret(text):
    assert TOKEN not in text
    assert PASSWORD not in text


@pytest.fixture(name="closed")
def _closed():
    """The URL of a database at a closed port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"postgresql://postgres:{PASSWORD}@127.0.0.1:{port}/users"


@pytest.fixture(name="url")
def _url(server):
    """The URL of a running database, with a password that it does not need."""
    parts = urlsplit(emptied_database(server, "secretive"))
    return urlunsplit(parts._replace(netloc=f"postgres:{PASSWORD}@{parts.netloc.rpartition('@')[2]}"))


def all_responses(client):
    """Yield responses of all routes: successes, refusals and failures."""
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
    """Check all responses and all debug logs."""
    with caplog.at_level(logging.DEBUG), capture_logs() as lines:
        answers = list(all_responses(client))
    assert {200, 401} < {response.status_code for response in answers}
    for response in answers:
        assert_no_secret(response.text + str(response.headers))
    assert lines
    assert_no_secret(str(lines) + caplog.text)
    return answers


def test_secrets_with_a_database_do_not_leak(start_client, url, caplog):
    answers = check(start_client(token=TOKEN, database_url=url), caplog)
    assert 503 not in {response.status_code for response in answers}


def test_secrets_without_a_reachable_database_do_not_leak(start_client, closed, caplog):
    answers = check(start_client(token=TOKEN, database_url=closed), caplog)
    assert 503 in {response.status_code for response in answers}


def test_secrets_after_a_lost_connection_do_not_leak(start_client, server, url, caplog):
    """The connection pool would log host, user and the database's text."""
    client = start_client(token=TOKEN, database_url=url)
    assert client.put("/v1/users/ann", json=RATED, headers={"Authorization": f"Bearer {TOKEN}"}).is_success
    run(server.get_uri(), "ALTER DATABASE secretive ALLOW_CONNECTIONS false")
    run(server.get_uri(), THROW_OUT)
    answers = check(client, caplog)
    assert 503 in {response.status_code for response in answers}
    assert "psycopg.pool" not in {record.name for record in caplog.records}


def test_store_errors_do_not_contain_the_password(closed):
    with pytest.raises(StoreError) as failed:
        UserStore(closed)
    assert_no_secret(str(failed.value))
    assert failed.value.__suppress_context__
    with pytest.raises(SettingsError) as failed:
        UserStore(f"postgresql://postgres:{PASSWORD}@[half/users")
    assert_no_secret(str(failed.value))
    assert failed.value.__suppress_context__


@pytest.fixture(name="environment")
def _environment(monkeypatch, closed):
    """The secrets in the environment."""
    monkeypatch.setenv("TASTEVEC_TOKEN", TOKEN)
    monkeypatch.setenv("TASTEVEC_DATABASE_URL", closed)


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("name", ["RATE", "TIMEOUT_S"])
def test_setting_errors_do_not_contain_secrets(monkeypatch, name):
    monkeypatch.setenv(f"TASTEVEC_{name}", "wrong")
    with pytest.raises(SettingsError) as failed:
        read_settings()
    assert_no_secret(str(failed.value))


@pytest.mark.usefixtures("environment")
def test_settings_repr_and_json_do_not_contain_secrets():
    settings = read_settings()
    assert settings.token.get_secret_value() == TOKEN
    assert_no_secret(repr(settings) + settings.model_dump_json())


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_doctor_output_does_not_contain_secrets(flags):
    result = CliRunner().invoke(app, ["doctor", *flags])
    assert result.exit_code == 0
    assert_no_secret(result.output)


@pytest.mark.slow
def test_process_output_does_not_contain_secrets(tmp_path, closed):
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
                f"POST /v1/users/search HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            client.sendall((head + body).encode())
            assert_no_secret(b"".join(iter(lambda: client.recv(65_536), b"")).decode())
    process.terminate()
    output = "".join(process.communicate(timeout=60))
    assert "status=401" in output
    assert_no_secret(output)
