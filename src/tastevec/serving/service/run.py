"""The service as a process: bound to an address, reloaded by SIGHUP, stopped once its requests are answered."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from typing import TYPE_CHECKING

import structlog
import uvicorn

from tastevec.errors import SettingsError
from tastevec.serving.service.app import create_app

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from tastevec.serving.service.lifecycle import Lifecycle
    from tastevec.serving.service.served import Served
    from tastevec.serving.service.settings import ServiceSettings

__all__ = ["run_service"]

_LOG = structlog.get_logger("tastevec.service")


def run_service(
    source: Callable[[], Served],
    settings: ServiceSettings,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    tell: Callable[[str], object] = lambda _address: None,
) -> None:
    """Serve until SIGINT or SIGTERM; SIGHUP loads the model again.

    Args:
        source: Loads what is to be served.
        settings: How the service guards itself.
        host: The address to be bound to.
        port: 0 takes any that is free.
        tell: Called with the address once it is open; the model may still be loading.

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
    server = _Server(config, life, tell)
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

    def __init__(self, config: uvicorn.Config, life: Lifecycle, tell: Callable[[str], object]) -> None:
        super().__init__(config)
        self._life, self._tell = life, tell
        life.on_failure = self._stop

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]  # none are passed
        assert sockets is None
        await super().startup()
        if hasattr(signal, "SIGHUP"):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._life.load_soon)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        self._tell(f"http://{f'[{host}]' if ':' in host else host}:{port}")

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
