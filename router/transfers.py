"""Transfers: one reference, one debtor as a rule; routed, posted, followed, read back.

What stays on the debtor's shard is one local command. What is for accounts elsewhere the debtor's
shard parks in its suspense account, and the sagas carry it. Either way the command goes to the
debtor's shard, under the client's reference, as often as it takes to get an answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from router.errors import AccountUnassigned, refusal
from router.limits import REQUEST_BUDGET_S, WAIT_PAUSE_FIRST_S, WAIT_PAUSE_MAX_S
from router.patience import Patience
from router.routing import Routes
from router.submission import Routed, Submission, refused
from router.suspense_gauge import SuspenseGauge
from router.transfer_requests import (
    TransferRequest,
    checked,
    command_for,
    record_of,
)
from shard.commands import MoneyState, Origin
from shard.errors import OutcomeUnknown, Unavailable
from shard.outcomes import Outcome
from shard.transfers import TransferRecord


@dataclass(frozen=True, slots=True)
class Submitted:
    """An accepted transfer as it stands now; ``is_replay`` if it was accepted before."""

    record: TransferRecord
    is_replay: bool


class Transfers:
    """The use cases around one transfer."""

    def __init__(self, routes: Routes, suspense: SuspenseGauge) -> None:
        self._routes = routes
        self._submission = Submission(routes, suspense)

    async def submit(
        self, request: TransferRequest, *, budget_s: float = REQUEST_BUDGET_S
    ) -> Submitted:
        """Book a transfer, or find that it was booked before.

        Raises ``Malformed``; ``Refused`` with the outcome (``RefusalReplayed`` for a refusal
        already stored); ``RangeMoving`` after waiting ``budget_s``; ``ShardUnavailable``,
        ``Overloaded`` and ``SuspenseFull`` (nothing happened); ``OutcomeUnknown`` (repeat it as
        it is).
        """
        fingerprint = checked(request)
        command, answer = await self._submission.post(
            partial(self.routed, request, fingerprint), budget_s=budget_s
        )
        if answer.outcome is not Outcome.POSTED:
            raise refused(answer)
        if answer.is_replay:
            return Submitted(await self.known(request), is_replay=True)
        return Submitted(record_of(command, answer), is_replay=False)

    async def get(self, debtor: int, reference: str) -> TransferRecord:
        """A client's transfer as it stands now; raises ``NotFound``, ``ShardUnavailable``."""
        return await self._routes.follow(
            debtor, lambda shard: shard.transfers.get(debtor, Origin.CLIENT, reference)
        )

    async def known(self, request: TransferRequest) -> TransferRecord:
        """The transfer of a request that is booked; raises ``OutcomeUnknown`` if none answers."""
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

    async def routed(self, request: TransferRequest, fingerprint: bytes) -> Routed:
        """The shard to ask and the command for it, by what the range map says now."""
        routes = self._routes
        accounts = [leg.account for leg in request.legs] or [request.creditor or 0]
        try:
            source = await routes.owner_of(request.debtor)
            owners = {account: await routes.owner_of(account) for account in accounts}
        except AccountUnassigned:
            raise refusal(Outcome.ACCOUNT_UNKNOWN) from None
        owners[request.debtor] = source
        return source, command_for(request, fingerprint, owners)
