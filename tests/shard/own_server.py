"""A PostgreSQL server that belongs to the tests of one folder: it may be killed, and what is
changed in it (dates, ranges, schemas, planted errors) disturbs nobody else.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from deploy.embedded.postgres import PostgresServer
from shard.accounts import AccountKind, NewAccount
from shard.bootstrap import prepare_shard
from shard.migrations import migrate
from shard.outcomes import Outcome
from shard.shard import Shard
from tests.support.bank import BUSINESS_DATE, transfer
from tests.support.databases import temporary_folder

SHARD_SQL = files("shard") / "sql"
FIRST_RANGE, SECOND_RANGE = 1001, 1002
RANGES = (
    (FIRST_RANGE, 1_000_000_000, 1_500_000_000),
    (SECOND_RANGE, 1_500_000_000, 2_000_000_000),
)
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Database:
    """One database of the own server, as its three roles reach it."""

    name: str
    dsn: str
    owner_dsn: str
    superuser_dsn: str


@dataclass(frozen=True, slots=True)
class OwnShard:
    """Shard 1 of a bank of its own: ranges 1001 and 1002 hold its customers."""

    shard: Shard
    database: Database


@pytest.fixture(scope="session")
async def own_server() -> AsyncIterator[PostgresServer]:
    """A running server without any schema."""
    async with temporary_folder("own") as folder:
        server = PostgresServer("own", folder / "server")
        await server.start()
        try:
            yield server
        finally:
            await server.destroy()


@pytest.fixture(scope="session")
async def own_database(own_server: PostgresServer) -> Database:
    """The database of the own shard."""
    database = await fresh_database(own_server)
    await make_shard(database)
    return database


@pytest.fixture
async def own(own_database: Database) -> AsyncIterator[OwnShard]:
    """The own shard; at the end all its ranges are its own again, and its books are right."""
    async with opened(own_database) as shard:
        yield OwnShard(shard, own_database)
        await as_owner(
            own_database,
            "UPDATE ledger.owned_range SET state = 'OWNED', next_owner = NULL",
        )
        assert await shard.invariants.check() == []


@pytest.fixture(scope="module")
async def database(own_server: PostgresServer) -> AsyncIterator[Database]:
    """A shard whose business dates one file of tests moves on."""
    made = await fresh_database(own_server)
    await make_shard(made)
    yield made
    await drop_database(own_server, made)


@pytest.fixture
async def shard(database: Database) -> AsyncIterator[Shard]:
    """The shard; at the end its books are right."""
    async with opened(database) as shard:
        yield shard
        assert await shard.invariants.check() == []


@asynccontextmanager
async def opened(database: Database) -> AsyncIterator[Shard]:
    """Shard 1 over one database."""
    shard = Shard(1, database.dsn)
    await shard.open()
    try:
        yield shard
    finally:
        await shard.close()


async def fresh_database(server: PostgresServer, template: Database | None = None) -> Database:
    """A database that is empty, or a copy of another one to which nobody is connected."""
    name = f"ledger_{next(_numbers)}"
    copied = sql.Identifier(template.name if template else "template0")
    create = sql.SQL("CREATE DATABASE {} OWNER ledger_owner TEMPLATE {}")
    database = Database(
        name,
        make_conninfo(server.posting_dsn, dbname=name),
        make_conninfo(server.owner_dsn, dbname=name),
        make_conninfo(server.superuser_dsn, dbname=name),
    )
    async with await psycopg.AsyncConnection.connect(
        server.superuser_dsn, autocommit=True
    ) as connection:
        await connection.execute(create.format(sql.Identifier(name), copied))
    async with await psycopg.AsyncConnection.connect(database.superuser_dsn) as connection:
        privileges = files("deploy") / "embedded" / "sql" / "privileges.sql"
        await connection.execute(privileges.read_bytes())
    return database


async def drop_database(server: PostgresServer, database: Database) -> None:
    """Remove a database, whoever is connected to it."""
    async with await psycopg.AsyncConnection.connect(
        server.superuser_dsn, autocommit=True
    ) as connection:
        drop = sql.SQL("DROP DATABASE {} WITH (FORCE)")
        await connection.execute(drop.format(sql.Identifier(database.name)))


async def make_shard(database: Database) -> None:
    """Migrate a database and make it shard 1."""
    await migrate(database.owner_dsn, SHARD_SQL)
    await prepare_shard(
        database.owner_dsn, 1, peers=(1, 2, 3), business_date=BUSINESS_DATE, ranges=RANGES
    )


async def as_owner(database: Database, statement: str) -> None:
    """Change what no role that serves could change."""
    async with await psycopg.AsyncConnection.connect(database.owner_dsn) as connection:
        await connection.execute(statement.encode())


async def open_in_second_range(own: OwnShard, funds: str = "0") -> int:
    """An account of range 1002, paid from an equity account beside it."""
    number = RANGES[1][1] + next(_numbers) * 2
    outcomes = await own.shard.accounts.open_many(
        [
            NewAccount(number, "EUR", AccountKind.CUSTOMER, "C-2", Decimal(0), b"t"),
            NewAccount(number + 1, "EUR", AccountKind.EQUITY, None, None, b"t"),
        ]
    )
    assert outcomes == [Outcome.POSTED] * 2
    if Decimal(funds):
        answer = await own.shard.lanes.post(transfer(number + 1, number, funds))
        assert answer.outcome is Outcome.POSTED
    return number
