"""The front door: what `import understudy` shows and costs, and what the command line says in a process of its own."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.from_thread import start_blocking_portal
from click.testing import CliRunner, Result

import understudy
from understudy._cli import cli
from understudy._demo import demo
from understudy.simulation import Answer, Script, Status, simulated_server

ROOT = Path(__file__).parent.parent


async def run(*arguments: str, environment: dict[str, str] | None = None, given: bytes = b"") -> tuple[int, str, str]:
    """Run Python with warnings as errors; return exit code, standard output and standard error."""
    done = await anyio.run_process(
        [sys.executable, "-W", "error", *arguments],
        input=given,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.anyio
@pytest.mark.processes
class TestImport:
    """What importing the package does."""

    async def test_it_takes_no_sdk_and_no_pydantic_along(self) -> None:
        """Nothing heavy is imported, no thread is started, and the public names are there to be seen."""
        heavy = {"openai", "anthropic", "pydantic", "pydantic_settings", "httpx2", "anyio", "rich", "click"}
        code = (
            "import sys, threading, understudy\n"
            f"print(sorted({heavy!r} & set(sys.modules)), threading.active_count(), len(dir(understudy)) > 30)"
        )
        assert await run("-c", code) == (0, "[] 1 True\n", "")

    async def test_messages_and_errors_take_no_sdk_along(self) -> None:
        """Writing a message or naming an error needs neither an SDK nor pydantic."""
        code = (
            "import sys\nfrom understudy import user, RateLimitedError\n"
            "print(sorted({'openai', 'anthropic', 'pydantic', 'httpx2'} & set(sys.modules)))"
        )
        assert await run("-c", code) == (0, "[]\n", "")


def test_every_public_name_is_there() -> None:
    """Each name of `__all__` can be had, and a name that does not exist is an `AttributeError`."""
    for name in understudy.__all__:
        assert getattr(understudy, name) is not None
        assert name in dir(understudy)
    with pytest.raises(AttributeError, match="no attribute 'open_superviser'"):
        understudy.open_superviser  # noqa: B018


def test_type_checkers_see_the_same_names() -> None:
    """The names for type checkers and the names at run time are the same."""
    text = (ROOT / "understudy" / "__init__.py").read_text()
    checked = {line.split()[-1] for line in text.splitlines() if line.startswith("    from .")}
    assert checked == set(understudy.__all__)


@pytest.mark.anyio
@pytest.mark.processes
async def test_the_fallback_answers_with_environment_variables_alone() -> None:
    """`python -m understudy ask` from any folder: the answer alone on standard output, the trail on standard error."""
    async with vendors(Script.always(Status(503))) as environment:
        code, out, err = await run("-m", "understudy", "ask", "deriver", "Who wrote Faust?", environment=environment)
    assert (code, out) == (0, "Goethe.\n")
    assert "1. openai gpt-lead  overloaded (HTTP 503): simulated 503" in err
    assert "2. anthropic claude-second  ok" in err


@asynccontextmanager
async def vendors(primary: Script) -> AsyncIterator[dict[str, str]]:
    """Run an OpenAI-wire primary and an Anthropic-wire fallback; gives the variables that lead to them."""
    async with simulated_server(primary) as lead, simulated_server(Script.always(Answer("Goethe."))) as second:
        yield {
            "DERIVER_MODEL_CONFIG__TRANSPORT": "openai",
            "DERIVER_MODEL_CONFIG__MODEL": "gpt-lead",
            "DERIVER_MODEL_CONFIG__BASE_URL": lead.openai_url,
            "DERIVER_MODEL_CONFIG__FALLBACK__TRANSPORT": "anthropic",
            "DERIVER_MODEL_CONFIG__FALLBACK__MODEL": "claude-second",
            "DERIVER_MODEL_CONFIG__FALLBACK__BASE_URL": second.anthropic_url,
            "LLM_ANTHROPIC_API_KEY": "sk-canary-0a1b2c3d4e",
        }


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
class TestAsk:
    """`understudy ask` against vendors that run in a thread of their own."""

    def ask(self, primary: Script, *arguments: str, given: str = "") -> Result:
        """Ask the deriver."""
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(vendors(primary)) as environment:
            return CliRunner().invoke(cli, ["ask", "deriver", *arguments], env=environment, input=given)

    def test_json_is_one_line_with_the_whole_trail(self, backend: str) -> None:
        """`--json` prints one object: the answer, who gave it, what it cost, and every attempt."""
        done = self.ask(Script.always(Status(503)), "-", "--json", "--backend", backend, given="Who wrote Faust?")
        assert (done.exit_code, done.stderr, done.stdout.count("\n")) == (0, "", 1)
        said: dict[str, Any] = json.loads(done.stdout)
        assert said["text"] == "Goethe."
        assert (said["model"], said["transport"], said["is_fallback"]) == ("claude-second", "anthropic", True)
        assert said["finish_reason"] == "stop"
        assert (said["usage"]["input_tokens"], said["usage"]["output_tokens"]) == (3, 1)
        assert [(a["transport"], a["verdict"], a["status"]) for a in said["attempts"]] == [
            ("openai", "overloaded", 503),
            ("anthropic", "ok", 200),
        ]
        assert all(attempt["duration"] > 0 for attempt in said["attempts"])

    def test_a_person_sees_answer_and_trail_apart(self, backend: str) -> None:
        """The answer is on standard output, alone; what was tried, and what was not sent, is on standard error."""
        done = self.ask(Script.always(Answer("Goethe, I think.")), "Who?", "--max-tokens", "9", "--backend", backend)
        assert (done.exit_code, done.stdout) == (0, "Goethe, I think.\n")
        assert "1. openai gpt-lead  ok" in done.stderr

    def test_a_failed_request_exits_with_one(self, backend: str) -> None:
        """The error names its type, and carries the attempts."""
        done = self.ask(Script.always(Status(400)), "Who wrote Faust?", "--json", "--backend", backend)
        assert (done.exit_code, done.stderr) == (1, "")
        error = json.loads(done.stdout)["error"]
        assert error["type"] == "RequestRejectedError"
        assert "simulated 400" in error["message"]
        assert [attempt["status"] for attempt in error["attempts"]] == [400]

    def test_a_failed_request_says_why_to_a_person(self, backend: str) -> None:
        """Without `--json` the reason and the trail are on standard error, and nothing is on standard output."""
        done = self.ask(Script.always(Status(400)), "Who wrote Faust?", "--backend", backend)
        assert (done.exit_code, done.stdout) == (1, "")
        assert "RequestRejectedError: openai gpt-lead: caller (HTTP 400): simulated 400" in done.stderr

    def test_an_impossible_argument_is_told_and_nobody_is_asked(self, backend: str) -> None:
        """A value that no request can have is a failed request, not a crash."""
        done = self.ask(Script(), "Who wrote Faust?", "--timeout", "-1", "--backend", backend)
        assert done.exit_code == 1
        assert "timeout must be a number of seconds above 0" in done.stderr


def test_a_backend_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """trio comes with an extra; without it the command line says what to install."""
    monkeypatch.setattr("understudy._cli.find_spec", lambda name: None)
    done = CliRunner().invoke(cli, ["demo", "--backend", "trio"])
    assert done.exit_code == 2
    assert "trio is not installed: pip install trio\n" in done.stderr


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_demo_answers_everybody(backend: str) -> None:
    """A short demo: nothing fails, the outage is handed over, and the last line is one JSON object."""
    done = CliRunner().invoke(cli, ["demo", "--json", "--seconds", "1.5", "--agents", "8", "--backend", backend])
    assert (done.exit_code, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert list(report) == [
        *("requests", "answered", "failed", "handed_over", "served_by", "primary_calls_during_outage", "seconds")
    ]
    assert report["answered"] == report["requests"] == sum(report["served_by"].values())
    assert report["failed"] == 0
    assert report["handed_over"] == report["served_by"]["anthropic"] > 0
    assert report["primary_calls_during_outage"] < report["handed_over"]
    assert 1 <= report["seconds"] < 5


@pytest.mark.anyio
@pytest.mark.processes
async def test_nothing_but_the_report_is_said() -> None:
    """What happens to circuits and agents is not logged to the terminal; that a setting is ignored is."""
    environment = {"PYTHONPATH": str(ROOT), "DERIVER_MODEL_CONFIG__FALLBACK__MODEL": "claude-second"}
    arguments = ("-m", "understudy", "demo", "--json", "--seconds", "1", "--agents", "4")
    code, out, err = await run(*arguments, environment=environment)
    assert (code, err) == (0, "")
    assert json.loads(out)["handed_over"] > 0
    environment["DERIVER_MODEL_CONFIG__MODEL"] = "lmstudio/nobody"
    environment["LLM_LMSTUDIO_BASE_URL"] = "http://127.0.0.1:9"
    code, _, err = await run("-m", "understudy", "ask", "deriver", "Hi", environment=environment)
    assert code == 1
    assert err.startswith("setting_ignored DERIVER_MODEL_CONFIG__FALLBACK__TRANSPORT: ")
    assert "circuit_tripped" not in err


def test_a_demo_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """What keeps a client from opening is one line here too, not a traceback."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    done = CliRunner().invoke(cli, ["demo", "--seconds", "1"])
    assert done.exit_code == 2
    assert "SSL_CERT_FILE" in done.stderr
    assert "Traceback" not in done.output


def test_the_demo_tells_a_person_what_happened() -> None:
    """Without `--json` there is a table of who served, and a sentence that sums it up."""
    done = CliRunner().invoke(cli, ["demo", "--seconds", "1.5", "--agents", "4"], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    assert "every request was answered" in done.stdout
    assert re.search(r"anthropic +\d+ +\d+ ms +\d+ ms", done.stdout)


@pytest.mark.anyio
@pytest.mark.sockets
async def test_the_live_table_shows_who_serves_whom(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the demo runs, a table names both endpoints, and says when the primary is down."""
    monkeypatch.setenv("FORCE_COLOR", "1")  # makes rich take what it writes to for a terminal
    monkeypatch.setenv("COLUMNS", "120")
    report = await demo(seconds=3, agents=3, live=True)
    shown = capsys.readouterr().out
    assert report.failed == 0
    assert report.requests > 20
    assert "openai at http://127.0.0.1:" in shown
    assert "the primary answers 503" in shown
    assert "the primary is well" in shown
    assert "circuit" in shown
    assert "open 0." in shown
    assert "closed" in shown
    assert report.primary_calls_during_outage < report.handed_over
