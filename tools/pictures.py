"""`make pictures`: the pictures in `docs/`, drawn from what happens: the trace of a tool run, as Langfuse is sent it,
and the metrics of the demo's outage.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from pydantic import SecretStr
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

sys.path.insert(0, str(Path(__file__).parent.parent))

import understudy
from tests.collector import Collector, Observation, collecting
from understudy import AgentSettings, Metrics, RouteSettings, Settings
from understudy._demo import watched
from understudy.simulation import Answer, Phase, Script, SimulatedServer, Status, simulated_server

DOCS = Path(__file__).parent.parent / "docs"
STYLES = {"agent": "bold magenta", "span": "cyan", "generation": "bold green", "tool": "yellow"}
BLUE, ORANGE, RED, GREY = "#0072b2", "#e69f00", "#d55e00", "#8c959f"
"""Colours of Okabe and Ito, which colour-blind people can tell apart."""


def look_up(question: str) -> str:
    """Look something up.

    Args:
        question: What is asked.
    """
    return f"{question} Johann Wolfgang von Goethe, in 1808."


async def traced(collector: Collector) -> None:
    """Run a tool run whose primary goes down after its first turn, with Langfuse at the collector."""
    usual = Answer("Faust was written by Goethe.", 0.3, rounds=1)
    async with (
        simulated_server(Script.sequence(usual, otherwise=Status(503, after=0.05))) as lead,
        simulated_server(Script.always(usual)) as second,
    ):
        agent = AgentSettings(
            primary=RouteSettings(transport="openai", model="gpt-5.4-mini", base_url=lead.openai_url),
            fallbacks=(RouteSettings(transport="anthropic", model="claude-haiku-4-5", base_url=second.anthropic_url),),
        )
        settings = Settings.in_code(
            agents={"research": agent},
            langfuse_public_key="pk-lf-picture",
            langfuse_secret_key=SecretStr("sk-lf-picture"),
            langfuse_base_url=collector.url,
        )
        async with understudy.open_supervisor(settings) as supervisor:
            await supervisor.agent("research").run("Who wrote Faust, and when?", tools=[look_up])


def tree(collector: Collector, parent: Observation | None = None, within: Tree | None = None) -> Tree:
    """Return what the collector was sent as a tree."""
    found = [each for each in collector.observations if each.parent == (parent.id if parent else "")]
    for each in sorted(found, key=lambda each: each.start):
        branch = Tree(line(each)) if within is None else within.add(line(each))
        tree(collector, each, branch)
        within = within or branch
    return within or Tree("nothing")


def line(seen: Observation) -> Text:
    """Return what an observation says of itself on one line."""
    kind = seen["type"]
    text = Text.assemble((seen.name, STYLES[kind]), f"  {kind}", style="default")
    text.append(f"  {seen.duration:.2f} s", style="dim")
    if seen["model.name"]:
        text.append(f"  {seen['model.name']}")
        text.append(f"  {json.loads(seen['usage_details'])['total']} tokens", style="dim")
    if seen["level"] == "WARNING":
        text.append(f"\n  {seen['level']}: {seen['status_message']}", style="bold yellow")
    if kind == "generation":
        for attempt in seen.metadata["attempts"]:
            style = "green" if attempt["verdict"] == "ok" else "red"
            text.append(f"\n  attempt {attempt['number']}: {attempt['transport']} {attempt['verdict']}", style=style)
            text.append(f", status {attempt['status']}, {attempt['duration']:.2f} s", style=style)
    return text


def draw_trace() -> None:
    """Write the picture of a trace."""
    with collecting() as collector:
        anyio.run(traced, collector)
        console = Console(record=True, width=112, file=open("/dev/null", "w"), force_terminal=True)  # noqa: SIM115
        console.print(tree(collector))
        console.save_svg(str(DOCS / "trace.svg"), title="what Langfuse is sent of one tool run")


class Watcher:
    """Looks at the metrics of a demo five times a second."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, Metrics]] = []
        self.outage = (0.0, 0.0)

    @asynccontextmanager
    async def __call__(self, _: Any, supervisor: Any, primary: SimulatedServer, outage: Phase) -> AsyncIterator[None]:
        """Look on for the body of an `async with`."""
        self.outage, begun = (outage.since, outage.until), anyio.current_time()

        async def look() -> None:
            while True:
                self.seen.append((anyio.current_time() - begun, supervisor.metrics()))
                await anyio.sleep(0.2)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look)
            yield
            tasks.cancel_scope.cancel()


def rates(watcher: Watcher, name: str, **labels: str) -> tuple[list[float], list[float]]:
    """Return the instants, and how fast a counter rose until each, per second."""
    at = [when for when, _ in watcher.seen]
    totals = [metrics.total(name, **labels) for _, metrics in watcher.seen]
    steps = zip(zip(at, totals, strict=True), zip(at[1:], totals[1:], strict=True), strict=False)
    return at[1:], [(after - before) / (later - sooner) for (sooner, before), (later, after) in steps]


def state_of(metrics: Metrics, states: tuple[str, ...]) -> int:
    """Return the place of the state that the primary's circuit is in."""
    of = (metrics.total("understudy.circuit.state", state=state, model="lead-1") for state in states)
    return next((place for place, value in enumerate(of) if value), 0)


def draw_metrics() -> None:
    """Write the picture of a demo's metrics."""
    watcher = Watcher()
    anyio.run(watched, 12.0, 50, watcher)
    import matplotlib  # not before: its objects would make the collector of garbage hold up the demo
    from matplotlib import pyplot

    matplotlib.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    matplotlib.rcParams.update({"svg.hashsalt": "understudy", "svg.fonttype": "none", "font.family": "sans-serif"})
    figure, plots = pyplot.subplots(3, 1, sharex=True, figsize=(8, 6.2), height_ratios=(3, 3, 1.3))
    answers, attempts, gauges = plots
    at, lead = rates(watcher, "understudy.requests", transport="openai", error="")
    _, second = rates(watcher, "understudy.requests", transport="anthropic", error="")
    answers.stackplot(at, lead, second, labels=["by the primary", "by the fallback"], colors=[BLUE, ORANGE], step="pre")
    answers.set_ylabel("answers / s")
    for name, colour, said in (
        ("understudy.handovers", RED, "handed over after a failure"),
        ("understudy.passed_over", GREY, "passed over: circuit open"),
    ):
        attempts.step(*rates(watcher, name), color=colour, label=said)
    attempts.set_ylabel("requests / s")
    states = ("closed", "half_open", "open")
    circuit = [state_of(metrics, states) for _, metrics in watcher.seen]
    gauges.step([when for when, _ in watcher.seen], circuit, color=RED, where="post")
    gauges.set_yticks(range(3), states)
    gauges.set_ylabel("circuit")
    gauges.set_xlabel("seconds")
    for axes in (answers, attempts, gauges):
        axes.axvspan(*watcher.outage, color=RED, alpha=0.08, lw=0)
        axes.set_xlim(0, 12)
    for axes in (answers, attempts):
        axes.legend(loc="upper left", frameon=False, ncols=2)
        axes.set_ylim(0, axes.get_ylim()[1] * 1.2)
    answers.set_title("understudy demo, 50 agents: supervisor.metrics() through an outage of the primary", loc="left")
    figure.tight_layout()
    figure.savefig(DOCS / "metrics.svg", metadata={"Date": None})


if __name__ == "__main__":
    draw_trace()
    draw_metrics()
