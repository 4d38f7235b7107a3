"""Logging in with a device code: what the Portal's answers mean, and how long to wait between two polls. Pure.

    device/code ─▶ DeviceCode: shown to somebody, who approves it at the Portal's own page
         │  every `interval` seconds, until `expires_in` is over
         ▼
       poll ─▶ Granted        the first pair of a new login
            ─▶ Pending        again; `slow_down` adds 5 s for good
            ─▶ Noise          a page, a limit, no answer: again later, and the code stays good
            ─▶ Declined       that was it

Sources: RFC 8628 sections 3.2 to 3.5; github.com/NousResearch/hermes-agent, issues 87432 (a shorter interval than 5 s
meets the Portal's limit, and orphans an approval) and 112595 (noise of the edge).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias, final
from urllib.parse import urlsplit

from ._addresses import PORTAL, is_allowed
from ._lifetime import duration
from ._login import Granted, granted
from ._portal_answers import KNOWN_CODES, NoAnswer, PortalAnswer, said_in
from ._secret import Secret

SHORTEST_INTERVAL, SLOWER_BY = 5.0, 5.0
"""Seconds between two polls at least, and what `slow_down` adds (RFC 8628 section 3.5)."""

NOISE_FIRST, NOISE_MAX = 5.0, 60.0
"""Seconds after the first answer that says nothing, doubling to the longest."""

DEFAULT_EXPIRY = 600.0
"""Seconds that a device code is good for, should the answer say nothing readable (RFC 8628 demands that it does)."""


@final
@dataclass(frozen=True, slots=True)
class DeviceCode:
    """A login that somebody has to approve: at `url` with the code, or at `complete_url`, which has it already.

    `expires_in` and `interval` are in seconds.
    """

    device_code: Secret
    user_code: str
    url: str
    complete_url: str
    expires_in: float
    interval: float


@final
@dataclass(frozen=True, slots=True)
class Declined:
    """There will be no login of this code. `reason` is for people."""

    reason: str


@final
@dataclass(frozen=True, slots=True)
class Pending:
    """Nobody has decided yet. `slower`: the Portal wants to be asked less often."""

    slower: bool = False


@final
@dataclass(frozen=True, slots=True)
class Noise:
    """An answer that says nothing about the login; `retry_after` is its hint in seconds."""

    retry_after: float | None = None


@final
@dataclass(frozen=True, slots=True)
class Pace:
    """How often the Portal is asked. `noise` counts the answers in a row that said nothing."""

    interval: float
    noise: int = 0

    def after(self, meaning: Pending | Noise) -> tuple[Pace, float]:
        """Return the pace after an answer, and the seconds until the next poll."""
        if isinstance(meaning, Pending):
            pace = Pace(self.interval + SLOWER_BY * meaning.slower)
            return pace, pace.interval
        wait = min(NOISE_FIRST * 2.0 ** min(self.noise, 10), NOISE_MAX)
        wait = min(max(wait, self.interval, meaning.retry_after or 0.0), NOISE_MAX)
        return replace(self, noise=self.noise + 1), wait


_WHY = {
    "access_denied": "the login was declined at the Portal",
    "expired_token": "nobody approved the code in time",
    "invalid_grant": "the Portal does not know the code any more",
    "invalid_client": "the Portal does not know our client id",
    "unauthorized_client": "the Portal does not let our client id log in so",
    "invalid_scope": "the Portal does not know the scope that was asked for",
}

PollMeaning: TypeAlias = Granted | Pending | Noise | Declined


def device_meaning(answer: PortalAnswer | NoAnswer, portal: str) -> DeviceCode | Declined:
    """Return the code that an answer brings, or why there is none.

    Args:
        portal: The Portal's own address: a page elsewhere is shown to nobody.
    """
    if isinstance(answer, NoAnswer):
        return Declined(f"{portal} did not answer; try again later")
    said = said_in(answer.body)
    if answer.status != 200:
        code = said.get("error")
        known = code if isinstance(code, str) and code in KNOWN_CODES else ""
        why = _WHY.get(known, f"{portal} answered with HTTP {answer.status}{known and f' ({known})'}; try again later")
        return Declined(why)
    device_code, user_code = said.get("device_code"), said.get("user_code")
    url, complete_url = said.get("verification_uri"), said.get("verification_uri_complete")
    if not (isinstance(device_code, str) and isinstance(user_code, str) and isinstance(url, str)):
        return Declined(f"{portal} answered with something that is no device code; try again later")
    complete_url = complete_url if isinstance(complete_url, str) else url
    if not (_is_page(url, portal) and _is_page(complete_url, portal) and user_code.isprintable()):
        return Declined(f"{portal} names a page that is not its own")
    interval = max(duration(said.get("interval")) or 0.0, SHORTEST_INTERVAL)
    expires_in = duration(said.get("expires_in")) or DEFAULT_EXPIRY
    return DeviceCode(Secret(device_code), user_code, url, complete_url, expires_in, interval)


def poll_meaning(answer: PortalAnswer | NoAnswer) -> PollMeaning:
    """Say what an answer to a poll means."""
    if isinstance(answer, NoAnswer):
        return Noise()
    said = said_in(answer.body)
    if answer.status == 200 and (grant := granted(said)) is not None:
        return grant if grant.refresh is not None else Declined("the Portal gave no refresh token")
    code = said.get("error")
    if code in {"authorization_pending", "slow_down"}:
        return Pending(slower=code == "slow_down")
    if 400 <= answer.status < 500 and isinstance(code, str) and code in _WHY:
        return Declined(_WHY[code])
    return Noise(answer.retry_after)


def _is_page(url: str, portal: str) -> bool:
    """Say whether an address is a page of the Portal's own; it may have a query, such as the code."""
    try:
        bare = urlsplit(url)._replace(query="").geturl()
    except ValueError:
        return False
    return url.isprintable() and is_allowed(PORTAL, bare, override=portal)
