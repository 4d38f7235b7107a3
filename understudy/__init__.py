"""Understudy keeps AI agents answered: the primary model, and at once its fallback when the primary fails.

The public names are loaded when they are first used: importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._clients import anthropic_client as anthropic_client
    from ._clients import openai_client as openai_client
    from ._open import open_supervisor as open_supervisor
    from ._version import __version__ as __version__
    from .actors import Health as Health
    from .providers import AccessRefusedError as AccessRefusedError
    from .providers import ActorStoppedError as ActorStoppedError
    from .providers import AllAttemptsFailedError as AllAttemptsFailedError
    from .providers import AllRoutesClosedError as AllRoutesClosedError
    from .providers import Attempt as Attempt
    from .providers import AttemptError as AttemptError
    from .providers import AttemptTimeoutError as AttemptTimeoutError
    from .providers import ConfigurationError as ConfigurationError
    from .providers import ConnectionFailedError as ConnectionFailedError
    from .providers import Finished as Finished
    from .providers import Image as Image
    from .providers import Message as Message
    from .providers import Messages as Messages
    from .providers import Parameters as Parameters
    from .providers import Partial as Partial
    from .providers import PartialCall as PartialCall
    from .providers import PassedOver as PassedOver
    from .providers import QuotaExceededError as QuotaExceededError
    from .providers import RateLimitedError as RateLimitedError
    from .providers import Reasoning as Reasoning
    from .providers import ReasoningDelta as ReasoningDelta
    from .providers import RequestRejectedError as RequestRejectedError
    from .providers import Response as Response
    from .providers import ResponseInvalidError as ResponseInvalidError
    from .providers import ResponseMalformedError as ResponseMalformedError
    from .providers import Restarted as Restarted
    from .providers import RetryableError as RetryableError
    from .providers import ServerFailedError as ServerFailedError
    from .providers import Shape as Shape
    from .providers import StreamEvent as StreamEvent
    from .providers import StreamInterruptedError as StreamInterruptedError
    from .providers import Text as Text
    from .providers import TextDelta as TextDelta
    from .providers import TimeoutExceededError as TimeoutExceededError
    from .providers import Tool as Tool
    from .providers import ToolCall as ToolCall
    from .providers import ToolCallDelta as ToolCallDelta
    from .providers import ToolCallStarted as ToolCallStarted
    from .providers import ToolResult as ToolResult
    from .providers import UnderstudyError as UnderstudyError
    from .providers import Usage as Usage
    from .providers import Verdict as Verdict
    from .providers import as_anthropic as as_anthropic
    from .providers import as_openai as as_openai
    from .providers import assistant as assistant
    from .providers import image as image
    from .providers import system as system
    from .providers import tool as tool
    from .providers import user as user
    from .supervisor import Agent as Agent
    from .supervisor import AgentSettings as AgentSettings
    from .supervisor import Hook as Hook
    from .supervisor import Iteration as Iteration
    from .supervisor import Metrics as Metrics
    from .supervisor import OnInterrupt as OnInterrupt
    from .supervisor import RouteSettings as RouteSettings
    from .supervisor import Run as Run
    from .supervisor import RunEvent as RunEvent
    from .supervisor import RunStream as RunStream
    from .supervisor import Settings as Settings
    from .supervisor import Stream as Stream
    from .supervisor import Supervisor as Supervisor
    from .supervisor import ToolUse as ToolUse
    from .supervisor import as_tool as as_tool
    from .telemetry import QueuedHook as QueuedHook

_PROVIDERS = (
    *("AccessRefusedError", "ActorStoppedError", "AllAttemptsFailedError", "AllRoutesClosedError", "Attempt"),
    *("AttemptError", "AttemptTimeoutError", "ConfigurationError", "ConnectionFailedError", "Finished"),
    *("Image", "Message", "Messages", "Parameters", "Partial"),
    *("PartialCall", "PassedOver", "QuotaExceededError", "RateLimitedError", "Reasoning"),
    *("ReasoningDelta", "RequestRejectedError", "Response", "ResponseInvalidError", "ResponseMalformedError"),
    *("Restarted", "RetryableError", "ServerFailedError", "Shape", "StreamEvent", "StreamInterruptedError"),
    *("Text", "TextDelta", "TimeoutExceededError", "Tool", "ToolCall"),
    *("ToolCallDelta", "ToolCallStarted", "ToolResult", "UnderstudyError", "Usage"),
    *("Verdict",),
    *("as_anthropic", "as_openai", "assistant", "image", "system", "tool", "user"),
)
_SUPERVISOR = (
    *("Agent", "AgentSettings", "Hook", "Iteration", "Metrics", "RouteSettings", "Run", "RunEvent", "RunStream"),
    *("Settings", "Stream", "OnInterrupt", "Supervisor", "ToolUse", "as_tool"),
)

_ROOMS: dict[str, str] = {
    "__version__": "._version",
    "anthropic_client": "._clients",
    "openai_client": "._clients",
    "open_supervisor": "._open",
    "Health": ".actors",
    "QueuedHook": ".telemetry",
    **dict.fromkeys(_PROVIDERS, ".providers"),
    **dict.fromkeys(_SUPERVISOR, ".supervisor"),
}

__all__ = tuple(sorted(_ROOMS))


def __getattr__(name: str) -> object:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_ROOMS[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
