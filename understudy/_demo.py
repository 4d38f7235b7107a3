"""The demo: agents at work, an outage of their primary in the middle, and nobody who notices.

Two vendors are simulated on loopback, with real HTTP and the real SDK clients: a primary on the OpenAI wire that
answers 503 for the middle third of the time, and a fallback on the Anthropic wire. Every question holds a nonce that
must come back, so an answer that went to the wrong caller would be seen.
"""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any, final

import anyio
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ._open import open_supervisor
from .actors import Health
from .providers import ConfigurationError, Problem, UnderstudyError, load, user
from .simulation import Answer, Phase, Script, SimulatedServer, Status, simulated_server, worst
from .supervisor import Agent, AgentSettings, RouteSettings, Settings, Supervisor, background_tasks

ROLES = ("deriver", "summary", "dialectic.low", "dialectic.max", "dream")
LATENCY, THINKING = 0.05, 0.15
"""Seconds that a simulated model takes, and that an agent takes between two questions."""


@final
@dataclass(slots=True)
class Report:
    """What happened. Latencies are in seconds, by the transport that answered."""

    agents: int
    outage: float
    seconds: float = 0.0
    requests: int = 0
    failed: int = 0
    handed_over: int = 0
    primary_calls_during_outage: int = 0
    answers: dict[str, list[float]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return what `understudy demo --json` prints."""
        return {
            "requests": self.requests,
            "answered": sum(map(len, self.answers.values())),
            "failed": self.failed,
            "handed_over": self.handed_over,
            "served_by": {transport: len(seconds) for transport, seconds in self.answers.items()},
            "primary_calls_during_outage": self.primary_calls_during_outage,
            "seconds": round(self.seconds, 3),
        }

    def latencies(self) -> dict[str, tuple[int, float, float]]:
        """Return, by transport, the number of answers, their median and their slowest in seconds."""
        return {transport: (len(s), median(s), max(s)) for transport, s in self.answers.items()}


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
    _check_files(agents)
    with _no_proxies():
        return await _demo(seconds, agents, live)


async def _demo(seconds: float, agents: int, live: bool) -> Report:
    for transport in ("openai", "anthropic"):  # an import takes a second, which the script must not begin with
        load(transport)
    begin, end = seconds / 3, seconds * 2 / 3
    outage = Phase(Status(503), since=begin, until=end)
    async with (
        simulated_server(Script((outage,), Answer(None, LATENCY))) as primary,
        simulated_server(Script.always(Answer(None, LATENCY))) as fallback,
        open_supervisor(_settings(primary, fallback, (end - begin) / 4)) as supervisor,
    ):
        report, begun = Report(agents, end - begin), anyio.current_time()
        async with _table(report, supervisor, primary, outage) if live else background_tasks():
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
    rand = random.Random(number)  # noqa: S311 - a spread, no secret
    await anyio.sleep(rand.random() * THINKING)
    while anyio.current_time() < until - 10 * LATENCY:
        nonce = f"question {rand.getrandbits(64):x} of agent {number}"
        asked_at = anyio.current_time()
        report.requests += 1
        try:
            with anyio.CancelScope(shield=True):
                response = await agent.complete([user(nonce)], timeout=30)
        except UnderstudyError:
            report.failed += 1
        else:
            report.failed += response.text != nonce
            report.handed_over += response.is_fallback
            report.answers.setdefault(response.transport, []).append(anyio.current_time() - asked_at)
        await anyio.sleep(THINKING * (0.5 + rand.random()))


def _circuit(health: Health) -> Text:
    """Say what stands against an endpoint, and for how many seconds more."""
    gates = (health.endpoint, health.credential, *health.models.values())
    state, left = worst(*gates), max((gate.reopens_in or 0.0 for gate in gates), default=0.0)
    colour = {"closed": "green", "half-open": "cyan"}.get(state, "bold red")
    return Text(f"{state} {left:.1f} s" if left else state, colour)


@asynccontextmanager
async def _table(
    report: Report, supervisor: Supervisor, primary: SimulatedServer, outage: Phase
) -> AsyncIterator[None]:
    """Show who serves whom, four times a second."""
    begun, last = anyio.current_time(), dict[str, int]()

    def picture() -> Group:
        at = anyio.current_time() - begun
        down = outage.since <= at < outage.until
        table = Table("endpoint", "circuit", "answers", "answers/s", "in flight", "median", box=None)
        for name, health in supervisor.health().items():
            transport = name.partition(" ")[0]
            answers = report.answers.get(transport, [])
            rate = (len(answers) - last.get(transport, 0)) * 4
            last[transport] = len(answers)
            middle = f"{median(answers) * 1000:.0f} ms" if answers else "-"
            table.add_row(name, _circuit(health), str(len(answers)), str(rate), str(health.in_flight), middle)
        state = Text("the primary answers 503", "bold red") if down else Text("the primary is well", "green")
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
