"""What each setting must be: as a check, and in the words of an error message that never shows the value."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_network
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn, final
from urllib.parse import urlsplit

from pydantic import SecretStr

from ..providers import CHECKS, TRANSPORTS, Problem, is_forbidden, suggestion

PARAMETER_OF: dict[str, str] = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "seed": "seed",
    "max_output_tokens": "max_tokens",
    "stop_sequences": "stop",
    "thinking_effort": "reasoning_effort",
    "thinking_budget_tokens": "thinking_budget_tokens",
    "cache_policy": "cache_policy",
    "structured_output_mode": "structured_output_mode",
}
"""The request parameter that a route's setting gives a default to."""

_NOTHING: Mapping[str, Any] = MappingProxyType({})

_SECONDS = "a number of seconds above 0"
_URL = (
    "an address that starts with http:// or https:// and has a host, but no user, query or fragment, ends before "
    "/chat/completions or /messages, and leads to no link-local address and no cloud's metadata"
)
_HOST = "an address that starts with http:// or https:// and has a host, but no user, query or fragment"
_CALLS = ("/chat/completions", "/messages")
"""What the providers add to an address by themselves."""
_KEY = "a key: printable ASCII without spaces"

_FILE = "the path of a file"

EXPECTED: dict[str, str] = {
    **{setting: CHECKS[parameter][1] for setting, parameter in PARAMETER_OF.items()},
    "transport": f"one of {', '.join(TRANSPORTS)} (openai with a BASE_URL for another server that speaks like it)",
    "model": "the name of a model, on one line",
    "base_url": _URL,
    "api_key": _KEY,
    "api_key_env": "the name of a variable that holds a key",
    "provider_params": "a JSON object without model, messages and stream; extra_body and extra_query in it are "
    "objects, extra_headers maps texts to texts",
    "timeout": _SECONDS,
    "first_token_timeout": _SECONDS,
    "stall_timeout": _SECONDS,
    "stream_upstream": "true or false",
    "content_stall_timeout": _SECONDS,
    "fallback_on_context_length": "true or false",
    "fallback_on_content_policy": "true or false",
    "default_timeout": _SECONDS,
    "total_timeout": _SECONDS,
    "connect_timeout": _SECONDS,
    "write_timeout": _SECONDS,
    "retry_attempts": "a whole number, at least 1",
    "in_place_retries": "0 or 1",
    "fallback_on_refused": "always or never",
    "max_concurrency": "a whole number, at least 1",
    "default_max_tokens": "a whole number of tokens, at least 1",
    "circuit_trip_after": "a whole number of failures, at least 1",
    "circuit_open_for": _SECONDS,
    "circuit_open_max": _SECONDS,
    "circuit_passes": "a whole number of probes from 1 to 5",
    "circuit_window": _SECONDS,
    "circuit_window_calls": "a whole number of calls from 10 to 1000",
    "circuit_lone_routes": "allow or enforce",
    "circuit_observe_only": "true or false",
    "circuit_slow_after": _SECONDS,
    "http_transport": "understudy or httpx2",
    "prices": _FILE,
    "log_format": "text or json",
    "nous_auth_mode": "static, hermes or own",
    "nous_refresh_token": _KEY,
    "nous_portal_base_url": _URL,
    "nous_allow_insecure_tls": "true or false",
    **dict.fromkeys(("nous_auth_json_path", "nous_oauth_state_path", "nous_write_env_key", "hermes_ca_bundle"), _FILE),
    **dict.fromkeys(("hermes_home", "hermes_shared_auth_dir"), "the path of a folder"),
    "langfuse_public_key": "printable ASCII without spaces and colons",
    "langfuse_secret_key": _KEY,
    "langfuse_base_url": _HOST,
    "langfuse_host": _HOST,
    "langfuse_tracing_enabled": "true or false",
    "langfuse_capture_content": "true or false",
    "langfuse_sample_rate": "a number from 0 to 1",
    "gateway_aliases": "names of models, each with the one agent that it means: gpt-5=deriver, …",
    "gateway_hosts": "names of hosts without a scheme and a port, with commas between them",
    "gateway_origins": "origins such as https://app.example.com, with commas between them",
    "gateway_trusted_proxies": "addresses or whole networks, such as 10.0.0.5 or 10.0.0.0/24, with commas between them",
    "understudy_token_file": _FILE,
    "understudy_token": _KEY,
    "namespace": "a text of 1 to 200 characters on one line",
    **{f"{transport}_base_url": _URL for transport in TRANSPORTS},
    **{f"{transport}_api_key": _KEY for transport in TRANSPORTS},
}
"""What each setting must be, in the words of an error message."""


EXPECTED_IN_CODE: dict[str, str] = {
    "primary": "a RouteSettings",
    "fallbacks": "a list with a RouteSettings for each fallback",
    "agents": "a dict with an AgentSettings for each agent's name",
}
"""The same for what only programs set."""

OF_NOUS = frozenset(
    {
        *(
            "nous_auth_mode",
            "nous_auth_json_path",
            "nous_oauth_state_path",
            "nous_refresh_token",
            "nous_portal_base_url",
        ),
        *("nous_write_env_key", "nous_allow_insecure_tls", "hermes_home", "hermes_shared_auth_dir", "hermes_ca_bundle"),
    }
)
"""The shared settings of the login of Nous."""

OF_LANGFUSE = frozenset(
    {
        *("langfuse_public_key", "langfuse_secret_key", "langfuse_base_url", "langfuse_host"),
        *("langfuse_capture_content", "langfuse_sample_rate", "langfuse_tracing_enabled"),
    }
)

OF_GATEWAY = frozenset(
    {
        *("gateway_aliases", "gateway_hosts", "gateway_origins", "gateway_trusted_proxies"),
        *("understudy_token_file", "understudy_token"),
    }
)

UNPREFIXED = OF_NOUS | OF_LANGFUSE | OF_GATEWAY | {"namespace"}
"""The shared settings whose variables do not begin with LLM_: the names that other programs know them by."""


def variable_of(name: str) -> str:
    """Return the variable that sets a shared setting."""
    return name.upper() if name in UNPREFIXED else f"LLM_{name.upper()}"


VENDOR_KEYS: dict[str, tuple[str, ...]] = {
    "openai": ("OPENAI_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY",),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "lmstudio": (),
    "nous": ("NOUS_API_KEY",),
}
"""The variables from which the vendors' own tools take a key. They are not read, unless API_KEY_ENV names them."""


def address(url: str | None) -> str | None:
    """Return a usable base URL; a `ValueError` says what one is."""
    if url is None:
        return None
    url = url.strip()
    parts = urlsplit(url)  # raises ValueError, as `port` does
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
        raise ValueError(_URL)
    if not url.isprintable() or set("@?# \\") & set(url) or parts.path.rstrip("/").endswith(_CALLS):
        raise ValueError(_URL)
    if is_forbidden(parts.hostname):
        raise ValueError(_URL)
    return url


def file_path(path: Path) -> Path:
    """Return a usable path, its `~` replaced by the home folder; a `ValueError` says what one is."""
    try:
        whole = path.expanduser()
    except RuntimeError:  # nobody's home folder
        raise ValueError(_FILE) from None
    if "\0" in str(whole):
        raise ValueError(_FILE)
    return whole


def at_home(*parts: str) -> Path:
    """Return a path in the home folder; it begins with `~` where that is not known: some services run without one."""
    path = Path("~", *parts)
    try:
        return path.expanduser()
    except RuntimeError:
        return path


@final
class Key(SecretStr):
    """A secret that is not pickled either: a pickle is read by whoever finds it. Copies are the key itself."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not pickled: let the other process read its own settings")

    def __copy__(self) -> Key:
        return self

    def __deepcopy__(self, memo: object) -> Key:
        return self


def key(key: SecretStr | None) -> SecretStr | None:
    """Return a usable key: it travels in a header, so what cannot stand in one is none."""
    if key is None:
        return None
    text = key.get_secret_value().strip()
    if not text or " " in text or not text.isascii() or not text.isprintable():
        raise ValueError(_KEY)
    return Key(text)


def listed(text: object) -> object:
    """Return what stands in a text with commas between; what is no text is left to who looks at it next."""
    return tuple(name for part in text.split(",") if (name := part.strip())) if isinstance(text, str) else text


@final
class UnfitError(ValueError):
    """Some items of a list are none of what it holds. They may be shown where the setting stands in `SHOWN`."""

    def __init__(self, items: Iterable[str]) -> None:
        self.items = tuple(items)
        super().__init__("unfit")


def hosts(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return usable names of hosts; an `UnfitError` names the others."""
    if unfit := [name for name in names if not _HOST_NAME.fullmatch(name)]:
        raise UnfitError(unfit)
    return tuple(name.lower() for name in names)


def origins(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return usable origins: a scheme, a host, and perhaps a port; an `UnfitError` names the others."""
    if unfit := [name for name in names if not _is_origin(name)]:
        raise UnfitError(unfit)
    return tuple(name.lower() for name in names)


def _is_origin(name: str) -> bool:
    try:
        return not urlsplit(address(name) or "x").path
    except ValueError:
        return False


def networks(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return usable addresses and networks; an `UnfitError` names the others."""
    if unfit := [name for name in names if not _is_network(name)]:
        raise UnfitError(unfit)
    return tuple(str(ip_network(name)) for name in names)


def _is_network(name: str) -> bool:
    try:
        network = ip_network(name)
    except ValueError:
        return False
    return network.version == 4 or not network.network_address.ipv4_mapped  # whoever asks is known by IPv4


_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]")


def aliases(text: object) -> object:
    """Return the pairs in a text such as `gpt-5=deriver, claude=writer`; an `UnfitError` names what is no pair, and
    what gives a name to a second agent.
    """
    if not isinstance(text, str):
        return text
    parts = [part.strip() for part in text.split(",") if part.strip()]
    pairs = [(alias.strip(), agent.strip()) for alias, _, agent in (part.partition("=") for part in parts)]
    first: dict[str, str] = {}
    for alias, agent in pairs:
        first.setdefault(alias.lower(), agent)
    is_fit = [bool(alias and agent) and first[alias.lower()].lower() == agent.lower() for alias, agent in pairs]
    if unfit := [part for part, fits in zip(parts, is_fit, strict=True) if not fits]:
        raise UnfitError(unfit)
    return dict(pairs)


SHOWN = frozenset({"gateway_aliases", "gateway_hosts", "gateway_origins", "gateway_trusted_proxies"})
"""The settings of which a mistake shows what is wrong. A key may stand in any other one, put there by mistake."""

_SHOWN_AT_MOST = 60
"""Characters of an item that are shown (chosen: a long host's name)."""

_HIDDEN = re.compile(r".*@|(?<=[?#]).*", re.DOTALL)
"""Where an address may hold a password."""


def _shown(item: str) -> str:
    """Return an item in quotes, on one line and not too long, without what may be a secret all the same."""
    text = _HIDDEN.sub("…", item)
    return repr(text if len(text) <= _SHOWN_AT_MOST else text[:_SHOWN_AT_MOST] + "…")


def from_json(text: str) -> object:
    """Return what a JSON text says; a `ValueError` does not show it."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("JSON") from None  # the cause would hold the text


def unset_key(variable: str) -> Problem:
    """Say that API_KEY_ENV names nothing. Not what it names: that may be a key, put into the wrong variable."""
    remedy = "set the variable that it names, or name another one"
    return Problem(variable, EXPECTED["api_key_env"], remedy, lacks_key=True)


def problem(
    path: str, kind: str, variable: Callable[[str], str], known: Iterable[str], *, context: Mapping[str, Any] = _NOTHING
) -> Problem:
    """Say what is wrong with a setting, without its value; of those in `SHOWN` with the items that are wrong.

    Args:
        kind: pydantic's name for the mistake.
        variable: Returns the name of the variable that sets what stands at `path`.
        known: The names that there are, for a suggestion.
        context: What pydantic says of the mistake beside; the error of a validator is its `error`.
    """
    *_, name = names = path.split(".")
    if kind == "extra_forbidden":
        remedy = suggestion(name, sorted(known)).lstrip("; ") or "remove it"
        return Problem(variable(path), "a known name", remedy)
    words = {**EXPECTED, **EXPECTED_IN_CODE}
    expected = next((words[name] for name in reversed(names) if name in words), "another kind of value")
    return Problem(variable(path), expected, _remedy(name, kind, context.get("error")))


def _remedy(name: str, kind: str, error: object) -> str:
    if kind == "missing":
        return "set it"
    if name in SHOWN and isinstance(error, UnfitError):
        verb = "is" if len(error.items) == 1 else "are"
        return f"{', '.join(map(_shown, error.items))} {verb} none: mend it, or remove it"
    return "set it to that, or remove it"
