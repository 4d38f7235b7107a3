"""The families of clients that the gateway is held to, each in an environment of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent
ENVIRONMENTS = ROOT / ".venv-clients"
"""Where the environments are kept. Git does not know it, and `make` leaves it alone."""


@final
@dataclass(frozen=True, slots=True)
class Family:
    """A framework in Python.

    Args:
        wanted: What its lock is resolved from.
        has_understudy: Whether understudy is installed beside it. It is not where the framework insists on an SDK that
            is older than ours: its tests then only go over HTTP.
    """

    name: str
    wanted: tuple[str, ...]
    has_understudy: bool = True

    @property
    def lock(self) -> Path:
        """The lock of its environment."""
        return FOLDER / f"{self.name}.lock"

    @property
    def tests(self) -> Path:
        """Its tests."""
        return FOLDER / f"with_{self.name.replace('-', '_')}.py"

    @property
    def environment(self) -> Path:
        """Where its environment is kept."""
        return ENVIRONMENTS / self.name


FAMILIES = (
    Family("langchain", ("langchain-openai", "langchain-anthropic")),
    Family("pydantic-ai", ("pydantic-ai-slim[openai,anthropic]",)),
    # wants a jiter older than the openai SDK that understudy needs can use, and one certain old anthropic SDK
    Family("instructor", ("instructor[anthropic]",), has_understudy=False),
    Family("openai-agents", ("openai-agents",)),
)
