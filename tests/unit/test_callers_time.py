"""A caller's time that is up in the middle of an answer."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from router.http.callers_time import serve_in_time


async def test_an_answer_that_has_begun_is_broken_off() -> None:
    """Half an answer is out: a second one must not follow it, so the connection has to break."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def never_ends(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.Event().wait()

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b""}
    with pytest.raises(TimeoutError):
        await serve_in_time(never_ends, scope, receive, send, b"0.01")
    assert ["http.response.start"] == [message["type"] for message in sent]
