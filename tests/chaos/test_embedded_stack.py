"""The embedded stack: brought up, killed, brought up again, taken down, by whoever comes."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest

from deploy.embedded.folders import temporary_folder
from deploy.embedded.ports import free_port
from deploy.embedded.stack import EmbeddedStack
from deploy.errors import (
    FolderError,
    FolderForeign,
    FolderUnsafe,
    FolderVersionMismatch,
    PortInUse,
    StackDiffers,
    StackNotUp,
)

ROOT = Path(__file__).parents[2]
Stacks = Callable[..., EmbeddedStack]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the servers can reach."""
    folder = temporary_folder()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
async def fresh(folder: Path) -> AsyncIterator[Stacks]:
    """Makes stacks in one new data folder, destroyed at the end."""
    yield partial(stack_in, folder / "data")
    await stack_in(folder / "data").destroy()


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[Stacks]:
    """Makes stacks in a data folder that tests share; each of them can bring it up again."""
    folder = temporary_folder()
    yield partial(stack_in, folder / "data")
    await stack_in(folder / "data").destroy()
    shutil.rmtree(folder)


def stack_in(data: Path, *, shards: int = 1, tcp: bool = False) -> EmbeddedStack:
    """A small stack without Temporal."""
    return EmbeddedStack(data, shards=shards, tcp=tcp, with_temporal=False)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def open_to_everybody(folder: Path) -> None:
    folder.chmod(0o777)


async def who_answers(dsn: str) -> tuple[object, ...] | None:
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        cursor = await connection.execute("SELECT current_user, current_database()")
        return await cursor.fetchone()


async def pids(stack: EmbeddedStack) -> dict[str, int | None]:
    return {service.name: service.pid for service in await stack.status()}


async def running(stack: EmbeddedStack) -> dict[str, bool]:
    return {service.name: service.is_ready for service in await stack.status()}


async def test_each_address_leads_to_its_role_and_database(
    shared: Stacks,
) -> None:
    """Shards and directory are reached by both roles, under the addresses of the endpoints."""
    endpoints = await shared().up()

    dsns = [*endpoints.shard_dsns.values(), *endpoints.shard_owner_dsns.values()]
    dsns += [endpoints.directory_dsn, endpoints.directory_owner_dsn]

    assert [
        ("ledger_posting", "ledger"),
        ("ledger_owner", "ledger"),
        ("ledger_posting", "directory"),
        ("ledger_owner", "directory"),
    ] == [await who_answers(dsn) for dsn in dsns]


async def test_another_command_finds_the_stack(shared: Stacks) -> None:
    """A stack object that brought nothing up reads the same endpoints and takes it down."""
    endpoints = await shared().up()
    other = EmbeddedStack(shared().folder)
    found = other.endpoints()

    await other.down()

    assert (endpoints, {"directory": False, "shard-1": False}) == (found, await running(shared()))


async def test_up_starts_only_what_is_missing(shared: Stacks) -> None:
    """A second `up` leaves running servers alone and starts the one that was killed."""
    await shared().up()
    before = await pids(shared())
    await shared().shard_server(1).kill()

    await shared().up()

    after = await pids(shared())
    assert (True, False) == tuple(before[name] == after[name] for name in ("directory", "shard-1"))


async def test_a_stack_grows_and_does_not_shrink(fresh: Stacks) -> None:
    """More shards join running ones; fewer than the folder holds are refused."""
    await fresh().up()
    before = await pids(fresh())

    endpoints = await fresh(shards=2).up()

    after = await pids(fresh())
    assert ({1, 2}, before["shard-1"]) == (set(endpoints.shard_dsns), after["shard-1"])
    with pytest.raises(StackDiffers, match="holds 2 shards"):
        await fresh().up()


async def test_tcp_is_not_changed_under_running_servers(
    fresh: Stacks,
) -> None:
    """Servers without TCP must be stopped before TCP is asked for; then it works."""
    await fresh().up()
    with pytest.raises(StackDiffers, match="without TCP"):
        await fresh(tcp=True).up()

    await fresh().down()
    endpoints = await fresh(tcp=True).up()

    assert "host=127.0.0.1" in endpoints.shard_dsns[1]
    assert ("ledger_posting", "ledger") == await who_answers(endpoints.shard_dsns[1])


@pytest.mark.parametrize("line", ["shard-1: creating", "shard-1 answers"])
async def test_an_up_that_was_killed_is_repeated(
    fresh: Callable[..., EmbeddedStack], line: str
) -> None:
    """Wherever `up` was killed, the next one works and the next `down` finds everything."""
    program = (
        "import asyncio, functools, pathlib\n"
        "from deploy.embedded.stack import EmbeddedStack\n"
        f"stack = EmbeddedStack(pathlib.Path({str(fresh().folder)!r}),\n"
        "    shards=1, with_temporal=False)\n"
        "asyncio.run(stack.up(functools.partial(print, flush=True)))\n"
    )
    first = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert first.stdout is not None
    while line not in (await first.stdout.readline()).decode():
        assert not first.stdout.at_eof()
    first.kill()
    await first.wait()

    await fresh().up()

    assert {"directory": True, "shard-1": True} == await running(fresh())


async def test_two_ups_at_once_make_one_stack(shared: Stacks) -> None:
    """The second of two simultaneous `up` waits for the first and finds its servers."""
    lines: list[str] = []

    first, second = await asyncio.gather(shared().up(), shared().up(lines.append))

    assert first == second
    assert ["Another command works on this folder; waiting for it"] == lines


async def test_a_failed_up_stops_what_it_started(folder: Path) -> None:
    """When one server cannot start, the others that this call started do not stay behind."""
    stack = EmbeddedStack(folder / "data", shards=1, with_temporal=False)
    await stack.up()
    await stack.down()
    (folder / "data" / "shard-1" / "data" / "PG_VERSION").write_text("17\n")

    with pytest.raises(FolderVersionMismatch, match="PostgreSQL 17"):
        await stack.up()

    assert {"directory": False, "shard-1": False} == await running(stack)
    await stack.destroy()


async def test_destroy_leaves_nothing(folder: Path) -> None:
    """Destroying stops the servers and deletes the folder; a second time does nothing."""
    stack = EmbeddedStack(folder / "data", shards=1, with_temporal=False)
    await stack.up()
    server = stack.shard_server(1)

    await stack.destroy()
    await stack.destroy()

    assert (False, False) == ((folder / "data").exists(), server.is_running())


async def test_a_requested_port_in_use_is_named(folder: Path) -> None:
    """`up` refuses a requested port that is taken, names it, and starts nothing."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        stack = EmbeddedStack(folder / "data", shards=1, ports={"temporal-ui": port})

        with pytest.raises(PortInUse, match=f"temporal-ui .* port {port} "):
            await stack.up()

    assert [] == await stack.status()


async def test_remembered_ports_are_kept_or_replaced(fresh: Stacks) -> None:
    """A stack comes back under its ports; one that was taken meanwhile is replaced, and said."""
    first = await fresh(tcp=True).up()
    await fresh(tcp=True).down()
    second = await fresh(tcp=True).up()
    await fresh(tcp=True).down()
    port = int(first.shard_dsns[1].split("port=")[1].split()[0])
    lines: list[str] = []
    with socket.create_server(("127.0.0.1", port)):
        third = await fresh(tcp=True).up(lines.append)

    assert first == second
    assert first.directory_dsn == third.directory_dsn
    assert first.shard_dsns != third.shard_dsns
    assert [line for line in lines if f"port {port} is used" in line]


@pytest.mark.parametrize("action", ["up", "down", "status", "destroy"])
async def test_a_folder_of_another_version_is_refused(folder: Path, action: str) -> None:
    """A folder that another version wrote is named with both versions and left alone."""
    (folder / "VERSION").write_text("format 99, PostgreSQL 20\n")
    stack = EmbeddedStack(folder, shards=1, with_temporal=False)

    with pytest.raises(FolderVersionMismatch, match=r"format 99, PostgreSQL 20.*format 1,"):
        await getattr(stack, action)()

    assert ["VERSION"] == names_in(folder)


@pytest.mark.parametrize("action", ["up", "down", "status", "destroy"])
async def test_a_folder_with_other_things_is_refused(folder: Path, action: str) -> None:
    """A folder that holds anything else is neither used nor deleted."""
    (folder / "thesis.tex").write_text("precious\n")
    stack = EmbeddedStack(folder, shards=1, with_temporal=False)

    with pytest.raises(FolderForeign, match=r"thesis\.tex"):
        await getattr(stack, action)()

    assert ["thesis.tex"] == names_in(folder)


async def test_a_folder_everybody_may_write_to_is_refused(folder: Path) -> None:
    """Secrets are not kept where others could have put a file in the way."""
    open_to_everybody(folder)

    with pytest.raises(FolderUnsafe, match="chmod o-w"):
        await EmbeddedStack(folder, shards=1, with_temporal=False).up()


async def test_a_damaged_record_is_named(shared: Stacks) -> None:
    """A record that cannot be read is a clear error with its path."""
    await shared().up()
    await shared().down()
    record = shared().folder / "stack.json"
    text = record.read_text()
    record.write_text(text[:20])

    with pytest.raises(FolderError, match=r"stack\.json is damaged"):
        shared().endpoints()

    record.write_text(text)


async def test_a_folder_without_a_stack_has_no_endpoints(folder: Path) -> None:
    """Before the first `up` there are no endpoints, and the error says what to run."""
    with pytest.raises(StackNotUp, match="ledger up"):
        EmbeddedStack(folder / "data").endpoints()


async def test_a_stack_without_temporal_has_no_temporal_address(
    shared: Stacks,
) -> None:
    """The Temporal fields are empty when Temporal is not part of the stack."""
    endpoints = await shared().up()

    assert ("", "", "") == (
        endpoints.temporal_address,
        endpoints.temporal_namespace,
        endpoints.temporal_ui_url,
    )


async def test_the_secrets_are_closed_to_others(shared: Stacks) -> None:
    """Only the caller can enter the folder of the passwords and read them."""
    await shared().up()
    secrets = shared().folder / "secrets"

    modes = [path.stat().st_mode & 0o777 for path in (secrets, secrets / "pgpass")]
    owners = {path.stat().st_uid for path in (secrets, secrets / "pgpass")}

    assert ([0o700, 0o600], {os.geteuid()}) == (modes, owners)


def test_free_ports_lie_below_those_of_outgoing_connections() -> None:
    """A free port is outside the range from which the system serves clients."""
    assert 20_000 <= free_port() < 32_768
