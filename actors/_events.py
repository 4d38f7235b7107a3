"""What happened to an endpoint: one frozen value for each real change, told to whoever listens."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, auto
from typing import TypeAlias, final


class Layer(StrEnum):
    """What a circuit or a hold is about. A call needs all three of its endpoint."""

    ENDPOINT = auto()
    MODEL = auto()
    CREDENTIAL = auto()


@final
@dataclass(frozen=True, slots=True)
class Key:
    """Whose circuit or hold it is. `model` is None for the whole endpoint and for its credential."""

    endpoint: str
    layer: Layer
    model: str | None = None

    def __str__(self) -> str:
        match self.layer:
            case Layer.ENDPOINT:
                return self.endpoint
            case Layer.MODEL:
                return f"{self.model} of {self.endpoint}"
            case Layer.CREDENTIAL:
                return f"the credential of {self.endpoint}"


@final
@dataclass(frozen=True, slots=True)
class CircuitTripped:
    """A circuit opened, or opened again after a probe failed. `open_for` is in seconds, `level` counts openings."""

    key: Key
    reason: str
    open_for: float
    level: int


@final
@dataclass(frozen=True, slots=True)
class ProbeStarted:
    """One attempt was let through to find out; `early` when it was before the time, as nobody else could answer."""

    key: Key
    early: bool = False


@final
@dataclass(frozen=True, slots=True)
class CircuitClosed:
    """A probe passed: everybody may ask again. `after` is in seconds since it opened."""

    key: Key
    after: float


@final
@dataclass(frozen=True, slots=True)
class HoldPlaced:
    """A provider asked for time, or refused a credential: it is not asked for `hold_for` seconds."""

    key: Key
    reason: str
    hold_for: float


@final
@dataclass(frozen=True, slots=True)
class HoldEnded:
    """An answer came after a hold. `after` is in seconds since it was placed."""

    key: Key
    after: float


@final
@dataclass(frozen=True, slots=True)
class Forced:
    """Somebody opened, closed or reset it by hand; `lasts_for` is in seconds, and 0 for a reset."""

    key: Key
    state: str
    reason: str
    lasts_for: float


EndpointEvent: TypeAlias = CircuitTripped | ProbeStarted | CircuitClosed | HoldPlaced | HoldEnded | Forced
