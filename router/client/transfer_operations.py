"""Transfers, one by one and in streams."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import aclosing
from decimal import Decimal

import orjson

from router.client.answers import IN_TRANSIT, BulkResult, Transfer, transfer_of
from router.client.bulk_calls import stream_orders, submit_unit
from router.client.operations import Operations, is_replay, path_of, traced
from router.client.orders import Order, optional_money, present
from router.limits import WAIT_PAUSE_FIRST_S, WAIT_PAUSE_MAX_S
from router.patience import Patience


class TransferOperations(Operations):
    """What can be done with transfers."""

    async def transfer(
        self, order: Order, *, wait_s: int | None = None, traceparent: str | None = None
    ) -> Transfer:
        """Move money; with ``wait_s`` the answer comes when it has arrived, or after that time."""
        headers = {} if wait_s is None else {"Prefer": f"wait={wait_s}"}
        response = await self._send(
            "POST", path_of("transfers"), order.members(), traceparent, headers
        )
        return transfer_of(orjson.loads(response.content), is_replay=is_replay(response))

    async def get_transfer(
        self, debtor_account: str, reference: str, *, traceparent: str | None = None
    ) -> Transfer:
        """A transfer as it stands now."""
        path = path_of("transfers", debtor_account, reference)
        return transfer_of(await self._get(path, traceparent))

    async def wait(
        self, transfer: Transfer, seconds: float, *, traceparent: str | None = None
    ) -> Transfer:
        """The transfer once its money is no longer in transit, or as it is after ``seconds``."""
        patience = Patience(seconds, first_s=WAIT_PAUSE_FIRST_S, longest_s=WAIT_PAUSE_MAX_S)
        while transfer.money_state == IN_TRANSIT and await patience.pause():
            transfer = await self.get_transfer(
                transfer.debtor_account, transfer.reference, traceparent=traceparent
            )
        return transfer

    async def reverse(
        self,
        debtor_account: str,
        transfer: str,
        *,
        reference: str,
        amount: Decimal | None = None,
        creditor_account: str | None = None,
        narrative: str | None = None,
        traceparent: str | None = None,
    ) -> Transfer:
        """Take back what a transfer paid, or ``amount`` of it; never more in all than it paid.

        ``transfer`` is its reference, ``reference`` that of the reversal itself. With several
        creditors ``creditor_account`` tells whose part.
        """
        members = present(
            reference=reference,
            amount=optional_money(amount),
            creditor_account=creditor_account,
            narrative=narrative,
        )
        path = path_of("transfers", debtor_account, transfer, "reverse")
        response = await self._send("POST", path, members, traceparent)
        return transfer_of(orjson.loads(response.content), is_replay=is_replay(response))

    async def bulk(
        self,
        orders: Iterable[Order] | AsyncIterable[Order],
        *,
        atomic: bool = False,
        traceparent: str | None = None,
    ) -> AsyncGenerator[BulkResult, None]:
        """One result per order, in their order, while the orders are still being sent.

        A stream that breaks off is taken up again at the first order without an answer. An order
        whose own result says "not now" is not repeated: its error is ``retryable``. ``atomic``
        books all orders or none, if all their accounts are on one shard. Whoever leaves the
        iteration early closes it (``contextlib.aclosing``); some more may have been executed.
        """
        headers = traced(traceparent)
        if atomic:
            for result in await submit_unit(self._calls, orders, headers):
                yield result
        else:
            async with aclosing(stream_orders(self._calls, orders, headers)) as results:
                async for result in results:
                    yield result
