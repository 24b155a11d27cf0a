"""How the ledger's outcomes are told to customers."""

from __future__ import annotations

import pytest

from router.iso20022.errors import IbanRefused
from router.iso20022.reasons import REASONS, UNSPECIFIED, reason_of
from shard.outcomes import Outcome, is_refusal_by_business

OF_OTHER_REQUESTS = {
    Outcome.ACCOUNT_EXISTS,
    Outcome.BALANCE_NOT_ZERO,
    Outcome.HOLDS_OPEN,
    Outcome.MONEY_IN_TRANSIT,
    Outcome.SEQUENCE_MISMATCH,
    Outcome.HOLD_UNKNOWN,
    Outcome.HOLD_NOT_OPEN,
    Outcome.HOLD_EXPIRED,
    Outcome.HOLD_CREDITOR_MISMATCH,
    Outcome.HOLD_EXCEEDED,
    Outcome.NOT_REVERSIBLE,
    Outcome.REVERSAL_EXCEEDED,
    Outcome.ATOMIC_ABORTED,
}
"""Refusals of what no line of a payment file asks for."""


@pytest.mark.parametrize(
    "outcome", [o for o in Outcome if is_refusal_by_business(o) and o not in OF_OTHER_REQUESTS]
)
def test_every_refusal_has_a_reason_of_its_own(outcome: Outcome) -> None:
    """No final refusal of a payment reaches a customer as "not specified"."""
    assert reason_of(outcome) != UNSPECIFIED


def test_every_refused_iban_has_its_reason() -> None:
    """A status report says of an IBAN what its error says."""
    expected = {error.code: error.iso_reason for error in IbanRefused.__subclasses__()}
    assert expected == {code: REASONS.get(code) for code in expected}


def test_reasons_are_codes_of_four_characters() -> None:
    """The schema takes one to four characters; the code set has four."""
    assert {4} == {len(reason) for reason in REASONS.values()}


def test_an_unforeseen_outcome_is_told_without_reason() -> None:
    """A new outcome is reported, not lost, until it gets a reason here."""
    assert reason_of("NO_SUCH_OUTCOME") == UNSPECIFIED
