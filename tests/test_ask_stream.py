"""`understudy ask --stream`: an answer that is printed as it comes, in words and as JSON."""

from __future__ import annotations

import json
import signal
from typing import Any

import anyio.lowlevel
import pytest
from anyio.from_thread import start_blocking_portal
from click.testing import CliRunner, Result

from understudy._cli import cli
from understudy._show import event_as_json
from understudy.providers import ReasoningDelta, TextDelta, ToolCallDelta, ToolCallStarted
from understudy.simulation import Answer, Breaks, Script, Status

from .test_front_door import run, vendors

FAUST = "Johann Wolfgang von Goethe wrote it.\nAll of it."
BROKEN = Script.always(Breaks(Answer(FAUST), after=3, how="reset"))


def ask(primary: Script, *arguments: str) -> Result:
    """Ask the deriver, whose vendors run in a thread of their own, for a stream."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(vendors(primary)) as environment:
        return CliRunner().invoke(cli, ["ask", "deriver", "Who?", "--stream", *arguments], env=environment)


def events(printed: str) -> list[dict[str, Any]]:
    """Return what was printed, a JSON object on each line."""
    return [json.loads(line) for line in printed.splitlines()]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
class TestText:
    """What a person sees."""

    def test_the_answer_is_on_standard_output_and_the_trail_beside_it(self, backend: str) -> None:
        """Of a model that thinks aloud the text alone is printed; the trail tells when the first token came."""
        done = ask(Script.always(Answer(FAUST, thinking="Let me think.")), "--backend", backend)
        assert (done.exit_code, done.stdout) == (0, FAUST + "\n")
        assert "1. openai gpt-lead  ok" in done.stderr
        assert ", the first token after " in done.stderr

    def test_the_fallback_answers_before_the_first_content(self, backend: str) -> None:
        """A failure that nobody has seen is handed over."""
        done = ask(Script.always(Breaks(Answer(FAUST), after=0, how="error")), "--backend", backend)
        assert (done.exit_code, done.stdout) == (0, "Goethe.\n")
        assert "2. anthropic claude-second  ok" in done.stderr

    def test_what_had_come_is_printed_when_an_answer_is_cut_off(self, backend: str) -> None:
        """Then a line that is ended, and on standard error why, with the trail; the exit code is 1."""
        done = ask(BROKEN, "--backend", backend)
        assert (done.exit_code, done.stdout) == (1, "Johann Wolfgang von \n")
        assert "StreamInterruptedError: agent 'deriver': the answer of openai gpt-lead was cut off: " in done.stderr
        assert "1. openai gpt-lead" in done.stderr

    def test_nothing_is_printed_of_an_answer_that_never_began(self, backend: str) -> None:
        """Not even the end of a line."""
        done = ask(Script.always(Status(400)), "--backend", backend)
        assert (done.exit_code, done.stdout) == (1, "")
        assert "RequestRejectedError" in done.stderr

    @pytest.mark.parametrize("more", [[], ["--json"]], ids=["text", "json"])
    def test_ctrl_c_ends_it(self, backend: str, more: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        """In the middle of an answer too: with what had come, one word, and 130."""

        async def press(stream: object) -> object:
            monkeypatch.undo()
            event = await anext(stream)  # type: ignore[call-overload]
            signal.raise_signal(signal.SIGINT)
            await anyio.lowlevel.checkpoint()
            return event

        monkeypatch.setattr("understudy.supervisor.Stream.__anext__", press)
        done = ask(Script.always(Answer(FAUST, every=0.2)), "--backend", backend, *more)
        assert done.exit_code == 130
        if more:
            assert events(done.stdout)[-1]["event"] == "failed"
            assert events(done.stdout)[-1]["error"]["type"] == "KeyboardInterrupt"
        else:
            assert done.stderr == "interrupted\n"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
class TestJson:
    """What a program reads."""

    def test_each_event_is_a_line(self, backend: str) -> None:
        """Reasoning, text, and at last what `--json` prints without a stream, with the time of the first token."""
        done = ask(Script.always(Answer("So it is.", thinking="Well…")), "--json", "--backend", backend)
        assert (done.exit_code, done.stderr) == (0, "")
        *said, last = events(done.stdout)
        assert said[0] == {"event": "reasoning", "text": "Well…"}
        assert [event["text"] for event in said[1:]] == ["So ", "it ", "is."]
        assert {event["event"] for event in said[1:]} == {"text"}
        assert (last["event"], last["text"], last["finish_reason"]) == ("finished", "So it is.", "stop")
        assert last["attempts"][0]["first_token"] > 0
        assert last["first_token"] > 0

    def test_an_answer_that_is_cut_off_begins_anew(self, backend: str) -> None:
        """What came before `restarted` is void, and what comes after it is the whole answer of the next route."""
        done = ask(BROKEN, "--json", "--backend", backend)
        assert (done.exit_code, done.stderr) == (0, "")
        kinds = [event["event"] for event in events(done.stdout)]
        assert kinds == ["text", "text", "text", "restarted", "text", "finished"]
        restarted, again, last = events(done.stdout)[-3:]
        assert (restarted["transport"], restarted["model"]) == ("anthropic", "claude-second")
        assert again["text"] == last["text"] == "Goethe."
        assert last["is_fallback"]

    def test_the_last_line_says_what_failed(self, backend: str) -> None:
        """It is an event, too."""
        done = ask(Script.always(Status(400)), "--json", "--backend", backend)
        assert (done.exit_code, done.stderr) == (1, "")
        (only,) = events(done.stdout)
        assert (only["event"], only["error"]["type"]) == ("failed", "RequestRejectedError")
        assert [attempt["status"] for attempt in only["error"]["attempts"]] == [400]


def test_every_event_can_be_told() -> None:
    """Also those of tools, which a server may send unasked."""
    assert [event_as_json(e) for e in (TextDelta("a"), ReasoningDelta("b"), ToolCallStarted(0, "c1", "look"))] == [
        {"event": "text", "text": "a"},
        {"event": "reasoning", "text": "b"},
        {"event": "tool_call_started", "index": 0, "id": "c1", "name": "look"},
    ]
    assert event_as_json(ToolCallDelta(0, "{")) == {"event": "tool_call_delta", "index": 0, "arguments": "{"}


MAIN = "from understudy.__main__ import main; main()"
FULL = f"import os; os.dup2(os.open('/dev/full', os.O_WRONLY), 1); {MAIN}"
GONE = f"import os; r, w = os.pipe(); os.close(r); os.dup2(w, 1); {MAIN}"
CLOSED = f"import os, sys; os.close(1); sys.stdout = None; {MAIN}"
NO_SPACE = "OSError: [Errno 28] No space left on device\n"


@pytest.mark.anyio
@pytest.mark.commands
@pytest.mark.parametrize("more", [[], ["--json"]], ids=["text", "json"])
async def test_output_that_cannot_be_written_is_no_crash(more: list[str]) -> None:
    """A reader that has left is no news, a full disk is one line; without an output nobody is asked."""
    arguments = ["ask", "deriver", "Who?", "--stream", *more]
    async with vendors(Script.always(Answer(FAUST, every=0.001))) as environment:
        assert await run("-c", GONE, more=arguments, environment=environment) == (1, "", "")
        code, out, err = await run("-c", FULL, more=arguments, environment=environment)
        assert (code, out, err) == (1, "", NO_SPACE)
        for stream in ([], ["--stream"]):
            asks = ["ask", "deriver", "Who?", *stream, *more]
            code, out, err = await run("-c", CLOSED, more=asks, environment=environment)
            assert (code, out) == (2, "")
            assert "standard output is closed: the answer would be lost" in err


@pytest.mark.anyio
@pytest.mark.commands
@pytest.mark.parametrize("more", [[], ["--json"]], ids=["text", "json"])
async def test_check_ends_as_the_others_do(more: list[str]) -> None:
    """A full disk is one line here too, and a reader that has left is no news."""
    environment = {"DERIVER_MODEL_CONFIG__MODEL": "lmstudio/qwen"}
    assert await run("-c", FULL, more=["check", *more], environment=environment) == (1, "", NO_SPACE)
    assert await run("-c", GONE, more=["check", *more], environment=environment) == (1, "", "")


def test_check_can_be_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the configuration is read is one word and 130."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("understudy._cli.load", interrupted)
    done = CliRunner().invoke(cli, ["check"])
    assert (done.exit_code, done.stdout, done.stderr) == (130, "", "interrupted\n")
