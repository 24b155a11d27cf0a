"""Bring one database to the schema of this program: plain SQL files, in order, each once.

A folder holds ``schema.sql`` (migration 1), ``migrations/NNNN_name.sql`` (2 and up) and
``functions/*.sql``, which are applied again, all in order, whenever one of them has changed.
An advisory lock keeps two runners apart; the checksum of what was applied is kept, so that a
migration that was edited afterwards is noticed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable

from shard.connections import Connection, connect, failures_told
from shard.errors import MigrationChanged, SchemaTooNew
from shard.named_queries import QUERIES

_NUMBERED = re.compile(r"(\d{4})_\w+\.sql")


@dataclass(frozen=True, slots=True)
class Script:
    """One SQL file: its number (0 for repeatable functions), name and text."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """What is kept to notice a change of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def read_migrations(folder: Traversable) -> list[Script]:
    """The numbered scripts of a folder, ascending."""
    scripts = [Script(1, "schema.sql", (folder / "schema.sql").read_text())]
    # Until there is a second migration, a clone does not even hold the folder.
    later = (folder / "migrations").iterdir() if (folder / "migrations").is_dir() else ()
    for file in sorted(later, key=lambda f: f.name):
        match = _NUMBERED.fullmatch(file.name)
        if match is not None:
            scripts.append(Script(int(match[1]), file.name, file.read_text()))
    return scripts


def read_functions(folder: Traversable) -> list[Script]:
    """The repeatable scripts of a folder, in the order of their names."""
    if not (folder / "functions").is_dir():
        return []
    files = sorted((folder / "functions").iterdir(), key=lambda f: f.name)
    return [Script(0, f.name, f.read_text()) for f in files if f.name.endswith(".sql")]


async def migrate(owner_dsn: str, folder: Traversable, *, dry_run: bool = False) -> list[str]:
    """Apply what is missing and return the names of what was (or would be) applied.

    Everything is one transaction: it is applied as a whole or not at all. Raises
    ``MigrationChanged``, ``SchemaTooNew``, ``ShardUnavailable``.
    """
    async with (
        failures_told(),
        await connect(owner_dsn) as connection,
        connection.transaction(force_rollback=dry_run),
    ):
        await connection.execute(QUERIES["lock_migrations"])
        await connection.execute(QUERIES["create_migration_table"])
        known = await _applied(connection)
        names = await _apply_numbered(connection, read_migrations(folder), known)
        return names + await _apply_functions(connection, read_functions(folder), known)


async def _applied(connection: Connection) -> Mapping[str, str]:
    cursor = await connection.execute(QUERIES["applied_migrations"])
    return {str(name): str(checksum) for name, checksum in await cursor.fetchall()}


async def _apply_numbered(
    connection: Connection, scripts: list[Script], known: Mapping[str, str]
) -> list[str]:
    names = {script.name for script in scripts}
    strange = [name for name in known if name not in names and name != "functions"]
    if strange:
        raise SchemaTooNew(f"The database carries {', '.join(sorted(strange))}.")
    applied = []
    for script in scripts:
        if script.name in known:
            if known[script.name] != script.checksum:
                raise MigrationChanged(f"{script.name} was changed after it was applied.")
            continue
        await _run(connection, script, script.name, script.checksum)
        applied.append(script.name)
    return applied


async def _apply_functions(
    connection: Connection, scripts: list[Script], known: Mapping[str, str]
) -> list[str]:
    whole = Script(0, "functions", "\n".join(script.text for script in scripts))
    if not scripts or known.get(whole.name) == whole.checksum:
        return []
    for script in scripts:
        await _run(connection, script, whole.name, whole.checksum)
    return [f"functions/{script.name}" for script in scripts]


async def _run(connection: Connection, script: Script, name: str, checksum: str) -> None:
    # As bytes: a script holds several statements and takes no parameters.
    await connection.execute(script.text.encode(), prepare=False)
    await connection.execute(QUERIES["record_migration"], (name, checksum))
