"""A provider made of a vendor's SDK client and a wire: every transport of ours is one of these.

The body is rendered by the wire and encoded here; the SDK's low-level `post` adds address, credential and its own
headers, and sends it; the answer is decoded once. Retries, redirects and telemetry of the SDK are off. What failed is
told by `_failures.py`.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias, final

import httpx2

from ._body import body_of
from ._failures import Failed, Failures
from ._json import encode
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
class SDKProvider:
    """The provider port over one SDK client.

    Args:
        status_error: The SDK's exception for an HTTP error, which has a `response`.
        omit: The SDK's mark for a header that is not sent; without a key no credential is, not even a made-up one.
    """

    def __init__(self, target: Target, client: Client, wire: Wire, status_error: type[Exception], omit: object) -> None:
        self._transport, self._client, self._wire, self._status_error = target.transport, client, wire, status_error
        self._options = {} if target.api_key else {"headers": {"Authorization": omit}}
        self._clients: dict[frozenset[tuple[str, str]], Client] = {}
        self._failures = Failures(target, wire.request_id)

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

    def _rendered(self, request: Request) -> Rendered:
        try:
            return self._wire.render(request)
        except ValueError as error:
            raise self._failures.failed(request.model, Verdict.CALLER, str(error)) from None

    async def _sent(self, request: Request, body: dict[str, Any]) -> httpx2.Response | Failed:
        """Send a request; return its answer."""
        try:
            content = encode(body)
        except ValueError as error:
            raise self._failures.failed(request.model, Verdict.CALLER, str(error)) from None
        given = await self._post(request, content)
        if isinstance(given, Failed) and given.is_stale:
            given = await self._post(request, content)
        return given

    async def _post(self, request: Request, content: bytes) -> httpx2.Response | Failed:
        try:
            parameters, options, client = request.parameters, self._options, self._client
            if "extra_headers" in parameters:
                client = self._client_with(parameters["extra_headers"])
            if "extra_query" in parameters:
                options = {**options, "params": dict(parameters["extra_query"])}
            answer: httpx2.Response = await client.post(
                self._wire.path, cast_to=httpx2.Response, content=content, options=options
            )
        except self._status_error as error:
            answer = error.response  # type: ignore[attr-defined]
            if answer.status_code == 421:  # this connection does not lead to that host
                body_of(answer).drop()
            return Failed(self._failures.refused(request.model, answer))
        except Exception as error:  # noqa: BLE001 - the border: whatever an SDK raises gets a verdict
            return self._failures.lost(request.model, error)
        return answer

    def _read(self, request: Request, rendered: Rendered, answer: httpx2.Response) -> Response | Failed:
        try:
            response = self._wire.read(answer.content, answer.headers.get("content-type", ""), self._transport)
        except WireError as error:
            return Failed(self._failures.unreadable(request.model, answer, answer.content, error))
        except Exception as error:  # noqa: BLE001 - a bug of ours, told as such
            return self._failures.lost(request.model, error)
        request_id = self._failures.request_id(answer)
        return _completed(response, model=request.model, dropped=rendered.dropped, request_id=request_id)

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


def _completed(response: Response, *, model: str, dropped: tuple[str, ...], request_id: str | None) -> Response:
    return Response(
        response.blocks,
        response.model or model,
        response.transport,
        response.finish_reason,
        response.usage,
        request_id=request_id,
        dropped=dropped,
    )
