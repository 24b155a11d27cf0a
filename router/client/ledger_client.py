"""The client: one method per operation, repeated by reference until there is an answer."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import httpx

from router.client.account_operations import AccountOperations
from router.client.calls import Calls
from router.client.duplex import DuplexTransport
from router.client.hold_operations import HoldOperations
from router.client.retries import Retries
from router.client.transfer_operations import TransferOperations
from router.limits import CLIENT_CONNECT_LIMIT_S, CLIENT_TIMEOUT_S


class LedgerClient(TransferOperations, AccountOperations, HoldOperations):
    """A ledger at ``base_url``; use it as ``async with LedgerClient(url) as ledger``.

    A request without an answer, or with one that says "not now" (503, 504), is repeated as
    ``retries`` says, always under its own reference, so that it has one effect. ``timeout_s`` is
    for each try. ``transport`` is any of ``httpx``; the default is the one that ``bulk`` needs.
    All methods raise ``router.client.errors``; ``traceparent`` is W3C Trace Context's.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout_s: float = CLIENT_TIMEOUT_S,
        retries: Retries | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(
            base_url=base_url,
            timeout=httpx.Timeout(timeout_s, connect=CLIENT_CONNECT_LIMIT_S),
            transport=transport or DuplexTransport(),
            trust_env=False,
        )
        super().__init__(Calls(self._http, retries or Retries()))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()
