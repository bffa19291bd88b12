"""What is asked of the service itself, by those who run it: whether it lives, whether it is ready, what it counted."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic_core import to_json

from tastevec.serving.service.answers import ErrorAnswer, StateAnswer
from tastevec.serving.service.errors import Problem
from tastevec.serving.service.lifecycle import life_of

__all__ = ["service_router"]

service_router = APIRouter(tags=["service"])


@service_router.get("/healthz", response_model=StateAnswer)
async def healthz() -> Response:
    """Whether the process lives."""
    return Response(to_json({"status": "ok"}), media_type="application/json")


@service_router.get(
    "/readyz", response_model=StateAnswer, responses={503: {"model": ErrorAnswer, "description": "Not now."}}
)
async def readyz(request: Request) -> Response:
    """Whether requests are welcome: not before the model is loaded, and not while the process stops."""
    life = life_of(request)
    if not life.ready:
        found = "stopping" if life.draining else "still loading its model"
        raise Problem(
            503, "not_ready", f"the service is {found}; expected it to be ready: ask another, or later"
        )
    return Response(to_json({"status": "ready"}), media_type="application/json")


@service_router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"description": "Counters, for Prometheus.", "content": {"text/plain": {}}},
        401: {"model": ErrorAnswer, "description": "The bearer token is missing or wrong."},
    },
)
async def metrics(request: Request) -> Response:
    """Requests, their times, batches, the model; behind the token where there is one."""
    life = life_of(request)
    return Response(life.metrics.text(), media_type=CONTENT_TYPE_LATEST)
