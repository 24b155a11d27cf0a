"""Scripted holds and reversals, for tests of what HTTP makes of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal

from router.holds import Capture, Held, Increase, Placement
from router.reversals import ReversalRequest
from router.transfer_requests import TransferRequest
from router.transfers import Submitted, Transfers
from shard.commands import Origin
from shard.holds import Hold, HoldState
from shard.transfers import TransferRecord

HOLD = Hold(
    account_no=2_000_000_123,
    reference="AUTH-9",
    currency="EUR",
    amount=Decimal("30.0000"),
    captured=Decimal("0.0000"),
    state=HoldState.PENDING,
    placed_at=datetime(2026, 11, 21, 9, 30, tzinfo=UTC),
    expires_at=datetime(2026, 11, 28, 9, 30, tzinfo=UTC),
    creditor=None,
    closed_at=None,
)


@dataclass(slots=True)
class ScriptedHolds:
    """Answers with ``hold``, unless it is told to ``fail``."""

    transfers: Transfers
    hold: Hold = HOLD
    is_replay: bool = False
    fail: Exception | None = None
    asked: list[object] = field(default_factory=list)

    async def get(self, account: int, reference: str) -> Hold:
        """The hold."""
        return self._answered((account, reference)).hold

    async def place(self, placement: Placement) -> Held:
        """The hold, whatever is asked for."""
        return self._answered(placement)

    async def increase(self, increase: Increase) -> Held:
        """The hold."""
        return self._answered(increase)

    async def void(self, account: int, hold_reference: str, reference: str) -> Held:
        """The hold."""
        return self._answered((account, hold_reference, reference))

    async def capture(self, capture: Capture) -> tuple[Submitted, Hold]:
        """A transfer of what is captured, and the hold."""
        held = self._answered(capture)
        amount = capture.amount or self.hold.remaining
        wanted = TransferRequest(
            capture.reference, capture.account, capture.creditor, amount, self.hold.currency
        )
        return await self.transfers.submit(wanted), held.hold

    def _answered(self, asked: object) -> Held:
        self.asked.append(asked)
        if self.fail is not None:
            raise self.fail
        return Held(self.hold, self.is_replay)


@dataclass(slots=True)
class ScriptedReversals:
    """Takes every transfer back, unless it is told to ``fail``."""

    transfers: Transfers
    is_replay: bool = False
    fail: Exception | None = None
    asked: list[ReversalRequest] = field(default_factory=list)

    async def reverse(self, request: ReversalRequest) -> Submitted:
        """A reversal of the amount asked for."""
        self.asked.append(request)
        if self.fail is not None:
            raise self.fail
        record = await self.get(request.debtor, request.original, request.reference)
        return Submitted(replace(record, amount=request.amount or record.amount), self.is_replay)

    async def get(self, debtor: int, original: str, reference: str) -> TransferRecord:
        """The reversal of a scripted transfer."""
        if self.fail is not None:
            raise self.fail
        record = await self.transfers.get(debtor, original)
        return replace(
            record,
            home=record.creditor or debtor,
            creditor=debtor,
            origin=Origin.REVERSAL,
            reference=reference,
        )
