"""A real bank for tests: migrated shards and directory, accounts of a test's own, invariants.

A test gets account numbers nobody else uses, so that the servers are started once for all.
Whoever uses ``shards`` or ``bank`` ends with every invariant checked.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from deploy.embedded.ports import free_port
from deploy.embedded.temporal import TemporalServer
from router.settings import Settings
from router.wiring import Bank, migrate_all
from shard.accounts import AccountKind, NewAccount
from shard.commands import Answer, Command, Kind, Leg, MoneyState, Origin, ParkedAmount, Terms
from shard.connections import connect
from shard.errors import ShardUnavailable
from shard.ids import new_id
from shard.invariants import Finding
from shard.outcomes import Outcome
from shard.references import request_hash
from shard.shard import Shard
from tests.support.databases import SHARDS, Databases, databases, temporary_folder
from tests.support.options import PostgresChoice

BUSINESS_DATE = date(2026, 11, 23)
_RANGE = 1_000_000_000
_numbers = itertools.count(100_000_000)


@pytest.fixture(scope="session")
async def servers(postgres: PostgresChoice) -> AsyncIterator[Databases]:
    """PostgreSQL servers of a migrated bank that opened on ``BUSINESS_DATE``."""
    async with databases(postgres) as found:
        await migrate_all(settings_of(found), report=lambda *_: None, today=BUSINESS_DATE)
        for dsn in found.shard_owner_dsns.values():
            await allow_test_clock(dsn)
        yield found


async def allow_test_clock(owner_dsn: str) -> None:
    """Let sessions of this shard set ``ledger.clock``."""
    async with await connect(owner_dsn) as connection:
        await connection.execute("UPDATE ledger.shard_state SET allows_test_clock = true")


@pytest.fixture(scope="session")
async def temporal() -> AsyncIterator[TemporalServer]:
    """A Temporal server of this run."""
    async with temporary_folder("temporal") as folder:
        port = free_port(frozenset())
        server = TemporalServer(folder, port=port, ui_port=free_port(frozenset({port})))
        await server.start()
        try:
            yield server
        finally:
            await server.stop()


@pytest.fixture
async def shards(servers: Databases) -> AsyncIterator[Mapping[int, Shard]]:
    """The three shards, open, without router and without sagas; at the end their books are right.

    Amounts that a test leaves in transit are nobody's fault here: nothing carries them.
    """
    opened = {number: Shard(number, servers.shard_dsns[number]) for number in SHARDS}
    await asyncio.gather(*(shard.open() for shard in opened.values()))
    try:
        yield opened
        assert await findings(opened) == []
    finally:
        await asyncio.gather(*(shard.close() for shard in opened.values()))


@pytest.fixture
async def bank(servers: Databases, temporal: TemporalServer) -> AsyncIterator[Bank]:
    """A whole bank with its worker; at the end nothing is in transit and all books are right."""
    async with Bank(settings_of(servers, temporal)) as opened:
        yield opened
        await at_rest(opened)
        assert await findings(opened.shards) == []


def settings_of(
    servers: Databases, temporal: TemporalServer | None = None, **changes: object
) -> Settings:
    """Settings of a process of this bank."""
    values: dict[str, object] = {
        "shard_dsns": dict(servers.shard_dsns),
        "shard_owner_dsns": dict(servers.shard_owner_dsns),
        "directory_dsn": servers.directory_dsn,
        "directory_owner_dsn": servers.directory_owner_dsn,
        "http_port": 0,
    }
    if temporal is not None:
        values |= {"temporal_address": temporal.address, "temporal_ui_url": temporal.ui_url}
    return Settings.model_validate(values | changes)


async def findings(shards: Mapping[int, Shard]) -> list[Finding]:
    """Every violated invariant of every shard."""
    found = await asyncio.gather(*(shard.invariants.check() for shard in shards.values()))
    return [finding for each in found for finding in each]


async def at_rest(bank: Bank, within_s: float = 60.0) -> None:
    """Wait until no amount is in transit anywhere."""
    async with asyncio.timeout(within_s):
        for shard in bank.shards.values():
            await _settled(shard)


async def _settled(shard: Shard) -> None:
    while True:
        try:
            if not await shard.suspense.open_totals():
                return
        except ShardUnavailable:
            pass  # It came back a moment ago, and that was not noticed yet.
        await asyncio.sleep(0.05)  # sleep: the end of a saga has no event here


def account_no(shard: int = 1) -> int:
    """A number in a customers' range of ``shard`` that no other test uses."""
    return shard * _RANGE + next(_numbers)


async def open_account(
    shard: Shard,
    funds: str = "0",
    *,
    currency: str = "EUR",
    limit: str | None = "0",
    buckets: int = 1,
) -> int:
    """Open an account on ``shard`` with ``funds`` out of an equity account of its own."""
    number, equity = account_no(shard.number), account_no(shard.number)
    floor = None if limit is None else Decimal(limit)
    outcomes = await shard.accounts.open_many([
        NewAccount(
            number, currency, AccountKind.CUSTOMER, "C-1", floor, b"t", bucket_count=buckets
        ),
        NewAccount(equity, currency, AccountKind.EQUITY, None, None, b"t"),
    ])  # fmt: skip
    assert outcomes == [Outcome.POSTED] * 2
    if Decimal(funds):
        answer = await shard.lanes.post(transfer(equity, number, funds, currency=currency))
        assert answer.outcome is Outcome.POSTED
    return number


def transfer(
    debtor: int,
    creditor: int,
    amount: str,
    reference: str | None = None,
    *,
    currency: str = "EUR",
    narrative: str | None = None,
) -> Command:
    """A client's transfer: local where both are of one shard, else parked for the creditor's."""
    value = Decimal(amount)
    name = reference or str(new_id())
    is_local = debtor // _RANGE == creditor // _RANGE
    legs: Sequence[Leg] = [Leg(debtor, -value, creditor)]
    if is_local:
        legs = [*legs, Leg(creditor, value, debtor)]
    fields = {
        "debtor_account": str(debtor),
        "creditor_account": str(creditor),
        "amount": amount,
        "currency": currency,
        "narrative": narrative,
    }
    return Command(
        home=debtor,
        origin=Origin.CLIENT,
        reference=name,
        transfer_id=new_id(),
        request_hash=request_hash("transfer/1", fields),
        currency=currency,
        amount=value,
        creditor=creditor,
        legs=tuple(legs),
        parked=() if is_local else (ParkedAmount(new_id(), creditor, value),),
        narrative=narrative,
    )


@dataclass(frozen=True, slots=True)
class Figures:
    """What a test states about an account: its ledger balance and how many entries made it."""

    ledger: Decimal
    entries: int


async def figures(shard: Shard, account: int) -> Figures:
    """An account's balance and number of entries, in one look."""
    balance = await shard.balances.get(account)
    page = await shard.statements.page(account, limit=1_000)
    return Figures(balance.ledger, len(page.lines))


def hold(
    account: int, amount: str, *, reference: str | None = None, for_s: float = 3600
) -> Command:
    """A hold of ``amount`` EUR that ends in ``for_s`` seconds."""
    transfer_id = new_id()
    name = reference or f"H-{transfer_id}"
    return Command(
        home=account,
        origin=Origin.CLIENT,
        reference=name,
        transfer_id=transfer_id,
        request_hash=f"{name}:{amount}".encode(),
        currency="EUR",
        amount=Decimal(amount),
        creditor=None,
        legs=(),
        kind=Kind.HOLD,
        terms=Terms(hold=name, expires_at=datetime.now(UTC) + timedelta(seconds=for_s)),
    )


def again(command: Command) -> Command:
    """The same request as a client repeats it: same reference and hash, all ids fresh."""
    parked = tuple(replace(each, item_id=new_id()) for each in command.parked)
    return replace(command, transfer_id=new_id(), parked=parked)


def is_booked(answer: Answer) -> bool:
    """Whether money moved under this answer's reference."""
    return answer.outcome is Outcome.POSTED and answer.money_state is not MoneyState.NONE
