"""A client of the ledger's HTTP API: typed, asynchronous, safe to repeat.

    from router.client import LedgerClient, Refused, TransferOrder

    async with LedgerClient("http://127.0.0.1:8080") as ledger:
        order = TransferOrder("PAY-17", "2000000123", "3000000456", Decimal("20.00"), "EUR")
        try:
            transfer = await ledger.transfer(order)
        except Refused as refused:
            print(refused.code)
        async for result in ledger.bulk(orders):
            print(result.line, result.status)

Whatever has no answer is asked for again with the same reference, so it happens once. The
reference is always the caller's: keep it, and a program that was killed in between can repeat
its request, too.
"""

from router.client.answers import (
    Account,
    Balance,
    BulkResult,
    Captured,
    Entry,
    Hold,
    Transfer,
)
from router.client.duplex import DuplexTransport
from router.client.errors import (
    ClientError,
    Malformed,
    NoAnswer,
    NotFound,
    OutcomeUnknown,
    Refused,
    Unavailable,
    UnexpectedAnswer,
    WrongField,
)
from router.client.ledger_client import LedgerClient
from router.client.orders import Leg, LegsOrder, Order, TransferOrder
from router.client.retries import Retries

__all__ = [
    "Account",
    "Balance",
    "BulkResult",
    "Captured",
    "ClientError",
    "DuplexTransport",
    "Entry",
    "Hold",
    "LedgerClient",
    "Leg",
    "LegsOrder",
    "Malformed",
    "NoAnswer",
    "NotFound",
    "Order",
    "OutcomeUnknown",
    "Refused",
    "Retries",
    "Transfer",
    "TransferOrder",
    "Unavailable",
    "UnexpectedAnswer",
    "WrongField",
]
