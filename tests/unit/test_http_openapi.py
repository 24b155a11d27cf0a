"""The OpenAPI document is complete, stable, and says what the code does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from router.http.app import create_app
from router.telemetry import Metrics
from router.wiring import Bank
from tests.support.scripted_bank import ScriptedBank, http_client

OPERATIONS = {
    ("post", "/v1/transfers"): "submit_transfer",
    ("get", "/v1/transfers/{account}/{reference}"): "get_transfer",
    ("post", "/v1/accounts"): "open_account",
    ("get", "/v1/accounts/{account}"): "get_account",
    ("patch", "/v1/accounts/{account}"): "change_account",
    ("get", "/v1/accounts/{account}/balance"): "get_balance",
    ("get", "/v1/accounts/{account}/entries"): "list_entries",
    ("get", "/v1/shards"): "list_shards",
    ("get", "/livez"): "live",
    ("get", "/readyz"): "ready",
    ("get", "/metrics"): "scrape",
}
"""Clients are generated from these names: changing one breaks them."""

PROBLEM_REF = {"$ref": "#/components/schemas/Problem"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(cast(Bank, ScriptedBank()), Metrics()).openapi()


def _operations(document: dict[str, Any]) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield (method, path), operation


def _references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref":
                yield value
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def test_operation_ids_are_stable(document: dict[str, Any]) -> None:
    """Every operation has its name, and there is no other operation."""
    found = {key: operation["operationId"] for key, operation in _operations(document)}
    assert OPERATIONS == found


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    """Each ``$ref`` names a schema of the document."""
    schemas = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set() == set(_references(document)) - schemas


def test_every_operation_documents_its_problems(document: dict[str, Any]) -> None:
    """Each error response is a Problem, and no operation speaks FastAPI's own 422."""
    for _, operation in _operations(document):
        for status, response in operation["responses"].items():
            if status == "default" or int(status) >= 400:
                content = response["content"]
                assert ["application/problem+json"] == list(content)
                assert PROBLEM_REF == content["application/problem+json"]["schema"]
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_problems_have_examples_by_code(document: dict[str, Any]) -> None:
    """An example of each refusal is shown, with the status it is shown under."""
    responses = document["paths"]["/v1/transfers"]["post"]["responses"]
    examples = responses["422"]["content"]["application/problem+json"]["examples"]
    assert {
        "REFERENCE_REUSED",
        "SYSTEM_ACCOUNT",
        "ACCOUNT_UNKNOWN",
        "ACCOUNT_CLOSED",
        "ACCOUNT_FROZEN",
        "CURRENCY_MISMATCH",
        "INSUFFICIENT_FUNDS",
    } == set(examples)
    assert {422} == {example["value"]["status"] for example in examples.values()}


@pytest.mark.parametrize(
    ("method", "path", "model"),
    [
        ("post", "/v1/transfers", "TransferBody"),
        ("post", "/v1/accounts", "AccountBody"),
        ("patch", "/v1/accounts/{account}", "AccountChangeBody"),
    ],
)
def test_bodies_are_documented(
    document: dict[str, Any], method: str, path: str, model: str
) -> None:
    """A body that FastAPI does not parse is in the document all the same, closed to more fields."""
    content = document["paths"][path][method]["requestBody"]["content"]["application/json"]
    assert {"$ref": f"#/components/schemas/{model}"} == content["schema"]
    assert document["components"]["schemas"][model]["additionalProperties"] is False


def test_money_is_documented_as_a_string(document: dict[str, Any]) -> None:
    """No schema offers a number for money or for an account."""
    properties = document["components"]["schemas"]["TransferBody"]["properties"]
    for name in ("amount", "debtor_account", "creditor_account"):
        assert "string" == properties[name]["type"]


def test_headers_that_matter_are_documented(document: dict[str, Any]) -> None:
    """What a client may send and will get besides bodies is in the document."""
    operation = document["paths"]["/v1/transfers"]["post"]
    assert ["Idempotency-Key", "Prefer"] == [each["name"] for each in operation["parameters"]]
    assert {"Location", "Preference-Applied"} == set(operation["responses"]["202"]["headers"])
    assert "Idempotent-Replayed" in operation["responses"]["200"]["headers"]
    assert "Retry-After" in operation["responses"]["503"]["headers"]


async def test_documents_are_served() -> None:
    """``/openapi.json`` and ``/docs`` answer."""
    async with http_client(ScriptedBank()) as client:
        assert "3.1.0" == (await client.get("/openapi.json")).json()["openapi"]
        assert (await client.get("/docs")).headers["content-type"].startswith("text/html")
