"""Terminus: what the convoys of a process and the worker in it know of each other.

A convoy that was parked, departs and travels in one process need not be read from its shard
first, nor be asked after by way of Temporal. Nothing depends on it: what is not known here is
read, and asked, all the same.
"""

from __future__ import annotations

import asyncio

from sagas.limits import MANIFESTS_KEPT
from shard.cargo import Cargo


class Terminus:
    """It belongs to one event loop and takes no lock. Convoys go by the text of their id."""

    def __init__(self) -> None:
        # The oldest give way: their workflow was lost, or another worker has it.
        self._manifests: dict[str, Cargo] = {}
        self._expected: dict[str, asyncio.Future[bool]] = {}
        self._under_way: dict[str, set[int]] = {}

    def depart(self, convoy: str, manifest: Cargo | None) -> asyncio.Future[bool]:
        """A convoy departs with that cargo, if it is known.

        The result is True once all of it has arrived in one round, False once it is known that it
        has not, so that its workflow tells how it ends. There is none where another worker has it.
        """
        if manifest is not None:
            if len(self._manifests) >= MANIFESTS_KEPT:
                del self._manifests[next(iter(self._manifests))]
            self._manifests[convoy] = manifest
        news = asyncio.get_running_loop().create_future()
        self._expected[convoy] = news
        return news

    def forget(self, convoy: str) -> None:
        """Nobody waits for it any more."""
        self._manifests.pop(convoy, None)
        self._expected.pop(convoy, None)
        self._under_way.pop(convoy, None)

    def manifest(self, convoy: str) -> Cargo | None:
        """What it departed with; told once, as it may have changed when it is asked for again."""
        return self._manifests.pop(convoy, None)

    def surveyed(self, convoy: str, destinations: set[int]) -> None:
        """Its items go to these shards; to none where others have carried them already."""
        if convoy not in self._expected:
            return
        self._under_way[convoy] = set(destinations)
        if not destinations:
            self._tell(convoy, is_clean=True)

    def carried(self, convoy: str, destination: int) -> None:
        """All that went there has arrived."""
        destinations = self._under_way.get(convoy, set())
        if destination in destinations:
            destinations.remove(destination)
            if not destinations:
                self._tell(convoy, is_clean=True)

    def delayed(self, convoy: str) -> None:
        """Not all of it has arrived, or some of it has turned round."""
        self._tell(convoy, is_clean=False)

    def _tell(self, convoy: str, *, is_clean: bool) -> None:
        news = self._expected.get(convoy)
        if news is not None and not news.done():
            news.set_result(is_clean)
