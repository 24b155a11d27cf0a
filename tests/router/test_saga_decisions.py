"""Decisions on items, from the command line to the money."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from router.errors import DecisionRefused, TemporalUnavailable
from router.repairs import Repairs
from router.saga_reads import Saga, SagaReads, TransferName
from router.wiring import Bank
from shard.commands import MoneyState
from shard.errors import NotFound
from shard.ids import new_id
from shard.repair_choice import RepairChoice
from shard.suspense import Carrier
from tests.router.conftest import CommandLine
from tests.router.sagas import AMOUNT, Sent, refused_by_all, set_status, waiting_for
from tests.support.bank import account_no, open_account
from tests.support.databases import Databases

WHO = ("--reason", "as agreed", "--maker", "ada", "--checker", "bob")
WORDS = {"reason": "as agreed", "maker": "ada", "checker": "bob"}


@pytest.fixture
async def stuck(bank: Bank, servers: Databases) -> AsyncIterator[Sent]:
    """An amount that nobody can have, beside a worker."""
    async with refused_by_all(bank, servers) as sent:
        yield sent


class OfBefore(SagaReads):
    """Reads items as they were in their first attempt."""

    async def find(self, name: UUID | TransferName) -> list[Saga]:
        """As before."""
        return [
            replace(saga, record=replace(saga.record, item=replace(saga.record.item, attempt=1)))
            for saga in await super().find(name)
        ]


def soon() -> str:
    """A time that lies ahead, as somebody types it."""
    return (datetime.now(UTC) + timedelta(hours=1)).isoformat(timespec="seconds")


async def item_of(sent: Sent) -> UUID:
    return (await sent.saga()).record.item.item_id


async def test_a_decision_is_carried_out_from_the_command_line(
    bank: Bank, stuck: Sent, cli: CommandLine
) -> None:
    """The answer says what was begun; the item goes to its end, and the record names who."""
    other = await open_account(bank.shards[3], "0")
    item = await item_of(stuck)
    ended = await cli("sagas", "redirect", str(item), str(other), *WHO)
    assert (0, "redirect", str(item)) == (
        ended.code, ended.document["carried_out"], ended.document["item"]
    )  # fmt: skip
    await stuck.until(MoneyState.DELIVERED)
    assert Decimal(AMOUNT) == (await bank.shards[3].balances.get(other)).ledger
    (decision,) = (await stuck.saga()).decisions
    assert (RepairChoice.REDIRECT, "as agreed", "ada", "bob") == (
        decision.choice, decision.reason, decision.maker, decision.checker
    )  # fmt: skip


async def test_a_refused_decision_ends_with_its_reason(stuck: Sent, cli: CommandLine) -> None:
    """Exit code 1 where the ledger refuses, 2 where it cannot be read; nothing is on record."""
    item = str(await item_of(stuck))
    refused = await cli("sagas", "return", item, *WHO)
    same = await cli("sagas", "retry", item, "--reason", "x", "--maker", "ada", "--checker", "ADA")
    past = await cli("sagas", "wait", item, "2020-01-01T00:00:00Z", *WHO)
    system = await cli("sagas", "redirect", item, "1100000", *WHO)
    no_item = await cli("sagas", "retry", "PAY-17", *WHO)
    unknown = await cli("sagas", "retry", str(new_id()), *WHO)
    assert [1, 2, 2, 2, 2, 1] == [
        each.code for each in (refused, same, past, system, no_item, unknown)
    ]
    assert "DECISION_REFUSED" == refused.document["error"]["code"]
    assert "two persons" in same.document["error"]["message"]
    assert () == (await stuck.saga()).decisions


async def test_a_decision_on_an_attempt_of_before_is_refused(
    bank: Bank, stuck: Sent, cli: CommandLine
) -> None:
    """Whether it is named, or the item was looked up before it went into the present one."""
    item = await item_of(stuck)
    named = await cli("sagas", "retry", str(item), "--attempt", "1", *WHO)
    none = await cli("sagas", "retry", str(item), "--attempt", "0", *WHO)
    looked_up = Repairs(OfBefore(bank.routes, bank.saga_reads.temporal), bank.connected_temporal)
    with pytest.raises(DecisionRefused, match="You have seen attempt 1"):
        await looked_up.decide(item, {"choice": "retry", **WORDS})
    assert (1, 2) == (named.code, none.code)
    assert "by now it is in attempt 2" in named.document["error"]["message"]
    assert () == (await stuck.saga()).decisions
    present = await cli("sagas", "wait", str(item), soon(), "--attempt", "2", *WHO)
    assert (0, 2) == (present.code, present.document["attempt"])


async def test_an_item_that_has_arrived_is_not_decided_on(
    bank: Bank, stuck: Sent, servers: Databases
) -> None:
    """Nor one that nobody knows."""
    item = await item_of(stuck)
    await set_status(servers, stuck.debtor, "open")
    await bank.repairs.decide(item, {"choice": "retry", **WORDS})
    await stuck.until(MoneyState.RETURNED)
    with pytest.raises(DecisionRefused, match="returned already"):
        await bank.repairs.decide(item, {"choice": "retry", **WORDS})
    with pytest.raises(NotFound):
        await bank.repairs.decide(new_id(), {"choice": "retry", **WORDS})


async def test_a_refused_decision_leaves_an_item_with_its_carrier(
    bank: Bank, servers: Databases
) -> None:
    """It is taken in hand by the decision that is carried out, and by no other."""
    async with waiting_for(bank, servers) as (sent, made):
        await made.set(2, "FENCED", epoch=2)
        item = await item_of(sent)
        words = {"choice": "redirect", "account": str(account_no(3)), **WORDS}
        with pytest.raises(DecisionRefused, match="does not exist"):
            await bank.repairs.decide(item, words)
        saga = await sent.saga()
        assert (Carrier.ROUTE, ()) == (saga.record.item.carrier, saga.decisions)
        await bank.repairs.decide(item, {"choice": "retry", **WORDS})
        assert Carrier.REPAIR is (await sent.saga()).record.item.carrier


async def test_without_temporal_nothing_is_decided(local_bank: Bank, stuck: Sent) -> None:
    """Whoever decides is told that nobody was told."""
    with pytest.raises(TemporalUnavailable):
        await local_bank.repairs.decide(await item_of(stuck), {"choice": "retry", **WORDS})
    assert () == (await stuck.saga()).decisions
