"""The OpenAPI document is a promise: it is pinned, valid, and shows an example of everything."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from router.http.app import create_api
from router.telemetry import Metrics
from router.wiring import Bank
from tests.support.scripted_bank import ScriptedBank

PINNED = Path(__file__).with_name("openapi.json")
RECORD = "RECORD_OPENAPI"
HOW_TO_RECORD = (
    "The OpenAPI document is not the pinned one. If clients may rely on the new one, record it: "
    f"{RECORD}=1 make test ARGS=tests/contract/test_openapi.py"
)
Members = Mapping[str, Any]


class Place(NamedTuple):
    """A place of the document that holds a schema and examples of it."""

    name: str
    media_type: str
    schema: Members
    examples: list[Any]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    made = create_api(cast(Bank, ScriptedBank()), Metrics()).openapi()
    told: dict[str, Any] = json.loads(json.dumps(made))
    return told


def _operations(document: Members) -> Iterator[tuple[str, Members]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def _bodies(document: Members) -> Iterator[Place]:
    """Every body, of requests and of answers, in each of its media types."""
    for name, operation in _operations(document):
        contents = {f"{name} -> {s}": r["content"] for s, r in operation["responses"].items()}
        if "requestBody" in operation:
            contents[name] = operation["requestBody"]["content"]
        for place, content in contents.items():
            for media_type, described in content.items():
                yield Place(place, media_type, described["schema"], _examples(described))


def _parameters(document: Members) -> Iterator[Place]:
    """Every parameter, and every header of an answer."""
    shared = document["components"]["headers"]
    for name, operation in _operations(document):
        for parameter in operation["parameters"]:
            place = f"{name} {parameter['in']} {parameter['name']}"
            yield Place(place, "", parameter["schema"], _examples(parameter))
        for status, response in operation["responses"].items():
            for header, described in response["headers"].items():
                told = (
                    shared[described["$ref"].rpartition("/")[2]]
                    if "$ref" in described
                    else described
                )
                yield Place(f"{name} -> {status} {header}", "", told["schema"], _examples(told))


def _examples(described: Members) -> list[Any]:
    named = [each["value"] for each in described.get("examples", {}).values()]
    return [*named, described["example"]] if "example" in described else named


def _instances(place: Place) -> Iterator[Any]:
    """What the schema is about: of NDJSON each of its lines."""
    for example in place.examples:
        if place.media_type == "application/x-ndjson":
            yield from map(json.loads, example.splitlines())
        else:
            yield example


def test_the_document_is_pinned(document: dict[str, Any]) -> None:
    """Whatever changes in the document changes ``openapi.json`` in the same commit."""
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    if RECORD in os.environ:
        PINNED.write_text(text)
    assert json.loads(PINNED.read_text()) == document, HOW_TO_RECORD
    assert PINNED.read_text() == text, HOW_TO_RECORD


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    """A validator that is not ours finds nothing wrong with it as OpenAPI 3.1."""
    assert [] == [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()]


def test_every_operation_is_described(document: dict[str, Any]) -> None:
    """Each has a name for generated clients, its own, one tag, a summary and a description."""
    operations = [operation for _, operation in _operations(document)]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)
    assert [] == [
        operation["operationId"]
        for operation in operations
        if not (operation["summary"] and operation["description"] and len(operation["tags"]) == 1)
    ]


def test_there_is_no_answer_without_a_name(document: dict[str, Any]) -> None:
    """No operation has a ``default`` or a range of statuses, which would allow any answer."""
    assert [] == [
        (name, status)
        for name, operation in _operations(document)
        for status in operation["responses"]
        if not status.isdecimal()
    ]


def test_everything_has_an_example(document: dict[str, Any]) -> None:
    """Every request body, every answer, every parameter and every header shows one."""
    places = [*_bodies(document), *_parameters(document)]
    assert len(places) > 100
    assert [] == [(place.name, place.media_type) for place in places if not place.examples]


def test_every_problem_is_shown_under_its_own_status(document: dict[str, Any]) -> None:
    """An example of an error stands where its status and its code say."""
    for name, operation in _operations(document):
        for status, response in operation["responses"].items():
            told = response["content"].get("application/problem+json", {"examples": {}})
            for code, example in told["examples"].items():
                found = (example["value"]["code"], str(example["value"]["status"]))
                assert (code, status) == found, name


def test_every_example_fits_its_schema(document: dict[str, Any]) -> None:
    """What the document shows is what it promises."""
    checker = OAS31Validator.FORMAT_CHECKER
    wrong = []
    for place in (*_bodies(document), *_parameters(document)):
        schema = {**place.schema, "components": document["components"]}
        validator = OAS31Validator(schema, format_checker=checker)
        wrong += [
            (place.name, error.json_path, error.message)
            for instance in _instances(place)
            for error in validator.iter_errors(instance)
        ]
    assert [] == wrong


def test_every_link_leads_to_an_operation(document: dict[str, Any]) -> None:
    """A link names an operation, and gives it what its path needs."""
    operations = {each["operationId"]: each for _, each in _operations(document)}
    links = [
        (target, link)
        for operation in operations.values()
        for response in operation["responses"].values()
        for target, link in response.get("links", {}).items()
    ]
    assert len(links) > 10
    for target, link in links:
        needed = {p["name"] for p in operations[target]["parameters"] if p["in"] == "path"}
        assert (target, needed) == (link["operationId"], set(link["parameters"]))
