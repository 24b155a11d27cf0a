"""Ordinary transfers through the HTTP API, over many connections at once.

Each has a reference of its own, so an answer that says "unknown" or "later" is simply asked for
again; at the end every transfer is either accepted or refused.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Final

from router.cli.demo.cast import CURRENCY, Cast
from router.cli.progress import Step
from router.client import ClientError, LedgerClient, Refused, Retries, TransferOrder
from router.limits import (
    DEMO_CONNECTIONS,
    DEMO_REPEATS,
    MOVING_PAUSE_FIRST_S,
    MOVING_PAUSE_MAX_S,
)
from shard.errors import OutcomeUnknown

_CROSS_SHARE: Final = 1 / 3
_TOO_MUCH_SHARE: Final = 0.03
_TOO_MUCH: Final = Decimal("1000000.00")


@dataclass(frozen=True, slots=True)
class Payment:
    """One transfer to be made, in ``CURRENCY``."""

    reference: str
    debtor: int
    creditor: int
    amount: Decimal
    is_cross: bool

    def order(self) -> TransferOrder:
        """The request."""
        return TransferOrder(
            self.reference, str(self.debtor), str(self.creditor), self.amount, CURRENCY
        )


@dataclass(frozen=True, slots=True)
class Answered:
    """A payment's final answer; ``code`` is the refusal's, ``seconds`` those of the last try."""

    payment: Payment
    code: str | None
    is_first: bool
    seconds: float
    repeats: int

    @property
    def is_accepted(self) -> bool:
        """Tell whether the money left its debtor."""
        return self.code is None

    @property
    def is_booked_at_once(self) -> bool:
        """Tell whether the first answer was that both sides are booked."""
        return self.is_accepted and self.is_first and not self.payment.is_cross

    @property
    def outcome(self) -> str:
        """The answer in words for a table."""
        if self.is_accepted:
            return "delivered to another shard" if self.payment.is_cross else "booked on one shard"
        return f"refused: {self.code}"


@dataclass(frozen=True, slots=True)
class Traffic:
    """All answers, and how long it took to get them."""

    answers: Sequence[Answered]
    seconds: float


def choose_payments(cast: Cast, count: int, seed: int) -> list[Payment]:
    """Random pairs of accounts; about a third across shards, a few beyond any balance."""
    rng = Random(f"{seed}:traffic")  # noqa: S311 a repeatable choice, nothing to guess
    by_shard: dict[int, list[int]] = {}
    for account_no in cast.funded:
        by_shard.setdefault(cast.shard_of(account_no), []).append(account_no)
    shards = sorted(shard for shard, accounts in by_shard.items() if len(accounts) > 1)
    payments = []
    for n in range(count):
        debtor = rng.choice(by_shard[rng.choice(shards)])
        home = cast.shard_of(debtor)
        is_cross = len(shards) > 1 and rng.random() < _CROSS_SHARE
        target = rng.choice([each for each in shards if each != home]) if is_cross else home
        creditor = rng.choice([no for no in rng.sample(by_shard[target], 2) if no != debtor])
        is_too_much = rng.random() < _TOO_MUCH_SHARE
        amount = _TOO_MUCH if is_too_much else Decimal(rng.randint(1, 5_000)).scaleb(-2)
        payments.append(Payment(f"DEMO-{n + 1:06d}", debtor, creditor, amount, is_cross))
    return payments


async def send(payments: Sequence[Payment], api: str, step: Step) -> Traffic:
    """Send everything, as fast as it is answered; raises ``OutcomeUnknown`` if it is not."""
    waiting = iter(payments)
    answers: list[Answered] = []
    began = time.perf_counter()

    def answered(answer: Answered) -> None:
        answers.append(answer)
        step.at(len(answers))

    async with asyncio.TaskGroup() as group:
        for _ in range(DEMO_CONNECTIONS):
            group.create_task(_send_in_turn(waiting, api, answered))
    return Traffic(answers, time.perf_counter() - began)


async def _send_in_turn(
    waiting: Iterator[Payment], api: str, answered: Callable[[Answered], None]
) -> None:
    stopwatch = _Stopwatch()
    retries = Retries(DEMO_REPEATS, MOVING_PAUSE_FIRST_S, MOVING_PAUSE_MAX_S, sleep=stopwatch.pause)
    async with LedgerClient(api, retries=retries) as ledger:
        for payment in waiting:
            answered(await _settle(ledger, payment, stopwatch))


async def _settle(ledger: LedgerClient, payment: Payment, stopwatch: _Stopwatch) -> Answered:
    """Ask until the answer is one that stays."""
    stopwatch.start()
    code = None
    try:
        is_replay = (await ledger.transfer(payment.order())).is_replay
    except Refused as refused:
        code, is_replay = refused.code, refused.is_replay
    except ClientError as error:
        message = f"{payment.reference} got no answer that stays; see the log of the API."
        raise OutcomeUnknown(message) from error
    return Answered(payment, code, not is_replay, stopwatch.seconds, stopwatch.pauses)


class _Stopwatch:
    """Times the last try of a request, and counts the tries before it."""

    def __init__(self) -> None:
        self.pauses = 0
        self._began = 0.0

    def start(self) -> None:
        """The first try begins."""
        self.pauses = 0
        self._began = time.perf_counter()

    async def pause(self, seconds: float) -> None:
        """The pause before the next try."""
        await asyncio.sleep(seconds)
        self.pauses += 1
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Since the last try began."""
        return time.perf_counter() - self._began
