"""The Anthropic messages wire: neutral types to JSON and back. Pure.

Source of the shapes and limits: platform.claude.com/docs/en/api/messages. How a model is told to think stands in
`_claude.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._claude import Claude, claude_of, forcing, room, thinking
from ._json import encode
from ._messages import Block, Reasoning, Text, ToolCall
from ._request import FinishReason, Parameters, Request, Response, Tool, Usage, tools_of
from ._shape import Told, Ways, anthropic_format, told
from ._turns_anthropic import Turn, instructions_of, mark, may_think, plain, turns_of
from ._verdicts import Verdict
from ._wire import Rendered, WireError, json_object, stops, whole

DEFAULT_MAX_TOKENS = 4096
"""This wire insists on a limit; every Claude model takes this one. Thinking comes on top."""

_INEXPRESSIBLE = (
    *("temperature", "top_p", "top_k"),
    *("frequency_penalty", "presence_penalty", "seed", "json_mode"),
)
"""The first three were taken out of the API with its version 2026-10-21, which the SDK speaks: sent at all, even at
their defaults, they are a 400. The others have never been in it."""

_THINKING = ("reasoning_effort", "thinking_budget_tokens")

_TOOL_CHOICE = {"auto": "auto", "none": "none", "required": "any"}


def render(request: Request, *, issuer: str = "anthropic") -> Rendered:
    """Return the body of `POST /v1/messages` for `request`.

    Args:
        issuer: Whose thinking the server can read.

    Raises:
        ValueError: A message holds what this wire has no place for, or the last one is the assistant's, and the model
            does not continue it; says so.
    """
    claude = claude_of(request.model)
    shaped = _told(request, claude) if "shape" in request.parameters else None
    request = request if shaped is None else shaped.request
    parameters, turns = request.parameters, _turns(request, claude, issuer)
    body: dict[str, Any] = {
        "model": request.model,
        "max_tokens": _max_tokens(claude, parameters),
        "messages": turns,
    }
    if instructions := instructions_of(request.messages):
        body["system"] = instructions
    if not parameters and shaped is None:
        plain(turns)
        return Rendered(body, ())
    dropped = [name for name in _INEXPRESSIBLE if parameters.get(name, False) is not False]
    thought, left_out = thinking(claude, parameters, body["max_tokens"])
    if thought.get("thinking", {}).get("type") == "enabled" and not may_think(turns):
        thought, left_out = {}, [name for name in _THINKING if name in parameters]
    body.update(thought)
    dropped += left_out
    if shaped is not None:
        dropped += shaped.dropped
        if shaped.format is not None:
            body["output_config"] = {**body.get("output_config", {}), "format": shaped.format}
    if sequences := [sequence for sequence in stops(parameters) if sequence.strip()]:
        body["stop_sequences"] = sequences
    if len(sequences) < len(stops(parameters)):
        dropped.append("stop")
    dropped += _render_tools(body, parameters, unthinking=forcing(claude, thought))
    if parameters.get("cache_policy") == "auto":
        mark(body)
    plain(turns)
    body.update(parameters.get("extra_body", {}))
    return Rendered(body, tuple(sorted(dropped)))


def _turns(request: Request, claude: Claude, issuer: str) -> list[Turn]:
    """Return the turns; models that know efforts continue no answer, and bind thinking to what stood before it.

    Source: platform.claude.com/docs/en/api/errors, "Prefill not supported"; …/build-with-claude/preserved-thinking.
    """
    turns = turns_of(request.messages, issuer, bound=bool(claude.efforts))
    if claude.efforts and turns[-1]["role"] == "assistant":
        raise ValueError("this model does not continue an assistant message: let the last message be the user's")
    return turns


def _max_tokens(claude: Claude, parameters: Parameters) -> int:
    return parameters.get("max_tokens", DEFAULT_MAX_TOKENS + room(claude, parameters))


def _told(request: Request, claude: Claude) -> Told:
    """Say the shape of the answer in a way that the model knows; one that thinks cannot be forced to a tool."""
    thought, _ = thinking(claude, request.parameters, _max_tokens(claude, request.parameters))
    forces = forcing(claude, thought) is not None
    return told(request, Ways(claude.modes, anthropic_format, forces=forces, json_mode=False))


def _render_tools(body: dict[str, Any], parameters: Parameters, *, unthinking: dict[str, Any] | None) -> list[str]:
    """Say the tools and the choice; `unthinking` has to be said where one is forced, None means none can be."""
    tools = tools_of(parameters)
    if not tools:
        return []
    body["tools"] = [_tool(tool) for tool in tools]
    choice, parallel = parameters.get("tool_choice"), parameters.get("parallel_tool_calls")
    if choice is None and parallel is None:
        return []
    wanted = choice or "auto"
    dropped: list[str] = []
    if wanted not in {"auto", "none"}:
        if unthinking is None:
            wanted, dropped = "auto", ["tool_choice"]
        else:
            body.update(unthinking)
    chosen: dict[str, Any] = {"type": _TOOL_CHOICE.get(wanted, "tool")}
    if chosen["type"] == "tool":
        chosen["name"] = wanted
    if parallel is not None and wanted != "none":
        chosen["disable_parallel_tool_use"] = not parallel
    body["tool_choice"] = chosen
    return dropped


def _tool(tool: Tool) -> dict[str, Any]:
    rendered: dict[str, Any] = {"name": tool.name, "input_schema": dict(tool.parameters)}
    if tool.description:
        rendered["description"] = tool.description
    return rendered


_FINISH: dict[object, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
}


def read(body: bytes, content_type: str, transport: str) -> Response:
    """Return the answer in the body of a 200.

    Raises:
        WireError: It is no answer: not JSON, no content, or an empty one.
    """
    return conclude(json_object(body, content_type), transport)


def conclude(answer: Mapping[str, Any], transport: str) -> Response:
    """Return the answer that a whole one says, or one that was put together from a stream.

    Raises:
        WireError: It is no answer: no content, or an empty one.
    """
    try:
        content = answer["content"]
        if not isinstance(content, list):
            raise TypeError("content is a list")
        blocks = tuple(block for part in content if (block := read_block(part, transport)) is not None)
        finish = _FINISH.get(answer.get("stop_reason"), "other")
    except (KeyError, TypeError, AttributeError, ValueError):
        raise WireError(Verdict.MALFORMED, "the answer has no content that can be read") from None
    said = any((isinstance(b, Text) and b.text) or isinstance(b, ToolCall) for b in blocks)
    model = answer.get("model")
    model = model if isinstance(model, str) else ""
    response = Response(blocks, model, transport, finish, read_usage(answer.get("usage")))
    if not said and finish in {"stop", "tool_calls", "other"}:
        is_foreign = any(part.get("type") not in KNOWN for part in content)
        says = "the answer is finished, but has no text and no tool call"
        raise WireError(Verdict.EMPTY, says, response if is_foreign else None)
    return response


KNOWN = frozenset({"text", "thinking", "redacted_thinking", "tool_use"})
"""The kinds of block that have a neutral form."""


def read_block(part: Mapping[str, Any], transport: str) -> Block | None:
    """Return one block; None for kinds that a neutral message does not hold (server tools and the like)."""
    match part.get("type"):
        case "text":
            return Text(_string(part["text"]), transport)
        case "thinking":
            signature = _string(part.get("signature") or "") or None
            return Reasoning(_string(part["thinking"]), signature=signature, issuer=transport)
        case "redacted_thinking":
            return Reasoning("", redacted=_string(part["data"]), issuer=transport)
        case "tool_use":
            arguments = read_input(part.get("input"))
            return ToolCall(_string(part["id"]), _string(part["name"]), arguments, transport)
        case _:
            return None


def read_input(value: object) -> str:
    """Return a tool call's input as JSON text; a text is one already.

    Raises:
        ValueError: It is nested too deeply.
    """
    return value if isinstance(value, str) and value else encode(value or {}).decode()


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value


def read_usage(usage: object) -> Usage:
    """Return the tokens that an answer, or what has come of one, tells of."""
    if not isinstance(usage, dict):
        return Usage()
    plain = whole(usage.get("input_tokens"))
    read_tokens = whole(usage.get("cache_read_input_tokens"))
    written = whole(usage.get("cache_creation_input_tokens"))
    total = None if plain is None else plain + (read_tokens or 0) + (written or 0)
    details = usage.get("output_tokens_details")
    thought = whole(details.get("thinking_tokens")) if isinstance(details, dict) else None
    return Usage(total, whole(usage.get("output_tokens")), read_tokens, written, thought)
