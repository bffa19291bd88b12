"""The service process: shutdown, reload, and malformed traffic over real sockets."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import cached_property
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

BODY = json.dumps({"users": [{"ratings": [{"item_id": 1, "rating": 4.5}]}]})
_TIMEOUT = 120  # seconds, for a busy machine
JSON = {"Content-Type": "application/json"}


class Running:
    """A service process, its port and its log."""

    def __init__(self, folder, port="0", **environment):
        self.seed = folder / "seed"
        if not self.seed.exists():
            self.seed.write_text("0")
        self.log = folder / "log"
        log = self.log.open("w")
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("slow_service.py"), self.seed, port],
            env=os.environ
            | {f"TASTEVEC_{name}" if name != "SLOW" else name: value for name, value in environment.items()},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        log.close()

    @cached_property
    def port(self):
        """The port, from the first line of the output."""
        return int(self.process.stdout.readline().rpartition(":")[2])

    def connection(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=_TIMEOUT)

    def request(self, method="POST", path="/v1/encode", body=BODY, headers=JSON):
        connection = self.connection()
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, json.loads(content)

    def until_ready(self):
        while self.request("GET", "/readyz")[0] != 200:
            time.sleep(0.02)
        return self

    def logged(self):
        return self.log.read_text()

    def until_logged(self, text, times=1):
        while self.logged().count(text) < times:
            assert self.process.poll() is None, self.logged()
            time.sleep(0.02)

    def ended(self):
        rest, _ = self.process.communicate(timeout=_TIMEOUT)
        return self.process.returncode, rest


@pytest.fixture(name="start")
def _start(tmp_path):
    started = []

    def start(**environment):
        started.append(Running(tmp_path, **environment))
        return started[-1].until_ready()

    yield start
    for service in started:
        service.process.kill()
        service.process.communicate()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_stop_finishes_requests_in_progress(start, sent):
    service, results = start(SLOW="1"), []
    thread = threading.Thread(target=lambda: results.append(service.request()))
    thread.start()
    service.until_logged("inference starts")
    service.process.send_signal(sent)
    thread.join(_TIMEOUT)
    assert [status for status, _ in results] == [200]
    code, rest = service.ended()
    assert code == 0, service.logged()
    assert rest == "ended\n"
    assert "Traceback" not in service.logged()


def test_sighup_reloads_without_dropping_requests(start):
    service, results, done = start(), [], threading.Event()

    def send_requests():
        connection = service.connection()
        while not done.is_set():
            connection.request("POST", "/v1/encode", BODY, JSON)
            response = connection.getresponse()
            results.append((response.status, json.loads(response.read())["space"]))
        connection.close()

    threads = [threading.Thread(target=send_requests) for _ in range(3)]
    for thread in threads:
        thread.start()
    for seed in (1, 2):
        service.seed.write_text(str(seed))
        service.process.send_signal(signal.SIGHUP)
        service.until_logged("model_loaded", times=seed + 1)
    service.seed.write_text("broken")
    service.process.send_signal(signal.SIGHUP)
    service.until_logged("model_load_failed")
    time.sleep(0.1)
    done.set()
    for thread in threads:
        thread.join(_TIMEOUT)
    assert {status for status, _ in results} == {200}
    assert [space for _, space in results][-1] == "space-2"
    assert service.request()[1]["space"] == "space-2"


def test_first_load_failure_ends_the_process_with_its_error(tmp_path):
    (tmp_path / "seed").write_text("the folder is empty")
    service = Running(tmp_path)
    code, _ = service.ended()
    assert code == 1
    assert "FormatError: the folder is empty; train again" in service.logged()


def test_occupied_port_is_an_error(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        service = Running(tmp_path, port=str(taken.getsockname()[1]))
        code, _ = service.ended()
    assert code == 1
    assert "SettingsError: --host 127.0.0.1" in service.logged()


@pytest.mark.parametrize("announced", [True, False], ids=["with a length", "in chunks"])
def test_body_of_100_megabytes_is_refused_while_it_arrives(start, announced):
    service = start()
    piece, sent = b" " * 65_536, 0
    with socket.create_connection(("127.0.0.1", service.port), timeout=_TIMEOUT) as client:
        length = f"Content-Length: {100_000_000}" if announced else "Transfer-Encoding: chunked"
        client.sendall(
            f"POST /v1/encode HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{length}\r\n\r\n".encode()
        )
        try:
            while sent < 100_000_000:
                client.sendall(piece if announced else b"10000\r\n" + piece + b"\r\n")
                sent += len(piece)
        except OSError:
            pass  # the service closed the connection
    assert sent < 20_000_000
    assert service.request()[0] == 200
    service.until_logged("status=413")
    assert memory(service) < 2_000


def memory(service):
    """Return the memory of the process in MB."""
    pages = Path(f"/proc/{service.process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_large_body_gets_an_error_response(start):
    """The service responds to the header and closes: a client that still sends its body would race with that."""
    service = start()
    with socket.create_connection(("127.0.0.1", service.port), timeout=_TIMEOUT) as client:
        head = "POST /v1/encode HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 1500000\r\n\r\n"
        client.sendall(head.encode())
        response = b"".join(iter(lambda: client.recv(65_536), b"")).decode()
    assert response.startswith("HTTP/1.1 413")
    assert "too_large" in response


def test_slow_client_times_out_and_blocks_no_other(start):
    service = start(BODY_TIMEOUT_S="0.5")
    with socket.create_connection(("127.0.0.1", service.port), timeout=_TIMEOUT) as client:
        head = f"POST /v1/encode HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
        client.sendall(head.encode() + BODY[:10].encode())
        assert service.request()[0] == 200
        response = b"".join(
            iter(lambda: client.recv(65_536), b"")
        ).decode()  # until the service closes the connection
    assert response.startswith("HTTP/1.1 408")
    assert "body_timeout" in response
    assert "connection: close" in response.lower()


def test_disconnects_and_malformed_requests_cause_no_error(start):
    service = start(SLOW="0.2")
    for sent in (
        b"",
        b"\x16\x03\x01\x02\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/encode HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", service.port), timeout=_TIMEOUT) as client:
            client.sendall(sent)
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", service.port), timeout=_TIMEOUT) as client:
            client.sendall(
                f"POST /v1/encode HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n{BODY}".encode()
            )
    assert service.request()[0] == 200
    assert not re.search(r"level=error|Traceback", service.logged())


def test_all_addresses_without_a_token_log_a_warning(tmp_path):
    code = (
        "from tastevec.serving.service import app, settings\n"
        "app.uvicorn.Server.run = app.asyncio.run = lambda coroutine: coroutine.close()\n"
        "app.run_service(lambda: None, settings.ServiceSettings(), host='0.0.0.0')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "level=warning event=no_token" in done.stderr
