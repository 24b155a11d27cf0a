"""The embedded Temporal server, and the ways its program is obtained."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client, WorkflowExecutionStatus

from deploy.embedded import temporal_binary
from deploy.embedded.folders import temporary_folder
from deploy.embedded.ports import free_port
from deploy.embedded.temporal import SEARCH_ATTRIBUTES, TemporalServer
from deploy.embedded.temporal_binary import obtain_temporal
from deploy.errors import PortInUse, TemporalNotObtainable

FAKE_GO = """#!/bin/sh
echo built >> {log}
{action}
"""
BUILDS = 'echo program > "$GOBIN/temporal"'
FAILS = 'echo half > "$GOBIN/temporal.tmp"; echo "proxy refused"; exit 1'


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[TemporalServer]:
    """A Temporal server that the tests of this file share."""
    folder = temporary_folder()
    port = free_port()
    server = TemporalServer(folder / "temporal", port=port, ui_port=free_port(frozenset({port})))
    await server.start()
    yield server
    await server.destroy()
    shutil.rmtree(folder)


async def test_workflows_survive_a_crash_of_the_server(server: TemporalServer) -> None:
    """A workflow started before SIGKILL still runs after the restart, at the same address."""
    client = await Client.connect(server.address)
    await client.start_workflow("Waits", id="kept", task_queue="nobody")

    await server.kill()
    killed = server.is_running()
    await server.start()
    after = await Client.connect(server.address)
    description = await after.get_workflow_handle("kept").describe()

    assert (False, WorkflowExecutionStatus.RUNNING) == (killed, description.status)


async def test_every_search_attribute_is_registered(server: TemporalServer) -> None:
    """The attributes that sagas set exist with their types, also after a restart."""
    await server.restart()
    client = await Client.connect(server.address)

    answer = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace="default")
    )
    found = {
        name: IndexedValueType.Name(kind).removeprefix("INDEXED_VALUE_TYPE_").capitalize()
        for name, kind in answer.custom_attributes.items()
    }

    assert dict(SEARCH_ATTRIBUTES) == {name: found.get(name) for name in SEARCH_ATTRIBUTES}


async def test_the_server_listens_on_loopback_only(server: TemporalServer) -> None:
    """No port of the server, also none it chose by itself, is reachable from outside."""
    identity = server.process.identity()
    assert identity is not None

    connections = psutil.Process(identity.pid).net_connections(kind="inet")
    addresses = {entry.laddr.ip for entry in connections if entry.status == psutil.CONN_LISTEN}

    assert {"127.0.0.1"} == addresses


async def test_the_ui_answers_on_its_own_port(server: TemporalServer) -> None:
    """The web UI is served under the address of the endpoints."""
    host, port = server.ui_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
    await writer.drain()

    status = await reader.readline()
    writer.close()

    assert b"200" == status.split()[1]


async def test_a_server_without_its_pid_file_is_found(server: TemporalServer) -> None:
    """A starter killed before it wrote the pid file leaves a server that is still found."""
    identity = server.process.identity()
    server.process.pid_file.unlink()

    found = server.is_running()

    assert (True, identity) == (found, server.process.identity())


async def test_a_port_in_use_is_named(server: TemporalServer, tmp_path: Path) -> None:
    """A second server on the same port says which port is taken."""
    port = int(server.address.split(":")[1])
    second = TemporalServer(tmp_path / "second", port=port, ui_port=free_port())

    with pytest.raises(PortInUse, match=str(port)):
        await second.start()


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with an empty PATH and cache, and no way to the download."""

    async def unreachable(draft: Path, report: object) -> Path:
        raise temporal_binary._SourceFailed("download by the SDK: no route to host")

    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("LEDGER_TEMPORAL_BIN", raising=False)
    monkeypatch.setattr(temporal_binary, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(temporal_binary, "_USUAL_GO", str(tmp_path / "bin" / "no-go"))
    monkeypatch.setattr(temporal_binary, "_download", unreachable)
    return tmp_path


def install_go(bare: Path, action: str) -> None:
    """Puts a `go` on the PATH that does the action and counts its calls."""
    program = bare / "bin" / "go"
    program.write_text(FAKE_GO.format(log=bare / "calls", action=action))
    program.chmod(0o755)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def ignore(line: str) -> None:
    """Takes a line of progress and shows it to nobody."""


async def test_a_chosen_program_that_is_not_temporal_is_refused(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What LEDGER_TEMPORAL_BIN names is used or refused, never silently replaced."""
    monkeypatch.setenv("LEDGER_TEMPORAL_BIN", "/bin/true")

    with pytest.raises(TemporalNotObtainable, match="LEDGER_TEMPORAL_BIN names /bin/true"):
        await obtain_temporal(ignore)


@pytest.mark.parametrize(
    "way", ["LEDGER_TEMPORAL_BIN", "temporal.download", "go install", "no route to host"]
)
async def test_without_any_source_the_error_names_each_way(bare: Path, way: str) -> None:
    """When nothing works, the error names all three ways and why those that were tried failed."""
    with pytest.raises(TemporalNotObtainable, match=way):
        await obtain_temporal(ignore)


async def test_a_build_is_kept(bare: Path) -> None:
    """The second call takes the program from the cache."""
    install_go(bare, BUILDS)

    first = await obtain_temporal(ignore)
    second = await obtain_temporal(ignore)

    assert (first, "built\n") == (second, (bare / "calls").read_text())


async def test_two_builds_at_once_build_once(bare: Path) -> None:
    """Of two simultaneous calls one builds, and the other waits and takes its program."""
    install_go(bare, BUILDS)

    first, second = await asyncio.gather(obtain_temporal(ignore), obtain_temporal(ignore))

    assert (first, "built\n") == (second, (bare / "calls").read_text())


async def test_a_failed_build_is_never_half_used(bare: Path) -> None:
    """A build that failed shows its last words and leaves no program in the cache."""
    install_go(bare, FAILS)

    with pytest.raises(TemporalNotObtainable, match="proxy refused"):
        await obtain_temporal(ignore)

    assert ["temporal.lock"] == names_in(bare / "cache")


async def test_a_killed_build_is_cleared_away(bare: Path) -> None:
    """What a killed build left in the cache is removed by the next one."""
    install_go(bare, BUILDS)
    (bare / "cache" / "draft-killed").mkdir(parents=True)
    (bare / "cache" / "draft-killed" / "temporal").write_text("half")

    program = await obtain_temporal(ignore)

    assert [program.name, "temporal.lock"] == names_in(bare / "cache")
