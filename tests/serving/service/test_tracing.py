"""Traces go to the collector that the environment names, without request data; otherwise nothing is recorded."""

import http.server
import threading

import pytest

from tastevec.serving.service.tracing import Tracing

VALID = {"users": [{"interactions": [{"item_id": 1, "value": 4.5}]}]}
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(name="collector")
def _collector(monkeypatch):
    """A collector on loopback; what it got."""
    got = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            """Print nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    yield got
    server.shutdown()
    server.server_close()


def test_requests_are_traced_without_request_data(collector, make, start_client):
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra otel is not installed")
    client = start_client(make)
    client.post("/v1/recommend", json=VALID, headers={"traceparent": PARENT})
    client.put("/v1/users/alice", json=VALID["users"][0])
    client.get("/healthz")
    client.__exit__(None, None, None)
    spans = b"".join(collector)
    assert b"POST /v1/recommend" in spans
    assert bytes.fromhex("0af7651916cd43dd8448eb211c80319c") in spans
    assert b"/v1/users/{user_id:path}" in spans
    assert b"alice" not in spans
    assert b"healthz" not in spans


def test_without_a_collector_nothing_is_recorded(monkeypatch):
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    with Tracing().span({"path": "/v1/model", "method": "GET", "headers": []}) as finish:
        finish("/v1/model", 200)
    assert vars(Tracing()) == {"_provider": None}
