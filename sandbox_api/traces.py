"""The API's own spans: one per request, within the caller's trace, where the lab has a collector."""

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from livinglab.monitoring.traces import exporter_to
from sandbox_api.metrics import route_of


class Traces:
    """Makes a span for each request. What it is about is its address as the document writes it; never a token, never a body."""

    def __init__(self, app: ASGIApp, *, provider: TracerProvider) -> None:
        self.app = app
        self._tracer = provider.get_tracer("livinglab.api")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, within a span."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"] if name in (b"traceparent", b"tracestate")}
        asked = TraceContextTextMapPropagator().extract(carrier)
        with self._tracer.start_as_current_span(scope["method"], context=asked, kind=SpanKind.SERVER) as span:
            own = span.get_span_context()
            scope.setdefault("state", {})["traceparent"] = f"00-{own.trace_id:032x}-{own.span_id:016x}-01"

            async def watched(message: Message) -> None:
                if message["type"] == "http.response.start":
                    route, status = route_of(scope), message["status"]
                    span.update_name(f"{scope['method']} {route}")
                    span.set_attributes({"http.request.method": scope["method"], "http.route": route, "http.response.status_code": status})
                    if status >= 500:  # noqa: PLR2004
                        span.set_status(Status(StatusCode.ERROR))
                await send(message)

            await self.app(scope, receive, watched)


def provider_to(url: str) -> TracerProvider:
    """What makes spans, and sends them to a collector now and then."""
    provider = TracerProvider(resource=Resource.create({"service.name": "livinglab-api"}))
    provider.add_span_processor(BatchSpanProcessor(exporter_to(url)))
    return provider
