"""Holds: amounts reserved on an account, paid out of later, or let go.

Every change is a command under a reference of its own, at the account's shard; a hold's own
reference is one of the client's, like a transfer's. A capture is a transfer that pays out of what
is held, also to a creditor on another shard.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial

from router.errors import refusal
from router.routing import Routes
from router.submission import Routed, Submission, refused
from router.suspense_gauge import SuspenseGauge
from router.transfer_requests import check_amount, check_customers, check_two_accounts, record_of
from router.transfers import Submitted
from shard.commands import Command, Kind, Origin, Terms
from shard.errors import Malformed, NotFound, OutcomeUnknown, Unavailable
from shard.holds import Hold
from shard.ids import new_id
from shard.outcomes import Outcome
from shard.references import request_hash
from shard.transfers import TransferRecord


@dataclass(frozen=True, slots=True)
class Placement:
    """A hold that is asked for: ``amount`` (> 0) in ``currency``, until ``expires_at``.

    ``creditor`` is the only account it may be captured for; None: any.
    """

    reference: str
    account: int
    amount: Decimal
    currency: str
    expires_at: datetime
    creditor: int | None = None


@dataclass(frozen=True, slots=True)
class Capture:
    """A payment out of a hold; ``amount`` None is all that remains when it is asked for.

    ``is_final`` lets go of what it leaves.
    """

    reference: str
    account: int
    hold: str
    creditor: int
    amount: Decimal | None
    is_final: bool = False
    narrative: str | None = None


@dataclass(frozen=True, slots=True)
class Increase:
    """More to hold back, and where given a new end."""

    reference: str
    account: int
    hold: str
    amount: Decimal
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A hold as it stands now; ``is_replay`` if the request was known before."""

    hold: Hold
    is_replay: bool


class Holds:
    """The use cases around holds.

    All raise ``Malformed``, ``Refused`` with the outcome, ``NotFound``, ``RangeMoving``,
    ``ShardUnavailable``, ``Overloaded`` and ``OutcomeUnknown`` as transfers do.
    """

    def __init__(self, routes: Routes, suspense: SuspenseGauge) -> None:
        self._routes = routes
        self._submission = Submission(routes, suspense)

    async def get(self, account: int, reference: str) -> Hold:
        """A hold as it stands now."""
        return await self._routes.follow(account, lambda shard: shard.holds.get(account, reference))

    async def place(self, placement: Placement) -> Held:
        """Hold an amount back, if it is available."""
        wire_amount = check_amount(placement.amount, placement.currency)
        check_customers(placement.account, placement.creditor or placement.account)
        expires_at = _checked_end(placement.expires_at)
        if placement.creditor == placement.account:
            raise Malformed("A hold is for another account.", pointer="/creditor_account")
        creditor = placement.creditor
        command = _command(
            placement.account,
            placement.reference,
            Kind.HOLD,
            placement.amount,
            placement.currency,
            Terms(hold=placement.reference, expires_at=expires_at, creditor=creditor),
            {
                "amount": wire_amount,
                "currency": placement.currency,
                "expires_at": expires_at.isoformat(),
                "creditor": str(creditor) if creditor else None,
            },
        )
        return await self._change(command, placement.reference)

    async def increase(self, increase: Increase) -> Held:
        """Hold more back, if it is available."""
        hold = await self.get(increase.account, increase.hold)
        wire_amount = check_amount(increase.amount, hold.currency)
        expires_at = None if increase.expires_at is None else _checked_end(increase.expires_at)
        fields = {
            "hold": increase.hold,
            "amount": wire_amount,
            "expires_at": expires_at.isoformat() if expires_at else None,
        }
        command = _command(
            increase.account,
            increase.reference,
            Kind.INCREASE,
            increase.amount,
            hold.currency,
            Terms(hold=increase.hold, expires_at=expires_at),
            fields,
        )
        return await self._change(command, increase.hold)

    async def void(self, account: int, hold_reference: str, reference: str) -> Held:
        """Let go of what is still held back."""
        hold = await self.get(account, hold_reference)
        command = _command(
            account,
            reference,
            Kind.VOID,
            hold.remaining,
            hold.currency,
            Terms(hold=hold_reference),
            {"hold": hold_reference},
        )
        return await self._change(command, hold_reference)

    async def capture(self, capture: Capture) -> tuple[Submitted, Hold]:
        """Pay a creditor out of a hold; the transfer, and the hold after it."""
        hold = await self.get(capture.account, capture.hold)
        check_customers(capture.account, capture.creditor)
        check_two_accounts(capture.account, capture.creditor)
        fingerprint = _fingerprint(capture, hold)
        amount = capture.amount if capture.amount is not None else hold.remaining
        if not amount:
            # All is captured: by this very request, or there is nothing left to pay out of.
            known = await self._captured_before(capture, fingerprint)
            return Submitted(known, is_replay=True), hold
        command, answer = await self._submission.post(
            partial(self._routed_capture, capture, hold, amount, fingerprint)
        )
        if answer.outcome is not Outcome.POSTED:
            raise refused(answer)
        try:
            record = record_of(command, answer)
            if answer.is_replay:
                record = await self._transfer(capture)
            after = await self.get(capture.account, capture.hold)
        except Unavailable as error:
            # It is booked, so "nothing happened" would be a lie.
            raise OutcomeUnknown from error
        return Submitted(record, answer.is_replay), after

    async def _transfer(self, capture: Capture) -> TransferRecord:
        return await self._routes.follow(
            capture.account,
            lambda shard: shard.transfers.get(capture.account, Origin.CLIENT, capture.reference),
        )

    async def _captured_before(self, capture: Capture, fingerprint: bytes) -> TransferRecord:
        try:
            known = await self._transfer(capture)
        except NotFound:
            raise refusal(Outcome.HOLD_NOT_OPEN) from None
        if known.request_hash != fingerprint:
            raise refusal(Outcome.REFERENCE_REUSED)
        if known.outcome is not Outcome.POSTED:
            raise refusal(known.outcome, is_replay=True)
        return known

    async def _routed_capture(
        self, capture: Capture, hold: Hold, amount: Decimal, fingerprint: bytes
    ) -> Routed:
        moved = await self._submission.movement(capture.account, capture.creditor, amount)
        return moved.source, Command(
            home=capture.account,
            origin=Origin.CLIENT,
            reference=capture.reference,
            transfer_id=new_id(),
            request_hash=fingerprint,
            currency=hold.currency,
            amount=amount,
            creditor=capture.creditor,
            legs=moved.legs,
            parked=moved.parked,
            kind=Kind.CAPTURE,
            narrative=capture.narrative,
            terms=Terms(hold=capture.hold, is_final=capture.is_final or capture.amount is None),
        )

    async def _change(self, command: Command, hold_reference: str) -> Held:
        """Post a command that only holds back or lets go; the hold after it."""

        async def routed() -> Routed:
            return await self._routes.owner_of(command.home), command

        _, answer = await self._submission.post(routed)
        if answer.outcome is not Outcome.POSTED:
            raise refused(answer)
        try:
            hold = await self.get(command.home, hold_reference)
        except Unavailable as error:
            # It is booked, so "nothing happened" would be a lie.
            raise OutcomeUnknown from error
        return Held(hold, answer.is_replay)


def _command(
    account: int,
    reference: str,
    kind: Kind,
    amount: Decimal,
    currency: str,
    terms: Terms,
    fields: Mapping[str, str | None],
) -> Command:
    """A command that moves no money; ``fields`` are what its client asked for."""
    return Command(
        home=account,
        origin=Origin.CLIENT,
        reference=reference,
        transfer_id=new_id(),
        request_hash=request_hash(f"{kind.value}/1", fields),
        currency=currency,
        amount=amount,
        creditor=None,
        legs=(),
        kind=kind,
        terms=terms,
    )


def _fingerprint(capture: Capture, hold: Hold) -> bytes:
    amount = capture.amount
    return request_hash(
        "capture/1",
        {
            "hold": capture.hold,
            "creditor": str(capture.creditor),
            "amount": None if amount is None else check_amount(amount, hold.currency),
            "is_final": "true" if capture.is_final else None,
            "narrative": capture.narrative,
        },
    )


def _checked_end(expires_at: datetime) -> datetime:
    """The end of a hold in UTC; whether it is still to come the shard decides by its own clock."""
    if expires_at.tzinfo is None:
        raise Malformed("A time says its zone, such as Z.", pointer="/expires_at")
    return expires_at.astimezone(UTC)
