"""``/v1/transfers``: the hot path, so bytes go in and bytes come out with one parse between."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any

import structlog
from fastapi import FastAPI, Path, Query, Request, Response

from router.documents import transfer_document
from router.errors import InTransit, NotOneShard, RefusalReplayed, SuspenseFull, refusal
from router.http import examples
from router.http.answers import json_response
from router.http.bodies import NoQuery, RequestBody, read_body, reference_of
from router.http.fields import AccountNo, Narrative, PlainAmount, Reference
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
from router.http.transfer_shapes import (
    PATH_TAKEN,
    TransferBody,
    TransferObject,
    status_of,
    wanted_by,
)
from router.limits import PREFER_WAIT_MAX_S
from router.reversals import ReversalRequest
from router.telemetry import Metrics
from router.transfer_requests import TransferRequest
from router.transfers import Submitted
from router.wiring import Bank
from shard.errors import LedgerError, OutcomeUnknown, Refused
from shard.outcomes import Outcome
from shard.transfers import TransferRecord

_log = structlog.get_logger(__name__)

PATH = "/v1/transfers"
_PATH_PARAMETERS = (
    account_parameter("The debtor's account."),
    reference_parameter("Of the transfer to take back.", "PAY-17"),
)
_PREFER_PARAMETER: Mapping[str, Any] = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "description": f"`wait=2` waits for the end that many seconds, {PREFER_WAIT_MAX_S} at most.",
    "schema": {"type": "string"},
    "example": "wait=2",
}
_ANSWER_HEADERS: Mapping[str, Any] = {
    "Location": {
        "description": "The transfer.",
        "schema": {"type": "string"},
        "example": "/v1/transfers/2000000123/PAY-17",
    },
    "Preference-Applied": {
        "description": "How long the answer was willing to wait.",
        "schema": {"type": "string"},
        "example": "wait=2",
    },
}
_REFUSALS = (
    Outcome.REFERENCE_REUSED,
    Outcome.SYSTEM_ACCOUNT,
    Outcome.ACCOUNT_UNKNOWN,
    Outcome.ACCOUNT_CLOSED,
    Outcome.ACCOUNT_FROZEN,
    Outcome.CURRENCY_MISMATCH,
    Outcome.SEQUENCE_MISMATCH,
    Outcome.INSUFFICIENT_FUNDS,
    Outcome.LIMIT_EXCEEDED,
)
_REFUSED_REVERSALS = (
    Outcome.REFERENCE_REUSED,
    Outcome.ACCOUNT_CLOSED,
    Outcome.ACCOUNT_FROZEN,
    Outcome.NOT_REVERSIBLE,
    Outcome.REVERSAL_EXCEEDED,
    Outcome.INSUFFICIENT_FUNDS,
)
_ONE = f"{PATH}/{{account}}/{{reference}}"
_REVERSALS = f"{_ONE}/reversals"
_EXAMPLE = {
    "reference": "PAY-17",
    "debtor_account": "2000000123",
    "creditor_account": "3000000456",
    "amount": "20.00",
    "currency": "EUR",
    "narrative": "Rent",
    "value_date": None,
}


_LEGS_EXAMPLE = {
    "reference": "INV-4",
    "legs": [
        {"account": "2000000123", "amount": "-20.00"},
        {"account": "2000000456", "amount": "19.50"},
        {"account": "2000000789", "amount": "0.50"},
    ],
    "currency": "EUR",
}


class ReversalBody(RequestBody):
    """What to take back; without an amount all that the creditor was paid.

    ``creditor_account`` tells whose part of a transfer with several creditors.
    """

    reference: Reference | None = None
    amount: PlainAmount | None = None
    creditor_account: AccountNo | None = None
    narrative: Narrative | None = None


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
        wanted = wanted_by(body, reference_of(request, body.reference))
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
        return json_response(transfer_document(record))

    async def reverse_transfer(self, request: Request) -> Response:
        """Take a transfer back, wholly or in part, never more in all than it paid.

        What is still in transit is recalled as a whole; what has arrived is debited where it
        is. Repeating the request with the same reference is always safe.
        """
        account, original = account_in_path(request), reference_in_path(request)
        body = await read_body(request, ReversalBody)
        reversal = ReversalRequest(
            debtor=account,
            original=original,
            reference=reference_of(request, body.reference),
            amount=body.amount,
            creditor=body.creditor_account,
            narrative=body.narrative,
        )
        try:
            submitted = await self._bank.reversals.reverse(reversal)
        except RefusalReplayed:
            self._replays.inc()
            raise
        record = submitted.record
        headers = {"Location": f"{PATH}/{account}/{original}/reversals/{record.reference}"}
        if submitted.is_replay:
            self._replays.inc()
            headers[REPLAYED_HEADER] = "true"
        status = status_of(record, is_replay=submitted.is_replay)
        return json_response(transfer_document(record), status, headers)

    async def get_reversal(
        self,
        account: Annotated[AccountNo, Path(description="The debtor's account.")],
        reference: Annotated[Reference, Path(description="Of the transfer taken back.")],
        reversal: Annotated[Reference, reference_path("Of the reversal itself.", "REV-17")],
        query: Annotated[NoQuery, Query()],
    ) -> Response:
        """A reversal as it stands now; its debtor is the creditor of the original."""
        return json_response(
            transfer_document(await self._bank.reversals.get(account, reference, reversal))
        )

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
            path = PATH_TAKEN.get(submitted.record.money_state, "none")
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
        return json_response(
            transfer_document(record), status_of(record, is_replay=is_replay), headers
        )


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
            "requestBody": json_body(
                TransferBody, {"payment": _EXAMPLE, "several_creditors": _LEGS_EXAMPLE}
            ),
        },
        route_class_override=LeanRoute,
    )
    app.router.add_api_route(
        _ONE,
        api.get_transfer,
        methods=["GET"],
        tags=["transfers"],
        response_model=TransferObject,
        responses={
            200: json_example(examples.TRANSFER_DELIVERED),
            **problems(_ONE, *UNKNOWN, *ROUTED),
        },
    )
    app.router.add_api_route(
        f"{_ONE}/reverse",
        api.reverse_transfer,
        methods=["POST"],
        tags=["transfers"],
        status_code=HTTPStatus.CREATED,
        response_model=TransferObject,
        response_description="Taken back and booked at the debtor.",
        responses=_answers_of_reverse(),
        openapi_extra={
            "parameters": [*_PATH_PARAMETERS, REFERENCE_PARAMETER],
            "requestBody": json_body(
                ReversalBody, {"part": {"reference": "REV-17", "amount": "5.00"}}
            ),
        },
        route_class_override=LeanRoute,
    )
    one_reversal = f"{_REVERSALS}/{{reversal}}"
    app.router.add_api_route(
        one_reversal,
        api.get_reversal,
        methods=["GET"],
        tags=["transfers"],
        response_model=TransferObject,
        responses={
            200: json_example(examples.REVERSAL),
            **problems(one_reversal, *UNKNOWN, *ROUTED),
        },
    )


def _answers_of_submit() -> dict[int | str, dict[str, Any]]:
    replayed = {**_ANSWER_HEADERS, **REPLAYED_DESCRIPTION}
    return {
        200: {
            "model": TransferObject,
            "description": "The reference was known; the transfer as it stands now.",
            "headers": replayed,
            **json_example(examples.TRANSFER_DELIVERED),
        },
        201: {"headers": _ANSWER_HEADERS, **json_example(examples.TRANSFER)},
        202: {
            "model": TransferObject,
            "description": "Debited, and on its way to the creditor's shard.",
            "headers": _ANSWER_HEADERS,
            **json_example(examples.TRANSFER_IN_TRANSIT),
        },
        **problems(
            PATH,
            *BODY_ERRORS,
            *(refusal(outcome) for outcome in _REFUSALS),
            NotOneShard(),
            *ROUTED,
            SuspenseFull(),
            OutcomeUnknown(),
        ),
    }


def _answers_of_reverse() -> dict[int | str, dict[str, Any]]:
    location = {
        "Location": {
            "description": "The reversal.",
            "schema": {"type": "string"},
            "example": "/v1/transfers/2000000123/PAY-17/reversals/REV-17",
        }
    }
    return {
        200: {
            "model": TransferObject,
            "description": "The reference was known; the reversal as it stands now.",
            "headers": {**location, **REPLAYED_DESCRIPTION},
            **json_example(examples.REVERSAL),
        },
        201: {"headers": location, **json_example(examples.REVERSAL)},
        202: {
            "model": TransferObject,
            "description": "Taken back, and on its way to the debtor's shard.",
            "headers": location,
            **json_example(examples.REVERSAL_IN_TRANSIT),
        },
        **problems(
            f"{_ONE}/reverse",
            *BODY_ERRORS,
            *UNKNOWN,
            *(refusal(outcome) for outcome in _REFUSED_REVERSALS),
            InTransit(),
            *ROUTED,
            SuspenseFull(),
            OutcomeUnknown(),
        ),
    }
