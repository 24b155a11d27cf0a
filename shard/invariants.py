"""What must hold on one shard at every instant, checked in one snapshot."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files

from psycopg import IsolationLevel
from psycopg.rows import TupleRow

from shard.connections import Connection, connect, failures_told
from shard.limits import FINDINGS_PER_INVARIANT
from shard.named_queries import load_queries

_QUERIES = load_queries((files("shard") / "sql" / "invariants.sql").read_text())
_NO_CHECKS = ("lift_time_limit", "clearing_balances", "trial_balance", "deliveries_booked")
INVARIANTS: tuple[str, ...] = tuple(name for name in _QUERIES if name not in _NO_CHECKS)
"""The names of the checks, in the order in which they run."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One violation of one invariant on one shard."""

    shard: int
    invariant: str
    detail: str


@dataclass(frozen=True, slots=True)
class ClearingBalance:
    """What ``clearing(this->peer)`` holds in ``currency``."""

    peer: int
    currency: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class TrialLine:
    """Accounts of one kind and currency: how many, their debit (<= 0) and credit (>= 0) sums."""

    currency: str
    kind: str
    accounts: int
    debit: Decimal
    credit: Decimal


class Invariants:
    """Checks one shard's books; every call has a connection and a snapshot of its own."""

    def __init__(self, number: int, dsn: str) -> None:
        self._number = number
        self._dsn = dsn

    async def check(self) -> list[Finding]:
        """Every violation, at most ``FINDINGS_PER_INVARIANT`` of each kind."""
        async with failures_told(), await connect(self._dsn, is_for_reports=True) as connection:
            await _take_snapshot(connection)
            findings = []
            for name in INVARIANTS:
                cursor = await connection.execute(_QUERIES[name])
                for (detail,) in await cursor.fetchmany(FINDINGS_PER_INVARIANT):
                    findings.append(Finding(self._number, name, detail))
            return findings

    async def clearing(self) -> list[ClearingBalance]:
        """The clearing accounts towards every peer, this shard included."""
        return [ClearingBalance(*row) for row in await self._figures("clearing_balances")]

    async def trial_balance(self) -> list[TrialLine]:
        """Debits and credits by currency and kind of account, where anything was ever booked."""
        return [TrialLine(*row) for row in await self._figures("trial_balance")]

    async def _figures(self, name: str) -> list[TupleRow]:
        async with failures_told(), await connect(self._dsn, is_for_reports=True) as connection:
            await _take_snapshot(connection)
            return await (await connection.execute(_QUERIES[name])).fetchall()


async def _take_snapshot(connection: Connection) -> None:
    await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
    await connection.set_read_only(True)
    await connection.execute(_QUERIES["lift_time_limit"])
