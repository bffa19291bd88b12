"""What can be set about the service; everything is read from the environment, with TASTEVEC_ before its name."""

from typing import Annotated

import limits
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from tastevec.errors import SettingsError

__all__ = ["ServiceSettings", "read_settings"]


class ServiceSettings(BaseSettings):
    """How the service guards itself; ``TASTEVEC_TOKEN`` in the environment is ``token`` here, and so on."""

    model_config = SettingsConfigDict(env_prefix="TASTEVEC_", env_ignore_empty=True, frozen=True)

    token: SecretStr | None = Field(
        default=None, description="The bearer token that /v1 and /metrics ask for; without it they are open."
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="A PostgreSQL with pgvector, as postgresql://user:password@host/name, in which people are kept; without it "
        "nothing is kept of anybody.",
    )
    rate: str | None = Field(
        default=None,
        description="Requests of one address to /v1, such as 600/minute; without it there is no limit.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Origins whose pages may ask, such as https://films.example, with spaces between.",
    )
    timeout_s: float = Field(default=10.0, gt=0, description="Seconds a request may take once it has come.")
    body_timeout_s: float = Field(default=10.0, gt=0, description="Seconds in which a body must have come.")
    body_bytes: int = Field(default=1_000_000, ge=1_000, description="Bytes of a body at most.")
    waiting: int = Field(default=512, ge=1, description="Questions that may wait for the model at once.")
    drain_s: float = Field(
        default=15.0, gt=0, description="Seconds that a stop waits for requests under way."
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
    """The settings of this process's environment.

    Raises:
        SettingsError: A variable is not what was expected.
    """
    try:
        return ServiceSettings()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0])
        expected = ServiceSettings.model_fields[name].description
        raise SettingsError(
            f"TASTEVEC_{name.upper()} in the environment cannot be used ({first['msg']}); expected: {expected}"
        ) from None
