"""A campaign: many seeds, what they have seen between them, and the smallest schedule that still fails."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from understudy.simulation import World

from ._backends import Backend
from ._play import MakeWorld, Run, play
from ._schedule import Schedule, draw

REGRESSIONS = Path(__file__).parent.parent / "regression_seeds.txt"
"""Seeds that once failed, one in a line with its backend; run always."""

AGAIN_EVERY = 100
"""One seed in so many is run twice: the same seed, the same trace."""

MOST_SMALLER = 600
"""Schedules that are tried at most to make a failing one smaller."""

SOMETIMES: dict[str, int] = {
    "actor given up": 100,
    "actor restarted with calls in flight": 200,
    "all routes closed": 1000,
    "all routes down, then back": 1000,
    "by hand in an outage": 200,
    "closed with calls in flight": 100,
    "committed, then interrupted": 1000,
    "content stall": 200,
    "dropped": 1000,
    "early call succeeded": 100,
    "hand-over after a share ran out": 500,
    "hand-over before the commit point": 1000,
    "handed over": 1000,
    "hold extended": 200,
    "hold waited for": 50,
    "late verdict after two changes": 500,
    "left exactly at commit": 500,
    "lone call through an open circuit": 500,
    "our own network down": 200,
    "passed over": 1000,
    "probe cancelled": 500,
    "probe failed": 500,
    "probe lease expired": 200,
    "probe passed, and failed later": 200,
    "repaired": 300,
    "restarted": 500,
    "retry": 500,
    "retry in place": 200,
    "run finished": 1500,
    "run finished elsewhere": 150,
    "run left": 500,
    "silent stall": 500,
    "spilled": 200,
    "trip by rate": 200,
    "trip by run": 200,
    "trip by slow": 200,
    "waiter served": 500,
}
"""How often each must have happened in 10,000 seeds, or the campaign says nothing. Source: requirements 3.3, where it
names a number; the others chosen, at half of what is seen or less.
"""


LEAST_DUE = 5
"""What is due less often than this is not asked for: in so few seeds, chance decides (chosen)."""


@dataclass(slots=True)
class Campaign:
    """What came of it."""

    backend: Backend
    seeds: int = 0
    requests: int = 0
    took: float = 0.0
    seen: Counter[str] = field(default_factory=Counter)
    failed: dict[int, Run] = field(default_factory=dict)
    differing: list[int] = field(default_factory=list)

    @property
    def missing(self) -> dict[str, tuple[int, int]]:
        """What was seen too seldom: how often it was, and how often it should have been."""
        due = {what: times * self.seeds // 10_000 for what, times in SOMETIMES.items()}
        return {what: (self.seen[what], times) for what, times in due.items() if self.seen[what] < times >= LEAST_DUE}

    @property
    def is_good(self) -> bool:
        """Did every invariant hold, every trace repeat, and everything happen often enough?"""
        return not (self.failed or self.differing or self.missing)

    def __str__(self) -> str:
        per_seed = 1000 * self.took / max(self.seeds, 1)
        lines = [f"{self.backend}: {self.seeds} seeds, {self.requests} requests, {per_seed:.1f} ms of CPU per seed"]
        lines += [f"  {times:7} {what}" for what, times in sorted(self.seen.items())]
        lines += [f"  seen too seldom: {what}, {n} of {due} times" for what, (n, due) in self.missing.items()]
        lines += [f"  seed {seed} has another trace the second time" for seed in self.differing]
        lines += [f"  seed {seed} fails: {run.violations[0]}" for seed, run in self.failed.items()]
        return "\n".join(lines)


def campaign(
    seeds: Iterable[int], backend: Backend, *, make_world: MakeWorld = World, most_failures: int = 5
) -> Campaign:
    """Run seeds until so many have failed."""
    done, begun = Campaign(backend), time.process_time()
    logging.disable(logging.CRITICAL)
    try:
        for seed in seeds:
            schedule = draw(seed)
            run = play(schedule, backend, make_world)
            done.seeds += 1
            done.requests += run.requests
            done.seen.update(run.seen)
            if run.violations:
                done.failed[seed] = run
            elif seed % AGAIN_EVERY == 0 and play(schedule, backend, make_world).trace != run.trace:
                done.differing.append(seed)
            if len(done.failed) + len(done.differing) >= most_failures:
                break
    finally:
        logging.disable(logging.NOTSET)
    done.took = time.process_time() - begun
    return done


def regressions(backend: Backend) -> list[int]:
    """Return the seeds of the list for a backend."""
    lines = (line.partition("#")[0].split() for line in REGRESSIONS.read_text().splitlines())
    return [int(seed) for name, seed in (line for line in lines if line) if name == backend]


def smallest(
    schedule: Schedule, backend: Backend, *, make_world: MakeWorld = World, most: int = MOST_SMALLER
) -> Schedule:
    """Return the schedule with as much left out as can be, so that the same invariants still fail."""
    logging.disable(logging.CRITICAL)
    numbers = {violation.number for violation in play(schedule, backend, make_world).violations}
    tries = 0
    while True:
        for smaller in schedule.smaller():
            tries += 1
            if tries > most:
                logging.disable(logging.NOTSET)
                return schedule
            if numbers & {violation.number for violation in play(smaller, backend, make_world).violations}:
                schedule = smaller
                break
        else:
            logging.disable(logging.NOTSET)
            return schedule
