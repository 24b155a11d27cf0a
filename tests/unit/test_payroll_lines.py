"""Lines of a payroll file: their references, what is refused at once, what customers are told."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from router.iso20022.iban import Iban
from router.iso20022.pain001 import PaymentBatch, PaymentLine
from router.payroll_lines import (
    Payment,
    Rejection,
    command_of,
    file_reference,
    line_reference,
    read_line,
    status_of_record,
    status_of_rejection,
)
from shard.commands import Kind, MoneyState, Origin
from shard.ids import new_id
from shard.outcomes import Outcome
from shard.references import parse_reference
from shard.transfers import TransferRecord

EMPLOYER, EMPLOYEE = 1_000_000_001, 2_000_000_002
IBAN = Iban()
BATCH = PaymentBatch(1, "BLOCK-1", IBAN.iban_of(EMPLOYER), "Acme", date(2026, 11, 30), None, None)
LINE = PaymentLine(
    line=17,
    batch=BATCH,
    instruction_id=None,
    end_to_end_id="E-17",
    amount=Decimal("1250.00"),
    currency="EUR",
    creditor_name="Ada",
    creditor_account=IBAN.iban_of(EMPLOYEE),
    remittance="November",
)
RECORD = TransferRecord(
    home=EMPLOYER,
    origin=Origin.PAYROLL,
    reference="M-1:0000017",
    transfer_id=new_id(),
    kind=Kind.ORDINARY,
    creditor=EMPLOYEE,
    amount=LINE.amount,
    currency="EUR",
    outcome=Outcome.POSTED,
    money_state=MoneyState.POSTED,
    return_code=None,
    business_date=date(2026, 11, 23),
    value_date=date(2026, 11, 23),
    posted_at=datetime(2026, 11, 23, 9, tzinfo=UTC),
    booked_on=1,
    delivered_at=None,
    convoy=None,
    narrative=None,
    request_hash=b"",
)


def read(line: PaymentLine) -> Payment | Rejection:
    """Read a line of the file M-1."""
    return read_line(line, file="M-1", employer=EMPLOYER, iban=IBAN)


def test_references_of_lines_sort_in_the_order_of_the_file() -> None:
    """The report merges records and lines in one pass."""
    references = [line_reference("M-1", n) for n in (1, 2, 9, 10, 99, 100, 5_000, 1_000_000)]
    assert references == sorted(references)


@pytest.mark.parametrize(
    "message_id", ["SALARY-2026-11", "a" * 35, "Gehälter 11/26", "A:1", "/" * 35]
)
def test_every_message_id_makes_valid_references(message_id: str) -> None:
    """Message ids have an alphabet of their own, and up to 35 characters of it."""
    reference = line_reference(file_reference(message_id), 1_000_000)
    assert parse_reference(reference) == reference


def test_message_ids_outside_the_alphabet_keep_apart() -> None:
    """Two of them never share a name."""
    assert file_reference("Gehälter/1") != file_reference("Gehälter 1")


def test_no_message_id_contains_another_ones_lines() -> None:
    """The lines of "A" all begin with "A:"; so "A:1" must not be the name of another file."""
    assert not file_reference("A:1").startswith("A:")


def test_a_line_becomes_a_payment_to_the_account_in_its_iban() -> None:
    """The account part of the bank's IBANs is the account number."""
    assert read(LINE) == Payment(EMPLOYER, EMPLOYEE, "M-1:0000017", LINE)


@pytest.mark.parametrize(
    ("account", "code", "reason"),
    [
        ("DE89370400440532013000", "IBAN_OF_ANOTHER_BANK", "CNOR"),
        ("DE00370400440532013000", "IBAN_CHECK_DIGITS_WRONG", "AC01"),
        ("nonsense", "IBAN_MALFORMED", "AC01"),
        ("1101000", "SYSTEM_ACCOUNT", "AG01"),
        ("0", "ACCOUNT_UNKNOWN", "AC01"),
        (IBAN.iban_of(EMPLOYER), "MALFORMED", "CH16"),
    ],
)
def test_payees_that_cannot_be_paid_are_rejected_without_a_posting(
    account: str, code: str, reason: str
) -> None:
    """Foreign and broken IBANs, system accounts and the employer itself reach no shard."""
    line = replace(LINE, creditor_account=account)
    rejection = read(line)
    assert isinstance(rejection, Rejection)
    assert rejection.code == code
    status = status_of_rejection(line, rejection)
    assert (status.status, status.reason) == ("RJCT", reason)


@pytest.mark.parametrize("is_local", [True, False])
def test_a_payment_sums_to_zero_wherever_the_payee_lives(is_local: bool) -> None:
    """Locally two legs; else the debtor's leg and an amount parked for the payee."""
    payment = read(LINE)
    assert isinstance(payment, Payment)
    command = command_of(payment, is_local=is_local)
    credited = [leg.amount for leg in command.legs[1:]]
    credited += [parked.amount for parked in command.parked]
    assert sum(leg.amount for leg in command.legs) == (0 if is_local else -LINE.amount)
    assert credited == [LINE.amount]


def test_the_request_hash_does_not_depend_on_the_route() -> None:
    """A file that is completed after a range has moved repeats the same requests."""
    payment = read(LINE)
    assert isinstance(payment, Payment)
    local, cross = (command_of(payment, is_local=each) for each in (True, False))
    assert local.request_hash == cross.request_hash


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({}, "ACSC", None),
        ({"money_state": MoneyState.DELIVERED}, "ACSC", None),
        ({"money_state": MoneyState.IN_TRANSIT}, "ACSP", None),
        ({"money_state": MoneyState.NEEDS_REPAIR}, "PDNG", None),
        (
            {"money_state": MoneyState.RETURNED, "return_code": Outcome.ACCOUNT_CLOSED},
            "RJCT",
            "AC04",
        ),
        (
            {"money_state": MoneyState.NONE, "outcome": Outcome.INSUFFICIENT_FUNDS},
            "RJCT",
            "AM04",
        ),
    ],
)
def test_customers_are_told_where_the_money_is(
    changes: dict[str, Any], status: str, reason: str | None
) -> None:
    """Settled, on its way, being looked into, or rejected with the ISO reason."""
    told = status_of_record(LINE, replace(RECORD, **changes))
    assert (told.status, told.reason) == (status, reason)


def test_a_line_without_a_record_is_pending() -> None:
    """A run that was interrupted has not come to it yet."""
    assert status_of_record(LINE, None).status == "PDNG"
