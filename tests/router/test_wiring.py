"""The bank as a whole: made once, and up although this or that is down."""

from __future__ import annotations

from decimal import Decimal

import pytest

from router.accounts import Opening
from router.errors import SettingsInvalid
from router.transfer_requests import TransferRequest
from router.wiring import Bank, migrate_all
from shard.commands import MoneyState
from shard.errors import ShardUnavailable
from shard.ids import new_id
from tests.support.bank import BUSINESS_DATE, open_account, settings_of
from tests.support.databases import SHARDS, Databases

NOWHERE = "host=/nowhere dbname=ledger"


async def test_migrating_again_applies_nothing(servers: Databases) -> None:
    """All databases are up to date, and nothing is made a second time."""
    told: dict[str, list[str]] = {}
    await migrate_all(settings_of(servers), report=told.__setitem__)
    assert told == {"directory": []} | {f"shard {number}": [] for number in SHARDS}


async def test_a_dry_run_changes_nothing(servers: Databases) -> None:
    """It tells what would be applied."""
    told: dict[str, list[str]] = {}
    await migrate_all(settings_of(servers), dry_run=True, report=told.__setitem__)
    assert set(told) == {"directory", "shard 1", "shard 2", "shard 3"}


async def test_migrating_needs_the_owners_of_all_databases(servers: Databases) -> None:
    """The serving role cannot change a schema, so its DSN does not do."""
    settings = settings_of(servers, shard_owner_dsns={1: servers.shard_owner_dsns[1]})
    with pytest.raises(SettingsInvalid, match="LEDGER_SHARD_OWNER_DSNS"):
        await migrate_all(settings, report=lambda *_: None)


async def test_a_shard_that_is_down_fails_the_migration_clearly(servers: Databases) -> None:
    """A bank must not be made with shards on dates that were guessed."""
    dsns = dict(servers.shard_dsns) | {2: NOWHERE}
    with pytest.raises(ShardUnavailable):
        await migrate_all(settings_of(servers, shard_dsns=dsns), report=lambda *_: None)


async def test_without_temporal_the_bank_serves_and_money_between_shards_waits(
    servers: Databases,
) -> None:
    """Temporal down stops only the completion of cross-shard transfers."""
    async with Bank(settings_of(servers, temporal_address="127.0.0.1:1")) as bank:
        debtor = await open_account(bank.shards[1], "10.00")
        creditor = await open_account(bank.shards[1])
        request = TransferRequest(str(new_id()), debtor, creditor, Decimal("1.00"), "EUR")
        submitted = await bank.transfers.submit(request)
        assert submitted.record.money_state is MoneyState.POSTED
        assert bank.temporal is None


async def test_a_new_bank_opens_on_its_first_business_day(bank: Bank) -> None:
    """The shards agree on the date given to the migration."""
    dates = await bank.business_day.dates()
    assert dates == dict.fromkeys(SHARDS, BUSINESS_DATE)


async def test_customers_are_opened_and_paid_across_the_whole_bank(bank: Bank) -> None:
    """Opened by placement, funded on their shard, paid wherever the other one lives."""
    run = new_id().hex
    numbers = await bank.accounts.open_many(
        [Opening(f"C-{run}-{n}", "R", "EUR", overdraft_limit=Decimal(10)) for n in range(12)],
        actor="test",
    )
    for debtor, creditor in zip(numbers, numbers[1:] + numbers[:1], strict=True):
        request = TransferRequest(str(new_id()), debtor, creditor, Decimal("10.00"), "EUR")
        submitted = await bank.transfers.submit(request)
        await bank.transfers.wait(submitted.record, 30)
    balances = [(await bank.accounts.balance(number)).ledger for number in numbers]
    assert balances == [0] * 12
