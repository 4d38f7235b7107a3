"""The front door: what `import understudy` shows and costs, and what the command line says in a process of its own."""

from __future__ import annotations

import errno
import importlib.metadata
import json
import os
import re
import runpy
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.from_thread import start_blocking_portal
from click.testing import CliRunner, Result

import understudy
from understudy import AgentSettings, RouteSettings, Settings, open_supervisor, providers
from understudy._cli import cli
from understudy._demo import demo, files_missing
from understudy.actors import Health
from understudy.providers import Request, Response
from understudy.simulation import Answer, Script, Status, World, simulated_server

from .fakes import Fake

ROOT = Path(__file__).parent.parent


async def run(
    *arguments: str, environment: dict[str, str] | None = None, more: Sequence[str] = ()
) -> tuple[int, str, str]:
    """Run Python with warnings as errors; return exit code, standard output and standard error."""
    done = await anyio.run_process(
        [sys.executable, "-W", "error", *arguments, *more],
        input=b"",
        check=False,
        env={**os.environ, **(environment or {})},
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.anyio
@pytest.mark.commands
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


def test_what_a_signature_names_can_be_imported() -> None:
    """The types of what is given and had back are public, and are those of the rooms."""
    assert understudy.Parameters is providers.Parameters
    assert understudy.Messages is providers.Messages
    assert understudy.Health is Health


def test_a_checkout_that_was_never_installed_has_a_version_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The version is that of the installed package; without one, importing it and `--version` still work."""
    assert understudy.__version__ == importlib.metadata.version("understudy")
    assert understudy.__version__ in CliRunner().invoke(cli, ["--version"]).stdout

    def nothing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", nothing)
    monkeypatch.delitem(sys.modules, "understudy._version")
    assert runpy.run_module("understudy._version")["__version__"] == "0+unknown"


def test_type_checkers_see_the_same_names() -> None:
    """The names for type checkers and the names at run time are the same."""
    text = (ROOT / "understudy" / "__init__.py").read_text()
    checked = {line.split()[-1] for line in text.splitlines() if line.startswith("    from .")}
    assert checked == set(understudy.__all__)


@pytest.mark.anyio
async def test_a_name_that_is_no_text_is_refused() -> None:
    """An agent is asked for by its name."""
    route = RouteSettings(transport="lmstudio", model="m")
    settings = Settings.in_code(agents={"deriver": AgentSettings(primary=route)})
    async with open_supervisor(settings, connect=World({}).connect) as supervisor:
        assert supervisor.agent("Deriver") is supervisor.agent("deriver")
        with pytest.raises(TypeError, match=r"^the name of an agent is a text, not NoneType$"):
            supervisor.agent(None)  # type: ignore[arg-type]


@pytest.mark.anyio
@pytest.mark.commands
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


@pytest.mark.anyio
async def test_a_supervisor_is_not_opened_with_a_dict() -> None:
    """Whoever gives something else than settings learns what to give."""
    with pytest.raises(TypeError, match=r"settings must be Settings, .* not dict"):
        async with understudy.open_supervisor({"agents": {}}):  # type: ignore[arg-type]
            raise AssertionError("the body must not begin")


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

    def test_a_person_is_told_when_to_ask_again(self, backend: str) -> None:
        """Where a provider says when it may be asked again, so does the command, in words too."""
        limited = Script.always(Status(429, headers={"Retry-After": "30"}))
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(vendors(limited)) as environment:
            alone = {name: value for name, value in environment.items() if "FALLBACK" not in name}
            arguments = ["ask", "deriver", "Who?", "--timeout", "9", "--backend", backend]
            done = CliRunner().invoke(cli, arguments, env=alone)
        assert (done.exit_code, done.stdout) == (1, "")
        assert "RateLimitedError: openai gpt-lead: throttled (HTTP 429)" in done.stderr
        assert done.stderr.endswith("\nmay be asked again in 30 s\n")


@pytest.mark.parametrize(
    ("arguments", "given", "why"),
    [
        (["Who?", "--timeout", "0"], b"", "0.0 is not in the range x>0"),
        (["Who?", "--timeout", "-1"], b"", "-1.0 is not in the range x>0"),
        (["Who?", "--timeout", "nan"], b"", "nan is no number of seconds"),
        (["Who?", "--timeout", "inf"], b"", "inf is no number of seconds"),
        (["Who?", "--timeout", "abc"], b"", "'abc' is not a valid number of seconds"),
        (["Who?", "--max-tokens", "0"], b"", "0 is not in the range x>=1"),
        ([""], b"", "the prompt is empty: there is nothing to ask"),
        ([" \n"], b"", "the prompt is empty: there is nothing to ask"),
        (["-"], b"", "the prompt is empty: there is nothing to ask"),
        (["-"], b"caf\xe9?", "the prompt is not UTF-8: its byte 4 cannot be read"),
        (["-"], b"\xff\xfeW\x00", "the prompt is not UTF-8: its byte 1 cannot be read"),
        (["caf\udce9"], b"", "the prompt is not UTF-8: its byte 4 cannot be read"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("more", [[], ["--json"]], ids=["text", "json"])
def test_what_cannot_be_asked_is_a_mistake_of_the_command(
    arguments: list[str], given: bytes, why: str, more: list[str]
) -> None:
    """The command says what is wrong and ends with 2, before the configuration is looked at."""
    done = CliRunner().invoke(cli, ["ask", "deriver", *arguments, *more], input=given)
    assert (done.exit_code, done.stdout) == (2, "")
    assert why in done.stderr


@pytest.mark.parametrize("seconds", ["0", "nan", "inf"])
def test_a_demo_lasts_a_number_of_seconds(seconds: str) -> None:
    """A demo without an end, or without a beginning, is a mistake of the command."""
    assert CliRunner().invoke(cli, ["demo", "--seconds", seconds]).exit_code == 2


class Interrupted(Fake):
    """A provider in whose call the user presses Ctrl-C."""

    def __init__(self) -> None:
        self.open = True

    async def complete(self, request: Request) -> Response:
        signal.raise_signal(signal.SIGINT)
        await anyio.sleep_forever()
        raise AssertionError

    async def aclose(self) -> None:
        self.open = False
        await anyio.lowlevel.checkpoint()


async def interrupted_task(*arguments: object) -> None:
    """Stand for a demo in one of whose tasks Ctrl-C arrives."""

    async def press() -> None:
        signal.raise_signal(signal.SIGINT)
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(press)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("command", [["ask", "deriver", "Who?"], ["demo"]], ids=["ask", "demo"])
class TestInterrupt:
    """Ctrl-C in the middle of a command."""

    @pytest.fixture
    def provider(self, monkeypatch: pytest.MonkeyPatch) -> Interrupted:
        provider = Interrupted()
        monkeypatch.setattr("understudy._ask.open_supervisor", partial(open_supervisor, connect=lambda _: provider))
        monkeypatch.setattr("understudy._cli.demo", interrupted_task)
        monkeypatch.setenv("DERIVER_MODEL_CONFIG__MODEL", "gpt")
        monkeypatch.setenv("LLM_OPENAI_API_KEY", "sk-canary-0a1b2c3d4e")
        return provider

    def test_it_ends_with_a_plain_line(self, command: list[str], backend: str, provider: Interrupted) -> None:
        """Exit code 130, one word and no traceback; what was open is closed."""
        done = CliRunner().invoke(cli, [*command, "--backend", backend])
        assert (done.exit_code, done.stdout, done.stderr) == (130, "", "interrupted\n")
        assert provider.open is (command[0] == "demo")

    def test_json_says_it_too(self, command: list[str], backend: str, provider: Interrupted) -> None:
        """A program that reads the output gets its one object."""
        done = CliRunner().invoke(cli, [*command, "--json", "--backend", backend])
        assert (done.exit_code, done.stderr) == (130, "")
        assert json.loads(done.stdout)["error"] == {
            **{"type": "KeyboardInterrupt", "message": "interrupted", "attempts": []}
        }


async def too_many_files(*arguments: object) -> None:
    """Stand for a demo whose tasks find that no more files can be opened."""
    async with anyio.create_task_group():
        raise OSError(errno.EMFILE, "Too many open files")


async def bug(*arguments: object) -> None:
    """Stand for a demo with a bug."""
    async with anyio.create_task_group():
        raise ZeroDivisionError


def test_what_befalls_a_task_is_told_and_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of this machine in a task is one line; a bug of ours keeps its traceback."""
    monkeypatch.setattr("understudy._cli.demo", too_many_files)
    done = CliRunner().invoke(cli, ["demo"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "OSError: [Errno 24] Too many open files: allow more with ulimit -n\n"
    monkeypatch.setattr("understudy._cli.demo", bug)
    assert isinstance(CliRunner().invoke(cli, ["demo"]).exception, ExceptionGroup)


@pytest.mark.parametrize(
    ("agents", "allowed", "expected"),
    [
        (50, -1, None),
        (50, 240, None),
        (1, 44, None),
        (50, 239, "allow more with ulimit -n 240, or run it with --agents 49"),
        (50, 44, "allow more with ulimit -n 240, or run it with --agents 1"),
        (50, 43, "allow more with ulimit -n 240"),
        (50, 20, "allow more with ulimit -n 240"),
    ],
)
def test_a_demo_knows_how_many_files_it_opens(agents: int, allowed: int, expected: str | None) -> None:
    """Agents that could not connect would wait in vain: too low a limit is told before the demo begins."""
    problem = files_missing(agents, allowed)
    assert (problem.remedy if problem else None) == expected


@pytest.mark.anyio
@pytest.mark.commands
@pytest.mark.parametrize("limit", [20, 40])
async def test_a_demo_with_few_files_says_so(limit: int) -> None:
    """Under a low `ulimit -n` the demo ends with one line and exit code 2."""
    code = f"import resource as r; r.setrlimit(r.RLIMIT_NOFILE, ({limit}, {limit}))"
    done = await run("-c", f"{code}; from understudy.__main__ import main; main()", more=["demo"])
    expected = (
        f"mistake  ulimit -n: expected 240 open files for 50 agents, not {limit}; allow more with ulimit -n 240\n"
    )
    assert done == (2, "", expected)


@pytest.mark.anyio
@pytest.mark.commands
@pytest.mark.parametrize("more", [[], ["--json"]], ids=["text", "json"])
async def test_output_that_cannot_be_written_is_no_crash(more: list[str]) -> None:
    """A reader that has left is no news; a full disk is one line."""
    main = "import os, sys; os.dup2(os.open({!r}, os.O_WRONLY), 1); from understudy.__main__ import main; main()"
    demo = ["demo", "--seconds", "1", "--agents", "2", *more]
    full = "OSError: [Errno 28] No space left on device\n"
    assert await run("-c", main.format("/dev/full"), more=demo) == (1, "", full)
    gone = "import os; r, w = os.pipe(); os.close(r); os.dup2(w, 1); from understudy.__main__ import main; main()"
    assert await run("-c", gone, more=demo) == (1, "", "")


def test_the_help_says_what_there_is() -> None:
    """Every command has a whole sentence, and the exit codes are told; a word that is none meets its neighbour."""
    shown = CliRunner().invoke(cli, ["--help"]).stdout
    assert "..." not in shown.partition("Commands:")[2]
    assert "Exit codes: 0 ok, 1 the request failed, 2 configuration or command wrong, 130" in shown
    wrong = CliRunner().invoke(cli, ["aks"])
    assert (wrong.exit_code, "Did you mean 'ask'?" in wrong.stderr) == (2, True)


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
        *("requests", "answered", "failed", "handed_over", "restarted", "tool_calls", "served_by"),
        *("primary_calls_during_outage", "latencies", "first_token", "seconds"),
    ]
    assert report["answered"] == report["requests"] == sum(report["served_by"].values())
    assert report["failed"] == 0
    assert report["handed_over"] == report["served_by"]["anthropic"] > 0
    assert report["tool_calls"] == report["requests"]
    assert report["restarted"] > 0
    assert report["primary_calls_during_outage"] < report["requests"]
    for took in report["latencies"].values():
        assert report["first_token"] < took["median"] <= took["slowest"]
    assert 1 <= report["seconds"] < 5


@pytest.mark.anyio
@pytest.mark.sockets
async def test_a_demo_counts_wrong_answers_as_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks at what comes: an answer that leaves out what the tool found is none."""
    monkeypatch.setattr("understudy._demo.Answer", lambda text, *more, **others: Answer("So it is.", *more, **others))
    report = await demo(seconds=2, agents=2, live=False)
    assert report.failed == report.requests == report.tool_calls > 0


def test_a_demo_asks_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment knows nobody on our loopback: the demo goes without, and leaves it as it was."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    done = CliRunner().invoke(cli, ["demo", "--json", "--seconds", "1", "--agents", "2"])
    assert (done.exit_code, json.loads(done.stdout)["failed"]) == (0, 0)
    assert os.environ["HTTP_PROXY"] == "http://127.0.0.1:9"


@pytest.mark.anyio
@pytest.mark.commands
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
    assert err.startswith("ignored  DERIVER_MODEL_CONFIG__FALLBACK__TRANSPORT: ")
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
    assert re.search(r"anthropic +\d+ +\d+ ms +\d+ ms +\d+ ms", done.stdout)
    assert "answers that broke off were begun anew." in done.stdout


@pytest.mark.anyio
@pytest.mark.sockets
async def test_the_live_table_shows_who_serves_whom(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the demo runs, a table names both endpoints, and says when the primary is down."""
    monkeypatch.setenv("FORCE_COLOR", "1")  # makes rich take what it writes to for a terminal
    monkeypatch.setenv("COLUMNS", "120")
    report = await demo(seconds=6, agents=8, live=True)
    shown = capsys.readouterr().out
    assert report.failed == 0
    assert report.requests > 10
    assert report.restarted > 0
    assert "openai at http://127.0.0.1:" in shown
    assert "the primary is out" in shown
    assert "first token" in shown
    assert "the primary is well" in shown
    assert "circuit" in shown
    assert "open 0." in shown
    assert "closed" in shown
    assert report.primary_calls_during_outage < report.handed_over
