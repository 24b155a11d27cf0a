"""Where each attempt of an item went, as its present target and the decisions on it tell."""

from __future__ import annotations

import pytest

from router.item_ways import targets_of
from shard.outcomes import Outcome
from shard.repair_choice import RepairChoice
from shard.repairs import DecisionRecord
from tests.unit.test_saga_texts import AS_OF, decision, item

DEBTOR, CREDITOR, OTHER, THIRD = 1_000_000_123, 2_000_000_456, 2_000_000_789, 3_000_000_123
RETRY, WAIT = RepairChoice.RETRY, RepairChoice.WAIT


def redirected(attempt: int, before: int, after: int) -> DecisionRecord:
    """A redirection of one attempt."""
    return decision(attempt=attempt, target_before=before, target_after=after)


def kept(choice: RepairChoice, attempt: int, target: int) -> DecisionRecord:
    """A decision after which the same attempt is delivered again."""
    until = AS_OF if choice is WAIT else None
    return decision(
        choice=choice,
        attempt=attempt,
        evidence=None,
        target_before=target,
        target_after=target,
        wait_until=until,
    )


@pytest.mark.parametrize(
    ("attempt", "target", "decisions", "expected"),
    [
        pytest.param(1, CREDITOR, (), (CREDITOR,), id="the first"),
        pytest.param(2, DEBTOR, (), (None, DEBTOR), id="sent back by its carrier"),
        pytest.param(
            2, OTHER, (redirected(1, CREDITOR, OTHER),), (CREDITOR, OTHER), id="redirected"
        ),
        pytest.param(
            4,
            THIRD,
            (redirected(1, CREDITOR, OTHER), redirected(3, DEBTOR, THIRD)),
            (CREDITOR, OTHER, DEBTOR, THIRD),
            id="redirected, sent back, redirected",
        ),
        pytest.param(
            2, DEBTOR, (kept(RETRY, 1, CREDITOR),), (CREDITOR, DEBTOR), id="retried, sent back"
        ),
        pytest.param(
            3,
            OTHER,
            (kept(WAIT, 2, DEBTOR), redirected(2, DEBTOR, OTHER)),
            (None, DEBTOR, OTHER),
            id="sent back, put off, redirected",
        ),
        pytest.param(
            3,
            DEBTOR,
            (decision(choice=RETRY, target_after=CREDITOR),),
            (CREDITOR, CREDITOR, DEBTOR),
            id="a new attempt at the same, sent back",
        ),
        pytest.param(
            2,
            DEBTOR,
            (decision(choice=RETRY, evidence=Outcome.POSTED, target_after=CREDITOR),),
            (CREDITOR, DEBTOR),
            id="retried as booked",
        ),
    ],
)
def test_each_attempt_has_its_account(
    attempt: int,
    target: int,
    decisions: tuple[DecisionRecord, ...],
    expected: tuple[int | None, ...],
) -> None:
    """A decision tells where what it began went; what none began went back to the debtor."""
    assert expected == targets_of(item(attempt=attempt, target=target), decisions)
