"""Where traces go, as the settings say: to Langfuse, if it has both keys, and its SDK is installed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import final

from pydantic import SecretStr

from ..providers import Problem
from ._settings import Settings

CLOUD = "https://cloud.langfuse.com"
"""Where Langfuse is by itself (langfuse.com/docs)."""


@final
@dataclass(frozen=True, slots=True)
class LangfuseAccess:
    """How Langfuse is reached. Without `capture_content` no prompt and no answer is sent, and nothing that may quote
    one. `sample_rate` is the share of traces that are sent; `namespace` stands in the metadata of each.
    """

    public_key: str
    secret_key: SecretStr
    base_url: str = CLOUD
    capture_content: bool = True
    sample_rate: float = 1.0
    namespace: str = ""


def langfuse_access(settings: Settings) -> tuple[LangfuseAccess | None, tuple[Problem, ...]]:
    """Return how Langfuse is reached, or None; and why not, where somebody seems to want it."""
    public, secret = settings.langfuse_public_key, settings.langfuse_secret_key
    if (public is None and secret is None) or not settings.langfuse_tracing_enabled:
        return None, ()
    if public is None or secret is None:
        missing = "LANGFUSE_PUBLIC_KEY" if public is None else "LANGFUSE_SECRET_KEY"
        return None, (Problem(missing, "both keys of Langfuse", "set it, or unset the other; as it is, no traces"),)
    if find_spec("langfuse") is None:
        remedy = "pip install 'langfuse>=5,<6'; as it is, no traces"
        return None, (Problem("LANGFUSE_PUBLIC_KEY", "the package 'langfuse'", remedy),)
    access = LangfuseAccess(
        public,
        secret,
        settings.langfuse_base_url or settings.langfuse_host or CLOUD,
        settings.langfuse_capture_content,
        settings.langfuse_sample_rate,
        settings.namespace or "",
    )
    return access, ()
