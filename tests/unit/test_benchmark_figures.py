"""What the benchmark computes from its measurements."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from tests.benchmarks.figures import TARGETS, Figure, Target, over_rounds, percentile, with_ratios
from tests.benchmarks.keep_alive import LOST, KeepAlive, Reply, Transfers
from tests.benchmarks.measured import Measured, of_times
from tests.benchmarks.rounds import fastest

FLOOR = Target("rate", "more is better", 0.7, 1.0)
CEILING = Target("time_ms", "less is better", 15, 8, is_ceiling=True)
KEYS = [
    "single_http_ratio", "single_http_p99_ms", "bulk_http_ratio", "lane_ratio",
    "hot_random_ratio", "cpu_shards_8_vs_1", "aged_ratio", "overload_ratio",
    "cross_idle_p50_ms", "cross_idle_p99_ms", "cross_bulk_ratio", "cross_load_p99_ms",
    "cross_peak_p99_ms", "worker_recovery_s",
]  # fmt: skip


def test_the_table_has_the_promised_figures() -> None:
    """The report is read by programs: its keys are these, in the order of the table."""
    assert KEYS == [target.key for target in TARGETS]


@pytest.mark.parametrize("target", TARGETS, ids=KEYS)
def test_an_aim_asks_for_more_than_the_bound(target: Target) -> None:
    """Whoever reaches the aim of a figure keeps its bound."""
    assert target.is_met(target.aim)
    assert target.best([target.at_least, target.aim]) == target.aim


@dataclass(frozen=True, slots=True)
class Verdict:
    target: Target
    figure: float
    is_met: bool


@pytest.mark.parametrize(
    "verdict",
    [
        Verdict(FLOOR, 0.69, False),
        Verdict(FLOOR, 0.7, True),
        Verdict(CEILING, 15.0, True),
        Verdict(CEILING, 15.1, False),
    ],
)
def test_a_bound_is_kept_from_the_right_side(verdict: Verdict) -> None:
    """A rate must reach its bound, a time must not exceed it."""
    assert verdict.is_met == verdict.target.is_met(verdict.figure)


@pytest.mark.parametrize(
    ("count", "share", "expected"),
    [(1, 0.99, 1), (100, 0.5, 50), (100, 0.99, 99), (101, 0.99, 100), (200, 0.99, 198), (3, 1, 3)],
)
def test_percentiles_are_those_of_the_nearest_rank(
    count: int, share: float, expected: float
) -> None:
    """At least that share of the values is at or below a percentile, and it is one of them."""
    assert expected == percentile(range(1, count + 1), share)


def test_nothing_has_no_percentile() -> None:
    """A measurement without an answer must not pass for a fast one."""
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.99)


def test_ratios_are_taken_within_a_round() -> None:
    """A ratio compares figures of the same minutes, each with its own yardstick."""
    told = with_ratios({
        "tpcb_per_s": 100.0, "single_http_per_s": 70.0, "bulk_http_per_s": 250.0,
        "lanes_per_s": 500.0, "lanes_hot_per_s": 450.0, "overload_peak_per_s": 60.0,
        "overload_per_s": 57.0,
    })  # fmt: skip

    expected = {
        "single_http_ratio": 0.7,
        "bulk_http_ratio": 2.5,
        "lane_ratio": 5.0,
        "hot_random_ratio": 0.9,
        "overload_ratio": 0.95,
    }
    assert expected == {key: told[key] for key in expected}


def test_what_was_not_measured_has_no_ratio() -> None:
    """A missing figure is missing, not zero."""
    assert {"tpcb_per_s": 100.0} == with_ratios({"tpcb_per_s": 100.0})


def test_the_median_round_counts() -> None:
    """One lucky or unlucky round does not make the figure; the best one is told beside it."""
    rounds = [{"lane_ratio": 4.0}, {"lane_ratio": 9.0}, {"lane_ratio": 5.0}, {"other_per_s": 1.0}]

    assert {
        "lane_ratio": Figure(median=5.0, best=9.0),
        "other_per_s": Figure(median=1.0, best=1.0),
    } == over_rounds(rounds)


@pytest.mark.parametrize("key", ["single_http_p99_ms", "cpu_shards_8_vs_1", "cross_disk_bytes"])
def test_the_best_time_is_the_shortest(key: str) -> None:
    """Of times, bytes and costs the least is the best."""
    assert Figure(median=2.0, best=1.0) == over_rounds([{key: 1.0}, {key: 2.0}, {key: 3.0}])[key]


def test_the_fastest_setting_is_chosen_by_its_rate() -> None:
    """A longer run with more transfers is no faster one."""
    long, fast = Measured(accepted=100, seconds=10.0), Measured(accepted=50, seconds=1.0)

    assert fastest([long, fast]) is fast


def test_only_accepted_transfers_count() -> None:
    """Refusals and lost connections are told, but are no work done."""
    by_status = {"200": 1, "201": 4, "202": 5, "422": 7, "503": 100, LOST: 2}
    measured = of_times(by_status, 2.0, [0.004, 0.001])

    assert 5.0 == measured.per_second
    assert by_status == measured.by_status
    assert (1.0, 4.0) == (measured.p50_ms, measured.p99_ms)


def test_a_run_that_was_wholly_refused_has_no_times() -> None:
    """Nothing accepted: a rate of zero, and no error."""
    assert 0.0 == of_times({"503": 3}, 1.0, []).per_second


class Pipe(asyncio.Transport):
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return False


def connected() -> tuple[KeepAlive, list[Reply]]:
    replies: list[Reply] = []
    client = KeepAlive(replies.append)
    client.connection_made(Pipe())
    client.send(b"request")
    return client, replies


def test_an_answer_counts_once_it_is_whole() -> None:
    """An answer that arrives in parts is one answer, when its last byte is there."""
    client, replies = connected()
    answer = b"HTTP/1.1 201 Created\r\ncontent-length: 5\r\n\r\n{ ok}"
    for i in range(len(answer) - 1):
        client.data_received(answer[i : i + 1])
    before = list(replies)
    client.data_received(answer[-1:])

    assert ([], [Reply("201", None)]) == (before, replies)


def test_a_client_hears_when_to_come_back() -> None:
    """The pause of a refusal for overload is the server's own word."""
    client, replies = connected()
    client.data_received(
        b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n"
    )

    assert [Reply("503", 2.0)] == replies


def test_a_lost_connection_is_no_answer() -> None:
    """A request whose connection ends is counted as lost, an idle connection is not."""
    client, replies = connected()
    client.connection_lost(None)
    client.connection_lost(None)

    assert [Reply(LOST, None)] == replies


def test_every_transfer_has_a_reference_of_its_own() -> None:
    """A repeated reference would measure replays; an account that pays itself, refusals."""
    transfers = Transfers("r1", [1, 2], [1, 2])
    bodies = [transfers.next_body() for _ in range(100)]

    assert 100 == len({body.split('"')[3] for body in bodies})
    assert all(body.count('_account":"1"') == 1 for body in bodies)
