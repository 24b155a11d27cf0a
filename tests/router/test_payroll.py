"""Payroll from file to report: every line once, refused money back, resumed after any stop."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from router.accounts import Opening
from router.errors import PaymentFileKnown, ReferenceReused
from router.iso20022.demo_file import Party, Salary, write_payroll_file
from router.iso20022.errors import IbanOfAnotherBank, PaymentFileRefused
from router.iso20022.iban import Iban
from router.payroll import PayrollResult
from router.wiring import Bank
from shard.accounts import AccountStatus
from shard.commands import Answer, Command, MoneyState
from shard.errors import NotFound, OutcomeUnknown, Refused
from shard.outcomes import Outcome
from shard.payment_files import Registration
from tests.support.bank import account_no, at_rest, open_account
from tests.support.databases import SHARDS

SALARY = Decimal("100.00")


@dataclass(frozen=True, slots=True)
class Payday:
    """An employer on shard 1, employees on all shards, and the file that pays them."""

    bank: Bank
    employer: int
    employees: Sequence[int]
    path: Path

    async def submit(self) -> PayrollResult:
        """Run the file until its money has arrived."""
        return await self.bank.payroll.submit(self.path, wait_s=60)

    async def ledgers(self) -> list[Decimal]:
        """What the employees have."""
        return [(await self.bank.accounts.balance(no)).ledger for no in self.employees]

    async def employers_ledger(self) -> Decimal:
        """What the employer has left."""
        return (await self.bank.accounts.balance(self.employer)).ledger


def write(path: Path, employer: int, employees: Sequence[int]) -> Path:
    """A file that pays each of them one salary."""
    salaries = [Salary(Party(no, f"Employee {no}"), SALARY) for no in employees]
    write_payroll_file(
        path, Party(employer, "Acme"), salaries, execution_date=date(2026, 11, 30), ibans=Iban()
    )
    return path


@pytest.fixture
async def payday(bank: Bank, tmp_path: Path) -> Payday:
    """Six employees, two on each shard; the employer has 1,000.00 EUR."""
    employer = await open_account(bank.shards[1], "1000.00")
    employees = [await open_account(bank.shards[shard]) for shard in SHARDS * 2]
    return Payday(bank, employer, employees, write(tmp_path / "payroll.xml", employer, employees))


def told(report: Path) -> list[tuple[str, str | None]]:
    """Status and reason of each payment, in the report's order."""
    tree = etree.parse(report)
    return [
        (line.findtext("{*}TxSts") or "", line.findtext("{*}StsRsnInf/{*}Rsn/{*}Cd"))
        for line in tree.iterfind(".//{*}TxInfAndSts")
    ]


async def test_every_employee_is_paid_once_and_reported(payday: Payday) -> None:
    """Local and cross-shard lines alike are settled, and the report beside the file says so."""
    result = await payday.submit()
    assert await payday.ledgers() == [SALARY] * 6
    assert await payday.employers_ledger() == 400
    assert result.report == payday.path.with_suffix(".pain002.xml")
    assert told(result.report) == [("ACSC", None)] * 6
    assert (result.booked_now, result.is_final, dict(result.statuses)) == (6, True, {"ACSC": 6})


async def test_progress_is_told_by_lines(payday: Payday) -> None:
    """Enough for a progress bar: lines done, lines in all."""
    steps: list[tuple[int, int]] = []
    await payday.bank.payroll.submit(
        payday.path, progress=lambda done, total: steps.append((done, total))
    )
    assert steps[-1] == (6, 6)


async def test_lines_that_cannot_be_paid_are_rejected_and_their_money_is_back(
    bank: Bank, tmp_path: Path
) -> None:
    """Unknown and closed accounts, near and far, and the employer itself."""
    employer = await open_account(bank.shards[1], "1000.00")
    closed = [await open_account(bank.shards[shard]) for shard in (1, 2)]
    for number in closed:
        await bank.accounts.change_status(number, AccountStatus.CLOSED, actor="test", reason="test")
    paid = await open_account(bank.shards[3])
    employees = [account_no(1), account_no(2), *closed, employer, 9_999_999_999, paid]
    path = write(tmp_path / "payroll.xml", employer, employees)
    result = await bank.payroll.submit(path, wait_s=60)
    assert told(result.report) == [
        ("RJCT", "AC01"),
        ("RJCT", "AC01"),
        ("RJCT", "AC04"),
        ("RJCT", "AC04"),
        ("RJCT", "CH16"),
        ("RJCT", "AC01"),
        ("ACSC", None),
    ]
    assert (await bank.accounts.balance(employer)).ledger == 900


async def test_a_foreign_iban_is_rejected_without_a_posting(payday: Payday) -> None:
    """Payments to other banks are not for this ledger."""
    own = Iban().iban_of(payday.employees[0])
    payday.path.write_text(payday.path.read_text().replace(own, "DE89370400440532013000"))
    result = await payday.submit()
    assert told(result.report)[0] == ("RJCT", "CNOR")
    assert await payday.employers_ledger() == 500


async def test_when_the_money_runs_out_the_lines_left_are_rejected(
    bank: Bank, tmp_path: Path
) -> None:
    """Lines are paid as long as the balance covers them; no line is paid in part."""
    employer = await open_account(bank.shards[1], "250.00")
    employees = [await open_account(bank.shards[shard]) for shard in SHARDS]
    result = await bank.payroll.submit(
        write(tmp_path / "payroll.xml", employer, employees), wait_s=60
    )
    assert Counter(told(result.report)) == {("ACSC", None): 2, ("RJCT", "AM04"): 1}


async def test_the_same_file_submitted_twice_changes_nothing(payday: Payday) -> None:
    """The second time it is recognised, and everything stays as it was."""
    first = await payday.submit()
    report = first.report.read_bytes()
    with pytest.raises(PaymentFileKnown):
        await payday.submit()
    assert await payday.ledgers() == [SALARY] * 6
    assert first.report.read_bytes() == report


async def test_a_copy_of_the_file_changes_nothing(payday: Payday, tmp_path: Path) -> None:
    """The message id and the content count, not the file's name; the copy gets its report."""
    await payday.submit()
    copy = tmp_path / "copy.xml"
    copy.write_bytes(payday.path.read_bytes())
    result = await payday.bank.payroll.submit(copy)
    assert (result.was_known, result.booked_now) == (True, 0)
    assert await payday.ledgers() == [SALARY] * 6


async def test_a_rejected_line_stays_rejected(bank: Bank, tmp_path: Path) -> None:
    """An account opened after its line was rejected is not paid by submitting the file again."""
    employer = await open_account(bank.shards[1], "1000.00")
    employee = account_no(1)
    path = write(tmp_path / "payroll.xml", employer, [employee])
    result = await bank.payroll.submit(path)
    result.report.unlink()
    await bank.accounts.open(Opening(f"C-{employee}", "R", "EUR", account_no=employee), actor="t")
    again = await bank.payroll.submit(path)
    assert told(again.report) == [("RJCT", "AC01")]
    assert (await bank.accounts.balance(employee)).ledger == 0


async def test_another_file_under_the_same_message_id_is_refused(payday: Payday) -> None:
    """A message id names one file."""
    await payday.submit()
    text = payday.path.read_text()
    payday.path.write_text(text.replace("Employee", "Employed"))
    with pytest.raises(ReferenceReused):
        await payday.submit()


async def test_what_is_paid_is_what_was_checked(
    payday: Payday, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file rewritten after its registration pays, and reports, what was registered."""
    files = payday.bank.shards[1].payment_files
    register = files.register

    async def register_and_rewrite(*args: Any, **kwargs: Any) -> Registration:
        registration = await register(*args, **kwargs)
        payday.path.write_text(payday.path.read_text().replace("100.00", "150.00"))
        return registration

    monkeypatch.setattr(files, "register", register_and_rewrite)
    result = await payday.submit()
    assert "150.00" in payday.path.read_text()
    assert await payday.ledgers() == [SALARY] * 6
    amounts = {each.text for each in etree.parse(result.report).iter("{*}InstdAmt")}
    assert amounts == {"100.00"}


class Stopped(Exception):
    """The run is stopped here."""


async def test_a_run_that_was_interrupted_is_completed_by_submitting_again(
    payday: Payday, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines booked before the stop are not booked again; the others are."""
    monkeypatch.setattr("router.payroll.PAYROLL_CHUNK_LINES", 2)

    def stop_after_four(done: int, total: int) -> None:
        if done == 4:
            raise Stopped

    with pytest.raises(Stopped):
        await payday.bank.payroll.submit(payday.path, progress=stop_after_four)
    result = await payday.submit()
    assert (result.was_known, result.booked_now) == (True, 2)
    assert await payday.ledgers() == [SALARY] * 6


async def test_a_stop_before_the_report_is_made_good_by_submitting_again(
    payday: Payday, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is booked already; what was missing is the answer to the customer."""

    async def stop(*_: object, **__: object) -> None:
        raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr("router.payroll.write_status_report", stop)
        with pytest.raises(Stopped):
            await payday.submit()
    result = await payday.submit()
    assert (result.booked_now, told(result.report)) == (0, [("ACSC", None)] * 6)


async def test_a_lost_reply_does_not_pay_twice(
    payday: Payday, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shard booked the chunk and nobody heard it; the chunk is sent again."""
    lanes = payday.bank.shards[1].lanes
    post_many, is_lost = lanes.post_many, True

    async def post_many_and_lose_the_reply(commands: Sequence[Command]) -> list[Answer]:
        nonlocal is_lost
        answers = await post_many(commands)
        if is_lost:
            is_lost = False
            raise OutcomeUnknown
        return answers

    monkeypatch.setattr(lanes, "post_many", post_many_and_lose_the_reply)
    await payday.submit()
    assert await payday.ledgers() == [SALARY] * 6
    assert await payday.employers_ledger() == 400


async def test_two_runs_of_one_file_at_once_pay_once(payday: Payday) -> None:
    """Whoever books a line first, the other one sees it as known."""
    results = await asyncio.gather(payday.submit(), payday.submit(), return_exceptions=True)
    booked = [each.booked_now for each in results if isinstance(each, PayrollResult)]
    assert sum(booked) == 6
    assert await payday.ledgers() == [SALARY] * 6


async def test_a_report_written_early_says_what_is_on_its_way_and_is_renewed(
    payday: Payday,
) -> None:
    """Without waiting some lines are in settlement; ``status`` tells the end."""
    early = await payday.bank.payroll.submit(payday.path, wait_s=0)
    assert early.statuses.get("ACSC", 0) + early.statuses.get("ACSP", 0) == 6
    await at_rest(payday.bank)
    late = await payday.bank.payroll.status(payday.path)
    assert told(late.report) == [("ACSC", None)] * 6


async def test_without_the_file_its_lines_are_counted_by_message_id(payday: Payday) -> None:
    """The employer's account and the message id name what was executed."""
    result = await payday.submit()
    counts = await payday.bank.payroll.status_of(payday.employer, result.message_id)
    assert counts == {MoneyState.POSTED: 2, MoneyState.DELIVERED: 4}


async def test_a_file_that_was_never_submitted_has_no_status(payday: Payday) -> None:
    """Asking executes nothing."""
    with pytest.raises(NotFound):
        await payday.bank.payroll.status(payday.path)
    assert await payday.employers_ledger() == 1000


async def test_a_file_that_contradicts_itself_pays_nobody(payday: Payday) -> None:
    """It is read to its end before its first line is executed."""
    text = payday.path.read_text()
    payday.path.write_text(
        text.replace('<InstdAmt Ccy="EUR">100.00', '<InstdAmt Ccy="EUR">100.01', 1)
    )
    with pytest.raises(PaymentFileRefused):
        await payday.submit()
    assert await payday.employers_ledger() == 1000


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (AccountStatus.FROZEN, Outcome.ACCOUNT_FROZEN),
        (AccountStatus.CLOSED, Outcome.ACCOUNT_CLOSED),
    ],
)
async def test_an_employer_that_cannot_pay_at_all_is_told_before_anything_else(
    bank: Bank, tmp_path: Path, status: AccountStatus, outcome: Outcome
) -> None:
    """The file is refused as a whole, and not registered: it may come again."""
    employer = await open_account(bank.shards[1])
    await bank.accounts.change_status(employer, status, actor="test", reason="test")
    path = write(tmp_path / "payroll.xml", employer, [account_no(2)])
    with pytest.raises(Refused) as refused:
        await bank.payroll.submit(path)
    assert refused.value.outcome == outcome


async def test_an_employer_of_another_bank_is_refused(payday: Payday) -> None:
    """Its account is not here to be debited."""
    own = Iban().iban_of(payday.employer)
    payday.path.write_text(payday.path.read_text().replace(own, "DE89370400440532013000"))
    with pytest.raises(IbanOfAnotherBank):
        await payday.submit()
