"""Typed functions as tools: the schema that is made of them, what is refused, and how they are called."""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from understudy import Tool, as_tool
from understudy.supervisor._functions import Typed, as_tools, is_async
from understudy.supervisor._toolbox import as_text


class Colour(Enum):
    """A colour."""

    RED = "red"


class Word(str, Enum):  # noqa: UP042 - as many still write it
    """A word."""

    YES = "yes"


class Both(Enum):
    """Structures."""

    ALL = ("yes", "no")


class Place(BaseModel):
    """A place."""

    name: str
    since: datetime.date | None = None


def find(place: Place, when: datetime.datetime, *, colour: Colour = Colour.RED, most: int = 3) -> str:
    """Find what is near.

    Args:
        place: Near what.
        most: How many at most.
    """
    return f"{place.name} {when.year} {colour} {most}"


def told(tool: Tool, arguments: object) -> Any:
    assert isinstance(tool.run, Typed)
    return tool.run.bound(json.dumps(arguments))()


def test_the_schema_comes_from_the_signature_and_the_docstring() -> None:
    """Names, types, defaults and words are told to the model; titles that repeat a name are not."""
    tool = as_tool(find)
    assert (tool.name, tool.description) == ("find", "Find what is near.")
    assert tool.parameters["required"] == ["place", "when"]
    assert tool.parameters["additionalProperties"] is False
    assert tool.parameters["properties"] == {
        "place": {"$ref": "#/$defs/Place", "description": "Near what."},
        "when": {"type": "string", "format": "date-time"},
        "colour": {"$ref": "#/$defs/Colour", "default": "red"},
        "most": {"type": "integer", "default": 3, "description": "How many at most."},
    }
    assert "title" not in tool.parameters
    assert "title" not in tool.parameters["$defs"]["Place"]["properties"]["name"]


def test_arguments_become_what_the_parameters_are() -> None:
    """A model, a date and an enum arrive as such; what is left out has the function's own default."""
    arguments = {"place": {"name": "Weimar"}, "when": "1832-03-22T11:30:00", "colour": "red"}
    assert told(as_tool(find), arguments) == "Weimar 1832 Colour.RED 3"
    assert as_tool(find).run is not None
    assert as_tool(find).run(Place(name="Jena"), datetime.datetime(1800, 1, 1), most=1) == "Jena 1800 Colour.RED 1"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "place: Field required; when: Field required"),
        ({"place": {}, "when": "1832-03-22"}, "place.name: Field required"),
        ({"place": {"name": "x"}, "when": "1832-03-22", "near": 1}, "near: Extra inputs are not permitted"),
        (
            {"place": {"name": "x"}, "when": "1832-03-22", "most": "many-canary"},
            "most: Input should be a valid integer",
        ),
        ([], "the arguments: "),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments: object, said: str) -> None:
    """The error says which argument and why, and repeats no value."""
    with pytest.raises(ValueError, match=r".") as raised:
        told(as_tool(find), arguments)
    assert str(raised.value).startswith(said)
    assert "canary" not in str(raised.value)


class Shop:
    """Sells things."""

    def __init__(self) -> None:
        self.sold: list[str] = []

    def sell(self, what: str) -> int:
        """Sell it."""
        self.sold.append(what)
        return len(self.sold)

    async def __call__(self, what: Literal["tea", "coffee"]) -> str:
        """Serve it."""
        return what


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@logged
def decorated(schema: int, model_config: int = 2) -> int:
    """Add."""
    return schema + model_config


def positional(a: int, b: int = 2, /, c: int = 3) -> tuple[int, int, int]:
    """Gather."""
    return a, b, c


def described(text: Annotated[str, Field(description="By hand.", max_length=3)], other: str = "x") -> str:
    """Say.

    :param text: By docstring.
    :param other: Too.
    """
    return text + other


def unplain(x: int = 1, callback: object = print) -> int:
    """Count."""
    return x


def test_all_that_can_be_called_can_be_a_tool() -> None:
    """Methods, objects, partials and decorated functions have the name, the words and the parameters they show."""
    shop = Shop()
    sell = as_tool(shop.sell)
    assert (sell.name, sell.description, told(sell, {"what": "tea"})) == ("sell", "Sell it.", 1)
    serve = as_tool(shop)
    assert (serve.name, serve.description) == ("Shop", "Serve it.")
    assert serve.parameters["properties"]["what"]["enum"] == ["tea", "coffee"]
    assert told(as_tool(decorated), {"schema": 1}) == 3
    bound = as_tool(functools.partial(find, most=9))
    assert (bound.name, list(bound.parameters["properties"])) == ("find", ["place", "when", "colour"])
    assert told(bound, {"place": {"name": "a"}, "when": "2000-01-01"}) == "a 2000 Colour.RED 9"
    first = as_tool(functools.partial(positional, 7))
    assert told(first, {"c": 5}) == (7, 2, 5)
    assert told(as_tool(positional), {"a": 1, "c": 5}) == (1, 2, 5)
    assert told(as_tool(unplain), {}) == 1
    assert as_tool(lambda: 1, name="one", description="One.").parameters["properties"] == {}


def test_what_is_written_at_the_type_wins() -> None:
    """`Annotated` describes and bounds a parameter; the docstring speaks where it is silent."""
    properties = as_tool(described).parameters["properties"]
    assert properties["text"] == {"type": "string", "description": "By hand.", "maxLength": 3}
    assert properties["other"] == {"type": "string", "description": "Too.", "default": "x"}


def untyped(a, b: int):  # type: ignore[no-untyped-def]
    return a, b


def starred(*values: int) -> None: ...


def double_starred(**values: int) -> None: ...


def unknown(a: Nowhere) -> None: ...  # type: ignore[name-defined] # noqa: F821


def unschemed(a: Shop) -> None: ...


def called_back(a: Callable[[], None]) -> None: ...


def yielding(a: int) -> Iterator[int]:
    yield a


async def yielding_later(a: int) -> AsyncIterator[int]:
    yield a


def as_a_field(a: int = Field(description="x")) -> None: ...


def returns_unknown(a: int) -> Nowhere:  # type: ignore[name-defined] # noqa: F821
    return a


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (untyped, "the parameter 'a' of untyped has no type: write one, as in a: str"),
        (starred, r"starred takes \*values, of which no schema can be made"),
        (double_starred, r"double_starred takes \*\*values, of which no schema"),
        (Shop.sell, r"sell wants its self: give the method of an object, tools=\[thing.sell\]"),
        (unknown, "a type in the signature of unknown is not known: name 'Nowhere' is not defined; types of"),
        (unschemed, "no schema can be made of the parameters of unschemed"),
        (called_back, "no schema can be made of the parameters of called_back"),
        (as_a_field, r"the default of 'a' of as_a_field is a Field: write a: Annotated\["),
        (Place, "is no tool: give a typed function, or give Tool"),
        (lambda: 1, r"'<lambda>' cannot be the name of a tool: as_tool\(function, name='…'\)"),
        (dict.fromkeys, "fromkeys"),
        (max, "the parameters of max are not known: give Tool"),
        ("find", "a str is no tool"),
        (yielding, "yielding is a generator, whose values no model would see: return a list"),
        (yielding_later, "yielding_later is a generator"),
    ],
)
def test_what_cannot_be_a_tool_is_refused_with_the_remedy(function: Any, said: str) -> None:
    """It is a `TypeError` before anybody is asked."""
    with pytest.raises(TypeError, match=said):
        as_tool(function)


def test_a_tool_stays_what_it_is() -> None:
    """A `Tool` is not made anew; what is neither tool nor function is left to who checks the parameters."""
    tool = Tool("x")
    assert as_tool(tool) is tool
    assert as_tools([tool, 3]) == [tool, 3]
    assert as_tools("x") == "x"
    assert told(as_tool(returns_unknown), {"a": 1}) == 1


def test_what_runs_a_tool_is_no_part_of_its_value() -> None:
    """Two tools are equal whatever runs them, and no `repr` shows it; what cannot be called is refused."""
    assert Tool("x", run=find) == Tool("x")
    assert "find" not in repr(Tool("x", run=find))
    with pytest.raises(TypeError, match="the run of a Tool is a function"):
        Tool("x", run="find")  # type: ignore[arg-type]


async def async_find(a: int) -> int:
    """Find."""
    return a


def test_who_needs_a_thread() -> None:
    """Async functions, methods and objects are seen through partials."""
    assert is_async(functools.partial(functools.partial(async_find, 1)))
    assert is_async(Shop())
    assert not is_async(Shop().sell)
    tool = as_tool(async_find)
    assert tool.run is not None
    assert is_async(tool.run)


@dataclass
class Point:
    """A point."""

    x: int


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("plain", "plain"),
        (3, "3"),
        (2.5, "2.5"),
        (Place(name="Weimar"), '{"name":"Weimar","since":null}'),
        (Point(1), '{"x":1}'),
        ({"a": [1, {2}], "b": datetime.date(2000, 1, 1)}, '{"a":[1,[2]],"b":"2000-01-01"}'),
        ((1, "é"), '[1,"é"]'),
        ([Shop], f'["{Shop}"]'),
        ("\ud800", "?"),
        (b"raw", "b'raw'"),
        (Colour.RED, "red"),
        (Word.YES, "yes"),
        (Both.ALL, '["yes","no"]'),
    ],
)
def test_what_a_tool_gives_back_becomes_a_text(value: object, text: str) -> None:
    """Texts are told as they are, structures as JSON, an enum by its value, nothing as nothing: what wires take."""
    assert as_text(value) == text
