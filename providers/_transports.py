"""The transports we speak, one row each.

A new vendor on a known wire is one row here and one in `_dialects.py`; one on a wire of its own is also a new file.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, final

from ._dialects import ADDRESSES
from ._port import Connect, Provider, Target

if TYPE_CHECKING:  # the HTTP library is imported with an SDK, and not before
    import httpx2


@final
@dataclass(frozen=True, slots=True)
class Transport:
    """One row: the module that connects it (imported when it is first needed: an SDK takes a second),
    the address it has unless configured, whether that address wants a key, and the wire it speaks.
    """

    module: str
    base_url: str
    needs_key: bool = True
    wire: str = "openai"


TRANSPORTS: dict[str, Transport] = {
    "openai": Transport("_openai", ADDRESSES["openai"]),
    "anthropic": Transport("_anthropic", ADDRESSES["anthropic"], wire="anthropic"),
    "gemini": Transport("_openai", ADDRESSES["gemini"]),
    "lmstudio": Transport("_openai", ADDRESSES["lmstudio"], needs_key=False),
    "nous": Transport("_openai", ADDRESSES["nous"]),
}


HTTPClients: TypeAlias = "Callable[[Target], httpx2.AsyncClient]"
"""Makes the HTTP client of an endpoint."""


def connect(target: Target, http_client: HTTPClients | None = None) -> Provider:
    """Make the provider for `target`, importing its SDK.

    Args:
        http_client: Makes what it sends with, instead of ours; closed with the provider.

    Raises:
        ImportError: The SDK is not installed.
        OSError: The trusted certificates cannot be read.
    """
    make: Any = load(target.transport)
    provider: Provider = make(target, None if http_client is None else http_client(target))
    return provider


def load(transport: str) -> Connect:
    """Import the module of a transport, and the SDK with it, and return what connects it.

    Raises:
        ImportError: The SDK is not installed.
    """
    module = importlib.import_module(f".{TRANSPORTS[transport].module}", __package__)
    make: Connect = module.connect
    return make


def normalised(transport: str, base_url: str) -> str:
    """Return `base_url` in the one form that makes an endpoint's identity: lower-case host, no final slash.

    The Anthropic client adds `/v1` by itself, so a given one is taken off.
    """
    scheme, separator, rest = base_url.strip().partition("://")
    host, slash, path = rest.partition("/")
    url = f"{scheme.lower()}{separator}{host.lower()}{slash}{path}".rstrip("/")
    return url.removesuffix("/v1") if transport == "anthropic" else url
