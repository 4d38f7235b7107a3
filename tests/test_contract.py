"""The provider contract: what every provider does, over sockets and in memory, for the same script.

The real providers speak through the vendors' SDK clients to a simulated server; the scripted one in memory plays the
same script. Both are held to the same outcome, so that neither can drift.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Literal

import anyio
import pytest
from pydantic import SecretStr

from understudy.providers import (
    TRANSPORTS,
    AttemptError,
    AttemptTimeoutError,
    ConnectionFailedError,
    ContentEvent,
    Parameters,
    PartialCall,
    Provider,
    QuotaExceededError,
    RateLimitedError,
    ReasoningDelta,
    Request,
    RequestRejectedError,
    ResponseMalformedError,
    ServerFailedError,
    Target,
    TextDelta,
    Tool,
    ToolCallDelta,
    ToolCallStarted,
    Upstream,
    Usage,
    Verdict,
    connect,
    tool,
    user,
)
from understudy.providers._errors import AccessRefusedError
from understudy.simulation import (
    Answer,
    Behaviour,
    Breaks,
    Hang,
    Refused,
    Reset,
    Script,
    Status,
    World,
    simulated_server,
)

from .whole_system._wire import WireWorld

pytestmark = [pytest.mark.anyio, pytest.mark.sockets, pytest.mark.usefixtures("few_certificates")]

REQUEST = Request("a-model", (user("one two three"),))


@dataclass(frozen=True)
class Maker:
    """One way to have a provider that plays a script."""

    transport: str
    over: Literal["sockets", "memory", "wire"]

    def __str__(self) -> str:
        return f"{self.transport}-{self.over}"

    @asynccontextmanager
    async def provider(self, behaviour: Behaviour) -> AsyncIterator[Provider]:
        """Open a provider that always meets `behaviour`."""
        script = Script.always(behaviour)
        async with simulated_server(script) as server:
            url = server.anthropic_url if self.transport == "anthropic" else server.openai_url
            target = Target(self.transport, url, SecretStr("a-secret-key"))
            scripts = {self.transport: script}
            worlds = {"sockets": connect, "memory": World(scripts).connect, "wire": WireWorld(scripts).connect}
            made = worlds[self.over](target)
            try:
                yield made
            finally:
                await made.aclose()


MAKERS = [
    *(Maker(transport, "sockets") for transport in TRANSPORTS),
    *(Maker(transport, over) for over in ("memory", "wire") for transport in ("openai", "anthropic")),
]


@pytest.fixture(params=MAKERS, ids=str)
def maker(request: pytest.FixtureRequest) -> Maker:
    """Every provider, one after the other."""
    made: Maker = request.param
    return made


async def test_an_answer_has_text_usage_and_names(maker: Maker) -> None:
    """The answer is the same whoever gives it, but for who gave it."""
    async with maker.provider(Answer("four five")) as provider:
        response = await provider.complete(REQUEST)
    assert response.text == "four five"
    assert (response.model, response.transport) == ("a-model", maker.transport)
    assert response.finish_reason == "stop"
    assert response.request_id == "simulated"
    openai_wire = maker.transport != "anthropic"
    assert response.usage == Usage(3, 2, 0, None if openai_wire else 0, 0 if openai_wire else None)


async def test_an_answer_belongs_to_its_question(maker: Maker) -> None:
    """Ten questions at once get their own answers."""
    got: list[bool] = []
    async with maker.provider(Answer(None, after=0.01)) as provider:

        async def ask(nonce: str) -> None:
            response = await provider.complete(Request("a-model", (user(nonce),)))
            got.append(response.text == nonce)

        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(ask, f"nonce {number}")
    assert got == [True] * 10


PAGE = Status(403, body=b"<html>Access denied</html>", content_type="text/html")


@pytest.mark.parametrize(
    ("behaviour", "error", "verdict", "retry_after"),
    [
        (Status(400), RequestRejectedError, Verdict.CALLER, None),
        (Status(401), AccessRefusedError, Verdict.AUTH, None),
        (Status(402), QuotaExceededError, Verdict.QUOTA, None),
        (Status(403), AccessRefusedError, Verdict.AUTHZ, None),
        (PAGE, ServerFailedError, Verdict.EDGE, None),
        (Status(404), AccessRefusedError, Verdict.NOT_FOUND, None),
        (Status(408), AttemptTimeoutError, Verdict.TIMEOUT, None),
        (Status(409), ServerFailedError, Verdict.CONFLICT, None),
        (Status(422), RequestRejectedError, Verdict.CALLER, None),
        (Status(429, headers={"Retry-After": "7"}), RateLimitedError, Verdict.THROTTLED, 7.0),
        (Status(429, headers={"retry-after-ms": "1500", "retry-after": "9"}), RateLimitedError, Verdict.THROTTLED, 1.5),
        (Status(429, headers={"retry-after": "soon"}), RateLimitedError, Verdict.THROTTLED, None),
        (Status(500), ServerFailedError, Verdict.PROVIDER, None),
        (Status(502, body=b"<html></html>"), ServerFailedError, Verdict.PROVIDER, None),
        (Status(503, headers={"retry-after": "2.5"}), ServerFailedError, Verdict.OVERLOADED, 2.5),
        (Status(504), AttemptTimeoutError, Verdict.TIMEOUT, None),
        (Status(529), ServerFailedError, Verdict.OVERLOADED, None),
        (Reset(), ConnectionFailedError, Verdict.PROVIDER, None),
        (Refused(), ConnectionFailedError, Verdict.CONNECT, None),
    ],
    ids=str,
)
async def test_a_failure_has_its_class_verdict_and_hint(
    maker: Maker, behaviour: Behaviour, error: type[AttemptError], verdict: Verdict, retry_after: float | None
) -> None:
    """Each fault becomes one error of ours, with the same facts everywhere."""
    if isinstance(behaviour, Status) and behaviour.status == 504 and maker.transport != "anthropic":
        error, verdict = ServerFailedError, Verdict.PROVIDER  # only Anthropic names it a timeout
    async with maker.provider(behaviour) as provider:
        with pytest.raises(error) as caught:
            await provider.complete(REQUEST)
    raised = caught.value
    assert type(raised) is error
    assert (raised.verdict, raised.retry_after) == (verdict, retry_after)
    assert (raised.transport, raised.model) == (maker.transport, "a-model")
    assert raised.status == (behaviour.status if isinstance(behaviour, Status) else None)
    if isinstance(behaviour, Status):
        assert raised.request_id == "simulated"


async def test_a_hanging_provider_can_be_cancelled(maker: Maker) -> None:
    """Cancellation ends the call at once, and the next one is served."""
    async with maker.provider(Hang()) as provider:
        with anyio.move_on_after(60) as scope:
            await provider.complete(REQUEST)
        assert scope.cancelled_caught


async def test_closing_twice_does_nothing(maker: Maker) -> None:
    """A provider may be closed more than once."""
    async with maker.provider(Answer()) as provider:
        await provider.complete(REQUEST)
        await provider.aclose()


STREAMING = [maker for maker in MAKERS if maker.transport in {"openai", "anthropic"}]
"""Those that stream, one for each wire: the other transports differ by their dialect alone."""


@pytest.fixture(params=STREAMING, ids=str)
def streaming(request: pytest.FixtureRequest) -> Maker:
    """One way to have a provider that plays a script and streams."""
    made: Maker = request.param
    return made


LOOK = Tool("look", "Look something up.", {"type": "object", "properties": {"what": {"type": "string"}}})
COUNT = Tool("count", "Count.", {"type": "object", "properties": {"to": {"type": "integer"}}})
OFFERED = Request("a-model", (user("one two three"),), {"tools": [LOOK, COUNT]})


async def read_all(upstream: Upstream) -> list[tuple[float, ContentEvent]]:
    """Read a stream to its end; return what it brought, and when."""
    came: list[tuple[float, ContentEvent]] = []
    while upstream.response is None:
        await upstream.read()
        while (event := upstream.take()) is not None:
            came.append((anyio.current_time(), event))
    return came


def put_together(events: Iterable[ContentEvent]) -> tuple[str, str, tuple[PartialCall, ...]]:
    """Return reasoning, text and tool calls of events."""
    reasoning = text = ""
    calls: list[PartialCall] = []
    for event in events:
        match event:
            case ReasoningDelta(more):
                reasoning += more
            case TextDelta(more):
                text += more
            case ToolCallStarted(index, identity, name):
                assert index == len(calls)
                calls.append(PartialCall(identity, name, ""))
            case ToolCallDelta(index, more):
                calls[index] = replace(calls[index], arguments=calls[index].arguments + more)
    return reasoning, text, tuple(calls)


@pytest.mark.parametrize(
    ("answer", "asked"),
    [
        (Answer("four  five\nsix ", every=0.5), REQUEST),
        (Answer(None), REQUEST),
        (Answer("four", thinking="let me see"), REQUEST),
        (Answer(rounds=1, calls=2), OFFERED),
        (Answer(rounds=1, thinking="let me see"), OFFERED),
        (Breaks(Answer("four five"), how="more"), REQUEST),
    ],
    ids=str,
)
async def test_a_stream_is_the_whole_answer_in_pieces(
    streaming: Maker, answer: Answer | Breaks, asked: Request
) -> None:
    """What comes, put together, is what comes whole; nothing is doubled, lost, or in the wrong order."""
    async with streaming.provider(answer) as provider:
        whole = await provider.complete(asked)
        upstream = await provider.stream(asked)
        came = await read_all(upstream)
        await upstream.aclose()
    assert upstream.response == whole
    reasoning, text, calls = put_together(event for _, event in came)
    assert (reasoning, text) == (whole.reasoning, whole.text)
    assert calls == tuple(PartialCall(call.id, call.name, call.arguments) for call in whole.tool_calls)
    partial = upstream.partial
    assert (partial.transport, partial.model) == (streaming.transport, "a-model")
    assert (partial.reasoning, partial.text, partial.tool_calls) == (reasoning, text, calls)
    assert partial.usage == whole.usage


async def test_the_pieces_come_one_after_the_other(streaming: Maker) -> None:
    """The first when the answer begins, each other one so much later; asked for whole, it comes with the last one."""
    async with streaming.provider(Answer("one two three", after=2, every=0.5)) as provider:
        began_at = anyio.current_time()
        came = await read_all(await provider.stream(REQUEST))
        assert [at - began_at for at, _ in came] == pytest.approx([2, 2.5, 3], abs=0.1)
        began_at = anyio.current_time()
        await provider.complete(REQUEST)
        assert anyio.current_time() - began_at == pytest.approx(3, abs=0.1)


async def test_tools_are_asked_for_round_after_round(streaming: Maker) -> None:
    """Each round knows how many there were; then every result comes back, and the next question begins anew."""
    conversation = [user("a nonce")]
    ids: list[str] = []
    async with streaming.provider(Answer(None, rounds=2)) as provider:
        for number in (1, 2):
            upstream = await provider.stream(replace(OFFERED, messages=tuple(conversation)))
            await read_all(upstream)
            assert upstream.response is not None
            assert upstream.response.finish_reason == "tool_calls"
            calls = upstream.response.tool_calls
            assert [(call.name, call.parse()) for call in calls] == [
                ("look", {"what": "a nonce"}),
                ("count", {"to": number}),
            ]
            ids += [call.id for call in calls]
            conversation += [upstream.response.message, *(tool(call.id, f"{call.name} {number}") for call in calls)]
        answer = await provider.complete(replace(OFFERED, messages=tuple(conversation)))
        assert answer.text.splitlines() == ["a nonce", "look 1", "count 1", "look 2", "count 2"]
        assert answer.finish_reason == "stop"
        again = await provider.complete(replace(OFFERED, messages=(*conversation, answer.message, user("and now?"))))
        ids += [call.id for call in again.tool_calls]
    assert len(set(ids)) == 6


@pytest.mark.parametrize(
    ("parameters", "names"),
    [
        ({"tool_choice": "none"}, []),
        ({"tool_choice": "count"}, ["count"]),
        ({"tool_choice": "required"}, ["look", "count"]),
        ({"tool_choice": "required", "parallel_tool_calls": False}, ["look"]),
        ({}, []),
    ],
)
async def test_a_choice_of_tools_is_kept(streaming: Maker, parameters: Parameters, names: list[str]) -> None:
    """What a request insists on is called, whatever the script says of rounds; what it forbids is not."""
    asked = replace(OFFERED, parameters={**OFFERED.parameters, **parameters})
    async with streaming.provider(Answer()) as provider:
        response = await provider.complete(asked)
        upstream = await provider.stream(asked)
        await read_all(upstream)
    assert [call.name for call in response.tool_calls] == names
    assert upstream.response == response


BROKEN: list[tuple[Breaks, type[AttemptError], Verdict, Verdict]] = [
    (Breaks(Answer("a b c"), how="reset"), ServerFailedError, Verdict.PROVIDER, Verdict.PROVIDER),
    (Breaks(Answer("a b c"), how="incomplete"), ServerFailedError, Verdict.PROVIDER, Verdict.MALFORMED),
    (Breaks(Answer("a b c"), how="cut"), ResponseMalformedError, Verdict.TRUNCATED, Verdict.MALFORMED),
    (Breaks(Answer("a b c"), how="garbage"), ResponseMalformedError, Verdict.MALFORMED, Verdict.MALFORMED),
    (Breaks(Answer("a b c"), how="error"), ServerFailedError, Verdict.OVERLOADED, Verdict.OVERLOADED),
    *(
        (Breaks(Answer("a b c"), how="error", error=kind), error, verdict, verdict)
        for kind, error, verdict in (
            ("rate_limit_error", RateLimitedError, Verdict.THROTTLED),
            ("api_error", ServerFailedError, Verdict.PROVIDER),
            ("timeout_error", AttemptTimeoutError, Verdict.TIMEOUT),
            ("invalid_request_error", RequestRejectedError, Verdict.CALLER),
            ("authentication_error", AccessRefusedError, Verdict.AUTH),
            ("permission_error", AccessRefusedError, Verdict.AUTHZ),
            ("billing_error", QuotaExceededError, Verdict.QUOTA),
        )
    ),
]
"""How an answer breaks off, the error of a stream and its verdict, and the verdict where it was asked for whole."""


@pytest.mark.parametrize("after", [0, 2, 9])
@pytest.mark.parametrize(("breaks", "error", "verdict", "whole"), BROKEN, ids=str)
async def test_a_stream_that_breaks_off_fails_after_what_came(
    streaming: Maker, breaks: Breaks, error: type[AttemptError], verdict: Verdict, whole: Verdict, after: int
) -> None:
    """What came before can be taken, then there is one error of ours."""
    async with streaming.provider(replace(breaks, after=after)) as provider:
        upstream = await provider.stream(REQUEST)
        came: list[ContentEvent] = []
        with pytest.raises(error) as caught:
            while True:
                await upstream.read()
                while (event := upstream.take()) is not None:
                    came.append(event)
        await upstream.aclose()
    assert type(caught.value) is error
    assert caught.value.verdict is verdict
    assert (caught.value.status, caught.value.request_id) == (200, "simulated")
    assert (caught.value.transport, caught.value.model) == (streaming.transport, "a-model")
    assert "".join(event.text for event in came if isinstance(event, TextDelta)) == "a b c"[: 2 * after]
    assert upstream.partial.text == "a b c"[: 2 * after]
    assert upstream.response is None


@pytest.mark.parametrize(("breaks", "error", "verdict", "whole"), BROKEN, ids=str)
async def test_a_whole_answer_that_breaks_off_fails(
    maker: Maker, breaks: Breaks, error: type[AttemptError], verdict: Verdict, whole: Verdict
) -> None:
    """No half of it is handed out."""
    async with maker.provider(breaks) as provider:
        with pytest.raises(AttemptError) as caught:
            await provider.complete(REQUEST)
    torn = breaks.how in {"reset", "incomplete"}
    assert caught.value.verdict is whole
    assert (caught.value.status, caught.value.request_id) == ((None, None) if torn else (200, "simulated"))


@pytest.mark.parametrize("how", ["unterminated", "more"])
async def test_what_is_wrong_with_streams_alone_leaves_a_whole_answer_as_it_is(
    maker: Maker, how: Literal["unterminated", "more"]
) -> None:
    """The last event, and what follows it, are a stream's."""
    async with maker.provider(Breaks(Answer("a b c"), how=how)) as provider:
        assert (await provider.complete(REQUEST)).text == "a b c"


async def test_a_model_may_think_and_ask_for_tools(maker: Maker) -> None:
    """The same calls from everybody, each with an id of its own."""
    async with maker.provider(Answer(rounds=1, calls=2, thinking="let me see")) as provider:
        response = await provider.complete(OFFERED)
    calls = response.tool_calls
    assert [(call.name, call.arguments) for call in calls] == [
        *[("look", '{"what":"one two three"}')] * 2,
        *[("count", '{"to":1}')] * 2,
    ]
    assert len({call.id for call in calls}) == 4
    assert (response.reasoning, response.text, response.finish_reason) == ("let me see", "", "tool_calls")
    assert (response.usage.input_tokens, response.usage.output_tokens) == (3, 3 + 2 * 3 + 2)


async def test_a_stream_without_its_last_event_is_whole_on_one_wire(streaming: Maker) -> None:
    """A missing [DONE] after a finish reason is nothing; a missing message_stop is an answer that was cut off."""
    async with streaming.provider(Breaks(Answer("a b c"), how="unterminated")) as provider:
        upstream = await provider.stream(REQUEST)
        if streaming.transport == "anthropic":
            with pytest.raises(ResponseMalformedError) as caught:
                await read_all(upstream)
            assert caught.value.verdict is Verdict.TRUNCATED
        else:
            await read_all(upstream)
            assert upstream.response == await provider.complete(REQUEST)


async def test_a_silent_stream_can_be_left(streaming: Maker) -> None:
    """Whoever waits for more is cancelled at once; what had come is there, and the next request is served."""
    async with streaming.provider(Breaks(Answer("a b c"), after=2, how="silence")) as provider:
        upstream = await provider.stream(REQUEST)
        with anyio.move_on_after(60) as scope:
            await read_all(upstream)
        assert scope.cancelled_caught
        assert upstream.partial.text == "a b "
        await upstream.aclose()
        with pytest.raises(anyio.ClosedResourceError):
            await upstream.read()
        with anyio.move_on_after(60) as scope:
            await provider.complete(REQUEST)
        assert scope.cancelled_caught


async def test_signs_of_life_are_no_content(streaming: Maker) -> None:
    """A read returns with each of them, and brings nothing."""
    async with streaming.provider(Breaks(Answer("a b c"), after=1, how="pings")) as provider:
        upstream = await provider.stream(REQUEST)
        while upstream.take() is None:
            await upstream.read()
        for _ in range(3):
            began_at = anyio.current_time()
            await upstream.read()
            assert anyio.current_time() - began_at == pytest.approx(10, abs=0.2)
            assert upstream.take() is None
        await upstream.aclose()
    assert upstream.partial.text == "a "


@pytest.mark.parametrize(
    ("behaviour", "verdict"),
    [
        (PAGE, Verdict.EDGE),
        (Status(503), Verdict.OVERLOADED),
        (Status(200, body=b"<html></html>", content_type="text/html"), Verdict.MALFORMED),
        (Status(200, body=b'{"choices": []}'), Verdict.MALFORMED),
        (Status(200, body=b'{"error": {"type": "overloaded_error", "message": "busy"}}'), Verdict.OVERLOADED),
        (Reset(), Verdict.PROVIDER),
        (Refused(), Verdict.CONNECT),
    ],
    ids=str,
)
async def test_what_is_no_stream_fails_before_any_content(
    streaming: Maker, behaviour: Behaviour, verdict: Verdict
) -> None:
    """A refusal, a page, or JSON in place of a stream: the error comes from asking for it."""
    async with streaming.provider(behaviour) as provider:
        with pytest.raises(AttemptError) as caught:
            await provider.stream(REQUEST)
    assert caught.value.verdict is verdict


async def test_an_answer_that_says_nothing_is_empty(streaming: Maker) -> None:
    """Whole or as a stream."""
    async with streaming.provider(Answer("")) as provider:
        with pytest.raises(AttemptError) as caught:
            await provider.complete(REQUEST)
        with pytest.raises(AttemptError) as told:
            await read_all(await provider.stream(REQUEST))
    assert (caught.value.verdict, told.value.verdict) == (Verdict.EMPTY, Verdict.EMPTY)
