"""Names in paths: what they are called and look like, and reading them off a bare request."""

from __future__ import annotations

from typing import Any

from fastapi import Path, Request

from router.http.problems import FieldError, RequestMalformed
from shard.account_numbers import parse_account_no
from shard.errors import AccountNoMalformed, ReferenceMalformed
from shard.references import parse_reference

_ACCOUNT = "account"
_REFERENCE = "reference"


def account_in_path(request: Request) -> int:
    """The account that the path names; raises ``RequestMalformed``."""
    try:
        return parse_account_no(request.path_params[_ACCOUNT])
    except AccountNoMalformed as error:
        raise RequestMalformed([FieldError(error.detail, parameter=_ACCOUNT)]) from None


def reference_in_path(request: Request) -> str:
    """The reference that the path names; raises ``RequestMalformed``."""
    try:
        return parse_reference(request.path_params[_REFERENCE])
    except ReferenceMalformed as error:
        raise RequestMalformed([FieldError(error.detail, parameter=_REFERENCE)]) from None


def reference_path(description: str, example: str) -> Any:
    """A reference in the path of an endpoint that FastAPI reads parameters for."""
    return Path(description=description, openapi_examples={example: {"value": example}})


def account_parameter(description: str) -> dict[str, Any]:
    """``account`` in the path, as the OpenAPI document tells it."""
    return {
        "name": _ACCOUNT,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "string", "pattern": "^[1-9][0-9]{0,17}$"},
        "example": "2000000123",
    }


def reference_parameter(description: str, example: str) -> dict[str, Any]:
    """``reference`` in the path, as the OpenAPI document tells it."""
    return {
        "name": _REFERENCE,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,64}$"},
        "example": example,
    }
