"""One embedded PostgreSQL server: who may do what in it, and what it survives."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from deploy.embedded import binaries
from deploy.embedded.account import service_account
from deploy.embedded.folders import temporary_folder
from deploy.embedded.passwords import PasswordFile
from deploy.embedded.ports import free_port
from deploy.embedded.postgres import PostgresServer
from deploy.embedded.process import ManagedProcess
from deploy.errors import FolderError, FolderUnreachable, PortInUse

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another account")


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[PostgresServer]:
    """A server that the tests of this file share; each leaves it running."""
    folder = temporary_folder()
    server = PostgresServer("shard-1", folder / "shard-1")
    await server.start()
    yield server
    await server.destroy()
    shutil.rmtree(folder)


async def ask(dsn: str, query: str) -> list[tuple[object, ...]]:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        cursor = await connection.execute(query.encode())
        return await cursor.fetchall() if cursor.description else []


async def value(dsn: str, query: str) -> object:
    return (await ask(dsn, query))[0][0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("statement_timeout", "15s"),
        ("lock_timeout", "10s"),
        ("idle_in_transaction_session_timeout", "15s"),
        ("data_checksums", "on"),
        ("server_encoding", "UTF8"),
        ("lc_collate", "C"),
        ("wal_level", "logical"),
        ("listen_addresses", ""),
    ],
)
async def test_the_posting_role_finds_the_settings(
    server: PostgresServer, name: str, expected: str
) -> None:
    """A posting connection has its time limits, and a server with checksums, UTF-8 and locale C."""
    query = f"SELECT current_setting('{name}')"
    if name == "lc_collate":
        query = "SELECT datcollate FROM pg_database WHERE datname = current_database()"

    assert expected == await value(server.posting_dsn, query)


async def test_the_owner_owns_the_database_and_may_replicate(server: PostgresServer) -> None:
    """ledger_owner owns the database, may replicate, and is no superuser."""
    query = """
        SELECT pg_get_userbyid(datdba), rolreplication, rolsuper
          FROM pg_database, pg_roles
         WHERE datname = current_database() AND rolname = 'ledger_owner'
    """

    assert [("ledger_owner", True, False)] == await ask(server.owner_dsn, query)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE SCHEMA mine",
        "CREATE TABLE public.mine (n int)",
        "CREATE TEMPORARY TABLE mine (n int)",
        "CREATE ROLE other",
        "CREATE DATABASE other",
        "SELECT pg_read_file('PG_VERSION')",
        "ALTER ROLE ledger_owner PASSWORD 'x'",
    ],
)
async def test_the_posting_role_may_create_nothing(server: PostgresServer, statement: str) -> None:
    """ledger_posting owns nothing and cannot make itself an owner."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await ask(server.posting_dsn, statement)


@pytest.mark.parametrize("role", ["postgres", "ledger_owner", "ledger_posting"])
@pytest.mark.parametrize("password", ["", "wrong"])
async def test_nobody_gets_in_without_the_password(
    server: PostgresServer, role: str, password: str
) -> None:
    """Sockets ask for the password as well: no role is ever trusted."""
    dsn = make_conninfo(server.posting_dsn, user=role, passfile=os.devnull, password=password)

    with pytest.raises(psycopg.OperationalError, match="password"):
        await ask(dsn, "SELECT 1")


async def test_no_line_of_pg_hba_trusts(server: PostgresServer) -> None:
    """Every line of the server's access rules asks for SCRAM."""
    query = "SELECT DISTINCT auth_method FROM pg_hba_file_rules"

    assert [("scram-sha-256",)] == await ask(server.superuser_dsn, query)


async def test_only_the_caller_may_read_the_passwords(server: PostgresServer) -> None:
    """The password file is readable by its owner alone."""
    assert 0o600 == server.passwords.path.stat().st_mode & 0o777


async def test_passwords_stay_out_of_processes_and_logs(server: PostgresServer) -> None:
    """No password stands in an argument or environment of the server, its settings or its log."""
    identity = server.process.identity()
    assert identity is not None
    process = psutil.Process(identity.pid)
    visible = f"{process.cmdline()} {process.environ()} {server.process.log_file.read_text()}"
    visible += (server.folder / "postgresql.conf").read_text()

    assert [] == [word for word in server.passwords.read().values() if word in visible]


async def test_committed_rows_survive_a_crash(server: PostgresServer) -> None:
    """What was committed before SIGKILL is there after the next start."""
    await ask(server.owner_dsn, "CREATE TABLE kept AS SELECT 41 + 1 AS n")

    await server.kill()
    killed = server.is_running()
    await server.start()

    assert (False, 42) == (killed, await value(server.owner_dsn, "TABLE kept"))


async def test_a_start_clears_away_what_a_killed_server_left(server: PostgresServer) -> None:
    """Sessions that outlived their server's first process do not stop the next start."""
    identity = server.process.identity()
    assert identity is not None
    async with await psycopg.AsyncConnection.connect(server.superuser_dsn) as session:
        # A stopped process cannot notice that its parent died.
        os.kill(session.info.backend_pid, signal.SIGSTOP)
        os.kill(identity.pid, signal.SIGKILL)
        await identity.gone(30)

        await server.start()

    assert 1 == await value(server.posting_dsn, "SELECT 1")


async def test_a_lock_file_that_names_another_process_is_stale(server: PostgresServer) -> None:
    """After a reboot the old server's process id may be anybody's; the start does not care."""
    account = service_account()
    folder = server.folder
    await server.kill()
    bystander = ManagedProcess("sleep", pid_file=folder / "other.pid", log_file=folder / "other")
    await bystander.start(
        ["/usr/bin/env", "sleep", "600"],
        folder=Path("/"),
        environment={"PATH": "/usr/bin:/bin"},
        account=account,
    )
    identity = bystander.identity()
    assert identity is not None
    (server.data / "postmaster.pid").write_text(f"{identity.pid}\n{server.data}\n")
    (server.sockets / ".s.PGSQL.5432.lock").write_text(f"{identity.pid}\n")
    try:
        await server.start()

        assert (True, 1) == (bystander.is_running(), await value(server.posting_dsn, "SELECT 1"))
    finally:
        await bystander.kill()


async def test_a_server_without_its_pid_file_is_found(server: PostgresServer) -> None:
    """A starter killed before it wrote the pid file leaves a server that is still stopped."""
    server.process.pid_file.unlink()
    other = PostgresServer("shard-1", server.folder)

    found = other.is_running()
    await other.stop()
    stopped = server.is_running()
    await server.start()

    assert (True, False) == (found, stopped)


async def test_an_unfinished_initialisation_is_begun_again() -> None:
    """What a killed first start left behind neither harms the next one nor stays."""
    folder = temporary_folder()
    server = PostgresServer("shard-1", folder / "shard-1")
    half = server.folder / "draft-half" / "data"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    try:
        await server.start()

        assert (1, False) == (await value(server.posting_dsn, "SELECT 1"), half.exists())
    finally:
        await server.destroy()
        shutil.rmtree(folder)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_restart_keeps_the_tcp_address(mode: str) -> None:
    """A server with a port answers under it after each kind of restart, from loopback alone."""
    folder = temporary_folder()
    port = free_port()
    server = PostgresServer("shard-1", folder / "shard-1", tcp_port=port)
    try:
        await server.start()
        await server.restart("fast" if mode == "fast" else "immediate")

        parts = conninfo_to_dict(server.posting_dsn)
        assert ("127.0.0.1", str(port)) == (parts["host"], parts["port"])
        assert "127.0.0.1" == await value(server.posting_dsn, "SHOW listen_addresses")
    finally:
        await server.destroy()
        shutil.rmtree(folder)


async def test_a_port_in_use_is_named() -> None:
    """A server whose port is taken says which port, and is not left half started."""
    folder = temporary_folder()
    taken = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", free_port())
    port = taken.sockets[0].getsockname()[1]
    server = PostgresServer("shard-1", folder / "shard-1", tcp_port=port)
    try:
        with pytest.raises(PortInUse, match=str(port)):
            await server.start()
        assert not server.is_running()
    finally:
        taken.close()
        await server.destroy()
        shutil.rmtree(folder)


async def test_a_long_and_odd_path_works() -> None:
    """A data folder with spaces, quotes and commas, too long for a socket, is as good as any."""
    folder = temporary_folder()
    deep = folder / ("it's, a bank " + "x" * 80)
    server = PostgresServer("shard-1", deep / "shard-1")
    deep.mkdir()
    deep.chmod(0o711)
    try:
        await server.start()

        assert "ledger_posting" == await value(server.posting_dsn, "SELECT current_user")
    finally:
        await server.destroy()
        shutil.rmtree(folder)
    assert not server.sockets.exists()


async def test_lost_passwords_are_a_clear_error(server: PostgresServer) -> None:
    """Without the passwords the data was initialised with, the error names the password file."""
    other_file = PasswordFile(server.folder / "other.pgpass")
    other_file.obtain()
    other = PostgresServer("shard-1", server.folder, passwords=other_file)

    with pytest.raises(FolderError, match=r"other\.pgpass"):
        await other.start()


@pytest.mark.parametrize("text", ["", "*:*:*:postgres\n", "nonsense"])
async def test_a_damaged_password_file_is_a_clear_error(server: PostgresServer, text: str) -> None:
    """A password file that lacks a role is named, and not repaired behind its owner's back."""
    damaged = PasswordFile(server.folder / "damaged.pgpass")
    damaged.path.write_text(text)

    with pytest.raises(FolderError, match=r"damaged\.pgpass"):
        await PostgresServer("shard-1", server.folder, passwords=damaged).start()


@as_root
async def test_root_is_told_what_the_account_cannot_enter() -> None:
    """A data folder below a closed one names the folder to open."""
    folder = temporary_folder()
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    try:
        with pytest.raises(FolderUnreachable, match=str(closed)):
            await PostgresServer("shard-1", closed / "shard-1").start()
    finally:
        shutil.rmtree(folder)


@as_root
async def test_the_server_of_root_runs_under_another_account(server: PostgresServer) -> None:
    """PostgreSQL's process and data belong to the unprivileged account."""
    account = service_account()
    identity = server.process.identity()
    assert account is not None
    assert identity is not None

    uids = (psutil.Process(identity.pid).uids().effective, server.data.stat().st_uid)

    assert (account.uid, account.uid) == uids


@as_root
async def test_binaries_out_of_reach_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Binaries below a folder only root can enter are copied to where the account can run them."""
    folder = temporary_folder()
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    for part in (binaries._PACKAGE, binaries._LIBRARIES):
        (closed / part).symlink_to(binaries._installed_site() / part)
    monkeypatch.setattr(binaries, "_installed_site", lambda: closed)
    monkeypatch.setattr(binaries, "_COPIES", folder / "copies")
    server = PostgresServer("shard-1", folder / "shard-1")
    try:
        await server.start()
        # A cleaner of temporary folders may take single files away.
        await server.stop()
        copy = next((folder / "copies").glob("*/*/*/bin/initdb"))
        copy.unlink()
        await server.start()

        assert (1, True) == (await value(server.posting_dsn, "SELECT 1"), copy.exists())
    finally:
        await server.destroy()
        shutil.rmtree(folder)
