"""Langfuse: one generation for each request, with whoever answered it, and what was tried before in its metadata.

    run        a span named after the agent
      turn 1   a span ─┬─ a generation
      turn 2           └─ a tool, for each call

The first supervisor that traces makes the client (`_langfuse_client.py`); one that the application has made with the
same public key is used as it is, and never closed. What is shown stands in `_generation.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, final

import anyio
import anyio.to_thread
from langfuse import Langfuse
from opentelemetry.trace import use_span

from ..providers import encode
from ..supervisor import (
    About,
    Begun,
    LangfuseAccess,
    Over,
    RequestBegun,
    RequestOver,
    RunBegun,
    RunOver,
    ToolBegun,
    ToolOver,
    TurnBegun,
    TurnOver,
)
from ._generation import (
    UNKNOWN_TOOL,
    answer,
    conversation,
    parameters_shown,
    request_level,
    request_metadata,
    served_by,
    tokens,
)
from ._langfuse_client import client_of, made, quiet

CLOSE_WITHIN = 2.0
"""Seconds for what is still to be sent when a supervisor closes."""


def open_langfuse(access: LangfuseAccess, *, secrets: Sequence[str] = ()) -> LangfuseTracer:
    """Return what shows requests to Langfuse: through the application's client for that public key, else one of ours.

    Args:
        secrets: What is masked in everything that is shown.
    """
    client, is_ours = client_of(access)
    return LangfuseTracer(client, access, secrets=secrets, is_ours=is_ours)


_within: ContextVar[_Span | None] = ContextVar("understudy_langfuse_within", default=None)
"""What runs in the context at hand, where the client is ours: OpenTelemetry's own context is the application's then,
and its spans must not hang beneath ones that only Langfuse is sent."""


@final
class LangfuseTracer:
    """Shows requests and tool runs to Langfuse."""

    def __init__(
        self, client: Langfuse, access: LangfuseAccess, *, secrets: Sequence[str] = (), is_ours: bool = False
    ) -> None:
        self._client, self._is_ours = client, is_ours
        self._queue = made[access.public_key].queue if is_ours and access.public_key in made else None
        self.access = access
        self._secrets = tuple(secret for secret in secrets if len(secret) >= 8)  # shorter ones are words, too

    @property
    def dropped(self) -> int:
        """Observations that could not be sent, or had no room, of all who use this client; 0 where it is not ours."""
        return 0 if self._queue is None else self._queue.dropped

    def takes(self) -> bool:
        """Say whether an observation that ends now can be sent; one that cannot is counted."""
        queue = self._queue
        if queue is None or not queue.is_full:
            return True
        queue.no_room += 1
        return False

    def begin(self, begun: Begun) -> _Span:
        """Begin an observation beneath what is current."""
        place = _within.get() if self._is_ours else None
        return self.begin_in(self._client if place is None else place.observation, begun, None)

    def begin_in(self, place: Any, begun: Begun, about: About | None) -> _Span:
        """Begin an observation in a client, or beneath another one, whose `about` holds for it, too."""
        with quiet():
            match begun:
                case RequestBegun(agent, given, messages):
                    observation = place.start_observation(
                        name=given.name or agent, as_type="generation", input=self.shown(conversation(messages))
                    )
                    about = given
                case RunBegun(agent, given, messages):
                    observation = place.start_observation(
                        name=given.name or agent, as_type="agent", input=self.shown(conversation(messages))
                    )
                    about = given
                case TurnBegun(number):
                    observation = place.start_observation(name=f"turn {number}", as_type="span")
                case ToolBegun(call, is_known):
                    name = call.name if is_known or self.access.capture_content else UNKNOWN_TOOL
                    observation = place.start_observation(name=name, as_type="tool", input=self.shown(call.arguments))
            span = _Span(self, observation, begun, about)
            span.mark()
            return span

    def shown(self, content: Any) -> str | None:
        """Return content as it is sent: as JSON, unless it is a text, without secrets; None if none is to be sent."""
        if not self.access.capture_content or content is None:
            return None
        if not isinstance(content, str):
            try:
                content = encode(content).decode()
            except ValueError:  # half of a pair of surrogates, say
                content = json.dumps(content, default=str)
        return self.masked(content)

    def masked(self, text: str) -> str:
        """Return a text without secrets."""
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, "[secret]")
        return text

    async def aclose(self) -> None:
        """Send what there is, within 2 s; the client stays open, for it is the process's. Nothing is raised."""
        if not self._is_ours:
            return
        with anyio.move_on_after(CLOSE_WITHIN, shield=True):
            with suppress(RuntimeError):  # no thread can be started
                await anyio.to_thread.run_sync(self._flush, abandon_on_cancel=True)

    def _flush(self) -> None:
        with quiet(), suppress(Exception):
            self._client.flush()


@final
@dataclass(slots=True)
class _Span:
    """One observation. `about` is what its caller said of the call that it is part of."""

    tracer: LangfuseTracer
    observation: Any
    begun: Begun
    about: About | None
    begun_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def begin(self, begun: Begun) -> _Span:
        """Begin one beneath this."""
        return self.tracer.begin_in(self.observation, begun, self.about)

    def mark(self) -> None:
        """Say whose it is: Langfuse sums up by what each observation says."""
        about = self.about
        if about is None:
            return
        span = self.observation._otel_span
        masked = self.tracer.masked
        if about.user_id is not None:
            span.set_attribute("user.id", masked(about.user_id))
        if about.session_id is not None:
            span.set_attribute("session.id", masked(about.session_id))
        if about.tags:
            span.set_attribute("langfuse.trace.tags", [masked(tag) for tag in about.tags])

    def end(self, over: Over) -> None:
        """End it with what came of it."""
        with quiet():
            match over:
                case RequestOver():
                    self.observation.update(**self._request(over))
                case RunOver(run, error, reason):
                    said: dict[str, Any] = {"agent": self.begun.agent} if isinstance(self.begun, RunBegun) else {}
                    if run is not None:
                        said |= {
                            "iterations": run.iterations,
                            "tool_calls": len(run.tool_calls),
                            "is_fallback": run.is_fallback,
                            "is_cut_short": run.is_cut_short,
                        }
                    output = None if run is None else self.tracer.shown(answer(run.response.message))
                    self.observation.update(output=output, metadata=self._said(said), **self._level(error, reason))
                case TurnOver(error, reason):
                    self.observation.update(**self._level(error, reason))
                case ToolOver(use):
                    if use is None:
                        self.observation.update(**self._level("cancelled", ""))
                    else:
                        level = {"level": "ERROR", "status_message": "told to the model"} if use.is_error else {}
                        self.observation.update(output=self.tracer.shown(use.result), **level)
            if self.tracer.takes():
                self.observation.end()

    @contextmanager
    def current(self) -> Iterator[None]:
        """Let what runs meanwhile hang beneath this."""
        if self.tracer._is_ours:
            token = _within.set(self)
            try:
                yield
            finally:
                _within.reset(token)
            return
        span = self.observation._otel_span
        with use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False):
            yield

    def _request(self, over: RequestOver) -> dict[str, Any]:
        content, response = self.tracer.access.capture_content, over.response
        transport, model = served_by(over)
        level, message = request_level(over, content=content)
        agent = self.begun.agent if isinstance(self.begun, RequestBegun) else ""
        said = request_metadata(agent, over, content=content) | {"transport": transport}
        shown: dict[str, Any] = {"model": model, "level": level, "metadata": self._said(said)}
        if message:
            shown["status_message"] = self.tracer.masked(message)
        if over.parameters:
            shown["model_parameters"] = self._hidden(parameters_shown(over.parameters)) or None
        if response is not None:
            shown["output"] = self.tracer.shown(answer(response.message))
            shown["usage_details"] = tokens(response.usage) or None
            if response.cost is not None:
                shown["cost_details"] = {"total": response.cost}
        elif over.partial is not None:
            shown["output"] = self.tracer.shown(over.partial.text)
        if over.first_token is not None:
            shown["completion_start_time"] = self.begun_at + timedelta(seconds=over.first_token)
        return shown

    def _said(self, ours: dict[str, Any]) -> dict[str, Any]:
        namespace = self.tracer.access.namespace
        ours = ours | ({"namespace": namespace} if namespace else {})
        given = self.begun.about.metadata if isinstance(self.begun, RequestBegun | RunBegun) else {}
        return {**{name: self._hidden(value) for name, value in given.items()}, **ours}  # where both have a name, ours

    def _hidden(self, value: Any) -> Any:
        """Return what a caller said without secrets, in whatever it stands."""
        if isinstance(value, str):
            return self.tracer.masked(value)
        if isinstance(value, Mapping):
            return {name: self._hidden(each) for name, each in value.items()}
        return [self._hidden(each) for each in value] if isinstance(value, list | tuple) else value

    def _level(self, error: str, reason: str) -> dict[str, str]:
        if not error:
            return {}
        if error == "cancelled":
            return {"level": "WARNING", "status_message": "cancelled by its caller"}
        said = f"{error}: {reason}" if reason and self.tracer.access.capture_content else error
        return {"level": "ERROR", "status_message": self.tracer.masked(said)}
