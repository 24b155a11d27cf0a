"""What was waited for is not booked in the past: what a reader was told of then stays true."""

from __future__ import annotations

import asyncio

from shard.limits import LOCK_TIMEOUT_S
from shard.posting import post_batch
from tests.shard.own_server import OwnShard
from tests.support.bank import open_account, transfer
from tests.support.interleaving import holder, posting_connection

_WAIT_S = 1.0


async def test_a_batch_that_waited_for_a_reference_is_booked_afterwards(own: OwnShard) -> None:
    """Neighbours of a request that is being booked elsewhere wait with it; all bear a time after
    that, so the balance of a moment in between does not change."""
    debtor, creditor = await open_account(own.shard, "100"), await open_account(own.shard)
    twin, innocent = transfer(debtor, creditor, "1"), transfer(debtor, creditor, "5")
    assert _WAIT_S < LOCK_TIMEOUT_S
    async with (
        posting_connection(own.database.dsn) as one,
        holder(own.database.owner_dsn) as held,
    ):
        await held.claim(twin)
        batch = held.start(post_batch(one, 0, None, [innocent, twin]))
        await held.until_blocks(batch)
        await asyncio.sleep(_WAIT_S)  # sleep: the time between is what is asked about
        ((between,),) = await held.execute("SELECT clock_timestamp() - interval '0.5 seconds'")
        before = await own.shard.balances.get(creditor, between)
        await held.rollback()
        await batch

    assert before == await own.shard.balances.get(creditor, between)
