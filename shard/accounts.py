"""Accounts of one shard: opening, reading, freezing, closing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

from psycopg.types.json import Jsonb

from shard.connections import Readers
from shard.errors import Malformed, NotFound, RangeMoving, Refused
from shard.named_queries import QUERIES
from shard.outcomes import MEANINGS, Outcome
from shard.ownership import Ownership


class AccountKind(StrEnum):
    """What an account is to the bank; suspense and clearing belong to the machinery."""

    CUSTOMER = "customer"
    INTERNAL = "internal"
    ASSET = "asset"
    LIABILITY = "liability"
    INCOME = "income"
    EXPENSE = "expense"
    EQUITY = "equity"
    SUSPENSE = "suspense"
    CLEARING = "clearing"


class AccountStatus(StrEnum):
    """OPEN takes part; FROZEN neither pays nor is paid, returns excepted; CLOSED is for ever."""

    OPEN = "open"
    FROZEN = "frozen"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account to be opened; limits in its currency, ``overdraft_limit`` None for no floor.

    ``minimum_balance`` must remain at all times; it excludes an overdraft and several buckets.
    """

    account_no: int
    currency: str
    kind: AccountKind
    customer: str | None
    overdraft_limit: Decimal | None
    request_hash: bytes
    name: str | None = None
    product: str | None = None
    bucket_count: int = 1
    minimum_balance: Decimal = Decimal(0)
    metadata: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """An account as it stands; limits in its currency, ``overdraft_limit`` None for no floor."""

    account_no: int
    currency: str
    kind: AccountKind
    status: AccountStatus
    overdraft_limit: Decimal | None
    bucket_count: int
    customer: str | None
    opened_on: date
    name: str | None
    minimum_balance: Decimal = Decimal(0)
    credits_when_frozen: bool = False
    metadata: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class AccountChange:
    """What is to change about an account, None being left as it is; limits in its currency.

    ``credits_when_frozen``: while frozen it may still be paid. ``metadata`` replaces all of it.
    """

    status: AccountStatus | None = None
    credits_when_frozen: bool | None = None
    overdraft_limit: Decimal | None = None
    minimum_balance: Decimal | None = None
    metadata: Mapping[str, str] | None = None


class Accounts:
    """The accounts that live on one shard."""

    def __init__(self, readers: Readers, ownership: Ownership) -> None:
        self._readers = readers
        self._ownership = ownership

    async def open_many(
        self, accounts: Sequence[NewAccount], *, opened_by: str = "system"
    ) -> list[Outcome]:
        """Open accounts in one transaction and answer each in its order.

        POSTED: it is open, now or by an earlier call of the same request. ACCOUNT_EXISTS: the
        number belongs to another request. NOT_OWNER, RANGE_MOVING: not here, not now.
        """
        rows = await self._readers.rows(
            QUERIES["open_accounts"],
            (
                [a.account_no for a in accounts],
                [a.currency for a in accounts],
                [a.kind.value for a in accounts],
                [a.overdraft_limit for a in accounts],
                [a.minimum_balance for a in accounts],
                [a.bucket_count for a in accounts],
                [a.customer for a in accounts],
                [a.name for a in accounts],
                [a.product for a in accounts],
                [_json(a.metadata) for a in accounts],
                [a.request_hash for a in accounts],
                opened_by,
            ),
        )
        return [Outcome(outcome) for (outcome,) in rows]

    async def get(self, account_no: int) -> Account:
        """One account; raises ``NotFound``, ``NotOwner``."""
        rows = await self._readers.rows(QUERIES["account"], (account_no,))
        if not rows:
            raise await self._ownership.explain_absence(account_no, "account")
        number, currency, kind, status, limit, buckets, customer, opened_on, name, *rest = rows[0]
        return Account(
            number,
            currency,
            AccountKind(kind),
            AccountStatus(status),
            limit,
            buckets,
            customer,
            opened_on,
            name,
            *rest,
        )

    async def change_status(
        self, account_no: int, status: AccountStatus, *, actor: str, reason: str
    ) -> Account:
        """Freeze, reopen or close an account; see ``change``."""
        return await self.change(
            account_no, AccountChange(status=status), actor=actor, reason=reason
        )

    async def change(
        self, account_no: int, change: AccountChange, *, actor: str, reason: str
    ) -> Account:
        """Change an account; what already is so changes nothing.

        When this returns, no posting decided under the old rules can commit any more. Raises
        ``Refused`` (BALANCE_NOT_ZERO, HOLDS_OPEN, MONEY_IN_TRANSIT, ACCOUNT_CLOSED,
        SYSTEM_ACCOUNT, INSUFFICIENT_FUNDS for a floor above what is available), ``Malformed``,
        ``NotFound``, ``NotOwner``, ``RangeMoving``.
        """
        outcome = Outcome(
            await self._readers.write(
                str,
                QUERIES["change_account"],
                (
                    account_no,
                    change.status.value if change.status is not None else None,
                    change.credits_when_frozen,
                    change.overdraft_limit,
                    change.minimum_balance,
                    _json(change.metadata),
                    actor,
                    reason,
                ),
            )
        )
        match outcome:
            case Outcome.POSTED:
                return await self.get(account_no)
            case Outcome.MALFORMED:
                raise Malformed("An account cannot have these limits.")
            case Outcome.RANGE_MOVING:
                raise RangeMoving
            case Outcome.NOT_OWNER:
                raise await self._ownership.explain_absence(account_no, "account")
            case Outcome.ACCOUNT_UNKNOWN:
                raise NotFound("There is no such account.")
        raise Refused(outcome, MEANINGS[outcome].sentence)


def _json(metadata: Mapping[str, str] | None) -> Jsonb | None:
    return Jsonb(dict(metadata)) if metadata is not None else None
