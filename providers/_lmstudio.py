"""The `lmstudio` transport: a local server that speaks the OpenAI wire and needs no key."""

from __future__ import annotations

from ._openai import connect_as
from ._port import Target
from ._sdk import SDKProvider
from ._wire_openai import Dialect

_DIALECT = Dialect(thinking="none")


def connect(target: Target) -> SDKProvider:
    """Make the provider of an `lmstudio` endpoint."""
    return connect_as(target, _DIALECT)
