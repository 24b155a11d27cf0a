"""What the role that serves may do: read, and execute the functions made for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import LiteralString

import psycopg
import pytest
from psycopg import errors, sql

from shard.connections import Connection, connect
from tests.shard.own_server import Database, OwnShard

_INTERNAL: dict[str, LiteralString] = {
    "the guard of ranges": "SELECT ledger.lock_range_exclusively(1001)",
    "making partitions": "SELECT ledger.ensure_partitions_v1('2026-11-01', 1)",
    "becoming another shard": (
        "SELECT ledger.prepare_shard_v1(2::smallint, '{}', '2026-11-23', 1, 1::smallint)"
    ),
    "taking a range": "SELECT ledger.adopt_range_v1(9, 9000000000, 9000000001)",
    "another schema": "CREATE SCHEMA mine",
    "a table in public": "CREATE TABLE public.mine (id integer)",
    "a table beside the ledger's": "CREATE TABLE ledger.mine (id integer)",
    "a temporary table": "CREATE TEMPORARY TABLE mine (id integer)",
    "becoming the owner": "SET ROLE ledger_owner",
    "dropping a table": "DROP TABLE ledger.entry",
    "taking a function over": "ALTER FUNCTION ledger.may_write(bigint) OWNER TO ledger_posting",
}


@pytest.fixture
async def posting(own: OwnShard) -> AsyncIterator[Connection]:
    """A connection of the role that serves."""
    connection = await connect(own.database.dsn, is_serving=True)
    yield connection
    await connection.close()


async def _tables(database: Database) -> list[tuple[str, str]]:
    async with await psycopg.AsyncConnection.connect(database.owner_dsn) as connection:
        found = await connection.execute(
            "SELECT t.relnamespace::regnamespace::text, t.relname FROM pg_class AS t"
            " WHERE t.relkind IN ('r', 'p') AND t.relnamespace IN ("
            "'ledger'::regnamespace, 'public'::regnamespace) ORDER BY 1, 2"
        )
        return [(str(schema), str(table)) for schema, table in await found.fetchall()]


async def test_no_table_can_be_written(own: OwnShard, posting: Connection) -> None:
    """Of no table may the serving role insert, update, delete or truncate a row."""
    tables = await _tables(own.database)
    statements = [
        sql.SQL("DELETE FROM {}"),
        sql.SQL("TRUNCATE {}"),
        sql.SQL("INSERT INTO {} DEFAULT VALUES"),
    ]

    assert len(tables) > 15
    for table in tables:
        for statement in [*statements, *await _updates(own.database, table)]:
            with pytest.raises(errors.InsufficientPrivilege):
                await posting.execute(statement.format(sql.Identifier(*table)))


async def _updates(database: Database, table: tuple[str, str]) -> list[sql.SQL]:
    async with await psycopg.AsyncConnection.connect(database.owner_dsn) as connection:
        cursor = await connection.execute(
            sql.SQL("SELECT * FROM {} LIMIT 0").format(sql.Identifier(*table))
        )
        assert cursor.description is not None
        name = cursor.description[0].name
    return [sql.SQL("UPDATE {} SET " + f'"{name}" = "{name}"')]


@pytest.mark.parametrize("statement", _INTERNAL.values(), ids=_INTERNAL.keys())
async def test_nothing_else_is_allowed(statement: LiteralString, posting: Connection) -> None:
    """The serving role creates, takes over and becomes nothing."""
    with pytest.raises(psycopg.ProgrammingError) as refused:
        await posting.execute(statement)

    assert refused.value.diag.sqlstate in {"42501", "3F000"}


async def test_only_versioned_functions_and_the_clock_may_be_executed(own: OwnShard) -> None:
    """What may be executed from outside has a version in its name, and reads the clock."""
    async with await psycopg.AsyncConnection.connect(own.database.dsn) as connection:
        found = await connection.execute(
            "SELECT p.proname FROM pg_proc AS p"
            " WHERE p.pronamespace = 'ledger'::regnamespace"
            " AND has_function_privilege(p.oid, 'EXECUTE') ORDER BY 1"
        )
        names = [name for (name,) in await found.fetchall()]

    assert [
        "advance_business_date_v1",
        "balance_as_of_v1",
        "change_account_v1",
        "decide_repair_v2",
        "deliver_v1",
        "hand_over_v1",
        "headroom_as_of_v1",
        "mark_needs_repair_v1",
        "now",
        "open_accounts_v2",
        "post_batch_v2",
        "redirect_v1",
        "register_payment_file_v1",
        "restamp_v1",
        "settle_v1",
    ] == names


async def test_the_serving_role_owns_nothing(own: OwnShard) -> None:
    """No object of the database belongs to the role that serves, and it is no member of others."""
    async with await psycopg.AsyncConnection.connect(own.database.superuser_dsn) as connection:
        owned = await connection.execute(
            "SELECT count(*) FROM pg_shdepend WHERE refobjid = 'ledger_posting'::regrole"
            " AND deptype = 'o'"
        )
        memberships = await connection.execute(
            "SELECT count(*) FROM pg_auth_members WHERE member = 'ledger_posting'::regrole"
        )
        assert [(0,), (0,)] == [*await owned.fetchall(), *await memberships.fetchall()]


async def test_functions_that_write_run_as_the_owner_with_a_fixed_search_path(
    own: OwnShard,
) -> None:
    """A function that lends its owner's rights finds no object of its caller's."""
    async with await psycopg.AsyncConnection.connect(own.database.owner_dsn) as connection:
        found = await connection.execute(
            "SELECT DISTINCT p.proconfig FROM pg_proc AS p"
            " WHERE p.pronamespace = 'ledger'::regnamespace AND p.prosecdef"
        )
        settings = [config for (config,) in await found.fetchall()]

    assert settings
    for config in settings:
        assert "search_path=pg_catalog, pg_temp" in config


async def test_time_limits_bound_the_serving_role(posting: Connection) -> None:
    """Every statement and every lock wait of the serving role has an end."""
    found = await posting.execute(
        "SELECT current_setting(s.name) FROM unnest(ARRAY['statement_timeout', 'lock_timeout',"
        " 'idle_in_transaction_session_timeout']) AS s (name)"
    )

    assert "0" not in {value for (value,) in await found.fetchall()}
