"""Shards, health and metrics: what operators and their machines ask."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict

from router.http import examples
from router.http.answers import json_response
from router.http.bodies import NoQuery
from router.http.metrics import register_collectors
from router.http.openapi import LeanRoute, json_example, problems
from router.http.problems import NotReady
from router.limits import PROBE_TIMEOUT_S
from router.telemetry import Metrics
from router.wiring import Bank
from shard.errors import LedgerError
from shard.shard import Shard

_OK = "ok"
_SILENT = "not answering"
_VERBOSE = {
    "name": "verbose",
    "in": "query",
    "required": False,
    "description": "Tell each check by name.",
    "allowEmptyValue": True,
    "schema": {"type": "string"},
    "example": "",
}


class RangeObject(BaseModel):
    """Account numbers ``lo`` <= number < ``hi``; ``epoch`` counts their owners."""

    model_config = ConfigDict(extra="forbid")

    range_id: int
    lo: str
    hi: str
    epoch: int
    state: str
    next_owner: int | None


class LoadObject(BaseModel):
    """Work of this process for the shard since it started."""

    model_config = ConfigDict(extra="forbid")

    queued_commands: int
    batches: int
    commands: int


class ShardObject(BaseModel):
    """A shard; ``ranges`` of one that is silent are those the router last knew."""

    model_config = ConfigDict(extra="forbid")

    shard: int
    state: Literal["serving", "unavailable"]
    business_date: str | None
    ranges: list[RangeObject]
    load: LoadObject


class ShardList(BaseModel):
    """All shards of the bank."""

    model_config = ConfigDict(extra="forbid")

    data: list[ShardObject]
    next_cursor: None


class Health(BaseModel):
    """How this process is; ``checks`` are told when ``?verbose`` is asked for."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["alive", "ready"]
    checks: dict[str, Literal["ok", "not answering"]] | None = None


class OperationsApi:
    """The endpoints around running the bank."""

    def __init__(self, bank: Bank, metrics: Metrics) -> None:
        self._bank = bank
        self._registry = metrics.registry
        register_collectors(bank, self._registry)

    async def list_shards(self, query: Annotated[NoQuery, Query()]) -> Response:
        """Every shard with its ranges, their epochs and states, and this process's load on it."""
        data = await asyncio.gather(*map(self._told, self._bank.shards.values()))
        return json_response({"data": data, "next_cursor": None})

    async def live(self, request: Request) -> Response:
        """This process runs; restarting it would help nobody."""
        return json_response({"status": "alive"})

    async def ready(self, request: Request) -> Response:
        """This process can serve someone: a shard answers, and the way to it is known.

        One dead shard stops only its own ranges, so it does not take this process away.
        """
        checks = await self._checks()
        shard_answers = any(checks[_check_name(number)] == _OK for number in self._bank.shards)
        if not (shard_answers and self._bank.routes.range_map.ranges):
            raise NotReady
        if "verbose" in request.query_params:
            return json_response({"status": "ready", "checks": checks})
        return json_response({"status": "ready"})

    async def scrape(self, request: Request) -> Response:
        """Metrics in Prometheus's text format."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    async def _checks(self) -> dict[str, str]:
        probes = {_check_name(n): shard.ping() for n, shard in self._bank.shards.items()}
        probes["directory"] = self._bank.directory.ping()
        results = await asyncio.gather(*map(_answers, probes.values()))
        checks = dict(zip(probes, results, strict=True))
        checks["temporal"] = self._bank.temporal is not None
        return {name: _OK if answers else _SILENT for name, answers in checks.items()}

    async def _told(self, shard: Shard) -> dict[str, Any]:
        """The members of ``ShardObject``."""
        state, business_date, ranges = "serving", None, self._ranges_last_known(shard.number)
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                business_date = await shard.business_day.get()
                ranges = await _ranges_of(shard)
        except (LedgerError, TimeoutError):
            state = "unavailable"
        return {
            "shard": shard.number,
            "state": state,
            "business_date": business_date,
            "ranges": ranges,
            "load": {
                "queued_commands": shard.lanes.queued_commands,
                "batches": shard.lanes.batches,
                "commands": shard.lanes.commands,
            },
        }

    def _ranges_last_known(self, shard_no: int) -> list[dict[str, Any]]:
        return [
            {
                "range_id": each.range_id,
                "lo": str(each.lo),
                "hi": str(each.hi),
                "epoch": each.epoch,
                "state": "unknown",
                "next_owner": None,
            }
            for each in self._bank.routes.range_map.ranges
            if each.shard == shard_no
        ]


async def _ranges_of(shard: Shard) -> list[dict[str, Any]]:
    return [
        {
            "range_id": each.range_id,
            "lo": str(each.lo),
            "hi": str(each.hi),
            "epoch": each.epoch,
            "state": each.state.lower(),
            "next_owner": each.next_owner,
        }
        for each in await shard.ownership.ranges()
    ]


def _check_name(shard_no: int) -> str:
    return f"shard-{shard_no}"


async def _answers(probe: Awaitable[None]) -> bool:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            await probe
    except (LedgerError, TimeoutError):
        return False
    return True


def add_operations(app: FastAPI, bank: Bank, metrics: Metrics) -> None:
    """Put shards, health and metrics on the app."""
    api = OperationsApi(bank, metrics)
    app.router.add_api_route(
        "/v1/shards",
        api.list_shards,
        methods=["GET"],
        tags=["operations"],
        response_model=ShardList,
        responses={200: json_example(examples.SHARDS), **problems("/v1/shards")},
    )
    for path, endpoint, told, faults, parameters in (
        ("/livez", api.live, {"status": "alive"}, (), []),
        ("/readyz", api.ready, examples.READY, (NotReady(),), [_VERBOSE]),
    ):
        app.router.add_api_route(
            path,
            endpoint,
            methods=["GET"],
            tags=["operations"],
            response_model=Health,
            responses={200: json_example(told), **problems(path, *faults)},
            openapi_extra={"parameters": parameters},
            route_class_override=LeanRoute,
        )
    app.router.add_api_route(
        "/metrics",
        api.scrape,
        methods=["GET"],
        tags=["operations"],
        response_class=PlainTextResponse,
        responses={
            200: {"content": {"text/plain": {"example": examples.METRICS}}},
            **problems("/metrics"),
        },
        route_class_override=LeanRoute,
    )
