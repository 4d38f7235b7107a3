"""A request in a dialect on its way to an agent, and the answer on its way back."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import final
from urllib.parse import quote

from ..providers import (
    DIALECTS,
    Asked,
    Dialect,
    Line,
    Neutral,
    Relay,
    Response,
    TrailedError,
    UnreadableError,
    decode_body,
    escaped,
    tell,
)
from ..providers import number as is_number
from ..supervisor import Inlet, Inquiry, ServedBy, Stream
from ._parts import Parts
from ._refusals import INTERNAL, Refused, refused
from ._values import Head, Headers, HTTPAnswer, HTTPRequest

_log = logging.getLogger("understudy.gateway")

JSON: Headers = (("content-type", "application/json"),)
EVENT_STREAM: Headers = (
    ("content-type", "text/event-stream; charset=utf-8"),
    ("cache-control", "no-cache"),
    ("x-accel-buffering", "no"),  # proxies of the kind of nginx would hold events back
)

GIVEN_ON = ("anthropic-beta",)
"""The headers of a client that go to a provider of the same wire (R-GW-8)."""

TIMEOUT = "x-understudy-timeout"
"""The header by which a client shortens the time for everything, in seconds."""

UNCOUNTED = Neutral(reason="no route of this agent counts tokens: only those of Anthropic's do")
"""What a request whose tokens are to be counted is on another wire."""

NAMES = {"openai": "x-request-id", "responses": "x-request-id", "anthropic": "request-id"}
"""The header in which each dialect names a request."""


@final
@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, of which agent, in which dialect. `name` is what the request and its answer are called."""

    dialect: Dialect
    agent: str
    inlet: Inlet
    asked: Asked = field(repr=False)
    inquiry: Inquiry = field(repr=False)
    name: str

    @property
    def headers(self) -> Headers:
        """The headers of every answer to it."""
        return (*_named(self.dialect, self.name), ("x-understudy-agent", _ascii(self.agent)))


def question_of(
    dialect: Dialect, request: HTTPRequest, names: Mapping[str, str], inlets: Mapping[str, Inlet]
) -> Question | Refused:
    """Return what is asked, or why it cannot be.

    Args:
        names: What a client may call a model, and the agent that it means.
    """
    try:
        asked = dialect.read(decode_body(request.body))
        wishes = wishes_of(request.head)
    except UnreadableError as error:
        return refused(error)
    relay = Relay(dialect.name, asked.body, asked.neutral, wishes.headers, asked.wants_usage)
    return _question(dialect, asked, relay, wishes.timeout, names, inlets)


def count_of(request: HTTPRequest, names: Mapping[str, str], inlets: Mapping[str, Inlet]) -> Question | Refused:
    """Return a request whose tokens are to be counted; see `question_of`. It has no limit for an answer."""
    dialect = DIALECTS["anthropic"]
    try:
        body = decode_body(request.body)
        asked = dialect.read({"max_tokens": 1, **body})
    except UnreadableError as error:
        return refused(error)
    relay = Relay(dialect.name, body, lambda: UNCOUNTED, _headers(request.head), counts=True)
    return _question(dialect, asked, relay, None, names, inlets)


def _question(
    dialect: Dialect,
    asked: Asked,
    relay: Relay,
    timeout: float | None,
    names: Mapping[str, str],
    inlets: Mapping[str, Inlet],
) -> Question | Refused:
    """Return the question to the agent that is meant, or that none is."""
    agent = agent_of(asked.model, names)
    if agent is None:
        return no_model(names, asked.model)
    inquiry = Inquiry(relay, timeout)
    return Question(dialect, agent, inlets[agent], asked, inquiry, new_name())


def spelt(model: str, names: Iterable[str]) -> str | None:
    """Return the name of a model as it is spelt here, whatever its case; None if there is none."""
    known = [name for name in names if name.lower() == model.lower()]
    return model if model in known else next(iter(known), None)


def agent_of(model: str, names: Mapping[str, str]) -> str | None:
    """Return the agent that a client's name for a model means."""
    agent = names.get(model)
    if agent is None and (name := spelt(model, names)) is not None:
        agent = names[name]
    return agent


def no_model(names: Iterable[str], asked: str) -> Refused:
    """Say that a model is none, and which there are."""
    said = f"there is no model {escaped(asked[:100])!r} here: use one of {', '.join(names)}"
    said += "; or give one of them that name with GATEWAY_ALIASES"
    return Refused(404, said, "model_not_found", "model", is_final=True)


@final
@dataclass(frozen=True, slots=True)
class Wishes:
    """What a head says of how it is to be asked: the seconds for everything, and the headers that go to a provider."""

    timeout: float | None
    headers: Mapping[str, str] = field(repr=False)


def wishes_of(head: Head) -> Wishes:
    """Return what a head says of how it is to be asked.

    Raises:
        UnreadableError: That is no time.
    """
    known: Wishes | None = head.notes.get(Wishes)
    if known is None:
        known = head.notes[Wishes] = Wishes(_timeout(head), _headers(head))
    return known


def _headers(head: Head) -> dict[str, str]:
    """Return what of a client's headers goes to a provider of the same wire."""
    return {name: value for name in GIVEN_ON if (value := ",".join(head.all(name)))}


def _timeout(head: Head) -> float | None:
    said = head.header(TIMEOUT)
    if said is None:
        return None
    try:
        seconds = float(said)
    except ValueError:
        seconds = 0.0
    if not is_number(seconds) or seconds <= 0:
        raise UnreadableError(f"the header {TIMEOUT} is a number of seconds above 0", TIMEOUT)
    return seconds


async def whole(question: Question) -> HTTPAnswer:
    """Return the whole answer: the provider's own bytes where the request was given on as it came."""
    inlet, inquiry = question.inlet, question.inquiry
    try:
        response = await (inlet.count(inquiry) if inquiry.relay.counts else inlet.complete(inquiry))
        body = response.raw or _written(question, response)
    except Exception as error:  # noqa: BLE001 - no request makes a gateway fail
        return failed(question, error)
    attempt = response.attempts[-1]
    headers = _served(response.transport, attempt.model, len(response.attempts), is_fallback=response.is_fallback)
    return HTTPAnswer(200, (*JSON, *question.headers, *headers), body)


def _written(question: Question, response: Response) -> bytes:
    return question.dialect.write(response, question.asked, name=question.name, created=int(time.time()))


async def opened(question: Question) -> Stream | HTTPAnswer:
    """Return the stream, once its first content has come, or the answer that there is none."""
    try:
        return await question.inlet.stream(question.inquiry).__aenter__()
    except Exception as error:  # noqa: BLE001 - no request makes a gateway fail
        return failed(question, error)


def streamed(question: Question, stream: Stream) -> HTTPAnswer:
    """Return the answer whose parts a stream gives."""
    served_by = stream.served_by
    model, created = "" if served_by is None else served_by.model, int(time.time())
    writing = question.dialect.writing(question.asked, name=question.name, created=created, model=model)
    parts = Parts(stream, writing, is_openai=question.dialect.name == "openai")
    headers = (*EVENT_STREAM, *question.headers, *(() if served_by is None else _of(served_by)))
    return HTTPAnswer(200, headers, parts=parts, cut=parts.cut)


def failed(question: Question, error: Exception) -> HTTPAnswer:
    """Return the answer that there is none."""
    why = refused(error)
    if why is INTERNAL:  # a provider's 500 is the provider's
        tell(_log.error, Line("gateway_failed", agent=question.agent, error=type(error).__name__), error=error)
    attempts: Headers = ()
    if isinstance(error, TrailedError):
        attempts = (("x-understudy-attempts", str(len(error.attempts))),)
    return told(question.dialect, why, (*question.headers, *attempts), name=question.name)


def new_name() -> str:
    """Return a name for a request, as no other has it: 24 digits, as `secrets.token_hex` draws them."""
    return os.urandom(12).hex()


def refusal(dialect: Dialect, why: Refused) -> HTTPAnswer:
    """Return an error of a request that asked nobody, with a name to find it by."""
    name = new_name()
    return told(dialect, why, _named(dialect, name), name=name)


def told(dialect: Dialect, why: Refused, headers: Headers = (), *, name: str = "") -> HTTPAnswer:
    """Return an error as a dialect has it; `name` is what the request is called, if it has a name."""
    body = dialect.error(why.status, why.said, code=why.code, param=why.parameter, name=name)
    return HTTPAnswer(why.status, (*JSON, *why.headers, *headers), body)


def _named(dialect: Dialect, name: str) -> Headers:
    """Return the header that says what a request is called."""
    return ((NAMES[dialect.name], f"req_{name}"),)


def _of(served_by: ServedBy) -> Headers:
    return _served(served_by.transport, served_by.model, served_by.attempt, is_fallback=served_by.is_fallback)


@lru_cache(1024)
def _served(transport: str, model: str, attempts: int, *, is_fallback: bool) -> Headers:
    """Return the headers that say who answered; nearly every answer has the same few."""
    return (
        ("x-understudy-transport", transport),
        ("x-understudy-model", _ascii(model)),
        ("x-understudy-attempts", str(attempts)),
        ("x-understudy-fallback", "true" if is_fallback else "false"),
    )


_PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))


@lru_cache(1024)
def _ascii(name: str) -> str:
    """Return a name as a header can hold it: what is not printable ASCII is percent-encoded, as in an address."""
    return quote(name, safe=_PRINTABLE, errors="replace")
