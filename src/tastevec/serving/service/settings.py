"""Settings of the service, read from environment variables with the prefix TASTEVEC_."""

from typing import Annotated

import limits
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from tastevec.errors import SettingsError


class ServiceSettings(BaseSettings):
    """Authentication, limits and database; the environment variable ``TASTEVEC_TOKEN`` sets ``token``, and so on."""

    model_config = SettingsConfigDict(env_prefix="TASTEVEC_", env_ignore_empty=True, frozen=True)

    token: SecretStr | None = Field(
        default=None, description="Bearer token for /v1 and /metrics. Default: no authentication."
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="PostgreSQL with pgvector that stores user vectors, as postgresql://user:password@host/name. "
        "Default: nothing is stored.",
    )
    rate: str | None = Field(
        default=None, description="Requests per address to /v1, such as 600/minute. Default: no limit."
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Allowed CORS origins, such as https://shop.example, separated by spaces.",
    )
    timeout_s: float = Field(default=10.0, gt=0, description="Request timeout in seconds.")
    body_timeout_s: float = Field(
        default=10.0, gt=0, description="Timeout for receiving the body, in seconds."
    )
    body_bytes: int = Field(default=1_000_000, ge=1_000, description="Maximum body size in bytes.")
    waiting: int = Field(default=512, ge=1, description="Maximum number of requests that wait for inference.")
    drain_s: float = Field(
        default=15.0, gt=0, description="Seconds for requests in progress to finish at shutdown."
    )

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
    try:
        return ServiceSettings()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0])
        expected = ServiceSettings.model_fields[name].description
        raise SettingsError(
            f"environment variable TASTEVEC_{name.upper()}: {first['msg']}. Expected: {expected}"
        ) from None
