"""Reading the fields of a request by a table: each has a rule, and what has none is said to no other wire. Pure.

    rule                   what becomes of the field
    parameter(name)        a neutral parameter, of the same or another name
    left_out               nothing is lost for whoever asks: other wires are not told
    unless(value, …)       nothing, where it has one of these values; else it has no equal on another wire
    a type                 it is read elsewhere, and is of this type

A field that is null is as good as not given, in every dialect. Whatever the rule, the field stays in the body for a
provider of the same wire.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, final

from ._inward import UnreadableError
from ._messages import Message
from ._parameters import CHECKS, checked, number
from ._request import EFFORTS, Neutral, Shape, Tool
from ._schema import is_object, plain
from ._subset import ANTHROPIC, OPENAI, fitted


@final
@dataclass(slots=True)
class Gathering:
    """What has been read of a request. `untold` are the fields that another wire has no equal for."""

    parameters: dict[str, Any] = field(default_factory=dict)
    left_out: dict[str, None] = field(default_factory=dict)
    untold: dict[str, None] = field(default_factory=dict)

    def leave_out(self, where: str) -> None:
        """Note a field that other wires need not be told, by its own name."""
        self.left_out[where.rpartition(".")[2]] = None

    def cannot(self, where: str, kind: object = None) -> None:
        """Note a field that other wires have no equal for, and of which kind it is."""
        self.untold[shown(where if kind is None else f"{where} ({kind})")] = None

    def neutral(self, messages: tuple[Message, ...], *, tools: str = "tools") -> Neutral:
        """Return what is asked.

        Args:
            tools: The field that is at fault where tools and the choice among them do not fit.

        Raises:
            UnreadableError: The parameters do not fit together.
        """
        try:
            parameters = checked(self.parameters)
        except (TypeError, ValueError) as error:
            raise UnreadableError(str(error), tools) from None
        return Neutral(messages, parameters, _reason(list(self.untold)), tuple(self.left_out))


_MOST_SHOWN = 5


def _reason(untold: list[str]) -> str:
    if not untold:
        return ""
    more = f" and {len(untold) - _MOST_SHOWN} more" if len(untold) > _MOST_SHOWN else ""
    return f"no other wire has an equal for {', '.join(untold[:_MOST_SHOWN])}{more}"


def shown(text: str) -> str:
    """Return what a client wrote so that it fits into a message: on one line, and not long."""
    short = text if len(text) <= 80 else f"{text[:79]}…"
    return short if short.isprintable() else ascii(short)[1:-1]


Rule: TypeAlias = Callable[[Gathering, str, Any], None]
"""Takes note of a field: where it stands, and its value, which is not null."""

Rules: TypeAlias = Mapping[str, Rule]


def wrong(where: str, expected: str) -> UnreadableError:
    """Return the error for a field that is not what it must be."""
    where = shown(where)
    return UnreadableError(f"{where} must be {expected}", where)


def take(gathering: Gathering, given: Mapping[str, Any], rules: Rules, path: str = "") -> None:
    """Apply the rules to each field of an object.

    Raises:
        UnreadableError: A field is not what it must be.
    """
    for name, value in given.items():
        if value is None:
            continue
        where = f"{path}.{name}" if path else name
        rule = rules.get(name)
        if rule is None:
            gathering.cannot(where)
        else:
            rule(gathering, where, value)


def required(given: Mapping[str, Any], name: str, path: str = "") -> Any:
    """Return the value of a field.

    Raises:
        UnreadableError: It is missing, or null.
    """
    value = given.get(name)
    if value is None:
        where = f"{path}.{name}" if path else name
        raise UnreadableError(f"{where} is missing", where)
    return value


def each(value: object, where: str, expected: str = "a list of objects") -> list[tuple[str, Mapping[str, Any]]]:
    """Return the objects in a list, each with where it stands.

    Raises:
        UnreadableError: It is no list, or one of them is no object.
    """
    if not isinstance(value, list):
        raise wrong(where, expected)
    found = [(f"{where}[{number}]", item) for number, item in enumerate(value)]
    for place, item in found:
        if not isinstance(item, dict):
            raise wrong(place, "an object")
    return found


def _of(kind: type, expected: str) -> Rule:
    def rule(_: Gathering, where: str, value: Any) -> None:
        if type(value) is not kind:
            raise wrong(where, expected)

    return rule


TEXT: Rule = _of(str, "a text")
BOOL: Rule = _of(bool, "true or false")
OBJECT: Rule = _of(dict, "an object")
LIST: Rule = _of(list, "a list")


def _anything(_: Gathering, __: str, ___: Any) -> None:
    """Leave a field to whoever reads it."""


ANYTHING: Rule = _anything
"""The rule of a field that is read elsewhere, and checked there."""


def name_rule(_: Gathering, where: str, value: Any) -> None:
    """Take a text that is not empty."""
    if not isinstance(value, str) or not value:
        raise wrong(where, "a text that is not empty")


def parameter(name: str) -> Rule:
    """Return the rule of a field that is a neutral parameter."""
    fits, expected = CHECKS[name]

    def rule(gathering: Gathering, where: str, value: Any) -> None:
        if not fits(value):
            raise wrong(where, expected)
        if value != []:
            gathering.parameters[name] = value

    return rule


def left_out(gathering: Gathering, where: str, value: Any) -> None:
    """Take note of a field that other wires need not be told."""
    gathering.leave_out(where)


def unless(*neutral: object) -> Rule:
    """Return the rule of a field that other wires have no equal for, but for the values that ask for nothing."""

    def rule(gathering: Gathering, where: str, value: Any) -> None:
        if not any(type(value) is type(nothing) and value == nothing for nothing in neutral):
            gathering.cannot(where)

    return rule


cannot: Rule = unless()
"""The rule of a field that other wires have no equal for."""


def one_of(*known: str) -> Rule:
    """Return the rule of a word that is read elsewhere; one that is not known has no equal on another wire."""

    def rule(gathering: Gathering, where: str, value: Any) -> None:
        if not isinstance(value, str):
            raise wrong(where, "a text")
        if value not in known:
            gathering.cannot(where, value)

    return rule


def effort(gathering: Gathering, where: str, value: Any) -> None:
    """Take how hard to think; a level that is not known has no equal on another wire."""
    one_of(*EFFORTS)(gathering, where, value)
    if value in EFFORTS:
        gathering.parameters["reasoning_effort"] = value


def texts(_: Gathering, where: str, value: Any) -> None:
    """Take an object of texts."""
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise wrong(where, "an object of texts")


def labels(gathering: Gathering, where: str, value: Any) -> None:
    """Take an object of texts that other wires need not be told."""
    texts(gathering, where, value)
    gathering.leave_out(where)


def shape(gathering: Gathering, where: str, name: str, schema: Mapping[str, Any]) -> None:
    """Take the schema, an object, that an answer has to be valid by.

    Raises:
        UnreadableError: It is none.
    """
    if not _is_sound(schema):
        raise wrong(where, "a valid JSON schema")
    if is_object(schema):
        gathering.parameters["shape"] = Shape(name, schema)
    else:
        gathering.cannot(where)


def _is_sound(schema: Mapping[str, Any]) -> bool:
    """Say whether the other wires can be told of a schema: what is none shows there."""
    try:
        plain(schema)
        for subset in (OPENAI, ANTHROPIC):
            fitted(schema, subset)
    except (TypeError, ValueError, LookupError, AttributeError, RecursionError):
        return False
    return True


def tool(where: str, name: Any, description: str | None, schema: Mapping[str, Any] | None) -> Tool:
    """Return a tool, the fields of which were looked at if they are there.

    Raises:
        UnreadableError: It has no name.
    """
    if not isinstance(name, str) or not name:
        raise wrong(f"{where}.name", "a text that is not empty")
    return Tool(name, description or "") if schema is None else Tool(name, description or "", schema)


def settle_tools(gathering: Gathering, tools: list[Tool] | None, choice: str | None, parallel: bool | None) -> None:
    """Take the tools, and what is said of them where there are some.

    Args:
        tools: None where one of them has no equal on another wire: then nothing of them can be said there.
    """
    if tools is None:
        return
    if tools:
        gathering.parameters["tools"] = tools
        if parallel is not None:
            gathering.parameters["parallel_tool_calls"] = parallel
    if choice is not None and (tools or choice not in {"auto", "none"}):
        gathering.parameters["tool_choice"] = choice


def check_head(body: Mapping[str, Any]) -> None:
    """Check what each dialect says alike: the model, and whether to stream.

    Raises:
        UnreadableError: The body is no object, or one of the two is not what it must be.
    """
    if not isinstance(body, dict):
        raise UnreadableError("the request must be a JSON object")
    if not isinstance(model := required(body, "model"), str) or not model:
        raise wrong("model", "the name of a model, a text")
    if not isinstance(body.get("stream") or False, bool):
        raise wrong("stream", "true or false")


_OBJECTS = frozenset({dict})


def check_messages(body: Mapping[str, Any]) -> None:
    """Check that there are messages; what is in them is read elsewhere.

    Raises:
        UnreadableError: There are none.
    """
    given = required(body, "messages")
    if type(given) is not list or not _OBJECTS.issuperset(map(type, given)):
        each(given, "messages")  # says where
    if not given:
        raise UnreadableError("messages is empty: there is nothing to ask", "messages")


def is_count(value: object) -> bool:
    """Say whether a value is a whole number from 0."""
    return number(value) and isinstance(value, int) and value >= 0
