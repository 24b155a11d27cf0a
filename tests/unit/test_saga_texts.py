"""What is said about an item: what happened, where its money is, what is safe, and why not."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from router.saga_reads import AtTarget, Outlook, Saga, TargetView, TemporalPlace
from router.saga_texts import explain, told_age
from sagas.wishes import Wish, read_wish
from shard.commands import Origin
from shard.outcomes import Outcome
from shard.repair_choice import RepairChoice
from shard.repairs import DecisionRecord, ItemRecord
from shard.suspense import Carrier, ItemState, SuspenseItem

ITEM_ID = UUID("01930000-0000-7000-8000-000000000001")
PARKED_AT = datetime(2026, 11, 23, 10, 15, 2, tzinfo=UTC)
AS_OF = PARKED_AT + timedelta(minutes=10)
PLACE = TemporalPlace("127.0.0.1:7233", "default")
NOTHING = TargetView(AtTarget.NOTHING, 2)
SILENT = TargetView(AtTarget.SILENT, 2, reason="The shard does not answer.")
BOOKED = TargetView(AtTarget.BOOKED, 2, booked_on=2, posted_at=AS_OF)
REFUSED = TargetView(AtTarget.REFUSED, 2, refusal=Outcome.ACCOUNT_CLOSED)
UNASSIGNED = TargetView(AtTarget.UNASSIGNED)
RETURN, REDIRECT = RepairChoice.RETURN, RepairChoice.REDIRECT
RETRY, WAIT = RepairChoice.RETRY, RepairChoice.WAIT
ALL = set(RepairChoice)


def item(**changes: Any) -> SuspenseItem:
    """20 EUR from an account on shard 1 to one on shard 2, which a route carries."""
    plain = SuspenseItem(
        item_id=ITEM_ID,
        attempt=1,
        debtor=1_000_000_123,
        origin=Origin.CLIENT,
        reference="PAY-17",
        transfer_id=ITEM_ID,
        target=2_000_000_456,
        amount=Decimal("20.0000"),
        currency="EUR",
        business_date=date(2026, 11, 23),
        value_date=date(2026, 11, 23),
        convoy=ITEM_ID,
        carrier=Carrier.ROUTE,
        parked_at=PARKED_AT,
        narrative=None,
        last_refusal=None,
    )
    return replace(plain, **changes)


def outlook(
    at_target: TargetView = NOTHING,
    *,
    state: ItemState = ItemState.PARKED,
    is_debtor_moving: bool = False,
    decisions: tuple[DecisionRecord, ...] = (),
    as_of: datetime = AS_OF,
    **changes: Any,
) -> Outlook:
    """What is known of such an item, ten minutes later."""
    is_open = state in {ItemState.PARKED, ItemState.NEEDS_REPAIR}
    closed = None if is_open else AS_OF
    record = ItemRecord(
        item=item(**changes),
        state=state,
        route=2,
        settled_at=closed,
        settled_on=None if is_open else date(2026, 11, 23),
        booked_on=None if is_open else 2,
    )
    saga = Saga(1, record, 2, "route/1/2", None, decisions)
    return Outlook(saga, at_target, is_debtor_moving, as_of)


def decision(**changes: Any) -> DecisionRecord:
    """A redirection of the first attempt."""
    plain = DecisionRecord(
        n=1,
        decision_id=ITEM_ID,
        choice=REDIRECT,
        attempt=1,
        evidence=Outcome.ACCOUNT_CLOSED,
        target_before=2_000_000_456,
        target_after=2_000_000_789,
        wait_until=None,
        reason="A new account.",
        maker="ada",
        checker="bob",
        decided_at=AS_OF,
        business_date=date(2026, 11, 23),
    )
    return replace(plain, **changes)


RETURNING: dict[str, Any] = {
    "attempt": 2,
    "target": 1_000_000_123,
    "last_refusal": Outcome.ACCOUNT_CLOSED,
}
ASIDE: dict[str, Any] = {"state": ItemState.NEEDS_REPAIR, "carrier": Carrier.REPAIR, **RETURNING}


@pytest.mark.parametrize(
    ("seen", "safe"),
    [
        pytest.param(outlook(), ALL, id="nothing met yet"),
        pytest.param(outlook(REFUSED), ALL, id="refused"),
        pytest.param(outlook(SILENT), {RETRY, WAIT}, id="target silent"),
        pytest.param(outlook(UNASSIGNED), {RETRY, WAIT}, id="target in no range"),
        pytest.param(outlook(BOOKED), {RETRY, WAIT}, id="booked"),
        pytest.param(outlook(replace(NOTHING, is_moving=True)), {RETRY, WAIT}, id="target moving"),
        pytest.param(outlook(is_debtor_moving=True), set(), id="debtor moving"),
        pytest.param(outlook(**RETURNING), {RETRY, REDIRECT, WAIT}, id="on its way back"),
        pytest.param(outlook(REFUSED, **ASIDE), {RETRY, REDIRECT, WAIT}, id="return refused"),
        pytest.param(outlook(BOOKED, **ASIDE), {RETRY, WAIT}, id="set aside although booked"),
        pytest.param(outlook(SILENT, **ASIDE), {WAIT}, id="return refused, debtor's shard silent"),
    ],
)
def test_a_choice_is_safe_only_if_the_present_attempt_cannot_pay_as_well(
    seen: Outlook, safe: set[RepairChoice]
) -> None:
    """A new attempt needs evidence; delivering the same one again needs none."""
    assert safe == {each.choice for each in explain(seen, PLACE).choices if each.is_safe}


@pytest.mark.parametrize(
    ("seen", "choice", "why"),
    [
        (outlook(SILENT), RETURN, "cannot be known before shard 2 answers"),
        (outlook(BOOKED), REDIRECT, "has it already. Take it back by reversing"),
        (outlook(BOOKED), REDIRECT, "ledger reverse 1000000123 PAY-17"),
        (outlook(BOOKED, **RETURNING), REDIRECT, "It is back with its debtor."),
        (outlook(BOOKED, origin=Origin.REVERSAL), REDIRECT, "Only a transfer from there"),
        (outlook(UNASSIGNED), RETURN, "No range holds account 2000000456"),
        (outlook(is_debtor_moving=True), WAIT, "Account 1000000123 is just moving"),
        (outlook(replace(NOTHING, is_moving=True)), RETURN, "Account 2000000456 is just moving"),
        (outlook(**RETURNING), RETURN, "on its way back to its debtor already"),
        (outlook(), RETURN, "recalled first"),
        (outlook(REFUSED), REDIRECT, "refused for good, so another one may begin"),
        (outlook(), RETRY, "under the same reference"),
        (outlook(BOOKED, **ASIDE), RETRY, "Attempt 2 is booked, and is only settled."),
    ],
)
def test_every_choice_says_why(seen: Outlook, choice: RepairChoice, why: str) -> None:
    """Safe or not, the reason stands beside it."""
    (told,) = [each for each in explain(seen, PLACE).choices if each.choice is choice]

    assert why in told.why


@pytest.mark.parametrize("choice", RepairChoice)
def test_what_is_to_be_pasted_is_a_decision_once_it_is_filled_in(choice: RepairChoice) -> None:
    """The JSON, the ledger's command and Temporal's command say the same."""
    held = outlook(carrier=Carrier.REPAIR)
    (told,) = [each for each in explain(held, PLACE).choices if each.choice is choice]
    assert told.temporal is not None
    words = shlex.split(told.temporal)
    filled = {**json.loads(told.update), "reason": "why", "maker": "ada", "checker": "bob"}
    wish = read_wish(filled, now=AS_OF)

    assert (choice, told.update) == (wish.choice, words[words.index("--input") + 1])
    assert f"repair/1/{ITEM_ID}" == words[words.index("--workflow-id") + 1]
    assert _command_of(wish) == shlex.split(told.ledger)


def _command_of(wish: Wish) -> list[str]:
    extra = [wish.account] if wish.account else []
    extra += ["2026-11-28T09:00:00Z"] if wish.until else []
    extra += ["--attempt", str(wish.attempt)]
    by_whom = ["--reason", "...", "--maker", "...", "--checker", "..."]
    return ["ledger", "sagas", wish.choice.value, str(ITEM_ID), *extra, *by_whom]


@pytest.mark.parametrize("carrier", [Carrier.CONVOY, Carrier.ROUTE])
def test_no_update_is_sent_to_a_repair_that_does_not_run(carrier: Carrier) -> None:
    """The ledger's own command takes the item over before it decides."""
    told = explain(outlook(carrier=carrier), PLACE)

    assert {None} == {each.temporal for each in told.choices}
    assert "takes it over" in told.advice or "sweeper" in told.carrier


@pytest.mark.parametrize(
    ("seen", "advice"),
    [
        (outlook(BOOKED), "settled by itself"),
        (outlook(BOOKED, **ASIDE), "retry settles it"),
        (outlook(REFUSED, **ASIDE), "waits for a decision of two persons"),
    ],
)
def test_what_has_arrived_is_settled_by_itself_unless_it_was_set_aside(
    seen: Outlook, advice: str
) -> None:
    """Nobody carries what was set aside, so somebody must say it."""
    assert advice in explain(seen, PLACE).advice


@pytest.mark.parametrize(
    ("origin", "more"), [(Origin.CLIENT, ""), (Origin.REVERSAL, " --origin reversal")]
)
def test_the_whole_story_is_one_command_away(origin: Origin, more: str) -> None:
    """Every attempt and entry is told by a trace."""
    assert f"ledger trace 1000000123 PAY-17{more}" == explain(outlook(origin=origin), PLACE).more


@pytest.mark.parametrize("state", [ItemState.DELIVERED, ItemState.RETURNED])
def test_nothing_is_left_to_decide_on_a_closed_item(state: ItemState) -> None:
    """Its money is where it was booked, and nobody carries it."""
    told = explain(outlook(BOOKED, state=state), PLACE)

    assert ((), "Nothing is left to decide.") == (told.choices, told.advice)
    assert "Account 2000000456 has it; shard 2 booked it." == told.where
    assert "Nobody carries it any more; the last was route/1/2." == told.carrier


@pytest.mark.parametrize(
    ("seen", "where"),
    [
        (outlook(), "In account 1101000, the suspense account of shard 1 in EUR: the debtor"),
        (outlook(REFUSED), "In account 1101000, the suspense account of shard 1 in EUR: the"),
        (outlook(SILENT), "Whether account 2000000456 has it already, only shard 2 could say."),
        (outlook(BOOKED), "Account 2000000456 has it. Until it is settled it stands in account"),
        (outlook(BOOKED), "as owed by shard 1 in its clearing account 2201001."),
    ],
)
def test_the_money_is_somewhere(seen: Outlook, where: str) -> None:
    """In suspense, with its target, or nobody can say before a shard answers."""
    assert where in explain(seen, PLACE).where


@pytest.mark.parametrize(
    ("seen", "carrier"),
    [
        (outlook(), "which delivers again and again until shard 2 takes it."),
        (outlook(carrier=Carrier.CONVOY, as_of=PARKED_AT), "a convoy, which ends within seconds"),
        (outlook(carrier=Carrier.CONVOY), "the sweeper sends it off again."),
        (outlook(**ASIDE), "which waits for a decision."),
        (outlook(carrier=Carrier.REPAIR), "which is delivering it."),
        (
            outlook(**ASIDE, decisions=(decision(choice=WAIT, evidence=None, wait_until=AS_OF),)),
            "which was told to leave it until 2026-11-23 10:25:02 UTC.",
        ),
    ],
)
def test_somebody_carries_an_open_item(seen: Outlook, carrier: str) -> None:
    """A convoy, a route, or a repair that delivers, waits for a decision, or for a time."""
    assert explain(seen, PLACE).carrier.endswith(carrier) or carrier in explain(seen, PLACE).carrier


def test_what_happened_is_told_in_its_order() -> None:
    """The debit, what was decided and why, the present attempt, what it has met."""
    seen = outlook(
        REFUSED,
        attempt=2,
        target=2_000_000_789,
        last_refusal=Outcome.ACCOUNT_CLOSED,
        decisions=(decision(),),
    )

    begun = "At 2026-11-23 10:15:02 UTC transfer PAY-17 of account 1000000123 left 20.00 EUR "
    decided = "At 2026-11-23 10:25:02 UTC ada decided on attempt 1, which had met ACCOUNT_CLOSED, "

    assert (
        f"{begun}in suspense on shard 1, for another shard.",
        f'{decided}to deliver it to account 2000000789, and bob checked it: "A new account.".',
        "Attempt 1 met ACCOUNT_CLOSED. The account is closed.",
        "Attempt 2 goes to account 2000000789, on shard 2.",
        "Shard 2 refused it: ACCOUNT_CLOSED. The account is closed.",
    ) == explain(seen, PLACE).what_happened


def test_a_decision_on_what_was_booked_says_so() -> None:
    """Nothing was sent on: it was settled."""
    settled = decision(choice=RETRY, evidence=Outcome.POSTED)
    told = explain(outlook(BOOKED, state=ItemState.DELIVERED, decisions=(settled,)), PLACE)
    assert any("attempt 1, which was booked, to deliver it" in each for each in told.what_happened)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0 s"), (59.9, "59 s"), (61, "1 min 1 s"), (7_200, "2 h"), (90_061, "1 d 1 h")],
)
def test_an_age_is_told_in_its_two_largest_units(seconds: float, told: str) -> None:
    """Whoever reads it needs no more."""
    assert told == told_age(seconds)
