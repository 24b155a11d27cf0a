"""The PostgreSQL servers of a test run, wherever they come from: three shards, one directory.

``embedded`` starts a server each; ``testcontainers`` one container with a database each; given
DSNs are used in turn, with databases of their own that are dropped again.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from deploy.embedded.postgres import PostgresServer
from deploy.embedded.stack import EmbeddedStack
from tests.support.options import PostgresChoice

SHARDS = (1, 2, 3)
_SQL = files("deploy") / "embedded" / "sql"


@dataclass(frozen=True, slots=True)
class Databases:
    """DSNs by shard, for the role that serves and the one that owns; servers where we own them."""

    shard_dsns: Mapping[int, str]
    shard_owner_dsns: Mapping[int, str]
    directory_dsn: str
    directory_owner_dsn: str
    servers: Mapping[int, PostgresServer] = field(default_factory=dict)
    """The shards' servers, to be stopped or killed; empty where they are not ours."""


@asynccontextmanager
async def databases(choice: PostgresChoice) -> AsyncIterator[Databases]:
    """Empty databases for a bank, gone again afterwards."""
    async with AsyncExitStack() as stack:
        match choice.kind:
            case "embedded":
                yield await stack.enter_async_context(_embedded())
            case "testcontainers":
                dsn = await stack.enter_async_context(_container())
                yield await stack.enter_async_context(_on_servers([dsn]))
            case "given":
                yield await stack.enter_async_context(_on_servers(list(choice.dsns)))


@asynccontextmanager
async def temporary_folder(prefix: str) -> AsyncIterator[Path]:
    """A folder that an unprivileged server can reach, removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=f"ledger-{prefix}-"))
    await asyncio.to_thread(folder.chmod, 0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def _embedded() -> AsyncIterator[Databases]:
    async with temporary_folder("tests") as folder:
        stack = EmbeddedStack(folder / "bank", shards=len(SHARDS), with_temporal=False)
        try:
            endpoints = await stack.up()
            yield Databases(
                endpoints.shard_dsns,
                endpoints.shard_owner_dsns,
                endpoints.directory_dsn,
                endpoints.directory_owner_dsn,
                {number: stack.shard_server(number) for number in SHARDS},
            )
        finally:
            await stack.destroy()


@asynccontextmanager
async def _container() -> AsyncIterator[str]:
    # Imported here: it looks for a Docker engine while it is imported.
    from testcontainers.postgres import PostgresContainer

    container = PostgresContainer("postgres:18", driver=None)
    container.with_command("-c wal_level=logical -c track_commit_timestamp=on")
    with container as started:
        yield started.get_connection_url()


@asynccontextmanager
async def _on_servers(dsns: list[str]) -> AsyncIterator[Databases]:
    run = secrets.token_hex(4)
    names = [*(f"ledger_test_{run}_{n}" for n in SHARDS), f"ledger_test_{run}_directory"]
    homes = {name: dsns[i % len(dsns)] for i, name in enumerate(names)}
    passwords = {dsn: (secrets.token_hex(16), secrets.token_hex(16)) for dsn in dsns}
    for dsn, (owner, posting) in passwords.items():
        await _create_roles(dsn, owner, posting)
    try:
        for name, dsn in homes.items():
            await _create_database(dsn, name)
        served = {
            name: make_conninfo(dsn, dbname=name, user="ledger_posting", password=passwords[dsn][1])
            for name, dsn in homes.items()
        }
        owned = {
            name: make_conninfo(dsn, dbname=name, user="ledger_owner", password=passwords[dsn][0])
            for name, dsn in homes.items()
        }
        yield Databases(
            {n: served[names[i]] for i, n in enumerate(SHARDS)},
            {n: owned[names[i]] for i, n in enumerate(SHARDS)},
            served[names[-1]],
            owned[names[-1]],
        )
    finally:
        for name, dsn in homes.items():
            await _execute(dsn, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)"), name)


async def _create_roles(dsn: str, owner: str, posting: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        verifiers = {"owner": owner, "posting": posting}
        await connection.execute((_SQL / "verifiers.sql").read_bytes(), verifiers)
        await connection.execute((_SQL / "roles.sql").read_bytes())


async def _create_database(dsn: str, name: str) -> None:
    await _execute(dsn, sql.SQL("CREATE DATABASE {} OWNER ledger_owner"), name)
    target = make_conninfo(dsn, dbname=name)
    async with await psycopg.AsyncConnection.connect(target, autocommit=True) as connection:
        await connection.execute((_SQL / "privileges.sql").read_bytes())


async def _execute(dsn: str, statement: sql.SQL, name: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(statement.format(sql.Identifier(name)))
