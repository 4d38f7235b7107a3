"""The OpenAI chat-completions dialect: what a client asks. Pure. How it is answered stands in `_written_openai.py`.

Source of the fields: platform.openai.com/docs/api-reference/chat/create, as of the SDK `openai` 3.52. Of messages:
`reasoning_content`, api-docs.deepseek.com/guides/thinking_mode; `reasoning` and `reasoning_details`, openrouter.ai/
docs/use-cases/reasoning-tokens; `extra_content`, ai.google.dev/gemini-api/docs/thought-signatures.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, final

from ._inward import Asked, DialectName, UnreadableError
from ._inward_fields import (
    ANYTHING,
    BOOL,
    LIST,
    OBJECT,
    TEXT,
    Gathering,
    Rules,
    cannot,
    check_head,
    check_messages,
    each,
    effort,
    labels,
    left_out,
    name_rule,
    one_of,
    parameter,
    required,
    settle_tools,
    shape,
    shown,
    take,
    tool,
    unless,
    wrong,
)
from ._inward_parts import Form, content, detail, listed, messages_in, nested
from ._inward_refused import check_refused
from ._request import Neutral, Response, Tool
from ._written_errors import openai_error
from ._written_openai import OpenAIWriting, whole

_CACHED: Rules = {"cache_control": left_out, "prompt_cache_breakpoint": left_out}

_TEXT_PARTS: Mapping[str, Rules] = {"text": {"type": TEXT, "text": TEXT, "annotations": left_out, **_CACHED}}

_PARTS: Mapping[str, Rules] = {
    **_TEXT_PARTS,
    "refusal": {"type": TEXT, "refusal": TEXT},
    "image_url": {"type": TEXT, "image_url": nested({"url": name_rule, "detail": detail}), **_CACHED},
}

_FUNCTION: Rules = {"name": name_rule, "arguments": TEXT}

_CALL: Rules = {
    "id": name_rule,
    "type": one_of("function"),
    "function": nested(_FUNCTION),
    "extra_content": OBJECT,
    "index": left_out,  # of whoever puts a stream together and sends it back as it came
}


_FORM = Form(
    frozenset({"system", "developer", "user", "assistant", "tool", "function"}),
    {
        "role": TEXT,
        "content": content(_PARTS),
        "refusal": TEXT,
        "tool_calls": listed(_CALL),
        "tool_call_id": name_rule,
        "function_call": nested(_FUNCTION),
        "reasoning_content": TEXT,
        "reasoning": TEXT,
        "reasoning_details": LIST,
        "name": left_out,
        "annotations": left_out,
        "audio": cannot,
        **_CACHED,
    },
    _PARTS,
)


def _response_format(gathering: Gathering, where: str, value: Any) -> None:
    OBJECT(gathering, where, value)
    kind = required(value, "type", where)
    one_of("text", "json_object", "json_schema")(gathering, f"{where}.type", kind)
    if kind == "json_object":
        gathering.parameters["json_mode"] = True
    elif kind == "json_schema":
        _json_schema(gathering, f"{where}.json_schema", required(value, "json_schema", where))


def _json_schema(gathering: Gathering, where: str, value: Any) -> None:
    OBJECT(gathering, where, value)
    take(gathering, value, _SCHEMA, where)
    name = required(value, "name", where)
    if value.get("schema") is None:
        gathering.cannot(where, "without a schema")
    else:
        shape(gathering, f"{where}.schema", name, value["schema"])


_SCHEMA: Rules = {"name": name_rule, "description": left_out, "schema": OBJECT, "strict": left_out}

_STREAM_OPTIONS: Rules = {"include_usage": BOOL, "include_obfuscation": left_out}

_FIELDS: Rules = {
    "model": TEXT,
    "messages": ANYTHING,
    "stream": BOOL,
    "stream_options": nested(_STREAM_OPTIONS),
    "max_tokens": parameter("max_tokens"),
    "max_completion_tokens": parameter("max_tokens"),
    "temperature": parameter("temperature"),
    "top_p": parameter("top_p"),
    "frequency_penalty": parameter("frequency_penalty"),
    "presence_penalty": parameter("presence_penalty"),
    "seed": parameter("seed"),
    "stop": parameter("stop"),
    "reasoning_effort": effort,
    "response_format": _response_format,
    "tools": ANYTHING,
    "tool_choice": ANYTHING,
    "parallel_tool_calls": BOOL,
    "metadata": labels,
    "prediction": left_out,  # makes an answer faster, not another one
    "prompt_cache_key": left_out,
    "prompt_cache_options": left_out,
    "prompt_cache_retention": left_out,
    "safety_identifier": left_out,
    "service_tier": left_out,
    "store": left_out,
    "user": left_out,
    "verbosity": left_out,
    "n": unless(1),
    "logprobs": unless(False),
    "top_logprobs": unless(0),
    "logit_bias": unless({}),
    "modalities": unless(["text"]),
    "audio": cannot,
    "moderation": cannot,
    "web_search_options": cannot,
    "functions": unless([]),  # the older form of tools: what is asked in it is answered in it
    "function_call": cannot,
}

_TOOL: Rules = {"type": TEXT, "function": OBJECT, "cache_control": left_out}

_DEFINITION: Rules = {"name": name_rule, "description": TEXT, "parameters": OBJECT, "strict": left_out}


def _tools(gathering: Gathering, value: Any) -> list[Tool] | None:
    """Return the tools; None where one of them has no equal on another wire."""
    found: list[Tool] = []
    before = len(gathering.untold)
    for where, given in each([] if value is None else value, "tools"):
        kind = required(given, "type", where)
        one_of("function")(gathering, f"{where}.type", kind)
        if kind == "function":
            take(gathering, given, _TOOL, where)
            definition = required(given, "function", where)
            take(gathering, definition, _DEFINITION, f"{where}.function")
            name, description, schema = map(definition.get, ("name", "description", "parameters"))
            found.append(tool(f"{where}.function", name, description, schema))
    return found if len(gathering.untold) == before else None


def _choice(gathering: Gathering, value: Any, tools: list[Tool] | None) -> tuple[list[Tool] | None, str | None]:
    """Return the tools that may be called, and the choice among them."""
    if value is None or isinstance(value, str):
        if value is not None:
            one_of(*_WORDS)(gathering, "tool_choice", value)
        return tools, value if value in _WORDS else None
    OBJECT(gathering, "tool_choice", value)
    kind = required(value, "type", "tool_choice")
    one_of("function", "allowed_tools")(gathering, "tool_choice.type", kind)
    if kind == "function":
        function = required(value, "function", "tool_choice")
        return tools, chosen(gathering, function, "tool_choice.function")
    if kind == "allowed_tools":
        inner = required(value, "allowed_tools", "tool_choice")
        OBJECT(gathering, "tool_choice.allowed_tools", inner)
        return allowed(gathering, inner, "tool_choice.allowed_tools", tools, within="function")
    return tools, None


def chosen(gathering: Gathering, value: Any, where: str) -> str:
    """Return the name of the tool that has to be called; one that is also a word cannot be said to another wire.

    Raises:
        UnreadableError: It is none.
    """
    name = required(value, "name", where) if isinstance(value, dict) else None
    if not isinstance(name, str) or not name:
        raise wrong(f"{where}.name", "the name of a tool")
    if name in _WORDS:
        gathering.cannot(f"{where}.name", name)
    return name


_WORDS = frozenset({"auto", "none", "required"})


def allowed(
    gathering: Gathering, value: Mapping[str, Any], where: str, tools: list[Tool] | None, *, within: str = ""
) -> tuple[list[Tool] | None, str | None]:
    """Return the tools that may be called, and whether one must be: the others are as if they were not there.

    Args:
        within: The field of each allowed tool that holds its name, if it is not the tool itself.

    Raises:
        UnreadableError: One of them is no tool of the request.
    """
    mode = required(value, "mode", where)
    one_of("auto", "required")(gathering, f"{where}.mode", mode)
    names: list[str] = []
    for place, given in each(required(value, "tools", where), f"{where}.tools"):
        if given.get("type") != "function":
            gathering.cannot(place, given.get("type"))
            return None, None
        names.append(
            chosen(gathering, given.get(within) if within else given, f"{place}.{within}" if within else place)
        )
    if tools is None or mode not in {"auto", "required"}:
        return None, None
    if unknown := set(names) - {tool.name for tool in tools}:
        raise UnreadableError(f"{where}.tools names {shown(min(unknown))}, which is not among tools", where)
    return [tool for tool in tools if tool.name in names], mode


def _neutral(body: Mapping[str, Any]) -> Neutral:
    gathering = Gathering()
    messages = messages_in(body, _FORM, gathering)
    take(gathering, body, _FIELDS)
    if body.get("max_completion_tokens") is not None:  # the newer name of the two
        gathering.parameters["max_tokens"] = body["max_completion_tokens"]
    tools, choice = _choice(gathering, body.get("tool_choice"), _tools(gathering, body.get("tools")))
    settle_tools(gathering, tools, choice, body.get("parallel_tool_calls"))
    return gathering.neutral(messages)


@final
class OpenAIDialect:
    """See `Dialect`."""

    name: DialectName = "openai"

    def read(self, body: Mapping[str, Any]) -> Asked:
        """Return what is asked; see `Dialect.read`."""
        check_head(body)
        check_refused(body)
        check_messages(body)
        options = body.get("stream_options")
        wants_usage = isinstance(options, dict) and bool(options.get("include_usage"))
        return Asked(body, partial(_neutral, body), wants_usage=wants_usage)

    def write(self, response: Response, asked: Asked, *, name: str, created: int) -> bytes:
        """Return a whole answer; see `Dialect.write`."""
        return whole(response, asked, name=name, created=created)

    def writing(self, asked: Asked, *, name: str, created: int, model: str = "") -> OpenAIWriting:
        """Return what writes a streamed answer."""
        return OpenAIWriting(asked, name=name, created=created, model=model)

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
        return openai_error(status, said, kind=kind, code=code, param=param)


OPENAI = OpenAIDialect()
