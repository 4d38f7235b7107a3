"""The OpenAI responses dialect, as far as it needs no memory: what a client asks. Pure.

How it is answered stands in `_written_responses.py` and `_writing_responses.py`. Nothing is kept between requests, and
no tool runs here: a request that relies on either is refused, and says so. That it is not stored the answer says.

Source of the fields: platform.openai.com/docs/api-reference/responses/create, as of the SDK `openai` 3.52; of
`client_metadata`, which Codex sends with every request, github.com/openai/codex, codex-rs/codex-api/src/common.rs.
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
    Rule,
    Rules,
    cannot,
    check_head,
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
)
from ._inward_items import items_in
from ._inward_openai import allowed, chosen
from ._inward_parts import nested
from ._inward_refused import check_refused
from ._request import Neutral, Response, Tool
from ._writing_responses import ResponsesWriting
from ._written_errors import openai_error
from ._written_responses import whole


def _needs_memory(remedy: str, *nothing: object) -> Rule:
    def rule(_: Gathering, where: str, value: Any) -> None:
        if value not in nothing:
            raise UnreadableError(f"{where} is not supported: nothing is kept between requests; {remedy}", where)

    return rule


_WHOLE = "send the whole conversation as input"


def _include(gathering: Gathering, where: str, value: Any) -> None:
    """Take what else is to be in the answer: of hosted tools there is nothing, and of the rest only probabilities."""
    LIST(gathering, where, value)
    if "message.output_text.logprobs" in value:
        gathering.cannot(where, "message.output_text.logprobs")
    elif value:
        gathering.leave_out(where)


def _format(gathering: Gathering, where: str, value: Any) -> None:
    OBJECT(gathering, where, value)
    kind = required(value, "type", where)
    one_of("text", "json_object", "json_schema")(gathering, f"{where}.type", kind)
    if kind == "json_object":
        gathering.parameters["json_mode"] = True
    elif kind == "json_schema":
        take(gathering, value, _SCHEMA, where)
        shape(gathering, f"{where}.schema", required(value, "name", where), required(value, "schema", where))


_SCHEMA: Rules = {"type": TEXT, "name": name_rule, "description": left_out, "schema": OBJECT, "strict": BOOL}


def _verbosity(gathering: Gathering, where: str, value: Any) -> None:
    one_of("low", "medium", "high")(gathering, where, value)
    gathering.leave_out(where)


_SUMMARY: Rule = one_of("auto", "concise", "detailed")

_REASONING: Rules = {
    "effort": effort,
    "summary": _SUMMARY,
    "generate_summary": _SUMMARY,
    "context": left_out,
    "mode": unless("standard"),
}

_FIELDS: Rules = {
    "model": TEXT,
    "input": ANYTHING,
    "instructions": TEXT,
    "stream": BOOL,
    "stream_options": left_out,
    "max_output_tokens": parameter("max_tokens"),
    "temperature": parameter("temperature"),
    "top_p": parameter("top_p"),
    "reasoning": nested(_REASONING),
    "text": nested({"format": _format, "verbosity": _verbosity}),
    "tools": ANYTHING,
    "tool_choice": ANYTHING,
    "parallel_tool_calls": BOOL,
    "include": _include,
    "image": left_out,
    "max_tool_calls": left_out,  # counts the calls of hosted tools
    "metadata": labels,
    "client_metadata": labels,
    "prompt_cache_key": left_out,
    "prompt_cache_options": left_out,
    "prompt_cache_retention": left_out,
    "safety_identifier": left_out,
    "service_tier": left_out,
    "store": left_out,
    "user": left_out,
    "truncation": unless("disabled"),
    "top_logprobs": unless(0),
    "access_programs": cannot,
    "context_management": cannot,
    "moderation": cannot,
    "previous_response_id": _needs_memory(_WHOLE),
    "conversation": _needs_memory(_WHOLE),
    "background": _needs_memory("leave it out, and wait for the answer", False),
    "prompt": _needs_memory("send its text as instructions"),
}

_HOSTED = frozenset(
    {
        *("web_search", "web_search_preview", "file_search", "code_interpreter", "image_generation", "mcp", "computer"),
        *("computer_use_preview", "tool_search", "programmatic_tool_calling"),
    }
)
"""Tools that a server runs; beside these names, those that begin with one of them and a date."""

_TOOL: Rules = {
    "type": TEXT,
    "name": name_rule,
    "description": TEXT,
    "parameters": OBJECT,
    "strict": BOOL,
    "output_schema": left_out,
    "defer_loading": unless(False),
    "async": unless(False),
    "allowed_callers": unless([], ["direct"]),
}


def _tools(gathering: Gathering, value: Any) -> list[Tool] | None:
    """Return the tools; None where one of them has no equal on another wire.

    Raises:
        UnreadableError: One of them is none, or runs on a server.
    """
    found: list[Tool] = []
    before = len(gathering.untold)
    for where, given in each([] if value is None else value, "tools"):
        kind = required(given, "type", where)
        one_of("function")(gathering, where, kind)
        if kind.startswith(tuple(_HOSTED)):
            raise UnreadableError(f"{where} ({shown(kind)}) is not supported: no tool runs on this server", where)
        if kind == "function":
            take(gathering, given, _TOOL, where)
            found.append(tool(where, given.get("name"), given.get("description"), given.get("parameters")))
    return found if len(gathering.untold) == before else None


_WORDS = ("auto", "none", "required")


def _choice(gathering: Gathering, value: Any, tools: list[Tool] | None) -> tuple[list[Tool] | None, str | None]:
    """Return the tools that may be called, and the choice among them."""
    if value is None:
        return tools, None
    if isinstance(value, str):
        one_of(*_WORDS)(gathering, "tool_choice", value)
        return tools, value if value in _WORDS else None
    OBJECT(gathering, "tool_choice", value)
    kind = required(value, "type", "tool_choice")
    one_of("function", "allowed_tools")(gathering, "tool_choice.type", kind)
    if kind == "function":
        return tools, chosen(gathering, value, "tool_choice")
    return allowed(gathering, value, "tool_choice", tools) if kind == "allowed_tools" else (tools, None)


def _neutral(body: Mapping[str, Any]) -> Neutral:
    gathering = Gathering()
    take(gathering, body, _FIELDS)
    messages = items_in(body, gathering)
    tools, choice = _choice(gathering, body.get("tool_choice"), _tools(gathering, body.get("tools")))
    settle_tools(gathering, tools, choice, body.get("parallel_tool_calls"))
    return gathering.neutral(messages)


@final
class ResponsesDialect:
    """See `Dialect`."""

    name: DialectName = "responses"

    def read(self, body: Mapping[str, Any]) -> Asked:
        """Return what is asked; see `Dialect.read`."""
        check_head(body)
        check_refused(body)
        return Asked(body, partial(_neutral, body), wants_usage=True)

    def write(self, response: Response, asked: Asked, *, name: str, created: int) -> bytes:
        """Return a whole answer; see `Dialect.write`."""
        return whole(response, asked, name=name, created=created)

    def writing(self, asked: Asked, *, name: str, created: int, model: str = "") -> ResponsesWriting:
        """Return what writes a streamed answer."""
        return ResponsesWriting(asked, name=name, created=created, model=model)

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


RESPONSES = ResponsesDialect()
