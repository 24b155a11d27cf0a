"""Transfers on the wire: what a client sends, and what it is told."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from router.http.bodies import RequestBody
from router.http.fields import (
    AccountNo,
    Amount,
    Currency,
    IsoDate,
    Narrative,
    Reference,
    SignedAmount,
)
from router.http.problems import FieldError, RequestMalformed
from router.limits import TRANSFER_LEGS_MAX
from router.transfer_requests import RequestedLeg, TransferKind, TransferRequest, request_of_legs
from shard.commands import MoneyState
from shard.transfers import TransferRecord

PATH_TAKEN = {MoneyState.POSTED: "local", MoneyState.IN_TRANSIT: "cross"}
"""The metric's word for where a transfer went."""

KindOnWire = Literal["ordinary", "chargeback", "correction", "capture", "reversal", "hold"]


class LegBody(RequestBody):
    """One change of one account, in the transfer's currency."""

    account: AccountNo
    amount: SignedAmount


class TransferBody(RequestBody):
    """One debtor pays one creditor; or ``legs`` that sum to zero in place of the three fields.

    ``expected_seq`` books it only if the debtor's account stands at that position.
    """

    reference: Reference | None = None
    debtor_account: AccountNo | None = None
    creditor_account: AccountNo | None = None
    currency: Currency
    amount: Amount | None = None
    legs: Annotated[list[LegBody], Field(min_length=2, max_length=TRANSFER_LEGS_MAX)] | None = None
    kind: Literal["ordinary", "chargeback", "correction"] = "ordinary"
    expected_seq: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    narrative: Narrative | None = None
    value_date: IsoDate | None = None


class LegObject(BaseModel):
    """One change of one account."""

    model_config = ConfigDict(extra="forbid")

    account: str
    amount: str


class TransferObject(BaseModel):
    """A transfer as it stands now: what was asked, where the money is, what proves it."""

    model_config = ConfigDict(extra="forbid")

    id: str
    reference: str
    kind: KindOnWire
    debtor_account: str
    creditor_account: str | None
    legs: list[LegObject] | None
    amount: str
    currency: str
    request_state: Literal["accepted", "refused"]
    money_state: MoneyState
    evidence_state: Literal["present", "pending"]
    code: str | None
    business_date: str
    value_date: str
    posted_at: str | None
    delivered_at: str | None
    workflow: str | None


def wanted_by(body: TransferBody, reference: str) -> TransferRequest:
    """What a body asks for, under the reference that names it; raises ``RequestMalformed``."""
    if body.legs is not None:
        return _wanted_legs(body, body.legs, reference)
    if body.debtor_account is None or body.creditor_account is None or body.amount is None:
        given = (body.debtor_account, body.creditor_account, body.amount)
        raise RequestMalformed(
            [
                FieldError("This field is missing.", pointer=f"/{name}")
                for name, value in zip(_PLAIN, given, strict=True)
                if value is None
            ]
        )
    return TransferRequest(
        reference=reference,
        debtor=body.debtor_account,
        creditor=body.creditor_account,
        amount=body.amount,
        currency=body.currency,
        narrative=body.narrative,
        value_date=body.value_date,
        kind=TransferKind(body.kind),
        expected_seq=body.expected_seq,
    )


_PLAIN = ("debtor_account", "creditor_account", "amount")


def _wanted_legs(body: TransferBody, legs: list[LegBody], reference: str) -> TransferRequest:
    beside = [name for name in _PLAIN if getattr(body, name) is not None]
    if beside:
        raise RequestMalformed(
            [FieldError("It does not go with `legs`.", pointer=f"/{name}") for name in beside]
        )
    return request_of_legs(
        reference,
        [RequestedLeg(leg.account, leg.amount) for leg in legs],
        body.currency,
        narrative=body.narrative,
        value_date=body.value_date,
        kind=TransferKind(body.kind),
        expected_seq=body.expected_seq,
    )


def status_of(record: TransferRecord, *, is_replay: bool) -> HTTPStatus:
    """What a transfer is answered with: known before, on its way, or booked on both sides."""
    if is_replay:
        return HTTPStatus.OK
    if record.money_state is MoneyState.IN_TRANSIT:
        return HTTPStatus.ACCEPTED
    return HTTPStatus.CREATED
