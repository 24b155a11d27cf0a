"""Serving the API with uvicorn: one process, one event loop, an orderly end.

Run it inside a uvloop loop for the figures of the README; any asyncio loop will do.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog
import uvicorn
from starlette.types import ASGIApp

from router import process_memory
from router.http.app import create_app
from router.http.one_write import OneWriteProtocol
from router.limits import (
    BACKLOG_CONNECTIONS,
    CONNECTIONS_MAX,
    DESCRIPTORS_RESERVED,
    KEEP_ALIVE_S,
    SHUTDOWN_GRACE_S,
)
from router.settings import Settings
from router.telemetry import Metrics, tracing_from_environment
from router.wiring import Bank
from shard.errors import Misconfigured

_log = structlog.get_logger(__name__)

_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class PortInUse(Misconfigured):
    """Another process listens on this port already."""


class RemoteHostRefused(Misconfigured):
    """The API has no access control yet and serves loopback addresses only."""


async def serve(settings: Settings, *, on_start: Callable[[str], None] | None = None) -> None:
    """Open the bank and serve it until SIGINT or SIGTERM; then finish what is under way.

    ``on_start`` is told the URL once requests are answered. Raises ``PortInUse``,
    ``RemoteHostRefused`` or another ``Misconfigured`` before anything is opened.
    """
    listener = listen(
        settings.http_host, settings.http_port, allow_remote=settings.http_allow_remote
    )
    metrics, tracing = Metrics(), tracing_from_environment()
    OneWriteProtocol.connections_max = _room_for_connections()
    with listener:
        async with Bank(settings, observer=metrics, tracing=tracing) as bank:
            url = url_of(listener)
            _log.info("serving", url=url)
            server = make_server(create_app(bank, metrics, tracing))
            process_memory.settle()
            if on_start is not None:
                on_start(url)
            await server.serve(sockets=[listener])
    if tracing is not None:
        await asyncio.to_thread(tracing.close)


def _room_for_connections() -> int:
    """How many connections may be open: as many as wanted, or as the operating system allows.

    Many systems allow a process a thousand descriptors unless it asks for more; one that has
    none left can neither accept nor refuse.
    """
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS_MAX + DESCRIPTORS_RESERVED
    if allowed < wanted:
        allowed = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
    return min(CONNECTIONS_MAX, max(1, allowed - DESCRIPTORS_RESERVED))


def url_of(listener: socket.socket) -> str:
    """Where a listening socket is reached over HTTP."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """A server whose end is the end of ``serve``, also by a signal.

    uvicorn itself raises a signal it caught again afterwards, and so kills the process before
    the bank is closed.
    """

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End on a signal; a second SIGINT does not wait for requests under way."""
        loop = asyncio.get_running_loop()
        for number in _ENDING_SIGNALS:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in _ENDING_SIGNALS:
                loop.remove_signal_handler(number)


def plain_config(app: ASGIApp, **settings: Any) -> uvicorn.Config:
    """uvicorn's settings without what this program does itself, or not at all."""
    return uvicorn.Config(
        app,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        **settings,
    )


def make_server(app: ASGIApp) -> uvicorn.Server:
    """A server for ``app`` that is given its listening socket when it starts."""
    config = plain_config(
        app,
        http=OneWriteProtocol,
        backlog=BACKLOG_CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
    )
    return _Server(config)


def listen(host: str, port: int, *, allow_remote: bool) -> socket.socket:
    """A listening socket; port 0 means any free one.

    Bound here and not by uvicorn, whose own message for a taken port is followed by an exit.
    """
    address = _resolve(host, port)
    if not (allow_remote or ipaddress.ip_address(address[1][0]).is_loopback):
        raise RemoteHostRefused(
            f"{host} is not a loopback address; LEDGER_HTTP_ALLOW_REMOTE=true allows it."
        )
    family, target = address
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(target)
        listener.listen(BACKLOG_CONNECTIONS)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(f"Port {port} on {host} is in use by another process.") from None
        raise Misconfigured(f"Cannot listen on {host}:{port}: {error.strerror}.") from None
    return listener


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise Misconfigured(f"The host {host!r} cannot be resolved: {error.strerror}.") from None
    family, _, _, _, target = found[0]
    return family, (str(target[0]), int(target[1]))
