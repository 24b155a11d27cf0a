"""Pages and statements: nothing is left out, nothing is shown twice, whatever arrives meanwhile."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from random import Random

import pytest

from deploy.embedded.postgres import PostgresServer
from shard import statements
from shard.errors import Malformed, NotFound, NotOwner
from shard.posting import post_batch
from shard.shard import Shard
from shard.statements import EntryChunk, EntryLine, StatementBounds
from tests.shard.own_server import (
    FIRST_RANGE,
    Database,
    as_owner,
    drop_database,
    fresh_database,
    make_shard,
    opened,
)
from tests.support.bank import account_no, open_account, transfer
from tests.support.databases import Databases
from tests.support.history import Past, past_of
from tests.support.interleaving import Holder, holder, posting_connection

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
EARLIER, LATER = "2020-01-01T09:00:00Z", "2020-01-01T09:00:05Z"
_SET_CLOCK = "SELECT set_config('ledger.clock', %s, true)"
Place = tuple[int, int]


def _places(lines: list[EntryLine]) -> list[Place]:
    return [(line.bucket, line.seq) for line in lines]


async def _follow(shard: Shard, account: int, cursor: str | None, limit: int) -> list[EntryLine]:
    """All pages from a cursor on."""
    lines = []
    while True:
        page = await shard.statements.page(account, cursor=cursor, limit=limit)
        lines += page.lines
        cursor = page.next_cursor
        if cursor is None:
            return lines


async def _late(held: Holder, equity: int, account: int) -> None:
    """Book through lane 0 at the earlier time, and do not commit yet."""
    await held.execute(_SET_CLOCK, (EARLIER,))
    await held.post(transfer(equity, account, "1.00"))


async def test_a_late_commit_with_an_earlier_time_is_not_skipped(
    shards: Mapping[int, Shard], servers: Databases
) -> None:
    """A posting to another bucket that commits between two pages is in the second one, once."""
    shard, account = shards[1], await open_account(shards[1], buckets=2)
    equities = [await open_account(shard, limit=None) for _ in range(2)]
    async with (
        posting_connection(servers.shard_dsns[1]) as connection,
        holder(servers.shard_owner_dsns[1]) as held,
    ):
        await _late(held, equities[0], account)
        await connection.execute("SELECT set_config('ledger.clock', %s, false)", (LATER,))
        commands = [transfer(equities[1], account, "2.00") for _ in range(3)]
        await post_batch(connection, 1, None, commands)
        first = await shard.statements.page(account, limit=2)
        await held.commit()
        rest = await _follow(shard, account, first.next_cursor, 2)
        whole = (await shard.statements.page(account)).lines

    assert [(1, 1), (1, 2)] == _places(first.lines)
    assert [(0, 1), (1, 3)] == _places(rest)
    assert rest[0].posted_at < first.lines[0].posted_at
    assert [(0, 1), (1, 1), (1, 2), (1, 3)] == _places(whole)
    assert [2, 4, 5, 7] == [line.balance_after for line in (*first.lines, *rest)]
    assert [1, 3, 5, 7] == [line.balance_after for line in whole]


async def _random_past(past: Past, rng: Random, steps: int, buckets: int) -> None:
    for _ in range(steps):
        await past.later(rng.choice([timedelta(0), SECOND]))
        amounts = [f"{rng.randint(1, 500) / 100:.2f}" for _ in range(rng.randint(1, 3))]
        await past.receive(*amounts, lane=rng.randrange(buckets))
        if rng.random() < 0.1:
            await past.next_day(past.on + DAY)


@pytest.mark.parametrize("buckets", [1, 3])
async def test_pages_of_a_busy_account_show_each_entry_once(
    database: Database, shard: Shard, rng: Random, buckets: int
) -> None:
    """However pages and postings alternate, the pages together are the account's entries."""
    async with past_of(shard, database, buckets=buckets) as past:
        await _random_past(past, rng, 10, buckets)
        lines: list[EntryLine] = []
        cursor: str | None = None
        for limit in (1, 2, 3, 5, 1, 4):
            page = await shard.statements.page(past.account, cursor=cursor, limit=limit)
            lines += page.lines
            cursor = page.next_cursor
            assert cursor is not None
            await _random_past(past, rng, 2, buckets)
        lines += await _follow(shard, past.account, cursor, 7)
        balance = await shard.balances.get(past.account)

    per_bucket = [[seq for b, seq in _places(lines) if b == bucket] for bucket in range(buckets)]
    assert [list(range(1, len(seqs) + 1)) for seqs in per_bucket] == per_bucket
    assert balance.ledger == lines[-1].balance_after == sum(line.amount for line in lines)
    running = [line.balance_after - line.amount for line in lines[1:]]
    assert running == [line.balance_after for line in lines[:-1]]


async def test_dates_hold_across_pages(database: Database, shard: Shard) -> None:
    """Pages between two business dates start with the balance before, and end before the second."""
    async with past_of(shard, database, buckets=2) as past:
        days = []
        for n in range(4):
            days.append(past.on)
            await past.receive(str(n + 1), str(n + 1), lane=n)
            await past.later(SECOND)
            await past.next_day(past.on + DAY)
        lines, cursor = [], None
        while True:
            page = await shard.statements.page(
                past.account, from_date=days[1], to_date=days[3], cursor=cursor, limit=1
            )
            lines += page.lines
            cursor = page.next_cursor
            if cursor is None:
                break

    assert [2, 2, 3, 3] == [line.amount for line in lines]
    assert [4, 6, 9, 12] == [line.balance_after for line in lines]


def _packed(*places: tuple[int, int, int]) -> str:
    """A cursor of (bucket, days since 1970, seq) as nobody gave it out."""
    raw = b"".join(
        bucket.to_bytes(1) + days.to_bytes(2) + seq.to_bytes(6) for bucket, days, seq in places
    )
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


TODAY = (date(2026, 11, 23) - date(1970, 1, 1)).days


@pytest.mark.parametrize(
    "cursor",
    [
        pytest.param("", id="empty"),
        pytest.param("next", id="a word"),
        pytest.param("\u00e4\u00f6", id="not ascii"),
        pytest.param("2026-11-23.1.0.1", id="of another form"),
        pytest.param(_packed((0, TODAY, 99)), id="behind the end"),
        pytest.param(_packed((0, TODAY - 1, 1)), id="on another date"),
        pytest.param(_packed((1, TODAY, 1)), id="of another bucket"),
        pytest.param(_packed((0, TODAY, 1), (0, TODAY, 1)), id="a bucket twice"),
        pytest.param(_packed((1, TODAY, 1), (0, TODAY, 1)), id="out of order"),
        pytest.param(_packed((0, TODAY, 1)) + "=", id="padded"),
        pytest.param(_packed((0, 2**16 - 1, 2**48 - 1)), id="largest numbers"),
    ],
)
async def test_a_cursor_that_was_not_given_out_is_refused(
    shards: Mapping[int, Shard], cursor: str
) -> None:
    """Whatever is not a cursor of this account: Malformed, never another page."""
    account = await open_account(shards[1], "5.00")
    with pytest.raises(Malformed) as refused:
        await shards[1].statements.page(account, cursor=cursor)
    assert "/cursor" == refused.value.pointer


async def _all_lines(shard: Shard, bounds: StatementBounds) -> list[EntryLine]:
    return await _rest(shard, bounds, EntryChunk([], bounds.start))


async def _rest(shard: Shard, bounds: StatementBounds, chunk: EntryChunk) -> list[EntryLine]:
    lines = list(chunk.lines)
    while (chunk := await shard.statements.chunk(bounds, chunk.position)).lines:
        lines += chunk.lines
    assert bounds.end == chunk.position
    return lines


@pytest.mark.parametrize("buckets", [1, 4])
async def test_a_statement_is_the_entries_in_their_order(
    database: Database,
    shard: Shard,
    rng: Random,
    monkeypatch: pytest.MonkeyPatch,
    buckets: int,
) -> None:
    """Read in small chunks of each bucket, it is all entries by time, bucket and seq."""
    monkeypatch.setattr(statements, "STATEMENT_CHUNK_ROWS", 5)
    monkeypatch.setattr(statements, "STATEMENT_BUCKET_ROWS_MIN", 2)
    async with past_of(shard, database, buckets=buckets) as past:
        first = past.on
        await _random_past(past, rng, 30, buckets)
        bounds = await shard.statements.bounds(past.account, first, past.on + DAY)
        lines = await _all_lines(shard, bounds)
        expected = await _follow(shard, past.account, None, 1000)

    order = [(line.posted_at, line.bucket, line.seq) for line in lines]
    assert sorted(order) == order
    assert expected == lines
    assert bounds.opening + sum(line.amount for line in lines) == bounds.closing


async def test_a_statement_ends_where_it_was_when_it_began(
    database: Database, shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is booked while it is read is in none of its figures."""
    monkeypatch.setattr(statements, "STATEMENT_CHUNK_ROWS", 2)
    monkeypatch.setattr(statements, "STATEMENT_BUCKET_ROWS_MIN", 2)
    async with past_of(shard, database, buckets=2) as past:
        await past.receive("1", "2", "3", lane=0)
        await past.receive("4", lane=1)
        bounds = await shard.statements.bounds(past.account, None, None)
        begun = await shard.statements.chunk(bounds, bounds.start)
        await past.later(SECOND)
        await past.receive("50", lane=0)
        await past.receive("60", lane=1)
        lines = await _rest(shard, bounds, begun)

    assert [1, 2, 3, 4] == [int(line.amount) for line in lines]
    assert Decimal(10) == bounds.closing
    assert "0:3,1:1" == bounds.seq


async def test_statements_of_following_periods_join(
    database: Database, shard: Shard, rng: Random
) -> None:
    """The closing balance of one statement is the opening balance of the next one."""
    async with past_of(shard, database, buckets=2) as past:
        first = past.on
        await _random_past(past, rng, 30, 2)
        await past.next_day(past.on + 2 * DAY)
        cuts = [first - DAY, first, first + DAY, past.on, past.on + DAY]
        found = [
            await shard.statements.bounds(past.account, start, end) for start, end in pairwise(cuts)
        ]
        by_date = [await shard.balances.get(past.account, bounds.last_date) for bounds in found[1:]]
        lines = [line for bounds in found for line in await _all_lines(shard, bounds)]

    assert [0, *(bounds.closing for bounds in found)] == [
        *(bounds.opening for bounds in found), past.at_instant(past.at)[0]
    ]  # fmt: skip
    assert [(b.ledger, b.available, b.seq) for b in by_date] == [
        (bounds.closing, bounds.available, bounds.seq) for bounds in found[1:]
    ]
    assert len(past.changes) <= len(lines)


@pytest.mark.parametrize(
    ("first", "end", "expected"),
    [
        (None, None, ("2027-02-01", "2027-02-11", "2027-02-10")),
        ("2027-02-05", None, ("2027-02-05", "2027-02-11", "2027-02-10")),
        (None, "2027-02-01", ("2027-01-01", "2027-02-01", "2027-01-31")),
        (None, "2027-02-02", ("2027-02-01", "2027-02-02", "2027-02-01")),
        ("2027-02-01", "2027-03-01", ("2027-02-01", "2027-03-01", "2027-02-10")),
        ("2027-02-10", "2027-02-10", ("2027-02-10", "2027-02-10", "2027-02-09")),
    ],
)
async def test_a_statement_covers_the_month_so_far(
    own_server: PostgresServer,
    first: str | None,
    end: str | None,
    expected: tuple[str, str, str],
) -> None:
    """Dates that are left out are those of the month of the open business date, or of the end."""
    database = await fresh_database(own_server)
    await make_shard(database)
    async with opened(database) as shard:
        account = await open_account(shard)
        await shard.business_day.advance(date(2027, 2, 10))
        bounds = await shard.statements.bounds(account, _date(first), _date(end))
    await drop_database(own_server, database)

    dates = (bounds.from_date, bounds.to_date, bounds.last_date)
    assert expected == tuple(day.isoformat() for day in dates)


def _date(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)


async def test_a_statement_needs_dates_that_can_be(database: Database, shard: Shard) -> None:
    """An end before the beginning, and a beginning in the future, are malformed."""
    account = await open_account(shard)
    today = await shard.business_day.get()
    for first, end in (
        (today, today - DAY),
        (today + DAY, None),
        (today + DAY, today + 2 * DAY),
        (date.max, None),
        (date.max, date.min),
    ):
        with pytest.raises(Malformed):
            await shard.statements.bounds(account, first, end)


async def test_a_statement_is_given_by_the_owner_alone(database: Database, shard: Shard) -> None:
    """An account that moves away in the middle of its statement is not read on here."""
    with pytest.raises(NotFound):
        await shard.statements.bounds(account_no(1), None, None)
    account = await open_account(shard, "5.00")
    bounds = await shard.statements.bounds(account, None, None)
    state = "UPDATE ledger.owned_range SET state = '{}' WHERE range_id = {}"
    await as_owner(database, state.format("RELEASED", FIRST_RANGE))
    with pytest.raises(NotOwner):
        await shard.statements.bounds(account, None, None)
    with pytest.raises(NotOwner):
        await shard.statements.chunk(bounds, bounds.start)
    await as_owner(database, state.format("OWNED", FIRST_RANGE))
    assert [Decimal(5)] == [line.amount for line in await _all_lines(shard, bounds)]
