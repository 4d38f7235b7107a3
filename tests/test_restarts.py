"""Restart intensity: how often a crashed actor is started again."""

from __future__ import annotations

import pytest

from understudy.supervisor import Intensity
from understudy.supervisor._restarts import Pause, Restarts, after_crash

FIVE = Restarts((1.0, 2.0, 3.0, 4.0, 5.0))


@pytest.mark.parametrize(
    ("before", "now", "after", "pause"),
    [
        (Restarts(), 7.0, Restarts((7.0,)), Pause(0.1, dead=False)),
        (Restarts((7.0,)), 8.0, Restarts((7.0, 8.0)), Pause(0.2, dead=False)),
        (Restarts((1.0, 2.0, 3.0, 4.0)), 5.0, FIVE, Pause(1.6, dead=False)),
        (FIVE, 6.0, Restarts(), Pause(300.0, dead=True)),
        (FIVE, 31.0, Restarts((2.0, 3.0, 4.0, 5.0, 31.0)), Pause(1.6, dead=False)),
        (FIVE, 40.0, Restarts((40.0,)), Pause(0.1, dead=False)),
    ],
)
def test_five_restarts_in_thirty_seconds(before: Restarts, now: float, after: Restarts, pause: Pause) -> None:
    """Delays double with each crash that counts; the sixth within 30 s is a long rest, with a clean slate after it."""
    assert after_crash(before, now, Intensity(), lambda: 1.0) == (after, pause)


def test_the_delay_has_jitter_and_a_ceiling() -> None:
    """The draw moves the delay between its half and its whole, and it never exceeds 5 s."""
    many = Restarts(tuple(float(n) for n in range(9)))
    patient = Intensity(restarts=99)
    assert after_crash(many, 9.0, patient, lambda: 0.0)[1].wait == 2.5
    assert after_crash(many, 9.0, patient, lambda: 0.5)[1].wait == 3.75
