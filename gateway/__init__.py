"""The gateway room: the supervisor behind the HTTP dialects that everybody speaks."""

from ._values import Application, Head, HTTPAnswer, HTTPRequest

__all__ = ("Application", "HTTPAnswer", "HTTPRequest", "Head")
