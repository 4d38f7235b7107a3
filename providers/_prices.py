"""What tokens cost. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from ._request import Usage

PER = 1_000_000
"""Prices are for so many tokens, as vendors name them."""


@final
@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens of a model.

    What is read from a cache or written to it costs as `input` does, and thinking as `output`, where nothing is said.
    """

    input: float
    output: float
    cache_read: float | None = None
    cache_write: float | None = None
    reasoning: float | None = None

    def of(self, usage: Usage) -> float | None:
        """Return what an answer cost, each token counted once; None if input or output were not told."""
        if usage.input_tokens is None or usage.output_tokens is None:
            return None
        read, written = usage.cache_read_tokens or 0, usage.cache_write_tokens or 0
        thought = min(usage.reasoning_tokens or 0, usage.output_tokens)
        parts = (
            (max(usage.input_tokens - read - written, 0), self.input),
            (read, self.input if self.cache_read is None else self.cache_read),
            (written, self.input if self.cache_write is None else self.cache_write),
            (usage.output_tokens - thought, self.output),
            (thought, self.output if self.reasoning is None else self.reasoning),
        )
        return sum(tokens * price for tokens, price in parts) / PER
