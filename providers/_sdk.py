"""A provider made of a vendor's SDK client and a wire: every transport of ours is one of these.

The body is rendered by the wire and encoded here; the SDK's low-level `post` adds address, credential and its own
headers, and sends it; the answer is decoded once. Retries, redirects and telemetry of the SDK are off. What failed is
told by `_failures.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeAlias, final

import httpx2

from ._body import body_of
from ._clean import credentials_in
from ._dialects import issuer_of
from ._direct import MISDIRECTED, Prepared, is_success, posted, prepare
from ._failures import Failed, Failures, JudgeAnswer
from ._http import Http, has_crossed
from ._json import encode
from ._judge import read_evidence
from ._messages import user
from ._port import Target, Upstream
from ._relay import choices_in, read_count, relayed
from ._request import Parameters, Relay, Request, Response
from ._settled import settle_client
from ._shape import as_text, shown_as_text
from ._upstream import Arrived, GivenOn, Incoming, no_stream, read_page
from ._verdicts import Verdict
from ._wire import Reading, Rendered, WireError

COUNTS = "/count_tokens"
"""Where, below the path for answers, Anthropic says how many tokens a request has
(platform.claude.com/docs/en/api/messages-count-tokens).
"""

KEPT_CLIENTS = 64
"""Sets of headers whose client is kept (chosen: more routes than an endpoint has; others are made for each call)."""


class Client(Protocol):
    """What we use of `AsyncOpenAI` and `AsyncAnthropic`."""

    async def post(self, path: str, *, cast_to: Any, content: bytes, options: Any = ..., stream: Any = ...) -> Any:
        """Send one request."""
        ...

    async def close(self) -> None:
        """Close the HTTP client."""
        ...

    def with_options(self, *, api_key: str = ..., base_url: str = ..., default_headers: Mapping[str, str] = ...) -> Any:
        """Return a client over the same connections with these in the place of its own; headers are sent, too."""
        ...


Begin: TypeAlias = Callable[[str, str], Reading]
Render: TypeAlias = Callable[[Request], Rendered]
Read: TypeAlias = Callable[[bytes, str, str], Response]


@final
@dataclass(frozen=True, slots=True)
class Wire:
    """One wire as a transport uses it: the path, the codec, and the header that names a request.

    `reading` begins to read a stream, of (transport, model); `usage` are the fields that ask for the usage of one.
    `name` is what a relayed request calls it. `judge` says what an HTTP error means where its vendor has words of its
    own.
    """

    name: str
    path: str
    render: Render
    read: Read
    reading: Begin
    request_id: str
    usage: Mapping[str, Any]
    judge: JudgeAnswer | None = None


@final
class SDKProvider:
    """The provider port over one SDK client.

    Args:
        status_error: The SDK's exception for an HTTP error, which has a `response`.
        omit: The SDK's mark for a header that is not sent; without a key no credential is, not even a made-up one.
        http: What the client sends with.
    """

    def __init__(
        self, target: Target, client: Client, wire: Wire, status_error: type[Exception], omit: object, http: Http
    ) -> None:
        self._transport, self._client, self._wire, self._status_error = target.transport, client, wire, status_error
        self._options = {} if target.api_key else {"headers": {"Authorization": omit}}
        self._clients: dict[frozenset[tuple[str, str]], Client] = {}
        self._issuer = issuer_of(target.transport, target.base_url)
        self._failures = Failures(target, wire.request_id, wire.judge)
        self._asks_for_usage, self._is_borrowed = True, False
        self._target, self._omit, self._http = target, omit, http
        self._prepared: dict[Extras, Prepared | None] = {}
        self._kept_defaults: dict[tuple[str, int], tuple[Parameters, Mapping[str, Any]]] = {}
        self._hiding: dict[frozenset[str], Failures] = {}

    async def complete(self, request: Request) -> Response:
        """Ask once; see `Provider.complete`.

        A reused connection that turns out to be gone before any byte of an answer costs no attempt: the request is
        sent once more, on another one.
        """
        rendered = self._rendered(request)
        answer = await self._sent(request, rendered.body)
        given = answer if isinstance(answer, Failed) else self._read(request, rendered, answer)
        if isinstance(given, Failed):
            given.throw()
        return given

    async def stream(self, request: Request) -> Upstream:
        """Ask once for an answer in parts, and wait for its head; see `Provider.stream`.

        Usage is asked for; where that alone is refused, the request is sent once more without, which costs no attempt,
        and so is every later one.
        """
        rendered = self._rendered(request)
        body = {**rendered.body, "stream": True}
        usage = _unasked(self._wire.usage, body, joins=self._relay(request) is not None)
        asks = bool(usage) and self._asks_for_usage
        answer = await self._sent(request, body | usage if asks else body, is_stream=True)
        if isinstance(answer, Failed) and answer.refuses_usage and asks:
            answer = await self._sent(request, body, is_stream=True)
            self._asks_for_usage = isinstance(answer, Failed) and answer.refuses_usage  # then it was something else
        given = answer if isinstance(answer, Failed) else await self._opened(request, rendered, answer)
        if isinstance(given, Failed):
            given.throw()
        return given

    def _rendered(self, request: Request) -> Rendered:
        try:
            if (relay := self._relay(request)) is not None:
                if relay.counts:
                    return Rendered({**relay.body, "model": request.model}, ())
                return Rendered(
                    relayed(relay.body, request.model, self._defaults(request.model, request.parameters)), ()
                )
            return self._wire.render(request)
        except ValueError as error:
            raise self._failures.failed(request.model, Verdict.CALLER, str(error)) from None

    def _relay(self, request: Request) -> Relay | None:
        """Return the request as a client sent it, if it is in this wire."""
        return request.relay if request.relay is not None and request.relay.wire == self._wire.name else None

    def _counts(self, request: Request) -> bool:
        """Say whether nothing is asked but how many tokens a request has."""
        return request.relay is not None and request.relay.counts

    def _path(self, request: Request) -> str:
        return f"{self._wire.path}{COUNTS}" if self._counts(request) else self._wire.path

    def _defaults(self, model: str, parameters: Parameters) -> Mapping[str, Any]:
        """Return what is set for a route as the fields of a body."""
        kept = self._kept_defaults.get((model, id(parameters)))
        if kept is not None and kept[0] is parameters:
            return kept[1]
        body = self._wire.render(Request(model, (user("any"),), parameters)).body
        fields = {name: value for name, value in body.items() if name not in {"model", "messages"}}
        if len(self._kept_defaults) >= KEPT_CLIENTS:
            self._kept_defaults.clear()
        self._kept_defaults[model, id(parameters)] = parameters, fields
        return fields

    async def _sent(self, request: Request, body: dict[str, Any], *, is_stream: bool = False) -> Arrived | Failed:
        """Send a request; return its answer, of a stream the head alone."""
        try:
            content = encode(body)
        except ValueError as error:
            raise self._failures.failed(request.model, Verdict.CALLER, str(error)) from None
        given = await self._post(request, content, is_stream)
        if isinstance(given, Failed) and given.is_stale:
            given = await self._post(request, content, is_stream, fresh=True)
        return given

    async def _post(
        self, request: Request, content: bytes, is_stream: bool, *, fresh: bool = False
    ) -> Arrived | Failed:
        """Send a request past the SDK where that can be, or else through it."""
        pool, parameters = self._http.pool, _with_headers(request)
        if pool is None or self._counts(request):
            return await self._post_by_client(request, content, is_stream)
        extras = extras_of(parameters)
        if extras not in self._prepared:
            await self._prepare(parameters, extras)
        prepared = self._prepared.get(extras)
        if prepared is None:
            return await self._post_by_client(request, content, is_stream)
        watch, failures = Watching(), self._failures_of(parameters)
        try:
            limit = self._target.write_timeout
            answer = await posted(
                pool, prepared, content, clean=failures.clean, watch=watch, write_within=limit, fresh=fresh
            )
            if not is_stream and is_success(answer.status_code):
                await answer.read()
        except Exception as error:  # noqa: BLE001 - the border: whatever a connection raises gets a verdict
            return failures.lost(request.model, error, watch=watch)
        if is_success(answer.status_code):
            return answer
        return self._refused(request, answer, is_stream=is_stream, is_stale=watch.has_crossed)

    async def _post_by_client(self, request: Request, content: bytes, is_stream: bool) -> Arrived | Failed:
        try:
            client, options = self._client_for(_with_headers(request))
            answer: httpx2.Response = await client.post(
                self._path(request), cast_to=httpx2.Response, content=content, options=options, stream=is_stream
            )
        except self._status_error as error:
            answer = error.response  # type: ignore[attr-defined]
            return self._refused(request, answer, is_stream=is_stream, is_stale=has_crossed(answer.request))
        except Exception as error:  # noqa: BLE001 - the border: whatever an SDK raises gets a verdict
            return self._failures_of(request.parameters).lost(request.model, error)
        return answer

    def _refused(self, request: Request, answer: Arrived, *, is_stream: bool, is_stale: bool) -> Failed:
        if answer.status_code == MISDIRECTED:
            body_of(answer).drop()
        refused = self._failures_of(request.parameters).refused(request.model, answer)
        return Failed(refused, is_stale=is_stale, refuses_usage=is_stream and _refuses_usage(answer))

    def _client_for(self, parameters: Parameters) -> tuple[Client, dict[str, Any]]:
        """Return the client that sends a request with these parameters, and the options that it is called with."""
        options: dict[str, Any] = self._options
        client = self._client
        if "extra_headers" in parameters:
            client = self._client_with(parameters["extra_headers"])
        if "extra_query" in parameters:
            options = {**options, "params": dict(parameters["extra_query"])}
        return client, options

    def _failures_of(self, parameters: Parameters) -> Failures:
        """Return what makes the errors of a request: with its own secrets masked, beside those of the endpoint."""
        if "extra_headers" not in parameters and "extra_query" not in parameters:
            return self._failures
        query = ((name, str(value)) for name, value in parameters.get("extra_query", {}).items())
        shown = credentials_in((*parameters.get("extra_headers", {}).items(), *query))
        if not shown:
            return self._failures
        if shown not in self._hiding:
            if len(self._hiding) >= KEPT_CLIENTS:
                self._hiding.clear()
            self._hiding[shown] = self._failures.hiding(shown)
        return self._hiding[shown]

    async def _prepare(self, parameters: Parameters, extras: Extras) -> None:
        """Find out what the client would send. Meanwhile it sends for all others; what keeps it from telling keeps it
        from sending, too, and is told then.
        """
        if len(self._prepared) >= KEPT_CLIENTS:
            self._prepared.clear()
        self._prepared[extras] = prepared = None
        try:
            client, options = self._client_for(parameters)
            prepared = await prepare(client, self._wire.path, options, self._http.client.headers)
        except Exception:  # noqa: BLE001 - as above
            return
        except BaseException:
            self._prepared.pop(extras, None)  # somebody else finds out
            raise
        self._prepared[extras] = prepared

    def _read(self, request: Request, rendered: Rendered, answer: Arrived) -> Response | Failed:
        try:
            read = read_count if self._counts(request) else self._wire.read
            response = read(answer.content, answer.headers.get("content-type", ""), self._issuer)
        except WireError as error:
            if error.answer is None or self._relay(request) is None:
                failures = self._failures_of(request.parameters)
                return Failed(failures.unreadable(request.model, answer, answer.content, error))
            response = error.answer
        except Exception as error:  # noqa: BLE001 - a bug of ours, told as such
            return self._failures.lost(request.model, error)
        return self._finisher(request, rendered, answer, answer.content or None)(response)

    async def _opened(self, request: Request, rendered: Rendered, answer: Arrived) -> Upstream | Failed:
        """Return the stream that an answer is, or what it is instead."""
        model, failures = request.model, self._failures_of(request.parameters)
        kind = answer.headers.get("content-type", "")
        if kind.partition(";")[0].strip().lower() in {"", "text/event-stream"}:
            reading, finish = self._wire.reading(self._issuer, model), self._finisher(request, rendered, answer, None)
            relay = self._relay(request)
            reading.choices = 1 if relay is None else choices_in(relay.body)
            shown = shown_as_text(request.parameters) if relay is None else None
            given_on = None if relay is None else GivenOn(with_usage=relay.wants_usage)
            return Incoming(answer, reading, failures, model, finish, shown=shown, given_on=given_on)
        try:
            content = await read_page(answer)
        except Exception as error:  # noqa: BLE001 - as above
            return failures.interrupted(model, answer, error)
        return Failed(failures.unreadable(model, answer, content, no_stream(content, kind)))

    def _finisher(
        self, request: Request, rendered: Rendered, answer: Arrived, content: bytes | None
    ) -> Callable[[Response], Response]:
        """Return what completes a response by what its body does not say; `content` is the body, if it came in one
        piece. It holds no prompt.
        """
        is_relayed = self._relay(request) is not None
        return partial(
            _completed,
            parameters=NO_PARAMETERS if is_relayed else request.parameters,
            raw=content if is_relayed else None,
            model=request.model,
            transport=self._transport,
            dropped=rendered.dropped,
            request_id=self._failures.request_id(answer),
        )

    def keyed(self, key: str, *, base_url: str = "") -> SDKProvider:
        """Return a provider over the same connections with another key; see `KeyedProvider.keyed`."""
        from pydantic import SecretStr  # the SDK has imported it long ago

        target = replace(self._target, api_key=SecretStr(key), base_url=base_url or self._target.base_url)
        client = self._client.with_options(api_key=key, base_url=target.base_url)
        settle_client(client)
        provider = SDKProvider(target, client, self._wire, self._status_error, self._omit, self._http)
        provider._is_borrowed = True
        return provider

    async def aclose(self) -> None:
        """Close the client, unless it is another provider's; see `Provider.aclose`."""
        if not self._is_borrowed:
            await self._client.close()

    def _client_with(self, headers: Mapping[str, str]) -> Client:
        """Return a client that sends these headers. They may be secret, and the SDK logs those of a single request."""
        key = frozenset(headers.items())
        client = self._clients.get(key)
        if client is None:
            client = self._client.with_options(default_headers=headers)
            settle_client(client, headers)
            if len(self._clients) < KEPT_CLIENTS:
                self._clients[key] = client
        return client


Extras: TypeAlias = tuple[frozenset[tuple[str, str]], tuple[tuple[str, str], ...]]
"""The headers and the query of a request's own."""


def extras_of(parameters: Parameters) -> Extras:
    """Return what of a request's own changes its head."""
    if "extra_headers" not in parameters and "extra_query" not in parameters:
        return NO_EXTRAS
    headers, query = parameters.get("extra_headers", {}), parameters.get("extra_query", {})
    return frozenset(headers.items()), tuple((name, repr(value)) for name, value in query.items())


NO_EXTRAS: Extras = (frozenset(), ())

NO_PARAMETERS = Parameters()


def _with_headers(request: Request) -> Parameters:
    """Return the parameters, with the headers that go with a relayed request."""
    parameters, relay = request.parameters, request.relay
    if relay is None or not relay.headers:
        return parameters
    return {**parameters, "extra_headers": _joined(relay.headers, parameters.get("extra_headers", {}))}


def _joined(given: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a route with those of a client: lists, of which both hold (RFC 9110 section 5.3)."""
    joined, spelt = dict(own), {name.lower(): name for name in own}
    for name, value in given.items():
        known = spelt.get(name.lower())
        if known is None:
            joined[name] = value
        else:
            joined[known] = f"{own[known]},{value}"
    return joined


def _unasked(usage: Mapping[str, Any], body: Mapping[str, Any], *, joins: bool) -> dict[str, Any]:
    """Return what asks for the usage of a stream where a body does not; if it `joins`, beside what is said there."""
    wishes: dict[str, Any] = {}
    for name, wish in usage.items():
        said = body.get(name)
        if name not in body or (joins and said is None):
            wishes[name] = wish
        elif joins and isinstance(said, Mapping) and not wish.items() <= said.items():
            wishes[name] = {**said, **wish}
    return wishes


@final
class Watching:
    """See `Watch`."""

    __slots__ = ("has_crossed", "is_answered", "is_new")

    def __init__(self) -> None:
        self.is_new = self.is_answered = self.has_crossed = False


def _refuses_usage(answer: Arrived) -> bool:
    """Say whether an HTTP error names the wish for usage: servers that check every field do not all know it."""
    if answer.status_code not in {400, 422}:
        return False
    evidence = read_evidence(answer.status_code, answer.content, None)
    named = " ".join([evidence.message, *evidence.codes, evidence.parameter])
    return "stream_options" in named or "include_usage" in named


def _completed(
    response: Response,
    *,
    parameters: Parameters,
    model: str,
    transport: str,
    dropped: tuple[str, ...],
    request_id: str | None,
    raw: bytes | None,
) -> Response:
    response = as_text(response, parameters)
    return Response(
        response.blocks,
        response.model or model,
        transport,
        response.finish_reason,
        response.usage,
        request_id=request_id,
        dropped=dropped,
        raw=raw,
    )
