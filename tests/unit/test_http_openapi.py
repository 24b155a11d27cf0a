"""Rules that hold for every operation of the OpenAPI document, whichever there are.

What the document says in full is pinned by ``tests/contract/test_openapi.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from router.http.app import create_api
from router.telemetry import Metrics
from router.wiring import Bank
from tests.support.scripted_bank import ScriptedBank, http_client

PROBLEM_REF = {"$ref": "#/components/schemas/Problem"}
COUNTED = {
    "AccountObject.shard",
    "BalanceObject.seq",
    "BulkAnswer.line",
    "BulkAnswer.status",
    "EntryObject.bucket",
    "EntryObject.seq",
    "FieldProblem.line",
    "LoadObject.batches",
    "LoadObject.commands",
    "LoadObject.queued_commands",
    "Problem.status",
    "RangeObject.epoch",
    "RangeObject.next_owner",
    "RangeObject.range_id",
    "ShardObject.shard",
    "StatementObject.entry_count",
    "StatementObject.seq",
    "TransferBody.expected_seq",
}
"""Members that are JSON numbers: positions and counters, never money and never accounts."""


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_api(cast(Bank, ScriptedBank()), Metrics()).openapi()


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for methods in document["paths"].values():
        yield from methods.values()


def test_every_operation_documents_its_problems(document: dict[str, Any]) -> None:
    """Each error response is a Problem, and no operation speaks FastAPI's own 422."""
    for operation in _operations(document):
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                content = response["content"]
                assert ["application/problem+json"] == list(content)
                assert PROBLEM_REF == content["application/problem+json"]["schema"]
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_a_fault_of_ours_is_always_documented(document: dict[str, Any]) -> None:
    """500 can come from anywhere, and says that the request may be repeated."""
    for operation in _operations(document):
        content = operation["responses"]["500"]["content"]["application/problem+json"]
        assert content["examples"]["INTERNAL"]["value"]["retryable"] is True


def test_bodies_are_documented_and_closed(document: dict[str, Any]) -> None:
    """A body that FastAPI does not parse is in the document all the same, without other names."""
    bodies = [each["requestBody"]["content"] for each in _operations(document) if _has_body(each)]
    models = {
        described["schema"]["$ref"].rpartition("/")[2]
        for content in bodies
        for described in content.values()
    }
    assert len(models) > 5
    for model in models:
        assert document["components"]["schemas"][model]["additionalProperties"] is False


def _has_body(operation: dict[str, Any]) -> bool:
    return "requestBody" in operation


def test_only_positions_and_counters_are_numbers(document: dict[str, Any]) -> None:
    """No schema offers a number for money or for an account."""
    found = {
        f"{model}.{name}"
        for model, schema in document["components"]["schemas"].items()
        for name, described in schema.get("properties", {}).items()
        if {"integer", "number"} & set(_types_in(described))
    }
    assert COUNTED == found


def _types_in(schema: dict[str, Any]) -> Iterator[str]:
    if "type" in schema:
        yield schema["type"]
    for option in schema.get("anyOf", ()):
        yield from _types_in(option)


def test_unavailability_says_when_to_come_back(document: dict[str, Any]) -> None:
    """Every documented 503 has ``Retry-After``."""
    for operation in _operations(document):
        if "503" in operation["responses"]:
            assert "Retry-After" in operation["responses"]["503"]["headers"]


async def test_documents_are_served() -> None:
    """``/openapi.json`` and ``/docs`` answer."""
    async with http_client(ScriptedBank()) as client:
        assert "3.1.0" == (await client.get("/openapi.json")).json()["openapi"]
        assert (await client.get("/docs")).headers["content-type"].startswith("text/html")
