"""Who looks on while a shard is written to: in earnest nobody, in tests whoever breaks it there."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import LiteralString, Protocol

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from shard.commands import Command


class Moment(StrEnum):
    """How far a write has come."""

    BEFORE = "before"
    """It is about to be sent."""
    AFTER_COMMIT = "after_commit"
    """The server has committed and answered; nobody has been told."""
    AFTER_REPLY = "after_reply"
    """Whoever asked for it has been told; nothing followed from it yet."""


class Onlooker(Protocol):
    """Looks on; what it raises is met at that very place."""

    async def saw_batch(
        self,
        moment: Moment,
        commands: Sequence[Command],
        connection: AsyncConnection[TupleRow],
    ) -> None:
        """A lane is at that moment of a batch."""

    async def saw_write(self, query: LiteralString, connection: AsyncConnection[TupleRow]) -> None:
        """A query outside the lanes was executed; whoever asked has not been told."""
