"""A transfer's whole story: from both its shards and Temporal, whatever became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import pytest

from router.errors import AccountUnassigned
from router.saga_reads import TransferName
from router.saga_trace_story import Story, Verdict
from router.transfer_requests import RequestedLeg, request_of_legs
from router.wiring import Bank
from sagas.deliveries import delivery_command, recall_command
from shard.account_numbers import clearing_account, suspense_account
from shard.accounts import AccountKind, NewAccount
from shard.commands import Kind, MoneyState, Origin
from shard.errors import NotFound, Refused, ShardUnavailable
from shard.ids import new_id
from shard.outcomes import Outcome
from shard.repair_choice import RepairChoice
from shard.trace import TracedEntry
from tests.router.conftest import CommandLine
from tests.router.ranges import new_range
from tests.router.sagas import (
    AMOUNT,
    NO_TEMPORAL,
    NOWHERE,
    Sent,
    park,
    refused_by_all,
    request,
    send,
    set_status,
    waiting_for,
)
from tests.support.bank import account_no, open_account, settings_of
from tests.support.databases import Databases

PAID, TAKEN, NOTHING = Decimal(AMOUNT), -Decimal(AMOUNT), Decimal(0)
WHO = {"reason": "as agreed", "maker": "ada", "checker": "bob"}


async def story_of(sent: Sent, bank: Bank | None = None) -> Story:
    """A transfer's story, told by another process perhaps."""
    return await (bank or sent.bank).traces.tell(sent.name)


def booked(entries: Sequence[TracedEntry]) -> dict[tuple[int, int], Decimal]:
    """What was booked on which account of which shard."""
    return {(entry.booked_on, entry.account_no): entry.amount for entry in entries}


def parts(story: Story) -> dict[int, Decimal]:
    """What of the transfer stands on which system account."""
    return {figure.account: figure.part for figure in story.figures}


def verdicts(story: Story) -> list[Verdict]:
    """What reconciliation thinks of it."""
    return [line.verdict for line in story.reconciled]


def seen_by(story: Story, account: int) -> tuple[Decimal, Decimal]:
    """What a customer sees: booked and in transit."""
    (balance,) = [party.balance for party in story.parties if party.account == account]
    assert balance is not None
    return balance.ledger, balance.in_transit


@pytest.fixture
async def sent(bank: Bank) -> Sent:
    """A transfer that has arrived on another shard."""
    debtor = await open_account(bank.shards[1], "100.00")
    made = await send(bank, debtor, await open_account(bank.shards[2]))
    await made.until(MoneyState.DELIVERED)
    return made


async def test_what_has_arrived_is_told_from_both_sides(sent: Sent) -> None:
    """The debit, suspense, the delivery against clearing, and the voucher that settled it."""
    story = await story_of(sent)
    (item,) = story.items
    suspense = suspense_account(1, "EUR")
    there, here = clearing_account(2, 1, "EUR"), clearing_account(1, 2, "EUR")

    assert ({(1, sent.debtor): TAKEN, (1, suspense): PAID}) == booked(story.entries)
    assert {(2, there): TAKEN, (2, sent.creditor): PAID} == booked(item.present.entries)
    assert item.voucher is not None
    assert {(1, suspense): -item.voucher.amount, (1, here): item.voucher.amount} == booked(
        item.settlement
    )
    assert [(MoneyState.DELIVERED, "settled")] == [(e.money_state, e.cause) for e in story.events]
    assert ("Rent", ()) == (story.transfer.narrative, story.gaps)


async def test_the_moment_after_an_arrival_is_told(sent: Sent) -> None:
    """Both customers, clearing on both sides, and one closed item."""
    story = await story_of(sent)

    assert (Decimal("79.83"), NOTHING) == seen_by(story, sent.debtor)
    assert (PAID, NOTHING) == seen_by(story, sent.creditor)
    assert {
        suspense_account(1, "EUR"): 0,
        clearing_account(1, 2, "EUR"): PAID,
        clearing_account(2, 1, "EUR"): TAKEN,
    } == parts(story)
    assert [Verdict.CLOSED] == verdicts(story)


async def test_temporal_tells_what_became_of_the_workflow(sent: Sent, servers: Databases) -> None:
    """A convoy that has ended; a Temporal that is down is told and costs nothing else."""
    story = await story_of(sent)
    async with Bank(settings_of(servers, temporal_address=NO_TEMPORAL)) as alone:
        untold = await story_of(sent, alone)
    (state,) = story.workflows.states

    assert (f"convoy/1/{story.transfer.convoy}", "completed") == (state.workflow, state.state)
    assert state.page is not None
    assert ("not asked", f"Temporal at {NO_TEMPORAL} does not answer.") == (
        untold.workflows.states[0].state,
        untold.workflows.failure,
    )
    assert (story.items, story.entries, ()) == (
        tuple(replace(item, saga=story.items[0].saga) for item in untold.items),
        untold.entries,
        untold.gaps,
    )


async def test_every_settlement_is_found_among_its_neighbours(bank: Bank) -> None:
    """Each item has its own voucher, and together they cover what was sent."""
    debtor = await open_account(bank.shards[1], "1000.00")
    creditor = await open_account(bank.shards[2])
    sent = await asyncio.gather(*(send(bank, debtor, creditor) for _ in range(10)))
    stories = []
    for each in sent:
        await each.until(MoneyState.DELIVERED)
        stories.append(await story_of(each))
    vouchers = {}
    for story in stories:
        voucher, settlement = story.items[0].voucher, story.items[0].settlement
        assert voucher is not None
        assert voucher.amount == booked(settlement)[1, voucher.clearing]
        vouchers[voucher.booking.reference] = voucher.amount

    assert 10 * PAID == sum(vouchers.values())


async def test_what_was_refused_and_came_back_is_told_attempt_by_attempt(bank: Bank) -> None:
    """The refusal at the creditor's shard, then the return on the debtor's own."""
    debtor = await open_account(bank.shards[1], "100.00")
    sent = await send(bank, debtor, account_no(3))
    await sent.until(MoneyState.RETURNED)
    story = await story_of(sent)
    (item,) = story.items
    first, second = item.attempts

    assert first.delivery is not None
    assert (sent.creditor, Outcome.ACCOUNT_UNKNOWN, ()) == (
        first.target,
        first.delivery.outcome,
        first.entries,
    )
    own = clearing_account(1, 1, "EUR")
    assert {(1, own): TAKEN, (1, debtor): PAID} == booked(second.entries)
    assert {suspense_account(1, "EUR"): 0, own: 0} == parts(story)
    absent = {party.account: party.absence for party in story.parties if party.balance is None}
    assert {sent.creditor: "There is no such account."} == absent
    assert [Verdict.CLOSED] == verdicts(story)


async def test_a_return_is_a_transfer_without_items_of_its_own(bank: Bank) -> None:
    """It was delivered on the shard of the item it ended, and under the same transfer's id."""
    debtor = await open_account(bank.shards[1], "100.00")
    sent = await send(bank, debtor, account_no(3))
    await sent.until(MoneyState.RETURNED)
    (item,) = (await story_of(sent)).items
    item_id = item.saga.record.item.item_id
    story = await bank.traces.tell(TransferName(debtor, f"{item_id}:2", Origin.DELIVERY))
    assert () == tuple(story.items)
    assert {(1, debtor): PAID} == booked(story.entries)


async def test_what_stays_on_one_shard_has_no_items(bank: Bank) -> None:
    """Its entries sum to zero there, and no system account takes part."""
    debtor = await open_account(bank.shards[1], "100.00")
    creditor = await open_account(bank.shards[1])
    story = await story_of(await send(bank, debtor, creditor))

    assert {(1, debtor): TAKEN, (1, creditor): PAID} == booked(story.entries)
    assert ((), (), ()) == (story.items, story.figures, story.workflows.states)
    assert [Verdict.CLOSED] == verdicts(story)


async def test_what_was_refused_at_once_moved_nothing(bank: Bank) -> None:
    """The command is stored, and nothing else."""
    debtor = await open_account(bank.shards[1], "1.00")
    wanted = request(debtor, await open_account(bank.shards[1]))
    with pytest.raises(Refused):
        await bank.transfers.submit(wanted)
    story = await bank.traces.tell(TransferName(debtor, wanted.reference))

    assert (Outcome.INSUFFICIENT_FUNDS, (), ()) == (
        story.transfer.outcome,
        story.entries,
        story.items,
    )
    assert ["It was refused (INSUFFICIENT_FUNDS): no money moved."] == [
        line.text for line in story.reconciled
    ]


async def test_what_is_parked_is_told_with_what_it_waits_for(
    local_bank: Bank, servers: Databases
) -> None:
    """It stands in suspense; nothing is stored at its target, whose range is fenced."""
    async with waiting_for(local_bank, servers) as (sent, made):
        await made.set(2, "FENCED", epoch=2)
        story = await story_of(sent)
    (item,) = story.items

    assert [(1, sent.creditor, None, True)] == [
        (each.number, each.target, each.delivery, each.is_known) for each in item.attempts
    ]
    assert ({suspense_account(1, "EUR"): PAID}, [Verdict.OPEN]) == (parts(story), verdicts(story))
    assert (Decimal("79.83"), PAID) == seen_by(story, sent.debtor)
    assert "route/1/2" in [each.workflow for each in story.workflows.states]


async def test_what_is_booked_and_not_settled_stands_on_both_sides(
    local_bank: Bank, servers: Databases
) -> None:
    """Suspense still has it, and the target's shard shows it as owed."""
    async with waiting_for(local_bank, servers) as (sent, _):
        item = (await sent.saga()).record.item
        delivery = delivery_command(item, source=1, destination=2)
        await local_bank.shards[2].lanes.post(delivery)
        story = await story_of(sent)

    assert {suspense_account(1, "EUR"): PAID, clearing_account(2, 1, "EUR"): TAKEN} == parts(story)
    (line,) = story.reconciled
    assert Verdict.OPEN is line.verdict
    assert line.text.endswith("settlement outstanding.")


async def test_a_silent_destination_leaves_gaps(local_bank: Bank, servers: Databases) -> None:
    """What could be read is told; what became of the attempt is not known."""
    dsns = dict(servers.shard_dsns) | {2: NOWHERE}
    settings = settings_of(servers, shard_dsns=dsns, temporal_address=NO_TEMPORAL)
    async with waiting_for(local_bank, servers) as (sent, _), Bank(settings) as partly:
        story = await story_of(sent, partly)
        with pytest.raises(ShardUnavailable):
            await partly.traces.tell(TransferName(sent.creditor, "never"))
    (item,) = story.items

    assert ([False], [Verdict.UNKNOWN]) == (
        [attempt.is_known for attempt in item.attempts],
        verdicts(story),
    )
    assert {(1, sent.debtor): TAKEN, (1, suspense_account(1, "EUR")): PAID} == booked(story.entries)
    assert [
        f"Attempt 1 of item {item.saga.record.item.item_id}, at account {sent.creditor}",
        f"The balance of account {sent.creditor}",
    ] == [gap.what for gap in story.gaps]


async def test_decisions_stand_beside_the_attempts_they_ended(
    bank: Bank, servers: Databases
) -> None:
    """Refused, refused again, set aside, delivered elsewhere: where each attempt went."""
    async with refused_by_all(bank, servers) as sent:
        stuck = await story_of(sent)
        other = await open_account(bank.shards[3])
        item_id = stuck.items[0].saga.record.item.item_id
        decision = {"choice": "redirect", "account": str(other), **WHO}
        await bank.repairs.decide(item_id, decision)
        await sent.until(MoneyState.DELIVERED)
        story = await story_of(sent)
    (item,) = story.items
    states = {each.workflow: each.state for each in story.workflows.states}

    assert (MoneyState.NEEDS_REPAIR, [Verdict.OPEN]) == (
        stuck.transfer.money_state,
        verdicts(stuck),
    )
    assert [sent.creditor, sent.debtor, other] == [attempt.target for attempt in item.attempts]
    met = [each.delivery and each.delivery.outcome for each in item.attempts]
    assert [Outcome.ACCOUNT_UNKNOWN, Outcome.ACCOUNT_CLOSED, Outcome.POSTED] == met
    assert ["redirect"] == [each.choice for each in item.saga.decisions]
    assert states[f"repair/1/{item_id}"] in {"running", "completed"}
    assert (PAID, NOTHING) == seen_by(story, other)
    assert [Verdict.CLOSED] == verdicts(story)


async def test_each_attempt_is_told_with_the_account_it_went_to(
    local_bank: Bank, servers: Databases, cli: CommandLine
) -> None:
    """Refused at the creditor, redirected and refused there, back and refused, redirected again:
    also the attempts that no decision was about."""
    closed = [await open_account(local_bank.shards[shard]) for shard in (2, 3)]
    other = await open_account(local_bank.shards[3])
    sent = await park(local_bank, servers, closed[0])
    for account in (*closed, sent.debtor):
        await set_status(servers, account, "closed")
    item = (await sent.saga()).record.item
    delivery = delivery_command(item, source=1, destination=2)
    answer = await local_bank.shards[2].lanes.post(delivery)
    await sent.decide(RepairChoice.REDIRECT, closed[1], answer.outcome)
    for _ in "ab":
        await sent.carry()
    await sent.decide(RepairChoice.REDIRECT, other, Outcome.ACCOUNT_CLOSED)
    await sent.carry()
    await set_status(servers, sent.debtor, "open")
    story = await story_of(sent)
    told = await cli.in_words("trace", *sent.words)
    (seen,) = story.items
    accounts = [closed[0], closed[1], sent.debtor, other]

    assert accounts == [attempt.target for attempt in seen.attempts]
    refused = [Outcome.ACCOUNT_CLOSED] * 3
    assert [*refused, Outcome.POSTED] == [
        each.delivery and each.delivery.outcome for each in seen.attempts
    ]
    assert [Verdict.CLOSED] == verdicts(story)
    lines = [line.strip() for line in told.stdout.splitlines()]
    for number, account in enumerate(accounts, start=1):
        met = "booked" if account == other else "refused"
        (line,) = [each for each in lines if each.startswith(f"attempt {number} to ")]
        assert line.startswith(f"attempt {number} to {account}: {met}")


async def test_each_creditor_has_an_item_of_his_own(bank: Bank) -> None:
    """Two parts of the same size to other shards, one beside the debtor, one refused."""
    debtor, near = await open_account(bank.shards[1], "100.00"), await open_account(bank.shards[1])
    far, lost = await open_account(bank.shards[2]), account_no(3)
    legs = [
        RequestedLeg(debtor, Decimal(-30)),
        RequestedLeg(near, Decimal(10)),
        RequestedLeg(far, Decimal(10)),
        RequestedLeg(lost, Decimal(10)),
    ]
    wanted = request_of_legs(str(new_id()), legs, "EUR")
    await bank.transfers.submit(wanted)
    sent = Sent(bank, debtor, far, wanted.reference)
    await sent.until(MoneyState.PARTIALLY_RETURNED)
    story = await story_of(sent)
    suspense = suspense_account(1, "EUR")

    assert {(1, debtor): -30, (1, near): 10, (1, suspense): 20} == booked(story.entries)
    assert sorted([[far], [lost, debtor]]) == sorted(
        [attempt.target for attempt in item.attempts] for item in story.items
    )
    assert [debtor, near, far, lost] == [party.account for party in story.parties]
    assert [Verdict.CLOSED] * 2 == verdicts(story)


async def test_an_account_that_has_moved_is_followed(bank: Bank, servers: Databases) -> None:
    """Its part of the story is told by its present owner, though this process knows the old one."""
    async with new_range(servers, shard=2) as made:
        settings = settings_of(servers, temporal_address=NO_TEMPORAL)
        async with Bank(settings) as stale:
            sent = await park(stale, servers, made.lo)
            await made.move(2, 3, epoch=2)
            new = NewAccount(made.lo, "EUR", AccountKind.EQUITY, None, None, b"test")
            assert [Outcome.POSTED] == await bank.shards[3].accounts.open_many([new])
            await bank.routes.refresh()
            on_its_way = replace(sent, bank=bank)
            while (await on_its_way.saga()).record.is_open:
                await on_its_way.carry()
            story = await story_of(sent, stale)
    (item,) = story.items

    assert {(3, clearing_account(3, 1, "EUR")): TAKEN, (3, made.lo): PAID} == booked(
        item.present.entries
    )
    assert ((), [Verdict.CLOSED]) == (story.gaps, verdicts(story))


async def test_what_was_never_asked_for_is_not_found(bank: Bank) -> None:
    """Neither a free reference, nor an account of no range."""
    with pytest.raises(NotFound):
        await bank.traces.tell(TransferName(await open_account(bank.shards[1]), "never"))
    with pytest.raises(AccountUnassigned):
        await bank.traces.tell(TransferName(9_999_999_999, "never"))


async def test_a_recalled_attempt_is_told_as_such(local_bank: Bank, servers: Databases) -> None:
    """The tombstone stands where the delivery would have been."""
    async with waiting_for(local_bank, servers) as (sent, _):
        item = (await sent.saga()).record.item
        recall = recall_command(item, details={"purpose": "test"})
        await local_bank.shards[2].lanes.post(recall)
        await sent.decide(RepairChoice.RETURN, sent.debtor, Outcome.RECALLED)
        await sent.carry()
        story = await story_of(sent)
    first, second = story.items[0].attempts

    assert first.delivery is not None
    assert (Kind.TOMBSTONE, Outcome.RECALLED) == (first.delivery.kind, first.delivery.outcome)
    assert (sent.debtor, True) == (second.target, second.is_booked)
    assert (Decimal("100.00"), NOTHING) == seen_by(story, sent.debtor)


async def test_a_story_is_told_on_the_command_line(cli: CommandLine, sent: Sent) -> None:
    """As one document, and on one screen."""
    told, shown = await asyncio.gather(
        cli("trace", *sent.words), cli.in_words("trace", *sent.words)
    )
    document = told.document
    (item,) = document["items"]

    assert (0, 0, []) == (told.code, shown.code, document["not_read"])
    assert ("delivered", AMOUNT, "Rent") == tuple(
        document["transfer"][name] for name in ("money_state", "amount", "narrative")
    )
    assert ["completed"] == [each["state"] for each in document["workflows"]]
    assert ("POSTED", 2) == (item["attempts"][0]["outcome"], item["attempts"][0]["booked_on"])
    assert {"customer", "ledger", "reconciliation"} == document["moment"].keys()
    screen = shown.stdout
    assert f"+{AMOUNT} EUR on account {sent.creditor} of shard 2" in screen
    assert f"customer: creditor {sent.creditor} has {AMOUNT} EUR booked" in screen
    assert f"ledger: clearing account {clearing_account(2, 1, 'EUR')} of shard 2 stands" in screen
    assert "reconciliation: closed: Item" in screen


async def test_what_cannot_be_traced_has_its_exit_code(
    cli: CommandLine, local_bank: Bank, servers: Databases
) -> None:
    """Not found 1, malformed 2, a shard that does not answer 3 with what could be read."""
    dsns = f'{{"1": "{servers.shard_dsns[1]}", "2": "{NOWHERE}", "3": "{servers.shard_dsns[3]}"}}'
    changes = {"LEDGER_SHARD_DSNS": dsns, "LEDGER_TEMPORAL_ADDRESS": NO_TEMPORAL}
    partly = replace(cli, environment=cli.environment | changes)
    async with waiting_for(local_bank, servers) as (sent, _):
        unknown, malformed, part = await asyncio.gather(
            cli("trace", str(sent.debtor), "never"),
            cli("trace", str(sent.debtor), "a b"),
            partly("trace", *sent.words),
        )

    assert ((1, "NOT_FOUND"), (2, "MALFORMED")) == (unknown.error, malformed.error)
    assert (3, "in_transit", 2) == (
        part.code,
        part.document["transfer"]["money_state"],
        len(part.document["not_read"]),
    )
    assert "Not read: Attempt 1 of item" in part.stderr
    assert "does not answer" in part.document["temporal"]["failure"]
