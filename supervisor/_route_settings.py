"""The settings of a route and of an agent, as a program writes them and as variables are read into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeAlias, TypeVar, cast, final

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, ValidationInfo, field_validator

from ..providers import CHECKS, TRANSPORTS, ConfigurationError, Parameters, Problem
from ._discovery import OBJECTS
from ._values import EXPECTED, EXPECTED_IN_CODE, PARAMETER_OF, address, from_json, problem
from ._values import key as usable_key

Seconds: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]

if TYPE_CHECKING:
    Held = TypeVar("Held", covariant=True)
    Given = TypeVar("Given", contravariant=True)

    class _Takes(Generic[Held, Given]):
        """A field that is given as one type and then held as another; at run time it is a plain one."""

        def __get__(self, instance: object, owner: object = None) -> Held: ...

        def __set__(self, instance: object, value: Given) -> None: ...


class _ByField(BaseModel):
    """Settings that a program makes: whatever is wrong with them is told at once, by field, without any value."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    if not TYPE_CHECKING:  # type checkers make the parameters from the fields

        def __init__(self, **values: Any) -> None:
            problems: list[Problem] = []
            try:
                super().__init__(**values)
            except ValidationError as error:  # told outside, because it holds the values
                problems = [
                    problem(".".join(map(str, e["loc"])), e["type"], str, FIELDS_IN_CODE) for e in error.errors()
                ]
            if problems:
                raise ConfigurationError(problems)

        # pydantic then takes it for its own: of settings inside of others, only the outermost tells, with whole paths
        __init__.__pydantic_base_init__ = True


@final
class RouteSettings(_ByField):
    """One route of an agent: a transport, a model, and what differs from the shared settings.

    `base_url` and `api_key` are the transport's own unless set; `api_key_env` names a variable to read the key from.
    `timeout` bounds an attempt; it and the other limits are in seconds. `fallback_on_context_length` and
    `fallback_on_content_policy` hand a request over that this route refuses for its length or its content; both are
    off. `stream_upstream` has whole answers streamed from the provider, so that those limits guard them, too.
    `variables` says which variable set what.

    Raises:
        ConfigurationError: Lists every mistake, each with its field, what was expected, and the remedy.
    """

    transport: str | None = None
    model: str | None = None
    base_url: str | None = None
    if TYPE_CHECKING:
        api_key: _Takes[SecretStr | None, SecretStr | str | None] = _Takes()
        stop_sequences: _Takes[tuple[str, ...] | None, Sequence[str] | None] = _Takes()
    else:
        api_key: SecretStr | None = None
        stop_sequences: tuple[str, ...] | None = None
    api_key_env: str | None = None
    provider_params: Mapping[str, Any] = Field(default_factory=dict, repr=False)
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    max_output_tokens: int | None = None
    thinking_effort: str | None = None
    thinking_budget_tokens: int | None = None
    structured_output_mode: str | None = None
    cache_policy: str | None = None
    timeout: Seconds | None = None
    first_token_timeout: Seconds | None = None
    stall_timeout: Seconds | None = None
    stream_upstream: bool | None = None
    fallback_on_context_length: bool | None = None
    fallback_on_content_policy: bool | None = None
    variables: Mapping[str, str] = Field(default_factory=dict, repr=False)

    @field_validator("transport")
    @classmethod
    def _known_transport(cls, transport: str | None) -> str | None:
        if transport is not None and transport.lower() not in TRANSPORTS:
            raise ValueError(EXPECTED["transport"])
        return None if transport is None else transport.lower()

    @field_validator("model")
    @classmethod
    def _one_line(cls, model: str | None) -> str | None:
        """It is shown, and sent: after a quote that is not closed in a `.env` it would hold the lines that follow."""
        if model is not None and not model.strip().isprintable():
            raise ValueError(EXPECTED["model"])
        return None if model is None else model.strip()

    @field_validator("base_url")
    @classmethod
    def _usableaddress(cls, url: str | None) -> str | None:
        return address(url)

    @field_validator("api_key")
    @classmethod
    def _usable_key(cls, key: SecretStr | None) -> SecretStr | None:
        return usable_key(key)

    @field_validator("stop_sequences", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        """A JSON list, or one text: a comma may well be part of a stop sequence."""
        if not isinstance(value, str):
            return value
        return from_json(value) if value.lstrip().startswith("[") else (value,)

    @field_validator("provider_params", mode="before")
    @classmethod
    def _json_object(cls, value: object) -> object:
        return from_json(value) if isinstance(value, str) else value

    @field_validator("provider_params")
    @classmethod
    def _objects_inside(cls, params: Mapping[str, Any]) -> Mapping[str, Any]:
        inside = all(CHECKS[name][0](params[name]) for name in OBJECTS if name in params)
        if not inside or not CHECKS["extra_body"][0](params):  # any other name is one of the body's
            raise ValueError(EXPECTED["provider_params"])
        return params

    @field_validator(*PARAMETER_OF)
    @classmethod
    def _possible(cls, value: object, info: ValidationInfo) -> object:
        if value is None:
            return None
        test, expected = CHECKS[PARAMETER_OF[info.field_name or ""]]
        if not test(value):
            raise ValueError(expected)
        return value

    @property
    def parameters(self) -> Parameters:
        """The parameters that this route gives a request unless the request has its own."""
        given = {p: v for setting, p in PARAMETER_OF.items() if (v := getattr(self, setting)) is not None}
        extra = dict(self.provider_params)
        for name in ("extra_headers", "extra_query"):
            if name in extra:
                given[name] = extra.pop(name)
        body = {**extra.pop("extra_body", {}), **extra}
        if body:
            given["extra_body"] = body
        return cast(Parameters, given)


@final
class AgentSettings(_ByField):
    """An agent: its primary, and its fallbacks in order.

    Raises:
        ConfigurationError: As `RouteSettings`.
    """

    primary: RouteSettings
    if TYPE_CHECKING:
        fallbacks: _Takes[tuple[RouteSettings, ...], Sequence[RouteSettings]] = _Takes()
    else:
        fallbacks: tuple[RouteSettings, ...] = ()

    @field_validator("fallbacks", mode="before")
    @classmethod
    def _many(cls, value: object) -> object:
        if isinstance(value, (str, BaseModel)):  # the fields of a lone route would be taken for as many routes
            raise ValueError(EXPECTED_IN_CODE["fallbacks"])
        return value


FIELDS_IN_CODE = frozenset(RouteSettings.model_fields | AgentSettings.model_fields) - {"variables"}
"""What a program can set of a route and of an agent."""
