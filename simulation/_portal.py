"""A Nous Portal as a model: logins, rotation, reuse, device codes and agent keys. Pure.

A login is a family of tokens. Its refresh token is for one use: a refresh spends it and gives the next one, and the
access token before is dead. Who presents a spent one ends the login for everybody.

    log in ──> live ──refresh with the live token──> live (next pair)
                 ├──refresh with a spent token, outside its grace──> revoked
                 └──30 days after the login──> over

The instants are seconds of the Portal's own clock, which callers bring along. How all this looks over HTTP does not
belong in here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, final

from ._portal_tokens import Tokens
from ._portal_values import (
    INVOKE,
    MINT,
    SCOPES,
    AgentKey,
    Denied,
    DeviceCode,
    Limited,
    Login,
    PortalCounts,
    PortalRules,
    Refusal,
    Retired,
)

SLOWER_BY = 5.0
"""Seconds that `slow_down` adds to the interval between two polls (RFC 8628, section 3.5)."""

LIMIT_FOR = 60.0
"""Seconds over which requests are counted against the limit."""

SHORTEST_KEY = 60
"""Seconds that an agent key has to be asked for, at least."""


@final
@dataclass(slots=True)
class _Family:
    scope: str
    ends_at: float
    live: Login
    spent: dict[str, float] = field(default_factory=dict)
    access: dict[str, float] = field(default_factory=dict)
    keys: list[AgentKey] = field(default_factory=list)
    is_revoked: bool = False


@final
@dataclass(slots=True)
class _Device:
    scope: str
    user_code: str
    ends_at: float
    interval: float
    polled_at: float | None = None
    state: Literal["pending", "approved", "denied", "used"] = "pending"


@final
class Portal:
    """The Portal's memory. Every question is answered at once, so that no two of them overlap.

    Args:
        seed: What tokens are drawn from: they are the same for the same seed.
    """

    def __init__(self, rules: PortalRules, seed: str) -> None:
        self.rules, self._tokens = rules, Tokens(seed)
        self.counts = PortalCounts()
        self._families: list[_Family] = []
        self._devices: dict[str, _Device] = {}
        self._refreshing: dict[str, int] = {}  # the family of every refresh token there ever was
        self._bearing: dict[str, int] = {}  # the family of every access token and key there ever was
        self._static: set[str] = set()
        self._taken: deque[float] = deque()

    def limited(self, now: float) -> Limited | None:
        """Count a request against the limit, and return what it is refused with if there have been too many."""
        while self._taken and self._taken[0] <= now - LIMIT_FOR:
            self._taken.popleft()
        if self.rules.limit is not None and len(self._taken) >= self.rules.limit:
            return Limited(self._taken[0] + LIMIT_FOR - now)
        self._taken.append(now)
        return None

    def log_in(self, now: float, *, scope: str = INVOKE) -> Login:
        """Begin a family, as an approved device code does, and return its first pair."""
        return self._begin(scope, now)

    def live(self, family: int) -> Login | None:
        """Return the pair of a family that its last refresh gave out, or None if the family was revoked."""
        found = self._families[family]
        return None if found.is_revoked else found.live

    def refresh(self, token: str, client_id: str, now: float) -> Login | Denied:
        """Spend a refresh token, and return the pair that replaces it.

        A spent one is answered with the live pair within its grace; after it, the family is revoked.
        """
        if client_id != self.rules.client_id:
            return _INVALID_CLIENT
        number = self._refreshing.get(token)
        if number is None:
            return Denied("invalid_grant", "Refresh token not found")
        family = self._families[number]
        reused = token in family.spent
        if reused and not 0 <= now - family.spent[token] < self.rules.grace_for:
            self.counts.reuses += 1
            if not family.is_revoked:
                self.revoke(number)
                return Denied(self.rules.reuse_error, "Refresh token reuse detected; the session has been revoked")
        if family.is_revoked:
            return Denied("invalid_grant", "Refresh session has been revoked")
        if now >= family.ends_at:
            return Denied("invalid_grant", "Refresh session expired")
        return family.live if reused else self._rotate(number, now)

    def revoke(self, family: int) -> None:
        """End a login: its refresh token, its access tokens and its keys are dead."""
        found = self._families[family]
        self.counts.revoked += not found.is_revoked
        found.is_revoked = True

    def expire_access(self, family: int) -> None:
        """Let a family's access tokens be over, whatever they claim themselves."""
        found = self._families[family]
        found.access = dict.fromkeys(found.access, -1.0)

    def expire_family(self, family: int) -> None:
        """Let a login have reached its absolute end, and with it all its tokens and keys."""
        self._families[family].ends_at = -1.0

    def issue_key(self) -> str:
        """Return a static key, which never expires."""
        key = self._tokens.opaque("sk-")
        self._static.add(key)
        return key

    def refusal(self, bearer: str, now: float) -> Refusal | None:
        """Say why a bearer may not ask for inference, or None if it may: an access token with the scope, or a key."""
        if bearer in self._static:
            return None
        number = self._bearing.get(bearer)
        if number is None:
            return "unknown"
        family = self._families[number]
        until = {**family.access, **{key.api_key: key.expires_at for key in family.keys}}.get(bearer)
        if family.is_revoked or until is None:
            return "dead"
        if now >= min(until, family.ends_at):
            return "expired"
        return None if bearer not in family.access or INVOKE in family.scope.split() else "scope"

    def mint(self, bearer: str, shortest: float, now: float) -> AgentKey | Denied | Retired:
        """Return a key that lives `shortest` seconds at least: the last one if it does, else a new one."""
        if self.rules.mint != 200:
            return Retired(self.rules.mint)
        number = self._bearing.get(bearer)
        if number is None or self.refusal(bearer, now) in {"expired", "dead"}:
            return _INVALID_TOKEN
        family = self._families[number]
        if bearer not in family.access:
            return _INVALID_TOKEN
        if MINT not in family.scope.split():
            return Denied("insufficient_scope", f"The token has no scope {MINT}", 403)
        if shortest < SHORTEST_KEY:
            return Denied("invalid_request", f"min_ttl_seconds is {SHORTEST_KEY} at least")
        for key in family.keys[-1:]:
            if key.expires_at - now >= shortest:
                return AgentKey(key.api_key, key.key_id, key.expires_at, reused=True)
        key = AgentKey(self._tokens.opaque("nak_"), self._tokens.opaque("key_"), now + self.rules.key_for, reused=False)
        family.keys.append(key)
        self._bearing[key.api_key] = number
        self.counts.minted += 1
        return key

    def device(self, client_id: str, scope: str, now: float) -> DeviceCode | Denied:
        """Begin a login that somebody has to approve."""
        if client_id != self.rules.client_id:
            return _INVALID_CLIENT
        if not SCOPES.issuperset(scope.split()):
            return Denied("invalid_scope", "The requested scope is unknown")
        code, user_code = self._tokens.opaque(""), self._tokens.user_code()
        rules = self.rules
        self._devices[code] = _Device(scope or INVOKE, user_code, now + rules.device_for, rules.interval)
        return DeviceCode(code, user_code, rules.device_for, rules.interval)

    def decide(self, user_code: str, decision: Literal["approved", "denied"]) -> None:
        """Do what the human at the approval page does.

        Raises:
            KeyError: No such code waits for a decision.
        """
        for device in self._devices.values():
            if (device.user_code, device.state) == (user_code, "pending"):
                device.state = decision
                return
        raise KeyError("no device code of that user code waits for a decision: begin a login first")

    def poll(self, code: str, client_id: str, now: float) -> Login | Denied:
        """Return the pair of an approved device code, once; else how it stands.

        Source: RFC 8628, section 3.5.
        """
        if client_id != self.rules.client_id:
            return _INVALID_CLIENT
        device = self._devices.get(code)
        if device is None or device.state == "used":
            return Denied("invalid_grant", "Device code not found")
        if now >= device.ends_at:
            return Denied("expired_token", "Device code expired")
        if device.state == "denied":
            return Denied("access_denied", "The request was denied")
        if device.state == "pending":
            return _too_early(device, now)
        device.state = "used"
        return self._begin(device.scope, now)

    def _begin(self, scope: str, now: float) -> Login:
        number = len(self._families)
        first = self._pair(number, scope, self._tokens.opaque("nrt_"), now)
        family = _Family(scope, now + self.rules.family_for, first)
        self._families.append(family)
        self._remember(first)
        return first

    def _rotate(self, number: int, now: float) -> Login:
        family = self._families[number]
        before = family.live
        following = before.refresh_token
        if self.rules.rotates:
            family.spent[following] = now
            following = self._tokens.opaque("nrt_")
        if self.rules.kills_access:
            family.access.clear()
        family.live = self._pair(number, family.scope, following, now)
        self._remember(family.live)
        return family.live

    def _remember(self, pair: Login) -> None:
        self._families[pair.family].access[pair.access_token] = pair.expires_at
        self._bearing[pair.access_token] = self._refreshing[pair.refresh_token] = pair.family

    def _pair(self, number: int, scope: str, refresh_token: str, now: float) -> Login:
        until = now + self.rules.access_for
        if self.rules.opaque:
            return Login(number, self._tokens.opaque("nat_"), refresh_token, scope, now, until)
        claims = _claims(number, self.rules.client_id, scope, now, until)
        token = self._tokens.jwt({name: value for name, value in claims if name not in self.rules.omits_claims})
        return Login(number, token, refresh_token, scope, now, until)


_INVALID_CLIENT = Denied("invalid_client", "Unknown client")
_INVALID_TOKEN = Denied("invalid_token", "Access token is invalid or expired", 401)


def _too_early(device: _Device, now: float) -> Denied:
    early = device.polled_at is not None and now - device.polled_at < device.interval
    device.polled_at = now
    if early:
        device.interval += SLOWER_BY
        return Denied("slow_down", "Polling too frequently")
    return Denied("authorization_pending", "The request waits for its approval")


def _claims(number: int, client_id: str, scope: str, now: float, until: float) -> Iterator[tuple[str, object]]:
    yield from [("sub", f"user-canary-{number}"), ("org_id", f"org-canary-{number}"), ("product_id", "simulated")]
    yield from [("client_id", client_id), ("nous_client", client_id), ("scope", scope)]
    yield from [("paid_access", True), ("subscription_tier", "simulated")]
    yield from [("iat", int(now)), ("exp", int(until))]
