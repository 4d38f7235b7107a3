"""The simulation itself: scripts as tables, and servers as another HTTP library and the SDKs' own types see them."""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import math
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import anthropic.types
import anyio
import anyio.lowlevel
import httpx
import openai
import openai.types.chat
import pytest

from understudy.providers import AccessRefusedError, Request, Target, user
from understudy.providers._settled import settle_client
from understudy.simulation import (
    Answer,
    Behaviour,
    Breaks,
    Hang,
    Phase,
    Refused,
    Reset,
    Script,
    SimulatedServer,
    Status,
    World,
    simulated_server,
)
from understudy.simulation._model import Asked, say

OUTAGE = Script((Phase(Status(503), since=10, until=20), Phase(Hang(), model="slow", calls=2)), Answer("well"))


@pytest.mark.parametrize(
    ("model", "at", "used", "expected"),
    [
        ("fast", 0, (0, 0), (Answer("well"), None)),
        ("fast", 9.99, (0, 0), (Answer("well"), None)),
        ("fast", 10, (0, 0), (Status(503), 0)),
        ("slow", 15, (0, 0), (Status(503), 0)),
        ("fast", 20, (0, 0), (Answer("well"), None)),
        ("slow", 20, (0, 1), (Hang(), 1)),
        ("slow", 20, (0, 2), (Answer("well"), None)),
    ],
)
def test_the_first_phase_that_fits_decides(
    model: str, at: float, used: tuple[int, int], expected: tuple[Behaviour, int | None]
) -> None:
    """Phases are bounded by time (end excluded), by model and by number of calls, in order of precedence."""
    assert OUTAGE.choose(model, at, used) == expected


def test_a_script_knows_when_it_changes() -> None:
    """The next edge of a phase after an instant; infinity after the last one."""
    assert [OUTAGE.next_change(at) for at in (0, 10, 20)] == [10, 20, math.inf]


@pytest.mark.parametrize(
    ("draw", "behaviour"), [(0.0, Status(503)), (0.29, Status(503)), (0.3, Answer()), (0.9, Answer())]
)
def test_a_phase_may_be_for_a_share_only(draw: float, behaviour: Behaviour) -> None:
    """What is drawn decides, anew for each phase; who is not of the share is as if there were no phase."""
    script = Script((Phase(Status(503), share=0.3), Phase(Hang(), since=5, share=0.1)))
    draws = iter([draw, 0.5])
    assert script.choose("a", 9, (0, 0), lambda: next(draws))[0] == behaviour


@pytest.mark.parametrize("share", [0.0, -0.5, 1.1])
def test_a_share_is_a_part(share: float) -> None:
    """Nothing, and more than all, is no share."""
    with pytest.raises(ValueError, match="a share is above 0 and at most 1"):
        Phase(Hang(), share=share)


@pytest.mark.parametrize("more", [{"model": "a"}, {"calls": 1}, {"share": 0.5}])
def test_nobody_refuses_one_model_only(more: dict[str, object]) -> None:
    """A refused connection has seen neither model nor call: such a phase is refused when it is made."""
    with pytest.raises(ValueError, match="whole server"):
        Phase(Refused(), **more)  # type: ignore[arg-type]


def test_a_phase_ends_after_it_begins() -> None:
    """A phase that could never fit is a mistake."""
    with pytest.raises(ValueError, match="since < until"):
        Phase(Hang(), since=5, until=5)


BODY = {"model": "a-model", "messages": [{"role": "user", "content": "one two three"}]}


def failing(monkeypatch: pytest.MonkeyPatch, number: int, *, until: float) -> None:
    """Let every listener fail to accept until that instant, each as its backend does."""
    create = anyio.create_tcp_listener

    async def listen(**options: Any) -> Any:
        made: Any = await create(**options)
        (listener,) = made.listeners
        accept = listener.accept

        async def try_to_accept() -> Any:
            if anyio.current_time() >= until:
                return await accept()
            await anyio.lowlevel.checkpoint()
            error = OSError(number, os.strerror(number))
            if anyio.get_cancelled_exc_class() is asyncio.CancelledError:
                raise error
            raise anyio.BrokenResourceError from error

        monkeypatch.setattr(listener, "accept", try_to_accept)
        return made

    monkeypatch.setattr("anyio.create_tcp_listener", listen)


@pytest.mark.anyio
@pytest.mark.sockets
class TestServer:
    """A simulated server, asked by an HTTP library that it was not written for."""

    async def test_both_wires_answer_in_their_own_shape(self) -> None:
        """The SDKs' own types take the answers, and the server remembers what it was asked."""
        async with simulated_server() as server, httpx.AsyncClient() as client:
            chat = await client.post(f"{server.openai_url}/chat/completions", json=BODY)
            message = await client.post(f"{server.anthropic_url}/v1/messages?beta=true", json=BODY)
        completion = openai.types.chat.ChatCompletion.model_validate(chat.json(), strict=True)
        assert completion.choices[0].message.content == "Hello."
        answer = anthropic.types.Message.model_validate(message.json())
        assert answer.content[0].type == "text"
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == (3, 1)
        assert [received.path for received in server.received] == ["/v1/chat/completions", "/v1/messages?beta=true"]
        assert [received.body for received in server.received] == [BODY, BODY]
        assert [call.model for call in server.log] == ["a-model", "a-model"]

    @pytest.mark.parametrize("status", [400, 401, 404, 418, 429, 500, 503, 529])
    async def test_errors_have_the_vendors_shape(self, status: int) -> None:
        """An error object of either vendor, whatever the status."""
        async with simulated_server(Script.always(Status(status))) as server, httpx.AsyncClient() as client:
            chat = await client.post(f"{server.openai_url}/chat/completions", json=BODY)
            message = await client.post(f"{server.anthropic_url}/v1/messages", json=BODY)
        assert (chat.status_code, message.status_code) == (status, status)
        assert set(chat.json()["error"]) == {"message", "type", "param", "code"}
        assert message.json()["type"] == "error"
        assert set(message.json()["error"]) == {"message", "type"}

    @pytest.mark.parametrize("status", [204, 304])
    async def test_a_status_without_a_body_has_none(self, status: int) -> None:
        """Proxies send such, too; the connection goes on."""
        async with simulated_server(Script.always(Status(status))) as server, httpx.AsyncClient() as client:
            for _ in range(2):
                chat = await client.post(f"{server.openai_url}/chat/completions", json=BODY)
                assert (chat.status_code, chat.content) == (status, b"")
            assert server.accepted == 1

    async def test_a_path_that_is_no_wire_is_not_found(self) -> None:
        """What no vendor serves is a 404, not a hang."""
        async with simulated_server() as server, httpx.AsyncClient() as client:
            assert (await client.post(f"{server.openai_url}/embeddings", json=BODY)).status_code == 404

    @pytest.mark.parametrize(
        "body", [b"", b"not json", b"{}", b"[]", b"[" * 100_000, b'{"model": "m", "messages": []}']
    )
    async def test_a_request_that_is_none_is_refused(self, body: bytes) -> None:
        """What no vendor would take is a 400 for that client, and nothing for the others."""
        async with simulated_server() as server, httpx.AsyncClient() as client:
            for url in (f"{server.openai_url}/chat/completions", f"{server.anthropic_url}/v1/messages"):
                assert (await client.post(url, content=body)).status_code == 400
                assert (await client.post(url, json=BODY)).status_code == 200

    async def test_a_refusing_phase_closes_and_opens_the_port(self) -> None:
        """While it lasts nobody listens, and connections that were open are gone; after it the same port answers."""
        script = Script((Phase(Refused(), since=5, until=10),))
        async with simulated_server(script) as server, httpx.AsyncClient(timeout=None) as client:  # noqa: S113
            url = f"{server.openai_url}/chat/completions"
            assert (await client.post(url, json=BODY)).status_code == 200
            await anyio.sleep(6)
            assert server.connections == 0
            with pytest.raises(httpx.ConnectError):
                await client.post(url, json=BODY)
            await anyio.sleep(6)
            assert (await client.post(url, json=BODY)).status_code == 200

    @pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
    async def test_a_server_that_can_open_no_file_goes_on_when_it_can(
        self, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        """Whoever connects meanwhile waits, and is answered as soon as there is a file for the connection."""
        failing(monkeypatch, number, until=5)
        async with simulated_server() as server, httpx.AsyncClient(timeout=None) as client:  # noqa: S113
            assert (await client.post(f"{server.openai_url}/chat/completions", json=BODY)).status_code == 200
            assert anyio.current_time() == pytest.approx(5, abs=0.2)

    async def test_a_fault_that_no_waiting_mends_ends_the_server(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Only a lack of files and memory is waited for."""
        failing(monkeypatch, errno.ENOTSUP, until=5)
        with pytest.raises(ExceptionGroup):
            async with simulated_server():
                await anyio.sleep(4)

    async def test_a_reset_tears_the_connection_down(self) -> None:
        """The client gets no byte of an answer."""
        async with simulated_server(Script.always(Reset())) as server, httpx.AsyncClient() as client:
            with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
                await client.post(f"{server.openai_url}/chat/completions", json=BODY)

    async def test_an_exception_of_the_body_leaves_unwrapped(self) -> None:
        """What a test raises inside the block is what it gets."""
        with pytest.raises(ZeroDivisionError):
            async with simulated_server():
                raise ZeroDivisionError


TOOL_SCHEMA = {
    "type": "object",
    "properties": {"what": {"type": "string"}, "to": {"type": "integer"}, "deep": {"$ref": "#/$defs/Deep"}},
    "$defs": {"Deep": {"type": "object", "properties": {"is": {"type": "boolean"}, "of": {"enum": ["é", "f"]}}}},
}
CHAT_TOOLS: Any = [{"type": "function", "function": {"name": name, "parameters": TOOL_SCHEMA}} for name in ("a", "b")]
MESSAGE_TOOLS: Any = [{"name": name, "input_schema": TOOL_SCHEMA} for name in ("a", "b")]
ARGUMENTS = {"what": "one two three", "to": 1, "deep": {"is": True, "of": "é"}}
MESSAGES: Any = BODY["messages"]


@asynccontextmanager
async def chat(server: SimulatedServer) -> AsyncIterator[openai.AsyncOpenAI]:
    """The vendor's own client, asking a simulated server."""
    async with openai.AsyncOpenAI(base_url=server.openai_url, api_key="none", max_retries=0, timeout=None) as client:
        settle_client(client)
        yield client
        gc.collect()  # the generators that the client leaves on trio, before a test that does not forgive them


@asynccontextmanager
async def claude(server: SimulatedServer) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """The other vendor's."""
    async with anthropic.AsyncAnthropic(
        base_url=server.anthropic_url, api_key="none", max_retries=0, timeout=None
    ) as client:
        settle_client(client)
        yield client
        gc.collect()  # the generators that the client leaves on trio, before a test that does not forgive them


THOUGHTFUL = Script.always(Answer("four  five\nsix", thinking="let me see"))
WITH_TOOLS = Script.always(Answer(rounds=1))


@pytest.mark.anyio
@pytest.mark.sockets
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
class TestStreams:
    """What a simulated server streams, as the vendors' own clients read it."""

    async def test_a_chat_streams_its_answer(self) -> None:
        """Reasoning, text, finish reason, and usage because it was asked for; without, none is told."""
        async with simulated_server(THOUGHTFUL) as server, chat(server) as client:
            chunks = [
                chunk
                async for chunk in await client.chat.completions.create(
                    model="a-model", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
                )
            ]
            bare = [c async for c in await client.chat.completions.create(model="a", messages=MESSAGES, stream=True)]
            whole = await client.chat.completions.create(model="a-model", messages=MESSAGES)
        deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
        assert "".join(delta.content or "" for delta in deltas) == whole.choices[0].message.content
        assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == "let me see"
        assert len(deltas) == 1 + 3 + 3 + 1
        assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-2:] == [None, "stop"]
        assert (chunks[-1].choices, chunks[-1].usage) == ([], whole.usage)
        assert all(chunk.usage is None for chunk in bare)
        assert server.in_flight == server.left == 0

    async def test_a_chat_streams_tool_calls(self) -> None:
        """Their arguments come in fragments, and are those of the whole answer."""
        async with simulated_server(WITH_TOOLS) as server, chat(server) as client:
            async with client.chat.completions.stream(model="m", messages=MESSAGES, tools=CHAT_TOOLS) as stream:
                final = await stream.get_final_completion()
            whole = await client.chat.completions.create(model="m", messages=MESSAGES, tools=CHAT_TOOLS)
        assert final.choices[0].finish_reason == whole.choices[0].finish_reason == "tool_calls"
        calls: Any = final.choices[0].message.tool_calls
        assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == [
            ("a", ARGUMENTS),
            ("b", ARGUMENTS),
        ]
        expected: Any = whole.choices[0].message.tool_calls
        assert [(c.id, c.function.arguments) for c in calls] == [(c.id, c.function.arguments) for c in expected]

    @pytest.mark.parametrize("script", [THOUGHTFUL, WITH_TOOLS], ids=["thoughtful", "tools"])
    async def test_a_message_streams_what_it_is(self, script: Script) -> None:
        """The client accumulates the stream to the very message that it gets when it asks for it whole."""
        async with simulated_server(script) as server, claude(server) as client:
            async with client.messages.stream(
                model="m", max_tokens=9, messages=MESSAGES, tools=MESSAGE_TOOLS
            ) as stream:
                kinds = [event.type async for event in stream]
                final = await stream.get_final_message()
            whole = await client.messages.create(model="m", max_tokens=9, messages=MESSAGES, tools=MESSAGE_TOOLS)
        shown = {"id", "content", "stop_reason", "usage", "role", "model"}
        assert final.model_dump(include=shown) == whole.model_dump(include=shown)
        assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
        if script is WITH_TOOLS:
            assert [block.input for block in final.content if block.type == "tool_use"] == [ARGUMENTS, ARGUMENTS]

    async def test_results_come_back_in_the_answer(self) -> None:
        """On both wires: every result since the user's last text, a line each."""
        script = Script.always(Answer(None, rounds=1))
        asked = [{"role": "user", "content": "earlier"}, {"role": "assistant", "content": "yes"}, *MESSAGES]
        calls = [{"id": f"c{n}", "type": "function", "function": {"name": "a", "arguments": "{}"}} for n in (1, 2)]
        results = [{"role": "tool", "tool_call_id": f"c{n}", "content": f"result {n}"} for n in (1, 2)]
        uses = [{"type": "tool_use", "id": f"c{n}", "name": "a", "input": {}} for n in (1, 2)]
        parts = [{"type": "tool_result", "tool_use_id": f"c{n}", "content": f"result {n}"} for n in (1, 2)]
        chatted: Any = [*asked, {"role": "assistant", "content": None, "tool_calls": calls}, *results]
        turns: Any = [*asked, {"role": "assistant", "content": uses}, {"role": "user", "content": parts}]
        async with simulated_server(script) as server, chat(server) as one, claude(server) as other:
            said = await one.chat.completions.create(model="m", messages=chatted, tools=CHAT_TOOLS)
            told = await other.messages.create(model="m", max_tokens=9, messages=turns, tools=MESSAGE_TOOLS)
        assert said.choices[0].message.content == "one two three\nresult 1\nresult 2"
        assert [block.text for block in told.content if block.type == "text"] == [said.choices[0].message.content]

    async def test_errors_in_a_stream_have_the_vendors_shape(self) -> None:
        """Each client recognises its vendor's error event."""
        script = Script.always(Breaks(Answer("a b c"), 1, "error", "rate_limit_error"))
        async with simulated_server(script) as server, chat(server) as one, claude(server) as other:
            with pytest.raises(openai.APIError, match="simulated rate_limit_error") as caught:
                [c async for c in await one.chat.completions.create(model="m", messages=MESSAGES, stream=True)]
            with pytest.raises(anthropic.APIStatusError) as told:
                async with other.messages.stream(model="m", max_tokens=9, messages=MESSAGES) as stream:
                    [event async for event in stream]
        assert caught.value.type == "rate_limit_error"
        assert (told.value.status_code, told.value.type) == (200, "rate_limit_error")

    async def test_who_leaves_a_stream_is_seen_to_have_left(self) -> None:
        """The server stops in the middle of the answer."""
        async with simulated_server(Script.always(Answer("a b c", every=60))) as server:
            async with chat(server) as client:
                stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
                assert server.in_flight == 1
                await stream.close()
            await anyio.sleep(1)
            assert (server.in_flight, server.left, server.connections) == (0, 1, 0)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({}, "text"),
        ({"type": "number"}, 3),
        ({"type": "null"}, None),
        ({"const": 7}, 7),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 3),
        ({"type": "array", "items": {"type": "string"}}, ["text"]),
        ({"properties": {"a": {"type": "boolean"}}}, {"a": True}),
        ({"$ref": "#/$defs/List", "$defs": {"List": {"type": "array", "items": {"$ref": "#/$defs/List"}}}}, [[[[]]]]),
    ],
)
def test_arguments_are_made_up_after_the_schema(schema: dict[str, Any], value: object) -> None:
    """Whatever a schema wants, there is a value."""
    tools = {"a": {"type": "object", "properties": {"it": schema}, "$defs": schema.get("$defs", {})}}
    said = say(Answer(rounds=3), Asked("text", ("one", "two"), 2, 2, tools), "openai")
    assert json.loads(said.calls[0].arguments) == {"it": value}


def test_a_schema_that_holds_itself_has_an_end() -> None:
    """Even one that no finite value fits."""
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}
    said = say(Answer(rounds=1), Asked("text", (), 0, 0, {"a": {**node, "$defs": {"Node": node}}}), "openai")
    assert said.calls[0].arguments.count("next") < 20


def test_a_tool_insisted_on_by_name_gets_the_text() -> None:
    """A script says what a model that must answer by a tool puts into it."""
    asked = Asked("text", (), 0, 0, {"a": {"type": "object", "properties": {}}, "b": {}}, "a")
    assert [call.arguments for call in say(Answer('{"x": 1}'), asked, "openai").calls] == ['{"x": 1}']
    assert [call.arguments for call in say(Answer("[1]"), asked, "anthropic").calls] == ["{}"]
    assert [call.arguments for call in say(Answer("x"), asked, "anthropic").calls] == ["{}"]


def test_scripts_that_cannot_be_played_are_refused() -> None:
    """A round without calls, and a way to break off that there is not."""
    with pytest.raises(ValueError, match="at least one call"):
        Answer(calls=0)
    with pytest.raises(ValueError, match="one of these ways: reset"):
        Breaks(Answer(), how="slowly")  # type: ignore[arg-type]


@pytest.mark.anyio
async def test_a_world_has_scripts_by_transport_and_by_address() -> None:
    """A script for one base URL goes before the one for its transport; what has none answers."""
    world = World({"openai": Script(), "http://two.test": Script.always(Answer("two"))})
    for url in ("http://one.test", "http://two.test"):
        world.connect(Target("openai", url, None))
    world.connect(Target("nous", "http://three.test", None))
    assert len(world.providers) == 3
    assert [world.log(name) for name in ("openai", "http://two.test", "nous")] == [[], [], []]


@pytest.mark.anyio
async def test_a_scripted_provider_notes_the_keys_it_is_shown() -> None:
    """Keys share the script, the calls and the log of the provider; closing what shows one leaves it open."""
    world = World({"nous": Script.sequence(Status(401))})
    world.connect(Target("nous", "http://one.test", None, "nous"))
    (provider,) = world.providers
    first, second, request = provider.keyed("first"), provider.keyed("second"), Request("a", (user("hi"),))
    with pytest.raises(AccessRefusedError):
        await first.complete(request)
    await second.complete(request)
    upstream = await second.stream(request)
    assert provider.in_flight == 1
    await upstream.aclose()
    await first.aclose()
    assert (provider.open, provider.in_flight, provider.keys) == (True, 0, ["first", "second", "second"])
    assert len(world.log("nous")) == 3


@pytest.mark.anyio
async def test_a_script_that_would_never_be_played_is_refused() -> None:
    """A misspelt transport would answer "Hello." in a test of its outage; whose log is asked for has to be there."""
    with pytest.raises(ValueError, match=r"'opnai' is no transport \(.*\); did you mean 'openai'\?"):
        World({"opnai": Script()})
    with pytest.raises(KeyError, match="'opnai' has neither a script nor a provider; known: openai"):
        World({"openai": Script()}).log("opnai")


class TestScripts:
    """What no provider could do is refused where it is written."""

    @pytest.mark.parametrize("wrong", ["x", None, 503, Answer, [Answer()]])
    def test_what_is_no_behaviour(self, wrong: Any) -> None:
        """Also as the last resort, and among several."""
        for make in (Script.always, Phase, lambda b: Script(otherwise=b), lambda b: Script.sequence(Answer(), b)):
            with pytest.raises(TypeError, match="does one of these: Answer"):
                make(wrong)

    def test_phases_are_a_tuple(self) -> None:
        """One phase in brackets is no tuple."""
        with pytest.raises(TypeError, match="tuple"):
            Script(Phase(Answer()))  # type: ignore[arg-type]

    @pytest.mark.anyio
    async def test_what_is_no_script(self) -> None:
        """A world and a server say so at once, and leave nothing open."""
        wrong: Any = Answer()
        with pytest.raises(TypeError, match="follows a Script"):
            World({"openai": wrong})
        with pytest.raises(TypeError, match="follows a Script"):
            async with simulated_server(wrong):
                pass
