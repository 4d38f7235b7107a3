"""The provider contract: what every provider does, over sockets and in memory, for the same script.

The real providers speak through the vendors' SDK clients to a simulated server; the scripted one in memory plays the
same script. Both are held to the same outcome, so that neither can drift.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

import anyio
import pytest
from pydantic import SecretStr

from understudy.providers import (
    TRANSPORTS,
    AttemptError,
    AttemptTimeoutError,
    ConnectionFailedError,
    Provider,
    QuotaExceededError,
    RateLimitedError,
    Request,
    RequestRejectedError,
    ServerFailedError,
    Target,
    Usage,
    Verdict,
    connect,
    user,
)
from understudy.providers._errors import AccessRefusedError
from understudy.simulation import Answer, Behaviour, Hang, Refused, Reset, Script, Status, World, simulated_server

from .whole_system._wire import WireWorld

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]

REQUEST = Request("a-model", (user("one two three"),))


@dataclass(frozen=True)
class Maker:
    """One way to have a provider that plays a script."""

    transport: str
    over: Literal["sockets", "memory", "wire"]

    def __str__(self) -> str:
        return f"{self.transport}-{self.over}"

    @asynccontextmanager
    async def provider(self, behaviour: Behaviour) -> AsyncIterator[Provider]:
        """Open a provider that always meets `behaviour`."""
        script = Script.always(behaviour)
        async with simulated_server(script) as server:
            url = server.anthropic_url if self.transport == "anthropic" else server.openai_url
            target = Target(self.transport, url, SecretStr("a-secret-key"))
            scripts = {self.transport: script}
            worlds = {"sockets": connect, "memory": World(scripts).connect, "wire": WireWorld(scripts).connect}
            made = worlds[self.over](target)
            try:
                yield made
            finally:
                await made.aclose()


MAKERS = [
    *(Maker(transport, "sockets") for transport in TRANSPORTS),
    *(Maker(transport, over) for over in ("memory", "wire") for transport in ("openai", "anthropic")),
]


@pytest.fixture(params=MAKERS, ids=str)
def maker(request: pytest.FixtureRequest) -> Maker:
    """Every provider, one after the other."""
    made: Maker = request.param
    return made


async def test_an_answer_has_text_usage_and_names(maker: Maker) -> None:
    """The answer is the same whoever gives it, but for who gave it."""
    async with maker.provider(Answer("four five")) as provider:
        response = await provider.complete(REQUEST)
    assert response.text == "four five"
    assert (response.model, response.transport) == ("a-model", maker.transport)
    assert response.finish_reason == "stop"
    assert response.request_id == "simulated"
    openai_wire = maker.transport != "anthropic"
    assert response.usage == Usage(3, 2, 0, None if openai_wire else 0, 0 if openai_wire else None)


async def test_an_answer_belongs_to_its_question(maker: Maker) -> None:
    """Ten questions at once get their own answers."""
    got: list[bool] = []
    async with maker.provider(Answer(None, after=0.01)) as provider:

        async def ask(nonce: str) -> None:
            response = await provider.complete(Request("a-model", (user(nonce),)))
            got.append(response.text == nonce)

        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(ask, f"nonce {number}")
    assert got == [True] * 10


PAGE = Status(403, body=b"<html>Access denied</html>", content_type="text/html")


@pytest.mark.parametrize(
    ("behaviour", "error", "verdict", "retry_after"),
    [
        (Status(400), RequestRejectedError, Verdict.CALLER, None),
        (Status(401), AccessRefusedError, Verdict.AUTH, None),
        (Status(402), QuotaExceededError, Verdict.QUOTA, None),
        (Status(403), AccessRefusedError, Verdict.AUTHZ, None),
        (PAGE, ServerFailedError, Verdict.EDGE, None),
        (Status(404), AccessRefusedError, Verdict.NOT_FOUND, None),
        (Status(408), AttemptTimeoutError, Verdict.TIMEOUT, None),
        (Status(409), ServerFailedError, Verdict.CONFLICT, None),
        (Status(422), RequestRejectedError, Verdict.CALLER, None),
        (Status(429, headers={"Retry-After": "7"}), RateLimitedError, Verdict.THROTTLED, 7.0),
        (Status(429, headers={"retry-after-ms": "1500", "retry-after": "9"}), RateLimitedError, Verdict.THROTTLED, 1.5),
        (Status(429, headers={"retry-after": "soon"}), RateLimitedError, Verdict.THROTTLED, None),
        (Status(500), ServerFailedError, Verdict.PROVIDER, None),
        (Status(502, body=b"<html></html>"), ServerFailedError, Verdict.PROVIDER, None),
        (Status(503, headers={"retry-after": "2.5"}), ServerFailedError, Verdict.OVERLOADED, 2.5),
        (Status(504), AttemptTimeoutError, Verdict.TIMEOUT, None),
        (Status(529), ServerFailedError, Verdict.OVERLOADED, None),
        (Reset(), ConnectionFailedError, Verdict.PROVIDER, None),
        (Refused(), ConnectionFailedError, Verdict.CONNECT, None),
    ],
    ids=str,
)
async def test_a_failure_has_its_class_verdict_and_hint(
    maker: Maker, behaviour: Behaviour, error: type[AttemptError], verdict: Verdict, retry_after: float | None
) -> None:
    """Each fault becomes one error of ours, with the same facts everywhere."""
    if isinstance(behaviour, Status) and behaviour.status == 504 and maker.transport != "anthropic":
        error, verdict = ServerFailedError, Verdict.PROVIDER  # only Anthropic names it a timeout
    async with maker.provider(behaviour) as provider:
        with pytest.raises(error) as caught:
            await provider.complete(REQUEST)
    raised = caught.value
    assert type(raised) is error
    assert (raised.verdict, raised.retry_after) == (verdict, retry_after)
    assert (raised.transport, raised.model) == (maker.transport, "a-model")
    assert raised.status == (behaviour.status if isinstance(behaviour, Status) else None)
    if isinstance(behaviour, Status):
        assert raised.request_id == "simulated"


async def test_a_hanging_provider_can_be_cancelled(maker: Maker) -> None:
    """Cancellation ends the call at once, and the next one is served."""
    async with maker.provider(Hang()) as provider:
        with anyio.move_on_after(60) as scope:
            await provider.complete(REQUEST)
        assert scope.cancelled_caught


async def test_closing_twice_does_nothing(maker: Maker) -> None:
    """A provider may be closed more than once."""
    async with maker.provider(Answer()) as provider:
        await provider.complete(REQUEST)
        await provider.aclose()
