"""Settings: the environment, else `.env.local` in the data folder, else `.env` in the working directory."""

import os
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from muster.errors import StartError

SCHEMES = {"mongodb_uri": ("mongodb://", "mongodb+srv://"), "redis_url": ("redis://", "rediss://", "unix://")}


class Settings(BaseSettings):
    """Everything that can be set, each as `MUSTER_<NAME>`. Secrets are never printed: they are `SecretStr`."""

    model_config = SettingsConfigDict(env_prefix="MUSTER_", env_ignore_empty=True, extra="ignore", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65_535)
    data_dir: Path = Path(".muster")
    mongodb_uri: SecretStr | None = None
    mongodb_database: str = "muster"
    redis_url: SecretStr | None = None
    attio_api_key: SecretStr | None = None
    attio_base_url: str = "https://api.attio.com/v2"
    modal_url: str | None = None
    modal_key: SecretStr | None = None
    modal_secret: SecretStr | None = None
    public_url: str | None = None
    webhooks_allow_private: bool = False
    auth_secret: SecretStr | None = None
    auth_jwks_url: str | None = None
    auth_issuer: str = "muster"
    auth_audience: str = "muster"
    watch_slices: int = Field(default=1, ge=1, le=64)
    demo: bool = True

    @field_validator("mongodb_uri", "redis_url")
    @classmethod
    def _names_its_scheme(cls, address: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        schemes = SCHEMES[str(info.field_name)]
        if address is not None and not address.get_secret_value().startswith(schemes):
            raise ValueError(f"begins with one of {', '.join(schemes)}")
        return address

    @field_validator("attio_base_url")
    @classmethod
    def _keeps_the_key_private(cls, address: str) -> str:
        """The key goes there: encrypted, or to a stand-in nearby."""
        parsed = urlsplit(address)
        host = parsed.hostname or ""
        if not host or parsed.scheme not in {"https", "http"} or (parsed.scheme == "http" and not _is_nearby(host)):
            raise ValueError("begins with https:// (http:// only for this machine)")
        return address.rstrip("/")

    @field_validator("modal_url", "public_url")
    @classmethod
    def _begins_as_an_address(cls, address: str | None) -> str | None:
        if address is not None and not address.startswith(("https://", "http://")):
            raise ValueError("begins with https:// or http://")
        return address

    @property
    def data_path(self) -> Path:
        """The data folder as an absolute path."""
        return self.data_dir.expanduser().absolute()


def load_settings() -> Settings:
    """Read the settings anew. Raises StartError that names a setting which does not hold.

    The data folder itself may be named only by the environment or `.env`: `.env.local` lies inside it.
    """
    try:
        data_dir = Settings(_env_file=".env").data_path
        return Settings(_env_file=(".env", data_dir / ".env.local"), data_dir=data_dir)
    except ValidationError as error:
        # The value itself may be a secret: name the setting and what is wrong only.
        wrong = [f"MUSTER_{str(each['loc'][0]).upper()}: {each['msg'].lower()}" for each in error.errors()]
        raise StartError(f"A setting does not hold: {'; '.join(wrong)}.") from None


def _is_nearby(host: str) -> bool:
    """Whether a host is this machine, or has a name without a dot, as containers of one network have."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return "." not in host


@cache
def bundled(kind: Literal["rules", "migrations"]) -> Path:
    """The folder of the registry and cohort files, or of the migrations.

    In a checkout they stand at the top level, where people edit them; a wheel carries a copy inside the package.
    """
    top = Path(__file__).resolve().parents[2]
    in_checkout = top / {"rules": "rules", "migrations": "alembic-free-migrations"}[kind]
    if (top / "pyproject.toml").is_file() and in_checkout.is_dir():
        return in_checkout
    return Path(__file__).resolve().parent / "bundled" / kind


def process_environment(settings: Settings) -> dict[str, str]:
    """The environment for a child process that shall see exactly these settings."""
    names = {
        f"MUSTER_{name.upper()}": value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in settings
        if value is not None
    }
    return {**os.environ, **names, "MUSTER_DEMO": "1" if settings.demo else "0"}
