"""Transfers, holds and what is done with them, posted through lanes that may lose their server.

Each client books one command after the other and does not ask again by itself, so that the load
knows of each command whether it was answered.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from shard.commands import Answer, Command, Kind
from shard.errors import (
    LedgerError,
    NotFound,
    OutcomeUnknown,
    Overloaded,
    ShardUnavailable,
)
from shard.outcomes import Outcome
from shard.shard import Shard
from tests.support.bank import again, transfer
from tests.support.movements import capture, increase, place, reversal, void

_CLIENTS = 16
_RANGE = 1_000_000_000


@dataclass(slots=True)
class MovementLoad:
    """Commands of all kinds over ``accounts``, and the answer to each that has one."""

    shards: Mapping[int, Shard]
    accounts: Sequence[int]
    rng: random.Random
    answered: list[tuple[Command, Answer]] = field(default_factory=list)
    unanswered: list[tuple[Command, LedgerError]] = field(default_factory=list)
    progress: asyncio.Condition = field(default_factory=asyncio.Condition)
    is_over: bool = False

    async def run(self) -> None:
        """Let all clients work until the load is over."""
        await asyncio.gather(*(self._client() for _ in range(_CLIENTS)))

    async def until(self, answers: int) -> None:
        """Wait until so many more commands have been answered."""
        wanted = len(self.answered) + answers
        async with self.progress:
            await self.progress.wait_for(lambda: len(self.answered) >= wanted)

    async def until_lost(self, commands: int) -> None:
        """Wait until so many commands have got no answer."""
        async with self.progress:
            await self.progress.wait_for(lambda: len(self.unanswered) >= commands)

    async def _client(self) -> None:
        while not self.is_over:
            for command in self._movement():
                try:
                    answer = await self._shard_of(command).lanes.post(command)
                except (ShardUnavailable, OutcomeUnknown, Overloaded) as error:
                    async with self.progress:
                        self.unanswered.append((command, error))
                        self.progress.notify_all()
                    await asyncio.sleep(0.2)  # sleep: a client's pause after an error
                else:
                    async with self.progress:
                        self.answered.append((command, answer))
                        self.progress.notify_all()

    def _movement(self) -> list[Command]:
        """What one client does: a payment, perhaps taken back, or a hold and what comes of it."""
        account, payee = self.rng.sample(self.accounts, 2)
        neighbours = [each for each in self.accounts if each // _RANGE == account // _RANGE]
        neighbour = self.rng.choice([each for each in neighbours if each != account])
        amount = f"{self.rng.randint(2, 40)}.00"
        if self.rng.random() < 0.5:
            local = transfer(account, neighbour, amount)
            return [transfer(account, payee, amount), local, reversal(local, "1.50")]
        held = place(account, amount, f"H-{self.rng.randrange(10**12)}")
        follow_ups = [
            capture(account, neighbour, "1.00", held.reference),
            increase(account, "1.00", held.reference),
            capture(account, payee, "0.50", held.reference, is_final=self.rng.random() < 0.5),
            void(account, held.reference),
        ]
        return [held, *self.rng.sample(follow_ups, self.rng.randint(0, len(follow_ups)))]

    def _shard_of(self, command: Command) -> Shard:
        return self.shards[command.home // _RANGE]

    async def repeat(self, commands: Sequence[Command]) -> list[Answer]:
        """Ask again for commands, as their clients would."""
        by_shard: dict[int, list[Command]] = {}
        for command in commands:
            by_shard.setdefault(command.home // _RANGE, []).append(command)
        answers: dict[str, Answer] = {}
        for number, asked in by_shard.items():
            told = await self.shards[number].lanes.post_many([again(each) for each in asked])
            names = (each.reference for each in asked)
            answers |= zip(names, told, strict=True)
        return [answers[command.reference] for command in commands]

    async def stored(self, command: Command) -> Outcome | None:
        """What is stored under a command's reference, if anything is."""
        transfers = self._shard_of(command).transfers
        try:
            record = await transfers.get(command.home, command.origin, command.reference)
        except NotFound:
            return None
        return record.outcome


def ledger_moves(booked: Sequence[Command]) -> Counter[int]:
    """What booked commands move on each account in cents, once all money has arrived."""
    moves: Counter[int] = Counter()
    for command in booked:
        for account, amount in (
            *((leg.account_no, leg.amount) for leg in command.legs),
            *((item.target, item.amount) for item in command.parked),
        ):
            moves[account] += int(amount * 100)
    return moves


def held_amounts(booked: Sequence[Command]) -> Counter[int]:
    """What booked commands leave held back on each account in cents."""
    left: Counter[tuple[int, str]] = Counter()
    ended: set[tuple[int, str]] = set()
    for command in booked:
        if command.terms is None or command.terms.hold is None:
            continue
        key = (command.home, command.terms.hold)
        sign = -1 if command.kind is Kind.CAPTURE else 1
        if command.kind is Kind.VOID or command.terms.is_final:
            ended.add(key)
        else:
            left[key] += sign * int(command.amount * 100)
    held: Counter[int] = Counter()
    for key, cents in left.items():
        if key not in ended:
            held[key[0]] += cents
    return held


def cents(amount: Decimal) -> int:
    """An amount in cents."""
    return int(amount * 100)
