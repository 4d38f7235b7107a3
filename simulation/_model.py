"""What a simulated model makes of a request: which text it answers, and which tools it asks for. Pure.

It reads requests as they stand on either wire, and neutral ones, and finds the same in all of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias, final

from ..providers import Message, Request, ToolResult, tools_of
from ._answers import Called, Said, Wire, tokens
from ._script import Answer

_Turn: TypeAlias = tuple[Literal["user", "result", "other"], str]
"""Who speaks, and what: what is neither the user's nor a tool's is only there to tell the rounds of tools apart."""

_ID: dict[Wire, str] = {"openai": "call_", "anthropic": "toolu_"}


@final
@dataclass(frozen=True, slots=True)
class Asked:
    """What a simulated model sees of a request: the user's last text, and what tools gave since.

    `rounds` are the rounds of tools since that text, `earlier` are the tool results of the whole conversation. `tools`
    are those on offer with their schemas; `choice` is `auto`, `none`, `required` or the name of a tool.
    """

    text: str
    results: tuple[str, ...]
    rounds: int
    earlier: int
    tools: Mapping[str, Mapping[str, Any]]
    choice: str = "auto"
    parallel: bool = True

    @property
    def given(self) -> int:
        """Tokens of what is answered."""
        return tokens(self.text) + sum(map(tokens, self.results))


def asked(request: Request) -> Asked:
    """Return what a model sees of a neutral request."""
    parameters = request.parameters
    return _asked(
        [turn for message in request.messages for turn in _of_message(message)],
        {tool.name: tool.parameters for tool in tools_of(parameters)},
        parameters.get("tool_choice", "auto"),
        parallel=parameters.get("parallel_tool_calls", True),
    )


def asked_over(wire: Wire, body: Mapping[str, Any]) -> Asked:
    """Return what a model sees of a request's body.

    Raises:
        LookupError: Something is missing that every request has.
        TypeError: Something is not what it should be; `AttributeError` likewise.
    """
    turns = [turn for message in body["messages"] for turn in _of_body(message)]
    if wire == "anthropic":
        tools = {tool["name"]: tool["input_schema"] for tool in body.get("tools") or ()}
        wanted = body.get("tool_choice") or {"type": "auto"}
        choice = {"any": "required", "tool": str(wanted.get("name"))}.get(wanted["type"], str(wanted["type"]))
        return _asked(turns, tools, choice, parallel=not wanted.get("disable_parallel_tool_use"))
    functions = [tool["function"] for tool in body.get("tools") or ()]
    tools = {function["name"]: function.get("parameters", {}) for function in functions}
    choice = body.get("tool_choice") or "auto"
    if not isinstance(choice, str):
        choice = choice["function"]["name"]
    return _asked(turns, tools, choice, parallel=body.get("parallel_tool_calls") is not False)


def _of_message(message: Message) -> Iterator[_Turn]:
    results = [block.content for block in message.blocks if isinstance(block, ToolResult)]
    yield from (("result", result) for result in results)
    if len(results) < len(message.blocks) or not results:
        yield "user" if message.role == "user" else "other", message.text


def _of_body(message: Mapping[str, Any]) -> Iterator[_Turn]:
    role, content = message["role"], message.get("content")
    if role == "tool":
        yield "result", _text(content)
        return
    results = [] if isinstance(content, str) else [p for p in content or () if p.get("type") == "tool_result"]
    yield from (("result", _text(part.get("content"))) for part in results)
    if not results or len(results) < len(content or ()):
        yield "user" if role == "user" else "other", _text(content)


def _text(content: str | Iterable[Mapping[str, Any]] | None) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content or ())


def _asked(turns: list[_Turn], tools: Mapping[str, Mapping[str, Any]], choice: str, *, parallel: bool) -> Asked:
    text, results, rounds, earlier = turns[-1][1], list[str](), 0, 0
    before = "other"
    for who, said in turns:
        if who == "user":
            text, results, rounds = said, [], 0
        elif who == "result":
            rounds += before != "result"
            earlier += 1
            results.append(said)
        before = who
    return Asked(text, tuple(results), rounds, earlier, tools, choice, parallel)


def say(answer: Answer, asked: Asked, wire: Wire) -> Said:
    """Return what a model says to that: the answer, or calls of tools."""
    thinking = answer.thinking or ""
    if calls := _calls(answer, asked, wire):
        return Said("", asked.given, thinking, calls)
    text = answer.text if answer.text is not None else "\n".join((asked.text, *asked.results))
    return Said(text, asked.given, thinking)


def _calls(answer: Answer, asked: Asked, wire: Wire) -> tuple[Called, ...]:
    if not asked.tools or asked.choice == "none" or (asked.choice == "auto" and asked.rounds >= answer.rounds):
        return ()
    names = [asked.choice] if asked.choice in asked.tools else list(asked.tools)
    if not asked.parallel:
        names = [names[asked.rounds % len(names)]]
    else:
        names = [name for name in names for _ in range(answer.calls)]
    return tuple(
        Called(_ID[wire] + _digest(asked, number), name, _arguments(answer, asked, name))
        for number, name in enumerate(names)
    )


def _digest(asked: Asked, number: int) -> str:
    """Return what tells this call from every other one: within its conversation and, by what is asked, from others."""
    told = f"{asked.earlier + number} {asked.text}"
    return hashlib.blake2b(told.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def _arguments(answer: Answer, asked: Asked, name: str) -> str:
    if name == asked.choice and answer.text is not None and _is_object(answer.text):
        return answer.text
    schema = asked.tools[name]
    made = _made_up(schema, schema.get("$defs", {}), asked.text, asked.rounds + 1)
    return json.dumps(made, ensure_ascii=False, separators=(",", ":"))


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


_DEEPEST = 8
"""Levels of a schema that are made up in full (a schema may hold itself); below them, lists are empty and choices are
the last one, and twice as deep there is nothing at all."""


def _made_up(
    schema: Mapping[str, Any], definitions: Mapping[str, Any], text: str, number: int, *, depth: int = 0
) -> object:
    """Return a value of a schema: its constant or first choice, else the text or the number."""
    fill = partial(_made_up, definitions=definitions, text=text, number=number, depth=depth + 1)
    if depth > 2 * _DEEPEST:
        return None
    if "$ref" in schema:
        return fill(definitions.get(str(schema["$ref"]).rpartition("/")[2], {}))
    for several in ("anyOf", "oneOf", "allOf"):
        if schema.get(several):
            return fill(schema[several][0 if depth < _DEEPEST else -1])
    if "const" in schema or schema.get("enum"):
        return schema["const"] if "const" in schema else schema["enum"][0]
    match schema.get("type", "object" if "properties" in schema else "string"):
        case "object":
            return {name: fill(field) for name, field in schema.get("properties", {}).items()}
        case "array":
            return [fill(schema.get("items", {}))] if depth < _DEEPEST else []
        case "integer" | "number":
            return number
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return text
