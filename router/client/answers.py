"""What the ledger answers, as frozen data: money is ``Decimal``, times are aware and in UTC.

Members that this program does not know yet are passed over, so that the ledger may learn to tell
more without breaking its clients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from router.client.errors import ClientError, error_of_problem
from router.client.orders import Leg

IN_TRANSIT: Final = "in_transit"

_Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Transfer:
    """A transfer as it stands; ``amount`` in ``currency``, credit of the creditor.

    ``legs`` are those of a transfer with several of them, which has no one creditor.
    ``money_state`` tells where the money is, ``code`` why it was refused or came back.
    ``is_replay``: the reference was known before.
    """

    id: UUID
    reference: str
    kind: str
    debtor_account: str
    creditor_account: str | None
    legs: tuple[Leg, ...] | None
    amount: Decimal
    currency: str
    request_state: str
    money_state: str
    evidence_state: str
    code: str | None
    business_date: date
    value_date: date
    posted_at: datetime | None
    delivered_at: datetime | None
    workflow: str | None
    is_replay: bool = False


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What became of one order of a stream, counted from 1 in the order they were given.

    Either ``transfer`` is there, or ``error`` with what the order alone would have raised.
    """

    line: int
    status: int
    transfer: Transfer | None
    error: ClientError | None


@dataclass(frozen=True, slots=True)
class Account:
    """An account; ``overdraft_limit`` None means that it has no floor.

    ``frozen_for`` tells what a frozen account refuses; it is None for others.
    """

    account: str
    customer: str | None
    currency: str
    kind: str
    status: str
    frozen_for: str | None
    overdraft_limit: Decimal | None
    minimum_balance: Decimal
    metadata: Mapping[str, str]
    shard: int
    opened_on: date
    is_replay: bool = False


@dataclass(frozen=True, slots=True)
class Balance:
    """An account's money as of one position (``seq``); ``available`` None without a floor.

    ``as_of`` is a time, or the business date that was asked for.
    """

    account: str
    currency: str
    ledger: Decimal
    held: Decimal
    available: Decimal | None
    in_transit: Decimal
    seq: int | str
    as_of: datetime | date


@dataclass(frozen=True, slots=True)
class Entry:
    """One change of an account's balance: credit +, debit -.

    ``ledger_after`` and ``held_after`` are those of its bucket, ``balance_after`` is the whole
    account's.
    """

    seq: int
    bucket: int
    transfer_id: UUID
    reference: str
    amount: Decimal
    held_delta: Decimal
    ledger_after: Decimal
    held_after: Decimal
    balance_after: Decimal
    counterparty: str | None
    business_date: date
    value_date: date
    posted_at: datetime
    narrative: str | None


@dataclass(frozen=True, slots=True)
class Hold:
    """Money set aside on an account: ``amount`` in all, ``captured`` of it, ``remaining`` still.

    ``state`` is ``pending``, ``captured``, ``voided`` or ``expired``.
    """

    account: str
    reference: str
    currency: str
    amount: Decimal
    captured: Decimal
    remaining: Decimal
    state: str
    creditor_account: str | None
    placed_at: datetime
    expires_at: datetime
    closed_at: datetime | None
    is_replay: bool = False


@dataclass(frozen=True, slots=True)
class Captured:
    """The payment out of a hold, and the hold after it."""

    transfer: Transfer
    hold: Hold


def transfer_of(told: _Document, *, is_replay: bool = False) -> Transfer:
    """Read a transfer."""
    return Transfer(
        UUID(told["id"]),
        told["reference"],
        told["kind"],
        told["debtor_account"],
        told["creditor_account"],
        _legs(told["legs"]),
        Decimal(told["amount"]),
        told["currency"],
        told["request_state"],
        told["money_state"],
        told["evidence_state"],
        told["code"],
        date.fromisoformat(told["business_date"]),
        date.fromisoformat(told["value_date"]),
        _time(told["posted_at"]),
        _time(told["delivered_at"]),
        told["workflow"],
        is_replay,
    )


def bulk_result_of(told: _Document, line: int) -> BulkResult:
    """Read one line of a stream's answer as the result of order ``line``."""
    is_replay = told.get("replayed", False)
    transfer, problem = told.get("transfer"), told.get("problem")
    return BulkResult(
        line,
        told["status"],
        None if transfer is None else transfer_of(transfer, is_replay=is_replay),
        None if problem is None else error_of_problem(problem, is_replay=is_replay),
    )


def account_of(told: _Document, *, is_replay: bool = False) -> Account:
    """Read an account."""
    return Account(
        told["account"],
        told["customer"],
        told["currency"],
        told["kind"],
        told["status"],
        told["frozen_for"],
        _money(told["overdraft_limit"]),
        Decimal(told["minimum_balance"]),
        told["metadata"],
        told["shard"],
        date.fromisoformat(told["opened_on"]),
        is_replay,
    )


def balance_of(told: _Document) -> Balance:
    """Read a balance."""
    return Balance(
        told["account"],
        told["currency"],
        Decimal(told["ledger"]),
        Decimal(told["held"]),
        _money(told["available"]),
        Decimal(told["in_transit"]),
        told["seq"],
        _point(told["as_of"]),
    )


def entry_of(told: _Document) -> Entry:
    """Read an entry."""
    return Entry(
        told["seq"],
        told["bucket"],
        UUID(told["transfer_id"]),
        told["reference"],
        Decimal(told["amount"]),
        Decimal(told["held_delta"]),
        Decimal(told["ledger_after"]),
        Decimal(told["held_after"]),
        Decimal(told["balance_after"]),
        told["counterparty"],
        date.fromisoformat(told["business_date"]),
        date.fromisoformat(told["value_date"]),
        datetime.fromisoformat(told["posted_at"]),
        told["narrative"],
    )


def hold_of(told: _Document, *, is_replay: bool = False) -> Hold:
    """Read a hold."""
    return Hold(
        told["account"],
        told["reference"],
        told["currency"],
        Decimal(told["amount"]),
        Decimal(told["captured"]),
        Decimal(told["remaining"]),
        told["state"],
        told["creditor_account"],
        datetime.fromisoformat(told["placed_at"]),
        datetime.fromisoformat(told["expires_at"]),
        _time(told["closed_at"]),
        is_replay,
    )


def captured_of(told: _Document, *, is_replay: bool = False) -> Captured:
    """Read a payment out of a hold."""
    transfer = transfer_of(told["transfer"], is_replay=is_replay)
    return Captured(transfer, hold_of(told["hold"]))


def _legs(told: list[_Document] | None) -> tuple[Leg, ...] | None:
    if told is None:
        return None
    return tuple(Leg(leg["account"], Decimal(leg["amount"])) for leg in told)


def _money(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _point(text: str) -> datetime | date:
    return datetime.fromisoformat(text) if "T" in text else date.fromisoformat(text)


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
