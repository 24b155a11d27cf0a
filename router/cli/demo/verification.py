"""What must hold after the demonstration, each claim by itself, computed outside of the ledger."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from random import Random

from router.cli.demo.cast import CURRENCY, Cast
from router.cli.demo.figures import balances, suspense, trial_balance
from router.cli.demo.report_reading import Status, read_report
from router.cli.demo.traffic import Answered
from router.iso20022.pain001 import read_payments
from router.iso20022.reasons import reason_of
from router.limits import DEMO_SAMPLE_ACCOUNTS
from router.wiring import Bank
from shard.accounts import AccountKind
from shard.money import format_amount

_SETTLED = "ACSC"
_REJECTED = "RJCT"


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that must hold, and what was found."""

    claim: str
    holds: bool
    found: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the claims are judged by."""

    cast: Cast
    answers: Sequence[Answered]
    payroll_file: Path
    report: Path
    is_at_rest: bool


async def verify(bank: Bank, evidence: Evidence, seed: int) -> list[Claim]:
    """Judge every claim; raises ``LedgerError`` only where a shard does not answer."""
    statuses, expected = await asyncio.gather(
        asyncio.to_thread(read_report, evidence.report),
        asyncio.to_thread(_expected_statuses, evidence),
    )
    paid = _paid(evidence, statuses, await asyncio.to_thread(_payees, evidence))
    return [
        await _nothing_in_transit(bank, evidence),
        await _invariants_hold(bank),
        _report_is_right(statuses, expected),
        await _employer_is_right(bank, evidence.cast, paid),
        await _money_is_unchanged(bank, evidence.cast),
        await _balances_are_right(bank, evidence, paid, seed),
    ]


async def _nothing_in_transit(bank: Bank, evidence: Evidence) -> Claim:
    left = sum(total.count for totals in (await suspense(bank)).values() for total in totals)
    return Claim(
        "Nothing is in transit", evidence.is_at_rest and not left, f"{left} amounts in suspense"
    )


async def _invariants_hold(bank: Bank) -> Claim:
    result = await bank.check.run()
    told = [f"{each.invariant}: {each.detail}" for each in result.findings]
    told += [f"not checked: {each}" for each in result.not_checked]
    summary = "; ".join(told[:3]) or f"{len(result.checked)} checks, no finding"
    return Claim("Every invariant holds on and between all shards", result.is_clean, summary)


def _report_is_right(statuses: Mapping[str, Status], expected: Mapping[str, Status]) -> Claim:
    wrong = {name for name in expected.keys() | statuses.keys()
             if expected.get(name) != statuses.get(name)}  # fmt: skip
    reasons = Counter(each.reason for each in statuses.values() if each.status == _REJECTED)
    told = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()) if reason)
    found = f"{len(wrong)} lines differ" if wrong else f"{len(statuses)} lines; rejected: {told}"
    return Claim("The pain.002 report tells every line's fate and reason", not wrong, found)


async def _employer_is_right(bank: Bank, cast: Cast, paid: Mapping[int, Decimal]) -> Claim:
    expected = cast.opening_balances[cast.employer] - sum(paid.values(), Decimal(0))
    actual = (await balances(bank, [cast.employer]))[cast.employer]
    found = f"{_money(actual)}, expected {_money(expected)}"
    return Claim("The employer has paid the accepted lines and nothing else", actual == expected,
                 found)  # fmt: skip


async def _money_is_unchanged(bank: Bank, cast: Cast) -> Claim:
    customers = Decimal(0)
    others = Decimal(0)
    for lines in (await trial_balance(bank)).values():
        for line in lines:
            amount = line.debit + line.credit
            if line.kind == AccountKind.CUSTOMER:
                customers += amount
            else:
                others += amount
    holds = customers == cast.total and others == -cast.total
    found = f"customers hold {_money(customers)}, everything else {_money(others)}"
    return Claim("All money is as much as at the opening", holds, found)


async def _balances_are_right(
    bank: Bank, evidence: Evidence, paid: Mapping[int, Decimal], seed: int
) -> Claim:
    expected = dict(evidence.cast.opening_balances)
    for payee, amount in paid.items():
        expected[payee] += amount
        expected[evidence.cast.employer] -= amount
    for answer in evidence.answers:
        if answer.is_accepted:
            expected[answer.payment.debtor] -= answer.payment.amount
            expected[answer.payment.creditor] += answer.payment.amount
    rng = Random(f"{seed}:sample")  # noqa: S311 a repeatable choice, nothing to guess
    sample = rng.sample(sorted(expected), min(DEMO_SAMPLE_ACCOUNTS, len(expected)))
    actual = await balances(bank, sample)
    wrong = [account_no for account_no in sample if actual[account_no] != expected[account_no]]
    found = f"{len(sample) - len(wrong)} of {len(sample)} accounts agree"
    if wrong:
        found += f"; account {wrong[0]} does not"
    return Claim("Balances agree with sums made outside of the ledger", not wrong, found)


def _expected_statuses(evidence: Evidence) -> dict[str, Status]:
    expected = {}
    for line in read_payments(evidence.payroll_file):
        refusal = evidence.cast.salaries[line.line - 1].refusal
        expected[line.end_to_end_id] = (
            Status(_REJECTED, reason_of(refusal)) if refusal else Status(_SETTLED, None)
        )
    return expected


def _payees(evidence: Evidence) -> dict[str, int]:
    """Who is paid by each line, by its end-to-end id."""
    return {
        line.end_to_end_id: evidence.cast.salaries[line.line - 1].payee
        for line in read_payments(evidence.payroll_file)
    }


def _paid(
    evidence: Evidence, statuses: Mapping[str, Status], payees: Mapping[str, int]
) -> dict[int, Decimal]:
    """What each employee was paid, by the report."""
    amounts = {each.payee: each.amount for each in evidence.cast.salaries}
    return {
        payees[name]: amounts[payees[name]]
        for name, told in statuses.items()
        if told.status == _SETTLED and name in payees
    }


def _money(amount: Decimal) -> str:
    return f"{format_amount(amount, CURRENCY)} {CURRENCY}"
