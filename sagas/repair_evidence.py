"""What the present attempt of an item has met at its target: the evidence for a decision.

Where it has met nothing, a tombstone is what it will meet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from temporalio.exceptions import ApplicationError

from sagas.control_points import ControlPoint, ControlPoints
from sagas.deliveries import recall_command, settlement_of
from sagas.owners import Owners
from shard.commands import Answer, Origin
from shard.errors import NotFound
from shard.outcomes import MEANINGS, Outcome
from shard.shard import Shard
from shard.suspense import Carrier, Settlement, SuspenseItem
from shard.transfers import TransferRecord


class NotCarriedOut(Exception):
    """A decision cannot be carried out; the message is a sentence for whoever made it."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What stands for good under an attempt's reference at its target.

    ``booking`` is where and when the item's amount was booked there, with POSTED only. With
    anything else the attempt is spent: it can never be booked any more.
    """

    outcome: Outcome
    booking: Settlement | None = None


class Witness:
    """Asks the targets of items, on the shards it was given."""

    def __init__(
        self, shards: Mapping[int, Shard], owners: Owners, control_points: ControlPoints
    ) -> None:
        self._shards = shards
        self._owners = owners
        self._control_points = control_points

    async def evidence(self, source: int, item: SuspenseItem) -> Evidence:
        """What the present attempt of an item of ``source`` has met, from now on for good.

        Raises ``NotCarriedOut`` where that is no evidence; and what is worth another try.
        """
        if item.carrier is not Carrier.REPAIR:
            # First, so that no late convoy that meets the tombstone turns the item round: should
            # the decision get no further, a person has the item in hand all the same.
            await self._shards[source].suspense.hand_over([item.item_id], Carrier.REPAIR)
        owner = await self._owners.owner_of(item.target)
        answer = await self._recall(owner, item)
        if answer.outcome is Outcome.NOT_OWNER:
            await self._owners.learn(item.target, answer.next_owner, answer.epoch)
        meaning = MEANINGS[answer.outcome]
        if meaning.is_retryable:
            raise _cannot_tell(owner, meaning.sentence)
        if answer.outcome is Outcome.REFERENCE_REUSED:
            return await self._other_words(owner, item)
        if not meaning.is_stored_for_deliveries:
            # Nothing is stored there under the attempt, so it proves nothing.
            raise NotCarriedOut(
                f"Shard {owner} cannot tell what became of the attempt ({answer.outcome}); "
                "find out by hand before it goes anywhere else."
            )
        return Evidence(answer.outcome, _booking(item, answer))

    async def _recall(self, owner: int, item: SuspenseItem) -> Answer:
        command = recall_command(item, details={"purpose": "repair"})
        await self._control_points.reached(ControlPoint.RECALL_BEFORE)
        (answer,) = await self._shards[owner].lanes.post_many([command])
        await self._control_points.reached(ControlPoint.RECALL_AFTER_REPLY)
        return answer

    async def _other_words(self, owner: int, item: SuspenseItem) -> Evidence:
        """What stands under the attempt's reference although its fingerprint is another.

        One thing can stand there, so the attempt itself will never be booked. What counts is
        whether the amount of this item was.
        """
        try:
            found = await self._shards[owner].transfers.get(
                item.target, Origin.DELIVERY, item.delivery_reference
            )
        except NotFound as error:
            raise _cannot_tell(owner, error.detail) from None
        if found.outcome is not Outcome.POSTED:
            return Evidence(found.outcome)
        differences = _differences(item, found)
        if differences:
            raise NotCarriedOut(
                f"Shard {found.booked_on} has booked transfer {found.transfer_id} under the "
                f"attempt's reference (REFERENCE_REUSED), with another {differences} than this "
                "item's. Find out by hand whether that was its money before it goes anywhere else."
            )
        return Evidence(found.outcome, _booking(item, found))


def _differences(item: SuspenseItem, found: TransferRecord) -> str:
    """In which words a booking differs from an item; none: it is the item's."""
    told = {
        "transfer": (item.transfer_id, found.transfer_id),
        "creditor": (item.target, found.creditor),
        "amount": (item.amount, found.amount),
        "currency": (item.currency, found.currency),
    }
    return ", ".join(name for name, (ours, theirs) in told.items() if ours != theirs)


def _booking(item: SuspenseItem, met: Answer | TransferRecord) -> Settlement | None:
    return settlement_of(item, met) if met.outcome is Outcome.POSTED else None


def _cannot_tell(owner: int, reason: str) -> ApplicationError:
    return ApplicationError(f"Shard {owner}: {reason}", type="ShardCannotTell")
