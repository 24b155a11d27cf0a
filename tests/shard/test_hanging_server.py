"""A server that hangs, not even refusing, must not make those who ask hang with it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

import psutil
import pytest

from deploy.embedded.postgres import PostgresServer
from shard import connections as connections_module
from shard.accounts import AccountStatus
from shard.errors import OutcomeUnknown, ShardUnavailable
from tests.shard.own_server import OwnShard
from tests.support.bank import Figures, again, figures, open_account, transfer

_BUDGET_S = 0.2


@contextmanager
def hanging(server: PostgresServer) -> Iterator[None]:
    """Stop the server and all its sessions in the middle of whatever they do."""
    postmaster = psutil.Process(int((server.data / "postmaster.pid").read_text().split()[0]))
    processes = [postmaster, *postmaster.children()]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


async def test_a_posting_that_gets_no_answer_is_unknown(
    own: OwnShard, own_server: PostgresServer
) -> None:
    """At its deadline the caller is told so; repeated later, it has one effect."""
    debtor, creditor = await open_account(own.shard, "10"), await open_account(own.shard)
    command = transfer(debtor, creditor, "4")
    with hanging(own_server), pytest.raises(OutcomeUnknown):
        await own.shard.lanes.post(command, asyncio.get_running_loop().time() + _BUDGET_S)

    await own.shard.lanes.post(again(command))

    assert Figures(Decimal(4), 1) == await figures(own.shard, creditor)


async def test_reads_and_changes_that_get_no_answer(
    own: OwnShard, own_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read finds the shard unavailable; of a change it is unknown whether it happened."""
    account = await open_account(own.shard)
    monkeypatch.setattr(connections_module, "ANSWER_LIMIT_S", _BUDGET_S)
    with hanging(own_server):
        with pytest.raises(ShardUnavailable):
            await own.shard.balances.get(account)
        with pytest.raises(OutcomeUnknown):
            await own.shard.accounts.change_status(
                account, AccountStatus.FROZEN, actor="test", reason="the server hangs"
            )
