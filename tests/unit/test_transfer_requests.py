"""Transfer requests that no shard needs to be asked about."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from router.directory import Directory
from router.routing import Routes
from router.suspense_gauge import SuspenseGauge
from router.transfer_requests import TransferRequest
from router.transfers import Transfers
from shard.errors import AmountMalformed, LedgerError, Malformed, Refused

REQUEST = TransferRequest("PAY-1", 1_000_000_001, 2_000_000_002, Decimal("20.00"), "EUR")


async def refusal_of(request: TransferRequest) -> LedgerError:
    """What a bank without any server in reach says to a request."""
    transfers = Transfers(Routes(Directory("host=/nowhere"), {}), SuspenseGauge((), 0))
    with pytest.raises(LedgerError) as refused:
        await transfers.submit(request, budget_s=0)
    return refused.value


@pytest.mark.parametrize(
    "amount", ["0", "-1", "NaN", "sNaN", "Infinity", "-Infinity", "0.001", "1e14", "20.005"]
)
async def test_impossible_amounts_are_malformed(amount: str) -> None:
    """An amount is positive, finite, below 10^14 and has no more decimals than its currency."""
    refused = await refusal_of(replace(REQUEST, amount=Decimal(amount)))
    assert type(refused) is AmountMalformed


async def test_a_currency_not_kept_is_malformed() -> None:
    """The ledger keeps books in a list of currencies."""
    assert type(await refusal_of(replace(REQUEST, currency="XXX"))) is AmountMalformed


async def test_debtor_and_creditor_differ() -> None:
    """A transfer to oneself moves nothing."""
    refused = await refusal_of(replace(REQUEST, creditor=REQUEST.debtor))
    assert isinstance(refused, Malformed)
    assert refused.pointer == "/creditor_account"


@pytest.mark.parametrize("side", ["debtor", "creditor"])
async def test_system_accounts_cannot_be_named(side: str) -> None:
    """Suspense and clearing belong to the machinery."""
    changes: dict[str, Any] = {side: 1_101_000}
    refused = await refusal_of(replace(REQUEST, **changes))
    assert isinstance(refused, Refused)
    assert refused.outcome == "SYSTEM_ACCOUNT"
