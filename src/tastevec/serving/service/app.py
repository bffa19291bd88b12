"""The HTTP application: assembly, start, reload and shutdown."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
import uvicorn
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from tastevec.errors import SettingsError
from tastevec.serving.neighbors import read_user_vectors
from tastevec.serving.recommender import load
from tastevec.serving.service.errors import add_error_handlers
from tastevec.serving.service.inference import Lifecycle
from tastevec.serving.service.middleware import ObservabilityMiddleware, SecurityMiddleware
from tastevec.serving.service.responses import AppState
from tastevec.serving.service.routes import item_router, service_router, user_router
from tastevec.serving.service.settings import ServiceSettings
from tastevec.serving.service.static import page_routes
from tastevec.serving.service.store_client import StoreClient
from tastevec.serving.service.store_routes import store_router

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import FrameType


_WEB = Path(__file__).parent.parent / "web"
_DESCRIPTION = (
    "User embeddings, recommendations, tag explanations and similar users, computed from the ratings in the request. "
    "Nothing is stored without a database. All errors have one shape: code, message, location."
)


def create_app(
    source: Callable[[], AppState], settings: ServiceSettings | None = None, *, web: Path = _WEB
) -> FastAPI:
    """Return the service as an ASGI application with the page of a folder, if that exists.

    ``source`` loads the model: it is called in a thread after the start, and again at each reload.
    """
    settings = settings or ServiceSettings()
    lifecycle = Lifecycle(source, settings)
    url = settings.database_url
    store = None if url is None else StoreClient(url.get_secret_value())

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        lifecycle.open()
        yield
        await lifecycle.close()
        if store is not None:
            await asyncio.to_thread(store.close)

    # The framework's documentation pages load scripts from other hosts.
    app = FastAPI(
        title="tastevec",
        version=version("tastevec"),
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.lifecycle, app.state.has_token, app.state.store = lifecycle, settings.token is not None, store
    for router in (user_router, item_router, store_router, service_router):
        app.include_router(router)
    app.router.routes.extend(page_routes(web))
    add_error_handlers(app)
    app.add_middleware(SecurityMiddleware, settings=settings)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
        )
    app.add_middleware(ObservabilityMiddleware, metrics=lifecycle.metrics)  # the outermost
    if app.state.has_token:
        _describe_token(app)
    return app


def _describe_token(app: FastAPI) -> None:
    """Add the bearer token to the OpenAPI schema of the protected paths."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        schema = generate()
        schemes = schema.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes["token"] = {"type": "http", "scheme": "bearer"}
        for path, methods in schema["paths"].items():
            for operation in methods.values():
                if path.startswith("/v1/") or path == "/metrics":
                    operation["security"] = [{"token": []}]
        return schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the schema


_LOG = structlog.get_logger("tastevec.service")


def run_service(
    source: Callable[[], AppState],
    settings: ServiceSettings,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    progress: Callable[[str], object] = lambda _address: None,
) -> None:
    """Serve until SIGINT or SIGTERM; SIGHUP reloads the model.

    Args:
        source: Loads the model.
        settings: Authentication, limits and database.
        host: Address to bind to.
        port: Port to bind to; 0 takes any free port.
        progress: Called with the URL once the port is open; the model may still be loading.

    Raises:
        SettingsError: The address cannot be bound.
        Exception: The first model could not be loaded.
    """
    _log_to_stderr()
    if settings.token is None and host not in {"127.0.0.1", "::1", "localhost"}:
        _LOG.warning(
            "no_token", host=host, message="open to everyone who reaches this address: set TASTEVEC_TOKEN"
        )
    app = create_app(source, settings)
    lifecycle: Lifecycle = app.state.lifecycle
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        lifespan="on",
        log_config=None,
        access_log=False,  # the observability middleware logs each request, without addresses
        server_header=False,
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
        timeout_keep_alive=30,
    )
    server = _Server(config, lifecycle, progress)
    try:
        asyncio.run(server.serve())
    except SystemExit:
        raise SettingsError(
            f"--host {host} --port {port}: the address cannot be bound. Expected a free address of this machine. "
            "Choose another with --host and --port."
        ) from None
    if lifecycle.failure is not None:
        raise lifecycle.failure


class _Server(uvicorn.Server):
    """A server that reports its start and its shutdown to the lifecycle."""

    def __init__(
        self, config: uvicorn.Config, lifecycle: Lifecycle, progress: Callable[[str], object]
    ) -> None:
        super().__init__(config)
        self._lifecycle, self._progress = lifecycle, progress
        lifecycle.on_failure = self._stop

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]  # none are passed
        assert sockets is None
        await super().startup()
        if hasattr(signal, "SIGHUP"):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._lifecycle.load_soon)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        self._progress(f"http://{f'[{host}]' if ':' in host else host}:{port}")

    def handle_exit(self, sig: int, _frame: FrameType | None) -> None:
        # Like uvicorn's own, which also raises the signal again after the shutdown.
        self._lifecycle.draining = True
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    def _stop(self) -> None:
        self.should_exit = True


def _log_to_stderr() -> None:
    """Log one line of key=value pairs per event; the server's own warnings go there too."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


def from_folder(folder: Path, users: Path | None = None) -> Callable[[], AppState]:
    """Return a source that loads the current content of a model folder, and users that can be found.

    The users are a Parquet file from ``tastevec encode --horizon overall`` with this model. The source raises
    FormatError for an invalid folder, and DataError for user vectors of another space or horizon.
    """

    def source() -> AppState:
        model = load(folder)
        known = None if users is None else read_user_vectors(users, model.bundle.space, horizon="overall")
        return AppState(model, name=folder.resolve().name, users=known)

    return source
