"""Many transfers at once: routed together, one batch per shard, each with a result of its own.

Nothing here depends on the order of the requests, and none is promised: they are booked as the
lanes take them, those of different shards at the same time. One reference has one effect,
within a batch as well.

As one unit (``submit_atomic``) all are booked or none: one transaction of one shard.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, TypeAlias

from router.errors import NotOneShard, SuspenseFull, refusal
from router.limits import MOVING_PAUSE_FIRST_S, MOVING_PAUSE_MAX_S, REQUEST_BUDGET_S
from router.patience import Patience
from router.routing import Routes
from router.submission import out_of_patience, refused
from router.suspense_gauge import SuspenseGauge
from router.transfer_requests import TransferRequest, checked, record_of
from router.transfers import Submitted, Transfers
from sagas.room import Room
from shard.commands import Answer, Command, Origin
from shard.errors import LedgerError, OutcomeUnknown, ShardUnavailable
from shard.outcomes import MEANINGS, Outcome

Result: TypeAlias = Submitted | LedgerError
"""What became of one request: accepted, or the error it would be answered with alone."""


@dataclass(frozen=True, slots=True)
class _Asked:
    place: int
    request: TransferRequest
    fingerprint: bytes


class _Answered(NamedTuple):
    asked: _Asked
    command: Command
    answer: Answer

    @property
    def is_open(self) -> bool:
        """Whether it is still to be decided."""
        return MEANINGS[self.answer.outcome].is_retryable


class Bulk:
    """The use cases around many transfers."""

    def __init__(
        self, routes: Routes, transfers: Transfers, suspense: SuspenseGauge, room: Room
    ) -> None:
        self._routes = routes
        self._transfers = transfers
        self._suspense = suspense
        self._room = room

    async def submit_many(
        self, requests: Sequence[TransferRequest], *, is_patient: bool = False
    ) -> list[Result]:
        """Book many transfers; one result each, in their order.

        Patient ones may wait for a moment, until there are more of them to post together.
        Waits for room in the shards' queues instead of ``Overloaded``; a transfer to another
        shard may be told ``SuspenseFull``. What belongs to a range that moves is asked for again
        for ``REQUEST_BUDGET_S``. Never raises a ``LedgerError``.
        """
        results: dict[int, Result] = {}
        left = _checked(requests, results)
        settled: list[_Answered] = []
        patience = _patience()
        while left:
            answered = await self._post(left, results, is_patient=is_patient)
            unsettled = [each for each in answered if each.is_open]
            settled += [each for each in answered if not each.is_open]
            left = [each.asked for each in unsettled]
            if unsettled and not await self._learn(unsettled) and not await patience.pause():
                for each in unsettled:
                    results[each.asked.place] = out_of_patience(each.answer.outcome)
                break
        await self._conclude(settled, results)
        return [results[place] for place in range(len(requests))]

    async def submit_atomic(self, requests: Sequence[TransferRequest]) -> list[Result]:
        """Book all transfers in one transaction, or none; one result each, in their order.

        Is one refused, the others are told ``ATOMIC_ABORTED``. Raises ``NotOneShard``; what keeps
        all of them from being decided (``RangeMoving``, ``ShardUnavailable``, ``Overloaded``); and
        ``OutcomeUnknown`` (repeat the whole unit as it is).
        """
        results: dict[int, Result] = {}
        asked = _checked(requests, results)
        patience = _patience()
        while not results and asked:
            shard, commands = await self._one_shard(asked, results)
            if results:
                break
            answers = await self._routes.shards[shard].lanes.post_atomic(commands)
            answered = list(map(_Answered, asked, commands, answers))
            unsettled = [each for each in answered if each.is_open]
            if not unsettled:
                await self._conclude(answered, results)
            elif not await self._learn(unsettled) and not await patience.pause():
                raise out_of_patience(unsettled[0].answer.outcome)
        aborted = refusal(Outcome.ATOMIC_ABORTED)
        return [results.get(place, aborted) for place in range(len(requests))]

    async def _post(
        self, asked: Sequence[_Asked], results: dict[int, Result], *, is_patient: bool
    ) -> list[_Answered]:
        """Ask each shard for what it seems to own; errors go to ``results``."""
        by_shard: dict[int, list[tuple[_Asked, Command]]] = defaultdict(list)
        for each in asked:
            try:
                shard, command = await self._transfers.routed(each.request, each.fingerprint)
            except LedgerError as error:
                results[each.place] = error
            else:
                by_shard[shard].append((each, command))
        posts = [
            self._post_on(shard, mine, results, is_patient=is_patient)
            for shard, mine in by_shard.items()
        ]
        return list(chain.from_iterable(await asyncio.gather(*posts)))

    async def _post_on(
        self,
        shard: int,
        mine: Sequence[tuple[_Asked, Command]],
        results: dict[int, Result],
        *,
        is_patient: bool,
    ) -> list[_Answered]:
        parking = 0
        wanted = sum(len(command.parked) for _, command in mine)
        try:
            async with self._room.taken(wanted) if wanted else nullcontext():
                # Whoever still waits for room has parked nothing yet.
                mine, parking = self._with_room(shard, mine, results)
                commands = [command for _, command in mine]
                lanes = self._routes.shards[shard].lanes
                answers = await lanes.post_each(commands, is_patient=is_patient)
        except ShardUnavailable as error:
            results |= {each.place: error for each, _ in mine}
            return []
        finally:
            self._suspense.end(shard, parking)
        answered = []
        for (each, command), answer in zip(mine, answers, strict=True):
            if isinstance(answer, Answer):
                answered.append(_Answered(each, command, answer))
            else:
                results[each.place] = answer
        return answered

    def _with_room(
        self, shard: int, mine: Sequence[tuple[_Asked, Command]], results: dict[int, Result]
    ) -> tuple[Sequence[tuple[_Asked, Command]], int]:
        """Those whose amounts for other shards may be parked, and how many amounts these are."""
        parking = 0
        if not any(command.parked for _, command in mine):
            return mine, parking
        let_in = []
        for each, command in mine:
            amounts = len(command.parked)
            if amounts and not self._suspense.begin(shard, amounts):
                results[each.place] = SuspenseFull()
            else:
                let_in.append((each, command))
                parking += amounts
        return let_in, parking

    async def _one_shard(
        self, asked: Sequence[_Asked], results: dict[int, Result]
    ) -> tuple[int, list[Command]]:
        """The shard that owns all accounts of all requests; raises ``NotOneShard``."""
        shards: set[int] = set()
        commands = []
        for each in asked:
            try:
                shard, command = await self._transfers.routed(each.request, each.fingerprint)
            except NotOneShard:
                raise NotOneShard(each.place) from None
            except LedgerError as error:
                results[each.place] = error
                continue
            shards.add(shard)
            if len(shards) > 1 or command.parked:
                raise NotOneShard(each.place)
            commands.append(command)
        return shards.pop() if shards else 0, commands

    async def _learn(self, unsettled: Sequence[_Answered]) -> bool:
        """Take note of owners that the answers name; tell whether that changed the map."""
        routes = self._routes
        before = routes.range_map
        for _, command, answer in unsettled:
            if answer.outcome is Outcome.NOT_OWNER and routes.range_map is before:
                foreign = answer.foreign_account or command.home
                await routes.learn(foreign, answer.next_owner, answer.epoch)
        return routes.range_map is not before

    async def _conclude(self, answered: Sequence[_Answered], results: dict[int, Result]) -> None:
        known_before = []
        for asked, command, answer in answered:
            if answer.outcome is not Outcome.POSTED:
                results[asked.place] = refused(answer)
            elif answer.is_replay:
                known_before.append(asked)
            else:
                results[asked.place] = Submitted(record_of(command, answer), is_replay=False)
        if known_before:
            await self._look_up(known_before, results)

    async def _look_up(self, known_before: Sequence[_Asked], results: dict[int, Result]) -> None:
        """Read how transfers stand that were booked before: one query per shard."""
        by_shard: dict[int, list[_Asked]] = defaultdict(list)
        for each in known_before:
            try:
                by_shard[await self._routes.owner_of(each.request.debtor)].append(each)
            except LedgerError:
                results[each.place] = OutcomeUnknown()
        readings = (self._look_up_on(shard, mine, results) for shard, mine in by_shard.items())
        await asyncio.gather(*readings)

    async def _look_up_on(
        self, shard: int, mine: Sequence[_Asked], results: dict[int, Result]
    ) -> None:
        keys = [(each.request.debtor, each.request.reference) for each in mine]
        try:
            found = await self._routes.shards[shard].transfers.get_many(Origin.CLIENT, keys)
        except LedgerError:
            # They are booked, so "nothing happened" would be a lie.
            results |= {each.place: OutcomeUnknown() for each in mine}
            return
        for each, key in zip(mine, keys, strict=True):
            record = found.get(key)
            if record is None:
                results[each.place] = await self._followed(each.request)
            else:
                results[each.place] = Submitted(record, is_replay=True)

    async def _followed(self, request: TransferRequest) -> Result:
        """The transfer of an account that has moved since it was asked."""
        try:
            return Submitted(await self._transfers.known(request), is_replay=True)
        except LedgerError as error:
            return error


def _checked(requests: Sequence[TransferRequest], results: dict[int, Result]) -> list[_Asked]:
    asked = []
    for place, request in enumerate(requests):
        try:
            asked.append(_Asked(place, request, checked(request)))
        except LedgerError as error:
            results[place] = error
    return asked


def _patience() -> Patience:
    return Patience(REQUEST_BUDGET_S, first_s=MOVING_PAUSE_FIRST_S, longest_s=MOVING_PAUSE_MAX_S)
