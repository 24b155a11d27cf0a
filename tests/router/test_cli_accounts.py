"""``ledger accounts open``, one or from a file, and ``change``, as a user runs them."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from pathlib import Path

import pytest

from router.limits import OPENING_FILE_CHUNK_LINES
from router.wiring import Bank
from shard.ids import new_id
from tests.router.conftest import CommandLine
from tests.support.bank import open_account
from tests.support.command_line import LEDGER, environment


def rows(text: str) -> list[list[str]]:
    """The rows of a CSV text."""
    return list(csv.reader(io.StringIO(text)))


async def piped(cli: CommandLine, text: str, *arguments: str) -> tuple[int, str]:
    """Run a command with ``text`` on its stdin; its exit code and stdout."""
    process = await asyncio.create_subprocess_exec(
        *LEDGER, *arguments, env=environment(**cli.environment), stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    stdout, _ = await process.communicate(text.encode())
    return process.returncode or 0, stdout.decode()


async def test_an_account_is_opened_with_limits_and_notes(cli: CommandLine) -> None:
    """They are told back, also when it is opened again."""
    words = ("accounts", "open", "--customer", f"C-{new_id()}", "--currency", "EUR",
             "--reference", "first", "--minimum-balance", "25.00", "--metadata", "crm=0042",
             "--metadata", "branch=Köln = Süd")  # fmt: skip
    opened, again = [await cli(*words) for _ in range(2)]

    assert ([0, 0], opened.document) == ([opened.code, again.code], again.document)
    assert ("25.00", "0.00", {"crm": "0042", "branch": "Köln = Süd"}) == tuple(
        opened.document[name] for name in ("minimum_balance", "overdraft_limit", "metadata")
    )


async def test_an_account_is_changed(cli: CommandLine, local_bank: Bank) -> None:
    """What is named changes, everything else stays."""
    account = str(await open_account(local_bank.shards[1], "100.00"))
    change = ("accounts", "change", account)
    noted = await cli(*change, "--metadata", "a=1", "--overdraft-limit", "50.00")
    frozen = await cli(*change, "--status", "frozen", "--frozen-for", "debits", "--reason", "why")
    wholly = await cli(*change, "--status", "frozen")
    clean = await cli(*change, "--status", "open", "--no-metadata")

    assert ({"a": "1"}, "50.00", "open") == tuple(
        noted.document[name] for name in ("metadata", "overdraft_limit", "status")
    )
    assert ("frozen", "debits") == (frozen.document["status"], frozen.document["frozen_for"])
    assert "everything" == wholly.document["frozen_for"]
    assert ("open", None, {}, "50.00") == tuple(
        clean.document[name] for name in ("status", "frozen_for", "metadata", "overdraft_limit")
    )


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ((), (2, "MALFORMED")),
        (("--frozen-for", "debits"), (2, "MALFORMED")),
        (("--minimum-balance", "0.001"), (2, "MALFORMED")),
        (("--minimum-balance", "100.01"), (1, "INSUFFICIENT_FUNDS")),
        (("--metadata", f"{'k' * 65}=1"), (2, "MALFORMED")),
        (("--status", "closed"), (1, "BALANCE_NOT_ZERO")),
    ],
    ids=str,
)
async def test_a_change_that_cannot_be_is_refused(
    cli: CommandLine, local_bank: Bank, words: tuple[str, ...], error: tuple[int, str]
) -> None:
    """Each with its code, and no traceback."""
    account = str(await open_account(local_bank.shards[1], "100.00"))
    told = await cli("accounts", "change", account, *words)

    assert error == told.error
    assert "Traceback" not in told.stderr


async def test_accounts_of_a_file_are_opened_chunk_by_chunk(
    cli: CommandLine, local_bank: Bank, tmp_path: Path
) -> None:
    """More than a chunk; the numbers come in the order of the file, the same ones again."""
    batch, count = new_id().hex, OPENING_FILE_CHUNK_LINES + 3
    lines = [f"C-{batch}-{n},first,EUR,,Müller,5.00\n" for n in range(count)]
    file = tmp_path / "accounts.csv"
    file.write_text("customer,reference,currency,kind,name,overdraft_limit\n" + "".join(lines))
    first = await cli.in_words("accounts", "open", "--from", file)
    again = await cli.in_words("accounts", "open", "--from", file)

    told = rows(first.stdout)
    assert (0, count + 1) == (first.code, len(told)), first.stderr
    assert ["customer", "reference", "account"] == told[0]
    assert [f"C-{batch}-{n}" for n in range(count)] == [row[0] for row in told[1:]]
    assert count == len({row[2] for row in told[1:]})
    assert first.stdout == again.stdout
    last = await local_bank.accounts.get(int(told[-1][2]))
    assert ("Müller", "5.0000") == (last.name, str(last.overdraft_limit))


async def test_a_file_may_be_ndjson_on_stdin(cli: CommandLine, local_bank: Bank) -> None:
    """The answer is NDJSON then; null says that an account has no floor."""
    customer = f"C-{new_id()}"
    asked = [
        {"customer": customer, "reference": "a", "currency": "EUR", "minimum_balance": "9.00"},
        {"customer": customer, "reference": "b", "currency": "EUR", "kind": "income",
         "overdraft_limit": None},
    ]  # fmt: skip
    text = "\ufeff" + "\n\n".join(json.dumps(each) for each in asked)
    code, stdout = await piped(cli, text, "accounts", "open", "--from", "-")

    told = [json.loads(line) for line in stdout.splitlines()]
    assert (0, ["a", "b"]) == (code, [each["reference"] for each in told])
    one, other = [await local_bank.accounts.get(int(each["account"])) for each in told]
    assert ("9.0000", None) == (str(one.minimum_balance), other.overdraft_limit)


async def test_numbers_are_written_to_a_file_that_is_whole(
    cli: CommandLine, tmp_path: Path
) -> None:
    """With a word about it on stdout; with --json the numbers are NDJSON."""
    file, output = tmp_path / "accounts.csv", tmp_path / "numbers"
    file.write_text(f"customer,reference,currency\nC-{new_id()},first,EUR\n")
    told = await cli("accounts", "open", "--from", file, "--output", output)

    assert (0, 1, "ndjson") == (told.code, told.document["opened"], told.document["format"])
    assert {"customer", "reference", "account"} == set(json.loads(output.read_text()))
    assert {file, output} == set(tmp_path.iterdir())


async def test_a_refused_line_is_named_and_those_before_it_stay(
    cli: CommandLine, tmp_path: Path
) -> None:
    """The same reference with another content: exit code 1; mended, the file goes through."""
    customer = f"C-{new_id()}"
    good = [f"{customer},{n},EUR,internal" for n in range(3)]
    file, output = tmp_path / "accounts.csv", tmp_path / "numbers.csv"

    async def told(*lines: str) -> tuple[int, str]:
        file.write_text("\n".join(("customer,reference,currency,kind", *lines)))
        ended = await cli.in_words("accounts", "open", "--from", file, "--output", output)
        return ended.code, ended.stderr

    code, message = await told(*good, f"{customer},1,EUR,customer")
    assert (1, True, False) == (code, "Line 5" in message, output.exists())
    assert 0 == (await told(*good))[0]
    assert 4 == len(rows(output.read_text()))


async def test_a_bad_file_opens_nothing(cli: CommandLine, tmp_path: Path) -> None:
    """Exit code 2 with the first wrong line, before any account is opened."""
    customer = f"C-{new_id()}"
    file = tmp_path / "accounts.csv"
    file.write_text(f"customer,reference,currency\n{customer},R,EUR\n{customer},S,XXX\n")
    told = await cli("accounts", "open", "--from", file)
    words = ("--customer", customer, "--reference", "R", "--currency", "EUR")
    opened = await cli("accounts", "open", *words)

    assert (2, "MALFORMED") == told.error
    assert "Line 3" in told.document["error"]["message"]
    assert (0, False) == (opened.code, "opened before" in opened.stderr)


@pytest.mark.parametrize(
    "words",
    [
        ("--from", "/nowhere/accounts.csv"),
        ("--from", "/"),
        ("--from", "-", "--customer", "C"),
        ("--output", "numbers.csv"),
        ("--customer", "C", "--currency", "EUR"),
    ],
    ids=" ".join,
)
async def test_an_opening_that_is_told_wrongly_is_malformed(
    cli: CommandLine, words: tuple[str, ...]
) -> None:
    """Exit code 2, and no traceback."""
    told = await cli("accounts", "open", *words)

    assert (2, "MALFORMED") == told.error
    assert "Traceback" not in told.stderr
