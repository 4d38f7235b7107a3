"""`understudy status`: what it shows of a running gateway, and its exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

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
    assert ["deriver", "3", "0", "100%"] in [line.split()[:4] for line in result.stdout.splitlines()]


def test_json_is_the_gateways_own(gateway: str) -> None:
    """One object on one line; the token is read from the file that the gateway made."""
    file = Path.home() / ".understudy" / "gateway_token"
    file.parent.mkdir(parents=True)
    file.write_text(TOKEN + "\n")
    file.chmod(0o644)
    result = status("--json", "--url", gateway)
    assert (result.exit_code, "chmod 600" in json.loads(result.stdout)["error"]["problems"][0]["remedy"]) == (2, True)
    file.chmod(0o600)
    result = status("--json", "--url", gateway)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["totals"]["answered"] == 3
    assert result.stdout.count("\n") == 1


def test_the_token_may_stand_in_dotenv(gateway: str) -> None:
    """Where `understudy serve` finds it, too; a mistake in it is told, and no other token is taken in its place."""
    Path(".env").write_text(f"UNDERSTUDY_TOKEN={TOKEN}\n")
    assert status("--url", gateway).exit_code == 0
    for line, said in (
        ("UNDERSTUDY_TOKEN='not the one'", "UNDERSTUDY_TOKEN: expected a key: printable ASCII without spaces"),
        (f"UNDERSTUDY_TOKEN: {TOKEN}", ".env line 1: expected NAME=value"),
    ):
        Path(".env").write_text(line + "\n")
        for command in (["status", "--url", gateway], ["token"]):
            result = CliRunner().invoke(cli, command)
            assert (result.exit_code, result.stdout) == (2, "")
            assert said in result.stderr
    Path(".env").unlink()
    made = CliRunner().invoke(cli, ["token"])
    assert made.stdout == (Path.home() / ".understudy" / "gateway_token").read_text()


@pytest.mark.parametrize(
    ("url", "token", "code", "said"),
    [
        ("http://127.0.0.1:1", TOKEN, 1, "is `understudy serve` running?"),
        (None, "", 2, "mistake  UNDERSTUDY_TOKEN: expected the gateway's token; set UNDERSTUDY_TOKEN to what"),
        (None, "not the one", 2, "printable ASCII without spaces"),
        (None, "not-the-one", 2, "mistake  UNDERSTUDY_TOKEN: expected the token that the gateway at http://127.0.0.1:"),
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


def shown(status: dict[str, Any], width: int) -> list[str]:
    """Return the lines that a terminal of so many columns shows."""
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(tables(status, width))
    return [line.rstrip() for line in capture.get().splitlines()]


def cells(lines: list[str], title: str) -> list[str]:
    """Return the rows of a table, its head the first, each with one space between its words."""
    begin = next(number for number, line in enumerate(lines) if " ".join(line.split()).startswith(title))
    end = begin + [*lines[begin:], ""].index("")
    return [" ".join(line.split()) for line in lines[begin:end]]


OPENAI, ANTHROPIC = "openai at https://api.openai.com/v1", "anthropic at https://gateway.internal.example/anthropic"
STATUS: dict[str, Any] = {
    **{"version": "1.2.3", "uptime": 3600, "now": 1000.0, "totals": {"requests": 1311, "handed_over": 9, "failed": 7}},
    "rates": {"series": [{"agent": "deriver", "counts": [2] * 300}]},
    "agents": [
        {
            **{"name": "deriver", "serving": 1, "serving_since": 280.0},
            **{"answered": 1300, "by_fallback": 325, "failed": 7, "left": 4},
            "routes": [
                {"transport": "openai", "model": "gpt-5.4-mini"},
                {"transport": "anthropic", "model": "claude-haiku-4-5-20251001"},
            ],
        },
        {
            **{"name": "dialectic.max", "serving": 0, "serving_since": None},
            **{"answered": 0, "by_fallback": 0, "failed": 0, "left": 0},
            "routes": [{"transport": "openai", "model": "gpt-5.4-mini"}],
        },
    ],
    "latencies": [
        {
            **{"agent": "deriver", "transport": "anthropic", "model": "claude-haiku-4-5-20251001"},
            "latency": {"p50": 1.2, "p99": 12.5},
            "first_token": {"p50": 0.25, "p99": 1.0},
        }
    ],
    "circuits": [
        {
            **{"key": f"{OPENAI} / gpt-5.4-mini", "state": "open", "until": 1009.0},
            "reason": "overloaded (HTTP 503): The server is overloaded or not ready yet",
        }
    ],
    "credentials": [
        {"endpoint": OPENAI, "kind": "key", "state": "closed"},
        {"endpoint": ANTHROPIC, "kind": "login", "life": "alive", "expires_at": 1900.0},
    ],
    "endpoints": [
        {"name": name, "phase": "serving", "in_flight": 12, "waiting": 3, "succeeded": 650, "failed": 41}
        for name in (OPENAI, ANTHROPIC)
    ],
    "handovers": [
        {
            **{"at": 280.0, "kind": "handed_over", "agent": "deriver", "to": "anthropic/claude-haiku-4-5-20251001"},
            "reason": "overloaded (HTTP 503)",
        }
    ],
}


@pytest.mark.parametrize("width", [80, 120])
def test_nothing_is_cut_off(width: int) -> None:
    """Names, addresses and reasons are there to their last letter, on one line or on several."""
    lines = shown(STATUS, width)
    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)
    assert cells(lines, "agent served by") == [
        "agent served by",
        "deriver anthropic/claude-haiku-4-5-20251001 fallback for 12 min",
        "dialectic.max openai/gpt-5.4-mini primary",
    ]
    assert column(lines, "circuit", "state") == f"{OPENAI} / gpt-5.4-mini"
    assert column(lines, "endpoint", "phase" if width == 120 else "credential") == OPENAI + ANTHROPIC


def column(lines: list[str], title: str, after: str) -> str:
    """Return what stands in the first column of a table, without the breaks; `after` is the title of the next one."""
    begin = next(number for number, line in enumerate(lines) if line.split()[:1] == [title])
    end = begin + [*lines[begin:], ""].index("")
    folded = [line[: lines[begin].index(after)].strip() for line in lines[begin + 1 : end]]
    return "".join(f"{part} " if part.endswith((" at", " /")) else part for part in folded)


@pytest.mark.parametrize(
    ("width", "rows"),
    [
        (
            80,
            [
                "agent requests failed by fallback per s p50 whole p50",
                "deriver 1311 7 25% 2.0 250 ms 1200 ms",
                "dialectic.max 0 0 - 0.0 - -",
            ],
        ),
        (
            120,
            [
                "agent requests failed by fallback per s first token p50 first token p99 whole p50 whole p99",
                "deriver 1311 7 25% 2.0 250 ms 1000 ms 1200 ms 12500 ms",
                "dialectic.max 0 0 - 0.0 - - - -",
            ],
        ),
    ],
)
def test_each_agents_requests_failures_and_fallbacks(width: int, rows: list[str]) -> None:
    """On one line each; a narrow terminal does without the slowest hundredth."""
    found = [line for line in map(" ".join, map(str.split, shown(STATUS, width))) if line]
    begin = next(number for number, line in enumerate(found) if line.startswith("agent requests"))
    assert found[begin : begin + len(rows)] == rows


def test_endpoints_at_eighty_columns() -> None:
    """Their addresses are folded; who waits is left out, and so is the phase, until one of them does not serve."""
    lines = cells(shown(STATUS, 80), "endpoint")
    assert lines[:3] == [
        "endpoint credential in flight answered failed",
        "openai at key 12 650 41",
        "https://api.openai.com/v1",
    ]
    draining = [{**row, "phase": "draining"} for row in STATUS["endpoints"]]
    assert cells(shown({**STATUS, "endpoints": draining}, 80), "endpoint")[1] == "openai at draining key 12 650 41"
    assert cells(shown(STATUS, 120), "endpoint")[1] == f"{OPENAI} serving key 12 3 650 41"


def test_what_a_gateway_says_moves_no_cursor_and_is_no_markup() -> None:
    """Names and reasons are escaped once more: a gateway may be anybody's."""
    nasty = "[red]\x1b[2Jx"
    circuit = {"key": nasty, "state": "held", "until": None, "reason": nasty}
    agent = {**STATUS["agents"][1], "name": nasty, "routes": [{"transport": "openai", "model": nasty}]}
    back = {"at": 40.0, "kind": "returned", "agent": nasty, "to": nasty, "after": 7.0}
    nobody = {"version": nasty, "circuits": [circuit], "agents": [agent], "handovers": [back], "endpoints": []}
    said = "".join(shown({**STATUS, **nobody}, 300))
    assert "\x1b" not in said
    assert said.count("[red]\\x1b[2Jx") == 8


@pytest.mark.parametrize(
    ("seconds", "said"), [(-3, "0 s"), (89, "89 s"), (90, "2 min"), (7200, "2 h"), (259200, "3 days")]
)
def test_durations_are_said_in_one_unit(seconds: float, said: str) -> None:
    """The one that fits."""
    assert ago(seconds) == said


def test_a_rate_is_a_mean_of_whole_seconds() -> None:
    """The one that is not over yet would make it too low."""
    assert recent([9] * 290 + [2] * 9 + [99]) == pytest.approx(2.7)
