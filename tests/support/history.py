"""An account's past, made with a clock of the test's own, and a model that remembers all of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from shard.commands import Answer, Command, Kind, Terms
from shard.connections import Connection
from shard.ids import new_id
from shard.named_queries import QUERIES
from shard.outcomes import Outcome
from shard.posting import post_batch
from shard.shard import Shard
from tests.shard.own_server import Database, as_owner
from tests.support.bank import account_no, allow_test_clock, hold, open_account, transfer
from tests.support.interleaving import holder, posting_connection

_BEGINNING = datetime(2020, 1, 1, 9, tzinfo=UTC)
_LATEST_POSTING = "SELECT greatest(max(posted_at), '2000-01-01') FROM ledger.balance"
INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the account's ledger balance or of what it has in transit."""

    at: datetime
    on: date
    ledger: Decimal = Decimal(0)
    in_transit: Decimal = Decimal(0)


@dataclass(slots=True)
class Past:
    """What happened to one account; ``at`` is the test's clock, ``on`` the open business date."""

    shard: Shard
    database: Database
    connection: Connection
    account: int
    equity: int
    on: date
    beginning: datetime
    at: datetime
    changes: list[Change] = field(default_factory=list)

    async def later(self, by: timedelta) -> None:
        """Let time pass."""
        self.at += by
        await self.set_clock(self.at)

    async def set_clock(self, at: datetime | None) -> None:
        """The time of what is posted from now on; None is the machine's own."""
        await self.connection.execute(
            "SELECT set_config('ledger.clock', %s, false)", (at.isoformat() if at else "",)
        )

    async def next_day(self, on: date) -> None:
        """Open a later business date."""
        self.on = await self.shard.business_day.advance(on)

    async def receive(self, *amounts: str, lane: int = 0, narrative: str | None = None) -> None:
        """Credit the account, each amount by its own command of one batch."""
        await self._post(
            [transfer(self.equity, self.account, a, narrative=narrative) for a in amounts], lane
        )
        self._remember(sum(map(Decimal, amounts), Decimal(0)))

    async def pay(self, amount: str, lane: int = 0) -> None:
        """Debit the account in favour of one beside it."""
        await self._post([transfer(self.account, self.equity, amount)], lane)
        self._remember(-Decimal(amount))

    async def send(self, amount: str, lane: int = 0) -> UUID:
        """Debit the account in favour of another shard; the item that is in transit now."""
        command = transfer(self.account, account_no(2), amount)
        await self._post([command], lane)
        self._remember(-Decimal(amount), Decimal(amount))
        return command.parked[0].item_id

    async def settle(self, item: UUID, amount: str) -> None:
        """An item has arrived."""
        cursor = await self.connection.execute(
            QUERIES["settle"], (0, new_id(), [item], [1], [2], [self.at])
        )
        assert await cursor.fetchone() == (1,)
        self.changes.append(Change(self.at, self.on, in_transit=-Decimal(amount)))

    async def hold(self, amount: str) -> str:
        """Reserve an amount of the account; the hold's reference."""
        command = hold(self.account, amount)
        await self._post([command], 0)
        return command.reference

    async def void(self, reference: str) -> None:
        """Give up a hold."""
        command = hold(self.account, "0", reference=f"V-{reference}")
        terms = Terms(hold=reference)
        await self._post([replace(command, kind=Kind.VOID, terms=terms)], 0)

    async def set_limits(self, overdraft_limit: str, minimum_balance: str = "0") -> None:
        """Move the account's floor."""
        limits = (Decimal(overdraft_limit), Decimal(minimum_balance))
        await self.connection.execute(
            QUERIES["change_account"], (self.account, None, None, *limits, None, "t", "t")
        )

    async def _post(self, commands: Sequence[Command], lane: int) -> list[Answer]:
        answers = await post_batch(self.connection, lane, new_id(), commands)
        assert {Outcome.POSTED} == {answer.outcome for answer in answers}
        return answers

    def _remember(self, ledger: Decimal, in_transit: Decimal = Decimal(0)) -> None:
        self.changes.append(Change(self.at, self.on, ledger, in_transit))

    def at_instant(self, at: datetime) -> tuple[Decimal, Decimal]:
        """Ledger balance and amount in transit at an instant, by the model."""
        return _sums([change for change in self.changes if change.at <= at])

    def at_end_of(self, on: date) -> tuple[Decimal, Decimal]:
        """Ledger balance and amount in transit at the end of a business date, by the model."""
        return _sums([change for change in self.changes if change.on <= on])

    def instants(self) -> list[datetime]:
        """Every time at which something happened, and those just before and after it."""
        times = {change.at for change in self.changes}
        near = {at + by for at in times for by in (-INSTANT, timedelta(0), INSTANT)}
        return sorted(at for at in near if at >= self.beginning)

    def dates(self) -> list[date]:
        """Every day from the one before the first change to the last one's."""
        first, last = self.changes[0].on, self.changes[-1].on
        return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _sums(changes: Sequence[Change]) -> tuple[Decimal, Decimal]:
    return (
        sum((change.ledger for change in changes), Decimal(0)),
        sum((change.in_transit for change in changes), Decimal(0)),
    )


@asynccontextmanager
async def past_of(
    shard: Shard, database: Database, *, buckets: int = 1, limit: str | None = "0"
) -> AsyncIterator[Past]:
    """A new account on shard 1, opened at its ``beginning``, after all that stands there."""
    await allow_test_clock(database.owner_dsn)
    async with holder(database.owner_dsn) as look:
        ((latest,),) = await look.execute(_LATEST_POSTING)
    beginning = max(latest + timedelta(hours=1), _BEGINNING)
    account = await open_account(shard, buckets=buckets, limit=limit)
    equity = await open_account(shard, limit=None)
    await as_owner(
        database,
        f"UPDATE ledger.account SET opened_at = '{beginning.isoformat()}'"
        f" WHERE account_no IN ({account}, {equity})",
    )
    async with posting_connection(database.dsn) as connection:
        today = await shard.business_day.get()
        past = Past(shard, database, connection, account, equity, today, beginning, beginning)
        await past.set_clock(beginning)
        yield past
