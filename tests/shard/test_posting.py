"""What one posting does, seen through the shard's own door."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

import pytest

from shard.accounts import AccountStatus
from shard.commands import Leg, MoneyState, Origin
from shard.ids import new_id
from shard.outcomes import Outcome
from shard.shard import Shard
from tests.support.bank import Figures, account_no, again, figures, open_account, transfer

Shards = Mapping[int, Shard]


async def test_a_transfer_moves_money_once(shards: Shards) -> None:
    """A booked transfer changes both accounts by its amount, with one entry each."""
    debtor, creditor = await open_account(shards[1], "100"), await open_account(shards[1])

    answer = await shards[1].lanes.post(transfer(debtor, creditor, "30.25"))

    assert (answer.outcome, answer.money_state) == (Outcome.POSTED, MoneyState.POSTED)
    assert await figures(shards[1], debtor) == Figures(Decimal("69.75"), 2)
    assert await figures(shards[1], creditor) == Figures(Decimal("30.25"), 1)


async def test_the_same_reference_has_one_effect(shards: Shards) -> None:
    """A repeated request gets the first answer and books nothing."""
    debtor, creditor = await open_account(shards[1], "100"), await open_account(shards[1])
    command = transfer(debtor, creditor, "10", "PAY-1")
    first = await shards[1].lanes.post(command)

    second = await shards[1].lanes.post(again(command))

    assert second == replace(first, is_replay=True)
    assert await figures(shards[1], creditor) == Figures(Decimal(10), 1)
