"""Holds: money set aside on an account, to be captured or let go."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import orjson

from router.client.answers import Captured, Hold, captured_of, hold_of
from router.client.operations import Operations, is_replay, path_of
from router.client.orders import money, optional_money, present


class HoldOperations(Operations):
    """What can be done with holds; each change has a reference of its own."""

    async def place_hold(
        self,
        *,
        reference: str,
        account: str,
        amount: Decimal,
        currency: str,
        expires_at: datetime,
        creditor_account: str | None = None,
        traceparent: str | None = None,
    ) -> Hold:
        """Set ``amount`` aside until ``expires_at``, if need be for one creditor only."""
        members = present(
            reference=reference,
            account=account,
            amount=money(amount),
            currency=currency,
            expires_at=expires_at.astimezone(UTC),
            creditor_account=creditor_account,
        )
        return await self._change(path_of("holds"), members, traceparent)

    async def hold(self, account: str, hold: str, *, traceparent: str | None = None) -> Hold:
        """A hold, by its account and reference, as it stands now."""
        return hold_of(await self._get(path_of("holds", account, hold), traceparent))

    async def capture(
        self,
        account: str,
        hold: str,
        *,
        reference: str,
        creditor_account: str,
        amount: Decimal | None = None,
        final: bool = False,
        narrative: str | None = None,
        traceparent: str | None = None,
    ) -> Captured:
        """Pay a creditor out of a hold: what remains, or ``amount`` of it.

        ``final`` lets go of what is left.
        """
        members = present(
            reference=reference,
            creditor_account=creditor_account,
            amount=optional_money(amount),
            final=final or None,
            narrative=narrative,
        )
        path = path_of("holds", account, hold, "capture")
        response = await self._send("POST", path, members, traceparent)
        return captured_of(orjson.loads(response.content), is_replay=is_replay(response))

    async def void(
        self, account: str, hold: str, *, reference: str, traceparent: str | None = None
    ) -> Hold:
        """Let go of what remains."""
        path = path_of("holds", account, hold, "void")
        return await self._change(path, {"reference": reference}, traceparent)

    async def increase(
        self,
        account: str,
        hold: str,
        *,
        reference: str,
        amount: Decimal,
        expires_at: datetime | None = None,
        traceparent: str | None = None,
    ) -> Hold:
        """Set ``amount`` aside in addition, and where given until another time."""
        members = present(
            reference=reference,
            amount=money(amount),
            expires_at=None if expires_at is None else expires_at.astimezone(UTC),
        )
        path = path_of("holds", account, hold, "increase")
        return await self._change(path, members, traceparent)

    async def _change(self, path: str, members: dict[str, object], traceparent: str | None) -> Hold:
        response = await self._send("POST", path, members, traceparent)
        return hold_of(orjson.loads(response.content), is_replay=is_replay(response))
