"""A tool run: the model asks for tools, they are run, it is told what came of them, until it answers.

    ┌──▶ ask the route that answered last ──▶ answer ──▶ end
    │                 │ tool calls
    └── results ◀── tools, each once          out of iterations: asked once more, without tools

Each turn is one request like any other, so a route that fails is left in the middle of a run; what the tools gave back
is in the conversation by then, and no tool is run again. One timeout holds for all of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, final

import anyio

from ..providers import (
    Attempt,
    Message,
    Parameters,
    PassedOver,
    Response,
    ResponseInvalidError,
    TimeoutExceededError,
    ToolCall,
    TrailedError,
    Usage,
    tools_of,
    user,
)
from ..providers import number as is_number
from ._course import Chain, Question
from ._dispatch import Dispatch
from ._history_cut import Estimate, beside, cut
from ._run_values import Iteration, Run, ToolUse, distinct, ids_of, renumbered, results, summed, summed_cost
from ._structured import Wanted
from ._toolbox import Toolbox
from ._tracing import NOTHING, About, RunBegun, RunOver, Trace, TurnBegun, TurnOver, told

LAST_WORD = user("You cannot call any more tools. Give your answer now, from what you know so far.")
"""What a model is told that has used up its iterations. It is no part of the conversation."""

_SHUT = "the answer was cut off before its end; ask again, with shorter arguments"
_ENDED = "the run has ended"


@final
@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for one run. `timeout` is in seconds, for everything.

    Raises:
        TypeError: `on_iteration` cannot be called.
        ValueError: A number is impossible.
    """

    timeout: float
    max_iterations: int = 20
    tools_at_once: int = 1
    max_input_tokens: int | None = None
    on_iteration: Callable[[Iteration], Any] | None = None
    stream_upstream: bool = False
    wanted: Wanted | None = None
    about: About = NOTHING

    def __post_init__(self) -> None:
        if not is_number(self.timeout) or self.timeout <= 0:
            raise ValueError("timeout must be a number of seconds above 0")
        for name in ("max_iterations", "tools_at_once", "max_input_tokens"):
            value = getattr(self, name)
            if value is None and name == "max_input_tokens":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be a whole number, at least 1")
        if self.on_iteration is not None and not callable(self.on_iteration):
            raise TypeError("on_iteration must be a function that takes an Iteration")


@final
class ToolRun:
    """One run on its way. Used once."""

    def __init__(self, chain: Chain, messages: tuple[Message, ...], parameters: Parameters, terms: Terms) -> None:
        tools = tools_of(parameters)
        self.chain, self._terms, self._parameters = chain, terms, parameters
        self._toolbox = Toolbox(tools, (secret for each in chain.routes for secret in each.route.target.secrets))
        self._messages = list(messages)
        self._estimate = Estimate(beside(tools) if terms.max_input_tokens is not None else 0.0)
        self._begun = self._turn_begun = anyio.current_time()
        self._trace: Trace | None = None
        self._turn: Trace | None = None
        self._asked: tuple[Message, ...] = ()
        self._place = self._turns = 0
        self._is_repaired = False
        self._uses: list[ToolUse] = []
        self._usages: list[Usage] = []
        self._costs: list[float | None] = []
        self._attempts: tuple[Attempt, ...] = ()
        self._passed_over: tuple[PassedOver, ...] = ()

    async def result(self) -> Run:
        """Go through the turns, and return what came of them.

        After cancellation no tool runs any more, but for functions in threads, for which nobody waits.

        Raises:
            AttemptError: The only attempt of a turn failed. So for the next ones; each has a note which turn it was.
            AllAttemptsFailedError: Several attempts failed.
            AllRoutesClosedError: Nobody could be asked.
            TimeoutExceededError: The timeout ended first; its trail is that of all turns.
            ActorStoppedError: The supervisor is closed or closing.
            OSError: The machine is at fault, no provider.
        """
        self.begin()
        with self.traced():
            while True:
                dispatch = Dispatch(self.chain, self.question())
                with self.noting():
                    response = await dispatch.answer()
                turn = await self.answered(response, dispatch.place)
                if isinstance(turn, Run):
                    return turn

    def begin(self) -> None:
        """Let the time that all of it may take begin now, and its trace."""
        self._begun = anyio.current_time()
        chain = self.chain
        if chain.tracing:
            begun = RunBegun(chain.agent, self._terms.about, tuple(self._messages), self._parameters)
            self._trace = chain.tracing.begin(begun)

    @contextmanager
    def traced(self) -> Iterator[None]:
        """End the traces of the run and of its turn with what the body raises."""
        try:
            yield
        except BaseException as error:
            self.over(*told(error))
            raise

    def over(self, error: str = "", reason: str = "", run: Run | None = None) -> None:
        """End the traces of the run and of its turn, if they have not ended yet."""
        if self._turn is not None:
            self._turn.end(TurnOver(error, reason))
        if self._trace is not None:
            self._trace.end(RunOver(run, error, reason))

    def question(self) -> Question:
        """Return what is asked next.

        Raises:
            TimeoutExceededError: No time is left.
        """
        messages = cut(self._messages, self._terms.max_input_tokens, self._estimate)
        self._asked = (*messages, LAST_WORD) if self._is_last else messages
        self._turn_begun = anyio.current_time()
        if self._remaining <= 0:
            raise self._too_late()
        said = self._said()
        self._turns += 1
        self._turn = None if self._trace is None else self._trace.begin(TurnBegun(self._turns))
        return Question(
            self._asked,
            said,
            self._remaining,
            first=self._place,
            stream_upstream=self._terms.stream_upstream,
            nudges=1,
            about=self._terms.about,
            within=self._turn,
        )

    async def answered(self, response: Response, place: int) -> Iteration | Run:
        """Take the answer of a turn by the route at that place of the chain, and run the tools that it asks for.

        Returns:
            The turn, if another one follows; else what came of all of them.

        Raises:
            TimeoutExceededError: The timeout ended before the tools did.
            ResponseInvalidError: The answer is not what it has to be.
        """
        self._place, response = place, distinct(response, ids_of(self._messages))
        self._on(response.attempts, response.passed_over)
        self._usages.append(response.usage)
        self._costs.append(response.cost)
        self._estimate = self._estimate.learnt(self._asked, response.usage.input_tokens)
        self._messages.append(response.message)
        calls, is_last = response.tool_calls, self._turns > self._terms.max_iterations
        goes_on = bool(calls) and not is_last and response.finish_reason not in {"refusal", "content_filter"}
        uses = await self._use(response, runs=goes_on) if calls else []
        self._uses += uses
        if uses:
            self._messages.append(results(uses))
        found = response if goes_on else self._finished(response)
        turn = Iteration(self._turns, response, tuple(self._uses), tuple(self._messages))
        await self._tell(turn)
        if self._turn is not None:
            self._turn.end(TurnOver())
        if goes_on or found is None:
            return turn
        run = self._run(found, is_cut_short=is_last)
        self.over(run=run)
        return run

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Give an error of a turn the trail of the run, or a note which turn it was."""
        try:
            yield
        except TimeoutExceededError as error:
            self._on(error.attempts, error.passed_over)
            late = self._too_late()
            late.partial = error.partial
            raise late from error.__cause__
        except TrailedError as error:
            error.add_note(f"in turn {self._turns} of a tool run")
            raise

    def _finished(self, response: Response) -> Response | None:
        """Return the answer as what it has to be; None where the model has to give it once more.

        Raises:
            ResponseInvalidError: It is not what it has to be, and was not at the second time either.
        """
        wanted = self._terms.wanted
        if wanted is None:
            return response
        words = tuple(block for block in response.blocks if not isinstance(block, ToolCall))
        found = wanted.finish(replace(response, blocks=words))  # a call at the end is no answer
        if isinstance(found, Response):
            return replace(response, parsed=found.parsed)
        if not found.repairable or self._is_repaired:
            raise ResponseInvalidError(self.chain.agent, self._whole(response), found.reason)
        self._is_repaired = True
        self._messages.append(found.told)
        return None

    def _whole(self, response: Response) -> Response:
        return replace(response, attempts=self._attempts, passed_over=self._passed_over)

    async def _use(self, response: Response, *, runs: bool) -> Sequence[ToolUse]:
        """Run the tools that were asked for within the time that is left, or answer why they were not run."""
        calls: Sequence[ToolCall] = response.tool_calls
        if not runs or response.finish_reason == "length":
            why = _SHUT if runs else _ENDED
            return [self._toolbox.not_run(call, self._turns, why) for call in calls]
        with anyio.move_on_after(self._remaining):
            return await self._toolbox.use_all(calls, self._turns, self._terms.tools_at_once, self._turn)
        raise self._too_late()

    async def _tell(self, turn: Iteration) -> None:
        if self._terms.on_iteration is not None:
            told = self._terms.on_iteration(turn)
            if inspect.isawaitable(told):
                await told

    def _said(self) -> Parameters:
        """Return the parameters of the next turn: a tool is forced in the first alone, and in the last none is left."""
        parameters = self._parameters
        if self._is_last:
            return {**parameters, "tool_choice": "none"}
        if self._turns and parameters.get("tool_choice", "none") not in {"auto", "none"}:
            return {**parameters, "tool_choice": "auto"}
        return parameters

    @property
    def _is_last(self) -> bool:
        """Are the iterations used up, so that the next turn is the last?"""
        return self._turns >= self._terms.max_iterations

    @property
    def _remaining(self) -> float:
        return self._begun + self._terms.timeout - anyio.current_time()

    def _on(self, attempts: Sequence[Attempt], passed_over: Sequence[PassedOver]) -> None:
        """Take the trail of a turn into that of the run."""
        self._attempts += renumbered(self._attempts, attempts, self._turn_begun - self._begun)
        self._passed_over += tuple(passed_over)

    def _too_late(self) -> TimeoutExceededError:
        return TimeoutExceededError(self.chain.agent, self._terms.timeout, self._attempts, self._passed_over)

    def _run(self, response: Response, *, is_cut_short: bool) -> Run:
        return Run(
            response,
            tuple(self._messages),
            tuple(self._uses),
            self._turns,
            summed(self._usages),
            self._attempts,
            self._passed_over,
            is_cut_short,
            summed_cost(self._costs),
        )
