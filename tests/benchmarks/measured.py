"""One measurement of something that books transfers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.benchmarks.figures import percentile


@dataclass(frozen=True, slots=True)
class Measured:
    """Transfers booked within ``seconds``, and how it went.

    Times are from sending, or from when sending was due, to the answer. ``how`` tells clients,
    processes and so on; ``cpu_us`` is CPU time for each transfer by part of the system.
    """

    accepted: int
    seconds: float
    by_status: Mapping[str, int] = field(default_factory=dict)
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    how: Mapping[str, object] = field(default_factory=dict)
    cpu_us: Mapping[str, float] = field(default_factory=dict)

    @property
    def per_second(self) -> float:
        """Booked transfers a second."""
        return self.accepted / self.seconds


def of_times(by_status: Mapping[str, int], seconds: float, times_s: list[float]) -> Measured:
    """From the answers of an API and the times of the accepted ones, in seconds."""
    times_ms = sorted(1_000 * each for each in times_s)
    return Measured(
        accepted=sum(by_status.get(status, 0) for status in ("200", "201", "202")),
        seconds=seconds,
        by_status=dict(by_status),
        p50_ms=percentile(times_ms, 0.50) if times_ms else 0.0,
        p99_ms=percentile(times_ms, 0.99) if times_ms else 0.0,
    )
