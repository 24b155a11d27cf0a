"""Every business outcome has one code; this table serves Python, HTTP, docs and the tests.

SQL knows the same codes as the enum ``ledger.outcome``, whose order is the order of
precedence: when a command could be refused for several reasons, the first one listed is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What became of one command, in order of precedence."""

    NOT_OWNER = "NOT_OWNER"
    RANGE_MOVING = "RANGE_MOVING"
    MALFORMED = "MALFORMED"
    DATE_NOT_OPEN = "DATE_NOT_OPEN"
    REFERENCE_REUSED = "REFERENCE_REUSED"
    SYSTEM_ACCOUNT = "SYSTEM_ACCOUNT"
    ACCOUNT_UNKNOWN = "ACCOUNT_UNKNOWN"
    ACCOUNT_EXISTS = "ACCOUNT_EXISTS"
    ACCOUNT_CLOSED = "ACCOUNT_CLOSED"
    ACCOUNT_FROZEN = "ACCOUNT_FROZEN"
    CURRENCY_MISMATCH = "CURRENCY_MISMATCH"
    SEQUENCE_MISMATCH = "SEQUENCE_MISMATCH"
    HOLD_UNKNOWN = "HOLD_UNKNOWN"
    HOLD_NOT_OPEN = "HOLD_NOT_OPEN"
    HOLD_EXPIRED = "HOLD_EXPIRED"
    HOLD_CREDITOR_MISMATCH = "HOLD_CREDITOR_MISMATCH"
    HOLD_EXCEEDED = "HOLD_EXCEEDED"
    NOT_REVERSIBLE = "NOT_REVERSIBLE"
    REVERSAL_EXCEEDED = "REVERSAL_EXCEEDED"
    INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    BALANCE_NOT_ZERO = "BALANCE_NOT_ZERO"
    HOLDS_OPEN = "HOLDS_OPEN"
    MONEY_IN_TRANSIT = "MONEY_IN_TRANSIT"
    ATOMIC_ABORTED = "ATOMIC_ABORTED"
    RECALLED = "RECALLED"
    POSTED = "POSTED"


@dataclass(frozen=True, slots=True)
class Meaning:
    """How an outcome is told: HTTP status, may it be repeated, is it kept, and in words."""

    http_status: int
    is_retryable: bool
    is_stored_for_clients: bool
    is_stored_for_deliveries: bool
    sentence: str


MEANINGS: dict[Outcome, Meaning] = {
    Outcome.NOT_OWNER: Meaning(
        503, True, False, False, "The shard asked does not own the account; ask its next owner."
    ),
    Outcome.RANGE_MOVING: Meaning(
        503, True, False, False, "The account's range is moving; try again in a moment."
    ),
    Outcome.MALFORMED: Meaning(
        400, False, False, False, "The request is not well formed; nothing was stored."
    ),
    Outcome.DATE_NOT_OPEN: Meaning(
        503, True, False, False, "The shard has not opened that business date yet."
    ),
    Outcome.REFERENCE_REUSED: Meaning(
        422, False, False, False, "The reference already names a request with another content."
    ),
    Outcome.SYSTEM_ACCOUNT: Meaning(
        422, False, False, True, "System accounts cannot be named by clients."
    ),
    Outcome.ACCOUNT_UNKNOWN: Meaning(422, False, False, True, "The account does not exist."),
    Outcome.ACCOUNT_EXISTS: Meaning(
        422, False, False, False, "The account number is taken by another account."
    ),
    Outcome.ACCOUNT_CLOSED: Meaning(422, False, True, True, "The account is closed."),
    Outcome.ACCOUNT_FROZEN: Meaning(422, False, True, True, "The account is frozen."),
    Outcome.CURRENCY_MISMATCH: Meaning(
        422, False, True, True, "The account is kept in another currency."
    ),
    Outcome.SEQUENCE_MISMATCH: Meaning(
        422,
        False,
        True,
        True,
        "The account is not at the expected position, or it has several buckets and no single one.",
    ),
    Outcome.HOLD_UNKNOWN: Meaning(422, False, True, True, "The account has no such hold."),
    Outcome.HOLD_NOT_OPEN: Meaning(
        422, False, True, True, "The hold is captured, voided or expired already."
    ),
    Outcome.HOLD_EXPIRED: Meaning(422, False, True, True, "The hold's time is up."),
    Outcome.HOLD_CREDITOR_MISMATCH: Meaning(
        422, False, True, True, "The hold was placed for another creditor."
    ),
    Outcome.HOLD_EXCEEDED: Meaning(
        422, False, True, True, "The amount is more than what remains of the hold."
    ),
    Outcome.NOT_REVERSIBLE: Meaning(
        422, False, True, True, "The transfer has not credited that account with anything."
    ),
    Outcome.REVERSAL_EXCEEDED: Meaning(
        422, False, True, True, "All reversals together would exceed the original amount."
    ),
    Outcome.INSUFFICIENT_FUNDS: Meaning(
        422, False, True, True, "The available balance does not cover the amount."
    ),
    Outcome.LIMIT_EXCEEDED: Meaning(
        422, False, True, True, "A balance of the account would have more than 14 digits."
    ),
    Outcome.BALANCE_NOT_ZERO: Meaning(
        422, False, False, False, "An account is closed only when its balance is zero."
    ),
    Outcome.HOLDS_OPEN: Meaning(
        422, False, False, False, "An account is closed only when no hold is open on it."
    ),
    Outcome.MONEY_IN_TRANSIT: Meaning(
        422, False, False, False, "An account is closed only when none of its money is in transit."
    ),
    Outcome.ATOMIC_ABORTED: Meaning(
        422, False, False, False, "Another command of the same atomic batch was refused."
    ),
    Outcome.RECALLED: Meaning(
        422, False, True, True, "The delivery was recalled before it was booked."
    ),
    Outcome.POSTED: Meaning(201, False, True, True, "Booked."),
}


def is_refusal_by_business(outcome: Outcome) -> bool:
    """Tell whether money will not move under this reference, for good."""
    meaning = MEANINGS[outcome]
    return outcome is not Outcome.POSTED and not meaning.is_retryable
