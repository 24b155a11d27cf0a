"""Who owns an account is decided by the shard, under the range lock, at the last moment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from shard.accounts import AccountKind, AccountStatus, NewAccount
from shard.commands import Origin
from shard.errors import NotFound, NotOwner, RangeMoving
from shard.outcomes import Outcome
from shard.ownership import RangeState
from shard.posting import post_batch
from tests.shard.own_server import FIRST_RANGE, SECOND_RANGE, OwnShard, open_in_second_range
from tests.support.bank import account_no, figures, open_account, transfer
from tests.support.interleaving import holder, posting_connection


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a range, and what whoever waited for its lock is told."""

    state: RangeState
    next_owner: int | None
    outcome: Outcome


CHANGES = (
    Change(RangeState.FENCED, 2, Outcome.RANGE_MOVING),
    Change(RangeState.RELEASED, 3, Outcome.NOT_OWNER),
    Change(RangeState.RELEASED, None, Outcome.NOT_OWNER),
    Change(RangeState.INCOMING, None, Outcome.NOT_OWNER),
)


@pytest.mark.parametrize("change", CHANGES, ids=lambda c: f"{c.state}-{c.next_owner}")
async def test_a_posting_that_waited_sees_the_new_owner(change: Change, own: OwnShard) -> None:
    """Ownership that changes while a posting waits for the range lock is obeyed."""
    debtor, creditor = await open_account(own.shard, "100"), await open_account(own.shard)
    async with (
        posting_connection(own.database.dsn) as connection,
        holder(own.database.owner_dsn) as held,
    ):
        epoch = await held.change_range(FIRST_RANGE, change.state, change.next_owner)
        task = held.start(post_batch(connection, 0, None, [transfer(debtor, creditor, "1")]))
        await held.until_blocks(task)
        await held.commit()
        (answer,) = await task

    assert change.outcome is answer.outcome
    named = (answer.foreign_account, answer.next_owner, answer.epoch)
    assert (debtor, change.next_owner, epoch) == named
    assert await _is_unmoved(own, debtor)


async def test_a_fence_that_is_given_up_stops_nobody(own: OwnShard) -> None:
    """A posting that waited for a fence which rolled back is booked."""
    debtor, creditor = await open_account(own.shard, "100"), await open_account(own.shard)
    async with (
        posting_connection(own.database.dsn) as connection,
        holder(own.database.owner_dsn) as held,
    ):
        await held.change_range(FIRST_RANGE, RangeState.FENCED, 2)
        task = held.start(post_batch(connection, 0, None, [transfer(debtor, creditor, "1")]))
        await held.until_blocks(task)
        await held.rollback()
        (answer,) = await task

    assert Outcome.POSTED is answer.outcome


async def test_a_fence_waits_for_postings_that_began_before_it(own: OwnShard) -> None:
    """A range is fenced only when no posting that saw it owned is half way across."""
    debtor, creditor = await open_account(own.shard, "100"), await open_account(own.shard)
    async with (
        posting_connection(own.database.dsn) as connection,
        holder(own.database.owner_dsn) as fence,
        holder(own.database.owner_dsn) as held,
    ):
        await held.lock_balance(debtor)
        task = held.start(post_batch(connection, 0, None, [transfer(debtor, creditor, "1")]))
        await held.until_blocks(task)
        fencing = held.start(fence.change_range(FIRST_RANGE, RangeState.FENCED, 2))
        await held.until_blocks(task, fencing)
        await held.rollback()
        (answer,) = await task
        await fencing
        await fence.commit()

    assert Outcome.POSTED is answer.outcome


async def test_only_commands_that_touch_the_range_are_stopped(own: OwnShard) -> None:
    """In one batch, commands of another range are booked beside those that are refused."""
    here, there = await open_account(own.shard, "100"), await open_account(own.shard)
    elsewhere = await open_in_second_range(own)
    async with holder(own.database.owner_dsn) as held:
        await held.change_range(SECOND_RANGE, RangeState.FENCED, 2)
        await held.commit()
    async with posting_connection(own.database.dsn) as connection:
        commands = [transfer(here, elsewhere, "1"), transfer(here, there, "1")]
        answers = await post_batch(connection, 0, None, commands)

    assert [Outcome.RANGE_MOVING, Outcome.POSTED] == [answer.outcome for answer in answers]
    assert elsewhere == answers[0].foreign_account


async def test_the_account_named_is_the_one_the_outcome_speaks_of(own: OwnShard) -> None:
    """NOT_OWNER names the account that is not owned, not another one that is only fenced."""
    here, released = await open_account(own.shard, "100"), await open_in_second_range(own)
    async with holder(own.database.owner_dsn) as held:
        await held.change_range(FIRST_RANGE, RangeState.FENCED, 2)
        epoch = await held.change_range(SECOND_RANGE, RangeState.RELEASED, 3)
        await held.commit()
    async with posting_connection(own.database.dsn) as connection:
        (answer,) = await post_batch(connection, 0, None, [transfer(here, released, "1")])

    named = (answer.outcome, answer.foreign_account, answer.next_owner, answer.epoch)
    assert (Outcome.NOT_OWNER, released, 3, epoch) == named


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
async def test_a_posting_refuses_a_stale_snapshot(level: str, own: OwnShard) -> None:
    """At a higher isolation, what is read after a lock wait would be stale: nothing is booked."""
    debtor, creditor = await open_account(own.shard, "100"), await open_account(own.shard)
    async with posting_connection(own.database.dsn) as connection:
        await connection.execute(f"SET default_transaction_isolation = '{level}'".encode())
        with pytest.raises(psycopg.DatabaseError) as failure:
            await post_batch(connection, 0, None, [transfer(debtor, creditor, "1")])

    assert "LG101" == failure.value.diag.sqlstate
    assert await _is_unmoved(own, debtor)


READS: dict[str, Callable[[OwnShard, int], Awaitable[object]]] = {
    "account": lambda own, number: own.shard.accounts.get(number),
    "balance": lambda own, number: own.shard.balances.get(number),
    "statement": lambda own, number: own.shard.statements.page(number),
    "transfer": lambda own, number: own.shard.transfers.get(number, Origin.CLIENT, "R-1"),
    "payment file": lambda own, number: own.shard.payment_files.get(number, "F-1"),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
async def test_nothing_is_read_after_ownership_is_lost(
    read: Callable[[OwnShard, int], Awaitable[object]], own: OwnShard
) -> None:
    """A shard serves no read for what it no longer owns, and says who owns it now."""
    debtor, creditor = await open_account(own.shard, "100"), await open_account(own.shard)
    await own.shard.lanes.post(transfer(debtor, creditor, "1", "R-1"))
    await _register(own, debtor)
    await read(own, debtor)

    epoch = await _change(own, RangeState.RELEASED, 2)

    with pytest.raises(NotOwner) as told:
        await read(own, debtor)
    error = told.value
    assert (debtor, 2, epoch) == (error.account_no, error.next_owner, error.epoch)


async def test_a_fenced_range_is_still_read(own: OwnShard) -> None:
    """Until a range is released, its last state is read here."""
    account = await open_account(own.shard, "100")
    await _change(own, RangeState.FENCED, 2)

    assert 1 == (await figures(own.shard, account)).entries


async def test_accounts_are_not_opened_or_changed_while_their_range_moves(own: OwnShard) -> None:
    """Whatever writes by account number takes the range lock and asks for ownership."""
    account = await open_account(own.shard)
    kind = AccountKind.CUSTOMER
    opening = NewAccount(account_no(1), "EUR", kind, "C-1", Decimal(0), b"t")
    async with holder(own.database.owner_dsn) as held:
        await held.change_range(FIRST_RANGE, RangeState.FENCED, 2)
        tasks: list[Any] = [
            held.start(own.shard.accounts.open_many([opening])),
            held.start(_freeze(own, account)),
            held.start(_register(own, account)),
        ]
        await held.until_blocks(*tasks)
        await held.commit()

        assert [Outcome.RANGE_MOVING] == await tasks[0]
        for task in tasks[1:]:
            with pytest.raises(RangeMoving):
                await task
    # A fenced range is still read, so what had been written would be seen.
    assert AccountStatus.OPEN is (await own.shard.accounts.get(account)).status
    with pytest.raises(NotFound):
        await own.shard.accounts.get(opening.account_no)
    with pytest.raises(NotFound):
        await own.shard.payment_files.get(account, "F-1")


async def _change(own: OwnShard, state: RangeState, next_owner: int) -> int:
    async with holder(own.database.owner_dsn) as held:
        epoch = await held.change_range(FIRST_RANGE, state, next_owner)
        await held.commit()
    return epoch


async def _freeze(own: OwnShard, account: int) -> None:
    await own.shard.accounts.change_status(account, AccountStatus.FROZEN, actor="t", reason="t")


async def _register(own: OwnShard, account: int) -> None:
    await own.shard.payment_files.register(
        account, "F-1", file_hash=b"f", line_count=1, control_sum=Decimal(1), currency="EUR"
    )


async def _is_unmoved(own: OwnShard, account: int) -> bool:
    """Whether the account still has just its opening balance, whoever owns it."""
    async with holder(own.database.owner_dsn) as look:
        rows = await look.execute(
            "SELECT ledger, seq FROM ledger.balance WHERE account_no = %s", (account,)
        )
    return rows == [(100, 1)]
