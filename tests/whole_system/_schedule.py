"""What one seed makes of the world: topology, settings, load, faults, and what is done by hand. All of it is data."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from understudy import AgentSettings, RouteSettings, Settings
from understudy.simulation import (
    KINDS,
    MID_STREAM,
    Answer,
    Behaviour,
    Breaks,
    Fault,
    Hang,
    How,
    Phase,
    Reset,
    Status,
    Vendor,
    draw_faults,
)

NAMES = ("openai", "anthropic", "gemini", "lmstudio", "nous")

_FAULTS = (*KINDS, *KINDS, *MID_STREAM)


Manner: TypeAlias = Literal["whole", "upstream", "raise", "restart", "text", "run"]
Leaving: TypeAlias = Literal["break", "exception", "cancel", "drop", "commit"]


@dataclass(frozen=True, slots=True)
class Reading:
    """How a caller has its answers: `whole`; `upstream`, whole but streamed by whoever gives it; as a stream that
    `raise`s or `restart`s where it is cut off; as the `text` of one that raises; or by a `run` with a tool, whose
    turns are streamed by whoever gives them if `after` is odd.

    It takes `pause` seconds with each event. After so many of them it `leaves`: by `break`, by an `exception` of its
    own, because it is `cancel`led, or by `drop`ping the stream; with `commit` it is cancelled in the very step in which
    the first content comes.
    """

    manner: Manner = "whole"
    pause: float = 0.0
    leaves: Leaving | None = None
    after: int = 1

    @property
    def opens(self) -> bool:
        """Is the answer handed out as it comes?"""
        return self.manner not in {"whole", "upstream", "run"}


@dataclass(frozen=True, slots=True)
class Caller:
    """Asks `agent` as often as `times`, from `at` on, with pauses; leaves each request after `leaves_after` seconds."""

    at: float
    agent: int
    timeout: float
    times: int = 1
    pause: float = 0.0
    leaves_after: float | None = None
    reading: Reading = Reading()


@dataclass(frozen=True, slots=True)
class Act:
    """Something done at an instant: `crash`, `force_open`, `force_closed`, `reset` of an endpoint, or `leave`: all
    callers at once.
    """

    at: float
    kind: str
    endpoint: str = ""
    model: str | None = None
    lasts_for: float = 10.0


@dataclass(frozen=True, slots=True)
class Route:
    """One route of an agent."""

    endpoint: str
    model: str


@dataclass(frozen=True, slots=True)
class Schedule:
    """Everything that happens in one run. `stubborn` are the seconds that a provider takes to end a cancelled call,
    `bugs` the numbers of the calls in which it fails in a way nobody foresaw, `hook_fails` the share of events at which
    a hook raises; `well` names providers that nothing ever happens to.
    """

    seed: int
    vendors: tuple[Vendor, ...]
    chains: tuple[tuple[Route, ...], ...]
    knobs: dict[str, Any]
    route_knobs: dict[str, Any]
    callers: tuple[Caller, ...]
    faults: tuple[Fault, ...]
    acts: tuple[Act, ...]
    well: tuple[str, ...] = ()
    lasts_for: float = 120.0
    closes_at: float | None = None
    fails_at_close: bool = False
    drain_for: float = 30.0
    stubborn: dict[str, float] = field(default_factory=dict)
    bugs: frozenset[int] = frozenset()
    hook_fails: float = 0.0

    @property
    def settings(self) -> Settings:
        """The settings of all agents."""
        routes = [
            [
                RouteSettings(
                    transport=route.endpoint,
                    model=route.model,
                    base_url=f"http://{route.endpoint}.test/v1",
                    **self.route_knobs,
                )
                for route in chain
            ]
            for chain in self.chains
        ]
        agents = {
            f"a{n}": AgentSettings(primary=chain[0], fallbacks=tuple(chain[1:])) for n, chain in enumerate(routes)
        }
        return Settings.in_code(agents=agents, **self.knobs)

    def smaller(self) -> Iterator[Schedule]:
        """Return schedules with less in them: without halves of what happens, then without single things."""
        for part in ("callers", "faults", "acts"):
            things = getattr(self, part)
            size = len(things)
            while size:
                size = (size + 1) // 2 if size > 1 else 0
                for start in range(0, len(things), max(size, 1)):
                    yield replace(self, **{part: things[:start] + things[start + max(size, 1) :]})
        nothing: dict[str, Any] = {"bugs": frozenset(), "stubborn": {}, "hook_fails": 0.0, "closes_at": None}
        for name, value in nothing.items():
            if getattr(self, name) != value:
                yield replace(self, **{name: value})
        for number, caller in enumerate(self.callers):
            if caller.times > 1:
                yield self._with_caller(number, replace(caller, times=caller.times // 2))
            if caller.reading != Reading():
                yield self._with_caller(number, replace(caller, reading=Reading()))

    def _with_caller(self, number: int, caller: Caller) -> Schedule:
        return replace(self, callers=(*self.callers[:number], caller, *self.callers[number + 1 :]))

    def __str__(self) -> str:
        lines = [f"seed {self.seed}: {self.knobs} {self.route_knobs}"]
        lines += [f"  agent {n}: " + ", ".join(f"{r.endpoint}/{r.model}" for r in c) for n, c in enumerate(self.chains)]
        lines += [f"  {v.name}: usually after {v.usual.after:g} s" for v in self.vendors]
        lines += [f"  {caller}" for caller in self.callers] + [f"  {act}" for act in self.acts]
        lines += [
            f"  {f.pattern} {f.kind} {name}: {p}" for f in self.faults for name, ps in f.phases.items() for p in ps
        ]
        rest = ("well", "closes_at", "fails_at_close", "drain_for", "stubborn", "bugs", "hook_fails")
        return "\n".join([*lines, "  " + " ".join(f"{name}={getattr(self, name)}" for name in rest)])


Rand: TypeAlias = random.Random


def draw(seed: int) -> Schedule:
    """Draw the schedule of a seed."""
    rand = random.Random(seed)
    lasts_for = rand.choice((20.0, 60.0, 120.0, 300.0))
    vendors = _vendors(rand)
    knobs = _knobs(rand)
    well = (rand.choice(vendors).name,) if rand.random() < 0.6 else ()
    chains = tuple(_chain(rand, vendors) for _ in range(rand.randint(1, 4)))
    struck = [vendor for vendor in vendors if vendor.name not in well]
    faults = draw_faults(rand, struck, lasts_for, open_for=knobs["circuit_open_for"], kinds=_FAULTS) if struck else ()
    callers = _callers(rand, len(chains), lasts_for)
    closes_at = _busy_at(rand, callers, lasts_for) if rand.random() < 0.15 else None
    schedule = Schedule(
        seed,
        vendors,
        chains,
        knobs,
        _route_knobs(rand),
        callers,
        faults,
        _acts(rand, struck, callers, lasts_for),
        well,
        lasts_for,
        closes_at,
        rand.random() < 0.2,
        rand.choice((0.0, 1.0, 30.0)),
        {v.name: rand.uniform(0.1, 1.9) for v in struck if rand.random() < 0.15},
        frozenset(rand.sample(range(60), 3)) if rand.random() < 0.1 else frozenset(),
        rand.random() if rand.random() < 0.1 else 0.0,
    )
    theme = rand.random()
    if theme < 0.12 and struck:
        return _half_of_calls_fail(rand, schedule)
    if theme < 0.24 and struck:
        return _probes_hang(rand, schedule)
    if theme < 0.36 and struck:
        return _answers_break_off(rand, schedule)
    if theme < 0.42 and struck:
        return _answers_begin_late(rand, schedule)
    return _tools_are_run(rand, schedule) if theme < 0.52 and struck else schedule


def _half_of_calls_fail(rand: Rand, schedule: Schedule) -> Schedule:
    """Many calls, of which more and more fail, but never many in a row: what a circuit learns from a rate."""
    primary = schedule.chains[0][0].endpoint
    turns = (Phase(Reset(), calls=3, until=60.0), Phase(Answer(None), calls=1, until=60.0))
    fault = Fault("brown-out", "reset", {primary: (Phase(Answer(None), calls=10, until=60.0), *turns * 12)})
    callers = [Caller(rand.uniform(0, 1), 0, 60.0, 6, rand.uniform(0.3, 1)) for _ in range(12)]
    return replace(
        schedule,
        faults=(fault, *schedule.faults),
        callers=(*schedule.callers, *callers),
        lasts_for=max(schedule.lasts_for, 60.0),
        well=tuple(name for name in schedule.well if name != primary),
    )


def _probes_hang(rand: Rand, schedule: Schedule) -> Schedule:
    """A primary that hangs, and takes its time to end a cancelled call: a probe may outlast its lease."""
    primary = schedule.chains[0][0].endpoint
    fault = Fault("outage", "hang", {primary: (Phase(Hang(), until=60.0),)})
    callers = [Caller(rand.uniform(0, 1), 0, 60.0, 20, rand.uniform(0.5, 2)) for _ in range(2)]
    return replace(
        schedule,
        faults=(fault, *schedule.faults),
        callers=(*schedule.callers, *callers),
        lasts_for=max(schedule.lasts_for, 60.0),
        stubborn={**schedule.stubborn, primary: 1.9},
        route_knobs={"timeout": rand.uniform(2, 10), "first_token_timeout": 2.0},
        well=tuple(name for name in schedule.well if name != primary),
    )


def _answers_break_off(rand: Rand, schedule: Schedule) -> Schedule:
    """Streams of a primary that begin well, and mostly do not come to their end."""
    primary = schedule.chains[0][0].endpoint
    hows: tuple[How, ...] = ("reset", "cut", "silence", "pings", "pings", "error", "garbage", "unterminated")
    answers = [Breaks(Answer(None, 0.0, rand.uniform(0, 1)), rand.randrange(1, 3), rand.choice(hows)) for _ in range(8)]
    turns = (Phase(Answer(None), calls=rand.randrange(1, 4), until=60.0) for _ in answers)
    phases = tuple(phase for answer, turn in zip(answers, turns, strict=True) for phase in (_once(answer), turn))
    manners: tuple[Manner, ...] = ("restart", "restart", "raise", "upstream")
    ways: tuple[Leaving | None, ...] = (None, None, "drop")
    readings = [Reading(rand.choice(manners), 0.0, rand.choice(ways), rand.randrange(1, 5)) for _ in range(4)]
    callers = [Caller(rand.uniform(0, 2), 0, 400.0, 6, rand.uniform(0.1, 4), reading=reading) for reading in readings]
    return replace(
        schedule,
        faults=(Fault("brown-out", "breaks", {primary: phases}), *schedule.faults),
        callers=(*schedule.callers[:30], *callers),
        lasts_for=max(schedule.lasts_for, 60.0),
        knobs={**schedule.knobs, "stall_timeout": rand.uniform(5, 30), "content_stall_timeout": 30.0},
        bugs=frozenset(rand.sample(range(40), 4)) if rand.random() < 0.3 else schedule.bugs,
        well=tuple(name for name in schedule.well if name != primary),
    )


def _once(answer: Breaks) -> Phase:
    return Phase(answer, calls=1, until=60.0)


def _answers_begin_late(rand: Rand, schedule: Schedule) -> Schedule:
    """A primary whose streams mostly begin late, as those who wait for them, and those who do not, find out."""
    primary = schedule.chains[0][0].endpoint
    slow_after = rand.uniform(0.5, 5)
    fault = Fault("outage", "slow", {primary: (Phase(Answer(None, slow_after + rand.uniform(0.1, 3)), until=60.0),)})
    reading = Reading(rand.choice(("raise", "restart", "text", "upstream")))
    callers = [
        Caller(rand.uniform(0, 20), 0, 60.0, 2, 1.0, rand.choice((None, None, slow_after * 1.5)), reading)
        for _ in range(12)
    ]
    return replace(
        schedule,
        faults=(fault, *schedule.faults),
        callers=(*schedule.callers[:30], *callers),
        lasts_for=max(schedule.lasts_for, 60.0),
        knobs={**schedule.knobs, "circuit_slow_after": slow_after},
        route_knobs={"timeout": 180.0, "first_token_timeout": 60.0},
        well=tuple(name for name in schedule.well if name != primary),
    )


def _tools_are_run(rand: Rand, schedule: Schedule) -> Schedule:
    """Tool runs on a primary that fails in the middle of some, and answers others."""
    primary = schedule.chains[0][0].endpoint
    usual = next(vendor.usual for vendor in schedule.vendors if vendor.name == primary)
    fails: tuple[Behaviour, ...] = (Reset(), Status(503), Hang(), Breaks(usual, 1), Breaks(usual, 0, "cut"))
    phases = (
        phase
        for _ in range(4)
        for phase in (
            Phase(usual, calls=rand.randrange(1, 5), until=60.0),
            Phase(rand.choice(fails), calls=rand.randrange(1, 4), until=60.0),
        )
    )
    leaves = (None, None, None, rand.uniform(0, 0.1), rand.uniform(0, 2))
    callers = [
        Caller(rand.uniform(0, 5), 0, 300.0, 3, rand.uniform(0, 3), rand.choice(leaves), Reading("run", after=number))
        for number in range(5)
    ]
    return replace(
        schedule,
        faults=(Fault("brown-out", "runs", {primary: tuple(phases)}), *schedule.faults),
        callers=(*schedule.callers[:30], *callers),
        lasts_for=max(schedule.lasts_for, 60.0),
        well=tuple(name for name in schedule.well if name != primary),
    )


def _busy_at(rand: Rand, callers: tuple[Caller, ...], lasts_for: float) -> float:
    """Draw an instant, more often one at which somebody has just asked."""
    return rand.choice((rand.uniform(0, lasts_for), *(rand.choice(callers).at + rand.uniform(0, 1) for _ in "ab")))


def _vendors(rand: Rand) -> tuple[Vendor, ...]:
    def usual() -> Answer:
        after, every = rand.choice((0.0, rand.uniform(0.01, 0.3))), rand.choice((0.0, rand.uniform(0.01, 0.2)))
        return Answer(None, after, every, rand.choice((None, None, None, "well then")), rounds=2)

    return tuple(
        Vendor(name, tuple(f"m{n}" for n in range(rand.randint(1, 3))), usual()) for name in NAMES[: rand.randint(1, 5)]
    )


def _chain(rand: Rand, vendors: tuple[Vendor, ...]) -> tuple[Route, ...]:
    every = [Route(vendor.name, model) for vendor in vendors for model in vendor.models]
    return tuple(rand.sample(every, min(len(every), rand.choice((1, 2, 2, 2, 3, 3, 4)))))


def _knobs(rand: Rand) -> dict[str, Any]:
    open_for = rand.choice((10.0, 10.0, rand.uniform(0.5, 30)))
    total = rand.choice((600.0, rand.uniform(60, 600)))
    stall = rand.choice((30.0, rand.uniform(2, 30)))
    return {
        "circuit_trip_after": rand.choice((1, 2, 2, 3, rand.randint(4, 12))),
        "circuit_open_for": open_for,
        "circuit_open_max": open_for * rand.choice((1.0, 2.5, 2.5, 10.0)),
        "circuit_passes": rand.choice((1, 1, 1, rand.randint(2, 5))),
        "circuit_window": rand.choice((60.0, 60.0, rand.uniform(5, 120))),
        "circuit_window_calls": rand.choice((None, None, rand.randint(10, 100))),
        "circuit_lone_routes": rand.choice(("allow", "allow", "allow", "enforce")),
        "circuit_observe_only": rand.random() < 0.03,
        "retry_attempts": rand.choice((3, 3, rand.randint(1, 6))),
        "in_place_retries": rand.choice((0, 0, 1)),
        "fallback_on_refused": rand.choice(("always", "always", "never")),
        "max_concurrency": rand.choice((1000, 1000, 1000, rand.randint(1, 4), rand.randint(5, 50))),
        "total_timeout": total,
        "stall_timeout": stall,
        "content_stall_timeout": rand.choice((120.0, rand.uniform(stall, 120))),
        "circuit_slow_after": rand.choice((None, None, rand.uniform(0.5, 5))),
    }


def _route_knobs(rand: Rand) -> dict[str, Any]:
    timeout = rand.choice((180.0, 180.0, rand.uniform(2, 60), 10 ** rand.uniform(0.4, 2.7)))
    return {"timeout": timeout, "first_token_timeout": min(timeout, rand.choice((60.0, rand.uniform(2, 60))))}


def _callers(rand: Rand, agents: int, lasts_for: float) -> tuple[Caller, ...]:
    callers: list[Caller] = []
    for _ in range(rand.randint(1, 5)):
        agent, at, timeout = rand.randrange(agents), rand.choice((0.0, rand.uniform(0, lasts_for))), _timeout(rand)
        reading = _reading(rand)
        match rand.randrange(4):
            case 0:  # all at once
                size = rand.choice((2, 5, 10, 20, rand.randint(20, 60) if rand.random() < 0.3 else 12))
                leaves = rand.choice((None, None, rand.uniform(0, 5)))
                callers += [Caller(at, agent, timeout, leaves_after=leaves, reading=reading)] * size
            case 1:  # now and then, somebody
                callers += [
                    Caller(
                        rand.uniform(0, lasts_for),
                        rand.randrange(agents),
                        _timeout(rand),
                        leaves_after=_leaves(rand),
                        reading=_reading(rand),
                    )
                    for _ in range(rand.randint(3, 12))
                ]
            case _:  # one after the other
                times = rand.randint(5, 40)
                pause = rand.choice((0.0, rand.uniform(0.01, 1), rand.uniform(0.5, 5), lasts_for / times))
                leaves = _leaves(rand)
                beside = rand.choice((1, 1, 2, 3))
                callers += [Caller(at, agent, timeout, times // beside, pause, leaves, reading)] * beside
    if rand.random() < 0.01:
        callers += [Caller(rand.uniform(0, 2), rand.randrange(agents), 60.0) for _ in range(200 - len(callers))]
    return tuple(callers[:200])


def _timeout(rand: Rand) -> float:
    return rand.choice((30.0, 60.0, rand.uniform(30, 600), 10 ** rand.uniform(-1.3, 2.78)))


def _leaves(rand: Rand) -> float | None:
    return rand.choice((None, None, None, rand.uniform(0, 1), rand.uniform(0, 20)))


def _reading(rand: Rand) -> Reading:
    manners: tuple[Manner, ...] = ("whole", "whole", "whole", "upstream", "raise", "restart", "restart", "text")
    manner = rand.choice(manners)
    if manner == "whole":
        return Reading()
    leaves: Leaving | None = "commit" if rand.random() < 0.1 else None
    if manner == "upstream":
        return Reading(manner, leaves=leaves)
    if leaves is None and rand.random() < 0.4:
        ways: tuple[Leaving, ...] = ("break", "exception", "cancel", "drop")
        leaves = rand.choice(ways)
    pause = rand.choice((0.0, 0.0, 0.0, rand.uniform(0.01, 3), rand.uniform(3, 90)))
    return Reading(manner, pause, leaves, rand.randrange(4))


def _acts(rand: Rand, vendors: list[Vendor], callers: tuple[Caller, ...], lasts_for: float) -> tuple[Act, ...]:
    acts: list[Act] = []
    if rand.random() < 0.2:
        acts.append(Act(_busy_at(rand, callers, lasts_for), "leave"))
    if vendors and rand.random() < 0.4:
        since, name = _busy_at(rand, callers, lasts_for), rand.choice(vendors).name
        often = rand.choice((1, 2, 3, 7))
        acts += [Act(since + n * rand.uniform(0, 4), "crash", name) for n in range(often)]
    if vendors and rand.random() < 0.3:
        for _ in range(rand.randint(1, 3)):
            vendor = rand.choice(vendors)
            kind = rand.choice(("force_open", "force_closed", "reset", "reset"))
            model = rand.choice((None, *vendor.models))
            acts.append(Act(rand.uniform(0, lasts_for), kind, vendor.name, model, rand.uniform(0.1, 30)))
    return tuple(acts)
