"""OpenTelemetry traces of requests, where the environment names a collector."""

from __future__ import annotations

import os
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from tastevec.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.sdk.trace import TracerProvider
    from starlette.types import Scope

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_UNTRACED = frozenset({"/healthz", "/readyz", "/metrics"})  # probes would be most of all spans


class Tracing:
    """One span per request, with method, route and status; as in the log, no address, ID or path.

    Without one of the variables ``OTEL_EXPORTER_OTLP_ENDPOINT`` and ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`` nothing is
    recorded or sent.

    Raises:
        MissingExtraError: A variable is set, but the extra otel is not installed.
    """

    def __init__(self) -> None:
        self._provider: TracerProvider | None = None
        if not any(os.environ.get(name) for name in _ENDPOINTS):
            return
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415  an extra
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415  as above
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415  as above
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415  as above
        except ImportError:
            raise MissingExtraError("opentelemetry-exporter-otlp-proto-http", "otel") from None

        named = {
            "service.name": os.environ.get("OTEL_SERVICE_NAME", "tastevec"),
            "service.version": version("tastevec"),
        }
        self._provider = TracerProvider(resource=Resource.create(named))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))

    @contextmanager
    def span(self, scope: Scope) -> Iterator[Callable[[str, int], None]]:
        """Record a request; the block calls what it gets with the route and the status."""
        if self._provider is None or scope["path"] in _UNTRACED:
            yield lambda _route, _status: None
            return
        from opentelemetry import propagate, trace  # noqa: PLC0415  an extra

        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        tracer = self._provider.get_tracer("tastevec.service")
        parent = propagate.extract(headers)
        with tracer.start_as_current_span("request", parent, trace.SpanKind.SERVER) as span:

            def finish(route: str, status: int) -> None:
                method = scope["method"]
                span.update_name(f"{method} {route}")
                span.set_attributes(
                    {"http.request.method": method, "http.route": route, "http.response.status_code": status}
                )
                if status >= 500:  # noqa: PLR2004  server errors
                    span.set_status(trace.StatusCode.ERROR)

            yield finish

    def close(self) -> None:
        """Send what is recorded."""
        if self._provider is not None:
            self._provider.shutdown()
