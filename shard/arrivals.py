"""Arrivals: the destination side of money between shards, for cargo that comes in columns."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import psycopg

from shard.array_literals import of_bytes, of_plain, of_texts
from shard.cargo import Arrival, Cargo
from shard.commands import Answer, MoneyState
from shard.connections import Readers
from shard.errors import LedgerError
from shard.limits import ARRIVAL_CONNECTIONS
from shard.named_queries import QUERIES
from shard.outcomes import Outcome


class Arrivals:
    """Books what comes from other shards."""

    def __init__(self, readers: Readers, *, first_lane: int) -> None:
        self._readers = readers
        self._lanes = itertools.cycle(range(first_lane, first_lane + ARRIVAL_CONNECTIONS))

    async def deliver(
        self, source: int, cargo: Cargo, request_hashes: Sequence[bytes]
    ) -> list[Arrival]:
        """Post the present attempts of items of shard ``source``; answers alike come as one.

        It is one transaction, in which a refused item disturbs no other, and posts just what
        ``sagas.deliveries.delivery_command`` says of each item. Raises ``ShardUnavailable`` when
        nothing was sent, ``OutcomeUnknown`` when no answer came: repeating it is safe.
        """
        parameters = self._parameters(source, cargo, request_hashes)
        try:
            rows = await self._readers.write_rows(QUERIES["deliver"], parameters)
        except psycopg.Error as error:
            raise LedgerError(f"The shard refuses the whole delivery: {error}") from error
        return [
            Arrival(
                [number - 1 for number in numbers],
                Answer(Outcome(outcome), is_replay, None, MoneyState(money_state), *where),
            )
            for numbers, outcome, is_replay, money_state, *where in rows
        ]

    def _parameters(
        self, source: int, cargo: Cargo, request_hashes: Sequence[bytes]
    ) -> Sequence[object]:
        return (
            next(self._lanes),
            source,
            of_plain(cargo.item_ids),
            of_plain(cargo.attempts),
            of_plain(cargo.targets),
            of_plain(cargo.debtors),
            of_plain(cargo.transfer_ids),
            of_plain(cargo.kinds),
            of_bytes(request_hashes),
            of_plain(cargo.currencies),
            of_plain(cargo.amounts),
            of_plain(cargo.business_dates),
            of_plain(cargo.value_dates),
            of_texts(cargo.references),
            of_texts(cargo.trace_ids),
            of_texts(cargo.narratives),
        )
