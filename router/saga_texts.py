"""An item told in whole sentences: what happened, where its money is, what may be done now.

The page of its repair workflow says the same in fewer words and without amounts.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from router.saga_reads import AtTarget, Outlook, Saga, TargetView, TemporalPlace
from sagas.limits import STRAGGLER_AGE_S
from sagas.repair_messages import DECIDE
from sagas.starts import repair_workflow_id
from shard.account_numbers import clearing_account, suspense_account
from shard.commands import Kind, Origin
from shard.money import format_amount
from shard.outcomes import MEANINGS, Outcome
from shard.repair_choice import RepairChoice
from shard.repairs import DecisionRecord
from shard.suspense import Carrier, ItemState

_BY_WHOM: Final = {"reason": "...", "maker": "...", "checker": "..."}
_EXTRA: Final = {
    RepairChoice.REDIRECT: {"account": "2000000456"},
    RepairChoice.WAIT: {"until": "2026-11-28T09:00:00Z"},
}
_DECIDED: Final = {
    RepairChoice.RETRY: "to deliver it again",
    RepairChoice.RETURN: "to give it back to its debtor",
    RepairChoice.REDIRECT: "to deliver it to account {target}",
    RepairChoice.WAIT: "to leave it until {until}",
}
_UNKNOWN_IS_UNSAFE: Final = (
    "Whether attempt {attempt} was booked cannot be known before shard {shard} answers; until "
    "then another attempt might pay it twice."
)
_MOVING: Final = "Account {account} is just moving to another shard; try again in a moment."


@dataclass(frozen=True, slots=True)
class ChoiceText:
    """A choice, whether it is safe now, and why or why not, in sentences.

    ``update`` is the JSON for the update ``decide`` in Temporal's UI; ``ledger`` and ``temporal``
    are the commands that say the same. They are there for unsafe choices, too: what is unsafe
    now may be safe in a minute. ``temporal`` is None while no repair workflow holds the item:
    there is nobody to send an update to, and the ledger's command takes it over first.
    """

    choice: RepairChoice
    is_safe: bool
    why: str
    update: str
    ledger: str
    temporal: str | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """An item in words; without ``choices`` there is nothing left to decide.

    ``more`` is the command that tells every attempt and entry of its transfer.
    """

    what_happened: tuple[str, ...]
    where: str
    carrier: str
    advice: str
    choices: tuple[ChoiceText, ...]
    more: str


def explain(outlook: Outlook, temporal: TemporalPlace) -> Explanation:
    """All that an operator must know of an item."""
    is_open = outlook.saga.record.is_open
    return Explanation(
        what_happened=tuple(_what_happened(outlook)),
        where=_where(outlook),
        carrier=_carrier(outlook),
        advice=_advice(outlook),
        choices=tuple(_choice(outlook, temporal, choice) for choice in RepairChoice)
        if is_open
        else (),
        more=_more(outlook.saga),
    )


def told_time(at: datetime) -> str:
    """A time as people read it, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def told_age(seconds: float) -> str:
    """How long ago, in the two largest units."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def told_amount(saga: Saga) -> str:
    """An item's amount with its currency."""
    item = saga.record.item
    return f"{format_amount(item.amount, item.currency)} {item.currency}"


def _what_happened(outlook: Outlook) -> Iterator[str]:
    saga = outlook.saga
    item = saga.record.item
    source = saga.source
    yield (
        f"At {told_time(item.parked_at)} transfer {item.reference} of account {item.debtor} "
        f"left {told_amount(saga)} in suspense on shard {source}, for another shard."
    )
    if item.origin is Origin.REVERSAL:
        yield "It takes back what an earlier transfer had paid."
    elif item.kind is Kind.FORCED:
        yield "It is a forced booking, which passes floors and freezes."
    for decision in saga.decisions:
        yield _decision(decision)
    if saga.record.is_open:
        yield from _present_attempt(outlook)
        return
    booked_on, settled_at = saga.record.booked_on, saga.record.settled_at
    yield f"Attempt {item.attempt} was booked for account {item.target} on shard {booked_on}."
    if settled_at is not None:
        yield f"Shard {source} settled it at {told_time(settled_at)}."


def _decision(decision: DecisionRecord) -> str:
    until = "" if decision.wait_until is None else told_time(decision.wait_until)
    what = _DECIDED[decision.choice].format(target=decision.target_after, until=until)
    met = "" if decision.evidence is None else f", which had met {decision.evidence},"
    if decision.evidence is Outcome.POSTED:
        met = ", which was booked,"
    return (
        f"At {told_time(decision.decided_at)} {decision.maker} decided on attempt "
        f'{decision.attempt}{met} {what}, and {decision.checker} checked it: "{decision.reason}".'
    )


def _present_attempt(outlook: Outlook) -> Iterator[str]:
    saga = outlook.saga
    item = saga.record.item
    is_set_aside = saga.record.state is ItemState.NEEDS_REPAIR
    if item.last_refusal is not None and not is_set_aside:
        yield (
            f"Attempt {item.attempt - 1} met {item.last_refusal}. "
            f"{MEANINGS[item.last_refusal].sentence}"
        )
    whom = f"account {item.target}" + (", its debtor" if item.is_return else "")
    where = "" if saga.destination is None else f", on shard {saga.destination}"
    yield f"Attempt {item.attempt} goes to {whom}{where}."
    yield _met(outlook.at_target, item.attempt)
    if is_set_aside:
        code = "" if item.last_refusal is None else f": {item.last_refusal}"
        yield f"It was set aside for a person{code}."


def _met(at_target: TargetView, attempt: int) -> str:
    shard = f"Shard {at_target.shard}"
    match at_target.state:
        case AtTarget.BOOKED if at_target.posted_at is not None:
            return (
                f"Shard {at_target.booked_on} booked it at {told_time(at_target.posted_at)}; "
                "only its settlement is missing."
            )
        case AtTarget.REFUSED if at_target.refusal is Outcome.RECALLED:
            return f"{shard} was told to refuse attempt {attempt} should it still come."
        case AtTarget.REFUSED if at_target.refusal is not None:
            sentence = MEANINGS[at_target.refusal].sentence
            return f"{shard} refused it: {at_target.refusal}. {sentence}"
        case AtTarget.SILENT:
            return (
                f"{shard} does not answer ({at_target.reason}), so nobody can say whether it has "
                "been booked there."
            )
        case AtTarget.UNASSIGNED:
            return "No range of this bank holds that account number, so nobody can take it."
        case _:
            moving = " The account is just moving to another shard." if at_target.is_moving else ""
            return f"{shard} has neither booked nor refused it so far.{moving}"


def _where(outlook: Outlook) -> str:
    saga = outlook.saga
    record, item = saga.record, saga.record.item
    if not record.is_open:
        whom = f"Account {item.target}" + (", its debtor," if item.is_return else "")
        return f"{whom} has it; shard {record.booked_on} booked it."
    suspense = suspense_account(saga.source, item.currency)
    place = f"account {suspense}, the suspense account of shard {saga.source} in {item.currency}"
    at_target = outlook.at_target
    if at_target.state is AtTarget.BOOKED and at_target.booked_on is not None:
        clearing = clearing_account(at_target.booked_on, saga.source, item.currency)
        return (
            f"Account {item.target} has it. Until it is settled it stands in {place}, too, and "
            f"shard {at_target.booked_on} shows it as owed by shard {saga.source} in its clearing "
            f"account {clearing}."
        )
    if at_target.state is AtTarget.SILENT:
        return (
            f"In {place}. Whether account {item.target} has it already, only shard "
            f"{at_target.shard} could say."
        )
    return f"In {place}: the debtor has it no more, and nobody else has it yet."


def _carrier(outlook: Outlook) -> str:
    saga = outlook.saga
    record = saga.record
    if not record.is_open:
        return f"Nobody carries it any more; the last was {saga.workflow}."
    match record.item.carrier:
        case Carrier.CONVOY if _age_s(outlook) > STRAGGLER_AGE_S:
            what = "a convoy, which should have ended long ago: the sweeper sends it off again"
        case Carrier.CONVOY:
            what = "a convoy, which ends within seconds and hands over what it could not deliver"
        case Carrier.ROUTE:
            what = f"which delivers again and again until shard {record.route} takes it"
        case _:
            what = _repair(saga)
    return f"Workflow {saga.workflow}, {what}."


def _repair(saga: Saga) -> str:
    until = saga.decisions[-1].wait_until if saga.decisions else None
    if until is not None:
        return f"which was told to leave it until {told_time(until)}"
    if saga.record.state is ItemState.NEEDS_REPAIR:
        return "which waits for a decision"
    return "which is delivering it"


def _advice(outlook: Outlook) -> str:
    record, at_target = outlook.saga.record, outlook.at_target
    if not record.is_open:
        return "Nothing is left to decide."
    if record.item.carrier is Carrier.CONVOY and _age_s(outlook) <= STRAGGLER_AGE_S:
        return "It is on its way. Look again in a few seconds before you decide anything."
    if at_target.state is AtTarget.BOOKED and record.state is ItemState.NEEDS_REPAIR:
        return "It has arrived, and was set aside all the same: retry settles it."
    if at_target.state is AtTarget.BOOKED:
        return "It has arrived, and is settled by itself as soon as both shards can be written to."
    if at_target.state is AtTarget.SILENT and record.state is ItemState.PARKED:
        return f"Nothing must be decided: it goes on by itself once shard {at_target.shard} is up."
    if record.state is ItemState.NEEDS_REPAIR:
        return "It waits for a decision of two persons, a maker and a checker."
    if record.item.carrier is Carrier.REPAIR:
        return "Its workflow is seeing to it; another decision may be sent at any time."
    return (
        "It goes on by itself. Whoever decides anyway takes it over: a repair workflow of its own "
        "holds it from then on."
    )


def _age_s(outlook: Outlook) -> float:
    return (outlook.as_of - outlook.saga.record.item.parked_at).total_seconds()


def _more(saga: Saga) -> str:
    item = saga.record.item
    origin = () if item.origin is Origin.CLIENT else ("--origin", item.origin.value)
    return shlex.join(["ledger", "trace", str(item.debtor), item.reference, *origin])


def _choice(outlook: Outlook, temporal: TemporalPlace, choice: RepairChoice) -> ChoiceText:
    item = outlook.saga.record.item
    item_id = str(item.item_id)
    extra = _EXTRA.get(choice, {})
    update = json.dumps({"choice": choice.value, "attempt": item.attempt, **extra, **_BY_WHOM})
    is_safe, why = _verdict(outlook, choice)
    options = _options({"attempt": str(item.attempt), **_BY_WHOM})
    command = ["ledger", "sagas", choice.value, item_id, *extra.values(), *options]
    is_held = item.carrier is Carrier.REPAIR
    workflow = repair_workflow_id(outlook.saga.source, item_id)
    return ChoiceText(
        choice=choice,
        is_safe=is_safe,
        why=why,
        update=update,
        ledger=shlex.join(command),
        temporal=_temporal_command(temporal, workflow, update) if is_held else None,
    )


def _temporal_command(temporal: TemporalPlace, workflow: str, update: str) -> str:
    where = ["--address", temporal.address, "--namespace", temporal.namespace]
    what = ["--workflow-id", workflow, "--name", DECIDE, "--input", update]
    return shlex.join(["temporal", "workflow", "update", "execute", *where, *what])


def _options(told: Mapping[str, str]) -> Iterator[str]:
    for name, value in told.items():
        yield from (f"--{name}", value)


def _verdict(outlook: Outlook, choice: RepairChoice) -> tuple[bool, str]:
    """Whether a choice is safe now, and why."""
    item = outlook.saga.record.item
    if outlook.is_debtor_moving:
        return False, _MOVING.format(account=item.debtor)
    match choice:
        case RepairChoice.WAIT:
            return True, "Nobody touches it until then; afterwards it is delivered again."
        case RepairChoice.RETRY if outlook.saga.record.state is ItemState.PARKED:
            return True, (
                f"Attempt {item.attempt} is delivered again under the same reference: if it was "
                "booked before, that is found, and it is only settled."
            )
        case RepairChoice.RETRY if outlook.at_target.state is AtTarget.BOOKED:
            return True, f"Attempt {item.attempt} is booked, and is only settled."
        case RepairChoice.RETURN if item.is_return:
            return False, "It is on its way back to its debtor already; choose retry."
        case _:
            return _new_attempt(outlook, choice)


def _new_attempt(outlook: Outlook, choice: RepairChoice) -> tuple[bool, str]:
    """A new attempt may begin only where the present one can never be booked any more."""
    item, at_target = outlook.saga.record.item, outlook.at_target
    match at_target.state:
        case AtTarget.BOOKED:
            return False, f"Account {item.target} has it already. {_taken_back(outlook)}"
        case AtTarget.SILENT:
            return False, _UNKNOWN_IS_UNSAFE.format(attempt=item.attempt, shard=at_target.shard)
        case AtTarget.UNASSIGNED:
            return False, (
                f"No range holds account {item.target}, so no shard can say that attempt "
                f"{item.attempt} will never be booked."
            )
    if at_target.is_moving:
        return False, _MOVING.format(account=item.target)
    if at_target.state is AtTarget.REFUSED:
        spent = f"Attempt {item.attempt} is refused for good, so another one may begin."
    else:
        spent = (
            f"Attempt {item.attempt} is recalled first; if it is booked before that, it stays "
            "where it is and you are told so."
        )
    return True, f"{spent} {_for_whom(choice)}"


def _taken_back(outlook: Outlook) -> str:
    """What can be done about money that has arrived."""
    item = outlook.saga.record.item
    if item.is_return:
        return "It is back with its debtor."
    if item.origin is not Origin.CLIENT:
        return "Only a transfer from there brings it back."
    reverse = shlex.join(["ledger", "reverse", str(item.debtor), item.reference])
    return (
        "Take it back by reversing the transfer, which debits that account, whoever was to be "
        f"paid: {reverse} (with --creditor, whom the transfer names, where it has several)."
    )


def _for_whom(choice: RepairChoice) -> str:
    match choice:
        case RepairChoice.RETURN:
            return "The money goes back to the debtor, whose account may be frozen but not closed."
        case RepairChoice.REDIRECT:
            return "The other account must be open and of the same currency."
        case _:
            return "It makes sense once the account can take it: see what it was refused for."
