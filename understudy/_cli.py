"""The command line: `ask`, `check`, `demo`, `simulate`. Exit codes: 0 ok, 1 a request failed, 2 wrong configuration.

What each command has to say is made in `_show.py`; this file reads arguments, runs, and chooses the exit code.
"""

from __future__ import annotations

import json
import logging
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import anyio
import click

from ._demo import Report, demo
from ._open import open_supervisor
from ._show import as_json, explain_plan, plan_as_json, problem_as_json, show_problems, show_report, show_trail
from ._show_simulation import show_simulation
from ._simulate import plan_to_simulate
from .providers import ConfigurationError, Parameters, Response, TrailedError, UnderstudyError, user
from .simulation import Simulation, draw, play, run_virtual, understood
from .supervisor import load


def _installed(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if find_spec(value) is None:
        raise click.UsageError(f"{value} is not installed: pip install {value}")
    return value


_backend = click.option(
    "--backend",
    type=click.Choice(["asyncio", "trio"]),
    default="asyncio",
    show_default=True,
    callback=_installed,
    help="The event loop.",
)
NEWLINE = "\n"
_SILENT = logging.NullHandler()
_json = click.option("--json", "json_", is_flag=True, help="Print one JSON object on one line.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("understudy"), prog_name="understudy")
def cli() -> None:
    """Keep AI agents answered: the primary model, and at once its fallback."""
    logging.getLogger("understudy").addHandler(_SILENT)  # trails and reports say it all
    if logging.lastResort is not None:
        logging.getLogger("understudy.settings").addHandler(logging.lastResort)  # but not what is ignored


@cli.command()
@click.argument("agent")
@click.argument("prompt")
@click.option("--timeout", type=float, help="Seconds for everything. Default: LLM_TOTAL_TIMEOUT.")
@click.option("--max-tokens", type=int, help="The longest answer wanted, in tokens.")
@_backend
@_json
def ask(agent: str, prompt: str, timeout: float | None, max_tokens: int | None, backend: str, json_: bool) -> None:
    """Ask AGENT the PROMPT (- reads it from standard input); the answer goes to standard output, the trail to
    standard error."""
    if prompt == "-":
        prompt = sys.stdin.read()

    async def run() -> Response:
        async with open_supervisor() as supervisor:
            handle = supervisor.agent(agent)
            parameters: Parameters = {} if max_tokens is None else {"max_tokens": max_tokens}
            return await handle.complete([user(prompt)], timeout=timeout, **parameters)

    try:
        response = anyio.run(run, backend=backend)
    except (UnderstudyError, OSError, ValueError) as error:
        _fail(error, json_=json_)
    if json_:
        click.echo(json.dumps(as_json(response)))
    else:
        click.echo(response.text)
        show_trail(response.attempts, response.passed_over)


@cli.command()
@_json
def check(json_: bool) -> None:
    """Show every agent's effective chain, and every mistake. Exits with 2 if there is any."""
    plan = load()
    if json_:
        click.echo(json.dumps(plan_as_json(plan)))
    else:
        explain_plan(plan)
    sys.exit(2 if plan.problems or plan.ignored else 0)


@cli.command("demo")
@click.option("--seconds", type=click.FloatRange(min=1), default=8.0, show_default=True, help="How long it runs.")
@click.option("--agents", type=click.IntRange(min=1), default=50, show_default=True, help="Concurrent agent loops.")
@_backend
@_json
def demo_command(seconds: float, agents: int, backend: str, json_: bool) -> None:
    """Run agents through an outage of their primary, with providers embedded on loopback: no key, no network."""
    try:
        report: Report = anyio.run(demo, seconds, agents, not json_ and sys.stdout.isatty(), backend=backend)
    except UnderstudyError as error:
        _fail(error, json_=json_)
    if json_:
        click.echo(json.dumps(report.as_json()))
    else:
        show_report(report)
    sys.exit(1 if report.failed else 0)


@cli.command()
@click.option("--agents", metavar="A,B", default="", help="Who asks. Default: all agents.")
@click.option(
    "--outage",
    "outages",
    metavar="TEXT",
    multiple=True,
    help="Such as 'openai 503 from 10s for 1m'; may be given several times. Default: the first agent's primary is down "
    "in the second fifth of the time.",
)
@click.option("--duration", metavar="TIME", help="How long they ask. Default: 5m, or 2m more than the outages last.")
@click.option("--every", metavar="TIME", default="4s", show_default=True, help="How often each agent asks.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed, the same report.")
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Write a picture to this file, too.")
@_backend
@_json
def simulate(
    agents: str,
    outages: tuple[str, ...],
    duration: str | None,
    every: str,
    seed: int,
    svg: Path | None,
    backend: str,
    json_: bool,
) -> None:
    """Run your configuration against outages, in virtual time: no network, no keys, hours in a second.

    An outage is a TARGET and a FAULT, then in any order `from TIME`, `for TIME`, `on MODEL`. TARGET is a transport, a
    base URL, or `TRANSPORT at BASE-URL`; FAULT a status (also `429 retry-after 30`), `hang`, `reset`, `refused` or
    `slow TIME`, with a share such as `50%` before it where it hits only some requests.

    Exits with 1 if any request failed, with 2 if the configuration or an outage is wrong.
    """
    try:
        plan, is_example = plan_to_simulate()
        names = [name.strip() for name in agents.split(",") if name.strip()]
        scenario = understood(Simulation(outages, names, duration, every, seed), plan)
    except ConfigurationError as error:
        _fail(error, json_=json_)
    report = run_virtual(play, scenario, backend=backend)
    if svg is not None:
        try:
            svg.write_text(draw(report), encoding="utf-8")
        except OSError as error:
            raise click.UsageError(f"{svg} cannot be written: {error.strerror}") from None
    if json_:
        click.echo(json.dumps({"example": is_example, **report.as_json()}))
    else:
        show_simulation(report, is_example=is_example)
    sys.exit(1 if report.failed else 0)


def _fail(error: Exception, *, json_: bool) -> NoReturn:
    configuration = isinstance(error, ConfigurationError)
    if json_:
        facts: dict[str, object] = {"type": type(error).__name__, "message": str(error)}
        if isinstance(error, ConfigurationError):
            facts["problems"] = [problem_as_json(problem) for problem in error.problems]
        if isinstance(error, TrailedError):
            facts["status"] = getattr(error, "status", None)
            facts["retry_after"] = getattr(error, "retry_after", None)
        facts["attempts"] = [as_json(attempt) for attempt in getattr(error, "attempts", ())]
        click.echo(json.dumps({"error": facts}))
    elif isinstance(error, ConfigurationError):
        show_problems(error.problems)
    else:
        click.echo(f"{type(error).__name__}: {str(error).partition(NEWLINE)[0]}", err=True)  # the trail has the rest
        show_trail(getattr(error, "attempts", ()), getattr(error, "passed_over", ()))
    sys.exit(2 if configuration else 1)
