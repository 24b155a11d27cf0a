"""Items that need a person, and what a test does with them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError
from temporalio.service import RPCError

from sagas.messages import ConvoyOrder
from sagas.repair_messages import DECIDE, DecisionReport, RepairResult
from sagas.repair_workflow import RepairWorkflow
from sagas.starts import ensure_repair, start_convoy
from shard.commands import MoneyState
from shard.repairs import DecisionRecord, ItemRecord
from shard.suspense import Carrier, SuspenseItem
from tests.sagas.small_bank import SmallBank, eventually
from tests.support.bank import account_no

UNKNOWN_SHARD = 9
_METADATA = "__temporal_workflow_metadata"


@dataclass(frozen=True, slots=True)
class StuckItem:
    """20 EUR from an account on shard 1 to one on shard 2, in the hands of a repair."""

    bank: SmallBank
    debtor: int
    creditor: int
    reference: str
    item: SuspenseItem

    @property
    def handle(self) -> WorkflowHandle[RepairWorkflow, RepairResult]:
        """Its workflow, in whichever run."""
        return self.bank.client.get_workflow_handle_for(
            RepairWorkflow.run, f"repair/1/{self.item.item_id}"
        )

    async def decide(self, choice: str, **told: Any) -> DecisionReport:
        """Send a decision and wait until it is carried out; raises what it is refused with."""
        try:
            report: DecisionReport = await self.handle.execute_update(
                DECIDE, words(choice, **told), result_type=DecisionReport
            )
        except WorkflowUpdateFailedError as error:
            raise AssertionError(f"the decision was refused: {error.cause}") from error
        return report

    async def refusal(self, told: Any) -> str:
        """The sentence with which a decision is refused."""
        try:
            await self.handle.execute_update(DECIDE, told)
        except WorkflowUpdateFailedError as error:
            return str(error.cause)
        raise AssertionError("the decision was carried out")

    async def record(self) -> ItemRecord:
        """The item as it stands."""
        return await self.bank.shards[1].repairs.get(self.item.item_id)

    async def decisions(self) -> list[DecisionRecord]:
        """What was decided on it."""
        return list(await self.bank.shards[1].repairs.decisions(self.item.item_id))

    async def set_debtor(self, status: str) -> None:
        """Close or reopen the debtor. No call closes an account with money in transit; only a
        fault could."""
        async with await psycopg.AsyncConnection.connect(self.bank.owner_dsns[1]) as connection:
            await connection.execute(
                "UPDATE ledger.account SET status = %s WHERE account_no = %s", (status, self.debtor)
            )

    async def state(self) -> MoneyState:
        """Where the transfer's money is."""
        return (await self.bank.transfer_record(self.debtor, self.reference)).money_state


def words(choice: str, **told: Any) -> dict[str, Any]:
    """A decision as somebody types it."""
    return {"choice": choice, "reason": "as agreed", "maker": "ada", "checker": "bob", **told}


async def refused_by_all(bank: SmallBank) -> StuckItem:
    """An item that neither its creditor nor its debtor can have; a worker must run."""
    creditor = account_no(2)
    debtor, reference = await bank.park(creditor)
    item = await bank.item_of(debtor, reference)
    stuck = StuckItem(bank, debtor, creditor, reference, item)
    await stuck.set_debtor("closed")
    await start_convoy(bank.client, ConvoyOrder(1, str(item.convoy)), is_eager=True)
    assert MoneyState.NEEDS_REPAIR is (await bank.ended(debtor, reference)).money_state
    await shown(stuck, "Needs a decision")
    return stuck


async def taken_over(bank: SmallBank, creditor: int) -> StuckItem:
    """A parked item that an operator has taken in hand."""
    debtor, reference = await bank.park(creditor)
    item = await bank.item_of(debtor, reference)
    await bank.shards[1].suspense.hand_over([item.item_id], Carrier.REPAIR)
    await ensure_repair(bank.client, 1, str(item.item_id))
    return StuckItem(bank, debtor, creditor, reference, item)


async def left_alone(bank: SmallBank, creditor: int) -> StuckItem:
    """The same, put off for an hour: nobody delivers it meanwhile, and any decision may come."""
    bank.owners.assigned[creditor] = UNKNOWN_SHARD
    stuck = await taken_over(bank, creditor)
    await shown(stuck, "Being delivered")
    until = datetime.now(UTC) + timedelta(hours=1)
    await stuck.decide("wait", until=until.isoformat(timespec="seconds"))
    del bank.owners.assigned[creditor]
    return stuck


async def shown(stuck: StuckItem, text: str) -> str:
    """Wait until the workflow's page holds a text; the page."""
    return await eventually(lambda: page(stuck), lambda seen: text in seen)


async def page(stuck: StuckItem) -> str:
    """What the workflow's page says, or nothing while there is none."""
    try:
        told = await stuck.handle.query(_METADATA, result_type=WorkflowMetadata)
    except RPCError:
        return ""
    return str(told.current_details)
