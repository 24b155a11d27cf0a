"""A transfer that needs a person is found, understood and mended in the Temporal UI."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from temporalio.client import WorkflowExecutionStatus

from sagas.repair_messages import DECIDE
from sagas.starts import ensure_repair
from shard.commands import MoneyState
from shard.outcomes import Outcome
from shard.repair_choice import RepairChoice
from shard.suspense import ItemState
from tests.sagas.small_bank import FUNDS, SmallBank
from tests.sagas.stuck_items import StuckItem, words
from tests.support.bank import Figures, figures

if TYPE_CHECKING:
    from tests.support.temporal_ui import TemporalUi

STUCK = "SagaState = 'stuck' AND SourceShard = 1 AND DestinationShard = 2"
UNPAID = Figures(Decimal(0), 0)
MONEY_BACK = Figures(Decimal(FUNDS), 3)
"""The debtor was funded, paid, and has its money back: three entries."""


@pytest.fixture
async def stuck(small_bank: SmallBank) -> StuckItem:
    """20 EUR whose delivery shard 2 could make nothing of: no rule says where they belong."""
    creditor = await small_bank.open_account(2, "0")
    debtor, reference = await small_bank.park(creditor)
    item = await small_bank.item_of(debtor, reference)
    await small_bank.shards[1].suspense.mark_needs_repair(
        item.item_id, item.attempt, Outcome.MALFORMED
    )
    await ensure_repair(small_bank.client, 1, str(item.item_id))
    return StuckItem(small_bank, debtor, creditor, reference, item)


def pasted(details: str, choice: RepairChoice) -> dict[str, Any]:
    """The JSON that a page holds for a choice."""
    lines = [line for line in details.splitlines() if f'"choice": "{choice}"' in line]
    told: dict[str, Any] = json.loads(lines[0])
    return told


async def test_a_stuck_transfer_is_returned_from_its_page(ui: TemporalUi, stuck: StuckItem) -> None:
    """Found by its search attributes, and returned by what its page holds to be pasted: the
    debtor has the money back, the workflow has completed, and the decision is on record."""
    await ui.search(STUCK)
    await (await ui.found(stuck.handle.id)).click()
    assert "An item of shard 1 that needs a person" == await ui.summary()
    details = await ui.current_details()
    assert "Needs a decision: MALFORMED" in details
    told = pasted(details, RepairChoice.RETURN)
    assert 1 == told["attempt"]
    told |= {"reason": "Jürgen asked for it", "maker": "ada", "checker": "bob"}
    assert None is await ui.send_update(DECIDE, json.dumps(told))
    result = await stuck.handle.result()
    assert ("returned", 2, 1) == (result.state, result.attempt, result.decisions)
    assert MONEY_BACK == await figures(stuck.bank.shards[1], stuck.debtor)
    assert UNPAID == await figures(stuck.bank.shards[2], stuck.creditor)
    assert MoneyState.RETURNED is await stuck.state()
    assert WorkflowExecutionStatus.COMPLETED is (await stuck.handle.describe()).status
    (decision,) = await stuck.decisions()
    assert (RepairChoice.RETURN, 1, stuck.creditor, stuck.debtor) == (
        decision.choice,
        decision.attempt,
        decision.target_before,
        decision.target_after,
    )
    assert ("Jürgen asked for it", "ada", "bob") == (
        decision.reason,
        decision.maker,
        decision.checker,
    )
    await ui.open(stuck.handle.id)
    assert "Closed: returned" in await ui.current_details()


async def test_a_decision_is_refused_on_the_page(ui: TemporalUi, stuck: StuckItem) -> None:
    """By a sentence in the dialog, from the validator as from the shard; nothing has changed."""
    nobody = json.dumps(words("redirect", account="2999999999"))
    one_person = json.dumps(words("return", checker="ada"))
    await ui.open(stuck.handle.id)
    told = [
        await ui.send_update(DECIDE, typed) for typed in ('"choice": "return"', one_person, nobody)
    ]
    record, decisions = await stuck.record(), await stuck.decisions()
    await stuck.decide("return")
    await stuck.handle.result()
    assert [
        "Input must be valid JSON",
        "Maker and checker must be two persons.",
        "Account 2999999999 does not exist.",
    ] == told
    assert (ItemState.NEEDS_REPAIR, 1) == (record.state, record.item.attempt)
    assert [] == decisions
