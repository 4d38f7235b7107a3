"""Shapes: how a model is told what its answer has to be, and how the answer is found again. Pure.

    mode          what is sent                                       what comes
    json_schema   the schema in the subset that the vendor enforces  text
    tool          a tool with the schema as its arguments, forced    a tool call, which becomes the answer's text
    json_object   the schema in the instructions, and JSON mode      text

A target that lacks the mode that is asked for gets the best that it knows, and the trail says so. The request is
rewritten before its wire renders it, so that the next target of a hand-over begins from the shape again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast, final

from ._json import encode
from ._messages import Message, Text, ToolCall, system
from ._request import Parameters, Request, Response, Shape, StructuredOutputMode, Tool, tools_of
from ._schema import plain
from ._stream import ContentEvent, TextDelta, ToolCallDelta, ToolCallStarted
from ._subset import ANTHROPIC, Subset, fitted

Format: TypeAlias = Callable[[Shape], dict[str, Any] | None]
"""Returns what a wire says of a schema in its own words; None where it cannot be said."""


@final
@dataclass(frozen=True, slots=True)
class Ways:
    """What a target knows of shapes: its `modes`, the best first, and its `format` for a schema.

    `forces` says that it can be made to call a tool, `json_mode` that it has a JSON mode; with `format_or_tools` it
    has both of these only where there are no tools.
    """

    modes: Sequence[StructuredOutputMode]
    format: Format
    forces: bool = True
    json_mode: bool = True
    format_or_tools: bool = False


@final
@dataclass(frozen=True, slots=True)
class Told:
    """A request that says its shape in the target's way, the wire's words for the schema if there are any, and the
    names of the parameters that were not followed.
    """

    request: Request
    format: dict[str, Any] | None = None
    dropped: tuple[str, ...] = ()


def told(request: Request, ways: Ways) -> Told:
    """Rewrite a request with a shape for a target. The result has no `shape` any more."""
    parameters = request.parameters
    shape, asked = parameters["shape"], parameters.get("structured_output_mode")
    rest = _without(parameters, "shape", "structured_output_mode", "json_mode")
    alone = not (ways.format_or_tools and rest.get("tools"))
    mode = asked if asked in ways.modes else ways.modes[0]
    form = ways.format(shape) if mode == "json_schema" and alone else None
    if mode == "json_schema" and form is None:
        mode = "tool"
    if mode == "tool" and not ways.forces:
        mode = "json_object"
    dropped = ("structured_output_mode",) if asked is not None and mode != asked else ()
    messages = request.messages
    if mode == "tool":
        rest = _with_tool(rest, shape, answer_name(parameters))
    elif mode == "json_object":
        messages = _instructed(messages, shape)
        if ways.json_mode and alone:
            rest = {**rest, "json_mode": True}
    return Told(Request(request.model, messages, rest), form, dropped)


def _without(parameters: Parameters, *names: str) -> Parameters:
    return cast(Parameters, {name: value for name, value in parameters.items() if name not in names})


def _with_tool(parameters: Parameters, shape: Shape, name: str) -> Parameters:
    """Force the tool that takes the answer; beside the caller's tools only that some tool is called."""
    own, choice = tools_of(parameters), parameters.get("tool_choice", "auto")
    if own and choice in {"auto", "required"}:
        choice = "required"
    elif not own or choice == "none":
        choice = name
    answer = Tool(name, "Gives the answer. It is called once, when the answer is complete.", plain(shape.schema))
    return {**parameters, "tools": [*own, answer], "tool_choice": choice}


_INSTRUCTION = (
    "Give your final answer as one JSON object and nothing else: no prose around it, no code fence. "
    "It must be valid by this JSON schema:\n"
)


def _instructed(messages: tuple[Message, ...], shape: Shape) -> tuple[Message, ...]:
    """Add the schema to the system message, or make one: some models' templates know only one, and only in front."""
    text = _INSTRUCTION + encode(shape.schema).decode()
    for first in messages[:1]:
        if first.role == "system" and all(isinstance(block, Text) for block in first.blocks):
            return (system(f"{first.text}\n\n{text}"), *messages[1:])
    return (system(text), *messages)


def answer_name(parameters: Parameters) -> str:
    """Return the name of the tool that takes the answer: the shape's, unless one of the caller's tools has it."""
    name, taken = legal_name(parameters["shape"]), {tool.name for tool in tools_of(parameters)}
    while name in taken:
        name = f"{name[:57]}_answer"
    return name


def legal_name(shape: Shape) -> str:
    """Return the name of a shape as all vendors take it: letters, digits, `_` and `-`, 64 at most."""
    return _UNUSUAL.sub("_", shape.name)[:64]


_UNUSUAL = re.compile(r"[^a-zA-Z0-9_-]")


def as_text(response: Response, parameters: Parameters) -> Response:
    """Return the answer with the call of the answer's tool as its text.

    While the model asks for other tools as well, its answer is not final, and is left out.
    """
    if "shape" not in parameters:
        return response
    name = answer_name(parameters)
    answers = [block for block in response.tool_calls if block.name == name]
    if not answers:
        return response
    if len(answers) < len(response.tool_calls):
        return replace(response, blocks=tuple(block for block in response.blocks if block not in answers))
    kept = [block for block in response.blocks if not isinstance(block, (Text, ToolCall))]
    text = Text(answers[0].arguments, answers[0].issuer)
    finish = "stop" if response.finish_reason == "tool_calls" else response.finish_reason
    return replace(response, blocks=(*kept, text), finish_reason=finish)


def shown_as_text(parameters: Parameters) -> Callable[[Sequence[ContentEvent]], list[ContentEvent]] | None:
    """Return what shows the call of the answer's tool as text, piece by piece; None where there is no such tool."""
    if "shape" not in parameters:
        return None
    name, answers = answer_name(parameters), set[int]()

    def shown(content: Sequence[ContentEvent]) -> list[ContentEvent]:
        events: list[ContentEvent] = []
        for event in content:
            if isinstance(event, ToolCallStarted) and event.name == name:
                answers.add(event.index)
            elif isinstance(event, ToolCallDelta) and event.index in answers:
                events.append(TextDelta(event.arguments))
            else:
                events.append(event)
        return events

    return shown


def openai_format(shape: Shape, subset: Subset) -> dict[str, Any]:
    """Return the `response_format` of chat completions: strictly enforced where the schema can be expressed so."""
    strict = fitted(shape.schema, subset)
    schema: Mapping[str, Any] = plain(shape.schema) if strict is None else strict
    described = {"name": legal_name(shape), "schema": schema, "strict": strict is not None}
    return {"type": "json_schema", "json_schema": described}


def anthropic_format(shape: Shape) -> dict[str, Any] | None:
    """Return the `output_config.format` of messages, which knows nothing but strict enforcement."""
    schema = fitted(shape.schema, ANTHROPIC)
    return None if schema is None else {"type": "json_schema", "schema": schema}
