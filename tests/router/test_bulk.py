"""Streams of transfers over HTTP, through a real bank."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import httpx
import orjson
import pytest

from router.client.duplex import DuplexTransport
from router.transfer_requests import TransferRequest
from router.transfers import Submitted
from router.wiring import Bank
from shard.accounts import AccountKind, AccountStatus, NewAccount
from shard.commands import Answer, Command, MoneyState
from shard.errors import LedgerError, NotFound, OutcomeUnknown, RangeMoving, ShardUnavailable
from shard.ids import new_id
from shard.outcomes import Outcome
from tests.router.ranges import TestRange, new_range
from tests.support.bank import Figures, account_no, at_rest, figures, open_account, settings_of
from tests.support.databases import Databases
from tests.support.serving import served

PATH = "/v1/transfers/bulk"
NDJSON = {"content-type": "application/x-ndjson"}
PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Told:
    """One line of an answer."""

    line: int
    status: int
    document: dict[str, Any]
    is_replay: bool

    @property
    def code(self) -> str:
        """The problem's code; the state of the money where there is none."""
        code: str = self.document["code"] if self.status >= 400 else self.document["money_state"]
        return code


@pytest.fixture
async def client(bank: Bank) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        served(bank) as url,
        httpx.AsyncClient(
            base_url=url, transport=DuplexTransport(), timeout=PATIENCE_S, trust_env=False
        ) as opened,
    ):
        yield opened


@pytest.fixture
async def test_range(servers: Databases) -> AsyncIterator[TestRange]:
    """A range of this test's own, on shard 1."""
    async with new_range(servers, shard=1) as made:
        yield made


def payment(debtor: int, creditor: int, amount: str = "1.00", **changes: Any) -> dict[str, Any]:
    return {
        "reference": str(new_id()),
        "debtor_account": str(debtor),
        "creditor_account": str(creditor),
        "amount": amount,
        "currency": "EUR",
        **changes,
    }


def ndjson(documents: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(each, option=orjson.OPT_APPEND_NEWLINE) for each in documents)


async def posted(client: httpx.AsyncClient, body: bytes, query: str = "") -> list[Told]:
    response = await client.post(PATH + query, content=body, headers=NDJSON)
    assert (200, NDJSON["content-type"]) == (
        response.status_code,
        response.headers["content-type"],
    )
    return [_told(orjson.loads(each)) for each in response.content.splitlines()]


def _told(answer: dict[str, Any]) -> Told:
    document = answer.get("transfer") or answer["problem"]
    return Told(answer["line"], answer["status"], document, answer.get("replayed", False))


async def pair(bank: Bank, debtor_shard: int, creditor_shard: int) -> tuple[int, int]:
    debtor = await open_account(bank.shards[debtor_shard], "100.00")
    return debtor, await open_account(bank.shards[creditor_shard])


async def test_a_stream_books_what_single_requests_would(
    client: httpx.AsyncClient, bank: Bank
) -> None:
    """Local and cross-shard lines of all shards, refused and malformed ones: each by itself."""
    first, second, third = [await pair(bank, *shards) for shards in ((1, 1), (2, 3), (3, 3))]
    lines = [
        payment(*first),
        payment(*second),
        payment(*third, amount="100.01"),
        payment(*third, amount="1.001"),
        payment(first[0], 10**17),
        payment(*third),
    ]
    told = await posted(client, ndjson(lines))
    assert [
        (1, 201, "posted"),
        (2, 202, "in_transit"),
        (3, 422, "INSUFFICIENT_FUNDS"),
        (4, 400, "MALFORMED"),
        (5, 422, "ACCOUNT_UNKNOWN"),
        (6, 201, "posted"),
    ] == [(each.line, each.status, each.code) for each in told]
    await at_rest(bank)
    assert [Decimal(1)] * 3 == [
        (await figures(bank.shards[account // 10**9], account)).ledger
        for _, account in (first, second, third)
    ]


async def test_an_answer_is_the_transfer_itself(client: httpx.AsyncClient, bank: Bank) -> None:
    """What a line is told is what a look at the transfer tells."""
    lines = [payment(*await pair(bank, 1, 1), narrative="Rent", value_date="2026-11-24")]
    (told,) = await posted(client, ndjson(lines))
    read = await client.get(f"/v1/transfers/{lines[0]['debtor_account']}/{lines[0]['reference']}")
    assert read.json() == told.document


async def test_a_stream_again_is_a_stream_of_replays(client: httpx.AsyncClient, bank: Bank) -> None:
    """Every line is answered as it stands now, delivered by then or refused for good."""
    local, cross = await pair(bank, 1, 1), await pair(bank, 2, 3)
    lines = [payment(*local), payment(*cross), payment(*local, amount="500.00")]
    await posted(client, ndjson(lines))
    await at_rest(bank)
    again = await posted(client, ndjson(lines))
    assert [
        (200, "posted", True),
        (200, "delivered", True),
        (422, "INSUFFICIENT_FUNDS", True),
    ] == [(each.status, each.code, each.is_replay) for each in again]
    assert Figures(Decimal("99.0000"), 2) == await figures(bank.shards[1], local[0])


async def test_a_reference_in_many_lines_has_one_effect(
    client: httpx.AsyncClient, bank: Bank
) -> None:
    """Within a batch and across batches: one line is the first, all others are replays."""
    debtor, creditor = await pair(bank, 1, 1)
    told = await posted(client, ndjson([payment(debtor, creditor)] * 300))
    assert [200] * 299 + [201] == sorted(each.status for each in told)
    assert 1 == len({each.document["id"] for each in told})
    assert Figures(Decimal("99.0000"), 2) == await figures(bank.shards[1], debtor)


async def test_a_reference_with_another_content_is_refused(
    client: httpx.AsyncClient, bank: Bank
) -> None:
    """The first line of a batch takes the reference; the second one is told so."""
    line = payment(*await pair(bank, 1, 1))
    told = await posted(client, ndjson([line, {**line, "amount": "2.00"}]))
    assert [(201, "posted"), (422, "REFERENCE_REUSED")] == [(t.status, t.code) for t in told]


async def test_thousands_of_lines_are_booked_in_full(client: httpx.AsyncClient, bank: Bank) -> None:
    """Line by line in order, and the balances are the sum of the lines."""
    accounts = [await open_account(bank.shards[n], "10000.00") for n in (1, 1, 2, 2, 3, 3)]
    lines = [
        payment(accounts[n % 6], accounts[n % 6 ^ 1], reference=f"BULK-{n}", amount="0.01")
        for n in range(6_000)
    ]
    told = await posted(client, ndjson(lines))
    assert [(n + 1, 201, f"BULK-{n}") for n in range(6_000)] == [
        (each.line, each.status, each.document["reference"]) for each in told
    ]
    assert [Figures(Decimal(10_000), 2_001)] * 6 == [
        await figures_of_many(bank, account) for account in accounts
    ]


async def figures_of_many(bank: Bank, account: int) -> Figures:
    """Balance and entries of an account with more entries than a page holds."""
    shard = bank.shards[account // 10**9]
    balance = await shard.balances.get(account)
    return Figures(balance.ledger, int(balance.seq))


async def test_a_stream_that_breaks_off_leaves_no_half_line(bank: Bank) -> None:
    """Whole lines are executed, also those whose answers nobody reads; the begun one is not."""
    debtor, creditor = await pair(bank, 1, 1)
    lines = [payment(debtor, creditor, reference=f"CUT-{n}") for n in range(3)]
    begun = ndjson([payment(debtor, creditor, reference="BEGUN")]).rstrip(b"}\n")
    async with served(bank) as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n"
            "Content-Length: 1000000\r\n\r\n".encode()
            + ndjson(lines)
        )
        for n in range(3):
            await reader.readuntil(b'"reference":"CUT-%d"' % n)
        writer.write(begun)
        await writer.drain()
        writer.transport.abort()
    assert Decimal(97) == (await figures(bank.shards[1], debtor)).ledger
    with pytest.raises(NotFound):
        await bank.transfers.get(debtor, "BEGUN")


@pytest.mark.parametrize("begun", [b"", b'{"reference": "BEGUN"'])
async def test_who_ends_his_side_hears_of_every_whole_line(bank: Bank, begun: bytes) -> None:
    """A body that ends in its middle: all whole lines are told of, then where it broke off."""
    debtor, creditor = await pair(bank, 1, 1)
    sent = ndjson([payment(debtor, creditor) for _ in range(3)]) + begun
    told = await answers_to_half_closed(bank, "Content-Length: 1000000", sent)
    assert [(1, 201), (2, 201), (3, 201), (4, 400)] == [
        (each["line"], each["status"]) for each in told
    ]
    assert "BODY_CUT_OFF" == told[3]["problem"]["code"]
    assert Decimal(97) == (await figures(bank.shards[1], debtor)).ledger


async def test_who_ends_his_side_after_a_whole_stream_hears_of_it(bank: Bank) -> None:
    """Nothing is missing, so nothing is said to be."""
    sent = ndjson([payment(*await pair(bank, 1, 1)) for _ in range(3)])
    told = await answers_to_half_closed(bank, f"Content-Length: {len(sent)}", sent)
    assert [201] * 3 == [each["status"] for each in told]


async def answers_to_half_closed(bank: Bank, length: str, body: bytes) -> list[dict[str, Any]]:
    """What is told to a client that sends a body, ends its side, and only then reads."""
    async with served(bank) as url, asyncio.timeout(PATIENCE_S):
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n"
        writer.write(f"{head}{length}\r\n\r\n".encode() + body)
        writer.write_eof()
        answered = await reader.read()
        writer.close()
        return [orjson.loads(each) for each in answered.splitlines() if each.startswith(b"{")]


async def test_a_line_follows_an_account_that_moved(
    client: httpx.AsyncClient, bank: Bank, test_range: TestRange
) -> None:
    """A stale router is sent on for one line as for a single request; the others do not wait."""
    await bank.routes.refresh()
    await test_range.move(1, 2, epoch=2)
    moved = await open_in(bank, test_range, 2)
    here = await pair(bank, 1, 1)
    creditor = await open_account(bank.shards[2])
    told = await posted(client, ndjson([payment(moved, creditor), payment(*here)]))
    assert [(201, "posted")] * 2 == [(each.status, each.code) for each in told]


async def test_lines_wait_while_their_range_is_fenced(bank: Bank, test_range: TestRange) -> None:
    """A short move costs the stream time and nothing else."""
    debtor = await open_in(bank, test_range, 1)
    creditor = await open_in(bank, test_range, 1, offset=1)
    await bank.routes.refresh()
    await test_range.set(1, "FENCED", epoch=2)
    waiting = asyncio.create_task(bank.bulk.submit_many([wanted(debtor, creditor)]))
    await bank.shards[1].ping()
    assert not waiting.done()
    await test_range.set(1, "OWNED", epoch=2)
    (result,) = await waiting
    assert isinstance(result, Submitted)
    assert (MoneyState.POSTED, False) == (result.record.money_state, result.is_replay)


async def test_a_fence_that_outlasts_the_budget_is_told_of_its_lines(
    bank: Bank, test_range: TestRange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RANGE_MOVING for them, retryable; the others of the chunk are booked."""
    monkeypatch.setattr("router.bulk.REQUEST_BUDGET_S", 0.05)
    debtor = await open_in(bank, test_range, 1)
    creditor = await open_in(bank, test_range, 1, offset=1)
    await bank.routes.refresh()
    await test_range.set(1, "FENCED", epoch=2)
    here = await pair(bank, 1, 1)
    moving, booked = await bank.bulk.submit_many([wanted(debtor, creditor), wanted(*here)])
    await test_range.set(1, "OWNED", epoch=2)
    assert isinstance(moving, RangeMoving)
    assert isinstance(booked, Submitted)


async def test_a_dead_shard_fails_its_lines_only(servers: Databases) -> None:
    """503, retryable, for the lines of its accounts."""
    dsns = dict(servers.shard_dsns) | {2: "host=/nowhere dbname=ledger"}
    settings = settings_of(servers, shard_dsns=dsns, run_worker=False)
    async with Bank(settings) as bank, served(bank) as url:
        here = await pair(bank, 1, 1)
        transport = DuplexTransport()
        async with httpx.AsyncClient(base_url=url, transport=transport) as client:
            lines = [payment(account_no(2), here[1]), payment(*here)]
            told = await posted(client, ndjson(lines))
    assert [(503, "SHARD_UNAVAILABLE"), (201, "posted")] == [(t.status, t.code) for t in told]
    assert "nowhere" not in str(told[0].document)


async def test_a_replay_that_cannot_be_read_is_unknown(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is booked, so neither "nothing happened" nor an invented answer would be true."""
    request = wanted(*await pair(bank, 1, 1))
    await bank.bulk.submit_many([request])

    async def down(*_: object) -> None:
        raise LedgerError

    monkeypatch.setattr(bank.shards[1].transfers, "get_many", down)
    (result,) = await bank.bulk.submit_many([request])
    assert isinstance(result, OutcomeUnknown)


async def test_a_unit_is_booked_as_a_whole(client: httpx.AsyncClient, bank: Bank) -> None:
    """Each line may build on the one before; sent again, all of it is a replay."""
    debtor, middle = await pair(bank, 1, 1)
    last = await open_account(bank.shards[1])
    lines = [payment(debtor, middle, "60.00"), payment(middle, last, "60.00")]
    first = await posted(client, ndjson(lines), "?atomic=true")
    again = await posted(client, ndjson(lines), "?atomic=true")
    assert [(201, False)] * 2 + [(200, True)] * 2 == [
        (each.status, each.is_replay) for each in (*first, *again)
    ]
    assert Figures(Decimal("60.0000"), 1) == await figures(bank.shards[1], last)


async def test_a_unit_with_a_refused_line_books_nothing(
    client: httpx.AsyncClient, bank: Bank
) -> None:
    """The refused line says why, the others that they were given up; their references are free."""
    debtor, creditor = await pair(bank, 1, 1)
    good = [payment(debtor, creditor), payment(debtor, creditor)]
    bad = payment(debtor, creditor, "500.00")
    refused = await posted(client, ndjson([good[0], bad, good[1]]), "?atomic=true")
    assert [
        (422, "ATOMIC_ABORTED"),
        (422, "INSUFFICIENT_FUNDS"),
        (422, "ATOMIC_ABORTED"),
    ] == [(each.status, each.code) for each in refused]
    assert Figures(Decimal("100.0000"), 1) == await figures(bank.shards[1], debtor)
    booked = await posted(client, ndjson(good), "?atomic=true")
    assert [201, 201] == [each.status for each in booked]


async def test_a_unit_with_a_frozen_account_books_nothing(
    client: httpx.AsyncClient, bank: Bank
) -> None:
    """Any refusal aborts a unit, also one at the creditor."""
    debtor, creditor = await pair(bank, 1, 1)
    frozen = await open_account(bank.shards[1])
    await bank.accounts.change_status(frozen, AccountStatus.FROZEN, actor="test", reason="test")
    lines = [payment(debtor, creditor), payment(debtor, frozen)]
    told = await posted(client, ndjson(lines), "?atomic=true")
    assert ["ATOMIC_ABORTED", "ACCOUNT_FROZEN"] == [each.code for each in told]
    assert Figures(Decimal("100.0000"), 1) == await figures(bank.shards[1], debtor)


@pytest.mark.parametrize("case", ["creditor", "debtor"])
async def test_a_unit_stays_on_one_shard(client: httpx.AsyncClient, bank: Bank, case: str) -> None:
    """422 with the line that lies elsewhere, whichever side of it; nothing is booked."""
    debtor, creditor = await pair(bank, 1, 1)
    elsewhere = await pair(bank, 2, 2)
    other = (debtor, elsewhere[1]) if case == "creditor" else elsewhere
    body = ndjson([payment(debtor, creditor), payment(*other)])
    response = await client.post(f"{PATH}?atomic=true", content=body, headers=NDJSON)
    problem = response.json()
    assert (422, "NOT_ONE_SHARD", [2]) == (
        response.status_code,
        problem["code"],
        [each["line"] for each in problem["errors"]],
    )
    assert Figures(Decimal("100.0000"), 1) == await figures(bank.shards[1], debtor)


async def test_a_poisonous_line_harms_only_itself(
    client: httpx.AsyncClient, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of one command is told of its line; its neighbours of the chunk are booked."""
    debtor, creditor = await pair(bank, 1, 1)
    lanes = bank.shards[1].lanes
    post_each = lanes.post_each

    async def first_is_lost(
        commands: Sequence[Command], *, is_patient: bool
    ) -> list[Answer | LedgerError]:
        return [OutcomeUnknown(), *await post_each(commands[1:], is_patient=is_patient)]

    monkeypatch.setattr(lanes, "post_each", first_is_lost)
    lines = [payment(debtor, creditor), payment(debtor, creditor)]
    told = await posted(client, ndjson(lines))
    assert [(504, "OUTCOME_UNKNOWN"), (201, "posted")] == [(t.status, t.code) for t in told]


async def test_a_shard_that_is_not_asked_fails_its_lines_only(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lanes that take nothing on refuse every line of theirs; other shards book theirs."""

    async def refuse(_: Sequence[Command], **__: bool) -> list[Answer | LedgerError]:
        raise ShardUnavailable

    monkeypatch.setattr(bank.shards[2].lanes, "post_each", refuse)
    here = wanted(*await pair(bank, 1, 1))
    refused, booked = await bank.bulk.submit_many([wanted(account_no(2), account_no(2)), here])
    assert isinstance(refused, ShardUnavailable)
    assert isinstance(booked, Submitted)


async def open_in(bank: Bank, test_range: TestRange, shard: int, offset: int = 0) -> int:
    """Open an account without a floor in the test's range, on the shard that owns it now."""
    number = test_range.lo + offset
    new = NewAccount(number, "EUR", AccountKind.EQUITY, None, None, b"test")
    assert await bank.shards[shard].accounts.open_many([new]) == [Outcome.POSTED]
    return number


def wanted(debtor: int, creditor: int) -> TransferRequest:
    return TransferRequest(str(new_id()), debtor, creditor, Decimal("1.00"), "EUR")
