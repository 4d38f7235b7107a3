"""Who may ask, decided from the head of a request alone. Pure: the clock comes with the question.

    host ──▶ origin ──▶ token ──▶ kind of body

A loopback address is no proof of who asks: every page that is open in a browser can send requests there, and a name
that resolves to it makes them its own (DNS rebinding; CVE-2024-28224). So the `Host` has to be one of ours, no page may
ask whose `Origin` is not allowed, and whoever asks shows the token (R-GW-2, R-GW-3). What is refused is refused in the
same words whether a token is absent, wrong, or nearly right, and after the same work.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import final

from ._askers import asker_of, counted_as, networks_of
from ._http1 import is_host
from ._values import Head, Headers

FAILURES, WITHIN = 10, 60.0
"""So many failures in so many seconds, and a peer is told to wait (R-GW-2)."""

PEERS = 4096
"""Peers whose failures are remembered; the one that failed longest ago is forgotten first (chosen: half a MiB)."""

SELF = "self"
"""An allowed origin that stands for the server's own pages: plain HTTP, and the very `Host` that was asked."""

KEPT = 1024
"""Names and addresses of which is kept what they are (chosen: most requests name the same few)."""

_REALM = (("www-authenticate", "Bearer"),)
_NAMES = frozenset({"localhost"})


@final
@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not answered: its status, the words for people, and the headers that belong to it."""

    status: int
    said: str
    headers: Headers = ()


ABSENT = Refusal(
    401,
    "the gateway's token is missing or is another one: show what `understudy token` prints where it runs, "
    "in one header alone, as a bearer or as x-api-key",
    _REALM,
)


@final
class Guard:
    """Judges heads of requests. It remembers nothing but who failed of late, and notes on a head that it is good.

    Args:
        tokens: Those that are good. Only their digests are kept.
        hosts: Names and addresses that may be asked for beside the loopback's, with a port or, for any port, without.
        origins: Pages that may ask, such as `https://app.example`; `SELF` for our own.
        open_paths: Paths that are answered without a token.
        proxies: Addresses and networks of those who are believed whom they ask for: failures are counted for these.

    Raises:
        ValueError: One of `proxies` is neither.
    """

    __slots__ = ("_digests", "_failed", "_hosts", "_open_paths", "_origins", "_proxies")

    def __init__(
        self,
        tokens: Iterable[str],
        *,
        hosts: Iterable[str] = (),
        origins: Iterable[str] = (),
        open_paths: Iterable[str] = (),
        proxies: Iterable[str] = (),
    ) -> None:
        self._digests = tuple(map(_digest, tokens))
        self._hosts, self._origins = frozenset(map(str.lower, hosts)), frozenset(map(str.lower, origins))
        self._open_paths, self._proxies = frozenset(open_paths), networks_of(proxies)
        self._failed: OrderedDict[str, list[float]] = OrderedDict()

    @property
    def remembered(self) -> int:
        """Peers whose failures are remembered."""
        return len(self._failed)

    def knows(self, head: Head) -> bool:
        """Say whether a request passes without another look: its head was found good before, and nobody has failed."""
        return self in head.notes and not self._failed

    def judge(self, head: Head, now: float) -> Refusal | None:
        """Say why a request is refused; None if it is not.

        Args:
            now: Monotonic instant, in seconds.
        """
        refusal = self.judge_place(head)
        if refusal is None and head.path not in self._open_paths:
            refusal = self.judge_token(head, now)
        refusal = refusal or judge_body(head)
        if refusal is None:
            head.notes[self] = True
        return refusal

    def judge_place(self, head: Head) -> Refusal | None:
        """Judge where a request was sent to, and the page that sent it (R-GW-3)."""
        hosts = head.all("host")
        if len(hosts) != 1 or not is_host(hosts[0]):
            return Refusal(400, "a request names exactly one Host")
        host = hosts[0].lower()
        if not (host in self._hosts or _name(host) in self._hosts or is_loopback(_name(host))):
            return Refusal(421, "the gateway does not answer to this Host: put it into GATEWAY_HOSTS if it should")
        origins = head.all("origin")
        if any(not self._is_allowed(origin.lower(), host) for origin in origins) or len(origins) > 1:
            return Refusal(
                403, "pages of this Origin may not ask the gateway: put it into GATEWAY_ORIGINS if they should"
            )
        return None

    def judge_token(self, head: Head, now: float) -> Refusal | None:
        """Judge the token: exactly one has to be shown, and to be good. A peer that failed too often is told to wait.

        A good token is always good on the loopback: there all programs share an address, and one of them that is
        misconfigured must not lock the others out. From elsewhere nobody is heard while they have to wait.
        """
        is_good = self._is_good(_shown(head))
        if is_good and not self._failed:
            return None
        asker = asker_of(head, self._proxies)
        peer = counted_as(asker)
        wait_for = self._wait_for(peer, now)
        if is_good and (wait_for == 0 or is_loopback(asker)):
            return None
        if wait_for > 0:
            seconds = max(1, int(wait_for + 0.999))
            return Refusal(429, "too many requests without the gateway's token", (("retry-after", str(seconds)),))
        self._failed.setdefault(peer, []).append(now)
        self._failed.move_to_end(peer)
        if len(self._failed) > PEERS:
            self._failed.popitem(last=False)
        return ABSENT

    def _is_good(self, shown: str) -> bool:
        """Compare what was shown with every token, whatever came of those before (R-GW-2)."""
        digest, is_good = _digest(shown), False
        for good in self._digests:
            is_good |= hmac.compare_digest(digest, good)
        return is_good and shown != ""

    def _wait_for(self, peer: str, now: float) -> float:
        """Return how long a peer has to wait, in seconds; those of its failures that are old are forgotten."""
        recent = [at for at in self._failed.get(peer, ()) if now - at < WITHIN]
        if not recent:
            self._failed.pop(peer, None)
            return 0.0
        self._failed[peer] = recent
        return recent[-FAILURES] + WITHIN - now if len(recent) >= FAILURES else 0.0

    def _is_allowed(self, origin: str, host: str) -> bool:
        return origin in self._origins or (SELF in self._origins and origin == f"http://{host}")


def judge_body(head: Head) -> Refusal | None:
    """Judge the kind of a body: JSON, which no page can send elsewhere without asking first (R-GW-3)."""
    has_body = head.header("transfer-encoding") is not None or (head.header("content-length") or "0").strip("0") != ""
    if not has_body:
        return None
    kinds = head.all("content-type")
    kind, *parameters = (kinds[0] if len(kinds) == 1 else "").lower().split(";")
    charsets = [each.partition("=")[2].strip(' "') for each in parameters if each.strip().startswith("charset")]
    if kind.strip() != "application/json" or any(charset not in {"utf-8", "utf8"} for charset in charsets):
        return Refusal(415, "a body is JSON in UTF-8, and says so: content-type: application/json")
    return None


@lru_cache(KEPT)
def is_loopback(name: str) -> bool:
    """Say whether a host without its port is this machine's loopback: `localhost`, 127.0.0.0/8 or ::1, written as they
    usually are. What else resolves there, such as `127.1` or 2130706433, is somebody's trick.
    """
    if name.lower() in _NAMES:
        return True
    try:
        address = ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return address.is_loopback and getattr(address, "ipv4_mapped", None) is None


def _name(host: str) -> str:
    """Return a host without its port."""
    return host[: host.index("]") + 1] if host.startswith("[") else host.partition(":")[0]


def _shown(head: Head) -> str:
    """Return the one token that was shown; empty if there is none, or more than one."""
    bearers, keys = head.all("authorization"), head.all("x-api-key")
    if len(bearers) + len(keys) != 1:
        return ""
    if keys:
        return keys[0]
    scheme, _, token = bearers[0].partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _digest(token: str) -> bytes:
    """Return what tokens are compared by: as long for each, and of no use to who sees it."""
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
