"""``/v1/accounts``: opening, looking, freezing and closing, balances and statements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from router.accounts import Opening
from router.errors import (
    AccountNoTaken,
    AccountOffHome,
    AccountOutsideRanges,
    DirectoryUnavailable,
    ReferenceReused,
    refusal,
)
from router.http.answers import json_response
from router.http.bodies import NoQuery, RequestBody, read_body, reference_of
from router.http.fields import (
    AccountNo,
    Currency,
    Customer,
    IsoDate,
    Limit,
    PartyName,
    Reason,
    Reference,
)
from router.http.openapi import (
    REFERENCE_PARAMETER,
    REPLAYED_DESCRIPTION,
    LeanRoute,
    json_body,
    problems,
)
from router.http.problems import BODY_ERRORS, REPLAYED_HEADER, FieldError, RequestMalformed
from router.limits import CURSOR_CHARS_MAX
from router.wiring import Bank
from shard.account_numbers import parse_account_no
from shard.accounts import Account, AccountKind, AccountStatus
from shard.errors import AccountNoMalformed, Malformed, NotFound, RangeMoving, ShardUnavailable
from shard.limits import PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX
from shard.money import format_amount
from shard.outcomes import Outcome
from shard.statements import EntryLine

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
)
_EXAMPLE = {
    "customer": "C-000123",
    "currency": "EUR",
    "kind": "customer",
    "name": "Ada Lovelace",
    "overdraft_limit": "0.00",
    "reference": "OPEN-1",
}
_ACCOUNT_PARAMETER: Mapping[str, Any] = {
    "name": "account",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[1-9][0-9]{0,17}$"},
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


class AccountBody(RequestBody):
    """An account to open; asking again with the same reference finds it."""

    customer: Customer
    currency: Currency
    kind: OpenableKind = AccountKind.CUSTOMER
    name: PartyName | None = None
    overdraft_limit: Limit | None = Decimal(0)
    account: AccountNo | None = None
    reference: Reference | None = None


class AccountChangeBody(RequestBody):
    """A new status; the same status again changes nothing."""

    status: AccountStatus
    reason: Reason | None = None


class AccountObject(BaseModel):
    """An account; ``overdraft_limit`` null means that it has no floor."""

    model_config = ConfigDict(extra="forbid")

    account: str
    customer: str | None
    currency: str
    kind: AccountKind
    status: AccountStatus
    overdraft_limit: str | None
    shard: int
    opened_on: str


class BalanceObject(BaseModel):
    """Money of an account: available = ledger - held + overdraft limit; null without a floor."""

    model_config = ConfigDict(extra="forbid")

    account: str
    currency: str
    ledger: str
    held: str
    available: str | None
    in_transit: str
    seq: int | str
    as_of: str


class EntryObject(BaseModel):
    """One change of an account's balance; credit +, debit -."""

    model_config = ConfigDict(extra="forbid")

    seq: int
    transfer_id: str
    reference: str
    amount: str
    held_delta: str
    ledger_after: str
    held_after: str
    counterparty: str | None
    business_date: str
    value_date: str
    posted_at: str
    narrative: str | None
    bucket: int


class EntryList(BaseModel):
    """A page of entries, newest last; ``next_cursor`` null is the end."""

    model_config = ConfigDict(extra="forbid")

    data: list[EntryObject]
    next_cursor: str | None


class EntriesQuery(NoQuery):
    """Half-open business dates (``from`` <= date < ``to``), and which page of them."""

    from_date: IsoDate | None = Field(None, alias="from", description="First business date.")
    to_date: IsoDate | None = Field(None, alias="to", description="Business date after the last.")
    cursor: str | None = Field(None, max_length=CURSOR_CHARS_MAX, description="From the last page.")
    limit: int = Field(PAGE_ROWS_DEFAULT, ge=1, le=PAGE_ROWS_MAX)


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
        """Freeze, reopen or close an account."""
        account_no = _account_in_path(request)
        body = await read_body(request, AccountChangeBody)
        account = await self._accounts.change_status(
            account_no, body.status, actor=_ACTOR, reason=body.reason or _DEFAULT_REASON
        )
        return json_response(self._told(account))

    async def get_balance(self, account: AccountNo, query: Annotated[NoQuery, Query()]) -> Response:
        """An account's money now, in one consistent reading."""
        balance = await self._accounts.balance(account)

        def told(amount: Decimal) -> str:
            return format_amount(amount, balance.currency)

        return json_response(
            {
                "account": str(balance.account_no),
                "currency": balance.currency,
                "ledger": told(balance.ledger),
                "held": told(balance.held),
                "available": None if balance.available is None else told(balance.available),
                "in_transit": told(balance.in_transit),
                "seq": int(balance.seq) if balance.seq.isdecimal() else balance.seq,
                "as_of": balance.as_of,
            }
        )

    async def list_entries(
        self, account: AccountNo, query: Annotated[EntriesQuery, Query()]
    ) -> Response:
        """A statement: the account's entries in their order, newest last."""
        if query.from_date and query.to_date and query.from_date > query.to_date:
            raise RequestMalformed([FieldError("It lies before `from`.", parameter="to")])
        page = await self._accounts.entries(
            account,
            from_date=query.from_date,
            to_date=query.to_date,
            cursor=query.cursor,
            limit=query.limit,
        )
        data = [_entry(line, page.currency) for line in page.lines]
        return json_response({"data": data, "next_cursor": page.next_cursor})

    def _told(self, account: Account) -> dict[str, Any]:
        """The members of ``AccountObject``."""
        limit = account.overdraft_limit
        return {
            "account": str(account.account_no),
            "customer": account.customer,
            "currency": account.currency,
            "kind": account.kind,
            "status": account.status,
            "overdraft_limit": None if limit is None else format_amount(limit, account.currency),
            "shard": self._bank.routes.owner_now(account.account_no),
            "opened_on": account.opened_on,
        }


def _account_in_path(request: Request) -> int:
    try:
        return parse_account_no(request.path_params["account"])
    except AccountNoMalformed as error:
        raise RequestMalformed([FieldError(error.detail, parameter="account")]) from None


def _entry(line: EntryLine, currency: str) -> dict[str, Any]:
    """The members of ``EntryObject``."""
    return {
        "seq": line.seq,
        "bucket": line.bucket,
        "transfer_id": line.transfer_id,
        "reference": line.reference,
        "amount": format_amount(line.amount, currency),
        "held_delta": format_amount(line.held_delta, currency),
        "ledger_after": format_amount(line.ledger_after, currency),
        "held_after": format_amount(line.held_after, currency),
        "counterparty": None if line.counterparty is None else str(line.counterparty),
        "business_date": line.business_date,
        "value_date": line.value_date,
        "posted_at": line.posted_at,
        "narrative": line.narrative,
    }


def add_accounts(app: FastAPI, bank: Bank) -> None:
    """Put the accounts' operations on the app."""
    api = AccountsApi(bank)
    _add_opening(app, api)
    _add_change(app, api)
    readings: tuple[tuple[str, Callable[..., Any], type[BaseModel]], ...] = (
        (_ONE, api.get_account, AccountObject),
        (f"{_ONE}/balance", api.get_balance, BalanceObject),
        (f"{_ONE}/entries", api.list_entries, EntryList),
    )
    for path, endpoint, model in readings:
        app.router.add_api_route(
            path,
            endpoint,
            methods=["GET"],
            tags=["accounts"],
            response_model=model,
            responses=problems(path, Malformed(), NotFound(), ShardUnavailable()),
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
                "headers": REPLAYED_DESCRIPTION,
            },
            **problems(
                PATH,
                *BODY_ERRORS,
                ReferenceReused(),
                AccountNoTaken(),
                AccountOutsideRanges(),
                AccountOffHome(),
                DirectoryUnavailable(),
                ShardUnavailable(),
                RangeMoving(),
            ),
        },
        openapi_extra={
            "parameters": [REFERENCE_PARAMETER],
            "requestBody": json_body(AccountBody, {"customer": _EXAMPLE}),
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
        responses=problems(
            _ONE,
            *BODY_ERRORS,
            NotFound(),
            *(refusal(outcome) for outcome in _REFUSED_CHANGES),
            ShardUnavailable(),
            RangeMoving(),
        ),
        openapi_extra={
            "parameters": [_ACCOUNT_PARAMETER],
            "requestBody": json_body(AccountChangeBody, {"freeze": {"status": "frozen"}}),
        },
        route_class_override=LeanRoute,
    )
