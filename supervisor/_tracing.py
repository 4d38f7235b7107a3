"""Traces: what was asked and answered, with its content and its nesting, for whoever shows that to people.

    run ─┬─ turn ─┬─ request     one for each request, however many attempts it took
         │        └─ tool        one for each call
         └─ turn …

Hooks are told what happens, without any content; a tracer is shown the content, and what lies within what. It is called
in the task where it happens, so that what the caller has made current is found by it. What it raises is counted, told
in the log once, and costs nobody an answer.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, final

from ..providers import Attempt, Line, Message, Parameters, Partial, PassedOver, Response, ToolCall, first_token, tell
from ._hooks import ENDS, named, total
from ._run_values import Run, ToolUse

_log = logging.getLogger("understudy.supervisor")


@final
@dataclass(frozen=True, slots=True)
class About:
    """What a caller says of a call for its trace; no provider is told. `name` is the agent's where it is empty."""

    name: str = ""
    user_id: str | None = None
    session_id: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


NOTHING = About()


@final
@dataclass(frozen=True, slots=True)
class RequestBegun:
    """A request is asked. `parameters` are the caller's own; those of a route are under them."""

    agent: str
    about: About
    messages: tuple[Message, ...]
    parameters: Parameters
    streams: bool


@final
@dataclass(frozen=True, slots=True)
class RequestOver:
    """A request is over. `duration` and `first_token` are in seconds since it began.

    `parameters` are those that whoever was asked last was given, the route's own among them. `response` is None where
    there is no answer; then `partial` is what had come of it, if anything had, `error` the name of what was raised, or
    "cancelled", and `reason` what it says.
    """

    duration: float
    attempts: tuple[Attempt, ...]
    passed_over: tuple[PassedOver, ...]
    parameters: Parameters
    response: Response | None = None
    partial: Partial | None = None
    error: str = ""
    reason: str = ""

    @property
    def first_token(self) -> float | None:
        """Seconds until the first content of the last attempt; None where no stream was read."""
        return first_token(self.attempts)


@final
@dataclass(frozen=True, slots=True)
class RunBegun:
    """A tool run begins."""

    agent: str
    about: About
    messages: tuple[Message, ...]
    parameters: Parameters


@final
@dataclass(frozen=True, slots=True)
class RunOver:
    """A tool run is over; `error` and `reason` as for a request."""

    run: Run | None = None
    error: str = ""
    reason: str = ""


@final
@dataclass(frozen=True, slots=True)
class TurnBegun:
    """A turn of a tool run begins: a request, and the tools that are asked for by its answer. Counted from 1."""

    number: int


@final
@dataclass(frozen=True, slots=True)
class TurnOver:
    """A turn is over, its tools too; `error` and `reason` as for a request."""

    error: str = ""
    reason: str = ""


@final
@dataclass(frozen=True, slots=True)
class ToolBegun:
    """A tool is run; or, if it is not `is_known`, the model asks for one that there is not."""

    call: ToolCall
    is_known: bool = True


@final
@dataclass(frozen=True, slots=True)
class ToolOver:
    """A tool has been run; `use` is None if it was cancelled."""

    use: ToolUse | None


Begun: TypeAlias = RequestBegun | RunBegun | TurnBegun | ToolBegun
Over: TypeAlias = RequestOver | RunOver | TurnOver | ToolOver


class Span(Protocol):
    """Something that has begun and is not over, as one tracer sees it."""

    def begin(self, begun: Begun) -> Span:
        """Begin something within this."""
        ...

    def end(self, over: Over) -> None:
        """Take note that it is over. Called once."""
        ...

    def current(self) -> AbstractContextManager[object]:
        """Return a context manager in whose body the caller's own code finds this as what it runs in."""
        ...


class Tracer(Protocol):
    """Shows requests and tool runs to people. It returns at once: what waits belongs behind a queue of its own."""

    def begin(self, begun: Begun) -> Span:
        """Begin something within whatever is current for the caller."""
        ...


def told(error: BaseException) -> tuple[str, str]:
    """Return the name of what was raised and what it says; "cancelled" for what is no error."""
    return (type(error).__name__, str(error)) if isinstance(error, Exception) else ("cancelled", "")


def tracers_checked(tracers: Iterable[Tracer]) -> tuple[Tracer, ...]:
    """Return tracers that can be begun with.

    Raises:
        TypeError: They are no list, or one of them is none.
    """
    if not isinstance(tracers, Iterable):
        raise TypeError(f"tracers is a list of tracers: write tracers=[{named(tracers)}]")
    found = tuple(tracers)
    for tracer in found:
        if isinstance(tracer, type) or not callable(getattr(tracer, "begin", None)):
            raise TypeError(f"a tracer has a begin that returns a span; {tracer!r} has none")
    return found


@final
class Tracing:
    """All tracers of a supervisor. `failures` counts what they raised, which nobody else gets to see."""

    def __init__(self, tracers: Iterable[Tracer] = ()) -> None:
        self._tracers = tuple(tracers)
        self._dropped_before = total(self._tracers, "dropped")
        self.failures = 0

    def __bool__(self) -> bool:
        return bool(self._tracers)

    @property
    def dropped(self) -> int:
        """What tracers with a queue of their own could not send since this was made."""
        return total(self._tracers, "dropped") - self._dropped_before

    def begin(self, begun: Begun) -> Trace | None:
        """Begin something for all tracers; None if there are none."""
        return self.within(self._tracers, begun) if self._tracers else None

    def within(self, places: Iterable[Tracer | Span], begun: Begun) -> Trace:
        """Begin something within these."""
        spans: list[Span] = []
        for place in places:
            try:
                spans.append(place.begin(begun))
            except BaseException as error:  # noqa: BLE001 - a trace must not cost an answer
                self.failed(error, "begin", place)
        return Trace(self, tuple(spans))

    def failed(self, error: BaseException, at: str, tracer: object) -> None:
        """Count what a tracer, or its span, raised; the first is told in the log. What ends the program is raised."""
        if isinstance(error, ENDS):
            raise error
        self.failures += 1
        if self.failures == 1:
            tell(_log.warning, Line("tracer_failed", tracer=named(tracer), at=at), error=error)


UNTRACED = Tracing()


@final
class Trace:
    """Something that has begun and is not over, for all tracers. Ending it twice does nothing."""

    __slots__ = ("_is_over", "_spans", "_tracing")

    def __init__(self, tracing: Tracing, spans: tuple[Span, ...]) -> None:
        self._tracing, self._spans, self._is_over = tracing, spans, False

    def begin(self, begun: Begun) -> Trace:
        """Begin something within this."""
        return self._tracing.within(self._spans, begun)

    def end(self, over: Over) -> None:
        """End it."""
        if self._is_over:
            return
        self._is_over = True
        for span in self._spans:
            try:
                span.end(over)
            except BaseException as error:  # noqa: BLE001 - as above
                self._tracing.failed(error, "end", span)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Let the caller's own code run within this. What it raises is told by `end`, and not to these contexts: none
        of them may swallow it.
        """
        entered: list[AbstractContextManager[object]] = []
        for span in self._spans:
            try:
                context = span.current()
                context.__enter__()
                entered.append(context)
            except BaseException as error:  # noqa: BLE001 - as above
                self._tracing.failed(error, "current", span)
        try:
            yield
        finally:
            for context in reversed(entered):
                try:
                    context.__exit__(None, None, None)
                except BaseException as error:  # noqa: BLE001 - as above
                    self._tracing.failed(error, "current", context)
