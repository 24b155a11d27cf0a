"""Who owns an account now: what the sagas need to know of the range map."""

from __future__ import annotations

from typing import Protocol

from shard.errors import LedgerError


class Owners(Protocol):
    """Account number -> shard, as far as this process knows. The shards have the last word."""

    async def owner_of(self, account_no: int) -> int:
        """The shard that should own the account; raises ``LedgerError`` when none is known."""

    async def learn(self, account_no: int, next_owner: int | None, epoch: int | None) -> None:
        """A shard answered that it does not own the account, and who does if it knows."""


async def destination_of(owners: Owners, source: int, account_no: int) -> int:
    """The shard to ask about an account; ``source`` itself while no owner is known.

    Nothing can go wrong by asking the source: it refuses with NOT_OWNER what it does not own,
    nothing is booked or stored, and the item waits where an operator sees it.
    """
    try:
        return await owners.owner_of(account_no)
    except LedgerError:
        return source
