"""What the OpenAPI document says beyond what FastAPI reads off the code.

Bodies are read by ``bodies.py`` and answers are written by ``orjson``, so both are described
here; problems are described with one example for each kind an operation can answer. There is no
``default`` answer: whatever an operation can answer is named.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from router.errors import AccountUnassigned, RoutesUnknown
from router.http.callers_time import PARAMETER
from router.http.problems import MALFORMED_TIMEOUT, MEDIA_TYPE, Problem, example_of
from router.limits import RETRY_AFTER_S
from shard.errors import (
    LedgerError,
    NotFound,
    Overloaded,
    RangeMoving,
    ShardUnavailable,
    Unavailable,
)

_REF = "#/components/schemas/{model}"

Described = dict[int | str, dict[str, Any]]

REFERENCE_PARAMETER: Mapping[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same thing as `reference` in the body; one of the two is needed.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,64}$"},
    "example": "PAY-17",
}
REPLAYED_DESCRIPTION: Mapping[str, Any] = {
    "Idempotent-Replayed": {
        "description": "`true`: the reference was known; the answer tells how it stands now.",
        "schema": {"type": "string", "enum": ["true"]},
        "example": "true",
    }
}
UNKNOWN: Final[tuple[LedgerError, ...]] = (NotFound(), AccountUnassigned())
"""What a request can be answered that looks for something by its account."""

ROUTED: Final[tuple[LedgerError, ...]] = (
    ShardUnavailable(),
    RangeMoving(),
    RoutesUnknown(),
    Unavailable(),
)
"""What every request can be answered that goes to an account's shard."""

_ANYWHERE: Final[tuple[LedgerError, ...]] = (LedgerError(),)
_AT_THE_DOOR: Final[tuple[LedgerError, ...]] = (MALFORMED_TIMEOUT, Overloaded())
_API: Final = "/v1/"
_EXAMPLE_PATH: Final = {"account": "2000000123", "reference": "PAY-17", "reversal": "REV-17"}
_TRACE_ID: Final = "Trace-Id"
_TRACE_ID_HEADER: Final[Mapping[str, Any]] = {
    "description": "Finds this request in logs and traces; the caller's own, if it sent one.",
    "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    "example": "4bf92f3577b34da6a3ce929d0e0e4736",
}
_SHOWN: Final = frozenset({"example", "examples"})
_CREATED: Final = frozenset({"201", "202"})
_OF_ACCOUNT: Final = {"account": "$response.body#/account"}
_OF_TRANSFER: Final = {
    "account": "$response.body#/debtor_account",
    "reference": "$response.body#/reference",
}
_OF_CAPTURE: Final = {
    "account": "$response.body#/transfer/debtor_account",
    "reference": "$response.body#/transfer/reference",
}
_OF_REVERSAL: Final = {
    "account": "$request.path.account",
    "reference": "$request.path.reference",
    "reversal": "$response.body#/reference",
}
_OF_HOLD: Final = {"account": "$response.body#/account", "reference": "$response.body#/reference"}
_LINKS: Final[Mapping[str, tuple[Mapping[str, str], Sequence[str]]]] = {
    "open_account": (
        _OF_ACCOUNT,
        ("get_account", "change_account", "get_balance", "list_entries", "get_statement"),
    ),
    "submit_transfer": (_OF_TRANSFER, ("get_transfer", "reverse_transfer")),
    "reverse_transfer": (_OF_REVERSAL, ("get_reversal",)),
    "place_hold": (_OF_HOLD, ("get_hold", "capture_hold", "increase_hold", "void_hold")),
    "capture_hold": (_OF_CAPTURE, ("get_transfer", "reverse_transfer")),
}
"""What can be done next with what an operation has made, and where its parameters come from."""


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
            for route in self.routes:
                if isinstance(route, APIRoute):
                    for method in route.methods or ():
                        operation = document["paths"][route.path][method.lower()]
                        _complete(route.path, operation)
                        _restore_examples(route, operation)
            for unused in ("HTTPValidationError", "ValidationError"):
                document["components"]["schemas"].pop(unused, None)
            document["components"]["headers"] = {_TRACE_ID: dict(_TRACE_ID_HEADER)}
            components = document.setdefault("components", {}).setdefault("schemas", {})
            # What FastAPI has described by itself is the more exact: the side of the answers.
            document["components"]["schemas"] = {**schemas["$defs"], **components}
        return self.openapi_schema or document


def _complete(path: str, operation: dict[str, Any]) -> None:
    """Add what is the same for all operations, and the links between them."""
    parameters = operation.setdefault("parameters", [])
    if path.startswith(_API):
        parameters.append(dict(PARAMETER))
    for parameter in parameters:
        if not parameter.keys() & _SHOWN:
            parameter["example"] = _example_in(parameter["schema"])
    # FastAPI's own shape of what this API answers 400.
    if MEDIA_TYPE not in operation["responses"].get("422", {"content": MEDIA_TYPE})["content"]:
        del operation["responses"]["422"]
    sources, targets = _LINKS.get(operation["operationId"], ({}, ()))
    for status, response in operation["responses"].items():
        headers = response.setdefault("headers", {})
        headers[_TRACE_ID] = {"$ref": f"#/components/headers/{_TRACE_ID}"}
        if targets and status in _CREATED:
            response["links"] = {
                target: {"operationId": target, "parameters": dict(sources)} for target in targets
            }


def _restore_examples(route: APIRoute, operation: dict[str, Any]) -> None:
    """Put back the nulls in examples, which FastAPI leaves out of whatever it writes."""
    told = {str(status): each for status, each in route.responses.items()}
    pairs = [(operation["responses"][status], each) for status, each in told.items()]
    extra = route.openapi_extra or {}
    if "requestBody" in extra:
        pairs.append((operation["requestBody"], extra["requestBody"]))
    for written, wanted in pairs:
        for media_type, content in wanted.get("content", {}).items():
            shown = {name: content[name] for name in _SHOWN if name in content}
            written["content"][media_type].update(shown)


def _example_in(schema: Mapping[str, Any]) -> Any:
    """The example of a parameter, from its own schema or from those it is one of."""
    examples: Sequence[Any] = schema.get("examples", ())
    for option in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        examples = examples or option.get("examples", ())
    return examples[0] if examples else schema["default"]


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
    always = (*_AT_THE_DOOR, *_ANYWHERE) if instance.startswith(_API) else _ANYWHERE
    for error in (*errors, *always):
        example = example_of(error, instance.format(**_EXAMPLE_PATH))
        by_status[example["status"]].setdefault(example["code"], {"value": example})
    described: Described = {status: _described(told) for status, told in sorted(by_status.items())}
    if HTTPStatus.SERVICE_UNAVAILABLE in described:
        described[HTTPStatus.SERVICE_UNAVAILABLE]["headers"] = {
            "Retry-After": {
                "description": "Seconds.",
                "schema": {"type": "integer"},
                "example": RETRY_AFTER_S,
            }
        }
    return described


def json_example(value: Any) -> dict[str, Any]:
    """``responses`` of one status: an example of its JSON document."""
    return {"content": {"application/json": {"example": value}}}


def _described(examples: Mapping[str, Any]) -> dict[str, Any]:
    schema = {"$ref": _REF.format(model=Problem.__name__)}
    return {
        "description": "Problem: " + ", ".join(f"`{code}`" for code in examples),
        "content": {MEDIA_TYPE: {"schema": schema, "examples": dict(examples)}},
    }
