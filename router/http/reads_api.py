"""What an account has, had and went through: balances, entries and statements."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import date
from http import HTTPStatus
from typing import Annotated, Any, ClassVar

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from router.documents import balance_document, entry_document
from router.http.answers import json_response
from router.http.bodies import NoQuery
from router.http.fields import AccountNo, Count, IsoDate, PastTime
from router.http.media_types import preferred
from router.http.openapi import ROUTED, UNKNOWN, Described, json_example, problems
from router.http.problems import FieldError, RequestMalformed
from router.limits import CURSOR_CHARS_MAX, STATEMENT_BUFFER_BYTES
from router.statements import FORMS, Statement, StatementFormat
from router.wiring import Bank
from shard.errors import LedgerError
from shard.limits import PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX

_ACCOUNT = "/v1/accounts/{account}"
_READ_ERRORS = (*UNKNOWN, *ROUTED)

_ENTRY: Mapping[str, Any] = {
    "seq": 41,
    "transfer_id": "0193a4f2-7c1e-7000-8000-000000000001",
    "reference": "PAY-17",
    "amount": "-20.00",
    "held_delta": "0.00",
    "ledger_after": "980.00",
    "held_after": "30.00",
    "balance_after": "980.00",
    "counterparty": "3000000456",
    "business_date": "2026-11-21",
    "value_date": "2026-11-21",
    "posted_at": "2026-11-21T09:30:00.123456Z",
    "narrative": "Rent",
    "bucket": 0,
}
_PAGE: Mapping[str, Any] = {"data": [_ENTRY], "next_cursor": "AFEqAAAAAAAp"}
_BALANCE: Mapping[str, Any] = {
    "account": "2000000123",
    "currency": "EUR",
    "ledger": "980.00",
    "held": "30.00",
    "available": "950.00",
    "in_transit": "20.00",
    "seq": 41,
    "as_of": "2026-11-21T09:30:00.123456Z",
}
_STATEMENT: Mapping[str, Any] = {
    "account": "2000000123",
    "currency": "EUR",
    "from": "2026-11-01",
    "to": "2026-12-01",
    "opening_balance": "1000.00",
    "entries": [_ENTRY],
    "entry_count": 1,
    "closing_balance": "980.00",
    "closing_available": "950.00",
    "seq": 41,
}
_CSV_EXAMPLE = (
    "record,business_date,value_date,posted_at,reference,transfer_id,counterparty,narrative,"
    "amount,balance_after,currency,bucket,seq\r\n"
    "opening,2026-11-01,,,,,,,,1000.00,EUR,,\r\n"
    "entry,2026-11-21,2026-11-21,2026-11-21T09:30:00.123456Z,PAY-17,"
    "0193a4f2-7c1e-7000-8000-000000000001,3000000456,Rent,-20.00,980.00,EUR,0,41\r\n"
    "closing,2026-11-30,,,,,,,,980.00,EUR,,41\r\n"
)
_CAMT_EXAMPLE = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt>...'
    "</BkToCstmrStmt></Document>\n"
)


class NotAcceptable(LedgerError):
    """None of the media types in "Accept" is one that this answer can have."""

    code: ClassVar[str] = "NOT_ACCEPTABLE"
    http_status: ClassVar[int] = HTTPStatus.NOT_ACCEPTABLE


class BalanceObject(BaseModel):
    """Money of an account: available = ledger - held + overdraft limit - minimum balance.

    `available` is null without a floor. `seq` is the position the figures belong to, a vector for
    accounts with several buckets. `as_of` is a time, or the business date that was asked for.
    """

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [dict(_BALANCE)]})

    account: str
    currency: str
    ledger: str
    held: str
    available: str | None
    in_transit: str
    seq: int | str
    as_of: str


class EntryObject(BaseModel):
    """One change of an account's balance; credit +, debit -.

    `ledger_after` and `held_after` are those of the entry's bucket, `balance_after` is the ledger
    balance of the whole account in the order of the entries.
    """

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [dict(_ENTRY)]})

    seq: int
    transfer_id: str
    reference: str
    amount: str
    held_delta: str
    ledger_after: str
    held_after: str
    balance_after: str
    counterparty: str | None
    business_date: str
    value_date: str
    posted_at: str
    narrative: str | None
    bucket: int


class EntryList(BaseModel):
    """A page of entries, newest last; ``next_cursor`` null is the end."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [dict(_PAGE)]},
    )

    data: list[EntryObject]
    next_cursor: str | None


class StatementObject(BaseModel):
    """Bookings between two balances: opening balance + amounts = closing balance.

    `entries` holds what moved the ledger balance; amounts that were only held are none of it.
    """

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [dict(_STATEMENT)]})

    account: str
    currency: str
    from_date: str = Field(alias="from")
    to_date: str = Field(alias="to")
    opening_balance: str
    entries: list[EntryObject]
    entry_count: int
    closing_balance: str
    closing_available: str | None
    seq: int | str


class BalanceQuery(NoQuery):
    """Which balance: that of now unless a point in the past is named."""

    as_of: PastTime | None = Field(
        None,
        description="A time (RFC 3339, `+` written as `%2B`), or a business date, which stands "
        "for its end. The open business date ends with what is booked so far.",
    )


class EntriesQuery(NoQuery):
    """Half-open business dates (``from`` <= date < ``to``), and which page of them."""

    from_date: IsoDate | None = Field(None, alias="from", description="First business date.")
    to_date: IsoDate | None = Field(None, alias="to", description="Business date after the last.")
    cursor: str | None = Field(
        None,
        max_length=CURSOR_CHARS_MAX,
        description="From the last page.",
        examples=["AFEqAAAAAAAp"],
    )
    limit: Count = Field(PAGE_ROWS_DEFAULT, ge=1, le=PAGE_ROWS_MAX)


class StatementQuery(NoQuery):
    """Half-open business dates, by default of the month of the open one, and the form."""

    from_date: IsoDate | None = Field(None, alias="from", description="First business date.")
    to_date: IsoDate | None = Field(None, alias="to", description="Business date after the last.")
    format: StatementFormat | None = Field(
        None,
        description="The form of the answer; it comes before `Accept`.",
        examples=[StatementFormat.JSON],
    )


class ReadsApi:
    """The endpoints that read an account's money."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank

    async def get_balance(
        self, account: AccountNo, query: Annotated[BalanceQuery, Query()]
    ) -> Response:
        """An account's money now or at a point in the past, in one consistent reading."""
        balance = await self._bank.accounts.balance(account, as_of=query.as_of)
        return json_response(balance_document(balance))

    async def list_entries(
        self, account: AccountNo, query: Annotated[EntriesQuery, Query()]
    ) -> Response:
        """The account's entries in their order, newest last, page by page.

        A cursor stays good while entries arrive: whoever follows it sees each of them once.
        """
        _check_order(query.from_date, query.to_date)
        page = await self._bank.accounts.entries(
            account,
            from_date=query.from_date,
            to_date=query.to_date,
            cursor=query.cursor,
            limit=query.limit,
        )
        data = [entry_document(line, page.currency) for line in page.lines]
        return json_response({"data": data, "next_cursor": page.next_cursor})

    async def get_statement(
        self, request: Request, account: AccountNo, query: Annotated[StatementQuery, Query()]
    ) -> Response:
        """A statement with opening balance, bookings, running balance and closing balance.

        As JSON, CSV or ISO 20022 camt.053.001.08. It is streamed: an answer that is cut off was
        not finished and must not be used.
        """
        _check_order(query.from_date, query.to_date)
        form = query.format or _accepted(request)
        statement = await self._bank.statements.open(account, query.from_date, query.to_date)
        pieces = statement.written(form)
        begun, is_whole = await _begin(pieces)
        headers = _headers(statement, form)
        if is_whole:
            return Response(begun, headers=headers, media_type=_media_type(form))
        return StreamingResponse(
            _joined(begun, pieces), headers=headers, media_type=_media_type(form)
        )


def _check_order(first: date | None, end: date | None) -> None:
    if first and end and first > end:
        raise RequestMalformed([FieldError("It lies before `from`.", parameter="to")])


def _accepted(request: Request) -> StatementFormat:
    by_media_type = {form.media_type: name for name, form in FORMS.items()}
    media_type = preferred(request.headers.getlist("accept"), list(by_media_type))
    if media_type is None:
        raise NotAcceptable
    return by_media_type[media_type]


async def _begin(pieces: AsyncIterator[bytes]) -> tuple[bytes, bool]:
    """The beginning of a statement, and whether that is all of it."""
    begun = b""
    async for piece in pieces:
        begun += piece
        if len(begun) > STATEMENT_BUFFER_BYTES:
            return begun, False
    return begun, True


async def _joined(begun: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield begun
    async for piece in pieces:
        yield piece


def _media_type(form: StatementFormat) -> str:
    media_type = FORMS[form].media_type
    return f"{media_type}; charset=utf-8; header=present" if "csv" in media_type else media_type


def _headers(statement: Statement, form: StatementFormat) -> dict[str, str]:
    headers = {"Vary": "Accept"}
    if form is not StatementFormat.JSON:
        bounds = statement.bounds
        name = f"{bounds.account_no}-{bounds.from_date}-{bounds.to_date}{FORMS[form].suffix}"
        headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return headers


def add_reads(app: FastAPI, bank: Bank) -> None:
    """Put the operations that read an account's money on the app."""
    api = ReadsApi(bank)
    readings: tuple[tuple[str, Callable[..., Any], type[BaseModel], Described], ...] = (
        ("balance", api.get_balance, BalanceObject, {200: json_example(_BALANCE)}),
        ("entries", api.list_entries, EntryList, {200: json_example(_PAGE)}),
        ("statement", api.get_statement, StatementObject, _statement_forms()),
    )
    for name, endpoint, model, answers in readings:
        path = f"{_ACCOUNT}/{name}"
        faults = (*_READ_ERRORS, NotAcceptable()) if name == "statement" else _READ_ERRORS
        app.router.add_api_route(
            path,
            endpoint,
            methods=["GET"],
            tags=["accounts"],
            response_model=model,
            responses={**problems(path, *faults), **answers},
        )


def _statement_forms() -> Described:
    return {
        200: {
            "content": {
                "application/json": {"example": _STATEMENT},
                "text/csv": {"schema": {"type": "string"}, "example": _CSV_EXAMPLE},
                "application/xml": {"schema": {"type": "string"}, "example": _CAMT_EXAMPLE},
            }
        }
    }
