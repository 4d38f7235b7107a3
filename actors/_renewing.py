"""A provider whose key is a login that is kept and renewed: each request is sent with the token of the moment.

    sent with version 7 ── 401 ──▶ the token that follows version 7: renewed, if nobody has yet ── 401 ──▶ an error
                        ── else ─▶ as it is

One request asks twice at most (R-CRED-1, R-CRED-11). A stream is asked again only before its first part, for a 401 is
its head. A model whose 401 outlives a renewal, or cannot have one, while the same token is accepted for others in
requests that were sent later, is itself what is refused: its next 401 renews nothing and holds nothing (nous-portal,
5.4: an unknown model may be answered so).
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
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
        self._doubted: dict[str, float] = {}

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
        if self._is_the_models(request.model, bearer):
            self._doubt(request.model)
            raise _about_the_model(given)
        try:
            bearer = await self._token(request.model, after=bearer, refused=given)
        except AttemptError:
            self._doubt(request.model)
            raise
        given = await self._tried(bearer, request.model, ask)
        if not isinstance(given, AttemptError):
            return given
        self._doubt(request.model)
        raise _about_the_model(given) if self._keeper.is_accepted(bearer) else given

    def _doubt(self, model: str) -> None:
        """Take note that a renewal has not helped this model, or that there was none."""
        self._doubted.setdefault(model, anyio.current_time())

    def _is_the_models(self, model: str, bearer: Bearer) -> bool:
        """Say whether a 401 is about the model, since the token is accepted for others."""
        return self._keeper.vouches_for(bearer, self._doubted.get(model, math.inf))

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
        self._doubted.pop(model, None)
        return given

    async def _token(self, model: str, *, after: Bearer | None = None, refused: AttemptError | None = None) -> Bearer:
        """Return the token to send with: the present one, or the one after that which was refused."""
        try:
            return await (self._keeper.bearer() if after is None else self._keeper.successor(after.version))
        except BarredError as error:
            barred = error
        if refused is not None and barred.why is Why.REFUSED:
            raise refused
        raise attempt_error(
            Failure(
                transport=self._transport,
                model=model,
                verdict=Verdict.CREDENTIAL,
                said=barred.reason,
                status=None if refused is None else refused.status,
                retry_after=barred.retry_after,
            )
        )

    def _provider(self, bearer: Bearer) -> Provider:
        if bearer.version != self._version:
            base_url = self._keeper.inference if self._follows else ""
            self._with_key = self._inner.keyed(bearer.token.reveal(), base_url=base_url)
            self._version = bearer.version
        return self._with_key


def _about_the_model(error: AttemptError) -> AttemptError:
    """Return a 401 as what it is where the token is accepted for other models: this one is not to be had."""
    return attempt_error(replace(error.failure, verdict=Verdict.NOT_FOUND))
