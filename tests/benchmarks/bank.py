"""The bank that is measured: its servers, its accounts, the processes that serve it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from deploy.embedded.endpoints import Endpoints
from deploy.embedded.stack import EmbeddedStack
from router.settings import Settings
from router.wiring import migrate_all
from tests.benchmarks.accounts import Accounts
from tests.benchmarks.cpu import CpuMeter, server_pid
from tests.benchmarks.extent import Extent
from tests.benchmarks.serving import Serving


@dataclass(frozen=True, slots=True)
class MeasuredBank:
    """Everything a measurement needs; ``api`` holds all serving processes."""

    extent: Extent
    stack: EmbeddedStack
    endpoints: Endpoints
    accounts: Mapping[int, Accounts]
    api: Sequence[Serving] = ()

    def superuser_dsn(self, shard: int) -> str:
        """For pgbench and checkpoints: another database of the shard's own server."""
        return self.stack.shard_server(shard).superuser_dsn

    def ports(self, processes: int) -> list[int]:
        """The ports of that many serving processes."""
        return [each.port for each in self.api[:processes]]

    def meter(self, shards: Collection[int], processes: int = 0) -> CpuMeter:
        """Measures CPU time of some shards' servers and of some serving processes from now on."""
        return CpuMeter(
            {
                "postgresql": [server_pid(self.stack.shard_server(shard)) for shard in shards],
                "serving": [each.process_id for each in self.api[:processes]],
            }
        )


async def migrate(endpoints: Endpoints) -> None:
    """Make a bank of a stack that was just brought up."""
    settings = Settings.model_validate(
        {
            "shard_dsns": dict(endpoints.shard_dsns),
            "shard_owner_dsns": dict(endpoints.shard_owner_dsns),
            "directory_dsn": endpoints.directory_dsn,
            "directory_owner_dsn": endpoints.directory_owner_dsn,
        }
    )
    await migrate_all(settings, report=lambda *_: None)
