"""Shards, health and metrics, over a scripted bank."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import httpx
import pytest

from router.http.metrics import AGES
from router.limits import SUSPENSE_AGE_BOUNDS_S
from tests.support.scripted_bank import ScriptedBank, http_client

TRANSFER = {
    "reference": "PAY-17",
    "debtor_account": "2000000123",
    "creditor_account": "3000000456",
    "amount": "20.00",
    "currency": "EUR",
}


@pytest.fixture
def bank() -> ScriptedBank:
    return ScriptedBank()


@pytest.fixture
async def client(bank: ScriptedBank) -> AsyncIterator[httpx.AsyncClient]:
    async with http_client(bank) as opened:
        yield opened


async def _metrics(client: httpx.AsyncClient) -> list[str]:
    response = await client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    return response.text.splitlines()


async def test_shards_tell_ranges_epochs_states_and_load(client: httpx.AsyncClient) -> None:
    """A serving shard: its own word on its ranges, and this process's load on it."""
    response = await client.get("/v1/shards")
    listed = response.json()
    first = {
        "range_id": 1001,
        "lo": "2000000000",
        "hi": "2000000500",
        "epoch": 1,
        "state": "owned",
        "next_owner": None,
    }
    second = {
        "range_id": 1002,
        "lo": "2000000500",
        "hi": "2000001000",
        "epoch": 2,
        "state": "fenced",
        "next_owner": 9,
    }
    assert {
        "shard": 2,
        "state": "serving",
        "business_date": "2026-11-21",
        "ranges": [first, second],
        "load": {"queued_commands": 3, "batches": 10, "commands": 250},
    } == listed["data"][0]
    assert ([2, 3], None) == ([each["shard"] for each in listed["data"]], listed["next_cursor"])


async def test_a_dead_shard_is_listed_with_what_is_known(
    client: httpx.AsyncClient, bank: ScriptedBank
) -> None:
    """A silent shard does not hide the others; its ranges are those last known."""
    bank.shards[3].is_down = True
    listed = (await client.get("/v1/shards")).json()["data"]
    assert ["serving", "unavailable"] == [each["state"] for each in listed]
    assert [("3000000000", "4000000000", "unknown")] == [
        (each["lo"], each["hi"], each["state"]) for each in listed[1]["ranges"]
    ]


async def test_a_live_process_says_so(client: httpx.AsyncClient, bank: ScriptedBank) -> None:
    """Liveness depends on nothing outside the process."""
    for shard in bank.shards.values():
        shard.is_down = True
    response = await client.get("/livez")
    assert (200, {"status": "alive"}) == (response.status_code, response.json())


async def test_one_dead_shard_leaves_the_api_ready(
    client: httpx.AsyncClient, bank: ScriptedBank
) -> None:
    """One shard, the directory and Temporal down: still ready for everybody else."""
    bank.shards[3].is_down = True
    bank.directory.is_down = True
    bank.temporal = None
    response = await client.get("/readyz")
    assert (200, {"status": "ready"}) == (response.status_code, response.json())


async def test_verbose_readiness_names_what_is_down(
    client: httpx.AsyncClient, bank: ScriptedBank
) -> None:
    """``?verbose`` tells each check by name."""
    bank.shards[3].is_down = True
    bank.temporal = None
    response = await client.get("/readyz?verbose")
    assert {
        "shard-2": "ok",
        "shard-3": "not answering",
        "directory": "ok",
        "temporal": "not answering",
    } == response.json()["checks"]


async def test_a_bank_without_shards_is_not_ready(
    client: httpx.AsyncClient, bank: ScriptedBank
) -> None:
    """When no shard answers this process can serve nobody: 503 as a problem."""
    for shard in bank.shards.values():
        shard.is_down = True
    response = await client.get("/readyz")
    assert (503, "NOT_READY", "1") == (
        response.status_code,
        response.json()["code"],
        response.headers["retry-after"],
    )


async def test_requests_are_measured_by_route_template(client: httpx.AsyncClient) -> None:
    """Method, template and status are labels; account numbers and unknown paths never are."""
    await client.get("/v1/accounts/2000000123")
    await client.get("/v1/accounts/9999999999/nowhere")
    await client.request("BREW", "/v1/accounts")
    text = "\n".join(await _metrics(client))
    counted = "ledger_http_request_seconds_count"
    assert f'{counted}{{method="GET",route="/v1/accounts/{{account}}",status="200"}} 1.0' in text
    assert f'{counted}{{method="GET",route="unmatched",status="404"}} 1.0' in text
    assert f'{counted}{{method="OTHER",route="/v1/accounts",status="405"}} 1.0' in text
    labels = "".join(re.findall("{.*}", text))
    assert "2000000123" not in labels
    assert "9999999999" not in labels


async def test_transfers_are_counted_by_outcome_and_path(
    client: httpx.AsyncClient, bank: ScriptedBank
) -> None:
    """A first answer counts once; a replay is counted apart."""
    await client.post("/v1/transfers", json=TRANSFER)
    bank.transfers.is_replay = True
    await client.post("/v1/transfers", json=TRANSFER)
    lines = await _metrics(client)
    assert 'ledger_transfers_total{outcome="POSTED",path="local"} 1.0' in lines
    assert "ledger_transfer_replays_total 1.0" in lines


async def test_a_scrape_reads_lanes_convoys_and_suspense(
    client: httpx.AsyncClient, bank: ScriptedBank
) -> None:
    """Queues, batches and convoys as they are; shards and open amounts as last seen."""
    await bank.watch.look()
    lines = await _metrics(client)
    labels = '{age="10s_to_1m",carrier="route",currency="EUR",shard="2",state="parked"}'
    for line in (
        'ledger_lane_queued_commands{shard="2"} 3.0',
        'ledger_lane_batches_total{shard="2"} 10.0',
        'ledger_lane_commands_total{shard="2"} 250.0',
        "ledger_convoys_waiting 1.0",
        "ledger_convoys_travelling 2.0",
        'ledger_shard_up{shard="2"} 1.0',
        f"ledger_suspense_items{labels} 2.0",
        f"ledger_suspense_amount{labels} 40.0",
        'ledger_suspense_known_items{shard="2"} 2.0',
        'ledger_suspense_bound_items{shard="2"} 100.0',
        'ledger_suspense_refused_total{shard="2"} 0.0',
        'ledger_unknown_outcomes_total{resolution="given_up",shard="2"} 0.0',
    ):
        assert line in lines


def test_every_age_has_a_name() -> None:
    """One for each bound that an age may have reached, and one for none."""
    assert len(SUSPENSE_AGE_BOUNDS_S) + 1 == len(AGES)


async def test_a_dead_shard_does_not_stop_a_scrape(
    client: httpx.AsyncClient, bank: ScriptedBank
) -> None:
    """A silent shard is 0 in ``ledger_shard_up``, and the others are still told."""
    bank.shards[3].is_down = True
    await bank.watch.look()
    lines = await _metrics(client)
    assert 'ledger_shard_up{shard="3"} 0.0' in lines
    assert 'ledger_shard_up{shard="2"} 1.0' in lines


async def test_a_shard_that_went_silent_has_no_stale_figures(
    client: httpx.AsyncClient, bank: ScriptedBank
) -> None:
    """What it told before is told no more; its bound is ours and stays."""
    await bank.watch.look()
    bank.shards[3].is_down = True
    await bank.watch.look()
    told = [line for line in await _metrics(client) if 'shard="3"' in line and "suspense" in line]
    assert ["ledger_suspense_bound_items", "ledger_suspense_refused_total"] == [
        line.partition("{")[0] for line in told
    ]


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
async def test_a_probe_is_answered_whatever_it_sends_along(
    client: httpx.AsyncClient, path: str
) -> None:
    """Its question has no time limit of its own; a wrong header says nothing about this process."""
    answer = await client.get(path, headers={"Request-Timeout": "abc"})
    assert 200 == answer.status_code
