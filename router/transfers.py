"""Transfers: one debtor, one creditor, one reference; routed, posted, followed, read back.

Both accounts on one shard: one local command. Else the debtor's shard parks the amount in its
suspense account, and the sagas carry it. Either way the command goes to the debtor's shard,
under the client's reference, as often as it takes to get an answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

from router.errors import AccountUnassigned, RoutesUnknown, refusal
from router.limits import (
    LAST_TRY_S,
    MOVING_PAUSE_FIRST_S,
    MOVING_PAUSE_MAX_S,
    REQUEST_BUDGET_S,
    WAIT_PAUSE_FIRST_S,
    WAIT_PAUSE_MAX_S,
)
from router.patience import Patience
from router.routing import Routes
from shard.account_numbers import FIRST_CUSTOMER_ACCOUNT
from shard.commands import Answer, Command, Kind, Leg, MoneyState, Origin, ParkedAmount
from shard.errors import (
    AmountMalformed,
    LedgerError,
    Malformed,
    OutcomeUnknown,
    RangeMoving,
    Unavailable,
)
from shard.ids import new_id
from shard.money import format_amount
from shard.outcomes import MEANINGS, Outcome
from shard.references import request_hash
from shard.transfers import TransferRecord

_FORM: Final = "transfer/1"
_TOO_MUCH: Final = Decimal(10**14)


@dataclass(frozen=True, slots=True)
class TransferRequest:
    """What a client asks for: ``amount`` (> 0) in ``currency`` from debtor to creditor.

    ``reference`` and ``narrative`` are as on the wire; ``value_date`` None is the business
    date on which it is booked.
    """

    reference: str
    debtor: int
    creditor: int
    amount: Decimal
    currency: str
    narrative: str | None = None
    value_date: date | None = None


@dataclass(frozen=True, slots=True)
class Submitted:
    """An accepted transfer as it stands now; ``is_replay`` if it was accepted before."""

    record: TransferRecord
    is_replay: bool


class Transfers:
    """The use cases around one transfer."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes

    async def submit(
        self, request: TransferRequest, *, budget_s: float = REQUEST_BUDGET_S
    ) -> Submitted:
        """Book a transfer, or find that it was booked before.

        Raises ``Malformed``; ``Refused`` with the outcome (``RefusalReplayed`` for a refusal
        already stored); ``RangeMoving`` after waiting ``budget_s``; ``ShardUnavailable`` and
        ``Overloaded`` (nothing happened); ``OutcomeUnknown`` (repeat it as it is).
        """
        fingerprint = _checked(request)
        answer = await self._post(request, fingerprint, budget_s)
        if answer.outcome is not Outcome.POSTED:
            is_stored = answer.outcome is not Outcome.REFERENCE_REUSED
            raise refusal(answer.outcome, is_replay=answer.is_replay and is_stored)
        if answer.is_replay:
            return Submitted(await self._known(request), is_replay=True)
        return Submitted(_fresh_record(request, fingerprint, answer), is_replay=False)

    async def get(self, debtor: int, reference: str) -> TransferRecord:
        """A client's transfer as it stands now; raises ``NotFound``, ``ShardUnavailable``."""
        return await self._routes.follow(
            debtor, lambda shard: shard.transfers.get(debtor, Origin.CLIENT, reference)
        )

    async def _known(self, request: TransferRequest) -> TransferRecord:
        try:
            return await self.get(request.debtor, request.reference)
        except Unavailable as error:
            # It is booked, so "nothing happened" would be a lie.
            raise OutcomeUnknown from error

    async def wait(self, record: TransferRecord, seconds: float) -> TransferRecord:
        """The transfer once its money is no longer in transit, or as it is after ``seconds``."""
        patience = Patience(seconds, first_s=WAIT_PAUSE_FIRST_S, longest_s=WAIT_PAUSE_MAX_S)
        while record.money_state is MoneyState.IN_TRANSIT and await patience.pause():
            record = await self.get(record.home, record.reference)
        return record

    async def _post(self, request: TransferRequest, fingerprint: bytes, budget_s: float) -> Answer:
        routes = self._routes
        patience = Patience(budget_s, first_s=MOVING_PAUSE_FIRST_S, longest_s=MOVING_PAUSE_MAX_S)
        while True:
            source, command = await self._routed(request, fingerprint)
            answer = await routes.shards[source].lanes.post(
                command, patience.deadline_for(LAST_TRY_S)
            )
            if not MEANINGS[answer.outcome].is_retryable:
                return answer
            if answer.outcome is Outcome.NOT_OWNER:
                foreign = answer.foreign_account or request.debtor
                before = routes.range_map
                await routes.learn(foreign, answer.next_owner, answer.epoch)
                if routes.range_map is not before:
                    continue
            if not await patience.pause():
                raise out_of_patience(answer.outcome)

    async def _routed(self, request: TransferRequest, fingerprint: bytes) -> tuple[int, Command]:
        """The shard to ask and the command for it, by what the range map says now."""
        routes = self._routes
        try:
            source = await routes.owner_of(request.debtor)
            target = await routes.owner_of(request.creditor)
        except AccountUnassigned:
            raise refusal(Outcome.ACCOUNT_UNKNOWN) from None
        return source, _command(request, fingerprint, is_local=source == target)


def _checked(request: TransferRequest) -> bytes:
    """The request's hash; raises for what no shard needs to be asked about."""
    amount = request.amount
    wire_amount = format_amount(amount, request.currency)
    if not amount.is_finite() or not 0 < amount < _TOO_MUCH or Decimal(wire_amount) != amount:
        raise AmountMalformed(pointer="/amount")
    if request.debtor == request.creditor:
        message = "Debtor and creditor are the same account."
        raise Malformed(message, pointer="/creditor_account")
    if request.debtor < FIRST_CUSTOMER_ACCOUNT or request.creditor < FIRST_CUSTOMER_ACCOUNT:
        raise refusal(Outcome.SYSTEM_ACCOUNT)
    return request_hash(
        _FORM,
        {
            "debtor_account": str(request.debtor),
            "creditor_account": str(request.creditor),
            "amount": wire_amount,
            "currency": request.currency,
            "narrative": request.narrative,
            "value_date": request.value_date.isoformat() if request.value_date else None,
        },
    )


def _command(request: TransferRequest, fingerprint: bytes, *, is_local: bool) -> Command:
    amount = request.amount
    debit = Leg(request.debtor, -amount, request.creditor)
    credit = Leg(request.creditor, amount, request.debtor)
    return Command(
        home=request.debtor,
        origin=Origin.CLIENT,
        reference=request.reference,
        transfer_id=new_id(),
        request_hash=fingerprint,
        currency=request.currency,
        amount=amount,
        creditor=request.creditor,
        legs=(debit, credit) if is_local else (debit,),
        parked=() if is_local else (ParkedAmount(new_id(), request.creditor, amount),),
        value_date=request.value_date,
        narrative=request.narrative,
    )


def _fresh_record(request: TransferRequest, fingerprint: bytes, answer: Answer) -> TransferRecord:
    """What the shard has just stored, without asking it again."""
    if (
        answer.transfer_id is None
        or answer.business_date is None
        or answer.posted_at is None
        or answer.booked_on is None
    ):
        raise LedgerError("The shard answered POSTED and did not say what it booked.")
    return TransferRecord(
        home=request.debtor,
        origin=Origin.CLIENT,
        reference=request.reference,
        transfer_id=answer.transfer_id,
        kind=Kind.ORDINARY,
        creditor=request.creditor,
        amount=request.amount,
        currency=request.currency,
        outcome=answer.outcome,
        money_state=answer.money_state,
        return_code=None,
        business_date=answer.business_date,
        value_date=request.value_date or answer.business_date,
        posted_at=answer.posted_at,
        booked_on=answer.booked_on,
        delivered_at=None,
        convoy=answer.convoy,
        narrative=request.narrative,
        request_hash=fingerprint,
    )


def out_of_patience(outcome: Outcome) -> Unavailable | RangeMoving:
    """The error for a command that still has no answer when its budget is used up."""
    match outcome:
        case Outcome.RANGE_MOVING:
            return RangeMoving()
        case Outcome.NOT_OWNER:
            return RoutesUnknown()
        case _:
            return Unavailable(MEANINGS[outcome].sentence)
