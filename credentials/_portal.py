"""Speaking to the Portal: one fresh client for each request, no redirects, no retries, 15 seconds at most.

A refresh token is shown in a header and never in the body; what comes back is read up to 64 KiB. Nothing of a request
or an answer is logged or kept in an exception: an answer that did not come is a value, too, and says whether the
request may have been sent.

Source: github.com/NousResearch/hermes-agent, `auth/providers/nous.py` and `hermes_cli/auth_device_flow.py`; its issue
21578 (the header, so that a sandbox can put it there).
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, final

import anyio
import httpx2

from ..providers import Line, retry_after, tell
from ..providers._body import unpacked
from ._addresses import PORTAL, address
from ._host import Host
from ._login import Login
from ._portal_answers import NoAnswer, PortalAnswer
from ._secret import Secret
from ._source import LoginSource

ANSWER_WITHIN, CONNECT_WITHIN = 15.0, 5.0
"""Seconds for a whole exchange with the Portal, and of those to connect (rule 14: a process of Hermes Agent that waits
for the lock meanwhile gives up after 20)."""

CLOSE_WITHIN = 2.0
"""Seconds to close the connection; nothing is said in closing (R-CX-3)."""

LARGEST_ANSWER = 64 * 1024
"""Bytes of an answer that are read (chosen: a pair of tokens has about three thousand)."""

USER_AGENT = "understudy"

_log = logging.getLogger("understudy.credentials")


@final
@dataclass(frozen=True, slots=True)
class Portal:
    """The Portal as one login reaches it."""

    url: str
    host: Host
    ca_bundle: str = ""
    insecure: bool = False

    async def refresh(self, token: Secret, client_id: str, closing: AsyncExitStack) -> PortalAnswer | NoAnswer:
        """Post a refresh token, once.

        Args:
            closing: Closes the connection at its end, so that nothing stands between the answer and the disk.

        Raises:
            OSError: The trusted certificates cannot be read; nothing was sent.
        """
        form = {"grant_type": "refresh_token", "client_id": client_id}
        headers = {"x-nous-refresh-token": token.reveal()}
        return await self._exchanged(closing, "/api/oauth/token", headers, data=form)

    async def mint(self, access: Secret, lasts_for: int) -> PortalAnswer | NoAnswer:
        """Ask for an agent key that lives so many seconds at least; errors as `refresh`."""
        headers = {"authorization": f"Bearer {access.reveal()}"}
        return await self._post("/api/oauth/agent-key", headers, json={"min_ttl_seconds": lasts_for})

    async def device(self, client_id: str, scope: str) -> PortalAnswer | NoAnswer:
        """Begin a login that somebody has to approve; errors as `refresh`."""
        return await self._post("/api/oauth/device/code", {}, data={"client_id": client_id, "scope": scope})

    async def poll(self, client_id: str, device_code: Secret) -> PortalAnswer | NoAnswer:
        """Ask whether a login has been approved; errors as `refresh`."""
        grant = "urn:ietf:params:oauth:grant-type:device_code"
        form = {"grant_type": grant, "client_id": client_id, "device_code": device_code.reveal()}
        return await self._post("/api/oauth/token", {}, data=form)

    async def _post(self, path: str, headers: Mapping[str, str], **body: Any) -> PortalAnswer | NoAnswer:
        closing = AsyncExitStack()
        try:
            return await self._exchanged(closing, path, headers, **body)
        finally:
            await closing.aclose()

    async def _exchanged(
        self, closing: AsyncExitStack, path: str, headers: Mapping[str, str], **body: Any
    ) -> PortalAnswer | NoAnswer:
        client = await self.host.in_thread(self._client)  # reading certificates takes a while
        closing.push_async_callback(_close, client)
        watch = _Watch()
        try:
            with anyio.move_on_after(ANSWER_WITHIN):
                url = f"{self.url}{path}"
                return self._read(await client.post(url, headers=headers, extensions={"trace": watch}, **body))
        except (
            httpx2.HTTPError,
            httpx2.InvalidURL,
            ValueError,
        ) as error:  # a token that no header can hold, among them
            tell(_log.debug, Line("portal_lost", path=path, error=type(error).__name__))
        return NoAnswer(watch.was_sent)

    def _client(self) -> httpx2.AsyncClient:
        verify: bool | ssl.SSLContext = not self.insecure
        if self.ca_bundle and not self.insecure:
            verify = ssl.create_default_context(cafile=self.ca_bundle)
        return httpx2.AsyncClient(
            verify=verify,
            timeout=httpx2.Timeout(None, connect=CONNECT_WITHIN),
            headers={"user-agent": USER_AGENT, "accept": "application/json", "accept-encoding": "identity"},
            event_hooks={"response": [_bound]},
            follow_redirects=False,
        )

    def _read(self, answer: httpx2.Response) -> PortalAnswer:
        headers = answer.headers
        wait = retry_after(
            headers.get_list("retry-after-ms"),
            headers.get_list("retry-after"),
            date=headers.get("date"),
            wall_clock=self.host.wall_clock(),
        )
        return PortalAnswer(answer.status_code, answer.content, wait)


@final
class _Watch:
    """Watches one request: was any of it sent? What the answer says is kept out of the HTTP library's log at DEBUG."""

    __slots__ = ("was_sent",)

    def __init__(self) -> None:
        self.was_sent = False

    async def __call__(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith("send_request_headers.started"):
            self.was_sent = self.was_sent or getattr(info.get("request"), "method", b"") != b"CONNECT"
        if ".receive_" in event and not event.endswith(".started"):
            info.clear()


async def _close(client: httpx2.AsyncClient) -> None:
    """Close a client; what goes wrong in closing says nothing about the answer."""
    with anyio.move_on_after(CLOSE_WITHIN, shield=True):
        try:
            await client.aclose()
        except Exception as error:  # noqa: BLE001
            tell(_log.debug, Line("portal_close", error=type(error).__name__))


async def _bound(answer: httpx2.Response) -> None:
    answer.stream = unpacked(answer, LARGEST_ANSWER, cut=True)  # it unpacks by itself: nobody may do so again
    answer.headers.pop("content-encoding", None)
    answer.extensions["reason_phrase"] = b""


def portal_of(source: LoginSource, login: Login, host: Host) -> Portal:
    """Return the Portal of a login: where the operator says, else where the login says if that is allowed."""
    return Portal(
        address(PORTAL, login.portal, override=source.portal),
        host,
        ca_bundle=login.ca_bundle or source.ca_bundle,
        insecure=login.insecure and source.allow_insecure,
    )
