"""A state machine: whatever is asked, the shard and a ledger on one page stay alike.

A step is one thing that is asked of both: one command of a batch, one move of the clock, one
expiry, one change of an account. After each batch, sweep or change all outcomes are compared one by
one, and every balance, held amount, position, hold, cap and amount in transit.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from psycopg.types.json import Jsonb

from deploy.embedded.postgres import PostgresServer
from shard.account_numbers import suspense_account
from shard.accounts import AccountChange, AccountKind, AccountStatus, NewAccount
from shard.commands import Command
from shard.connections import Connection, connect
from shard.holds import Hold, HoldState, expiry_command
from shard.ids import new_id
from shard.named_queries import QUERIES
from shard.outcomes import Outcome
from shard.posting import post_batch
from tests.shard.drawn_commands import BATCHES, HOMES, Batch, Translator
from tests.shard.own_server import Database, drop_database, fresh_database, make_shard, opened
from tests.support.bank import account_no, again, allow_test_clock, transfer
from tests.support.model import ModelAccount, ModelLedger

SAMPLE_STEPS, FULL_STEPS = 10_000, 100_000
# On the average an example has more; how many there were is asserted in the end.
_STEPS_PER_EXAMPLE = 40
_RULES_PER_EXAMPLE = 25
_LANE = st.integers(0, 4)
_START = datetime(2031, 1, 1, tzinfo=UTC)
_Result = TypeVar("_Result")
_LIMITS = (Decimal(0), Decimal(0), Decimal(10), Decimal(0), Decimal("2.50"), None, Decimal(0))
_SURELY_TOLD = {
    Outcome.MALFORMED,
    Outcome.REFERENCE_REUSED,
    Outcome.SYSTEM_ACCOUNT,
    Outcome.ACCOUNT_UNKNOWN,
    Outcome.ACCOUNT_CLOSED,
    Outcome.ACCOUNT_FROZEN,
    Outcome.CURRENCY_MISMATCH,
    Outcome.SEQUENCE_MISMATCH,
    Outcome.HOLD_UNKNOWN,
    Outcome.HOLD_NOT_OPEN,
    Outcome.HOLD_EXPIRED,
    Outcome.HOLD_CREDITOR_MISMATCH,
    Outcome.HOLD_EXCEEDED,
    Outcome.NOT_REVERSIBLE,
    Outcome.REVERSAL_EXCEEDED,
    Outcome.INSUFFICIENT_FUNDS,
    Outcome.ATOMIC_ABORTED,
    Outcome.POSTED,
}


class Desk:
    """One connection to a shard of its own, used from code that is not asynchronous.

    Hypothesis runs its machines without an event loop, so the desk has one for itself.
    """

    def __init__(self, dsn: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._dsn = dsn
        self._connection: Connection = self._run(connect(dsn, is_serving=True))
        self.steps = 0
        self.told: Counter[Outcome] = Counter()

    def close(self) -> None:
        """Let go of the connection."""
        self._run(self._connection.close())
        self._loop.close()

    def rows(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """The rows of any statement."""
        return self._run(self._rows(statement, parameters))

    def looks(self, *statements: str, own: Sequence[int]) -> list[list[tuple[Any, ...]]]:
        """The rows of several statements about accounts, in one round trip."""
        return self._run(self._looks(statements, list(own)))

    def post(self, lane: int, commands: Sequence[Command], *, is_atomic: bool) -> list[Outcome]:
        """Post one batch."""
        answers = self._run(
            post_batch(self._connection, lane, new_id(), commands, is_atomic=is_atomic)
        )
        told = [answer.outcome for answer in answers]
        self.steps += len(told)
        self.told.update(told)
        return told

    def set_clock(self, at: datetime) -> None:
        """Let the ledger's clock stand at ``at``."""
        self.rows("SELECT set_config('ledger.clock', %s, false)", at.isoformat())

    def open(self, accounts: Sequence[NewAccount]) -> None:
        """Open accounts."""
        rows = self.rows(
            QUERIES["open_accounts"],
            [a.account_no for a in accounts],
            [a.currency for a in accounts],
            [a.kind.value for a in accounts],
            [a.overdraft_limit for a in accounts],
            [a.minimum_balance for a in accounts],
            [a.bucket_count for a in accounts],
            *[[None] * len(accounts)] * 3,
            [None] * len(accounts),
            [a.request_hash for a in accounts],
            "t",
        )
        assert {("POSTED",)} == set(rows)

    def change(self, account: int, change: AccountChange) -> Outcome:
        """Change an account."""
        metadata = Jsonb(dict(change.metadata)) if change.metadata is not None else None
        ((told,),) = self.rows(
            QUERIES["change_account"], account, change.status and change.status.value,
            change.credits_when_frozen, change.overdraft_limit, change.minimum_balance, metadata,
            "t", "t",
        )  # fmt: skip
        self.steps += 1
        return Outcome(told)

    def due(self) -> list[Hold]:
        """The holds whose time is up, as a sweep would find them."""
        rows = self.rows(QUERIES["due_holds"], 100_000)
        return [_hold(row) for row in rows]

    async def _rows(self, statement: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        cursor = await self._connection.execute(statement.encode(), parameters)
        return await cursor.fetchall()

    async def _looks(
        self, statements: Sequence[str], own: list[int]
    ) -> list[list[tuple[Any, ...]]]:
        async with self._connection.pipeline():
            cursors = [await self._connection.execute(each.encode(), (own,)) for each in statements]
            return [await cursor.fetchall() for cursor in cursors]

    def _run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return self._loop.run_until_complete(work)


def _hold(row: tuple[Any, ...]) -> Hold:
    number, reference, currency, amount, captured, state, *rest = row
    return Hold(number, reference, currency, amount, captured, HoldState(state), *rest)


def _new(number: int, **fields: object) -> NewAccount:
    new = NewAccount(number, "EUR", AccountKind.CUSTOMER, None, Decimal(0), b"t")
    return replace(new, **fields)  # type: ignore[arg-type]  # the callers name the fields


_BALANCES = """
SELECT account_no, sum(ledger), sum(held), CASE WHEN count(*) = 1 THEN sum(seq) END
FROM ledger.balance WHERE account_no = ANY (%s) GROUP BY account_no
"""
_HOLDS = """
SELECT account_no, reference, amount, captured, state, expires_at, creditor
FROM ledger.hold WHERE account_no = ANY (%s)
"""
_CAPS = """
SELECT account_no, credit_id, reversed FROM ledger.reversed_credit
WHERE account_no = ANY (%s) AND reversed > 0
"""
_IN_TRANSIT = """
SELECT debtor, sum(amount) FROM ledger.suspense_item WHERE debtor = ANY (%s) GROUP BY debtor
"""


class LedgerMachine(RuleBasedStateMachine):
    """Asks the same of a shard and of the model."""

    desk: Desk

    def __init__(self) -> None:
        super().__init__()
        self.model = ModelLedger(clock=_START)
        self.numbers = {"abroad": account_no(2), "system": suspense_account(1, "EUR")}
        self.translator = Translator(self.model, self.numbers)
        self.batches: list[list[Command]] = []

    @initialize()
    def open_accounts(self) -> None:
        """Accounts of every kind, with money that came in through several lanes."""
        self.desk.set_clock(self.model.clock)
        own = {name: account_no(1) for name in (*HOMES, "dollars", "closed", "unknown")}
        self.numbers |= own
        buckets = [4 if name.startswith("bucketed") else 1 for name in HOMES]
        self.desk.open([
            _new(own[name], overdraft_limit=limit, bucket_count=count,
                 minimum_balance=Decimal(3 if name == "minimum" else 0))
            for name, limit, count in zip(HOMES, _LIMITS, buckets, strict=True)
        ] + [_new(own["dollars"], currency="USD"), _new(own["closed"])])  # fmt: skip
        self.desk.change(own["closed"], AccountChange(status=AccountStatus.CLOSED))
        model = self.model.accounts
        model[own["dollars"]] = ModelAccount(currency="USD")
        model[own["closed"]] = ModelAccount(status=AccountStatus.CLOSED)
        for name, limit, count in zip(HOMES, _LIMITS, buckets, strict=True):
            minimum = Decimal(3 if name == "minimum" else 0)
            model[own[name]] = ModelAccount(limit=limit, minimum=minimum, has_one_bucket=count == 1)
        funded = ("plain", "minimum", "bucketed", "bucketed", "bucketed overdraft")
        for lane, name in enumerate(funded):
            self._both(lane, [transfer(own["no floor"], own[name], "12.00", f"FUND-{lane}")])

    @rule(batch=BATCHES)
    def post(self, batch: Batch) -> None:
        """A batch of commands of all kinds through one lane, or all of them or none."""
        self._both(batch.lane, self.translator.commands(batch), is_atomic=batch.is_atomic)

    @rule(back=st.integers(1, 5), lane=_LANE, is_atomic=st.booleans())
    def repeat(self, back: int, lane: int, is_atomic: bool) -> None:
        """A client that heard nothing sends a batch again, and it finds another lane."""
        if self.batches:
            commands = [again(command) for command in self.batches[-back:][0]]
            self._both(lane, commands, is_atomic=is_atomic)

    @rule(seconds=st.sampled_from([1, 29, 30, 60, 600]), sweeps=st.booleans(), lane=_LANE)
    def wait(self, seconds: int, sweeps: bool, lane: int) -> None:
        """The clock moves on; a sweep finds all holds whose time is up, and leaves none."""
        self.model.clock += timedelta(seconds=seconds)
        self.desk.set_clock(self.model.clock)
        self.desk.steps += 1
        due = [hold for hold in self.desk.due() if hold.account_no in self.numbers.values()]
        assert self.model.due() == {(hold.account_no, hold.reference) for hold in due}
        if sweeps and due:
            told = self._both(lane, [expiry_command(hold) for hold in due])
            assert {Outcome.POSTED} == set(told)
            assert set() == self.model.due()

    @rule(
        name=st.sampled_from(HOMES),
        status=st.sampled_from([None, "open", "open", "open", "frozen", "closed"]),
        credits_when_frozen=st.sampled_from([None, True, False]),
        limit=st.sampled_from([None, None, "0", "5"]),
        minimum=st.sampled_from([None, None, "0", "4"]),
    )
    def change(
        self,
        name: str,
        status: str | None,
        credits_when_frozen: bool | None,
        limit: str | None,
        minimum: str | None,
    ) -> None:
        """An account is frozen, opened again, closed, or gets another floor."""
        change = AccountChange(
            status=AccountStatus(status) if status else None,
            credits_when_frozen=credits_when_frozen,
            overdraft_limit=Decimal(limit) if limit else None,
            minimum_balance=Decimal(minimum) if minimum else None,
        )
        number = self.numbers[name]
        assert self.model.change(number, change) == self.desk.change(number, change)

    @invariant()
    def books_are_alike(self) -> None:
        """Balances, held amounts, positions, holds, caps and amounts in transit agree."""
        model, own = self.model, [self.numbers[name] for name in HOMES if name in self.numbers]
        balances, holds, caps, items = self.desk.looks(
            _BALANCES, _HOLDS, _CAPS, _IN_TRANSIT, own=own
        )
        assert {
            number: (a.balance, a.held, a.seq if a.has_one_bucket else None)
            for number, a in model.accounts.items()
            if number in own
        } == {number: tuple(figures) for number, *figures in balances}
        assert {
            key: (h.amount, h.captured, h.state, h.expires_at, h.creditor)
            for key, h in model.holds.items()
        } == {(number, name): tuple(hold) for number, name, *hold in holds}
        assert model.reversed == {(number, each): taken for number, each, taken in caps}
        assert model.in_transit == dict(items)

    def _both(
        self, lane: int, commands: list[Command], *, is_atomic: bool = False
    ) -> list[Outcome]:
        self.batches.append(commands)
        told = self.desk.post(lane, commands, is_atomic=is_atomic)
        assert self.model.post_batch(commands, is_atomic=is_atomic) == told
        return told


@pytest.fixture
async def own_books(own_server: PostgresServer) -> AsyncIterator[Database]:
    """A shard of its own: its clock goes to another year. In the end its books are right."""
    database = await fresh_database(own_server)
    await make_shard(database)
    await allow_test_clock(database.owner_dsn)
    yield database
    async with opened(database) as shard:
        assert [] == await shard.invariants.check()
    await drop_database(own_server, database)


@pytest.fixture
def desk(own_books: Database) -> Iterator[Desk]:
    """A connection for all runs: it keeps its plans."""
    opened_desk = Desk(own_books.dsn)
    yield opened_desk
    opened_desk.close()


def test_the_ledger_stays_like_its_model(desk: Desk, is_full: bool) -> None:
    """Over 10,000 steps of any kind, 100,000 in the long form, nothing tells the two apart."""
    steps = FULL_STEPS if is_full else SAMPLE_STEPS

    class Machine(LedgerMachine):
        pass

    Machine.desk = desk
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=steps // _STEPS_PER_EXAMPLE,
            stateful_step_count=_RULES_PER_EXAMPLE,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )

    print(f"{desk.steps} steps; told: {dict(desk.told)}")  # noqa: T201  shown with -s only
    assert steps <= desk.steps
    assert _SURELY_TOLD <= set(desk.told)
