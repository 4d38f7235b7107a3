"""The `gemini` transport: Google's OpenAI-compatible endpoint."""

from __future__ import annotations

from ._openai import connect_as
from ._port import Target
from ._sdk import SDKProvider
from ._wire_openai import Dialect

_DIALECT = Dialect(unsupported=frozenset({"top_k"}), thinking="gemini")


def connect(target: Target) -> SDKProvider:
    """Make the provider of a `gemini` endpoint."""
    return connect_as(target, _DIALECT)
