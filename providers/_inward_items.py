"""Reading the input of the responses dialect: a text, or items that become messages. Pure.

    item                       what becomes of it
    message                    a message; its parts are texts and pictures
    reasoning                  thinking of the assistant; what is encrypted in it is nobody's but its issuer's
    function_call              a tool call of the assistant
    function_call_output       the result of one
    item_reference             refused: what it refers to is kept nowhere
    any other                  has no equal on another wire

Items of the assistant that follow each other are one message, and so are results.

Source: platform.openai.com/docs/api-reference/responses/create, as of the SDK `openai` 3.52 (`ResponseInputItem`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._accept import accept
from ._inward import UnreadableError
from ._inward_fields import (
    TEXT,
    Gathering,
    Rules,
    each,
    left_out,
    name_rule,
    required,
    take,
    unless,
    wrong,
)
from ._inward_parts import check_roles, content, detail, listed
from ._messages import Block, Image, Message, Reasoning, Role, Text, ToolCall, ToolResult

_ROLES: Mapping[str, Role] = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}

_MARKED: Rules = {"type": TEXT, "prompt_cache_breakpoint": left_out}

_TEXTS: Mapping[str, Rules] = {
    "input_text": {**_MARKED, "text": TEXT},
    "output_text": {**_MARKED, "text": TEXT, "annotations": left_out, "logprobs": left_out},
}

_PARTS: Mapping[str, Rules] = {
    **_TEXTS,
    "refusal": {"type": TEXT, "refusal": TEXT},
    "input_image": {**_MARKED, "image_url": name_rule, "detail": detail, "file_id": unless()},
}

_KEPT: Rules = {"id": TEXT, "type": TEXT, "status": TEXT}
"""What an item of an earlier answer has of its own, and says nothing."""

_ITEMS: Mapping[str, Rules] = {
    "message": {**_KEPT, "role": TEXT, "content": content(_PARTS), "phase": left_out},
    "reasoning": {
        **_KEPT,
        "summary": listed({"type": TEXT, "text": TEXT}),
        "content": listed({"type": TEXT, "text": TEXT}),
        "encrypted_content": left_out,
    },
    "function_call": {
        **_KEPT,
        "call_id": name_rule,
        "name": name_rule,
        "arguments": TEXT,
        "namespace": unless(),
        "caller": unless({"type": "direct"}),
        "async": unless(False),
    },
    "function_call_output": {
        **_KEPT,
        "call_id": name_rule,
        "output": content(_TEXTS),
        "name": left_out,
        "namespace": unless(),
        "caller": unless({"type": "direct"}),
    },
}


def items_in(body: Mapping[str, Any], gathering: Gathering) -> tuple[Message, ...]:
    """Return the conversation; nothing where another wire has no equal for something in it.

    Raises:
        UnreadableError: It is none, or refers to what is kept nowhere; says where.
    """
    given = required(body, "input")
    instructions = body.get("instructions")
    before = (Message("system", (Text(instructions),)),) if isinstance(instructions, str) and instructions else ()
    if isinstance(given, str):
        return (*before, *_said(given))
    untold = len(gathering.untold)
    found: list[tuple[Role, tuple[Block, ...]]] = []
    for where, item in each(given, "input", "a text, or a list of items"):
        found += _item(gathering, where, item)
    if len(gathering.untold) > untold:
        return ()
    if not found:
        raise UnreadableError("input is empty: there is nothing to ask", "input")
    try:
        messages = _joined(found)
    except ValueError as error:
        raise UnreadableError(f"input holds a message that cannot be understood: {error}", "input") from None
    check_roles(messages, "input")
    return (*before, *messages)


def _said(text: str) -> tuple[Message, ...]:
    try:
        return accept(text)
    except ValueError:
        raise UnreadableError("input is empty: there is nothing to ask", "input") from None


def _item(gathering: Gathering, where: str, item: Mapping[str, Any]) -> list[tuple[Role, tuple[Block, ...]]]:
    kind = item.get("type", "message" if "role" in item else None)
    if kind == "item_reference" or (kind is None and "id" in item):
        raise UnreadableError(f"{where} refers to an item, and none is kept here: send the item itself", where)
    if not isinstance(kind, str):
        raise wrong(f"{where}.type", "a text")
    rules = _ITEMS.get(kind)
    if rules is None:
        gathering.cannot(where, kind)
        return []
    before = len(gathering.untold)
    take(gathering, item, rules, where)
    if len(gathering.untold) > before:
        return []
    try:
        return [_READ[kind](item, where)]
    except ValueError as error:
        raise error if isinstance(error, UnreadableError) else wrong(where, f"what it says it is: {error}") from None


def _message(item: Mapping[str, Any], where: str) -> tuple[Role, tuple[Block, ...]]:
    role = _ROLES.get(required(item, "role", where))
    if role is None:
        raise wrong(f"{where}.role", f"one of {', '.join(_ROLES)}")
    given = required(item, "content", where)
    if isinstance(given, str):
        return role, (Text(given),)
    return role, tuple(_part(part, f"{where}.content[{number}]") for number, part in enumerate(given))


def _part(part: Mapping[str, Any], where: str) -> Block:
    match part["type"]:
        case "input_image":
            return _image(required(part, "image_url", where), part)
        case "refusal":
            return Text(required(part, "refusal", where))
        case _:
            return Text(required(part, "text", where))


def _image(url: str, part: Mapping[str, Any]) -> Image:
    head, comma, data = url.partition(",")
    if not (head.startswith("data:") and head.endswith(";base64") and comma):
        return Image(url=url, detail=part.get("detail"))
    media_type = head.removeprefix("data:").removesuffix(";base64")
    return Image(data=data, media_type=media_type, detail=part.get("detail"))


def _reasoning(item: Mapping[str, Any], where: str) -> tuple[Role, tuple[Block, ...]]:
    told = item.get("content") or item.get("summary") or ()
    text = "\n\n".join(required(part, "text", where) for part in told)
    return "assistant", ((Reasoning(text),) if text else ())


def _call(item: Mapping[str, Any], where: str) -> tuple[Role, tuple[Block, ...]]:
    identity, name, arguments = (required(item, field, where) for field in ("call_id", "name", "arguments"))
    return "assistant", (ToolCall(identity, name, arguments),)


def _output(item: Mapping[str, Any], where: str) -> tuple[Role, tuple[Block, ...]]:
    output = required(item, "output", where)
    text = output if isinstance(output, str) else "".join(required(part, "text", where) for part in output)
    return "tool", (ToolResult(required(item, "call_id", where), text),)


_READ = {"message": _message, "reasoning": _reasoning, "function_call": _call, "function_call_output": _output}


def _joined(found: list[tuple[Role, tuple[Block, ...]]]) -> tuple[Message, ...]:
    """Return the messages: what the assistant did is one turn, and so are the results of its calls."""
    turns: list[tuple[Role, tuple[Block, ...]]] = []
    for role, blocks in found:
        if turns and turns[-1][0] == role and role in {"assistant", "tool"}:
            turns[-1] = (role, turns[-1][1] + blocks)
        else:
            turns.append((role, blocks))
    return tuple(Message(role, blocks) for role, blocks in turns)
