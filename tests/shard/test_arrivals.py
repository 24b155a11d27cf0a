"""Deliveries in columns book, refuse and replay just what deliveries by commands do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from sagas.control_points import ControlPoint
from sagas.deliveries import cargo_hashes, delivery_command, recall_command
from shard.accounts import AccountStatus
from shard.cargo import Arrival, Cargo
from shard.commands import Answer, Kind, MoneyState, Origin
from shard.errors import LedgerError, Malformed, OutcomeUnknown, ShardUnavailable
from shard.ids import new_id
from shard.money import format_amount
from shard.outcomes import MEANINGS, Outcome
from shard.shard import Shard
from shard.suspense import Carrier, SuspenseItem
from tests.shard.own_server import SECOND_RANGE, OwnShard, as_owner, open_in_second_range
from tests.support.bank import BUSINESS_DATE, Figures, account_no, figures, open_account
from tests.support.gates import Action, Strike
from tests.support.interleaving import holder

SOURCE = 2
"""The shard that the money comes from; it takes no part."""
PARKED_AT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
TEXTS = ('"so", she said', "back\\slash", "{a,b}", "NULL", "", "Zoë: 東京 🏦")
Change = Callable[[SuspenseItem], SuspenseItem]


def item_for(target: int, amount: str = "20.00", **changes: Any) -> SuspenseItem:
    """An amount that was parked on the source for an account of the own shard."""
    item = SuspenseItem(
        item_id=new_id(),
        attempt=1,
        debtor=account_no(SOURCE),
        origin=Origin.CLIENT,
        reference="PAY-17",
        transfer_id=new_id(),
        target=target,
        amount=Decimal(amount),
        currency="EUR",
        business_date=BUSINESS_DATE,
        value_date=BUSINESS_DATE,
        convoy=new_id(),
        carrier=Carrier.CONVOY,
        parked_at=PARKED_AT,
        narrative=None,
        last_refusal=None,
    )
    return replace(item, **changes)


def cargo_of(items: Sequence[SuspenseItem]) -> Cargo:
    """The items in columns."""
    return Cargo.of_rows(
        [
            (
                str(item.item_id),
                str(item.attempt),
                str(item.target),
                str(item.debtor),
                str(item.transfer_id),
                Kind.RETURN.value if item.is_return else item.kind.value,
                item.currency,
                format_amount(item.amount, item.currency),
                str(item.business_date),
                str(item.value_date),
                item.reference,
                item.trace_id,
                item.narrative,
                item.parked_at.timestamp(),
            )
            for item in items
        ]
    )


async def arrive(own: OwnShard, *items: SuspenseItem) -> list[Arrival]:
    """Deliver items in columns."""
    cargo = cargo_of(items)
    return await own.shard.arrivals.deliver(SOURCE, cargo, cargo_hashes(cargo))


async def in_columns(own: OwnShard, *items: SuspenseItem) -> list[Answer]:
    """Deliver items in columns; each one's answer."""
    arrivals = await arrive(own, *items)
    told = {place: arrival.answer for arrival in arrivals for place in arrival.places}
    assert len(told) == sum(len(arrival.places) for arrival in arrivals)
    return [told[place] for place in range(len(items))]


async def by_commands(own: OwnShard, *items: SuspenseItem) -> list[Answer]:
    """Deliver items through the lanes; each one's answer, which names no transfer."""
    commands = [delivery_command(item, source=SOURCE, destination=1) for item in items]
    answers = await own.shard.lanes.post_many(commands)
    return [replace(answer, transfer_id=None) for answer in answers]


WAYS = {"columns": in_columns, "commands": by_commands}
_KEY = "account_no = %s AND origin = 'delivery' AND reference = %s"
_ROWS = {
    "transfer": "SELECT (to_jsonb(t) - '{request_hash,posted_at}'::text[])::text"
    f" FROM ledger.transfer AS t WHERE {_KEY}",
    "narrative": f"SELECT to_jsonb(n)::text FROM ledger.narrative AS n WHERE {_KEY}",
    "event": f"SELECT to_jsonb(v)::text FROM ledger.transfer_event AS v WHERE {_KEY}",
    # What stands on a system account depends on the lane, and on what else was booked there.
    "entry": "SELECT (to_jsonb(e) - '{posted_at,transaction_id}'::text[]"
    " - CASE WHEN e.account_no < 1000000000 THEN ARRAY['bucket', 'seq', 'ledger_after']"
    " ELSE '{}' END)::text FROM ledger.entry AS e"
    " WHERE e.home = %s AND e.origin = 'delivery' AND e.reference = %s ORDER BY e.account_no",
}


async def written(own: OwnShard, item: SuspenseItem) -> dict[str, list[str]]:
    """All that is written of an item's delivery, in words that are the same for its twin."""
    words = {
        str(item.item_id): "ITEM",
        str(item.transfer_id): "TRANSFER",
        str(item.target): "TARGET",
        str(item.debtor): "DEBTOR",
    }
    found: dict[str, list[str]] = {}
    async with holder(own.database.owner_dsn) as look:
        for table, query in _ROWS.items():
            found[table] = []
            for (text,) in await look.execute(query, (item.target, item.delivery_reference)):
                for value, word in words.items():
                    text = text.replace(value, word)
                found[table].append(text)
    return found


async def twins(own: OwnShard, change: Change, currency: str) -> tuple[SuspenseItem, SuspenseItem]:
    """Two items that are alike, for two accounts that are alike."""
    pair = []
    for _ in "ab":
        target = await open_account(own.shard, "100", currency=currency)
        pair.append(change(item_for(target, currency=currency)))
    return pair[0], pair[1]


def changed(**changes: Any) -> Change:
    """An item with these fields."""
    return lambda item: replace(item, **changes)


def going_back(item: SuspenseItem) -> SuspenseItem:
    """An item in its second attempt, to its debtor."""
    return replace(
        item, attempt=2, debtor=item.target, last_refusal=Outcome.ACCOUNT_CLOSED, kind=Kind.FORCED
    )


SHAPES: dict[str, tuple[str, Change]] = {
    "ordinary": ("EUR", changed()),
    "forced": ("EUR", changed(kind=Kind.FORCED)),
    "of a reversal": ("EUR", changed(kind=Kind.RETURN)),
    "on its way back": ("EUR", going_back),
    "a later attempt": ("EUR", changed(attempt=17)),
    "a trace": ("EUR", changed(trace_id='00-4bf92f3577b34da6a3ce929d0e0e4736 "\\{},NULL')),
    "a trace that looks like none": ("EUR", changed(trace_id="NULL")),
    "an empty trace": ("EUR", changed(trace_id="")),
    "another reference": ("EUR", changed(reference="a.b_c:d-1")),
    "a reference that looks like none": ("EUR", changed(reference="NULL")),
    "a value date": ("EUR", changed(value_date=date(2026, 12, 1))),
    "an earlier debit": ("EUR", changed(business_date=BUSINESS_DATE - timedelta(days=3))),
    "no decimals": ("JPY", changed(amount=Decimal(7))),
    "three decimals": ("KWD", changed(amount=Decimal("0.001"))),
    "four decimals": ("CLF", changed(amount=Decimal("1.0001"))),
    "the largest amount": ("EUR", changed(amount=Decimal("99999999999000.99"))),
    **{f"narrative {text!r}": ("EUR", changed(narrative=text)) for text in TEXTS},
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
async def test_both_ways_write_the_same(own: OwnShard, shape: tuple[str, Change]) -> None:
    """Transfer, entries, narrative and details of two items that are alike, field by field."""
    currency, change = shape
    one, other = await twins(own, change, currency)

    (in_columns_told,) = await in_columns(own, one)
    (by_command_told,) = await by_commands(own, other)

    assert Outcome.POSTED is in_columns_told.outcome
    assert replace(by_command_told, posted_at=None) == replace(in_columns_told, posted_at=None)
    assert await written(own, other) == (wrote := await written(own, one))
    assert (1, 2) == (len(wrote["transfer"]), len(wrote["entry"]))
    balances = [await own.shard.balances.get(item.target) for item in (one, other)]
    assert balances[0].ledger == balances[1].ledger == 100 + one.amount


@pytest.mark.parametrize("second", WAYS)
@pytest.mark.parametrize("first", WAYS)
@pytest.mark.parametrize("is_refused", [False, True], ids=["booked", "refused"])
async def test_each_way_finds_what_the_other_has_done(
    own: OwnShard, first: str, second: str, is_refused: bool
) -> None:
    """The same reference with the same hash: a replay with the same answer."""
    target = await open_account(own.shard)
    if is_refused:
        await own.shard.accounts.change_status(target, AccountStatus.CLOSED, actor="t", reason="t")
    item = item_for(target, narrative="Rent", trace_id="trace")

    (told,) = await WAYS[first](own, item)
    (found,) = await WAYS[second](own, item)

    outcome = Outcome.ACCOUNT_CLOSED if is_refused else Outcome.POSTED
    assert (outcome, False) == (told.outcome, told.is_replay)
    assert replace(told, is_replay=True) == found
    expected = Figures(Decimal(0), 0) if is_refused else Figures(Decimal(20), 1)
    assert expected == await figures(own.shard, target)


async def refused_items(own: OwnShard) -> dict[Outcome, SuspenseItem]:
    """An item for every reason why a delivery may be refused, by the reason."""
    closed, frozen = await open_account(own.shard), await open_account(own.shard)
    for account, status in ((closed, AccountStatus.CLOSED), (frozen, AccountStatus.FROZEN)):
        await own.shard.accounts.change_status(account, status, actor="t", reason="t")
    target = await open_account(own.shard)
    recalled, reused = item_for(target), item_for(target)
    tombstone = recall_command(recalled, details={})
    await own.shard.lanes.post(tombstone)
    other = delivery_command(replace(reused, amount=Decimal(1)), source=SOURCE, destination=1)
    await own.shard.lanes.post(other)
    moving = await open_in_second_range(own)
    await as_owner(
        own.database,
        f"UPDATE ledger.owned_range SET state = 'FENCED' WHERE range_id = {SECOND_RANGE}",
    )
    return {
        Outcome.NOT_OWNER: item_for(account_no(3)),
        Outcome.RANGE_MOVING: item_for(moving),
        Outcome.DATE_NOT_OPEN: item_for(target, business_date=BUSINESS_DATE + timedelta(days=1)),
        Outcome.REFERENCE_REUSED: reused,
        Outcome.ACCOUNT_UNKNOWN: item_for(account_no(1)),
        Outcome.ACCOUNT_CLOSED: item_for(closed),
        Outcome.ACCOUNT_FROZEN: item_for(frozen),
        Outcome.CURRENCY_MISMATCH: item_for(target, currency="USD"),
        Outcome.LIMIT_EXCEEDED: item_for(await open_account(own.shard, "99999999999990.00")),
        Outcome.RECALLED: recalled,
    }


async def test_refusals_of_all_kinds_disturb_nobody(own: OwnShard) -> None:
    """Each is told of its own places, as the lanes would tell it, and all others are booked."""
    refused = await refused_items(own)
    target = await open_account(own.shard)
    sound = [item_for(target, "1.00", narrative=f"no. {n}") for n in range(len(refused) + 1)]
    items = [sound[0]]
    for bad, good in zip(refused.values(), sound[1:], strict=True):
        items += [bad, good]

    arrivals = await arrive(own, *items)

    told = {place: arrival.answer for arrival in arrivals for place in arrival.places}
    assert list(range(len(items))) == sorted(told)
    by_outcome = {arrival.answer.outcome: sorted(arrival.places) for arrival in arrivals}
    odd = {outcome: [2 * n + 1] for n, outcome in enumerate(refused)}
    assert {Outcome.POSTED: list(range(0, len(items), 2)), **odd} == by_outcome
    assert Figures(Decimal(len(sound)), len(sound)) == await figures(own.shard, target)

    found = await by_commands(own, *items)
    for place, answer in told.items():
        if MEANINGS[answer.outcome].is_stored_for_deliveries:
            assert replace(answer, is_replay=True) == found[place]
        elif answer.outcome is Outcome.REFERENCE_REUSED:
            assert answer == found[place]
        else:
            # Nothing was stored, not even the time.
            assert replace(answer, posted_at=None) == replace(found[place], posted_at=None)


async def test_answers_alike_come_as_one(own: OwnShard) -> None:
    """Two of the same batch that are refused for the same reason; not with those of before."""
    frozen = await open_account(own.shard)
    await own.shard.accounts.change_status(frozen, AccountStatus.FROZEN, actor="t", reason="t")
    target = await open_account(own.shard)
    before = item_for(target)
    (told,) = await in_columns(own, before)

    arrivals = await arrive(
        own, item_for(frozen), before, item_for(target), item_for(frozen), item_for(target)
    )

    seen = {
        (arrival.answer.outcome, arrival.answer.is_replay): sorted(arrival.places)
        for arrival in arrivals
    }
    assert 3 == len(arrivals)
    assert {
        (Outcome.ACCOUNT_FROZEN, False): [0, 3],
        (Outcome.POSTED, True): [1],
        (Outcome.POSTED, False): [2, 4],
    } == seen
    (replayed,) = (each.answer for each in arrivals if each.answer.is_replay)
    assert replace(told, is_replay=True) == replayed


async def test_the_next_owner_of_a_range_that_moved_is_told(own: OwnShard) -> None:
    """With the account and the epoch, so that it can be learnt."""
    target = await open_in_second_range(own)
    await as_owner(
        own.database,
        "UPDATE ledger.owned_range SET state = 'RELEASED', next_owner = 3"
        f" WHERE range_id = {SECOND_RANGE}",
    )
    item = item_for(target)

    (told,) = await in_columns(own, item)

    assert (Outcome.NOT_OWNER, target, 3) == (
        told.outcome, told.foreign_account, told.next_owner
    )  # fmt: skip
    (found,) = await by_commands(own, item)
    assert replace(told, posted_at=None) == replace(found, posted_at=None)


@pytest.mark.parametrize(
    ("change", "status", "expected"),
    [
        (changed(), AccountStatus.FROZEN, Outcome.ACCOUNT_FROZEN),
        (going_back, AccountStatus.FROZEN, Outcome.POSTED),
        (changed(kind=Kind.RETURN), AccountStatus.FROZEN, Outcome.POSTED),
        (changed(kind=Kind.FORCED), AccountStatus.FROZEN, Outcome.POSTED),
        (going_back, AccountStatus.CLOSED, Outcome.ACCOUNT_CLOSED),
        (changed(kind=Kind.FORCED), AccountStatus.CLOSED, Outcome.ACCOUNT_CLOSED),
    ],
)
async def test_who_may_still_be_paid_both_ways_agree(
    own: OwnShard, change: Change, status: AccountStatus, expected: Outcome
) -> None:
    """A debtor's own money passes a freeze, and so does what is forced; nothing passes an end."""
    pair = await twins(own, change, "EUR")
    async with await psycopg.AsyncConnection.connect(own.database.owner_dsn) as connection:
        for item in pair:
            # No call closes an account that holds money; only a fault could.
            await connection.execute(
                "UPDATE ledger.account SET status = %s WHERE account_no = %s",
                (status.value, item.target),
            )

    told = [await WAYS[way](own, item) for way, item in zip(WAYS, pair, strict=True)]

    assert [expected] * 2 == [answer.outcome for (answer,) in told]
    assert await written(own, pair[0]) == await written(own, pair[1])


async def test_a_second_item_of_the_same_attempt_is_a_replay(own: OwnShard) -> None:
    """Named twice in one cargo, it is booked once."""
    target = await open_account(own.shard)
    item = item_for(target)
    told = await in_columns(own, item, item)
    assert [(Outcome.POSTED, False), (Outcome.POSTED, True)] == [
        (answer.outcome, answer.is_replay) for answer in told
    ]
    assert Figures(Decimal(20), 1) == await figures(own.shard, target)


async def test_an_attempt_with_another_content_is_refused(own: OwnShard) -> None:
    """Whatever is read of an item, its reference stands for one amount and one account."""
    target = await open_account(own.shard)
    item = item_for(target)
    await in_columns(own, item)
    for other in (replace(item, amount=Decimal(21)), replace(item, currency="USD")):
        (told,) = await in_columns(own, other)
        assert (Outcome.REFERENCE_REUSED, MoneyState.POSTED) == (told.outcome, told.money_state)
        assert [told] == await by_commands(own, other)
    assert Figures(Decimal(20), 1) == await figures(own.shard, target)


async def test_several_for_one_account_are_booked_in_their_order(own: OwnShard) -> None:
    """Each with the balance after it."""
    target = await open_account(own.shard)
    await arrive(own, *(item_for(target, f"{n}.00") for n in range(1, 6)))
    page = await own.shard.statements.page(target, limit=10)
    seen = sorted((line.amount, line.ledger_after) for line in page.lines)
    assert [(Decimal(n), Decimal(n * (n + 1) // 2)) for n in range(1, 6)] == seen


async def test_no_cargo_has_no_answers(own: OwnShard) -> None:
    """Nothing is delivered, and nothing refused."""
    assert [] == await arrive(own)


async def _nothing() -> None:
    """No second process takes part."""


async def test_a_lost_reply_leaves_it_unknown_and_a_repetition_finds_it(own: OwnShard) -> None:
    """It was booked; the second delivery replays it."""
    target = await open_account(own.shard)
    item = item_for(target)
    own.shard.watched_by(Strike(ControlPoint.DELIVER_AFTER_COMMIT, Action.LOSE, _nothing))

    with pytest.raises(OutcomeUnknown):
        await arrive(own, item)
    (told,) = await in_columns(own, item)

    assert (Outcome.POSTED, True) == (told.outcome, told.is_replay)
    assert Figures(Decimal(20), 1) == await figures(own.shard, target)


@pytest.fixture
async def superuser(own: OwnShard) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """Somebody who may end the session of anybody."""
    connection = await psycopg.AsyncConnection.connect(own.database.superuser_dsn, autocommit=True)
    async with connection:
        yield connection


async def test_a_session_that_is_ended_books_nothing(
    own: OwnShard, superuser: psycopg.AsyncConnection[Any]
) -> None:
    """Its outcome is unknown all the same, and the repetition books."""
    target = await open_account(own.shard)
    item = item_for(target)
    async with holder(own.database.owner_dsn) as held:
        await held.lock_balance(target)
        delivering = held.start(arrive(own, item))
        await held.until_blocks(delivering)
        (pid,) = await held.blocked()
        await superuser.execute("SELECT pg_terminate_backend(%s)", (pid,))
        async with asyncio.timeout(20.0):
            with pytest.raises(OutcomeUnknown):
                await delivering
    (told,) = await in_columns(own, item)

    assert (Outcome.POSTED, False) == (told.outcome, told.is_replay)
    assert Figures(Decimal(20), 1) == await figures(own.shard, target)


async def test_a_shard_that_is_down_was_sent_nothing() -> None:
    """So it is known that nothing was booked."""
    dead = Shard(1, "host=127.0.0.1 port=1 dbname=nowhere")
    await dead.open()
    cargo = cargo_of([item_for(account_no(1))])
    with pytest.raises(ShardUnavailable):
        await dead.arrivals.deliver(SOURCE, cargo, cargo_hashes(cargo))
    await dead.close()


@pytest.mark.parametrize("column", ["amounts", "value_dates"])
async def test_what_the_database_refuses_is_refused_as_a_whole(own: OwnShard, column: str) -> None:
    """One value that is none, and nothing is booked of the others either."""
    target = await open_account(own.shard)
    cargo = cargo_of([item_for(target), item_for(target)])
    impossible: dict[str, Any] = {column: [getattr(cargo, column)[0], "soon"]}
    with pytest.raises(Malformed):
        await own.shard.arrivals.deliver(SOURCE, replace(cargo, **impossible), cargo_hashes(cargo))
    assert Figures(Decimal(0), 0) == await figures(own.shard, target)


_POISON = """
CREATE FUNCTION ledger.poison() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.content = 'poison' THEN
        RAISE EXCEPTION 'this was planted' USING ERRCODE = 'LG999';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER poison BEFORE INSERT ON ledger.narrative
FOR EACH ROW EXECUTE FUNCTION ledger.poison()
"""


async def test_what_our_own_sql_raises_is_told_as_a_refusal_of_the_whole(own: OwnShard) -> None:
    """A fault that no answer has a word for: nothing is booked of the others either."""
    target = await open_account(own.shard)
    await as_owner(own.database, _POISON)
    with pytest.raises(LedgerError, match="refuses the whole delivery: this was planted"):
        await arrive(own, item_for(target), item_for(target, narrative="poison"))
    await as_owner(own.database, "DROP FUNCTION ledger.poison() CASCADE")
    assert Figures(Decimal(0), 0) == await figures(own.shard, target)
