"""What tests need that take servers away."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from deploy.embedded.ports import free_port
from deploy.embedded.temporal import TemporalServer
from tests.support.databases import temporary_folder


@pytest.fixture
async def own_temporal() -> AsyncIterator[TemporalServer]:
    """A running Temporal server of one test, which may stop, kill or replace it."""
    async with temporary_folder("temporal") as folder:
        port = free_port()
        server = TemporalServer(folder / "own", port=port, ui_port=free_port(frozenset({port})))
        await server.start()
        try:
            yield server
        finally:
            await server.destroy()
