"""The application: its paths, and the layers around them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from tastevec.serving.service.errors import catch_problems
from tastevec.serving.service.film_routes import film_router
from tastevec.serving.service.guard import Guard
from tastevec.serving.service.lifecycle import Lifecycle
from tastevec.serving.service.pages import page_routes
from tastevec.serving.service.people_routes import people_router
from tastevec.serving.service.service_routes import service_router
from tastevec.serving.service.settings import ServiceSettings
from tastevec.serving.service.stored_routes import Stored, stored_router
from tastevec.serving.service.watching import Watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tastevec.serving.service.served import Served

__all__ = ["create_app"]

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
    for router in (people_router, film_router, stored_router, service_router):
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
