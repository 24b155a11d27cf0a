"""What the sagas tell their observer of troubles and how they ended."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
import pytest

from sagas import unanswered as unanswered_module
from sagas.carriage import Carriage
from sagas.observer import Unobserved
from sagas.sweeper import Sweeper
from shard.commands import Answer, Command
from shard.errors import OutcomeUnknown
from shard.ids import new_id
from shard.lanes import Lanes
from shard.outcomes import Outcome
from shard.repair_choice import RepairChoice
from shard.repairs import Decided, Decision
from shard.shard import Shard
from shard.suspense import SuspenseItem
from tests.sagas.small_bank import SmallBank
from tests.support.bank import account_no
from tests.support.databases import Databases

LIMIT_S = 30.0
AT_ONCE_S = -60.0


class Listener(Unobserved):
    """An observer that notes what it is told."""

    def __init__(self) -> None:
        self.unanswered = 0
        self.found: list[tuple[int, int]] = []
        self.sweeps: list[tuple[int, int, bool]] = []
        self.repairs = 0

    def deliveries_unanswered(self, items: int) -> None:
        self.unanswered += items

    def deliveries_found(self, found: int, not_found: int) -> None:
        self.found.append((found, not_found))

    def swept(self, shard: int, stragglers: int, *, is_complete: bool) -> None:
        self.sweeps.append((shard, stragglers, is_complete))

    def repair_opened(self) -> None:
        self.repairs += 1


@pytest.fixture
def listener() -> Listener:
    return Listener()


async def parked_item(bank: SmallBank, creditor: int | None = None) -> SuspenseItem:
    """An amount on its way from shard 1 to shard 2."""
    return await bank.item_of(*await bank.park(creditor or await bank.open_account(2)))


async def set_status(servers: Databases, account: int, status: str) -> None:
    """No call closes an account of shard 1 with money in transit; only a fault could."""
    dsn = servers.shard_owner_dsns[1]
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute(
            "UPDATE ledger.account SET status = %s WHERE account_no = %s", (status, account)
        )


@pytest.mark.parametrize(("is_booked", "found"), [(True, (1, 0)), (False, (0, 1))])
async def test_what_became_of_an_unanswered_delivery_is_told(
    small_bank: SmallBank,
    listener: Listener,
    monkeypatch: pytest.MonkeyPatch,
    is_booked: bool,
    found: tuple[int, int],
) -> None:
    """The next attempt finds it booked, or finds nothing and books it."""
    item = await parked_item(small_bank)
    post_many = Lanes.post_many

    async def silent(lanes: Lanes, commands: Sequence[Command]) -> list[Answer]:
        if is_booked:
            await post_many(lanes, commands)
        raise OutcomeUnknown

    carriage = Carriage(small_bank.shards, small_bank.owners, observer=listener)
    with monkeypatch.context() as patch:
        patch.setattr(Lanes, "post_many", silent)
        assert 1 == (await carriage.carry(1, 2, [item], limit_s=LIMIT_S)).waiting
    assert (1, []) == (listener.unanswered, listener.found)
    assert 1 == (await carriage.carry(1, 2, [item], limit_s=LIMIT_S)).delivered
    assert [found] == listener.found


async def test_a_delivery_that_was_never_sent_is_not_unanswered(
    small_bank: SmallBank, listener: Listener
) -> None:
    """A shard that is down has booked nothing, and nobody needs to wonder."""
    item = await parked_item(small_bank)
    dead = Shard(2, "host=127.0.0.1 port=1 dbname=nowhere")
    await dead.open()
    carriage = Carriage({1: small_bank.shards[1], 2: dead}, small_bank.owners, observer=listener)
    await carriage.carry(1, 2, [item], limit_s=LIMIT_S)
    await dead.close()
    assert 0 == listener.unanswered
    carriage = Carriage(small_bank.shards, small_bank.owners, observer=listener)
    await carriage.carry(1, 2, [item], limit_s=LIMIT_S)
    assert [] == listener.found


def test_few_unanswered_deliveries_are_remembered(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the limit the oldest are forgotten: they cost no memory however long it lasts."""
    monkeypatch.setattr(unanswered_module, "UNANSWERED_KEPT", 1)
    unanswered = unanswered_module.Unanswered(listener)
    unanswered.stayed_away(["first:1", "second:1"])
    unanswered.answered({"first:1": False, "second:1": False})
    assert [(0, 1)] == listener.found


async def test_a_sweep_is_told_with_what_it_sent_off(
    small_bank: SmallBank, listener: Listener, worker: None
) -> None:
    """Stragglers that got a new convoy, and whether the sweep saw everything."""
    item = await parked_item(small_bank)
    await Sweeper(small_bank.client, small_bank.shards, AT_ONCE_S, listener).sweep(1)
    ((shard, stragglers, is_complete),) = listener.sweeps
    assert (1, True) == (shard, is_complete)
    assert stragglers >= 1
    await small_bank.ended(item.debtor, item.reference)


async def test_a_sweep_that_is_broken_off_is_told_as_such(
    small_bank: SmallBank, listener: Listener
) -> None:
    """A shard that does not answer is not swept."""
    dead = Shard(1, "host=127.0.0.1 port=1 dbname=nowhere")
    await dead.open()
    await Sweeper(small_bank.client, {1: dead}, AT_ONCE_S, listener).sweep(1)
    await dead.close()
    assert [(1, 0, False)] == listener.sweeps


async def test_an_item_that_needs_a_person_is_told_once(
    small_bank: SmallBank, listener: Listener, servers: Databases
) -> None:
    """However often it is carried: neither creditor nor debtor can have it."""
    item = await parked_item(small_bank, account_no(2))
    repairs = small_bank.shards[1].repairs
    carriage = Carriage(small_bank.shards, small_bank.owners, observer=listener)
    await carriage.carry(1, 2, [item], limit_s=LIMIT_S)
    await set_status(servers, item.debtor, "closed")
    back = (await repairs.get(item.item_id)).item
    for _ in range(2):
        await carriage.carry(1, 1, [back], limit_s=LIMIT_S)
    assert 1 == listener.repairs
    # So that no later test finds it.
    await set_status(servers, item.debtor, "open")
    returned = Decision(
        decision_id=new_id(),
        item_id=item.item_id,
        attempt=back.attempt,
        choice=RepairChoice.RETURN,
        reason="test",
        maker="ada",
        checker="bob",
        target=item.debtor,
        evidence=Outcome.ACCOUNT_CLOSED,
    )
    assert Decided.DECIDED is await repairs.decide(returned)
    last = (await repairs.get(item.item_id)).item
    assert 1 == (await carriage.carry(1, 1, [last], limit_s=LIMIT_S)).delivered
