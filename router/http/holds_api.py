"""``/v1/holds``: reserving money, paying out of it, letting it go."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict

from router.documents import hold_document, transfer_document
from router.errors import SuspenseFull, refusal
from router.holds import Capture, Held, Increase, Placement
from router.http import examples
from router.http.answers import json_response
from router.http.bodies import NoQuery, RequestBody, read_body, reference_of
from router.http.fields import (
    AccountNo,
    Amount,
    Currency,
    Instant,
    Narrative,
    PlainAmount,
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
from router.http.paths import (
    account_in_path,
    account_parameter,
    reference_in_path,
    reference_parameter,
    reference_path,
)
from router.http.problems import BODY_ERRORS, REPLAYED_HEADER
from router.http.transfer_shapes import TransferObject, status_of
from router.wiring import Bank
from shard.errors import LedgerError, OutcomeUnknown
from shard.holds import HoldState
from shard.outcomes import Outcome

PATH = "/v1/holds"
_ONE = f"{PATH}/{{account}}/{{reference}}"
_ACCOUNT_IN_PATH = "The account the amount is held on."
_HOLD_IN_PATH = "Of the hold."
_LOCATION = {
    "Location": {
        "description": "The hold.",
        "schema": {"type": "string"},
        "example": "/v1/holds/2000000123/AUTH-9",
    }
}
_TRANSFER_LOCATION = {
    "Location": {
        "description": "The payment, a transfer.",
        "schema": {"type": "string"},
        "example": "/v1/transfers/2000000123/CAP-9",
    }
}
_ON_ACCOUNT = (
    Outcome.REFERENCE_REUSED,
    Outcome.SYSTEM_ACCOUNT,
    Outcome.ACCOUNT_UNKNOWN,
    Outcome.ACCOUNT_CLOSED,
    Outcome.ACCOUNT_FROZEN,
    Outcome.CURRENCY_MISMATCH,
    Outcome.INSUFFICIENT_FUNDS,
)
_ON_HOLD = (Outcome.HOLD_UNKNOWN, Outcome.HOLD_NOT_OPEN, Outcome.HOLD_EXPIRED)
_AFTERWARDS = (*ROUTED, OutcomeUnknown())


class HoldBody(RequestBody):
    """An amount to hold back until ``expires_at``.

    ``creditor_account`` is the only account it may be captured for.
    """

    reference: Reference | None = None
    account: AccountNo
    currency: Currency
    amount: Amount
    expires_at: Instant
    creditor_account: AccountNo | None = None


class CaptureBody(RequestBody):
    """A payment out of a hold; without an amount all that remains.

    ``final`` lets go of what it leaves.
    """

    reference: Reference | None = None
    creditor_account: AccountNo
    amount: PlainAmount | None = None
    final: bool = False
    narrative: Narrative | None = None


class IncreaseBody(RequestBody):
    """More to hold back, and where given a new end."""

    reference: Reference | None = None
    amount: PlainAmount
    expires_at: Instant | None = None


class VoidBody(RequestBody):
    """Lets go of all that is still held back."""

    reference: Reference | None = None


class HoldObject(BaseModel):
    """A hold as it stands now; ``remaining`` is what it holds back."""

    model_config = ConfigDict(extra="forbid")

    account: str
    reference: str
    currency: str
    amount: str
    captured: str
    remaining: str
    state: HoldState
    creditor_account: str | None
    placed_at: str
    expires_at: str
    closed_at: str | None


class CapturedObject(BaseModel):
    """The payment out of a hold, and the hold after it."""

    model_config = ConfigDict(extra="forbid")

    transfer: TransferObject
    hold: HoldObject


class HoldsApi:
    """The endpoints around holds."""

    def __init__(self, bank: Bank) -> None:
        self._holds = bank.holds

    async def place_hold(self, request: Request) -> Response:
        """Hold an amount back, if it is available."""
        body = await read_body(request, HoldBody)
        placement = Placement(
            reference=reference_of(request, body.reference),
            account=body.account,
            amount=body.amount,
            currency=body.currency,
            expires_at=body.expires_at,
            creditor=body.creditor_account,
        )
        held = await self._holds.place(placement)
        location = f"{PATH}/{held.hold.account_no}/{held.hold.reference}"
        return _answer(held, HTTPStatus.CREATED, {"Location": location})

    async def get_hold(
        self,
        account: Annotated[AccountNo, Path(description=_ACCOUNT_IN_PATH)],
        reference: Annotated[Reference, reference_path(_HOLD_IN_PATH, "AUTH-9")],
        query: Annotated[NoQuery, Query()],
    ) -> Response:
        """A hold as it stands now."""
        return json_response(hold_document(await self._holds.get(account, reference)))

    async def increase_hold(self, request: Request) -> Response:
        """Hold more back, if it is available."""
        account, hold = account_in_path(request), reference_in_path(request)
        body = await read_body(request, IncreaseBody)
        reference = reference_of(request, body.reference)
        increase = Increase(reference, account, hold, body.amount, body.expires_at)
        return _answer(await self._holds.increase(increase))

    async def void_hold(self, request: Request) -> Response:
        """Let go of what is still held back."""
        account, hold = account_in_path(request), reference_in_path(request)
        body = await read_body(request, VoidBody)
        return _answer(await self._holds.void(account, hold, reference_of(request, body.reference)))

    async def capture_hold(self, request: Request) -> Response:
        """Pay a creditor out of a hold, also one on another shard.

        201: booked on both sides. 202: debited, and on its way to the creditor's shard.
        """
        account, hold_reference = account_in_path(request), reference_in_path(request)
        body = await read_body(request, CaptureBody)
        capture = Capture(
            reference=reference_of(request, body.reference),
            account=account,
            hold=hold_reference,
            creditor=body.creditor_account,
            amount=body.amount,
            is_final=body.final,
            narrative=body.narrative,
        )
        submitted, hold = await self._holds.capture(capture)
        record = submitted.record
        headers = {"Location": f"/v1/transfers/{record.home}/{record.reference}"}
        if submitted.is_replay:
            headers[REPLAYED_HEADER] = "true"
        document = {"transfer": transfer_document(record), "hold": hold_document(hold)}
        return json_response(document, status_of(record, is_replay=submitted.is_replay), headers)


def _answer(
    held: Held, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> Response:
    told_headers = dict(headers or {})
    if held.is_replay:
        told_headers[REPLAYED_HEADER] = "true"
        status = HTTPStatus.OK
    return json_response(hold_document(held.hold), status, told_headers)


def _in_path(hold: str) -> list[dict[str, Any]]:
    return [account_parameter(_ACCOUNT_IN_PATH), reference_parameter(_HOLD_IN_PATH, hold)]


def add_holds(app: FastAPI, bank: Bank) -> None:
    """Put the holds' operations on the app."""
    api = HoldsApi(bank)
    app.router.add_api_route(
        PATH,
        api.place_hold,
        methods=["POST"],
        tags=["holds"],
        status_code=HTTPStatus.CREATED,
        response_model=HoldObject,
        response_description="Held back.",
        responses={
            201: {"headers": _LOCATION, **json_example(examples.HOLD)},
            **_described(PATH, HoldObject, examples.HOLD, (*_ON_ACCOUNT, Outcome.HOLD_EXPIRED)),
        },
        openapi_extra={
            "parameters": [REFERENCE_PARAMETER],
            "requestBody": json_body(HoldBody, _HOLDS),
        },
        route_class_override=LeanRoute,
    )
    app.router.add_api_route(
        _ONE,
        api.get_hold,
        methods=["GET"],
        tags=["holds"],
        response_model=HoldObject,
        responses={
            200: json_example(examples.HOLD),
            **problems(_ONE, *UNKNOWN, *ROUTED),
        },
    )
    _add_capture(app, api)
    told = examples.HOLD_INCREASED
    _add_change(app, "increase", api.increase_hold, IncreaseBody, _INCREASE, told)
    _add_change(app, "void", api.void_hold, VoidBody, _VOID, examples.HOLD_VOIDED, "AUTH-8")


def _add_capture(app: FastAPI, api: HoldsApi) -> None:
    captures = f"{_ONE}/capture"
    app.router.add_api_route(
        captures,
        api.capture_hold,
        methods=["POST"],
        tags=["holds"],
        status_code=HTTPStatus.CREATED,
        response_model=CapturedObject,
        response_description="Paid, and booked on both sides.",
        responses={
            201: {"headers": _TRANSFER_LOCATION, **json_example(examples.CAPTURE)},
            202: {
                "model": CapturedObject,
                "description": "Paid, and on its way to the creditor's shard.",
                "headers": _TRANSFER_LOCATION,
                **json_example(examples.CAPTURE_IN_TRANSIT),
            },
            **_described(
                captures,
                CapturedObject,
                examples.CAPTURE,
                (*_ON_ACCOUNT, *_ON_HOLD, Outcome.HOLD_CREDITOR_MISMATCH, Outcome.HOLD_EXCEEDED),
                *UNKNOWN,
                SuspenseFull(),
            ),
        },
        openapi_extra={
            "parameters": [*_in_path("AUTH-9"), REFERENCE_PARAMETER],
            "requestBody": json_body(CaptureBody, {"last": _CAPTURE}),
        },
        route_class_override=LeanRoute,
    )


def _add_change(
    app: FastAPI,
    verb: str,
    endpoint: Any,
    model: type[RequestBody],
    example: examples.Example,
    told: examples.Example,
    hold: str = "AUTH-9",
) -> None:
    path = f"{_ONE}/{verb}"
    app.router.add_api_route(
        path,
        endpoint,
        methods=["POST"],
        tags=["holds"],
        response_model=HoldObject,
        response_description="The hold after it, also where the reference was known.",
        responses={
            200: {"headers": dict(REPLAYED_DESCRIPTION), **json_example(told)},
            **problems(
                path,
                *BODY_ERRORS,
                *UNKNOWN,
                *(refusal(outcome) for outcome in (*_ON_ACCOUNT, *_ON_HOLD)),
                *_AFTERWARDS,
            ),
        },
        openapi_extra={
            "parameters": [*_in_path(hold), REFERENCE_PARAMETER],
            "requestBody": json_body(model, {verb: example}),
        },
        route_class_override=LeanRoute,
    )


def _described(
    path: str,
    model: type[BaseModel],
    told: examples.Example,
    refusals: tuple[Outcome, ...],
    *others: LedgerError,
) -> dict[int | str, dict[str, Any]]:
    return {
        200: {
            "model": model,
            "description": "The reference was known; as it stands now.",
            "headers": dict(REPLAYED_DESCRIPTION),
            **json_example(told),
        },
        **problems(
            path,
            *BODY_ERRORS,
            *others,
            *(refusal(outcome) for outcome in refusals),
            *_AFTERWARDS,
        ),
    }


_HOLD = {
    "reference": "AUTH-9",
    "account": "2000000123",
    "amount": "30.00",
    "currency": "EUR",
    "expires_at": "2026-11-28T09:30:00Z",
    "creditor_account": None,
}
_HOLDS = {
    "for_anyone": _HOLD,
    "for_one_creditor": {**_HOLD, "reference": "AUTH-8", "creditor_account": "3000000456"},
}
_CAPTURE = {
    "reference": "CAP-9",
    "creditor_account": "3000000456",
    "amount": "25.00",
    "final": True,
}
_INCREASE = {"reference": "MORE-9", "amount": "5.00"}
_VOID = {"reference": "VOID-9"}
