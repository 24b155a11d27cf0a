"""How long and how large a run of the benchmark is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Extent:
    """Times are seconds for each single measurement, counts are of transfers unless named."""

    rounds: int
    seconds: float
    accounts_per_shard: int
    clients: tuple[int, ...]
    """Numbers of clients that pgbench is tried with."""
    lane_clients: tuple[int, ...]
    """Numbers of clients that the lanes are tried with."""
    connections: tuple[int, ...]
    """Numbers of keep-alive connections that single transfers are tried with."""
    lane_transfers: int
    """Transfers of one measurement through the lanes."""
    bulk_lines: int
    """Lines of all streams of one bulk measurement together."""
    stored_transfers: int
    """Transfers whose room on disk is measured."""
    shards_transfers: int
    """Transfers whose CPU time is measured, on one shard and on eight."""
    pairs: int
    """How often two things are measured one right after the other for one ratio."""
    wal_files: int
    """Files of write-ahead log that each shard has used before it is measured."""
    aged_entries: int
    """Entries that stand in a ledger when it counts as aged."""
    aged_accounts: int
    """Accounts of the shard whose ledger is aged."""
    aged_seconds: float


QUICK = Extent(
    rounds=1,
    seconds=1.5,
    accounts_per_shard=500,
    clients=(8,),
    lane_clients=(2,),
    connections=(32,),
    lane_transfers=20_000,
    bulk_lines=4_000,
    stored_transfers=5_000,
    shards_transfers=4_000,
    pairs=1,
    wal_files=0,
    aged_entries=100_000,
    aged_accounts=1_000,
    aged_seconds=2.0,
)
FULL = Extent(
    rounds=3,
    seconds=8.0,
    accounts_per_shard=5_000,
    clients=(4, 8, 16),
    lane_clients=(2, 4),
    connections=(16, 32, 64, 128),
    lane_transfers=150_000,
    bulk_lines=120_000,
    stored_transfers=100_000,
    shards_transfers=30_000,
    pairs=5,
    wal_files=60,
    aged_entries=10_000_000,
    aged_accounts=50_000,
    aged_seconds=12.0,
)
