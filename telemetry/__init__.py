"""The telemetry room: what is done with events. It knows the supervisor's events, and nobody knows it."""

from ._logging import LoggingHook

__all__ = ("LoggingHook",)
