"""``ledger demo`` in small: it holds, it cleans up, it runs again after anything."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support.command_line import Ended, ended, ledger, processes_of, start, until_told
from tests.support.databases import temporary_folder

TRANSFERS = 60
EMPLOYEES = 40
SIZES = ("--customers", "60", "--accounts", "120", "--employees", "40", "--transfers", "60")


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A demonstration that has ended, and what was left running."""

    folder: Path
    ended: Ended
    left: list[str]


def names_in(folder: Path) -> list[str]:
    """What lies in a folder."""
    return [path.name for path in folder.iterdir()]


@pytest.fixture(scope="module")
async def demonstration() -> AsyncIterator[Demonstration]:
    """One small run from nothing."""
    async with temporary_folder("demo") as parent:
        folder = parent / "demo"
        told = await ledger("demo", "--folder", folder, "--json", *SIZES)
        yield Demonstration(folder, told, processes_of(parent))
        await ledger("down", "--folder", folder / "bank")


async def test_every_claim_of_the_demonstration_holds(demonstration: Demonstration) -> None:
    """Exit code 0, and each claim by itself."""
    told = demonstration.ended

    assert 0 == told.code, told.stderr
    assert [] == [claim for claim in told.document["claims"] if not claim["holds"]]


async def test_every_transfer_and_every_line_has_an_outcome(demonstration: Demonstration) -> None:
    """Nothing that was sent is missing from the figures, refusals included."""
    document = demonstration.ended.document
    outcomes = document["transfers"]["by_outcome"]

    assert TRANSFERS == sum(outcomes.values())
    assert outcomes["refused: INSUFFICIENT_FUNDS"] > 0
    assert outcomes["delivered to another shard"] > 0
    assert {"ACSC": EMPLOYEES - 6, "RJCT": 6} == document["payroll"]["statuses"]


async def test_nothing_is_open_after_the_demonstration(demonstration: Demonstration) -> None:
    """No amount in suspense, no saga, and each shard's trial balance sums to zero."""
    document = demonstration.ended.document
    sums = {
        shard: sum(
            int(line[side].replace(".", ""))
            for line in document["trial_balance"]
            for side in ("debit", "credit")
            if line["shard"] == shard
        )
        for shard in (1, 2, 3)
    }

    assert ([], 0) == (document["suspense"], document["open_sagas"])
    assert {1: 0, 2: 0, 3: 0} == sums


async def test_the_window_between_the_shards_is_measured(demonstration: Demonstration) -> None:
    """Every amount that crossed shards has a commit time on both sides."""
    document = demonstration.ended.document
    crossed = document["transfers"]["by_outcome"]["delivered to another shard"]
    window = document["cross_shard_window"]

    assert window["count"] >= crossed
    assert 0 < window["p50_ms"] <= window["p99_ms"]


async def test_the_demonstration_stops_what_it_started(demonstration: Demonstration) -> None:
    """No process is left, and the report is."""
    assert [] == demonstration.left
    assert "payroll.pain002.xml" in names_in(demonstration.folder)


async def test_an_interrupted_demonstration_stops_what_it_started(
    demonstration: Demonstration,
) -> None:
    """Ctrl-C ends it in an orderly way, with an exit code of its own."""
    process = await start("demo", "--folder", demonstration.folder, *SIZES)
    await until_told(process, "Starting the API")
    process.send_signal(signal.SIGINT)

    assert 130 == (await ended(process)).code
    assert [] == processes_of(demonstration.folder)


async def test_a_demonstration_runs_after_one_that_was_killed(
    demonstration: Demonstration,
) -> None:
    """Leftover servers are stopped; with ``--keep`` the new ones run until they are told."""
    process = await start("demo", "--folder", demonstration.folder, *SIZES)
    await until_told(process, "Writing the payroll file")
    process.kill()
    await ended(process)
    left = processes_of(demonstration.folder)
    again = await ledger("demo", "--folder", demonstration.folder, "--keep", "--json", *SIZES)
    async with httpx.AsyncClient() as client:
        docs = await client.get(again.document["addresses"]["api_docs"])
    down = await ledger("down", "--folder", again.document["addresses"]["folder"])

    assert left
    assert (0, True) == (again.code, again.document["holds"])
    assert (200, 0, []) == (docs.status_code, down.code, processes_of(demonstration.folder))


async def test_one_demonstration_at_a_time(demonstration: Demonstration) -> None:
    """A second one would delete the folder below the first."""
    process = await start("demo", "--folder", demonstration.folder, *SIZES)
    await until_told(process, "Clearing the demonstration's folder")
    second = await ledger("demo", "--folder", demonstration.folder, "--json", *SIZES)
    process.send_signal(signal.SIGTERM)

    assert (3, "FOLDER_BUSY") == second.error
    assert 130 == (await ended(process)).code
