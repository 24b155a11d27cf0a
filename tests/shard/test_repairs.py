"""Decisions on items: carried out once, on the attempt that was looked at, and on record."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from shard.commands import MoneyState
from shard.errors import NotFound
from shard.ids import new_id
from shard.outcomes import Outcome
from shard.ownership import RangeState
from shard.repair_choice import RepairChoice
from shard.repairs import Decided, Decision, ItemFilter, ItemRecord
from shard.suspense import Carrier, ItemState, Redirection
from tests.shard.own_server import SECOND_RANGE, OwnShard, open_in_second_range
from tests.shard.parked import NOON, Parked, booked, park
from tests.support.bank import account_no
from tests.support.interleaving import holder

REFUSAL = Outcome.ACCOUNT_CLOSED


def decision(parked: Parked, choice: RepairChoice, **told: Any) -> Decision:
    """A decision of two persons on the first attempt of a transfer's only item."""
    made = Decision(new_id(), parked.item.item_id, 1, choice, "as agreed", "ada", "bob")
    return replace(made, **told)


def back(parked: Parked, **told: Any) -> Decision:
    """The decision to give the money back."""
    known = {"target": parked.debtor, "evidence": REFUSAL}
    return decision(parked, RepairChoice.RETURN, **{**known, **told})


async def record_of(parked: Parked) -> ItemRecord:
    """The only item as it stands."""
    return await parked.own.shard.repairs.get(parked.item.item_id)


async def set_aside(own: OwnShard) -> Parked:
    """An item that needs a person."""
    parked = await park(own)
    assert await own.shard.suspense.mark_needs_repair(parked.item.item_id, 1, REFUSAL)
    return parked


async def test_a_return_begins_an_attempt_and_is_on_record(own: OwnShard) -> None:
    """One transaction changes the item, its transfer and the record of who decided it."""
    parked = await set_aside(own)

    assert Decided.DECIDED is await own.shard.repairs.decide(made := back(parked))

    now = await record_of(parked)
    assert (2, parked.debtor, ItemState.PARKED, Carrier.REPAIR) == (
        now.item.attempt, now.item.target, now.state, now.item.carrier
    )  # fmt: skip
    assert MoneyState.IN_TRANSIT is (await parked.record()).money_state
    assert (MoneyState.IN_TRANSIT, "repair:return") == (await parked.events())[-1]
    (written,) = await own.shard.repairs.decisions(parked.item.item_id)
    assert (1, made.decision_id, RepairChoice.RETURN, 1, REFUSAL) == (
        written.n, written.decision_id, written.choice, written.attempt, written.evidence
    )  # fmt: skip
    assert (parked.item.target, parked.debtor, "as agreed", "ada", "bob") == (
        written.target_before, written.target_after, written.reason, written.maker, written.checker
    )  # fmt: skip


async def test_a_decision_is_carried_out_once(own: OwnShard) -> None:
    """Whoever lost the reply asks again, also after the item has gone on."""
    parked = await set_aside(own)
    made = back(parked)
    repairs = own.shard.repairs

    assert [Decided.DECIDED] * 2 == [await repairs.decide(made) for _ in range(2)]
    await own.shard.suspense.settle([booked(replace(parked.item, attempt=2), on=1)])
    assert Decided.DECIDED is await repairs.decide(made)

    assert 1 == len(await repairs.decisions(parked.item.item_id))
    assert (2, ItemState.RETURNED) == ((now := await record_of(parked)).item.attempt, now.state)


@pytest.mark.parametrize("choice", [RepairChoice.RETURN, RepairChoice.REDIRECT])
async def test_no_attempt_begins_without_evidence(own: OwnShard, choice: RepairChoice) -> None:
    """What may still be booked at its target cannot go anywhere else."""
    parked = await park(own)
    unproven = decision(parked, choice, target=account_no(2))

    assert Decided.UNSAFE is await own.shard.repairs.decide(unproven)

    now = await record_of(parked)
    assert (1, Carrier.CONVOY, parked.item.target) == (
        now.item.attempt, now.item.carrier, now.item.target
    )  # fmt: skip
    assert [] == await own.shard.repairs.decisions(parked.item.item_id)


@pytest.mark.parametrize(("evidence", "attempt"), [(None, 1), (REFUSAL, 2)])
async def test_a_retry_begins_an_attempt_only_after_a_spent_one(
    own: OwnShard, evidence: Outcome | None, attempt: int
) -> None:
    """An attempt that has met nothing is simply delivered again."""
    parked = await park(own)

    retry = decision(parked, RepairChoice.RETRY, evidence=evidence)
    assert Decided.DECIDED is await own.shard.repairs.decide(retry)

    now = await record_of(parked)
    assert (attempt, parked.item.target) == (now.item.attempt, now.item.target)


async def test_a_spent_attempt_is_not_delivered_again(own: OwnShard) -> None:
    """Whoever found the item parked, and has no evidence, finds it set aside by now."""
    parked = await set_aside(own)
    retry = decision(parked, RepairChoice.RETRY)
    assert Decided.UNSAFE is await own.shard.repairs.decide(retry)
    assert ItemState.NEEDS_REPAIR is (await record_of(parked)).state


@pytest.mark.parametrize("choice", [RepairChoice.RETURN, RepairChoice.REDIRECT])
async def test_what_is_booked_goes_nowhere_else(own: OwnShard, choice: RepairChoice) -> None:
    """That it is booked is evidence for a settlement alone."""
    parked = await set_aside(own)
    known = decision(parked, choice, target=parked.debtor, evidence=Outcome.POSTED)
    assert Decided.UNSAFE is await own.shard.repairs.decide(known)
    assert (ItemState.NEEDS_REPAIR, 1) == ((now := await record_of(parked)).state, now.item.attempt)


async def test_what_was_set_aside_and_is_booked_is_settled_after_a_retry(own: OwnShard) -> None:
    """It is parked again in the attempt that was booked, and what it was set aside for stays."""
    parked = await set_aside(own)
    retry = decision(parked, RepairChoice.RETRY, evidence=Outcome.POSTED)
    assert Decided.DECIDED is await own.shard.repairs.decide(retry)
    now = await record_of(parked)
    assert (ItemState.PARKED, 1, REFUSAL) == (now.state, now.item.attempt, now.item.last_refusal)
    assert 1 == await own.shard.suspense.settle([booked(parked.item)])
    (written,) = await own.shard.repairs.decisions(parked.item.item_id)
    assert (Outcome.POSTED, parked.item.target) == (written.evidence, written.target_after)


async def test_what_was_recalled_is_turned_round_by_a_person_while_he_has_it_in_hand(
    own: OwnShard,
) -> None:
    """A tombstone may be that of his decision; what was refused turns round as ever."""
    recalled, refused, travelling = await park(own), await park(own), await park(own)
    suspense = own.shard.suspense
    taken = [each.item.item_id for each in (recalled, refused)]
    await suspense.hand_over(taken, Carrier.REPAIR)
    causes = (Outcome.RECALLED, REFUSAL, Outcome.RECALLED)
    redirected = [
        await suspense.redirect([Redirection(each.item.item_id, 1, each.debtor, cause)])
        for each, cause in zip((recalled, refused, travelling), causes, strict=True)
    ]
    assert [0, 1, 1] == redirected
    assert 1 == (await record_of(recalled)).item.attempt


async def test_what_a_repair_holds_stays_with_it(own: OwnShard) -> None:
    """A convoy or a route that had it in hand before does not take it back."""
    parked = await park(own)
    ids = [parked.item.item_id]
    assert 1 == await own.shard.suspense.hand_over(ids, Carrier.REPAIR)
    assert 0 == await own.shard.suspense.hand_over(ids, Carrier.ROUTE, 2)
    assert Carrier.REPAIR is (await record_of(parked)).item.carrier


async def test_waiting_changes_nothing_but_the_record(own: OwnShard) -> None:
    """The item stays set aside, and says until when."""
    parked = await set_aside(own)

    wait = decision(parked, RepairChoice.WAIT, wait_until=NOON)
    assert Decided.DECIDED is await own.shard.repairs.decide(wait)

    assert (ItemState.NEEDS_REPAIR, 1) == ((now := await record_of(parked)).state, now.item.attempt)
    (written,) = await own.shard.repairs.decisions(parked.item.item_id)
    assert (NOON, parked.item.target) == (written.wait_until, written.target_after)


async def test_a_decision_on_another_attempt_is_stale(own: OwnShard) -> None:
    """Somebody turned the item round since it was looked at, or it has arrived."""
    turned, arrived = await park(own), await park(own)
    suspense = own.shard.suspense
    item = turned.item
    await suspense.redirect([Redirection(item.item_id, 1, turned.debtor, REFUSAL)])
    await suspense.settle([booked(arrived.item)])

    decided = [await own.shard.repairs.decide(back(each)) for each in (turned, arrived)]
    missing = replace(back(turned), item_id=new_id())
    decided.append(await own.shard.repairs.decide(missing))

    assert [Decided.STALE] * 3 == decided
    assert [] == await own.shard.repairs.decisions(item.item_id)


async def test_a_decision_waits_for_no_range_that_moves(own: OwnShard) -> None:
    """While the debtor's range moves, nothing of its transfers changes."""
    fenced = await park(own, debtor=await open_in_second_range(own, "100"))
    async with holder(own.database.owner_dsn) as change:
        await change.change_range(SECOND_RANGE, RangeState.FENCED, 2)
        await change.commit()
        assert Decided.MOVING is await own.shard.repairs.decide(back(fenced))
        await change.change_range(SECOND_RANGE, RangeState.OWNED, 2)
        await change.commit()
    assert Decided.DECIDED is await own.shard.repairs.decide(back(fenced))


async def test_a_decision_and_a_settlement_exclude_each_other(own: OwnShard) -> None:
    """Whoever of the two locks the item first is done; the other finds it changed."""
    parked = await park(own)
    async with holder(own.database.owner_dsn) as held:
        await held.execute(
            "SELECT FROM ledger.suspense_item WHERE item_id = %s FOR UPDATE",
            (parked.item.item_id,),
        )
        settling = held.start(own.shard.suspense.settle([booked(parked.item)]))
        await held.until_blocks(settling)
        deciding = held.start(own.shard.repairs.decide(back(parked)))
        await held.until_blocks(settling, deciding)
        await held.rollback()
        outcomes = (await settling, await deciding)
    assert outcomes in {(1, Decided.STALE), (0, Decided.DECIDED)}
    assert (outcomes[0] == 1) == ((await record_of(parked)).state is ItemState.DELIVERED)


@pytest.mark.parametrize(
    "told", [{"maker": "Bob"}, {"reason": ""}, {"checker": ""}, {"maker": "BOB"}]
)
async def test_the_record_takes_no_half_decision(own: OwnShard, told: dict[str, str]) -> None:
    """Two persons and a reason, whatever a program in between has checked."""
    parked = await set_aside(own)
    with pytest.raises(Exception, match="repair_decision"):
        await own.shard.repairs.decide(back(parked, **told))
    assert ItemState.NEEDS_REPAIR is (await record_of(parked)).state


async def test_a_decision_cannot_be_changed_afterwards(own: OwnShard) -> None:
    """Not by the role that serves."""
    parked = await set_aside(own)
    await own.shard.repairs.decide(back(parked))
    async with await psycopg.AsyncConnection.connect(own.database.dsn) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("UPDATE ledger.repair_decision SET maker = 'eve'")


async def test_items_in_repair_are_listed_page_by_page(own: OwnShard) -> None:
    """Open ones only, in the order of their ids."""
    aside = [await set_aside(own) for _ in range(3)]
    taken, closed = await park(own), await park(own)
    ids = [each.item.item_id for each in (taken, closed)]
    await own.shard.suspense.hand_over(ids, Carrier.REPAIR)
    await own.shard.suspense.settle([booked(closed.item)])
    wanted = [each.item.item_id for each in (*aside, taken)]

    listed = []
    after = None
    while page := await own.shard.repairs.in_repair(2, after):
        listed += page
        after = page[-1]

    assert wanted == [each for each in listed if each in {*wanted, *ids}]


@pytest.mark.parametrize(
    ("wanted", "amounts"),
    [
        (ItemFilter(currency="CHF"), ["10", "20", "30"]),
        (ItemFilter(currency="CHF", least=Decimal(20)), ["20", "30"]),
        (ItemFilter(currency="CHF", most=Decimal(20)), ["10", "20"]),
        (ItemFilter(currency="CHF", state=ItemState.NEEDS_REPAIR), ["30"]),
        (ItemFilter(currency="CHF", state=ItemState.PARKED), ["10", "20"]),
        (ItemFilter(currency="CHF", carrier=Carrier.ROUTE), ["20"]),
        (ItemFilter(currency="CHF", age_s=timedelta(hours=1).total_seconds()), []),
    ],
)
async def test_open_items_are_filtered(
    own: OwnShard, wanted: ItemFilter, amounts: list[str]
) -> None:
    """By amount, state, carrier and age; an item that has arrived is not open."""
    parked = await park(own, "10", "20", "30", "40", currency="CHF")
    _, routed, aside, arrived = parked.items
    await own.shard.suspense.hand_over([routed.item_id], Carrier.ROUTE, 2)
    await own.shard.suspense.mark_needs_repair(aside.item_id, 1, REFUSAL)
    await own.shard.suspense.settle([booked(arrived)])

    found = await own.shard.repairs.open_items(wanted, 1_000)

    mine = [each.item.amount for each in found if each.item.debtor == parked.debtor]
    assert [Decimal(amount) for amount in amounts] == sorted(mine)


async def test_an_item_of_nobody_is_not_found(own: OwnShard) -> None:
    """Nor is one of another shard."""
    with pytest.raises(NotFound):
        await own.shard.repairs.get(new_id())
