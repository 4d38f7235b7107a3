"""What an actor says of itself: frozen snapshots, and why an attempt may not go ahead. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, auto
from types import MappingProxyType
from typing import final

from ..credentials import LoginHealth


class Phase(StrEnum):
    """Where an endpoint is in its life.

       open             drain               close
    ─────────▶ SERVING ───────▶ DRAINING ─────────▶ STOPPED
               │     ▲
    gave up    ▼     │ open again
                DEAD
    """

    SERVING = auto()
    DRAINING = auto()
    STOPPED = auto()
    DEAD = auto()
    """Its actor crashed too often; routed around until it is tried again."""


class Refused(StrEnum):
    """Why an attempt may not go ahead."""

    FULL = "bulkhead full"
    STOPPED = "stopped"
    DEAD = "its actor crashed too often"
    CIRCUIT = "circuit open"
    HOLD = "hold"
    CREDENTIAL = "credential dead"
    BY_HAND = "closed by hand"


@final
@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal: why, in how many seconds an attempt may go ahead (None: not known), and what led to it."""

    why: Refused
    retry_after: float | None = None
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.why}: {self.reason}" if self.reason else str(self.why)


class CircuitState(StrEnum):
    """Where a circuit or a hold is."""

    CLOSED = auto()
    OPEN = auto()
    HALF_OPEN = auto()


@final
@dataclass(frozen=True, slots=True)
class GateHealth:
    """What is known of one key: an endpoint, its credential or a model there.

    `circuit` and `hold` say who may ask; `reopens_in` is in seconds, None when nothing stands against an attempt.
    `since` is the monotonic instant at which it opened, None while closed. `calls` and `failures` are those of the
    window; `set_by_hand` says what somebody has forced.
    """

    circuit: CircuitState = CircuitState.CLOSED
    hold: CircuitState = CircuitState.CLOSED
    reason: str = ""
    since: float | None = None
    reopens_in: float | None = None
    level: int = 0
    run: int = 0
    calls: int = 0
    failures: int = 0
    last_success_at: float | None = None
    set_by_hand: str = ""

    @property
    def is_clear(self) -> bool:
        """Does nothing stand against an attempt?"""
        return self.reopens_in is None


@final
@dataclass(frozen=True, slots=True)
class Health:
    """A snapshot of an endpoint. `ticket` is the ordinal of the last admission; instants are monotonic seconds.

    `endpoint` and `credential` are its own gates, `models` those of its models by name. `login` is the one that its
    requests are sent with, where that is kept and renewed.
    """

    capacity: int
    phase: Phase = Phase.SERVING
    ticket: int = 0
    in_flight: int = 0
    waiting: int = 0
    succeeded: int = 0
    failed: int = 0
    neutral: int = 0
    last_success_at: float | None = None
    endpoint: GateHealth = GateHealth()
    credential: GateHealth = GateHealth()
    models: Mapping[str, GateHealth] = field(default_factory=lambda: MappingProxyType({}))
    login: LoginHealth | None = None
