"""Scripted providers in memory: for virtual time, where hours pass in a second and every instant is exact."""

from __future__ import annotations

import random
from typing import final

import anyio
import anyio.lowlevel

from ..providers import (
    TRANSPORTS,
    Connect,
    Failure,
    Provider,
    Request,
    Response,
    Target,
    Text,
    Usage,
    Verdict,
    attempt_error,
    judge,
    read_evidence,
    retry_after,
    suggestion,
)
from ._answers import REQUEST_ID, Wire, error, tokens
from ._script import Answer, Call, Hang, Playback, Raw, Refused, Reset, Script, Status

WALL_CLOCK = 1767225600.0
"""What the calendar says when a world begins: 2026-01-01T00:00Z, for hints that are dates."""


@final
class ScriptedProvider:
    """The provider port over a script. `open` says whether it has been closed, `in_flight` how many calls it has, and
    `most_in_flight` how many it ever had at once.
    """

    def __init__(self, target: Target, playback: Playback, begun: float) -> None:
        self._target, self._playback, self._begun = target, playback, begun
        self.open, self.in_flight, self.most_in_flight = True, 0, 0

    async def complete(self, request: Request) -> Response:
        """Do what the script says; see `Provider.complete`."""
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._complete(request)
        finally:
            self.in_flight -= 1

    async def _complete(self, request: Request) -> Response:
        match self._playback.play(request.model, anyio.current_time() - self._begun):
            case Answer(text, after):
                await anyio.sleep(after)
                asked = request.messages[-1].text
                return self._answer(request, asked if text is None else text, asked)
            case Status() as status:
                await anyio.sleep(status.after)
                raise attempt_error(self._refused(request, status))
            case Reset(after):
                await anyio.sleep(after)
                raise attempt_error(self._failure(request, Verdict.PROVIDER, said="connection reset"))
            case Raw():
                await anyio.lowlevel.checkpoint()
                raise attempt_error(self._failure(request, Verdict.MALFORMED, said="not HTTP"))
            case Refused():
                await anyio.lowlevel.checkpoint()
                raise attempt_error(self._failure(request, Verdict.CONNECT, said="connection refused"))
            case Hang():
                await anyio.sleep_forever()
                raise AssertionError("unreachable")

    async def aclose(self) -> None:
        """Close; see `Provider.aclose`."""
        self.open = False
        await anyio.lowlevel.checkpoint()

    def _answer(self, request: Request, text: str, asked: str) -> Response:
        transport = self._target.transport
        usage = Usage(tokens(asked), tokens(text), 0, 0 if self._wire == "anthropic" else None)
        if self._wire == "openai":
            usage = Usage(tokens(asked), tokens(text), 0, None, 0)
        return Response((Text(text, transport),), request.model, transport, "stop", usage, request_id="simulated")

    def _refused(self, request: Request, status: Status) -> Failure:
        headers = {name.lower(): value for name, value in status.headers.items()}
        body = status.body if status.body is not None else error(self._wire, status.status)
        evidence = read_evidence(status.status, body, headers.get("x-should-retry"))
        hint = retry_after(
            [headers["retry-after-ms"]] if "retry-after-ms" in headers else [],
            [headers["retry-after"]] if "retry-after" in headers else [],
            date=headers.get("date"),
            wall_clock=WALL_CLOCK + anyio.current_time() - self._begun,
        )
        return self._failure(
            request,
            judge(evidence),
            said=evidence.message,
            status=status.status,
            retry_after=hint,
            request_id=headers.get(REQUEST_ID[self._wire], "simulated"),
        )

    @property
    def _wire(self) -> Wire:
        return "anthropic" if self._target.transport == "anthropic" else "openai"

    def _failure(
        self,
        request: Request,
        verdict: Verdict,
        *,
        said: str,
        status: int | None = None,
        retry_after: float | None = None,
        request_id: str | None = None,
    ) -> Failure:
        return Failure(
            transport=self._target.transport,
            model=request.model,
            verdict=verdict,
            said=said,
            status=status,
            retry_after=retry_after,
            request_id=request_id,
        )


@final
class World:
    """All providers that a supervisor can reach, in memory. Its `connect` is what `open_supervisor` takes.

    Args:
        scripts: A script for each transport, or for one base URL of it. What has none answers "Hello.".
        seed: Decides which requests a phase with a share is for: the same seed, the same requests.

    Made inside a running event loop; its scripts begin at that instant.

    Raises:
        ValueError: A name of `scripts` is neither a transport nor an address: its script would never be played.
    """

    def __init__(self, scripts: dict[str, Script], *, seed: int = 0) -> None:
        for name in scripts:
            if name not in TRANSPORTS and "://" not in name:
                near = suggestion(name, TRANSPORTS) or "; name one of them, or a base URL"
                raise ValueError(f"{name!r} is no transport ({', '.join(TRANSPORTS)}){near}")
        self._begun = anyio.current_time()
        self._rand = random.Random(seed).random  # noqa: S311 - no secret
        self._playbacks = {name: Playback(script, self._rand) for name, script in scripts.items()}
        self.providers: list[ScriptedProvider] = []

    @property
    def connect(self) -> Connect:
        """The function that makes providers of this world."""
        return self._connect

    def _connect(self, target: Target) -> Provider:
        name = target.base_url if target.base_url in self._playbacks else target.transport
        playback = self._playbacks.setdefault(name, Playback(Script(), self._rand))
        provider = ScriptedProvider(target, playback, self._begun)
        self.providers.append(provider)
        return provider

    def log(self, name: str) -> list[Call]:
        """Return the requests that the provider of that transport or base URL received.

        Raises:
            KeyError: Nothing has that name in this world.
        """
        if name not in self._playbacks:
            known = ", ".join(sorted(self._playbacks)) or "none"
            raise KeyError(f"{name!r} has neither a script nor a provider; known: {known}")
        return self._playbacks[name].log
