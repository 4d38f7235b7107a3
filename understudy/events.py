"""Events: what hooks are told, all of them in one place. Each is a frozen value without prompt, answer or secret.

Durations are in seconds. `Event` is any of them; what each one means stands in its docstring, and when it is told in
`docs/telemetry.md`.
"""

from __future__ import annotations

from .actors import CircuitClosed, CircuitTripped, Forced, HoldEnded, HoldPlaced, Key, Layer, ProbeStarted
from .credentials import (
    CredentialDied,
    CredentialEnding,
    CredentialRenewed,
    CredentialRevived,
    CredentialSaved,
    CredentialTroubled,
    CredentialUnsaved,
)
from .supervisor import AccessRefused, ActorRestarted, Event, HandedOver, RequestEnded, Returned

__all__ = (
    "AccessRefused",
    "ActorRestarted",
    "CircuitClosed",
    "CircuitTripped",
    "CredentialDied",
    "CredentialEnding",
    "CredentialRenewed",
    "CredentialRevived",
    "CredentialSaved",
    "CredentialTroubled",
    "CredentialUnsaved",
    "Event",
    "Forced",
    "HandedOver",
    "HoldEnded",
    "HoldPlaced",
    "Key",
    "Layer",
    "ProbeStarted",
    "RequestEnded",
    "Returned",
)
