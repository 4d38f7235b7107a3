"""Restart intensity: how often a crashed actor is started again, and when it is given up for a while. Pure.

Source: Erlang/OTP `supervisor`, "maximum restart intensity"; figures from R-SUP-1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, slots=True)
class Intensity:
    """At most `restarts` in `window` seconds; beyond that the actor rests for `rest` seconds. Delays double."""

    restarts: int = 5
    window: float = 30.0
    first_delay: float = 0.1
    longest_delay: float = 5.0
    rest: float = 300.0


@final
@dataclass(frozen=True, slots=True)
class Restarts:
    """The instants of the crashes that still count."""

    crashed_at: tuple[float, ...] = ()


@final
@dataclass(frozen=True, slots=True)
class Pause:
    """How many seconds to wait before the next start, and whether the endpoint is dead meanwhile."""

    wait: float
    dead: bool


def after_crash(
    restarts: Restarts, now: float, intensity: Intensity, rand: Callable[[], float]
) -> tuple[Restarts, Pause]:
    """Say when to start again after a crash at the instant `now`.

    Returns:
        What to remember, and the pause: jittered between half the delay and the delay, which doubles with each
        crash that counts; a long rest once there were too many, with a clean slate after it.
    """
    recent = (*(at for at in restarts.crashed_at if now - at < intensity.window), now)
    if len(recent) > intensity.restarts:
        return Restarts(), Pause(intensity.rest, dead=True)
    delay = min(intensity.first_delay * 2 ** (len(recent) - 1), intensity.longest_delay)
    return Restarts(recent), Pause(delay * (0.5 + rand() / 2), dead=False)
