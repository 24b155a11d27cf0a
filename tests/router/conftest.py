"""What the tests of the router's use cases share."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.embedded.temporal import TemporalServer
from router.wiring import Bank
from tests.support.bank import findings, settings_of
from tests.support.command_line import Ended, ledger
from tests.support.databases import Databases

_NO_TEMPORAL = "127.0.0.1:1"


@pytest.fixture
async def local_bank(servers: Databases) -> AsyncIterator[Bank]:
    """A bank without Temporal, for what stays on one shard; at the end all books are right."""
    async with Bank(settings_of(servers, temporal_address=_NO_TEMPORAL)) as opened:
        yield opened
        assert await findings(opened.shards) == []


@dataclass(frozen=True, slots=True)
class CommandLine:
    """``ledger`` on the servers of this run, which its settings name."""

    environment: dict[str, str]

    async def __call__(self, *arguments: str | Path) -> Ended:
        """Run a command, with its answer as JSON."""
        return await ledger(*arguments, "--json", **self.environment)

    async def in_words(self, *arguments: str | Path) -> Ended:
        """Run a command, with its answer for people."""
        return await ledger(*arguments, **self.environment)


@pytest.fixture(scope="session")
def cli(servers: Databases, temporal: TemporalServer) -> CommandLine:
    """The command line on the servers of this run; a ``bank`` beside it carries its money."""
    return CommandLine(
        {
            "LEDGER_SHARD_DSNS": json.dumps({str(n): d for n, d in servers.shard_dsns.items()}),
            "LEDGER_DIRECTORY_DSN": servers.directory_dsn,
            "LEDGER_TEMPORAL_ADDRESS": temporal.address,
        }
    )
