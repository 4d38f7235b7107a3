"""Settings: from arguments, environment and `.env`, in this order of precedence, every mistake reported at once.

Agents are discovered among the variables (`_discovery.py`, `_source.py`); what is shared has the prefix `LLM_`. Which
addresses, keys and limits follow from all this is decided in `_plan.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, final

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from ..providers import TRANSPORTS, ConfigurationError, Problem, out_of_files
from ._route_settings import FIELDS_IN_CODE, AgentSettings, Seconds
from ._source import AgentsSource
from ._values import address, aliases, at_home, file_path, hosts, listed, networks, origins, problem, variable_of
from ._values import key as usable_key

FilePath = Annotated[Path, AfterValidator(file_path)]
"""A path, which may begin with the home folder's `~`."""

Hosts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(listed), AfterValidator(hosts)]
Origins = Annotated[tuple[str, ...], NoDecode, BeforeValidator(listed), AfterValidator(origins)]
Networks = Annotated[tuple[str, ...], NoDecode, BeforeValidator(listed), AfterValidator(networks)]
"""Names with commas between them."""


class Settings(BaseSettings):
    """Everything that can be set. Arguments win over the environment, which wins over `.env`.

    Args:
        agents: Agents made in code. One of the same name in the environment is set aside whole.

    Raises:
        ConfigurationError: Lists every mistake, each with its variable, what was expected, and the remedy.
    """

    model_config = SettingsConfigDict(
        env_prefix="LLM_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    agents: Annotated[Mapping[str, AgentSettings], NoDecode] = Field(default_factory=dict)
    openai_api_key: SecretStr | None = None
    anthropic_api_key: SecretStr | None = None
    gemini_api_key: SecretStr | None = None
    lmstudio_api_key: SecretStr | None = None
    nous_api_key: SecretStr | None = None
    openai_base_url: str | None = None
    anthropic_base_url: str | None = None
    gemini_base_url: str | None = None
    lmstudio_base_url: str | None = None
    nous_base_url: str | None = None
    nous_auth_mode: Literal["static", "hermes", "own"] | None = Field(default=None, validation_alias="nous_auth_mode")
    nous_auth_json_path: FilePath | None = Field(default=None, validation_alias="nous_auth_json_path")
    nous_oauth_state_path: FilePath = Field(
        default_factory=partial(at_home, ".understudy", "nous_oauth_state.json"),
        validation_alias="nous_oauth_state_path",
        validate_default=False,  # where no home folder is known, that is a mistake only if the file is needed
    )
    nous_refresh_token: SecretStr | None = Field(default=None, validation_alias="nous_refresh_token")
    nous_portal_base_url: str | None = Field(default=None, validation_alias="nous_portal_base_url")
    nous_write_env_key: FilePath | None = Field(default=None, validation_alias="nous_write_env_key")
    nous_allow_insecure_tls: bool = Field(default=False, validation_alias="nous_allow_insecure_tls")
    hermes_home: FilePath = Field(
        default_factory=partial(at_home, ".hermes"), validation_alias="hermes_home", validate_default=False
    )
    hermes_shared_auth_dir: FilePath | None = Field(default=None, validation_alias="hermes_shared_auth_dir")
    hermes_ca_bundle: FilePath | None = Field(default=None, validation_alias="hermes_ca_bundle")
    langfuse_public_key: str | None = Field(
        default=None, validation_alias="langfuse_public_key", pattern=r"^[!-9;-~]+$"
    )
    langfuse_secret_key: SecretStr | None = Field(default=None, validation_alias="langfuse_secret_key")
    langfuse_base_url: str | None = Field(default=None, validation_alias="langfuse_base_url")
    langfuse_host: str | None = Field(default=None, validation_alias="langfuse_host")
    langfuse_tracing_enabled: bool = Field(default=True, validation_alias="langfuse_tracing_enabled")
    langfuse_capture_content: bool = Field(default=True, validation_alias="langfuse_capture_content")
    langfuse_sample_rate: float = Field(default=1.0, ge=0, le=1, validation_alias="langfuse_sample_rate")
    namespace: str | None = Field(default=None, validation_alias="namespace", pattern=r"^[^\x00-\x1f\x7f]{1,200}$")
    gateway_aliases: Annotated[Mapping[str, str], NoDecode, BeforeValidator(aliases)] = Field(
        default_factory=dict, validation_alias="gateway_aliases"
    )
    gateway_hosts: Hosts = Field(default=(), validation_alias="gateway_hosts")
    gateway_origins: Origins = Field(default=(), validation_alias="gateway_origins")
    gateway_trusted_proxies: Networks = Field(default=(), validation_alias="gateway_trusted_proxies")
    understudy_token_file: FilePath = Field(
        default_factory=partial(at_home, ".understudy", "gateway_token"),
        validation_alias="understudy_token_file",
        validate_default=False,
    )
    understudy_token: SecretStr | None = Field(default=None, validation_alias="understudy_token")
    default_timeout: Seconds = 180.0
    total_timeout: Seconds = 600.0
    connect_timeout: Seconds = 5.0
    write_timeout: Seconds = 30.0
    first_token_timeout: Seconds = 60.0
    stall_timeout: Seconds = 30.0
    content_stall_timeout: Seconds = 120.0
    retry_attempts: int = Field(default=3, ge=1)
    in_place_retries: int = Field(default=0, ge=0, le=1)
    fallback_on_refused: Literal["always", "never"] = "always"
    max_concurrency: int = Field(default=1000, ge=1)
    circuit_trip_after: int = Field(default=2, ge=1)
    circuit_open_for: Seconds = 10.0
    circuit_open_max: Seconds = 25.0
    circuit_passes: int = Field(default=1, ge=1, le=5)
    circuit_window: Seconds = 60.0
    circuit_window_calls: int | None = Field(default=None, ge=10, le=1000)
    circuit_lone_routes: Literal["allow", "enforce"] = "allow"
    circuit_observe_only: bool = False
    circuit_slow_after: Seconds | None = None
    default_max_tokens: int | None = Field(default=None, ge=1)
    http_transport: Literal["understudy", "httpx2"] = "understudy"
    prices: FilePath | None = None
    log_format: Literal["text", "json"] = "text"
    ignored: Annotated[tuple[Problem, ...], NoDecode] = Field(default=(), repr=False)
    """What was set but has no effect, such as an incomplete fallback. Filled by discovery."""
    _unread: frozenset[str] = PrivateAttr(frozenset())

    def __init__(self, **values: Any) -> None:
        known = type(self).model_fields
        unknown = [name for name in values if name not in known and not name.startswith("_")]
        if unknown:
            raise ConfigurationError([problem(name, "extra_forbidden", str, known) for name in unknown])
        readable = True
        try:
            super().__init__(**values)
        except (OSError, UnicodeDecodeError) as error:  # told outside: a UnicodeDecodeError holds the whole file
            if out_of_files(error):
                raise
            readable = False
        if not readable:
            remedy = "save it as UTF-8, or mend its permissions"
            unreadable = Problem(".env", "a text file in UTF-8 that may be read", remedy)
            raise ConfigurationError([unreadable], partial=_InCode())

    @property
    def unread(self) -> frozenset[str]:
        """The variables that the vendors' own tools take a key from, as far as they are set; ours are others."""
        return self._unread

    @classmethod
    def in_code(cls, **values: Any) -> Settings:
        """Make settings from arguments alone: neither the environment nor `.env` is read.

        Raises:
            ConfigurationError: As `Settings` itself.
        """
        return _InCode(**values)

    @field_validator(
        *(f"{transport}_base_url" for transport in TRANSPORTS),
        "nous_portal_base_url",
        "langfuse_base_url",
        "langfuse_host",
    )
    @classmethod
    def _usable_address(cls, url: str | None) -> str | None:
        return address(url)

    @field_validator(
        *(f"{transport}_api_key" for transport in TRANSPORTS),
        "nous_refresh_token",
        "langfuse_secret_key",
        "understudy_token",
    )
    @classmethod
    def _usable_key(cls, key: SecretStr | None) -> SecretStr | None:
        return usable_key(key)

    @model_validator(mode="wrap")
    @classmethod
    def _all_at_once(cls, data: Any, handler: ModelWrapValidatorHandler[Settings]) -> Settings:
        problems: list[Problem] = list(data.pop("problems", ()))
        unread = data.pop("unread", frozenset())
        data = {name: value for name, value in data.items() if not isinstance(value, str) or value.strip()}
        try:
            settings = handler(data)
        except ValidationError as error:
            problems += [
                problem(
                    ".".join(map(str, e["loc"])), e["type"], cls._variable, FIELDS_IN_CODE, context=e.get("ctx", {})
                )
                for e in error.errors()
            ]
            wrong = {e["loc"][0] for e in error.errors()}
            settings = handler({name: value for name, value in data.items() if name not in wrong})
        settings._unread = unread
        if problems:
            raise ConfigurationError(problems, partial=settings)
        return settings

    @staticmethod
    def _variable(path: str) -> str:
        return path if "." in path or path == "agents" else variable_of(path)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the discovery of agents behind the arguments, reading what environment and `.env` hold together."""
        agents = AgentsSource(settings_cls, init_settings, env_settings, dotenv_settings)
        return init_settings, agents, env_settings, dotenv_settings


@final
class _InCode(Settings):
    model_config = SettingsConfigDict(env_file=None)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)
