"""The plan: what the settings come to. Each agent's routes with addresses, keys, parameters and limits.

Whatever cannot work is said here, all at once, before anything is opened.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast, final

from ..actors import CircuitPolicy
from ..credentials import LoginSource
from ..providers import TRANSPORTS, ConfigurationError, Parameters, Price, Problem, Target, Verdict, normalised
from ._certificates import untrusted
from ._discovery import prefix_of
from ._gateway_access import GatewayAccess, alias_problems, gateway_access
from ._langfuse_access import LangfuseAccess, langfuse_access
from ._nous import LOGIN, NousCredential, nous_credential
from ._price_table import price_of, price_table
from ._route_settings import AgentSettings, RouteSettings
from ._routing import Policy
from ._settings import Settings
from ._values import EXPECTED, OF_NOUS, VENDOR_KEYS, unset_key, variable_of

if TYPE_CHECKING:
    from pydantic import SecretStr


@final
@dataclass(frozen=True, slots=True)
class Limits:
    """How long things may take, in seconds: a whole attempt, its first token, a pause in a stream, and one in which
    only signs of life come.
    """

    attempt: float
    first_token: float
    stall: float
    content_stall: float = 120.0


@final
@dataclass(frozen=True, slots=True)
class Route:
    """One transport and model that an agent may be answered by, with all that is set for it.

    `variables` names what set the model, the base URL and the key: the words of an error that helps; `set_by` names the
    variable that set each field, where variables did. With `stream_upstream` whole answers are streamed from it, too.
    `price` is None where none is set.
    """

    transport: str
    model: str
    target: Target
    parameters: Parameters = field(repr=False)  # its headers may be secret
    limits: Limits
    policy: Policy
    variables: RouteVariables
    stream_upstream: bool = False
    price: Price | None = None
    set_by: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def wants_key(self) -> bool:
        """Whether its address is known to answer nobody without a key: a vendor's own is, another's need not be."""
        row = TRANSPORTS[self.transport]
        return row.needs_key and self.target.base_url == normalised(self.transport, row.base_url)

    @property
    def wire(self) -> str:
        """The wire that its transport speaks."""
        return TRANSPORTS[self.transport].wire

    @property
    def help(self) -> str:
        """What to look at when the provider refuses the key, the model or the address."""
        names = self.variables
        return f"check {names.key}, {names.model} ({self.model}) and {names.base_url} ({self.target.base_url})"


@final
@dataclass(frozen=True, slots=True)
class RouteVariables:
    """The names of the variables that set a route's model, base URL and key."""

    model: str
    base_url: str
    key: str


@final
@dataclass(frozen=True, slots=True)
class AgentPlan:
    """One agent: its routes in order, the first being the primary."""

    name: str
    routes: tuple[Route, ...]


@final
@dataclass(frozen=True, slots=True)
class Plan:
    """All agents, and what holds for every request. `total_timeout` is in seconds. `login` is the one that targets with
    a `credential` are asked with, `langfuse` where traces go. With `json_logs` the lines of the log are JSON;
    `has_prices` says that there is a table of prices, `quotes` that the log may say what providers said, who may
    quote a prompt; `gateway` is how a gateway is reached.
    """

    agents: dict[str, AgentPlan]
    total_timeout: float
    circuits: CircuitPolicy
    ignored: tuple[Problem, ...]
    problems: tuple[Problem, ...]
    login: LoginSource | None = None
    langfuse: LangfuseAccess | None = None
    json_logs: bool = False
    has_prices: bool = False
    quotes: bool = True
    gateway: GatewayAccess | None = None

    @property
    def routes(self) -> tuple[Route, ...]:
        """Every route of every agent."""
        return tuple(route for agent in self.agents.values() for route in agent.routes)

    @property
    def targets(self) -> tuple[Target, ...]:
        """Every endpoint once, in the order of its first use."""
        return tuple(dict.fromkeys(route.target for route in self.routes))

    @property
    def endpoints(self) -> dict[str, Target]:
        """Every endpoint by its name, and `#2` and so on behind it where several differ in their credential alone."""
        named: dict[str, Target] = {}
        for target in self.targets:
            others = sum(target.name == other.name for other in named.values())
            named[f"{target.name} #{others + 1}" if others else target.name] = target
        return named


NO_AGENT = Problem(
    "<AGENT>_MODEL_CONFIG__MODEL",
    "at least one agent",
    "set it, for example DERIVER_MODEL_CONFIG__MODEL, in the environment or in .env in the working directory",
)
"""What is wrong where nothing is configured at all."""


def load(settings: Settings | None = None) -> Plan:
    """Work out what `settings` come to; without any, what environment and `.env` say.

    Every mistake is in `problems`, those of single values and those of the whole. Routes that have a mistake of the
    second kind are in the plan all the same, so that they can be shown.

    Raises:
        TypeError: `settings` is something else.
    """
    found: tuple[Problem, ...] = ()
    if settings is None:
        try:
            settings = Settings()
        except ConfigurationError as error:
            found = error.problems
            settings = cast(Settings, error.partial)
    if not isinstance(settings, Settings):
        raise TypeError(f"settings must be Settings, as Settings.in_code(agents=…) makes them, not {_kind(settings)}")
    whole = _order(settings)
    nous = nous_credential(settings) if _asks_nous(settings) else NousCredential()
    prices, mispriced = price_table(settings.prices)
    whole += mispriced
    agents = {
        name: _priced(_agent(name, agent, settings, nous, whole), prices) for name, agent in settings.agents.items()
    }
    routes = [route for agent in agents.values() for route in agent.routes]
    whole += [*_missing_keys(routes, settings), *untrusted(os.environ, [route.target.base_url for route in routes])]
    whole += alias_problems(settings.gateway_aliases, agents) if agents else []
    told = {problem.variable for problem in found}
    told |= {name.replace("_BASE_URL", "_API_KEY") for name in told}  # unless it is known where a key would be sent
    if told.isdisjoint(map(variable_of, OF_NOUS)):
        whole += [nous.problem] if nous.problem is not None else []
    else:  # unless it is known whose credential is meant
        told.add(_shared_key("nous"))
    problems = [*found, *(problem for problem in whole if problem.variable not in told)]
    if not agents and not problems:
        problems.append(NO_AGENT)
    circuits, mistakes = _circuits(settings), tuple(dict.fromkeys(problems))
    langfuse, untraced = langfuse_access(settings)
    ignored = (*settings.ignored, *(problem for problem in untraced if problem.variable not in told))
    return Plan(
        agents,
        settings.total_timeout,
        circuits,
        ignored,
        mistakes,
        nous.source,
        langfuse,
        json_logs=settings.log_format == "json",
        has_prices=settings.prices is not None,
        quotes=settings.langfuse_capture_content,
        gateway=gateway_access(settings),
    )


def _kind(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def sound(plan: Plan) -> Plan:
    """Return a plan without a mistake.

    Raises:
        ConfigurationError: It has mistakes; lists them all.
    """
    if plan.problems:
        raise ConfigurationError(plan.problems)
    return plan


def without_keys(plan: Plan) -> Plan:
    """Return a plan that lacks no key and has no login: for simulated providers, which need none."""
    agents = {
        name: replace(agent, routes=tuple(_without_login(route) for route in agent.routes))
        for name, agent in plan.agents.items()
    }
    problems = tuple(problem for problem in plan.problems if not problem.lacks_key)
    return replace(plan, agents=agents, problems=problems, login=None)


def _without_login(route: Route) -> Route:
    return replace(route, target=replace(route.target, credential="")) if route.target.credential else route


def _asks_nous(settings: Settings) -> bool:
    """Say whether any route needs the shared credential of Nous."""
    routes = [route for agent in settings.agents.values() for route in (agent.primary, *agent.fallbacks)]
    return any(route.transport == "nous" and _shares_key(route) for route in routes)


def _shares_key(route: RouteSettings) -> bool:
    return route.api_key is None and route.api_key_env is None


def _order(settings: Settings) -> list[Problem]:
    """Limits within limits: what is shorter by nature must not be set longer. A default gives way by itself."""
    chains = (("connect_timeout", "first_token_timeout", "total_timeout"), ("circuit_open_for", "circuit_open_max"))
    given = [[name for name in names if name in settings.model_fields_set] for names in chains]
    return [
        Problem(
            f"LLM_{inner.upper()}",
            f"at most the seconds of LLM_{outer.upper()}",
            f"lower it, or raise LLM_{outer.upper()}",
        )
        for names in given
        for inner, outer in itertools.pairwise(names)
        if getattr(settings, inner) > getattr(settings, outer)
    ]


def _agent(
    name: str, agent: AgentSettings, settings: Settings, nous: NousCredential, problems: list[Problem]
) -> AgentPlan:
    prefix = prefix_of(name)
    routes = [
        _route(route, prefix + "FALLBACK__" * depth, settings, nous, problems)
        for depth, route in enumerate((agent.primary, *agent.fallbacks))
    ]
    return AgentPlan(name, tuple(route for route in routes if route is not None))


def _priced(agent: AgentPlan, prices: Mapping[str, Price]) -> AgentPlan:
    routes = tuple(replace(route, price=price_of(prices, route.transport, route.model)) for route in agent.routes)
    return replace(agent, routes=routes)


def _route(
    route: RouteSettings, prefix: str, settings: Settings, nous: NousCredential, problems: list[Problem]
) -> Route | None:
    if route.model is None or not route.model.strip():
        problems.append(Problem(prefix + "MODEL", EXPECTED["model"], "set it"))
        return None
    if "model" in route.variables:  # its true place, should a fallback before it be ignored
        prefix = route.variables["model"].removesuffix("MODEL")
    transport = route.transport or "openai"
    shared_url, shared_key = f"LLM_{transport.upper()}_BASE_URL", _shared_key(transport)
    url = route.base_url or getattr(settings, f"{transport}_base_url") or TRANSPORTS[transport].base_url
    key: SecretStr | None = route.api_key or getattr(settings, f"{transport}_api_key")
    login = nous.source if transport == "nous" and _shares_key(route) else None
    if login is not None:
        key, shared_key = None, f"the login in {login.main}"
    names = RouteVariables(
        model=route.variables.get("model", prefix + "MODEL"),
        base_url=route.variables.get("base_url", prefix + "BASE_URL") if route.base_url else shared_url,
        key=route.variables.get("api_key", route.variables.get("api_key_env", prefix + "API_KEY"))
        if route.api_key or route.api_key_env
        else shared_key,
    )
    if route.api_key_env is not None and route.api_key is None:  # never another key than the one that was meant
        problems.append(unset_key(route.variables.get("api_key_env", prefix + "API_KEY_ENV")))
    target = Target(
        transport,
        normalised(transport, url),
        key,
        credential="" if login is None else LOGIN,
        max_concurrency=settings.max_concurrency,
        connect_timeout=settings.connect_timeout,
        write_timeout=settings.write_timeout,
        http_transport=settings.http_transport,
    )
    parameters, limits, policy = _parameters(route, settings), _limits(route, settings), _policy(route, settings)
    streams = bool(route.stream_upstream)
    return Route(transport, route.model, target, parameters, limits, policy, names, streams, set_by=route.variables)


def _shared_key(transport: str) -> str:
    return f"LLM_{transport.upper()}_API_KEY"


def _missing_keys(routes: list[Route], settings: Settings) -> list[Problem]:
    """Say which shared keys are missing, each once; a route whose own key is missing is told elsewhere."""
    wanting: dict[str, list[Route]] = {}
    for route in routes:
        has_none = route.target.api_key is None and not route.target.credential
        if route.wants_key and has_none and route.variables.key == _shared_key(route.transport):
            wanting.setdefault(route.transport, []).append(route)
    return [_missing_key(first, len(others), settings.unread) for first, *others in wanting.values()]


def _missing_key(route: Route, others: int, unread: frozenset[str]) -> Problem:
    """Say that the key of a route is missing, and of so many others; a key that only others read is pointed at."""
    variable, model = _shared_key(route.transport), route.variables.model
    own = model.removesuffix("MODEL") + "API_KEY"
    who = f"{model} leads" if not others else f"{model} and {others} more lead"
    remedy = f"set it, or {own} for this route alone"
    if found := [name for name in VENDOR_KEYS[route.transport] if name in unread]:
        remedy = f"{found[0]} is set but not read: set {variable} to its value, or {own}_ENV={found[0]}"
    elif route.transport == "nous":
        remedy += ", or log in with `understudy login nous`"
    return Problem(variable, f"a key for {route.target.base_url}, to which {who}", remedy, lacks_key=True)


def _policy(route: RouteSettings, settings: Settings) -> Policy:
    wishes = {Verdict.CAPABILITY: route.fallback_on_context_length, Verdict.POLICY: route.fallback_on_content_policy}
    return Policy(
        attempts=settings.retry_attempts,
        in_place_retries=settings.in_place_retries,
        hand_over_refused=settings.fallback_on_refused == "always",
        opted_in=frozenset(verdict for verdict, is_wished in wishes.items() if is_wished),
    )


def _circuits(settings: Settings) -> CircuitPolicy:
    return CircuitPolicy(
        trip_after=settings.circuit_trip_after,
        open_for=settings.circuit_open_for,
        open_max=settings.circuit_open_max,
        passes=settings.circuit_passes,
        window_for=settings.circuit_window,
        window_calls=settings.circuit_window_calls,
        observe_only=settings.circuit_observe_only,
        enforce_lone=settings.circuit_lone_routes == "enforce",
        hold_refused=settings.fallback_on_refused == "always",
        slow_after=settings.circuit_slow_after,
    )


def _parameters(route: RouteSettings, settings: Settings) -> Parameters:
    parameters = route.parameters
    if settings.default_max_tokens is not None:
        parameters.setdefault("max_tokens", settings.default_max_tokens)
    return parameters


def _limits(route: RouteSettings, settings: Settings) -> Limits:
    attempt = route.timeout or settings.default_timeout
    thinks = bool(route.thinking_budget_tokens) or route.thinking_effort not in {None, "none"}
    first_token = route.first_token_timeout or (attempt if thinks else min(settings.first_token_timeout, attempt))
    stall = route.stall_timeout or settings.stall_timeout
    return Limits(attempt, first_token, stall, max(settings.content_stall_timeout, stall))
