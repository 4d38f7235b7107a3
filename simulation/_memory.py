"""Scripted providers in memory: for virtual time, where hours pass in a second and every instant is exact."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import final

import anyio
import anyio.lowlevel

from ..providers import (
    TRANSPORTS,
    Block,
    Connect,
    Failure,
    Judged,
    Provider,
    Reasoning,
    Request,
    Response,
    Target,
    Text,
    ToolCall,
    Upstream,
    Usage,
    Verdict,
    attempt_error,
    clean,
    judge,
    judge_nous,
    read_evidence,
    retry_after,
    suggestion,
)
from ._answers import REQUEST_ID, SIGNATURE, Said, Wire, error, named_error
from ._model import asked, say
from ._script import (
    PING_EVERY,
    Answer,
    Breaks,
    Call,
    Hang,
    Playback,
    Raw,
    Refused,
    Reset,
    Script,
    Status,
    coming,
)
from ._upstream import ScriptedUpstream, Step

WALL_CLOCK = 1767225600.0
"""What the calendar says when a world begins: 2026-01-01T00:00Z, for hints that are dates."""

_RESET, _CLOSED = "connection reset", "connection closed before the body was complete"

_BROKEN_STREAM: dict[str, tuple[Verdict, str, int | None]] = {
    "reset": (Verdict.PROVIDER, _RESET, 200),
    "incomplete": (Verdict.PROVIDER, _CLOSED, 200),
    "cut": (Verdict.TRUNCATED, "the stream ended before its answer did", 200),
    "garbage": (Verdict.MALFORMED, "an event of the stream is not JSON", 200),
}

_BROKEN_WHOLE: dict[str, tuple[Verdict, str, int | None]] = {
    "reset": (Verdict.PROVIDER, _RESET, None),
    "incomplete": (Verdict.MALFORMED, _CLOSED, None),
    "cut": (Verdict.MALFORMED, "the answer is something that is not JSON", 200),
    "garbage": (Verdict.MALFORMED, "the answer is something that is not JSON", 200),
}
"""What a broken answer comes to: the verdict, what is said of it, and the status that is known by then."""


@final
class ScriptedProvider:
    """The provider port over a script. `open` says whether it has been closed, `in_flight` how many calls it has, and
    `most_in_flight` how many it ever had at once. `keys` are those it was shown, one for each keyed call, in order.
    """

    def __init__(self, target: Target, playback: Playback, begun: float) -> None:
        self._target, self._playback, self._begun = target, playback, begun
        self.open, self.in_flight, self.most_in_flight = True, 0, 0
        self.keys: list[str] = []

    async def complete(self, request: Request) -> Response:
        """Do what the script says; see `Provider.complete`."""
        self._begin()
        try:
            behaviour = await self._met(request)
            return await self._whole(request, behaviour)
        finally:
            self._end()

    async def stream(self, request: Request) -> Upstream:
        """Do what the script says; see `Provider.stream`. A stream is in flight until it ends or is closed."""
        self._begin()
        try:
            behaviour = await self._met(request)
        except BaseException:
            self._end()
            raise
        said = self._said(request, behaviour)
        known = Usage(said.given, 1, 0, 0) if self._wire == "anthropic" else Usage()
        steps, transport = self._steps(request, behaviour, said), self._target.transport
        return ScriptedUpstream(steps, transport, request.model, usage=known, ended=self._end)

    def keyed(self, key: str, *, base_url: str = "") -> Provider:
        """Return this provider as it is asked with a key; its script is the same for all keys and addresses."""
        return _Keyed(self, key)

    def _begin(self) -> None:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)

    def _end(self) -> None:
        self.in_flight -= 1

    async def _met(self, request: Request) -> Answer | Breaks:
        """Meet what the script holds for a request: raise what is no answer, and return what is when it begins."""
        match self._playback.play(request.model, anyio.current_time() - self._begun):
            case Answer() as answer:
                await anyio.sleep(answer.after)
                return answer
            case Breaks() as breaks:
                await anyio.sleep(breaks.answer.after)
                return breaks
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

    async def _whole(self, request: Request, behaviour: Answer | Breaks) -> Response:
        said = self._said(request, behaviour)
        come, then = coming(behaviour, said.pieces)
        await anyio.sleep(sum(wait for wait, _ in come) + then)
        if isinstance(behaviour, Breaks):
            if behaviour.how in {"silence", "pings"}:
                await anyio.sleep_forever()
            failure = self._broken(request, behaviour, _BROKEN_WHOLE)
            if failure is not None:
                raise attempt_error(failure)
        end = self._end_of(request, said)
        if isinstance(end, Failure):
            raise attempt_error(end)
        return end

    def _steps(self, request: Request, behaviour: Answer | Breaks, said: Said) -> Iterator[Step]:
        come, then = coming(behaviour, said.pieces)
        yield from come
        failure = None
        if isinstance(behaviour, Breaks):
            if behaviour.how == "silence":
                return
            while behaviour.how == "pings":
                yield PING_EVERY, None
            failure = self._broken(request, behaviour, _BROKEN_STREAM)
            if behaviour.how == "unterminated" and self._wire == "anthropic":
                failure = self._broken(request, replace(behaviour, how="cut"), _BROKEN_STREAM)
        yield then, failure or self._end_of(request, said)

    def _said(self, request: Request, behaviour: Answer | Breaks) -> Said:
        answer = behaviour if isinstance(behaviour, Answer) else behaviour.answer
        return say(answer, asked(request), self._wire)

    async def aclose(self) -> None:
        """Close; see `Provider.aclose`."""
        self.open = False
        await anyio.lowlevel.checkpoint()

    def _end_of(self, request: Request, said: Said) -> Response | Failure:
        """Return the whole answer; one that says nothing is a failure."""
        transport = self._target.transport
        blocks: list[Block] = []
        if said.thinking:
            signature = SIGNATURE if self._wire == "anthropic" else None
            blocks.append(Reasoning(said.thinking, signature=signature, issuer=transport))
        if said.text:
            blocks.append(Text(said.text, transport))
        blocks += [ToolCall(call.id, call.name, call.arguments, transport) for call in said.calls]
        if not said.text and not said.calls:
            nothing = "the answer is finished, but has no text and no tool call"
            return self._failure(request, Verdict.EMPTY, said=nothing, status=200, request_id="simulated")
        return Response(
            tuple(blocks),
            request.model,
            transport,
            "tool_calls" if said.calls else "stop",
            Usage(said.given, said.made, 0, 0)
            if self._wire == "anthropic"
            else Usage(said.given, said.made, 0, None, said.thought),
            request_id="simulated",
        )

    def _broken(
        self, request: Request, breaks: Breaks, failures: Mapping[str, tuple[Verdict, str, int | None]]
    ) -> Failure | None:
        """Return what the way an answer breaks off comes to; None where it comes to nothing."""
        if breaks.how == "error":
            body = named_error(self._wire, breaks.error, f"simulated {breaks.error}")
            return self._refused(request, Status(200, body=body))
        if breaks.how not in failures:
            return None
        verdict, said, status = failures[breaks.how]
        return self._failure(
            request, verdict, said=said, status=status, request_id="simulated" if status is not None else None
        )

    def _refused(self, request: Request, status: Status) -> Failure:
        headers = {name.lower(): value for name, value in status.headers.items()}
        body = status.body if status.body is not None else error(self._wire, status.status)
        evidence = read_evidence(status.status, body, headers.get("x-should-retry"))
        judged = Judged(judge(evidence))
        if self._target.transport == "nous":
            judged = judge_nous(status.status, body, headers)
        hint = retry_after(
            [headers["retry-after-ms"]] if "retry-after-ms" in headers else [],
            [headers["retry-after"]] if "retry-after" in headers else [],
            date=headers.get("date"),
            wall_clock=WALL_CLOCK + anyio.current_time() - self._begun,
        )
        return self._failure(
            request,
            judged.verdict,
            said=evidence.message,
            status=status.status,
            retry_after=hint if judged.retry_after is None else judged.retry_after,
            of_account=judged.of_account,
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
        of_account: bool = False,
    ) -> Failure:
        return Failure(
            transport=self._target.transport,
            model=request.model,
            verdict=verdict,
            said=clean(said, self._target.secrets),
            status=status,
            retry_after=retry_after,
            request_id=request_id,
            of_account=of_account,
        )


@final
class _Keyed:
    """A scripted provider that is shown a key with each request. Closing it does nothing."""

    def __init__(self, inner: ScriptedProvider, key: str) -> None:
        self._inner, self._key = inner, key

    async def complete(self, request: Request) -> Response:
        """Do what the script says; see `Provider.complete`."""
        self._inner.keys.append(self._key)
        return await self._inner.complete(request)

    async def stream(self, request: Request) -> Upstream:
        """Do what the script says; see `Provider.stream`."""
        self._inner.keys.append(self._key)
        return await self._inner.stream(request)

    async def aclose(self) -> None:
        """Leave it open: it belongs to whoever made it."""
        await anyio.lowlevel.checkpoint()


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
