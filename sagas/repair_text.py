"""What an operator reads on the page of a repair workflow: Markdown, without amounts.

Account numbers are shown by their last digits; ``ledger sagas explain`` tells the rest.
"""

from __future__ import annotations

import json
from typing import Final

from sagas.repair_messages import RepairView
from shard.outcomes import MEANINGS, Outcome
from shard.repair_choice import RepairChoice

_TEMPLATE: Final = {"reason": "...", "maker": "...", "checker": "..."}
_WHAT_FOR: Final = {
    RepairChoice.RETRY: "Deliver it again now, to the same account.",
    RepairChoice.RETURN: "Give it back to its debtor.",
    RepairChoice.REDIRECT: "Deliver it to another account of the same currency.",
    RepairChoice.WAIT: "Leave it until a certain time, then deliver it again.",
}
_EXTRA: Final = {
    RepairChoice.REDIRECT: {"account": "2000000456"},
    RepairChoice.WAIT: {"until": "2026-11-28T09:00:00Z"},
}

UPDATE_HELP: Final = (
    'One JSON object: "choice" is ' + ", ".join(RepairChoice) + '; "reason"; "maker" and '
    '"checker", two persons; "account" with redirect, "until" with wait. With "attempt", the one '
    "you have seen, it is refused once the item is in another."
)
"""What the UI shows beside the update."""


def unsafe_reason(view: RepairView, choice: RepairChoice) -> str | None:
    """Why a choice must not be carried out now, in a sentence; None where it may be tried."""
    if not view.is_open:
        return f"The item is {view.state} already; nothing is left to decide."
    if choice is RepairChoice.RETURN and view.is_return:
        return "It is on its way back to its debtor already; choose retry, redirect or wait."
    return None


def outdated_reason(view: RepairView, attempt: int | None) -> str | None:
    """Why a decision on an attempt must not be carried out; None where it may be tried.

    The page may be behind the item, never ahead of it: only the shard can refuse a later attempt.
    """
    if attempt is None or attempt >= view.attempt:
        return None
    return (
        f"You have seen attempt {attempt}, and by now it is in attempt {view.attempt}; look at "
        "its page again, and decide by that."
    )


def summary(view: RepairView) -> str:
    """One line for lists of workflows."""
    if not view.is_open:
        return f"Closed: {view.state}"
    if view.state == "needs_repair":
        return f"Needs a decision: {view.code}"
    return f"Being delivered to shard {view.destination}"


def details(source: int, item: str, view: RepairView) -> str:
    """The whole page."""
    parts = [
        f"## {summary(view)}",
        *([] if view.wait_until is None else [f"Somebody put it off until {view.wait_until}."]),
        _what_happened(view),
        f"**Where the money is.** {_where(source, view)}",
    ]
    if view.is_open:
        parts += [
            "**What can be decided.** Send the update `decide` with one of these, filled in:",
            *(_choice(view, choice) for choice in RepairChoice),
        ]
    # The UI cuts the last line off, so it is one that says nothing.
    parts += [f"More: `ledger sagas explain {item}`", "---"]
    return "\n\n".join(parts)


def _what_happened(view: RepairView) -> str:
    begun = (
        f"Transfer `{view.transfer}` was debited to account {view.debtor} at {view.parked_at}. "
        f"Attempt {view.attempt} goes to account {view.target}"
        + (", its debtor" if view.is_return else "")
        + f", on shard {view.destination}."
    )
    if view.code is None:
        return f"**What happened.** {begun} No attempt has been refused yet."
    meaning = MEANINGS[Outcome(view.code)].sentence
    if view.state == "needs_repair":
        return f"**What happened.** {begun} It was refused: `{view.code}`. {meaning}"
    return f"**What happened.** {begun} The attempt before met `{view.code}`. {meaning}"


def _where(source: int, view: RepairView) -> str:
    if view.is_open:
        return (
            f"In the suspense account of shard {source}: the debtor has it no more, "
            "and nobody is known to have it yet."
        )
    return f"Account {view.target} has it; it was booked on shard {view.booked_on}."


def _choice(view: RepairView, choice: RepairChoice) -> str:
    reason = unsafe_reason(view, choice)
    if reason is not None:
        return f"* ~~`{choice}`~~ {reason}"
    seen = {"choice": choice.value, "attempt": view.attempt}
    pasted = json.dumps({**seen, **_EXTRA.get(choice, {}), **_TEMPLATE})
    return f"* `{choice}`: {_WHAT_FOR[choice]}\n\n```json\n{pasted}\n```"
