"""Accounts: opening (one or 20,000), looking, changing, closing; wherever the account lives.

Opening is two steps, each of which may be repeated: the directory gives the number for (customer,
reference), then the shard that owns the number opens it. A crash in between leaves a number
that only the same request can use.
"""

from __future__ import annotations

import asyncio
import json
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Final

from router.directory import Directory
from router.errors import AccountNoTaken, refusal
from router.limits import (
    CUSTOMER_CHARS_MAX,
    METADATA_KEY_CHARS_MAX,
    METADATA_KEYS_MAX,
    METADATA_VALUE_CHARS_MAX,
    MOVING_PAUSE_FIRST_S,
    MOVING_PAUSE_MAX_S,
    OPENING_CHUNK_ACCOUNTS,
    REQUEST_BUDGET_S,
)
from router.patience import Patience
from router.reservations import Wish
from router.routing import Routes
from router.submission import out_of_patience
from shard.accounts import Account, AccountChange, AccountKind, AccountStatus, NewAccount
from shard.balances import Balance
from shard.errors import Malformed, NotOwner
from shard.money import currency_of, format_amount, parse_signed_limit
from shard.outcomes import MEANINGS, Outcome
from shard.references import parse_reference, request_hash
from shard.shard import Shard
from shard.statements import EntryPage

Progress = Callable[[int, int], None]
"""Told (done, total), often enough for a progress bar."""

_FORM: Final = "account/1"
_MACHINERY: Final = {AccountKind.SUSPENSE, AccountKind.CLEARING}


@dataclass(frozen=True, slots=True)
class Opening:
    """An account that a customer asks for, under the customer's own ``reference``.

    ``overdraft_limit`` is in ``currency``; None is no floor at all, which only the bank's own
    accounts may have. ``minimum_balance`` must remain at all times; it excludes an overdraft.
    ``metadata`` is the channel's own, and means nothing here. ``account_no`` None takes the
    next number of the customer's home range; only accounts that are not of kind ``customer``
    may name a number on another range.
    """

    customer: str
    reference: str
    currency: str
    kind: AccountKind = AccountKind.CUSTOMER
    name: str | None = None
    overdraft_limit: Decimal | None = Decimal(0)
    account_no: int | None = None
    product: str | None = None
    minimum_balance: Decimal = Decimal(0)
    metadata: Mapping[str, str] | None = None

    def fingerprint(self) -> bytes:
        """The hash that tells a repetition from another request under the same reference."""
        limit, minimum = self.overdraft_limit, self.minimum_balance
        return request_hash(
            _FORM,
            {
                "customer": self.customer,
                "currency": self.currency,
                "kind": self.kind.value,
                "name": self.name,
                "overdraft_limit": None if limit is None else format_amount(limit, self.currency),
                "account": None if self.account_no is None else str(self.account_no),
                "product": self.product,
                "minimum_balance": format_amount(minimum, self.currency) if minimum else None,
                "metadata": json.dumps(self.metadata, sort_keys=True) if self.metadata else None,
            },
        )


@dataclass(frozen=True, slots=True)
class Opened:
    """An open account; ``is_new`` if this request was the first to ask for it."""

    account: Account
    is_new: bool


class Accounts:
    """The use cases around accounts."""

    def __init__(self, directory: Directory, routes: Routes) -> None:
        self._directory = directory
        self._routes = routes

    async def open(self, opening: Opening, *, actor: str) -> Opened:
        """Open one account, or find that the same request opened it before.

        Raises ``Malformed``, a ``Refused`` of ``router.errors``, ``DirectoryUnavailable``,
        ``ShardUnavailable`` or ``RangeMoving``; repeating it is always safe.
        """
        check_opening(opening)
        reservation = await self._directory.reserve_account_no(_wish(opening))
        await self._open_reserved({reservation.account_no: opening}, actor)
        account = await self.get(reservation.account_no)
        return Opened(account, reservation.is_new)

    async def open_many(
        self, openings: Sequence[Opening], *, actor: str, progress: Progress | None = None
    ) -> list[int]:
        """Open accounts in bulk; their numbers, in order. Raises like ``open``.

        After an error some are open and some are not; the same call completes it.
        """
        for opening in openings:
            check_opening(opening)
        reservations = await self._directory.reserve_account_nos([_wish(o) for o in openings])
        numbers = [reservation.account_no for reservation in reservations]
        wanted = dict(zip(numbers, openings, strict=True))
        done = 0

        async def open_on_one_shard(account_nos: Sequence[int]) -> None:
            nonlocal done
            for start in range(0, len(account_nos), OPENING_CHUNK_ACCOUNTS):
                chunk = account_nos[start : start + OPENING_CHUNK_ACCOUNTS]
                await self._open_reserved({no: wanted[no] for no in chunk}, actor)
                done += len(chunk)
                if progress:
                    progress(done, len(wanted))

        by_shard = await self._by_shard(wanted)
        steps = [open_on_one_shard(account_nos) for account_nos in by_shard.values()]
        for result in await asyncio.gather(*steps, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
        return numbers

    async def get(self, account_no: int) -> Account:
        """What an account is; raises ``NotFound``, ``ShardUnavailable``."""
        return await self._routes.follow(account_no, lambda s: s.accounts.get(account_no))

    async def balance(self, account_no: int, *, as_of: datetime | date | None = None) -> Balance:
        """An account's money now, at a past instant, or at the end of a business date.

        Raises ``NotFound``, ``Malformed`` for the future, ``ShardUnavailable``.
        """
        return await self._routes.follow(account_no, lambda s: s.balances.get(account_no, as_of))

    async def entries(
        self,
        account_no: int,
        *,
        from_date: date | None = None,
        to_date: date | None = None,
        cursor: str | None = None,
        limit: int,
    ) -> EntryPage:
        """Entries with ``from_date <= business date < to_date``; raises ``NotFound``."""
        return await self._routes.follow(
            account_no,
            lambda s: s.statements.page(
                account_no, from_date=from_date, to_date=to_date, cursor=cursor, limit=limit
            ),
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
        """Change an account's status, limits or metadata, all of it or nothing.

        Raises ``Refused`` (balance not zero, holds open, money in transit, closed, a floor above
        what is available), ``Malformed``, ``NotFound``, ``ShardUnavailable`` or ``RangeMoving``.
        """
        if change.metadata is not None:
            _check_metadata(change.metadata)
        return await self._routes.follow(
            account_no,
            lambda s: s.accounts.change(account_no, change, actor=actor, reason=reason),
        )

    async def _open_reserved(self, wanted: Mapping[int, Opening], actor: str) -> None:
        """Open accounts whose numbers are reserved, wherever their ranges live by now."""
        patience = Patience(
            REQUEST_BUDGET_S, first_s=MOVING_PAUSE_FIRST_S, longest_s=MOVING_PAUSE_MAX_S
        )
        left = dict(wanted)
        while left:
            before = self._routes.range_map
            unanswered: Outcome | None = None
            for shard_no, account_nos in (await self._by_shard(left)).items():
                shard = self._routes.shards[shard_no]
                accounts = [_new_account(no, left[no]) for no in account_nos]
                outcomes = await shard.accounts.open_many(accounts, opened_by=actor)
                for account_no, outcome in zip(account_nos, outcomes, strict=True):
                    if MEANINGS[outcome].is_retryable:
                        unanswered = outcome
                    else:
                        _raise_unless_opened(outcome)
                        del left[account_no]
                if unanswered is Outcome.NOT_OWNER:
                    await self._learn_from(shard, [no for no in account_nos if no in left])
            if left and self._routes.range_map is before and not await patience.pause():
                raise out_of_patience(unanswered or Outcome.NOT_OWNER)

    async def _by_shard(self, account_nos: Iterable[int]) -> Mapping[int, list[int]]:
        by_shard: dict[int, list[int]] = defaultdict(list)
        for account_no in account_nos:
            by_shard[await self._routes.owner_of(account_no)].append(account_no)
        return by_shard

    async def _learn_from(self, shard: Shard, account_nos: Sequence[int]) -> None:
        """Ask a shard that does not own these accounts who does, until one answer is news."""
        before = self._routes.range_map
        for account_no in account_nos:
            told = await shard.ownership.explain_absence(account_no, "account")
            if isinstance(told, NotOwner):
                await self._routes.learn(account_no, told.next_owner, told.epoch)
            if self._routes.range_map is not before:
                return


def check_opening(opening: Opening) -> None:
    """Raise ``Malformed`` for what makes no sense, before a number is taken."""
    parse_reference(opening.reference)
    if not 1 <= len(opening.customer) <= CUSTOMER_CHARS_MAX or not opening.customer.isprintable():
        message = f"A customer number has 1 to {CUSTOMER_CHARS_MAX} printable characters."
        raise Malformed(message, pointer="/customer")
    if opening.kind in _MACHINERY:
        message = f"Accounts of kind {opening.kind.value} belong to the ledger itself."
        raise Malformed(message, pointer="/kind")
    limit = opening.overdraft_limit
    if limit is not None:
        parse_signed_limit(str(limit), opening.currency)
    elif opening.kind is AccountKind.CUSTOMER:
        message = "A customer's account has an overdraft limit; it may be zero."
        raise Malformed(message, pointer="/overdraft_limit")
    currency_of(opening.currency)
    parse_signed_limit(str(opening.minimum_balance), opening.currency)
    if opening.minimum_balance and limit != 0:
        message = "An account with a minimum balance has an overdraft limit of zero."
        raise Malformed(message, pointer="/minimum_balance")
    _check_metadata(opening.metadata or {})


def _check_metadata(metadata: Mapping[str, str]) -> None:
    texts = [*metadata, *metadata.values()]
    if (
        len(metadata) > METADATA_KEYS_MAX
        or any(not 1 <= len(key) <= METADATA_KEY_CHARS_MAX for key in metadata)
        or any(len(value) > METADATA_VALUE_CHARS_MAX for value in metadata.values())
        or any(unicodedata.category(each) == "Cc" for text in texts for each in text)
    ):
        message = (
            f"Metadata has {METADATA_KEYS_MAX} keys at most, of {METADATA_KEY_CHARS_MAX} "
            f"characters, with values of {METADATA_VALUE_CHARS_MAX}."
        )
        raise Malformed(message, pointer="/metadata")


def _wish(opening: Opening) -> Wish:
    return Wish(
        customer=opening.customer,
        reference=opening.reference,
        request_hash=opening.fingerprint(),
        account_no=opening.account_no,
        may_leave_home=opening.kind is not AccountKind.CUSTOMER,
    )


def _new_account(account_no: int, opening: Opening) -> NewAccount:
    return NewAccount(
        account_no=account_no,
        currency=opening.currency,
        kind=opening.kind,
        customer=opening.customer,
        overdraft_limit=opening.overdraft_limit,
        name=opening.name,
        request_hash=opening.fingerprint(),
        product=opening.product,
        minimum_balance=opening.minimum_balance,
        metadata=opening.metadata or None,
    )


def _raise_unless_opened(outcome: Outcome) -> None:
    if outcome is Outcome.ACCOUNT_EXISTS:
        raise AccountNoTaken
    if outcome is not Outcome.POSTED:
        raise refusal(outcome)
