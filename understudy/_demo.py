"""The demo: agents at work, an outage of their primary in the middle, and nobody who notices.

Two vendors are simulated on loopback, with real HTTP and the real SDK clients: a primary on the OpenAI wire and a
fallback on the Anthropic wire. Each question is a streamed tool run: the model looks something up, and answers with
what was found. For the middle third of the time the primary is out: at first streams break off in the middle, then it
answers 503. Every question holds a nonce, and what is found another one. The answer must hold both, once: one that
went to the wrong caller, came twice or lacks a piece would be seen.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any, TypeAlias, final

import anyio
import anyio.lowlevel
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ._open import open_supervisor
from ._show import milliseconds
from .actors import Health
from .providers import ConfigurationError, Problem, Restarted, TextDelta, Tool, UnderstudyError, load, user
from .simulation import Answer, Breaks, Phase, Script, SimulatedServer, Status, simulated_server, worst
from .supervisor import (
    Agent,
    AgentSettings,
    Iteration,
    RouteSettings,
    RunStream,
    Settings,
    Supervisor,
    as_tool,
    background_tasks,
)

ROLES = ("deriver", "summary", "dialectic.low", "dialectic.max", "dream")
LATENCY, EVERY, THINKING = 0.03, 0.004, 0.5
"""Seconds that a simulated model takes to begin, and for each piece of an answer; and that an agent takes between two
questions."""

LAST = 0.5
"""Seconds before the end in which no question is asked any more, so that the last ones are answered."""

BROKEN, PIECES = 0.2, 3
"""How many streams break off when the outage begins, as a share of the agents, and after how many pieces they do."""


@final
@dataclass(frozen=True, slots=True)
class Took:
    """How long an agent waited: until the first content, and for the whole run, in seconds."""

    first_token: float
    whole: float


@final
@dataclass(slots=True)
class Report:
    """What happened. `answers` are by the transport that gave them; `failed` are wrong answers and none."""

    agents: int
    outage: float
    seconds: float = 0.0
    requests: int = 0
    failed: int = 0
    handed_over: int = 0
    restarted: int = 0
    tool_calls: int = 0
    primary_calls_during_outage: int = 0
    answers: dict[str, list[Took]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return what `understudy demo --json` prints. Times are in seconds."""
        every = [took for answers in self.answers.values() for took in answers]
        return {
            "requests": self.requests,
            "answered": len(every),
            "failed": self.failed,
            "handed_over": self.handed_over,
            "restarted": self.restarted,
            "tool_calls": self.tool_calls,
            "served_by": {transport: len(answers) for transport, answers in self.answers.items()},
            "primary_calls_during_outage": self.primary_calls_during_outage,
            "latencies": {
                transport: {"median": round(middle, 4), "slowest": round(slowest, 4)}
                for transport, (_, _, middle, slowest) in self.latencies().items()
            },
            "first_token": round(median(took.first_token for took in every), 4) if every else None,
            "seconds": round(self.seconds, 3),
        }

    def latencies(self) -> dict[str, tuple[int, float, float, float]]:
        """Return, by transport, the number of answers, the median until the first content, and for whole runs their
        median and their slowest, in seconds.
        """
        return {transport: _latencies(answers) for transport, answers in self.answers.items()}


Watch: TypeAlias = Callable[[Report, Supervisor, SimulatedServer, Phase], AbstractAsyncContextManager[None]]
"""What looks on: given the report as it grows, the supervisor, the primary, and its outage."""


def _latencies(answers: list[Took]) -> tuple[int, float, float, float]:
    whole = [took.whole for took in answers]
    return len(answers), median(took.first_token for took in answers), median(whole), max(whole)


FILES_PER_AGENT, OTHER_FILES = 4, 40
"""Files that are open at once: both ends of a connection to each vendor; and all that is no agent's (chosen: about
twenty were counted)."""


def files_missing(agents: int, allowed: int) -> Problem | None:
    """Say what is wrong if so many agents need more open files than are allowed (-1: any number)."""
    needed = agents * FILES_PER_AGENT + OTHER_FILES
    if allowed < 0 or needed <= allowed:
        return None
    fit = (allowed - OTHER_FILES) // FILES_PER_AGENT
    remedy = f"allow more with ulimit -n {needed}" + (f", or run it with --agents {fit}" if fit > 0 else "")
    return Problem("ulimit -n", f"{needed} open files for {agents} agents, not {allowed}", remedy)


def _check_files(agents: int) -> None:
    """Refuse to begin what would end in agents that wait for a connection that this process cannot open.

    Raises:
        ConfigurationError: Too few open files are allowed.
    """
    import resource  # not at the top: there is none on Windows, where no such limit is either

    problem = files_missing(agents, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    if problem is not None:
        raise ConfigurationError([problem])


@contextmanager
def _no_proxies() -> Iterator[None]:
    """Hide the environment's proxies: they are meant for the world, and the demo's vendors are on loopback."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.lower().endswith("_proxy")}
    try:
        yield
    finally:
        os.environ.update(hidden)


async def demo(seconds: float, agents: int, live: bool) -> Report:
    """Run `agents` loops for `seconds` seconds; with `live`, show a table meanwhile.

    Raises:
        ConfigurationError: Too few open files are allowed for so many agents, or a client cannot be opened.
    """
    return await watched(seconds, agents, _table if live else _unseen)


async def watched(seconds: float, agents: int, watch: Watch) -> Report:
    """Run as `demo` does, with `watch` around it.

    Raises:
        ConfigurationError: As `demo`.
    """
    _check_files(agents)
    with _no_proxies():
        return await _demo(seconds, agents, watch)


async def _demo(seconds: float, agents: int, watch: Watch) -> Report:
    for transport in ("openai", "anthropic"):  # an import takes a second, which the script must not begin with
        load(transport)
    begin, end = seconds / 3, seconds * 2 / 3
    usual = Answer(None, LATENCY, EVERY, rounds=1)
    breaking = Phase(Breaks(usual, PIECES), since=begin, until=end, calls=math.ceil(agents * BROKEN))
    outage = Phase(Status(503), since=begin, until=end)
    async with (
        simulated_server(Script((breaking, outage), usual)) as primary,
        simulated_server(Script.always(usual)) as fallback,
        open_supervisor(_settings(primary, fallback, (end - begin) / 4)) as supervisor,
    ):
        report, begun = Report(agents, end - begin), anyio.current_time()
        async with watch(report, supervisor, primary, outage):
            with anyio.move_on_after(seconds):
                async with anyio.create_task_group() as loops:
                    for number in range(agents):
                        handle = supervisor.agent(ROLES[number % len(ROLES)])
                        loops.start_soon(_loop, number, handle, report, begun + seconds)
        report.seconds = anyio.current_time() - begun
        report.primary_calls_during_outage = sum(begin <= call.at < end for call in primary.log)
    return report


def _settings(primary: SimulatedServer, fallback: SimulatedServer, open_for: float) -> Settings:
    """Circuits are open for `open_for` seconds, for an outage of seconds instead of minutes."""
    first = RouteSettings(transport="openai", model="lead-1", base_url=primary.openai_url)
    second = RouteSettings(transport="anthropic", model="understudy-1", base_url=fallback.anthropic_url)
    agent = AgentSettings(primary=first, fallbacks=(second,))
    agents = dict.fromkeys(ROLES, agent)
    return Settings.in_code(agents=agents, circuit_open_for=open_for, circuit_open_max=open_for)


async def _loop(number: int, agent: Agent, report: Report, until: float) -> None:
    """Ask one question after the other; the last one is answered before the time is over."""
    rand, found = random.Random(number), dict[str, str]()  # noqa: S311 - a spread, no secret

    async def look_up(question: str) -> str:
        """Look up what is known.

        Args:
            question: The question, word for word.
        """
        report.tool_calls += 1
        await anyio.lowlevel.checkpoint()
        return found[question]

    tool = as_tool(look_up)
    await anyio.sleep(rand.random() * THINKING)
    while anyio.current_time() < until - LAST:
        question = f"question {rand.getrandbits(64):x} of agent {number}"
        found[question] = f"fact {rand.getrandbits(64):x}"
        report.requests += 1
        try:
            with anyio.CancelScope(shield=True):
                report.failed += not await _answered(agent, question, tool, f"{question}\n{found[question]}", report)
        except UnderstudyError:
            report.failed += 1
        await anyio.sleep(THINKING * (0.5 + rand.random()))


async def _answered(agent: Agent, question: str, tool: Tool, expected: str, report: Report) -> bool:
    """Ask one question, and say whether the answer is right: as it came, and as a whole.

    Raises:
        UnderstudyError: Nobody answered.
    """
    asked_at = anyio.current_time()
    async with agent.stream_run([user(question)], tools=[tool], timeout=30, on_interrupt="restart") as stream:
        first_token = anyio.current_time() - asked_at
        text = await _read(stream, report)
    run = stream.run
    report.handed_over += run.is_fallback
    took = Took(first_token, anyio.current_time() - asked_at)
    report.answers.setdefault(run.response.transport, []).append(took)
    return text == run.text == expected


async def _read(stream: RunStream, report: Report) -> str:
    """Return the text of the last turn, put together from its pieces; what is void is dropped."""
    text = ""
    async for event in stream:
        match event:
            case TextDelta():
                text += event.text
            case Restarted():
                report.restarted += 1
                text = ""
            case Iteration():
                text = ""
    return text


def _circuit(health: Health) -> Text:
    """Say what stands against an endpoint, and for how many seconds more."""
    gates = (health.endpoint, health.credential, *health.models.values())
    state, left = worst(*gates), max((gate.reopens_in or 0.0 for gate in gates), default=0.0)
    colour = {"closed": "green", "half-open": "cyan"}.get(state, "bold red")
    return Text(f"{state} {left:.1f} s" if left else state, colour)


@asynccontextmanager
async def _unseen(*_: object) -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def _table(
    report: Report, supervisor: Supervisor, primary: SimulatedServer, outage: Phase
) -> AsyncIterator[None]:
    """Show who serves whom, four times a second."""
    begun, last = anyio.current_time(), dict[str, int]()

    def picture() -> Group:
        at = anyio.current_time() - begun
        down = outage.since <= at < outage.until
        titles = ("endpoint", "circuit", "answers", "answers/s", "in flight", "first token", "median")
        table = Table(*titles, box=None)
        for name, health in supervisor.health().items():
            transport = name.partition(" ")[0]
            answers = report.answers.get(transport, [])
            rate = (len(answers) - last.get(transport, 0)) * 4
            last[transport] = len(answers)
            _, first, middle, _ = _latencies(answers) if answers else (0, None, None, None)
            counts = str(len(answers)), str(rate), str(health.in_flight)
            table.add_row(name, _circuit(health), *counts, milliseconds(first), milliseconds(middle))
        state = Text("the primary is out", "bold red") if down else Text("the primary is well", "green")
        head = Text.assemble(f"{at:4.1f} s  {report.agents} agents  ", state, f"  {report.handed_over} handed over")
        return Group(head, table)

    with Live(picture(), console=Console(), auto_refresh=False, transient=True) as live:

        async def refresh() -> None:
            while True:
                await anyio.sleep(0.25)
                live.update(picture(), refresh=True)

        async with background_tasks() as tasks:
            tasks.start_soon(refresh)
            yield
