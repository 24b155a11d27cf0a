"""``/v1/transfers``: the hot path, so bytes go in and bytes come out with one parse between."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Literal

import structlog
from fastapi import FastAPI, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict

from router.errors import RefusalReplayed, refusal
from router.http.answers import json_response
from router.http.bodies import NoQuery, RequestBody, read_body, reference_of
from router.http.fields import AccountNo, Amount, Currency, IsoDate, Narrative, Reference
from router.http.openapi import (
    REFERENCE_PARAMETER,
    REPLAYED_DESCRIPTION,
    LeanRoute,
    json_body,
    problems,
)
from router.http.problems import BODY_ERRORS, REPLAYED_HEADER
from router.limits import PREFER_WAIT_MAX_S
from router.telemetry import Metrics
from router.transfers import Submitted, TransferRequest
from router.wiring import Bank
from shard.commands import MoneyState
from shard.errors import (
    LedgerError,
    Malformed,
    NotFound,
    OutcomeUnknown,
    Overloaded,
    RangeMoving,
    Refused,
    ShardUnavailable,
)
from shard.money import format_amount
from shard.outcomes import Outcome
from shard.transfers import TransferRecord

_log = structlog.get_logger(__name__)

PATH = "/v1/transfers"
_EVIDENCE_PENDING = frozenset({MoneyState.IN_TRANSIT, MoneyState.NEEDS_REPAIR})
_PATH_TAKEN = {MoneyState.POSTED: "local", MoneyState.IN_TRANSIT: "cross"}


class TransferBody(RequestBody):
    """One debtor pays one creditor."""

    reference: Reference | None = None
    debtor_account: AccountNo
    creditor_account: AccountNo
    currency: Currency
    amount: Amount
    narrative: Narrative | None = None
    value_date: IsoDate | None = None


class TransferObject(BaseModel):
    """A transfer as it stands now: what was asked, where the money is, what proves it."""

    model_config = ConfigDict(extra="forbid")

    id: str
    reference: str
    debtor_account: str
    creditor_account: str | None
    amount: str
    currency: str
    request_state: Literal["accepted", "refused"]
    money_state: MoneyState
    evidence_state: Literal["present", "pending"]
    code: str | None
    business_date: str
    posted_at: str | None
    delivered_at: str | None
    workflow: str | None


_PREFER_PARAMETER: Mapping[str, Any] = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "description": f"`wait=2` waits for the end that many seconds, {PREFER_WAIT_MAX_S} at most.",
    "schema": {"type": "string"},
    "example": "wait=2",
}
_ANSWER_HEADERS: Mapping[str, Any] = {
    "Location": {"description": "The transfer.", "schema": {"type": "string"}},
    "Preference-Applied": {
        "description": "How long the answer was willing to wait.",
        "schema": {"type": "string"},
    },
}
_REFUSALS = (
    Outcome.REFERENCE_REUSED,
    Outcome.SYSTEM_ACCOUNT,
    Outcome.ACCOUNT_UNKNOWN,
    Outcome.ACCOUNT_CLOSED,
    Outcome.ACCOUNT_FROZEN,
    Outcome.CURRENCY_MISMATCH,
    Outcome.INSUFFICIENT_FUNDS,
)
_EXAMPLE = {
    "reference": "PAY-17",
    "debtor_account": "2000000123",
    "creditor_account": "3000000456",
    "amount": "20.00",
    "currency": "EUR",
    "narrative": "Rent",
    "value_date": None,
}


class TransfersApi:
    """The endpoints around transfers."""

    def __init__(self, bank: Bank, metrics: Metrics) -> None:
        self._bank = bank
        self._transfers = metrics.transfers
        self._replays = metrics.replays

    async def submit_transfer(self, request: Request) -> Response:
        """Move money from a debtor to a creditor.

        201: booked on both sides. 202: debited, and on its way to a creditor on another shard.
        Repeating the request with the same reference is always safe.
        """
        body = await read_body(request, TransferBody)
        wait_s = _preferred_wait_s(request)
        wanted = TransferRequest(
            reference=reference_of(request, body.reference),
            debtor=body.debtor_account,
            creditor=body.creditor_account,
            amount=body.amount,
            currency=body.currency,
            narrative=body.narrative,
            value_date=body.value_date,
        )
        submitted = await self._submit(wanted)
        record = submitted.record
        if wait_s is not None:
            record = await self._after(record, wait_s)
        return self._answer(record, is_replay=submitted.is_replay, waited_s=wait_s)

    async def get_transfer(
        self,
        account: Annotated[AccountNo, Path(description="The debtor's account.")],
        reference: Annotated[Reference, Path()],
        query: Annotated[NoQuery, Query()],
    ) -> Response:
        """A transfer as it stands now."""
        record = await self._bank.transfers.get(account, reference)
        return json_response(self._told(record))

    async def _submit(self, wanted: TransferRequest) -> Submitted:
        try:
            submitted = await self._bank.transfers.submit(wanted)
        except RefusalReplayed:
            self._replays.inc()
            raise
        except Refused as error:
            self._transfers.labels(error.outcome, "none").inc()
            raise
        if submitted.is_replay:
            self._replays.inc()
        else:
            path = _PATH_TAKEN.get(submitted.record.money_state, "none")
            self._transfers.labels(submitted.record.outcome, path).inc()
        return submitted

    async def _after(self, record: TransferRecord, wait_s: int) -> TransferRecord:
        """The record after waiting; money has moved, so nothing here may become an error."""
        try:
            return await self._bank.transfers.wait(record, wait_s)
        except LedgerError as error:
            _log.warning("wait_broken_off", code=error.code, detail=error.detail)
            return record

    def _answer(self, record: TransferRecord, *, is_replay: bool, waited_s: int | None) -> Response:
        headers = {"Location": f"{PATH}/{record.home}/{record.reference}"}
        if waited_s is not None:
            headers["Preference-Applied"] = f"wait={waited_s}"
        if is_replay:
            headers[REPLAYED_HEADER] = "true"
            status = HTTPStatus.OK
        elif record.money_state is MoneyState.IN_TRANSIT:
            status = HTTPStatus.ACCEPTED
        else:
            status = HTTPStatus.CREATED
        return json_response(self._told(record), status, headers)

    def _told(self, record: TransferRecord) -> dict[str, Any]:
        """The members of ``TransferObject``."""
        is_accepted = record.outcome is Outcome.POSTED
        code = record.return_code if is_accepted else record.outcome
        return {
            "id": record.transfer_id,
            "reference": record.reference,
            "debtor_account": str(record.home),
            "creditor_account": None if record.creditor is None else str(record.creditor),
            "amount": format_amount(record.amount, record.currency),
            "currency": record.currency,
            "request_state": "accepted" if is_accepted else "refused",
            "money_state": record.money_state,
            "evidence_state": "pending" if record.money_state in _EVIDENCE_PENDING else "present",
            "code": code,
            "business_date": record.business_date,
            "posted_at": record.posted_at if is_accepted else None,
            "delivered_at": record.delivered_at,
            "workflow": _workflow_of(record),
        }


def _workflow_of(record: TransferRecord) -> str | None:
    """The id of the workflow that carried the money first, as Temporal's UI shows it."""
    return f"convoy/{record.booked_on}/{record.convoy}" if record.convoy is not None else None


def _preferred_wait_s(request: Request) -> int | None:
    """Seconds of ``Prefer: wait=N`` (RFC 7240); what cannot be read is no preference."""
    for line in request.headers.getlist("prefer"):
        for preference in line.split(","):
            name, _, value = preference.partition(";")[0].partition("=")
            seconds = value.strip(' "')
            if name.strip().lower() == "wait" and seconds.isascii() and seconds.isdecimal():
                return min(int(seconds[:9]), PREFER_WAIT_MAX_S)
    return None


def add_transfers(app: FastAPI, bank: Bank, metrics: Metrics) -> None:
    """Put the transfers' operations on the app; the hot one first, as routes are tried in order."""
    api = TransfersApi(bank, metrics)
    app.router.add_api_route(
        PATH,
        api.submit_transfer,
        methods=["POST"],
        tags=["transfers"],
        status_code=HTTPStatus.CREATED,
        response_model=TransferObject,
        response_description="Booked on both sides.",
        responses=_answers_of_submit(),
        openapi_extra={
            "parameters": [REFERENCE_PARAMETER, _PREFER_PARAMETER],
            "requestBody": json_body(TransferBody, {"payment": _EXAMPLE}),
        },
        route_class_override=LeanRoute,
    )
    one = f"{PATH}/{{account}}/{{reference}}"
    app.router.add_api_route(
        one,
        api.get_transfer,
        methods=["GET"],
        tags=["transfers"],
        response_model=TransferObject,
        responses=problems(one, Malformed(), NotFound(), ShardUnavailable(), RangeMoving()),
    )


def _answers_of_submit() -> dict[int | str, dict[str, Any]]:
    replayed = {**_ANSWER_HEADERS, **REPLAYED_DESCRIPTION}
    return {
        200: {
            "model": TransferObject,
            "description": "The reference was known; the transfer as it stands now.",
            "headers": replayed,
        },
        201: {"headers": _ANSWER_HEADERS},
        202: {
            "model": TransferObject,
            "description": "Debited, and on its way to the creditor's shard.",
            "headers": _ANSWER_HEADERS,
        },
        **problems(
            PATH,
            *BODY_ERRORS,
            *(refusal(outcome) for outcome in _REFUSALS),
            ShardUnavailable(),
            Overloaded(),
            RangeMoving(),
            OutcomeUnknown(),
        ),
    }
