"""What the OpenAPI document says beyond what FastAPI reads off the code.

Bodies are read by ``bodies.py`` and answers are written by ``orjson``, so both are described
here; problems are described with one example for each kind an operation can answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from router.http.problems import MEDIA_TYPE, Problem, example_of
from shard.errors import LedgerError

_REF = "#/components/schemas/{model}"

Described = dict[int | str, dict[str, Any]]

REFERENCE_PARAMETER: Mapping[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same thing as `reference` in the body; one of the two is needed.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,64}$"},
}
REPLAYED_DESCRIPTION: Mapping[str, Any] = {
    "Idempotent-Replayed": {
        "description": "`true`: the reference was known; the answer tells how it stands now.",
        "schema": {"type": "string", "enum": ["true"]},
    }
}


class LeanRoute(APIRoute):
    """A documented route whose endpoint takes the bare request and answers a response.

    FastAPI would solve dependencies and validate on every call; here the endpoint does both
    in one step on the raw bytes.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The endpoint itself."""
        handler: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return handler


class DescribedApp(FastAPI):
    """FastAPI, with the schemas of what it does not validate itself in the document."""

    def __init__(self, *, models: Sequence[type[BaseModel]], **settings: Any) -> None:
        super().__init__(**settings)
        self._models: tuple[type[BaseModel], ...] = (*models, Problem)

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, made once."""
        if self.openapi_schema is None:
            document = super().openapi()
            wanted: list[tuple[type[BaseModel], JsonSchemaMode]] = [
                (model, "validation") for model in self._models
            ]
            _, schemas = models_json_schema(wanted, ref_template=_REF)
            components = document.setdefault("components", {}).setdefault("schemas", {})
            components.update(schemas["$defs"])
        return self.openapi_schema or document


def json_body(model: type[BaseModel], examples: Mapping[str, Any]) -> dict[str, Any]:
    """``requestBody`` of an operation; ``examples`` are named bodies."""
    content = {
        "schema": {"$ref": _REF.format(model=model.__name__)},
        "examples": {name: {"value": value} for name, value in examples.items()},
    }
    return {"required": True, "content": {"application/json": content}}


def problems(instance: str, *errors: LedgerError) -> Described:
    """``responses`` of an operation for the errors it can answer, with an example of each."""
    by_status: dict[int, dict[str, Any]] = defaultdict(dict)
    for error in errors:
        example = example_of(error, instance)
        by_status[example["status"]][example["code"]] = {"value": example}
    described: Described = {status: _described(told) for status, told in sorted(by_status.items())}
    if HTTPStatus.SERVICE_UNAVAILABLE in described:
        described[HTTPStatus.SERVICE_UNAVAILABLE]["headers"] = {
            "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}
        }
    described["default"] = _described({}, "Any other problem, also a fault of ours.")
    return described


def _described(examples: Mapping[str, Any], words: str = "") -> dict[str, Any]:
    content: dict[str, Any] = {"schema": {"$ref": _REF.format(model=Problem.__name__)}}
    if examples:
        content["examples"] = dict(examples)
    return {
        "description": words or "Problem: " + ", ".join(f"`{code}`" for code in examples),
        "content": {MEDIA_TYPE: content},
    }
