"""The dialects that a gateway speaks, by name. Pure."""

from __future__ import annotations

from ._inward import Dialect, DialectName
from ._inward_anthropic import ANTHROPIC
from ._inward_openai import OPENAI
from ._inward_responses import RESPONSES

DIALECTS: dict[DialectName, Dialect] = {dialect.name: dialect for dialect in (OPENAI, ANTHROPIC, RESPONSES)}
"""A new dialect is one more of these."""
