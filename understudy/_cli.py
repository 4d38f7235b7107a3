"""The command line: `ask`, `check`, `demo`, `login`, `logout`, `serve`, `simulate`, `status` and `token`.

Exit codes: 0 ok, 1 the request failed, 2 the configuration or the command itself is wrong, 130 interrupted by Ctrl-C,
143 ended by SIGTERM.
What each command has to say is made in `_show.py`; this file reads arguments, runs, and chooses the exit code.
"""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import anyio
import click

from ._ask import Question, Unsaved, events, text, whole
from ._demo import Report, demo
from ._reach import HOST, PORT, URL, made_token, reach
from ._serve import loop_options, run_gateway
from ._show import (
    all_problems,
    as_json,
    explain_plan,
    plan_as_json,
    problem_as_json,
    show_problems,
    show_report,
    show_trail,
)
from ._show_simulation import show_simulation
from ._sign_in import sign_in, sign_out
from ._signals import TERMINATED, TerminatedError, until_terminated
from ._simulate import plan_to_simulate
from ._status import access_to, show_live, show_once
from ._version import __version__
from .credentials import Host, Life, SignInError, look
from .providers import ConfigurationError, TrailedError, UnderstudyError, out_of_files
from .simulation import Simulation, draw, play, run_virtual, understood
from .supervisor import load, login_source

INTERRUPTED = 130
"""The exit code after Ctrl-C: 128 and the number of SIGINT, as shells have it."""

_CODES: dict[type[BaseException], int] = {
    ConfigurationError: 2,
    KeyboardInterrupt: INTERRUPTED,
    TerminatedError: TERMINATED,
}
"""The exit code of an error; of all others 1."""


def _installed(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if find_spec(value) is None:
        raise click.UsageError(f"{value} is not installed: pip install {value}")
    return value


class _Seconds(click.FloatRange):
    """A number of seconds that a clock can count: neither nan nor infinity."""

    name = "number of seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = float(super().convert(value, param, ctx))
        if not math.isfinite(seconds):
            self.fail(f"{seconds} is no number of seconds.", param, ctx)
        return seconds


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
_timeout = click.option(
    "--timeout",
    type=_Seconds(min=0, min_open=True),
    metavar="SECONDS",
    help="For all attempts together. Default: LLM_TOTAL_TIMEOUT.",
)
_seconds = click.option(
    "--seconds", type=_Seconds(min=1), metavar="SECONDS", default=8.0, show_default=True, help="How long it runs."
)
_json = click.option("--json", "json_", is_flag=True, help="Print one JSON object on one line.")


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 ok, 1 the request failed, 2 configuration or command wrong, 130 interrupted, 143 ended by "
    "SIGTERM.",
)
@click.version_option(__version__, prog_name="understudy")
def cli() -> None:
    """Keep AI agents answered: the primary model, and at once its fallback."""
    for name in ("understudy", "dotenv"):  # trails, reports and the list of mistakes say it all
        logging.getLogger(name).addHandler(_SILENT)
    if logging.lastResort is not None:
        logging.getLogger("understudy.settings").addHandler(logging.lastResort)  # but not what is ignored


@cli.command(short_help="Ask AGENT the PROMPT.")
@click.argument("agent")
@click.argument("prompt")
@_timeout
@click.option("--max-tokens", type=click.IntRange(min=1), help="The longest answer wanted, in tokens.")
@_backend
@click.option(
    "--stream",
    is_flag=True,
    help="As it comes: one that is cut off is an error; with --json an object for each event, and it begins anew.",
)
@click.option("--explain", is_flag=True, help="Say in words why this route answered, in place of the trail.")
@_json
def ask(
    agent: str,
    prompt: str,
    timeout: float | None,
    max_tokens: int | None,
    backend: str,
    stream: bool,
    explain: bool,
    json_: bool,
) -> None:
    """Ask AGENT the PROMPT (- reads it from standard input); the answer goes to standard output, the trail to
    standard error. What the model thinks first is not printed, but for --json --stream."""
    if sys.stdout is None:
        raise click.UsageError("standard output is closed: the answer would be lost")
    unsaved = Unsaved()
    question = Question(agent, _prompt(prompt), timeout, max_tokens, (unsaved,), explains=explain)
    way = (events if json_ else text) if stream else whole
    with _faults_told(json_=json_, event="failed" if stream else None):
        response = anyio.run(until_terminated, way, question, backend=backend)
    with _faults_told(json_=False):  # standard output is at fault then
        if json_ and not stream:
            explanation = {"explanation": response.explain()} if explain else {}
            click.echo(json.dumps(as_json(response) | explanation))
        elif not json_:
            if not stream:
                click.echo(response.text)
            if explain:
                click.echo(response.explain(), err=True)
            else:
                show_trail(response.attempts, response.passed_over)
    if unsaved.reason:
        click.echo(f"the renewed login is lost: {unsaved.reason}", err=True)
        sys.exit(1)


def _prompt(given: str) -> str:
    """Return the prompt, from standard input if it is `-`, in UTF-8 whatever the locale says.

    Raises:
        UsageError: It is empty, or not UTF-8.
    """
    data = given.encode(errors="surrogateescape")
    if given == "-":
        data = b"" if sys.stdin is None else sys.stdin.buffer.read()
    try:
        prompt = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"the prompt is not UTF-8: its byte {error.start + 1} cannot be read") from None
    if not prompt.strip():
        raise click.UsageError("the prompt is empty: there is nothing to ask")
    return prompt


@cli.command(short_help="Show every agent's chain, and every mistake.")
@click.option("--host", metavar="ADDRESS", help="Check the gateway as if `understudy serve` listened at this address.")
@_json
def check(host: str | None, json_: bool) -> None:
    """Show every agent's effective chain, how a login stands, how the gateway is reached if any of it is set, and
    every mistake that would stop a program or `understudy serve`. Exits with 2 if there is any, or if the login is
    over."""
    with _faults_told(json_=json_):
        plan = load()
        login = None if plan.login is None else look(plan.login, Host())
        found = reach(plan, host)
    with _faults_told(json_=False):
        if json_:
            click.echo(json.dumps(plan_as_json(plan, login, found)))
        else:
            explain_plan(plan, login, found)
    is_dead = login is not None and login.life is Life.DEAD
    sys.exit(2 if all_problems(plan, found) or plan.ignored or is_dead else 0)


@cli.group("login")
def login_group() -> None:
    """Log in to a provider."""


@cli.group("logout")
def logout_group() -> None:
    """Log out of a provider."""


@login_group.command("nous", short_help="Log in to Nous Portal.")
@click.option("--open", "opens", is_flag=True, help="Open the page in a browser, too.")
@_backend
@_json
def login_nous(opens: bool, backend: str, json_: bool) -> None:
    """Log in to Nous Portal: shows a page and a code to approve there, and waits. The login is kept where
    NOUS_AUTH_MODE and its like say: in our own file, or in Hermes Agent's."""
    with _faults_told(json_=json_, event="failed"):
        source = login_source()
        anyio.run(until_terminated, partial(sign_in, source, Host(), json_=json_, opens=opens), backend=backend)


@logout_group.command("nous", short_help="Forget the login to Nous Portal.")
@_backend
@_json
def logout_nous(backend: str, json_: bool) -> None:
    """Remove our own login to Nous Portal from this machine. One of Hermes Agent's is left alone."""
    with _faults_told(json_=json_, event="failed"):
        source = login_source()
        anyio.run(until_terminated, partial(sign_out, source, Host(), json_=json_), backend=backend)


@cli.command("demo", short_help="Run agents through an outage, on this machine alone.")
@_seconds
@click.option("--agents", type=click.IntRange(min=1), default=50, show_default=True, help="Concurrent agent loops.")
@_backend
@_json
def demo_command(seconds: float, agents: int, backend: str, json_: bool) -> None:
    """Run agents through an outage of their primary, with providers embedded on loopback: no key, no network."""
    with _faults_told(json_=json_):
        report: Report = anyio.run(demo, seconds, agents, not json_ and sys.stdout.isatty(), backend=backend)
    with _faults_told(json_=False):
        if json_:
            click.echo(json.dumps(report.as_json()))
        else:
            show_report(report)
    sys.exit(1 if report.failed else 0)


@cli.command(short_help="Run your configuration against outages.")
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
    with _faults_told(json_=json_):
        plan, is_example = plan_to_simulate()
        names = [name.strip() for name in agents.split(",") if name.strip()]
        scenario = understood(Simulation(outages, names, duration, every, seed), plan)
        report = run_virtual(play, scenario, backend=backend)
    if svg is not None:
        try:
            svg.write_text(draw(report), encoding="utf-8")
        except OSError as error:
            raise click.UsageError(f"{svg} cannot be written: {error.strerror}") from None
    with _faults_told(json_=False):  # standard output is at fault then
        if json_:
            click.echo(json.dumps({"example": is_example, **report.as_json()}))
        else:
            show_simulation(report, is_example=is_example)
    sys.exit(1 if report.failed else 0)


@cli.command("serve", short_help="Serve all agents over HTTP.")
@click.option("--host", default=HOST, show_default=True, help="The address to listen at; others need a strong token.")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0: any that is free.")
@_backend
def serve_command(host: str, port: int, backend: str) -> None:
    """Put all agents behind OpenAI's and Anthropic's HTTP, with a page that shows how they are, until SIGTERM or
    Ctrl-C: then what is being answered has 30 s, and a second signal ends it now. Clients show the token that
    `understudy token` prints, and call an agent a model.

    Exits with 0 when it was stopped, with 2 if the configuration is wrong or the address is taken."""
    with _faults_told(json_=False):
        options = loop_options(backend)
        anyio.run(run_gateway, host, port, partial(click.echo, err=True), backend=backend, backend_options=options)


@cli.command("token", short_help="Print the gateway's token.")
def token_command() -> None:
    """Print the token that clients of the gateway show: UNDERSTUDY_TOKEN, or the one that was made and is kept in a
    file; if there is none yet, it is made now."""
    with _faults_told(json_=False):
        click.echo(made_token().secret.get_secret_value())


@cli.command(short_help="Show a running gateway.")
@click.option("--url", default=URL, show_default=True, help="Where the gateway is.")
@click.option("--watch", is_flag=True, help="Show it as it changes; with --json an object for each event.")
@_backend
@_json
def status(url: str, watch: bool, backend: str, json_: bool) -> None:
    """Show who serves in a running gateway, its circuits, its endpoints and its last hand-overs. The token is taken
    from UNDERSTUDY_TOKEN, or from the file that the gateway made. Exits with 1 if no gateway answers, with 2 without
    a token that it takes."""
    with _faults_told(json_=json_):
        show = partial(show_live if watch else show_once, access_to(url), json_=json_)
        anyio.run(until_terminated, show, backend=backend)


_TOLD = (UnderstudyError, SignInError, TerminatedError, OSError, ValueError, KeyboardInterrupt)


@contextmanager
def _faults_told(*, json_: bool, event: str | None = None) -> Iterator[None]:
    """End the command if its body fails: with what went wrong, in words or as JSON, and the exit code that fits.

    Args:
        event: What the JSON is called among others.
    """
    try:
        yield
    except BrokenPipeError:  # nobody reads: click ends without a word
        raise
    except _TOLD as error:
        _fail(error, json_=json_, event=event)
    except BaseExceptionGroup as group:  # what befell tasks: Ctrl-C on trio, or the last file that could be opened
        told, bugs = group.split(_TOLD)
        if told is None or bugs is not None:
            raise
        _fail(_first(told), json_=json_, event=event)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error of a group that holds only those we tell; Ctrl-C goes before all others."""
    within: BaseException = group.subgroup(KeyboardInterrupt) or group
    while isinstance(within, BaseExceptionGroup):
        within = within.exceptions[0]
    return within


def _fail(error: BaseException, *, json_: bool, event: str | None) -> NoReturn:
    code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), 1)
    if json_:
        facts: dict[str, object] = {"type": type(error).__name__, "message": _said(error)}
        if isinstance(error, ConfigurationError):
            facts["problems"] = [problem_as_json(problem) for problem in error.problems]
        if isinstance(error, TrailedError):
            facts["status"] = getattr(error, "status", None)
            facts["retry_after"] = getattr(error, "retry_after", None)
        facts["attempts"] = [as_json(attempt) for attempt in getattr(error, "attempts", ())]
        with _faults_told(json_=False):  # standard output may be what is at fault
            click.echo(json.dumps({"error": facts} if event is None else {"event": event, "error": facts}))
    elif isinstance(error, ConfigurationError):
        show_problems(error.problems)
    elif isinstance(error, KeyboardInterrupt | TerminatedError | SignInError):
        click.echo(_said(error), err=True)
    else:
        click.echo(f"{type(error).__name__}: {_said(error).partition(NEWLINE)[0]}", err=True)  # the trail has the rest
        show_trail(getattr(error, "attempts", ()), getattr(error, "passed_over", ()))
        if (seconds := getattr(error, "retry_after", None)) is not None:
            click.echo(f"may be asked again in {seconds:g} s", err=True)
    sys.exit(code)


def _said(error: BaseException) -> str:
    """Return what an error says, and where the machine is at fault what to do about it."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if out_of_files(error):
        return f"{error}: allow more with ulimit -n"
    return str(error)
