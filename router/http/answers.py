"""Writing a JSON answer: orjson knows decimals' strings, ids, dates and UTC times by itself."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import Response


def json_response(
    document: Mapping[str, Any],
    status: HTTPStatus = HTTPStatus.OK,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """``document`` as JSON; times are written in UTC with a ``Z`` (RFC 3339)."""
    return Response(orjson.dumps(document, option=orjson.OPT_UTC_Z), status, headers, _JSON)


_JSON = "application/json"
