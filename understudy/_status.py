"""`understudy status`: a running gateway as tables in a terminal, once or as it changes.

What it shows is `GET /status` of the gateway, and its `/events`. What comes over the wire is somebody else's text:
nothing in it is markup, and nothing in it moves the cursor.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, final
from urllib.parse import urlsplit

import click
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ._reach import URL, known_token
from ._show import edgeless, milliseconds
from .gateway import GatewayToken, merged
from .gateway._token import VARIABLE
from .providers import ConfigurationError, Problem, decode, escaped

if TYPE_CHECKING:
    import httpx2

JSON: TypeAlias = dict[str, Any]

_SET_IT = f"set {VARIABLE} to what `understudy token` prints where the gateway runs"

CONNECT_WITHIN, SILENT_FOR = 5.0, 25.0
"""Seconds to reach the gateway, and in which it says something: it sends a sign of life every 10."""

RECENT, HANDOVERS = 10, 5
"""Seconds that a rate is a mean of, and hand-overs that are shown."""

WIDE = 100
"""Columns of a terminal that has room for everything (chosen: names of usual length then stand on one line)."""

LOGIN_WIDTH = 14
"""Columns of a credential where there is little room (chosen: an address is worth more than a login on one line)."""

STYLES = {"closed": "green", "half_open": "cyan", "open": "bold red", "held": "yellow"}


class GatewayNotReachedError(OSError):
    """Nobody answers at an address, or it is no gateway that does."""


@final
@dataclass(frozen=True, slots=True)
class Access:
    """Where a gateway is, and the token that it is shown."""

    url: str
    token: GatewayToken


def access_to(url: str) -> Access:
    """Return the way to a gateway, with the token that `understudy serve` has in this environment.

    Raises:
        UsageError: The address is none.
        ConfigurationError: There is no token, or it cannot be read.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc or parts.query:
        raise click.UsageError(f"--url is the address of a gateway, such as {URL}")
    token = known_token()
    if token is None:
        raise ConfigurationError([Problem(VARIABLE, "the gateway's token", _SET_IT)])
    return Access(url.rstrip("/"), token)


async def show_once(access: Access, *, json_: bool) -> None:
    """Print how a gateway is.

    Raises:
        GatewayNotReachedError: There is none.
        ConfigurationError: It refuses the token.
    """
    async with _Client(access) as client:
        response = await client.get("/status")
        _check(response, access)
        status = _decoded(response.content, access)
    if json_:
        click.echo(json.dumps(status))
    else:
        console = edgeless()
        console.print(_drawn(status, console.width))


async def show_live(access: Access, *, json_: bool) -> None:
    """Print how a gateway is, and again whenever it changes, until the connection ends; as JSON, an object for each
    event.

    Raises:
        GatewayNotReachedError: There is none, or not any more.
        ConfigurationError: It refuses the token.
    """
    async with aclosing(_events(access)) as events:
        if json_:
            async for name, value in events:
                click.echo(json.dumps({"event": name, **value}))
        else:
            await _redraw(events)
    raise GatewayNotReachedError(f"the gateway at {access.url} ended the connection")


async def _redraw(events: AsyncIterator[tuple[str, JSON]]) -> None:
    whole: JSON | None = None
    console = edgeless()
    with Live(console=console, auto_refresh=False) as live:
        async for name, value in events:
            if name == "snapshot":
                whole = value
            elif whole is not None:
                whole = merged(whole, value)
            if whole is not None:
                live.update(_drawn(whole, console.width), refresh=True)


def _drawn(status: JSON, width: int) -> RenderableType:
    try:
        return tables(status, width)
    except (LookupError, TypeError, AttributeError, ValueError):
        raise GatewayNotReachedError("the gateway is of another version: it says what this one cannot show") from None


@final
class _Client:
    """An HTTP client of one gateway: no proxies, no redirects, and one plain error if it cannot be reached."""

    def __init__(self, access: Access) -> None:
        import httpx2  # takes a while to import, which other commands need not wait for

        self._access, self._faults = access, (httpx2.TransportError, httpx2.InvalidURL)
        self._client = httpx2.AsyncClient(
            base_url=access.url,
            headers={"Authorization": f"Bearer {access.token.secret.get_secret_value()}"},
            timeout=httpx2.Timeout(CONNECT_WITHIN, read=SILENT_FOR),
            trust_env=False,
            follow_redirects=False,
        )

    async def __aenter__(self) -> httpx2.AsyncClient:
        return await self._client.__aenter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        await self._client.__aexit__(kind, error, trace)
        if isinstance(error, self._faults):
            said = f"{type(error).__name__}: {error}".rstrip(": ")
            raise GatewayNotReachedError(
                f"no gateway answers at {self._access.url} ({escaped(said)}): is `understudy serve` running?"
            ) from error


def _check(response: httpx2.Response, access: Access) -> None:
    if response.status_code == 401:
        expected = f"the token that the gateway at {access.url} takes"
        raise ConfigurationError([Problem(access.token.source, expected, _SET_IT)])
    if response.status_code != 200:
        said = _said(response)
        why = f"refuses: {said}" if said else "is no gateway"
        raise GatewayNotReachedError(f"what answers at {access.url} {why} (HTTP {response.status_code})")


def _said(response: httpx2.Response) -> str:
    """Return what an error says, as the gateway says it; empty if it is none of a gateway's."""
    try:
        said = response.json()["error"]["message"]
    except Exception:  # noqa: BLE001 - whatever answers there
        return ""
    return escaped(said[:200]) if isinstance(said, str) else ""


def _decoded(data: bytes, access: Access) -> JSON:
    try:
        value = decode(data)
    except ValueError:
        value = None
    if not isinstance(value, dict) or "now" not in value:
        raise GatewayNotReachedError(f"what answers at {access.url} is no gateway: it says no status")
    return value


async def _events(access: Access) -> AsyncGenerator[tuple[str, JSON], None]:
    """Yield each event's name and what it holds."""
    async with _Client(access) as client, client.stream("GET", "/events") as response:
        _check(response, access)
        name = ""
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, _decoded(line.removeprefix("data: ").encode(), access)


def tables(status: JSON, width: int) -> RenderableType:
    """Return a status as tables, for so many columns: what is too long is folded, what says least is left out. Pure."""
    is_narrow = width < WIDE
    parts: list[RenderableType] = [_head(status), _serving(status), _requests(status, is_narrow=is_narrow)]
    barred = [row for row in status["circuits"] if row["state"] != "closed"]
    parts.append(_circuits(barred, status["now"]) if barred else Text("all circuits are closed", "green"))
    parts.append(_endpoints(status, is_narrow=is_narrow))
    if status["handovers"]:
        parts.append(_handovers(status["handovers"][-HANDOVERS:], status["now"]))
    return Group(*(part for each in parts for part in (each, Text())))


def _table(*titles: str) -> Table:
    """Return a table in which nothing is cut off."""
    table = Table(*titles, box=None)
    for column in table.columns:
        column.overflow = "fold"
    return table


def _head(status: JSON) -> Text:
    rate = sum(recent(row["counts"]) for row in status["rates"]["series"])
    totals = status["totals"]
    head = Text.assemble(("understudy ", "bold"), _text(status["version"]), f"  up {ago(status['uptime'])}  ")
    head.append(f"{rate:.1f} requests/s  {totals['requests']} in all, {totals['handed_over']} handed over, ")
    head.append(f"{totals['failed']} failed", "red" if totals["failed"] else "green")
    return head


def _serving(status: JSON) -> Table:
    table = _table("agent", "served by", "")
    for agent in status["agents"]:
        route = agent["routes"][agent["serving"]]
        since = agent["serving_since"]
        role = Text("primary", "green")
        if agent["serving"]:
            role = Text("fallback" + (f" for {ago(status['now'] - since)}" if since else ""), "yellow")
        table.add_row(_text(agent["name"]), _text(f"{route['transport']}/{route['model']}"), role)
    return table


def _requests(status: JSON, *, is_narrow: bool) -> Table:
    shares = ("p50",) if is_narrow else ("p50", "p99")
    times = [f"{name} {share}" for name in ("first token", "whole") for share in shares]
    table = _table("agent", "requests", "failed", "by fallback", "per s", *times)
    latencies = {(row["agent"], row["transport"], row["model"]): row for row in status["latencies"]}
    for agent in status["agents"]:
        route = agent["routes"][agent["serving"]]
        answered, failed = agent["answered"], agent["failed"]
        rate = sum(recent(row["counts"]) for row in status["rates"]["series"] if row["agent"] == agent["name"])
        known = latencies.get((agent["name"], route["transport"], route["model"]), {})
        found = [known.get(name) or {} for name in ("first_token", "latency")]
        table.add_row(
            _text(agent["name"]),
            str(answered + failed + agent["left"]),
            Text(str(failed), "red" if failed else "green"),
            f"{agent['by_fallback'] / answered:.0%}" if answered else "-",
            f"{rate:.1f}",
            *(milliseconds(each.get(share)) for each in found for share in shares),
        )
    return table


def _circuits(rows: Iterable[JSON], now: float) -> Table:
    table = _table("circuit", "state", "for", "reason")
    for row in rows:
        left = "-" if row["until"] is None else ago(row["until"] - now)
        state = str(row["state"])
        table.add_row(
            _text(row["key"]), Text(state.replace("_", " "), STYLES.get(state, "magenta")), left, _text(row["reason"])
        )
    return table


def _endpoints(status: JSON, *, is_narrow: bool) -> Table:
    """A narrow terminal does without who waits, and without the phase while all of them serve."""
    counts = {"in flight": "in_flight", "waiting": "waiting", "answered": "succeeded", "failed": "failed"}
    has_phase = not is_narrow or any(row["phase"] != "serving" for row in status["endpoints"])
    if is_narrow:
        del counts["waiting"]
    table = _table("endpoint", *(["phase"] if has_phase else []), "credential", *counts)
    table.columns[1 + has_phase].max_width = LOGIN_WIDTH if is_narrow else None
    credentials = {row["endpoint"]: row for row in status["credentials"]}
    for row in status["endpoints"]:
        phase = Text(str(row["phase"]), "green" if row["phase"] == "serving" else "red")
        credential = _credential(credentials.get(row["name"], {}), status["now"])
        numbers = (str(row[name]) for name in counts.values())
        table.add_row(_text(row["name"]), *([phase] if has_phase else []), credential, *numbers)
    return table


def _credential(row: JSON, now: float) -> Text:
    if row.get("kind") != "login":
        is_held = row.get("state") in {"open", "held", "forced_open"}
        return Text(f"{row.get('kind', '-')}{', held' if is_held else ''}", "red" if is_held else "")
    ends = row.get("expires_at")
    said = f"login {row['life']}" + (f", token for {ago(ends - now)}" if ends else "")
    return _text(said, "green" if row["life"] == "alive" else "red")


def _handovers(rows: Iterable[JSON], now: float) -> Table:
    table = _table("hand-over", "agent", "to", "reason")
    for row in rows:
        reason = f"back after {ago(row['after'])}" if row["kind"] == "returned" else row["reason"]
        table.add_row(f"{ago(now - row['at'])} ago", _text(row["agent"]), _text(row["to"]), _text(reason))
    return table


def recent(counts: list[int]) -> float:
    """Return the mean per second of the last whole seconds; the one that is not over is left out."""
    return sum(counts[-RECENT - 1 : -1]) / RECENT


def ago(seconds: float) -> str:
    """Return a duration in one unit, as people say it."""
    whole = max(round(seconds), 0)
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min"), (172800, 3600, "h")):
        if whole < limit:
            return f"{round(whole / unit)} {name}"
    return f"{round(whole / 86400)} days"


def _text(said: object, style: str = "") -> Text:
    return Text(escaped(str(said)), style)
