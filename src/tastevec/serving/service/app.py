"""The HTTP application: its parts, its OpenAPI schema, and the process that serves it."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
import uvicorn
from fastapi import FastAPI
from pydantic.json_schema import models_json_schema
from starlette.datastructures import State
from starlette.middleware.cors import CORSMiddleware

from tastevec.errors import SettingsError, TastevecError
from tastevec.serving.service.connections import BACKLOG, Connection, Server
from tastevec.serving.service.errors import add_error_handlers
from tastevec.serving.service.log import BackgroundStream
from tastevec.serving.service.metrics import Metrics
from tastevec.serving.service.middleware import ObservabilityMiddleware, SecurityMiddleware
from tastevec.serving.service.pool import Pool
from tastevec.serving.service.routes import REQUESTS, item_router, service_router, user_router
from tastevec.serving.service.settings import ServiceSettings
from tastevec.serving.service.static import page_routes
from tastevec.serving.service.store_routes import store_router
from tastevec.serving.service.tracing import Tracing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from tastevec.serving.service.store_client import StoreClient

_WEB = Path(__file__).parent.parent / "web"
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_DESCRIPTION = (
    "User embeddings, recommendations, tag explanations and similar users, computed from the ratings in the request. "
    "Nothing is stored without a database. All errors have one shape: code, message, location."
)


def create_app(
    source: Callable[[], Any] | Sequence[str],
    settings: ServiceSettings | None = None,
    *,
    web: Path = _WEB,
    hosts: frozenset[str] | None = None,
) -> FastAPI:
    """Return the service as an ASGI application with the page of a folder, if that exists.

    Args:
        source: The command of a worker, from `worker_command`; or a function that returns an `AppState`, which is then
            called in a thread after the start, and again at each reload.
        settings: Authentication, limits and database.
        web: The folder of the page.
        hosts: Names that the Host header may have; None is all.
    """
    settings = settings or ServiceSettings()
    metrics, tracing = Metrics(), Tracing()
    pool = Pool(source, settings, metrics)
    store = None
    if (url := settings.database_url) is not None:
        from tastevec.serving.service.store_client import StoreClient  # noqa: PLC0415  it needs NumPy and the extra pg

        store = StoreClient(url.get_secret_value())

    # The framework's documentation pages load scripts from other hosts.
    app = FastAPI(
        title="tastevec",
        version=version("tastevec"),
        description=_DESCRIPTION,
        openapi_url=None,  # a route of ours, which makes it once
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lambda _app: _running(pool, store, tracing),
    )
    state = {"pool": pool, "metrics": metrics, "store": store, "has_token": settings.token is not None}
    app.state = State(state | {"openapi_body": None})
    for router in (user_router, item_router, store_router, service_router):
        app.include_router(router)
    app.router.routes.extend(page_routes(web))
    add_error_handlers(app)
    app.add_middleware(SecurityMiddleware, settings=settings, hosts=hosts)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
        )
    app.add_middleware(ObservabilityMiddleware, metrics=metrics, tracing=tracing)  # the outermost
    _describe(app)
    return app


@asynccontextmanager
async def _running(pool: Pool, store: StoreClient | None, tracing: Tracing) -> AsyncIterator[None]:
    """Open the database and start the workers, until the application ends."""
    if store is not None:
        try:
            await store.open()
        except TastevecError as error:
            pool.failure = error
            raise
    pool.open()
    yield
    await pool.close()
    if store is not None:
        await asyncio.to_thread(store.close)
    await asyncio.to_thread(tracing.close)


def _describe(app: FastAPI) -> None:
    """Add the request bodies, which workers validate, and the token to the OpenAPI schema."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        schema = generate()
        _, requests = models_json_schema(
            [(request, "validation") for request in REQUESTS], ref_template="#/components/schemas/{model}"
        )
        components = schema.setdefault("components", {})
        components.setdefault("schemas", {}).update(requests["$defs"])
        if app.state.has_token:
            components.setdefault("securitySchemes", {})["token"] = {"type": "http", "scheme": "bearer"}
        for path, methods in schema["paths"].items():
            for operation in methods.values():
                if app.state.has_token and (path.startswith("/v1/") or path == "/metrics"):
                    operation["security"] = [{"token": []}]
        return schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the schema


_LOG = structlog.get_logger("tastevec.service")


def run_service(
    source: Callable[[], Any] | Sequence[str],
    settings: ServiceSettings,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    progress: Callable[[str], object] = lambda _address: None,
) -> None:
    """Serve until SIGINT or SIGTERM; SIGHUP reloads the model.

    Args:
        source: The command of a worker, or a function; see `create_app`.
        settings: Authentication, limits and database.
        host: Address to bind to.
        port: Port to bind to; 0 takes any free port.
        progress: Called with the URL once the port is open; the model may still be loading.

    Raises:
        SettingsError: The address cannot be bound.
        Exception: The first model could not be loaded, or the database cannot be used.
    """
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the server reloads on it
    log = _log_to_stderr()
    if settings.token is None and host not in _LOOPBACK:
        _LOG.warning(
            "no_token", host=host, message="open to everyone who reaches this address: set TASTEVEC_TOKEN"
        )
    app = create_app(source, settings, hosts=host_names(host, settings))
    pool: Pool = app.state.pool
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=Connection,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,  # the observability middleware logs each request, without addresses
        server_header=False,
        backlog=BACKLOG,
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=list(settings.proxies),
        timeout_graceful_shutdown=1,  # the server has then waited for the requests
        timeout_keep_alive=30,
    )
    server = Server(config, pool, settings, progress)
    try:
        asyncio.run(server.serve())
    except SystemExit:
        if pool.failure is None:
            raise SettingsError(
                f"--host {host} --port {port}: the address cannot be bound. Expected a free address of this machine. "
                "Choose another with --host and --port."
            ) from None
    finally:
        log.close()
    if pool.failure is not None:
        raise pool.failure


def host_names(host: str, settings: ServiceSettings) -> frozenset[str] | None:
    """Return the names that the Host header may have: on a loopback address, no other site's (DNS rebinding)."""
    if "*" in settings.hosts or (not settings.hosts and host not in _LOOPBACK):
        return None
    return _LOOPBACK | {name.lower() for name in settings.hosts}


def _log_to_stderr() -> BackgroundStream:
    """Log one line of key=value pairs per event; warnings of libraries go there too."""
    stream = BackgroundStream()
    logging.basicConfig(
        level=logging.WARNING, format="%(levelname)s %(name)s %(message)s", stream=stream, force=True
    )
    # Its errors have tracebacks with texts of requests; ours have their kind and place.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(file=stream),  # type: ignore[arg-type]  # it needs write and flush alone
        cache_logger_on_first_use=True,
    )
    return stream
