"""What `understudy simulate` shows to people. Programs get `Report.as_json`."""

from __future__ import annotations

import math
from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from .simulation import FAILED, AgentReport, Failed, Happened, OutageReport, Report, as_time

CELLS = 60
"""Characters of a timeline."""

SHOWN, LAST = 40, 10
"""Events and failed requests that are shown, and of the events how many of the last ones; `--json` has all of them."""

_COLOURS = ("blue", "yellow", "green", "magenta")


def show_simulation(report: Report, *, is_example: bool) -> None:
    """Print what came of a simulation: who served when, who was asked, what failed, what the circuits did."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 1000  # a pipe has no edge
    if is_example:
        console.print("[yellow]note[/yellow]  no agent is configured: this is an example; understudy check says more")
    for number, one in enumerate(report.outages, start=1):
        console.print(f"[bold]outage {number}[/bold]  {escape(one.outage.text)}")
    _timelines(console, report)
    console.print(_models(report))
    console.print(_agents(report))
    _returns(console, report.outages)
    _events(console, report)
    _failures(console, report.failed)
    verdict = f"[red]{len(report.failed)} failed[/red]" if report.failed else "[green]every one was answered[/green]"
    console.print(f"{report.requests} requests in {as_time(report.duration)}, {verdict}.")


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in titles:
        table.add_column(title, overflow="fold")
    return table


def _timelines(console: Console, report: Report) -> None:
    """Print a timeline for each agent, and whom its numbers mean: beside it, or below if the terminal is too narrow."""
    titles = ("agent", f"who served, {as_time(report.duration / CELLS)} a character")
    beside, alone = _table(*titles, "by"), _table(*titles)
    for table in (beside, alone):
        table.columns[1].no_wrap = True
    for agent in report.agents:
        cells = (Text(agent.name), _timeline(agent, report.duration))
        beside.add_row(*cells, Text(_legend(agent)))
        alone.add_row(*cells)
    unbounded = console.options.update(max_width=1000)  # a measure is otherwise never wider than the terminal
    if console.measure(beside, options=unbounded).maximum <= console.width:
        console.print(beside)
        return
    console.print(alone)
    for agent in report.agents:
        console.print(f"{escape(agent.name)}: {escape(_legend(agent))}", soft_wrap=True)


def _legend(agent: AgentReport) -> str:
    routes = [f"{number} {name}" for number, name in enumerate(agent.routes, start=1)]
    return ", ".join([*routes, *(["x nobody"] if agent.failed else [])])


def _timeline(agent: AgentReport, duration: float) -> Text:
    """One character for each sixtieth of the time: the number of the route that served at its end, or x."""
    line = Text()
    for cell in range(CELLS):
        begin, end = duration * cell / CELLS, duration * (cell + 1) / CELLS
        during = [span.what for span in agent.spans if span.since < end and span.until > begin]
        if FAILED in during:
            line.append("x", "bold red")
        elif during:
            route = agent.routes.index(during[-1])
            line.append(str(route + 1), _COLOURS[min(route, len(_COLOURS) - 1)])
    return line


def _models(report: Report) -> Table:
    table = _table("endpoint", "model", "calls", "in outages", "probes")
    for model in report.models:
        numbers = (str(model.calls), str(model.calls_in_outages), str(len(model.probes)))
        table.add_row(Text(model.endpoint), Text(model.model), *numbers)
    return table


def _agents(report: Report) -> Table:
    table = _table("agent", "requests", "failed", "longest wait", "served by")
    for agent in report.agents:
        served = ", ".join(f"{name} {count}" for name, count in agent.served.items())
        numbers = (str(agent.requests), str(agent.failed), as_time(agent.longest_wait))
        table.add_row(Text(agent.name), *numbers, Text(served))
    return table


def _returns(console: Console, outages: Iterable[OutageReport]) -> None:
    for number, one in enumerate(outages, start=1):
        if math.isinf(one.outage.until):
            console.print(f"outage {number} lasted to the end")
            continue
        for agent, after in one.back_after.items():
            back = "did not come back" if after is None else f"was back {as_time(after)} after its end"
            console.print(f"outage {number}: the primary of {escape(agent)} {back}", soft_wrap=True)


def _events(console: Console, report: Report) -> None:
    """Print the first events and the last: how it began, and how it ended."""
    events = report.events
    width = max([9, *(len(as_time(event.at)) for event in events)])
    first = len(events) if len(events) <= SHOWN else SHOWN - LAST
    for event in events[:first]:
        _event(console, event, width)
    _more(console, len(events), "events")
    for event in events[first:][-LAST:]:
        _event(console, event, width)


def _event(console: Console, event: Happened, width: int) -> None:
    about, detail = escape(event.about), f"  [dim]{escape(event.detail)}[/dim]" if event.detail else ""
    console.print(f"{as_time(event.at):>{width}}  {event.what:14}  {about}{detail}", soft_wrap=True)


def _failures(console: Console, failed: Iterable[Failed]) -> None:
    """Print one line for all requests of an agent that failed in the same way."""
    alike = dict[tuple[str, str, tuple[str, ...], tuple[str, ...]], list[Failed]]()
    for one in failed:
        alike.setdefault((one.agent, one.error, tuple(dict.fromkeys(one.reasons)), one.well), []).append(one)
    for (agent, error, reasons, well), those in list(alike.items())[:SHOWN]:
        last = f" to {as_time(those[-1].at)}" if len(those) > 1 else ""
        although = f"; no outage hit {', '.join(well)}" if well else ""
        console.print(
            f"{as_time(those[0].at):>9}{last}  [red]{len(those)} failed[/red]  {escape(agent)}  "
            f"[dim]{error}: {escape('; '.join(reasons) + although)}[/dim]",
            soft_wrap=True,
        )
    _more(console, len(alike), "kinds of failure")


def _more(console: Console, count: int, what: str) -> None:
    if count > SHOWN:
        console.print(f"[dim]{count - SHOWN} more {what}: see --json[/dim]")
