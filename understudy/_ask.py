"""Asking one question, for the command line: for a whole answer, or for one that is printed as it comes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import final

import click

from ._open import open_supervisor
from ._show import event_as_json
from .credentials import CredentialSaved, CredentialUnsaved
from .providers import Finished, Parameters, Response, user
from .supervisor import Agent, Event, Hook, OnInterrupt, Stream


@final
@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of whom. `timeout` is in seconds, for all attempts together; None is the configured one. With
    `explains` the last event says why this route answered.
    """

    agent: str
    prompt: str
    timeout: float | None
    max_tokens: int | None
    hooks: tuple[Hook, ...] = ()
    explains: bool = False

    @property
    def parameters(self) -> Parameters:
        """What is said beside the prompt."""
        return {} if self.max_tokens is None else {"max_tokens": self.max_tokens}


@final
class Unsaved:
    """A hook that knows whether a renewed login is in memory alone; `reason` says what is in the way, empty if not."""

    def __init__(self) -> None:
        self.reason = ""

    def __call__(self, event: Event) -> None:
        """Take note of it."""
        if isinstance(event, CredentialUnsaved | CredentialSaved):
            self.reason = event.reason if isinstance(event, CredentialUnsaved) else ""


async def whole(question: Question) -> Response:
    """Return the answer.

    Raises:
        UnderstudyError: The configuration is wrong, or nobody answered.
    """
    async with _asked(question) as agent:
        return await agent.complete([user(question.prompt)], timeout=question.timeout, **question.parameters)


async def text(question: Question) -> Response:
    """Print the text of the answer as it comes, and return the answer. A line that was begun is ended in any case.

    Raises:
        UnderstudyError: The configuration is wrong, nobody answered, or the answer was cut off.
        OSError: Standard output takes no more.
    """
    async with _streamed(question, "raise") as stream:
        is_begun = False
        try:
            async for piece in stream.text_stream():
                click.echo(piece, nl=False)
                is_begun = True
        finally:
            if is_begun:
                click.echo()
        return stream.response


async def events(question: Question) -> Response:
    """Print each event as one JSON object on one line, and return the answer.

    An answer that is cut off begins anew: whoever reads the event `restarted` can drop what came before it.

    Raises:
        UnderstudyError: The configuration is wrong, nobody answered, or nobody could give the answer anew.
        OSError: Standard output takes no more.
    """
    async with _streamed(question, "restart") as stream:
        async for event in stream:
            told = event_as_json(event)
            if question.explains and isinstance(event, Finished):
                told["explanation"] = event.response.explain()
            click.echo(json.dumps(told))
        return stream.response


@asynccontextmanager
async def _streamed(question: Question, on_interrupt: OnInterrupt) -> AsyncIterator[Stream]:
    async with _asked(question) as agent:
        prompt, timeout = [user(question.prompt)], question.timeout
        async with agent.stream(prompt, timeout=timeout, on_interrupt=on_interrupt, **question.parameters) as stream:
            yield stream


@asynccontextmanager
async def _asked(question: Question) -> AsyncIterator[Agent]:
    async with open_supervisor(hooks=question.hooks) as supervisor:
        yield supervisor.agent(question.agent)
