"""Reading agents: the source of settings that turns discovered variables into routes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast, final

from pydantic import ValidationError
from pydantic_settings import BaseSettings, DotEnvSettingsSource, EnvSettingsSource, PydanticBaseSettingsSource

from ..providers import Problem
from ._discovery import RawRoute, discover, split_model, with_nested
from ._dotenv import broken_lines
from ._misspelt import misspelt
from ._route_settings import AgentSettings, RouteSettings
from ._values import EXPECTED, VENDOR_KEYS, problem, unset_key, variable_of

FIELDS = RouteSettings.model_fields.keys() - {"variables"}
"""What variables can set of a route."""

_DISCOVERED = frozenset({"agents", "ignored"})
"""The settings that discovery fills, and no variable of their own name."""


@final
class AgentsSource(PydanticBaseSettingsSource):
    """A source of settings: the agents found among all variables."""

    def __init__(
        self,
        settings_cls: type[BaseSettings],
        arguments: PydanticBaseSettingsSource,
        env: PydanticBaseSettingsSource,
        dotenv: PydanticBaseSettingsSource,
    ) -> None:
        super().__init__(settings_cls)
        in_code = arguments().get("agents")
        self._in_code: frozenset[str] = frozenset(in_code if isinstance(in_code, Mapping) else ())
        self._variables = {
            name: text
            for source in (dotenv, env)
            for name, text in cast(EnvSettingsSource, source).env_vars.items()
            if text and text.strip()
        }
        files = cast(DotEnvSettingsSource, dotenv).env_file or ()
        self._files = [Path(file) for file in ((files,) if isinstance(files, (str, os.PathLike)) else files)]

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        """Find nothing: the agents come whole, not field by field."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return the agents, what is ignored or not read, and the problems found on the way."""
        found = discover(self._variables, FIELDS)
        problems, ignored = [*broken_lines(self._files), *found.problems], list[Problem]()
        agents: dict[str, AgentSettings] = {}
        for name, chain in found.agents.items():
            if name in self._in_code:
                continue
            routes = [_route(raw, number, problems, ignored, self._variables) for number, raw in enumerate(chain)]
            fallbacks = tuple(route for route in routes[1:] if route is not None)
            if routes[0] is not None:
                agents[name] = AgentSettings(primary=routes[0], fallbacks=fallbacks)
        named = {raw.fields.get("api_key_env", "").lower() for chain in found.agents.values() for raw in chain}
        shared = {variable_of(name).lower() for name in self.settings_cls.model_fields.keys() - _DISCOVERED}
        ignored += misspelt(self._variables.keys() - named, shared, FIELDS)
        unread = {name for names in VENDOR_KEYS.values() for name in names if name.lower() in self._variables}
        return {"agents": agents, "ignored": tuple(ignored), "unread": frozenset(unread), "problems": problems}


def _route(
    raw: RawRoute, number: int, problems: list[Problem], ignored: list[Problem], variables: Mapping[str, str]
) -> RouteSettings | None:
    """Read one route. None when it is an incomplete fallback (`ignored`), or has a mistake (`problems`) that leaves
    open whom it asks; with any other mistake it lacks just what is wrong, so that the rest can be checked too."""
    split_model(raw.fields)
    incomplete = [name for name in ("model", "transport") if name not in raw.fields]
    if number > 0 and incomplete:
        if raw.fields:
            remedy = "set it; until then this fallback is ignored"
            ignored += [Problem(raw.variable(name), EXPECTED[name], remedy) for name in incomplete]
        return None
    if "model" in incomplete:
        problems.append(Problem(raw.variable("model"), EXPECTED["model"], "set it"))
    fields: dict[str, Any] = {k: v for k, v in raw.fields.items() if not k.startswith("provider_params__")}
    key_variable = fields.get("api_key_env")
    if key_variable is not None and key_variable.lower() not in variables:
        problems.append(unset_key(raw.variable("api_key_env")))
    elif key_variable is not None:
        fields.setdefault("api_key", variables[key_variable.lower()])
    wrong: set[str] = set()
    try:
        route = RouteSettings.model_validate({**fields, "variables": raw.variables})
    except ValidationError as error:
        for name, kind in dict.fromkeys((str(e["loc"][0]), e["type"]) for e in error.errors()):
            spelled = "api_key_env" if name == "api_key" and "api_key" not in raw.fields else name
            problems.append(problem(spelled, kind, raw.variable, RouteSettings.model_fields))
            wrong.add(name)
        right = {name: value for name, value in fields.items() if name not in wrong}
        route = RouteSettings.model_validate({**right, "variables": raw.variables})
    params, misplaced = with_nested(raw, route.provider_params)
    problems += misplaced
    if "model" in incomplete or wrong & {"model", "transport", "base_url", "api_key"}:
        return None
    return route.model_copy(update={"provider_params": params})
