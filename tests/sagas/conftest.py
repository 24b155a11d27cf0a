"""The sagas' own small bank, and its books after each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest

from deploy.embedded.temporal import TemporalServer
from sagas.convoys import Convoys
from sagas.starts import ensure_route
from sagas.terminus import Terminus
from sagas.worker import build_worker
from shard.shard import Shard
from tests.sagas.small_bank import SmallBank, connected_bank
from tests.support.databases import Databases


@pytest.fixture
async def small_bank(
    shards: Mapping[int, Shard], temporal: TemporalServer, servers: Databases
) -> AsyncIterator[SmallBank]:
    """Shards and Temporal, without worker; at the end nothing is half delivered."""
    bank = await connected_bank(shards, temporal, servers)
    yield bank
    bank.board_nothing()
    assert await bank.wrong_books() == []


@pytest.fixture
def terminus() -> Terminus:
    """What the convoys and the worker of one process share."""
    return Terminus()


@pytest.fixture
async def worker(small_bank: SmallBank, terminus: Terminus) -> AsyncIterator[None]:
    """A process with a worker. It stays until the routes of shard 1 have ended, so that the next
    test does not meet a route that is about to end."""
    bank = small_bank
    async with build_worker(bank.client, bank.shards, bank.owners, terminus=terminus):
        yield
        for destination in small_bank.shards:
            await (await ensure_route(small_bank.client, 1, destination)).result()


@pytest.fixture
async def convoys(
    small_bank: SmallBank, worker: None, terminus: Terminus
) -> AsyncIterator[Convoys]:
    """The convoys of a process that posts and hosts a worker."""
    convoys = Convoys(small_bank.shards, hosts_worker=True, terminus=terminus)
    small_bank.board(convoys)
    convoys.connect(small_bank.client)
    yield convoys
    await convoys.close()
