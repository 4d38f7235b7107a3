"""The tables of the benchmarks, as values: from what was measured to cells. Nothing here measures or writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Row = dict[str, Any]


class Table(NamedTuple):
    """A table: what it says, its head, its rows."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def us(value: float | None) -> str:
    """Return microseconds as they are shown; nothing, where nothing was measured."""
    if value is None:
        return ""
    return f"{value:.1f} µs" if value < 20 else f"{value:,.0f} µs"


def times(row: Mapping[str, Any]) -> str:
    """Return ours as a multiple of the bare SDK's."""
    return f"{row['ours'] / row['bare']:.2f}x" if row.get("bare") else ""


def percent(share: float) -> str:
    """Return a share of a core."""
    return f"{share:.0%}"


def kib(size: float) -> str:
    """Return bytes."""
    return f"{size / 1024:.0f} KiB"


def calls(rows: Iterable[Row]) -> Table:
    """Return the table of whole answers."""
    head = (
        *("event loop", "wire", "messages", "in flight", "answered after"),
        *("bare SDK", "over httpx2", "ours", "ours / bare", "upstream"),
    )
    cells = [
        (
            *(row["backend"], row["wire"], str(row["messages"]), f"{row['in_flight']:,}", f"{row['delay']} ms"),
            *(us(row["bare"]), us(row.get("httpx2")), us(row["ours"]), times(row), percent(row["upstream"])),
        )
        for row in sorted(rows, key=lambda row: (LOOPS.index(row["backend"]), row["delay"]))
    ]
    return Table("CPU per call, over a mock upstream on loopback", head, cells)


LOOPS = ("asyncio", "uvloop", "trio")

PACES = {"burst": "100 at once", "trickle": "one every 20 ms, of 64 streams"}


def chunks(rows: Iterable[Row]) -> Table:
    """Return the table of streams."""
    head = ("event loop", "wire", "chunks come", "bare SDK", "ours", "ours / bare", "upstream")
    cells = [
        (
            *(row["backend"], row["wire"], PACES[row["pace"]]),
            *(us(row["bare"]), us(row["ours"]), times(row), percent(row["upstream"])),
        )
        for row in sorted(rows, key=lambda row: LOOPS.index(row["backend"]))
    ]
    return Table("CPU per chunk of a stream, the request included", head, cells)


FATES = {
    "answered": "answered by its primary",
    "429": "handed over after a 429",
    "500": "handed over after a 500",
    "refused": "handed over after a refused connection",
    "hang": "handed over after a timeout",
    "circuit open": "sent past its primary, whose circuit is open",
}


def fates(rows: Iterable[Row]) -> Table:
    """Return the table of hand-overs."""
    head = ("event loop", "the call is", "bare SDK, by hand", "ours", "ours / bare", "beyond another call", "upstream")
    cells = [
        (
            *(row["backend"], FATES[row["fate"]]),
            *(us(row.get("bare")), us(row["ours"]), times(row), beyond(row), percent(row["upstream"])),
        )
        for row in sorted(rows, key=lambda row: LOOPS.index(row["backend"]))
    ]
    return Table("CPU per call by what becomes of it, 32 in flight", head, cells)


def beyond(row: Row) -> str:
    """Return what a call costs beyond another one that the second route answers at once, as a share of that."""
    return f"{row['fated'] / row['another'] - 1:+.0%}" if "another" in row else ""


def memory(rows: Iterable[Row]) -> Table:
    """Return the table of memory, both sides in one row."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        found.setdefault((row["backend"], row["what"]), {})[row["side"]] = row["bytes"]
    head = ("event loop", "1,000 of them wait", "bare SDK", "ours", "ours / bare")
    said = {"call": "a call", "stream": "an open stream"}
    cells = [
        (backend, said[what], kib(sides["bare"]), kib(sides["ours"]), times(sides))
        for (backend, what), sides in sorted(found.items(), key=lambda item: LOOPS.index(item[0][0]))
    ]
    return Table("Resident memory of each call in flight, its connection included", head, cells)


def alone(rows: Mapping[str, Iterable[Row]]) -> Table:
    """Return the table of what is the dispatcher's own."""
    login = {row["backend"]: us(row["call"]) for row in rows["credential"]}
    traces = {row["backend"]: us(row["own"]) for row in rows["traces"]}
    head = ("event loop", "1 in flight", "1,000 in flight", "of it admit and settle", "a login adds", "Langfuse adds")
    cells = [
        (
            *(row["backend"], us(row["own"]["1"]), us(row["own"]["1000"]), us(row["admit and settle"])),
            *(login.get(row["backend"], ""), traces.get(row["backend"], "")),
        )
        for row in rows["dispatcher"]
    ]
    return Table("CPU of the dispatcher alone, over a provider that answers at once, and what is added", head, cells)


def startup(rows: Iterable[Row]) -> Table:
    """Return the table of imports."""
    head = ("in a fresh process", "CPU", "memory added")
    cells = [(row["what"], f"{row['cpu']:.3f} s", f"{row['megabytes']:.1f} MB") for row in rows]
    return Table("Beginning", head, cells)


OWN: dict[str, Callable[[Iterable[Row]], Table]] = {
    "complete": calls,
    "stream": chunks,
    "handover": fates,
    "memory": memory,
    "startup": startup,
}


def own_tables(figures: Mapping[str, Any]) -> list[Table]:
    """Return the tables of the library beside the bare SDKs."""
    return [*(table(figures[name]) for name, table in OWN.items()), alone(figures)]


ASKED = {"whole": "a whole answer", "stream": "a stream of 100 chunks"}
DIALECTS = {
    "openai": "OpenAI",
    "anthropic": "Anthropic",
    "translated": "OpenAI, answered by Anthropic",
}
USED = ("gateway", "upstream", "load")


def gateway_tables(rows: Iterable[Row], by: str = "backend") -> list[Table]:
    """Return the tables of gateways, which differ in their event loop or in what they are: `backend` or `peer`."""
    found = list(rows)
    label = "event loop" if by == "backend" else ""
    return [relayed(found, by, label), late(found, by, label), idle(found, by, label)]


def relayed(rows: Iterable[Row], by: str, label: str) -> Table:
    """Return the table of what a request costs a gateway."""
    cells = [
        (
            *(row[by], ASKED[row["what"]], *(us(row.get(dialect)) for dialect in DIALECTS)),
            *(percent(row[used]) for used in USED),
        )
        for row in rows
        if row["what"] in ASKED
    ]
    head = (label, "asked for", *DIALECTS.values(), *USED)
    return Table("CPU of the gateway per request, 64 connections", head, cells)


def late(rows: Iterable[Row], by: str, label: str) -> Table:
    """Return the table of how long answers take."""
    times = ("direct p50", "direct p95", "gateway p50", "gateway p95")
    cells = [
        (
            *(row[by], *(f"{row[time]:.0f} ms" for time in times), f"{row['gateway p50'] / row['direct p50']:.2f}x"),
            *(f"{row['rate']:,.0f}", *(percent(row[used]) for used in USED)),
        )
        for row in rows
        if row["what"] == "late"
    ]
    head = (label, *times, "p50 / direct", "answers a second", *USED)
    return Table("How long an answer takes over an upstream that takes 50 ms, 256 connections", head, cells)


def idle(rows: Iterable[Row], by: str, label: str) -> Table:
    """Return the table of what memory a gateway takes, and of the versions where they are told."""
    cells = [
        (row[by], *(f"{row[when] / 2**20:.0f} MB" for when in ("idle", "after")), *_told(row))
        for row in rows
        if row["what"] == "whole"
    ]
    versions = ("versions",) if any(len(row) > 3 for row in cells) else ()
    return Table("Resident memory of the gateway", (label, "idle", "after the requests above", *versions), cells)


def _told(row: Row) -> list[str]:
    return [_named(row["versions"])] if "versions" in row else []


def _named(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


MEASURES = ("call", "conversation", "handover", "stream")
"""Of the peers, what is CPU time."""


def by_peer(rows: Iterable[Row]) -> dict[str, dict[str, Row]]:
    """Return the rows of each peer, by what was measured."""
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        found.setdefault(row["peer"], {})[row["what"]] = row
    return found


def versions(measured: Mapping[str, Row]) -> str:
    """Return the versions that a peer was measured with."""
    return _named(measured["call"]["versions"])


def peer_tables(rows: Iterable[Row]) -> list[Table]:
    """Return the tables of the peers: what a call costs; memory, event loops and versions."""
    peers = by_peer(rows)
    head = ("", "1 message", "41 messages", "handed over after a 500", "per chunk of a burst", "upstream, at most")
    costs = [
        (
            *(title, *(us(measured[what]["cpu"] if what in measured else None) for what in MEASURES)),
            percent(max(row["upstream"] for row in measured.values() if "upstream" in row)),
        )
        for title, measured in peers.items()
    ]
    more = [
        (
            *(title, kib(measured["memory"]["bytes"]), f"{measured['memory']['connections']:,.0f}"),
            *("yes" if measured["trio"]["trio"] else "no", versions(measured)),
        )
        for title, measured in peers.items()
    ]
    return [
        Table("CPU per call beside other libraries, 64 in flight, asyncio", head, costs),
        Table(
            "Memory of each of 1,000 calls that wait, and where it runs",
            ("", "memory", "connections open then", "on trio", "versions"),
            more,
        ),
    ]


def markdown(table: Table) -> str:
    """Return a table as a document has it, under its title."""
    lines = [table.head, ("---",) * len(table.head), *table.rows]
    return "\n".join([f"### {table.title}", "", *("| " + " | ".join(cells) + " |" for cells in lines)])
