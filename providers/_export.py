"""A conversation in the vendors' own forms, for whoever takes it to their SDKs. Pure."""

from __future__ import annotations

from typing import Any

from ._accept import accept
from ._request import Messages
from ._turns_anthropic import instructions_of, plain, turns_of
from ._turns_openai import OPENAI, messages_of


def as_openai(messages: Messages) -> list[dict[str, Any]]:
    """Return `messages` as `openai.chat.completions.create(messages=…)` takes them.

    The conversation is made valid on the way, as for a request: each call has one result. Reasoning and signatures have
    no place there, nor has the word that a result is an error.

    Raises:
        TypeError: It is no list of messages.
        ValueError: A message cannot be understood, or holds what that form has no place for; says which and why.
    """
    return messages_of(accept(messages), OPENAI, issuer="")


def as_anthropic(messages: Messages) -> dict[str, Any]:
    """Return `messages` as `anthropic.messages.create(**…)` takes them: `messages`, and `system` if something is said.

    The conversation is made valid on the way, as for a request: roles alternate from the user on, each call has one
    result, and thinking is Anthropic's own.

    Raises:
        TypeError: It is no list of messages.
        ValueError: A message cannot be understood, or holds what that form has no place for; says which and why.
    """
    accepted = accept(messages)
    exported: dict[str, Any] = {"messages": plain(turns_of(accepted, "anthropic"))}
    if instructions := instructions_of(accepted):
        exported["system"] = instructions
    return exported
