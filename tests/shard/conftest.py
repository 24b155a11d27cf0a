"""What the tests of one shard share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.shard.own_server import database, own, own_database, own_server, shard
from tests.support.databases import Databases
from tests.support.movements import Teller, teller_at

__all__ = ["database", "own", "own_database", "own_server", "shard", "teller"]


@pytest.fixture
async def teller(servers: Databases) -> AsyncIterator[Teller]:
    """A connection to shard 1 that posts through any lane at any time."""
    async with teller_at(servers.shard_dsns[1]) as opened:
        yield opened
