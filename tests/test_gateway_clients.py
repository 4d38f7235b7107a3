"""The gateway as the vendors' own SDKs meet it: in process and over HTTP, whichever wire the provider speaks."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import anyio
import openai
import pytest
from pydantic import BaseModel

from understudy.simulation import Answer, Breaks, Hang, Script, Status

from .gateways import WAYS, Way, door

pytestmark = [
    *(pytest.mark.anyio, pytest.mark.sockets, pytest.mark.usefixtures("few_certificates")),
    pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning"),  # the SDKs leave theirs, on trio
]

WELL = Script.always(Answer("Johann Wolfgang von Goethe."))
DOWN = Script.always(Status(503))
QUESTION: Any = [{"role": "user", "content": "Who wrote Faust?"}]
WIRES = ("openai", "anthropic")

ways = pytest.mark.parametrize("way", WAYS)
wires = pytest.mark.parametrize("wire", WIRES)


class Facts(BaseModel):
    """An answer in a shape."""

    name: str
    born: int


@ways
@wires
async def test_a_chat(way: Way, wire: str) -> None:
    """Text, model, usage and reason to end, whoever answers."""
    async with door(way, (wire, WELL)) as at:
        chat = await at.openai.chat.completions.create(model="deriver", messages=QUESTION, max_tokens=100)
        assert chat.choices[0].message.content == "Johann Wolfgang von Goethe."
        assert (chat.choices[0].finish_reason, chat.model) == ("stop", f"{wire}-model")
        assert chat.usage is not None
        assert chat.usage.completion_tokens > 0
        message = await at.anthropic.messages.create(model="deriver", messages=QUESTION, max_tokens=100)
        (block,) = message.content
        assert block.type == "text"
        assert (block.text, message.stop_reason, message.model) == (
            "Johann Wolfgang von Goethe.",
            "end_turn",
            f"{wire}-model",
        )
        assert message.usage.output_tokens > 0
        response = await at.openai.responses.create(model="deriver", input="Who wrote Faust?")
        assert (response.output_text, response.status) == ("Johann Wolfgang von Goethe.", "completed")
        assert response.usage is not None
        assert response.usage.output_tokens > 0


@ways
@wires
async def test_a_stream(way: Way, wire: str) -> None:
    """Piece by piece, with the usage where it is asked for, and the end."""
    async with door(way, (wire, WELL)) as at:
        text, usage, last = "", None, None
        async with await at.openai.chat.completions.create(
            model="deriver", messages=QUESTION, stream=True, stream_options={"include_usage": True}
        ) as stream:
            async for chunk in stream:
                usage = chunk.usage or usage
                if chunk.choices:
                    text += chunk.choices[0].delta.content or ""
                    last = chunk.choices[0].finish_reason or last
        assert (text, last) == ("Johann Wolfgang von Goethe.", "stop")
        assert usage is not None
        async with at.anthropic.messages.stream(model="deriver", messages=QUESTION, max_tokens=100) as told:
            pieces = [piece async for piece in told.text_stream]
            final = await told.get_final_message()
        assert len(pieces) > 1
        assert "".join(pieces) == "Johann Wolfgang von Goethe."
        assert (final.stop_reason, final.usage.output_tokens > 0) == ("end_turn", True)
        async with at.openai.responses.stream(model="deriver", input="Who wrote Faust?") as events:
            kinds = [event.type async for event in events]
            assert (await events.get_final_response()).output_text == "Johann Wolfgang von Goethe."
        assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")


@ways
@wires
@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
async def test_tools_of_openais(way: Way, wire: str, streams: bool) -> None:
    """The model asks for a tool, is told what came of it, and answers."""
    schema = {"type": "object", "properties": {"of": {"type": "string"}}, "required": ["of"]}
    tools: Any = [
        {"type": "function", "function": {"name": "look", "description": "Look it up.", "parameters": schema}}
    ]
    async with door(way, (wire, Script.always(Answer(None, rounds=1)))) as at:
        messages = list(QUESTION)
        if streams:
            async with at.openai.chat.completions.stream(model="deriver", messages=messages, tools=tools) as stream:
                async for _ in stream:
                    pass
                chat: Any = await stream.get_final_completion()
        else:
            chat = await at.openai.chat.completions.create(model="deriver", messages=messages, tools=tools)
        choice = chat.choices[0]
        assert choice.finish_reason == "tool_calls"
        (call,) = choice.message.tool_calls
        assert (call.function.name, json.loads(call.function.arguments)) == ("look", {"of": "Who wrote Faust?"})
        messages += [choice.message, {"role": "tool", "tool_call_id": call.id, "content": "Goethe"}]
        answer = await at.openai.chat.completions.create(model="deriver", messages=messages, tools=tools)
        assert answer.choices[0].message.content == "Who wrote Faust?\nGoethe"


@ways
@wires
@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
async def test_tools_of_anthropics(way: Way, wire: str, streams: bool) -> None:
    """The same in the other dialect."""
    schema: Any = {"type": "object", "properties": {"of": {"type": "string"}}, "required": ["of"]}
    tools: Any = [{"name": "look", "description": "Look it up.", "input_schema": schema}]
    async with door(way, (wire, Script.always(Answer(None, rounds=1)))) as at:
        asked: Any = {"model": "deriver", "max_tokens": 100, "tools": tools}
        if streams:
            async with at.anthropic.messages.stream(messages=QUESTION, **asked) as stream:
                message: Any = await stream.get_final_message()
        else:
            message = await at.anthropic.messages.create(messages=QUESTION, **asked)
        assert message.stop_reason == "tool_use"
        (call,) = [block for block in message.content if block.type == "tool_use"]
        assert (call.name, call.input) == ("look", {"of": "Who wrote Faust?"})
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "Goethe"}
        turns = [{"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
        conversation: Any = [*QUESTION, *turns]
        answer: Any = await at.anthropic.messages.create(messages=conversation, **asked)
        assert answer.content[0].text == "Who wrote Faust?\nGoethe"


@ways
@wires
async def test_structured_output(way: Way, wire: str) -> None:
    """An answer in a shape, by either SDK's own way."""
    said = Script.always(Answer('{"name": "Goethe", "born": 1749}'))
    async with door(way, (wire, said)) as at:
        parsed = await at.openai.chat.completions.parse(model="deriver", messages=QUESTION, response_format=Facts)
        assert parsed.choices[0].message.parsed == Facts(name="Goethe", born=1749)
        message = await at.anthropic.messages.parse(
            model="deriver", messages=QUESTION, max_tokens=100, output_format=Facts
        )
        assert message.parsed_output == Facts(name="Goethe", born=1749)
        response = await at.openai.responses.parse(model="deriver", input="Who wrote Faust?", text_format=Facts)
        assert response.output_parsed == Facts(name="Goethe", born=1749)


@ways
@wires
@pytest.mark.parametrize("other", WIRES)
async def test_a_hand_over_is_not_seen(way: Way, wire: str, other: str) -> None:
    """The primary is down: whole answers and streams come from the fallback, and headers say so."""
    async with door(way, (wire, DOWN), (other, WELL)) as at:
        raw = await at.openai.chat.completions.with_raw_response.create(model="deriver", messages=QUESTION)
        assert raw.parse().choices[0].message.content == "Johann Wolfgang von Goethe."
        told = {
            name: raw.headers[f"x-understudy-{name}"]
            for name in ("agent", "transport", "model", "attempts", "fallback")
        }
        assert told == {
            **{"agent": "deriver", "transport": other, "model": f"{other}-model", "attempts": "2"},
            "fallback": "true",
        }
        async with at.anthropic.messages.stream(model="deriver", messages=QUESTION, max_tokens=100) as stream:
            assert await stream.get_final_text() == "Johann Wolfgang von Goethe."
            assert stream.response.headers["x-understudy-fallback"] == "true"


ERRORS: list[tuple[int, type[openai.APIStatusError], type[anthropic.APIStatusError]]] = [
    (400, openai.BadRequestError, anthropic.BadRequestError),
    (401, openai.AuthenticationError, anthropic.AuthenticationError),
    (403, openai.PermissionDeniedError, anthropic.PermissionDeniedError),
    (404, openai.NotFoundError, anthropic.NotFoundError),
    (429, openai.RateLimitError, anthropic.RateLimitError),
    (500, openai.InternalServerError, anthropic.InternalServerError),
    (503, openai.InternalServerError, anthropic.ServiceUnavailableError),
]


@ways
@wires
@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("status", "first", "second"), ERRORS, ids=[str(row[0]) for row in ERRORS])
async def test_errors(way: Way, wire: str, streams: bool, status: int, first: Any, second: Any) -> None:
    """What a lone provider refuses with is raised as the SDK's own error, in its own shape, streamed or not."""
    async with door(way, (wire, Script.always(Status(status, headers={"retry-after": "7"}))), retry_attempts=1) as at:
        with pytest.raises(first) as caught:
            await at.openai.chat.completions.create(model="deriver", messages=QUESTION, stream=streams)
        assert caught.value.body["message"]
        assert caught.value.response.headers["x-understudy-agent"] == "deriver"
    async with door(way, (wire, Script.always(Status(status, headers={"retry-after": "7"}))), retry_attempts=1) as at:
        with pytest.raises(second) as told:
            await at.anthropic.messages.create(model="deriver", messages=QUESTION, max_tokens=9, stream=streams)
        assert told.value.body["type"] == "error"
        if status in {429, 503}:
            assert told.value.response.headers["retry-after"] == "7"


@ways
async def test_mistakes_of_a_client(way: Way) -> None:
    """An unknown model is a 404 that names those there are; a field that is wrong, or not theirs to choose, a 400."""
    async with door(way, ("openai", WELL)) as at:
        with pytest.raises(openai.NotFoundError, match="deriver"):
            await at.openai.chat.completions.create(model="nobody", messages=QUESTION)
        with pytest.raises(anthropic.NotFoundError, match="deriver"):
            await at.anthropic.messages.create(model="nobody", messages=QUESTION, max_tokens=9)
        with pytest.raises(openai.BadRequestError, match="api_base"):
            await at.openai.chat.completions.create(
                model="deriver", messages=QUESTION, extra_body={"api_base": "http://evil.test"}
            )
        assert not at.servers[0].received
    async with door(way, ("anthropic", WELL)) as at:  # who speaks the client's wire says so himself
        with pytest.raises(openai.BadRequestError, match="max_tokens"):
            await at.openai.chat.completions.create(model="deriver", messages=QUESTION, max_tokens="many")  # type: ignore[call-overload] # on purpose
        assert not at.servers[0].received


@ways
@wires
@pytest.mark.parametrize("thread", [{"type": "create"}, {"type": "continue", "previous_message_id": "msg_1"}], ids=str)
async def test_a_thread_is_refused_in_the_vendors_words(way: Way, wire: str, thread: Any) -> None:
    """What one provider keeps is lost to the next one: nobody is asked, and the SDK reads that it has to do without."""
    async with door(way, (wire, WELL)) as at:
        with pytest.raises(anthropic.BadRequestError, match="whole conversation") as caught:
            await at.anthropic.messages.create(
                model="deriver", messages=QUESTION, max_tokens=9, extra_body={"thread": thread}
            )
        body: Any = caught.value.body
        assert body["error"]["details"] == {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
        assert not at.servers[0].received
        await at.anthropic.messages.create(
            model="deriver", messages=QUESTION, max_tokens=9, extra_body={"thread": None}
        )


@ways
@wires
async def test_an_interruption_is_an_error(way: Way, wire: str) -> None:
    """After the first content there is an error of the SDK's own, and never an end that looks whole."""
    cut = Script.always(Breaks(Answer("Johann Wolfgang von Goethe."), after=2))
    async with door(way, (wire, cut), ("openai", WELL)) as at:
        text = ""
        with pytest.raises(openai.APIError, match="cut off"):
            async with await at.openai.chat.completions.create(
                model="deriver", messages=QUESTION, stream=True
            ) as chunks:
                async for chunk in chunks:
                    text += chunk.choices[0].delta.content or ""
        assert text == "Johann Wolfgang "
        with pytest.raises(anthropic.APIStatusError, match="cut off"):
            async with at.anthropic.messages.stream(model="deriver", messages=QUESTION, max_tokens=9) as stream:
                await stream.get_final_message()


@ways
@wires
@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
async def test_a_client_that_leaves(way: Way, wire: str, streams: bool) -> None:
    """Its request ends upstream within a second, and nobody is blamed."""
    script = Script.always(Answer("one two three four", every=30) if streams else Hang())
    async with door(way, (wire, script)) as at:
        with anyio.move_on_after(2) as leaving:
            chat: Any = await at.openai.chat.completions.create(model="deriver", messages=QUESTION, stream=streams)
            async with chat:
                async for _ in chat:
                    pass
        assert leaving.cancelled_caught
        with anyio.fail_after(1):
            while at.servers[0].in_flight or not at.servers[0].left:  # noqa: ASYNC110 - it happens on the other side of a socket
                await anyio.sleep(0.05)
        health = next(iter(at.supervisor.health().values()))
        assert (health.in_flight, health.failed) == (0, 0)


@ways
async def test_a_client_may_shorten_the_time(way: Way) -> None:
    """The header `x-understudy-timeout` ends a request early, and is never longer than what is configured."""
    async with door(way, ("openai", Script.always(Hang())), total_timeout=5) as at:
        for seconds, expected in (("2", 2), ("60", 5)):
            begun = anyio.current_time()
            with pytest.raises(openai.InternalServerError) as caught:
                await at.openai.chat.completions.create(
                    model="deriver", messages=QUESTION, extra_headers={"x-understudy-timeout": seconds}
                )
            assert caught.value.status_code == 504
            assert anyio.current_time() - begun == pytest.approx(expected, abs=0.3)
        with pytest.raises(openai.BadRequestError, match="x-understudy-timeout"):
            await at.openai.chat.completions.create(
                model="deriver", messages=QUESTION, extra_headers={"x-understudy-timeout": "soon"}
            )


@ways
async def test_tokens_are_counted(way: Way) -> None:
    """As Anthropic's SDK asks for it."""
    async with door(way, ("anthropic", WELL)) as at:
        count = await at.anthropic.messages.count_tokens(model="deriver", messages=QUESTION)
        assert count.input_tokens == 3


@ways
async def test_models(way: Way) -> None:
    """Agents are what a client calls models, in the shape that its SDK reads."""
    async with door(way, ("openai", WELL)) as at:
        assert [model.id async for model in at.openai.models.list()] == ["deriver"]
        assert (await at.openai.models.retrieve("deriver")).id == "deriver"
        assert [model.id async for model in at.anthropic.models.list()] == ["deriver"]
        assert (await at.anthropic.models.retrieve("deriver")).id == "deriver"
        with pytest.raises(openai.NotFoundError):
            await at.openai.models.retrieve("nobody")


async def test_aliases() -> None:
    """Tools that insist on vendors' names call agents by them."""
    async with door("over HTTP", ("openai", WELL), aliases={"gpt-5": "deriver"}) as at:
        chat = await at.openai.chat.completions.create(model="gpt-5", messages=QUESTION)
        assert chat.choices[0].message.content == "Johann Wolfgang von Goethe."
        assert [model.id async for model in at.openai.models.list()] == ["deriver", "gpt-5"]


async def test_an_alias_of_any_name_is_told_of() -> None:
    """A client looks a model up by the name that it asks by: percent-encoded in its address, and whatever its case."""
    aliases = {"openai/gpt-5": "deriver", "modèle 大": "deriver"}
    async with door("over HTTP", ("openai", WELL), aliases=aliases) as at:
        for alias in aliases:
            assert (await at.openai.models.retrieve(alias)).id == alias
            assert (await at.anthropic.models.retrieve(alias.upper())).id == alias


@ways
async def test_a_model_of_any_name_answers(way: Way) -> None:
    """A name that no header can hold as it is stands there percent-encoded; whole or in a stream, the answer comes."""
    async with door(way, ("openai", WELL), route={"model": "modèle\n大 50%"}) as at:
        for client in (at.openai.chat.completions, at.anthropic.messages):
            for streams in (False, True):
                answer = await client.with_raw_response.create(
                    model="deriver", max_tokens=100, messages=QUESTION, stream=streams
                )
                assert answer.headers["x-understudy-model"] == "mod%C3%A8le%0A%E5%A4%A7 50%"
                await answer.http_response.aread()
