"""What a client may not choose: host, key, proxy, headers, a provider's settings, files (R-GW-7). Pure.

Gateways elsewhere passed such fields on to their own client, which then sent their key to a host of the caller's.
Ours passes on none of them; they are refused all the same, because whoever sends one expects it to count.

They are looked for at the top, at any depth below what the dialect does not know, and in the definitions of MCP
servers. They are not looked for in what is content: messages, the schemas of tools and of answers, metadata.

Source of the names: the request fields of docs.litellm.ai/docs/completion/input and …/docs/proxy/clientside_auth, the
constructors of the SDKs `openai` 3.52 and `anthropic` 2.11, openrouter.ai/docs/api-reference/parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeAlias

from ._inward import UnreadableError
from ._inward_fields import shown

REFUSED: frozenset[str] = frozenset(
    {
        # where to
        *("api_base", "base_url", "api_host", "api_endpoint", "endpoint", "endpoint_url", "host", "hostname", "url"),
        *("uri", "server_url", "websocket_base_url", "api_version", "api_type", "region", "region_name", "deployment"),
        # by whose right
        *("api_key", "api_token", "admin_api_key", "auth", "auth_token", "access_token", "authorization", "bearer"),
        *("authorization_token", "bearer_token", "client_id", "client_secret", "cookie", "cookies", "credential"),
        *("credentials", "password", "secret", "tenant_id", "token", "username", "webhook_secret"),
        *("organization", "organization_id", "org", "org_id", "openai_organization", "project", "project_id"),
        *("openai_project", "workspace_id"),
        # through what
        *("proxy", "proxies", "http_proxy", "https_proxy", "all_proxy", "no_proxy", "http_client", "client", "verify"),
        *("transport", "ssl_verify", "verify_ssl", "ssl_context", "cert", "certificate", "ca_bundle"),
        # with which headers
        *("headers", "extra_headers", "default_headers", "custom_headers", "http_headers", "extra_query"),
        *("default_query", "query", "query_params"),
        # by which provider, how often, how long
        *("custom_llm_provider", "llm_provider", "provider_config", "fallbacks", "fallback", "fallback_models"),
        *("context_window_fallbacks", "content_policy_fallbacks", "default_fallbacks", "model_list", "models"),
        *("router", "router_settings", "user_config", "config", "settings", "timeout", "request_timeout"),
        *("stream_timeout", "max_retries", "num_retries", "retries", "retry_policy", "cooldown_time"),
        # with which servers and hooks
        *("mcp_servers", "callback", "callbacks", "success_callback", "failure_callback", "webhook", "webhook_url"),
        # from which files
        *("file_path", "filepath", "key_file", "cert_file", "config_file", "config_path", "env", "environment"),
        *("env_file", "google_application_credentials"),
    }
)
"""In snake case; other spellings are compared without case, `_` and `-`."""

PREFIXES = ("aws_", "azure_", "vertex_", "litellm_", "langfuse_", "langsmith_", "watsonx_", "sagemaker_")
"""Beginnings of the settings of clouds and of other gateways."""

CONTENT: frozenset[str] = frozenset(
    {
        *("messages", "input", "system", "instructions", "tools", "functions", "tool_choice"),
        *("metadata", "client_metadata"),
        *("response_format", "text", "output_config", "output_format", "prediction", "prompt", "stop", "user"),
        "web_search_options",  # the region where the user is
    }
)
"""Fields that hold what is said, or schemas: in them a name means nothing. Of `tools`, MCP servers are looked at."""


def plain(name: str) -> str:
    """Return a name without what tells snake, kebab and camel case apart."""
    return name.replace("_", "").replace("-", "").lower()


_REFUSED = frozenset(map(plain, REFUSED))
_PREFIXES = tuple(map(plain, PREFIXES))


@lru_cache(1024)
def is_refused(name: str) -> bool:
    """Say whether a field of this name chooses what a client may not."""
    compared = plain(name)
    return compared in _REFUSED or compared.startswith(_PREFIXES)


def check_refused(body: Mapping[str, Any]) -> None:
    """Refuse a request that chooses what a client may not.

    Raises:
        UnreadableError: It does; names the field.
    """
    for name, value in body.items():
        if is_refused(name):
            raise _refusal((None, name))
        if name not in CONTENT and isinstance(value, (dict, list)):
            _check_within(value, (None, name))
    tools = body.get("tools")
    for number, definition in enumerate(tools if isinstance(tools, list) else ()):
        if isinstance(definition, dict) and _is_mcp(definition):
            _check_within(definition, (None, f"tools[{number}]"))


def _is_mcp(definition: Mapping[str, Any]) -> bool:
    return str(definition.get("type")).startswith("mcp") or "server_url" in definition


_Place: TypeAlias = "tuple[_Place | None, str]"
"""A step, behind the one before it: what it is called is put together only where it has to be said."""


def _check_within(value: Any, where: _Place) -> None:
    """Look at every object below; not by recursion, because it may be deep."""
    left: list[tuple[Any, _Place]] = [(value, where)]
    while left:
        part, place = left.pop()
        if isinstance(part, list):
            left += [(inner, (place, f"[{number}]")) for number, inner in enumerate(part)]
        elif isinstance(part, dict):
            for name, inner in part.items():
                step = (place, f".{name}")
                if is_refused(name):
                    raise _refusal(step)
                left.append((inner, step))


def _refusal(place: _Place | None) -> UnreadableError:
    steps: list[str] = []
    while place is not None:
        place, step = place
        steps.append(shown(step))
    where = shown("".join(reversed(steps)))
    return UnreadableError(f"{where} cannot be chosen by a request: it is a setting of this server", where)
