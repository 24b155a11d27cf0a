"""Where the servers of a stack are reached."""

import json
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Connection strings and addresses. They hold no password: they name a password file.

    The Temporal fields are empty when Temporal is not part of the stack.
    """

    shard_dsns: Mapping[int, str]
    shard_owner_dsns: Mapping[int, str]
    directory_dsn: str
    directory_owner_dsn: str
    temporal_address: str
    temporal_namespace: str
    temporal_ui_url: str

    def environment(self) -> dict[str, str]:
        """The settings that make any process of the system use these servers."""
        return {
            "LEDGER_SHARD_DSNS": json.dumps(_by_name(self.shard_dsns)),
            "LEDGER_SHARD_OWNER_DSNS": json.dumps(_by_name(self.shard_owner_dsns)),
            "LEDGER_DIRECTORY_DSN": self.directory_dsn,
            "LEDGER_DIRECTORY_OWNER_DSN": self.directory_owner_dsn,
            "LEDGER_TEMPORAL_ADDRESS": self.temporal_address,
            "LEDGER_TEMPORAL_NAMESPACE": self.temporal_namespace,
            "LEDGER_TEMPORAL_UI_URL": self.temporal_ui_url,
        }


def _by_name(dsns: Mapping[int, str]) -> dict[str, str]:
    return {str(shard): dsns[shard] for shard in sorted(dsns)}
