"""A provider whose key is a login that is kept and renewed: each request is sent with the token of the moment.

    sent with version 7 ── 401 ──▶ the token that follows version 7: renewed, if nobody has yet ── 401 ──▶ an error
                        ── else ─▶ as it is

One request asks twice at most (R-CRED-1, R-CRED-11). A stream is asked again only before its first part, for a 401 is
its head.

Nous may answer 401 for a model that it does not have (nous-portal, 5.4). A model is suspected of that when its 401
outlives a renewal, or when the token that was refused for it is accepted for others afterwards: then its 401 renews
nothing and holds nothing, for 40 s, doubling to 10 min each time that it is found so again. It must not be for ever: a
token that is really refused, and that only this model is asked with, has to be renewed some day. One that no renewal
has helped before is found so at once where the token was accepted lately.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeVar, final

import anyio

from ..credentials import BarredError, Bearer, Keeper, Why
from ..providers import (
    AttemptError,
    Failure,
    KeyedProvider,
    Provider,
    Request,
    Response,
    Upstream,
    Verdict,
    attempt_error,
)

Given = TypeVar("Given")

SUSPECTED_FOR, SUSPECTED_MAX = 40.0, 600.0
"""Seconds for which a model's 401 is its own affair, doubling to the longest (chosen: longer than a renewed token
rests, R-CRED-11, and a sixth of a token's usual life)."""

LATELY = 60.0
"""Seconds before a 401 in which the token was accepted for others, so that a model which no renewal has helped before
is what is refused (chosen)."""


@final
class RenewingProvider:
    """The provider port over one that takes a key for each request.

    Args:
        transport: Its name in errors.
        follows: Whether it speaks to the address that the login names, where that is another one.
    """

    def __init__(self, inner: KeyedProvider, keeper: Keeper, transport: str, *, follows: bool) -> None:
        self._inner, self._keeper, self._transport, self._follows = inner, keeper, transport, follows
        self._version = 0
        self._with_key: Provider = inner
        self._doubts: dict[str, _Doubt] = {}

    async def complete(self, request: Request) -> Response:
        """Ask once, and again where only the token was refused; see `Provider.complete`."""
        return await self._ask(request, lambda provider: provider.complete(request))

    async def stream(self, request: Request) -> Upstream:
        """Ask once, and again where only the token was refused; see `Provider.stream`."""
        return await self._ask(request, lambda provider: provider.stream(request))

    async def aclose(self) -> None:
        """Close the client; see `Provider.aclose`."""
        await self._inner.aclose()

    async def _ask(self, request: Request, ask: Callable[[Provider], Awaitable[Given]]) -> Given:
        bearer = self._keeper.at_hand or await self._token(request.model)
        given = await self._tried(bearer, request.model, ask)
        if not isinstance(given, AttemptError):
            return given
        doubt = self._doubts.setdefault(request.model, _Doubt())
        if self._is_the_models(doubt, bearer):
            raise _about_the_model(given)
        first, refused_at = bearer, anyio.current_time()
        try:
            bearer = await self._token(request.model, after=first, refused=given)
        except AttemptError:
            doubt.refused(first.version, refused_at)
            raise
        given = await self._tried(bearer, request.model, ask)
        if not isinstance(given, AttemptError):
            return given
        if not self._keeper.is_current(bearer):
            raise self._without(request.model, given, "the token was renewed while it was asked with the one before")
        if not doubt.level and not self._keeper.is_accepted(first):
            raise given
        doubt.suspected(anyio.current_time())
        doubt.is_proven = True
        raise _about_the_model(given)

    def _is_the_models(self, doubt: _Doubt, bearer: Bearer) -> bool:
        """Say whether a 401 for the token of the moment is about the model; found so, it is suspected anew."""
        now, keeper = anyio.current_time(), self._keeper
        if not keeper.is_current(bearer):
            return False
        if now >= doubt.suspected_until:
            since = doubt.refused_at if doubt.version == bearer.version else math.inf
            if not keeper.vouches_for(bearer, min(since, now - LATELY) if doubt.is_proven else since):
                return False
            doubt.suspected(now)
        return True

    async def _tried(
        self, bearer: Bearer, model: str, ask: Callable[[Provider], Awaitable[Given]]
    ) -> Given | AttemptError:
        """Ask with this token; return what came, or the 401."""
        sent_at = anyio.current_time()
        try:
            given = await ask(self._provider(bearer))
        except AttemptError as error:
            if error.verdict is Verdict.AUTH:
                return error
            raise
        self._keeper.accepted(bearer, sent_at)
        self._doubts.pop(model, None)
        return given

    async def _token(self, model: str, *, after: Bearer | None = None, refused: AttemptError | None = None) -> Bearer:
        """Return the token to send with: the present one, or the one after that which was refused."""
        try:
            return await (self._keeper.bearer() if after is None else self._keeper.successor(after.version))
        except BarredError as error:
            barred = error
        if refused is not None and barred.why is Why.REFUSED:
            raise refused
        raise self._without(model, refused, barred.reason, barred.retry_after)

    def _without(
        self, model: str, refused: AttemptError | None, reason: str, retry_after: float | None = None
    ) -> AttemptError:
        """Return the error of a request for which there is no token."""
        return attempt_error(
            Failure(
                transport=self._transport,
                model=model,
                verdict=Verdict.CREDENTIAL,
                said=reason,
                status=None if refused is None else refused.status,
                retry_after=retry_after,
            )
        )

    def _provider(self, bearer: Bearer) -> Provider:
        if bearer.version != self._version:
            base_url = self._keeper.inference if self._follows else ""
            self._with_key = self._inner.keyed(bearer.token.reveal(), base_url=base_url)
            self._version = bearer.version
        return self._with_key


@final
@dataclass(slots=True)
class _Doubt:
    """What is held against one model. `version` is the token that it was refused with at `refused_at`, without one that
    followed; until `suspected_until` its 401 is its own affair. `level` counts how often that was found, and
    `is_proven` says that a renewal has not helped it.
    """

    version: int = 0
    refused_at: float = math.inf
    suspected_until: float = -math.inf
    level: int = 0
    is_proven: bool = False

    def refused(self, version: int, at: float) -> None:
        """Take note of a 401 after which there was no other token: of the first one of that token."""
        if version != self.version:
            self.version, self.refused_at = version, at

    def suspected(self, now: float) -> None:
        """Leave the token alone for a while; what was known of it then says nothing of it later."""
        self.suspected_until = now + min(SUSPECTED_FOR * 2.0 ** min(self.level, 30), SUSPECTED_MAX)
        self.level += 1
        self.version, self.refused_at = 0, math.inf


def _about_the_model(error: AttemptError) -> AttemptError:
    """Return a 401 as what it is where the token is accepted for other models: this one is not to be had."""
    return attempt_error(replace(error.failure, verdict=Verdict.NOT_FOUND))
