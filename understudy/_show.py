"""What the command line shows: tables for people, plain dicts for programs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, assert_never

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ._show_gateway import reach_as_json, reach_table
from .credentials import Life, LoginHealth, LoginSource
from .providers import (
    TRANSPORTS,
    Attempt,
    Finished,
    PassedOver,
    Problem,
    ReasoningDelta,
    Response,
    Restarted,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Verdict,
)
from .supervisor import LangfuseAccess, Limits, Plan, Route, notes, without_fallback

if TYPE_CHECKING:
    from ._demo import Report
    from ._reach import Reach


def as_json(value: Response | Attempt) -> dict[str, Any]:
    """Return a response or an attempt as a dict that JSON can hold."""
    if isinstance(value, Attempt):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    usage = {field.name: getattr(value.usage, field.name) for field in fields(value.usage)}
    return {
        "text": value.text,
        "model": value.model,
        "transport": value.transport,
        "is_fallback": value.is_fallback,
        "finish_reason": value.finish_reason,
        "usage": {**usage, "total_tokens": value.usage.total_tokens},
        "cost": value.cost,
        "request_id": value.request_id,
        "first_token": value.first_token,
        "attempts": [as_json(attempt) for attempt in value.attempts],
        "passed_over": [
            {field.name: getattr(route, field.name) for field in fields(route)} for route in value.passed_over
        ],
    }


def event_as_json(event: StreamEvent) -> dict[str, Any]:
    """Return an event of a stream as a dict that JSON can hold."""
    match event:
        case TextDelta(text):
            return {"event": "text", "text": text}
        case ReasoningDelta(text):
            return {"event": "reasoning", "text": text}
        case ToolCallStarted(index, id_, name):
            return {"event": "tool_call_started", "index": index, "id": id_, "name": name}
        case ToolCallDelta(index, arguments):
            return {"event": "tool_call_delta", "index": index, "arguments": arguments}
        case Restarted(transport, model, reason):
            return {"event": "restarted", "transport": transport, "model": model, "reason": reason}
        case Finished(response):
            return {"event": "finished", **as_json(response)}
        case _:
            assert_never(event)


def problem_as_json(problem: Problem) -> dict[str, str]:
    """Return a problem as a dict."""
    return {"variable": problem.variable, "expected": problem.expected, "remedy": problem.remedy}


def login_as_json(login: LoginHealth) -> dict[str, Any]:
    """Return how a login stands as a dict."""
    names = ("mode", "where", "life", "reason", "expires_in", "days_left")
    return {name: getattr(login, name) for name in names}


def plan_as_json(plan: Plan, login: LoginHealth | None, reach: Reach | None) -> dict[str, Any]:
    """Return what `understudy check --json` prints."""
    return {
        "login": None if login is None else login_as_json(login),
        "langfuse": None if plan.langfuse is None else _langfuse_as_json(plan.langfuse),
        "gateway": None if reach is None else reach_as_json(reach),
        "agents": {
            name: [_route_as_json(route, number, plan.login) for number, route in enumerate(agent.routes)]
            for name, agent in plan.agents.items()
        },
        "notes": {name: list(notes(agent)) for name, agent in plan.agents.items()},
        "without_fallback": list(without_fallback(plan.agents.values())),
        "mistakes": [problem_as_json(problem) for problem in all_problems(plan, reach)],
        "ignored": [problem_as_json(problem) for problem in plan.ignored],
    }


def all_problems(plan: Plan, reach: Reach | None) -> tuple[Problem, ...]:
    """Return the mistakes of a configuration and of its gateway."""
    return plan.problems if reach is None else (*plan.problems, *reach.problems)


def _langfuse_as_json(access: LangfuseAccess) -> dict[str, Any]:
    names = ("public_key", "base_url", "capture_content", "sample_rate", "namespace")
    return {name: getattr(access, name) for name in names}


def _route_as_json(route: Route, number: int, login: LoginSource | None) -> dict[str, Any]:
    limits = route.limits
    return {
        "role": _role(number),
        "transport": route.transport,
        "model": route.model,
        "base_url": route.target.base_url,
        "credential": _credential(route, login),
        "variables": dict(route.set_by),
        "limits": {"attempt": limits.attempt, "first_token": limits.first_token, "stall": limits.stall},
        "price": None if route.price is None else asdict(route.price),
    }


def _role(number: int) -> str:
    return "primary" if number == 0 else "fallback" if number == 1 else f"fallback {number}"


def _credential(route: Route, login: LoginSource | None) -> str:
    if route.target.credential and login is not None:
        return f"login ({login.mode})"
    if route.target.api_key is not None:
        return "set"
    if route.wants_key:
        return "missing"
    return "no key" if TRANSPORTS[route.transport].needs_key else "not needed"


def _origin(route: Route) -> str:
    """Return the variables that made a route, what all of them begin with once."""
    prefix = route.variables.model.removesuffix("MODEL")
    own = sorted({name.removeprefix(prefix) for name in route.set_by.values()})
    return f"{prefix}* ({', '.join(own)})"


def _login_said(login: LoginHealth) -> str:
    """Return how a login stands, in words."""
    parts = [str(login.life)]
    if login.expires_in is not None:
        parts.append(f"its token ends in {login.expires_in / 60:.0f} min")
    elif login.life is Life.ALIVE and not login.reason:
        parts.append("its token is renewed at its next use")
    if login.days_left is not None:
        parts.append(f"the login ends in {login.days_left:.0f} days")
    return f"{login.mode} in {login.where}: {', '.join(parts)}" + (f" ({login.reason})" if login.reason else "")


def edgeless() -> Console:
    """Return a console for standard output: in a pipe there is no edge at which to break an address."""
    console = Console()
    if not console.is_terminal:
        console.width = 1000
    return console


def explain_plan(plan: Plan, login: LoginHealth | None, reach: Reach | None) -> None:
    """Print every agent's chain, how its login stands, how the gateway is reached, what is ignored, and every
    mistake.
    """
    console = edgeless()
    if plan.agents:
        console.print(_chains(plan))
        console.print(f"[dim]{_limits_said(plan)}[/dim]")
    if login is not None:
        style = "red" if login.life is Life.DEAD else "green"
        console.print(f"[{style}]login[/{style}]  {escape(_login_said(login))}", soft_wrap=True)
    if plan.langfuse is not None:
        content = "with" if plan.langfuse.capture_content else "without"
        where = escape(plan.langfuse.base_url)
        console.print(f"[green]traces[/green]  Langfuse at {where}, {content} prompts and answers", soft_wrap=True)
    if plan.has_prices:
        missing = dict.fromkeys(f"{route.transport}/{route.model}" for route in plan.routes if route.price is None)
        said = f"none for {', '.join(missing)}" if missing else "for every route"
        console.print(f"[{'yellow' if missing else 'green'}]prices[/]  {escape(said)}", soft_wrap=True)
    if reach is not None:
        console.print(reach_table(reach))
        for note in reach.notes:
            console.print(f"[yellow]note[/yellow]  gateway: {escape(note)}", soft_wrap=True)
    if lone := without_fallback(plan.agents.values()):
        said = f"no fallback for {', '.join(lone)}: what the primary cannot answer fails"
        console.print(f"[yellow]note[/yellow]  {escape(said)}", soft_wrap=True)
    for name, agent in plan.agents.items():
        for note in notes(agent):
            console.print(f"[yellow]note[/yellow]  {escape(name)}: {escape(note)}", soft_wrap=True)
        for number, route in enumerate(agent.routes):
            if route.set_by:
                console.print(f"[dim]{escape(name)} {_role(number)} is set by {escape(_origin(route))}[/dim]")
    show_problems(all_problems(plan, reach))
    _problem_lines("ignored", plan.ignored)


def _chains(plan: Plan) -> Table:
    """Return every agent's chain as a table; limits have a column only where they differ."""
    table = Table(box=None)
    titles = ("agent", "role", "transport", "model", "base URL", "credential")
    for title in (*titles, *(["limits (s)"] if _common_limits(plan) is None else [])):
        table.add_column(title, overflow="fold", no_wrap=title not in {"agent", "model", "base URL"})
    for name, agent in plan.agents.items():
        for number, route in enumerate(agent.routes):
            cells = (name if number == 0 else "", _role(number), route.transport, route.model, route.target.base_url)
            limits = f"{route.limits.attempt:g} / {route.limits.first_token:g} / {route.limits.stall:g}"
            own = (*cells, _credential(route, plan.login), limits)
            table.add_row(*map(escape, own[: len(table.columns)]))
    return table


def _common_limits(plan: Plan) -> Limits | None:
    """Return the limits of all routes if they are the same."""
    found = list(dict.fromkeys(route.limits for route in plan.routes))
    return found[0] if len(found) == 1 else None


def _limits_said(plan: Plan) -> str:
    limits = _common_limits(plan)
    if limits is None:
        return "limits: an attempt, its first token, a pause in a stream"
    return (
        f"limits: {limits.attempt:g} s for an attempt, {limits.first_token:g} s for its first token, "
        f"{limits.stall:g} s for a pause in a stream"
    )


def show_problems(problems: Iterable[Problem]) -> None:
    """Print every mistake on standard error."""
    _problem_lines("mistake", problems)


def _problem_lines(title: str, problems: Iterable[Problem]) -> None:
    """Print one line for each: in the columns of a table, the names of variables would be cut or broken."""
    console = Console(stderr=True, highlight=False)
    for problem in problems:
        console.print(f"[bold red]{title}[/bold red]  {escape(str(problem))}", soft_wrap=True)


def show_trail(attempts: Iterable[Attempt], passed_over: Iterable[PassedOver]) -> None:
    """Print the trail on standard error."""
    console = Console(stderr=True, highlight=False)
    for attempt in attempts:
        style = "green" if attempt.verdict is Verdict.OK else "yellow"
        what = escape(attempt.reason or attempt.verdict)
        first = "" if attempt.first_token is None else f", the first token after {attempt.first_token * 1000:.0f} ms"
        console.print(
            f"[dim]{attempt.number}.[/dim] {escape(attempt.transport)} {escape(attempt.model)}"
            f"  [{style}]{what}[/{style}]  [dim]{attempt.duration * 1000:.0f} ms{first}[/dim]",
            soft_wrap=True,
        )
        if attempt.dropped:
            console.print(f"   [dim]not sent: {escape(', '.join(attempt.dropped))}[/dim]", soft_wrap=True)
    for route in passed_over:
        what = f"{route.transport} {route.model}  passed over: {route.reason}"
        console.print(f"[dim]-[/dim]   {escape(what)}", soft_wrap=True)


def show_report(report: Report) -> None:
    """Print the summary of a demo."""
    console = Console(highlight=False)
    table = Table("served by", "answers", "first token", "median", "slowest", box=None)
    for transport, (answers, *seconds) in report.latencies().items():
        table.add_row(transport, str(answers), *map(milliseconds, seconds))
    console.print(table)
    verdict = "[green]every request was answered[/green]" if not report.failed else f"[red]{report.failed} failed[/red]"
    console.print(
        f"{report.requests} tool runs by {report.agents} agents in {report.seconds:.1f} s, {verdict}; "
        f"{report.handed_over} were handed over in an outage of {report.outage:.1f} s, in which the primary was asked "
        f"{report.primary_calls_during_outage} times; {report.restarted} answers that broke off were begun anew."
    )


def milliseconds(seconds: float | None) -> str:
    """Return seconds as a cell of a table."""
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"
