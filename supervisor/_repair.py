"""Asking for an answer of some shape: one round, and one more for an answer that is not valid.

Both rounds are one request to the caller: one timeout, one trail, one sum of tokens and of costs. The second begins at
the route that answered, which knows its own mistake best; the others follow, should it fail now.
"""

from __future__ import annotations

from dataclasses import replace
from typing import final

import anyio

from ..providers import (
    AllAttemptsFailedError,
    AllRoutesClosedError,
    Attempt,
    AttemptError,
    PassedOver,
    Response,
    ResponseInvalidError,
    TimeoutExceededError,
    TrailedError,
)
from ._course import Chain, Question
from ._dispatch import Dispatch, tell_end, traced_from
from ._run_values import renumbered, summed, summed_cost
from ._structured import Flaw, Wanted
from ._tracing import RequestOver, told


async def answer_shaped(chain: Chain, question: Question, wanted: Wanted) -> Response:
    """Return the first answer that is valid, with its `parsed` value.

    After cancellation nothing is left behind, as of `Dispatch.answer`.

    Raises:
        ResponseInvalidError: The answer is not valid, and was not after a second round either; or it is a refusal, or
            cut off, which asking again does not mend.
        TimeoutExceededError: The timeout ended before there was a valid answer.
        UnderstudyError: As `Dispatch.answer`.
    """
    trace, begun, rounds = traced_from(chain, question), anyio.current_time(), list[Dispatch]()
    try:
        response = await _answer_shaped(chain, question, wanted, rounds)
    except BaseException as error:
        trail = (error.attempts, error.passed_over) if isinstance(error, TrailedError) else _trail_of(rounds)
        invalid = error.response if isinstance(error, ResponseInvalidError) else None
        name, reason = told(error)
        passed, given = anyio.current_time() - begun, rounds[-1].parameters
        partial = getattr(error, "partial", None)
        tell_end(chain, RequestOver(passed, *trail, given, invalid, partial, name, reason), trace)
        raise
    trail, given = (response.attempts, response.passed_over), rounds[-1].parameters
    tell_end(chain, RequestOver(anyio.current_time() - begun, *trail, given, response), trace)
    return response


async def _answer_shaped(chain: Chain, question: Question, wanted: Wanted, rounds: list[Dispatch]) -> Response:
    """Ask for the answer; `rounds` takes in each round as it begins."""
    begun = anyio.current_time()
    dispatch = Dispatch(chain, question, is_round=True)
    rounds.append(dispatch)
    first = await dispatch.answer()
    found = wanted.finish(first)
    if isinstance(found, Response):
        return found
    passed, timeout = anyio.current_time() - begun, question.timeout
    if not found.repairable or passed >= timeout:
        raise ResponseInvalidError(chain.agent, first, found.reason)
    told = (*question.messages, first.message, found.told)
    corrected = replace(question, messages=told, timeout=timeout - passed, first=dispatch.place)
    again = Dispatch(chain, corrected, is_round=True)
    rounds.append(again)
    both = _Rounds(chain.agent, timeout, first, passed)
    try:
        second = await again.answer()
    except TimeoutExceededError as error:
        raise both.timed_out(error) from error.__cause__
    except (AttemptError, AllAttemptsFailedError, AllRoutesClosedError) as error:
        raise both.failed(found, error) from error
    return wanted.must_finish(both.joined(second), chain.agent)


def _trail_of(rounds: list[Dispatch]) -> tuple[tuple[Attempt, ...], tuple[PassedOver, ...]]:
    """Return the trail so far of rounds that were left in the middle."""
    first, *_, last = rounds[0], *rounds
    attempts, passed_over = first.trail
    if last is first:
        return attempts, passed_over
    later, also = last.trail
    return (*attempts, *renumbered(attempts, later, last.begun - first.begun)), (*passed_over, *also)


@final
class _Rounds:
    """Puts the trail of a second round behind that of the first one, which took `passed` seconds."""

    def __init__(self, agent: str, timeout: float, first: Response, passed: float) -> None:
        self._agent, self._timeout, self._first, self._passed = agent, timeout, first, passed

    def joined(self, second: Response) -> Response:
        """Return the second answer with the trail and the tokens of both."""
        attempts, passed_over = self._trail(second.attempts, second.passed_over)
        usage = summed((self._first.usage, second.usage))
        cost = summed_cost((self._first.cost, second.cost))
        return replace(second, attempts=attempts, passed_over=passed_over, usage=usage, cost=cost)

    def timed_out(self, error: TimeoutExceededError) -> TimeoutExceededError:
        """Return the error for a timeout that ended in the second round: the caller's, not the rest of it."""
        return TimeoutExceededError(self._agent, self._timeout, *self._trail(error.attempts, error.passed_over))

    def failed(self, flaw: Flaw, error: TrailedError) -> ResponseInvalidError:
        """Return the error for an answer that nobody could be asked to correct."""
        attempts, passed_over = self._trail(error.attempts, error.passed_over)
        first = replace(self._first, attempts=attempts, passed_over=passed_over)
        return ResponseInvalidError(self._agent, first, f"{flaw.reason}; nobody could be asked to correct it")

    def _trail(
        self, attempts: tuple[Attempt, ...], passed_over: tuple[PassedOver, ...]
    ) -> tuple[tuple[Attempt, ...], tuple[PassedOver, ...]]:
        before = self._first.attempts
        later = renumbered(before, attempts, self._passed)
        return (*before, *later), tuple(dict.fromkeys((*self._first.passed_over, *passed_over)))
