"""Opening the demonstration's bank: accounts in bulk, opening balances, closed accounts."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal

from router.accounts import Opening
from router.cli.demo.cast import CURRENCY, EMPLOYER_NAME, Cast, choose_cast, equity_accounts
from router.cli.demo.size import DemoSize
from router.cli.progress import Steps
from router.limits import OPENING_CHUNK_ACCOUNTS, RESERVATION_CHUNK_ACCOUNTS
from router.wiring import Bank
from shard.accounts import AccountKind, AccountStatus
from shard.commands import Command, Leg, Origin
from shard.errors import LedgerError
from shard.ids import new_id
from shard.money import format_amount
from shard.outcomes import Outcome
from shard.references import request_hash

_ACTOR = "demo"
_BANK_ITSELF = "BANK"
_EMPLOYER = "EMPLOYER-1"


async def open_bank(bank: Bank, size: DemoSize, steps: Steps) -> Cast:
    """Open every account and book every opening balance; raises ``LedgerError``."""
    await bank.routes.refresh()
    ranges = bank.routes.range_map
    # First of all, because they ask for the lowest numbers.
    own = [
        *(_equity(shard, account_no) for shard, account_no in equity_accounts(ranges).items()),
        Opening(_EMPLOYER, "payroll", CURRENCY, name=EMPLOYER_NAME),
    ]
    employer = (await bank.accounts.open_many(own, actor=_ACTOR))[-1]
    accounts = await _open_accounts(bank, _customers(size), steps)
    cast = choose_cast(size, ranges, employer, accounts)
    await _book_opening_balances(bank, cast, steps)
    for account_no in cast.closed:
        await bank.accounts.change_status(
            account_no, AccountStatus.CLOSED, actor=_ACTOR, reason="The customer has moved away."
        )
    return cast


def _customers(size: DemoSize) -> list[Opening]:
    """First every customer's first account, then the second ones, and so on."""
    return [
        Opening(
            customer=f"C-{n % size.customers + 1:06d}",
            reference=f"account-{n // size.customers + 1}",
            currency=CURRENCY,
            name=f"Customer {n % size.customers + 1}",
        )
        for n in range(size.accounts)
    ]


def _equity(shard: int, account_no: int) -> Opening:
    return Opening(
        customer=_BANK_ITSELF,
        reference=f"equity-{shard}-{CURRENCY}",
        currency=CURRENCY,
        kind=AccountKind.EQUITY,
        name=f"Equity on shard {shard}",
        overdraft_limit=None,
        account_no=account_no,
    )


async def _open_accounts(bank: Bank, openings: Sequence[Opening], steps: Steps) -> list[int]:
    numbers: list[int] = []
    with steps.step("Opening accounts", len(openings)) as step:
        for start in range(0, len(openings), RESERVATION_CHUNK_ACCOUNTS):
            chunk = openings[start : start + RESERVATION_CHUNK_ACCOUNTS]

            def opened(done: int, _: int, before: int = start) -> None:
                step.at(before + done)

            numbers += await bank.accounts.open_many(chunk, actor=_ACTOR, progress=opened)
    return numbers


async def _book_opening_balances(bank: Bank, cast: Cast, steps: Steps) -> None:
    by_shard: dict[int, list[Command]] = defaultdict(list)
    for account_no, amount in cast.opening_balances.items():
        shard = cast.shard_of(account_no)
        by_shard[shard].append(_opening_balance(cast.equity[shard], account_no, amount))
    booked = 0
    with steps.step("Booking opening balances", len(cast.opening_balances)) as step:

        async def book(shard: int, commands: Sequence[Command]) -> None:
            nonlocal booked
            for start in range(0, len(commands), OPENING_CHUNK_ACCOUNTS):
                chunk = commands[start : start + OPENING_CHUNK_ACCOUNTS]
                for answer in await bank.shards[shard].lanes.post_many(chunk):
                    if answer.outcome is not Outcome.POSTED:
                        raise LedgerError(f"An opening balance was refused: {answer.outcome}.")
                booked += len(chunk)
                step.at(booked)

        async with asyncio.TaskGroup() as group:
            for shard, commands in by_shard.items():
                group.create_task(book(shard, commands))


def _opening_balance(equity: int, account_no: int, amount: Decimal) -> Command:
    fields = {"account": str(account_no), "amount": format_amount(amount, CURRENCY)}
    return Command(
        home=equity,
        origin=Origin.SYSTEM,
        reference=f"opening:{account_no}",
        transfer_id=new_id(),
        request_hash=request_hash("opening/1", fields),
        currency=CURRENCY,
        amount=amount,
        creditor=account_no,
        legs=(Leg(equity, -amount, account_no), Leg(account_no, amount, equity)),
        narrative="Opening balance",
    )
