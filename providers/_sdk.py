"""A provider made of a vendor's SDK client and a wire: every transport of ours is one of these.

The body is rendered by the wire and encoded here; the SDK's low-level `post` adds address, credential and its own
headers, and sends it; the answer is decoded once. Retries, redirects and telemetry of the SDK are off. Nothing of
an SDK's or HTTP library's exceptions leaves this file: they hold requests, and so prompts and credentials.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias, final

import httpx2

from ._body import body_of
from ._clean import cleaner
from ._errors import AttemptError, Failure, attempt_error
from ._foreign import bare, judge_exception, place, remedy, root
from ._hints import retry_after
from ._http import is_stale
from ._json import encode
from ._judge import judge, read_evidence
from ._port import Target
from ._request import Request, Response
from ._verdicts import Verdict
from ._wire import Rendered, WireError

KEPT_CLIENTS = 64
"""Sets of headers whose client is kept (chosen: more routes than an endpoint has; others are made for each call)."""


class Client(Protocol):
    """What we use of `AsyncOpenAI` and `AsyncAnthropic`."""

    async def post(self, path: str, *, cast_to: Any, content: bytes, options: Any = ...) -> Any:
        """Send one request."""
        ...

    async def close(self) -> None:
        """Close the HTTP client."""
        ...

    def with_options(self, *, default_headers: Mapping[str, str]) -> Any:
        """Return a client over the same connections that sends these headers too."""
        ...


Render: TypeAlias = Callable[[Request], Rendered]
Read: TypeAlias = Callable[[bytes, str, str], Response]


@final
@dataclass(frozen=True, slots=True)
class Wire:
    """One wire as a transport uses it: the path, the codec, and the header that names a request."""

    path: str
    render: Render
    read: Read
    request_id: str


_AMBIENT = ("organization", "project", "admin_api_key")
"""What the OpenAI SDK takes from its own environment variables and sends as headers."""


def settle_client(client: Any, headers: Mapping[str, str] = MappingProxyType({})) -> None:
    """Set what the SDKs offer no public way to: the only place that touches their private attributes.

    `_platform` would be looked up in a worker thread by the first request, or by a thousand first requests in a
    thousand threads. `_custom_headers` may hold headers from `OPENAI_CUSTOM_HEADERS` or `ANTHROPIC_CUSTOM_HEADERS`,
    which were meant for one vendor and must not reach another.
    """
    client._platform = {"Darwin": "MacOS"}.get(platform.system(), platform.system() or "Unknown")
    client._custom_headers = dict(headers)
    for name in _AMBIENT:
        if hasattr(client, name):
            setattr(client, name, None)


@final
@dataclass(frozen=True, slots=True)
class _Failed:
    """An attempt that failed: the error, what caused it, and whether the connection was to blame, not the provider."""

    error: AttemptError
    cause: BaseException | None = None
    is_stale: bool = False


@final
class SDKProvider:
    """The provider port over one SDK client.

    Args:
        status_error: The SDK's exception for an HTTP error, which has a `response`.
        omit: The SDK's mark for a header that is not sent; without a key no credential is, not even a made-up one.
    """

    def __init__(self, target: Target, client: Client, wire: Wire, status_error: type[Exception], omit: object) -> None:
        self._target, self._client, self._wire, self._status_error = target, client, wire, status_error
        self._options = {} if target.api_key else {"headers": {"Authorization": omit}}
        self._clients: dict[frozenset[tuple[str, str]], Client] = {}
        self._clean = cleaner(target.secrets)

    async def complete(self, request: Request) -> Response:
        """Ask once; see `Provider.complete`.

        A reused connection that turns out to be gone before any byte of an answer costs no attempt: the request is
        sent once more, on another one.
        """
        try:
            rendered = self._wire.render(request)
            content = encode(rendered.body)
        except ValueError as error:
            raise self._failed(request, Verdict.CALLER, str(error)) from None
        given = await self._ask(request, rendered, content)
        if isinstance(given, _Failed) and given.is_stale:
            given = await self._ask(request, rendered, content)
        if isinstance(given, Response):
            return given
        if given.error.verdict is Verdict.LOCAL_CONFIG and isinstance(given.cause, OSError):
            raise given.cause
        raise given.error from given.cause  # outside every except block: no chain leads back into the SDK

    async def _ask(self, request: Request, rendered: Rendered, content: bytes) -> Response | _Failed:
        wire = self._wire
        try:
            parameters, options, client = request.parameters, self._options, self._client
            if "extra_headers" in parameters:
                client = self._client_with(parameters["extra_headers"])
            if "extra_query" in parameters:
                options = {**options, "params": dict(parameters["extra_query"])}
            answer: httpx2.Response = await client.post(
                wire.path, cast_to=httpx2.Response, content=content, options=options
            )
            response = wire.read(answer.content, answer.headers.get("content-type", ""), self._target.transport)
        except WireError as error:
            return _Failed(self._unreadable(request, answer, error))
        except self._status_error as error:
            answer = error.response  # type: ignore[attr-defined]
            if answer.status_code == 421:  # this connection does not lead to that host
                body_of(answer).drop()
            return _Failed(self._refused(request, answer))
        except Exception as error:  # noqa: BLE001 - the border: whatever an SDK raises gets a verdict
            return self._lost(request, error)
        return _completed(response, request, rendered, self._request_id(answer))

    async def aclose(self) -> None:
        """Close the client; see `Provider.aclose`."""
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

    def _failed(self, request: Request, verdict: Verdict, said: str, **facts: Any) -> AttemptError:
        target = self._target
        said = self._clean(said)
        return attempt_error(
            Failure(transport=target.transport, model=request.model, verdict=verdict, said=said, **facts)
        )

    def _lost(self, request: Request, error: Exception) -> _Failed:
        """What never became an answer."""
        verdict, link = judge_exception(error)
        sent = _request_of(error)
        stale = verdict is Verdict.PROVIDER and sent is not None and is_stale(sent)
        if verdict is Verdict.INTERNAL:
            said = f"{type(link).__name__}: {link}".removesuffix(": ") + f" (at {place(link)})"
            return _Failed(self._failed(request, verdict, said), None if _request_of(link) else bare(link))
        below = root(error)
        told = below if below is not None and below.errno is not None else link
        said = f"{type(link).__name__}: {told}".removesuffix(": ")
        return _Failed(self._failed(request, verdict, said, help=remedy(told)), below, stale)

    def _refused(self, request: Request, answer: httpx2.Response) -> AttemptError:
        evidence = read_evidence(answer.status_code, answer.content, answer.headers.get("x-should-retry"))
        return self._failed(
            request,
            judge(evidence),
            evidence.message,
            status=answer.status_code,
            request_id=self._request_id(answer),
            retry_after=_hint(answer),
            retry_forbidden=evidence.should_retry is False,
            help="check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY" if answer.status_code == 407 else "",
        )

    def _unreadable(self, request: Request, answer: httpx2.Response, error: WireError) -> AttemptError:
        """A 200 that is no answer: by its inner code if it holds an error, else by what the wire said."""
        evidence = read_evidence(answer.status_code, answer.content, None)
        tells = error.verdict is Verdict.MALFORMED and bool(evidence.codes or evidence.message) and not evidence.is_page
        return self._failed(
            request,
            judge(evidence) if tells else error.verdict,
            evidence.message if tells and evidence.message else error.message,
            status=answer.status_code,
            request_id=self._request_id(answer),
            retry_after=_hint(answer),
        )

    def _request_id(self, answer: httpx2.Response) -> str | None:
        return next(filter(None, answer.headers.get_list(self._wire.request_id)), None)  # cleaned by the HTTP client


def _request_of(error: BaseException) -> httpx2.Request | None:
    """Return the request that an exception holds, if it holds one."""
    try:
        sent = getattr(error, "request", None)
    except RuntimeError:  # httpx2 has the attribute, but nothing in it
        return None
    return sent if isinstance(sent, httpx2.Request) else None


def _hint(answer: httpx2.Response) -> float | None:
    headers = answer.headers
    milliseconds, seconds = headers.get_list("retry-after-ms"), headers.get_list("retry-after")
    return retry_after(milliseconds, seconds, date=headers.get("date"), wall_clock=time.time())


def _completed(response: Response, request: Request, rendered: Rendered, request_id: str | None) -> Response:
    return Response(
        response.blocks,
        response.model or request.model,
        response.transport,
        response.finish_reason,
        response.usage,
        request_id=request_id,
        dropped=rendered.dropped,
    )
