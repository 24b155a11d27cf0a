"""CPU time by part of the system: rates depend on who else uses the machine, this hardly does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import psutil

from deploy.embedded.postgres import PostgresServer


class CpuMeter:
    """Reads the CPU seconds of process trees, by the name of the part that they belong to."""

    def __init__(self, parts: Mapping[str, Sequence[int]]) -> None:
        self._parts = parts
        self._started = self._now()

    def _now(self) -> dict[str, float]:
        return {
            part: sum(tree_cpu_s(pid) for pid in process_ids)
            for part, process_ids in self._parts.items()
        }

    def seconds(self) -> dict[str, float]:
        """CPU seconds of each part since this meter was made."""
        return {part: now - self._started[part] for part, now in self._now().items()}


def tree_cpu_s(process_id: int) -> float:
    """CPU seconds of a process and its descendants, those that have ended included."""
    try:
        process = psutil.Process(process_id)
        total = _all_of(process)
        family = process.children(recursive=True)
    except psutil.NoSuchProcess:
        return 0.0
    for child in family:
        try:
            total += _all_of(child)
        except psutil.NoSuchProcess:
            continue
    return total


def _all_of(process: psutil.Process) -> float:
    """Of the process and of its children that have ended and were waited for."""
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def server_pid(server: PostgresServer) -> int:
    """The process whose descendants are all of a server's; raises ``RuntimeError``."""
    identity = server.process.identity()
    if identity is None:
        raise RuntimeError(f"{server.name} does not run")
    return identity.pid


def per_transfer_us(seconds: Mapping[str, float], transfers: int) -> dict[str, float]:
    """CPU microseconds for each transfer."""
    return {part: round(1e6 * each / max(1, transfers), 1) for part, each in seconds.items()}
