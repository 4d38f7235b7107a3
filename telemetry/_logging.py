"""Logging as a hook: an event's name and its fields on one line, and no floods in an outage."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import anyio

from ..actors import CircuitClosed, CircuitTripped, Forced, HoldEnded, HoldPlaced, ProbeStarted
from ..credentials import (
    CredentialDied,
    CredentialEnding,
    CredentialRenewed,
    CredentialRevived,
    CredentialSaved,
    CredentialTroubled,
    CredentialUnsaved,
)
from ..providers import Line, tell
from ..supervisor import AccessRefused, ActorRestarted, Event, HandedOver, RequestEnded, Returned

LINES_PER_SECOND = 10
"""Lines of one kind in a second; what is left out is counted in the next one (R-SEC-4)."""

_log = logging.getLogger("understudy")


@final
@dataclass(frozen=True, slots=True)
class _Line:
    level: int
    name: str
    fields: Callable[[Any], dict[str, object]]


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


_LINES: dict[type[Any], _Line] = {
    HandedOver: _Line(
        logging.WARNING,
        "handed_over",
        lambda e: {"agent": e.agent, "primary": e.primary, "fallback": e.fallback, "reason": e.reason},
    ),
    Returned: _Line(
        logging.INFO, "returned", lambda e: {"agent": e.agent, "primary": e.primary, "after": round(e.after, 1)}
    ),
    AccessRefused: _Line(
        logging.ERROR,
        "access_refused",
        lambda e: {"agent": e.agent, "transport": e.transport, "model": e.model, "reason": e.reason},
    ),
    CircuitTripped: _Line(
        logging.WARNING,
        "circuit_tripped",
        lambda e: {"key": str(e.key), "open_for": round(e.open_for, 1), "openings": e.level, "reason": e.reason},
    ),
    CircuitClosed: _Line(logging.INFO, "circuit_closed", lambda e: {"key": str(e.key), "after": round(e.after, 1)}),
    HoldPlaced: _Line(
        logging.WARNING,
        "hold_placed",
        lambda e: {"key": str(e.key), "hold_for": round(e.hold_for, 1), "reason": e.reason},
    ),
    HoldEnded: _Line(logging.INFO, "hold_ended", lambda e: {"key": str(e.key), "after": round(e.after, 1)}),
    ProbeStarted: _Line(logging.INFO, "probe_started", lambda e: {"key": str(e.key), "early": e.early}),
    Forced: _Line(
        logging.WARNING,
        "forced",
        lambda e: {"key": str(e.key), "state": e.state, "lasts_for": round(e.lasts_for, 1), "reason": e.reason},
    ),
    CredentialRenewed: _Line(
        logging.INFO,
        "credential_renewed",
        lambda e: {
            "login": e.login,
            "lives_for": _rounded(e.lives_for),
            "adopted": e.adopted,
        },
    ),
    CredentialTroubled: _Line(
        logging.WARNING,
        "credential_troubled",
        lambda e: {"login": e.login, "retry_in": _rounded(e.retry_in), "reason": e.reason},
    ),
    CredentialDied: _Line(logging.WARNING, "credential_died", lambda e: {"login": e.login, "reason": e.reason}),
    CredentialRevived: _Line(logging.INFO, "credential_revived", lambda e: {"login": e.login}),
    CredentialUnsaved: _Line(logging.CRITICAL, "credential_unsaved", lambda e: {"login": e.login, "reason": e.reason}),
    CredentialSaved: _Line(logging.WARNING, "credential_saved", lambda e: {"login": e.login}),
    CredentialEnding: _Line(
        logging.WARNING, "credential_ending", lambda e: {"login": e.login, "days": e.days, "reason": e.reason}
    ),
    ActorRestarted: _Line(
        logging.ERROR,
        "actor_crashed",
        lambda e: {
            "endpoint": e.endpoint,
            "error": type(e.error).__name__,
            "restart_in": round(e.restart_in, 1),
            "dead": e.dead,
        },
    ),
    RequestEnded: _Line(
        logging.DEBUG,
        "request_ended",
        lambda e: {
            "agent": e.agent,
            "transport": e.transport,
            "model": e.model,
            "is_fallback": e.is_fallback,
            "attempts": len(e.attempts),
            "passed_over": len(e.passed_over),
            "duration": round(e.duration, 3),
            "error": e.error,
        },
    ),
}
"""Level, name and fields of each event. What a provider said stands in `reason`; it was cut and escaped on its way."""


_QUOTING: dict[type[Any], str] = {
    **dict.fromkeys((HandedOver, CircuitTripped, HoldPlaced), ""),
    AccessRefused: "refused; `understudy check` shows key, model and address",
}
"""The events in whose reason a provider is quoted, behind a colon; of those that hold more, what is said instead."""


@final
class LoggingHook:
    """Writes each event to the logger `understudy`, at most ten lines of a kind in a second.

    Args:
        quotes: Whether reasons hold what a provider said: it may quote a prompt.
    """

    is_ours = True

    def __init__(self, *, quotes: bool = True) -> None:
        self._quotes = quotes
        self._seconds: dict[str, tuple[int, int, int]] = {}

    def __call__(self, event: Event) -> None:
        """Write one line."""
        line = _LINES[type(event)]
        if not _log.isEnabledFor(line.level):
            return
        left_out = self._left_out(line.name)
        if left_out is None:
            return
        fields = line.fields(event) | ({"left_out": left_out} if left_out else {})
        if not self._quotes and type(event) in _QUOTING:
            fields["reason"] = _QUOTING[type(event)] or str(fields["reason"]).partition(":")[0]
        crash = event.error if isinstance(event, ActorRestarted) and self._quotes else None
        tell(partial(_log.log, line.level), Line(line.name, **fields), error=crash)

    def _left_out(self, name: str) -> int | None:
        """Return how many lines of this kind were left out since the last one; None when this one is, too."""
        now = int(anyio.current_time())
        second, written, left_out = self._seconds.get(name, (now, 0, 0))
        if second != now:
            second, written = now, 0
        if written >= LINES_PER_SECOND:
            self._seconds[name] = (second, written, left_out + 1)
            return None
        self._seconds[name] = (second, written + 1, 0)
        return left_out
