"""What one process tells about itself: log lines that hold no secret, and metrics.

Metrics never carry an account number, customer or reference: labels are for dashboards.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from router.saga_metrics import SagaMetrics
from shard.errors import Misconfigured

if TYPE_CHECKING:
    from router.tracing import Tracing

current_trace_id: ContextVar[str] = ContextVar("current_trace_id", default="")
"""W3C trace id of the request being served, 32 hex digits; empty outside of one."""

caller_trace_id: ContextVar[str] = ContextVar("caller_trace_id", default="")
"""The same, if it was the caller who gave it: worth keeping with what he asked for."""

_TRACE_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_MASK = "***"
_SECRET_NAME = re.compile(
    r"password|passwd|secret|token|authorization|cookie|dsn|conninfo", re.IGNORECASE
)
_SECRET_IN_TEXT = re.compile(
    r"(?P<uri>\b[a-z][a-z0-9+.-]*://[^\s/@:'\"]*:)[^\s@'\"]+(?=@)"
    r"|(?P<pair>\b(?:password|passwd|secret|token)\s*[=:]\s*)"
    r"(?:'(?:[^'\\]|\\.)*'|\"[^\"]*\"|[^\s,;&]+)",
    re.IGNORECASE,
)
_REQUEST_BUCKETS_S = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip


class Metrics(SagaMetrics):
    """The counters and histograms of one process; each instance has its own registry.

    It is the sagas' ``Observer`` too.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        super().__init__(self.registry)
        self.request_seconds = Histogram(
            "ledger_http_request_seconds",
            "Time from the first byte of a request to the last byte of its answer.",
            ["method", "route", "status"],
            buckets=_REQUEST_BUCKETS_S,
            registry=self.registry,
        )
        self.transfers = Counter(
            "ledger_transfers",
            "Transfers answered for the first time, by outcome and path (local or cross).",
            ["outcome", "path"],
            registry=self.registry,
        )
        self.replays = Counter(
            "ledger_transfer_replays",
            "Transfers answered again under a reference already known.",
            registry=self.registry,
        )
        self.holds = Counter(
            "ledger_holds",
            "Commands around holds answered for the first time, by operation and outcome.",
            ["operation", "outcome"],
            registry=self.registry,
        )


def tracing_from_environment() -> Tracing | None:
    """Traces, if a standard ``OTEL_*`` variable says where to; else None, and no cost.

    Raises ``Misconfigured`` where the packages of the extra ``telemetry`` are missing.
    """
    told = os.environ
    is_wanted = any(told.get(name) for name in _TRACE_ENDPOINTS)
    is_disabled = told.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if not is_wanted or is_disabled or told.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    try:
        from router.tracing import Tracing
    except ModuleNotFoundError as error:
        message = f'Traces need the package\'s extra "telemetry": {error}.'
        raise Misconfigured(message) from None
    return Tracing.from_environment()


def masked(text: str) -> str:
    """The same text without passwords in URIs and ``password=...`` pairs."""
    return _SECRET_IN_TEXT.sub(lambda found: (found["uri"] or found["pair"]) + _MASK, text)


def _without_secrets(_: object, __: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    return {name: _shown(name, value) for name, value in event.items()}


def _shown(name: str, value: object) -> object:
    if _SECRET_NAME.search(name):
        return _MASK
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, Mapping):
        return {str(key): _shown(str(key), inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_shown(name, inner) for inner in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return masked(str(value))


def _with_trace_id(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    trace_id = current_trace_id.get()
    if trace_id:
        event.setdefault("trace_id", trace_id)
    return event


def configure_logging(level: str = "INFO", *, as_json: bool | None = None) -> None:
    """Send structlog and the standard library's log to stderr, without secrets.

    ``as_json`` left open means: lines of JSON unless stderr is a terminal.
    """
    if as_json is None:
        as_json = not sys.stderr.isatty()
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        _with_trace_id,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                # After the exception became text, because a driver's message may quote its DSN.
                _without_secrets,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
