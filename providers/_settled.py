"""What the SDKs' clients offer no public way to set."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_AMBIENT = ("organization", "project", "admin_api_key")
"""What the OpenAI SDK takes from its own environment variables and sends as headers."""


def settle_client(client: Any, headers: Mapping[str, str] = MappingProxyType({})) -> None:
    """Set what the SDKs offer no public way to: the only place that touches their private attributes.

    `_platform` would be looked up in a worker thread by the first request, or by a thousand first requests in a
    thousand threads. `_custom_headers` may hold headers from `OPENAI_CUSTOM_HEADERS` or `ANTHROPIC_CUSTOM_HEADERS`,
    which were meant for one vendor and must not reach another.
    """
    client._platform = {"Darwin": "MacOS"}.get(platform.system(), platform.system() or "Unknown")
    client._custom_headers = dict(headers)
    for name in _AMBIENT:
        if hasattr(client, name):
            setattr(client, name, None)
