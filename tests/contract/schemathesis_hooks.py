"""What schemathesis has to be told about this API; it runs in a process of its own."""

from __future__ import annotations

import json
import re
from typing import Any

import schemathesis

NDJSON = "application/x-ndjson"
REFERENCE = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)
KEY = "Idempotency-Key"


@schemathesis.serializer(NDJSON)
def write_lines(ctx: schemathesis.SerializationContext, value: Any) -> bytes:
    """Examples are whole bodies; whatever is generated is one line."""
    if isinstance(value, bytes):
        return value
    return (value if isinstance(value, str) else json.dumps(value) + "\n").encode()


@schemathesis.deserializer(NDJSON)
def read_lines(ctx: schemathesis.DeserializationContext, response: Any) -> Any:
    """The line with the highest status stands for the answer: a problem, if there is one."""
    lines = [json.loads(line) for line in response.content.splitlines()]
    return max(lines, key=lambda line: int(line["status"]))


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: Any, kwargs: dict[str, Any]) -> None:
    """Keep the one rule that no schema states: a reference is in the body or in the header.

    A header that is wrong by itself stays as it is.
    """
    given = case.headers.get(KEY)
    is_named = any(parameter.name == KEY for parameter in case.operation.headers)
    if is_named and isinstance(case.body, dict) and (given is None or _is_reference(given)):
        if case.body.get("reference") is not None:
            case.headers.pop(KEY, None)
        elif given is None:
            case.headers[KEY] = f"R-{case.id}"


def _is_reference(text: object) -> bool:
    return REFERENCE.fullmatch(str(text)) is not None


@schemathesis.check
def problem_is_documented(ctx: Any, response: Any, case: Any) -> None:
    """Each code that is answered stands in the document, under its status."""
    if "problem+json" not in response.headers.get("content-type", [""])[0]:
        return
    code = response.json()["code"]
    if response.status_code == 405:
        return
    told = case.operation.definition.raw["responses"].get(str(response.status_code), {})
    shown = told.get("content", {}).get("application/problem+json", {}).get("examples", {})
    if code not in shown:
        raise AssertionError(f"{response.status_code} {code} is not documented.")


@schemathesis.check
class EveryOperationServes:
    """Fails for an operation that was never answered with success: little of it was tested."""

    def __init__(self) -> None:
        self.tried: set[str] = set()
        self.served: set[str] = set()

    def after_response(self, ctx: Any, response: Any, case: Any) -> None:
        """Take note of one answer."""
        self.tried.add(case.operation.label)
        if response.status_code < 300:
            self.served.add(case.operation.label)

    def after_run(self, ctx: Any) -> None:
        """Compare at the end."""
        if missing := self.tried - self.served:
            raise AssertionError("Never answered with success: " + ", ".join(sorted(missing)))
