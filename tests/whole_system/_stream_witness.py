"""The witness of streams: what providers sent, what callers were given of it, and how long anybody waited.

What has to come back is known from what was asked, and whether it may end well from the script that was played: neither
is read from the code that is judged.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from understudy import Finished, Partial, Response, StreamInterruptedError, TimeoutExceededError, Verdict
from understudy.actors import Permit
from understudy.providers import ContentEvent, ReasoningDelta, Restarted, StreamEvent, TextDelta

from ._notes import Asked, Called
from ._schedule import Schedule

EPS = 1e-6

CLOSE_WITHIN = 1.0
"""Seconds in which a stream that is left is closed and its place free (table C)."""

LONGEST_PROBE = 15.0


class Tells(Protocol):
    """What the witness of streams is part of."""

    schedule: Schedule
    seen: Counter[str]
    now: Callable[[], float]

    def says(self, number: int, text: str) -> None:
        """Note a violation."""

    def note(self, what: str) -> None:
        """Take something into the trace."""


class StreamWitness:
    """Watches the streams of one run."""

    def __init__(self, witness: Tells) -> None:
        self._witness, self._schedule, self._seen = witness, witness.schedule, witness.seen
        self._dropped: list[tuple[Asked, float]] = []

    # at the provider

    def took(self, called: Called, event: ContentEvent) -> None:
        """Take note of content that was taken from a stream."""
        if called.committed is None:
            called.committed = self._witness.now()
        called.sent.append(event)
        called.waited = 0.0

    def commits(self, asked: Asked) -> None:
        """Take note that the last call of a request has brought its first content."""
        self._seen["hand-over before the commit point"] += (
            asked.reading.opens and asked.source is None and len(asked.calls) > 1
        )
        if (scope := asked.leaves_at_commit) is not None:
            asked.left_at, asked.leaves_at_commit = self._witness.now(), None
            self._seen["left exactly at commit"] += 1
            scope.cancel()

    def read(self, called: Called, begun: float) -> None:
        """Take note that somebody waited for a stream."""
        knobs, called.last_read = self._schedule.knobs, self._witness.now() - begun
        called.waited += called.last_read
        if called.committed is None:
            return
        if called.last_read > knobs["stall_timeout"] + EPS:
            self._witness.says(11, f"{called.route}: silent for {called.last_read:g} s")
        if called.waited > max(knobs["content_stall_timeout"], knobs["stall_timeout"]) + EPS:
            self._witness.says(11, f"{called.route}: no content for {called.waited:g} s")

    def closed(self, called: Called) -> None:
        """Take note that a stream was closed."""
        if called.closed is None:
            called.closed = self._witness.now()

    def settled(self, asked: Asked, permit: Permit, verdict: Verdict) -> None:
        """Hold the end of a permit against the stream that it was for."""
        called = asked.calls[-1] if asked.calls else None
        if called is None or not called.is_stream:
            return
        is_over = called.ended <= self._witness.now()
        if not is_over and verdict is not Verdict.NO_VERDICT:  # a dropped stream is closed right after
            self._witness.says(5, f"request {asked.number}: settled as {verdict}, and its stream goes on")
        if verdict is Verdict.OK and called.verdict is not Verdict.OK:
            self._witness.says(10, f"request {asked.number}: OK is the verdict of {called.verdict}")
        if permit.passed and verdict is not Verdict.OK:
            self._seen["probe passed, and failed later"] += verdict is not Verdict.NO_VERDICT
        if verdict is Verdict.TIMEOUT and called.was_cancelled:
            self._check_patience(asked, called)

    def _check_patience(self, asked: Asked, called: Called) -> None:
        """A limit of ours has ended it: it must have been reached, by waiting alone."""
        knobs, limits = self._schedule.knobs, self._schedule.route_knobs
        if called.committed is None:
            least = min(limits["timeout"], limits["first_token_timeout"], LONGEST_PROBE)
            is_due = called.waited >= least - EPS or called.ended - called.began >= least - EPS
        elif called.last_read >= knobs["stall_timeout"] - EPS:
            is_due = True
            self._seen["silent stall"] += 1
        else:
            is_due = called.waited >= knobs["content_stall_timeout"] - EPS
            self._seen["content stall"] += 1
        if not is_due:
            self._witness.says(11, f"request {asked.number}: {called.route} was given {called.waited:g} s")

    # at the caller

    def entered(self, asked: Asked) -> None:
        """Take note that a stream was handed out."""
        asked.is_away = True
        if not asked.calls or asked.calls[-1].committed is None:
            self._witness.says(9, f"request {asked.number}: entered before any content")

    def comes_back(self, asked: Asked) -> None:
        """Take note that a caller waits for the next event."""
        asked.read_at, asked.is_away = self._witness.now(), False

    def brought(self, asked: Asked, event: StreamEvent | str) -> None:
        """Hold what a caller is given against what was sent."""
        asked.is_away = True
        match event:
            case Finished(response):
                self._check_whole(asked, response)
            case Restarted():
                self._seen["restarted"] += 1
                if asked.reading.manner != "restart":
                    self._witness.says(9, f"request {asked.number}: restarted, which nobody wanted")
                if asked.source is asked.calls[-1]:
                    self._witness.says(9, f"request {asked.number}: restarted with the same stream")
                asked.brought, asked.source = [], None
            case str():
                self._check_piece(asked, TextDelta(event))
            case _:
                self._check_piece(asked, event)

    def _check_piece(self, asked: Asked, event: ContentEvent) -> None:
        called = asked.calls[-1]
        if asked.source is None:
            asked.source = called
        elif asked.source is not called:
            self._witness.says(9, f"request {asked.number}: {called.route} goes on where {asked.source.route} ended")
            asked.source = called
        asked.brought.append(event)
        sent = _wanted(asked, called)
        if len(sent) < len(asked.brought) or sent[len(asked.brought) - 1] != event:
            self._witness.says(9, f"request {asked.number}: brought {asked.brought} of {sent}")
        if not asked.text.startswith(_text(asked.brought)):
            self._witness.says(9, f"request {asked.number}: {_text(asked.brought)!r} is no beginning of {asked.text!r}")

    def _check_whole(self, asked: Asked, response: Response) -> None:
        called = asked.calls[-1]
        if asked.outcome or not asked.brought or asked.brought != _wanted(asked, called):
            self._witness.says(9, f"request {asked.number}: finished with {asked.brought} of {called.sent}")
        if called.verdict is not Verdict.OK or response.text != asked.wanted:
            self._witness.says(10, f"request {asked.number}: finished with {response.text!r} of {called}")

    # when it is over

    def dropped(self, asked: Asked) -> None:
        """Take note that nobody has a stream any more."""
        self._seen["dropped"] += 1
        self._dropped.append((asked, self._witness.now()))

    def ended(self, asked: Asked, outcome: Response | BaseException | None) -> None:
        """Hold the end of a request against its streams."""
        now, says = self._witness.now(), self._witness.says
        streams = [called for called in asked.calls if called.is_stream]
        if any(not permit._settled for permit in asked.permits):
            says(5, f"request {asked.number} is over, and its place is not free")
        if any(called.ended > now for called in streams):
            says(5, f"request {asked.number} is over, and its stream is not")
        is_dropped = any(asked is each for each, _ in self._dropped)
        if not is_dropped and any(called.closed is None for called in streams):
            says(5, f"request {asked.number} is over, and its stream is not closed")
        if outcome is None and asked.left_at is not None:
            stubborn = sum(self._schedule.stubborn.get(called.route.endpoint, 0.0) for called in asked.calls)
            if now > asked.left_at + CLOSE_WITHIN + stubborn + EPS:
                says(6, f"request {asked.number} was left for {now - asked.left_at:g} s")
        for called in asked.calls:
            if called.verdict is Verdict.OK and not called.may_be_whole:
                says(10, f"request {asked.number}: {called.behaviour} of {called.route} is taken for an answer")
        self._check_cut_off(asked, outcome)
        if isinstance(outcome, Response) and any(called.committed for called in streams[:-1]):
            self._seen["repaired"] += asked.reading.manner == "upstream"

    def _check_cut_off(self, asked: Asked, outcome: Response | BaseException | None) -> None:
        partial: Partial | None = getattr(outcome, "partial", None)
        if isinstance(outcome, StreamInterruptedError):
            self._seen["committed, then interrupted"] += 1
            if not asked.reading.opens or not any(called.committed is not None for called in asked.calls):
                self._witness.says(9, f"request {asked.number}: interrupted, and nothing was handed out")
        if partial is None:
            return
        cut = [called for called in asked.calls if called.committed is not None]
        sent = cut[-1].sent if cut else []
        reasoning = "".join(event.text for event in sent if isinstance(event, ReasoningDelta))
        if (partial.text, partial.reasoning) != (_text(sent), reasoning):
            self._witness.says(9, f"request {asked.number}: {partial.text!r} of {sent}")
        if asked.source is cut[-1] and len(_wanted(asked, cut[-1])) != len(asked.brought):
            self._witness.says(9, f"request {asked.number}: {sent} was sent, and {asked.brought} brought")

    def is_late_by_itself(self, asked: Asked, error: BaseException) -> bool:
        """Say whether a stream that was handed out may end with this error, whoever else there is."""
        if not any(called.committed is not None for called in asked.calls) or not asked.reading.opens:
            return False
        cut_off = isinstance(error, StreamInterruptedError) and asked.reading.manner != "restart"
        return cut_off or isinstance(error, TimeoutExceededError)

    def over(self, *, in_time: bool) -> None:
        """Check what must be true at the end; `in_time` says that nothing kept actors from closing what was dropped."""
        for asked, at in self._dropped:
            if at >= (self._schedule.closes_at or math.inf):
                continue  # with its client it is closed, and there is nobody to do more
            for called in asked.calls:
                stubborn = self._schedule.stubborn.get(called.route.endpoint, 0.0)
                if called.closed is None:
                    self._witness.says(5, f"request {asked.number} was dropped, and never closed")
                elif in_time and not stubborn and called.closed > at + CLOSE_WITHIN + EPS:
                    self._witness.says(
                        5, f"request {asked.number} was closed {called.closed - at:g} s after it was lost"
                    )


def _wanted(asked: Asked, called: Called) -> list[ContentEvent]:
    """Return what of a stream its caller is to be given."""
    if asked.reading.manner != "text":
        return called.sent
    return [event for event in called.sent if isinstance(event, TextDelta)]


def _text(events: list[ContentEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))
