"""An agent as a gateway asks it: with requests that were read and checked before, and may be given on as they came."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import final

from ..providers import Failure, Neutral, Relay, RequestRejectedError, Response, UnreadableError, Verdict
from ._agent import Agent
from ._course import Question
from ._dispatch import Dispatch
from ._stream import Stream

UNREAD = Neutral()


@final
@dataclass(frozen=True, slots=True)
class Inquiry:
    """What a client of a gateway asks. `timeout` is in seconds; it may only shorten the agent's own."""

    relay: Relay
    timeout: float | None = None


@final
class Inlet:
    """Asks an agent what a gateway was asked."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    async def complete(self, inquiry: Inquiry) -> Response:
        """Ask for one whole answer; see `Agent.complete`. Its `raw` is there where it was given on as it came.

        Raises:
            RequestRejectedError: It holds what no route of the agent can be told.
            UnreadableError: It is none in its dialect, and the first route would have to be told what it says.
            Exception: What `Agent.complete` raises.
        """
        return await Dispatch(self._agent._chain, self._question(inquiry, opens=False)).answer()

    async def count(self, inquiry: Inquiry) -> Response:
        """Ask how many tokens a request has; the provider's own words are the response's `raw`. It is asked as any
        request is, but no event and no trace tells of it.

        Raises:
            RequestRejectedError: No route of the agent speaks a wire that counts.
            Exception: What `Agent.complete` raises.
        """
        return await Dispatch(self._agent._chain, self._question(inquiry, opens=False), is_round=True).answer()

    def stream(self, inquiry: Inquiry) -> Stream:
        """Ask for an answer as it comes; see `Agent.stream`. Events are `Relayed` where it is given on as it comes.

        Raises:
            RequestRejectedError: It holds what no route of the agent can be told.
            UnreadableError: As for `complete`.
            RuntimeError: The supervisor belongs to another event loop or thread.
        """
        begin = partial(Dispatch, self._agent._chain, self._question(inquiry, opens=True))
        return Stream(begin, restarts=False)

    def _question(self, inquiry: Inquiry, *, opens: bool) -> Question:
        agent, chain, relay = self._agent, self._agent._chain, inquiry.relay
        agent._check_here()
        first, neutral = chain.routes[0].route, UNREAD
        if first.wire != relay.wire:
            neutral = relay.read()
            if neutral.reason and relay.wire not in chain.wires:
                lacks = f", and agent {agent.name!r} has no route on the {relay.wire} wire: leave it out"
                said = neutral.reason + ("" if relay.counts else lacks)
                raise RequestRejectedError(
                    Failure(transport=first.transport, model=first.model, verdict=Verdict.CALLER, said=said)
                )
        elif chain.tracing:
            with suppress(UnreadableError):  # whoever looks on changes nothing: the provider may well understand it
                neutral = relay.read()
        total = agent._total_timeout
        within = total if inquiry.timeout is None else min(inquiry.timeout, total)
        return Question(neutral.messages, neutral.parameters, within, opens=opens, relay=relay)
