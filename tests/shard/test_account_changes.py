"""Changes of an account: what it may become, what stands against it, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

import pytest

from shard.accounts import (
    Account,
    AccountChange,
    AccountKind,
    AccountStatus,
    NewAccount,
)
from shard.commands import Command
from shard.errors import Malformed, NotFound, NotOwner, RangeMoving, Refused
from shard.outcomes import Outcome
from shard.ownership import RangeState
from shard.shard import Shard
from tests.shard.own_server import SECOND_RANGE, OwnShard, as_owner, open_in_second_range
from tests.support.bank import account_no, open_account, transfer
from tests.support.databases import Databases
from tests.support.interleaving import holder
from tests.support.movements import Teller, forced, place

Shards = Mapping[int, Shard]
POSTED, SHORT = Outcome.POSTED, Outcome.INSUFFICIENT_FUNDS
FROZEN = AccountStatus.FROZEN


async def _change(shard: Shard, account: int, **fields: object) -> Account:
    change = AccountChange(**fields)  # type: ignore[arg-type]  # the tests name the fields
    return await shard.accounts.change(account, change, actor="Ann", reason="why")


async def _refusal(shard: Shard, account: int, **fields: object) -> Outcome:
    with pytest.raises(Refused) as refused:
        await _change(shard, account, **fields)
    return Outcome(refused.value.outcome)


@dataclass(frozen=True, slots=True)
class Floor:
    """An account's funds, what it holds back, its floor, and a change of that."""

    funds: str
    held: str
    before: AccountChange
    change: AccountChange
    expected: Outcome


def _limits(overdraft: str | None = None, minimum: str | None = None) -> AccountChange:
    return AccountChange(
        overdraft_limit=Decimal(overdraft) if overdraft is not None else None,
        minimum_balance=Decimal(minimum) if minimum is not None else None,
    )


FLOORS = {
    "a limit": Floor("0", "0", _limits(), _limits("50"), POSTED),
    "less of it": Floor("0", "0", _limits("50"), _limits("10"), POSTED),
    "what is used stays": Floor("0", "10", _limits("50"), _limits("10"), POSTED),
    "a cent of it is used": Floor("0", "10.01", _limits("50"), _limits("10"), SHORT),
    "more is always possible": Floor("0", "10", _limits("10"), _limits("11"), POSTED),
    "a minimum": Floor("30", "0", _limits(), _limits(minimum="30"), POSTED),
    "more than there is": Floor("30", "0", _limits(), _limits(minimum="30.01"), SHORT),
    "more than is not held": Floor("30", "5", _limits(), _limits(minimum="25.01"), SHORT),
    "less of a minimum": Floor("30", "0", _limits(minimum="30"), _limits(minimum="1"), POSTED),
    "from limit to minimum": Floor("30", "0", _limits("5"), _limits("0", "30"), POSTED),
    "from minimum to limit": Floor("30", "0", _limits(minimum="30"), _limits("5", "0"), POSTED),
}


@pytest.mark.parametrize("case", FLOORS.values(), ids=FLOORS.keys())
async def test_a_floor_is_not_put_above_what_is_available(
    case: Floor, shards: Shards, teller: Teller
) -> None:
    """A floor may be moved up to the available balance, to the cent."""
    account = await open_account(shards[1], case.funds)
    await shards[1].accounts.change(account, case.before, actor="Ann", reason="why")
    if Decimal(case.held):
        assert [POSTED] == await teller.told(place(account, case.held, "AUTH-1"))
    before = await shards[1].accounts.get(account)

    try:
        await shards[1].accounts.change(account, case.change, actor="Ann", reason="why")
        told = POSTED
    except Refused as refused:
        told = Outcome(refused.outcome)

    after = await shards[1].accounts.get(account)
    assert case.expected is told
    assert (before == after) is (told is not POSTED)


@pytest.mark.parametrize("is_one_batch", [False, True], ids=["one by one", "one batch"])
async def test_a_new_floor_binds_the_next_debit(
    is_one_batch: bool, shards: Shards, teller: Teller
) -> None:
    """What a change allows or forbids is so from its answer on."""
    account, shop = await open_account(shards[1], "30"), await open_account(shards[1])

    async def told(*commands: Command) -> list[Outcome]:
        if is_one_batch:
            return await teller.told(*commands)
        return [outcome for each in commands for outcome in await teller.told(each)]

    await _change(shards[1], account, minimum_balance=Decimal(20))
    above = await told(
        transfer(account, shop, "10.01"), transfer(account, shop, "10"), place(account, "1", "A")
    )
    await _change(shards[1], account, minimum_balance=Decimal(0), overdraft_limit=Decimal(5))
    below = await told(transfer(account, shop, "25.01"), transfer(account, shop, "25"))

    assert [SHORT, POSTED, SHORT] == above
    assert [SHORT, POSTED] == below


async def test_available_is_above_the_minimum(shards: Shards) -> None:
    """What must remain is not available."""
    account = await open_account(shards[1], "30")
    await _change(shards[1], account, minimum_balance=Decimal(20))

    assert Decimal(10) == (await shards[1].balances.get(account)).available


async def test_a_floor_below_a_forced_balance_may_come_closer(
    shards: Shards, teller: Teller
) -> None:
    """An account below its floor may be given a lower one, not a higher one."""
    account, shop = await open_account(shards[1], "10"), await open_account(shards[1])
    await teller.post(forced(account, shop, "40"))

    await _change(shards[1], account, overdraft_limit=Decimal(20))

    assert SHORT is await _refusal(shards[1], account, overdraft_limit=Decimal(19))


async def test_lowering_a_limit_counts_all_buckets(shards: Shards, teller: Teller) -> None:
    """Money in other buckets covers what bucket 0 has overdrawn: the limit may go."""
    account = await open_account(shards[1], buckets=4, limit="7")
    equity, shop = await open_account(shards[1], limit=None), await open_account(shards[1])
    await teller.post(transfer(equity, account, "10"), lane=1)
    await teller.post(transfer(account, shop, "17"), lane=1)
    await teller.post(transfer(equity, account, "20"), lane=2)

    changed = await _change(shards[1], account, overdraft_limit=Decimal(0))

    assert Decimal(0) == changed.overdraft_limit
    told = await teller.told(
        transfer(account, shop, "13.01"), transfer(account, shop, "13"), lane=2
    )
    assert [SHORT, POSTED] == told


_ODD = {
    "negative limit": {"overdraft_limit": Decimal(-1)},
    "negative minimum": {"minimum_balance": Decimal(-1)},
    "limit in tenths of a cent": {"overdraft_limit": Decimal("0.001")},
    "minimum in tenths of a cent": {"minimum_balance": Decimal("0.001")},
    "both": {"overdraft_limit": Decimal(1), "minimum_balance": Decimal(1)},
    "no number": {"overdraft_limit": Decimal("NaN")},
    "no number to remain": {"minimum_balance": Decimal("NaN")},
    "more than its column takes": {"overdraft_limit": Decimal(10) ** 14},
}


@pytest.mark.parametrize("fields", _ODD.values(), ids=_ODD.keys())
async def test_limits_an_account_cannot_have(fields: Mapping[str, object], shards: Shards) -> None:
    """A malformed change is refused, also beside one that is in order, and changes nothing."""
    account = await open_account(shards[1], "100")
    before = await shards[1].accounts.get(account)

    with pytest.raises(Malformed):
        await _change(shards[1], account, status=FROZEN, **fields)

    assert before == await shards[1].accounts.get(account)


async def test_a_minimum_beside_what_is_there_already(shards: Shards) -> None:
    """No minimum beside an overdraft, on several buckets, or without a floor; nor a limit there."""
    overdraft = await open_account(shards[1], "50", limit="10")
    buckets = await open_account(shards[1], "50", buckets=2)
    floorless = await open_account(shards[1], limit=None)

    for account in (overdraft, buckets, floorless):
        with pytest.raises(Malformed):
            await _change(shards[1], account, minimum_balance=Decimal(1))
    with pytest.raises(Malformed):
        await _change(shards[1], floorless, overdraft_limit=Decimal(1))


def _new(number: int, **fields: object) -> NewAccount:
    new = NewAccount(number, "EUR", AccountKind.CUSTOMER, "C-1", Decimal(0), b"t")
    return replace(new, **fields)  # type: ignore[arg-type]  # the tests name the fields


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"minimum_balance": Decimal(5)}, POSTED),
        ({"minimum_balance": Decimal(5), "overdraft_limit": Decimal(1)}, Outcome.MALFORMED),
        ({"minimum_balance": Decimal(5), "overdraft_limit": None}, Outcome.MALFORMED),
        ({"minimum_balance": Decimal(5), "bucket_count": 2}, Outcome.MALFORMED),
        ({"minimum_balance": Decimal("0.001")}, Outcome.MALFORMED),
        ({"minimum_balance": Decimal(-1)}, Outcome.MALFORMED),
        ({"overdraft_limit": Decimal(-1)}, Outcome.MALFORMED),
        ({"overdraft_limit": Decimal("NaN")}, Outcome.MALFORMED),
        ({"bucket_count": 0}, Outcome.MALFORMED),
        ({"bucket_count": 257}, Outcome.MALFORMED),
    ],
    ids=str,
)
async def test_limits_an_account_is_opened_with(
    fields: Mapping[str, object], expected: Outcome, shards: Shards
) -> None:
    """What a change would refuse is refused at the opening, too, and its neighbour is opened."""
    odd, plain = account_no(1), account_no(1)

    told = await shards[1].accounts.open_many([_new(odd, **fields), _new(plain)])

    assert [expected, POSTED] == told


async def test_an_account_below_its_minimum_can_be_paid(shards: Shards, teller: Teller) -> None:
    """A new account starts below what must remain; it can only be paid until it is there."""
    account, other = account_no(1), await open_account(shards[1], "100")
    await shards[1].accounts.open_many([_new(account, minimum_balance=Decimal(5))])

    told = await teller.told(
        transfer(other, account, "4.99"),
        transfer(account, other, "0.01"),
        transfer(other, account, "1"),
        transfer(account, other, "1"),
        transfer(account, other, "0.99"),
    )

    assert [POSTED, SHORT, POSTED, SHORT, POSTED] == told


async def test_each_thing_changed_is_told(shards: Shards, servers: Databases) -> None:
    """Every change leaves an event with what was, what is, who and why; no change leaves none."""
    account = await open_account(shards[1], "100")
    both = {"status": FROZEN, "credits_when_frozen": True, "overdraft_limit": Decimal(5)}
    await _change(shards[1], account, **both)
    await _change(shards[1], account, **both)
    await _change(shards[1], account, metadata={"branch": "7"})
    await _change(shards[1], account, overdraft_limit=Decimal(0), minimum_balance=Decimal(9))
    await _refusal(shards[1], account, minimum_balance=Decimal(101))

    async with holder(servers.shard_dsns[1]) as look:
        events = await look.execute(
            "SELECT n, change, before, after, actor, reason FROM ledger.account_event"
            " WHERE account_no = %s AND n > 1 ORDER BY n",
            (account,),
        )

    assert [
        (2, "status", "open", "frozen"),
        (3, "credits_when_frozen", "false", "true"),
        (4, "overdraft_limit", "0.0000", "5.0000"),
        (5, "metadata", None, '{"branch": "7"}'),
        (6, "overdraft_limit", "5.0000", "0.0000"),
        (7, "minimum_balance", "0.0000", "9.0000"),
    ] == [event[:4] for event in events]
    assert {("Ann", "why")} == {event[4:] for event in events}


async def test_metadata_is_replaced_whole(shards: Shards) -> None:
    """What is given as metadata is all there is afterwards; without it, it stays."""
    account = await open_account(shards[1])
    await _change(shards[1], account, metadata={"a": "1", "b": "2"})

    replaced = await _change(shards[1], account, metadata={"b": "3"})
    kept = await _change(shards[1], account, status=FROZEN)
    emptied = await _change(shards[1], account, metadata={})

    assert [{"b": "3"}, {"b": "3"}, {}] == [replaced.metadata, kept.metadata, emptied.metadata]


@pytest.mark.parametrize("is_payable", [False, True])
async def test_what_a_frozen_account_takes_part_in(
    is_payable: bool, shards: Shards, teller: Teller
) -> None:
    """A frozen account pays nothing; it is paid where that was said."""
    account, other = await open_account(shards[1], "10"), await open_account(shards[1], "10")
    await _change(shards[1], account, status=FROZEN, credits_when_frozen=is_payable)

    told = await teller.told(transfer(other, account, "1"), transfer(account, other, "1"))

    paid = POSTED if is_payable else Outcome.ACCOUNT_FROZEN
    assert [paid, Outcome.ACCOUNT_FROZEN] == told


async def test_credits_when_frozen_say_nothing_about_an_open_account(
    shards: Shards, teller: Teller
) -> None:
    """Only the status stops an account."""
    account, other = await open_account(shards[1], "10"), await open_account(shards[1], "10")
    await _change(shards[1], account, credits_when_frozen=False)

    assert [POSTED] * 2 == await teller.told(
        transfer(other, account, "1"), transfer(account, other, "1")
    )


async def test_a_closed_account_is_changed_in_nothing(shards: Shards) -> None:
    """Closed is for ever, for limits as for the status; what already is so is no change."""
    account = await open_account(shards[1])
    await _change(shards[1], account, status=AccountStatus.CLOSED)

    assert Outcome.ACCOUNT_CLOSED is await _refusal(shards[1], account, overdraft_limit=Decimal(5))
    await _change(shards[1], account, overdraft_limit=Decimal(0))


async def test_an_account_is_closed_together_with_its_minimum(shards: Shards) -> None:
    """Closing and taking the minimum away are one change."""
    account = account_no(1)
    await shards[1].accounts.open_many([_new(account, minimum_balance=Decimal(5))])

    closed = await _change(
        shards[1], account, status=AccountStatus.CLOSED, minimum_balance=Decimal(0)
    )

    assert (AccountStatus.CLOSED, Decimal(0)) == (closed.status, closed.minimum_balance)


async def test_an_account_is_not_closed_with_a_new_minimum(shards: Shards, teller: Teller) -> None:
    """Its books would be closed with a floor that it never kept."""
    account, other = await open_account(shards[1], "10"), await open_account(shards[1])
    await teller.post(transfer(account, other, "10"))

    refusal = await _refusal(
        shards[1], account, status=AccountStatus.CLOSED, minimum_balance=Decimal(4)
    )

    assert SHORT is refusal
    assert await shards[1].invariants.check() == []


async def test_a_change_of_what_is_not_here(own: OwnShard) -> None:
    """Unknown, not owned and fenced accounts are told apart."""
    account = await open_in_second_range(own)
    with pytest.raises(NotFound):
        await _change(own.shard, account_no(1), status=FROZEN)
    with pytest.raises(NotOwner):
        await _change(own.shard, account_no(2), status=FROZEN)
    await as_owner(
        own.database,
        f"UPDATE ledger.owned_range SET state = '{RangeState.FENCED.value}'"
        f" WHERE range_id = {SECOND_RANGE}",
    )
    with pytest.raises(RangeMoving):
        await _change(own.shard, account, status=FROZEN)
