"""Typed functions as tools: the schema from the signature, the words from the docstring.

pydantic makes the schema, and reads the arguments by it before the function is called: a parameter may be a model or a
date. It is imported when the first function is given.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, final, get_args, get_origin, get_type_hints

from ..providers import Tool, ToolLike
from ._docstrings import Described, read_docstring

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}", re.ASCII)
"""What both vendors accept: platform.openai.com/docs/api-reference/chat; platform.claude.com/docs/en/api/messages."""

_BY_HAND = "give Tool(name, description, parameters, run=…) with a JSON schema"


@final
class Typed:
    """A function, and the model of its arguments. Calling it calls the function."""

    __slots__ = ("_asked", "_model", "function")

    def __init__(self, function: Callable[..., Any], asked: tuple[_Asked, ...], model: type[BaseModel]) -> None:
        self.function, self._asked, self._model = function, asked, model

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self.function(*args, **kwargs)

    def bound(self, arguments: str) -> Callable[[], Any]:
        """Return the call of the function with these arguments, a JSON object, as what its parameters are.

        Raises:
            ValueError: They do not fit; says which and why, without their values.
        """
        from pydantic import ValidationError

        try:
            given = self._model.model_validate_json(arguments)
        except ValidationError as error:
            raise ValueError(_faults(error)) from None
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for asked in self._asked:
            if asked.place in given.model_fields_set:
                value = getattr(given, asked.place)
            elif asked.by_position:
                value = asked.default  # those behind it would move up otherwise
            else:
                continue
            if asked.by_position:
                args.append(value)
            else:
                kwargs[asked.name] = value
        return functools.partial(self.function, *args, **kwargs)


@final
@dataclass(frozen=True, slots=True)
class _Asked:
    """A parameter that the model is asked for; `place` is its name in the model of the arguments."""

    name: str
    place: str
    by_position: bool
    default: Any


def as_tools(tools: object) -> object:
    """Return a list with each function made a tool, the rest as it is; and what is no list as it is.

    Raises:
        TypeError: Of a function no tool can be made; says why, and the remedy.
    """
    if not isinstance(tools, (list, tuple)):
        return tools
    return [as_tool(tool) if callable(tool) else tool for tool in tools]


def as_tool(function: ToolLike, *, name: str | None = None, description: str | None = None) -> Tool:
    """Make a tool of a typed function: what `tools` does with one, once, and by another name if you like.

    Args:
        function: A function, async or not, a method of an object, a `functools.partial` (what it binds is not asked
            for), or an object that can be called. Each parameter needs a type that pydantic knows. What the docstring
            says of a parameter, or `Annotated[…, Field(description=…)]`, is told to the model.
        name: Default: its own.
        description: Default: what its docstring says before the sections.

    Raises:
        TypeError: No tool can be made of it; says why, and the remedy.
    """
    if isinstance(function, Tool):
        return function
    given: object = function
    if not callable(given) or inspect.isclass(given):
        raise TypeError(f"a {type(function).__name__} is no tool: give a typed function, or {_BY_HAND}")
    inner = _inner(function)
    called = name if name is not None else _name(inner)
    if not _NAME.fullmatch(called):
        remedy = "as_tool(function, name='…') gives it one of letters, digits, _ and -, at most 64"
        raise TypeError(f"{called!r} cannot be the name of a tool: {remedy}")
    if any(map(_makes_generator, (inner, type(inner).__call__))):
        raise TypeError(f"{called} is a generator, whose values no model would see: return a list of them")
    said = read_docstring(_doc(inner))
    model, asked = _model(called, function, inner, said)
    described = said.summary if description is None else description
    return Tool(called, described, _schema(called, model), run=Typed(function, asked, model))


def is_async(function: Callable[..., Any]) -> bool:
    """Say whether calling it only makes a coroutine, so that it needs no thread."""
    while isinstance(function, (functools.partial, Typed)):
        function = function.func if isinstance(function, functools.partial) else function.function
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _makes_generator(function: object) -> bool:
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def _inner(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what a partial, or a chain of them, calls in the end."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _name(inner: Callable[..., Any]) -> str:
    return str(getattr(inner, "__name__", type(inner).__name__))


def _doc(inner: Callable[..., Any]) -> str:
    if not hasattr(inner, "__name__"):  # an object: what it says of calling it is nearest
        return inspect.getdoc(type(inner).__call__) or inspect.getdoc(type(inner)) or ""
    return inspect.getdoc(inner) or ""


def _globals(inner: Callable[..., Any]) -> dict[str, Any]:
    """Return the names that the annotations were written among."""
    written: Any = inspect.unwrap(inner)
    written = getattr(written, "__func__", written)
    if not hasattr(written, "__globals__"):
        written = inspect.unwrap(type(written).__call__)
    return dict(getattr(written, "__globals__", {}))


def _model(
    called: str, function: Callable[..., Any], inner: Callable[..., Any], said: Described
) -> tuple[type[BaseModel], tuple[_Asked, ...]]:
    """Return the model of the arguments, and how each of them is passed on."""
    from pydantic import ConfigDict, Field, create_model
    from pydantic.errors import PydanticUserError

    fields: dict[str, Any] = {}
    asked: list[_Asked] = []
    for number, (parameter, annotation) in enumerate(_parameters(called, function, inner)):
        place = f"argument_{number}"
        default: Any = ... if parameter.default is parameter.empty else parameter.default
        told = None if _is_described(annotation) else said.arguments.get(parameter.name)
        words: dict[str, Any] = {"description": told} if told else {}
        fields[place] = (annotation, Field(default, alias=parameter.name, **words))
        is_positional = parameter.kind is parameter.POSITIONAL_ONLY
        asked.append(_Asked(parameter.name, place, is_positional, parameter.default))
    config = ConfigDict(extra="forbid")
    try:
        return create_model(called, __config__=config, **fields), tuple(asked)
    except (PydanticUserError, NameError) as error:
        raise _no_schema(called, error) from None


def _parameters(
    called: str, function: Callable[..., Any], inner: Callable[..., Any]
) -> Iterator[tuple[inspect.Parameter, Any]]:
    """Yield the parameters that are asked for, each with its type."""
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError, NameError):
        raise TypeError(f"the parameters of {called} are not known: {_BY_HAND}") from None
    bound = function.keywords if isinstance(function, functools.partial) else {}
    parameters = [parameter for name, parameter in signature.parameters.items() if name not in bound]
    hints = _hints(called, parameters, inner)
    for number, parameter in enumerate(parameters):
        name = parameter.name
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
            stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
            raise TypeError(f"{called} takes {stars}{name}, of which no schema can be made: name each parameter")
        if name not in hints:
            if number == 0 and name in {"self", "cls"}:
                raise TypeError(f"{called} wants its {name}: give the method of an object, tools=[thing.{called}]")
            raise TypeError(f"the parameter {name!r} of {called} has no type: write one, as in {name}: str")
        if type(parameter.default).__name__ == "FieldInfo":
            raise TypeError(f"the default of {name!r} of {called} is a Field: write {name}: Annotated[…, Field(…)]")
        yield parameter, hints[name]


def _hints(called: str, parameters: list[inspect.Parameter], inner: Callable[..., Any]) -> dict[str, Any]:
    """Return the types by name. Those of the parameters alone: what a function returns may be known to nobody here."""

    def written() -> None: ...

    written.__annotations__ = {p.name: p.annotation for p in parameters if p.annotation is not p.empty}
    try:
        return get_type_hints(written, _globals(inner), include_extras=True)
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        remedy = "types of parameters must be found in the module of the function when it runs"
        raise TypeError(f"a type in the signature of {called} is not known: {error}; {remedy}") from None


def _is_described(annotation: object) -> bool:
    if get_origin(annotation) is not Annotated:
        return False
    return any(getattr(extra, "description", None) for extra in get_args(annotation)[1:])


def _schema(called: str, model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of the arguments, without the titles that only repeat the names."""
    from pydantic.errors import PydanticUserError
    from pydantic.json_schema import GenerateJsonSchema

    class Schema(GenerateJsonSchema):
        ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - as it is there

        def field_title_should_be_set(self, schema: Any) -> bool:
            return False

    try:
        made = model.model_json_schema(schema_generator=Schema)
    except PydanticUserError as error:
        raise _no_schema(called, error) from None
    made.pop("title", None)
    made.setdefault("properties", {})
    return made


def _no_schema(called: str, error: Exception) -> TypeError:
    said = str(error).splitlines()[0]
    return TypeError(f"no schema can be made of the parameters of {called}: {said}; use other types, or {_BY_HAND}")


def _faults(error: ValidationError) -> str:
    """Say what is wrong with each argument, without its value."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'the arguments'}: {fault['msg']}" for fault in faults)
