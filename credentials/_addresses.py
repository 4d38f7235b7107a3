"""Where a token may go: the Portal's own hosts, over https, or what the operator named. Pure.

A file or an answer may name an address; it is used only if its host is built in here, or is the very one of the
operator's override (R-CRED-13). An override itself goes anywhere and is never written to a store.

Source: github.com/NousResearch/hermes-agent, `hermes_cli/auth_nous.py` and `hermes_cli/auth_constants.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final
from urllib.parse import SplitResult, urlsplit


@final
@dataclass(frozen=True, slots=True)
class Place:
    """A kind of server: its usual address, and all hosts it may have."""

    usual: str
    hosts: frozenset[str]


PORTAL = Place("https://portal.nousresearch.com", frozenset({"portal.nousresearch.com"}))
INFERENCE = Place(
    "https://inference-api.nousresearch.com/v1",
    frozenset({"inference-api.nousresearch.com", "welcome-api.nousresearch.com"}),
)

INFERENCE_URL = INFERENCE.usual
"""Where the inference API is, unless a login or the operator says otherwise."""

_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


def address(place: Place, learned: str = "", *, override: str = "") -> str:
    """Return where to speak to: the override, else what a store or an answer named if allowed, else the usual."""
    if override:
        return override.rstrip("/")
    return learned.rstrip("/") if is_allowed(place, learned) else place.usual


def to_keep(place: Place, learned: str, *, override: str = "") -> str:
    """Return what may be written to a store of an address that an answer named; empty: what stands there stays.

    One that is allowed only because an override names its host is used, but not kept.
    """
    is_override = bool(override) and _site(learned) == _site(override)
    return learned.rstrip("/") if is_allowed(place, learned) and not is_override else ""


def is_allowed(place: Place, learned: str, *, override: str = "") -> bool:
    """Say whether an address that was learned, not configured, may be used (R-CRED-13).

    https and a host that is built in, or the override's own scheme, host and port. The Portal may stand on this very
    machine, over http. No name or password, no other port, no query and no fragment.
    """
    try:
        parts = urlsplit(learned)
        port = parts.port
    except ValueError:
        return False
    if (
        parts.username is not None
        or parts.query
        or parts.fragment
        or any(sign <= " " or sign == "\\" for sign in learned)
    ):
        return False
    if override and (site := _site(learned)) is not None and site == _site(override):
        return True
    if parts.scheme == "http":
        return place is PORTAL and parts.hostname in _LOCAL
    return parts.scheme == "https" and port in {None, 443} and parts.hostname in place.hosts


def _site(url: str) -> tuple[str, str, int] | None:
    try:
        parts = urlsplit(url)
        return (parts.scheme, parts.hostname, _port(parts)) if parts.hostname else None
    except ValueError:
        return None


def _port(parts: SplitResult) -> int:
    return parts.port or (80 if parts.scheme == "http" else 443)
