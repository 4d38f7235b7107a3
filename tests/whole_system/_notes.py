"""What a witness notes: of calls that providers received, of the requests they were for, and of gates."""

from __future__ import annotations

import math
from collections import Counter
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import anyio

from understudy.actors import Endpoint, Permit
from understudy.actors._circuit import Circuit
from understudy.actors._gate import Gate
from understudy.providers import ContentEvent, Verdict
from understudy.simulation import Behaviour, Breaks

from ._schedule import Reading, Route

Which: TypeAlias = Literal["circuit", "hold"]


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that did not hold. `number` is that of the list, requirements 3.3."""

    number: int
    text: str


@dataclass(slots=True)
class Called:
    """One call that a provider received. `verdict` is None while it runs and when it was cancelled.

    `behaviour` is what its script made of it. Of a stream, `committed` is when its first content came, and `sent` is
    what was taken from it; `waited` are the seconds that were waited since the last content, `last_read` those of the
    last wait, until it was `closed`.
    """

    route: Route
    began: float
    ended: float = math.inf
    verdict: Verdict | None = None
    was_cancelled: bool = False
    behaviour: Behaviour | None = None
    is_stream: bool = False
    committed: float | None = None
    sent: list[ContentEvent] = field(default_factory=list)
    waited: float = 0.0
    last_read: float = 0.0
    closed: float | None = None

    @property
    def may_be_whole(self) -> bool:
        """Is what the script holds a whole answer, with its end?"""
        match self.behaviour:
            case Breaks(how="more"):
                return True
            case Breaks(how="unterminated"):
                return not self.is_stream or self.route.endpoint != "anthropic"
            case Breaks():
                return False
            case _:
                return True


@dataclass(slots=True)
class Ran:
    """A tool run: the request as a `whole`, its turns, and what its tools gave, in the order in which they ran."""

    whole: Asked
    turns: list[Asked] = field(default_factory=list)
    results: list[str] = field(default_factory=list)
    in_tool: bool = False


@dataclass(slots=True)
class Asked:
    """One request of a caller, or one turn of its tool run. `chain` are the routes in the order in which it asks them.

    `brought` is the content that the caller was given since the last restart, all of it
    from `source`; `read_at` is when it came back for more, and `is_away` says that it has not. `left_at` is when it
    turned away.
    """

    number: int
    agent: int
    timeout: float
    begun: float
    reading: Reading
    chain: tuple[Route, ...] = ()
    run: Ran | None = None
    calls: list[Called] = field(default_factory=list)
    settled: list[Verdict] = field(default_factory=list)
    outcome: str = ""
    early: bool = False
    told: int = 0
    permits: list[Permit] = field(default_factory=list)
    brought: list[ContentEvent] = field(default_factory=list)
    source: Called | None = None
    read_at: float = 0.0
    is_away: bool = False
    left_at: float | None = None
    leaves_at_commit: anyio.CancelScope | None = None

    @property
    def text(self) -> str:
        """What is asked: words that no other request has, each of them once. Turns of a run have that of the run."""
        number = self.number if self.run is None else self.run.whole.number
        return " ".join(f"{number}.{word}" for word in range(1 + number % 4))

    @property
    def wanted(self) -> str:
        """The text that has to come back: what was asked, and in a run all that its tools gave."""
        return self.text if self.run is None else "\n".join((self.text, *self.run.results))


@dataclass(slots=True)
class Ledger:
    """What the witness has noted of one gate."""

    gate: Gate
    endpoint: Endpoint
    circuit: Circuit
    hold: Circuit
    since: dict[Which, int] = field(default_factory=lambda: {"circuit": 0, "hold": 0})
    probe: dict[Which, tuple[int, float] | None] = field(default_factory=lambda: {"circuit": None, "hold": None})
    run: int = 0
    level: int = 0
    closed_at: float = 0.0
    calls: list[tuple[float, bool]] = field(default_factory=list)
    begun: list[tuple[float, bool]] = field(default_factory=list)
    told_until: float = 0.0
    by_hand: tuple[bool, float] | None = None
    changes: int = 0
    happened: Counter[str] = field(default_factory=Counter)


running: ContextVar[Ran | None] = ContextVar("running", default=None)
"""The tool run that the task at hand works on."""

asking: ContextVar[Asked | None] = ContextVar("asking", default=None)
"""The request that the task at hand works on."""
