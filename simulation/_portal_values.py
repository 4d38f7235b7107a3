"""What a simulated Portal takes and gives: its rules, pairs of tokens, device codes, agent keys, refusals. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, final

INVOKE = "inference:invoke"
MINT = "inference:mint_agent_key"
SCOPES = frozenset({INVOKE, MINT, "tool:invoke", "billing:manage"})
"""What the Portal knows (source: Hermes Agent, `auth_constants.py`)."""


@final
@dataclass(frozen=True, slots=True)
class PortalRules:
    """How a Portal behaves. All times are in seconds.

    Args:
        access_for: How long an access token lives (about an hour was observed).
        family_for: How long a login lives, however often it is refreshed.
        grace_for: For so long after it was spent, a refresh token is answered with the pair that is live (none known).
        kills_access: Whether a refresh kills the access token before.
        rotates: Whether a refresh gives a new refresh token. Without, the answer names none, and the old one stays.
        reads_body: Whether a refresh token is also taken from the body, as older clients send it (unknown).
        reuse_error: The code that reuse is answered with; `refresh_token_reused` was seen as well.
        opaque: Whether access tokens are no JWTs.
        omits: Fields that an answer with tokens leaves out.
        omits_claims: Claims that its JWTs leave out.
        mint: What a request for an agent key is answered: 200, or, retired, 404 or 410.
        key_for: How long an agent key lives (about a day in Hermes Agent's tests).
        device_for: How long a device code waits for its approval.
        interval: How long a client has to wait between two polls.
        limit: How many requests the Portal takes in a minute; None is as many as come.
        inference_base_url: What an answer with tokens names; None is the inference that the Portal guards.
    """

    client_id: str = "hermes-cli"
    access_for: float = 3600.0
    family_for: float = 30 * 86400.0
    grace_for: float = 0.0
    kills_access: bool = True
    rotates: bool = True
    reads_body: bool = False
    reuse_error: Literal["invalid_grant", "refresh_token_reused"] = "invalid_grant"
    opaque: bool = False
    omits: frozenset[str] = frozenset()
    omits_claims: frozenset[str] = frozenset()
    mint: Literal[200, 404, 410] = 410
    key_for: float = 86400.0
    device_for: float = 600.0
    interval: float = 5.0
    limit: int | None = 25
    inference_base_url: str | None = None


@final
@dataclass(frozen=True, slots=True)
class Login:
    """A pair of tokens of one family, as the Portal gives it out."""

    family: int
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    scope: str
    obtained_at: float
    expires_at: float


@final
@dataclass(frozen=True, slots=True)
class Denied:
    """A refusal as OAuth words it."""

    error: str
    description: str
    status: int = 400


@final
@dataclass(frozen=True, slots=True)
class Limited:
    """Too many requests came; in `retry_after` seconds the next one is taken."""

    retry_after: float


@final
@dataclass(frozen=True, slots=True)
class Retired:
    """What was asked for is no longer there: 404 or 410."""

    status: int


@final
@dataclass(frozen=True, slots=True)
class DeviceCode:
    """A login that somebody has to approve."""

    device_code: str = field(repr=False)
    user_code: str = field(repr=False)
    expires_in: float
    interval: float


@final
@dataclass(frozen=True, slots=True)
class AgentKey:
    """A key for inference. `reused` says that it had been minted before."""

    api_key: str = field(repr=False)
    key_id: str
    expires_at: float
    reused: bool


PortalRequest: TypeAlias = Literal["device", "poll", "refresh", "mint"]
"""What the Portal is asked for; two of them share an address."""

Refusal: TypeAlias = Literal["unknown", "expired", "dead", "scope"]
"""Why a bearer is not let in; `dead` was live once."""


@final
@dataclass(slots=True)
class PortalCounts:
    """What has happened so far.

    Args:
        asked: Requests by kind, those that a fault or the limit met included.
        refreshes: Requests for a refresh by the fingerprint of the token that they showed, likewise.
        reuses: Spent tokens that were shown outside their grace.
        revoked: Families that were revoked.
        minted: Agent keys that were made.
        inference: Requests for inference by the fingerprint of their bearer.
        refused: Those of them that were refused.
    """

    asked: Counter[PortalRequest] = field(default_factory=Counter)
    refreshes: Counter[str] = field(default_factory=Counter)
    reuses: int = 0
    revoked: int = 0
    minted: int = 0
    inference: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
