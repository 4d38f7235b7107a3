"""The gateway's application: which request is for whom, and what it is answered. It knows no sockets.

    head ──▶ guard ──▶ path ──▶ dialect reads ──▶ agent ──▶ dialect writes, or the provider's own bytes
               │                      │             │
               └──────────────────────┴─── refused ─┴──▶ an error in the dialect's own shape

Who may ask is the guard's to say (`_guard.py`); how a request is asked, `_asking.py`'s; what the gateway shows of
itself is the console's.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Protocol, final
from urllib.parse import unquote

from ..providers import DIALECTS, ConfigurationError, Dialect, Line, tell
from ..supervisor import Inlet, Supervisor, alias_problems
from ._asking import JSON, count_of, no_model, opened, question_of, refusal, spelt, streamed, told, whole
from ._guard import Refusal
from ._refusals import INTERNAL, Refused
from ._values import Head, Headers, HTTPAnswer, HTTPRequest, Methods

_log = logging.getLogger("understudy.gateway")

PATHS: Mapping[str, Dialect] = {
    "/v1/chat/completions": DIALECTS["openai"],
    "/v1/messages": DIALECTS["anthropic"],
    "/v1/messages/count_tokens": DIALECTS["anthropic"],
    "/v1/responses": DIALECTS["responses"],
}
"""Where each dialect is spoken."""

COUNTS = "/v1/messages/count_tokens"

ALIVE, READY, METRICS, MODELS = "/livez", "/readyz", "/metrics", "/v1/models"

TEXT: Headers = (("content-type", "text/plain; version=0.0.4; charset=utf-8"),)


class Console(Protocol):
    """What the gateway shows of itself, and what can be done there."""

    def methods(self, path: str) -> Methods:
        """Return what may be asked of a path: nothing if it is none of the console's."""
        ...

    def answer(self, request: HTTPRequest) -> AbstractAsyncContextManager[HTTPAnswer] | None:
        """Return what gives the answer; None if the request is not for it."""
        ...


def everybody(_: Head) -> None:
    """Let everybody in: for clients in the same process."""


@final
class Gateway:
    """The application: a supervisor behind the dialects.

    Args:
        aliases: Names of models that clients insist on, and the agents that they mean.
        guard: Says by its head whether a request may come in; it does not wait.
        metrics: Renders what is counted, for `/metrics`.
        console: What is shown beside it.

    Raises:
        ConfigurationError: An alias means no agent, or hides one; lists every one.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        *,
        aliases: Mapping[str, str] | None = None,
        guard: Callable[[Head], Refusal | None] = everybody,
        metrics: Callable[[], str] | None = None,
        console: Console | None = None,
    ) -> None:
        self._names = names_of(supervisor.agents, aliases or {})
        self._inlets = {name: Inlet(supervisor.agent(name)) for name in supervisor.agents}
        self._guard, self._metrics, self._console = guard, metrics, console
        self._begun, self._is_draining = int(time.time()), False

    @property
    def models(self) -> tuple[str, ...]:
        """What a client may call a model: agents, and aliases."""
        return tuple(self._names)

    def drain(self) -> None:
        """Say from now on that it is not ready."""
        self._is_draining = True

    def refuse(self, head: Head) -> HTTPAnswer | None:
        """See `Application.refuse`."""
        if head.path == ALIVE:
            return None
        why = self._guard(head)
        if why is None:
            return None
        return told(dialect_of(head), Refused(why.status, why.said, is_final=True), why.headers)

    def broken(self, status: int, said: str, head: Head | None) -> HTTPAnswer:
        """See `Application.broken`."""
        hint = 1.0 if status in {429, 503} else None
        answer = told(dialect_of(head), Refused(status, said, retry_after=hint, is_final=hint is None))
        return HTTPAnswer(answer.status, answer.headers, answer.body, closes=True)

    def answer(self, request: HTTPRequest) -> AbstractAsyncContextManager[HTTPAnswer]:
        """See `Application.answer`."""
        return _Answering(self, request)

    async def answered(self, request: HTTPRequest, answering: _Answering) -> HTTPAnswer:
        """Return the answer to a request; what has to end with it is given to `answering`."""
        head = request.head
        dialect = PATHS.get(head.path)
        if dialect is None or head.method != "POST":
            shown = None if self._console is None else self._console.answer(request)
            return self._beside(head) if shown is None else await answering.enter(shown)
        if head.path == COUNTS:
            question = count_of(request, self._names, self._inlets)
        else:
            question = question_of(dialect, request, self._names, self._inlets)
        if isinstance(question, Refused):
            return refusal(dialect, question)
        if not question.asked.streams:
            return await whole(question)
        stream = await opened(question)
        if isinstance(stream, HTTPAnswer):
            return stream
        answering.within = stream
        return streamed(question, stream)

    def _beside(self, head: Head) -> HTTPAnswer:
        """Answer what is no question to an agent."""
        path, methods = head.path, self._methods(head.path)
        if not methods:
            return told(dialect_of(head), Refused(404, f"there is nothing at this path{_hint(path)}", is_final=True))
        if head.method not in methods:
            allowed = ", ".join(methods)
            why = Refused(405, f"this path takes {allowed}", is_final=True)
            return told(dialect_of(head), why, (("allow", allowed),))
        if path == ALIVE:
            return HTTPAnswer(200, JSON, b'{"status":"ok"}')
        if path == READY:
            state = (503, b'{"status":"stopping"}') if self._is_draining else (200, b'{"status":"ok"}')
            return HTTPAnswer(state[0], JSON, state[1])
        if path == METRICS:
            return HTTPAnswer(200, TEXT, b"" if self._metrics is None else self._metrics().encode())
        return self._models(head, path.removeprefix(MODELS).removeprefix("/"))

    def _methods(self, path: str) -> Methods:
        """Return what may be asked of a path: nothing if there is none."""
        if path in PATHS:
            return ("POST",)
        if path in {ALIVE, READY, METRICS, MODELS} or path.startswith(f"{MODELS}/"):
            return ("GET", "HEAD")
        return () if self._console is None else self._console.methods(path)

    def _models(self, head: Head, name: str) -> HTTPAnswer:
        """List what a client may call a model, or tell of one, in the shape of either vendor."""
        is_anthropic = head.header("anthropic-version") is not None
        listed = [_model(known, self._begun, is_anthropic=is_anthropic) for known in self._names]
        if name:
            asked = spelt(unquote(name), self._names)  # the path is what it went by so far
            found = next((model for model in listed if model["id"] == asked), None)
            if found is None:
                return told(dialect_of(head), no_model(self._names, name))
            return HTTPAnswer(200, JSON, json.dumps(found).encode())
        ends = {"has_more": False, "first_id": listed[0]["id"], "last_id": listed[-1]["id"]} if is_anthropic else {}
        return HTTPAnswer(200, JSON, json.dumps({"object": "list", "data": listed, **ends}).encode())


@final
class _Answering(AbstractAsyncContextManager[HTTPAnswer]):
    """An answer, for as long as it is given. A class, because nobody could close a generator that is dropped.

    `within` is what it is given out of, and ends with it.
    """

    __slots__ = ("_gateway", "_request", "within")

    def __init__(self, gateway: Gateway, request: HTTPRequest) -> None:
        self._gateway, self._request = gateway, request
        self.within: AbstractAsyncContextManager[object, bool | None] | None = None

    async def enter(self, within: AbstractAsyncContextManager[HTTPAnswer]) -> HTTPAnswer:
        """Return the answer that is given out of something."""
        answer = await within.__aenter__()
        self.within = within
        return answer

    async def __aenter__(self) -> HTTPAnswer:
        try:
            return await self._gateway.answered(self._request, self)
        except Exception as error:  # noqa: BLE001 - no request makes a gateway fail
            tell(_log.error, Line("gateway_failed", error=type(error).__name__), error=error)
            return told(dialect_of(self._request.head), INTERNAL)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.within is not None:
            await self.within.__aexit__(kind, error, traceback)


def dialect_of(head: Head | None) -> Dialect:
    """Return the dialect in whose shape an error is told: of its path, else the one that its headers speak."""
    if head is None:
        return DIALECTS["openai"]
    if head.path in PATHS:
        return PATHS[head.path]
    return DIALECTS["anthropic" if head.header("anthropic-version") is not None else "openai"]


def names_of(agents: Collection[str], aliases: Mapping[str, str]) -> dict[str, str]:
    """Return the agent that each name of a model means; aliases are in lower case.

    Raises:
        ConfigurationError: An alias means no agent, or has the name of another one; lists every one.
    """
    names = {agent: agent for agent in agents}
    if problems := alias_problems(aliases, names):
        raise ConfigurationError(problems)
    for alias, agent in aliases.items():
        if spelt(alias, agents) is None:
            names[alias.lower()] = spelt(agent, agents) or agent
    return names


def _hint(path: str) -> str:
    """Say where a client asks whose base URL is the other vendor's, or ends in a slash; nothing of other paths."""
    meant = "/v1/" + "/".join(part for part in path.split("/") if part not in {"", "v1"})
    if meant not in PATHS and meant != MODELS:
        return ""
    return f", but at {meant}: a base URL ends in /v1 for OpenAI's clients, and has no path for Anthropic's"


def _model(name: str, since: int, *, is_anthropic: bool) -> dict[str, Any]:
    if is_anthropic:
        created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since))
        return {"type": "model", "id": name, "display_name": name, "created_at": created}
    return {"id": name, "object": "model", "created": since, "owned_by": "understudy"}
