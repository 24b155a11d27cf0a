"""Accounts, their balances and entries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal

import orjson

from router.client.answers import Account, Balance, Entry, account_of, balance_of, entry_of
from router.client.operations import Operations, is_replay, path_of
from router.client.orders import optional_money, present


class AccountOperations(Operations):
    """What can be done with accounts."""

    async def open_account(
        self,
        *,
        customer: str,
        currency: str,
        reference: str,
        kind: str = "customer",
        name: str | None = None,
        overdraft_limit: Decimal | None = Decimal(0),
        minimum_balance: Decimal | None = None,
        metadata: Mapping[str, str] | None = None,
        account: str | None = None,
        traceparent: str | None = None,
    ) -> Account:
        """Open an account, or find the one opened before; ``overdraft_limit`` None: no floor."""
        members = present(
            customer=customer,
            currency=currency,
            reference=reference,
            kind=kind,
            name=name,
            minimum_balance=optional_money(minimum_balance),
            metadata=metadata,
            account=account,
        )
        members["overdraft_limit"] = optional_money(overdraft_limit)
        response = await self._send("POST", path_of("accounts"), members, traceparent)
        return account_of(orjson.loads(response.content), is_replay=is_replay(response))

    async def account(self, account: str, *, traceparent: str | None = None) -> Account:
        """What an account is and where it lives."""
        return account_of(await self._get(path_of("accounts", account), traceparent))

    async def change_account(
        self,
        account: str,
        *,
        status: str | None = None,
        frozen_for: str | None = None,
        overdraft_limit: Decimal | None = None,
        minimum_balance: Decimal | None = None,
        metadata: Mapping[str, str] | None = None,
        reason: str | None = None,
        traceparent: str | None = None,
    ) -> Account:
        """Change what is given, all of it or nothing; ``metadata`` replaces all of it.

        ``status`` is ``open``, ``frozen`` or ``closed``; ``frozen_for`` ``debits`` lets a frozen
        account be paid.
        """
        members = present(
            status=status,
            frozen_for=frozen_for,
            overdraft_limit=optional_money(overdraft_limit),
            minimum_balance=optional_money(minimum_balance),
            metadata=metadata,
            reason=reason,
        )
        response = await self._send("PATCH", path_of("accounts", account), members, traceparent)
        return account_of(orjson.loads(response.content))

    async def balance(
        self,
        account: str,
        *,
        as_of: date | datetime | None = None,
        traceparent: str | None = None,
    ) -> Balance:
        """An account's money now, at a time, or at the end of a business date."""
        query = present(as_of=_point(as_of))
        return balance_of(
            await self._get(path_of("accounts", account, "balance"), traceparent, query)
        )

    async def entries(
        self,
        account: str,
        *,
        from_date: date | None = None,
        to_date: date | None = None,
        page_size: int | None = None,
        traceparent: str | None = None,
    ) -> AsyncIterator[Entry]:
        """An account's entries, newest last, of ``from_date`` <= business date < ``to_date``."""
        query = present(
            **{
                "from": _point(from_date),
                "to": _point(to_date),
                "limit": None if page_size is None else str(page_size),
            }
        )
        path = path_of("accounts", account, "entries")
        while True:
            page = await self._get(path, traceparent, query)
            for told in page["data"]:
                yield entry_of(told)
            if page["next_cursor"] is None:
                return
            query["cursor"] = page["next_cursor"]


def _point(when: date | datetime | None) -> str | None:
    """A date as it is, a time in UTC; a time without a zone is the machine's own."""
    if isinstance(when, datetime):
        return when.astimezone(UTC).isoformat()
    return None if when is None else when.isoformat()
