"""An agent's handle: what a program asks for completions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Unpack, final

from ..providers import Messages, Parameters, Response, accept, checked
from ..providers import number as is_number
from ._dispatch import Chain, Dispatch
from ._repair import answer_shaped
from ._structured import wanted


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
        response_model: type[Any] | Mapping[str, Any] | None = None,
        **parameters: Unpack[Parameters],
    ) -> Response:
        """Ask for one whole answer.

        Args:
            messages: The conversation: `Message`s, dicts in OpenAI or Anthropic form, or a text for a single question.
            timeout: Seconds for everything: all attempts on all routes. Default `LLM_TOTAL_TIMEOUT`.
            response_model: What the answer has to be: a pydantic model, another type that pydantic knows (a dataclass,
                a TypedDict, `list[…]`), or a JSON schema. The response's `parsed` then holds it: an instance, or for a
                schema the valid JSON value. An answer that is not valid goes back to the model once.
            parameters: See `Parameters`. They win over what the route has set; a None is as if it were not there.

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
        self._check_here()
        if timeout is None:
            timeout = self._total_timeout
        elif not is_number(timeout) or timeout <= 0:
            raise ValueError("timeout must be a number of seconds above 0")
        asked, given = accept(messages), checked(parameters)
        if response_model is None:
            return await Dispatch(self._chain, asked, given, timeout).answer()
        if "shape" in given:
            raise TypeError("response_model and shape both say what the answer has to be: give one of them")
        return await answer_shaped(self._chain, asked, given, timeout, wanted(response_model))
