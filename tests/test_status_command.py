"""`understudy status`: what it shows of a running gateway, and its exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.from_thread import start_blocking_portal
from anyio.streams.text import TextReceiveStream
from click.testing import CliRunner, Result
from rich.console import Console

from understudy._cli import cli
from understudy._status import ago, recent, tables
from understudy.gateway import Feed
from understudy.simulation import Answer, Script, Status

from .browser.house import House
from .scenario import ask, opened

TOKEN = "the-token-of-this-test-0123456789abcdef"


@pytest.fixture
def gateway() -> Iterator[str]:
    """A gateway whose primary is out: its address."""

    @asynccontextmanager
    async def running() -> AsyncIterator[str]:
        feed = Feed("1.2.3")
        scripts = {"openai": Script.always(Status(503)), "anthropic": Script.always(Answer())}
        async with opened(scripts, hooks=[feed]) as (agent, supervisor, _):
            feed.watch(supervisor)
            for _ in range(3):
                await ask(agent)
            async with House(supervisor, feed, TOKEN).open() as url:
                yield url

    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal())
        yield stack.enter_context(portal.wrap_async_context_manager(running()))


def status(*arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(cli, ["status", *arguments])


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_it_shows_who_serves_and_what_is_not_closed(
    gateway: str, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """In a pipe too: who serves, the circuit, the endpoints and the hand-over."""
    monkeypatch.setenv("UNDERSTUDY_TOKEN", TOKEN)
    monkeypatch.setenv("COLUMNS", "200")
    result = status("--url", gateway + "/", "--backend", backend)
    assert result.exit_code == 0
    for said in (
        "deriver",
        "anthropic/anthropic-model",
        "fallback for",
        "openai-model",
        "open",
        "overloaded (HTTP 503)",
    ):
        assert said in result.stdout
    assert "3 in all, 2 handed over, 0 failed" in result.stdout


def test_json_is_the_gateways_own(gateway: str) -> None:
    """One object on one line; the token is read from the file that the gateway made."""
    file = Path.home() / ".understudy" / "gateway_token"
    file.parent.mkdir(parents=True)
    file.write_text(TOKEN + "\n")
    file.chmod(0o644)
    result = status("--json", "--url", gateway)
    assert (result.exit_code, "chmod 600" in result.stdout) == (2, True)
    file.chmod(0o600)
    result = status("--json", "--url", gateway)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["totals"]["answered"] == 3
    assert result.stdout.count("\n") == 1


def test_the_token_may_stand_in_dotenv(gateway: str) -> None:
    """Where `understudy serve` finds it, too; a mistake in it is told, and no other token is taken in its place."""
    Path(".env").write_text(f"UNDERSTUDY_TOKEN={TOKEN}\n")
    assert status("--url", gateway).exit_code == 0
    Path(".env").write_text("UNDERSTUDY_TOKEN='not the one'\n")
    for command in (["status", "--url", gateway], ["token"]):
        result = CliRunner().invoke(cli, command)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "UNDERSTUDY_TOKEN: expected a key: printable ASCII without spaces" in result.stderr


@pytest.mark.parametrize(
    ("url", "token", "code", "said"),
    [
        ("http://127.0.0.1:1", TOKEN, 1, "is `understudy serve` running?"),
        (None, "", 2, "there is no token"),
        (None, "not the one", 2, "printable ASCII without spaces"),
        (None, "not-the-one", 2, "refuses the token"),
        ("ftp://127.0.0.1", TOKEN, 2, "the address of a gateway"),
        ("http://user:key@127.0.0.1", TOKEN, 2, "the address of a gateway"),
    ],
)
def test_exit_codes_say_what_is_wrong(
    gateway: str, monkeypatch: pytest.MonkeyPatch, url: str | None, token: str, code: int, said: str
) -> None:
    """1 where nobody answers, 2 without a token that is taken, or for a wrong address; no traceback, no token."""
    monkeypatch.setenv("UNDERSTUDY_TOKEN", token)
    for watch in ([], ["--watch"]):
        result = status("--url", url or gateway, *watch)
        assert result.exit_code == code
        assert said in result.output
        assert TOKEN not in result.output


def test_what_is_no_gateway_is_said_to_be_none(gateway: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another status than 200 is enough."""
    monkeypatch.setenv("UNDERSTUDY_TOKEN", TOKEN)
    result = status("--url", f"{gateway}/nothing")
    assert (result.exit_code, "(HTTP 404)" in result.output) == (1, True)


def test_watching_draws_what_there_is_until_the_connection_ends(gateway: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that goes is said to have gone: 1."""
    monkeypatch.setenv("UNDERSTUDY_TOKEN", TOKEN)
    monkeypatch.setattr("understudy._status.SILENT_FOR", 2.0)  # it beats every 10 s: this one seems to hang
    result = status("--url", gateway, "--watch")
    assert result.exit_code == 1
    assert "anthropic/anthropic-model" in result.stdout
    assert "no gateway answers" in result.output


@pytest.mark.commands
@pytest.mark.anyio
async def test_watching_goes_on_until_it_is_ended(gateway: str, tmp_path: Path) -> None:
    """An object for each event, the first a snapshot; SIGTERM ends it in order."""
    command = [sys.executable, "-m", "understudy", "status", "--watch", "--json", "--url", gateway]
    async with await anyio.open_process(command, env={"UNDERSTUDY_TOKEN": TOKEN, "HOME": str(tmp_path)}) as process:
        assert process.stdout is not None
        text = ""
        with anyio.fail_after(20):
            async for part in TextReceiveStream(process.stdout):
                text += part
                if "\n" in text:
                    break
            process.terminate()
            assert await process.wait() == 143
    assert json.loads(text.partition("\n")[0])["event"] == "snapshot"


def test_what_a_gateway_says_moves_no_cursor_and_is_no_markup() -> None:
    """Names and reasons are escaped once more: a gateway may be anybody's."""
    nasty = "[red]\x1b[2Jx"
    circuit = {"key": nasty, "state": "held", "until": None, "reason": nasty}
    route = {"transport": "openai", "model": nasty}
    shown = {
        **{"version": nasty, "uptime": 5, "now": 100.0, "circuits": [circuit], "endpoints": [], "credentials": []},
        "totals": {"requests": 0, "handed_over": 0, "failed": 0},
        "rates": {"series": []},
        "latencies": [],
        "agents": [{"name": nasty, "serving": 0, "serving_since": None, "routes": [route]}],
        "handovers": [{"at": 40.0, "kind": "returned", "agent": nasty, "to": nasty, "after": 7.0}],
    }
    console = Console(width=300, force_terminal=False, record=True)
    with console.capture() as capture:
        console.print(tables(shown))
    assert "\x1b" not in capture.get()
    assert capture.get().count("[red]\\x1b[2Jx") == 7


@pytest.mark.parametrize(
    ("seconds", "said"), [(-3, "0 s"), (89, "89 s"), (90, "2 min"), (7200, "2 h"), (259200, "3 days")]
)
def test_durations_are_said_in_one_unit(seconds: float, said: str) -> None:
    """The one that fits."""
    assert ago(seconds) == said


def test_a_rate_is_a_mean_of_whole_seconds() -> None:
    """The one that is not over yet would make it too low."""
    assert recent([9] * 290 + [2] * 9 + [99]) == pytest.approx(2.7)
