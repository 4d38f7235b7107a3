"""The witness of tool runs: each turn is a request like any other, on the route that worked, and no tool runs twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

import anyio
import anyio.lowlevel

from understudy import Response, Run, Tool
from understudy.supervisor._dispatch import Dispatch

from ._notes import Asked, Ran, asking, running
from ._schedule import Reading
from ._stream_witness import EPS, Tells

Answer: TypeAlias = Callable[[Dispatch], Awaitable[Response]]


class Begins(Tells, Protocol):
    """What the witness of runs is part of."""

    asked: list[Asked]

    def ended(self, asked: Asked, outcome: Response | BaseException | None) -> None:
        """Hold a request against the invariants."""


class RunWitness:
    """Watches the tool runs of one play."""

    def __init__(self, witness: Begins) -> None:
        self._witness = witness

    def on_answer(self, original: Answer) -> Answer:
        """Make each turn of a run a request of its own."""

        async def answer(dispatch: Dispatch) -> Response:
            run = running.get()
            if run is None:
                return await original(dispatch)
            turn = self._begins(run)
            outcome: Response | BaseException | None = None
            try:
                outcome = await original(dispatch)
                return outcome
            except Exception as error:
                outcome = error
                raise
            finally:
                asking.set(None)
                turn.left_at = run.whole.left_at
                self._witness.ended(turn, outcome)
                self._check_order(turn)

        return answer

    def _begins(self, run: Ran) -> Asked:
        witness, whole, chain = self._witness, run.whole, run.whole.chain
        if run.turns and run.turns[-1].calls:
            works = run.turns[-1].calls[-1].route
            chain = (works, *(route for route in chain if route != works))
        reading = Reading("upstream" if whole.reading.after % 2 else "whole")
        left = whole.begun + whole.timeout - witness.now()
        turn = Asked(len(witness.asked), whole.agent, left, witness.now(), reading, chain, run)
        witness.asked.append(turn)
        run.turns.append(turn)
        asking.set(turn)
        return turn

    def _check_order(self, turn: Asked) -> None:
        """A turn goes to the route that answered the one before, and from there on as any request does."""
        places = [turn.chain.index(called.route) for called in turn.calls]
        if places != sorted(places) and not turn.early:
            self._witness.says(2, f"turn {turn.number} asked {turn.calls} of {turn.chain}")

    def tool(self, run: Ran) -> Tool:
        """Return a tool that notes when it runs, and gives what nobody else does."""

        async def note(what: str) -> str:
            if run.whole.outcome or run.in_tool or what != run.whole.text:
                self._witness.says(9, f"run {run.whole.number}: a tool is run with {what!r}")
            run.in_tool = True
            try:
                await anyio.sleep(0.1 * (run.whole.number % 3))
            finally:
                run.in_tool = False
            run.results.append(f"{run.whole.number}.result.{len(run.results)}")
            return run.results[-1]

        return Tool("note", "", {"type": "object", "properties": {"what": {"type": "string"}}}, note)

    def ended(self, run: Ran, outcome: Run | BaseException | None) -> None:
        """Hold the end of a run against what its turns and its tools have come to."""
        whole, seen, now = run.whole, self._witness.seen, self._witness.now()
        whole.outcome = "left" if outcome is None else type(outcome).__name__
        self._witness.note(f"run {whole.number} {whole.outcome} {len(run.turns)} {len(run.results)}")
        if run.in_tool:
            self._witness.says(6, f"run {whole.number} is over, and a tool is running")
        stubborn = sum(
            self._witness.schedule.stubborn.get(called.route.endpoint, 0.0)
            for turn in run.turns
            for called in turn.calls
        )
        if now > max(whole.begun + whole.timeout, whole.left_at or 0.0) + stubborn + EPS:
            self._witness.says(11, f"run {whole.number} took {now - whole.begun:g} s of {whole.timeout:g}")
        seen["run left"] += outcome is None
        if isinstance(outcome, Run):
            self._check_whole(run, outcome)

    def _check_whole(self, run: Ran, outcome: Run) -> None:
        number, says = run.whole.number, self._witness.says
        if outcome.text != run.turns[-1].wanted:
            says(9, f"run {number} came to {outcome.text!r}, not {run.turns[-1].wanted!r}")
        if [use.result for use in outcome.tool_calls] != run.results:
            says(9, f"run {number}: {outcome.tool_calls} are told, and {run.results} were run")
        noted = [called.route.endpoint for turn in run.turns for called in turn.calls]
        if [attempt.transport for attempt in outcome.attempts] != noted or outcome.iterations != len(run.turns):
            says(1, f"run {number}: the trail says {outcome.attempts}, the providers {noted}")
        answered = [turn.calls[-1].route for turn in run.turns]
        self._witness.seen["run finished elsewhere"] += len(set(answered)) > 1
        self._witness.seen["run finished"] += 1
