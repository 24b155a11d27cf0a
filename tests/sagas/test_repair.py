"""Items that need a person: seen, decided on, and brought to their one right end."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus

from sagas.carriage import Carriage
from sagas.deliveries import delivery_command, recall_command
from sagas.repair_activities import RepairActivities
from sagas.repair_messages import DecideOrder
from sagas.starts import ensure_repair
from sagas.sweeper import Sweeper
from sagas.wishes import read_wish
from shard.accounts import AccountStatus
from shard.commands import MoneyState
from shard.ids import new_id
from shard.outcomes import Outcome
from shard.repair_choice import RepairChoice
from shard.suspense import ItemState
from tests.sagas.small_bank import FUNDS, SmallBank, eventually
from tests.sagas.stuck_items import (
    UNKNOWN_SHARD,
    StuckItem,
    left_alone,
    page,
    refused_by_all,
    shown,
    taken_over,
    words,
)
from tests.support.bank import Figures, account_no, figures, open_account
from tests.support.interleaving import holder

pytestmark = pytest.mark.usefixtures("worker")

MONEY_BACK = Figures(Decimal(FUNDS), 3)
PAID = Figures(Decimal("20.0000"), 1)


@pytest.fixture
async def stuck(small_bank: SmallBank) -> StuckItem:
    return await refused_by_all(small_bank)


async def end(stuck: StuckItem) -> None:
    """Bring an item home, so that no later test finds it."""
    await stuck.set_debtor("open")
    await stuck.decide("retry")
    await stuck.handle.result()


async def test_its_page_tells_what_happened_and_what_can_be_decided(stuck: StuckItem) -> None:
    """An operator needs no database to understand it; no account number stands there in full."""
    seen = await page(stuck)
    await end(stuck)
    for text in ("Needs a decision: ACCOUNT_CLOSED", "suspense account of shard 1", '"checker"'):
        assert text in seen
    assert str(stuck.debtor) not in seen
    assert '"choice": "return"' not in seen


async def test_it_is_found_by_its_search_attributes(stuck: StuckItem) -> None:
    """By state, step, code, shards and time."""
    query = (
        'SagaState = "stuck" AND SagaStep = "decide" AND FailureCode = "ACCOUNT_CLOSED"'
        ' AND SourceShard = 1 AND DestinationShard = 1 AND ParkedAt > "2026-01-01T00:00:00Z"'
    )

    async def found() -> list[str]:
        return [each.id async for each in stuck.bank.client.list_workflows(query)]

    ids = await eventually(found, lambda ids: stuck.handle.id in ids)
    await end(stuck)
    assert stuck.handle.id in ids


async def test_a_retry_brings_the_money_back_once_the_debtor_can_have_it(
    stuck: StuckItem,
) -> None:
    """The spent attempt is followed by another one; the decision is on record."""
    await stuck.set_debtor("open")
    report = await stuck.decide("retry")
    result = await stuck.handle.result()
    assert ("retry", "parked", 3) == (report.carried_out, report.state, report.attempt)
    assert ("returned", 3, 1) == (result.state, result.attempt, result.decisions)
    assert MONEY_BACK == await figures(stuck.bank.shards[1], stuck.debtor)
    (decision,) = await stuck.decisions()
    assert (RepairChoice.RETRY, 2, Outcome.ACCOUNT_CLOSED, "as agreed", "ada", "bob") == (
        decision.choice,
        decision.attempt,
        decision.evidence,
        decision.reason,
        decision.maker,
        decision.checker,
    )


async def test_a_redirection_pays_another_account(stuck: StuckItem) -> None:
    """On any shard; the debtor is not paid as well, however late its delivery comes."""
    bank = stuck.bank
    other = await bank.open_account(3, "0")
    await stuck.decide("redirect", account=str(other))
    result = await stuck.handle.result()
    await stuck.set_debtor("open")
    assert ("delivered", 3) == (result.state, result.attempt)
    assert PAID == await figures(bank.shards[3], other)
    assert Figures(Decimal(FUNDS) - 20, 2) == await figures(bank.shards[1], stuck.debtor)
    (decision,) = await stuck.decisions()
    assert (stuck.debtor, other) == (decision.target_before, decision.target_after)
    assert MoneyState.DELIVERED is await stuck.state()


async def test_what_is_put_off_is_delivered_when_the_time_comes(stuck: StuckItem) -> None:
    """By itself, in the name of those who put it off."""
    await stuck.set_debtor("open")
    until = (datetime.now(UTC) + timedelta(seconds=4)).isoformat(timespec="seconds")
    report = await stuck.decide("wait", until=until)
    result = await stuck.handle.result()
    assert ("wait", "needs_repair", 2) == (report.carried_out, report.state, report.attempt)
    assert ("returned", 3, 2) == (result.state, result.attempt, result.decisions)
    wait, retry = await stuck.decisions()
    assert (RepairChoice.WAIT, RepairChoice.RETRY) == (wait.choice, retry.choice)
    assert ("ada", "bob") == (retry.maker, retry.checker)


BAD_DECISIONS: dict[str, tuple[Any, str]] = {
    "no object": (["return"], "one JSON object"),
    "a text": ("return", "one JSON object"),
    "nothing": (None, "one JSON object"),
    "unknown choice": (words("burn"), "one of retry, return, redirect, wait"),
    "a list as choice": ({**words("retry"), "choice": ["retry"]}, "one of retry"),
    "unknown member": (words("retry", acount="2000000456"), '"acount" has no meaning'),
    "no reason": (words("retry", reason=" "), '"reason" is missing'),
    "two lines": (words("retry", reason="a\nb"), "one line"),
    "half a character": (words("retry", reason="bad \ud800 here"), "can be seen"),
    "a name with more in it than is seen": (words("retry", checker="bob\u200b"), "can be seen"),
    "one person in wide letters": (words("retry", checker="\uff21da"), "two persons"),
    "no checker": (words("retry", checker=None), '"checker" is missing'),
    "one person": (words("retry", checker="ADA "), "two persons"),
    "no account": (words("redirect"), '"account"'),
    "a number": (words("redirect", account=2000000456), "in quotes"),
    "a system account": (words("redirect", account="1100000"), "system account"),
    "an account of nobody": (words("redirect", account="2999999999"), "does not exist"),
    "an account without a shard": (words("redirect", account="99000000000"), "Account 99"),
    "account with retry": (words("retry", account="2000000456"), "no meaning with the choice"),
    "yesterday": (words("wait", until="2020-01-01T00:00:00Z"), "lies ahead"),
    "next century": (words("wait", until="2126-01-01T00:00:00Z"), "lies ahead"),
    "no zone": (words("wait", until="2026-12-01T00:00:00"), "with its zone"),
    "back to the debtor again": (words("return"), "choose retry"),
    "attempt in quotes": (words("retry", attempt="2"), '"attempt" is the number'),
    "no attempt at all": (words("retry", attempt=None), '"attempt" is the number'),
    "attempt true": (words("retry", attempt=True), '"attempt" is the number'),
    "the first attempt is 1": (words("retry", attempt=0), '"attempt" is the number'),
    "more than a shard counts": (words("retry", attempt=2**31), '"attempt" is the number'),
    "an attempt of before": (words("retry", attempt=1), "You have seen attempt 1, and by now"),
    "an attempt to come": (words("retry", attempt=3), "it is in attempt 2, not in 3"),
}


async def test_bad_decisions_are_refused_in_a_sentence(stuck: StuckItem) -> None:
    """Whatever is typed: nothing has changed, and nothing is on record."""
    told = {name: await stuck.refusal(typed) for name, (typed, _) in BAD_DECISIONS.items()}
    record, decisions = await stuck.record(), await stuck.decisions()
    await end(stuck)
    assert {} == {
        name: told[name] for name, (_, part) in BAD_DECISIONS.items() if part not in told[name]
    }
    assert (ItemState.NEEDS_REPAIR, 2) == (record.state, record.item.attempt)
    assert decisions == []


async def test_an_account_that_cannot_take_it_is_refused(stuck: StuckItem) -> None:
    """Of another currency, closed, the debtor itself: each is told apart."""
    dollars = await open_account(stuck.bank.shards[3], currency="USD")
    frozen = await stuck.bank.open_account(3, "0")
    await stuck.bank.set_status(frozen, AccountStatus.FROZEN)
    told = [
        await stuck.refusal(words("redirect", account=str(account)))
        for account in (dollars, frozen, stuck.debtor)
    ]
    await end(stuck)
    for part, sentence in zip(("kept in USD", "is frozen", "goes to that"), told, strict=True):
        assert part in sentence


async def test_a_refused_redirection_goes_back_to_the_debtor(stuck: StuckItem) -> None:
    """Its new target was closed between the decision and the delivery: the usual rule holds."""
    bank = stuck.bank
    other = await bank.open_account(3, "0")
    await stuck.set_debtor("open")
    async with holder(stuck.bank.owner_dsns[3]) as closing:
        await closing.execute(
            "UPDATE ledger.account SET status = 'closed' WHERE account_no = %s", (other,)
        )
        await closing.lock_balance(other)
        await stuck.decide("redirect", account=str(other))
        ended = closing.start(stuck.handle.result())
        await closing.until_blocks(ended)
        await closing.commit()
        result = await ended
    assert ("returned", 4) == (result.state, result.attempt)
    assert MONEY_BACK == await figures(bank.shards[1], stuck.debtor)
    assert Figures(Decimal(0), 0) == await figures(bank.shards[3], other)


async def test_of_two_operators_at_once_one_is_told_of_the_other(stuck: StuckItem) -> None:
    """While the first decision is under way the second is refused, and changes nothing."""
    await stuck.set_debtor("open")
    other = await stuck.bank.open_account(3, "0")
    async with holder(stuck.bank.owner_dsns[1]) as lock:
        await lock.execute(
            "SELECT FROM ledger.suspense_item WHERE item_id = %s FOR UPDATE", (stuck.item.item_id,)
        )
        first = lock.start(stuck.decide("retry", maker="eve"))
        await lock.until_blocks(first)
        refusal = await stuck.refusal(words("redirect", account=str(other)))
        await lock.rollback()
        await first
    result = await stuck.handle.result()
    assert "eve's decision is just being carried out" in refusal
    assert ("returned", 1) == (result.state, result.decisions)
    assert Figures(Decimal(0), 0) == await figures(stuck.bank.shards[3], other)


async def test_of_two_decisions_on_one_attempt_one_is_carried_out(stuck: StuckItem) -> None:
    """Also where two workers carry them out side by side, as after a terminated workflow: the
    attempt is compared, and the other operator is told to look again."""
    bank = stuck.bank
    await stuck.set_debtor("open")
    other = await bank.open_account(3, "0")
    carriage = Carriage(bank.shards, bank.owners)
    activities = RepairActivities(bank.shards, bank.owners, carriage)
    now = datetime.now(UTC)
    wishes = [words("retry"), words("redirect", account=str(other))]
    orders = [
        DecideOrder(1, str(stuck.item.item_id), 2, str(new_id()), read_wish(wish, now=now))
        for wish in wishes
    ]
    answers = await asyncio.gather(*(activities.decide(order) for order in orders * 2))
    refused = {i for i in (0, 1) if answers[i].refusal is not None}
    assert 1 == len(refused)
    # Carried out a second time, both say the same again.
    assert answers[:2] == answers[2:]
    assert "changed meanwhile" in str(answers[refused.pop()].refusal)
    assert 1 == len(await stuck.decisions())
    assert 3 == (await stuck.record()).item.attempt
    # Its page shows the attempt before; whoever decides by that is told, and has it look again.
    assert "changed meanwhile" in await stuck.refusal(words("retry"))
    await stuck.handle.result()


@pytest.fixture
async def behind(small_bank: SmallBank) -> StuckItem:
    """An item that a convoy has turned round since its page was made."""
    creditor = account_no(2)
    debtor, reference = await small_bank.park(creditor)
    item = await small_bank.item_of(debtor, reference)
    stuck = StuckItem(small_bank, debtor, creditor, reference, item)
    await ensure_repair(small_bank.client, 1, str(item.item_id))
    await shown(stuck, "Attempt 1 goes to account")
    await Carriage(small_bank.shards, small_bank.owners).carry(1, 2, [item], limit_s=30.0)
    assert 2 == (await stuck.record()).item.attempt
    return stuck


async def test_a_decision_is_not_carried_out_on_an_attempt_that_was_not_seen(
    behind: StuckItem,
) -> None:
    """The page is as old as whoever decides by it: the shard tells, and the page follows."""
    other = await behind.bank.open_account(3, "0")
    redirection = words("redirect", attempt=1, account=str(other))
    refusals = [await behind.refusal(redirection) for _ in range(2)]
    record, decisions = await behind.record(), await behind.decisions()
    await behind.decide("retry", attempt=2)
    await behind.handle.result()
    assert "it is in attempt 2, not in 1" in refusals[0]
    assert "You have seen attempt 1, and by now it is in attempt 2" in refusals[1]
    assert (ItemState.PARKED, 2, []) == (record.state, record.item.attempt, decisions)
    assert Figures(Decimal(0), 0) == await figures(behind.bank.shards[3], other)


async def test_a_decision_on_what_is_newer_than_the_page_is_carried_out(behind: StuckItem) -> None:
    """Whoever has looked the item up at its shard knows more than its page."""
    other = await behind.bank.open_account(3, "0")
    await behind.decide("redirect", attempt=2, account=str(other))
    result = await behind.handle.result()
    assert ("delivered", 3) == (result.state, result.attempt)
    assert PAID == await figures(behind.bank.shards[3], other)


async def test_what_a_page_holds_to_be_pasted_names_its_attempt(stuck: StuckItem) -> None:
    """So that it is refused once the item has gone on."""
    pasted = '{"choice": "retry", "attempt": 2, "reason": "...", "maker": "...", "checker": "..."}'
    seen = await page(stuck)
    await end(stuck)
    assert pasted in seen


async def test_a_decision_on_what_was_settled_meanwhile_is_refused(stuck: StuckItem) -> None:
    """The page is older than the end of the item: the shard tells."""
    bank = stuck.bank
    await stuck.set_debtor("open")
    carriage = Carriage(bank.shards, bank.owners)
    activities = RepairActivities(bank.shards, bank.owners, carriage)
    wish = read_wish(words("retry"), now=datetime.now(UTC))
    item = str(stuck.item.item_id)
    assert None is (await activities.decide(DecideOrder(1, item, 2, str(new_id()), wish))).refusal
    sent = await bank.shards[1].transfers.get(stuck.debtor, stuck.item.origin, stuck.reference)
    (back,) = await bank.shards[1].repairs.of_transfer(sent)
    await carriage.carry(1, 1, [back.item], limit_s=30.0)
    refusal = await stuck.refusal(words("redirect", account=str(account_no(3))))
    assert "It is returned already" in refusal
    assert "returned" == (await stuck.handle.result()).state


async def test_a_return_of_what_is_on_its_way_keeps_it_from_arriving(small_bank: SmallBank) -> None:
    """A tombstone takes the delivery's place: the late convoy is told, and pays nobody."""
    creditor = await small_bank.open_account(2, "0")
    stuck = await left_alone(small_bank, creditor)
    async with holder(small_bank.owner_dsns[2]) as late:
        # A convoy has sent it, and its delivery has not committed yet.
        await late.lock_balance(creditor)
        delivery = delivery_command(stuck.item, source=1, destination=2)
        answer = late.start(small_bank.shards[2].lanes.post(delivery))
        await late.until_blocks(answer)
        decision = late.start(stuck.refusal(words("return")))
        await late.until_blocks(answer, decision)
        await late.rollback()
        assert Outcome.POSTED is (await answer).outcome
        refusal = await decision
    await stuck.decide("retry")
    assert "booked at its target meanwhile" in refusal
    assert "delivered" == (await stuck.handle.result()).state
    assert PAID == await figures(small_bank.shards[2], creditor)
    assert [RepairChoice.WAIT, RepairChoice.RETRY] == [
        each.choice for each in await stuck.decisions()
    ]


async def test_a_delivery_after_its_return_pays_nobody(small_bank: SmallBank) -> None:
    """The operator was first: the delivery is answered that it was recalled."""
    creditor = await small_bank.open_account(2, "0")
    stuck = await left_alone(small_bank, creditor)
    await stuck.decide("return")
    delivery = delivery_command(stuck.item, source=1, destination=2)
    answer = await small_bank.shards[2].lanes.post(delivery)
    assert Outcome.RECALLED is answer.outcome
    assert ("returned", 2) == ((done := await stuck.handle.result()).state, done.attempt)
    assert MONEY_BACK == await figures(small_bank.shards[1], stuck.debtor)
    assert Figures(Decimal(0), 0) == await figures(small_bank.shards[2], creditor)
    _, decision = await stuck.decisions()
    assert Outcome.RECALLED is decision.evidence


async def test_a_decision_that_died_behind_its_tombstone_moves_nothing(
    small_bank: SmallBank,
) -> None:
    """The amount is kept from its target, and nobody has said where it goes: it needs a person
    again, and goes where he says."""
    creditor = await small_bank.open_account(2, "0")
    stuck = await left_alone(small_bank, creditor)
    item = stuck.item
    tombstone = recall_command(item, details={"purpose": "repair"})
    assert Outcome.RECALLED is (await small_bank.shards[2].lanes.post(tombstone)).outcome
    await stuck.decide("retry")
    await shown(stuck, "Needs a decision: RECALLED")
    other = await small_bank.open_account(3, "0")
    await stuck.decide("redirect", account=str(other))
    result = await stuck.handle.result()
    assert ("delivered", 2) == (result.state, result.attempt)
    assert PAID == await figures(small_bank.shards[3], other)
    assert Figures(Decimal(0), 0) == await figures(small_bank.shards[2], creditor)


async def test_an_outcome_that_is_not_known_blocks_another_attempt(small_bank: SmallBank) -> None:
    """Its shard does not answer: it may have been booked there, so it cannot go elsewhere."""
    creditor = await small_bank.open_account(2, "0")
    small_bank.owners.assigned[creditor] = UNKNOWN_SHARD
    stuck = await taken_over(small_bank, creditor)
    await shown(stuck, "Being delivered")
    refusal = await stuck.refusal(words("return"))
    record = await stuck.record()
    del small_bank.owners.assigned[creditor]
    await stuck.decide("retry")
    assert "could not be carried out now" in refusal
    assert (ItemState.PARKED, 1) == (record.state, record.item.attempt)
    assert ("delivered", 1) == ((done := await stuck.handle.result()).state, done.attempt)


async def test_a_repair_terminated_by_hand_is_started_again(stuck: StuckItem) -> None:
    """Whoever terminates it strands no money: the sweeper asks about items."""
    await stuck.handle.terminate("by hand")
    await Sweeper(stuck.bank.client, stuck.bank.shards).sweep(1)
    again = stuck.bank.client.get_workflow_handle(stuck.handle.id)
    assert WorkflowExecutionStatus.RUNNING is (await again.describe()).status
    await shown(stuck, "Needs a decision")
    await end(stuck)
    assert MoneyState.RETURNED is await stuck.state()
