"""Holds, captures, reversals and other commands with terms, as a client's process makes them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from shard.account_numbers import clearing_account
from shard.commands import Answer, Command, Kind, Leg, Origin, Original, ParkedAmount, Terms
from shard.connections import Connection
from shard.ids import new_id
from shard.outcomes import Outcome
from shard.posting import post_batch
from shard.references import request_hash
from tests.support.bank import BUSINESS_DATE, transfer
from tests.support.interleaving import posting_connection

LONG = timedelta(hours=1)
_RANGE = 1_000_000_000


class Teller:
    """A connection that posts through any lane, at any time of the ledger's clock."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def post(
        self, *commands: Command, lane: int = 0, is_atomic: bool = False
    ) -> list[Answer]:
        """Book the commands as one batch."""
        return await post_batch(self._connection, lane, new_id(), commands, is_atomic=is_atomic)

    async def told(
        self, *commands: Command, lane: int = 0, is_atomic: bool = False
    ) -> list[Outcome]:
        """Book the commands as one batch; only the outcomes."""
        return [
            answer.outcome for answer in await self.post(*commands, lane=lane, is_atomic=is_atomic)
        ]

    async def set_clock(self, at: datetime | None) -> None:
        """Let the ledger's clock stand at ``at`` for this connection; None: it goes on."""
        clock = "" if at is None else at.isoformat()
        await self._connection.execute("SELECT set_config('ledger.clock', %s, false)", (clock,))

    async def buckets(self, account: int) -> list[tuple[Decimal, Decimal]]:
        """What each bucket of an account holds, and holds back."""
        cursor = await self._connection.execute(
            "SELECT ledger, held FROM ledger.balance WHERE account_no = %s ORDER BY bucket",
            (account,),
        )
        return [(ledger, held) for ledger, held in await cursor.fetchall()]


@asynccontextmanager
async def teller_at(dsn: str) -> AsyncIterator[Teller]:
    """A teller with a connection as lanes have it."""
    async with posting_connection(dsn) as connection:
        yield Teller(connection)


def bare(
    home: int,
    kind: Kind,
    reference: str | None = None,
    *,
    amount: str = "0",
    currency: str = "EUR",
    terms: Terms | None = None,
) -> Command:
    """A client's command without legs."""
    name = reference or str(new_id())
    asked = {"kind": kind.value, "amount": amount, "currency": currency, "terms": repr(terms)}
    return Command(
        home=home,
        origin=Origin.CLIENT,
        reference=name,
        transfer_id=new_id(),
        request_hash=request_hash("test/1", asked),
        currency=currency,
        amount=Decimal(amount),
        creditor=None,
        legs=(),
        kind=kind,
        terms=terms,
    )


def place(
    account: int,
    amount: str,
    reference: str,
    *,
    expires_at: datetime | None = None,
    creditor: int | None = None,
    currency: str = "EUR",
) -> Command:
    """A hold; it ends long after the test unless told otherwise."""
    end = expires_at or datetime.now(UTC) + LONG
    terms = Terms(hold=reference, expires_at=end, creditor=creditor)
    return bare(account, Kind.HOLD, reference, amount=amount, currency=currency, terms=terms)


def capture(
    account: int,
    creditor: int,
    amount: str,
    hold: str,
    *,
    is_final: bool = False,
    reference: str | None = None,
    currency: str = "EUR",
) -> Command:
    """A payment out of a hold; parked where the creditor lives on another shard."""
    paid = transfer(account, creditor, amount, reference, currency=currency)
    terms = Terms(hold=hold, is_final=is_final)
    asked = request_hash("test/1", {"paid": paid.request_hash.hex(), "terms": repr(terms)})
    return replace(paid, kind=Kind.CAPTURE, terms=terms, request_hash=asked)


def void(account: int, hold: str, reference: str | None = None) -> Command:
    """The end of a hold by its owner's wish."""
    return bare(account, Kind.VOID, reference, terms=Terms(hold=hold))


def increase(
    account: int,
    amount: str,
    hold: str,
    *,
    expires_at: datetime | None = None,
    reference: str | None = None,
) -> Command:
    """More of a hold, and where asked a new end."""
    terms = Terms(hold=hold, expires_at=expires_at)
    return bare(account, Kind.INCREASE, reference, amount=amount, terms=terms)


def expire(account: int, hold: str, reference: str | None = None) -> Command:
    """The end of a hold whose time is up; the shard judges whether it is."""
    command = bare(account, Kind.EXPIRE, reference, terms=Terms(hold=hold))
    return replace(command, origin=Origin.SYSTEM)


def guarded(debtor: int, creditor: int, amount: str, expected_seq: int) -> Command:
    """A transfer that wants its debtor at a certain position."""
    command = transfer(debtor, creditor, amount)
    terms = Terms(expected_seq=expected_seq)
    asked = request_hash("test/1", {"seq": str(expected_seq), "of": command.request_hash.hex()})
    return replace(command, terms=terms, request_hash=asked)


def forced(debtor: int, creditor: int, amount: str) -> Command:
    """A booking past floors and freezes."""
    return replace(transfer(debtor, creditor, amount), kind=Kind.FORCED, origin=Origin.REVERSAL)


def original_of(command: Command, booked: date = BUSINESS_DATE) -> Original:
    """What a reversal names of the command whose credit it takes back."""
    return Original(command.transfer_id, command.home, command.origin, command.reference, booked)


def reversal(
    command: Command, amount: str, *, creditor: int | None = None, reference: str | None = None
) -> Command:
    """Take ``amount`` of what a command credited back to who was debited by it."""
    payee = creditor if creditor is not None else command.creditor
    assert payee is not None
    back = transfer(payee, command.home, amount, reference, currency=command.currency)
    terms = Terms(reverses=original_of(command))
    asked = request_hash("test/1", {"amount": amount, "of": str(command.transfer_id)})
    return replace(back, origin=Origin.REVERSAL, terms=terms, request_hash=asked)


def reversal_abroad(delivered: Command, debtor: int, amount: str) -> Command:
    """Take back what a delivery credited here, for a debtor of another shard."""
    home, value = delivered.home, Decimal(amount)
    assert home // _RANGE != debtor // _RANGE
    return replace(
        reversal(delivered, amount, creditor=home),
        creditor=debtor,
        legs=(Leg(home, -value, debtor),),
        parked=(ParkedAmount(new_id(), debtor, value),),
    )


def delivery(
    shard: int, source: int, target: int, amount: str, *, kind: Kind = Kind.ORDINARY
) -> Command:
    """What a convoy brings to a creditor from another shard."""
    value, item_id = Decimal(amount), new_id()
    clearing = clearing_account(shard, source, "EUR")
    return Command(
        home=target,
        origin=Origin.DELIVERY,
        reference=f"{item_id}:1",
        transfer_id=new_id(),
        request_hash=item_id.bytes,
        currency="EUR",
        amount=value,
        creditor=target,
        legs=(Leg(clearing, -value, target), Leg(target, value)),
        kind=kind,
    )
