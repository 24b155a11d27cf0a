"""Open money between shards, listed over all of them, found by name, and explained."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal

import pytest

from deploy.embedded.temporal import TemporalServer
from router.saga_reads import AtTarget, Outlook, TransferName, WantedSagas
from router.saga_texts import explain
from router.wiring import Bank
from sagas.deliveries import delivery_command, recall_command
from shard.errors import Malformed, NotFound, ShardUnavailable
from shard.ids import new_id
from shard.outcomes import Outcome
from shard.repair_choice import RepairChoice
from shard.repairs import ItemFilter
from shard.suspense import Carrier, ItemState
from tests.router.conftest import CommandLine
from tests.router.ranges import TestRange
from tests.router.sagas import (
    AMOUNT,
    NO_TEMPORAL,
    NOWHERE,
    Sent,
    refused_by_all,
    send,
    waiting_for,
)
from tests.support.bank import findings, open_account, settings_of
from tests.support.databases import Databases

ALL = {"retry", "return", "redirect", "wait"}


@pytest.fixture
async def quiet(servers: Databases, temporal: TemporalServer) -> AsyncIterator[Bank]:
    """A bank in which nobody carries anything; at the end nothing is open, all books are right."""
    settings = settings_of(servers, temporal, temporal_address=NO_TEMPORAL, run_worker=False)
    async with Bank(settings) as opened:
        yield opened
        for shard in opened.shards.values():
            assert await shard.suspense.open_totals() == []
        assert await findings(opened.shards) == []


@pytest.fixture
async def way(quiet: Bank, servers: Databases) -> AsyncIterator[tuple[Sent, TestRange]]:
    """An amount on its way from shard 1 to shard 2, and the range that it goes to."""
    async with waiting_for(quiet, servers) as made:
        yield made


@pytest.fixture
async def waiting(way: tuple[Sent, TestRange]) -> Sent:
    """An amount on its way from shard 1 to shard 2, in the hands of a route."""
    return way[0]


@pytest.fixture
async def stuck(quiet: Bank, servers: Databases) -> AsyncIterator[Sent]:
    """An amount that neither creditor nor debtor can have."""
    async with refused_by_all(quiet, servers) as sent:
        yield sent


def without(servers: Databases, shard: int) -> Bank:
    """A process that does not reach one of the shards, nor Temporal."""
    dsns = dict(servers.shard_dsns) | {shard: NOWHERE}
    return Bank(settings_of(servers, shard_dsns=dsns, temporal_address=NO_TEMPORAL))


async def references(bank: Bank, wanted: WantedSagas) -> list[str]:
    """The transfers whose items are listed."""
    opened = await bank.saga_reads.open_items(wanted)
    return [saga.record.item.reference for saga in opened.sagas]


async def outlook_of(sent: Sent, bank: Bank | None = None) -> Outlook:
    """What is known of an item, by another process perhaps."""
    return await (bank or sent.bank).saga_reads.outlook(await sent.saga())


def safe(seen: Outlook, bank: Bank) -> set[str]:
    """What may be done now."""
    told = explain(seen, bank.saga_reads.temporal)
    return {choice.choice.value for choice in told.choices if choice.is_safe}


async def test_an_open_item_is_listed_with_the_workflow_that_holds_it(
    quiet: Bank, waiting: Sent
) -> None:
    """Where it comes from, where it goes, and the page of its route."""
    opened = await quiet.saga_reads.open_items(WantedSagas())
    (saga,) = opened.sagas
    page = f"{quiet.settings.temporal_ui_url}/namespaces/default/workflows/route%2F1%2F2"

    assert (1, 2, "route/1/2", page) == (saga.source, saga.destination, saga.workflow, saga.page)
    assert ({}, False) == (opened.silent, opened.has_more)


@pytest.mark.parametrize(
    "wanted",
    [
        WantedSagas(source=1),
        WantedSagas(destination=2),
        WantedSagas(ItemFilter(carrier=Carrier.ROUTE)),
        WantedSagas(ItemFilter(state=ItemState.PARKED, currency="EUR")),
        WantedSagas(ItemFilter(least=Decimal(AMOUNT), most=Decimal(AMOUNT))),
    ],
    ids=str,
)
async def test_a_filter_lets_through_what_fits(
    quiet: Bank, waiting: Sent, wanted: WantedSagas
) -> None:
    """Each by itself."""
    assert [waiting.reference] == await references(quiet, wanted)


@pytest.mark.usefixtures("waiting")
async def test_a_filter_keeps_out_what_does_not_fit(quiet: Bank) -> None:
    """Each by itself."""
    items = [
        ItemFilter(age_s=3600),
        ItemFilter(carrier=Carrier.CONVOY),
        ItemFilter(state=ItemState.NEEDS_REPAIR),
        ItemFilter(currency="USD"),
        ItemFilter(least=Decimal("20.18")),
        ItemFilter(most=Decimal("20.16")),
    ]
    wanted = [WantedSagas(each) for each in items]
    wanted += [WantedSagas(source=2), WantedSagas(destination=3)]

    assert [[]] * len(wanted) == [await references(quiet, each) for each in wanted]


async def test_the_oldest_of_all_shards_comes_first_and_a_limit_says_so(
    quiet: Bank, servers: Databases, waiting: Sent
) -> None:
    """What a limit cuts off is told."""
    async with waiting_for(quiet, servers) as (later, _):
        in_order = await references(quiet, WantedSagas())
        first = await quiet.saga_reads.open_items(WantedSagas(limit=1))
        first_to_2 = await quiet.saga_reads.open_items(WantedSagas(destination=2, limit=1))

    assert [waiting.reference, later.reference] == in_order
    assert waiting.reference == first.sagas[0].record.item.reference
    assert [(1, True)] * 2 == [(len(each.sagas), each.has_more) for each in (first, first_to_2)]


@pytest.mark.usefixtures("waiting")
async def test_a_shard_that_does_not_answer_is_named(servers: Databases) -> None:
    """What the others hold is listed; its own items must not look as if there were none."""
    async with without(servers, 3) as partly:
        opened = await partly.saga_reads.open_items(WantedSagas())

    assert (1, [3]) == (len(opened.sagas), list(opened.silent))


async def test_a_shard_that_does_not_exist_is_malformed(quiet: Bank) -> None:
    """It would else look like a shard without items."""
    with pytest.raises(Malformed):
        await quiet.saga_reads.open_items(WantedSagas(source=9))


async def test_an_item_is_found_by_its_id_and_by_its_transfer(quiet: Bank, waiting: Sent) -> None:
    """On whichever shard it stands."""
    saga = await waiting.saga()

    assert [saga] == await quiet.saga_reads.find(saga.record.item.item_id)


async def test_what_no_shard_knows_is_not_found(quiet: Bank) -> None:
    """An item, a transfer, an account of no range, a transfer without items."""
    debtor = await open_account(quiet.shards[1], "100.00")
    local = await send(quiet, debtor, await open_account(quiet.shards[1]))
    unassigned = TransferName(9_999_999_999, "never")
    for name in (new_id(), TransferName(debtor, "never"), unassigned, local.name):
        with pytest.raises(NotFound):
            await quiet.saga_reads.find(name)


async def test_an_item_is_not_said_to_be_unknown_while_a_shard_is_silent(
    servers: Databases,
) -> None:
    """The silent one might have it, and is named."""
    async with without(servers, 3) as partly:
        with pytest.raises(ShardUnavailable, match="shard 3"):
            await partly.saga_reads.find(new_id())


async def test_what_was_decided_is_told_with_the_item(quiet: Bank, stuck: Sent) -> None:
    """Who decided what on which attempt, and why; it stays so when the item is closed."""
    other = await open_account(quiet.shards[3])
    before = await stuck.saga()
    await stuck.decide(RepairChoice.REDIRECT, other, Outcome.ACCOUNT_CLOSED)
    await stuck.carry()
    after = await stuck.saga()
    (told,) = after.decisions

    assert (ItemState.NEEDS_REPAIR, ()) == (before.record.state, before.decisions)
    assert (ItemState.DELIVERED, 3) == (after.record.state, after.record.booked_on)
    assert f"repair/1/{after.record.item.item_id}" == after.workflow
    assert (RepairChoice.REDIRECT, 2, stuck.debtor, other, Outcome.ACCOUNT_CLOSED) == (
        told.choice, told.attempt, told.target_before, told.target_after, told.evidence,
    )  # fmt: skip
    assert ("ada", "bob", "as agreed") == (told.maker, told.checker, told.reason)


async def test_what_has_met_nothing_may_be_decided_in_every_way(waiting: Sent) -> None:
    """Its present attempt can be recalled."""
    seen = await outlook_of(waiting)

    assert (AtTarget.NOTHING, 2) == (seen.at_target.state, seen.at_target.shard)
    assert ALL == safe(seen, waiting.bank)


async def test_what_is_booked_is_not_given_to_anybody_else(waiting: Sent) -> None:
    """The target has it, whatever the source knows; only the settlement is missing."""
    item = (await waiting.saga()).record.item
    await waiting.bank.shards[2].lanes.post(delivery_command(item, source=1, destination=2))
    seen = await outlook_of(waiting)

    assert (AtTarget.BOOKED, 2) == (seen.at_target.state, seen.at_target.booked_on)
    assert {"retry", "wait"} == safe(seen, waiting.bank)


async def test_what_is_recalled_may_be_decided_in_every_way(waiting: Sent) -> None:
    """The tombstone at the target is the evidence."""
    item = (await waiting.saga()).record.item
    recall = recall_command(item, details={"purpose": "test"})
    await waiting.bank.shards[2].lanes.post(recall)
    seen = await outlook_of(waiting)

    assert (AtTarget.REFUSED, Outcome.RECALLED) == (seen.at_target.state, seen.at_target.refusal)
    assert ALL == safe(seen, waiting.bank)


async def test_what_goes_to_a_silent_shard_stays_with_its_target(
    waiting: Sent, servers: Databases
) -> None:
    """Nobody can say whether it was booked there."""
    async with without(servers, 2) as partly:
        seen = await outlook_of(waiting, partly)

    assert (AtTarget.SILENT, 2) == (seen.at_target.state, seen.at_target.shard)
    assert {"retry", "wait"} == safe(seen, waiting.bank)


async def test_what_goes_to_a_moving_account_stays_with_its_target(
    way: tuple[Sent, TestRange],
) -> None:
    """A fenced range takes no tombstone either."""
    sent, made = way
    await made.set(2, "FENCED", epoch=2)
    seen = await outlook_of(sent)

    assert (AtTarget.NOTHING, True) == (seen.at_target.state, seen.at_target.is_moving)
    assert {"retry", "wait"} == safe(seen, sent.bank)


async def test_a_return_that_was_refused_is_explained(stuck: Sent) -> None:
    """Why it waits for a person, and that it cannot go back once more."""
    seen = await outlook_of(stuck)
    told = explain(seen, stuck.bank.saga_reads.temporal)

    assert (AtTarget.REFUSED, Outcome.ACCOUNT_CLOSED) == (
        seen.at_target.state,
        seen.at_target.refusal,
    )
    assert "It was set aside for a person: ACCOUNT_CLOSED." == told.what_happened[-1]
    assert ALL - {"return"} == safe(seen, stuck.bank)


@pytest.fixture
def cli_with_pages(cli: CommandLine, temporal: TemporalServer) -> CommandLine:
    """The command line, with the address of Temporal's UI among its settings."""
    return replace(cli, environment=cli.environment | {"LEDGER_TEMPORAL_UI_URL": temporal.ui_url})


async def test_items_are_listed_on_the_command_line(
    cli_with_pages: CommandLine, waiting: Sent
) -> None:
    """As JSON with everything, and as a table."""
    cli = cli_with_pages
    told, none, shown = await asyncio.gather(
        cli("sagas", "list", "--older-than", "0s", "--destination", "2", "--amount-to", "20.17"),
        cli("sagas", "list", "--shard", "3"),
        cli.in_words("sagas", "list"),
    )
    (item,) = told.document["data"]

    assert (0, [], False) == (
        told.code, told.document["not_answering"], told.document["has_more"]
    )  # fmt: skip
    assert (AMOUNT, "parked", "route", waiting.reference, "route/1/2") == tuple(
        item[name] for name in ("amount", "state", "carrier", "reference", "workflow")
    )
    assert item["page"].endswith("/namespaces/default/workflows/route%2F1%2F2")
    assert (0, []) == (none.code, none.document["data"])
    assert f"{waiting.creditor} (2)  20.17 EUR" in shown.stdout


async def test_an_item_is_shown_and_explained_on_the_command_line(
    cli: CommandLine, stuck: Sent
) -> None:
    """By its id, and by account and reference; an explanation ends with what to paste."""
    item_id = str((await stuck.saga()).record.item.item_id)
    by_id, by_transfer, told, shown = await asyncio.gather(
        cli("sagas", "show", item_id),
        cli("sagas", "show", *stuck.words),
        cli("sagas", "explain", item_id),
        cli.in_words("sagas", "explain", *stuck.words),
    )
    (explained,) = told.document["data"]
    choices = {each["choice"]: each["is_safe"] for each in explained["choices"]}

    assert (0, item_id) == (by_id.code, by_id.document["data"][0]["item"])
    assert (0, "needs_repair") == (by_transfer.code, by_transfer.document["data"][0]["state"])
    assert (0, {"retry": True, "return": False, "redirect": True, "wait": True}) == (
        told.code,
        choices,
    )
    words = "--attempt 2 --reason ... --maker ... --checker ..."
    update = '{"choice": "retry", "attempt": 2, "reason": "...", "maker": "...", "checker": "..."}'
    assert f"ledger sagas retry {item_id} {words}" in shown.stdout
    assert update in shown.stdout


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("list", "--older-than", "soon"), (2, "MALFORMED")),
        (("list", "--shard", "9"), (2, "MALFORMED")),
        (("list", "--state", "closed"), (2, "MALFORMED")),
        (("show", "17"), (2, "MALFORMED")),
        (("show", "01930000-0000-7000-8000-000000000001"), (1, "NOT_FOUND")),
        (("explain", "1000000001", "never"), (1, "NOT_FOUND")),
    ],
    ids=str,
)
async def test_what_cannot_be_read_or_found_has_its_exit_code(
    cli: CommandLine, words: tuple[str, ...], error: tuple[int, str]
) -> None:
    """Malformed 2, not found 1, and never a traceback."""
    told = await cli("sagas", *words)

    assert error == told.error
    assert "Traceback" not in told.stderr


async def test_a_silent_shard_is_told_by_exit_code_3(
    cli: CommandLine, waiting: Sent, servers: Databases
) -> None:
    """With what could be read; the shard is named in words and in the document."""
    dsns = f'{{"1": "{servers.shard_dsns[1]}", "2": "{NOWHERE}", "3": "{servers.shard_dsns[3]}"}}'
    partly = replace(cli, environment=cli.environment | {"LEDGER_SHARD_DSNS": dsns})
    listed, explained = await asyncio.gather(
        partly("sagas", "list"), partly("sagas", "explain", *waiting.words)
    )

    assert (3, 1, [2]) == (
        listed.code,
        len(listed.document["data"]),
        [each["shard"] for each in listed.document["not_answering"]],
    )
    assert "Shard 2 does not answer" in listed.stderr
    assert (3, "silent") == (
        explained.code,
        explained.document["data"][0]["at_target"]["state"],
    )
