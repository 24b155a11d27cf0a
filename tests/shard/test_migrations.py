"""Migrations: each file once, in order, as a whole or not at all."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from importlib.resources import as_file
from pathlib import Path

import pytest

from deploy.embedded.postgres import PostgresServer
from shard.bootstrap import prepare_shard
from shard.errors import MigrationChanged, SchemaMissing, SchemaTooNew
from shard.migrations import migrate, read_functions, read_migrations
from shard.outcomes import Outcome
from shard.shard import Shard
from tests.shard.own_server import (
    SHARD_SQL,
    Database,
    as_owner,
    drop_database,
    fresh_database,
    make_shard,
    opened,
)
from tests.support.bank import BUSINESS_DATE, account_no, open_account, transfer
from tests.support.interleaving import holder
from tests.support.movements import delivery, reversal, reversal_abroad, teller_at

_ADDITION = "ALTER TABLE ledger.account ADD COLUMN nickname text;\n"


@pytest.fixture
async def empty(own_server: PostgresServer) -> AsyncIterator[Database]:
    """A database without a schema."""
    database = await fresh_database(own_server)
    yield database
    await drop_database(own_server, database)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of this program's migrations that a test may change."""
    with as_file(SHARD_SQL) as original:
        shutil.copytree(original, tmp_path / "sql")
    (tmp_path / "sql" / "migrations").mkdir(exist_ok=True)
    return tmp_path / "sql"


def _whole() -> list[str]:
    numbered = [script.name for script in read_migrations(SHARD_SQL)]
    return [*numbered, *(f"functions/{script.name}" for script in read_functions(SHARD_SQL))]


async def schema_of(database: Database) -> list[tuple[object, ...]]:
    """Everything a schema says, in one list that two databases can be compared by."""
    async with holder(database.owner_dsn) as look:
        columns = await look.execute(
            "SELECT c.table_name, c.column_name, c.data_type, c.is_nullable, c.column_default"
            " FROM information_schema.columns AS c WHERE c.table_schema = 'ledger' ORDER BY 1, 2"
        )
        functions = await look.execute(
            "SELECT p.proname, pg_get_functiondef(p.oid), p.proacl::text FROM pg_proc AS p"
            " WHERE p.pronamespace = 'ledger'::regnamespace ORDER BY 1, 2"
        )
        relations = await look.execute(
            "SELECT c.relname, c.relkind::text, c.relacl::text, c.reloptions::text"
            " FROM pg_class AS c WHERE c.relnamespace = 'ledger'::regnamespace ORDER BY 1"
        )
        constraints = await look.execute(
            "SELECT c.conname, pg_get_constraintdef(c.oid) FROM pg_constraint AS c"
            " WHERE c.connamespace = 'ledger'::regnamespace ORDER BY 1, 2"
        )
    return [*columns, *functions, *relations, *constraints]


async def test_a_fresh_database_gets_everything_once(empty: Database) -> None:
    """The first run applies every file in order; the second one finds nothing to do."""
    assert _whole() == await migrate(empty.owner_dsn, SHARD_SQL)
    assert [] == await migrate(empty.owner_dsn, SHARD_SQL)


async def test_a_folder_without_later_migrations_is_whole(empty: Database, folder: Path) -> None:
    """Nothing but the schema is needed: a clone holds no empty folders."""
    shutil.rmtree(folder / "migrations")
    shutil.rmtree(folder / "functions")

    assert ["schema.sql"] == await migrate(empty.owner_dsn, folder)


async def test_a_database_of_the_first_schema_is_brought_up_to_date(
    own_server: PostgresServer, empty: Database, folder: Path
) -> None:
    """Later migrations also run in a transaction of their own, as they do on an old database."""
    later = folder / "later"
    (folder / "migrations").rename(later)
    (folder / "functions").rename(folder / "not_yet")
    await migrate(empty.owner_dsn, folder)
    later.rename(folder / "migrations")
    (folder / "not_yet").rename(folder / "functions")

    applied = await migrate(empty.owner_dsn, folder)

    fresh = await fresh_database(own_server)
    await migrate(fresh.owner_dsn, SHARD_SQL)
    assert _whole()[1:] == applied
    assert await schema_of(fresh) == await schema_of(empty)
    await drop_database(own_server, fresh)


async def test_fresh_equals_replayed(
    own_server: PostgresServer, empty: Database, folder: Path
) -> None:
    """A database that was migrated step by step has the schema of one that was made at once."""
    (folder / "functions" / "95_later.sql").write_text("SELECT 1;\n")
    await migrate(empty.owner_dsn, folder)
    (folder / "functions" / "95_later.sql").unlink()
    await migrate(empty.owner_dsn, folder)
    (folder / "migrations" / "0900_nickname.sql").write_text(_ADDITION)
    await migrate(empty.owner_dsn, folder)

    fresh = await fresh_database(own_server)
    applied = await migrate(fresh.owner_dsn, folder)

    numbered = [name for name in applied if not name.startswith("functions/")]
    assert ["schema.sql", "0900_nickname.sql"] == [numbered[0], numbered[-1]]
    assert await schema_of(empty) == await schema_of(fresh)
    await drop_database(own_server, fresh)


async def test_what_was_taken_back_of_a_delivery_stays_taken_back(empty: Database) -> None:
    """A credit is known by the item of its delivery from then on, and has no second cap."""
    await make_shard(empty)
    script = next(s for s in read_migrations(SHARD_SQL) if s.name == "0006_credits.sql")
    async with opened(empty) as shard, teller_at(empty.dsn) as teller:
        payer, payee = await open_account(shard, "50"), await open_account(shard)
        near, far = transfer(payer, payee, "10"), delivery(1, 2, payee, "30")
        taken = [reversal(near, "10"), reversal_abroad(far, account_no(2), "30")]
        assert [Outcome.POSTED] * 4 == await teller.told(near, far) + await teller.told(*taken)
        # As it was: both are known by their transfers.
        await as_owner(
            empty,
            "UPDATE ledger.reversed_credit"
            f" SET credit_id = '{far.transfer_id}' WHERE credit_id <> '{near.transfer_id}';"
            " ALTER TABLE ledger.reversed_credit RENAME COLUMN credit_id TO transfer_id",
        )
        await as_owner(empty, script.text)

        again = [reversal(near, "1"), reversal_abroad(far, account_no(2), "1")]
        assert [Outcome.REVERSAL_EXCEEDED] * 2 == await teller.told(*again)


async def test_a_dry_run_changes_nothing(empty: Database, folder: Path) -> None:
    """A dry run names what would be applied, and leaves the database as it was."""
    assert _whole() == await migrate(empty.owner_dsn, folder, dry_run=True)
    assert _whole() == await migrate(empty.owner_dsn, folder)
    before = await schema_of(empty)
    (folder / "migrations" / "0900_nickname.sql").write_text(_ADDITION)

    assert ["0900_nickname.sql"] == await migrate(empty.owner_dsn, folder, dry_run=True)
    assert before == await schema_of(empty)


async def test_changed_functions_are_applied_again(empty: Database, folder: Path) -> None:
    """When one function file has changed, all of them are applied again, in order."""
    await migrate(empty.owner_dsn, folder)
    file = folder / "functions" / "10_time_and_ownership.sql"
    file.write_text(file.read_text() + "-- changed\n")

    functions = [name for name in _whole() if name.startswith("functions/")]
    assert functions == await migrate(empty.owner_dsn, folder)
    assert [] == await migrate(empty.owner_dsn, folder)


@pytest.mark.parametrize("name", ["schema.sql", "migrations/0900_nickname.sql"])
async def test_an_edited_migration_is_noticed(name: str, empty: Database, folder: Path) -> None:
    """A file that was applied must not be edited afterwards."""
    (folder / "migrations" / "0900_nickname.sql").write_text(_ADDITION)
    await migrate(empty.owner_dsn, folder)
    (folder / name).write_text((folder / name).read_text() + "-- edited\n")

    with pytest.raises(MigrationChanged):
        await migrate(empty.owner_dsn, folder)


async def test_a_newer_schema_is_left_alone(empty: Database, folder: Path) -> None:
    """A program that does not know all of a database's migrations keeps away from it."""
    (folder / "migrations" / "0900_nickname.sql").write_text(_ADDITION)
    await migrate(empty.owner_dsn, folder)

    with pytest.raises(SchemaTooNew):
        await migrate(empty.owner_dsn, SHARD_SQL)


async def test_a_migration_that_fails_leaves_nothing(empty: Database, folder: Path) -> None:
    """A run is applied as a whole or not at all."""
    (folder / "migrations" / "0002_broken.sql").write_text("SELECT 1 / 0;\n")

    with pytest.raises(Exception, match="division by zero"):
        await migrate(empty.owner_dsn, folder)

    assert _whole() == await migrate(empty.owner_dsn, SHARD_SQL, dry_run=True)


async def test_two_runners_do_not_meet(empty: Database) -> None:
    """Of two runners at once one applies everything, the other waits and finds it done."""
    async with holder(empty.owner_dsn) as held:
        await held.execute("SELECT pg_advisory_xact_lock(7100, 0)")
        runs = [held.start(migrate(empty.owner_dsn, SHARD_SQL)) for _ in range(2)]
        await held.until_blocks(*runs)
        await held.rollback()
        applied = await asyncio.gather(*runs)

    assert [[], _whole()] == sorted(applied)


async def test_serving_without_a_schema_says_what_to_do(empty: Database) -> None:
    """A database that was never migrated is told from one that does not answer."""
    async with opened(empty) as shard:
        with pytest.raises(SchemaMissing):
            await shard.ping()
        with pytest.raises(SchemaMissing):
            await shard.lanes.post(transfer(1_100_000_001, 1_100_000_002, "1"))


async def test_functions_change_while_lanes_are_open(empty: Database, folder: Path) -> None:
    """Lanes that are connected go on when the functions are replaced under them."""
    await make_shard(empty)
    async with opened(empty) as shard:
        debtor, creditor = await open_account(shard, "100"), await open_account(shard)
        file = folder / "functions" / "30_posting.sql"
        file.write_text(file.read_text() + "-- changed\n")
        await migrate(empty.owner_dsn, folder)

        answer = await shard.lanes.post(transfer(debtor, creditor, "1"))
        assert Outcome.POSTED is answer.outcome


async def test_preparing_a_shard_again_only_adds(empty: Database) -> None:
    """A prepared shard may be prepared again with more peers; its date and ranges stay."""
    await make_shard(empty)
    ranges = [(1001, 1_000_000_000, 1_500_000_000), (1002, 1_500_000_000, 2_000_000_000)]
    async with opened(empty) as shard:
        before = await shard.ownership.ranges()
        accounts = await _system_accounts(empty)
        later = BUSINESS_DATE.replace(day=30)

        await prepare_shard(
            empty.owner_dsn, 1, peers=(1, 2, 3, 4), business_date=later, ranges=ranges
        )

        assert (before, BUSINESS_DATE) == await _state_of(shard)
    added = await _system_accounts(empty) - accounts
    assert {1_200_000 + index * 1_000 + 4 for index in range(1, 15)} == added


async def _state_of(shard: Shard) -> tuple[object, object]:
    return await shard.ownership.ranges(), await shard.business_day.get()


async def _system_accounts(database: Database) -> set[int]:
    async with holder(database.owner_dsn) as look:
        rows = await look.execute("SELECT account_no FROM ledger.account")
    return {number for (number,) in rows}


async def test_a_database_stays_the_shard_it_is(empty: Database) -> None:
    """A database that is shard 1 cannot be made shard 2 by a mistake in the settings."""
    await make_shard(empty)

    with pytest.raises(Exception, match="this database is shard 1, not shard 2"):
        await prepare_shard(
            empty.owner_dsn, 2, peers=(1, 2), business_date=BUSINESS_DATE, ranges=()
        )
