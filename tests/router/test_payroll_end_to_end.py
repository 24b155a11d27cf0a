"""A payroll on the real bank, run by the command an operator types, killed and resumed."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from lxml import etree

from deploy.embedded.temporal import TemporalServer
from router.iso20022.demo_file import Party, Salary, write_payroll_file
from router.iso20022.iban import Iban
from router.wiring import Bank
from sagas.control_points import ControlPoint
from shard.accounts import AccountStatus
from tests.support.bank import Figures, account_no, at_rest, figures, open_account, settings_of
from tests.support.databases import SHARDS, Databases
from tests.support.processes import KILLED, CommandProcess, command_process

FUNDS = Decimal("100000.00")
PAID_PER_SHARD = 18
EXECUTION_DATE = date(2026, 11, 30)
UNKNOWN, CLOSED = "AC01", "AC04"


class Stopped(Exception):
    """The run is stopped here."""


@dataclass(frozen=True, slots=True)
class Payday:
    """An employer on shard 1 and what each account of the file should get, and be told."""

    employer: int
    salaries: dict[int, Decimal]
    refused: dict[int, str]
    file: Path

    @property
    def report(self) -> Path:
        """The status report beside the file."""
        return self.file.with_suffix(".pain002.xml")

    @property
    def expected(self) -> list[tuple[str, str | None]]:
        """Status and reason of each line of the report."""
        return [
            ("RJCT", self.refused[account]) if account in self.refused else ("ACSC", None)
            for account in self.salaries
        ]

    def told(self) -> list[tuple[str, str | None]]:
        """Status and reason of each line as the report tells them."""
        return [
            (line.findtext("{*}TxSts") or "", line.findtext("{*}StsRsnInf/{*}Rsn/{*}Cd"))
            for line in etree.parse(self.report).iterfind(".//{*}TxInfAndSts")
        ]

    async def assert_paid_to_the_cent(self, bank: Bank) -> None:
        """Each employee was paid once; the employer has everything else."""
        total = Decimal(0)
        for account, salary in self.salaries.items():
            if self.refused.get(account) != UNKNOWN:
                pay = Decimal(0) if account in self.refused else salary
                expected = Figures(pay, 1 if pay else 0)
                assert expected == await figures(bank.shards[account // 1_000_000_000], account)
                total += pay
        assert FUNDS - total == (await bank.accounts.balance(self.employer)).ledger


@pytest.fixture
async def books(servers: Databases, temporal: TemporalServer) -> AsyncIterator[Bank]:
    """The bank without a worker: it carries nothing itself. In the end all of it is right."""
    async with Bank(settings_of(servers, temporal, run_worker=False)) as opened:
        yield opened
        await at_rest(opened)
        result = await opened.check.run()
        assert ((), ()) == (result.findings, result.not_checked)


@pytest.fixture
async def ledger(
    servers: Databases, temporal: TemporalServer, tmp_path: Path
) -> AsyncIterator[CommandProcess]:
    """The command ``ledger`` on this bank."""
    async with command_process(settings_of(servers, temporal), tmp_path) as command:
        yield command


@pytest.fixture
async def payday(books: Bank, tmp_path: Path, rng: random.Random) -> Payday:
    """60 lines over three shards in no order; two accounts of each do not exist or are closed."""
    employer = await open_account(books.shards[1], str(FUNDS))
    paid = [await open_account(books.shards[no]) for no in SHARDS for _ in range(PAID_PER_SHARD)]
    refused = {account_no(no): UNKNOWN for no in SHARDS}
    for number in SHARDS:
        closed = await open_account(books.shards[number])
        await books.accounts.change_status(
            closed, AccountStatus.CLOSED, actor="test", reason="left"
        )
        refused[closed] = CLOSED
    accounts = [*paid, *refused]
    rng.shuffle(accounts)
    salaries = {account: Decimal(rng.randrange(1, 150_000)) / 100 for account in accounts}
    file = write(tmp_path / "payroll.xml", employer, salaries)
    return Payday(employer, salaries, refused, file)


def write(path: Path, employer: int, salaries: dict[int, Decimal]) -> Path:
    """The payroll file, as the library ``sepaxml`` writes it."""
    lines = [Salary(Party(no, f"Employee {no}"), amount) for no, amount in salaries.items()]
    write_payroll_file(
        path, Party(employer, "Acme"), lines, execution_date=EXECUTION_DATE, ibans=Iban()
    )
    return path


async def submit(ledger: CommandProcess, payday: Payday, control_points: str = "") -> int:
    """``ledger payroll submit FILE``; its exit code."""
    await ledger.start("payroll", "submit", str(payday.file), control_points=control_points)
    return await ledger.ended()


async def test_a_payroll_pays_and_reports_every_line_and_only_once(
    ledger: CommandProcess, books: Bank, payday: Payday
) -> None:
    """Exact to the cent, refused money back; the same file again changes neither books nor
    report."""
    assert (0, payday.expected) == (await submit(ledger, payday), payday.told()), ledger.log()
    await payday.assert_paid_to_the_cent(books)
    report = payday.report.read_bytes()
    assert 0 != await submit(ledger, payday)
    assert report == payday.report.read_bytes()
    await payday.assert_paid_to_the_cent(books)


async def test_another_file_under_the_same_message_id_pays_nobody(
    ledger: CommandProcess, books: Bank, payday: Payday
) -> None:
    """The first file's message id is taken, whatever the second one would pay."""
    assert 0 == await submit(ledger, payday), ledger.log()
    text = payday.file.read_text()
    payday.file.write_text(text.replace("Employee", "Impostor"))
    assert 1 == await submit(ledger, payday)
    assert "Another file was submitted" in ledger.log()
    await payday.assert_paid_to_the_cent(books)


@pytest.mark.parametrize(
    "point",
    [
        ControlPoint.DELIVER_AFTER_REPLY,
        pytest.param(ControlPoint.DEPARTURE_BEFORE, marks=pytest.mark.full),
        pytest.param(ControlPoint.RETURN_AFTER_REPLY, marks=pytest.mark.full),
    ],
    ids=str,
)
async def test_a_payroll_killed_in_the_middle_is_completed_by_the_same_command(
    ledger: CommandProcess, books: Bank, payday: Payday, point: ControlPoint
) -> None:
    """kill -9 with lines booked and money on its way: submitted again, nobody is paid twice."""
    assert KILLED == await submit(ledger, payday, f"{point}=exit")
    assert not payday.report.exists()
    assert (0, payday.expected) == (await submit(ledger, payday), payday.told()), ledger.log()
    await payday.assert_paid_to_the_cent(books)


async def test_a_report_of_another_file_is_not_taken_for_this_ones(
    bank: Bank, payday: Payday, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Last month's report lies where this month's will be: a run that was stopped before it
    wrote one is completed all the same."""
    payday.report.write_text("<Document><OrgnlMsgId>last month</OrgnlMsgId></Document>")

    async def stop(*_: object, **__: object) -> None:
        raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr("router.payroll.write_status_report", stop)
        with pytest.raises(Stopped):
            await bank.payroll.submit(payday.file)
    result = await bank.payroll.submit(payday.file)
    assert (True, 0, payday.expected) == (result.was_known, result.booked_now, payday.told())
    await payday.assert_paid_to_the_cent(bank)
