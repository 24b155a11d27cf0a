"""The activities of a repair: look at an item, carry out a decision on it, deliver it.

Each may run twice, late, or in two workers at once: the item alone decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from temporalio import activity
from temporalio.exceptions import ApplicationError

from sagas.beating import beating
from sagas.carriage import Carriage
from sagas.control_points import ControlPoint, ControlPoints, Unarmed
from sagas.limits import ROUTE_CALL_LIMIT_S
from sagas.messages import Step
from sagas.observer import Observer, Unobserved
from sagas.owners import Owners, destination_of
from sagas.repair_evidence import Evidence, NotCarriedOut, Witness
from sagas.repair_messages import (
    CarryItemOrder,
    DecideAnswer,
    DecideOrder,
    RepairOrder,
    RepairView,
)
from sagas.wishes import Wish
from shard.accounts import Account, AccountStatus
from shard.errors import LedgerError, NotFound, NotOwner
from shard.repair_choice import RepairChoice
from shard.repairs import Decided, Decision, DecisionRecord, ItemRecord
from shard.shard import Shard
from shard.suspense import ItemState, SuspenseItem

_DIGITS_SHOWN = 4
_NEW_ATTEMPT: Final = {RepairChoice.RETURN, RepairChoice.REDIRECT}
_REFUSALS: Final = {
    Decided.STALE: "It has changed meanwhile; look at it again.",
    Decided.MOVING: "The debtor's account is just moving to another shard; try again in a moment.",
    Decided.UNSAFE: "What became of the present attempt is not known, so there can be no other.",
}


class RepairActivities:
    """Looks at items, decides and delivers them, on the shards it was given."""

    def __init__(
        self,
        shards: Mapping[int, Shard],
        owners: Owners,
        carriage: Carriage,
        observer: Observer | None = None,
        control_points: ControlPoints | None = None,
    ) -> None:
        self._shards = shards
        self._owners = owners
        self._carriage = carriage
        self._observer = observer or Unobserved()
        self._control_points = control_points or Unarmed()
        self._witness = Witness(shards, owners, self._control_points)

    @activity.defn(name=Step.LOOK_AT_ITEM)
    async def look(self, order: RepairOrder) -> RepairView:
        """The item as it stands now."""
        repairs = self._shards[order.source].repairs
        record = await repairs.get(UUID(order.item))
        decisions = await repairs.decisions(UUID(order.item))
        item = record.item
        # A wait ends with the attempt that it was decided on.
        is_waiting = bool(decisions) and decisions[-1].attempt == item.attempt
        wait = decisions[-1].wait_until if is_waiting else None
        return RepairView(
            state=record.state.value,
            attempt=item.attempt,
            transfer=str(item.transfer_id),
            destination=await destination_of(self._owners, order.source, item.target),
            target=_tail(item.target),
            debtor=_tail(item.debtor),
            is_return=item.is_return,
            code=None if item.last_refusal is None else item.last_refusal.value,
            parked_at=item.parked_at.astimezone(UTC).isoformat(timespec="seconds"),
            booked_on=record.booked_on,
            wait_until=None if wait is None else wait.astimezone(UTC).isoformat(),
            carrier=item.carrier.value,
        )

    @activity.defn(name=Step.DECIDE_ITEM)
    async def decide(self, order: DecideOrder) -> DecideAnswer:
        """Carry out a decision, or tell why not; nothing has changed then."""
        try:
            await self._decide(order)
        except NotCarriedOut as refused:
            return DecideAnswer(refusal=str(refused))
        return DecideAnswer()

    @activity.defn(name=Step.CARRY_ITEM)
    async def carry(self, order: CarryItemOrder) -> None:
        """Deliver an item and settle it; fails, saying why, while that is not possible."""
        async with beating():
            record = await self._shards[order.source].repairs.get(UUID(order.item))
            if record.state is not ItemState.PARKED:
                return
            item = record.item
            destination = await destination_of(self._owners, order.source, item.target)
            carried = await self._carriage.carry(
                order.source, destination, [item], limit_s=ROUTE_CALL_LIMIT_S
            )
            if carried.waiting:
                raise ApplicationError(str(carried.failure), type="ItemWaits")

    async def _decide(self, order: DecideOrder) -> None:
        repairs = self._shards[order.source].repairs
        record = await repairs.get(UUID(order.item))
        decisions = await repairs.decisions(record.item.item_id)
        if any(str(each.decision_id) == order.decision for each in decisions):
            return
        if not record.is_open:
            raise NotCarriedOut(f"It is {record.state} already; nothing is left to decide.")
        if record.item.attempt != order.attempt:
            raise NotCarriedOut(
                f"It has changed meanwhile: it is in attempt {record.item.attempt}, not in "
                f"{order.attempt}; look at it again."
            )
        wish = order.wish or _announced(decisions[-1])
        target = await self._target(record.item, wish)
        evidence = await self._evidence(order.source, record, wish)
        decision = Decision(
            decision_id=UUID(order.decision),
            item_id=record.item.item_id,
            attempt=order.attempt,
            choice=wish.choice,
            reason=wish.reason,
            maker=wish.maker,
            checker=wish.checker,
            target=target,
            wait_until=None if wish.until is None else datetime.fromisoformat(wish.until),
            evidence=None if evidence is None else evidence.outcome,
        )
        await self._control_points.reached(ControlPoint.DECIDE_BEFORE)
        written = await repairs.decide(decision)
        await self._control_points.reached(ControlPoint.DECIDE_AFTER_REPLY)
        if written is not Decided.DECIDED:
            raise NotCarriedOut(_REFUSALS[written])
        self._observer.repair_decided(wish.choice)
        if evidence is not None and evidence.booking is not None:
            # It is parked again. Should this not get through, its next delivery tells the same.
            await self._shards[order.source].suspense.settle([evidence.booking])

    async def _evidence(self, source: int, record: ItemRecord, wish: Wish) -> Evidence | None:
        """What the present attempt has met, where the decision depends on that.

        A delivery that is only tried again needs none, unless the present attempt is spent.
        """
        is_spent = record.state is ItemState.NEEDS_REPAIR
        if wish.choice not in _NEW_ATTEMPT and not (wish.choice is RepairChoice.RETRY and is_spent):
            return None
        evidence = await self._witness.evidence(source, record.item)
        if evidence.booking is not None and wish.choice is not RepairChoice.RETRY:
            raise NotCarriedOut(
                "It was booked at its target meanwhile; choose retry, which settles it."
            )
        return evidence

    async def _target(self, item: SuspenseItem, wish: Wish) -> int | None:
        """The account that a new attempt goes to; None where it stays the same."""
        if wish.choice is RepairChoice.RETURN:
            if item.is_return:
                raise NotCarriedOut("It is on its way back to its debtor already; choose retry.")
            return item.debtor
        if wish.account is None:
            return None
        number = int(wish.account)
        if number == item.target:
            raise NotCarriedOut("It goes to that account already; choose retry.")
        if number == item.debtor:
            raise NotCarriedOut("That is its debtor; choose return.")
        account = await self._account(item, number)
        if account.currency != item.currency:
            raise NotCarriedOut(
                f"Account {number} is kept in {account.currency}; this is {item.currency}."
            )
        if account.status is AccountStatus.CLOSED or (
            account.status is AccountStatus.FROZEN and not account.credits_when_frozen
        ):
            raise NotCarriedOut(f"Account {number} is {account.status}.")
        return number

    async def _account(self, item: SuspenseItem, number: int) -> Account:
        try:
            owner = await self._owners.owner_of(number)
            return await self._shards[owner].accounts.get(number)
        except NotOwner as error:
            await self._owners.learn(number, error.next_owner, error.epoch)
            raise
        except NotFound:
            raise NotCarriedOut(f"Account {number} does not exist.") from None
        except LedgerError as error:
            if error.retryable:
                raise
            raise NotCarriedOut(f"Account {number}: {error.detail}") from None


def _announced(wait: DecisionRecord) -> Wish:
    """The delivery that somebody has put off until now."""
    return Wish(RepairChoice.RETRY, f"The time has come: {wait.reason}", wait.maker, wait.checker)


def _tail(account_no: int) -> str:
    return f"...{str(account_no)[-_DIGITS_SHOWN:]}"
