"""How a process comes to know that its convoys have ended: from its own worker, or by asking."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
from temporalio.client import WorkflowHandle

from sagas import convoys as convoys_module
from sagas.convoys import Convoys
from sagas.departures import Departures
from sagas.observer import Unobserved
from sagas.starts import convoy_workflow_id
from sagas.terminus import Terminus
from sagas.worker import build_worker
from shard.cargo import Cargo
from shard.commands import MoneyState
from shard.suspense import Suspense
from shard.transfers import TransferRecord
from tests.sagas.small_bank import SmallBank, eventually
from tests.support.bank import account_no

LONG_S, SHORT_S = 30.0, 0.01


class Ends(Unobserved, Departures):
    """An observer, and departures, that note what they are told of convoys' ends."""

    def __init__(self) -> None:
        super().__init__()
        self.known = 0
        self.unknown = 0
        self.clean: list[bool] = []

    def convoy_ended(self, seconds: float) -> None:
        self.known += 1

    def convoy_left_to_sweeper(self) -> None:
        self.unknown += 1

    def ended(self, items: int, seconds: float | None) -> None:
        super().ended(items, seconds)
        self.clean.append(seconds is not None)


class Asked:
    """Who was asked what, besides the shards' own work."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.workflows: list[str] = []
        self.cargoes: list[UUID] = []
        result, cargo_of_convoy = WorkflowHandle.result, Suspense.cargo_of_convoy

        async def asked_result(handle: WorkflowHandle[Any, Any], **options: Any) -> Any:
            self.workflows.append(handle.id)
            return await result(handle, **options)

        async def asked_cargo(suspense: Suspense, convoy: UUID) -> Cargo:
            self.cargoes.append(convoy)
            return await cargo_of_convoy(suspense, convoy)

        patch.setattr(WorkflowHandle, "result", asked_result)
        patch.setattr(Suspense, "cargo_of_convoy", asked_cargo)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """From now on it is noted who is asked."""
    return Asked(monkeypatch)


@asynccontextmanager
async def process(
    bank: SmallBank, ends: Ends, *, is_told: bool, hosts_worker: bool = True
) -> AsyncIterator[Convoys]:
    """The convoys of a process, and a worker that tells them of arrivals, or is another one's."""
    convoys = Convoys(bank.shards, hosts_worker=hosts_worker, departures=ends, observer=ends)
    terminus = convoys.terminus if is_told else Terminus()
    async with build_worker(bank.client, bank.shards, bank.owners, terminus=terminus):
        bank.board(convoys)
        convoys.connect(bank.client)
        yield convoys
        await convoys.close()


async def travel(bank: SmallBank, convoys: Convoys, creditor: int | None = None) -> TransferRecord:
    """Send 20 EUR from shard 1 to shard 2, until its convoy is known to have ended."""
    debtor = await bank.open_account(1)
    reference = await bank.transfer(debtor, creditor or await bank.open_account(2))

    async def in_flight() -> int:
        return convoys.travelling

    assert 0 == await eventually(in_flight, lambda count: count == 0)
    return await bank.ended(debtor, reference)


async def is_clean(bank: SmallBank, record: TransferRecord) -> bool:
    """What its workflow says of a transfer's convoy."""
    assert record.convoy is not None
    name = convoy_workflow_id(1, str(record.convoy))
    result: dict[str, Any] = await bank.client.get_workflow_handle(name).result()
    return bool(result["is_clean"])


async def test_an_arrival_in_the_same_process_is_asked_of_nobody(
    small_bank: SmallBank, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither Temporal for the end, nor the shard for the cargo."""
    monkeypatch.setattr(convoys_module, "ARRIVAL_WAIT_S", LONG_S)
    ends = Ends()
    async with process(small_bank, ends, is_told=True) as convoys:
        record = await travel(small_bank, convoys)
        assert ([], []) == (asked.workflows, asked.cargoes)
        assert MoneyState.DELIVERED is record.money_state
        assert await is_clean(small_bank, record)
    assert (1, 0, [True]) == (ends.known, ends.unknown, ends.clean)


@pytest.mark.parametrize("hosts_worker", [True, False], ids=["a worker", "no worker"])
async def test_an_arrival_elsewhere_is_known_from_temporal(
    small_bank: SmallBank, asked: Asked, monkeypatch: pytest.MonkeyPatch, hosts_worker: bool
) -> None:
    """After a while where the process has a worker of its own, and at once where it has none."""
    monkeypatch.setattr(convoys_module, "ARRIVAL_WAIT_S", SHORT_S if hosts_worker else 3600.0)
    ends = Ends()
    async with process(small_bank, ends, is_told=False, hosts_worker=hosts_worker) as convoys:
        record = await travel(small_bank, convoys)
        assert [convoy_workflow_id(1, str(record.convoy))] == asked.workflows
        assert [record.convoy] == asked.cargoes
    assert MoneyState.DELIVERED is record.money_state
    assert (1, 0, [True]) == (ends.known, ends.unknown, ends.clean)


async def test_a_convoy_that_turned_round_is_asked_how_it_went(
    small_bank: SmallBank, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That all of it has arrived in the end does not make it a convoy to learn times from."""
    monkeypatch.setattr(convoys_module, "ARRIVAL_WAIT_S", 3600.0)
    ends = Ends()
    async with process(small_bank, ends, is_told=True) as convoys:
        record = await travel(small_bank, convoys, account_no(2))
        assert MoneyState.RETURNED is record.money_state
        assert [convoy_workflow_id(1, str(record.convoy))] == asked.workflows
        assert not await is_clean(small_bank, record)
    assert (1, 0, [False]) == (ends.known, ends.unknown, ends.clean)


async def test_nothing_is_kept_of_a_convoy_that_has_ended(
    small_bank: SmallBank, asked: Asked
) -> None:
    """Whoever surveys it once more reads."""
    ends = Ends()
    async with process(small_bank, ends, is_told=False) as convoys:
        record = await travel(small_bank, convoys)
        assert convoys.terminus.manifest(str(record.convoy)) is None
