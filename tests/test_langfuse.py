"""What arrives at Langfuse: one generation for each request, whatever it went through, at nobody's cost."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest
from langfuse import Langfuse
from langfuse._client.resource_manager import LangfuseResourceManager
from opentelemetry.sdk.trace import TracerProvider
from pydantic import SecretStr

from understudy import Message, Text, UnderstudyError, image, user
from understudy.simulation import Answer, Breaks, Hang, Script, Status
from understudy.supervisor import LangfuseAccess
from understudy.telemetry._langfuse import LangfuseTracer, open_langfuse
from understudy.telemetry._langfuse_client import OURS, QuietExporter, made

from .collector import Collector, Observation, collecting
from .scenario import opened
from .test_nous_login import ASK, scene

pytestmark = pytest.mark.anyio

NUMBERS = count()
SECRET = "sk-lf-canary-0123456789"
WELL = Script.always(Answer("Goethe.", after=0.5))
DOWN = Script.always(Status(503, after=0.25))


@dataclass
class Langfused:
    """A collector, and the settings that send traces to it."""

    collector: Collector
    key: str

    @property
    def settings(self) -> dict[str, Any]:
        """What is configured."""
        return {
            "langfuse_public_key": self.key,
            "langfuse_secret_key": SecretStr(SECRET),
            "langfuse_base_url": self.collector.url,
        }

    @property
    def seen(self) -> list[Observation]:
        """All that has arrived, once all is sent."""
        client_of(self.key).flush()
        return self.collector.observations

    def only(self) -> Observation:
        """Return the one that has arrived."""
        (found,) = self.seen
        return found


@pytest.fixture
def langfused() -> Iterator[Langfused]:
    """Collect, with a client of its own for each test: the SDK has one for each public key in a process."""
    with collecting() as collector:
        found = Langfused(collector, f"pk-lf-{next(NUMBERS)}")
        yield found
        forget(found.key)


def client_of(key: str) -> Langfuse:
    """Return the client of the process for a public key."""
    return Langfuse(public_key=key, secret_key=SECRET)


def forget(key: str) -> None:
    """Close the client for a public key, and let the process forget it."""
    made.pop(key, None)
    if key in LangfuseResourceManager._instances:
        client_of(key).shutdown()
        LangfuseResourceManager._instances.pop(key, None)


class TestRequests:
    """One generation each."""

    async def test_a_plain_call(self, langfused: Langfused) -> None:
        """Model, transport, parameters, content, tokens, and an attempt; no level, and nobody above it."""
        async with opened({"openai": WELL}, namespace="here", **langfused.settings) as (agent, _, _):
            await agent.complete("Who wrote Faust?", max_tokens=20, temperature=0.5, stop=["."])
        seen = langfused.only()
        assert (seen.name, seen.parent, seen.scope) == ("deriver", "", OURS)
        assert seen["type"] == "generation"
        assert seen["input"] == '[{"role":"user","content":"Who wrote Faust?"}]'
        assert seen["output"] == "Goethe."
        assert seen["model.name"] == "openai-model"
        assert seen["model.parameters"] == '{"max_tokens": 20, "temperature": 0.5, "stop": "."}'
        assert json.loads(seen["usage_details"]) == {
            "input": 3,
            "input_cached_tokens": 0,
            "output": 1,
            "output_reasoning_tokens": 0,
            "total": 4,
        }
        assert (seen["level"], seen["status_message"], seen["completion_start_time"]) == ("DEFAULT", None, None)
        assert seen.metadata == {
            "agent": "deriver",
            "transport": "openai",
            "is_fallback": False,
            "namespace": "here",
            "finish_reason": "stop",
            "request_id": "simulated",
            "passed_over": [],
            "attempts": [attempt(1, "openai", "ok", 200, 0.0, 0.5)],
        }

    async def test_what_its_caller_says_of_it(self, langfused: Langfused) -> None:
        """Name, user, session and tags stand where they are looked for, metadata beside ours, which counts."""
        said: dict[str, Any] = {"name": "summary", "user_id": "ünal", "session_id": "s1", "tags": ["a", "b"]}
        async with opened({"openai": WELL}, **langfused.settings) as (agent, _, _):
            await agent.complete("Who wrote Faust?", metadata={"shard": 7, "agent": "mine"}, **said)
        seen = langfused.only()
        assert seen.name == "summary"
        assert (seen.attributes["user.id"], seen.attributes["session.id"]) == ("ünal", "s1")
        assert seen.attributes["langfuse.trace.tags"] == ["a", "b"]
        assert (seen.metadata["shard"], seen.metadata["agent"]) == (7, "deriver")

    async def test_a_hand_over(self, langfused: Langfused) -> None:
        """One observation, of whoever answered, with what was tried before in its metadata, and a warning."""
        async with opened({"openai": DOWN, "anthropic": WELL}, **langfused.settings) as (agent, _, _):
            await agent.complete("Who wrote Faust?")
        seen = langfused.only()
        assert (seen["model.name"], seen.metadata["transport"]) == ("anthropic-model", "anthropic")
        assert (seen["level"], seen["status_message"]) == ("WARNING", "handed over: openai/openai-model overloaded")
        assert seen.metadata["is_fallback"] is True
        assert seen.metadata["attempts"] == [
            attempt(1, "openai", "overloaded", 503, 0.0, 0.25, reason="overloaded (HTTP 503): simulated 503"),
            attempt(2, "anthropic", "ok", 200, 0.25, 0.5),
        ]

    async def test_a_route_that_was_passed_over(self, langfused: Langfused) -> None:
        """An open circuit: nothing was tried there, and the message says so."""
        async with opened({"openai": DOWN, "anthropic": WELL}, **langfused.settings) as (agent, supervisor, _):
            supervisor.force_open("openai", reason="by hand")
            await agent.complete("Who wrote Faust?")
        seen = langfused.only()
        assert (seen["level"], seen["status_message"]) == ("WARNING", "handed over: openai/openai-model passed over")
        (passed,) = seen.metadata["passed_over"]
        assert (passed["transport"], passed["model"]) == ("openai", "openai-model")
        assert "by hand" in passed["reason"]

    async def test_all_attempts_failed(self, langfused: Langfused) -> None:
        """An error with its reason, the model that was asked last, no output and no tokens."""
        async with opened({"openai": DOWN, "anthropic": DOWN}, **langfused.settings) as (agent, _, _):
            with pytest.raises(UnderstudyError) as raised:
                await agent.complete("Who wrote Faust?")
        seen = langfused.only()
        assert seen["level"] == "ERROR"
        assert seen["status_message"] == f"AllAttemptsFailedError: {raised.value}"
        assert (seen["model.name"], seen["output"], seen["usage_details"]) == ("anthropic-model", None, None)
        assert [each["verdict"] for each in seen.metadata["attempts"]][:2] == ["overloaded", "overloaded"]

    async def test_a_cancelled_call(self, langfused: Langfused) -> None:
        """A warning; nobody's error."""
        async with opened({"openai": Script.always(Hang())}, **langfused.settings) as (agent, _, _):
            with anyio.move_on_after(3):
                await agent.complete("Who wrote Faust?")
        seen = langfused.only()
        assert (seen["level"], seen["status_message"]) == ("WARNING", "cancelled by its caller")
        assert seen["output"] is None

    async def test_a_repaired_answer(self, langfused: Langfused) -> None:
        """Two rounds are one request: one generation, with the tokens and the attempts of both."""
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
        script = Script.sequence(Answer("none"), otherwise=Answer('{"n": 1}'))
        async with opened({"openai": script}, **langfused.settings) as (agent, _, _):
            response = await agent.complete("How many?", response_model=schema)
        seen = langfused.only()
        assert response.parsed == {"n": 1}
        assert seen["output"] == '{"n": 1}'
        assert [each["number"] for each in seen.metadata["attempts"]] == [1, 2]
        assert f'"total": {response.usage.total_tokens}' in seen["usage_details"]
        assert seen["model.parameters"] == '{"shape": "answer"}'

    async def test_an_answer_that_is_not_what_it_has_to_be(self, langfused: Langfused) -> None:
        """What came is shown beside the error."""
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
        async with opened({"openai": WELL}, **langfused.settings) as (agent, _, _):
            with pytest.raises(UnderstudyError):
                await agent.complete("How many?", response_model=schema)
        seen = langfused.only()
        assert seen["level"] == "ERROR"
        assert seen["status_message"].startswith("ResponseInvalidError: ")
        assert seen["output"] == "Goethe."


class TestStreams:
    """One generation each, too."""

    async def test_a_stream(self, langfused: Langfused) -> None:
        """Its first content has a time, and its answer is whole."""
        script = Script.always(Answer("Johann Wolfgang von Goethe", after=1, every=0.5))
        async with opened({"openai": script}, **langfused.settings) as (agent, _, _):
            async with agent.stream("Who wrote Faust?") as stream:
                async for _ in stream:
                    pass
        seen = langfused.only()
        assert seen["output"] == "Johann Wolfgang von Goethe"
        (tried,) = seen.metadata["attempts"]
        assert (tried["first_token"], tried["duration"]) == (1.0, 2.5)
        assert seen["completion_start_time"] is not None

    async def test_a_stream_that_is_interrupted_and_restarted(self, langfused: Langfused) -> None:
        """One generation with the whole answer of the second route, and both attempts."""
        scripts = {"openai": Script.always(Breaks(Answer("one two three", every=0.5), 2, "reset")), "anthropic": WELL}
        async with opened(scripts, **langfused.settings) as (agent, _, _):
            async with agent.stream("Who wrote Faust?", on_interrupt="restart") as stream:
                async for _ in stream:
                    pass
        seen = langfused.only()
        assert (seen["output"], seen["model.name"]) == ("Goethe.", "anthropic-model")
        assert [(each["transport"], each["verdict"]) for each in seen.metadata["attempts"]] == [
            ("openai", "provider"),
            ("anthropic", "ok"),
        ]
        assert seen["level"] == "WARNING"

    async def test_a_stream_that_is_cut_off(self, langfused: Langfused) -> None:
        """An error, and what had come of the answer."""
        scripts = {"openai": Script.always(Breaks(Answer("one two three", every=0.5), 2, "reset"))}
        async with opened(scripts, **langfused.settings) as (agent, _, _):
            with pytest.raises(UnderstudyError):
                async with agent.stream("Who wrote Faust?") as stream:
                    async for _ in stream:
                        pass
        seen = langfused.only()
        assert (seen["level"], seen["output"]) == ("ERROR", "one two ")
        assert seen["status_message"].startswith("StreamInterruptedError: ")

    async def test_a_stream_that_is_left(self, langfused: Langfused) -> None:
        """A warning, and what had come."""
        async with opened({"openai": Script.always(Answer("one two", every=0.5))}, **langfused.settings) as (agent, *_):
            async with agent.stream("Who wrote Faust?") as stream:
                await anext(stream)
        seen = langfused.only()
        assert (seen["level"], seen["status_message"]) == ("WARNING", "cancelled by its caller")
        assert seen["output"] == "one "


async def look_up(place: str) -> str:
    """Look something up."""
    return f"seen {place}"


async def broken(place: str) -> str:
    """Fail."""
    raise ValueError("no such place")


class TestRuns:
    """One trace each."""

    @pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
    async def test_a_run_with_a_hand_over_in_the_middle(self, langfused: Langfused, streams: bool) -> None:
        """A root, a turn for each iteration, and beneath it the generation and the tools, by whoever answered."""
        asks = Answer("Goethe.", rounds=1)
        scripts = {"openai": Script.sequence(asks, otherwise=Status(503)), "anthropic": Script.always(asks)}
        async with opened(scripts, **langfused.settings) as (agent, _, _):
            said: dict[str, Any] = {"tools": [look_up], "user_id": "u1", "name": "research"}
            if streams:
                async with agent.stream_run("Where?", **said) as stream:
                    async for _ in stream:
                        pass
            else:
                await agent.run("Where?", **said)
        seen = langfused.seen
        (root,) = langfused.collector.named("research")[-1:]
        first, second = langfused.collector.beneath(root)
        assert (root.parent, root["type"], root["output"]) == ("", "agent", "Goethe.")
        assert root.metadata == {
            "agent": "deriver",
            "iterations": 2,
            "tool_calls": 1,
            "is_fallback": True,
            "is_cut_short": False,
        }
        assert [(each.name, each["type"]) for each in (first, second)] == [("turn 1", "span"), ("turn 2", "span")]
        asked, used = langfused.collector.beneath(first)
        assert (asked["type"], asked["model.name"], asked["level"]) == ("generation", "openai-model", "DEFAULT")
        assert '"name":"look_up"' in asked["output"]
        assert (used.name, used["type"], used["input"]) == ("look_up", "tool", '{"place":"Where?"}')
        assert used["output"] == "seen Where?"
        (again,) = langfused.collector.beneath(second)
        assert (again["model.name"], again["level"]) == ("anthropic-model", "WARNING")
        assert len(seen) == 6
        assert {each.trace_id for each in seen} == {root.trace_id}
        assert {each.attributes["user.id"] for each in seen} == {"u1"}

    async def test_tools_that_fail_are_errors(self, langfused: Langfused) -> None:
        """The model is told, and so is the reader."""
        async with opened({"openai": Script.always(Answer(rounds=1))}, **langfused.settings) as (agent, _, _):
            await agent.run("Where?", tools=[broken])
        _ = langfused.seen
        (used,) = langfused.collector.named("broken")
        assert (used["level"], used["output"]) == ("ERROR", "ValueError: no such place")

    async def test_a_run_that_fails_ends_all_of_it(self, langfused: Langfused) -> None:
        """Root, turn and generation are errors."""
        scripts = {"openai": Script.sequence(Answer(rounds=1), otherwise=Status(400))}
        async with opened(scripts, **langfused.settings) as (agent, _, _):
            with pytest.raises(UnderstudyError):
                await agent.run("Where?", tools=[look_up])
        levels = {(each.name, each["type"]): each["level"] for each in langfused.seen if each.name != "turn 1"}
        assert levels["turn 2", "span"] == levels["deriver", "agent"] == levels["deriver", "generation"] == "ERROR"

    @pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
    async def test_a_run_that_is_cancelled_in_a_tool(self, langfused: Langfused, streams: bool) -> None:
        """All of it has ended, as a warning."""

        async def slow(place: str) -> str:
            """Take long."""
            await anyio.sleep(100)
            return place

        async with opened({"openai": Script.always(Answer(rounds=1))}, **langfused.settings) as (agent, _, _):
            with anyio.move_on_after(5):
                if streams:
                    async with agent.stream_run("Where?", tools=[slow]) as stream:
                        async for _ in stream:
                            pass
                else:
                    await agent.run("Where?", tools=[slow])
        ended = {(each.name, each["type"]): each["status_message"] for each in langfused.seen}
        assert len(ended) == 4
        assert (
            ended["slow", "tool"] == ended["turn 1", "span"] == ended["deriver", "agent"] == "cancelled by its caller"
        )

    async def test_an_agent_within_a_tool_lies_within_it(self, langfused: Langfused) -> None:
        """What a tool asks of an agent is beneath the tool."""
        scripts = {"openai": Script.always(Answer("Goethe.", rounds=1))}
        async with opened(scripts, **langfused.settings) as (agent, _, _):

            async def ask(place: str) -> str:
                """Ask somebody."""
                return (await agent.complete(place, name="inner")).text

            await agent.run("Where?", tools=[ask])
        _ = langfused.seen
        (inner,), (outer,) = langfused.collector.named("inner"), langfused.collector.named("ask")
        assert (inner.parent, inner.trace_id) == (outer.id, outer.trace_id)


class TestNesting:
    """Whose parent is who."""

    async def test_fifty_at_once_lie_each_within_its_own(self, langfused: Langfused) -> None:
        """Each call is beneath what its caller had made current, on both backends."""
        tracer = TracerProvider().get_tracer("app")
        wanted: dict[str, str] = {}
        async with opened({"openai": DOWN, "anthropic": WELL}, **langfused.settings) as (agent, _, _):

            async def call(number: int) -> None:
                with tracer.start_as_current_span(f"caller {number}") as span:
                    await anyio.sleep(number % 7 / 10)
                    wanted[f"call {number}"] = format(span.get_span_context().span_id, "016x")
                    await agent.complete("Who?", name=f"call {number}")

            async with anyio.create_task_group() as tasks:
                for number in range(50):
                    tasks.start_soon(call, number)
        assert {each.name: each.parent for each in langfused.seen} == wanted

    async def test_the_applications_spans_are_left_alone(self, langfused: Langfused) -> None:
        """A span within a tool lies beneath the application's own, and none of them is sent to Langfuse."""
        tracer = TracerProvider().get_tracer("app")
        parents: list[Any] = []

        async def traced(place: str) -> str:
            """Trace something."""
            with tracer.start_as_current_span("inner") as span:
                parents.append(span.parent)  # type: ignore[attr-defined]
            return place

        async with opened({"openai": Script.always(Answer(rounds=1))}, **langfused.settings) as (agent, _, _):
            with tracer.start_as_current_span("outer") as outer:
                await agent.run("Where?", tools=[traced])
        assert [parent.span_id for parent in parents] == [outer.get_span_context().span_id]
        assert {each.name for each in langfused.seen} == {"deriver", "turn 1", "turn 2", "traced"}

    async def test_the_applications_client_is_used_and_left_open(self, langfused: Langfused) -> None:
        """Its spans and ours are one trace, tools included; closing the supervisor does not close it."""
        theirs = Langfuse(
            public_key=langfused.key,
            secret_key=SECRET,
            base_url=langfused.collector.url,
            tracer_provider=TracerProvider(),
        )

        async def traced(place: str) -> str:
            """Trace something."""
            with theirs.start_as_current_observation(name="inner", as_type="span"):
                return place

        async with opened({"openai": Script.always(Answer(rounds=1))}, **langfused.settings) as (agent, _, _):
            with theirs.start_as_current_observation(name="outer", as_type="span"):
                await agent.run("Where?", tools=[traced])
        theirs.start_observation(name="later").end()
        seen = {each.name: each for each in langfused.seen}
        assert seen["inner"].parent == seen["traced"].id
        root = next(each for each in langfused.seen if each["type"] == "agent")
        assert root.parent == seen["outer"].id
        assert "later" in seen
        assert langfused.key not in made


@pytest.mark.sockets
@pytest.mark.usefixtures("few_certificates")
async def test_a_renewed_token_is_no_observation(langfused: Langfused, tmp_path: Path) -> None:
    """A 401, a renewal and the answer are one generation with one attempt."""
    access = LangfuseAccess(langfused.key, SecretStr(SECRET), langfused.collector.url)
    async with scene(tmp_path, tracers=[open_langfuse(access)]) as s:
        s.portal.portal.expire_access(0)
        await s.agent.complete(ASK)
    seen = langfused.only()
    assert (seen["level"], seen.metadata["transport"], len(seen.metadata["attempts"])) == ("DEFAULT", "nous", 1)
    for token in (s.first.access_token, s.first.refresh_token, s.live.access_token):
        assert not any(token.encode() in body for body in langfused.collector.bodies)


class TestContent:
    """What leaves the process."""

    async def test_without_content_nothing_of_it_is_sent(self, langfused: Langfused) -> None:
        """No prompt, no answer, no argument, no result, and nothing of a provider's that may quote them."""
        canary = "canary-prompt-4711"
        scripts = {
            "openai": Script.sequence(
                Answer(canary, rounds=1), otherwise=Status(400, body=f'{{"error": "{canary}"}}'.encode())
            ),
        }
        settings = {**langfused.settings, "langfuse_capture_content": False}
        async with opened(scripts, **settings) as (agent, _, _):
            with suppress(UnderstudyError):
                await agent.run([user(canary)], tools=[look_up])
        assert len(langfused.seen) == 6
        assert not any(canary.encode() in body for body in langfused.collector.bodies)
        assert all(each["input"] is None and each["output"] is None for each in langfused.seen)

    async def test_keys_are_masked(self, langfused: Langfused) -> None:
        """A key of ours in a prompt, or in an answer, is not told to Langfuse."""
        key = "sk-canary-0123456789abcdef"
        settings = {**langfused.settings, "openai_api_key": SecretStr(key)}
        async with opened({"openai": Script.always(Answer(f"you said {key}"))}, **settings) as (agent, _, _):
            said: dict[str, Any] = {
                "user_id": key,
                "session_id": key,
                "tags": [key],
                "metadata": {"why": {"keys": [key]}},
            }
            await agent.complete(f"my key is {key}", stop=[key], **said)
        assert "[secret]" in langfused.only()["input"]
        assert langfused.only().metadata["why"] == {"keys": ["[secret]"]}
        assert not any(key.encode() in body for body in langfused.collector.bodies)

    async def test_pictures_are_named(self, langfused: Langfused) -> None:
        """Their data is not sent: the SDK would upload it once more."""
        picture = Message("user", (Text("What is it?"), image(b"\x89PNG" * 100, "image/png")))
        async with opened({"openai": WELL}, **langfused.settings) as (agent, _, _):
            await agent.complete([picture])
        assert "[image: image/png, 400 bytes]" in langfused.only()["input"]


class TestFaults:
    """Whatever Langfuse does."""

    @pytest.mark.parametrize("status", [401, 500])
    async def test_an_error_is_nobodys_business(
        self, langfused: Langfused, status: int, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The answer is the same, nothing is printed, what was dropped is counted, and one line says so to who logs."""
        caplog.set_level(logging.INFO)
        langfused.collector.status = status
        tracer = await self._asked(langfused)
        client_of(langfused.key).flush()
        assert tracer.dropped >= 1
        assert not [record for record in caplog.records if record.levelno > logging.INFO]
        (line,) = [record for record in caplog.records if record.name == "understudy.telemetry"]
        assert line.levelno == logging.INFO
        assert line.getMessage().startswith(f"traces_lost host='{langfused.collector.url}' reason='")
        assert str(status) in line.getMessage()
        assert capsys.readouterr() == ("", "")

    async def test_a_queue_that_is_full_drops_and_counts(
        self, langfused: Langfused, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each observation is sent or counted, however many there are at once."""
        monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "200")
        async with opened({"openai": Script.always(Answer())}, **langfused.settings) as (agent, supervisor, _):

            async def call() -> None:
                await agent.complete("Who?")

            async with anyio.create_task_group() as callers:
                for _ in range(1000):
                    callers.start_soon(call)
            seen = len(langfused.seen)
            assert 136 <= seen < 1000
            assert supervisor.metrics().total("understudy.dropped") == 1000 - seen

    async def test_another_host_for_the_same_key_is_told(
        self, langfused: Langfused, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The process has one client for a key: the second supervisor's traces go where the first one's do."""
        for url in (langfused.collector.url, f"{langfused.collector.url}/", "http://elsewhere.test"):
            async with opened({"openai": WELL}, **{**langfused.settings, "langfuse_base_url": url}):
                pass
        (told,) = caplog.messages
        assert told.startswith(
            f"traces_elsewhere host='{langfused.collector.url}' asked='http://elsewhere.test' why='the"
        )

    async def test_closing_raises_nothing(self, langfused: Langfused, monkeypatch: pytest.MonkeyPatch) -> None:
        """What flushing raises does not take the place of what the user raised."""

        def fails(*_: object) -> None:
            raise ValueError

        with pytest.raises(KeyError):
            async with opened({"openai": WELL}, **langfused.settings):
                monkeypatch.setattr(Langfuse, "flush", fails)
                raise KeyError

    async def test_after_a_failed_batch_nothing_is_sent_for_a_while(self) -> None:
        """Half a minute; then it is tried again."""
        now, asked = [0.0], list[int]()

        class Down:
            def export(self, spans: Any) -> Any:
                asked.append(len(spans))
                raise OSError("down")

        exporter = QuietExporter(Down(), "http://here.test", clock=lambda: now[0])  # type: ignore[arg-type]
        for now[0] in (0.0, 1.0, 29.0, 31.0):
            exporter.export([object()] * 3)  # type: ignore[list-item]
        assert (asked, exporter.dropped, exporter.sent) == ([3, 3], 12, 0)

    async def _asked(self, langfused: Langfused) -> LangfuseTracer:
        async with opened({"openai": WELL}, **langfused.settings) as (agent, _, _):
            assert (await agent.complete("Who?")).text == "Goethe."
        return open_langfuse(LangfuseAccess(langfused.key, SecretStr(SECRET), langfused.collector.url))


def attempt(
    number: int, transport: str, verdict: str, status: int, start: float, duration: float, **more: Any
) -> dict[str, Any]:
    """Return an attempt as it is shown."""
    return {
        "number": number,
        "transport": transport,
        "model": f"{transport}-model",
        "verdict": verdict,
        "status": status,
        "start": start,
        "duration": duration,
        "first_token": None,
        "request_id": "simulated",
        **more,
    }
