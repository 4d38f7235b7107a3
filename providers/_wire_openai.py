"""The OpenAI chat-completions wire: neutral types to JSON and back. Pure.

Servers that speak this wire differ in small ways, which a `Dialect` holds as data. Source of the shapes:
platform.openai.com/docs/api-reference/chat; ai.google.dev/gemini-api/docs/openai; lmstudio.ai/docs/api.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

from ._json import encode
from ._messages import Block, Reasoning, Text, ToolCall
from ._request import (
    EFFORTS,
    Effort,
    FinishReason,
    Parameters,
    Request,
    Response,
    StructuredOutputMode,
    Tool,
    Usage,
    tools_of,
)
from ._shape import Told, Ways, openai_format, told
from ._subset import OPENAI, Subset
from ._turns_openai import REASONING, Memory, messages_of
from ._verdicts import Verdict
from ._wire import Rendered, WireError, effort_for, json_object, nearest, stops, whole


@final
@dataclass(frozen=True, slots=True)
class Dialect:
    """How one server's chat completions differ, or one line of its models.

    `token_limit` names its output limit; `unsupported` are parameters it would refuse or silently ignore. `efforts`
    are the levels of thinking it knows, rising; without any it cannot be told. With `budgets` it takes Gemini's
    thinking budget. `tools_unthinking` and `sampling_unthinking` say that tools, and temperature and top_p, go only
    with the effort `none`; the latter holds for models that make no effort unless told. `tool_by_name` is False where
    a choice must be a word. `most_stops` are the stop sequences it takes; `memory` says how it takes a conversation.

    `modes` are the ways to an answer in a shape that it knows, the best first; `subset` is what it enforces of a
    schema. With `format_or_tools` it takes a format of the answer or tools, but not both.
    """

    token_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    unsupported: frozenset[str] = frozenset()
    efforts: tuple[Effort, ...] = EFFORTS
    budgets: bool = False
    tools_unthinking: bool = False
    sampling_unthinking: bool = False
    tool_by_name: bool = True
    most_stops: int | None = None
    memory: Memory = Memory()  # noqa: RUF009 - frozen
    modes: tuple[StructuredOutputMode, ...] = ("json_object", "json_schema", "tool")
    subset: Subset = OPENAI
    format_or_tools: bool = False


_PASSED = ("temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty", "seed")

_SAMPLING = frozenset({"temperature", "top_p"})

_NEUTRAL: dict[str, object] = {
    "temperature": 1,
    "top_p": 1,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "json_mode": False,
}
"""Values that ask for nothing but what happens anyway: nothing is lost where they are not sent."""


def render(request: Request, dialect: Dialect, *, issuer: str = "") -> Rendered:
    """Return the body of `POST /chat/completions` for `request`.

    Args:
        issuer: Whose reasoning and details the server can read.

    Raises:
        ValueError: A message holds what this wire has no place for; names it.
    """
    shaped = _told(request, dialect) if "shape" in request.parameters else None
    request = request if shaped is None else shaped.request
    parameters = request.parameters
    messages = messages_of(request.messages, dialect.memory, issuer=issuer)
    body: dict[str, Any] = {"model": request.model, "messages": messages}
    if not parameters and shaped is None:
        return Rendered(body, ())
    refused = dialect.unsupported
    _render_tools(body, parameters, dialect)
    dropped = _render_thinking(body, parameters, dialect)
    if dialect.sampling_unthinking and body.get("reasoning_effort", "none") != "none":
        refused |= _SAMPLING
    for name in _PASSED:
        if name in parameters and name not in refused:
            body[name] = parameters[name]  # type: ignore[literal-required]
    if "max_tokens" in parameters:
        body[dialect.token_limit] = parameters["max_tokens"]
    if "stop" not in refused and (sequences := stops(parameters)):
        body["stop"] = sequences[: dialect.most_stops]
        dropped += ["stop"] if len(body["stop"]) < len(sequences) else []
    if "json_mode" not in refused and parameters.get("json_mode"):
        body["response_format"] = {"type": "json_object"}
    if shaped is not None:
        dropped += shaped.dropped
        if shaped.format is not None:
            body["response_format"] = shaped.format
    dropped += [name for name in refused if _is_lost(name, parameters)]
    body.update(parameters.get("extra_body", {}))
    return Rendered(body, tuple(sorted(dropped)))


def _told(request: Request, dialect: Dialect) -> Told:
    """Say the shape of the answer in a way that the dialect knows."""
    ways = Ways(
        dialect.modes,
        lambda shape: openai_format(shape, dialect.subset),
        json_mode="json_mode" not in dialect.unsupported,
        format_or_tools=dialect.format_or_tools,
    )
    return told(request, ways)


def _is_lost(name: str, parameters: Parameters) -> bool:
    """Say whether something is asked for by this parameter, so that its absence is worth a word."""
    if name == "stop":
        return bool(stops(parameters))
    return name in parameters and parameters[name] != _NEUTRAL.get(name)  # type: ignore[literal-required]


def _render_tools(body: dict[str, Any], parameters: Parameters, dialect: Dialect) -> None:
    tools = tools_of(parameters)
    if not tools:
        return
    choice = parameters.get("tool_choice")
    if choice is not None:
        named = choice not in {"auto", "none", "required"}
        if named and not dialect.tool_by_name:  # offered alone, and required, it is chosen all the same
            tools, named, choice = [tool for tool in tools if tool.name == choice] or tools, False, "required"
        body["tool_choice"] = {"type": "function", "function": {"name": choice}} if named else choice
    body["tools"] = [_tool(tool) for tool in tools]
    if "parallel_tool_calls" in parameters and "parallel_tool_calls" not in dialect.unsupported:
        body["parallel_tool_calls"] = parameters["parallel_tool_calls"]


def _tool(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}


def _render_thinking(body: dict[str, Any], parameters: Parameters, dialect: Dialect) -> list[str]:
    """Say how hard to think in the dialect's way; return the names of what it cannot say."""
    effort, budget = parameters.get("reasoning_effort"), parameters.get("thinking_budget_tokens")
    asked: list[str] = [name for name in ("reasoning_effort", "thinking_budget_tokens") if name in parameters]
    wanted = effort if effort is not None else effort_for(budget or 0)
    if dialect.tools_unthinking and "tools" in body:
        body["reasoning_effort"] = "none"
        return asked if wanted != "none" else []
    if not asked or not dialect.efforts:
        return asked
    if dialect.budgets and budget is not None and (budget or "none" in dialect.efforts):
        body["extra_body"] = {"google": {"thinking_config": {"thinking_budget": budget}}}
        return asked[:-1]
    body["reasoning_effort"] = nearest(wanted, dialect.efforts)
    return asked[1:]


_FINISH: dict[object, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


def read(body: bytes, content_type: str, transport: str) -> Response:
    """Return the answer in the body of a 200.

    Raises:
        WireError: It is no answer: not JSON, no choices, or an empty one.
    """
    return conclude(json_object(body, content_type), transport)


def conclude(answer: Mapping[str, Any], transport: str) -> Response:
    """Return the answer that a whole one says, or one that was put together from a stream.

    Raises:
        WireError: It is no answer: no choices, an empty one, or one that ended with an error.
    """
    try:
        choice = answer["choices"][0]
        message, ended = choice["message"], choice.get("finish_reason")
        blocks, refused = _read_message(message, transport)
        finish = _FINISH.get(ended, "other")
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        raise WireError(Verdict.MALFORMED, "the answer has no choices[0].message that can be read") from None
    check_end(ended)
    if refused and finish == "stop":
        finish = "refusal"
    kinds = set(map(type, blocks))
    calls = ToolCall in kinds
    if calls and finish in {"stop", "other"}:  # several servers end a turn of tool calls with "stop"
        finish = "tool_calls"
    model = answer.get("model")
    model = model if isinstance(model, str) else ""
    response = Response(blocks, model, transport, finish, read_usage(answer.get("usage")))
    if not calls and Text not in kinds and finish in {"stop", "tool_calls", "other"}:
        says = "the answer is finished, but has no text and no tool call"
        raise WireError(Verdict.EMPTY, says, response if is_foreign(message) else None)
    return response


def is_foreign(message: Mapping[str, Any]) -> bool:
    """Say whether a message, or a piece of one, holds content that has no neutral form: the older form of a tool call,
    sound, pictures, or the call of a tool that takes no JSON.

    Source for `images`: openrouter.ai/docs/features/multimodal/image-generation; Vercel's AI gateway has it, too.
    """
    if message.get("function_call") or message.get("audio") or message.get("images"):
        return True
    return any(map(is_custom, message.get("tool_calls") or ()))


def is_custom(call: Mapping[str, Any]) -> bool:
    """Say whether a tool call is not that of a function."""
    return "custom" in call and not call.get("function")


def check_end(finish_reason: object) -> None:
    """Refuse an answer that ended because its model failed, as OpenRouter says it.

    Raises:
        WireError: It did; `PROVIDER`.
    """
    if finish_reason == "error":
        raise WireError(Verdict.PROVIDER, "the answer ended with an error")


def _read_message(message: Mapping[str, Any], transport: str) -> tuple[tuple[Block, ...], bool]:
    blocks: list[Block] = []
    (field, thought), fragments = read_thought(message), message.get("reasoning_details")
    details = _details(fragments) if isinstance(fragments, list) else None
    if thought or details:
        named = None if field == REASONING or not thought else field
        blocks.append(Reasoning(thought, issuer=transport, details=details, field=named))
    content, refusal = read_content(message.get("content")), message.get("refusal")
    if content:
        blocks.append(Text(content, transport))
    elif isinstance(refusal, str) and refusal:
        blocks.append(Text(refusal, transport))
    for number, call in enumerate(message.get("tool_calls") or ()):
        if not is_custom(call):
            blocks.append(_read_call(call, number, transport))
    return tuple(blocks), isinstance(refusal, str) and bool(refusal)


def read_thought(message: Mapping[str, Any]) -> tuple[str, str]:
    """Return what a message, or a piece of one, says of the model's thinking, behind the name that it has there."""
    field = REASONING if message.get(REASONING) else "reasoning"
    thought = message.get(field)
    return field, thought if isinstance(thought, str) else ""


def read_content(content: object) -> str:
    """Return the text of a message, or of a piece of one: a string, or the text among several parts.

    Raises:
        KeyError, TypeError, AttributeError: The parts are none.
    """
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part.get("type") == "text")
    return content if isinstance(content, str) else ""


def _read_call(call: Mapping[str, Any], number: int, transport: str) -> ToolCall:
    function, identity = call["function"], call.get("id")
    name, arguments = function["name"], read_arguments(function.get("arguments"))
    if not isinstance(name, str):
        raise TypeError("a tool call without a name")
    if not isinstance(identity, str) or not identity:
        identity = missing_id(number)
    return ToolCall(identity, name, arguments, transport, _details(call.get("extra_content")))


def read_arguments(arguments: object) -> str:
    """Return a tool call's arguments as the JSON text they are; some servers send the object itself.

    Raises:
        ValueError: The object is nested too deeply.
    """
    return arguments if isinstance(arguments, str) else encode(arguments or {}).decode()


def missing_id(number: int) -> str:
    """Return the id of a tool call, the `number`th from 0, to which its server gave none."""
    return f"call_{number}"


def _details(value: object) -> str | None:
    """Return as JSON what only its issuer understands: thinking, or what belongs to a tool call."""
    return encode(value).decode() if value else None


def read_usage(usage: object) -> Usage:
    """Return the tokens that an answer, or a part of one, tells of."""
    if not isinstance(usage, dict):
        return Usage()
    prompt, completion = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    read_tokens = written = thought = None
    if isinstance(prompt, dict):
        read_tokens, written = whole(prompt.get("cached_tokens")), whole(prompt.get("cache_write_tokens"))
    if isinstance(completion, dict):
        thought = whole(completion.get("reasoning_tokens"))
    tokens = whole(usage.get("prompt_tokens")), whole(usage.get("completion_tokens"))
    return Usage(*tokens, read_tokens, written, thought)
