"""Every parameter at every target: the exact fragment of the body it becomes, or that it is dropped and named."""

from __future__ import annotations

import dataclasses
from typing import Any, Final, get_args

import pytest
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming as AnthropicParams
from anthropic.types.model_param import ModelParam
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming as OpenAIParams
from openai.types.shared.chat_model import ChatModel
from pydantic import TypeAdapter

from understudy.providers import (
    CHECKS,
    EFFORTS,
    TRANSPORTS,
    Effort,
    Parameters,
    Request,
    Shape,
    Tool,
    ToolCall,
    assistant,
    system,
    tool,
    user,
)
from understudy.providers._claude import claude_of
from understudy.providers._dialects import dialect_of, render
from understudy.providers._wire import effort_for, nearest
from understudy.providers._wire_anthropic import DEFAULT_MAX_TOKENS

from .test_wire_openai import exhaust

SDK: dict[bool, TypeAdapter[Any]] = {True: TypeAdapter(AnthropicParams), False: TypeAdapter(OpenAIParams)}
BEYOND_THE_TYPES = {"top_k", "extra_body"}
"""What servers that speak the OpenAI wire know beyond its vendor's types."""

Target = tuple[str, str, str]
OWN = "http://own.test/v1"
VENDOR = TRANSPORTS["openai"].base_url

TARGETS: dict[str, Target] = {
    "openai": ("openai", VENDOR, "gpt-4.1"),
    "thinking": ("openai", VENDOR, "gpt-5"),
    "compatible": ("openai", OWN, "gpt-5"),
    "gemini": ("gemini", TRANSPORTS["gemini"].base_url, "gemini-2.5-flash"),
    "gemini-3": ("gemini", TRANSPORTS["gemini"].base_url, "gemini-3-flash-preview"),
    "lmstudio": ("lmstudio", TRANSPORTS["lmstudio"].base_url, "qwen3"),
    "nous": ("nous", TRANSPORTS["nous"].base_url, "Hermes-4-70B"),
    "anthropic": ("anthropic", TRANSPORTS["anthropic"].base_url, "claude-haiku-4-5"),
    "adaptive": ("anthropic", TRANSPORTS["anthropic"].base_url, "claude-opus-5"),
}

DROPPED: Final = None
ADD = Tool("add", "Add.", {"type": "object"})
OTHER = Tool("other", "Other.", {"type": "object"})


def function(of: Tool) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {"name": of.name, "description": of.description, "parameters": of.parameters},
    }


def anthropic_tool(of: Tool) -> dict[str, Any]:
    return {"name": of.name, "description": of.description, "input_schema": of.parameters}


BOTH = {"tools": [function(ADD), function(OTHER)]}
OURS = {"tools": [anthropic_tool(ADD), anthropic_tool(OTHER)]}
NAMED = {"type": "function", "function": {"name": "add"}}
JSON = {"response_format": {"type": "json_object"}}
MARKED = [
    {"role": "user", "content": [{"type": "text", "text": "hello", "cache_control": {"type": "ephemeral"}}]},
]
UNTHINKING = {"thinking": {"type": "disabled"}}

FACT = Shape("Fact", {"type": "object", "properties": {"it": {"type": "string"}}, "required": ["it"]})
STRICT = {**FACT.schema, "additionalProperties": False}
FORMAT = {"type": "json_schema", "json_schema": {"name": "Fact", "schema": STRICT, "strict": True}}
OF_CLAUDE = {"type": "json_schema", "schema": STRICT}
ANSWER = Tool("Fact", "Gives the answer. It is called once, when the answer is complete.", FACT.schema)
NAMED_ANSWER = {"type": "function", "function": {"name": "Fact"}}
INSTRUCTED = (
    "Give your final answer as one JSON object and nothing else: no prose around it, no code fence. It must be "
    'valid by this JSON schema:\n{"type":"object","properties":{"it":{"type":"string"}},"required":["it"]}'
)
ASKED_FOR = {
    "messages": [{"role": "system", "content": INSTRUCTED}, {"role": "user", "content": "hello"}],
    **JSON,
}


def effort(level: str) -> dict[str, Any]:
    return {"reasoning_effort": level}


def adaptive(level: str) -> dict[str, Any]:
    return {"thinking": {"type": "adaptive"}, "output_config": {"effort": level}}


def budget(tokens: int) -> dict[str, Any]:
    return {"thinking": {"type": "enabled", "budget_tokens": tokens}}


def gemini(tokens: int) -> dict[str, Any]:
    return {"extra_body": {"google": {"thinking_config": {"thinking_budget": tokens}}}}


Row = dict[str, dict[str, Any] | None]


def wide(openai: dict[str, Any] | None, anthropic: dict[str, Any] | None, /, **others: dict[str, Any] | None) -> Row:
    """One row: what the five tongues of the OpenAI wire say, what both Anthropic models do, and who differs."""
    row: Row = {name: anthropic if name in {"anthropic", "adaptive"} else openai for name in TARGETS}
    return {**row, **{name.replace("_", "-"): fragment for name, fragment in others.items()}}


def same(fragment: dict[str, Any], anthropic: dict[str, Any] | None = DROPPED, *, without: str = "") -> Row:
    """A row where all targets on the OpenAI wire say the same, but for those named, which cannot."""
    return {**wide(fragment, anthropic), **dict.fromkeys(without.split(), DROPPED)}


GEMINIS = "gemini gemini-3"
TABLE: list[tuple[str, dict[str, Any], Row]] = [
    ("max_tokens", {"max_tokens": 50}, wide(
        {"max_tokens": 50}, {"max_tokens": 50},
        openai={"max_completion_tokens": 50}, thinking={"max_completion_tokens": 50})),
    ("temperature", {"temperature": 0.5}, same({"temperature": 0.5}, without="thinking")),
    ("top_p", {"top_p": 0.5}, same({"top_p": 0.5}, without="thinking")),
    ("top_k", {"top_k": 5}, same({"top_k": 5}, without=f"openai thinking {GEMINIS}")),
    ("frequency_penalty", {"frequency_penalty": 1}, same({"frequency_penalty": 1}, without=f"thinking {GEMINIS}")),
    ("presence_penalty", {"presence_penalty": 1}, same({"presence_penalty": 1}, without=f"thinking {GEMINIS}")),
    ("seed", {"seed": 7}, same({"seed": 7}, without=GEMINIS)),
    ("stop", {"stop": "END"}, same({"stop": ["END"]}, {"stop_sequences": ["END"]}, without="thinking")),
    ("stop", {"stop": ["a", "b"]}, same({"stop": ["a", "b"]}, {"stop_sequences": ["a", "b"]}, without="thinking")),
    ("json_mode", {"json_mode": True}, same(JSON, without="lmstudio")),
    ("json_mode", {"json_mode": False}, wide({}, {})),
    ("shape", {"shape": FACT}, wide(
        ASKED_FOR, {"output_config": {"format": OF_CLAUDE}},
        **{name: {"response_format": FORMAT} for name in ("openai", "thinking", *GEMINIS.split(), "lmstudio")})),
    ("structured_output_mode", {"structured_output_mode": "tool"}, wide({}, {})),
    ("structured_output_mode", {"structured_output_mode": "json_schema", "shape": FACT}, wide(
        {"response_format": FORMAT}, {"output_config": {"format": OF_CLAUDE}})),
    ("structured_output_mode", {"structured_output_mode": "tool", "shape": FACT}, wide(
        {"tools": [function(ANSWER)], "tool_choice": NAMED_ANSWER},
        {"tools": [anthropic_tool(ANSWER)], "tool_choice": {"type": "tool", "name": "Fact"}},
        lmstudio={"tools": [function(ANSWER)], "tool_choice": "required"},
        adaptive={"tools": [anthropic_tool(ANSWER)], "tool_choice": {"type": "tool", "name": "Fact"}, **UNTHINKING})),
    ("reasoning_effort", {"reasoning_effort": "none"}, wide(
        effort("none"), {}, openai=DROPPED, thinking=effort("minimal"), gemini_3=effort("low"), lmstudio=DROPPED,
        adaptive=UNTHINKING)),
    ("reasoning_effort", {"reasoning_effort": "minimal"}, wide(
        effort("minimal"), budget(1024), openai=DROPPED, gemini=effort("none"), gemini_3=effort("low"),
        lmstudio=DROPPED, adaptive=adaptive("low"))),
    ("reasoning_effort", {"reasoning_effort": "low"}, wide(
        effort("low"), budget(1024), openai=DROPPED, lmstudio=DROPPED, adaptive=adaptive("low"))),
    ("reasoning_effort", {"reasoning_effort": "medium"}, wide(
        effort("medium"), budget(4096), openai=DROPPED, lmstudio=DROPPED, adaptive=adaptive("medium"))),
    ("reasoning_effort", {"reasoning_effort": "high"}, wide(
        effort("high"), budget(16384), openai=DROPPED, lmstudio=DROPPED, adaptive=adaptive("high"))),
    ("reasoning_effort", {"reasoning_effort": "max"}, wide(
        effort("high"), budget(32768), openai=DROPPED, compatible=effort("max"), nous=effort("max"),
        lmstudio=DROPPED, adaptive=adaptive("max"))),
    ("thinking_budget_tokens", {"thinking_budget_tokens": 0}, wide(
        effort("none"), {}, openai=DROPPED, thinking=effort("minimal"), gemini=gemini(0), gemini_3=effort("low"),
        lmstudio=DROPPED, adaptive=UNTHINKING)),
    ("thinking_budget_tokens", {"thinking_budget_tokens": 2048}, wide(
        effort("medium"), budget(2048), openai=DROPPED, gemini=gemini(2048), lmstudio=DROPPED,
        adaptive=adaptive("medium"))),
    ("tools", {"tools": [ADD, OTHER]}, wide(BOTH, OURS)),
    ("tool_choice", {"tools": [ADD, OTHER], "tool_choice": "auto"}, wide(
        {**BOTH, "tool_choice": "auto"}, {**OURS, "tool_choice": {"type": "auto"}})),
    ("tool_choice", {"tools": [ADD, OTHER], "tool_choice": "none"}, wide(
        {**BOTH, "tool_choice": "none"}, {**OURS, "tool_choice": {"type": "none"}})),
    ("tool_choice", {"tools": [ADD, OTHER], "tool_choice": "required"}, wide(
        {**BOTH, "tool_choice": "required"}, {**OURS, "tool_choice": {"type": "any"}},
        adaptive={**OURS, **UNTHINKING, "tool_choice": {"type": "any"}})),
    ("tool_choice", {"tools": [ADD, OTHER], "tool_choice": "add"}, wide(
        {**BOTH, "tool_choice": NAMED}, {**OURS, "tool_choice": {"type": "tool", "name": "add"}},
        lmstudio={"tools": [function(ADD)], "tool_choice": "required"},
        adaptive={**OURS, **UNTHINKING, "tool_choice": {"type": "tool", "name": "add"}})),
    ("parallel_tool_calls", {"tools": [ADD, OTHER], "parallel_tool_calls": False}, wide(
        {**BOTH, "parallel_tool_calls": False},
        {**OURS, "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}})),
    ("cache_policy", {"cache_policy": "auto"}, wide({}, {"messages": MARKED})),
    ("cache_policy", {"cache_policy": "none"}, wide({}, {})),
    ("extra_body", {"extra_body": {"user": "u"}}, wide({"user": "u"}, {"user": "u"})),
    ("extra_headers", {"extra_headers": {"x-a": "b"}}, wide({}, {})),
    ("extra_query", {"extra_query": {"a": "b"}}, wide({}, {})),
]  # fmt: skip


def sent(target: Target, parameters: Any, model: str = "") -> tuple[dict[str, Any], tuple[str, ...]]:
    """Render the parameters, check the body against the vendor's types, and return what they add, and what is lost."""
    transport, base_url, usual = target
    request = Request(model or usual, (user("hello"),), parameters)
    rendered = render(transport, base_url, request)
    exhaust(SDK[transport == "anthropic"].validate_python(rendered.body))
    if "extra_body" not in parameters:
        known = (AnthropicParams if transport == "anthropic" else OpenAIParams).__annotations__
        assert rendered.body.keys() - known.keys() <= BEYOND_THE_TYPES
    plain = {"model": request.model, "messages": [{"role": "user", "content": "hello"}]}
    added = {name: value for name, value in rendered.body.items() if plain.get(name) != value}
    return added, rendered.dropped


def test_the_table_names_every_parameter_and_every_transport() -> None:
    """Nothing is left to chance: each parameter has a row, each row each target, each transport a target."""
    assert {name for name, _, _ in TABLE} == set(CHECKS)
    assert all(row.keys() == TARGETS.keys() for _, _, row in TABLE)
    assert {transport for transport, _, _ in TARGETS.values()} == set(TRANSPORTS)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("name", "parameters", "row"), TABLE)
def test_a_parameter_becomes_this_fragment_or_is_dropped(
    name: str, parameters: dict[str, Any], row: Row, target: str
) -> None:
    """The target gets it in its own words, or not at all, and then it is named."""
    fragment = row[target]
    more = {"max_tokens": 100_000} if TARGETS[target][0] == "anthropic" and "max_tokens" not in parameters else {}
    expected = ({**more, **(fragment or {})}, (name,) if fragment is DROPPED else ())
    assert sent(TARGETS[target], {**more, **parameters}) == expected


OPENAI_RULES: list[tuple[str, Any, dict[str, Any], tuple[str, ...]]] = [
    ("gpt-4o", {"temperature": 0.5, "stop": "E"}, {"temperature": 0.5, "stop": ["E"]}, ()),
    ("gpt-4o", {"stop": list("abcd")}, {"stop": list("abcd")}, ()),
    ("gpt-4o", {"stop": list("abcde")}, {"stop": list("abcd")}, ("stop",)),
    ("gpt-5-chat-latest", {"temperature": 0.5}, {"temperature": 0.5}, ()),
    ("gpt-5.2-chat-latest", {"temperature": 0.5, **effort("low")}, {}, ("reasoning_effort", "temperature")),
    ("ft:gpt-4o-mini-2024-07-18:org", {**effort("low")}, {}, ("reasoning_effort",)),
    ("o3", {"top_p": 0.5, "stop": "E", **effort("xhigh")}, effort("high"), ("stop", "top_p")),
    ("o4-mini", {"tools": [ADD], "parallel_tool_calls": True}, {"tools": [function(ADD)]}, ("parallel_tool_calls",)),
    # what asks for nothing but what happens anyway is left out without a word
    ("gpt-5", {"temperature": 1, "top_p": 1.0, "presence_penalty": 0, "frequency_penalty": 0.0, "stop": []}, {}, ()),
    # sampling goes while the model does not think
    ("gpt-5.1", {"temperature": 0.5}, {"temperature": 0.5}, ()),
    ("gpt-5.2", {"temperature": 0.5, **effort("none")}, {"temperature": 0.5, **effort("none")}, ()),
    ("gpt-5.2", {"temperature": 0.5, **effort("low")}, effort("low"), ("temperature",)),
    ("gpt-5.1", effort("minimal"), effort("none"), ()),
    ("gpt-5.1", effort("xhigh"), effort("high"), ()),
    ("gpt-5.6-sol", {"temperature": 0.5, **effort("max")}, effort("xhigh"), ("temperature",)),
    # function tools go while it does not think
    ("gpt-5.2", {"tools": [ADD], **effort("low")}, {"tools": [function(ADD)], **effort("low")}, ()),
    ("gpt-5.4", {"tools": [ADD], **effort("low")}, {"tools": [function(ADD)], **effort("none")}, ("reasoning_effort",)),
    ("gpt-5.6-luna", {"tools": [ADD]}, {"tools": [function(ADD)], **effort("none")}, ()),
    ("gpt-6-sol", {"tools": [ADD], **effort("none")}, {"tools": [function(ADD)], **effort("none")}, ()),
    ("gpt-6-luna", {"tools": []}, {}, ()),
    ("gpt-6-astra", effort("none"), effort("low"), ()),
    ("gpt-7", {"temperature": 0.5, **effort("max")}, effort("high"), ("temperature",)),
    ("a-model-of-ones-own", {"temperature": 0.5, **effort("max")}, {"temperature": 0.5, **effort("max")}, ()),
]


@pytest.mark.parametrize(("model", "parameters", "fragment", "dropped"), OPENAI_RULES)
def test_openai_is_sent_what_its_model_takes(
    model: str, parameters: Any, fragment: dict[str, Any], dropped: tuple[str, ...]
) -> None:
    """At the vendor's own address the model's name decides; what it would refuse with a 400 is dropped and named."""
    assert sent(TARGETS["openai"], parameters, model) == (fragment, dropped)
    compatible, lost = sent(TARGETS["compatible"], parameters, model)
    assert lost == ()
    assert compatible.keys() >= {name for name in parameters if parameters[name] != []}


GEMINI_RULES: list[tuple[str, Any, dict[str, Any]]] = [
    ("gemini-2.5-pro", effort("none"), effort("low")),
    ("gemini-2.5-pro", {"thinking_budget_tokens": 0}, effort("low")),
    ("gemini-2.5-pro", {"thinking_budget_tokens": 512}, gemini(512)),
    ("models/gemini-2.5-flash-lite", effort("none"), effort("none")),
    ("gemini-3-pro-preview", effort("medium"), effort("low")),
    ("gemini-3.1-pro-preview", effort("max"), effort("high")),
    ("gemini-3.1-pro-preview", {"thinking_budget_tokens": 9000}, effort("high")),
]


@pytest.mark.parametrize(("model", "parameters", "fragment"), GEMINI_RULES)
def test_gemini_is_told_to_think_as_its_model_can(model: str, parameters: Any, fragment: dict[str, Any]) -> None:
    """A budget where the model has one, else the nearest level; one that cannot be stopped gets its lowest."""
    assert sent(TARGETS["gemini"], parameters, model) == (fragment, ())


INSTRUCTED_MESSAGES = ASKED_FOR["messages"]
FREE_FORM = Shape("Free", {"type": "object", "additionalProperties": {"type": "string", "oneOf": []}})
NOT_STRICT = {"name": "Free", "schema": {**FREE_FORM.schema, "additionalProperties": {"type": "string", "anyOf": []}}}
TUNED = Shape("a shape", {"type": "object", "properties": {"it": {"type": "integer", "minimum": 3}}})
NODE = {"type": "object", "properties": {"below": {"type": "array", "items": {"$ref": "#/$defs/Node"}}}}
TREE = Shape("Tree", {"$ref": "#/$defs/Node", "$defs": {"Node": NODE}})
FLAT_TREE = {**NODE, "$defs": {"Node": NODE}}


def by_schema(**described: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": described}}


SHAPE_RULES: list[tuple[str, str, Any, dict[str, Any], tuple[str, ...]]] = [
    # OpenAI's own models
    ("openai", "gpt-4o-mini", {}, {"response_format": FORMAT}, ()),
    ("openai", "gpt-4.1", {"tools": [ADD]}, {"response_format": FORMAT, "tools": [function(ADD)]}, ()),
    ("openai", "gpt-4o-2024-05-13", {}, {"messages": INSTRUCTED_MESSAGES, **JSON}, ()),
    ("openai", "gpt-4-turbo", {}, {"messages": INSTRUCTED_MESSAGES, **JSON}, ()),
    ("openai", "gpt-4-turbo", {"structured_output_mode": "json_schema"}, {"messages": INSTRUCTED_MESSAGES, **JSON},
     ("structured_output_mode",)),
    ("openai", "gpt-4", {}, {"tools": [function(ANSWER)], "tool_choice": NAMED_ANSWER}, ()),
    ("openai", "o3", {"structured_output_mode": "json_object"}, {"messages": INSTRUCTED_MESSAGES, **JSON}, ()),
    ("openai", "gpt-5", {"json_mode": True}, {"response_format": FORMAT}, ()),
    ("openai", "gpt-5.6-sol", {"structured_output_mode": "tool"},
     {"tools": [function(ANSWER)], "tool_choice": NAMED_ANSWER, **effort("none")}, ()),
    ("openai", "gpt-5", {"shape": FREE_FORM}, by_schema(**NOT_STRICT, strict=False), ()),
    ("openai", "gpt-4.1", {"shape": TUNED}, by_schema(name="a_shape", strict=True, schema={
        "type": "object", "additionalProperties": False, "required": ["it"],
        "properties": {"it": {"anyOf": [{"type": "integer", "minimum": 3}, {"type": "null"}]}}}), ()),
    ("openai", "ft:gpt-4.1:org", {"shape": TUNED}, by_schema(name="a_shape", strict=True, schema={
        "type": "object", "additionalProperties": False, "required": ["it"], "properties": {"it": {
            "anyOf": [{"type": "integer"}, {"type": "null"}], "description": "{minimum: 3}"}}}), ()),
    # the answer's tool beside others
    ("openai", "gpt-5", {"structured_output_mode": "tool", "tools": [ADD]},
     {"tools": [function(ADD), function(ANSWER)], "tool_choice": "required"}, ()),
    ("openai", "gpt-5", {"structured_output_mode": "tool", "tools": [ADD], "tool_choice": "none"},
     {"tools": [function(ADD), function(ANSWER)], "tool_choice": NAMED_ANSWER}, ()),
    ("openai", "gpt-5", {"structured_output_mode": "tool", "tools": [ADD], "tool_choice": "add"},
     {"tools": [function(ADD), function(ANSWER)], "tool_choice": NAMED}, ()),
    ("openai", "gpt-5", {"structured_output_mode": "tool", "tools": [Tool("Fact")]},
     {"tools": [function(Tool("Fact")), function(dataclasses.replace(ANSWER, name="Fact_answer"))],
      "tool_choice": "required"}, ()),
    # servers that are compatible
    ("compatible", "any", {"structured_output_mode": "json_schema"}, {"response_format": FORMAT}, ()),
    ("nous", "any", {}, {"messages": INSTRUCTED_MESSAGES, **JSON}, ()),
    ("lmstudio", "any", {"structured_output_mode": "json_object"}, {"response_format": FORMAT},
     ("structured_output_mode",)),
    # gemini before 3 takes a format or tools
    ("gemini", "gemini-2.5-flash", {"tools": [ADD]},
     {"tools": [function(ADD), function(ANSWER)], "tool_choice": "required"}, ()),
    ("gemini", "gemini-2.5-flash", {"tools": [ADD], "structured_output_mode": "json_object"},
     {"tools": [function(ADD)], "messages": INSTRUCTED_MESSAGES}, ()),
    ("gemini", "gemini-3-flash-preview", {"tools": [ADD]}, {"response_format": FORMAT, "tools": [function(ADD)]}, ()),
    # Claude: what it thinks goes with a format, but not with a forced tool
    ("anthropic", "claude-opus-5", effort("low"),
     {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low", "format": OF_CLAUDE}}, ()),
    ("anthropic", "claude-haiku-4-5", {"tools": [ADD]},
     {"output_config": {"format": OF_CLAUDE}, "tools": [anthropic_tool(ADD)]}, ()),
    ("anthropic", "claude-haiku-4-5", {"json_mode": True, "structured_output_mode": "json_object"},
     {"system": INSTRUCTED}, ()),
    ("anthropic", "claude-opus-4-1", {},
     {"tools": [anthropic_tool(ANSWER)], "tool_choice": {"type": "tool", "name": "Fact"}}, ()),
    ("anthropic", "claude-opus-4-1", {"structured_output_mode": "json_schema", "thinking_budget_tokens": 2048},
     {**budget(2048), "system": INSTRUCTED}, ("structured_output_mode",)),
    ("anthropic", "claude-haiku-4-5", {"shape": TREE},
     {"tools": [anthropic_tool(dataclasses.replace(ANSWER, name="Tree", parameters=FLAT_TREE))],
      "tool_choice": {"type": "tool", "name": "Tree"}}, ()),
    ("anthropic", "claude-opus-5-5", {"structured_output_mode": "tool"}, {"system": INSTRUCTED},
     ("structured_output_mode",)),
    ("anthropic", "glm-5", {},
     {"tools": [anthropic_tool(ANSWER)], "tool_choice": {"type": "tool", "name": "Fact"}}, ()),
    ("anthropic", "glm-5", {"structured_output_mode": "json_schema"}, {"output_config": {"format": OF_CLAUDE}}, ()),
]  # fmt: skip


@pytest.mark.parametrize(("target", "model", "parameters", "fragment", "dropped"), SHAPE_RULES)
def test_a_shape_is_said_in_the_best_way_a_model_knows(
    target: str, model: str, parameters: Any, fragment: dict[str, Any], dropped: tuple[str, ...]
) -> None:
    """Held to the schema, by a forced tool, or told so in JSON mode; what is asked for and not known is named."""
    given = {"shape": FACT, "max_tokens": 100_000, **parameters}
    added, lost = sent(TARGETS[target], given, model)
    assert added.pop("max_tokens", None) or added.pop("max_completion_tokens")
    assert (added, lost) == (fragment, dropped)


def test_the_schema_joins_a_system_message_that_is_there() -> None:
    """Some models' templates take one system message, in front; pictures and other turns stay as they are."""
    messages = (system("Be brief."), user("hello"), system("later"))
    body = render(*TARGETS["compatible"][:2], Request("m", messages, {"shape": FACT})).body
    assert [turn["content"] for turn in body["messages"]] == [f"Be brief.\n\n{INSTRUCTED}", "hello", "later"]


FORCED = {"tools": [ADD], "tool_choice": "required"}
FREE = {"tools": [anthropic_tool(ADD)], "tool_choice": {"type": "auto"}}
ANY = {"tools": [anthropic_tool(ADD)], "tool_choice": {"type": "any"}}
BETWEEN = {"thinking": {"type": "between_tools"}}

CLAUDE_RULES: list[tuple[str, Any, dict[str, Any], tuple[str, ...]]] = [
    # budgets alone
    ("claude-haiku-4-5-20251001", effort("high"), budget(16384), ()),
    ("claude-opus-4-5", effort("high"), budget(16384), ()),
    ("claude-sonnet-4-20250514", {"thinking_budget_tokens": 5000}, budget(5000), ()),
    ("glm-5", effort("low"), budget(1024), ()),  # on somebody else's server
    # both: the budget is the more exact one
    ("claude-sonnet-4-6", effort("xhigh"), adaptive("high"), ()),
    ("claude-opus-4-6", {"thinking_budget_tokens": 5000, **effort("low")}, budget(5000), ("reasoning_effort",)),
    ("claude-opus-4-6", effort("none"), {}, ()),
    # efforts alone
    ("claude-opus-4-7", effort("xhigh"), adaptive("xhigh"), ()),
    ("claude-opus-4-8", {"thinking_budget_tokens": 0}, {}, ()),
    ("us.anthropic.claude-sonnet-5", effort("minimal"), adaptive("low"), ()),
    ("anthropic/claude-opus-5.5", effort("none"), adaptive("low"), ()),
    ("claude-fable-5", {"thinking_budget_tokens": 9000}, adaptive("high"), ()),
    ("claude-opus-5", {"thinking_budget_tokens": 9, **effort("max")}, adaptive("max"), ("thinking_budget_tokens",)),
    ("claude-sonnet-5-5", effort("none"), BETWEEN, ()),
    ("claude-haiku-5-5", effort("none"), UNTHINKING, ()),
    ("claude-next-6", {"thinking_budget_tokens": 0}, adaptive("low"), ()),
    # a tool can be forced on what does not think
    ("claude-opus-4-8", FORCED, ANY, ()),
    ("claude-opus-4-8", {**FORCED, **effort("low")}, {**FREE, **adaptive("low")}, ("tool_choice",)),
    ("claude-sonnet-5", FORCED, {**ANY, **UNTHINKING}, ()),
    ("claude-sonnet-5", {**FORCED, **effort("none")}, {**ANY, **UNTHINKING}, ()),
    ("claude-sonnet-5", {**FORCED, **effort("low")}, {**FREE, **adaptive("low")}, ("tool_choice",)),
    ("claude-sonnet-5-5", FORCED, FREE, ("tool_choice",)),
    ("claude-sonnet-5-5", {**FORCED, **effort("none")}, {**FREE, **BETWEEN}, ("tool_choice",)),
    ("claude-opus-5-5", FORCED, FREE, ("tool_choice",)),
    ("claude-fable-5-1", {**FORCED, "tool_choice": "none"}, {**FREE, "tool_choice": {"type": "none"}}, ()),
]  # fmt: skip


@pytest.mark.parametrize(("model", "parameters", "fragment", "dropped"), CLAUDE_RULES)
def test_claude_is_told_to_think_as_its_model_can(
    model: str, parameters: Any, fragment: dict[str, Any], dropped: tuple[str, ...]
) -> None:
    """A budget, an effort, or how not to think, by the model's name; and a tool is forced only where it may be."""
    given = {"max_tokens": 100_000, **parameters}
    assert sent(TARGETS["anthropic"], given, model) == ({"max_tokens": 100_000, **fragment}, dropped)


@pytest.mark.parametrize(
    ("model", "parameters", "room"),
    [
        ("claude-haiku-4-5", {}, 0),
        ("claude-haiku-4-5", effort("medium"), 4096),
        ("claude-opus-4-8", {}, 0),
        ("claude-opus-4-8", effort("max"), 32768),
        ("claude-opus-5", {}, 16384),  # it thinks unasked
        ("claude-opus-5", {"seed": 1}, 16384),
        ("claude-opus-5", effort("none"), 0),
        ("claude-opus-5-5", effort("none"), 1024),
        ("claude-opus-5", {"thinking_budget_tokens": 2048}, 4096),
    ],
)
def test_the_limit_we_choose_leaves_room_for_thinking(model: str, parameters: Any, room: int) -> None:
    """Thinking counts towards the limit; where the caller set none, the answer keeps its own tokens."""
    fragment, _ = sent(TARGETS["anthropic"], parameters, model)
    assert fragment["max_tokens"] == DEFAULT_MAX_TOKENS + room


@pytest.mark.parametrize("model", [*get_args(get_args(ModelParam)[0]), "claude-later-7", "glm-5"])
@given(
    effort=st.none() | st.sampled_from(EFFORTS),
    tokens=st.none() | st.integers(0, 50_000),
    limit=st.none() | st.integers(1, 50_000),
    choice=st.none() | st.sampled_from(["auto", "none", "required", "add"]),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_no_claude_gets_a_form_it_refuses(
    model: str, effort: Effort | None, tokens: int | None, limit: int | None, choice: str | None
) -> None:
    """Whatever is asked for: one form of thinking, a level the model knows, and never a forced tool beside thinking."""
    asked = {
        "reasoning_effort": effort,
        "thinking_budget_tokens": tokens,
        "max_tokens": limit,
        "tool_choice": choice,
        "tools": [ADD],
    }
    body, _ = sent(TARGETS["anthropic"], {name: value for name, value in asked.items() if value is not None}, model)
    claude, kind = claude_of(model), body.get("thinking", {}).get("type", "")
    assert kind in {"", "adaptive", "enabled", claude.off}
    assert kind != "never"
    assert ("output_config" in body) == (kind == "adaptive")
    if kind == "adaptive":
        assert body["output_config"]["effort"] in claude.efforts
    if kind == "enabled":
        assert claude.budgets
        assert 1024 <= body["thinking"]["budget_tokens"] < body["max_tokens"]
    if body.get("tool_choice", {}).get("type") in {"any", "tool"}:
        assert kind == claude.off in {"", "disabled"}


@pytest.mark.parametrize("model", get_args(ChatModel))
@pytest.mark.parametrize("level", EFFORTS)
def test_no_openai_model_gets_an_effort_it_does_not_know(model: str, level: Effort) -> None:
    """Each model the SDK names gets one of its own levels, or none and is told so."""
    fragment, dropped = sent(TARGETS["openai"], effort(level), model)
    known = dialect_of("openai", VENDOR, model).efforts
    assert fragment == (effort(nearest(level, known)) if known else {})
    assert dropped == (() if known else ("reasoning_effort",))


@pytest.mark.parametrize(
    ("wanted", "known", "expected"),
    [
        ("low", ["low", "high"], "low"),
        ("medium", ["low", "high"], "low"),
        ("max", ["low", "high"], "high"),
        ("none", ["low", "high"], "low"),
        ("minimal", ["none", "low"], "none"),
        ("none", ["high"], "high"),
    ],
)
def test_the_nearest_effort_is_the_next_lower_one(wanted: Effort, known: list[Effort], expected: Effort) -> None:
    """Nobody pays for more thinking than was asked for, unless the model cannot do with less."""
    assert nearest(wanted, known) == expected


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [(0, "none"), (1, "low"), (2047, "low"), (2048, "medium"), (8191, "medium"), (8192, "high"), (10**6, "high")],
)
def test_a_budget_has_an_effort(tokens: int, expected: str) -> None:
    """A quarter apart, as the other way round."""
    assert effort_for(tokens) == expected


@pytest.mark.parametrize("target", TARGETS)
def test_a_field_of_extra_body_takes_the_place_of_ours_whole(target: str) -> None:
    """The caller's own words win, and are not mixed with ours, which they may not go with."""
    mine = {"thinking": {"type": "own"}, "extra_body": {"google": {"a": 1}}, "temperature": 0.1, "max_tokens": 5}
    parameters = Parameters(
        thinking_budget_tokens=2048, temperature=0.9, max_tokens=9000, extra_body=mine, extra_query={"a": "b"}
    )
    transport, base_url, model = TARGETS[target]
    body = render(transport, base_url, Request(model, (user("hello"),), parameters)).body
    assert {name: body[name] for name in mine} == mine


def test_a_long_id_is_shortened_for_openai_alone() -> None:
    """OpenAI takes 40 characters; call and result still meet, two ids stay two, and others get what they gave."""
    long = ["x" * 41, "x" * 42, "call_1", "y" * 40]
    turns = [(assistant(ToolCall(identity, "add", "{}")), tool(identity, "1")) for identity in long]
    request = Request("gpt-5", tuple(message for turn in turns for message in turn))

    def ids(target: str) -> list[str]:
        transport, base_url, _ = TARGETS[target]
        messages = render(transport, base_url, request).body["messages"]
        asked = [turn["tool_calls"][0]["id"] for turn in messages[::2]]
        assert [turn["tool_call_id"] for turn in messages[1::2]] == asked
        return asked

    assert ids("compatible") == ids("gemini") == long
    assert ids("openai")[2:] == long[2:]
    assert len(set(ids("openai"))) == 4
    assert all(len(identity) <= 40 for identity in ids("openai"))
