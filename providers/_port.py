"""The provider port: what an actor owns, and what it asks of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias, final

from ._request import Request, Response
from ._stream import ContentEvent, Partial

if TYPE_CHECKING:  # importing messages and errors must not take pydantic along
    from pydantic import SecretStr


@final
@dataclass(frozen=True, slots=True)
class Target:
    """Where a provider speaks to, and how many at once. Transport, address and credential make its identity.

    `base_url` is normalised; `api_key` is None where none is needed; `credential` names a login that is kept and
    renewed, in place of a key; timeouts are in seconds; `max_concurrency` is the most attempts that are ever in flight
    (the bulkhead). `http_transport` names whose connections carry requests: ours, or those of the library `httpx2`.
    """

    transport: str
    base_url: str
    api_key: SecretStr | None
    credential: str = ""
    max_concurrency: int = field(default=1000, compare=False)
    connect_timeout: float = field(default=5.0, compare=False)
    write_timeout: float = field(default=30.0, compare=False)
    http_transport: str = field(default="understudy", compare=False)

    @property
    def name(self) -> str:
        """The endpoint's name in errors and logs: transport and address, never the credential."""
        return f"{self.transport} at {self.base_url}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown."""
        return () if self.api_key is None else (self.api_key.get_secret_value(),)


class Upstream(Protocol):
    """An answer that is coming in. It may be read by any task, by one at a time."""

    @property
    def response(self) -> Response | None:
        """The whole answer, once its end has come."""

    @property
    def partial(self) -> Partial:
        """What has come so far."""

    def take(self) -> ContentEvent | None:
        """Return the next content that is here already; None where more must be read, or where all has been taken.

        Of a relayed request a provider that gives it on returns `Relayed` in the place of content.
        """

    async def read(self) -> None:
        """Wait until something has come: content, a mere sign of life, or the end. Events come before an error.

        After cancellation the stream is closed, or `aclose` closes it.

        Raises:
            AttemptError: The answer failed; the class and the verdict say why.
            OSError: The machine is at fault, no provider.
        """
        ...

    def abandon(self) -> None:
        """Shut the connection down without waiting: the peer sees it at once, and `aclose` does the rest later.

        A read that waits ends, with an exception unless the whole answer had come.
        """

    async def aclose(self) -> None:
        """Close the connection, unless it is read to its end and can be used again. Closing twice does nothing."""
        ...


class Provider(Protocol):
    """The code that speaks one vendor's API over one client. It belongs to one event loop."""

    async def complete(self, request: Request) -> Response:
        """Ask once, without any retry or limit of its own, and return the whole answer.

        After cancellation the connection is closed or reusable, and nothing is left behind.

        Raises:
            AttemptError: Nothing usable came; the class and the verdict say why.
            OSError: The machine is at fault (an unreadable file, a full disk), no provider.
        """
        ...

    async def stream(self, request: Request) -> Upstream:
        """Ask once, as `complete` does, and return the answer as soon as it begins to come in.

        After cancellation the connection is closed or reusable, and nothing is left behind.

        Raises:
            AttemptError: Nothing usable came; the class and the verdict say why.
            OSError: The machine is at fault (an unreadable file, a full disk), no provider.
        """
        ...

    async def aclose(self) -> None:
        """Close the client and its connections. Closing twice does nothing."""
        ...


class KeyedProvider(Provider, Protocol):
    """A provider that can show another key with each request."""

    def keyed(self, key: str, *, base_url: str = "") -> Provider:
        """Return a provider over the same connections that shows this key, and speaks to `base_url` if one is given.

        Making it waits for nothing; closing it does nothing.
        """
        ...


Connect: TypeAlias = Callable[[Target], Provider]
"""Makes the provider of an endpoint. Called inside the event loop that will use it."""
