"""Requests that are given on as they came, where client and provider speak the same wire."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Any, cast

import anyio
import pytest
from pydantic import SecretStr

import understudy
from understudy import (
    AgentSettings,
    AllRoutesClosedError,
    RequestRejectedError,
    ResponseMalformedError,
    RouteSettings,
    Settings,
    StreamInterruptedError,
    Verdict,
    user,
)
from understudy.providers import Finished, Neutral, Parameters, Reasoning, Relay, UnreadableError
from understudy.providers._prelude import LARGEST_PRELUDE
from understudy.providers._relay import as_sent, relayed
from understudy.providers._sse import SSEDecoder
from understudy.simulation import Answer, Script, Status, simulated_server
from understudy.supervisor import Begun, Inlet, Inquiry, Over, Supervisor
from understudy.supervisor._course import SPILL_AFTER

from .over_sockets import KEY, beside, listening, opened
from .streams import Played, beginning, chunk, close, ending, framed, head, said, stream_of

pytestmark = [pytest.mark.anyio, pytest.mark.sockets, pytest.mark.usefixtures("few_certificates")]

BODY: dict[str, Any] = {
    "model": "deriver",
    "messages": [{"role": "user", "content": "Who wrote Faust?", "cache": "a field that nobody knows"}],
    "max_tokens": 100,
    "unheard_of": {"deep": [1, None]},
}


def inquiry(wire: str = "openai", body: dict[str, Any] | None = None, *, reason: str = "", **relay: Any) -> Inquiry:
    """Make what a gateway asks, with the same in neutral form."""
    neutral = Neutral((user("Who wrote Faust?"),), Parameters(max_tokens=100), reason)
    return Inquiry(Relay(wire, BODY if body is None else body, lambda: neutral, **relay))


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
async def test_a_request_is_given_on_as_it_came(wire: str) -> None:
    """With every field, for the route's model; what is set for the route stands in for what is not said."""
    async with opened((wire, Script.always(Answer("Goethe."))), route={"max_output_tokens": 7}) as (agent, _, servers):
        response = await Inlet(agent).complete(inquiry(wire))
        (received,) = servers[0].received
        assert received.body == {**BODY, "model": f"{wire}-model"}
        assert response.text == "Goethe."
        assert response.raw is not None
        assert "Goethe." in json.dumps(json.loads(response.raw))
        without = {name: value for name, value in BODY.items() if name != "max_tokens"}
        await Inlet(agent).complete(inquiry(wire, without))
        limit = "max_completion_tokens" if "max_completion_tokens" in servers[0].received[1].body else "max_tokens"
        assert servers[0].received[1].body == {**without, "model": f"{wire}-model", limit: 7}


@pytest.mark.parametrize(("wire", "other"), [("openai", "anthropic"), ("anthropic", "openai")])
async def test_another_wire_is_asked_in_neutral_form(wire: str, other: str) -> None:
    """A hand-over from one wire to the other: the second one is told what it understands, and nothing of the body."""
    scripts = ((wire, Script.always(Status(503))), (other, Script.always(Answer("Goethe."))))
    async with opened(*scripts) as (agent, _, servers):
        response = await Inlet(agent).complete(inquiry(wire))
        assert response.is_fallback
        assert response.raw is None
        assert "unheard_of" not in servers[1].received[0].body
        assert "Who wrote Faust?" in json.dumps(servers[1].received[0].body)
        assert [call.body["model"] for server in servers for call in server.received] == [
            f"{wire}-model",
            f"{other}-model",
        ]


async def test_a_route_that_cannot_be_told_is_not_asked() -> None:
    """With a reason only routes of the same wire are asked; the primary is left out without blame."""
    scripts = (("anthropic", Script.always(Answer("no"))), ("openai", Script.always(Answer("Goethe."))))
    async with opened(*scripts) as (agent, _, servers):
        response = await Inlet(agent).complete(inquiry("openai", reason="it holds audio"))
        assert (response.text, response.transport, len(servers[0].received)) == ("Goethe.", "openai", 0)


@pytest.mark.parametrize("opens", [False, True])
async def test_no_time_is_kept_for_a_route_that_cannot_be_told(opens: bool) -> None:
    """The only one that can be asked has all of the client's timeout, as if the others were not there."""
    scripts = (("openai", Script.always(Answer("Goethe.", after=15))), ("anthropic", Script.always(Answer("no"))))
    async with opened(*scripts) as (agent, _, servers):
        asked = Inquiry(inquiry("openai", {**BODY, "stream": opens}, reason="it asks for two").relay, 20)
        if opens:
            async with Inlet(agent).stream(asked) as stream:
                async for _ in stream:
                    pass
            response = stream.response
        else:
            response = await Inlet(agent).complete(asked)
        assert (response.text, len(servers[0].received), len(response.attempts)) == ("Goethe.", 1, 1)


async def test_a_probe_has_its_time_where_no_other_route_can_be_told() -> None:
    """It is cut short for the sake of those who could be asked meanwhile, and there is nobody."""
    first = Script.sequence(Status(503), otherwise=Answer("Goethe.", after=40))
    scripts = (("openai", first), ("anthropic", Script.always(Answer("Schiller."))))
    async with opened(*scripts, circuit_trip_after=1) as (agent, _, servers):
        assert (await Inlet(agent).complete(inquiry("openai"))).is_fallback
        await anyio.sleep(15)
        response = await Inlet(agent).complete(inquiry("openai", reason="it asks for two"))
        assert (response.text, len(servers[0].received), len(response.attempts)) == ("Goethe.", 2, 1)


async def test_a_place_is_waited_for_once_where_no_other_route_can_be_told() -> None:
    """However many routes are found, in the meantime, not to count."""
    scripts = (("openai", Script.always(Answer("Goethe.", after=40))), ("anthropic", Script.always(Answer("no"))))
    async with opened(*scripts, max_concurrency=1) as (agent, _, servers), anyio.create_task_group() as tasks:
        tasks.start_soon(Inlet(agent).complete, inquiry("openai", reason="it asks for two"))
        await anyio.sleep(1)
        begun = anyio.current_time()
        with pytest.raises(AllRoutesClosedError, match="bulkhead full"):
            await Inlet(agent).complete(inquiry("openai", reason="it asks for two"))
        assert anyio.current_time() - begun == pytest.approx(SPILL_AFTER, abs=0.05)
        assert [len(server.received) for server in servers] == [1, 0]


async def test_what_no_route_can_be_told_is_rejected() -> None:
    """With the reason, and without asking anybody."""
    async with opened(("anthropic", Script.always(Answer("no")))) as (agent, _, servers):
        with pytest.raises(RequestRejectedError, match="it holds audio"):
            await Inlet(agent).complete(inquiry("openai", reason="it holds audio"))
        with pytest.raises(RequestRejectedError, match="it holds audio"):
            Inlet(agent).stream(inquiry("openai", reason="it holds audio"))
        assert not servers[0].received


async def test_what_has_no_neutral_form_is_not_put_together_from_a_stream() -> None:
    """Where whole answers are streamed upstream, one of several choices would be left: it is asked for whole."""
    body = {**BODY, "n": 2}
    async with opened(("openai", Script.always(Answer("Goethe."))), route={"stream_upstream": True}) as (
        agent,
        _,
        servers,
    ):
        assert (await Inlet(agent).complete(inquiry("openai", body, reason="it asks for two"))).raw
        assert (await Inlet(agent).complete(inquiry("openai"))).text == "Goethe."
        assert [call.body.get("stream", False) for call in servers[0].received] == [False, True]


async def test_whoever_traces_it_changes_nothing() -> None:
    """What cannot be read goes to a provider of the same wire, which may understand it, also where somebody traces."""

    def unreadable() -> Neutral:
        raise UnreadableError("a field of tomorrow")

    asked = Inquiry(Relay("openai", BODY, unreadable))
    tracer = Watching()
    async with opened(("openai", Script.always(Answer("Goethe."))), tracers=[tracer]) as (agent, _, servers):
        assert (await Inlet(agent).complete(asked)).text == "Goethe."
        async with Inlet(agent).stream(asked) as stream:
            async for _ in stream:
                pass
        assert [call.body["unheard_of"] for call in servers[0].received] == [BODY["unheard_of"]] * 2
    assert (tracer.begun, tracer.ended) == (2, 2)


class Watching:
    """A tracer, and its own span, that counts."""

    def __init__(self) -> None:
        self.begun = self.ended = 0

    def begin(self, _: Begun) -> Watching:
        """Begin."""
        self.begun += 1
        return self

    def end(self, _: Over) -> None:
        """End."""
        self.ended += 1

    def current(self) -> AbstractContextManager[None]:
        """Be current."""
        return nullcontext()


async def test_headers_go_with_it() -> None:
    """Those of the client that a gateway lets through."""
    async with opened(("anthropic", Script.always(Answer("Goethe.")))) as (agent, _, servers):
        await Inlet(agent).complete(inquiry("anthropic", headers={"anthropic-beta": "a-beta"}))
        assert servers[0].received[0].headers["anthropic-beta"] == "a-beta"
        assert servers[0].received[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("name", ["anthropic-beta", "Anthropic-Beta"])
async def test_headers_go_with_those_of_the_route(name: str) -> None:
    """What is switched on for the route stays on, and so does what the client asks for."""
    route = {"provider_params": {"extra_headers": {name: "ours", "x-team": "a"}}}
    async with opened(("anthropic", Script.always(Answer("Goethe."))), route=route) as (agent, _, servers):
        await Inlet(agent).complete(inquiry("anthropic", headers={"anthropic-beta": "theirs"}))
        headers = servers[0].received[0].headers
        assert (headers["anthropic-beta"], headers["x-team"]) == ("ours,theirs", "a")


@asynccontextmanager
async def playing(wire: str, play: Any) -> AsyncIterator[tuple[Inlet, Supervisor]]:
    """Give an agent whose only route is a place that plays bytes."""
    async with listening(play) as place:
        route = RouteSettings(
            transport=wire, model="a-model", base_url=place.base_url(wire), api_key=SecretStr("sk-relay-0123456789")
        )
        settings = Settings.in_code(agents={"deriver": AgentSettings(primary=route)}, retry_attempts=1)
        async with understudy.open_supervisor(settings, drain_for=0) as supervisor:
            yield Inlet(supervisor.agent("deriver")), supervisor


@pytest.mark.transports
@pytest.mark.parametrize("way", ["understudy", "httpx2"])
@pytest.mark.parametrize("wire", ["openai", "anthropic"])
async def test_a_stream_is_given_on_as_it_came(wire: Any, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Event for event, fields that nobody knows among them; the end is there, and the answer as well."""
    if way == "httpx2":
        monkeypatch.setattr("understudy.providers._http._transport", lambda *_: None)
    events = [event.replace(b"{", b'{"unheard_of":1,', 1) for event in stream_of(wire, "Goe", "the.")]
    play = Played(wire, framed(events))
    async with playing(wire, play) as (inlet, _):
        came = b""
        async with inlet.stream(inquiry(wire, wants_usage=True)) as stream:
            assert stream.served_by == understudy.supervisor.ServedBy(wire, "a-model", 1, is_fallback=False)
            async for event in stream:
                came += cast("Any", event).data if not isinstance(event, Finished) else b""
            assert stream.response.text == "Goethe."
        assert SSEDecoder().feed(came) == SSEDecoder().feed(b"".join(events))


async def test_tokens_that_only_we_asked_for_are_not_told() -> None:
    """A strict client takes the first of the choices of each chunk, and the one with the usage has none."""
    async with simulated_server(Script.always(Answer("Goethe."))) as server:
        route = RouteSettings(
            transport="openai", model="a-model", base_url=server.openai_url, api_key=SecretStr("sk-relay-0123456789")
        )
        settings = Settings.in_code(agents={"deriver": AgentSettings(primary=route)})
        async with understudy.open_supervisor(settings, drain_for=0) as supervisor:
            for wants in (False, True):
                options = {"stream_options": {"include_usage": True}} if wants else {}
                body = {**BODY, **options, "stream": True}
                data = b""
                asked = inquiry("openai", body, wants_usage=wants)
                async with Inlet(supervisor.agent("deriver")).stream(asked) as stream:
                    async for event in stream:
                        data += cast("Any", event).data if not isinstance(event, Finished) else b""
                    assert stream.response.usage.output_tokens
                assert server.received[-1].body["stream_options"] == {"include_usage": True}
                chunks = [json.loads(chunk) for _, chunk in SSEDecoder().feed(data) if chunk != b"[DONE]"]
                assert all(chunk["choices"] for chunk in chunks) is not wants
                assert data.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
async def test_half_an_event_is_never_given_on(wire: Any) -> None:
    """What came before a cut is there, event by event; then the interruption, with what was said."""
    events = stream_of(wire, "Goe", "the.")

    half = b"".join(events[:4])[:-9]
    async with playing(wire, Played(wire, [head(), chunk(half)], close)) as (inlet, _):
        came = b""
        with pytest.raises(StreamInterruptedError) as caught:
            async with inlet.stream(inquiry(wire)) as stream:
                async for event in stream:
                    came += cast("Any", event).data
        assert caught.value.partial.text.startswith("Goe")
        assert came.endswith(b"\n\n")
        assert b"".join(events).startswith(came)


async def test_signs_of_life_are_given_on_but_are_no_content() -> None:
    """Pings reach the client; a stream of nothing else still ends after the limit for content."""
    events = stream_of("anthropic", "Goe")
    ping = b'event: ping\ndata: {"type": "ping"}\n\n'
    play = Played("anthropic", [head(), chunk(b"".join(events[:3])), *[chunk(ping)] * 20], pause=10)
    async with playing("anthropic", play) as (inlet, _):
        came, begun = b"", anyio.current_time()
        with pytest.raises(StreamInterruptedError, match="signs of life"):
            async with inlet.stream(inquiry("anthropic")) as stream:
                async for event in stream:
                    came += cast("Any", event).data
        assert came.count(b"event: ping") >= 10
        assert 120 <= anyio.current_time() - begun <= 135


def test_relayed_bodies() -> None:
    """The client's fields win; never two names of one limit, nor a budget that is beyond the client's limit."""
    assert relayed({"max_tokens": 5}, "m", {"max_completion_tokens": 7, "seed": 1}) == {
        "max_tokens": 5,
        "seed": 1,
        "model": "m",
    }
    thinking = {"type": "enabled", "budget_tokens": 2000}
    assert "thinking" not in relayed({"max_tokens": 1000}, "m", {"thinking": thinking})
    assert relayed({"max_tokens": 4000}, "m", {"thinking": thinking})["thinking"] == thinking
    forced = {"tool_choice": {"type": "any"}, "max_tokens": 4000}
    for each in (thinking, {"type": "adaptive"}):
        assert "thinking" not in relayed(forced, "m", {"thinking": each})
    assert "thinking" in relayed(forced, "m", {"thinking": {"type": "disabled"}})
    call, result = (
        {"type": "tool_use", "id": "c", "name": "f", "input": {}},
        {"type": "tool_result", "tool_use_id": "c"},
    )
    turn = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": [call]}]
    within = {"messages": [*turn, {"role": "user", "content": [result]}], "max_tokens": 4000}
    assert "thinking" not in relayed(within, "m", {"thinking": thinking})
    after = {"messages": [*turn, {"role": "user", "content": "go on"}], "max_tokens": 4000}
    assert "thinking" in relayed(after, "m", {"thinking": thinking})


def test_null_is_not_said() -> None:
    """What is set for the route stands in for a field that is null, as where the request is told to another wire."""
    body = {"max_tokens": None, "temperature": None, "stop": None}
    defaults = {"max_completion_tokens": 7, "temperature": 0.5}
    assert relayed(body, "m", defaults) == {**body, **defaults, "model": "m"}


def test_events_as_they_are_sent() -> None:
    """A name if there is one, and a line for each line of the data."""
    assert as_sent([("", b"1"), ("ping", b"{\n}")]) == b"data: 1\n\nevent: ping\ndata: {\ndata: }\n\n"


@pytest.mark.parametrize("wants_usage", [False, True])
@pytest.mark.parametrize("is_marked", [False, True])
async def test_several_answers_are_given_on_whole(wants_usage: bool, is_marked: bool) -> None:
    """A stream of several choices is whole when each has ended, in whichever order, and however long it takes."""

    def piece(index: int, text: str, finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": {"content": text}, "finish_reason": finish}
        return b"data: %b\n\n" % json.dumps({"model": "a-model", "choices": [choice]}).encode()

    tokens = b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":9}}\n\n'
    came = [piece(0, "Goethe."), piece(0, "", "stop"), piece(1, "Johann "), piece(2, "J. W."), piece(2, "", "stop")]
    came += [piece(1, "Wolfgang.", "stop"), tokens, *([b"data: [DONE]\n\n"] if is_marked else [])]
    play = Played("openai", framed(came), pause=0.4)
    async with playing("openai", play) as (inlet, _):
        data = b""
        asked = inquiry("openai", {**BODY, "n": 3}, reason="it asks for three", wants_usage=wants_usage)
        async with inlet.stream(asked) as stream:
            async for event in stream:
                data += cast("Any", event).data if not isinstance(event, Finished) else b""
            assert (stream.response.text, stream.response.usage.output_tokens) == ("Goethe.", 9)
        expected = [event for event in came if wants_usage or event != tokens]
        assert SSEDecoder().feed(data) == SSEDecoder().feed(b"".join(expected))


async def test_several_answers_that_are_cut_are_interrupted() -> None:
    """One that has ended is not all of them."""
    ended = b'data: {"choices":[{"index":0,"delta":{"content":"Goethe."},"finish_reason":"stop"}]}\n\n'
    begun = b'data: {"choices":[{"index":1,"delta":{"content":"Joh"},"finish_reason":null}]}\n\n'
    async with playing("openai", Played("openai", framed([begun, ended]))) as (inlet, _):
        with pytest.raises(StreamInterruptedError):
            async with inlet.stream(inquiry("openai", {**BODY, "n": 2}, reason="it asks for two")) as stream:
                async for _event in stream:
                    pass


def _chunks(*deltas: dict[str, Any], finish: str) -> list[bytes]:
    """Make a stream of pieces."""
    choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": finish})
    told = [json.dumps({"model": "a-model", "choices": [choice]}).encode() for choice in choices]
    return [b"data: %b\n\n" % chunk for chunk in (*told, b"[DONE]")]


def _events(*blocks: dict[str, Any], stop: str) -> list[bytes]:
    """Make a stream of blocks that come whole."""
    told: list[dict[str, Any]] = [{"type": "message_start", "message": {"model": "a-model"}}]
    for index, block in enumerate(blocks):
        told.append({"type": "content_block_start", "index": index, "content_block": block})
        told.append({"type": "content_block_stop", "index": index})
    told += [{"type": "message_delta", "delta": {"stop_reason": stop}}, {"type": "message_stop"}]
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in told]


CALL = {"name": "add", "arguments": "{}"}
SOUND = {"id": "a", "data": "AAAA", "transcript": "Goethe."}
PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{'A' * LARGEST_PRELUDE}"}}
CUSTOM = {"index": 0, "id": "c1", "type": "custom", "custom": {"name": "run", "input": "1+1"}}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "Faust"}}

FOREIGN: list[tuple[str, dict[str, Any], list[bytes]]] = [
    *(
        (
            "openai",
            {"choices": [{"index": 0, "message": {"content": None, **message}, "finish_reason": finish}]},
            _chunks({"role": "assistant", "content": None}, message, finish=finish),
        )
        for message, finish in (
            ({"function_call": CALL}, "function_call"),
            ({"audio": SOUND}, "stop"),
            ({"images": [PICTURE]}, "stop"),
            ({"tool_calls": [CUSTOM]}, "tool_calls"),
        )
    ),
    ("anthropic", {"content": [SEARCH], "stop_reason": "pause_turn"}, _events(SEARCH, stop="pause_turn")),
]


@pytest.mark.parametrize(("wire", "answer", "events"), FOREIGN)
async def test_what_has_no_neutral_form_is_an_answer(wire: Any, answer: dict[str, Any], events: list[bytes]) -> None:
    """An older form of call, sound, a picture, what a hosted tool does: whole or not, whoever asked for it gets it."""
    body = json.dumps(answer).encode()
    async with opened((wire, Script.always(Status(200, body=body)))) as (agent, _, _):
        assert (await Inlet(agent).complete(inquiry(wire, reason="it asks for more"))).raw == body
    async with playing(wire, Played(wire, framed(events))) as (inlet, _):
        came = b""
        async with inlet.stream(inquiry(wire, reason="it asks for more", wants_usage=True)) as stream:
            async for event in stream:
                came += cast("Any", event).data if not isinstance(event, Finished) else b""
        assert SSEDecoder().feed(came) == SSEDecoder().feed(b"".join(events))


@pytest.mark.parametrize(("wire", "answer", "events"), FOREIGN)
async def test_what_has_no_neutral_form_is_content(wire: Any, answer: dict[str, Any], events: list[bytes]) -> None:
    """It is handed out when it has come, not when the answer is whole."""
    play = Played(wire, [head(), *map(chunk, events[:-2])], close)
    async with playing(wire, play) as (inlet, _):
        came = b""
        with pytest.raises(StreamInterruptedError):
            async with inlet.stream(inquiry(wire, reason="it asks for more")) as stream:
                async for event in stream:
                    came += cast("Any", event).data
        assert b"a-model" in came


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
async def test_nothing_at_all_is_no_answer(wire: Any) -> None:
    """An answer that is empty for everybody is handed over, as it is where it is not given on."""
    events = _chunks({"content": ""}, finish="stop") if wire == "openai" else _events(stop="end_turn")
    async with playing(wire, Played(wire, framed(events))) as (inlet, _):
        with pytest.raises(ResponseMalformedError):
            async with inlet.stream(inquiry(wire)):
                pass


def said_nothing(wire: str, size: int, number: int = 0) -> bytes:
    """An event of so many bytes that is no content; no two numbers give the same."""
    told = b'{"type":"ping","choices":[],"number":%d,"pad":"%%b"}' % number
    event = (b"event: ping\n" if wire == "anthropic" else b"") + b"data: %b\n\n" % told
    return event % (b"x" * (size - len(event) + 2))


@pytest.mark.parametrize("is_relayed", [False, True])
@pytest.mark.parametrize("wire", ["openai", "anthropic"])
async def test_what_comes_before_content_is_bounded(wire: Any, is_relayed: bool) -> None:
    """64 KiB of signs of life are heard out, and the answer is that provider's; with a byte more it is the next one's.

    Their number matters as little as how the bytes are cut up; those that follow content are not counted.
    """
    begun = beginning(wire)
    room = LARGEST_PRELUDE - sum(map(len, begun))
    for beyond in (0, 1):
        signs = [said_nothing(wire, 1000, number) for number in range(60)]
        signs.append(said_nothing(wire, room - 60_000 + beyond, 60))
        told = [*begun, *signs, said(wire, "Goe"), *signs, said(wire, "the."), *ending(wire)]
        async with (
            listening(Played(wire, framed([b"".join(told)]))) as place,
            beside(place, wire, wire) as (agent, _, its),
        ):
            body = {**BODY, "stream": True}
            stream = Inlet(agent).stream(inquiry(wire, body)) if is_relayed else agent.stream("Who wrote Faust?")
            async with stream:
                async for _event in stream:
                    pass
            response = stream.response
            assert response.is_fallback is bool(beyond)
            assert len(its[0].log) == beyond
            if beyond:
                assert response.attempts[0].verdict is Verdict.MALFORMED
                assert "more than 65536 bytes before its first content" in response.attempts[0].reason
            else:
                assert response.text == "Goethe."


@pytest.mark.parametrize("is_relayed", [False, True])
@pytest.mark.parametrize("wire", ["openai", "anthropic"])
async def test_the_same_sign_of_life_is_one(wire: Any, is_relayed: bool) -> None:
    """However often a server says that it still thinks: it costs no room, and a client is told once."""
    sign = said_nothing(wire, 1000)
    told = [*beginning(wire), *[sign] * 100, said(wire, "Goethe."), *[sign] * 3, *ending(wire)]
    async with playing(wire, Played(wire, framed(told))) as (inlet, supervisor):
        agent, came = supervisor.agent("deriver"), b""
        stream = inlet.stream(inquiry(wire)) if is_relayed else agent.stream("Who wrote Faust?")
        async with stream:
            async for event in stream:
                came += cast("Any", event).data if is_relayed and not isinstance(event, Finished) else b""
        assert stream.response.text == "Goethe."
        assert came.count(b'"number":0') == (4 if is_relayed else 0)


PROOF = "c2ln" * 50_000

PROVEN: list[tuple[str, list[bytes]]] = [
    (
        "anthropic",
        _events({"type": "redacted_thinking", "data": PROOF}, {"type": "text", "text": "Goethe."}, stop="end_turn"),
    ),
    (
        "anthropic",
        [
            *_events({"type": "thinking", "thinking": "", "signature": ""}, stop="end_turn")[:2],
            b'data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"%b"}}\n\n'
            % PROOF.encode(),
            b'data: {"type":"content_block_stop","index":0}\n\n',
            *_events({"type": "x"}, {"type": "text", "text": "Goethe."}, stop="end_turn")[3:],
        ],
    ),
    (
        "openai",
        _chunks(
            {"reasoning_details": [{"type": "reasoning.encrypted", "data": PROOF, "index": 0}]},
            {"content": "Goethe."},
            finish="stop",
        ),
    ),
]


@pytest.mark.parametrize("is_relayed", [False, True])
@pytest.mark.parametrize(("wire", "events"), PROVEN, ids=["redacted", "signed", "encrypted"])
async def test_thinking_that_only_its_issuer_can_read_has_no_bound(
    wire: Any, events: list[bytes], is_relayed: bool
) -> None:
    """It is part of the answer, however long it is, though nothing of it can be shown."""
    async with playing(wire, Played(wire, framed(events))) as (inlet, supervisor):
        agent = supervisor.agent("deriver")
        async with inlet.stream(inquiry(wire)) if is_relayed else agent.stream("Who wrote Faust?") as stream:
            async for _event in stream:
                pass
        assert stream.response.text == "Goethe."
        assert [block for block in stream.response.blocks if isinstance(block, Reasoning)]
