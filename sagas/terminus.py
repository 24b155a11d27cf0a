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
        self._expected: dict[str, asyncio.Future[None]] = {}
        self._under_way: dict[str, set[int]] = {}

    def depart(self, convoy: str, manifest: Cargo | None) -> asyncio.Future[None]:
        """A convoy departs with that cargo, if it is known; done when all of it has arrived.

        Never done where other workers see to it, or where not all goes well.
        """
        if manifest is not None:
            if len(self._manifests) >= MANIFESTS_KEPT:
                del self._manifests[next(iter(self._manifests))]
            self._manifests[convoy] = manifest
        arrived = asyncio.get_running_loop().create_future()
        self._expected[convoy] = arrived
        return arrived

    def forget(self, convoy: str) -> None:
        """Nobody waits for it any more."""
        self._manifests.pop(convoy, None)
        self._expected.pop(convoy, None)
        self._under_way.pop(convoy, None)

    def manifest(self, convoy: str) -> Cargo | None:
        """What it departed with; told once, as it may have changed when it is asked for again."""
        return self._manifests.pop(convoy, None)

    def surveyed(self, convoy: str, destinations: set[int]) -> None:
        """Its items go to these shards."""
        if convoy in self._expected:
            self._under_way[convoy] = set(destinations)

    def carried(self, convoy: str, destination: int) -> None:
        """All that went there has arrived."""
        destinations = self._under_way.get(convoy)
        if destinations is None:
            return
        destinations.discard(destination)
        arrived = self._expected.get(convoy)
        if not destinations and arrived is not None and not arrived.done():
            arrived.set_result(None)

    def delayed(self, convoy: str) -> None:
        """Not all of it has arrived: it will take longer, and its workflow tells how it ends."""
        self._under_way.pop(convoy, None)
