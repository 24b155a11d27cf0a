"""Writes a payroll file as an employer's software would, by the library ``sepaxml``.

For demonstrations and tests: the reader then meets a file that nobody wrote for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

from sepaxml import SepaTransfer

from router.iso20022.iban import Iban

DEMO_VERSION = "pain.001.001.09"
PROGRESS_LINES = 500
"""A progress bar that moves ten times in the demo's payroll is smooth enough."""


@dataclass(frozen=True, slots=True)
class Party:
    """An account of this bank and the name of its owner."""

    account_no: int
    name: str


@dataclass(frozen=True, slots=True)
class Salary:
    """What one employee is paid, in EUR and whole cents."""

    employee: Party
    amount: Decimal


def write_payroll_file(
    path: Path,
    employer: Party,
    salaries: Iterable[Salary],
    *,
    execution_date: date,
    ibans: Iban,
    version: str = DEMO_VERSION,
    on_progress: Callable[[int], None] = lambda lines: None,
) -> int:
    """Write one pain.001 file in EUR at ``path``; answers its number of payments.

    ``on_progress`` is told how many payments there are so far. Blocks: call it in a thread.
    ``sepaxml`` takes message ids and the time of creation from chance and the clock.
    """
    transfer = SepaTransfer(
        {
            "name": employer.name,
            "IBAN": ibans.iban_of(employer.account_no),
            "currency": "EUR",
            "batch": True,
        },
        schema=version,
    )
    lines = 0
    for lines, salary in enumerate(salaries, start=1):
        transfer.add_payment(
            {
                "name": salary.employee.name,
                "IBAN": ibans.iban_of(salary.employee.account_no),
                "amount": _cents(salary.amount),
                "description": f"Salary {execution_date:%Y-%m}",
                "execution_date": execution_date,
                "endtoend_id": f"SALARY-{execution_date:%Y%m}-{lines:06d}",
            }
        )
        if lines % PROGRESS_LINES == 0:
            on_progress(lines)
    path.write_bytes(transfer.export(validate=False))
    if lines % PROGRESS_LINES:
        on_progress(lines)
    return lines


def _cents(amount: Decimal) -> int:
    cents = amount * 100
    if cents != int(cents):
        raise ValueError(f"{amount} EUR is not a number of whole cents.")
    return int(cents)
