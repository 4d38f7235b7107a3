"""Hints: how long a provider asks us to wait, whatever it writes."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from understudy.providers import retry_after
from understudy.providers._hints import LONGEST_HINT

NOON = "Fri, 01 Aug 2025 12:00:00 GMT"
NOON_AT = 1754049600.0
A_MINUTE_LATER = "Fri, 01 Aug 2025 12:01:00 GMT"
AN_HOUR_EARLIER = "Fri, 01 Aug 2025 11:00:00 GMT"


def wait(*seconds: str, ms: tuple[str, ...] = (), date: str | None = NOON, now: float = 0.0) -> float | None:
    return retry_after(ms, seconds, date=date, wall_clock=now)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ((), None),
        (("30",), 30.0),
        ((" 30 ",), 30.0),
        (("0",), 0.0),
        (("1.5",), 1.5),
        (("0.8416666666666667",), 0.8416666666666667),  # how Python and JavaScript write a number
        (("3600",), 3600.0),
        (("3601",), 3600.0),
        (("999999999999",), 3600.0),
        (("-1",), 0.0),
        # several: the largest
        (("5", "30", "7"), 30.0),
        (("garbage", "7"), 7.0),
        (("-5", "2"), 2.0),
        (("10", A_MINUTE_LATER), 60.0),
        # no number and no date: as if it were not there
        (("",), None),
        (("   ",), None),
        (("nan",), None),
        (("inf",), None),
        (("-Infinity",), None),
        (("1e3",), None),
        (("0x10",), None),
        (("1_000",), None),
        (("٣",), None),
        (("soon",), None),
        (("9" * 5000,), None),
        (("Fri, " * 5000,), None),
        (("Fri, 32 Aug 2025 12:00:00 GMT",), None),
        (("Fri, 01 Aug 99999 12:00:00 GMT",), None),
        (("Mon, 01 Jan 0001 00:00:00 +2359",), 0.0),  # read as 2001: long past
    ],
)
def test_seconds_are_read(seconds: tuple[str, ...], expected: float | None) -> None:
    """`retry-after` in seconds is clamped to [0, 3600], and what makes no sense is not there."""
    assert wait(*seconds) == expected


@pytest.mark.parametrize(
    ("value", "date", "now", "expected"),
    [
        (A_MINUTE_LATER, NOON, 0.0, 60.0),
        (A_MINUTE_LATER, NOON, NOON_AT + 9999, 60.0),  # clocks need not agree
        (A_MINUTE_LATER, None, NOON_AT + 20, 40.0),
        (A_MINUTE_LATER, "garbage", NOON_AT + 20, 40.0),
        (A_MINUTE_LATER, "", NOON_AT + 20, 40.0),
        ("Fri, 01 Aug 2025 12:01:00 -0000", NOON, 0.0, 60.0),
        ("Fri, 01 Aug 2025 14:01:00 +0200", NOON, 0.0, 60.0),
        ("Friday, 01-Aug-25 12:01:00 GMT", NOON, 0.0, 60.0),
        (NOON, NOON, 0.0, 0.0),
        (AN_HOUR_EARLIER, NOON, 0.0, 0.0),
        ("Sat, 02 Aug 2025 12:00:00 GMT", NOON, 0.0, 3600.0),
    ],
)
def test_dates_are_taken_against_the_answers_own_date(
    value: str, date: str | None, now: float, expected: float
) -> None:
    """An HTTP date is relative to the answer's `Date`, or to our clock where that cannot be read."""
    assert wait(value, date=date, now=now) == expected


@pytest.mark.parametrize(
    ("ms", "expected"),
    [
        (("1500",), 1.5),
        (("0",), 0.0),
        (("250", "750"), 0.75),
        (("-250",), 0.0),
        (("36000000",), 3600.0),
        (("garbage",), 30.0),
        (("nan",), 30.0),
        (("",), 30.0),
        ((NOON,), 30.0),
    ],
)
def test_milliseconds_win_when_they_can_be_read(ms: tuple[str, ...], expected: float) -> None:
    """`retry-after-ms` is the more exact one, so it decides over a `retry-after` of 30."""
    assert wait("30", ms=ms) == expected


VALUES = st.text(max_size=40) | st.text("0123456789-+.: GMTFriAugJan,", max_size=40) | st.sampled_from([NOON, "1e999"])


@given(st.lists(VALUES, max_size=3), st.lists(VALUES, max_size=3), st.none() | VALUES, st.floats(0, 4e9))
@example([], ["Mon, 01 Jan 0001 00:00:00 GMT"], "Fri, 31 Dec 9999 23:59:59 -2359", 0.0)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_no_header_can_hurt(ms: list[str], seconds: list[str], date: str | None, now: float) -> None:
    """Whatever stands in the headers, there is no hint or one within [0, 3600]."""
    hint = retry_after(ms, seconds, date=date, wall_clock=now)
    assert hint is None or 0 <= hint <= LONGEST_HINT
