"""``ledger holds``, ``reverse`` and ``transfer`` with legs, as a user runs them."""

from __future__ import annotations

import pytest

from router.wiring import Bank
from shard.accounts import AccountStatus
from shard.ids import new_id
from tests.router.conftest import CommandLine
from tests.support.bank import open_account

END = "2090-01-01T00:00:00Z"


async def accounts_on(bank: Bank, *shards: int) -> list[str]:
    """An account with 100 EUR on each of these shards."""
    return [str(await open_account(bank.shards[shard], "100.00")) for shard in shards]


async def held(cli: CommandLine, account: str) -> str:
    """Hold 30 EUR back; the reference of the hold."""
    told = await cli("holds", "place", account, "30.00", "EUR", "--expires-at", END,
                     "--reference", f"AUTH-{new_id()}")  # fmt: skip
    assert 0 == told.code, told.stderr
    reference: str = told.document["reference"]
    return reference


async def figures(cli: CommandLine, account: str) -> tuple[str, str, str]:
    """Ledger, held and available."""
    balance = (await cli("accounts", "show", account)).document["balance"]
    return balance["ledger"], balance["held"], balance["available"]


async def test_a_hold_is_placed_and_shown(cli: CommandLine, local_bank: Bank) -> None:
    """Again with the same reference it is the same one, and says so; people see it, too."""
    account, creditor = await accounts_on(local_bank, 1, 1)
    words = ("holds", "place", account, "30.00", "EUR", "--expires-at", END,
             "--reference", "AUTH-1", "--creditor", creditor)  # fmt: skip
    placed, again = [await cli(*words) for _ in range(2)]
    shown = await cli("holds", "show", account, "AUTH-1")
    in_words = await cli.in_words("holds", "show", account, "AUTH-1")

    assert [0] * 4 == [each.code for each in (placed, again, shown, in_words)]
    assert placed.document == again.document == shown.document
    assert ("pending", "30.00", creditor) == tuple(
        placed.document[name] for name in ("state", "remaining", "creditor_account")
    )
    assert ("accepted before" in placed.stderr, "accepted before" in again.stderr) == (False, True)
    assert "pending" in in_words.stdout
    assert ("100.00", "30.00", "70.00") == await figures(cli, account)


async def test_a_hold_is_captured_increased_and_voided(cli: CommandLine, bank: Bank) -> None:
    """In parts, the second one to another shard; the rest is let go."""
    account, near, far = await accounts_on(bank, 1, 1, 2)
    hold = await held(cli, account)
    first = await cli("holds", "capture", account, hold, near, "12.00")
    more = await cli("holds", "increase", account, hold, "5.00", "--expires-at", END)
    second = await cli("holds", "capture", account, hold, far, "3.00")
    gone = await cli("holds", "void", account, hold)
    late = await cli("holds", "capture", account, hold, near, "1.00")

    assert [0] * 4 == [each.code for each in (first, more, second, gone)]
    assert ("posted", "18.00") == (
        first.document["transfer"]["money_state"],
        first.document["hold"]["remaining"],
    )
    assert ("delivered", "20.00") == (
        second.document["transfer"]["money_state"],
        second.document["hold"]["remaining"],
    )
    assert ("23.00", "voided") == (more.document["remaining"], gone.document["state"])
    assert (1, "HOLD_NOT_OPEN") == late.error
    assert ("85.00", "0.00", "85.00") == await figures(cli, account)


async def test_a_final_capture_without_amount_takes_all(cli: CommandLine, local_bank: Bank) -> None:
    """What remains is paid; in words one line says who paid whom."""
    account, creditor = await accounts_on(local_bank, 1, 1)
    hold = await held(cli, account)
    told = await cli.in_words("holds", "capture", account, hold, creditor, "--final")

    assert 0 == told.code
    assert told.stdout.startswith(f"30.00 EUR from {account} to {creditor}: posted")


async def test_expire_ends_what_is_due_on_every_shard(cli: CommandLine) -> None:
    """It says how many on each; what is not due stays."""
    told = await cli("holds", "expire")

    assert (0, {"1", "2", "3"}) == (told.code, set(told.document["shards"]))
    assert sum(told.document["shards"].values()) == told.document["expired"]


BAD_HOLDS = {
    "end without zone": (("1.00", "EUR", "--expires-at", "2090-01-01T00:00:00"), (2, "MALFORMED")),
    "end is past": (("1.00", "EUR", "--expires-at", "2020-01-01T00:00:00Z"), (1, "HOLD_EXPIRED")),
    "too much": (("100.01", "EUR", "--expires-at", END), (1, "INSUFFICIENT_FUNDS")),
    "reference": (("1.00", "EUR", "--expires-at", END, "--reference", "a b"), (2, "MALFORMED")),
}


@pytest.mark.parametrize("case", BAD_HOLDS)
async def test_a_bad_hold_is_refused(cli: CommandLine, local_bank: Bank, case: str) -> None:
    """Each has its code, and no traceback."""
    words, error = BAD_HOLDS[case]
    (account,) = await accounts_on(local_bank, 1)
    told = await cli("holds", "place", account, *words)

    assert error == told.error
    assert "Traceback" not in told.stderr


async def test_an_unknown_hold_is_not_found(cli: CommandLine, local_bank: Bank) -> None:
    """Exit code 1."""
    (account,) = await accounts_on(local_bank, 1)

    assert (1, "NOT_FOUND") == (await cli("holds", "show", account, "never")).error
    assert (1, "NOT_FOUND") == (await cli("holds", "void", account, "never")).error


async def test_a_transfer_has_legs_a_kind_and_a_position(
    cli: CommandLine, local_bank: Bank
) -> None:
    """The legs are told as they were given; a position is heeded by a forced transfer, too."""
    payer, one, other = await accounts_on(local_bank, 1, 1, 1)
    legs = ("--leg", f"{payer}=-20.00", "--leg", f"{one}=19.50", "--leg", f"{other}=0.50")
    paid = await cli("transfer", *legs, "EUR", "--reference", "LEGS-1")
    again = await cli("transfer", *legs, "EUR", "--reference", "LEGS-1")
    seq = (await cli("accounts", "show", payer)).document["balance"]["seq"]
    plain = ("transfer", payer, one, "200.00", "EUR")
    wrong = await cli(*plain, "--expected-seq", str(seq + 1))
    forced = await cli(*plain, "--kind", "chargeback", "--expected-seq", str(seq))

    assert [0, 0, 0] == [each.code for each in (paid, again, forced)]
    assert paid.document == again.document
    assert [("-20.00", payer), ("19.50", one), ("0.50", other)] == [
        (leg["amount"], leg["account"]) for leg in paid.document["legs"]
    ]
    assert (1, "SEQUENCE_MISMATCH") == wrong.error
    assert ("chargeback", "-120.00") == (
        forced.document["kind"],
        (await figures(cli, payer))[0],
    )


@pytest.mark.parametrize(
    "words",
    [
        ("1000000001", "1000000002", "1.00"),
        ("--leg", "1000000001=-1.00", "--leg", "1000000002=1.00"),
        ("--leg", "1000000001=-1.00", "--leg", "1000000002=2.00", "EUR"),
        ("--leg", "1000000001=--1.00", "--leg", "1000000002=1.00", "EUR"),
        ("1000000001", "1000000002", "1.00", "EUR", "--kind", "reversal"),
        ("1000000001", "1000000002", "1.00", "EUR", "--refrence", "R"),
    ],
    ids=" ".join,
)
async def test_a_transfer_that_is_told_wrongly_is_malformed(
    cli: CommandLine, words: tuple[str, ...]
) -> None:
    """Exit code 2, and no traceback."""
    told = await cli("transfer", *words)

    assert (2, "MALFORMED") == told.error
    assert "Traceback" not in told.stderr


async def test_a_transfer_is_reversed_in_parts_and_between_shards(
    cli: CommandLine, bank: Bank
) -> None:
    """The command waits for the money; more than was paid is refused."""
    payer, payee = await accounts_on(bank, 1, 2)
    paid = await cli("transfer", payer, payee, "20.00", "EUR", "--reference", "PAY-1")
    part = ("reverse", payer, "PAY-1", "--amount", "15.00", "--reference", "REV-1")
    first, again = [await cli(*part) for _ in range(2)]
    too_much = await cli("reverse", payer, "PAY-1", "--amount", "5.01")
    rest = await cli.in_words("reverse", payer, "PAY-1", "--amount", "5.00")

    assert [0] * 4 == [each.code for each in (paid, first, again, rest)]
    assert ("reversal", "delivered", payee) == tuple(
        first.document[name] for name in ("kind", "money_state", "debtor_account")
    )
    assert first.document == again.document
    assert (1, "REVERSAL_EXCEEDED") == too_much.error
    assert rest.stdout.startswith(f"5.00 EUR from {payee} to {payer}: delivered")
    assert ("100.00", "0.00", "100.00") == await figures(cli, payer)


async def test_a_reversal_that_came_back_is_told_as_refused(cli: CommandLine, bank: Bank) -> None:
    """Its debtor is closed on another shard: exit code 1, with the reason."""
    payer, payee, sink = await accounts_on(bank, 1, 2, 1)
    await cli("transfer", payer, payee, "20.00", "EUR", "--reference", "PAY-1")
    await cli("transfer", payer, sink, "80.00", "EUR")
    closed = await cli("accounts", "change", payer, "--status", "closed")
    told = await cli("reverse", payer, "PAY-1", "--wait", "20")

    assert (0, AccountStatus.CLOSED) == (closed.code, closed.document["status"])
    assert (1, "returned", "ACCOUNT_CLOSED") == (
        told.code, told.document["money_state"], told.document["code"]
    )  # fmt: skip


async def test_what_cannot_be_reversed_has_its_word(cli: CommandLine, local_bank: Bank) -> None:
    """An unknown transfer, and an amount that is none."""
    (account,) = await accounts_on(local_bank, 1)

    assert (1, "NOT_FOUND") == (await cli("reverse", account, "never")).error
    assert (2, "MALFORMED") == (await cli("reverse", account, "never", "--amount", "x")).error
