"""What the service counts about itself, for Prometheus; nothing in it is about a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

if TYPE_CHECKING:
    from tastevec.serving.service.served import Served

__all__ = ["Metrics"]

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_PEOPLE = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counters of one application."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "tastevec_requests", "Requests answered.", ["route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "tastevec_request_seconds",
            "From the head of a request to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._people = Histogram(
            "tastevec_batch_people",
            "People of one pass through the model.",
            buckets=_PEOPLE,
            registry=self._registry,
        )
        self._reloads = Counter(
            "tastevec_reloads", "Attempts to load a model.", ["outcome"], registry=self._registry
        )
        self._model = Gauge(
            "tastevec_model_info",
            "The model that answers.",
            ["space", "data", "version"],
            registry=self._registry,
        )

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count one answer; ``route`` is the template, never the path as it was asked."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, people: int) -> None:
        """Count one pass through the model."""
        self._people.observe(people)

    def loaded(self, served: Served) -> None:
        """Tell which model answers now."""
        self._reloads.labels("loaded").inc()
        self._model.clear()
        self._model.labels(served.space, served.facts["data"], served.facts["version"]).set(1)

    def not_loaded(self) -> None:
        """Count a model that could not be loaded."""
        self._reloads.labels("failed").inc()

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)
