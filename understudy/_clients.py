"""Clients of the vendors' SDKs that ask agents: for frameworks that take one, and code that was written for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import anthropic
    import httpx2
    import openai

    from .supervisor import Supervisor

ADDRESS = "http://understudy.invalid"
"""Where requests seem to go; none leaves the process. Nobody can own a name like that (RFC 2606, section 2)."""


def openai_client(supervisor: Supervisor) -> openai.AsyncOpenAI:
    """Return an `AsyncOpenAI` whose models are agents: `client.chat.completions.create(model="deriver", …)`.

    Chat completions and responses fail over as `Agent.complete` does, streams too; errors are the SDK's own. It does
    not retry. It belongs to the event loop of its supervisor; closing it closes nothing else.
    """
    import openai

    return openai.AsyncOpenAI(
        api_key="in-process", base_url=f"{ADDRESS}/v1", max_retries=0, http_client=_http(supervisor)
    )


def anthropic_client(supervisor: Supervisor) -> anthropic.AsyncAnthropic:
    """Return an `AsyncAnthropic` whose models are agents: `client.messages.create(model="deriver", …)`; otherwise as
    `openai_client`.
    """
    import anthropic

    return anthropic.AsyncAnthropic(
        api_key="in-process",
        base_url=ADDRESS,
        max_retries=0,
        http_client=_http(supervisor),
        open_telemetry={"traces": False, "propagation": False},
    )


def _http(supervisor: Supervisor) -> httpx2.AsyncClient:
    import httpx2

    from .gateway import Gateway
    from .gateway._transport import InProcess

    access = supervisor.plan.gateway
    gateway = Gateway(supervisor, aliases=None if access is None else access.aliases)
    return httpx2.AsyncClient(transport=InProcess(gateway), timeout=None, trust_env=False)
