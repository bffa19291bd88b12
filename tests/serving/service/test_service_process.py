"""The service process: shutdown, reload, and malformed traffic over real sockets."""

import http.client
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tastevec.serving.service.app import create_app, host_names
from tastevec.serving.service.settings import ServiceSettings

pytestmark = pytest.mark.slow

BODY = json.dumps({"users": [{"interactions": [{"item_id": 1, "value": 4.5}]}]})
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
        head = "POST /v1/encode HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2500000\r\n\r\n"
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


HEAD = f"POST /v1/encode HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"


def answered(service, within=1.0):
    """Return whether a new connection gets a response in time."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=within)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    finally:
        connection.close()


def test_stop_under_load_loses_no_request(start):
    """A client reuses its connection until a response says close; a refused connection is no loss."""
    service, lost, counts = start(STOP_DELAY_S="0.3"), [], []

    def send_requests():
        done = 0
        while True:
            try:
                client = socket.create_connection(("127.0.0.1", service.port), timeout=_TIMEOUT)
            except ConnectionRefusedError:
                break
            with client, client.makefile("rb") as stream:
                closing = False
                while not closing:
                    client.sendall(HEAD.encode() + BODY.encode())
                    head = b"".join(iter(stream.readline, b"\r\n"))
                    length = re.search(rb"content-length: (\d+)", head)
                    if not length or len(stream.read(int(length[1]))) < int(length[1]):
                        lost.append(head)
                        return
                    if not head.startswith(b"HTTP/1.1 200"):
                        lost.append(head)
                    done += 1
                    closing = b"connection: close" in head.lower()
        counts.append(done)

    threads = [threading.Thread(target=send_requests) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    service.process.send_signal(signal.SIGTERM)
    status, content = service.request("GET", "/readyz")
    assert (status, content["error"]["code"]) == (503, "not_ready")
    for thread in threads:
        thread.join(_TIMEOUT)
    assert lost == []
    assert sum(counts) > 8
    assert service.ended() == (0, "ended\n")


def test_worker_that_ends_is_replaced_and_its_request_can_be_sent_again(start):
    service, results = start(SLOW="1"), []
    thread = threading.Thread(target=lambda: results.append(service.request()))
    thread.start()
    service.until_logged("inference starts")
    workers = worker_processes(service)
    assert len(workers) == 2
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    thread.join(_TIMEOUT)
    [(status, content)] = results
    assert (status, content["error"]["code"]) == (503, "worker_ended")
    assert service.request()[0] == 200
    while len(worker_processes(service)) < 2:
        time.sleep(0.05)


def worker_processes(service):
    """Return the process IDs of the workers."""
    path = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children")
    return [int(pid) for pid in path.read_text().split()]


def test_workers_end_with_a_killed_service(start):
    service = start()
    workers = worker_processes(service)
    service.process.kill()
    service.process.wait()
    deadline = time.monotonic() + 20
    while any(
        Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() for pid in workers
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_hung_reload_blocks_neither_a_later_reload_nor_the_stop(start):
    service = start()
    service.seed.unlink()
    os.mkfifo(service.seed)  # the worker waits for a writer
    service.process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert service.request()[1]["space"] == "space-0"
    service.seed.unlink()
    service.seed.write_text("1")
    service.process.send_signal(signal.SIGHUP)
    service.until_logged("model_loaded", times=2)
    assert service.request()[1]["space"] == "space-1"
    service.seed.unlink()
    os.mkfifo(service.seed)
    service.process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    service.process.send_signal(signal.SIGINT)
    assert service.ended()[0] == 0


@pytest.mark.parametrize("after", [0, 0.3, 1.0])
def test_early_sighup_does_not_end_the_service(tmp_path, after):
    """From the first line of ours on; the model does not exist: the service gets as far as to say so."""
    command = [sys.executable, "-m", "tastevec", "serve", "no-model", "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    while not int(re.search(r"SigIgn:\t(\w+)", Path(f"/proc/{process.pid}/status").read_text())[1], 16) & 1:
        time.sleep(0.005)
    time.sleep(after)
    process.send_signal(signal.SIGHUP)
    _, stderr = process.communicate(timeout=_TIMEOUT)
    assert process.returncode == 1
    assert "Error: no-model" in stderr


def test_sighup_never_ends_a_service_that_stops(tmp_path):
    """At any moment from the failure on: its loop closes, and Python itself stops."""
    command = [sys.executable, "-m", "tastevec", "serve", "no-model", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        while "model_load_failed" not in process.stderr.readline():
            pass
        while process.poll() is None:
            process.send_signal(signal.SIGHUP)
            time.sleep(0.001)
    assert process.returncode == 1


@pytest.mark.parametrize(
    "sent", [b"", b"GET /healthz HTT", b"POST /v1/encode HTTP/1.1\r\nHost: localhost\r\nX: "]
)
def test_incomplete_head_times_out(start, sent):
    service = start(HEAD_TIMEOUT_S="0.3")
    with socket.create_connection(("127.0.0.1", service.port), timeout=_TIMEOUT) as client:
        client.sendall(sent)
        response = b"".join(iter(lambda: client.recv(65_536), b"")).decode()
    assert response.startswith("HTTP/1.1 408")
    assert "head_timeout" in response


def test_endless_head_is_refused(start):
    service = start()
    with socket.create_connection(("127.0.0.1", service.port), timeout=_TIMEOUT) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\n")
        try:
            for number in range(10_000):
                client.sendall(f"X-{number}: {'a' * 1_000}\r\n".encode())
        except OSError:
            pass
        else:
            pytest.fail("ten megabytes of head were accepted")
    assert answered(service)


@pytest.mark.parametrize("fields", [["a" * 100_000], ["a"] * 10_000], ids=["one field", "many fields"])
def test_long_head_in_one_piece_is_refused(start, fields):
    service = start()
    head = "".join(f"X-{number}: {field}\r\n" for number, field in enumerate(fields))
    with socket.create_connection(("127.0.0.1", service.port), timeout=_TIMEOUT) as client:
        client.sendall(f"GET /healthz HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode())
        assert client.recv(100).startswith(b"HTTP/1.1 431")


def test_client_that_hangs_up_after_a_large_body_is_noticed(start):
    service = start(SLOW="2", TIMEOUT_S="30")
    body = BODY.ljust(200_000)
    head = HEAD.replace(f"Content-Length: {len(BODY)}", f"Content-Length: {len(body)}")
    with socket.create_connection(("127.0.0.1", service.port), timeout=_TIMEOUT) as client:
        client.sendall((head + body).encode())
        service.until_logged("inference starts")
    service.until_logged("status=499")


def test_keep_alive_connection_outlives_many_that_send_nothing(start):
    service = start(CONNECTIONS="50")
    connection = service.connection()
    connection.request("POST", "/v1/encode", BODY, JSON)
    assert connection.getresponse().read()
    with ExitStack() as opened:
        for _ in range(300):
            opened.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=_TIMEOUT))
        connection.request("POST", "/v1/encode", BODY, JSON)
        assert connection.getresponse().status == 200
    connection.close()


def test_incomplete_bodies_leave_room_for_others(start):
    service = start(CONNECTIONS="50")
    with ExitStack() as opened:
        for _ in range(200):
            client = socket.create_connection(("127.0.0.1", service.port), timeout=_TIMEOUT)
            opened.enter_context(client).sendall(HEAD.encode() + b"{")
        assert all(answered(service) for _ in range(5))
        assert service.request()[0] in (200, 503)
        time.sleep(2.5)
        assert service.request()[0] == 200


def test_connections_above_the_limit_replace_idle_ones(start):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2_000), hard))
    service = start(CONNECTIONS="50")
    with ExitStack() as opened:
        opened.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(400):
            client = socket.create_connection(("127.0.0.1", service.port), timeout=_TIMEOUT)
            opened.enter_context(client).sendall(b"GET /healthz HTTP/1.1\r\nHost: ")
        assert all(answered(service) for _ in range(5))
        assert (
            len(list(Path(f"/proc/{service.process.pid}/fd").iterdir())) < 240
        )  # 50, 128 more for short requests, and its own
        assert not re.search(r"loop_error|Traceback", service.logged())


def pipelined(service, count):
    """Return the statuses of health checks that are sent at once."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=_TIMEOUT) as client:
        request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
        client.sendall((request + b"\r\n") * (count - 1) + request + b"Connection: close\r\n\r\n")
        content = b"".join(iter(lambda: client.recv(65_536), b""))
    return [int(status) for status in re.findall(rb"HTTP/1.1 (\d+)", content)]


def test_pipelined_requests_do_not_pile_up(start):
    service = start(SLOW="1")
    before, sent = memory(service), 0
    with socket.create_connection(("127.0.0.1", service.port), timeout=0.5) as client:
        assert pipelined(service, 20) == [200] * 20
        piece = (HEAD + BODY).encode() * 500
        try:
            while sent < 100_000_000:
                client.sendall(piece)
                sent += len(piece)
        except OSError:
            pass
        assert sent < 20_000_000
        assert memory(service) < before + 50


def test_client_that_takes_no_response_is_disconnected(start):
    service = start(WRITE_TIMEOUT_S="0.5")
    path = "/openapi.json"
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.connect(("127.0.0.1", service.port))
        for _ in range(200):  # pipelined: more than the buffers of the system hold
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        deadline = time.monotonic() + _TIMEOUT
        while client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
            try:
                client.send(b"G")
            except OSError:
                break
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert answered(service)


@pytest.mark.parametrize("full", ["pipe", "/dev/full"])
def test_unread_or_full_stderr_does_not_stop_the_service(tmp_path, full):
    (tmp_path / "seed").write_text("0")
    stderr = subprocess.PIPE if full == "pipe" else Path(full).open("w")  # noqa: SIM115  closed below
    process = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("slow_service.py"), tmp_path / "seed", "0"],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )
    try:
        port = int(process.stdout.readline().rpartition(":")[2])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT)
        for _ in range(600):  # a line is 150 bytes, a pipe holds 65,536
            connection.request("GET", "/healthz")
            assert connection.getresponse().read()
        connection.close()
        process.terminate()
        assert process.wait(_TIMEOUT) == 0
    finally:
        process.kill()
        process.communicate()
        if full != "pipe":
            stderr.close()


@pytest.mark.parametrize(
    ("proxies", "accepted"), [("", 5), ("10.9.8.7", 5), ("127.0.0.0/8", 20)], ids=["none", "another", "this"]
)
def test_forwarded_address_counts_from_configured_proxies_alone(start, proxies, accepted):
    service = start(RATE="5/minute", **({"PROXIES": proxies} if proxies else {}))
    connection, statuses = service.connection(), []
    for number in range(20):
        connection.request("GET", "/v1/model", headers={"X-Forwarded-For": f"203.0.113.{number}"})
        response = connection.getresponse()
        response.read()
        statuses.append(response.status)
    connection.close()
    assert statuses.count(200) == accepted
    assert statuses.count(429) == 20 - accepted


@pytest.mark.parametrize(
    ("hosts", "given", "status"),
    [
        (None, "localhost:8000", 200),
        (None, "127.0.0.1", 200),
        (None, "[::1]:80", 200),
        (None, "attacker.example", 421),
        (None, "localhost.attacker.example", 421),
        ("taste.example", "taste.example", 200),
        ("taste.example", "attacker.example", 421),
        ("*", "attacker.example", 200),
    ],
)
def test_host_header_on_loopback_is_checked(hosts, given, status):
    settings = ServiceSettings(**({} if hosts is None else {"hosts": hosts}))
    app = create_app(lambda: None, settings, hosts=host_names("127.0.0.1", settings))
    response = TestClient(app, base_url="http://localhost").get("/healthz", headers={"Host": given})
    assert response.status_code == status


def test_host_header_on_other_addresses_is_free():
    assert host_names("0.0.0.0", ServiceSettings()) is None  # noqa: S104  nothing is bound
    assert host_names("0.0.0.0", ServiceSettings(hosts="taste.example")) == {  # noqa: S104  as above
        "127.0.0.1",
        "::1",
        "localhost",
        "taste.example",
    }
