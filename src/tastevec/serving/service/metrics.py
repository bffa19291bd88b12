"""Prometheus metrics of the service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

if TYPE_CHECKING:
    from collections.abc import Callable

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_USER_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Prometheus metrics of one application; ``route`` is the template, never the requested path."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter("tastevec_requests", "Requests.", ["route", "status"], registry=registry)
        self.seconds = Histogram(
            "tastevec_request_seconds",
            "Time from the request headers to the end of the response.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.users = Histogram(
            "tastevec_batch_users", "Users per batch.", buckets=_USER_BUCKETS, registry=registry
        )
        self.workers = Gauge("tastevec_workers", "Workers in use.", registry=registry)
        self.waiting = Gauge(
            "tastevec_waiting_requests", "Requests that wait for a worker.", ["size"], registry=registry
        )
        self.reloads = Counter("tastevec_reloads", "Model loads.", ["outcome"], registry=registry)
        self.model = Gauge(
            "tastevec_model_info", "The model in use.", ["space", "data", "version"], registry=registry
        )

    def watch(
        self, *, workers: Callable[[], int], small: Callable[[], int], large: Callable[[], int]
    ) -> None:
        """Read these numbers whenever the metrics are."""
        self.workers.set_function(workers)
        self.waiting.labels("small").set_function(small)
        self.waiting.labels("large").set_function(large)

    def loaded(self, space: str, data: str, version: str) -> None:
        """Count a load, and name the model."""
        self.reloads.labels("loaded").inc()
        self.model.clear()
        self.model.labels(space, data, version).set(1)
