"""The gateway over the mock upstream: CPU of its process per request, how long an answer takes, and its memory.

`python -m benchmarks.gateway JOB` starts `understudy serve` on a core of its own, and asks it from another one, which
the load generator shares with the upstream. Sides take turns: the dialects, or the gateway and the upstream asked
directly.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from statistics import median, quantiles
from typing import NamedTuple

from .load import Load, Side, Spent, in_turn, request
from .measure import Job, job, resident
from .served import KEY, Gateway, Served, cores, ours, pinned, served
from .tables import Row

SCENARIOS = (("whole",), ("stream",), ("late",))
"""Whole answers at once, streams of 100 chunks in one burst, whole answers after 50 ms."""

LOADS = {"whole": Load(64, 20, 5), "stream": Load(64, 4, 5), "late": Load(256, 8, 5)}

QUICK = Load(8, 2, 1)

DIRECT = "direct"
"""The side that asks the upstream itself."""


class Pair(NamedTuple):
    """The dialect that a client speaks, and the name of what it calls."""

    dialect: str
    target: str


PAIRS = {
    "openai": Pair("openai", "openai"),
    "anthropic": Pair("anthropic", "anthropic"),
    "translated": Pair("openai", "anthropic"),
}
"""Relayed as it came in either dialect, and translated from OpenAI's into Anthropic's."""


def side(running: Served, pair: Pair, url: str, *, streamed: bool = False) -> Side:
    """Return the side that asks a gateway."""
    model, headers = running.gateway.called(pair.target, url)
    return Side(running.port, running.process, request(pair.dialect, model, headers, streamed=streamed), streamed)


def direct(url: str) -> Side:
    """Return the side that asks the upstream itself."""
    port = int(url.removesuffix("/v1").rpartition(":")[2])
    return Side(port, 0, request("openai", "slow", {"authorization": f"Bearer {KEY}"}))


def microseconds(rounds: Sequence[Spent]) -> float:
    """Return the CPU of the one asked for a request, the median of the rounds."""
    return median(spent.asked / len(spent.waits) for spent in rounds) * 1e6


def milliseconds(rounds: Sequence[Spent], percent: int) -> float:
    """Return how long an answer took at most, of so many in a hundred; the median of the rounds."""
    return median(quantiles(spent.waits, n=100)[percent - 1] for spent in rounds) * 1e3


def rate(rounds: Sequence[Spent]) -> float:
    """Return the answers a second, the median of the rounds."""
    return median(len(spent.waits) / spent.wall for spent in rounds)


def shares(rounds: Iterable[Spent]) -> dict[str, float]:
    """Return the shares of their cores that the one asked, the upstream and the load generator used."""
    spent = list(rounds)
    wall = sum(each.wall for each in spent)
    used = {"gateway": "asked", "upstream": "upstream", "load": "load"}
    return {name: sum(getattr(each, clock) for each in spent) / wall for name, clock in used.items()}


def busiest(sides: Mapping[str, Sequence[Spent]]) -> dict[str, float]:
    """Return the shares of the side that kept upstream and load generator busiest."""
    return max(map(shares, sides.values()), key=lambda found: found["upstream"] + found["load"])


def waits(rounds: Sequence[Spent], label: str) -> dict[str, float]:
    """Return how long the answers of a side took."""
    return {f"{label} p50": milliseconds(rounds, 50), f"{label} p95": milliseconds(rounds, 95)}


def rows(given: Job, gateways: Sequence[Gateway], loads: Mapping[str, Load]) -> list[Row]:
    """Return what one scenario costs with each of some gateways, all of which run, and are asked in turn."""
    (what,) = given.scenario
    load = QUICK if given.quick else loads[what]
    with ExitStack() as running, pinned(cores()[1], given.process):
        started = [running.enter_context(served(gateway, given.url)) for gateway in gateways]
        idle = {each.gateway.title: resident(each.process) for each in started}
        found = asyncio.run(in_turn(_sides(what, started, given.url), load, given.process))
        after = {each.gateway.title: resident(each.process) for each in started}
    return [
        {
            **{"what": what, "peer": title},
            **({"idle": idle[title], "after": after[title]} if what == "whole" else {}),
            **_row(what, title, found),
        }
        for title in idle
    ]


def _sides(what: str, started: Sequence[Served], url: str) -> dict[str, Side]:
    """Return the sides of a scenario, by gateway and dialects; to those that wait, the upstream itself."""
    if what == "late":
        sides = {each.gateway.title: side(each, Pair("openai", "slow"), url) for each in started}
        return {DIRECT: direct(url), **sides}
    return {
        f"{each.gateway.title} {name}": side(each, pair, url, streamed=what == "stream")
        for name, pair in PAIRS.items()
        for each in started
    }


def _row(what: str, title: str, found: Mapping[str, Sequence[Spent]]) -> Row:
    if what == "late":
        own = {DIRECT: found[DIRECT], title: found[title]}
        used = {**busiest(own), "gateway": shares(found[title])["gateway"], "rate": rate(found[title])}
        return {**waits(found[DIRECT], DIRECT), **waits(found[title], "gateway"), **used}
    own = {name: found[f"{title} {name}"] for name in PAIRS}
    return {**{name: microseconds(rounds) for name, rounds in own.items()}, **busiest(own)}


def main() -> None:
    """Measure what the command line says, and print it as JSON."""
    given = job(sys.argv[1])
    (row,) = rows(given, [ours(given.backend)], LOADS)
    print(json.dumps(row))


if __name__ == "__main__":
    main()
