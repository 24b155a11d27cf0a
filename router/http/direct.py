"""The hot operation without the framework's layers around it.

FastAPI tries routes in order and puts several layers around an endpoint: to solve dependencies, to
close files, to find handlers for exceptions. An endpoint that takes the bare request needs none of
them, and for a posting they cost more than its own parsing and writing.
"""

from __future__ import annotations

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from router.http.openapi import LeanRoute
from router.http.problems import on_http_exception, problem_response
from shard.errors import LedgerError


class DirectRoute:
    """ASGI application: serves one lean route itself, and leaves all other requests to FastAPI.

    The answers are the framework's own, pinned by ``tests/unit/test_direct_route.py``; a fault is
    left to whoever called, as by the framework.
    """

    def __init__(self, app: FastAPI, method: str, path: str) -> None:
        self._app = app
        self._method = method
        self._path = path
        (self._route,) = (
            route
            for route in app.routes
            if isinstance(route, LeanRoute)
            and route.path == path
            and method in (route.methods or ())
        )
        self._endpoint = self._route.get_route_handler()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path") != self._path or scope.get("method") != self._method:
            await self._app(scope, receive, send)
            return
        # Metrics, log and traces name a request after its route; a 405 looks at all of the app's.
        scope["route"] = self._route
        scope["app"] = self._app
        request = Request(scope, receive, send)
        try:
            response = await self._endpoint(request)
        except LedgerError as error:
            response = problem_response(request, error)
            # One error can answer many requests, and would keep what each of them held.
            error.__traceback__ = None
        except HTTPException as error:
            response = await on_http_exception(request, error)
        await response(scope, receive, send)
