"""Reversals: taking a transfer back, wholly or in part, never more than it paid.

What became of the money is decided where the creditor lives. Is it booked there, the creditor is
debited under a cap that all reversals share. Is it still on its way, a tombstone under the
delivery's reference keeps it from arriving, and the whole amount goes back to its debtor: a
recall. Whichever of delivery and tombstone comes first at the creditor's shard has won.

What a person sent to another account is taken from there. It is still the part of the creditor
whom the transfer names: by that name it is asked for, and by itself it is capped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial

from router.errors import InTransit, refusal
from router.item_ways import Way, Ways
from router.limits import (
    MOVING_PAUSE_MAX_S,
    REQUEST_BUDGET_S,
    WAIT_PAUSE_FIRST_S,
    WAIT_PAUSE_MAX_S,
)
from router.patience import Patience
from router.routing import Routes
from router.submission import Routed, Submission, refused
from router.suspense_gauge import SuspenseGauge
from router.transfer_requests import check_amount
from router.transfers import Submitted, Transfers
from sagas.deliveries import recall_command
from shard.commands import Command, Kind, MoneyState, Origin, Original, Terms
from shard.errors import Malformed, NotFound, OutcomeUnknown, Unavailable
from shard.ids import new_id
from shard.money import format_amount
from shard.outcomes import Outcome
from shard.references import derived_reference, request_hash
from shard.suspense import ItemState, Redirection, SuspenseItem
from shard.transfers import TransferRecord

_REVERSAL = "reversal"
_RECALL = "recall"
_WAY_BACK = {
    ItemState.RETURNED: MoneyState.RETURNED,
    ItemState.NEEDS_REPAIR: MoneyState.NEEDS_REPAIR,
    # The debtor could not have it, and a person sent it on: it was delivered after all.
    ItemState.DELIVERED: MoneyState.DELIVERED,
}


@dataclass(frozen=True, slots=True)
class ReversalRequest:
    """What is to be taken back of the transfer ``original`` of account ``debtor``.

    ``reference`` names the reversal among those of this transfer. ``amount`` (> 0) is in the
    transfer's currency; None is all that the creditor was paid. ``creditor`` tells whose part of
    a transfer with several creditors, wherever that is now.
    """

    debtor: int
    original: str
    reference: str
    amount: Decimal | None = None
    creditor: int | None = None
    narrative: str | None = None


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A request after a look at its original: from whom how much of how much is taken."""

    request: ReversalRequest
    original: TransferRecord
    creditor: int
    amount: Decimal
    paid: Decimal

    def reference_at(self, holder: int) -> str:
        """Under which the shard of who has the money knows it: references are the debtor's."""
        request = self.request
        name = f"{request.debtor}/{request.original}/{request.reference}"
        if holder != self.creditor:
            # He may be a creditor himself, and then both parts have such a reversal.
            name = f"{name}/{self.creditor}"
        return derived_reference(_REVERSAL, name)

    @property
    def recall(self) -> str:
        """What a tombstone set for it says of itself; another request says something else."""
        return f"{_RECALL}:{self.fingerprint.hex()}"

    @property
    def fingerprint(self) -> bytes:
        return request_hash(
            "reversal/1",
            {
                "debtor_account": str(self.request.debtor),
                "original": self.request.original,
                "creditor_account": str(self.creditor),
                "amount": format_amount(self.amount, self.original.currency),
                "narrative": self.request.narrative,
            },
        )


class Reversals:
    """The use cases around taking transfers back."""

    def __init__(self, routes: Routes, transfers: Transfers, suspense: SuspenseGauge) -> None:
        self._routes = routes
        self._transfers = transfers
        self._ways = Ways(routes)
        self._submission = Submission(routes, suspense)

    async def reverse(self, request: ReversalRequest) -> Submitted:
        """Take a transfer back; repeating it under the same reference is always safe.

        Raises ``NotFound``; ``Malformed``; ``Refused`` (NOT_REVERSIBLE, REVERSAL_EXCEEDED and
        what the account that has the money speaks against it); ``InTransit`` for a part of an
        amount, or for one that a person has in hand, which has not arrived within
        ``REQUEST_BUDGET_S``; and like transfers.
        """
        patience = Patience(
            REQUEST_BUDGET_S, first_s=WAIT_PAUSE_FIRST_S, longest_s=MOVING_PAUSE_MAX_S
        )
        has_recalled = False
        while True:
            wanted = await self._wanted(request)
            way = await self._ways.of_leg(wanted.original, wanted.creditor, wanted.paid)
            if way is None:
                return await self._debit(wanted, wanted.creditor, wanted.original)
            met, item = await self._ways.met(way), way.item
            if any(_is_reuse_of(wanted, each) for each in met.values()):
                raise refusal(Outcome.REFERENCE_REUSED)
            if _is_recalled(wanted, way, met):
                return Submitted(_recalled(wanted, way), is_replay=not has_recalled)
            if item.is_return or way.record.state is ItemState.NEEDS_REPAIR:
                raise refusal(Outcome.NOT_REVERSIBLE)
            present = met.get(item.attempt)
            if present is None and wanted.amount == wanted.paid and way.may_be_recalled:
                has_recalled |= await self._recall(wanted, item)
                present = await self._ways.met_at(item.target, item, item.attempt)
            if present is not None and present.outcome is Outcome.POSTED:
                return await self._debit(wanted, item.target, present)
            if present is not None:
                # Refused or recalled: whoever knows that may turn the item round.
                is_turned = await self._send_back(wanted, item, present.outcome)
                if is_turned and has_recalled and _is_recall_of(wanted, present):
                    return Submitted(_recalled(wanted, way), is_replay=False)
            if not await patience.pause():
                raise InTransit

    async def get(self, debtor: int, original: str, reference: str) -> TransferRecord:
        """A reversal as it stands now; raises ``NotFound`` and like ``Transfers.get``."""
        record = await self._transfers.get(debtor, original)
        for creditor in _creditors(record):
            amount = _paid_to(record, creditor)
            request = ReversalRequest(debtor, original, reference, creditor=creditor)
            found = await self._found(_Wanted(request, record, creditor, amount, amount))
            if found is not None:
                return found
        raise NotFound("There is no such reversal.")

    async def wait(
        self, request: ReversalRequest, record: TransferRecord, seconds: float
    ) -> TransferRecord:
        """A reversal once its money is no longer in transit, or as it is after ``seconds``."""
        patience = Patience(seconds, first_s=WAIT_PAUSE_FIRST_S, longest_s=WAIT_PAUSE_MAX_S)
        while record.money_state is MoneyState.IN_TRANSIT and await patience.pause():
            record = await self.get(request.debtor, request.original, request.reference)
        return record

    async def _wanted(self, request: ReversalRequest) -> _Wanted:
        original = await self._transfers.get(request.debtor, request.original)
        if original.outcome is not Outcome.POSTED or original.money_state is MoneyState.NONE:
            raise refusal(Outcome.NOT_REVERSIBLE)
        if _has_several_debtors(original):
            # Whose part of it comes back, only a transfer the other way round can tell.
            raise refusal(Outcome.NOT_REVERSIBLE)
        creditors = _creditors(original)
        if request.creditor is None and len(creditors) > 1:
            message = "The transfer has several creditors; name the one to take it from."
            raise Malformed(message, pointer="/creditor_account")
        creditor = request.creditor or creditors[0]
        if creditor not in creditors:
            raise refusal(Outcome.NOT_REVERSIBLE)
        paid = _paid_to(original, creditor)
        if request.amount is not None:
            check_amount(request.amount, original.currency)
        if request.amount is not None and request.amount > paid:
            raise refusal(Outcome.REVERSAL_EXCEEDED)
        return _Wanted(request, original, creditor, request.amount or paid, paid)

    async def _found(self, wanted: _Wanted) -> TransferRecord | None:
        """A reversal of one creditor's part as it stands: a debit, or a recall."""
        try:
            return await self._booked(wanted, wanted.creditor)
        except NotFound:
            way = await self._ways.of_leg(wanted.original, wanted.creditor, wanted.paid)
        if way is None:
            return None
        if _is_recalled(wanted, way, await self._ways.met(way)):
            return _recalled(wanted, way)
        try:
            return await self._booked(wanted, way.item.target)
        except NotFound:
            return None

    async def _debit(self, wanted: _Wanted, holder: int, evidence: TransferRecord) -> Submitted:
        """The money is booked on the account ``holder``, as ``evidence`` tells: take it back."""
        _, answer = await self._submission.post(
            partial(self._routed_reversal, wanted, holder, evidence)
        )
        if answer.outcome is not Outcome.POSTED:
            raise refused(answer)
        try:
            record = await self._booked(wanted, holder)
        except Unavailable as error:
            # It is booked, so "nothing happened" would be a lie.
            raise OutcomeUnknown from error
        return Submitted(record, answer.is_replay)

    async def _routed_reversal(
        self, wanted: _Wanted, holder: int, evidence: TransferRecord
    ) -> Routed:
        original = wanted.original
        moved = await self._submission.movement(holder, original.home, wanted.amount)
        return moved.source, Command(
            home=holder,
            origin=Origin.REVERSAL,
            reference=wanted.reference_at(holder),
            transfer_id=new_id(),
            request_hash=wanted.fingerprint,
            currency=original.currency,
            amount=wanted.amount,
            creditor=original.home,
            legs=moved.legs,
            parked=moved.parked,
            details={"purpose": _REVERSAL, "end_to_end_id": wanted.request.reference},
            narrative=wanted.request.narrative,
            terms=Terms(reverses=_booking(original, evidence)),
        )

    async def _recall(self, wanted: _Wanted, item: SuspenseItem) -> bool:
        """Keep an amount from arriving; False when its attempt has met something else before."""
        _, answer = await self._submission.post(partial(self._routed_recall, wanted, item))
        return answer.outcome is Outcome.RECALLED and not answer.is_replay

    async def _routed_recall(self, wanted: _Wanted, item: SuspenseItem) -> Routed:
        details = {"purpose": wanted.recall, "end_to_end_id": wanted.request.reference}
        return await self._routes.owner_of(item.target), recall_command(item, details=details)

    async def _send_back(self, wanted: _Wanted, item: SuspenseItem, cause: Outcome) -> bool:
        """Turn an item round whose attempt was refused or recalled; False where others did, or
        a person has it in hand."""
        suspense = self._routes.shards[wanted.original.booked_on].suspense
        back = Redirection(item.item_id, item.attempt, wanted.original.home, cause)
        return await suspense.redirect([back]) > 0

    async def _booked(self, wanted: _Wanted, holder: int) -> TransferRecord:
        """The reversal as the client named it; raises ``NotFound``."""
        reference = wanted.reference_at(holder)
        record = await self._routes.follow(
            holder, lambda shard: shard.transfers.get(holder, Origin.REVERSAL, reference)
        )
        return replace(record, reference=wanted.request.reference)


def _has_several_debtors(record: TransferRecord) -> bool:
    return sum(leg["amount"].startswith("-") for leg in record.legs or ()) > 1


def _creditors(record: TransferRecord) -> list[int]:
    if record.creditor is not None:
        return [record.creditor]
    return [int(leg["account"]) for leg in record.legs or () if not leg["amount"].startswith("-")]


def _paid_to(record: TransferRecord, creditor: int) -> Decimal:
    if record.creditor is not None:
        return record.amount
    return next(
        Decimal(leg["amount"]) for leg in record.legs or () if int(leg["account"]) == creditor
    )


def _booking(original: TransferRecord, evidence: TransferRecord) -> Original:
    """How a shard finds what was credited: by the transfer itself, or by its delivery."""
    return Original(
        original.transfer_id,
        evidence.home,
        evidence.origin,
        evidence.reference,
        evidence.business_date,
    )


def _is_recall_of(wanted: _Wanted, met: TransferRecord) -> bool:
    """Whether an attempt met a tombstone that was set under this very reference."""
    return met.kind is Kind.TOMBSTONE and met.end_to_end_id == wanted.request.reference


def _is_reuse_of(wanted: _Wanted, met: TransferRecord) -> bool:
    """Whether that tombstone was set for another request."""
    return _is_recall_of(wanted, met) and met.purpose != wanted.recall


def _is_recalled(wanted: _Wanted, way: Way, met: Mapping[int, TransferRecord]) -> bool:
    """Whether a recall under this reference has turned it round, whatever became of it since."""
    recalls = [attempt for attempt, each in met.items() if _is_recall_of(wanted, each)]
    return any(way.is_sent_back_after(attempt) for attempt in recalls)


def _recalled(wanted: _Wanted, way: Way) -> TransferRecord:
    """A recall as a transfer from the creditor, who never had it, back to the debtor."""
    original = wanted.original
    return replace(
        original,
        home=wanted.creditor,
        origin=Origin.REVERSAL,
        reference=wanted.request.reference,
        kind=Kind.ORDINARY,
        creditor=original.home,
        amount=wanted.amount,
        money_state=_WAY_BACK.get(way.record.state, MoneyState.IN_TRANSIT),
        return_code=Outcome.RECALLED,
        purpose=_RECALL,
        legs=None,
    )
