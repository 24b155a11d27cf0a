"""OpenTelemetry traces through API, lanes and sagas.

Imported only where the environment asks for traces (``telemetry.tracing_from_environment``), as
the packages are an optional extra. Spans hold no account number, reference, name or amount.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    format_trace_id,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import Scope
from temporalio.client import Interceptor
from temporalio.contrib.opentelemetry import TracingInterceptor

_SERVICE = "sharded-ledger"
_NANOSECONDS = 1_000_000_000
_PROPAGATOR = TraceContextTextMapPropagator()
_FAULTS_FROM = 500


class RequestSpan:
    """The span of one HTTP request, under the names of OpenTelemetry's semantic conventions."""

    __slots__ = ("_method", "_span")

    def __init__(self, span: Span, method: str) -> None:
        self._span = span
        self._method = method

    @property
    def trace_id(self) -> str:
        """W3C trace id, 32 hex digits."""
        return format_trace_id(self._span.get_span_context().trace_id)

    def ended(self, route: str, status: int) -> None:
        """Name the span after its route, and tell how the request was answered."""
        self._span.update_name(f"{self._method} {route}")
        self._span.set_attribute("http.route", route)
        self._span.set_attribute("http.response.status_code", status)
        if status >= _FAULTS_FROM:
            self._span.set_attribute("error.type", str(status))
            self._span.set_status(Status(StatusCode.ERROR))


class Tracing:
    """The spans of one process: the lanes' and the sagas' ``Spans``, and those of requests."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(_SERVICE)

    @classmethod
    def from_environment(cls) -> Tracing:
        """Export by OTLP over HTTP, as the standard ``OTEL_*`` variables say."""
        given = OTELResourceDetector().detect()
        resource = Resource.create({SERVICE_NAME: _SERVICE}).merge(given)
        provider = TracerProvider(resource=resource)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider)

    def close(self) -> None:
        """Send what was not sent yet. It blocks: call it from a thread."""
        self._provider.shutdown()

    def temporal_interceptors(self) -> list[Interceptor]:
        """What a client of Temporal needs so that workflows continue the trace."""
        return [TracingInterceptor(tracer=self._tracer)]

    @contextmanager
    def request(self, scope: Scope, traceparent: bytes | None) -> Iterator[RequestSpan]:
        """The server span of a request, which continues its caller's trace."""
        carrier = {} if traceparent is None else {"traceparent": traceparent.decode("latin-1")}
        method = scope["method"]
        with self._tracer.start_as_current_span(
            method,
            context=_PROPAGATOR.extract(carrier, Context()),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method, "url.scheme": scope["scheme"]},
            record_exception=False,
        ) as span:
            yield RequestSpan(span, method)

    def here(self) -> SpanContext:
        """The span that is open here."""
        return get_current_span().get_span_context()

    def past(self, name: str, cause: object, seconds: float) -> None:
        """Something took ``seconds`` until now, within ``cause``."""
        if isinstance(cause, SpanContext) and cause.trace_flags.sampled:
            now_ns = time.time_ns()
            began_ns = now_ns - int(seconds * _NANOSECONDS)
            self._tracer.start_span(name, _within(cause), start_time=began_ns).end(now_ns)

    @contextmanager
    def span(
        self,
        name: str,
        *,
        causes: Sequence[object] = (),
        attributes: Mapping[str, str | int] | None = None,
    ) -> Iterator[None]:
        """A span for what happens inside; one cause is its parent, several are its links."""
        known = [each for each in causes if isinstance(each, SpanContext) and each.is_valid]
        links = [Link(each) for each in known] if len(known) > 1 else []
        with self._tracer.start_as_current_span(
            name,
            context=_within(known[0]) if len(known) == 1 else Context() if links else None,
            links=links,
            attributes=attributes,
            record_exception=False,
        ):
            yield


def _within(cause: SpanContext) -> Context:
    return set_span_in_context(NonRecordingSpan(cause), Context())
