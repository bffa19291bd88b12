"""The HTTP application: assembled, run and reloaded."""

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
from tastevec.serving.service.errors import catch_problems
from tastevec.serving.service.inference import Lifecycle
from tastevec.serving.service.middleware import Guard, Watch
from tastevec.serving.service.responses import Served
from tastevec.serving.service.routes import item_router, service_router, user_router
from tastevec.serving.service.settings import ServiceSettings
from tastevec.serving.service.static import page_routes
from tastevec.serving.service.store_routes import Stored, stored_router

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import FrameType


__all__ = ["create_app", "from_folder", "run_service"]

_WEB = Path(__file__).parent.parent / "web"
_ABOUT = (
    "Ask a trained model about people who are told in the request and forgotten after it, unless the service is asked to "
    "keep them: their taste vectors, films for them, people like them, their taste in words. Every error is one shape: a "
    "code, a sentence, a place."
)


def create_app(
    source: Callable[[], Served], settings: ServiceSettings | None = None, *, web: Path = _WEB
) -> FastAPI:
    """The service as an ASGI application, which loads its model once it is started.

    Args:
        source: Loads what is to be served; called in a thread, again at each reload.
        settings: How it guards itself; the defaults if not given.
        web: The folder of the page; without one there is no page.
    """
    settings = settings or ServiceSettings()
    life = Lifecycle(source, settings)
    url = settings.database_url
    stored = None if url is None else Stored(url.get_secret_value())

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        life.open()
        yield
        await life.close()
        if stored is not None:
            await asyncio.to_thread(stored.close)

    # The pages of documentation that the framework brings would ask other machines for their scripts.
    app = FastAPI(
        title="tastevec",
        version=version("tastevec"),
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.life, app.state.has_token, app.state.stored = life, settings.token is not None, stored
    for router in (user_router, item_router, stored_router, service_router):
        app.include_router(router)
    app.router.routes.extend(page_routes(web))
    catch_problems(app)
    app.add_middleware(Guard, settings=settings)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
        )
    app.add_middleware(Watch, metrics=life.metrics)  # the outermost
    if app.state.has_token:
        _ask_for_token(app)
    return app


def _ask_for_token(app: FastAPI) -> None:
    """Let OpenAPI say which paths the token opens."""
    made = app.openapi

    def told() -> dict[str, Any]:
        schema = made()
        schemes = schema.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes["token"] = {"type": "http", "scheme": "bearer"}
        for path, methods in schema["paths"].items():
            for operation in methods.values():
                if path.startswith("/v1/") or path == "/metrics":
                    operation["security"] = [{"token": []}]
        return schema

    app.openapi = told  # type: ignore[method-assign]  # the framework's own way to change the schema


_LOG = structlog.get_logger("tastevec.service")


def run_service(
    source: Callable[[], Served],
    settings: ServiceSettings,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    progress: Callable[[str], object] = lambda _address: None,
) -> None:
    """Serve until SIGINT or SIGTERM; SIGHUP loads the model again.

    Args:
        source: Loads what is to be served.
        settings: How the service guards itself.
        host: The address to be bound to.
        port: 0 takes any that is free.
        progress: Called with the address once it is open; the model may still be loading.

    Raises:
        SettingsError: The address cannot be bound to.
        Exception: The first model could not be loaded.
    """
    _log_to_stderr()
    if settings.token is None and host not in {"127.0.0.1", "::1", "localhost"}:
        _LOG.warning(
            "no token", host=host, message="whoever reaches this address may ask; set TASTEVEC_TOKEN"
        )
    app = create_app(source, settings)
    life: Lifecycle = app.state.life
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        lifespan="on",
        log_config=None,
        access_log=False,  # ours has one line a request, and no address in it
        server_header=False,
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
        timeout_keep_alive=30,
    )
    server = _Server(config, life, progress)
    try:
        asyncio.run(server.serve())
    except SystemExit:
        raise SettingsError(
            f"the address {host}, port {port}, cannot be served; expected one of this machine's that is free: choose another "
            "with --host and --port"
        ) from None
    if life.failure is not None:
        raise life.failure


class _Server(uvicorn.Server):
    """A server that tells its application when it begins and when it is told to stop."""

    def __init__(self, config: uvicorn.Config, life: Lifecycle, progress: Callable[[str], object]) -> None:
        super().__init__(config)
        self._life, self._progress = life, progress
        life.on_failure = self._stop

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]  # none are passed
        assert sockets is None
        await super().startup()
        if hasattr(signal, "SIGHUP"):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._life.load_soon)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        self._progress(f"http://{f'[{host}]' if ':' in host else host}:{port}")

    def handle_exit(self, sig: int, _frame: FrameType | None) -> None:
        # As uvicorn's own, which would also raise the signal again once it has stopped.
        self._life.draining = True
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    def _stop(self) -> None:
        self.should_exit = True


def _log_to_stderr() -> None:
    """One line an event, of key=value on a terminal as in a file; the server's own troubles beside them."""
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


def from_folder(folder: Path, users: Path | None = None) -> Callable[[], Served]:
    """A source that loads the bundle of this folder as it is at that moment.

    Args:
        folder: The bundle.
        users: Who can be found: a Parquet file that ``tastevec encode --horizon overall`` wrote with this model.

    Raises:
        FormatError: By the source: the folder is missing, damaged, or of another format version.
        DataError: By the source: the people's vectors are of another space or horizon.
    """

    def source() -> Served:
        model = load(folder)
        known = None if users is None else read_user_vectors(users, model.bundle.space, horizon="overall")
        return Served(model, name=folder.resolve().name, users=known)

    return source
