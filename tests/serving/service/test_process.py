"""The service as a process: stopped, reloaded, and attacked over a real socket."""

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
_LONG = 120  # seconds, for a machine that has much else to do
JSON = {"Content-Type": "application/json"}


class Running:
    """The process, its address and what it says."""

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
        """Told once it is open."""
        return int(self.process.stdout.readline().rpartition(":")[2])

    def connection(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=_LONG)

    def ask(self, method="POST", path="/v1/encode", body=BODY, headers=JSON):
        connection = self.connection()
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        told = answer.read()
        connection.close()
        return answer.status, json.loads(told)

    def until_ready(self):
        while self.ask("GET", "/readyz")[0] != 200:
            time.sleep(0.02)
        return self

    def said(self):
        return self.log.read_text()

    def until_said(self, text, times=1):
        while self.said().count(text) < times:
            assert self.process.poll() is None, self.said()
            time.sleep(0.02)

    def ended(self):
        rest, _ = self.process.communicate(timeout=_LONG)
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
def test_a_stop_answers_what_is_under_way_and_ends_well(start, sent):
    service, told = start(SLOW="1"), []
    thread = threading.Thread(target=lambda: told.append(service.ask()))
    thread.start()
    service.until_said("the model is asked")
    service.process.send_signal(sent)
    thread.join(_LONG)
    assert [status for status, _ in told] == [200]
    code, rest = service.ended()
    assert code == 0, service.said()
    assert rest == "ended\n"
    assert "Traceback" not in service.said()


def test_a_hangup_loads_the_model_again_without_dropping_a_request(start):
    service, told, over = start(), [], threading.Event()

    def keep_asking():
        connection = service.connection()
        while not over.is_set():
            connection.request("POST", "/v1/encode", BODY, JSON)
            answer = connection.getresponse()
            told.append((answer.status, json.loads(answer.read())["space"]))
        connection.close()

    threads = [threading.Thread(target=keep_asking) for _ in range(3)]
    for thread in threads:
        thread.start()
    for seed in (1, 2):
        service.seed.write_text(str(seed))
        service.process.send_signal(signal.SIGHUP)
        service.until_said("model_loaded", times=seed + 1)
    service.seed.write_text("broken")
    service.process.send_signal(signal.SIGHUP)
    service.until_said("model_load_failed")
    time.sleep(0.1)
    over.set()
    for thread in threads:
        thread.join(_LONG)
    assert {status for status, _ in told} == {200}
    assert [space for _, space in told][-1] == "space-2"
    assert service.ask()[1]["space"] == "space-2"


def test_a_first_model_that_is_not_there_ends_the_process_with_its_reason(tmp_path):
    (tmp_path / "seed").write_text("the folder is empty")
    service = Running(tmp_path)
    code, _ = service.ended()
    assert code == 1
    assert "FormatError: the folder is empty; train again" in service.said()


def test_an_address_that_is_taken_is_refused_in_a_sentence(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        service = Running(tmp_path, port=str(taken.getsockname()[1]))
        code, _ = service.ended()
    assert code == 1
    assert "SettingsError: --host 127.0.0.1" in service.said()


@pytest.mark.parametrize("told", [True, False], ids=["with a length", "in chunks"])
def test_a_body_of_100_megabytes_is_refused_before_it_has_come(start, told):
    service = start()
    piece, sent = b" " * 65_536, 0
    with socket.create_connection(("127.0.0.1", service.port), timeout=_LONG) as client:
        length = f"Content-Length: {100_000_000}" if told else "Transfer-Encoding: chunked"
        client.sendall(
            f"POST /v1/encode HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{length}\r\n\r\n".encode()
        )
        try:
            while sent < 100_000_000:
                client.sendall(piece if told else b"10000\r\n" + piece + b"\r\n")
                sent += len(piece)
        except OSError:
            pass  # the service has hung up
    assert sent < 20_000_000
    assert service.ask()[0] == 200
    service.until_said("status=413")
    assert memory(service) < 2_000


def memory(service):
    """Megabytes of the process."""
    pages = Path(f"/proc/{service.process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_who_refuses_a_large_body_says_so(start):
    service = start()
    status, told = service.ask(body=b" " * 1_500_000)
    assert status == 413
    assert told["error"]["code"] == "too_large"


def test_a_client_that_sends_slowly_is_told_to_come_back_and_holds_nobody_up(start):
    service = start(BODY_TIMEOUT_S="0.5")
    with socket.create_connection(("127.0.0.1", service.port), timeout=_LONG) as client:
        head = f"POST /v1/encode HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
        client.sendall(head.encode() + BODY[:10].encode())
        assert service.ask()[0] == 200
        answer = b"".join(iter(lambda: client.recv(65_536), b"")).decode()  # to the end: it hangs up
    assert answer.startswith("HTTP/1.1 408")
    assert "body_timeout" in answer
    assert "connection: close" in answer.lower()


def test_clients_that_hang_up_or_speak_no_http_change_nothing(start):
    service = start(SLOW="0.2")
    for sent in (
        b"",
        b"\x16\x03\x01\x02\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/encode HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", service.port), timeout=_LONG) as client:
            client.sendall(sent)
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", service.port), timeout=_LONG) as client:
            client.sendall(
                f"POST /v1/encode HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n{BODY}".encode()
            )
    assert service.ask()[0] == 200
    assert not re.search(r"level=error|Traceback", service.said())


def test_who_listens_on_all_addresses_without_a_token_is_warned(tmp_path):
    code = (
        "from tastevec.serving.service import app, settings\n"
        "app.uvicorn.Server.run = app.asyncio.run = lambda coroutine: coroutine.close()\n"
        "app.run_service(lambda: None, settings.ServiceSettings(), host='0.0.0.0')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "level=warning event=no_token" in done.stderr
