"""The settings of a route and of an agent, as a program writes them and as variables are read into."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias, cast, final

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from ..providers import CHECKS, TRANSPORTS, Parameters
from ._discovery import OBJECTS
from ._values import EXPECTED, PARAMETER_OF, address, from_json
from ._values import key as usable_key

Seconds: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@final
class RouteSettings(BaseModel):
    """One route of an agent: a transport, a model, and what differs from the shared settings.

    `base_url` and `api_key` are the transport's own unless set; `api_key_env` names a variable to read the key from.
    `timeout` bounds an attempt; it and the other limits are in seconds. `fallback_on_context_length` and
    `fallback_on_content_policy` hand a request over that this route refuses for its length or its content; both are
    off. `variables` says which variable set what.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    transport: str | None = None
    model: str | None = None
    base_url: str | None = None
    api_key: SecretStr | None = None
    api_key_env: str | None = None
    provider_params: Mapping[str, Any] = Field(default_factory=dict, repr=False)
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    max_output_tokens: int | None = None
    stop_sequences: tuple[str, ...] | None = None
    thinking_effort: str | None = None
    thinking_budget_tokens: int | None = None
    structured_output_mode: str | None = None
    cache_policy: str | None = None
    timeout: Seconds | None = None
    first_token_timeout: Seconds | None = None
    stall_timeout: Seconds | None = None
    fallback_on_context_length: bool | None = None
    fallback_on_content_policy: bool | None = None
    variables: Mapping[str, str] = Field(default_factory=dict, repr=False)

    @field_validator("transport")
    @classmethod
    def _known_transport(cls, transport: str | None) -> str | None:
        if transport is not None and transport.lower() not in TRANSPORTS:
            raise ValueError(EXPECTED["transport"])
        return None if transport is None else transport.lower()

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
class AgentSettings(BaseModel):
    """An agent: its primary, and its fallbacks in order."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    primary: RouteSettings
    fallbacks: tuple[RouteSettings, ...] = ()
