"""Schemas in the vendors' subsets: what both SDKs would make of them, what can be kept, and the way back."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import uuid
from typing import Annotated, Any, Literal, NotRequired

import pytest
from anthropic import transform_schema
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openai.lib._pydantic import to_strict_json_schema
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict

from understudy.providers import Shape, is_object, references, referred, settled, wrapped
from understudy.providers._schema import is_recursive, plain, resolved
from understudy.providers._subset import ANTHROPIC, FINE_TUNED, OPENAI, Subset, fitted

Schema = dict[str, Any]


class Colour(enum.Enum):
    """What something looks like."""

    RED = "red"
    BLUE = "blue"


class Book(BaseModel):
    """A book."""

    title: str = Field(description="as on the cover")
    written: datetime.date
    colour: Colour


class Shelf(BaseModel):
    books: list[Book]
    best: Book
    moved: datetime.datetime | None


class Limits(BaseModel):
    name: str = Field(min_length=2, max_length=9, pattern="^[a-z]+$", description="short")
    share: float = Field(ge=0, lt=1)
    even: int = Field(multiple_of=2)
    parts: list[int] = Field(min_length=1, max_length=3)
    none_or_more: list[int] = Field(min_length=0)
    two: list[str] = Field(min_length=2)
    id: uuid.UUID


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    breeds: tuple[str, ...]


class Pets(BaseModel):
    either: Cat | Dog
    amount: decimal.Decimal
    level: Literal[1, 2, "many"]


class Told(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    best: Book = Field(description="the best one")


class Later(BaseModel):
    first: str | None = None
    size: int = 5
    tags: list[str] = []
    colour: Colour = Colour.RED
    pet: Cat | None = None


class Node(BaseModel):
    value: int
    children: list[Node]


class Free(BaseModel):
    words: dict[str, int]


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: str


class Pair(BaseModel):
    both: tuple[int, str]
    same: tuple[int, int]


class Anything(BaseModel):
    what: Any


@dataclasses.dataclass
class Point:
    x: float
    y: float


class Move(TypedDict):
    to: Point
    by: NotRequired[str]


class Empty(BaseModel):
    pass


SAME: list[Any] = [Book, Shelf, Pets, Limits, Point, Empty]
"""Models without what the SDKs and we treat differently."""


def schema_of(model: Any) -> Schema:
    return TypeAdapter(model).json_schema()


def undescribed(part: Any) -> Any:
    """Return a schema without its descriptions, which both write in words of their own, in an order of ours."""
    if isinstance(part, list):
        return [undescribed(inner) for inner in part]
    if not isinstance(part, dict):
        return part
    return {name: undescribed(inner) for name, inner in sorted(part.items()) if name != "description"}


def lost_by_us(part: Any, *names: str) -> Any:
    """Return the SDK's schema without keywords that we put into the description."""
    if isinstance(part, list):
        return [lost_by_us(inner, *names) for inner in part]
    if not isinstance(part, dict):
        return part
    return {name: lost_by_us(inner, *names) for name, inner in part.items() if name not in names}


def typed(part: Any) -> Any:
    """Give the SDK's literals without a type the types of their values, as OpenAI wants."""
    if isinstance(part, list):
        return [typed(inner) for inner in part]
    if not isinstance(part, dict):
        return part
    if part.get("enum") == [1, 2, "many"]:
        part = {**part, "type": ["integer", "string"]}
    return {name: typed(inner) for name, inner in part.items()}


@pytest.mark.parametrize("model", SAME)
def test_openai_gets_what_its_own_sdk_would_send(model: Any) -> None:
    """For ordinary models both agree, but for what the API refuses and its SDK sends: lengths and untyped literals."""
    theirs = to_strict_json_schema(
        model if isinstance(model, type) and issubclass(model, BaseModel) else TypeAdapter(model)
    )
    ours = fitted(schema_of(model), OPENAI)
    assert undescribed(ours) == undescribed(lost_by_us(typed(theirs), "minLength", "maxLength"))


@pytest.mark.parametrize("model", [*SAME, Told, Later, Pair])
def test_anthropic_gets_what_its_own_sdk_would_send(model: Any) -> None:
    """Both agree; of a pair we say at least what may be in it."""
    ours, theirs = fitted(schema_of(model), ANTHROPIC), transform_schema(schema_of(model))
    if model is Pair:
        assert ours is not None
        assert ours["properties"]["both"].pop("items") == {"anyOf": [{"type": "integer"}, {"type": "string"}]}
        assert ours["properties"]["same"].pop("items") == {"anyOf": [{"type": "integer"}] * 2}
    assert undescribed(ours) == undescribed(theirs)


EVERY: list[Any] = [*SAME, Told, Later, Pair, Node, Move, list[Book], Cat | Dog, dict[str, int], Free, Open, Anything]

STRICT_KEYWORDS = {
    *("type", "properties", "required", "additionalProperties", "items", "anyOf", "enum", "const", "$ref", "$defs"),
    *("title", "description", *OPENAI.keeps, "format"),
}


def object_schema(model: Any) -> Schema:
    schema = schema_of(model)
    return schema if is_object(schema) else wrapped(schema)


def check_strict(part: Any) -> None:
    """Check a schema by OpenAI's rules, as its guide lists them."""
    assert part.keys() <= STRICT_KEYWORDS
    assert part.keys() & {"type", "anyOf", "$ref"}
    if "$ref" in part:
        assert part.keys() == {"$ref"}
    if part.get("type") == "object":
        assert part["additionalProperties"] is False
        assert part["required"] == list(part["properties"])
    if part.get("type") == "array":
        assert "items" in part
    inner = [*part.get("properties", {}).values(), *part.get("$defs", {}).values(), *part.get("anyOf", [])]
    for each in [*inner, *([part["items"]] if "items" in part else [])]:
        check_strict(each)


@pytest.mark.parametrize("model", EVERY)
@pytest.mark.parametrize("subset", [OPENAI, FINE_TUNED])
def test_what_is_strict_keeps_the_rules(model: Any, subset: Subset) -> None:
    """Closed objects, everything required, no keyword that is a 400; and an object at the root. Or it is not strict."""
    schema = object_schema(model)
    fit = fitted(schema, subset)
    if model in (dict[str, int], Free, Open, Anything):
        assert fit is None
        return
    assert fit is not None
    assert fit["type"] == "object"
    check_strict(fit)
    Draft202012Validator.check_schema(fit)
    assert all(resolved({"$ref": reference}, fit) for reference in references(fit))


@pytest.mark.parametrize("model", [Free, Open, Anything, dict[str, int], Node])
def test_claude_is_not_held_to_what_it_does_not_know(model: Any) -> None:
    """Free-form objects and recursion are not in its subset."""
    assert fitted(object_schema(model), ANTHROPIC) is None


def test_what_a_subset_does_not_know_stands_in_the_description() -> None:
    """The model can read it there; what the subset knows stays where it is."""
    schema = schema_of(Limits)
    strict, claude = fitted(schema, OPENAI), fitted(schema, ANTHROPIC)
    assert strict is not None
    assert claude is not None
    assert strict["properties"]["name"] == {
        "type": "string",
        "pattern": "^[a-z]+$",
        "title": "Name",
        "description": "short\n\n{maxLength: 9, minLength: 2}",
    }
    assert strict["properties"]["share"] == {"type": "number", "exclusiveMaximum": 1, "minimum": 0, "title": "Share"}
    assert claude["properties"]["share"] == {
        "type": "number",
        "title": "Share",
        "description": "{exclusiveMaximum: 1, minimum: 0}",
    }
    tuned = fitted(schema, FINE_TUNED)
    assert tuned is not None
    assert tuned["properties"]["id"] == {"type": "string", "title": "Id", "description": '{format: "uuid"}'}


def test_a_property_that_may_be_left_out_may_be_null_instead() -> None:
    """OpenAI wants every property; null then says "left out", and the default stands in the description."""
    fit = fitted(schema_of(Later), OPENAI)
    assert fit is not None
    assert fit["properties"]["first"] == {"anyOf": [{"type": "string"}, {"type": "null"}], "title": "First"}
    assert fit["properties"]["size"] == {
        "anyOf": [{"type": "integer"}, {"type": "null"}],
        "title": "Size",
        "description": "{default: 5}",
    }
    assert fit["properties"]["colour"]["anyOf"] == [{"$ref": "#/$defs/Colour"}, {"type": "null"}]


ODD: list[tuple[Any, ...]] = [
    # a schema, strict for OpenAI, for Claude
    ({"type": ["string", "null"], "maxLength": 3}, *[{"anyOf": [
        {"type": "string", "description": "{maxLength: 3}"}, {"type": "null"}]}] * 2),
    ({"enum": ["a", None]}, {"enum": ["a", None], "type": ["string", "null"]}, {"enum": ["a", None]}),
    ({"const": 1.5}, {"const": 1.5, "type": "number"}, {"const": 1.5}),
    (True, None, None),
    ({"enum": []}, None, None),
    ({"enum": [{"a": 1}]}, None, None),
    ({}, None, None),
    ({"type": "array"}, None, None),
    ({"type": "object"}, None, None),
    ({"type": "object", "properties": {}, "patternProperties": {"a": {}}}, None, None),
    ({"properties": {}, "anyOf": [{"required": ["a"]}]}, None, None),
    ({"allOf": [{"type": "string"}, {"maxLength": 3}]}, None, None),
    ({"allOf": [{"type": "string"}], "title": "T"}, {"type": "string", "title": "T"}, {"type": "string", "title": "T"}),
    ({"type": "integer", "not": {"const": 3}}, *[{"type": "integer", "description": '{not: {"const":3}}'}] * 2),
    ({"type": "string", "pattern": "(?=a)", "default": None}, *[
        {"type": "string", "description": '{pattern: "(?=a)"}'}] * 2),
    ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, *[
        {"anyOf": [{"type": "string"}, {"type": "integer"}]}] * 2),
    ({"$ref": "#/nowhere"}, None, None),
    ({"$ref": "http://example.test/schema"}, None, None),
    ({"type": "array", "items": {"type": "string"}, "minItems": 1}, *[
        {"type": "array", "items": {"type": "string"}, "minItems": 1}] * 2),
    ({"type": "array", "items": {"type": "string"}, "minItems": 2},
     {"type": "array", "items": {"type": "string"}, "minItems": 2},
     {"type": "array", "items": {"type": "string"}, "description": "{minItems: 2}"}),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "openai", "anthropic"), ODD)
def test_odd_parts(schema: Schema, openai: Schema | None, anthropic: Schema | None) -> None:
    """What is written otherwise than pydantic does it, alone as a required property."""
    whole = {"type": "object", "properties": {"it": schema}, "required": ["it"]}
    for subset, expected in ((OPENAI, openai), (ANTHROPIC, anthropic)):
        fit = fitted(whole, subset)
        assert (fit and fit["properties"]["it"]) == expected


def test_the_root_is_an_object_also_by_reference() -> None:
    """A recursive model stands among its own definitions: the root is written out, and keeps its own words."""
    schema = {**schema_of(Node), "description": "a tree"}
    assert "$ref" in schema
    assert is_object(schema)
    assert is_recursive(schema)
    fit = fitted(schema, OPENAI)
    assert fit is not None
    assert fit["description"] == "a tree"
    assert fit["properties"]["children"]["items"] == {"$ref": "#/$defs/Node"}
    assert not is_recursive(schema_of(Shelf))
    assert is_recursive({"type": "object", "properties": {"a": {"$ref": "#"}}})


@pytest.mark.parametrize(
    ("model", "expected"), [(Book, True), (Node, True), (list[int], False), (Cat | Dog, False), (int, False)]
)
def test_what_is_no_object_is_wrapped_into_one(model: Any, expected: bool) -> None:
    """All vendors want an object at the root; its `value` is what is wanted."""
    schema = schema_of(model)
    assert is_object(schema) is expected
    outer = wrapped(schema)
    assert is_object(outer)
    assert all(resolved({"$ref": reference}, outer) for reference in references(outer))


def test_references_to_the_root_follow_it_into_the_wrapper() -> None:
    """A list of itself is still one, a level deeper."""
    schema = {"type": "array", "items": {"$ref": "#"}, "prefixItems": [{"$ref": "#/$defs/a"}], "$defs": {"a": {}}}
    outer = wrapped(schema)
    assert outer["properties"]["value"]["items"] == {"$ref": "#/properties/value"}
    assert outer["properties"]["value"]["prefixItems"] == [{"$ref": "#/$defs/a"}]
    Draft202012Validator(outer).validate({"value": [1, [2]]})


def test_a_reference_finds_what_it_names() -> None:
    """Through names with slashes and tildes, and through lists; a circle and a wrong way lead nowhere."""
    root = {"$defs": {"a/b~c": {"type": "string"}, "round": {"$ref": "#/$defs/round"}}, "anyOf": [{"type": "null"}]}
    assert referred("#/$defs/a~1b~0c", root) == {"type": "string"}
    assert referred("#/anyOf/0", root) == {"type": "null"}
    assert referred("#", root) is root
    assert resolved({"$ref": "#/$defs/round"}, root) == {}
    assert resolved({"$ref": "#/$defs/none"}, root) == {}
    with pytest.raises(LookupError):
        referred("other.json", root)


def test_without_strictness_hardly_anything_is_rewritten() -> None:
    """OpenAI refuses `oneOf` everywhere, and all want the type at the root; the rest may stay as it is."""
    tree = schema_of(Node)
    assert plain({"$schema": "http://json-schema.org/draft-07/schema#", **tree}) == {
        **tree["$defs"]["Node"],
        "$defs": tree["$defs"],
    }
    assert plain({"properties": {}, "$id": "a"}) == {"type": "object", "properties": {}}
    schema = {
        "type": "object",
        "properties": {
            "oneOf": {"oneOf": [{"type": "string"}], "discriminator": {"propertyName": "kind"}},
            "both": {"oneOf": [{}], "anyOf": [{}]},
        },
        "additionalProperties": {"minLength": 3},
    }
    assert plain(schema) == {
        "type": "object",
        "properties": {"oneOf": {"anyOf": [{"type": "string"}]}, "both": {"oneOf": [{}], "anyOf": [{}]}},
        "additionalProperties": {"minLength": 3},
    }


@pytest.mark.parametrize(
    ("model", "answer", "expected"),
    [
        (Later, {"first": None, "size": None, "tags": None, "colour": None, "pet": None}, {"first": None, "pet": None}),
        (Later, {"tags": ["a", None], "pet": {"kind": "cat", "lives": None}},
         {"tags": ["a", None], "pet": {"kind": "cat", "lives": None}}),  # wrong, and left so
        (Move, {"to": {"x": 1, "y": 2}, "by": None}, {"to": {"x": 1, "y": 2}}),
        (list[Move], [{"to": {"x": 1, "y": 2}, "by": None}], [{"to": {"x": 1, "y": 2}}]),
        (Move | Later, {"to": {"x": 1, "y": 2}, "by": None}, {"to": {"x": 1, "y": 2}}),
        (Move | Later, {"size": None}, {}),
        (Cat | Dog | None, {"kind": "dog", "breeds": ["a"]}, {"kind": "dog", "breeds": ["a"]}),
        (list[Later] | None, [{"size": None}], [{}]),
        (Free, {"words": {"a": None}}, {"words": {"a": None}}),
        (Book, "no object", "no object"),
        (Anything, {"what": None, "more": None}, {"what": None, "more": None}),
    ],
)  # fmt: skip
def test_nulls_that_stand_for_nothing_go_again(model: Any, answer: Any, expected: Any) -> None:
    """A null where a property may be left out and not be null says that it is left out; any other stays."""
    schema = schema_of(model)
    assert settled(answer, schema, schema) == expected


NAMES = st.sampled_from(["a", "b", "value"])
LEAVES: st.SearchStrategy[Schema] = st.sampled_from([
    {"type": "string"},
    {"type": "integer", "minimum": 3},
    {"type": ["boolean", "null"]},
    {"enum": ["x", 1]},
    {"type": "object", "additionalProperties": {"type": "string"}},
    {"type": "string", "minLength": 2, "description": "d"},
])  # fmt: skip


def objects(inner: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    properties = st.dictionaries(NAMES, inner, max_size=3)
    return st.builds(
        lambda parts, left_out: {
            "type": "object",
            "properties": parts,
            "required": [name for name in parts if name != left_out],
        },
        properties,
        st.none() | NAMES,
    )


SCHEMAS: st.SearchStrategy[Schema] = st.recursive(
    LEAVES,
    lambda inner: (
        objects(inner)
        | st.builds(lambda item: {"type": "array", "items": item}, inner)
        | st.builds(lambda options: {"anyOf": options}, st.lists(inner, min_size=1, max_size=3))
    ),
    max_leaves=8,
)


@given(schema=objects(SCHEMAS))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_any_schema_fits_or_does_not(schema: Schema) -> None:
    """Whatever a program gives: either it is not expressible, or it keeps the vendor's rules and is a schema."""
    before = str(schema)
    fit = fitted(schema, OPENAI)
    if fit is not None:
        check_strict(fit)
        Draft202012Validator.check_schema(fit)
    claude = fitted(schema, ANTHROPIC)
    assert (fit is None) == (claude is None)
    if claude is not None:
        assert undescribed(claude) == undescribed(transform_schema(split(schema)))
    assert str(schema) == before


def split(part: Any) -> Any:
    """Write a list of types as the SDK can read it."""
    if isinstance(part, list):
        return [split(inner) for inner in part]
    if not isinstance(part, dict):
        return part
    if isinstance(part.get("type"), list):
        return {"anyOf": [{"type": kind} for kind in part["type"]]}
    return {name: split(inner) for name, inner in part.items()}


@pytest.mark.parametrize(
    ("name", "schema", "error"),
    [
        (3, {"type": "object"}, TypeError),
        ("a", [], TypeError),
        ("", {"type": "object"}, ValueError),
        ("a", {"type": "string"}, ValueError),
    ],
)
def test_a_shape_is_a_name_and_an_object(name: Any, schema: Any, error: type[Exception]) -> None:
    """Anything else is the caller's mistake."""
    with pytest.raises(error):
        Shape(name, schema)
