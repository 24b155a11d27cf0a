"""A bank without servers, for tests of HTTP's own rules: parsing, problems, headers, documents.

It answers what the test scripted and remembers what it was asked. Nothing about money may be
tested with it.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from typing import cast
from uuid import UUID

import httpx

from router.accounts import Opened, Opening
from router.bulk import Result
from router.errors import NotOneShard
from router.http.app import create_app
from router.range_map import MappedRange, RangeMap
from router.suspense_gauge import SuspenseGauge
from router.telemetry import Metrics
from router.transfer_requests import TransferRequest
from router.transfers import Submitted, Transfers
from router.watch import Watch
from router.wiring import Bank
from shard.accounts import Account, AccountChange, AccountKind, AccountStatus
from shard.balances import Balance
from shard.breaker import Breaker
from shard.commands import Kind, MoneyState, Origin
from shard.errors import LedgerError, ShardUnavailable
from shard.lane import LaneState
from shard.lane_figures import LaneFigures
from shard.outcomes import Outcome
from shard.ownership import OwnedRange, RangeState
from shard.shard import Shard
from shard.statements import EntryPage
from shard.suspense import Carrier, ItemState, OpenByAge
from shard.transfers import TransferRecord
from tests.support.scripted_movements import ScriptedHolds, ScriptedReversals
from tests.support.scripted_statement import (
    BUSINESS_DATE,
    ENTRY,
    POSTED_AT,
    TRANSFER_ID,
    ScriptedStatements,
)

CONVOY_ID = UUID("0193a4f2-7c1e-7000-8000-00000000000c")

ACCOUNT = Account(
    account_no=2_000_000_123,
    currency="EUR",
    kind=AccountKind.CUSTOMER,
    status=AccountStatus.OPEN,
    overdraft_limit=Decimal("0.0000"),
    bucket_count=1,
    customer="C-000123",
    opened_on=BUSINESS_DATE,
    name="Ada Lovelace",
)
BALANCE = Balance(
    account_no=2_000_000_123,
    currency="EUR",
    ledger=Decimal("980.0000"),
    held=Decimal("30.0000"),
    available=Decimal("950.0000"),
    in_transit=Decimal("20.0000"),
    seq="41",
    as_of=POSTED_AT,
)


@dataclass(slots=True)
class ScriptedTransfers:
    """Accepts every transfer in ``money_state``, unless it is told to ``fail``."""

    money_state: MoneyState = MoneyState.POSTED
    after_wait: MoneyState = MoneyState.DELIVERED
    outcome: Outcome = Outcome.POSTED
    return_code: Outcome | None = None
    is_replay: bool = False
    fail: Exception | None = None
    asked: list[TransferRequest] = field(default_factory=list)
    waited_s: list[float] = field(default_factory=list)
    wait_fails: Exception | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    may_end: asyncio.Event | None = None

    async def submit(self, request: TransferRequest) -> Submitted:
        """Remember and answer, once it ``may_end``."""
        self.asked.append(request)
        self.begun.set()
        if self.may_end is not None:
            await self.may_end.wait()
        if self.fail is not None:
            raise self.fail
        return Submitted(self._record(request), self.is_replay)

    async def get(self, debtor: int, reference: str) -> TransferRecord:
        """A transfer of 20.00 EUR."""
        if self.fail is not None:
            raise self.fail
        wanted = TransferRequest(reference, debtor, 3_000_000_456, Decimal("20.0000"), "EUR")
        return self._record(wanted)

    async def wait(self, record: TransferRecord, seconds: float) -> TransferRecord:
        """The record in the state of ``after_wait``."""
        self.waited_s.append(seconds)
        if self.wait_fails is not None:
            raise self.wait_fails
        if record.money_state is not MoneyState.IN_TRANSIT:
            return record
        return replace(record, money_state=self.after_wait)

    def _record(self, request: TransferRequest) -> TransferRecord:
        is_parked = self.money_state is not MoneyState.POSTED
        return TransferRecord(
            home=request.debtor,
            origin=Origin.CLIENT,
            reference=request.reference,
            transfer_id=TRANSFER_ID,
            kind=Kind.ORDINARY,
            creditor=request.creditor,
            amount=request.amount,
            currency=request.currency,
            outcome=self.outcome,
            money_state=self.money_state,
            return_code=self.return_code,
            business_date=BUSINESS_DATE,
            value_date=BUSINESS_DATE,
            posted_at=POSTED_AT,
            booked_on=2,
            delivered_at=None,
            convoy=CONVOY_ID if is_parked else None,
            narrative=request.narrative,
            request_hash=b"",
        )


@dataclass(slots=True)
class ScriptedBulk:
    """Books each transfer alone, once it ``may_go_on``; counts how many are under way at most."""

    transfers: ScriptedTransfers
    may_go_on: asyncio.Event = field(default_factory=asyncio.Event)
    begun: int = 0
    under_way: int = 0
    most_under_way: int = 0
    other_shard: int | None = None
    breaks_on: str | None = None
    patience: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.may_go_on.set()

    async def submit_many(
        self, requests: Sequence[TransferRequest], *, is_patient: bool = False
    ) -> list[Result]:
        """One result each; notes who was patient."""
        self.patience.append(is_patient)
        self.begun += len(requests)
        self.under_way += len(requests)
        self.most_under_way = max(self.most_under_way, self.under_way)
        await self.may_go_on.wait()
        if self.breaks_on in {request.reference for request in requests}:
            raise RuntimeError("a bug")
        results = [await self._result(request) for request in requests]
        self.under_way -= len(requests)
        return results

    async def submit_atomic(self, requests: Sequence[TransferRequest]) -> list[Result]:
        """The same; the request with the number of ``other_shard`` belongs elsewhere."""
        if self.other_shard is not None:
            raise NotOneShard(self.other_shard)
        return await self.submit_many(requests)

    async def _result(self, request: TransferRequest) -> Result:
        try:
            return await self.transfers.submit(request)
        except LedgerError as error:
            return error


@dataclass(slots=True)
class ScriptedAccounts:
    """Knows one account, unless it is told to ``fail``."""

    is_new: bool = True
    fail: Exception | None = None
    page: EntryPage = field(default_factory=lambda: EntryPage([ENTRY], "next", "EUR"))
    opened: list[Opening] = field(default_factory=list)
    asked: list[dict[str, object]] = field(default_factory=list)

    async def open(self, opening: Opening, *, actor: str) -> Opened:
        """Remember and answer."""
        self.opened.append(opening)
        self._may_fail()
        return Opened(ACCOUNT, self.is_new)

    async def get(self, account_no: int) -> Account:
        """The account."""
        self._may_fail()
        return replace(ACCOUNT, account_no=account_no)

    async def change(
        self, account_no: int, change: AccountChange, *, actor: str, reason: str
    ) -> Account:
        """Remember and answer."""
        self._may_fail()
        self.asked.append({"account_no": account_no, "change": change, "reason": reason})
        status = change.status or AccountStatus.OPEN
        return replace(ACCOUNT, account_no=account_no, status=status)

    async def balance(self, account_no: int, *, as_of: datetime | date | None = None) -> Balance:
        """The balance, as of whatever was asked for."""
        self._may_fail()
        if as_of is None:
            return replace(BALANCE, account_no=account_no)
        self.asked.append({"account_no": account_no, "as_of": as_of})
        return replace(BALANCE, account_no=account_no, as_of=as_of)

    async def entries(self, account_no: int, **query: object) -> EntryPage:
        """Remember and answer."""
        self._may_fail()
        self.asked.append({"account_no": account_no, **query})
        return self.page

    def _may_fail(self) -> None:
        if self.fail is not None:
            raise self.fail


@dataclass(slots=True)
class ScriptedShard:
    """A shard that answers unless it is down; it plays its own lanes and tables."""

    number: int
    is_down: bool = False
    queued_commands: int = 3
    batches: int = 10
    commands: int = 250
    requests: int = 0
    requests_held_up: int = 0
    reads_waiting: int = 0
    figures: LaneFigures = field(default_factory=LaneFigures)
    breaker: Breaker = field(default_factory=lambda: Breaker(time.monotonic))

    def states(self) -> Counter[LaneState]:
        """Two lanes."""
        return Counter({LaneState.IDLE: 1, LaneState.POSTING: 1})

    @property
    def lanes(self) -> ScriptedShard:
        """Itself."""
        return self

    @property
    def suspense(self) -> ScriptedShard:
        """Itself."""
        return self

    @property
    def ownership(self) -> ScriptedShard:
        """Itself."""
        return self

    @property
    def business_day(self) -> ScriptedShard:
        """Itself."""
        return self

    async def ping(self) -> None:
        """A sign of life."""
        self._may_fail()

    async def get(self) -> date:
        """The business date."""
        self._may_fail()
        return BUSINESS_DATE

    async def ranges(self) -> list[OwnedRange]:
        """Two ranges, the second on its way out."""
        self._may_fail()
        first = self.number * 1_000_000_000
        return [
            OwnedRange(1001, first, first + 500, 1, RangeState.OWNED, None),
            OwnedRange(1002, first + 500, first + 1000, 2, RangeState.FENCED, 9),
        ]

    async def count_open(self, limit: int) -> int:
        """Two amounts under way."""
        self._may_fail()
        return 2

    async def open_by_age(self, bounds_s: Sequence[float], limit: int) -> list[OpenByAge]:
        """They are between ten seconds and a minute old."""
        self._may_fail()
        amount = Decimal("40.0000")
        return [OpenByAge(ItemState.PARKED, Carrier.ROUTE, "EUR", 1, 2, amount, POSTED_AT)]

    def _may_fail(self) -> None:
        if self.is_down:
            raise ShardUnavailable("connection to server at 10.0.0.1 failed")


class ScriptedRoutes:
    """One range of customers for each shard."""

    def __init__(self, shards: dict[int, ScriptedShard]) -> None:
        self.range_map = RangeMap(
            tuple(MappedRange(n * 10**9, (n + 1) * 10**9, 1000 + n, n, 1) for n in shards)
        )

    def owner_now(self, account_no: int) -> int:
        """The shard's number is the first digit."""
        return account_no // 10**9


@dataclass(slots=True)
class ScriptedConvoys:
    """Some convoys."""

    waiting: int = 1
    travelling: int = 2


class ScriptedBank:
    """All parts of a bank that HTTP touches."""

    def __init__(self) -> None:
        self.shards = {number: ScriptedShard(number) for number in (2, 3)}
        self.directory = ScriptedShard(0)
        self.routes = ScriptedRoutes(self.shards)
        self.transfers = ScriptedTransfers()
        self.bulk = ScriptedBulk(self.transfers)
        self.holds = ScriptedHolds(cast(Transfers, self.transfers))
        self.reversals = ScriptedReversals(cast(Transfers, self.transfers))
        self.accounts = ScriptedAccounts()
        self.statements = ScriptedStatements()
        self.convoys = ScriptedConvoys()
        self.temporal: object | None = object()
        self.suspense = SuspenseGauge(self.shards, items_max=100)
        self.watch = Watch(cast(dict[int, Shard], self.shards), self.suspense, lambda: None)


@asynccontextmanager
async def http_client(bank: ScriptedBank) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application over a scripted bank, without sockets."""
    app = create_app(cast(Bank, bank), Metrics())
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://bank") as client:
        yield client
