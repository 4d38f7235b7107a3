"""The Anthropic messages dialect: what a client asks. Pure. How it is answered stands in `_written_anthropic.py`.

Thinking that another model did is written with an empty signature, because the field must be there. When it comes back
it is nobody's: it is left out of the body too, for to Anthropic an empty signature is a false one. What else of another
model's turn Anthropic refuses is mended there as well, as it is where a conversation is told in neutral form.

Source of the fields: platform.claude.com/docs/en/api/messages, as of the SDK `anthropic` 2.11 and its beta.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from operator import is_
from typing import Any, final

from ._inward import Asked, DialectName, UnreadableError
from ._inward_fields import (
    ANYTHING,
    BOOL,
    LIST,
    OBJECT,
    TEXT,
    Gathering,
    Rule,
    Rules,
    cannot,
    check_head,
    check_messages,
    each,
    effort,
    is_count,
    left_out,
    name_rule,
    one_of,
    parameter,
    required,
    settle_tools,
    shape,
    take,
    tool,
    unless,
    wrong,
)
from ._inward_openai import chosen
from ._inward_parts import Form, content, messages_in, nested
from ._inward_refused import check_refused
from ._messages import Block, Message, Reasoning, Text
from ._request import Neutral, Response, Tool
from ._turns_anthropic import goes_on_unthinking, with_legal_ids
from ._written_anthropic import AnthropicWriting, whole
from ._written_errors import anthropic_error


def _cache_control(gathering: Gathering, where: str, value: Any) -> None:
    """Take note that something is to be cached. Where exactly is left out: another wire has its own places."""
    gathering.leave_out(where)
    gathering.parameters["cache_policy"] = "auto"


_CACHED: Rules = {"type": TEXT, "cache_control": _cache_control}

_TEXT_PARTS: Mapping[str, Rules] = {"text": {**_CACHED, "text": TEXT, "citations": left_out}}


_SOURCE: Rules = {"type": TEXT, "url": name_rule, "data": name_rule, "media_type": name_rule, "file_id": TEXT}


def _source(gathering: Gathering, where: str, value: Any) -> None:
    OBJECT(gathering, where, value)
    kind = required(value, "type", where)
    one_of("base64", "url")(gathering, f"{where}.type", kind)
    take(gathering, value, _SOURCE, where)


_DIRECT: Rule = unless({"type": "direct"})

_PARTS: Mapping[str, Rules] = {
    **_TEXT_PARTS,
    "image": {**_CACHED, "source": _source, "transformations": cannot},
    "tool_use": {
        **_CACHED,
        "id": name_rule,
        "name": name_rule,
        "input": OBJECT,
        "caller": _DIRECT,
        "toolset_name": cannot,
    },
    "tool_result": {
        **_CACHED,
        "tool_use_id": name_rule,
        "content": content(_TEXT_PARTS),
        "is_error": BOOL,
        "toolset_name": cannot,
    },
    "thinking": {"type": TEXT, "thinking": TEXT, "signature": TEXT},
    "redacted_thinking": {"type": TEXT, "data": TEXT},
}

_FORM = Form(frozenset({"user", "assistant", "system"}), {"role": TEXT, "content": content(_PARTS)}, _PARTS)


def _max_tokens(gathering: Gathering, where: str, value: Any) -> None:
    if value == 0 and is_count(value):  # fills the cache, and asks for no answer
        gathering.cannot(where, 0)
    else:
        parameter("max_tokens")(gathering, where, value)


def _thinking(gathering: Gathering, where: str, value: Any) -> None:
    OBJECT(gathering, where, value)
    kind = required(value, "type", where)
    one_of("enabled", "adaptive", "disabled", "between_tools")(gathering, f"{where}.type", kind)
    take(gathering, value, _THINKING, where)
    match kind:
        case "enabled":
            budget = required(value, "budget_tokens", where)
            parameter("thinking_budget_tokens")(gathering, f"{where}.budget_tokens", budget)
        case "adaptive":
            gathering.parameters.setdefault("reasoning_effort", "high")
        case "disabled" | "between_tools":
            gathering.parameters["reasoning_effort"] = "none"


_THINKING: Rules = {"type": TEXT, "budget_tokens": ANYTHING, "display": left_out}


def _format(gathering: Gathering, where: str, value: Any) -> None:
    OBJECT(gathering, where, value)
    kind = required(value, "type", where)
    one_of("json_schema")(gathering, f"{where}.type", kind)
    take(gathering, value, {"type": TEXT, "schema": OBJECT}, where)
    if kind == "json_schema":
        shape(gathering, f"{where}.schema", "answer", required(value, "schema", where))


_NO_THREAD = "thread is not supported: nothing is kept between requests; send the whole conversation as messages"
"""A conversation that one provider keeps: whoever it is handed to would know but its last message."""

_FIELDS: Rules = {
    "model": TEXT,
    "messages": ANYTHING,
    "system": ANYTHING,
    "stream": BOOL,
    "max_tokens": _max_tokens,
    "temperature": parameter("temperature"),
    "top_p": parameter("top_p"),
    "top_k": parameter("top_k"),
    "stop_sequences": LIST,
    "output_config": nested({"effort": effort, "format": _format}),
    "output_format": _format,  # the beta's, before it went into `output_config`
    "thinking": ANYTHING,
    "tools": ANYTHING,
    "tool_choice": ANYTHING,
    "cache_control": _cache_control,
    "context_management": left_out,  # takes old results and thinking out of what the model is shown
    "diagnostics": left_out,
    "metadata": left_out,
    "service_tier": left_out,
    "speed": left_out,
    "user_profile_id": left_out,
    "container": cannot,
    "inference_geo": cannot,  # where data may be processed is a promise that nobody else has made
    "compaction": cannot,
}

_TOOL: Rules = {
    **_CACHED,
    "name": name_rule,
    "description": TEXT,
    "input_schema": OBJECT,
    "strict": left_out,
    "eager_input_streaming": left_out,
    "input_examples": left_out,
    "defer_loading": unless(False),
    "allowed_callers": unless([], ["direct"]),
}


def _tools(gathering: Gathering, value: Any) -> list[Tool] | None:
    """Return the tools; None where one of them has no equal on another wire."""
    found: list[Tool] = []
    before = len(gathering.untold)
    for where, given in each([] if value is None else value, "tools"):
        kind = given.get("type")
        if kind not in (None, "custom"):
            gathering.cannot(where, kind)
            continue
        take(gathering, given, _TOOL, where)
        schema = required(given, "input_schema", where)
        found.append(tool(where, given.get("name"), given.get("description"), schema))
    return found if len(gathering.untold) == before else None


_CHOICES = {"auto": "auto", "any": "required", "none": "none"}

_CHOICE: Rules = {"type": TEXT, "name": name_rule, "disable_parallel_tool_use": BOOL}


def _choice(gathering: Gathering, value: Any) -> tuple[str | None, bool | None]:
    """Return the choice among the tools, and whether several may be called at once."""
    if value is None:
        return None, None
    OBJECT(gathering, "tool_choice", value)
    take(gathering, value, _CHOICE, "tool_choice")
    kind, single = required(value, "type", "tool_choice"), value.get("disable_parallel_tool_use")
    one_of(*_CHOICES, "tool")(gathering, "tool_choice.type", kind)
    parallel = None if single is None else not single
    if kind == "tool":
        return chosen(gathering, value, "tool_choice"), parallel
    return _CHOICES.get(kind), parallel


def _system(gathering: Gathering, value: Any) -> tuple[Message, ...]:
    """Return the instructions as one message: blocks are paragraphs, as everywhere."""
    if value is None:
        return ()
    before = len(gathering.untold)
    content(_TEXT_PARTS)(gathering, "system", value)
    if len(gathering.untold) > before:
        return ()
    parts = [value] if isinstance(value, str) else [required(p, "text", where) for where, p in each(value, "system")]
    said = "\n\n".join(part for part in parts if part.strip())
    return (Message("system", (Text(said),)),) if said else ()


def _is_sound(message: Mapping[str, Any]) -> bool:
    """Say whether a message has a role, and a content of which each part has a kind."""
    content = message.get("content")
    if isinstance(content, list):
        return isinstance(message.get("role"), str) and all(
            isinstance(part, dict) and isinstance(part.get("type"), str) for part in content
        )
    return isinstance(message.get("role"), str) and (content is None or isinstance(content, str))


def _unsigned(part: object) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "thinking" and not part.get("signature")


def _relayed(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the body as Anthropic takes it where another model has answered in between: without thinking that nobody
    signed, and without messages that were nothing else; with ids of tool calls that it allows; and without a budget for
    thinking within a turn that began without.
    """
    messages: list[Mapping[str, Any]] = body["messages"]
    kept: list[Mapping[str, Any]] = []
    for message in messages:
        parts = message.get("content")
        if not isinstance(parts, list):
            kept.append(message)
            continue
        rest = [with_legal_ids(part) for part in parts if not _unsigned(part)]
        if len(rest) == len(parts) and all(map(is_, rest, parts)):
            kept.append(message)
        elif rest:
            kept.append({**message, "content": rest})
    if len(kept) < len(messages) or not all(map(is_, kept, messages)):
        body = {**body, "messages": kept or messages}
    thinking = body.get("thinking")
    if isinstance(thinking, Mapping) and thinking.get("type") == "enabled" and goes_on_unthinking(body["messages"]):
        body = {name: value for name, value in body.items() if name != "thinking"}
    return body


def _own(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return the messages with thinking that nobody signed as nobody's."""
    if not any(isinstance(block, Reasoning) for message in messages for block in message.blocks):
        return messages
    return tuple(Message(message.role, tuple(map(_unissued, message.blocks))) for message in messages)


def _unissued(block: Block) -> Block:
    if isinstance(block, Reasoning) and not block.signature and block.redacted is None:
        return Reasoning(block.text)
    return block


def _neutral(body: Mapping[str, Any]) -> Neutral:
    gathering = Gathering()
    messages = messages_in(body, _FORM, gathering)
    messages = (*_system(gathering, body.get("system")), *_own(messages)) if messages else ()
    take(gathering, body, _FIELDS)
    if body.get("thinking") is not None:  # whether to think goes before how hard
        _thinking(gathering, "thinking", body["thinking"])
    if stops := body.get("stop_sequences"):
        parameter("stop")(gathering, "stop_sequences", stops)
    choice, parallel = _choice(gathering, body.get("tool_choice"))
    settle_tools(gathering, _tools(gathering, body.get("tools")), choice, parallel)
    return gathering.neutral(messages, tools="tool_choice")


@final
class AnthropicDialect:
    """See `Dialect`."""

    name: DialectName = "anthropic"

    def read(self, body: Mapping[str, Any]) -> Asked:
        """Return what is asked; see `Dialect.read`."""
        check_head(body)
        check_refused(body)
        if body.get("thread") is not None:
            raise UnreadableError(_NO_THREAD, "thread")
        required(body, "max_tokens")
        check_messages(body)
        if not all(map(_is_sound, body["messages"])):
            _neutral(body)  # says where
            raise wrong("messages", "a list of messages")
        return Asked(_relayed(body), partial(_neutral, body), wants_usage=True)

    def write(self, response: Response, asked: Asked, *, name: str, created: int) -> bytes:
        """Return a whole answer; see `Dialect.write`."""
        return whole(response, asked, name=name)

    def writing(self, asked: Asked, *, name: str, created: int, model: str = "") -> AnthropicWriting:
        """Return what writes a streamed answer."""
        return AnthropicWriting(asked, name=name, model=model)

    def error(
        self,
        status: int,
        said: str,
        *,
        kind: str = "",
        code: str | None = None,
        param: str | None = None,
        name: str = "",
    ) -> bytes:
        """Return the JSON of an error."""
        return anthropic_error(status, said, kind=kind, param=param, name=name)


ANTHROPIC = AnthropicDialect()
