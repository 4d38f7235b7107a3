"""The `nous` transport: the Nous Portal's OpenAI-compatible endpoint, with a static key."""

from __future__ import annotations

from ._openai import connect_as
from ._port import Target
from ._sdk import SDKProvider
from ._wire_openai import Dialect

_DIALECT = Dialect()


def connect(target: Target) -> SDKProvider:
    """Make the provider of a `nous` endpoint."""
    return connect_as(target, _DIALECT)
