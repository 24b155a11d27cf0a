"""The server's socket: loopback only unless told otherwise, and clear words for a taken port."""

from __future__ import annotations

import asyncio
import json
import socket

import httpx
import pytest

from router.http.server import PortInUse, RemoteHostRefused, listen
from shard.errors import Misconfigured
from tests.support.scripted_bank import ScriptedBank
from tests.support.serving import served

TRANSFER = {
    "reference": "PAY-17",
    "debtor_account": "2000000123",
    "creditor_account": "3000000456",
    "amount": "20.00",
    "currency": "EUR",
}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost"])
def test_loopback_addresses_are_served(host: str) -> None:
    """Every loopback address will do; port 0 is any free port."""
    with listen(host, 0, allow_remote=False) as listener:
        assert listener.getsockname()[1] > 0


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1"])  # noqa: S104  # what is refused
def test_other_addresses_are_refused(host: str) -> None:
    """Without access control nobody else may reach the API, also not by a changed setting."""
    with pytest.raises(RemoteHostRefused):
        listen(host, 0, allow_remote=False)


def test_other_addresses_may_be_allowed() -> None:
    """Something else may guard the API; then any address is served."""
    with listen("0.0.0.0", 0, allow_remote=True) as listener:  # noqa: S104  # what is allowed
        assert "0.0.0.0" == listener.getsockname()[0]  # noqa: S104  # what is allowed


def test_a_port_in_use_is_told_in_words() -> None:
    """The error names the port, and is one of the ledger's own."""
    with listen("127.0.0.1", 0, allow_remote=False) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse, match=f"Port {port} on 127.0.0.1 is in use"):
            listen("127.0.0.1", port, allow_remote=False)


def test_an_unknown_host_is_told_in_words() -> None:
    """A host that does not resolve is a wrong setting."""
    with pytest.raises(Misconfigured, match="cannot be resolved"):
        listen("no-such-host.invalid", 0, allow_remote=False)


async def test_requests_are_served_over_a_socket() -> None:
    """uvicorn's own headers say nothing about it, and the connection stays open."""
    async with served(ScriptedBank()) as url, httpx.AsyncClient(base_url=url) as client:
        first = await client.post("/v1/transfers", json=TRANSFER)
        second = await client.post("/v1/transfers", json=TRANSFER)
    assert (201, 201) == (first.status_code, second.status_code)
    assert "server" not in first.headers


async def test_the_connection_ends_after_a_body_too_large() -> None:
    """What is not read cannot be skipped, so the server closes instead of reading on."""
    async with served(ScriptedBank()) as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = "POST /v1/transfers HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: 999999999\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 413")
    assert "BODY_TOO_LARGE" == json.loads(answer.partition(b"\r\n\r\n")[2])["code"]


async def test_requests_under_way_are_finished_before_the_end() -> None:
    """A shutdown answers what it has begun, and takes no new connection."""
    bank = ScriptedBank()
    may_end = bank.transfers.may_end = asyncio.Event()
    async with httpx.AsyncClient() as client:
        async with served(bank) as url:
            under_way = asyncio.create_task(client.post(f"{url}/v1/transfers", json=TRANSFER))
            await bank.transfers.begun.wait()
            asyncio.get_running_loop().call_soon(may_end.set)
        response = await under_way
    assert 201 == response.status_code
    with pytest.raises(OSError), socket.create_connection(_address(url)):
        pass


def _address(url: str) -> tuple[str, int]:
    host, port = url.removeprefix("http://").split(":")
    return host, int(port)
