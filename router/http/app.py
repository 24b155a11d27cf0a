"""The HTTP application of one bank: which operations there are, and what surrounds them."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Final, NoReturn

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from router.http.accounts_api import AccountBody, AccountChangeBody, add_accounts
from router.http.admission import Admission
from router.http.bodies import each_once
from router.http.bulk_api import BulkAnswer, add_bulk
from router.http.direct import DirectRoute
from router.http.envelope import Envelope
from router.http.holds_api import CaptureBody, HoldBody, IncreaseBody, VoidBody, add_holds
from router.http.openapi import DescribedApp
from router.http.operations_api import add_operations
from router.http.problems import on_http_exception, on_ledger_error, on_parameters_malformed
from router.http.reads_api import add_reads
from router.http.transfer_shapes import TransferBody
from router.http.transfers_api import PATH as TRANSFERS_PATH
from router.http.transfers_api import ReversalBody, add_transfers
from router.telemetry import Metrics
from router.wiring import Bank
from shard.errors import LedgerError

if TYPE_CHECKING:
    # Its packages are an optional extra.
    from router.tracing import Tracing

_DESCRIPTION: Final = """
A bank's ledger on many PostgreSQL shards.

* Money is a decimal string with its currency beside it; account numbers are strings of digits.
* `reference` (or `Idempotency-Key`) names a request: repeating it is always safe.
* 2xx: committed. 4xx: nothing moved. 5xx: unknown; repeat it with the same reference.
* Every error is `application/problem+json` (RFC 9457); branch on `code` and `retryable`.
"""


def create_app(bank: Bank, metrics: Metrics, tracing: Tracing | None = None) -> Envelope:
    """The application as it is served; ``bank`` is opened and closed by the caller."""
    api = create_api(bank, metrics)
    admission = Admission(shard.lanes for shard in bank.shards.values())
    metrics.registry.register(admission)
    return Envelope(DirectRoute(api, "POST", TRANSFERS_PATH), metrics, admission, tracing)


def create_api(bank: Bank, metrics: Metrics) -> DescribedApp:
    """All operations and their OpenAPI document, without what surrounds every request."""
    app = DescribedApp(
        models=(
            TransferBody,
            ReversalBody,
            BulkAnswer,
            HoldBody,
            CaptureBody,
            IncreaseBody,
            VoidBody,
            AccountBody,
            AccountChangeBody,
        ),
        title="Sharded ledger",
        version=version("sharded-ledger"),
        description=_DESCRIPTION,
        redoc_url=None,
        # Looked up on every request, also where nobody collects them: a tenth of the hot path.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        redirect_slashes=False,
        dependencies=[Depends(each_once)],
        generate_unique_id_function=_operation_id,
        exception_handlers={
            LedgerError: on_ledger_error,
            HTTPException: on_http_exception,
            RequestValidationError: on_parameters_malformed,
            Exception: _leave_to_envelope,
        },
    )
    add_transfers(app, bank, metrics)
    add_bulk(app, bank, metrics)
    add_holds(app, bank)
    add_accounts(app, bank)
    add_reads(app, bank)
    add_operations(app, bank, metrics)
    return app


async def _leave_to_envelope(request: Request, error: Exception) -> NoReturn:
    """Exception handler for faults: the framework's own would answer a 500 in plain text."""
    raise error


def _operation_id(route: APIRoute) -> str:
    """Clients are generated from these ids, so they are the endpoints' own names."""
    return route.name
