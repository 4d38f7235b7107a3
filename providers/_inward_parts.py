"""Reading the messages of chat completions and of messages: what is in them is looked at by a table. Pure.

`accept` makes them neutral. Before that, what it does not look at is looked at here: an unknown kind of content, or an
unknown field of a known one, has no equal on another wire; a field of the wrong type is the client's mistake.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from ._accept import accept
from ._inward import UnreadableError
from ._inward_fields import Gathering, Rule, Rules, each, one_of, required, take, wrong
from ._messages import Image, Message, Reasoning, Text, ToolCall, ToolResult


@final
@dataclass(frozen=True, slots=True)
class Form:
    """How messages look in a dialect: their `roles`, the `fields` of a message, and those of each kind of part."""

    roles: frozenset[str]
    fields: Rules
    parts: Mapping[str, Rules]


def messages_in(body: Mapping[str, Any], form: Form, gathering: Gathering) -> tuple[Message, ...]:
    """Return the messages of a request that has some; none where another wire has no equal for something in them.

    Raises:
        UnreadableError: They are no messages, or one of them cannot be understood; says where.
    """
    before = len(gathering.untold)
    for where, message in each(body["messages"], "messages"):
        role = required(message, "role", where)
        if not isinstance(role, str) or role not in form.roles:
            raise wrong(f"{where}.role", f"one of {', '.join(sorted(form.roles))}")
        take(gathering, message, form.fields, where)
    if len(gathering.untold) > before:
        return ()
    try:
        accepted = accept(body["messages"])
    except (TypeError, ValueError) as error:
        raise UnreadableError(str(error), "messages") from None
    check_roles(accepted, "messages")
    return accepted


_MAY_HOLD: dict[str, tuple[type, ...]] = {
    "system": (Text,),
    "user": (Text, Image),
    "assistant": (Text, ToolCall, Reasoning),
    "tool": (ToolResult,),
}


def check_roles(messages: tuple[Message, ...], field: str) -> None:
    """Refuse messages that hold what no wire lets their role say.

    Raises:
        UnreadableError: One of them does.
    """
    for message in messages:
        for block in message.blocks:
            if not isinstance(block, _MAY_HOLD[message.role]):
                what = type(block).__name__
                raise UnreadableError(f"a message of the {message.role} cannot hold {what}", field)


def content(parts: Mapping[str, Rules]) -> Rule:
    """Return the rule of a content: a text, or a list of parts, each looked at by the table of its kind."""

    def rule(gathering: Gathering, where: str, value: Any) -> None:
        if isinstance(value, str):
            return
        for place, part in each(value, where, "a text, or a list of parts"):
            kind = required(part, "type", place)
            rules = parts.get(kind) if isinstance(kind, str) else None
            if not isinstance(kind, str):
                raise wrong(f"{place}.type", "a text")
            if rules is None:
                gathering.cannot(place, kind)
            else:
                take(gathering, part, rules, place)

    return rule


def nested(rules: Rules) -> Rule:
    """Return the rule of an object, each field of which has one."""

    def rule(gathering: Gathering, where: str, value: Any) -> None:
        if not isinstance(value, dict):
            raise wrong(where, "an object")
        take(gathering, value, rules, where)

    return rule


def listed(rules: Rules) -> Rule:
    """Return the rule of a list of objects, each field of which has one."""

    def rule(gathering: Gathering, where: str, value: Any) -> None:
        for place, item in each(value, where):
            take(gathering, item, rules, place)

    return rule


detail: Rule = one_of("auto", "low", "high", "original")
"""How closely a picture is looked at."""
