"""Settings of one process: environment variables ``LEDGER_*``, or files of the same names.

A DSN is best given without a password (libpq reads a passfile or a service file by itself);
one that holds a password never shows it in ``repr``, logs or errors. ``LEDGER_SECRETS_DIR``
names a folder whose files ``ledger_shard_dsns`` and so on hold what must not be in the
environment.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Literal, Self

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from router.errors import SettingsInvalid
from router.limits import SUSPENSE_ITEMS_MAX
from shard.limits import LANES_PER_SHARD, SYSTEM_ACCOUNT_BUCKETS

SECRETS_DIR_VARIABLE = "LEDGER_SECRETS_DIR"


def _checked_dsn(dsn: SecretStr) -> SecretStr:
    try:
        conninfo_to_dict(dsn.get_secret_value())
    except ProgrammingError:
        message = "is not a PostgreSQL connection string"
        raise ValueError(message) from None
    return dsn


Dsn = Annotated[SecretStr, AfterValidator(_checked_dsn)]
ShardNo = Annotated[int, Field(ge=1, le=9)]
"""Account numbers have ten digits and the first one names the shard that a range began on."""


class Settings(BaseSettings):
    """What one process must know; read by ``Settings.load``, which words its errors for people.

    ``*_owner_*`` DSNs are needed by ``ledger migrate`` only: a serving process has no use
    for a role that could change the books' history. ``control_points`` names the places
    where tests stop or kill a process; it is empty in production.
    """

    model_config = SettingsConfigDict(
        env_prefix="LEDGER_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    shard_dsns: dict[ShardNo, Dsn] = Field(min_length=1)
    shard_owner_dsns: dict[ShardNo, Dsn] = {}
    directory_dsn: Dsn
    directory_owner_dsn: Dsn | None = None

    temporal_address: str = "127.0.0.1:7233"
    temporal_namespace: str = "default"
    temporal_ui_url: str | None = None

    http_host: str = "127.0.0.1"
    http_port: int = Field(default=8080, ge=0, le=65_535)
    http_allow_remote: bool = False

    lanes_per_shard: int = Field(default=LANES_PER_SHARD, ge=1, le=SYSTEM_ACCOUNT_BUCKETS)
    process_no: int = Field(default=0, ge=0, le=999)
    suspense_items_max: int = Field(default=SUSPENSE_ITEMS_MAX, ge=0)
    run_worker: bool = True
    worker_metrics_port: int | None = Field(default=None, ge=0, le=65_535)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    bank_code: str = Field(default="99000001", pattern=r"^[A-Z0-9]{1,12}$")
    iban_country: str = Field(default="DE", pattern=r"^[A-Z]{2}$")

    control_points: str = ""

    @model_validator(mode="after")
    def _stay_on_loopback(self) -> Self:
        if not self.http_allow_remote and not _is_loopback(self.http_host):
            message = (
                "http_host is not a loopback address, and the API has no access control yet; "
                "set LEDGER_HTTP_ALLOW_REMOTE=true if something else guards it"
            )
            raise ValueError(message)
        return self

    @classmethod
    def load(cls) -> Settings:
        """Read the environment and the secrets folder; raises ``SettingsInvalid``."""
        folder = os.environ.get(SECRETS_DIR_VARIABLE)
        if folder is not None and not Path(folder).is_dir():
            raise SettingsInvalid(f"{SECRETS_DIR_VARIABLE} names no folder: {folder}")
        try:
            return cls(_secrets_dir=folder)
        except ValidationError as error:
            raise SettingsInvalid(_in_words(error)) from None
        except SettingsError as error:
            # Its cause holds the text that could not be read, which may be a secret.
            raise SettingsInvalid(f"A setting is not valid JSON: {error}.") from None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _in_words(error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_input=False, include_url=False, include_context=False):
        place = [str(part) for part in problem["loc"]]
        name = f"LEDGER_{place[0].upper()}" if place else "settings"
        key = f"[{place[1]}]" if len(place) > 1 else ""
        lines.append(f"{name}{key}: {problem['msg']}")
    return "; ".join(lines)
