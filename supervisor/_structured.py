"""Structured output: an answer of the shape that was asked for, as a value.

A model may be held to a schema, or only asked to keep it: what it gives is validated here in any case, against all that
the schema says. An answer that is not valid goes back to the model once, with what is wrong about it.

    response ──▶ Wanted.finish ──▶ Response with .parsed
                       │
                       └─────────▶ Flaw: repairable ──▶ one more round ──▶ Response, or ResponseInvalidError
                                         or not (a refusal, an answer cut off) ──▶ ResponseInvalidError

pydantic and jsonschema are imported where an answer of some shape is asked for, not before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeAlias, final

from ..providers import (
    JSONValue,
    Message,
    Response,
    ResponseInvalidError,
    Shape,
    decode,
    encode,
    is_object,
    references,
    referred,
    settled,
    user,
    wrapped,
)

ResponseModel: TypeAlias = type[Any] | Mapping[str, Any]
"""What an answer has to be: a type that pydantic knows, or a JSON schema."""

Validate: TypeAlias = Callable[[bytes, Any], Any]
"""Takes an answer as JSON and as the value it says, and returns it parsed.

Raises:
    ValueError: It is not valid; says where and what rule is broken, which shows at most names that the answer has.
"""

_AGAIN = "That answer is not valid: {}\nGive the whole answer again, corrected, in the form that was asked for."

LONGEST_REASON = 1000
"""Characters of what is wrong that are kept (chosen: some ten mistakes, enough to mend an answer by)."""

_REMEDY = (
    "give a pydantic model, a type that pydantic knows (a dataclass, list[…], TypedDict; before Python 3.12 that of "
    "typing_extensions), or a JSON schema"
)


@final
@dataclass(frozen=True, slots=True)
class Flaw:
    """Why an answer is of no use. If it is `repairable`, the model may be asked for another one."""

    reason: str
    repairable: bool = False

    @property
    def told(self) -> Message:
        """What the model is told of it."""
        return user(_AGAIN.format(self.reason))


@final
@dataclass(frozen=True, slots=True)
class Wanted:
    """What an answer has to be. `is_wrapped` says that the shape holds the value that is wanted as its `value`."""

    shape: Shape
    is_wrapped: bool
    validate: Validate

    def finish(self, response: Response) -> Response | Flaw:
        """Return a response with its `parsed` value, or what is wrong with it.

        A turn of tool calls is no answer yet, and comes back as it is.
        """
        if response.tool_calls:
            return response
        match response.finish_reason:
            case "refusal":
                return Flaw("the model refused to answer: response.text says why")
            case "content_filter":
                return Flaw("the provider's content filter took the answer away")
            case "length":
                return Flaw("it was cut off at the limit of its tokens: raise max_tokens")
        try:
            return replace(response, parsed=self._parsed(response.text))
        except RecursionError:
            return Flaw("it is nested too deep", repairable=True)
        except ValueError as error:
            return Flaw(_cut(str(error)), repairable=True)

    def must_finish(self, response: Response, agent: str) -> Response:
        """Return a response with its `parsed` value.

        Raises:
            ResponseInvalidError: It is of no use.
        """
        found = self.finish(response)
        if isinstance(found, Flaw):
            raise ResponseInvalidError(agent, response, found.reason)
        return found

    def _parsed(self, text: str) -> Any:
        data, value = _json_in(text)
        schema = self.shape.schema
        if self.is_wrapped:
            schema = schema["properties"]["value"]
            if isinstance(value, dict) and value.keys() == {"value"}:
                value, data = value["value"], b""
        meant = settled(value, schema, self.shape.schema)
        return self.validate(data if data and meant == value else encode(meant), meant)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 1] + "…"


def _json_in(text: str) -> tuple[bytes, JSONValue]:
    """Return the JSON in an answer, and what it says: all of the answer, or what stands in a fence or between prose.

    Raises:
        ValueError: There is none.
    """
    for candidate in _candidates(text):
        data = candidate.encode("utf-8", "surrogatepass")
        try:
            return data, decode(data)
        except ValueError:
            continue
    raise ValueError("it is no JSON")


def _candidates(text: str) -> Iterator[str]:
    yield text.strip()
    for fenced in text.split("```")[1::2]:
        yield fenced.partition("\n")[2]
    for start in sorted(start for first in "{[" if (start := text.find(first)) >= 0):
        try:
            _, end = _DECODER.raw_decode(text, start)
        except ValueError:
            continue
        yield text[start:end]


_DECODER = json.JSONDecoder()
"""It knows where a value ends, whatever comes after it."""


def wanted(response_model: type[Any] | Mapping[str, Any]) -> Wanted:
    """Return what an answer has to be so that `response_model` can hold it.

    Args:
        response_model: A pydantic model, another type that pydantic knows, or a JSON schema.

    Raises:
        TypeError: It is none of these; names the remedy.
    """
    if isinstance(response_model, Mapping):
        return _by_schema(response_model)
    try:
        return _by_type(response_model)  # type: ignore[arg-type] # where it has no hash, that is said
    except TypeError as error:
        if not str(error).startswith("unhashable"):
            raise
    return _by_type.__wrapped__(response_model)  # `Annotated` with a list inside, say


@lru_cache(maxsize=256)
def _by_type(model: Any) -> Wanted:
    """Return what an answer has to be for a type. Kept: pydantic takes milliseconds to make a schema."""
    from pydantic import PydanticUndefinedAnnotation, PydanticUserError, TypeAdapter, ValidationError

    if model is None or isinstance(model, str):
        raise TypeError(f"response_model is no type: {_REMEDY}")
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(model)
        schema = adapter.json_schema()
    except (PydanticUserError, PydanticUndefinedAnnotation) as error:
        given = model.__name__ if isinstance(model, type) else f"an object of {type(model).__name__}"
        raise TypeError(f"response_model {given} is nothing that pydantic makes a JSON schema of: {_REMEDY}") from error

    def validate(data: bytes, value: Any) -> Any:
        problems: list[str] = []
        try:
            return adapter.validate_json(data)
        except ValidationError as error:
            told = error.errors(include_url=False, include_context=False, include_input=False)
            problems = [_at(one["loc"], one["msg"]) for one in told]
        raise ValueError("; ".join(problems))

    return _wanted(getattr(model, "__name__", "answer"), schema, validate)


def _at(path: Any, message: str) -> str:
    place = ".".join(str(step) for step in path)
    return f"{place}: {message}" if place else message


_SAYS_SOMETHING = frozenset({"type", "properties", "$ref", "anyOf", "oneOf", "allOf", "enum", "const"})


def _by_schema(given: Mapping[str, Any]) -> Wanted:
    from jsonschema import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing import Registry

    try:
        schema: Any = decode(encode(dict(given)))  # ours, whatever becomes of the caller's
    except ValueError as error:
        raise TypeError(f"response_model is a dict that is no JSON schema: {error}") from None
    if _SAYS_SOMETHING.isdisjoint(schema):
        raise TypeError("response_model is a dict without a type, properties or another keyword of a JSON schema")
    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        raise TypeError(f"response_model is no JSON schema: {_cut(_at(error.path, error.message))}") from None
    for reference in references(schema):
        try:
            referred(reference, schema)
        except (LookupError, TypeError):
            raise TypeError(f"response_model refers to {reference!r}, which is not in it: put it into $defs") from None
    validator = kind(schema, registry=Registry(), format_checker=kind.FORMAT_CHECKER)

    def validate(data: bytes, value: Any) -> Any:
        errors = validator.iter_errors(value)  # their messages show the value
        problems = [_at(e.absolute_path, f"{e.validator} must be {_said(e.validator_value)}") for e in errors]
        if problems:
            raise ValueError("; ".join(problems))
        return value

    return _wanted(str(schema.get("title") or "answer"), schema, validate)


def _said(value: Any) -> str:
    text = encode(value).decode()
    return text if len(text) <= 100 else text[:99] + "…"


def _wanted(name: str, schema: dict[str, Any], validate: Validate) -> Wanted:
    if is_object(schema):
        return Wanted(Shape(name, schema), is_wrapped=False, validate=validate)
    return Wanted(Shape(name, wrapped(schema)), is_wrapped=True, validate=validate)
