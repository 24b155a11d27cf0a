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
from urllib.parse import urlsplit

import orjson

from router.cli.demo.cast import CURRENCY, Cast
from router.cli.demo.http_connection import HttpConnection
from router.cli.progress import Step
from router.limits import (
    DEMO_CONNECTIONS,
    DEMO_REPEATS,
    MOVING_PAUSE_FIRST_S,
    MOVING_PAUSE_MAX_S,
)
from shard.errors import OutcomeUnknown
from shard.money import format_amount

_PATH: Final = "/v1/transfers"
_CROSS_SHARE: Final = 1 / 3
_TOO_MUCH_SHARE: Final = 0.03
_TOO_MUCH: Final = Decimal("1000000.00")
_SERVER_ERROR: Final = 500
_POSTED: Final = 201
_IN_TRANSIT: Final = 202
_KNOWN: Final = 200
_MALFORMED: Final = 400


@dataclass(frozen=True, slots=True)
class Payment:
    """One transfer to be made, in ``CURRENCY``."""

    reference: str
    debtor: int
    creditor: int
    amount: Decimal
    is_cross: bool

    def body(self) -> bytes:
        """The request, as JSON."""
        return orjson.dumps(
            {
                "reference": self.reference,
                "debtor_account": str(self.debtor),
                "creditor_account": str(self.creditor),
                "amount": format_amount(self.amount, CURRENCY),
                "currency": CURRENCY,
            }
        )


@dataclass(frozen=True, slots=True)
class Answered:
    """A payment's final answer; ``code`` is the refusal's, ``seconds`` those of the last try."""

    payment: Payment
    status: int
    code: str | None
    seconds: float
    repeats: int

    @property
    def is_accepted(self) -> bool:
        """Tell whether the money left its debtor."""
        return self.status in (_KNOWN, _POSTED, _IN_TRANSIT)

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
    address = urlsplit(api)
    connection = HttpConnection(address.hostname or "", address.port or 0, _PATH)
    async with connection:
        for payment in waiting:
            answered(await _settle(connection, payment))


async def _settle(connection: HttpConnection, payment: Payment) -> Answered:
    """Ask until the answer is one that stays."""
    body, pause_s = payment.body(), MOVING_PAUSE_FIRST_S
    for repeats in range(DEMO_REPEATS):
        began = time.perf_counter()
        try:
            status, document = await connection.post(body)
        except OSError:
            status, document = _SERVER_ERROR, b""
        seconds = time.perf_counter() - began
        if status < _SERVER_ERROR:
            code = orjson.loads(document).get("code") if status >= _MALFORMED else None
            return Answered(payment, status, code, seconds, repeats)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, MOVING_PAUSE_MAX_S)
    raise OutcomeUnknown(f"{payment.reference} got no answer that stays; see the log of the API.")
