"""What happens to requests and actors: frozen values, told to hooks. No prompt, no answer and no secret is in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, final

from ..actors import EndpointEvent
from ..credentials import CredentialEvent
from ..providers import Attempt, PassedOver, Usage


@final
@dataclass(frozen=True, slots=True)
class RequestEnded:
    """A request is over: answered by `transport` and `model`, or not (both None). `duration` is in seconds.

    `error` is the name of what was raised, or "cancelled"; empty where there is an answer. `usage` is what the answer
    took, None without one, and `cost` what it cost in US dollars, None where no price is known.
    """

    agent: str
    transport: str | None
    model: str | None
    is_fallback: bool
    duration: float
    attempts: tuple[Attempt, ...]
    passed_over: tuple[PassedOver, ...]
    error: str = ""
    usage: Usage | None = None
    cost: float | None = None


@final
@dataclass(frozen=True, slots=True)
class HandedOver:
    """The serving route of an agent changed from `primary` to `fallback`: told once, not for each request."""

    agent: str
    primary: str
    fallback: str
    reason: str


@final
@dataclass(frozen=True, slots=True)
class Returned:
    """An agent is served by its primary again, after `after` seconds."""

    agent: str
    primary: str
    after: float


@final
@dataclass(frozen=True, slots=True)
class AccessRefused:
    """A key, a model or an address is refused: told once until it is accepted again. `reason` says how to mend it."""

    agent: str
    transport: str
    model: str
    reason: str


@final
@dataclass(frozen=True, slots=True)
class ActorRestarted:
    """A provider actor crashed, and is started again in `restart_in` seconds; `dead` while it is given up."""

    endpoint: str
    error: Exception
    restart_in: float
    dead: bool


Event: TypeAlias = (
    EndpointEvent | CredentialEvent | RequestEnded | HandedOver | Returned | AccessRefused | ActorRestarted
)
