"""The actors' room: one owner per endpoint, with its mailbox, its health and its client. It knows no supervisor."""

from ._circuit import Outcome
from ._endpoint import Endpoint
from ._events import (
    CircuitClosed,
    CircuitTripped,
    EndpointEvent,
    Forced,
    HoldEnded,
    HoldPlaced,
    Key,
    Layer,
    ProbeStarted,
)
from ._gate import CircuitPolicy
from ._health import CircuitState, GateHealth, Health, Phase, Refusal, Refused
from ._mailbox import Mailbox, Reply
from ._network import Network
from ._permit import Permit
from ._provider_actor import Drain, Message, ProviderActor, Stop

__all__ = (
    "CircuitClosed",
    "CircuitPolicy",
    "CircuitState",
    "CircuitTripped",
    "Drain",
    "Endpoint",
    "EndpointEvent",
    "Forced",
    "GateHealth",
    "Health",
    "HoldEnded",
    "HoldPlaced",
    "Key",
    "Layer",
    "Mailbox",
    "Message",
    "Network",
    "Outcome",
    "Permit",
    "Phase",
    "ProbeStarted",
    "ProviderActor",
    "Refusal",
    "Refused",
    "Reply",
    "Stop",
)
