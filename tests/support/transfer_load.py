"""Transfers of all kinds sent over HTTP until each has its answer, and what they must have moved.

A client here does what every client should: whatever is unknown it repeats as it is.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx

from router.wiring import Bank
from shard.accounts import AccountStatus
from shard.commands import MoneyState
from shard.errors import NotFound
from shard.ids import new_id
from shard.statements import EntryLine
from tests.support.bank import account_no, open_account

Body = dict[str, str]
Moved = Counter[tuple[str, str, Decimal]]
"""(account, reference, signed amount), as often as it is booked."""

_FUNDS = "1000.00"
_RANGE = 1_000_000_000
_CLIENTS = 16
_PATIENCE_S = 60.0
_SAFE_TO_REPEAT = {502, 503, 504}
_ACCEPTED = {200, 201, 202}
_ENTRIES_MAX = 1_000


def payment(debtor: int, creditor: int, amount: str = "20.00") -> Body:
    """A request for a transfer under a fresh reference."""
    return {
        "reference": str(new_id()),
        "debtor_account": str(debtor),
        "creditor_account": str(creditor),
        "amount": amount,
        "currency": "EUR",
    }


async def final_answer(client: httpx.AsyncClient, body: Body) -> httpx.Response:
    """Repeat a request as it is until its answer is no "unknown" and no "try again"."""
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            try:
                response = await client.post("/v1/transfers", json=body)
            except httpx.TransportError:
                pass
            else:
                if response.status_code not in _SAFE_TO_REPEAT:
                    return response
            await asyncio.sleep(0.05)  # sleep: a client's pause before it repeats a request


async def ended(client: httpx.AsyncClient, body: Body) -> dict[str, Any]:
    """The transfer once its money is no longer in transit."""
    path = f"/v1/transfers/{body['debtor_account']}/{body['reference']}"
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            told: dict[str, Any] = (await client.get(path)).json()
            if told["money_state"] != MoneyState.IN_TRANSIT:
                return told
            await asyncio.sleep(0.05)  # sleep: pause between two looks at a transfer


@dataclass(slots=True)
class Load:
    """Transfers, and the final answer to each by its reference."""

    bodies: list[Body]
    answers: dict[str, httpx.Response] = field(default_factory=dict)
    progress: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def run(self, client: httpx.AsyncClient) -> None:
        """Send them all, by several clients at once, each until it has a final answer."""
        waiting = iter(self.bodies)

        async def send() -> None:
            for body in waiting:
                answer = await final_answer(client, body)
                async with self.progress:
                    self.answers[body["reference"]] = answer
                    self.progress.notify_all()

        await asyncio.gather(*(send() for _ in range(_CLIENTS)))

    async def until(self, answers: int) -> None:
        """Wait until so many transfers have their answer."""
        async with self.progress:
            await self.progress.wait_for(lambda: len(self.answers) >= answers)

    async def assert_each_had_one_effect(self, client: httpx.AsyncClient, books: Bank) -> None:
        """Asked again, each gives its one answer; the entries are those that follow from it."""
        moved: Moved = Counter()
        for body in self.bodies:
            first = self.answers[body["reference"]]
            again = await client.post("/v1/transfers", json=body)
            if first.status_code in _ACCEPTED:
                assert (200, first.json()["id"]) == (again.status_code, again.json()["id"])
                moved += _moved_by(again.json())
            else:
                assert 422 == first.status_code == again.status_code
                assert first.json()["code"] == again.json()["code"]
        assert moved == await self._booked(books)

    async def _booked(self, books: Bank) -> Moved:
        accounts = {body["debtor_account"] for body in self.bodies}
        accounts |= {body["creditor_account"] for body in self.bodies}
        references = {body["reference"] for body in self.bodies}
        booked: Moved = Counter()
        for account in accounts:
            for line in await _entries(books, int(account)):
                if line.reference in references:
                    booked[account, line.reference, line.amount] += 1
        return booked


async def mixed_load(books: Bank, count: int, rng: random.Random) -> Load:
    """Local and cross-shard, to the poor, to closed accounts, to nobody, and beyond the funds."""
    payers = [await open_account(books.shards[no], _FUNDS) for no in (1, 2, 3) for _ in "ab"]
    closed = [await open_account(books.shards[no]) for no in (1, 2, 3)]
    for number, account in zip((1, 2, 3), closed, strict=True):
        await books.shards[number].accounts.change_status(
            account, AccountStatus.CLOSED, actor="test", reason="test"
        )
    payees = [*payers * 3, *closed, account_no(1), account_no(2), account_no(3)]
    bodies: list[Body] = []
    while len(bodies) < count:
        debtor, creditor = rng.choice(payers), rng.choice(payees)
        if debtor != creditor:
            amount = rng.choice(["0.01", "1.00", "19.99", "150.00", "2000.00"])
            bodies.append(payment(debtor, creditor, amount))
    return Load(bodies)


def _moved_by(told: dict[str, Any]) -> Moved:
    """The entries of customers that follow from where an accepted transfer's money is."""
    debtor, reference, amount = told["debtor_account"], told["reference"], Decimal(told["amount"])
    match told["money_state"]:
        case MoneyState.POSTED | MoneyState.DELIVERED:
            payee = told["creditor_account"]
        case MoneyState.RETURNED:
            payee = debtor
        case _:
            raise AssertionError(f"the money is still on its way: {told}")
    return Counter([(debtor, reference, -amount), (payee, reference, amount)])


async def _entries(books: Bank, account: int) -> list[EntryLine]:
    """Every entry of an account; none where it was never opened."""
    try:
        page = await books.shards[account // _RANGE].statements.page(account, limit=_ENTRIES_MAX)
    except NotFound:
        return []
    assert page.next_cursor is None, "more entries than this looks at"
    return page.lines
