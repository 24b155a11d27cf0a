"""``/v1/accounts``: opening, looking, changing, freezing and closing."""

from __future__ import annotations

from decimal import Decimal
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import FastAPI, Query, Request, Response
from pydantic import BaseModel, ConfigDict

from router.accounts import Opening
from router.documents import Document, account_document
from router.errors import (
    AccountNoTaken,
    AccountOffHome,
    AccountOutsideRanges,
    DirectoryUnavailable,
    RangeFull,
    ReferenceReused,
    refusal,
)
from router.http import examples
from router.http.answers import json_response
from router.http.bodies import NoQuery, RequestBody, read_body, reference_of
from router.http.fields import (
    AccountNo,
    Currency,
    Customer,
    Limit,
    Metadata,
    PartyName,
    PlainLimit,
    Reason,
    Reference,
)
from router.http.openapi import (
    REFERENCE_PARAMETER,
    REPLAYED_DESCRIPTION,
    ROUTED,
    UNKNOWN,
    LeanRoute,
    json_body,
    json_example,
    problems,
)
from router.http.paths import account_in_path, account_parameter
from router.http.problems import BODY_ERRORS, REPLAYED_HEADER, FieldError, RequestMalformed
from router.wiring import Bank
from shard.accounts import Account, AccountChange, AccountKind, AccountStatus
from shard.errors import OutcomeUnknown
from shard.outcomes import Outcome

PATH = "/v1/accounts"
_ONE = f"{PATH}/{{account}}"
_ACTOR = "api"
"""Who acts, as long as the API does not know its callers."""


_DEFAULT_REASON = "Asked for over HTTP."
_REFUSED_CHANGES = (
    Outcome.ACCOUNT_CLOSED,
    Outcome.BALANCE_NOT_ZERO,
    Outcome.HOLDS_OPEN,
    Outcome.MONEY_IN_TRANSIT,
    Outcome.SYSTEM_ACCOUNT,
    Outcome.INSUFFICIENT_FUNDS,
)
_LOCATION = {
    "Location": {
        "description": "The account.",
        "schema": {"type": "string"},
        "example": "/v1/accounts/2000000123",
    }
}
_OPENINGS = {
    "customer": {
        "customer": "C-000123",
        "currency": "EUR",
        "kind": "customer",
        "name": "Ada Lovelace",
        "overdraft_limit": "0.00",
        "reference": "OPEN-1",
    },
    "with a minimum": {
        "customer": "C-000123",
        "currency": "EUR",
        "minimum_balance": "25.00",
        "metadata": {"crm_id": "0042", "branch": "Kreuzberg"},
        "reference": "OPEN-2",
    },
    "of the bank": {
        "customer": "BANK",
        "currency": "EUR",
        "kind": "income",
        "overdraft_limit": None,
        "reference": "FEES-EUR",
    },
}
_CHANGES = {
    "freeze": {"status": "frozen", "reason": "Card reported stolen"},
    "freeze debits only": {"status": "frozen", "frozen_for": "debits"},
    "reopen": {"status": "open"},
    "limits": {"overdraft_limit": "500.00", "reason": "Salary account"},
    "minimum": {"minimum_balance": "25.00", "overdraft_limit": "0.00"},
    "metadata": {"metadata": {"crm_id": "0042"}},
}


OpenableKind = Literal[
    AccountKind.CUSTOMER,
    AccountKind.INTERNAL,
    AccountKind.ASSET,
    AccountKind.LIABILITY,
    AccountKind.INCOME,
    AccountKind.EXPENSE,
    AccountKind.EQUITY,
]
"""Suspense and clearing accounts belong to the machinery and come with their shard."""


FrozenFor = Literal["everything", "debits"]


class AccountBody(RequestBody):
    """An account to open; asking again with the same reference finds it.

    An account with a ``minimum_balance`` has no overdraft.
    """

    customer: Customer
    currency: Currency
    kind: OpenableKind = AccountKind.CUSTOMER
    name: PartyName | None = None
    overdraft_limit: Limit | None = Decimal(0)
    minimum_balance: Limit = Decimal(0)
    metadata: Metadata | None = None
    account: AccountNo | None = None
    reference: Reference | None = None


class AccountChangeBody(RequestBody):
    """What is to change, one thing at least; all of it is changed, or nothing.

    A frozen account neither pays nor is paid; ``frozen_for`` ``debits`` lets it be paid.
    ``metadata`` replaces all of it. What already is so changes nothing.
    """

    status: AccountStatus | None = None
    frozen_for: FrozenFor | None = None
    overdraft_limit: PlainLimit | None = None
    minimum_balance: PlainLimit | None = None
    metadata: Metadata | None = None
    reason: Reason | None = None


class AccountObject(BaseModel):
    """An account; ``overdraft_limit`` null means that it has no floor.

    ``frozen_for`` is null unless it is frozen.
    """

    model_config = ConfigDict(extra="forbid")

    account: str
    customer: str | None
    currency: str
    kind: AccountKind
    status: AccountStatus
    frozen_for: FrozenFor | None
    overdraft_limit: str | None
    minimum_balance: str
    metadata: dict[str, str]
    shard: int
    opened_on: str


class AccountsApi:
    """The endpoints around accounts."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank
        self._accounts = bank.accounts

    async def open_account(self, request: Request) -> Response:
        """Open an account on the customer's home range, or find the one opened before."""
        body = await read_body(request, AccountBody)
        opening = Opening(
            customer=body.customer,
            reference=reference_of(request, body.reference),
            currency=body.currency,
            kind=body.kind,
            name=body.name,
            overdraft_limit=body.overdraft_limit,
            account_no=body.account,
            minimum_balance=body.minimum_balance,
            metadata=body.metadata,
        )
        opened = await self._accounts.open(opening, actor=_ACTOR)
        headers = {"Location": f"{PATH}/{opened.account.account_no}"}
        if not opened.is_new:
            headers[REPLAYED_HEADER] = "true"
        status = HTTPStatus.CREATED if opened.is_new else HTTPStatus.OK
        return json_response(self._told(opened.account), status, headers)

    async def get_account(self, account: AccountNo, query: Annotated[NoQuery, Query()]) -> Response:
        """What an account is and where it lives."""
        return json_response(self._told(await self._accounts.get(account)))

    async def change_account(self, request: Request) -> Response:
        """Freeze, reopen or close an account; change its limits or its metadata."""
        account_no = account_in_path(request)
        body = await read_body(request, AccountChangeBody)
        account = await self._accounts.change(
            account_no, _wanted_change(body), actor=_ACTOR, reason=body.reason or _DEFAULT_REASON
        )
        return json_response(self._told(account))

    def _told(self, account: Account) -> Document:
        """The members of ``AccountObject``."""
        return account_document(account, self._bank.routes.owner_now(account.account_no))


def _wanted_change(body: AccountChangeBody) -> AccountChange:
    """What a body asks for; raises ``RequestMalformed``."""
    given = body.model_fields_set - {"reason"}
    if not given:
        raise RequestMalformed([FieldError("Nothing is to change.", pointer="")])
    if nulls := sorted(name for name in given if getattr(body, name) is None):
        # Null could be meant as "none", or as "as it is".
        message = "It cannot be null; leave out what stays as it is."
        raise RequestMalformed([FieldError(message, pointer=f"/{name}") for name in nulls])
    is_freeze = body.status is AccountStatus.FROZEN
    if body.frozen_for is not None and not is_freeze:
        message = "It goes with the status `frozen` only."
        raise RequestMalformed([FieldError(message, pointer="/frozen_for")])
    return AccountChange(
        status=body.status,
        credits_when_frozen=body.frozen_for == "debits" if is_freeze else None,
        overdraft_limit=body.overdraft_limit,
        minimum_balance=body.minimum_balance,
        metadata=body.metadata,
    )


def add_accounts(app: FastAPI, bank: Bank) -> None:
    """Put the accounts' operations on the app."""
    api = AccountsApi(bank)
    _add_opening(app, api)
    _add_change(app, api)
    app.router.add_api_route(
        _ONE,
        api.get_account,
        methods=["GET"],
        tags=["accounts"],
        response_model=AccountObject,
        responses={
            200: json_example(examples.ACCOUNT),
            **problems(_ONE, *UNKNOWN, *ROUTED),
        },
    )


def _add_opening(app: FastAPI, api: AccountsApi) -> None:
    app.router.add_api_route(
        PATH,
        api.open_account,
        methods=["POST"],
        tags=["accounts"],
        status_code=HTTPStatus.CREATED,
        response_model=AccountObject,
        responses={
            200: {
                "model": AccountObject,
                "description": "Opened before.",
                "headers": {**_LOCATION, **REPLAYED_DESCRIPTION},
                **json_example(examples.ACCOUNT),
            },
            201: {"headers": _LOCATION, **json_example(examples.ACCOUNT)},
            **problems(
                PATH,
                *BODY_ERRORS,
                ReferenceReused(),
                AccountNoTaken(),
                AccountOutsideRanges(),
                AccountOffHome(),
                DirectoryUnavailable(),
                RangeFull(),
                *ROUTED,
                OutcomeUnknown(),
            ),
        },
        openapi_extra={
            "parameters": [REFERENCE_PARAMETER],
            "requestBody": json_body(AccountBody, _OPENINGS),
        },
        route_class_override=LeanRoute,
    )


def _add_change(app: FastAPI, api: AccountsApi) -> None:
    app.router.add_api_route(
        _ONE,
        api.change_account,
        methods=["PATCH"],
        tags=["accounts"],
        response_model=AccountObject,
        responses={
            200: json_example(examples.ACCOUNT_FROZEN),
            **problems(
                _ONE,
                *BODY_ERRORS,
                *UNKNOWN,
                *(refusal(outcome) for outcome in _REFUSED_CHANGES),
                *ROUTED,
                OutcomeUnknown(),
            ),
        },
        openapi_extra={
            "parameters": [account_parameter("The account to change.")],
            "requestBody": json_body(AccountChangeBody, _CHANGES),
        },
        route_class_override=LeanRoute,
    )
