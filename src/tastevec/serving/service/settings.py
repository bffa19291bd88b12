"""Settings of the service, read from environment variables with the prefix TASTEVEC_."""

import os
import re
from difflib import get_close_matches
from ipaddress import ip_network
from typing import Annotated, Self

import limits
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from tastevec.errors import SettingsError
from tastevec.schema import CONTROL_CHARACTERS

_Names = Annotated[tuple[str, ...], NoDecode]  # separated by spaces or commas


class ServiceSettings(BaseSettings):
    """Authentication, limits and database; the environment variable ``TASTEVEC_TOKEN`` sets ``token``, and so on."""

    model_config = SettingsConfigDict(env_prefix="TASTEVEC_", frozen=True)

    token: SecretStr | None = Field(
        default=None, description="Bearer token for /v1 and /metrics. Default: no authentication."
    )
    read_token: SecretStr | None = Field(
        default=None,
        description="Second bearer token, which cannot store or delete users, or reload. Needs TASTEVEC_TOKEN.",
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="PostgreSQL with pgvector that stores user vectors, as postgresql://user:password@host/name. "
        "Default: nothing is stored.",
    )
    rate: str | None = Field(
        default=None, description="Requests per address to /v1, such as 600/minute. Default: no limit."
    )
    proxies: _Names = Field(
        default=(),
        description="Addresses or networks of proxies, such as 10.0.0.0/8, whose X-Forwarded-For names the client. Default: none.",
    )
    hosts: _Names = Field(
        default=(),
        description="Names that the Host header may have; * is any. Default: on a loopback address localhost, otherwise any.",
    )
    cors_origins: _Names = Field(
        default=(),
        description="Allowed CORS origins, such as https://shop.example, separated by spaces.",
    )
    workers: int = Field(
        default_factory=lambda: min(8, max(2, os.cpu_count() or 1)),
        ge=1,
        le=256,
        description="Worker processes, each with a copy of the model. Default: one per core, 2 to 8.",
    )
    connections: int = Field(default=512, ge=1, description="Maximum number of connections.")
    waiting: int = Field(default=512, ge=1, description="Maximum number of requests that wait for a worker.")
    timeout_s: float = Field(default=10.0, gt=0, description="Request timeout in seconds.")
    head_timeout_s: float = Field(
        default=10.0, gt=0, description="Timeout for receiving the head of a request, in seconds."
    )
    body_timeout_s: float = Field(
        default=10.0, gt=0, description="Timeout for receiving the body, in seconds."
    )
    write_timeout_s: float = Field(
        default=30.0, gt=0, description="Timeout for a client to take its response, in seconds."
    )
    body_bytes: int = Field(default=2_000_000, ge=1_000, description="Maximum body size in bytes.")
    in_flight_bytes: int = Field(
        default=1 << 25,
        ge=1_000,
        description="Maximum size of all bodies in memory, and of responses that clients have not taken, in bytes.",
    )
    stop_delay_s: float = Field(
        default=1.0,
        ge=0,
        description="Seconds of serving at a stop, with /readyz 503, for load balancers to notice.",
    )
    drain_s: float = Field(
        default=15.0, gt=0, description="Seconds for requests in progress to finish at shutdown."
    )

    @field_validator("token", "read_token", "database_url")
    @classmethod
    def _is_one_word(cls, token: SecretStr | None) -> SecretStr | None:
        text = "" if token is None else token.get_secret_value()
        if token is not None and not re.fullmatch(rf"(?:(?!{CONTROL_CHARACTERS})\S)+", text):
            raise ValueError("empty, or with a space or line break: unset it, or give a value")
        return token

    @field_validator("proxies", "hosts", mode="before")
    @classmethod
    def _are_names(cls, names: object) -> object:
        return names.replace(",", " ").split() if isinstance(names, str) else names

    @field_validator("proxies")
    @classmethod
    def _are_addresses(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            ip_network(proxy)
        return proxies

    @model_validator(mode="after")
    def _has_both_tokens(self) -> Self:
        if self.read_token and not self.token:
            raise ValueError("TASTEVEC_READ_TOKEN: without TASTEVEC_TOKEN. Expected both")
        return self

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _are_origins(cls, origins: object) -> object:
        found = origins.replace(",", " ").split() if isinstance(origins, str) else origins
        if isinstance(found, list) and not all(
            origin.startswith(("http://", "https://")) for origin in found
        ):
            raise ValueError("an origin begins with http:// or https://")
        return found

    @field_validator("rate")
    @classmethod
    def _is_a_rate(cls, rate: str | None) -> str | None:
        if rate is not None:
            limits.parse(rate)
        return rate


def read_settings() -> ServiceSettings:
    """Return the settings from the environment.

    Raises:
        SettingsError: A variable is invalid.
    """
    known = [f"TASTEVEC_{name.upper()}" for name in ServiceSettings.model_fields]
    for name in os.environ:
        if (
            name.startswith("TASTEVEC_")
            and name not in known
            and (near := get_close_matches(name, known, 1, 0.9))
        ):
            raise SettingsError(
                f"environment variable {name}: unknown. Expected {near[0]}. Rename or unset it."
            )
    try:
        return ServiceSettings()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "read_token"
        expected = ServiceSettings.model_fields[name].description
        raise SettingsError(
            f"environment variable TASTEVEC_{name.upper()}: {first['msg'].removeprefix('Value error, ')}. Expected: {expected}"
        ) from None
