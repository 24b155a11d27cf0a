"""``Request-Timeout``: how long the caller waits for his answer, in seconds.

What heeds it ends in time by itself (``router/patience.py``, the lanes); whatever does not is cut
off a moment later.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Final

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from router.http.problems import MALFORMED_TIMEOUT, problem_response
from router.limits import REQUEST_TIMEOUT_GRACE_S
from router.patience import caller_deadline
from shard.errors import LedgerError, OutcomeUnknown, Overloaded

HEADER = "Request-Timeout"
HEADER_BYTES: Final = HEADER.lower().encode()
_ABOVE_ZERO = r"0\.[0-9]{0,5}[1-9][0-9]{0,5}|[1-9][0-9]{0,5}(\.[0-9]{1,6})?"
PARAMETER: Mapping[str, Any] = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "Seconds that the caller waits. What has not begun by then is not begun.",
    "schema": {"type": "string", "pattern": f"^({_ABOVE_ZERO})$"},
    "example": "2.5",
}
_SECONDS = re.compile(_ABOVE_ZERO.encode())
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


async def serve_in_time(
    app: ASGIApp, scope: Scope, receive: Receive, send: Send, given: bytes
) -> None:
    """Serve a request whose caller said how long he waits; 400 if that cannot be read."""
    seconds = float(given) if _SECONDS.fullmatch(given) else 0.0
    if not seconds:
        await problem_response(Request(scope), MALFORMED_TIMEOUT)(scope, receive, send)
        return
    deadline = asyncio.get_running_loop().time() + seconds
    caller_deadline.set(deadline)
    has_begun = False

    async def send_and_note(message: Message) -> None:
        nonlocal has_begun
        has_begun = True
        await send(message)

    try:
        async with asyncio.timeout_at(deadline + REQUEST_TIMEOUT_GRACE_S) as limit:
            await app(scope, receive, send_and_note)
    except TimeoutError:
        # Of an answer that has begun only a broken connection can tell that it is not whole.
        if has_begun or not limit.expired():
            raise
        await problem_response(Request(scope), _too_late(scope))(scope, receive, send)


def _too_late(scope: Scope) -> LedgerError:
    if scope["method"] in _READING:
        return Overloaded("The request was not answered within its own time.")
    return OutcomeUnknown()
