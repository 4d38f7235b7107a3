"""The trail in words: why this route answered, for whoever reads a terminal or a log. Pure.

anthropic claude-m answered after 0.76 s, as the fallback.
  nous hermes was passed over: credential dead: nobody is logged in; run `understudy login nous`
  1. openai gpt-m failed after 0.25 s: overloaded (HTTP 503): busy
  2. anthropic claude-m answered in 0.51 s, its first token after 0.10 s
     not sent, since it cannot be told: temperature
"""

from __future__ import annotations

from collections.abc import Iterable

from ._trail import Attempt, PassedOver
from ._verdicts import Verdict


def explained(
    transport: str, model: str, *, is_fallback: bool, attempts: Iterable[Attempt], passed_over: Iterable[PassedOver]
) -> str:
    """Return why this route answered: a sentence, and a line for each route that was passed over and each attempt."""
    tried, passed = list(attempts), list(passed_over)
    took = f" after {tried[-1].start + tried[-1].duration:.2f} s" if tried else ""
    how = "as the fallback" if is_fallback else "as the primary"
    alone = "; nobody else was asked" if len(tried) == 1 and not passed else ""
    lines = [f"{transport} {model} answered{took}, {how}{alone}."]
    lines += [f"  {each.transport} {each.model} was passed over: {each.reason}" for each in passed]
    for attempt in tried:
        ended = _ended(attempt) + (", not in the shape that was asked for" if _is_corrected(attempt, tried) else "")
        lines.append(f"  {attempt.number}. {attempt.transport} {attempt.model} {ended}")
        if attempt.dropped:
            lines.append(f"     not sent, since it cannot be told: {', '.join(attempt.dropped)}")
    return "\n".join(lines)


def _is_corrected(attempt: Attempt, tried: list[Attempt]) -> bool:
    """Say whether an answer was asked for once more."""
    return attempt.verdict is Verdict.OK and attempt is not tried[-1]


def _ended(attempt: Attempt) -> str:
    if attempt.verdict is not Verdict.OK:
        return f"failed after {attempt.duration:.2f} s: {attempt.reason or attempt.verdict}"
    first = "" if attempt.first_token is None else f", its first token after {attempt.first_token:.2f} s"
    return f"answered in {attempt.duration:.2f} s{first}"
