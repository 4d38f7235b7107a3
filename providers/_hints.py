"""Hints: how long a provider asks us to wait, read so that nothing a server sends can hurt.

Sources: RFC 9110 section 10.2.3 (`Retry-After`, seconds or an HTTP date); `retry-after-ms` as both vendors'
SDKs read it. Values are clamped to an hour (chosen; a longer wait is a new decision, not a hint).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC
from email.utils import parsedate_to_datetime

LONGEST_HINT = 3600.0
"""Seconds."""

_NUMBER = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,20})?", re.ASCII)


def retry_after(
    milliseconds: Iterable[str], seconds: Iterable[str], *, date: str | None, wall_clock: float
) -> float | None:
    """Return for how many seconds a provider asks not to be asked, within [0, 3600]; None if it does not say.

    Args:
        milliseconds: Every value of `retry-after-ms`. They win over `seconds`, being more exact.
        seconds: Every value of `retry-after`: numbers, or HTTP dates.
        date: The answer's own `Date`, against which a date is taken, so that clocks need not agree.
        wall_clock: Unix time in seconds, for an answer without a usable `Date`.

    Of several values the largest counts. What is no number and no date is as if it were not there.
    """
    exact = [number / 1000 for number in map(_number, milliseconds) if number is not None]
    waits = exact or [wait for value in seconds if (wait := _wait(value, date, wall_clock)) is not None]
    return min(max(*waits, 0.0), LONGEST_HINT) if waits else None


def _number(value: str) -> float | None:
    value = value.strip()
    return float(value) if _NUMBER.fullmatch(value) else None


def _wait(value: str, date: str | None, wall_clock: float) -> float | None:
    number = _number(value)
    if number is not None:
        return number
    until = _instant(value)
    if until is None:
        return None
    sent = _instant(date) if date else None
    return until - (sent if sent is not None else wall_clock)


def _instant(value: str) -> float | None:
    if len(value) > 64:
        return None
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (OverflowError, ValueError):  # the year 1, and friends
        return None
