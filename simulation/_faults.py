"""Faults drawn at random: what can go wrong with providers, as scripts that one seed makes and makes again.

A fault has a *pattern* in time (one outage, flapping, a brown-out, a recovery of some models only) and a *kind* of
failure (a status with or without a hint, silence, a reset, …), and strikes one provider, several or all at once.
All of it ends: after the seconds that it was drawn for, every provider answers as usual.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, final

from ._script import Answer, Behaviour, Breaks, Hang, Phase, Raw, Refused, Reset, Script, Status

STATUSES = (400, 401, 402, 403, 404, 408, 409, 413, 421, 422, 429, 451, 500, 501, 502, 503, 504, 520, 529)
"""Statuses that a provider may refuse with: one at least for each row of the failure table."""

HOSTILE_HINTS = ("0", "-5", "nan", "inf", "soon", "", "9" * 400, "Wed, 21 Oct 2015 07:28:00 GMT", "1e309", "0x10")
"""Values of Retry-After that no provider should send, and some do."""

GARBAGE = (b"", b"\x00\xff\xfe", b"HTTP/1.1 200 OK\r\n\r\n{", b"SSH-2.0-OpenSSH_9.6\r\n")
"""What is no answer."""

KINDS = ("status", "status", "overloaded", "throttled", "hang", "reset", "slow", "garbage", "refused")
"""The kinds of failure, each as often as it is drawn."""

MID_STREAM = (*("torn", "torn", "cut-stream", "cut-stream", "silence", "silence"), "error-event", "odd-end", "drip")
"""The kinds of failure in the middle of an answer, for requests that are answered as streams."""

STREAM_ERRORS = (
    *("overloaded_error", "api_error", "timeout_error", "rate_limit_error", "invalid_request_error"),
    *("authentication_error", "permission_error", "billing_error", "an_unknown_error"),
)
"""Types of the error events that streams may end with."""

BROWN_OUT_CALLS = 60
"""Calls that a brown-out is drawn for; after them it is over (chosen: a script stays small)."""


@final
@dataclass(frozen=True, slots=True)
class Vendor:
    """A provider that faults may strike: its name in a `World`, its models, and what it does while it is well."""

    name: str
    models: tuple[str, ...]
    usual: Answer = Answer()  # noqa: RUF009 - frozen


@final
@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: its pattern and its kind in a word each, and the phases it means for each provider that it strikes."""

    pattern: str
    kind: str
    phases: Mapping[str, tuple[Phase, ...]]


Span: TypeAlias = tuple[float, float]
_Pattern: TypeAlias = Callable[[random.Random, Vendor, Behaviour, Span, float], tuple[Phase, ...]]


def draw_faults(
    rand: random.Random,
    vendors: Sequence[Vendor],
    lasts_for: float,
    *,
    open_for: float = 10.0,
    most: int = 4,
    kinds: Sequence[str] = KINDS,
) -> tuple[Fault, ...]:
    """Draw at most `most` faults that are all over after `lasts_for` seconds.

    Args:
        open_for: Seconds that a circuit is open first: providers flap faster and slower than that.
        kinds: What may go wrong, of `KINDS` and `MID_STREAM`; one that is named twice is drawn twice as often.
    """
    return tuple(_fault(rand, vendors, lasts_for, open_for, kinds) for _ in range(rand.randint(1, most)))


def scripts(vendors: Iterable[Vendor], faults: Iterable[Fault]) -> dict[str, Script]:
    """Return the script of each provider; where faults overlap, the earlier one decides."""
    faults = tuple(faults)
    return {
        vendor.name: Script(tuple(p for fault in faults for p in fault.phases.get(vendor.name, ())), vendor.usual)
        for vendor in vendors
    }


def _behaviour(rand: random.Random, kinds: Sequence[str]) -> tuple[str, Behaviour]:
    """Draw a failure, and say its kind in a word."""
    after = rand.choice((0.0, 0.0, rand.uniform(0.01, 3.0)))
    kind = rand.choice(kinds)
    match kind:
        case "status":
            return kind, Status(rand.choice(STATUSES), after, _hint(rand))
        case "overloaded":
            return kind, Status(rand.choice((500, 502, 503, 529)), after)
        case "throttled":
            return kind, Status(429, after, _hint(rand))
        case "hang":
            return kind, Hang()
        case "reset":
            return kind, Reset(after)
        case "slow":
            return kind, Answer(None, rand.choice((rand.uniform(1, 20), rand.uniform(20, 300))))
        case "garbage":
            return kind, Raw(rand.choice(GARBAGE))
        case "refused":
            return kind, Refused()
        case _:
            return kind, _mid_stream(rand, kind, after)


def _mid_stream(rand: random.Random, kind: str, after: float) -> Behaviour:
    """Draw a failure in the middle of an answer, which begins well."""
    answer = Answer(None, after, rand.choice((0.0, rand.uniform(0.01, 1.0))))
    many = rand.choice((0, 1, rand.randint(2, 9)))
    match kind:
        case "torn":
            return Breaks(answer, many, rand.choice(("reset", "incomplete")))
        case "cut-stream":
            return Breaks(answer, many, rand.choice(("cut", "cut", "garbage")))
        case "silence":
            return Breaks(answer, many, rand.choice(("silence", "pings")))
        case "error-event":
            return Breaks(answer, many, "error", rand.choice(STREAM_ERRORS))
        case "odd-end":
            return Breaks(answer, how=rand.choice(("unterminated", "more")))
        case "drip":
            return replace(answer, every=rand.uniform(1, 40))
        case _:
            raise ValueError(f"{kind!r} is no kind of failure: KINDS and MID_STREAM have all there are")


def _hint(rand: random.Random) -> dict[str, str]:
    """Draw the headers that tell when to come back: none, valid ones, or hostile ones."""
    match rand.randrange(6):
        case 0 | 1:
            return {}
        case 2:
            return {"retry-after": rand.choice(HOSTILE_HINTS)}
        case 3:
            return {"retry-after-ms": str(rand.randint(1, 30_000))}
        case _:
            return {"retry-after": str(rand.choice((1, 2, 5, rand.randint(1, 90))))}


def _fault(
    rand: random.Random, vendors: Sequence[Vendor], lasts_for: float, open_for: float, kinds: Sequence[str]
) -> Fault:
    pattern = rand.choice(tuple(_PATTERNS))
    kind, behaviour = _behaviour(rand, kinds)
    struck, together = vendors, True
    match rand.randrange(8):
        case 0:  # the network: nobody can be reached
            pattern, kind, behaviour = "outage", "refused", Refused()
        case 1 | 2:  # everybody at once
            pass
        case 3:  # several, each at a time of its own
            struck, together = rand.sample(vendors, rand.randint(1, len(vendors))), False
        case _:
            struck = [rand.choice(vendors)]
    span = _span(rand, lasts_for)
    return Fault(
        pattern,
        kind,
        {
            vendor.name: _PATTERNS[pattern](
                rand, vendor, behaviour, span if together else _span(rand, lasts_for), open_for
            )
            for vendor in struck
        },
    )


def _span(rand: random.Random, lasts_for: float) -> Span:
    since = rand.choice((0.0, rand.uniform(0, 0.8 * lasts_for)))
    return since, min(since + rand.uniform(0.05, 1.0) * lasts_for, lasts_for)


def _outage(
    rand: random.Random, vendor: Vendor, behaviour: Behaviour, span: Span, open_for: float
) -> tuple[Phase, ...]:
    """Down, and up again; sometimes one model only."""
    return (Phase(behaviour, _model(rand, vendor, behaviour), *span),)


def _flapping(
    rand: random.Random, vendor: Vendor, behaviour: Behaviour, span: Span, open_for: float
) -> tuple[Phase, ...]:
    """Down and up by turns, faster or slower than a circuit is open."""
    period = max(open_for * rand.choice((0.1, 0.5, 1.0, 1.5, 3.0)) * rand.uniform(0.8, 1.2), (span[1] - span[0]) / 20)
    down, model, (since, until) = rand.uniform(0.1, 0.9) * period, _model(rand, vendor, behaviour), span
    turns = range(int((until - since) / period) + 1)
    starts = [since + turn * period for turn in turns if since + turn * period < until]
    return tuple(Phase(_varied(rand, behaviour), model, start, min(start + down, until)) for start in starts)


def _brown_out(
    rand: random.Random, vendor: Vendor, behaviour: Behaviour, span: Span, open_for: float
) -> tuple[Phase, ...]:
    """Each call fails with a probability of 1 to 99 %."""
    p = rand.choice((0.01, 0.99, rand.uniform(0.01, 0.99)))
    if isinstance(behaviour, Refused):  # that is for times, not for calls
        behaviour = Reset()
    model = _model(rand, vendor, behaviour)
    fails = [rand.random() < p for _ in range(BROWN_OUT_CALLS)]
    return tuple(
        Phase(_varied(rand, behaviour) if failed else vendor.usual, model, *span, calls=sum(1 for _ in run))
        for failed, run in itertools.groupby(fails)
    )


def _partial(
    rand: random.Random, vendor: Vendor, behaviour: Behaviour, span: Span, open_for: float
) -> tuple[Phase, ...]:
    """All models are down; some of them stay so for longer."""
    since, until = span
    earlier = since + (until - since) * rand.uniform(0.2, 0.8)
    late = rand.sample(vendor.models, rand.randint(0, len(vendor.models) - 1))
    if isinstance(behaviour, Refused):
        return Phase(behaviour, None, since, earlier), *(Phase(Reset(), model, earlier, until) for model in late)
    return Phase(behaviour, None, since, earlier), *(Phase(behaviour, model, earlier, until) for model in late)


def _varied(rand: random.Random, behaviour: Behaviour) -> Behaviour:
    """Tell another time to come back, where one may be told."""
    return replace(behaviour, headers=_hint(rand)) if isinstance(behaviour, Status) else behaviour


_PATTERNS: dict[str, _Pattern] = {
    "outage": _outage,
    "flapping": _flapping,
    "brown-out": _brown_out,
    "partial": _partial,
}


def _model(rand: random.Random, vendor: Vendor, behaviour: Behaviour) -> str | None:
    if isinstance(behaviour, Refused) or rand.random() < 0.6:
        return None
    return rand.choice(vendor.models)
