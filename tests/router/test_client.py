"""The client against a real bank over real connections, some of which are cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from router.client import (
    LedgerClient,
    Leg,
    LegsOrder,
    NotFound,
    Refused,
    Retries,
    TransferOrder,
    Unavailable,
)
from router.wiring import Bank
from shard.ids import new_id
from tests.support.bank import Figures, account_no, at_rest, figures, open_account, settings_of
from tests.support.databases import Databases
from tests.support.serving import CutWire, served

PATIENCE_S = 60.0
QUICK = Retries(first_pause_s=0.001, longest_pause_s=0.001)


@pytest.fixture
async def url(bank: Bank) -> AsyncIterator[str]:
    async with served(bank) as where:
        yield where


@pytest.fixture
async def client(url: str) -> AsyncIterator[LedgerClient]:
    async with LedgerClient(url) as opened:
        yield opened


def order(
    debtor: int, creditor: int, amount: str = "20.00", *, reference: str | None = None
) -> TransferOrder:
    named = reference or str(new_id())
    return TransferOrder(named, str(debtor), str(creditor), Decimal(amount), "EUR", "Rent")


async def pair(bank: Bank, debtor_shard: int, creditor_shard: int) -> tuple[int, int]:
    debtor = await open_account(bank.shards[debtor_shard], "100.00")
    return debtor, await open_account(bank.shards[creditor_shard])


async def test_a_transfer_is_made_and_made_again(client: LedgerClient, bank: Bank) -> None:
    """The second time it is a replay of the same transfer, and so is a look at it."""
    debtor, creditor = await pair(bank, 1, 1)
    wanted = order(debtor, creditor)
    first, second = await client.transfer(wanted), await client.transfer(wanted)
    read = await client.get_transfer(str(debtor), wanted.reference)
    assert (False, True, first.id, first) == (first.is_replay, second.is_replay, second.id, read)
    assert Figures(Decimal("80.0000"), 2) == await figures(bank.shards[1], debtor)


async def test_money_between_shards_is_waited_for(client: LedgerClient, bank: Bank) -> None:
    """Asking until it has arrived, or having the ledger wait, comes to the same."""
    debtor, creditor = await pair(bank, 1, 2)
    asked = await client.wait(await client.transfer(order(debtor, creditor)), PATIENCE_S)
    waited = await client.transfer(order(debtor, creditor), wait_s=10)
    assert ["delivered", "delivered"] == [asked.money_state, waited.money_state]


async def test_a_refusal_is_an_error_with_its_code(client: LedgerClient, bank: Bank) -> None:
    """And says when the same request was refused before."""
    wanted = order(*await pair(bank, 1, 1), amount="100.01")
    told = []
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            await client.transfer(wanted)
        told.append((refused.value.code, refused.value.is_replay))
    assert [("INSUFFICIENT_FUNDS", False), ("INSUFFICIENT_FUNDS", True)] == told


async def test_an_answer_that_is_lost_is_asked_for_again(url: str, bank: Bank) -> None:
    """The connection breaks after the ledger has booked: the repetition moves no money again."""
    debtor, creditor = await pair(bank, 1, 1)
    wire = CutWire(url, cuts=[1, 100])
    async with wire.open() as cut_url, LedgerClient(cut_url, retries=QUICK) as client:
        transfer = await client.transfer(order(debtor, creditor))
    assert (True, "posted", 3) == (transfer.is_replay, transfer.money_state, wire.connections)
    assert Figures(Decimal("80.0000"), 2) == await figures(bank.shards[1], debtor)


async def at_once(seconds: float) -> None:
    """No pause at all."""


async def test_a_dead_shard_is_unavailable(servers: Databases) -> None:
    """After all repeats the error says that nothing happened and that it may be repeated."""
    dsns = dict(servers.shard_dsns) | {3: "host=/nowhere dbname=ledger"}
    settings = settings_of(servers, shard_dsns=dsns, run_worker=False)
    retries = Retries(repeats=1, sleep=at_once)
    async with (
        Bank(settings) as bank,
        served(bank) as url,
        LedgerClient(url, retries=retries) as client,
    ):
        with pytest.raises(Unavailable) as told:
            await client.transfer(order(account_no(3), account_no(1)))
    assert ("SHARD_UNAVAILABLE", True, 1.0) == (
        told.value.code,
        told.value.retryable,
        told.value.retry_after_s,
    )


async def test_an_account_from_its_opening_to_its_end(client: LedgerClient) -> None:
    """Opened, found again, looked at, frozen, reopened, closed."""
    customer = f"C-{new_id()}"
    opened = await client.open_account(customer=customer, currency="EUR", reference="A", name="Ada")
    again = await client.open_account(customer=customer, currency="EUR", reference="A", name="Ada")
    assert (False, True, opened.account) == (opened.is_replay, again.is_replay, again.account)
    assert opened == await client.account(opened.account)
    statuses = ["frozen", "open", "closed"]
    changed = [await client.change_account(opened.account, status=each) for each in statuses]
    assert statuses == [each.status for each in changed]


async def test_terms_of_an_account_are_changed_together(client: LedgerClient) -> None:
    """Limits and metadata come back as they were given."""
    opened = await client.open_account(
        customer=f"C-{new_id()}", currency="EUR", reference="A", overdraft_limit=Decimal("5.00")
    )
    changed = await client.change_account(
        opened.account, overdraft_limit=Decimal("7.50"), metadata={"branch": "17"}
    )
    assert (Decimal("5.00"), Decimal("7.50"), {"branch": "17"}) == (
        opened.overdraft_limit,
        changed.overdraft_limit,
        changed.metadata,
    )


async def test_an_unknown_account_is_not_found(client: LedgerClient) -> None:
    """An error of its own class."""
    with pytest.raises(NotFound):
        await client.balance("1999999996")


async def test_entries_come_page_by_page(client: LedgerClient, bank: Bank) -> None:
    """All of them in their order, and the last one agrees with the balance."""
    debtor, creditor = await pair(bank, 1, 1)
    for _ in range(4):
        await client.transfer(order(debtor, creditor, amount="1.00"))
    entries = [each async for each in client.entries(str(debtor), page_size=2)]
    balance = await client.balance(str(debtor))
    assert [1, 2, 3, 4, 5] == [each.seq for each in entries]
    assert (Decimal("96.00"), balance.ledger) == (balance.ledger, entries[-1].ledger_after)


async def test_entries_of_some_days(client: LedgerClient, bank: Bank) -> None:
    """The first day is inside, the last one outside."""
    account = str(await open_account(bank.shards[1], "100.00"))
    day = await bank.shards[1].business_day.get()
    inside = [each async for each in client.entries(account, from_date=day)]
    outside = [each async for each in client.entries(account, to_date=day)]
    assert (1, 0) == (len(inside), len(outside))


async def test_one_debtor_pays_several_creditors(client: LedgerClient, bank: Bank) -> None:
    """All legs stand under one reference."""
    debtor, creditor = await pair(bank, 1, 1)
    fees = await open_account(bank.shards[1])
    legs = (
        Leg(str(debtor), Decimal("-20.00")),
        Leg(str(creditor), Decimal("19.50")),
        Leg(str(fees), Decimal("0.50")),
    )
    transfer = await client.transfer(LegsOrder(str(new_id()), "EUR", legs))
    assert (legs, None, Decimal("20.00")) == (
        transfer.legs,
        transfer.creditor_account,
        transfer.amount,
    )
    assert Decimal("0.50") == (await client.balance(str(fees))).ledger


async def test_a_transfer_is_taken_back_in_part(client: LedgerClient, bank: Bank) -> None:
    """Under a reference of its own, and once."""
    debtor, creditor = await pair(bank, 1, 1)
    paid = order(debtor, creditor)
    await client.transfer(paid)
    answers = [
        await client.reverse(str(debtor), paid.reference, reference="REV-1", amount=Decimal("5.00"))
        for _ in range(2)
    ]
    assert [("reversal", False), ("reversal", True)] == [(a.kind, a.is_replay) for a in answers]
    assert Decimal("85.00") == (await client.balance(str(debtor))).ledger


async def test_a_hold_from_its_placing_to_its_end(client: LedgerClient, bank: Bank) -> None:
    """Placed, increased, captured in part, and the rest let go."""
    debtor, creditor = await pair(bank, 1, 1)
    account, hold = str(debtor), str(new_id())
    expires_at = datetime.now(UTC) + timedelta(days=3_650)
    placed = await client.place_hold(
        reference=hold,
        account=account,
        amount=Decimal("30.00"),
        currency="EUR",
        expires_at=expires_at,
    )
    increased = await client.increase(
        account, hold, reference=str(new_id()), amount=Decimal("10.00")
    )
    captured = await client.capture(
        account,
        hold,
        reference=str(new_id()),
        creditor_account=str(creditor),
        amount=Decimal("25.00"),
    )
    voided = await client.void(account, hold, reference=str(new_id()))
    assert ["pending 30.00", "pending 40.00", "pending 15.00", "voided 0.00"] == [
        f"{each.state} {each.remaining}" for each in (placed, increased, captured.hold, voided)
    ]
    assert (voided, "capture") == (await client.hold(account, hold), captured.transfer.kind)
    assert Decimal("75.00") == (await client.balance(account)).available


async def test_a_stream_is_answered_order_by_order(client: LedgerClient, bank: Bank) -> None:
    """In their order, whichever shard they were booked on."""
    first, second = await pair(bank, 1, 1), await pair(bank, 2, 3)
    given = [
        order(*(first if n % 2 else second), amount="0.01", reference=f"S-{n}") for n in range(999)
    ]
    results = [result async for result in client.bulk(given)]
    assert [(n + 1, f"S-{n}") for n in range(999)] == [
        (each.line, each.transfer.reference) for each in results if each.transfer is not None
    ]
    await at_rest(bank)
    assert Decimal("5.00") == (await client.balance(str(second[1]))).ledger


async def test_orders_may_depend_on_answers(client: LedgerClient, bank: Bank) -> None:
    """An order may be made from the answer to the one before: both streams are open at once."""
    debtor, creditor = await pair(bank, 1, 1)
    answered: asyncio.Queue[str] = asyncio.Queue()

    async def one_after_the_other() -> AsyncIterator[TransferOrder]:
        for n in range(5):
            yield order(debtor, creditor, amount="1.00", reference=f"DEP-{n}")
            assert f"DEP-{n}" == await answered.get()

    async with asyncio.timeout(PATIENCE_S):
        async for result in client.bulk(one_after_the_other()):
            assert result.transfer is not None
            answered.put_nowait(result.transfer.reference)
    assert Decimal("95.00") == (await client.balance(str(debtor))).ledger


async def test_a_stream_that_is_cut_goes_on(url: str, bank: Bank) -> None:
    """Cut again and again, each order is answered once and has moved its money once."""
    debtor, creditor = await pair(bank, 1, 1)
    given = [order(debtor, creditor, amount="0.01", reference=f"CUT-{n}") for n in range(2_000)]
    wire = CutWire(url, cuts=[1, 2_000, 100_000, 300_000])
    async with wire.open() as cut_url, LedgerClient(cut_url, retries=QUICK) as client:
        results = [result async for result in client.bulk(given)]
    assert [f"CUT-{n}" for n in range(2_000)] == [
        each.transfer.reference for each in results if each.transfer is not None
    ]
    assert 5 == wire.connections
    assert Decimal("80.00") == (await bank.accounts.balance(debtor)).ledger


async def test_a_cut_does_not_end_the_callers_orders(url: str, bank: Bank) -> None:
    """An iterator that is waited for when the stream breaks off is not disturbed by it."""
    debtor, creditor = await pair(bank, 1, 1)
    answered = asyncio.Event()

    async def later() -> AsyncIterator[TransferOrder]:
        yield order(debtor, creditor, reference="FIRST")
        await answered.wait()
        yield order(debtor, creditor, reference="SECOND")

    told = []
    wire = CutWire(url, cuts=[1])
    async with (
        asyncio.timeout(PATIENCE_S),
        wire.open() as cut_url,
        LedgerClient(cut_url, retries=QUICK) as client,
    ):
        async for result in client.bulk(later()):
            assert result.transfer is not None
            told.append(result.transfer.reference)
            answered.set()
    assert (["FIRST", "SECOND"], 2) == (told, wire.connections)


async def test_a_stream_that_is_left_ends(client: LedgerClient, bank: Bank) -> None:
    """Whoever has seen enough closes the iteration; the ledger serves on."""
    debtor, creditor = await pair(bank, 1, 1)

    async def for_ever() -> AsyncIterator[TransferOrder]:
        while True:
            yield order(debtor, creditor, amount="0.01")

    async with asyncio.timeout(PATIENCE_S), aclosing(client.bulk(for_ever())) as results:
        async for result in results:
            if result.line == 10:
                break
    assert Decimal("100.00") > (await client.balance(str(debtor))).ledger


async def test_a_unit_is_booked_as_a_whole(client: LedgerClient, bank: Bank) -> None:
    """All orders or none, and each has a result."""
    debtor, creditor = await pair(bank, 1, 1)
    good, bad = order(debtor, creditor), order(debtor, creditor, amount="500.00")
    refused = [each async for each in client.bulk([good, bad], atomic=True)]
    booked = [each async for each in client.bulk([good], atomic=True)]
    assert ["ATOMIC_ABORTED", "INSUFFICIENT_FUNDS"] == [
        each.error.code for each in refused if each.error is not None
    ]
    assert [201] == [each.status for each in booked]
