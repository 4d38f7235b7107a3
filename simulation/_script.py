"""Scripts: what a simulated provider does, per model, per time and per call. Pure.

A script is a list of phases, of which the first that fits decides, and an answer for when none does. The servers on
loopback and the provider in memory follow the same scripts, and one suite of tests holds them to the same outcome.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, final


@final
@dataclass(frozen=True, slots=True)
class Answer:
    """Answer after `after` seconds with `text`; None repeats what the user said last."""

    text: str | None = "Hello."
    after: float = 0.0


@final
@dataclass(frozen=True, slots=True)
class Status:
    """Refuse with an HTTP status after `after` seconds. Without a `body` it is the wire's own for that status."""

    status: int
    after: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str = "application/json"


@final
@dataclass(frozen=True, slots=True)
class Hang:
    """Take the request and never answer."""


@final
@dataclass(frozen=True, slots=True)
class Reset:
    """Take the request and tear the connection down after `after` seconds."""

    after: float = 0.0


@final
@dataclass(frozen=True, slots=True)
class Raw:
    """Send these bytes, which need not be HTTP, and close the connection."""

    data: bytes


@final
@dataclass(frozen=True, slots=True)
class Refused:
    """Nobody listens: the connection itself is refused, for every model."""


Behaviour: TypeAlias = Answer | Status | Hang | Reset | Raw | Refused


@final
@dataclass(frozen=True, slots=True)
class Phase:
    """`behaviour` for requests of `model` (None: any) from `since` until `until` seconds after the script began,
    for the first `calls` of them only (None: all), and for a random `share` of them (1: all).
    """

    behaviour: Behaviour
    model: str | None = None
    since: float = 0.0
    until: float = math.inf
    calls: int | None = None
    share: float = 1.0

    def __post_init__(self) -> None:
        partly = self.model is not None or self.calls is not None or self.share < 1
        if isinstance(self.behaviour, Refused) and partly:
            raise ValueError("Refused is for the whole server: it knows neither models nor calls")
        if not 0 < self.share <= 1:
            raise ValueError("a share is above 0 and at most 1")
        if self.since >= self.until:
            raise ValueError("a Phase ends after it begins: since < until")


@final
@dataclass(frozen=True, slots=True)
class Script:
    """Phases in order of precedence, and the behaviour of all other times."""

    phases: tuple[Phase, ...] = ()
    otherwise: Behaviour = Answer()

    @classmethod
    def sequence(cls, *behaviours: Behaviour, otherwise: Behaviour = Answer()) -> Script:
        """Make a script that does one thing after the other, one per call, then `otherwise`."""
        return cls(tuple(Phase(behaviour, calls=1) for behaviour in behaviours), otherwise)

    @classmethod
    def always(cls, behaviour: Behaviour) -> Script:
        """Make a script that always does the same."""
        return cls((Phase(behaviour),))

    def choose(
        self, model: str, at: float, used: Sequence[int], rand: Callable[[], float] = lambda: 0.0
    ) -> tuple[Behaviour, int | None]:
        """Return the behaviour for a request at `at` seconds, and the number of the phase it comes from.

        Args:
            used: How many requests each phase has decided before.
            rand: Draws uniformly from [0, 1), once for each phase that is for a share only.
        """
        for number, phase in enumerate(self.phases):
            fits = phase.since <= at < phase.until and phase.model in {None, model}
            left = phase.calls is None or used[number] < phase.calls
            if fits and left and (phase.share == 1 or rand() < phase.share):
                return phase.behaviour, number
        return self.otherwise, None

    def refuses(self, at: float) -> bool:
        """Say whether nobody listens at `at` seconds."""
        return isinstance(self.choose("", at, [0] * len(self.phases))[0], Refused)

    def next_change(self, at: float) -> float:
        """Return the first instant after `at` at which a phase begins or ends; infinity if none does."""
        edges = [edge for phase in self.phases for edge in (phase.since, phase.until) if edge > at]
        return min(edges, default=math.inf)


@final
@dataclass(frozen=True, slots=True)
class Call:
    """One request that a simulated provider received, `at` seconds after its script began."""

    at: float
    model: str
    behaviour: Behaviour


@final
class Playback:
    """A script being played: counts what was used, and keeps the log of requests.

    Args:
        rand: Draws uniformly from [0, 1), for phases that are for a share only.
    """

    def __init__(self, script: Script, rand: Callable[[], float]) -> None:
        self.script, self._rand = script, rand
        self.log: list[Call] = []
        self._used = [0] * len(script.phases)

    def play(self, model: str, at: float) -> Behaviour:
        """Return what to do with a request for `model` at `at` seconds, and log it."""
        behaviour, number = self.script.choose(model, at, self._used, self._rand)
        if number is not None:
            self._used[number] += 1
        self.log.append(Call(at, model, behaviour))
        return behaviour
