"""pgledger's published design on the same server, for comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import psycopg

from tests.benchmarks.pgbench import best_per_second

_FOLDER = Path(__file__).parent


async def fill_pgledger(superuser_dsn: str, accounts: int) -> None:
    """Make its tables, function and accounts in the database that is named."""
    async with await psycopg.AsyncConnection.connect(superuser_dsn) as connection:
        await connection.execute((_FOLDER / "pgledger.sql").read_bytes())
        filling = (_FOLDER / "pgledger_accounts.sql").read_bytes()
        await connection.execute(filling, {"accounts": accounts})


async def pgledger_per_second(
    superuser_dsn: str, accounts: int, clients: Sequence[int], seconds: float, *, is_hot: bool
) -> dict[int, float]:
    """Transfers a second by number of clients, all to one account or between random ones."""
    script = _FOLDER / ("pgledger_hot.sql" if is_hot else "pgledger_random.sql")
    return await best_per_second(
        superuser_dsn, clients, seconds, f"--define=accounts={accounts}", f"--file={script}"
    )
