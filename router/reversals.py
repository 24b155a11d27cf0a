"""Reversals: taking a transfer back, wholly or in part, never more than it paid.

What became of the money is decided where the creditor lives. Is it booked there, the creditor is
debited under a cap that all reversals share. Is it still on its way, a tombstone under the
delivery's reference keeps it from arriving, and the whole amount goes back to its debtor: a
recall. Whichever of delivery and tombstone comes first at the creditor's shard has won.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial

from router.errors import InTransit, refusal
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
from shard.suspense import ItemState, ItemStatus, Redirection
from shard.transfers import TransferRecord

_REVERSAL = "reversal"
_RECALL = "recall"
_WAY_BACK = {
    ItemState.RETURNED: MoneyState.RETURNED,
    ItemState.NEEDS_REPAIR: MoneyState.NEEDS_REPAIR,
}


@dataclass(frozen=True, slots=True)
class ReversalRequest:
    """What is to be taken back of the transfer ``original`` of account ``debtor``.

    ``reference`` names the reversal among those of this transfer. ``amount`` (> 0) is in the
    transfer's currency; None is all that the creditor was paid. ``creditor`` tells whose part of
    a transfer with several creditors.
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

    @property
    def reference(self) -> str:
        """Under which the creditor's shard knows it: references are the debtor's, not his."""
        request = self.request
        name = f"{request.debtor}/{request.original}/{request.reference}"
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
        self._submission = Submission(routes, suspense)

    async def reverse(self, request: ReversalRequest) -> Submitted:
        """Take a transfer back; repeating it under the same reference is always safe.

        Raises ``NotFound``; ``Malformed``; ``Refused`` (NOT_REVERSIBLE, REVERSAL_EXCEEDED and
        what the creditor's account speaks against it); ``InTransit`` for a part of an amount
        that has not arrived within ``REQUEST_BUDGET_S``; and like transfers.
        """
        patience = Patience(
            REQUEST_BUDGET_S, first_s=WAIT_PAUSE_FIRST_S, longest_s=MOVING_PAUSE_MAX_S
        )
        while True:
            wanted = await self._wanted(request)
            item = await self._item_of(wanted)
            if item is None:
                return await self._debit_creditor(wanted, wanted.original)
            if item.target != wanted.creditor:
                return await self._recalled_before(wanted, item)
            if item.state is ItemState.NEEDS_REPAIR:
                raise refusal(Outcome.NOT_REVERSIBLE)
            if wanted.amount == wanted.paid and item.state is ItemState.PARKED:
                recalled = await self._recall(wanted, item)
                if recalled is not None:
                    return recalled
            met = await self._met(wanted.creditor, item)
            if met is not None and met.outcome is Outcome.POSTED:
                return await self._debit_creditor(wanted, met)
            if met is not None:
                # Refused or recalled: whoever knows that may turn the item round.
                await self._send_back(wanted, item, met.outcome)
            if not await patience.pause():
                raise InTransit

    async def get(self, debtor: int, original: str, reference: str) -> TransferRecord:
        """A reversal as it stands now; raises ``NotFound`` and like ``Transfers.get``."""
        record = await self._transfers.get(debtor, original)
        for creditor in _creditors(record):
            amount = _paid_to(record, creditor)
            request = ReversalRequest(debtor, original, reference, creditor=creditor)
            wanted = _Wanted(request, record, creditor, amount, amount)
            try:
                return _told(wanted, await self._at_creditor(wanted))
            except NotFound:
                item = await self._item_of(wanted)
                met = None if item is None else await self._met_before(creditor, item)
                if item is not None and met is not None and _is_recall_of(wanted, met):
                    return _recalled(wanted, item)
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

    async def _item_of(self, wanted: _Wanted) -> ItemStatus | None:
        """The amount that went to the creditor from another shard; None if it was a local leg."""
        original = wanted.original
        suspense = self._routes.shards[original.booked_on].suspense
        items = await suspense.of_transfer(original.home, original.origin, original.reference)
        paid_to = [item for item in items if item.target == wanted.creditor]
        if paid_to:
            return paid_to[0]
        # On its way back, or back, its target is the debtor; what it met tells where it was.
        for item in items:
            is_back = item.target == original.home and item.amount == wanted.paid
            if is_back and await self._met_before(wanted.creditor, item) is not None:
                return item
        return None

    async def _debit_creditor(self, wanted: _Wanted, evidence: TransferRecord) -> Submitted:
        """The money is booked at the creditor, as ``evidence`` tells: take it from there."""
        _, answer = await self._submission.post(partial(self._routed_reversal, wanted, evidence))
        if answer.outcome is not Outcome.POSTED:
            raise refused(answer)
        try:
            record = await self._at_creditor(wanted)
        except Unavailable as error:
            # It is booked, so "nothing happened" would be a lie.
            raise OutcomeUnknown from error
        return Submitted(_told(wanted, record), answer.is_replay)

    async def _routed_reversal(self, wanted: _Wanted, evidence: TransferRecord) -> Routed:
        original, creditor = wanted.original, wanted.creditor
        moved = await self._submission.movement(creditor, original.home, wanted.amount)
        return moved.source, Command(
            home=creditor,
            origin=Origin.REVERSAL,
            reference=wanted.reference,
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

    async def _recall(self, wanted: _Wanted, item: ItemStatus) -> Submitted | None:
        """Keep an amount from arriving; None when its attempt has met something else before."""
        _, answer = await self._submission.post(partial(self._routed_recall, wanted, item))
        if answer.outcome is not Outcome.RECALLED or answer.is_replay:
            return None
        await self._send_back(wanted, item, Outcome.RECALLED)
        return Submitted(_recalled(wanted, item), is_replay=False)

    async def _routed_recall(self, wanted: _Wanted, item: ItemStatus) -> Routed:
        details = {"purpose": wanted.recall, "end_to_end_id": wanted.request.reference}
        original = wanted.original
        command = recall_command(
            item,
            transfer_id=original.transfer_id,
            currency=original.currency,
            details=details,
        )
        return await self._routes.owner_of(wanted.creditor), command

    async def _send_back(self, wanted: _Wanted, item: ItemStatus, cause: Outcome) -> None:
        """Turn an item round whose attempt was refused or recalled, unless that is done."""
        suspense = self._routes.shards[wanted.original.booked_on].suspense
        await suspense.redirect(
            [Redirection(item.item_id, item.attempt, wanted.original.home, cause)]
        )

    async def _recalled_before(self, wanted: _Wanted, item: ItemStatus) -> Submitted:
        """The amount is on its way back, or back: by this recall, by another one, or refused."""
        met = await self._met_before(wanted.creditor, item)
        if met is None or not _is_recall_of(wanted, met):
            raise refusal(Outcome.NOT_REVERSIBLE)
        if met.purpose != wanted.recall:
            raise refusal(Outcome.REFERENCE_REUSED)
        return Submitted(_recalled(wanted, item), is_replay=True)

    async def _met_before(self, creditor: int, item: ItemStatus) -> TransferRecord | None:
        """What the attempt before the way back has met at the creditor, if it was there."""
        return await self._met(creditor, replace(item, attempt=item.attempt - 1))

    async def _met(self, creditor: int, item: ItemStatus) -> TransferRecord | None:
        """What the present attempt has met at the creditor: a booking, a refusal, a recall."""
        try:
            return await self._routes.follow(
                creditor,
                lambda shard: shard.transfers.get(
                    creditor, Origin.DELIVERY, item.delivery_reference
                ),
            )
        except NotFound:
            return None

    async def _at_creditor(self, wanted: _Wanted) -> TransferRecord:
        creditor = wanted.creditor
        return await self._routes.follow(
            creditor, lambda shard: shard.transfers.get(creditor, Origin.REVERSAL, wanted.reference)
        )


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


def _told(wanted: _Wanted, record: TransferRecord) -> TransferRecord:
    """The reversal as the client named it."""
    return replace(record, reference=wanted.request.reference)


def _recalled(wanted: _Wanted, item: ItemStatus) -> TransferRecord:
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
        money_state=_WAY_BACK.get(item.state, MoneyState.IN_TRANSIT),
        return_code=Outcome.RECALLED,
        purpose=_RECALL,
        legs=None,
    )
