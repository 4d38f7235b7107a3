"""Scripts: what a simulated provider does, per model, per time and per call. Pure.

A script is a list of phases, of which the first that fits decides, and an answer for when none does. The servers on
loopback and the provider in memory follow the same scripts, and one suite of tests holds them to the same outcome.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, TypeVar, final, get_args


@final
@dataclass(frozen=True, slots=True)
class Answer:
    """Answer after `after` seconds with `text`; None repeats what the user said last, and below it, each on a line of
    its own, every tool result since.

    A stream brings a word every `every` seconds; an answer asked for whole comes when its last word would. `thinking`
    is what the model shows of its thoughts before it answers.

    With `rounds` it asks for tools first, if the request offers any: so often since the user's last text, each time
    with `calls` calls of every tool (or with one call of one by turns, where they may not be parallel). Arguments are
    made up after the tool's schema: a string is the user's last text, a number counts the rounds from 1. Where the
    request insists on a tool, one is always called; what it insists on by name gets `text` as its arguments, if that
    is a JSON object.
    """

    text: str | None = "Hello."
    after: float = 0.0
    every: float = 0.0
    thinking: str | None = None
    rounds: int = 0
    calls: int = 1

    def __post_init__(self) -> None:
        if self.calls < 1:
            raise ValueError("a round of tools has at least one call: give calls=1 or more, or rounds=0 for none")


PING_EVERY = 10.0
"""Seconds between two signs of life of a stream that brings nothing else (chosen: below every stall limit)."""

How: TypeAlias = Literal["reset", "incomplete", "cut", "silence", "pings", "error", "garbage", "unterminated", "more"]
"""How an answer breaks off: see `Breaks`."""


@final
@dataclass(frozen=True, slots=True)
class Breaks:
    """Begin to answer, and go wrong in place of the next piece after `after` of them (0: before any content).

    A piece is a word of the answer or of its thinking, the beginning of a tool call, or a fragment of its arguments.

    | `how` | a stream | an answer asked for whole |
    | --- | --- | --- |
    | `reset` | the connection is torn down | likewise, half-way |
    | `incomplete` | the connection is closed, the HTTP body unfinished | likewise, half-way |
    | `cut` | ends as HTTP does, but not as the wire does | half of it, as if that were all |
    | `silence` | nothing more comes, and the connection stays | nothing comes |
    | `pings` | signs of life only, every 10 seconds | nothing comes |
    | `error` | an error event of the type `error` | an error body under a 200 |
    | `garbage` | an event that is no JSON | no JSON |
    | `unterminated` | all of it, but for the last event: no `[DONE]`, no `message_stop` | as it should be |
    | `more` | all of it, and content after its end | as it should be |
    """

    answer: Answer
    after: int = 0
    how: How = "reset"
    error: str = "overloaded_error"

    def __post_init__(self) -> None:
        if self.how not in get_args(How):
            raise ValueError("an answer breaks off in one of these ways: " + ", ".join(get_args(How)))


Piece = TypeVar("Piece")


def coming(behaviour: Answer | Breaks, pieces: Sequence[Piece]) -> tuple[list[tuple[float, Piece]], float]:
    """Return the pieces of an answer that come, each with the seconds before it, and the seconds until what follows.

    The first comes at once: when `after` seconds have passed.
    """
    every, until = (behaviour if isinstance(behaviour, Answer) else behaviour.answer).every, len(pieces)
    if isinstance(behaviour, Breaks) and behaviour.how not in {"unterminated", "more"}:
        until = min(behaviour.after, until)
    come = [(every if number else 0.0, piece) for number, piece in enumerate(pieces[:until])]
    return come, every if 0 < until < len(pieces) else 0.0


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


Behaviour: TypeAlias = Answer | Breaks | Status | Hang | Reset | Raw | Refused


def _check(behaviour: Behaviour) -> None:
    if not isinstance(behaviour, get_args(Behaviour)):
        kinds = ", ".join(kind.__name__ for kind in get_args(Behaviour))
        given: object = behaviour
        raise TypeError(f"a simulated provider does one of these: {kinds}; not {type(given).__name__}")


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
        _check(self.behaviour)
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

    def __post_init__(self) -> None:
        if type(self.phases) is not tuple or not all(isinstance(phase, Phase) for phase in self.phases):
            raise TypeError("the phases of a Script are a tuple: Script((Phase(…), …)), or Script.sequence(…)")
        _check(self.otherwise)

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
        given: object = script
        if not isinstance(given, Script):
            raise TypeError(f"a simulated provider follows a Script, as Script.always(…) makes one, not {given!r}")
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
