"""Which bank a command works on: the one that settings name, else the embedded one.

``--folder`` names an embedded bank and wins. Otherwise, if the environment says where shards
and directory are, that counts; else the embedded bank in the default folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from router.settings import SECRETS_DIR_VARIABLE, Settings
from shard.errors import Misconfigured, Unavailable

_NAMING = ("LEDGER_SHARD_DSNS", "LEDGER_DIRECTORY_DSN", SECRETS_DIR_VARIABLE)
_OWNERS = ("LEDGER_SHARD_OWNER_DSNS", "LEDGER_DIRECTORY_OWNER_DSN")


class BankNotNamed(Misconfigured):
    """No bank is named."""

    code = "BANK_NOT_NAMED"


class BankNotRunning(Unavailable):
    """The bank's servers are not running."""

    code = "BANK_NOT_RUNNING"


def is_named_by_environment() -> bool:
    """Tell whether the environment names the servers of a bank."""
    return any(os.environ.get(name) for name in _NAMING)


def bank_settings(folder: Path | None = None) -> Settings:
    """The settings of the bank that a command works on.

    Raises ``BankNotNamed``, ``BankNotRunning``, ``SettingsInvalid``, or a ``FolderError``.
    """
    if folder is None and is_named_by_environment():
        return Settings.load()
    return embedded_settings(_running_endpoints(folder))


def embedded_settings(endpoints: Mapping[str, str]) -> Settings:
    """The settings of an embedded bank, by the environment that leads to its servers.

    This process's own environment becomes that of the bank's other processes.
    """
    os.environ.pop(SECRETS_DIR_VARIABLE, None)
    os.environ.update(endpoints)
    return Settings.load()


def process_environment(endpoints: Mapping[str, str]) -> dict[str, str]:
    """What a process that serves an embedded bank inherits, and nothing more.

    It has no use for the roles that own the books, so it is not told about them.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "HOME", "LANG", "PYTHONPATH", "NO_COLOR") or name.startswith("LEDGER_")
    }
    environment = {**inherited, **endpoints}
    for name in (*_OWNERS, SECRETS_DIR_VARIABLE):
        environment.pop(name, None)
    return environment


def _running_endpoints(folder: Path | None) -> Mapping[str, str]:
    from deploy.embedded.stack import EmbeddedStack, default_folder
    from deploy.errors import StackNotUp

    place = folder or default_folder()
    stack = EmbeddedStack(place)
    try:
        endpoints = stack.endpoints()
    except StackNotUp:
        raise BankNotNamed(
            f"There is no bank in {place}. Start one with: ledger up; or name its servers by "
            "LEDGER_SHARD_DSNS and LEDGER_DIRECTORY_DSN."
        ) from None
    servers = [stack.directory_server(), *map(stack.shard_server, endpoints.shard_dsns)]
    if not any(server.is_running() for server in servers):
        raise BankNotRunning(f"The bank in {place} is not running. Start it with: ledger up")
    return endpoints.environment()
