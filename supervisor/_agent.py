"""An agent's handle: what a program asks for completions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Unpack, final, get_args

from ..providers import Messages, Parameters, Response, accept, checked
from ..providers import number as is_number
from ._about import CallParameters, parted
from ._course import Chain, Question
from ._dispatch import Dispatch
from ._functions import as_tools
from ._repair import answer_shaped
from ._run_stream import RunStream
from ._run_values import Iteration, Run
from ._stream import OnInterrupt, Stream
from ._structured import ResponseModel, Wanted, wanted
from ._tool_run import Terms, ToolRun


@final
class Agent:
    """A named role that is answered by its primary, or by the next of its fallbacks. Made by `Supervisor.agent`.

    It may be used by any number of tasks at once, in the event loop of its supervisor.
    """

    def __init__(self, chain: Chain, total_timeout: float, check_here: Callable[[], None]) -> None:
        self._chain, self._total_timeout, self._check_here = chain, total_timeout, check_here

    @property
    def name(self) -> str:
        """The agent's name."""
        return self._chain.agent

    def __repr__(self) -> str:
        routes = ", ".join(f"{served.route.transport}/{served.route.model}" for served in self._chain.routes)
        return f"<Agent {self.name!r}: {routes}>"

    async def complete(
        self,
        messages: Messages,
        *,
        timeout: float | None = None,
        stream_upstream: bool = False,
        response_model: ResponseModel | None = None,
        **parameters: Unpack[CallParameters],
    ) -> Response:
        """Ask for one whole answer.

        Args:
            messages: The conversation: `Message`s, dicts in OpenAI or Anthropic form, or a text for a single question.
            timeout: Seconds for everything: all attempts on all routes. Default `LLM_TOTAL_TIMEOUT`.
            stream_upstream: Have the answer streamed by whoever gives it, whatever its route is set to: then the limits
                for a first token and for pauses guard it too, and an answer that is cut off is handed over.
            response_model: What the answer has to be: a pydantic model, another type that pydantic knows (a dataclass,
                a TypedDict, `list[…]`), or a JSON schema. The response's `parsed` then holds it: an instance, or for a
                schema the valid JSON value. An answer that is not valid goes back to the model once.
            parameters: See `Parameters`. They win over what the route has set; a None is as if it were not there.
                Beside them stands what is for the call's trace alone: `name`, `user_id`, `session_id`, `tags` and
                `metadata`; see `About`.

        Returns:
            The first answer, with the trail that led to it. While the model asks for tools, `parsed` is None.

        After cancellation nothing is left behind: the connection is closed or reusable, and nobody is blamed.

        Raises:
            TypeError: A parameter has an unknown name, `messages` is no list, or `response_model` no type or schema.
            ValueError: A parameter or a message is impossible.
            ResponseInvalidError: The answer is not what `response_model` says, and was not in a second round either;
                or it is a refusal, or cut off.
            AttemptError: The only attempt failed, and nobody was left to ask; the subclass says why.
            AllAttemptsFailedError: Several attempts failed.
            AllRoutesClosedError: Nobody could be asked.
            TimeoutExceededError: The timeout ended first.
            ActorStoppedError: The supervisor is closed or closing.
            OSError: This machine is at fault, no provider (an unreadable file, say).
            RuntimeError: The supervisor belongs to another event loop or thread.
        """
        question, shaped = self._question(messages, parameters, timeout, response_model)
        if stream_upstream:
            question = replace(question, stream_upstream=True)
        if shaped is None:
            return await Dispatch(self._chain, question).answer()
        return await answer_shaped(self._chain, question, shaped)

    def stream(
        self,
        messages: Messages,
        *,
        timeout: float | None = None,
        on_interrupt: OnInterrupt = "raise",
        response_model: ResponseModel | None = None,
        **parameters: Unpack[CallParameters],
    ) -> Stream:
        """Ask for an answer as it comes: `async with agent.stream(…) as stream`, then `async for event in stream`.

        Until the first content a failure is handed over unseen. Once content has been handed out, an answer that is cut
        off is never taken for a whole one.

        Args:
            messages: As for `complete`.
            timeout: Seconds for everything, from entering until the last event. Default `LLM_TOTAL_TIMEOUT`.
            on_interrupt: `raise` a `StreamInterruptedError` with what had come, or `restart`: a `Restarted` event says
                that it is void, and the whole answer of the next route follows.
            response_model: As for `complete`, but there is no second round: what was handed out cannot be corrected.
            parameters: As for `complete`.

        Raises:
            TypeError: A parameter has an unknown name, or `messages` is no list.
            ValueError: A parameter, a message or `on_interrupt` is impossible.
            RuntimeError: The supervisor belongs to another event loop or thread.
        """
        _check_on_interrupt(on_interrupt)
        question, shaped = self._question(messages, parameters, timeout, response_model)
        begin = partial(Dispatch, self._chain, replace(question, opens=True))
        return Stream(begin, restarts=on_interrupt == "restart", wanted=shaped)

    async def run(
        self,
        messages: Messages,
        *,
        max_iterations: int = 20,
        timeout: float | None = None,
        tools_at_once: int = 1,
        max_input_tokens: int | None = None,
        on_iteration: Callable[[Iteration], Any] | None = None,
        stream_upstream: bool = False,
        response_model: ResponseModel | None = None,
        **parameters: Unpack[CallParameters],
    ) -> Run:
        """Ask, run the tools that the model asks for, tell it what came of them, and so on until it answers.

        A run stays on the route that answers; if that fails, every other one is a candidate, and no tool is run again.
        An exception of a tool is told to the model, as are unknown tools and arguments that do not fit; so nothing but
        the errors below ends a run. A function that is not async runs in a worker thread, with the context variables of
        the caller.

        Args:
            messages: As for `complete`.
            max_iterations: Turns in which tools may be called. After them one more answer is asked for, without tools.
            timeout: Seconds for everything, tools too. Default `LLM_TOTAL_TIMEOUT`.
            tools_at_once: How many tools of one turn may run at the same time; their results keep the order of the
                calls.
            max_input_tokens: About how many tokens a request may have; the oldest turns are left out of one that has
                more. `Run.messages` holds them all the same.
            on_iteration: Called, or awaited, after each turn and its tools. What it raises ends the run as it is.
            stream_upstream: As for `complete`.
            response_model: What the final answer has to be, as for `complete`: `run.response.parsed` holds it.
            parameters: See `Parameters`; `tools` are needed. A `tool_choice` that forces a tool holds for the first
                turn.

        Returns:
            The answer, the whole conversation, every tool call, and the trail and the usage of all turns.

        After cancellation no tool runs any more, but for functions in threads: nothing can end those, and nobody waits
        for them. Otherwise as for `complete`.

        Raises:
            TypeError: As for `complete`; or `tools` are missing, or one has nothing to run, or cannot be made of a
                function.
            ValueError: As for `complete`.
            AttemptError: As for `complete`. So for the next ones; their trail is that of the turn that failed.
            AllAttemptsFailedError: Several attempts failed.
            AllRoutesClosedError: Nobody could be asked.
            TimeoutExceededError: The timeout ended first; its trail is that of all turns.
            ActorStoppedError: The supervisor is closed or closing.
            OSError: This machine is at fault, no provider.
            RuntimeError: The supervisor belongs to another event loop or thread.
        """
        terms = Terms(
            self._within(timeout), max_iterations, tools_at_once, max_input_tokens, on_iteration, stream_upstream
        )
        return await self._tool_run(messages, parameters, terms, response_model).result()

    def stream_run(
        self,
        messages: Messages,
        *,
        max_iterations: int = 20,
        timeout: float | None = None,
        tools_at_once: int = 1,
        max_input_tokens: int | None = None,
        on_iteration: Callable[[Iteration], Any] | None = None,
        on_interrupt: OnInterrupt = "raise",
        response_model: ResponseModel | None = None,
        **parameters: Unpack[CallParameters],
    ) -> RunStream:
        """Do what `run` does, and hand out the answers as they come: `async with agent.stream_run(…) as stream`.

        Its events are those of a stream, and an `Iteration` after the tools of each turn; `Finished` comes once, at the
        end, and `stream.run` is then what `run` returns.

        Args:
            on_interrupt: As for `stream`, for each turn. Tools that have been run are not run again.
            max_iterations: As for `run`, and so for all others.

        Raises:
            Exception: As `run` and `stream` do.
        """
        _check_on_interrupt(on_interrupt)
        terms = Terms(self._within(timeout), max_iterations, tools_at_once, max_input_tokens, on_iteration)
        run = self._tool_run(messages, parameters, terms, response_model)
        return RunStream(run, restarts=on_interrupt == "restart")

    def _tool_run(
        self, messages: Messages, parameters: CallParameters, terms: Terms, response_model: ResponseModel | None
    ) -> ToolRun:
        self._check_here()
        said, about = parted(parameters)
        given, shaped = _shaped(_checked(said), response_model)
        if "tools" not in given:
            raise TypeError("run needs tools=[…]: typed functions, or Tool(…, run=function)")
        return ToolRun(self._chain, accept(messages), given, replace(terms, wanted=shaped, about=about))

    def _question(
        self,
        messages: Messages,
        parameters: CallParameters,
        timeout: float | None,
        response_model: ResponseModel | None,
    ) -> tuple[Question, Wanted | None]:
        self._check_here()
        within = self._within(timeout)
        said, about = parted(parameters)
        given, shaped = _shaped(_checked(said), response_model)
        return Question(accept(messages), given, within, about=about), shaped

    def _within(self, timeout: float | None) -> float:
        """Return the seconds for everything."""
        if timeout is None:
            return self._total_timeout
        if not is_number(timeout) or timeout <= 0:
            raise ValueError("timeout must be a number of seconds above 0")
        return timeout


def _shaped(parameters: Parameters, response_model: ResponseModel | None) -> tuple[Parameters, Wanted | None]:
    """Say in the parameters what the answer has to be."""
    if response_model is None:
        return parameters, None
    if "shape" in parameters:
        raise TypeError("response_model and shape both say what the answer has to be: give one of them")
    shaped = wanted(response_model)
    return Parameters(**{**parameters, "shape": shaped.shape}), shaped


def _checked(parameters: Parameters) -> Parameters:
    if "tools" in parameters:
        parameters = {**parameters, "tools": as_tools(parameters["tools"])}  # type: ignore[typeddict-item] # looked at next
    return checked(parameters)


def _check_on_interrupt(value: str) -> None:
    if value not in get_args(OnInterrupt):
        raise ValueError("on_interrupt must be 'raise' or 'restart'")
