"""The posting function books what a ledger on one page books, whatever is thrown at both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shard.account_numbers import suspense_account
from shard.accounts import AccountKind, AccountStatus, NewAccount
from shard.commands import Command, Leg
from shard.connections import Connection
from shard.ids import new_id
from shard.outcomes import Outcome
from shard.posting import post_batch
from shard.references import request_hash
from shard.shard import Shard
from tests.support.bank import account_no, open_account, transfer
from tests.support.databases import Databases
from tests.support.interleaving import posting_connection
from tests.support.model import ModelAccount, ModelLedger

Shards = Mapping[int, Shard]
_SAMPLE_EXAMPLES = 300
_FULL_EXAMPLES = 5_000
_LANES = 5
# Where a drawn number points: accounts made for each example, then those that never change.
_MADE = ("plain", "overdraft", "bucketed", "bucketed overdraft", "no floor")
_LASTING = ("frozen", "closed", "dollars", "unknown", "system", "elsewhere")
_NAMES = (*_MADE, *_LASTING)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One transfer as Hypothesis draws it: accounts and reference by number, cents."""

    debtor: int
    creditors: tuple[int, ...]
    cents: int
    reference: int
    flaw: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What one lane posts at once."""

    lane: int
    transfers: tuple[Drawn, ...]


_DRAWN = st.builds(
    Drawn,
    debtor=st.sampled_from([0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 5, 6, 7, 8, 9]),
    creditors=st.lists(
        st.sampled_from([*range(len(_NAMES)), 0, 1, 2, 3, 10]), min_size=1, max_size=2
    ).map(tuple),
    cents=st.integers(1, 1_200),
    reference=st.integers(1, 40),
    flaw=st.sampled_from([""] * 12 + ["zero", "excess", "unequal", "currency"]),
)
_BATCHES = st.lists(
    st.builds(
        Batch,
        lane=st.integers(0, _LANES - 1),
        transfers=st.lists(_DRAWN, min_size=1, max_size=12).map(tuple),
    ),
    min_size=1,
    max_size=4,
)


@pytest.fixture
async def lasting(shards: Shards) -> Mapping[str, int]:
    """Accounts that no transfer of an example can change."""
    numbers = {
        "frozen": await open_account(shards[1]),
        "closed": await open_account(shards[1]),
        "dollars": await open_account(shards[1], currency="USD"),
        "unknown": account_no(1),
        "system": suspense_account(1, "EUR"),
        "elsewhere": account_no(2),
    }
    for name, status in (("frozen", AccountStatus.FROZEN), ("closed", AccountStatus.CLOSED)):
        await shards[1].accounts.change_status(numbers[name], status, actor="t", reason="t")
    return numbers


@pytest.fixture
async def connection(servers: Databases) -> AsyncIterator[Connection]:
    """One connection for all examples: it keeps its plans."""
    async with posting_connection(servers.shard_dsns[1]) as opened:
        yield opened


_EXAMPLES = settings(
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@settings(_EXAMPLES, max_examples=_SAMPLE_EXAMPLES)
@given(batches=_BATCHES)
async def test_the_ledger_agrees_with_its_model(
    shards: Shards, connection: Connection, lasting: Mapping[str, int], batches: list[Batch]
) -> None:
    """Over random batches, every outcome and every balance is that of the model."""
    await _compare(shards[1], connection, lasting, batches)


@pytest.mark.full
@settings(_EXAMPLES, max_examples=_FULL_EXAMPLES)
@given(batches=_BATCHES)
async def test_the_ledger_agrees_with_its_model_at_length(
    shards: Shards, connection: Connection, lasting: Mapping[str, int], batches: list[Batch]
) -> None:
    """Over many random batches, every outcome and every balance is that of the model."""
    await _compare(shards[1], connection, lasting, batches)


async def _compare(
    shard: Shard, connection: Connection, lasting: Mapping[str, int], batches: list[Batch]
) -> None:
    model, numbers, example = ModelLedger(), dict(lasting), new_id()
    numbers |= await _open(shard, model, connection)
    model.accounts[numbers["frozen"]] = ModelAccount(status=AccountStatus.FROZEN)
    model.accounts[numbers["closed"]] = ModelAccount(status=AccountStatus.CLOSED)
    model.accounts[numbers["dollars"]] = ModelAccount(currency="USD")
    for batch in batches:
        commands = [
            _command(each, numbers, f"{example}:{each.reference}") for each in batch.transfers
        ]
        answers = await post_batch(connection, batch.lane, new_id(), commands)
        assert model.post_batch(commands) == [answer.outcome for answer in answers]
    expected = {name: model.accounts[numbers[name]].balance for name in _MADE}
    assert expected == {name: (await shard.balances.get(numbers[name])).ledger for name in _MADE}


async def _open(shard: Shard, model: ModelLedger, connection: Connection) -> dict[str, int]:
    """Open the accounts of one example, and give them money over several lanes."""
    numbers = {name: account_no(1) for name in _MADE}
    limits = [Decimal(0), Decimal("10.00"), Decimal(0), Decimal("2.50"), None]
    buckets = [1, 1, 4, 4, 1]
    opened = await shard.accounts.open_many([
        NewAccount(numbers[name], "EUR", AccountKind.CUSTOMER, "C-1", limit, b"t", bucket_count=n)
        for name, limit, n in zip(_MADE, limits, buckets, strict=True)
    ])  # fmt: skip
    assert {Outcome.POSTED} == set(opened)
    for name, limit in zip(_MADE, limits, strict=True):
        model.accounts[numbers[name]] = ModelAccount(limit=limit)
    for lane, name in enumerate(("plain", "bucketed", "bucketed", "bucketed overdraft")):
        command = transfer(numbers["no floor"], numbers[name], "5.00")
        await post_batch(connection, lane, None, [command])
        model.post_batch([command])
    return numbers


def _command(drawn: Drawn, numbers: Mapping[str, int], reference: str) -> Command:
    """The command of a drawn transfer; equal draws are equal requests."""
    debtor = numbers[_NAMES[drawn.debtor]]
    creditors = [numbers[_NAMES[number]] for number in drawn.creditors]
    amount = Decimal(drawn.cents) / 100
    command = transfer(debtor, creditors[0], str(amount), reference)
    if len(creditors) > 1 and not command.parked and creditors[1] // 10**9 == debtor // 10**9:
        second = Leg(creditors[1], amount, debtor)
        command = replace(
            command, legs=(replace(command.legs[0], amount=-2 * amount), *command.legs[1:], second)
        )
    described = {"creditors": str(creditors), "cents": str(drawn.cents), "flaw": drawn.flaw}
    return _flawed(replace(command, request_hash=request_hash("test/1", described)), drawn.flaw)


def _flawed(command: Command, flaw: str) -> Command:
    first, *others = command.legs
    match flaw:
        case "zero":
            return replace(command, legs=(*command.legs, Leg(first.account_no, Decimal(0))))
        case "excess":
            odd = Decimal("0.001")
            legs = (replace(first, amount=first.amount + odd), *others, Leg(first.account_no, -odd))
            return replace(command, legs=legs)
        case "unequal":
            return replace(command, legs=(replace(first, amount=first.amount - 1), *others))
        case "currency":
            return replace(command, currency="XAU")
    return command
