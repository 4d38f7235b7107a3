"""A collector of traces on loopback: it takes OTLP as Langfuse does, and keeps what it was sent."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Observation:
    """A span as it arrived: its attributes by their names, JSON in them decoded where it is some."""

    name: str
    trace_id: str
    id: str
    parent: str
    scope: str
    attributes: dict[str, Any]
    start: int = 0
    end: int = 0

    def __getitem__(self, name: str) -> Any:
        return self.attributes.get(f"langfuse.observation.{name}")

    @property
    def duration(self) -> float:
        """Seconds that it took."""
        return (self.end - self.start) / 1e9

    @property
    def metadata(self) -> dict[str, Any]:
        """What is said of it beside its content."""
        prefix = "langfuse.observation.metadata."
        return {
            name.removeprefix(prefix): json.loads(value)
            for name, value in self.attributes.items()
            if name.startswith(prefix)
        }


@dataclass
class Collector:
    """What has arrived. `status` is what is answered, `hangs` lets nobody have an answer."""

    url: str = ""
    status: int = 200
    observations: list[Observation] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    hangs: threading.Event | None = None

    def named(self, name: str) -> list[Observation]:
        """Return those of a name."""
        return [each for each in self.observations if each.name == name]

    def only(self) -> Observation:
        """Return the one that there is."""
        (found,) = self.observations
        return found

    def beneath(self, parent: Observation) -> list[Observation]:
        """Return those beneath another one, in the order of their arrival."""
        return [each for each in self.observations if each.parent == parent.id]

    def take(self, body: bytes) -> None:
        """Take in a batch."""
        self.bodies.append(body)
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scoped in group.scope_spans:
                for span in scoped.spans:
                    attributes = {each.key: _value(each.value) for each in span.attributes}
                    ids = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
                    times = span.start_time_unix_nano, span.end_time_unix_nano
                    self.observations.append(Observation(span.name, *ids, scoped.scope.name, attributes, *times))


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind)


@contextmanager
def collecting(**how: Any) -> Iterator[Collector]:
    """Run one for the body of a `with`."""
    collector = Collector(**how)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if collector.hangs is not None:
                collector.hangs.wait(30)
                return
            collector.headers.append({name.lower(): value for name, value in self.headers.items()})
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            if self.path == "/api/public/otel/v1/traces" and collector.status == 200:
                collector.take(body)
            self.send_response(collector.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    collector.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield collector
    finally:
        if collector.hangs is not None:
            collector.hangs.set()
        server.shutdown()
        server.server_close()
        thread.join()
