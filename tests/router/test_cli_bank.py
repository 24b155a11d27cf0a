"""A bank run by ``ledger`` alone: up, work, bad input, a shard that dies, down."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

import psutil
import psycopg
import pytest

from deploy.embedded.ports import free_port
from deploy.embedded.stack import EmbeddedStack
from router.iso20022.demo_file import Party, Salary, write_payroll_file
from router.iso20022.iban import Iban
from tests.support.command_line import Ended, ended, ledger, processes_of, start, until_told
from tests.support.databases import temporary_folder


@dataclass(frozen=True, slots=True)
class RunningBank:
    """A bank that ``ledger up`` started, with three accounts."""

    folder: Path
    started: Ended
    funded: str
    neighbour: str
    far: str

    async def ledger(self, *arguments: str | Path) -> Ended:
        """Run a command on this bank, with its answer as JSON."""
        return await ledger(*arguments, "--json", LEDGER_DATA=str(self.folder))

    async def open(self, customer: str, *options: str) -> str:
        """Open an account; its number."""
        names = ("--customer", customer, "--reference", "first", "--currency", "EUR")
        account: str = (await self.ledger("accounts", "open", *names, *options)).document["account"]
        return account

    async def ledger_balance(self, account: str) -> str:
        """What is booked on an account."""
        told = await self.ledger("accounts", "show", account)
        balance: str = told.document["balance"]["ledger"]
        return balance


@pytest.fixture(scope="module")
async def running() -> AsyncIterator[RunningBank]:
    """A bank on shards 1 to 3, stopped at the end by ``ledger down``."""
    async with temporary_folder("cli") as parent:
        folder = parent / "bank"
        port = str(free_port(frozenset()))
        started = await ledger("up", "--folder", folder, "--port", port, "--json")
        assert started.code == 0, started.stderr
        bank = RunningBank(folder, started, "1200000001", "1200000002", "2200000001")
        try:
            options = ("--kind", "equity", "--overdraft-limit", "none", "--account")
            equity = await bank.open("BANK", *options, "1000000000")
            for account in (bank.funded, bank.neighbour, bank.far):
                await bank.open(f"C-{account}", "--account", account)
            paid_in = await bank.ledger("transfer", equity, bank.funded, "1000.00", "EUR")
            assert paid_in.code == 0, paid_in.stderr
            yield bank
        finally:
            await ledger("down", "--folder", folder)
            await EmbeddedStack(folder).destroy()


def text_of(path: str) -> str:
    """What a file says."""
    return Path(path).read_text()


async def test_all_services_are_ready_after_up(running: RunningBank) -> None:
    """What ``up`` has answered can be used at once."""
    told = await running.ledger("status")
    states = {each["name"]: each["state"] for each in told.document["services"]}
    names = ("directory", "shard-1", "shard-2", "shard-3", "temporal", "api")

    assert (0, dict.fromkeys(names, "ready")) == (told.code, states)


async def test_up_again_changes_nothing(running: RunningBank) -> None:
    """A second ``up`` finds everything running, at the same addresses."""
    again = await running.ledger("up")

    assert (0, running.started.document) == (again.code, again.document)


async def test_money_arrives_on_another_shard(running: RunningBank) -> None:
    """A command starts the transfer, the API's worker delivers it, the command sees it arrive."""
    before = Decimal(await running.ledger_balance(running.far))
    told = await running.ledger(
        "transfer", running.funded, running.far, "20.00", "EUR", "--narrative", "Rent"
    )

    assert (0, "delivered") == (told.code, told.document["money_state"])
    assert before + 20 == Decimal(await running.ledger_balance(running.far))


async def test_a_transfer_that_is_repeated_moves_nothing_twice(running: RunningBank) -> None:
    """The same reference and content: the same answer, one booking."""
    payment = ("transfer", running.funded, running.neighbour, "7.00", "EUR", "--reference", "CLI-1")
    first = await running.ledger(*payment)
    after_first = await running.ledger_balance(running.neighbour)
    second = await running.ledger(*payment)

    assert (0, first.document) == (second.code, second.document)
    assert after_first == await running.ledger_balance(running.neighbour)


async def test_entries_list_what_was_booked(running: RunningBank) -> None:
    """The entries of an account in order, the newest last, with the balance after each."""
    payment = ("transfer", running.funded, running.neighbour, "3.00", "EUR", "--reference", "CLI-2")
    await running.ledger(*payment)
    told = await running.ledger("accounts", "entries", running.neighbour)
    last = told.document["data"][-1]

    assert ("CLI-2", "3.00", running.funded) == (
        last["reference"],
        last["amount"],
        last["counterparty"],
    )
    assert last["ledger_after"] == await running.ledger_balance(running.neighbour)


async def test_a_statement_is_written_in_each_form(running: RunningBank, tmp_path: Path) -> None:
    """To stdout or to a file, as JSON, CSV or camt.053: one and the same closing balance."""
    statement = ("accounts", "statement", running.funded)
    told = await running.ledger(*statement)
    table = await running.ledger(*statement, "--format", "csv")
    path = tmp_path / "statement.xml"
    saved = await running.ledger(*statement, "--format", "camt.053", "--output", path)
    shown = await ledger(*statement, LEDGER_DATA=str(running.folder))

    closing = told.document["closing_balance"]
    assert closing == await running.ledger_balance(running.funded)
    assert table.stdout.rstrip().endswith(f",{closing},EUR,,{told.document['seq']}")
    assert (0, closing, str(path)) == (
        saved.code,
        saved.document["closing_balance"],
        saved.document["output"],
    )
    assert f">{closing}</Amt>" in text_of(str(path))
    assert f"Closing balance: {closing} EUR" in shown.stdout
    assert [path] == list(tmp_path.iterdir())


async def test_a_balance_of_the_past_is_shown(running: RunningBank) -> None:
    """As of a time, and as of a business date."""
    show = ("accounts", "show", running.neighbour, "--as-of")
    before = (await running.ledger("accounts", "show", running.neighbour)).document["balance"]
    await running.ledger("transfer", running.funded, running.neighbour, "2.00", "EUR")
    then = await running.ledger(*show, before["as_of"])
    never = await running.ledger(*show, "2000-01-01")

    assert before == then.document["balance"]
    assert (1, "NOT_FOUND") == never.error


@pytest.mark.parametrize(
    "words",
    [
        ("statement", "--format", "pdf"),
        ("statement", "--from", "2026-11-02", "--to", "2026-11-01"),
        ("statement", "--from", "tomorrow"),
        ("statement", "--output", "/nowhere/statement.json"),
        ("show", "--as-of", "yesterday"),
        ("show", "--as-of", "9999-12-31"),
    ],
    ids=" ".join,
)
async def test_a_wrong_reading_is_refused(running: RunningBank, words: tuple[str, ...]) -> None:
    """Exit code 2 with a word, and no traceback."""
    command, *options = words
    told = await running.ledger("accounts", command, running.funded, *options)

    assert (2, "MALFORMED") == told.error
    assert "Traceback" not in told.stderr


async def test_the_books_are_clean(running: RunningBank) -> None:
    """After all of this nothing is wrong on or between the shards."""
    told = await running.ledger("check")

    assert (0, True) == (told.code, told.document["clean"])


async def test_check_finds_a_cent_that_was_planted(running: RunningBank) -> None:
    """One cent more on one account of one shard: exit code 1, and the account is named."""
    owner = EmbeddedStack(running.folder).shard_server(2).owner_dsn
    cent = "UPDATE ledger.balance SET ledger = ledger + %s WHERE account_no = %s"
    async with await psycopg.AsyncConnection.connect(owner, autocommit=True) as connection:
        await connection.execute(cent, (Decimal("0.01"), int(running.far)))
        told = await running.ledger("check")
        await connection.execute(cent, (Decimal("-0.01"), int(running.far)))
    findings = {each["invariant"]: each["detail"] for each in told.document["findings"]}

    assert (1, {2}) == (told.code, {each["shard"] for each in told.document["findings"]})
    assert running.far in findings["balance_is_sum_of_entries"]
    assert "books_sum_to_zero" in findings


async def test_the_business_date_advances(running: RunningBank) -> None:
    """The next business day is opened on all shards, and never again the one before."""
    told = await running.ledger("eod", "advance")
    back = await running.ledger("eod", "advance", "--to", "2020-01-02")

    assert (0, [1, 2, 3]) == (told.code, told.document["changed_shards"])
    assert (1, "BUSINESS_DATE_REFUSED") == back.error


BAD_INPUT = {
    "amount zero": (("0", "EUR"), (2, "MALFORMED")),
    "amount negative": (("-1.00", "EUR"), (2, "MALFORMED")),
    "amount not a number": (("NaN", "EUR"), (2, "MALFORMED")),
    "amount with exponent": (("1e3", "EUR"), (2, "MALFORMED")),
    "amount too precise": (("1.001", "EUR"), (2, "MALFORMED")),
    "amount too large": (("100000000000000", "EUR"), (2, "MALFORMED")),
    "currency unknown": (("1.00", "XXX"), (2, "MALFORMED")),
    "currency of another account": (("1.00", "USD"), (1, "CURRENCY_MISMATCH")),
    "funds missing": (("5000.00", "EUR"), (1, "INSUFFICIENT_FUNDS")),
    "reference empty": (("1.00", "EUR", "--reference", ""), (2, "MALFORMED")),
    "reference outside its alphabet": (("1.00", "EUR", "--reference", "a b"), (2, "MALFORMED")),
    "narrative too long": (("1.00", "EUR", "--narrative", "x" * 501), (2, "MALFORMED")),
    "value date malformed": (("1.00", "EUR", "--value-date", "tomorrow"), (2, "MALFORMED")),
}


@pytest.mark.parametrize("case", BAD_INPUT)
async def test_a_bad_transfer_is_refused_and_changes_nothing(
    running: RunningBank, case: str
) -> None:
    """Each has its code, and no traceback."""
    words, error = BAD_INPUT[case]
    told = await running.ledger("transfer", running.funded, running.far, *words)

    assert error == told.error
    assert "Traceback" not in told.stderr


async def test_accounts_that_cannot_pay_or_be_paid_are_told(running: RunningBank) -> None:
    """An unknown account, a system account, and an account that pays itself."""
    funded = running.funded
    payments = {
        "itself": (funded, funded),
        "system": (funded, "1101000"),
        "unknown": (funded, "1200009999"),
        "malformed": (funded, "12x"),
    }
    told = {
        name: (await running.ledger("transfer", *accounts, "1.00", "EUR")).error
        for name, accounts in payments.items()
    }

    assert told == {
        "itself": (2, "MALFORMED"),
        "system": (1, "SYSTEM_ACCOUNT"),
        "unknown": (1, "ACCOUNT_UNKNOWN"),
        "malformed": (2, "MALFORMED"),
    }


async def test_a_payment_file_is_executed_once(running: RunningBank, tmp_path: Path) -> None:
    """The second submission is refused, and the report of the first one stays."""
    file = tmp_path / "payroll.xml"
    salaries = [Salary(Party(int(running.far), "F"), Decimal("11.00"))]
    salaries += [Salary(Party(1_200_008_888, "U"), Decimal("12.00"))]
    employer = Party(int(running.funded), "Employer")
    day = date(2026, 11, 30)
    write_payroll_file(file, employer, salaries, execution_date=day, ibans=Iban())
    before = Decimal(await running.ledger_balance(running.funded))
    first = await running.ledger("payroll", "submit", file)
    second = await running.ledger("payroll", "submit", file)
    status = await running.ledger("payroll", "status", file)

    assert (0, {"ACSC": 1, "RJCT": 1}) == (first.code, first.document["statuses"])
    assert (1, "PAYMENT_FILE_KNOWN") == second.error
    assert (0, {"ACSC": 1, "RJCT": 1}) == (status.code, status.document["statuses"])
    assert before - 11 == Decimal(await running.ledger_balance(running.funded))


async def test_a_broken_payment_file_is_refused(running: RunningBank, tmp_path: Path) -> None:
    """Nothing of a file that ends in the middle is executed."""
    file = tmp_path / "broken.xml"
    file.write_text("<Document><CstmrCdtTrfInitn>")
    told = await running.ledger("payroll", "submit", file)

    assert 2 == told.code
    assert not file.with_suffix(".pain002.xml").exists()


async def test_a_new_bank_needs_no_migration_after_up(running: RunningBank) -> None:
    """``up`` has migrated; ``migrate --dry-run`` finds nothing to do."""
    told = await running.ledger("migrate", "--dry-run")

    assert (0, [[]] * 4) == (
        told.code,
        [database["applied"] for database in told.document["databases"]],
    )


async def test_serve_answers_in_the_foreground_until_it_is_told_to_stop(
    running: RunningBank,
) -> None:
    """The address comes on stdout once requests are answered; SIGTERM is an orderly end."""
    process = await start(
        "serve", "--no-worker", "--port", "0", "--json", LEDGER_DATA=str(running.folder)
    )
    assert process.stdout is not None
    lines = [await process.stdout.readline() for _ in range(3)]
    host, port = json.loads(b"".join(lines))["url"].removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /livez HTTP/1.1\r\nHost: bank\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    process.send_signal(signal.SIGTERM)

    assert b"HTTP/1.1 200" == answer[:12]
    assert 0 == (await ended(process)).code


async def test_a_worker_stops_in_an_orderly_way(running: RunningBank) -> None:
    """SIGTERM is the usual end of a worker and no failure."""
    process = await start("worker", LEDGER_DATA=str(running.folder))
    await until_told(process, "The worker runs")
    process.send_signal(signal.SIGTERM)

    assert 0 == (await ended(process)).code


async def test_a_port_in_use_is_refused_politely(running: RunningBank, tmp_path: Path) -> None:
    """The sentence names the port and the option; nothing is started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        told = await ledger("up", "--folder", tmp_path / "b", "--port", port, "--json")

    assert (4, "PORT_IN_USE") == told.error
    assert f"Port {port} is in use; choose another with --port." in told.stderr
    assert [] == processes_of(tmp_path)


async def test_no_secret_is_shown(running: RunningBank) -> None:
    """Passwords stand in one private file: not in ``ps``, environments, answers or logs."""
    passwords = {
        line.rsplit(":", 1)[1]
        for line in (running.folder / "secrets" / "pgpass").read_text().split()
    }
    status = await running.ledger("status")
    shown = [running.started.stdout, running.started.stderr, status.stdout, status.stderr]
    for service in status.document["services"]:
        process = psutil.Process(service["pid"])
        shown += [*process.cmdline(), *process.environ().values()]
        shown.append(text_of(service["log"]))

    assert passwords
    assert [] == [text for text in shown for password in passwords if password in text]


async def test_a_dead_shard_is_told_and_up_brings_it_back(running: RunningBank) -> None:
    """Commands end with the code for "repeat it"; the other shards go on."""
    await EmbeddedStack(running.folder).shard_server(2).kill()
    status, check, transfer, elsewhere = await asyncio.gather(
        running.ledger("status"),
        running.ledger("check"),
        running.ledger("transfer", running.far, running.funded, "1.00", "EUR"),
        running.ledger("transfer", running.funded, running.neighbour, "1.00", "EUR"),
    )
    again = await running.ledger("up")

    assert (3, 3, (3, "SHARD_UNAVAILABLE"), 0) == (
        status.code,
        check.code,
        transfer.error,
        elsewhere.code,
    )
    assert 0 == again.code
    assert 0 == (await running.ledger("status")).code


def smallest(folder: Path) -> tuple[str | Path, ...]:
    """The arguments that bring up as little as possible."""
    return ("up", "--folder", folder, "--shards", "1", "--port", str(free_port(frozenset())))


async def test_temporal_that_cannot_be_had_is_told() -> None:
    """The error has its own word, and what was started meanwhile is stopped."""
    async with temporary_folder("cli-no-temporal") as parent:
        command = (*smallest(parent / "bank"), "--json")
        told = await ledger(*command, LEDGER_TEMPORAL_BIN="/nonexistent/temporal")

        assert (4, "TEMPORAL_NOT_OBTAINABLE") == told.error
        assert [] == processes_of(parent)


async def test_down_stops_what_a_killed_up_has_started() -> None:
    """Servers are found by what they left in the folder, whoever started them."""
    async with temporary_folder("cli-killed") as parent:
        folder = parent / "bank"
        process = await start(*smallest(folder))
        await until_told(process, "Migrating the databases")
        process.kill()
        await ended(process)
        left = processes_of(parent)
        down = await ledger("down", "--folder", folder)

        assert left
        assert (0, []) == (down.code, processes_of(parent))
